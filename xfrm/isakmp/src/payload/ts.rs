use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use adit_core::{AddressRange, DecodeError, TrafficSelector};

use crate::wire::{EncodeError, Reader, count8, patch_length};

const TS_IPV4_ADDR_RANGE: u8 = 7;
const TS_IPV6_ADDR_RANGE: u8 = 8;

/// TSi or TSr (RFC 7296 §3.13).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct TrafficSelectors(pub Vec<Selector>);

/// One traffic selector.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Selector {
    /// TS_IPV4_ADDR_RANGE or TS_IPV6_ADDR_RANGE.
    Range(TrafficSelector),
    /// A type that Adit does not know: to be left out when narrowing.
    Unknown {
        /// TS Type.
        kind: u8,
        /// IP Protocol ID.
        protocol: u8,
        /// Everything after Selector Length.
        body: Vec<u8>,
    },
}

impl TrafficSelectors {
    /// The selectors of known types.
    pub fn ranges(&self) -> impl Iterator<Item = TrafficSelector> {
        self.0.iter().filter_map(|s| match s {
            Selector::Range(ts) => Some(*ts),
            Selector::Unknown { .. } => None,
        })
    }

    pub(super) fn read(mut r: Reader<'_>) -> Result<Self, DecodeError> {
        let count = r.u8("the number of traffic selectors is cut off")?;
        // [7296:3.13-1]
        r.take(3, "the TS payload's reserved bytes are cut off")?;
        let selectors = (0..count).map(|_| Selector::read(&mut r)).collect::<Result<_, _>>()?;
        r.end("there are bytes after the last traffic selector")?;
        Ok(Self(selectors))
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        // [7296:3.13-1] [7296:2.5-6]
        out.extend_from_slice(&[count8(self.0.len(), "the list of traffic selectors")?, 0, 0, 0]);
        self.0.iter().try_for_each(|s| s.write(out))
    }
}

impl FromIterator<TrafficSelector> for TrafficSelectors {
    fn from_iter<T: IntoIterator<Item = TrafficSelector>>(selectors: T) -> Self {
        Self(selectors.into_iter().map(Selector::Range).collect())
    }
}

impl Selector {
    fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let cut = "the traffic selector is cut off";
        let kind = r.u8(cut)?;
        let protocol = r.u8(cut)?;
        let length_at = r.at();
        let length = usize::from(r.u16(cut)?);
        let body_len = length
            .checked_sub(4)
            .ok_or(DecodeError::new(length_at, "the selector's length is less than its header"))?;
        let mut body = r.part(body_len, cut)?;
        let (first, last);
        let ports_at = body.at();
        let ports;
        match kind {
            TS_IPV4_ADDR_RANGE => {
                ports = (body.u16(cut)?, body.u16(cut)?);
                first = IpAddr::V4(Ipv4Addr::from(body.array::<4>(cut)?));
                last = IpAddr::V4(Ipv4Addr::from(body.array::<4>(cut)?));
            }
            TS_IPV6_ADDR_RANGE => {
                ports = (body.u16(cut)?, body.u16(cut)?);
                first = IpAddr::V6(Ipv6Addr::from(body.array::<16>(cut)?));
                last = IpAddr::V6(Ipv6Addr::from(body.array::<16>(cut)?));
            }
            _ => {
                return Ok(Self::Unknown { kind, protocol, body: body.rest().to_vec() });
            }
        }
        body.end("the traffic selector is too long for its type")?;
        if first > last {
            return Err(DecodeError::new(ports_at.saturating_add(4), "the first address is above the last"));
        }
        // 65535 to 0 is OPAQUE.
        // [7296:3.13.1-4]
        if ports.0 > ports.1 && ports != (u16::MAX, 0) {
            return Err(DecodeError::new(ports_at, "the first port is above the last"));
        }
        Ok(Self::Range(TrafficSelector {
            addresses: AddressRange { first, last },
            protocol,
            first_port: ports.0,
            last_port: ports.1,
        }))
    }

    fn write(&self, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        let start = out.len();
        match self {
            Self::Range(ts) => {
                let kind = match ts.addresses.first {
                    IpAddr::V4(_) => TS_IPV4_ADDR_RANGE,
                    IpAddr::V6(_) => TS_IPV6_ADDR_RANGE,
                };
                out.extend_from_slice(&[kind, ts.protocol, 0, 0]);
                // [7296:3.13.1-1]
                out.extend_from_slice(&ts.first_port.to_be_bytes());
                // [7296:3.13.1-2]
                out.extend_from_slice(&ts.last_port.to_be_bytes());
                for address in [ts.addresses.first, ts.addresses.last] {
                    match address {
                        IpAddr::V4(a) => out.extend_from_slice(&a.octets()),
                        IpAddr::V6(a) => out.extend_from_slice(&a.octets()),
                    }
                }
            }
            Self::Unknown { kind, protocol, body } => {
                out.extend_from_slice(&[*kind, *protocol, 0, 0]);
                out.extend_from_slice(body);
            }
        }
        patch_length(out, start, "a traffic selector")
    }
}
