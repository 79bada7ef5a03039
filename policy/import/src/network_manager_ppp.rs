//! Keys of NetworkManager's plugins l2tp, sstp and pptp.

use crate::draft::{Draft, Value};
use crate::strategy::Kind;
use crate::tree::Table;
use crate::weakening::Weakening;

const NOT_DONE: &str = "Adit does no such compression";
const LIVENESS: &str = "Adit asks by itself whether the peer is alive";

const OF_PPP: &[(&str, &str)] = &[
    ("nobsdcomp", NOT_DONE),
    ("nodeflate", NOT_DONE),
    ("no-vj-comp", NOT_DONE),
    ("nopcomp", NOT_DONE),
    ("noaccomp", NOT_DONE),
    ("lcp-echo-failure", LIVENESS),
    ("lcp-echo-interval", LIVENESS),
    ("mru", "what may come is as large as what may go: mtu"),
    ("unit", "an interface has a name: interface"),
];

const OF_L2TP: &[(&str, &str)] = &[
    ("ephemeral-port", "Adit sends from the port that every server knows"),
    ("ipsec-ipcomp", "Adit does not compress"),
    ("ipsec-pfs", "a key exchange in esp is what asks for perfect forward secrecy"),
    ("ipsec-daemon", "Adit has an IKEv1 of its own"),
];

const OF_SSTP: &[(&str, &str)] = &[
    ("crl-file", "certificates are asked about by OCSP or CRL: revocation"),
    ("crl-revocation-file", "certificates are asked about by OCSP or CRL: revocation"),
    ("tls-ext", "the server is always told which host is meant"),
    ("tls-max-version", "TLS is 1.2 or 1.3"),
    ("tls-verify-key-usage", "usages are always checked"),
];

pub(crate) fn ppp(draft: &mut Draft<'_>, vpn: &Table, secrets: &Table) {
    if let Some(gateway) = vpn.text("gateway") {
        draft.server(gateway, "vpn.gateway");
    }
    user(draft, vpn, secrets);
    methods(draft, vpn);
    encryption(draft, vpn);
    if let Some(mtu) = vpn.text("mtu") {
        draft.number("mtu", mtu, "vpn.mtu");
    }
    draft.leave(vpn, "vpn", OF_PPP);
    match draft.kind {
        Kind::L2tp => l2tp(draft, vpn, secrets),
        Kind::Sstp => sstp(draft, vpn, secrets),
        Kind::Pptp | Kind::Ikev2 => {}
    }
}

fn user(draft: &mut Draft<'_>, vpn: &Table, secrets: &Table) {
    let domain = vpn.text("domain");
    if let Some(user) = vpn.text("user") {
        match domain {
            Some(domain) => draft.text("user", &format!("{domain}\\{user}"), "vpn.user"),
            None => draft.text("user", user, "vpn.user"),
        }
        if domain.is_some() {
            draft.carries("vpn.domain", "user");
        }
    } else if let Some(domain) = domain {
        draft.left("vpn.domain", Some(domain), "there is no user for it");
    }
    if let Some(password) = secrets.exact("password") {
        draft.secret("password-file", password, "vpn-secrets.password");
    }
}

/// What pppd is told to refuse; what is left is done.
fn methods(draft: &mut Draft<'_>, vpn: &Table) {
    let refuses = |method: &str| vpn.flag(&format!("refuse-{method}")) == Some(true);
    let all = ["eap", "mschapv2", "mschap", "chap", "pap"].map(|method| (method, refuses(method)));
    for (method, _) in all.iter().filter(|(_, refused)| *refused) {
        draft.carries(&format!("vpn.refuse-{method}"), "ppp-auth");
    }
    let left = |wanted: &str| all.iter().any(|(method, refused)| *method == wanted && !refused);
    let good: Vec<String> =
        ["eap", "mschapv2"].into_iter().filter(|method| left(method)).map(str::to_owned).collect();
    if good.len() == 1 {
        draft.set("ppp-auth", Value::List(good), "");
        return;
    }
    if !good.is_empty() {
        return;
    }
    let from = "vpn.refuse-mschapv2";
    if left("mschap") && draft.kind != Kind::Sstp {
        if draft.weak_needed(from, Weakening::Mschapv1) {
            draft.set("ppp-auth", Value::List(vec!["mschapv1".into()]), from);
            draft.flag("legacy", true, from);
        }
    } else if left("chap") {
        if draft.weak_needed(from, Weakening::Chap) {
            draft.set("ppp-auth", Value::List(vec!["chap".into()]), from);
            if draft.kind != Kind::Sstp {
                draft.flag("require-mppe", false, from);
            }
        }
    } else if left("pap") {
        draft.weak_needed(from, Weakening::Pap);
    } else {
        draft.missing(
            "every way to log in is refused",
            "allow MS-CHAPv2: take refuse-mschapv2 out of the file",
        );
    }
}

