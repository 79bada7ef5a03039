//! What a dialled connection puts on this host, and how it is taken away again.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use adit_core::{Failure, FailureCode, Path, Step};
use adit_ikev2::api::ChildSa;
use adit_plan::{Encapsulation, NetworkPlan, TunnelFacts, inner_mtu};
use adit_profile::{Profile, Tunnel};
use adit_xfrm_kernel::{PolicyId, StateId};

use crate::daemon::Daemon;
use crate::esp::{Numbers, TunnelSa, allocate_spi, kernel_child};
use crate::host::{Block, Change, Changes, PathInfo, loosen_reverse_path, tunnel_routes};
use crate::registry::ConnectionId;
use crate::suites;

/// Where the path's MTU is not known.
const ETHERNET: u16 = 1500;

/// What one connection has on this host.
pub(crate) struct Installation {
    id: ConnectionId,
    profile: Arc<Profile>,
    daemon: Arc<Daemon>,
    numbers: Numbers,
    slot: tokio::sync::Mutex<Slot>,
    states: Mutex<Option<(StateId, StateId)>>,
}

#[derive(Default)]
struct Slot {
    /// Whether an installation may begin.
    open: bool,
    changes: Option<Changes>,
    name: Option<String>,
    uplink: Option<PathInfo>,
    /// The block's undo, which goes last.
    block: Option<u64>,
    /// Undos of everything else.
    tunnel: Vec<u64>,
    /// Inbound SPIs that were reserved.
    larval: Vec<StateId>,
    states: Vec<StateId>,
    policies: Vec<PolicyId>,
}

impl Installation {
    /// Nothing yet.
    pub(crate) fn new(id: ConnectionId, profile: &Arc<Profile>, daemon: &Arc<Daemon>) -> Self {
        Self {
            id,
            profile: Arc::clone(profile),
            daemon: Arc::clone(daemon),
            numbers: daemon.numbers(),
            slot: tokio::sync::Mutex::default(),
            states: Mutex::default(),
        }
    }

