//! What was exported reads back to what it was, and what can't be held is told.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test")]

use adit_core::Secret;
use adit_import::{Exported, File, Format, Options, Parts, Weakening, check_suite, export, import};
use adit_profile::{Profile, Source, parse_profile};

const CA: &[u8] = include_bytes!("../../pki/tests/data/revocation/ca.der");
const UUID: &str = "5a3c1b0e-5a4f-4b57-9f0a-1f0c8a5b7e11";

fn profile(text: &str) -> Profile {
    let source = Source { file: "corp.toml", text, access: None };
    parse_profile(&"corp".parse().unwrap(), &source, &check_suite).unwrap()
}

fn exported(text: &str, format: Format, secrets: bool) -> Result<Exported, String> {
    let (psk, password) = (Secret::from(&b"swordfish"[..]), Secret::from(&b"a \\ b <&> c"[..]));
    let ca = [CA.to_vec()];
    let parts = Parts {
        psk: secrets.then_some(&psk),
        password: secrets.then_some(&password),
        ca: if text.contains("ca = ") { &ca } else { &[] },
        pkcs12: None,
        key_password: None,
        uuid: UUID,
    };
    export(&profile(text), format, &parts).map_err(|e| e.text)
}

/// There and back again.
fn again(text: &str, format: Format) -> String {
    let exported = exported(text, format, true).unwrap();
    let accept: Vec<Weakening> = Weakening::acceptable().collect();
    let files =
        [File { name: "x", content: exported.text.as_bytes() }, File { name: "corp-ca.pem", content: CA }];
    let files = if text.contains("ca = ") { &files[..] } else { &files[..1] };
    let found = import(files, &Options { accept: &accept, ..Options::default() }).unwrap();
    let profile = &found.profiles[0];
    let password = profile.files.iter().find(|f| f.name == "corp.password");
    assert!(password.is_none_or(|file| file.content.equals(b"a \\ b <&> c")));
    profile
        .toml
        .clone()
        .unwrap_or_else(|| panic!("{:?} {:?}\n{}", profile.missing, profile.weak, exported.text.as_str()))
}

const EAP: &str = "server = [\"vpn.example.com\"]\ntunnel = \"ikev2\"\nauth = \"eap\"\nremote-id = \"vpn.example.com\"\n\
    user = \"ann\"\npassword-file = \"corp.password\"\nca = \"corp-ca.pem\"\nike = [\"aes256-sha256-ecp256\"]\nmtu = 1400\n";

#[test]
fn the_app_takes_it_and_gives_it_back() {
    assert_eq!(again(EAP, Format::Sswan), EAP);
    let split = EAP.replace("mtu = 1400\n", "traffic = \"split\"\nremote-subnets = [\"10.0.0.0/8\"]\n");
    assert_eq!(again(&split, Format::Sswan), split);
}

#[test]
fn network_manager_takes_it_and_gives_it_back() {
    let plain = EAP.replace("mtu = 1400\n", "interface = \"corp\"\nforce-encapsulation = true\n");
    assert_eq!(again(&plain, Format::NetworkManager), plain);
    let pptp = "server = [\"192.0.2.1\"]\ntunnel = \"pptp\"\nuser = 'CORP\\ann'\npassword-file = \"corp.password\"\n\
        ppp-auth = [\"mschapv2\"]\ntraffic = \"split\"\nremote-subnets = [\"10.1.0.0/16\"]\naddresses = [\"ipv4\"]\nmtu = 1400\n";
    assert_eq!(again(pptp, Format::NetworkManager), pptp);
    let sstp = "server = [\"vpn.example.com:8443\"]\ntunnel = \"sstp\"\nuser = \"ann\"\npassword-file = \"corp.password\"\n\
        ca = \"corp-ca.pem\"\n";
    assert_eq!(again(sstp, Format::NetworkManager), sstp);
}

#[test]
fn apples_systems_take_it_and_give_it_back() {
    let plain = EAP.replace("mtu = 1400\n", "mobility = false\n");
    let back = again(&plain, Format::Mobileconfig);
    for line in plain.lines() {
        assert!(back.contains(line), "{line}\n{back}");
    }
}

#[test]
fn what_is_not_held_is_told_and_secrets_stay() {
    let text = format!("{EAP}dpd = \"2m\"\nprefer = [\"wired\"]\n")
        .replace("server = [\"vpn.example.com\"]", "server = [\"vpn.example.com\", \"b.example.com\"]");
    let exported = exported(&text, Format::Sswan, false).unwrap();
    assert!(!exported.text.contains("a \\\\ b"));
    for key in ["dpd", "prefer", "password", "server = b.example.com"] {
        assert!(exported.left_out.iter().any(|l| l.key.starts_with(key)), "{key}: {:?}", exported.left_out);
    }
    let sstp = "server = \"vpn\"\ntunnel = \"sstp\"\nuser = \"ann\"\n";
    assert!(self::exported(sstp, Format::Mobileconfig, true).unwrap_err().contains("no SSTP"));
    assert!(self::exported(sstp, Format::Swanctl, true).unwrap_err().contains("does not write"));
}