fn encryption(draft: &mut Draft<'_>, vpn: &Table) {
    let wants =
        ["require-mppe", "require-mppe-128", "require-mppe-40"].map(|key| (key, vpn.flag(key) == Some(true)));
    let stateful = vpn.flag("mppe-stateful") == Some(true);
    if draft.kind == Kind::Sstp {
        for (key, _) in wants.iter().filter(|(_, wanted)| *wanted) {
            draft.left(&format!("vpn.{key}"), None, "TLS encrypts");
        }
        return;
    }
    for (key, _) in wants.iter().filter(|(_, wanted)| *wanted) {
        draft.carries(&format!("vpn.{key}"), "require-mppe");
    }
    let required = wants.iter().any(|(_, wanted)| *wanted);
    if required && draft.kind == Kind::L2tp && !draft.has("require-mppe") {
        draft.flag("require-mppe", true, "");
    }
    if matches!(wants, [_, (_, false), (_, true)])
        && draft.weak_needed("vpn.require-mppe-40", Weakening::Mppe40)
    {
        draft.set("mppe", Value::List(vec!["128".into(), "40".into()]), "vpn.require-mppe-40");
    }
    if stateful {
        draft.flag("mppe-stateful", true, "vpn.mppe-stateful");
    }
    let silent = "vpn.require-mppe (not there)";
    if !required && draft.kind == Kind::Pptp && draft.weak(silent, Weakening::NoEncryption) {
        draft.flag("require-mppe", false, silent);
    }
}

fn l2tp(draft: &mut Draft<'_>, vpn: &Table, secrets: &Table) {
    if vpn.text("user-auth-type") == Some("tls") {
        draft.set("eap-methods", Value::List(vec!["tls".into()]), "vpn.user-auth-type");
        draft.needs_own = Some("vpn.user-cert".to_owned());
        for (key, ours) in [("user-ca", "ca"), ("user-cert", "certificate"), ("user-key", "key")] {
            if let Some(path) = vpn.text(key) {
                draft.wants(ours, path, &format!("vpn.{key}"));
            }
        }
        if let Some(password) = secrets.exact("user-certpass") {
            draft.secret("key-password-file", password, "vpn-secrets.user-certpass");
        }
    }
    if vpn.flag("ipsec-enabled") == Some(true) {
        draft.carries("vpn.ipsec-enabled", "psk-file");
        ipsec(draft, vpn, secrets);
    } else if draft.weak_needed("vpn.ipsec-enabled", Weakening::NoIpsec) {
        draft.text("ipsec", "none", "vpn.ipsec-enabled");
    }
    draft.leave(vpn, "vpn", OF_L2TP);
}