    /// The inbound and outbound state, while there are any.
    pub(crate) fn states(&self) -> Option<(StateId, StateId)> {
        *self.states.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on only the tunnel's own packets leave this host. Does nothing where the block stands already.
    pub(crate) async fn block(&self) -> Result<(), Failure> {
        let mut slot = self.slot.lock().await;
        if slot.block.is_some() {
            return Ok(());
        }
        let interface = self.name(&mut slot).await?;
        let change = Block { interface, inside: Vec::new() }.change();
        slot.block = self.changes(&mut slot)?.make(&change).await.map_err(|e| network("blocking", &e))?;
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
    pub(crate) async fn allocate_spi(&self, path: Path) -> Result<u32, Failure> {
        let mut slot = self.slot.lock().await;
        if !slot.open {
            return Err(taken_down());
        }
        let (spi, larval) = allocate_spi(&*self.daemon.xfrm(), path, self.numbers)?;
        slot.larval.push(larval);
        Ok(spi)
    }

    /// Installs the tunnel: link, states and policies, addresses, routes, rules.
    pub(crate) async fn install(&self, child: ChildSa) -> Result<(), Failure> {
        let mut slot = self.slot.lock().await;
        if !slot.open {
            return Err(taken_down());
        }
        let result = self.install_into(&mut slot, child).await;
        if result.is_err() {
            self.lower_slot(&mut slot).await;
        }
        result
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
        if let Some(changes) = slot.changes.take() {
            errors.extend(changes.undo_all().await.iter().map(ToString::to_string));
        }
        slot.block = None;
        if let Some(name) = slot.name.take() {
            self.daemon.release_link_name(&name).await;
        }
        match errors.is_empty() {
            true => Ok(()),
            false => {
                let text = format!("not everything could be undone: {}", errors.join("; "));
                Err(Failure::new(FailureCode::KernelRefused, Step::Close, text)
                    .hint("systemctl restart aditd  tries again"))
            }
        }
    }

    async fn install_into(&self, slot: &mut Slot, child: ChildSa) -> Result<(), Failure> {
        let link = self.name(slot).await?;
        let plan = NetworkPlan::of(&TunnelFacts {
            v4: child.lease.v4,
            v6: child.lease.v6,
            remote_ts: child.remote_ts.clone(),
            full: self.profile.tunnel == Tunnel::Full,
            subnets: self.profile.remote_networks(),
        });
        let mtu = self.mtu(slot, &child);
        let sources: Vec<IpAddr> = plan.addresses.iter().map(|a| a.address).collect();
        let link_change =
            Change::XfrmLink { name: link.clone(), if_id: self.numbers.if_id, mtu: u32::from(mtu) };
        let mut before = vec![link_change];
        if let Some(uplink) = &slot.uplink {
            let host = self.daemon.host();
            let loosen = loosen_reverse_path(host.as_ref(), &uplink.link).await;
            before.extend(loosen.map_err(|e| network("reading rp_filter", &e))?);
        }
        self.make(slot, &before).await?;
        self.install_states(slot, child).await?;
        let address = |a: &adit_core::Prefix| Change::Address { link: link.clone(), address: *a };
        let mut after: Vec<Change> = plan.addresses.iter().map(address).collect();
        after.extend(tunnel_routes(&link, self.numbers.table(), &sources, &plan.routes));
        self.make(slot, &after).await?;
        self.daemon.registry().update(self.id, |f| {
            f.interface = link;
            f.addresses = plan.addresses;
            f.routes = plan.routes;
        });
        Ok(())
    }

    async fn install_states(&self, slot: &mut Slot, child: ChildSa) -> Result<(), Failure> {
        let TunnelSa { child, states, policies } = kernel_child(child, self.numbers)?;
        // Noted before the kernel is asked: an installation that fails half-way is removed whole.
        (slot.states, slot.policies) = (vec![states.0, states.1], policies);
        let xfrm = self.daemon.xfrm();
        tokio::task::spawn_blocking(move || xfrm.install(child))
            .await
            .map_err(|_| network("installing states", &"the door died"))??;
        *self.states.lock().unwrap_or_else(PoisonError::into_inner) = Some(states);
        Ok(())
    }

    async fn make(&self, slot: &mut Slot, changes: &[Change]) -> Result<(), Failure> {
        for change in changes {
            let made = self.changes(slot)?.make(change).await;
            slot.tunnel.extend(made.map_err(|e| network(&change.to_string(), &e))?);
        }
        Ok(())
    }

    async fn lower_slot(&self, slot: &mut Slot) -> Vec<String> {
        *self.states.lock().unwrap_or_else(PoisonError::into_inner) = None;
        let mut errors = Vec::new();
        let steps = std::mem::take(&mut slot.tunnel);
        if let Some(changes) = &slot.changes {
            for number in steps.into_iter().rev() {
                errors.extend(changes.undo_one(number).await.err().map(|e| e.to_string()));
            }
        }
        let (mut states, policies) = (std::mem::take(&mut slot.states), std::mem::take(&mut slot.policies));
        states.append(&mut slot.larval);
        let xfrm = self.daemon.xfrm();
        let remove = move || {
            let mut errors = xfrm.remove_policies(&policies);
            errors.extend(xfrm.remove_states(&states));
            errors
        };
        match tokio::task::spawn_blocking(remove).await {
            Ok(removed) => errors.extend(removed.iter().map(ToString::to_string)),
            Err(_) => errors.push("removing states: the door died".to_owned()),
        }
        errors
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

    /// The interface's name, chosen once for the connection's life.
    async fn name(&self, slot: &mut Slot) -> Result<String, Failure> {
        if let Some(name) = &slot.name {
            return Ok(name.clone());
        }
        let wanted = self.profile.interface.as_ref().map(|n| n.as_str());
        let name = self.daemon.reserve_link_name(wanted).await?;
        slot.name = Some(name.clone());
        Ok(name)
    }

    fn changes<'a>(&self, slot: &'a mut Slot) -> Result<&'a Changes, Failure> {
        let changes = match slot.changes.take() {
            Some(changes) => changes,
            None => self.daemon.changes(&format!("client-{:08x}", self.numbers.if_id))?,
        };
        Ok(slot.changes.insert(changes))
    }
}

fn taken_down() -> Failure {
    Failure::new(FailureCode::Cancelled, Step::Child, "the connection was taken down meanwhile")
}

fn network(what: &str, error: &impl std::fmt::Display) -> Failure {
    Failure::new(FailureCode::KernelRefused, Step::Network, format!("{what}: {error}"))
        .hint("ctl doctor  shows what this host lacks")
}
