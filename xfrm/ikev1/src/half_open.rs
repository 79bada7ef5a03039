//! Who may have begun phase 1 with us: so many in all, so many of one address. IKEv1 has no cookies that would prove an
//! address before anything is remembered, so what is remembered is bounded, and the oldest that has not answered goes.

use std::collections::BTreeMap;

use core::net::IpAddr;

/// Phase 1 exchanges of peers, not yet over.
#[derive(Default)]
pub(crate) struct HalfOpen {
    /// By what the peer chose.
    first_messages: BTreeMap<(u64, IpAddr), Entry>,
    by_network: BTreeMap<IpAddr, usize>,
    /// Those whose peer has not answered us, oldest first.
    unproven: BTreeMap<u64, (u64, IpAddr)>,
    next: u64,
}

struct Entry {
    slot: usize,
    age: u64,
}

impl HalfOpen {
    pub(crate) fn len(&self) -> usize {
        self.first_messages.len()
    }

    /// The slot that a first message of this cookie from there has made.
    pub(crate) fn find(&self, cookie: u64, address: IpAddr) -> Option<usize> {
        self.first_messages.get(&(cookie, address)).map(|e| e.slot)
    }

    /// How many the peer's address (IPv6: its /64) has.
    pub(crate) fn of(&self, address: IpAddr) -> usize {
        self.by_network.get(&network(address)).copied().unwrap_or_default()
    }

    /// The slot that goes first where room has to be made.
    pub(crate) fn oldest(&self) -> Option<usize> {
        let (_, key) = self.unproven.first_key_value()?;
        self.first_messages.get(key).map(|e| e.slot)
    }

    pub(crate) fn insert(&mut self, cookie: u64, address: IpAddr, slot: usize) {
        self.remove(cookie, address);
        self.next = self.next.saturating_add(1);
        let age = self.next;
        self.first_messages.insert((cookie, address), Entry { slot, age });
        self.unproven.insert(age, (cookie, address));
        let count = self.by_network.entry(network(address)).or_default();
        *count = count.saturating_add(1);
    }

    /// Its peer has answered us.
    pub(crate) fn proven(&mut self, cookie: u64, address: IpAddr) {
        if let Some(entry) = self.first_messages.get(&(cookie, address)) {
            self.unproven.remove(&entry.age);
        }
    }

    /// It is over.
    pub(crate) fn remove(&mut self, cookie: u64, address: IpAddr) {
        let Some(entry) = self.first_messages.remove(&(cookie, address)) else {
            return;
        };
        self.unproven.remove(&entry.age);
        let network = network(address);
        if let Some(count) = self.by_network.get_mut(&network) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.by_network.remove(&network);
            }
        }
    }
}

/// One customer: an IPv4 address, an IPv6 /64.
fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(a) => IpAddr::V6((a.to_bits() >> 64 << 64).into()),
    }
}
