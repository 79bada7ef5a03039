//! Two PPP links over a line that loses, repeats, delays and reorders frames, with a world that answers late, refuses, or
//! never answers. Every run ends with both ends up and of one mind, or with both over, each for a reason that the run gives.

mod unit;

use core::time::Duration;
use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use adit_core::{Failure, FailureCode, Instant, Secret, Step};
use adit_ppp::{
    Addresses, Answer, Ask, AuthMethod, EapConfig, Established, Event, Input, KnownUser, Link, LinkConfig,
    Mppe, MppeWish, NameServers, NetworkPlan, Output, Timing,
};

use crate::random::Random;
use unit::Unit;

/// When the network becomes quiet: from then on nothing is lost and the world answers.
const STORM: Duration = Duration::from_secs(60);
/// How long a frame may wait in the kernel for its reader.
const READ_WITHIN: Duration = Duration::from_millis(5);
/// When a run is judged.
const END: Duration = Duration::from_secs(240);

/// What a run was.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Summary {
    /// Both ends were up at the end.
    pub up: bool,
    /// Frames that were sent.
    pub frames: u64,
    /// Frames that were lost, repeated or overtaken, and answers that were not given or refused.
    pub faults: u64,
}

/// What the run is about.
struct Plan {
    wrong_password: bool,
    no_common_method: bool,
    no_common_encryption: bool,
    loss: u64,
    slow: u64,
    refusals: u64,
    silence: u64,
    closes: Option<(bool, Duration)>,
}

impl Plan {
    fn of(random: &mut Random) -> Self {
        let closes = random
            .chance(100)
            .then(|| (random.chance(500), random.between(Duration::ZERO, Duration::from_secs(90))));
        Self {
            wrong_password: random.chance(100),
            no_common_method: random.chance(60),
            no_common_encryption: random.chance(60),
            loss: random.pick(&[0, 50, 150, 300]).unwrap_or(0),
            slow: random.pick(&[0, 100, 300]).unwrap_or(0),
            refusals: random.pick(&[0, 0, 0, 10]).unwrap_or(0),
            silence: random.pick(&[0, 0, 0, 10]).unwrap_or(0),
            closes,
        }
    }
}

struct End {
    link: Link,
    entropy: Random,
    server: bool,
    established: Option<Established>,
    closed: Option<Result<(), Failure>>,
    unit: Unit,
    /// When it reads next, at the earliest.
    read: Instant,
    after_closed: u64,
}

enum Parcel {
    /// For the kernel, which hands it on.
    Frame(Vec<u8>),
    /// For the link.
    Read(Vec<u8>),
    Input(Box<Input>),
}

struct World {
    random: Random,
    plan: Plan,
    now: Instant,
    ends: [End; 2],
    /// What arrives when, in order; the number keeps those of one time apart.
    parcels: BTreeMap<(Instant, u64), (usize, Parcel)>,
    number: u64,
    summary: Summary,
    refused: bool,
}

/// Runs a seed.
///
/// # Errors
/// What was wrong, with the seed.
pub fn run(seed: u64) -> Result<Summary, String> {
    let mut random = Random::new(seed);
    let plan = Plan::of(&mut random);
    let mut world = World::new(random, plan);
    world.run();
    world.judge().map_err(|what| format!("seed {seed}: {what}"))
}

fn config(server: bool, plan: &Plan, random: &mut Random) -> LinkConfig {
    let all = [AuthMethod::Eap, AuthMethod::MsChapV2, AuthMethod::MsChapV1];
    let methods = match (plan.no_common_method, server) {
        (true, true) => vec![AuthMethod::MsChapV2],
        (true, false) => vec![AuthMethod::Pap, AuthMethod::ChapMd5],
        (false, true) => vec![random.pick(&all).unwrap_or(AuthMethod::MsChapV2)],
        (false, false) => all.to_vec(),
    };
    let mppe = match (plan.no_common_encryption, server) {
        (true, true) => Mppe { bits40: true, bits128: false, ..Mppe::REQUIRED },
        (true, false) => Mppe::REQUIRED,
        _ => Mppe {
            wish: random.pick(&[MppeWish::Require, MppeWish::Take]).unwrap_or(MppeWish::Require),
            bits40: random.chance(300),
            stateful: random.chance(300),
            ..Mppe::REQUIRED
        },
    };
    let (prove, demand) = if server { (Vec::new(), methods) } else { (methods, Vec::new()) };
    LinkConfig {
        mru: 1400,
        compress_header: random.chance(700),
        prove,
        demand,
        name: if server { "vpn".into() } else { "ann".into() },
        eap: EapConfig::of(vec![adit_auth::eap::Method::MSCHAPV2]),
        mppe,
        ipv4: true,
        ipv6: random.chance(500),
        addresses: if server {
            Addresses::ForPeer
        } else {
            Addresses::FromPeer { wanted: None, servers: NameServers::ALL }
        },
        timing: Timing::default(),
    }
}

