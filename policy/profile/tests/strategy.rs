//! Profiles with several types of tunnel.
#![allow(clippy::unwrap_used, reason = "a test")]

use adit_profile::{
    AuthMethod, EapType, Profile, ProfileErrors, Source, SuiteCheck, SuiteKind, TunnelKind, TunnelOrder,
    parse_profile,
};

const SHORTEST: &str = "server = \"vpn.example.com\"\ntunnel = \"auto\"\nuser = \"ann\"\n";
const IKEV2: TunnelKind = TunnelKind::Ikev2;
const SSTP: TunnelKind = TunnelKind::Sstp;
const PPTP: TunnelKind = TunnelKind::Pptp;
const L2TP: TunnelKind = TunnelKind::L2tp;

fn check(_: SuiteKind, _: &str) -> SuiteCheck {
    Ok(Vec::new())
}

fn profile(text: &str) -> Result<Profile, ProfileErrors> {
    let source = Source { file: "corp.toml", text, access: None };
    parse_profile(&"corp".parse().unwrap(), &source, &check)
}

fn with(lines: &str) -> Result<Profile, ProfileErrors> {
    profile(&format!("{SHORTEST}{lines}"))
}

fn in_order(tunnel: &str, lines: &str) -> Profile {
    profile(&format!("{SHORTEST}{lines}").replace("\"auto\"", tunnel)).unwrap()
}

fn mistakes(lines: &str) -> String {
    with(lines).unwrap_err().to_string()
}

#[test]
fn three_lines_are_enough_and_nothing_weak_takes_part() {
    let profile = with("").unwrap();
    assert_eq!(profile.kinds(), [IKEV2, SSTP]);
    assert_eq!((profile.auth, profile.remote_auth), (AuthMethod::Eap, AuthMethod::Certificate));
    let strategy = profile.strategy.unwrap();
    assert_eq!(strategy.order, TunnelOrder::Auto);
    assert!(strategy.race && !strategy.weak && !strategy.sstp_after_bad_certificate);
    let left_out: Vec<TunnelKind> = strategy.left_out.iter().map(|(kind, _)| *kind).collect();
    assert_eq!(left_out, [PPTP, L2TP]);
    assert!(strategy.left_out[0].1.contains("weak = true"), "{:?}", strategy.left_out);
    assert!(strategy.left_out[1].1.contains("`psk-file` is missing"), "{:?}", strategy.left_out);
}

#[test]
fn each_order_is_as_it_is_called() {
    let weak = "weak = true\npsk-file = \"corp.psk\"\n";
    for (tunnel, kinds) in [
        ("\"auto\"", [IKEV2, SSTP, PPTP, L2TP]),
        ("\"ikev2-first\"", [IKEV2, SSTP, PPTP, L2TP]),
        ("\"sstp-first\"", [SSTP, IKEV2, PPTP, L2TP]),
        ("\"pptp-first\"", [PPTP, IKEV2, SSTP, L2TP]),
        ("\"l2tp-first\"", [L2TP, IKEV2, SSTP, PPTP]),
        ("[\"l2tp\", \"pptp\", \"sstp\", \"ikev2\"]", [L2TP, PPTP, SSTP, IKEV2]),
    ] {
        let read = in_order(tunnel, weak);
        assert_eq!(read.kinds(), kinds, "{tunnel}");
        assert_eq!(read.kind, kinds[0]);
        assert!(read.strategy.as_ref().unwrap().left_out.is_empty());
        let again = profile(&read.to_toml()).unwrap();
        assert_eq!(again.settings(), read.settings());
        assert_eq!(again.kinds(), kinds);
    }
    assert_eq!(in_order("[\"sstp\", \"ikev2\"]", "").kinds(), [SSTP, IKEV2]);
}

#[test]
fn each_type_gets_what_concerns_it() {
    let lines = "weak = true\npsk-file = \"corp.psk\"\nca = [\"corp.pem\"]\nremote-id = \"vpn.example.com\"\n\
                 ike = [\"aes256gcm16-prfsha384-ecp384\"]\nmppe = [\"40\"]\nproxy = \"proxy.example.com:3128\"\ndpd = \"1m\"\n";
    let profile = with(lines).unwrap();
    let others = &profile.strategy.as_ref().unwrap().others;
    assert!(profile.psk.is_none() && profile.ike.len() == 1 && profile.remote_id.is_some());
    let [sstp, pptp, l2tp] = others.as_slice() else { unreachable!() };
    assert!(sstp.proxy().is_some() && sstp.remote_id.is_some() && sstp.ca.len() == 1);
    assert!(pptp.ppp.as_ref().unwrap().mppe.bits40 && pptp.psk.is_none());
    assert!(l2tp.psk.is_some() && l2tp.ike.is_empty() && l2tp.remote_id.is_none());
    assert!(l2tp.is_weak() && pptp.is_weak() && !sstp.is_weak() && !profile.is_weak());
    let files: Vec<String> = profile.files().iter().map(|file| file.path()).collect();
    assert!(files.iter().any(|file| file.ends_with("corp.psk")), "{files:?}");
}

