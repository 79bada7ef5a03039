//! What every state has in common, and what it may use while it works on one input.

use core::time::Duration;
use std::collections::VecDeque;
use std::sync::Arc;

use adit_core::snapshot::{Reader, Writer};
use adit_core::{Entropy, Failure, Identity, Instant, Path, Transmit};
use adit_isakmp::Header;
use adit_isakmp::v1::Provider;

use crate::api::{Answer, Ask, AskId, AuthMethod, ChildId, Event, InitiatorConfig, Output, SaId, Timer};
use crate::channel::Channel;
use crate::initiator::Initiator;
use crate::natt::Nat;
use crate::policy::Policy;
use crate::responder::Responder;
use crate::up::Up;

/// Bits of an [`AskId`] and an [`SaId`] that name the slot; the others count, so that neither is used twice.
const SLOT_BITS: u32 = 24;
/// Tells names of IKEv1 from those of IKEv2.
const OURS: u64 = 1 << 63;

/// One connection, or what may become one. Each input consumes it and makes the next one.
pub(crate) enum State {
    /// We dial.
    Initiator(Box<Initiator>),
    /// A peer dials.
    Responder(Box<Responder>),
    /// Phase 1 is over.
    Up(Box<Up>),
}

/// What becomes of it after an input.
pub(crate) enum Next {
    /// It is in this state.
    State(State),
    /// Phase 1 is over: there is an ISAKMP SA.
    Stands(Box<Stands>),
    /// It is gone.
    Closed(Result<(), Failure>),
}

impl Next {
    pub(crate) const fn failed(failure: Failure) -> Self {
        Self::Closed(Err(failure))
    }
}

/// What phase 1 has come to.
pub(crate) struct Stands {
    pub(crate) channel: Channel,
    pub(crate) initiator: bool,
    pub(crate) auth: AuthMethod,
    pub(crate) nat: Nat,
    pub(crate) life: Option<Duration>,
    pub(crate) remote_id: Identity,
    pub(crate) policy: Arc<Policy>,
    /// As initiator: what to dial with again.
    pub(crate) config: Option<Arc<InitiatorConfig>>,
    /// The peer has no other SA with us.
    pub(crate) initial_contact: bool,
    pub(crate) last: Last,
}

/// The last message of phase 1 that came, and what was sent for it: if it comes again, so does the answer.
#[derive(Default)]
pub(crate) struct Last {
    digest: [u8; 20],
    answer: Vec<Vec<u8>>,
    repeated: u8,
}

impl Last {
    /// So often one answer is repeated.
    const MOST: u8 = 16;

    pub(crate) fn new(cx: &Cx<'_>, datagram: &[u8], answer: Vec<Vec<u8>>) -> Self {
        Self { digest: cx.digest(datagram), answer, repeated: 0 }
    }

    /// Whether this is that message again. The answer goes out again, to where it went first.
    pub(crate) fn repeat(&mut self, cx: &mut Cx<'_>, datagram: &[u8], path: Path) -> bool {
        let again = !self.answer.is_empty() && cx.digest(datagram) == self.digest;
        if again && self.repeated < Self::MOST {
            self.repeated = self.repeated.saturating_add(1);
            cx.shared.counters.repeated = cx.shared.counters.repeated.saturating_add(1);
            cx.transmit_all(path, &self.answer);
        }
        again
    }
}

impl Last {
    pub(crate) fn save(&self, w: &mut Writer) {
        w.fixed(&self.digest);
        w.list(&self.answer, |w, datagram| w.bytes(datagram));
        w.u8(self.repeated);
    }

    pub(crate) fn read(r: &mut Reader<'_>) -> Option<Self> {
        let digest = r.fixed()?;
        Some(Self { digest, answer: r.list(datagram)?, repeated: r.u8()? })
    }
}

/// One that is to be sent again as it is.
pub(crate) fn datagram(r: &mut Reader<'_>) -> Option<Vec<u8>> {
    r.bytes().filter(|bytes| !bytes.is_empty()).map(<[u8]>::to_vec)
}

/// A datagram, and what its header says.
pub(crate) struct Datagram {
    pub(crate) path: Path,
    pub(crate) bytes: Vec<u8>,
    pub(crate) header: Header,
}

/// What all connections of an endpoint share.
pub(crate) struct Shared {
    pub(crate) crypto: Arc<dyn Provider>,
    pub(crate) entropy: Box<dyn Entropy>,
    pub(crate) out: VecDeque<Output>,
    pub(crate) counters: Counters,
    /// Connections whose ISAKMP SA is to be made anew.
    pub(crate) redial: Vec<SaId>,
    next_id: u64,
}

impl Shared {
    pub(crate) fn new(crypto: Arc<dyn Provider>, entropy: Box<dyn Entropy>) -> Self {
        let (out, counters) = (VecDeque::new(), Counters::default());
        Self { crypto, entropy, out, counters, redial: Vec::new(), next_id: 0 }
    }

    /// A number that has not been used, with the slot in its low bits.
    pub(crate) fn fresh_id(&mut self, slot: usize) -> u64 {
        self.next_id = self.next_id.wrapping_add(1);
        OURS | (self.next_id << SLOT_BITS) | ((slot as u64) & ((1 << SLOT_BITS) - 1))
    }
}

