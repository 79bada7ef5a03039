//! Peers that dial us by what carries PPP: a listener, a task a session, users and addresses.

mod adopt;
mod doors;
mod leave;
mod serve;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::atomic::AtomicU32;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;

use adit_core::{AddressRange, Entropy, Failure, FailureCode, Step};
use adit_crypto::OsEntropy;
use adit_pool::{Pool, PoolConfig, PoolRange};
use adit_profile::{Nat as NatChoice, PppServer as Config, ServerConfig};
use tokio::sync::{Notify, Semaphore, watch};
use tracing::{info, warn};

use super::certificates::{Certificates, Current};
use super::guest::Guest;
use super::{Carriage, Unit};
use crate::daemon::Daemon;
use crate::esp::Numbers;
use crate::files::Fingerprint;
use crate::host::{Change, Changes, forwarding, segments, site_rules};
use crate::radius::Radius;
use crate::registry::ConnectionId;
use crate::server::users;
use crate::wire::Wire;
use crate::{l2tp, pptp};
pub(crate) use adopt::{LeftGuests, journal_of};
use doors::{Doors, take};
use serve::accept;

/// Connections of which is still to be said where they come from.
const MOST_ARRIVING: usize = 256;
/// Sessions of one address that have not said who they are.
const HALF_OPEN_PER_ADDRESS: usize = 20;
/// How long all sessions together have to end.
const FAREWELL: Duration = Duration::from_secs(10);

/// A running server.
pub(crate) struct PppServer {
    inner: Arc<Inner>,
    fingerprint: Fingerprint,
    going: watch::Sender<Going>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
    listening: Vec<String>,
}

/// How far a server has gone.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Going {
    /// Peers come in.
    Open,
    /// Nobody comes in any more.
    Closed,
    /// Who cannot go on in the next process ends.
    Left,
    /// Everybody ends.
    Over,
}

pub(super) struct Inner {
    pub(super) carriage: Carriage,
    pub(super) config: Arc<Config>,
    pub(super) daemon: Arc<Daemon>,
    /// What its configuration is known by, its certificates aside.
    pub(super) print: String,
    /// Its table has the ways to sites; its clients know it again by them.
    pub(super) numbers: Numbers,
    pool: Mutex<Pool>,
    /// This end's address of IPv4 on every link, where clients get IPv4.
    pub(super) local: Option<Ipv4Addr>,
    /// Whether clients get IPv6.
    pub(super) ipv6: bool,
    /// What this end calls itself in DHCPv6.
    pub(super) uuid: [u8; 16],
    pub(super) dns: Vec<IpAddr>,
    /// Clients' domain.
    pub(super) domain: Option<String>,
    most: usize,
    half_open: usize,
    /// Room for connections of which is still to be said where they come from.
    arriving: Arc<Semaphore>,
    sessions: Mutex<Sessions>,
    pub(super) next_unit: AtomicU32,
    pub(super) next_owner: AtomicU32,
    changes: Changes,
    /// Of these, what is wanted.
    made: Mutex<BTreeSet<u64>>,
    /// Announces each session that is over.
    pub(super) gone: Notify,
    /// RADIUS servers, where they decide.
    pub(super) radius: Option<Arc<Radius>>,
    /// Where TLS, outside or in a method of EAP, needs them.
    pub(super) certificates: Current,
    /// IPsec around L2TP's tunnels, where there is to be any.
    pub(super) guard: OnceLock<l2tp::Guard>,
}

#[derive(Default)]
pub(super) struct Sessions {
    /// Of each peer's address, those that have not proven who they are.
    half_open: BTreeMap<IpAddr, usize>,
    pub(super) count: usize,
    /// The connections of sites that stand.
    pub(super) sites: BTreeMap<String, ConnectionId>,
    pub(super) standing: BTreeMap<ConnectionId, Standing>,
}

