//! A recording kernel: which SPIs it has given out, which pairs of SAs are installed, which addresses are leased.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use core::net::Ipv4Addr;

use adit_core::{Identity, Path, TrafficSelector};
use adit_ikev2::api::{ChildId, ChildSa, Lease, SaId};

use crate::random::Random;

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
    /// Of the outbound SA.
    pub outbound_key: Vec<u8>,
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
    /// Leased addresses.
    pub leases: BTreeMap<Ipv4Addr, SaId>,
    /// Pairs that were ever installed.
    pub installed: u64,
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

    /// Installs a pair.
    pub fn install(&mut self, sa: SaId, child: &ChildSa) {
        let joined =
            |keys: &adit_ikev2::api::EspKeys| [keys.encryption.expose(), keys.integrity.expose()].concat();
        self.installed = self.installed.saturating_add(1);
        self.pairs.insert(
            child.child,
            Pair {
                sa,
                inbound_spi: child.inbound_spi,
                outbound_spi: child.outbound_spi,
                inbound_key: joined(&child.inbound),
                outbound_key: child.outbound.as_ref().map(joined).unwrap_or_default(),
                path: child.path,
                local_ts: child.local_ts.clone(),
                remote_ts: child.remote_ts.clone(),
                remote_id: child.remote_id.clone(),
            },
        );
    }

    /// Removes a pair and its SPI.
    pub fn remove(&mut self, child: ChildId) -> Option<Pair> {
        let pair = self.pairs.remove(&child)?;
        self.spis.remove(&pair.inbound_spi);
        Some(pair)
    }

    /// A free address.
    pub fn lease(&mut self, sa: SaId) -> Option<Lease> {
        let free = (2..250).map(|n| Ipv4Addr::new(10, 99, 0, n)).find(|a| !self.leases.contains_key(a))?;
        self.leases.insert(free, sa);
        Some(Lease { v4: Some(free), v6: None, dns: vec![Ipv4Addr::new(10, 99, 0, 1).into()] })
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
