//! An initiator until its IKE_SA is up. Each phase is a type of its own, consumed by the input that ends it:
//!
//! Generate → IKE_SA_INIT sent → Agree → [Generate → IKE_INTERMEDIATE sent → Agree →]* AllocateSpi → [Ppk →] Psk or
//! Sign → IKE_AUTH sent → Psk or Verify → Install → up.
//!
//! A session that is resumed (RFC 5723): IKE_SESSION_RESUME sent → AllocateSpi → IKE_AUTH sent → Install → up.
//!
//! With EAP: AllocateSpi → IKE_AUTH sent → Verify → [Eap → sent →]* Eap → [Ppk →] AUTH sent → Install → up.

mod auth;
mod child;
mod eap;
mod init;
mod intermediate;
mod ppk;
mod resume;

use core::time::Duration;

use adit_core::{Failure, Instant, Step};

use crate::api::{Answer, Ask, AskId, ChildId, Event, InitiatorConfig, LocalAuth, Timer};
use crate::channel::Handshake;
use crate::explain;
use crate::ike::{Ike, Start};
use crate::policy::Policy;
use crate::state::{Cx, Datagram, Next, Order, Role, Stage, State};
use crate::task::Task;

/// The driver gets this long for one Ask: a person may have to find a token.
const PATIENCE: Duration = Duration::from_secs(120);

/// An IKE_SA that we have begun and that is not up yet.
pub(crate) struct Initiator {
    dial: Dial,
    /// The Ask that the phase waits for.
    waiting: Option<(AskId, Instant)>,
    phase: Phase,
}

/// What stays the same through all phases.
pub(crate) struct Dial {
    config: Box<InitiatorConfig>,
    spi: u64,
}

enum Phase {
    ResumeSent(resume::Sent),
    Generating(init::Generating),
    InitSent(init::InitSent),
    Agreeing(init::Agreeing),
    KeGenerating(intermediate::Generating),
    KeSent(intermediate::Sent),
    KeAgreeing(intermediate::Agreeing),
    Allocating(auth::Allocating),
    Mixing(ppk::Mixing),
    Proving(auth::Proving),
    AuthSent(auth::AuthSent),
    Verifying(auth::Verifying),
    EapAsking(eap::Asking),
    EapSent(eap::Sent),
    KeySent(eap::KeySent),
    Installing(child::Installing),
}

impl Initiator {
    /// Begins.
    pub(crate) fn begin(cx: &mut Cx<'_>, config: InitiatorConfig, spi: u64) -> Next {
        cx.event(Event::Progress(Step::IkeInit));
        let dial = Dial { config: Box::new(config), spi };
        let proposes = init::first_method(&dial.config).is_some();
        if proposes && resume::good(cx, dial.config.ticket.as_deref()) {
            return resume::begin(dial, cx);
        }
        init::begin(dial, cx)
    }

    fn asking(dial: Dial, cx: &mut Cx<'_>, ask: Ask, phase: Phase) -> Next {
        let patience = match ask {
            Ask::Eap { .. } => dial.config.timing.eap.max(PATIENCE),
            _ => PATIENCE,
        };
        let waiting = Some((cx.ask(ask), cx.now + patience));
        Next::State(Box::new(Self { dial, waiting, phase }))
    }

    fn sent(dial: Dial, phase: Phase) -> Next {
        let waiting = None;
        Next::State(Box::new(Self { dial, waiting, phase }))
    }

    /// The server may believe that the IKE_SA is up.
    fn handshake_with_peer(phase: Phase) -> Option<Box<Handshake>> {
        match phase {
            Phase::Verifying(p) => Some(p.handshake),
            Phase::Installing(p) => Some(p.handshake),
            Phase::ResumeSent(_)
            | Phase::Generating(_)
            | Phase::InitSent(_)
            | Phase::Agreeing(_)
            | Phase::KeGenerating(_)
            | Phase::KeSent(_)
            | Phase::KeAgreeing(_)
            | Phase::Allocating(_)
            | Phase::Mixing(_)
            | Phase::Proving(_)
            | Phase::AuthSent(_)
            | Phase::EapAsking(_)
            | Phase::EapSent(_)
            | Phase::KeySent(_) => None,
        }
    }

