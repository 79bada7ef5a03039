use adit_auth::mschap::MppeStrength;
use adit_core::{FailureCode, Instant};

use super::pair::{Pair, client, server};
use crate::wire::{Code, Protocol, emit_frame, emit_packet, split_frame};
use crate::{AuthMethod, Input, LinkConfig, Mppe, MppeWish};

fn between(a: Mppe, b: Mppe) -> Pair {
    let mut pair = Pair::new(LinkConfig { mppe: a, ..client() }, LinkConfig { mppe: b, ..server() });
    pair.up();
    pair.run(60);
    pair
}

const BOTH: Mppe = Mppe { bits40: true, ..Mppe::REQUIRED };

/// [3078:2.1-1]
#[test]
fn the_strongest_that_both_take_is_taken() {
    let weak = Mppe { bits128: false, ..BOTH };
    for (a, b, strength, bits) in [
        (Mppe::REQUIRED, Mppe::REQUIRED, MppeStrength::Bits128, "0x1000040 16"),
        (BOTH, BOTH, MppeStrength::Bits128, "0x1000040 16"),
        (BOTH, weak, MppeStrength::Bits40, "0x1000020 8"),
        (weak, BOTH, MppeStrength::Bits40, "0x1000020 8"),
    ] {
        let pair = between(a, b);
        for end in [&pair.a, &pair.b] {
            let facts = end.established.as_ref().expect("established");
            assert_eq!(facts.mppe, Some((strength, true)));
            assert!(end.kernel.contains(&format!("transmit {bits}")), "{:?}", end.kernel);
            assert!(end.kernel.contains(&format!("receive {bits}")), "{:?}", end.kernel);
        }
    }
}

/// Whoever says it first: at both ends it is the encryption.
#[test]
fn strengths_without_one_in_common_are_told_as_such_at_both_ends() {
    let pair = between(Mppe::REQUIRED, Mppe { bits128: false, ..BOTH });
    for end in [&pair.a, &pair.b] {
        assert_eq!(end.failure().code, FailureCode::ProposalMismatch, "{:?}", end.closed);
    }
}

/// A key of 40 bits would come of a LAN Manager hash, which neither end has.
#[test]
fn ms_chap_v1_makes_no_keys_of_40_bits() {
    let by_v1 = |mppe: Mppe| {
        let auth = vec![AuthMethod::MsChapV1];
        let mut pair = Pair::new(
            LinkConfig { prove: auth.clone(), mppe, ..client() },
            LinkConfig { demand: auth, mppe, ..server() },
        );
        pair.up();
        pair.run(60);
        pair
    };
    assert_eq!(by_v1(BOTH).a.established.as_ref().unwrap().mppe, Some((MppeStrength::Bits128, true)));
    let pair = by_v1(Mppe { bits128: false, ..BOTH });
    assert!(pair.a.established.is_none() && pair.b.established.is_none());
    assert_eq!(pair.a.failure().code, FailureCode::ProposalMismatch);
}

#[test]
fn what_one_sends_with_the_other_receives_with() {
    let pair = between(Mppe::REQUIRED, Mppe::REQUIRED);
    let key = |end: &super::pair::End, transmit: bool| {
        end.keys.iter().find(|(t, _)| *t == transmit).map(|(_, k)| k.duplicate()).unwrap()
    };
    assert!(key(&pair.a, true).equals(key(&pair.b, false).expose()));
    assert!(key(&pair.a, false).equals(key(&pair.b, true).expose()));
    assert!(!key(&pair.a, true).equals(key(&pair.a, false).expose()));
}

#[test]
fn stateful_is_taken_where_both_want_it() {
    let stateful = Mppe { stateful: true, ..Mppe::REQUIRED };
    let pair = between(stateful, stateful);
    assert_eq!(pair.a.established.as_ref().unwrap().mppe, Some((MppeStrength::Bits128, false)));
    let pair = between(stateful, Mppe::REQUIRED);
    assert_eq!(pair.a.established.as_ref().unwrap().mppe, Some((MppeStrength::Bits128, true)));
}

