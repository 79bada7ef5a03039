//! A control connection (RFC 2661 §5.1, §7.2), from its first message to the last that is acknowledged.

mod snapshot;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use adit_core::{Entropy, Failure, FailureCode, Instant, Path, Secret, Transmit};
use subtle::ConstantTimeEq;

use crate::api::{
    Ask, AskId, Association, Call, Config, Event, Output, SessionNumber, Takes, Timer, TunnelNumber,
};
use crate::call::Session;
use crate::channel::{Channel, Packet, Place};
use crate::explain::{failure, hidden, no_secret, silent, stopped, unproven};
use crate::wire::{
    Avp, Control, HIDABLE, Message, NotRevealed, Read, ResultCode, Start, challenge_response, hide, reveal,
};

/// Protocol Version and revision.
pub(crate) const VERSION: (u8, u8) = (1, 0);
/// Either framing.
const FRAMING: u32 = 3;
/// StopCCN's Result Codes (§4.4.2).
pub(crate) const CLEARED: u16 = 1;
pub(crate) const GENERAL_ERROR: u16 = 2;
pub(crate) const NOT_AUTHORIZED: u16 = 4;
pub(crate) const OTHER_VERSION: u16 = 5;
/// Error Codes.
pub(crate) const BAD_VALUE: u16 = 3;
pub(crate) const UNKNOWN_AVP: u16 = 8;

/// What a tunnel works with, for as long as it handles something.
pub(crate) struct World<'a> {
    pub(crate) now: Instant,
    pub(crate) entropy: &'a mut dyn Entropy,
    pub(crate) config: &'a Config,
    pub(crate) out: &'a mut VecDeque<Output>,
    pub(crate) asks: &'a mut BTreeMap<AskId, (TunnelNumber, SessionNumber)>,
    pub(crate) last: &'a mut u64,
}

impl World<'_> {
    /// A number that was never used.
    pub(crate) const fn number(&mut self) -> u64 {
        *self.last = self.last.wrapping_add(1);
        *self.last
    }

    pub(crate) fn event(&mut self, event: Event) {
        self.out.push_back(Output::Event(event));
    }

    pub(crate) fn ask(&mut self, tunnel: TunnelNumber, session: SessionNumber, ask: Ask) {
        let id = AskId(self.number());
        self.asks.insert(id, (tunnel, session));
        self.out.push_back(Output::Ask { id, ask });
    }

    fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.entropy.public(&mut bytes);
        bytes
    }
}

