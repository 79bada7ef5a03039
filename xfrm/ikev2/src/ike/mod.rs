//! A connection after IKE_AUTH: its IKE_SA, its CHILD_SAs, and a queue of tasks. The same code for the original
//! initiator and responder.

mod child;
mod exchange;
mod others;
mod paths;
mod pending;
mod resumption;
mod sa;
mod snapshot;
mod under_way;

use std::collections::VecDeque;
use std::sync::Arc;

use core::time::Duration;

use adit_core::{Failure, Identity, Instant};
use zeroize::Zeroizing;

use crate::api::{Answer, AskId, ChildConfig, ChildId, Event, Lease, Timer};
use crate::channel::Handshake;
use crate::explain;
use crate::linger::{Answered, Linger};
use crate::policy::Policy;
use crate::request::Retry;
use crate::state::{Cx, Datagram, Next, Order, Pair, Role, Stage, State};
use crate::task::Task;
use crate::task::mobike::Mobike;

pub(crate) use child::{Child, Kernel, TIDY_AFTER};
use others::Other;
use pending::Pending;
pub(crate) use resumption::Resumption;
use sa::Answering;
pub(crate) use sa::Sa;

/// Everything of one connection.
pub(crate) struct Ike {
    pub(crate) sa: Sa,
    /// Those that it was rekeyed from, and the like: rarely any, and never for long.
    others: Vec<Other>,
    pub(crate) children: Vec<Child>,
    pub(crate) remote_id: Identity,
    pub(crate) policy: Arc<Policy>,
    /// Whether we dialled.
    pub(crate) dialled: bool,
    /// The two identities, where the peer dialled.
    pair: Option<Pair>,
    /// What we hold of the peer's, as initiator; what it holds of ours, as responder.
    pub(crate) lease: Lease,
    /// The peer rekeys CHILD_SAs without a key exchange.
    pub(crate) without_pfs: bool,
    queue: VecDeque<Task>,
    /// What is to be tried again then.
    postponed: Vec<(Instant, Task)>,
    /// When to rekey the IKE_SA.
    pub(crate) rekey_at: Option<Instant>,
    /// When its life is over (RFC 7296 §2.8).
    pub(crate) expires_at: Option<Instant>,
    /// When the peer wants, or we want, identities proven again.
    reauthenticate_at: Option<Instant>,
    /// What the same peer has here besides goes when this one is in use.
    takes_over: bool,
    /// What the peer is to follow up.
    pending: Option<Box<Pending>>,
    /// When the peer was last seen to move.
    moved: Instant,
    /// MOBIKE, where both ends speak it.
    pub(crate) mobike: Option<Box<Mobike>>,
    /// How its session can be resumed.
    resumption: Option<Box<Resumption>>,
    /// Since when the peer has said TEMPORARY_FAILURE to everything (RFC 7296 §2.25).
    put_off: Option<Instant>,
    /// When the last datagram was sent: a NAT mapping lives from it.
    sent: Instant,
    closing: Option<Box<Closing>>,
    /// A responder's that has no CHILD_SA, because of this: it is closed when the time comes.
    childless: Option<Box<Childless>>,
}

struct Closing {
    result: Result<(), Failure>,
    /// However the peer behaves, it ends now.
    by: Instant,
}

struct Childless {
    until: Instant,
    why: Failure,
}

/// What an IKE_SA starts from.
pub(crate) struct Start {
    /// Its keys. What only IKE_AUTH needed of it is let go.
    pub(crate) handshake: Box<Handshake>,
    pub(crate) remote_id: Identity,
    /// The two identities, of a responder.
    pub(crate) pair: Option<Pair>,
    pub(crate) policy: Policy,
    pub(crate) lease: Lease,
    pub(crate) answered: Option<Answered>,
    pub(crate) mobike: Option<Box<Mobike>>,
    pub(crate) resumption: Option<Box<Resumption>>,
}

