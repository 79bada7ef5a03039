use core::net::Ipv4Addr;

use adit_core::{FailureCode, Instant};

use super::pair::{End, Pair, client, server};
use crate::wire::{Code, Options, Packet, Protocol, emit_frame, emit_packet, split_frame};
use crate::{Addresses, Input, LinkConfig, Mppe, NameServers};

fn plain(config: LinkConfig) -> LinkConfig {
    LinkConfig { mppe: Mppe::OFF, prove: Vec::new(), demand: Vec::new(), ..config }
}

/// [1332:3.3-1] [1332:3.3-2]
#[test]
fn addresses_and_servers_come_from_the_server() {
    let mut pair = Pair::new(client(), server());
    pair.up();
    let facts = pair.a.established.as_ref().expect("established").clone();
    let v4 = facts.v4.expect("IPv4");
    assert_eq!(v4.local, Ipv4Addr::new(10, 9, 0, 7));
    assert_eq!(v4.peer, Some(Ipv4Addr::new(10, 9, 0, 1)));
    assert_eq!(v4.dns, [Ipv4Addr::new(10, 9, 0, 53), Ipv4Addr::new(10, 9, 0, 54)]);
    assert_eq!(v4.wins, [Ipv4Addr::new(10, 9, 0, 137)]);
    let (ours, theirs) = (facts.v6.expect("IPv6"), pair.b.established.as_ref().unwrap().v6.unwrap());
    assert_eq!((ours.local, ours.peer), (theirs.peer, theirs.local));
    assert_ne!(ours.local, ours.peer);
    let mut ipcp =
        pair.a.sent.iter().filter_map(|f| split_frame(f).ok()).filter(|(p, _)| *p == Protocol::IPCP);
    let request = Packet::parse(ipcp.next().unwrap().1).unwrap();
    assert_eq!((request.code, &request.data[..6]), (Code::CONFIGURE_REQUEST, &[3, 6, 0, 0, 0, 0][..]));
}

/// A server that has none refuses them, and says the address only then.
#[test]
fn name_servers_that_nobody_wants_are_not_asked_for() {
    let asked = |dns, wins| {
        let addresses = Addresses::FromPeer { wanted: None, servers: NameServers { dns, wins } };
        let mut pair = Pair::new(LinkConfig { addresses, ipv6: false, ..client() }, server());
        pair.up();
        let frames = pair.a.sent.iter().filter_map(|f| split_frame(f).ok());
        let mut ipcp = frames.filter(|(p, _)| *p == Protocol::IPCP).map(|(_, p)| Packet::parse(p).unwrap());
        let kinds: Vec<u8> =
            Options::parse(ipcp.next().unwrap().data).unwrap().iter().map(|o| o.kind).collect();
        let v4 = pair.a.established.unwrap().v4.unwrap();
        assert_eq!((v4.dns.is_empty(), v4.wins.is_empty()), (!dns, !wins));
        kinds
    };
    assert_eq!(asked(false, false), [3]);
    assert_eq!(asked(true, false), [3, 129, 131]);
    assert_eq!(asked(true, true), [3, 129, 130, 131, 132]);
}

#[test]
fn one_family_does_without_the_other() {
    let mut pair = Pair::new(client(), LinkConfig { ipv6: false, ..server() });
    pair.up();
    assert!(pair.a.established.as_ref().expect("at once").v6.is_none());
    let mut pair = Pair::new(client(), LinkConfig { ipv4: false, ..server() });
    pair.up();
    assert!(pair.a.established.as_ref().expect("at once").v4.is_none());
}

#[test]
fn no_family_in_common_is_no_link() {
    let mut pair = Pair::new(LinkConfig { ipv6: false, ..client() }, LinkConfig { ipv4: false, ..server() });
    pair.up();
    pair.run(60);
    assert_eq!(pair.a.failure().code, FailureCode::NoAddress);
}

/// A peer that a test speaks for: what does our end say to this Configure-Request of LCP?
fn asked(config: LinkConfig, options: &[u8]) -> (u8, Vec<u8>) {
    let mut end = End::new(config, 3);
    end.handle(Instant::ZERO, Input::Up);
    let request = emit_packet(Code::CONFIGURE_REQUEST, 42, &[options]);
    let frames = end.handle(Instant::ZERO, Input::Frame(emit_frame(Protocol::LCP, &request)));
    let answer = frames.iter().find_map(|f| {
        let packet = Packet::parse(split_frame(f).ok()?.1).ok()?;
        (packet.identifier == 42).then(|| (packet.code.0, packet.data.to_vec()))
    });
    answer.expect("an answer")
}

