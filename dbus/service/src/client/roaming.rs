//! How a connection that is up follows this host: what [`Mobility`] decides is carried out.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use adit_core::{Failure, FailureCode, Path, Step};
use adit_ikev2::api::{Established, Event, Input as IkeInput, SaId};
use adit_plan::mobility::{self, Act, Input, Mobility, Standing, Uplink, Wishes};
use adit_profile::{Mode, Profile};
use tokio::sync::watch;

use super::install::Installation;
use super::life::no_route;
use super::shown::Shown;
use crate::clock;
use crate::daemon::Daemon;
use crate::host::PathInfo;
use crate::ike::IkeDriver;
use crate::registry::State;

/// Whether a profile's connection may leave the address that it was raised from.
pub(crate) fn may_roam(profile: &Profile) -> bool {
    let tunnels = profile.mode == Mode::Tunnel && profile.children.iter().all(|c| c.mode == Mode::Tunnel);
    profile.mobility && tunnels && profile.local_address.is_none()
}

/// A connection on its way from network to network.
pub(super) struct Roaming {
    mobility: Mobility,
    uplinks: watch::Receiver<Arc<Vec<Uplink>>>,
    resumed: watch::Receiver<()>,
    ike: IkeDriver,
    sa: SaId,
    /// Whether it can move at all.
    mobike: bool,
    /// Our address outside.
    at: IpAddr,
}

/// What is due.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Due {
    /// The ways out have changed.
    Uplinks,
    /// The machine has been suspended.
    Resumed,
    /// Its time has come.
    Time,
}

/// What ends it.
pub(super) enum Over {
    /// It has to be dialled anew.
    Reconnect(Failure),
    /// It has to be dialled anew at once, over another link; on this path the server still hears that the former
    /// IKE_SA is over, and has the addresses inside to give again.
    Redial(Failure, Path),
    /// It has been without a path for too long.
    Ended(Failure),
    /// Nothing went through it for too long.
    Idle(Failure),
}

impl Roaming {
    pub(super) fn new(
        profile: &Profile,
        up: &Established,
        uplinks: watch::Receiver<Arc<Vec<Uplink>>>,
        (ike, sa): (IkeDriver, SaId),
    ) -> Self {
        let wishes = Wishes {
            prefer: profile.prefer.clone(),
            outage: profile.outage,
            untestable: up.mobike.is_none(),
        };
        let peers = up.mobike.clone().unwrap_or_default();
        let mobility = Mobility::new(clock::now(), wishes, up.path, &peers);
        let (resumed, mobike) = (clock::resumed(), up.mobike.is_some());
        let at = up.path.local.ip();
        let mut roaming = Self { mobility, uplinks, resumed, ike, sa, mobike, at };
        roaming.wake(Due::Uplinks);
        roaming
    }

    /// Waits for something to do.
    pub(super) async fn due(&mut self) -> Due {
        let deadline = self.mobility.deadline();
        tokio::select! {
            Ok(()) = self.uplinks.changed() => Due::Uplinks,
            Ok(()) = self.resumed.changed() => Due::Resumed,
            () = clock::sleep_until(deadline) => Due::Time,
        }
    }

    /// Something is due.
    pub(super) fn wake(&mut self, due: Due) {
        match due {
            Due::Time => return self.mobility.handle(clock::now(), Input::Wake),
            Due::Resumed => return self.mobility.handle(clock::now(), Input::Resumed),
            Due::Uplinks => {}
        }
        let uplinks = Arc::clone(&self.uplinks.borrow_and_update());
        let addresses = addresses(&uplinks);
        if self.mobike {
            self.ike.input(IkeInput::Addresses { sa: self.sa, addresses });
        }
        self.mobility.handle(clock::now(), Input::Uplinks(uplinks.to_vec()));
    }

    /// What the IKE_SA says.
    pub(super) fn heard(&mut self, event: &Event) {
        if let Some(news) = event.path_news() {
            self.mobility.handle(clock::now(), Input::Path(news));
        }
    }

    /// The link that it goes over.
    pub(super) fn link(&self) -> &str {
        self.mobility.link().unwrap_or_default()
    }

    /// The way that it goes now, for another IKE_SA in its place.
    pub(super) async fn way(&self, daemon: &Daemon) -> Result<PathInfo, Failure> {
        way_over(daemon, self.link().to_owned(), self.mobility.path().local.ip()).await
    }

