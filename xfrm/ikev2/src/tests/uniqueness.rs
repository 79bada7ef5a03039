//! The same peer again: INITIAL_CONTACT (RFC 7296 §2.4), uniqueness, and proving oneself again (RFC 4478).

use adit_isakmp::payload::{Notify, NotifyType};
use adit_isakmp::{ExchangeType, Payload};

use super::rekey_child::agree;
use super::script::Peer;
use super::*;

/// A server by this rule, a client that is up with it, and what became of the same client from elsewhere.
fn again(connection: fn() -> ResponderConfig) -> (Node, Node, Node) {
    let (mut client, mut server) = (Node::client(), Node::server());
    server.connection = connection;
    client.dial(Instant::ZERO, config());
    carry(Instant::ZERO, &mut client, &mut server);
    assert!(server.established().is_some());
    let mut other = Node::new("192.0.2.99:500", 5, None);
    let path = Path { local: other.address, remote: SERVER.parse().unwrap() };
    other.dial(Instant::ZERO, InitiatorConfig { path, ..config() });
    for _ in 0..10 {
        carry_to(&mut other, &mut server, &mut client);
    }
    (client, other, server)
}

/// One flight of datagrams between two clients and a server.
fn carry_to(one: &mut Node, server: &mut Node, two: &mut Node) {
    for t in one.sent().into_iter().chain(two.sent()) {
        server.give(Instant::ZERO, arrives(&t));
    }
    for t in server.sent() {
        let to = if t.path.remote.ip() == one.address.ip() { &mut *one } else { &mut *two };
        to.give(Instant::ZERO, arrives(&t));
    }
}

#[test]
fn the_new_one_replaces_the_old_one_when_it_is_up() {
    let (client, other, server) = again(connection);
    assert!(other.established().is_some() && other.closed().is_none());
    assert_eq!(client.failure().peer.as_deref(), Some("DELETE"));
    assert!(server.failure().text.contains("come in anew"), "{}", server.failure());
    assert_eq!(server.endpoint.established(), 1);
    // The new one was up before the old one went.
    let up = |(_, e): &(SaId, Event)| matches!(e, Event::Established(_));
    let last_up = server.events.iter().rposition(up).unwrap();
    let closed = server.events.iter().position(|(_, e)| matches!(e, Event::Closed(_))).unwrap();
    assert!(last_up < closed);
}

/// Whoever proves itself again has the old one until it has the new one. Another host has never had it, and what goes there
/// would be lost.
#[test]
fn the_old_one_carries_for_the_same_host_only() {
    let (_, _, server) = again(connection);
    assert_eq!(server.children.len(), 2);
    assert!(server.children.iter().all(|c| c.outbound.is_some()));
    let (mut client, mut server) = (Node::client(), Node::server());
    for _ in 0..2 {
        client.dial(Instant::ZERO, config());
        carry(Instant::ZERO, &mut client, &mut server);
    }
    assert!(server.children[0].outbound.is_some() && server.children[1].outbound.is_none());
}

#[test]
fn the_new_one_is_sent_on_before_the_end_of_the_old_one_is_answered() {
    let (mut client, mut server) = (Node::client(), Node::server());
    let old = client.dial(Instant::ZERO, config());
    carry(Instant::ZERO, &mut client, &mut server);
    client.dial(Instant::ZERO, config());
    carry(Instant::ZERO, &mut client, &mut server);
    client.give(Instant::ZERO, Input::Close { sa: old });
    server.endpoint.handle(Instant::ZERO, arrives(&client.one()));
    let outputs: Vec<_> = std::iter::from_fn(|| server.endpoint.poll()).collect();
    let installs = |o: &Output| matches!(o, Output::Ask { ask: Ask::InstallOutbound { .. }, .. });
    let installed = outputs.iter().position(installs).expect("it carries");
    let answered = outputs.iter().position(|o| matches!(o, Output::Transmit(_))).expect("an answer");
    let closed = outputs.iter().position(|o| matches!(o, Output::Event { event: Event::Closed(_), .. }));
    assert!(installed < answered && Some(installed) < closed, "{installed} {answered} {closed:?}");
}

