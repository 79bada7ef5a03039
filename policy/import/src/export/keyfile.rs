//! A keyfile of NetworkManager.

use adit_profile::{
    AuthMethod, CertSource, EapType, Ipsec, KeySource, PppAuth, Profile, Suite, Tunnel, TunnelKind,
};

use super::{Held, Parts, base64, host, text};

/// `key=value` lines of a section.
pub(crate) struct Section {
    pub(crate) out: String,
}

impl Section {
    /// A file that begins with this section.
    pub(crate) fn begin(name: &str) -> Self {
        Self { out: format!("[{name}]\n") }
    }

    /// The next one.
    pub(crate) fn section(&mut self, name: &str) {
        self.out.push_str(&format!("\n[{name}]\n"));
    }

    pub(crate) fn line(&mut self, key: &str, value: &str) {
        let escaped =
            value.replace('\\', "\\\\").replace('\n', "\\n").replace('\r', "\\r").replace('\t', "\\t");
        let escaped = match escaped.strip_prefix(' ') {
            Some(rest) => format!("\\s{rest}"),
            None => escaped,
        };
        self.out.push_str(&format!("{key}={escaped}\n"));
    }
}

pub(super) fn write(profile: &Profile, parts: &Parts<'_>, held: &mut Held) -> String {
    let plugin = match profile.kind {
        TunnelKind::Ikev2 => "strongswan",
        TunnelKind::L2tp => "l2tp",
        TunnelKind::Sstp => "sstp",
        TunnelKind::Pptp => "pptp",
    };
    let mut s = Section::begin("connection");
    s.line("id", profile.name.as_str());
    s.line("uuid", parts.uuid);
    s.line("type", "vpn");
    s.line("autoconnect", "false");
    if let Some(interface) = &profile.interface {
        s.line("interface-name", interface.as_str());
        held.key("interface");
    }
    s.section("vpn");
    s.line("service-type", &format!("org.freedesktop.NetworkManager.{plugin}"));
    if profile.kind == TunnelKind::Ikev2 {
        strongswan(&mut s, profile, held);
    } else {
        ppp(&mut s, profile, held);
    }
    secrets(&mut s, profile, parts, held);
    addresses(&mut s, profile, held);
    s.out
}

fn strongswan(s: &mut Section, profile: &Profile, held: &mut Held) {
    s.line("address", &host(profile));
    if let Some(port) = profile.servers.first().and_then(|server| server.port) {
        s.line("server-port", &port.to_string());
        held.key("port");
    }
    held.key("auth");
    let by_tls = profile.eap.methods == [EapType::Tls];
    match profile.auth {
        AuthMethod::Psk => {
            s.line("method", "psk");
            s.line("user", &profile.local_id.as_ref().map(ToString::to_string).unwrap_or_default());
            held.key("local-id");
        }
        AuthMethod::Certificate => s.line("method", "cert"),
        AuthMethod::Eap => {
            s.line("method", if by_tls { "eap-tls" } else { "eap" });
            held.key(if by_tls { "eap-methods" } else { "user" });
            if let Some(user) = profile.user.as_ref().filter(|_| !by_tls) {
                s.line("user", user);
            }
        }
    }
    for (key, identity) in [("remote-identity", &profile.remote_id), ("local-identity", &profile.local_id)] {
        if let Some(identity) =
            identity.as_ref().filter(|_| key == "remote-identity" || profile.auth != AuthMethod::Psk)
        {
            s.line(key, &identity.to_string());
            held.key(if key == "remote-identity" { "remote-id" } else { "local-id" });
        }
    }
    file(
        s,
        "certificate",
        profile.ca.first().and_then(CertSource::file).map(adit_profile::FileRef::path),
        "ca",
        held,
    );
    own(s, ("usercert", "userkey"), profile, held);
    s.line("virtual", "yes");
    if profile.force_encapsulation {
        s.line("encap", "yes");
        held.key("force-encapsulation");
    }
    proposals(s, ("ike", "esp"), ";", profile, held);
    if !profile.ike.is_empty() || !profile.esp.is_empty() {
        s.line("proposal", "yes");
    }
    if profile.tunnel == Tunnel::Split && !profile.remote_subnets.is_empty() {
        let all: Vec<String> = profile.remote_subnets.iter().map(ToString::to_string).collect();
        s.line("remote-ts", &all.join(";"));
    }
    if !profile.local_subnets.is_empty() {
        let all: Vec<String> = profile.local_subnets.iter().map(ToString::to_string).collect();
        s.line("local-ts", &all.join(";"));
        held.key("local-subnets");
    }
}

fn file(s: &mut Section, key: &str, path: Option<String>, ours: &'static str, held: &mut Held) {
    if let Some(path) = path {
        s.line(key, &path);
        held.key(ours);
    }
}

fn own(s: &mut Section, (certificate, key): (&str, &str), profile: &Profile, held: &mut Held) {
    let path = profile.certificate.first().and_then(CertSource::file).map(adit_profile::FileRef::path);
    file(s, certificate, path, "certificate", held);
    let path = profile.keys.first().and_then(KeySource::file).map(adit_profile::FileRef::path);
    file(s, key, path, "key", held);
}

fn proposals(s: &mut Section, (ike, esp): (&str, &str), between: &str, profile: &Profile, held: &mut Held) {
    let joined = |all: &[Suite]| all.iter().map(|suite| suite.text.clone()).collect::<Vec<_>>().join(between);
    for (key, suites, ours) in [(ike, &profile.ike, "ike"), (esp, &profile.esp, "esp")] {
        if !suites.is_empty() {
            s.line(key, &joined(suites));
            held.key(ours);
        }
    }
}

