use core::net::{Ipv4Addr, Ipv6Addr};

use adit_core::DecodeError;

use crate::wire::{EncodeError, Reader, registry};

registry! {
    /// CFG Type (RFC 7296 §3.15).
    ConfigType(u8) {
        /// Asks for values.
        CFG_REQUEST = 1,
        /// Answers a request.
        CFG_REPLY = 2,
        /// Pushes values.
        CFG_SET = 3,
        /// Answers a push.
        CFG_ACK = 4,
    }
}

/// CP (RFC 7296 §3.15).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Configuration {
    /// CFG Type.
    pub kind: ConfigType,
    /// Configuration attributes, in order.
    pub attributes: Vec<ConfigAttribute>,
}

/// A configuration attribute (RFC 7296 §3.15.1). `None` is a value of zero length: "any" in a request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ConfigAttribute {
    /// INTERNAL_IP4_ADDRESS (1).
    Ip4Address(Option<Ipv4Addr>),
    /// INTERNAL_IP4_NETMASK (2).
    Ip4Netmask(Option<Ipv4Addr>),
    /// INTERNAL_IP4_DNS (3).
    Ip4Dns(Option<Ipv4Addr>),
    /// INTERNAL_IP6_ADDRESS (8) with its prefix length, 0 to 128.
    Ip6Address(Option<(Ipv6Addr, u8)>),
    /// INTERNAL_IP6_DNS (10).
    Ip6Dns(Option<Ipv6Addr>),
    /// INTERNAL_IP4_SUBNET (13): address and netmask.
    Ip4Subnet(Option<(Ipv4Addr, Ipv4Addr)>),
    /// INTERNAL_IP6_SUBNET (15) with its prefix length, 0 to 128.
    Ip6Subnet(Option<(Ipv6Addr, u8)>),
    /// Any other.
    Unknown {
        /// Attribute Type, 15 bits.
        kind: u16,
        /// Value.
        value: Vec<u8>,
    },
}

const IP4_ADDRESS: u16 = 1;
const IP4_NETMASK: u16 = 2;
const IP4_DNS: u16 = 3;
const IP6_ADDRESS: u16 = 8;
const IP6_DNS: u16 = 10;
const IP4_SUBNET: u16 = 13;
const IP6_SUBNET: u16 = 15;

impl Configuration {
    pub(super) fn read(mut r: Reader<'_>) -> Result<Self, DecodeError> {
        let kind = ConfigType(r.u8("the configuration type is cut off")?);
        // [7296:3.15-2]
        r.take(3, "the CP payload's reserved bytes are cut off")?;
        let mut attributes = Vec::new();
        while !r.is_empty() {
            attributes.push(ConfigAttribute::read(&mut r)?);
        }
        Ok(Self { kind, attributes })
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        // [7296:3.15-1]
        out.extend_from_slice(&[self.kind.0, 0, 0, 0]);
        self.attributes.iter().try_for_each(|a| a.write(out))
    }
}

impl ConfigAttribute {
    /// Attribute Type.
    #[must_use]
    pub const fn kind(&self) -> u16 {
        match self {
            Self::Ip4Address(_) => IP4_ADDRESS,
            Self::Ip4Netmask(_) => IP4_NETMASK,
            Self::Ip4Dns(_) => IP4_DNS,
            Self::Ip6Address(_) => IP6_ADDRESS,
            Self::Ip6Dns(_) => IP6_DNS,
            Self::Ip4Subnet(_) => IP4_SUBNET,
            Self::Ip6Subnet(_) => IP6_SUBNET,
            Self::Unknown { kind, .. } => *kind,
        }
    }

    fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let cut = "the configuration attribute is cut off";
        // The highest bit is reserved and ignored.
        // [7296:3.15.1-1]
        let kind = r.u16(cut)? & 0x7fff;
        let length = usize::from(r.u16(cut)?);
        let value = r.part(length, cut)?;
        Ok(match kind {
            IP4_ADDRESS => Self::Ip4Address(optional(value, v4)?),
            IP4_NETMASK => Self::Ip4Netmask(optional(value, v4)?),
            IP4_DNS => Self::Ip4Dns(optional(value, v4)?),
            IP6_ADDRESS => Self::Ip6Address(optional(value, v6_prefix)?),
            IP6_DNS => Self::Ip6Dns(optional(value, v6)?),
            IP4_SUBNET => Self::Ip4Subnet(optional(value, |r| Ok((v4(r)?, v4(r)?)))?),
            IP6_SUBNET => Self::Ip6Subnet(optional(value, v6_prefix)?),
            // [7296:3.15.1-5] [7296:1.7-3]
            _ => Self::Unknown { kind, value: { value }.rest().to_vec() },
        })
    }

    fn value(&self) -> Vec<u8> {
        match self {
            Self::Ip4Address(a) | Self::Ip4Netmask(a) | Self::Ip4Dns(a) => {
                a.map_or_else(Vec::new, |a| a.octets().to_vec())
            }
            Self::Ip6Dns(a) => a.map_or_else(Vec::new, |a| a.octets().to_vec()),
            Self::Ip6Address(p) | Self::Ip6Subnet(p) => p.map_or_else(Vec::new, |(address, length)| {
                address.octets().into_iter().chain([length]).collect()
            }),
            Self::Ip4Subnet(s) => {
                s.map_or_else(Vec::new, |(address, mask)| [address.octets(), mask.octets()].concat())
            }
            Self::Unknown { value, .. } => value.clone(),
        }
    }

    fn write(&self, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        let value = self.value();
        let length =
            u16::try_from(value.len()).map_err(|_| EncodeError { what: "a configuration attribute" })?;
        out.extend_from_slice(&(self.kind() & 0x7fff).to_be_bytes());
        out.extend_from_slice(&length.to_be_bytes());
        out.extend_from_slice(&value);
        Ok(())
    }
}

/// Nothing, or exactly what `read` takes.
fn optional<'a, T>(
    mut value: Reader<'a>,
    read: impl FnOnce(&mut Reader<'a>) -> Result<T, DecodeError>,
) -> Result<Option<T>, DecodeError> {
    if value.is_empty() {
        return Ok(None);
    }
    let out = read(&mut value)?;
    value.end(WRONG_LENGTH)?;
    Ok(Some(out))
}

const WRONG_LENGTH: &str = "the configuration attribute has a wrong length";

fn v4(r: &mut Reader<'_>) -> Result<Ipv4Addr, DecodeError> {
    r.array::<4>(WRONG_LENGTH).map(Ipv4Addr::from)
}

fn v6(r: &mut Reader<'_>) -> Result<Ipv6Addr, DecodeError> {
    r.array::<16>(WRONG_LENGTH).map(Ipv6Addr::from)
}

fn v6_prefix(r: &mut Reader<'_>) -> Result<(Ipv6Addr, u8), DecodeError> {
    let address = v6(r)?;
    let at = r.at();
    match r.u8(WRONG_LENGTH)? {
        length @ 0..=128 => Ok((address, length)),
        _ => Err(DecodeError::new(at, "an IPv6 prefix length is above 128")),
    }
}
