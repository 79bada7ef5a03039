//! A connection that goes on in another process.

use adit_isakmp::HeaderView;

use super::*;

/// An end's process is gone, and another one goes on, with other names for everything and other chance.
pub(super) fn restart(world: &mut World, end: usize) -> bool {
    let of = world.ends[end].sa();
    let Some(snapshot) = world.ends[end].endpoint.snapshot(of) else { return false };
    let defaults = (end == 1).then(defaults);
    let chance = Random::new(world.random.below(u64::MAX));
    let mut endpoint = Endpoint::new(world.ends[end].crypto.clone(), Box::new(chance), defaults);
    let (dialled, answered) = (world.dialled.clone(), world.ends[end].config.clone());
    let rules = if end == 0 { Rules::Initiator(&dialled) } else { Rules::Responder(&answered) };
    let restored = endpoint.restore(world.now, &snapshot, rules).expect("it is good");
    let this = &mut world.ends[end];
    this.endpoint = endpoint;
    this.goes_on = Some(restored.sa);
    this.knows_again(&restored);
    world.drain(end);
    true
}

impl End {
    /// What is in the kernel is what was handed on.
    fn knows_again(&mut self, restored: &Restored) {
        assert_eq!(self.inbound.len(), restored.children.len());
        let mut waiting = BTreeMap::new();
        for child in &restored.children {
            let inside = self.inbound.get_mut(&child.inbound_spi).expect("its inbound SA");
            assert_eq!((inside.suite, inside.mode), (child.suite, child.mode));
            inside.child = child.child;
            match self.outbound.get_mut(&child.outbound_spi) {
                Some(outside) => {
                    assert!(child.sends);
                    outside.child = child.child;
                }
                None => {
                    assert!(!child.sends);
                    let left = self.waiting.values().find(|(spi, _)| *spi == child.outbound_spi);
                    let (spi, mut installed) = left.expect("it was to come").clone();
                    installed.child = child.child;
                    waiting.insert(child.child, (spi, installed));
                }
            }
        }
        self.waiting = waiting;
    }
}

/// Message IDs of what an end has sent since: each stands for an IV.
fn ids(world: &World, end: usize, since: usize) -> Vec<u32> {
    let all = world.log[since..].iter().filter(|(from, _, bytes)| *from == end && bytes.len() > 28);
    all.map(|(_, _, bytes)| HeaderView::parse(bytes).unwrap().header().message_id).collect()
}

#[test]
fn both_ends_go_on_and_do_all_that_there_is_to_do() {
    for nat in [false, true] {
        for end in [0, 1] {
            let mut world = World::new(90);
            world.nat = nat.then_some("203.0.113.9");
            world.dial(config());
            world.run(Duration::from_secs(3));
            let before = (world.ends[end].inbound.keys().copied().collect::<Vec<_>>(), world.log.len());
            assert!(restart(&mut world, end));
            world.run(Duration::from_secs(3));
            assert_eq!(world.ends[end].inbound.keys().copied().collect::<Vec<_>>(), before.0);
            // It has asked whether the peer is there, and was heard.
            assert!(ids(&world, end, before.1).iter().any(|id| *id != 0));
            assert_eq!(world.ends[1 - end].endpoint.counters().forged, 0);
            for round in 0..4 {
                let who = round % 2;
                let sa = world.ends[who].sa();
                let child = world.ends[who].inbound.values().map(|i| i.child).max();
                world.input(who, Input::Rekey { sa, child });
                world.run(Duration::from_secs(130));
                assert_eq!(world.same(), 2, "{nat} {end} {round}");
                let client = world.ends[0].sa();
                world.input(0, Input::Rekey { sa: client, child: None });
                world.run(Duration::from_secs(130));
            }
            for this in &world.ends {
                assert!(this.failure().is_none(), "{:?}", this.failure());
                assert_eq!(this.count(|e| matches!(e, Event::Rekeyed { .. })), 4);
                assert_eq!(this.endpoint.established(), 1);
            }
            let sa = world.ends[end].sa();
            world.input(end, Input::Close { sa });
            world.run(Duration::from_mins(3));
            assert!(world.ends.iter().all(|e| e.endpoint.is_empty() && e.inbound.is_empty()));
        }
    }
}

