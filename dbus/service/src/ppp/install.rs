//! What a dialled connection changes on this host, each change with its undo: the block, the way of its own packets, then
//! addresses, routes and rules on the unit.

use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use adit_core::{Failure, Prefix, Step};
use adit_ppp::wire::{Protocol, split_frame};
use adit_ppp::{HostOutput, Ipv4Network, Ipv6Network, Network};
use adit_ppp_kernel::{Family, LinkSpec};
use adit_profile::{Dns, Profile, Tunnel as Traffic};
use nix::errno::Errno;

use super::{About, Ahead, Autoconfiguring, Carriage, Handing, Scripts, Told, Unit, carried};
use crate::blocking::blocking;
use crate::client::{Ground, not_made, refused};
use crate::daemon::Daemon;
use crate::esp::Numbers;
use crate::host::{
    Change, HostError, LINK_GROUP, PathInfo, Route, Target, gre_rules, loosen_reverse_path, nft_program,
    segments, tunnel_routes, waiting_routes,
};
use crate::registry::ConnectionId;

/// The host's side of a connection.
pub(super) struct Installation {
    pub(super) id: ConnectionId,
    pub(super) profile: Arc<Profile>,
    pub(super) daemon: Arc<Daemon>,
    pub(super) numbers: Numbers,
    pub(super) slot: tokio::sync::Mutex<Slot>,
    pub(super) handing: Arc<Handing>,
}

#[derive(Default)]
pub(super) struct Slot {
    pub(super) ground: Ground,
    pub(super) blocked: bool,
    /// Undos of what stands while the tunnel does.
    pub(super) up: Vec<u64>,
    /// Changes that stand while the tunnel does: both families want some of them.
    pub(super) made: Vec<Change>,
    /// Networks that have been routed so far.
    routes: Vec<Prefix>,
    /// What stands while it is waited for a packet, and stays.
    waiting: Option<Waiting>,
    /// A unit that is being made before anybody asks for it.
    ahead: Option<Ahead>,
    /// Frames that have come meanwhile.
    held: Vec<Vec<u8>>,
    /// Makes addresses of router advertisements.
    addressing: Option<Autoconfiguring>,
    /// pppd's, of the link that is up.
    scripts: Option<Scripts>,
    /// The address that we had last: it is asked for again.
    former: Option<Ipv4Addr>,
    /// The address that we have.
    current: Option<Ipv4Addr>,
}

/// What a family wants of this host.
pub(super) struct Wanted {
    address: Prefix,
    routes: Vec<Prefix>,
    pub(super) changes: Vec<Change>,
}

struct Waiting {
    unit: Arc<Unit>,
    made: Vec<Change>,
    undos: Vec<u64>,
}

impl Installation {
    pub(super) fn new(
        id: ConnectionId,
        profile: &Arc<Profile>,
        daemon: &Arc<Daemon>,
        ground: Ground,
    ) -> Self {
        let (profile, daemon) = (Arc::clone(profile), Arc::clone(daemon));
        let slot = tokio::sync::Mutex::new(Slot { ground, ..Slot::default() });
        Self { id, profile, numbers: daemon.numbers(), daemon, slot, handing: Arc::default() }
    }

    pub(super) const fn id(&self) -> ConnectionId {
        self.id
    }

    pub(super) const fn profile(&self) -> &Arc<Profile> {
        &self.profile
    }

    pub(super) const fn daemon(&self) -> &Arc<Daemon> {
        &self.daemon
    }

    /// What keeps it for the next process.
    pub(super) const fn handing(&self) -> &Arc<Handing> {
        &self.handing
    }

    fn carriage(&self) -> Carriage {
        Carriage::of(&self.profile)
    }

    /// See [`Ground::block`]. Does nothing where the block stands already.
    pub(super) async fn block(&self, servers: &[IpAddr]) -> Result<(), Failure> {
        let mut slot = self.slot.lock().await;
        if slot.blocked || slot.ground.is_lent() {
            return Ok(());
        }
        slot.ground.block(&self.daemon, self.numbers, &self.profile, self.gre(servers)).await?;
        slot.blocked = self.profile.blocks();
        Ok(())
    }

    /// Servers to which GRE leaves.
    pub(super) fn gre(&self, servers: &[IpAddr]) -> Vec<Ipv4Addr> {
        match self.carriage() {
            Carriage::Pptp => v4_of(servers),
            Carriage::Sstp(_) | Carriage::L2tp => Vec::new(),
        }
    }

