//! Phase 1 in every mode, and the first Quick Mode.

use std::sync::Arc;

use adit_core::{FailureCode, Step};
use adit_crypto::Provider as Real;
use adit_isakmp::v1::Provider;

use super::*;

fn up(world: &mut World, config: InitiatorConfig) {
    world.dial(config);
    world.run(Duration::from_secs(3));
    for end in &world.ends {
        assert!(end.established().is_some(), "{:?}", end.events);
    }
    assert_eq!(world.same(), 2);
}

// [2409:5-1] [2409:4-2] [2409:5.4-1] [2409:5-4] [2409:5.5-1] [2408:3.1-2] [2408:4.2-1] [2408:3.6-1]
#[test]
fn main_mode_with_a_psk_in_transport_mode() {
    let mut world = World::new(1);
    up(&mut world, config());
    let [a, b] = &world.ends;
    let (ours, theirs) = (a.established().unwrap(), b.established().unwrap());
    assert_eq!(theirs.remote_id, id("192.0.2.1"));
    assert_eq!(ours.remote_id, id("vpn.example.com"));
    assert_eq!(theirs.connection.as_deref(), Some("people"));
    assert!(!ours.encapsulated && !ours.nat_local && !ours.nat_remote);
    assert_eq!(ours.child.local_ts.to_string(), "192.0.2.1/32[17/1701]");
    assert_eq!(ours.child.remote_ts.to_string(), "198.51.100.1/32[17/1701]");
    assert_eq!((theirs.child.local_ts, theirs.child.remote_ts), (ours.child.remote_ts, ours.child.local_ts));
    // The key is found by addresses: nobody has said who it is yet.
    assert_eq!(b.asked, [(id("198.51.100.1"), id("192.0.2.1"))]);
    // Six messages of Main Mode, three of Quick Mode, and whether the last one has come.
    assert_eq!(world.log.len(), 11);
    assert_eq!(a.endpoint.counters(), Default::default());
}

/// The last message of Quick Mode has no answer; what is asked behind it has one (RFC 3706 §5.4).
#[test]
fn who_has_dialled_hears_that_the_last_message_has_come() {
    let confirmed = |world: &World, end: usize| world.ends[end].count(|e| matches!(e, Event::Confirmed));
    let mut world = World::new(29);
    up(&mut world, config());
    assert_eq!([confirmed(&world, 0), confirmed(&world, 1)], [1, 0]);
    let order = |e: &Event| matches!(e, Event::Established(_) | Event::Confirmed);
    let news: Vec<_> = world.ends[0].events.iter().map(|(_, e)| e).filter(|e| order(e)).collect();
    assert!(matches!(news.as_slice(), [Event::Established(_), Event::Confirmed]), "{news:?}");
    // Once: neither rekeying nor a later question is about that.
    world.run(Duration::from_hours(30));
    assert_eq!(confirmed(&world, 0), 1);
    // Lost, it is asked again.
    let mut world = World::new(30);
    let mut lost = 0;
    world.tap = Some(Box::new(move |end, _, datagram| {
        let question = end == 0 && datagram[18] == 5;
        lost += usize::from(question);
        !question || lost > 1
    }));
    up(&mut world, config());
    world.run(Duration::from_secs(10));
    assert_eq!(confirmed(&world, 0), 1);
    // A peer that is not watched is not asked.
    let mut world = World::new(31);
    let timing = Timing { dead_peer: Duration::ZERO, ..config().timing };
    up(&mut world, InitiatorConfig { timing, ..config() });
    assert_eq!((confirmed(&world, 0), world.log.len()), (0, 9));
}

/// A pre-shared key is there at once, and what a large group computes is not.
#[test]
fn answers_may_come_in_any_order() {
    let mut world = World::new(27);
    world.ends.iter_mut().for_each(|end| end.last_first = true);
    up(&mut world, config());
    let mut world = World::new(28);
    world.ends.iter_mut().for_each(|end| end.last_first = true);
    up(&mut world, InitiatorConfig { auth: signatures(), local_id: id("ann@example.com"), ..config() });
}

/// The fourth message does not wait for the shared secret: the fifth may come before that is there.
#[test]
fn a_fifth_message_waits_for_the_secret_that_it_is_read_with() {
    let mut world = World::new(32);
    world.ends[1].computes_slowly = true;
    up(&mut world, config());
    assert!(world.ends.iter().all(|end| end.endpoint.counters() == Default::default()));
    // Noise in its place is no more than noise.
    let mut world = World::new(33);
    world.ends[1].computes_slowly = true;
    let mut fifths = 0;
    world.tap = Some(Box::new(move |end, _, datagram| {
        let encrypted = datagram[18] == 2 && datagram[19] & 1 != 0;
        fifths += usize::from(end == 0 && encrypted);
        if end == 0 && encrypted && fifths == 1 {
            datagram[40] ^= 1;
        }
        true
    }));
    up(&mut world, config());
    // A public value that is none ends it, though the fourth message is out.
    let mut world = World::new(34);
    world.tap = Some(Box::new(move |end, _, datagram| {
        if end == 0 && datagram[18] == 2 && datagram[16] == 4 {
            datagram[32..][..8].fill(0);
        }
        true
    }));
    world.dial(config());
    world.run(Duration::from_secs(200));
    assert!(world.ends.iter().all(|end| end.established().is_none()) && world.ends[1].failure().is_some());
}

