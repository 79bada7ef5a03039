//! What docs/profiles.md shows is what the parser takes, and what it takes can be written out again.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

use adit_core::{Identity, Prefix};
use adit_profile::{
    Access, AuthMethod, Mode, PpkUse, Profile, PskSource, Rekeying, Source, Start, SuiteCheck, SuiteKind,
    Tunnel, Uniqueness, parse_profile, parse_server,
};
use proptest::prelude::*;

const PAGE: &str = include_str!("../../../docs/profiles.md");

fn check(_: SuiteKind, _: &str) -> SuiteCheck {
    Ok(Vec::new())
}

fn parse(text: &str) -> Profile {
    let access = Some(Access { mode: 0o100_640, gid: 0, adit_gid: None });
    let source = Source { file: "profiles.md", text, access };
    parse_profile(&"corp".parse().unwrap(), &source, &check).unwrap_or_else(|e| panic!("{e}\n{text}"))
}

/// The TOML blocks of the page: profiles, and server.tomls.
fn blocks() -> (Vec<String>, Vec<String>) {
    let blocks = PAGE.split("```toml\n").skip(1).map(|rest| rest.split("```").next().unwrap().to_owned());
    blocks.partition(|block| !block.contains("[[connection]]"))
}

#[test]
fn the_pages_profiles_parse_and_read_back() {
    let (profiles, _) = blocks();
    assert!(profiles.len() >= 3);
    for text in profiles {
        let profile = parse(&text);
        if matches!(profile.psk, Some(PskSource::Inline(_))) {
            continue;
        }
        let again = parse(&profile.to_toml());
        assert_eq!(again.settings(), profile.settings(), "{text}");
    }
}

#[test]
fn the_pages_table_names_every_key() {
    let (profiles, _) = blocks();
    let complete = profiles.iter().max_by_key(|text| text.len()).unwrap();
    for setting in parse(complete).settings() {
        assert!(PAGE.contains(&format!("| `{}` |", setting.key)), "{} is not documented", setting.key);
    }
}

#[test]
fn the_five_lines_mean_what_they_say() {
    let (profiles, _) = blocks();
    let profile = parse(&profiles[0]);
    assert_eq!(profiles[0].lines().count(), 5);
    assert_eq!(profile.server(), "vpn.example.com");
    assert_eq!(
        (profile.auth, profile.remote_auth, profile.servers[0].port()),
        (AuthMethod::Psk, AuthMethod::Psk, 500)
    );
    assert_eq!(profile.local_id, Some(Identity::Email("alice@example.com".into())));
    assert_eq!(profile.identity_of(&profile.servers[0]), Identity::Fqdn("vpn.example.com".into()));
    assert_eq!(profile.tunnel, Tunnel::Full);
    assert!(profile.addresses.ipv4 && profile.addresses.ipv6);
    assert_eq!(profile.dpd.as_secs(), 30);
    let files: Vec<String> = profile.files().iter().map(|f| f.path()).collect();
    assert_eq!(files, ["/etc/adit/secrets/corp.psk"]);
}

// [7296:2.16-1] [7296:5-3]
#[test]
fn the_server_proves_itself_as_we_do_but_never_by_eap() {
    let start = "server = \"vpn.example.com\"\n";
    let remote = |lines: &str| parse(&format!("{start}{lines}")).remote_auth;
    let eap = "auth = \"eap\"\nuser = \"ann\"\npassword-file = \"ann.password\"\n";
    assert_eq!(remote(eap), AuthMethod::Certificate);
    let key = "auth = \"psk\"\nlocal-id = \"ann\"\npsk-file = \"corp.psk\"\n";
    assert_eq!(remote(key), AuthMethod::Psk);
}

