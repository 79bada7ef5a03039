//! Keyfiles of NetworkManager (nm-settings-keyfile(5)): what all VPN plugins share, and the strongswan plugin's own keys.

use crate::draft::{Context, Draft, Value};
use crate::ini::{self, Style};
use crate::network_manager_ppp::ppp;
use crate::report::ImportError;
use crate::strategy::{Kind, Strategy};
use crate::tree::Table;
use crate::{Found, LeftOut, weakening::Weakening};

const BY_ITSELF: &str = "a profile from elsewhere does not connect by itself; afterwards: start = \"boot\"";
const OWN_ROUTES: &str = "routes have no metric of their own here";
const OWN_DNS: &str = "Adit uses the DNS servers and domains that the server gives";

const CONNECTION: &[(&str, &str)] = &[
    ("uuid", "Adit goes by the profile's name"),
    ("permissions", "who may raise it: members of the group adit"),
    ("timestamp", "it says when NetworkManager last used it"),
    ("autoconnect-priority", BY_ITSELF),
    ("zone", "firewalls go by the interface's name"),
    ("metered", "it is NetworkManager's own"),
];
const IP: &[(&str, &str)] = &[
    ("dns", OWN_DNS),
    ("dns-search", OWN_DNS),
    ("dns-priority", OWN_DNS),
    ("dns-options", OWN_DNS),
    ("route-metric", OWN_ROUTES),
    ("addr-gen-mode", "a tunnel's address is the server's choice"),
    ("ip6-privacy", "a tunnel's address is the server's choice"),
    ("ignore-auto-routes", "where packets go is what this profile says"),
    ("may-fail", "a family that the server does not give is gone without"),
];

pub(crate) fn read<'c>(text: &str, context: &'c Context<'c>) -> Result<Found<'c>, ImportError> {
    let root = ini::read(text, Style::Keyfile)?;
    let next =
        "name a keyfile of a VPN connection of NetworkManager's plugins strongswan, l2tp, sstp or pptp";
    let none = Table::default();
    let (connection, vpn) = (root.table("connection").unwrap_or(&none), root.table("vpn"));
    let kind = connection.text("type").unwrap_or("vpn");
    let Some(vpn) = vpn.filter(|_| kind == "vpn") else {
        return Err(ImportError::new(
            format!("it is a connection of type \"{}\"", kind.escape_debug()),
            next,
        ));
    };
    let service = vpn.text("service-type").unwrap_or("");
    let kind = match service.rsplit('.').next().unwrap_or("") {
        "strongswan" => Kind::Ikev2,
        "l2tp" => Kind::L2tp,
        "sstp" => Kind::Sstp,
        "pptp" => Kind::Pptp,
        other => {
            return Err(ImportError::new(format!("it is for the plugin \"{}\"", other.escape_debug()), next));
        }
    };
    let called = connection.text("id").unwrap_or(context.stem);
    let mut draft = Draft::new(context, called, &Strategy::only(kind), "vpn.service-type");
    let secrets = root.table("vpn-secrets").unwrap_or(&none);
    interface(&mut draft, connection);
    match kind {
        Kind::Ikev2 => strongswan(&mut draft, vpn, secrets),
        _ => ppp(&mut draft, vpn, secrets),
    }
    addresses(&mut draft, &root);
    flags(&mut draft, vpn);
    draft.leftovers(&root, "");
    Ok(Found { drafts: vec![draft], left_out: Vec::<LeftOut>::new() })
}

fn interface(draft: &mut Draft<'_>, connection: &Table) {
    if let Some(name) = connection.text("interface-name") {
        draft.text("interface", name, "connection.interface-name");
    }
    match connection.flag("autoconnect") {
        Some(true) => draft.left("connection.autoconnect", Some("true"), BY_ITSELF),
        Some(false) => draft.carries("connection.autoconnect", "start"),
        None => {}
    }
    draft.leave(connection, "connection", CONNECTION);
}

