//! EAP at the server, with peers of `adit-auth`: users, groups, passwords that are changed; and a RADIUS server that is
//! not there.

use std::sync::Arc;

use adit_auth::eap::{InnerConfig, Method, Peer, PeerAsk, PeerConfig, PeerStep};
use adit_core::{Failure, FailureCode, Secret, Step};
use adit_crypto::OsEntropy;
use adit_ikev2::api::{Answer, Ask, EapStep, RemoteAuth, SaId};
use adit_pki::{FileSigner, TrustAnchors};
use adit_tls::{ClientConfig, Engine, OwnCertificate, Versions};

use super::tests::{Ca, Server, id, path};

const USERS: &str = "alice@example.com:password:correct horse\ncarl:nt-hash:c489f66c31c3025f1698a32c106c7666\n\
                     dora:password-expired:Summer of 1999\n";

fn toml(match_: &str) -> String {
    format!(
        "[ikev2]\nidentity = \"vpn.example.com\"\ncertificate = \"vpn.pem\"\nkey = \"vpn.pem\"\n[[connection]]\n\
         name = \"staff\"\nmatch = {match_}\nauth = \"eap-mschapv2\"\nusers-file = \"staff.users\"\npool = \"one\"\n\
         [[connection]]\nname = \"guests\"\nmatch = \"dora\"\nauth = \"eap-mschapv2\"\nusers-file = \"staff.users\"\n\
         pool = \"one\"\n[pool.one]\nranges = [\"10.9.0.10-10.9.0.11\"]\n"
    )
}

pub(super) async fn server(match_: &str) -> Server {
    let (certificate, key) = Ca::new().server();
    let files = [
        ("certs/vpn.pem", certificate.as_str()),
        ("private/vpn.pem", key.as_str()),
        ("secrets/staff.users", USERS),
    ];
    Server::new(&toml(match_), &files).await
}

fn peer(user: &str) -> Peer {
    Peer::new(PeerConfig {
        identity: user.into(),
        user: user.into(),
        methods: vec![Method::MSCHAPV2],
        inner: InnerConfig::default(),
    })
}

/// A peer that is to prove itself by EAP asks for its configuration.
fn wants_in(remote: &str) -> Ask {
    Ask::Connection { remote: id(remote), asked: None, path: path(), eap: true, transport: Vec::new() }
}

