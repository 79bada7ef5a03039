//! What is on its way to which server: identifiers, retransmission, fail-over, and servers that are away.

mod flight;

use std::collections::{BTreeMap, VecDeque};

use core::time::Duration;

use adit_core::{Entropy, Failure, FailureCode, Instant, Secret, Step};
use zeroize::Zeroizing;

use super::attributes::{Attribute, Granted, attribute, printable};
use super::packet::{Code, Packet};
use super::protect::believe;
use flight::{Flight, Goes};

/// One of the configured servers, by its place.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ServerId(pub usize);

/// One question. Never used twice.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct QueryId(pub u64);

/// First retransmission after this long, each later one after twice the time.
const RETRANSMIT: Duration = Duration::from_secs(2);
/// Packets that one server gets for one question, before the next server is asked.
const TRIES: u32 = 3;
/// A server that is away is asked this often whether it is back (Status-Server, RFC 5997).
const PROBE: Duration = Duration::from_secs(15);
/// The longest pause between tries of an accounting record.
const ACCOUNTING_PAUSE: Duration = Duration::from_secs(60);
/// Accounting records that wait at most; then the oldest interim ones go, last of all starts and stops.
const MOST_RECORDS: usize = 100_000;

/// A server.
pub struct Server {
    /// For people.
    pub name: String,
    /// What we share with it.
    pub secret: Secret,
}

/// A question.
pub enum Query {
    /// Access-Request.
    Access {
        /// All attributes but those named below and the Message-Authenticator.
        attributes: Vec<Attribute>,
        /// EAP-Message.
        eap: Option<Vec<u8>>,
        /// User-Password, hidden for each server by itself.
        password: Option<Secret>,
        /// State of the last Access-Challenge, and who sent it: only that server knows the conversation.
        state: Option<(ServerId, Vec<u8>)>,
    },
    /// Accounting-Request. Kept until a server has noted it.
    Accounting {
        /// All attributes but Acct-Delay-Time.
        attributes: Vec<Attribute>,
        /// An interim record may be dropped when too many wait.
        interim: bool,
    },
}

/// What happens to the client.
pub enum Input<'a> {
    /// A question.
    Ask(QueryId, Box<Query>),
    /// A datagram came from this server, on this socket.
    Datagram {
        /// From which server.
        server: ServerId,
        /// On which socket of ours.
        socket: u32,
        /// All of it.
        payload: &'a [u8],
    },
    /// Nobody waits for the answer any more.
    Forget(QueryId),
    /// The deadline has come.
    Wake,
}

/// What the client wants.
#[derive(Debug)]
pub enum Output {
    /// Send this to the server from this socket: one of its own for every 256 packets on their way (RFC 2865 §3).
    Transmit {
        /// To which server.
        server: ServerId,
        /// From which socket.
        socket: u32,
        /// What: a password may be in it.
        payload: Zeroizing<Vec<u8>>,
    },
    /// The answer to a question.
    Answer(Box<Answer>),
    /// A server does not answer, or does again.
    Reachable(ServerId, bool),
}

/// The answer to a question.
#[derive(Debug)]
pub struct Answer {
    /// Which question.
    pub id: QueryId,
    /// What the server says.
    pub verdict: Verdict,
}

/// What a server says.
#[derive(Debug)]
pub enum Verdict {
    /// Access-Accept.
    Accept(Box<Granted>),
    /// Access-Reject.
    Reject {
        /// EAP-Message: EAP-Failure.
        eap: Option<Vec<u8>>,
        /// Reply-Message, or MS-CHAP-Error.
        message: Option<String>,
    },
    /// Access-Challenge.
    Challenge {
        /// EAP-Message: the next Request.
        eap: Option<Vec<u8>>,
        /// For the next question of this conversation.
        state: (ServerId, Vec<u8>),
        /// Reply-Message.
        message: Option<String>,
    },
    /// Accounting-Response.
    Noted,
    /// No server answered, or the question did not fit a packet.
    None(Failure),
}

/// Packets on their way at most; beyond it questions are as good as unanswered.
const MOST_FLIGHTS: usize = 60_000;

struct Known {
    server: Server,
    /// It has not answered lately: when it is asked again.
    away: Option<Instant>,
}

/// The client.
pub struct Client {
    servers: Vec<Known>,
    entropy: Box<dyn Entropy>,
    flights: BTreeMap<(ServerId, u32, u8), Flight>,
    deadlines: BTreeMap<(Instant, ServerId, u32, u8), ()>,
    next: Vec<u64>,
    waiting: VecDeque<Flight>,
    /// When the oldest waiting record is tried again.
    resume: Option<Instant>,
    out: VecDeque<Output>,
    retransmit: Duration,
    tries: u32,
    /// Answers that were not believed.
    pub unbelievable: u64,
}

