//! What the server answers the core, with doors that keep books.

use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use adit_core::{FailureCode, Identity, Path, Secret, SignatureScheme};
use adit_ikev2::api::{
    Answer, Ask, ChildId, ChildMode, ChildUp, Established, Event, Lease, RemoteAuth, SaId, SignatureEncoding,
};
use adit_isakmp::algorithm::{Encryption, KeyBits};
use adit_isakmp::{EspSuite, IkeSuite, KeMethod, Prf};
use adit_xfrm_kernel::RecordingXfrm;
use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    SanType, SigningKey,
};

use super::Inner;
use crate::BusChoice;
use crate::daemon::{Daemon, Doors, Settings};
use crate::host::RecordingHost;
use crate::ike::{Pending, SaContext};

const AES: Encryption = Encryption::AesGcm16(KeyBits::B256);
const PSK: &str = "correct horse battery staple";

const BY_PSK: &str = r#"
[ikev2]
identity = "vpn.example.com"
psk = "correct horse battery staple"
[[connection]]
name = "staff"
match = "*@example.com"
auth = "psk"
pool = "two"
[pool.two]
ranges = ["10.9.0.10-10.9.0.11"]
"#;

#[tokio::test]
async fn who_matches_gets_the_configured_psk() {
    let server = Server::new(BY_PSK, &[]).await;
    let rule = server.connection(1, "alice@example.com").await.unwrap();
    assert_eq!(rule, "staff");
    assert_eq!(server.psk(1).await.expose(), PSK.as_bytes());
}

#[tokio::test]
async fn a_name_that_nobody_knows_is_no_other_than_a_wrong_key() {
    let server = Server::new(BY_PSK, &[]).await;
    for sa in [1, 2] {
        // It goes on as if there were a connection for it, with a key that nobody can have.
        assert_eq!(server.connection(sa, "mallory@partner.net").await.unwrap(), "staff");
    }
    let (one, other) = (server.psk(1).await, server.psk(2).await);
    assert_eq!(one.expose().len(), 32);
    assert_ne!(one.expose(), other.expose());
    assert_ne!(one.expose(), PSK.as_bytes());
}

#[tokio::test]
async fn a_certificate_of_the_right_authority_needs_a_name_that_matches() {
    let ca = Ca::new();
    let toml = r#"
[ikev2]
identity = "vpn.example.com"
psk = "correct horse battery staple"
[[connection]]
name = "staff"
match = "*@example.com"
auth = "certificate"
server-auth = "psk"
ca = "ca.pem"
pool = "two"
[pool.two]
ranges = ["10.9.0.10-10.9.0.11"]
"#;
    let server = Server::new(toml, &[("certs/ca.pem", &ca.pem)]).await;
    server.connection(1, "alice@example.com").await.unwrap();
    server.verify(1, ca.claim("alice@example.com")).await.unwrap();

    // Its certificate is as good, but no [[connection]] is for it.
    server.connection(2, "mallory@partner.net").await.unwrap();
    let failure = server.verify(2, ca.claim("mallory@partner.net")).await.unwrap_err();
    assert_eq!(failure.code, FailureCode::AuthenticationFailed);
    assert!(failure.text.contains("no [[connection]] is for mallory@partner.net"), "{failure:?}");
}

#[tokio::test]
async fn a_pool_that_is_empty_says_so_and_fills_as_guests_leave() {
    let server = Server::new(BY_PSK, &[]).await;
    for (sa, who) in [(1, "a@example.com"), (2, "b@example.com"), (3, "c@example.com")] {
        server.connection(sa, who).await.unwrap();
    }
    assert_eq!(server.lease(1, "a@example.com").await.unwrap(), Ipv4Addr::new(10, 9, 0, 10));
    assert_eq!(server.lease(2, "b@example.com").await.unwrap(), Ipv4Addr::new(10, 9, 0, 11));
    let failure = server.lease(3, "c@example.com").await.unwrap_err();
    assert_eq!(failure.code, FailureCode::NoAddress);
    assert!(failure.hint.is_some());

    // The first fails after its lease and before it was ever up: its address is free again.
    let left = server.inner.left.notified();
    server.inner.event(
        SaId(1),
        Event::Closed(Err(adit_core::Failure::new(
            FailureCode::TrafficSelectors,
            adit_core::Step::Child,
            "a test",
        ))),
    );
    left.await;
    assert_eq!(server.lease(3, "c@example.com").await.unwrap(), Ipv4Addr::new(10, 9, 0, 10));
    assert_eq!(server.inner.guests().len(), 2);
}