#[test]
fn a_site_says_what_is_behind_both_ends() {
    let profile = parse(
        "server = [\"gw1.example.com\", \"192.0.2.1\"]\nport = 4500\nauth = \"psk\"\nlocal-id = \"branch\"\n\
         psk-file = \"a.psk\"\ntunnel = \"split\"\nlocal-subnets = \"10.1.0.0/16\"\n\
         remote-subnets = [\"10.0.0.0/16\", \"10.3.0.0/16[tcp/443]\"]\nstart = \"boot\"\nrekey-ike = \"never\"\n\
         rekey-child = \"10m\"\nrekey-bytes = 1_000_000_000\nreauthenticate = \"8h\"\nfragment-size = 576\n\
         [[child]]\nname = \"voice\"\nremote-subnets = \"10.2.0.0/16[udp/5004-5005]\"\nesp = \"aes128gcm16\"\n",
    );
    // Networks are behind both ends: no address is asked for.
    assert!(!profile.addresses.ipv4 && !profile.addresses.ipv6);
    assert_eq!(profile.start, Start::Boot);
    let ends: Vec<String> =
        profile.servers.iter().map(|s| format!("{s} {}", profile.identity_of(s))).collect();
    assert_eq!(ends, ["gw1.example.com:4500 gw1.example.com", "192.0.2.1:4500 192.0.2.1"]);
    let rekeying =
        Rekeying { ike: None, child: Some(std::time::Duration::from_mins(10)), ..Rekeying::default() };
    assert_eq!(profile.rekeying, Rekeying { bytes: Some(1_000_000_000), ..rekeying });
    assert_eq!((profile.reauthenticate.unwrap().as_secs(), profile.fragment_size), (28_800, 576));
    let networks: Vec<String> = profile.remote_networks().iter().map(ToString::to_string).collect();
    assert_eq!(networks, ["10.0.0.0/16", "10.3.0.0/16"]);
    let child = &profile.children[0];
    assert_eq!(
        (child.local_subnets.as_slice(), child.mode),
        (profile.local_subnets.as_slice(), Mode::Tunnel)
    );
    assert_eq!(child.remote_subnets[0].to_string(), "10.2.0.0/16[17/5004-5005]");
    assert_eq!(parse(&profile.to_toml()).settings(), profile.settings());
}

#[test]
fn transport_mode_asks_for_no_address_and_no_full_tunnel() {
    let profile = parse(
        "server = \"192.0.2.1\"\nauth = \"psk\"\nlocal-id = \"a\"\npsk-file = \"a.psk\"\nmode = \"transport\"\n",
    );
    assert_eq!((profile.mode, profile.tunnel), (Mode::Transport, Tunnel::Split));
    assert!(!profile.addresses.ipv4 && !profile.addresses.ipv6);
    assert_eq!(parse(&profile.to_toml()).settings(), profile.settings());
}

#[test]
fn a_connection_is_chosen_by_identity_group_and_address() {
    let text = "[ikev2]\nidentity = \"vpn.example.com\"\npsk-file = \"all.psk\"\nuniqueness = \"keep\"\n\
                [group.admins]\nmembers = [\"root@example.com\", \"*.ops.example.com\"]\n\
                [[connection]]\nname = \"admins\"\ngroup = \"admins\"\naddress = [\"10.0.0.0/8\", \"2001:db8::/32\"]\n\
                auth = \"psk\"\npool = \"p\"\n\
                [[connection]]\nname = \"branch\"\nmatch = \"branch.example.com\"\nauth = \"psk\"\n\
                remote-subnets = \"10.2.0.0/16\"\nuniqueness = \"refuse\"\n\
                [[connection]]\nname = \"rest\"\nmatch = \"*\"\nauth = \"psk\"\ntransport = true\n\
                [pool.p]\nranges = \"10.9.0.0/24\"\n";
    let source = Source { file: "server.toml", text, access: None };
    let config = parse_server(&source, &check).unwrap_or_else(|e| panic!("{e}"));
    let chosen = |id: &str, from: &str| {
        let found = config.connection_for(&id.parse().unwrap(), from.parse().unwrap());
        found.map(|c| (c.name.to_string(), c.uniqueness)).unwrap()
    };
    assert_eq!(chosen("root@example.com", "10.7.0.1"), ("admins".into(), Uniqueness::Keep));
    assert_eq!(chosen("a.ops.example.com", "2001:db8::7"), ("admins".into(), Uniqueness::Keep));
    assert_eq!(chosen("root@example.com", "192.0.2.1"), ("rest".into(), Uniqueness::Keep));
    assert_eq!(chosen("branch.example.com", "10.7.0.1"), ("branch".into(), Uniqueness::Refuse));
    assert_eq!(config.connections[1].remote_subnets[0].to_string(), "10.2.0.0/16");
    assert!(config.connections[1].pool.is_none() && config.connections[2].transport);
}

