//! What people, routers, kernels and attackers do.

use core::net::Ipv4Addr;
use core::time::Duration;

use adit_core::{Path, Prefix};
use adit_ikev2::api::{ChildConfig, ChildId, ChildMode, InitiatorConfig, Input, SaId};

use super::{Client, Happening, SERVER, World, end};
use crate::net::turn_a_bit;

impl World {
    /// Somebody on the way sends what was seen again: as it was, changed, back to its sender, or from elsewhere.
    pub(super) fn attack(&mut self) {
        let index = usize::try_from(self.random.below(self.seen.len() as u64)).unwrap_or(0);
        let Some(mut flying) = self.seen.get(index).cloned() else {
            return;
        };
        match self.random.below(4) {
            0 => {}
            1 => turn_a_bit(&mut self.random, &mut flying.payload),
            2 => core::mem::swap(&mut flying.from, &mut flying.to),
            _ => flying.from = end(Ipv4Addr::new(192, 0, 2, 200)),
        }
        let delay = self.random.between(Duration::ZERO, Duration::from_secs(20));
        self.push(self.now + delay, Happening::Arrives(flying));
    }

    /// A person, a router or a kernel does something.
    pub(super) fn act(&mut self) -> Result<(), String> {
        self.acts = self.acts.saturating_add(1);
        let clients = self.hosts.len().saturating_sub(1) as u64;
        let client = usize::try_from(self.random.below(clients)).unwrap_or(0) + 1;
        match self.random.below(24) {
            0..=6 => self.resume_or_dial(client),
            7 => self.close_one(client, false),
            8 => self.close_one(SERVER, self.random.clone().chance(500)),
            9 => self.close_one(client, true),
            10 | 11 => {
                let length = self.random.between(Duration::from_secs(1), Duration::from_secs(90));
                self.net.outage_until = self.now + length;
                Ok(())
            }
            12 | 13 => {
                let nats = self.net.nats.len() as u64;
                let index = usize::try_from(self.random.below(nats)).unwrap_or(0);
                if let Some(nat) = self.net.nats.get_mut(index) {
                    nat.rebind();
                }
                Ok(())
            }
            14 => self.esp_from_elsewhere(),
            15 | 16 => self.add_child(client),
            17..=19 => {
                let index = if self.random.chance(500) { SERVER } else { client };
                self.rekey(index)
            }
            _ => self.collide(),
        }
    }

    /// One of a host's pairs.
    fn some_pair(&mut self, index: usize) -> Option<(SaId, ChildId)> {
        let pairs: Vec<_> = self.hosts.get(index)?.kernel.pairs.iter().map(|(id, p)| (p.sa, *id)).collect();
        let chosen = usize::try_from(self.random.below(pairs.len() as u64)).unwrap_or(0);
        pairs.get(chosen).copied()
    }

    pub(super) fn rekey(&mut self, index: usize) -> Result<(), String> {
        let Some((sa, child)) = self.some_pair(index) else {
            return Ok(());
        };
        let child = self.random.chance(500).then_some(child);
        self.give(index, Input::Rekey { sa, child })
    }

    /// Both ends of one pair begin something at once, or nearly so.
    pub(super) fn collide(&mut self) -> Result<(), String> {
        let clients = self.hosts.len().saturating_sub(1) as u64;
        let client = usize::try_from(self.random.below(clients)).unwrap_or(0) + 1;
        let Some((sa, child)) = self.some_pair(client) else {
            return Ok(());
        };
        let spis = |index: usize, id: ChildId| {
            let pair = self.hosts.get(index)?.kernel.pairs.get(&id)?;
            Some((pair.inbound_spi, pair.outbound_spi))
        };
        let Some((inbound, outbound)) = spis(client, child) else {
            return Ok(());
        };
        let server = self.host(SERVER)?.kernel.pairs.iter();
        let mut mirror = server.filter(|(_, p)| (p.inbound_spi, p.outbound_spi) == (outbound, inbound));
        let Some((their_sa, their_child)) = mirror.next().map(|(id, p)| (p.sa, *id)) else {
            return Ok(());
        };
        self.collisions = self.collisions.saturating_add(1);
        let ours = self.beginning(sa, child);
        let theirs = self.beginning(their_sa, their_child);
        if self.random.chance(500) {
            self.give(client, ours)?;
            return self.give(SERVER, theirs);
        }
        self.give(SERVER, theirs)?;
        let gap = self.random.between(Duration::ZERO, Duration::from_millis(12));
        self.run_until(self.now + gap)?;
        self.give(client, ours)
    }

    /// What one end begins. In service nobody deletes.
    fn beginning(&mut self, sa: SaId, child: ChildId) -> Input {
        match self.random.below(if self.service { 4 } else { 5 }) {
            0 | 1 => Input::Rekey { sa, child: Some(child) },
            2 | 3 => Input::Rekey { sa, child: None },
            _ => Input::CloseChild { sa, child },
        }
    }

    fn add_child(&mut self, index: usize) -> Result<(), String> {
        let Some((sa, _)) = self.some_pair(index) else {
            return Ok(());
        };
        let n = u8::try_from(self.random.below(250)).unwrap_or(0);
        let Some(client) = self.clients.get(index.saturating_sub(1)) else {
            return Ok(());
        };
        let child = ChildConfig {
            name: format!("more{n}"),
            esp: client.esp.clone(),
            mode: ChildMode::Tunnel,
            local_ts: vec![Prefix::ANY_V4.into()],
            remote_ts: vec![Prefix::host(Ipv4Addr::new(10, 7, 0, n).into()).into()],
        };
        self.give(index, Input::AddChild { sa, child: Box::new(child) })
    }

