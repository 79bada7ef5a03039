//! Profiles with `tunnel = "pptp"`, and `[pptp]` of server.toml.
#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use adit_profile::{EapType, MppeRule, PppAuth, Tunnel, TunnelKind};
use common::{profile, server};

const SHORTEST: &str = "server = \"vpn.example.com\"\ntunnel = \"pptp\"\nuser = \"ann\"\n";

#[test]
fn three_lines_are_enough_and_safe() {
    let profile = profile(SHORTEST).unwrap();
    assert_eq!((profile.kind, profile.tunnel), (TunnelKind::Pptp, Tunnel::Full));
    let ppp = profile.ppp.unwrap();
    assert_eq!(ppp.auth, [PppAuth::Eap, PppAuth::MsChapV2]);
    assert_eq!(ppp.mppe, MppeRule { required: true, bits128: true, bits40: false, stateful: false });
}

#[test]
fn a_certificate_needs_no_name() {
    let certificate = "server = \"vpn.example.com\"\ntunnel = \"pptp\"\nppp-auth = [\"eap\"]\neap-methods = [\"tls\"]\n\
                       certificate = \"ann.pem\"\nkey = \"ann.pem\"\nca = [\"corp-ca.pem\"]\n";
    let first = profile(certificate).unwrap();
    assert!(first.user.is_none());
    assert_eq!(first.eap.methods, [EapType::Tls]);
    assert_eq!(profile(&first.to_toml()).unwrap().to_toml(), first.to_toml());
    let password = certificate.replace("[\"tls\"]", "[\"peap\"]");
    assert!(profile(&password).unwrap_err().contains("`user` is missing"));
}

/// The shortest profile with these lines has this error.
fn refused(lines: &str, error: &str) {
    let said = profile(&format!("{SHORTEST}{lines}\n")).unwrap_err();
    assert!(said.contains(error), "{lines}: {said}");
}

/// Who names an authority believes that the server is asked for a certificate of it.
#[test]
fn what_no_method_needs_is_refused() {
    for (lines, error) in [
        ("ca = \"corp-ca.pem\"", "`ca` has no use: no method of `eap-methods` needs it"),
        ("eap-server = \"vpn.example.com\"", "`eap-server` has no use: no method"),
        ("revocation = \"strict\"", "`revocation` has no use: no method"),
        ("eap-inner = \"gtc\"", "`eap-inner` has no use: no method"),
        ("eap-methods = [\"mschapv2\"]\nkey = \"ann.pem\"", "`key` has no use: no method"),
        ("certificate = \"ann.pem\"", "`certificate` has no use: no method"),
        ("ppp-auth = [\"mschapv2\"]\nkey = \"ann.pem\"", "`key` has no use: `ppp-auth` has no \"eap\""),
        ("ppp-auth = [\"mschapv2\"]\neap-methods = [\"peap\"]", "`eap-methods` has no use: `ppp-auth`"),
        ("ppp-auth = [\"mschapv2\"]\nca = \"corp-ca.pem\"", "`ca` has no use: `ppp-auth` has no \"eap\""),
        ("ppp-auth = [\"mschapv2\"]\neap-identity = \"anybody\"", "`eap-identity` has no use: `ppp-auth`"),
    ] {
        refused(lines, error);
    }
    let peap = format!("{SHORTEST}eap-methods = [\"peap\"]\neap-inner = \"gtc\"\nca = \"corp-ca.pem\"\n");
    assert_eq!(profile(&peap).unwrap().remote_auth, adit_profile::AuthMethod::Certificate);
    let by_certificate = "server = \"vpn.example.com\"\ntunnel = \"pptp\"\nppp-auth = [\"eap\"]\ncertificate = \"ann.pem\"\n\
                          key = \"ann.pem\"\npassword-file = \"ann.password\"\n";
    let said = profile(by_certificate).unwrap_err();
    assert!(said.contains("`password-file` has no use: a certificate alone proves us"), "{said}");
}

/// Else whoever stands in the way asks for MS-CHAPv2, and has the password's hash in hours.
#[test]
fn where_tls_is_wanted_no_proof_of_the_password_goes_outside_of_it() {
    let ways = |lines: &str| {
        let first = profile(&format!("{SHORTEST}{lines}")).unwrap();
        assert_eq!(profile(&first.to_toml()).unwrap().to_toml(), first.to_toml());
        let again = profile(&first.to_toml()).unwrap();
        assert_eq!((&again.ppp, &again.eap), (&first.ppp, &first.eap), "{lines}");
        (first.ppp.unwrap().auth, first.eap.methods)
    };
    let (peap, tls, password) = (EapType::Peap, EapType::Tls, EapType::Mschapv2);
    assert_eq!(ways(""), (vec![PppAuth::Eap, PppAuth::MsChapV2], vec![password]));
    assert_eq!(ways("eap-methods = [\"peap\"]\n"), (vec![PppAuth::Eap], vec![peap]));
    let key = "certificate = \"ann.pem\"\nkey = \"ann.pem\"\n";
    assert_eq!(ways(key), (vec![PppAuth::Eap], vec![tls]));
    // By their own word.
    let both = "eap-methods = [\"peap\", \"mschapv2\"]\nppp-auth = [\"eap\", \"mschapv2\"]\n";
    assert_eq!(ways(both), (vec![PppAuth::Eap, PppAuth::MsChapV2], vec![peap, password]));
}

