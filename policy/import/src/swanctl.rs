//! `swanctl.conf` of strongSwan (swanctl.conf(5)): connections that are dialled from this end.

use crate::draft::{Context, Draft, Value, clean};
use crate::report::ImportError;
use crate::strategy::{Kind, Strategy};
use crate::tree::{Node, Table};
use crate::weakening::Weakening;
use crate::{Found, LeftOut, braces};

const BY_ITSELF: &str =
    "a profile from elsewhere does not connect by itself; afterwards: start = \"boot\" or \"on-demand\"";
const KERNEL: &str = "Adit makes marks, interfaces and policies of its own";
const AGAIN: &str = "a connection that is lost comes back by itself";
const ALWAYS: &str = "Adit decides it by what the peer can do";

const CONNECTION: &[(&str, &str)] = &[
    ("fragmentation", ALWAYS),
    ("childless", ALWAYS),
    ("send_certreq", ALWAYS),
    ("send_cert", ALWAYS),
    ("pull", "addresses are asked for, as IKEv2 does it"),
    ("aggressive", "it is IKEv1's"),
    ("dscp", "packets have the default class"),
    ("dpd_timeout", "it is IKEv1's"),
    ("keyingtries", AGAIN),
    ("unique", "it is a server's to decide"),
    ("over_time", "it follows from rekey-ike"),
    ("rand_time", "it follows from rekey-ike"),
    ("pools", "it is a server's"),
    ("if_id_in", KERNEL),
    ("if_id_out", KERNEL),
    ("mediation", "Adit does not mediate"),
    ("mediated_by", "Adit does not mediate"),
    ("mediation_peer", "Adit does not mediate"),
    ("ppk_id", "write ppk-id and ppk-file"),
    ("ppk_required", "write ppk-id and ppk-file"),
    ("local_port", "Adit sends from the ports that every server knows"),
];
const CHILD: &[(&str, &str)] = &[
    ("dpd_action", AGAIN),
    ("close_action", AGAIN),
    ("life_time", "it follows from rekey-child"),
    ("rand_time", "it follows from rekey-child"),
    ("life_bytes", "it follows from rekey-bytes"),
    ("life_packets", "it follows from rekey-packets"),
    ("ah_proposals", "Adit does ESP"),
    ("updown", "no script is run for it"),
    ("hostaccess", KERNEL),
    ("policies", KERNEL),
    ("policies_fwd_out", KERNEL),
    ("if_id_in", KERNEL),
    ("if_id_out", KERNEL),
    ("mark_in", KERNEL),
    ("mark_out", KERNEL),
    ("set_mark_in", KERNEL),
    ("set_mark_out", KERNEL),
    ("priority", KERNEL),
    ("interface", KERNEL),
    ("reqid", KERNEL),
    ("hw_offload", "the kernel's default holds"),
    ("replay_window", "Adit has its own window"),
    ("ipcomp", "Adit does not compress"),
    ("copy_df", KERNEL),
    ("copy_ecn", KERNEL),
    ("copy_dscp", KERNEL),
    ("tfc_padding", "packets are not padded"),
];
const REMOTE: &[(&str, &str)] = &[
    ("groups", "attribute certificates are not done"),
    ("cert_policy", "certificate policies are not looked at"),
    ("pubkeys", "a server is proven by a certificate or a pre-shared key"),
];

pub(crate) fn read<'c>(text: &str, context: &'c Context<'c>) -> Result<Found<'c>, ImportError> {
    let root = braces::read(text)?;
    let none = Table::default();
    let mut found = Found::default();
    for (name, node) in root.table("connections").unwrap_or(&none).entries() {
        let Node::Table(connection) = node else { continue };
        match reason_against(connection) {
            Some(why) => {
                connection.take_all();
                found.left_out.push(LeftOut { key: clean(name), why: why.to_owned() });
            }
            None => found.drafts.push(dialled(name, connection, &root, context)),
        }
    }
    let secrets = root.table("secrets").unwrap_or(&none);
    let mut others = Vec::new();
    secrets.rest("secrets", &mut others);
    let nobodys = |(key, _): (String, &str)| LeftOut {
        key: clean(&key),
        why: "no connection that is dialled needs it".into(),
    };
    found.left_out.extend(others.into_iter().map(nobodys));
    secrets.take_all();
    for (key, why) in [
        ("pools", "pools of addresses are a server's: [pool.NAME] of server.toml"),
        ("authorities", "certificates say themselves where they are asked about"),
    ] {
        if root.has(key) {
            root.take_named(key);
            found.left_out.push(LeftOut { key: key.to_owned(), why: why.to_owned() });
        }
    }
    let mut rest = Vec::new();
    root.rest("", &mut rest);
    found
        .left_out
        .extend(rest.into_iter().map(|(key, _)| LeftOut { key: clean(&key), why: "not understood".into() }));
    Ok(found)
}

