//! A responder until its IKE_SA is up. Each phase is a type of its own, consumed by the input that ends it:
//!
//! Encapsulate → IKE_SA_INIT answered → [Encapsulate → IKE_INTERMEDIATE answered →]* Connection → [Ppk →] Psk or Verify →
//! Lease → AllocateSpi → Psk or Sign → Install → IKE_AUTH answered.
//!
//! With EAP: Connection → Eap → Sign → answered → [Eap → answered →]* AUTH comes → [Ppk →] Lease → AllocateSpi → Install →
//! answered.
//!
//! A session that is resumed (RFC 5723): Resume → IKE_SESSION_RESUME answered → Lease → AllocateSpi → Install → answered.
//!
//! The order is the same for everybody, so that a wrong key and an unknown name cost the same and look the same.

mod auth;
mod child;
mod eap;
mod init;
mod intermediate;
mod ppk;
mod resume;
mod wanted;

pub(crate) use init::{First, NoResponse};
pub(crate) use resume::Resume;

use adit_core::{Failure, Instant};
use adit_isakmp::{ExchangeType, Payload};

use crate::api::{Answer, Ask, AskId, ChildId, Event, Lease, Timer};
use crate::channel::Handshake;
use crate::explain;
use crate::linger::{Answered, Linger, Spent};
use crate::state::{Cx, Datagram, Next, Order, Role, Stage, State};

/// An IKE_SA that a peer has begun and that is not up yet.
pub(crate) struct Responder {
    half: Half,
    /// The Ask that the phase waits for.
    waiting: Option<AskId>,
    phase: Phase,
}

/// What stays the same through all phases.
pub(crate) struct Half {
    /// The peer's SPI.
    spi_i: u64,
    /// Up by then, or gone.
    until: Instant,
}

impl Half {
    /// It has cost us a key exchange and came to nothing: it counts as half-open as long as any, so that whoever sends
    /// many such messages is asked for cookies.
    fn spent(self) -> Box<Spent> {
        Box::new(Spent { spi_i: self.spi_i, until: self.until })
    }
}

enum Phase {
    Encapsulating(init::Encapsulating),
    InitAnswered(init::InitAnswered),
    KeEncapsulating(intermediate::Encapsulating),
    Resuming(resume::Resuming),
    Choosing(auth::Choosing),
    Mixing(ppk::Mixing),
    Checking(auth::Checking),
    EapAsking(eap::Asking),
    EapProving(eap::Proving),
    EapAnswered(eap::Answering),
    Leasing(child::Leasing),
    Allocating(child::Allocating),
    Proving(child::Proving),
    Installing(child::Installing),
}

impl Responder {
    fn asking(half: Half, cx: &mut Cx<'_>, ask: Ask, phase: Phase) -> Next {
        let waiting = Some(cx.ask(ask));
        Next::State(Box::new(Self { half, waiting, phase }))
    }

    fn sent(half: Half, phase: Phase) -> Next {
        let waiting = None;
        Next::State(Box::new(Self { half, waiting, phase }))
    }

    /// Addresses that the phase holds for the peer.
    fn lease(phase: Phase) -> Lease {
        match phase {
            Phase::Allocating(p) => p.lease,
            Phase::Proving(p) => p.lease(),
            Phase::Installing(p) => p.lease,
            Phase::Encapsulating(_)
            | Phase::InitAnswered(_)
            | Phase::KeEncapsulating(_)
            | Phase::Resuming(_)
            | Phase::Choosing(_)
            | Phase::Mixing(_)
            | Phase::Checking(_)
            | Phase::EapAsking(_)
            | Phase::EapProving(_)
            | Phase::EapAnswered(_)
            | Phase::Leasing(_) => Lease::default(),
        }
    }

    fn gone(self, cx: &mut Cx<'_>, result: Result<(), Failure>) -> Next {
        release(cx, Self::lease(self.phase));
        Next::Closed(result)
    }
}

/// What IKE_AUTH's request was, so that its answer can be repeated.
pub(crate) struct Asked {
    digest: [u8; 20],
    path: adit_core::Path,
}

/// Refuses IKE_AUTH and forgets the IKE_SA, but for this answer.
fn refuse(
    cx: &mut Cx<'_>,
    handshake: Box<Handshake>,
    asked: &Asked,
    payloads: &[Payload],
    why: Failure,
) -> Next {
    let exchange = (ExchangeType::IKE_AUTH, handshake.auth_id());
    refuse_exchange(cx, handshake, asked, exchange, payloads, why)
}

