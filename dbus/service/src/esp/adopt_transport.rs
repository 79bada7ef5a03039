//! What a process that is gone has left in the kernel around UDP of two hosts (transport mode, RFC 3193) that goes on.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use adit_core::{Failure, FailureCode, Identity, Path, Step, TrafficSelector};
use adit_ikev1::api as v1;
use adit_ikev2::api as v2;
use adit_isakmp::EspSuite;
use adit_isakmp::api::{ChildId, ChildMode, SaId};
use adit_xfrm_kernel::{Mark, Mode, OUR_REQIDS, StateId, StateRecord, XfrmError};
use tokio::sync::Notify;

use super::books::Trap;
use super::child::{Child, Lineage, Numbers, mark_of, selectors};
use super::sad::{Sad, tell};
use super::{Awaited, Limits};

/// What goes on around UDP of two hosts, whichever IKE has made it.
pub(crate) struct Around {
    sa: SaId,
    path: Path,
    encapsulated: bool,
    remote_id: Identity,
    children: Vec<Pair>,
}

struct Pair {
    child: ChildId,
    mode: ChildMode,
    suite: EspSuite,
    inbound_spi: u32,
    outbound_spi: u32,
    /// Its outbound SA is in the kernel.
    sends: bool,
    local_ts: Vec<TrafficSelector>,
    remote_ts: Vec<TrafficSelector>,
}

impl From<&v1::Restored> for Around {
    fn from(of: &v1::Restored) -> Self {
        let pair = |child: &v1::RestoredChild| Pair {
            child: child.child,
            mode: child.mode,
            suite: child.suite,
            inbound_spi: child.inbound_spi,
            outbound_spi: child.outbound_spi,
            sends: child.sends,
            local_ts: vec![child.local_ts],
            remote_ts: vec![child.remote_ts],
        };
        Self {
            sa: of.sa,
            path: of.path,
            encapsulated: of.encapsulated,
            remote_id: of.remote_id.clone(),
            children: of.children.iter().map(pair).collect(),
        }
    }
}

impl From<&v2::Restored> for Around {
    fn from(of: &v2::Restored) -> Self {
        let pair = |child: &v2::RestoredChild| Pair {
            child: child.child,
            mode: child.mode,
            suite: child.suite,
            inbound_spi: child.inbound_spi,
            outbound_spi: child.outbound_spi,
            sends: child.sends,
            local_ts: child.local_ts.clone(),
            remote_ts: child.remote_ts.clone(),
        };
        Self {
            sa: of.sa,
            path: of.path,
            encapsulated: of.encapsulated,
            remote_id: of.remote_id.clone(),
            children: of.children.iter().map(pair).collect(),
        }
    }
}

fn no(why: &str) -> Failure {
    Failure::new(FailureCode::Internal, Step::Kernel, why.to_owned())
}

impl Sad {
    /// Goes on with policies that wait for SAs, which stand already, whoever's they are; what notifies of a packet that meets them.
    ///
    /// # Errors
    /// Selectors that no policy can have.
    pub(crate) fn trap_again(&self, of: &Awaited) -> Result<Arc<Notify>, Failure> {
        let selectors = selectors(&of.local_ts, &of.remote_ts, of.mode, of.path)?;
        let lineage = Lineage::awaited(of);
        let mut books = self.books();
        drop(books.claim_below(of.reqid, &lineage, &selectors));
        books.lineages.insert(of.reqid, lineage);
        let wake = Arc::new(Notify::new());
        books.traps.insert(of.reqid, Trap { selectors, wake: Arc::clone(&wake) });
        Ok(wake)
    }

