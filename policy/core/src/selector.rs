use core::fmt;

use crate::{AddressRange, Prefix};

/// A traffic selector (RFC 7296 §3.13.1): addresses, a protocol and its ports.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TrafficSelector {
    /// The addresses, both ends included.
    pub addresses: AddressRange,
    /// IP protocol number; 0 is any.
    pub protocol: u8,
    /// Lowest port (or ICMP type and code).
    pub first_port: u16,
    /// Highest port, included. RFC 7296's OPAQUE is first 65535, last 0.
    pub last_port: u16,
}

impl TrafficSelector {
    /// Every protocol and port of `addresses`.
    #[must_use]
    pub const fn any_of(addresses: AddressRange) -> Self {
        // [7296:3.13.1-1] [7296:3.13.1-2] [7296:3.13.1-3]
        Self { addresses, protocol: 0, first_port: 0, last_port: u16::MAX }
    }

    /// What both let through, if anything (RFC 7296 §2.9: narrowing). OPAQUE ports meet only OPAQUE or all ports.
    #[must_use]
    pub fn intersection(self, other: Self) -> Option<Self> {
        let addresses = self.addresses.intersection(other.addresses)?;
        let protocol = match (self.protocol, other.protocol) {
            (a, b) if a == b => a,
            (0, b) => b,
            (a, 0) => a,
            _ => return None,
        };
        let (first_port, last_port) = self.ports_with(other)?;
        Some(Self { addresses, protocol, first_port, last_port })
    }

    /// Whether everything that `other` lets through, `self` does.
    #[must_use]
    pub fn covers(self, other: Self) -> bool {
        self.intersection(other) == Some(other)
    }

    fn ports_with(self, other: Self) -> Option<(u16, u16)> {
        let opaque = |s: Self| s.first_port > s.last_port;
        let all = |s: Self| s.first_port == 0 && s.last_port == u16::MAX;
        match (opaque(self), opaque(other)) {
            (true, true) => Some((u16::MAX, 0)),
            (true, false) => all(other).then_some((u16::MAX, 0)),
            (false, true) => all(self).then_some((u16::MAX, 0)),
            (false, false) => {
                let (first, last) =
                    (self.first_port.max(other.first_port), self.last_port.min(other.last_port));
                (first <= last).then_some((first, last))
            }
        }
    }
}

impl From<Prefix> for TrafficSelector {
    fn from(prefix: Prefix) -> Self {
        Self::any_of(prefix.range())
    }
}

impl fmt::Display for TrafficSelector {
    /// `10.0.0.0/8`, `10.0.0.1-10.0.0.9`, `10.0.0.0/8[6/443]`, `::/0[17/1000-2000]`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.addresses.as_prefix() {
            Some(prefix) => write!(f, "{prefix}")?,
            None => write!(f, "{:?}", self.addresses)?,
        }
        let all_ports = self.first_port == 0 && self.last_port == u16::MAX;
        match (self.protocol, all_ports) {
            (0, true) => Ok(()),
            (p, true) => write!(f, "[{p}]"),
            (p, false) if self.first_port > self.last_port => write!(f, "[{p}/opaque]"),
            (p, false) if self.first_port == self.last_port => write!(f, "[{p}/{}]", self.first_port),
            (p, false) => write!(f, "[{p}/{}-{}]", self.first_port, self.last_port),
        }
    }
}

impl fmt::Debug for TrafficSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(prefix: &str, protocol: u8, first_port: u16, last_port: u16) -> TrafficSelector {
        let addresses = prefix.parse::<Prefix>().unwrap().range();
        TrafficSelector { addresses, protocol, first_port, last_port }
    }

    #[test]
    fn narrowing_takes_the_common_part() {
        let wide = of("10.0.0.0/8", 0, 0, 65535);
        let web = of("10.1.0.0/16", 6, 80, 443);
        assert_eq!(wide.intersection(web), Some(web));
        assert!(wide.covers(web) && !web.covers(wide));
        assert_eq!(web.intersection(of("10.1.2.0/24", 17, 0, 65535)), None);
        assert_eq!(web.intersection(of("10.2.0.0/16", 6, 0, 65535)), None);
        assert_eq!(wide.intersection(of("::/0", 0, 0, 65535)), None);
    }

    #[test]
    fn opaque_meets_opaque_and_all() {
        let opaque = of("10.0.0.0/8", 6, 65535, 0);
        assert_eq!(opaque.intersection(of("10.0.0.0/8", 6, 0, 65535)), Some(opaque));
        assert_eq!(opaque.intersection(of("10.0.0.0/8", 6, 80, 80)), None);
    }

    #[test]
    fn reads_as_people_write_it() {
        assert_eq!(of("10.0.0.0/8", 0, 0, 65535).to_string(), "10.0.0.0/8");
        assert_eq!(of("10.0.0.1", 6, 443, 443).to_string(), "10.0.0.1/32[6/443]");
    }
}