#[test]
fn both_stay_where_both_may_unless_the_peer_says_that_it_has_no_other() {
    // The other host has never heard of the first one, and says INITIAL_CONTACT.
    let (client, other, _) = again(|| ResponderConfig { uniqueness: Uniqueness::Keep, ..connection() });
    assert!(other.established().is_some() && client.closed().is_some());
    // The same host with a second IKE_SA does not.
    let (mut client, mut server) = (Node::client(), Node::server());
    server.connection = || ResponderConfig { uniqueness: Uniqueness::Keep, ..connection() };
    for _ in 0..2 {
        client.dial(Instant::ZERO, config());
        carry(Instant::ZERO, &mut client, &mut server);
    }
    assert_eq!((client.endpoint.established(), server.endpoint.established()), (2, 2));
}

#[test]
fn the_new_one_is_refused_while_the_old_one_lives() {
    let (client, other, server) =
        again(|| ResponderConfig { uniqueness: Uniqueness::Refuse, ..connection() });
    assert!(client.closed().is_none());
    assert_eq!(other.failure().peer.as_deref(), Some("AUTHENTICATION_FAILED"));
    assert_eq!(server.endpoint.established(), 1);
    agree(&client, &server);
}

#[test]
fn after_its_end_a_peer_is_new_again() {
    let (mut client, mut server) = (Node::client(), Node::server());
    server.connection = || ResponderConfig { uniqueness: Uniqueness::Refuse, ..connection() };
    for n in 1..4 {
        let sa = client.dial(Instant::ZERO, config());
        carry(Instant::ZERO, &mut client, &mut server);
        let ups = server.events.iter().filter(|(_, e)| matches!(e, Event::Established(_))).count();
        assert_eq!(ups, n);
        client.give(Instant::ZERO, Input::Close { sa });
        carry(Instant::ZERO, &mut client, &mut server);
    }
}

fn due(node: &Node) -> usize {
    node.events.iter().filter(|(_, e)| matches!(e, Event::ReauthenticationDue)).count()
}

#[test]
fn time_brings_the_wish_to_prove_oneself_again() {
    let (mut client, mut server) = (Node::client(), Node::server());
    let timing = Timing { reauthenticate: Duration::from_hours(1), ..Timing::default() };
    client.dial(Instant::ZERO, InitiatorConfig { timing, ..config() });
    carry(Instant::ZERO, &mut client, &mut server);
    live(&mut client, &mut server, Instant::ZERO + seconds(54 * 60 - 1));
    assert_eq!(due(&client), 0);
    live(&mut client, &mut server, Instant::ZERO + seconds(60 * 60));
    assert_eq!((due(&client), due(&server)), (1, 0));
    assert!(client.closed().is_none(), "that is the driver's");
}

#[test]
fn rfc_4478_the_server_says_how_long_a_proof_counts() {
    let lifetime = || Payload::Notify(Notify::new(NotifyType::AUTH_LIFETIME, 600_u32.to_be_bytes()));
    for in_auth in [true, false] {
        let mut client = Node::client();
        client.dial(Instant::ZERO, config());
        let (mut peer, answer) = Peer::answer_init(&client.one(), |_| {});
        client.give(Instant::ZERO, answer);
        let answer = peer.answer_auth(&client.one(), |p| p.extend(in_auth.then(lifetime)));
        client.give(Instant::ZERO, answer);
        assert!(client.established().is_some());
        if !in_auth {
            let told = peer.seal(ExchangeType::INFORMATIONAL, 0, false, &[lifetime()]);
            client.give(Instant::ZERO, told);
            assert!(peer.open(&client.one()).payloads.is_empty());
        }
        client.give(Instant::ZERO + seconds(539), Input::Wake);
        assert_eq!(due(&client), 0);
        client.give(Instant::ZERO + seconds(541), Input::Wake);
        assert_eq!(due(&client), 1);
    }
}
