//! Connections of NetworkManager's plugins strongswan, l2tp, sstp and pptp. What their keys mean is known in one place,
//! [`adit_import`]: here a connection becomes the keyfile that it would be, and what comes out of that one profile.

use adit_core::Failure;
use adit_import::{Imported, Options, Weakening, import};
use tracing::info;
use zeroize::Zeroizing;

use super::{Page, Read, What, mistake};
use crate::settings::Settings;

/// Room for a keyfile: a text that grew would leave copies of itself in memory.
const ROOM: usize = 64 * 1024;
/// What an import calls the profile: its own name, and what its files begin with.
const NAME: &str = "nm";
/// A pre-shared key of L2TP is many people's by nature, and without it there is no connection.
const ACCEPT: &[Weakening] = &[Weakening::GroupPsk];
/// Values of `vpn.data` that are files.
const FILES: &[(&str, What)] = &[
    ("certificate", What::Certificates),
    ("usercert", What::Certificates),
    ("userkey", What::Key),
    ("user-ca", What::Certificates),
    ("user-cert", What::Certificates),
    ("user-key", What::Key),
    ("ca-cert", What::Certificates),
    ("tls-ca-cert", What::Certificates),
    ("tls-user-cert", What::Certificates),
    ("tls-user-key", What::Key),
];

/// A plugin of NetworkManager's that we stand in for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Plugin {
    Strongswan,
    L2tp,
    Sstp,
    Pptp,
}

impl Plugin {
    /// Whose connections have this `vpn.service-type`.
    pub(super) fn of(service: &str) -> Option<Self> {
        match service.strip_prefix("org.freedesktop.NetworkManager.")? {
            "strongswan" => Some(Self::Strongswan),
            "l2tp" => Some(Self::L2tp),
            "sstp" => Some(Self::Sstp),
            "pptp" => Some(Self::Pptp),
            _ => None,
        }
    }
}

/// The secrets that it takes, by the plugin's own names.
pub(super) fn secrets(plugin: Plugin, settings: &Settings, page: &mut Page) {
    let says = |key: &str, word: &str| settings.data.get(key).is_some_and(|value| value == word);
    match plugin {
        Plugin::Strongswan if says("method", "psk") => {
            page.proof = Some("password");
            let _ = page.takes(settings, "password");
        }
        Plugin::Strongswan if says("method", "eap") => page.password(settings, "password"),
        // A certificate's key is a file.
        Plugin::Strongswan => {}
        Plugin::L2tp => {
            if says("ipsec-enabled", "yes") && !settings.data.contains_key("ipsec-psk") {
                let _ = page.takes(settings, "ipsec-psk");
            }
            if !says("user-auth-type", "tls") {
                page.password(settings, "password");
            }
        }
        Plugin::Sstp if says("connection-type", "tls") => {}
        Plugin::Sstp | Plugin::Pptp => page.password(settings, "password"),
    }
}

/// The profile that the connection spells.
pub(super) fn translate(settings: &Settings, read: Read<'_>, page: &mut Page) -> Result<(), Failure> {
    let named = ["user", "local-identity"].iter().any(|key| settings.data.contains_key(*key));
    if page.proof.is_some() && !named {
        let failure = mistake("vpn.data: `user` is missing: nobody knows who logs in");
        return Err(failure.hint("nmcli connection modify NAME +vpn.data user=WHO"));
    }
    let keyfile = keyfile(settings)?;
    let files = files(settings, read)?;
    let files = files.iter().map(|(name, content)| adit_import::File { name, content: content.as_bytes() });
    let profile = adit_import::File { name: NAME, content: keyfile.as_bytes() };
    let files: Vec<_> = std::iter::once(profile).chain(files).collect();
    let name = NAME.parse().map_err(|_| mistake("a profile has no such name"))?;
    let options = Options { name: Some(&name), accept: ACCEPT, ..Options::default() };
    let done = import(&files, &options).map_err(|error| mistake(error.text).hint(error.next))?;
    let [imported] = done.profiles.as_slice() else { return Err(mistake("it is not one connection")) };
    for left in &imported.left_out {
        info!("not carried over: {}: {}", left.key, left.why);
    }
    refuse(imported)?;
    write(imported, page)
}

