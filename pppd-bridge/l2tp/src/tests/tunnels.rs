use core::time::Duration;

use adit_core::{FailureCode, Path};

use super::calls::forge;
use super::pair::{End, Pair, dial, lac_address, listen, lns_address, secret};
use crate::wire::{Avp, Message, ResultCode};
use crate::{Association, Dial, Input, Listen};

/// [2661:4.4.3-3] [2661:4.4.3-4] [2661:4.4.3-5] [2661:5.1.1-1]
#[test]
fn both_ends_prove_that_they_know_the_secret() {
    let mut pair = Pair::of(listen(secret("s3cret")), dial(secret("s3cret")));
    pair.exchange();
    assert_eq!((pair.lac.up.len(), pair.lns.up.len()), (1, 1));
    let responses: Vec<_> = pair
        .sent
        .iter()
        .filter_map(Pair::read)
        .filter_map(|(_, _, message)| match message {
            Message::Sccrp(start) => start.response,
            Message::Scccn { response } => response,
            _ => None,
        })
        .collect();
    assert!(responses.len() == 2 && responses[0] != responses[1]);
}

/// [2661:5.1.1-2] [2661:4.4.3-4]
#[test]
fn who_does_not_know_it_is_not_let_in() {
    let mut pair = Pair::of(listen(secret("right")), dial(secret("wrong")));
    pair.exchange();
    // The server was the first that had to prove something.
    assert_eq!(pair.lac.code(), FailureCode::AuthenticationFailed);
    assert!(pair.lns.tunnels.is_empty() && pair.lns.up.is_empty());
    assert!(matches!(pair.last(), Message::StopCcn { result, .. } if result.result == 4));
    // A client without one can't answer the challenge, and says so.
    let mut pair = Pair::of(listen(secret("right")), dial(None));
    pair.exchange();
    assert_eq!(pair.lac.code(), FailureCode::NoSecret);
    assert!(pair.lns.tunnels.is_empty());
    // A server without one says so at once, and keeps nothing.
    let mut pair = Pair::of(listen(None), dial(secret("right")));
    pair.exchange();
    assert_eq!(pair.lac.code(), FailureCode::AuthenticationFailed);
    assert!(pair.lns.endpoint.is_idle());
    assert!(matches!(&pair.lns.refused[..], [why] if why.code == FailureCode::NoSecret));
}

/// [2661:4.3-1] [2661:4.3-2] [2661:4.3-3]
#[test]
fn values_are_hidden_both_ways_where_both_have_a_secret() {
    let hidden = Listen { hide: true, ..listen(secret("s")) };
    let mut pair = Pair::of(hidden, Dial { hide: true, ..dial(secret("s")) });
    pair.exchange();
    assert_eq!((pair.lac.up.len(), pair.lns.up.len()), (1, 1));
    // Nobody reads the sessions' IDs who has no secret.
    let calls = pair.sent.iter().filter_map(Pair::read).filter(|(_, _, m)| (7..=14).contains(&m.kind()));
    assert_eq!(calls.count(), 0);
    let session = pair.lac.up[0].0;
    pair.lac_does(Input::Clear { session });
    pair.exchange();
    assert_eq!(pair.lns.sessions_down.len(), 1);
}

/// [2661:4.3-4]
#[test]
fn what_is_hidden_from_who_has_no_secret_ends_the_tunnel() {
    let mut pair = Pair::up();
    forge(
        &mut pair,
        4,
        0,
        &[Avp::new(true, 0, vec![0, 10]), Avp { hidden: true, ..Avp::new(true, 14, vec![1; 4]) }],
    );
    assert!(matches!(pair.last(), Message::StopCcn { result, .. } if result.error == Some(8)));
    pair.sleep(Duration::from_secs(60), false);
    assert_eq!(pair.lns.code(), FailureCode::NoSecret);
}

