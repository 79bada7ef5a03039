//! hostapd's `eapol_test` as the peer of our authenticator, by way of RADIUS on loopback. It compares the MSK with its
//! own. Debian builds it without TLS 1.3 in EAP: that is shown with strongSwan, in the lab.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test"
)]

#[path = "../../../policy/tls/tests/common/mod.rs"]
mod common;

use std::fs;
use std::net::UdpSocket;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use adit_auth::eap::{
    Authenticator, AuthenticatorConfig, AuthenticatorStep, Binding, InnerConfig, Method, TtlsInner, Verdict,
};
use adit_eap_peers::{Answer, answer, has, request};
use adit_tls::{Engine, ServerConfig, Versions};
use common::{Ca, Counting, Leaf, Server, anchors, ca, client, own, server};

const SECRET: &[u8] = b"testing123";

struct Case {
    method: Method,
    /// Lines of wpa_supplicant's network block.
    lines: &'static str,
    /// What TLS may be switched on and off with there.
    tls: bool,
    identity: &'static str,
}

const CERTIFICATE: &str = "eap=TLS\nclient_cert=\"ann.pem\"\nprivate_key=\"ann.key\"\n";

/// Every method that `eapol_test` has, and what it runs inside.
const CASES: [Case; 11] = [
    Case { method: Method::TLS, lines: CERTIFICATE, tls: true, identity: "ann@example.com" },
    Case { method: Method::TTLS, lines: "eap=TTLS\nphase2=\"auth=MSCHAPV2\"\n", tls: true, identity: "ann" },
    Case { method: Method::TTLS, lines: "eap=TTLS\nphase2=\"auth=PAP\"\n", tls: true, identity: "ann" },
    Case {
        method: Method::TTLS,
        lines: "eap=TTLS\nphase2=\"autheap=MSCHAPV2\"\n",
        tls: true,
        identity: "ann",
    },
    Case { method: Method::TTLS, lines: "eap=TTLS\nphase2=\"autheap=GTC\"\n", tls: true, identity: "ann" },
    Case { method: Method::TTLS, lines: "eap=TTLS\nphase2=\"autheap=MD5\"\n", tls: true, identity: "ann" },
    Case { method: Method::PEAP, lines: "eap=PEAP\nphase2=\"auth=MSCHAPV2\"\n", tls: true, identity: "ann" },
    Case { method: Method::PEAP, lines: "eap=PEAP\nphase2=\"auth=GTC\"\n", tls: true, identity: "ann" },
    Case { method: Method::PEAP, lines: "eap=PEAP\nphase2=\"auth=MD5\"\n", tls: true, identity: "ann" },
    Case { method: Method::MSCHAPV2, lines: "eap=MSCHAPV2\n", tls: false, identity: "ann" },
    Case { method: Method::MD5, lines: "eap=MD5\n", tls: false, identity: "ann" },
];

struct Pki {
    servers: Ca,
    clients: Ca,
    server: Leaf,
}

fn pki(folder: &Path) -> Pki {
    let (servers, clients) = (ca("Server CA"), ca("Client CA"));
    let ann = client(&clients, "ann@example.com");
    fs::write(folder.join("ca.pem"), &servers.pem).unwrap();
    fs::write(folder.join("ann.pem"), &ann.pem).unwrap();
    fs::write(folder.join("ann.key"), &ann.key_pem).unwrap();
    Pki { server: server(&servers, "radius.example.com"), servers, clients }
}

fn block(case: &Case) -> String {
    let phase1 = if case.method == Method::PEAP { "phase1=\"peapver=0 crypto_binding=2\"\n" } else { "" };
    let tls = match case.tls {
        true => {
            format!("ca_cert=\"ca.pem\"\ndomain_match=\"radius.example.com\"\n{phase1}fragment_size=300\n")
        }
        false => String::new(),
    };
    let anonymous = if case.tls { "anonymous_identity=\"anonymous@example.com\"\n" } else { "" };
    format!(
        "network={{\nkey_mgmt=IEEE8021X\nidentity=\"ann\"\n{anonymous}password=\"secret\"\n{}{tls}}}\n",
        case.lines
    )
}

