//! What people see when a profile or server.toml is wrong.
#![allow(clippy::unwrap_used, reason = "a test")]

use adit_core::{Failure, FailureCode};
use adit_profile::{
    Access, Block, ProfileErrors, Source, SuiteCheck, SuiteKind, parse_profile, parse_server, redact,
};

fn check(_: SuiteKind, text: &str) -> SuiteCheck {
    let legacy =
        ["3des", "modp1024"].into_iter().filter(|word| text.contains(word)).map(str::to_owned).collect();
    let known = ["aes", "3des"].iter().any(|word| text.starts_with(word));
    if known { Ok(legacy) } else { Err("allowed: aes256gcm16-prfsha256-x25519".into()) }
}

fn source(text: &str) -> Source<'_> {
    Source { file: "corp.toml", text, access: None }
}

fn profile_errors(text: &str) -> ProfileErrors {
    parse_profile(&"corp".parse().unwrap(), &source(text), &check).unwrap_err()
}

fn server_errors(text: &str) -> String {
    parse_server(&source(text), &check).unwrap_err().to_string()
}

#[test]
fn every_mistake_is_shown_with_its_place_value_and_cure() {
    let text = r#"
sever = "vpn.example.com"
auth = "pks"
local-id = "two words"
tunnel = wholly
"#;
    assert_eq!(
        profile_errors(text).to_string(),
        "corp.toml:5:10: not TOML: string values must be quoted, expected literal string"
    );

    let text = text.replace("wholly", "true").replace("pks", "spk");
    assert_eq!(
        profile_errors(&text).to_string(),
        r#"corp.toml:2:1: unknown key "sever"
  help: did you mean `server`?
corp.toml:3:8: `auth`: "spk" is not a value it can have
  help: allowed: "psk", "certificate", "eap"; did you mean "psk"?
corp.toml:4:12: `local-id`: "two words" is not an identity
  help: allowed: a host name, user@domain, an IP address, or keyid: and text
corp.toml:5:10: `tunnel` is true
  help: allowed: a string in quotes
corp.toml:5:14: `server` is missing
  help: add server = "vpn.example.com""#
    );
}

#[test]
fn values_out_of_bounds() {
    let text = r#"
server = "vpn.example.com:4500"
port = 70000
auth = "psk"
local-id = "alice@example.com"
psk-file = "../corp.psk"
remote-subnets = ["10.0.0.1/8", "10.0.0.0/8"]
addresses = []
dpd = "1s"
interface = "a/b"
mtu = 100
ike = ["aes256-sha256-x25519", "rot13"]
color = 1
"#;
    assert_eq!(
        profile_errors(text).to_string(),
        r#"corp.toml:3:8: `port`: 70000 is out of range
  help: allowed: a number from 1 to 65535
corp.toml:6:12: `psk-file`: "../corp.psk" is not a plain file name
  help: allowed: a file in /etc/adit/secrets: letters, digits and _ . @ + -; no directories: the file lies in Adit's own
corp.toml:7:18: `remote-subnets` has no use: a full tunnel takes everything
  help: add traffic = "split", or take the line out
corp.toml:7:19: `remote-subnets`: "10.0.0.1/8" has bits beyond its prefix
  help: allowed: 10.0.0.0/8, or 10.0.0.1/32
corp.toml:8:13: `addresses` is empty: nothing on our side could go into the tunnel
  help: add local-subnets = ["10.1.0.0/16"], or ask for "ipv4", "ipv6" or both
corp.toml:9:7: `dpd`: "1s" is not a duration it can have
  help: allowed: 5s to 1h, written as 30s, 5m or 8h
corp.toml:10:13: `interface`: "a/b" is not an interface's name
  help: allowed: 1 to 15 letters, digits and _ . -
corp.toml:11:7: `mtu`: 100 is out of range
  help: allowed: a number from 576 to 65535
corp.toml:12:32: `ike`: "rot13" is not a proposal Adit can make
  help: allowed: aes256gcm16-prfsha256-x25519
corp.toml:13:1: unknown key "color"
  help: known here: version, server, port, start, idle, requires, trusted-networks, auth, remote-auth, local-id, remote-id, psk, psk-file, ppk-id, ppk-file, ppk, user, eap-identity, eap-methods, eap-inner, eap-server, eap-only, password, password-file, ca, certificate, key, key-password-file, revocation, ike, esp, legacy, rekey-ike, rekey-child, rekey-bytes, rekey-packets, reauthenticate, fragment-size, mode, tunnel, traffic, block, local-network, local-subnets, remote-subnets, routes-by-dhcp, child, addresses, dpd, interface, mtu, dns, shared-identity, force-encapsulation, session-resumption, local-address, mobility, prefer, outage-time"#
    );
}

