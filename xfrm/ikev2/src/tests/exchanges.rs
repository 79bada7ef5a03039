//! Which exchange may come when, what is answered, and what unprotected messages can do: nothing.

use adit_isakmp::payload::{Delete, Notify, NotifyType};
use adit_isakmp::{ExchangeType, Flags, Header, Message, Payload, VERSION_2};

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

fn child_closed(node: &Node) -> usize {
    node.events.iter().filter(|(_, e)| matches!(e, Event::ChildClosed { .. })).count()
}

// [7296:1-1] [7296:1.4-1]
#[test]
fn nothing_comes_before_its_exchange() {
    let mut server = Node::server();
    let mut peer = Peer::dial(&mut server);
    for exchange in [ExchangeType::INFORMATIONAL, ExchangeType::CREATE_CHILD_SA, ExchangeType(50)] {
        for id in [0, 1, 2] {
            let early = peer.seal(exchange, id, false, &[Payload::Delete(Delete::Ike)]);
            server.give(Instant::ZERO, early);
        }
    }
    let wrong_id = peer.seal(ExchangeType::IKE_AUTH, 2, false, &[]);
    server.give(Instant::ZERO, wrong_id);
    assert!(server.sent().is_empty() && server.closed().is_none());
    let request = peer.ask_auth(|_| {});
    server.give(Instant::ZERO, request);
    assert!(server.established().is_some());

    let mut client = Node::client();
    client.dial(Instant::ZERO, config());
    let (mut peer, answer) = Peer::answer_init(&client.one(), |_| {});
    client.give(Instant::ZERO, answer);
    let request = client.one();
    for id in [0, 1] {
        let early = peer.seal(ExchangeType::INFORMATIONAL, id, false, &[Payload::Delete(Delete::Ike)]);
        client.give(Instant::ZERO, early);
    }
    assert!(client.sent().is_empty() && client.closed().is_none());
    let answer = peer.answer_auth(&request, |_| {});
    client.give(Instant::ZERO, answer);
    assert!(client.established().is_some());
}

// [7296:1.4-1]
#[test]
fn an_informational_in_clear_is_none() {
    let (mut server, peer) = server_with_peer();
    let header = Header {
        initiator_spi: peer.hs.channel.spi_i,
        responder_spi: peer.hs.channel.spi_r,
        version: VERSION_2,
        exchange: ExchangeType::INFORMATIONAL,
        flags: Flags::of(true, false),
        message_id: 2,
    };
    let payload = Message { header, payloads: vec![Payload::Delete(Delete::Ike)] }.emit().unwrap();
    server.give(Instant::ZERO, arrives(&Transmit { path: peer.path, payload }));
    assert!(server.sent().is_empty() && server.closed().is_none());
}

// [7296:2.3-2] [7296:2.3-4] [7296:2.3-3] [7296:1.4-4] [7296:4-5] [7296:1.4-2]
#[test]
fn a_second_request_waits_for_the_first_answer_and_the_peers_does_not() {
    let (mut server, mut peer) = server_with_peer();
    let (sa, child) = (server.events[0].0, server.children[0].child);
    server.give(Instant::ZERO, Input::CloseChild { sa, child });
    let first = peer.open(&server.one());
    assert_eq!(first.header.message_id, 0);
    server.give(Instant::ZERO, Input::Close { sa });
    assert!(server.sent().is_empty(), "the window is 1");
    // The peer's own request is answered meanwhile.
    let alive = peer.seal(ExchangeType::INFORMATIONAL, 2, false, &[]);
    server.give(Instant::ZERO, alive);
    let answer = peer.open(&server.one());
    assert!(answer.header.flags.response() && answer.payloads.is_empty());
    let done = peer.seal(ExchangeType::INFORMATIONAL, 0, true, &[]);
    server.give(Instant::ZERO, done);
    let second = peer.open(&server.one());
    assert_eq!((second.header.message_id, &second.payloads[..]), (1, &[Payload::Delete(Delete::Ike)][..]));
}

// [7296:1.5-1] [7296:2.21.4-1] [7296:2.21.4-4] [7296:3.1-11] [7296:2.4-3]
#[test]
fn messages_in_clear_are_not_answered_and_change_nothing() {
    let (mut server, mut peer) = server_with_peer();
    let ours = (peer.hs.channel.spi_i, peer.hs.channel.spi_r);
    let notices = [NotifyType::INVALID_IKE_SPI, NotifyType::INVALID_SPI, NotifyType::AUTHENTICATION_FAILED];
    for (spi_i, spi_r) in [ours, (ours.0, 0x7777), (0x7777, ours.1), (0x7777, 0x7778)] {
        for flags in [0, 0x08, 0x20, 0x28] {
            for kind in notices {
                let header = Header {
                    initiator_spi: spi_i,
                    responder_spi: spi_r,
                    version: VERSION_2,
                    exchange: ExchangeType::INFORMATIONAL,
                    flags: Flags(flags),
                    message_id: 2,
                };
                let payloads = vec![Payload::Notify(Notify::new(kind, []))];
                let payload = Message { header, payloads }.emit().unwrap();
                server.give(Instant::ZERO, arrives(&Transmit { path: peer.path, payload }));
            }
        }
    }
    assert!(server.sent().is_empty() && server.closed().is_none() && child_closed(&server) == 0);
    let alive = peer.seal(ExchangeType::INFORMATIONAL, 2, false, &[]);
    server.give(Instant::ZERO, alive);
    assert_eq!(server.sent().len(), 1);
}

