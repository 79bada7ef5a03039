//! What happens to a connection that is up.

use super::*;

fn child_of(end: &End) -> ChildId {
    end.inbound.values().next().unwrap().child
}

#[test]
fn either_end_rekeys_a_child_sa() {
    for end in [0, 1] {
        let mut world = up(30, config());
        let old = world.ends[end].inbound.clone();
        let (sa, child) = (world.ends[end].sa(), Some(child_of(&world.ends[end])));
        world.input(end, Input::Rekey { sa, child });
        world.run(Duration::from_secs(125));
        assert_eq!(world.same(), 2, "{end}");
        let ups = world.ends[end].events.iter().filter_map(|(_, e)| match e {
            Event::ChildUp(up) => Some(up.replaces),
            _ => None,
        });
        assert_eq!(ups.collect::<Vec<_>>(), [child]);
        assert!(world.ends[end].inbound.keys().all(|spi| !old.contains_key(spi)));
        assert!(world.ends.iter().all(|e| e.failure().is_none()));
    }
}

/// A client without perfect forward secrecy, or with another group, at a server that would rather have its own: what the server
/// offers in the CHILD_SA's place is what the client has.
#[test]
fn a_child_sa_is_rekeyed_with_the_group_that_it_has() {
    for offered in ["aes128-sha256", "aes128-sha256-ecp384"] {
        let mut world = World::new(33);
        world.ends[1].config.esp = ["aes128-sha256-ecp256-ecp384", "aes128-sha256"].map(esp).concat();
        world.ends[0].config.esp = esp(offered);
        world.dial(InitiatorConfig { esp: esp(offered), ..config() });
        world.run(Duration::from_secs(3));
        let (sa, child) = (world.ends[1].sa(), Some(child_of(&world.ends[1])));
        world.input(1, Input::Rekey { sa, child });
        world.run(Duration::from_secs(125));
        let refused = world.ends[1].count(|e| matches!(e, Event::RekeyRefused { .. }));
        let ups = world.ends[1].count(|e| matches!(e, Event::ChildUp(_)));
        assert_eq!((refused, ups, world.same()), (0, 1, 2), "{offered}");
    }
}

#[test]
fn a_child_sa_is_rekeyed_before_its_life_is_over() {
    let mut world = up(31, config());
    world.run(Duration::from_hours(30));
    assert_eq!(world.same(), 2);
    let [a, b] = &world.ends;
    // Once an hour, less a tenth.
    let ups = a.count(|e| matches!(e, Event::ChildUp(_)));
    assert!((29..=36).contains(&ups), "{ups}");
    assert_eq!(b.count(|e| matches!(e, Event::ChildUp(_))), ups);
    // And the ISAKMP SA every four hours.
    let rekeyed = a.count(|e| matches!(e, Event::Rekeyed { .. }));
    assert!((6..=9).contains(&rekeyed), "{rekeyed}");
    assert_eq!(b.count(|e| matches!(e, Event::Rekeyed { .. })), rekeyed);
    assert!(a.failure().is_none() && b.failure().is_none());
    assert_eq!((a.endpoint.len(), b.endpoint.len()), (1, 1));
    assert_eq!(b.endpoint.half_open(), 0);
}

// [2409:4-3]
#[test]
fn the_shorter_life_counts_on_both_ends() {
    let short = Timing { rekey_child: Duration::from_mins(4), ..timing() };
    let mut world = World::new(32);
    world.ends[1].config.timing = short;
    world.dial(config());
    world.run(Duration::from_mins(30));
    // The client's own hour would be far too long: the server has told it of its six minutes.
    assert!(world.ends[0].count(|e| matches!(e, Event::ChildUp(_))) >= 5);
    assert_eq!(world.same(), 2);
    assert!(world.ends.iter().all(|e| e.failure().is_none()));
}