/// One that stands.
pub(super) struct Standing {
    /// Ends it.
    pub(super) stop: watch::Sender<bool>,
    pub(super) unit: Weak<Unit>,
    pub(super) guest: Weak<Guest>,
}

impl PppServer {
    /// Changes the host as the configuration says, and listens.
    ///
    /// # Errors
    /// A port that is taken, or a change that the kernel refuses.
    pub(crate) async fn start(
        server: &ServerConfig,
        config: Arc<Config>,
        fingerprint: Fingerprint,
        daemon: &Arc<Daemon>,
    ) -> Result<Self, Failure> {
        let certificates = Certificates::read(&config, daemon).await?;
        let inner = Arc::new(Inner::new(server, config, (certificates, fingerprint.text()), daemon)?);
        // Before there is a socket.
        let set_up = async {
            inner.raise_guard(server).await?;
            inner.set_up(server).await
        };
        let mut doors = match set_up.await {
            Ok(doors) => doors,
            Err(failure) => {
                inner.end_guard(true).await;
                inner.undo().await;
                return Err(failure);
            }
        };
        let (going, gone) = watch::channel(Going::Open);
        // Before anybody else gets an address.
        let mut returned = inner.go_on(&mut doors, &gone).await;
        let mut listening = Vec::new();
        let mut tasks = Vec::new();
        match doors {
            Doors::Streams(doors) => {
                for door in doors {
                    listening.extend(door.shown());
                    let returned = std::mem::take(&mut returned);
                    tasks.push(tokio::spawn(accept(Arc::clone(&inner), (door, returned), gone.clone())));
                }
            }
            Doors::L2tp(addresses, engine, links) => {
                listening.extend(addresses.iter().map(|a| format!("{} UDP {}", a.ip(), a.port())));
                let engine = engine.making(inner.making()).start();
                tasks.push(tokio::spawn(take(Arc::clone(&inner), engine, (links, returned), gone)));
            }
        }
        match inner.carriage {
            Carriage::Pptp => {
                info!(pool = inner.config.pool, "PPTP server: letting peers in; {}", pptp::WEAK);
            }
            Carriage::Sstp(_) => info!(pool = inner.config.pool, "SSTP server: letting peers in"),
            Carriage::L2tp => match inner.guard.get() {
                Some(guard) => {
                    guard.let_in();
                    info!(pool = inner.config.pool, "L2TP server: letting peers in, inside of IPsec only");
                }
                None => info!(pool = inner.config.pool, "L2TP server: letting peers in; {}", l2tp::IN_CLEAR),
            },
        }
        Ok(Self { inner, fingerprint, going, tasks, listening })
    }

    /// Reads its certificates again, under the sessions that stand.
    ///
    /// # Errors
    /// They can't be read; those that were go on.
    pub(crate) async fn renew(&self) -> Result<(), Failure> {
        let inner = &self.inner;
        inner.certificates.set(Certificates::read(&inner.config, &inner.daemon).await?);
        inner.renew_guard()
    }

    /// What its configuration is known by, its certificates aside.
    pub(crate) const fn fingerprint(&self) -> &Fingerprint {
        &self.fingerprint
    }

    /// Where it listens.
    pub(crate) fn listening(&self) -> Vec<String> {
        self.listening.clone()
    }

    /// Tells every peer, waits a little, and undoes what was changed.
    pub(crate) async fn stop(self) {
        self.going.send_replace(Going::Over);
        let all = futures_util::future::join_all(self.tasks);
        let over = tokio::time::timeout(FAREWELL, all).await.is_ok();
        if !over {
            info!("{} server: some peers did not end in time", self.inner.carriage.name());
        }
        self.inner.end_guard(over).await;
        self.inner.undo().await;
        if let Some(radius) = &self.inner.radius {
            radius.last_words().await;
        }
    }

    /// Sends a client away; whether there was one.
    pub(crate) async fn disconnect(&self, id: ConnectionId) -> bool {
        self.inner.disconnect(id).await
    }