/// [2661:4.1-3] [2661:4.4.1-4] [2661:7.1-1]
#[test]
fn what_a_tunnel_has_to_know_and_does_not_ends_it() {
    let hello_with = |avp| [Message::Hello.avps(), vec![avp]].concat();
    let all: [(Vec<Avp>, u16); 4] = [
        (hello_with(Avp::new(true, 77, Vec::new())), 8),
        (hello_with(Avp { reserved: 0x0400, ..Avp::new(true, 7, Vec::new()) }), 8),
        (vec![Avp::new(true, 0, vec![0, 99])], 8),
        (vec![Avp::new(true, 0, vec![0, 10]), Avp::new(true, 14, vec![1])], 3),
    ];
    for (avps, error) in all {
        let mut pair = Pair::up();
        forge(&mut pair, 4, 0, &avps);
        assert!(matches!(pair.last(), Message::StopCcn { result, .. } if result.error == Some(error)));
        assert_eq!(pair.lns.sessions_down.len(), 1, "at once");
        pair.sleep(Duration::from_secs(60), false);
        assert_eq!(pair.lns.code(), FailureCode::PeerMisbehaved, "{avps:?}");
    }
    // A type that need not be known.
    let mut pair = Pair::up();
    forge(&mut pair, 4, 0, &[Avp::new(false, 0, vec![0, 99])]);
    assert!(pair.lns.down.is_empty());
}

/// [2661:5.7-1] [2661:5.7-2] [2661:6.4-1]
#[test]
fn either_end_ends_the_tunnel_with_its_sessions() {
    for by_lac in [true, false] {
        let mut pair = Pair::up();
        match by_lac {
            true => pair.lac_does(Input::Close { tunnel: pair.lac.tunnels[0] }),
            false => pair.lns_does(Input::Close { tunnel: pair.lns.tunnels[0] }),
        }
        pair.exchange();
        let (by, of) = if by_lac { (&pair.lac, &pair.lns) } else { (&pair.lns, &pair.lac) };
        assert!(matches!(&by.down[..], [Ok(())]), "{:?}", by.down);
        assert_eq!(of.code(), FailureCode::PeerClosed);
        assert!(matches!(&of.sessions_down[..], [(_, Err(_))]));
        pair.sleep(Duration::from_secs(120), true);
        assert!(pair.lac.endpoint.is_idle() && pair.lns.endpoint.is_idle());
    }
}

/// [2661:5.8-11]
#[test]
fn the_end_of_a_tunnel_is_acknowledged_again_for_a_whole_cycle() {
    let mut pair = Pair::up();
    pair.lac_does(Input::Close { tunnel: pair.lac.tunnels[0] });
    let stop = pair.link.pop_front().unwrap();
    pair.deliver(stop.clone());
    pair.link.clear();
    pair.sleep(Duration::from_secs(25), false);
    pair.deliver(stop.clone());
    assert_eq!(pair.link.len(), 1, "acknowledged again");
    pair.exchange();
    assert!(matches!(&pair.lac.down[..], [Ok(())]));
    pair.sleep(Duration::from_secs(40), true);
    assert!(pair.lns.endpoint.is_idle());
    pair.deliver(stop);
    assert!(pair.link.is_empty(), "nobody is there any more");
}

#[test]
fn a_farewell_that_nobody_answers_ends_by_itself() {
    let mut pair = Pair::up();
    pair.lac_does(Input::Close { tunnel: pair.lac.tunnels[0] });
    pair.sleep(Duration::from_secs(60), false);
    assert!(matches!(&pair.lac.down[..], [Ok(())]));
    assert!(pair.lac.endpoint.is_idle());
}

/// [2661:5.5-1] [2661:6.5-1]
#[test]
fn an_idle_tunnel_lives_by_hellos() {
    let mut pair = Pair::up();
    pair.sleep(Duration::from_secs(3600), true);
    assert!(pair.lac.down.is_empty() && pair.lns.down.is_empty());
    let hellos = pair.sent.iter().filter_map(Pair::read).filter(|(_, _, m)| *m == Message::Hello).count();
    assert!((50..=130).contains(&hellos), "{hellos}");
}

/// [2661:5.8-7] [2661:5.8-8]
#[test]
fn a_dead_peer_is_lost_after_a_hello_and_its_retransmissions() {
    let mut pair = Pair::up();
    pair.sleep(Duration::from_secs(85), false);
    assert!(pair.lac.down.is_empty());
    let before = pair.sent.len();
    pair.sleep(Duration::from_secs(10), false);
    assert_eq!(pair.lac.code(), FailureCode::PeerLost);
    assert!(matches!(&pair.lac.sessions_down[..], [(_, Err(_))]));
    pair.sleep(Duration::from_secs(60), false);
    assert!(pair.sent.len() <= before + 2, "and then there is silence");
}