/// The client is told of the shorter life of the server's ISAKMP SA too, and makes a new one before it is over. A client that
/// can't loses nothing by it.
// [2409:4-3]
#[test]
fn the_servers_shorter_life_of_an_isakmp_sa_ends_nothing() {
    for deaf in [false, true] {
        let mut world = World::new(71);
        world.ends[1].config.timing = Timing { rekey_ike: Duration::from_mins(4), ..timing() };
        world.dial(config());
        world.run(Duration::from_secs(3));
        if deaf {
            // It asks for a new one, and nobody answers.
            world.ends[1].endpoint.set_responder(None);
        }
        world.run(Duration::from_mins(30));
        let rekeyed = world.ends[0].count(|e| matches!(e, Event::Rekeyed { .. }));
        assert!(if deaf { rekeyed == 0 } else { rekeyed >= 5 }, "{rekeyed}");
        assert_eq!(world.same(), 2, "{deaf}");
        assert!(world.ends.iter().all(|e| e.failure().is_none()), "{deaf}");
    }
}

/// The third message of Quick Mode has no answer: until the peer has surely had it, what it replaces goes on.
#[test]
fn what_is_replaced_goes_on_until_the_peer_has_what_replaces_it() {
    let mut world = up(72, config());
    let (sa, child) = (world.ends[0].sa(), Some(child_of(&world.ends[0])));
    let before = world.ends[1].outbound.clone();
    let mut quick = 0;
    world.tap = Some(Box::new(move |end, _, bytes| {
        // The third message is lost once.
        quick += usize::from(end == 0 && bytes[18] == 32);
        end != 0 || bytes[18] != 32 || quick != 2
    }));
    world.input(0, Input::Rekey { sa, child });
    world.run(Duration::from_millis(500));
    let [a, b] = &world.ends;
    assert_eq!(b.outbound, before, "the third message has not come yet");
    assert!(b.outbound.keys().all(|spi| a.inbound.contains_key(spi)) && a.inbound.len() == 2);
    world.run(Duration::from_secs(150));
    assert_eq!(world.same(), 2);
    assert!(world.ends.iter().all(|e| e.inbound.len() == 1 && e.failure().is_none()));
}

/// Nor does it say whether the peer reads by the new pair yet (strongSwan installs its own with it): a moment long the old one is
/// sent by.
#[test]
fn what_replaces_a_pair_is_sent_by_when_the_peer_has_surely_had_the_third_message() {
    let mut world = up(73, config());
    let (sa, child) = (world.ends[0].sa(), Some(child_of(&world.ends[0])));
    let before = world.ends[0].outbound.clone();
    world.input(0, Input::Rekey { sa, child });
    world.run(Duration::from_secs(4));
    let [a, b] = &world.ends;
    assert_eq!((a.inbound.len(), b.outbound.len()), (2, 2), "the third message is there");
    assert_eq!(a.outbound, before);
    world.run(Duration::from_secs(2));
    assert_eq!(world.ends[0].outbound.len(), 2);
    assert_eq!(world.same(), 4);
    world.run(Duration::from_secs(125));
    assert_eq!(world.same(), 2);
}

/// As long as it asks for it again, it has not had it.
#[test]
fn a_peer_that_asks_for_the_third_message_again_is_not_sent_to_by_the_new_pair() {
    let mut world = up(74, config());
    let (sa, child) = (world.ends[0].sa(), Some(child_of(&world.ends[0])));
    let (before, until) = (world.ends[0].outbound.clone(), world.log.len());
    let mut quick = 0;
    world.tap = Some(Box::new(move |end, _, bytes| {
        // The third message is lost twice: it is asked for again after one second, and after two more.
        quick += usize::from(end == 0 && bytes[18] == 32);
        end != 0 || bytes[18] != 32 || !(2..=3).contains(&quick)
    }));
    world.input(0, Input::Rekey { sa, child });
    world.run(Duration::from_secs(7));
    assert!(world.log.len() > until && world.ends[1].outbound.len() == 2);
    assert_eq!(world.ends[0].outbound, before);
    world.run(Duration::from_secs(125));
    assert_eq!(world.same(), 2);
}

/// Whatever carried is gone, by the peer's word or ours: there is nothing else to send by.
#[test]
fn the_new_pair_is_sent_by_at_once_when_the_old_one_goes() {
    for end in [0, 1] {
        let mut world = up(75, config());
        let (sa, child) = (world.ends[0].sa(), child_of(&world.ends[0]));
        let (other, theirs) = (world.ends[1].sa(), child_of(&world.ends[1]));
        world.input(0, Input::Rekey { sa, child: Some(child) });
        world.run(Duration::from_millis(300));
        let close = [(sa, child), (other, theirs)][end];
        world.input(end, Input::CloseChild { sa: close.0, child: close.1 });
        world.run(Duration::from_millis(100));
        assert_eq!(world.same(), 2, "{end}");
        assert!(world.ends.iter().all(|e| e.outbound.len() == 1), "{end}");
    }
}

