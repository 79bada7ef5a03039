//! Whatever stands in a file: nothing panics, what comes out is a profile, its files have plain names, it connects when
//! somebody says so, and no secret is in what is shown.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test")]

use adit_import::own::{self, Connection};
use adit_import::{File, Format, Import, Options, Weakening, check_suite, import};
use adit_profile::{FileName, Source, Start, parse_profile};
use proptest::prelude::*;

fn run(format: Option<Format>, files: &[File<'_>], accept: &[Weakening]) -> Option<Import> {
    let options = Options { format, user: Some("ann"), accept, ..Options::default() };
    let found = import(files, &options).ok()?;
    for profile in &found.profiles {
        let Some(toml) = &profile.toml else { continue };
        let source = Source { file: "x.toml", text: toml, access: None };
        let read = parse_profile(&profile.name, &source, &check_suite).unwrap();
        assert_eq!(read.start, Start::Manual, "{toml}");
        for file in &profile.files {
            assert!(file.name.parse::<FileName>().is_ok(), "{}", file.name);
            assert!(file.name.starts_with(profile.name.as_str()));
        }
        let about = Connection { id: &profile.called, uuid: "u", beside: &profile.files, folder: Some("/x") };
        if let Ok(made) = own::connection(toml, &about) {
            let sections: Vec<&str> = made.text.lines().filter(|line| line.starts_with('[')).collect();
            let known = ["[connection]", "[vpn]", "[vpn-secrets]", "[ipv4]", "[ipv6]"];
            assert!(sections.len() <= 5 && sections.iter().all(|s| known.contains(s)), "{sections:?}");
            assert!(own::again(&made.text, "v").is_some());
            let back = own::profile(&made.text).unwrap();
            let source = Source { file: "x.toml", text: &back.text, access: None };
            let read = parse_profile(&profile.name, &source, &check_suite).unwrap();
            assert_eq!(read.start, Start::Manual, "{}", *back.text);
        }
    }
    Some(found)
}

const TEXTS: [(Format, &str); 7] = [
    (
        Format::NetworkManager,
        "[connection]\nid=@\ntype=vpn\n[vpn]\nservice-type=a.strongswan\naddress=@\nmethod=eap\nuser=@\nremote-identity=@\nike=@\nproposal=yes\nremote-ts=@\n[vpn-secrets]\npassword=@\n[ipv4]\nroute1=@\n",
    ),
    (
        Format::Mobileconfig,
        "<plist><dict><key>PayloadContent</key><array><dict><key>PayloadType</key><string>com.apple.vpn.managed</string><key>UserDefinedName</key><string>@</string><key>VPNType</key><string>L2TP</string><key>PPP</key><dict><key>CommRemoteAddress</key><string>@</string><key>AuthName</key><string>@</string></dict><key>IPSec</key><dict><key>SharedSecret</key><string>@</string></dict></dict></array></dict></plist>",
    ),
    (
        Format::Sswan,
        "{\"name\":\"@\",\"type\":\"ikev2-eap\",\"remote\":{\"addr\":\"@\",\"id\":\"@\"},\"local\":{\"eap_id\":\"@\",\"shared_secret\":\"@\"},\"ike-proposal\":\"@\",\"mtu\":\"@\"}",
    ),
    (Format::PhoneBook, "[@]\nType=2\nVpnStrategy=5\nPhoneNumber=@\nIdleDisconnectSeconds=@\n@=1\n"),
    (
        Format::ProfileXml,
        "<VPNProfile><ProfileName>@</ProfileName><NativeProfile><Servers>@</Servers><NativeProtocolType>Sstp</NativeProtocolType></NativeProfile><@>1</@></VPNProfile>",
    ),
    (
        Format::Swanctl,
        "connections {\n c {\n remote_addrs = @\n local { auth = psk\n id = @\n }\n remote { id = @\n auth = psk\n }\n children { n { remote_ts = @\n } } }\n }\nsecrets { ike { secret = @\n } }\n",
    ),
    (
        Format::IpsecConf,
        "conn c\n  right=@\n  leftid=@\n  leftauth=eap\n  eap_identity=@\n  ike=@\n  rightsubnet=@\n  lifetime=@\n",
    ),
];

/// What hostile files have where a name, an address or a path is expected.
fn value() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("../../etc/shadow".to_owned()),
        Just("vpn.example.com".to_owned()),
        Just("x\\nstart = \"boot\"".to_owned()),
        Just("\"\nstart = \"boot\"\n#".to_owned()),
        Just("'''\nppp-scripts = true".to_owned()),
        Just("pkcs11:module-path=/tmp/evil.so".to_owned()),
        Just("-----BEGIN PRIVATE KEY-----".to_owned()),
        Just("$(touch /tmp/x)`id`;|".to_owned()),
        Just("10.0.0.0/8".to_owned()),
        Just("aes256-sha256-modp2048".to_owned()),
        "\\PC{0,40}",
        ".{0,20}",
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn any_octets(bytes in proptest::collection::vec(any::<u8>(), 0..600), n in 0..Format::ALL.len()) {
        let accept: Vec<Weakening> = Weakening::acceptable().collect();
        run(None, &[File { name: "x", content: &bytes }], &[]);
        let text = String::from_utf8_lossy(&bytes);
        let _ = (own::profile(&text), own::again(&text, "u"), own::is_profile(&text));
        run(Some(Format::ALL[n]), &[File { name: "x", content: &bytes }], &accept);
    }

    #[test]
    fn any_values(n in 0..TEXTS.len(), values in proptest::collection::vec(value(), 12)) {
        let (format, text) = TEXTS[n];
        let mut values = values.iter().cycle();
        let text: String = text.split_inclusive('@').map(|part| match part.strip_suffix('@') {
            Some(part) => format!("{part}{}", values.next().unwrap()),
            None => part.to_owned(),
        }).collect();
        let accept: Vec<Weakening> = Weakening::acceptable().collect();
        run(Some(format), &[File { name: "../x", content: text.as_bytes() }], &accept);
    }
}

#[test]
fn no_secret_is_shown() {
    for (format, text) in TEXTS {
        let secret = "hunter2-and-more";
        let text = text
            .replace("password=@", &format!("password={secret}\nodd-password={secret}"))
            .replace("SharedSecret</key><string>@", &format!("SharedSecret</key><string>{secret}"))
            .replace(
                "shared_secret\":\"@\"",
                &format!("shared_secret\":\"{secret}\",\"odd_psk\":\"{secret}\""),
            )
            .replace("secret = @", &format!("secret = {secret}"))
            .replace('@', "a.example.com");
        let accept: Vec<Weakening> = Weakening::acceptable().collect();
        let found = run(Some(format), &[File { name: "x", content: text.as_bytes() }], &accept).unwrap();
        assert!(!format!("{found:?}").contains("hunter2"), "{format:?}: {found:?}");
    }
}

#[test]
fn what_is_huge_or_deep_has_an_end() {
    let deep = ["{\"a\":".repeat(60_000), "[".repeat(100_000), "<a>".repeat(100_000), "a {".repeat(100_000)];
    let wide = format!("[vpn]\n{}", "a=b\n".repeat(100_000));
    let long = format!("{{\"{}\":1}}", "k".repeat(500_000));
    for text in deep.iter().chain([&wide, &long]) {
        for format in Format::ALL {
            run(Some(*format), &[File { name: "x", content: text.as_bytes() }], &[]);
        }
    }
}