#[tokio::test]
async fn the_keys_of_a_client_are_shown_as_they_are_now() {
    let server = Server::new(BY_PSK, &[]).await;
    server.connection(1, "alice@example.com").await.unwrap();
    let esp =
        |ke| EspSuite { encryption: AES, integrity: None, ke, additional: Default::default(), esn: true };
    let ike = |prf| IkeSuite {
        encryption: AES,
        integrity: None,
        prf,
        ke: KeMethod::Curve25519,
        additional: Default::default(),
    };
    let none: Vec<adit_core::TrafficSelector> = Vec::new();
    server.inner.event(
        SaId(1),
        Event::Established(Box::new(Established {
            path: path(),
            encapsulated: false,
            nat_local: false,
            nat_remote: false,
            local_id: id("vpn.example.com"),
            remote_id: id("alice@example.com"),
            ike: ike(Prf::HmacSha256),
            esp: esp(None),
            child: ChildId(1),
            local_ts: none.clone(),
            remote_ts: none.clone(),
            lease: Lease::default(),
            ppk: false,
            resumed: false,
            resumable: false,
            connection: Some("staff".into()),
            mobike: None,
        })),
    );
    server.inner.event(SaId(1), Event::Rekeyed { ike: ike(Prf::HmacSha512) });
    let up = ChildUp {
        child: ChildId(2),
        replaces: Some(ChildId(1)),
        name: None,
        esp: esp(Some(KeMethod::Curve25519)),
        mode: ChildMode::Tunnel,
        local_ts: none.clone(),
        remote_ts: none,
    };
    server.inner.event(SaId(1), Event::ChildUp(Box::new(up)));
    let all = server.inner.daemon.registry().all();
    let [(_, facts)] = all.as_slice() else { panic!("{all:?}") };
    assert_eq!(facts.rekeys, 2);
    assert!(facts.ike_suite.contains("prfsha512"), "{}", facts.ike_suite);
    assert!(facts.esp_suite.contains("x25519"), "{}", facts.esp_suite);
}

#[tokio::test]
async fn nobody_comes_in_while_it_goes_down() {
    let server = Server::new(BY_PSK, &[]).await;
    server.inner.closing.store(true, std::sync::atomic::Ordering::Release);
    let failure = server.connection(1, "alice@example.com").await.unwrap_err();
    assert_eq!(failure.code, FailureCode::Cancelled);
    assert!(server.inner.guests().is_empty());
}

pub(super) struct Server {
    pub(super) inner: Arc<Inner>,
    folder: tempfile::TempDir,
}

