//! The daemon: what there is one of, and what D-Bus may ask of it.

mod always;
mod boot;
mod diagnose;
mod gateways;
mod handover;
mod home;
mod keys;
mod links;
mod person;
mod reload;
mod required;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use adit_core::{Failure, FailureCode, Secret, Step};
use adit_crypto::{OsEntropy, Provider};
use adit_dbus_api::Traffic;
use adit_ikev2::api::SaId;
use adit_isakmp::v1::Provider as CryptoProvider;
use adit_plan::gateways::Absent;
use adit_profile::{Profile, TunnelKind};
use adit_xfrm_kernel::{KernelXfrm, XfrmDoor};
use tokio::sync::OnceCell;
use tracing::{info, warn};

use crate::BusChoice;
use crate::client::{self, ClientHandle, Dial};
use crate::esp::{Numbers, Sad};
use crate::files::{Files, Fingerprint, ProfileFile};
use crate::handover::{Handover, SOCKETS};
use crate::host::{Changes, Host, Journal, KernelHost, MARK};
use crate::ike::{IkeDriver, IkeSockets, Kept, Ports, start};
use crate::local::LocalNetworks;
use crate::names::Names;
use crate::ppp::server::{LeftGuests, PppServer};
use crate::ppp::{self, Unit};
use crate::radius::RadiusBook;
use crate::raise::Raise;
use crate::registry::{ConnectionId, Facts, Registry, Role, State};
use crate::server::{LeftClients, Server};
use crate::uplinks::Uplinks;
use boot::Trust;
pub(crate) use gateways::Known;
use home::Home;

/// Where things are.
#[derive(Clone, Default, Debug)]
pub struct Settings {
    /// `/etc/adit`.
    pub config: PathBuf,
    /// `/var/lib/adit`.
    pub state: PathBuf,
    /// The private socket.
    pub socket: PathBuf,
    /// Whether to be on the system bus.
    pub bus: BusChoice,
    /// Where the service manager has put secrets for the daemon: systemd's `$CREDENTIALS_DIRECTORY`.
    pub credentials: Option<PathBuf>,
    /// It is there for `ctl up --foreground`: nothing comes up by itself, and no server is started.
    pub foreground: bool,
}

#[cfg(all(test, feature = "recording"))]
impl Settings {
    /// All in that folder, and on no bus.
    pub(crate) fn within(folder: &std::path::Path) -> Self {
        let (config, state, socket) = (folder.join("etc"), folder.join("state"), folder.join("socket"));
        Self { config, state, socket, bus: BusChoice::None, ..Self::default() }
    }
}

/// The doors to the kernel and to cryptography.
pub struct Doors {
    /// IPsec.
    pub xfrm: Arc<dyn XfrmDoor>,
    /// Links, addresses, routes, rules, sysctls, nftables.
    pub host: Arc<dyn Host>,
    /// Cryptography.
    pub crypto: Arc<dyn CryptoProvider>,
}

/// The daemon.
pub struct Daemon {
    settings: Settings,
    files: Files,
    doors: Doors,
    registry: Arc<Registry>,
    ike: OnceCell<IkeDriver>,
    profiles: Mutex<Vec<Arc<ProfileFile>>>,
    clients: Mutex<BTreeMap<ConnectionId, ClientHandle>>,
    /// What protects L2TP tunnels that are dialled.
    protections: Mutex<BTreeMap<ConnectionId, SaId>>,
    server: tokio::sync::Mutex<Option<Server>>,
    /// By what carries PPP.
    ppp: tokio::sync::Mutex<BTreeMap<TunnelKind, PppServer>>,
    server_facts: Mutex<ServerFacts>,
    link_names: tokio::sync::Mutex<BTreeSet<String>>,
    sad: Sad,
    uplinks: Uplinks,
    local_networks: LocalNetworks,
    /// Gateways that were not there when they were dialled last, by what they were to carry.
    absent: Mutex<Absent<gateways::Key>>,
    /// Where connections that come up by themselves stay down.
    trust: Trust,
    names: Names,
    radius: RadiusBook,
    /// A profile has `block = "always"`.
    blocks_always: AtomicBool,
    /// What a process before has left.
    handover: Handover,
    /// Of that, the clients of its server, until the server takes them over.
    left_clients: Mutex<Option<LeftClients>>,
    /// And the clients of its servers of PPP.
    left_guests: Mutex<BTreeMap<TunnelKind, LeftGuests>>,
    stopping: AtomicBool,
    home: Home,
}

