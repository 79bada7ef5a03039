//! Profiles with `tunnel = "l2tp"`, and `[l2tp]` of server.toml.
#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use adit_profile::{EapType, Ipsec, PppAuth, Tunnel, TunnelKind};
use common::{profile, server};

const BARE: &str = "server = \"vpn.example.com\"\ntunnel = \"l2tp\"\nuser = \"ann\"\n";

fn with(lines: &str) -> Result<adit_profile::Profile, String> {
    profile(&format!("{BARE}ipsec = \"none\"\n{lines}\n"))
}

/// Nothing protects L2TP by itself: that there is to be no IPsec somebody has to write.
#[test]
fn ipsec_is_there_unless_somebody_says_no() {
    let said = profile(BARE).unwrap_err();
    assert!(said.contains("`psk-file` is missing") && said.contains("ipsec = \"none\""), "{said}");
    let said = profile(&format!("{BARE}ipsec = \"perhaps\"\n")).unwrap_err();
    assert!(said.contains("`ipsec`") && said.contains("\"none\""), "{said}");
    let whole = profile(&format!("{BARE}psk-file = \"corp.psk\"\n")).unwrap();
    assert!(whole.psk.is_some() && whole.files().len() == 1);
    assert_eq!(whole.ppp.unwrap().l2tp.unwrap().ipsec, Ipsec::Ikev1);
    assert!(with("psk-file = \"corp.psk\"").unwrap_err().contains("there is no IPsec"));
    let plain = with("").unwrap();
    assert_eq!((plain.kind, plain.tunnel), (TunnelKind::L2tp, Tunnel::Full));
    let ppp = plain.ppp.unwrap();
    assert_eq!(ppp.auth, [PppAuth::Eap, PppAuth::MsChapV2]);
    assert!(!ppp.mppe.required && ppp.mppe.bits128);
    let rule = ppp.l2tp.unwrap();
    assert_eq!((rule.ipsec, rule.secret.is_some(), rule.hide), (Ipsec::None, false, false));
}

/// IKEv2 is a client's alone, and has a pre-shared key.
#[test]
fn ipsec_may_be_by_ikev2() {
    let by = |lines: &str| profile(&format!("{BARE}ipsec = \"ikev2\"\n{lines}\n"));
    let whole = by("psk-file = \"corp.psk\"").unwrap();
    assert!(whole.is_weak(), "everybody of a group has its key");
    assert_eq!(whole.ppp.as_ref().unwrap().l2tp.as_ref().unwrap().ipsec, Ipsec::Ikev2);
    let shown = whole.to_toml();
    assert!(shown.contains("ipsec = \"ikev2\"") && shown.contains("psk-file = \"corp.psk\""), "{shown}");
    assert_eq!(profile(&shown).unwrap().to_toml(), shown);
    assert!(by("").unwrap_err().contains("`psk-file` is missing"));
    let lines = "auth = \"certificate\"\ncertificate = \"a.pem\"\nkey = \"a.key\"";
    let said = by(lines).unwrap_err();
    assert!(
        said.contains("`auth` has no use: with ipsec = \"ikev2\" a pre-shared key proves both"),
        "{said}"
    );
}

#[test]
fn a_server_may_have_both_versions_of_ike() {
    let of = |ipsec: &str| {
        server(&SERVER.replace("ipsec = \"none\"\n", &format!("{ipsec}\npsk-file = \"l2tp.psk\"\n")))
    };
    let by = |ipsec: &str| {
        let read = of(ipsec).unwrap();
        let rule = read.l2tp.as_ref().unwrap().l2tp.as_ref().unwrap();
        let server = rule.server.as_ref().unwrap();
        (rule.ipsec, server.ikev1, server.ikev2)
    };
    assert_eq!(by(""), (Ipsec::Ikev1, true, false));
    assert_eq!(by("ipsec = \"ikev1\""), (Ipsec::Ikev1, true, false));
    assert_eq!(by("ipsec = \"ikev2\""), (Ipsec::Ikev2, false, true));
    assert_eq!(by("ipsec = [\"ikev1\", \"ikev2\"]"), (Ipsec::Ikev1, true, true));
    for (ipsec, error) in [
        ("ipsec = [\"ikev2\", \"none\"]", "all tunnels or none"),
        ("ipsec = \"perhaps\"", "\"ikev2\", \"none\""),
        ("ipsec = []", "`ipsec` is empty"),
    ] {
        let said = of(ipsec).unwrap_err();
        assert!(said.contains(error), "{ipsec}: {said}");
    }
    let lines = "ipsec = \"ikev2\"\nauth = \"certificate\"\ncertificate = [\"a.pem\"]\nkey = [\"a.key\"]\nca = [\"c.pem\"]\n";
    let said = server(&SERVER.replace("ipsec = \"none\"\n", lines)).unwrap_err();
    assert!(said.contains("a pre-shared key proves both hosts by IKEv2"), "{said}");
}

