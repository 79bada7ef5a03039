//! Somebody who has dialled: who they are, what they are given, and what is undone when they leave.

mod life;
mod network;
mod returning;
mod verdict;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use adit_auth::eap::Method;
use adit_auth::radius::Granted;
use adit_core::{Failure, Path, Prefix, Step};
use adit_ppp::{Answer, Ask, Established, Event, Network};
use adit_profile::AddressRule;

use super::dhcp;
use super::handing::Leaving;
use super::proof::{LookedUp, as_the_file_has_it, granted_to};
use super::radius::Remote;
use super::server::Inner;
use super::{Advertising, Ahead, Carriage, Later, Scripts, Unit, UnitPlan, World};
use crate::blocking::blocking;
use crate::eap_tls::EapTls;
use crate::host::Undo;
use crate::radius::Session as Accounted;
use crate::registry::ConnectionId;
use crate::suites::Outside;
use network::v4_of;
use returning::Handing;
pub(super) use returning::not_any_more;

/// Somebody who has dialled.
pub(super) struct Guest {
    me: Weak<Self>,
    server: Arc<Inner>,
    from: SocketAddr,
    /// Where RADIUS servers decide.
    remote: Option<Remote>,
    /// Its own end of the path.
    local: SocketAddr,
    facts: Mutex<GuestFacts>,
    /// What the next process goes on from.
    handing: Handing,
    /// The engine of its EAP, once a method wants one, and that method.
    tls: tokio::sync::Mutex<Option<(Method, EapTls)>>,
}

#[derive(Default)]
struct GuestFacts {
    proven: bool,
    identity: String,
    /// Who was looked up last.
    user: Option<LookedUp>,
    /// Which addresses they may have who came in, where the file of users says that.
    addresses: Option<AddressRule>,
    how: String,
    /// What the link is inside of.
    outside: Outside,
    /// Its interface, if that is made already.
    ahead: Option<Ahead>,
    owner: Option<u64>,
    address: Option<Ipv4Addr>,
    /// Its /64.
    network: Option<Ipv6Addr>,
    /// Networks behind it.
    behind: Vec<Prefix>,
    /// What tells it of that.
    advertising: Option<Advertising>,
    /// What answers it when it asks by DHCPINFORM.
    answering: Option<crate::dhcp::Answering>,
    /// Of a setting of its unit.
    undo: Option<Undo>,
    connection: Option<ConnectionId>,
    established: Option<Established>,
    dns: Vec<IpAddr>,
    /// What a RADIUS server has granted last, and to whom.
    offered: Option<(String, Granted)>,
    /// What it has granted to who came in, until the link is up.
    granted: Option<Granted>,
    /// pppd's, where the configuration wants them.
    scripts: Option<Scripts>,
    /// Its session, of which RADIUS servers are told.
    accounted: Option<Arc<Accounted>>,
}

impl GuestFacts {
    /// What it has of those families that are up.
    fn addresses_in_use(&self) -> Vec<Prefix> {
        let up = self.established.as_ref();
        let address = self.address.filter(|_| up.is_some_and(|up| up.v4.is_some()));
        let network = self.network.filter(|_| up.is_some_and(|up| up.v6.is_some()));
        let network = network.map(|n| Prefix { address: n.into(), length: 64 });
        address.map(|a| Prefix::host(a.into())).into_iter().chain(network).collect()
    }
}

impl Guest {
    pub(super) fn new(server: &Arc<Inner>, path: Path) -> Arc<Self> {
        let remote = server.radius.as_ref().map(|radius| Remote::new(radius, path));
        Self::of(server, path, remote)
    }

    fn of(server: &Arc<Inner>, path: Path, remote: Option<Remote>) -> Arc<Self> {
        Arc::new_cyclic(|me| Self {
            me: me.clone(),
            server: Arc::clone(server),
            from: path.remote,
            local: path.local,
            remote,
            facts: Mutex::default(),
            handing: Handing::default(),
            tls: tokio::sync::Mutex::new(None),
        })
    }

