//! The IPsec around a tunnel that is dialled: ESP in transport mode for UDP 1701 of the two hosts, whose keys IKEv1 makes
//! (RFC 3193), or IKEv2 where the profile says so.
//!
//! Policies for that UDP stand before anything leaves, and until nothing of the tunnel is left: without SAs its packets
//! go nowhere, and what comes in clear is not taken. They outlive this daemon; the next one removes them.

mod again;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use adit_core::{Failure, FailureCode, Identity, Path, Prefix, Secret, Step, TrafficSelector};
use adit_ikev1::api::{Answer, Ask, Auth, ChildMode, Event, InitiatorConfig, Restored, SaId, Timing};
use adit_ikev2::api as v2;
use adit_isakmp::proposal::{EspProposal, IkeProposal};
use adit_l2tp::PORT;
use adit_profile::{Ipsec, Profile, ServerName, Suite};
use adit_xfrm_kernel::ike_socket::IkeSocket;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tracing::{info, warn};

use crate::daemon::Daemon;
use crate::esp::{Around, Awaited, Limits, Numbers, Sad};
use crate::files::Files;
use crate::handover::is_there;
use crate::host::MARK;
use crate::ike::{IkeDriver, Pending, Ports, V1Context};
use crate::registry::ConnectionId;
use crate::suites;

pub(crate) use again::{forget, protect_again};

use super::agreed::Agreed;
use super::certificates::{self, Certificates};
use super::{Leaves, Reqids, by_ikev2, no_socket};

/// UDP (RFC 768).
pub(super) const UDP: u8 = 17;
/// So long the end of a connection may take, which IKEv1 has no answer to.
const FAREWELL: Duration = Duration::from_secs(3);

/// The traffic of L2TP that leaves from, or comes to, this port.
pub(super) fn selector(v4: bool, ports: std::ops::RangeInclusive<u16>) -> TrafficSelector {
    let any = if v4 { Prefix::ANY_V4 } else { Prefix::ANY_V6 };
    let (first_port, last_port) = (*ports.start(), *ports.end());
    TrafficSelector { protocol: UDP, first_port, last_port, ..any.into() }
}

/// What is offered for phase 1 where nothing is configured: each of IKEv1's proposals is one combination, and no server reads
/// any number of them.
const IKE: &[&str] = &[
    "aes256-sha256-ecp384-ecp256-modp3072-modp2048-modp4096",
    "aes128-sha256-ecp256-modp3072-modp2048",
    "aes256-sha384-ecp384-modp2048",
];
/// What old servers want beside it, Windows' with its defaults among them.
const OLD_IKE: &[&str] = &[
    "aes256-sha256-modp1536-modp1024",
    "aes256-sha1-ecp384-modp2048-modp1536-modp1024",
    "aes128-sha1-ecp256-modp2048-modp1536-modp1024",
    "3des-sha1-modp2048-modp1536-modp1024",
];

fn ike_proposals(suites: &[Suite], legacy: bool) -> Vec<IkeProposal> {
    if !suites.is_empty() {
        return suites::ike_proposals(suites, legacy);
    }
    let old = if legacy { OLD_IKE } else { &[] };
    IKE.iter().chain(old).filter_map(|text| IkeProposal::read(text, legacy).ok()).collect()
}

/// What is offered or accepted for the data. As who dials, without perfect forward secrecy where nothing is configured:
/// many a server of L2TP knows none.
pub(super) fn esp_proposals(suites: &[Suite], legacy: bool, dials: bool) -> Vec<EspProposal> {
    let mut all = suites::esp_proposals(suites, legacy);
    if suites.is_empty() && dials {
        all.retain(|proposal| proposal.ke.is_empty());
    }
    all
}

/// What becomes of it, whichever IKE it is.
pub(super) enum News {
    /// It goes on to this step.
    Progress(Step),
    /// It stands.
    Up(Box<Agreed>),
    /// The peer has it, too.
    Confirmed,
    /// Something has been rekeyed.
    NewKeys,
    /// It could not be.
    RekeyRefused(Failure),
    /// It is gone.
    Over(Result<(), Failure>),
}

