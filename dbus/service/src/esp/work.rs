//! The work of [`Sad`], on its queue.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use adit_core::{Failure, Path};
use adit_ikev2::api::{ChildId, ChildSa, SaId};
use adit_xfrm_kernel::{Direction, Relocation, Selector, StateId, XfrmError};
use tokio::sync::Notify;

use super::books::{PolicyChange, Trap};
use super::child::{Child, Lineage, Numbers, selectors};
use super::sad::{Sad, tell};
use super::{Awaited, Limits};

/// Where outbound policies lead that are still another's.
const UNKNOWN: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

impl Sad {
    pub(super) fn install_now(
        &self,
        sa: SaId,
        agreed: ChildSa,
        numbers: Numbers,
        limits: Limits,
    ) -> Result<(), Failure> {
        let selectors = selectors(&agreed.local_ts, &agreed.remote_ts, agreed.mode, agreed.path)?;
        let peer = agreed.path.remote.ip();
        let mut child = Child {
            id: agreed.child,
            spi_in: agreed.inbound_spi,
            spi_out: agreed.outbound_spi,
            peer: None,
            suite: agreed.suite,
            limits,
            selectors,
            replaced: false,
        };
        let reqid = self.number_for(sa, &agreed, numbers);
        let mut lineage = Lineage::of(&agreed, sa, numbers.if_id, reqid);
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
            tell(&self.door().remove_states(&[outbound, lineage.inbound(child)]));
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

    pub(super) fn close_now(&self, sa: SaId, child: ChildId, replaced: bool) -> Vec<XfrmError> {
        let (change, states) = {
            let mut books = self.books();
            let Some((reqid, lineage, found)) = books.find(sa, child) else { return Vec::new() };
            let states: Vec<StateId> = match replaced {
                true => Vec::new(),
                false => Lineage::outbound(found).into_iter().chain([lineage.inbound(found)]).collect(),
            };
            let own = books.own_selectors(reqid, child);
            let change = books.release(reqid, &own);
            if replaced {
                let lineage = books.lineages.get_mut(&reqid);
                let found = lineage.and_then(|l| l.children.iter_mut().find(|c| c.id == child));
                found.into_iter().for_each(|c| c.replaced = true);
            } else {
                books.forget(sa, reqid, child);
            }
            (change, states)
        };
        let mut errors = self.apply(change);
        errors.extend(self.door().remove_states(&states));
        errors
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
        self.door().remove_states(outbound.as_slice())
    }

    pub(super) fn relocate_now(&self, sa: SaId, path: Path) -> Vec<ChildId> {
        let reqids = self.books().sas.get(&sa).map(|o| o.reqids.clone()).unwrap_or_default();
        reqids.into_iter().flat_map(|reqid| self.relocate_lineage(reqid, path)).collect()
    }

    fn relocate_lineage(&self, reqid: u32, path: Path) -> Vec<ChildId> {
        let peer = path.remote.ip();
        let (to, former) = {
            let mut books = self.books();
            let Some(lineage) = books.lineages.get_mut(&reqid) else { return Vec::new() };
            let former = std::mem::replace(&mut lineage.path, path);
            let inbound = |c: &Child| StateId { destination: former.local.ip(), spi: c.spi_in, mark: None };
            let to = Relocation {
                local: path.local.ip(),
                remote: peer,
                encap: lineage.encap(),
                inbound: lineage.children.iter().map(inbound).collect(),
                outbound: lineage.children.iter().filter_map(Lineage::outbound).collect(),
                policies: Vec::new(),
            };
            (Relocation { policies: books.outbound_policies(reqid), ..to }, former)
        };
        // An inbound state at another address of ours, or of the other family, is another state.
        let result = match former.local.ip() == to.local && former.remote.is_ipv4() == peer.is_ipv4() {
            true => self.door().relocate(&to),
            false => Err(XfrmError::Invalid("our own address has changed".into())),
        };
        let mut books = self.books();
        let Some(lineage) = books.lineages.get_mut(&reqid) else { return Vec::new() };
        match result {
            Ok(()) => {
                lineage.template = peer;
                lineage.children.iter_mut().filter(|c| c.peer.is_some()).for_each(|c| c.peer = Some(peer));
                Vec::new()
            }
            Err(error) => {
                tracing::info!(%error, reqid, "the CHILD_SA is rekeyed instead of moved");
                lineage.children.iter().filter(|c| !c.replaced).map(|c| c.id).collect()
            }
        }
    }

    pub(super) fn remove_now(&self, sa: SaId) -> Vec<XfrmError> {
        let mut states = Vec::new();
        let mut errors = Vec::new();
        let owned = self.books().sas.remove(&sa).unwrap_or_default();
        for reqid in owned.reqids {
            let change = {
                let mut books = self.books();
                let Some(lineage) = books.lineages.get(&reqid) else { continue };
                let all: Vec<Selector> =
                    lineage.children.iter().flat_map(|c| c.selectors.iter()).copied().collect();
                for child in &lineage.children {
                    states.extend(Lineage::outbound(child));
                    states.push(lineage.inbound(child));
                }
                let change = books.release(reqid, &all);
                books.end(reqid);
                change
            };
            errors.extend(self.apply(change));
        }
        states.extend(owned.larval);
        errors.extend(self.door().remove_states(&states));
        errors
    }

    pub(super) fn trap_now(&self, of: &Awaited) -> Result<Arc<Notify>, Failure> {
        let selectors = selectors(&of.local_ts, &of.remote_ts, of.mode, of.path)?;
        let wake = Arc::new(Notify::new());
        let lineage = Lineage::awaited(of);
        let add = {
            let mut books = self.books();
            let add = books.claim_below(of.numbers.reqid, &lineage, &selectors);
            books.lineages.insert(of.numbers.reqid, lineage);
            books.traps.insert(of.numbers.reqid, Trap { selectors, wake: Arc::clone(&wake) });
            add
        };
        if let Err(error) = self.door().update_policies(&add) {
            tell(&self.remove_trap_now(of.numbers.reqid));
            return Err(error.into());
        }
        Ok(wake)
    }

    pub(super) fn remove_trap_now(&self, reqid: u32) -> Vec<XfrmError> {
        let change = {
            let mut books = self.books();
            let Some(trap) = books.traps.remove(&reqid) else { return Vec::new() };
            let change = books.release(reqid, &trap.selectors);
            books.end(reqid);
            change
        };
        self.apply(change)
    }

    fn apply(&self, change: PolicyChange) -> Vec<XfrmError> {
        let mut errors = self.door().remove_policies(&change.remove);
        errors.extend(self.door().update_policies(&change.take_over).err());
        errors
    }
}
