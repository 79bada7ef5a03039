//! Connections of NetworkManager-l2tp, -pptp and -sstp: pppd's options, and what each has beside.

use adit_core::Failure;

use super::foreign::{Data, proposals};
use super::{Page, Read, What};
use crate::settings::Settings;

/// What changes nothing here: compression of packets and headers, which is not done; what pppd asks its peer, which is always
/// asked; and which number its interface has.
const HARMLESS: &[&str] = &[
    "nobsdcomp",
    "nodeflate",
    "no-vj-comp",
    "nopcomp",
    "noaccomp",
    "lcp-echo-failure",
    "lcp-echo-interval",
    "unit",
    "mru",
    "ephemeral-port",
    "connection-type",
    "user-auth-type",
    "machine-auth-type",
    "tls-ext",
    "tls-max-version",
    "ipsec-ikev2-disable",
];
/// What may be broken, and is taken where the connection itself names it.
const LEGACY: [&str; 4] = ["3des", "sha1", "modp1024", "modp1536"];

/// NetworkManager-l2tp.
pub(super) fn l2tp(settings: &Settings, read: Read<'_>, page: &mut Page) -> Result<(), Failure> {
    let data = Data::of(settings, "l2tp");
    begin(&data, page, "l2tp")?;
    if data.get("user-auth-type") == Some("tls") {
        certificate(&data, read, page, ["user-cert", "user-key"])?;
        if let Some(ca) = data.get("user-ca") {
            page.toml.list("ca", &[read(ca, What::Certificates)?.as_str()]);
        }
    } else {
        page.password(settings, "password");
        logins(&data, page, true)?;
    }
    encryption(&data, page, false);
    ipsec(settings, &data, page)?;
    page.common(settings, &|_| false);
    data.done(HARMLESS)
}

/// NetworkManager-pptp.
pub(super) fn pptp(settings: &Settings, page: &mut Page) -> Result<(), Failure> {
    let data = Data::of(settings, "pptp");
    begin(&data, page, "pptp")?;
    page.password(settings, "password");
    logins(&data, page, false)?;
    // Encryption is required here, also where the connection does not say so.
    encryption(&data, page, true);
    page.common(settings, &|_| false);
    data.done(HARMLESS)
}

/// NetworkManager-sstp.
pub(super) fn sstp(settings: &Settings, read: Read<'_>, page: &mut Page) -> Result<(), Failure> {
    let data = Data::of(settings, "sstp");
    let pin = "whoever is in between would be believed; believe that one server's certificate instead:  \
               nmcli connection modify NAME -vpn.data ignore-cert-warn; \
               nmcli connection modify NAME +vpn.data ca-cert=/PATH/OF/ITS/CERTIFICATE.pem";
    data.not("ignore-cert-warn", pin)?;
    begin(&data, page, "sstp")?;
    if let Some(ca) = data.get("ca-cert") {
        page.toml.list("ca", &[read(ca, What::Certificates)?.as_str()]);
    }
    data.not("crl-file", "take it out: whether a certificate was revoked is asked of its authority")?;
    data.not("proxy-user", "write a profile with  proxy-user  and  proxy-password-file, and  ctl up  it")?;
    data.not("tls-verify-method", "take it out: the certificate has to be for the server's name, always")?;
    if let Some(proxy) = data.get("proxy-server") {
        page.toml.text("proxy", &format!("{proxy}:{}", data.get("proxy-port").unwrap_or("8080")));
    }
    if data.get("connection-type") == Some("tls") {
        certificate(&data, read, page, ["tls-user-cert", "tls-user-key"])?;
        if let Some(identity) = data.get("tls-identity") {
            page.toml.text("eap-identity", identity);
        }
    } else {
        page.password(settings, "password");
        logins(&data, page, false)?;
    }
    // TLS encrypts, and MPPE in it is not done.
    for key in ["require-mppe", "require-mppe-40", "require-mppe-128", "mppe-stateful"] {
        let _ = data.get(key);
    }
    page.common(settings, &|_| false);
    data.done(HARMLESS)
}

