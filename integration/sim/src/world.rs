//! A run: a server, some clients, a bad time, then a good time in which everything has to come right.

mod acts;
mod promises;
mod roam;

use std::collections::BTreeMap;

use core::fmt;
use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use core::time::Duration;

use adit_core::{Identity, Instant, Path};
use adit_ikev2::api::{Answer, AskId, Input, Output, ResponderDefaults, SaId, Timing, Uniqueness};
use adit_isakmp::proposal::{EspProposal, IkeProposal};

use crate::host::{Description, Friend, Host, Temper, inner_address};
use crate::nat::{Mapping, Nat};
use crate::net::{Faults, Flying, Net, Place};
use crate::random::Random;

use roam::Roamer;
pub use roam::{BOUND, Roamed, run as run_roaming};

/// The server is the first host.
const SERVER: usize = 0;

/// More steps than any run needs: one that takes more hangs.
const MOST_STEPS: u64 = 2_000_000;

/// Things that go wrong in every run, at least.
const FAULTS: u64 = 50;

/// Of tickets: shorter than a run.
const TICKET_LIFETIME: Duration = Duration::from_secs(600);

/// With and without perfect forward secrecy; every one of these fits every one of those offered.
const ACCEPTED_ESP: [&str; 4] = [
    "aes256gcm16,aes128-sha256,aes256gcm16-x25519",
    "aes128-sha256,aes256gcm16-ecp256,aes256gcm16",
    "aes256gcm16-x25519-ecp384,aes128-sha256",
    "aes256gcm16-x25519-ke1_mlkem768-ke2_ecp384,aes128-sha256-x25519-ke1_mlkem512,aes128-sha256",
];
const OFFERED_ESP: [&str; 4] = [
    "aes128-sha256,aes256gcm16",
    "aes256gcm16-x25519-ecp256,aes128-sha256",
    "aes256gcm16-ecp384,aes128-sha256",
    "aes256gcm16-x25519-ke1_mlkem768-ke2_ecp384,aes128-sha256",
];

/// A run that broke a promise.
#[derive(Clone, Debug)]
pub struct Violation {
    /// The seed that makes it again.
    pub seed: u64,
    /// When, on the virtual clock.
    pub at: Instant,
    /// What.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "seed {} at {:?}: {}", self.seed, self.at, self.what)
    }
}

/// What a run was like.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Summary {
    /// Inputs given to cores.
    pub steps: u64,
    /// Pairs of SAs that were installed, at both ends.
    pub installed: u64,
    /// Pairs that stood at both ends when the bad time was over.
    pub standing: u64,
    /// Failures that were reported.
    pub failures: u64,
    /// Things that went wrong: datagrams spoilt, Asks answered badly, acts of people, routers and kernels.
    pub faults: u64,
    /// CHILD_SAs that took another's place, at both ends.
    pub child_rekeys: u64,
    /// IKE_SAs that were rekeyed, at both ends.
    pub ike_rekeys: u64,
    /// Rekeys and deletions that were begun at both ends at once.
    pub collisions: u64,
    /// CHILD_SAs beside the first one, at both ends.
    pub more_children: u64,
    /// Rekeys and CHILD_SAs with additional key exchanges, at both ends.
    pub followed_up: u64,
    /// IKE_SAs that came up with a certificate at one end or both, at both ends.
    pub by_certificate: u64,
    /// Likewise, with keys alone.
    pub by_key: u64,
    /// Second IKE_SAs that came up to take a first one's place.
    pub reauthenticated: u64,
    /// Peers that a NAT has moved, as the server noticed.
    pub moved: u64,
    /// CHILD_SAs that were closed with nothing in their place.
    pub deleted: u64,
    /// IKE_SAs that came up by resuming a session, at both ends.
    pub resumed: u64,
}

enum Happening {
    Arrives(Flying),
    Answers { host: usize, sa: SaId, id: AskId, answer: Answer },
    Acts,
}

/// One run.
pub struct World {
    now: Instant,
    random: Random,
    net: Net,
    hosts: Vec<Host>,
    queue: BTreeMap<(Instant, u64), Happening>,
    queued: u64,
    steps: u64,
    /// Datagrams that an attacker has seen.
    seen: Vec<Flying>,
    /// Whether an attacker sends what it has seen again, as it was or changed.
    mischief: bool,
    trace: bool,
    /// Whether whatever is sent has to arrive.
    service: bool,
    acts: u64,
    collisions: u64,
    clients: Vec<Client>,
    /// Whether clients lose their IKE_SAs, and resume their sessions.
    resuming: bool,
    /// Whether clients move; then all of them are welcome.
    roaming: bool,
    roamers: BTreeMap<usize, Roamer>,
}