    /// The server's kernel sees authentic ESP from where a NAT has put a client.
    fn esp_from_elsewhere(&mut self) -> Result<(), String> {
        let Some((sa, child)) = self.some_pair(SERVER) else {
            return Ok(());
        };
        let Some(pair) = self.host(SERVER)?.kernel.pairs.get(&child).cloned() else {
            return Ok(());
        };
        let client = self.hosts.iter().skip(1).find(|h| {
            h.kernel.pairs.values().any(|p| p.outbound_spi == pair.inbound_spi && p.outbound_key.is_some())
        });
        let Some(path) = client.and_then(|h| {
            h.kernel.pairs.values().find(|p| p.outbound_spi == pair.inbound_spi).map(|p| p.path)
        }) else {
            return Ok(());
        };
        let esp = adit_core::Transmit { path, payload: Vec::new() };
        let Some((_, flying)) = self.net.send(self.now, &esp).pop() else {
            return Ok(());
        };
        if self.net.arrive(self.now, &flying).is_some_and(|(host, _)| host == SERVER)
            && path.local.port() != 500
        {
            return self.give(SERVER, Input::Mapping { sa, remote: flying.from });
        }
        Ok(())
    }

    fn close_one(&mut self, index: usize, child: bool) -> Result<(), String> {
        let host = self.host(index)?;
        if child {
            let pair = host.kernel.pairs.iter().next().map(|(id, pair)| (pair.sa, *id));
            return match pair {
                Some((sa, child)) => self.give(index, Input::CloseChild { sa, child }),
                None => Ok(()),
            };
        }
        let Some(sa) = host.records.keys().next().copied() else {
            return Ok(());
        };
        self.give(index, Input::Close { sa })
    }

    /// The client dials, if it has nothing. If it has, it may lose that, and say nothing of it.
    fn resume_or_dial(&mut self, index: usize) -> Result<(), String> {
        let loses = self.resuming && self.random.clone().chance(500);
        let host = self.host(index)?;
        let up = |sa: &SaId| host.records.get(sa).is_some_and(|r| r.established.is_some());
        let lost = host.dialled.iter().copied().find(up).filter(|_| loses && host.ticket.is_some());
        if let Some(sa) = lost {
            self.give(index, Input::Abandon { sa })?;
        }
        self.dial(index)
    }

    /// The client dials, if it has nothing.
    pub(super) fn dial(&mut self, index: usize) -> Result<(), String> {
        if !self.host(index)?.dialled.is_empty() {
            return Ok(());
        }
        self.dial_anyway(index).map(|_| ())
    }

    pub(super) fn dial_anyway(&mut self, index: usize) -> Result<Option<SaId>, String> {
        let Some(client) = self.clients.get(index.saturating_sub(1)).cloned() else {
            return Ok(None);
        };
        let mut config = self.config(index, client)?;
        if let Some(roamer) = self.roamers.get_mut(&index) {
            let Some(path) = roamer.next_way() else { return Ok(None) };
            (config.path, config.mobike) = (path, Some(roamer.addresses()));
        }
        let now = self.now;
        let host = self.host(index)?;
        let sa = host.endpoint.initiate(now, config);
        host.dialled.push(sa);
        self.drain(index)?;
        Ok(Some(sa))
    }

    fn config(&mut self, index: usize, client: Client) -> Result<InitiatorConfig, String> {
        let resumable = self.resuming;
        let server = self.host(SERVER)?;
        let (remote, remote_id) = (server.address(), server.identity().clone());
        let host = self.host(index)?;
        Ok(InitiatorConfig {
            path: Path { local: host.address(), remote },
            ike: client.ike,
            esp: client.esp,
            local_id: host.identity().clone(),
            remote_auth: host.remote_auth(&remote_id),
            ppk: None,
            resumable,
            ticket: host.ticket.take(),
            remote_id,
            local_auth: host.local_auth(),
            request_v4: true,
            request_v6: false,
            request_domains: false,
            request_subnets: false,
            former: Default::default(),
            mode: ChildMode::Tunnel,
            more_children: Vec::new(),
            local_ts: vec![Prefix::ANY_V4.into()],
            remote_ts: vec![Prefix::ANY_V4.into()],
            shared_identity: false,
            force_encapsulation: client.force_encapsulation,
            mobike: None,
            fragment_size: client.fragment_size,
            nat_port: 4500,
            local_nat_port: 4500,
            timing: client.timing,
        })
    }

    /// Make before break: a second IKE_SA for each that is due, unless one is on its way.
    pub(super) fn reauthenticate(&mut self, index: usize) -> Result<(), String> {
        while let Some(old) = self.host(index)?.due.pop() {
            if self.host(index)?.successors.values().any(|o| *o == old) {
                continue;
            }
            if let Some(new) = self.dial_anyway(index)? {
                let host = self.host(index)?;
                if host.records.contains_key(&new) {
                    host.successors.insert(new, old);
                }
            }
        }
        Ok(())
    }

    /// The second one is up: the first one goes.
    pub(super) fn succeed(&mut self, index: usize, sa: SaId) -> Result<(), String> {
        match self.host(index)?.successors.remove(&sa) {
            Some(old) => self.give(index, Input::Close { sa: old }),
            None => Ok(()),
        }
    }
}
