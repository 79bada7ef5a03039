//! The work of [`Sad`], on its queue.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use adit_core::{Failure, Path};
use adit_dbus_api::Traffic;
use adit_ikev2::api::{ChildId, ChildSa, SaId};
use adit_xfrm_kernel::{AllocateSpi, Direction, Plugged, Relocation, Selector, StateId, XfrmError};
use tokio::sync::Notify;

use super::books::{PolicyChange, Trap};
use super::child::{Child, Lineage, Numbers, selectors};
use super::sad::{Sad, tell};
use super::{Awaited, Limits};

/// Where outbound policies lead that are still another's.
const UNKNOWN: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

/// States of an IKE_SA that has ended: another one of the same peer carries on with its traffic, and has them for what is on
/// its way.
pub(super) struct Inherited {
    pub(super) heir: SaId,
    pub(super) outbound: Option<StateId>,
    pub(super) inbound: StateId,
}

pub(super) fn add(total: &mut Traffic, more: Traffic) {
    total.bytes_in = total.bytes_in.saturating_add(more.bytes_in);
    total.bytes_out = total.bytes_out.saturating_add(more.bytes_out);
    total.packets_in = total.packets_in.saturating_add(more.packets_in);
    total.packets_out = total.packets_out.saturating_add(more.packets_out);
}

impl Sad {
    pub(super) fn install_now(
        &self,
        sa: SaId,
        mut agreed: ChildSa,
        numbers: Numbers,
        limits: Limits,
    ) -> Result<(), Failure> {
        // It may have moved while this was on its way.
        if let Some((path, encapsulated)) = self.books().sas.get(&sa).and_then(|owned| owned.moved) {
            (agreed.path, agreed.encapsulated) = (path, encapsulated);
        }
        let selectors = selectors(&agreed.local_ts, &agreed.remote_ts, agreed.mode, agreed.path)?;
        let peer = agreed.path.remote.ip();
        let mut child = Child {
            id: agreed.child,
            spi_in: agreed.inbound_spi,
            spi_out: agreed.outbound_spi,
            peer: None,
            local: agreed.path.local.ip(),
            suite: agreed.suite,
            limits,
            selectors,
            replaced: false,
        };
        let reqid = self.number_for(sa, &agreed, numbers);
        let mut lineage = Lineage::of(&agreed, sa, numbers, reqid);
        let mut change = {
            let mut books = self.books();
            lineage.reqid = books.reqid_of(reqid, &lineage, &child.selectors);
            books.claim(reqid, &lineage, &child.selectors)
        };
        let keys = (Some(agreed.inbound), agreed.outbound);
        let carries = keys.1.is_some();
        if !carries && !change.take_over.is_empty() {
            // Whose it was goes on carrying until the peer can read this one.
            change.take_over.retain(|p| p.id.direction != Direction::Out);
            lineage.template = UNKNOWN;
        }
        let installed = lineage
            .kernel_child(&child, keys, change.add)
            .and_then(|whole| self.door().install(whole).map_err(Failure::from))
            .and_then(|()| self.take_over(&lineage, &child, &change.take_over));
        if carries {
            child.peer = Some(peer);
        }
        let id = child.id;
        if let Err(failure) = installed {
            let own: Vec<Selector> = child.selectors.to_vec();
            lineage.children.clear();
            self.undo_claim(sa, reqid, (lineage, child), &own);
            return Err(failure);
        }
        self.books().add(sa, reqid, lineage, child);
        tracing::debug!(sa = sa.0, child = id.0, reqid, "CHILD_SA installed");
        if carries { self.point_policies(reqid, peer) } else { Ok(()) }
    }

    /// The number of what it replaces; else that of the connection for its first CHILD_SA; else one of its own.
    fn number_for(&self, sa: SaId, agreed: &ChildSa, numbers: Numbers) -> u32 {
        let books = self.books();
        let replaced = agreed.replaces.and_then(|old| books.find(sa, old)).map(|(reqid, ..)| reqid);
        let first = books.is_free(numbers.reqid).then_some(numbers.reqid);
        drop(books);
        replaced.or(first).unwrap_or_else(|| self.numbers().reqid)
    }

