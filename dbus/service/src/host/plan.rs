//! What a tunnel and a server change, as lists of [`Change`]s.

use std::net::IpAddr;

use adit_core::{AddressRange, Prefix};
use adit_plan::local::LocalNetwork;

use super::block::{TO_ALL_V4, links};
use super::{
    Change, Host, HostError, LOCAL_PRIORITY, LOCAL_TABLE, MAIN_TABLE, PathInfo, RULE_PRIORITY, Route, Rule,
    Target, UPLINK_TABLES,
};

/// Metric of a tunnel's routes.
const METRIC: u32 = 50;
/// Metric of the routes of a tunnel that is not up: those of one that is come before them.
const WAITING_METRIC: u32 = 60;
/// Metric of the unreachable routes under them.
const FLOOR: u32 = u32::MAX - 1;

/// Routes of a tunnel into `table`, an unreachable route under each (so that its traffic is refused and not sent in
/// clear when the link goes), and the rules that lead there. In this order: the rules come when the table is full.
///
/// A default route (`0.0.0.0/0` or `::/0`) makes a full tunnel: the other family's default becomes unreachable.
/// `sources` are the tunnel's own addresses; a route of a family that has none is only a floor. An unspecified one is
/// whatever the host takes.
#[must_use]
pub fn tunnel_routes(link: &str, table: u32, sources: &[IpAddr], destinations: &[Prefix]) -> Vec<Change> {
    routes(link, METRIC, table, sources, destinations)
}

/// The same before the tunnel is up: by `uplink` packets come to meet its policies with the source that goes into it.
#[must_use]
pub fn waiting_routes(uplink: &str, table: u32, sources: &[IpAddr], destinations: &[Prefix]) -> Vec<Change> {
    routes(uplink, WAITING_METRIC, table, sources, destinations)
}

/// The way to a server's clients, for everybody on this host: over `link`.
#[must_use]
pub fn client_route(link: &str, destination: Prefix) -> Change {
    site_route(link, MAIN_TABLE, destination)
}

/// The way to a network behind a client that is a site, in a table that [`site_rules`] lead to.
#[must_use]
pub fn site_route(link: &str, table: u32, destination: Prefix) -> Change {
    let target = Target::Link(link.to_owned());
    Change::Route(Route { table, destination: destination.network(), target, source: None, metric: METRIC })
}

/// What comes in by a site that has dialled goes back that way, also where this host would dial it, or has.
#[must_use]
pub fn site_rules(table: u32) -> Vec<Change> {
    let rule = |ipv6| Change::Rule(Rule { ipv6, priority: RULE_PRIORITY - 1, table });
    [false, true].into_iter().map(rule).collect()
}

/// GRE to a server leaves by the link that leads there now, whatever leads into the tunnel: NetworkManager, too, has a default
/// route for a full one in `main`. Where that link is no uplink, `main` decides.
#[must_use]
pub fn gre_rules(server: IpAddr, uplink: &PathInfo) -> Vec<Change> {
    let IpAddr::V4(to) = server else { return Vec::new() };
    let tables = [UPLINK_TABLES.saturating_add(uplink.link_index), MAIN_TABLE];
    tables.into_iter().map(|table| Change::GreRule { to, table }).collect()
}

/// The way to the networks that this host is in, before any tunnel's; also for who sends to all of their hosts and does not say by
/// which link (of IPv6 everybody has to). Those that every link has are found by their link, as ever.
#[must_use]
pub fn local_routes(networks: &[LocalNetwork]) -> Vec<Change> {
    let route = |link: &str, destination, source, metric| {
        let target = Target::Link(link.to_owned());
        Change::Route(Route { table: LOCAL_TABLE, destination, target, source, metric })
    };
    // Where two links lead to the same hosts, the first one is taken.
    let metrics = METRIC..;
    let of_one = networks.iter().filter(|n| !n.is_of_any_link()).zip(metrics.clone());
    let mut out: Vec<Change> =
        of_one.map(|(n, metric)| route(&n.link, n.network, Some(n.address), metric)).collect();
    for (link, metric) in links(networks, true).into_iter().zip(metrics) {
        let to_all = TO_ALL_V4.map(|(address, length)| Prefix { address: IpAddr::V4(address), length });
        out.extend(to_all.map(|group| route(link, group, None, metric)));
    }
    let of_family = |ipv6: bool| {
        let has =
            |change: &Change| matches!(change, Change::Route(r) if r.destination.address.is_ipv6() == ipv6);
        out.iter().any(has)
    };
    let rules: Vec<Change> = [false, true]
        .into_iter()
        .filter(|ipv6| of_family(*ipv6))
        .map(|ipv6| Change::Rule(Rule { ipv6, priority: LOCAL_PRIORITY, table: LOCAL_TABLE }))
        .collect();
    out.extend(rules);
    out
}