    /// Carries out what was decided.
    pub(super) async fn act(
        &mut self,
        daemon: &Arc<Daemon>,
        installation: &Installation,
        shown: &mut Shown,
    ) -> Option<Over> {
        while let Some(act) = self.mobility.poll() {
            match act {
                Act::Move(path) if self.mobike => self.go(daemon, path),
                // Only a new IKE_SA gets there; the addresses inside stay.
                Act::Move(path) => {
                    let text = "this host has moved, and the server does not speak MOBIKE.";
                    return Some(Over::Redial(lost(text), path));
                }
                Act::Tell(path) => self.ike.input(IkeInput::Move { sa: self.sa, path }),
                Act::Probe(paths) if self.mobike => {
                    self.ike.input(IkeInput::Probe { sa: self.sa, paths });
                }
                Act::Probe(_) => {}
                Act::Look => daemon.uplinks().look(),
                Act::Sample => self.sample(daemon, installation).await,
                Act::Standing(standing) => self.stands(standing, shown),
                Act::Reconnect => {
                    let text = "the server answers over no path of this host.";
                    return Some(Over::Reconnect(lost(text)));
                }
                Act::End => {
                    let text = "this host has had no way out for longer than  outage-time";
                    return Some(Over::Ended(
                        lost(text).hint("when it is online again:  ctl up  the profile"),
                    ));
                }
            }
        }
        None
    }

    fn go(&mut self, daemon: &Daemon, path: Path) {
        tracing::info!(sa = self.sa.0, local = %path.local, remote = %path.remote, "moving");
        let orderly = addresses(&self.uplinks.borrow()).contains(&self.at);
        daemon.sad().moves(self.sa, orderly);
        self.at = path.local.ip();
        self.ike.input(IkeInput::Move { sa: self.sa, path });
    }

    fn stands(&mut self, standing: Standing, shown: &mut Shown) {
        let (state, link) = match standing {
            Standing::Connected => (State::Connected, self.link()),
            Standing::Waiting => (State::Waiting, self.link()),
            Standing::Dormant => (State::Dormant, ""),
        };
        shown.stands(state, link, self.mobility.path());
    }

    /// What the tunnel has carried.
    async fn sample(&mut self, daemon: &Arc<Daemon>, installation: &Installation) {
        let Some((inbound, outbound)) = installation.states() else { return };
        let xfrm = daemon.xfrm();
        let read = tokio::task::spawn_blocking(move || {
            let received = xfrm.query(&inbound).ok()??.packets;
            let sent = xfrm.query(&outbound).ok()??.packets;
            Some(Input::Traffic { sent, received })
        });
        if let Ok(Some(traffic)) = read.await {
            self.mobility.handle(clock::now(), traffic);
        }
    }
}

/// The ways to a server, best first: the routes' own, unless that is over a link that is none any more, or a person prefers
/// another; then those over the other links, since the best one may lead nowhere.
pub(super) async fn ways_to(
    daemon: &Daemon,
    prefer: &[String],
    uplinks: Option<&Vec<Uplink>>,
    remote: SocketAddr,
) -> Result<Vec<PathInfo>, Failure> {
    let routed = daemon.host().path_to(remote.ip()).await.map_err(|e| no_route(remote.ip(), &e));
    let Some(uplinks) = uplinks else { return Ok(vec![routed?]) };
    let lives = |p: &PathInfo| uplinks.iter().any(|u| u.addresses.contains(&p.source));
    let first = routed.as_ref().ok().filter(|path| prefer.is_empty() && lives(path));
    let mut ways: Vec<PathInfo> = first.cloned().into_iter().collect();
    for (link, source) in mobility::ways_to(uplinks, prefer, remote.ip()) {
        if !ways.iter().any(|way| way.source == source) {
            ways.push(way_over(daemon, link, source).await?);
        }
    }
    if ways.is_empty() { Ok(vec![routed?]) } else { Ok(ways) }
}

async fn way_over(daemon: &Daemon, name: String, source: IpAddr) -> Result<PathInfo, Failure> {
    let link = daemon.host().links().await?.into_iter().find(|l| l.name == name);
    let (link_index, mtu) = link.map_or((0, 0), |l| (l.index, l.mtu));
    Ok(PathInfo { source, link_index, link: name, mtu, gateway: None })
}

/// The addresses that packets over these links carry.
pub(super) fn addresses(uplinks: &[Uplink]) -> Vec<IpAddr> {
    uplinks.iter().flat_map(|u| &u.ways).map(|way| way.source).collect()
}

fn lost(text: &str) -> Failure {
    Failure::new(FailureCode::PeerLost, Step::Established, text)
}