    /// Policies that another lineage has come to this one, whose states stand.
    fn take_over(
        &self,
        lineage: &Lineage,
        child: &Child,
        policies: &[adit_xfrm_kernel::Policy],
    ) -> Result<(), Failure> {
        let taken = self.door().update_policies(policies);
        if taken.is_err() {
            let outbound = StateId { destination: lineage.path.remote.ip(), spi: child.spi_out, mark: None };
            tell(&self.door().remove_states(&[outbound, Lineage::inbound(child)]));
        }
        taken.map_err(Failure::from)
    }

    /// After a failed installation: the door took back what it had added, so only what was taken over goes back. A policy
    /// that was there although no book knows it is somebody else's, and stays.
    fn undo_claim(&self, sa: SaId, reqid: u32, (lineage, child): (Lineage, Child), own: &[Selector]) {
        let id = child.id;
        let change = {
            let mut books = self.books();
            books.add(sa, reqid, lineage, child);
            let kept: Vec<Selector> = books.own_selectors(reqid, id);
            let change =
                books.release(reqid, &own.iter().filter(|s| kept.contains(s)).copied().collect::<Vec<_>>());
            books.forget(sa, reqid, id);
            change
        };
        if let Err(error) = self.door().update_policies(&change.take_over) {
            tell(&[error]);
        }
    }

    /// Lets the outbound policies of a lineage lead to where its newest outbound state does.
    pub(super) fn point_policies(&self, reqid: u32, peer: IpAddr) -> Result<(), Failure> {
        let policies = {
            let mut books = self.books();
            let Some(lineage) = books.lineages.get_mut(&reqid) else { return Ok(()) };
            if lineage.template == peer {
                return Ok(());
            }
            lineage.template = peer;
            books.outbound_policies(reqid)
        };
        self.door().update_policies(&policies).map_err(Failure::from)
    }

    /// What another IKE_SA of the same peer carries on with takes what is on its way: see [`Inherited`].
    pub(super) fn close_now(
        &self,
        sa: SaId,
        child: ChildId,
        replaced: bool,
    ) -> (Vec<XfrmError>, Option<Inherited>) {
        let (change, heir, outbound, inbound, acquired) = {
            let mut books = self.books();
            let Some((reqid, lineage, found)) = books.find(sa, child) else { return (Vec::new(), None) };
            let heir = books.successor(reqid, lineage, &found.selectors).filter(|_| !replaced);
            let (outbound, inbound) = (Lineage::outbound(found), Lineage::inbound(found));
            let acquired = lineage.acquired().filter(|_| !replaced && lineage.children.len() == 1);
            let own = books.own_selectors(reqid, child);
            let change = books.release(reqid, &own);
            if replaced {
                let lineage = books.lineages.get_mut(&reqid);
                let found = lineage.and_then(|l| l.children.iter_mut().find(|c| c.id == child));
                found.into_iter().for_each(|c| c.replaced = true);
            } else {
                books.forget(sa, reqid, child);
            }
            (change, heir, outbound, inbound, acquired)
        };
        if replaced {
            return (self.apply(change), None);
        }
        self.spend(sa, outbound, Some(inbound));
        let mut errors = self.apply(change);
        let states = || outbound.into_iter().chain([inbound]);
        let inherited = heir.map(|heir| {
            self.books().sas.entry(heir).or_default().left.extend(states());
            Inherited { heir, outbound, inbound }
        });
        if inherited.is_none() {
            errors.extend(self.door().remove_states(&states().collect::<Vec<_>>()));
            errors.extend(self.forget_now(acquired.as_slice()));
        }
        (errors, inherited)
    }

    /// Removes the outbound state of a CHILD_SA that was rekeyed.
    pub(super) fn drain_now(&self, sa: SaId, child: ChildId) -> Vec<XfrmError> {
        let outbound = {
            let mut books = self.books();
            let Some((reqid, _, found)) = books.find(sa, child) else { return Vec::new() };
            let outbound = Lineage::outbound(found);
            let lineage = books.lineages.get_mut(&reqid);
            let found = lineage.and_then(|l| l.children.iter_mut().find(|c| c.id == child));
            found.into_iter().for_each(|c| c.peer = None);
            outbound
        };
        self.spend(sa, outbound, None);
        self.door().remove_states(outbound.as_slice())
    }

