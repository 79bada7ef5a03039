//! An IKE_SA that is up.

use adit_isakmp::payload::{Delete, Notify, NotifyType, Protocol};
use adit_isakmp::{ExchangeType, Message, Payload, PayloadType};

use super::script::Peer;
use super::*;

/// A server that is up with a scripted client, whose next Message ID is 2.
fn server_with_peer() -> (Node, Peer) {
    let mut server = Node::server();
    let mut peer = Peer::dial(&mut server);
    let request = peer.ask_auth(|_| {});
    server.give(Instant::ZERO, request);
    server.one();
    (server, peer)
}

fn ask(
    server: &mut Node,
    peer: &mut Peer,
    exchange: ExchangeType,
    id: u32,
    payloads: &[Payload],
) -> Option<Message> {
    let request = peer.seal(exchange, id, false, payloads);
    server.give(Instant::ZERO, request);
    let sent = server.sent();
    assert!(sent.len() <= 1, "{sent:?}");
    sent.first().map(|t| peer.open(t))
}

fn child_closed(node: &Node) -> Vec<(u32, u32)> {
    node.events
        .iter()
        .filter_map(|(_, e)| match e {
            Event::ChildClosed { inbound_spi, outbound_spi, .. } => Some((*inbound_spi, *outbound_spi)),
            _ => None,
        })
        .collect()
}

// [7296:1.4-2] [7296:1.4.1-1]
#[test]
fn closing_tells_the_peer_and_leaves_nothing() {
    let (mut client, mut server, sa) = up();
    client.give(Instant::ZERO, Input::Close { sa });
    assert!(client.closed().is_none(), "the peer has not answered yet");
    carry(Instant::ZERO, &mut client, &mut server);
    assert_eq!(client.closed(), Some(&Ok(())));
    assert_eq!(server.failure().code, FailureCode::PeerClosed);
    assert_eq!((child_closed(&client).len(), child_closed(&server).len()), (1, 1));
    assert_eq!((client.released(), server.released()), (0, 1));
    assert!(client.endpoint.is_empty() && server.endpoint.is_empty());
}

#[test]
fn the_server_closes_as_well() {
    let (mut client, mut server, _) = up();
    let sa = server.events[0].0;
    server.give(Instant::ZERO, Input::Close { sa });
    carry(Instant::ZERO, &mut client, &mut server);
    assert_eq!(server.closed(), Some(&Ok(())));
    assert_eq!(client.failure().peer.as_deref(), Some("DELETE"));
    assert!(client.endpoint.is_empty() && server.endpoint.is_empty());
}

// [7296:2.3-3]
#[test]
fn both_close_at_once() {
    let (mut client, mut server, sa) = up();
    let theirs = server.events[0].0;
    client.give(Instant::ZERO, Input::Close { sa });
    server.give(Instant::ZERO, Input::Close { sa: theirs });
    carry(Instant::ZERO, &mut client, &mut server);
    assert_eq!((client.closed(), server.closed()), (Some(&Ok(())), Some(&Ok(()))));
    assert!(client.endpoint.is_empty() && server.endpoint.is_empty());
}

#[test]
fn closing_does_not_wait_for_a_peer_that_is_gone() {
    let (mut client, _, sa) = up();
    client.give(Instant::ZERO, Input::Close { sa });
    let mut last = Instant::ZERO;
    while client.closed().is_none() {
        last = client.wake();
    }
    assert_eq!(client.closed(), Some(&Ok(())));
    assert!(last <= Instant::ZERO + seconds(9), "{last:?}");
}

#[test]
fn silence_is_asked_about_and_an_answer_is_enough() {
    let (mut client, mut server, _) = up();
    for _ in 0..5 {
        let at = client.wake().max(Instant::ZERO);
        carry(at, &mut client, &mut server);
    }
    assert!(client.closed().is_none() && server.closed().is_none());
    let (at, why) = client.endpoint.deadline().unwrap();
    assert_eq!(why, Timer::DeadPeer);
    assert!(at >= Instant::ZERO + seconds(150));
}

