//! People who prove themselves to an access server that decides by itself or asks RADIUS servers, in a world whose answers
//! come late, are refused, get lost, or are forged. Nobody comes in whom a real server has not let in, both ends have the
//! same key, every conversation ends, and no accounting record is lost.

mod engine;
mod forger;
mod promises;
mod server;
mod signing;
mod talk;

use std::collections::{BTreeMap, VecDeque};

use core::time::Duration;

use adit_auth::eap::{AuthenticatorAsk, Code, Method, TlsAnswer, TlsVersion, UserSecret, emit};
use adit_auth::mschap::NtHash;
use adit_auth::radius::dynamic::{Request, Wish};
use adit_auth::radius::{self, Client, Input, Output, Query, QueryId, ServerId, attribute};
use adit_core::{Failure, FailureCode, Instant, Secret, Step};

use crate::random::Random;
use forger::Forger;
use server::RadiusServer;
use talk::{Effect, Talk, Way, Who};

const PASSWORD: &[u8] = b"correct horse";
const NAMES: [&str; 4] = ["ann", "bob", "cid", "dan"];
/// The name of our server, and of one that is not ours.
const RIGHT: &str = "vpn.example.com";
const FALSE: &str = "vpn.example.net";

/// From then on nothing is lost, all servers are up, and nobody forges.
const STORM: Duration = Duration::from_secs(7200);
/// When a run is judged.
const END: Duration = Duration::from_secs(8000);
/// How long a conversation may take.
const PATIENCE: Duration = Duration::from_secs(150);

/// What a run was.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Summary {
    /// Conversations.
    pub talks: u64,
    /// Those who came in.
    pub let_in: u64,
    /// Answers and packets that were lost, late or refused.
    pub faults: u64,
    /// Packets that somebody forged.
    pub forged: u64,
    /// Accounting records that a server has noted.
    pub noted: u64,
}

/// How bad the world is, in parts of a thousand.
struct Plan {
    loss: u64,
    slow: u64,
    forge: u64,
    refusals: u64,
    silence: u64,
    late: u64,
    outages: bool,
}

impl Plan {
    fn of(random: &mut Random) -> Self {
        let mut some = |choice: &[u64]| random.pick(choice).unwrap_or(0);
        Self {
            loss: some(&[0, 0, 50, 200, 400]),
            slow: some(&[0, 0, 100, 400]),
            forge: some(&[0, 300, 1000]),
            refusals: some(&[0, 0, 0, 50]),
            silence: some(&[0, 0, 0, 50]),
            late: some(&[0, 0, 200, 600]),
            outages: random.chance(400),
        }
    }
}

/// Who is known, and how each proves itself.
struct People {
    names: Vec<String>,
    hows: Vec<(Method, TlsVersion, &'static str)>,
}

impl People {
    fn how(&self, talk: usize) -> Option<(Method, TlsVersion)> {
        self.hows.get(talk).map(|(method, version, _)| (*method, *version))
    }

    /// The name that a certificate must have, where one is asked for.
    fn certificate(&self, talk: usize) -> Option<&'static str> {
        self.hows.get(talk).filter(|(method, ..)| *method == Method::TLS).map(|(.., name)| *name)
    }
}

enum Parcel {
    Begin,
    ToPeer(Vec<u8>, bool),
    ToServer(Vec<u8>),
    Person(Result<Secret, Failure>),
    PeerTls(TlsAnswer),
    Users(Result<Option<UserSecret>, Failure>),
    ServerTls(TlsAnswer),
    GiveUp,
    /// The session ends: by itself, by a server's word, or by nobody's that counts.
    End,
    Disconnect(Vec<u8>, ServerId),
    ToRadius(ServerId, u32, Vec<u8>),
    FromRadius(ServerId, u32, Vec<u8>),
}