#[test]
fn what_cannot_be_blocked_or_required() {
    let ikev2 = "server = \"a\"\nauth = \"psk\"\nlocal-id = \"b\"\npsk-file = \"c\"\n";
    let text = format!("{ikev2}traffic = \"split\"\nblock = \"always\"\nrequires = \"corp\"\n");
    assert_eq!(
        profile_errors(&text).to_string(),
        r#"corp.toml:6:9: `block`: with a split tunnel the rest of the traffic goes in clear
  help: add traffic = "full", or take the line out
corp.toml:7:12: `requires`: it names this profile itself
  help: name another one, or take the line out"#
    );
    let pptp = "server = \"a\"\ntunnel = \"pptp\"\nuser = \"b\"\npassword-file = \"c\"\nblock = \"always\"\n";
    assert_eq!(
        profile_errors(pptp).to_string(),
        r#"corp.toml:5:9: `block`: PPTP's GRE can't be told from others' before its server is known
  help: block = "while-up", or another type of tunnel"#
    );
    let profile = |text: &str| parse_profile(&"corp".parse().unwrap(), &source(text), &check).unwrap();
    assert_eq!(profile(ikev2).block, Block::WhileUp);
    assert_eq!(profile(&format!("{ikev2}traffic = \"split\"\n")).block, Block::Off);
    let trusted = "trusted-networks = [\"10.0.0.1@02:00:00:00:00:01\", \"fe80::1@02:00:00:00:00:01\"]\n";
    let text = format!("{ikev2}start = \"boot\"\n{trusted}");
    assert_eq!(profile(&text).trusted_networks.len(), 2);
    let text = format!("{ikev2}{trusted}");
    let expected = "corp.toml:5:20: `trusted-networks` has no use: it does not come up by itself\n  \
                    help: add start = \"boot\", or take the line out";
    assert_eq!(profile_errors(&text).to_string(), expected);
    let expected = "corp.toml:6:20: `trusted-networks`: with block = \"always\" nothing leaves where it is down\n  \
                    help: block = \"while-up\", or take the line out";
    let text = format!("{ikev2}start = \"boot\"\n{trusted}block = \"always\"\n");
    assert_eq!(profile_errors(&text).to_string(), expected);
    assert_eq!(profile(&format!("{ikev2}block = \"always\"\nrequires = \"x\"\n")).block, Block::Always);
}

#[test]
fn algorithms_that_can_be_broken_need_a_word() {
    let text = "server = \"a\"\nauth = \"psk\"\nlocal-id = \"b\"\npsk-file = \"c\"\n\
                ike = [\"aes256-sha256-modp2048\", \"3des-sha1-modp1024\"]\n";
    assert_eq!(
        profile_errors(text).to_string(),
        r#"corp.toml:5:34: `ike`: "3des-sha1-modp1024" has 3des and modp1024, which can be broken
  help: if the peer can do nothing better, add legacy = true"#
    );
    let text = format!("{text}legacy = true\n");
    assert!(parse_profile(&"corp".parse().unwrap(), &source(&text), &check).unwrap().legacy);
}