/// Whole days of a connection whose ends are replaced again and again.
#[test]
fn lifetimes_go_on() {
    let mut world = up(91, config());
    for round in 0..60 {
        world.run(Duration::from_mins(17));
        if !restart(&mut world, round % 2) {
            world.run(Duration::from_secs(10));
            assert!(restart(&mut world, round % 2), "{round}");
        }
    }
    world.run(Duration::from_mins(10));
    assert_eq!(world.same(), 2);
    let [a, b] = &world.ends;
    assert!(a.failure().is_none() && b.failure().is_none());
    let ups = a.count(|e| matches!(e, Event::ChildUp(_)));
    assert!((17..=21).contains(&ups), "{ups}");
    assert!((4..=6).contains(&a.count(|e| matches!(e, Event::Rekeyed { .. }))));
}

// [3706:5.5-1]
#[test]
fn a_question_on_its_way_is_sent_again_bit_for_bit() {
    let mut world = up(92, config());
    world.tap = Some(Box::new(|_, _, _| false));
    let (at, why) = world.ends[0].endpoint.deadline().unwrap();
    assert_eq!(why, Timer::DeadPeer);
    world.run(at.since(world.now));
    let asked = world.log.last().unwrap().2.clone();
    let since = world.log.len();
    world.tap = None;
    assert!(restart(&mut world, 0));
    assert_eq!(world.log[since].2, asked);
    world.run(Duration::from_secs(1));
    assert_eq!(world.ends[0].endpoint.deadline().map(|(_, why)| why), Some(Timer::DeadPeer));
}

/// The third message of a Quick Mode and the answer to R-U-THERE are repeated as they were by a process that never sent them.
// [2408:5.1-1]
#[test]
fn what_was_said_last_is_said_again() {
    let mut world = up(93, config());
    let (sa, child) = (world.ends[0].sa(), world.ends[0].inbound.values().next().map(|i| i.child));
    let since = world.log.len();
    world.input(0, Input::Rekey { sa, child });
    world.run(Duration::from_secs(1));
    let quick: Vec<_> = world.log[since..].iter().filter(|(_, _, b)| b[18] == 32).cloned().collect();
    let [_, (1, _, second), (0, _, third)] = quick.as_slice() else { panic!("{quick:?}") };
    assert!(restart(&mut world, 0));
    let since = world.log.len();
    world.input(0, Input::Datagram { path: path(), payload: second.clone() });
    assert_eq!(&world.log[since].2, third);
    // And what has been used counts no second time.
    assert!(restart(&mut world, 1));
    let back = Path { local: path().remote, remote: path().local };
    let (replayed, since) = (world.ends[1].endpoint.counters().replayed, world.log.len());
    world.input(1, Input::Datagram { path: back, payload: quick[0].2.clone() });
    assert_eq!(world.ends[1].endpoint.counters().replayed, replayed + 1);
    assert_eq!(world.log.len(), since);
}

/// A pair in another's place whose outbound SA is still to come: the next process installs it, with its keys.
#[test]
fn an_outbound_sa_that_waits_comes_in_the_next_process() {
    let mut world = up(94, config());
    let (sa, child) = (world.ends[0].sa(), world.ends[0].inbound.values().next().map(|i| i.child));
    world.input(0, Input::Rekey { sa, child });
    world.run(Duration::from_secs(2));
    assert_eq!((world.ends[0].inbound.len(), world.ends[0].outbound.len()), (2, 1));
    assert!(restart(&mut world, 0));
    world.run(Duration::from_secs(6));
    assert_eq!(world.ends[0].outbound.len(), 2);
    world.run(Duration::from_secs(125));
    assert_eq!(world.same(), 2);
}

#[test]
fn no_message_id_is_used_twice() {
    let mut world = up(95, config());
    for round in 0..50 {
        world.run(Duration::from_secs(31));
        restart(&mut world, round % 2);
    }
    for end in [0, 1] {
        let mut told: Vec<_> = ids(&world, end, 0).into_iter().filter(|id| *id != 0).collect();
        let mut messages: Vec<_> = world.log.iter().filter(|(from, ..)| *from == end).map(|l| &l.2).collect();
        messages.sort();
        messages.dedup();
        let informational = messages.iter().filter(|b| b.len() > 28 && b[18] == 5).count();
        told.sort_unstable();
        told.dedup();
        assert!(informational > 40);
        // Quick Mode's three messages have one.
        assert!(told.len() >= informational, "{} {informational}", told.len());
    }
}