struct World {
    random: Random,
    plan: Plan,
    now: Instant,
    people: People,
    talks: Vec<Talk>,
    servers: Vec<RadiusServer>,
    client: Client,
    forger: Forger,
    queries: BTreeMap<QueryId, usize>,
    next_query: u64,
    /// What arrives when, in order; the number keeps those of one time apart.
    parcels: BTreeMap<(Instant, u64), (usize, Parcel)>,
    number: u64,
    /// Sessions that are up.
    up: Vec<usize>,
    summary: Summary,
    violation: Option<String>,
}

/// Runs a seed.
///
/// # Errors
/// What was wrong, with the seed.
pub fn run(seed: u64) -> Result<Summary, String> {
    let mut world = World::new(Random::new(seed));
    world.run();
    world.judge().map_err(|what| format!("seed {seed}: {what}"))
}

fn no() -> Failure {
    Failure::new(FailureCode::KernelRefused, Step::Authenticate, "the simulation says no")
}

impl World {
    fn new(mut random: Random) -> Self {
        let plan = Plan::of(&mut random);
        let talks: Vec<Talk> = (0..random.below(4) as usize + 1).map(|i| Talk::new(i, &mut random)).collect();
        let servers: Vec<RadiusServer> = (0..random.below(3) as usize + 1)
            .map(|n| {
                let down = if plan.outages { outages(&mut random) } else { Vec::new() };
                RadiusServer::new(format!("secret of {n}").into_bytes(), down, random.fork())
            })
            .collect();
        let known = servers
            .iter()
            .enumerate()
            .map(|(n, s)| radius::Server { name: format!("radius{n}"), secret: Secret::from(&s.secret[..]) })
            .collect();
        let client = Client::new(known, Box::new(random.fork()));
        let hows =
            talks.iter().map(|t| (t.method, t.version, NAMES.get(t.index).copied().unwrap_or(""))).collect();
        let people = People { names: NAMES.iter().map(|n| (*n).to_owned()).collect(), hows };
        let forger = Forger::new(random.fork());
        let mut world = Self {
            random,
            plan,
            now: Instant::ZERO,
            people,
            talks,
            servers,
            client,
            forger,
            queries: BTreeMap::new(),
            next_query: 0,
            parcels: BTreeMap::new(),
            number: 0,
            up: Vec::new(),
            summary: Summary::default(),
            violation: None,
        };
        for talk in 0..world.talks.len() {
            let at = Instant::ZERO + world.random.between(Duration::ZERO, Duration::from_secs(120));
            world.post(talk, at, Parcel::Begin);
            world.post(talk, at + PATIENCE, Parcel::GiveUp);
        }
        world
    }

    fn stormy(&self) -> bool {
        self.now < Instant::ZERO + STORM
    }

    fn post(&mut self, talk: usize, at: Instant, parcel: Parcel) {
        self.number += 1;
        self.parcels.insert((at, self.number), (talk, parcel));
    }

    fn run(&mut self) {
        let end = Instant::ZERO + END;
        for _ in 0..100_000 {
            let parcel = self.parcels.first_key_value().map(|((at, _), _)| *at);
            let Some(next) = [parcel, self.client.deadline()].into_iter().flatten().min() else { return };
            if next > end || self.violation.is_some() {
                return;
            }
            self.now = self.now.max(next);
            match parcel.filter(|at| *at <= self.now).and_then(|_| self.parcels.pop_first()) {
                Some((_, (talk, parcel))) => self.arrive(talk, parcel),
                None => self.tell_client(Input::Wake),
            }
        }
        self.violation.get_or_insert_with(|| "it goes on without an end".into());
    }