    /// The tunnel's own packets go past it: GRE, which the kernel sends without our mark, needs rules for that.
    pub(super) async fn open(&self, server: IpAddr, uplink: &PathInfo) -> Result<(), Failure> {
        let mut wanted: Vec<Change> = match self.carriage() {
            Carriage::Pptp => gre_rules(server, uplink),
            Carriage::Sstp(_) | Carriage::L2tp => Vec::new(),
        };
        let host = self.daemon.host();
        let loosened = loosen_reverse_path(host.as_ref(), &uplink.link).await;
        wanted.extend(loosened.map_err(|e| refused("reading rp_filter", &e))?);
        let mut slot = self.slot.lock().await;
        let mut undos = Vec::new();
        let made = self.make(&mut slot, &wanted, &mut undos).await;
        slot.up.extend(undos);
        made
    }

    /// From here on what the connection is for goes into its interface, and comes back from there.
    pub(super) async fn wait(&self) -> Result<Arc<Unit>, Failure> {
        let mut slot = self.slot.lock().await;
        // What nobody could send by now is too late.
        slot.held.clear();
        if let Some(waiting) = slot.waiting.take() {
            match self.hold_again(&waiting).await {
                Ok(()) => return Ok(Arc::clone(&slot.waiting.insert(waiting).unit)),
                // Somebody has taken the interface away: there is to be another.
                Err(error) => {
                    tracing::info!(connection = self.id.0, %error, "its interface is made anew");
                    slot.made.retain(|change| !waiting.made.contains(change));
                    for error in self.wait_no_more(&mut slot, waiting).await {
                        tracing::warn!(connection = self.id.0, %error, "not undone");
                    }
                }
            }
        }
        let name = slot.ground.name(&self.daemon, &self.profile).await?;
        let mtu = self.carriage().waiting_mtu(self.profile.mtu);
        let carrier = self.carriage().carrier();
        let make = move || -> Result<_, Failure> {
            let unit = Unit::make(carrier, &LinkSpec { name: &name, group: LINK_GROUP })?;
            unit.set_up(mtu)?;
            unit.hold()?;
            Ok(Arc::new(unit))
        };
        let unit = blocking(Step::Kernel, "making the interface", make).await??;
        let any = [IpAddr::from([0_u8; 4]), IpAddr::from([0_u16; 8])];
        let (table, networks) = (self.numbers.table(), self.profile.remote_networks());
        let mut made = waiting_routes(unit.name(), table, &any, &networks);
        made.extend(self.segments(unit.name()).await?);
        let mut undos = Vec::new();
        let done = self.make(&mut slot, &made, &mut undos).await;
        let waiting = Waiting { unit: Arc::clone(&unit), made, undos };
        if let Err(failure) = done {
            self.wait_no_more(&mut slot, waiting).await;
            return Err(failure);
        }
        slot.made.extend(waiting.made.iter().cloned());
        slot.waiting = Some(waiting);
        Ok(unit)
    }

    /// Fails where its interface is gone: the file of a unit alone does not tell.
    async fn hold_again(&self, waiting: &Waiting) -> Result<(), Failure> {
        let (unit, mtu) = (Arc::clone(&waiting.unit), self.carriage().waiting_mtu(self.profile.mtu));
        let hold = move || -> Result<_, Failure> {
            unit.set_up(mtu)?;
            Ok(unit.hold()?)
        };
        blocking(Step::Kernel, "work on the interface", hold).await??;
        self.lead_back(&waiting.made).await
    }

    /// With an interface's last address of IPv4 its routes have gone. Their undos stand as before.
    async fn lead_back(&self, made: &[Change]) -> Result<(), Failure> {
        let by_link =
            |change: &&Change| matches!(change, Change::Route(Route { target: Target::Link(_), .. }));
        for change in made.iter().filter(by_link) {
            match self.daemon.host().apply(change).await {
                Ok(()) | Err(HostError::Refused { errno: Errno::EEXIST, .. }) => {}
                Err(error) => return Err(refused(&change.to_string(), &error)),
            }
        }
        Ok(())
    }

    async fn wait_no_more(&self, slot: &mut Slot, waiting: Waiting) -> Vec<String> {
        let Waiting { unit, undos, .. } = waiting;
        let errors = undo_all(slot, undos).await;
        let _ = tokio::task::spawn_blocking(move || drop(unit)).await;
        errors
    }

    /// A frame that has come back: it goes first when the tunnel is up.
    pub(super) async fn keep(&self, frame: Vec<u8>) {
        self.slot.lock().await.held.push(frame);
    }

