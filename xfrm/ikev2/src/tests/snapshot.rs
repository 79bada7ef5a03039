//! An IKE_SA that goes on in another process.

use super::*;

/// The client's process is gone, and another one goes on.
fn again(now: Instant, client: &Node, sa: SaId) -> (Node, Restored) {
    let snapshot = client.endpoint.snapshot(sa).expect("it stands");
    let mut next = Node::new(CLIENT, 3, None);
    let restored = next.endpoint.restore(now, &snapshot, GoesOnBy::Initiator(&config())).expect("it is good");
    next.drain(now);
    (next, restored)
}

#[test]
fn it_goes_on_with_its_message_ids_and_its_child_sa() {
    let (mut client, mut server, sa) = up();
    let before = client.established().unwrap().clone();
    client.give(Instant::ZERO, Input::Rekey { sa, child: None });
    carry(Instant::ZERO, &mut client, &mut server);
    let now = Instant::ZERO + seconds(3);
    let (mut next, restored) = again(now, &client, sa);
    assert_eq!(restored.path, before.path);
    assert_eq!(restored.lease, before.lease);
    let [child] = restored.children.as_slice() else { panic!("{restored:?}") };
    assert_eq!(vec![(child.inbound_spi, child.outbound_spi)], client.up());
    assert_eq!((child.suite, &child.local_ts), (before.esp, &before.local_ts));
    // It asks whether the peer is there, under the next Message ID, and is heard.
    carry(now, &mut next, &mut server);
    assert_eq!(server.endpoint.counters().forged, 0);
    for node in [&mut next, &mut server] {
        assert!(node.closed().is_none());
    }
    // Both ends still do all that there is to do.
    next.give(now, Input::Rekey { sa: restored.sa, child: Some(child.child) });
    next.give(now, Input::Rekey { sa: restored.sa, child: None });
    carry(now, &mut next, &mut server);
    assert_eq!((next.rekeyed(), next.children.len()), (1, 1));
    let theirs = server.sa();
    server.give(now, Input::Close { sa: theirs });
    carry(now, &mut server, &mut next);
    assert_eq!(next.failure().code, FailureCode::PeerClosed);
    assert!(next.endpoint.is_empty());
}

#[test]
fn a_request_on_its_way_is_sent_again_bit_for_bit() {
    let (mut client, mut server, sa) = up();
    let (at, _) = client.endpoint.deadline().unwrap();
    client.give(at, Input::Wake);
    let asked = client.one();
    let (mut next, _) = again(at, &client, sa);
    assert_eq!(next.one().payload, asked.payload);
    // The peer has answered the one before, and does again.
    server.give(at, arrives(&asked));
    server.sent();
    server.give(at, arrives(&asked));
    let answer = server.one();
    next.give(at, arrives(&answer));
    assert!(next.sent().is_empty());
    assert_eq!(next.endpoint.deadline().map(|(_, why)| why), Some(Timer::DeadPeer));
}

#[test]
fn what_was_answered_is_answered_again() {
    let (mut client, mut server, sa) = up();
    let theirs = server.sa();
    let at = Instant::ZERO + seconds(40);
    server.give(at, Input::Wake);
    let asked = server.sent();
    assert!(!asked.is_empty(), "a liveness check");
    client.give(at, arrives(&asked[0]));
    let answer = client.sent();
    let (mut next, _) = again(at, &client, sa);
    next.sent();
    next.give(at, arrives(&asked[0]));
    assert_eq!(next.one().payload, answer.last().unwrap().payload);
    assert_eq!(server.sa(), theirs);
}

#[test]
fn no_iv_is_used_twice() {
    let (mut client, _, sa) = up();
    let now = Instant::ZERO + seconds(1);
    let iv = |t: &Transmit| t.payload[32..40].to_vec();
    let (mut next, restored) = again(now, &client, sa);
    let first = next.one();
    client.give(now, Input::Close { sa });
    let second = client.one();
    assert_ne!(iv(&first), iv(&second));
    next.give(now, Input::Close { sa: restored.sa });
    assert!(next.sent().iter().all(|t| iv(t) != iv(&first) && iv(t) != iv(&second)));
}

#[test]
fn nothing_is_handed_on_while_an_ike_sa_is_made() {
    let (mut client, mut server, sa) = up();
    client.rekey_ike(Instant::ZERO);
    assert!(client.endpoint.snapshot(sa).is_none());
    carry(Instant::ZERO, &mut client, &mut server);
    assert!(client.endpoint.snapshot(sa).is_some());
    client.give(Instant::ZERO, Input::Close { sa });
    assert!(client.endpoint.snapshot(sa).is_none());
}