impl Client {
    /// A client of these servers, the first one first.
    #[must_use]
    pub fn new(servers: Vec<Server>, entropy: Box<dyn Entropy>) -> Self {
        Self {
            next: vec![0; servers.len()],
            servers: servers.into_iter().map(|server| Known { server, away: None }).collect(),
            entropy,
            flights: BTreeMap::new(),
            deadlines: BTreeMap::new(),
            waiting: VecDeque::new(),
            resume: None,
            out: VecDeque::new(),
            retransmit: RETRANSMIT,
            tries: TRIES,
            unbelievable: 0,
        }
    }

    /// The same, but a packet is sent again after `retransmit` for the first time, and a server gets `tries` of them for
    /// one question.
    #[must_use]
    pub fn with_patience(self, retransmit: Duration, tries: u32) -> Self {
        Self { retransmit, tries: tries.max(1), ..self }
    }

    /// Takes one input, and does whatever is due.
    pub fn handle(&mut self, now: Instant, input: Input<'_>) {
        match input {
            Input::Ask(id, query) => self.send(now, Flight::new(now, id, *query)),
            Input::Datagram { server, socket, payload } => self.datagram(now, server, socket, payload),
            Input::Forget(id) => self.forget(id),
            Input::Wake => {}
        }
        self.wake(now);
    }

    /// The next thing to do.
    pub fn poll(&mut self) -> Option<Output> {
        self.out.pop_front()
    }

    /// When to come back without any other input.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        let flight = self.deadlines.keys().next().map(|(at, ..)| *at);
        let probe = self.servers.iter().filter_map(|s| s.away).min();
        [flight, probe, self.resume].into_iter().flatten().min()
    }

    /// Questions that have no answer yet, and accounting records that nobody has noted.
    #[must_use]
    pub fn open(&self) -> usize {
        let probes = self.flights.values().filter(|f| f.is_probe()).count();
        self.flights.len().saturating_sub(probes).saturating_add(self.waiting.len())
    }

    fn is_away(&self, server: ServerId) -> bool {
        self.servers.get(server.0).is_none_or(|s| s.away.is_some())
    }

    /// Where a question goes next: to whom it must, else to the first server that it has not tried, those that are away
    /// last.
    fn choose(&self, flight: &Flight) -> Option<ServerId> {
        if let Some(only) = flight.only() {
            return (!flight.tried(only) && only.0 < self.servers.len()).then_some(only);
        }
        let untried = || (0..self.servers.len()).map(ServerId).filter(|s| !flight.tried(*s));
        untried().find(|s| !self.is_away(*s)).or_else(|| untried().next())
    }

    fn send(&mut self, now: Instant, mut flight: Flight) {
        let Some(server) = self.choose(&flight) else {
            return self.unanswered(now, flight);
        };
        let Some(secret) = self.servers.get(server.0).map(|s| &s.server.secret) else {
            return;
        };
        if self.flights.len() >= MOST_FLIGHTS {
            return self.unanswered(now, flight);
        }
        let key = {
            let Some(next) = self.next.get_mut(server.0) else { return };
            let (flights, mut number) = (&self.flights, *next);
            // Identifiers are used in turn, so that a late answer meets none of the same number.
            while flights.contains_key(&(server, socket_of(number), identifier_of(number))) {
                number = number.wrapping_add(1);
            }
            *next = number.wrapping_add(1);
            (server, socket_of(number), identifier_of(number))
        };
        match flight.write(now, key.2, secret, &mut *self.entropy) {
            Some(payload) => {
                self.out.push_back(Output::Transmit { server, socket: key.1, payload });
                flight.sent(now, server, self.retransmit);
                self.deadlines.insert((flight.again, key.0, key.1, key.2), ());
                self.flights.insert(key, flight);
            }
            None => {
                self.answer(flight.id, Verdict::None(failure("the question does not fit a RADIUS packet")))
            }
        }
    }

    /// Every server was asked.
    fn unanswered(&mut self, now: Instant, mut flight: Flight) {
        if flight.is_probe() {
            return;
        }
        if !flight.is_accounting() {
            let names: Vec<&str> = self.servers.iter().map(|s| s.server.name.as_str()).collect();
            let text = format!("no RADIUS server answers: {}", names.join(", "));
            let hint = "is it running, does it know this host and its secret, does a firewall drop UDP 1812?";
            return self.answer(flight.id, Verdict::None(failure(&text).hint(hint)));
        }
        let pause = flight.pause(ACCOUNTING_PAUSE);
        if self.waiting.len() >= MOST_RECORDS {
            let drop = self.waiting.iter().position(Flight::is_interim).unwrap_or(0);
            if let Some(lost) = self.waiting.remove(drop) {
                self.answer(lost.id, Verdict::None(failure("too many accounting records wait for a server")));
            }
        }
        let at = now + pause;
        self.resume = Some(self.resume.map_or(at, |r| r.min(at)));
        self.waiting.push_back(flight);
    }

    fn take(&mut self, key: (ServerId, u32, u8)) -> Option<Flight> {
        let flight = self.flights.remove(&key)?;
        self.deadlines.remove(&(flight.again, key.0, key.1, key.2));
        Some(flight)
    }

    fn datagram(&mut self, now: Instant, server: ServerId, socket: u32, payload: &[u8]) {
        let Ok(packet) = Packet::parse(payload) else {
            self.unbelievable = self.unbelievable.saturating_add(1);
            return;
        };
        let key = (server, socket, packet.identifier());
        let (Some(flight), Some(known)) = (self.flights.get(&key), self.servers.get(server.0)) else {
            return;
        };
        let fits = flight.expects(packet.code());
        if !fits || believe(&packet, &flight.authenticator, &known.server.secret).is_err() {
            // As if it had never come: the right answer may still follow.
            self.unbelievable = self.unbelievable.saturating_add(1);
            return;
        }
        let verdict = verdict(&packet, server, &flight.authenticator, &known.server.secret);
        let Some(flight) = self.take(key) else { return };
        self.back(now, server);
        if !flight.is_probe() {
            self.answer(flight.id, verdict);
        }
    }

    /// The server has answered.
    fn back(&mut self, now: Instant, server: ServerId) {
        let Some(known) = self.servers.get_mut(server.0) else { return };
        if known.away.take().is_some() {
            self.out.push_back(Output::Reachable(server, true));
        }
        if !self.waiting.is_empty() {
            self.resume = Some(now);
        }
    }

    fn answer(&mut self, id: QueryId, verdict: Verdict) {
        self.out.push_back(Output::Answer(Box::new(Answer { id, verdict })));
    }

    fn forget(&mut self, id: QueryId) {
        let found = self.flights.iter().find(|(_, f)| f.id == id && !f.is_accounting()).map(|(key, _)| *key);
        if let Some(key) = found {
            self.take(key);
        }
    }

    fn wake(&mut self, now: Instant) {
        while let Some((at, server, socket, identifier)) = self.deadlines.keys().next().copied() {
            if at > now {
                break;
            }
            let key = (server, socket, identifier);
            let Some(mut flight) = self.take(key) else { continue };
            match flight.goes_on(self.tries) {
                Goes::Again(payload) => {
                    self.out.push_back(Output::Transmit { server, socket, payload });
                    flight.again_after(now);
                    self.deadlines.insert((flight.again, server, socket, identifier), ());
                    self.flights.insert(key, flight);
                }
                Goes::Elsewhere => {
                    self.lost(now, server);
                    self.send(now, flight);
                }
            }
        }
        self.probe(now);
        if self.resume.is_some_and(|at| at <= now) {
            self.resume = None;
            for mut flight in core::mem::take(&mut self.waiting) {
                flight.forget_tries();
                self.send(now, flight);
            }
        }
    }

    fn lost(&mut self, now: Instant, server: ServerId) {
        let Some(known) = self.servers.get_mut(server.0) else { return };
        if known.away.is_none() {
            self.out.push_back(Output::Reachable(server, false));
        }
        known.away = Some(now + PROBE);
    }

    fn probe(&mut self, now: Instant) {
        for index in 0..self.servers.len() {
            let due = self.servers.get(index).and_then(|s| s.away).is_some_and(|at| at <= now);
            if due {
                if let Some(known) = self.servers.get_mut(index) {
                    known.away = Some(now + PROBE);
                }
                self.send(now, Flight::probe(now, ServerId(index)));
            }
        }
    }
}

