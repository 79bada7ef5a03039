//! Peers that dial us: `server.toml` carried out.

mod adopt;
mod context;
mod dhcp;
mod eap;
#[cfg(feature = "recording")]
#[cfg(test)]
mod eap_tests;
mod guest;
mod handing;
mod leave;
mod moves;
mod network;
mod reload;
mod resume;
#[cfg(feature = "recording")]
#[cfg(test)]
mod resume_tests;
pub(crate) mod sessions;
mod strangers;
#[cfg(feature = "recording")]
#[cfg(test)]
mod tests;
pub(crate) mod users;

pub(crate) use adopt::{LeftClients, clear_away};
pub(crate) use eap::{LONGEST_NAME, msk, proves_another_name};

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use adit_core::{AddressRange, Failure, FailureCode, Step};
use adit_ikev2::api::{ResponderDefaults, SaId, Timing};
use adit_isakmp::proposal::EspProposal;
use adit_pki::TrustAnchors;
use adit_pool::{Pool, PoolConfig, PoolRange};
use adit_profile::{AuthMethod, EapMethod, ServerConfig};
use adit_xfrm_kernel::StateId;
use tracing::{info, warn};

use crate::clock;
use crate::credentials::{OwnCertificate, PeerIs, anchors};
use crate::daemon::Daemon;
use crate::esp::Numbers;
use crate::files::Fingerprint;
use crate::host::{Change, Changes, Shared};
use crate::ike::{IkeDriver, Listen, Ports, WeakIkeDriver};
use crate::radius::{Cause, Radius};
use crate::registry::ConnectionId;
use crate::suites;
pub(crate) use eap::identity;
use guest::Guest;
pub(crate) use strangers::Strangers;

/// The interface of all clients.
pub(crate) const LINK: &str = "adits0";

/// How long the peers have, all together, to answer our DELETEs.
const FAREWELL: Duration = Duration::from_secs(5);

/// A running server.
pub struct Server {
    inner: Arc<Inner>,
    /// Of the configurations before, those by which clients are still in.
    older: Vec<Arc<Inner>>,
    fingerprint: Fingerprint,
    ike: IkeDriver,
    /// What tells clients that this host has other addresses.
    moves: Option<tokio::task::AbortHandle>,
    /// What answers clients that ask for routes.
    dhcp: Option<crate::dhcp::Answering>,
}

/// Pools by name, each with the addresses that it was made of.
type Pools = BTreeMap<String, (Vec<AddressRange>, Pool)>;

/// Changes of this host, and the numbers of their undos; `None` where it was so already.
type Made = Vec<(Change, Option<u64>)>;

struct Inner {
    config: ServerConfig,
    daemon: Arc<Daemon>,
    own: Option<OwnCertificate>,
    /// What CHILD_SAs may use.
    esp: Vec<EspProposal>,
    /// One for each `[[connection]]`, in order; `None` where clients have no certificates.
    anchors: Vec<Option<Arc<TrustAnchors>>>,
    /// What each `[[connection]]` is known by.
    connection_prints: Vec<Fingerprint>,
    pools: Arc<Mutex<Pools>>,
    /// Sessions that can be resumed, whatever configuration they are of.
    sessions: Arc<Mutex<resume::Sessions>>,
    /// RADIUS servers.
    radius: Option<Arc<Radius>>,
    ike: WeakIkeDriver,
    guests: Mutex<BTreeMap<SaId, Arc<Guest>>>,
    /// Nobody comes in any more, however far they were.
    closing: AtomicBool,
    /// The server by the next configuration: it answers for peers that have not said yet who they are.
    successor: OnceLock<Arc<Inner>>,
    /// What may be logged of peers that are nobody's yet.
    strangers: Strangers,
    /// Announces each guest that has left.
    left: tokio::sync::Notify,
    changes: Arc<Changes>,
    /// What was changed whoever is connected, and the numbers of the undos.
    made: Arc<tokio::sync::Mutex<Made>>,
    /// What CHILD_SAs need of this host.
    shared: Arc<tokio::sync::Mutex<Shared>>,
    numbers: Numbers,
    link: String,
    /// Where clients can reach this host, as it tells those that speak MOBIKE.
    addresses: Mutex<Vec<std::net::IpAddr>>,
    /// From where clients that ask for routes are answered, where they may.
    dhcp: OnceLock<std::net::Ipv4Addr>,
    /// Somebody keeps what the next process may go on from.
    hands_on: bool,
    /// A client of the process before that is being taken up.
    returning: Mutex<Option<Box<adopt::Returning>>>,
}

