//! Servers that make their new ISAKMP SAs themselves: a Main Mode to whom has dialled them.

use super::*;

/// What the server of `config()` dials its client with.
fn back() -> InitiatorConfig {
    let path = Path { local: path().remote, remote: path().local };
    InitiatorConfig { path, local_id: id("vpn.example.com"), ..config() }
}

/// The server dials its client.
fn renew(world: &mut World, config: InitiatorConfig) -> SaId {
    let sa = world.ends[1].endpoint.initiate(world.now, config);
    world.drain(1);
    world.run(Duration::from_secs(3));
    sa
}

/// Nothing has happened to the client's connection.
fn stands(world: &World) {
    let client = &world.ends[0];
    let news = client.count(|e| !matches!(e, Event::Progress(_) | Event::Established(_) | Event::Confirmed));
    assert_eq!((news, client.endpoint.established(), client.inbound.len()), (0, 1, 1));
}

#[test]
fn a_server_renews_the_isakmp_sa_itself() {
    for auth in [Auth::Psk, signatures()] {
        let mut world = up(80, InitiatorConfig { auth: auth.clone(), ..config() });
        let old = world.ends[1].sa();
        let auth = match auth {
            Auth::Signature { authorities, .. } => {
                Auth::Signature { own: responder_config().own, authorities }
            }
            psk => psk,
        };
        renew(&mut world, InitiatorConfig { auth, ..back() });
        let client = &world.ends[0];
        assert_eq!(client.count(|e| matches!(e, Event::Rekeyed { .. })), 1);
        assert_eq!(client.count(|e| matches!(e, Event::ChildUp(_))), 1, "and a Quick Mode under it");
        assert_eq!((client.endpoint.len(), client.endpoint.half_open()), (1, 0));
        // It ends what there was before.
        world.input(1, Input::Close { sa: old });
        world.run(Duration::from_secs(3));
        assert_eq!(world.same(), 2);
        assert!(world.carries() && world.ends[0].failure().is_none());
        // Either goes on to renew it, also when the other can't.
        for deaf in [0, 1] {
            world.ends[deaf].endpoint.set_responder(None);
            world.run(Duration::from_hours(30));
            assert!(world.carries() && world.ends.iter().all(|e| e.failure().is_none()));
        }
    }
}

#[test]
fn who_has_the_key_and_is_another_renews_nothing() {
    let mut world = up(81, config());
    renew(&mut world, InitiatorConfig { local_id: id("other.example.com"), ..back() });
    let why = world.ends[0].events.iter().find_map(|(_, e)| match e {
        Event::RekeyRefused { why, .. } => Some(why.to_string()),
        _ => None,
    });
    let why = why.unwrap();
    assert!(why.contains("other.example.com") && why.contains("vpn.example.com"), "{why}");
    assert_eq!(world.ends[0].count(|e| matches!(e, Event::Rekeyed { .. } | Event::Closed(_))), 0);
    assert_eq!((world.ends[0].endpoint.len(), world.ends[0].inbound.len()), (1, 1));
}

#[test]
fn who_has_not_the_key_renews_nothing_and_is_not_told_of() {
    let mut world = up(82, config());
    world.ends[1].psk = "another secret";
    renew(&mut world, back());
    world.run(Duration::from_secs(200));
    stands(&world);
    assert_eq!(world.ends[0].endpoint.half_open(), 0);
}

#[test]
fn a_certificate_that_is_not_trusted_renews_nothing() {
    let mut world = up(83, InitiatorConfig { auth: signatures(), ..config() });
    world.ends[0].trust = false;
    let auth = Auth::Signature { own: responder_config().own, authorities: Vec::new() };
    renew(&mut world, InitiatorConfig { auth, ..back() });
    world.run(Duration::from_secs(200));
    stands(&world);
}

#[test]
fn nobody_renews_from_elsewhere_or_by_what_was_not_offered_or_what_does_not_stand() {
    let elsewhere = |text: &str| text.parse::<SocketAddr>().unwrap();
    let there = Path { local: elsewhere("198.51.100.7:500"), ..back().path };
    let here = Path { remote: elsewhere("192.0.2.7:500"), ..back().path };
    let weak = ike("3des-sha1-prfsha1-modp1024");
    let all = [
        InitiatorConfig { path: there, ..back() },
        InitiatorConfig { path: here, ..back() },
        InitiatorConfig { ike: weak, ..back() },
        InitiatorConfig { auth: signatures(), ..back() },
        InitiatorConfig { aggressive: true, ..back() },
    ];
    for config in all {
        let mut world = up(84, super::config());
        renew(&mut world, config);
        stands(&world);
        assert_eq!(world.ends[0].endpoint.half_open(), 0);
    }
    let mut world = World::new(85);
    renew(&mut world, back());
    assert!(world.ends[0].events.is_empty() && world.ends[0].endpoint.is_empty());
}

/// A server that has forgotten everything has also forgotten what is inside.
#[test]
fn a_server_that_has_nothing_else_ends_the_connection() {
    let mut world = up(86, config());
    let crypto = world.ends[1].crypto.clone();
    world.ends[1] = End::new(9, crypto, Some(defaults()));
    renew(&mut world, back());
    let why = world.ends[0].failure().unwrap();
    assert_eq!((why.code, why.to_string().as_str()), (FailureCode::PeerClosed, "the peer came in anew"));
    assert!(world.ends[0].endpoint.is_empty() && world.ends[0].inbound.is_empty());
}

/// Whoever can write the server's address into a datagram costs us a few of them for a while.
#[test]
fn first_messages_in_a_servers_name_are_bounded() {
    let mut world = up(87, config());
    for seed in 0..20 {
        let mut stranger =
            Endpoint::new(world.ends[1].crypto.clone(), Box::new(Random::new(seed + 500)), None);
        stranger.initiate(world.now, back());
        while let Some(output) = stranger.poll() {
            if let Output::Transmit(t) = output {
                let path = Path { local: t.path.remote, remote: t.path.local };
                world.input(0, Input::Datagram { path, payload: t.payload });
            }
        }
    }
    let client = &world.ends[0].endpoint;
    assert_eq!((client.half_open(), client.len(), client.counters().refused), (4, 5, 16));
    world.run(Duration::from_secs(60));
    assert_eq!(world.ends[0].endpoint.half_open(), 0);
    stands(&world);
    renew(&mut world, back());
    assert_eq!(world.ends[0].count(|e| matches!(e, Event::Rekeyed { .. })), 1);
}

/// Both ends renew it at the same time, and the network is as bad as it may be.
#[test]
fn both_may_renew_it_at_once() {
    for seed in 0..100 {
        let mut world = up(100 + seed, config());
        (world.loss, world.duplicate, world.slowest) = (100, 50, Duration::from_millis(400));
        let sa = world.ends[0].sa();
        world.input(0, Input::Rekey { sa, child: None });
        world.ends[1].endpoint.initiate(world.now, back());
        world.drain(1);
        world.run(Duration::from_secs(60));
        world.loss = 0;
        let old = world.ends[1].sa();
        world.input(1, Input::Close { sa: old });
        world.run(Duration::from_mins(20));
        assert!(world.ends[0].failure().is_none(), "{seed}: {:?}", world.ends[0].failure());
        assert!(world.carries(), "{seed}");
        assert_eq!((world.ends[0].endpoint.len(), world.ends[0].endpoint.half_open()), (1, 0), "{seed}");
    }
}
