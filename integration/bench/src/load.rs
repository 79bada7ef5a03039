//! A load initiator: many IKE_SAs of one [`Endpoint`], from one thread, as fast as a window of unfinished ones allows.

use std::collections::{BTreeMap, HashMap};
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use adit_core::{Identity, Instant, Path, Prefix, Transmit};
use adit_crypto::{OsEntropy, Provider};
use adit_ikev2::Endpoint;
use adit_ikev2::api::{
    ChildId, ChildMode, Event, FRAGMENT_SIZE, InitiatorConfig, Input, Output, SaId, Timing,
};
use anyhow::Context;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::answers::Answers;
use crate::clock;
use crate::proof::Proof;

/// Longer than any message that comes in one piece.
const MAX_DATAGRAM: usize = 4096;
/// Datagrams taken from one socket before the others get their turn.
const BUDGET: usize = 64;
/// Waiting is cut into pieces, so that no wait outlasts what it is for.
const SLICE: Duration = Duration::from_millis(100);

/// Whom to dial, and as whom.
#[derive(Clone)]
pub struct Target {
    /// The responder.
    pub server: SocketAddr,
    /// Whom it proves to be.
    pub remote_id: Identity,
    /// Clients are `cN@` this domain, N from 0.
    pub domain: String,
    /// How everybody proves who it is.
    pub proof: Proof,
    /// The one IKE_SA proposal, in strongSwan's notation.
    pub ike: String,
    /// The one CHILD_SA proposal.
    pub esp: String,
    /// Whether clients ask for an address.
    pub addresses: bool,
}

/// The proposals of who says none.
const IKE: &str = "aes128gcm16-prfsha256-x25519";
const ESP: &str = "aes128gcm16";

/// Whom to dial, and from where, as arguments say it.
#[derive(clap::Args, Debug)]
pub struct Whom {
    /// The responder
    #[arg(long)]
    pub server: SocketAddr,
    /// Who it proves to be
    #[arg(long)]
    pub remote_id: String,
    /// Clients are c0@, c1@ … this domain
    #[arg(long)]
    pub domain: String,
    /// Addresses of this host to dial from, in turn
    #[arg(long, value_delimiter = ',')]
    pub from: Vec<IpAddr>,
    /// The proposal for the IKE_SA
    #[arg(long, default_value = IKE)]
    pub ike: String,
    /// The proposal for CHILD_SAs
    #[arg(long, default_value = ESP)]
    pub esp: String,
}

impl Whom {
    /// A load initiator for it, whose clients have this proof.
    ///
    /// # Errors
    /// A name that is none, or an address that cannot be dialled from.
    pub fn load(&self, proof: Proof) -> anyhow::Result<Load> {
        let target = Target {
            server: self.server,
            remote_id: self.remote_id.parse()?,
            domain: self.domain.clone(),
            proof,
            ike: self.ike.clone(),
            esp: self.esp.clone(),
            addresses: true,
        };
        Load::new(target, &self.from)
    }
}

impl Target {
    /// A daemon on this host's loopback.
    ///
    /// # Errors
    /// None.
    pub fn here() -> anyhow::Result<Self> {
        Ok(Self {
            server: ([127, 0, 0, 1], 500).into(),
            remote_id: "vpn.bench.example".parse()?,
            domain: "bench.example".into(),
            proof: Proof::Psk("correct horse battery staple".into()),
            ike: IKE.into(),
            esp: ESP.into(),
            addresses: true,
        })
    }

    /// Everybody's key; empty, where they prove themselves otherwise.
    #[must_use]
    pub fn psk(&self) -> &str {
        match &self.proof {
            Proof::Psk(psk) => psk,
            Proof::Eap(_) => "",
        }
    }
}

/// What a stretch of work came to.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// How many succeeded.
    pub done: usize,
    /// How many did not, and why the first of them.
    pub failed: usize,
    /// Why the first one that failed did.
    pub why: Option<String>,
    /// Wall time.
    pub wall: Duration,
    /// Our own processor time.
    pub cpu: Duration,
    /// Of each that succeeded, from its first message, shortest first.
    pub latencies: Vec<Duration>,
}

