//! The life of a dialled connection: one task from `up` to the last undo.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use adit_core::{Failure, FailureCode, Identity, Path, Prefix, Step, TrafficSelector};
use adit_ikev2::api::{ChildMode, Established, Event, InitiatorConfig, LocalAuth, RemoteAuth, SaId, Timing};
use adit_profile::{AuthMethod, Profile, Tunnel};
use adit_xfrm_kernel::{Feature, StateId};
use tokio::sync::{mpsc, watch};

use super::context::ClientContext;
use super::install::Installation;
use super::resolve::resolve;
use crate::credentials::{OwnCertificate, anchors};
use crate::daemon::Daemon;
use crate::host::PathInfo;
use crate::ike::{IkeDriver, Ports};
use crate::registry::{ConnectionId, State};
use crate::suites;

/// Addresses of one name that are tried.
const MOST_ADDRESSES: usize = 6;
/// How long the peer has to answer our DELETE before we stop waiting for it.
const CLOSE: Duration = Duration::from_secs(5);
/// Pauses between attempts to come back: they double from the first to the last.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// A connection to raise.
pub struct Dial {
    /// Where it is in the registry.
    pub id: ConnectionId,
    /// What to raise.
    pub profile: Profile,
    /// Everything else.
    pub daemon: Arc<Daemon>,
}

/// A handle on the task.
#[derive(Clone)]
pub struct ClientHandle {
    stop: watch::Sender<bool>,
    outcome: watch::Receiver<Option<Result<(), Failure>>>,
    installation: Arc<Installation>,
}

impl ClientHandle {
    /// Takes the connection down; returns when nothing of it is left.
    ///
    /// # Errors
    /// What could not be undone.
    pub async fn stop(&self) -> Result<(), Failure> {
        self.stop.send_replace(true);
        let mut outcome = self.outcome.clone();
        match outcome.wait_for(Option::is_some).await {
            Ok(done) => done.clone().unwrap_or(Ok(())),
            // The task is gone without a word: it panicked, and its undos stand in the journal.
            Err(_) => {
                Err(internal("the connection's task died; what it changed is undone at the next start"))
            }
        }
    }

    /// The inbound and outbound state, while there are any.
    #[must_use]
    pub fn states(&self) -> Option<(StateId, StateId)> {
        self.installation.states()
    }
}

/// Starts the task.
#[must_use]
pub fn start(dial: Dial) -> ClientHandle {
    let (stop, stopped) = watch::channel(false);
    let (done, outcome) = watch::channel(None);
    let profile = Arc::new(dial.profile);
    let installation = Arc::new(Installation::new(dial.id, &profile, &dial.daemon));
    let attempt = Attempt {
        id: dial.id,
        profile,
        daemon: dial.daemon,
        installation: Arc::clone(&installation),
        stopped,
        known: Vec::new(),
        live: None,
    };
    tokio::spawn(async move {
        let result = attempt.run().await;
        done.send_replace(Some(result));
    });
    ClientHandle { stop, outcome, installation }
}

struct Attempt {
    id: ConnectionId,
    profile: Arc<Profile>,
    daemon: Arc<Daemon>,
    installation: Arc<Installation>,
    stopped: watch::Receiver<bool>,
    /// Where the server was when its name was looked up last.
    known: Vec<SocketAddr>,
    live: Option<Live>,
}

/// An IKE_SA of ours that has not been closed.
struct Live {
    ike: IkeDriver,
    sa: SaId,
    events: mpsc::UnboundedReceiver<(SaId, Event)>,
}

enum Ended {
    Stopped,
    Lost(Failure),
}

impl Attempt {
    async fn run(mut self) -> Result<(), Failure> {
        match self.up_and_hold().await {
            Ended::Stopped => {
                self.state(State::Disconnecting, "asked to");
                let result = self.take_down().await;
                self.state(State::Disconnected, "asked to");
                self.daemon.registry().remove(self.id);
                result
            }
            Ended::Lost(failure) => {
                let result = self.take_down().await;
                let code = failure.code.as_str();
                self.daemon.registry().set_state(self.id, State::Failed, code, Some(failure));
                self.daemon.forget_client(self.id);
                result
            }
        }
    }