    fn arrive(&mut self, talk: usize, parcel: Parcel) {
        match parcel {
            Parcel::ToRadius(server, socket, bytes) => return self.radius_hears(server, socket, &bytes),
            Parcel::FromRadius(server, socket, payload) => {
                return self.tell_client(Input::Datagram { server, socket, payload: &payload });
            }
            Parcel::End => return self.session_ends(talk),
            Parcel::Disconnect(bytes, server) => return self.disconnect(talk, &bytes, server),
            Parcel::GiveUp => return self.give_up(talk),
            _ => {}
        }
        let random = &mut self.random;
        let Some(one) = self.talks.get_mut(talk) else { return };
        let effects = match parcel {
            Parcel::Begin => one.begin(),
            Parcel::ToPeer(packet, forged) => one.peer_hears(&packet, forged),
            Parcel::ToServer(packet) => one.server_hears(random, &packet),
            Parcel::Person(answer) => one.person(random, answer),
            Parcel::PeerTls(answer) => one.peer_tls(random, answer),
            Parcel::Users(found) => one.users(random, found),
            Parcel::ServerTls(answer) => one.server_tls(random, answer),
            _ => Vec::new(),
        };
        self.carry_out(talk, effects);
    }

    fn carry_out(&mut self, talk: usize, effects: Vec<Effect>) {
        let mut effects = VecDeque::from(effects);
        while let Some(effect) = effects.pop_front() {
            match effect {
                Effect::ToPeer(packet) => self.carry(talk, packet, |p| Parcel::ToPeer(p, false)),
                Effect::ToServer(packet) => self.carry(talk, packet, Parcel::ToServer),
                Effect::Person => self.person(talk),
                Effect::PeerTls(ask) => self.engine(talk, &ask, false),
                Effect::ServerTls(ask) => self.engine(talk, &ask, true),
                Effect::Users(ask) => self.users(talk, &ask),
                Effect::Query(query) => {
                    let id = self.ask(talk, query);
                    self.talks.get_mut(talk).into_iter().for_each(|t| t.query = Some(id));
                    self.drain();
                }
                Effect::Decided => self.decided(talk),
            }
        }
    }

    /// EAP's carrier is reliable and keeps the order, but may say a thing twice; and somebody may put in a success.
    fn carry(&mut self, talk: usize, packet: Vec<u8>, parcel: impl Fn(Vec<u8>) -> Parcel) {
        let at = self.now + Duration::from_millis(20);
        if self.random.chance(self.plan.slow / 2) {
            self.post(talk, at, parcel(packet.clone()));
        }
        let identifier = packet.get(1).copied().unwrap_or(0);
        self.post(talk, at, parcel(packet));
        if self.random.chance(self.plan.forge / 4) {
            self.summary.forged += 1;
            let most = self.random.pick(&[100, 3000]).unwrap_or(100);
            let at = self.now + self.random.between(Duration::ZERO, Duration::from_millis(most));
            self.post(talk, at, Parcel::ToPeer(emit(Code::Success, identifier, None, &[]), true));
        }
    }

    /// When an answer comes, and whether it is a refusal; `None`: never.
    fn temper(&mut self, talk: usize, slowest: Duration) -> Option<(Instant, bool)> {
        let hindered = |world: &mut Self| {
            world.summary.faults += 1;
            world.talks.get_mut(talk).into_iter().for_each(|t| t.hindered = true);
        };
        if self.random.chance(self.plan.silence) {
            hindered(self);
            return None;
        }
        let refused = self.random.chance(self.plan.refusals);
        if refused {
            hindered(self);
        }
        let late = self.random.chance(self.plan.late);
        self.summary.faults += u64::from(late);
        let most = if late { slowest } else { Duration::from_millis(50) };
        Some((self.now + self.random.between(Duration::ZERO, most), refused))
    }

    fn person(&mut self, talk: usize) {
        // People are slow: a late one may take until everybody has given up.
        let Some((at, refused)) = self.temper(talk, PATIENCE + Duration::from_secs(50)) else { return };
        let Some(answer) = self.talks.get_mut(talk).map(|t| t.type_in(refused)) else { return };
        self.post(talk, at, Parcel::Person(answer));
    }

