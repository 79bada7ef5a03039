//! Requests and responses of an IKE_SA that is up (RFC 7296 §2.1 to §2.3).

use core::time::Duration;

use adit_core::{Failure, Path, Step};
use adit_isakmp::payload::{NotifyType, Protocol};
use adit_isakmp::{ExchangeType, Message, Payload};

use super::child::PATIENCE;
use super::sa::{Answering, Asked, Current, Waits};
use super::{Closing, Ike, Kernel, Sa};
use crate::api::Timing;
use crate::channel::Unreadable;
use crate::explain;
use crate::linger::Answered;
use crate::state::{Cx, Datagram, Next};
use crate::task::{self, Move, Reply, Running, Task, Turn};
use crate::wire;

/// Retransmissions of what is only a courtesy: closing, and telling a peer that it was refused.
const LAST_TRIES: u32 = 2;

/// Retransmissions to an initiator that may be on its way to another address: five minutes and more (RFC 4555 §3.11).
const PATIENT_TRIES: u32 = 8;

/// Where Message IDs come to an end, a rekey that was refused is tried again so soon.
const WORN_FOR: Duration = Duration::from_secs(60);

/// The driver gets this long for an Ask of which a response depends: the peer does not wait much longer.
const ANSWER_PATIENCE: Duration = Duration::from_secs(30);

impl Ike {
    /// Begins to close. An earlier reason stands.
    pub(crate) fn begin_close(&mut self, cx: &mut Cx<'_>, task: Task, result: Result<(), Failure>) {
        if self.closing.is_some() {
            return;
        }
        let patience = self.last_timing().retransmit.saturating_mul(8);
        let by = cx.now + patience.max(Duration::from_millis(100));
        self.closing = Some(Box::new(Closing { result, by }));
        self.drop_pending(cx);
        self.queue.clear();
        self.postponed.clear();
        self.queue.push_back(task);
        // What has no request on its way can be left, unless the peer has made an IKE_SA of it: that one is to be deleted.
        if !self.is_granted_rekey()
            && let Some(running) = self.sa.take_current(|_, _| true)
        {
            running.abandoned(cx);
        }
    }

    /// Puts a task at the end of the queue.
    pub(crate) fn enqueue(&mut self, task: Task) {
        if self.closing.is_none() {
            self.queue.push_back(task);
        }
    }

    /// After every input: begins the next task, if none is under way.
    pub(super) fn settle(mut self: Box<Self>, cx: &mut Cx<'_>) -> Next {
        self.close_if_empty(cx);
        if self.sa.is_spent() {
            let spent = explain::misbehaved(Step::Established, "the IKE_SA has had all its messages");
            return self.finish(cx, Err(spent));
        }
        if self.sa.is_worn() && self.rekey_at.is_none_or(|at| at > cx.now + WORN_FOR) {
            self.rekey_at = Some(cx.soon());
        }
        self.delete_others(cx);
        // [7296:2.3-2] [7296:2.3-4]
        while self.sa.current.is_none() && (self.closing.is_some() || !self.is_being_replaced()) {
            let Some(task) = self.queue.pop_front() else {
                break;
            };
            let next = task.begin(&mut self, cx);
            if let Some(result) = self.go(cx, next) {
                return self.finish(cx, result);
            }
        }
        Next::State(self)
    }

    /// What a task wants next. `Some` if the IKE_SA ends with it.
    pub(super) fn go(&mut self, cx: &mut Cx<'_>, next: Move) -> Option<Result<(), Failure>> {
        match next {
            Move::Send(running, exchange, payloads) => {
                let (timing, also) = (self.timing(), running.also_over());
                self.sent = cx.now;
                // What does not fit a message is as good as done: nothing of ours is near that.
                let _ = self.sa.send(cx, running, exchange, payloads, &timing);
                self.sa.also(cx, &also);
                None
            }
            Move::Wait(running, id) => {
                let waits = Waits::Answer(id, cx.now + PATIENCE);
                self.sa.current = Some(Box::new(Current { running, waits }));
                None
            }
            Move::Done => None,
            Move::Ends(result) => Some(self.closing.take().map_or(result, |c| c.result)),
        }
    }

