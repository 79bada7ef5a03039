//! Both ends in one process, over a network that loses, doubles and reorders by a seed.

mod abuse;
mod dialled;
mod established;
mod handshake;
mod network;
mod seeds;
mod snapshot;
mod units;

use std::collections::BTreeMap;
use std::sync::Arc;

use core::net::SocketAddr;
use core::time::Duration;

use adit_core::{Failure, FailureCode, Identity, Instant, Path, Prefix, Secret, Step, TrafficSelector};
use adit_isakmp::proposal::{EspProposal, IkeProposal};
use adit_isakmp::v1::Provider;
use adit_isakmp::{EspSuite, Prf};
use adit_sim::crypto::ToyCrypto;
use adit_sim::random::Random;

use crate::Endpoint;
use crate::api::*;

pub(super) const IKE: &str = "aes256-sha256-prfsha256-modp2048";
pub(super) const ESP: &str = "aes128-sha256";

pub(super) fn ike(text: &str) -> Vec<IkeProposal> {
    text.split(',').map(|p| IkeProposal::read(p.trim(), true).unwrap()).collect()
}

pub(super) fn esp(text: &str) -> Vec<EspProposal> {
    text.split(',').map(|p| EspProposal::read(p.trim(), true).unwrap()).collect()
}

pub(super) fn id(text: &str) -> Identity {
    text.parse().unwrap()
}

/// UDP port 1701 of any address.
pub(super) fn l2tp() -> TrafficSelector {
    let all: TrafficSelector = "0.0.0.0/0".parse::<Prefix>().unwrap().into();
    TrafficSelector { protocol: 17, first_port: 1701, last_port: 1701, ..all }
}

pub(super) fn net(text: &str) -> TrafficSelector {
    text.parse::<Prefix>().unwrap().into()
}

pub(super) fn timing() -> Timing {
    Timing::default()
}

/// An SA in the kernel.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Installed {
    pub(super) child: ChildId,
    pub(super) keys: Vec<u8>,
    pub(super) suite: EspSuite,
    pub(super) ts: (Vec<TrafficSelector>, Vec<TrafficSelector>),
    pub(super) mode: ChildMode,
    pub(super) encapsulated: bool,
}

/// One end, with everything that its driver would do.
pub(super) struct End {
    pub(super) endpoint: Endpoint,
    pub(super) crypto: Arc<dyn Provider>,
    pub(super) psk: &'static str,
    pub(super) config: ResponderConfig,
    /// Where its pre-shared keys are looked up, and for whom.
    pub(super) asked: Vec<(Identity, Identity)>,
    pub(super) events: Vec<(SaId, Event)>,
    pub(super) inbound: BTreeMap<u32, Installed>,
    pub(super) outbound: BTreeMap<u32, Installed>,
    /// Inbound SPIs of pairs whose outbound SA is still to come.
    pub(super) waiting: BTreeMap<ChildId, (u32, Installed)>,
    pub(super) next_spi: u32,
    /// Asks that are not answered.
    pub(super) mute: bool,
    /// Of several asks the last one is answered first.
    pub(super) last_first: bool,
    /// Shared secrets are there only when the next datagram has come.
    pub(super) computes_slowly: bool,
    pub(super) computed: Vec<(AskId, Answer)>,
    pub(super) refuse_install: bool,
    pub(super) trust: bool,
    pub(super) held: Vec<AskId>,
    /// What it has gone on with from the process before.
    pub(super) goes_on: Option<SaId>,
}

impl End {
    pub(super) fn new(seed: u64, crypto: Arc<dyn Provider>, responder: Option<ResponderDefaults>) -> Self {
        let endpoint = Endpoint::new(crypto.clone(), Box::new(Random::new(seed)), responder);
        Self {
            endpoint,
            crypto,
            psk: "a very long secret",
            config: responder_config(),
            asked: Vec::new(),
            events: Vec::new(),
            inbound: BTreeMap::new(),
            outbound: BTreeMap::new(),
            waiting: BTreeMap::new(),
            next_spi: 0x1000 + u32::try_from(seed % 1000).unwrap() * 0x10000,
            mute: false,
            last_first: false,
            computes_slowly: false,
            computed: Vec::new(),
            refuse_install: false,
            trust: true,
            held: Vec::new(),
            goes_on: None,
        }
    }

    /// What stands for an RSA signature.
    fn signature(&self, certificate: &[u8], message: &Secret) -> Vec<u8> {
        self.crypto.hash(Prf::HmacSha256, &[b"signed", certificate, message.expose()])
    }

