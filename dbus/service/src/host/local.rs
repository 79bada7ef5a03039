//! The networks that this host is in, as rtnetlink tells them.

use std::collections::BTreeMap;

use adit_plan::local::LocalNetwork;
use netlink_packet_core::NLM_F_DUMP;
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::link::{LinkAttribute, LinkFlags, LinkMessage};

use super::HostError;
use super::netlink::{Socket, ask};
use super::news::is_ours;

/// Of every link that has neighbours (a tunnel has none), but for those of ours.
pub(super) async fn networks(socket: &Socket) -> Result<Vec<LocalNetwork>, HostError> {
    let links = links(socket).await?;
    let request = RouteNetlinkMessage::GetAddress(AddressMessage::default());
    let answers = ask(socket, request, NLM_F_DUMP, &|| "the list of addresses".into()).await?;
    let mut networks: Vec<LocalNetwork> = answers
        .into_iter()
        .filter_map(|answer| match answer {
            RouteNetlinkMessage::NewAddress(message) => network(&message, &links),
            _ => None,
        })
        .collect();
    networks.sort();
    networks.dedup_by(|a, b| (&a.link, a.network) == (&b.link, b.network));
    Ok(networks)
}

async fn links(socket: &Socket) -> Result<BTreeMap<u32, String>, HostError> {
    let request = RouteNetlinkMessage::GetLink(LinkMessage::default());
    let answers = ask(socket, request, NLM_F_DUMP, &|| "the list of links".into()).await?;
    let link = |answer| match answer {
        RouteNetlinkMessage::NewLink(link) => leads_to_neighbours(&link),
        _ => None,
    };
    Ok(answers.into_iter().filter_map(link).collect())
}

fn leads_to_neighbours(link: &LinkMessage) -> Option<(u32, String)> {
    let flags = link.header.flags;
    let none = LinkFlags::Loopback | LinkFlags::Pointopoint | LinkFlags::Noarp;
    let name = link.attributes.iter().find_map(|a| match a {
        LinkAttribute::IfName(name) => Some(name.clone()),
        _ => None,
    });
    let leads = flags.contains(LinkFlags::Up) && !flags.intersects(none) && !is_ours(link);
    leads.then_some((link.header.index, name?))
}

fn network(message: &AddressMessage, links: &BTreeMap<u32, String>) -> Option<LocalNetwork> {
    let link = links.get(&message.header.index)?;
    // Of a pair of addresses the network is the other one's.
    let (mut local, mut address) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            AddressAttribute::Local(a) => local = Some(*a),
            AddressAttribute::Address(a) => address = Some(*a),
            _ => {}
        }
    }
    let (own, network) = (local.or(address)?, address.or(local)?);
    LocalNetwork::of(link, own, message.header.prefix_len).filter(|found| found.network.contains(network))
}

#[cfg(test)]
mod tests {
    use super::super::LINK_GROUP;
    use super::*;

    #[test]
    fn a_tunnel_has_no_neighbours() {
        let link = |flags: LinkFlags, group: u32| {
            let mut link = LinkMessage::default();
            (link.header.index, link.header.flags) = (7, flags);
            link.attributes = vec![LinkAttribute::IfName("x0".into()), LinkAttribute::Group(group)];
            leads_to_neighbours(&link)
        };
        let ethernet = LinkFlags::Up | LinkFlags::Broadcast;
        assert_eq!(link(ethernet, 0), Some((7, "x0".into())));
        assert_eq!(link(ethernet, LINK_GROUP), None);
        assert_eq!(link(LinkFlags::Broadcast, 0), None, "down");
        for tunnel in [LinkFlags::Pointopoint, LinkFlags::Noarp, LinkFlags::Loopback] {
            assert_eq!(link(LinkFlags::Up | tunnel, 0), None);
        }
    }
}
