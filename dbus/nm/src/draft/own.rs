//! Our own type: `vpn.data` has the keys of a profile, and their values as a profile has them, without quotation marks.

use adit_core::Failure;
use adit_import::own::{BARE, LISTS, is_bare, words};

use super::{Page, Read, What, mistake};
use crate::settings::Settings;

/// Certificates: files, perhaps anywhere.
const CERTIFICATES: &[&str] = &["ca", "certificate"];
/// What an administrator has put on this host for his own profiles, and not for a person's.
const ADMINISTRATORS: &[&str] = &[
    "psk-file",
    "password-file",
    "ppk-file",
    "key-password-file",
    "proxy-password-file",
    "tunnel-secret-file",
    "ppp-scripts",
];
const SECRETS: &[&str] = &["psk", "password", "pin"];

pub(super) fn translate(settings: &Settings, read: Read<'_>, page: &mut Page) -> Result<(), Failure> {
    let says = |key: &str| settings.data.contains_key(key);
    for (key, value) in settings.data.iter().filter(|(key, _)| !key.ends_with("-flags")) {
        entry(settings, read, page, (key, value))?;
    }
    page.common(settings, &says);
    let value = |key: &str| settings.data.get(key).map(String::as_str);
    let tunnels: Vec<&str> = value("tunnel").into_iter().flat_map(words).collect();
    let ppp = matches!(tunnels[..], ["pptp" | "sstp" | "l2tp"]);
    let l2tp = tunnels == ["l2tp"] && value("ipsec") != Some("none");
    let by_psk = !ppp && [value("auth"), value("remote-auth")].contains(&Some("psk"));
    // Of several types only L2TP has one, which takes part if it is there.
    let given = is_choice(&tunnels) && (settings.secrets.contains_key("psk") || says("psk-flags"));
    if (by_psk || l2tp || given) && !says("psk-file") {
        page.psk(settings, "psk");
    }
    let by_password = ppp || is_choice(&tunnels) || value("auth") == Some("eap");
    if by_password && !says("key") && !says("password-file") && !by_code(&value) {
        page.password(settings, "password");
    }
    if let Some(pin) = settings.secrets.get("pin") {
        page.answers.insert("pin", pin.clone());
    }
    Ok(())
}

/// Whether what is asked for is a code that the daemon asks for when the server does (EAP-GTC), and nothing that is kept.
fn by_code<'s>(value: &dyn Fn(&str) -> Option<&'s str>) -> bool {
    let inside = value("eap-inner") == Some("gtc");
    let code = |method: &str| method == "gtc" || inside && matches!(method, "peap" | "ttls");
    value("eap-methods").is_some_and(|methods| words(methods).next().is_some() && words(methods).all(code))
}

/// Whether that names several types of tunnel.
fn is_choice(tunnels: &[&str]) -> bool {
    tunnels.len() > 1 || tunnels.iter().any(|word| *word == "auto" || word.ends_with("-first"))
}

