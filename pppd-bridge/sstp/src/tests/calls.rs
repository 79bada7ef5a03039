use core::time::Duration;

use adit_core::{FailureCode, Instant};

use super::pair::{CONTROL, DATA, End, Pair, client, keys, server};
use crate::binding::{CertificateHashes, HashProtocol};
use crate::wire::{Message, Packet, Status, StatusInfo, attribute, next};
use crate::{Event, Input, Timer};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

fn messages(end: &End) -> Vec<Message> {
    let sent: Vec<u8> = end.sent.iter().copied().collect();
    let (mut at, mut all) = (0, Vec::new());
    while let Ok(Some((packet, length))) = next(&sent[at..]) {
        if let Packet::Control(packet) = packet {
            all.push(Message::parse(packet).unwrap());
        }
        at += length;
    }
    all
}

fn code(end: &End) -> Option<FailureCode> {
    end.closed.clone()?.err().map(|why| why.code)
}

#[test]
fn a_call_comes_up_and_packets_pass_only_then() {
    let mut pair = Pair::link_up();
    let host = Some("vpn.example.com".into());
    assert!(pair.server.events.iter().any(|e| matches!(e, Event::Peer { host: h, .. } if *h == host)));
    for frame in [DATA, CONTROL] {
        pair.client.tell(pair.now, Input::Frame(frame));
        pair.server.tell(pair.now, Input::Frame(frame));
    }
    pair.settle();
    assert_eq!(pair.client.frames, [CONTROL], "a packet of the network does not pass");
    assert_eq!(pair.server.frames, [CONTROL]);
    pair.server.tell(pair.now, Input::Authenticated(keys(1)));
    pair.client.tell(pair.now, Input::Authenticated(keys(1)));
    assert!(pair.client.is_bound() && !pair.server.is_bound());
    // Before the server has heard of it, nothing passes there.
    pair.server.tell(pair.now, Input::Frame(DATA));
    assert!(pair.server.sent.is_empty());
    pair.settle();
    assert_eq!(pair.server.events.last(), Some(&Event::Bound(HashProtocol::Sha256)));
    pair.server.tell(pair.now, Input::Frame(DATA));
    pair.client.tell(pair.now, Input::Frame(DATA));
    pair.settle();
    assert_eq!(pair.client.frames, [CONTROL, DATA]);
    assert_eq!(pair.server.frames, [CONTROL, DATA]);
}

/// Who sends packets of the network before they may pass sends them to nobody.
#[test]
fn a_peer_that_does_not_wait_is_not_heard() {
    let mut pair = Pair::link_up();
    let packet = [&[0x10, 0, 0, 12, 0xff, 3][..], DATA].concat();
    pair.client.tell(pair.now, Input::Received(&packet));
    pair.server.tell(pair.now, Input::Received(&packet));
    assert!(pair.client.frames.is_empty() && pair.server.frames.is_empty());
}

#[test]
fn call_connected_that_overtakes_the_authentication_is_held() {
    let mut pair = Pair::link_up();
    pair.client.tell(pair.now, Input::Authenticated(keys(1)));
    pair.client.tell(pair.now, Input::Frame(DATA));
    pair.settle();
    assert!(!pair.server.is_bound() && pair.server.frames.is_empty() && pair.server.closed.is_none());
    pair.server.tell(pair.now, Input::Authenticated(keys(1)));
    assert!(pair.server.is_bound());
}

#[test]
fn sha_1_is_for_who_has_nothing_else() {
    let mut old = server();
    old.role = crate::Role::Server { nonce: [9; 32], hashes: vec![HashProtocol::Sha1] };
    let mut pair = Pair::new(client(), old);
    pair.settle();
    pair.server.tell(pair.now, Input::Authenticated(keys(1)));
    pair.client.tell(pair.now, Input::Authenticated(keys(1)));
    pair.settle();
    assert_eq!(pair.server.events.last(), Some(&Event::Bound(HashProtocol::Sha1)));
}

