//! What peers and strangers send that is not the protocol.

use adit_isakmp::payload::Protocol;
use adit_isakmp::v1::{Kind, Notify, NotifyKind, Payload, emit, flags};
use adit_isakmp::{ExchangeType, Flags, HEADER_LEN, Header, VERSION_1};

use super::*;

fn up(seed: u64) -> World {
    let mut world = World::new(seed);
    world.dial(config());
    world.run(Duration::from_secs(3));
    assert_eq!(world.same(), 2);
    world
}

/// As the other end sees where a datagram came from.
fn there(path: Path) -> Path {
    Path { local: path.remote, remote: path.local }
}

fn first_message(cookie: u64) -> Vec<u8> {
    let life = Duration::from_hours(8);
    let sa = adit_isakmp::v1::proposal::offer_ike(&ike(IKE), AuthMethod::Psk, life, None).unwrap();
    let header = Header {
        initiator_spi: cookie,
        responder_spi: 0,
        version: VERSION_1,
        exchange: ExchangeType::IDENTITY_PROTECTION,
        flags: Flags(0),
        message_id: 0,
    };
    emit(&header, &[Payload::Sa(sa)]).unwrap()
}

#[test]
fn a_flood_of_first_messages_costs_bounded_memory_and_a_real_client_still_gets_in() {
    let mut world = World::new(50);
    for n in 1..=5000_u64 {
        let remote = format!("10.{}.{}.{}:500", n % 200, n / 200, n % 7).parse().unwrap();
        let path = Path { local: "198.51.100.1:500".parse().unwrap(), remote };
        world.ends[1].endpoint.handle(world.now, Input::Datagram { path, payload: first_message(n) });
        while world.ends[1].endpoint.poll().is_some() {}
        assert!(world.ends[1].endpoint.half_open() <= 100 && world.ends[1].endpoint.len() <= 100);
    }
    assert_eq!(world.ends[1].endpoint.counters().evicted, 4900);
    world.dial(config());
    world.run(Duration::from_secs(3));
    assert_eq!(world.same(), 2);
    world.run(Duration::from_secs(60));
    assert_eq!((world.ends[1].endpoint.half_open(), world.ends[1].endpoint.len()), (0, 1));
}

#[test]
fn one_address_has_only_its_share() {
    let mut world = World::new(51);
    let path = Path { local: "198.51.100.1:500".parse().unwrap(), remote: "10.0.0.1:500".parse().unwrap() };
    for n in 1..=200 {
        world.ends[1].endpoint.handle(world.now, Input::Datagram { path, payload: first_message(n) });
    }
    assert_eq!(world.ends[1].endpoint.half_open(), 50);
    assert_eq!(world.ends[1].endpoint.counters().refused, 150);
}

// [2409:5.5-6]
#[test]
fn whatever_is_sent_again_later_changes_nothing() {
    let mut world = up(52);
    let sent = world.log.clone();
    let before: Vec<_> =
        world.ends.iter().map(|e| (e.events.len(), e.inbound.clone(), e.outbound.clone())).collect();
    world.run(Duration::from_secs(5));
    for (from, path, bytes) in sent {
        let end = 1 - from;
        world.ends[end].endpoint.handle(world.now, Input::Datagram { path: there(path), payload: bytes });
        while let Some(output) = world.ends[end].endpoint.poll() {
            // A message that was lost may have to be repeated; nothing is asked, and nothing happens. A first message
            // alone begins something, which comes to nothing.
            match output {
                Output::Transmit(_) | Output::Event { event: Event::Incoming { .. }, .. } => {}
                Output::Ask { ask, .. } => panic!("{ask:?}"),
                Output::Event { event, .. } => panic!("{event:?}"),
            }
        }
    }
    for (end, (events, inbound, outbound)) in world.ends.iter().zip(before) {
        assert_eq!((end.events.len(), &end.inbound, &end.outbound), (events, &inbound, &outbound));
    }
    assert!(world.ends[1].endpoint.counters().replayed > 0);
}

// [2409:5-6] [2409:5-10] [2408:5.14-1]
#[test]
fn no_bit_of_a_protected_message_can_be_changed() {
    let mut world = up(53);
    let sa = world.ends[0].sa();
    let child = Some(world.ends[0].inbound.values().next().unwrap().child);
    // The first message of a Quick Mode, held back.
    world.tap = Some(Box::new(|_, _, _| false));
    world.input(0, Input::Rekey { sa, child });
    let (_, path, bytes) = world.log.last().unwrap().clone();
    world.tap = None;
    for bit in (HEADER_LEN * 8)..(bytes.len() * 8) {
        let mut changed = bytes.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        world.ends[1].endpoint.handle(world.now, Input::Datagram { path: there(path), payload: changed });
        assert!(world.ends[1].endpoint.poll().is_none(), "bit {bit}");
    }
    // The real one is still as good.
    world.input(1, Input::Datagram { path: there(path), payload: bytes });
    world.run(Duration::from_secs(125));
    assert_eq!(world.same(), 2);
    assert!(world.ends[1].endpoint.counters().forged > 1000);
}

fn notice(cookies: (u64, u64), payload: Payload) -> Vec<u8> {
    let header = Header {
        initiator_spi: cookies.0,
        responder_spi: cookies.1,
        version: VERSION_1,
        exchange: ExchangeType::INFORMATIONAL_V1,
        flags: Flags(0),
        message_id: 77,
    };
    emit(&header, &[payload]).unwrap()
}

fn cookies(bytes: &[u8]) -> (u64, u64) {
    let number = |at: usize| u64::from_be_bytes(bytes[at..at + 8].try_into().unwrap());
    (number(0), number(8))
}

