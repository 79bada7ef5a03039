//! Who may come back by a ticket, and who may not any more.

use std::net::Ipv4Addr;
use std::time::Duration;

use adit_core::{Failure, FailureCode, Identity, Step};
use adit_ikev2::api::{Answer, Ask, ChildId, Established, Event, Lease, SaId};
use adit_isakmp::algorithm::{Encryption, KeyBits};
use adit_isakmp::{EspSuite, IkeSuite, KeMethod, Prf};

use super::eap_tests;
use super::tests::{Ca, Server, id, path};
use crate::ike::SaContext;

const AES: Encryption = Encryption::AesGcm16(KeyBits::B256);
const BY_PSK: &str = "[ikev2]\nidentity = \"vpn.example.com\"\n[[connection]]\nname = \"staff\"\n\
                      match = \"*@example.com\"\nauth = \"psk\"\npsk-file = \"corp.psk\"\nuniqueness = \"keep\"\n\
                      pool = \"two\"\n[pool.two]\nranges = [\"10.9.0.10-10.9.0.12\"]\n";
const KEY: (&str, &str) = ("secrets/corp.psk", "correct horse battery staple");

fn up(remote: Identity, resumable: bool) -> Event {
    let ike = IkeSuite {
        encryption: AES,
        integrity: None,
        prf: Prf::HmacSha256,
        ke: KeMethod::Curve25519,
        additional: Default::default(),
    };
    let esp =
        EspSuite { encryption: AES, integrity: None, ke: None, additional: Default::default(), esn: true };
    Event::Established(Box::new(Established {
        path: path(),
        encapsulated: false,
        nat_local: false,
        nat_remote: false,
        mobike: None,
        local_id: id("vpn.example.com"),
        remote_id: remote,
        ike,
        esp,
        child: ChildId(1),
        local_ts: Vec::new(),
        remote_ts: Vec::new(),
        lease: Lease::default(),
        ppk: false,
        resumed: false,
        resumable,
        connection: Some("staff".into()),
    }))
}

impl Server {
    async fn come_in(&self, sa: u64, who: &str) {
        let ask =
            Ask::Connection { remote: id(who), asked: None, path: path(), eap: false, transport: Vec::new() };
        let Answer::Connection(Ok(_)) = self.ask(sa, ask).await else { panic!("no connection") };
        self.inner.event(SaId(sa), up(id(who), true));
    }

    async fn resume(&self, sa: u64, session: u64, who: &str) -> Result<(String, Duration), Failure> {
        let ask = Ask::Resume { session: SaId(session), remote: id(who), path: path() };
        let Answer::Connection(result) = self.ask(sa, ask).await else { panic!("another answer") };
        result.map(|config| (config.name, config.ticket_lifetime))
    }

    async fn goes(&self, sa: u64, code: FailureCode) {
        let left = self.inner.left.notified();
        self.inner.event(SaId(sa), Event::Closed(Err(Failure::new(code, Step::Established, "a test"))));
        left.await;
    }

    async fn address(&self, sa: u64, resumes: Option<u64>, who: &str) -> Option<Ipv4Addr> {
        let (v4, resumes) = (Some(Ipv4Addr::UNSPECIFIED), resumes.map(SaId));
        match self.ask(sa, Ask::Lease { remote: id(who), v4, v6: None, resumes }).await {
            Answer::Leased(Ok(lease)) => lease.v4,
            _ => None,
        }
    }
}

// [5723:6.2-1]
#[tokio::test]
async fn who_stands_or_was_lost_comes_back_and_nobody_else() {
    let server = Server::new(BY_PSK, &[KEY]).await;
    server.come_in(1, "alice@example.com").await;
    // A rekey of the IKE_SA is due after four hours; it lives six.
    let config = server.resume(2, 1, "alice@example.com").await.unwrap();
    assert_eq!(config, ("staff".to_owned(), Duration::from_hours(6)));
    server.goes(1, FailureCode::PeerLost).await;
    assert!(server.resume(3, 1, "alice@example.com").await.is_ok());
    assert!(server.resume(4, 99, "alice@example.com").await.is_err(), "that was none");

    server.come_in(5, "bob@example.com").await;
    server.goes(5, FailureCode::PeerClosed).await;
    assert!(server.resume(6, 5, "bob@example.com").await.is_err(), "it has ended itself");
}

#[tokio::test]
async fn a_session_is_gone_when_another_has_taken_its_place() {
    let server = Server::new(BY_PSK, &[KEY]).await;
    server.come_in(1, "alice@example.com").await;
    server.resume(2, 1, "alice@example.com").await.unwrap();
    server.inner.event(SaId(2), up(id("alice@example.com"), true));
    assert!(server.resume(3, 1, "alice@example.com").await.is_err());
    assert!(server.resume(4, 2, "alice@example.com").await.is_ok());
}

