//! What a server changes on this host, whoever is connected: one link, a route for each range of its pools,
//! forwarding, NAT.

use std::net::{IpAddr, Ipv6Addr};

use adit_core::{AddressRange, Failure, FailureCode, Prefix, Step};
use adit_plan::{Encapsulation, EspOverhead, inner_mtu};
use adit_profile::Nat as NatChoice;

use super::Inner;
use crate::host::{Change, Nat, Route, Target, forwarding};

/// `main`, where everybody looks.
const MAIN_TABLE: u32 = 254;
const METRIC: u32 = 50;
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
        let route = |destination: Prefix| {
            let target = Target::Link(self.link.clone());
            Change::Route(Route { table: MAIN_TABLE, destination, target, source: None, metric: METRIC })
        };
        // A site that may have anything behind itself gets no default route of this host.
        out.extend(ranges.iter().flat_map(|r| r.prefixes()).filter(|p| p.length > 0).map(route));
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

pub(super) fn refused(error: &impl std::fmt::Display) -> Failure {
    Failure::new(FailureCode::KernelRefused, Step::Network, format!("the server's network: {error}"))
        .hint("ctl doctor  shows what this host lacks")
}
