//! MOBIKE (RFC 4555): an IKE_SA and its CHILD_SAs go over other addresses, and both ends know. The initiator decides;
//! what is done to paths is in `ike/paths.rs`.

use core::net::{IpAddr, SocketAddr};

use adit_core::{Path, Step};
use adit_isakmp::payload::{Notify, NotifyType};
use adit_isakmp::{ExchangeType, Message, Payload};

use crate::api::Event;
use crate::channel::Channel;
use crate::explain;
use crate::ike::Ike;
use crate::natd::{self, Nat};
use crate::state::Cx;
use crate::task::{Move, Running, Task};

/// Addresses of a peer that are kept.
const MOST_ADDRESSES: usize = 16;

/// An update that a NAT stands in the way of is tried so often (RFC 4555 §3.9: as often as a request is sent).
const TRIES: u32 = 5;

/// What MOBIKE keeps of an IKE_SA.
pub(crate) struct Mobike {
    /// Where the peer can be reached besides, as it said last.
    pub(crate) peers: Vec<IpAddr>,
    /// Where we can be.
    pub(crate) ours: Vec<IpAddr>,
    /// Answers of the peer that a NAT was in the way, one after the other.
    refused: u32,
    /// The last response came over this path.
    pub(crate) via: Option<Path>,
    /// Its request had been sent over other paths besides.
    pub(crate) several: bool,
    /// Some of them from other addresses of ours.
    pub(crate) from_several: bool,
}

impl Mobike {
    /// With these addresses of the peer's and of ours.
    pub(crate) const fn of(peers: Vec<IpAddr>, ours: Vec<IpAddr>) -> Self {
        Self { peers, ours, refused: 0, via: None, several: false, from_several: false }
    }

    /// What IKE_AUTH agreed on: both ends have said that they speak it.
    pub(crate) fn agreed(ours: Option<&[IpAddr]>, message: &Message) -> Option<Box<Self>> {
        // [4555:4.2.1-2]
        message.notify(NotifyType::MOBIKE_SUPPORTED)?;
        Some(Box::new(Self::of(told(message).unwrap_or_default(), ours?.to_vec())))
    }
}

/// What IKE_AUTH says: that we speak MOBIKE, and where else we are.
pub(crate) fn supported(ours: &[IpAddr], channel: &Channel, first: bool) -> Vec<Payload> {
    // [4555:3.2-1] [4555:4.2.1-1]
    let mut out = vec![Payload::Notify(Notify::new(NotifyType::MOBIKE_SUPPORTED, []))];
    out.extend(additional(ours, channel.path));
    if first {
        out.extend(no_nats_allowed(channel));
    }
    out
}

/// Our addresses besides the one in use.
fn additional(ours: &[IpAddr], path: Path) -> impl Iterator<Item = Payload> {
    ours.iter().filter(move |a| **a != path.local.ip()).take(MOST_ADDRESSES / 2).map(|address| {
        Payload::Notify(match address {
            IpAddr::V4(a) => Notify::new(NotifyType::ADDITIONAL_IP4_ADDRESS, a.octets()),
            IpAddr::V6(a) => Notify::new(NotifyType::ADDITIONAL_IP6_ADDRESS, a.octets()),
        })
    })
}

/// The same, where none is something to say too (§3.6).
fn all_additional(ours: &[IpAddr], path: Path) -> Vec<Payload> {
    let list: Vec<Payload> = additional(ours, path).collect();
    if list.is_empty() {
        return vec![Payload::Notify(Notify::new(NotifyType::NO_ADDITIONAL_ADDRESSES, []))];
    }
    list
}

/// The addresses that a message tells; `None`: it tells of none.
fn told(message: &Message) -> Option<Vec<IpAddr>> {
    let mut said = None;
    for notify in message.notifies() {
        let address = match notify.kind {
            NotifyType::ADDITIONAL_IP4_ADDRESS => {
                <[u8; 4]>::try_from(notify.data.as_slice()).ok().map(IpAddr::from)
            }
            NotifyType::ADDITIONAL_IP6_ADDRESS => {
                <[u8; 16]>::try_from(notify.data.as_slice()).ok().map(IpAddr::from)
            }
            NotifyType::NO_ADDITIONAL_ADDRESSES => None,
            _ => continue,
        };
        let list: &mut Vec<IpAddr> = said.get_or_insert_default();
        list.extend(address.filter(|a| is_usable(*a) && list.len() < MOST_ADDRESSES && !list.contains(a)));
    }
    said
}

fn is_usable(address: IpAddr) -> bool {
    !address.is_unspecified() && !address.is_multicast() && !address.is_loopback()
}

/// Without NAT traversal nothing may change an address on the way (§3.9).
fn no_nats_allowed(channel: &Channel) -> Option<Payload> {
    // [4555:3.9-1]
    let forbidden = !channel.nat.supported;
    forbidden.then(|| {
        Payload::Notify(Notify::new(
            NotifyType::NO_NATS_ALLOWED,
            both_ends(channel.path.local, channel.path.remote),
        ))
    })
}

