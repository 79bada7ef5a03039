//! What every state of an IKE_SA has in common, and what it may use while it works on one input.

use core::net::{IpAddr, SocketAddr};
use core::time::Duration;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Weak};

use adit_core::{Entropy, Failure, Identity, Instant, Path, Transmit};
use adit_isakmp::crypto::CryptoProvider;
use adit_isakmp::proposal::IkeProposal;
use zeroize::Zeroizing;

use crate::api::{Answer, Ask, AskId, ChildConfig, ChildId, Event, Output, SaId, Timer};
use crate::policy::Policy;
use crate::spis::Spis;
use crate::tickets::Tickets;

/// Bits of an [`AskId`] and an [`SaId`] that name the slot; the others count, so that neither is used twice.
pub(crate) const SLOT_BITS: u32 = 24;

/// One state of an IKE_SA. Each input consumes it and makes the next one, so that a stale one can't be used.
pub(crate) trait State: Send {
    /// A datagram whose SPIs and flags are those of this IKE_SA. Nothing in it has been authenticated.
    fn datagram(self: Box<Self>, cx: &mut Cx<'_>, datagram: Datagram) -> Next;

    /// The answer to an Ask of this slot. A state checks that it is the one that it waits for.
    fn answer(self: Box<Self>, cx: &mut Cx<'_>, id: AskId, answer: Answer) -> Next;

    /// Its deadline has come.
    fn wake(self: Box<Self>, cx: &mut Cx<'_>) -> Next;

    /// The driver wants it gone.
    fn close(self: Box<Self>, cx: &mut Cx<'_>) -> Next;

    /// The driver wants one CHILD_SA gone.
    fn close_child(self: Box<Self>, cx: &mut Cx<'_>, child: ChildId) -> Next;

    /// The driver wants something else of one that is up.
    fn input(self: Box<Self>, cx: &mut Cx<'_>, order: Order) -> Next;

    /// When it wants to be woken, and why.
    fn deadline(&self) -> Option<(Instant, Timer)>;

    /// What the endpoint counts it as.
    fn stage(&self) -> Stage;

    /// Who sends the requests whose responses we wait for.
    fn role(&self) -> Role;

    /// The peer's SPI, once it is known.
    fn peer_spi(&self) -> Option<u64>;

    /// Whether a datagram with these SPIs and this I flag is for it.
    fn owns(&self, _ours: u64, theirs: u64, role: Role) -> bool {
        self.role() == role && self.peer_spi().is_none_or(|spi| spi == theirs)
    }

    /// It as octets, for whoever goes on after this process; see [`crate::Endpoint::snapshot`].
    fn snapshot(&self) -> Option<Zeroizing<Vec<u8>>> {
        None
    }

    /// The SPI to give back when it is gone, if it has changed since the beginning.
    fn our_spi(&self) -> Option<u64> {
        None
    }
}

/// What a driver may want of an IKE_SA that is up.
pub(crate) enum Order {
    /// Rekey a CHILD_SA, or the IKE_SA.
    Rekey(Option<ChildId>),
    /// One more CHILD_SA.
    Add(Box<ChildConfig>),
    /// The peer's ESP comes from here now.
    Mapping(SocketAddr),
    /// Go over this path.
    Move(Path),
    /// See which of these paths work.
    Probe(Vec<Path>),
    /// These are our addresses.
    Addresses(Vec<IpAddr>),
    /// The same peer has come in anew; `resumed`: it goes on from this one, which goes without a word.
    Replaced { resumed: bool },
    /// It is not to be, and the peer is not to know.
    Abandon,
    /// What the same peer had besides is gone.
    Inherits,
}

/// What an IKE_SA is to the endpoint's counts and limits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Stage {
    /// An initiator's that is not yet up.
    Dialling,
    /// A responder's that is not yet up.
    HalfOpen,
    /// Up, or closing.
    Established,
    /// Gone; only the last response is still repeated.
    Lingering,
}

/// Who was the original initiator of the IKE_SA (the header's I flag is about this, RFC 7296 §3.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Role {
    /// We.
    Initiator,
    /// The peer.
    Responder,
}

/// What becomes of an IKE_SA after an input.
pub(crate) enum Next {
    /// It is in this state.
    State(Box<dyn State>),
    /// It is gone.
    Closed(Result<(), Failure>),
    /// It is gone; its last response is repeated for a while, should it be asked for again.
    ClosedAfter(Result<(), Failure>, Box<dyn State>),
    /// It had been reported gone already, and now it really is.
    Forgotten,
}

impl Next {
    /// The IKE_SA ends for this reason.
    pub(crate) const fn failed(failure: Failure) -> Self {
        Self::Closed(Err(failure))
    }
}

/// A datagram, and what its header says.
pub(crate) struct Datagram {
    /// From where to where.
    pub(crate) path: Path,
    /// All of it.
    pub(crate) bytes: Vec<u8>,
    /// SPIr of the header.
    pub(crate) responder_spi: u64,
    /// Which of the two SPIs is ours; 0 in a first message.
    pub(crate) our_spi: u64,
    /// Exchange type.
    pub(crate) exchange: u8,
    /// Message ID.
    pub(crate) message_id: u32,
    /// Whether it is a response (the R flag).
    pub(crate) is_response: bool,
}

/// What all IKE_SAs of an endpoint share.
pub(crate) struct Shared {
    pub(crate) crypto: Arc<dyn CryptoProvider>,
    pub(crate) entropy: Box<dyn Entropy>,
    pub(crate) out: VecDeque<Output>,
    pub(crate) counters: Counters,
    /// Our SPIs, with the slots that they name.
    pub(crate) spis: Spis,
    /// What peers that dialled us may rekey their IKE_SAs to.
    pub(crate) ike: Arc<[IkeProposal]>,
    /// Who is up with us as responder, by [`pair`](Self::pair) of both identities, and where it is.
    pub(crate) peers: BTreeMap<(Pair, SaId), IpAddr>,
    /// IKE_SAs whose peer has come in anew, and whether it goes on from that one.
    pub(crate) replaced: Vec<(SaId, bool)>,
    /// IKE_SAs whose peer had another one, which is gone.
    pub(crate) heirs: Vec<SaId>,
    /// Sessions that peers may resume.
    pub(crate) tickets: Tickets,
    /// What many IKE_SAs have in common, as long as one of them lives.
    policies: Vec<Weak<Policy>>,
    next_id: u64,
}

/// Two identities: their hash, as numbers, which are compared in an instruction each.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Pair(u64, u64, u32);

impl Pair {
    const fn of(hash: [u8; 20]) -> Self {
        let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, rest @ ..] = hash;
        Self(
            u64::from_be_bytes([a, b, c, d, e, f, g, h]),
            u64::from_be_bytes([i, j, k, l, m, n, o, p]),
            u32::from_be_bytes(rest),
        )
    }
}

/// What a few tries to rekey may take.
const TRIES_TAKE: Duration = Duration::from_secs(60);

/// So many different policies are shared.
const POLICIES: usize = 32;

impl Shared {
    pub(crate) fn new(crypto: Arc<dyn CryptoProvider>, entropy: Box<dyn Entropy>) -> Self {
        Self {
            crypto,
            entropy,
            out: VecDeque::new(),
            counters: Counters::default(),
            spis: Spis::default(),
            ike: Arc::from([]),
            peers: BTreeMap::new(),
            replaced: Vec::new(),
            heirs: Vec::new(),
            tickets: Tickets::default(),
            policies: Vec::new(),
            next_id: 0,
        }
    }

    /// What stands for two identities, ours and the peer's, in an index.
    pub(crate) fn pair(&self, local: &Identity, remote: &Identity) -> Pair {
        let (ours, theirs) = (local.data(), remote.data());
        let length = u64::try_from(ours.len()).unwrap_or(u64::MAX).to_be_bytes();
        let kinds = [local.id_type(), remote.id_type()];
        Pair::of(self.crypto.sha1(&[&kinds, &length, &ours, &theirs]))
    }

    /// The IKE_SAs of these two that are up, with us as responder, and where the peer is.
    pub(crate) fn up_with(&self, pair: Pair) -> impl Iterator<Item = (SaId, IpAddr)> {
        self.peers.range((pair, SaId(0))..=(pair, SaId(u64::MAX))).map(|((_, sa), from)| (*sa, *from))
    }

    /// `policy`, in the one copy that everybody has who has the same.
    pub(crate) fn share(&mut self, policy: Policy) -> Arc<Policy> {
        self.policies.retain(|p| p.strong_count() > 0);
        if let Some(same) = self.policies.iter().filter_map(Weak::upgrade).find(|p| **p == policy) {
            return same;
        }
        let policy = Arc::new(policy);
        if self.policies.len() < POLICIES {
            self.policies.push(Arc::downgrade(&policy));
        }
        policy
    }

    /// A number that has not been used, with the slot in its low bits.
    pub(crate) fn fresh_id(&mut self, slot: usize) -> u64 {
        self.next_id = self.next_id.wrapping_add(1);
        (self.next_id << SLOT_BITS) | slot_bits(slot)
    }

    /// 32 unpredictable public bytes: enough for every PRF that we know (RFC 7296 §2.10: half its key).
    pub(crate) fn nonce(&mut self) -> Vec<u8> {
        // [7296:2.10-1]
        let mut nonce = vec![0; 32];
        // [7296:3.9-2] [7296:2.10-1]
        self.entropy.public(&mut nonce);
        nonce
    }
}

fn slot_bits(slot: usize) -> u64 {
    (slot as u64) & ((1 << SLOT_BITS) - 1)
}

/// The slot that an ID names.
pub(crate) fn slot_of(id: u64) -> usize {
    usize::try_from(id & ((1 << SLOT_BITS) - 1)).unwrap_or(usize::MAX)
}

/// What an endpoint has seen and thrown away, and what it has sent again.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counters {
    /// Datagrams that are no IKEv2 message, or name no IKE_SA of ours.
    pub stray: u64,
    /// Messages whose integrity check failed.
    pub forged: u64,
    /// Messages out of the window, of a state that has no use for them, or malformed before authentication.
    pub ignored: u64,
    /// First messages dropped because a limit was reached.
    pub refused: u64,
    /// First messages that were answered with a cookie.
    pub cookies: u64,
    /// Requests that we sent again.
    pub retransmitted: u64,
    /// Requests of a peer that we had answered, and answered again.
    pub repeated: u64,
}

/// What a state may use while it works on one input.
pub(crate) struct Cx<'a> {
    pub(crate) now: Instant,
    pub(crate) sa: SaId,
    pub(crate) shared: &'a mut Shared,
    /// Whether an initiator has no other IKE_SA between the same identities.
    pub(crate) first_contact: bool,
}

impl Cx<'_> {
    /// Asks the driver.
    pub(crate) fn ask(&mut self, ask: Ask) -> AskId {
        let id = AskId(self.shared.fresh_id(slot_of(self.sa.0)));
        self.shared.out.push_back(Output::Ask { id, sa: self.sa, ask });
        id
    }

