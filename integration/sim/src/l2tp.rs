//! Two L2TP endpoints over a network that loses, repeats, delays and reorders datagrams, with a kernel that is slow, refuses,
//! or never answers. Every run ends with both ends of one mind about tunnels and sessions, and with a reason for what is over.

use core::net::SocketAddr;
use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use adit_core::{Failure, FailureCode, Instant, Path, Secret, Step, Transmit};
use adit_l2tp::{
    Answer, Ask, Association, Call, Config, Dial, Endpoint, Event, Ids, Input, Limits, Listen, Output, Rules,
    SessionNumber, Takes, Timing, TunnelNumber,
};

use crate::random::Random;

/// When the network becomes quiet: from then on nothing is lost and the kernel answers.
const STORM: Duration = Duration::from_secs(90);
/// When a run is judged: whatever was under way is over by then, or up.
const END: Duration = Duration::from_secs(400);
const SESSIONS: usize = 4;

/// What a run was.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Summary {
    /// Sessions that were up at the end.
    pub up: u64,
    /// Processes that went on from what another one had left.
    pub restarts: u64,
    /// Datagrams that were sent.
    pub datagrams: u64,
    /// Datagrams that were lost, repeated or overtaken, and answers that were not given or refused.
    pub faults: u64,
}

struct Plan {
    secrets: [Option<&'static str>; 2],
    hide: bool,
    loss: u64,
    slow: u64,
    refusals: u64,
    silence: u64,
    /// What happens by itself, when and at which end.
    acts: Vec<(Duration, usize, Act)>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Act {
    Place,
    Clear,
    Close,
    /// Its process is gone, and another one goes on.
    Restart,
}

impl Plan {
    fn of(random: &mut Random) -> Self {
        let right = random.pick(&[None, Some("secret")]).flatten();
        let wrong = random.chance(60);
        let count = random.below(6);
        let acts = (0..count).map(|_| {
            let act = random.pick(&[Act::Place, Act::Place, Act::Place, Act::Clear, Act::Close]);
            // Calls are the LAC's.
            let act = act.unwrap_or(Act::Place);
            let end = if act == Act::Place { 0 } else { usize::from(random.chance(500)) };
            (random.between(Duration::ZERO, STORM), end, act)
        });
        let acts = acts.collect();
        Self {
            secrets: [if wrong { Some("typo") } else { right }, right],
            hide: random.chance(500),
            loss: random.pick(&[0, 50, 150, 300]).unwrap_or(0),
            slow: random.pick(&[0, 100, 300]).unwrap_or(0),
            refusals: random.pick(&[0, 0, 0, 100]).unwrap_or(0),
            silence: random.pick(&[0, 0, 0, 100]).unwrap_or(0),
            acts,
        }
    }

    fn proves(&self) -> bool {
        self.secrets[0] == self.secrets[1]
    }
}

struct End {
    endpoint: Endpoint,
    entropy: Random,
    tunnels: Vec<TunnelNumber>,
    standing: BTreeSet<TunnelNumber>,
    /// What the kernel carries, and whether it is up.
    sessions: BTreeMap<SessionNumber, (Ids, bool)>,
    whys: Vec<FailureCode>,
}

enum Parcel {
    Datagram(Path, Vec<u8>),
    Input(Input),
    Act(Act),
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
    wrong: Option<String>,
}

/// Runs a seed in which the ends are replaced by their next process again and again.
///
/// # Errors
/// What was wrong, with the seed.
pub fn run_restarted(seed: u64) -> Result<Summary, String> {
    let mut random = Random::new(seed);
    let mut plan = Plan::of(&mut random);
    let mut moments = Random::new(!seed);
    plan.acts.extend((0..12).map(|n| (moments.between(Duration::ZERO, STORM), n % 2, Act::Restart)));
    let mut world = World::new(random, plan);
    world.run();
    world.judge().map_err(|what| format!("seed {seed}: {what}"))
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

fn address(end: usize) -> SocketAddr {
    let host = [192, 0, 2, if end == 0 { 1 } else { 2 }];
    SocketAddr::from((host, if end == 0 { 40_000 } else { adit_l2tp::PORT }))
}

fn secret(text: Option<&str>) -> Option<Arc<Secret>> {
    text.map(|text| Arc::new(Secret::from(text.as_bytes())))
}

fn config(plan: &Plan, end: usize) -> Config {
    let limits = Limits { tunnels: 9, unproven: 9, unproven_per_address: 9, sessions: SESSIONS };
    let listen = (end == 1).then(|| Listen {
        secret: secret(plan.secrets[1]),
        hide: plan.hide,
        takes: Takes { incoming: true, outgoing: false },
        limits,
    });
    Config { host_name: format!("end{end}"), listen, window: 6, timing: Timing::default() }
}

impl World {
    fn new(mut random: Random, plan: Plan) -> Self {
        let ends = [0, 1].map(|end| End {
            endpoint: Endpoint::new(config(&plan, end)),
            entropy: random.fork(),
            tunnels: Vec::new(),
            standing: BTreeSet::new(),
            sessions: BTreeMap::new(),
            whys: Vec::new(),
        });
        let (parcels, summary) = (BTreeMap::new(), Summary::default());
        let mut world =
            Self { random, plan, now: Instant::ZERO, ends, parcels, number: 0, summary, wrong: None };
        for (at, end, act) in world.plan.acts.clone() {
            world.post(end, Instant::ZERO + at, Parcel::Act(act));
        }
        let [lac, _] = &mut world.ends;
        let dial = Dial {
            path: Path { local: address(0), remote: address(1) },
            secret: secret(world.plan.secrets[0]),
            hide: world.plan.hide,
            only: false,
            call: Some(Call::Incoming),
            takes: Takes::default(),
            sessions: SESSIONS,
        };
        lac.endpoint.dial(Instant::ZERO, &mut lac.entropy, dial);
        world.drain(0);
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
        for _ in 0..100_000 {
            let parcel = self.parcels.first_key_value().map(|((at, _), _)| *at);
            let timers = self.ends.iter().filter_map(|e| e.endpoint.deadline()).map(|(at, _)| at).min();
            let Some(next) = [parcel, timers].into_iter().flatten().min() else { return };
            if next > end {
                return;
            }
            self.now = self.now.max(next);
            match parcel.filter(|at| *at <= self.now).and_then(|_| self.parcels.pop_first()) {
                Some((_, (to, Parcel::Datagram(path, octets)))) => {
                    self.handle(to, Input::Datagram { path, association: Association::default(), octets })
                }
                Some((_, (to, Parcel::Input(input)))) => self.handle(to, input),
                Some((_, (to, Parcel::Act(act)))) => self.act(to, act),
                None => {
                    for to in 0..2 {
                        self.handle(to, Input::Wake);
                    }
                }
            }
        }
        self.wrong = Some("it does not come to rest".into());
    }

    /// Everything that an end knows is what it has handed on; what the kernel carries stays.
    fn restart(&mut self, at: usize) {
        let plan = &self.plan;
        let rules = Rules {
            secret: secret(plan.secrets.get(at).copied().flatten()),
            hide: plan.hide,
            takes: Takes { incoming: at == 1, outgoing: false },
            sessions: SESSIONS,
        };
        let Some(end) = self.ends.get_mut(at) else { return };
        let left: Option<Vec<_>> = end.standing.iter().map(|number| end.endpoint.snapshot(*number)).collect();
        let Some(left) = left.filter(|left| !left.is_empty()) else { return };
        end.endpoint = Endpoint::new(config(plan, at));
        let carried = core::mem::take(&mut end.sessions);
        (end.tunnels, end.standing) = (Vec::new(), BTreeSet::new());
        for left in left {
            let Some(restored) = end.endpoint.restore(self.now, &mut end.entropy, &left, &rules) else {
                self.wrong = Some("what was handed on is refused".into());
                return;
            };
            end.tunnels.push(restored.tunnel);
            end.standing.insert(restored.tunnel);
            end.sessions.extend(restored.sessions.into_iter().map(|(number, ids, _)| (number, (ids, true))));
        }
        let of = |all: &BTreeMap<SessionNumber, (Ids, bool)>| -> BTreeSet<u16> {
            all.values().map(|(ids, _)| ids.session).collect()
        };
        if of(&carried) != of(&end.sessions) {
            self.wrong = Some("other sessions go on than were there".into());
        }
        self.summary.restarts += 1;
        self.drain(at);
    }

    fn act(&mut self, at: usize, act: Act) {
        if act == Act::Restart {
            return self.restart(at);
        }
        let Some(end) = self.ends.get(at) else { return };
        let Some(tunnel) = end.tunnels.last().copied() else { return };
        let session = end.sessions.iter().find(|(_, (_, up))| *up).map(|(number, _)| *number);
        match (act, session) {
            (Act::Place, _) => self.handle(at, Input::Place { tunnel, call: Call::Incoming }),
            (Act::Clear, Some(session)) => self.handle(at, Input::Clear { session }),
            (Act::Clear, None) => {}
            (Act::Close, _) => self.handle(at, Input::Close { tunnel }),
            (Act::Restart, _) => {}
        }
    }

    fn handle(&mut self, at: usize, input: Input) {
        if let Some(end) = self.ends.get_mut(at) {
            end.endpoint.handle(self.now, &mut end.entropy, input);
        }
        self.drain(at);
    }

    fn drain(&mut self, at: usize) {
        let mut outputs = Vec::new();
        if let Some(end) = self.ends.get_mut(at) {
            outputs.extend(core::iter::from_fn(|| end.endpoint.poll()).take(10_000));
        }
        for output in outputs {
            match output {
                Output::Transmit { transmit, .. } => self.send(at, &transmit),
                Output::Ask { id, ask: Ask::Carry { session, ids, .. } } => {
                    self.carry(at, id, session, ids);
                }
                Output::Event(event) => self.event(at, event),
            }
        }
    }

    fn send(&mut self, at: usize, transmit: &Transmit) {
        self.summary.datagrams += 1;
        let (loss, stormy) = (self.plan.loss, self.stormy());
        if stormy && self.random.chance(loss) {
            self.summary.faults += 1;
            return;
        }
        let copies = if stormy && self.random.chance(loss / 3) { 2 } else { 1 };
        for _ in 0..copies {
            let slow = stormy && self.random.chance(self.plan.slow);
            let most = if slow { Duration::from_millis(4000) } else { Duration::from_millis(20) };
            let way = self.random.between(Duration::from_millis(1), most);
            self.summary.faults += u64::from(slow);
            let path = Path { local: transmit.path.remote, remote: transmit.path.local };
            self.post(1 - at, self.now + way, Parcel::Datagram(path, transmit.payload.clone()));
        }
    }

    fn carry(&mut self, at: usize, id: adit_l2tp::AskId, session: SessionNumber, ids: Ids) {
        let taken = |end: &End| {
            end.sessions.values().any(|(o, _)| (o.tunnel, o.session) == (ids.tunnel, ids.session))
        };
        if let Some(end) = self.ends.get_mut(at) {
            if taken(end) {
                self.wrong = Some(format!("two sessions have the same IDs: {ids:?}"));
            }
            end.sessions.insert(session, (ids, false));
        }
        let stormy = self.stormy();
        if stormy && self.random.chance(self.plan.silence) {
            self.summary.faults += 1;
            return;
        }
        let refuse = stormy && self.random.chance(self.plan.refusals);
        self.summary.faults += u64::from(refuse);
        let no = || Failure::new(FailureCode::KernelRefused, Step::Kernel, "refused");
        let answer = Answer::Carried(if refuse { Err(no()) } else { Ok(()) });
        let late = self.random.between(Duration::ZERO, Duration::from_millis(300));
        self.post(at, self.now + late, Parcel::Input(Input::Answer { id, answer }));
    }

    fn event(&mut self, at: usize, event: Event) {
        let Some(end) = self.ends.get_mut(at) else { return };
        match event {
            Event::TunnelUp { tunnel, .. } => {
                end.tunnels.push(tunnel);
                end.standing.insert(tunnel);
            }
            Event::TunnelDown { tunnel, why } => {
                end.standing.remove(&tunnel);
                end.whys.extend(why.err().map(|why| why.code));
            }
            Event::SessionUp { session, .. } => match end.sessions.get_mut(&session) {
                Some((_, up)) => *up = true,
                None => self.wrong = Some("a session is up that the kernel does not carry".into()),
            },
            Event::SessionDown { session, why, .. } => {
                end.sessions.remove(&session);
                end.whys.extend(why.err().map(|why| why.code));
            }
            Event::Refused { why, .. } => end.whys.push(why.code),
            Event::Peer { .. } => {}
        }
    }

    fn judge(mut self) -> Result<Summary, String> {
        if let Some(wrong) = self.wrong {
            return Err(wrong);
        }
        let [lac, lns] = &self.ends;
        if lac.standing.len() != lns.standing.len() {
            return Err(format!("of two minds about tunnels: {:?}, {:?}", lac.standing, lns.standing));
        }
        let seen = |end: &End, turned: bool| -> BTreeSet<[u16; 4]> {
            let each = end.sessions.values().map(|(ids, up)| match (up, turned) {
                (false, _) => [0; 4],
                (true, false) => [ids.tunnel, ids.session, ids.peer_tunnel, ids.peer_session],
                (true, true) => [ids.peer_tunnel, ids.peer_session, ids.tunnel, ids.session],
            });
            each.collect()
        };
        let (ours, theirs) = (seen(lac, false), seen(lns, true));
        if ours != theirs || ours.contains(&[0; 4]) {
            return Err(format!("of two minds about sessions: {ours:?}, {theirs:?}"));
        }
        if !ours.is_empty() && !self.plan.proves() {
            return Err("a session is up between ends that do not know the same secret".into());
        }
        self.for_a_reason()?;
        self.summary.up = ours.len() as u64;
        Ok(self.summary)
    }

    /// Whatever is over is over for a reason that the run gives.
    fn for_a_reason(&self) -> Result<(), String> {
        use FailureCode as C;
        let plan = &self.plan;
        let rough = plan.loss > 0 || plan.slow > 0;
        let asked = |act| plan.acts.iter().any(|(_, _, a)| *a == act);
        let ends = asked(Act::Close) || asked(Act::Clear);
        for why in self.ends.iter().flat_map(|end| &end.whys) {
            let given = match why {
                C::AuthenticationFailed | C::NoSecret => !plan.proves(),
                // A tunnel whose only call was refused is empty, and ended by who was dialled.
                C::PeerClosed => ends || !plan.proves() || plan.silence > 0 || plan.refusals > 0 || rough,
                C::PeerLost => rough || plan.silence > 0,
                C::ServerUnreachable => rough || !plan.proves(),
                // Too many sessions, or the kernel of the other end.
                C::PeerBusy => true,
                C::KernelRefused => plan.refusals > 0,
                C::Idle => ends || rough || plan.refusals > 0 || plan.silence > 0,
                _ => false,
            };
            if !given {
                return Err(format!("for no reason that the run gives: {why:?}"));
            }
        }
        let quiet = !rough && plan.refusals == 0 && plan.silence == 0 && !ends;
        let [lac, _] = &self.ends;
        match (quiet, plan.proves(), lac.sessions.is_empty()) {
            (true, true, true) => Err(format!("a quiet run did not come up: {:?}", lac.whys)),
            (true, false, _) if lac.whys.is_empty() => Err("nobody says why a quiet run failed".into()),
            _ => Ok(()),
        }
    }
}