/// [2661:5.8-2]
#[test]
fn a_silent_server_is_asked_six_times_ever_less_often() {
    let mut pair = Pair::of(listen(None), dial(None));
    pair.link.clear();
    let mut times = vec![0];
    for second in 1..40 {
        let before = pair.sent.len();
        pair.sleep(Duration::from_secs(1), false);
        if pair.sent.len() > before {
            times.push(second);
        }
    }
    assert_eq!(times, [0, 1, 3, 7, 15, 23]);
    assert_eq!(pair.lac.code(), FailureCode::ServerUnreachable);
    assert!(pair.lac.endpoint.is_idle());
}

/// [2661:8.1-1]
#[test]
fn a_server_may_answer_from_another_port_and_from_no_other_address() {
    let mut pair = Pair::of(listen(None), dial(None));
    let sccrq = pair.link.pop_front().unwrap();
    pair.deliver(sccrq);
    let sccrp = pair.link.pop_front().unwrap();
    let from = |address: &str| Path { local: lac_address(), remote: address.parse().unwrap() };
    let octets = sccrp.payload;
    pair.lac_does(Input::Datagram {
        path: from("198.51.100.2:1701"),
        association: Association::default(),
        octets: octets.clone(),
    });
    assert!(pair.lac.tunnels.is_empty() && pair.link.is_empty());
    pair.lac_does(Input::Datagram {
        path: from("198.51.100.1:4242"),
        association: Association::default(),
        octets: octets.clone(),
    });
    assert_eq!(pair.lac.tunnels.len(), 1);
    assert!(pair.link.iter().all(|t| t.path.remote.port() == 4242) && !pair.link.is_empty());
    pair.link.clear();
    // From then on it is that port.
    pair.lac_does(Input::Datagram {
        path: from("198.51.100.1:1701"),
        association: Association::default(),
        octets,
    });
    assert!(pair.link.is_empty());
}

#[test]
fn a_server_of_another_version_is_told() {
    let mut pair = Pair::of(listen(None), dial(None));
    let sccrq = pair.link.pop_front().unwrap();
    pair.deliver(sccrq);
    let mut sccrp = pair.link.pop_front().unwrap();
    // Protocol Version is the second AVP.
    let at = sccrp.payload.windows(6).position(|w| w == [0x80, 8, 0, 0, 0, 2]).unwrap();
    sccrp.payload[at + 6] = 7;
    pair.deliver(sccrp);
    assert!(
        matches!(pair.last(), Message::StopCcn { result, .. } if result == ResultCode::new(5, Some(0x100)))
    );
    pair.exchange();
    assert_eq!(pair.lac.code(), FailureCode::ProposalMismatch);
}

/// [2661:4.4.3-6] [2661:4.4.3-7]
#[test]
fn of_two_ends_that_dial_each_other_one_gives_way() {
    for (ours, theirs) in [(true, true), (true, false), (false, true)] {
        let mut pair = Pair::idle(listen(None));
        pair.lac = End::new(1, Some(listen(None)));
        pair.dial(Dial { only: ours, ..dial(None) });
        let other =
            Dial { path: Path { local: lns_address(), remote: lac_address() }, only: theirs, ..dial(None) };
        let End { endpoint, entropy, .. } = &mut pair.lns;
        endpoint.dial(pair.now, entropy, other).unwrap();
        let sent = pair.lns.drain(pair.now);
        pair.post(sent);
        pair.exchange();
        pair.sleep(Duration::from_secs(40), true);
        assert_eq!((pair.lac.tunnels.len(), pair.lns.tunnels.len()), (1, 1), "{ours} {theirs}");
        assert_eq!(pair.lac.up.len(), 1);
        assert_eq!(pair.lac.down.len() + pair.lns.down.len(), 1);
    }
}

#[test]
fn two_tunnels_stand_where_nobody_minds() {
    let mut pair = Pair::up();
    pair.dial(dial(None));
    pair.exchange();
    assert_eq!((pair.lac.tunnels.len(), pair.lns.tunnels.len(), pair.lns.up.len()), (2, 2, 2));
}
