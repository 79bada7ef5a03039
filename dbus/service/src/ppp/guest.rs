//! Somebody who has dialled: who they are, what they are given, and what is undone when they leave.

mod verdict;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use adit_auth::eap::Method;
use adit_auth::radius::Granted;
use adit_core::{Failure, FailureCode, Path, Prefix, Step};
use adit_dbus_api::Traffic;
use adit_ikev2::api::Lease;
use adit_pool::Request;
use adit_ppp::{Answer, Ask, Established, Event, Ipv6Network, Network, NetworkPlan, RouterConfig};
use adit_profile::AddressRule;
use tokio::sync::watch;
use tracing::info;

use super::dhcp;
use super::proof::{LookedUp, as_the_file_has_it, granted_to, may_have};
use super::radius::Remote;
use super::server::Inner;
use super::{About, Advertising, Ahead, Carriage, Later, Scripts, Unit, UnitPlan, World};
use crate::blocking::blocking;
use crate::eap_tls::EapTls;
use crate::host::{CLIENTS_GROUP, Change, HostError, Undo, client_route, site_route};
use crate::ppp;
use crate::radius::{Cause, Session as Accounted, keep};
use crate::registry::{ConnectionId, Facts, Role, State};
use crate::server::identity;
use crate::server::sessions::Share;
use crate::suites::{self, Outside};

/// DNS servers that IPCP has room for (RFC 1877).
const MOST_DNS: usize = 2;

/// Somebody who has dialled.
pub(super) struct Guest {
    server: Arc<Inner>,
    from: SocketAddr,
    /// Where RADIUS servers decide.
    remote: Option<Remote>,
    facts: Mutex<GuestFacts>,
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

/// What somebody is given.
struct Leased {
    address: Option<Ipv4Addr>,
    network: Option<Ipv6Addr>,
    dns: Vec<IpAddr>,
    /// Networks behind it.
    behind: Vec<Prefix>,
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
        let (facts, tls) = (Mutex::default(), tokio::sync::Mutex::new(None));
        Arc::new(Self { server: Arc::clone(server), from: path.remote, remote, facts, tls })
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

    fn facts(&self) -> MutexGuard<'_, GuestFacts> {
        self.facts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn plan(&self, peer: &str, unit: Option<Arc<Unit>>) -> Result<UnitPlan, Failure> {
        let server = &self.server;
        let owner = u64::from(server.next_owner.fetch_add(1, Ordering::Relaxed));
        let leased = self.lease(owner, peer).inspect_err(|_| {
            server.pool().release(owner);
        })?;
        let Leased { address, network, dns, behind } = leased;
        {
            let mut facts = self.facts();
            (facts.owner, facts.address, facts.network, facts.dns) =
                (Some(owner), address, network, dns.clone());
            facts.behind = behind;
        }
        let name = unit.as_ref().map_or_else(|| server.unit_name(), |unit| unit.name().to_owned());
        let v4 = server.local.zip(address);
        let network = NetworkPlan { v4, v6: network.is_some(), dns: v4_of(&dns), wins: Vec::new() };
        let carrier = server.carriage.carrier();
        Ok(UnitPlan { name, group: CLIENTS_GROUP, carrier, network, unit })
    }

    fn lease(&self, owner: u64, peer: &str) -> Result<Leased, Failure> {
        let server = &self.server;
        let identity = identity(peer);
        let (share, wanted, routes, rule) = {
            let facts = self.facts();
            let granted = facts.granted.as_ref();
            let routes = granted.map(|granted| granted.routes.clone()).unwrap_or_default();
            let share = granted.map(|granted| Share::of(granted, None));
            (share, granted.and_then(|granted| granted.prefix6), routes, facts.addresses.clone())
        };
        let meant = rule.as_ref().and_then(AddressRule::suggested).and_then(|a| v4_of(&[a]).pop());
        let request =
            Request { v4: server.local.is_some(), v6: server.ipv6, wanted_v4: meant, wanted_v6: None };
        let mut request = share.as_ref().map_or(request, |share| share.request(request));
        // The pool knows a network by its upper half.
        request.wanted_v6 = wanted.and_then(|wanted| match wanted.address {
            IpAddr::V6(a) => Some(Ipv6Addr::from_bits(a.to_bits() >> 64)),
            IpAddr::V4(_) => None,
        });
        let lease = server.pool().lease(owner, &identity, request)?;
        let network = lease.v6.map(|(number, _)| Ipv6Addr::from_bits(number.to_bits() << 64));
        may_have(rule.as_ref(), peer, lease.v4)?;
        if let Some(share) = &share {
            share.check(&server.config.pool, (lease.v4, None))?;
        }
        let got = network.map(|n| Prefix { address: n.into(), length: 64 });
        if let Some(wanted) = wanted.filter(|wanted| got.is_some_and(|got| got != *wanted)) {
            let text = format!("the RADIUS server gives it {wanted}, which is no free /64 of the pool");
            return Err(Failure::new(FailureCode::NoAddress, Step::Address, text));
        }
        let dns = share.and_then(|share| share.dns).unwrap_or_else(|| server.dns.clone());
        let mut behind = server.config.sites.get(peer).cloned().unwrap_or_default();
        behind.extend(routes);
        Ok(Leased { address: lease.v4, network, dns, behind })
    }