    /// States are about to go: what they have moved is not forgotten, if somebody wants to know.
    fn spend(&self, sa: SaId, outbound: Option<StateId>, inbound: Option<StateId>) {
        let wanted = self.books().sas.get(&sa).is_some_and(|owned| owned.spent.is_some());
        if !wanted {
            return;
        }
        self.add_spent(sa, self.moved(outbound, inbound));
    }

    pub(super) fn counted_now(&self, sa: SaId) -> Traffic {
        let (mut total, pairs) = {
            let books = self.books();
            let Some(owned) = books.sas.get(&sa) else { return Traffic::default() };
            let pairs: Vec<_> =
                books.children(sa).map(|c| (Lineage::outbound(c), Lineage::inbound(c))).collect();
            (owned.spent.as_deref().copied().unwrap_or_default(), pairs)
        };
        for (outbound, inbound) in pairs {
            add(&mut total, self.moved(outbound, Some(inbound)));
        }
        total
    }

    fn moved(&self, outbound: Option<StateId>, inbound: Option<StateId>) -> Traffic {
        let read = |state: Option<StateId>| self.door().query(&state?).ok().flatten();
        let (sent, received) = (read(outbound).unwrap_or_default(), read(inbound).unwrap_or_default());
        Traffic {
            bytes_in: received.bytes,
            bytes_out: sent.bytes,
            packets_in: received.packets,
            packets_out: sent.packets,
        }
    }

    /// Everything of an IKE_SA goes over this path. What has to be rekeyed since it cannot be moved, and inbound states that
    /// are left where they were.
    pub(super) fn relocate_now(
        &self,
        sa: SaId,
        path: Path,
        encapsulated: bool,
    ) -> (Vec<ChildId>, Vec<StateId>) {
        let (reqids, plugged, before, asked_for) = {
            let mut books = self.books();
            let asked_for = books.sas.get(&sa).map(|owned| books.asked_for(sa, &owned.left));
            let Some(owned) = books.sas.get_mut(&sa) else { return (Vec::new(), Vec::new()) };
            owned.moved = Some((path, encapsulated));
            // Who comes back at once would find its own former states in the way.
            let before = std::mem::take(&mut owned.left);
            (owned.reqids.clone(), owned.plugged, before, asked_for.unwrap_or_default())
        };
        tell(&self.door().remove_states(&before));
        tell(&self.forget_now(&asked_for));
        let (mut rekeyed, mut left) = (Vec::new(), Vec::new());
        for reqid in reqids {
            match self.relocate_lineage((reqid, plugged), path, encapsulated) {
                Ok(more) => left.extend(more),
                Err(children) => rekeyed.extend(children),
            }
        }
        if let Some(owned) = self.books().sas.get_mut(&sa) {
            owned.left.clone_from(&left);
        }
        (rekeyed, left)
    }

    fn relocate_lineage(
        &self,
        (reqid, plugged): (u32, Option<Plugged>),
        path: Path,
        encapsulated: bool,
    ) -> Result<Vec<StateId>, Vec<ChildId>> {
        let (local, peer) = (path.local.ip(), path.remote.ip());
        let to = {
            let mut books = self.books();
            let Some(lineage) = books.lineages.get_mut(&reqid) else { return Ok(Vec::new()) };
            (lineage.path, lineage.encapsulated) = (path, encapsulated);
            let to = Relocation {
                local,
                remote: peer,
                encap: lineage.encap(),
                inbound: lineage.children.iter().map(Lineage::inbound).collect(),
                outbound: lineage.children.iter().filter_map(Lineage::outbound).collect(),
                policies: Vec::new(),
                plugged,
            };
            Relocation { policies: books.outbound_policies(reqid), ..to }
        };
        let result = self.door().relocate(&to);
        let mut books = self.books();
        let Some(lineage) = books.lineages.get_mut(&reqid) else { return Ok(Vec::new()) };
        match result {
            Ok(left) => {
                lineage.template = peer;
                for child in &mut lineage.children {
                    child.local = local;
                    child.peer = child.peer.map(|_| peer);
                }
                Ok(left)
            }
            Err(error) => {
                tracing::info!(%error, reqid, "the CHILD_SA is rekeyed instead of moved");
                Err(lineage.children.iter().filter(|c| !c.replaced).map(|c| c.id).collect())
            }
        }
    }