fn entry(
    settings: &Settings,
    read: Read<'_>,
    page: &mut Page,
    (key, value): (&str, &str),
) -> Result<(), Failure> {
    if !settings.users.is_empty() && ADMINISTRATORS.contains(&key) {
        let text = format!("vpn.data: `{key}` is not for a connection that is one person's");
        return Err(mistake(text)
            .hint("let everybody have it:  nmcli connection modify NAME connection.permissions ''"));
    }
    match key {
        "start" => {
            let text = "vpn.data: `start` has no use: NetworkManager says when it is raised";
            return Err(mistake(text).hint("nmcli connection modify UPLINK connection.secondaries NAME"));
        }
        "child" => {
            return Err(
                mistake("vpn.data: `child` can't be said here").hint("write a profile, and ctl up NAME")
            );
        }
        _ if SECRETS.contains(&key) => {
            let text = format!("vpn.data: `{key}` is a secret, and stands where everybody can read it");
            return Err(mistake(text).hint(format!("nmcli connection modify NAME vpn.secrets {key}=…")));
        }
        "key" => own_key(settings, read, page, value)?,
        _ if CERTIFICATES.contains(&key) => {
            let read = |file: &str| match file.starts_with('/') {
                true => read(file, What::Certificates).map(|pem| pem.to_string()),
                false => Ok(file.to_owned()),
            };
            let files: Vec<String> = words(value).map(read).collect::<Result<_, _>>()?;
            page.toml.list(key, &files);
        }
        // One word may be more than a type: `auto`.
        "tunnel" if words(value).nth(1).is_some() => page.toml.list(key, &words(value).collect::<Vec<_>>()),
        _ if LISTS.contains(&key) => page.toml.list(key, &words(value).collect::<Vec<_>>()),
        _ if BARE.contains(&key) && is_bare(value) => page.toml.bare(key, value.trim()),
        _ => page.toml.text(key, value),
    }
    Ok(())
}

/// A file's content, a token's key, or the name of a file in `/etc/adit/private`, which is the administrator's.
fn own_key(settings: &Settings, read: Read<'_>, page: &mut Page, value: &str) -> Result<(), Failure> {
    if value.starts_with('/') {
        page.toml.text("key", &read(value, What::Key)?);
        return Ok(());
    }
    if !value.starts_with("pkcs11:") && !settings.users.is_empty() {
        let text = "vpn.data: `key` names a file of this host's, in a connection that is one person's";
        return Err(mistake(text).hint("name your own file, with its whole path"));
    }
    page.toml.text("key", value);
    Ok(())
}

#[cfg(test)]
mod tests {
    use adit_profile::{Profile, Source, Tunnel, TunnelKind, parse_profile};
    use zbus::Variant;

    use crate::draft::Draft;
    use crate::draft::tests::pem;
    use crate::settings::Settings;
    use crate::settings::tests::dictionary;

    const ADIT: &str = "org.freedesktop.NetworkManager.adit";