    /// Sends a datagram.
    pub(crate) fn transmit(&mut self, path: Path, payload: Vec<u8>) {
        self.shared.out.push_back(Output::Transmit(Transmit { path, payload }));
    }

    /// Tells the driver.
    pub(crate) fn event(&mut self, event: Event) {
        self.shared.out.push_back(Output::Event { sa: self.sa, event });
    }

    /// A CHILD_SA's name.
    pub(crate) fn fresh_child(&mut self) -> ChildId {
        ChildId(self.shared.fresh_id(0))
    }

    /// After `time` and up to an eighth more, so that many don't do the same at once.
    pub(crate) fn after(&mut self, time: Duration) -> Instant {
        self.now + time + self.random(time / 8)
    }

    /// After `time` less up to a tenth of it; `None`: never.
    pub(crate) fn after_most_of(&mut self, time: Duration) -> Option<Instant> {
        (!time.is_zero()).then(|| self.now + time.saturating_sub(self.random(time / 10)))
    }

    /// Half as long again as the `time` after which something is rekeyed, and at least a minute more: on a slow path a few
    /// tries take that long. When nobody has done it by then, it ends; `None`: never.
    pub(crate) fn life(&self, time: Duration) -> Option<Instant> {
        (!time.is_zero()).then(|| self.now + time.saturating_add((time / 2).max(TRIES_TAKE)))
    }