// [7296:2.1-3] [7296:2.1-6] [7296:2.1-7] [7296:2.2-1] [7296:2.3-6] [7296:2.4-4]
#[test]
fn a_dead_peer_is_given_up_after_the_same_bytes_again_and_again() {
    let (mut client, _, _) = up();
    let mut sent = Vec::new();
    while client.closed().is_none() {
        client.wake();
        sent.extend(client.sent());
    }
    assert_eq!(sent.len(), 6);
    assert!(sent.iter().all(|t| *t == sent[0]));
    let failure = client.failure();
    assert_eq!(failure.code, FailureCode::PeerLost);
    assert!(
        failure.text.starts_with("vpn.example.com at 198.51.100.1:500 has not answered for "),
        "{failure}"
    );
    assert_eq!(child_closed(&client).len(), 1);
    assert!(client.endpoint.is_empty() && client.endpoint.deadline().is_none());
}

// [7296:2.4-4]
#[test]
fn a_peer_that_is_heard_is_asked_again_at_once_and_not_given_up() {
    let (mut client, mut server, _) = up();
    let mut sent = Vec::new();
    let mut now = Instant::ZERO;
    while sent.len() < 6 {
        now = server.wake();
        sent.extend(server.sent());
    }
    // All six got lost. What the peer asks of itself says that it lives, and opens whatever was closed.
    client.rekey(now);
    let asked = client.one();
    server.give(now, arrives(&asked));
    let again = server.sent();
    assert!(again.contains(&sent[0]) && again.len() == 2, "{again:?}");
    // A repetition of it proves nothing, and brings its answer only.
    server.give(now, arrives(&asked));
    assert_ne!(server.one(), sent[0]);
    again.iter().for_each(|t| client.give(now, arrives(t)));
    carry(now, &mut client, &mut server);
    live(&mut client, &mut server, now + seconds(300));
    assert!(client.closed().is_none() && server.closed().is_none());
}

// [7296:2.1-1] [7296:2.1-2] [7296:2.1-4] [7296:2.1-5] [7296:2.3-7] [7296:2.3-8]
#[test]
fn requests_outside_the_window_are_dropped_and_the_last_one_is_answered_again() {
    let (mut server, mut peer) = server_with_peer();
    let request = peer.seal(ExchangeType::INFORMATIONAL, 2, false, &[]);
    let Input::Datagram { path, payload } = request else { panic!() };
    let again = || Input::Datagram { path, payload: payload.clone() };
    server.give(Instant::ZERO, again());
    let answer = server.one();
    server.give(Instant::ZERO, again());
    assert_eq!(server.one(), answer);
    for id in [0, 1, 4, 5, u32::MAX] {
        assert!(ask(&mut server, &mut peer, ExchangeType::INFORMATIONAL, id, &[]).is_none(), "{id}");
    }
    // The same Message ID with other bytes is no retransmission.
    assert!(
        ask(&mut server, &mut peer, ExchangeType::INFORMATIONAL, 2, &[Payload::Delete(Delete::Ike)])
            .is_none()
    );
    assert!(server.closed().is_none());
    assert!(ask(&mut server, &mut peer, ExchangeType::INFORMATIONAL, 3, &[]).is_some());
}

#[test]
fn responses_that_nobody_waits_for_are_dropped() {
    let (mut server, mut peer) = server_with_peer();
    for id in [0, 1, 2] {
        let response = peer.seal(ExchangeType::INFORMATIONAL, id, true, &[Payload::Delete(Delete::Ike)]);
        server.give(Instant::ZERO, response);
    }
    assert!(server.sent().is_empty() && server.closed().is_none());
    assert_eq!(server.endpoint.counters().ignored, 3);
}

// [7296:2.4-3]
#[test]
fn garbage_is_dropped_and_counted() {
    let (mut server, mut peer) = server_with_peer();
    let Input::Datagram { path, payload } = peer.seal(ExchangeType::INFORMATIONAL, 2, false, &[]) else {
        panic!()
    };
    for bit in 28 * 8..payload.len() * 8 {
        let mut changed = payload.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        server.give(Instant::ZERO, Input::Datagram { path, payload: changed });
    }
    assert!(server.sent().is_empty() && server.closed().is_none());
    assert!(server.endpoint.counters().forged > 100);
    server.give(Instant::ZERO, Input::Datagram { path, payload });
    assert_eq!(server.sent().len(), 1);
}

