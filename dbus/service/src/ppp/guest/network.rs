//! What somebody is given: an address, a network of IPv6, and the ways to both.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use adit_core::{Failure, FailureCode, Prefix, Step};
use adit_pool::Request;
use adit_ppp::{Ipv6Network, Network, NetworkPlan, RouterConfig};
use adit_profile::AddressRule;
use nix::errno::Errno;

use super::Guest;
use crate::host::{CLIENTS_GROUP, Change, HostError, client_route, site_route};
use crate::ppp::proof::may_have;
use crate::ppp::{Advertising, Unit, UnitPlan};
use crate::server::identity;
use crate::server::sessions::Share;

/// DNS servers that IPCP has room for (RFC 1877).
const MOST_DNS: usize = 2;

/// What somebody is given.
struct Leased {
    address: Option<Ipv4Addr>,
    network: Option<Ipv6Addr>,
    dns: Vec<IpAddr>,
    /// Networks behind it.
    behind: Vec<Prefix>,
}

impl Guest {
    pub(super) fn plan(&self, peer: &str, unit: Option<Arc<Unit>>) -> Result<UnitPlan, Failure> {
        let server = &self.server;
        let owner = u64::from(server.next_owner.fetch_add(1, Ordering::Relaxed));
        let leased = self.lease(owner, peer).inspect_err(|_| {
            server.pool().release(owner);
        })?;
        let Leased { address, network, dns, behind } = leased;
        {
            let mut facts = self.facts();
            (facts.owner, facts.address, facts.network, facts.dns) =
                (Some(owner), address, network, dns.clone());
            facts.behind = behind;
        }
        let name = unit.as_ref().map_or_else(|| server.unit_name(), |unit| unit.name().to_owned());
        let v4 = server.local.zip(address);
        let network = NetworkPlan { v4, v6: network.is_some(), dns: v4_of(&dns), wins: Vec::new() };
        let carrier = server.carriage.carrier();
        Ok(UnitPlan { name, group: CLIENTS_GROUP, carrier, network, unit })
    }

    fn lease(&self, owner: u64, peer: &str) -> Result<Leased, Failure> {
        let server = &self.server;
        let identity = identity(peer);
        let (share, wanted, routes, rule) = {
            let facts = self.facts();
            let granted = facts.granted.as_ref();
            let routes = granted.map(|granted| granted.routes.clone()).unwrap_or_default();
            let share = granted.map(|granted| Share::of(granted, None));
            (share, granted.and_then(|granted| granted.prefix6), routes, facts.addresses.clone())
        };
        let meant = rule.as_ref().and_then(AddressRule::suggested).and_then(|a| v4_of(&[a]).pop());
        let request =
            Request { v4: server.local.is_some(), v6: server.ipv6, wanted_v4: meant, wanted_v6: None };
        let mut request = share.as_ref().map_or(request, |share| share.request(request));
        // The pool knows a network by its upper half.
        request.wanted_v6 = wanted.and_then(|wanted| match wanted.address {
            IpAddr::V6(a) => Some(Ipv6Addr::from_bits(a.to_bits() >> 64)),
            IpAddr::V4(_) => None,
        });
        let lease = server.pool().lease(owner, &identity, request)?;
        let network = lease.v6.map(|(number, _)| Ipv6Addr::from_bits(number.to_bits() << 64));
        may_have(rule.as_ref(), peer, lease.v4)?;
        if let Some(share) = &share {
            share.check(&server.config.pool, (lease.v4, None))?;
        }
        let got = network.map(|n| Prefix { address: n.into(), length: 64 });
        if let Some(wanted) = wanted.filter(|wanted| got.is_some_and(|got| got != *wanted)) {
            let text = format!("the RADIUS server gives it {wanted}, which is no free /64 of the pool");
            return Err(Failure::new(FailureCode::NoAddress, Step::Address, text));
        }
        let dns = share.and_then(|share| share.dns).unwrap_or_else(|| server.dns.clone());
        let mut behind = server.config.sites.get(peer).cloned().unwrap_or_default();
        behind.extend(routes);
        Ok(Leased { address: lease.v4, network, dns, behind })
    }

    /// The address and the route go with the unit, which the kernel removes when its file is closed, also when this process
    /// dies: no journal is needed. `again`: a process before has done it, and what stands is as it should be.
    pub(super) async fn networking(
        &self,
        unit: &Unit,
        network: &Network,
        again: bool,
    ) -> Result<(), Failure> {
        let link = unit.name().to_owned();
        let (address, network6, behind) = {
            let facts = self.facts();
            (facts.address, facts.network, facts.behind.clone())
        };
        let behind = behind.iter().filter(|b| b.address.is_ipv4() == matches!(network, Network::V4(_)));
        let behind: Vec<Change> =
            behind.map(|b| site_route(unit.name(), self.server.numbers.table(), *b)).collect();
        let mut wanted = Vec::new();
        match network {
            Network::V4(v4) => {
                wanted.push(Change::Address { link: link.clone(), address: Prefix::host(v4.local.into()) });
                wanted.extend(address.map(|peer| client_route(&link, Prefix::host(peer.into()))));
            }
            Network::V6(v6) => {
                self.believe_no_router(&link).await?;
                let [ours, theirs] =
                    [v6.local, v6.peer].map(|id| Prefix::host(Ipv6Network::link_local(id).into()));
                wanted.push(Change::Address { link: link.clone(), address: ours });
                let network = network6.map(|n| Prefix { address: n.into(), length: 64 });
                wanted.extend(network.into_iter().chain([theirs]).map(|to| client_route(&link, to)));
            }
        }
        wanted.extend(behind);
        let host = self.server.daemon.host();
        for change in &wanted {
            match host.apply(change).await {
                Err(error) if again && error.errno() == Some(Errno::EEXIST) => {}
                other => other.map_err(refused)?,
            }
        }
        if let (Network::V6(_), Some(prefix)) = (network, network6) {
            let dns = self.facts().dns.iter().filter_map(v6_of).collect();
            let config = RouterConfig { prefix, dns, server: self.server.uuid };
            let advertising = Advertising::begin(unit, config)?;
            self.facts().advertising = Some(advertising);
        }
        Ok(())
    }

    /// Where this host does not forward, its kernel would take a client for its router.
    async fn believe_no_router(&self, link: &str) -> Result<(), Failure> {
        let host = self.server.daemon.host();
        let key = format!("net/ipv6/conf/{link}/accept_ra");
        let change = Change::Setting { key, value: "0".into() };
        let undo = host.undo_of(&change).await.map_err(refused)?;
        host.apply(&change).await.map_err(refused)?;
        self.facts().undo = undo;
        Ok(())
    }
}

/// The IPv4 addresses of these, as many as IPCP has room for.
pub(super) fn v4_of(addresses: &[IpAddr]) -> Vec<Ipv4Addr> {
    let v4 = addresses.iter().filter_map(|a| match a {
        IpAddr::V4(a) => Some(*a),
        IpAddr::V6(_) => None,
    });
    v4.take(MOST_DNS).collect()
}

fn v6_of(address: &IpAddr) -> Option<Ipv6Addr> {
    match address {
        IpAddr::V6(a) => Some(*a),
        IpAddr::V4(_) => None,
    }
}

fn refused(error: HostError) -> Failure {
    Failure::new(FailureCode::KernelRefused, Step::Network, format!("for a client: {error}"))
}