    /// Removes what was left, as far as it still is.
    pub(super) fn remove_left(&self, sa: SaId, left: &[StateId]) -> Vec<XfrmError> {
        let gone = {
            let mut books = self.books();
            let Some(owned) = books.sas.get_mut(&sa) else { return Vec::new() };
            let (gone, kept) = owned.left.iter().copied().partition::<Vec<_>, _>(|s| left.contains(s));
            owned.left = kept;
            gone
        };
        let mut errors = self.door().remove_states(&gone);
        errors.extend(self.forget_now(&self.books().asked_for(sa, &gone)));
        errors
    }

    fn forget_now(&self, acquired: &[AllocateSpi]) -> Vec<XfrmError> {
        acquired.iter().flat_map(|acquired| self.door().forget_acquired(acquired)).collect()
    }

    /// Removes what an IKE_SA has, at once.
    pub(super) fn remove_now(&self, sa: SaId) -> (Vec<XfrmError>, Vec<Inherited>) {
        let acquired = {
            let books = self.books();
            books.sas.get(&sa).map(|owned| books.asked_for(sa, &owned.left)).unwrap_or_default()
        };
        let children: Vec<ChildId> = self.books().children(sa).map(|c| c.id).collect();
        let (mut errors, mut inherited) = (Vec::new(), Vec::new());
        for child in children {
            let (failed, left) = self.close_now(sa, child, false);
            errors.extend(failed);
            inherited.extend(left);
        }
        let owned = self.books().sas.remove(&sa).unwrap_or_default();
        let states: Vec<StateId> = owned.larval.into_iter().chain(owned.left).collect();
        errors.extend(self.door().remove_states(&states));
        errors.extend(self.forget_now(&acquired));
        (errors, inherited)
    }

    pub(super) fn trap_now(&self, of: &Awaited) -> Result<Arc<Notify>, Failure> {
        let selectors = selectors(&of.local_ts, &of.remote_ts, of.mode, of.path)?;
        let wake = Arc::new(Notify::new());
        let lineage = Lineage::awaited(of);
        let add = {
            let mut books = self.books();
            let add = books.claim_below(of.reqid, &lineage, &selectors);
            books.lineages.insert(of.reqid, lineage);
            books.traps.insert(of.reqid, Trap { selectors, wake: Arc::clone(&wake) });
            add
        };
        if let Err(error) = self.door().update_policies(&add) {
            tell(&self.remove_trap_now(of.reqid));
            return Err(error.into());
        }
        Ok(wake)
    }

    pub(super) fn remove_trap_now(&self, reqid: u32) -> Vec<XfrmError> {
        let mut errors = self.forget_acquire_now(reqid);
        let change = {
            let mut books = self.books();
            let Some(trap) = books.traps.remove(&reqid) else { return Vec::new() };
            let change = books.release(reqid, &trap.selectors);
            books.end(reqid);
            change
        };
        errors.extend(self.apply(change));
        errors
    }

    /// The packet that a trap told of is nobody's any more.
    fn forget_acquire_now(&self, reqid: u32) -> Vec<XfrmError> {
        let acquired = {
            let books = self.books();
            let trapped = books.lineages.get(&reqid).filter(|_| books.traps.contains_key(&reqid));
            trapped.map(|lineage| {
                let (from, to) = (lineage.path.local.ip(), lineage.path.remote.ip());
                AllocateSpi { mode: lineage.mode, ..AllocateSpi::tunnel(to, from, reqid, lineage.if_id) }
            })
        };
        acquired.map(|acquired| self.door().forget_acquired(&acquired)).unwrap_or_default()
    }

    fn apply(&self, change: PolicyChange) -> Vec<XfrmError> {
        let mut errors = self.door().remove_policies(&change.remove);
        errors.extend(self.door().update_policies(&change.take_over).err());
        errors
    }
}