/// The kernel refuses the outbound SA: the old pair carries on for its own life, and is rekeyed again.
#[test]
fn a_pair_that_can_not_be_sent_by_is_taken_back() {
    let mut world = up(76, config());
    let (sa, child) = (world.ends[0].sa(), Some(child_of(&world.ends[0])));
    world.input(0, Input::Rekey { sa, child });
    world.run(Duration::from_millis(300));
    world.ends[0].refuse_install = true;
    world.run(Duration::from_secs(6));
    world.ends[0].refuse_install = false;
    assert_eq!(world.ends[0].count(|e| matches!(e, Event::RekeyRefused { .. })), 1);
    assert_eq!(world.same(), 2);
    world.run(Duration::from_secs(300));
    assert_eq!(world.same(), 2);
    assert_eq!(world.ends[0].count(|e| matches!(e, Event::ChildUp(_))), 2);
    assert!(world.ends.iter().all(|e| e.failure().is_none()));
}

/// A Quick Mode that has begun under an ISAKMP SA ends under it, while there is a new one already.
#[test]
fn a_quick_mode_survives_a_new_isakmp_sa() {
    for seed in 100..140 {
        let mut world = up(seed, config());
        world.slowest = Duration::from_millis(400);
        let (sa, other) = (world.ends[0].sa(), world.ends[1].sa());
        world.input(0, Input::Rekey { sa, child: None });
        let pause = world.random.between(Duration::ZERO, Duration::from_millis(2400));
        world.run(pause);
        let child = Some(child_of(&world.ends[1]));
        world.input(1, Input::Rekey { sa: other, child });
        world.run(Duration::from_secs(150));
        assert_eq!(world.same(), 2, "{seed}");
        for end in &world.ends {
            assert_eq!(end.count(|e| matches!(e, Event::RekeyRefused { .. })), 0, "{seed}");
            assert_eq!(end.count(|e| matches!(e, Event::Rekeyed { .. })), 1, "{seed}");
            assert_eq!(end.count(|e| matches!(e, Event::ChildUp(_))), 1, "{seed}");
            assert!(end.failure().is_none(), "{seed}");
        }
    }
}

/// Nor before the peer has had the third message of one: it would take back what is up for us, and the Delete that says so has no
/// answer.
#[test]
fn an_isakmp_sa_stays_as_long_as_a_third_message_may_be_asked_for() {
    let mut world = up(77, config());
    let (sa, child) = (world.ends[0].sa(), Some(child_of(&world.ends[0])));
    let mut quick = 0;
    world.tap = Some(Box::new(move |end, _, bytes| {
        // The third message is lost until it is asked for after seven seconds, and so is whatever the peer says besides.
        quick += usize::from(end == 0 && bytes[18] == 32);
        if end == 0 { bytes[18] != 32 || !(2..=4).contains(&quick) } else { bytes[18] != 5 }
    }));
    world.input(0, Input::Rekey { sa, child });
    world.run(Duration::from_millis(100));
    world.input(0, Input::Rekey { sa, child: None });
    world.run(Duration::from_secs(20));
    world.tap = None;
    assert_eq!(world.ends[0].count(|e| matches!(e, Event::Rekeyed { .. })), 1);
    assert!(world.carries());
    world.run(Duration::from_secs(150));
    assert_eq!(world.same(), 2);
    assert!(world.ends.iter().all(|e| e.failure().is_none()));
}