#[derive(Default)]
struct ServerFacts {
    listening: Vec<String>,
    problem: Option<Failure>,
}

impl Doors {
    /// The real ones.
    ///
    /// # Errors
    /// No netlink, or a journal that cannot be read.
    pub fn real() -> anyhow::Result<Self> {
        Ok(Self {
            xfrm: Arc::new(KernelXfrm::new()),
            host: Arc::new(KernelHost::open()?),
            crypto: Arc::new(Provider::new()),
        })
    }
}

impl Daemon {
    /// A daemon that does nothing yet.
    #[must_use]
    pub fn new(settings: Settings, doors: Doors) -> Self {
        let sad = Sad::new(Arc::clone(&doors.xfrm));
        let uplinks = Uplinks::new(Arc::clone(&doors.host));
        let registry = Registry::new();
        let journals = settings.state.join("journal");
        Self {
            files: Files::new(&settings.config).with_credentials(settings.credentials.as_deref()),
            names: Names::new(&registry, &doors.host, &journals),
            local_networks: LocalNetworks::new(&doors.host, &journals),
            settings,
            doors,
            registry,
            ike: OnceCell::new(),
            profiles: Mutex::default(),
            clients: Mutex::default(),
            protections: Mutex::default(),
            server: tokio::sync::Mutex::new(None),
            ppp: tokio::sync::Mutex::default(),
            server_facts: Mutex::default(),
            link_names: tokio::sync::Mutex::default(),
            sad,
            uplinks,
            trust: Trust::default(),
            absent: Mutex::default(),
            radius: RadiusBook::new(),
            blocks_always: AtomicBool::new(false),
            handover: Handover::default(),
            left_clients: Mutex::default(),
            left_guests: Mutex::default(),
            stopping: AtomicBool::new(false),
            home: Home::here(),
        }
    }

    /// With what the service manager has kept of the process before.
    #[must_use]
    pub fn with_handover(self, handover: Handover) -> Self {
        Self { handover, ..self }
    }

    /// Where things are.
    #[must_use]
    pub const fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The connections.
    #[must_use]
    pub const fn registry(&self) -> &Arc<Registry> {
        &self.registry
    }

    /// The host's resolver.
    pub(crate) const fn names(&self) -> &Names {
        &self.names
    }

    /// The kernel's IPsec.
    #[must_use]
    pub fn xfrm(&self) -> Arc<dyn XfrmDoor> {
        Arc::clone(&self.doors.xfrm)
    }

    /// What we have in the kernel's IPsec.
    #[must_use]
    pub const fn sad(&self) -> &Sad {
        &self.sad
    }

    /// The ways out of this host.
    #[must_use]
    pub const fn uplinks(&self) -> &Uplinks {
        &self.uplinks
    }

    /// The networks that this host is in itself.
    pub(crate) const fn local_networks(&self) -> &LocalNetworks {
        &self.local_networks
    }

    /// The RADIUS servers.
    pub(crate) const fn radius(&self) -> &RadiusBook {
        &self.radius
    }

    /// The host's network.
    #[must_use]
    pub fn host(&self) -> Arc<dyn Host> {
        Arc::clone(&self.doors.host)
    }

    /// The profiles as they were read last.
    #[must_use]
    pub fn profiles(&self) -> Vec<Arc<ProfileFile>> {
        lock(&self.profiles).clone()
    }

