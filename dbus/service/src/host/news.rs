//! News of this host's links, addresses and routes, as rtnetlink tells them: of others' alone. What we do ourselves nobody has to
//! look at, and while a tunnel comes up there is much of that.

use std::collections::BTreeSet;

use futures_util::StreamExt;
use netlink_packet_core::NetlinkPayload;
use netlink_packet_route::link::{LinkAttribute, LinkFlags, LinkMessage};
use netlink_packet_route::route::{RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteType};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use rtnetlink::{MulticastGroup, new_multicast_connection};
use tokio::sync::mpsc;

use super::{CLIENTS_GROUP, LINK_GROUP, News, ROUTE_PROTOCOL};

const NEWS: [MulticastGroup; 5] = [
    MulticastGroup::Link,
    MulticastGroup::Ipv4Ifaddr,
    MulticastGroup::Ipv6Ifaddr,
    MulticastGroup::Ipv4Route,
    MulticastGroup::Ipv6Route,
];

/// News that wait to be heard.
const MOST_NEWS: usize = 64;

/// A word whenever links, addresses or routes of others have changed; ends with its receiver.
pub(super) fn news() -> std::io::Result<mpsc::Receiver<News>> {
    let (connection, _, mut messages) = new_multicast_connection(&NEWS)?;
    let (tell, told) = mpsc::channel(MOST_NEWS);
    let socket = tokio::spawn(connection);
    tokio::spawn(async move {
        let mut ours = Ours::default();
        loop {
            tokio::select! {
                message = messages.next() => match message {
                    // Full is as good as told: who hears the others looks at everything.
                    Some((message, _)) => drop(ours.others(&message.payload).map(|news| tell.try_send(news))),
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

/// Links of ours, as far as they have been told of.
#[derive(Default)]
struct Ours(BTreeSet<u32>);

impl Ours {
    /// What a message is about, if it is about others.
    fn others(&mut self, message: &NetlinkPayload<RouteNetlinkMessage>) -> Option<News> {
        let NetlinkPayload::InnerMessage(inner) = message else { return Some(News::Changed) };
        let ours = match inner {
            RouteNetlinkMessage::NewLink(link) if is_ours(link) => {
                self.0.insert(link.header.index);
                true
            }
            // Another may get its number.
            RouteNetlinkMessage::NewLink(link) => {
                self.0.remove(&link.header.index);
                false
            }
            RouteNetlinkMessage::DelLink(link) => self.0.remove(&link.header.index) || is_ours(link),
            RouteNetlinkMessage::NewAddress(address) | RouteNetlinkMessage::DelAddress(address) => {
                self.0.contains(&address.header.index)
            }
            RouteNetlinkMessage::NewRoute(route) | RouteNetlinkMessage::DelRoute(route) => {
                !is_of_others(&route.header) || out_of(route).is_some_and(|link| self.0.contains(&link))
            }
            _ => false,
        };
        (!ours).then(|| what(message))
    }
}

fn out_of(route: &RouteMessage) -> Option<u32> {
    route.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Oif(index) => Some(*index),
        _ => None,
    })
}

/// A tunnel of ours, or a client's of our server.
pub(super) fn is_ours(link: &LinkMessage) -> bool {
    link.attributes.iter().any(|a| matches!(a, LinkAttribute::Group(LINK_GROUP | CLIENTS_GROUP)))
}

/// A route by which this host's packets go somewhere, and that somebody else has made.
pub(super) fn is_of_others(route: &RouteHeader) -> bool {
    let main = route.table == RouteHeader::RT_TABLE_MAIN && route.kind == RouteType::Unicast;
    main && route.protocol != RouteProtocol::Other(ROUTE_PROTOCOL)
}

/// Up, with a carrier.
pub(super) const fn is_live(link: &LinkMessage) -> bool {
    link.header.flags.contains(LinkFlags::Up.union(LinkFlags::Running).union(LinkFlags::LowerUp))
}

pub(super) fn name_of(link: &LinkMessage) -> Option<String> {
    link.attributes.iter().find_map(|a| match a {
        LinkAttribute::IfName(name) => Some(name.clone()),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use netlink_packet_route::address::AddressMessage;

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

    fn link(index: u32, group: u32) -> LinkMessage {
        let mut link = LinkMessage::default();
        link.header.index = index;
        link.attributes = vec![LinkAttribute::IfName(format!("x{index}")), LinkAttribute::Group(group)];
        link
    }

    #[test]
    fn what_we_do_ourselves_is_no_news() {
        let mut ours = Ours::default();
        let mut told = |message| ours.others(&NetlinkPayload::InnerMessage(message)).is_some();
        let address = |index| {
            let mut address = AddressMessage::default();
            address.header.index = index;
            address
        };
        let route = |index, table, protocol| {
            let mut route = RouteMessage::default();
            (route.header.table, route.header.protocol) = (table, protocol);
            route.header.kind = RouteType::Unicast;
            route.attributes = vec![RouteAttribute::Oif(index)];
            RouteNetlinkMessage::NewRoute(route)
        };
        let main = RouteHeader::RT_TABLE_MAIN;
        let own = RouteProtocol::Other(ROUTE_PROTOCOL);
        for (index, group) in [(7, LINK_GROUP), (8, CLIENTS_GROUP)] {
            assert!(!told(RouteNetlinkMessage::NewLink(link(index, group))));
            assert!(!told(RouteNetlinkMessage::NewAddress(address(index))));
            assert!(!told(route(index, main, RouteProtocol::Kernel)));
        }
        assert!(!told(route(2, main, own)) && !told(route(2, 255, RouteProtocol::Kernel)));
        assert!(told(RouteNetlinkMessage::NewLink(link(2, 0))));
        assert!(told(RouteNetlinkMessage::DelAddress(address(2))));
        assert!(told(route(2, main, RouteProtocol::Dhcp)));
        // With its number somebody else's is there.
        assert!(!told(RouteNetlinkMessage::DelLink(link(7, LINK_GROUP))));
        assert!(told(RouteNetlinkMessage::NewAddress(address(7))));
        assert!(told(RouteNetlinkMessage::NewLink(link(8, 0))));
        assert!(told(RouteNetlinkMessage::NewAddress(address(8))));
    }
}
