use std::collections::BTreeMap;

use adit_core::Identity;

use crate::interval::Intervals;

/// A longer identity is not remembered, so that memory has a bound in bytes too.
const MAX_IDENTITY: usize = 1024;

/// The addresses of one family, as numbers.
#[derive(Debug)]
pub(crate) struct Family {
    fresh: Intervals,
    /// Free, and remembered: for whom, and since when.
    reserved: BTreeMap<u128, (Identity, u64)>,
    /// The reserved address of an identity: at most one.
    by_identity: BTreeMap<Identity, u128>,
    /// The reserved addresses, longest free first.
    by_age: BTreeMap<u64, u128>,
    leased: BTreeMap<u128, u64>,
    size: u128,
    /// Where the search for a fresh address goes on, so that an address rests before somebody else gets it.
    cursor: u128,
    age: u64,
    remember: usize,
}

impl Family {
    /// `None` if there is no address.
    pub(crate) fn new(addresses: Intervals, remember: usize) -> Option<Self> {
        let (size, cursor) = (addresses.len(), addresses.next(0)?);
        Some(Self {
            fresh: addresses,
            reserved: BTreeMap::new(),
            by_identity: BTreeMap::new(),
            by_age: BTreeMap::new(),
            leased: BTreeMap::new(),
            size,
            cursor,
            age: 0,
            remember,
        })
    }

    pub(crate) const fn size(&self) -> u128 {
        self.size
    }

    pub(crate) fn leased(&self) -> usize {
        self.leased.len()
    }

    pub(crate) fn owner(&self, address: u128) -> Option<u64> {
        self.leased.get(&address).copied()
    }

    /// A free address: the one that is asked for, else the one that the identity had last, else a fresh one,
    /// else the one that has been free for the longest time.
    pub(crate) fn lease(&mut self, owner: u64, identity: &Identity, wanted: Option<u128>) -> Option<u128> {
        let free = |a: &u128| self.fresh.contains(*a) || self.reserved.contains_key(a);
        let address = wanted
            .filter(free)
            .or_else(|| self.by_identity.get(identity).copied())
            .or_else(|| self.fresh.next(self.cursor))
            .or_else(|| self.by_age.first_key_value().map(|(_, a)| *a))?;
        if self.fresh.remove(address) {
            self.cursor = address.wrapping_add(1);
        } else {
            self.forget(address);
        }
        self.leased.insert(address, owner);
        Some(address)
    }

    /// A leased address is another owner's now.
    pub(crate) fn pass_on(&mut self, address: u128, owner: u64) {
        self.leased.entry(address).and_modify(|o| *o = owner);
    }

    /// Frees a leased address and remembers it for `identity`.
    pub(crate) fn release(&mut self, address: u128, identity: Identity) {
        if self.leased.remove(&address).is_none() {
            return;
        }
        if self.remember == 0 || identity_len(&identity) > MAX_IDENTITY {
            self.fresh.insert(address);
            return;
        }
        if let Some(former) = self.by_identity.get(&identity).copied() {
            self.renew(former);
        }
        if self.reserved.len() >= self.remember
            && let Some(oldest) = self.by_age.first_key_value().map(|(_, a)| *a)
        {
            self.renew(oldest);
        }
        self.age += 1;
        self.by_age.insert(self.age, address);
        self.by_identity.insert(identity.clone(), address);
        self.reserved.insert(address, (identity, self.age));
    }

    /// Makes a reserved address fresh.
    fn renew(&mut self, address: u128) {
        self.forget(address);
        self.fresh.insert(address);
    }

    fn forget(&mut self, address: u128) {
        if let Some((identity, age)) = self.reserved.remove(&address) {
            self.by_identity.remove(&identity);
            self.by_age.remove(&age);
        }
    }
}

fn identity_len(identity: &Identity) -> usize {
    match identity {
        Identity::Address(_) => 16,
        Identity::Fqdn(text) | Identity::Email(text) => text.len(),
        Identity::DistinguishedName(bytes) | Identity::KeyId(bytes) => bytes.len(),
    }
}
