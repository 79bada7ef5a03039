use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::collections::BTreeMap;

use adit_core::Identity;

use crate::family::Family;
use crate::interval::Intervals;
use crate::{PoolConfig, PoolError};

/// What a client gets.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Lease {
    /// Its IPv4 address.
    pub v4: Option<Ipv4Addr>,
    /// Its IPv6 address, and the prefix length to tell it.
    pub v6: Option<(Ipv6Addr, u8)>,
}

/// What a client asks for (RFC 7296 §3.15.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Request {
    /// Whether it wants an IPv4 address.
    pub v4: bool,
    /// Whether it wants an IPv6 address.
    pub v6: bool,
    /// The IPv4 address that it would like to have.
    pub wanted_v4: Option<Ipv4Addr>,
    /// The IPv6 address that it would like to have.
    pub wanted_v6: Option<Ipv6Addr>,
}

/// Addresses, and who has them.
#[derive(Debug)]
pub struct Pool {
    name: String,
    v4: Option<Family>,
    v6: Option<Family>,
    v6_prefix: u8,
    leases: BTreeMap<u64, (Identity, Lease)>,
    /// The newest owner of each identity that has a lease.
    newest: BTreeMap<Identity, u64>,
    /// Addresses that more than one owner has, and those owners, the newest last.
    shared: BTreeMap<IpAddr, Vec<u64>>,
}