    /// The address and the route go with the unit, which the kernel removes when its file is closed, also when this process
    /// dies: no journal is needed.
    async fn networking(&self, unit: &Unit, network: &Network) -> Result<(), Failure> {
        let link = unit.name().to_owned();
        let (address, network6, behind) = {
            let facts = self.facts();
            (facts.address, facts.network, facts.behind.clone())
        };
        let behind = behind.iter().filter(|b| b.address.is_ipv4() == matches!(network, Network::V4(_)));
        let behind: Vec<Change> = behind.map(|b| site_route(unit.name(), self.server.table, *b)).collect();
        let mut wanted = Vec::new();
        match network {
            Network::V4(v4) => {
                wanted.push(Change::Address { link: link.clone(), address: Prefix::host(v4.local.into()) });
                wanted.extend(address.map(|peer| client_route(&link, Prefix::host(peer.into()))));
            }
            Network::V6(v6) => {
                self.believe_no_router(&link).await?;
                let [ours, theirs] =
                    [v6.local, v6.peer].map(|id| Prefix::host(Ipv6Network::link_local(id).into()));
                wanted.push(Change::Address { link: link.clone(), address: ours });
                let network = network6.map(|n| Prefix { address: n.into(), length: 64 });
                wanted.extend(network.into_iter().chain([theirs]).map(|to| client_route(&link, to)));
            }
        }
        wanted.extend(behind);
        let host = self.server.daemon.host();
        for change in &wanted {
            host.apply(change).await.map_err(refused)?;
        }
        if let (Network::V6(_), Some(prefix)) = (network, network6) {
            let dns = self.facts().dns.iter().filter_map(v6_of).collect();
            let config = RouterConfig { prefix, dns, server: self.server.uuid };
            let advertising = Advertising::begin(unit, config)?;
            self.facts().advertising = Some(advertising);
        }
        Ok(())
    }

    /// Where this host does not forward, its kernel would take a client for its router.
    async fn believe_no_router(&self, link: &str) -> Result<(), Failure> {
        let host = self.server.daemon.host();
        let key = format!("net/ipv6/conf/{link}/accept_ra");
        let change = Change::Setting { key, value: "0".into() };
        let undo = host.undo_of(&change).await.map_err(refused)?;
        host.apply(&change).await.map_err(refused)?;
        self.facts().undo = undo;
        Ok(())
    }

    /// The link carries packets: it is shown, and can be ended by who sees it.
    pub(super) fn established(
        &self,
        local: SocketAddr,
        unit: Option<&Arc<Unit>>,
        stop: &watch::Sender<bool>,
    ) {
        let mut facts = self.facts();
        let carriage = self.server.carriage;
        let mut shown = Facts::new(Role::Server, carriage.word(), "");
        let mppe = facts.established.as_ref().and_then(|e| e.mppe);
        let (esp, weak) = suites::ppp_shown(&facts.outside, mppe);
        shown.local = Some(local);
        shown.remote = Some(self.from);
        shown.remote_id.clone_from(&facts.identity);
        shown.addresses = facts.addresses_in_use();
        let addresses = shown.addresses.clone();
        shown.dns.clone_from(&facts.dns);
        shown.tunnel = self.server.config.kind;
        shown.ike_suite.clone_from(&facts.how);
        shown.esp_suite = esp;
        shown.legacy = weak;
        shown.interface = unit.map(|u| u.name().to_owned()).unwrap_or_default();
        let registry = self.server.daemon.registry();
        let id = registry.add(shown);
        facts.connection = Some(id);
        if let (Some(remote), Some(granted)) = (&self.remote, facts.granted.take()) {
            let v6 = facts.network.map(|network| (network, 64));
            let lease = Lease { v4: facts.address, v6, ..Lease::default() };
            let grant = remote.grant(granted, facts.identity.clone());
            facts.accounted = Some(Accounted::begin(grant, remote.path(), lease));
        }
        let unit = unit.map_or_else(Weak::new, Arc::downgrade);
        let mut sessions = self.server.sessions();
        if !facts.behind.is_empty() {
            sessions.sites.insert(facts.identity.clone(), id);
        }
        sessions.standing.insert(id, (stop.clone(), unit));
        drop(sessions);
        registry.set_state(id, State::Connected, "established", None);
        info!(from = %self.from, user = facts.identity, ?addresses, "{}: connected", carriage.name());
    }