/// The client's process is gone, another one goes on, and has SPIs of its own.
fn again_apart(now: Instant, client: &Node, sa: SaId) -> (Node, Restored) {
    let snapshot = client.endpoint.snapshot(sa).expect("somebody can go on");
    let mut next = Node::new(CLIENT, 3, None);
    next.spi = 0x00c0_0000;
    let restored = next.endpoint.restore(now, &snapshot, GoesOnBy::Initiator(&config())).expect("it is good");
    next.children = restored.children.iter().map(|child| of_restored(&restored, child)).collect();
    next.drain(now);
    (next, restored)
}

fn of_restored(of: &Restored, child: &RestoredChild) -> ChildSa {
    let keys = || EspKeys { encryption: Secret::new(Vec::new()), integrity: Secret::new(Vec::new()) };
    ChildSa {
        child: child.child,
        replaces: None,
        mode: child.mode,
        path: of.path,
        encapsulated: of.encapsulated,
        suite: child.suite,
        inbound_spi: child.inbound_spi,
        inbound: keys(),
        outbound_spi: child.outbound_spi,
        outbound: child.sends.then(keys),
        local_ts: child.local_ts.clone(),
        remote_ts: child.remote_ts.clone(),
        lease: of.lease.clone(),
        remote_id: of.remote_id.clone(),
        connection: None,
    }
}

/// Each has one CHILD_SA, which is the other's.
fn are_at_one(client: &Node, server: &Node) -> (u32, u32) {
    let (ours, theirs) = (client.up(), server.up());
    assert_eq!((ours.len(), theirs.len()), (1, 1), "{ours:?} {theirs:?}");
    assert_eq!(ours[0], (theirs[0].1, theirs[0].0));
    assert_eq!((client.endpoint.counters().forged, server.endpoint.counters().forged), (0, 0));
    ours[0]
}

/// How far our rekey of a CHILD_SA is when the process ends.
const MOMENTS: [&str; 3] = ["asked", "arrived", "Install"];

/// A client that has begun to rekey; what it has asked.
fn amidst_a_rekey(moment: &'static str, client: &mut Node, server: &mut Node) -> Transmit {
    let has_answer = moment == "Install";
    if has_answer {
        client.silent = moment;
    }
    client.rekey(Instant::ZERO);
    let asked = client.one();
    if moment != "asked" {
        server.give(Instant::ZERO, arrives(&asked));
        let answer = server.one();
        if has_answer {
            client.give(Instant::ZERO, arrives(&answer));
            assert!(client.held.is_some() && client.sent().is_empty());
        }
    }
    asked
}

#[test]
fn what_came_of_a_rekey_is_rekeyed_itself_at_once() {
    for moment in MOMENTS {
        let (mut client, mut server, sa) = up();
        let first = client.up();
        let asked = amidst_a_rekey(moment, &mut client, &mut server);
        let now = Instant::ZERO + seconds(3);
        let (mut next, restored) = again_apart(now, &client, sa);
        let spis = |c: &RestoredChild| (c.inbound_spi, c.outbound_spi);
        assert_eq!(restored.children.iter().map(spis).collect::<Vec<_>>(), first, "{moment}");
        let resent = next.sent();
        if moment == "Install" {
            // Its response has come.
            assert_ne!(resent[0].payload, asked.payload);
        } else {
            assert_eq!(resent.iter().map(|t| &t.payload).collect::<Vec<_>>(), [&asked.payload]);
        }
        resent.iter().for_each(|t| server.give(now, arrives(t)));
        carry(now, &mut next, &mut server);
        assert_ne!(are_at_one(&next, &server), first[0], "{moment}");
        // Each of the peer's is in the place of the one before: it was never to go back.
        let in_place: Vec<_> = server.ups().iter().map(|(_, replaces)| replaces.is_some()).collect();
        assert_eq!(in_place, [true, true], "{moment}");
        live(&mut next, &mut server, now + seconds(20));
        are_at_one(&next, &server);
    }
}

#[test]
fn who_knows_nothing_of_what_came_of_a_rekey_makes_another() {
    let (mut client, mut server, sa) = up();
    let first = client.up();
    amidst_a_rekey("arrived", &mut client, &mut server);
    let now = Instant::ZERO + seconds(3);
    let (mut next, _) = again_apart(now, &client, sa);
    // It has it no more by then.
    let (made, _) = server.ups()[0];
    let theirs = server.sa();
    next.sent().iter().for_each(|t| server.give(now, arrives(t)));
    server.give(now, Input::CloseChild { sa: theirs, child: made });
    carry(now, &mut next, &mut server);
    live(&mut next, &mut server, now + seconds(20));
    assert_ne!(are_at_one(&next, &server), first[0]);
}

