use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use core::str::FromStr;
use core::time::Duration;

use thiserror::Error;

/// The two ends of a datagram exchange as this host sees them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Path {
    /// Our address and port.
    pub local: SocketAddr,
    /// The peer's address and port, after any NAT.
    pub remote: SocketAddr,
}

/// What a protocol learns of the paths between both ends.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PathNews {
    /// Everything goes over this path now.
    Changed(Path),
    /// The peer has answered over this path, after so long.
    Answered(Path, Duration),
    /// The peer refuses this path.
    Refused(Path),
    /// A request had to be sent again.
    Unanswered,
    /// The peer has answered nothing for as long as one tries.
    Dead,
    /// The peer can be reached at these addresses; it spoke from the first.
    Peers(Vec<IpAddr>),
}

/// A datagram to send.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Transmit {
    /// From where to where.
    pub path: Path,
    /// The UDP payload, without a Non-ESP marker: the socket's owner adds it on port 4500 (RFC 3948 §2.2).
    pub payload: Vec<u8>,
}

/// An address with a prefix length: a network, or a host's address with its on-link prefix. Host bits may be set.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Prefix {
    /// The address.
    pub address: IpAddr,
    /// Prefix length: 0 to 32 (IPv4) or 128 (IPv6).
    pub length: u8,
}

/// Why text is not a [`Prefix`].
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum PrefixError {
    /// The part before the slash is not an address.
    #[error("\"{0}\" is not an IP address")]
    Address(String),
    /// The part after the slash is not a length for that family.
    #[error("\"{0}\" is not a prefix length (0 to {1})")]
    Length(String, u8),
}

impl Prefix {
    /// Every IPv4 address.
    pub const ANY_V4: Self = Self { address: IpAddr::V4(Ipv4Addr::UNSPECIFIED), length: 0 };
    /// Every IPv6 address.
    pub const ANY_V6: Self = Self { address: IpAddr::V6(Ipv6Addr::UNSPECIFIED), length: 0 };

    /// One address only (/32 or /128).
    #[must_use]
    pub const fn host(address: IpAddr) -> Self {
        Self { address, length: Self::width(address) }
    }

    /// Bits in an address of this family: 32 or 128.
    #[must_use]
    pub const fn width(address: IpAddr) -> u8 {
        match address {
            IpAddr::V4(_) => 32,
            IpAddr::V6(_) => 128,
        }
    }

    /// The first and the last address of the network.
    #[must_use]
    pub fn range(self) -> AddressRange {
        let host_bits = u32::from(Self::width(self.address).saturating_sub(self.length));
        match self.address {
            IpAddr::V4(a) => {
                let mask = u32::MAX.checked_shl(host_bits).unwrap_or(0);
                let first = a.to_bits() & mask;
                AddressRange {
                    first: IpAddr::V4(Ipv4Addr::from_bits(first)),
                    last: IpAddr::V4(Ipv4Addr::from_bits(first | !mask)),
                }
            }
            IpAddr::V6(a) => {
                let mask = u128::MAX.checked_shl(host_bits).unwrap_or(0);
                let first = a.to_bits() & mask;
                AddressRange {
                    first: IpAddr::V6(Ipv6Addr::from_bits(first)),
                    last: IpAddr::V6(Ipv6Addr::from_bits(first | !mask)),
                }
            }
        }
    }

    /// The network itself: host bits cleared.
    #[must_use]
    pub fn network(self) -> Self {
        Self { address: self.range().first, length: self.length }
    }

    /// Whether `address` lies in the network.
    #[must_use]
    pub fn contains(self, address: IpAddr) -> bool {
        self.range().contains(address)
    }
}

impl FromStr for Prefix {
    type Err = PrefixError;

    /// `192.0.2.0/24`, `2001:db8::/32`, or an address alone, which is a host's.
    fn from_str(text: &str) -> Result<Self, PrefixError> {
        let (address, length) = match text.split_once('/') {
            Some((a, l)) => (a, Some(l)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| PrefixError::Address(address.into()))?;
        let width = Self::width(address);
        let length = match length {
            None => width,
            Some(l) => match l.parse::<u8>() {
                Ok(n) if n <= width => n,
                _ => return Err(PrefixError::Length(l.into(), width)),
            },
        };
        Ok(Self { address, length })
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.length)
    }
}

impl fmt::Debug for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Addresses from `first` to `last`, both included, of one family.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AddressRange {
    /// The lowest address.
    pub first: IpAddr,
    /// The highest address.
    pub last: IpAddr,
}

impl AddressRange {
    /// Whether `address` is of the range's family and in it.
    #[must_use]
    pub fn contains(self, address: IpAddr) -> bool {
        address.is_ipv4() == self.first.is_ipv4() && self.first <= address && address <= self.last
    }

    /// What both have in common.
    #[must_use]
    pub fn intersection(self, other: Self) -> Option<Self> {
        if self.first.is_ipv4() != other.first.is_ipv4() {
            return None;
        }
        let (first, last) = (self.first.max(other.first), self.last.min(other.last));
        (first <= last).then_some(Self { first, last })
    }