// [2409:5.1-1] [2409:5.1-2] [2409:5-2]
#[test]
fn main_mode_with_signatures() {
    let mut world = World::new(2);
    up(&mut world, InitiatorConfig { auth: signatures(), local_id: id("ann@example.com"), ..config() });
    assert_eq!(world.ends[1].established().unwrap().auth, AuthMethod::RsaSignatures);
    assert!(world.ends[0].asked.is_empty() && world.ends[1].asked.is_empty());
}

#[test]
fn a_certificate_that_is_not_trusted_is_refused_on_either_end() {
    for end in [0, 1] {
        let mut world = World::new(3);
        world.ends[end].trust = false;
        world.dial(InitiatorConfig { auth: signatures(), ..config() });
        world.run(Duration::from_secs(200));
        assert_eq!(world.ends[end].failure().unwrap().code, FailureCode::CertificateUntrusted);
        assert!(world.ends.iter().all(|e| e.established().is_none() && e.endpoint.is_empty()));
        if end == 1 {
            let failure = world.ends[0].failure().unwrap();
            assert_eq!(failure.peer.as_deref(), Some("AUTHENTICATION-FAILED"));
        }
    }
}

#[test]
fn main_mode_with_real_cryptography() {
    let cases = [
        ("aes128-sha1-prfsha1-modp1024", "3des-sha1"),
        ("3des-sha1-prfsha1-modp1536", "aes256-sha1"),
        ("aes256-sha256-prfsha256-ecp256", "aes256-sha256-modp2048"),
        ("aes256-sha384-prfsha384-ecp384", "aes128-sha384-ecp256"),
        ("aes256-sha1-prfsha1-modp2048", "aes256gcm16"),
        ("aes128-sha256-prfsha256-modp2048", "aes128-sha256"),
    ];
    for (ike_text, esp_text) in cases {
        let real = || Arc::new(Real::new()) as Arc<dyn Provider>;
        let responder = ResponderDefaults { ike: ike(ike_text), ..defaults() };
        let mut world = World::with(4, [real(), real()], responder);
        world.ends[1].config.esp = esp(esp_text);
        up(&mut world, InitiatorConfig { ike: ike(ike_text), esp: esp(esp_text), ..config() });
        assert_eq!(world.ends[0].established().unwrap().child.esp.to_string(), esp_text);
    }
}

#[test]
fn aggressive_mode_is_never_answered() {
    let mut world = World::new(5);
    world.dial(InitiatorConfig { aggressive: true, ..config() });
    world.run(Duration::from_secs(100));
    // [2409:5.4-2]
    assert!(world.log.iter().all(|(from, ..)| *from == 0));
    assert!(world.ends[1].events.is_empty() && world.ends[1].endpoint.is_empty());
    assert_eq!(world.ends[0].failure().unwrap().code, FailureCode::ServerUnreachable);
}

// [2409:5.5-2]
#[test]
fn perfect_forward_secrecy_in_tunnel_mode() {
    let mut world = World::new(6);
    world.ends[1].config.esp = esp("aes256-sha256-modp2048");
    world.ends[1].config.mode = ChildMode::Tunnel;
    world.ends[1].config.local_ts = vec![net("10.1.0.0/16")];
    world.ends[1].config.remote_ts = vec![net("10.2.0.0/16")];
    let mode = ChildMode::Tunnel;
    let (local_ts, remote_ts) = (net("10.2.3.0/24"), net("10.1.0.0/16"));
    let esp = esp("aes256-sha256-modp2048");
    up(&mut world, InitiatorConfig { mode, local_ts, remote_ts, esp, ..config() });
    let child = &world.ends[1].established().unwrap().child;
    assert_eq!((child.local_ts, child.remote_ts), (remote_ts, local_ts));
    assert_eq!(child.mode, ChildMode::Tunnel);
}

// [2409:5.5-5]
#[test]
fn traffic_that_is_not_allowed_is_refused_and_both_know_why() {
    let mut world = World::new(7);
    world.ends[1].config.mode = ChildMode::Tunnel;
    world.ends[1].config.local_ts = vec![net("10.1.0.0/16")];
    world.ends[1].config.remote_ts = vec![net("10.2.0.0/16")];
    let (local_ts, remote_ts) = (net("10.9.0.0/16"), net("10.1.0.0/16"));
    world.dial(InitiatorConfig { mode: ChildMode::Tunnel, local_ts, remote_ts, ..config() });
    world.run(Duration::from_secs(60));
    let [a, b] = &world.ends;
    assert_eq!(a.failure().unwrap().peer.as_deref(), Some("INVALID-ID-INFORMATION"));
    assert_eq!(a.failure().unwrap().code, FailureCode::TrafficSelectors);
    assert!(b.failure().unwrap().text.contains("10.9.0.0/16"), "{:?}", b.failure());
    assert!(a.endpoint.is_empty() && b.endpoint.is_empty());
    assert!(a.inbound.is_empty() && b.inbound.is_empty());
}