#[test]
fn nothing_flows_before_encryption_stands() {
    let pair = between(Mppe::REQUIRED, Mppe::REQUIRED);
    for end in [&pair.a, &pair.b] {
        let at = |word: &str| end.kernel.iter().position(|k| k.starts_with(word)).unwrap();
        assert!(at("encrypted true") < at("V4"), "{:?}", end.kernel);
        assert!(at("encrypted true") < at("V6"), "{:?}", end.kernel);
    }
}

#[test]
fn who_requires_it_does_not_do_without() {
    for (a, b) in [
        (Mppe::REQUIRED, Mppe::OFF),
        (Mppe::OFF, Mppe::REQUIRED),
        (Mppe { bits128: false, ..BOTH }, Mppe::REQUIRED),
    ] {
        let pair = between(a, b);
        let failures = [&pair.a, &pair.b].map(|end| {
            assert!(end.established.is_none(), "{:?}", end.kernel);
            end.failure().code
        });
        assert!(failures.contains(&FailureCode::ProposalMismatch), "{failures:?}");
    }
}

/// A link inside of IPsec speaks none unless it has to: whoever meets a server that insists is told the line.
#[test]
fn whoever_did_not_speak_it_learns_that_the_peer_insists() {
    let pair = between(Mppe::OFF, Mppe::REQUIRED);
    let failure = pair.a.failure();
    assert_eq!(failure.code, FailureCode::ProposalMismatch);
    assert!(failure.hint.as_ref().unwrap().contains("require-mppe = true"), "{failure:?}");
    // One that does without is no reason for anything.
    let pair = between(Mppe::OFF, Mppe { wish: MppeWish::Take, ..Mppe::REQUIRED });
    assert!(pair.a.established.is_some());
}

#[test]
fn who_only_takes_it_does_without() {
    let take = Mppe { wish: MppeWish::Take, ..Mppe::REQUIRED };
    let pair = between(take, Mppe::OFF);
    assert_eq!(pair.a.established.as_ref().unwrap().mppe, None);
    let pair = between(take, Mppe::REQUIRED);
    assert!(pair.a.established.as_ref().unwrap().mppe.is_some());
}

/// A peer, or somebody in between, that ends encryption ends the link.
#[test]
fn nothing_goes_on_in_clear() {
    let mut pair = between(Mppe::REQUIRED, Mppe::REQUIRED);
    let terminate = emit_packet(Code::TERMINATE_REQUEST, 77, &[]);
    let frames = pair.a.handle(pair.now, Input::Frame(emit_frame(Protocol::CCP, &terminate)));
    assert_eq!(told(&pair).chars().last(), Some('-'), "at once, not when the peer has taken leave");
    assert!(frames.iter().any(|f| f.starts_with(&[0xc0, 0x21, Code::TERMINATE_REQUEST.0])), "{frames:02x?}");
    pair.run(30);
    assert_eq!(pair.a.failure().code, FailureCode::ProposalMismatch);
}

#[test]
fn bits_that_the_kernel_lacks_are_declined_with_a_word() {
    let mut pair = Pair::new(client(), server());
    pair.up();
    let mut end = super::pair::End::new(client(), 9);
    end.handle(Instant::ZERO, Input::Up);
    drop(end);
    let only_56 = emit_packet(Code::CONFIGURE_REQUEST, 9, &[&[18, 6, 1, 0, 0, 0x80]]);
    let answers = pair.a.handle(pair.now, Input::Frame(emit_frame(Protocol::CCP, &only_56)));
    let nak = answers.iter().find_map(|f| match split_frame(f) {
        Ok((Protocol::CCP, [3, 9, ..])) => Some(f[6..].to_vec()),
        _ => None,
    });
    assert_eq!(nak, Some(vec![18, 6, 1, 0, 0, 0x40]), "{answers:?}");
    // Renegotiation has stopped encryption in the kernel: the link ends instead of going on in clear.
    assert!(pair.a.link.deadline().is_some());
    pair.run(30);
    assert!(pair.a.failure().text.contains("encryption"), "{:?}", pair.a.closed);
}