    /// Where the server listens; empty without one.
    #[must_use]
    pub fn listening(&self) -> Vec<String> {
        lock(&self.server_facts).listening.clone()
    }

    /// Why the server does not run, if it should.
    #[must_use]
    pub fn server_problem(&self) -> Option<Failure> {
        lock(&self.server_facts).problem.clone()
    }

    /// Raises a profile: reads its file as it is now.
    ///
    /// # Errors
    /// There is no such profile, it has mistakes, or it is up already.
    pub async fn up(self: &Arc<Self>, name: &str) -> Result<ConnectionId, Failure> {
        self.up_as(name, Raise::default()).await
    }

    /// The same, as the caller wants it.
    ///
    /// # Errors
    /// As [`Daemon::up`].
    pub async fn up_as(self: &Arc<Self>, name: &str, how: Raise) -> Result<ConnectionId, Failure> {
        let profile = self.files.profile(name)?;
        self.dial(profile, how).await
    }

    /// Raises a profile whose content the caller hands over.
    ///
    /// # Errors
    /// It has mistakes, or one of that name is up already.
    pub async fn up_content(
        self: &Arc<Self>,
        name: &str,
        toml: &str,
        how: Raise,
    ) -> Result<ConnectionId, Failure> {
        let profile = self.files.profile_from_content(name, toml)?;
        if how.limited {
            person::may_raise(&profile, &self.files)?;
        }
        self.dial(profile, how).await
    }

    async fn dial(self: &Arc<Self>, mut profile: Profile, how: Raise) -> Result<ConnectionId, Failure> {
        let name = profile.name.to_string();
        let live = self.registry.live_client(&name);
        if let Some(id) = live {
            person::may_meet(&name, self.registry.get(id).map(|facts| facts.owner), &how)?;
        }
        if let Some(id) = live.filter(|id| !self.kept_down_no_more(*id)) {
            // Twice up is up: the caller follows the connection that there is. What waits for a packet waits no more.
            let waits = self.registry.get(id).is_some_and(|facts| facts.state == State::Standby);
            if let Some(handle) = lock(&self.clients).get(&id).filter(|_| waits) {
                handle.raise();
            }
            return Ok(id);
        }
        how.proxy.into_iter().for_each(|proxy| proxy.tell(&mut profile));
        let new = Facts::new(Role::Client, &name, &profile.server());
        let facts = Facts { tunnel: profile.kind, dns_by_caller: how.dns_by_caller, owner: how.owner, ..new };
        let id = self.registry.add(facts);
        self.was_raised(&name, id);
        let daemon = Arc::clone(self);
        let handle = client::start(Dial { id, profile, daemon, persistent: how.persistent, found: None });
        lock(&self.clients).insert(id, handle);
        Ok(id)
    }

    /// Takes a connection down; returns when nothing of it is left.
    ///
    /// # Errors
    /// There is no such connection, or undoing it left something behind.
    pub async fn down(&self, id: ConnectionId) -> Result<(), Failure> {
        if self.stays_down(id) {
            return Ok(());
        }
        let handle = lock(&self.clients).get(&id).cloned();
        if let Some(handle) = handle {
            let result = handle.stop().await;
            lock(&self.clients).remove(&id);
            return result;
        }
        if let Some(server) = self.server.lock().await.as_ref()
            && server.disconnect(id).await
        {
            return Ok(());
        }
        for server in self.ppp.lock().await.values() {
            if server.disconnect(id).await {
                return Ok(());
            }
        }
        match self.registry.get(id) {
            Some(facts) if facts.state.is_final() => {
                self.registry.remove(id);
                Ok(())
            }
            _ => Err(Failure::new(FailureCode::NotFound, Step::Close, "there is no such connection")
                .hint("ctl status  shows the connections")),
        }
    }

