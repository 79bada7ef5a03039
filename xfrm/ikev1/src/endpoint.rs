//! All connections of one pair of sockets.

mod first;
mod restore;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use core::net::{IpAddr, SocketAddr};

use adit_core::{Entropy, Failure, Identity, Instant, Path};
use adit_isakmp::v1::{Kind, Provider};
use adit_isakmp::{ExchangeType, HeaderView};
use slab::Slab;

use crate::api::{Event, InitiatorConfig, Input, Output, ResponderDefaults, SaId, Timer};
use crate::fragments::{self, Reassembly};
use crate::half_open::HalfOpen;
use crate::initiator::Initiator;
use crate::state::{Counters, Cx, Datagram, Next, Shared, Stands, State, slot_of};
use crate::up::{Up, peer_key};

type PeerKey = (SocketAddr, Identity, Identity);

/// All connections of one pair of sockets, initiators and responders. See the crate's documentation.
pub struct Endpoint {
    shared: Shared,
    slots: Slab<Slot>,
    /// From our cookies to slots.
    cookies: BTreeMap<u64, usize>,
    half_open: HalfOpen,
    deadlines: BTreeSet<(Instant, usize)>,
    /// From peers to what they have.
    peers: BTreeMap<PeerKey, usize>,
    /// From connections to what makes a new ISAKMP SA for them.
    heirs: BTreeSet<(SaId, usize)>,
    /// From addresses to connections that we have dialled there.
    dialled: BTreeSet<(IpAddr, usize)>,
    responder: Option<Arc<ResponderDefaults>>,
    up: usize,
    refused_at: Option<Instant>,
    /// Those that have worked since somebody asked.
    touched: Vec<SaId>,
}

struct Slot {
    sa: SaId,
    /// What the peer chose, while it is half-open.
    first: Option<(u64, IpAddr)>,
    /// The connection that it makes a new ISAKMP SA for.
    heir_of: Option<SaId>,
    /// Ours that name it.
    cookies: Vec<u64>,
    /// We dial a peer with which nothing else is up or dialled.
    first_contact: bool,
    deadline: Option<Instant>,
    peer: Option<PeerKey>,
    /// Where we have dialled it.
    dialled: Option<IpAddr>,
    fragments: Option<Box<Reassembly>>,
    /// It has worked since somebody asked, who is still to be told.
    touched: bool,
    /// `None` only while it works.
    state: Option<State>,
}

impl Slot {
    /// Of a connection that begins.
    const fn new(sa: SaId) -> Self {
        Self {
            sa,
            first: None,
            heir_of: None,
            cookies: Vec::new(),
            first_contact: false,
            deadline: None,
            peer: None,
            dialled: None,
            fragments: None,
            touched: false,
            state: None,
        }
    }
}

impl Endpoint {
    /// One without any connection. With `responder`, peers may dial.
    #[must_use]
    pub fn new(
        crypto: Arc<dyn Provider>,
        entropy: Box<dyn Entropy>,
        responder: Option<ResponderDefaults>,
    ) -> Self {
        Self {
            shared: Shared::new(crypto, entropy),
            slots: Slab::new(),
            cookies: BTreeMap::new(),
            half_open: HalfOpen::default(),
            deadlines: BTreeSet::new(),
            peers: BTreeMap::new(),
            heirs: BTreeSet::new(),
            dialled: BTreeSet::new(),
            responder: responder.map(Arc::new),
            up: 0,
            refused_at: None,
            touched: Vec::new(),
        }
    }

    /// Dials. It ends in `Event::Established` or `Event::Closed`, however the peer and the driver behave.
    pub fn initiate(&mut self, now: Instant, config: InitiatorConfig) -> SaId {
        let server = config.path.remote.ip();
        let same = |(end, local, _): &PeerKey| end.ip() == server && *local == config.local_id;
        let alone = !self.peers.keys().any(same);
        let (key, cookie) = self.open(None, None);
        let sa = match self.slots.get_mut(key) {
            Some(slot) => {
                slot.first_contact = alone;
                slot.sa
            }
            None => SaId(0),
        };
        self.run(now, key, |cx| Initiator::begin(cx, Arc::new(config), cookie));
        sa
    }

