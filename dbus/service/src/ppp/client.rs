//! The life of a dialled connection whose link is PPP's: one task from `up` to the last undo. What carries it is asked where
//! that makes a difference: [`Carriage`].

mod demand;
mod l2tp;
mod proof;
mod way;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use adit_auth::eap::PeerAsk;
use adit_core::{Failure, FailureCode, Step};
use adit_ppp::{
    Addresses, Answer, Ask, Authenticated, EapConfig, Established, Event, LinkConfig, Mppe, Network,
    NetworkPlan, Timing,
};
use adit_profile::{Profile, ServerName, Start as StartAt, Tunnel as Traffic, TunnelKind};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::install::Installation;
use super::{Carriage, Happened, Later, Session, Unit, UnitPlan, World};
use crate::blocking::blocking;
use crate::client::{
    ClientHandle, Dial, Idle, MOST_ADDRESSES, PAUSES, Passwords, inner, method, new_passwords, no_route,
    resolve, unless,
};
use crate::daemon::Daemon;
use crate::eap_tls::{EapTls, failed};
use crate::host::{LINK_GROUP, PathInfo};
use crate::l2tp::Protection;
use crate::registry::{ConnectionId, State};
use crate::suites::Outside;
use crate::{pptp, sstp, suites};
use proof::Proof;

/// Where the unit is, while there is one: for its counters.
pub(crate) type SharedUnit = Arc<Mutex<Weak<Unit>>>;

/// Starts the task.
pub(crate) fn start(dial: Dial) -> ClientHandle {
    let (stop, stopped) = watch::channel(false);
    let (done, outcome) = watch::channel(None);
    let profile = Arc::new(dial.profile);
    let passwords = new_passwords(dial.id, &profile, &dial.daemon);
    let (unit, asked) = (SharedUnit::default(), Arc::new(Notify::new()));
    let attempt = Attempt {
        id: dial.id,
        installation: Arc::new(Installation::new(dial.id, &profile, &dial.daemon)),
        profile,
        daemon: dial.daemon,
        passwords: Arc::clone(&passwords),
        stopped,
        known: Vec::new(),
        met: sstp::Met::default(),
        session: None,
        protection: None,
        unit: Arc::clone(&unit),
        asked: Arc::clone(&asked),
        persistent: dial.persistent,
    };
    tokio::spawn(async move {
        let result = attempt.run().await;
        done.send_replace(Some(result));
    });
    ClientHandle::of_ppp(stop, outcome, unit, passwords, asked)
}

struct Attempt {
    id: ConnectionId,
    profile: Arc<Profile>,
    daemon: Arc<Daemon>,
    installation: Arc<Installation>,
    passwords: Arc<Passwords>,
    stopped: watch::Receiver<bool>,
    /// Where the servers were when their names were looked up last.
    known: Vec<(ServerName, Vec<SocketAddr>)>,
    /// SSTP's servers.
    met: sstp::Met,
    session: Option<Box<dyn Session>>,
    /// IPsec around a tunnel that does not stand yet.
    protection: Option<Protection>,
    unit: SharedUnit,
    /// Somebody wants what waits for a packet.
    asked: Arc<Notify>,
    persistent: bool,
}

enum Ended {
    Stopped,
    Idle,
    Lost(Failure),
}

impl Attempt {
    async fn run(mut self) -> Result<(), Failure> {
        match self.profile.kind {
            TunnelKind::Pptp => self.progress(Step::Call, pptp::WEAK),
            TunnelKind::L2tp => self.warn_if_in_clear(),
            TunnelKind::Ikev2 | TunnelKind::Sstp => {}
        }
        let ended = match self.profile.start {
            StartAt::OnDemand => self.wait_and_hold().await,
            StartAt::Manual | StartAt::Boot => self.up_and_hold().await,
        };
        let reason = if matches!(ended, Ended::Idle) { "idle" } else { "asked to" };
        if !matches!(ended, Ended::Lost(_)) {
            self.state(State::Disconnecting, reason);
        }
        self.passwords.asker.cancel();
        self.end_session().await;
        let result = self.installation.undo().await;
        match ended {
            Ended::Stopped => {
                self.state(State::Disconnected, reason);
                self.daemon.registry().remove(self.id);
            }
            Ended::Idle => {
                self.state(State::Disconnected, reason);
                self.daemon.registry().remove(self.id);
                self.daemon.forget_client(self.id);
            }
            Ended::Lost(failure) => {
                let code = failure.code.as_str();
                self.daemon.registry().set_state(self.id, State::Failed, code, Some(failure));
                self.daemon.forget_client(self.id);
            }
        }
        result
    }