    fn install(&mut self, sa: ChildSa) -> Result<(), Failure> {
        if self.refuse_install {
            return Err(Failure::new(FailureCode::KernelRefused, Step::Child, "the kernel said no"));
        }
        let of = |keys: &EspKeys| Installed {
            child: sa.child,
            keys: [keys.encryption.expose(), keys.integrity.expose()].concat(),
            suite: sa.suite,
            ts: (sa.local_ts.clone(), sa.remote_ts.clone()),
            mode: sa.mode,
            encapsulated: sa.encapsulated,
        };
        let inbound = of(&sa.inbound);
        assert!(self.inbound.insert(sa.inbound_spi, inbound.clone()).is_none());
        match &sa.outbound {
            Some(keys) => {
                assert!(self.outbound.insert(sa.outbound_spi, of(keys)).is_none());
            }
            None => {
                self.waiting.insert(sa.child, (sa.outbound_spi, inbound));
            }
        }
        Ok(())
    }

    fn answer(&mut self, ask: Ask) -> Answer {
        let failed = |text: &str| Failure::new(FailureCode::CertificateUntrusted, Step::Authenticate, text);
        match ask {
            Ask::Generate(ke) => Answer::Generated(self.crypto.generate(ke)),
            Ask::Agree { key, peer } => Answer::Agreed(key.agree(&peer)),
            Ask::Encapsulate { method, peer } => Answer::Encapsulated(self.crypto.encapsulate(method, &peer)),
            Ask::Psk { local, remote } => {
                self.asked.push((local, remote));
                Answer::Psk(Ok(Secret::from(self.psk.as_bytes())))
            }
            Ask::Connection { .. } => Answer::Connection(Ok(Box::new(self.config.clone()))),
            Ask::Verify { certificates, message, signature, .. } => {
                let right = self.signature(&certificates[0], &message) == signature;
                Answer::Verified(if right && self.trust { Ok(()) } else { Err(failed("not trusted")) })
            }
            Ask::Sign { certificate, message } => {
                Answer::Signed(Ok(self.signature(&self.config.own[certificate].certificates[0], &message)))
            }
            Ask::AllocateSpi { .. } => {
                self.next_spi += 1;
                Answer::Spi(Ok(self.next_spi))
            }
            Ask::Install(sa) => Answer::Installed(self.install(*sa)),
            Ask::InstallOutbound { .. } if self.refuse_install => Answer::Installed(Err(Failure::new(
                FailureCode::KernelRefused,
                Step::Child,
                "the kernel said no",
            ))),
            Ask::InstallOutbound { child, keys } => {
                let (spi, mut installed) = self.waiting.remove(&child).unwrap();
                installed.keys = [keys.encryption.expose(), keys.integrity.expose()].concat();
                assert!(self.outbound.insert(spi, installed).is_none());
                Answer::Installed(Ok(()))
            }
        }
    }

    fn event(&mut self, sa: SaId, event: Event) {
        if let Event::ChildClosed { child, inbound_spi, outbound_spi, .. } = &event {
            self.inbound.remove(inbound_spi);
            self.outbound.remove(outbound_spi);
            self.waiting.remove(child);
        }
        self.events.push((sa, event));
    }

    /// How often this kind of event came.
    pub(super) fn count(&self, is: impl Fn(&Event) -> bool) -> usize {
        self.events.iter().filter(|(_, e)| is(e)).count()
    }

    pub(super) fn established(&self) -> Option<&Established> {
        self.events.iter().find_map(|(_, e)| if let Event::Established(e) = e { Some(&**e) } else { None })
    }

    pub(super) fn failure(&self) -> Option<&Failure> {
        self.events.iter().find_map(|(_, e)| if let Event::Closed(Err(f)) = e { Some(f) } else { None })
    }

    /// Whether it has one that is up.
    pub(super) fn is_up(&self) -> bool {
        self.established().is_some() && self.endpoint.established() == 1
    }

    pub(super) fn sa(&self) -> SaId {
        if let Some(sa) = self.goes_on {
            return sa;
        }
        self.events.iter().find(|(_, e)| matches!(e, Event::Established(_))).unwrap().0
    }
}

pub(super) fn responder_config() -> ResponderConfig {
    ResponderConfig {
        name: "people".into(),
        local_id: id("vpn.example.com"),
        own: vec![OwnChain { certificates: vec![b"server's".to_vec()], authorities: vec![b"CA".to_vec()] }],
        esp: esp(ESP),
        mode: ChildMode::Transport,
        local_ts: vec![l2tp()],
        remote_ts: vec![l2tp()],
        timing: timing(),
    }
}

pub(super) fn defaults() -> ResponderDefaults {
    ResponderDefaults {
        ike: ike(IKE),
        auths: vec![AuthMethod::Psk, AuthMethod::RsaSignatures],
        authorities: vec![b"CA".to_vec()],
        addresses: Vec::new(),
        half_open_limit: 100,
        half_open_per_address: 50,
        limit: 1000,
        fragment_size: 1280,
        timing: timing(),
    }
}