/// A chain for an nftables table: TCP connections that this host forwards over `links` (a name, or a pattern of nftables)
/// have segments no larger than what fits, also where nobody hears that a packet was too big.
#[must_use]
pub fn segments(links: &str) -> String {
    format!(
        "chain segments {{\n  type filter hook forward priority -150; policy accept;\n\
         \x20 oifname \"{links}\" tcp flags syn tcp option maxseg size set rt mtu\n\
         \x20 iifname \"{links}\" tcp flags syn tcp option maxseg size set rt mtu\n}}\n"
    )
}

fn routes(link: &str, metric: u32, table: u32, sources: &[IpAddr], destinations: &[Prefix]) -> Vec<Change> {
    let mut destinations: Vec<Prefix> = destinations.iter().map(|d| d.network()).collect();
    if destinations.iter().any(|d| d.length == 0) {
        destinations.extend([Prefix::ANY_V4, Prefix::ANY_V6]);
    }
    destinations.sort_unstable();
    destinations.dedup();
    let route = |destination: Prefix, target, source, metric| {
        Change::Route(Route { table, destination, target, source, metric })
    };
    let floors = destinations.iter().map(|d| route(*d, Target::Unreachable, None, FLOOR));
    let carried = destinations.iter().filter_map(|d| {
        let source = sources.iter().copied().find(|s| s.is_ipv4() == d.address.is_ipv4())?;
        let source = Some(source).filter(|s| !s.is_unspecified());
        Some(route(*d, Target::Link(link.into()), source, metric))
    });
    let rules = [false, true]
        .into_iter()
        .filter(|ipv6| destinations.iter().any(|d| d.address.is_ipv6() == *ipv6))
        .map(|ipv6| Change::Rule(Rule { ipv6, priority: RULE_PRIORITY, table }));
    carried.chain(floors).chain(rules).collect()
}

/// What lets the tunnel's own packets come back by `uplink` although the rules send its peer's address elsewhere:
/// strict reverse path filtering becomes loose there. Nothing, where it is not strict.
///
/// # Errors
/// The settings can't be read.
pub async fn loosen_reverse_path(host: &dyn Host, uplink: &str) -> Result<Vec<Change>, HostError> {
    let key = |link: &str| format!("net/ipv4/conf/{link}/rp_filter");
    let (all, own) = (host.setting(&key("all")).await?, host.setting(&key(uplink)).await?);
    // The kernel takes the larger of the two: 0 off, 1 strict, 2 loose. Where the uplink's own is loose, another
    // tunnel may be what loosened it, and this one must hold it too (where the host did, the change is none).
    let strict = own.as_deref() == Some("2") || all.max(own).as_deref() == Some("1");
    Ok(strict.then(|| Change::Setting { key: key(uplink), value: "2".into() }).into_iter().collect())
}

/// Forwarding for a server's pools. With IPv6, links that take router advertisements (1) go on taking them (2): a
/// router ignores them otherwise, and this host would lose its own default route.
///
/// # Errors
/// The settings can't be read.
pub async fn forwarding(host: &dyn Host, ipv4: bool, ipv6: bool) -> Result<Vec<Change>, HostError> {
    let on = |key: &str| Change::Setting { key: key.into(), value: "1".into() };
    let mut changes = Vec::new();
    if ipv4 {
        changes.push(on("net/ipv4/ip_forward"));
    }
    if ipv6 {
        for link in host.links().await?.iter().filter(|l| l.if_id.is_none() && l.name != "lo") {
            let key = format!("net/ipv6/conf/{}/accept_ra", link.name);
            if matches!(host.setting(&key).await?.as_deref(), Some("1" | "2")) {
                changes.push(Change::Setting { key, value: "2".into() });
            }
        }
        changes.push(on("net/ipv6/conf/all/forwarding"));
    }
    Ok(changes)
}

/// Address translation for the clients of a server.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Nat {
    /// Their pools.
    pub pools: Vec<AddressRange>,
    /// The links to them, which are left out.
    pub tunnels: Vec<String>,
    /// The links to translate on; all others if there is none.
    pub uplinks: Vec<String>,
}

impl Nat {
    /// The nftables table `adit-server`.
    #[must_use]
    pub fn change(&self) -> Change {
        let quoted =
            |links: &[String]| links.iter().map(|l| format!("\"{l}\"")).collect::<Vec<_>>().join(", ");
        let mut out = format!("oifname != {{ {} }} ", quoted(&self.tunnels));
        if self.tunnels.is_empty() {
            out.clear();
        }
        if !self.uplinks.is_empty() {
            out.push_str(&format!("oifname {{ {} }} ", quoted(&self.uplinks)));
        }
        let rule = |family: &str, ipv4: bool| {
            let ranges = self.pools.iter().filter(|p| p.first.is_ipv4() == ipv4);
            let ranges: Vec<String> = ranges.map(|p| format!("{}-{}", p.first, p.last)).collect();
            match ranges.is_empty() {
                true => String::new(),
                false => format!("  {family} saddr {{ {} }} {out}masquerade\n", ranges.join(", ")),
            }
        };
        let body = format!(
            "chain clients {{\n  type nat hook postrouting priority 100; policy accept;\n{}{}}}\n",
            rule("ip", true),
            rule("ip6", false)
        );
        Change::Nftables { table: "adit-server".into(), body }
    }
}
