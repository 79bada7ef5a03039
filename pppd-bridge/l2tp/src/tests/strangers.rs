use core::time::Duration;

use adit_core::{Entropy, Failure, FailureCode, Path, Step, Transmit};

use super::pair::{Pair, dial, lac_address, listen, lns_address};
use crate::wire::{Avp, Control, Message, Start};
use crate::{Association, Input};

fn sccrq(tunnel: u16) -> Vec<u8> {
    let start = Start {
        version: (1, 0),
        framing: 3,
        bearer: None,
        host_name: "x".into(),
        vendor: None,
        firmware: None,
        tunnel,
        window: None,
        challenge: None,
        response: None,
        tie_breaker: None,
    };
    octets(&Message::Sccrq(start).avps())
}

fn octets(avps: &[Avp]) -> Vec<u8> {
    Control { tunnel: 0, session: 0, ns: 0, nr: 0, body: &Avp::emit_all(avps) }.emit()
}

fn came(path: Path, octets: Vec<u8>) -> Input {
    Input::Datagram { path, association: Association::default(), octets }
}

fn from(address: &str) -> Path {
    Path { local: lns_address(), remote: address.parse().unwrap() }
}

/// [2661:9-1]
#[test]
fn a_flood_of_wishes_costs_no_more_than_its_limits() {
    let mut pair = Pair::idle(listen(None));
    let mut answers = 0;
    for n in 1..=2000_u16 {
        let path = from(&format!("203.0.113.{}:{}", n % 200, 1024 + n));
        answers += pair.lns.handle(pair.now, came(path, sccrq(n))).len();
    }
    assert_eq!(answers, 10);
    // They are gone after a while, with all that was ever sent to them.
    let mut sent = answers;
    for _ in 0..60 {
        pair.now = pair.now + Duration::from_secs(1);
        sent += pair.lns.handle(pair.now, Input::Wake).len();
    }
    assert!(pair.lns.endpoint.is_idle());
    assert!(sent <= 10 * 5, "{sent}");
    assert!(pair.lns.tunnels.is_empty() && pair.lns.carried.is_empty());
}

/// [2661:9-1]
#[test]
fn tunnels_without_a_session_count_too() {
    let mut pair = Pair::idle(listen(None));
    for _ in 0..8 {
        pair.dial(crate::Dial { call: None, ..dial(None) });
        pair.exchange();
    }
    assert_eq!(pair.lns.tunnels.len(), 4, "of one address");
    // One that gets a session makes room.
    let tunnel = pair.lac.tunnels[0];
    pair.lac_does(Input::Place { tunnel, call: crate::Call::Incoming });
    pair.exchange();
    pair.dial(dial(None));
    pair.exchange();
    assert_eq!((pair.lns.tunnels.len(), pair.lns.up.len()), (5, 2));
}

/// [2661:9-1]
#[test]
fn one_address_does_not_keep_others_out() {
    let mut pair = Pair::idle(listen(None));
    for n in 1..=200_u16 {
        let path = from(&format!("203.0.113.7:{}", 1024 + n));
        pair.lns.handle(pair.now, came(path, sccrq(n)));
    }
    pair.dial(dial(None));
    pair.exchange();
    assert_eq!(pair.lns.up.len(), 1);
}

/// [2661:5.8-10] [2661:6.2-1]
#[test]
fn a_wish_that_comes_again_is_one_tunnel() {
    let mut pair = Pair::of(listen(None), dial(None));
    let wish = pair.link.front().cloned().unwrap();
    for _ in 0..3 {
        pair.deliver(wish.clone());
    }
    pair.exchange();
    assert_eq!((pair.lns.tunnels.len(), pair.lns.up.len(), pair.lac.up.len()), (1, 1, 1));
}

/// [2661:9-2]
#[test]
fn nobody_else_speaks_in_a_tunnel() {
    let mut pair = Pair::up();
    let ids = pair.lns.carried[0].0;
    let result = crate::wire::ResultCode::new(1, None);
    let stop = Message::StopCcn { tunnel: ids.peer_tunnel, result };
    let body = Avp::emit_all(&stop.avps());
    for remote in ["192.0.2.1:40002", "192.0.2.2:40001"] {
        for ns in [0, 4] {
            let control = Control { tunnel: ids.tunnel, session: 0, ns, nr: 2, body: &body };
            let path = Path { local: lns_address(), remote: remote.parse().unwrap() };
            assert!(pair.lns.handle(pair.now, came(path, control.emit())).is_empty());
        }
    }
    assert!(pair.lns.down.is_empty());
}

