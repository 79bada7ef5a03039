//! What a dialled connection puts on this host, and how it is taken away again.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use adit_core::{Failure, FailureCode, Path, Prefix, Step, TrafficSelector};
use adit_ikev2::api::{ChildId, ChildMode, ChildSa, EspKeys, SaId};
use adit_plan::dhcp::Learned;
use adit_plan::{Encapsulation, NetworkPlan, TunnelFacts, inner_mtu};
use adit_profile::{Profile, Tunnel};
use adit_xfrm_kernel::StateId;

use super::handing::Handing;
use super::life::{Ground, not_made, refused};
use super::roaming::may_roam;
use super::trap::Trap;
use crate::daemon::Daemon;
use crate::esp::{Limits, Numbers, Sad};
use crate::host::{Change, PathInfo, Shared, loosen_reverse_path, tunnel_routes};
use crate::registry::ConnectionId;
use crate::suites;

/// Where the path's MTU is not known.
const ETHERNET: u16 = 1500;

/// What one connection has on this host.
pub(crate) struct Installation {
    id: ConnectionId,
    pub(super) profile: Arc<Profile>,
    pub(super) daemon: Arc<Daemon>,
    pub(super) numbers: Numbers,
    pub(super) slot: tokio::sync::Mutex<Slot>,
    /// Its IKE_SAs, oldest first: two, while it authenticates again.
    sas: Mutex<Vec<Of>>,
    pub(super) handing: Handing,
}

/// What one IKE_SA has put here.
pub(super) struct Of {
    pub(super) sa: SaId,
    pub(super) children: Vec<ChildId>,
}

/// What a CHILD_SA is to have on this host.
pub(super) struct Planned {
    link: String,
    plan: NetworkPlan,
    pub(super) wanted: Vec<Change>,
}

#[derive(Default)]
pub(super) struct Slot {
    /// Whether an installation may begin.
    pub(super) open: bool,
    pub(super) ground: Ground,
    pub(super) uplink: Option<PathInfo>,
    /// The block's undo, which goes last.
    pub(super) block: Option<u64>,
    /// Undos of the link and what goes with it.
    pub(super) link: Vec<u64>,
    /// The link's index, if what enters it can be held while states move.
    pub(super) plugged: Option<u32>,
    /// What the server has answered to a DHCPINFORM.
    pub(super) learned: Option<Learned>,
    /// What CHILD_SAs need beside: addresses, routes, rules.
    pub(super) shared: Shared,
    /// The policies, while a packet is waited for.
    pub(super) trap: Option<Trap>,
    /// Between which ends one was waited for last.
    pub(super) trapped: Option<(String, Path)>,
    /// Who needs the routes that lead to the policies.
    pub(super) waits_by: Option<ChildId>,
}

impl Installation {
    /// Nothing yet.
    pub(crate) fn new(
        id: ConnectionId,
        profile: &Arc<Profile>,
        daemon: &Arc<Daemon>,
        ground: Ground,
    ) -> Self {
        Self {
            id,
            profile: Arc::clone(profile),
            daemon: Arc::clone(daemon),
            numbers: daemon.numbers(),
            slot: tokio::sync::Mutex::new(Slot { ground, ..Slot::default() }),
            sas: Mutex::default(),
            handing: Handing::default(),
        }
    }

    /// The inbound and outbound state, while there are any: the newest IKE_SA's.
    pub(crate) fn states(&self) -> Option<(StateId, StateId)> {
        let sas: Vec<SaId> = self.sas().iter().map(|of| of.sa).collect();
        sas.into_iter().rev().find_map(|sa| self.sad().states(sa))
    }

    /// The newest IKE_SA.
    pub(super) fn newest(&self) -> Option<SaId> {
        self.sas().last().map(|of| of.sa)
    }

    /// Every state of every CHILD_SA.
    pub(super) fn all_states(&self) -> Vec<StateId> {
        let sas: Vec<SaId> = self.sas().iter().map(|of| of.sa).collect();
        sas.into_iter().flat_map(|sa| self.sad().all_states(sa)).collect()
    }

