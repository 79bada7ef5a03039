//! `ipsec.conf` of strongSwan and libreswan (ipsec.conf(5)): connections that are dialled from this end; `left` is this
//! end.

use crate::draft::{Context, Draft, clean};
use crate::ipsec_secrets::{self, Secret};
use crate::report::ImportError;
use crate::strategy::{Kind, Strategy};
use crate::swanctl::eap_method;
use crate::tree::{MOST_NODES, Node, Table};
use crate::weakening::Weakening;
use crate::{Found, LeftOut};

/// How deep `also` may lead.
const DEEPEST_ALSO: usize = 8;

const KERNEL: &str = "Adit makes marks, interfaces and policies of its own";
const AGAIN: &str = "a connection that is lost comes back by itself";
const ALWAYS: &str = "Adit decides it by what the peer can do";

const LEFT: &[(&str, &str)] = &[
    ("fragmentation", ALWAYS),
    ("leftsendcert", ALWAYS),
    ("rightsendcert", ALWAYS),
    ("leftca", "the certificate itself says it"),
    ("leftrsasigkey", "the key belongs to leftcert"),
    ("rightrsasigkey", "a server is proven by its authority and its name"),
    ("dpdaction", AGAIN),
    ("dpdtimeout", AGAIN),
    ("closeaction", AGAIN),
    ("keyingtries", AGAIN),
    ("rekeymargin", "it follows from rekey-ike and rekey-child"),
    ("margintime", "it follows from rekey-ike and rekey-child"),
    ("rekeyfuzz", "it follows from rekey-ike and rekey-child"),
    ("rekey", "keys are always replaced"),
    ("leftfirewall", "no script is run for it"),
    ("rightfirewall", "no script is run for it"),
    ("lefthostaccess", KERNEL),
    ("leftupdown", "no script is run for it"),
    ("rightupdown", "no script is run for it"),
    ("compress", "Adit does not compress"),
    ("installpolicy", KERNEL),
    ("mark", KERNEL),
    ("mark_in", KERNEL),
    ("mark_out", KERNEL),
    ("reqid", KERNEL),
    ("ipsec-interface", KERNEL),
    ("leftnexthop", KERNEL),
    ("rightnexthop", KERNEL),
    ("modeconfig", "addresses are asked for, as IKEv2 does it"),
    ("modecfgpull", "addresses are asked for, as IKEv2 does it"),
    ("leftmodecfgclient", "addresses are asked for, as IKEv2 does it"),
    ("rightmodecfgserver", "addresses are asked for, as IKEv2 does it"),
    ("narrowing", "what the server offers of it is what goes in"),
    ("leftdns", "Adit uses the DNS servers and domains that the server gives"),
    ("rightdns", "it is a server's"),
    ("uniqueids", "it is a server's to decide"),
    ("replay_window", "Adit has its own window"),
    ("sha2-truncbug", "it is for old kernels"),
    ("aggressive", "it is IKEv1's"),
    ("xauth", "it is IKEv1's"),
    ("xauth_identity", "it is IKEv1's"),
];

pub(crate) fn read<'c>(text: &str, context: &'c Context<'c>) -> Result<Found<'c>, ImportError> {
    let sections = sections(text)?;
    let texts = context.companions.ipsec_secrets();
    let secrets: Vec<Secret> = texts.iter().flat_map(|text| ipsec_secrets::read(text)).collect();
    let mut found = Found::default();
    for section in &sections {
        match section.kind.as_str() {
            "conn" if section.name != "%default" => {
                let mut lines = Vec::new();
                merge(&sections, "%default", 0, &mut lines);
                merge(&sections, &section.name, 0, &mut lines);
                conn(&section.name, &lines, &secrets, context, &mut found);
            }
            "conn" => {}
            other => {
                let key = format!("{other} {}", clean(&section.name));
                let why = "it is about the daemon and its authorities, not about a connection".to_owned();
                found.left_out.push(LeftOut { key, why });
            }
        }
    }
    for secret in secrets.iter().filter(|secret| !secret.used.get()) {
        let key = clean(&format!("ipsec.secrets: {} of {}", secret.kind, secret.ids.join(", ")));
        found.left_out.push(LeftOut { key, why: "no connection that is dialled needs it".to_owned() });
    }
    Ok(found)
}