fn begin(data: &Data<'_>, page: &mut Page, tunnel: &'static str) -> Result<(), Failure> {
    page.toml.text("tunnel", tunnel);
    page.toml.text("server", data.must("gateway")?);
    // NetworkManager gives the name of who is logged in here where the connection says none: that is nobody's there.
    if let Some(user) = data.get("user") {
        match data.get("domain") {
            Some(domain) => page.toml.text("user", &format!("{domain}\\{user}")),
            None => page.toml.text("user", user),
        }
    }
    let _ = data.get("domain");
    if let Some(mtu) = data.get("mtu").and_then(|mtu| mtu.parse::<u16>().ok()) {
        page.toml.bare("mtu", mtu);
    }
    Ok(())
}

/// Ways to log in that the connection does not refuse. The password is never said in clear.
fn logins(data: &Data<'_>, page: &mut Page, in_ipsec: bool) -> Result<(), Failure> {
    let refuses = |key| data.yes(key);
    let (eap, v2) = (!refuses("refuse-eap"), !refuses("refuse-mschapv2"));
    let (v1, chap, pap) = (!refuses("refuse-mschap"), !refuses("refuse-chap"), !refuses("refuse-pap"));
    let mut ways: Vec<&str> = [("eap", eap), ("mschapv2", v2)].iter().filter(|w| w.1).map(|w| w.0).collect();
    if ways.is_empty() && chap && in_ipsec {
        ways.push("chap");
    }
    if ways.is_empty() {
        let left = [("mschap", v1), ("chap", chap), ("pap", pap)];
        let left: Vec<&str> = left.iter().filter(|w| w.1).map(|w| w.0).collect();
        let text = format!("logging in by nothing but {}", left.join(", "));
        let hint = "allow MS-CHAPv2:  nmcli connection modify NAME -vpn.data refuse-mschapv2";
        return Err(data.refused(&text, hint));
    }
    page.toml.list("ppp-auth", &ways);
    Ok(())
}

/// MPPE.
fn encryption(data: &Data<'_>, page: &mut Page, always: bool) {
    let [strong, weak] = ["require-mppe-128", "require-mppe-40"].map(|key| data.yes(key));
    if data.yes("require-mppe") || strong || weak || always {
        page.toml.bare("require-mppe", true);
    }
    if weak && !strong {
        page.toml.list("mppe", &["40"]);
    }
    if data.yes("mppe-stateful") {
        page.toml.bare("mppe-stateful", true);
    }
}

