//! Which datagram is of which tunnel, and how much strangers may cost.

mod restore;

use core::net::{IpAddr, SocketAddr};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use adit_core::{Entropy, Failure, FailureCode, Instant, Path, Secret, Transmit};

use crate::api::{
    Answer, AskId, Association, Config, Dial, Event, Input, Output, SessionNumber, Timer, TunnelNumber,
};
use crate::explain::{failure, hidden, no_secret};
use crate::tunnel::{
    BAD_VALUE, Bad, GENERAL_ERROR, NOT_AUTHORIZED, OTHER_VERSION, Plan, State, Tunnel, UNKNOWN_AVP, VERSION,
    World, unknown_avp, unused,
};
use crate::wire::{Avp, Control, Message, Read, ResultCode, Start, reveal};

/// Control messages that are longer than this are dropped: none that means anything is as long.
const LONGEST: usize = 8192;

type Caller = (SocketAddr, Association, u16);

/// Control connections of one set of Tunnel IDs.
pub struct Endpoint {
    config: Config,
    tunnels: BTreeMap<TunnelNumber, Tunnel>,
    /// Our Tunnel IDs.
    ids: BTreeMap<u16, TunnelNumber>,
    /// Those that others have dialled, by where they are, by what they come, and their Tunnel ID.
    callers: BTreeMap<Caller, TunnelNumber>,
    /// Of each address, tunnels whose other end has not shown that it hears us, or that have no session.
    unproven: BTreeMap<IpAddr, usize>,
    sessions: BTreeMap<SessionNumber, TunnelNumber>,
    asks: BTreeMap<AskId, (TunnelNumber, SessionNumber)>,
    deadlines: BTreeSet<(Instant, TunnelNumber, Timer)>,
    last: u64,
    out: VecDeque<Output>,
}

impl Endpoint {
    /// One without tunnels.
    #[must_use]
    pub const fn new(config: Config) -> Self {
        Self {
            config,
            tunnels: BTreeMap::new(),
            ids: BTreeMap::new(),
            callers: BTreeMap::new(),
            unproven: BTreeMap::new(),
            sessions: BTreeMap::new(),
            asks: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            last: 0,
            out: VecDeque::new(),
        }
    }

    /// Dials a peer; then [`Endpoint::poll`] until `None`. `None`: all Tunnel IDs are in use.
    pub fn dial(&mut self, now: Instant, entropy: &mut dyn Entropy, dial: Dial) -> Option<TunnelNumber> {
        let local = unused(entropy, |id| self.ids.contains_key(&id))?;
        let Dial { path, secret, hide, only, call, takes, sessions } = dial;
        let plan = Plan { path, association: Association::default(), secret, hide, takes, sessions, call };
        let number = self.next_number();
        let mut world = self.world(now, entropy);
        let tunnel = Tunnel::dial(&mut world, number, local, plan, only);
        self.adopt(now, entropy, tunnel);
        Some(number)
    }

    /// Tells it something; then [`Endpoint::poll`] until `None`.
    pub fn handle(&mut self, now: Instant, entropy: &mut dyn Entropy, input: Input) {
        match input {
            Input::Datagram { path, association, octets } => {
                self.datagram(now, entropy, (path, association), &octets);
            }
            Input::Place { tunnel, call } => {
                self.on(now, entropy, tunnel, |tunnel, world| tunnel.place(world, call));
            }
            Input::Clear { session } => {
                if let Some(tunnel) = self.sessions.get(&session).copied() {
                    self.on(now, entropy, tunnel, |tunnel, world| tunnel.clear(world, session));
                }
            }
            Input::Close { tunnel } => self.on(now, entropy, tunnel, Tunnel::close),
            Input::Bare { association, why } => self.bare(now, entropy, association, &why),
            Input::Answer { id, answer: Answer::Carried(done) } => {
                if let Some((tunnel, session)) = self.asks.remove(&id) {
                    self.on(now, entropy, tunnel, |tunnel, world| tunnel.carried(world, session, done));
                }
            }
            Input::Wake => {}
        }
        self.wake(now, entropy);
    }

