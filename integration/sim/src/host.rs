//! A host: an IKEv2 endpoint, the driver that answers its Asks well or badly, and a recording kernel.

use std::collections::BTreeMap;
use std::sync::Arc;

use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use core::time::Duration;

use adit_core::{Failure, FailureCode, Identity, Instant, Path, Prefix, Secret, SignatureScheme, Step};
use adit_ikev2::Endpoint;
use adit_ikev2::api::{
    Answer, Ask, AskId, ChildId, ChildUp, Established, Event, LocalAuth, OwnChain, PpkUse, RemoteAuth,
    ResponderConfig, ResponderDefaults, SaId, Ticket, Timing, Uniqueness,
};
use adit_isakmp::Prf;
use adit_isakmp::crypto::CryptoProvider;
use adit_isakmp::proposal::EspProposal;

use crate::crypto::ToyCrypto;
use crate::kernel::Kernel;
use crate::random::Random;

/// How a driver answers, in parts of a thousand.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Temper {
    /// Says no.
    pub refused: u64,
    /// Does it, and the answer is lost.
    pub never: u64,
    /// Takes up to `slowest`.
    pub late: u64,
    /// The longest that a late answer takes.
    pub slowest: Duration,
}

impl Temper {
    /// Answers at once.
    pub const GOOD: Self = Self { refused: 0, never: 0, late: 0, slowest: Duration::ZERO };

    /// Of some badness.
    pub fn some(random: &mut Random) -> Self {
        Self {
            refused: random.pick(&[0, 0, 10, 60]).unwrap_or(0),
            never: random.pick(&[0, 0, 10, 60]).unwrap_or(0),
            late: random.pick(&[0, 100, 500]).unwrap_or(0),
            slowest: random.between(Duration::from_millis(1), Duration::from_secs(40)),
        }
    }
}

/// Whom a host lets in, and how both prove themselves.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Friend {
    /// The key that this host has for that peer.
    pub psk: Vec<u8>,
    /// Whether the peer proves itself with a certificate.
    pub certificate: bool,
}

/// What is known of one IKE_SA.
#[derive(Debug)]
pub struct Record {
    /// Set when it is up.
    pub established: Option<Box<Established>>,
    /// The lease that was answered.
    leased: bool,
}

/// What a host has seen.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Tally {
    /// Asks that were refused, late, or never answered.
    pub bad_answers: u64,
    /// CHILD_SAs that took another's place.
    pub child_rekeys: u64,
    /// IKE_SAs that were rekeyed.
    pub ike_rekeys: u64,
    /// CHILD_SAs beside the first one.
    pub more_children: u64,
    /// Rekeys and CHILD_SAs with additional key exchanges.
    pub followed_up: u64,
    /// IKE_SAs that came up with a certificate at one end or both.
    pub by_certificate: u64,
    /// IKE_SAs that came up with keys alone.
    pub by_key: u64,
    /// Second IKE_SAs that came up to take a first one's place.
    pub reauthenticated: u64,
    /// Peers that a NAT has moved.
    pub moved: u64,
    /// CHILD_SAs that were closed with nothing in their place.
    pub deleted: u64,
    /// IKE_SAs that came up by resuming a session.
    pub resumed: u64,
}

