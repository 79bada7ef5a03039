//! Identification (RFC 2407 §4.6.2): who somebody is in phase 1, and which traffic is meant in phase 2.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use adit_core::{AddressRange, DecodeError, Identity, Prefix, TrafficSelector};

use crate::wire::Reader;

/// An ID payload: a claim.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Identification {
    /// ID Type, known or not.
    pub id_type: u8,
    /// IP protocol; 0: any.
    pub protocol: u8,
    /// Port; 0: any.
    pub port: u16,
    /// Identification Data.
    pub data: Vec<u8>,
}

impl Identification {
    /// Who somebody is.
    #[must_use]
    pub fn of(identity: &Identity) -> Self {
        Self { id_type: identity.id_type(), protocol: 0, port: 0, data: identity.data() }
    }

    /// An address, as NAT-OA has it.
    #[must_use]
    pub fn address(address: IpAddr) -> Self {
        Self::of(&Identity::Address(address))
    }

    /// The identity, if the type is known and the data is of that type.
    #[must_use]
    pub fn identity(&self) -> Option<Identity> {
        Identity::from_parts(self.id_type, &self.data)
    }

    /// Traffic: an address, a network or a range; one port or all. `None`: IKEv1 has no words for it (a range of ports).
    #[must_use]
    pub fn traffic(selector: TrafficSelector) -> Option<Self> {
        let port = match (selector.first_port, selector.last_port) {
            (0, u16::MAX) => 0,
            (first, last) if first == last && first != 0 => first,
            _ => return None,
        };
        let (first, last) = (selector.addresses.first, selector.addresses.last);
        let (id_type, data) = match (selector.addresses.as_prefix(), first) {
            (Some(p), IpAddr::V4(a)) if p.length == 32 => (1, a.octets().to_vec()),
            (Some(p), IpAddr::V6(a)) if p.length == 128 => (5, a.octets().to_vec()),
            (Some(p), IpAddr::V4(a)) => (4, [&a.octets()[..], mask(p.length).first_chunk::<4>()?].concat()),
            (Some(p), IpAddr::V6(a)) => (6, [a.octets(), mask(p.length)].concat()),
            (None, _) => match (first, last) {
                (IpAddr::V4(a), IpAddr::V4(b)) => (7, [a.octets(), b.octets()].concat()),
                (IpAddr::V6(a), IpAddr::V6(b)) => (8, [a.octets(), b.octets()].concat()),
                _ => return None,
            },
        };
        Some(Self { id_type, protocol: selector.protocol, port, data })
    }

    /// The traffic that it means; `None` if it is no address, network or range.
    #[must_use]
    pub fn selector(&self) -> Option<TrafficSelector> {
        let addresses = match (self.id_type, self.data.as_slice()) {
            (1 | 5, _) => match self.identity()? {
                Identity::Address(address) => Prefix::host(address).range(),
                _ => return None,
            },
            (4, [a, b, c, d, mask @ ..]) => {
                let mask = u32::from_be_bytes(<[u8; 4]>::try_from(mask).ok()?);
                prefix(IpAddr::V4(Ipv4Addr::new(*a, *b, *c, *d)), mask.leading_ones(), mask.count_ones())?
            }
            (6, data) => {
                let (address, mask) = data.split_first_chunk::<16>()?;
                let mask = u128::from_be_bytes(<[u8; 16]>::try_from(mask).ok()?);
                let address = IpAddr::V6(Ipv6Addr::from(*address));
                prefix(address, mask.leading_ones(), mask.count_ones())?
            }
            (7, data) => {
                let (first, last) = data.split_first_chunk::<4>()?;
                let last = <[u8; 4]>::try_from(last).ok()?;
                range(IpAddr::from(*first), IpAddr::from(last))?
            }
            (8, data) => {
                let (first, last) = data.split_first_chunk::<16>()?;
                let last = <[u8; 16]>::try_from(last).ok()?;
                range(IpAddr::from(*first), IpAddr::from(last))?
            }
            _ => return None,
        };
        let (first_port, last_port) = if self.port == 0 { (0, u16::MAX) } else { (self.port, self.port) };
        Some(TrafficSelector { addresses, protocol: self.protocol, first_port, last_port })
    }

    pub(super) fn read(mut r: Reader<'_>) -> Result<Self, DecodeError> {
        let cut = "the ID payload is cut off";
        let id_type = r.u8(cut)?;
        let protocol = r.u8(cut)?;
        let port = r.u16(cut)?;
        Ok(Self { id_type, protocol, port, data: r.rest().to_vec() })
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&[self.id_type, self.protocol]);
        out.extend_from_slice(&self.port.to_be_bytes());
        out.extend_from_slice(&self.data);
    }
}

/// A mask of `length` ones, in the highest bits.
fn mask(length: u8) -> [u8; 16] {
    u128::MAX.checked_shl(128_u32.saturating_sub(length.into())).unwrap_or(0).to_be_bytes()
}

/// A mask with holes is none.
fn prefix(address: IpAddr, leading: u32, ones: u32) -> Option<AddressRange> {
    let length = u8::try_from(leading).ok()?;
    (leading == ones).then(|| Prefix { address, length }.range())
}

fn range(first: IpAddr, last: IpAddr) -> Option<AddressRange> {
    (first <= last).then_some(AddressRange { first, last })
}