#[test]
fn what_it_says_is_shown_and_read_again() {
    let lines = "tunnel-secret-file = \"corp.secret\"\nhide-avps = true\nrequire-mppe = true\nmppe = [\"128\", \"40\"]";
    let first = with(lines).unwrap();
    let shown = first.to_toml();
    for line in
        ["tunnel = \"l2tp\"", "ipsec = \"none\"", "tunnel-secret-file = \"corp.secret\"", "hide-avps = true"]
    {
        assert!(shown.contains(line), "{line}: {shown}");
    }
    assert_eq!(profile(&shown).unwrap().to_toml(), shown);
    let lines = "psk-file = \"corp.psk\"\nremote-id = \"vpn.example.com\"\nlocal-id = \"ann@example.com\"\nlegacy = true\n\
                 rekey-child = \"20m\"\ndpd = \"10s\"\nforce-encapsulation = true\n";
    let shown = profile(&format!("{BARE}{lines}")).unwrap().to_toml();
    for line in lines.lines() {
        assert!(shown.contains(line), "{line}: {shown}");
    }
    assert!(!shown.contains("ipsec"), "it is the default: {shown}");
    assert_eq!(profile(&shown).unwrap().to_toml(), shown);
}

#[test]
fn what_makes_no_sense_is_refused() {
    for (lines, error) in [
        ("hide-avps = true", "`hide-avps` has no use: values are hidden by a secret"),
        ("ppp-auth = [\"pap\"]", "L2TP does not encrypt it"),
        ("eap-methods = [\"gtc\"]", "L2TP does not encrypt it"),
        ("require-mppe = true\nppp-auth = [\"chap\"]", "CHAP makes no keys for MPPE"),
        ("proxy = \"p:1\"", "unknown key \"proxy\""),
    ] {
        let said = with(lines).unwrap_err();
        assert!(said.contains(error), "{lines}: {said}");
    }
    let ported =
        profile(&BARE.replace(".com", ".com:1702").replace("user", "ipsec = \"none\"\nuser")).unwrap_err();
    assert!(ported.contains("L2TP has the UDP port 1701 and no other"), "{ported}");
    assert!(with("ppp-auth = [\"chap\"]").is_ok(), "nothing is required to encrypt");
    let pptp = profile("server = \"a\"\ntunnel = \"pptp\"\nuser = \"ann\"\nipsec = \"none\"\n").unwrap_err();
    assert!(pptp.contains("unknown key \"ipsec\""), "{pptp}");
}

/// As in IKEv2: `auth` says what proves the hosts, and a password goes on proving the person.
#[test]
fn certificates_prove_both_ends_where_the_file_says_so() {
    let bare = format!("{BARE}auth = \"certificate\"\n");
    let said = profile(&bare).unwrap_err();
    assert!(said.contains("`certificate` is missing") && said.contains("`key` is missing"), "{said}");
    let lines = "certificate = [\"ann.pem\"]\nkey = [\"ann.key\"]\nca = [\"corp-ca.pem\"]\n";
    let whole = profile(&format!("{bare}{lines}")).unwrap();
    let ppp = whole.ppp.as_ref().unwrap();
    let rule = ppp.l2tp.as_ref().unwrap();
    assert!(rule.certificate && whole.psk.is_none() && whole.files().len() == 3);
    // The certificate is the host's: nobody has said that it is for EAP, too.
    assert_eq!(
        (&ppp.auth[..], &whole.eap.methods[..]),
        (&[PppAuth::Eap, PppAuth::MsChapV2][..], &[EapType::Mschapv2][..])
    );
    let shown = whole.to_toml();
    assert!(shown.contains("auth = \"certificate\""), "{shown}");
    assert_eq!(profile(&shown).unwrap().to_toml(), shown);
    for (more, error) in [
        ("psk-file = \"corp.psk\"\n", "certificates prove both ends"),
        ("eap-server = \"radius.example.com\"\n", "no method of `eap-methods` needs it"),
    ] {
        let said = profile(&format!("{bare}{lines}{more}")).unwrap_err();
        assert!(said.contains(error), "{more}: {said}");
    }
    // With a key it is EAP's, as before.
    let said = profile(&format!("{BARE}psk-file = \"corp.psk\"\neap-methods = [\"mschapv2\"]\n{lines}"))
        .unwrap_err();
    assert!(said.contains("no method of `eap-methods` needs it"), "{said}");
    let said = profile(&format!("{BARE}auth = \"eap\"\n{lines}")).unwrap_err();
    assert!(said.contains("\"psk\", \"certificate\""), "{said}");
    assert!(with("auth = \"certificate\"").unwrap_err().contains("there is no IPsec"));
}

