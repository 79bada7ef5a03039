//! EAP-TLS, EAP-TTLS and PEAP between our peer and our authenticator, each with a real TLS engine.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test")]

mod common;

use std::sync::Arc;

use adit_auth::eap::{Binding, InnerConfig, Method, TtlsInner, Verdict};
use adit_core::{FailureCode, SignatureScheme};
use adit_pki::{EcdsaEncoding, PkiError, Signer};
use adit_tls::{ServerConfig, Versions};
use common::{Client, Fate, Server, World, run, world};
use ring::rand::SecureRandom;

const BOTH: [Versions; 2] = [Versions::Only12, Versions::Only13];

fn talk(world: &World, method: Method, inner: &InnerConfig, fates: &[Fate]) -> (Verdict, Verdict) {
    let mut client = Client::new(&[method], inner.clone(), &world.client);
    run(&mut client, Server::begin(&[method], inner.clone(), &world.server), fates)
}

/// Both succeed, with one MSK of 64 octets, and the server knows the peer by this name.
fn agree(verdicts: (Verdict, Verdict), identity: &str) {
    let (peer, server) = (verdicts.0.unwrap(), verdicts.1.unwrap());
    assert_eq!(server.identity, identity);
    let (ours, theirs) = (peer.msk.unwrap(), server.msk.unwrap());
    assert!(ours.len() == 64 && ours.equals(theirs.expose()));
}

fn inner(methods: &[Method], ttls: TtlsInner) -> InnerConfig {
    InnerConfig { methods: methods.to_vec(), ttls, binding: Binding::Required }
}

/// Every method, with what runs inside of it.
fn all() -> Vec<(Method, InnerConfig)> {
    let eap = |methods: &[Method]| inner(methods, TtlsInner::Eap);
    vec![
        (Method::TLS, InnerConfig::default()),
        (Method::TTLS, InnerConfig::default()),
        (Method::TTLS, inner(&[], TtlsInner::Pap)),
        (Method::TTLS, eap(&[Method::MSCHAPV2])),
        (Method::TTLS, eap(&[Method::MD5])),
        (Method::TTLS, eap(&[Method::GTC])),
        (Method::PEAP, eap(&[Method::MSCHAPV2])),
        (Method::PEAP, eap(&[Method::GTC])),
        (Method::PEAP, eap(&[Method::MD5])),
    ]
}

fn who(method: Method) -> &'static str {
    if method == Method::TLS { "ann@example.com" } else { "ann" }
}

#[test]
fn every_method_agrees_on_a_key_in_both_versions() {
    for versions in BOTH {
        for (method, inner) in all() {
            let world = world(versions, method == Method::TLS);
            agree(talk(&world, method, &inner, &[Fate::Arrives]), who(method));
        }
    }
}

#[test]
fn packets_that_are_lost_or_come_twice_change_nothing() {
    let fates = [Fate::Twice, Fate::Arrives, Fate::Lost, Fate::Twice, Fate::Lost, Fate::Arrives, Fate::Twice];
    for versions in BOTH {
        for (method, inner) in all() {
            let world = world(versions, method == Method::TLS);
            for start in 0..fates.len() {
                let turned = [&fates[start..], &fates[..start]].concat();
                agree(talk(&world, method, &inner, &turned), who(method));
            }
        }
    }
}

#[test]
fn a_server_of_another_name_gets_no_password() {
    for versions in BOTH {
        for (method, inner) in all() {
            let mut world = world(versions, method == Method::TLS);
            world.client.name = "other.example.com".parse().unwrap();
            let mut client = Client::new(&[method], inner.clone(), &world.client);
            let server = Server::begin(&[method], inner, &world.server);
            let (peer, server) = run(&mut client, server, &[Fate::Arrives]);
            assert_eq!(peer.unwrap_err().code, FailureCode::CertificateName);
            assert!(server.is_err());
            assert_eq!(client.asked, 0, "the password was asked for");
        }
    }
}

#[test]
fn a_server_of_another_authority_gets_no_password() {
    for versions in BOTH {
        let (mut ours, other) = (world(versions, false), world(versions, false));
        ours.client.anchors = other.client.anchors;
        let mut client = Client::new(&[Method::PEAP], InnerConfig::default(), &ours.client);
        let server = Server::begin(&[Method::PEAP], InnerConfig::default(), &ours.server);
        let (peer, server) = run(&mut client, server, &[Fate::Arrives]);
        assert_eq!(peer.unwrap_err().code, FailureCode::CertificateUntrusted);
        assert!(server.unwrap_err().text.contains("does not trust"));
        assert_eq!(client.asked, 0);
    }
}