/// strongSwan hands its CHILD_SAs to a new ISAKMP SA when that comes up; what comes up under the old one later goes with it.
#[test]
fn what_we_rekey_comes_up_under_the_isakmp_sa_that_stays() {
    for child_first in [false, true] {
        let mut world = up(78, config());
        world.slowest = Duration::from_millis(400);
        let (sa, child) = (world.ends[0].sa(), Some(child_of(&world.ends[0])));
        for child in if child_first { [child, None] } else { [None, child] } {
            world.input(0, Input::Rekey { sa, child });
            world.run(Duration::from_millis(10));
        }
        world.run(Duration::from_secs(6));
        // Of both in turn, neither begins before the other is over.
        let all = world.ends[0].events.iter().filter_map(|(_, e)| match e {
            Event::ChildUp(_) => Some(true),
            Event::Rekeyed { .. } => Some(false),
            _ => None,
        });
        assert_eq!(all.collect::<Vec<_>>(), [child_first, !child_first]);
        let kinds = world.log.iter().filter(|(end, ..)| *end == 0).map(|(_, _, bytes)| bytes[18]);
        let mut kinds: Vec<u8> = kinds.filter(|kind| *kind != 5).skip(5).collect();
        kinds.dedup();
        assert_eq!(kinds, if child_first { [32, 2] } else { [2, 32] });
        world.run(Duration::from_secs(150));
        assert_eq!(world.same(), 2);
    }
}

/// Whichever waits for the other is told when that is over.
#[test]
fn what_waits_for_the_other_begins_when_that_is_over() {
    for child_first in [false, true] {
        let mut world = up(79, config());
        world.slowest = Duration::from_millis(400);
        let (sa, child) = (world.ends[0].sa(), Some(child_of(&world.ends[0])));
        for child in if child_first { [child, None] } else { [None, child] } {
            world.input(0, Input::Rekey { sa, child });
        }
        let mut waited = 0;
        let first = |e: &Event| match e {
            Event::ChildUp(_) => child_first,
            Event::Rekeyed { .. } => !child_first,
            _ => false,
        };
        while world.ends[0].count(first) == 0 {
            world.run(Duration::from_millis(1));
            waited += 1;
            assert!(waited < 6_000);
        }
        // In the same moment: neither looks now and then whether its turn has come.
        let last = world.log.iter().rev().find(|(end, _, bytes)| *end == 0 && bytes[18] != 5);
        assert_eq!(last.unwrap().2[18], if child_first { 2 } else { 32 });
        world.run(Duration::from_secs(150));
        assert_eq!(world.same(), 2);
    }
}

#[test]
fn when_both_ends_rekey_at_once_one_pair_stays() {
    for seed in 40..48 {
        let mut world = up(seed, config());
        for end in [0, 1] {
            let (sa, child) = (world.ends[end].sa(), Some(child_of(&world.ends[end])));
            world.input(end, Input::Rekey { sa, child });
        }
        world.run(Duration::from_secs(150));
        // The other one is there as long as its life, in case the peer sends by it; whoever has made it does not.
        assert_eq!(world.same(), 3, "{seed}");
        assert!(world.carries() && world.ends.iter().all(|e| e.failure().is_none()));
        // What stays is rekeyed again.
        world.run(Duration::from_hours(3));
        assert_eq!(world.same(), 2, "{seed}");
    }
}

#[test]
fn the_isakmp_sa_is_made_anew_under_the_same_child_sas() {
    let mut world = up(33, config());
    let (sa, before) = (world.ends[0].sa(), world.ends[0].inbound.clone());
    world.input(0, Input::Rekey { sa, child: None });
    world.run(Duration::from_secs(125));
    let [a, b] = &world.ends;
    assert_eq!(a.count(|e| matches!(e, Event::Rekeyed { .. })), 1);
    let of = |end: &End| end.events.iter().find(|(_, e)| matches!(e, Event::Rekeyed { .. })).unwrap().0;
    assert_eq!((of(a), of(b)), (a.sa(), b.sa()));
    assert_eq!(a.inbound, before);
    assert_eq!((a.endpoint.established(), b.endpoint.established()), (1, 1));
    // Quick Mode goes on under the new one, and the end is heard of.
    let child = Some(child_of(a));
    world.input(0, Input::Rekey { sa, child });
    world.run(Duration::from_secs(125));
    assert_eq!(world.same(), 2);
    world.input(0, Input::Close { sa });
    world.run(Duration::from_secs(125));
    assert!(world.ends.iter().all(|e| e.endpoint.is_empty() && e.inbound.is_empty()));
}

