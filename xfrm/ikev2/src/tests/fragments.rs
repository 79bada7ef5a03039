//! Messages in fragments (RFC 7383): cut, lost, mixed up, forged, and cut anew.

use adit_isakmp::sk::fragment_number;
use adit_isakmp::{ExchangeType, Payload};

use super::*;

const LONG: [u8; 3000] = [0x5a; 3000];

/// Both ends prove themselves with a chain that no packet holds.
fn long_chains() -> (Node, Node) {
    let (mut client, mut server) = (Node::client(), Node::server());
    server.connection = || {
        let (local_auth, remote_auth) = by_certificate(b"server cert", &[SignatureScheme::Ed25519]);
        ResponderConfig { local_auth: longer(local_auth), remote_auth, ..connection() }
    };
    let (local_auth, remote_auth) = by_certificate(b"client cert", &[SignatureScheme::Ed25519]);
    let config = InitiatorConfig { local_auth: longer(local_auth), remote_auth, ..config() };
    client.dial(Instant::ZERO, config);
    (client, server)
}

fn longer(auth: LocalAuth) -> LocalAuth {
    match auth {
        LocalAuth::Signature { mut own } => {
            own[0].certificates.push(LONG.to_vec());
            LocalAuth::Signature { own }
        }
        other => other,
    }
}

/// IKE_SA_INIT is over; the client's IKE_AUTH, in fragments.
fn asked() -> (Node, Node, Vec<Transmit>) {
    let (mut client, mut server) = long_chains();
    server.give(Instant::ZERO, arrives(&client.one()));
    client.give(Instant::ZERO, arrives(&server.one()));
    let fragments = client.sent();
    (client, server, fragments)
}

fn give_all(node: &mut Node, transmits: &[Transmit]) {
    for transmit in transmits {
        node.give(Instant::ZERO, arrives(transmit));
    }
}

fn numbers(transmits: &[Transmit]) -> Vec<Option<u16>> {
    transmits.iter().map(|t| fragment_number(&t.payload)).collect()
}

// [7383:2.3-1] [7383:2.3-2] [7383:2.3-3] [7383:2.4-1]
#[test]
fn what_is_too_long_for_the_path_goes_in_fragments_both_ways() {
    let (mut client, mut server, fragments) = asked();
    assert_eq!(numbers(&fragments), [Some(1), Some(2), Some(3)]);
    let mut asking = Node::client();
    asking.dial(Instant::ZERO, config());
    let first = adit_isakmp::Message::parse(&asking.one().payload).unwrap();
    assert!(first.notify(adit_isakmp::payload::NotifyType(16430)).is_some());
    assert!(fragments.iter().all(|t| t.payload.len() <= 1280 - 32), "IP, UDP and marker included");
    give_all(&mut server, &fragments);
    let answer = server.sent();
    assert_eq!(numbers(&answer), [Some(1), Some(2), Some(3)]);
    give_all(&mut client, &answer);
    assert!(client.established().is_some() && server.established().is_some());
    assert_eq!(server.verified[0].last().unwrap(), &LONG);
}

#[test]
fn the_order_and_repetitions_do_not_matter() {
    let (mut client, mut server, mut fragments) = asked();
    fragments.reverse();
    // [7383:2.6-2]
    fragments.insert(1, fragments[0].clone());
    give_all(&mut server, &fragments);
    let mut answer = server.sent();
    assert_eq!(answer.len(), 3);
    answer.rotate_left(1);
    give_all(&mut client, &answer);
    assert!(client.established().is_some() && server.established().is_some());
}

#[test]
fn a_lost_fragment_is_made_up_for_by_the_same_ones_again() {
    let (mut client, mut server, fragments) = asked();
    give_all(&mut server, &fragments[..2]);
    assert!(server.sent().is_empty());
    client.wake();
    let again = client.sent();
    assert_eq!(again, fragments, "bit for bit");
    give_all(&mut server, &again[2..]);
    assert_eq!(server.sent().len(), 3);
}

// [7383:2.6.1-1] [7383:2.6.1-2]
#[test]
fn of_an_answered_request_fragment_1_alone_brings_the_answer_again() {
    let (mut client, mut server, fragments) = asked();
    give_all(&mut server, &fragments);
    let answer = server.sent();
    give_all(&mut server, &fragments[1..]);
    assert!(server.sent().is_empty());
    give_all(&mut server, &fragments[..1]);
    assert_eq!(server.sent(), answer);
    give_all(&mut client, &answer);
    assert!(client.established().is_some());
}