impl News {
    fn of(event: Event) -> Option<Self> {
        Some(match event {
            Event::Progress(step) => Self::Progress(step),
            Event::Established(up) => Self::Up(Box::new(Agreed::from(&*up))),
            Event::Confirmed => Self::Confirmed,
            Event::RekeyRefused { why, .. } => Self::RekeyRefused(why),
            Event::Rekeyed { .. } => Self::NewKeys,
            Event::ChildUp(up) if up.replaces.is_some() => Self::NewKeys,
            Event::Closed(why) => Self::Over(why),
            _ => return None,
        })
    }
}

/// What is dialled with.
enum Dial {
    V1(Box<InitiatorConfig>),
    V2(Box<v2::InitiatorConfig>),
}

impl Dial {
    const fn name(&self) -> &'static str {
        match self {
            Self::V1(_) => "IKEv1",
            Self::V2(_) => "IKEv2",
        }
    }
}

/// IPsec around one tunnel of ours, and what it has on this host.
pub(crate) struct Protection {
    daemon: Arc<Daemon>,
    /// Whose tunnel it is.
    id: ConnectionId,
    ike: IkeDriver,
    sad: Sad,
    sa: Option<SaId>,
    trap: Option<u32>,
    /// The ends of the tunnel.
    path: Path,
    events: mpsc::UnboundedReceiver<News>,
    /// Until it is dialled.
    dial: Option<(Dial, Arc<Context>)>,
    numbers: Numbers,
    /// What the next process goes on from.
    leaves: Arc<Leaves>,
    /// IKE's name with its version.
    by: &'static str,
}

impl Protection {
    /// One of which nothing is on this host yet.
    ///
    /// # Errors
    /// A port is taken that is needed.
    pub(crate) async fn new(
        (daemon, id): (&Arc<Daemon>, ConnectionId),
        (profile, gateway): (&Arc<Profile>, &ServerName),
        certificates: Option<Certificates>,
        (source, server): (IpAddr, IpAddr),
    ) -> Result<Self, Failure> {
        let ike = daemon.ike(Ports::default(), false).await?;
        let sad = daemon.sad().clone();
        let (told, events) = mpsc::unbounded_channel();
        let (numbers, of_sas) = (daemon.numbers(), daemon.numbers());
        let leaves = Arc::new(Leaves::protected(Reqids { trap: numbers.reqid, sas: of_sas.reqid }));
        let context = Context {
            profile: Arc::clone(profile),
            files: daemon.files().clone(),
            sad: sad.clone(),
            numbers: of_sas,
            trap: numbers.reqid,
            certificates,
            told,
            leaves: Arc::clone(&leaves),
        };
        // The port that is its own on both sides, as Windows has it, is the one that every server knows.
        let port = free_port(source, server, &sad)?;
        let path = Path { local: SocketAddr::new(source, port), remote: SocketAddr::new(server, PORT) };
        let proven = (context.certificates.as_ref(), gateway);
        let ports = ike.sockets().ports();
        let rule = profile.ppp.as_ref().and_then(|ppp| ppp.l2tp.as_ref());
        let dial = match rule.map(|rule| rule.ipsec) {
            Some(Ipsec::Ikev2) => Dial::V2(Box::new(by_ikev2::config(profile, gateway, path, ports))),
            _ => Dial::V1(Box::new(config(profile, proven, path, ports))),
        };
        let (by, dial) = (dial.name(), Some((dial, Arc::new(context))));
        let daemon = Arc::clone(daemon);
        Ok(Self { daemon, id, ike, sad, sa: None, trap: None, path, events, dial, by, numbers, leaves })
    }

    /// What the next process goes on from.
    pub(super) fn leaves(&self) -> Arc<Leaves> {
        Arc::clone(&self.leaves)
    }

