//! A responder against clients that mean it badly, with and without the keys of the IKE_SA.

use adit_isakmp::payload::{AuthMethod, Authentication, Identification, Notify, NotifyType};
use adit_isakmp::proposal::offer_esp;
use adit_isakmp::{ExchangeType, Message, Payload, PayloadType};

use super::script::Peer;
use super::*;
use crate::state::Role;

/// What a server says to this IKE_AUTH.
fn asked(edit: impl FnOnce(&mut Vec<Payload>)) -> (Node, Peer, Message) {
    let mut server = Node::server();
    let mut peer = Peer::dial(&mut server);
    let request = peer.ask_auth(edit);
    server.give(Instant::ZERO, request);
    let answer = peer.open(&server.one());
    (server, peer, answer)
}

fn told(message: &Message) -> Vec<NotifyType> {
    message.notifies().map(|n| n.kind).collect()
}

#[test]
fn the_script_itself_gets_in() {
    let (server, _, answer) = asked(|_| {});
    assert!(server.established().is_some());
    let kinds: Vec<u8> = answer.payloads.iter().map(|p| p.kind().0).collect();
    assert_eq!(kinds, [36, 39, 47, 33, 44, 45]);
}

// [7296:1.2-2]
#[test]
fn a_wrong_proof_is_told_nothing_but_that() {
    for data in [vec![0; 32], vec![], vec![7; 31], vec![7; 100]] {
        let auth = Authentication { method: AuthMethod::SHARED_KEY, data };
        let (server, _, answer) = asked(|p| p[1] = Payload::Auth(auth));
        assert_eq!(told(&answer), [NotifyType::AUTHENTICATION_FAILED]);
        assert_eq!(answer.payloads.len(), 1);
        assert!(server.children.is_empty() && server.endpoint.is_empty());
        assert_eq!(server.asked, ["Encapsulate", "Connection", "Psk"]);
    }
}

// [7296:4-10]
#[test]
fn other_methods_than_the_connection_has_are_refused() {
    for method in [AuthMethod::RSA_SIGNATURE, AuthMethod::NULL, AuthMethod::DIGITAL_SIGNATURE, AuthMethod(99)]
    {
        let auth = Authentication { method, data: vec![1; 64] };
        let (server, _, answer) = asked(|p| p[1] = Payload::Auth(auth));
        assert_eq!(told(&answer), [NotifyType::AUTHENTICATION_FAILED]);
        assert!(server.endpoint.is_empty());
    }
}

#[test]
fn the_work_is_what_the_proof_needs_whatever_the_connection_wants() {
    let mut server = Node::server();
    server.connection = || {
        let (local_auth, remote_auth) = by_certificate(b"server cert", &[SignatureScheme::Ed25519]);
        ResponderConfig { local_auth, remote_auth, ..connection() }
    };
    let mut peer = Peer::dial(&mut server);
    // Its key is right, and a key is not what is wanted.
    let input = peer.ask_auth(|_| {});
    server.give(Instant::ZERO, input);
    let answer = peer.open(&server.one());
    assert_eq!(told(&answer), [NotifyType::AUTHENTICATION_FAILED]);
    assert_eq!(server.asked, ["Encapsulate", "Connection", "Psk"]);
    assert!(server.established().is_none() && server.endpoint.is_empty());
}

#[test]
fn eap_is_refused_and_named() {
    let (server, _, answer) = asked(|p| drop(p.remove(1)));
    assert_eq!(told(&answer), [NotifyType::AUTHENTICATION_FAILED]);
    assert!(server.failure().text.contains("EAP"), "{}", server.failure());
}

#[test]
fn an_identity_of_an_unknown_type_is_refused() {
    let (server, _, answer) = asked(|p| {
        p[0] = Payload::IdI(Identification { id_type: 203, reserved: [0; 3], data: vec![1, 2, 3] });
    });
    assert_eq!(told(&answer), [NotifyType::AUTHENTICATION_FAILED]);
    assert!(server.endpoint.is_empty());
}

// [7296:3.5-2]
#[test]
fn an_id_is_proven_as_it_was_sent_with_its_reserved_bytes() {
    let mut server = Node::server();
    let mut peer = Peer::dial(&mut server);
    let body = [&[3, 1, 2, 3][..], b"ann@example.com"].concat();
    let auth = peer.auth_over(Role::Initiator, &body);
    let request = peer.ask_auth(|p| {
        p[0] = Payload::Unknown { kind: PayloadType::ID_I, critical: false, body };
        p[1] = auth;
    });
    server.give(Instant::ZERO, request);
    assert_eq!(server.established().expect("up").remote_id, name("ann@example.com"));
}