pub(super) fn path() -> Path {
    Path { local: "192.0.2.1:500".parse().unwrap(), remote: "198.51.100.1:500".parse().unwrap() }
}

pub(super) fn config() -> InitiatorConfig {
    InitiatorConfig {
        path: path(),
        ike: ike(IKE),
        esp: esp(ESP),
        local_id: id("192.0.2.1"),
        remote_id: None,
        auth: Auth::Psk,
        aggressive: false,
        mode: ChildMode::Transport,
        local_ts: l2tp(),
        remote_ts: l2tp(),
        fragment_size: 1280,
        force_encapsulation: false,
        nat_port: 4500,
        local_nat_port: 4500,
        timing: timing(),
    }
}

/// With certificates.
pub(super) fn signatures() -> Auth {
    let own = vec![OwnChain { certificates: vec![b"client's".to_vec()], authorities: vec![b"CA".to_vec()] }];
    Auth::Signature { own, authorities: vec![b"CA".to_vec()] }
}

/// What the network does with one datagram, and may change.
pub(super) type Tap = Box<dyn FnMut(usize, Path, &mut Vec<u8>) -> bool>;

/// Two ends and what is between them.
pub(super) struct World {
    pub(super) now: Instant,
    pub(super) ends: [End; 2],
    /// By the time of arrival: to which end, by which path there, what.
    flying: BTreeMap<(Instant, u64), (usize, Path, Vec<u8>)>,
    /// How the first end has dialled.
    pub(super) dialled: InitiatorConfig,
    sent: u64,
    pub(super) log: Vec<(usize, Path, Vec<u8>)>,
    pub(super) random: Random,
    /// In parts of a thousand.
    pub(super) loss: u64,
    pub(super) duplicate: u64,
    pub(super) corrupt: u64,
    pub(super) slowest: Duration,
    /// A NAT in front of the first end: its outer address; ports are moved by 30,000 and by what `rebind` says.
    pub(super) nat: Option<&'static str>,
    pub(super) rebind: u16,
    pub(super) tap: Option<Tap>,
}

impl World {
    pub(super) fn new(seed: u64) -> Self {
        let crypto = |n| Arc::new(ToyCrypto::new(seed.wrapping_mul(7).wrapping_add(n))) as Arc<dyn Provider>;
        Self::with(seed, [crypto(1), crypto(2)], defaults())
    }

    pub(super) fn with(seed: u64, crypto: [Arc<dyn Provider>; 2], defaults: ResponderDefaults) -> Self {
        let [a, b] = crypto;
        let mut first = End::new(seed * 2 + 1, a, None);
        first.config.own =
            vec![OwnChain { certificates: vec![b"client's".to_vec()], authorities: Vec::new() }];
        Self {
            now: Instant::from_nanos(1_000_000_000),
            ends: [first, End::new(seed * 2 + 2, b, Some(defaults))],
            flying: BTreeMap::new(),
            dialled: config(),
            sent: 0,
            log: Vec::new(),
            random: Random::new(seed ^ 0xabcd),
            loss: 0,
            duplicate: 0,
            corrupt: 0,
            slowest: Duration::from_millis(5),
            nat: None,
            rebind: 0,
            tap: None,
        }
    }

    pub(super) fn dial(&mut self, config: InitiatorConfig) -> SaId {
        self.dialled = config.clone();
        let sa = self.ends[0].endpoint.initiate(self.now, config);
        self.drain(0);
        sa
    }

    pub(super) fn input(&mut self, end: usize, input: Input) {
        self.ends[end].endpoint.handle(self.now, input);
        self.drain(end);
    }

    /// Does what an end wants.
    pub(super) fn drain(&mut self, end: usize) {
        while let Some(output) = self.ends[end].endpoint.poll() {
            match output {
                Output::Transmit(t) => self.send(end, t.path, t.payload),
                Output::Event { sa, event } => self.ends[end].event(sa, event),
                Output::Ask { id, .. } if self.ends[end].mute => self.ends[end].held.push(id),
                Output::Ask { id, ask: ask @ Ask::Agree { .. }, .. } if self.ends[end].computes_slowly => {
                    let answer = self.ends[end].answer(ask);
                    self.ends[end].computed.push((id, answer));
                }
                Output::Ask { id, ask, .. } if self.ends[end].last_first => {
                    let answer = self.ends[end].answer(ask);
                    // What was asked in the same breath is answered first.
                    self.drain(end);
                    self.ends[end].endpoint.handle(self.now, Input::Answer { id, answer });
                }
                Output::Ask { id, ask, .. } => {
                    let answer = self.ends[end].answer(ask);
                    self.ends[end].endpoint.handle(self.now, Input::Answer { id, answer });
                }
            }
        }
    }

