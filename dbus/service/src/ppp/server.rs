//! Peers that dial us by what carries PPP: a listener, a task a session, users and addresses.

mod doors;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::AtomicU32;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;

use adit_core::{AddressRange, Entropy, Failure, FailureCode, Path, Step};
use adit_crypto::OsEntropy;
use adit_pool::{Pool, PoolConfig, PoolRange};
use adit_ppp::{Addresses, EapConfig, LinkConfig, Mppe, Timing};
use adit_profile::{Nat as NatChoice, PppServer as Config, ServerConfig};
use adit_sstp::forwarded::Origin;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tracing::{info, warn};

use super::certificates::{Certificates, Current};
use super::door::Door;
use super::guest::Guest;
use super::{Carriage, Happened, Later, Session, Unit};
use crate::client::method;
use crate::daemon::Daemon;
use crate::files::Fingerprint;
use crate::host::{Change, Changes, forwarding, segments, site_rules};
use crate::radius::{Cause, Radius};
use crate::registry::ConnectionId;
use crate::server::users;
use crate::suites::Outside;
use crate::wire::Wire;
use crate::{l2tp, pptp, sstp, suites};
use doors::{Doors, take};

/// Connections of which is still to be said where they come from.
const MOST_ARRIVING: usize = 256;
/// Sessions of one address that have not said who they are.
const HALF_OPEN_PER_ADDRESS: usize = 20;
/// So long somebody may take to prove who they are, whatever they do in the meantime.
const UNPROVEN: Duration = Duration::from_secs(90);
/// How long all sessions together have to end.
const FAREWELL: Duration = Duration::from_secs(10);

/// A running server.
pub(crate) struct PppServer {
    inner: Arc<Inner>,
    fingerprint: Fingerprint,
    stop: watch::Sender<bool>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
    listening: Vec<String>,
}