#[test]
fn nobody_goes_on_from_a_rekey_of_what_was_left() {
    let (mut client, mut server, sa) = up();
    amidst_a_rekey("arrived", &mut client, &mut server);
    let now = Instant::ZERO + seconds(3);
    let (mut next, restored) = again_apart(now, &client, sa);
    next.sent().iter().for_each(|t| server.give(now, arrives(t)));
    let answer = server.one();
    next.give(now, arrives(&answer));
    let asked = next.one();
    assert!(next.endpoint.snapshot(restored.sa).is_none(), "{asked:?}");
}

#[test]
fn the_old_one_is_deleted_by_whoever_goes_on() {
    for arrived in [false, true] {
        let (mut client, mut server, sa) = up();
        client.rekey(Instant::ZERO);
        let asked = client.one();
        server.give(Instant::ZERO, arrives(&asked));
        let answer = server.one();
        client.give(Instant::ZERO, arrives(&answer));
        let deletes = client.one();
        if arrived {
            server.give(Instant::ZERO, arrives(&deletes));
            server.sent();
        }
        let now = Instant::ZERO + seconds(3);
        let (mut next, restored) = again_apart(now, &client, sa);
        let replaced: Vec<bool> = restored.children.iter().map(|child| child.replaced).collect();
        assert_eq!(replaced, [true, false]);
        let resent = next.sent();
        assert_eq!(resent.iter().map(|t| &t.payload).collect::<Vec<_>>(), [&deletes.payload]);
        resent.iter().for_each(|t| server.give(now, arrives(t)));
        carry(now, &mut next, &mut server);
        are_at_one(&next, &server);
    }
}

#[test]
fn what_the_peer_gets_is_sent_on_when_it_has_it() {
    let (mut client, mut server, sa) = up();
    let now = Instant::ZERO + seconds(3);
    server.rekey(Instant::ZERO);
    let asked = server.one();
    client.give(Instant::ZERO, arrives(&asked));
    client.sent();
    // The answer is lost with the process.
    let (mut next, restored) = again_apart(now, &client, sa);
    let sends: Vec<(bool, bool)> = restored.children.iter().map(|c| (c.replaced, c.sends)).collect();
    assert_eq!(sends, [(true, true), (false, false)]);
    next.sent();
    server.give(now, arrives(&asked));
    next.give(now, arrives(&asked));
    carry(now, &mut next, &mut server);
    live(&mut next, &mut server, now + seconds(10));
    are_at_one(&next, &server);
}

#[test]
fn what_is_damaged_is_refused_or_means_something() {
    let (client, _, sa) = up();
    let snapshot = client.endpoint.snapshot(sa).unwrap();
    let restore = |bytes: &[u8]| {
        let mut node = Node::new(CLIENT, 3, None);
        let restored = node.endpoint.restore(Instant::ZERO, bytes, GoesOnBy::Initiator(&config()));
        assert_eq!(restored.is_none(), node.endpoint.is_empty());
        assert!(restored.is_some() || node.endpoint.spis() == 0);
        restored.is_some()
    };
    assert!(restore(&snapshot));
    for length in 0..snapshot.len() {
        assert!(!restore(&snapshot[..length]), "cut off after {length}");
    }
    assert!(!restore(&[snapshot.as_slice(), &[0]].concat()), "more than there is");
    for at in 0..snapshot.len() {
        for flip in [1, 0x80, 0xff] {
            let mut bytes = snapshot.to_vec();
            bytes[at] ^= flip;
            restore(&bytes);
        }
    }
    let mut other = snapshot.to_vec();
    other[0] = 2;
    assert!(!restore(&other), "another version");
}

#[test]
fn the_same_one_is_not_taken_up_twice() {
    let (client, _, sa) = up();
    let snapshot = client.endpoint.snapshot(sa).unwrap();
    let mut node = Node::new(CLIENT, 3, None);
    assert!(node.endpoint.restore(Instant::ZERO, &snapshot, GoesOnBy::Initiator(&config())).is_some());
    assert!(node.endpoint.restore(Instant::ZERO, &snapshot, GoesOnBy::Initiator(&config())).is_none());
    assert_eq!(node.endpoint.established(), 1);
}