#[test]
fn what_is_weak_needs_a_word_and_what_can_not_be_is_said() {
    for (line, error) in [
        ("ppp-auth = [\"mschapv1\"]", "MS-CHAPv1 can be broken in minutes"),
        ("ppp-auth = [\"pap\"]", "sends the password in clear"),
        ("ppp-auth = [\"chap\"]", "CHAP makes no keys for MPPE"),
        ("mppe = [\"56\"]", "no Linux kernel has MPPE with \"56\" bits"),
        ("version = 2", "`version`"),
        ("addresses = []", "`addresses` is empty"),
        ("eap-methods = [\"gtc\"]", "GTC sends the password in clear"),
        ("eap-methods = [\"md5\"]", "EAP-MD5 makes no keys for MPPE"),
        ("eap-methods = [\"tls\"]", "EAP-TLS needs a certificate of ours"),
        ("eap-only = true", "unknown key \"eap-only\""),
        ("ppp-auth = []", "`ppp-auth` is empty"),
        ("mppe = []", "`mppe` is empty"),
        ("start = \"on-demand\"", "which packets raise it must be known before it is up"),
        ("psk-file = \"corp.psk\"", "unknown key \"psk-file\""),
        ("remote-subnets = [\"10.0.0.0/8\"]", "a full tunnel takes everything"),
    ] {
        refused(line, error);
    }
    let legacy = format!("{SHORTEST}ppp-auth = [\"mschapv1\"]\nlegacy = true\n");
    assert_eq!(profile(&legacy).unwrap().ppp.unwrap().auth, [PppAuth::MsChapV1]);
    let other_port = SHORTEST.replace(".com", ".com:1724");
    assert!(profile(&other_port).unwrap_err().contains("PPTP has the TCP port 1723 and no other"));
}

#[test]
fn a_client_needs_a_whole_network_of_ipv6() {
    let both = format!("{SERVER}ranges6 = [\"fd00:9::/48\"]\n");
    assert!(server(&both).is_ok());
    let ipv6 = SERVER.replace("ranges = [\"10.9.0.1-10.9.0.9\"]", "ranges6 = [\"fd00:9::/64\"]");
    assert!(server(&ipv6).is_ok());
    let narrow = both.replace("/48", "/112");
    let said = server(&narrow).unwrap_err();
    assert!(said.contains("a client gets a /64 of `ranges6`, and there is none in it"), "{said}");
}

const SERVER: &str = "[pptp]\npool = \"dial-in\"\nusers-file = \"staff.users\"\n\n[pool.dial-in]\nranges = [\"10.9.0.1-10.9.0.9\"]\n";
#[test]
fn each_network_is_behind_one_site() {
    let sites = SERVER.replace(
        "\n[pool",
        "\n[pptp.sites]\nwest = [\"10.2.0.0/24\"]\nsouth = [\"10.3.0.0/24\", \"fd00:3::/64\"]\n\n[pool",
    );
    let pptp = server(&sites).unwrap().pptp.unwrap();
    assert_eq!(pptp.sites["south"].len(), 2);
    let twice = sites.replace("10.3.0.0/24", "10.2.0.128/25");
    let said = server(&twice).unwrap_err();
    assert!(
        said.contains("is behind \"south\" already") || said.contains("is behind \"west\" already"),
        "{said}"
    );
}

#[test]
fn what_pppd_has_can_stay_where_it_is() {
    let there =
        SERVER.replace("staff.users", "/etc/ppp/chap-secrets").replace("pool =", "name = \"pptpd\"\npool =");
    let pptp = server(&there).unwrap().pptp.unwrap();
    let users = pptp.users.as_ref().unwrap();
    assert_eq!((users.path().as_str(), pptp.name.as_str()), ("/etc/ppp/chap-secrets", "pptpd"));
    assert_eq!(server(SERVER).unwrap().pptp.unwrap().name, "adit");
    for other in ["/etc/ppp/options", "/etc/ppp/../shadow", "/etc/shadow", "/etc/ppp/"] {
        let said = server(&SERVER.replace("staff.users", other)).unwrap_err();
        assert!(said.contains("a file in /etc/adit/secrets"), "{other}: {said}");
    }
    for name in ["", "a\tb"] {
        let said = server(&SERVER.replace("pool =", &format!("name = \"{name}\"\npool ="))).unwrap_err();
        assert!(said.contains("`name`"), "{said}");
    }
    let first = profile(&format!("{SHORTEST}password-file = \"/etc/ppp/pap-secrets\"\n")).unwrap();
    assert_eq!(profile(&first.to_toml()).unwrap().to_toml(), first.to_toml());
    assert!(first.to_toml().contains("/etc/ppp/pap-secrets"), "{}", first.to_toml());
    // Its secrets are for what it did.
    let ikev2 = "server = \"vpn.example.com\"\nauth = \"eap\"\nuser = \"ann\"\npassword-file = \"/etc/ppp/chap-secrets\"\n";
    assert!(profile(ikev2).unwrap_err().contains("a file in /etc/adit/secrets"));
}