/// How a client dials.
#[derive(Clone, Debug)]
struct Client {
    ike: Vec<IkeProposal>,
    esp: Vec<EspProposal>,
    force_encapsulation: bool,
    fragment_size: u16,
    timing: Timing,
    /// Whether each end can prove itself to the other.
    welcome: bool,
    /// Whether the client can prove itself to the server.
    proves_itself: bool,
}

/// Runs one seed. With `trace`, what happens is printed.
///
/// # Errors
/// The first promise that was broken.
pub fn run(seed: u64, trace: bool) -> Result<Summary, Violation> {
    let mut world = World::new(seed, trace);
    let result = world.whole();
    result.map_err(|what| Violation { seed, at: world.now, what })
}

fn ike(text: &str) -> Vec<IkeProposal> {
    text.split(',').filter_map(|p| p.parse().ok()).collect()
}

fn esp(text: &str) -> Vec<EspProposal> {
    text.split(',').filter_map(|p| p.parse().ok()).collect()
}

fn end(address: impl Into<IpAddr>) -> SocketAddr {
    SocketAddr::new(address.into(), 500)
}

fn name(text: &str) -> Identity {
    Identity::Fqdn(text.into())
}

impl World {
    fn new(seed: u64, trace: bool) -> Self {
        let mut world = Self::empty(seed, trace);
        world.build_server();
        let clients = world.random.below(4) + 1;
        for n in 0..clients {
            world.build_client(u8::try_from(n).unwrap_or(0) + 1);
        }
        world
    }

    fn empty(seed: u64, trace: bool) -> Self {
        let mut random = Random::new(seed);
        let net = Net::new(random.fork(), Faults::some(&mut random.fork()));
        Self {
            now: Instant::ZERO,
            net,
            hosts: Vec::new(),
            queue: BTreeMap::new(),
            queued: 0,
            steps: 0,
            seen: Vec::new(),
            mischief: random.chance(300),
            trace,
            service: false,
            acts: 0,
            collisions: 0,
            clients: Vec::new(),
            // Not of the seeds that once failed: their runs are to stay what they were.
            resuming: seed % 5 == 3,
            roaming: false,
            roamers: BTreeMap::new(),
            random,
        }
    }

    fn timing(&mut self) -> Timing {
        Timing {
            retransmit: self.random.between(Duration::from_millis(300), Duration::from_secs(2)),
            tries: u32::try_from(self.random.below(5)).unwrap_or(0) + 1,
            init_tries: 3,
            dead_peer: self.random.between(Duration::from_secs(20), Duration::from_secs(120)),
            keepalive: Duration::from_secs(20),
            half_open: self.random.between(Duration::from_secs(5), Duration::from_secs(40)),
            eap: self.random.between(Duration::from_secs(60), Duration::from_secs(200)),
            rekey_ike: self.random.between(Duration::from_secs(200), Duration::from_secs(3000)),
            rekey_child: self.random.between(Duration::from_secs(100), Duration::from_secs(1500)),
            reauthenticate: match self.random.below(4) {
                0 => self.random.between(Duration::from_secs(300), Duration::from_secs(1500)),
                _ => Duration::ZERO,
            },
        }
    }

