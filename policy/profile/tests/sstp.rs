//! Profiles with `tunnel = "sstp"`, and `[sstp]` of server.toml.
#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use adit_profile::{AuthMethod, EapType, LinkKind, LinkName, PppAuth, ProxyRule, Tunnel, TunnelKind};
use common::{profile, server};

const SHORTEST: &str = "server = \"vpn.example.com\"\ntunnel = \"sstp\"\nuser = \"ann\"\n";

#[test]
fn three_lines_are_enough_and_safe() {
    let profile = profile(SHORTEST).unwrap();
    assert_eq!((profile.kind, profile.tunnel), (TunnelKind::Sstp, Tunnel::Full));
    assert_eq!(profile.remote_auth, AuthMethod::Certificate, "the server shows who it is");
    assert_eq!(profile.ppp.unwrap().auth, [PppAuth::Eap, PppAuth::MsChapV2]);
}

#[test]
fn what_it_says_is_read_back() {
    let lines = "remote-id = \"other.example.com\"\nca = [\"corp-ca.pem\"]\nrevocation = \"strict\"\nppp-auth = [\"chap\"]\n\
                 traffic = \"split\"\nremote-subnets = [\"10.0.0.0/8\"]\nmtu = 1300\n";
    let first = profile(&format!("{SHORTEST}{lines}").replace(".com\"\nt", ".com:8443\"\nt")).unwrap();
    assert_eq!(first.servers[0].port, Some(8443));
    assert_eq!(first.identity_of(&first.servers[0]).to_string(), "other.example.com");
    assert_eq!(profile(&first.to_toml()).unwrap().to_toml(), first.to_toml());
    assert!(!first.to_toml().contains("mppe"), "{}", first.to_toml());
    let by_certificate = "server = \"vpn.example.com\"\ntunnel = \"sstp\"\nppp-auth = [\"eap\"]\neap-methods = [\"tls\"]\n\
                          certificate = \"ann.pem\"\nkey = \"ann.pem\"\n";
    assert_eq!(profile(by_certificate).unwrap().eap.methods, [EapType::Tls]);
}

/// What is in TLS needs no other encryption, and nothing of PPTP's age.
#[test]
fn what_is_pptps_is_not_sstps() {
    for (lines, error) in [
        ("mppe = [\"128\"]", "unknown key \"mppe\""),
        ("require-mppe = false", "unknown key \"require-mppe\""),
        ("legacy = true", "unknown key \"legacy\""),
        ("ppp-auth = [\"mschapv1\"]", "not a way to log in"),
        ("ppp-auth = [\"pap\"]", "not a way to log in"),
    ] {
        let said = profile(&format!("{SHORTEST}{lines}\n")).unwrap_err();
        assert!(said.contains(error), "{lines}: {said}");
    }
    assert!(profile(&format!("{SHORTEST}eap-methods = [\"gtc\"]\n")).is_ok(), "it goes in TLS");
}

/// Whoever names the interface as pppd would means one of the kernel's PPP.
#[test]
fn an_interface_of_ppp_is_one() {
    let with = |lines: &str| profile(&format!("{SHORTEST}{lines}\n")).unwrap();
    for (lines, kind, name) in [
        ("", LinkKind::Tun, LinkName::First("adit")),
        ("interface = \"corp\"", LinkKind::Tun, LinkName::Exactly("corp")),
        ("interface = \"pppoe\"", LinkKind::Tun, LinkName::Exactly("pppoe")),
        ("interface = \"ppp\"", LinkKind::Ppp, LinkName::First("ppp")),
        ("interface = \"ppp7\"", LinkKind::Ppp, LinkName::Exactly("ppp7")),
    ] {
        let first = with(lines);
        assert_eq!((first.link_kind(), first.link_name()), (kind, name), "{lines}");
        assert_eq!(profile(&first.to_toml()).unwrap().link_name(), name, "{lines}");
    }
    let interface =
        |word: &str| server(&SERVER.replace("[sstp]", &format!("[sstp]\ninterface = \"{word}\"")));
    assert_eq!(server(SERVER).unwrap().sstp.unwrap().interface, LinkKind::Tun);
    assert_eq!(interface("tun").unwrap().sstp.unwrap().interface, LinkKind::Tun);
    assert_eq!(interface("ppp").unwrap().sstp.unwrap().interface, LinkKind::Ppp);
    assert!(interface("ppp0").unwrap_err().contains("\"tun\", \"ppp\""));
}

#[test]
fn a_proxy_is_a_host_with_its_port() {
    let with = |lines: &str| profile(&format!("{SHORTEST}{lines}\n"));
    let both = "proxy = \"http://proxy.example.com:3128/\"\nproxy-user = \"ann\"\nproxy-password-file = \"proxy.password\"";
    let first = with(both).unwrap();
    let Some(ProxyRule::Named(proxy)) = first.proxy() else { panic!("{:?}", first.proxy()) };
    assert_eq!(proxy.server.to_string(), "proxy.example.com:3128");
    assert_eq!(profile(&first.to_toml()).unwrap().to_toml(), first.to_toml());
    let of_host = with("proxy = \"system\"").unwrap();
    assert_eq!(of_host.proxy(), Some(&ProxyRule::System));
    assert_eq!(profile(&of_host.to_toml()).unwrap().proxy(), of_host.proxy());
    let mut named = of_host;
    named.proxy_of_desktop("proxy.example.com:8080".parse().ok());
    let Some(ProxyRule::Named(proxy)) = named.proxy() else { panic!("{:?}", named.proxy()) };
    assert_eq!((proxy.server.to_string().as_str(), &proxy.user), ("proxy.example.com:8080", &None));
    // What the profile itself names stays.
    named.proxy_of_desktop(None);
    assert!(named.proxy().is_some());
    assert_eq!(first.files().len(), 1);
    for (lines, error) in [
        ("proxy = \"proxy.example.com\"", "has no port"),
        ("proxy-user = \"ann\"", "there is no `proxy`"),
        ("proxy = \"system\"\nproxy-user = \"ann\"", "the host says it, or whoever is asked"),
        ("proxy = \"p:1\"\nproxy-password-file = \"x\"", "`proxy-user` is missing"),
        ("proxy = \"p:1\"\nproxy-user = \"a:b\"\nproxy-password-file = \"x\"", "has a colon"),
    ] {
        let said = with(lines).unwrap_err();
        assert!(said.contains(error), "{lines}: {said}");
    }
}

