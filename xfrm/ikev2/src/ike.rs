//! An IKE_SA after IKE_AUTH: one exchange that we have begun, one that the peer has begun (RFC 7296 §2.3, window 1),
//! and a queue of tasks. The same code for the original initiator and responder.

use std::collections::VecDeque;

use core::time::Duration;

use adit_core::{Failure, Identity, Instant};
use adit_isakmp::payload::{Notify, NotifyType};
use adit_isakmp::{ExchangeType, Message, Payload};

use crate::api::{Answer, AskId, ChildId, Event, Lease, Timer, Timing};
use crate::channel::{Channel, Unreadable};
use crate::explain;
use crate::linger::{Answered, Linger};
use crate::request::{Request, Retry};
use crate::state::{Cx, Datagram, Next, Role, Stage, State};
use crate::task::{self, Reply, Task};

/// Retransmissions of what is only a courtesy: closing, and telling a peer that it was refused.
const LAST_TRIES: u32 = 2;

/// Everything of one IKE_SA.
pub(crate) struct Ike {
    pub(crate) channel: Channel,
    pub(crate) children: Vec<Child>,
    remote_id: Identity,
    /// What the peer holds of ours, as responder.
    lease: Lease,
    timing: Timing,
    /// Message ID of our next request.
    next_id: u32,
    /// Message ID of the peer's next request.
    expected: u32,
    current: Option<(Task, Request)>,
    queue: VecDeque<Task>,
    answered: Option<Answered>,
    /// When the last datagram was sent: a NAT mapping lives from it.
    sent: Instant,
    closing: Option<Closing>,
    /// A responder's that has no CHILD_SA, because of this: it is closed when the time comes.
    childless: Option<(Instant, Failure)>,
}

/// One CHILD_SA.
pub(crate) struct Child {
    pub(crate) id: ChildId,
    pub(crate) inbound_spi: u32,
    pub(crate) outbound_spi: u32,
    /// We have asked the peer to delete it (RFC 7296 §1.4.1: the responses to two such requests that cross name
    /// nothing).
    pub(crate) deleting: bool,
}

struct Closing {
    result: Result<(), Failure>,
    /// However the peer behaves, it ends now.
    by: Instant,
}

/// What an IKE_SA starts from.
pub(crate) struct Start {
    pub(crate) channel: Channel,
    pub(crate) remote_id: Identity,
    pub(crate) timing: Timing,
    pub(crate) lease: Lease,
    pub(crate) answered: Option<Answered>,
}

impl Ike {
    /// An IKE_SA after the one exchange of IKE_AUTH. Message ID 1 has been used by the original initiator.
    pub(crate) fn new(cx: &Cx<'_>, start: Start) -> Box<Self> {
        let (next_id, expected) = match start.channel.role {
            Role::Initiator => (2, 0),
            Role::Responder => (0, 2),
        };
        Box::new(Self {
            channel: start.channel,
            children: Vec::new(),
            remote_id: start.remote_id,
            lease: start.lease,
            timing: start.timing,
            next_id,
            expected,
            current: None,
            queue: VecDeque::new(),
            answered: start.answered,
            sent: cx.now,
            closing: None,
            childless: None,
        })
    }

    /// It has this CHILD_SA.
    pub(crate) fn with_child(mut self: Box<Self>, child: Child) -> Box<Self> {
        self.children.push(child);
        self
    }

    /// A responder's whose CHILD_SA failed: the peer may close it, or we do after a while (RFC 7296 §1.2: the IKE_SA
    /// is up all the same).
    pub(crate) fn without_child(mut self: Box<Self>, until: Instant, why: Failure) -> Box<Self> {
        self.childless = Some((until, why));
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
        Next::State(self)
    }

    /// Begins to close. An earlier reason stands.
    pub(crate) fn begin_close(&mut self, cx: &mut Cx<'_>, task: Task, result: Result<(), Failure>) {
        if self.closing.is_some() {
            return;
        }
        let patience = self.last_timing().retransmit.saturating_mul(8);
        self.closing = Some(Closing { result, by: cx.now + patience.max(Duration::from_millis(100)) });
        self.queue.clear();
        self.queue.push_back(task);
        self.pump(cx);
    }

    /// Puts a task at the end of the queue.
    pub(crate) fn enqueue(&mut self, cx: &mut Cx<'_>, task: Task) {
        if self.closing.is_none() {
            self.queue.push_back(task);
            self.pump(cx);
        }
    }

    /// Sends the next task's request, if none is on its way.
    fn pump(&mut self, cx: &mut Cx<'_>) {
        while self.current.is_none() {
            let Some(task) = self.queue.pop_front() else {
                return;
            };
            let Some((exchange, payloads)) = task.build(self) else {
                continue;
            };
            let id = self.next_id;
            let Ok(bytes) = self.channel.seal(cx, exchange, id, false, &payloads) else {
                continue;
            };
            let timing = if self.closing.is_some() { self.last_timing() } else { self.timing };
            self.sent = cx.now;
            self.current = Some((task, Request::send(cx, self.channel.path, bytes, &timing)));
        }
    }

