//! The path of an IKE_SA: where both ends are, how that changes, and which paths answer (RFC 7296 §2.23, RFC 4555).

use core::net::{IpAddr, SocketAddr};

use adit_core::{Instant, Path};
use adit_isakmp::Message;

use super::{Ike, Sa};
use crate::api::{ChildMode, Event};
use crate::linger::Answered;
use crate::natd::Nat;
use crate::state::{Cx, Datagram};
use crate::task::{Running, Task, mobike};

/// A response that came over one of several paths: over which else it may come.
pub(super) struct Echo {
    message_id: u32,
    digest: [u8; 20],
    over: Vec<(Path, Instant)>,
}

impl Ike {
    /// A NATed peer is where its newest authenticated request came from (RFC 7296 §2.23), unless we are behind a NAT
    /// ourselves: then the peer's address is what we dialled. With MOBIKE it says where it is.
    pub(super) fn follow(&mut self, cx: &mut Cx<'_>, datagram: &Datagram) {
        // [4555:3.8-2]
        if self.mobike.is_none() {
            self.moved_to(cx, datagram.path.remote);
        }
    }

    /// The peer has proven that it is there.
    pub(super) fn moved_to(&mut self, cx: &mut Cx<'_>, remote: SocketAddr) {
        let channel = &self.sa.channel;
        // [7296:2.23-1]
        if remote != channel.path.remote && channel.nat.remote && !channel.nat.local {
            self.go_over(cx, Path { remote, ..channel.path }, channel.nat);
            self.moved = cx.now;
        }
    }

    /// From now on everything goes over this path. The driver is told, if it is news.
    pub(crate) fn go_over(&mut self, cx: &mut Cx<'_>, path: Path, nat: Nat) {
        let before = (self.sa.channel.path, self.sa.channel.nat.encapsulates());
        for sa in core::iter::once(&mut self.sa).chain(self.others.iter_mut().map(|o| &mut o.sa)) {
            sa.channel.go_over(path);
            sa.channel.nat = Nat { forced: sa.channel.nat.forced, ..nat };
        }
        let encapsulated = self.sa.channel.nat.encapsulates();
        if let Some(pair) = self.pair.filter(|_| before.0.remote.ip() != path.remote.ip()) {
            cx.shared.peers.insert((pair, cx.sa), path.remote.ip());
        }
        if before != (path, encapsulated) {
            cx.event(Event::PathChanged { path, encapsulated });
        }
    }

    /// We go over this path (RFC 4555 §3.5), and so does what has not been answered yet.
    pub(crate) fn move_to(&mut self, cx: &mut Cx<'_>, path: Path) {
        let nat = self.sa.channel.nat;
        if self.closing.is_some() || path.local.is_ipv4() != path.remote.is_ipv4() {
            return;
        }
        if self.mobike.is_none() {
            if self.dialled && path.remote == self.sa.channel.path.remote {
                self.go_over(cx, path, nat);
                self.resend(cx);
                // Who knows us to be behind a NAT follows what we send (RFC 7296 §2.23), and needs no more.
                if nat.local {
                    self.enqueue_first(Task::Liveness);
                }
            }
            return;
        }
        // What a NAT is likely to be in front of goes in UDP until the peer says that there is none.
        let suspected = nat.supported && is_private(path.local.ip()) && !is_private(path.remote.ip());
        self.go_over(cx, path, Nat { local: nat.local || suspected, ..nat });
        self.resend(cx);
        self.enqueue_first(if self.dialled { Task::Update } else { Task::Announce });
    }

    /// The request on its way goes over the path in use, as if it were new.
    fn resend(&mut self, cx: &mut Cx<'_>) {
        let timing = self.timing();
        for sa in core::iter::once(&mut self.sa).chain(self.others.iter_mut().map(|o| &mut o.sa)) {
            if sa.resend(cx, &timing) {
                self.sent = cx.now;
            }
        }
    }

    /// A request that was given up as unanswered is asked again: there is reason to think that the peer can be reached.
    fn revive(&mut self, cx: &mut Cx<'_>) {
        if self.sa.rests() {
            self.resend(cx);
        }
    }

    /// The peer has asked something, so it lives: what it has left unanswered is asked again, from the beginning. On its
    /// way back the answer may have met a NAT that was closed, and is open now.
    pub(super) fn peer_lives(&mut self, cx: &mut Cx<'_>) {
        let timing = self.timing();
        // [7296:2.4-4]
        if self.closing.is_some() || !self.sa.hesitates(cx.now, &timing) {
            return;
        }
        if self.sa.resend(cx, &timing) {
            self.sent = cx.now;
        }
    }

    /// Which of these paths work? What is on its way goes over them too; if nothing is, a test.
    pub(super) fn probe(&mut self, cx: &mut Cx<'_>, mut paths: Vec<Path>) {
        paths.truncate(MOST_PATHS);
        paths.retain(|p| p.local.is_ipv4() == p.remote.is_ipv4());
        if self.closing.is_some() || self.mobike.is_none() {
            return;
        }
        self.revive(cx);
        if !self.sa.also(cx, &paths) {
            self.queue.retain(|t| !matches!(t, Task::Test(_)));
            self.enqueue_first(Task::Test(paths));
        }
    }