/// Several peers behind one NAT, all with port 1701, and by chance with the same Tunnel ID.
#[test]
fn what_brings_a_message_tells_peers_of_one_address_apart() {
    let mut pair = Pair::idle(listen(None));
    let path = from("203.0.113.7:1701");
    let by = |association, octets| Input::Datagram { path, association: Association(association), octets };
    let ours = [7, 8].map(|n| tunnels(&pair.lns.handle(pair.now, by(n, sccrq(5)))[0]).1);
    assert_ne!(ours[0], ours[1]);
    let control = |tunnel, ns, message: &Message| {
        Control { tunnel, session: 0, ns, nr: 1, body: &Avp::emit_all(&message.avps()) }.emit()
    };
    for (n, ours) in [(7, ours[0]), (8, ours[1])] {
        pair.lns.handle(pair.now, by(n, control(ours, 1, &Message::Scccn { response: None })));
    }
    assert_eq!(pair.lns.tunnels.len(), 2);
    // The neighbour knows the other one's Tunnel ID, and may not speak in it.
    let result = crate::wire::ResultCode::new(1, None);
    let stop = || control(ours[0], 2, &Message::StopCcn { tunnel: 5, result: result.clone() });
    for other in [8, 0] {
        assert!(pair.lns.handle(pair.now, by(other, stop())).is_empty());
    }
    assert!(pair.lns.down.is_empty());
    // Where its association is gone, a tunnel is over at once, and nobody is told.
    let why = Failure::new(FailureCode::PeerClosed, Step::Established, "IPsec is gone");
    let bare = Input::Bare { association: Association(8), why };
    assert!(pair.lns.handle(pair.now, bare).is_empty());
    assert_eq!(pair.lns.code(), FailureCode::PeerClosed);
    pair.lns.handle(pair.now, by(7, stop()));
    assert_eq!(pair.lns.down.len(), 2);
}

/// [2661:3.1-6]
#[test]
fn what_is_no_control_message_costs_nothing() {
    let mut pair = Pair::up();
    let path = Path { local: lns_address(), remote: lac_address() };
    let good = octets(&Message::Hello.avps());
    let data = [&[0x00, 0x02][..], &good[4..8], &[0xff, 0x03, 0xc0, 0x21]].concat();
    let version3 = [&[0xc8, 0x03][..], &good[2..]].concat();
    for octets in [Vec::new(), vec![0xc8], data, version3, vec![0xff; 9000], good] {
        assert!(pair.lns.handle(pair.now, came(path, octets)).is_empty());
    }
    assert!(pair.lns.down.is_empty() && pair.lns.refused.is_empty());
}

/// Where it can be answered, it is, and nothing is kept.
#[test]
fn a_malformed_wish_is_told_so_once() {
    let mut pair = Pair::idle(listen(None));
    let with = |from: Vec<Avp>| {
        octets(&[&[Avp::new(true, 0, vec![0, 1]), Avp::new(true, 9, vec![0, 5])][..], &from].concat())
    };
    let all = [with(Vec::new()), with(vec![Avp::new(true, 2, vec![1])])];
    for (n, octets) in all.into_iter().enumerate() {
        let path = from(&format!("203.0.113.{n}:1701"));
        let sent = pair.lns.handle(pair.now, came(path, octets));
        let [transmit] = &sent[..] else { panic!("{sent:?}") };
        let Some((5, 0, Message::StopCcn { result, .. })) = Pair::read(transmit) else { panic!() };
        assert_eq!((result.result, result.error), (2, Some(3)));
    }
    assert!(pair.lns.endpoint.is_idle());
    assert!(pair.lns.refused.iter().all(|why| why.code == FailureCode::PeerMisbehaved));
}

/// [2661:5.3-1]
#[test]
fn ids_are_drawn_by_chance_and_never_zero() {
    let mut pair = Pair::idle(listen(None));
    pair.lac.entropy.0 = 99;
    for _ in 0..3 {
        pair.dial(dial(None));
        pair.exchange();
        let _ = pair.lac.entropy.public_u64();
    }
    let ids: Vec<u16> = pair.lac.carried.iter().chain(&pair.lns.carried).map(|c| c.0.tunnel).collect();
    assert_eq!(ids.len(), 6);
    assert!(!ids.contains(&0));
    assert!(ids.windows(2).all(|w| w[0].abs_diff(w[1]) > 1), "{ids:?}");
}

#[test]
fn a_tunnel_that_nobody_uses_does_not_stand_for_ever() {
    let mut pair = Pair::of(listen(None), crate::Dial { call: None, ..dial(None) });
    pair.exchange();
    assert_eq!(pair.lns.tunnels.len(), 1);
    pair.sleep(Duration::from_secs(59), true);
    assert!(pair.lns.down.is_empty());
    pair.sleep(Duration::from_secs(2), true);
    assert_eq!(pair.lns.code(), FailureCode::Idle);
    // One with a session does.
    let mut pair = Pair::up();
    pair.sleep(Duration::from_secs(300), true);
    assert!(pair.lns.down.is_empty());
}

#[test]
fn a_peer_that_has_started_anew_gets_a_new_tunnel() {
    let mut pair = Pair::idle(listen(None));
    let path = from("203.0.113.7:1701");
    let first = pair.lns.handle(pair.now, came(path, sccrq(5)));
    let (_, ours) = tunnels(&first[0]);
    let result = crate::wire::ResultCode::new(6, None);
    let body = Avp::emit_all(&Message::StopCcn { tunnel: 5, result }.avps());
    let stop = Control { tunnel: ours, session: 0, ns: 1, nr: 1, body: &body }.emit();
    pair.lns.handle(pair.now, came(path, stop));
    let second = pair.lns.handle(pair.now, came(path, sccrq(5)));
    assert_ne!(tunnels(&second[0]).1, ours);
}

fn tunnels(transmit: &Transmit) -> (u16, u16) {
    match Pair::read(transmit) {
        Some((tunnel, _, Message::Sccrp(start))) => (tunnel, start.tunnel),
        other => panic!("{other:?}"),
    }
}
