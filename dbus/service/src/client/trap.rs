//! What a connection has on this host while it waits for a packet: policies without states. What meets them is dropped
//! and not sent in clear, and the kernel tells of the first one.
//!
//! They have no if_id, whatever comes later: a packet that an xfrm interface can't send is answered with "host
//! unreachable", which ends a TCP connection that is just being made; one that meets a policy by the way that it has
//! without a tunnel is dropped without a word, and sent again by whoever sent it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use adit_core::{Failure, Path};
use adit_ikev2::api::{ChildId, ChildMode};
use adit_profile::Start;
use adit_xfrm_kernel::StateId;
use tokio::sync::Notify;

use super::configuration::{Ends, child_mode};
use super::install::{Installation, Slot};
use super::life::Ground;
use crate::esp::Awaited;
use crate::handover::Waits;
use crate::host::{Change, PathInfo, waiting_routes};

/// Under this number routes are needed that no CHILD_SA needs any more. The core counts from 1.
const HELD: ChildId = ChildId(u64::MAX);
/// Under one of these the routes are needed that lead to the policies; the other one is for the next, when the uplink
/// is another.
const WAITING: [ChildId; 2] = [ChildId(u64::MAX - 1), ChildId(u64::MAX - 2)];

/// Policies that wait for a packet.
pub(super) struct Trap {
    reqid: u32,
    path: Path,
    uplink: String,
    wake: Arc<Notify>,
}

impl Installation {
    /// From here on nothing that the connection is for leaves in clear; the first packet notifies.
    pub(super) async fn trap(&self, uplink: &PathInfo, path: Path) -> Result<Arc<Notify>, Failure> {
        let mut slot = self.slot.lock().await;
        let same = |trap: &&Trap| trap.path == path && trap.uplink == uplink.link;
        if let Some(trap) = slot.trap.as_ref().filter(same) {
            return Ok(Arc::clone(&trap.wake));
        }
        let wake = self.trap_anew(&mut slot, uplink.link.clone(), path).await?;
        self.lead_to_trap(&mut slot, &uplink.link).await?;
        Ok(wake)
    }

    /// This host's own packets get the source that goes into the tunnel; and those that are for there but that the policies
    /// do not know are lost.
    async fn lead_to_trap(&self, slot: &mut Slot, uplink: &str) -> Result<(), Failure> {
        if child_mode(self.profile.mode) == ChildMode::Transport {
            return Ok(());
        }
        let wanted = self.ways_to_trap(uplink).await;
        let [one, other] = WAITING;
        let (now, before) = if slot.waits_by == Some(one) { (other, one) } else { (one, other) };
        let needed = self.need(slot, now, &wanted).await;
        self.release(slot, if needed.is_ok() { before } else { now }).await;
        if needed.is_ok() {
            slot.waits_by = Some(now);
        }
        needed
    }

    async fn ways_to_trap(&self, uplink: &str) -> Vec<Change> {
        let nowhere = Path { local: ([0; 4], 0).into(), remote: ([0; 4], 0).into() };
        let sources = self.own_addresses(&self.awaited_local(nowhere)).await;
        waiting_routes(uplink, self.numbers.table(), &sources, &self.profile.remote_networks())
    }

    fn awaited_local(&self, path: Path) -> Vec<adit_core::TrafficSelector> {
        let ends = Ends { source: path.local.ip(), remote: path.remote.ip() };
        ends.local(&self.profile.local_subnets, self.profile.mode)
    }

    /// A packet has raised it in a process before, from where it waited, and this one is to wait there again.
    pub(super) async fn trap_was_answered(&self, slot: &mut Slot, path: Path) {
        let Some(uplink) = slot.uplink.clone().filter(|_| self.profile.start == Start::OnDemand) else {
            return;
        };
        let source = self.profile.local_address.unwrap_or(uplink.source);
        let path = Path { local: SocketAddr::new(source, 0), remote: path.remote };
        self.lead_there_again(slot, &uplink.link).await;
        slot.trapped = Some((uplink.link, path));
    }