/// Who relays the authentication has another certificate, or does not have its keys.
#[test]
fn a_binding_that_does_not_hold_is_refused() {
    let mut relayed = client();
    relayed.certificate = CertificateHashes::of(b"of the man in the middle");
    for (config, octet) in [(relayed, 1), (client(), 2)] {
        let mut pair = Pair::new(config, server());
        pair.settle();
        pair.server.tell(pair.now, Input::Authenticated(keys(1)));
        pair.client.tell(pair.now, Input::Authenticated(keys(octet)));
        pair.client.tell(pair.now, Input::Frame(DATA));
        pair.settle();
        assert!(!pair.server.is_bound() && pair.server.frames.is_empty());
        pair.pass(3 * SECOND);
        pair.pass(SECOND);
        assert_eq!(code(&pair.server), Some(FailureCode::AuthenticationFailed));
        assert_eq!(code(&pair.client), Some(FailureCode::PeerClosed));
        let why = pair.client.closed.unwrap().unwrap_err();
        assert_eq!(why.peer.as_deref(), Some("status 4, attribute 3"));
    }
}

/// [MS-SSTP] §3.1.2.1, §3.3.2.1
#[test]
fn a_negotiation_that_takes_a_minute_is_broken_off() {
    let mut pair = Pair::link_up();
    assert_eq!(pair.server.call.deadline(), Some((Instant::ZERO + MINUTE, Timer::Negotiation)));
    pair.now = pair.now + MINUTE;
    pair.server.tell(pair.now, Input::Wake);
    let timeout = StatusInfo::of(attribute::NONE, Status::TIMEOUT);
    assert_eq!(messages(&pair.server), [Message::Abort(Some(timeout))]);
    assert_eq!(pair.server.call.deadline(), Some((pair.now + 3 * SECOND, Timer::Abort)));
    pair.settle();
    // The client has answered: one second is left at each end.
    for end in [&pair.client, &pair.server] {
        assert_eq!(end.call.deadline().map(|(at, _)| at), Some(pair.now + SECOND));
        assert!(end.closed.is_none());
    }
    pair.pass(SECOND);
    assert_eq!(code(&pair.server), Some(FailureCode::TimedOut));
    assert_eq!(code(&pair.client), Some(FailureCode::PeerClosed));
}

/// [MS-SSTP] §3.1.2.3
#[test]
fn silence_is_asked_about_and_then_believed() {
    let mut pair = Pair::bound();
    pair.pass(MINUTE);
    assert_eq!(messages(&pair.client), [Message::EchoRequest]);
    pair.settle();
    assert!(pair.client.closed.is_none());
    pair.pass(MINUTE);
    pair.client.sent.clear();
    pair.server.sent.clear();
    pair.pass(MINUTE - SECOND);
    assert!(pair.client.closed.is_none());
    pair.pass(SECOND);
    assert_eq!(code(&pair.client), Some(FailureCode::PeerLost));
    assert!(pair.client.sent.is_empty(), "nobody is there to be told");
}

#[test]
fn whatever_comes_is_a_sign_of_life() {
    let mut pair = Pair::bound();
    for _ in 0..5 {
        pair.pass(MINUTE - SECOND);
        pair.client.tell(pair.now, Input::Frame(DATA));
        pair.server.tell(pair.now, Input::Frame(DATA));
        assert!(messages(&pair.client).is_empty(), "nothing is asked");
        pair.settle();
    }
}

/// [MS-SSTP] §3.1.2.2
#[test]
fn each_end_may_end_it() {
    for by_client in [true, false] {
        let mut pair = Pair::bound();
        let (one, other) = match by_client {
            true => (&mut pair.client, &pair.server),
            false => (&mut pair.server, &pair.client),
        };
        one.tell(pair.now, Input::Stop);
        assert_eq!(one.call.deadline(), Some((pair.now + 5 * SECOND, Timer::Disconnect)));
        assert!(other.closed.is_none());
        pair.settle();
        let (one, other) = match by_client {
            true => (&pair.client, &pair.server),
            false => (&pair.server, &pair.client),
        };
        assert_eq!(one.closed, Some(Ok(())));
        assert_eq!(other.call.deadline(), Some((pair.now + SECOND, Timer::Disconnect)));
        pair.pass(SECOND);
        assert!([code(&pair.client), code(&pair.server)].contains(&Some(FailureCode::PeerClosed)));
    }
}

#[test]
fn a_peer_that_does_not_answer_a_farewell_is_not_waited_for() {
    let mut pair = Pair::bound();
    pair.client.tell(pair.now, Input::Stop);
    pair.client.sent.clear();
    pair.pass(5 * SECOND);
    assert_eq!(pair.client.closed, Some(Ok(())));
}