impl End {
    /// What the kernel does, at once, and in the order in which it is asked.
    fn carry_out(&mut self, ask: &Ask) {
        match ask {
            Ask::Network { .. } => self.unit.made = true,
            Ask::Compress(compress) => self.unit.prepare(compress),
            Ask::Encrypted(stands) => self.unit.encrypted(*stands),
            _ => {}
        }
    }
}

impl World {
    fn new(mut random: Random, plan: Plan) -> Self {
        let ends = [false, true].map(|server| End {
            link: Link::new(config(server, &plan, &mut random)),
            entropy: random.fork(),
            server,
            established: None,
            closed: None,
            unit: Unit::default(),
            read: Instant::ZERO,
            after_closed: 0,
        });
        let (parcels, summary) = (BTreeMap::new(), Summary::default());
        let mut world =
            Self { random, plan, now: Instant::ZERO, ends, parcels, number: 0, summary, refused: false };
        for end in 0..2 {
            let wait = world.random.between(Duration::ZERO, Duration::from_secs(2));
            world.post(end, Instant::ZERO + wait, Parcel::Input(Box::new(Input::Up)));
        }
        if let Some((server, at)) = world.plan.closes {
            world.post(usize::from(server), Instant::ZERO + at, Parcel::Input(Box::new(Input::Close)));
        }
        world
    }

    fn stormy(&self) -> bool {
        self.now < Instant::ZERO + STORM
    }

    fn post(&mut self, to: usize, at: Instant, parcel: Parcel) {
        self.number += 1;
        self.parcels.insert((at, self.number), (to, parcel));
    }

    fn run(&mut self) {
        let end = Instant::ZERO + END;
        for _ in 0..200_000 {
            let parcel = self.parcels.first_key_value().map(|((at, _), _)| *at);
            let timers = self.ends.iter().filter_map(|e| e.link.deadline()).map(|(at, _)| at).min();
            let Some(next) = [parcel, timers].into_iter().flatten().min() else { return };
            if next > end {
                return;
            }
            self.now = self.now.max(next);
            match parcel.filter(|at| *at <= self.now).and_then(|_| self.parcels.pop_first()) {
                Some((_, (to, Parcel::Frame(frame)))) => self.arrives(to, frame),
                Some((_, (to, Parcel::Read(frame)))) => self.handle(to, Input::Frame(frame)),
                Some((_, (to, Parcel::Input(input)))) => self.handle(to, *input),
                None => {
                    for to in 0..2 {
                        self.handle(to, Input::Wake);
                    }
                }
            }
        }
    }

    /// The kernel sees a frame some time before the process reads it, which reads them in order.
    fn arrives(&mut self, to: usize, frame: Vec<u8>) {
        if let Some(end) = self.ends.get_mut(to) {
            end.unit.sees(&frame, true);
            let wait = self.random.between(Duration::ZERO, READ_WITHIN);
            let read = end.read.max(self.now + wait);
            end.read = read;
            self.post(to, read, Parcel::Read(frame));
        }
    }

