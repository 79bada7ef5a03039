//! The life of a dialled connection: one task from `up` to the last undo.

mod adopted;
mod demand;
mod end;
mod hold;
mod live;
mod proof;
mod renewal;
mod session;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use adit_core::{Failure, FailureCode, Step};
use adit_ikev2::api::{Established, Event, Lease, Ticket};
use adit_plan::mobility::Uplink;
use adit_profile::{AuthMethod, EapType, Mode, Profile, ServerName, Start};
use adit_xfrm_kernel::{Feature, StateId};
use tokio::sync::{Notify, mpsc, watch};

use super::configuration::{Target, initiator};
use super::context::ClientContext;
use super::eap::Passwords;
use super::handing::may_be_handed_on;
use super::handle::{self, After, Carried, ClientHandle, Dial, Part};
use super::idle::Idle;
use super::install::Installation;
use super::life::{Ended, Ground, MOST_ADDRESSES, PAUSES, unless};
use super::login::LogIn;
use super::new_passwords;
use super::resolve;
use super::roaming::{self, Over, Roaming};
use super::shown::Shown;
use super::words::{describe, hint_at_legacy};
use crate::blocking::blocking;
use crate::credentials::OwnCertificate;
use crate::daemon::{Daemon, Known};
use crate::esp::Numbers;
use crate::handover::{Found, is_there};
use crate::host::PathInfo;
use crate::ike::{IkeDriver, Ports};
use crate::registry::{ConnectionId, State};
use live::{Live, next_event};

/// Starts the task.
pub(super) fn start(mut dial: Dial) -> ClientHandle {
    let (stop, stopped) = watch::channel(false);
    let (done, outcome) = watch::channel(None);
    let profile = Arc::new(dial.profile);
    let passwords = new_passwords(dial.id, &profile, &dial.daemon);
    let asked = Arc::new(Notify::new());
    let attempt = Attempt::new(Part {
        id: dial.id,
        profile,
        daemon: dial.daemon,
        persistent: dial.persistent,
        stopped,
        passwords: Arc::clone(&passwords),
        asked: Arc::clone(&asked),
        way: None,
    });
    let attempt = match dial.found.take() {
        Some((handle::Found::Ike(found), numbers)) => attempt.again(*found, numbers),
        _ => attempt,
    };
    let carried = Arc::new(Mutex::new(Some(attempt.carried())));
    tokio::spawn(async move {
        let result = attempt.run().await;
        done.send_replace(Some(result));
    });
    ClientHandle::new(stop, outcome, carried, passwords, asked)
}

/// What is dialled.
pub(crate) struct Attempt {
    id: ConnectionId,
    profile: Arc<Profile>,
    daemon: Arc<Daemon>,
    installation: Arc<Installation>,
    stopped: watch::Receiver<bool>,
    /// Where each gateway was when its name was looked up last.
    known: Vec<Known>,
    live: Option<Live>,
    /// The IKE_SA that is to take the place of `live`, on its way up.
    renewal: Option<Live>,
    /// When to try that again.
    renew_at: Option<tokio::time::Instant>,
    persistent: bool,
    /// Somebody wants what waits for a packet.
    asked: Arc<Notify>,
    /// While it stands, and is to go down by itself.
    idle: Option<Idle<StateId>>,
    /// The addresses that we had last: they are asked for again.
    former: Lease,
    /// What the session can be resumed with, and at which gateway.
    ticket: Option<(ServerName, Box<Ticket>)>,
    passwords: Arc<Passwords>,
    shown: Shown,
    /// The ways out of this host, while they are followed.
    uplinks: Option<watch::Receiver<Arc<Vec<Uplink>>>>,
    roaming: Option<Roaming>,
    /// Its leave to log in, where it is one of several ways.
    login: Option<LogIn>,
    /// What a process before has left of it.
    left: Option<Found>,
}