/// Refuses a request and forgets the IKE_SA, but for this answer.
fn refuse_exchange(
    cx: &mut Cx<'_>,
    mut handshake: Box<Handshake>,
    asked: &Asked,
    (exchange, message_id): (ExchangeType, u32),
    payloads: &[Payload],
    why: Failure,
) -> Next {
    let sealed = handshake.channel.seal(cx, exchange, message_id, true, payloads);
    let response = match sealed {
        Ok(response) => response,
        Err(failure) => return Next::failed(failure),
    };
    response.transmit(cx, asked.path);
    let answered = Answered::new(message_id, asked.digest, response);
    let spis = (handshake.channel.spi_r, handshake.channel.spi_i);
    let linger = Linger::new(cx, answered, Role::Responder, spis);
    Next::ClosedAfter(Err(why), linger)
}

fn release(cx: &mut Cx<'_>, lease: Lease) {
    if lease != Lease::default() {
        cx.event(Event::Released(lease));
    }
}

impl State for Responder {
    fn datagram(self: Box<Self>, cx: &mut Cx<'_>, datagram: Datagram) -> Next {
        match self.phase {
            Phase::InitAnswered(phase) => phase.datagram(self.half, cx, datagram),
            Phase::EapAnswered(phase) => phase.datagram(self.half, cx, datagram),
            // A request that is being worked on, again: its answer comes.
            phase => {
                cx.ignore();
                Next::State(Box::new(Self { phase, ..*self }))
            }
        }
    }

    fn answer(self: Box<Self>, cx: &mut Cx<'_>, id: AskId, answer: Answer) -> Next {
        if self.waiting != Some(id) {
            return Next::State(self);
        }
        let Self { half, waiting, phase } = *self;
        match (phase, answer) {
            (Phase::Encapsulating(p), Answer::Encapsulated(result)) => p.encapsulated(half, cx, result),
            (Phase::KeEncapsulating(p), Answer::Encapsulated(result)) => p.encapsulated(half, cx, result),
            (Phase::Resuming(p), Answer::Connection(result)) => p.chosen(half, cx, result),
            (Phase::Choosing(p), Answer::Connection(result)) => p.chosen(half, cx, result),
            (Phase::Mixing(p), Answer::Ppk(result)) => p.answered(half, cx, result),
            (Phase::Checking(p), Answer::Psk(result)) => p.key(half, cx, result),
            (Phase::Checking(p), Answer::Verified(result)) => p.verified(half, cx, result),
            (Phase::EapAsking(p), Answer::Eap(result)) => p.answered(half, cx, result),
            (Phase::EapProving(p), Answer::Signed(result)) => p.signed(half, cx, result),
            (Phase::Leasing(p), Answer::Leased(result)) => p.leased(half, cx, result),
            (Phase::Allocating(p), Answer::Spi(result)) => p.allocated(half, cx, result),
            (Phase::Proving(p), Answer::Psk(result)) => p.key(half, cx, result),
            (Phase::Proving(p), Answer::Signed(result)) => p.signed(half, cx, result),
            (Phase::Installing(p), Answer::Installed(result)) => p.installed(half, cx, result),
            // An answer of another name than the question: the driver's mistake, as good as none.
            (phase, _) => Next::State(Box::new(Self { half, waiting, phase })),
        }
    }

    fn wake(self: Box<Self>, cx: &mut Cx<'_>) -> Next {
        if cx.now < self.half.until {
            return Next::State(self);
        }
        self.gone(cx, Err(explain::half_open_expired()))
    }

    fn close(self: Box<Self>, cx: &mut Cx<'_>) -> Next {
        self.gone(cx, Ok(()))
    }

    fn close_child(self: Box<Self>, _: &mut Cx<'_>, _: ChildId) -> Next {
        Next::State(self)
    }

    fn input(self: Box<Self>, _: &mut Cx<'_>, _: Order) -> Next {
        Next::State(self)
    }

    fn deadline(&self) -> Option<(Instant, Timer)> {
        Some((self.half.until, Timer::HalfOpen))
    }

    fn stage(&self) -> Stage {
        Stage::HalfOpen
    }

    fn role(&self) -> Role {
        Role::Responder
    }

    fn peer_spi(&self) -> Option<u64> {
        Some(self.half.spi_i)
    }
}