    /// Makes it so; returns the tunnel's socket, to which nothing comes that is not protected.
    ///
    /// # Errors
    /// The kernel refuses a policy, or IKE comes to nothing.
    pub(crate) async fn raise(
        &mut self,
        progress: impl Fn(Step, &str),
    ) -> Result<(IkeSocket, Agreed), Failure> {
        let again = || Failure::new(FailureCode::Internal, Step::IkeInit, "it has been dialled before");
        let (dial, context) = self.dial.take().ok_or_else(again)?;
        let of = guard(self.path, self.numbers.reqid);
        self.trap = Some(of.reqid);
        self.sad.trap(of).await?;
        // Bound after the policies stand: nothing has come to it in clear.
        let socket = IkeSocket::share(self.path.local, MARK).map_err(|e| no_socket(self.path.local, &e))?;
        self.sa = match dial {
            Dial::V1(config) => self.ike.initiate_v1(*config, context).await,
            Dial::V2(config) => self.ike.initiate(*config, context).await,
        };
        self.daemon.protected(self.id, self.sa);
        let up = self.established(progress).await?;
        // Not before: the kernel would look for states already.
        socket.connect(self.path.remote).map_err(|e| no_socket(self.path.remote, &e))?;
        Ok((socket, up))
    }

    async fn established(&mut self, progress: impl Fn(Step, &str)) -> Result<Agreed, Failure> {
        while let Some(news) = self.events.recv().await {
            match news {
                News::Progress(step) => {
                    if let Some(text) = describe(self.by, step, self.path.remote.ip()) {
                        progress(step, &text);
                    }
                }
                News::Up(up) => return Ok(*up),
                News::Over(why) => {
                    self.sa = None;
                    return Err(why.err().unwrap_or_else(|| gone(self.by)));
                }
                News::Confirmed | News::NewKeys | News::RekeyRefused(_) => {}
            }
        }
        Err(gone(self.by))
    }

    /// Waits until the peer says that it has set up what it has agreed to, or has had the time for that.
    ///
    /// # Errors
    /// It is over meanwhile.
    pub(crate) async fn confirmed(&mut self, ready: Instant) -> Result<(), Failure> {
        let told = async {
            loop {
                match self.events.recv().await {
                    Some(News::Confirmed) => return Ok(()),
                    Some(News::Over(why)) => return Err(why),
                    Some(_) => {}
                    None => return Err(Ok(())),
                }
            }
        };
        // A peer that can't say it has had its moment.
        let told = tokio::time::timeout_at(ready, told).await.unwrap_or(Ok(()));
        told.map_err(|why| {
            self.sa = None;
            why.err().unwrap_or_else(|| gone(self.by))
        })
    }

    /// Returns when it is over, and why.
    pub(super) async fn over(&mut self) -> Failure {
        while let Some(news) = self.events.recv().await {
            match news {
                News::Over(why) => {
                    self.sa = None;
                    return why.err().unwrap_or_else(|| gone(self.by));
                }
                News::RekeyRefused(why) => {
                    info!(code = %why.code, "{}: not rekeyed: {why}", self.by);
                    self.daemon.registry().rekey_refused(self.id, why);
                }
                News::NewKeys => self.has_new_keys(),
                News::Progress(_) | News::Up(_) | News::Confirmed => {}
            }
        }
        gone(self.by)
    }

    fn has_new_keys(&self) {
        self.daemon.registry().update(self.id, |f| f.rekeys += 1);
    }

    /// Tells the server, and takes away what there is on this host: the policies last.
    pub(crate) async fn end(mut self) {
        self.dial = None;
        self.daemon.protected(self.id, None);
        if let Some(sa) = self.sa {
            self.ike.close(sa);
            let _ = tokio::time::timeout(FAREWELL, self.over()).await;
            for error in self.sad.remove(sa).await {
                warn!(%error, "L2TP: not removed");
            }
        }
        if let Some(reqid) = self.trap {
            for error in self.sad.remove_trap(reqid).await {
                warn!(%error, "L2TP: not removed");
            }
        }
    }
}