fn ppp(s: &mut Section, profile: &Profile, held: &mut Held) {
    match profile.kind {
        TunnelKind::Sstp => {
            s.line("gateway", &profile.servers.first().map(ToString::to_string).unwrap_or_default())
        }
        _ => s.line("gateway", &host(profile)),
    }
    if let Some(user) = &profile.user {
        match user.split_once('\\') {
            Some((domain, user)) => {
                s.line("domain", domain);
                s.line("user", user);
            }
            None => s.line("user", user),
        }
        held.key("user");
    }
    let auth = profile.ppp.as_ref().map(|ppp| ppp.auth.clone()).unwrap_or_default();
    held.key("ppp-auth");
    for (key, method) in [
        ("refuse-eap", Some(PppAuth::Eap)),
        ("refuse-mschapv2", Some(PppAuth::MsChapV2)),
        ("refuse-mschap", Some(PppAuth::MsChapV1)),
        ("refuse-chap", Some(PppAuth::Chap)),
        ("refuse-pap", None),
    ] {
        if method.is_none_or(|method| !auth.contains(&method)) {
            s.line(key, "yes");
        }
    }
    if let Some(ppp) =
        profile.ppp.as_ref().filter(|ppp| ppp.mppe.required && profile.kind != TunnelKind::Sstp)
    {
        s.line(if ppp.mppe.bits40 { "require-mppe" } else { "require-mppe-128" }, "yes");
        held.keys.extend(["require-mppe", "mppe"]);
        if ppp.mppe.stateful {
            s.line("mppe-stateful", "yes");
            held.key("mppe-stateful");
        }
    }
    if let Some(mtu) = profile.mtu {
        s.line("mtu", &mtu.to_string());
        held.key("mtu");
    }
    match profile.kind {
        TunnelKind::L2tp => ipsec(s, profile, held),
        TunnelKind::Sstp => {
            file(
                s,
                "ca-cert",
                profile.ca.first().and_then(CertSource::file).map(adit_profile::FileRef::path),
                "ca",
                held,
            );
        }
        TunnelKind::Ikev2 | TunnelKind::Pptp => {}
    }
}

fn ipsec(s: &mut Section, profile: &Profile, held: &mut Held) {
    held.key("ipsec");
    let protected =
        profile.ppp.as_ref().and_then(|ppp| ppp.l2tp.as_ref()).is_some_and(|l2tp| l2tp.ipsec != Ipsec::None);
    if !protected {
        return;
    }
    s.line("ipsec-enabled", "yes");
    if profile.ppp.as_ref().and_then(|ppp| ppp.l2tp.as_ref()).is_some_and(|l2tp| l2tp.ipsec == Ipsec::Ikev2) {
        s.line("ipsec-ikev2", "yes");
    }
    if profile.psk.is_some() {
        s.line("machine-auth-type", "psk");
    }
    if let Some(id) = &profile.remote_id {
        s.line("ipsec-remote-id", &id.to_string());
        held.key("remote-id");
    }
    proposals(s, ("ipsec-ike", "ipsec-esp"), ",", profile, held);
    if profile.force_encapsulation {
        s.line("ipsec-forceencaps", "yes");
        held.key("force-encapsulation");
    }
}

fn secrets(s: &mut Section, profile: &Profile, parts: &Parts<'_>, held: &mut Held) {
    let psk = profile.kind == TunnelKind::Ikev2 && profile.auth == AuthMethod::Psk;
    let password = if psk { parts.psk } else { parts.password };
    s.line("password-flags", if password.is_some() { "0" } else { "1" });
    held.keys.extend(["psk", "psk-file", "password", "password-file"]);
    s.section("vpn-secrets");
    match (password, text(password)) {
        (Some(_), None) => held.left("psk", "it is no text"),
        (_, Some(password)) => s.line("password", &password),
        (None, None) => held.left("password", "secrets go out only by  --secrets"),
    }
    if profile.kind == TunnelKind::L2tp && profile.psk.is_some() {
        match parts.psk {
            Some(psk) => s.line("ipsec-psk", &format!("0s{}", base64(psk.expose()))),
            None => held.left("psk", "secrets go out only by  --secrets"),
        }
    }
}

fn addresses(s: &mut Section, profile: &Profile, held: &mut Held) {
    held.keys.extend(["traffic", "addresses", "dns", "remote-subnets"]);
    for (section, wanted, v4) in
        [("ipv4", profile.addresses.ipv4, true), ("ipv6", profile.addresses.ipv6, false)]
    {
        s.section(section);
        s.line("method", if wanted || v4 { "auto" } else { "disabled" });
        if profile.tunnel == Tunnel::Split && (wanted || v4) {
            s.line("never-default", "true");
        }
        if profile.dns == adit_profile::Dns::Ignore {
            s.line("ignore-auto-dns", "true");
        }
        // The plugin of IKEv2 has them as remote-ts.
        let routes = profile.remote_networks().into_iter().filter(|n| n.address.is_ipv4() == v4);
        for (n, network) in routes.filter(|_| profile.kind != TunnelKind::Ikev2).enumerate() {
            s.line(&format!("route{}", n.saturating_add(1)), &network.to_string());
        }
    }
}