/// [1661:5.3-2] [1661:5.4-3]
/// Windows' first request: MRU, magic, PFC, ACFC, callback, MRRU, endpoint discriminator.
#[test]
fn what_windows_offers_beyond_is_rejected_and_the_rest_kept() {
    let callback = [13, 3, 6];
    let mrru = [17, 4, 0x06, 0x4e];
    let endpoint = [19, 9, 3, 1, 2, 3, 4, 5, 6];
    let known = [&[1, 4, 0x05, 0x78][..], &[5, 6, 1, 2, 3, 4], &[7, 2], &[8, 2]].concat();
    let all = [&known[..], &callback, &mrru, &endpoint].concat();
    assert_eq!(asked(plain(client()), &all), (4, [&callback[..], &mrru, &endpoint].concat()));
    assert_eq!(asked(plain(client()), &known), (2, known));
}

/// [1661:6.2-2] [1661:6.4-1]
#[test]
fn values_that_can_not_be_are_naked() {
    assert_eq!(asked(plain(client()), &[1, 4, 0, 10]), (3, vec![1, 4, 0, 128]));
    let (code, nak) = asked(plain(client()), &[5, 6, 0, 0, 0, 0]);
    assert_eq!((code, nak.len()), (3, 6));
    assert_ne!(nak[2..], [0; 4]);
    assert_eq!(asked(client(), &[3, 4, 0xc0, 0x23]), (3, vec![3, 4, 0xc2, 0x27]), "EAP rather than PAP");
    assert_eq!(asked(plain(client()), &[3, 4, 0xc0, 0x23]), (4, vec![3, 4, 0xc0, 0x23]));
}

/// A peer that agreed to one would wonder where its keys are, and say that as the reason.
#[test]
fn who_will_not_prove_itself_is_offered_no_link_without_that() {
    let mut end = End::new(server(), 1);
    let sent = end.handle(Instant::ZERO, Input::Up);
    let request = Packet::parse(split_frame(&sent[0]).unwrap().1).unwrap();
    let nak = emit_packet(Code::CONFIGURE_NAK, request.identifier, &[&[3, 4, 0xc0, 0x23]]);
    end.handle(Instant::ZERO, Input::Frame(emit_frame(Protocol::LCP, &nak)));
    assert_eq!(end.codes(Protocol::LCP), [Code::CONFIGURE_REQUEST.0, Code::TERMINATE_REQUEST.0]);
    let ack = emit_packet(Code::TERMINATE_ACK, 2, &[]);
    end.handle(Instant::ZERO, Input::Frame(emit_frame(Protocol::LCP, &ack)));
    assert_eq!(end.failure().code, FailureCode::AuthenticationFailed);
}

/// [1661:4.3-1] [1661:4.6-1]
#[test]
fn silence_ends_it_after_ten_requests() {
    let mut end = End::new(client(), 1);
    let mut now = Instant::ZERO;
    end.handle(now, Input::Up);
    while let Some((at, _)) = end.link.deadline() {
        now = at;
        end.handle(now, Input::Wake);
    }
    assert_eq!(end.codes(Protocol::LCP), [1; 10]);
    assert_eq!(end.failure().code, FailureCode::PeerLost);
}

/// A call is up at the end that answers before the caller knows of it: what is said to the caller then is lost.
#[test]
fn who_answers_asks_again_as_soon_as_the_caller_is_heard() {
    let mut pair = Pair::new(client(), server());
    pair.b.handle(pair.now, Input::Up);
    let to_b = pair.a.handle(pair.now, Input::Up);
    pair.exchange(Vec::new(), to_b);
    assert!(pair.a.established.is_some() && pair.b.established.is_some(), "without waiting for a timer");
    assert_eq!(pair.b.codes(Protocol::LCP), [1, 1, 2], "word for word, once, and before the answer");
    let requests: Vec<_> = pair.b.sent.iter().filter(|f| f.starts_with(&[0xc0, 0x21, 1])).collect();
    assert_eq!(requests[0], requests[1]);
    assert_eq!(pair.a.codes(Protocol::LCP), [1, 2], "the caller asks once");
}