    fn build_server(&mut self) {
        let timing = self.timing();
        let accepted = self.random.pick(&[
            "aes256gcm16-prfsha256-x25519",
            "aes128-sha256-prfsha256-ecp256",
            "aes256gcm16-prfsha384-ecp384,chacha20poly1305-prfsha256-x25519",
            "aes256gcm16-prfsha256-x25519-ke1_mlkem768-ke2_ecp384,aes256gcm16-prfsha256-x25519",
        ]);
        let responder = ResponderDefaults {
            ike: ike(accepted.unwrap_or_default()),
            cookie_threshold: self.random.pick(&[0, 1, 100]).unwrap_or(0),
            half_open_limit: self.random.pick(&[2, 100]).unwrap_or(2),
            half_open_per_address: self.random.pick(&[1, 10]).unwrap_or(1),
            limit: 1000,
            authorities: Vec::new(),
            ppk: false,
            fragment_size: self.random.pick(&[576, 1280]).unwrap_or(576),
            timing,
        };
        let certificate = self.random.chance(300);
        let description = Description {
            name: "server".into(),
            identity: name("vpn.example.com"),
            address: end(Ipv4Addr::new(198, 51, 100, 1)),
            certificate,
            responder: Some(responder),
            esp: esp(self.random.pick(&ACCEPTED_ESP).unwrap_or_default()),
            timing,
        };
        let mut server = Host::new(description, &mut self.random);
        server.temper = Temper::some(&mut self.random);
        let policies = [Uniqueness::Keep, Uniqueness::Replace, Uniqueness::Refuse];
        server.uniqueness = self.random.pick(&policies).unwrap_or_default();
        server.ticket_lifetime = if self.resuming { TICKET_LIFETIME } else { Duration::ZERO };
        self.net.attach(SERVER, server.address().ip(), Place::Public);
        self.hosts.push(server);
    }

    fn build_client(&mut self, n: u8) {
        let place = match self.random.below(3) {
            0 => Place::Public,
            kind => {
                let mapping = if kind == 1 { Mapping::EndpointIndependent } else { Mapping::Symmetric };
                let timeout = self.random.between(Duration::from_secs(25), Duration::from_secs(120));
                let outer = IpAddr::V4(Ipv4Addr::new(203, 0, 113, n));
                self.net.nats.push(Nat::new(outer, mapping, timeout, 20_000));
                Place::Behind(self.net.nats.len().saturating_sub(1))
            }
        };
        let address = match place {
            Place::Public => end(Ipv4Addr::new(192, 0, 2, n)),
            Place::Behind(_) => end(inner_address(n)),
        };
        let description = Description {
            name: format!("client{n}"),
            identity: name(&format!("client{n}.example.com")),
            address,
            certificate: self.random.chance(300),
            responder: None,
            esp: Vec::new(),
            timing: self.timing(),
        };
        let timing = description.timing;
        let mut client = Host::new(description, &mut self.random);
        client.temper = Temper::some(&mut self.random);
        let (welcome, proves_itself) = self.befriend(&mut client);
        self.net.attach(self.hosts.len(), address.ip(), place);
        self.hosts.push(client);
        let offered = self.random.pick(&[
            "aes256gcm16-prfsha256-x25519,aes128-sha256-prfsha256-ecp256,aes256gcm16-prfsha384-ecp384",
            "aes256gcm16-prfsha384-ecp384,aes128-sha256-prfsha256-ecp256,aes256gcm16-prfsha256-x25519",
            "aes256gcm16-prfsha256-x25519-ke1_mlkem768-ke2_ecp384,aes256gcm16-prfsha384-ecp384,\
             aes128-sha256-prfsha256-ecp256,aes256gcm16-prfsha256-x25519",
        ]);
        self.clients.push(Client {
            ike: ike(offered.unwrap_or_default()),
            esp: esp(self.random.pick(&OFFERED_ESP).unwrap_or_default()),
            force_encapsulation: self.random.chance(200),
            fragment_size: self.random.pick(&[576, 1280]).unwrap_or(576),
            timing,
            welcome,
            proves_itself,
        });
    }

    /// Makes client and server known to each other, rightly or with a mistake.
    fn befriend(&mut self, client: &mut Host) -> (bool, bool) {
        let Some(server) = self.hosts.get_mut(SERVER) else {
            return (false, false);
        };
        let key = self.random.number().to_be_bytes().to_vec();
        let mistake = if self.roaming { 9 } else { self.random.below(10) };
        let mut theirs = key.clone();
        if mistake == 0 {
            theirs.push(1);
        }
        let by_certificate = matches!(client.local_auth(), adit_ikev2::api::LocalAuth::Signature { .. });
        if mistake != 1 {
            server
                .friends
                .insert(client.identity().clone(), Friend { psk: theirs, certificate: by_certificate });
        }
        let server_certificate = matches!(server.local_auth(), adit_ikev2::api::LocalAuth::Signature { .. });
        client
            .friends
            .insert(server.identity().clone(), Friend { psk: key, certificate: server_certificate });
        // A key that differs matters only where one of the two proves itself with it.
        match mistake {
            0 => (by_certificate && server_certificate, by_certificate),
            1 => (false, false),
            _ => (true, true),
        }
    }