    fn last_timing(&self) -> Timing {
        Timing { tries: self.timing.tries.min(LAST_TRIES), ..self.timing }
    }

    fn request(mut self: Box<Self>, cx: &mut Cx<'_>, mut datagram: Datagram) -> Next {
        if datagram.message_id.wrapping_add(1) == self.expected {
            if let Some(answered) = &self.answered {
                answered.repeat(cx, &datagram);
            }
            return Next::State(self);
        }
        if datagram.message_id != self.expected {
            cx.ignore();
            return Next::State(self);
        }
        let digest = Answered::digest(cx, &datagram.bytes);
        let reply = match self.channel.open(cx, &mut datagram) {
            Err(Unreadable::Forged) => return Next::State(self),
            Err(Unreadable::Malformed(error)) => task::malformed(&error.to_string()),
            Ok(message) => self.reply_to(cx, &message),
        };
        self.follow(cx, &datagram);
        self.expected = self.expected.wrapping_add(1);
        let sealed = self.channel.seal(
            cx,
            ExchangeType(datagram.exchange),
            datagram.message_id,
            true,
            &reply.payloads,
        );
        let response = match sealed {
            Ok(response) => response,
            Err(failure) => return self.finish(cx, Err(failure)),
        };
        cx.transmit(datagram.path, response.clone());
        self.sent = cx.now;
        self.answered = Some(Answered::new(datagram.message_id, digest, response));
        match reply.ends {
            Some(result) => self.finish(cx, result),
            None => {
                self.close_if_empty(cx);
                Next::State(self)
            }
        }
    }

    fn reply_to(&mut self, cx: &mut Cx<'_>, message: &Message) -> Reply {
        // RFC 7296 §2.5: the whole message is rejected, the IKE_SA lives on.
        if let Some(kind) = message.unsupported_critical() {
            let notify = Notify::new(NotifyType::UNSUPPORTED_CRITICAL_PAYLOAD, [kind.0]);
            return Reply::of(vec![Payload::Notify(notify)]);
        }
        match message.header.exchange {
            ExchangeType::INFORMATIONAL => task::informational::answer(self, cx, message),
            ExchangeType::CREATE_CHILD_SA => task::create_child::answer(self, message),
            other => task::malformed(&format!("exchange type {other} after IKE_AUTH")),
        }
    }

    /// A NATed peer is where its newest authenticated request came from (RFC 7296 §2.23), unless we are behind a NAT
    /// ourselves: then the peer's address is what we dialled.
    fn follow(&mut self, cx: &mut Cx<'_>, datagram: &Datagram) {
        let moved = datagram.path.remote != self.channel.path.remote;
        if moved && self.channel.nat.remote && !self.channel.nat.local {
            self.channel.path.remote = datagram.path.remote;
            cx.event(Event::PathChanged { path: self.channel.path });
        }
    }

    fn response(mut self: Box<Self>, cx: &mut Cx<'_>, mut datagram: Datagram) -> Next {
        if self.current.is_none() || datagram.message_id != self.next_id {
            cx.ignore();
            return Next::State(self);
        }
        let Ok(message) = self.channel.open(cx, &mut datagram) else {
            return Next::State(self);
        };
        self.next_id = self.next_id.wrapping_add(1);
        let Some((task, _)) = self.current.take() else {
            return Next::State(self);
        };
        if let Some(result) = task.finished(&mut self, cx, &message) {
            let result = self.closing.take().map_or(result, |c| c.result);
            return self.finish(cx, result);
        }
        self.close_if_empty(cx);
        self.pump(cx);
        Next::State(self)
    }

    /// An IKE_SA whose last CHILD_SA is gone carries nothing.
    fn close_if_empty(&mut self, cx: &mut Cx<'_>) {
        if self.children.is_empty() && self.childless.is_none() && self.closing.is_none() {
            self.begin_close(cx, Task::DeleteIke, Err(explain::last_child_closed(&self.remote_id)));
        }
    }

    /// Takes a CHILD_SA off, and tells the driver.
    pub(crate) fn drop_child(&mut self, cx: &mut Cx<'_>, index: usize) {
        if index < self.children.len() {
            let child = self.children.remove(index);
            cx.event(Event::ChildClosed {
                child: child.id,
                inbound_spi: child.inbound_spi,
                outbound_spi: child.outbound_spi,
                replaced_by: None,
            });
        }
    }

    /// It is over.
    fn finish(mut self: Box<Self>, cx: &mut Cx<'_>, result: Result<(), Failure>) -> Next {
        while !self.children.is_empty() {
            self.drop_child(cx, 0);
        }
        if self.lease != Lease::default() {
            cx.event(Event::Released(core::mem::take(&mut self.lease)));
        }
        // What a responder's IKE_SA without a CHILD_SA ends with is why it had none.
        let result = match (self.childless.take(), self.closing.take()) {
            (Some((_, why)), _) => Err(why),
            (None, Some(closing)) => closing.result,
            (None, None) => result,
        };
        match self.answered.take() {
            Some(answered) => {
                let linger = Linger::new(cx, answered, self.channel.role, self.channel.peer_spi());
                Next::ClosedAfter(result, linger)
            }
            None => Next::Closed(result),
        }
    }