/// One host.
pub struct Host {
    /// For people.
    pub name: String,
    /// The core under test.
    pub endpoint: Endpoint,
    /// Its kernel and pool.
    pub kernel: Kernel,
    /// How its driver answers.
    pub temper: Temper,
    /// IKE_SAs that live, by what the core has said of them.
    pub records: BTreeMap<SaId, Record>,
    /// IKE_SAs that the driver has begun itself.
    pub dialled: Vec<SaId>,
    /// Whom it knows.
    pub friends: BTreeMap<Identity, Friend>,
    /// What clients are given access to by a server.
    pub timing: Timing,
    /// What it accepts of a client.
    pub esp: Vec<EspProposal>,
    /// Failures that the core has reported.
    pub failures: Vec<Failure>,
    /// What becomes of older IKE_SAs of a client.
    pub uniqueness: Uniqueness,
    /// IKE_SAs that are to authenticate again.
    pub due: Vec<SaId>,
    /// What the last session can be resumed with.
    pub ticket: Option<Box<Ticket>>,
    /// How long a server's sessions can be.
    pub ticket_lifetime: Duration,
    /// Whom a second IKE_SA is to take the place of.
    pub successors: BTreeMap<SaId, SaId>,
    /// What it says of its addresses to a client (RFC 4555); `None`: it does not speak MOBIKE.
    pub mobike: Option<Vec<IpAddr>>,
    /// Where IKE_SAs have moved to.
    pub paths: BTreeMap<SaId, Path>,
    /// Installations whose answers are on their way.
    installing: BTreeMap<AskId, ChildId>,
    /// What the driver did badly, and what it carried out.
    pub tally: Tally,
    identity: Identity,
    address: SocketAddr,
    crypto: Arc<ToyCrypto>,
    random: Random,
    certificate: bool,
}

/// An answer, and how long it takes.
pub type Answered = Option<(Duration, AskId, Answer)>;

/// What is fixed about a host.
pub struct Description {
    /// For people.
    pub name: String,
    /// Who it is.
    pub identity: Identity,
    /// Its own address, with port 500.
    pub address: SocketAddr,
    /// Whether it proves itself with a certificate.
    pub certificate: bool,
    /// Whether it lets peers dial.
    pub responder: Option<ResponderDefaults>,
    /// What it accepts of a client.
    pub esp: Vec<EspProposal>,
    /// Its timers.
    pub timing: Timing,
}

impl Host {
    /// A host that knows nobody.
    #[must_use]
    pub fn new(description: Description, random: &mut Random) -> Self {
        let crypto = Arc::new(ToyCrypto::new(random.number()));
        let entropy = Box::new(random.fork());
        Self {
            name: description.name,
            endpoint: Endpoint::new(
                Arc::clone(&crypto) as Arc<dyn CryptoProvider>,
                entropy,
                description.responder,
            ),
            kernel: Kernel::default(),
            temper: Temper::GOOD,
            records: BTreeMap::new(),
            dialled: Vec::new(),
            friends: BTreeMap::new(),
            timing: description.timing,
            esp: description.esp,
            failures: Vec::new(),
            uniqueness: Uniqueness::Keep,
            due: Vec::new(),
            ticket: None,
            ticket_lifetime: Duration::ZERO,
            successors: BTreeMap::new(),
            mobike: None,
            paths: BTreeMap::new(),
            installing: BTreeMap::new(),
            tally: Tally::default(),
            identity: description.identity,
            address: description.address,
            crypto,
            random: random.fork(),
            certificate: description.certificate,
        }
    }

    /// Who it is.
    #[must_use]
    pub const fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Where it is.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// How it proves itself.
    #[must_use]
    pub fn local_auth(&self) -> LocalAuth {
        if !self.certificate {
            return LocalAuth::Psk;
        }
        let own = OwnChain {
            certificates: vec![certificate(&self.identity), INTERMEDIATE.to_vec()],
            schemes: vec![SignatureScheme::Ed25519, SignatureScheme::EcdsaP256Sha256],
            authorities: Vec::new(),
        };
        LocalAuth::Signature { own: vec![own] }
    }

    /// How `peer` has to prove itself to this host.
    #[must_use]
    pub fn remote_auth(&self, peer: &Identity) -> RemoteAuth {
        match self.friends.get(peer) {
            Some(friend) if friend.certificate => RemoteAuth::Certificate { authorities: vec![[7; 20]] },
            _ => RemoteAuth::Psk,
        }
    }

