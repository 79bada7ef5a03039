//! Both roles over a stream that splits, stalls and breaks.

use core::time::Duration;

use super::pair::{CONTROL, DATA, Pair, client, keys, server};
use crate::{Event, Input};

/// Seeds of the simulation.
const SEEDS: u64 = 10_000;
/// Rounds of one: more than any takes.
const ROUNDS: u32 = 2_000;

/// xorshift64*: what a seed does is the same everywhere.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) % limit
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

/// What the stream does to a seed's octets.
struct Weather {
    /// Octets that arrive at once, at most.
    piece: u64,
    /// One round in so many brings nothing.
    stall: u64,
    /// One round in so many breaks it.
    reset: u64,
}

struct Told {
    frames: usize,
    authenticated: [bool; 2],
    stopped: bool,
}

fn carry(pair: &mut Pair, dice: &mut Dice, weather: &Weather) {
    for to_server in [true, false] {
        if dice.one_in(weather.stall) {
            continue;
        }
        let (from, to) = match to_server {
            true => (&mut pair.client, &mut pair.server),
            false => (&mut pair.server, &mut pair.client),
        };
        let length = usize::try_from(dice.below(weather.piece) + 1).unwrap().min(from.sent.len());
        let piece: Vec<u8> = from.sent.drain(..length).collect();
        if !piece.is_empty() {
            to.tell(pair.now, Input::Received(&piece));
        }
        // The end of the stream comes behind all that was sent.
        if from.closed.is_some() && from.sent.is_empty() {
            to.tell(pair.now, Input::Disconnected(None));
        }
    }
}

fn act(pair: &mut Pair, dice: &mut Dice, told: &mut Told, same_keys: bool) {
    let now = pair.now;
    for (n, end) in [&mut pair.client, &mut pair.server].into_iter().enumerate() {
        if end.events.contains(&Event::LinkUp) && !told.authenticated[n] && dice.one_in(8) {
            told.authenticated[n] = true;
            end.tell(now, Input::Authenticated(keys(if same_keys || n == 0 { 1 } else { 2 })));
        }
        if dice.one_in(3) {
            end.tell(now, Input::Frame(if dice.one_in(2) { DATA } else { CONTROL }));
            told.frames += 1;
        }
    }
    if pair.client.is_bound() && pair.server.is_bound() && !told.stopped && dice.one_in(40) {
        told.stopped = true;
        match dice.one_in(2) {
            true => pair.client.tell(now, Input::Stop),
            false => pair.server.tell(now, Input::Stop),
        }
    }
}

fn check(pair: &Pair, told: &Told, same_keys: bool, seed: u64) {
    for (n, end) in [&pair.client, &pair.server].into_iter().enumerate() {
        assert!(!end.is_bound() || told.authenticated[n], "seed {seed}: bound before the authentication");
        let bound = end.is_bound();
        assert!(bound || end.frames.iter().all(|f| f == CONTROL), "seed {seed}: a packet passed too early");
        assert!(end.frames.iter().all(|f| f == CONTROL || f == DATA), "seed {seed}: a frame was torn");
        assert!(end.frames.len() <= told.frames, "seed {seed}");
    }
    assert!(same_keys || !pair.server.is_bound(), "seed {seed}: bound to another authentication");
}

fn run(seed: u64) -> (bool, bool) {
    let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let weather = Weather {
        piece: [1, 7, 120, 5000][usize::try_from(dice.below(4)).unwrap()],
        stall: [2, 5, 50][usize::try_from(dice.below(3)).unwrap()],
        reset: [150, 100_000][usize::try_from(dice.below(2)).unwrap()],
    };
    let same_keys = !dice.one_in(5);
    let mut pair = Pair::new(client(), server());
    let mut told = Told { frames: 0, authenticated: [false; 2], stopped: false };
    let mut broke = false;
    for _ in 0..ROUNDS {
        carry(&mut pair, &mut dice, &weather);
        act(&mut pair, &mut dice, &mut told, same_keys);
        if dice.one_in(weather.reset) {
            broke = true;
            pair.client.tell(pair.now, Input::Disconnected(None));
            pair.server.tell(pair.now, Input::Disconnected(None));
        }
        check(&pair, &told, same_keys, seed);
        let pause = if dice.one_in(30) { 20_000 } else { 50 };
        pair.pass(Duration::from_millis(pause));
        if pair.client.closed.is_some() && pair.server.closed.is_some() {
            return (pair.server.is_bound(), broke);
        }
    }
    panic!("seed {seed}: it never ended");
}

#[test]
fn ten_thousand_seeds() {
    let (mut bound, mut broke) = (0, 0);
    for seed in 0..SEEDS {
        let (was_bound, was_broken) = run(seed);
        bound += u64::from(was_bound);
        broke += u64::from(was_broken);
    }
    // Most come up, and many are broken: else the simulation would show little.
    assert!(bound > SEEDS / 4 && broke > SEEDS / 10, "{bound} were bound, {broke} broke");
}
