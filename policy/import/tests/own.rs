//! Profiles become connections of NetworkManager's, and connections profiles.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test")]

use adit_core::Secret;
use adit_import::own::{Connection, again, connection, is_profile, profile};
use adit_import::{Beside, File, Options, import};
use adit_profile::Directory;

const UUID: &str = "5a3c1b0e-5a4f-4b57-9f0a-1f0c8a5b7e11";

fn about<'c>(beside: &'c [Beside], folder: Option<&'c str>) -> Connection<'c> {
    Connection { id: "Corp, at work", uuid: UUID, beside, folder }
}

fn keyfile(profile: &str) -> String {
    connection(profile, &about(&[], None)).unwrap().text.to_string()
}

const SPLIT: &str = "server = [\"vpn1.example.com\", \"vpn2.example.com\"]\ntunnel = \"ikev2\"\nauth = \"eap\"\n\
    user = 'CORP\\ann'\nca = \"corp-ca.pem\"\nike = [\"aes256-sha256-ecp256\"]\ntraffic = \"split\"\n\
    remote-subnets = [\"10.0.0.0/8\", \"192.168.7.0/24\"]\ninterface = \"corp\"\nmtu = 1400\nmobility = false\n";

#[test]
fn a_profile_becomes_a_connection_and_comes_back_as_it_was() {
    let written = keyfile(SPLIT);
    for line in [
        "id=Corp, at work",
        "service-type=org.freedesktop.NetworkManager.adit",
        "server=vpn1.example.com vpn2.example.com",
        "user=CORP\\\\ann",
        "remote-subnets=10.0.0.0/8 192.168.7.0/24",
        "password-flags=1",
        "mtu=1400",
        "mobility=false",
        "never-default=true",
    ] {
        assert!(written.lines().any(|l| l == line), "{line}\n{written}");
    }
    assert_eq!(profile(&written).unwrap().text.as_str(), SPLIT);
    assert!(is_profile(SPLIT) && !is_profile(&written) && !is_profile("{\"uuid\": 1}"));
}

#[test]
fn several_types_of_tunnel_come_back() {
    let text = "server = [\"vpn.example.com\"]\ntunnel = [\"ikev2\", \"sstp\"]\nuser = \"ann\"\n";
    assert_eq!(profile(&keyfile(text)).unwrap().text.as_str(), text);
}

#[test]
fn secrets_go_where_secrets_are() {
    let file = |directory, name: &str, content: &str| Beside {
        directory,
        name: name.to_owned(),
        content: Secret::from(content.as_bytes()),
    };
    let text = "server = \"vpn\"\nauth = \"psk\"\nlocal-id = \"a@b\"\npsk-file = \"corp.psk\"\n";
    let psk = [file(Directory::Secrets, "corp.psk", "sword \\ fish\n")];
    let written = connection(text, &about(&psk, None)).unwrap().text;
    assert!(
        written.contains("\npsk-flags=0\n\n[vpn-secrets]\npsk=sword \\\\ fish\n"),
        "{}",
        written.as_str()
    );
    assert!(!written.contains("psk-file"));
    // Nothing of it comes back: a profile says where it is.
    let back = profile(&written).unwrap().text;
    assert!(back.starts_with("# The pre-shared key goes into /etc/adit/secrets/Corp-at-work.psk.\n"));
    assert!(back.contains("psk-file = \"Corp-at-work.psk\"") && !back.contains("fish"));
    // A file of this host's stays one.
    assert!(keyfile(text).contains("\npsk-file=corp.psk\n"));
    let inline = "server = \"vpn\"\nauth = \"psk\"\nlocal-id = \"a\"\npsk = \"swordfish\"\n";
    let written = keyfile(inline);
    assert!(written.split("[vpn-secrets]").nth(1).unwrap().starts_with("\npsk=swordfish\n"), "{written}");
}