impl Ike {
    /// An IKE_SA after IKE_AUTH, whose Message ID is the last that the original initiator has used.
    pub(crate) fn new(cx: &mut Cx<'_>, start: Start) -> Box<Self> {
        let next = start.handshake.auth_id().saturating_add(1);
        let channel = start.handshake.channel;
        let (next_id, expected) = match channel.role {
            Role::Initiator => (next, 0),
            Role::Responder => (0, next),
        };
        let sa = Sa {
            next_id,
            expected,
            answered: start.answered.map(|a| (a, cx.now)),
            ..Sa::new(channel, start.handshake.suite, start.handshake.keys.d)
        };
        let rekey_at = cx.after_most_of(start.policy.timing.rekey_ike);
        let expires_at = cx.life(start.policy.timing.rekey_ike);
        let dialled = sa.channel.role == Role::Initiator;
        let reauthenticate = start.policy.timing.reauthenticate;
        let reauthenticate_at = cx.after_most_of(reauthenticate).filter(|_| dialled);
        if let Some(pair) = start.pair {
            cx.shared.peers.insert((pair, cx.sa), sa.channel.path.remote.ip());
        }
        Box::new(Self {
            dialled,
            pair: start.pair,
            sa,
            reauthenticate_at,
            takes_over: false,
            pending: None,
            moved: cx.now,
            mobike: start.mobike,
            resumption: start.resumption,
            others: Vec::new(),
            rekey_at,
            expires_at,
            without_pfs: false,
            postponed: Vec::new(),
            put_off: None,
            children: Vec::new(),
            remote_id: start.remote_id,
            policy: cx.shared.share(start.policy),
            lease: start.lease,
            queue: VecDeque::new(),
            sent: cx.now,
            closing: None,
            childless: None,
        })
    }

    /// It has this CHILD_SA.
    pub(crate) fn with_child(mut self: Box<Self>, cx: &mut Cx<'_>, mut child: Child) -> Box<Self> {
        child.esp = Arc::clone(&self.policy.esp);
        child.due = self.rekey_child_at(cx);
        child.expires_at = cx.life(self.policy.timing.rekey_child);
        self.children = vec![child];
        self
    }

    /// A responder's whose CHILD_SA failed: the peer may close it, or we do after a while (RFC 7296 §1.2: the IKE_SA
    /// is up all the same).
    pub(crate) fn without_child(mut self: Box<Self>, until: Instant, why: Failure) -> Box<Self> {
        self.childless = Some(Box::new(Childless { until, why }));
        self
    }

    /// An IKE_SA of an initiator that is not wanted after all: says so by `task`, and ends as `result`.
    pub(crate) fn ending(
        mut self: Box<Self>,
        cx: &mut Cx<'_>,
        task: Task,
        result: Result<(), Failure>,
    ) -> Next {
        self.begin_close(cx, task, result);
        self.settle(cx)
    }

    /// After IKE_AUTH: what else the connection is to have.
    pub(crate) fn with_more(mut self: Box<Self>, cx: &mut Cx<'_>, children: Vec<ChildConfig>) -> Next {
        children.into_iter().for_each(|child| self.enqueue(Task::New(Box::new(child))));
        self.settle(cx)
    }

    /// The peer wants its peer to prove itself again within so many seconds (RFC 4478 §3). Some time is left for that.
    pub(crate) fn authenticated_for(&mut self, cx: &Cx<'_>, lifetime: Duration) {
        if self.dialled {
            let margin = (lifetime / 10).max(Duration::from_secs(30)).min(lifetime / 2);
            let at = cx.now + lifetime.saturating_sub(margin);
            self.reauthenticate_at = Some(self.reauthenticate_at.map_or(at, |before| before.min(at)));
        }
    }

    /// It is over.
    fn finish(mut self: Box<Self>, cx: &mut Cx<'_>, result: Result<(), Failure>) -> Next {
        self.drop_pending(cx);
        for child in core::mem::take(&mut self.children) {
            if child.kernel == Kernel::In {
                child.closed(cx, None);
            }
        }
        if let Some(pair) = self.pair {
            cx.shared.peers.remove(&(pair, cx.sa));
            // What it has besides is all that carries now.
            let heirs: Vec<_> = cx.shared.up_with(pair).map(|(sa, _)| sa).collect();
            cx.shared.heirs.extend(heirs);
        }
        if !self.dialled && self.lease != Lease::default() {
            cx.event(Event::Released(core::mem::take(&mut self.lease)));
        }
        // What a responder's IKE_SA without a CHILD_SA ends with is why it had none.
        let result = match (self.childless.take(), self.closing.take()) {
            (Some(childless), _) => Err(childless.why),
            (None, Some(closing)) => closing.result,
            (None, None) => result,
        };
        self.settle_ticket(cx.now, cx.shared, &result);
        match self.sa.answered.take() {
            Some((answered, _)) => {
                let ours = self.sa.our_spi();
                self.release_spis(cx, Some(ours));
                let channel = &self.sa.channel;
                let linger = Linger::new(cx, answered, channel.role, (ours, channel.peer_spi()));
                Next::ClosedAfter(result, linger)
            }
            None => {
                self.release_spis(cx, None);
                Next::Closed(result)
            }
        }
    }

