//! What a client's IPsec hands on to the next process, and that of one that a process before has left.

use std::collections::BTreeMap;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::{Arc, MutexGuard, PoisonError, Weak};

use adit_core::{Failure, FailureCode, Path, Step};
use adit_ikev1::api::{AuthMethod, SaId};
use adit_l2tp::Association;
use adit_ppp_kernel::L2tpIds;
use adit_xfrm_kernel::XfrmError;
use tracing::warn;
use zeroize::Zeroizing;

use super::{FAREWELL, Guard, Keeper, Known, OWNERS};
use crate::esp::{Around, Limits, Numbers, Sad, mark_of};
use crate::handover::is_there;
use crate::l2tp::agreed::Agreed;
use crate::l2tp::{Leaves, PATH_MTU, Parts, Reqids, numbers_of, protected_mtu};
use crate::server::until;
use crate::suites::Outside;

/// A client's IKE as octets, with the version of it in front.
pub(in crate::l2tp) struct Snapshot(Zeroizing<Vec<u8>>);

const V1: u8 = 1;
const V2: u8 = 2;
/// IKEv1's, where certificates have proven both ends.
const V1_BY_CERTIFICATES: u8 = 3;

impl Snapshot {
    pub(in crate::l2tp) fn of_v1(octets: &[u8]) -> Self {
        Self::of(V1, octets)
    }

    pub(in crate::l2tp) fn of_v2(octets: &[u8]) -> Self {
        Self::of(V2, octets)
    }

    fn proven_by(mut self, auth: AuthMethod) -> Self {
        if let (Some(version @ &mut V1), AuthMethod::RsaSignatures) = (self.0.first_mut(), auth) {
            *version = V1_BY_CERTIFICATES;
        }
        self
    }

    fn of(version: u8, octets: &[u8]) -> Self {
        let mut all = Zeroizing::new(Vec::with_capacity(octets.len().saturating_add(1)));
        all.push(version);
        all.extend_from_slice(octets);
        Self(all)
    }
}

/// One that is taken up.
pub(super) struct Returning {
    numbers: Numbers,
    snapshot: Option<Snapshot>,
    /// Why it has to go after all.
    refused: Option<Failure>,
}

impl Keeper {
    /// Whether what protects clients is handed on: each can be told from all others then.
    pub(in crate::l2tp) fn keeps(&self) -> bool {
        self.marks && is_there()
    }

    fn leaves(&self) -> MutexGuard<'_, BTreeMap<u32, Weak<Leaves>>> {
        self.leaves.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn returning(&self) -> MutexGuard<'_, Option<Returning>> {
        self.returning.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the next process goes on from with a tunnel that comes by this from now on; `None`: it can't. A client's tunnel before
    /// that one is gone on with no more.
    pub(in crate::l2tp) fn leaves_of(&self, by: Association) -> Option<Arc<Leaves>> {
        let reqid = Numbers::of_mark(by.0).filter(|_| self.keeps())?.reqid;
        let leaves = Arc::new(Leaves::protected(Reqids { trap: reqid, sas: reqid }));
        let former = {
            let mut all = self.leaves();
            all.retain(|_, leaves| leaves.strong_count() > 0);
            all.insert(by.0, Arc::downgrade(&leaves))
        };
        if let Some(former) = former.and_then(|former| former.upgrade()) {
            former.ike(None);
        }
        self.hand_on_by(Some(by.0));
        Some(leaves)
    }

    /// A client's IKE is here now.
    pub(in crate::l2tp) fn leaves_with(&self, sa: SaId, snapshot: Option<Snapshot>) {
        let mark = {
            let mut guests = self.guests();
            let Some(known) = guests.get_mut(&sa) else { return };
            let auth = known.up.as_ref().map(|up| up.auth);
            known.snapshot = snapshot.zip(auth).map(|(snapshot, auth)| snapshot.proven_by(auth));
            self.mark(sa, known)
        };
        self.hand_on_by(mark);
    }

