//! rtnetlink messages for our changes.

use std::net::{IpAddr, Ipv4Addr};

use adit_core::Prefix;
use futures_util::StreamExt;
use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::address::{AddressAttribute, AddressHeaderFlags, AddressMessage, AddressScope};
use netlink_packet_route::link::{
    InfoData, InfoKind, InfoXfrm, LinkAttribute, LinkFlags, LinkInfo, LinkMessage,
};
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteMessage, RouteMetric, RouteProtocol, RouteScope, RouteType,
};
use netlink_packet_route::rule::{RuleAction, RuleAttribute, RuleFlags, RuleMessage};
use netlink_packet_route::{AddressFamily, IpProtocol, RouteNetlinkMessage};
use nix::errno::Errno;
use rtnetlink::Handle;
use tokio::sync::Mutex;

use super::{
    HostError, LINK_GROUP, LinkState, MAIN_TABLE, MARK, MARK_MASK, PathInfo, ROUTE_PROTOCOL, RULE_PRIORITY,
    Route, Rule, SourceRule, Target,
};

/// A netlink socket, which the kernel lets have one dump at a time (EBUSY).
pub(super) struct Socket {
    handle: Handle,
    dump: Mutex<()>,
}

impl Socket {
    pub(super) fn new(handle: Handle) -> Self {
        Self { handle, dump: Mutex::default() }
    }
}

/// Sends one request; gives the messages that answer it.
pub(super) async fn ask(
    socket: &Socket,
    message: RouteNetlinkMessage,
    flags: u16,
    what: &(dyn Fn() -> String + Sync),
) -> Result<Vec<RouteNetlinkMessage>, HostError> {
    let mut request = NetlinkMessage::from(message);
    request.header.flags = NLM_F_REQUEST | flags;
    let _alone = match flags & NLM_F_DUMP == NLM_F_DUMP {
        true => Some(socket.dump.lock().await),
        false => None,
    };
    let handle = &socket.handle;
    let mut answers = handle.clone().request(request).map_err(|_| HostError::NoAnswer { what: what() })?;
    let mut out = Vec::new();
    while let Some(answer) = answers.next().await {
        match answer.payload {
            NetlinkPayload::InnerMessage(inner) => out.push(inner),
            NetlinkPayload::Error(e) => match e.code {
                Some(code) => {
                    let errno = Errno::from_raw(code.get().saturating_neg());
                    return Err(HostError::Refused { what: what(), errno });
                }
                None => break,
            },
            _ => {}
        }
    }
    Ok(out)
}

/// A request that only succeeds or fails.
pub(super) async fn tell(
    socket: &Socket,
    message: RouteNetlinkMessage,
    flags: u16,
    what: &(dyn Fn() -> String + Sync),
) -> Result<(), HostError> {
    ask(socket, message, NLM_F_ACK | flags, what).await.map(|_| ())
}

const NEW: u16 = NLM_F_CREATE | NLM_F_EXCL;

pub(super) async fn links(socket: &Socket) -> Result<Vec<LinkState>, HostError> {
    let request = RouteNetlinkMessage::GetLink(LinkMessage::default());
    let answers = ask(socket, request, NLM_F_DUMP, &|| "the list of links".into()).await?;
    Ok(answers
        .into_iter()
        .filter_map(|m| match m {
            RouteNetlinkMessage::NewLink(link) => Some(link_state(&link)),
            _ => None,
        })
        .collect())
}

/// That one.
async fn link(socket: &Socket, index: u32) -> Result<Option<LinkState>, HostError> {
    let mut message = LinkMessage::default();
    message.header.index = index;
    one_link(socket, message, &|| format!("the link with the number {index}")).await
}

/// The number of the link with that name. A name that there may not be is asked for here: the `ioctl` of the C library has the
/// kernel look for a module of that name, by a program.
pub(super) async fn index_of(socket: &Socket, name: &str) -> Result<u32, HostError> {
    let mut message = LinkMessage::default();
    message.attributes.push(LinkAttribute::IfName(name.into()));
    match one_link(socket, message, &|| format!("the link {name}")).await {
        Ok(Some(link)) => Ok(link.index),
        Ok(None) | Err(HostError::Refused { errno: Errno::ENODEV, .. }) => {
            Err(HostError::NoLink(name.into()))
        }
        Err(error) => Err(error),
    }
}