struct Section {
    kind: String,
    name: String,
    lines: Vec<(String, String)>,
}

fn sections(text: &str) -> Result<Vec<Section>, ImportError> {
    let mut out: Vec<Section> = Vec::new();
    let mut count = 0_usize;
    for (n, whole) in text.lines().enumerate() {
        let bad = |what: &str| {
            let text = format!("line {}: {what}", n.saturating_add(1));
            ImportError::new(text, "a section is  conn NAME, and its lines, which are indented,  key=value")
        };
        let line = whole.split_once(" #").map_or(whole, |(line, _)| line).trim();
        count = count.saturating_add(1);
        if count > MOST_NODES {
            return Err(bad("there are too many lines"));
        }
        if line.is_empty() || line.starts_with('#') || line.starts_with("version ") {
            continue;
        }
        if whole.starts_with("include ") {
            return Err(bad("it includes another file: put that file's lines here"));
        }
        if !whole.starts_with(char::is_whitespace) {
            let (kind, name) =
                line.split_once(char::is_whitespace).ok_or_else(|| bad("it begins no section"))?;
            out.push(Section { kind: kind.to_owned(), name: name.trim().to_owned(), lines: Vec::new() });
            continue;
        }
        let (key, value) = line.split_once('=').ok_or_else(|| bad("it has no ="))?;
        let section = out.last_mut().ok_or_else(|| bad("it stands before the first section"))?;
        let value = value.trim();
        let plain = value.strip_prefix('"').and_then(|v| v.strip_suffix('"')).unwrap_or(value);
        section.lines.push((key.trim().to_ascii_lowercase(), plain.to_owned()));
    }
    Ok(out)
}

/// The lines of a section with those that it takes over; a later one counts.
fn merge(sections: &[Section], name: &str, depth: usize, out: &mut Vec<(String, String)>) {
    let Some(section) = sections.iter().find(|s| s.kind == "conn" && s.name == name) else { return };
    if depth > DEEPEST_ALSO {
        return;
    }
    for (key, value) in section.lines.iter().filter(|(key, _)| key == "also") {
        let _ = key;
        merge(sections, value, depth.saturating_add(1), out);
    }
    for (key, value) in section.lines.iter().filter(|(key, _)| key != "also") {
        out.retain(|(k, _)| k != key);
        if out.len() < MOST_NODES {
            out.push((key.clone(), value.clone()));
        }
    }
}

fn conn<'c>(
    name: &str,
    lines: &[(String, String)],
    secrets: &[Secret],
    context: &'c Context<'c>,
    found: &mut Found<'c>,
) {
    let mut table = Table::default();
    for (key, value) in lines {
        table.push(key.clone(), Node::text(value.clone()));
    }
    let right = table.text("right").unwrap_or("%any");
    let why = if right.contains('%') || right.contains('/') || table.text("auto") == Some("ignore") {
        Some("it waits for others, as a [[connection]] of server.toml does")
    } else if table.text("keyexchange") == Some("ikev1")
        || matches!(table.text("ikev2"), Some("no" | "never"))
    {
        Some("it is IKEv1's, which Adit has for L2TP only; if the server has IKEv2: keyexchange=ikev2")
    } else {
        None
    };
    if let Some(why) = why {
        found.left_out.push(LeftOut { key: clean(name), why: why.to_owned() });
        return;
    }
    let mut draft = Draft::new(context, name, &Strategy::only(Kind::Ikev2), "keyexchange");
    table.take_named("ikev2");
    table.take_named("auto");
    for server in right.split(',') {
        draft.server(server.trim(), "right");
    }
    login(&mut draft, &table, secrets);
    server(&mut draft, &table);
    networks(&mut draft, &table);
    for (key, ours) in [("ike", "ike"), ("esp", "esp"), ("phase2alg", "esp")] {
        if let Some(texts) = table.text(key) {
            // libreswan writes a plus, and a semicolon before the group.
            let plain = texts.replace([';', '+'], "-");
            draft.proposals(ours, plain.trim_end_matches('!').split(','), key);
        }
    }
    times(&mut draft, &table);
    draft.leave(&table, "", LEFT);
    draft.leftovers(&table, "");
    found.drafts.push(draft);
}