    /// Returns when the connection is to go away for good. Once it was up it comes back by itself, and a full tunnel's
    /// block stands in between: only `down` ends it.
    async fn up_and_hold(&mut self) -> Ended {
        let mut pause = PAUSES.0;
        let mut was_up = self.persistent;
        loop {
            let failure = match unless(self.stopped.clone(), self.connect()).await {
                None => return Ended::Stopped,
                Some(Err(failure)) if !was_up => return Ended::Lost(failure),
                Some(Err(failure)) => failure,
                Some(Ok(())) => {
                    (was_up, pause) = (true, PAUSES.0);
                    match unless(self.stopped.clone(), self.hold()).await {
                        None => return Ended::Stopped,
                        Some(failure) if failure.code == FailureCode::Idle => return Ended::Idle,
                        Some(failure) => failure,
                    }
                }
            };
            self.lower().await;
            let text = format!("lost: {failure} Trying again in {} s.", pause.as_secs());
            let code = failure.code.as_str();
            self.daemon.registry().set_state(self.id, State::Connecting, code, Some(failure));
            self.progress(Step::Established, &text);
            if unless(self.stopped.clone(), tokio::time::sleep(pause)).await.is_none() {
                return Ended::Stopped;
            }
            pause = (pause * 2).min(PAUSES.1);
        }
    }

    async fn lower(&mut self) {
        self.end_session().await;
        for error in self.installation.lower().await {
            tracing::warn!(connection = self.id.0, %error, "not undone");
        }
    }

    async fn connect(&mut self) -> Result<(), Failure> {
        self.check_kernel().await?;
        let proof = Proof::read(self.daemon.files(), &self.profile, &self.passwords).await?;
        if proof.by_password {
            self.passwords.ready().await?;
        }
        self.look_up().await?;
        let mut last = None;
        for (gateway, addresses) in self.known.clone() {
            for remote in addresses {
                match self.dial(&proof, &gateway, remote).await {
                    Ok(()) => return Ok(()),
                    Err(failure) => {
                        self.end_session().await;
                        self.installation.lower().await;
                        match failure.code {
                            FailureCode::ServerUnreachable | FailureCode::PeerBusy => last = Some(failure),
                            code => {
                                self.passwords.token_has_failed(code);
                                return Err(failure);
                            }
                        }
                    }
                }
            }
        }
        Err(last.unwrap_or_else(|| {
            let text = format!("the server has no address that {} can use", self.carriage().name());
            Failure::new(FailureCode::NameUnresolved, Step::Resolve, text)
        }))
    }

    /// All names before the first is dialled: a full tunnel's block, once it stands, lets no DNS query out.
    async fn look_up(&mut self) -> Result<(), Failure> {
        let known = self.known.iter().any(|(_, addresses)| !addresses.is_empty());
        if self.profile.tunnel == Traffic::Full && known {
            return Ok(());
        }
        let name = self.carriage().name();
        self.progress(Step::Resolve, &format!("{name}: resolving {}", self.profile.server()));
        let (mut found, mut last) = (Vec::new(), None);
        for gateway in &self.profile.servers {
            // Where there is a proxy, it looks the server up.
            let there = self.proxy_of(gateway)?.map_or_else(|| gateway.clone(), |proxy| proxy.server);
            match resolve(&there, self.profile.local_address).await {
                Ok(addresses) => {
                    let mut found_there = self.carriage().usable(&there, addresses);
                    found_there.truncate(MOST_ADDRESSES);
                    found.push((gateway.clone(), found_there));
                }
                Err(failure) => last = Some(failure),
            }
        }
        match last {
            Some(failure) if found.is_empty() && !known => Err(failure),
            Some(_) if found.is_empty() => Ok(()),
            _ => {
                self.known = found;
                Ok(())
            }
        }
    }