#[test]
fn a_wrong_psk_is_told_of_on_both_ends() {
    let mut world = World::new(8);
    world.ends[0].psk = "another secret";
    world.dial(config());
    world.run(Duration::from_secs(200));
    let [a, b] = &world.ends;
    for end in [a, b] {
        let failure = end.failure().unwrap();
        assert_eq!((failure.code, failure.step), (FailureCode::AuthenticationFailed, Step::Authenticate));
        assert!(failure.hint.as_ref().unwrap().contains("same pre-shared key"), "{failure:?}");
        assert!(end.endpoint.is_empty() && end.established().is_none());
    }
    assert_eq!(a.failure().unwrap().peer.as_deref(), Some("PAYLOAD-MALFORMED"));
    assert!(b.endpoint.counters().forged > 0);
}

// [2408:5.4-1]
#[test]
fn where_nothing_fits_both_ends_say_what_was_offered() {
    let mut world = World::new(9);
    world.dial(InitiatorConfig { ike: ike("3des-sha1-prfsha1-modp1024"), ..config() });
    world.run(Duration::from_secs(100));
    let [a, b] = &world.ends;
    let (ours, theirs) = (a.failure().unwrap(), b.failure().unwrap());
    assert_eq!(ours.peer.as_deref(), Some("NO-PROPOSAL-CHOSEN"));
    assert!(ours.text.contains("3des-sha1-modp1024-psk"), "{ours:?}");
    assert!(
        theirs.text.contains("offered 3des-sha1-modp1024-psk; allowed aes256-sha256-modp2048"),
        "{theirs:?}"
    );
    assert!(theirs.hint.as_ref().unwrap().contains("legacy = true"), "{theirs:?}");
    assert!(a.endpoint.is_empty() && b.endpoint.is_empty());
}

#[test]
fn esp_proposals_that_do_not_fit_are_told_of() {
    let mut world = World::new(10);
    world.dial(InitiatorConfig { esp: esp("3des-sha1"), ..config() });
    world.run(Duration::from_secs(30));
    let [a, b] = &world.ends;
    assert_eq!(a.failure().unwrap().peer.as_deref(), Some("NO-PROPOSAL-CHOSEN"));
    let theirs = b.failure().unwrap();
    assert!(theirs.text.contains("offered 3des-sha1 (transport); allowed aes128-sha256"), "{theirs:?}");
    assert!(theirs.hint.as_ref().unwrap().contains("legacy = true"));
}

#[test]
fn a_server_that_calls_itself_something_else_is_left() {
    let mut world = World::new(11);
    world.dial(InitiatorConfig { remote_id: Some(id("other.example.com")), ..config() });
    world.run(Duration::from_secs(60));
    let failure = world.ends[0].failure().unwrap();
    assert!(failure.text.contains("vpn.example.com, not other.example.com"), "{failure:?}");
    assert!(failure.hint.as_ref().unwrap().contains("remote-id = \"vpn.example.com\""));
}

// [2408:5.1-1]
#[test]
fn a_server_that_is_not_there_is_given_up() {
    let mut world = World::new(12);
    world.loss = 1000;
    world.dial(config());
    world.run(Duration::from_secs(120));
    let failure = world.ends[0].failure().unwrap();
    assert_eq!((failure.code, failure.step), (FailureCode::ServerUnreachable, Step::IkeInit));
    assert_eq!(world.log.len(), 4);
    assert!(world.log.iter().all(|(_, _, bytes)| *bytes == world.log[0].2));
}

#[test]
fn asks_that_nobody_answers_end_it_all_the_same() {
    for end in [0, 1] {
        let mut world = World::new(13);
        world.ends[end].mute = true;
        world.dial(config());
        world.run(Duration::from_secs(300));
        assert!(world.ends.iter().all(|e| e.endpoint.is_empty()), "{end}");
        assert!(world.ends[0].failure().is_some());
        assert!(world.ends.iter().all(|e| e.inbound.is_empty()));
    }
}

#[test]
fn a_kernel_that_refuses_leaves_nothing() {
    for end in [0, 1] {
        let mut world = World::new(14);
        world.ends[end].refuse_install = true;
        world.dial(config());
        world.run(Duration::from_secs(300));
        assert!(world.ends.iter().all(|e| e.endpoint.is_empty()), "{end}: {:?}", world.ends[end].events);
        assert!(world.ends.iter().all(|e| e.inbound.is_empty() && e.outbound.is_empty()));
    }
}

#[test]
fn an_exchange_of_which_each_message_is_lost_once_comes_up() {
    for lost in 0..9 {
        let mut world = World::new(15);
        let mut number = 0;
        world.tap = Some(Box::new(move |_, _, _| {
            number += 1;
            number - 1 != lost
        }));
        world.dial(config());
        world.run(Duration::from_secs(15));
        assert!(world.ends.iter().all(|e| e.established().is_some()), "{lost}");
        assert_eq!(world.same(), 2, "{lost}");
    }
}