    /// The newest IKE of the client whose packets have this mark goes with its tunnel.
    pub(super) fn hand_on_by(&self, mark: Option<u32>) {
        let leaves = mark.and_then(|mark| self.leaves().get(&mark)?.upgrade());
        let Some(leaves) = leaves else { return };
        let newest = {
            let guests = self.guests();
            let mut its = guests.iter().rev().filter(|(_, known)| known.up.is_some());
            let newest = its.find(|(sa, known)| self.mark(**sa, known) == mark);
            newest.and_then(|(_, known)| Some(known.snapshot.as_ref()?.0.clone()))
        };
        leaves.ike(newest.as_ref().map(|octets| octets.as_slice()));
    }

    /// One of a process before is here, before any question or event of it.
    pub(in crate::l2tp) fn returned(&self, sa: SaId, around: &Around, agreed: Option<(SaId, Agreed)>) {
        let mut slot = self.returning();
        let Some(returning) = slot.as_mut() else { return };
        let none = || lost("its IKE has no SAs around L2TP");
        let numbers = returning.numbers;
        let done = agreed.ok_or_else(none).and_then(|(_, up)| {
            self.sad.adopt_transport(around, (None, numbers), Limits::default())?;
            Ok(up)
        });
        match done {
            Ok(up) => {
                let (up, mark) = (Some(Box::new(up)), Some(mark_of(numbers.reqid)));
                let snapshot = returning.snapshot.take();
                self.guests().insert(sa, Known { numbers, up, mark, snapshot });
            }
            Err(failure) => returning.refused = Some(failure),
        }
    }
}

impl Guard {
    /// Who answers for clients.
    pub(in crate::l2tp) fn keeper(&self) -> Arc<Keeper> {
        Arc::clone(&self.keeper)
    }

    /// Goes on with what a process before has put around the tunnel of who is there: what comes by it, what that is for people, and
    /// the longest packet of its link, in octets.
    ///
    /// # Errors
    /// Nobody can.
    pub(crate) async fn returns(
        &self,
        path: Path,
        (reqids, left): (Reqids, &[u8]),
    ) -> Result<(Association, Outside, u16), Failure> {
        let numbers = Numbers::of_reqid(reqids.sas).filter(|_| self.keeper.marks);
        let numbers = numbers.ok_or_else(|| lost("what protected it cannot be told from that of others"))?;
        let numbers = Numbers { marked: true, ..numbers };
        let (shown, mtu) = self.restored(path, numbers, left).await?;
        Ok((Association(mark_of(numbers.reqid)), shown, mtu))
    }

    /// Ends the IKE that was around a tunnel that nobody goes on with: the peer hears of it, and its SAs go. Whether there is any.
    pub(crate) fn closes(&self, snapshot: &[u8]) -> bool {
        let Some(mark) = mark_in(snapshot) else { return false };
        let guests = self.keeper.guests();
        let its = guests.iter().filter(|(sa, known)| self.keeper.mark(**sa, known) == Some(mark));
        its.map(|(sa, _)| self.ike.close(*sa)).count() > 0
    }

    async fn restored(&self, path: Path, numbers: Numbers, left: &[u8]) -> Result<(Outside, u16), Failure> {
        let (version, octets) = left.split_first().ok_or_else(|| lost("its IKE was not handed over"))?;
        if *version == V1_BY_CERTIFICATES && self.keeper.certificates().is_none() {
            return Err(lost("its server lets nobody in by certificates any more"));
        }
        let snapshot = Some(Snapshot::of(*version, octets));
        *self.keeper.returning() = Some(Returning { numbers, snapshot, refused: None });
        let (octets, keeper) = (Zeroizing::new(octets.to_vec()), self.keeper());
        let (ike, local) = (&self.ike, path.local.ip());
        let restored = match *version {
            V1 | V1_BY_CERTIFICATES => {
                let by_key = *version == V1;
                let auth = if by_key { AuthMethod::Psk } else { AuthMethod::RsaSignatures };
                let config = keeper.config(local, auth);
                ike.restore_v1_peer(octets, config, keeper).await.map(|up| (up.sa, up.path))
            }
            V2 => {
                let config = keeper.by_ikev2(path);
                ike.restore_peer(octets, config, keeper).await.map(|up| (up.sa, up.path))
            }
            _ => None,
        };
        let returning = self.keeper.returning().take();
        let (sa, at) = restored.ok_or_else(|| lost("its IKE that was handed over cannot be gone on with"))?;
        let ports = ike.sockets().ports();
        let ours = [ports.ike, ports.nat].contains(&at.local.port()) && at.local.ip() == local;
        let elsewhere = (!ours).then(|| lost("its IKE was between other ends"));
        if let Some(failure) = returning.and_then(|returning| returning.refused).or(elsewhere) {
            ike.close(sa);
            return Err(failure);
        }
        let guests = self.keeper.guests();
        let up = guests.get(&sa).and_then(|known| known.up.as_deref());
        let up = up.ok_or_else(|| lost("its IKE is over"))?;
        Ok((up.shown(), protected_mtu(PATH_MTU, up, None)))
    }