    pub(super) fn all_children(&self) -> Vec<ChildId> {
        self.sas().iter().flat_map(|of| of.children.iter().copied()).collect()
    }

    /// Whether any CHILD_SA is left.
    fn has_children(&self) -> bool {
        self.sas().iter().any(|of| !of.children.is_empty())
    }

    pub(super) const fn id(&self) -> ConnectionId {
        self.id
    }

    pub(super) fn sad(&self) -> &Sad {
        self.daemon.sad()
    }

    pub(super) fn sas(&self) -> MutexGuard<'_, Vec<Of>> {
        // The list is consistent between any two statements, so a panicked writer harms nothing.
        self.sas.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// See [`Ground::block`]. Does nothing where the block stands already.
    pub(crate) async fn block(&self) -> Result<(), Failure> {
        let mut slot = self.slot.lock().await;
        if slot.block.is_some() || slot.ground.is_lent() {
            return Ok(());
        }
        slot.block = slot.ground.block(&self.daemon, self.numbers, &self.profile, Vec::new()).await?;
        Ok(())
    }

    /// An installation may begin, over this uplink.
    pub(crate) async fn open(&self, uplink: PathInfo) {
        let mut slot = self.slot.lock().await;
        slot.open = true;
        slot.uplink = Some(uplink);
    }

    /// No installation may begin any more; one that has begun is waited for.
    pub(crate) async fn close(&self) {
        self.slot.lock().await.open = false;
    }

    /// Reserves an inbound SPI. The kernel drops it by itself in the end; here it goes with everything else.
    pub(crate) fn allocate_spi(
        &self,
        sa: SaId,
        path: Path,
    ) -> impl Future<Output = Result<u32, Failure>> + Send + use<> {
        let mut sas = self.sas();
        if !sas.iter().any(|of| of.sa == sa) {
            sas.push(Of { sa, children: Vec::new() });
        }
        drop(sas);
        self.sad().allocate_spi(sa, path, self.numbers)
    }

    /// Installs a CHILD_SA: states and policies; for the first one the link; addresses, routes and rules that are not
    /// there yet. One that takes another's place has all that, and needs its states only: they are on their way when
    /// this returns.
    pub(crate) fn install(
        self: &Arc<Self>,
        sa: SaId,
        child: ChildSa,
    ) -> impl Future<Output = Result<(), Failure>> + Send + use<> {
        let installation = Arc::clone(self);
        let (id, limits) = (child.child, self.limits());
        let rekeyed = child.replaces.filter(|old| self.sas().iter().any(|of| of.children.contains(old)));
        let ready = match rekeyed {
            Some(old) => Err((old, self.sad().install(sa, child, self.numbers, limits))),
            None => Ok(child),
        };
        async move {
            match ready {
                Ok(child) => {
                    let facts = installation.install_new(sa, child, limits).await?;
                    installation.learn(facts, id);
                    Ok(())
                }
                Err((old, installed)) => {
                    installed.await?;
                    installation.slot.lock().await.shared.inherit(old, id);
                    let noted = installation.note(sa, id);
                    if noted.is_err() {
                        installation.sad().remove(sa).await.iter().for_each(|e| installation.tell(e));
                    }
                    noted
                }
            }
        }
    }

    /// Adds the outbound state of a CHILD_SA that was installed without.
    pub(crate) fn install_outbound(
        &self,
        sa: SaId,
        child: ChildId,
        keys: EspKeys,
    ) -> impl Future<Output = Result<(), Failure>> + Send + use<> {
        self.sad().install_outbound(sa, child, keys)
    }