    /// Returns when the connection is to go away for good. Once it was up it comes back by itself, and a full
    /// tunnel's block stands in between: only `down` ends it.
    async fn up_and_hold(&mut self) -> Ended {
        let mut pause = PAUSES.0;
        let mut was_up = false;
        loop {
            let failure = match self.unless_stopped(Self::connect).await {
                None => return Ended::Stopped,
                Some(Err(failure)) if !was_up => return Ended::Lost(failure),
                Some(Err(failure)) => failure,
                Some(Ok(())) => {
                    (was_up, pause) = (true, PAUSES.0);
                    match self.unless_stopped(Self::hold).await {
                        None => return Ended::Stopped,
                        Some(failure) => failure,
                    }
                }
            };
            self.live = None;
            self.installation.lower().await;
            let text = format!("lost: {failure} Trying again in {} s.", pause.as_secs());
            self.daemon.registry().set_state(
                self.id,
                State::Connecting,
                failure.code.as_str(),
                Some(failure),
            );
            self.progress(Step::Established, &text);
            if self.unless_stopped(async |_: &mut Self| tokio::time::sleep(pause).await).await.is_none() {
                return Ended::Stopped;
            }
            pause = (pause * 2).min(PAUSES.1);
        }
    }

    async fn connect(&mut self) -> Result<(), Failure> {
        self.check_kernel().await?;
        let (own, trusted) = self.credentials()?;
        let addresses = self.addresses().await?;
        let ike = self.daemon.ike(Ports::default(), false).await?;
        let mut last = None;
        for remote in addresses.into_iter().take(MOST_ADDRESSES) {
            match self.dial(&ike, remote, own.as_ref(), trusted.clone()).await {
                Ok(()) => return Ok(()),
                Err(failure) if failure.code == FailureCode::ServerUnreachable => last = Some(failure),
                Err(failure) => return Err(failure),
            }
        }
        Err(last.unwrap_or_else(|| internal("the server has no address")))
    }

    /// Where the server is. A full tunnel's block, once it stands, lets no DNS query out: then it is where it was.
    async fn addresses(&mut self) -> Result<Vec<SocketAddr>, Failure> {
        if self.profile.tunnel == Tunnel::Full && !self.known.is_empty() {
            return Ok(self.known.clone());
        }
        self.progress(Step::Resolve, &format!("IKEv2: resolving {}", self.profile.host()));
        match resolve(&self.profile).await {
            Ok(found) => {
                self.known.clone_from(&found);
                Ok(found)
            }
            // DNS often comes back later than the network.
            Err(_) if !self.known.is_empty() => Ok(self.known.clone()),
            Err(failure) => Err(failure),
        }
    }

    /// A kernel that could not carry the tunnel ends the attempt before its first packet.
    async fn check_kernel(&self) -> Result<(), Failure> {
        let xfrm = self.daemon.xfrm();
        let capabilities = tokio::task::spawn_blocking(move || xfrm.capabilities())
            .await
            .map_err(|_| internal("the kernel could not be asked"))??;
        for feature in [Feature::Xfrm, Feature::EspV4, Feature::XfrmInterface] {
            if !capabilities.has(feature) {
                let text = format!("this host's kernel cannot carry the tunnel: it has no {feature}");
                return Err(Failure::new(FailureCode::KernelUnsupported, Step::Kernel, text)
                    .hint(format!("as root:  {}  ; ctl doctor  shows everything", feature.remedy())));
            }
        }
        Ok(())
    }

    fn credentials(&self) -> Result<(Option<OwnCertificate>, Option<Arc<adit_pki::TrustAnchors>>), Failure> {
        let files = self.daemon.files();
        let own = match (self.profile.auth, &self.profile.key) {
            (AuthMethod::Certificate, Some(key)) => {
                Some(OwnCertificate::load(files, &self.profile.certificate, key)?)
            }
            _ => None,
        };
        let trusted = match self.profile.remote_auth {
            AuthMethod::Certificate => Some(Arc::new(anchors(files, &self.profile.ca)?)),
            AuthMethod::Psk => None,
        };
        if let Some(psk) = &self.profile.psk {
            // A missing or exposed key is told before the first packet.
            files.psk(psk)?;
        }
        Ok((own, trusted))
    }