    /// Goes on with CHILD_SAs in transport mode, above the trap with that reqid, or without any. Nothing is asked of the kernel but to take away
    /// what else was left there.
    ///
    /// # Errors
    /// They, or the policies around them, do not stand as they should: then nothing has changed.
    pub(crate) fn adopt_transport(
        &self,
        of: &Around,
        (trap, numbers): (Option<u32>, Numbers),
        limits: Limits,
    ) -> Result<(), Failure> {
        let mut states = self.door().states()?;
        states.retain(|state| state.if_id.is_none());
        let policies: BTreeSet<_> = self.door().policies()?.into_iter().collect();
        let reqid = numbers.reqid;
        let lineage = || Lineage {
            sa: Some(of.sa),
            peer: Some(of.remote_id.clone()),
            reqid,
            path: of.path,
            encapsulated: of.encapsulated,
            mode: Mode::Transport,
            if_id: None,
            marked: numbers.marked,
            template: of.path.remote.ip(),
            children: Vec::new(),
        };
        let (local, remote) = (of.path.local.ip(), of.path.remote.ip());
        let stands = |spi: u32, destination: IpAddr| {
            states.iter().any(|state| is_it(state, (spi, destination), reqid))
        };
        let mut all = Vec::new();
        for child in &of.children {
            let there =
                stands(child.inbound_spi, local) && (!child.sends || stands(child.outbound_spi, remote));
            if !there || child.mode != ChildMode::Transport {
                return Err(no("the kernel does not have the CHILD_SA that was handed over"));
            }
            let selectors = selectors(&child.local_ts, &child.remote_ts, child.mode, of.path)?;
            let guards = selectors.iter().flat_map(|selector| lineage().policies(*selector));
            if !guards.map(|policy| policy.id).all(|id| policies.contains(&id)) {
                return Err(no("the kernel does not have the policies that were handed over"));
            }
            all.push((selectors, child));
        }
        let mut known = BTreeSet::new();
        for (selectors, child) in all {
            known.extend([(child.inbound_spi, local), (child.outbound_spi, remote)]);
            let mut books = self.books();
            // The policies are there.
            drop(books.claim(reqid, &lineage(), &selectors));
            let entry = Child {
                id: child.child,
                spi_in: child.inbound_spi,
                spi_out: child.outbound_spi,
                peer: child.sends.then_some(remote),
                local,
                suite: child.suite,
                limits,
                selectors,
                replaced: false,
            };
            books.add(of.sa, reqid, lineage(), entry);
        }
        // States of CHILD_SAs that had been replaced, and SPIs that were reserved.
        let ours =
            |state: &&StateRecord| (trap == Some(state.reqid) || state.reqid == reqid) && state.id.spi != 0;
        let left = states.iter().filter(ours).filter(|s| !known.contains(&(s.id.spi, s.id.destination)));
        tell(&self.door().remove_states(&left.map(|state| state.id).collect::<Vec<_>>()));
        Ok(())
    }

    /// Nobody goes on with a peer of the server's that has this reqid, and a mark: its policies and its states go.
    pub(crate) fn remove_marked_with(&self, reqid: u32) -> Vec<XfrmError> {
        let mark = Some(Mark { value: mark_of(reqid), mask: u32::MAX });
        let mut errors = match self.door().policies() {
            Ok(mut policies) => {
                policies.retain(|policy| policy.if_id.is_none() && policy.mark == mark);
                self.door().remove_policies(&policies)
            }
            Err(error) => vec![error],
        };
        errors.extend(self.remove_left_with(reqid));
        errors
    }

    /// Nobody goes on with what has this reqid: its states go. The policies are a trap's.
    pub(crate) fn remove_left_with(&self, reqid: u32) -> Vec<XfrmError> {
        match self.door().states() {
            Ok(states) => {
                let left: Vec<StateId> = states
                    .iter()
                    .filter(|s| s.if_id.is_none() && s.reqid == reqid && s.id.spi != 0)
                    .map(|s| s.id)
                    .collect();
                self.door().remove_states(&left)
            }
            Err(error) => vec![error],
        }
    }
}

fn is_it(state: &StateRecord, (spi, destination): (u32, IpAddr), reqid: u32) -> bool {
    let mine = state.reqid == reqid && OUR_REQIDS.contains(&reqid);
    mine && (state.id.spi, state.id.destination) == (spi, destination) && state.mode == Mode::Transport
}