    /// Where we can be reached, from now on.
    pub(super) fn addresses(&mut self, addresses: Vec<IpAddr>) {
        let Some(mobike) = &mut self.mobike else { return };
        let before = core::mem::replace(&mut mobike.ours, addresses);
        let in_use = self.sa.channel.path.local.ip();
        // Who has lost that one moves next, and tells everything with that.
        if !mobike.ours.contains(&in_use) {
            return;
        }
        let besides = |list: &[IpAddr]| list.iter().copied().filter(|a| *a != in_use).collect::<Vec<_>>();
        let news = besides(&before) != besides(&mobike.ours);
        if news && !self.queue.iter().any(|t| matches!(t, Task::Announce | Task::Update)) {
            self.enqueue(Task::Announce);
        }
    }

    /// Before everything else that waits, and once.
    pub(crate) fn enqueue_first(&mut self, task: Task) {
        let same = |t: &Task| core::mem::discriminant(t) == core::mem::discriminant(&task);
        if self.closing.is_none() && !self.queue.iter().any(same) {
            self.queue.push_front(task);
        }
    }

    /// UPDATE_SA_ADDRESSES of the peer: it is where its request came from. `false`: it can't be.
    pub(crate) fn peer_moves(&mut self, cx: &mut Cx<'_>, message: &Message, path: Path) -> bool {
        // Transport mode is between two addresses.
        let tied = self.children.iter().any(|c| c.mode == ChildMode::Transport);
        if self.dialled || tied || !mobike::is_acceptable(path) {
            return false;
        }
        let channel = &self.sa.channel;
        let (before, spis) = (channel.path, (channel.spi_i, channel.spi_r));
        let nat = Nat::detect(&*cx.shared.crypto, spis, path, message).unwrap_or(channel.nat);
        self.go_over(cx, path, nat);
        self.moved = cx.now;
        if before != path {
            self.resend(cx);
        }
        if before.remote.ip() != path.remote.ip() {
            self.enqueue_first(Task::Test(Vec::new()));
        }
        true
    }

    /// The peer's addresses, as it tells them.
    pub(crate) fn peer_is_also_at(&mut self, cx: &mut Cx<'_>, speaks_from: IpAddr, others: Vec<IpAddr>) {
        let Some(mobike) = &mut self.mobike else { return };
        let mut addresses = vec![speaks_from];
        addresses.extend(others.iter().copied().filter(|a| *a != speaks_from));
        mobike.peers = others;
        cx.event(Event::PeerAddresses { addresses });
    }

    /// A response came over this path.
    pub(super) fn answered_over(&mut self, cx: &mut Cx<'_>, via: Path, sent: &[(Path, Instant)]) {
        let Some(mobike) = &mut self.mobike else { return };
        let at = sent.iter().rev().find(|(path, _)| *path == via).map(|(_, at)| *at);
        mobike.via = at.map(|_| via);
        mobike.several = sent.iter().any(|(path, _)| *path != via);
        mobike.from_several = sent.iter().any(|(path, _)| path.local.ip() != via.local.ip());
        if let Some(at) = at.filter(|_| self.dialled) {
            cx.event(Event::PathProbed { path: via, round_trip: cx.now.since(at) });
        }
    }

    /// The same response again, over another path: that one works, too.
    pub(super) fn is_echo(&mut self, cx: &mut Cx<'_>, datagram: &Datagram) -> bool {
        let Some(echo) = self.sa.echo.as_deref_mut().filter(|e| e.message_id == datagram.message_id) else {
            return false;
        };
        let at = echo.over.iter().position(|(path, _)| *path == datagram.path);
        let Some(at) = at.filter(|_| Answered::digest(cx, &datagram.bytes) == echo.digest) else {
            return false;
        };
        let (path, sent) = echo.over.swap_remove(at);
        cx.event(Event::PathProbed { path, round_trip: cx.now.since(sent) });
        true
    }

    /// Whether the IKE_SA waits for its driver, where a peer does not answer: it may be reached over another path.
    pub(super) fn outlives_silence(&self) -> bool {
        self.dialled && self.mobike.is_some() && self.closing.is_none()
    }

    /// Whether the request on its way is an UPDATE_SA_ADDRESSES.
    pub(super) fn updates(&self) -> bool {
        let running = self.sa.current.as_deref().map(|c| &c.running);
        matches!(running, Some(Running::Mobike(exchange)) if exchange.updates())
    }
}

/// Paths that are tried at once.
const MOST_PATHS: usize = 16;

impl Sa {
    /// What may come again over the other paths that its request was sent over.
    pub(super) fn expect_echoes(
        &mut self,
        message_id: u32,
        digest: [u8; 20],
        via: Path,
        sent: &[(Path, Instant)],
    ) {
        let mut over: Vec<(Path, Instant)> = Vec::new();
        for (path, at) in sent.iter().filter(|(path, _)| *path != via) {
            over.retain(|(other, _)| other != path);
            over.push((*path, *at));
        }
        self.echo = (!over.is_empty()).then(|| Box::new(Echo { message_id, digest, over }));
    }
}

/// Addresses that no packet has on the Internet: who has one is behind a NAT there (RFC 1918, RFC 6598, RFC 4193).
fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(a) => a.is_private() || a.is_link_local() || matches!(a.octets(), [100, 64..=127, ..]),
        IpAddr::V6(a) => a.is_unique_local(),
    }
}