    /// A process before has waited for a packet there, and this one goes on with that.
    ///
    /// # Errors
    /// Its policies can't be what is told.
    pub(super) async fn trap_again(&self, waits: Waits) -> Result<(), Failure> {
        let Waits { reqid, uplink, local, remote } = waits;
        let path = Path { local, remote };
        let mut slot = self.slot.lock().await;
        let wake = self.daemon.sad().trap_again(&self.awaited(reqid, path))?;
        slot.ground.changes(&self.daemon, self.numbers)?;
        self.lead_there_again(&mut slot, &uplink).await;
        slot.trapped = Some((uplink.clone(), path));
        slot.trap = Some(Trap { reqid, path, uplink, wake });
        Ok(())
    }

    /// The routes that lead to the policies are there.
    async fn lead_there_again(&self, slot: &mut Slot, uplink: &str) {
        let wanted = self.ways_to_trap(uplink).await;
        let [one, _] = WAITING;
        if let Slot { ground: Ground { changes: Some(changes), .. }, shared, .. } = &mut *slot {
            let made = |change: &Change| changes.made_before(change).is_some();
            shared.adopt(changes, one, wanted.into_iter().filter(made).collect());
            slot.waits_by = Some(one);
        }
    }

    /// The trap that stands, wherever it leads.
    pub(super) async fn trap_that_stands(&self) -> Option<Arc<Notify>> {
        self.slot.lock().await.trap.as_ref().map(|trap| Arc::clone(&trap.wake))
    }

    /// The tunnel is up, and its routes lead to it: they stay until it is waited for again, even if the peer ends it.
    pub(super) async fn trap_answered(&self) {
        let mut slot = self.slot.lock().await;
        for child in self.all_children() {
            slot.shared.inherit(child, HELD);
        }
        // The packets go by the routes now. They must not meet both.
        for failure in self.disarm(&mut slot).await {
            self.tell(&failure);
        }
    }

    /// Takes the tunnel away, and waits for a packet to where it led.
    pub(super) async fn lower_to_trap(&self) -> Result<(), Failure> {
        let mut slot = self.slot.lock().await;
        let trapped = match (slot.trap.is_some(), slot.trapped.clone()) {
            (false, Some((uplink, path))) => self.trap_anew(&mut slot, uplink, path).await.map(drop),
            _ => Ok(()),
        };
        slot.open = false;
        self.release(&mut slot, HELD).await;
        for failure in self.lower_tunnel(&mut slot).await {
            self.tell(&failure);
        }
        trapped
    }

    /// Nobody waits any more.
    pub(super) async fn disarm(&self, slot: &mut Slot) -> Vec<String> {
        self.hand_on_waiting(None);
        match slot.trap.take() {
            Some(trap) => self.remove_trap(&trap).await,
            None => Vec::new(),
        }
    }

    /// Packets so far, by state.
    pub(super) async fn packets(&self) -> BTreeMap<StateId, u64> {
        let (states, xfrm) = (self.all_states(), self.daemon.xfrm());
        let count = move || {
            let of = |id: StateId| Some((id, xfrm.query(&id).ok()??.packets));
            states.into_iter().filter_map(of).collect()
        };
        tokio::task::spawn_blocking(count).await.unwrap_or_default()
    }

    /// It has a reqid of its own: so the policies of the one before become this one's, and are never gone.
    async fn trap_anew(&self, slot: &mut Slot, uplink: String, path: Path) -> Result<Arc<Notify>, Failure> {
        let reqid = self.daemon.numbers().reqid;
        let wake = self.daemon.sad().trap(self.awaited(reqid, path)).await?;
        slot.trapped = Some((uplink.clone(), path));
        let (local, remote) = (path.local, path.remote);
        self.hand_on_waiting(Some(Waits { reqid, uplink: uplink.clone(), local, remote }));
        if let Some(former) = slot.trap.replace(Trap { reqid, path, uplink, wake: Arc::clone(&wake) }) {
            for failure in self.remove_trap(&former).await {
                self.tell(&failure);
            }
        }
        Ok(wake)
    }

    fn awaited(&self, reqid: u32, path: Path) -> Awaited {
        let ends = Ends { source: path.local.ip(), remote: path.remote.ip() };
        Awaited {
            reqid,
            path,
            mode: child_mode(self.profile.mode),
            local_ts: self.awaited_local(path),
            remote_ts: ends.remote(&self.profile.remote_subnets, self.profile.mode),
        }
    }

    async fn remove_trap(&self, trap: &Trap) -> Vec<String> {
        let errors = self.daemon.sad().remove_trap(trap.reqid).await;
        errors.iter().map(ToString::to_string).collect()
    }
}
