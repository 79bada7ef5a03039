//! A network address translator (RFC 4787): what it maps, what it lets in, and what it forgets.

use std::collections::BTreeMap;

use core::net::{IpAddr, SocketAddr};
use core::time::Duration;

use adit_core::Instant;

/// How a NAT maps and filters.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mapping {
    /// One outer port for one inner one, whoever is spoken to; anybody who was spoken to may answer.
    EndpointIndependent,
    /// An outer port for each pair of inner port and destination ("symmetric").
    Symmetric,
}

/// One NAT with one outer address.
#[derive(Debug)]
pub struct Nat {
    /// Its outer address.
    pub outer: IpAddr,
    /// How it maps.
    pub mapping: Mapping,
    /// A mapping that carried nothing outward for this long is forgotten.
    pub timeout: Duration,
    next_port: u16,
    by_inner: BTreeMap<(SocketAddr, Option<SocketAddr>), u16>,
    by_port: BTreeMap<u16, Entry>,
}

#[derive(Debug)]
struct Entry {
    inner: SocketAddr,
    spoken_to: Vec<SocketAddr>,
    used: Instant,
}

impl Nat {
    /// One that has mapped nothing yet.
    #[must_use]
    pub const fn new(outer: IpAddr, mapping: Mapping, timeout: Duration, first_port: u16) -> Self {
        Self {
            outer,
            mapping,
            timeout,
            next_port: first_port,
            by_inner: BTreeMap::new(),
            by_port: BTreeMap::new(),
        }
    }

    /// A datagram goes out: the source that the outside sees.
    pub fn outward(&mut self, now: Instant, inner: SocketAddr, to: SocketAddr) -> SocketAddr {
        self.expire(now);
        let key = match self.mapping {
            Mapping::EndpointIndependent => (inner, None),
            Mapping::Symmetric => (inner, Some(to)),
        };
        let port = match self.by_inner.get(&key) {
            Some(port) => *port,
            None => {
                let port = self.free_port();
                self.by_inner.insert(key, port);
                port
            }
        };
        let entry =
            self.by_port.entry(port).or_insert_with(|| Entry { inner, spoken_to: Vec::new(), used: now });
        entry.used = now;
        if !entry.spoken_to.contains(&to) {
            entry.spoken_to.push(to);
        }
        SocketAddr::new(self.outer, port)
    }

    /// A datagram comes in at `port`: the inner end that it is for, if it is let in.
    pub fn inward(&mut self, now: Instant, from: SocketAddr, port: u16) -> Option<SocketAddr> {
        self.expire(now);
        let entry = self.by_port.get(&port)?;
        entry.spoken_to.contains(&from).then_some(entry.inner)
    }

    /// Forgets everything: the router was restarted, or its provider gave it a new address.
    pub fn rebind(&mut self) {
        self.by_inner.clear();
        self.by_port.clear();
    }

    fn expire(&mut self, now: Instant) {
        let timeout = self.timeout;
        self.by_port.retain(|_, entry| now.since(entry.used) < timeout);
        let live = &self.by_port;
        self.by_inner.retain(|_, port| live.contains_key(port));
    }

    fn free_port(&mut self) -> u16 {
        loop {
            self.next_port = self.next_port.checked_add(1).unwrap_or(1024);
            if !self.by_port.contains_key(&self.next_port) {
                return self.next_port;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn nat(mapping: Mapping) -> Nat {
        Nat::new("192.0.2.1".parse().unwrap(), mapping, Duration::from_secs(30), 40_000)
    }

    #[test]
    fn maps_by_its_kind_and_lets_only_answers_in() {
        let (now, inner) = (Instant::ZERO, end("10.0.0.2:500"));
        let (a, b) = (end("198.51.100.1:500"), end("198.51.100.1:4500"));
        let mut cone = nat(Mapping::EndpointIndependent);
        let mut symmetric = nat(Mapping::Symmetric);
        assert_eq!(cone.outward(now, inner, a), cone.outward(now, inner, b));
        assert_ne!(symmetric.outward(now, inner, a), symmetric.outward(now, inner, b));
        let port = cone.outward(now, inner, a).port();
        assert_eq!(cone.inward(now, a, port), Some(inner));
        assert_eq!(cone.inward(now, end("203.0.113.9:500"), port), None);
    }

    #[test]
    fn forgets_what_is_idle_and_what_is_rebound() {
        let (inner, peer) = (end("10.0.0.2:500"), end("198.51.100.1:500"));
        let mut nat = nat(Mapping::EndpointIndependent);
        let first = nat.outward(Instant::ZERO, inner, peer);
        let later = Instant::ZERO + Duration::from_secs(31);
        assert_eq!(nat.inward(later, peer, first.port()), None);
        let second = nat.outward(later, inner, peer);
        assert_ne!(first, second);
        nat.rebind();
        assert_eq!(nat.inward(later, peer, second.port()), None);
    }
}
