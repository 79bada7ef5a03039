//! The life of a dialled connection whose link is PPP's: one task from `up` to the last undo. What carries it is asked where
//! that makes a difference: [`Carriage`].

mod adopted;
mod demand;
mod l2tp;
mod proof;
mod way;
mod world;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use adit_core::{Failure, FailureCode, Step};
use adit_ppp::{Addresses, EapConfig, LinkConfig, Mppe, NameServers, Timing};
use adit_profile::{Dns, Ipsec, Profile, ServerName, Start as StartAt, TunnelKind};
use adit_sstp::proxy::Login;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::handing::Dialled;
use super::install::Installation;
use super::{Carriage, Happened, Session, Unit};
use crate::client::resolve::{gateways, resolve};
use crate::client::{
    After, Carried, ClientHandle, Dial, Ended, Found, Ground, Idle, LogIn, MOST_ADDRESSES, PAUSES, Part,
    Passwords, inner, may_be_handed_on, method, new_passwords, no_route, unless,
};
use crate::daemon::Daemon;
use crate::eap_tls::EapTls;
use crate::handover::{FoundLink, is_there};
use crate::host::PathInfo;
use crate::l2tp::Protection;
use crate::registry::{ConnectionId, State};
use crate::suites::Outside;
use crate::{pptp, sstp, suites};
use proof::Proof;
use way::proxy_of;
use world::ClientWorld;

/// Where the unit is, while there is one: for its counters.
pub(crate) type SharedUnit = Arc<Mutex<Weak<Unit>>>;

/// Starts the task.
pub(crate) fn start(mut dial: Dial) -> ClientHandle {
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
        Some((Found::Link(found), numbers)) => attempt.again(*found, numbers),
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
    /// Its leave to log in, where it is one of several ways.
    login: Option<LogIn>,
    /// Where both ends are, who we are, and at which gateway, of what was dialled last.
    ends: Option<(SocketAddr, SocketAddr, String, String)>,
    /// Whether its own packets keep to the link that they leave by.
    keeps_to_link: Arc<AtomicBool>,
    /// What a person has said whom the proxy is to be told.
    at_proxy: Option<Login>,
    /// What a process before has left of it.
    left: Option<FoundLink>,
}

impl Attempt {
    /// One that has not begun.
    pub(crate) fn new(part: Part) -> Self {
        let Part { id, profile, daemon, persistent, stopped, passwords, asked, way } = part;
        let known = way.as_ref().map(|way| (way.gateway.clone(), vec![way.remote]));
        let (login, ground) = way.map(|way| (way.login, Ground::lent(way.interface))).unzip();
        Self {
            id,
            installation: Arc::new(Installation::new(id, &profile, &daemon, ground.unwrap_or_default())),
            profile,
            daemon,
            passwords,
            stopped,
            known: known.into_iter().collect(),
            met: sstp::Met::default(),
            session: None,
            protection: None,
            unit: SharedUnit::default(),
            asked,
            persistent,
            login,
            ends: None,
            keeps_to_link: Arc::default(),
            at_proxy: None,
            left: None,
        }
    }

    /// What will carry it.
    pub(crate) fn carried(&self) -> Carried {
        Carried::Ppp(Arc::clone(&self.unit), Arc::clone(self.installation.handing()))
    }

    /// What is to be known of a weak type each time.
    pub(crate) fn warn(&self) {
        match self.profile.kind {
            TunnelKind::Pptp => self.progress(Step::Call, pptp::WEAK),
            TunnelKind::L2tp => self.warn_if_in_clear(),
            TunnelKind::Ikev2 | TunnelKind::Sstp => {}
        }
    }

    async fn run(mut self) -> Result<(), Failure> {
        self.warn();
        let ended = match self.profile.start {
            StartAt::OnDemand => self.wait_and_hold().await,
            StartAt::Manual | StartAt::Boot => self.up_and_hold().await,
        };
        ended.begins(&self.daemon, self.id);
        self.passwords.asker.cancel();
        let result = self.take_down().await;
        ended.over(&self.daemon, self.id);
        result
    }

