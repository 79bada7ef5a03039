//! What a process that is gone has left in the kernel for an IKE_SA that goes on.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use adit_core::{Failure, FailureCode, Step};
use adit_dbus_api::Traffic;
use adit_ikev2::api::{ChildId, ChildMode, Restored, RestoredChild, SaId};
use adit_xfrm_kernel::{Mode, PolicyId, StateId, StateRecord, XfrmDoor, XfrmError};

use super::Limits;
use super::child::{Child, Lineage, Numbers, selectors};
use super::sad::{Sad, tell};

/// The states with an if_id, by SPI and by where they lead.
pub struct Standing {
    if_id: u32,
    states: BTreeMap<(u32, IpAddr), StateRecord>,
}

impl Standing {
    /// As the kernel has them now.
    ///
    /// # Errors
    /// It does not tell.
    pub fn of(door: &dyn XfrmDoor, if_id: u32) -> Result<Self, XfrmError> {
        let mut states = door.states()?;
        states.retain(|state| state.if_id == Some(if_id));
        let by_id = |state: StateRecord| ((state.id.spi, state.id.destination), state);
        Ok(Self { if_id, states: states.into_iter().map(by_id).collect() })
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.states.is_empty()
    }

    /// The reqid of a CHILD_SA whose states stand where they should: both, but where it only receives yet.
    fn reqid(&self, of: &Restored, child: &RestoredChild) -> Option<u32> {
        let (local, remote) = (of.path.local.ip(), of.path.remote.ip());
        let inbound = self.states.get(&(child.inbound_spi, local))?;
        let same = |outbound: &StateRecord| inbound.reqid == outbound.reqid;
        let sends = || self.states.get(&(child.outbound_spi, remote)).is_some_and(same);
        let stands = inbound.mode == Mode::Tunnel && (!child.sends || sends());
        (stands && child.mode == ChildMode::Tunnel).then_some(inbound.reqid)
    }
}

impl Sad {
    /// Goes on with the CHILD_SAs of an IKE_SA. Nothing is asked of the kernel.
    ///
    /// # Errors
    /// They do not stand as they should: then nothing has changed.
    pub fn adopt(
        &self,
        of: &Restored,
        standing: &Standing,
        numbers: Numbers,
        limits: Limits,
    ) -> Result<Vec<ChildId>, Failure> {
        let no = |why: &str| Failure::new(FailureCode::Internal, Step::Kernel, why.to_owned());
        let mut all = Vec::new();
        for child in &of.children {
            let reqid = standing
                .reqid(of, child)
                .ok_or_else(|| no("the kernel does not have the CHILD_SA that was handed over"))?;
            let selectors = selectors(&child.local_ts, &child.remote_ts, child.mode, of.path)?;
            all.push((reqid, selectors, child));
        }
        for (reqid, selectors, child) in all {
            // One and what it is replaced by are of one lineage. The same peer may have another one for the same traffic, whose
            // policies they have in common.
            let known = self.books().number_of(of.sa, reqid);
            let free = self.books().is_free(reqid).then_some(reqid);
            let number = known.or(free).unwrap_or_else(|| self.numbers().reqid);
            let lineage = Lineage::adopted(of, numbers, reqid);
            let mut books = self.books();
            // The policies are there.
            drop(books.claim(number, &lineage, &selectors));
            let entry = Child {
                id: child.child,
                spi_in: child.inbound_spi,
                spi_out: child.outbound_spi,
                peer: child.sends.then_some(of.path.remote.ip()),
                local: of.path.local.ip(),
                suite: child.suite,
                limits,
                selectors,
                replaced: child.replaced,
            };
            books.add(of.sa, number, lineage, entry);
        }
        Ok(of.children.iter().map(|child| child.child).collect())
    }

    /// Takes away what stood there and is nobody's: states of CHILD_SAs that had been replaced or moved, SPIs that were
    /// reserved. What they have moved is not forgotten, where somebody wants to know.
    pub fn leave_only_known(&self, standing: &Standing) {
        let (known, counting) = {
            let books = self.books();
            let children = books.lineages.values().flat_map(|lineage| &lineage.children);
            let states = children.flat_map(|c| Lineage::outbound(c).into_iter().chain([Lineage::inbound(c)]));
            let known: BTreeSet<_> = states.map(|id| (id.spi, id.destination)).collect();
            let counting: BTreeMap<u32, (SaId, IpAddr)> = books
                .lineages
                .values()
                .filter_map(|l| Some((l.reqid, (l.sa?, l.path.local.ip()))))
                .filter(|(_, (sa, _))| books.sas.get(sa).is_some_and(|owned| owned.spent.is_some()))
                .collect();
            (known, counting)
        };
        let left = standing.states.iter().filter(|(key, s)| s.id.spi != 0 && !known.contains(key));
        let left: Vec<&StateRecord> = left.map(|(_, state)| state).collect();
        for state in &left {
            if let Some((sa, local)) = counting.get(&state.reqid) {
                self.spent_by(*sa, state.id, *local);
            }
        }
        tell(&self.door().remove_states(&left.iter().map(|state| state.id).collect::<Vec<_>>()));
    }

    fn spent_by(&self, sa: SaId, id: StateId, local: IpAddr) {
        let Ok(Some(moved)) = self.door().query(&id) else { return };
        let moved = match id.destination == local {
            true => Traffic { bytes_in: moved.bytes, packets_in: moved.packets, ..Traffic::default() },
            false => Traffic { bytes_out: moved.bytes, packets_out: moved.packets, ..Traffic::default() },
        };
        self.add_spent(sa, moved);
    }

    /// When all have gone on that can: what is left there goes, as [`Sad::leave_only_known`]; policies with this if_id are those
    /// that there should be.
    pub fn tidy(&self, standing: Standing) -> impl Future<Output = ()> + Send + use<> {
        let sad = self.clone();
        let done = self.queue().run(move || {
            sad.leave_only_known(&standing);
            tell(&sad.tidy_policies(standing.if_id));
        });
        async { done.await.unwrap_or_default() }
    }

    fn tidy_policies(&self, if_id: u32) -> Vec<XfrmError> {
        let mut there = match self.door().policies() {
            Ok(there) => there,
            Err(error) => return vec![error],
        };
        there.retain(|policy| policy.if_id == Some(if_id));
        let there: BTreeSet<PolicyId> = there.into_iter().collect();
        let wanted = self.books().policies_with(if_id);
        let ids: BTreeSet<PolicyId> = wanted.iter().map(|policy| policy.id).collect();
        let missing: Vec<_> = wanted.into_iter().filter(|policy| !there.contains(&policy.id)).collect();
        let mut errors = self.door().remove_policies(&there.difference(&ids).copied().collect::<Vec<_>>());
        errors.extend(self.door().update_policies(&missing).err());
        errors
    }
}

/// Takes away the policies and states with this if_id.
pub fn remove_all(door: &dyn XfrmDoor, if_id: u32) -> Vec<XfrmError> {
    let mut errors = Vec::new();
    match door.policies() {
        Ok(mut policies) => {
            policies.retain(|policy| policy.if_id == Some(if_id));
            errors.extend(door.remove_policies(&policies));
        }
        Err(error) => errors.push(error),
    }
    match door.states() {
        Ok(states) => {
            let ours: Vec<_> =
                states.iter().filter(|s| s.if_id == Some(if_id) && s.id.spi != 0).map(|s| s.id).collect();
            errors.extend(door.remove_states(&ours));
        }
        Err(error) => errors.push(error),
    }
    errors
}