    fn whole(&mut self) -> Result<Summary, String> {
        self.bad_time()?;
        self.good_time()?;
        self.service_time()?;
        let standing = self.settled()?;
        self.check_paths()?;
        self.close_all()?;
        self.check_nothing_left()?;
        let sum = |of: fn(&Host) -> u64| self.hosts.iter().map(of).sum();
        Ok(Summary {
            steps: self.steps,
            installed: sum(|h| h.kernel.installed),
            standing,
            failures: sum(|h| h.failures.len() as u64),
            faults: self.faults(),
            child_rekeys: sum(|h| h.tally.child_rekeys),
            ike_rekeys: sum(|h| h.tally.ike_rekeys),
            collisions: self.collisions,
            more_children: sum(|h| h.tally.more_children),
            followed_up: sum(|h| h.tally.followed_up),
            by_certificate: sum(|h| h.tally.by_certificate),
            by_key: sum(|h| h.tally.by_key),
            reauthenticated: sum(|h| h.tally.reauthenticated),
            moved: sum(|h| h.tally.moved),
            deleted: sum(|h| h.tally.deleted),
            resumed: sum(|h| h.tally.resumed),
        })
    }

    fn faults(&self) -> u64 {
        let answers: u64 = self.hosts.iter().map(|h| h.tally.bad_answers).sum();
        self.net.spoilt.saturating_add(answers).saturating_add(self.acts)
    }

    /// Clients come and go, and everything goes wrong, for an hour and until enough has.
    fn bad_time(&mut self) -> Result<(), String> {
        for client in 1..self.hosts.len() {
            self.dial(client)?;
        }
        let length = Duration::from_hours(1);
        let acts = self.random.below(50) + 10;
        self.disturb(acts, length)?;
        while self.faults() < FAULTS {
            self.disturb(10, length / 10)?;
        }
        Ok(())
    }

    fn disturb(&mut self, acts: u64, length: Duration) -> Result<(), String> {
        let until = self.now + length;
        for _ in 0..acts {
            let at = self.now + self.random.between(Duration::ZERO, length);
            self.push(at, Happening::Acts);
        }
        self.run_until(until)
    }

    /// The network and the drivers are good; whoever is welcome gets in.
    fn good_time(&mut self) -> Result<(), String> {
        self.net.faults = Faults::NONE;
        self.net.outage_until = Instant::ZERO;
        self.mischief = false;
        for host in &mut self.hosts {
            host.temper = Temper::GOOD;
        }
        self.run_until(self.now + Duration::from_secs(900))?;
        for client in 1..self.hosts.len() {
            self.dial(client)?;
        }
        self.run_until(self.now + Duration::from_secs(300))
    }

    /// All is well, and rekeys go on: whatever either kernel sends, the other one can read, at every moment.
    fn service_time(&mut self) -> Result<(), String> {
        self.service = true;
        self.check_service()?;
        self.run_until(self.now + Duration::from_secs(900))?;
        for _ in 0..4 {
            self.collide()?;
            self.run_until(self.now + Duration::from_secs(60))?;
        }
        self.service = false;
        Ok(())
    }

    /// Both ends say the same of what is up, as soon as no exchange is under way.
    fn settled(&mut self) -> Result<u64, String> {
        for _ in 0..60 {
            if let Ok(standing) = self.check_agreement() {
                return Ok(standing);
            }
            self.run_until(self.now + Duration::from_secs(1))?;
        }
        self.check_agreement()
    }

    fn close_all(&mut self) -> Result<(), String> {
        for index in 1..self.hosts.len() {
            let dialled = self.host(index)?.dialled.clone();
            for sa in dialled {
                self.give(index, Input::Close { sa })?;
            }
        }
        self.run_until(self.now + Duration::from_secs(300))
    }

    fn host(&mut self, index: usize) -> Result<&mut Host, String> {
        self.hosts.get_mut(index).ok_or_else(|| format!("there is no host {index}"))
    }

    fn push(&mut self, at: Instant, happening: Happening) {
        self.queued = self.queued.wrapping_add(1);
        self.queue.insert((at, self.queued), happening);
    }