    /// Tells the peer, then undoes everything on this host. The block goes last.
    pub(crate) async fn take_down(&mut self) -> Result<(), Failure> {
        self.end_session().await;
        let result = self.installation.undo().await;
        if self.keeps_to_link.swap(false, Ordering::Relaxed) {
            self.daemon.uplinks().leave().await;
        }
        result
    }

    /// From when it is up until it is not.
    pub(crate) async fn stand(&mut self) -> After {
        match unless(self.stopped.clone(), self.hold()).await {
            None => After::Stopped,
            Some(failure) if failure.code == FailureCode::Idle => After::Idle,
            Some(failure) => After::Again(failure, false),
        }
    }

    /// Returns when the connection is to go away for good. Once it was up it comes back by itself, and a full tunnel's
    /// block stands in between: only `down` ends it.
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
                    (was_up, pause) = (true, PAUSES.0);
                    match self.stand().await {
                        After::Stopped => return Ended::Stopped,
                        After::Idle => return Ended::Idle,
                        After::Ended(failure) | After::Again(failure, _) => failure,
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

    /// Dials, and dials anew as long as a person may type what a server takes. `None`: somebody takes it down.
    async fn connect_asking(&mut self) -> Option<Result<(), Failure>> {
        loop {
            let failure = match unless(self.stopped.clone(), self.connect()).await {
                Some(Err(failure)) if self.passwords.asks_again(&failure) => failure,
                other => return other,
            };
            self.progress(failure.step, &format!("{failure} Asking again."));
        }
    }

    async fn lower(&mut self) {
        self.end_session().await;
        for error in self.installation.lower().await {
            tracing::warn!(connection = self.id.0, %error, "not undone");
        }
    }

    pub(crate) async fn connect(&mut self) -> Result<(), Failure> {
        // A kernel that could not carry the tunnel ends the attempt before its first packet.
        self.carriage().is_in_kernel().await?;
        if self.login.is_none() {
            self.daemon.raise_required(self.id, &self.profile).await?;
        }
        let proof = Proof::read(self.daemon.files(), &self.profile, &self.passwords).await?;
        if proof.by_password && self.login.is_none() {
            self.passwords.ready().await?;
        }
        self.look_up().await?;
        let mut last = None;
        for (gateway, addresses) in self.daemon.in_order(self.profile.kind, &self.known) {
            for remote in addresses {
                match self.dial(&proof, &gateway, remote).await {
                    Ok(()) => {
                        self.daemon.was_there(self.profile.kind, &gateway, true);
                        return Ok(());
                    }
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
            // One of several ways may only have been too late.
            if self.login.is_none() {
                self.daemon.was_there(self.profile.kind, &gateway, false);
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
        if self.login.is_some() || self.profile.blocks() && known {
            return Ok(());
        }
        let name = self.carriage().name();
        self.progress(Step::Resolve, &format!("{name}: resolving {}", self.profile.server()));
        match servers(&self.profile, &self.daemon).await {
            Ok(found) => self.known = found,
            Err(failure) if !known => return Err(failure),
            Err(_) => {}
        }
        Ok(())
    }

    async fn dial(&mut self, proof: &Proof, gateway: &ServerName, remote: SocketAddr) -> Result<(), Failure> {
        let tls = proof.tls(&self.profile, gateway)?;
        let uplink = self.clear_the_way(remote.ip()).await?;
        let carriage = self.carriage();
        self.login.iter().for_each(LogIn::called);
        self.progress(Step::Call, &format!("{}: calling {}", carriage.name(), remote.ip()));
        let proxy = proxy_of(&self.profile, self.daemon.files(), gateway)?;
        let behind_proxy = proxy.is_some();
        let (tcp, local) = match carriage {
            Carriage::L2tp => (None, SocketAddr::new(self.profile.local_address.unwrap_or(uplink.source), 0)),
            _ => self.way(proxy, gateway, remote, &uplink).await.map(|(tcp, local)| (Some(tcp), local))?,
        };
        if let (Carriage::Pptp, Some(login)) = (carriage, &self.login) {
            login.answered();
        }
        self.ends = Some((local, remote, proof.name.clone(), gateway.host.to_string()));
        self.show_ends();
        let outside = match carriage {
            Carriage::L2tp => {
                Some(self.protect((proof, gateway), (local.ip(), remote.ip()), uplink.mtu).await?)
            }
            _ => None,
        };
        let mtu = match &outside {
            Some(outside) => outside.mtu,
            None => carriage.mtu(uplink.mtu, remote.ip(), self.profile.mtu),
        };
        let mut world = self.world(tls);
        // With IPsec it has begun already.
        if self.login.is_none() && matches!(carriage, Carriage::Pptp | Carriage::L2tp) {
            self.installation.make_ahead().await?;
        }
        let link = self.link(&proof.name, mtu).await;
        let session: Box<dyn Session> = match (carriage, tcp) {
            (Carriage::L2tp, _) | (_, None) => {
                let tunnel = outside.ok_or_else(closed)?;
                world.outside = tunnel.shown.clone();
                let (session, local) = self.call(tunnel, (local, remote), link, Arc::new(world)).await?;
                self.ends.iter_mut().for_each(|ends| ends.0 = local);
                self.show_ends();
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
        self.may_hand_on();
        match self.session.insert(session).next().await {
            Happened::Established => {
                self.established().await;
                Ok(())
            }
            Happened::Closed(why) => Err(why.err().unwrap_or_else(closed)),
            Happened::Nothing => Err(closed()),
        }
    }

    async fn link(&self, name: &str, mtu: u16) -> LinkConfig {
        let mut config = link_config(&self.profile, name, mtu, self.has_ipv6().await);
        if let Addresses::FromPeer { wanted, .. } = &mut config.addresses {
            *wanted = self.installation.former().await;
        }
        config
    }

    /// The next process may go on with what goes between its ends, if it is of a file that is the same then.
    fn may_hand_on(&self) {
        if self.login.is_some() || !is_there() || !may_be_handed_on(&self.profile) {
            return;
        }
        let print = self.daemon.files().print_of_profile(&self.profile.name.to_string());
        if let (Some(print), Some((local, remote, name, gateway))) = (print, self.ends.clone()) {
            let (known, ends) = (self.known.clone(), (local, remote));
            self.installation.handing().begin(Dialled { print, gateway, known, ends, name });
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
            login: self.login.clone(),
        }
    }

    fn show_ends(&self) {
        let Some((local, remote, name, gateway)) = &self.ends else { return };
        self.daemon.registry().update(self.id, |f| {
            f.local = Some(*local);
            f.remote = Some(*remote);
            f.local_id.clone_from(name);
            f.gateway.clone_from(gateway);
        });
    }

    /// The tunnel's own packets leave by the way that there is; of a full tunnel nothing else does any more.
    async fn clear_the_way(&mut self, remote: IpAddr) -> Result<PathInfo, Failure> {
        if self.profile.blocks() {
            self.keep_to_link().await?;
        }
        let host = self.daemon.host();
        let uplink = host.path_to(remote).await.map_err(|e| no_route(remote, &e))?;
        if self.profile.blocks() || self.profile.local_network {
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

    /// Whether this host has IPv6, and has not turned it off.
    async fn has_ipv6(&self) -> bool {
        let off = self.daemon.host().setting("net/ipv6/conf/default/disable_ipv6").await;
        matches!(off, Ok(Some(off)) if off == "0")
    }

    async fn established(&self) {
        let unit = self.session.as_ref().and_then(|session| session.unit());
        *lock(&self.unit) = unit.map_or_else(Weak::new, Arc::downgrade);
        self.passwords.accepted();
        let up = self.daemon.registry().get(self.id).map(|f| (f.interface, f.addresses)).unwrap_or_default();
        let addresses: Vec<String> = up.1.iter().map(|p| p.address.to_string()).collect();
        // Others of several ways have shown theirs meanwhile.
        self.show_ends();
        self.daemon.names().settle(self.id, &self.profile).await;
        self.progress(Step::Established, &format!("kernel: tunnel up on {}, {}", up.0, addresses.join(", ")));
        self.daemon.registry().update(self.id, |f| f.last_error = None);
        self.state(State::Connected, "established");
        // Whoever waits for it is told before anything is put together for the next process.
        self.daemon.registry().heard().await;
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
        self.installation.handing().no_more();
        let session = self.session.take();
        self.installation.passes_no_more(session.as_ref().and_then(|session| session.unit())).await;
        if let Some(session) = session {
            session.end().await;
        }
        self.installation.handing().end().await;
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
    let (ppp, dns) = (profile.ppp.clone().unwrap_or_default(), profile.dns == Dns::Auto);
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
            // ESP does, and its packets may be read in another order than they were sent: each that comes late would cost MPPE
            // all those behind it, until both ends have spoken of that.
            TunnelKind::L2tp
                if !ppp.mppe.required && ppp.l2tp.as_ref().is_some_and(|l2tp| l2tp.ipsec != Ipsec::None) =>
            {
                Mppe::OFF
            }
            TunnelKind::Ikev2 | TunnelKind::Pptp | TunnelKind::L2tp => suites::mppe(&ppp.mppe),
        },
        ipv4: profile.addresses.ipv4,
        ipv6: profile.addresses.ipv6 && ipv6 && mtu >= LEAST_IPV6,
        // Only pppd's scripts have a use for those of WINS.
        addresses: Addresses::FromPeer {
            wanted: None,
            servers: NameServers { dns, wins: dns && ppp.scripts },
        },
        timing: Timing::default(),
    }
}

/// Where the profile's servers are, as its type of tunnel reaches them; of those behind a proxy, where that is.
///
/// # Errors
/// No name has an address, or this host's environment names what is no proxy.
pub(crate) async fn servers(
    profile: &Profile,
    daemon: &Daemon,
) -> Result<Vec<(ServerName, Vec<SocketAddr>)>, Failure> {
    let mut found = Vec::new();
    let (gateways, mut last) = gateways(daemon, profile).await;
    for gateway in &gateways {
        // Where there is a proxy, it looks the server up.
        let there =
            proxy_of(profile, daemon.files(), gateway)?.map_or_else(|| gateway.clone(), |proxy| proxy.server);
        match resolve(daemon, &there, profile.local_address).await {
            Ok(addresses) => {
                let mut found_there = Carriage::of(profile).usable(&there, addresses);
                found_there.truncate(MOST_ADDRESSES);
                found.push((gateway.clone(), found_there));
            }
            Err(failure) => last = Some(failure),
        }
    }
    match last {
        Some(failure) if found.is_empty() => Err(failure),
        _ => Ok(found),
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

#[cfg(test)]
mod tests {
    use adit_ppp::MppeWish;
    use adit_profile::{Source, parse_profile};

    use super::*;

    #[test]
    fn inside_of_ipsec_mppe_is_spoken_only_where_it_is_required() {
        let wish = |lines: &str| {
            let text = format!("server = \"vpn.example.com\"\ntunnel = \"l2tp\"\nuser = \"ann\"\n{lines}\n");
            let source = Source { file: "t", text: &text, access: None };
            let profile = parse_profile(&"t".parse().unwrap(), &source, &|_, _| Ok(Vec::new())).unwrap();
            link_config(&profile, "ann", 1400, false).mppe.wish
        };
        assert_eq!(wish("psk-file = \"a.psk\""), MppeWish::Never);
        assert_eq!(wish("psk-file = \"a.psk\"\nrequire-mppe = true"), MppeWish::Require);
        assert_eq!(wish("ipsec = \"none\""), MppeWish::Take);
    }
}