// [8784:5.1-3]
#[test]
fn a_postquantum_key_is_required_by_who_names_one_and_optional_at_a_server_that_has_some() {
    let head = "server = \"a\"\nauth = \"psk\"\nlocal-id = \"b\"\npsk-file = \"c\"\n";
    let profile = parse(&format!("{head}ppk-id = \"staff\"\nppk-file = \"s.ppk\"\n"));
    let (ppk, rule) = profile.ppk.as_ref().unwrap();
    assert_eq!((ppk.id.as_str(), ppk.file.path().as_str()), ("staff", "/etc/adit/secrets/s.ppk"));
    assert_eq!(*rule, PpkUse::Required);
    assert!(profile.files().contains(&&ppk.file));
    assert_eq!(parse(&profile.to_toml()).settings(), profile.settings());
    let rules = |extra: &str, ppk: &str| {
        let text = format!(
            "{extra}[ikev2]\nidentity = \"a\"\npsk-file = \"c\"\n[[connection]]\nname = \"x\"\nmatch = \"*\"\n\
             auth = \"psk\"\ntransport = true\n{ppk}"
        );
        let config = parse_server(&Source { file: "s", text: &text, access: None }, &check).unwrap();
        (config.connections[0].ppk, config.ppks.len(), config.files().len())
    };
    let keys = "[ppk.\"staff 1\"]\nfile = \"s.ppk\"\n";
    assert_eq!(rules("", ""), (PpkUse::Off, 0, 1));
    assert_eq!(rules(keys, ""), (PpkUse::Optional, 1, 2));
    assert_eq!(rules(keys, "ppk = \"required\"\n"), (PpkUse::Required, 1, 2));
}

#[test]
fn a_radius_server_is_asked_over_udp_or_over_tls() {
    let server = |radius: &str| {
        let text = format!(
            "[ikev2]\nidentity = \"a\"\npsk-file = \"c\"\n[[connection]]\nname = \"x\"\nmatch = \"*\"\n\
             auth = \"psk\"\ntransport = true\n[[radius]]\naddress = \"10.1.0.5\"\n{radius}"
        );
        let config = parse_server(&Source { file: "s", text: &text, access: None }, &check)?;
        Ok::<_, adit_profile::ProfileErrors>(config)
    };
    let udp = server("secret-file = \"r.secret\"\n").unwrap();
    assert_eq!((udp.aaa.servers[0].port, udp.aaa.servers[0].accounting_port), (1812, 1813));
    let tls = server(
        "tls-name = \"radius.example.com\"\nca = \"ca.pem\"\ncertificate = \"nas.pem\"\nkey = \"nas.pem\"\n\
         key-password-file = \"nas.pw\"\n",
    )
    .unwrap();
    assert_eq!((tls.aaa.servers[0].port, tls.aaa.servers[0].accounting_port), (2083, 2083));
    let files: Vec<String> = tls.files().iter().map(|f| f.path()).collect();
    for file in ["certs/ca.pem", "certs/nas.pem", "private/nas.pem", "secrets/nas.pw"] {
        assert!(files.contains(&format!("/etc/adit/{file}")), "{file}: {files:?}");
    }
    for (wrong, why) in [
        ("", "`secret-file` is missing"),
        ("secret-file = \"r.secret\"\nca = \"ca.pem\"\n", "`ca` has no use"),
        ("tls-name = \"r\"\nsecret-file = \"r.secret\"\n", "`secret-file` has no use"),
        ("tls-name = \"r\"\ncertificate = \"nas.pem\"\n", "`key` is missing"),
        ("tls-name = \"r\"\nkey = \"nas.pem\"\n", "`certificate` is missing"),
    ] {
        let errors = server(wrong).unwrap_err().to_string();
        assert!(errors.contains(why), "{wrong}: {errors}");
    }
}

