use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use adit_core::{Prefix, TrafficSelector};

/// What a negotiated tunnel gives and what the profile wants of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TunnelFacts {
    /// The address that the server gave us, IPv4.
    pub v4: Option<Ipv4Addr>,
    /// The address that the server gave us, IPv6, with its prefix length.
    pub v6: Option<(Ipv6Addr, u8)>,
    /// Our side of the traffic selectors. Without an address from the server it says which families are carried.
    pub local_ts: Vec<TrafficSelector>,
    /// The peer's side of the traffic selectors: what it lets us reach.
    pub remote_ts: Vec<TrafficSelector>,
    /// Whether the profile wants everything in the tunnel.
    pub full: bool,
    /// In a split tunnel, what of it is wanted: the profile's `remote-subnets`, or what was learned ([`crate::dhcp`]).
    /// `None`: all that the peer lets us reach.
    pub subnets: Option<Vec<Prefix>>,
}

/// What to do to the host.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NetworkPlan {
    /// Addresses of the tunnel's interface, each a host's own.
    pub addresses: Vec<Prefix>,
    /// Networks whose packets go into the tunnel or nowhere, without duplicates. A full tunnel has both default
    /// routes whatever the server carries: what it does not carry is dropped rather than sent in clear.
    pub routes: Vec<Prefix>,
}

impl NetworkPlan {
    /// The plan for a tunnel.
    #[must_use]
    pub fn of(facts: &TunnelFacts) -> Self {
        let mut addresses = Vec::new();
        addresses.extend(facts.v4.map(|a| Prefix::host(IpAddr::V4(a))));
        addresses.extend(facts.v6.map(|(a, _)| Prefix::host(IpAddr::V6(a))));
        let carries = |v4: bool| match addresses.is_empty() {
            true => facts.local_ts.iter().any(|ts| ts.addresses.first.is_ipv4() == v4),
            false => addresses.iter().any(|a: &Prefix| a.address.is_ipv4() == v4),
        };
        if facts.full {
            return Self { routes: vec![Prefix::ANY_V4, Prefix::ANY_V6], addresses };
        }
        let mut routes: Vec<Prefix> = match &facts.subnets {
            None => facts.remote_ts.iter().flat_map(|ts| ts.addresses.prefixes()).collect(),
            Some(subnets) => {
                // What is asked for and the peer lets us reach; asking for more than that sends packets into a tunnel
                // that drops them.
                let within = |subnet: &Prefix| {
                    let common = |ts: &TrafficSelector| ts.addresses.intersection(subnet.range());
                    facts.remote_ts.iter().filter_map(common).flat_map(|r| r.prefixes()).collect::<Vec<_>>()
                };
                subnets.iter().flat_map(within).collect()
            }
        };
        // Everybody on a link is no network behind it: a server lets that in for DHCP alone.
        routes.retain(|r| carries(r.address.is_ipv4()) && r.address != IpAddr::V4(Ipv4Addr::BROADCAST));
        routes.sort_unstable();
        routes.dedup();
        Self { routes, addresses }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(full: bool, remote: &[&str], subnets: Option<&[&str]>) -> TunnelFacts {
        let prefix = |t: &&str| t.parse::<Prefix>().unwrap();
        TunnelFacts {
            v4: Some(Ipv4Addr::new(10, 9, 0, 7)),
            v6: None,
            local_ts: Vec::new(),
            remote_ts: remote.iter().map(|t| prefix(t).into()).collect(),
            full,
            subnets: subnets.map(|s| s.iter().map(prefix).collect()),
        }
    }

    fn routes(plan: &NetworkPlan) -> Vec<String> {
        plan.routes.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_full_tunnel_takes_both_families_whatever_it_carries() {
        let plan = NetworkPlan::of(&facts(true, &["10.0.0.0/8"], None));
        assert_eq!(routes(&plan), ["0.0.0.0/0", "::/0"]);
        assert_eq!(plan.addresses, ["10.9.0.7/32".parse().unwrap()]);
    }

    #[test]
    fn a_site_needs_no_address_of_the_server_s() {
        let mut site = facts(false, &["10.2.0.0/16", "fd00:2::/64"], None);
        site.v4 = None;
        site.local_ts = vec!["10.1.0.0/16".parse::<Prefix>().unwrap().into()];
        let plan = NetworkPlan::of(&site);
        assert_eq!(routes(&plan), ["10.2.0.0/16"]);
        assert!(plan.addresses.is_empty());
    }

    #[test]
    fn a_split_tunnel_takes_what_both_want() {
        let plan = NetworkPlan::of(&facts(
            false,
            &["10.0.0.0/8"],
            Some(&["10.1.0.0/16", "192.168.0.0/16", "10.1.0.0/16"]),
        ));
        assert_eq!(routes(&plan), ["10.1.0.0/16"]);
        assert_eq!(routes(&NetworkPlan::of(&facts(false, &["10.0.0.0/8", "::/0"], None))), ["10.0.0.0/8"]);
        assert!(NetworkPlan::of(&facts(false, &["0.0.0.0/0"], Some(&[]))).routes.is_empty());
        let with_dhcp = facts(false, &["10.0.0.0/8", "255.255.255.255/32"], None);
        assert_eq!(routes(&NetworkPlan::of(&with_dhcp)), ["10.0.0.0/8"]);
    }
}
