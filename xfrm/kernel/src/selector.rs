use core::fmt;

use adit_core::{Prefix, TrafficSelector};
use thiserror::Error;

/// A port, or a block of ports that share their high bits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct PortMatch {
    /// The port (or ICMP type or code).
    pub port: u16,
    /// The bits of it that count: 0 is any port.
    pub mask: u16,
}

impl PortMatch {
    /// Every port.
    pub const ANY: Self = Self { port: 0, mask: 0 };

    /// One port.
    #[must_use]
    pub const fn exactly(port: u16) -> Self {
        Self { port, mask: u16::MAX }
    }

    /// The fewest blocks that cover exactly `first` to `last` (at most 30).
    fn covering(first: u16, last: u16) -> Vec<Self> {
        let (mut next, last) = (u32::from(first), u32::from(last));
        let mut blocks = Vec::new();
        while next <= last {
            let aligned = |bits: &u32| next % (1 << bits) == 0 && next + (1 << bits) - 1 <= last;
            let bits = (0..=16).rev().find(aligned).unwrap_or(0);
            let (port, mask) = (next as u16, (0xFFFF_u32 << bits) as u16);
            blocks.push(Self { port, mask });
            next += 1 << bits;
        }
        blocks
    }
}

/// What a policy lets in: one pair of networks, a protocol and its ports, in the direction of the packets.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Selector {
    /// Where packets come from.
    pub source: Prefix,
    /// Where they go.
    pub destination: Prefix,
    /// IP protocol; 0 is any.
    pub protocol: u8,
    /// Source ports (ICMP: type).
    pub source_port: PortMatch,
    /// Destination ports (ICMP: code).
    pub destination_port: PortMatch,
}

/// Traffic selectors that policies of the kernel can't express.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum SelectorError {
    /// OPAQUE ports, or a range of ICMP codes.
    #[error("the kernel has no policy for the ports of {0}")]
    Ports(TrafficSelector),
    /// The pairs of networks and ports are too many.
    #[error("the traffic selectors would take more than {} policies", Selector::MOST)]
    TooMany,
    /// No pair is of one family and one protocol.
    #[error("no local traffic selector goes with a remote one")]
    Nothing,
}

impl Selector {
    /// The most selectors that one CHILD_SA may take in each direction: a peer must not fill the kernel.
    pub const MOST: usize = 256;

    /// Every pair of a local and a remote traffic selector, as outbound packets see it.
    ///
    /// # Errors
    /// A selector that can't be expressed, none at all, or more than [`Selector::MOST`].
    pub fn pairs(local: &[TrafficSelector], remote: &[TrafficSelector]) -> Result<Vec<Self>, SelectorError> {
        let mut out = Vec::new();
        for l in local {
            for r in remote {
                pair(*l, *r, &mut out)?;
            }
        }
        out.sort_unstable();
        out.dedup();
        if out.is_empty() { Err(SelectorError::Nothing) } else { Ok(out) }
    }

    /// The same conversation, seen from packets of the other direction. ICMP type and code have no direction.
    #[must_use]
    pub const fn reversed(self) -> Self {
        let (source_port, destination_port) = if is_icmp(self.protocol) {
            (self.source_port, self.destination_port)
        } else {
            (self.destination_port, self.source_port)
        };
        Self {
            source: self.destination,
            destination: self.source,
            protocol: self.protocol,
            source_port,
            destination_port,
        }
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} to {}", self.source, self.destination)?;
        if self.protocol != 0 {
            write!(f, " protocol {}", self.protocol)?;
        }
        for (name, ports) in [("from", self.source_port), ("to", self.destination_port)] {
            match ports.mask {
                0 => {}
                u16::MAX => write!(f, " {name} port {}", ports.port)?,
                mask => write!(f, " {name} port {}/{mask:#x}", ports.port)?,
            }
        }
        Ok(())
    }
}

const fn is_icmp(protocol: u8) -> bool {
    protocol == 1 || protocol == 58
}

fn pair(
    local: TrafficSelector,
    remote: TrafficSelector,
    out: &mut Vec<Selector>,
) -> Result<(), SelectorError> {
    if local.addresses.first.is_ipv4() != remote.addresses.first.is_ipv4() {
        return Ok(());
    }
    let protocol = match (local.protocol, remote.protocol) {
        (a, b) if a == b => a,
        (0, b) => b,
        (a, 0) => a,
        _ => return Ok(()),
    };
    let ports = port_pairs(protocol, local, remote)?;
    let (sources, destinations) = (local.addresses.prefixes(), remote.addresses.prefixes());
    if sources.len().saturating_mul(destinations.len()).saturating_mul(ports.len()) + out.len()
        > Selector::MOST
    {
        return Err(SelectorError::TooMany);
    }
    for source in &sources {
        for destination in &destinations {
            out.extend(ports.iter().map(|&(source_port, destination_port)| Selector {
                source: *source,
                destination: *destination,
                protocol,
                source_port,
                destination_port,
            }));
        }
    }
    Ok(())
}