pub(super) struct Inner {
    pub(super) carriage: Carriage,
    pub(super) config: Arc<Config>,
    pub(super) daemon: Arc<Daemon>,
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
    /// Where the ways to sites are.
    pub(super) table: u32,
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
    /// Those that stand, and how to end them.
    pub(super) standing: BTreeMap<ConnectionId, (watch::Sender<bool>, Weak<Unit>)>,
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
        let inner = Arc::new(Inner::new(server, config, certificates, daemon)?);
        // Before there is a socket.
        let set_up = async {
            inner.raise_guard(server).await?;
            inner.set_up(server).await
        };
        let doors = match set_up.await {
            Ok(doors) => doors,
            Err(failure) => {
                inner.end_guard(true).await;
                inner.undo().await;
                return Err(failure);
            }
        };
        let (stop, stopped) = watch::channel(false);
        let mut listening = Vec::new();
        let mut tasks = Vec::new();
        match doors {
            Doors::Streams(doors) => {
                for door in doors {
                    listening.extend(door.shown());
                    tasks.push(tokio::spawn(accept(Arc::clone(&inner), door, stopped.clone())));
                }
            }
            Doors::L2tp(addresses, engine, links) => {
                listening.extend(addresses.iter().map(|a| format!("{} UDP {}", a.ip(), a.port())));
                let engine = engine.making(inner.making()).start();
                tasks.push(tokio::spawn(take(Arc::clone(&inner), engine, links, stopped)));
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
        Ok(Self { inner, fingerprint, stop, tasks, listening })
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
        self.stop.send_replace(true);
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
        self.inner.sessions().standing.get(&id).and_then(|(_, unit)| unit.upgrade())
    }
}

impl Inner {
    fn new(
        server: &ServerConfig,
        config: Arc<Config>,
        certificates: Certificates,
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
            changes: daemon.changes(&format!("{}-server", carriage.word()))?,
            carriage,
            table: daemon.numbers().table(),
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
            wanted.extend(site_rules(self.table));
        }
        match self.changes.make_all(&wanted, &mut Vec::new()).await {
            Ok(()) => Ok(()),
            Err(error) => {
                self.changes.undo_all().await;
                Err(refused(&error.why))
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
        let Some(stop) = self.sessions().standing.get(&id).map(|(stop, _)| stop.clone()) else {
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

async fn accept(inner: Arc<Inner>, door: Door, mut stopped: watch::Receiver<bool>) {
    let mut sessions = JoinSet::new();
    loop {
        let (wire, local, remote) = tokio::select! {
            biased;
            () = until(&mut stopped) => break,
            Some(_) = sessions.join_next(), if !sessions.is_empty() => continue,
            accepted = door.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Out of descriptors, for a moment: those that end make room.
                    warn!(%error, "{} server: a connection was not taken", inner.carriage.name());
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            },
        };
        let (inner, stopped, lane) = (Arc::clone(&inner), stopped.clone(), inner.carriage.lane());
        let path = Path { local, remote };
        if inner.is_passed_on(&wire, remote.ip()) {
            // Whoever is known to pass connections on is waited for a little, and few at a time.
            let Ok(permit) = Arc::clone(&inner.arriving).try_acquire_owned() else { continue };
            sessions
                .spawn_on(async move { serve_passed_on(inner, wire, path, stopped, permit).await }, &lane);
        } else if inner.admit(remote.ip()) {
            sessions.spawn_on(async move { serve_wire(inner, wire, path, stopped).await }, &lane);
        }
    }
    while sessions.join_next().await.is_some() {}
}

fn not_moved(error: &std::io::Error) -> Failure {
    Failure::new(FailureCode::Internal, Step::Call, format!("a connection could not be taken: {error}"))
}

/// Returns when it says yes, or will never say anything more.
async fn until(stopped: &mut watch::Receiver<bool>) {
    let _ = stopped.wait_for(|stop| *stop).await;
}

/// A connection of which somebody says where it comes from.
async fn serve_passed_on(
    inner: Arc<Inner>,
    wire: Wire,
    path: Path,
    mut stopped: watch::Receiver<bool>,
    permit: OwnedSemaphorePermit,
) {
    let Ok(mut wire) = wire.here() else { return };
    let said = tokio::select! {
        said = sstp::origin(&mut wire) => said,
        () = until(&mut stopped) => return,
    };
    drop(permit);
    let path = match said {
        Ok(Origin::Client { from, to }) => Path { local: to, remote: from },
        Ok(Origin::Own | Origin::Unknown) => path,
        Err(why) => return info!(from = %path.remote, code = %why.code, "{}: {why}", inner.carriage.name()),
    };
    if inner.admit(path.remote.ip()) {
        serve_wire(inner, wire, path, stopped).await;
    }
}

/// A connection that this thread goes on with.
async fn serve_wire(inner: Arc<Inner>, wire: Wire, path: Path, stopped: watch::Receiver<bool>) {
    let server = Arc::clone(&inner);
    let answer = |guest: Arc<Guest>| async move {
        let wire = wire.here().map_err(|e| not_moved(&e))?;
        server.answer(wire, (path.local, path.remote), &guest).await
    };
    serve(&inner, path, stopped, answer).await;
}

async fn serve<A: Future<Output = Result<Box<dyn Session>, Failure>>>(
    inner: &Arc<Inner>,
    path: Path,
    stopped: watch::Receiver<bool>,
    answer: impl FnOnce(Arc<Guest>) -> A,
) {
    let (stop, disconnected) = watch::channel(false);
    let Path { local, remote: from } = path;
    let guest = Guest::new(inner, path);
    let mut stopping = stopped.clone();
    let answered = tokio::select! {
        answered = answer(Arc::clone(&guest)) => answered,
        () = until(&mut stopping) => return guest.leave().await,
    };
    match answered {
        Ok(mut session) => {
            let up = |unit: Option<&Arc<Unit>>| guest.established(local, unit, &stop);
            let cause = hold(&guest, session.as_mut(), up, [stopped, disconnected.clone()]).await;
            guest.account(session.unit(), cause).await;
            session.end().await;
        }
        Err(why) => info!(%from, code = %why.code, "{}: {why}", inner.carriage.name()),
    }
    guest.leave().await;
    // Whoever disconnects waits for this.
    drop(disconnected);
}

/// Until somebody wants it to end, and who that is.
async fn hold(
    guest: &Guest,
    session: &mut dyn Session,
    up: impl Fn(Option<&Arc<Unit>>),
    [mut stopped, mut disconnected]: [watch::Receiver<bool>; 2],
) -> Cause {
    let name = guest.carriage().name();
    let mut unproven = std::pin::pin!(tokio::time::sleep(UNPROVEN));
    let mut kept: Later<Cause> = Box::pin(std::future::pending());
    loop {
        let happened = tokio::select! {
            biased;
            () = until(&mut stopped) => return Cause::AdminReboot,
            () = until(&mut disconnected) => return Cause::AdminReset,
            cause = &mut kept => return cause,
            () = &mut unproven, if !guest.is_proven() => {
                if guest.is_proven() {
                    continue;
                }
                info!(from = %guest.from(), "{name}: did not say in time who they are");
                return Cause::NasError;
            }
            happened = session.next() => happened,
        };
        match happened {
            Happened::Nothing => {}
            Happened::Established => {
                up(session.unit());
                kept = guest.kept(session.unit());
            }
            Happened::Closed(Ok(())) => return Cause::UserRequest,
            Happened::Closed(Err(why)) => {
                let said = why.peer.as_deref().unwrap_or_default();
                info!(from = %guest.from(), code = %why.code, said, "{name}: {why}");
                return match why.code {
                    FailureCode::PeerClosed => Cause::UserRequest,
                    FailureCode::PeerLost => Cause::LostCarrier,
                    _ => Cause::NasError,
                };
            }
        }
    }
}

impl Inner {
    async fn answer(
        &self,
        wire: Wire,
        ends: (SocketAddr, SocketAddr),
        guest: &Arc<Guest>,
    ) -> Result<Box<dyn Session>, Failure> {
        let link = self.link_config(self.carriage.most_mtu());
        let none = |what: &str| Failure::new(FailureCode::Internal, Step::Call, what);
        let outside = match (self.carriage, wire) {
            (Carriage::Pptp, Wire::Tcp(tcp)) => {
                return Ok(Box::new(pptp::answer(tcp, ends, link, Arc::clone(guest) as _)?));
            }
            (Carriage::Pptp, Wire::Unix(_)) => return Err(none("PPTP has no socket")),
            // Its sessions come by their own way.
            (Carriage::L2tp, _) => return Err(none("L2TP has no stream")),
            (Carriage::Sstp(_), Wire::Tcp(tcp)) => {
                let listener = self.certificates.get().listener;
                sstp::meet_client(tcp, &*listener.ok_or_else(|| none("there is no certificate"))?).await?
            }
            (Carriage::Sstp(_), wire @ Wire::Unix(_)) => {
                let socket = self.config.front.socket.as_ref();
                sstp::meet_by_socket(wire, socket.ok_or_else(|| none("there is no socket"))?)
            }
        };
        guest.is_inside_of(Outside::Tls(self.carriage.shown(&outside.cipher)));
        Ok(Box::new(sstp::answer(outside, link, Arc::clone(guest) as _)))
    }

    fn link_config(&self, mtu: u16) -> LinkConfig {
        LinkConfig {
            mru: mtu,
            compress_header: true,
            prove: Vec::new(),
            demand: self.config.auth.iter().map(|m| suites::ppp_auth(*m)).collect(),
            name: self.config.name.clone(),
            eap: EapConfig {
                pass_through: self.config.radius,
                ..EapConfig::of(self.config.eap.methods.iter().copied().map(method).collect())
            },
            mppe: match self.carriage {
                Carriage::Pptp | Carriage::L2tp => suites::mppe(&self.config.mppe),
                // TLS encrypts.
                Carriage::Sstp(_) => Mppe::OFF,
            },
            ipv4: self.local.is_some(),
            ipv6: self.ipv6,
            addresses: Addresses::ForPeer,
            timing: Timing::default(),
        }
    }
}
