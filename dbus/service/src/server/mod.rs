//! Peers that dial us: `server.toml` carried out.

mod context;
mod guest;
mod network;
mod strangers;
#[cfg(feature = "recording")]
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use adit_core::{Failure, FailureCode, Step};
use adit_ikev2::api::{ResponderDefaults, SaId, Timing};
use adit_pki::TrustAnchors;
use adit_pool::{Pool, PoolConfig, PoolRange};
use adit_profile::{AuthMethod, ServerConfig};
use adit_xfrm_kernel::StateId;
use tracing::{info, warn};

use crate::clock;
use crate::credentials::{OwnCertificate, anchors};
use crate::daemon::Daemon;
use crate::esp::Numbers;
use crate::files::Fingerprint;
use crate::host::Changes;
use crate::ike::{IkeDriver, Listen};
use crate::registry::ConnectionId;
use crate::suites;
use guest::Guest;
use strangers::Strangers;

/// How long the peers have, all together, to answer our DELETEs.
const FAREWELL: Duration = Duration::from_secs(5);

/// A running server.
pub struct Server {
    inner: Arc<Inner>,
    fingerprint: Fingerprint,
    ike: IkeDriver,
}

struct Inner {
    config: ServerConfig,
    daemon: Arc<Daemon>,
    own: Option<OwnCertificate>,
    /// One for each `[[connection]]`, in order; `None` where clients have no certificates.
    anchors: Vec<Option<Arc<TrustAnchors>>>,
    pools: Mutex<BTreeMap<String, Pool>>,
    guests: Mutex<BTreeMap<SaId, Arc<Guest>>>,
    /// Nobody comes in any more, however far they were.
    closing: AtomicBool,
    /// What may be logged of peers that are nobody's yet.
    strangers: Strangers,
    /// Announces each guest that has left.
    left: tokio::sync::Notify,
    changes: Changes,
    numbers: Numbers,
    link: String,
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
        let inner = Inner::new(config, daemon).await?;
        if let Err(failure) = inner.set_up_network().await {
            inner.tear_down_network().await;
            return Err(failure);
        }
        let listen = Listen { defaults: inner.defaults(), addresses: inner.config.listen.addresses.clone() };
        ike.set_responder(Some((listen, Arc::new(Arc::clone(&inner)) as _)));
        info!(connections = inner.config.connections.len(), "server: letting peers in");
        Ok(Self { inner, fingerprint, ike })
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
    pub async fn stop(self) {
        self.ike.set_responder(None);
        self.inner.closing.store(true, Ordering::Release);
        let sas: Vec<SaId> = self.inner.guests().keys().copied().collect();
        sas.iter().for_each(|sa| self.ike.close(*sa));
        let all_left = async {
            loop {
                let left = self.inner.left.notified();
                if self.inner.guests().is_empty() {
                    return;
                }
                left.await;
            }
        };
        if tokio::time::timeout(FAREWELL, all_left).await.is_err() {
            let rest: Vec<SaId> = self.inner.guests().keys().copied().collect();
            info!(clients = rest.len(), "did not answer our DELETE");
            for sa in rest {
                self.inner.take_away(sa).await;
            }
        }
        self.inner.tear_down_network().await;
    }

    /// Sends a client away; whether there was one.
    pub async fn disconnect(&self, id: ConnectionId) -> bool {
        let sa = self.inner.guests().iter().find(|(_, g)| g.connection() == Some(id)).map(|(sa, _)| *sa);
        let Some(sa) = sa else { return false };
        self.ike.close(sa);
        let gone = async {
            loop {
                let left = self.inner.left.notified();
                if !self.inner.guests().contains_key(&sa) {
                    return;
                }
                left.await;
            }
        };
        if tokio::time::timeout(FAREWELL, gone).await.is_err() {
            info!(sa = sa.0, "did not answer our DELETE");
            self.inner.take_away(sa).await;
        }
        true
    }

    /// The inbound and outbound state of a client.
    #[must_use]
    pub fn states(&self, id: ConnectionId) -> Option<(StateId, StateId)> {
        self.inner.guests().values().find(|g| g.connection() == Some(id)).and_then(|g| g.states())
    }
}

impl Inner {
    /// Reads what the configuration names; changes nothing on this host yet.
    async fn new(config: ServerConfig, daemon: &Arc<Daemon>) -> Result<Arc<Self>, Failure> {
        let files = daemon.files();
        let own = match &config.ikev2.key {
            Some(key) if !config.ikev2.certificate.is_empty() => {
                Some(OwnCertificate::load(files, &config.ikev2.certificate, key)?)
            }
            _ => None,
        };
        let trusted = |rule: &adit_profile::ConnectionRule| match rule.auth {
            AuthMethod::Certificate => anchors(files, &rule.ca).map(|a| Some(Arc::new(a))),
            AuthMethod::Psk => Ok(None),
        };
        let anchors = config.connections.iter().map(trusted).collect::<Result<Vec<_>, Failure>>()?;
        let pools = pools(&config)?;
        let numbers = daemon.numbers();
        let changes = daemon.changes("server")?;
        let link = daemon.reserve_link_name(Some("adits0")).await?;
        Ok(Arc::new(Self {
            daemon: Arc::clone(daemon),
            own,
            anchors,
            pools: Mutex::new(pools),
            guests: Mutex::default(),
            closing: AtomicBool::new(false),
            strangers: Strangers::new(clock::now()),
            left: tokio::sync::Notify::new(),
            changes,
            numbers,
            link,
            config,
        }))
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

    fn pools(&self) -> MutexGuard<'_, BTreeMap<String, Pool>> {
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
        guest.leave(self).await;
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

fn pools(config: &ServerConfig) -> Result<BTreeMap<String, Pool>, Failure> {
    let mut out = BTreeMap::new();
    for pool in &config.pools {
        let ranges = pool.ranges.iter().chain(&pool.ranges6).map(|r| PoolRange::Range(*r)).collect();
        let made = Pool::new(&pool.name, &PoolConfig::new(ranges)).map_err(|e| {
            Failure::new(FailureCode::ConfigurationInvalid, Step::Profile, format!("pool {}: {e}", pool.name))
        })?;
        out.insert(pool.name.clone(), made);
    }
    Ok(out)
}
