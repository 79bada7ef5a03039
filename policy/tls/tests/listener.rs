//! A server of several hosts, and clients who come back to it.
#![allow(clippy::unwrap_used, reason = "a test")]

#[path = "common/pki.rs"]
mod pki;

use std::sync::Arc;

use adit_core::FailureCode;
use adit_pki::TrustAnchors;
use adit_tls::{ClientConfig, Engine, Listener, OwnCertificate, Returning, Versions};
use pki::{Ca, anchors, ca, own, server};

fn client(ca: &Ca, host: &str, versions: Versions) -> ClientConfig {
    let (anchors, name) = (anchors(ca), host.parse().unwrap());
    ClientConfig { anchors, name, says_name: true, own: None, versions }
}

/// Lets them talk until neither has anything to say.
fn talk(client: &mut Engine, server: &mut Engine) -> Result<(), adit_core::Failure> {
    for _ in 0..6 {
        server.feed(&client.records())?;
        client.feed(&server.records())?;
    }
    assert!(client.tunnel().is_some() && server.tunnel().is_some());
    Ok(())
}

fn hosts(ca: &Ca, hosts: &[&str]) -> (Listener, Vec<OwnCertificate>) {
    let all: Vec<OwnCertificate> = hosts.iter().map(|host| own(&server(ca, host))).collect();
    (Listener::new(all.clone()).unwrap(), all)
}

#[test]
fn each_host_has_its_certificate_and_who_names_none_gets_the_first() {
    let ca = ca("Corp CA");
    let (listener, all) = hosts(&ca, &["vpn.example.com", "vpn.example.net"]);
    for (host, says_name, which) in
        [("vpn.example.com", true, 0), ("vpn.example.net", true, 1), ("vpn.example.com", false, 0)]
    {
        let config = ClientConfig { says_name, ..client(&ca, host, Versions::Both) };
        let (mut client, mut server) = (Engine::client(&config).unwrap(), listener.engine().unwrap());
        talk(&mut client, &mut server).unwrap();
        let shown = &client.tunnel().unwrap().certificates[0];
        assert_eq!(*shown, all[which].chain[0], "{host}");
        assert_eq!(listener.shown(&server), shown, "both ends know of the same");
    }
    // Whoever wants another host is told so by its own check.
    let (mut client, mut server) = (
        Engine::client(&client(&ca, "other.example.org", Versions::Both)).unwrap(),
        listener.engine().unwrap(),
    );
    let why = talk(&mut client, &mut server).unwrap_err();
    assert_eq!(why.code, FailureCode::CertificateName);
}

#[test]
fn who_comes_back_is_known_by_a_ticket_and_its_server_by_its_certificate() {
    for versions in [Versions::Only12, Versions::Only13] {
        let ca = ca("Corp CA");
        let (listener, all) = hosts(&ca, &["vpn.example.com", "vpn.example.net"]);
        let config = client(&ca, "vpn.example.net", versions);
        let returning = Returning::new(&config).unwrap();
        for resumed in [false, true, true] {
            let mut client = returning.engine(&config.anchors).unwrap();
            let mut server = listener.engine().unwrap();
            talk(&mut client, &mut server).unwrap();
            assert_eq!((client.is_resumed(), server.is_resumed()), (resumed, resumed), "{versions:?}");
            assert_eq!(client.tunnel().unwrap().certificates[0], all[1].chain[0]);
            assert_eq!(listener.shown(&server), all[1].chain[0], "what the log-in is bound to");
            assert_eq!(client.questions().len(), 1, "whether it has been revoked is asked each time");
        }
    }
}

#[test]
fn an_authority_that_is_trusted_no_more_is_not_trusted_for_a_ticket() {
    let ca = ca("Corp CA");
    let (listener, _) = hosts(&ca, &["vpn.example.com"]);
    let config = client(&ca, "vpn.example.com", Versions::Both);
    let returning = Returning::new(&config).unwrap();
    let mut first = returning.engine(&config.anchors).unwrap();
    talk(&mut first, &mut listener.engine().unwrap()).unwrap();
    let mut second = returning.engine(&Arc::new(TrustAnchors::new())).unwrap();
    let why = talk(&mut second, &mut listener.engine().unwrap()).unwrap_err();
    assert_eq!(why.code, FailureCode::CertificateUntrusted, "{why}");
    // And once more it is.
    let mut third = returning.engine(&config.anchors).unwrap();
    talk(&mut third, &mut listener.engine().unwrap()).unwrap();
}

/// New certificates, new keys for tickets: nobody's log-in is bound to a certificate that this server does not show any more.
#[test]
fn a_ticket_is_worth_nothing_to_another_server() {
    let ca = ca("Corp CA");
    let ((former, _), (listener, all)) = (hosts(&ca, &["vpn.example.com"]), hosts(&ca, &["vpn.example.com"]));
    let config = client(&ca, "vpn.example.com", Versions::Both);
    let returning = Returning::new(&config).unwrap();
    talk(&mut returning.engine(&config.anchors).unwrap(), &mut former.engine().unwrap()).unwrap();
    let mut client = returning.engine(&config.anchors).unwrap();
    talk(&mut client, &mut listener.engine().unwrap()).unwrap();
    assert!(!client.is_resumed());
    assert_eq!(client.tunnel().unwrap().certificates[0], all[0].chain[0]);
}