fn login(draft: &mut Draft<'_>, table: &Table, secrets: &[Secret]) {
    let by = table.text("leftauth").or_else(|| table.text("authby")).unwrap_or("pubkey").to_owned();
    let id = table.text("leftid").map(|id| id.trim_start_matches('@').to_owned());
    let id = id.filter(|id| id != "%fromcert" && id != "%any");
    if let Some(id) = &id {
        draft.identity("local-id", id, "leftid");
    }
    if table.has("leftauth2") {
        table.take_named("leftauth2");
        draft.missing("leftauth2: it proves who we are twice", "keep one of leftauth and leftauth2");
    }
    match by.split('-').next().unwrap_or("") {
        "psk" | "secret" => {
            draft.text("auth", "psk", "leftauth");
            let right = table.text("right").unwrap_or("").to_owned();
            let whose = [
                table.text("rightid").unwrap_or("").trim_start_matches('@'),
                &right,
                id.as_deref().unwrap_or(""),
            ];
            if let Some(secret) = of(secrets, "PSK", &whose) {
                match secret.value.get(..2) {
                    Some("0x" | "0X" | "0s" | "0S") => {
                        draft.psk_as_written(&secret.value, "ipsec.secrets: PSK")
                    }
                    _ => draft.psk(secret.value.as_bytes(), "ipsec.secrets: PSK"),
                }
            } else {
                draft.missing(
                    "the pre-shared key stands in ipsec.secrets",
                    "name that, too:  ctl import ipsec.conf ipsec.secrets",
                );
            }
        }
        "eap" => {
            draft.text("auth", "eap", "leftauth");
            eap_method(draft, &by, "leftauth");
            let user = table.text("eap_identity").filter(|id| !id.starts_with('%')).map(str::to_owned).or(id);
            if let Some(user) = user {
                let key = if draft.needs_own.is_some() { "eap-identity" } else { "user" };
                draft.text(key, &user, "eap_identity");
                if let (Some(secret), "user") = (of(secrets, "EAP", &[&user]), key) {
                    draft.secret("password-file", &secret.value, "ipsec.secrets: EAP");
                }
            }
            if let Some(aaa) = table.text("aaa_identity") {
                draft.identity("eap-server", aaa, "aaa_identity");
            }
            if draft.needs_own.is_some() {
                own_certificate(draft, table, secrets);
            }
        }
        "pubkey" | "rsasig" | "rsa" | "ecdsa" | "ecdsasig" => {
            draft.text("auth", "certificate", "leftauth");
            own_certificate(draft, table, secrets);
        }
        other => draft.missing(format!("leftauth={}", clean(other)), "Adit has psk, eap and pubkey"),
    }
    table.take_named("authby");
}

fn own_certificate(draft: &mut Draft<'_>, table: &Table, secrets: &[Secret]) {
    draft.needs_own = Some("leftcert".to_owned());
    if let Some(path) = table.text("leftcert") {
        draft.wants("certificate", path, "leftcert");
    }
    let key = secrets.iter().find(|s| matches!(s.kind.as_str(), "RSA" | "ECDSA" | "PKCS8" | "P12"));
    if let Some(key) = key {
        key.used.set(true);
        draft.wants("key", &key.value, &format!("ipsec.secrets: {}", key.kind));
        if let Some(password) = key.password.as_ref().filter(|p| p.as_str() != "%prompt") {
            draft.secret("key-password-file", password, &format!("ipsec.secrets: {}", key.kind));
        }
    }
}

/// The secret for one of them: one that names them before one that is everybody's.
fn of<'s>(secrets: &'s [Secret], kind: &str, whose: &[&str]) -> Option<&'s Secret> {
    let plain = |id: &String| id.trim_start_matches('@').to_owned();
    let fits = |s: &&Secret| s.kind == kind && s.ids.iter().any(|id| whose.contains(&plain(id).as_str()));
    let anybody =
        |s: &&Secret| s.kind == kind && s.ids.iter().all(|id| id.starts_with('%') || id == "0.0.0.0");
    let found = secrets.iter().find(fits).or_else(|| secrets.iter().find(anybody));
    found.inspect(|secret| secret.used.set(true))
}