    /// A client's unit.
    pub(crate) fn unit(&self, id: ConnectionId) -> Option<Arc<Unit>> {
        self.inner.sessions().standing.get(&id).and_then(|standing| standing.unit.upgrade())
    }
}

impl Inner {
    fn new(
        server: &ServerConfig,
        config: Arc<Config>,
        (certificates, print): (Certificates, String),
        daemon: &Arc<Daemon>,
    ) -> Result<Self, Failure> {
        let carriage = Carriage::of_server(&config);
        let wrong = |text: String| Failure::new(FailureCode::ConfigurationInvalid, Step::Profile, text);
        let pool =
            server.pool(&config.pool).ok_or_else(|| wrong(format!("there is no pool {}", config.pool)))?;
        let local = pool.ranges.iter().find_map(first_of);
        let networks: Vec<AddressRange> = pool.ranges6.iter().filter_map(numbered).collect();
        let ipv6 = !networks.is_empty();
        let ranges = pool.ranges.iter().copied().chain(networks).map(PoolRange::Range).collect();
        let exclude = local.iter().copied().map(IpAddr::V4).collect();
        let made = PoolConfig { exclude, ..PoolConfig::new(ranges) };
        let made = Pool::new(&pool.name, &made).map_err(|e| wrong(format!("pool {}: {e}", pool.name)))?;
        // A missing or exposed file is told at once.
        if let Some(file) = &config.users {
            users::read(daemon, file, &config.name)?;
        }
        let radius = if config.radius { daemon.radius().of(server, daemon.files())? } else { None };
        let mut uuid = [0; 16];
        OsEntropy::new().public(&mut uuid);
        Ok(Self {
            daemon: Arc::clone(daemon),
            pool: Mutex::new(made),
            local,
            ipv6,
            uuid,
            dns: pool.dns.clone(),
            domain: pool.domains.first().cloned(),
            most: usize::try_from(server.limits.clients).unwrap_or(usize::MAX),
            half_open: usize::try_from(server.limits.half_open).unwrap_or(usize::MAX),
            arriving: Arc::new(Semaphore::new(MOST_ARRIVING)),
            sessions: Mutex::default(),
            next_unit: AtomicU32::new(0),
            next_owner: AtomicU32::new(1),
            changes: daemon.changes(&journal_of(config.kind))?,
            carriage,
            print,
            numbers: daemon.left_guests_numbers(config.kind).unwrap_or_else(|| daemon.numbers()),
            made: Mutex::default(),
            gone: Notify::new(),
            radius,
            certificates: Current::new(certificates),
            guard: OnceLock::new(),
            config,
        })
    }

    /// Forwarding, translation, and a segment size that fits.
    pub(super) async fn set_up_network(&self, server: &ServerConfig) -> Result<(), Failure> {
        let refused = |e: &crate::host::HostError| {
            let text = format!("the {} server's network: {e}", self.carriage.name());
            Failure::new(FailureCode::KernelRefused, Step::Network, text)
                .hint("ctl doctor  shows what this host lacks")
        };
        let mut wanted = Vec::new();
        if server.network.forward {
            let host = self.daemon.host();
            wanted.extend(
                forwarding(host.as_ref(), self.local.is_some(), self.ipv6).await.map_err(|e| refused(&e))?,
            );
            wanted.push(self.tables(server));
        }
        if self.has_sites() {
            wanted.extend(site_rules(self.numbers.table()));
        }
        match self.make(&wanted, false).await {
            Ok(()) => Ok(()),
            Err(error) => {
                self.changes.undo_all().await;
                Err(refused(&error))
            }
        }
    }