#[test]
fn mistakes_of_sites_and_children() {
    let text = r#"
server = []
auth = "psk"
local-id = "branch.example.com"
psk-file = "branch.psk"
mode = "transport"
tunnel = "full"
addresses = ["ipv4"]
rekey-ike = "1s"
rekey-child = "sometimes"
rekey-bytes = 5
reauthenticate = 8
fragment-size = 500
start = "bot"
local-subnets = []
[[child]]
name = "voice"
local-subnets = "10.1.0.0/16[tpc/80]"
[[child]]
name = "voice"
remote-subnets = "10.2.0.1/16"
color = "red"
"#;
    assert_eq!(
        profile_errors(text).to_string(),
        r#"corp.toml:2:10: `server` is empty
  help: add server = "vpn.example.com"
corp.toml:7:10: `tunnel`: transport mode carries only what the two hosts say to each other
  help: take the line out, or the one with mode
corp.toml:8:13: `addresses` has no use: in transport mode there are none inside
  help: take the line out, or the one with mode
corp.toml:9:13: `rekey-ike`: "1s" is not a duration it can have
  help: allowed: 5s to 720h, written as 30s, 5m or 8h, or "never"
corp.toml:10:15: `rekey-child`: "sometimes" is not a duration it can have
  help: allowed: 5s to 720h, written as 30s, 5m or 8h, or "never"
corp.toml:11:15: `rekey-bytes`: 5 is out of range
  help: allowed: a number from 1000000 to 9223372036854775807
corp.toml:12:18: `reauthenticate` is the number 8
  help: allowed: a string in quotes
corp.toml:13:17: `fragment-size`: 500 is out of range
  help: allowed: a number from 576 to 65535
corp.toml:14:9: `start`: "bot" is not a value it can have
  help: allowed: "manual", "boot", "on-demand"; did you mean "boot"?
corp.toml:15:17: `local-subnets` is empty
  help: add networks: ["10.0.0.0/8"], or take the line out
corp.toml:18:17: [[child]] 1: `local-subnets`: "10.1.0.0/16[tpc/80]" has no protocol that is known by the name "tpc"
  help: allowed: a number from 1 to 255, or icmp, tcp, udp, gre, ipv6-icmp, icmpv6, l2tp, sctp, udplite
corp.toml:19:1: two [[child]]s are called "voice"
  help: give each its own name
corp.toml:21:18: [[child]] 2: `remote-subnets`: "10.2.0.1/16" has bits beyond its prefix
  help: allowed: 10.2.0.0/16, or 10.2.0.1/32
corp.toml:22:1: [[child]] 2: unknown key "color"
  help: known here: name, local-subnets, remote-subnets, esp, mode"#
    );
}

#[test]
fn what_a_packet_raises_must_be_known_before() {
    let head = "server = \"a\"\nauth = \"psk\"\nlocal-id = \"b\"\npsk-file = \"c\"\n";
    let text = format!("{head}start = \"on-demand\"\nidle = \"1s\"\n");
    assert_eq!(
        profile_errors(&text).to_string(),
        r#"corp.toml:5:9: `start`: which packets raise it must be known before it is up
  help: add traffic = "split" and remote-subnets = ["10.0.0.0/8"]
corp.toml:6:8: `idle`: "1s" is not a duration it can have
  help: allowed: 5s to 24h, written as 30s, 5m or 8h, or "never""#
    );
    assert_eq!(
        profile_errors(&format!("{head}start = \"boot\"\nidle = \"1m\"\n")).to_string(),
        r#"corp.toml:6:8: `idle` has no use: start = "boot" keeps it up
  help: add start = "on-demand", or take the line out"#
    );
    for more in
        ["tunnel = \"split\"\nremote-subnets = \"10.0.0.0/8\"\n", "mode = \"transport\"\nidle = \"never\"\n"]
    {
        let text = format!("{head}start = \"on-demand\"\n{more}");
        assert!(parse_profile(&"corp".parse().unwrap(), &source(&text), &check).is_ok());
    }
}