    /// Begins to make the unit, which takes the kernel its time: whoever asks for it finds it made.
    ///
    /// # Errors
    /// No name is free.
    pub(super) async fn make_ahead(&self) -> Result<(), Failure> {
        let mut slot = self.slot.lock().await;
        if slot.waiting.is_none() && slot.ahead.is_none() {
            let name = slot.ground.name(&self.daemon, &self.profile).await?;
            slot.ahead = Some(Ahead::begin(self.carriage().carrier(), name, LINK_GROUP));
        }
        Ok(())
    }

    /// The unit's name, chosen once for the connection's life, and the unit, if it stands already: it holds nothing any more,
    /// and lets nothing pass yet.
    pub(super) async fn take_unit(&self) -> Result<(String, Option<Arc<Unit>>), Failure> {
        let mut slot = self.slot.lock().await;
        let name = slot.ground.name(&self.daemon, &self.profile).await?;
        if let Some(waiting) = &slot.waiting {
            let unit = Arc::clone(&waiting.unit);
            let held = unit.release()?;
            slot.held.extend(held);
            return Ok((name, Some(unit)));
        }
        // It stays in its place until it is there: whoever breaks this off leaves it to be taken away.
        let made = match slot.ahead.as_mut() {
            Some(ahead) => ahead.made().await,
            None => return Ok((name, None)),
        };
        slot.ahead = None;
        // One that could not be made is tried again, by whoever has asked.
        Ok((name, made))
    }

    /// Packets of this network's family pass: what was held goes first, and pppd's scripts are told.
    pub(super) async fn passes(self: &Arc<Self>, unit: &Unit, network: &Network) {
        let family = match network {
            Network::V4(_) => Family::V4,
            Network::V6(_) => Family::V6,
        };
        self.send_held(unit, family).await;
        if let Network::V4(v4) = network {
            self.learn(unit, v4.local);
        }
        if self.profile.ppp.as_ref().is_some_and(|ppp| ppp.scripts) {
            let mut slot = self.slot.lock().await;
            if slot.scripts.is_none() {
                let scripts = slot.scripts.insert(Scripts::begin(self.about()));
                self.handing.helped_by(scripts.helper());
            }
            slot.scripts.iter().for_each(|scripts| scripts.up(unit, network));
        }
    }

    /// The scripts of what a process before has left go on with their helper. It came up then, in seconds since 1970.
    pub(super) async fn scripts_again(&self, helper: Option<OwnedFd>, since: u64) {
        if self.profile.ppp.as_ref().is_some_and(|ppp| ppp.scripts) {
            self.slot.lock().await.scripts = Some(Scripts::again(self.about(), helper, since));
        }
    }

    fn about(&self) -> About {
        let name = self.profile.name.to_string();
        About {
            device: self.carriage().word(),
            parameter: name.clone(),
            link: name,
            peer: String::new(),
            use_peer_dns: self.profile.dns == Dns::Auto,
        }
    }

    /// The link ends, and pppd's scripts are told what it has carried.
    pub(super) async fn passes_no_more(&self, unit: Option<&Arc<Unit>>) {
        let scripts = self.slot.lock().await.scripts.take();
        if let (Some(scripts), Some(unit)) = (scripts, unit) {
            scripts.down(&carried(Arc::clone(unit)).await.unwrap_or_default());
        }
    }

    async fn send_held(&self, unit: &Unit, family: Family) {
        let of_family = |frame: &Vec<u8>| {
            let protocol = split_frame(frame).ok().map(|(protocol, _)| protocol);
            protocol == Some(if family == Family::V4 { Protocol::IP } else { Protocol::IPV6 })
        };
        for frame in self.slot.lock().await.held.extract_if(.., |frame| of_family(frame)) {
            if let Err(error) = unit.send(&frame) {
                tracing::debug!(%error, "a packet that was held is lost");
            }
        }
    }

    /// The address that this connection had last.
    pub(super) async fn former(&self) -> Option<Ipv4Addr> {
        self.slot.lock().await.former
    }

    /// Addresses, routes and rules of a family.
    pub(super) async fn install(&self, unit: &Unit, network: &Network) -> Result<(), Failure> {
        let mut slot = self.slot.lock().await;
        let mut wanted = self.wanted(&slot, unit, network).await?;
        wanted.changes.retain(|change| !slot.made.contains(change));
        let mut undos = Vec::new();
        let made = self.make(&mut slot, &wanted.changes, &mut undos).await;
        slot.up.extend(undos);
        made?;
        self.stands(&mut slot, unit, network, wanted).await
    }