impl Outcome {
    /// How many succeeded a second.
    pub fn rate(&self) -> f64 {
        self.done as f64 / self.wall.as_secs_f64().max(f64::EPSILON)
    }

    /// The latency that this share of all stayed below (0.5: the median).
    pub fn latency(&self, share: f64) -> Duration {
        let last = self.latencies.len().saturating_sub(1);
        let index = (last as f64 * share).round() as usize;
        self.latencies.get(index).copied().unwrap_or_default()
    }
}

/// A load initiator, with the IKE_SAs that it has brought up.
pub struct Load {
    target: Target,
    endpoint: Endpoint,
    answers: Answers,
    sockets: Vec<(UdpSocket, SocketAddr)>,
    dialled: usize,
    /// What is on its way, and since when.
    pending: HashMap<SaId, Instant>,
    /// What is up, with the CHILD_SA that carries.
    up: BTreeMap<SaId, ChildId>,
    /// The last one that was rekeyed.
    rekeyed: Option<SaId>,
    outcome: Outcome,
}

/// What is rekeyed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rekey {
    /// The IKE_SA (RFC 7296 §1.3.2).
    Ike,
    /// Its CHILD_SA (RFC 7296 §1.3.3), until the old one is deleted.
    Child,
}

impl Load {
    /// One that dials from these addresses of this host in turn, each with a port of its own.
    ///
    /// # Errors
    /// A socket that cannot be bound.
    pub fn new(target: Target, sources: &[IpAddr]) -> anyhow::Result<Self> {
        let bound = |source: &IpAddr| {
            let socket = UdpSocket::bind((*source, 0)).with_context(|| format!("binding {source}"))?;
            socket.set_nonblocking(true)?;
            let local = socket.local_addr()?;
            anyhow::Ok((socket, local))
        };
        let sockets = sources.iter().map(bound).collect::<anyhow::Result<Vec<_>>>()?;
        anyhow::ensure!(!sockets.is_empty(), "no address to dial from");
        Ok(Self {
            endpoint: Endpoint::new(Arc::new(Provider::new()), Box::new(OsEntropy::new()), None),
            answers: Answers::new(&target.proof),
            target,
            sockets,
            dialled: 0,
            pending: HashMap::new(),
            up: BTreeMap::new(),
            rekeyed: None,
            outcome: Outcome::default(),
        })
    }

    /// Brings `count` more IKE_SAs up, at most `window` of them unfinished at a time.
    ///
    /// # Errors
    /// A proposal that cannot be read, or a system call that failed. IKE_SAs that were refused are counted.
    pub fn bring_up(&mut self, count: usize, window: usize) -> anyhow::Result<Outcome> {
        let until = self.dialled.saturating_add(count);
        self.measured(|load| {
            loop {
                while load.dialled < until && load.pending.len() < window {
                    load.dial()?;
                }
                if load.pending.is_empty() {
                    return Ok(());
                }
                load.turn()?;
            }
        })
    }

    /// Brings `count` more IKE_SAs up, evenly over `time`; `meanwhile` is called again and again.
    ///
    /// # Errors
    /// As [`bring_up`](Self::bring_up).
    pub fn pace(
        &mut self,
        count: usize,
        time: Duration,
        meanwhile: &mut dyn FnMut(Instant),
    ) -> anyhow::Result<Outcome> {
        let (begun, first) = (clock::now(), self.dialled);
        let each = time / u32::try_from(count.max(1))?;
        self.measured(|load| {
            loop {
                let now = clock::now();
                meanwhile(now);
                let dialled = load.dialled.saturating_sub(first);
                let due = begun + each.saturating_mul(u32::try_from(dialled)?);
                if dialled < count && due <= now {
                    load.dial()?;
                } else if dialled == count && load.pending.is_empty() && now.since(begun) >= time {
                    return Ok(());
                } else {
                    load.turn()?;
                }
            }
        })
    }