    fn handle(&mut self, at: usize, input: Input) {
        let mut frames = Vec::new();
        let mut asks = Vec::new();
        if let Some(end) = self.ends.get_mut(at) {
            end.link.handle(self.now, &mut end.entropy, input);
            while let Some(output) = end.link.poll() {
                if end.closed.is_some() {
                    end.after_closed += 1;
                }
                match output {
                    Output::Transmit(frame) => {
                        end.unit.sees(&frame, false);
                        frames.push(frame);
                    }
                    Output::Ask { id, ask } => {
                        end.carry_out(&ask);
                        asks.push((id, ask));
                    }
                    Output::Event(Event::Established(facts) | Event::Changed(facts)) => {
                        end.established = Some(*facts);
                    }
                    Output::Event(Event::Closed(why)) => end.closed = Some(why),
                    Output::Event(_) => {}
                }
            }
        }
        for frame in frames {
            self.send(1 - at, frame);
        }
        for (id, ask) in asks {
            self.answer(at, id, ask);
        }
    }

    fn send(&mut self, to: usize, frame: Vec<u8>) {
        self.summary.frames += 1;
        let (loss, stormy) = (self.plan.loss, self.stormy());
        if stormy && self.random.chance(loss) {
            self.summary.faults += 1;
            return;
        }
        let copies = if stormy && self.random.chance(loss / 3) { 2 } else { 1 };
        for _ in 0..copies {
            // A frame with a longer way is overtaken.
            let slow = stormy && self.random.chance(self.plan.slow);
            let most = if slow { Duration::from_millis(2500) } else { Duration::from_millis(20) };
            let way = self.random.between(Duration::from_millis(1), most);
            self.summary.faults += u64::from(slow);
            self.post(to, self.now + way, Parcel::Frame(frame.clone()));
        }
    }

    fn answer(&mut self, at: usize, id: adit_ppp::AskId, ask: Ask) {
        let stormy = self.stormy();
        if stormy && self.random.chance(self.plan.silence) {
            self.summary.faults += 1;
            self.refused = true;
            return;
        }
        let refuse = stormy && self.random.chance(self.plan.refusals);
        self.refused |= refuse;
        self.summary.faults += u64::from(refuse);
        let answer = self.answer_to(at, ask, refuse);
        let late = self.random.between(Duration::ZERO, Duration::from_millis(300));
        self.post(at, self.now + late, Parcel::Input(Box::new(Input::Answer { id, answer })));
    }

    fn answer_to(&mut self, at: usize, ask: Ask, refuse: bool) -> Answer {
        let no = || Failure::new(FailureCode::KernelRefused, Step::Kernel, "refused");
        let typed = if self.plan.wrong_password { "typo" } else { "secret" };
        let known = || KnownUser::with_password(Secret::from(&b"secret"[..]));
        match ask {
            // No method here runs TLS.
            Ask::Tls { .. } => {
                Answer::Tls(adit_auth::eap::TlsAnswer { failure: Some(no()), ..Default::default() })
            }
            Ask::Password { .. } | Ask::NewPassword { .. } if refuse => Answer::Secret(Err(no())),
            Ask::Password { .. } | Ask::NewPassword { .. } => {
                Answer::Secret(Ok(Secret::from(typed.as_bytes())))
            }
            Ask::Verify(_) if refuse => Answer::Verdict(Err(no())),
            Ask::Verify(claim) => Answer::Verdict(Ok(claim.verify(known().as_ref()))),
            Ask::Eap(adit_auth::eap::AuthenticatorAsk::User { .. }) => {
                let user =
                    known().map(|u| adit_auth::eap::UserSecret { hash: u.hash, expired: false, clear: None });
                Answer::EapUser(if refuse { Err(no()) } else { Ok(user) })
            }
            Ask::EapPacket(_) => Answer::EapStep(Err(no())),
            Ask::Eap(_) | Ask::StorePassword { .. } => Answer::Stored(Ok(())),
            Ask::Network { .. } if refuse => Answer::Network(Err(no())),
            Ask::Network { .. } => {
                let server = self.ends.get(at).is_some_and(|e| e.server);
                let v4 = server.then_some((Ipv4Addr::new(10, 9, 0, 1), Ipv4Addr::new(10, 9, 0, 7)));
                Answer::Network(Ok(NetworkPlan { v4, v6: true, ..NetworkPlan::default() }))
            }
            Ask::Compress(_) | Ask::Encrypted(_) => {
                Answer::Compressed(if refuse { Err(no()) } else { Ok(()) })
            }
            Ask::Install(_) => Answer::Installed(if refuse { Err(no()) } else { Ok(()) }),
        }
    }