/// Answers one conversation until `eapol_test` is through: its whole output and our verdict.
fn converse(folder: &Path, case: &Case, config: &ServerConfig) -> (bool, String, Option<Verdict>) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    let port = socket.local_addr().unwrap().port().to_string();
    let output = fs::File::create(folder.join("output")).unwrap();
    let mut child = Command::new("eapol_test")
        .args(["-c", "network.conf", "-a", "127.0.0.1", "-p", &port, "-s", "testing123", "-t", "60"])
        .current_dir(folder)
        .stdin(Stdio::null())
        .stderr(output.try_clone().unwrap())
        .stdout(output)
        .spawn()
        .unwrap();
    let (mut server, mut verdict): (Option<Server>, Option<Verdict>) = (None, None);
    let mut last: Option<(u8, Vec<u8>)> = None;
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        let mut buffer = [0; 4096];
        let Ok((length, from)) = socket.recv_from(&mut buffer) else { continue };
        let (identifier, authenticator, eap) = request(&buffer[..length], SECRET).expect("a good request");
        if let Some((known, reply)) = &last
            && *known == identifier
        {
            socket.send_to(reply, from).unwrap();
            continue;
        }
        let server = server.get_or_insert_with(|| begin(case, config, &eap));
        let reply = match server.packet(&eap) {
            AuthenticatorStep::Send(packet) => {
                answer(&Answer::Challenge(&packet), identifier, authenticator, SECRET)
            }
            AuthenticatorStep::Ended(packet, ended) => {
                let reply = match &ended {
                    Ok(established) => {
                        let none = adit_core::Secret::from(&[0; 64][..]);
                        let msk = established.msk.as_ref().unwrap_or(&none);
                        answer(&Answer::Accept(&packet, msk), identifier, authenticator, SECRET)
                    }
                    Err(_) => answer(&Answer::Reject(&packet), identifier, authenticator, SECRET),
                };
                verdict = Some(ended);
                reply
            }
            AuthenticatorStep::Ignore => None,
            other => panic!("{other:?}"),
        };
        if let Some(reply) = reply {
            socket.send_to(&reply, from).unwrap();
            last = Some((identifier, reply));
        }
    };
    let output = fs::read(folder.join("output")).unwrap();
    (status.success(), String::from_utf8_lossy(&output).into_owned(), verdict)
}

fn begin(case: &Case, config: &ServerConfig, identity: &[u8]) -> Server {
    let inner = InnerConfig {
        methods: vec![Method::MSCHAPV2, Method::GTC, Method::MD5],
        ttls: TtlsInner::MsChapV2,
        binding: Binding::Required,
    };
    let methods = vec![case.method];
    let ours = AuthenticatorConfig { methods, inner, retries: 0, ..AuthenticatorConfig::new("vpn") };
    Server {
        authenticator: Authenticator::answered(ours, identity).expect("an Identity"),
        engine: Engine::server(config).unwrap(),
        entropy: Counting(100),
    }
}

fn tail(output: &str) -> String {
    let lines: Vec<&str> = output.lines().collect();
    lines[lines.len().saturating_sub(40)..].join("\n")
}

#[test]
fn eapol_test_gets_in_by_every_method() {
    if !has("eapol_test", "eapoltest") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let pki = pki(folder.path());
    for case in &CASES {
        let what = format!("{}\n{}", case.method, block(case));
        fs::write(folder.path().join("network.conf"), block(case)).unwrap();
        let clients = (case.method == Method::TLS).then(|| anchors(&pki.clients));
        let config = ServerConfig { own: own(&pki.server), clients, versions: Versions::Both };
        let (success, output, verdict) = converse(folder.path(), case, &config);
        // What it says of keys, where there are some.
        if case.method != Method::MD5 {
            assert!(output.contains("MPPE keys OK: 1  mismatch: 0"), "{what}\n{}", tail(&output));
            assert!(success, "{what}\n{}", tail(&output));
        }
        let established = verdict.expect("a verdict").unwrap();
        assert_eq!(established.identity, case.identity, "{what}");
    }
}

#[test]
fn eapol_test_with_a_wrong_password_or_certificate_is_refused() {
    if !has("eapol_test", "eapoltest") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let pki = pki(folder.path());
    for case in &CASES {
        // One that demands a cryptobinding does not answer a Result that says no.
        let wrong = block(case).replace("\"secret\"", "\"secert\"").replace("binding=2", "binding=1");
        fs::write(folder.path().join("network.conf"), wrong).unwrap();
        let clients = (case.method == Method::TLS).then(|| anchors(&pki.servers));
        let config = ServerConfig { own: own(&pki.server), clients, versions: Versions::Both };
        let (success, output, verdict) = converse(folder.path(), case, &config);
        assert!(!success && output.contains("FAILURE"), "{}", case.method);
        let verdict = verdict.unwrap_or_else(|| panic!("{}: no verdict\n{}", case.method, tail(&output)));
        assert!(verdict.is_err(), "{}", case.method);
    }
}