    fn wake_request(&mut self, cx: &mut Cx<'_>) -> Retry {
        let path = self.channel.path;
        match &mut self.current {
            Some((_, request)) => {
                let before = request.sent();
                let retry = request.wake(cx, path);
                if request.sent() != before {
                    self.sent = cx.now;
                }
                retry
            }
            None => Retry::Waiting,
        }
    }

    fn dead_peer_at(&self) -> Option<Instant> {
        let asks = self.current.is_none() && self.closing.is_none() && !self.timing.dead_peer.is_zero();
        asks.then(|| self.channel.heard + self.timing.dead_peer)
    }

    /// RFC 3948 §4: only who is behind the NAT keeps its mapping alive.
    fn keepalive_at(&self) -> Option<Instant> {
        let behind = self.channel.nat.local && !self.timing.keepalive.is_zero();
        behind.then(|| self.sent + self.timing.keepalive)
    }

    fn lost(&self, cx: &Cx<'_>) -> Failure {
        let silent = cx.now.since(self.channel.heard);
        explain::peer_lost(&self.remote_id, self.channel.path, silent)
    }
}

impl State for Ike {
    fn datagram(self: Box<Self>, cx: &mut Cx<'_>, datagram: Datagram) -> Next {
        if datagram.is_response { self.response(cx, datagram) } else { self.request(cx, datagram) }
    }

    fn answer(self: Box<Self>, _: &mut Cx<'_>, _: AskId, _: Answer) -> Next {
        Next::State(self)
    }

    fn wake(mut self: Box<Self>, cx: &mut Cx<'_>) -> Next {
        if let Some(closing) = self.closing.take_if(|c| c.by <= cx.now) {
            // The window may still be taken by a request that nobody answers. If the peer has answered it, it will
            // read one more.
            if self.current.as_ref().is_some_and(|(task, _)| !task.is_last()) {
                self.courtesy(cx);
            }
            return self.finish(cx, closing.result);
        }
        if let Some((_, why)) = self.childless.take_if(|(until, _)| *until <= cx.now) {
            self.begin_close(cx, Task::DeleteIke, Err(why));
        }
        if self.wake_request(cx) == Retry::GivenUp {
            let lost = self.lost(cx);
            let result = self.closing.take().map_or(Err(lost), |c| c.result);
            return self.finish(cx, result);
        }
        if self.dead_peer_at().is_some_and(|at| at <= cx.now) {
            self.enqueue(cx, Task::Liveness);
        }
        if self.keepalive_at().is_some_and(|at| at <= cx.now) {
            cx.transmit(self.channel.path, vec![0xff]);
            self.sent = cx.now;
        }
        Next::State(self)
    }

    fn close(mut self: Box<Self>, cx: &mut Cx<'_>) -> Next {
        self.begin_close(cx, Task::DeleteIke, Ok(()));
        Next::State(self)
    }

    fn close_child(mut self: Box<Self>, cx: &mut Cx<'_>, child: ChildId) -> Next {
        if self.children.iter().any(|c| c.id == child) {
            self.enqueue(cx, Task::DeleteChild(child));
        }
        Next::State(self)
    }

    fn deadline(&self) -> Option<(Instant, Timer)> {
        let request = self.current.as_ref().map(|(_, r)| (r.deadline(), Timer::Retransmit));
        let closing = self.closing.as_ref().map(|c| (c.by, Timer::Retransmit));
        let childless = self.childless.as_ref().map(|(at, _)| (*at, Timer::HalfOpen));
        let dead_peer = self.dead_peer_at().map(|at| (at, Timer::DeadPeer));
        let keepalive = self.keepalive_at().map(|at| (at, Timer::Keepalive));
        [request, closing, childless, dead_peer, keepalive].into_iter().flatten().min_by_key(|(at, _)| *at)
    }

    fn stage(&self) -> Stage {
        Stage::Established
    }

    fn role(&self) -> Role {
        self.channel.role
    }

    fn peer_spi(&self) -> Option<u64> {
        Some(self.channel.peer_spi())
    }
}

impl Ike {
    /// Tells the peer once, without waiting, that the IKE_SA is gone, in the Message ID after the one that is on its
    /// way: a peer that has answered that one reads it, another drops it and finds out by itself.
    pub(crate) fn courtesy(&mut self, cx: &mut Cx<'_>) {
        let id = self.next_id.wrapping_add(u32::from(self.current.is_some()));
        let payloads = [Payload::Delete(adit_isakmp::payload::Delete::Ike)];
        if let Ok(bytes) = self.channel.seal(cx, ExchangeType::INFORMATIONAL, id, false, &payloads) {
            cx.transmit(self.channel.path, bytes);
        }
    }
}