// [7383:2.6-1] [7383:2.6-3] [7383:2.5-4] [7383:2.5-5] [7383:2.5-6]
#[test]
fn a_forged_fragment_is_as_if_it_had_never_come() {
    let (_, mut server, fragments) = asked();
    give_all(&mut server, &fragments[..1]);
    let whole = fragments[1].payload.len();
    for at in 28..whole {
        let mut forged = fragments[1].clone();
        forged.payload[at] ^= 1;
        server.give(Instant::ZERO, arrives(&forged));
    }
    assert!(server.sent().is_empty());
    // All but those whose fields alone make no sense.
    let forged = usize::try_from(server.endpoint.counters().forged).unwrap();
    assert!(forged > whole - 28 - 16, "{forged} of {whole}");
    give_all(&mut server, &fragments[1..]);
    assert_eq!(server.sent().len(), 3);
}

// [7383:2.5.2-1] [7383:2.5.2-2] [7383:2.5.2-3] [7383:2.5.2-4] [7383:2.5.2-5] [7383:2.6-4]
#[test]
fn silence_makes_fragments_smaller_and_they_replace_the_larger_ones() {
    let (mut client, mut server, fragments) = asked();
    // A router drops what is full.
    give_all(&mut server, &fragments[2..]);
    let first = client.wake().since(Instant::ZERO);
    client.wake();
    assert_eq!(client.sent(), [&fragments[..], &fragments[..]].concat());
    let cut = client.wake();
    let smaller = client.sent();
    assert!(smaller.len() > 6 && smaller.iter().all(|t| t.payload.len() <= 576 - 32));
    give_all(&mut server, &smaller[..3]);
    // An old one is late: it does not fit any more.
    give_all(&mut server, &fragments[..1]);
    give_all(&mut server, &smaller[3..]);
    let answer = server.sent();
    // What came through says what goes through.
    assert!(answer.len() > 6 && answer.iter().all(|t| t.payload.len() <= 576 - 32));
    give_all(&mut client, &answer[1..]);
    // The answer's first fragment was lost: the request comes again, as it was sent last.
    // The smaller ones have been waited for as long as if they were the first.
    assert!(client.wake().since(cut) < first * 2);
    let again = client.sent();
    assert_eq!(again, smaller);
    give_all(&mut server, &again);
    assert_eq!(server.sent(), answer);
    give_all(&mut client, &answer[..1]);
    assert!(client.established().is_some() && server.established().is_some());
}

#[test]
fn a_request_cut_anew_after_it_was_answered_brings_the_answer_again() {
    let (mut client, mut server, fragments) = asked();
    give_all(&mut server, &fragments);
    let answer = server.sent();
    for _ in 0..3 {
        client.wake();
    }
    let smaller = client.sent().split_off(6);
    assert!(smaller.len() > 6);
    give_all(&mut server, &smaller);
    assert_eq!(server.sent(), answer);
    give_all(&mut client, &answer);
    assert!(client.established().is_some());
}

#[test]
fn a_peer_that_announces_nothing_gets_whole_messages() {
    let (mut client, mut server) = long_chains();
    let first = client.one();
    let mut message = adit_isakmp::Message::parse(&first.payload).unwrap();
    message.payloads.retain(|p| {
        !matches!(p, Payload::Notify(n)
            if n.kind == adit_isakmp::payload::NotifyType::IKEV2_FRAGMENTATION_SUPPORTED)
    });
    server.give(Instant::ZERO, arrives(&Transmit { payload: message.emit().unwrap(), ..first }));
    let answered = server.one();
    let answer = adit_isakmp::Message::parse(&answered.payload).unwrap();
    let announced = adit_isakmp::payload::NotifyType::IKEV2_FRAGMENTATION_SUPPORTED;
    assert!(answer.notify(announced).is_none());
    client.give(Instant::ZERO, arrives(&Transmit { path: answered.path, payload: answer.emit().unwrap() }));
    let request = client.one();
    assert!(request.payload.len() > 3000);
}

// [7383:2.6-5]
#[test]
fn what_is_never_complete_is_forgotten() {
    let (mut client, mut server, fragments) = asked();
    give_all(&mut server, &fragments[..2]);
    while !server.endpoint.is_empty() {
        server.wake();
    }
    assert!(server.sent().is_empty());
    client.wake();
    // Of an IKE_SA that is up, and stays so.
    let mut server = Node::server();
    server.connection = || {
        let timing = Timing { dead_peer: Duration::ZERO, ..Timing::default() };
        ResponderConfig { timing, ..connection() }
    };
    let mut peer = script::Peer::dial_cutting(&mut server, Some(576));
    let request = peer.ask_auth(|_| {});
    server.give(Instant::ZERO, request);
    assert!(server.established().is_some());
    let later = server.endpoint.deadline().unwrap().0;
    let first = peer.seal(ExchangeType::INFORMATIONAL, 2, false, &[Payload::Vendor(LONG.to_vec())]);
    server.give(Instant::ZERO, first);
    assert!(server.wake() < later, "the rest is waited for");
    assert_eq!(server.endpoint.deadline().unwrap().0, later);
}