// [7296:1.4-4] [7296:3.10.1-2] [7296:3.10.1-3] [7296:4-5]
#[test]
fn unknown_notices_are_answered_with_nothing() {
    let (mut server, mut peer) = server_with_peer();
    let notices = [
        Payload::Notify(Notify::new(NotifyType(50_000), [1])),
        Payload::Notify(Notify::new(NotifyType(9000), [1])),
        Payload::Delete(Delete::Child { protocol: Protocol::AH, spis: vec![7] }),
        Payload::Delete(Delete::esp(0x7777_7777)),
    ];
    let answer = ask(&mut server, &mut peer, ExchangeType::INFORMATIONAL, 2, &notices).unwrap();
    assert!(answer.payloads.is_empty());
    assert!(server.closed().is_none());
}

// [7296:2.5-8] [7296:2.21.2-1] [7296:2.21.3-1] [7296:4-3]
#[test]
fn a_critical_payload_is_refused_and_the_ike_sa_lives() {
    let (mut server, mut peer) = server_with_peer();
    let critical = [
        Payload::Unknown { kind: PayloadType(203), critical: true, body: vec![] },
        Payload::Delete(Delete::Ike),
    ];
    let answer = ask(&mut server, &mut peer, ExchangeType::INFORMATIONAL, 2, &critical).unwrap();
    assert_eq!(answer.notify(NotifyType::UNSUPPORTED_CRITICAL_PAYLOAD).unwrap().data, [203]);
    assert!(server.closed().is_none());
}

// [7296:1.4.1-1] [7296:1.4.1-2] [7296:1.4.1-3] [7296:1.4-3]
#[test]
fn the_peer_deletes_its_child_and_hears_of_ours() {
    let (mut server, mut peer) = server_with_peer();
    let ours = server.children[0].inbound_spi;
    let delete = [Payload::Delete(Delete::esp(0x0808_0808))];
    let request = peer.seal(ExchangeType::INFORMATIONAL, 2, false, &delete);
    server.give(Instant::ZERO, request);
    let sent = server.sent();
    assert_eq!(peer.open(&sent[0]).payloads, [Payload::Delete(Delete::esp(ours))]);
    assert_eq!(child_closed(&server), [(ours, 0x0808_0808)]);
    // Nothing is left to carry: the IKE_SA goes too.
    assert_eq!(peer.open(&sent[1]).payloads, [Payload::Delete(Delete::Ike)]);
    let done = peer.seal(ExchangeType::INFORMATIONAL, 0, true, &[]);
    server.give(Instant::ZERO, done);
    assert_eq!(server.failure().code, FailureCode::PeerClosed);
    assert_eq!(server.released(), 1);
}

// [7296:1.4.1-4] [7296:1.4.1-5] [7296:2.3-3] [7296:2.4-8]
#[test]
fn we_delete_a_child_and_requests_may_cross() {
    for crosses in [false, true] {
        let (mut server, mut peer) = server_with_peer();
        let (sa, child) = (server.events[0].0, server.children[0].child);
        server.give(Instant::ZERO, Input::CloseChild { sa, child });
        let request = peer.open(&server.one());
        let ours = server.children[0].inbound_spi;
        assert_eq!(request.payloads, [Payload::Delete(Delete::esp(ours))]);
        if crosses {
            let theirs = [Payload::Delete(Delete::esp(0x0808_0808))];
            let answer = ask(&mut server, &mut peer, ExchangeType::INFORMATIONAL, 2, &theirs).unwrap();
            assert!(answer.payloads.is_empty(), "RFC 7296 §1.4.1");
        }
        let done = peer.seal(ExchangeType::INFORMATIONAL, 0, true, &[]);
        server.give(Instant::ZERO, done);
        assert_eq!(child_closed(&server), [(ours, 0x0808_0808)], "once, crossing: {crosses}");
    }
}