    /// Does what is asked, well or badly.
    pub fn ask(&mut self, id: AskId, sa: SaId, ask: Ask) -> Answered {
        self.record(sa);
        let temper = self.temper;
        let late = self.random.chance(temper.late);
        let delay = match late {
            true => self.random.between(Duration::ZERO, temper.slowest),
            false => Duration::from_micros(50),
        };
        let refuse = self.random.chance(temper.refused);
        if let Ask::Install(child) = &ask {
            self.installing.insert(id, child.child);
        }
        let answer = self.act(sa, ask, refuse)?;
        let never = self.random.chance(temper.never);
        self.tally.bad_answers = self.tally.bad_answers.saturating_add(u64::from(late || refuse || never));
        if never {
            return None;
        }
        Some((delay, id, answer))
    }

    fn act(&mut self, sa: SaId, ask: Ask, refuse: bool) -> Option<Answer> {
        let no = || Failure::new(FailureCode::KernelRefused, Step::Kernel, "the simulation says no");
        Some(match ask {
            Ask::Generate(method) => Answer::Generated(self.crypto.generate(method)),
            Ask::Agree { key, peer } => Answer::Agreed(key.agree(&peer)),
            Ask::Encapsulate { method, peer } => Answer::Encapsulated(self.crypto.encapsulate(method, &peer)),
            Ask::Connection { .. } | Ask::Resume { .. } if refuse => Answer::Connection(Err(no())),
            Ask::Connection { remote, .. } | Ask::Resume { remote, .. } => {
                Answer::Connection(Ok(Box::new(self.connection(&remote))))
            }
            Ask::Eap { .. } => Answer::Eap(Err(no())),
            Ask::Psk { .. } if refuse => Answer::Psk(Err(no())),
            Ask::Psk { remote, .. } => Answer::Psk(Ok(self.psk(&remote))),
            Ask::Ppk { .. } => Answer::Ppk(Ok(None)),
            Ask::Verify { .. } if refuse => Answer::Verified(Err(no())),
            Ask::Verify { identity, certificates, scheme, message, signature, .. } => {
                let mine = certificates.first() == Some(&certificate(&identity));
                let right = signature == self.signature(&identity, scheme, &message);
                Answer::Verified(if mine && right { Ok(()) } else { Err(no()) })
            }
            Ask::Sign { .. } if refuse => Answer::Signed(Err(no())),
            Ask::Sign { schemes, message, .. } => match schemes.first() {
                Some(scheme) => {
                    Answer::Signed(Ok((*scheme, self.signature(&self.identity, *scheme, &message))))
                }
                None => Answer::Signed(Err(no())),
            },
            Ask::Lease { .. } if refuse => Answer::Leased(Err(no())),
            Ask::Lease { .. } => Answer::Leased(self.kernel.lease(sa).ok_or_else(no)),
            Ask::AllocateSpi { .. } if refuse => Answer::Spi(Err(no())),
            Ask::AllocateSpi { .. } => Answer::Spi(Ok(self.kernel.allocate(&mut self.random, sa))),
            Ask::Install(_) if refuse => Answer::Installed(Err(no())),
            Ask::Install(child) => {
                self.kernel.install(sa, &child);
                // It may have moved while this was on its way.
                let path = *self.paths.get(&sa).unwrap_or(&child.path);
                self.kernel.pairs.get_mut(&child.child).into_iter().for_each(|pair| pair.path = path);
                Answer::Installed(Ok(()))
            }
            Ask::InstallOutbound { .. } if refuse => Answer::Installed(Err(no())),
            Ask::InstallOutbound { child, keys } => match self.kernel.install_outbound(child, &keys) {
                true => Answer::Installed(Ok(())),
                false => Answer::Installed(Err(no())),
            },
        })
    }

    /// The driver hands an answer over: from now on what it did is the core's to give back.
    pub fn handing(&mut self, sa: SaId, id: AskId, answer: &Answer) {
        let installed = self.installing.remove(&id).filter(|_| matches!(answer, Answer::Installed(Ok(()))));
        if let Some(pair) = installed.and_then(|child| self.kernel.pairs.get_mut(&child)) {
            pair.confirmed = true;
        }
        if let (Answer::Leased(Ok(_)), Some(record)) = (answer, self.records.get_mut(&sa)) {
            record.leased = true;
        }
    }