    fn engine(&mut self, talk: usize, ask: &adit_auth::eap::TlsAsk, server: bool) {
        let Some((at, refused)) = self.temper(talk, Duration::from_secs(40)) else { return };
        let Some(one) = self.talks.get_mut(talk) else { return };
        let engine = if server { &mut one.engine } else { &mut one.peer_engine };
        let answer = engine.act(ask, refused);
        self.post(talk, at, if server { Parcel::ServerTls(answer) } else { Parcel::PeerTls(answer) });
    }

    fn users(&mut self, talk: usize, ask: &AuthenticatorAsk) {
        let AuthenticatorAsk::User { identity } = ask else { return };
        let Some((at, refused)) = self.temper(talk, Duration::from_secs(40)) else { return };
        let deceived = self.talks.get(talk).is_some_and(|t| t.who == Who::Deceived);
        let known = match self.people.known(identity) {
            // A server that is not ours knows everybody, but no password.
            _ if deceived => NtHash::of(&Secret::from(&b"whatever"[..])),
            known => known.map(|k| k.hash),
        };
        let known = known.map(|hash| UserSecret { hash, expired: false, clear: None });
        self.post(talk, at, Parcel::Users(if refused { Err(no()) } else { Ok(known) }));
    }

    fn ask(&mut self, talk: usize, query: Query) -> QueryId {
        self.next_query += 1;
        let id = QueryId(self.next_query);
        self.queries.insert(id, talk);
        self.client.handle(self.now, Input::Ask(id, Box::new(query)));
        id
    }

    fn tell_client(&mut self, input: Input<'_>) {
        self.client.handle(self.now, input);
        self.drain();
    }

    /// Does what the client wants.
    fn drain(&mut self) {
        while let Some(output) = self.client.poll() {
            match output {
                Output::Transmit { server, socket, payload } => self.send(server, socket, &payload),
                Output::Reachable(..) => {}
                Output::Answer(answer) => match self.queries.remove(&answer.id) {
                    Some(talk) => self.answered(talk, answer.id, answer.verdict),
                    None => {
                        let text = format!("{:?} was answered twice, or after nobody waited", answer.id);
                        self.violation.get_or_insert(text);
                    }
                },
            }
        }
    }

    fn answered(&mut self, talk: usize, id: QueryId, verdict: radius::Verdict) {
        let Some(one) = self.talks.get_mut(talk) else { return };
        if one.query != Some(id) {
            // An accounting record.
            if !matches!(verdict, radius::Verdict::Noted) {
                self.violation.get_or_insert(format!("an accounting record was given up: {verdict:?}"));
            }
            return;
        }
        let effects = one.verdict(verdict);
        self.carry_out(talk, effects);
    }

    fn send(&mut self, server: ServerId, socket: u32, payload: &[u8]) {
        let secret = self.servers.get(server.0).map(|s| s.secret.clone()).unwrap_or_default();
        if self.stormy()
            && self.random.chance(self.plan.forge)
            && let Some(forged) = self.forger.answer(payload, &secret)
        {
            self.summary.forged += 1;
            let at = self.now + self.random.between(Duration::ZERO, Duration::from_secs(1));
            self.post(usize::MAX, at, Parcel::FromRadius(server, socket, forged));
        }
        self.way(Parcel::ToRadius(server, socket, payload.to_vec()));
    }

    /// A datagram's way between us and a server.
    fn way(&mut self, parcel: Parcel) {
        if self.stormy() && self.random.chance(self.plan.loss) {
            self.summary.faults += 1;
            return;
        }
        let slow = self.stormy() && self.random.chance(self.plan.slow);
        self.summary.faults += u64::from(slow);
        let most = if slow { Duration::from_secs(9) } else { Duration::from_millis(30) };
        let at = self.now + self.random.between(Duration::from_millis(1), most);
        self.post(usize::MAX, at, parcel);
    }

    fn radius_hears(&mut self, id: ServerId, socket: u32, bytes: &[u8]) {
        let Some(server) = self.servers.get_mut(id.0) else { return };
        match server.request(self.now, bytes, &self.people) {
            Ok(Some(reply)) => {
                self.forger.see(&reply);
                self.way(Parcel::FromRadius(id, socket, reply));
            }
            Ok(None) => {}
            Err(violation) => {
                self.violation.get_or_insert(violation);
            }
        }
    }