    /// What a family wants: its address, routes and rules.
    pub(super) async fn wanted(
        &self,
        slot: &Slot,
        unit: &Unit,
        network: &Network,
    ) -> Result<Wanted, Failure> {
        let (address, routes) = match network {
            Network::V4(v4) => (Prefix::host(IpAddr::V4(v4.local)), self.routes_v4(v4)),
            Network::V6(v6) => (Prefix { address: link_local(v6), length: 64 }, self.routes_v6()),
        };
        let routes: Vec<Prefix> = routes.into_iter().filter(|r| !slot.routes.contains(r)).collect();
        let mut changes = Vec::new();
        if address.address.is_ipv6() {
            // The server's router advertisements bring addresses, by `Autoconfiguring`, and nothing else: where packets go is
            // the profile's to say. The kernel would route what they call on-link.
            let key = format!("net/ipv6/conf/{}/accept_ra", unit.name());
            changes.push(Change::Setting { key, value: "0".into() });
        }
        changes.push(Change::Address { link: unit.name().to_owned(), address });
        // A link-local address is no source for what goes further.
        let source = match address.address {
            IpAddr::V4(a) => IpAddr::V4(a),
            IpAddr::V6(_) => IpAddr::from([0_u16; 8]),
        };
        changes.extend(tunnel_routes(unit.name(), self.numbers.table(), &[source], &routes));
        changes.extend(self.segments(unit.name()).await?);
        Ok(Wanted { address, routes, changes })
    }

    /// It stands now.
    pub(super) async fn stands(
        &self,
        slot: &mut Slot,
        unit: &Unit,
        network: &Network,
        wanted: Wanted,
    ) -> Result<(), Failure> {
        let Wanted { address, routes, changes } = wanted;
        if let Network::V4(v4) = network {
            (slot.former, slot.current) = (Some(v4.local), Some(v4.local));
        }
        slot.made.extend(changes);
        slot.routes.extend(&routes);
        self.daemon.registry().update(self.id, |f| {
            unit.name().clone_into(&mut f.interface);
            f.addresses.push(address);
            f.routes.extend(routes);
        });
        if let Network::V6(v6) = network {
            let (host, identifier) = (self.daemon.host(), v6.local);
            let former =
                slot.addressing.replace(Autoconfiguring::begin(unit, identifier, host, self.told())?);
            if let Some(former) = former {
                former.end().await;
            }
        }
        Ok(())
    }

    /// Networks that the server has told of, from our address; whether the link is still that one.
    pub(super) async fn route(
        &self,
        link: &str,
        address: Ipv4Addr,
        networks: &[Prefix],
    ) -> Result<bool, Failure> {
        let mut slot = self.slot.lock().await;
        if slot.current != Some(address) {
            return Ok(false);
        }
        let routes: Vec<Prefix> = networks.iter().filter(|r| !slot.routes.contains(r)).copied().collect();
        let mut wanted = tunnel_routes(link, self.numbers.table(), &[IpAddr::V4(address)], &routes);
        wanted.retain(|change| !slot.made.contains(change));
        let mut undos = Vec::new();
        let made = self.make(&mut slot, &wanted, &mut undos).await;
        slot.up.extend(undos);
        made?;
        slot.made.extend(wanted);
        slot.routes.extend(&routes);
        self.daemon.registry().update(self.id, |f| f.routes.extend(routes));
        Ok(true)
    }

    /// Shows what router advertisements bring.
    fn told(&self) -> Told {
        let (id, daemon, profile) = (self.id, Arc::clone(&self.daemon), Arc::clone(&self.profile));
        Box::new(move |output| {
            daemon.registry().update(id, |f| match output {
                HostOutput::Add(address) => f.addresses.push(Prefix::host(IpAddr::V6(*address))),
                HostOutput::Remove(address) => f.addresses.retain(|a| a.address != IpAddr::V6(*address)),
                HostOutput::Dns(servers) => {
                    f.dns.retain(IpAddr::is_ipv4);
                    f.dns.extend(servers.iter().copied().map(IpAddr::V6));
                }
                HostOutput::Icmp(_) | HostOutput::Dhcp(_) => {}
            });
            if matches!(output, HostOutput::Dns(_)) {
                let (daemon, profile) = (Arc::clone(&daemon), Arc::clone(&profile));
                tokio::spawn(async move { daemon.names().settle(id, &profile).await });
            }
        })
    }