    async fn dial(&mut self, proof: &Proof, gateway: &ServerName, remote: SocketAddr) -> Result<(), Failure> {
        let tls = proof.tls(&self.profile, gateway)?;
        let uplink = self.clear_the_way(remote.ip()).await?;
        let carriage = self.carriage();
        self.progress(Step::Call, &format!("{}: calling {}", carriage.name(), remote.ip()));
        let proxy = self.proxy_of(gateway)?;
        let behind_proxy = proxy.is_some();
        let (tcp, local) = match carriage {
            Carriage::L2tp => (None, SocketAddr::new(self.profile.local_address.unwrap_or(uplink.source), 0)),
            _ => self.way(proxy, gateway, remote, &uplink).await.map(|(tcp, local)| (Some(tcp), local))?,
        };
        self.daemon.registry().update(self.id, |f| {
            f.local = Some(local);
            f.remote = Some(remote);
            f.local_id.clone_from(&proof.name);
            f.gateway = gateway.host.to_string();
        });
        let outside = match carriage {
            Carriage::L2tp => Some(self.protect(local.ip(), remote.ip(), uplink.mtu).await?),
            _ => None,
        };
        let mtu = match &outside {
            Some(outside) => outside.mtu,
            None => carriage.mtu(uplink.mtu, remote.ip(), self.profile.mtu),
        };
        let ipv6 = self.has_ipv6().await;
        let mut world = self.world(tls);
        let link = LinkConfig {
            addresses: Addresses::FromPeer { wanted: self.installation.former().await },
            ..link_config(&self.profile, &proof.name, mtu, ipv6)
        };
        let session: Box<dyn Session> = match (carriage, tcp) {
            (Carriage::L2tp, _) | (_, None) => {
                let tunnel = outside.ok_or_else(closed)?;
                world.outside = tunnel.shown.clone();
                let (session, local) = self.call(tunnel, (local, remote), link, Arc::new(world))?;
                self.daemon.registry().update(self.id, |f| f.local = Some(local));
                session
            }
            (Carriage::Pptp, Some(tcp)) => {
                Box::new(pptp::dial(tcp, (local, remote), mtu, link, Arc::new(world))?)
            }
            (Carriage::Sstp(_), Some(tcp)) => {
                let outside = self.meet(tcp, gateway, proof.anchors()?, behind_proxy).await?;
                world.outside = Outside::Tls(carriage.shown(&outside.cipher));
                Box::new(sstp::dial(outside, gateway, mtu, link, Arc::new(world)))
            }
        };
        match self.session.insert(session).next().await {
            Happened::Established => {
                self.established().await;
                Ok(())
            }
            Happened::Closed(why) => Err(why.err().unwrap_or_else(closed)),
            Happened::Nothing => Err(closed()),
        }
    }

    fn world(&self, tls: Option<EapTls>) -> ClientWorld {
        ClientWorld {
            id: self.id,
            profile: Arc::clone(&self.profile),
            daemon: Arc::clone(&self.daemon),
            installation: Arc::clone(&self.installation),
            passwords: Arc::clone(&self.passwords),
            tls: tokio::sync::Mutex::new(tls),
            outside: Outside::default(),
        }
    }

    /// The tunnel's own packets leave by the way that there is; of a full tunnel nothing else does any more.
    async fn clear_the_way(&self, remote: IpAddr) -> Result<PathInfo, Failure> {
        let host = self.daemon.host();
        let uplink = host.path_to(remote).await.map_err(|e| no_route(remote, &e))?;
        if self.profile.tunnel == Traffic::Full {
            let servers: Vec<IpAddr> =
                self.known.iter().flat_map(|(_, all)| all.iter().map(SocketAddr::ip)).collect();
            self.installation.block(&servers).await?;
        }
        self.installation.open(remote, &uplink).await?;
        Ok(uplink)
    }

    fn carriage(&self) -> Carriage {
        Carriage::of(&self.profile)
    }

    /// A kernel that could not carry the tunnel ends the attempt before its first packet.
    async fn check_kernel(&self) -> Result<(), Failure> {
        let carriage = self.carriage();
        blocking(Step::Kernel, "asking the kernel", move || carriage.check_kernel()).await?
    }