    fn give_up(&mut self, talk: usize) {
        let Some(one) = self.talks.get_mut(talk) else { return };
        if one.decided.is_some() {
            return;
        }
        if let Some(id) = one.query.take() {
            self.queries.remove(&id);
            self.client.handle(self.now, Input::Forget(id));
        }
        let why = Failure::new(FailureCode::TimedOut, Step::Authenticate, "it took too long");
        one.hang_up();
        let effects = one.decide(Err(why), None);
        self.carry_out(talk, effects);
        self.drain();
    }

    /// Who has come in has a session, which ends some day.
    fn decided(&mut self, talk: usize) {
        let let_in = self.talks.get(talk).is_some_and(|t| matches!(t.decided, Some(Ok(_))));
        if !let_in {
            return;
        }
        self.up.push(talk);
        self.account(talk, 1);
        let end = self.now + self.random.between(Duration::ZERO, Duration::from_secs(4000));
        let by_radius = self.talks.get(talk).is_some_and(|t| People::by_radius(t.way));
        let server = self.servers.first().map(|s| s.secret.clone()).filter(|_| by_radius);
        match server.filter(|_| self.random.chance(500)) {
            Some(secret) => {
                self.post(talk, end, Parcel::Disconnect(forger::disconnect(talk, &secret), ServerId(0)))
            }
            None => self.post(talk, end, Parcel::End),
        }
        if self.random.chance(self.plan.forge) {
            self.summary.forged += 1;
            self.post(talk, self.now, Parcel::Disconnect(Forger::disconnect(talk), ServerId(usize::MAX)));
        }
    }

    /// A Disconnect-Request has come: from this server, or, where it is none, from somebody.
    fn disconnect(&mut self, talk: usize, bytes: &[u8], from: ServerId) {
        let real = self.servers.get(from.0).is_some();
        let secret = self.servers.get(if real { from.0 } else { 0 }).map(|s| Secret::from(&s.secret[..]));
        let Some(secret) = secret else { return };
        match Request::read(bytes, &secret) {
            Ok(Some(request)) if real => {
                let right = request.wish == Wish::Disconnect
                    && request.whose.session.as_deref() == Some(&*talk.to_string());
                if !right {
                    self.violation.get_or_insert(format!("read as {request:?}"));
                }
                self.session_ends(talk);
            }
            Err(_) if !real => {}
            other => {
                self.violation.get_or_insert(format!("a Disconnect-Request (real: {real}): {other:?}"));
            }
        }
    }

    fn session_ends(&mut self, talk: usize) {
        self.up.retain(|t| *t != talk);
        self.account(talk, 2);
    }

    /// Accounting: 1 is Start, 2 is Stop (RFC 2866 §5.1).
    fn account(&mut self, talk: usize, kind: u32) {
        let Some(mut attributes) = self.talks.get(talk).filter(|t| t.way != Way::Local).map(Talk::about)
        else {
            return;
        };
        attributes.push((attribute::ACCT_STATUS_TYPE, kind.to_be_bytes().to_vec()));
        self.ask(talk, Query::Accounting { attributes, interim: false });
        self.drain();
    }
}

/// Some servers are down for a while, one perhaps for more than an hour; some before all begins.
fn outages(random: &mut Random) -> Vec<(Instant, Instant)> {
    let longest = random.pick(&[30, 300, 4200]).unwrap_or(30);
    let from = random.pick(&[0, 1, 60, 600]).unwrap_or(0);
    if random.chance(400) {
        return Vec::new();
    }
    let from = random.between(Duration::ZERO, Duration::from_secs(from));
    let long = random.between(Duration::from_secs(5), Duration::from_secs(longest));
    vec![(Instant::ZERO + from, Instant::ZERO + from + long)]
}
