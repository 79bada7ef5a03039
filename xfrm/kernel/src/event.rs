use core::net::{IpAddr, SocketAddr};
use std::collections::VecDeque;
use std::io;

use netlink_packet_xfrm as nl;
use netlink_sys::protocols::NETLINK_XFRM;
use netlink_sys::{AsyncSocket, AsyncSocketExt, SocketAddr as NetlinkAddr, TokioSocket};
use nix::errno::Errno;

use crate::attribute::find_u32;
use crate::link::messages;
use crate::state::{Mark, StateId};
use crate::{Operation, XfrmError, attribute};

/// Something that the kernel tells by itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum XfrmEvent {
    /// A state reached a limit of its [`crate::Lifetimes`]. Larval states that nobody completed come here too.
    Expired {
        /// Which state.
        state: StateId,
        /// Its reqid.
        reqid: u32,
        /// Its if_id, if not 0.
        if_id: Option<u32>,
        /// Whether the kernel removed it (hard limit).
        hard: bool,
        /// Bytes it had carried.
        bytes: u64,
        /// Packets it had carried.
        packets: u64,
    },
    /// A packet met an outbound policy without a state.
    Acquire {
        /// Outer source of the policy's template.
        local: IpAddr,
        /// Outer destination of the policy's template.
        remote: IpAddr,
        /// reqid of the policy's template; 0 if the kernel told none.
        reqid: u32,
        /// The policy's if_id, if not 0.
        if_id: Option<u32>,
        /// Where the packet came from.
        packet_source: IpAddr,
        /// Where it wanted to go.
        packet_destination: IpAddr,
        /// IP protocol of the packet.
        protocol: u8,
    },
    /// An authenticated packet came to an inbound ESP-in-UDP state from another address or port than the state's.
    Mapping {
        /// Which state.
        state: StateId,
        /// Its reqid.
        reqid: u32,
        /// The peer's address and port as the state has them.
        old: SocketAddr,
        /// Where the packet came from.
        new: SocketAddr,
    },
    /// The kernel had more to tell than there was room for: some events are lost. Look at [`crate::XfrmDoor::states`].
    Lost,
}

/// Events, as they come.
pub struct EventStream(Source);

enum Source {
    Socket {
        socket: TokioSocket,
        ready: VecDeque<XfrmEvent>,
        buffer: Vec<u8>,
    },
    #[cfg(feature = "recording")]
    Channel(tokio::sync::mpsc::UnboundedReceiver<XfrmEvent>),
}

impl EventStream {
    pub(crate) fn open() -> Result<Self, XfrmError> {
        let socket = listen().map_err(|e| XfrmError::Refused {
            operation: Operation::Subscribe,
            errno: Errno::from_raw(e.raw_os_error().unwrap_or(0)),
            text: None,
        })?;
        Ok(Self(Source::Socket { socket, ready: VecDeque::new(), buffer: Vec::with_capacity(64 * 1024) }))
    }

    #[cfg(feature = "recording")]
    pub(crate) const fn channel(receiver: tokio::sync::mpsc::UnboundedReceiver<XfrmEvent>) -> Self {
        Self(Source::Channel(receiver))
    }

    /// The next event. Safe to drop and call again: no event is lost by it.
    ///
    /// # Errors
    /// The socket is broken, or (a recording door) the door is gone.
    pub async fn next(&mut self) -> io::Result<XfrmEvent> {
        match &mut self.0 {
            Source::Socket { socket, ready, buffer } => loop {
                if let Some(event) = ready.pop_front() {
                    return Ok(event);
                }
                buffer.clear();
                match socket.recv(buffer).await {
                    Ok(()) => ready.extend(events(buffer)),
                    Err(e) if e.raw_os_error() == Some(libc::ENOBUFS) => return Ok(XfrmEvent::Lost),
                    Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                    Err(e) => return Err(e),
                }
            },
            #[cfg(feature = "recording")]
            Source::Channel(receiver) => {
                receiver.recv().await.ok_or_else(|| io::Error::other("the recording door is gone"))
            }
        }
    }
}