// [7296:2.21.2-1] [7296:3.10.1-4]
#[test]
fn malformed_requests_end_in_invalid_syntax() {
    for index in [0, 3, 4, 5] {
        for twice in [false, true] {
            let (server, _, answer) = asked(|p| {
                if twice {
                    p.insert(index, p[index].clone());
                } else {
                    p.remove(index);
                }
            });
            assert_eq!(told(&answer), [NotifyType::INVALID_SYNTAX], "{index} {twice}");
            assert!(server.children.is_empty() && server.endpoint.is_empty());
            assert_eq!(server.failure().code, FailureCode::PeerMisbehaved);
        }
    }
    let (server, _, answer) = asked(|p| p.insert(1, p[1].clone()));
    assert_eq!(told(&answer), [NotifyType::INVALID_SYNTAX]);
    assert!(server.endpoint.is_empty());
}

// [7296:2.5-8] [7296:2.21.2-1] [7296:4-3]
#[test]
fn a_critical_payload_is_named_in_the_refusal() {
    let (server, _, answer) = asked(|p| {
        p.push(Payload::Unknown { kind: PayloadType(201), critical: true, body: vec![] });
    });
    let notify = answer.notify(NotifyType::UNSUPPORTED_CRITICAL_PAYLOAD).unwrap();
    assert_eq!(notify.data, [201]);
    assert!(server.endpoint.is_empty());
}

#[test]
fn a_child_that_cannot_be_had_leaves_an_ike_sa_that_goes_by_itself() {
    let (mut server, mut peer, answer) = asked(|p| {
        p[5] = Payload::TsR([ts("::/0")].into_iter().collect());
        p[4] = Payload::TsI([ts("172.16.0.0/12")].into_iter().collect());
    });
    assert_eq!(told(&answer), [NotifyType::TS_UNACCEPTABLE]);
    assert!(answer.payloads.iter().any(|p| matches!(p, Payload::Auth(_))));
    assert_eq!(server.released(), 1);
    assert!(server.established().is_none() && server.children.is_empty());
    assert_eq!(server.endpoint.len(), 1);
    let at = server.wake();
    assert_eq!(at, Instant::ZERO + Timing::default().half_open);
    let delete = peer.open(&server.one());
    assert!(matches!(delete.payloads[..], [Payload::Delete(_)]));
    let done = peer.seal(ExchangeType::INFORMATIONAL, 0, true, &[]);
    server.give(at, done);
    assert!(server.endpoint.is_empty());
    assert_eq!(server.failure().code, FailureCode::TrafficSelectors);
}

#[test]
fn esp_that_is_not_allowed_is_not_chosen() {
    for offer in ["aes128gcm16", "aes256-sha1", "chacha20poly1305"] {
        let Ok(offer) = offer.parse() else { continue };
        let (server, _, answer) = asked(|p| p[3] = Payload::Sa(offer_esp(&[offer], 0x0808_0808, false)));
        assert_eq!(told(&answer), [NotifyType::NO_PROPOSAL_CHOSEN]);
        assert!(!server.asked.iter().any(|a| a == "Lease"));
    }
}

#[test]
fn who_gets_a_changed_message_is_not_up() {
    for message in 0..4 {
        let mut bit = 0;
        loop {
            let (client, server, length) = with_a_bit_turned(message, bit);
            let receiver = if message % 2 == 0 { &server } else { &client };
            assert!(receiver.established().is_none(), "message {message}, bit {bit}");
            // A client is not up either where the server is not.
            assert!(client.established().is_none(), "message {message}, bit {bit}");
            bit += 5;
            if bit >= length {
                break;
            }
        }
    }
}

/// The handshake with one bit of one message turned over on the way, and how many bits that message has.
fn with_a_bit_turned(message: usize, bit: usize) -> (Node, Node, usize) {
    let (mut client, mut server) = (Node::client(), Node::server());
    client.dial(Instant::ZERO, config());
    let mut length = 0;
    for step in 0..4 {
        let (from, to) = if step % 2 == 0 { (&mut client, &mut server) } else { (&mut server, &mut client) };
        let Some(mut transmit) = from.sent().into_iter().next() else { break };
        if step == message {
            length = transmit.payload.len() * 8;
            transmit.payload[bit / 8] ^= 1 << (bit % 8);
        }
        to.give(Instant::ZERO, arrives(&transmit));
    }
    (client, server, length)
}

