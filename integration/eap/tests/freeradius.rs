//! FreeRADIUS as the authenticator of our peer, by way of our own RADIUS client on loopback. Its keys must be ours.
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
use std::io::{BufRead as _, BufReader};
use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use adit_auth::eap::{Binding, InnerConfig, Method, PeerStep, TtlsInner, Verdict as EapVerdict};
use adit_auth::radius::{
    Client as Radius, Input, Output, Query, QueryId, Server, ServerId, Verdict, attribute,
};
use adit_core::{Instant, Secret};
use adit_eap_peers::has;
use adit_tls::{ClientConfig, Versions};
use common::{Ca, Client, Counting, anchors, ca, client, own, server};

/// FreeRADIUS in the foreground, with a configuration of its own.
struct Daemon {
    child: Child,
    address: SocketAddr,
    log: std::path::PathBuf,
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Daemon {
    fn start(folder: &Path, versions: Versions) -> Self {
        let free = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = free.local_addr().unwrap();
        drop(free);
        let version = if versions == Versions::Only12 { "1.2" } else { "1.3" };
        let configuration = include_str!("radiusd.conf")
            .replace("@FOLDER@", &folder.display().to_string())
            .replace("@PORT@", &address.port().to_string())
            .replace("@VERSION@", version);
        fs::write(folder.join("radiusd.conf"), configuration).unwrap();
        fs::write(folder.join("dictionary"), "").unwrap();
        let log = folder.join("log");
        let mut child = Command::new("freeradius")
            .args(["-f", "-xx", "-l", "stdout", "-d"])
            .arg(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut said = String::new();
        loop {
            let line = lines.next().and_then(Result::ok);
            let Some(line) = line else { panic!("FreeRADIUS did not start:\n{said}") };
            said.push_str(&line);
            said.push('\n');
            if line.contains("Ready to process requests") {
                break;
            }
        }
        // It must be able to go on writing.
        let mut to = fs::File::create(&log).unwrap();
        std::thread::spawn(move || {
            use std::io::Write as _;
            lines.map_while(Result::ok).for_each(|line| drop(writeln!(to, "{line}")));
        });
        Self { child, address, log }
    }
}

/// One conversation: our peer's verdict, and what FreeRADIUS granted.
fn converse(daemon: &Daemon, client: &mut Client) -> (EapVerdict, Verdict) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let servers = vec![Server { name: "radius".into(), secret: Secret::from(&b"testing123"[..]) }];
    let mut radius = Radius::new(servers, Box::new(Counting(7)));
    // The carrier's first question, which FreeRADIUS leaves to us.
    let first = [1, 0, 0, 5, 1];
    let mut eap = send(client, &first).expect("an Identity");
    let mut state = None;
    for n in 0..100 {
        let attributes = vec![
            (attribute::USER_NAME, b"anonymous@example.com".to_vec()),
            (attribute::NAS_IDENTIFIER, b"adit".to_vec()),
        ];
        let query = Query::Access { attributes, eap: Some(eap), password: None, state };
        let verdict = ask(&mut radius, &socket, daemon, QueryId(n), query);
        match verdict {
            Verdict::Challenge { eap: Some(packet), state: next, .. } => {
                eap = match send(client, &packet) {
                    Ok(response) => response,
                    Err(ended) => return (ended, Verdict::Noted),
                };
                state = Some(next);
            }
            Verdict::Accept(granted) => {
                let packet = granted.eap.clone().expect("EAP-Success");
                let Err(ended) = send(client, &packet) else { panic!("the peer goes on") };
                return (ended, Verdict::Accept(granted));
            }
            Verdict::Reject { eap: Some(packet), message } => {
                let Err(ended) = send(client, &packet) else { panic!("the peer goes on") };
                return (ended, Verdict::Reject { eap: None, message });
            }
            other => panic!("{other:?}\n{}", log(daemon)),
        }
    }
    panic!("no end");
}

fn send(client: &mut Client, packet: &[u8]) -> Result<Vec<u8>, EapVerdict> {
    match client.packet(packet) {
        PeerStep::Send(response) => Ok(response),
        PeerStep::Ended(verdict) => Err(verdict),
        other => panic!("{other:?} to {packet:?}"),
    }
}

fn ask(radius: &mut Radius, socket: &UdpSocket, daemon: &Daemon, id: QueryId, query: Query) -> Verdict {
    let now = Instant::ZERO;
    radius.handle(now, Input::Ask(id, Box::new(query)));
    loop {
        match radius.poll() {
            Some(Output::Transmit { payload, .. }) => {
                socket.send_to(&payload, daemon.address).unwrap();
            }
            Some(Output::Answer(answer)) => return answer.verdict,
            Some(Output::Reachable(..)) => {}
            None => {
                let mut buffer = [0; 4096];
                let length = socket
                    .recv(&mut buffer)
                    .unwrap_or_else(|e| panic!("FreeRADIUS is silent ({e})\n{}", log(daemon)));
                let datagram = Input::Datagram { server: ServerId(0), socket: 0, payload: &buffer[..length] };
                radius.handle(now, datagram);
                assert_eq!(radius.unbelievable, 0, "an answer that is not believed");
            }
        }
    }
}

fn log(daemon: &Daemon) -> String {
    let text = fs::read_to_string(&daemon.log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(60)..].join("\n")
}

struct Pki {
    servers: Ca,
    clients: Ca,
}

fn pki(folder: &Path) -> Pki {
    let (servers, clients) = (ca("Server CA"), ca("Client CA"));
    let radius = server(&servers, "radius.example.com");
    fs::write(folder.join("server.pem"), &radius.pem).unwrap();
    fs::write(folder.join("server.key"), &radius.key_pem).unwrap();
    fs::write(folder.join("ca.pem"), &clients.pem).unwrap();
    Pki { servers, clients }
}

fn inner(methods: &[Method], ttls: TtlsInner) -> InnerConfig {
    InnerConfig { methods: methods.to_vec(), ttls, binding: Binding::Offered }
}

fn cases() -> Vec<(Method, InnerConfig)> {
    vec![
        (Method::TLS, InnerConfig::default()),
        (Method::TTLS, InnerConfig::default()),
        (Method::TTLS, inner(&[], TtlsInner::Pap)),
        (Method::TTLS, inner(&[Method::MSCHAPV2], TtlsInner::Eap)),
        (Method::TTLS, inner(&[Method::MD5], TtlsInner::Eap)),
        (Method::TTLS, inner(&[Method::GTC], TtlsInner::Eap)),
        (Method::PEAP, inner(&[Method::MSCHAPV2], TtlsInner::Eap)),
        (Method::PEAP, inner(&[Method::GTC], TtlsInner::Eap)),
        (Method::PEAP, inner(&[Method::MD5], TtlsInner::Eap)),
        (Method::MSCHAPV2, InnerConfig::default()),
        (Method::MD5, InnerConfig::default()),
    ]
}

fn config(pki: &Pki, versions: Versions) -> ClientConfig {
    ClientConfig {
        anchors: anchors(&pki.servers),
        name: "radius.example.com".parse().unwrap(),
        says_name: false,
        own: Some(own(&client(&pki.clients, "ann@example.com"))),
        versions,
    }
}

fn gets_in(versions: Versions) {
    if !has("freeradius", "freeradius") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let pki = pki(folder.path());
    let daemon = Daemon::start(folder.path(), versions);
    for (method, inner) in cases() {
        let what = format!("{method} {inner:?} {versions:?}");
        let mut client = Client::new(&[method], inner, &config(&pki, versions));
        let (ours, theirs) = converse(&daemon, &mut client);
        let ours = ours.unwrap_or_else(|e| panic!("{what}: {e:?}\n{}", log(&daemon)));
        let Verdict::Accept(granted) = theirs else { panic!("{what}: refused\n{}", log(&daemon)) };
        match (ours.msk, granted.keys) {
            (Some(msk), Some((send, receive))) => {
                let length = receive.len();
                // MS-MPPE keys are named from the authenticator's side: what it receives with is the first half.
                let (first, rest) = msk.expose().split_at(length);
                assert!(receive.equals(first) && send.equals(&rest[..length]), "{what}: another key");
            }
            (None, None) => assert_eq!(method, Method::MD5),
            (ours, theirs) => panic!("{what}: keys on one side only: {ours:?} {theirs:?}"),
        }
    }
}

#[test]
fn freeradius_lets_us_in_by_every_method_with_tls_1_2() {
    gets_in(Versions::Only12);
}

#[test]
fn freeradius_lets_us_in_by_every_method_with_tls_1_3() {
    gets_in(Versions::Only13);
}

#[test]
fn freeradius_refuses_a_wrong_password_and_we_refuse_a_wrong_name() {
    if !has("freeradius", "freeradius") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let pki = pki(folder.path());
    let daemon = Daemon::start(folder.path(), Versions::Only12);
    for (method, inner) in cases() {
        let mut good = config(&pki, Versions::Only12);
        if method != Method::TLS {
            let mut client = Client::new(&[method], inner.clone(), &good);
            client.password = "secert".into();
            let (ours, theirs) = converse(&daemon, &mut client);
            let why = ours.expect_err("the wrong password").to_string();
            assert!(!matches!(theirs, Verdict::Accept(_)), "{method}: {why}");
        }
        if [Method::TLS, Method::TTLS, Method::PEAP].contains(&method) {
            good.name = "other.example.com".parse().unwrap();
            let mut client = Client::new(&[method], inner, &good);
            let (ours, theirs) = converse(&daemon, &mut client);
            assert!(ours.expect_err("the wrong name").text.contains("radius.example.com"));
            assert!(!matches!(theirs, Verdict::Accept(_)), "{method}");
            assert_eq!(client.asked, 0, "the password was asked for");
        }
    }
}