    fn draft(
        data: &[(&str, &str)],
        secrets: &[(&str, &str)],
        more: &[(&str, &str, Variant<'_>)],
    ) -> Result<Draft, adit_core::Failure> {
        Draft::of(&Settings::read(&dictionary(ADIT, data, secrets, more)).unwrap(), &pem)
    }

    /// As the daemon reads it.
    fn profile(draft: &Draft) -> Profile {
        let source = Source { file: "t", text: &draft.toml, access: None };
        parse_profile(&draft.name.parse().unwrap(), &source, &|_, _| Ok(Vec::new())).unwrap()
    }

    #[test]
    fn a_connection_is_the_profile_that_it_spells() {
        let data = [
            ("server", "vpn1.example.com vpn2.example.com"),
            ("auth", "eap"),
            ("user", "CORP\\alice"),
            ("password-flags", "1"),
            ("mtu", "1400"),
            ("mobility", "false"),
            ("ca", "/home/alice/ca.pem"),
        ];
        let told = draft(&data, &[], &[("connection", "interface-name", "corp".into())]).unwrap();
        assert_eq!((told.missing.as_slice(), told.proof), (&["password"][..], Some("password")));
        let profile = profile(&told);
        assert_eq!((profile.servers.len(), profile.mtu, profile.mobility), (2, Some(1400), false));
        assert_eq!(profile.user.as_deref(), Some("CORP\\alice"));
        assert_eq!(profile.interface.unwrap().as_str(), "corp");
        assert!(told.toml.contains("/home/alice/ca.pem"));
    }

    #[test]
    fn a_connection_may_have_several_types_of_tunnel() {
        let kinds = |tunnel: &str, more: &[(&str, &str)]| {
            let data = [&[("server", "a"), ("user", "alice"), ("tunnel", tunnel)][..], more].concat();
            profile(&draft(&data, &[], &[]).unwrap()).kinds()
        };
        assert_eq!(kinds("ikev2 sstp", &[("race", "false")]), [TunnelKind::Ikev2, TunnelKind::Sstp]);
        assert_eq!(
            kinds("auto", &[("weak", "true")]),
            [TunnelKind::Ikev2, TunnelKind::Sstp, TunnelKind::Pptp]
        );
        assert_eq!(kinds("sstp", &[]), [TunnelKind::Sstp]);
    }

    #[test]
    fn what_is_there_is_not_asked_for() {
        let data = [("server", "a"), ("tunnel", "l2tp"), ("user", "alice")];
        let secrets = [("psk", "swordfish"), ("password", "x")];
        let all = draft(&data, &secrets, &[]).unwrap();
        assert_eq!((all.missing.len(), all.answers["password"].as_str()), (0, "x"));
        assert_eq!(profile(&all).kind, TunnelKind::L2tp);
        assert!(!all.toml.contains("password"), "the daemon asks for it, and forgets what is wrong");
        assert_eq!(draft(&data, &[], &[]).unwrap().missing, ["psk", "password"]);
        let without = [("server", "a"), ("tunnel", "sstp"), ("user", "alice"), ("password-flags", "4")];
        assert!(draft(&without, &[], &[]).unwrap().missing.is_empty());
    }

    #[test]
    fn a_code_is_not_asked_for_beforehand() {
        let missing = |more: &[(&str, &str)]| {
            let data = [&[("server", "a"), ("auth", "eap"), ("user", "alice")][..], more].concat();
            draft(&data, &[], &[]).unwrap().missing
        };
        assert!(missing(&[("eap-methods", "gtc")]).is_empty());
        assert!(missing(&[("eap-methods", "peap"), ("eap-inner", "gtc")]).is_empty());
        assert_eq!(missing(&[("eap-methods", "peap")]), ["password"]);
        assert_eq!(missing(&[("eap-methods", "peap, mschapv2"), ("eap-inner", "gtc")]), ["password"]);
        assert_eq!(missing(&[("eap-methods", "")]), ["password"]);
    }

    #[test]
    fn never_default_is_a_split_tunnel() {
        let data = [("server", "a"), ("auth", "eap"), ("user", "alice")];
        let route = vec![u32::from_ne_bytes([10, 1, 0, 0]), 16, 0, 0];
        let more = [("ipv4", "never-default", true.into()), ("ipv4", "routes", vec![route].into())];
        let split = profile(&draft(&data, &[], &more).unwrap());
        assert_eq!((split.tunnel, split.remote_subnets.len()), (Tunnel::Split, 1));
        assert_eq!(profile(&draft(&data, &[], &[]).unwrap()).tunnel, Tunnel::Full);
    }

    #[test]
    fn what_is_not_a_person_s_own_is_not_given_to_one() {
        let own = || [("connection", "permissions", Variant::from(vec!["user:alice:"]))];
        for (key, value) in
            [("password-file", "corp.password"), ("key", "server.pem"), ("ppp-scripts", "true")]
        {
            assert!(draft(&[("server", "a"), (key, value)], &[], &own()).is_err(), "{key}");
            assert!(draft(&[("server", "a"), (key, value)], &[], &[]).is_ok(), "{key}");
        }
        let key = [("server", "a"), ("auth", "certificate"), ("key", "/home/alice/a.key")];
        assert!(draft(&key, &[], &own()).unwrap().toml.contains("/home/alice/a.key"));
    }

    #[test]
    fn a_secret_does_not_stand_among_the_data() {
        let failure = draft(&[("server", "a"), ("password", "hunter2")], &[], &[]).err().unwrap();
        assert!(!failure.text.contains("hunter2") && failure.hint.unwrap().contains("vpn.secrets password="));
        assert!(draft(&[("server", "a"), ("start", "boot")], &[], &[]).is_err());
    }
}