    /// What they dial by.
    pub(super) fn carriage(&self) -> Carriage {
        self.server.carriage
    }

    /// Where they are.
    pub(super) const fn from(&self) -> SocketAddr {
        self.from
    }

    /// What their link is inside of.
    pub(super) fn is_inside_of(&self, outside: Outside) {
        self.facts().outside = outside;
    }

    /// Their interface is being made already.
    pub(super) fn has_ahead(&self, ahead: Option<Ahead>) {
        self.facts().ahead = ahead;
    }

    /// Whether they have proven who they are.
    pub(super) fn is_proven(&self) -> bool {
        self.facts().proven
    }

    /// Whether their link carries packets.
    pub(super) fn is_up(&self) -> bool {
        self.facts().connection.is_some()
    }

    /// Who asks for the ways to what is behind this server is answered.
    fn answers(&self, unit: &Arc<Unit>, network: &Network) {
        if let Network::V4(v4) = network {
            let answering = dhcp::answering(&self.server, unit, v4, v4_of(&self.facts().dns));
            self.facts().answering = answering;
        }
    }

    fn facts(&self) -> MutexGuard<'_, GuestFacts> {
        self.facts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl World for Guest {
    fn ask(self: Arc<Self>, ask: Ask) -> Later<Answer> {
        Box::pin(async move {
            if let (Ask::Verify(claim), Some(remote)) = (&ask, &self.remote) {
                let verdict = self.verify_by_radius(remote, claim).await;
                self.log_refusal(&verdict);
                return Answer::Verdict(verdict);
            }
            if let (Ask::EapPacket(packet), Some(remote)) = (&ask, &self.remote) {
                return Answer::EapStep(self.eap_by_radius(remote, packet.clone()).await);
            }
            if let Ask::Tls { method: Some(method), ask } = ask {
                return Answer::Tls(self.tls(method, ask).await);
            }
            // Files are read, and a password's hash is made.
            let work = move || self.answer(ask);
            blocking(Step::Authenticate, "looking a user up", work)
                .await
                .unwrap_or_else(|why| Answer::Verdict(Err(why)))
        })
    }

    fn unit(self: Arc<Self>, _peer: String) -> Later<Result<UnitPlan, Failure>> {
        Box::pin(async move {
            let peer = self.identity()?;
            self.server.make_way(&peer).await;
            let ahead = self.facts().ahead.take();
            self.plan(&peer, Ahead::taken(ahead).await)
        })
    }

    fn install(self: Arc<Self>, unit: Arc<Unit>, network: Network) -> Later<Result<(), Failure>> {
        Box::pin(async move { self.networking(&unit, &network, false).await })
    }

    fn passes(self: Arc<Self>, unit: Arc<Unit>, network: Network) -> Later<()> {
        if self.server.config.scripts {
            let mut facts = self.facts();
            if facts.scripts.is_none() {
                let about = self.about(&facts.identity);
                self.helped_by(facts.scripts.insert(Scripts::begin(about)).helper());
            }
            facts.scripts.iter().for_each(|scripts| scripts.up(&unit, &network));
        }
        self.answers(&unit, &network);
        Box::pin(std::future::ready(()))
    }

    fn hands_on(&self) -> bool {
        self.may_hand_on()
    }

    fn hand_on(&self, leaving: Option<&Leaving<'_>>) {
        self.leaves(leaving);
    }

    fn event(&self, event: &Event) {
        match event {
            Event::Authenticated(who) => {
                let mut facts = self.facts();
                // Whom nobody has asked has proven nothing.
                let Some((method, identity)) = &who.peer else { return };
                let known = std::mem::replace(&mut facts.proven, true);
                facts.granted = granted_to(facts.offered.take(), identity);
                (facts.identity, facts.addresses) = as_the_file_has_it(facts.user.take(), identity);
                facts.how = method.to_string();
                drop(facts);
                if !known {
                    self.server.no_longer_half_open(self.from.ip());
                }
            }
            Event::Established(up) => self.facts().established = Some((**up).clone()),
            Event::Changed(up) => self.changed(up),
            _ => {}
        }
    }
}