#[test]
fn an_isakmp_sa_that_can_not_be_made_anew_costs_nothing_until_its_life_is_over() {
    let mut world = up(34, config());
    let sa = world.ends[0].sa();
    world.ends[1].endpoint.set_responder(None);
    world.input(0, Input::Rekey { sa, child: None });
    world.run(Duration::from_secs(60));
    assert!(world.ends[0].count(|e| matches!(e, Event::RekeyRefused { child: None, .. })) > 0);
    assert_eq!(world.same(), 2);
    assert!(world.ends[0].failure().is_none());
}

// [2408:5.15-1]
#[test]
fn closing_tells_the_peer() {
    for end in [0, 1] {
        let mut world = up(35, config());
        let sa = world.ends[end].sa();
        world.input(end, Input::Close { sa });
        world.run(Duration::from_secs(1));
        assert!(
            world.ends.iter().all(|e| e.endpoint.is_empty() && e.inbound.is_empty() && e.outbound.is_empty())
        );
        assert_eq!(world.ends[1 - end].failure().unwrap().code, FailureCode::PeerClosed);
        assert_eq!(world.ends[end].count(|e| matches!(e, Event::Closed(Ok(())))), 1);
    }
}

// [2409:5.7-1] [3706:5-1] [3706:5.3-1] [3706:5.4-1] [3706:5.4-2] [3706:6.2-1]
#[test]
fn a_silent_peer_is_asked_whether_it_lives_and_answers() {
    let mut world = up(36, config());
    let before = world.log.len();
    world.run(Duration::from_mins(10));
    let asked = world.log.len() - before;
    // Both ask and answer: about two messages each half a minute.
    assert!((36..=90).contains(&asked), "{asked}");
    assert!(world.ends.iter().all(|e| e.failure().is_none()));
    assert!(world.ends.iter().all(|e| e.endpoint.counters() == Default::default()));
}

// [3706:5.5-1]
#[test]
fn a_dead_peer_is_given_up() {
    let mut world = up(37, config());
    world.loss = 1000;
    world.run(Duration::from_mins(5));
    for end in &world.ends {
        assert_eq!(end.failure().unwrap().code, FailureCode::PeerLost);
        assert!(end.endpoint.is_empty() && end.inbound.is_empty());
    }
}

#[test]
fn a_client_that_was_killed_and_comes_again_says_so() {
    let mut world = up(38, config());
    let crypto = world.ends[0].crypto.clone();
    world.ends[0] = End::new(555, crypto, None);
    world.dial(config());
    world.run(Duration::from_secs(3));
    let server = &world.ends[1];
    assert_eq!(server.count(|e| matches!(e, Event::Established(_))), 2);
    assert_eq!(server.failure().unwrap().code, FailureCode::PeerClosed);
    assert_eq!(server.endpoint.established(), 1);
    assert_eq!(world.same(), 2);
}

#[test]
fn child_sas_outlive_an_isakmp_sa_whose_end_was_near() {
    let mut world = World::new(39);
    // A peer that does not make a new one: its CHILD_SA lives longer than the ISAKMP SA.
    let timing = Timing {
        rekey_ike: Duration::from_mins(10),
        rekey_child: Duration::from_hours(2),
        dead_peer: Duration::ZERO,
        ..timing()
    };
    world.ends[1].config.timing = timing;
    world.dial(InitiatorConfig { timing, ..config() });
    world.run(Duration::from_secs(3));
    world.ends[1].endpoint.set_responder(None);
    world.run(Duration::from_mins(30));
    assert_eq!(world.same(), 2);
    assert!(world.ends.iter().all(|e| e.failure().is_none()));
}

#[test]
fn a_client_without_dpd_is_not_asked() {
    let mut world = World::new(70);
    let dpd = 0xafca_d713_68a1_f1c9_6b86_96fc_7757_0100_u128.to_be_bytes();
    world.tap = Some(Box::new(move |_, _, bytes| {
        if let Some(at) = bytes.windows(16).position(|w| w == dpd) {
            bytes[at] ^= 1;
        }
        true
    }));
    world.dial(config());
    world.run(Duration::from_mins(10));
    assert_eq!(world.log.len(), 9);
}
