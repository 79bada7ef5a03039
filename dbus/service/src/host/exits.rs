//! Where this host's packets leave it, and who the routers there are.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use adit_plan::trusted::{Exit, Router};
use futures_util::StreamExt;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_DUMP};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
};
use rtnetlink::{MulticastGroup, new_multicast_connection};

use super::netlink::{Socket, ask, links, neighbour, tell};
use super::uplinks::uplinks;
use super::{HostError, Target, UplinkState};

/// How long routers get to say who they are.
const PATIENCE: Duration = Duration::from_secs(1);

/// A link and an address.
type Place = (u32, IpAddr);
/// How sure the kernel is, and of whom.
type Neighbour = (NeighbourState, [u8; 6]);

/// Every way that leads everywhere. Routers that this host has had nothing to do with yet are asked who they are.
pub(super) async fn exits(socket: &Socket) -> Result<Vec<Exit>, HostError> {
    let indices: BTreeMap<String, u32> =
        links(socket).await?.into_iter().map(|l| (l.name, l.index)).collect();
    let mut exits: Vec<(u32, Exit)> = Vec::new();
    for state in uplinks(socket).await? {
        let index = indices.get(&state.uplink.name).copied().unwrap_or_default();
        exits.extend(of(&state).map(|exit| (index, exit)));
    }
    identify(socket, &mut exits).await?;
    Ok(exits.into_iter().map(|(_, exit)| exit).collect())
}

fn of(state: &UplinkState) -> impl Iterator<Item = Exit> {
    state.routes.iter().filter(|route| route.destination.length == 0).map(|route| Exit {
        link: state.uplink.name.clone(),
        ipv4: route.destination.address.is_ipv4(),
        metric: route.metric,
        router: match &route.target {
            Target::Gateway { gateway, .. } => Some(Router { address: *gateway, hardware: None }),
            _ => None,
        },
    })
}

async fn identify(socket: &Socket, exits: &mut [(u32, Exit)]) -> Result<(), HostError> {
    let routers: Vec<Place> =
        exits.iter().filter_map(|(index, exit)| Some((*index, exit.router?.address))).collect();
    if routers.is_empty() {
        return Ok(());
    }
    // Before it is looked: what is said from then on is heard.
    let heard = new_multicast_connection(&[MulticastGroup::Neigh]);
    let (connection, _, mut news) =
        heard.map_err(|_| HostError::NoAnswer { what: "news of neighbours".into() })?;
    let listening = tokio::spawn(connection);
    let mut known = neighbours(socket).await?;
    for router in &routers {
        let sure = [NeighbourState::Reachable, NeighbourState::Permanent];
        // What was there yesterday is asked again, too: the kernel forgets it if nobody answers.
        if !known.get(router).is_some_and(|(state, _)| sure.contains(state)) {
            ask_who(socket, *router).await?;
        }
    }
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !routers.iter().all(|router| known.contains_key(router)) {
        match tokio::time::timeout_at(deadline, news.next()).await {
            Ok(Some(_)) => known = neighbours(socket).await?,
            Ok(None) | Err(_) => break,
        }
    }
    listening.abort();
    for (index, exit) in exits {
        if let Some(router) = &mut exit.router {
            router.hardware = known.get(&(*index, router.address)).map(|(_, hardware)| *hardware);
        }
    }
    Ok(())
}

/// Those whose hardware addresses the kernel has.
async fn neighbours(socket: &Socket) -> Result<BTreeMap<Place, Neighbour>, HostError> {
    let request = RouteNetlinkMessage::GetNeighbour(NeighbourMessage::default());
    let answers = ask(socket, request, NLM_F_DUMP, &|| "the list of neighbours".into()).await?;
    let of = |answer| match answer {
        RouteNetlinkMessage::NewNeighbour(message) => entry(&message),
        _ => None,
    };
    Ok(answers.into_iter().filter_map(of).collect())
}

fn entry(message: &NeighbourMessage) -> Option<(Place, Neighbour)> {
    let state = message.header.state;
    let has = matches!(
        state,
        NeighbourState::Reachable
            | NeighbourState::Stale
            | NeighbourState::Delay
            | NeighbourState::Probe
            | NeighbourState::Permanent
    );
    let address = message.attributes.iter().find_map(|a| match a {
        NeighbourAttribute::Destination(NeighbourAddress::Inet(a)) => Some(IpAddr::V4(*a)),
        NeighbourAttribute::Destination(NeighbourAddress::Inet6(a)) => Some(IpAddr::V6(*a)),
        _ => None,
    });
    let hardware = message.attributes.iter().find_map(|a| match a {
        NeighbourAttribute::LinkLayerAddress(octets) => octets.as_slice().try_into().ok(),
        _ => None,
    });
    has.then_some(((message.header.ifindex, address?), (state, hardware?)))
}

/// Has the kernel ask, as if there were something to send.
async fn ask_who(socket: &Socket, (index, address): Place) -> Result<(), HostError> {
    let mut message = neighbour(index, address);
    message.header.flags = NeighbourFlags::Use;
    let what = || format!("asking who {address} is");
    tell(socket, RouteNetlinkMessage::NewNeighbour(message), NLM_F_CREATE, &what).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_not_answered_is_nobody() {
        let address: IpAddr = [192, 168, 1, 1].into();
        let mut message = neighbour(3, address);
        message.header.state = NeighbourState::Stale;
        assert_eq!(entry(&message), None);
        let hardware = [2, 0, 0, 0, 1, 1];
        message.attributes.push(NeighbourAttribute::LinkLayerAddress(hardware.into()));
        assert_eq!(entry(&message), Some(((3, address), (NeighbourState::Stale, hardware))));
        for state in [NeighbourState::Failed, NeighbourState::Incomplete, NeighbourState::None] {
            message.header.state = state;
            assert_eq!(entry(&message), None, "{state:?}");
        }
    }
}