/// The policies around a tunnel between these ends.
fn guard(path: Path, reqid: u32) -> Awaited {
    let (v4, port) = (path.local.is_ipv4(), path.local.port());
    Awaited {
        reqid,
        path,
        mode: ChildMode::Transport,
        local_ts: vec![selector(v4, port..=port)],
        remote_ts: vec![selector(v4, PORT..=PORT)],
    }
}

fn config(
    profile: &Profile,
    (certificates, gateway): (Option<&Certificates>, &ServerName),
    path: Path,
    ports: Ports,
) -> InitiatorConfig {
    let (source, server) = (path.local.ip(), path.remote.ip());
    let port = path.local.port();
    InitiatorConfig {
        path: Path { local: SocketAddr::new(source, ports.ike), remote: SocketAddr::new(server, 500) },
        ike: ike_proposals(&profile.ike, profile.legacy),
        esp: esp_proposals(&profile.esp, profile.legacy, true),
        local_id: profile
            .local_id
            .clone()
            .unwrap_or_else(|| certificates.map_or(Identity::Address(source), |own| own.identity().clone())),
        // Everybody of a group has its key; a certificate is the server's that was dialled.
        remote_id: match certificates {
            Some(_) => Some(profile.identity_of(gateway)),
            None => profile.remote_id.clone(),
        },
        auth: certificates.map_or(Auth::Psk, Certificates::auth),
        aggressive: false,
        mode: ChildMode::Transport,
        local_ts: selector(source.is_ipv4(), port..=port),
        remote_ts: selector(source.is_ipv4(), PORT..=PORT),
        fragment_size: profile.fragment_size,
        force_encapsulation: profile.force_encapsulation,
        nat_port: 4500,
        local_nat_port: ports.nat,
        timing: Timing { dead_peer: profile.dpd, ..suites::timing(profile.rekeying) },
    }
}

/// A port of ours from which nothing goes to that server yet.
fn free_port(source: IpAddr, server: IpAddr, sad: &Sad) -> Result<u16, Failure> {
    let path = Path { local: SocketAddr::new(source, PORT), remote: SocketAddr::new(server, PORT) };
    let ts = || vec![selector(source.is_ipv4(), PORT..=PORT)];
    if !sad.is_claimed(&ts(), &ts(), path) && IkeSocket::share(path.local, MARK).is_ok() {
        return Ok(PORT);
    }
    let any = SocketAddr::new(source, 0);
    IkeSocket::share(any, MARK).map(|socket| socket.port()).map_err(|e| no_socket(any, &e))
}

fn describe(by: &str, step: Step, server: IpAddr) -> Option<String> {
    match step {
        Step::IkeInit => Some(format!("{by}: contacting {server}")),
        Step::Authenticate => Some(format!("{by}: authenticating")),
        Step::Child => Some(format!("{by}: authenticated, asking for ESP around L2TP")),
        _ => None,
    }
}

fn gone(by: &str) -> Failure {
    let text = format!("{by}: the server ended the connection");
    Failure::new(FailureCode::PeerClosed, Step::Established, text)
}

/// Who answers the core.
pub(super) struct Context {
    pub(super) profile: Arc<Profile>,
    files: Files,
    pub(super) sad: Sad,
    pub(super) numbers: Numbers,
    /// The reqid of the policies that wait for them.
    trap: u32,
    /// Where they prove both ends.
    certificates: Option<Certificates>,
    told: mpsc::UnboundedSender<News>,
    leaves: Arc<Leaves>,
}

impl Context {
    pub(super) fn psk(&self) -> Result<Secret, Failure> {
        let none = || Failure::new(FailureCode::NoSecret, Step::Authenticate, "there is no pre-shared key");
        self.files.psk(self.profile.psk.as_ref().ok_or_else(none)?)
    }

    /// Its SAs are known again, or it is over.
    pub(super) fn adopt(&self, around: &Around) {
        let numbers = (Some(self.trap), self.numbers);
        if let Err(failure) = self.sad.adopt_transport(around, numbers, limits(&self.profile)) {
            self.tell(News::Over(Err(failure)));
        }
    }