/// The server's process is gone, and another one goes on.
fn served_again(now: Instant, server: &Node) -> (Node, Restored) {
    let snapshot = server.endpoint.snapshot(server.sa()).expect("it stands");
    let mut next = Node::new(SERVER, 4, Some(defaults()));
    next.children = server
        .children
        .iter()
        .map(|child| ChildSa { lease: child.lease.clone(), ..keyless(child) })
        .collect();
    let by = GoesOnBy::Responder(Box::new(connection()));
    let restored = next.endpoint.restore(now, &snapshot, by).expect("it is good");
    for (child, restored) in next.children.iter_mut().zip(&restored.children) {
        child.child = restored.child;
    }
    next.drain(now);
    (next, restored)
}

/// What the driver has of a CHILD_SA whose keys are in the kernel only.
fn keyless(child: &ChildSa) -> ChildSa {
    let keys = || EspKeys { encryption: Secret::new(Vec::new()), integrity: Secret::new(Vec::new()) };
    ChildSa {
        child: child.child,
        replaces: child.replaces,
        mode: child.mode,
        path: child.path,
        encapsulated: child.encapsulated,
        suite: child.suite,
        inbound_spi: child.inbound_spi,
        inbound: keys(),
        outbound_spi: child.outbound_spi,
        outbound: Some(keys()),
        local_ts: child.local_ts.clone(),
        remote_ts: child.remote_ts.clone(),
        lease: child.lease.clone(),
        remote_id: child.remote_id.clone(),
        connection: child.connection.clone(),
    }
}

#[test]
fn a_servers_client_does_not_notice() {
    let (mut client, mut server, sa) = up();
    client.rekey_ike(Instant::ZERO);
    carry(Instant::ZERO, &mut client, &mut server);
    let now = Instant::ZERO + seconds(3);
    let (mut next, restored) = served_again(now, &server);
    assert!(next.sent().is_empty(), "who has dialled speaks first");
    assert_eq!(restored.lease, server.established().unwrap().lease);
    assert_eq!((restored.local_id, restored.remote_id), (name("vpn.example.com"), name("ann@example.com")));
    assert_eq!((next.endpoint.established(), next.endpoint.half_open()), (1, 0));
    // Rekeys by either end.
    let mine = restored.sa;
    client.rekey(now);
    client.rekey_ike(now);
    carry(now, &mut client, &mut next);
    assert_eq!((client.rekeyed(), client.ups().len()), (2, 1));
    next.give(now, Input::Rekey { sa: mine, child: None });
    carry(now, &mut client, &mut next);
    assert_eq!((client.rekeyed(), next.endpoint.counters().forged), (3, 0));
    next.give(now, Input::Close { sa: mine });
    carry(now, &mut client, &mut next);
    assert_eq!(client.failure().code, FailureCode::PeerClosed);
    assert!(!client.events.iter().any(|(of, _)| *of != sa));
}

#[test]
fn who_comes_in_again_takes_the_place_of_one_that_was_handed_over() {
    let (_, server, _) = up();
    let now = Instant::ZERO + seconds(3);
    let (mut next, restored) = served_again(now, &server);
    let mut other = Node::client();
    other.dial(now, config());
    carry(now, &mut other, &mut next);
    let live_until = now + seconds(30);
    live(&mut other, &mut next, live_until);
    let closed = |(sa, event): &(SaId, Event)| *sa == restored.sa && matches!(event, Event::Closed(_));
    assert!(next.events.iter().any(closed), "{:?}", next.events);
    assert!(other.established().is_some());
}

#[test]
fn a_servers_is_no_dialled_one() {
    let (client, server, sa) = up();
    let (ours, theirs) =
        (client.endpoint.snapshot(sa).unwrap(), server.endpoint.snapshot(server.sa()).unwrap());
    let mut node = Node::new(CLIENT, 3, None);
    assert!(node.endpoint.restore(Instant::ZERO, &theirs, GoesOnBy::Initiator(&config())).is_none());
    let by = GoesOnBy::Responder(Box::new(connection()));
    assert!(node.endpoint.restore(Instant::ZERO, &ours, by).is_none());
    assert!(node.endpoint.is_empty());
}

#[test]
fn whoever_asks_is_told_of_each_that_has_worked_once() {
    let (mut client, mut server, sa) = up();
    assert_eq!(client.endpoint.take_touched(), Some(sa));
    assert_eq!(client.endpoint.take_touched(), None);
    client.give(Instant::ZERO, Input::Rekey { sa, child: None });
    carry(Instant::ZERO, &mut client, &mut server);
    assert_eq!((client.endpoint.take_touched(), client.endpoint.take_touched()), (Some(sa), None));
    client.give(Instant::ZERO, Input::Abandon { sa });
    assert_eq!(client.endpoint.take_touched(), None, "it is gone");
}
