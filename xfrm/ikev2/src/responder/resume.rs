//! IKE_SESSION_RESUME of a responder (RFC 5723 §4.3.2), and the IKE_AUTH that follows it: a peer whose IKE_SA was lost goes
//! on from its keys, and proves nothing else again.
//!
//! Resume → answered → IKE_AUTH comes → Lease → AllocateSpi → Install → answered.
//!
//! Whoever has seen a ticket can send it. That costs what a first message costs; the ticket is used when AUTH was right, and
//! not before.

use core::time::Duration;

use adit_core::{Failure, Identity, Instant, Path};
use adit_isakmp::payload::{AuthMethod, Authentication, Identification, Notify, NotifyType};
use adit_isakmp::{ExchangeType, Flags, Header, IkeSuite, Message, Payload, VERSION_2};

use super::auth::Claim;
use super::child::{self, Key};
use super::init::{InitAnswered, NoResponse};
use super::{Half, Phase, Responder};
use crate::api::{Ask, Event, PpkUse, ResponderConfig, ResponderDefaults, SaId};
use crate::auth as proof;
use crate::channel::{Agreed, Grant, Handshake, Resumed};
use crate::explain;
use crate::natd::{self, Nat};
use crate::state::{Cx, Datagram, Next, Role, Shared};
use crate::tickets::{Name, Tickets};
use crate::wire::{self, only};

/// A first message with a ticket that is good.
pub(crate) struct Resume {
    spi_i: u64,
    path: Path,
    bytes: Vec<u8>,
    nonce: Vec<u8>,
    ticket: Name,
    session: SaId,
    remote: Identity,
    suite: IkeSuite,
    nat: Option<Nat>,
    /// Whether the peer puts fragments together.
    fragments: bool,
}

impl Resume {
    /// Judges a message, of which nothing is remembered.
    pub(crate) fn read(
        now: Instant,
        shared: &Shared,
        datagram: Datagram,
        message: &Message,
    ) -> Result<Self, NoResponse> {
        let spi_i = message.header.initiator_spi;
        // [7296:2.5-8]
        if let Some(kind) = message.unsupported_critical() {
            return Err(NoResponse::Notify(wire::unsupported(kind)));
        }
        let nonce = only!(message, Payload::Nonce).map_err(|_: String| NoResponse::Nothing)?;
        let ticket = message.notify(NotifyType::TICKET_OPAQUE).ok_or(NoResponse::Nothing)?;
        let name = Tickets::name(&*shared.crypto, &ticket.data);
        // [5723:4.3.2-2] [5723:4.3-3]
        let Some(session) = shared.tickets.get(now, &name) else {
            return Err(NoResponse::Notify(refusal()));
        };
        // [7296:2.10-1]
        if nonce.len().saturating_mul(2) < session.suite.prf.output_len() {
            return Err(NoResponse::Nothing);
        }
        Ok(Self {
            spi_i,
            path: datagram.path,
            nonce: nonce.clone(),
            ticket: name,
            session: session.sa,
            remote: session.remote.clone(),
            suite: session.suite,
            nat: Nat::detect(&*shared.crypto, (spi_i, 0), datagram.path, message),
            fragments: message.notify(NotifyType::IKEV2_FRAGMENTATION_SUPPORTED).is_some(),
            bytes: datagram.bytes,
        })
    }

    /// Begins an IKE_SA for it.
    pub(crate) fn begin(self, cx: &mut Cx<'_>, spi_r: u64, defaults: &ResponderDefaults) -> Next {
        cx.event(Event::Incoming { path: self.path });
        let until = cx.now + defaults.timing.half_open.max(Duration::from_secs(1));
        let half = Half { spi_i: self.spi_i, until };
        let ask = Ask::Resume { session: self.session, remote: self.remote.clone(), path: self.path };
        let resuming = Resuming { resume: self, spi_r, fragment_size: defaults.fragment_size };
        Responder::asking(half, cx, ask, Phase::Resuming(resuming))
    }
}

fn refusal() -> Notify {
    Notify::new(NotifyType::TICKET_NACK, [])
}

/// Whether the session may go on is being found out.
pub(super) struct Resuming {
    resume: Resume,
    spi_r: u64,
    fragment_size: u16,
}

impl Resuming {
    pub(super) fn chosen(
        self,
        half: Half,
        cx: &mut Cx<'_>,
        result: Result<Box<ResponderConfig>, Failure>,
    ) -> Next {
        match result {
            Ok(config) => self.accept(half, cx, config),
            Err(why) => self.refuse(half, cx, why),
        }
    }

    /// The peer begins from scratch. Its message has cost us work: it keeps its place among the half-open ones.
    fn refuse(self, half: Half, cx: &mut Cx<'_>, why: impl core::fmt::Display) -> Next {
        let payloads = vec![Payload::Notify(refusal())];
        if let Ok(response) = self.message(0, payloads).emit() {
            // [5723:4.3.2-2]
            cx.transmit(self.resume.path, response);
        }
        let why = explain::not_resumed_by_us(&self.resume.remote, why);
        Next::ClosedAfter(Err(why), half.spent())
    }