// [2408:5.14-1]
#[test]
fn what_is_said_in_clear_ends_nothing_that_is_up() {
    let mut world = up(54);
    let of = cookies(&world.log.last().unwrap().2);
    let spi = [of.0.to_be_bytes(), of.1.to_be_bytes()].concat();
    let delete = Payload::Delete(adit_isakmp::v1::Delete::new(Protocol::IKE, vec![spi]));
    let error = Notify::new(Protocol::IKE, Vec::new(), NotifyKind::AUTHENTICATION_FAILED, Vec::new());
    for payload in [delete, Payload::Notify(error)] {
        for end in [0, 1] {
            let mut path = path();
            if end == 1 {
                path = there(path);
            }
            world.input(end, Input::Datagram { path, payload: notice(of, payload.clone()) });
        }
    }
    world.run(Duration::from_secs(5));
    assert_eq!(world.same(), 2);
    assert!(world.ends.iter().all(|e| e.failure().is_none()));
}

#[test]
fn one_forged_refusal_does_not_end_an_attempt() {
    let mut world = World::new(55);
    let mut lost = 0;
    world.tap = Some(Box::new(move |_, _, _| {
        lost += 1;
        lost > 1
    }));
    world.dial(config());
    let of = cookies(&world.log[0].2);
    let error = Notify::new(Protocol::IKE, Vec::new(), NotifyKind::NO_PROPOSAL_CHOSEN, Vec::new());
    world.input(0, Input::Datagram { path: path(), payload: notice((of.0, 99), Payload::Notify(error)) });
    world.run(Duration::from_secs(10));
    assert!(world.ends[0].established().is_some());
}

#[test]
fn a_commit_bit_changes_nothing() {
    let mut world = World::new(56);
    world.tap = Some(Box::new(|from, _, bytes| {
        // The responder of Quick Mode sets it in its message.
        if from == 1 && bytes[18] == ExchangeType::QUICK_MODE.0 {
            bytes[19] |= flags::COMMIT.0;
        }
        true
    }));
    world.dial(config());
    world.run(Duration::from_secs(3));
    assert!(world.ends.iter().all(|e| e.established().is_some()));
    assert_eq!(world.same(), 2);
}

// [2408:5.2-1] [2408:5.2-2] [2408:5.2-3] [2408:3.1-1]
#[test]
fn strangers_are_dropped_without_a_word() {
    let mut world = World::new(57);
    let at = there(path());
    let good = first_message(5);
    let change = |at: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[at] = byte;
        bytes
    };
    let mut long = good.clone();
    long.push(0);
    let all = [change(8, 1), change(17, 0x20), change(18, 99), change(18, 6), long, vec![], vec![0; 28]];
    for bytes in all {
        world.input(1, Input::Datagram { path: at, payload: bytes });
    }
    assert!(world.ends[1].events.is_empty() && world.ends[1].endpoint.is_empty() && world.log.is_empty());
}

// [2408:3.5-1] [2408:3.4-1]
#[test]
fn a_first_message_of_another_doi_or_with_a_cut_payload_is_dropped() {
    let mut world = World::new(58);
    for (at, byte) in [(35, 2), (31, 3), (31, 0xff)] {
        let mut bytes = first_message(6);
        bytes[at] = byte;
        world.input(1, Input::Datagram { path: there(path()), payload: bytes });
    }
    assert!(world.ends[1].endpoint.is_empty() && world.log.is_empty());
}

#[test]
fn a_peer_that_authenticates_and_wants_nothing_does_not_stay() {
    let mut world = World::new(59);
    world.tap = Some(Box::new(|_, _, bytes| bytes[18] != ExchangeType::QUICK_MODE.0));
    world.dial(config());
    world.run(Duration::from_secs(120));
    assert!(world.ends.iter().all(|e| e.endpoint.is_empty()));
    assert!(world.ends[1].failure().is_some());
}

#[test]
fn fragments_of_strangers_are_not_kept() {
    let mut world = World::new(60);
    let header = Header {
        initiator_spi: 9,
        responder_spi: 9,
        version: VERSION_1,
        exchange: ExchangeType::IDENTITY_PROTECTION,
        flags: Flags(0),
        message_id: 0,
    };
    let fragment = adit_isakmp::v1::Fragment { id: 1, number: 1, last: false, data: vec![0; 1000] };
    let bytes = emit(&header, &[Payload::Fragment(fragment)]).unwrap();
    assert_eq!(bytes[16], Kind::FRAGMENT.0);
    world.input(1, Input::Datagram { path: there(path()), payload: bytes });
    assert_eq!(world.ends[1].endpoint.counters().stray, 1);
}

// [2409:5.5-6]
#[test]
fn what_we_said_ourselves_is_not_believed_when_it_comes_back() {
    let mut world = up(61);
    let (sa, child) = (world.ends[0].sa(), Some(world.ends[0].inbound.values().next().unwrap().child));
    world.input(0, Input::Rekey { sa, child });
    // Long enough for questions whether the peer lives, and for finished exchanges to be forgotten.
    world.run(Duration::from_mins(10));
    let sent = world.log.clone();
    for (from, path, bytes) in sent {
        let end = &mut world.ends[from].endpoint;
        end.handle(world.now, Input::Datagram { path, payload: bytes });
        while let Some(output) = end.poll() {
            match output {
                Output::Ask { ask, .. } => panic!("{ask:?}"),
                Output::Event { event, .. } => panic!("{event:?}"),
                Output::Transmit(t) => assert!(t.payload == [0xff], "something was answered"),
            }
        }
    }
    assert!(world.ends.iter().all(|e| e.endpoint.counters().replayed > 5));
    assert_eq!(world.same(), 2);
}