// [7296:2.21.3-1] [7296:3.10.1-4]
#[test]
fn invalid_syntax_is_fatal_at_both_ends() {
    let (mut server, mut peer) = server_with_peer();
    let answer = ask(&mut server, &mut peer, ExchangeType(60), 2, &[]).unwrap();
    assert!(answer.notify(NotifyType::INVALID_SYNTAX).is_some());
    assert_eq!(server.failure().code, FailureCode::PeerMisbehaved);

    let (mut server, mut peer) = server_with_peer();
    let notice = [Payload::Notify(Notify::new(NotifyType::INVALID_SYNTAX, []))];
    ask(&mut server, &mut peer, ExchangeType::INFORMATIONAL, 2, &notice).unwrap();
    assert!(server.endpoint.is_empty());
}

/// A client behind a NAT, and its server.
fn behind_nat() -> (Node, Node) {
    let (mut client, mut server) = (Node::client(), Node::server());
    server.connection = || ResponderConfig {
        timing: Timing { dead_peer: seconds(300), ..Timing::default() },
        ..connection()
    };
    client.dial(Instant::ZERO, config());
    through(Instant::ZERO, &mut client, &mut server, 20_000);
    assert!(client.established().unwrap().nat_local);
    (client, server)
}

/// Carries datagrams through a NAT at `port`.
fn through(now: Instant, client: &mut Node, server: &mut Node, port: u16) {
    let outer = SocketAddr::new("203.0.113.9".parse().unwrap(), port);
    loop {
        let (up, down) = (client.sent(), server.sent());
        if up.is_empty() && down.is_empty() {
            return;
        }
        for t in up {
            let path = Path { local: t.path.remote, remote: outer };
            server.give(now, Input::Datagram { path, payload: t.payload });
        }
        for t in down {
            assert_eq!(t.path.remote, outer);
            let local = SocketAddr::new("192.0.2.7".parse().unwrap(), t.path.local.port());
            let path = Path { local, remote: t.path.local };
            client.give(now, Input::Datagram { path, payload: t.payload });
        }
    }
}

#[test]
fn who_is_behind_a_nat_keeps_it_open_with_one_byte() {
    let (mut client, mut server) = behind_nat();
    let (at, why) = client.endpoint.deadline().unwrap();
    assert_eq!((at, why), (Instant::ZERO + seconds(20), Timer::Keepalive));
    client.wake();
    let keepalive = client.one();
    assert_eq!((keepalive.payload.as_slice(), keepalive.path.remote.port()), (&[0xff][..], 4500));
    server.give(at, arrives(&keepalive));
    assert!(server.sent().is_empty());
    // The one without a NAT in front sends none.
    assert_eq!(server.endpoint.deadline().unwrap().1, Timer::DeadPeer);
}

// [7296:2.11-1] [7296:2.23-1]
#[test]
fn a_client_whose_nat_has_moved_is_followed_when_it_has_proven_itself() {
    let (mut client, mut server) = behind_nat();
    // Keepalive at 20 s, liveness at 30 s.
    client.wake();
    client.sent();
    let at = client.wake();
    let request = client.one();
    // A replay of what was answered before, and a forgery, move nothing.
    let elsewhere = Path { local: request.path.remote, remote: "192.0.2.66:4500".parse().unwrap() };
    let mut forged = request.payload.clone();
    *forged.last_mut().unwrap() ^= 1;
    server.give(at, Input::Datagram { path: elsewhere, payload: forged });
    assert!(server.sent().is_empty());
    client.sent.push(request.clone());
    through(at, &mut client, &mut server, 30_000);
    let moved: Vec<Path> = server
        .events
        .iter()
        .filter_map(|(_, e)| if let Event::PathChanged { path, .. } = e { Some(*path) } else { None })
        .collect();
    assert_eq!(moved.len(), 1);
    assert_eq!(moved[0].remote, "203.0.113.9:30000".parse().unwrap());
    // The replay is answered to where it came from, and moves nothing.
    server.give(at, Input::Datagram { path: elsewhere, payload: request.payload });
    assert_eq!(server.one().path.remote, elsewhere.remote);
    let moves = server.events.iter().filter(|(_, e)| matches!(e, Event::PathChanged { .. })).count();
    assert_eq!(moves, 1);
}