    /// Rekeys `count` of the IKE_SAs that are up, one after the other in turn, at most `window` of them at a time.
    ///
    /// # Errors
    /// A system call that failed, or that nothing is up. IKE_SAs that ended are counted as failed.
    pub fn rekey(&mut self, what: Rekey, count: usize, window: usize) -> anyhow::Result<Outcome> {
        self.measured(|load| {
            let mut begun = 0;
            loop {
                while begun < count && load.pending.len() < window.min(load.up.len()) {
                    load.begin_rekey(what)?;
                    begun = begun.saturating_add(1);
                }
                if load.pending.is_empty() {
                    // The last old IKE_SAs are still being deleted.
                    return load.serve(SLICE);
                }
                load.turn()?;
            }
        })
    }

    fn begin_rekey(&mut self, what: Rekey) -> anyhow::Result<()> {
        let after = self.rekeyed.and_then(|last| self.up.range(last..).nth(1));
        let (sa, child) = after.or_else(|| self.up.first_key_value()).context("nothing is up")?;
        let (sa, child) = (*sa, *child);
        self.rekeyed = Some(sa);
        let now = clock::now();
        self.pending.insert(sa, now);
        let child = (what == Rekey::Child).then_some(child);
        self.endpoint.handle(now, Input::Rekey { sa, child });
        self.drain();
        Ok(())
    }

    /// Answers what comes and sends what is due for this long.
    ///
    /// # Errors
    /// A system call that failed.
    pub fn serve(&mut self, time: Duration) -> anyhow::Result<()> {
        let until = clock::now() + time;
        while clock::now() < until {
            self.turn()?;
        }
        Ok(())
    }

    /// The IKE_SAs that are up.
    pub fn up(&self) -> usize {
        self.up.len()
    }

    fn measured(&mut self, work: impl FnOnce(&mut Self) -> anyhow::Result<()>) -> anyhow::Result<Outcome> {
        self.outcome = Outcome::default();
        let (begun, cpu) = (clock::now(), clock::own_cpu());
        work(self)?;
        let mut outcome = std::mem::take(&mut self.outcome);
        outcome.wall = clock::now().since(begun);
        outcome.cpu = clock::own_cpu().saturating_sub(cpu);
        outcome.latencies.sort_unstable();
        Ok(outcome)
    }

    fn dial(&mut self) -> anyhow::Result<()> {
        let number = self.dialled;
        self.dialled = number.saturating_add(1);
        let local = number.checked_rem(self.sockets.len()).and_then(|n| self.sockets.get(n));
        let local = local.map(|(_, local)| *local).context("no socket")?;
        let now = clock::now();
        let sa = self.endpoint.initiate(now, config(&self.target, local, number)?);
        self.pending.insert(sa, now);
        self.drain();
        Ok(())
    }

    /// Waits until something comes or is due, then does it.
    fn turn(&mut self) -> anyhow::Result<()> {
        let due = self.endpoint.deadline().map_or(SLICE, |(at, _)| at.since(clock::now())).min(SLICE);
        // Rounded up: a timer that has not quite run out would otherwise be asked for again and again.
        let wait = PollTimeout::try_from(due.as_millis().saturating_add(u128::from(!due.is_zero())))?;
        let mut waits: Vec<PollFd<'_>> =
            self.sockets.iter().map(|(s, _)| PollFd::new(s.as_fd(), PollFlags::POLLIN)).collect();
        poll(&mut waits, wait)?;
        let ready: Vec<usize> =
            (0..).zip(&waits).filter(|(_, w)| w.any() == Some(true)).map(|(n, _)| n).collect();
        for index in ready {
            self.receive(index)?;
        }
        self.endpoint.handle(clock::now(), Input::Wake);
        self.drain();
        Ok(())
    }