fn listen() -> io::Result<TokioSocket> {
    let mut socket = TokioSocket::new(NETLINK_XFRM)?;
    socket.socket_ref().set_rx_buf_sz::<i32>(1 << 20)?;
    socket.socket_mut().bind(&NetlinkAddr::new(0, 0))?;
    let groups = [nl::XFRMNLGRP_ACQUIRE, nl::XFRMNLGRP_EXPIRE, nl::XFRMNLGRP_MAPPING];
    groups.into_iter().try_for_each(|group| socket.socket_ref().add_membership(group))?;
    Ok(socket)
}

fn events(datagram: &[u8]) -> impl Iterator<Item = XfrmEvent> {
    messages(datagram).filter_map(|(kind, _, _, payload)| match kind {
        nl::XFRM_MSG_EXPIRE => expired(payload),
        nl::XFRM_MSG_ACQUIRE => acquire(payload),
        nl::XFRM_MSG_MAPPING => mapping(payload),
        _ => None,
    })
}

fn expired(payload: &[u8]) -> Option<XfrmEvent> {
    let (body, attributes) = payload.split_at_checked(nl::XFRM_USER_EXPIRE_LEN)?;
    let nl::UserExpire { state, hard } = nl::UserExpire::parse(body).ok()?;
    Some(XfrmEvent::Expired {
        state: StateId {
            destination: address(&state.id.daddr, state.family)?,
            spi: state.id.spi,
            mark: mark(attributes),
        },
        reqid: state.reqid,
        if_id: if_id(attributes),
        hard: hard != 0,
        bytes: state.lifetime_cur.bytes,
        packets: state.lifetime_cur.packets,
    })
}

fn acquire(payload: &[u8]) -> Option<XfrmEvent> {
    let (body, attributes) = payload.split_at_checked(nl::XFRM_USER_ACQUIRE_LEN)?;
    let a = nl::UserAcquire::parse(body).ok()?;
    let template = attribute::find(attributes, nl::XFRMA_TMPL).and_then(|t| nl::UserTemplate::parse(t).ok());
    let outer = template.map_or(a.selector.family, |t| t.family);
    Some(XfrmEvent::Acquire {
        local: address(&a.saddr, outer)?,
        remote: address(&a.id.daddr, outer)?,
        reqid: template.map_or(0, |t| t.reqid),
        if_id: if_id(attributes),
        packet_source: address(&a.selector.saddr, a.selector.family)?,
        packet_destination: address(&a.selector.daddr, a.selector.family)?,
        protocol: a.selector.proto,
    })
}

fn mapping(payload: &[u8]) -> Option<XfrmEvent> {
    let m = nl::UserMapping::parse(payload).ok()?;
    let at = |a, port| address(a, m.id.family).map(|ip| SocketAddr::new(ip, port));
    Some(XfrmEvent::Mapping {
        state: StateId { destination: address(&m.id.daddr, m.id.family)?, spi: m.id.spi, mark: None },
        reqid: m.reqid,
        old: at(&m.old_saddr, m.old_sport)?,
        new: at(&m.new_saddr, m.new_sport)?,
    })
}

/// An address of a family that the kernel gives beside it.
pub(crate) fn address(a: &nl::Address, family: u16) -> Option<IpAddr> {
    match family {
        nl::AF_INET => Some(IpAddr::V4(a.to_ipv4())),
        nl::AF_INET6 => Some(IpAddr::V6(a.to_ipv6())),
        _ => None,
    }
}

pub(crate) fn if_id(attributes: &[u8]) -> Option<u32> {
    find_u32(attributes, nl::XFRMA_IF_ID).filter(|id| *id != 0)
}

pub(crate) fn mark(attributes: &[u8]) -> Option<Mark> {
    let m = nl::Mark::parse(attribute::find(attributes, nl::XFRMA_MARK)?).ok()?;
    (m.mask != 0).then_some(Mark { value: m.value, mask: m.mask })
}