#[test]
fn mistakes_of_connections_that_are_sites() {
    let text = r#"
[ikev2]
identity = "vpn.example.com"
psk-file = "a.psk"
uniqueness = "never"
[group.admins]
[[connection]]
name = "a"
group = "admin"
auth = "psk"
address = "10.0.0.1/8"
[[connection]]
name = "b"
match = "*"
auth = "psk"
pool = "p"
remote-subnets = "10.2.0.0/16"
transport = "yes"
[pool.p]
ranges = "10.9.0.0/24"
"#;
    assert_eq!(
        server_errors(text),
        r#"corp.toml:5:14: [ikev2] `uniqueness`: "never" is not a value it can have
  help: allowed: "replace", "keep", "refuse"
corp.toml:6:1: [group.admins] `members` is missing
  help: add members = ["alice@example.com", "*@lab.example.com"]
corp.toml:7:1: [[connection]] 1: `pool` is missing
  help: add pool = "NAME", a [pool.NAME] of this file; or, for a site, remote-subnets = ["10.2.0.0/16"]
corp.toml:9:9: [[connection]] 1: there is no group "admin"
  help: did you mean "admins"?
corp.toml:11:11: [[connection]] 1: `address`: "10.0.0.1/8" has bits beyond its prefix
  help: allowed: 10.0.0.0/8, or 10.0.0.1/32
corp.toml:16:8: [[connection]] 2: both `pool` and `remote-subnets`
  help: clients get an address, or have networks behind them: make two [[connection]]s
corp.toml:18:13: [[connection]] 2: `transport` is the string "yes"
  help: allowed: true or false, without quotes"#
    );
}

#[test]
fn what_a_method_needs_and_has_no_use_for() {
    let text = "server = \"vpn.example.com\"\nauth = \"certificate\"\npsk = \"swordfish\"\nca = \"ca.pem\"\n";
    assert_eq!(
        profile_errors(text).to_string(),
        r#"corp.toml:3:7: `psk` has no use: neither side authenticates with "psk"
  help: take the line out, or change the method
corp.toml:4:14: `certificate` is missing
  help: add certificate = "NAME.pem", a file in /etc/adit/certs
corp.toml:4:14: `key` is missing
  help: add key = "NAME.pem", a file in /etc/adit/private"#
    );
}

#[test]
fn half_a_postquantum_key_is_none() {
    let head = "server = \"a\"\nauth = \"psk\"\nlocal-id = \"b\"\npsk-file = \"c\"\n";
    assert_eq!(
        profile_errors(&format!("{head}ppk = \"maybe\"\n")).to_string(),
        r#"corp.toml:5:7: `ppk`: "maybe" is not a value it can have
  help: allowed: "required", "optional"
corp.toml:5:14: `ppk-id` is missing
  help: add ppk-id = "NAME", under which the server knows the key
corp.toml:5:14: `ppk-file` is missing
  help: add ppk-file = "NAME.ppk", a file in /etc/adit/secrets that holds the key"#
    );
    let text = "[ikev2]\nidentity = \"a\"\npsk-file = \"c\"\n[[connection]]\nname = \"x\"\nmatch = \"*\"\n\
                auth = \"psk\"\ntransport = true\nppk = \"required\"\n[ppk]\n";
    assert_eq!(
        server_errors(text),
        r#"corp.toml:9:7: [[connection]] 1: `ppk`: this server has no keys
  help: add [ppk.NAME] with file = "NAME.ppk""#
    );
    let text = text.replace("[ppk]", "[ppk.\"\"]\n[ppk.other]\nkey = \"x\"");
    assert_eq!(
        server_errors(&text),
        r#"corp.toml:9:7: [[connection]] 1: `ppk`: this server has no keys
  help: add [ppk.NAME] with file = "NAME.ppk"
corp.toml:10:1: [ppk.] `file` is missing
  help: add file = "NAME.ppk", a file in /etc/adit/secrets that holds the key
corp.toml:10:6: [ppk]: "" is not the name of a key
  help: 1 to 64 printable ASCII characters
corp.toml:11:1: [ppk.other] `file` is missing
  help: add file = "NAME.ppk", a file in /etc/adit/secrets that holds the key
corp.toml:12:1: [ppk.other] unknown key "key"
  help: known here: file"#
    );
}