    /// After some seconds: when what stood in the way is probably over (RFC 7296 §2.25).
    pub(crate) fn soon(&mut self) -> Instant {
        self.now + Duration::from_secs(5) + self.random(Duration::from_secs(5))
    }

    /// The same, for what has been in the way for so long already: later each time, and by chance, since the other end may be
    /// waiting for us likewise.
    pub(crate) fn later(&mut self, already: Duration) -> Instant {
        self.soon() + self.random(already)
    }

    fn random(&mut self, below: Duration) -> Duration {
        let below = u64::try_from(below.as_nanos()).unwrap_or(u64::MAX).max(1);
        Duration::from_nanos(self.shared.entropy.public_u64() % below)
    }

    /// A further SPI of ours, for an IKE_SA that takes this one's place.
    pub(crate) fn reserve_spi(&mut self) -> u64 {
        self.shared.spis.insert(&mut *self.shared.entropy, slot_of(self.sa.0))
    }

    /// That SPI names nothing any more.
    pub(crate) fn release_spi(&mut self, spi: u64) {
        self.shared.spis.remove(spi, slot_of(self.sa.0));
    }

    /// A message was not used.
    pub(crate) fn ignore(&mut self) {
        self.shared.counters.ignored = self.shared.counters.ignored.saturating_add(1);
    }
}