    fn judge(mut self) -> Result<Summary, String> {
        let [a, b] = &self.ends;
        if a.after_closed + b.after_closed > 0 {
            return Err("something came after Closed".into());
        }
        match (&a.closed, &b.closed) {
            (None, None) => {
                self.of_one_mind()?;
                self.summary.up = true;
                Ok(self.summary)
            }
            (Some(_), Some(_)) => {
                self.for_a_reason()?;
                Ok(self.summary)
            }
            (a, b) => Err(format!("one end is over and the other is not: {a:?}, {b:?}")),
        }
    }

    fn of_one_mind(&self) -> Result<(), String> {
        let [a, b] = &self.ends;
        let (Some(up), Some(other)) = (&a.established, &b.established) else {
            return Err(format!("neither up nor over: {:?}, {:?}", a.established, b.established));
        };
        let bad = self.plan.wrong_password || self.plan.no_common_method || self.plan.no_common_encryption;
        if bad || self.plan.closes.is_some() {
            return Err("it came up where it could not".into());
        }
        if up.mppe.is_some() != other.mppe.is_some() || up.mppe.map(|m| m.0) != other.mppe.map(|m| m.0) {
            return Err(format!("of two minds about encryption: {up:?}, {other:?}"));
        }
        a.unit.of_one_mind(&b.unit, up)?;
        let pair = |e: &Established| e.v4.as_ref().map(|v4| (v4.local, v4.peer));
        match (pair(up), pair(other)) {
            (Some((ours, theirs)), Some((remote, local))) => {
                match Some(ours) == local && theirs == Some(remote) {
                    true => Ok(()),
                    false => Err(format!("of two minds about addresses: {up:?}, {other:?}")),
                }
            }
            // In a storm one family may come late, or not at all; then there is the other.
            _ if up.v6.is_some() && other.v6.is_some() => Ok(()),
            (a, b) => Err(format!("no family in common: {a:?}, {b:?}")),
        }
    }

    /// Each end gives a reason that the run gave it, or says that the other ended it or was lost.
    fn for_a_reason(&self) -> Result<(), String> {
        use FailureCode as C;
        for end in &self.ends {
            let Some(Err(why)) = &end.closed else {
                // Nobody asked this end to close: it may not say that somebody did.
                match self.plan.closes {
                    Some((server, _)) if server == end.server => continue,
                    _ => return Err("it ended without a reason".into()),
                }
            };
            let plan = &self.plan;
            // PPP counts on a line that keeps the order: on another, an old request looks like a new negotiation.
            let rough = plan.loss > 0 || plan.slow > 0 || self.refused;
            let given = match why.code {
                C::AuthenticationFailed => plan.wrong_password || plan.no_common_method || rough,
                C::ProposalMismatch => plan.no_common_encryption || rough,
                C::KernelRefused | C::TimedOut => self.refused,
                C::PeerClosed | C::PeerLost => true,
                C::NoAddress => rough,
                _ => false,
            };
            if !given {
                return Err(format!("for no reason that the run gives: {why:?}"));
            }
        }
        // A quiet run, with a right password and a common method, comes up unless somebody closes it.
        let plan = &self.plan;
        let quiet = plan.loss == 0 && plan.slow == 0 && !self.refused && plan.closes.is_none();
        if quiet && !(plan.wrong_password || plan.no_common_method || plan.no_common_encryption) {
            let whys: Vec<_> = self.ends.iter().map(|e| &e.closed).collect();
            return Err(format!("a quiet run did not come up: {whys:?}"));
        }
        if quiet {
            let codes: Vec<_> =
                self.ends.iter().filter_map(|e| e.closed.as_ref()?.as_ref().err()).map(|f| f.code).collect();
            let wanted = if plan.wrong_password || plan.no_common_method {
                C::AuthenticationFailed
            } else {
                C::ProposalMismatch
            };
            if !codes.contains(&wanted) {
                return Err(format!("nobody says why a quiet run failed: {codes:?}"));
            }
        }
        Ok(())
    }
}