    fn connection(&self, remote: &Identity) -> ResponderConfig {
        ResponderConfig {
            name: "clients".into(),
            local_id: self.identity.clone(),
            local_auth: self.local_auth(),
            remote_auth: self.remote_auth(remote),
            ppk: PpkUse::Off,
            ticket_lifetime: self.ticket_lifetime,
            esp: self.esp.clone(),
            local_ts: vec![Prefix::ANY_V4.into()],
            remote_ts: Vec::new(),
            addresses: true,
            transport: false,
            uniqueness: self.uniqueness,
            mobike: self.mobike.clone(),
            timing: self.timing,
        }
    }

    /// The key of a peer; of one that nobody knows, one that nobody has.
    fn psk(&mut self, remote: &Identity) -> Secret {
        match self.friends.get(remote) {
            Some(friend) => Secret::from(&friend.psk[..]),
            None => Secret::new(self.random.number().to_be_bytes().to_vec()),
        }
    }

    /// Everybody could make it; what counts is that it binds identity, scheme and message.
    fn signature(&self, identity: &Identity, scheme: SignatureScheme, message: &Secret) -> Vec<u8> {
        let mut out = vec![0; 32];
        let scheme = format!("{scheme:?}");
        let key = certificate(identity);
        self.crypto.prf(Prf::HmacSha256, &key, &[scheme.as_bytes(), message.expose()], &mut out);
        out
    }

    fn record(&mut self, sa: SaId) -> &mut Record {
        self.records.entry(sa).or_insert_with(|| Record { established: None, leased: false })
    }

    /// Takes note of what the core says. An error is a broken promise.
    pub fn event(&mut self, now: Instant, sa: SaId, event: Event) -> Result<(), String> {
        match event {
            Event::Progress(_) | Event::Incoming { .. } => {
                self.record(sa);
            }
            Event::PathChanged { path, .. } => {
                self.tally.moved = self.tally.moved.saturating_add(1);
                self.paths.insert(sa, path);
                for pair in self.kernel.pairs.values_mut().filter(|p| p.sa == sa) {
                    pair.path = path;
                }
            }
            Event::Established(established) => {
                self.paths.insert(sa, established.path);
                if !self.kernel.pairs.contains_key(&established.child) {
                    return Err(format!("{}: {sa:?} is up, but nothing is installed", self.name));
                }
                self.came_up(sa, &established);
                self.record(sa).established = Some(established);
            }
            Event::ChildClosed { child, inbound_spi, outbound_spi, replaced_by } => {
                let spis = (inbound_spi, outbound_spi);
                self.child_closed(now, child, spis, replaced_by)?
            }
            Event::ChildUp(up) => self.child_up(sa, &up)?,
            Event::Ticket(ticket) => self.ticket = Some(ticket),
            Event::Agreed(_)
            | Event::NotResumed(_)
            | Event::ChildRefused { .. }
            | Event::RekeyRefused { .. }
            | Event::PathProbed { .. }
            | Event::PathRefused { .. }
            | Event::Unanswered { .. }
            | Event::PathDead
            | Event::PeerAddresses { .. } => {}
            Event::Rekeyed { ike } => {
                let tally = &mut self.tally;
                tally.ike_rekeys = tally.ike_rekeys.saturating_add(1);
                tally.followed_up = tally.followed_up.saturating_add(u64::from(ike.additional.count() > 0));
            }
            Event::ReauthenticationDue => self.due.push(sa),
            Event::Released(lease) => {
                if !self.kernel.release(&lease) {
                    return Err(format!("{}: {lease:?} is given back, but was not leased", self.name));
                }
                self.record(sa).leased = false;
            }
            Event::Closed(result) => self.closed(sa, result)?,
        }
        Ok(())
    }