#[tokio::test]
async fn the_address_inside_is_the_same_also_where_several_may_be_here() {
    let server = Server::new(BY_PSK, &[KEY]).await;
    let who = "alice@example.com";
    for sa in [1, 2] {
        server.come_in(sa, who).await;
        assert!(server.address(sa, None, who).await.is_some());
    }
    server.resume(3, 1, who).await.unwrap();
    assert_eq!(server.address(3, Some(1), who).await, Some(Ipv4Addr::new(10, 9, 0, 10)));
    server.goes(1, FailureCode::PeerLost).await;
    assert_eq!(server.inner.pools()["two"].1.owner_of([10, 9, 0, 10].into()), Some(3));
}

#[tokio::test]
async fn a_connection_that_is_another_now_or_gone_lets_nobody_back() {
    let server = Server::new(BY_PSK, &[KEY]).await;
    server.come_in(1, "alice@example.com").await;
    server.write("secrets/corp.psk", "another key altogether");
    let why = server.resume(2, 1, "alice@example.com").await.unwrap_err();
    assert!(why.text.contains("is another now"), "{why}");
    server.write("secrets/corp.psk", KEY.1);
    assert!(server.resume(3, 1, "alice@example.com").await.is_ok());
    assert!(server.resume(4, 1, "alice@partner.net").await.is_err(), "no [[connection]] is for that name");

    let off = BY_PSK.replace("[ikev2]\n", "[ikev2]\nsession-resumption = false\n");
    let server = Server::new(&off, &[KEY]).await;
    server.come_in(1, "alice@example.com").await;
    assert!(server.resume(2, 1, "alice@example.com").await.is_err());
}

#[tokio::test]
async fn a_certificate_has_to_be_good_still() {
    let ca = Ca::new();
    let toml = "[ikev2]\nidentity = \"vpn.example.com\"\npsk = \"correct horse battery staple\"\n[[connection]]\n\
                name = \"staff\"\nmatch = \"*@example.com\"\nauth = \"certificate\"\nserver-auth = \"psk\"\n\
                ca = \"ca.pem\"\npool = \"two\"\n[pool.two]\nranges = [\"10.9.0.10-10.9.0.12\"]\n";
    let server = Server::new(toml, &[("certs/ca.pem", &ca.pem)]).await;
    for (sa, claim, good) in
        [(1, ca.claim("alice@example.com"), true), (2, ca.claim_until("alice@example.com", 2020), false)]
    {
        let ask = Ask::Connection {
            remote: id("alice@example.com"),
            asked: None,
            path: path(),
            eap: false,
            transport: Vec::new(),
        };
        let Answer::Connection(Ok(_)) = server.ask(sa, ask).await else { panic!("no connection") };
        // Whatever was said of it when it came: what counts is what it is now.
        let Answer::Verified(_) = server.ask(sa, claim).await else { panic!("another answer") };
        server.inner.event(SaId(sa), up(id("alice@example.com"), true));
        let result = server.resume(10 + sa, sa, "alice@example.com").await;
        assert_eq!(result.as_ref().err().map(|f| f.code), (!good).then_some(FailureCode::CertificateExpired));
    }
}

#[tokio::test]
async fn a_user_has_to_be_there_still_with_the_same_password() {
    let server = eap_tests::server("\"*\"").await;
    let who = "alice@example.com";
    eap_tests::speak(&server, 1, who, &["correct horse"]).await.unwrap();
    server.inner.event(SaId(1), up(id(who), true));
    assert!(server.resume(2, 1, who).await.is_ok());
    for (n, users) in [
        "carl:nt-hash:c489f66c31c3025f1698a32c106c7666\n",
        "alice@example.com:password:another horse\n",
        "alice@example.com:password-expired:correct horse\n",
    ]
    .into_iter()
    .enumerate()
    {
        server.write("secrets/staff.users", users);
        let sa = 10 + u64::try_from(n).unwrap();
        let why = server.resume(sa, 1, who).await.unwrap_err();
        assert!(why.text.contains("no user any more"), "{users}: {why}");
    }
    server.write("secrets/staff.users", "alice@example.com:password:correct horse\n");
    assert!(server.resume(20, 1, who).await.is_ok());
    // What it has proven goes on with the session.
    server.inner.event(SaId(20), up(id(who), true));
    server.write("secrets/staff.users", "carl:password:x\n");
    assert!(server.resume(21, 20, who).await.is_err());
}