    /// Whether this host has IPv6, and has not turned it off.
    async fn has_ipv6(&self) -> bool {
        let off = self.daemon.host().setting("net/ipv6/conf/default/disable_ipv6").await;
        matches!(off, Ok(Some(off)) if off == "0")
    }

    async fn established(&self) {
        let unit = self.session.as_ref().and_then(|session| session.unit());
        *lock(&self.unit) = unit.map_or_else(Weak::new, Arc::downgrade);
        let up = self.daemon.registry().get(self.id).map(|f| (f.interface, f.addresses)).unwrap_or_default();
        let addresses: Vec<String> = up.1.iter().map(|p| p.address.to_string()).collect();
        self.daemon.names().settle(self.id, &self.profile).await;
        self.progress(Step::Established, &format!("kernel: tunnel up on {}, {}", up.0, addresses.join(", ")));
        self.daemon.registry().update(self.id, |f| f.last_error = None);
        self.state(State::Connected, "established");
    }

    /// Returns when the peer is lost or has closed the connection, or when nothing goes through it any more.
    async fn hold(&mut self) -> Failure {
        let Some(session) = &mut self.session else { return closed() };
        let mut idle = None;
        if let Some(limit) = self.profile.idle {
            idle = Some(Idle::new(limit, Instant::now(), packets(session.unit()).await));
        }
        loop {
            let next = idle.as_ref().map(Idle::next);
            let look = async {
                match next {
                    Some(next) => tokio::time::sleep_until(next).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                happened = session.next() => {
                    if let Happened::Closed(why) = happened {
                        return why.err().unwrap_or_else(closed);
                    }
                }
                () = look => {
                    let packets = packets(session.unit()).await;
                    if let Some(failure) = idle.as_mut().and_then(|idle| idle.look(Instant::now(), packets)) {
                        return failure;
                    }
                }
            }
        }
    }

    async fn end_session(&mut self) {
        *lock(&self.unit) = Weak::new();
        if let Some(session) = self.session.take() {
            self.installation.passes_no_more(session.unit()).await;
            session.end().await;
        }
        if let Some(protection) = self.protection.take() {
            protection.end().await;
        }
    }

    fn progress(&self, step: Step, text: &str) {
        self.daemon.registry().progress(self.id, step.as_str(), text);
    }

    fn state(&self, state: State, reason: &str) {
        self.daemon.registry().set_state(self.id, state, reason, None);
    }
}

/// IPv6 needs 1280 octets (RFC 8200 §5), beside what MPPE takes.
const LEAST_IPV6: u16 = 1280 + 4;

fn link_config(profile: &Profile, name: &str, mtu: u16, ipv6: bool) -> LinkConfig {
    let ppp = profile.ppp.clone().unwrap_or_default();
    LinkConfig {
        mru: mtu,
        compress_header: true,
        prove: ppp.auth.iter().map(|m| suites::ppp_auth(*m)).collect(),
        demand: Vec::new(),
        name: name.to_owned(),
        eap: EapConfig {
            identity: profile.eap_identity.clone(),
            methods: profile.eap.methods.iter().copied().map(method).collect(),
            inner: inner(profile.eap.inner),
            pass_through: false,
        },
        mppe: match profile.kind {
            // TLS encrypts.
            TunnelKind::Sstp => Mppe::OFF,
            TunnelKind::Ikev2 | TunnelKind::Pptp | TunnelKind::L2tp => suites::mppe(&ppp.mppe),
        },
        ipv4: profile.addresses.ipv4,
        ipv6: profile.addresses.ipv6 && ipv6 && mtu >= LEAST_IPV6,
        addresses: Addresses::FromPeer { wanted: None },
        timing: Timing::default(),
    }
}

struct ClientWorld {
    id: ConnectionId,
    profile: Arc<Profile>,
    daemon: Arc<Daemon>,
    installation: Arc<Installation>,
    passwords: Arc<Passwords>,
    tls: tokio::sync::Mutex<Option<EapTls>>,
    /// What the link is inside of.
    outside: Outside,
}

impl ClientWorld {
    fn progress(&self, step: Step, text: &str) {
        self.daemon.registry().progress(self.id, step.as_str(), text);
    }