    fn run_until(&mut self, until: Instant) -> Result<(), String> {
        loop {
            let queued = self.queue.first_key_value().map(|((at, _), _)| *at);
            let due = self
                .hosts
                .iter()
                .enumerate()
                .filter_map(|(i, h)| h.endpoint.deadline().map(|(at, _)| (at, i)))
                .min();
            let moving = self.roamers.iter().filter_map(|(i, r)| Some((r.deadline()?, *i))).min();
            let next = [queued, due.map(|d| d.0), moving.map(|m| m.0)].into_iter().flatten().min();
            let Some(next) = next.filter(|at| *at <= until) else {
                self.now = until;
                return Ok(());
            };
            if next < self.now && queued != Some(next) {
                return Err(format!("a deadline at {next:?} lies in the past"));
            }
            self.now = self.now.max(next);
            if let Some((_, roamer)) = moving.filter(|(at, _)| *at <= next) {
                self.roamer_wakes(roamer)?;
                continue;
            }
            match due {
                Some((at, host)) if queued.is_none_or(|q| at <= q) => self.give(host, Input::Wake)?,
                _ => {
                    if let Some((_, happening)) = self.queue.pop_first() {
                        self.happen(happening)?;
                    }
                }
            }
        }
    }

    fn happen(&mut self, happening: Happening) -> Result<(), String> {
        match happening {
            Happening::Arrives(flying) => {
                let Some((host, local)) = self.net.arrive(self.now, &flying) else {
                    return Ok(());
                };
                let path = Path { local, remote: flying.from };
                let payload = flying.payload;
                self.give(host, Input::Datagram { path, payload })
            }
            Happening::Answers { host, sa, id, answer } => {
                self.host(host)?.handing(sa, id, &answer);
                self.give(host, Input::Answer { id, answer })
            }
            Happening::Acts => self.act(),
        }
    }

    /// Gives a core one input, and does what it says.
    fn give(&mut self, index: usize, input: Input) -> Result<(), String> {
        self.steps = self.steps.saturating_add(1);
        if self.steps > MOST_STEPS {
            return Err("it never comes to rest".into());
        }
        let now = self.now;
        self.host(index)?.endpoint.handle(now, input);
        self.drain(index)
    }

    fn drain(&mut self, index: usize) -> Result<(), String> {
        while let Some(output) = self.host(index)?.endpoint.poll() {
            self.note(index, &output);
            match output {
                Output::Transmit(transmit) => self.transmit(&transmit),
                Output::Ask { id, sa, ask } => {
                    let answered = self.host(index)?.ask(id, sa, ask);
                    if let Some((delay, id, answer)) = answered {
                        let happening = Happening::Answers { host: index, sa, id, answer };
                        self.push(self.now + delay, happening);
                    }
                }
                Output::Event { sa, event } => {
                    let up = matches!(event, adit_ikev2::api::Event::Established(_));
                    let now = self.now;
                    self.roamer_hears(index, sa, &event);
                    self.host(index)?.event(now, sa, event)?;
                    if up {
                        self.check_welcome(index, sa)?;
                        self.succeed(index, sa)?;
                    }
                }
            }
        }
        if self.service {
            self.check_service()?;
        }
        self.roamer_acts(index)?;
        self.reauthenticate(index)
    }

    fn note(&self, index: usize, output: &Output) {
        if !self.trace {
            return;
        }
        let name = self.hosts.get(index).map_or("?", |h| h.name.as_str());
        let text = match output {
            Output::Transmit(t) => {
                let kind = t.payload.get(18).copied().unwrap_or(0xff);
                let id = t.payload.get(20..24).map_or(0, |b| b.iter().fold(0, |n, b| n << 8 | u32::from(*b)));
                let flags = t.payload.get(19).copied().unwrap_or(0);
                format!(
                    "sends {} bytes, exchange {kind} flags {flags:02x} id {id}, {} -> {}",
                    t.payload.len(),
                    t.path.local,
                    t.path.remote
                )
            }
            Output::Ask { id, sa, ask } => format!("{sa:?} asks {ask:?} {id:?}"),
            Output::Event { sa, event } => format!("{sa:?} {event:?}"),
        };
        println!("{:?} {name}: {text}", self.now);
    }

    fn transmit(&mut self, transmit: &adit_core::Transmit) {
        let sent = self.net.send(self.now, transmit);
        for (delay, flying) in sent {
            if self.mischief && self.seen.len() < 200 {
                self.seen.push(flying.clone());
            }
            self.push(self.now + delay, Happening::Arrives(flying));
        }
        if self.mischief && self.random.chance(50) {
            self.attack();
        }
    }
}