    /// Hands over a secret that a connection waits for.
    ///
    /// # Errors
    /// It does not wait for that.
    pub fn provide_secret(&self, id: ConnectionId, field: &str, secret: Secret) -> Result<(), Failure> {
        let handle = lock(&self.clients).get(&id).cloned();
        match handle {
            Some(handle) => handle.provide_secret(field, secret),
            None => Err(client::not_wanted(field)),
        }
    }

    /// What the kernel counted for a connection.
    ///
    /// # Errors
    /// There is no such connection, or the kernel refused.
    pub async fn statistics(&self, id: ConnectionId) -> Result<Traffic, Failure> {
        if let Some(unit) = self.unit_of(id).await {
            return ppp::carried(unit).await;
        }
        let states = match lock(&self.clients).get(&id) {
            Some(handle) => handle.states(),
            None => None,
        };
        let states = match states {
            Some(states) => Some(states),
            None => self.server.lock().await.as_ref().and_then(|s| s.states(id)),
        };
        let Some((inbound, outbound)) = states else { return Ok(Traffic::default()) };
        let xfrm = self.xfrm();
        let work = move || -> Result<Traffic, Failure> {
            let incoming = xfrm.query(&inbound)?.unwrap_or_default();
            let outgoing = xfrm.query(&outbound)?.unwrap_or_default();
            Ok(Traffic {
                bytes_in: incoming.bytes,
                bytes_out: outgoing.bytes,
                packets_in: incoming.packets,
                packets_out: outgoing.packets,
            })
        };
        tokio::task::spawn_blocking(work).await.unwrap_or_else(|_| Ok(Traffic::default()))
    }

    /// The unit of a connection whose link is PPP's.
    async fn unit_of(&self, id: ConnectionId) -> Option<Arc<Unit>> {
        let of_client = lock(&self.clients).get(&id).and_then(ClientHandle::unit);
        match of_client {
            Some(unit) => Some(unit),
            None => self.ppp.lock().await.values().find_map(|server| server.unit(id)),
        }
    }

    async fn reload_ikev2(
        self: &Arc<Self>,
        config: Option<(adit_profile::ServerConfig, Fingerprint)>,
    ) -> Result<(), Failure> {
        let mut server = self.server.lock().await;
        let fingerprint = config.as_ref().map(|(_, f)| f);
        if server.is_some() && server.as_ref().map(Server::fingerprint) == fingerprint {
            return Ok(());
        }
        let Some((config, fingerprint)) = config else {
            if let Some(old) = server.take() {
                old.stop().await;
            }
            self.show_listening(None).await;
            return Ok(());
        };
        let result = match server.as_mut() {
            Some(running) => running.reload(config, fingerprint).await,
            None => {
                let ports = Ports { ike: config.listen.port, nat: config.listen.nat_port };
                let ike = self.ike(ports, true).await?;
                *server = Some(Server::start(config, fingerprint, self, ike).await?);
                Ok(())
            }
        };
        self.show_listening(server.as_ref()).await;
        result
    }

    /// A server whose configuration is the same goes on undisturbed, with the certificates that there are now; with another one
    /// its clients dial anew.
    async fn reload_ppp(
        self: &Arc<Self>,
        kind: TunnelKind,
        config: Option<&(adit_profile::ServerConfig, Fingerprint)>,
    ) -> Result<(), Failure> {
        let mut running = self.ppp.lock().await;
        let wanted = config.and_then(|(config, _)| {
            let ppp = handover::of_kind(config, kind)?;
            let print = self.files.ppp_fingerprint(config, &ppp);
            Some((config, ppp, print))
        });
        if let (Some(server), Some((_, _, print))) = (running.get(&kind), &wanted)
            && server.fingerprint() == print
        {
            return server.renew().await;
        }
        if let Some(old) = running.remove(&kind) {
            old.stop().await;
        }
        if let Some((config, ppp, print)) = wanted {
            running.insert(kind, PppServer::start(config, ppp, print, self).await?);
        }
        Ok(())
    }

