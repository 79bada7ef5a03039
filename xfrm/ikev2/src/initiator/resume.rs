//! IKE_SESSION_RESUME of an initiator (RFC 5723 §4.3): a session whose IKE_SA was lost goes on from its keys, without a key
//! exchange and without anybody's proof but the keys'.
//!
//! Nothing in this exchange is authenticated. Whatever comes of it that is no session, the connection is begun from scratch
//! in the same attempt: whoever forges an answer here gains that, and no more.

use core::fmt::Display;

use adit_core::{Failure, FailureCode, Step};
use adit_isakmp::payload::{AuthMethod, Authentication, Identification, Notify, NotifyType};
use adit_isakmp::{ExchangeType, Flags, Header, Message, Payload, VERSION_2};

use super::{Dial, Initiator, Phase, auth, init};
use crate::api::{Event, Ticket, Timing};
use crate::auth as proof;
use crate::channel::{Agreed, Handshake, Resumed};
use crate::explain;
use crate::natd;
use crate::request::{Request, Retry};
use crate::state::{Cx, Datagram, Next, Role};
use crate::wire::only;

/// Cookies that are followed.
const RESTARTS: u32 = 5;
/// Retransmissions: a server that is not there is found out by IKE_SA_INIT, which has more.
const TRIES: u32 = 2;

/// The request is on its way.
pub(super) struct Sent {
    nonce: Vec<u8>,
    cookie: Option<Vec<u8>>,
    /// Answers that copies of earlier requests may still bring: one each.
    owed: u32,
    restarts: u32,
    /// NAT_DETECTION_SOURCE_IP where encapsulation is forced.
    fake_source: Option<[u8; 20]>,
    pub(super) request: Request,
}

/// The ticket to begin with, if there is a good one.
pub(super) fn good(cx: &Cx<'_>, ticket: Option<&Ticket>) -> bool {
    // [5723:4.3-1]
    ticket.is_some_and(|ticket| ticket.until > cx.now)
}

pub(super) fn begin(dial: Dial, cx: &mut Cx<'_>) -> Next {
    let fake_source = dial.config.force_encapsulation.then(|| {
        let mut hash = [0; 20];
        cx.shared.entropy.public(&mut hash);
        hash
    });
    let nonce = cx.shared.nonce();
    match send(&dial, cx, &nonce, None, fake_source) {
        Ok(request) => {
            let sent = Sent { nonce, cookie: None, owed: 0, restarts: 0, fake_source, request };
            Initiator::sent(dial, Phase::ResumeSent(sent))
        }
        Err(why) => from_scratch(dial, cx, why),
    }
}

/// `[N(COOKIE),] Ni, N(TICKET_OPAQUE), N(NAT_DETECTION_*), N(IKEV2_FRAGMENTATION_SUPPORTED)`
fn send(
    dial: &Dial,
    cx: &mut Cx<'_>,
    nonce: &[u8],
    cookie: Option<&[u8]>,
    fake_source: Option<[u8; 20]>,
) -> Result<Request, Failure> {
    let ticket = dial.config.ticket.as_ref().map(|ticket| ticket.opaque.clone()).unwrap_or_default();
    let mut payloads = Vec::with_capacity(6);
    // [5723:4.3.2-4]
    payloads.extend(cookie.map(|cookie| Payload::Notify(Notify::new(NotifyType::COOKIE, cookie))));
    // [5723:4.3.2-1]
    payloads.push(Payload::Nonce(nonce.to_vec()));
    // [5723:7.2-2]
    payloads.push(Payload::Notify(Notify::new(NotifyType::TICKET_OPAQUE, ticket)));
    payloads.extend(natd::payloads(&*cx.shared.crypto, (dial.spi, 0), dial.config.path, fake_source));
    payloads.push(Payload::Notify(Notify::new(NotifyType::IKEV2_FRAGMENTATION_SUPPORTED, [])));
    let header = Header {
        initiator_spi: dial.spi,
        responder_spi: 0,
        version: VERSION_2,
        exchange: ExchangeType::IKE_SESSION_RESUME,
        flags: Flags::of(true, false),
        message_id: 0,
    };
    let bytes = (Message { header, payloads }).emit().map_err(crate::channel::internal)?;
    let timing = Timing { tries: TRIES.min(dial.config.timing.init_tries), ..dial.config.timing };
    Ok(Request::send(cx, dial.config.path, bytes.into(), &timing))
}

/// Begins from scratch, with another SPI: this one may stand for the ticket at the server. The ticket is kept until the
/// server has answered anything: if it can't be reached, nothing was used.
pub(super) fn from_scratch(mut dial: Dial, cx: &mut Cx<'_>, why: Failure) -> Next {
    cx.event(Event::NotResumed(why));
    let fresh = cx.reserve_spi();
    cx.release_spi(dial.spi);
    dial.spi = fresh;
    init::begin(dial, cx)
}

impl Dial {
    /// A ticket that was not used can be, another time.
    pub(super) fn give_back(&mut self, cx: &mut Cx<'_>) {
        if let Some(ticket) = self.config.ticket.take() {
            cx.event(Event::Ticket(ticket));
        }
    }

    fn not_resumed(&self, why: impl Display) -> Failure {
        explain::not_resumed(self.config.path.remote, why)
    }
}