/// EAP-TLS with files.
fn certificate(
    data: &Data<'_>,
    read: Read<'_>,
    page: &mut Page,
    [certificate, key]: [&'static str; 2],
) -> Result<(), Failure> {
    page.toml.list("ppp-auth", &["eap"]);
    page.toml.list("eap-methods", &["tls"]);
    page.toml.list("certificate", &[read(data.must(certificate)?, What::Certificates)?.as_str()]);
    page.toml.text("key", &read(data.must(key)?, What::Key)?);
    Ok(())
}

fn ipsec(settings: &Settings, data: &Data<'_>, page: &mut Page) -> Result<(), Failure> {
    let by_certificate = data.get("machine-auth-type") == Some("tls");
    let psk = data.get("ipsec-psk");
    if !data.yes("ipsec-enabled") {
        page.toml.text("ipsec", "none");
        return Ok(());
    }
    if by_certificate {
        return Err(
            data.refused("machine-auth-type=tls", "IKEv1 has a pre-shared key only:  vpn.data ipsec-psk")
        );
    }
    match psk {
        // Where the plugin itself keeps it.
        Some(psk) => page.toml.text("psk", psk),
        None => {
            let proof = page.proof;
            page.psk(settings, "ipsec-psk");
            page.proof = proof;
        }
    }
    if let Some(id) = data.get("ipsec-remote-id").or(data.get("ipsec-gateway-id")) {
        page.toml.text("remote-id", id.trim_start_matches('@'));
    }
    let mut legacy = false;
    for (key, text) in [("ike", data.get("ipsec-ike")), ("esp", data.get("ipsec-esp"))] {
        if let Some(text) = text {
            let proposals = proposals(text);
            legacy |= proposals.iter().any(|p| p.split('-').any(|word| LEGACY.contains(&word)));
            page.toml.list(key, &proposals);
        }
    }
    if legacy {
        page.toml.bare("legacy", true);
    }
    if data.yes("ipsec-forceencaps") {
        page.toml.bare("force-encapsulation", true);
    }
    // What the daemon decides by itself.
    for key in ["ipsec-pfs", "ipsec-ikelifetime", "ipsec-salifetime", "ipsec-ipcomp", "ipsec-ikev2"] {
        let _ = data.get(key);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use adit_profile::{PppAuth, Profile, Source, TunnelKind, parse_profile};

    use super::*;
    use crate::draft::Draft;
    use crate::draft::tests::pem;
    use crate::settings::tests::dictionary;

    fn draft(plugin: &str, data: &[(&str, &str)], secrets: &[(&str, &str)]) -> Result<Draft, Failure> {
        let service = format!("org.freedesktop.NetworkManager.{plugin}");
        Draft::of(&Settings::read(&dictionary(&service, data, secrets, &[])).unwrap(), &pem)
    }

    fn profile(draft: &Draft) -> Profile {
        let source = Source { file: "t", text: &draft.toml, access: None };
        parse_profile(&draft.name.parse().unwrap(), &source, &|_, _| Ok(Vec::new())).unwrap()
    }

    #[test]
    fn l2tp_as_the_plugin_s_editor_writes_it() {
        let data = [
            ("gateway", "vpn.example.com"),
            ("ipsec-enabled", "yes"),
            ("ipsec-psk", "swordfish"),
            ("ipsec-ike", "aes256-sha256-modp2048,3des-sha1-modp1024!"),
            ("machine-auth-type", "psk"),
            ("password-flags", "1"),
            ("user", "alice"),
            ("domain", "CORP"),
            ("user-auth-type", "password"),
            ("refuse-eap", "yes"),
            ("mtu", "1400"),
        ];
        let told = draft("l2tp", &data, &[]).unwrap();
        assert_eq!((told.missing.as_slice(), told.proof), (&["password"][..], Some("password")));
        let l2tp = profile(&told);
        assert_eq!((l2tp.kind, l2tp.user.as_deref()), (TunnelKind::L2tp, Some("CORP\\alice")));
        assert_eq!((l2tp.ike.len(), l2tp.legacy, l2tp.mtu), (2, true, Some(1400)));
        assert_eq!(l2tp.ppp.unwrap().auth, [PppAuth::MsChapV2]);
        let plain = draft("l2tp", &[("gateway", "a"), ("user", "alice")], &[("password", "x")]).unwrap();
        assert!(plain.toml.contains("ipsec = \"none\"") && plain.missing.is_empty());
    }

    #[test]
    fn pptp_is_encrypted_or_not_at_all() {
        let data = [
            ("gateway", "203.0.113.1"),
            ("user", "alice"),
            ("password-flags", "1"),
            ("refuse-eap", "yes"),
            ("refuse-pap", "yes"),
            ("refuse-chap", "yes"),
            ("refuse-mschap", "yes"),
            ("require-mppe", "yes"),
            ("nobsdcomp", "yes"),
        ];
        let pptp = profile(&draft("pptp", &data, &[]).unwrap());
        assert_eq!(pptp.kind, TunnelKind::Pptp);
        assert!(pptp.ppp.is_some_and(|ppp| ppp.auth == [PppAuth::MsChapV2] && ppp.mppe.required));
        let bare = draft("pptp", &[("gateway", "a"), ("user", "alice")], &[]).unwrap();
        assert!(profile(&bare).ppp.is_some_and(|ppp| ppp.mppe.required));
        let pap = [("gateway", "a"), ("user", "b"), ("refuse-eap", "yes"), ("refuse-mschapv2", "yes")];
        assert!(draft("pptp", &pap, &[]).is_err());
    }

    #[test]
    fn sstp_believes_no_certificate_blindly() {
        let data = [
            ("gateway", "vpn.example.com:8443"),
            ("user", "alice"),
            ("password-flags", "1"),
            ("ca-cert", "/etc/ssl/certs/corp-ca.pem"),
            ("ignore-cert-warn", "no"),
            ("tls-ext", "yes"),
            ("proxy-server", "proxy.example.com"),
            ("proxy-port", "3128"),
        ];
        let sstp = profile(&draft("sstp", &data, &[]).unwrap());
        assert_eq!((sstp.kind, sstp.ca.len(), sstp.servers[0].port), (TunnelKind::Sstp, 1, Some(8443)));
        assert!(sstp.proxy().is_some());
        let blind = [("gateway", "a"), ("user", "alice"), ("ignore-cert-warn", "yes")];
        let failure = draft("sstp", &blind, &[]).err().unwrap();
        assert!(failure.hint.unwrap().contains("+vpn.data ca-cert="), "the way out");
    }
}
