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
    /// INTERNAL_DNS_DOMAIN (25, RFC 8598): a domain whose names the servers given beside it know, without a dot at its end.
    DnsDomain(Option<String>),
    /// Any other, and one of the above whose value has not its form: to be passed over.
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
const DNS_DOMAIN: u16 = 25;

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
            Self::DnsDomain(_) => DNS_DOMAIN,
            Self::Unknown { kind, .. } => *kind,
        }
    }

    fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let cut = "the configuration attribute is cut off";
        // The highest bit is reserved and ignored.
        // [7296:3.15.1-1]
        let kind = r.u16(cut)? & 0x7fff;
        let length = usize::from(r.u16(cut)?);
        let value = r.part(length, cut)?.rest();
        // [7296:3.15.1-5] [7296:1.7-3]
        Ok(Self::known(kind, value).unwrap_or_else(|| Self::Unknown { kind, value: value.to_vec() }))
    }

    /// Peers have sent lengths that are not the attribute's: that is no reason to refuse the message.
    fn known(kind: u16, value: &[u8]) -> Option<Self> {
        Some(match kind {
            IP4_ADDRESS => Self::Ip4Address(optional(value, v4)?),
            IP4_NETMASK => Self::Ip4Netmask(optional(value, v4)?),
            IP4_DNS => Self::Ip4Dns(optional(value, v4)?),
            IP6_ADDRESS => Self::Ip6Address(optional(value, v6_prefix)?),
            IP6_DNS => Self::Ip6Dns(optional(value, v6)?),
            IP4_SUBNET => Self::Ip4Subnet(optional(value, subnet)?),
            IP6_SUBNET => Self::Ip6Subnet(optional(value, v6_prefix)?),
            DNS_DOMAIN => Self::DnsDomain(optional(value, domain)?),
            _ => return None,
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
            Self::DnsDomain(name) => name.clone().unwrap_or_default().into_bytes(),
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

/// Nothing, or what `read` takes whole; `None`: neither.
fn optional<T>(value: &[u8], read: impl FnOnce(&[u8]) -> Option<T>) -> Option<Option<T>> {
    if value.is_empty() { Some(None) } else { read(value).map(Some) }
}

/// A name as people write it, in ASCII (RFC 8598 §3.1): labels of letters, digits, hyphens and underscores.
fn domain(value: &[u8]) -> Option<String> {
    // [8598:3.1-1]
    let label = |l: &[u8]| {
        (1..=63).contains(&l.len())
            && l.iter().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(b))
            && !l.starts_with(b"-")
            && !l.ends_with(b"-")
    };
    let whole = value.len() <= 253 && value.split(|b| *b == b'.').all(label);
    whole.then(|| String::from_utf8_lossy(value).into_owned())
}

fn v4(value: &[u8]) -> Option<Ipv4Addr> {
    <[u8; 4]>::try_from(value).ok().map(Ipv4Addr::from)
}

fn v6(value: &[u8]) -> Option<Ipv6Addr> {
    <[u8; 16]>::try_from(value).ok().map(Ipv6Addr::from)
}

fn subnet(value: &[u8]) -> Option<(Ipv4Addr, Ipv4Addr)> {
    let (address, mask) = value.split_at_checked(4)?;
    Some((v4(address)?, v4(mask)?))
}

fn v6_prefix(value: &[u8]) -> Option<(Ipv6Addr, u8)> {
    let (length, address) = value.split_last()?;
    Some((v6(address)?, *length)).filter(|(_, length)| *length <= 128)
}
