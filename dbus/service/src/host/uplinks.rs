//! The ways out of this host, as rtnetlink tells them.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;

use adit_core::Prefix;
use adit_plan::mobility::{LinkKind, Uplink, Way};
use netlink_packet_core::NLM_F_DUMP;
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::address::{AddressAttribute, AddressFlags, AddressMessage, AddressScope};
use netlink_packet_route::link::{LinkFlags, LinkMessage};
use netlink_packet_route::route::{RouteAttribute, RouteMessage};

use super::netlink::{Socket, ask, ip};
use super::news::{is_live, is_of_others, is_ours, name_of};
use super::{HostError, Route, SourceRule, Target, UplinkState};
use super::{UPLINK_PRIORITY, UPLINK_TABLES};

/// A link while its ways are being collected.
struct Seen {
    name: String,
    addresses: Vec<IpAddr>,
    routes: Vec<SeenRoute>,
}

struct SeenRoute {
    destination: Prefix,
    gateway: Option<IpAddr>,
    source: Option<IpAddr>,
    metric: u32,
}

/// Every link that is up, has a carrier and leads somewhere, but for tunnels of ours.
pub(super) async fn uplinks(socket: &Socket) -> Result<Vec<UplinkState>, HostError> {
    let mut links = links(socket).await?;
    addresses(socket, &mut links).await?;
    routes(socket, &mut links).await?;
    Ok(links.into_iter().filter_map(|(index, link)| state(index, &link)).collect())
}

async fn links(socket: &Socket) -> Result<BTreeMap<u32, Seen>, HostError> {
    let request = RouteNetlinkMessage::GetLink(LinkMessage::default());
    let answers = ask(socket, request, NLM_F_DUMP, &|| "the list of links".into()).await?;
    let mut out = BTreeMap::new();
    for answer in answers {
        let RouteNetlinkMessage::NewLink(link) = answer else { continue };
        let flags = link.header.flags;
        let counts = is_live(&link) && !is_ours(&link) && !flags.contains(LinkFlags::Loopback);
        if let (true, Some(name)) = (counts, name_of(&link)) {
            let seen = Seen { name, addresses: Vec::new(), routes: Vec::new() };
            out.insert(link.header.index, seen);
        }
    }
    Ok(out)
}

async fn addresses(socket: &Socket, links: &mut BTreeMap<u32, Seen>) -> Result<(), HostError> {
    let request = RouteNetlinkMessage::GetAddress(AddressMessage::default());
    for answer in ask(socket, request, NLM_F_DUMP, &|| "the list of addresses".into()).await? {
        let RouteNetlinkMessage::NewAddress(message) = answer else { continue };
        let Some(link) = links.get_mut(&message.header.index) else { continue };
        let unusable = AddressFlags::Tentative | AddressFlags::Dadfailed | AddressFlags::Deprecated;
        let (mut local, mut address, mut usable) = (None, None, true);
        for attribute in &message.attributes {
            match attribute {
                AddressAttribute::Local(a) => local = Some(*a),
                AddressAttribute::Address(a) => address = Some(*a),
                AddressAttribute::Flags(flags) => usable = !flags.intersects(unusable),
                _ => {}
            }
        }
        let global = matches!(message.header.scope, AddressScope::Universe | AddressScope::Site);
        link.addresses.extend(local.or(address).filter(|_| usable && global));
    }
    Ok(())
}

async fn routes(socket: &Socket, links: &mut BTreeMap<u32, Seen>) -> Result<(), HostError> {
    for family in [netlink_packet_route::AddressFamily::Inet, netlink_packet_route::AddressFamily::Inet6] {
        let mut message = RouteMessage::default();
        message.header.address_family = family;
        let request = RouteNetlinkMessage::GetRoute(message);
        for answer in ask(socket, request, NLM_F_DUMP, &|| "the list of routes".into()).await? {
            if let RouteNetlinkMessage::NewRoute(route) = answer {
                note(&route, links);
            }
        }
    }
    Ok(())
}