#[test]
fn what_stands_in_front_of_a_server_is_known_by_its_address() {
    let with = |lines: &str| server(&SERVER.replace("[sstp]", &format!("[sstp]\n{lines}")));
    let front =
        with("proxy-protocol = [\"10.0.0.5\", \"2001:db8::/64\"]").unwrap().sstp.unwrap().front.clone();
    let shown: Vec<String> = front.balancers.iter().map(ToString::to_string).collect();
    assert_eq!((shown, front.socket), (vec!["10.0.0.5/32".into(), "2001:db8::/64".into()], None));

    let (sha256, sha1) = ("ab".repeat(32), "0F:".repeat(19) + "0f");
    let elsewhere = format!(
        "proxy-protocol = \"unix\"\nsocket = \"/run/adit-sstp/tls.sock\"\ncertificate-hash = [\"{sha256}\", \"{sha1}\"]"
    );
    let alone = SERVER.replace("certificate = \"vpn.pem\"\nkey = \"vpn.key\"\n", "");
    for text in [SERVER, &alone] {
        let read = server(&text.replace("[sstp]", &format!("[sstp]\n{elsewhere}"))).unwrap().sstp.unwrap();
        let socket = read.front.socket.clone().unwrap();
        assert_eq!((socket.sha256, socket.sha1, socket.forwarded), (Some([0xab; 32]), Some([15; 20]), true));
    }
    for (lines, error) in [
        ("proxy-protocol = \"10.0.0.5/8\"", "has bits beyond its prefix"),
        ("proxy-protocol = []", "`proxy-protocol` is empty"),
        ("proxy-protocol = \"unix\"", "there is no `socket` for \"unix\""),
        ("socket = \"/run/tls.sock\"", "[sstp] `certificate-hash` is missing"),
        ("socket = \"tls.sock\"\ncertificate-hash = \"00\"", "is not where a socket can be"),
        ("socket = \"/run/../tls.sock\"\ncertificate-hash = \"00\"", "is not where a socket can be"),
        ("socket = \"/run/tls.sock\"\ncertificate-hash = \"00\"", "\"00\" is not a hash"),
        ("certificate-hash = \"00\"", "there is no `socket`"),
    ] {
        let said = with(lines).unwrap_err();
        assert!(said.contains(error), "{lines}: {said}");
    }
    assert!(
        server(&SERVER.replace("[sstp]", "[pptp]\nproxy-protocol = \"10.0.0.5\"\n"))
            .unwrap_err()
            .contains("unknown key")
    );
}

const SERVER: &str = "[sstp]\npool = \"dial-in\"\ncertificate = \"vpn.pem\"\nkey = \"vpn.key\"\nusers-file = \"staff.users\"\n\n\
                      [pool.dial-in]\nranges = [\"10.9.0.1-10.9.0.200\"]\n";

#[test]
fn a_server_has_a_certificate_a_pool_of_its_own_and_no_sites() {
    let sstp = server(SERVER).unwrap().sstp.unwrap();
    assert_eq!((sstp.kind, sstp.port, sstp.addresses.len()), (TunnelKind::Sstp, 443, 0));
    assert_eq!(server(SERVER).unwrap().files().len(), 3);
    let elsewhere = SERVER.replace("[sstp]", "[sstp]\nport = 8443\naddresses = [\"2001:db8::1\"]");
    assert_eq!(server(&elsewhere).unwrap().sstp.unwrap().port, 8443);
    for (from, to, error) in [
        ("certificate = \"vpn.pem\"\n", "", "[sstp] `certificate` is missing"),
        ("key = \"vpn.key\"\n", "", "[sstp] `key` is missing"),
        ("pool = \"dial-in\"\n", "", "[sstp] `pool` is missing"),
        ("users-file = \"staff.users\"\n", "", "`users-file` is missing"),
        ("users-file", "mppe = [\"128\"]\nusers-file", "unknown key \"mppe\""),
        ("\n[pool", "\n[sstp.sites]\nwest = [\"10.1.0.0/24\"]\n\n[pool", "nothing from site to site"),
        ("users-file = \"staff.users\"", "radius = true", "[sstp] asks RADIUS servers"),
    ] {
        let said = server(&SERVER.replace(from, to)).unwrap_err();
        assert!(said.contains(error), "{error}: {said}");
    }
    let shared = format!("[pptp]\npool = \"dial-in\"\nusers-file = \"staff.users\"\n\n{SERVER}");
    assert!(server(&shared).unwrap_err().contains("give SSTP a pool of its own"));
}