impl Pool {
    /// A pool of that name. Errors: ranges that overlap or are none, a wrong prefix length, no address left.
    pub fn new(name: impl Into<String>, config: &PoolConfig) -> Result<Self, PoolError> {
        let name = name.into();
        if !(1..=128).contains(&config.v6_prefix) {
            return Err(PoolError::PrefixLength(config.v6_prefix));
        }
        let (mut v4, mut v6) = (Intervals::default(), Intervals::default());
        for range in config.ranges.iter().map(|r| r.usable()) {
            let Some(range) = range? else { continue };
            let (set, first, last) = match (range.first, range.last) {
                (IpAddr::V4(first), IpAddr::V4(last)) => (&mut v4, number_v4(first), number_v4(last)),
                (first, last) => (&mut v6, number(first), number(last)),
            };
            set.add(first, last).map_err(|at| PoolError::Overlap {
                pool: name.clone(),
                at: if range.first.is_ipv4() {
                    address_v4(at).into()
                } else {
                    Ipv6Addr::from_bits(at).into()
                },
            })?;
        }
        for excluded in &config.exclude {
            let set = if excluded.is_ipv4() { &mut v4 } else { &mut v6 };
            set.remove(number(*excluded));
        }
        let (v4, v6) = (Family::new(v4, config.remember), Family::new(v6, config.remember));
        if v4.is_none() && v6.is_none() {
            return Err(PoolError::Empty(name));
        }
        Ok(Self {
            name,
            v4,
            v6,
            v6_prefix: config.v6_prefix,
            leases: BTreeMap::new(),
            newest: BTreeMap::new(),
            shared: BTreeMap::new(),
        })
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How many addresses it has: IPv4, IPv6. At most `u128::MAX`.
    #[must_use]
    pub fn size(&self) -> (u128, u128) {
        let size = |f: &Option<Family>| f.as_ref().map_or(0, Family::size);
        (size(&self.v4), size(&self.v6))
    }

    /// How many addresses are leased: IPv4, IPv6.
    #[must_use]
    pub fn leased(&self) -> (usize, usize) {
        let leased = |f: &Option<Family>| f.as_ref().map_or(0, Family::leased);
        (leased(&self.v4), leased(&self.v6))
    }

    /// Addresses for `owner` (an IKE_SA, a session), who is `identity`, until [`Pool::release`].
    ///
    /// Of each family asked for: the address that is wanted, if it is the pool's and free; else the one that
    /// the identity had last, if it is free; else another. A family that the pool does not have, or of which
    /// nothing is free, is left out, as long as there is an address at all. An owner that has a lease keeps
    /// it and is told it again.
    ///
    /// Errors: [`PoolError::Exhausted`], and [`PoolError::Family`] if the pool has no such family.
    pub fn lease(&mut self, owner: u64, identity: &Identity, request: Request) -> Result<Lease, PoolError> {
        if let Some((_, lease)) = self.leases.get(&owner) {
            return Ok(*lease);
        }
        let take = |family: &mut Option<Family>, asked: bool, wanted: Option<u128>| {
            family.as_mut().filter(|_| asked).and_then(|f| f.lease(owner, identity, wanted))
        };
        let v4 = take(&mut self.v4, request.v4, request.wanted_v4.map(number_v4));
        let v6 = take(&mut self.v6, request.v6, request.wanted_v6.map(Ipv6Addr::to_bits));
        if v4.is_none() && v6.is_none() {
            return Err(self.refusal(request));
        }
        let lease =
            Lease { v4: v4.map(address_v4), v6: v6.map(|n| (Ipv6Addr::from_bits(n), self.v6_prefix)) };
        self.note(owner, identity, lease);
        Ok(lease)
    }

    /// As [`Pool::lease`], for an owner that takes the place of another: where the identity has a lease of the families
    /// asked for, under whatever owner, it is this one's as well. Its addresses are free when the last of them has
    /// released them.
    ///
    /// Errors: as [`Pool::lease`].
    pub fn lease_again(
        &mut self,
        owner: u64,
        identity: &Identity,
        request: Request,
    ) -> Result<Lease, PoolError> {
        match self.newest.get(identity).copied() {
            Some(former) => self.lease_of_former(owner, former, identity, request),
            None => self.lease(owner, identity, request),
        }
    }

    /// As [`Pool::lease_again`], for an owner that takes the place of this one.
    ///
    /// Errors: as [`Pool::lease`].
    pub fn lease_of_former(
        &mut self,
        owner: u64,
        former: u64,
        identity: &Identity,
        request: Request,
    ) -> Result<Lease, PoolError> {
        let wanted = (request.v4 && self.v4.is_some(), request.v6 && self.v6.is_some());
        let has = |lease: &Lease| (lease.v4.is_some(), lease.v6.is_some()) == wanted;
        let lease = self.lease_of(former).filter(|_| former != owner).filter(has);
        let Some(lease) = lease else {
            return self.lease(owner, identity, request);
        };
        if let Some((_, own)) = self.leases.get(&owner) {
            return Ok(*own);
        }
        for address in addresses(lease) {
            self.shared.entry(address).or_insert_with(|| vec![former]).push(owner);
            self.pass_on(address, owner);
        }
        self.note(owner, identity, lease);
        Ok(lease)
    }

    /// Takes `owner`'s addresses back; what they were.
    pub fn release(&mut self, owner: u64) -> Option<Lease> {
        let (identity, lease) = self.leases.remove(&owner)?;
        if self.newest.get(&identity) == Some(&owner) {
            self.newest.remove(&identity);
        }
        for address in addresses(lease) {
            let Some(owners) = self.shared.get_mut(&address) else {
                self.free(address, identity.clone());
                continue;
            };
            owners.retain(|o| *o != owner);
            let last = owners.last().copied();
            if owners.len() < 2 {
                self.shared.remove(&address);
            }
            if let Some(last) = last {
                self.pass_on(address, last);
                self.newest.entry(identity.clone()).or_insert(last);
            }
        }
        Some(lease)
    }

    fn note(&mut self, owner: u64, identity: &Identity, lease: Lease) {
        self.newest.insert(identity.clone(), owner);
        self.leases.insert(owner, (identity.clone(), lease));
    }

    fn family(&mut self, of: IpAddr) -> Option<&mut Family> {
        if of.is_ipv4() { self.v4.as_mut() } else { self.v6.as_mut() }
    }

    fn pass_on(&mut self, address: IpAddr, owner: u64) {
        if let Some(family) = self.family(address) {
            family.pass_on(number(address), owner);
        }
    }

    fn free(&mut self, address: IpAddr, identity: Identity) {
        if let Some(family) = self.family(address) {
            family.release(number(address), identity);
        }
    }

    /// What `owner` has.
    #[must_use]
    pub fn lease_of(&self, owner: u64) -> Option<Lease> {
        self.leases.get(&owner).map(|(_, lease)| *lease)
    }

    /// Who has `address`.
    #[must_use]
    pub fn owner_of(&self, address: IpAddr) -> Option<u64> {
        let family = if address.is_ipv4() { &self.v4 } else { &self.v6 };
        family.as_ref().and_then(|f| f.owner(number(address)))
    }

    /// All leases, in the order of their owners.
    pub fn leases(&self) -> impl Iterator<Item = (u64, &Identity, Lease)> {
        self.leases.iter().map(|(owner, (identity, lease))| (*owner, identity, *lease))
    }

    fn refusal(&self, request: Request) -> PoolError {
        let asked =
            |family: &Option<Family>, asked: bool| family.as_ref().filter(|_| asked).map(Family::size);
        match (asked(&self.v4, request.v4), asked(&self.v6, request.v6)) {
            (None, None) => {
                let family = match (request.v4, request.v6) {
                    (true, false) => "IPv4",
                    (false, true) => "IPv6",
                    // Both at once can't be: a pool has one of them.
                    _ => "IPv4 or IPv6",
                };
                PoolError::Family { pool: self.name.clone(), family }
            }
            (a, b) => PoolError::Exhausted {
                pool: self.name.clone(),
                size: a.unwrap_or(0).saturating_add(b.unwrap_or(0)),
            },
        }
    }
}

fn addresses(lease: Lease) -> impl Iterator<Item = IpAddr> {
    let v6 = lease.v6.map(|(address, _)| IpAddr::V6(address));
    lease.v4.map(IpAddr::V4).into_iter().chain(v6)
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(a) => number_v4(a),
        IpAddr::V6(a) => a.to_bits(),
    }
}

fn number_v4(address: Ipv4Addr) -> u128 {
    u128::from(address.to_bits())
}

/// Numbers of the IPv4 family come from addresses, so they fit.
fn address_v4(number: u128) -> Ipv4Addr {
    Ipv4Addr::from_bits(u32::try_from(number).unwrap_or(u32::MAX))
}