fn reason_against(connection: &Table) -> Option<&'static str> {
    let remote = connection.text("remote_addrs").unwrap_or("%any");
    if remote.contains("%any") || remote.contains('/') {
        return Some("it waits for others, as a [[connection]] of server.toml does");
    }
    (connection.text("version") == Some("1"))
        .then_some("it is IKEv1's, which Adit has for L2TP only; if the server has IKEv2: version = 2")
}

fn dialled<'c>(name: &str, connection: &Table, root: &Table, context: &'c Context<'c>) -> Draft<'c> {
    let mut draft = Draft::new(context, name, &Strategy::only(Kind::Ikev2), "version");
    for server in connection.text("remote_addrs").unwrap_or("").split(',') {
        draft.server(server.trim(), "remote_addrs");
    }
    if let Some(port) = connection.text("remote_port") {
        draft.number("port", port, "remote_port");
    }
    let none = Table::default();
    let secrets = root.table("secrets").unwrap_or(&none);
    local(&mut draft, connection, secrets);
    remote(&mut draft, connection);
    if let Some(texts) = connection.text("proposals") {
        draft.proposals("ike", texts.split(','), "proposals");
    }
    addresses(&mut draft, connection);
    for (key, ours) in [("rekey_time", "rekey-ike"), ("reauth_time", "reauthenticate"), ("dpd_delay", "dpd")]
    {
        if let Some(time) = connection.text(key) {
            draft.duration(ours, time, key);
        }
    }
    if connection.flag("mobike") == Some(false) {
        draft.flag("mobility", false, "mobike");
    }
    if connection.flag("encap") == Some(true) {
        draft.flag("force-encapsulation", true, "encap");
    }
    children(&mut draft, connection);
    draft.leave(connection, "", CONNECTION);
    draft.leftovers(connection, "");
    draft
}

fn addresses(draft: &mut Draft<'_>, connection: &Table) {
    if let Some(local) = connection.text("local_addrs").filter(|local| !local.contains('%')) {
        match local.parse::<core::net::IpAddr>() {
            Ok(_) => draft.text("local-address", local, "local_addrs"),
            Err(_) => draft.left("local_addrs", Some(local), "local-address is one address"),
        }
    }
    for address in connection.text("vips").unwrap_or("").split(',').map(str::trim).filter(|a| !a.is_empty()) {
        match address.parse::<core::net::IpAddr>() {
            Ok(address) => draft.add("addresses", if address.is_ipv4() { "ipv4" } else { "ipv6" }, "vips"),
            Err(_) => draft.left("vips", Some(address), "it is no address"),
        }
    }
}

/// Sections called `local`, `local-1`, `local2`, ….
fn sections<'t>(connection: &'t Table, kind: &str) -> Vec<(&'t str, &'t Table)> {
    let found = connection.entries().filter_map(|(name, node)| match node {
        Node::Table(table) if name.starts_with(kind) => Some((name, table)),
        _ => None,
    });
    found.collect()
}