#[test]
fn the_pages_server_parses() {
    let (_, servers) = blocks();
    assert!(!servers.is_empty());
    for text in servers {
        let source = Source { file: "server.toml", text: &text, access: None };
        let config = parse_server(&source, &check).unwrap_or_else(|e| panic!("{e}\n{text}"));
        for rule in &config.connections {
            assert!(rule.pool.as_ref().is_none_or(|pool| config.pool(pool).is_some()));
        }
        let from = "198.51.100.7".parse().unwrap();
        let alice = config.connection_for(&"alice@example.com".parse().unwrap(), from).unwrap();
        assert!(!alice.subnets.is_empty());
    }
}

#[test]
fn a_minimal_server_gets_the_defaults() {
    let text = "[ikev2]\nidentity = \"vpn.example.com\"\npsk-file = \"all.psk\"\n[[connection]]\nname = \"all\"\nmatch = \"*\"\n\
                auth = \"psk\"\npool = \"p\"\n[pool.p]\nranges = \"10.9.0.0/24\"\n";
    let source = Source { file: "server.toml", text, access: None };
    let config = parse_server(&source, &check).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!((config.listen.port, config.listen.nat_port), (500, 4500));
    assert_eq!((config.limits.half_open, config.limits.clients), (1_000, 20_000));
    assert!(!config.network.forward);
    let rule = &config.connections[0];
    assert_eq!(rule.server_auth, AuthMethod::Psk);
    assert_eq!(rule.subnets, [Prefix::ANY_V4, Prefix::ANY_V6].map(Into::into));
    assert_eq!(rule.uniqueness, Uniqueness::Replace);
    assert_eq!(config.files().len(), 1);
}

#[test]
fn debug_and_settings_show_no_secret() {
    let profile = parse("server = \"a\"\nauth = \"psk\"\nlocal-id = \"b\"\npsk = \"swordfish\"\n");
    let shown = format!("{profile:?} {:?} {}", profile.settings(), profile.to_toml());
    assert!(!shown.contains("swordfish") && shown.contains("(hidden)"), "{shown}");
}

proptest! {
    #[test]
    fn no_text_panics(text in ".{0,300}") {
        let source = Source { file: "f", text: &text, access: None };
        let _ = parse_profile(&"corp".parse().unwrap(), &source, &check);
        let _ = parse_server(&source, &check);
        prop_assert_eq!(adit_profile::redact(&text).len(), text.len());
    }

    /// Mutations of a real file get further than noise does.
    #[test]
    fn no_damaged_file_panics(cut in 0_usize..2000, insert in ".{0,8}", which in 0_usize..8) {
        let (profiles, servers) = blocks();
        let all: Vec<String> = profiles.into_iter().chain(servers).collect();
        let mut text = all[which % all.len()].clone();
        let at = (0..=cut.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap();
        text.insert_str(at, &insert);
        let source = Source { file: "f", text: &text, access: None };
        if let Err(errors) = parse_profile(&"corp".parse().unwrap(), &source, &check) {
            for error in errors.all() {
                prop_assert!(error.line >= 1 && error.column >= 1 && error.span.start <= text.len());
            }
        }
        let _ = parse_server(&source, &check);
        prop_assert_eq!(adit_profile::redact(&text).len(), text.len());
    }

    #[test]
    fn no_bytes_panic_as_a_psk_file(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
        let access = Access { mode: 0o600, gid: 0, adit_gid: None };
        let _ = adit_profile::parse_psk_file("f", &bytes, access);
    }
}
