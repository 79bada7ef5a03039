//! A recording kernel: which SPIs it has given out, which pairs of SAs are installed, which addresses are leased.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use core::net::Ipv4Addr;
use core::time::Duration;

use adit_core::{Identity, Instant, Path, TrafficSelector};
use adit_ikev2::api::{ChildId, ChildSa, EspKeys, Lease, SaId};

use crate::random::Random;

/// How long the inbound state of a pair that was replaced still takes what is on the way.
const LINGER: Duration = Duration::from_secs(5);

/// An installed pair of SAs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Pair {
    /// Whose it is.
    pub sa: SaId,
    /// The SPI that we receive on.
    pub inbound_spi: u32,
    /// The SPI that we send on.
    pub outbound_spi: u32,
    /// Encryption and integrity keys of the inbound SA.
    pub inbound_key: Vec<u8>,
    /// Of the outbound SA, once it is installed.
    pub outbound_key: Option<Vec<u8>>,
    /// The pairs that took each other's place: the first one of them.
    pub line: ChildId,
    /// Whether the core has been told that it is installed.
    pub confirmed: bool,
    /// When the outbound SA was installed, as a number: of a line the newest one sends.
    pub outbound_since: u64,
    /// Outer addresses.
    pub path: Path,
    /// Our side.
    pub local_ts: Vec<TrafficSelector>,
    /// The peer's side.
    pub remote_ts: Vec<TrafficSelector>,
    /// Who the peer has proven to be.
    pub remote_id: Identity,
}

/// What one host's kernel and pool hold.
#[derive(Default, Debug)]
pub struct Kernel {
    /// SPIs given out, installed or not.
    pub spis: BTreeMap<u32, SaId>,
    /// Installed pairs.
    pub pairs: BTreeMap<ChildId, Pair>,
    /// Inbound SAs of pairs that were replaced, with their keys, and until when they stay.
    pub lingering: BTreeMap<u32, (Vec<u8>, Instant)>,
    /// Leased addresses.
    pub leases: BTreeMap<Ipv4Addr, SaId>,
    /// Pairs that were ever installed.
    pub installed: u64,
    changes: u64,
}

fn joined(keys: &EspKeys) -> Vec<u8> {
    [keys.encryption.expose(), keys.integrity.expose()].concat()
}

impl Kernel {
    /// ALLOCSPI.
    pub fn allocate(&mut self, random: &mut Random, sa: SaId) -> u32 {
        loop {
            let spi = u32::try_from(random.below(0xffff_fe00) + 256).unwrap_or(256);
            if let Entry::Vacant(free) = self.spis.entry(spi) {
                free.insert(sa);
                return spi;
            }
        }
    }

    /// Installs a pair, or its inbound half.
    pub fn install(&mut self, sa: SaId, child: &ChildSa) {
        self.installed = self.installed.saturating_add(1);
        self.changes = self.changes.saturating_add(1);
        let replaced = child.replaces.and_then(|old| self.pairs.get(&old));
        let pair = Pair {
            sa,
            inbound_spi: child.inbound_spi,
            outbound_spi: child.outbound_spi,
            inbound_key: joined(&child.inbound),
            outbound_key: child.outbound.as_ref().map(joined),
            line: replaced.map_or(child.child, |p| p.line),
            confirmed: false,
            outbound_since: self.changes,
            path: child.path,
            local_ts: child.local_ts.clone(),
            remote_ts: child.remote_ts.clone(),
            remote_id: child.remote_id.clone(),
        };
        self.pairs.insert(child.child, pair);
    }

    /// Installs the outbound half of a pair; whether it was missing.
    pub fn install_outbound(&mut self, child: ChildId, keys: &EspKeys) -> bool {
        self.changes = self.changes.saturating_add(1);
        match self.pairs.get_mut(&child) {
            Some(pair) if pair.outbound_key.is_none() => {
                (pair.outbound_key, pair.outbound_since) = (Some(joined(keys)), self.changes);
                true
            }
            _ => false,
        }
    }

    /// Removes a pair and its SPI. Of one that was replaced the inbound half stays for a while.
    pub fn remove(&mut self, now: Instant, child: ChildId, replaced: bool) -> Option<Pair> {
        let pair = self.pairs.remove(&child)?;
        self.spis.remove(&pair.inbound_spi);
        self.lingering.retain(|_, (_, until)| *until > now);
        if replaced {
            self.lingering.insert(pair.inbound_spi, (pair.inbound_key.clone(), now + LINGER));
        }
        Some(pair)
    }

    /// Whether it can read what is sent with this SPI and key.
    #[must_use]
    pub fn reads(&self, now: Instant, spi: u32, key: &[u8]) -> bool {
        let live = self.pairs.values().any(|p| p.inbound_spi == spi && p.inbound_key == key);
        live || self.lingering.get(&spi).is_some_and(|(k, until)| k == key && *until > now)
    }

    /// The pairs that send: the newest one of each line.
    pub fn senders(&self) -> impl Iterator<Item = &Pair> {
        let newest = |pair: &&Pair| {
            let of_line = self.pairs.values().filter(|p| p.line == pair.line && p.outbound_key.is_some());
            of_line.map(|p| p.outbound_since).max() == Some(pair.outbound_since)
        };
        self.pairs.values().filter(|p| p.outbound_key.is_some()).filter(newest)
    }

    /// A free address.
    pub fn lease(&mut self, sa: SaId) -> Option<Lease> {
        let free = (2..250).map(|n| Ipv4Addr::new(10, 99, 0, n)).find(|a| !self.leases.contains_key(a))?;
        self.leases.insert(free, sa);
        Some(Lease {
            v4: Some(free),
            v6: None,
            dns: vec![Ipv4Addr::new(10, 99, 0, 1).into()],
            domains: Vec::new(),
            subnets: Vec::new(),
        })
    }

    /// Takes an address back.
    pub fn release(&mut self, lease: &Lease) -> bool {
        lease.v4.is_some_and(|a| self.leases.remove(&a).is_some())
    }

    /// Whether nothing is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.spis.is_empty() && self.pairs.is_empty() && self.leases.is_empty()
    }
}