    /// What a request of the peer wants next. `Some` if the IKE_SA ends with it.
    pub(super) fn turn(
        &mut self,
        cx: &mut Cx<'_>,
        spi: u64,
        asked: Asked,
        turn: Turn,
    ) -> Option<Result<(), Failure>> {
        match turn {
            Turn::Reply(reply) => {
                if let Err(failure) = self.sa_of(spi)?.respond(cx, &asked, &reply.payloads) {
                    return Some(Err(failure));
                }
                self.sent = cx.now;
                if let Some(new) = reply.successor {
                    self.succeeded_by_peer(cx, new.0, new.1);
                }
                // RFC 7296 §2.8.2: where there is another one, only this one ends.
                let ends = reply.ends?;
                if spi == self.sa.our_spi() {
                    self.take_candidate(cx);
                }
                if self.other_gone(cx, spi) { None } else { Some(ends) }
            }
            Turn::Wait(job, waits) => {
                let until = cx.now + ANSWER_PATIENCE;
                self.sa_of(spi)?.answering = Some(Box::new(Answering { asked, job, waits, until }));
                None
            }
        }
    }

    /// How often what we ask now is asked again.
    pub(super) fn timing(&self) -> Timing {
        let timing = self.policy.timing;
        match (self.closing.is_some(), self.mobike.is_some() && !self.dialled) {
            (true, _) => self.last_timing(),
            (false, true) => Timing { tries: timing.tries.max(PATIENT_TRIES), ..timing },
            (false, false) => timing,
        }
    }

    fn last_timing(&self) -> Timing {
        let timing = self.policy.timing;
        Timing { tries: timing.tries.min(LAST_TRIES), ..timing }
    }

    pub(super) fn request(mut self: Box<Self>, cx: &mut Cx<'_>, mut datagram: Datagram) -> Next {
        let spi = datagram.our_spi;
        let (in_use, gone) = (spi == self.sa.our_spi(), self.is_gone(spi));
        let Some(sa) = self.sa_of(spi) else {
            return Next::State(self);
        };
        // [7296:2.1-1] [7296:2.1-2]
        if datagram.message_id.wrapping_add(1) == sa.expected {
            match (&sa.answering, &sa.answered) {
                (None, Some((answered, _))) if answered.repeat(cx, &datagram) => self.repeated(cx),
                (None, Some((answered, _))) if sa.channel.is_first_fragment(cx, &mut datagram) => {
                    answered.repeat_to(cx, datagram.path);
                    self.repeated(cx);
                }
                (None, Some(_)) => {}
                // It is being worked on, or so old that the answer is forgotten.
                _ => cx.ignore(),
            }
            return Next::State(self);
        }
        // [7296:2.1-5] [7296:2.3-8]
        if datagram.message_id != sa.expected || sa.answering.is_some() || gone {
            cx.ignore();
            return Next::State(self);
        }
        let mut asked = Asked {
            message_id: datagram.message_id,
            digest: Answered::digest(cx, &datagram.bytes),
            path: datagram.path,
            exchange: ExchangeType(datagram.exchange),
        };
        let opened = match sa.channel.open(cx, &mut datagram) {
            Err(Unreadable::Forged | Unreadable::Incomplete) => return Next::State(self),
            Err(Unreadable::Malformed(error)) => Err(error),
            Ok(message) => Ok(message),
        };
        asked.digest = sa.channel.fragmented.unwrap_or(asked.digest);
        sa.expected = sa.expected.wrapping_add(1);
        sa.answered = None;
        self.follow(cx, &datagram);
        if in_use {
            self.peer_has_all(cx);
            self.peer_lives(cx);
        }
        let turn = match opened {
            Ok(message) => self.take_up(cx, in_use, &message, datagram.path),
            Err(error) => Turn::Reply(task::malformed(&error.to_string())),
        };
        match self.turn(cx, spi, asked, turn) {
            Some(result) => self.finish(cx, result),
            None => self.settle(cx),
        }
    }

