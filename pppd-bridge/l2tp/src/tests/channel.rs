use core::time::Duration;

use adit_core::Instant;

use super::pair::{Pair, dial, listen};
use crate::api::Timing;
use crate::channel::{Channel, Place};
use crate::wire::{Control, Message};
use crate::{Call, Input};

const SECOND: Duration = Duration::from_secs(1);

/// Ns, Nr and whether it is a Zero-Length Body message.
type Sent = (u16, u16, bool);

fn pump(channel: &mut Channel, now: Instant) -> Vec<Sent> {
    let mut sent = Vec::new();
    channel.pump(now, |p| sent.push((p.ns, p.nr, p.body.is_empty())));
    sent
}

fn channel(count: u8) -> Channel {
    let mut channel = Channel::new(Timing::default(), 8);
    for body in 1..=count {
        assert!(channel.queue(0, vec![body]));
    }
    channel
}

/// [2661:5.8-6] [2661:5.8-12]
#[test]
fn the_window_opens_as_messages_are_acknowledged_and_no_further_than_the_peer_s() {
    let mut channel = channel(30);
    let now = Instant::ZERO;
    let mut acknowledged = 0;
    let mut flights = Vec::new();
    for _ in 0..8 {
        let sent = pump(&mut channel, now);
        flights.push(sent.len());
        // Each flight is acknowledged at once.
        acknowledged += sent.len() as u16;
        channel.acknowledge(now, acknowledged);
    }
    assert_eq!(flights, [1, 2, 4, 4, 4, 4, 4, 4], "a peer that says nothing takes four");
    channel.set_peer_window(6);
    for _ in 0..2 {
        acknowledged += pump(&mut channel, now).len() as u16;
        channel.acknowledge(now, acknowledged);
    }
    assert!(channel.is_idle());
}

/// [2661:5.8-2] [2661:5.8-4] [2661:5.8-7]
#[test]
fn what_is_lost_is_sent_again_with_its_ns_and_the_nr_of_now() {
    let mut channel = channel(1);
    assert_eq!(pump(&mut channel, Instant::ZERO), [(0, 0, false)]);
    // Meanwhile something came.
    assert_eq!(channel.place(0), Place::Next);
    channel.take();
    assert_eq!(pump(&mut channel, Instant::ZERO), [(1, 1, true)]);
    let mut now = Instant::ZERO;
    let mut waits = Vec::new();
    while let Some(at) = channel.deadline() {
        waits.push(at.since(now).as_secs());
        now = at;
        if !channel.wake(now) {
            break;
        }
        assert_eq!(pump(&mut channel, now), [(0, 1, false)]);
    }
    assert_eq!(waits, [1, 2, 4, 8, 8, 8]);
}

/// [2661:5.8-3]
#[test]
fn a_slow_peer_is_waited_for_as_long_as_its_answers_take() {
    let mut channel = channel(40);
    let (mut now, mut acknowledged) = (Instant::ZERO, 0);
    for _ in 0..8 {
        acknowledged += pump(&mut channel, now).len() as u16;
        now = now + SECOND * 2;
        channel.acknowledge(now, acknowledged);
    }
    pump(&mut channel, now);
    let wait = channel.deadline().unwrap().since(now);
    assert!(wait > SECOND * 2 && wait < SECOND * 4, "{wait:?}");
}

/// [2661:5.8-5] [2661:5.8-9] [2661:5.8-10]
#[test]
fn order_is_kept_and_everything_is_acknowledged() {
    let mut channel = channel(0);
    assert_eq!(channel.place(1), Place::Ahead);
    channel.keep(1, 0, &[9]);
    assert_eq!(pump(&mut channel, Instant::ZERO), [(0, 0, true)]);
    assert_eq!(channel.place(0), Place::Next);
    channel.take();
    assert_eq!(channel.early(), Some((0, vec![9])));
    channel.take();
    assert!(channel.early().is_none());
    assert_eq!(channel.place(0), Place::Before);
    assert_eq!(pump(&mut channel, Instant::ZERO), [(0, 2, true)]);
    assert!(pump(&mut channel, Instant::ZERO).is_empty());
    // Nothing is kept that the window has no room for.
    channel.keep(10, 0, &[9]);
    channel.keep(0x8000, 0, &[9]);
    for _ in 2..10 {
        assert!(channel.early().is_none());
        channel.take();
    }
    assert!(channel.early().is_none());
}

/// [2661:5.8-9]: numbers go round.
#[test]
fn numbers_wrap() {
    let mut channel = channel(0);
    for n in 0..=u16::MAX {
        assert_eq!(channel.place(n), Place::Next);
        channel.take();
    }
    assert_eq!(channel.place(0xffff), Place::Before);
    assert_eq!(channel.place(0), Place::Next);
}

#[test]
fn what_was_never_sent_is_not_acknowledged() {
    let mut channel = channel(3);
    pump(&mut channel, Instant::ZERO);
    for nonsense in [2, 3, 0x7fff, 0xffff] {
        channel.acknowledge(Instant::ZERO, nonsense);
    }
    assert!(pump(&mut channel, Instant::ZERO).is_empty());
    channel.acknowledge(Instant::ZERO, 1);
    assert_eq!(pump(&mut channel, Instant::ZERO).len(), 2);
}

#[test]
fn a_peer_that_takes_nothing_does_not_make_us_keep_more_and_more() {
    let mut channel = channel(0);
    let kept = (0..5000).filter(|_| channel.queue(0, vec![1])).count();
    assert_eq!(kept, 1024);
}

/// [2661:5.8-1] [2661:5.8-10]
#[test]
fn a_message_that_comes_twice_is_acknowledged_twice_and_taken_once() {
    let mut pair = Pair::up();
    let tunnel = pair.lac.tunnels[0];
    pair.lac_does(Input::Place { tunnel, call: Call::Incoming });
    let icrq = pair.link.pop_front().unwrap();
    pair.deliver(icrq.clone());
    pair.exchange();
    assert_eq!(pair.lns.carried.len(), 2);
    pair.deliver(icrq);
    let again = pair.link.pop_front().unwrap();
    let control = Control::parse(&again.payload).unwrap().unwrap();
    assert!(control.is_zero_length_body() && pair.link.is_empty());
    assert_eq!((pair.lns.carried.len(), pair.lns.up.len()), (2, 2));
}

/// [2661:5.8-9]
#[test]
fn messages_that_overtake_each_other_are_taken_in_order() {
    let mut pair = Pair::of(listen(None), dial(None));
    for _ in 0..2 {
        let next = pair.link.pop_front().unwrap();
        pair.deliver(next);
    }
    // SCCCN, then ICRQ, as soon as the window lets it: the other way round.
    let scccn = pair.link.pop_front().unwrap();
    assert!(matches!(Pair::read(&scccn), Some((_, _, Message::Scccn { .. }))));
    pair.deliver(scccn.clone());
    pair.deliver(scccn);
    pair.exchange();
    assert_eq!((pair.lac.up.len(), pair.lns.up.len()), (1, 1));
}
