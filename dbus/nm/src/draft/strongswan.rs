//! Connections of NetworkManager-strongswan: IKEv2.

use adit_core::Failure;
use zeroize::Zeroizing;

use super::foreign::{Data, proposals};
use super::{Page, Read, What, mistake};
use crate::settings::Settings;

/// What has no use here: compression, and where strongSwan keeps things.
const HARMLESS: &[&str] = &["ipcomp", "cert-source"];

pub(super) fn translate(settings: &Settings, read: Read<'_>, page: &mut Page) -> Result<(), Failure> {
    let data = Data::of(settings, "strongswan");
    page.toml.text("server", data.must("address")?);
    if let Some(port) = data.get("server-port") {
        page.toml.bare("port", number(port)?);
    }
    authentication(settings, &data, read, page)?;
    if let Some(ca) = data.get("certificate") {
        page.toml.list("ca", &[read(ca, What::Certificates)?.as_str()]);
    }
    if let Some(id) = data.get("remote-identity") {
        page.toml.text("remote-id", id);
    }
    if data.yes("encap") {
        page.toml.bare("force-encapsulation", true);
    }
    let (ike, esp) = (data.get("ike"), data.get("esp"));
    if data.yes("proposal") {
        for (key, text) in [("ike", ike), ("esp", esp)] {
            if let Some(text) = text {
                page.toml.list(key, &proposals(text));
            }
        }
    }
    let split = selectors(&data, page);
    // Without it, strongSwan asks for no address.
    if !data.yes("virtual") {
        page.toml.list::<&str>("addresses", &[]);
    }
    page.common(settings, &|key| split && matches!(key, "traffic" | "remote-subnets"));
    data.done(HARMLESS)
}

/// Networks, and whether they are some only.
fn selectors(data: &Data<'_>, page: &mut Page) -> bool {
    let networks = |text: &str| -> Vec<String> {
        text.split([';', ',', ' ']).filter(|one| !one.is_empty()).map(str::to_owned).collect()
    };
    if let Some(local) = data.get("local-ts") {
        page.toml.list("local-subnets", &networks(local));
    }
    let remote = data.get("remote-ts").map(networks).unwrap_or_default();
    let split = !remote.is_empty() && !remote.iter().any(|one| one == "0.0.0.0/0" || one == "::/0");
    if split {
        page.toml.text("traffic", "split");
        page.toml.list("remote-subnets", &remote);
    }
    split
}

fn authentication(
    settings: &Settings,
    data: &Data<'_>,
    read: Read<'_>,
    page: &mut Page,
) -> Result<(), Failure> {
    let (user, identity) = (data.get("user"), data.get("local-identity"));
    let source = data.get("cert-source");
    match data.get("method") {
        Some("eap") => {
            page.toml.text("auth", "eap");
            page.toml.text("user", user.ok_or_else(|| mistake("vpn.data: `user` is missing"))?);
            page.password(settings, "password");
        }
        Some("psk") => {
            page.toml.text("auth", "psk");
            page.psk(settings, "password");
        }
        Some(method @ ("cert" | "key" | "eap-tls")) => {
            if let Some(other @ ("agent" | "smartcard")) = source {
                return Err(no_key_here(data, other));
            }
            page.toml.text("auth", if method == "eap-tls" { "eap" } else { "certificate" });
            if method == "eap-tls" {
                page.toml.list("eap-methods", &["tls"]);
            }
            page.toml.list("certificate", &[read(data.must("usercert")?, What::Certificates)?.as_str()]);
            page.toml.text("key", &unencrypted(read(data.must("userkey")?, What::Key)?)?);
        }
        Some(other @ ("agent" | "smartcard")) => return Err(no_key_here(data, other)),
        _ => return Err(data.refused("method", "it is one of  eap, psk, cert, key, eap-tls")),
    }
    // With a pre-shared key the user is who we say that we are.
    let psk = data.get("method") == Some("psk");
    if let Some(id) = identity.or(user.filter(|_| psk)) {
        page.toml.text("local-id", id);
    }
    Ok(())
}

fn no_key_here(data: &Data<'_>, what: &str) -> Failure {
    let hint = "a key in a token goes by a connection of our own type:  vpn.data key=pkcs11:…";
    data.refused(&format!("a key of a {what}"), hint)
}