#[test]
fn no_message_holds_a_secret() {
    for text in [
        "psk = \"0xswordfish\"",
        "psk = [\"swordfish\"]",
        "psk = swordfish",
        "psk = \"0sswordfish!\"",
        "psk = \"swordfish",
        "key = \"MIIswordfish/+=\"",
        "kye = \"swordfish\"",
        "psk = \"swordfish\"\npsk = \"swordfish\"",
        "psk.swordfish = 1\n[psk]",
    ] {
        let errors = profile_errors(text);
        let shown = format!("{errors} {errors:?} {}", redact(text));
        let shown = shown.replace("psk.swordfish", "");
        assert!(!shown.contains("swordfish"), "{text}: {shown}");
        assert_eq!(redact(text).len(), text.len(), "{text}");
    }
}

#[test]
fn redacting_keeps_everything_else() {
    let text = "server = \"a\"\npsk = \"swordfish\" # geheim\n[[connection]]\npsk = 'tuna'\npsk-file = \"x\"\nkey = \"\"\"\n-----BEGIN\nab\n\"\"\"\n";
    assert_eq!(
        redact(text),
        "server = \"a\"\npsk = \"*********\" # geheim\n[[connection]]\npsk = '****'\npsk-file = \"x\"\nkey = \"\"\"\n**********\n**\n\"\"\"\n"
    );
}

#[test]
fn a_secret_that_others_can_read_is_refused_before_all_else() {
    let text = "server = \"vpn.example.com\"\nauth = \"pks\"\nlocal-id = \"alice\"\npsk = \"swordfish\"\n";
    let access = Access { mode: 0o100_644, gid: 0, adit_gid: None };
    let source = Source { file: "/etc/adit/profiles/corp.toml", text, access: Some(access) };
    let errors = parse_profile(&"corp".parse().unwrap(), &source, &check).unwrap_err();
    let failure = Failure::from(errors);
    assert_eq!(failure.code, FailureCode::SecretExposed);
    assert_eq!(
        failure.text,
        "/etc/adit/profiles/corp.toml:4:7: the file holds a secret, but everybody on this host can get at it \
         (mode 0644) (and one more mistake)"
    );
    assert_eq!(
        failure.hint.unwrap(),
        "chown root:adit /etc/adit/profiles/corp.toml && chmod 0640 /etc/adit/profiles/corp.toml"
    );
}

#[test]
fn a_profile_without_secrets_may_be_open() {
    let text =
        "server = \"vpn.example.com\"\nauth = \"psk\"\nlocal-id = \"alice\"\npsk-file = \"corp.psk\"\n";
    let access = Access { mode: 0o100_644, gid: 1000, adit_gid: None };
    let source = Source { access: Some(access), ..source(text) };
    assert!(parse_profile(&"corp".parse().unwrap(), &source, &check).is_ok());
}

#[test]
fn mistakes_of_server_toml() {
    let text = r#"
[listen]
ports = [500]
[ikev2]
certificate = "server.pem"
[pool.staff]
ranges = ["10.9.0.10-10.9.0.200", "10.9.0.0/24", "fd00::/64"]
[network]
nat = "masq"
[[connection]]
name = "staff"
match = ["*@example.com", "*x"]
auth = "certificate"
pool = "stuff"
[limit]
"#;
    assert_eq!(
        server_errors(text),
        r#"corp.toml:3:9: [listen] `ports` is not a pair of ports
  help: allowed: two different ports, without and with UDP encapsulation: [500, 4500]
corp.toml:4:1: [ikev2] `key` is missing
  help: add key = "NAME.pem", a file in /etc/adit/private
corp.toml:7:35: [pool.staff] `ranges`: "10.9.0.0/24" overlaps 10.9.0.10-10.9.0.200 of [pool.staff]
  help: give every address to one pool only
corp.toml:7:50: [pool.staff] `ranges`: "fd00::/64" is not a range of IPv4 addresses
  help: allowed: 10.9.0.10-10.9.0.200, 10.9.1.0/24
corp.toml:9:7: [network] `nat`: "masq" is not a value it can have
  help: allowed: "off", "masquerade"
corp.toml:10:1: [[connection]] 1: `ca` is missing
  help: add ca = "NAME.pem": the authority of the clients' certificates, in /etc/adit/certs
corp.toml:12:27: [[connection]] 1: `match`: "*x" is not a pattern
  help: allowed: an identity, "*@example.com", "*.example.com" or "*"
corp.toml:14:8: [[connection]] 1: there is no pool "stuff"
  help: did you mean "staff"?
corp.toml:15:2: unknown key "limit"
  help: did you mean `limits`?"#
    );
    assert_eq!(
        server_errors(""),
        "corp.toml:1:1: `[[connection]]` is missing\n  help: add [[connection]] with name, match, auth and pool: \
         without one nobody may connect"
    );
}

