//! Which networks are local: the ones that this host is in itself, and that stay reachable beside a full tunnel where a profile
//! says so.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use adit_core::Prefix;

/// An address of this host, and the network that the link with it leads to.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct LocalNetwork {
    /// The link.
    pub link: String,
    /// The network, without bits beyond its prefix.
    pub network: Prefix,
    /// This host there.
    pub address: IpAddr,
}

/// Ranges that no router of the internet carries (RFC 1918 §3, RFC 3927 §2.1, RFC 4193 §3.1, RFC 4291 §2.5.6), each with the
/// shortest prefix that is taken for one network. Whoever runs a network says what its prefix is: a café that calls itself
/// 10.0.0.0/8 or 198.51.0.0/16 is not to be given what is for a company's own hosts or for the internet.
const RANGES: [(Prefix, u8); 6] = [
    (v4(10, 0, 8), 16),
    (v4(172, 16, 12), 16),
    (v4(192, 168, 16), 16),
    (v4(169, 254, 16), 16),
    (v6(0xFC00, 7), 48),
    (v6(0xFE80, 10), 64),
];

const fn v4(first: u8, second: u8, length: u8) -> Prefix {
    Prefix { address: IpAddr::V4(Ipv4Addr::new(first, second, 0, 0)), length }
}

const fn v6(first: u16, length: u8) -> Prefix {
    Prefix { address: IpAddr::V6(Ipv6Addr::new(first, 0, 0, 0, 0, 0, 0, 0)), length }
}

impl LocalNetwork {
    /// The network of an address with that prefix length on a link, if it is a local one with other hosts in it.
    #[must_use]
    pub fn of(link: &str, address: IpAddr, length: u8) -> Option<Self> {
        // Names of links stand in rules, where these would say something else.
        let plain = !link.is_empty() && !link.contains(|c: char| c.is_control() || "\"*\\".contains(c));
        let others = length < Prefix::width(address);
        let local = RANGES.iter().any(|(range, shortest)| range.contains(address) && length >= *shortest);
        let network = Prefix { address, length }.network();
        (plain && others && local).then(|| Self { link: link.to_owned(), network, address })
    }

    /// Whether a link has it by itself: then it is the same on every link (RFC 4291 §2.5.6).
    #[must_use]
    pub fn is_of_any_link(&self) -> bool {
        self.network.address.is_ipv6()
            && RANGES.last().is_some_and(|(own, _)| own.contains(self.network.address))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn local(address: &str, length: u8) -> Option<String> {
        LocalNetwork::of("eth0", address.parse().unwrap(), length).map(|n| n.network.to_string())
    }

    #[test]
    fn what_a_home_has_is_local() {
        for (address, length, network) in [
            ("192.168.1.10", 24, "192.168.1.0/24"),
            ("10.20.30.40", 16, "10.20.0.0/16"),
            ("172.31.255.1", 20, "172.31.240.0/20"),
            ("169.254.7.7", 16, "169.254.0.0/16"),
            ("fd12:3456:789a:1::7", 64, "fd12:3456:789a:1::/64"),
            ("fe80::1", 64, "fe80::/64"),
        ] {
            assert_eq!(local(address, length).as_deref(), Some(network));
        }
    }

    #[test]
    fn what_is_the_internets_or_a_companys_is_not() {
        for (address, length) in [
            ("203.0.113.10", 24),
            ("100.64.0.2", 10),
            ("10.0.0.5", 8),
            ("172.16.0.5", 12),
            ("172.32.0.5", 24),
            ("192.168.1.10", 32),
            ("0.0.0.0", 0),
            ("2001:db8::10", 64),
            ("fd00::1", 8),
            ("fd00::1", 128),
            ("fe80::1", 10),
            ("::1", 128),
        ] {
            assert_eq!(local(address, length), None, "{address}/{length}");
        }
    }

    #[test]
    fn a_link_whose_name_says_something_else_has_none() {
        for link in ["", "eth*", "eth\" accept #", "eth\\", "eth\n0"] {
            assert_eq!(LocalNetwork::of(link, [192, 168, 1, 10].into(), 24), None, "{link:?}");
        }
    }

    fn address() -> impl Strategy<Value = IpAddr> {
        prop_oneof![any::<[u8; 4]>().prop_map(IpAddr::from), any::<[u8; 16]>().prop_map(IpAddr::from)]
    }

    fn near() -> impl Strategy<Value = IpAddr> {
        let starts = prop::sample::select(RANGES.map(|(range, _)| range.address).to_vec());
        (starts, any::<[u8; 16]>(), 1..17_usize).prop_map(|(start, other, keep)| match start {
            IpAddr::V4(a) => {
                let mut octets = a.octets();
                octets.iter_mut().zip(other).skip(keep.min(3)).for_each(|(octet, new)| *octet = new);
                octets.into()
            }
            IpAddr::V6(a) => {
                let mut octets = a.octets();
                octets.iter_mut().zip(other).skip(keep).for_each(|(octet, new)| *octet = new);
                octets.into()
            }
        })
    }

    proptest! {
        /// Whatever address a network gives: what is let out has none but addresses of private use, a sixteenth bit or a
        /// forty-eighth at least, and the host itself.
        #[test]
        fn nothing_but_private_use_is_local(address in prop_oneof![address(), near()], length in 0..=128_u8) {
            let length = length.min(Prefix::width(address));
            if let Some(found) = LocalNetwork::of("eth0", address, length) {
                let range = found.network.range();
                for end in [range.first, range.last] {
                    let private = match end {
                        IpAddr::V4(a) => a.is_private() || a.is_link_local(),
                        IpAddr::V6(a) => a.is_unique_local() || a.is_unicast_link_local(),
                    };
                    prop_assert!(private, "{end} of {}", found.network);
                }
                prop_assert!(found.network.contains(address));
                let shortest = if address.is_ipv4() { 16 } else { 48 };
                prop_assert!(length >= shortest);
            }
        }
    }
}