fn local(draft: &mut Draft<'_>, connection: &Table, secrets: &Table) {
    let all = sections(connection, "local");
    if all.len() > 1 {
        draft.missing("it proves who we are twice (several sections local)", "keep one of them");
    }
    let none = Table::default();
    let (name, local) = all.first().copied().unwrap_or(("local", &none));
    let path = |key: &str| format!("{name}.{key}");
    let method = local.text("auth").unwrap_or("pubkey").to_owned();
    let id = local.text("id").map(str::to_owned);
    if let Some(id) = &id {
        draft.identity("local-id", id, &path("id"));
    }
    let plain = method.split(['-', ':']).next().unwrap_or("");
    match plain {
        "psk" => {
            draft.text("auth", "psk", &path("auth"));
            psk(draft, connection, secrets, id.as_deref());
        }
        "eap" => {
            draft.text("auth", "eap", &path("auth"));
            let user = local.text("eap_id").map(str::to_owned).or(id);
            eap(draft, &method, user.as_deref(), secrets, &path("auth"));
        }
        "pubkey" | "rsa" | "ecdsa" | "ed25519" | "ed448" | "ike" => {
            draft.text("auth", "certificate", &path("auth"));
            own_certificate(draft, local, secrets, &path("certs"));
        }
        other => {
            draft.missing(format!("{} = {}", path("auth"), clean(other)), "Adit has psk, eap and pubkey")
        }
    }
    if let Some(aaa) = local.text("aaa_id") {
        draft.identity("eap-server", aaa, &path("aaa_id"));
    }
}

/// By EAP: `eap`, or `eap-METHOD`.
pub(crate) fn eap_method(draft: &mut Draft<'_>, method: &str, from: &str) {
    let word = match method.split('-').nth(1) {
        None | Some("dynamic" | "identity" | "radius") => return,
        Some(word @ ("mschapv2" | "tls" | "ttls" | "peap")) => word,
        Some(word @ ("md5" | "gtc")) => match draft.weak_needed(from, Weakening::WeakEap) {
            true => word,
            false => return,
        },
        Some(_) => {
            let next = "Adit has mschapv2, tls, ttls, peap, gtc and md5";
            return draft.missing(format!("{from} = {}", clean(method)), next);
        }
    };
    draft.set("eap-methods", Value::List(vec![word.to_owned()]), from);
    if word == "tls" {
        draft.needs_own = Some(from.to_owned());
    }
}

fn eap(draft: &mut Draft<'_>, method: &str, user: Option<&str>, secrets: &Table, from: &str) {
    eap_method(draft, method, from);
    let Some(user) = user.filter(|user| *user != "%any" && *user != "%identity") else { return };
    if draft.needs_own.is_some() {
        return draft.text("eap-identity", user, "local.eap_id");
    }
    draft.text("user", user, "local.eap_id");
    let mut fitting = sections(secrets, "eap").into_iter().filter(|(_, secret)| is_for(secret, user));
    if let Some((name, secret)) = fitting.next()
        && let Some(password) = secret.exact("secret")
    {
        draft.secret("password-file", password, &format!("secrets.{name}"));
    }
}

/// Whether a secret's `id`s have that one, or there is none.
fn is_for(secret: &Table, id: &str) -> bool {
    let ids: Vec<&str> = secret
        .entries()
        .filter(|(name, _)| name.starts_with("id"))
        .filter_map(|(_, node)| Node::take(node))
        .collect();
    ids.is_empty() || ids.contains(&id)
}

fn psk(draft: &mut Draft<'_>, connection: &Table, secrets: &Table, id: Option<&str>) {
    let remote = sections(connection, "remote").first().and_then(|(_, remote)| remote.text("id"));
    let address = connection.text("remote_addrs").and_then(|all| all.split(',').next()).map(str::trim);
    let whose = [remote, address, id];
    let mut all = sections(secrets, "ike");
    // One that names somebody before one that is everybody's.
    all.sort_by_key(|(_, secret)| !secret.entries().any(|(name, _)| name.starts_with("id")));
    let fits =
        |secret: &Table| whose.into_iter().flatten().any(|id| is_for(secret, id)) || is_for(secret, "%any");
    if let Some((name, secret)) = all.into_iter().find(|(_, secret)| fits(secret))
        && let Some(key) = secret.exact("secret")
    {
        let from = format!("secrets.{name}");
        match key.get(..2) {
            Some("0x" | "0X" | "0s" | "0S") => draft.psk_as_written(key, &from),
            _ => draft.psk(key.as_bytes(), &from),
        }
    }
}