    /// The range as one network, if it is one.
    #[must_use]
    pub fn as_prefix(self) -> Option<Prefix> {
        (0..=Prefix::width(self.first))
            .map(|length| Prefix { address: self.first, length })
            .find(|p| p.range() == self)
    }

    /// The whole networks of 64 bits in a range of IPv6, each known by its upper half: the first and the last of them. That the
    /// lowest address of a network is left out, as a router's (RFC 4291 §2.6.1), does not count.
    #[must_use]
    pub fn networks_of_64(self) -> Option<(u64, u64)> {
        let (IpAddr::V6(first), IpAddr::V6(last)) = (self.first, self.last) else { return None };
        let half = |bits: u128| (bits >> 64, bits & u128::from(u64::MAX));
        let ((first, begins), (last, ends)) = (half(first.to_bits()), half(last.to_bits()));
        let first = if begins > 1 { first.checked_add(1)? } else { first };
        let last = if ends < u128::from(u64::MAX) { last.checked_sub(1)? } else { last };
        let numbers = (u64::try_from(first).ok()?, u64::try_from(last).ok()?);
        (numbers.0 <= numbers.1).then_some(numbers)
    }

    /// The fewest networks that cover exactly this range, lowest first (at most 254 for IPv6).
    #[must_use]
    pub fn prefixes(self) -> Vec<Prefix> {
        let mut out = Vec::new();
        let width = Prefix::width(self.first);
        let mut next = Some(self.first);
        while let Some(address) = next.filter(|a| *a <= self.last) {
            let Some(widest) = (0..=width)
                .map(|length| Prefix { address, length })
                .find(|p| p.range().first == address && p.range().last <= self.last)
            else {
                break;
            };
            out.push(widest);
            next = successor(widest.range().last);
        }
        out
    }
}

fn successor(address: IpAddr) -> Option<IpAddr> {
    match address {
        IpAddr::V4(a) => a.to_bits().checked_add(1).map(|b| IpAddr::V4(Ipv4Addr::from_bits(b))),
        IpAddr::V6(a) => a.to_bits().checked_add(1).map(|b| IpAddr::V6(Ipv6Addr::from_bits(b))),
    }
}

impl fmt::Debug for AddressRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.first, self.last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix(text: &str) -> Prefix {
        text.parse().unwrap()
    }

    #[test]
    fn whole_networks_of_64() {
        let networks = |first: &str, last: &str| {
            let range = AddressRange { first: first.parse().unwrap(), last: last.parse().unwrap() };
            range.networks_of_64()
        };
        let upper = 0xfd00_0009_0000_0000;
        assert_eq!(networks("fd00:9::1", "fd00:9:0:ffff:ffff:ffff:ffff:ffff"), Some((upper, upper + 0xffff)));
        assert_eq!(networks("fd00:9::", "fd00:9::ffff:ffff:ffff:ffff"), Some((upper, upper)));
        assert_eq!(networks("fd00:9::2", "fd00:9::ffff:ffff:ffff:ffff"), None);
        assert_eq!(networks("fd00:9::1", "fd00:9::ffff"), None);
        assert_eq!(networks("fd00:9::2", "fd00:9:0:2::"), Some((upper + 1, upper + 1)));
        assert_eq!(networks("::", "::1"), None);
        assert_eq!(networks("10.0.0.1", "10.0.0.9"), None);
    }

    #[test]
    fn ranges_of_prefixes() {
        assert_eq!(format!("{:?}", prefix("192.0.2.77/26").range()), "192.0.2.64-192.0.2.127");
        assert_eq!(prefix("0.0.0.0/0").range().last, "255.255.255.255".parse::<IpAddr>().unwrap());
        assert_eq!(prefix("::/0").range().as_prefix(), Some(Prefix::ANY_V6));
        assert_eq!(prefix("2001:db8::1").length, 128);
    }

    #[test]
    fn bad_prefixes_say_what_is_allowed() {
        assert_eq!(
            "10.0.0.0/33".parse::<Prefix>().unwrap_err().to_string(),
            "\"33\" is not a prefix length (0 to 32)"
        );
        assert_eq!("ten/8".parse::<Prefix>().unwrap_err().to_string(), "\"ten\" is not an IP address");
    }

    #[test]
    fn a_range_is_covered_by_the_fewest_prefixes() {
        let range = AddressRange { first: "10.0.0.1".parse().unwrap(), last: "10.0.0.6".parse().unwrap() };
        let texts: Vec<String> = range.prefixes().iter().map(ToString::to_string).collect();
        assert_eq!(texts, ["10.0.0.1/32", "10.0.0.2/31", "10.0.0.4/31", "10.0.0.6/32"]);
        assert_eq!(Prefix::ANY_V4.range().prefixes(), [Prefix::ANY_V4]);
    }
}