    /// Removes a CHILD_SA, and what it alone needed.
    pub(crate) fn child_closed(self: &Arc<Self>, sa: SaId, child: ChildId, replaced: bool) {
        self.sas().iter_mut().for_each(|of| of.children.retain(|c| *c != child));
        let closed = self.sad().close_child(sa, child, replaced);
        let installation = Arc::clone(self);
        tokio::spawn(async move {
            let errors = closed.await;
            errors.iter().for_each(|error| installation.tell(error));
            let mut slot = installation.slot.lock().await;
            installation.release(&mut slot, child).await;
        });
    }

    /// Removes what an IKE_SA had that is gone. With another one up, what both need stays.
    pub(crate) fn closed(self: &Arc<Self>, sa: SaId) {
        let children = {
            let mut sas = self.sas();
            let at = sas.iter().position(|of| of.sa == sa);
            at.map(|at| sas.remove(at).children).unwrap_or_default()
        };
        let removed = self.sad().remove(sa);
        let installation = Arc::clone(self);
        tokio::spawn(async move {
            let errors = removed.await;
            errors.iter().for_each(|error| installation.tell(error));
            let mut slot = installation.slot.lock().await;
            for child in children {
                installation.release(&mut slot, child).await;
            }
        });
    }

    /// It goes over this path now.
    pub(crate) fn moved(&self, sa: SaId, path: Path, encapsulated: bool) {
        self.sad().follow(sa, path, encapsulated);
    }

    /// Takes the tunnel away; the block stays.
    pub(crate) async fn lower(&self) {
        let mut slot = self.slot.lock().await;
        slot.open = false;
        for failure in self.lower_slot(&mut slot).await {
            tracing::warn!(connection = self.id.0, %failure, "not undone");
        }
    }

    /// Takes everything away, the block last.
    ///
    /// # Errors
    /// What could not be undone; it stands in the journal and is tried again at the next start.
    pub(crate) async fn undo(&self) -> Result<(), Failure> {
        let mut slot = self.slot.lock().await;
        slot.open = false;
        let mut errors = self.lower_slot(&mut slot).await;
        errors.extend(self.disarm(&mut slot).await);
        slot.block = None;
        self.hand_on_no_more();
        slot.ground.leave(&self.daemon, errors).await
    }

    async fn install_new(&self, sa: SaId, child: ChildSa, limits: Limits) -> Result<TunnelFacts, Failure> {
        let mut slot = self.slot.lock().await;
        if !slot.open {
            return Err(taken_down());
        }
        let id = child.child;
        let facts = TunnelFacts {
            v4: child.lease.v4,
            v6: child.lease.v6,
            local_ts: child.local_ts.clone(),
            remote_ts: child.remote_ts.clone(),
            full: self.profile.tunnel == Tunnel::Full,
            subnets: self.wanted_subnets(&slot, &child.lease.subnets),
        };
        let (tunnel, mtu) = (child.mode == ChildMode::Tunnel, self.mtu(&slot, &child));
        if tunnel {
            self.link(&mut slot, mtu).await?;
        }
        self.sad().install(sa, child, self.numbers, limits).await?;
        slot.plugged.iter().for_each(|link| self.sad().comes_through(sa, *link));
        let made = match tunnel {
            true => self.networking(&mut slot, &facts, id).await,
            false => Ok(()),
        };
        let noted = made.and_then(|()| self.note(sa, id));
        if noted.is_err() {
            let errors = self.sad().close_child(sa, id, false).await;
            errors.iter().for_each(|error| self.tell(error));
            self.release(&mut slot, id).await;
        }
        noted.map(|()| facts)
    }

    /// Of what the peer lets us reach; `None`: all of it. `told`: the networks that it says are behind it.
    fn wanted_subnets(&self, slot: &Slot, told: &[Prefix]) -> Option<Vec<Prefix>> {
        if self.profile.routes_by_dhcp {
            return Some(slot.learned.as_ref().map(|l| l.routes.clone()).unwrap_or_default());
        }
        // Further CHILD_SAs have been asked for as they are.
        let asked_for = if self.has_children() { Vec::new() } else { self.profile.remote_networks() };
        let wanted = if asked_for.is_empty() { told.to_vec() } else { asked_for };
        (!wanted.is_empty()).then_some(wanted)
    }

