//! What has to be true: when somebody comes up, when all is quiet, and when everybody has gone.

use adit_ikev2::api::{SaId, Timer};

use super::{SERVER, World};
use crate::kernel::Pair;
use crate::net::Flying;

impl World {
    /// Nobody is up who could not prove itself.
    pub(super) fn check_welcome(&self, index: usize, sa: SaId) -> Result<(), String> {
        let host = self.hosts.get(index).ok_or("no such host")?;
        let peer = host
            .records
            .get(&sa)
            .and_then(|r| r.established.as_ref())
            .map(|e| e.remote_id.clone())
            .ok_or("up without a record")?;
        let client = if index == SERVER { &peer } else { host.identity() };
        let welcome = self.hosts.iter().skip(1).zip(&self.clients).any(|(h, c)| {
            h.identity() == client && if index == SERVER { c.proves_itself } else { c.welcome }
        });
        if welcome {
            return Ok(());
        }
        Err(format!("{} is up with {peer}, and they share no key", host.name))
    }

    /// When all is quiet, both ends say the same of what is up, and whoever is welcome is up.
    pub(super) fn check_agreement(&self) -> Result<u64, String> {
        let (server, clients) = self.hosts.split_first().ok_or("no hosts")?;
        for host in &self.hosts {
            if host.endpoint.half_open() != 0 || host.endpoint.len() != host.endpoint.established() {
                return Err(format!("{} still has half-open IKE_SAs", host.name));
            }
        }
        let mut standing = 0;
        for (host, client) in clients.iter().zip(&self.clients) {
            for pair in host.kernel.pairs.values() {
                let mirrored = server.kernel.pairs.values().any(|s| {
                    (s.inbound_spi, s.outbound_spi) == (pair.outbound_spi, pair.inbound_spi)
                        && pair.outbound_key.as_ref() == Some(&s.inbound_key)
                        && s.outbound_key.as_ref() == Some(&pair.inbound_key)
                        && s.local_ts == pair.remote_ts
                        && s.remote_ts == pair.local_ts
                        && s.remote_id == *host.identity()
                });
                if !mirrored {
                    return Err(format!("{} has {pair:?}, and the server has not", host.name));
                }
                standing += 1;
            }
            if client.welcome == host.kernel.pairs.is_empty() {
                let failures: Vec<String> = host.failures.iter().map(ToString::to_string).collect();
                return Err(format!(
                    "{} has {} pairs, welcome: {}; it says: {failures:?}",
                    host.name,
                    host.kernel.pairs.len(),
                    client.welcome
                ));
            }
        }
        if server.kernel.pairs.len() as u64 != standing {
            return Err(format!("the server has {} pairs, clients {standing}", server.kernel.pairs.len()));
        }
        Ok(standing)
    }

    /// Whatever one kernel sends now, the other one can read.
    pub(super) fn check_service(&self) -> Result<(), String> {
        let (server, clients) = self.hosts.split_first().ok_or("no hosts")?;
        for client in clients {
            for (from, to) in [(client, server), (server, client)] {
                let between = |p: &&Pair| p.remote_id == *to.identity();
                // Where a second IKE_SA is taking over from a first one, what is installed last carries.
                let last = from.kernel.senders().filter(between).max_by_key(|p| p.outbound_since);
                let in_use = last.map(|p| p.sa);
                for pair in from.kernel.senders().filter(between).filter(|p| Some(p.sa) == in_use) {
                    let key = pair.outbound_key.as_deref().unwrap_or_default();
                    if !to.kernel.reads(self.now, pair.outbound_spi, key) {
                        return Err(format!("{} sends by {pair:?}, which {} can't read", from.name, to.name));
                    }
                }
            }
        }
        Ok(())
    }

    /// What the server's kernel would send to a client arrives there, also where a NAT has moved it meanwhile.
    pub(super) fn check_paths(&mut self) -> Result<(), String> {
        let server = self.hosts.get(SERVER).ok_or("no hosts")?;
        let pairs: Vec<_> = server.kernel.pairs.values().cloned().collect();
        for pair in pairs {
            let flying = Flying { from: pair.path.local, to: pair.path.remote, payload: Vec::new() };
            let arrives = self.net.arrive(self.now, &flying).and_then(|(host, _)| self.hosts.get(host));
            if arrives.is_none_or(|host| *host.identity() != pair.remote_id) {
                return Err(format!(
                    "the server sends to {} at {:?}, which is not there",
                    pair.remote_id, pair.path
                ));
            }
        }
        Ok(())
    }

    pub(super) fn check_nothing_left(&self) -> Result<(), String> {
        for host in &self.hosts {
            if !host.endpoint.is_empty() || host.endpoint.lingering() != 0 {
                return Err(format!("{} still has {} IKE_SAs", host.name, host.endpoint.len()));
            }
            if !host.kernel.is_empty() || !host.records.is_empty() {
                return Err(format!("{} still holds {:?}", host.name, host.kernel));
            }
            let late = |t| ![Timer::CookieSecret, Timer::Ticket].contains(&t);
            if host.endpoint.deadline().is_some_and(|(_, t)| late(t)) {
                return Err(format!(
                    "{} has nothing, and waits for {:?}",
                    host.name,
                    host.endpoint.deadline()
                ));
            }
        }
        Ok(())
    }
}
