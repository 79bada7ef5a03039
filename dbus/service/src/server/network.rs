//! What a server changes on this host, whoever is connected: one link, a route for each range of its pools,
//! forwarding, NAT.

use std::net::{IpAddr, Ipv6Addr};

use adit_core::{AddressRange, Failure, FailureCode, Prefix, Step};
use adit_plan::{Encapsulation, EspOverhead, inner_mtu};
use adit_profile::Nat as NatChoice;

use super::Inner;
use crate::host::{Change, Nat, client_route, forwarding};

const ETHERNET: u16 = 1500;
/// The most that ESP adds: AES-CBC with HMAC-SHA2-512-256.
const WIDEST: EspOverhead = EspOverhead { iv: 16, icv: 32, block: 16 };

impl Inner {
    /// What the configuration wants of this host.
    pub(super) async fn network_changes(&self) -> Result<Vec<Change>, Failure> {
        self.hash_policies().await;
        // One link for all clients: its MTU fits the client with the most overhead.
        let how = Encapsulation { outer: IpAddr::V6(Ipv6Addr::UNSPECIFIED), udp: true, esp: WIDEST };
        let mtu = u32::from(inner_mtu(ETHERNET, how, true));
        let mut out = vec![Change::XfrmLink { name: self.link.clone(), if_id: self.numbers.if_id, mtu }];
        let pools: Vec<AddressRange> =
            self.config.pools.iter().flat_map(|p| p.ranges.iter().chain(&p.ranges6)).copied().collect();
        // What is behind sites goes into their tunnels or nowhere.
        let sites = self.config.connections.iter().flat_map(|c| &c.remote_subnets).map(|ts| ts.addresses);
        let mut ranges = pools.clone();
        ranges.extend(sites);
        ranges.sort_unstable();
        ranges.dedup();
        let route = |destination: Prefix| client_route(&self.link, destination);
        // A site that may have anything behind itself gets no default route of this host.
        let networks = |r: &AddressRange| match pools.contains(r) {
            true => pool_networks(*r),
            false => r.prefixes(),
        };
        out.extend(ranges.iter().flat_map(networks).filter(|p| p.length > 0).map(route));
        let network = &self.config.network;
        if network.forward {
            let has = |v4: bool| ranges.iter().any(|r| r.first.is_ipv4() == v4);
            let host = self.daemon.host();
            out.extend(forwarding(host.as_ref(), has(true), has(false)).await.map_err(|e| refused(&e))?);
        }
        for pool in self.config.pools.iter().filter(|p| !p.ranges6.is_empty()) {
            // Neighbours are answered for one by one; this lets the kernel answer at all.
            let key =
                |link: &adit_profile::InterfaceName| format!("net/ipv6/conf/{}/proxy_ndp", link.as_str());
            let setting = |key| Change::Setting { key, value: "1".into() };
            out.extend(pool.on_subnet.as_ref().map(key).map(setting));
        }
        if network.nat == NatChoice::Masquerade {
            let uplinks = network.nat_interface.iter().map(|n| n.as_str().to_owned()).collect();
            out.push(Nat { pools, tunnels: vec![self.link.clone()], uplinks }.change());
        }
        Ok(out)
    }

    /// Without it the kernel searches a tree instead of a table: slower with many clients, and no less right.
    async fn hash_policies(&self) {
        let door = self.daemon.xfrm();
        if let Ok(Err(error)) = tokio::task::spawn_blocking(move || door.hash_by_peer()).await {
            tracing::info!(%error, "policies are not found by hash");
        }
    }
}

/// What leads to a pool: one network, where it is all of one but the addresses that nobody gets (its own, and with IPv4 the
/// broadcast address), as a pool that is written as a network is.
fn pool_networks(range: AddressRange) -> Vec<Prefix> {
    let wider = match (range.first, range.last) {
        (IpAddr::V4(first), IpAddr::V4(last)) => {
            let (first, last) = (first.to_bits().checked_sub(1), last.to_bits().checked_add(1));
            first.zip(last).map(|(f, l)| (IpAddr::from(f.to_be_bytes()), IpAddr::from(l.to_be_bytes())))
        }
        (IpAddr::V6(first), last) => {
            first.to_bits().checked_sub(1).map(|f| (Ipv6Addr::from_bits(f).into(), last))
        }
        _ => None,
    };
    let whole = wider.map(|(first, last)| AddressRange { first, last }.prefixes());
    whole.filter(|prefixes| prefixes.len() == 1).unwrap_or_else(|| range.prefixes())
}

pub(super) fn refused(error: &impl std::fmt::Display) -> Failure {
    Failure::new(FailureCode::KernelRefused, Step::Network, format!("the server's network: {error}"))
        .hint("ctl doctor  shows what this host lacks")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pool_that_is_a_network_takes_one_route() {
        let networks = |first: &str, last: &str| {
            let range = AddressRange { first: first.parse().unwrap(), last: last.parse().unwrap() };
            pool_networks(range).iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(networks("10.16.0.1", "10.16.15.254"), ["10.16.0.0/20"]);
        assert_eq!(networks("fd00:9::1", "fd00:9::ffff"), ["fd00:9::/112"]);
        assert_eq!(networks("10.9.0.10", "10.9.0.12"), ["10.9.0.10/31", "10.9.0.12/32"]);
        assert_eq!(networks("0.0.0.0", "0.0.0.1"), ["0.0.0.0/31"]);
        assert_eq!(networks("10.9.0.16", "10.9.0.31"), ["10.9.0.16/28"]);
    }
}