const BY_TLS: &str = "ppp-auth = [\"eap\"]\neap-methods = [\"tls\"]\ncertificate = \"vpn.pem\"\nkey = \"vpn.pem\"\nca = \"ca.pem\"\n";

/// An authority signs for others than those who may dial.
#[test]
fn whose_certificates_let_in_is_said() {
    let with = |lines: &str| {
        server(&SERVER.replace("users-file = \"staff.users\"\n", &format!("{BY_TLS}{lines}")))
            .map(|config| config.pptp.unwrap())
    };
    let said = with("").unwrap_err();
    assert!(said.contains("[pptp] `match` is missing"), "{said}");
    let matches = |pptp: &adit_profile::PppServer, who: &str| {
        pptp.eap.matches.iter().any(|pattern| pattern.matches(&who.parse().unwrap()))
    };
    let pptp = with("match = [\"*@example.com\", \"west.example.com\"]\n").unwrap();
    assert!(matches(&pptp, "ann@example.com") && matches(&pptp, "west.example.com"));
    assert!(!matches(&pptp, "ann@other.example") && !matches(&pptp, "east.example.com"));
    let pptp = with("group = \"staff\"\n[group.staff]\nmembers = [\"ann@example.com\"]\n").unwrap();
    assert!(matches(&pptp, "ann@example.com") && !matches(&pptp, "bob@example.com"));
    let passwords = SERVER.replace("[pptp]", "[pptp]\nmatch = \"*\"");
    assert!(server(&passwords).unwrap_err().contains("[pptp] `match` has no use: no method"));
}

const RADIUS: &str = "\n[[radius]]\naddress = \"10.1.0.5\"\nsecret-file = \"radius.secret\"\n";

#[test]
fn a_server_has_users_or_asks_radius() {
    let pptp = server(SERVER).unwrap().pptp.unwrap();
    assert_eq!(pptp.auth, [PppAuth::MsChapV2, PppAuth::Eap]);
    assert!(pptp.users.is_some());
    let nobody = SERVER.replace("[pptp]", "[pptp]\nppp-auth = []\nrequire-mppe = false");
    assert!(server(&nobody).unwrap_err().contains("`ppp-auth` is empty"), "it would let anybody in");
    let asks = SERVER.replace("users-file = \"staff.users\"", "radius = true");
    let pptp = server(&format!("{asks}{RADIUS}")).unwrap().pptp.unwrap();
    assert_eq!((&*pptp.auth, pptp.users.is_none()), (&[PppAuth::MsChapV2, PppAuth::Eap][..], true));

    assert!(server(&asks).unwrap_err().contains("`[[radius]]` is missing: [pptp] asks RADIUS servers"));
    let neither = SERVER.replace("users-file = \"staff.users\"\n", "");
    assert!(server(&neither).unwrap_err().contains("`users-file` is missing"));
    let certificates = neither.replace("\n[pool", &format!("{BY_TLS}match = \"*@example.com\"\n\n[pool"));
    let pptp = server(&certificates).unwrap().pptp.unwrap();
    assert!(pptp.users.is_none() && !pptp.radius, "certificates need no users");
    let anybody = certificates.replace("ca = \"ca.pem\"\n", "");
    assert!(server(&anybody).unwrap_err().contains("`ca` is missing"));
    let peap = certificates.replace("\"tls\"", "\"peap\"");
    let said = server(&peap).unwrap_err();
    assert!(said.contains("`users-file` is missing") && said.contains("`ca` has no use"), "{said}");
    let both = SERVER.replace("[pptp]", "[pptp]\nradius = true");
    assert!(server(&format!("{both}{RADIUS}")).unwrap_err().contains("`users-file` has no use"));
    let old = asks.replace("radius = true", "radius = true\nlegacy = true\nppp-auth = [\"mschapv1\"]");
    let said = server(&format!("{old}{RADIUS}")).unwrap_err();
    assert!(said.contains("RADIUS servers are not asked by \"mschapv1\""), "{said}");
    let methods = asks.replace("radius = true", "radius = true\neap-methods = [\"peap\"]");
    assert!(server(&format!("{methods}{RADIUS}")).unwrap_err().contains("`eap-methods` has no use"));
}