#[test]
fn our_own_messages_sent_back_to_us_do_nothing() {
    let (mut client, mut server) = (Node::client(), Node::server());
    client.dial(Instant::ZERO, config());
    for step in 0..4 {
        let (from, to) = if step % 2 == 0 { (&mut client, &mut server) } else { (&mut server, &mut client) };
        let transmit = from.one();
        let events = from.events.len();
        let asked = from.asked.len();
        // As it is, and with both role flags turned.
        for flags in [0, 0x08, 0x20, 0x28] {
            let mut back = transmit.clone();
            back.payload[19] ^= flags;
            from.give(Instant::ZERO, Input::Datagram { path: transmit.path, payload: back.payload });
        }
        if !(step == 1 || step == 3) {
            assert!(from.sent().is_empty(), "step {step}");
        }
        from.sent();
        assert_eq!((from.events.len(), from.asked.len()), (events, asked), "step {step}");
        to.give(Instant::ZERO, arrives(&transmit));
    }
    assert!(client.established().is_some() && server.established().is_some());
}

#[test]
fn first_messages_that_are_no_good_cost_nothing() {
    let mut client = Node::client();
    client.dial(Instant::ZERO, config());
    let good = client.one();
    let message = Message::parse(&good.payload).unwrap();
    let mut server = Node::server();
    for index in 0..3 {
        for twice in [false, true] {
            let mut bad = message.clone();
            if twice {
                bad.payloads.insert(index, bad.payloads[index].clone());
            } else {
                bad.payloads.remove(index);
            }
            let payload = bad.emit().unwrap();
            server.give(Instant::ZERO, arrives(&Transmit { path: good.path, payload }));
        }
    }
    for length in 0..good.payload.len() {
        let payload = good.payload[..length].to_vec();
        server.give(Instant::ZERO, arrives(&Transmit { path: good.path, payload }));
    }
    assert!(server.sent().is_empty() && server.asked.is_empty() && server.endpoint.is_empty());
}

// [7296:2.5-2] [7296:3.1-6] [7296:2.5-8] [7296:3.1-10]
#[test]
fn unprotected_answers_say_what_is_wrong_and_keep_nothing() {
    let mut client = Node::client();
    client.dial(
        Instant::ZERO,
        InitiatorConfig { ike: vec!["aes128gcm16-prfsha256-x25519".parse().unwrap()], ..config() },
    );
    let first = client.one();
    let mut server = Node::server();
    server.give(Instant::ZERO, arrives(&first));
    let answer = Message::parse(&server.one().payload).unwrap();
    assert_eq!(told(&answer), [NotifyType::NO_PROPOSAL_CHOSEN]);

    let mut critical = Message::parse(&first.payload).unwrap();
    critical.payloads.push(Payload::Unknown { kind: PayloadType(202), critical: true, body: vec![] });
    let payload = critical.emit().unwrap();
    server.give(Instant::ZERO, arrives(&Transmit { path: first.path, payload }));
    let answer = Message::parse(&server.one().payload).unwrap();
    assert_eq!(answer.notify(NotifyType::UNSUPPORTED_CRITICAL_PAYLOAD).unwrap().data, [202]);

    let mut later = first.clone();
    later.payload[17] = 0x30;
    server.give(Instant::ZERO, arrives(&later));
    let answer = Message::parse(&server.one().payload).unwrap();
    assert_eq!(told(&answer), [NotifyType::INVALID_MAJOR_VERSION]);
    assert!(server.endpoint.is_empty());
}

// [7296:3.10.1-2] [7296:3.10.1-3]
#[test]
fn errors_in_a_request_do_not_let_anybody_in_or_out() {
    let (server, _, _) = asked(|p| {
        p.push(Payload::Notify(Notify::new(NotifyType::USE_TRANSPORT_MODE, [])));
        p.push(Payload::Notify(Notify::new(NotifyType::ESP_TFC_PADDING_NOT_SUPPORTED, [])));
        p.push(Payload::Notify(Notify::new(NotifyType::NON_FIRST_FRAGMENTS_ALSO, [])));
        p.push(Payload::Notify(Notify::new(NotifyType(40_999), [1, 2, 3])));
        p.push(Payload::Notify(Notify::new(NotifyType::MOBIKE_SUPPORTED, [])));
    });
    assert!(server.established().is_some());
}