    /// Takes one input, and does whatever is due.
    pub fn handle(&mut self, now: Instant, input: Input) {
        match input {
            Input::Datagram { path, payload } => self.datagram(now, path, payload),
            Input::Answer { id, answer } => {
                self.step(now, slot_of(id.0), |state, cx| state.answer(cx, id, answer));
            }
            Input::Close { sa } => {
                self.abandon_heirs(sa);
                self.step_of(now, sa, |state, cx| match state {
                    State::Up(up) => up.close(cx),
                    State::Initiator(_) | State::Responder(_) => Next::Closed(Ok(())),
                });
            }
            Input::CloseChild { sa, child } => {
                self.step_up(now, sa, |up, cx| up.close_child(cx, child));
            }
            Input::Rekey { sa, child } => self.step_up(now, sa, |up, cx| up.rekey(cx, child)),
            Input::Mapping { sa, remote } => self.step_up(now, sa, |up, cx| up.mapping(cx, remote)),
            Input::Wake => {}
        }
        self.wake(now);
        self.redial(now);
    }

    /// The next thing to do for the driver.
    pub fn poll(&mut self) -> Option<Output> {
        self.shared.out.pop_front()
    }

    /// When to come back without any other input, and why.
    #[must_use]
    pub fn deadline(&self) -> Option<(Instant, Timer)> {
        let (_, slot) = self.deadlines.first()?;
        self.slots.get(*slot)?.state.as_ref()?.deadline()
    }

    /// Lets peers dial by these rules from now on, or no more. What exists stays.
    pub fn set_responder(&mut self, responder: Option<ResponderDefaults>) {
        self.responder = responder.map(Arc::new);
    }

    /// How many there are, in any state.
    #[must_use]
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// How many of them peers have begun and not finished.
    #[must_use]
    pub fn half_open(&self) -> usize {
        self.half_open.len()
    }

    /// How many are past phase 1.
    #[must_use]
    pub const fn established(&self) -> usize {
        self.up
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
        // [2408:5.2-2]
        if header.major() != 1 {
            return self.stray();
        }
        if header.responder_spi == 0 {
            let known = self.cookies.get(&header.initiator_spi).copied();
            // Somebody may say that nobody there wants what we offer.
            if header.exchange == ExchangeType::INFORMATIONAL_V1
                && let Some(key) = known
            {
                return self.step(now, key, |state, cx| state.datagram(cx, Datagram { path, bytes, header }));
            }
            return self.first_message(now, Datagram { path, bytes, header });
        }
        // [2408:5.2-1]
        let of = |cookie| self.cookies.get(cookie).copied();
        let Some(key) = of(&header.responder_spi).or_else(|| of(&header.initiator_spi)) else {
            return self.stray();
        };
        if Kind(view.next_payload().0) == Kind::FRAGMENT {
            let whole = fragments::of(&view).and_then(|fragment| {
                let slot = self.slots.get_mut(key)?;
                slot.fragments.get_or_insert_default().add(fragment)
            });
            return self.reassembled(now, key, path, whole);
        }
        self.step(now, key, |state, cx| state.datagram(cx, Datagram { path, bytes, header }));
    }

    /// A message that came in pieces says whose it is once more.
    fn reassembled(&mut self, now: Instant, key: usize, path: Path, whole: Option<Vec<u8>>) {
        let Some(bytes) = whole else {
            return;
        };
        let Ok(view) = HeaderView::parse(&bytes) else {
            return self.stray();
        };
        let header = view.header();
        let ours = [header.responder_spi, header.initiator_spi];
        let same = ours.iter().any(|c| self.cookies.get(c) == Some(&key));
        if !same || Kind(view.next_payload().0) == Kind::FRAGMENT || header.major() != 1 {
            return self.stray();
        }
        self.step(now, key, |state, cx| state.datagram(cx, Datagram { path, bytes, header }));
    }

    const fn stray(&mut self) {
        self.shared.counters.stray = self.shared.counters.stray.saturating_add(1);
    }

    const fn refused(&mut self) {
        self.shared.counters.refused = self.shared.counters.refused.saturating_add(1);
    }

    /// A slot with a cookie of its own. It has no state yet.
    fn open(&mut self, first: Option<(u64, IpAddr)>, heir_of: Option<SaId>) -> (usize, u64) {
        let entry = self.slots.vacant_entry();
        let key = entry.key();
        let sa = heir_of.unwrap_or(SaId(self.shared.fresh_id(key)));
        entry.insert(Slot { first, heir_of, ..Slot::new(sa) });
        if let Some(of) = heir_of {
            self.heirs.insert((of, key));
        }
        if let Some((cookie, address)) = first {
            self.half_open.insert(cookie, address, key);
        }
        let cookie = loop {
            let cookie = self.shared.entropy.public_u64();
            if cookie != 0 && !self.cookies.contains_key(&cookie) {
                break cookie;
            }
        };
        self.names(cookie, key);
        (key, cookie)
    }