impl Attempt {
    /// One that has not begun.
    pub(crate) fn new(part: Part) -> Self {
        let Part { id, profile, daemon, persistent, stopped, passwords, asked, way } = part;
        let known = way.iter().map(|way| (way.gateway.clone(), vec![way.remote])).collect();
        let (login, ground) = way.map(|way| (way.login, Ground::lent(way.interface))).unzip();
        Self {
            id,
            installation: Arc::new(Installation::new(id, &profile, &daemon, ground.unwrap_or_default())),
            shown: Shown::new(id, daemon.registry(), &profile),
            profile,
            daemon,
            stopped,
            known,
            live: None,
            renewal: None,
            renew_at: None,
            persistent,
            former: Lease::default(),
            ticket: None,
            asked,
            idle: None,
            passwords,
            uplinks: None,
            roaming: None,
            login,
            left: None,
        }
    }

    /// One that goes on from what a process before has left.
    fn again(mut self, found: Found, numbers: Numbers) -> Self {
        self.installation = Arc::new(Installation::again(self.id, &self.profile, &self.daemon, numbers));
        self.left = Some(found);
        self
    }

    /// The next process may go on with it, if it is of a file that is the same then.
    fn may_hand_on(&self, gateway: &ServerName) {
        if self.login.is_some() || !is_there() || !may_be_handed_on(&self.profile) {
            return;
        }
        if let Some(print) = self.daemon.files().print_of_profile(&self.profile.name.to_string()) {
            self.installation.handing.begin(print, gateway.to_string(), None);
        }
    }

    /// What will carry it.
    pub(crate) fn carried(&self) -> Carried {
        Carried::Esp(Arc::clone(&self.installation))
    }

    async fn run(mut self) -> Result<(), Failure> {
        let ended = match self.profile.start {
            Start::OnDemand => self.wait_and_hold().await,
            Start::Manual | Start::Boot => self.up_and_hold().await,
        };
        ended.begins(&self.daemon, self.id);
        let result = self.take_down().await;
        ended.over(&self.daemon, self.id);
        result
    }

    /// Returns when the connection is to go away for good. Once it was up it comes back by itself, and a full
    /// tunnel's block stands in between: only `down` ends it.
    async fn up_and_hold(&mut self) -> Ended {
        let mut pause = PAUSES.0;
        let mut was_up = self.persistent || self.left.is_some();
        loop {
            let connected = match self.left.take() {
                // What stands is known before anybody can want it gone.
                Some(found) => Some(self.go_on(found).await),
                None => self.connect_asking().await,
            };
            let failure = match connected {
                None => return Ended::Stopped,
                Some(Err(failure)) if !was_up => return Ended::Lost(failure),
                Some(Err(failure)) => failure,
                Some(Ok(())) => {
                    was_up = true;
                    let since = tokio::time::Instant::now();
                    match self.stand().await {
                        After::Stopped => return Ended::Stopped,
                        After::Ended(failure) => return Ended::Lost(failure),
                        After::Idle => return Ended::Idle,
                        After::Again(failure, true) => {
                            pause = Duration::ZERO;
                            failure
                        }
                        After::Again(failure, false) => {
                            // Two hosts with one identity send each other away: the longer they take turns, the slower.
                            if failure.code != FailureCode::PeerClosed || since.elapsed() > PAUSES.1 {
                                pause = PAUSES.0;
                            }
                            failure
                        }
                    }
                }
            };
            // Where only the CHILD_SA is gone, the IKE_SA goes, too.
            self.keep_ticket_if_lost(&failure);
            self.let_go();
            self.installation.lower().await;
            let text = format!("lost: {failure} Trying again in {} s.", pause.as_secs());
            self.daemon.registry().set_state(
                self.id,
                State::Connecting,
                failure.code.as_str(),
                Some(failure),
            );
            self.progress(Step::Established, &text);
            if unless(self.stopped.clone(), tokio::time::sleep(pause)).await.is_none() {
                return Ended::Stopped;
            }
            pause = (pause * 2).clamp(PAUSES.0, PAUSES.1);
        }
    }

