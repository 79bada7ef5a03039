//! Who may have a half-open IKE_SA: counts in all and by address, and the lookup of retransmitted first messages.

use std::collections::BTreeMap;

use core::net::IpAddr;

/// Half-open IKE_SAs of peers that dialled us.
#[derive(Default)]
pub(crate) struct HalfOpen {
    /// By what the peer chose. A tree, since a peer that chooses keys could fill one bucket of a hash table.
    first_messages: BTreeMap<(u64, IpAddr), Entry>,
    by_network: BTreeMap<IpAddr, Crowd>,
}

struct Entry {
    slot: usize,
    proven: bool,
}

/// How many one customer has.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Crowd {
    /// Begun without a cookie: perhaps by somebody else.
    pub(crate) unproven: usize,
    /// Begun with a cookie that was sent there.
    pub(crate) proven: usize,
}

impl HalfOpen {
    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.first_messages.len()
    }

    /// The slot that a first message of this SPIi from there has made.
    pub(crate) fn find(&self, spi: u64, address: IpAddr) -> Option<usize> {
        self.first_messages.get(&(spi, address)).map(|e| e.slot)
    }

    /// How many the peer's address (IPv6: its /64) has.
    pub(crate) fn of(&self, address: IpAddr) -> Crowd {
        self.by_network.get(&network(address)).copied().unwrap_or_default()
    }

    /// A new one. `proven`: it came with a cookie.
    pub(crate) fn insert(&mut self, spi: u64, address: IpAddr, proven: bool, slot: usize) {
        self.remove(spi, address);
        self.first_messages.insert((spi, address), Entry { slot, proven });
        let count = self.by_network.entry(network(address)).or_default().count(proven);
        *count = count.saturating_add(1);
    }

    /// It is established, or gone.
    pub(crate) fn remove(&mut self, spi: u64, address: IpAddr) {
        let Some(entry) = self.first_messages.remove(&(spi, address)) else {
            return;
        };
        let network = network(address);
        if let Some(crowd) = self.by_network.get_mut(&network) {
            let count = crowd.count(entry.proven);
            *count = count.saturating_sub(1);
            if *crowd == Crowd::default() {
                self.by_network.remove(&network);
            }
        }
    }
}

impl Crowd {
    const fn count(&mut self, proven: bool) -> &mut usize {
        if proven { &mut self.proven } else { &mut self.unproven }
    }
}

/// One customer: an IPv4 address, an IPv6 /64.
fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(a) => IpAddr::V6((a.to_bits() >> 64 << 64).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_by_address_and_by_64() {
        let mut half_open = HalfOpen::default();
        let v6 = |n: &str| n.parse::<IpAddr>().unwrap();
        half_open.insert(1, v6("2001:db8::1"), false, 0);
        half_open.insert(2, v6("2001:db8::2"), true, 1);
        half_open.insert(2, v6("2001:db8::2"), true, 1);
        assert_eq!(half_open.of(v6("2001:db8::ffff")), Crowd { unproven: 1, proven: 1 });
        assert_eq!(half_open.of(v6("2001:db8:0:1::1")), Crowd::default());
        assert_eq!(half_open.find(2, v6("2001:db8::2")), Some(1));
        half_open.remove(1, v6("2001:db8::1"));
        half_open.remove(1, v6("2001:db8::1"));
        assert_eq!(half_open.of(v6("2001:db8::")), Crowd { unproven: 0, proven: 1 });
        half_open.remove(2, v6("2001:db8::2"));
        assert!(half_open.by_network.is_empty() && half_open.len() == 0);
    }
}