/// [1661:6.4-2] [1661:6.4-3]
#[test]
fn a_mirror_is_recognised() {
    let mut end = End::new(plain(client()), 1);
    let mut frames = end.handle(Instant::ZERO, Input::Up);
    for _ in 0..200 {
        let Some(frame) = frames.pop() else { break };
        frames.extend(end.handle(Instant::ZERO, Input::Frame(frame)));
    }
    assert!(end.failure().text.contains("looped"), "{:?}", end.closed);
}

/// [1661:5.2-2] [1661:5.2-3] [1661:5.3-1] [1661:5.4-1] [1661:5.4-2]
#[test]
fn answers_to_what_was_not_asked_count_for_nothing() {
    let mut end = End::new(plain(client()), 1);
    let sent = end.handle(Instant::ZERO, Input::Up);
    let request = Packet::parse(split_frame(&sent[0]).unwrap().1).unwrap();
    let (id, options) = (request.identifier, request.data.to_vec());
    let mut say = |code: u8, id: u8, data: &[u8]| {
        end.handle(
            Instant::ZERO,
            Input::Frame(emit_frame(Protocol::LCP, &emit_packet(Code(code), id, &[data]))),
        )
    };
    assert!(say(2, id.wrapping_add(1), &options).is_empty(), "another Identifier");
    assert!(say(2, id, &options[..options.len() - 2]).is_empty(), "other options");
    assert!(say(3, id.wrapping_add(1), &[1, 4, 5, 0]).is_empty());
    assert!(say(4, id.wrapping_add(1), &[7, 2]).is_empty());
    assert!(say(4, id, &[99, 2]).is_empty(), "rejects what was not there");
    let again = say(4, id, &[7, 2]);
    let request = Packet::parse(split_frame(&again[0]).unwrap().1).unwrap();
    // [1661:5.1-1]
    assert_ne!(request.identifier, id);
    assert!(Options::parse(request.data).unwrap().iter().all(|o| o.kind != 7));
}

/// The Magic-Number of a Configure-Request of LCP's.
fn magic(frame: &[u8]) -> Option<u32> {
    let (protocol, packet) = split_frame(frame).ok()?;
    let packet = Packet::parse(packet).ok().filter(|p| p.code == Code::CONFIGURE_REQUEST)?;
    let options = Options::parse(packet.data).ok().filter(|_| protocol == Protocol::LCP)?;
    options.iter().find(|o| o.kind == 5).map(|o| u32::from_be_bytes(o.data.try_into().unwrap()))
}

/// [1661:2-1] [1661:5-1] [1661:5.6-1] [1661:5.7-1] [1661:5.7-2] [1661:5.8-1] [1661:5.8-2]
#[test]
fn what_is_unknown_is_rejected_and_an_echo_comes_back() {
    let mut pair = Pair::new(client(), server());
    pair.up();
    let magics: Vec<u32> = pair.a.sent.iter().filter_map(|f| magic(f)).collect();
    let mut say = |protocol: Protocol, packet: &[u8]| {
        let answer = pair.a.handle(pair.now, Input::Frame(emit_frame(protocol, packet)));
        answer.iter().map(|f| split_frame(f).unwrap().1.to_vec()).collect::<Vec<_>>()
    };
    let unknown = emit_packet(Code(99), 5, &[b"what"]);
    let answer = say(Protocol::LCP, &unknown);
    assert_eq!((answer[0][0], &answer[0][4..]), (Code::CODE_REJECT.0, &unknown[..]));
    let answer = say(Protocol(0x8281), b"MPLSCP");
    assert_eq!((answer[0][0], &answer[0][4..]), (Code::PROTOCOL_REJECT.0, &b"\x82\x81MPLSCP"[..]));
    let answer = say(Protocol(0xc122), b"odd");
    assert_eq!((answer[0][0], &answer[0][4..]), (Code::PROTOCOL_REJECT.0, &b"\xc1\x22odd"[..]));
    let echo = emit_packet(Code::ECHO_REQUEST, 6, &[&[0, 0, 0, 9], b"hello"]);
    let answer = say(Protocol::LCP, &echo);
    assert_eq!((answer[0][0], answer[0][1], &answer[0][8..]), (Code::ECHO_REPLY.0, 6, &b"hello"[..]));
    assert_eq!(answer[0][4..8], magics.last().unwrap().to_be_bytes());
    assert!(pair.a.closed.is_none());
}