/// The slot that an ID names.
pub(crate) fn slot_of(id: u64) -> usize {
    usize::try_from(id & ((1 << SLOT_BITS) - 1)).unwrap_or(usize::MAX)
}

/// What an endpoint has seen and thrown away, and what it has sent again.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counters {
    /// Datagrams that are no IKEv1 message, or whose cookies are nobody's.
    pub stray: u64,
    /// Messages that are not authentic, or can't be read with our keys.
    pub forged: u64,
    /// Messages of a state that has no use for them, or malformed before authentication.
    pub ignored: u64,
    /// Messages that had been used before.
    pub replayed: u64,
    /// First messages dropped because of a limit, or because nothing that they offer is acceptable.
    pub refused: u64,
    /// Exchanges of peers that had to make room for others.
    pub evicted: u64,
    /// Messages that we sent again.
    pub retransmitted: u64,
    /// Messages of a peer that we had answered, and answered again.
    pub repeated: u64,
}

/// What a state may use while it works on one input.
pub(crate) struct Cx<'a> {
    pub(crate) now: Instant,
    /// The slot.
    pub(crate) key: usize,
    /// The name that the driver knows.
    pub(crate) sa: SaId,
    pub(crate) shared: &'a mut Shared,
    /// Nothing else is up with the peer that is dialled.
    pub(crate) first_contact: bool,
    /// It makes a new ISAKMP SA for a connection that stands: the driver hears of it when that is done.
    pub(crate) quiet: bool,
}

impl Cx<'_> {
    pub(crate) fn ask(&mut self, ask: Ask) -> AskId {
        let id = AskId(self.shared.fresh_id(self.key));
        self.shared.out.push_back(Output::Ask { id, sa: self.sa, ask });
        id
    }

    pub(crate) fn transmit_all(&mut self, path: Path, datagrams: &[Vec<u8>]) {
        for payload in datagrams {
            self.shared.out.push_back(Output::Transmit(Transmit { path, payload: payload.clone() }));
        }
    }

    pub(crate) fn event(&mut self, event: Event) {
        self.shared.out.push_back(Output::Event { sa: self.sa, event });
    }

    pub(crate) fn progress(&mut self, step: adit_core::Step) {
        if !self.quiet {
            self.event(Event::Progress(step));
        }
    }

    pub(crate) fn fresh_child(&mut self) -> ChildId {
        ChildId(self.shared.fresh_id(0))
    }

    /// After `time` and up to an eighth more.
    pub(crate) fn after(&mut self, time: Duration) -> Instant {
        self.now + time + self.random(time / 8)
    }

    /// After `time` less up to a tenth of it; `None`: never.
    pub(crate) fn after_most_of(&mut self, time: Duration) -> Option<Instant> {
        (!time.is_zero()).then(|| self.now + time.saturating_sub(self.random(time / 10)))
    }

    fn random(&mut self, below: Duration) -> Duration {
        let below = u64::try_from(below.as_nanos()).unwrap_or(u64::MAX).max(1);
        Duration::from_nanos(self.shared.entropy.public_u64() % below)
    }

    /// 32 unpredictable public bytes.
    pub(crate) fn nonce(&mut self) -> Vec<u8> {
        let mut nonce = vec![0; 32];
        self.shared.entropy.public(&mut nonce);
        nonce
    }

    /// A Message ID: never 0.
    pub(crate) fn message_id(&mut self) -> u32 {
        let mut bytes = [0; 4];
        self.shared.entropy.public(&mut bytes);
        // [2408:3.1-2]
        u32::from_be_bytes(bytes).max(1)
    }

    pub(crate) fn digest(&self, datagram: &[u8]) -> [u8; 20] {
        self.shared.crypto.sha1(&[datagram])
    }

    /// A message was not used.
    pub(crate) fn ignore(&mut self) {
        self.shared.counters.ignored = self.shared.counters.ignored.saturating_add(1);
    }

    /// A message was not authentic.
    pub(crate) fn forged(&mut self) {
        self.shared.counters.forged = self.shared.counters.forged.saturating_add(1);
    }

    /// A message had been used.
    pub(crate) fn replayed(&mut self) {
        self.shared.counters.replayed = self.shared.counters.replayed.saturating_add(1);
    }
}

impl State {
    pub(crate) fn datagram(self, cx: &mut Cx<'_>, datagram: Datagram) -> Next {
        match self {
            Self::Initiator(s) => s.datagram(cx, datagram),
            Self::Responder(s) => s.datagram(cx, datagram),
            Self::Up(s) => s.datagram(cx, datagram),
        }
    }

    pub(crate) fn answer(self, cx: &mut Cx<'_>, id: AskId, answer: Answer) -> Next {
        match self {
            Self::Initiator(s) => s.answer(cx, id, answer),
            Self::Responder(s) => s.answer(cx, id, answer),
            Self::Up(s) => s.answer(cx, id, answer),
        }
    }

    pub(crate) fn wake(self, cx: &mut Cx<'_>) -> Next {
        match self {
            Self::Initiator(s) => s.wake(cx),
            Self::Responder(s) => s.wake(cx),
            Self::Up(s) => s.wake(cx),
        }
    }

    pub(crate) fn deadline(&self) -> Option<(Instant, Timer)> {
        match self {
            Self::Initiator(s) => s.deadline(),
            Self::Responder(s) => Some(s.deadline()),
            Self::Up(s) => s.deadline(),
        }
    }
}