impl Server {
    /// Changes the host as the configuration says and lets peers in.
    ///
    /// # Errors
    /// A file that cannot be used, or a change that the kernel refuses; what was changed is undone.
    pub async fn start(
        config: ServerConfig,
        fingerprint: Fingerprint,
        daemon: &Arc<Daemon>,
        ike: IkeDriver,
    ) -> Result<Self, Failure> {
        let inner = Inner::new(config, daemon, ike.downgrade(), None).await?;
        let set_up = async {
            inner.take_over_network().await?;
            inner.set_up_network().await
        };
        if let Err(failure) = set_up.await {
            inner.tear_down_network().await;
            return Err(failure);
        }
        inner.follow_spent();
        inner.go_on(&ike).await;
        info!(connections = inner.config.connections.len(), "server: letting peers in");
        let moves = moves::follow(&inner, ike.clone());
        inner.tell_addresses(&ike, &inner.addresses());
        let dhcp = inner.answer_dhcp(&[]).await;
        let server = Self { inner, older: Vec::new(), fingerprint, ike, moves, dhcp };
        server.let_in();
        Ok(server)
    }

    fn let_in(&self) {
        let inner = &self.inner;
        let listen = Listen { defaults: inner.defaults(), addresses: inner.config.listen.addresses.clone() };
        self.ike.set_responder(Some((listen, Arc::new(Arc::clone(inner)) as _)));
    }

    /// The configuration in force, and those before by which clients are still in.
    fn all(&self) -> impl Iterator<Item = &Arc<Inner>> {
        std::iter::once(&self.inner).chain(&self.older)
    }

    /// What its configuration is known by.
    #[must_use]
    pub const fn fingerprint(&self) -> &Fingerprint {
        &self.fingerprint
    }

    /// Where it listens.
    #[must_use]
    pub fn listening(&self) -> Vec<String> {
        let ports = self.ike.sockets().ports();
        let listen = &self.inner.config.listen;
        let at = |a: &std::net::IpAddr| format!("{a} UDP {} and {}", ports.ike, ports.nat);
        match listen.addresses.is_empty() {
            true => vec![format!("UDP {} and {}", ports.ike, ports.nat)],
            false => listen.addresses.iter().map(at).collect(),
        }
    }

    /// Tells every peer, waits a little for their answers, and undoes what was changed.
    pub async fn stop(mut self) {
        self.ike.set_responder(None);
        self.moves.iter().for_each(tokio::task::AbortHandle::abort);
        self.dhcp.take();
        for inner in self.all() {
            inner.closing.store(true, Ordering::Release);
            let sas: Vec<SaId> = inner.guests().keys().copied().collect();
            sas.iter().for_each(|sa| self.ike.close(*sa));
        }
        let all_left = async {
            for inner in self.all() {
                inner.until_empty().await;
            }
        };
        if tokio::time::timeout(FAREWELL, all_left).await.is_err() {
            for inner in self.all() {
                let rest: Vec<SaId> = inner.guests().keys().copied().collect();
                info!(clients = rest.len(), "did not answer our DELETE");
                for sa in rest {
                    inner.take_away(sa).await;
                }
            }
        }
        self.told().await;
        self.inner.tear_down_network().await;
    }

    /// Sends a client away; whether there was one.
    pub async fn disconnect(&self, id: ConnectionId) -> bool {
        let Some((inner, sa, guest)) = self.guest_of(id) else { return false };
        guest.facts().cause = Some(Cause::AdminReset);
        self.ike.close(sa);
        if tokio::time::timeout(FAREWELL, inner.until_left(sa)).await.is_err() {
            info!(sa = sa.0, "did not answer our DELETE");
            inner.take_away(sa).await;
        }
        true
    }