fn own_certificate(draft: &mut Draft<'_>, local: &Table, secrets: &Table, from: &str) {
    draft.needs_own = Some(from.to_owned());
    if let Some(path) = local.text("certs").and_then(|all| all.split(',').next()) {
        draft.wants("certificate", path.trim(), from);
    }
    for kind in ["private", "rsa", "ecdsa", "pkcs8", "pkcs12"] {
        let Some((name, secret)) = sections(secrets, kind).first().copied() else { continue };
        if let Some(file) = secret.text("file") {
            draft.wants("key", file, &format!("secrets.{name}.file"));
        }
        if let Some(password) = secret.exact("secret") {
            draft.secret("key-password-file", password, &format!("secrets.{name}.secret"));
        }
        return;
    }
}

fn remote(draft: &mut Draft<'_>, connection: &Table) {
    let all = sections(connection, "remote");
    let none = Table::default();
    let (name, remote) = all.first().copied().unwrap_or(("remote", &none));
    let path = |key: &str| format!("{name}.{key}");
    match remote.text("id") {
        Some("%any") => draft.weakens(&path("id"), Weakening::UncheckedName),
        Some(id) => draft.identity("remote-id", id, &path("id")),
        None => {}
    }
    let method = remote.text("auth").unwrap_or("pubkey");
    let ours = if method.starts_with("psk") { "psk" } else { "certificate" };
    match (draft.value("auth").map(str::to_owned).as_deref(), ours) {
        (Some("eap"), "psk") => draft.weakens(&path("auth"), Weakening::PskServer),
        (Some(own), ours) if own != ours && own != "eap" => draft.text("remote-auth", ours, &path("auth")),
        _ => draft.carries(&path("auth"), "remote-auth"),
    }
    let authorities =
        remote.text("cacerts").unwrap_or("").split(',').map(str::trim).filter(|f| !f.is_empty());
    for file in authorities.collect::<Vec<_>>() {
        draft.wants("ca", file, &path("cacerts"));
    }
    if let Some(file) = remote.text("certs") {
        let why = "a server is proven by its authority and its name: put the authority's certificate beside the profile";
        draft.left(&path("certs"), Some(file), why);
    }
    match remote.text("revocation") {
        Some("strict") => draft.text("revocation", "strict", &path("revocation")),
        Some(_) => draft.carries(&path("revocation"), "revocation"),
        None => {}
    }
    draft.leave(remote, name, REMOTE);
}

fn children(draft: &mut Draft<'_>, connection: &Table) {
    let none = Table::default();
    let mut all =
        connection.table("children").unwrap_or(&none).entries().filter_map(|(name, node)| match node {
            Node::Table(table) => Some((name, table)),
            _ => None,
        });
    let Some((name, child)) = all.next() else { return };
    let path = |key: &str| format!("children.{name}.{key}");
    for (key, ours) in [("local_ts", "local-subnets"), ("remote_ts", "remote-subnets")] {
        for network in child.text(key).unwrap_or("").split(',').map(str::trim) {
            draft.subnet(ours, network, &path(key));
        }
    }
    if !draft.has("traffic") && !draft.has("remote-subnets") {
        draft.text("traffic", "split", "");
    }
    if let Some(texts) = child.text("esp_proposals") {
        draft.proposals("esp", texts.split(','), &path("esp_proposals"));
    }
    match child.text("mode") {
        None | Some("tunnel") => {}
        Some("transport") => draft.text("mode", "transport", &path("mode")),
        Some(other) => {
            draft.missing(format!("{} = {}", path("mode"), clean(other)), "Adit has tunnel and transport")
        }
    }
    match child.text("start_action") {
        None | Some("none") => {}
        Some(other) => draft.left(&path("start_action"), Some(other), BY_ITSELF),
    }
    for (key, ours) in [("rekey_time", "rekey-child"), ("inactivity", "idle")] {
        if let Some(time) = child.text(key) {
            draft.duration(ours, time, &path(key));
        }
    }
    for (key, ours) in [("rekey_bytes", "rekey-bytes"), ("rekey_packets", "rekey-packets")] {
        if let Some(number) = child.text(key) {
            draft.number(ours, number, &path(key));
        }
    }
    draft.leave(child, &format!("children.{name}"), CHILD);
    for (name, child) in all {
        child.take_all();
        draft.left(&format!("children.{name}"), None, "one more CHILD_SA: write it as a [[child]]");
    }
}