    /// Dials, and dials anew as long as a person may type what a server takes. `None`: somebody takes it down.
    async fn connect_asking(&mut self) -> Option<Result<(), Failure>> {
        loop {
            let failure = match unless(self.stopped.clone(), self.connect()).await {
                Some(Err(failure)) if self.passwords.asks_again(&failure) => failure,
                other => return other,
            };
            // Nothing of it is installed yet but its block, which stays.
            self.let_go();
            self.progress(failure.step, &format!("{failure} Asking again."));
        }
    }

    /// From when it is up until it is not.
    pub(crate) async fn stand(&mut self) -> After {
        match unless(self.stopped.clone(), self.hold()).await {
            None => After::Stopped,
            Some(Over::Ended(failure)) => After::Ended(failure),
            Some(Over::Idle(_)) => After::Idle,
            Some(Over::Reconnect(failure)) => After::Again(failure, false),
            Some(Over::Redial(failure, path)) => {
                if self.ticket.is_some() {
                    self.abandon();
                } else if unless(self.stopped.clone(), self.part(path)).await.is_none() {
                    return After::Stopped;
                }
                After::Again(failure, true)
            }
        }
    }

    /// Dials the gateways in order, each at each of its addresses. Another is tried where one is not there or has no
    /// room; what one refuses, all would.
    pub(crate) async fn connect(&mut self) -> Result<(), Failure> {
        self.check_kernel().await?;
        if self.login.is_none() {
            self.daemon.raise_required(self.id, &self.profile).await?;
        }
        let (own, trusted) = self.credentials().await?;
        let asks = self.login.is_none() && self.profile.auth == AuthMethod::Eap && self.ticket.is_none();
        let eap = &self.profile.eap;
        if asks && !eap.methods.contains(&EapType::Tls) && !eap.asks_as_it_goes() {
            // The server is not kept waiting for a person where that can be helped.
            self.passwords.ready().await?;
        }
        self.look_up().await?;
        let ike = self.daemon.ike(Ports::default(), false).await?;
        if roaming::may_roam(&self.profile) && self.uplinks.is_none() {
            let changes = || self.daemon.changes(crate::uplinks::UPLINKS);
            self.uplinks = Some(self.daemon.uplinks().follow(changes).await?);
        }
        let profile = Arc::clone(&self.profile);
        let mut last = None;
        for (gateway, addresses) in self.daemon.in_order(profile.kind, &self.known) {
            for remote in addresses.into_iter().take(MOST_ADDRESSES) {
                for way in self.ways(remote).await? {
                    match self.dial(&ike, (&gateway, remote), way, own.as_ref(), trusted.clone()).await {
                        Ok(()) => {
                            self.daemon.was_there(profile.kind, &gateway, true);
                            return Ok(());
                        }
                        Err(failure) if elsewhere(failure.code) => last = Some(failure),
                        Err(failure) => {
                            self.passwords.token_has_failed(failure.code);
                            return Err(failure);
                        }
                    }
                }
            }
            // One of several ways may only have been too late.
            if self.login.is_none() {
                self.daemon.was_there(profile.kind, &gateway, false);
            }
        }
        Err(last.unwrap_or_else(|| internal("the server has no address")))
    }

    /// Finds out where the gateways are: all of them before the first is dialled, since a full tunnel's block, once it
    /// stands, lets no DNS query out. Then they are where they were.
    async fn look_up(&mut self) -> Result<(), Failure> {
        let profile = Arc::clone(&self.profile);
        let known = self.known.iter().any(|(_, addresses)| !addresses.is_empty());
        if self.login.is_some() || profile.blocks() && known {
            return Ok(());
        }
        let names: Vec<String> = profile.servers.iter().map(|s| s.host.to_string()).collect();
        self.progress(Step::Resolve, &format!("IKEv2: resolving {}", names.join(", ")));
        let resolve::Found { known: mut found, failed } = resolve::places(&self.daemon, &profile).await;
        if failed.is_some() {
            // DNS often comes back later than the network: where they were, in the order that they had.
            let former = std::mem::take(&mut self.known);
            let mut merged: Vec<Known> = Vec::new();
            for (gateway, addresses) in former {
                let at = found.iter().position(|(other, _)| *other == gateway);
                merged.push(at.map_or((gateway, addresses), |at| found.remove(at)));
            }
            found.splice(..0, merged);
        }
        self.known = found;
        match failed {
            Some(failure) if self.known.is_empty() => Err(failure),
            _ => Ok(()),
        }
    }