async fn one_link(
    socket: &Socket,
    message: LinkMessage,
    what: &(dyn Fn() -> String + Sync),
) -> Result<Option<LinkState>, HostError> {
    let answers = ask(socket, RouteNetlinkMessage::GetLink(message), 0, what).await?;
    let found = answers.iter().find_map(|answer| match answer {
        RouteNetlinkMessage::NewLink(link) => Some(link_state(link)),
        _ => None,
    });
    Ok(found)
}

fn link_state(link: &LinkMessage) -> LinkState {
    let mut state = LinkState {
        index: link.header.index,
        name: String::new(),
        mtu: 0,
        up: link.header.flags.contains(LinkFlags::Up),
        group: 0,
        if_id: None,
    };
    for attribute in &link.attributes {
        match attribute {
            LinkAttribute::IfName(name) => state.name.clone_from(name),
            LinkAttribute::Mtu(mtu) => state.mtu = *mtu,
            LinkAttribute::Group(group) => state.group = *group,
            LinkAttribute::LinkInfo(infos) => {
                state.if_id = infos.iter().find_map(|i| match i {
                    LinkInfo::Data(InfoData::Xfrm(data)) => data.iter().find_map(|d| match d {
                        InfoXfrm::IfId(id) => Some(*id),
                        _ => None,
                    }),
                    _ => None,
                });
            }
            _ => {}
        }
    }
    state
}

pub(super) async fn add_xfrm_link(
    socket: &Socket,
    name: &str,
    if_id: u32,
    mtu: u32,
) -> Result<(), HostError> {
    let mut link = LinkMessage::default();
    link.attributes = vec![
        LinkAttribute::IfName(name.into()),
        LinkAttribute::Mtu(mtu),
        LinkAttribute::Group(LINK_GROUP),
        LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::Xfrm),
            LinkInfo::Data(InfoData::Xfrm(vec![InfoXfrm::IfId(if_id)])),
        ]),
    ];
    tell(socket, RouteNetlinkMessage::NewLink(link), NEW, &|| format!("the xfrm interface {name}")).await
}

pub(super) async fn set_up(socket: &Socket, index: u32) -> Result<(), HostError> {
    let mut link = LinkMessage::default();
    link.header.index = index;
    link.header.flags = LinkFlags::Up;
    link.header.change_mask = LinkFlags::Up;
    tell(socket, RouteNetlinkMessage::SetLink(link), 0, &|| format!("to set link {index} up")).await
}

pub(super) async fn delete_link(socket: &Socket, index: u32) -> Result<(), HostError> {
    let mut link = LinkMessage::default();
    link.header.index = index;
    tell(socket, RouteNetlinkMessage::DelLink(link), 0, &|| format!("to delete link {index}")).await
}

pub(super) async fn address(
    socket: &Socket,
    index: u32,
    address: Prefix,
    add: bool,
) -> Result<(), HostError> {
    let mut message = AddressMessage::default();
    message.header.family = family(address.address);
    message.header.prefix_len = address.length;
    message.header.index = index;
    message.header.scope = AddressScope::Universe;
    message.attributes =
        vec![AddressAttribute::Local(address.address), AddressAttribute::Address(address.address)];
    if address.address.is_ipv6() {
        // Nobody else is on a tunnel to have the address too.
        message.header.flags = AddressHeaderFlags::Nodad;
    }
    message.attributes.push(AddressAttribute::Flags(
        netlink_packet_route::address::AddressFlags::Noprefixroute
            | if address.address.is_ipv6() {
                netlink_packet_route::address::AddressFlags::Nodad
            } else {
                netlink_packet_route::address::AddressFlags::empty()
            },
    ));
    let what = || format!("address {address} on link {index}");
    match add {
        true => tell(socket, RouteNetlinkMessage::NewAddress(message), NEW, &what).await,
        false => tell(socket, RouteNetlinkMessage::DelAddress(message), 0, &what).await,
    }
}

