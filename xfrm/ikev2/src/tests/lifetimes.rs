//! What is never rekeyed ends (RFC 7296 §2.8), or is made anew (§4).

use adit_isakmp::payload::{Notify, NotifyType};
use adit_isakmp::{ExchangeType, Payload};

use super::rekey_child::pair;
use super::script::Peer;
use super::*;

fn at(hours: u64, minutes: u64) -> Instant {
    Instant::ZERO + Duration::from_mins(hours * 60 + minutes)
}

/// A server that leaves rekeying to its clients, and whose CHILD_SAs have no key exchange.
fn passive() -> ResponderConfig {
    let timing = Timing { rekey_ike: Duration::ZERO, rekey_child: Duration::ZERO, ..Timing::default() };
    ResponderConfig { timing, ..connection() }
}

// [7296:2.8-1]
#[test]
fn a_child_sa_that_the_peer_does_not_let_us_rekey_ends_with_its_life() {
    let (mut client, mut server) = pair("aes256gcm16-x25519", passive);
    live(&mut client, &mut server, at(1, 29));
    assert!(client.closed().is_none() && server.closed().is_none());
    assert_eq!((client.up().len(), client.ups().len()), (1, 0));
    live(&mut client, &mut server, at(1, 31));
    assert!(client.failure().to_string().contains("not rekeyed"), "{:?}", client.failure());
    assert!(server.closed().is_some());
    assert_eq!((client.up().len(), server.up().len()), (0, 0));
}

// [7296:2.8-1]
#[test]
fn one_of_several_ends_alone() {
    let (mut client, mut server) = pair("aes256gcm16-x25519", passive);
    let sa = client.sa();
    let child = ChildConfig {
        name: "more".into(),
        esp: vec!["aes256gcm16".parse().unwrap()],
        mode: ChildMode::Tunnel,
        local_ts: vec![ts("0.0.0.0/0")],
        remote_ts: vec![ts("10.1.0.0/16")],
    };
    client.give(Instant::ZERO, Input::AddChild { sa, child: Box::new(child) });
    carry(Instant::ZERO, &mut client, &mut server);
    assert_eq!(client.up().len(), 2);
    let first = client.children[0].child;
    live(&mut client, &mut server, at(1, 31));
    assert!(client.closed().is_none() && server.closed().is_none());
    assert!(client.closed_children().contains(&(first, None)));
    assert_eq!((client.up().len(), server.up().len()), (1, 1));
}

// [7296:2.8-1] [7296:2.8-2]
#[test]
fn an_ike_sa_that_is_not_rekeyed_ends_with_its_life() {
    let (mut client, mut server) = pair("aes256gcm16", passive);
    // No key pair is ever made, so no rekey is ever asked for.
    client.silent = "Generate";
    live(&mut client, &mut server, at(5, 59));
    assert!(client.closed().is_none() && client.rekeyed() == 0 && client.ups().len() > 4);
    live(&mut client, &mut server, at(6, 1));
    assert!(client.failure().to_string().contains("not rekeyed"), "{:?}", client.failure());
    assert!(server.closed().is_some());
    assert_eq!((client.up().len(), server.up().len()), (0, 0));
}

fn due(node: &Node) -> usize {
    node.events.iter().filter(|(_, e)| matches!(e, Event::ReauthenticationDue)).count()
}

// [7296:4-6]
#[test]
fn a_peer_that_rekeys_nothing_is_dialled_again() {
    for ike in [true, false] {
        let mut client = Node::client();
        let sa = client.dial(Instant::ZERO, config());
        let (mut peer, answer) = Peer::answer_init(&client.one(), |_| {});
        client.give(Instant::ZERO, answer);
        let answer = peer.answer_auth(&client.one(), |_| {});
        client.give(Instant::ZERO, answer);
        let child = client.children[0].child;
        client.give(Instant::ZERO, Input::Rekey { sa, child: (!ike).then_some(child) });
        let request = peer.open(&client.one());
        let no = [Payload::Notify(Notify::new(NotifyType::NO_ADDITIONAL_SAS, []))];
        let answer = peer.seal(ExchangeType::CREATE_CHILD_SA, request.header.message_id, true, &no);
        client.give(Instant::ZERO, answer);
        assert_eq!(due(&client), 1);
        // What is in use goes on until the driver has another one.
        assert!(client.closed().is_none() && client.up().len() == 1);
    }
}

#[test]
fn who_has_not_dialled_can_not_dial_again() {
    let mut server = Node::server();
    let mut peer = Peer::dial(&mut server);
    let request = peer.ask_auth(|_| {});
    server.give(Instant::ZERO, request);
    server.sent();
    server.rekey(Instant::ZERO);
    let request = peer.open(&server.one());
    let no = [Payload::Notify(Notify::new(NotifyType::NO_ADDITIONAL_SAS, []))];
    let answer = peer.seal(ExchangeType::CREATE_CHILD_SA, request.header.message_id, true, &no);
    server.give(Instant::ZERO, answer);
    assert_eq!(due(&server), 0);
    assert!(server.closed().is_none());
}