#[test]
fn what_comes_after_the_end_is_answered_once_more_and_then_no_more() {
    let (mut server, mut peer) = server_with_peer();
    let request = peer.seal(ExchangeType::INFORMATIONAL, 2, false, &[Payload::Delete(Delete::Ike)]);
    let Input::Datagram { path, payload } = request else { panic!() };
    let again = || Input::Datagram { path, payload: payload.clone() };
    server.give(Instant::ZERO, again());
    let answer = server.one();
    assert!(server.endpoint.is_empty());
    server.give(Instant::ZERO, again());
    assert_eq!(server.one(), answer);
    let at = server.wake();
    server.give(at, again());
    assert!(server.sent().is_empty());
}

#[test]
fn late_answers_and_inputs_for_what_is_gone_are_ignored() {
    let (mut client, _, sa) = up();
    client.give(Instant::ZERO, Input::Close { sa });
    while client.closed().is_none() {
        client.wake();
    }
    let events = client.events.len();
    client.give(Instant::ZERO, Input::Close { sa });
    client.give(Instant::ZERO, Input::Answer { id: AskId(sa.0), answer: Answer::Spi(Ok(1)) });
    client.give(Instant::ZERO, Input::Answer { id: AskId(u64::MAX), answer: Answer::Installed(Ok(())) });
    assert_eq!(client.events.len(), events);
}

fn moves(node: &Node) -> Vec<SocketAddr> {
    let moved = |(_, e): &(SaId, Event)| {
        if let Event::PathChanged { path, .. } = e { Some(path.remote) } else { None }
    };
    node.events.iter().filter_map(moved).collect()
}

#[test]
fn esp_of_a_client_whose_nat_has_moved_is_followed() {
    let (mut client, mut server) = behind_nat();
    let sa = server.events[0].0;
    let remote = "203.0.113.9:30000".parse().unwrap();
    for _ in 0..2 {
        server.give(Instant::ZERO, Input::Mapping { sa, remote });
    }
    assert_eq!(moves(&server), [remote]);
    // Who is behind the NAT itself dials what it dialled.
    let sa = client.events[0].0;
    client.give(Instant::ZERO, Input::Mapping { sa, remote });
    assert_eq!(moves(&client), []);
    // A response from there is followed as well (RFC 7296 §2.23).
    server.rekey(Instant::ZERO + seconds(1));
    let request = server.one();
    assert_eq!(request.path.remote, remote);
    let local = SocketAddr::new("192.0.2.7".parse().unwrap(), 4500);
    let path = Path { local, remote: request.path.local };
    client.give(Instant::ZERO, Input::Datagram { path, payload: request.payload });
    let response = client.one();
    let newer = "203.0.113.9:30001".parse().unwrap();
    let path = Path { local: response.path.remote, remote: newer };
    server.give(Instant::ZERO + seconds(1), Input::Datagram { path, payload: response.payload });
    assert_eq!(moves(&server), [remote, newer]);
}

#[test]
fn a_response_from_before_a_move_moves_nothing_back() {
    let (mut client, mut server) = behind_nat();
    server.rekey(Instant::ZERO + seconds(1));
    let request = server.one();
    let local = SocketAddr::new("192.0.2.7".parse().unwrap(), 4500);
    let path = Path { local, remote: request.path.local };
    client.give(Instant::ZERO, Input::Datagram { path, payload: request.payload });
    let late = client.one();
    // Meanwhile it has moved, and ESP has shown that.
    let remote = "203.0.113.9:30000".parse().unwrap();
    let sa = server.events[0].0;
    server.give(Instant::ZERO + seconds(2), Input::Mapping { sa, remote });
    let before = Path { local: late.path.remote, remote: "203.0.113.9:20000".parse().unwrap() };
    server.give(Instant::ZERO + seconds(3), Input::Datagram { path: before, payload: late.payload });
    assert_eq!(server.children.len(), 2, "the response itself counts");
    assert_eq!(moves(&server), [remote]);
}