    /// What hosts need that send by way of this one, if it forwards.
    async fn segments(&self, link: &str) -> Result<Option<Change>, Failure> {
        let host = self.daemon.host();
        let mut forwards = false;
        for key in ["net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"] {
            let value =
                host.setting(key).await.map_err(|e| refused("reading whether this host forwards", &e))?;
            forwards |= value.as_deref() == Some("1");
        }
        // Without nftables they have to find out by themselves what fits.
        let wanted = forwards && nft_program().is_some();
        Ok(wanted.then(|| Change::Nftables {
            table: format!("adit-{link}-forwarded-segments"),
            body: segments(link),
        }))
    }

    fn routes_v4(&self, network: &Ipv4Network) -> Vec<Prefix> {
        if self.profile.tunnel == Traffic::Full {
            return vec![Prefix::ANY_V4];
        }
        let mut routes = self.profile.remote_networks();
        routes.retain(|r| r.address.is_ipv4());
        routes.extend(network.peer.map(|peer| Prefix::host(IpAddr::V4(peer))));
        routes
    }

    fn routes_v6(&self) -> Vec<Prefix> {
        if self.profile.tunnel == Traffic::Full {
            return vec![Prefix::ANY_V6];
        }
        let mut routes = self.profile.remote_networks();
        routes.retain(|r| r.address.is_ipv6());
        routes
    }

    async fn make(&self, slot: &mut Slot, wanted: &[Change], undos: &mut Vec<u64>) -> Result<(), Failure> {
        let mut made = Vec::new();
        let done = slot.ground.changes(&self.daemon, self.numbers)?.make_all(wanted, &mut made).await;
        undos.extend(made.into_iter().flatten());
        done.map_err(|not| not_made(wanted, &not))
    }

    /// Takes the tunnel away; the block stays.
    pub(super) async fn lower(&self) -> Vec<String> {
        let mut slot = self.slot.lock().await;
        if let Some(mut ahead) = slot.ahead.take() {
            // Nobody has asked for it. The kernel takes its time for this, too.
            let made = ahead.made().await;
            let _ = tokio::task::spawn_blocking(move || drop(made)).await;
        }
        slot.forget_families().await;
        // What others of this connection have shown is not this one's to take back.
        let waiting = slot.waiting.as_ref().map_or(0, |waiting| waiting.made.len());
        let stood = slot.made.len() > waiting;
        slot.made = slot.waiting.iter().flat_map(|waiting| waiting.made.iter().cloned()).collect();
        let up = std::mem::take(&mut slot.up);
        let errors = undo_all(&slot, up).await;
        if !stood {
            return errors;
        }
        self.daemon.registry().update(self.id, |f| {
            f.addresses.clear();
            f.routes.clear();
            f.dns.clear();
            f.domains.clear();
            f.dns_silent.clear();
        });
        self.daemon.names().forget(self.id).await;
        errors
    }

    /// Takes everything away, the block last.
    ///
    /// # Errors
    /// What could not be undone; it stands in the journal and is tried again at the next start.
    pub(super) async fn undo(&self) -> Result<(), Failure> {
        let mut errors = self.lower().await;
        let mut slot = self.slot.lock().await;
        slot.blocked = false;
        if let Some(waiting) = slot.waiting.take() {
            errors.extend(self.wait_no_more(&mut slot, waiting).await);
        }
        slot.ground.leave(&self.daemon, errors).await
    }
}

impl Slot {
    /// Nothing is up.
    pub(super) async fn forget_families(&mut self) {
        self.routes.clear();
        self.current = None;
        if let Some(addressing) = self.addressing.take() {
            addressing.end().await;
        }
    }
}

pub(super) async fn undo_all(slot: &Slot, undos: Vec<u64>) -> Vec<String> {
    let Some(changes) = &slot.ground.changes else { return Vec::new() };
    let last_first: Vec<u64> = undos.into_iter().rev().collect();
    changes.undo_each(&last_first).await.iter().map(ToString::to_string).collect()
}

fn v4_of(addresses: &[IpAddr]) -> Vec<Ipv4Addr> {
    let v4 = addresses.iter().filter_map(|address| match address {
        IpAddr::V4(address) => Some(*address),
        IpAddr::V6(_) => None,
    });
    v4.collect()
}

fn link_local(network: &Ipv6Network) -> IpAddr {
    IpAddr::V6(Ipv6Network::link_local(network.local))
}
