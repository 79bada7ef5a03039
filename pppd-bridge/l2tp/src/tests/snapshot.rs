//! A tunnel that goes on in another process.

use super::pair::*;
use crate::wire::Message;
use crate::*;

use core::time::Duration;

fn rules() -> Rules {
    Rules { secret: None, hide: false, takes: Takes { incoming: true, outgoing: false }, sessions: 3 }
}

fn snapshot(end: &End) -> Option<Vec<u8>> {
    end.endpoint.snapshot(*end.tunnels.first()?).map(|snapshot| snapshot.to_vec())
}

/// The process of one end is gone, and another one goes on.
fn again(pair: &mut Pair, lac: bool) -> Restored {
    let now = pair.now;
    let (end, new) = match lac {
        true => (&mut pair.lac, End::new(71, None)),
        false => (&mut pair.lns, End::new(72, Some(listen(None)))),
    };
    let left = snapshot(end).expect("it stands");
    let carried = std::mem::replace(end, new).carried;
    let End { endpoint, entropy, .. } = end;
    let restored = endpoint.restore(now, entropy, &left, &rules()).expect("it is good");
    assert_eq!(restored.sessions.iter().map(|(_, ids, lns)| (*ids, *lns)).collect::<Vec<_>>(), carried);
    end.tunnels.push(restored.tunnel);
    let sent = end.drain(now);
    pair.post(sent);
    restored
}

// [2661:5.5-1] [2661:5.8-1]
#[test]
fn both_ends_go_on() {
    for lac in [true, false] {
        let mut pair = Pair::up();
        pair.sleep(Duration::from_secs(200), true);
        let restored = again(&mut pair, lac);
        // It asks whether the peer is there.
        let asked = pair.sent.last().unwrap().clone();
        assert!(matches!(Pair::read(&asked), Some((_, 0, Message::Hello))));
        pair.exchange();
        pair.sleep(Duration::from_secs(300), true);
        assert!(pair.lac.down.is_empty() && pair.lns.down.is_empty());
        // Its session is cleared by its name here, and is over for both.
        let session = restored.sessions[0].0;
        if lac {
            pair.lac_does(Input::Clear { session })
        } else {
            pair.lns_does(Input::Clear { session })
        }
        pair.exchange();
        assert_eq!((pair.lac.sessions_down.len(), pair.lns.sessions_down.len()), (1, 1));
        // And another one comes up in the same tunnel.
        let tunnel = pair.lac.tunnels[0];
        pair.lac_does(Input::Place { tunnel, call: Call::Incoming });
        pair.exchange();
        assert_eq!((pair.lac.up.len(), pair.lns.up.len()), if lac { (1, 2) } else { (2, 1) });
        pair.lac_does(Input::Close { tunnel });
        pair.exchange();
        assert_eq!((pair.lac.down.len(), pair.lns.down.len()), (1, 1));
    }
}

/// What the peer has not acknowledged is sent again under its own number, and nothing has that number afterwards.
// [2661:5.8-3] [2661:5.8-7]
#[test]
fn what_is_on_its_way_is_sent_again_as_it_was() {
    let mut pair = Pair::up();
    pair.sleep(Duration::from_secs(60), false);
    let hello = pair.sent.iter().rev().find(|t| Pair::read(t).is_some() && t.path.remote == lns_address());
    let hello = hello.unwrap().payload.clone();
    let since = pair.sent.len();
    again(&mut pair, true);
    assert_eq!(pair.sent.len(), since + 1);
    assert_eq!(pair.sent[since].payload, hello);
    pair.exchange();
    assert!(pair.sent.len() > since + 1, "it is acknowledged");
    pair.sleep(Duration::from_secs(300), true);
    assert!(pair.lac.down.is_empty() && pair.lns.down.is_empty());
}

/// A process that is gone before its last words are acknowledged tries no longer than one that stays.
// [2661:5.8-8]
#[test]
fn a_peer_that_is_gone_is_lost() {
    let mut pair = Pair::up();
    pair.sleep(Duration::from_secs(70), false);
    again(&mut pair, true);
    pair.link.clear();
    pair.sleep(Duration::from_secs(60), false);
    assert_eq!(pair.lac.down.len(), 1);
}

#[test]
fn nothing_is_handed_on_while_a_call_is_on_its_way() {
    let mut pair = Pair::up();
    assert!(snapshot(&pair.lac).is_some() && snapshot(&pair.lns).is_some());
    let tunnel = pair.lac.tunnels[0];
    pair.lac_does(Input::Place { tunnel, call: Call::Incoming });
    assert!(snapshot(&pair.lac).is_none());
    pair.exchange();
    assert!(snapshot(&pair.lac).is_some() && snapshot(&pair.lns).is_some());
    let session = pair.lac.up[0].0;
    pair.lac_does(Input::Clear { session });
    assert!(snapshot(&pair.lac).is_some(), "the other one stands");
    pair.lac_does(Input::Close { tunnel });
    assert!(snapshot(&pair.lac).is_none());
}

#[test]
fn what_is_damaged_is_refused_or_means_something() {
    let mut pair = Pair::up();
    pair.sleep(Duration::from_secs(62), false);
    let left = snapshot(&pair.lac).unwrap();
    let goes_on = |bytes: &[u8]| {
        let mut end = End::new(5, None);
        let End { endpoint, entropy, .. } = &mut end;
        let restored = endpoint.restore(pair.now, entropy, bytes, &rules());
        assert_eq!(restored.is_none(), endpoint.is_idle());
        end.drain(pair.now);
        restored.is_some()
    };
    assert!(goes_on(&left));
    for length in 0..left.len() {
        assert!(!goes_on(&left[..length]), "cut off after {length}");
    }
    assert!(!goes_on(&[left.as_slice(), &[0]].concat()), "more than there is");
    for at in 0..left.len() {
        for flip in [1, 0x80, 0xff] {
            let mut bytes = left.clone();
            bytes[at] ^= flip;
            goes_on(&bytes);
        }
    }
    let mut other = left;
    other[0] = 2;
    assert!(!goes_on(&other), "another version");
}

#[test]
fn the_same_one_is_not_taken_up_twice() {
    let pair = Pair::up();
    for (left, new) in [
        (snapshot(&pair.lac).unwrap(), End::new(6, None)),
        (snapshot(&pair.lns).unwrap(), End::new(7, Some(listen(None)))),
    ] {
        let End { mut endpoint, mut entropy, .. } = new;
        let restored = endpoint.restore(pair.now, &mut entropy, &left, &rules()).unwrap();
        assert!(endpoint.restore(pair.now, &mut entropy, &left, &rules()).is_none());
        // It is written as it was read, but for the question that is on its way.
        let again = endpoint.snapshot(restored.tunnel).unwrap();
        let mut third = End::new(8, None);
        let same = third.endpoint.restore(pair.now, &mut third.entropy, &again, &rules()).unwrap();
        assert_eq!((same.path, same.ids), (restored.path, restored.ids));
        assert!(third.endpoint.take_touched(same.tunnel) && !third.endpoint.take_touched(same.tunnel));
    }
}