fn port_pairs(
    protocol: u8,
    local: TrafficSelector,
    remote: TrafficSelector,
) -> Result<Vec<(PortMatch, PortMatch)>, SelectorError> {
    if is_icmp(protocol) {
        let any = |s: &TrafficSelector| s.first_port == 0 && s.last_port == u16::MAX;
        let told = if any(&local) { remote } else { local };
        return icmp(told).map(|p| vec![p]);
    }
    let blocks = |s: TrafficSelector| match (s.first_port, s.last_port) {
        (0, u16::MAX) => Ok(vec![PortMatch::ANY]),
        (first, last) if first > last => Err(SelectorError::Ports(s)),
        (first, last) => Ok(PortMatch::covering(first, last)),
    };
    let (sources, destinations) = (blocks(local)?, blocks(remote)?);
    Ok(sources.iter().flat_map(|s| destinations.iter().map(|d| (*s, *d))).collect())
}

/// Type in the high byte, code in the low one (RFC 7296 §3.13.1); the kernel compares them as two "ports".
fn icmp(selector: TrafficSelector) -> Result<(PortMatch, PortMatch), SelectorError> {
    let (first, last) = (selector.first_port, selector.last_port);
    match (first >> 8, first & 0xFF, last >> 8, last & 0xFF) {
        (0, 0, 0xFF, 0xFF) => Ok((PortMatch::ANY, PortMatch::ANY)),
        (a, 0, b, 0xFF) if a == b => Ok((PortMatch::exactly(a), PortMatch::ANY)),
        (a, c, b, d) if a == b && c == d => Ok((PortMatch::exactly(a), PortMatch::exactly(c))),
        _ => Err(SelectorError::Ports(selector)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ts(prefix: &str, protocol: u8, first_port: u16, last_port: u16) -> TrafficSelector {
        let addresses = prefix.parse::<Prefix>().unwrap().range();
        TrafficSelector { addresses, protocol, first_port, last_port }
    }

    #[test]
    fn pairs_are_of_one_family_and_protocol() {
        let local = [ts("10.0.0.1", 0, 0, u16::MAX), ts("fd00::1", 0, 0, u16::MAX)];
        let remote = [ts("0.0.0.0/0", 6, 443, 443), ts("::/0", 0, 0, u16::MAX)];
        let pairs = Selector::pairs(&local, &remote).unwrap();
        let texts: Vec<String> = pairs.iter().map(ToString::to_string).collect();
        assert_eq!(texts, ["10.0.0.1/32 to 0.0.0.0/0 protocol 6 to port 443", "fd00::1/128 to ::/0"]);
        assert_eq!(pairs[0].reversed().to_string(), "0.0.0.0/0 to 10.0.0.1/32 protocol 6 from port 443");
        assert_eq!(Selector::pairs(&local[..1], &remote[1..]), Err(SelectorError::Nothing));
    }

    #[test]
    fn port_ranges_become_masks() {
        let blocks = PortMatch::covering(1000, 1023);
        assert_eq!(blocks, [PortMatch { port: 1000, mask: 0xFFF8 }, PortMatch { port: 1008, mask: 0xFFF0 }]);
        assert_eq!(PortMatch::covering(0, 65535), [PortMatch::ANY]);
        assert_eq!(PortMatch::covering(1, 65534).len(), 30);
        for (first, last) in [(0, 0), (65535, 65535), (5, 5000), (1, 65534)] {
            let in_blocks =
                |p: u16| PortMatch::covering(first, last).iter().any(|b| (p ^ b.port) & b.mask == 0);
            for port in [first.saturating_sub(1), first, last, last.saturating_add(1)] {
                assert_eq!(in_blocks(port), (first..=last).contains(&port), "{port} in {first}-{last}");
            }
        }
    }

    #[test]
    fn icmp_types_keep_their_place_in_both_directions() {
        let echo = Selector::pairs(&[ts("10.0.0.1", 1, 0x0800, 0x08FF)], &[ts("0.0.0.0/0", 1, 0, u16::MAX)])
            .unwrap();
        assert_eq!(echo[0].source_port, PortMatch::exactly(8));
        assert_eq!(echo[0].reversed().source_port, PortMatch::exactly(8));
        let span = ts("10.0.0.1", 1, 0x0800, 0x09FF);
        assert_eq!(Selector::pairs(&[span], &[span]), Err(SelectorError::Ports(span)));
    }

    #[test]
    fn a_peer_cannot_fill_the_kernel() {
        let odd = |a: &str, b: &str| {
            TrafficSelector::any_of(adit_core::AddressRange {
                first: a.parse().unwrap(),
                last: b.parse().unwrap(),
            })
        };
        let (l, r) = (odd("10.0.0.1", "10.255.255.254"), odd("11.0.0.1", "11.255.255.254"));
        assert_eq!(Selector::pairs(&[l], &[r]), Err(SelectorError::TooMany));
        let opaque = ts("10.0.0.1", 6, 65535, 0);
        assert_eq!(Selector::pairs(&[opaque], &[opaque]), Err(SelectorError::Ports(opaque)));
    }
}
