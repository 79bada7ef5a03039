//! The ways out of this host, as rtnetlink tells them, and news of them.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;

use adit_core::Prefix;
use adit_plan::mobility::{LinkKind, Uplink, Way};
use futures_util::StreamExt;
use netlink_packet_core::{NLM_F_DUMP, NetlinkPayload};
use netlink_packet_route::address::{AddressAttribute, AddressFlags, AddressMessage, AddressScope};
use netlink_packet_route::link::{LinkAttribute, LinkFlags, LinkMessage};
use netlink_packet_route::route::{RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteType};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use rtnetlink::{MulticastGroup, new_multicast_connection};
use tokio::sync::mpsc;

use super::netlink::{Socket, ask, ip};
use super::{HostError, LINK_GROUP, News, ROUTE_PROTOCOL, Route, SourceRule, Target, UplinkState};
use super::{UPLINK_PRIORITY, UPLINK_TABLES};

const NEWS: [MulticastGroup; 5] = [
    MulticastGroup::Link,
    MulticastGroup::Ipv4Ifaddr,
    MulticastGroup::Ipv6Ifaddr,
    MulticastGroup::Ipv4Route,
    MulticastGroup::Ipv6Route,
];

/// News that wait to be heard.
const MOST_NEWS: usize = 64;

/// A word whenever links, addresses or routes have changed; ends with its receiver.
pub(super) fn news() -> std::io::Result<mpsc::Receiver<News>> {
    let (connection, _, mut messages) = new_multicast_connection(&NEWS)?;
    let (tell, told) = mpsc::channel(MOST_NEWS);
    let socket = tokio::spawn(connection);
    tokio::spawn(async move {
        loop {
            tokio::select! {
                message = messages.next() => match message {
                    // Full is as good as told: who hears the others looks at everything.
                    Some((message, _)) => drop(tell.try_send(what(&message.payload))),
                    None => break,
                },
                () = tell.closed() => break,
            }
        }
        socket.abort();
    });
    Ok(told)
}

/// What a message of the kernel's is about.
fn what(message: &NetlinkPayload<RouteNetlinkMessage>) -> News {
    let lost = match message {
        NetlinkPayload::InnerMessage(RouteNetlinkMessage::DelLink(link)) => Some(link),
        NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewLink(link)) if !is_live(link) => Some(link),
        _ => None,
    };
    // Those of another family are about a link's place in a bridge.
    let itself = lost.filter(|link| link.header.interface_family == AddressFamily::Unspec);
    itself.and_then(name_of).map_or(News::Changed, News::Lost)
}

/// Up, with a carrier.
const fn is_live(link: &LinkMessage) -> bool {
    link.header.flags.contains(LinkFlags::Up.union(LinkFlags::Running).union(LinkFlags::LowerUp))
}

fn name_of(link: &LinkMessage) -> Option<String> {
    link.attributes.iter().find_map(|a| match a {
        LinkAttribute::IfName(name) => Some(name.clone()),
        _ => None,
    })
}

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
        let ours = link.attributes.iter().any(|a| matches!(a, LinkAttribute::Group(LINK_GROUP)));
        let counts = is_live(&link) && !ours && !flags.contains(LinkFlags::Loopback);
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
    let main = header.table == RouteHeader::RT_TABLE_MAIN && header.kind == RouteType::Unicast;
    if !main || header.protocol == RouteProtocol::Other(ROUTE_PROTOCOL) {
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A link that leaves a bridge is told of as one of the bridge's that is gone, and stands all the same.
    #[test]
    fn a_port_that_is_gone_is_no_lost_link() {
        let mut port = LinkMessage::default();
        port.header.interface_family = AddressFamily::Bridge;
        port.attributes = vec![LinkAttribute::IfName("eth0".into())];
        let told = |message| what(&NetlinkPayload::InnerMessage(message));
        assert_eq!(told(RouteNetlinkMessage::DelLink(port)), News::Changed);
    }

    #[test]
    fn a_link_without_a_carrier_or_gone_is_lost() {
        let link = |flags: LinkFlags| {
            let mut link = LinkMessage::default();
            link.header.flags = flags;
            link.attributes = vec![LinkAttribute::IfName("wlan0".into())];
            link
        };
        let told = |message| what(&NetlinkPayload::InnerMessage(message));
        let (live, lost) =
            (LinkFlags::Up | LinkFlags::Running | LinkFlags::LowerUp, News::Lost("wlan0".into()));
        assert_eq!(told(RouteNetlinkMessage::NewLink(link(live))), News::Changed);
        assert_eq!(told(RouteNetlinkMessage::NewLink(link(LinkFlags::Up))), lost);
        assert_eq!(told(RouteNetlinkMessage::DelLink(link(live))), lost);
        assert_eq!(
            told(RouteNetlinkMessage::NewLink(LinkMessage::default())),
            News::Changed,
            "without a name"
        );
    }
}