#[test]
fn nothing_is_handed_on_while_sas_are_made() {
    let mut world = up(96, config());
    let of = |world: &World, end: usize| {
        let end = &world.ends[end];
        end.endpoint.snapshot(end.sa()).is_some()
    };
    assert!(of(&world, 0) && of(&world, 1));
    world.slowest = Duration::from_millis(5);
    for child in [world.ends[0].inbound.values().next().map(|i| i.child), None] {
        let sa = world.ends[0].sa();
        world.input(0, Input::Rekey { sa, child });
        assert!(!of(&world, 0), "{child:?}");
        world.run(Duration::from_secs(10));
        assert!(of(&world, 0) && of(&world, 1), "{child:?}");
    }
    let sa = world.ends[0].sa();
    world.input(0, Input::Close { sa });
    assert!(!of(&world, 0));
}

fn left(seed: u64) -> (World, Vec<u8>) {
    let mut world = up(seed, config());
    let (sa, child) = (world.ends[0].sa(), world.ends[0].inbound.values().next().map(|i| i.child));
    world.input(0, Input::Rekey { sa, child });
    world.run(Duration::from_secs(2));
    let snapshot = world.ends[0].endpoint.snapshot(sa).unwrap().to_vec();
    (world, snapshot)
}

#[test]
fn what_is_damaged_is_refused_or_means_something() {
    let (world, snapshot) = left(97);
    let restore = |bytes: &[u8], rules: Rules<'_>| {
        let mut end = End::new(3, world.ends[0].crypto.clone(), None);
        let restored = end.endpoint.restore(world.now, bytes, rules);
        assert_eq!(restored.is_none(), end.endpoint.is_empty());
        restored
    };
    let (ours, theirs) = (config(), responder_config());
    let goes_on = |bytes: &[u8]| restore(bytes, Rules::Initiator(&ours)).is_some();
    assert!(goes_on(&snapshot));
    assert!(restore(&snapshot, Rules::Responder(&theirs)).is_none(), "nobody has dialled us");
    for length in 0..snapshot.len() {
        assert!(!goes_on(&snapshot[..length]), "cut off after {length}");
    }
    assert!(!goes_on(&[snapshot.as_slice(), &[0]].concat()), "more than there is");
    for at in 0..snapshot.len() {
        for flip in [1, 0x80, 0xff] {
            let mut bytes = snapshot.clone();
            bytes[at] ^= flip;
            goes_on(&bytes);
        }
    }
    let mut other = snapshot;
    other[0] = 2;
    assert!(!goes_on(&other), "another version");
}

#[test]
fn what_was_read_is_what_was_written() {
    let (world, snapshot) = left(98);
    let mut end = End::new(3, world.ends[0].crypto.clone(), None);
    let rules = config();
    let restored = end.endpoint.restore(world.now, &snapshot, Rules::Initiator(&rules)).unwrap();
    // But for the question that is on its way now, and its Message ID.
    let again = end.endpoint.snapshot(restored.sa).unwrap();
    let mut third = End::new(4, world.ends[0].crypto.clone(), None);
    let same = third.endpoint.restore(world.now, &again, Rules::Initiator(&rules)).unwrap();
    let last = third.endpoint.snapshot(same.sa).unwrap();
    assert_eq!(last.as_slice(), again.as_slice());
    assert_eq!(restored.children.len(), 2);
}

#[test]
fn the_same_one_is_not_taken_up_twice() {
    let (world, snapshot) = left(99);
    let mut end = End::new(3, world.ends[0].crypto.clone(), None);
    let rules = config();
    assert!(end.endpoint.restore(world.now, &snapshot, Rules::Initiator(&rules)).is_some());
    assert!(end.endpoint.restore(world.now, &snapshot, Rules::Initiator(&rules)).is_none());
    assert_eq!(end.endpoint.established(), 1);
}