    /// Lets nobody in any more.
    pub(crate) fn let_nobody_in(&self) {
        self.ike.set_v1_responder(None);
        self.ike.set_beside(None);
    }

    /// Tells clients no tunnel of which goes on, and waits a little.
    pub(crate) async fn leave(&self) {
        let goes_on = |mark: u32| self.keeper.leaves().get(&mark).is_some_and(|l| l.strong_count() > 0);
        let all: Vec<(SaId, Option<u32>)> = {
            let guests = self.keeper.guests();
            guests.iter().map(|(sa, known)| (*sa, self.keeper.mark(*sa, known))).collect()
        };
        let others = all.into_iter().filter(|(_, mark)| !mark.is_some_and(goes_on));
        let others: Vec<SaId> = others.map(|(sa, _)| sa).collect();
        others.iter().for_each(|sa| self.ike.close(*sa));
        let gone = || others.iter().all(|sa| !self.keeper.guests().contains_key(sa));
        let _ = tokio::time::timeout(FAREWELL, until(&self.keeper.left, gone)).await;
    }
}

/// Nobody goes on with a client: what was around its tunnel goes, and who may bring that.
pub(crate) fn forget_guest(sad: &Sad, snapshot: &[u8], files: &BTreeMap<String, OwnedFd>) {
    forget_sas(sad, snapshot);
    disown(snapshot, ids_of(files));
}

/// Nobody goes on with what was around a tunnel.
pub(crate) fn forget_sas(sad: &Sad, snapshot: &[u8]) {
    let reqid = numbers_of(snapshot).first().map(|numbers| numbers.reqid);
    reqid.iter().flat_map(|reqid| sad.remove_marked_with(*reqid)).for_each(|error| not_removed(&error));
}

/// What the session of a tunnel that was left is known by.
pub(crate) fn ids_of(files: &BTreeMap<String, OwnedFd>) -> Option<L2tpIds> {
    let [_, session] = Parts::sockets();
    L2tpIds::of(files.get(session)?.as_fd()).ok()
}

/// It is nobody's any more.
pub(crate) fn disown(snapshot: &[u8], ids: Option<L2tpIds>) {
    if let Some((mark, ids)) = mark_in(snapshot).zip(ids) {
        // Dropped, it is.
        drop(OWNERS.own(mark, ids.tunnel));
    }
}

/// The mark of what comes inside of IPsec.
fn mark_in(snapshot: &[u8]) -> Option<u32> {
    numbers_of(snapshot).first().map(|numbers| mark_of(numbers.reqid))
}

fn not_removed(error: &XfrmError) {
    warn!(%error, "L2TP server: not removed");
}

fn lost(why: &str) -> Failure {
    Failure::new(FailureCode::PeerLost, Step::Established, format!("it dials anew: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_of_one_reqid() {
        let numbers = Numbers::nth(0x0012_3456);
        let found = Numbers::of_mark(mark_of(numbers.reqid)).unwrap();
        assert_eq!((found.reqid, found.marked), (numbers.reqid, true));
        assert!(Numbers::of_mark(0).is_none() && Numbers::of_mark(0x1234).is_none());
    }
}