#[test]
fn a_packet_that_can_not_be_read_asks_for_a_reset() {
    let mut pair = between(Mppe::REQUIRED, Mppe::REQUIRED);
    let unreadable = emit_frame(Protocol::COMPRESSED, &[0x90, 1, 2, 3]);
    let sent = pair.a.handle(pair.now, Input::Frame(unreadable.clone()));
    assert_eq!(sent.len(), 1);
    assert!(pair.a.handle(pair.now, Input::Frame(unreadable)).is_empty(), "one at a time");
    let answer = pair.b.handle(pair.now, Input::Frame(sent[0].clone()));
    assert_eq!(split_frame(&answer[0]).unwrap().1[0], Code::RESET_ACK.0);
    assert!(pair.a.handle(pair.now, Input::Frame(answer[0].clone())).is_empty());
}

/// What the kernel is told and what passes it, in order: keys as `t` and `r`, encryption as `+` and `-`, CCP's requests and Acks
/// as `q` and `a`.
fn told(pair: &Pair) -> String {
    pair.a.told.iter().collect()
}

/// The client's side of CCP alone, with a peer that is said by hand: up to the client's own Configure-Request.
fn until_ccp() -> (Pair, Vec<Vec<u8>>) {
    let mut pair = Pair::new(client(), server());
    pair.withhold = Some(Protocol::CCP);
    pair.up();
    let requests = std::mem::take(&mut pair.withheld);
    (pair, requests)
}

fn answer(request: &[u8]) -> Input {
    let mut ack = request.to_vec();
    ack[2] = Code::CONFIGURE_ACK.0;
    Input::Frame(ack)
}

const STATELESS_128: &[u8] = &[18, 6, 1, 0, 0, 0x40];

fn request(identifier: u8) -> Input {
    let packet = emit_packet(Code::CONFIGURE_REQUEST, identifier, &[STATELESS_128]);
    Input::Frame(emit_frame(Protocol::CCP, &packet))
}

/// Linux begins with a key at each Ack that passes, and a key that is begun twice is another.
#[test]
fn each_ack_of_ours_has_a_key_of_its_own() {
    let (mut pair, _) = until_ccp();
    for _ in 0..3 {
        pair.a.handle(pair.now, request(9));
    }
    assert_eq!(told(&pair), "rqtatata");
}

#[test]
fn a_key_that_two_acks_have_begun_is_asked_for_anew() {
    let (mut pair, ours) = until_ccp();
    pair.a.handle(pair.now, answer(&ours[0]));
    pair.a.handle(pair.now, answer(&ours[0]));
    let sent = pair.a.handle(pair.now, request(9));
    assert_eq!(told(&pair), "rqtarq", "not by a key that was begun twice");
    let newest = sent.iter().rev().find(|f| f[2] == Code::CONFIGURE_REQUEST.0).unwrap().clone();
    assert_ne!(newest[3], ours[0][3], "an Identifier that no Ack on its way has");
    pair.a.handle(pair.now, answer(&newest));
    assert_eq!(told(&pair), "rqtarq+");
}

/// The kernel had both before it was told that CCP is up.
#[test]
fn an_ack_that_is_read_after_encryption_stands_counts_all_the_same() {
    let (mut pair, ours) = until_ccp();
    pair.a.handle(pair.now, request(9));
    pair.a.handle(pair.now, answer(&ours[0]));
    assert_eq!(told(&pair), "rqta+");
    pair.a.handle(pair.now, answer(&ours[0]));
    assert_eq!(told(&pair), "rqta+-rq");
}

