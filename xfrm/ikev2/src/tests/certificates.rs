//! Which of several certificates of ours a peer is shown (RFC 7296 §3.6, §3.7).

use super::*;

const ED25519: &[SignatureScheme] = &[SignatureScheme::Ed25519];
const RSA: &[SignatureScheme] = &[SignatureScheme::RsaPssSha256];
const FIRST: [u8; 20] = [1; 20];
const SECOND: [u8; 20] = [2; 20];
const SERVERS: &[&[u8]] = &[b"first server", b"second server"];
const CLIENTS: &[&[u8]] = &[b"first client", b"second client"];
const ELSE: [u8; 20] = [3; 20];

fn both(first: &[u8], second: &[u8], schemes: [&[SignatureScheme]; 2]) -> LocalAuth {
    LocalAuth::Signature {
        own: vec![own_chain(first, schemes[0], FIRST), own_chain(second, schemes[1], SECOND)],
    }
}

fn server_config() -> ResponderConfig {
    let (_, remote_auth) = by_certificate(b"", ED25519);
    let local_auth = both(b"first server", b"second server", [ED25519, ED25519]);
    ResponderConfig { local_auth, remote_auth, ..connection() }
}

/// What the server saw of the client, and the client of the server.
fn shown(asked_by_server: &[[u8; 20]], asked_by_client: &[[u8; 20]], client: LocalAuth) -> (String, String) {
    let defaults = ResponderDefaults { authorities: asked_by_server.to_vec(), ..defaults() };
    let mut server = Node::new(SERVER, 2, Some(defaults));
    (server.certificates, server.connection) = (SERVERS, server_config);
    let mut node = Node::client();
    node.certificates = CLIENTS;
    let remote_auth = RemoteAuth::Certificate { authorities: asked_by_client.to_vec() };
    node.dial(Instant::ZERO, InitiatorConfig { local_auth: client, remote_auth, ..config() });
    carry(Instant::ZERO, &mut node, &mut server);
    assert!(node.established().is_some() && server.established().is_some(), "{:?}", node.events);
    let first = |node: &Node| String::from_utf8(node.verified[0][0].clone()).unwrap();
    (first(&server), first(&node))
}

fn client() -> LocalAuth {
    both(b"first client", b"second client", [ED25519, ED25519])
}

// [7296:3.6-2] [7296:1.2-1]
#[test]
fn the_one_that_the_peer_asks_for_is_shown_and_else_the_first() {
    let both = |asked: &[[u8; 20]]| shown(asked, asked, client());
    let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
    assert_eq!(both(&[]), pair("first client", "first server"));
    assert_eq!(both(&[ELSE]), pair("first client", "first server"));
    assert_eq!(both(&[ELSE, SECOND]), pair("second client", "second server"));
    assert_eq!(both(&[SECOND, FIRST]), pair("first client", "first server"), "ours are in our order");
    assert_eq!(shown(&[SECOND], &[FIRST], client()), pair("second client", "first server"));
}

// [7427:4-1]
#[test]
fn one_whose_key_the_peer_can_not_read_is_not_shown() {
    // A client that announces hashes of which the first certificate's key makes none.
    let own = [own_chain(b"first", RSA, FIRST), own_chain(b"second", ED25519, SECOND)];
    let (usable, _) = crate::auth::usable_schemes(&own[1].schemes, Some(&[5])).unwrap();
    assert_eq!(usable, ED25519);
    assert!(crate::auth::usable_schemes(&own[0].schemes, Some(&[5])).is_err());
    let mut peer = Node::client();
    peer.dial(Instant::ZERO, config());
    let (mut script, _) = script::Peer::answer_init(&peer.one(), |_| {});
    script.hs.peer_hashes = Some(vec![5]);
    script.hs.asked = vec![FIRST];
    let mut ask = |own: &[OwnChain]| crate::auth::ask_to_sign(own, &mut script.hs, Secret::new(Vec::new()));
    let (asked, _) = ask(&own).unwrap();
    let Ask::Sign { certificate, schemes, .. } = asked else { panic!("not that question") };
    assert_eq!((certificate, &schemes[..]), (1, ED25519));
    assert!(ask(&own[..1]).is_err());
    assert!(ask(&[]).is_err());
    assert_eq!(script.hs.own, 1);
}