// [7296:1.5-1] [7296:2.21.4-1] [7296:3.1-11]
#[test]
fn a_response_to_nothing_begins_nothing() {
    let mut client = Node::client();
    client.dial(Instant::ZERO, config());
    let mut first = client.one();
    for flags in [0x20, 0x28] {
        first.payload[19] = flags;
        let mut server = Node::server();
        server.give(Instant::ZERO, arrives(&first));
        assert!(server.sent().is_empty() && server.endpoint.is_empty());
        first.payload[17] = 0x30;
        server.give(Instant::ZERO, arrives(&first));
        assert!(server.sent().is_empty(), "not even of a later version");
        first.payload[17] = 0x20;
    }
}

// [7296:2.21.4-5]
#[test]
fn invalid_spi_closes_nothing() {
    let (mut server, mut peer) = server_with_peer();
    let spi = server.children[0].outbound_spi;
    let notice = Payload::Notify(Notify::new(NotifyType::INVALID_SPI, spi.to_be_bytes()));
    let request = peer.seal(ExchangeType::INFORMATIONAL, 2, false, &[notice]);
    server.give(Instant::ZERO, request);
    assert!(peer.open(&server.one()).payloads.is_empty());
    assert!(server.closed().is_none() && child_closed(&server) == 0);
}

// [7296:1.4.1-6] [7296:2.4-8] [7296:1.4.1-2] [7296:1.4-3]
#[test]
fn a_child_that_is_being_deleted_stays_until_the_answer() {
    let (mut server, mut peer) = server_with_peer();
    let (sa, child) = (server.events[0].0, server.children[0].child);
    let ours = server.children[0].inbound_spi;
    server.give(Instant::ZERO, Input::CloseChild { sa, child });
    let request = peer.open(&server.one());
    assert_eq!(request.payloads, [Payload::Delete(Delete::esp(ours))]);
    assert_eq!(child_closed(&server), 0);
    let done = peer.seal(ExchangeType::INFORMATIONAL, 0, true, &[Payload::Delete(Delete::esp(0x0808_0808))]);
    server.give(Instant::ZERO, done);
    assert_eq!(child_closed(&server), 1);
}

// [7296:2.8-4]
#[test]
fn the_response_waits_until_we_receive() {
    let mut server = Node::server();
    server.silent = "Install";
    let mut peer = Peer::dial(&mut server);
    let request = peer.ask_auth(|_| {});
    server.give(Instant::ZERO, request);
    assert_eq!(server.asked.last().map(String::as_str), Some("Install"));
    assert!(server.sent().is_empty());
}

// [7296:2.9-1]
#[test]
fn narrowing_keeps_the_first_selectors_of_the_initiator() {
    let mut server = Node::server();
    server.connection = || ResponderConfig {
        addresses: false,
        local_ts: vec![ts("10.1.0.0/16"), ts("10.7.0.0/16")],
        remote_ts: vec![ts("10.2.0.0/16"), ts("10.3.0.0/16")],
        ..connection()
    };
    let mut peer = Peer::dial(&mut server);
    let request = peer.ask_auth(|p| {
        p[4] = Payload::TsI([ts("10.3.9.0/24"), ts("10.0.0.0/8")].into_iter().collect());
        p[5] = Payload::TsR([ts("10.7.7.7/32"), ts("0.0.0.0/0")].into_iter().collect());
    });
    server.give(Instant::ZERO, request);
    let answer = peer.open(&server.one());
    let covered = |wanted| {
        answer.payloads.iter().any(|p| match p {
            Payload::TsI(list) | Payload::TsR(list) => list.ranges().any(|t| t.covers(wanted)),
            _ => false,
        })
    };
    assert!(covered(ts("10.3.9.0/24")) && covered(ts("10.7.7.7/32")), "{answer:?}");
    assert!(!covered(ts("10.4.0.0/16")));
}

// [7296:2.23-2] [7296:2.23-3] [7296:2.23-8] [7296:2.23-5]
#[test]
fn behind_a_nat_nothing_more_comes_from_port_500() {
    for forced in [false, true] {
        let mut client = Node::client();
        let sa = client.dial(Instant::ZERO, InitiatorConfig { force_encapsulation: forced, ..config() });
        let (mut peer, answer) = Peer::answer_init(&client.one(), |payloads| {
            for payload in payloads {
                if let Payload::Notify(n) = payload
                    && n.kind == NotifyType::NAT_DETECTION_DESTINATION_IP
                    && !forced
                {
                    n.data = vec![0; 20];
                }
            }
        });
        client.give(Instant::ZERO, answer);
        let request = client.one();
        peer.path.remote.set_port(4500);
        peer.path.local.set_port(4500);
        let answer = peer.answer_auth(&request, |_| {});
        client.give(Instant::ZERO, answer);
        client.give(Instant::ZERO, Input::Close { sa });
        for t in [request, client.one()] {
            assert_eq!((t.path.local.port(), t.path.remote.port()), (4500, 4500));
        }
        let child = &client.children[0];
        assert!(child.encapsulated);
        assert_eq!((child.path.local.port(), child.path.remote.port()), (4500, 4500));
    }
}