#[test]
fn a_silent_peer_is_lost() {
    let mut pair = Pair::new(client(), server());
    pair.up();
    pair.b.link = crate::Link::new(server());
    pair.run(60);
    assert_eq!(pair.a.failure().code, FailureCode::PeerLost);
}

#[test]
fn who_lives_is_not_lost() {
    let mut pair = Pair::new(client(), server());
    pair.up();
    pair.run(3600);
    assert!(pair.a.closed.is_none() && pair.b.closed.is_none());
}

/// A peer whose first packets of the network come while this end still makes its interface need not say them twice.
#[test]
fn what_comes_early_is_heard_in_its_turn() {
    let mut end = End::new(plain(client()), 1);
    let sent = end.handle(Instant::ZERO, Input::Up);
    let request = Packet::parse(split_frame(&sent[0]).unwrap().1).unwrap();
    let ack = emit_packet(Code::CONFIGURE_ACK, request.identifier, &[request.data]);
    end.slow = true;
    let lcp = |packet: &[u8]| Input::Frame(emit_frame(Protocol::LCP, packet));
    end.handle(Instant::ZERO, lcp(&ack));
    end.handle(Instant::ZERO, lcp(&emit_packet(Code::CONFIGURE_REQUEST, 7, &[])));
    let ipcp = emit_packet(Code::CONFIGURE_REQUEST, 8, &[&[3, 6, 10, 9, 0, 1]]);
    assert!(end.handle(Instant::ZERO, Input::Frame(emit_frame(Protocol::IPCP, &ipcp))).is_empty());
    end.slow = false;
    let frames = end.answer_late(Instant::ZERO);
    let acked = emit_frame(Protocol::IPCP, &emit_packet(Code::CONFIGURE_ACK, 8, &[&[3, 6, 10, 9, 0, 1]]));
    assert!(frames.contains(&acked), "{frames:02x?}");
}

#[test]
fn an_end_is_told_and_answered() {
    let mut pair = Pair::new(client(), server());
    pair.up();
    let to_b = pair.a.handle(pair.now, Input::Close);
    pair.exchange(Vec::new(), to_b);
    pair.run(10);
    assert!(matches!(pair.a.closed, Some(Ok(()))), "{:?}", pair.a.closed);
    assert_eq!(pair.b.failure().code, FailureCode::PeerClosed);
}

/// A Configure-Request whose Ack was lost comes again as it was: nothing begins anew. [1661:5.2-1]
#[test]
fn a_repeated_request_is_acknowledged_again() {
    let mut pair = Pair::new(client(), server());
    pair.up();
    let lcp = |f: &&Vec<u8>| matches!(split_frame(f), Ok((Protocol::LCP, [1, ..])));
    let request = pair.b.sent.iter().rev().find(lcp).unwrap().clone();
    let answer = pair.a.handle(pair.now, Input::Frame(request));
    assert_eq!(answer.len(), 1);
    assert_eq!(split_frame(&answer[0]).unwrap().1[0], Code::CONFIGURE_ACK.0);
    assert!(pair.a.closed.is_none());
}

#[test]
fn a_wanted_address_that_the_server_does_not_give_is_replaced() {
    let addresses =
        Addresses::FromPeer { wanted: Some(Ipv4Addr::new(192, 0, 2, 9)), servers: NameServers::ALL };
    let mut pair = Pair::new(LinkConfig { addresses, ..client() }, server());
    pair.up();
    assert_eq!(pair.a.established.unwrap().v4.unwrap().local, Ipv4Addr::new(10, 9, 0, 7));
}

/// A peer that never agrees is left after some rounds, however fast it answers.
#[test]
fn circles_come_to_an_end() {
    let mut end = End::new(plain(client()), 1);
    let mut frames = end.handle(Instant::ZERO, Input::Up);
    for _ in 0..100 {
        let Some(frame) = frames.pop() else { break };
        let request = Packet::parse(split_frame(&frame).unwrap().1).unwrap();
        let nak = emit_packet(Code::CONFIGURE_NAK, request.identifier, &[&[1, 4, 2, 0]]);
        frames = end.handle(Instant::ZERO, Input::Frame(emit_frame(Protocol::LCP, &nak)));
    }
    assert_eq!(end.failure().code, FailureCode::PeerLost);
}
