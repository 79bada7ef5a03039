//! NAT traversal, and messages in pieces.

use super::*;

fn nat(seed: u64) -> World {
    let mut world = World::new(seed);
    world.nat = Some("203.0.113.9");
    world
}

// [3947:3.1-1] [3947:3.2-1] [3947:3.2-2] [3947:4-1] [3947:4-2] [3947:5.1-1] [3947:5.2-1]
#[test]
fn behind_a_nat_both_go_to_port_4500() {
    let mut world = nat(20);
    world.dial(config());
    world.run(Duration::from_secs(3));
    let [a, b] = &world.ends;
    let (ours, theirs) = (a.established().unwrap(), b.established().unwrap());
    assert!(ours.nat_local && !ours.nat_remote && ours.encapsulated);
    assert!(!theirs.nat_local && theirs.nat_remote && theirs.encapsulated);
    assert_eq!(ours.path.remote.port(), 4500);
    assert_eq!(theirs.path.remote.to_string(), "203.0.113.9:34500");
    // What the peer said of its own address is not what counts: the server sees it at the NAT's.
    assert_eq!(theirs.child.remote_ts.to_string(), "203.0.113.9/32[17/1701]");
    assert_eq!(ours.child.local_ts.to_string(), "192.0.2.1/32[17/1701]");
    assert_eq!(world.same(), 2);
}

#[test]
fn drafts_of_nat_traversal_are_spoken_where_the_peer_has_nothing_better() {
    let mut world = nat(21);
    let rfc = 0x4a13_1c81_0703_5845_5c57_28f2_0e95_452f_u128.to_be_bytes();
    world.tap = Some(Box::new(move |_, _, bytes| {
        if let Some(at) = bytes.windows(16).position(|w| w == rfc) {
            bytes[at] ^= 1;
        }
        true
    }));
    world.dial(config());
    world.run(Duration::from_secs(3));
    assert!(world.ends.iter().all(|e| e.established().is_some_and(|e| e.encapsulated)));
    // NAT-D of the drafts: the first payload after KE and NONCE has the type 130.
    let third = &world.log[2].2;
    assert!(third.contains(&130));
    assert_eq!(world.same(), 2);
}

#[test]
fn a_nat_that_moves_the_peer_takes_its_sas_along() {
    let mut world = nat(22);
    world.dial(config());
    world.run(Duration::from_secs(3));
    world.rebind = 7;
    // The next question whether the server lives goes out with another port.
    world.run(Duration::from_secs(120));
    let moved = world.ends[1].events.iter().find_map(|(_, e)| match e {
        Event::PathChanged { path, encapsulated: true } => Some(path.remote),
        _ => None,
    });
    assert_eq!(moved.map(|p| p.to_string()).as_deref(), Some("203.0.113.9:34507"));
    assert!(world.ends.iter().all(|e| e.failure().is_none()));
}

#[test]
fn encapsulation_can_be_forced() {
    let mut world = World::new(23);
    world.dial(InitiatorConfig { force_encapsulation: true, ..config() });
    world.run(Duration::from_secs(3));
    assert!(world.ends.iter().all(|e| e.established().is_some_and(|e| e.encapsulated)));
    assert_eq!(world.same(), 2);
}

#[test]
fn keepalives_go_out_behind_a_nat() {
    let mut world = nat(24);
    world.dial(config());
    world.run(Duration::from_secs(61));
    let alive = world.log.iter().filter(|(from, _, bytes)| *from == 0 && *bytes == [0xff]).count();
    assert_eq!(alive, 3);
    assert!(!world.log.iter().any(|(from, _, bytes)| *from == 1 && *bytes == [0xff]));
}

#[test]
fn a_long_chain_of_certificates_goes_in_pieces() {
    let mut world = World::new(25);
    world.slowest = Duration::from_millis(200);
    world.duplicate = 300;
    let own = vec![OwnChain {
        certificates: vec![b"client's".to_vec(), vec![1; 2000], vec![2; 2000]],
        authorities: Vec::new(),
    }];
    world.ends[1].config.own[0].certificates.push(vec![3; 3000]);
    world.dial(InitiatorConfig { auth: Auth::Signature { own, authorities: Vec::new() }, ..config() });
    world.run(Duration::from_secs(20));
    assert!(world.ends.iter().all(|e| e.established().is_some()));
    assert!(world.log.iter().all(|(_, _, bytes)| bytes.len() <= 1280 - 28), "a datagram is too long");
    assert_eq!(world.same(), 2);
}

// [3947:6-1]
#[test]
fn two_clients_behind_one_nat_with_one_identity_do_not_end_each_other() {
    let mut world = nat(26);
    world.dial(config());
    world.run(Duration::from_secs(3));
    // The other one is another host: the same address inside, another port of the NAT's.
    let second = End::new(4711, world.ends[0].crypto.clone(), None);
    let first = core::mem::replace(&mut world.ends[0], second);
    world.rebind = 100;
    world.dial(config());
    world.run(Duration::from_secs(3));
    let server = &world.ends[1];
    assert_eq!(server.count(|e| matches!(e, Event::Established(_))), 2);
    assert_eq!(server.count(|e| matches!(e, Event::Closed(_) | Event::ChildClosed { .. })), 0);
    assert_eq!(server.endpoint.established(), 2);
    for client in [&first, &world.ends[0]] {
        let (spi, out) = client.outbound.first_key_value().unwrap();
        assert_eq!(server.inbound[spi].keys, out.keys);
    }
}
