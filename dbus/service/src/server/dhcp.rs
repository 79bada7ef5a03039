//! Clients that ask by DHCPINFORM, through the tunnel, for what is behind this server ([`adit_plan::dhcp`]).

use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Weak};

use adit_core::Prefix;
use adit_ikev2::api::SaId;
use adit_plan::dhcp::Offer;

use super::Inner;
use super::guest::Guest;
use crate::dhcp::Answering;

impl Inner {
    /// From where clients that ask for routes are answered; `None`: none may.
    pub(super) fn dhcp_address(&self) -> Option<Ipv4Addr> {
        self.dhcp.get().copied()
    }

    /// Begins to answer, where any `[[connection]]` wants it; for clients of `older` configurations, too.
    pub(super) async fn answer_dhcp(self: &Arc<Self>, older: &[Arc<Self>]) -> Option<Answering> {
        let wanted = self.config.connections.iter().any(|c| c.routes_by_dhcp);
        if !wanted && !older.iter().any(|o| o.dhcp_address().is_some()) {
            return None;
        }
        let pools = self.config.pools.iter().flat_map(|p| &p.ranges);
        let client = pools.map(|range| range.first).find(IpAddr::is_ipv4)?;
        // What the kernel would choose: the link has no address of its own.
        let own = match self.daemon.host().path_to(client).await.map(|path| path.source) {
            Ok(IpAddr::V4(own)) => own,
            Ok(IpAddr::V6(_)) => return None,
            Err(error) => {
                tracing::warn!(%error, "server: clients that ask for routes are not answered");
                return None;
            }
        };
        let all: Vec<Weak<Self>> = std::iter::once(self).chain(older).map(Arc::downgrade).collect();
        let offer = move |from| all.iter().filter_map(Weak::upgrade).find_map(|inner| inner.offer(own, from));
        match Answering::begin(&self.link, offer) {
            Ok(answering) => {
                let _ = self.dhcp.set(own);
                Some(answering)
            }
            Err(error) => {
                tracing::warn!(%error, "server: clients that ask for routes (UDP 67) are not answered");
                None
            }
        }
    }

    fn guest_at(&self, address: Ipv4Addr) -> Option<Arc<Guest>> {
        let owner = self.pools().values().find_map(|(_, pool)| pool.owner_of(address.into()))?;
        let guests = self.guests();
        let by_number = |guest: &&Arc<Guest>| guest.facts().pool.as_ref().is_some_and(|(_, n)| *n == owner);
        // A session that was resumed may have its lease under the number of the one before.
        let found = guests.get(&SaId(owner)).filter(by_number);
        found.or_else(|| guests.values().find(by_number)).cloned()
    }

    /// What the client with that address is to know; `None`: it may not ask.
    fn offer(&self, own: Ipv4Addr, address: Ipv4Addr) -> Option<Offer> {
        let guest = self.guest_at(address)?;
        let (rule, connection, pool) = {
            let facts = guest.facts();
            let pool = facts.pool.as_ref().map(|(name, _)| name.clone());
            (facts.rule.filter(|(_, really)| *really)?.0, facts.connection?, pool)
        };
        let rule = self.config.connections.get(rule).filter(|rule| rule.routes_by_dhcp)?;
        let shown = self.daemon.registry().get(connection)?;
        let of_pool = || pool.and_then(|name| self.config.pool(&name).map(|pool| pool.domains.clone()));
        let domains = rule.domains.clone().or_else(of_pool).unwrap_or_default();
        let networks = rule.subnets.iter().flat_map(|ts| ts.addresses.prefixes());
        let v4 = |address: &IpAddr| match address {
            IpAddr::V4(address) => Some(*address),
            IpAddr::V6(_) => None,
        };
        Some(Offer {
            server: own,
            routes: networks.filter(|p: &Prefix| p.address.is_ipv4()).collect(),
            dns: shown.dns.iter().filter_map(v4).collect(),
            domain: domains.into_iter().next(),
        })
    }
}