    const fn step(&self) -> Step {
        match self.phase {
            Phase::ResumeSent(_)
            | Phase::Generating(_)
            | Phase::InitSent(_)
            | Phase::Agreeing(_)
            | Phase::KeGenerating(_)
            | Phase::KeSent(_)
            | Phase::KeAgreeing(_) => Step::IkeInit,
            Phase::Allocating(_) | Phase::Installing(_) => Step::Kernel,
            Phase::Mixing(_)
            | Phase::Proving(_)
            | Phase::AuthSent(_)
            | Phase::Verifying(_)
            | Phase::EapAsking(_)
            | Phase::EapSent(_)
            | Phase::KeySent(_) => Step::Authenticate,
        }
    }
}

impl Dial {
    /// An IKE_SA that exists, as far as the server knows.
    fn ike(self, cx: &mut Cx<'_>, handshake: Box<Handshake>) -> Box<Ike> {
        let policy = Policy::of_initiator(&self.config);
        let lease = crate::api::Lease::default();
        Ike::new(
            cx,
            Start {
                handshake,
                remote_id: self.config.remote_id,
                pair: None,
                policy,
                lease,
                answered: None,
                mobike: None,
                resumption: None,
            },
        )
    }

    /// The server has let us in, and it is not to be: says so, then ends.
    fn refuse(self, cx: &mut Cx<'_>, handshake: Box<Handshake>, task: Task, why: Failure) -> Next {
        // With EAP the server still waits for us: half an IKE_SA has no INFORMATIONAL exchange that it would answer.
        let half = handshake.resumed.is_none() && handshake.rounds == 0;
        if half && matches!(self.config.local_auth, LocalAuth::Eap { .. }) {
            return eap::leave(self, cx, handshake, why);
        }
        self.ike(cx, handshake).ending(cx, task, Err(why))
    }
}

impl State for Initiator {
    fn datagram(self: Box<Self>, cx: &mut Cx<'_>, datagram: Datagram) -> Next {
        match self.phase {
            Phase::ResumeSent(phase) => phase.datagram(self.dial, cx, datagram),
            Phase::InitSent(phase) => phase.datagram(self.dial, cx, datagram),
            Phase::KeSent(phase) => phase.datagram(self.dial, cx, datagram),
            Phase::AuthSent(phase) => phase.datagram(self.dial, cx, datagram),
            Phase::EapSent(phase) => phase.datagram(self.dial, cx, datagram),
            Phase::KeySent(phase) => phase.datagram(self.dial, cx, datagram),
            // A duplicate of a response that was taken already, or a request that comes too early: the server sends
            // it again.
            phase => {
                cx.ignore();
                Next::State(Box::new(Self { phase, ..*self }))
            }
        }
    }

    fn answer(self: Box<Self>, cx: &mut Cx<'_>, id: AskId, answer: Answer) -> Next {
        if self.waiting.is_none_or(|(waiting, _)| waiting != id) {
            return Next::State(self);
        }
        let Self { dial, waiting, phase } = *self;
        match (phase, answer) {
            (Phase::Generating(p), Answer::Generated(result)) => p.generated(dial, cx, result),
            (Phase::Agreeing(p), Answer::Agreed(result)) => p.agreed(dial, cx, result),
            (Phase::KeGenerating(p), Answer::Generated(result)) => p.generated(dial, cx, result),
            (Phase::KeAgreeing(p), Answer::Agreed(result)) => p.agreed(dial, cx, result),
            (Phase::Allocating(p), Answer::Spi(result)) => p.allocated(dial, cx, result),
            (Phase::Mixing(p), Answer::Ppk(result)) => p.answered(dial, cx, result),
            (Phase::Proving(p), Answer::Psk(result)) => p.key(dial, cx, result),
            (Phase::Proving(p), Answer::Signed(result)) => p.signed(dial, cx, result),
            (Phase::Verifying(p), Answer::Psk(result)) => p.key(dial, cx, result),
            (Phase::Verifying(p), Answer::Verified(result)) => p.verified(dial, cx, result),
            (Phase::EapAsking(p), Answer::Eap(result)) => p.answered(dial, cx, result),
            (Phase::Installing(p), Answer::Installed(result)) => p.installed(dial, cx, result),
            // An answer of another name than the question: the driver's mistake, as good as none.
            (phase, _) => Next::State(Box::new(Self { dial, waiting, phase })),
        }
    }