    /// The inbound and outbound state of a client.
    #[must_use]
    pub fn states(&self, id: ConnectionId) -> Option<(StateId, StateId)> {
        self.guest_of(id).and_then(|(inner, sa, _)| inner.daemon.sad().states(sa))
    }

    /// The IKE_SA of a client.
    #[must_use]
    pub fn ike_sa(&self, id: ConnectionId) -> Option<SaId> {
        self.guest_of(id).map(|(_, sa, _)| sa)
    }

    fn guest_of(&self, id: ConnectionId) -> Option<(&Arc<Inner>, SaId, Arc<Guest>)> {
        self.all().find_map(|inner| {
            let guests = inner.guests();
            let (sa, guest) = guests.iter().find(|(_, g)| g.connection() == Some(id))?;
            Some((inner, *sa, Arc::clone(guest)))
        })
    }
}

impl Inner {
    /// Reads what the configuration names; changes nothing on this host yet. What is there `before` is shared.
    async fn new(
        config: ServerConfig,
        daemon: &Arc<Daemon>,
        ike: WeakIkeDriver,
        before: Option<&Self>,
    ) -> Result<Arc<Self>, Failure> {
        let files = daemon.files();
        let trusted = |rule: &adit_profile::ConnectionRule| match rule.auth {
            AuthMethod::Psk => Ok(None),
            AuthMethod::Eap if rule.eap != Some(EapMethod::Tls) => Ok(None),
            AuthMethod::Certificate | AuthMethod::Eap => anchors(files, &rule.ca).map(|a| Some(Arc::new(a))),
        };
        let anchors = config.connections.iter().map(trusted).collect::<Result<Vec<_>, Failure>>()?;
        let own = own_certificate(&config, files, &anchors).await?;
        let print = |rule| files.connection_fingerprint(&config, rule);
        let connection_prints = config.connections.iter().map(print).collect();
        let radius = daemon.radius().of(&config, files)?;
        let shared = before.map(|b| Arc::clone(&b.shared)).unwrap_or_default();
        let sessions = before.map(|b| Arc::clone(&b.sessions)).unwrap_or_default();
        let (pools, numbers, changes, made, link) = match before {
            Some(b) => {
                (Arc::clone(&b.pools), b.numbers, Arc::clone(&b.changes), Arc::clone(&b.made), b.link.clone())
            }
            None => {
                let pools = Arc::new(Mutex::new(pools(&config)?));
                let changes = Arc::new(daemon.changes("server")?);
                let (numbers, link) = adopt::place(daemon, &changes).await?;
                (pools, numbers, changes, Arc::default(), link)
            }
        };
        let inner = Self {
            addresses: Mutex::default(),
            dhcp: OnceLock::new(),
            hands_on: crate::handover::is_there() && !daemon.settings().foreground,
            returning: Mutex::default(),
            daemon: Arc::clone(daemon),
            own,
            esp: suites::esp_proposals(&config.ikev2.esp, config.ikev2.legacy),
            anchors,
            connection_prints,
            pools,
            sessions,
            radius,
            ike,
            guests: Mutex::default(),
            closing: AtomicBool::new(false),
            successor: OnceLock::new(),
            strangers: Strangers::new(clock::now()),
            left: tokio::sync::Notify::new(),
            changes,
            made,
            shared,
            numbers,
            link,
            config,
        };
        *inner.addresses.lock().unwrap_or_else(PoisonError::into_inner) = inner.own_addresses().await;
        Ok(Arc::new(inner))
    }