/// `index` is the target link's.
pub(super) async fn route(
    socket: &Socket,
    route: &Route,
    index: Option<u32>,
    add: bool,
) -> Result<(), HostError> {
    let destination = route.destination.network();
    let mut message = RouteMessage::default();
    let header = &mut message.header;
    header.address_family = family(destination.address);
    header.destination_prefix_length = destination.length;
    header.protocol = RouteProtocol::Other(ROUTE_PROTOCOL);
    (header.scope, header.kind) = match (&route.target, destination.address) {
        (Target::Link(_), IpAddr::V4(_)) => (RouteScope::Link, RouteType::Unicast),
        (Target::Link(_), IpAddr::V6(_)) => (RouteScope::Universe, RouteType::Unicast),
        (Target::Gateway { .. }, _) => (RouteScope::Universe, RouteType::Unicast),
        (Target::Unreachable, _) => (RouteScope::Universe, RouteType::Unreachable),
    };
    let attributes = &mut message.attributes;
    attributes.push(RouteAttribute::Table(route.table));
    attributes.push(RouteAttribute::Priority(route.metric));
    if destination.length > 0 {
        attributes.push(RouteAttribute::Destination(RouteAddress::from(destination.address)));
    }
    if let (Target::Gateway { gateway, .. }, true) = (&route.target, add) {
        attributes.push(RouteAttribute::Gateway(RouteAddress::from(*gateway)));
    }
    attributes.extend(index.map(RouteAttribute::Oif));
    attributes.extend(route.source.map(|s| RouteAttribute::PrefSource(RouteAddress::from(s))));
    let what = || route.to_string();
    match add {
        true => tell(socket, RouteNetlinkMessage::NewRoute(message), NEW, &what).await,
        false => tell(socket, RouteNetlinkMessage::DelRoute(message), 0, &what).await,
    }
}

pub(super) async fn rule(socket: &Socket, rule: &Rule, add: bool) -> Result<(), HostError> {
    let mut message = RuleMessage::default();
    message.header.family = if rule.ipv6 { AddressFamily::Inet6 } else { AddressFamily::Inet };
    message.header.action = RuleAction::ToTable;
    message.header.flags = RuleFlags::Invert;
    tell_rule(socket, message, (rule.priority, rule.table), add, &|| rule.to_string()).await
}

pub(super) async fn source_rule(socket: &Socket, rule: &SourceRule, add: bool) -> Result<(), HostError> {
    let mut message = RuleMessage::default();
    message.header.family = family(rule.source);
    message.header.src_len = Prefix::width(rule.source);
    message.header.action = RuleAction::ToTable;
    message.attributes = vec![RuleAttribute::Source(rule.source)];
    tell_rule(socket, message, (rule.priority, rule.table), add, &|| rule.to_string()).await
}

/// Adds or removes a rule of ours that looks at our mark (inverted where its flags say so), as the kernel is told of it.
async fn tell_rule(
    socket: &Socket,
    mut message: RuleMessage,
    (priority, table): (u32, u32),
    add: bool,
    what: &(dyn Fn() -> String + Sync),
) -> Result<(), HostError> {
    message.attributes.extend([
        RuleAttribute::Priority(priority),
        RuleAttribute::FwMark(MARK),
        RuleAttribute::FwMask(MARK_MASK),
        RuleAttribute::Table(table),
        RuleAttribute::Protocol(RouteProtocol::Other(ROUTE_PROTOCOL)),
    ]);
    match add {
        true => tell(socket, RouteNetlinkMessage::NewRule(message), NEW, what).await,
        false => tell(socket, RouteNetlinkMessage::DelRule(message), 0, what).await,
    }
}