    /// What is to be done, in this order.
    pub fn poll(&mut self) -> Option<Output> {
        self.out.pop_front()
    }

    /// When to wake it at the latest, and why.
    #[must_use]
    pub fn deadline(&self) -> Option<(Instant, Timer)> {
        self.deadlines.first().map(|(at, _, timer)| (*at, *timer))
    }

    /// Whether nothing is left to be done: no tunnel stands, and none is being ended.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.tunnels.is_empty()
    }

    const fn next_number(&mut self) -> TunnelNumber {
        self.last = self.last.wrapping_add(1);
        TunnelNumber(self.last)
    }

    fn world<'a>(&'a mut self, now: Instant, entropy: &'a mut dyn Entropy) -> World<'a> {
        let Self { config, out, asks, last, .. } = self;
        World { now, entropy, config, out, asks, last }
    }

    /// Does something on a tunnel, and keeps the books.
    fn on(
        &mut self,
        now: Instant,
        entropy: &mut dyn Entropy,
        number: TunnelNumber,
        work: impl FnOnce(&mut Tunnel, &mut World<'_>),
    ) {
        let Some(tunnel) = self.take_out(number) else { return };
        self.work(now, entropy, tunnel, work);
    }

    fn adopt(&mut self, now: Instant, entropy: &mut dyn Entropy, tunnel: Tunnel) {
        self.ids.insert(tunnel.local, tunnel.number);
        if let (true, Some(peer)) = (tunnel.answered, tunnel.peer) {
            self.callers.insert((tunnel.plan.path.remote, tunnel.plan.association, peer), tunnel.number);
        }
        self.work(now, entropy, tunnel, |_, _| {});
    }

    /// Takes a tunnel out of the books.
    fn take_out(&mut self, number: TunnelNumber) -> Option<Tunnel> {
        let tunnel = self.tunnels.remove(&number)?;
        if let Some((at, timer)) = tunnel.deadline() {
            self.deadlines.remove(&(at, number, timer));
        }
        if tunnel.is_unproven() {
            let from = tunnel.plan.path.remote.ip();
            let left = self.unproven.get(&from).map_or(0, |n| n.saturating_sub(1));
            match left {
                0 => self.unproven.remove(&from),
                left => self.unproven.insert(from, left),
            };
        }
        for session in tunnel.sessions.keys() {
            self.sessions.remove(session);
        }
        Some(tunnel)
    }

    /// Works on a tunnel that is out of the books, and puts it back, unless it is over.
    fn work(
        &mut self,
        now: Instant,
        entropy: &mut dyn Entropy,
        mut tunnel: Tunnel,
        work: impl FnOnce(&mut Tunnel, &mut World<'_>),
    ) {
        let mut world = self.world(now, entropy);
        work(&mut tunnel, &mut world);
        tunnel.touched = true;
        tunnel.mind_emptiness(&world);
        tunnel.flush(&mut world);
        if tunnel.is_over(now) {
            self.ids.remove(&tunnel.local);
            self.callers.retain_of(&tunnel);
            let number = tunnel.number;
            return self.asks.retain(|_, (tunnel, _)| *tunnel != number);
        }
        if let Some((at, timer)) = tunnel.deadline() {
            self.deadlines.insert((at, tunnel.number, timer));
        }
        if tunnel.is_unproven() {
            *self.unproven.entry(tunnel.plan.path.remote.ip()).or_default() += 1;
        }
        self.sessions.extend(tunnel.sessions.keys().map(|session| (*session, tunnel.number)));
        self.tunnels.insert(tunnel.number, tunnel);
    }

    fn wake(&mut self, now: Instant, entropy: &mut dyn Entropy) {
        let due: Vec<TunnelNumber> =
            self.deadlines.iter().take_while(|(at, ..)| *at <= now).map(|(_, number, _)| *number).collect();
        for number in due {
            self.on(now, entropy, number, Tunnel::wake);
        }
    }

    fn bare(&mut self, now: Instant, entropy: &mut dyn Entropy, association: Association, why: &Failure) {
        let by_it = self.tunnels.values().filter(|tunnel| tunnel.plan.association == association);
        let numbers: Vec<TunnelNumber> = by_it.map(|tunnel| tunnel.number).collect();
        for number in numbers {
            self.on(now, entropy, number, |tunnel, world| tunnel.bare(world, why.clone()));
        }
    }

    // [2661:3.1-6]
    fn datagram(
        &mut self,
        now: Instant,
        entropy: &mut dyn Entropy,
        (path, association): (Path, Association),
        octets: &[u8],
    ) {
        if octets.len() > LONGEST {
            return;
        }
        let Ok(Some(control)) = Control::parse(octets) else { return };
        if control.tunnel == 0 {
            return self.stranger(now, entropy, (path, association), &control);
        }
        let Some(number) = self.ids.get(&control.tunnel).copied() else { return };
        // [2661:9-2]
        if self.tunnels.get(&number).is_some_and(|tunnel| tunnel.is_of(&path, association)) {
            self.on(now, entropy, number, |tunnel, world| tunnel.receive(world, &path, &control));
        }
    }

    /// Who has no Tunnel ID of ours may only ask for one, or say that there is none any more.
    fn stranger(
        &mut self,
        now: Instant,
        entropy: &mut dyn Entropy,
        (path, association): (Path, Association),
        control: &Control<'_>,
    ) {
        let (false, 0) = (control.is_zero_length_body(), control.ns) else { return };
        let Some(listen) = &self.config.listen else { return };
        let wish = wish(control.body, listen.secret.as_deref());
        let (peer, wish) = match wish {
            Wish::None => return,
            Wish::Bad(peer, bad) => (peer, Err(bad)),
            Wish::Tunnel(start) => (start.tunnel, Ok(start)),
        };
        let known = self.callers.get(&(path.remote, association, peer)).copied();
        if let Some(number) = known
            && self.tunnels.get(&number).is_some_and(|tunnel| tunnel.state != State::Over)
        {
            // [2661:5.8-10]: it has come before.
            return self.on(now, entropy, number, |tunnel, world| tunnel.receive(world, &path, control));
        }
        match wish {
            Ok(start) => self.wanted(now, entropy, (path, association), &start),
            Err(bad) => self.refuse(entropy, (path, association), peer, bad),
        }
    }

    // [2661:9-1]
    fn wanted(
        &mut self,
        now: Instant,
        entropy: &mut dyn Entropy,
        (path, association): (Path, Association),
        start: &Start,
    ) {
        let Some(listen) = &self.config.listen else { return };
        let limits = listen.limits;
        let all: usize = self.unproven.values().sum();
        let own = self.unproven.get(&path.remote.ip()).copied().unwrap_or(0);
        // Nothing is answered: who means it asks again.
        if all >= limits.unproven
            || own >= limits.unproven_per_address
            || self.callers.len() >= limits.tunnels
        {
            return;
        }
        let plan = Plan {
            path,
            association,
            secret: listen.secret.clone(),
            hide: listen.hide,
            takes: listen.takes,
            sessions: limits.sessions,
            call: None,
        };
        if !self.win(now, entropy, &path, start.tie_breaker) {
            return;
        }
        let Some(local) = unused(entropy, |id| self.ids.contains_key(&id)) else { return };
        let number = self.next_number();
        let mut world = self.world(now, entropy);
        let tunnel = Tunnel::answer(&mut world, number, local, plan, start);
        self.adopt(now, entropy, tunnel);
    }

    /// Whether the peer's wish goes before ours, where both dial each other and there is to be one tunnel. If it does, ours
    /// is over.
    // [2661:4.4.3-6] [2661:4.4.3-7]
    fn win(&mut self, now: Instant, entropy: &mut dyn Entropy, path: &Path, theirs: Option<[u8; 8]>) -> bool {
        let same = |t: &&Tunnel| t.state == State::WaitReply && t.plan.path.remote.ip() == path.remote.ip();
        let Some(ours) = self.tunnels.values().find(same) else { return true };
        let (number, ours) = (ours.number, ours.tie_breaker);
        let (we_go, they_go) = match (ours, theirs) {
            (None, None) => (true, true),
            (Some(_), None) => (true, false),
            (None, Some(_)) => (false, true),
            (Some(ours), Some(theirs)) => (ours < theirs, theirs < ours),
        };
        if !we_go {
            let text = "L2TP: the peer dials us at the same time, and its wish goes before ours";
            let why = failure(FailureCode::PeerBusy, text);
            self.on(now, entropy, number, |tunnel, world| tunnel.give_way(world, why));
        }
        they_go
    }

    /// Says no to somebody of whom nothing is kept: once, however often it is asked again.
    fn refuse(
        &mut self,
        entropy: &mut dyn Entropy,
        (path, association): (Path, Association),
        tunnel: u16,
        bad: Bad,
    ) {
        let Bad { result, why } = bad;
        let ours = unused(entropy, |id| self.ids.contains_key(&id)).unwrap_or(1);
        let body = Avp::emit_all(&Message::StopCcn { tunnel: ours, result }.avps());
        let payload = Control { tunnel, session: 0, ns: 0, nr: 1, body: &body }.emit();
        self.out.push_back(Output::Transmit { transmit: Transmit { path, payload }, association });
        self.out.push_back(Output::Event(Event::Refused { path, why }));
    }
}

trait Callers {
    fn retain_of(&mut self, gone: &Tunnel);
}

impl Callers for BTreeMap<Caller, TunnelNumber> {
    /// A later tunnel of the same peer may have its place already.
    fn retain_of(&mut self, gone: &Tunnel) {
        let Some(peer) = gone.peer else { return };
        let key = (gone.plan.path.remote, gone.plan.association, peer);
        if self.get(&key) == Some(&gone.number) {
            self.remove(&key);
        }
    }
}

/// What somebody wants who has no Tunnel ID of ours.
enum Wish {
    /// Nothing that can be answered.
    None,
    /// A tunnel.
    Tunnel(Start),
    /// One that is refused; its Tunnel ID is this.
    Bad(u16, Bad),
}

fn wish(body: &[u8], secret: Option<&Secret>) -> Wish {
    let Ok(avps) = Avp::parse_all(body) else { return Wish::None };
    let in_clear = Message::wishes_tunnel(&avps);
    let avps = match (reveal(avps, secret), in_clear) {
        (Ok(avps), _) => avps,
        // Where the answer goes to stands in clear, or nobody can answer.
        (Err(why), Some(peer)) => {
            return Wish::Bad(peer, Bad { result: ResultCode::new(NOT_AUTHORIZED, None), why: hidden(why) });
        }
        (Err(_), None) => return Wish::None,
    };
    let Some(peer) = Message::wishes_tunnel(&avps) else { return Wish::None };
    let of = |result, why| Wish::Bad(peer, Bad { result, why });
    match Message::read(&avps) {
        Ok(Read { message: Message::Sccrq(start), unknown, .. }) => {
            if let Some(unknown) = unknown {
                return of(ResultCode::new(GENERAL_ERROR, Some(UNKNOWN_AVP)), unknown_avp(unknown));
            }
            if start.version.0 != VERSION.0 {
                let text = format!("L2TP: a peer has the protocol's version {}", start.version.0);
                let highest = u16::from_be_bytes([VERSION.0, VERSION.1]);
                return of(
                    ResultCode::new(OTHER_VERSION, Some(highest)),
                    failure(FailureCode::ProposalMismatch, text),
                );
            }
            if start.challenge.is_some() && secret.is_none() {
                return of(ResultCode::new(NOT_AUTHORIZED, None), no_secret());
            }
            Wish::Tunnel(start)
        }
        Ok(_) => Wish::None,
        Err(error) => {
            let text = format!("L2TP: a peer's wish for a tunnel is malformed: {error}");
            of(ResultCode::new(GENERAL_ERROR, Some(BAD_VALUE)), failure(FailureCode::PeerMisbehaved, text))
        }
    }
}

impl core::fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Endpoint").field("tunnels", &self.tunnels.len()).finish_non_exhaustive()
    }
}