    fn outer(&self, inner: SocketAddr) -> SocketAddr {
        match self.nat {
            Some(address) => SocketAddr::new(address.parse().unwrap(), inner.port() + 30_000 + self.rebind),
            None => inner,
        }
    }

    fn send(&mut self, end: usize, path: Path, mut bytes: Vec<u8>) {
        self.log.push((end, path, bytes.clone()));
        if let Some(tap) = &mut self.tap
            && !tap(end, path, &mut bytes)
        {
            return;
        }
        let there = match end {
            0 => Path { local: path.remote, remote: self.outer(path.local) },
            _ if self.nat.is_some() => {
                // The NAT knows the way back of its present mapping alone.
                let port = path.remote.port().wrapping_sub(30_000).wrapping_sub(self.rebind);
                if port != 500 && port != 4500 {
                    return;
                }
                Path { local: SocketAddr::new("192.0.2.1".parse().unwrap(), port), remote: path.local }
            }
            _ => Path { local: path.remote, remote: path.local },
        };
        if bytes == [0xff] {
            return;
        }
        self.fly(1 - end, there, bytes);
    }

    pub(super) fn fly(&mut self, to: usize, path: Path, bytes: Vec<u8>) {
        if self.random.chance(self.loss) {
            return;
        }
        let copies = if self.random.chance(self.duplicate) { 2 } else { 1 };
        for _ in 0..copies {
            let mut bytes = bytes.clone();
            if self.random.chance(self.corrupt) {
                adit_sim::net::turn_a_bit(&mut self.random, &mut bytes);
            }
            let at = self.now + self.random.between(Duration::from_millis(5), self.slowest);
            self.sent += 1;
            self.flying.insert((at, self.sent), (to, path, bytes));
        }
    }

    /// The next thing that happens: a datagram, or a deadline, but nothing after `until`.
    fn step(&mut self, until: Instant) -> bool {
        let arrival = self.flying.first_key_value().map(|((at, _), _)| *at);
        let deadline = |e: &End| e.endpoint.deadline().map(|(at, _)| at);
        let wakes = [deadline(&self.ends[0]), deadline(&self.ends[1])];
        let next = [arrival, wakes[0], wakes[1]].into_iter().flatten().min();
        let Some(next) = next.filter(|at| *at <= until) else {
            self.now = until;
            return false;
        };
        self.now = self.now.max(next);
        if arrival == Some(next) {
            let ((_, _), (to, path, bytes)) = self.flying.pop_first().unwrap();
            self.input(to, Input::Datagram { path, payload: bytes });
            for (id, answer) in core::mem::take(&mut self.ends[to].computed) {
                self.input(to, Input::Answer { id, answer });
            }
        } else {
            let end = usize::from(wakes[0] != Some(next));
            self.input(end, Input::Wake);
            let again = self.ends[end].endpoint.deadline().map(|(at, _)| at);
            assert!(again != Some(next), "a deadline stays after it has come");
        }
        true
    }

    pub(super) fn run(&mut self, time: Duration) {
        let until = self.now + time;
        while self.step(until) {}
    }

    /// What each end sends by now, the other can read: a Delete has no answer in IKEv1, and where one is lost, what was
    /// rekeyed stays until the end of its life.
    pub(super) fn carries(&self) -> bool {
        let ways = [(&self.ends[0], &self.ends[1]), (&self.ends[1], &self.ends[0])];
        ways.iter().all(|(a, b)| {
            let newest = a.outbound.iter().max_by_key(|(_, sa)| sa.child);
            newest.is_some_and(|(spi, sa)| {
                b.inbound.get(spi).is_some_and(|i| i.keys == sa.keys && i.suite == sa.suite)
            })
        })
    }

    /// Both ends have the same SAs: what one sends the other can read, with the same keys and selectors.
    pub(super) fn same(&self) -> usize {
        let mut pairs = 0;
        for (a, b) in [(&self.ends[0], &self.ends[1]), (&self.ends[1], &self.ends[0])] {
            for (spi, out) in &a.outbound {
                let inside = b.inbound.get(spi).unwrap_or_else(|| panic!("nobody can read {spi:x}"));
                assert_eq!((&out.keys, out.suite), (&inside.keys, inside.suite));
                assert_eq!((out.mode, out.encapsulated), (inside.mode, inside.encapsulated));
                let expected = out.suite.encryption.key_material_len()
                    + out.suite.integrity.map_or(0, adit_isakmp::Integrity::key_len);
                assert_eq!(out.keys.len(), expected);
                pairs += 1;
            }
        }
        pairs
    }
}

/// A connection that is up, its SAs in both kernels.
pub(super) fn up(seed: u64, config: InitiatorConfig) -> World {
    let mut world = World::new(seed);
    world.dial(config);
    world.run(Duration::from_secs(3));
    assert_eq!(world.same(), 2);
    world
}