#[test]
fn a_browser_gets_a_page() {
    let mut end = End::new(server());
    end.tell(Instant::ZERO, Input::Connected);
    end.tell(Instant::ZERO, Input::Received(b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n"));
    let answer: Vec<u8> = end.sent.iter().copied().collect();
    assert!(answer.starts_with(b"HTTP/1.1 200 OK\r\n"));
    assert_eq!(end.events, [Event::Stranger("GET /x".into())]);
    end.tell(Instant::ZERO, Input::Received(b"GET /y HTTP/1.1\r\n\r\n"));
    assert_eq!(end.sent.len(), answer.len(), "once");
    end.tell(Instant::ZERO, Input::Disconnected(None));
    assert_eq!(end.closed, Some(Ok(())));
}

#[test]
fn an_answer_of_something_else_is_told_as_such() {
    for (answer, expected) in [
        (&b"HTTP/1.1 404 Not Found\r\n\r\n"[..], FailureCode::ServerUnreachable),
        (b"HTTP/1.1 302 Found\r\nLocation: x\r\n\r\n", FailureCode::ServerUnreachable),
        (b"HTTP/1.1 503 Service Unavailable\r\n\r\n", FailureCode::PeerBusy),
        (b"SSH-2.0-x\r\n", FailureCode::PeerMisbehaved),
    ] {
        let mut end = End::new(client());
        end.tell(Instant::ZERO, Input::Connected);
        end.tell(Instant::ZERO, Input::Received(answer));
        assert_eq!(code(&end), Some(expected));
    }
}

/// [MS-SSTP] §3.3.5.2.2
#[test]
fn another_protocol_is_refused_three_times_and_then_broken_off() {
    let mut end = End::new(server());
    end.tell(Instant::ZERO, Input::Connected);
    end.tell(Instant::ZERO, Input::Received(&crate::http::open("a", [0; 16])));
    for _ in 0..3 {
        end.sent.clear();
        end.tell(Instant::ZERO, Input::Received(&Message::ConnectRequest { protocol: 2 }.emit()));
        let info = StatusInfo { attribute: 1, status: Status::NOT_SUPPORTED, value: vec![0, 2] };
        assert_eq!(messages(&end), [Message::ConnectNak(vec![info])]);
    }
    end.sent.clear();
    end.tell(Instant::ZERO, Input::Received(&Message::ConnectRequest { protocol: 2 }.emit()));
    let info = StatusInfo::of(1, Status::RETRY_COUNT);
    assert_eq!(messages(&end), [Message::Abort(Some(info))]);
}

#[test]
fn what_is_out_of_step_ends_it_without_a_word() {
    let mut pair = Pair::bound();
    pair.server.tell(pair.now, Input::Received(&[0x20]));
    assert_eq!(code(&pair.server), Some(FailureCode::PeerMisbehaved));
    assert!(pair.server.sent.is_empty());
}

#[test]
fn a_message_at_the_wrong_time_breaks_it_off() {
    let nonce = [0; 32];
    for message in [Message::ConnectAck { hashes: 2, nonce }, Message::ConnectRequest { protocol: 1 }] {
        let mut pair = Pair::bound();
        pair.client.tell(pair.now, Input::Received(&message.emit()));
        let info = StatusInfo::of(attribute::NONE, Status::UNACCEPTED_FRAME);
        assert_eq!(messages(&pair.client), [Message::Abort(Some(info))]);
        pair.settle();
        pair.pass(SECOND);
        assert_eq!(code(&pair.client), Some(FailureCode::PeerMisbehaved));
    }
}

#[test]
fn a_second_call_connected_breaks_it_off() {
    let mut pair = Pair::link_up();
    pair.client.tell(pair.now, Input::Authenticated(keys(1)));
    let proof: Vec<u8> = pair.client.sent.iter().copied().collect();
    pair.server.tell(pair.now, Input::Received(&proof));
    assert!(pair.server.sent.is_empty(), "it is held");
    pair.server.tell(pair.now, Input::Received(&proof));
    let info = StatusInfo::of(attribute::NONE, Status::UNACCEPTED_FRAME);
    assert_eq!(messages(&pair.server), [Message::Abort(Some(info))]);
    pair.server.tell(pair.now, Input::Authenticated(keys(1)));
    assert!(!pair.server.is_bound());
}
