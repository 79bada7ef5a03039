//! How the session of an IKE_SA can be resumed when it is lost (RFC 5723): the ticket that a responder gives, and that an
//! initiator asks for, again when its time is coming to an end, and when the IKE_SA was rekeyed.

use core::time::Duration;

use adit_core::{FailureCode, Instant};
use adit_isakmp::payload::{Identification, TicketLtOpaque};
use adit_isakmp::{Header, Message, Payload};

use super::{Ike, Sa};
use crate::api::{Event, SaId, Ticket};
use crate::state::{Cx, Shared};
use crate::task::Task;
use crate::task::ticket::{Word, refusal, said};
use crate::tickets::{Name, Session};

/// A ticket is not asked for more often.
const PAUSE: Duration = Duration::from_secs(60);

/// What is known of it.
pub(crate) struct Resumption {
    /// IDi and IDr as they were sent.
    pub(crate) initiator: Identification,
    pub(crate) responder: Identification,
    /// A postquantum preshared key is in the keys.
    pub(crate) ppk: bool,
    /// The IKE_SA that it goes on from, while that may stand.
    pub(crate) from: Option<SaId>,
    /// Of a responder: the ticket that the peer has.
    pub(crate) ticket: Option<Name>,
    /// Of an initiator: when to ask for one.
    pub(crate) ask_at: Option<Instant>,
    /// The responder gives some.
    pub(crate) given: bool,
}

impl Resumption {
    pub(crate) const fn new(initiator: Identification, responder: Identification, ppk: bool) -> Self {
        Self { initiator, responder, ppk, from: None, ticket: None, ask_at: None, given: false }
    }
}

impl Shared {
    /// A ticket for a session, in place of the one before; the payload that gives it.
    pub(crate) fn hand(&mut self, now: Instant, ticket: &mut Option<Name>, session: Session) -> Payload {
        if let Some(before) = ticket.take() {
            self.tickets.take(now, &before);
        }
        let lifetime = u32::try_from(session.until.since(now).as_secs()).unwrap_or(u32::MAX);
        let (name, opaque) = self.tickets.make(&*self.crypto, &mut *self.entropy, session);
        *ticket = Some(name);
        // [5723:4.2-1]
        Payload::Notify(TicketLtOpaque { lifetime, ticket: opaque }.notify())
    }
}

impl Ike {
    /// What answers a TICKET_REQUEST that came in a message with this header. `None`: it is not the peer's to ask.
    pub(crate) fn hand_ticket(&mut self, cx: &mut Cx<'_>, header: &Header) -> Option<Payload> {
        let sk_d = self.sa_with(header).map(|sa| (sa.sk_d.duplicate(), sa.suite));
        self.hand_out(cx, sk_d)
    }

    /// The same, for an IKE_SA that takes this one's place.
    pub(crate) fn hand_ticket_of(&mut self, cx: &mut Cx<'_>, new: &Sa) -> Option<Payload> {
        self.hand_out(cx, Some((new.sk_d.duplicate(), new.suite)))
    }

    fn hand_out(
        &mut self,
        cx: &mut Cx<'_>,
        keys: Option<(adit_core::Secret, adit_isakmp::IkeSuite)>,
    ) -> Option<Payload> {
        // [5723:4.1-1]
        if self.dialled {
            return None;
        }
        let lifetime = self.policy.ticket_lifetime;
        let Some((sk_d, suite)) = keys.filter(|_| !lifetime.is_zero() && !self.children.is_empty()) else {
            return Some(refusal());
        };
        let remote = self.remote_id.clone();
        // Who was given none in IKE_AUTH gets none now: nothing is remembered of what it has proven itself with.
        let Some(resumption) = self.resumption.as_deref_mut().filter(|r| r.ticket.is_some()) else {
            return Some(refusal());
        };
        let session = Session {
            sa: cx.sa,
            until: cx.now + lifetime,
            sk_d,
            suite,
            initiator: resumption.initiator.clone(),
            responder: resumption.responder.clone(),
            remote,
            ppk: resumption.ppk,
        };
        Some(cx.shared.hand(cx.now, &mut resumption.ticket, session))
    }

    fn sa_with(&self, header: &Header) -> Option<&Sa> {
        let spis = (header.initiator_spi, header.responder_spi);
        let fits = |sa: &&Sa| (sa.channel.spi_i, sa.channel.spi_r) == spis;
        core::iter::once(&self.sa).chain(self.others.iter().map(|o| &o.sa)).find(fits)
    }