    fn came_up(&mut self, sa: SaId, established: &Established) {
        let theirs = self.friends.get(&established.remote_id).is_some_and(|f| f.certificate);
        let tally = &mut self.tally;
        let count = if self.certificate || theirs { &mut tally.by_certificate } else { &mut tally.by_key };
        *count = count.saturating_add(1);
        tally.resumed = tally.resumed.saturating_add(u64::from(established.resumed));
        if self.successors.contains_key(&sa) {
            tally.reauthenticated = tally.reauthenticated.saturating_add(1);
        }
    }

    fn child_up(&mut self, sa: SaId, up: &ChildUp) -> Result<(), String> {
        let Some(pair) = self.kernel.pairs.get(&up.child).filter(|p| p.sa == sa) else {
            return Err(format!("{}: {:?} is up, but not installed", self.name, up.child));
        };
        if (&pair.local_ts, &pair.remote_ts) != (&up.local_ts, &up.remote_ts) {
            return Err(format!("{}: {up:?} has other selectors than {pair:?}", self.name));
        }
        let tally = &mut self.tally;
        let several = u64::from(up.esp.additional.count() > 0);
        tally.followed_up = tally.followed_up.saturating_add(several);
        let count = if up.replaces.is_some() { &mut tally.child_rekeys } else { &mut tally.more_children };
        *count = count.saturating_add(1);
        Ok(())
    }

    fn child_closed(
        &mut self,
        now: Instant,
        child: ChildId,
        spis: (u32, u32),
        replaced_by: Option<ChildId>,
    ) -> Result<(), String> {
        if let Some(successor) = replaced_by.filter(|s| !self.kernel.pairs.contains_key(s)) {
            return Err(format!(
                "{}: {child:?} was replaced by {successor:?}, which is not there",
                self.name
            ));
        }
        self.tally.deleted = self.tally.deleted.saturating_add(u64::from(replaced_by.is_none()));
        match self.kernel.remove(now, child, replaced_by.is_some()) {
            Some(pair) if (pair.inbound_spi, pair.outbound_spi) == spis => Ok(()),
            Some(pair) => Err(format!("{}: {pair:?} was closed by other SPIs", self.name)),
            // It was refused, and the core never heard of that.
            None if self.installing.values().any(|c| *c == child) => Ok(()),
            None => Err(format!("{}: {child:?} was closed, but not installed", self.name)),
        }
    }

    fn closed(&mut self, sa: SaId, result: Result<(), Failure>) -> Result<(), String> {
        let Some(record) = self.records.remove(&sa) else {
            return Err(format!("{}: {sa:?} was closed twice, or never begun", self.name));
        };
        if record.leased {
            return Err(format!("{}: {sa:?} went without giving its lease back", self.name));
        }
        let kept = self.kernel.pairs.values().any(|p| p.sa == sa && p.confirmed);
        if record.established.is_some() && kept {
            return Err(format!("{}: {sa:?} went without closing its CHILD_SA", self.name));
        }
        // The driver's own part: what it did for an Ask whose answer never counted.
        self.kernel.pairs.retain(|_, pair| pair.sa != sa);
        self.kernel.spis.retain(|_, owner| *owner != sa);
        self.kernel.leases.retain(|_, owner| *owner != sa);
        self.dialled.retain(|d| *d != sa);
        self.due.retain(|d| *d != sa);
        self.successors.remove(&sa);
        self.paths.remove(&sa);
        self.failures.extend(result.err());
        Ok(())
    }
}

/// What makes a message with certificates too long for one packet.
const INTERMEDIATE: [u8; 900] = [0x5a; 900];

/// A certificate that says nothing but whose it is.
fn certificate(identity: &Identity) -> Vec<u8> {
    format!("certificate of {identity}").into_bytes()
}

/// The address of a client, inside.
#[must_use]
pub const fn inner_address(n: u8) -> Ipv4Addr {
    Ipv4Addr::new(192, 168, n, 2)
}