/// The daemon takes a key's password from a file only.
fn unencrypted(key: Zeroizing<String>) -> Result<Zeroizing<String>, Failure> {
    match key.contains("ENCRYPTED") {
        true => Err(mistake("the private key is encrypted, and its password can't be handed over")
            .hint("write a profile with  key  and  key-password-file, and  ctl up  it")),
        false => Ok(key),
    }
}

fn number(text: &str) -> Result<u16, Failure> {
    text.parse().map_err(|_| mistake(format!("vpn.data: `server-port` is no port: {}", text.escape_debug())))
}

#[cfg(test)]
mod tests {
    use adit_profile::{AuthMethod, Profile, Source, Tunnel, parse_profile};

    use super::*;
    use crate::draft::Draft;
    use crate::draft::tests::pem;
    use crate::settings::tests::dictionary;

    fn draft(data: &[(&str, &str)], secrets: &[(&str, &str)]) -> Result<Draft, Failure> {
        let all = dictionary("org.freedesktop.NetworkManager.strongswan", data, secrets, &[]);
        Draft::of(&Settings::read(&all).unwrap(), &pem)
    }

    fn profile(draft: &Draft) -> Profile {
        let source = Source { file: "t", text: &draft.toml, access: None };
        parse_profile(&draft.name.parse().unwrap(), &source, &|_, _| Ok(Vec::new())).unwrap()
    }

    #[test]
    fn as_the_plugin_s_editor_writes_it() {
        let data = [
            ("address", "vpn.example.com"),
            ("certificate", "/etc/ssl/certs/corp-ca.pem"),
            ("encap", "no"),
            ("ipcomp", "no"),
            ("method", "eap"),
            ("password-flags", "1"),
            ("proposal", "no"),
            ("user", "alice"),
            ("virtual", "yes"),
            ("ike", "aes256-sha1-modp1024"),
        ];
        let told = draft(&data, &[]).unwrap();
        assert_eq!(told.missing, ["password"]);
        let full = profile(&told);
        assert_eq!(
            (full.auth, full.tunnel, full.user.as_deref()),
            (AuthMethod::Eap, Tunnel::Full, Some("alice"))
        );
        assert!(full.addresses.ipv4 && full.addresses.ipv6 && full.ike.is_empty() && full.ca.len() == 1);
    }

    #[test]
    fn networks_proposals_and_a_key() {
        let data = [
            ("address", "203.0.113.1"),
            ("server-port", "4500"),
            ("method", "key"),
            ("usercert", "/home/alice/alice.pem"),
            ("userkey", "/home/alice/alice.key"),
            ("remote-identity", "vpn.example.com"),
            ("remote-ts", "10.1.0.0/16;10.2.0.0/16"),
            ("proposal", "yes"),
            ("ike", "aes256gcm16-prfsha256-x25519;aes256-sha256-modp3072"),
            ("virtual", "yes"),
            ("encap", "yes"),
        ];
        let split = profile(&draft(&data, &[]).unwrap());
        assert_eq!((split.auth, split.tunnel), (AuthMethod::Certificate, Tunnel::Split));
        assert_eq!((split.remote_subnets.len(), split.ike.len(), split.keys.len()), (2, 2, 1));
        assert!(split.force_encapsulation && split.servers[0].port == Some(4500));
        let psk = [("address", "a"), ("method", "psk"), ("user", "alice@example.com"), ("virtual", "yes")];
        let psk = draft(&psk, &[("password", "correct horse battery staple")]).unwrap();
        assert_eq!(profile(&psk).local_id.unwrap().to_string(), "alice@example.com");
    }

    #[test]
    fn what_is_not_carried_over_is_told() {
        for more in [("method", "agent"), ("method", "smartcard"), ("method", "cert"), ("strict", "yes")] {
            let method = [("address", "a"), ("method", "eap"), ("user", "alice"), more];
            assert!(draft(&method, &[]).is_err(), "{more:?}");
        }
        assert!(unencrypted(Zeroizing::new("-----BEGIN ENCRYPTED PRIVATE KEY-----".into())).is_err());
    }
}
