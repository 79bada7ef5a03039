//! All IKE_SAs of one pair of sockets.

mod admission;
mod cookie;
mod first;
mod restore;
mod timers;

use std::collections::BTreeMap;
use std::sync::Arc;

use core::net::IpAddr;

use adit_core::{Entropy, Failure, Identity, Instant, Path};
use adit_isakmp::HeaderView;
use adit_isakmp::crypto::CryptoProvider;
use adit_isakmp::proposal::IkeProposal;
use slab::Slab;

use crate::api::{Event, InitiatorConfig, Input, Output, ResponderDefaults, SaId, Timer};
use crate::initiator::Initiator;
use crate::state::{Counters, Cx, Datagram, Next, Order, Role, Shared, Stage, State, slot_of};

use admission::HalfOpen;
use cookie::Cookies;
use timers::Timers;

/// Last responses that are kept for repetition. Peers that were refused must not fill our memory, nor keep others out.
const MOST_LINGERING: usize = 4096;

/// All IKE_SAs of one pair of sockets, initiators and responders. See the crate's documentation.
///
/// The cost of a datagram does not depend on how many there are, but for the logarithm in a heap or a tree.
pub struct Endpoint {
    shared: Shared,
    slots: Slab<Slot>,
    half_open: HalfOpen,
    cookies: Cookies,
    timers: Timers,
    responder: Option<Arc<ResponderDefaults>>,
    /// How many IKE_SAs of ours are between these two identities (ours, the peer's).
    dialled: BTreeMap<(Identity, Identity), usize>,
    established: usize,
    lingering: usize,
    /// Those that have worked since somebody looked.
    touched: Vec<SaId>,
}

struct Slot {
    sa: SaId,
    our_spi: u64,
    /// What the peer chose, while it is half-open.
    first: Option<(u64, IpAddr)>,
    dialled: Option<(Identity, Identity)>,
    stage: Stage,
    deadline: Option<Instant>,
    /// It is among those.
    touched: bool,
    /// `None` only while it works.
    state: Option<Box<dyn State>>,
}

impl Endpoint {
    /// One without any IKE_SA. With `responder`, peers may dial.
    #[must_use]
    pub fn new(
        crypto: Arc<dyn CryptoProvider>,
        entropy: Box<dyn Entropy>,
        responder: Option<ResponderDefaults>,
    ) -> Self {
        let mut shared = Shared::new(crypto, entropy);
        shared.ike = rekeyed_to(responder.as_ref());
        bound_tickets(&mut shared, responder.as_ref());
        Self {
            shared,
            slots: Slab::new(),
            half_open: HalfOpen::default(),
            cookies: Cookies::default(),
            timers: Timers::default(),
            responder: responder.map(Arc::new),
            dialled: BTreeMap::new(),
            established: 0,
            lingering: 0,
            touched: Vec::new(),
        }
    }

    /// Dials. It ends in `Event::Established` or `Event::Closed`, however the peer and the driver behave.
    pub fn initiate(&mut self, now: Instant, config: InitiatorConfig) -> SaId {
        let pair = (config.local_id.clone(), config.remote_id.clone());
        *self.dialled.entry(pair.clone()).or_default() += 1;
        let (slot, sa, spi) = self.open(Stage::Dialling, None, Some(pair));
        self.run(now, slot, |cx| Initiator::begin(cx, config, spi));
        self.timers_settle();
        sa
    }

