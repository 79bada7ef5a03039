//! What a process that is gone has left in the kernel for an IKE_SA that goes on.

use std::collections::BTreeMap;

use adit_core::{Failure, FailureCode, Step};
use adit_ikev2::api::{ChildId, ChildMode, Restored, RestoredChild};
use adit_xfrm_kernel::{Mode, StateId, StateRecord, XfrmDoor, XfrmError};

use super::Limits;
use super::child::{Child, Lineage, Numbers, selectors};
use super::sad::Sad;

/// The states with an if_id, by SPI and by where they lead.
pub struct Standing(BTreeMap<(u32, std::net::IpAddr), StateRecord>);

impl Standing {
    /// As the kernel has them now.
    ///
    /// # Errors
    /// It does not tell.
    pub fn of(door: &dyn XfrmDoor, if_id: u32) -> Result<Self, XfrmError> {
        let mut states = door.states()?;
        states.retain(|state| state.if_id == Some(if_id));
        Ok(Self(states.into_iter().map(|state| ((state.id.spi, state.id.destination), state)).collect()))
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The reqid of a CHILD_SA, both of whose states stand where they should.
    fn reqid(&self, of: &Restored, child: &RestoredChild) -> Option<u32> {
        let (local, remote) = (of.path.local.ip(), of.path.remote.ip());
        let inbound = self.0.get(&(child.inbound_spi, local))?;
        let outbound = self.0.get(&(child.outbound_spi, remote))?;
        let same = inbound.reqid == outbound.reqid && inbound.mode == Mode::Tunnel;
        (same && child.mode == ChildMode::Tunnel).then_some(inbound.reqid)
    }
}

impl Sad {
    /// Goes on with the CHILD_SAs of an IKE_SA. Nothing is asked of the kernel but to take away what else was left there.
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
        let mut kept = Vec::new();
        for (reqid, selectors, child) in all {
            kept.extend([(child.inbound_spi, of.path.local.ip()), (child.outbound_spi, of.path.remote.ip())]);
            let lineage = Lineage::adopted(of, numbers, reqid);
            let mut books = self.books();
            // The policies are there.
            drop(books.claim(reqid, &lineage, &selectors));
            let entry = Child {
                id: child.child,
                spi_in: child.inbound_spi,
                spi_out: child.outbound_spi,
                peer: Some(of.path.remote.ip()),
                local: of.path.local.ip(),
                suite: child.suite,
                limits,
                selectors,
                replaced: false,
            };
            books.add(of.sa, reqid, lineage, entry);
        }
        // States of CHILD_SAs that had been replaced or moved, and SPIs that were reserved.
        let left: Vec<StateId> = standing
            .0
            .iter()
            .filter(|(key, s)| s.id.spi != 0 && !kept.contains(key))
            .map(|(_, s)| s.id)
            .collect();
        super::sad::tell(&self.door().remove_states(&left));
        Ok(of.children.iter().map(|child| child.child).collect())
    }
}