/// Source and destination, addresses first, then ports (§4.2.6).
fn both_ends(source: SocketAddr, destination: SocketAddr) -> Vec<u8> {
    let mut out = Vec::new();
    for address in [source.ip(), destination.ip()] {
        match address {
            IpAddr::V4(a) => out.extend(a.octets()),
            IpAddr::V6(a) => out.extend(a.octets()),
        }
    }
    out.extend([source.port(), destination.port()].into_iter().flat_map(u16::to_be_bytes));
    out
}

/// Whether a message that forbids NATs came as it was sent. Whatever else NO_NATS_ALLOWED says is not looked at.
pub(crate) fn came_as_sent(message: &Message, path: Path) -> bool {
    // [4555:3.9-2] [4555:3.9-3]
    let sent = message.notify(NotifyType::NO_NATS_ALLOWED);
    sent.is_none_or(|n| n.data == both_ends(path.remote, path.local))
}

/// A request of MOBIKE that is on its way.
pub(crate) struct Exchange {
    what: What,
    cookie: [u8; 16],
    /// The path that it was made for.
    path: Path,
    /// Further paths that it goes over, to see which of them work.
    pub(crate) over: Vec<Path>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum What {
    /// UPDATE_SA_ADDRESSES (§3.5).
    Update,
    /// Our addresses have changed (§3.6).
    Announce,
    /// Does a path work (§3.10), or does the peer receive where it says (§3.7)?
    Test,
}

/// `N(UPDATE_SA_ADDRESSES), N(NAT_DETECTION_*)` or `N(NO_NATS_ALLOWED)`, our addresses, `N(COOKIE2)`.
pub(crate) fn begin_update(ike: &mut Ike, cx: &mut Cx<'_>) -> Move {
    let Some(mobike) = &ike.mobike else { return Move::Done };
    let channel = &ike.sa.channel;
    let mut payloads = vec![Payload::Notify(Notify::new(NotifyType::UPDATE_SA_ADDRESSES, []))];
    payloads.extend(natd_of(channel, cx).into_iter().flatten());
    payloads.extend(no_nats_allowed(channel));
    payloads.extend(all_additional(&mobike.ours, channel.path));
    begin(ike, cx, What::Update, payloads, Vec::new())
}

/// `N(ADDITIONAL_*_ADDRESS)` or `N(NO_ADDITIONAL_ADDRESSES)`, `N(COOKIE2)`. A responder whose own address is new does
/// not know which of the peer's still works (§3.6).
pub(crate) fn begin_announce(ike: &mut Ike, cx: &mut Cx<'_>) -> Move {
    let Some(mobike) = &ike.mobike else { return Move::Done };
    let channel = &ike.sa.channel;
    let mut payloads = all_additional(&mobike.ours, channel.path);
    payloads.extend(no_nats_allowed(channel));
    let elsewhere =
        |a: &IpAddr| Path { remote: SocketAddr::new(*a, channel.path.remote.port()), ..channel.path };
    let fits = |a: &&IpAddr| a.is_ipv4() == channel.path.local.is_ipv4() && **a != channel.path.remote.ip();
    let over = match ike.dialled {
        true => Vec::new(),
        false => mobike.peers.iter().filter(fits).map(elsewhere).collect(),
    };
    begin(ike, cx, What::Announce, payloads, over)
}

/// `N(COOKIE2)`, also over these paths.
pub(crate) fn begin_test(ike: &mut Ike, cx: &mut Cx<'_>, over: Vec<Path>) -> Move {
    if ike.mobike.is_none() {
        return Move::Done;
    }
    begin(ike, cx, What::Test, Vec::new(), over)
}

fn begin(ike: &Ike, cx: &mut Cx<'_>, what: What, mut payloads: Vec<Payload>, over: Vec<Path>) -> Move {
    let mut cookie = <[u8; 16]>::default();
    // [4555:4.2.5-2] [4555:4.2.5-3]
    cx.shared.entropy.public(&mut cookie);
    payloads.push(Payload::Notify(Notify::new(NotifyType::COOKIE2, cookie)));
    let exchange = Exchange { what, cookie, path: ike.sa.channel.path, over };
    Move::Send(Running::Mobike(Box::new(exchange)), ExchangeType::INFORMATIONAL, payloads)
}

/// Our NAT detection for a message over the channel's path, where the peer speaks it.
fn natd_of(channel: &Channel, cx: &mut Cx<'_>) -> Option<[Payload; 2]> {
    let spis = (channel.spi_i, channel.spi_r);
    let fake = channel.nat.forced.then(|| {
        let mut hash = [0; 20];
        cx.shared.entropy.public(&mut hash);
        hash
    });
    channel.nat.supported.then(|| natd::payloads(&*cx.shared.crypto, spis, channel.path, fake))
}

/// What a liveness check has beside nothing: whether our NAT has another mapping (§3.8).
pub(crate) fn liveness(ike: &Ike, cx: &mut Cx<'_>) -> Vec<Payload> {
    let asks = ike.mobike.is_some() && ike.dialled && ike.sa.channel.nat.local;
    if !asks {
        return Vec::new();
    }
    natd_of(&ike.sa.channel, cx).into_iter().flatten().collect()
}

/// The answer to that.
pub(crate) fn lives(ike: &mut Ike, cx: &mut Cx<'_>, response: &Message) {
    let channel = &mut ike.sa.channel;
    let spis = (channel.spi_i, channel.spi_r);
    let Some(now) = Nat::detect(&*cx.shared.crypto, spis, channel.path, response) else { return };
    let before = core::mem::replace(&mut channel.nat.seen, now.seen);
    if ike.mobike.is_some() && ike.dialled && before.is_some_and(|before| Some(before) != now.seen) {
        ike.enqueue_first(Task::Update);
    }
}

impl Exchange {
    /// Whether it tells the peer to move.
    pub(crate) fn updates(&self) -> bool {
        self.what == What::Update
    }

