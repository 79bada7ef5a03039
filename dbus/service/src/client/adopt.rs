//! A connection that a process before has dialled, and that this one goes on with: what it has on this host stays as it is.

use std::sync::Arc;

use adit_core::{Failure, FailureCode, Step};
use adit_ikev2::api::{Restored, RestoredChild};
use adit_plan::TunnelFacts;
use adit_profile::{Profile, Tunnel};
use adit_xfrm_kernel::XfrmDoor;

use super::install::{Installation, Of, Slot};
use super::life::{Ground, refused};
use super::roaming::may_roam;
use crate::daemon::Daemon;
use crate::esp::{Numbers, Standing, remove_all};
use crate::host::{Block, Undo};
use crate::registry::ConnectionId;

/// What stands of one in the kernel.
pub(super) struct Stands {
    pub(super) standing: Standing,
    link: u32,
}

fn not_there(what: &str) -> Failure {
    let text = format!("what was handed over does not stand any more: {what}");
    Failure::new(FailureCode::Internal, Step::Kernel, text)
}

impl Installation {
    /// Nothing yet, under numbers that it had in the process before.
    pub(crate) fn again(
        id: ConnectionId,
        profile: &Arc<Profile>,
        daemon: &Arc<Daemon>,
        numbers: Numbers,
    ) -> Self {
        let mut again = Self::new(id, profile, daemon, Ground::default());
        again.numbers = numbers;
        again
    }

    /// Takes over the link, the block, and the journal of what was changed here.
    ///
    /// # Errors
    /// They are not there.
    pub(super) async fn take_over(&self, slot: &mut Slot) -> Result<Stands, Failure> {
        let links = self.daemon.host().links().await.map_err(|e| refused("the links", &e))?;
        let link = links.into_iter().find(|l| l.if_id == Some(self.numbers.if_id));
        let link = link.ok_or_else(|| not_there("its interface is gone"))?;
        self.daemon.link_name_is_ours(&link.name).await;
        slot.ground = Ground::kept(link.name.clone());
        let block = Block::of(&link.name, Vec::new(), self.profile.local_network);
        let changes = slot.ground.changes(&self.daemon, self.numbers)?;
        slot.link = changes.find(|undo| matches!(undo, Undo::XfrmLink { .. } | Undo::Setting { .. }));
        changes.keep(&slot.link);
        slot.block = changes.made_before(&block.change(&[]));
        let stands = slot.block.is_some() == self.profile.blocks() && !slot.link.is_empty();
        if !stands {
            return Err(not_there("its journal tells of something else"));
        }
        let host = self.daemon.host();
        if self.profile.blocks() {
            // It takes the place of itself, in one step, and follows the local networks from now on.
            let stands = self.daemon.local_networks().stand(block, async |change| host.apply(change).await);
            stands.await.map_err(|e| refused("blocking", &e))?;
        } else if self.profile.local_network {
            let table = Block::table_of(&link.name);
            self.daemon.local_networks().want(table).await.map_err(|e| refused("the local network", &e))?;
        }
        let (xfrm, if_id) = (self.daemon.xfrm(), self.numbers.if_id);
        let read = tokio::task::spawn_blocking(move || Standing::of(xfrm.as_ref() as &dyn XfrmDoor, if_id));
        let standing = read.await.map_err(|_| not_there("the kernel was not asked"))??;
        Ok(Stands { standing, link: link.index })
    }

    /// The IKE_SA goes on: its CHILD_SAs are this one's.
    ///
    /// # Errors
    /// The kernel does not have them.
    pub(super) fn goes_on(&self, restored: &Restored, stands: &Stands) -> Result<(), Failure> {
        let children = self.sad().adopt(restored, &stands.standing, self.numbers, self.limits())?;
        self.sad().leave_only_known(&stands.standing);
        self.sas().push(Of { sa: restored.sa, children });
        if may_roam(&self.profile) {
            self.sad().comes_through(restored.sa, stands.link);
        }
        Ok(())
    }

    /// Addresses, routes and rules of its CHILD_SAs are known again, and how they are taken back.
    pub(super) async fn knows_again(&self, slot: &mut Slot, restored: &Restored, stands: &Stands) {
        if may_roam(&self.profile) && self.sad().plug(stands.link).await {
            slot.plugged = Some(stands.link);
        }
        let host = self.daemon.host();
        if let Ok(uplink) = host.path_to(restored.path.remote.ip()).await {
            slot.uplink = Some(uplink);
        }
        self.trap_was_answered(slot, restored.path).await;
        slot.open = true;
        // What one needs that is replaced, the new one has inherited.
        for child in restored.children.iter().filter(|child| !child.replaced) {
            let facts = self.facts_of(restored, child, child.name.is_none());
            let Ok(planned) = self.plan(slot, &facts).await else { continue };
            if let Slot { ground: Ground { changes: Some(changes), .. }, shared, .. } = &mut *slot {
                shared.adopt(changes, child.child, planned.wanted.clone());
            }
            self.show(planned);
        }
    }

    fn facts_of(&self, restored: &Restored, child: &RestoredChild, first: bool) -> TunnelFacts {
        let lease = &restored.lease;
        let asked_for = if first { self.profile.remote_networks() } else { Vec::new() };
        let wanted = if asked_for.is_empty() { lease.subnets.clone() } else { asked_for };
        TunnelFacts {
            v4: lease.v4,
            v6: lease.v6,
            local_ts: child.local_ts.clone(),
            remote_ts: child.remote_ts.clone(),
            full: self.profile.tunnel == Tunnel::Full,
            subnets: (!wanted.is_empty()).then_some(wanted),
        }
    }

    /// Nobody goes on with what was left here: it is taken away, the block last, and not at all while it is dialled anew.
    pub(super) async fn clear_away(&self, slot: &mut Slot) {
        let (xfrm, if_id) = (self.daemon.xfrm(), self.numbers.if_id);
        let removed = tokio::task::spawn_blocking(move || remove_all(xfrm.as_ref(), if_id)).await;
        removed.unwrap_or_default().iter().for_each(|error| self.tell(error));
        slot.link.clear();
        if let Slot { ground: Ground { changes: Some(changes), .. }, block, .. } = slot {
            let mut steps = changes.find(|_| true);
            steps.retain(|step| Some(*step) != *block);
            steps.reverse();
            changes.undo_each(&steps).await.iter().for_each(|error| self.tell(error));
        }
    }
}
