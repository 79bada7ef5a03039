//! EAP at the server, with peers of `adit-auth`: users, groups, passwords that are changed; and a RADIUS server that is
//! not there.

use adit_auth::eap::{InnerConfig, Method, Peer, PeerAsk, PeerConfig, PeerStep};
use adit_core::{Failure, FailureCode, Secret};
use adit_crypto::OsEntropy;
use adit_ikev2::api::{Answer, Ask, EapStep, RemoteAuth, SaId};

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

async fn server(match_: &str) -> Server {
    let (certificate, key) = Ca::new().server();
    let files = [
        ("certs/vpn.pem", certificate.as_str()),
        ("private/vpn.pem", key.as_str()),
        ("secrets/staff.users", USERS),
    ];
    Server::new(&toml(match_), &files).await
}

/// Speaks EAP as `user` to the end, with these passwords; who it is then, and by which `[[connection]]`.
async fn speak(server: &Server, sa: u64, user: &str, typed: &[&str]) -> Result<(String, String), Failure> {
    let ask = Ask::Connection { remote: id("192.0.2.9"), asked: None, path: path(), eap: true };
    let Answer::Connection(Ok(config)) = server.ask(sa, ask).await else { panic!("no connection") };
    assert!(matches!(config.remote_auth, RemoteAuth::Eap { .. }));
    let config = PeerConfig {
        identity: user.into(),
        user: user.into(),
        methods: vec![Method::MSCHAPV2],
        inner: InnerConfig::default(),
    };
    let (mut peer, mut typed, mut entropy) = (Peer::new(config), typed.iter(), OsEntropy::new());
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
                secret.ok_or_else(|| {
                    Failure::new(FailureCode::NoSecret, adit_core::Step::Authenticate, "no more")
                }),
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