    async fn dial(
        &mut self,
        ike: &IkeDriver,
        remote: SocketAddr,
        own: Option<&OwnCertificate>,
        anchors: Option<Arc<adit_pki::TrustAnchors>>,
    ) -> Result<(), Failure> {
        let uplink = self.daemon.host().path_to(remote.ip()).await.map_err(|e| no_route(remote, &e))?;
        if self.profile.tunnel == Tunnel::Full {
            self.installation.block().await?;
        }
        let authorities = anchors.as_ref().map(|a| a.key_hashes()).unwrap_or_default();
        let config = self.configuration(ike, remote, &uplink, own, authorities)?;
        self.daemon.registry().update(self.id, |f| {
            f.local = Some(config.path.local);
            f.remote = Some(remote);
            f.local_id = config.local_id.to_string();
        });
        let (sender, events) = mpsc::unbounded_channel();
        let context = ClientContext {
            profile: Arc::clone(&self.profile),
            files: self.daemon.files().clone(),
            own: own.cloned(),
            anchors,
            installation: Arc::clone(&self.installation),
            events: sender,
        };
        self.installation.open(uplink).await;
        let Some(sa) = ike.initiate(config, Arc::new(context)).await else {
            return Err(internal("the IKE driver is gone"));
        };
        self.live = Some(Live { ike: ike.clone(), sa, events });
        self.until_established(remote).await
    }

    fn configuration(
        &self,
        ike: &IkeDriver,
        remote: SocketAddr,
        uplink: &PathInfo,
        own: Option<&OwnCertificate>,
        authorities: Vec<[u8; 20]>,
    ) -> Result<InitiatorConfig, Failure> {
        let profile = &self.profile;
        let ports = ike.sockets().ports();
        // A port other than 500 speaks UDP encapsulation from the first packet (RFC 7296 §2.23).
        let local_port = if remote.port() == 500 { ports.ike } else { ports.nat };
        let source = profile.local_address.unwrap_or(uplink.source);
        let everything: Vec<TrafficSelector> = [Prefix::ANY_V4, Prefix::ANY_V6].map(Into::into).into();
        let remote_ts = match (profile.tunnel, profile.remote_subnets.is_empty()) {
            (Tunnel::Split, false) => profile.remote_subnets.iter().map(|p| (*p).into()).collect(),
            _ => everything.clone(),
        };
        Ok(InitiatorConfig {
            path: Path { local: SocketAddr::new(source, local_port), remote },
            ike: suites::ike_proposals(&profile.ike),
            esp: suites::esp_proposals(&profile.esp),
            local_id: local_identity(profile, own, source)?,
            remote_id: profile.remote_id.clone(),
            local_auth: own.map_or(LocalAuth::Psk, OwnCertificate::local_auth),
            remote_auth: match profile.remote_auth {
                AuthMethod::Psk => RemoteAuth::Psk,
                AuthMethod::Certificate => RemoteAuth::Certificate { authorities },
            },
            request_v4: profile.addresses.ipv4,
            request_v6: profile.addresses.ipv6,
            mode: ChildMode::Tunnel,
            more_children: Vec::new(),
            local_ts: everything,
            remote_ts,
            force_encapsulation: profile.force_encapsulation,
            nat_port: if remote.port() == 500 { 4500 } else { remote.port() },
            local_nat_port: ports.nat,
            timing: Timing { dead_peer: profile.dpd, ..Timing::default() },
        })
    }

    async fn until_established(&mut self, remote: SocketAddr) -> Result<(), Failure> {
        loop {
            match self.next_event().await {
                Event::Progress(step) => {
                    if let Some(text) = describe(step, remote) {
                        self.progress(step, &text);
                    }
                }
                Event::Established(facts) => {
                    self.established(&facts);
                    return Ok(());
                }
                Event::Closed(result) => {
                    self.live = None;
                    return Err(result.err().unwrap_or_else(|| internal("the IKE_SA was closed")));
                }
                _ => {}
            }
        }
    }