    async fn show_listening(&self, server: Option<&Server>) {
        let mut listening = server.map(Server::listening).unwrap_or_default();
        listening.extend(self.ppp.lock().await.values().flat_map(PppServer::listening));
        lock(&self.server_facts).listening = listening;
    }

    /// The IKE driver; its sockets are bound by whoever needs it first.
    ///
    /// # Errors
    /// The ports are taken.
    pub async fn ike(&self, ports: Ports, exact: bool) -> Result<IkeDriver, Failure> {
        let make = || async {
            let mut kept = Kept::of(self.handover.take_others(SOCKETS));
            let sockets = IkeSockets::go_on(ports, exact, MARK, &mut kept)?;
            sockets.outlive(kept);
            info!(ports = ?sockets.ports(), "IKE sockets");
            let driver = start(
                sockets,
                Arc::clone(&self.doors.crypto),
                [Box::new(OsEntropy::new()), Box::new(OsEntropy::new())],
            );
            self.sad.report_to(driver.downgrade());
            Ok(driver)
        };
        let driver = self.ike.get_or_try_init(make).await.map_err(|e: std::io::Error| {
            let text = format!("UDP ports {} and {} cannot be bound: {e}", ports.ike, ports.nat);
            Failure::new(FailureCode::KernelRefused, Step::Kernel, text)
                .hint("another IKE daemon may have them:  ss -lunp 'sport = 500 or sport = 4500'")
        })?;
        if exact && driver.sockets().ports() != ports {
            let text = format!(
                "the server needs UDP ports {} and {}, but the daemon has bound others",
                ports.ike, ports.nat
            );
            return Err(Failure::new(FailureCode::KernelRefused, Step::Kernel, text)
                .hint("free the ports, then  systemctl restart aditd"));
        }
        Ok(driver.clone())
    }

    /// Whether it is taking everything down.
    #[must_use]
    pub fn stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    /// Takes everything down.
    pub async fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
        self.leave_networks();
        let handles: Vec<ClientHandle> = lock(&self.clients).values().cloned().collect();
        self.stop_all(handles).await;
    }

    /// Takes these connections down, and what others have dialled.
    async fn stop_all(&self, handles: Vec<ClientHandle>) {
        self.stop_dialled(handles).await;
        let ppp = std::mem::take(&mut *self.ppp.lock().await);
        futures_util::future::join_all(ppp.into_values().map(PppServer::stop)).await;
        if let Some(server) = self.server.lock().await.take() {
            server.stop().await;
        }
        self.leave_local_networks().await;
    }

    /// Takes these connections down, and hears no RADIUS servers any more.
    async fn stop_dialled(&self, handles: Vec<ClientHandle>) {
        let stops = handles.iter().map(ClientHandle::stop);
        for failure in futures_util::future::join_all(stops).await.into_iter().filter_map(Result::err) {
            warn!(%failure, "while taking a connection down");
        }
        let _ = self.radius.listen(None).await;
    }

    /// Numbers that nothing else of ours has.
    pub fn numbers(&self) -> Numbers {
        self.sad.numbers()
    }

    /// A ledger of changes to the host, with its journal on disk.
    ///
    /// # Errors
    /// The journal cannot be opened.
    pub fn changes(&self, name: &str) -> Result<Changes, Failure> {
        Ok(Changes::new(self.host(), Journal::open(&self.journal_folder(), name)?))
    }

    fn journal_folder(&self) -> PathBuf {
        self.settings.state.join("journal")
    }

    /// The configuration's files.
    #[must_use]
    pub const fn files(&self) -> &Files {
        &self.files
    }

    /// Forgets the handle of a connection that ended by itself.
    pub(crate) fn forget_client(&self, id: ConnectionId) {
        lock(&self.clients).remove(&id);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What these hold is consistent between any two statements, so a panicked holder harms nothing.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