/// `[ipv4]` and `[ipv6]`.
fn addresses(draft: &mut Draft<'_>, root: &Table) {
    let (mut split, mut only_v4) = (false, false);
    for family in ["ipv4", "ipv6"] {
        let Some(table) = root.table(family) else { continue };
        let method = table.text("method").unwrap_or("auto");
        only_v4 |= family == "ipv6" && matches!(method, "disabled" | "ignore");
        if table.flag("never-default") == Some(true) {
            split |= family == "ipv4" || method == "auto";
            draft.carries(&format!("{family}.never-default"), "traffic");
        }
        if table.flag("ignore-auto-dns") == Some(true) {
            draft.text("dns", "ignore", &format!("{family}.ignore-auto-dns"));
        }
        routes(draft, table, family);
        draft.leave(table, family, IP);
    }
    // The plugin of IKEv2 asks for both all the same.
    if only_v4 && draft.kind.is_ppp() {
        draft.add("addresses", "ipv4", "ipv6.method");
    }
    if split || draft.has("remote-subnets") {
        draft.text("traffic", "split", "");
    }
    if split && !draft.has("remote-subnets") && draft.kind.is_ppp() {
        draft
            .notes
            .push("only what the server itself has goes into the tunnel: add remote-subnets".to_owned());
    }
}

/// `route1=10.0.0.0/8,gateway,metric`.
fn routes(draft: &mut Draft<'_>, table: &Table, family: &str) {
    let keys: Vec<String> = table.entries().map(|(key, _)| key.to_owned()).collect();
    for key in keys {
        let number = key.strip_prefix("routes").or_else(|| key.strip_prefix("route")).unwrap_or("x");
        if number.is_empty() || !number.bytes().all(|b| b.is_ascii_digit()) {
            continue;
        }
        let Some(value) = table.text(&key) else { continue };
        let from = format!("{family}.{key}");
        let network = value.split([',', ' ']).next().unwrap_or("");
        draft.subnet("remote-subnets", network, &from);
    }
}

/// `password-flags` and the like: 0 stored, 1 with an agent, 2 asked for, 4 not needed.
fn flags(draft: &mut Draft<'_>, vpn: &Table) {
    let keys: Vec<String> = vpn.entries().map(|(key, _)| key.to_owned()).collect();
    for key in keys.iter().filter(|key| key.ends_with("-flags")) {
        let from = format!("vpn.{key}");
        match vpn.text(key) {
            Some("0") | None => {}
            Some(_) if key == "password-flags" => {
                draft.carries(&from, "password-file");
                if !draft.has("password-file") && draft.kind.is_ppp() {
                    draft.notes.push("the password is not in the file: ctl up asks for it".to_owned());
                }
            }
            Some(value) => draft.left(&from, Some(value), "who keeps a secret is not said in a profile"),
        }
    }
}

const STRONGSWAN: &[(&str, &str)] = &[
    ("cert-source", "certificates are files here, or in a token: key = \"pkcs11:token=…;object=…\""),
    ("ipcomp", "Adit does not compress"),
];