/// What the files hold that the connection names, by their paths.
fn files<'s>(settings: &'s Settings, read: Read<'_>) -> Result<Vec<(&'s str, Zeroizing<String>)>, Failure> {
    let mut out: Vec<(&str, Zeroizing<String>)> = Vec::new();
    for (key, what) in FILES {
        let path = settings.data.get(*key).map(String::as_str).filter(|path| path.starts_with('/'));
        let Some(path) = path else { continue };
        // An import goes by the last part of a path.
        let same = |other: &str| other.rsplit('/').next() == path.rsplit('/').next();
        let content = read(path, *what)?;
        match out.iter_mut().find(|(other, _)| same(other)) {
            // A certificate and its key may stand in one file.
            Some((other, held)) if *other == path => {
                let mut both =
                    Zeroizing::new(String::with_capacity(held.len().saturating_add(content.len())));
                both.push_str(held);
                both.push_str(&content);
                *held = both;
            }
            Some((other, _)) => {
                let text = format!("{} and {} have one name", other.escape_debug(), path.escape_debug());
                return Err(mistake(text).hint("give one of the files another name"));
            }
            None => out.push((path, content)),
        }
    }
    Ok(out)
}

/// The connection as NetworkManager keeps it in a file, without the secrets that the daemon asks for.
fn keyfile(settings: &Settings) -> Result<Zeroizing<String>, Failure> {
    let mut out = Zeroizing::new(String::with_capacity(ROOM));
    let name = settings.interface.as_deref().map(|name| ("interface-name", name));
    section(&mut out, "connection", [("type", "vpn")].into_iter().chain(name))?;
    let data = settings.data.iter().map(|(key, value)| (key.as_str(), value.as_str()));
    let data = data.filter(|(key, _)| *key != "service-type");
    section(&mut out, "vpn", std::iter::once(("service-type", settings.service.as_str())).chain(data))?;
    let psk = settings.data.get("method").is_some_and(|method| method == "psk");
    let in_profile = |key: &str| key == "ipsec-psk" || psk && key == "password";
    let secrets = settings.secrets.iter().map(|(key, value)| (key.as_str(), value.as_str()));
    section(&mut out, "vpn-secrets", secrets.filter(|(key, _)| in_profile(key)))?;
    let mut ip: Vec<(String, &str)> = Vec::new();
    if settings.split {
        ip.push(("never-default".to_owned(), "true"));
        let routes = settings.networks.iter().enumerate();
        ip.extend(routes.map(|(n, network)| (format!("route{}", n.saturating_add(1)), network.as_str())));
    }
    if settings.ignores_dns {
        ip.push(("ignore-auto-dns".to_owned(), "true"));
    }
    section(&mut out, "ipv4", ip.iter().map(|(key, value)| (key.as_str(), *value)))?;
    Ok(out)
}

/// A section of a keyfile.
fn section<'a>(
    out: &mut Zeroizing<String>,
    name: &str,
    entries: impl Iterator<Item = (&'a str, &'a str)>,
) -> Result<(), Failure> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    out.push_str(&format!("[{name}]\n"));
    for (key, value) in entries {
        if key.is_empty() || !key.chars().all(fits) {
            return Err(mistake(format!("{name}: \"{}\" is no key", key.escape_debug())));
        }
        if out.len().saturating_add(key.len()).saturating_add(value.len().saturating_mul(2)) > ROOM - 1024 {
            return Err(mistake("the connection is longer than any"));
        }
        out.push_str(key);
        out.push('=');
        for (n, c) in value.chars().enumerate() {
            match c {
                ' ' if n == 0 => out.push_str("\\s"),
                '\n' => out.push_str("\\n"),
                '\r' => out.push_str("\\r"),
                '\t' => out.push_str("\\t"),
                '\\' => out.push_str("\\\\"),
                c => out.push(c),
            }
        }
        out.push('\n');
    }
    Ok(())
}

/// Why there is no profile.
fn refuse(imported: &Imported) -> Result<(), Failure> {
    let unchecked = |weakening| weakening == Weakening::UncheckedCertificate;
    let refused = imported.weak.iter().find(|weak| !weak.taken && (weak.needed || unchecked(weak.weakening)));
    if let Some(weak) = refused {
        let key = weak.key.strip_prefix("vpn.").unwrap_or(&weak.key);
        let hint = match unchecked(weak.weakening) {
            true => format!(
                "believe that server's certificate, or its authority's, and no other:  \
                 nmcli connection modify NAME -vpn.data {key} +vpn.data ca-cert=/PATH/OF/CERTIFICATE.pem"
            ),
            false => weak.weakening.instead().to_owned(),
        };
        return Err(mistake(format!("vpn.data: `{key}`: {}", weak.weakening.why())).hint(hint));
    }
    match (imported.missing.first(), &imported.toml) {
        (Some(missing), _) => Err(mistake(missing.what.clone()).hint(missing.next.clone())),
        (None, None) => Err(mistake("it is no connection that the daemon could raise")),
        (None, Some(_)) => Ok(()),
    }
}