    fn defaults(&self) -> ResponderDefaults {
        let limits = self.config.limits;
        let half_open = usize::try_from(limits.half_open).unwrap_or(usize::MAX);
        let mut authorities: Vec<[u8; 20]> =
            self.anchors.iter().flatten().flat_map(|a| a.key_hashes()).collect();
        authorities.sort_unstable();
        authorities.dedup();
        ResponderDefaults {
            ike: suites::ike_proposals(&self.config.ikev2.ike, self.config.ikev2.legacy),
            // A cookie costs honest clients one round trip; a tenth of the limit is nothing that they reach.
            cookie_threshold: (half_open / 10).max(1),
            half_open_limit: half_open,
            half_open_per_address: (half_open / 4).max(1),
            limit: usize::try_from(limits.clients).unwrap_or(usize::MAX),
            authorities,
            ppk: self.config.connections.iter().any(|c| c.ppk != adit_profile::PpkUse::Off),
            fragment_size: self.config.ikev2.fragment_size,
            timing: self.timing(),
        }
    }

    fn timing(&self) -> Timing {
        Timing { dead_peer: self.config.ikev2.dpd, ..suites::timing(self.config.ikev2.rekeying) }
    }

    fn guests(&self) -> MutexGuard<'_, BTreeMap<SaId, Arc<Guest>>> {
        self.guests.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ports(&self) -> Ports {
        Ports { ike: self.config.listen.port, nat: self.config.listen.nat_port }
    }

    /// Returns when a guest has left.
    async fn until_left(&self, sa: SaId) {
        until(&self.left, || !self.guests().contains_key(&sa)).await;
    }

    /// Returns when every guest has left.
    async fn until_empty(&self) {
        until(&self.left, || self.guests().is_empty()).await;
    }

    fn pools(&self) -> MutexGuard<'_, Pools> {
        self.pools.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The guest of an IKE_SA, made when it is first heard of.
    fn guest(&self, sa: SaId) -> Arc<Guest> {
        let new = || Arc::new(Guest::new(Numbers { if_id: self.numbers.if_id, ..self.daemon.numbers() }));
        Arc::clone(self.guests().entry(sa).or_insert_with(new))
    }

    /// Removes everything that a guest has here.
    async fn take_away(&self, sa: SaId) {
        let Some(guest) = self.guests().get(&sa).cloned() else { return };
        self.end_session(sa, &guest).await;
        guest.leave(self, sa).await;
        self.guests().remove(&sa);
        self.left.notify_waiters();
    }

    async fn tear_down_network(&self) {
        for error in self.changes.undo_all().await {
            warn!(%error, "server: not undone");
        }
        self.daemon.release_link_name(&self.link).await;
    }
}

/// What the server proves itself with, sorted so that the first one fits most clients.
async fn own_certificate(
    config: &ServerConfig,
    files: &crate::files::Files,
    anchors: &[Option<Arc<TrustAnchors>>],
) -> Result<Option<OwnCertificate>, Failure> {
    let keys = config.ikev2.keys.as_slice();
    if keys.is_empty() || !config.ikev2.has_certificate() {
        return Ok(None);
    }
    let password = config.ikev2.key_password.as_ref();
    let all = OwnCertificate::load(files, &config.ikev2.certificate, keys, password, None).await?;
    let known = anchors.iter().flatten().map(AsRef::as_ref);
    Ok(Some(all.sorted(config.ikev2.identity.as_ref(), PeerIs::Client, known)))
}

fn pools(config: &ServerConfig) -> Result<Pools, Failure> {
    let mut out = BTreeMap::new();
    for pool in &config.pools {
        let addresses: Vec<AddressRange> = pool.ranges.iter().chain(&pool.ranges6).copied().collect();
        let ranges = addresses.iter().map(|r| PoolRange::Range(*r)).collect();
        let made = Pool::new(&pool.name, &PoolConfig::new(ranges)).map_err(|e| {
            Failure::new(FailureCode::ConfigurationInvalid, Step::Profile, format!("pool {}: {e}", pool.name))
        })?;
        out.insert(pool.name.clone(), (addresses, made));
    }
    Ok(out)
}

/// Returns when it is so: whatever makes it so tells of it.
pub(crate) async fn until(told: &tokio::sync::Notify, is: impl Fn() -> bool) {
    loop {
        // Before it is looked at: what is told from here on is not missed.
        let news = told.notified();
        if is() {
            return;
        }
        news.await;
    }
}