    /// A kernel that could not carry the tunnel ends the attempt before its first packet.
    async fn check_kernel(&self) -> Result<(), Failure> {
        let xfrm = self.daemon.xfrm();
        let capabilities = blocking(Step::Kernel, "asking the kernel", move || xfrm.capabilities()).await??;
        // Transport mode has no interface.
        let tunnels = std::iter::once(self.profile.mode).chain(self.profile.children.iter().map(|c| c.mode));
        let link = tunnels.into_iter().any(|mode| mode == Mode::Tunnel).then_some(Feature::XfrmInterface);
        for feature in [Feature::Xfrm, Feature::EspV4].into_iter().chain(link) {
            if !capabilities.has(feature) {
                let text = format!("this host's kernel cannot carry the tunnel: it has no {feature}");
                return Err(Failure::new(FailureCode::KernelUnsupported, Step::Kernel, text)
                    .hint(format!("as root:  {}  ; ctl doctor  shows everything", feature.remedy())));
            }
        }
        Ok(())
    }

    async fn ways(&self, remote: SocketAddr) -> Result<Vec<PathInfo>, Failure> {
        let uplinks = self.uplinks.as_ref().map(|seen| Arc::clone(&seen.borrow()));
        roaming::ways_to(&self.daemon, &self.profile.prefer, uplinks.as_deref(), remote).await
    }

    /// Dials, and waits until it is up.
    async fn dial(
        &mut self,
        ike: &IkeDriver,
        (gateway, remote): (&ServerName, SocketAddr),
        uplink: PathInfo,
        own: Option<&OwnCertificate>,
        anchors: Option<Arc<adit_pki::TrustAnchors>>,
    ) -> Result<(), Failure> {
        let ticket = self.take_ticket(gateway);
        let live = self.initiate(ike, (gateway, remote), uplink, (own, anchors), ticket).await?;
        self.live = Some(live);
        let result = self.until_established(remote).await;
        self.ask_no_more();
        result
    }

    async fn initiate(
        &self,
        ike: &IkeDriver,
        (gateway, remote): (&ServerName, SocketAddr),
        uplink: PathInfo,
        (own, anchors): (Option<&OwnCertificate>, Option<Arc<adit_pki::TrustAnchors>>),
        ticket: Option<Box<Ticket>>,
    ) -> Result<Live, Failure> {
        let uplinks = self.uplinks.as_ref().map(|seen| Arc::clone(&seen.borrow()));
        if self.profile.blocks() || self.profile.local_network {
            self.installation.block().await?;
        }
        let authorities = anchors.as_ref().map(|a| a.key_hashes()).unwrap_or_default();
        let (source, ports, former) = (uplink.source, ike.sockets().ports(), self.former.clone());
        let addresses = uplinks.as_deref().map(|seen| roaming::addresses(seen)).unwrap_or_default();
        let target = Target { gateway, remote, source, ports, own, authorities, former, addresses, ticket };
        let config = initiator(&self.profile, target)?;
        if self.live.is_none() {
            self.daemon.registry().update(self.id, |f| {
                f.local = Some(config.path.local);
                f.remote = Some(remote);
                f.local_id = config.local_id.to_string();
            });
        }
        let eap = self.talk(gateway, own, anchors.as_ref())?.map(Arc::new);
        let (sender, events) = mpsc::unbounded_channel();
        let context = ClientContext {
            profile: Arc::clone(&self.profile),
            files: self.daemon.files().clone(),
            own: own.cloned(),
            anchors,
            installation: Arc::clone(&self.installation),
            eap,
            probe: self.login.clone().filter(LogIn::is_probe),
            stands: None,
            events: sender,
        };
        self.may_hand_on(gateway);
        self.installation.open(uplink).await;
        let Some(sa) = ike.initiate(config, Arc::new(context)).await else {
            return Err(internal("the IKE driver is gone"));
        };
        Ok(Live { ike: ike.clone(), sa, gateway: gateway.clone(), remote, events })
    }