    fn authenticated(&self, who: &Authenticated) {
        let how = who.ours.map_or_else(|| "no authentication".to_owned(), |m| m.to_string());
        self.progress(Step::Authenticate, &format!("PPP: authenticated by {how}"));
        self.daemon.registry().update(self.id, |f| f.ike_suite = how);
    }

    fn established(&self, up: &Established) {
        let dns = up.v4.as_ref().map(|v4| v4.dns.iter().map(|a| IpAddr::V4(*a)));
        let (esp, weak) = suites::ppp_shown(&self.outside, up.mppe);
        self.daemon.registry().update(self.id, |f| {
            // Others come by router advertisements, and by DHCP.
            let said: Vec<IpAddr> = dns.into_iter().flatten().collect();
            f.dns.retain(|known| !said.contains(known));
            f.dns.splice(..0, said);
            f.esp_suite = esp;
            f.remote_id = self.profile.server();
            f.legacy = weak;
        });
    }
}

impl World for ClientWorld {
    fn ask(self: Arc<Self>, ask: Ask) -> Later<Answer> {
        Box::pin(async move {
            let question = match ask {
                Ask::Password { again, .. } => PeerAsk::Password { again },
                Ask::NewPassword { message } => PeerAsk::NewPassword { message },
                Ask::Tls { method: None, ask } => {
                    return Answer::Tls(match self.tls.lock().await.as_mut() {
                        Some(engine) => engine.answer(ask).await,
                        None => failed(Failure::new(
                            FailureCode::Internal,
                            Step::Authenticate,
                            "there is no TLS engine",
                        )),
                    });
                }
                _ => {
                    let text = "the server is to prove nothing here";
                    return Answer::Secret(Err(Failure::new(
                        FailureCode::Internal,
                        Step::Authenticate,
                        text,
                    )));
                }
            };
            Answer::Secret(self.passwords.answer(question).await)
        })
    }

    fn mtu(&self) -> Option<u16> {
        self.profile.mtu
    }

    fn unit(self: Arc<Self>, _peer: String) -> Later<Result<UnitPlan, Failure>> {
        Box::pin(async move {
            let (name, unit) = self.installation.take_unit().await?;
            let carrier = Carriage::of(&self.profile).carrier();
            Ok(UnitPlan { name, group: LINK_GROUP, carrier, network: NetworkPlan::default(), unit })
        })
    }

    fn install(self: Arc<Self>, unit: Arc<Unit>, network: Network) -> Later<Result<(), Failure>> {
        Box::pin(async move { self.installation.install(&unit, &network).await })
    }

    fn passes(self: Arc<Self>, unit: Arc<Unit>, network: Network) -> Later<()> {
        Box::pin(async move { self.installation.passes(&unit, &network).await })
    }

    fn event(&self, event: &Event) {
        match event {
            Event::Progress(Step::Link) => self.progress(Step::Link, "PPP: negotiating the link"),
            Event::Progress(Step::Authenticate) => self.progress(Step::Authenticate, "PPP: authenticating"),
            Event::Progress(Step::Encryption) => {
                self.progress(Step::Encryption, "PPP: negotiating encryption");
            }
            Event::Authenticated(who) => self.authenticated(who),
            Event::Established(up) | Event::Changed(up) => self.established(up),
            _ => {}
        }
    }
}

/// What has gone through the link's unit, both ways, but for what neighbours tell each other.
async fn packets(unit: Option<&Arc<Unit>>) -> BTreeMap<(), u64> {
    let Some(unit) = unit.cloned() else { return BTreeMap::new() };
    let counted = tokio::task::spawn_blocking(move || unit.packets()).await;
    counted.into_iter().flatten().map(|packets| ((), packets)).collect()
}

fn lock(unit: &SharedUnit) -> std::sync::MutexGuard<'_, Weak<Unit>> {
    unit.lock().unwrap_or_else(PoisonError::into_inner)
}

fn closed() -> Failure {
    Failure::new(FailureCode::PeerClosed, Step::Established, "the server closed the connection")
}