    fn accept(self, half: Half, cx: &mut Cx<'_>, config: Box<ResponderConfig>) -> Next {
        let Some(session) = cx.shared.tickets.get(cx.now, &self.resume.ticket) else {
            return self.refuse(half, cx, "its ticket was used meanwhile");
        };
        let own = Identification::from(&config.local_id);
        // [5723:4.3.3-2]
        if (own.id_type, &own.data) != (session.responder.id_type, &session.responder.data) {
            return self.refuse(half, cx, "this server calls itself otherwise now");
        }
        if config.ppk == PpkUse::Required && !session.ppk {
            return self.refuse(half, cx, "it has to use a postquantum preshared key");
        }
        let sk_d = session.sk_d.duplicate();
        let (initiator, responder, ppk) = (session.initiator.clone(), session.responder.clone(), session.ppk);
        let nonce_r = cx.shared.nonce();
        let response = match self.response(cx, nonce_r.clone()) {
            Ok(response) => response,
            Err(failure) => return Next::failed(failure),
        };
        let Self { resume, spi_r, fragment_size } = self;
        let agreed = Agreed {
            role: Role::Responder,
            spi_i: resume.spi_i,
            spi_r,
            path: resume.path,
            // [5723:5-2]
            nat: resume.nat.unwrap_or_default(),
            suite: resume.suite,
            nonce_i: resume.nonce,
            nonce_r,
            peer_hashes: None,
            fragment_size: resume.fragments.then_some(fragment_size),
        };
        let grant = Grant { ticket: resume.ticket, session: resume.session, remote: resume.remote, config };
        let resumed = Resumed { initiator, responder, ppk, reauthenticate_at: None, grant: Some(grant) };
        match Handshake::resume(cx, agreed, &sk_d, resumed) {
            Ok(mut handshake) => {
                cx.transmit(resume.path, response.clone());
                handshake.message_i = resume.bytes;
                handshake.message_r = response;
                Responder::sent(half, Phase::InitAnswered(InitAnswered::new(handshake)))
            }
            Err(failure) => Next::failed(failure),
        }
    }

    /// `Nr, [N(NAT_DETECTION_*),] [N(IKEV2_FRAGMENTATION_SUPPORTED)]`
    fn response(&self, cx: &Cx<'_>, nonce: Vec<u8>) -> Result<Vec<u8>, Failure> {
        let mut payloads = vec![Payload::Nonce(nonce)];
        if self.resume.nat.is_some() {
            let spis = (self.resume.spi_i, self.spi_r);
            payloads.extend(natd::payloads(&*cx.shared.crypto, spis, self.resume.path, None));
        }
        if self.resume.fragments {
            payloads.push(Payload::Notify(Notify::new(NotifyType::IKEV2_FRAGMENTATION_SUPPORTED, [])));
        }
        self.message(self.spi_r, payloads).emit().map_err(crate::channel::internal)
    }

    fn message(&self, spi_r: u64, payloads: Vec<Payload>) -> Message {
        let header = Header {
            initiator_spi: self.resume.spi_i,
            responder_spi: spi_r,
            version: VERSION_2,
            exchange: ExchangeType::IKE_SESSION_RESUME,
            flags: Flags::of(false, true),
            message_id: 0,
        };
        Message { header, payloads }
    }
}

/// IKE_AUTH has come: the peer has the keys of the session, and is who it was.
pub(super) fn check(
    half: Half,
    cx: &mut Cx<'_>,
    mut claim: Claim,
    asked: Option<&Identity>,
    auth: Option<&Authentication>,
    grant: Grant,
) -> Next {
    let Grant { ticket, session, remote, config } = grant;
    let Some(resumed) = &claim.handshake.resumed else {
        return claim.refuse(cx, "it resumes nothing");
    };
    // [5723:4.3.3-1]
    if (claim.id.id_type, &claim.id.data) != (resumed.initiator.id_type, &resumed.initiator.data) {
        return claim.refuse(cx, "its ticket is another one's");
    }
    // [5723:4.3.3-2]
    if asked.is_some() && asked != resumed.responder.identity().as_ref() {
        return claim.refuse(cx, "its ticket is for another server");
    }
    let expected = proof::resumed(cx, &claim.handshake, Role::Initiator, &claim.id);
    let proven =
        auth.is_some_and(|auth| auth.method == AuthMethod::SHARED_KEY && expected.equals(&auth.data));
    if !proven {
        return claim.refuse(cx, "its ticket is not its own");
    }
    // [5723:4.3-2] [5723:4.3-3]
    if !cx.shared.tickets.take(cx.now, &ticket) {
        return claim.refuse(cx, "its ticket was used already");
    }
    claim.remote = remote;
    child::begin(half, cx, claim, config, Key::Resumed(session))
}