/// Types one password as `user`, which is refused, and says nothing more.
async fn leave(server: &Server, sa: u64, user: &str, typed: &str) {
    let Answer::Connection(Ok(_)) = server.ask(sa, wants_in("192.0.2.9")).await else {
        panic!("no connection")
    };
    let (mut peer, mut entropy, mut packet) = (peer(user), OsEntropy::new(), None);
    for _ in 0..20 {
        let Answer::Eap(step) = server.ask(sa, Ask::Eap { packet: packet.take() }).await else { panic!() };
        let EapStep::Send(request) = step.unwrap() else { panic!("it is over") };
        packet = match peer.packet(&request) {
            PeerStep::Send(response) => Some(response),
            PeerStep::Ask(PeerAsk::Password { again: Some(_) }) => return,
            PeerStep::Ask(_) => match peer.answer(&mut entropy, Ok(Secret::from(typed.as_bytes()))) {
                PeerStep::Send(response) => Some(response),
                other => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        };
    }
    panic!("no refusal");
}

/// Speaks EAP as `user` to the end, with these passwords; who it is then, and by which `[[connection]]`.
pub(super) async fn speak(
    server: &Server,
    sa: u64,
    user: &str,
    typed: &[&str],
) -> Result<(String, String), Failure> {
    let Answer::Connection(Ok(config)) = server.ask(sa, wants_in("192.0.2.9")).await else {
        panic!("no connection")
    };
    assert!(matches!(config.remote_auth, RemoteAuth::Eap { .. }));
    let (mut peer, mut typed, mut entropy) = (peer(user), typed.iter(), OsEntropy::new());
    let mut packet = None;
    for _ in 0..20 {
        let Answer::Eap(step) = server.ask(sa, Ask::Eap { packet: packet.take() }).await else { panic!() };
        let request = match step? {
            EapStep::Send(request) => request,
            EapStep::Failed(_, why) => return Err(why),
            EapStep::Succeeded(success) => {
                assert!(success.msk.is_some() && !success.mutual);
                let (who, config) = success.peer.unwrap();
                return Ok((who.to_string(), config.name));
            }
        };
        let mut step = peer.packet(&request);
        while let PeerStep::Ask(PeerAsk::Password { .. } | PeerAsk::NewPassword { .. }) = step {
            let secret = typed.next().map(|text| Secret::from(text.as_bytes()));
            step = peer.answer(
                &mut entropy,
                secret.ok_or_else(|| Failure::new(FailureCode::NoSecret, Step::Authenticate, "no more")),
            );
        }
        match step {
            PeerStep::Send(response) => packet = Some(response),
            PeerStep::Ended(Err(why)) => return Err(why),
            other => panic!("{other:?}"),
        }
    }
    panic!("no end");
}

#[tokio::test]
async fn who_eap_has_proven_gets_what_is_for_that_name() {
    let server = server("[\"*@example.com\", \"carl\"]").await;
    let said = |user: &str, name: &str| Ok((user.to_owned(), name.to_owned()));
    assert_eq!(
        speak(&server, 1, "alice@example.com", &["correct horse"]).await,
        said("alice@example.com", "staff")
    );
    // By its hash, and as Windows writes it.
    assert_eq!(speak(&server, 2, "CORP\\carl", &["hunter2-hash"]).await, said("carl", "staff"));
    // Wrong twice, then right.
    let typed = ["no", "never", "correct horse"];
    assert_eq!(speak(&server, 3, "alice@example.com", &typed).await, said("alice@example.com", "staff"));
    assert_eq!(server.inner.guest(SaId(3)).facts().rule, Some((0, true)));
}

#[tokio::test]
async fn who_leaves_after_a_refusal_left_because_of_it() {
    let server = server("\"*@example.com\"").await;
    let gone = || Failure::new(FailureCode::AuthenticationFailed, Step::Authenticate, "gone").said("DELETE");
    let cases = [
        ("alice@example.com", "EAP-MSCHAPv2: alice@example.com: a wrong password"),
        ("mallory", "EAP-MSCHAPv2: mallory: a name that is not known"),
    ];
    for (sa, (user, why)) in (1..).zip(cases) {
        // Refused once, the peer does not answer any more.
        leave(&server, sa, user, "no").await;
        let told = server.inner.reason(SaId(sa), gone());
        assert!(told.text.ends_with(why), "{told}");
        assert_eq!(told.peer.as_deref(), Some("DELETE"));
    }
    // One that says that it goes has it in the failure itself.
    let failure = speak(&server, 3, "alice@example.com", &["no"]).await.unwrap_err();
    assert!(failure.text.contains("alice@example.com: a wrong password"), "{failure}");
    assert_eq!(server.inner.reason(SaId(3), gone()), gone());
    // Who was let in left for another reason.
    assert!(speak(&server, 4, "alice@example.com", &["no", "correct horse"]).await.is_ok());
    assert_eq!(server.inner.reason(SaId(4), gone()), gone());
}

/// Speaks EAP-TLS with a certificate of `ca` in that name; the `[[connection]]` that lets it in.
async fn show(server: &Server, sa: u64, (ours, theirs): (&Ca, &Ca), name: &str) -> Result<String, Failure> {
    let Answer::Connection(Ok(_)) = server.ask(sa, wants_in(name)).await else { panic!("no connection") };
    let (certificate, key) = ours.client(name);
    let der = certificate.der().to_vec();
    let signer =
        FileSigner::new(Secret::new(key.serialize_der()), &der, &ring::rand::SystemRandom::new()).unwrap();
    let config = ClientConfig {
        anchors: Arc::new(TrustAnchors::from_content(theirs.pem.as_bytes()).unwrap()),
        name: id("vpn.example.com"),
        says_name: false,
        own: Some(OwnCertificate { chain: vec![der], signer: Arc::new(signer) }),
        versions: Versions::Both,
    };
    let mut engine = Engine::client(&config).unwrap();
    let (identity, user) = (name.to_owned(), name.to_owned());
    let mut peer =
        Peer::new(PeerConfig { identity, user, methods: vec![Method::TLS], inner: InnerConfig::default() });
    let (mut entropy, mut packet) = (OsEntropy::new(), None);
    for _ in 0..40 {
        let Answer::Eap(step) = server.ask(sa, Ask::Eap { packet: packet.take() }).await else { panic!() };
        let request = match step? {
            EapStep::Send(request) => request,
            EapStep::Failed(_, why) => return Err(why),
            EapStep::Succeeded(success) => {
                assert!(success.msk.is_some() && success.mutual);
                return Ok(success.peer.unwrap().1.name);
            }
        };
        let mut step = peer.packet(&request);
        while let PeerStep::Tls(ask) = step {
            step = peer.tls(&mut entropy, adit_tls::eap::answer(&mut engine, ask));
        }
        let PeerStep::Send(response) = step else { panic!("{step:?}") };
        packet = Some(response);
    }
    panic!("no end");
}

#[tokio::test]
async fn a_certificate_lets_in_by_its_own_authority_only() {
    let (staff, guests) = (Ca::new(), Ca::new());
    let (certificate, key) = staff.server();
    let toml = "[ikev2]\nidentity = \"vpn.example.com\"\ncertificate = \"vpn.pem\"\nkey = \"vpn.pem\"\n[[connection]]\n\
                name = \"staff\"\nmatch = \"*@example.com\"\nauth = \"eap-tls\"\nca = \"staff.pem\"\npool = \"one\"\n\
                [[connection]]\nname = \"guests\"\nmatch = \"*@guests.example\"\nauth = \"eap-tls\"\nca = \"guests.pem\"\n\
                pool = \"one\"\n[pool.one]\nranges = [\"10.9.0.10-10.9.0.11\"]\n";
    let files = [
        ("certs/vpn.pem", certificate.as_str()),
        ("private/vpn.pem", key.as_str()),
        ("certs/staff.pem", staff.pem.as_str()),
        ("certs/guests.pem", guests.pem.as_str()),
    ];
    let server = Server::new(toml, &files).await;
    let shown = |sa, ours, name| show(&server, sa, (ours, &staff), name);
    assert_eq!(shown(1, &staff, "alice@example.com").await.unwrap(), "staff");
    assert_eq!(shown(2, &guests, "gast@guests.example").await.unwrap(), "guests");
    // The authority of guests can't speak for staff, whoever says so.
    assert!(shown(3, &guests, "alice@example.com").await.is_err());
    assert!(shown(4, &staff, "gast@guests.example").await.is_err());
    let claims = Ask::Connection {
        remote: id("gast@guests.example"),
        asked: None,
        path: path(),
        eap: true,
        transport: Vec::new(),
    };
    let Answer::Connection(Ok(_)) = server.ask(5, claims).await else { panic!("no connection") };
    let path = server.inner.guest(SaId(5)).facts().path.unwrap();
    let failure = server.inner.admitted(SaId(5), 1, path, id("alice@example.com")).err().unwrap();
    assert!(failure.text.contains("no [[connection]] is for alice@example.com"), "{failure}");
}

#[tokio::test]
async fn who_is_in_no_group_is_nobody() {
    let server = server("\"*@example.com\"").await;
    let failure = speak(&server, 1, "carl", &["hunter2-hash"]).await.unwrap_err();
    assert!(failure.text.contains("no [[connection]] is for carl"), "{failure}");
    let failure = speak(&server, 2, "mallory", &["x", "x", "x"]).await.unwrap_err();
    assert_eq!(failure.code, FailureCode::AuthenticationFailed);
}

#[tokio::test]
async fn a_password_that_was_changed_counts_from_then_on() {
    let server = server("\"*@example.com\"").await;
    let short = speak(&server, 1, "dora", &["Summer of 1999", "short"]).await.unwrap_err();
    assert!(short.text.contains("fewer than 8"), "{short}");
    let changed = speak(&server, 2, "dora", &["Summer of 1999", "Winter of 2026"]).await;
    assert_eq!(changed, Ok(("dora".into(), "guests".into())));
    assert!(speak(&server, 3, "dora", &["Summer of 1999"; 3]).await.is_err());
    assert!(speak(&server, 4, "dora", &["Winter of 2026"]).await.is_ok());
}

#[tokio::test]
async fn a_radius_server_that_is_away_is_told_by_its_address() {
    let (certificate, key) = Ca::new().server();
    let toml = "[ikev2]\nidentity = \"vpn.example.com\"\ncertificate = \"vpn.pem\"\nkey = \"vpn.pem\"\n[[connection]]\n\
                name = \"staff\"\nmatch = \"*\"\nauth = \"eap-radius\"\npool = \"one\"\n[pool.one]\n\
                ranges = [\"10.9.0.10-10.9.0.11\"]\n[[radius]]\naddress = \"127.0.0.1\"\nports = [9, 10]\n\
                secret-file = \"r\"\n[aaa]\ntimeout = \"1s\"\ntries = 1\n";
    let files = [
        ("certs/vpn.pem", certificate.as_str()),
        ("private/vpn.pem", key.as_str()),
        ("secrets/r", "radius-secret-4711"),
    ];
    let server = Server::new(toml, &files).await;
    let failure = speak(&server, 1, "alice", &[]).await.unwrap_err();
    assert!(failure.text.contains("no RADIUS server answers: 127.0.0.1:9"), "{failure}");
}