    /// Takes one input, and does whatever is due.
    pub fn handle(&mut self, now: Instant, input: Input) {
        let before = self.shared.out.len();
        match input {
            Input::Datagram { path, payload } => self.datagram(now, path, payload),
            Input::Answer { id, answer } => {
                self.step(now, slot_of(id.0), |state, cx| state.answer(cx, id, answer));
            }
            Input::Close { sa } => self.step_of(now, sa, |state, cx| state.close(cx)),
            Input::CloseChild { sa, child } => {
                self.step_of(now, sa, |state, cx| state.close_child(cx, child));
            }
            Input::Rekey { sa, child } => {
                self.step_of(now, sa, |state, cx| state.input(cx, Order::Rekey(child)));
            }
            Input::AddChild { sa, child } => {
                self.step_of(now, sa, |state, cx| state.input(cx, Order::Add(child)));
            }
            Input::Mapping { sa, remote } => {
                self.step_of(now, sa, |state, cx| state.input(cx, Order::Mapping(remote)));
            }
            Input::Move { sa, path } => {
                self.step_of(now, sa, |state, cx| state.input(cx, Order::Move(path)));
            }
            Input::Probe { sa, paths } => {
                self.step_of(now, sa, |state, cx| state.input(cx, Order::Probe(paths)));
            }
            Input::Addresses { sa, addresses } => {
                self.step_of(now, sa, |state, cx| state.input(cx, Order::Addresses(addresses)));
            }
            Input::Abandon { sa } => self.step_of(now, sa, |state, cx| state.input(cx, Order::Abandon)),
            Input::Wake => {}
        }
        self.wake(now);
        self.inherit(now, before);
        for (sa, resumed) in core::mem::take(&mut self.shared.replaced) {
            self.step_of(now, sa, |state, cx| state.input(cx, Order::Replaced { resumed }));
        }
        self.timers_settle();
    }

    /// What the same peer has besides an IKE_SA that is gone carries on. That comes first of all that is to be done: a peer
    /// that has heard that the old one is over reads no more of what was sent on it.
    fn inherit(&mut self, now: Instant, before: usize) {
        let heirs = core::mem::take(&mut self.shared.heirs);
        if heirs.is_empty() {
            return;
        }
        let others = self.shared.out.len().saturating_sub(before);
        for sa in heirs {
            self.step_of(now, sa, |state, cx| state.input(cx, Order::Inherits));
        }
        if let Some(fresh) = self.shared.out.make_contiguous().get_mut(before..) {
            fresh.rotate_left(others);
        }
    }

    /// The next thing to do for the driver.
    pub fn poll(&mut self) -> Option<Output> {
        self.shared.out.pop_front()
    }

    /// When to come back without any other input, and why.
    #[must_use]
    pub fn deadline(&self) -> Option<(Instant, Timer)> {
        let slot = self.timers.earliest().and_then(|(_, slot)| {
            let state = self.slots.get(slot)?.state.as_ref()?;
            state.deadline()
        });
        let cookie = self.cookies.deadline().map(|at| (at, Timer::CookieSecret));
        let ticket = self.shared.tickets.deadline().map(|at| (at, Timer::Ticket));
        [slot, cookie, ticket].into_iter().flatten().min_by_key(|(at, _)| *at)
    }

    /// Lets peers dial by these rules from now on, or no more. What exists stays.
    pub fn set_responder(&mut self, responder: Option<ResponderDefaults>) {
        self.shared.ike = rekeyed_to(responder.as_ref());
        bound_tickets(&mut self.shared, responder.as_ref());
        self.responder = responder.map(Arc::new);
    }