impl Server {
    pub(super) async fn new(toml: &str, files: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("etc");
        for (name, content) in files.iter().chain(&[("server.toml", toml)]) {
            let path = config.join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, content).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        }
        let (state, socket) = (folder.path().join("state"), folder.path().join("sock"));
        let doors = Doors {
            xfrm: Arc::new(RecordingXfrm::default()),
            host: Arc::new(RecordingHost::default()),
            crypto: Arc::new(adit_crypto::Provider::new()),
        };
        let daemon = Arc::new(Daemon::new(
            Settings { config, state, socket, bus: BusChoice::None, ..Settings::default() },
            doors,
        ));
        let (config, _) = daemon.files().server().unwrap().unwrap();
        Self {
            inner: Inner::new(config, &daemon, crate::ike::WeakIkeDriver::gone(), None).await.unwrap(),
            folder,
        }
    }

    /// Writes one of the files anew.
    pub(super) fn write(&self, name: &str, content: &str) {
        std::fs::write(self.folder.path().join("etc").join(name), content).unwrap();
    }

    pub(super) async fn ask(&self, sa: u64, ask: Ask) -> Answer {
        match self.inner.ask(SaId(sa), ask) {
            Pending::Now(answer) => answer,
            Pending::Later(answer) => answer.await,
        }
    }

    /// The name of the connection that a peer gets.
    async fn connection(&self, sa: u64, remote: &str) -> Result<String, adit_core::Failure> {
        let path = path();
        match self
            .ask(
                sa,
                Ask::Connection { remote: id(remote), asked: None, path, eap: false, transport: Vec::new() },
            )
            .await
        {
            Answer::Connection(Ok(config)) => {
                if let RemoteAuth::Certificate { authorities } = &config.remote_auth {
                    assert_eq!(authorities.len(), 1);
                }
                Ok(config.name)
            }
            Answer::Connection(Err(failure)) => Err(failure),
            _ => panic!("another answer"),
        }
    }

    async fn psk(&self, sa: u64) -> Secret {
        let (local, remote) = (id("vpn.example.com"), id("whoever@example.com"));
        match self.ask(sa, Ask::Psk { local, remote }).await {
            Answer::Psk(Ok(secret)) => secret,
            _ => panic!("another answer"),
        }
    }

    async fn verify(&self, sa: u64, claim: Ask) -> Result<(), adit_core::Failure> {
        match self.ask(sa, claim).await {
            Answer::Verified(result) => result,
            _ => panic!("another answer"),
        }
    }

    async fn lease(&self, sa: u64, remote: &str) -> Result<Ipv4Addr, adit_core::Failure> {
        let ask = Ask::Lease { remote: id(remote), v4: Some(Ipv4Addr::UNSPECIFIED), v6: None, resumes: None };
        match self.ask(sa, ask).await {
            Answer::Leased(Ok(lease)) => Ok(lease.v4.unwrap()),
            Answer::Leased(Err(failure)) => Err(failure),
            _ => panic!("another answer"),
        }
    }
}

/// From where a peer comes.
pub(super) fn path() -> Path {
    let at = |a: &str| a.parse::<SocketAddr>().unwrap();
    Path { local: at("203.0.113.1:500"), remote: at("198.51.100.7:500") }
}

pub(super) fn id(text: &str) -> Identity {
    text.parse().unwrap()
}

pub(super) struct Ca {
    pub(super) pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Ca {
    pub(super) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { pem, issuer: Issuer::new(params, key) }
    }

    /// A server's certificate and its key.
    pub(super) fn server(&self) -> (String, String) {
        let mut params = CertificateParams::new(vec!["vpn.example.com".into()]).unwrap();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let key = KeyPair::generate().unwrap();
        (params.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem())
    }

    /// A client's certificate in that name, and its key.
    pub(super) fn client(&self, name: &str) -> (rcgen::Certificate, KeyPair) {
        let (params, key) = Self::params(name);
        (params.signed_by(&key, &self.issuer).unwrap(), key)
    }

    fn params(name: &str) -> (CertificateParams, KeyPair) {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.subject_alt_names = vec![SanType::Rfc822Name(name.try_into().unwrap())];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        (params, KeyPair::generate().unwrap())
    }

    /// A client's certificate in that name, and a signature of its key.
    pub(super) fn claim(&self, name: &str) -> Ask {
        Self::claimed(name, &self.client(name))
    }

    /// The same, of a certificate that is good until that year.
    pub(super) fn claim_until(&self, name: &str, year: i32) -> Ask {
        let (mut params, key) = Self::params(name);
        params.not_after = rcgen::date_time_ymd(year, 1, 1);
        Self::claimed(name, &(params.signed_by(&key, &self.issuer).unwrap(), key))
    }

    fn claimed(name: &str, (certificate, key): &(rcgen::Certificate, KeyPair)) -> Ask {
        let message = b"what an IKE_SA signs".to_vec();
        Ask::Verify {
            identity: id(name),
            certificates: vec![certificate.der().to_vec()],
            scheme: SignatureScheme::EcdsaP256Sha256,
            encoding: SignatureEncoding::Asn1,
            signature: key.sign(&message).unwrap(),
            message: Secret::new(message),
        }
    }
}