    /// A cookie of ours names this slot from now on.
    fn names(&mut self, cookie: u64, key: usize) {
        self.cookies.insert(cookie, key);
        if let Some(slot) = self.slots.get_mut(key) {
            slot.cookies.push(cookie);
        }
    }

    fn step_of(&mut self, now: Instant, sa: SaId, act: impl FnOnce(State, &mut Cx<'_>) -> Next) {
        let key = slot_of(sa.0);
        if self.slots.get(key).is_some_and(|s| s.sa == sa && s.heir_of.is_none()) {
            self.step(now, key, act);
        }
    }

    fn step_up(&mut self, now: Instant, sa: SaId, act: impl FnOnce(Box<Up>, &mut Cx<'_>) -> Next) {
        self.step_of(now, sa, |state, cx| match state {
            State::Up(up) => act(up, cx),
            other => Next::State(other),
        });
    }

    /// Lets the state of a slot work on one input.
    fn step(&mut self, now: Instant, key: usize, act: impl FnOnce(State, &mut Cx<'_>) -> Next) {
        let Some(slot) = self.slots.get_mut(key) else {
            return;
        };
        let Some(state) = slot.state.take() else {
            return;
        };
        if matches!(state, State::Up(_)) {
            self.up = self.up.saturating_sub(1);
        }
        self.run(now, key, |cx| act(state, cx));
    }

    fn run(&mut self, now: Instant, key: usize, act: impl FnOnce(&mut Cx<'_>) -> Next) {
        let Some(slot) = self.slots.get(key) else {
            return;
        };
        let (sa, quiet, first_contact) = (slot.sa, slot.heir_of.is_some(), slot.first_contact);
        let mut cx = Cx { now, key, sa, shared: &mut self.shared, first_contact, quiet };
        match act(&mut cx) {
            Next::State(state) => self.settle(key, state),
            Next::Closed(result) => self.closed(now, key, result),
            Next::Stands(stands) => self.stands(now, key, *stands),
        }
    }

    /// Phase 1 is over: it is a connection of its own, or the new ISAKMP SA of one that stands.
    fn stands(&mut self, now: Instant, key: usize, stands: Stands) {
        let policy = &stands.policy;
        let peer = peer_key(stands.channel.path, stands.nat, &policy.local_id, &stands.remote_id);
        let heir_of = self.slots.get(key).and_then(|s| s.heir_of);
        let old = match heir_of {
            Some(sa) => Some(slot_of(sa.0)).filter(|k| self.slots.get(*k).is_some_and(|s| s.sa == sa)),
            None => self.peers.get(&peer).copied().filter(|_| !stands.initiator),
        };
        let Some(old) = old.filter(|old| *old != key) else {
            if heir_of.is_some() {
                return self.remove(key);
            }
            return self.run(now, key, |cx| Up::begin(cx, stands));
        };
        if stands.initial_contact {
            self.step(now, old, |state, cx| match state {
                State::Up(up) => up.replaced(cx),
                other => Next::State(other),
            });
            if heir_of.is_some() {
                return self.remove(key);
            }
            return self.run(now, key, |cx| Up::begin(cx, stands));
        }
        let ours = if stands.initiator { stands.channel.cookies.0 } else { stands.channel.cookies.1 };
        self.names(ours, old);
        if heir_of.is_none()
            && let Some(slot) = self.slots.get(key)
        {
            self.shared.out.push_back(Output::Event { sa: slot.sa, event: Event::Closed(Ok(())) });
        }
        self.remove(key);
        self.step(now, old, |state, cx| match state {
            State::Up(up) => up.adopt(cx, stands),
            other => Next::State(other),
        });
    }

    fn closed(&mut self, now: Instant, key: usize, result: Result<(), Failure>) {
        let Some(slot) = self.slots.get(key) else {
            return;
        };
        let (sa, heir_of, theirs) = (slot.sa, slot.heir_of, slot.first.is_some());
        self.remove(key);
        match (heir_of, result) {
            // Whoever has begun it: nobody has been dialled.
            (Some(_), _) if theirs => {}

            (None, result) => {
                self.abandon_heirs(sa);
                self.shared.out.push_back(Output::Event { sa, event: Event::Closed(result) });
            }
            (Some(of), Err(why)) => self.step_up(now, of, |up, cx| up.not_redialled(cx, why)),
            (Some(_), Ok(())) => {}
        }
    }

    /// What makes a new ISAKMP SA for a connection that is gone has no use.
    fn abandon_heirs(&mut self, sa: SaId) {
        let all = self.heirs.range((sa, 0)..=(sa, usize::MAX)).map(|(_, key)| *key);
        for key in all.collect::<Vec<_>>() {
            self.remove(key);
        }
    }

    /// The slot is now in this state.
    fn settle(&mut self, key: usize, state: State) {
        let peer = match &state {
            State::Up(up) => Some(up.key()),
            State::Initiator(_) | State::Responder(_) => None,
        };
        let proven = match &state {
            State::Responder(r) => r.is_proven(),
            State::Initiator(_) | State::Up(_) => false,
        };
        let deadline = state.deadline().map(|(at, _)| at);
        let is_up = matches!(state, State::Up(_));
        let dialled = if let State::Up(up) = &state { up.dialled_at() } else { None };
        let known: Option<Vec<(u64, u64)>> = match &state {
            State::Up(up) => Some(up.our_cookies().collect()),
            State::Initiator(_) | State::Responder(_) => None,
        };
        let Some(slot) = self.slots.get_mut(key) else {
            return;
        };
        slot.state = Some(state);
        if let Some(known) = known {
            // Cookies of ISAKMP SAs that are gone name nothing any more.
            let names = |cookie: &u64| known.iter().any(|(i, r)| cookie == i || cookie == r);
            let cookies = &mut self.cookies;
            slot.cookies.retain(|cookie| names(cookie) || cookies.remove(cookie).is_none());
        }
        if let Some(at) = core::mem::replace(&mut slot.deadline, deadline) {
            self.deadlines.remove(&(at, key));
        }
        if let Some(at) = deadline {
            self.deadlines.insert((at, key));
        }
        if proven && let Some((cookie, address)) = slot.first {
            self.half_open.proven(cookie, address);
        }
        if is_up {
            self.up = self.up.saturating_add(1);
            if let Some((cookie, address)) = slot.first.take() {
                self.half_open.remove(cookie, address);
            }
        }
        if slot.dialled != dialled {
            if let Some(old) = core::mem::replace(&mut slot.dialled, dialled) {
                self.dialled.remove(&(old, key));
            }
            self.dialled.extend(dialled.map(|at| (at, key)));
        }
        if slot.peer != peer {
            if let Some(old) = core::mem::replace(&mut slot.peer, peer.clone())
                && self.peers.get(&old) == Some(&key)
            {
                self.peers.remove(&old);
            }
            if let Some(peer) = peer {
                self.peers.insert(peer, key);
            }
        }
        self.touch(key);
    }

    fn remove(&mut self, key: usize) {
        let Some(slot) = self.slots.try_remove(key) else {
            return;
        };
        for cookie in slot.cookies {
            if self.cookies.get(&cookie) == Some(&key) {
                self.cookies.remove(&cookie);
            }
        }
        if let Some(of) = slot.heir_of {
            self.heirs.remove(&(of, key));
        }
        if let Some(at) = slot.dialled {
            self.dialled.remove(&(at, key));
        }
        if let Some(at) = slot.deadline {
            self.deadlines.remove(&(at, key));
        }
        if let Some((cookie, address)) = slot.first {
            self.half_open.remove(cookie, address);
        }
        if let Some(peer) = slot.peer
            && self.peers.get(&peer) == Some(&key)
        {
            self.peers.remove(&peer);
        }
    }

    fn wake(&mut self, now: Instant) {
        while let Some((at, key)) = self.deadlines.first().copied().filter(|(at, _)| *at <= now) {
            self.deadlines.remove(&(at, key));
            if let Some(slot) = self.slots.get_mut(key) {
                slot.deadline = None;
            }
            self.step(now, key, State::wake);
        }
    }

    /// Begins what makes new ISAKMP SAs.
    fn redial(&mut self, now: Instant) {
        for sa in core::mem::take(&mut self.shared.redial) {
            let config = self.slots.get(slot_of(sa.0)).filter(|s| s.sa == sa).and_then(|s| match &s.state {
                Some(State::Up(up)) => up.redial_config(),
                _ => None,
            });
            let Some(config) = config else { continue };
            let (key, cookie) = self.open(None, Some(sa));
            self.run(now, key, |cx| Initiator::begin(cx, config, cookie));
        }
    }
}