    fn established(&self, facts: &Established) {
        self.daemon.registry().update(self.id, |f| {
            f.local = Some(facts.path.local);
            f.remote = Some(facts.path.remote);
            f.encapsulated = facts.encapsulated;
            f.local_id = facts.local_id.to_string();
            f.remote_id = facts.remote_id.to_string();
            f.ike_suite = facts.ike.to_string();
            f.esp_suite = facts.esp.to_string();
            f.dns.clone_from(&facts.lease.dns);
            f.last_error = None;
        });
        let up = self.daemon.registry().get(self.id).map(|f| (f.interface, f.addresses)).unwrap_or_default();
        let addresses: Vec<String> = up.1.iter().map(|p| p.address.to_string()).collect();
        self.progress(Step::Established, &format!("kernel: tunnel up on {}, {}", up.0, addresses.join(", ")));
        self.state(State::Connected, "established");
    }

    /// Returns when the peer is lost or has closed the connection.
    async fn hold(&mut self) -> Failure {
        loop {
            match self.next_event().await {
                Event::Closed(result) => {
                    self.live = None;
                    return result.err().unwrap_or_else(|| internal("the IKE_SA was closed"));
                }
                Event::ChildClosed { .. } => {
                    return Failure::new(
                        FailureCode::PeerClosed,
                        Step::Established,
                        "the server closed the CHILD_SA.",
                    );
                }
                _ => {}
            }
        }
    }

    async fn next_event(&mut self) -> Event {
        match &mut self.live {
            Some(live) => match live.events.recv().await {
                Some((_, event)) => event,
                None => Event::Closed(Err(internal("the IKE driver is gone"))),
            },
            None => Event::Closed(Err(internal("there is no IKE_SA"))),
        }
    }

    /// Tells the peer, then undoes everything on this host. The block goes last.
    async fn take_down(&mut self) -> Result<(), Failure> {
        // No installation may begin any more; one that has begun is waited for.
        self.installation.close().await;
        if let Some(live) = self.live.take() {
            let Live { ike, sa, mut events } = live;
            ike.close(sa);
            let closed = async {
                while let Some((_, event)) = events.recv().await {
                    if matches!(event, Event::Closed(_)) {
                        return;
                    }
                }
            };
            if tokio::time::timeout(CLOSE, closed).await.is_err() {
                tracing::info!(connection = self.id.0, "the peer did not answer our DELETE");
            }
        }
        self.installation.undo().await
    }

    async fn unless_stopped<T>(&mut self, work: impl AsyncFnOnce(&mut Self) -> T) -> Option<T> {
        let mut stopped = self.stopped.clone();
        tokio::select! {
            biased;
            _ = stopped.wait_for(|stop| *stop) => None,
            value = work(self) => Some(value),
        }
    }

    fn progress(&self, step: Step, text: &str) {
        self.daemon.registry().progress(self.id, step.as_str(), text);
    }

    fn state(&self, state: State, reason: &str) {
        self.daemon.registry().set_state(self.id, state, reason, None);
    }
}

fn local_identity(
    profile: &Profile,
    own: Option<&OwnCertificate>,
    source: std::net::IpAddr,
) -> Result<Identity, Failure> {
    match (&profile.local_id, own) {
        (Some(id), _) => Ok(id.clone()),
        (None, Some(own)) => own.identity(),
        (None, None) => Ok(Identity::Address(source)),
    }
}

fn describe(step: Step, remote: SocketAddr) -> Option<String> {
    match step {
        Step::IkeInit => Some(format!("IKEv2: contacting {remote}")),
        Step::Authenticate => Some("IKEv2: authenticating".to_owned()),
        Step::Child => Some("IKEv2: authenticated, installing the tunnel".to_owned()),
        _ => None,
    }
}

fn no_route(remote: SocketAddr, error: &impl std::fmt::Display) -> Failure {
    let text = format!("there is no route from this host to {}: {error}", remote.ip());
    Failure::new(FailureCode::ServerUnreachable, Step::Resolve, text)
        .hint(format!("check that this host is online:  ip route get {}", remote.ip()))
}

fn internal(text: &str) -> Failure {
    Failure::new(FailureCode::Internal, Step::Established, text)
}