    fn tables(&self, server: &ServerConfig) -> Change {
        // A client sends from its own address, and from no other.
        let links = format!("{}*", self.carriage.prefix());
        let mut body = format!(
            "chain sources {{\n  type filter hook prerouting priority -150; policy accept;\n\
             \x20 iifname \"{links}\" fib saddr . iif oif missing counter drop\n}}\n",
        );
        body.push_str(&segments(&links));
        if server.network.nat == NatChoice::Masquerade {
            let uplink = server.network.nat_interface.as_ref();
            let uplink = uplink.map(|l| format!("oifname \"{}\" ", l.as_str())).unwrap_or_default();
            body.push_str("chain clients {\n  type nat hook postrouting priority 100; policy accept;\n");
            let pool = server.pool(&self.config.pool);
            let families = pool.iter().flat_map(|p| [("ip", &p.ranges), ("ip6", &p.ranges6)]);
            for (family, ranges) in families.filter(|(_, ranges)| !ranges.is_empty()) {
                let ranges: Vec<String> = ranges.iter().map(|r| format!("{}-{}", r.first, r.last)).collect();
                let ranges = ranges.join(", ");
                body.push_str(&format!(
                    "  {family} saddr {{ {ranges} }} oifname != \"{links}\" {uplink}masquerade\n"
                ));
            }
            body.push_str("}\n");
        }
        Change::Nftables { table: format!("adit-{}", self.carriage.word()), body }
    }

    async fn undo(&self) {
        for error in self.changes.undo_all().await {
            warn!(%error, "{} server: not undone", self.carriage.name());
        }
    }

    /// Whether there may be networks behind clients.
    fn has_sites(&self) -> bool {
        self.config.radius || !self.config.sites.is_empty()
    }

    /// A site that comes in again takes the place of its old connection, which may not know yet that it is over.
    pub(super) async fn make_way(&self, site: &str) {
        let former = self.sessions().sites.get(site).copied();
        if let Some(former) = former {
            self.disconnect(former).await;
        }
    }

    async fn disconnect(&self, id: ConnectionId) -> bool {
        let Some(stop) = self.sessions().standing.get(&id).map(|standing| standing.stop.clone()) else {
            return false;
        };
        stop.send_replace(true);
        let _ = tokio::time::timeout(FAREWELL, stop.closed()).await;
        true
    }

    pub(super) fn sessions(&self) -> MutexGuard<'_, Sessions> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn pool(&self) -> MutexGuard<'_, Pool> {
        self.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a connection begins with who it is passed on for.
    fn is_passed_on(&self, wire: &Wire, from: IpAddr) -> bool {
        let front = &self.config.front;
        match wire {
            Wire::Tcp(_) => front.balancers.iter().any(|balancer| balancer.contains(from)),
            Wire::Unix(_) => front.socket.as_ref().is_some_and(|socket| socket.forwarded),
        }
    }

    /// Whether one more may come from there.
    fn admit(&self, from: IpAddr) -> bool {
        let mut sessions = self.sessions();
        let half_open: usize = sessions.half_open.values().sum();
        let own = sessions.half_open.get(&from).copied().unwrap_or(0);
        // Nobody knows where what comes by a socket comes from, if it is not said.
        let too_many = own >= HALF_OPEN_PER_ADDRESS && !from.is_unspecified();
        if sessions.count >= self.most || half_open >= self.half_open || too_many {
            return false;
        }
        sessions.count += 1;
        *sessions.half_open.entry(from).or_default() += 1;
        true
    }

    pub(super) fn no_longer_half_open(&self, from: IpAddr) {
        let mut sessions = self.sessions();
        if let Some(count) = sessions.half_open.get_mut(&from) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                sessions.half_open.remove(&from);
            }
        }
    }
}

/// The networks of 64 bits of a range, as numbers for a pool: their upper halves.
fn numbered(range: &AddressRange) -> Option<AddressRange> {
    let (first, last) = range.networks_of_64()?;
    let number = |n: u64| IpAddr::V6(Ipv6Addr::from_bits(n.into()));
    Some(AddressRange { first: number(first), last: number(last) })
}

fn first_of(range: &AddressRange) -> Option<Ipv4Addr> {
    match range.first {
        IpAddr::V4(first) => Some(first),
        IpAddr::V6(_) => None,
    }
}