    fn wake(self: Box<Self>, cx: &mut Cx<'_>) -> Next {
        if self.waiting.is_some_and(|(_, until)| until <= cx.now) {
            let why = explain::unanswered(self.step());
            let phase = match self.phase {
                Phase::EapAsking(asking) => return asking.give_up(self.dial, cx, why),
                Phase::Mixing(mixing) => return mixing.fail(self.dial, cx, why),
                phase => phase,
            };
            return match Self::handshake_with_peer(phase) {
                Some(handshake) => self.dial.refuse(cx, handshake, Task::DeleteIke, why),
                None => Next::failed(why),
            };
        }
        match self.phase {
            Phase::ResumeSent(phase) => phase.wake(self.dial, cx),
            Phase::InitSent(phase) => phase.wake(self.dial, cx),
            Phase::KeSent(phase) => phase.wake(self.dial, cx),
            Phase::AuthSent(phase) => phase.wake(self.dial, cx),
            Phase::EapSent(phase) => phase.wake(self.dial, cx),
            Phase::KeySent(phase) => phase.wake(self.dial, cx),
            phase => Next::State(Box::new(Self { phase, ..*self })),
        }
    }

    fn close(self: Box<Self>, cx: &mut Cx<'_>) -> Next {
        let Self { mut dial, phase, .. } = *self;
        dial.give_back(cx);
        // The server may have let us in without our knowing: one word, without waiting.
        let phase = match phase {
            Phase::AuthSent(auth::AuthSent { handshake, .. })
            | Phase::KeySent(eap::KeySent { handshake, .. })
            | Phase::EapSent(eap::Sent { handshake, .. })
            | Phase::EapAsking(eap::Asking { handshake, .. }) => {
                dial.ike(cx, handshake).courtesy(cx);
                return Next::Closed(Ok(()));
            }
            phase => phase,
        };
        match Self::handshake_with_peer(phase) {
            Some(handshake) => dial.ike(cx, handshake).ending(cx, Task::DeleteIke, Ok(())),
            None => Next::Closed(Ok(())),
        }
    }

    fn close_child(self: Box<Self>, _: &mut Cx<'_>, _: ChildId) -> Next {
        Next::State(self)
    }

    fn input(self: Box<Self>, _: &mut Cx<'_>, _: Order) -> Next {
        Next::State(self)
    }

    fn deadline(&self) -> Option<(Instant, Timer)> {
        match &self.phase {
            Phase::ResumeSent(phase) => Some((phase.request.deadline(), Timer::Retransmit)),
            Phase::InitSent(phase) => Some((phase.request.deadline(), Timer::Retransmit)),
            Phase::KeSent(phase) => Some((phase.request.deadline(), Timer::Retransmit)),
            Phase::AuthSent(phase) => Some((phase.request.deadline(), Timer::Retransmit)),
            Phase::EapSent(phase) => Some((phase.request.deadline(), Timer::Retransmit)),
            Phase::KeySent(phase) => Some((phase.request.deadline(), Timer::Retransmit)),
            Phase::Generating(_)
            | Phase::Agreeing(_)
            | Phase::KeGenerating(_)
            | Phase::KeAgreeing(_)
            | Phase::Allocating(_)
            | Phase::Mixing(_)
            | Phase::Proving(_)
            | Phase::Verifying(_)
            | Phase::EapAsking(_)
            | Phase::Installing(_) => self.waiting.map(|(_, until)| (until, Timer::HalfOpen)),
        }
    }

    fn stage(&self) -> Stage {
        Stage::Dialling
    }

    fn role(&self) -> Role {
        Role::Initiator
    }

    fn peer_spi(&self) -> Option<u64> {
        let handshake = match &self.phase {
            Phase::ResumeSent(_) | Phase::Generating(_) | Phase::InitSent(_) | Phase::Agreeing(_) => {
                return None;
            }
            Phase::KeGenerating(p) => &p.handshake,
            Phase::KeSent(p) => &p.handshake,
            Phase::KeAgreeing(p) => &p.handshake,
            Phase::Allocating(p) => &p.handshake,
            Phase::Mixing(p) => &p.handshake,
            Phase::Proving(p) => &p.handshake,
            Phase::AuthSent(p) => &p.handshake,
            Phase::Verifying(p) => &p.handshake,
            Phase::EapAsking(p) => &p.handshake,
            Phase::EapSent(p) => &p.handshake,
            Phase::KeySent(p) => &p.handshake,
            Phase::Installing(p) => &p.handshake,
        };
        Some(handshake.channel.spi_r)
    }

    fn our_spi(&self) -> Option<u64> {
        Some(self.dial.spi)
    }
}