#[test]
fn a_client_of_another_authority_is_told_so() {
    for versions in BOTH {
        let (mut ours, other) = (world(versions, true), world(versions, true));
        ours.client.own = other.client.own;
        let (peer, server) = talk(&ours, Method::TLS, &InnerConfig::default(), &[Fate::Arrives]);
        assert_eq!(server.unwrap_err().code, FailureCode::CertificateUntrusted);
        let peer = peer.unwrap_err();
        assert!(peer.text.contains("does not trust the authority of our certificate"), "{peer:?}");
    }
}

#[test]
fn a_client_without_a_certificate_is_refused() {
    for versions in BOTH {
        let mut world = world(versions, true);
        world.client.own = None;
        let (peer, server) = talk(&world, Method::TLS, &InnerConfig::default(), &[Fate::Arrives]);
        assert!(peer.is_err() && server.is_err());
        // A server that asks for none does not let anybody in.
        let server = ServerConfig { clients: None, ..world.server };
        let world = World { client: world.client, server };
        let (peer, server) = talk(&world, Method::TLS, &InnerConfig::default(), &[Fate::Arrives]);
        assert!(peer.is_err());
        assert!(server.unwrap_err().text.contains("shown no certificate"));
    }
}

/// The key of a token that was taken out.
struct Gone(Arc<dyn Signer>);

impl Signer for Gone {
    fn schemes(&self) -> Vec<SignatureScheme> {
        self.0.schemes()
    }

    fn sign(
        &self,
        _: SignatureScheme,
        _: &[u8],
        _: EcdsaEncoding,
        _: &dyn SecureRandom,
    ) -> Result<Vec<u8>, PkiError> {
        Err(PkiError::Token("DeviceRemoved".into()))
    }

    fn sign_bare(&self, _: &[u8]) -> Result<Vec<u8>, PkiError> {
        Err(PkiError::Token("DeviceRemoved".into()))
    }
}

#[test]
fn a_key_that_does_not_sign_is_told_in_its_own_words() {
    for versions in BOTH {
        let mut ours = world(versions, true);
        let own = ours.client.own.as_mut().unwrap();
        own.signer = Arc::new(Gone(Arc::clone(&own.signer)));
        let (peer, server) = talk(&ours, Method::TLS, &InnerConfig::default(), &[Fate::Arrives]);
        let peer = peer.unwrap_err();
        assert_eq!((peer.code, server.is_err()), (FailureCode::NoSecret, true), "{peer:?}");
        assert!(peer.text.contains("DeviceRemoved"), "{peer:?}");
        let mut theirs = world(versions, true);
        theirs.server.own.signer = Arc::new(Gone(Arc::clone(&theirs.server.own.signer)));
        let (peer, server) = talk(&theirs, Method::TLS, &InnerConfig::default(), &[Fate::Arrives]);
        let server = server.unwrap_err();
        assert_eq!((server.code, peer.is_err()), (FailureCode::NoSecret, true), "{server:?}");
    }
}

#[test]
fn a_wrong_password_is_refused() {
    for versions in BOTH {
        for (method, inner) in all().into_iter().skip(1) {
            let world = world(versions, false);
            let mut client = Client::new(&[method], inner.clone(), &world.client);
            client.password = "secert".into();
            let server = Server::begin(&[method], inner.clone(), &world.server);
            let (peer, server) = run(&mut client, server, &[Fate::Arrives]);
            assert!(peer.is_err(), "{method} {inner:?}");
            assert!(server.unwrap_err().text.contains("a wrong password"));
        }
    }
}

#[test]
fn no_common_version_is_told() {
    let world = World {
        client: world(Versions::Only12, false).client,
        server: world(Versions::Only13, false).server,
    };
    let (peer, server) = talk(&world, Method::PEAP, &InnerConfig::default(), &[Fate::Arrives]);
    assert!(peer.unwrap_err().text.contains("no common version"));
    assert!(server.is_err());
}

#[test]
fn a_method_that_is_declined_is_followed_by_the_next() {
    let world = world(Versions::Both, false);
    let mut client = Client::new(&[Method::PEAP], InnerConfig::default(), &world.client);
    let methods = [Method::TLS, Method::TTLS, Method::PEAP];
    let server = Server::begin(&methods, InnerConfig::default(), &world.server);
    agree(run(&mut client, server, &[Fate::Arrives]), "ann");
}