    /// The response came.
    pub(crate) fn answered(self, ike: &mut Ike, cx: &mut Cx<'_>, response: &Message) -> Move {
        let cookie = response.notify(NotifyType::COOKIE2);
        // [4555:3.7-2]
        if cookie.is_none_or(|n| n.data != self.cookie) {
            let why =
                explain::misbehaved(Step::Established, "it answered with another COOKIE2 than it was sent");
            // [4555:3.7-3]
            ike.begin_close(cx, Task::DeleteIke, Err(why));
            return Move::Done;
        }
        let moved = self.path != ike.sa.channel.path;
        // [4555:3.6-1]
        let unclear = ike.mobike.as_ref().is_some_and(|m| m.from_several);
        match self.what {
            What::Update => self.updated(ike, cx, response),
            What::Announce if moved || unclear => ike.enqueue_first(Task::Announce),
            // The exception of §3.7: which address has answered is not known.
            What::Test if moved && !ike.dialled => ike.enqueue_first(Task::Test(Vec::new())),
            What::Announce | What::Test => {}
        }
        Move::Done
    }

    fn updated(self, ike: &mut Ike, cx: &mut Cx<'_>, response: &Message) {
        let path = ike.sa.channel.path;
        // What has changed since is told by the next one.
        if self.path != path {
            return;
        }
        let Some(mobike) = &mut ike.mobike else { return };
        // The peer has taken the copy that came over another path, and is there now.
        if let Some(via) = mobike.via.filter(|via| *via != path) {
            return ike.move_to(cx, via);
        }
        if response.notify(NotifyType::UNEXPECTED_NAT_DETECTED).is_some() {
            mobike.refused = mobike.refused.saturating_add(1);
            match mobike.refused < TRIES {
                true => ike.enqueue_first(Task::Update),
                false => cx.event(Event::PathRefused { path }),
            }
            return;
        }
        mobike.refused = 0;
        // It may have taken a copy that came over another path, and have answered this one with the same words.
        if mobike.several {
            ike.enqueue_first(Task::Update);
        }
        if response.notify(NotifyType::UNACCEPTABLE_ADDRESSES).is_some() {
            cx.event(Event::PathRefused { path });
            return;
        }
        let channel = &ike.sa.channel;
        let spis = (channel.spi_i, channel.spi_r);
        if let Some(nat) = Nat::detect(&*cx.shared.crypto, spis, path, response) {
            ike.go_over(cx, path, nat);
        }
    }
}

/// What an INFORMATIONAL request says about addresses is done; what belongs into the response.
pub(crate) fn answer(ike: &mut Ike, cx: &mut Cx<'_>, message: &Message, path: Path) -> Vec<Payload> {
    let mut out = Vec::new();
    if ike.mobike.is_none() {
        return out;
    }
    let updates = message.notify(NotifyType::UPDATE_SA_ADDRESSES).is_some();
    let told = told(message);
    if (updates || told.is_some()) && !came_as_sent(message, path) {
        out.push(Payload::Notify(Notify::new(NotifyType::UNEXPECTED_NAT_DETECTED, [])));
    } else {
        if updates && !ike.peer_moves(cx, message, path) {
            out.push(Payload::Notify(Notify::new(NotifyType::UNACCEPTABLE_ADDRESSES, [])));
        }
        if let Some(told) = told {
            ike.peer_is_also_at(cx, path.remote.ip(), told);
        }
    }
    let channel = &ike.sa.channel;
    let spis = (channel.spi_i, channel.spi_r);
    // [4555:3.8-1]
    if message.notify(NotifyType::NAT_DETECTION_SOURCE_IP).is_some() {
        out.extend(natd::payloads(&*cx.shared.crypto, spis, path, None));
    }
    // [4555:3.7-1]
    out.extend(message.notify(NotifyType::COOKIE2).map(|n| Payload::Notify(n.clone())));
    out
}

/// Whether the peer may be there, as far as the addresses themselves tell.
pub(crate) fn is_acceptable(path: Path) -> bool {
    is_usable(path.remote.ip()) && path.remote.port() != 0
}