fn socket_of(number: u64) -> u32 {
    u32::try_from((number >> 8) & 0xff).unwrap_or(0)
}

fn identifier_of(number: u64) -> u8 {
    u8::try_from(number & 0xff).unwrap_or(0)
}

fn verdict(packet: &Packet<'_>, server: ServerId, request: &[u8; 16], secret: &Secret) -> Verdict {
    let eap = || packet.joined(attribute::EAP_MESSAGE);
    let message = || packet.value(attribute::REPLY_MESSAGE).map(printable);
    match packet.code() {
        Code::ACCESS_ACCEPT => Verdict::Accept(Box::new(Granted::read(packet, request, secret))),
        Code::ACCESS_CHALLENGE => {
            let state = packet.value(attribute::STATE).unwrap_or_default().to_vec();
            Verdict::Challenge { eap: eap(), state: (server, state), message: message() }
        }
        Code::ACCOUNTING_RESPONSE => Verdict::Noted,
        _ => {
            let error = super::attributes::microsoft(packet)
                .find(|(kind, _)| *kind == super::attributes::Vendor::CHAP_ERROR)
                // The first octet is the CHAP identifier.
                .map(|(_, value)| printable(value.get(1..).unwrap_or_default()));
            Verdict::Reject { eap: eap(), message: error.or_else(message) }
        }
    }
}

fn failure(text: &str) -> Failure {
    Failure::new(FailureCode::AuthenticationFailed, Step::Authenticate, text)
}
