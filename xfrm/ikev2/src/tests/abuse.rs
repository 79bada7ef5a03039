//! What datagrams can do whose senders have proven nothing, not even where they are.

use adit_isakmp::payload::{KeyExchangeData, NotifyType};
use adit_isakmp::{KeMethod, Message, Payload};

use super::script::init_error;
use super::*;

/// The first message of a client of its own at `address`.
fn first(seed: u64, address: &str) -> Transmit {
    let mut client = Node::new(address, seed, None);
    let mut config = config();
    config.path.local = address.parse().unwrap();
    client.dial(Instant::ZERO, config);
    client.one()
}

fn edited(first: &Transmit, edit: impl FnOnce(&mut Message)) -> Transmit {
    let mut message = Message::parse(&first.payload).unwrap();
    edit(&mut message);
    Transmit { path: first.path, payload: message.emit().unwrap() }
}

/// A server that asks everybody for a cookie.
fn suspicious() -> Node {
    let mut server = Node::server();
    server.endpoint.set_responder(Some(ResponderDefaults { cookie_threshold: 0, ..defaults() }));
    server
}

#[test]
fn bad_public_values_count_like_any_first_message() {
    let mut server = Node::server();
    for n in 0..40 {
        let good = first(100 + n, &format!("192.0.2.{}:500", n + 10));
        let bad = edited(&good, |m| {
            for payload in &mut m.payloads {
                if let Payload::Ke(ke) = payload {
                    *ke = KeyExchangeData::new(KeMethod::Curve25519, vec![0; 32]);
                }
            }
        });
        server.give(Instant::ZERO, arrives(&bad));
    }
    // From the threshold on whoever wants us to compute has to receive at its address.
    assert_eq!(server.asked.len(), 10);
    assert_eq!(server.endpoint.counters().cookies, 30);
    assert_eq!(server.events.iter().filter(|(_, e)| matches!(e, Event::Closed(Err(_)))).count(), 10);
    while server.endpoint.half_open() > 0 {
        server.wake();
    }
    assert!(server.endpoint.is_empty());
    assert_eq!(server.events.iter().filter(|(_, e)| matches!(e, Event::Closed(_))).count(), 10);
}

// [7296:2.4-5] [7296:2.1-1]
#[test]
fn a_first_message_is_answered_a_few_times_only() {
    let mut server = Node::server();
    let first = first(100, CLIENT);
    for _ in 0..1000 {
        server.give(Instant::ZERO, arrives(&first));
    }
    assert!((6..=12).contains(&server.sent().len()));
    assert_eq!(server.endpoint.half_open(), 1);
}

#[test]
fn who_speaks_in_somebodys_name_does_not_keep_it_out() {
    let mut server = Node::server();
    for n in 0..20 {
        server.give(Instant::ZERO, arrives(&first(100 + n, CLIENT)));
    }
    server.sent();
    let mut client = Node::client();
    client.dial(Instant::ZERO, config());
    carry(Instant::ZERO, &mut client, &mut server);
    assert!(client.established().is_some());
}

#[test]
fn no_answer_in_clear_is_longer_than_its_question() {
    let first = first(100, CLIENT);
    let header = |version: u8| {
        let mut bytes = first.payload[..28].to_vec();
        bytes[16] = 0;
        bytes[17] = version;
        bytes[24..28].copy_from_slice(&28_u32.to_be_bytes());
        bytes
    };
    let nonce_only = edited(&first, |m| m.payloads.retain(|p| matches!(p, Payload::Nonce(_)))).payload;
    let critical_only = edited(&first, |m| {
        let kind = adit_isakmp::PayloadType(201);
        m.payloads = vec![Payload::Unknown { kind, critical: true, body: Vec::new() }];
    });
    for payload in [header(0x30), nonce_only, critical_only.payload] {
        for mut server in [Node::server(), suspicious()] {
            server.give(Instant::ZERO, arrives(&Transmit { path: first.path, payload: payload.clone() }));
            let longer = server.sent().iter().any(|t| t.payload.len() > payload.len());
            assert!(!longer, "{} bytes", payload.len());
        }
    }
}

#[test]
fn a_first_message_that_is_larger_than_any_is_not_kept() {
    let mut server = Node::server();
    let first = first(100, CLIENT);
    let large = edited(&first, |m| m.payloads.push(Payload::Vendor(vec![0; 20_000])));
    server.give(Instant::ZERO, arrives(&large));
    assert_eq!((server.endpoint.half_open(), server.asked.len()), (0, 0));
    assert!(server.sent().is_empty());
    server.give(Instant::ZERO, arrives(&edited(&first, |m| m.payloads.push(Payload::Vendor(vec![0; 2000])))));
    assert_eq!(server.endpoint.half_open(), 1);
}

// [7296:2.6-3]
#[test]
fn with_a_cookie_in_front_the_message_is_the_same() {
    let mut client = Node::client();
    client.dial(Instant::ZERO, InitiatorConfig { force_encapsulation: true, ..config() });
    let before = client.one();
    let cookie = adit_isakmp::payload::Notify::new(NotifyType::COOKIE, [7; 32]);
    client.give(Instant::ZERO, init_error(&before, cookie));
    let after = Message::parse(&client.one().payload).unwrap();
    assert_eq!(after.payloads[1..], Message::parse(&before.payload).unwrap().payloads);
}

#[test]
fn the_longest_times_are_no_overflow() {
    let timing = Timing { retransmit: Duration::MAX, ..Timing::default() };
    let mut client = Node::client();
    let sa = client.dial(Instant::ZERO, InitiatorConfig { timing, ..config() });
    client.give(Instant::ZERO, Input::Close { sa });
    assert!(client.endpoint.is_empty());
}