#[test]
fn a_certificate_logs_in_by_eap() {
    let lines = "certificate = \"ann.pem\"\nkey = \"ann.pem\"\neap-methods = [\"tls\"]\n";
    let profile = with(lines).unwrap();
    assert_eq!(profile.eap.methods, [EapType::Tls]);
    assert_eq!(profile.kinds(), [IKEV2, SSTP]);
}

/// What one type can't do leaves it out; what is wrong for all is a mistake.
#[test]
fn what_one_cannot_do_is_no_mistake() {
    let profile = with("weak = true\neap-methods = [\"gtc\"]\nca = [\"corp.pem\"]\n").unwrap();
    assert_eq!(profile.kinds(), [IKEV2, SSTP]);
    let left_out = &profile.strategy.as_ref().unwrap().left_out;
    assert!(left_out[0].1.contains("GTC sends the password in clear"), "{left_out:?}");
}

#[test]
fn mistakes_are_told() {
    for (lines, error) in [
        ("weak = 1\n", "`weak` is the number 1"),
        ("psk_file = \"a\"\n", "did you mean `psk-file`?"),
        ("port = 4443\n", "each type of tunnel has a port of its own"),
        ("auth = \"psk\"\n", "with several types of tunnel it is \"eap\""),
        ("start = \"on-demand\"\n", "a packet raises a single type of tunnel only"),
        ("ipsec = \"none\"\n", "nothing but a single type of tunnel goes in clear"),
        ("mode = \"transport\"\n", "only IKEv2 has it"),
        ("mppe = [\"129\"]\n", "not a length of MPPE's keys"),
        ("weak = true\nmppe = [\"129\"]\n", "not a length of MPPE's keys"),
        ("eap-inner = \"pap\"\n", "no method of `eap-methods` needs it"),
        ("mtu = 70000\n", "`mtu`"),
        ("addresses = []\n", "`addresses` is empty"),
    ] {
        let told = mistakes(lines);
        assert!(told.contains(error), "{lines}{told}");
    }
    // One line is one mistake.
    assert_eq!(with("mtu = 70000\n").unwrap_err().all().len(), 1);
    let told = profile(&SHORTEST.replace("user = \"ann\"\n", "")).unwrap_err();
    assert_eq!(told.all().len(), 1, "{told}");
    assert!(told.to_string().contains("`user` is missing"), "{told}");
    let told = profile(&SHORTEST.replace(".com", ".com:4443")).unwrap_err().to_string();
    assert!(told.contains("each type of tunnel has a port of its own"), "{told}");
}

/// Whoever names a type means it.
#[test]
fn a_list_is_meant() {
    let list = |tunnel: &str, lines: &str| {
        profile(&format!("{SHORTEST}{lines}").replace("\"auto\"", tunnel)).unwrap_err().to_string()
    };
    for (tunnel, lines, error) in [
        ("[\"ikev2\", \"pptp\"]", "", "PPTP is weak"),
        ("[\"ikev2\", \"l2tp\"]", "weak = true\n", "`psk-file` is missing"),
        ("[\"ikev2\", \"l2tp\"]", "psk-file = \"a.psk\"\n", "L2TP is weak"),
        ("[\"ikev2\", \"ikev2\"]", "", "twice"),
        ("[\"ikev2\", \"ssl\"]", "", "not a type of tunnel"),
        ("[]", "", "`tunnel` is empty"),
        ("\"atuo\"", "", "did you mean \"auto\"?"),
        ("7", "", "`tunnel` is the number 7"),
    ] {
        let told = list(tunnel, lines);
        assert!(told.contains(error), "{tunnel}: {told}");
    }
}

/// These are for several types.
#[test]
fn one_type_has_no_strategy() {
    for line in ["weak = true", "race = false", "sstp-after-bad-certificate = true"] {
        let text = format!("{SHORTEST}{line}\n").replace("\"auto\"", "\"sstp\"");
        assert!(profile(&text).unwrap_err().to_string().contains("unknown key"), "{line}");
    }
    assert!(profile(&SHORTEST.replace("\"auto\"", "\"sstp\"")).unwrap().strategy.is_none());
}