    /// What a driver did not answer in time.
    fn give_up_waiting(&mut self, cx: &mut Cx<'_>) -> Option<Result<(), Failure>> {
        let now = cx.now;
        if let Some(running) = self.sa.take_current(|_, until| until <= now) {
            let next = running.unanswered(self, cx);
            return self.go(cx, next);
        }
        let (spi, answering) = self.take_answering(|_, until| until <= now)?;
        let turn = answering.job.unanswered(self, cx);
        self.turn(cx, spi, answering.asked, turn)
    }

    fn take_answering(&mut self, which: impl Fn(AskId, Instant) -> bool) -> Option<(u64, Box<Answering>)> {
        let all = core::iter::once(&mut self.sa).chain(self.others.iter_mut().map(|o| &mut o.sa));
        all.filter_map(|sa| Some((sa.our_spi(), sa.take_answering(&which)?))).next()
    }

    fn dead_peer_at(&self) -> Option<Instant> {
        let patience = self.policy.timing.dead_peer;
        let idle = self.sa.current.is_none() && self.closing.is_none() && !self.is_being_replaced();
        let asks = idle && !patience.is_zero();
        asks.then(|| self.sa.channel.heard + patience)
    }

    /// RFC 3948 §4: only who is behind the NAT keeps its mapping alive.
    fn keepalive_at(&self) -> Option<Instant> {
        let interval = self.policy.timing.keepalive;
        let behind = self.sa.channel.nat.local && !interval.is_zero();
        behind.then(|| self.sent + interval)
    }

    fn lost(&self, cx: &Cx<'_>) -> Failure {
        let silent = cx.now.since(self.sa.channel.heard);
        explain::peer_lost(&self.remote_id, self.sa.channel.path, silent)
    }
}

impl State for Ike {
    fn datagram(self: Box<Self>, cx: &mut Cx<'_>, datagram: Datagram) -> Next {
        // [7296:2.3-3]
        if datagram.is_response { self.response(cx, datagram) } else { self.request(cx, datagram) }
    }

    fn answer(mut self: Box<Self>, cx: &mut Cx<'_>, id: AskId, answer: Answer) -> Next {
        let ends = if let Some(running) = self.sa.take_current(|waits, _| waits == id) {
            let next = running.answer(&mut self, cx, id, answer);
            self.go(cx, next)
        } else if let Some((spi, answering)) = self.take_answering(|waits, _| waits == id) {
            let turn = answering.job.answer(&mut self, cx, id, answer);
            self.turn(cx, spi, answering.asked, turn)
        } else {
            self.outbound_answered(cx, id, &answer);
            self.installed_late(cx, id, &answer);
            None
        };
        match ends {
            Some(result) => self.finish(cx, result),
            None => self.settle(cx),
        }
    }

    fn wake(mut self: Box<Self>, cx: &mut Cx<'_>) -> Next {
        if let Some(closing) = self.closing.take_if(|c| c.by <= cx.now) {
            // The window may still be taken by a request that nobody answers. If the peer has answered it, it will
            // read one more.
            if self.sa.current.as_ref().is_some_and(|c| !c.running.is_last()) {
                self.courtesy(cx);
            }
            return self.finish(cx, closing.result);
        }
        if let Some(childless) = self.childless.take_if(|c| c.until <= cx.now) {
            self.begin_close(cx, Task::DeleteIke, Err(childless.why));
        }
        // [7296:2.8-1] [7296:2.8-2]
        if self.expires_at.take_if(|at| *at <= cx.now).is_some() {
            let why = explain::never_rekeyed("IKE_SA", &self.remote_id);
            self.begin_close(cx, Task::DeleteIke, Err(why));
        }
        let (retry, sent) = self.sa.wake(cx);
        if sent {
            self.sent = cx.now;
            if self.outlives_silence() {
                let sent = self.sa.times_sent();
                cx.event(Event::Unanswered { sent, updates: self.updates() });
            }
        }
        let spi = self.sa.our_spi();
        if retry == Retry::GivenUp && self.take_candidate(cx) {
            self.other_gone(cx, spi);
        } else if retry == Retry::GivenUp && self.outlives_silence() {
            self.sa.rest();
            cx.event(Event::PathDead);
        } else if retry == Retry::GivenUp {
            let lost = self.lost(cx);
            let result = self.closing.take().map_or(Err(lost), |c| c.result);
            return self.finish(cx, result);
        }
        if let Some(result) = self.give_up_waiting(cx) {
            return self.finish(cx, result);
        }
        self.wake_pending(cx);
        self.wake_others(cx);
        self.wake_children(cx);
        if self.rekey_at.take_if(|at| *at <= cx.now).is_some() {
            self.want_rekey();
        }
        if self.reauthenticate_at.take_if(|at| *at <= cx.now).is_some() && self.closing.is_none() {
            cx.event(Event::ReauthenticationDue);
        }
        self.take_up_postponed(cx);
        self.wake_ticket(cx.now);
        if self.dead_peer_at().is_some_and(|at| at <= cx.now) {
            self.enqueue(Task::Liveness);
        }
        if self.keepalive_at().is_some_and(|at| at <= cx.now) {
            cx.transmit(self.sa.channel.path, vec![0xff]);
            self.sent = cx.now;
        }
        self.settle(cx)
    }