#[test]
fn mistakes_of_eap() {
    let text = r#"
server = "vpn.example.com"
auth = "eap"
user = "alice"
eap-methods = ["tls", "leap"]
eap-inner = "chap"
eap-only = true
"#;
    assert_eq!(
        profile_errors(text).to_string(),
        r#"corp.toml:5:15: `eap-methods`: EAP-TLS needs a certificate of ours
  help: add certificate = "NAME.pem" and key = "NAME.pem", or take "tls" out
corp.toml:5:23: `eap-methods`: "leap" is not an EAP method of ours
  help: allowed: "mschapv2", "tls", "ttls", "peap", "gtc", "md5"
corp.toml:6:13: `eap-inner`: "chap" is not a value it can have
  help: allowed: "mschapv2", "eap-mschapv2", "pap", "gtc", "md5""#
    );
    let only = text.replace("\"tls\", \"leap\"", "\"peap\"").replace("chap\"", "pap\"");
    assert_eq!(
        profile_errors(&only).to_string(),
        "corp.toml:7:12: `eap-only`: the server would prove itself by nothing\n  help: add eap-methods = [\"tls\"]: no \
         other method proves the server"
    );
    let server = r#"
[ikev2]
certificate = "vpn.pem"
key = "vpn.pem"
[[connection]]
name = "a"
match = "*"
auth = "eap-tls"
pool = "p"
[[connection]]
name = "b"
match = "*"
auth = "eap-peap"
eap-only = true
pool = "p"
[pool.p]
ranges = ["10.9.0.0/24"]
"#;
    let errors = server_errors(server);
    for part in ["`ca` is missing", "`eap-only` has no use", "`users-file` is missing"] {
        assert!(errors.contains(part), "{part} in:\n{errors}");
    }
}

/// What looks like protection, and is none, is told: a profile's keys, and a server's.
#[test]
fn credentials_that_nobody_looks_at() {
    let head = "server = \"vpn.example.com\"\nauth = \"eap\"\nuser = \"ann\"\neap-methods = \"mschapv2\"\n";
    for (line, key) in [
        ("certificate = \"ann.pem\"", "certificate"),
        ("key = \"ann.pem\"", "key"),
        ("eap-server = \"radius.example.com\"", "eap-server"),
        ("eap-inner = \"gtc\"", "eap-inner"),
    ] {
        let said = profile_errors(&format!("{head}{line}\n")).to_string();
        assert!(said.contains(&format!("`{key}` has no use: no method of `eap-methods` needs it")), "{said}");
    }
    let connection = |auth: &str, line: &str| {
        format!(
            "[ikev2]\nidentity = \"vpn.example.com\"\ncertificate = \"vpn.pem\"\nkey = \"vpn.pem\"\n[[connection]]\n\
             name = \"staff\"\nmatch = \"*\"\n{auth}\npool = \"p\"\n{line}\n[pool.p]\nranges = [\"10.9.0.0/24\"]\n"
        )
    };
    let eap = "auth = \"eap-mschapv2\"\nusers-file = \"staff.users\"";
    for (auth, line, error) in [
        (eap, "ca = \"staff-ca.pem\"", "`ca` has no use: auth is neither \"certificate\" nor \"eap-tls\""),
        (eap, "revocation = \"strict\"", "`revocation` has no use: auth is neither"),
        (eap, "psk-file = \"staff.psk\"", "`psk-file` has no use: neither side authenticates with \"psk\""),
    ] {
        let said = server_errors(&connection(auth, line));
        assert!(said.contains(error), "{line}: {said}");
    }
}
