use core::net::IpAddr;

use adit_core::{AddressRange, Prefix};

use crate::PoolError;

/// Addresses that a pool may give away.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PoolRange {
    /// A network. Not given away: the network and the broadcast address of IPv4 (but of a /31 or /32
    /// everything is, RFC 3021), and the subnet-router anycast address of IPv6 (RFC 4291 §2.6.1; but of a
    /// /127 or /128 everything is, RFC 6164).
    Prefix(Prefix),
    /// Exactly these.
    Range(AddressRange),
}

/// What a pool is made of.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PoolConfig {
    /// The ranges, of one or both families. They may touch, not overlap.
    pub ranges: Vec<PoolRange>,
    /// Addresses that are not given away: the server's own, a printer's. They may lie outside the ranges.
    pub exclude: Vec<IpAddr>,
    /// The prefix length told to clients beside an IPv6 address (RFC 7296 §3.15.1): 1 to 128.
    pub v6_prefix: u8,
    /// How many identities' addresses are remembered after they leave, in each family.
    pub remember: usize,
}

impl PoolConfig {
    /// These ranges, nothing more excluded, /128, and 65,536 addresses remembered.
    #[must_use]
    pub const fn new(ranges: Vec<PoolRange>) -> Self {
        Self { ranges, exclude: Vec::new(), v6_prefix: 128, remember: 65_536 }
    }
}

impl PoolRange {
    /// The addresses to give away; `None` if there are none.
    pub(crate) fn usable(self) -> Result<Option<AddressRange>, PoolError> {
        match self {
            Self::Range(range) => {
                let AddressRange { first, last } = range;
                let good = first.is_ipv4() == last.is_ipv4() && first <= last;
                if good { Ok(Some(range)) } else { Err(PoolError::Range { first, last }) }
            }
            Self::Prefix(prefix) => Ok(inner(prefix)),
        }
    }
}

fn inner(prefix: Prefix) -> Option<AddressRange> {
    let range = prefix.range();
    if Prefix::width(prefix.address).saturating_sub(prefix.length) < 2 {
        return Some(range);
    }
    let (first, last) = match (range.first, range.last) {
        (IpAddr::V4(first), IpAddr::V4(last)) => (
            IpAddr::V4((first.to_bits().checked_add(1)?).into()),
            IpAddr::V4((last.to_bits().checked_sub(1)?).into()),
        ),
        (IpAddr::V6(first), last) => (IpAddr::V6((first.to_bits().checked_add(1)?).into()), last),
        _ => return None,
    };
    Some(AddressRange { first, last })
}