#[test]
fn a_server_takes_certificates_a_key_or_both() {
    let of = |lines: &str| server(&SERVER.replace("ipsec = \"none\"\n", lines));
    let certificate = "certificate = [\"vpn.pem\"]\nkey = [\"vpn.key\"]\nca = [\"corp-ca.pem\"]\n";
    let by = |lines: &str| {
        let read = of(lines).unwrap();
        let rule = read.l2tp.as_ref().unwrap().l2tp.as_ref().unwrap().server.as_ref().unwrap();
        (rule.psk.is_some(), rule.certificates, read.files().len())
    };
    assert_eq!(by(&format!("auth = \"certificate\"\n{certificate}")), (false, true, 4));
    let both = format!("auth = [\"psk\", \"certificate\"]\npsk-file = \"l2tp.psk\"\n{certificate}");
    assert_eq!(by(&both), (true, true, 5));
    for (lines, error) in [
        ("auth = \"certificate\"\n", "[l2tp] `ca` is missing"),
        (
            "auth = [\"psk\", \"certificate\"]\ncertificate = [\"a.pem\"]\nkey = [\"a.key\"]\nca = [\"c.pem\"]\n",
            "`psk-file` is missing",
        ),
        (
            "auth = \"certificate\"\npsk-file = \"l2tp.psk\"\ncertificate = [\"a.pem\"]\nkey = [\"a.key\"]\nca = [\"c.pem\"]\n",
            "certificates prove both ends",
        ),
        ("psk-file = \"l2tp.psk\"\nca = [\"corp-ca.pem\"]\n", "`ca` has no use"),
    ] {
        let said = of(lines).unwrap_err();
        assert!(said.contains(error), "{lines}: {said}");
    }
}

const SERVER: &str = "[l2tp]\nipsec = \"none\"\npool = \"dial-in\"\nusers-file = \"staff.users\"\n\n\
                      [pool.dial-in]\nranges = [\"10.9.0.1-10.9.0.200\"]\n";

#[test]
fn a_server_says_so_too_and_has_sites_and_a_pool_of_its_own() {
    let l2tp = server(SERVER).unwrap().l2tp.unwrap();
    assert_eq!((l2tp.kind, l2tp.port), (TunnelKind::L2tp, 1701));
    let more = SERVER.replace(
        "users-file",
        "addresses = [\"2001:db8::1\"]\ntunnel-secret-file = \"t.secret\"\nhide-avps = true\nusers-file",
    );
    let more = format!("{}\n[l2tp.sites]\nwest = [\"10.1.0.0/24\"]\n", more);
    let read = server(&more).unwrap();
    assert_eq!(read.l2tp.as_ref().unwrap().sites.len(), 1);
    assert_eq!(read.files().len(), 2);
    for (from, to, error) in [
        ("ipsec = \"none\"\n", "", "[l2tp] `psk-file` is missing"),
        ("pool = \"dial-in\"\n", "", "[l2tp] `pool` is missing"),
        ("ipsec", "port = 1702\nipsec", "unknown key \"port\""),
    ] {
        let said = server(&SERVER.replace(from, to)).unwrap_err();
        assert!(said.contains(error), "{error}: {said}");
    }
    let protected = server(&SERVER.replace("ipsec = \"none\"", "psk-file = \"l2tp.psk\"")).unwrap();
    assert_eq!(protected.files().len(), 2);
    let rule = protected.l2tp.as_ref().unwrap().l2tp.as_ref().unwrap();
    assert!(rule.ipsec == Ipsec::Ikev1 && rule.server.is_some());
    let shared = format!("[pptp]\npool = \"dial-in\"\nusers-file = \"staff.users\"\n\n{SERVER}");
    assert!(server(&shared).unwrap_err().contains("give L2TP a pool of its own"));
}