    /// A family has come late, or has gone.
    fn changed(&self, up: &Established) {
        let mut facts = self.facts();
        facts.established = Some(up.clone());
        let (addresses, connection) = (facts.addresses_in_use(), facts.connection);
        drop(facts);
        if let Some(id) = connection {
            self.server.daemon.registry().update(id, |f| f.addresses = addresses);
        }
    }

    /// Tells RADIUS servers of the session as long as it lasts. Returns when they do not let it go on.
    pub(super) fn kept(&self, unit: Option<&Arc<Unit>>) -> Later<Cause> {
        let accounted = self.facts().accounted.as_ref().map_or_else(Weak::new, Arc::downgrade);
        let unit = unit.map_or_else(Weak::new, Arc::downgrade);
        Box::pin(async move {
            let carried = || {
                let unit = unit.upgrade();
                async move { ppp::carried(unit?).await.ok() }
            };
            match keep(accounted, carried).await {
                Some(cause) => cause,
                None => std::future::pending().await,
            }
        })
    }

    /// Tells RADIUS servers and pppd's scripts that it is over, while the kernel still knows what it has carried.
    pub(super) async fn account(&self, unit: Option<&Arc<Unit>>, cause: Cause) {
        let (accounted, scripts) = {
            let mut facts = self.facts();
            (facts.accounted.take(), facts.scripts.take())
        };
        if accounted.is_none() && scripts.is_none() {
            return;
        }
        let carried = match unit {
            Some(unit) => ppp::carried(Arc::clone(unit)).await.unwrap_or_default(),
            None => Traffic::default(),
        };
        if let Some(scripts) = scripts {
            scripts.down(&carried);
        }
        if let Some(accounted) = accounted {
            accounted.end(carried, cause);
        }
    }

    fn about(&self, peer: &str) -> About {
        About {
            device: self.carriage().word(),
            // As pptpd has it.
            parameter: self.from.ip().to_string(),
            link: String::new(),
            peer: peer.to_owned(),
            use_peer_dns: false,
        }
    }

    /// Gives back what they had.
    pub(super) async fn leave(&self) {
        let (proven, owner, connection, undo) = {
            let mut facts = self.facts();
            (facts.advertising, facts.answering) = (None, None);
            (facts.proven, facts.owner.take(), facts.connection.take(), facts.undo.take())
        };
        if let Some(undo) = undo {
            // Its unit is gone by now, and the setting with it: it is struck off.
            let _ = self.server.daemon.host().undo(&undo).await;
        }
        if !proven {
            self.server.no_longer_half_open(self.from.ip());
        }
        if let Some(owner) = owner {
            self.server.pool().release(owner);
        }
        let mut sessions = self.server.sessions();
        sessions.count = sessions.count.saturating_sub(1);
        if let Some(id) = connection {
            sessions.standing.remove(&id);
            sessions.sites.retain(|_, standing| *standing != id);
            drop(sessions);
            self.server.daemon.registry().remove(id);
        }
    }
}

/// The IPv4 addresses of these, as many as IPCP has room for.
fn v4_of(addresses: &[IpAddr]) -> Vec<Ipv4Addr> {
    let v4 = addresses.iter().filter_map(|a| match a {
        IpAddr::V4(a) => Some(*a),
        IpAddr::V6(_) => None,
    });
    v4.take(MOST_DNS).collect()
}

fn v6_of(address: &IpAddr) -> Option<Ipv6Addr> {
    match address {
        IpAddr::V6(a) => Some(*a),
        IpAddr::V4(_) => None,
    }
}

fn refused(error: HostError) -> Failure {
    Failure::new(FailureCode::KernelRefused, Step::Network, format!("for a client: {error}"))
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
        Box::pin(async move { self.networking(&unit, &network).await })
    }

    fn passes(self: Arc<Self>, unit: Arc<Unit>, network: Network) -> Later<()> {
        if self.server.config.scripts {
            let mut facts = self.facts();
            let about = self.about(&facts.identity);
            facts.scripts.get_or_insert_with(|| Scripts::begin(about)).up(&unit, &network);
        }
        if let Network::V4(v4) = &network {
            let answering = dhcp::answering(&self.server, &unit, v4, v4_of(&self.facts().dns));
            self.facts().answering = answering;
        }
        Box::pin(std::future::ready(()))
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