fn ipsec(draft: &mut Draft<'_>, vpn: &Table, secrets: &Table) {
    if vpn.flag("ipsec-ikev2") == Some(true) {
        draft.text("ipsec", "ikev2", "vpn.ipsec-ikev2");
    }
    if vpn.text("machine-auth-type") == Some("tls") {
        let next = "Adit's IKEv1 has a pre-shared key only; if the server has IKEv2: tunnel = \"ikev2\"";
        draft.missing("vpn.machine-auth-type: IKEv1 by certificate", next);
        return;
    }
    let (from, psk) = match secrets.exact("ipsec-psk") {
        Some(psk) => ("vpn-secrets.ipsec-psk", Some(psk)),
        None => ("vpn.ipsec-psk", vpn.exact("ipsec-psk")),
    };
    if let Some(psk) = psk
        && draft.weak_needed(from, Weakening::GroupPsk)
    {
        // The plugin writes Base64 as strongSwan does, which a PSK file of ours is read as, too.
        match psk.starts_with("0s") {
            true => draft.psk_as_written(psk, from),
            false => draft.psk(psk.as_bytes(), from),
        }
    }
    for (key, ours) in [
        ("ipsec-remote-id", "remote-id"),
        ("ipsec-gateway-id", "remote-id"),
        ("ipsec-group-name", "local-id"),
    ] {
        if let Some(id) = vpn.text(key).filter(|id| *id != "%any") {
            // libreswan's mark for a host name that is not to be looked up.
            draft.identity(ours, id.trim_start_matches('@'), &format!("vpn.{key}"));
        }
    }
    for (key, ours) in [("ipsec-ike", "ike"), ("ipsec-esp", "esp")] {
        if let Some(texts) = vpn.text(key) {
            draft.proposals(ours, texts.split(','), &format!("vpn.{key}"));
        }
    }
    for (key, ours) in [("ipsec-ikelifetime", "rekey-ike"), ("ipsec-salifetime", "rekey-child")] {
        if let Some(time) = vpn.text(key) {
            draft.duration(ours, time, &format!("vpn.{key}"));
        }
    }
    if vpn.flag("ipsec-forceencaps") == Some(true) {
        draft.flag("force-encapsulation", true, "vpn.ipsec-forceencaps");
    }
}

fn sstp(draft: &mut Draft<'_>, vpn: &Table, secrets: &Table) {
    if let Some(path) = vpn.text("ca-cert") {
        draft.wants("ca", path, "vpn.ca-cert");
    }
    if vpn.flag("ignore-cert-warn") == Some(true) {
        draft.weak("vpn.ignore-cert-warn", Weakening::UncheckedCertificate);
    }
    match vpn.text("tls-verify-method") {
        None | Some("name" | "subject" | "name-prefix") => {}
        Some(_) => draft.weakens("vpn.tls-verify-method", Weakening::UncheckedName),
    }
    if vpn.text("connection-type") == Some("tls") {
        draft.set("eap-methods", Value::List(vec!["tls".into()]), "vpn.connection-type");
        draft.needs_own = Some("vpn.tls-user-cert".to_owned());
        for (key, ours) in [("tls-ca-cert", "ca"), ("tls-user-cert", "certificate"), ("tls-user-key", "key")]
        {
            if let Some(path) = vpn.text(key) {
                draft.wants(ours, path, &format!("vpn.{key}"));
            }
        }
        if let Some(identity) = vpn.text("tls-identity") {
            draft.text("eap-identity", identity, "vpn.tls-identity");
        }
        if let Some(password) = secrets.exact("tls-user-key-secret") {
            draft.secret("key-password-file", password, "vpn-secrets.tls-user-key-secret");
        }
    }
    proxy(draft, vpn, secrets);
    draft.leave(vpn, "vpn", OF_SSTP);
}

fn proxy(draft: &mut Draft<'_>, vpn: &Table, secrets: &Table) {
    let Some(server) = vpn.text("proxy-server") else { return };
    let port = vpn.text("proxy-port").unwrap_or("3128");
    draft.text("proxy", &format!("{server}:{port}"), "vpn.proxy-server");
    draft.carries("vpn.proxy-port", "proxy");
    let user = vpn.text("proxy-user");
    let password = secrets.exact("proxy-password");
    match (user, password) {
        (Some(user), Some(password)) => {
            draft.text("proxy-user", user, "vpn.proxy-user");
            draft.secret("proxy-password-file", password, "vpn-secrets.proxy-password");
        }
        (Some(user), None) => {
            draft.left(
                "vpn.proxy-user",
                Some(user),
                "its password is not in the file: add proxy-user and proxy-password-file",
            );
        }
        (None, Some(_)) => draft.left("vpn-secrets.proxy-password", None, "there is no user for it"),
        (None, None) => {}
    }
}