/// GRE to this address looks in this table, whatever our other rules say; in `main` last.
pub(super) async fn gre_rule(
    socket: &Socket,
    (to, table): (Ipv4Addr, u32),
    add: bool,
) -> Result<(), HostError> {
    let priority = if table == MAIN_TABLE { RULE_PRIORITY - 1 } else { RULE_PRIORITY - 2 };
    let mut message = RuleMessage::default();
    message.header.family = AddressFamily::Inet;
    message.header.dst_len = 32;
    message.header.action = RuleAction::ToTable;
    message.attributes = vec![
        RuleAttribute::Priority(priority),
        RuleAttribute::Destination(IpAddr::V4(to)),
        RuleAttribute::IpProtocol(IpProtocol::Gre),
        RuleAttribute::Table(table),
        RuleAttribute::Protocol(RouteProtocol::Other(ROUTE_PROTOCOL)),
    ];
    let what = || format!("the rule for GRE to {to}");
    match add {
        true => tell(socket, RouteNetlinkMessage::NewRule(message), NEW, &what).await,
        false => tell(socket, RouteNetlinkMessage::DelRule(message), 0, &what).await,
    }
}

pub(super) async fn proxy(socket: &Socket, index: u32, address: IpAddr, add: bool) -> Result<(), HostError> {
    let mut message = neighbour(index, address);
    message.header.state = NeighbourState::Permanent;
    message.header.flags = NeighbourFlags::Proxy;
    let what = || format!("answering for {address} on link {index}");
    match add {
        // No NLM_F_EXCL: the kernel has one entry an address, whoever asked for it.
        true => tell(socket, RouteNetlinkMessage::NewNeighbour(message), NLM_F_CREATE, &what).await,
        false => tell(socket, RouteNetlinkMessage::DelNeighbour(message), 0, &what).await,
    }
}

/// One of that address on that link.
pub(super) fn neighbour(index: u32, address: IpAddr) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.family = family(address);
    message.header.ifindex = index;
    message.attributes = vec![NeighbourAttribute::Destination(match address {
        IpAddr::V4(a) => NeighbourAddress::Inet(a),
        IpAddr::V6(a) => NeighbourAddress::Inet6(a),
    })];
    message
}

/// The route that packets with our mark take.
pub(super) async fn path_to(socket: &Socket, destination: IpAddr) -> Result<PathInfo, HostError> {
    let mut message = RouteMessage::default();
    message.header.address_family = family(destination);
    message.header.destination_prefix_length = Prefix::width(destination);
    message.attributes =
        vec![RouteAttribute::Destination(RouteAddress::from(destination)), RouteAttribute::Mark(MARK)];
    let what = || format!("a route to {destination}");
    let answers = ask(socket, RouteNetlinkMessage::GetRoute(message), 0, &what).await?;
    let found = answers.into_iter().find_map(|m| match m {
        RouteNetlinkMessage::NewRoute(route) => Some(route),
        _ => None,
    });
    let refused = |errno| HostError::Refused { what: what(), errno };
    let found = found.ok_or_else(|| HostError::NoAnswer { what: what() })?;
    if !matches!(found.header.kind, RouteType::Unicast | RouteType::Local) {
        return Err(refused(Errno::EHOSTUNREACH));
    }
    let (mut source, mut index, mut gateway, mut mtu) = (None, None, None, None);
    for attribute in &found.attributes {
        match attribute {
            RouteAttribute::PrefSource(a) => source = ip(a),
            RouteAttribute::Oif(i) => index = Some(*i),
            RouteAttribute::Gateway(a) => gateway = ip(a),
            RouteAttribute::Metrics(metrics) => {
                mtu = metrics.iter().find_map(|m| match m {
                    RouteMetric::Mtu(mtu) => Some(*mtu),
                    _ => None,
                });
            }
            _ => {}
        }
    }
    let link = match index {
        Some(index) => link(socket, index).await?,
        None => None,
    };
    match (source, link) {
        (Some(source), Some(link)) => Ok(PathInfo {
            source,
            link_index: link.index,
            mtu: mtu.filter(|m| *m > 0).map_or(link.mtu, |m| m.min(link.mtu)),
            link: link.name,
            gateway,
        }),
        _ => Err(refused(Errno::ENETUNREACH)),
    }
}

pub(super) fn ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(a) => Some(IpAddr::V4(*a)),
        RouteAddress::Inet6(a) => Some(IpAddr::V6(*a)),
        _ => None,
    }
}

const fn family(address: IpAddr) -> AddressFamily {
    match address {
        IpAddr::V4(_) => AddressFamily::Inet,
        IpAddr::V6(_) => AddressFamily::Inet6,
    }
}