/// An ID that is not 0 and that nobody has, by chance.
pub(crate) fn unused(entropy: &mut dyn Entropy, taken: impl Fn(u16) -> bool) -> Option<u16> {
    let first = (entropy.public_u64() & 0xffff) as u16;
    (0..=u16::MAX).map(|n| first.wrapping_add(n)).find(|id| *id != 0 && !taken(*id))
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum State {
    /// Our SCCRQ is out.
    WaitReply,
    /// Our SCCRP is out.
    WaitConnect,
    Established,
    /// Our StopCCN is out.
    Stopping,
    /// Only acknowledged, until its time is over.
    Over,
}

/// How a tunnel is to be.
pub(crate) struct Plan {
    pub(crate) path: Path,
    pub(crate) association: Association,
    pub(crate) secret: Option<Arc<Secret>>,
    pub(crate) hide: bool,
    pub(crate) takes: Takes,
    pub(crate) sessions: usize,
    /// The call to place once it is up.
    pub(crate) call: Option<Call>,
}

/// A control connection.
pub(crate) struct Tunnel {
    pub(crate) number: TunnelNumber,
    pub(crate) state: State,
    pub(crate) plan: Plan,
    pub(crate) local: u16,
    pub(crate) peer: Option<u16>,
    pub(crate) tie_breaker: Option<[u8; 8]>,
    pub(crate) sessions: BTreeMap<SessionNumber, Session>,
    /// Others have dialled it.
    pub(crate) answered: bool,
    challenge: Option<[u8; 16]>,
    channel: Channel,
    /// Why it stops, while it does.
    why: Result<(), Failure>,
    /// The end of the wait for a reply, of an empty tunnel, or of what is over.
    until: Option<Instant>,
    hello: Option<Instant>,
    /// It has worked since somebody asked.
    pub(crate) touched: bool,
}

impl Tunnel {
    /// One that dials.
    pub(crate) fn dial(
        world: &mut World<'_>,
        number: TunnelNumber,
        local: u16,
        plan: Plan,
        only: bool,
    ) -> Self {
        let mut tunnel = Self::new(world, number, local, plan, State::WaitReply);
        tunnel.tie_breaker = only.then(|| world.bytes());
        let start = tunnel.start(world, None);
        tunnel.say(world, 0, &Message::Sccrq(start));
        tunnel
    }

    /// One that answers an SCCRQ: that message has been looked at, and counts as received.
    // [2661:6.2-1]
    pub(crate) fn answer(
        world: &mut World<'_>,
        number: TunnelNumber,
        local: u16,
        plan: Plan,
        peer: &Start,
    ) -> Self {
        let mut tunnel = Self::new(world, number, local, plan, State::WaitConnect);
        tunnel.answered = true;
        tunnel.until = Some(world.now + world.config.timing.setup);
        tunnel.meet(world, peer);
        let _ = tunnel.channel.place(0);
        tunnel.channel.take();
        let start = tunnel.start(world, peer.challenge.as_deref());
        tunnel.say(world, 0, &Message::Sccrp(start));
        tunnel
    }

    fn new(world: &World<'_>, number: TunnelNumber, local: u16, plan: Plan, state: State) -> Self {
        Self {
            number,
            state,
            plan,
            local,
            peer: None,
            tie_breaker: None,
            sessions: BTreeMap::new(),
            answered: false,
            challenge: None,
            channel: Channel::new(world.config.timing, world.config.window.max(1)),
            why: Ok(()),
            until: None,
            hello: None,
            touched: true,
        }
    }

    /// Our own half of SCCRQ or SCCRP, which answers this challenge.
    // [2661:5.1.1-1] [2661:5.1.1-2]
    fn start(&mut self, world: &mut World<'_>, challenge: Option<&[u8]>) -> Start {
        self.challenge = self.plan.secret.is_some().then(|| world.bytes());
        let response = challenge.zip(self.plan.secret.as_ref());
        Start {
            version: VERSION,
            framing: FRAMING,
            bearer: None,
            host_name: world.config.host_name.clone(),
            vendor: Some("Adit".into()),
            firmware: None,
            tunnel: self.local,
            window: Some(world.config.window.max(1)),
            challenge: self.challenge.map(|c| c.to_vec()),
            response: response.map(|(challenge, secret)| challenge_response(2, secret, challenge)),
            tie_breaker: self.tie_breaker,
        }
    }

    /// What the peer says of itself.
    fn meet(&mut self, world: &mut World<'_>, peer: &Start) {
        self.peer = Some(peer.tunnel);
        if let Some(window) = peer.window {
            self.channel.set_peer_window(window);
        }
        let (host_name, vendor) = (peer.host_name.clone(), peer.vendor.clone().unwrap_or_default());
        world.event(Event::Peer { tunnel: self.number, host_name, vendor });
    }

    /// Whether others have dialled it, and nothing stands in it yet that somebody has to answer for.
    pub(crate) fn is_unproven(&self) -> bool {
        let empty = self.state == State::Established && self.sessions.is_empty();
        self.answered && (empty || self.state == State::WaitConnect)
    }

    /// Whether datagrams of this path, and that came by this, are its peer's.
    pub(crate) fn is_of(&self, path: &Path, association: Association) -> bool {
        let (ours, theirs) = (self.plan.path.remote, path.remote);
        // [2661:8.1-1]: who answers chooses its port.
        let any_port = self.state == State::WaitReply;
        let same_end = theirs == ours || any_port && theirs.ip() == ours.ip();
        same_end && association == self.plan.association
    }

    pub(crate) fn deadline(&self) -> Option<(Instant, Timer)> {
        let calls = self.sessions.values().filter_map(|s| s.until).min();
        let hello = self.hello.filter(|_| self.state == State::Established);
        let each = [
            (self.channel.deadline(), Timer::Retransmit),
            (self.until, Timer::Reply),
            (calls, Timer::Reply),
            (hello, Timer::Hello),
        ];
        each.into_iter().filter_map(|(at, timer)| Some((at?, timer))).min()
    }

    /// Whether nothing of it is needed any more.
    pub(crate) fn is_over(&self, now: Instant) -> bool {
        self.state == State::Over && self.until.is_none_or(|until| until <= now)
    }

    /// Has a message sent, hidden as far as it may be.
    // [2661:4.3-3]
    pub(crate) fn say(&mut self, world: &mut World<'_>, session: u16, message: &Message) {
        let mut avps = message.avps();
        if let Some(secret) = self.plan.secret.as_ref().filter(|_| self.plan.hide) {
            avps = hide(avps, HIDABLE, secret, world.bytes());
        }
        if !self.channel.queue(session, Avp::emit_all(&avps)) {
            let text = "L2TP: the peer acknowledges nothing, and more and more waits for it";
            self.lost(world, failure(FailureCode::PeerLost, text));
        }
    }

    /// Sends what may be sent.
    pub(crate) fn flush(&mut self, world: &mut World<'_>) {
        let Plan { path, association, .. } = self.plan;
        let (tunnel, out) = (self.peer.unwrap_or(0), &mut *world.out);
        self.channel.pump(world.now, |Packet { session, ns, nr, body }| {
            let payload = Control { tunnel, session, ns, nr, body }.emit();
            out.push_back(Output::Transmit { transmit: Transmit { path, payload }, association });
        });
    }

    /// A control message came from its peer's address.
    pub(crate) fn receive(&mut self, world: &mut World<'_>, path: &Path, control: &Control<'_>) {
        self.channel.acknowledge(world.now, control.nr);
        self.hello = Some(world.now + world.config.timing.hello);
        if !control.is_zero_length_body() {
            match self.channel.place(control.ns) {
                Place::Next => {
                    if self.state == State::WaitReply {
                        // From here on it is this port and no other.
                        self.plan.path.remote = path.remote;
                    }
                    self.take(world, control.session, control.body);
                    while let Some((session, body)) = self.channel.early() {
                        self.take(world, session, &body);
                    }
                }
                // Strangers are given no room.
                Place::Ahead if self.state == State::Established => {
                    self.channel.keep(control.ns, control.session, control.body);
                }
                Place::Ahead | Place::Before => {}
            }
        }
        if self.state == State::Stopping && self.channel.is_idle() {
            self.finish(world);
        }
    }

    fn take(&mut self, world: &mut World<'_>, session: u16, body: &[u8]) {
        self.channel.take();
        let read = match self.understand(body) {
            Ok(read) => read,
            Err(Bad { result, why }) => return self.stop(world, result, Err(why)),
        };
        if self.state == State::Stopping || self.state == State::Over {
            // Whatever it says: it hears that the tunnel is over.
            if let Message::StopCcn { .. } = read.message {
                self.finish(world);
            }
            return;
        }
        if let Message::Unknown(kind) = read.message {
            // [2661:4.4.1-4]
            if read.mandatory {
                let text = format!("L2TP: the peer sends a message of type {kind}, which is not known");
                let result = ResultCode::new(GENERAL_ERROR, Some(UNKNOWN_AVP));
                self.stop(world, result, Err(failure(FailureCode::PeerMisbehaved, text)));
            }
            return;
        }
        match (is_of_call(&read.message), self.state) {
            (true, State::Established) => self.of_call(world, session, read),
            // A call before its tunnel counts for nothing.
            (true, _) => {}
            (false, _) => self.of_tunnel(world, read),
        }
    }

    // [2661:7.1-1] [2661:4.1-2] [2661:4.3-4]
    fn understand(&self, body: &[u8]) -> Result<Read, Bad> {
        let malformed = |error| {
            let text = format!("L2TP: a message of the peer's is malformed: {error}");
            let result = ResultCode::new(GENERAL_ERROR, Some(BAD_VALUE));
            Bad { result, why: failure(FailureCode::PeerMisbehaved, text) }
        };
        let avps = Avp::parse_all(body).map_err(malformed)?;
        let avps = reveal(avps, self.plan.secret.as_deref()).map_err(|why| Bad {
            result: match why {
                NotRevealed::NoSecret => ResultCode::new(GENERAL_ERROR, Some(UNKNOWN_AVP)),
                NotRevealed::NoVector => ResultCode::new(GENERAL_ERROR, Some(BAD_VALUE)),
                NotRevealed::WrongSecret => ResultCode::new(NOT_AUTHORIZED, None),
            },
            why: hidden(why),
        })?;
        Message::read(&avps).map_err(malformed)
    }

    fn of_tunnel(&mut self, world: &mut World<'_>, read: Read) {
        if let (Some(unknown), false) = (read.unknown, matches!(read.message, Message::StopCcn { .. })) {
            // [2661:4.1-3]
            let result = ResultCode::new(GENERAL_ERROR, Some(UNKNOWN_AVP));
            return self.stop(world, result, Err(unknown_avp(unknown)));
        }
        match (self.state, read.message) {
            (State::WaitReply, Message::Sccrp(start)) => self.replied(world, &start),
            (State::WaitConnect, Message::Scccn { response }) => self.connected(world, response),
            (_, Message::StopCcn { result, .. }) => {
                let why = stopped(&result, self.state == State::Established);
                self.why = Err(why);
                self.finish(world);
            }
            // Hello is acknowledged, and nothing else. What comes at a wrong time is as if it had not.
            _ => {}
        }
    }

    // [2661:7.2.1-1]
    fn replied(&mut self, world: &mut World<'_>, start: &Start) {
        self.meet(world, start);
        if start.version.0 != VERSION.0 {
            let text = format!("L2TP: the server has the protocol's version {}", start.version.0);
            let result = ResultCode::new(OTHER_VERSION, Some(u16::from_be_bytes([VERSION.0, VERSION.1])));
            return self.stop(world, result, Err(failure(FailureCode::ProposalMismatch, text)));
        }
        if let Err(why) = self.check(2, start.response) {
            return self.stop(world, ResultCode::new(NOT_AUTHORIZED, None), Err(why));
        }
        let response = match (&start.challenge, &self.plan.secret) {
            (None, _) => None,
            (Some(challenge), Some(secret)) => Some(challenge_response(3, secret, challenge)),
            (Some(_), None) => {
                return self.stop(world, ResultCode::new(NOT_AUTHORIZED, None), Err(no_secret()));
            }
        };
        self.say(world, 0, &Message::Scccn { response });
        self.established(world);
        if let Some(call) = self.plan.call.take() {
            self.place(world, call);
        }
    }

    fn connected(&mut self, world: &mut World<'_>, response: Option<[u8; 16]>) {
        match self.check(3, response) {
            Ok(()) => {
                self.until = Some(world.now + world.config.timing.empty);
                self.established(world);
            }
            Err(why) => self.stop(world, ResultCode::new(NOT_AUTHORIZED, None), Err(why)),
        }
    }

    fn established(&mut self, world: &mut World<'_>) {
        self.state = State::Established;
        self.hello = Some(world.now + world.config.timing.hello);
        world.event(Event::TunnelUp { tunnel: self.number, path: self.plan.path });
    }

    /// Whether the peer knows the secret, where there is one.
    // [2661:4.4.3-3] [2661:4.4.3-4]
    fn check(&self, message: u16, response: Option<[u8; 16]>) -> Result<(), Failure> {
        let (Some(secret), Some(challenge)) = (&self.plan.secret, &self.challenge) else { return Ok(()) };
        let expected = challenge_response(message, secret, challenge);
        match response {
            Some(response) if bool::from(response.ct_eq(&expected)) => Ok(()),
            _ => Err(unproven()),
        }
    }

    /// Its time has come, or not.
    pub(crate) fn wake(&mut self, world: &mut World<'_>) {
        if !self.channel.wake(world.now) {
            return match self.state {
                State::Stopping | State::Over => self.lost(world, silent(true)),
                state => self.lost(world, silent(state == State::Established)),
            };
        }
        let due = |at: Option<Instant>| at.is_some_and(|at| at <= world.now);
        if due(self.until) {
            self.time_is_over(world);
        }
        self.calls_in_time(world);
        // [2661:5.5-1] [2661:6.5-1]
        if self.state == State::Established && self.hello.is_some_and(|at| at <= world.now) {
            // It comes again only when the peer has said something.
            self.hello = None;
            if self.channel.is_idle() {
                self.say(world, 0, &Message::Hello);
            }
        }
    }

    fn time_is_over(&mut self, world: &mut World<'_>) {
        self.until = None;
        match self.state {
            State::WaitConnect => self.lost(world, silent(false)),
            State::Established if self.answered && self.sessions.is_empty() => {
                let why = failure(FailureCode::Idle, "L2TP: the peer has a tunnel and no session in it");
                self.stop(world, ResultCode::new(CLEARED, None), Err(why));
            }
            _ => {}
        }
    }

    /// A tunnel that others have dialled does not stand for ever without a session.
    pub(crate) fn mind_emptiness(&mut self, world: &World<'_>) {
        if self.answered && self.state == State::Established {
            let empty = self.sessions.is_empty();
            self.until = match (empty, self.until) {
                (true, until) => until.or(Some(world.now + world.config.timing.empty)),
                (false, _) => None,
            };
        }
    }

    /// Somebody wants it to end.
    pub(crate) fn close(&mut self, world: &mut World<'_>) {
        match self.state {
            State::WaitReply => {
                self.why = Ok(());
                self.over(world, None);
            }
            State::WaitConnect | State::Established => {
                self.stop(world, ResultCode::new(CLEARED, None), Ok(()));
            }
            State::Stopping | State::Over => {}
        }
    }

    /// Nothing brings its messages any more, or takes ours.
    pub(crate) fn bare(&mut self, world: &mut World<'_>, why: Failure) {
        self.lost(world, why);
    }

    /// The peer dials us at the same time: what we have asked for is over, without a word.
    pub(crate) fn give_way(&mut self, world: &mut World<'_>, why: Failure) {
        self.lost(world, why);
    }

    /// Tells the peer that it ends, and why.
    // [2661:5.7-1] [2661:6.4-1]
    pub(crate) fn stop(&mut self, world: &mut World<'_>, result: ResultCode, why: Result<(), Failure>) {
        if matches!(self.state, State::Stopping | State::Over) {
            return;
        }
        self.end_sessions(world, &why);
        (self.state, self.why, self.until) = (State::Stopping, why, None);
        self.channel.forget();
        let tunnel = self.local;
        self.say(world, 0, &Message::StopCcn { tunnel, result });
    }

    /// The last message is acknowledged, or has come: it is acknowledged again for a while.
    // [2661:5.8-11]
    fn finish(&mut self, world: &mut World<'_>) {
        let linger = world.now + world.config.timing.linger;
        self.over(world, Some(linger));
    }

    /// The peer is gone, or as good as that.
    // [2661:5.8-8]
    fn lost(&mut self, world: &mut World<'_>, why: Failure) {
        if self.state != State::Stopping {
            self.why = Err(why);
        }
        self.over(world, None);
    }

    fn over(&mut self, world: &mut World<'_>, until: Option<Instant>) {
        if self.state == State::Over {
            return;
        }
        let why = core::mem::replace(&mut self.why, Ok(()));
        self.end_sessions(world, &why);
        (self.state, self.until, self.hello) = (State::Over, until, None);
        self.channel = {
            let mut done = Channel::new(world.config.timing, 1);
            done.resume(&self.channel);
            done
        };
        world.event(Event::TunnelDown { tunnel: self.number, why });
    }
}

/// A message that ends a tunnel, and why.
pub(crate) struct Bad {
    pub(crate) result: ResultCode,
    pub(crate) why: Failure,
}

/// What is said of an AVP that we had to know.
pub(crate) fn unknown_avp((vendor, kind): (u16, u16)) -> Failure {
    let text = format!(
        "L2TP: the peer wants us to know an AVP that is not known here: vendor {vendor}, type {kind}"
    );
    failure(FailureCode::PeerMisbehaved, text)
}

const fn is_of_call(message: &Message) -> bool {
    matches!(message.kind(), 7..=16)
}