    fn take_up(&mut self, cx: &mut Cx<'_>, in_use: bool, message: &Message, path: Path) -> Turn {
        // RFC 7296 §2.5: the whole message is rejected, the IKE_SA lives on.
        // [7296:2.5-8] [7296:2.21.2-1] [7296:2.21.3-1] [7296:4-3]
        if let Some(kind) = message.unsupported_critical() {
            return Turn::Reply(Reply::of(vec![Payload::Notify(wire::unsupported(kind))]));
        }
        match message.header.exchange {
            ExchangeType::INFORMATIONAL => Turn::Reply(task::informational::answer(self, cx, message, path)),
            // RFC 7296 §2.25.2: it is being closed, or may be.
            ExchangeType::CREATE_CHILD_SA if !in_use => Turn::notify(NotifyType::TEMPORARY_FAILURE),
            ExchangeType::CREATE_CHILD_SA if rekeys_ike(message) => {
                task::rekey_ike::answer(self, cx, message)
            }
            ExchangeType::CREATE_CHILD_SA => task::create::answer(self, cx, message),
            ExchangeType::IKE_FOLLOWUP_KE if in_use => task::followup::answer(self, cx, message),
            // [9370:2.2.4-3]
            ExchangeType::IKE_FOLLOWUP_KE => Turn::notify(NotifyType::STATE_NOT_FOUND),
            other => Turn::Reply(task::malformed(&format!("exchange type {other} after IKE_AUTH"))),
        }
    }

    pub(super) fn response(mut self: Box<Self>, cx: &mut Cx<'_>, mut datagram: Datagram) -> Next {
        let spi = datagram.our_spi;
        if spi == self.sa.our_spi() && self.is_echo(cx, &datagram) {
            return Next::State(self);
        }
        let awaits = |sa: &&mut Sa| sa.awaits(datagram.message_id, ExchangeType(datagram.exchange));
        let Some(sa) = self.sa_of(spi).filter(awaits) else {
            cx.ignore();
            return Next::State(self);
        };
        let sent = sa.sent_over();
        let digest = (sent.len() > 1).then(|| Answered::digest(cx, &datagram.bytes));
        let Ok(message) = sa.channel.open(cx, &mut datagram) else {
            return Next::State(self);
        };
        let asked_at = sa.asked_at();
        if let Some(digest) = digest {
            sa.expect_echoes(datagram.message_id, digest, datagram.path, &sent);
        }
        let Some(running) = sa.answered_by_peer() else {
            return Next::State(self);
        };
        // One that was on its way while the peer moved may come from where it was before.
        if asked_at.is_some_and(|at| at > self.moved) {
            self.follow(cx, &datagram);
        }
        if spi != self.sa.our_spi() {
            // Nothing but its own deletion, and liveness checks that it had begun with.
            if running.is_last() {
                self.other_gone(cx, spi);
            }
            return self.settle(cx);
        }
        self.answered_over(cx, datagram.path, &sent);
        // On what is being closed nothing comes up any more; what the peer has made of it goes with it.
        if self.closing.is_some() && matches!(running, Running::Create(_)) {
            return self.settle(cx);
        }
        let next = running.answered(&mut self, cx, &message);
        match self.go(cx, next) {
            Some(result) => self.finish(cx, result),
            None => self.settle(cx),
        }
    }

    /// An IKE_SA whose last CHILD_SA is gone carries nothing.
    fn close_if_empty(&mut self, cx: &mut Cx<'_>) {
        let idle = self.closing.is_none() && self.childless.is_none() && !self.creates();
        if idle && self.children.iter().all(|c| c.kernel == Kernel::Doomed) {
            self.begin_close(cx, Task::DeleteIke, Err(explain::last_child_closed(&self.remote_id)));
        }
    }

    /// Tells the peer once, without waiting, that the IKE_SA is gone, in the Message ID after the one that is on its
    /// way: a peer that has answered that one reads it, another drops it and finds out by itself.
    pub(crate) fn courtesy(&mut self, cx: &mut Cx<'_>) {
        let id = self.sa.next_id.wrapping_add(u32::from(self.sa.retransmits_at().is_some()));
        let payloads = [Payload::Delete(adit_isakmp::payload::Delete::Ike)];
        let channel = &mut self.sa.channel;
        if let Ok(datagrams) = channel.seal(cx, ExchangeType::INFORMATIONAL, id, false, &payloads) {
            datagrams.transmit(cx, channel.path);
        }
    }
}

/// Whether this is about the IKE_SA itself (RFC 7296 §1.3.2).
fn rekeys_ike(message: &Message) -> bool {
    let of_ike = |p: &Payload| match p {
        Payload::Sa(sa) => sa.proposals.iter().any(|p| p.protocol == Protocol::IKE),
        _ => false,
    };
    message.payloads.iter().any(of_ike)
}