fn note(route: &RouteMessage, links: &mut BTreeMap<u32, Seen>) {
    let header = &route.header;
    if !is_of_others(header) {
        return;
    }
    let any = match header.address_family {
        netlink_packet_route::AddressFamily::Inet => Prefix::ANY_V4,
        _ => Prefix::ANY_V6,
    };
    let mut seen = SeenRoute { destination: any, gateway: None, source: None, metric: 0 };
    let mut out = None;
    for attribute in &route.attributes {
        match attribute {
            RouteAttribute::Destination(a) => {
                if let Some(address) = ip(a) {
                    seen.destination = Prefix { address, length: header.destination_prefix_length };
                }
            }
            RouteAttribute::Gateway(a) => seen.gateway = ip(a),
            RouteAttribute::PrefSource(a) => seen.source = ip(a),
            RouteAttribute::Priority(metric) => seen.metric = *metric,
            RouteAttribute::Oif(index) => out = Some(*index),
            _ => {}
        }
    }
    // A link's own fe80::/64 leads nowhere.
    let link_local = matches!(seen.destination.address, IpAddr::V6(a) if a.is_unicast_link_local());
    if let Some(link) = out.and_then(|index| links.get_mut(&index)).filter(|_| !link_local) {
        link.routes.push(seen);
    }
}

fn state(index: u32, link: &Seen) -> Option<UplinkState> {
    let ways: Vec<Way> = [true, false].into_iter().filter_map(|ipv4| way(link, ipv4)).collect();
    if ways.is_empty() {
        return None;
    }
    let table = UPLINK_TABLES + index;
    let sources: Vec<IpAddr> = ways.iter().map(|w| w.source).collect();
    let fits = |r: &&SeenRoute| sources.iter().any(|s| s.is_ipv4() == r.destination.address.is_ipv4());
    let routes = link.routes.iter().filter(fits).map(|r| Route {
        table,
        destination: r.destination.network(),
        target: match r.gateway {
            Some(gateway) => Target::Gateway { link: link.name.clone(), gateway },
            None => Target::Link(link.name.clone()),
        },
        source: None,
        metric: r.metric.max(1),
    });
    let rules = sources.iter().map(|source| SourceRule { source: *source, priority: UPLINK_PRIORITY, table });
    let kind = kind(&link.name);
    Some(UplinkState {
        routes: routes.collect(),
        rules: rules.collect(),
        // What a mobile network costs is not known here: most cost by volume.
        uplink: Uplink {
            name: link.name.clone(),
            kind,
            metered: kind == LinkKind::Wwan,
            limited: false,
            addresses: link.addresses.clone(),
            ways,
        },
    })
}

/// The address that packets over this link carry, and whom they reach.
fn way(link: &Seen, ipv4: bool) -> Option<Way> {
    let of_family: Vec<&SeenRoute> =
        link.routes.iter().filter(|r| r.destination.address.is_ipv4() == ipv4).collect();
    let default = of_family.iter().find(|r| r.destination.length == 0);
    let best = default.or(of_family.first())?;
    let beside = |a: &&IpAddr| {
        let on_link = |r: &&&SeenRoute| r.gateway.is_none() && r.destination.contains(**a);
        let network = of_family.iter().find(on_link);
        best.gateway.is_none_or(|gateway| network.is_some_and(|n| n.destination.contains(gateway)))
    };
    let mut own = link.addresses.iter().filter(|a| a.is_ipv4() == ipv4);
    let source = best.source.or(own.clone().find(beside).copied()).or(own.next().copied())?;
    let reaches = of_family.iter().map(|r| r.destination.network()).collect();
    Some(Way { source, reaches, metric: best.metric })
}

fn kind(name: &str) -> LinkKind {
    let device = Path::new("/sys/class/net").join(name);
    let uevent = std::fs::read_to_string(device.join("uevent")).unwrap_or_default();
    if device.join("phy80211").exists() || device.join("wireless").exists() {
        LinkKind::Wifi
    } else if uevent.lines().any(|line| line == "DEVTYPE=wwan") {
        LinkKind::Wwan
    } else {
        LinkKind::Wired
    }
}
