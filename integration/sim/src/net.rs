//! The network between hosts: routers with or without NAT, and everything that goes wrong with datagrams.

use std::collections::{BTreeMap, BTreeSet};

use core::net::{IpAddr, SocketAddr};
use core::time::Duration;

use adit_core::{Instant, Transmit};

use crate::nat::Nat;
use crate::random::Random;

/// What happens to datagrams, in parts of a thousand.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Faults {
    /// Lost.
    pub loss: u64,
    /// Delivered twice, the second one on its own way.
    pub duplicate: u64,
    /// One bit is turned over.
    pub corrupt: u64,
    /// The shortest way.
    pub fastest: Duration,
    /// The longest way. Datagrams overtake each other by the difference.
    pub slowest: Duration,
}

impl Faults {
    /// A good network.
    pub const NONE: Self = Self {
        loss: 0,
        duplicate: 0,
        corrupt: 0,
        fastest: Duration::from_millis(5),
        slowest: Duration::from_millis(5),
    };

    /// A network of some badness.
    pub fn some(random: &mut Random) -> Self {
        let fastest = random.between(Duration::from_millis(1), Duration::from_millis(80));
        Self {
            loss: random.pick(&[0, 0, 20, 100, 300]).unwrap_or(0),
            duplicate: random.pick(&[0, 20, 200]).unwrap_or(0),
            corrupt: random.pick(&[0, 0, 10, 50]).unwrap_or(0),
            fastest,
            slowest: fastest + random.between(Duration::ZERO, Duration::from_millis(1500)),
        }
    }
}

/// A datagram between the outer sides of two hosts.
#[derive(Clone, Debug)]
pub struct Flying {
    /// Source, as the outside sees it.
    pub from: SocketAddr,
    /// Destination, as the outside sees it.
    pub to: SocketAddr,
    /// UDP payload.
    pub payload: Vec<u8>,
}

/// Where a host is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// At an address that everybody reaches.
    Public,
    /// Behind the NAT of this number.
    Behind(usize),
}

/// The network.
pub struct Net {
    /// What happens to datagrams.
    pub faults: Faults,
    /// Nothing gets through before this.
    pub outage_until: Instant,
    /// The NATs.
    pub nats: Vec<Nat>,
    /// Where nothing passes, although both ends are there: between an address of a host and a remote one.
    pub holes: BTreeSet<(IpAddr, IpAddr)>,
    /// Datagrams that were lost, changed or doubled.
    pub spoilt: u64,
    hosts: BTreeMap<IpAddr, (usize, Place)>,
    random: Random,
}

impl Net {
    /// One without hosts.
    #[must_use]
    pub const fn new(random: Random, faults: Faults) -> Self {
        Self {
            faults,
            outage_until: Instant::ZERO,
            nats: Vec::new(),
            holes: BTreeSet::new(),
            spoilt: 0,
            hosts: BTreeMap::new(),
            random,
        }
    }

    /// Puts host number `host` with its own address somewhere.
    pub fn attach(&mut self, host: usize, address: IpAddr, place: Place) {
        self.hosts.insert(address, (host, place));
    }

    /// Nobody is at this address any more.
    pub fn detach(&mut self, address: IpAddr) {
        self.hosts.remove(&address);
    }

    /// Whether somebody is at this address.
    #[must_use]
    pub fn is_there(&self, address: IpAddr) -> bool {
        self.hosts.contains_key(&address)
    }

    /// Sends. What comes of it: datagrams, each with the time that it takes.
    pub fn send(&mut self, now: Instant, transmit: &Transmit) -> Vec<(Duration, Flying)> {
        let inner = transmit.path.local;
        let from = match self.hosts.get(&inner.ip()) {
            Some((_, Place::Public)) => inner,
            Some((_, Place::Behind(nat))) => match self.nats.get_mut(*nat) {
                Some(nat) => nat.outward(now, inner, transmit.path.remote),
                None => return Vec::new(),
            },
            None => return Vec::new(),
        };
        if self.holes.contains(&(inner.ip(), transmit.path.remote.ip())) {
            return Vec::new();
        }
        let flying = Flying { from, to: transmit.path.remote, payload: transmit.payload.clone() };
        self.spoil(now, flying)
    }

    /// A datagram on the outside meets the network's faults.
    pub fn spoil(&mut self, now: Instant, mut flying: Flying) -> Vec<(Duration, Flying)> {
        let faults = self.faults;
        if now < self.outage_until || self.random.chance(faults.loss) {
            self.spoilt = self.spoilt.saturating_add(1);
            return Vec::new();
        }
        if self.random.chance(faults.corrupt) {
            self.spoilt = self.spoilt.saturating_add(1);
            turn_a_bit(&mut self.random, &mut flying.payload);
        }
        let copies = if self.random.chance(faults.duplicate) { 2 } else { 1 };
        self.spoilt = self.spoilt.saturating_add(copies - 1);
        (0..copies).map(|_| (self.random.between(faults.fastest, faults.slowest), flying.clone())).collect()
    }

    /// A datagram arrives: at which host, and the host's own end of it.
    pub fn arrive(&mut self, now: Instant, flying: &Flying) -> Option<(usize, SocketAddr)> {
        let inner = match self.hosts.get(&flying.to.ip()) {
            Some((_, Place::Public)) => flying.to,
            _ => {
                let nat = self.nats.iter_mut().find(|n| n.outer == flying.to.ip())?;
                nat.inward(now, flying.from, flying.to.port())?
            }
        };
        if self.holes.contains(&(inner.ip(), flying.from.ip())) {
            return None;
        }
        self.hosts.get(&inner.ip()).map(|(host, _)| (*host, inner))
    }
}

/// Turns one bit over.
pub fn turn_a_bit(random: &mut Random, bytes: &mut [u8]) {
    let bits = (bytes.len() as u64).saturating_mul(8);
    let bit = usize::try_from(random.below(bits)).unwrap_or(0);
    if let Some(byte) = bytes.get_mut(bit / 8) {
        *byte ^= 1 << (bit % 8);
    }
}