#[test]
fn a_peer_that_answers_everything_twice_is_not_asked_for_ever() {
    let (mut pair, ours) = until_ccp();
    pair.a.handle(pair.now, request(9));
    let mut newest = ours[0].clone();
    for _ in 0..20 {
        let mut sent = pair.a.handle(pair.now, answer(&newest));
        sent.extend(pair.a.handle(pair.now, answer(&newest)));
        if let Some(next) = sent.iter().rev().find(|f| f.starts_with(&[0x80, 0xfd, 1])) {
            newest.clone_from(next);
        }
    }
    pair.run(30);
    assert_eq!(pair.a.failure().code, FailureCode::PeerMisbehaved, "{:?}", pair.a.closed);
}

/// Our Ack was lost, and the kernel has stopped at the peer's request: it begins again.
#[test]
fn a_request_that_comes_again_before_anything_passes_is_answered_with_a_new_key() {
    let (mut pair, ours) = until_ccp();
    pair.a.handle(pair.now, request(9));
    pair.a.handle(pair.now, answer(&ours[0]));
    pair.a.handle(pair.now, request(9));
    assert_eq!(told(&pair), "rqta+-ta+");
}

/// The same, once packets pass: their keys can't begin again, and nothing goes in clear.
#[test]
fn a_request_that_comes_again_once_packets_pass_ends_the_link() {
    let mut pair = between(Mppe::REQUIRED, Mppe::REQUIRED);
    let ccp = |f: &&Vec<u8>| f.starts_with(&[0x80, 0xfd, Code::CONFIGURE_REQUEST.0]);
    let again = pair.b.sent.iter().rev().find(ccp).unwrap().clone();
    pair.a.handle(pair.now, Input::Frame(again));
    pair.run(30);
    assert!(pair.a.failure().text.contains("encryption"), "{:?}", pair.a.closed);
}

/// What was agreed before counts for nothing once the peer asks for something else, or for nothing.
#[test]
fn what_a_peer_asked_for_before_is_not_what_it_asks_for_now() {
    let (mut pair, ours) = until_ccp();
    pair.a.handle(pair.now, request(9));
    for identifier in 10..30 {
        let nothing = emit_packet(Code::CONFIGURE_REQUEST, identifier, &[]);
        pair.a.handle(pair.now, Input::Frame(emit_frame(Protocol::CCP, &nothing)));
    }
    pair.a.handle(pair.now, answer(&ours[0]));
    assert!(!pair.a.told.contains(&'+'), "{}", told(&pair));
    pair.run(30);
    assert_eq!(pair.a.failure().code, FailureCode::ProposalMismatch);
}

/// Decrypted with another key: the link is dialled anew, and does not stand there and carry nothing.
#[test]
fn a_link_whose_ends_do_not_read_each_other_ends() {
    let garbage = |protocol: u16| Input::Frame(emit_frame(Protocol(protocol), &[1, 2, 3]));
    let mut pair = between(Mppe::REQUIRED, Mppe::REQUIRED);
    for protocol in [0x802b, 0x802b, 0x8281, 0x00a5, 0x4e33] {
        let answers = pair.a.handle(pair.now, garbage(protocol));
        assert_eq!(answers.len(), 1, "{protocol:#x} is rejected, and no more");
    }
    let frames = pair.a.handle(pair.now, garbage(0x12fe));
    assert!(frames.iter().any(|f| f.starts_with(&[0xc0, 0x21, Code::TERMINATE_REQUEST.0])), "{frames:02x?}");
    pair.run(30);
    assert_eq!(pair.a.failure().code, FailureCode::PeerLost);

    let mut pair = between(Mppe::REQUIRED, Mppe::REQUIRED);
    let reject = |protocol: &[u8]| {
        let packet = emit_packet(Code::PROTOCOL_REJECT, 3, &[protocol, &[1, 2, 3]]);
        Input::Frame(emit_frame(Protocol::LCP, &packet))
    };
    assert!(pair.a.handle(pair.now, reject(&[0, 0x57])).is_empty(), "the peer does not want IPv6");
    pair.a.handle(pair.now, reject(&[0xe3, 0x1c]));
    pair.run(30);
    assert!(pair.a.failure().text.contains("out of step"), "{:?}", pair.a.closed);
}