    fn close(mut self: Box<Self>, cx: &mut Cx<'_>) -> Next {
        self.begin_close(cx, Task::DeleteIke, Ok(()));
        self.settle(cx)
    }

    fn input(mut self: Box<Self>, cx: &mut Cx<'_>, order: Order) -> Next {
        match order {
            Order::Rekey(Some(child)) => self.enqueue(Task::Rekey(child)),
            Order::Rekey(None) => self.want_rekey(),
            Order::Add(child) => self.enqueue(Task::New(child)),
            Order::Mapping(remote) => self.moved_to(cx, remote),
            Order::Move(path) => self.move_to(cx, path),
            Order::Probe(paths) => self.probe(cx, paths),
            Order::Addresses(list) => self.addresses(list),
            Order::Inherits => self.peer_has_all(cx),
            Order::Abandon => return self.finish(cx, Ok(())),
            // [5723:4.3.2-3]
            Order::Replaced { resumed: true } => {
                let why = explain::resumed(&self.remote_id);
                self.forget_ticket(cx.now, cx.shared);
                return self.finish(cx, Err(why));
            }
            Order::Replaced { resumed: false } => {
                let why = explain::replaced(&self.remote_id);
                self.begin_close(cx, Task::DeleteIke, Err(why));
            }
        }
        self.settle(cx)
    }

    fn close_child(mut self: Box<Self>, cx: &mut Cx<'_>, child: ChildId) -> Next {
        if self.children.iter().any(|c| c.id == child) {
            self.enqueue(Task::DeleteChild(child));
        }
        self.settle(cx)
    }

    fn deadline(&self) -> Option<(Instant, Timer)> {
        let request = self.sa.retransmits_at().map(|at| (at, Timer::Retransmit));
        let closing = self.closing.as_ref().map(|c| (c.by, Timer::Retransmit));
        let childless = self.childless.as_ref().map(|c| (c.until, Timer::HalfOpen));
        let dead_peer = self.dead_peer_at().map(|at| (at, Timer::DeadPeer));
        let keepalive = self.keepalive_at().map(|at| (at, Timer::Keepalive));
        let asks = self.sa.gives_up_at().map(|at| (at, Timer::Retransmit));
        let rekey_ike = self.rekey_at.filter(|_| self.closing.is_none());
        let prove = self.reauthenticate_at.filter(|_| self.closing.is_none());
        let life = self.expires_at.filter(|_| self.closing.is_none());
        let rekey = [self.children_at(), self.postponed_at(), rekey_ike, prove, life];
        let rekey = rekey.into_iter().flatten().min();
        let rekey = rekey.map(|at| (at, Timer::Rekey));
        let others = [self.others_at(), self.pending_at()].into_iter().flatten().min();
        let others = others.map(|at| (at, Timer::Retransmit));
        let ticket = self.ticket_at().map(|at| (at, Timer::Ticket));
        [ticket, request, closing, childless, dead_peer, keepalive, asks, rekey, others]
            .into_iter()
            .flatten()
            .min_by_key(|(at, _)| *at)
    }

    fn stage(&self) -> Stage {
        Stage::Established
    }

    fn role(&self) -> Role {
        self.sa.channel.role
    }

    fn peer_spi(&self) -> Option<u64> {
        Some(self.sa.channel.peer_spi())
    }

    fn our_spi(&self) -> Option<u64> {
        Some(self.sa.our_spi())
    }

    fn owns(&self, ours: u64, theirs: u64, role: Role) -> bool {
        self.has_sa(ours, theirs, role)
    }

    fn snapshot(&self) -> Option<Zeroizing<Vec<u8>>> {
        Self::snapshot(self)
    }
}