    fn receive(&mut self, index: usize) -> anyhow::Result<()> {
        let mut buffer = [0; MAX_DATAGRAM];
        for _ in 0..BUDGET {
            let Some((socket, local)) = self.sockets.get(index) else { return Ok(()) };
            let (length, remote) = match socket.recv_from(&mut buffer) {
                Ok(received) => received,
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(()),
                // An ICMP error of an earlier datagram: retransmission deals with it.
                Err(e) if e.kind() == ErrorKind::ConnectionRefused => continue,
                Err(e) => return Err(e.into()),
            };
            let payload = buffer.get(..length).unwrap_or_default().to_vec();
            let path = Path { local: *local, remote };
            self.endpoint.handle(clock::now(), Input::Datagram { path, payload });
            self.drain();
        }
        Ok(())
    }

    fn drain(&mut self) {
        while let Some(output) = self.endpoint.poll() {
            match output {
                Output::Transmit(transmit) => self.send(&transmit),
                Output::Ask { id, sa, ask } => {
                    let answer = self.answers.answer(sa, ask);
                    self.endpoint.handle(clock::now(), Input::Answer { id, answer });
                }
                Output::Event { sa, event } => self.event(sa, event),
            }
        }
    }

    fn send(&self, transmit: &Transmit) {
        let from = self.sockets.iter().find(|(_, local)| *local == transmit.path.local);
        if let Some((socket, _)) = from {
            // What cannot be sent is as if it had been lost: it is sent again.
            let _ = socket.send_to(&transmit.payload, transmit.path.remote);
        }
    }

    fn event(&mut self, sa: SaId, event: Event) {
        match event {
            Event::Established(facts) => {
                self.up.insert(sa, facts.child);
                self.done(sa);
            }
            Event::Rekeyed { .. } => self.done(sa),
            Event::ChildUp(facts) if facts.replaces.is_some() => {
                self.up.insert(sa, facts.child);
            }
            Event::ChildClosed { replaced_by: Some(_), .. } => self.done(sa),
            Event::Closed(result) => {
                self.answers.over(sa);
                if self.pending.remove(&sa).is_some() {
                    self.up.remove(&sa);
                    self.outcome.failed = self.outcome.failed.saturating_add(1);
                    let why = result.err().map_or_else(|| "closed".to_owned(), |failure| failure.to_string());
                    self.outcome.why.get_or_insert(why);
                } else {
                    self.up.remove(&sa);
                }
            }
            _ => {}
        }
    }

    fn done(&mut self, sa: SaId) {
        if let Some(begun) = self.pending.remove(&sa) {
            self.outcome.latencies.push(clock::now().since(begun));
            self.outcome.done = self.outcome.done.saturating_add(1);
        }
    }
}

fn config(target: &Target, local: SocketAddr, number: usize) -> anyhow::Result<InitiatorConfig> {
    let identity: Identity = format!("c{number}@{}", target.domain).parse()?;
    let any = || vec![Prefix::ANY_V4.into()];
    Ok(InitiatorConfig {
        path: Path { local, remote: target.server },
        ike: vec![target.ike.parse()?],
        esp: vec![target.esp.parse()?],
        local_id: identity,
        remote_id: target.remote_id.clone(),
        local_auth: target.proof.local(),
        remote_auth: target.proof.remote(),
        ppk: None,
        resumable: false,
        ticket: None,
        request_v4: target.addresses,
        request_v6: false,
        request_domains: false,
        request_subnets: false,
        former: Default::default(),
        mode: ChildMode::Tunnel,
        more_children: Vec::new(),
        local_ts: any(),
        remote_ts: any(),
        shared_identity: false,
        force_encapsulation: false,
        mobike: None,
        fragment_size: FRAGMENT_SIZE,
        nat_port: target.server.port(),
        local_nat_port: local.port(),
        timing: quiet(),
    })
}

/// No timer but retransmission: what is measured is what was asked for.
fn quiet() -> Timing {
    Timing {
        dead_peer: Duration::ZERO,
        keepalive: Duration::ZERO,
        rekey_ike: Duration::ZERO,
        rekey_child: Duration::ZERO,
        reauthenticate: Duration::ZERO,
        ..Timing::default()
    }
}