/// The imported profile, with what it has beside it in its own text.
fn write(imported: &Imported, page: &mut Page) -> Result<(), Failure> {
    for line in imported.toml.iter().flat_map(|toml| toml.lines()) {
        let Some((key, value)) = line.split_once(" = ") else { continue };
        let named = imported.files.iter().find(|file| value == format!("\"{}\"", file.name));
        let content = named.map(|file| std::str::from_utf8(file.content.expose())).transpose();
        let content = content.map_err(|_| mistake(format!("`{key}` is not PEM")))?;
        match (key, content) {
            ("ca" | "certificate", Some(pem)) => page.toml.list(key, &[pem]),
            ("key", Some(pem)) => page.toml.text(key, pem),
            ("psk-file", Some(psk)) => page.toml.text("psk", psk),
            (_, Some(_)) => {
                let text = format!("`{key}` names a file, and the daemon is handed none");
                return Err(mistake(text).hint("write a profile:  ctl import FILE, and  ctl up NAME"));
            }
            (_, None) => page.toml.line(line),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use adit_profile::{AuthMethod, PppAuth, Profile, Source, Tunnel, TunnelKind, parse_profile};

    use super::*;
    use crate::draft::Draft;
    use crate::settings::tests::dictionary;

    fn settings(plugin: &str, data: &[(&str, &str)], secrets: &[(&str, &str)]) -> Settings {
        let service = format!("org.freedesktop.NetworkManager.{plugin}");
        Settings::read(&dictionary(&service, data, secrets, &[])).unwrap()
    }

    fn draft(plugin: &str, data: &[(&str, &str)], secrets: &[(&str, &str)]) -> Result<Draft, Failure> {
        Draft::of(&settings(plugin, data, secrets), &pem)
    }

    fn pem(_: &str, what: What) -> Result<Zeroizing<String>, Failure> {
        let key = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
        let ca = include_str!("../../../../policy/pki/tests/data/ann.pem");
        Ok(Zeroizing::new(if what == What::Key { key.to_owned() } else { ca.to_owned() }))
    }

    fn profile(draft: &Draft) -> Profile {
        let source = Source { file: "t", text: &draft.toml, access: None };
        parse_profile(&draft.name.parse().unwrap(), &source, &|_, _| Ok(Vec::new())).unwrap()
    }

    #[test]
    fn strongswan_as_the_plugin_s_editor_writes_it() {
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
        ];
        let asked = Draft::asking(&settings("strongswan", &data, &[])).unwrap();
        assert_eq!((asked.missing.as_slice(), asked.proof), (&["password"][..], Some("password")));
        let full = profile(&draft("strongswan", &data, &[("password", "x")]).unwrap());
        assert_eq!((full.auth, full.tunnel, full.ca.len()), (AuthMethod::Eap, Tunnel::Full, 1));
        let psk = [("address", "a"), ("method", "psk"), ("user", "alice@example.com"), ("virtual", "yes")];
        let psk = draft("strongswan", &psk, &[("password", "correct horse battery staple")]).unwrap();
        assert!(psk.toml.contains("psk = \"correct horse battery staple\""));
        assert_eq!(profile(&psk).local_id.unwrap().to_string(), "alice@example.com");
    }

    #[test]
    fn l2tp_takes_its_key_from_wherever_the_plugin_keeps_it() {
        let data = [
            ("gateway", "vpn.example.com"),
            ("ipsec-enabled", "yes"),
            ("machine-auth-type", "psk"),
            ("user-auth-type", "password"),
            ("user", "alice"),
            ("domain", "CORP"),
            ("refuse-eap", "yes"),
            ("mtu", "1400"),
        ];
        let asked = Draft::asking(&settings("l2tp", &data, &[])).unwrap();
        assert_eq!(
            (asked.missing.as_slice(), asked.proof),
            (&["ipsec-psk", "password"][..], Some("password"))
        );
        let secrets = [("ipsec-psk", "swordfish"), ("password", "x")];
        let l2tp = draft("l2tp", &data, &secrets).unwrap();
        assert_eq!(l2tp.answers["password"].as_str(), "x");
        assert!(!l2tp.toml.contains("password"), "the daemon asks for it");
        let l2tp = profile(&l2tp);
        assert_eq!((l2tp.kind, l2tp.user.as_deref()), (TunnelKind::L2tp, Some("CORP\\alice")));
        assert_eq!(l2tp.ppp.unwrap().auth, [PppAuth::MsChapV2]);
        let older = [&data[..], &[("ipsec-psk", "0sc3dvcmRmaXNo")]].concat();
        assert!(
            draft("l2tp", &older, &[("password", "x")]).unwrap().toml.contains("psk = \"0sc3dvcmRmaXNo\"")
        );
        assert!(draft("l2tp", &[("gateway", "a"), ("user", "alice")], &[]).is_err(), "in clear");
        let nobody = draft("sstp", &[("gateway", "a")], &[("password", "x")]).err().unwrap();
        assert!(nobody.hint.unwrap().contains("+vpn.data user="));
    }

    #[test]
    fn pptp_is_encrypted_or_not_at_all() {
        let data =
            [("gateway", "203.0.113.1"), ("user", "alice"), ("require-mppe", "yes"), ("refuse-pap", "yes")];
        let pptp = profile(&draft("pptp", &data, &[("password", "x")]).unwrap());
        assert!(pptp.kind == TunnelKind::Pptp && pptp.ppp.is_some_and(|ppp| ppp.mppe.required));
        let pap = [("gateway", "a"), ("user", "b"), ("refuse-eap", "yes"), ("refuse-mschapv2", "yes")];
        assert!(draft("pptp", &pap, &[]).is_err());
    }

    #[test]
    fn sstp_believes_no_certificate_blindly() {
        let data = [("gateway", "vpn.example.com"), ("user", "alice"), ("tls-ext", "yes")];
        let checked =
            [&data[..], &[("ca-cert", "/etc/ssl/certs/corp-ca.pem"), ("ignore-cert-warn", "no")]].concat();
        let sstp = profile(&draft("sstp", &checked, &[]).unwrap());
        assert_eq!((sstp.kind, sstp.ca.len()), (TunnelKind::Sstp, 1));
        let blind = [&data[..], &[("ignore-cert-warn", "yes")]].concat();
        let failure = draft("sstp", &blind, &[]).err().unwrap();
        assert!(
            failure.hint.unwrap().contains("-vpn.data ignore-cert-warn +vpn.data ca-cert="),
            "the way out"
        );
    }

    #[test]
    fn a_split_tunnel_and_values_that_would_be_more_than_one() {
        let mut split = settings("sstp", &[("gateway", "a"), ("user", "CORP\\ann\nca = \"x\"")], &[]);
        split.split = true;
        split.networks = vec!["10.1.0.0/16".into()];
        let split = Draft::of(&split, &pem);
        // A user with a line's end is none; what matters is that it is no further line.
        assert!(split.as_ref().map_or(true, |draft| !draft.toml.contains("\nca")));
        let mut split = settings("sstp", &[("gateway", "a"), ("user", "CORP\\ann")], &[]);
        split.split = true;
        split.networks = vec!["10.1.0.0/16".into()];
        let split = profile(&Draft::of(&split, &pem).unwrap());
        assert_eq!((split.tunnel, split.remote_subnets.len()), (Tunnel::Split, 1));
        assert_eq!(split.user.as_deref(), Some("CORP\\ann"));
        assert!(draft("sstp", &[("gateway", "a"), ("user", "b"), ("x\n[vpn]\ny", "z")], &[]).is_err());
    }

    #[test]
    fn files_are_told_apart() {
        let data = [
            ("address", "a"),
            ("method", "key"),
            ("certificate", "/etc/ssl/a.pem"),
            ("usercert", "/home/alice/a.pem"),
            ("userkey", "/home/alice/alice.key"),
        ];
        assert!(draft("strongswan", &data, &[]).err().unwrap().text.contains("have one name"));
        let one = [
            ("address", "a"),
            ("method", "key"),
            ("usercert", "/home/alice/alice.pem"),
            ("userkey", "/home/alice/alice.pem"),
        ];
        let one = profile(&draft("strongswan", &one, &[]).unwrap());
        assert_eq!((one.certificate.len(), one.keys.len()), (1, 1));
    }
}