impl Sent {
    pub(super) fn datagram(mut self, mut dial: Dial, cx: &mut Cx<'_>, datagram: Datagram) -> Next {
        let from_server = datagram.path.remote.ip() == dial.config.path.remote.ip();
        let in_place = datagram.is_response && datagram.exchange == ExchangeType::IKE_SESSION_RESUME.0;
        let message = Message::parse(&datagram.bytes).ok().filter(|_| from_server && in_place);
        let Some(message) = message else {
            cx.ignore();
            return Initiator::sent(dial, Phase::ResumeSent(self));
        };
        if let Some(notify) = message.notify(NotifyType::COOKIE) {
            return self.cookie(dial, cx, &notify.data);
        }
        // [5723:4.3.2-2]
        let refused = |n: &&Notify| n.kind == NotifyType::TICKET_NACK || n.kind.is_error();
        if let Some(notify) = message.notifies().find(refused) {
            let kind = notify.kind;
            dial.config.ticket = None;
            let why = dial.not_resumed("it does not know the ticket any more, or accepts it no longer");
            return from_scratch(dial, cx, why.said(kind.name().unwrap_or("an error")));
        }
        match only!(message, Payload::Nonce) {
            Ok(nonce) if datagram.responder_spi != 0 && message.unsupported_critical().is_none() => {
                let nonce = nonce.clone();
                self.resumed(dial, cx, datagram, &message, nonce)
            }
            Ok(_) | Err(_) => {
                cx.ignore();
                self.owed = self.owed.saturating_sub(1);
                Initiator::sent(dial, Phase::ResumeSent(self))
            }
        }
    }

    fn cookie(mut self, dial: Dial, cx: &mut Cx<'_>, cookie: &[u8]) -> Next {
        // An answer to a copy of a request that was answered already is no news.
        let late = self.owed > 0;
        self.owed = self.owed.saturating_sub(1);
        let usable = (1..=64).contains(&cookie.len()) && self.restarts < RESTARTS;
        if late || !usable || self.cookie.as_deref() == Some(cookie) {
            cx.ignore();
            return Initiator::sent(dial, Phase::ResumeSent(self));
        }
        self.restarts = self.restarts.saturating_add(1);
        self.owed = self.owed.saturating_add(self.request.sent().saturating_sub(1));
        self.cookie = Some(cookie.to_vec());
        match send(&dial, cx, &self.nonce, self.cookie.as_deref(), self.fake_source) {
            Ok(request) => Initiator::sent(dial, Phase::ResumeSent(Self { request, ..self })),
            Err(why) => from_scratch(dial, cx, why),
        }
    }

    /// The server goes on with it.
    fn resumed(
        self,
        mut dial: Dial,
        cx: &mut Cx<'_>,
        datagram: Datagram,
        message: &Message,
        nonce_r: Vec<u8>,
    ) -> Next {
        let Some(ticket) = dial.config.ticket.take() else {
            let why = dial.not_resumed("there is no ticket");
            return from_scratch(dial, cx, why);
        };
        // [7296:2.10-1]
        if nonce_r.len().saturating_mul(2) < ticket.suite.prf.output_len() {
            dial.config.ticket = Some(ticket);
            cx.ignore();
            return Initiator::sent(dial, Phase::ResumeSent(self));
        }
        let spis = (dial.spi, datagram.responder_spi);
        let (path, nat) = init::after_first(&dial.config, cx, spis, message);
        let agreed = Agreed {
            role: Role::Initiator,
            spi_i: spis.0,
            spi_r: spis.1,
            path,
            // [5723:5-2]
            nat,
            suite: ticket.suite,
            nonce_i: self.nonce,
            nonce_r,
            peer_hashes: None,
            fragment_size: init::fragment_size(&dial.config, message),
        };
        let Ticket { sk_d, initiator, responder, ppk, reauthenticate_at, .. } = *ticket;
        let resumed = Resumed { initiator, responder, ppk, reauthenticate_at, grant: None };
        match Handshake::resume(cx, agreed, &sk_d, resumed) {
            Ok(mut handshake) => {
                handshake.message_i = self.request.bytes().to_vec();
                handshake.message_r = datagram.bytes;
                auth::begin(dial, cx, handshake)
            }
            Err(why) => from_scratch(dial, cx, why),
        }
    }

    pub(super) fn wake(mut self, dial: Dial, cx: &mut Cx<'_>) -> Next {
        if self.request.wake(cx, dial.config.path) == Retry::Waiting {
            return Initiator::sent(dial, Phase::ResumeSent(self));
        }
        let why = dial.not_resumed("it has not answered");
        from_scratch(dial, cx, why)
    }
}

/// AUTH, made with the keys of the session alone (RFC 5723 §5.1).
pub(super) fn proof_of(cx: &Cx<'_>, handshake: &Handshake, id: &Identification) -> auth::Proof {
    let mic = proof::resumed(cx, handshake, Role::Initiator, id);
    auth::Proof { auth: Authentication::shared_key(mic.expose()), plain: None }
}

/// Whether the server's answer proves that it has the session, and is who it was.
pub(super) fn check(
    cx: &Cx<'_>,
    handshake: &Handshake,
    id: &Identification,
    auth: &Authentication,
) -> Result<(), Failure> {
    let Some(resumed) = &handshake.resumed else { return Err(explain::unanswered(Step::Authenticate)) };
    // [5723:4.3.3-2]
    if (id.id_type, &id.data) != (resumed.responder.id_type, &resumed.responder.data) {
        let text = format!("the server resumes the session as {}, which it was not", proof::describe(id));
        return Err(Failure::new(FailureCode::AuthenticationFailed, Step::Authenticate, text));
    }
    let expected = proof::resumed(cx, handshake, Role::Responder, id);
    if auth.method != AuthMethod::SHARED_KEY || !expected.equals(&auth.data) {
        let text = "the server has not proven that it has the keys of the session";
        return Err(Failure::new(FailureCode::AuthenticationFailed, Step::Authenticate, text));
    }
    Ok(())
}