#[test]
fn certificates_are_named_by_where_they_lie() {
    let beside =
        |directory, name: &str| Beside { directory, name: name.to_owned(), content: Secret::from(&b"x"[..]) };
    let text = "server = \"vpn\"\nauth = \"certificate\"\nca = \"c-ca.pem\"\ncertificate = \"c.pem\"\nkey = \"c.key\"\n";
    let files = [
        beside(Directory::Certs, "c-ca.pem"),
        beside(Directory::Certs, "c.pem"),
        beside(Directory::Private, "c.key"),
    ];
    let written = connection(text, &about(&files, Some("/home/ann/.cert"))).unwrap().text;
    assert!(written.contains(
        "\nca=/home/ann/.cert/c-ca.pem\ncertificate=/home/ann/.cert/c.pem\nkey=/home/ann/.cert/c.key\n"
    ));
    assert!(connection(text, &about(&files, None)).unwrap_err().next.contains("--files-to"));
    assert!(connection(text, &about(&files, Some("/home/a b"))).unwrap_err().text.contains("a space"));
    let back = profile(&written).unwrap().text;
    assert!(back.contains("# /home/ann/.cert/c.key goes into /etc/adit/private.\n"), "{}", back.as_str());
    assert!(back.contains("\nkey = \"c.key\"\n"));
    let pkcs12 = text.replace("certificate = \"c.pem\"\n", "").replace("c.key", "c.p12");
    let files = [beside(Directory::Private, "c.p12")];
    assert!(connection(&pkcs12, &about(&files, Some("/x"))).unwrap_err().text.contains("PKCS#12"));
}

#[test]
fn what_has_no_place_is_told() {
    let text = format!("{SPLIT}start = \"boot\"\n");
    let written = connection(&text, &about(&[], None)).unwrap();
    assert_eq!(written.left_out[0].key, "start = \"boot\"");
    let child = format!("{SPLIT}[[child]]\nremote-subnets = [\"10.9.0.0/16\"]\n");
    assert!(connection(&child, &about(&[], None)).unwrap_err().text.contains("[[child]]"));
    let mistake = connection("server = \"vpn\"\nauth = \"eap\"\n", &about(&[], None)).unwrap_err();
    assert!(!mistake.next.is_empty());
}

#[test]
fn a_connection_says_what_its_sections_say() {
    let text = "[connection]\nid=corp\ninterface-name=corp0\n[vpn]\nservice-type=org.freedesktop.NetworkManager.adit\n\
        server=vpn\nauth=eap\nuser=ann\nuser-name=ann\npersistent=true\npassword-flags=1\n\
        [ipv4]\nnever-default=true\nignore-auto-dns=true\nroute1=10.0.0.0/8,0.0.0.0,5\n";
    let expected = "server = [\"vpn\"]\nauth = \"eap\"\nuser = \"ann\"\ntraffic = \"split\"\nremote-subnets = [\"10.0.0.0/8\"]\n\
        interface = \"corp0\"\ndns = \"ignore\"\n";
    assert_eq!(profile(text).unwrap().text.as_str(), expected);
    let open = text.replace("user=ann\n", "user=ann\npassword=hunter2\n");
    let error = profile(&open).unwrap_err();
    assert!(error.text.contains("password is a secret") && !error.text.contains("hunter2"));
    assert!(profile(&text.replace("adit", "l2tp")).is_err());
    assert!(profile("").is_err());
}

#[test]
fn a_connection_comes_in_again_as_another_one() {
    let written = keyfile(SPLIT);
    let other = again(&written, "0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0").unwrap();
    assert_eq!(other.as_str(), written.replace(UUID, "0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0"));
    assert!(again(&written.replace("NetworkManager.adit", "NetworkManager.l2tp"), UUID).is_none());
}

#[test]
fn what_another_program_had_becomes_a_connection() {
    let app = r#"{"uuid":"1","name":"Corp","type":"ikev2-eap","remote":{"addr":"vpn.example.com"},"local":{"eap_id":"ann","shared_secret":"hunter2"}}"#;
    let files = [File { name: "corp.sswan", content: app.as_bytes() }];
    let found = import(&files, &Options::default()).unwrap();
    let imported = &found.profiles[0];
    let about = Connection { id: &imported.called, uuid: UUID, beside: &imported.files, folder: None };
    let written = connection(imported.toml.as_ref().unwrap(), &about).unwrap().text;
    assert!(
        written.contains("\npassword-flags=0\n\n[vpn-secrets]\npassword=hunter2\n"),
        "{}",
        written.as_str()
    );
}