    pub(super) fn leaves(&self) -> &Leaves {
        &self.leaves
    }

    pub(super) fn tell(&self, news: News) {
        // Nobody listens any more when it was ended meanwhile.
        let _ = self.told.send(news);
    }
}

impl V1Context for Context {
    fn ask(&self, sa: SaId, ask: Ask) -> Pending<Answer> {
        match ask {
            Ask::Psk { .. } => Pending::Now(Answer::Psk(self.psk())),
            other => certificates::answer(self.certificates.as_ref(), other)
                .unwrap_or_else(|other| others(&self.sad, sa, other, self.numbers, limits(&self.profile))),
        }
    }

    fn event(&self, sa: SaId, event: Event) {
        note(&self.sad, sa, &event);
        News::of(event).into_iter().for_each(|news| self.tell(news));
    }

    fn hands_on(&self) -> bool {
        is_there()
    }

    fn hand_on(&self, _: SaId, snapshot: Option<&[u8]>) {
        self.leaves.ike(snapshot);
    }

    fn restored(&self, restored: &Restored) {
        self.adopt(&Around::from(restored));
    }
}

pub(super) fn limits(profile: &Profile) -> Limits {
    Limits { bytes: profile.rekeying.bytes, packets: profile.rekeying.packets }
}

/// Answers what the core wants of the kernel, and refuses what has no place here.
pub(super) fn others(sad: &Sad, sa: SaId, ask: Ask, numbers: Numbers, limits: Limits) -> Pending<Answer> {
    let unexpected = |what: &str| {
        Failure::new(FailureCode::Internal, Step::Authenticate, format!("IKEv1's core asked for {what}"))
    };
    match ask {
        Ask::AllocateSpi { path } => {
            let allocated = sad.allocate_spi(sa, path, numbers);
            Pending::Later(Box::pin(async { Answer::Spi(allocated.await) }))
        }
        Ask::Install(child) => {
            let installed = sad.install(sa, *child, numbers, limits);
            Pending::Later(Box::pin(async { Answer::Installed(installed.await) }))
        }
        Ask::InstallOutbound { child, keys } => {
            let installed = sad.install_outbound(sa, child, keys);
            Pending::Later(Box::pin(async { Answer::Installed(installed.await) }))
        }
        Ask::Psk { .. } => Pending::Now(Answer::Psk(Err(unexpected("a pre-shared key")))),
        Ask::Connection { .. } => Pending::Now(Answer::Connection(Err(unexpected("a configuration")))),
        Ask::Verify { .. } => Pending::Now(Answer::Verified(Err(unexpected("a certificate to verify")))),
        Ask::Sign { .. } => Pending::Now(Answer::Signed(Err(unexpected("a signature")))),
        // The driver answers these itself.
        Ask::Generate(_) | Ask::Agree { .. } | Ask::Encapsulate { .. } => {
            Pending::Later(Box::pin(std::future::pending()))
        }
    }
}

/// What an event means for the kernel.
pub(super) fn note(sad: &Sad, sa: SaId, event: &Event) {
    match event {
        Event::ChildClosed { child, replaced_by, .. } => {
            drop(sad.close_child(sa, *child, replaced_by.is_some()));
        }
        Event::PathChanged { path, encapsulated } => sad.follow(sa, *path, *encapsulated),
        Event::Closed(_) => drop(sad.remove(sa)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_proposal_can_be_read_and_old_ones_only_with_the_word() {
        assert_eq!(ike_proposals(&[], false).len(), IKE.len());
        assert!(ike_proposals(&[], false).iter().all(|p| p.legacy().is_empty()));
        assert_eq!(ike_proposals(&[], true).len(), IKE.len() + OLD_IKE.len());
        let offered = esp_proposals(&[], true, true);
        assert!(
            offered.iter().all(|p| p.ke.is_empty()) && !esp_proposals(&[], false, false)[0].ke.is_empty()
        );
    }
}