fn server(draft: &mut Draft<'_>, table: &Table) {
    match table.text("rightid").map(|id| id.trim_start_matches('@')) {
        Some("%any" | "%fromcert") => draft.weakens("rightid", Weakening::UncheckedName),
        Some(id) => draft.identity("remote-id", id, "rightid"),
        None => {}
    }
    let by = table.text("rightauth").or_else(|| table.text("authby"));
    let ours = match by {
        Some("psk" | "secret") => "psk",
        _ if draft.value("auth") == Some("psk") && by.is_none() => "psk",
        _ => "certificate",
    };
    match (draft.value("auth").map(str::to_owned).as_deref(), ours) {
        (Some("eap"), "psk") => draft.weakens("rightauth", Weakening::PskServer),
        (Some(own), ours) if own != ours && own != "eap" => draft.text("remote-auth", ours, "rightauth"),
        _ => draft.carries(if by.is_some() { "rightauth" } else { "" }, "remote-auth"),
    }
    for key in ["rightcert", "rightca"] {
        if let Some(value) = table.text(key) {
            let why = "a server is proven by its authority and its name: put the authority's certificate beside the profile";
            draft.left(key, Some(value), why);
        }
    }
}

fn networks(draft: &mut Draft<'_>, table: &Table) {
    for (key, ours) in [("leftsubnet", "local-subnets"), ("rightsubnet", "remote-subnets")] {
        for network in table.text(key).unwrap_or("").split(',').map(str::trim) {
            draft.subnet(ours, network, key);
        }
    }
    for (key, ours) in [("leftsubnets", "local-subnets"), ("rightsubnets", "remote-subnets")] {
        let plain = table.text(key).unwrap_or("").trim_matches(['{', '}']).to_owned();
        for network in plain.split([',', ' ']) {
            draft.subnet(ours, network, key);
        }
    }
    if !draft.has("traffic") && !draft.has("remote-subnets") {
        draft.text("traffic", "split", "");
    }
    for address in table.text("leftsourceip").unwrap_or("").split(',').map(str::trim) {
        match address {
            "" => {}
            "%config" | "%modeconfig" | "%modecfg" => draft.carries("leftsourceip", "addresses"),
            "%config4" => draft.add("addresses", "ipv4", "leftsourceip"),
            "%config6" => draft.add("addresses", "ipv6", "leftsourceip"),
            other => match other.parse::<core::net::IpAddr>() {
                Ok(address) => {
                    draft.add("addresses", if address.is_ipv4() { "ipv4" } else { "ipv6" }, "leftsourceip")
                }
                Err(_) => draft.left("leftsourceip", Some(other), "it is no address"),
            },
        }
    }
    if let Some(left) = table.text("left").filter(|left| !left.starts_with('%')) {
        match left.parse::<core::net::IpAddr>() {
            Ok(_) => draft.text("local-address", left, "left"),
            Err(_) => draft.left("left", Some(left), "local-address is one address"),
        }
    }
    match table.text("type") {
        None | Some("tunnel") => {}
        Some("transport") => draft.text("mode", "transport", "type"),
        Some(other) => draft.missing(format!("type={}", clean(other)), "Adit has tunnel and transport"),
    }
}

fn times(draft: &mut Draft<'_>, table: &Table) {
    for (key, ours) in [
        ("ikelifetime", "rekey-ike"),
        ("lifetime", "rekey-child"),
        ("keylife", "rekey-child"),
        ("salifetime", "rekey-child"),
        ("dpddelay", "dpd"),
        ("inactivity", "idle"),
    ] {
        if let Some(time) = table.text(key) {
            draft.duration(ours, time, key);
        }
    }
    if table.flag("mobike") == Some(false) {
        draft.flag("mobility", false, "mobike");
    }
    if table.flag("forceencaps") == Some(true) || table.flag("encapsulation") == Some(true) {
        draft.flag("force-encapsulation", true, "forceencaps");
    }
    if let Some(reauth) = table.flag("reauth") {
        match reauth {
            false => draft.carries("reauth", "reauthenticate"),
            true => {
                draft.left("reauth", Some("yes"), "keys are replaced without it; with it: reauthenticate")
            }
        }
    }
}
