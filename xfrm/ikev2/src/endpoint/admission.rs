//! Who may have a half-open IKE_SA: counts in all and by address, and the lookup of retransmitted first messages.

use std::collections::BTreeMap;

use core::net::IpAddr;

/// Half-open IKE_SAs of peers that dialled us.
#[derive(Default)]
pub(crate) struct HalfOpen {
    /// By what the peer chose. A tree, since a peer that chooses keys could fill one bucket of a hash table.
    first_messages: BTreeMap<(u64, IpAddr), usize>,
    by_network: BTreeMap<IpAddr, usize>,
}

impl HalfOpen {
    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.first_messages.len()
    }

    /// The slot that a first message of this SPIi from there has made.
    pub(crate) fn find(&self, spi: u64, address: IpAddr) -> Option<usize> {
        self.first_messages.get(&(spi, address)).copied()
    }

    /// How many the peer's address (IPv6: its /64) has.
    pub(crate) fn of(&self, address: IpAddr) -> usize {
        self.by_network.get(&network(address)).copied().unwrap_or(0)
    }

    /// A new one.
    pub(crate) fn insert(&mut self, spi: u64, address: IpAddr, slot: usize) {
        if self.first_messages.insert((spi, address), slot).is_none() {
            *self.by_network.entry(network(address)).or_default() += 1;
        }
    }

    /// It is established, or gone.
    pub(crate) fn remove(&mut self, spi: u64, address: IpAddr) {
        if self.first_messages.remove(&(spi, address)).is_none() {
            return;
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_by_address_and_by_64() {
        let mut half_open = HalfOpen::default();
        let v6 = |n: &str| n.parse::<IpAddr>().unwrap();
        half_open.insert(1, v6("2001:db8::1"), 0);
        half_open.insert(2, v6("2001:db8::2"), 1);
        half_open.insert(2, v6("2001:db8::2"), 1);
        assert_eq!(half_open.of(v6("2001:db8::ffff")), 2);
        assert_eq!(half_open.of(v6("2001:db8:0:1::1")), 0);
        assert_eq!(half_open.find(2, v6("2001:db8::2")), Some(1));
        half_open.remove(1, v6("2001:db8::1"));
        half_open.remove(1, v6("2001:db8::1"));
        assert_eq!((half_open.of(v6("2001:db8::")), half_open.len()), (1, 1));
    }
}