fn strongswan(draft: &mut Draft<'_>, vpn: &Table, secrets: &Table) {
    if let Some(address) = vpn.text("address") {
        draft.server(address, "vpn.address");
    }
    if let Some(port) = vpn.text("server-port") {
        draft.number("port", port, "vpn.server-port");
    }
    strongswan_auth(draft, vpn, secrets);
    if let Some(path) = vpn.text("certificate") {
        if draft.value("auth") == Some("psk") {
            draft.left("vpn.certificate", Some(path), "with a pre-shared key there is none");
        } else {
            draft.wants("ca", path, "vpn.certificate");
        }
    }
    for (key, ours) in [("remote-identity", "remote-id"), ("local-identity", "local-id")] {
        match vpn.text(key) {
            Some("%any") => draft.weakens(&format!("vpn.{key}"), Weakening::UncheckedName),
            Some(id) => draft.identity(ours, id, &format!("vpn.{key}")),
            None => {}
        }
    }
    match vpn.flag("virtual") {
        Some(true) => draft.carries("vpn.virtual", "addresses"),
        Some(false) => {
            draft.left("vpn.virtual", Some("no"), "Adit asks for an address; without: local-subnets")
        }
        None => {}
    }
    if let Some(encap) = vpn.flag("encap") {
        match encap {
            true => draft.flag("force-encapsulation", true, "vpn.encap"),
            false => draft.carries("vpn.encap", "force-encapsulation"),
        }
    }
    if vpn.flag("ipcomp") == Some(false) {
        vpn.take_named("ipcomp");
    }
    for (key, ours) in [("local-ts", "local-subnets"), ("remote-ts", "remote-subnets")] {
        for network in vpn.text(key).unwrap_or("").split([',', ';']).map(str::trim).filter(|t| !t.is_empty())
        {
            draft.subnet(ours, network, &format!("vpn.{key}"));
        }
    }
    if vpn.flag("proposal").unwrap_or(vpn.has("ike") || vpn.has("esp")) {
        draft.carries("vpn.proposal", "ike");
        for key in ["ike", "esp"] {
            if let Some(texts) = vpn.text(key) {
                draft.proposals(key, texts.split([',', ';']), &format!("vpn.{key}"));
            }
        }
    }
    draft.leave(vpn, "vpn", STRONGSWAN);
}

fn strongswan_auth(draft: &mut Draft<'_>, vpn: &Table, secrets: &Table) {
    let method = vpn.text("method").unwrap_or("eap").to_owned();
    let user = vpn.text("user").map(str::to_owned);
    let password = secrets.exact("password");
    match method.as_str() {
        "eap" => {
            draft.text("auth", "eap", "vpn.method");
            if let Some(user) = &user {
                draft.text("user", user, "vpn.user");
            }
            if let Some(password) = password {
                draft.secret("password-file", password, "vpn-secrets.password");
            }
        }
        "psk" => {
            draft.text("auth", "psk", "vpn.method");
            if let Some(user) = &user {
                draft.identity("local-id", user, "vpn.user");
            }
            if let Some(password) = password {
                draft.psk(password.as_bytes(), "vpn-secrets.password");
            }
        }
        "eap-tls" | "cert" | "key" | "agent" | "smartcard" => {
            by_certificate(draft, vpn, &method, user.as_deref());
            if let Some(password) = password {
                draft.secret("key-password-file", password, "vpn-secrets.password");
            }
        }
        other => {
            let what = format!("vpn.method = {} is none that Adit knows", crate::draft::clean(other));
            draft.missing(what, "known: eap, psk, cert, key, eap-tls");
        }
    }
}

fn by_certificate(draft: &mut Draft<'_>, vpn: &Table, method: &str, user: Option<&str>) {
    match method {
        "eap-tls" => {
            draft.text("auth", "eap", "vpn.method");
            draft.set("eap-methods", Value::List(vec!["tls".into()]), "vpn.method");
            if let Some(user) = user {
                draft.text("eap-identity", user, "vpn.user");
            }
        }
        _ => {
            draft.text("auth", "certificate", "vpn.method");
            if let Some(user) = user {
                draft.left("vpn.user", Some(user), "the certificate says who we are");
            }
        }
    }
    let elsewhere = match (method, vpn.text("cert-source")) {
        ("agent", _) | (_, Some("agent")) => Some("ssh-agent"),
        ("smartcard", _) | (_, Some("smartcard")) => Some("a smart card"),
        _ => None,
    };
    if let Some(place) = elsewhere {
        let next = "write key = \"pkcs11:token=LABEL;object=LABEL\" into a profile of your own, see docs/profiles.md";
        draft.missing(format!("vpn.method: the key is in {place}"), next);
        return;
    }
    draft.needs_own = Some("vpn.usercert".to_owned());
    for (key, ours) in [("usercert", "certificate"), ("userkey", "key")] {
        if let Some(path) = vpn.text(key) {
            draft.wants(ours, path, &format!("vpn.{key}"));
            draft.needs_own = None;
        }
    }
}