    /// A CHILD_SA stands. Where its IKE_SA has gone meanwhile, so must it.
    fn note(&self, sa: SaId, child: ChildId) -> Result<(), Failure> {
        let mut sas = self.sas();
        let of = sas.iter_mut().find(|of| of.sa == sa).ok_or_else(taken_down)?;
        of.children.push(child);
        Ok(())
    }

    /// The xfrm interface, and an uplink that lets its packets come back; once.
    async fn link(&self, slot: &mut Slot, mtu: u16) -> Result<(), Failure> {
        if !slot.link.is_empty() {
            return Ok(());
        }
        let name = slot.ground.name(&self.daemon, &self.profile).await?;
        let mut wanted = vec![Change::XfrmLink { name, if_id: self.numbers.if_id, mtu: u32::from(mtu) }];
        if let Some(uplink) = &slot.uplink {
            let host = self.daemon.host();
            let loosen = loosen_reverse_path(host.as_ref(), &uplink.link).await;
            wanted.extend(loosen.map_err(|e| refused("reading rp_filter", &e))?);
        }
        let mut made = Vec::new();
        let done = slot.ground.changes(&self.daemon, self.numbers)?.make_all(&wanted, &mut made).await;
        slot.link.extend(made.into_iter().flatten());
        done.map_err(|not| not_made(&wanted, &not))?;
        slot.plugged = match may_roam(&self.profile) {
            true => self.plug(&wanted).await,
            false => None,
        };
        Ok(())
    }

    async fn plug(&self, made: &[Change]) -> Option<u32> {
        let Some(Change::XfrmLink { name, .. }) = made.first() else { return None };
        let index = nix::net::if_::if_nametoindex(name.as_str()).ok()?;
        self.sad().plug(index).await.then_some(index)
    }

    /// Addresses, routes and rules, as far as they are not there.
    pub(super) async fn networking(
        &self,
        slot: &mut Slot,
        facts: &TunnelFacts,
        child: ChildId,
    ) -> Result<(), Failure> {
        let planned = self.plan(slot, facts).await?;
        self.need(slot, child, &planned.wanted).await?;
        self.show(planned);
        Ok(())
    }

    /// Addresses, routes and rules that a CHILD_SA is to have.
    pub(super) async fn plan(&self, slot: &mut Slot, facts: &TunnelFacts) -> Result<Planned, Failure> {
        let link = slot.ground.name(&self.daemon, &self.profile).await?;
        let plan = NetworkPlan::of(facts);
        let sources = match plan.addresses.is_empty() {
            true => self.own_addresses(&facts.local_ts).await,
            false => plan.addresses.iter().map(|a| a.address).collect(),
        };
        let address = |a: &Prefix| Change::Address { link: link.clone(), address: *a };
        let mut wanted: Vec<Change> = plan.addresses.iter().map(address).collect();
        wanted.extend(tunnel_routes(&link, self.numbers.table(), &sources, &plan.routes));
        Ok(Planned { link, plan, wanted })
    }

    /// They are there.
    pub(super) fn show(&self, Planned { link, plan, .. }: Planned) {
        self.daemon.registry().update(self.id, |f| {
            f.interface = link;
            let new: Vec<_> = plan.addresses.into_iter().filter(|a| !f.addresses.contains(a)).collect();
            f.addresses.extend(new);
            let new: Vec<_> = plan.routes.into_iter().filter(|r| !f.routes.contains(r)).collect();
            f.routes.extend(new);
        });
    }

    pub(super) async fn need(
        &self,
        slot: &mut Slot,
        child: ChildId,
        wanted: &[Change],
    ) -> Result<(), Failure> {
        let Slot { ground, shared, .. } = slot;
        let changes = ground.changes(&self.daemon, self.numbers)?;
        shared.need(changes, child, wanted).await.map_err(|e| refused("addresses and routes", &e))
    }