    /// An initiator's, after IKE_AUTH: how it can be resumed, and what the responder says of that.
    pub(crate) fn can_be_resumed(&mut self, cx: &mut Cx<'_>, resumption: Resumption, word: Word) {
        self.resumption = Some(Box::new(resumption));
        let keys = Some((self.sa.sk_d.duplicate(), self.sa.suite));
        self.ticket_said(cx, word, keys);
    }

    /// The answer to our TICKET_REQUEST.
    pub(crate) fn ticket_came(&mut self, cx: &mut Cx<'_>, response: &Message) {
        let keys = self.sa_with(&response.header).map(|sa| (sa.sk_d.duplicate(), sa.suite));
        self.ticket_said(cx, said(response), keys);
    }

    fn ticket_said(
        &mut self,
        cx: &mut Cx<'_>,
        word: Word,
        keys: Option<(adit_core::Secret, adit_isakmp::IkeSuite)>,
    ) {
        let reauthenticate_at = self.reauthenticate_at;
        let Some(resumption) = self.resumption.as_deref_mut() else { return };
        match (word, keys) {
            (Word::Given(given), Some((sk_d, suite))) => {
                let lifetime = given.lifetime();
                let until = cx.now + lifetime;
                let until = reauthenticate_at.map_or(until, |at| until.min(at));
                resumption.given = true;
                resumption.ask_at = Some(cx.now + (lifetime / 5 * 4).max(PAUSE));
                cx.event(Event::Ticket(Box::new(Ticket {
                    opaque: given.ticket,
                    until,
                    sk_d,
                    suite,
                    initiator: resumption.initiator.clone(),
                    responder: resumption.responder.clone(),
                    ppk: resumption.ppk,
                    reauthenticate_at,
                })));
            }
            (Word::Later, _) => resumption.ask_at = Some(cx.now + PAUSE),
            (Word::Given(_) | Word::Refused, _) => resumption.ask_at = None,
        }
    }

    /// When a ticket is to be asked for.
    pub(super) fn ticket_at(&self) -> Option<Instant> {
        self.resumption.as_ref()?.ask_at.filter(|_| self.closing.is_none())
    }

    /// Asks for one, if that is due.
    pub(super) fn wake_ticket(&mut self, now: Instant) {
        let due = |r: &mut Box<Resumption>| r.ask_at.take_if(|at| *at <= now).is_some();
        if self.resumption.as_mut().is_some_and(due) {
            self.enqueue(Task::Ticket);
        }
    }

    /// The IKE_SA was rekeyed: a ticket from before would go on from keys without the new key exchange.
    pub(super) fn ticket_is_old(&mut self, cx: &mut Cx<'_>) {
        let soon = cx.soon();
        if let Some(resumption) = self.resumption.as_mut().filter(|r| r.given) {
            resumption.ask_at = Some(soon);
        }
    }

    /// A session that is resumed proves itself again when it would have without.
    pub(crate) fn proves_again_by(&mut self, at: Option<Instant>) {
        self.reauthenticate_at = [self.reauthenticate_at, at].into_iter().flatten().min();
    }

    /// The IKE_SA whose session it resumes, which is to go: said once.
    pub(super) fn goes_on_from(&mut self) -> Option<SaId> {
        self.resumption.as_mut()?.from.take()
    }

    /// Whether there is one.
    pub(super) fn goes_on(&self) -> bool {
        self.resumption.as_ref().is_some_and(|r| r.from.is_some())
    }

    /// Its session goes on elsewhere.
    pub(super) fn forget_ticket(&mut self, now: Instant, shared: &mut Shared) {
        if let Some(name) = self.resumption.as_mut().and_then(|r| r.ticket.take()) {
            shared.tickets.take(now, &name);
        }
    }

    /// It ends: who was lost may come back with its ticket, and nobody else.
    pub(super) fn settle_ticket(
        &self,
        now: Instant,
        shared: &mut Shared,
        end: &Result<(), adit_core::Failure>,
    ) {
        let lost = end.as_ref().is_err_and(|why| why.code == FailureCode::PeerLost);
        if let Some(name) = self.resumption.as_ref().and_then(|r| r.ticket).filter(|_| !lost) {
            shared.tickets.take(now, &name);
        }
    }
}