    async fn until_established(&mut self, remote: SocketAddr) -> Result<(), Failure> {
        loop {
            match next_event(self.live.as_mut()).await {
                Event::Progress(step) => {
                    match (step, &self.login) {
                        (Step::IkeInit, Some(login)) => login.called(),
                        // IKE_SA_INIT has been answered.
                        (Step::Authenticate, Some(login)) => login.answered(),
                        _ => {}
                    }
                    if let Some(text) = describe(step, remote) {
                        self.progress(step, &text);
                    }
                }
                Event::Agreed(ike) => self.login.iter().for_each(|login| login.agreed(&ike)),
                Event::Established(facts) => {
                    self.established(&facts).await;
                    return Ok(());
                }
                Event::NotResumed(why) => self.progress(Step::IkeInit, &format!("IKEv2: {why}")),
                Event::Ticket(ticket) => self.got_ticket(ticket),
                Event::Closed(result) => {
                    self.live = None;
                    let failure = result.err().unwrap_or_else(|| internal("the IKE_SA was closed"));
                    return Err(hint_at_legacy(failure, &self.profile));
                }
                _ => {}
            }
        }
    }

    async fn established(&mut self, facts: &Established) {
        let gateway = self.live.as_ref().map(|live| live.gateway.host.to_string()).unwrap_or_default();
        self.passwords.accepted();
        self.shown.established(facts, &gateway);
        self.former.clone_from(&facts.lease);
        let up = self.daemon.registry().get(self.id).map(|f| (f.interface, f.addresses)).unwrap_or_default();
        let text = match up.0.is_empty() {
            true => {
                format!("kernel: transport mode up, {} to {}", facts.path.local.ip(), facts.path.remote.ip())
            }
            false => {
                let addresses = up.1.iter().map(|p| p.address.to_string());
                format!(
                    "kernel: tunnel up on {}",
                    std::iter::once(up.0).chain(addresses).collect::<Vec<_>>().join(", ")
                )
            }
        };
        self.daemon.names().settle(self.id, &self.profile).await;
        self.progress(Step::Established, &text);
        self.state(State::Connected, "established");
        let following = self.uplinks.clone().zip(self.live.as_ref());
        self.roaming = following
            .map(|(uplinks, live)| Roaming::new(&self.profile, facts, uplinks, (live.ike.clone(), live.sa)));
        let link = self.roaming.as_ref().map(|roaming| roaming.link().to_owned()).unwrap_or_default();
        self.shown.goes_over(&link);
    }

    /// A question for a secret does not stand any more, if it is this one's.
    fn ask_no_more(&self) {
        if self.login.as_ref().is_none_or(LogIn::is_given) {
            self.passwords.asker.cancel();
        }
    }

    /// Tells the peer, and does not wait.
    pub(crate) fn let_go(&mut self) {
        self.roaming = None;
        if self.ticket.is_some() {
            self.abandon();
        }
        if let Some(live) = self.live.take() {
            live.ike.close(live.sa);
        }
        self.end_renewal();
    }

    fn progress(&self, step: Step, text: &str) {
        self.daemon.registry().progress(self.id, step.as_str(), text);
    }

    fn state(&self, state: State, reason: &str) {
        self.daemon.registry().set_state(self.id, state, reason, None);
    }
}

/// Whether another gateway, or another address, may do better.
const fn elsewhere(code: FailureCode) -> bool {
    matches!(code, FailureCode::ServerUnreachable | FailureCode::PeerBusy)
}

fn internal(text: &str) -> Failure {
    Failure::new(FailureCode::Internal, Step::Established, text)
}