    /// This host's own addresses on our side of the traffic selectors, so that what it says itself fits them; of a family
    /// that has none, whichever the host takes.
    pub(super) async fn own_addresses(&self, local_ts: &[TrafficSelector]) -> Vec<IpAddr> {
        let host = self.daemon.host();
        let mut out: Vec<IpAddr> = Vec::new();
        for ts in local_ts {
            let there = host.path_to(ts.addresses.first).await.map(|p| p.source);
            // To "everything" the kernel's way is the host itself.
            let fits = |source: &IpAddr| ts.addresses.contains(*source) && !source.is_loopback();
            out.extend(there.ok().filter(fits));
        }
        for any in [IpAddr::from([0; 4]), IpAddr::from([0; 16])] {
            let carried = local_ts.iter().any(|ts| ts.addresses.first.is_ipv4() == any.is_ipv4());
            if carried && !out.iter().any(|a| a.is_ipv4() == any.is_ipv4()) {
                out.push(any);
            }
        }
        out
    }

    pub(super) async fn release(&self, slot: &mut Slot, child: ChildId) {
        if let Slot { ground: Ground { changes: Some(changes), .. }, shared, .. } = slot {
            let errors = shared.release(changes, child).await;
            errors.iter().for_each(|error| self.tell(error));
        }
    }

    async fn lower_slot(&self, slot: &mut Slot) -> Vec<String> {
        let mut errors = Vec::new();
        if let Slot { ground: Ground { changes: Some(changes), .. }, shared, .. } = slot {
            errors.extend(shared.release_all(changes).await.iter().map(ToString::to_string));
        }
        errors.extend(self.lower_tunnel(slot).await);
        errors
    }

    /// The link and the CHILD_SAs, with what they need.
    pub(super) async fn lower_tunnel(&self, slot: &mut Slot) -> Vec<String> {
        let mut errors = Vec::new();
        // What others of this connection have shown is not this one's to take back.
        let stood = !slot.link.is_empty() || self.has_children();
        if stood {
            self.daemon.names().forget(self.id).await;
        }
        slot.learned = None;
        if let Slot { ground: Ground { changes: Some(changes), .. }, link, .. } = slot {
            let last_first: Vec<u64> = std::mem::take(link).into_iter().rev().collect();
            errors.extend(changes.undo_each(&last_first).await.iter().map(ToString::to_string));
        }
        if stood {
            self.daemon.registry().update(self.id, |f| {
                f.addresses.clear();
                f.routes.clear();
            });
        }
        let sas = std::mem::take(&mut *self.sas());
        for of in sas {
            errors.extend(self.lower_sa(slot, of).await);
        }
        errors
    }

    async fn lower_sa(&self, slot: &mut Slot, of: Of) -> Vec<String> {
        let removed = self.sad().remove(of.sa).await;
        for child in of.children {
            self.release(slot, child).await;
        }
        removed.iter().map(ToString::to_string).collect()
    }

    pub(super) fn limits(&self) -> Limits {
        Limits { bytes: self.profile.rekeying.bytes, packets: self.profile.rekeying.packets }
    }

    pub(super) fn tell(&self, error: &impl std::fmt::Display) {
        tracing::warn!(connection = self.id.0, %error, "not undone");
    }

    fn mtu(&self, slot: &Slot, child: &ChildSa) -> u16 {
        if let Some(mtu) = self.profile.mtu {
            return mtu;
        }
        let path = slot.uplink.as_ref().and_then(|u| u16::try_from(u.mtu).ok()).unwrap_or(ETHERNET);
        let how = Encapsulation {
            outer: child.path.local.ip(),
            udp: child.encapsulated,
            esp: suites::overhead(child.suite),
        };
        inner_mtu(path, how, child.lease.v6.is_some())
    }
}

fn taken_down() -> Failure {
    Failure::new(FailureCode::Cancelled, Step::Child, "the connection was taken down meanwhile")
}