    /// How many IKE_SAs there are, in any state.
    #[must_use]
    pub fn len(&self) -> usize {
        self.slots.len().saturating_sub(self.lingering)
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many of them peers have begun and not finished.
    #[must_use]
    pub fn half_open(&self) -> usize {
        self.half_open.len()
    }

    /// How many are up, or closing.
    #[must_use]
    pub const fn established(&self) -> usize {
        self.established
    }

    /// IKE_SAs that are gone, whose last response is still repeated if the peer asks again. They go by themselves.
    #[must_use]
    pub const fn lingering(&self) -> usize {
        self.lingering
    }

    /// How many sessions of peers can be resumed.
    #[must_use]
    pub fn tickets(&self) -> usize {
        self.shared.tickets.len()
    }

    /// How many SPIs name something.
    #[cfg(test)]
    pub(crate) fn spis(&self) -> usize {
        self.shared.spis.len()
    }

    /// What has been seen and thrown away.
    #[must_use]
    pub const fn counters(&self) -> Counters {
        self.shared.counters
    }

    fn datagram(&mut self, now: Instant, path: Path, bytes: Vec<u8>) {
        let Ok(view) = HeaderView::parse(&bytes) else {
            return self.stray();
        };
        let header = view.header();
        // [7296:2.5-2] [7296:3.1-6]
        if header.major() > 2 {
            return self.wrong_version(first::Asked { path, length: bytes.len() }, &header);
        }
        if header.check_ikev2().is_err() {
            return self.stray();
        }
        let datagram = Datagram {
            path,
            responder_spi: header.responder_spi,
            our_spi: if header.flags.initiator() { header.responder_spi } else { header.initiator_spi },
            exchange: header.exchange.0,
            message_id: header.message_id,
            is_response: header.flags.response(),
            bytes,
        };
        // The I flag tells which of the two SPIs is ours (RFC 7296 §3.1).
        if header.flags.initiator() {
            if header.responder_spi == 0 {
                return self.first_message(now, datagram, header.initiator_spi);
            }
            self.known(now, header.responder_spi, header.initiator_spi, Role::Responder, datagram);
        } else {
            self.known(now, header.initiator_spi, header.responder_spi, Role::Initiator, datagram);
        }
    }

    fn known(&mut self, now: Instant, ours: u64, theirs: u64, role: Role, datagram: Datagram) {
        // [7296:2.4-3]
        // [7296:2.21.4-4]
        let Some(key) = self.shared.spis.get(ours) else {
            // RFC 7296 §2.21.4: INVALID_IKE_SPI would be a MAY, and helps whoever floods us more than the peer.
            return self.stray();
        };
        let Some(state) = self.slots.get(key).and_then(|s| s.state.as_ref()) else { return self.stray() };
        // [7296:1.5-1] [7296:2.21.4-1]
        if !state.owns(ours, theirs, role) {
            return self.stray();
        }
        self.step(now, key, |state, cx| state.datagram(cx, datagram));
    }

    fn stray(&mut self) {
        let stray = &mut self.shared.counters.stray;
        *stray = stray.saturating_add(1);
    }

    /// A slot with an SPI of its own. It has no state yet.
    fn open(
        &mut self,
        stage: Stage,
        first: Option<(u64, IpAddr)>,
        dialled: Option<(Identity, Identity)>,
    ) -> (usize, SaId, u64) {
        let entry = self.slots.vacant_entry();
        let key = entry.key();
        let our_spi = self.shared.spis.insert(&mut *self.shared.entropy, key);
        let sa = SaId(self.shared.fresh_id(key));
        entry.insert(Slot {
            sa,
            our_spi,
            first,
            dialled,
            stage,
            deadline: None,
            touched: false,
            state: None,
        });
        (key, sa, our_spi)
    }

    fn step_of(&mut self, now: Instant, sa: SaId, act: impl FnOnce(Box<dyn State>, &mut Cx<'_>) -> Next) {
        let key = slot_of(sa.0);
        if self.slots.get(key).is_some_and(|s| s.sa == sa) {
            self.step(now, key, act);
        }
    }

    /// Lets the state of a slot work on one input.
    fn step(&mut self, now: Instant, key: usize, act: impl FnOnce(Box<dyn State>, &mut Cx<'_>) -> Next) {
        let Some(state) = self.slots.get_mut(key).and_then(|s| s.state.take()) else {
            return;
        };
        self.run(now, key, |cx| act(state, cx));
    }

    fn run(&mut self, now: Instant, key: usize, act: impl FnOnce(&mut Cx<'_>) -> Next) {
        let Some(slot) = self.slots.get(key) else {
            return;
        };
        let alone = |pair: &(Identity, Identity)| self.dialled.get(pair) == Some(&1);
        let mut cx = Cx {
            now,
            sa: slot.sa,
            first_contact: slot.stage == Stage::Dialling && slot.dialled.as_ref().is_some_and(alone),
            shared: &mut self.shared,
        };
        match act(&mut cx) {
            Next::State(state) => self.settle(key, state),
            Next::Closed(result) => {
                self.report(key, result);
                self.remove(key);
            }
            Next::ClosedAfter(result, state) => {
                self.report(key, result);
                if state.stage() != Stage::Lingering || self.lingering < MOST_LINGERING {
                    self.settle(key, state);
                } else {
                    self.keep_spi(key, &*state);
                    self.remove(key);
                }
            }
            Next::Forgotten => self.remove(key),
        }
    }

    fn report(&mut self, key: usize, result: Result<(), Failure>) {
        if let Some(slot) = self.slots.get(key) {
            self.shared.out.push_back(Output::Event { sa: slot.sa, event: Event::Closed(result) });
        }
    }

    fn keep_spi(&mut self, key: usize, state: &dyn State) {
        if let (Some(slot), Some(spi)) = (self.slots.get_mut(key), state.our_spi()) {
            slot.our_spi = spi;
        }
    }

    /// The slot is now in this state.
    fn settle(&mut self, key: usize, state: Box<dyn State>) {
        self.keep_spi(key, &*state);
        let Some(slot) = self.slots.get_mut(key) else {
            return;
        };
        let (before, after) = (slot.stage, state.stage());
        let deadline = state.deadline().map(|(at, _)| at);
        slot.stage = after;
        slot.state = Some(state);
        if slot.deadline != deadline {
            slot.deadline = deadline;
            if let Some(at) = deadline {
                self.timers.push(at, key);
            }
        }
        if before != after {
            self.count(before, after);
            self.leave(key, after);
        }
        self.touch(key);
    }

    /// What a slot that has reached this stage is no longer counted for.
    fn leave(&mut self, key: usize, after: Stage) {
        let Some(slot) = self.slots.get_mut(key) else {
            return;
        };
        let pair = if after == Stage::Lingering { slot.dialled.take() } else { None };
        if let Some((spi, address)) = slot.first.take() {
            self.half_open.remove(spi, address);
        }
        if let Some(pair) = pair {
            self.undial(&pair);
        }
    }

    fn undial(&mut self, pair: &(Identity, Identity)) {
        if let Some(count) = self.dialled.get_mut(pair) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.dialled.remove(pair);
            }
        }
    }

    const fn count(&mut self, before: Stage, after: Stage) {
        match before {
            Stage::Established => self.established = self.established.saturating_sub(1),
            Stage::Lingering => self.lingering = self.lingering.saturating_sub(1),
            Stage::Dialling | Stage::HalfOpen => {}
        }
        match after {
            Stage::Established => self.established = self.established.saturating_add(1),
            Stage::Lingering => self.lingering = self.lingering.saturating_add(1),
            Stage::Dialling | Stage::HalfOpen => {}
        }
    }

    fn remove(&mut self, key: usize) {
        let Some(slot) = self.slots.try_remove(key) else {
            return;
        };
        self.shared.spis.remove(slot.our_spi, key);
        self.count(slot.stage, Stage::Dialling);
        if let Some((spi, address)) = slot.first {
            self.half_open.remove(spi, address);
        }
        if let Some(pair) = slot.dialled {
            self.undial(&pair);
        }
    }

    fn wake(&mut self, now: Instant) {
        self.cookies.wake(now);
        self.shared.tickets.wake(now);
        while let Some((at, key)) = self.timers.due(now) {
            let Some(slot) = self.slots.get_mut(key).filter(|s| s.deadline == Some(at)) else {
                continue;
            };
            slot.deadline = None;
            self.step(now, key, |state, cx| state.wake(cx));
        }
        self.timers_settle();
    }

    fn timers_settle(&mut self) {
        let slots = &self.slots;
        self.timers.settle(slots.len(), |key| slots.get(key).and_then(|s| s.deadline));
    }
}

/// One ticket for each IKE_SA that may be up, and as many of peers that were lost.
fn bound_tickets(shared: &mut Shared, responder: Option<&ResponderDefaults>) {
    shared.tickets.bound(responder.map_or(0, |r| r.limit.saturating_mul(2)));
}

/// What IKE_SAs of peers that dial us may be rekeyed to.
fn rekeyed_to(responder: Option<&ResponderDefaults>) -> Arc<[IkeProposal]> {
    responder.into_iter().flat_map(|r| &r.ike).cloned().collect()
}
