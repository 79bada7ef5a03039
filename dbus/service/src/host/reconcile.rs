use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use adit_core::Failure;
use adit_xfrm_kernel::{AllocateSpi, Mark, OUR_IF_IDS, PolicyId, XfrmDoor, XfrmError};

use super::{Changes, Host, HostError, MARK, MARK_MASK, Undo, leftovers};
use crate::esp::mark_of;

/// What a new daemon has taken over from a dead one, and so must stand.
#[derive(Clone, Default, Debug)]
pub struct Kept {
    /// Names of journals.
    pub journals: BTreeSet<String>,
    /// if_ids of links, states and policies.
    pub if_ids: BTreeSet<u32>,
    /// reqids of states without an if_id.
    pub reqids: BTreeSet<u32>,
}

/// Undoes what a dead daemon left and nobody took over: first the states and policies (with the routes still in
/// place their traffic is dropped), then each journal from its end, so that a block goes last, then links of ours
/// that no journal knows. Goes on after an error, and returns them all.
pub async fn reconcile(
    host: &Arc<dyn Host>,
    xfrm: &Arc<dyn XfrmDoor>,
    folder: &Path,
    kept: &Kept,
) -> Vec<Failure> {
    let mut failures = Vec::new();
    let (door, ids) = (Arc::clone(xfrm), kept.clone());
    match tokio::task::spawn_blocking(move || remove_states(door.as_ref(), &ids)).await {
        Ok(errors) => failures.extend(errors.iter().map(XfrmError::failure)),
        Err(e) => tracing::error!("removing old states broke off: {e}"),
    }
    match leftovers(folder) {
        Err(e) => failures.push(e.failure()),
        Ok(journals) => {
            for journal in journals.into_iter().filter(|j| !kept.journals.contains(j.name())) {
                tracing::info!("undoing what an earlier start left of {}", journal.name());
                let changes = Changes::new(Arc::clone(host), journal);
                failures.extend(changes.undo_all().await.iter().map(HostError::failure));
            }
        }
    }
    failures.extend(remove_links(host.as_ref(), kept).await.iter().map(HostError::failure));
    failures
}

fn remove_states(door: &dyn XfrmDoor, kept: &Kept) -> Vec<XfrmError> {
    let mut errors = Vec::new();
    match door.policies() {
        Ok(mut policies) => {
            policies.retain(|policy| !is_kept(policy, kept));
            errors.extend(door.remove_policies(&policies));
        }
        // A kernel without IPsec has none of ours.
        Err(XfrmError::Unavailable(_)) => return errors,
        Err(e) => errors.push(e),
    }
    match door.states() {
        Ok(mut states) => {
            states
                .retain(|s| s.if_id.map_or(!kept.reqids.contains(&s.reqid), |id| !kept.if_ids.contains(&id)));
            // What a packet has asked for has no SPI, by which it could be removed.
            let (asked_for, stand): (Vec<_>, Vec<_>) = states.into_iter().partition(|s| s.id.spi == 0);
            let ids: Vec<_> = stand.iter().map(|s| s.id).collect();
            errors.extend(door.remove_states(&ids));
            for state in asked_for {
                let tunnel =
                    AllocateSpi::tunnel(state.id.destination, state.source, state.reqid, state.if_id);
                errors.extend(door.forget_acquired(&AllocateSpi { mode: state.mode, ..tunnel }));
            }
        }
        Err(e) => errors.push(e),
    }
    errors
}

fn is_kept(policy: &PolicyId, kept: &Kept) -> bool {
    match (policy.if_id, policy.mark) {
        (Some(id), _) => kept.if_ids.contains(&id),
        // One of those peers that are told apart.
        (None, Some(Mark { value, mask: u32::MAX })) if value & MARK_MASK == MARK => {
            kept.reqids.iter().any(|reqid| mark_of(*reqid) == value)
        }
        // It belongs to a reqid that it does not tell here: with any of those kept, all are.
        (None, _) => !kept.reqids.is_empty(),
    }
}

async fn remove_links(host: &dyn Host, kept: &Kept) -> Vec<HostError> {
    let links = match host.links().await {
        Ok(links) => links,
        Err(e) => return vec![e],
    };
    let mut errors = Vec::new();
    for if_id in links.iter().filter_map(|l| l.if_id) {
        if OUR_IF_IDS.contains(&if_id) && !kept.if_ids.contains(&if_id) {
            errors.extend(host.undo(&Undo::XfrmLink { if_id }).await.err());
        }
    }
    errors
}

#[cfg(all(test, feature = "recording"))]
mod tests {
    use adit_core::{Prefix, TrafficSelector};
    use adit_xfrm_kernel::{Action, Direction, Policy, RecordingXfrm, Selector};

    use super::*;
    use crate::esp::Numbers;

    #[test]
    fn of_peers_that_are_told_apart_only_those_policies_stay_that_somebody_goes_on_with() {
        let [one, other] = [Numbers::nth(7), Numbers::nth(8)];
        let of = |numbers: Numbers| Some(Mark { value: mark_of(numbers.reqid), mask: u32::MAX });
        let ours = Some(Mark { value: MARK, mask: MARK_MASK });
        let any = TrafficSelector::from(Prefix::ANY_V4);
        let selector = Selector::pairs(&[any], &[any]).unwrap()[0];
        let policy = |mark, if_id| {
            let id = PolicyId { direction: Direction::Out, selector, if_id, mark };
            Policy { id, priority: 1, action: Action::Allow, template: None }
        };
        let all = [
            policy(of(one), None),
            policy(of(other), None),
            policy(ours, None),
            policy(None, None),
            policy(None, Some(one.if_id)),
        ];
        let left = |reqids: &[u32]| {
            let door = RecordingXfrm::new();
            door.update_policies(&all).unwrap();
            let kept = Kept { reqids: reqids.iter().copied().collect(), ..Kept::default() };
            assert!(remove_states(&door, &kept).is_empty());
            door.policies().unwrap()
        };
        let mut stays = vec![all[0].id, all[2].id, all[3].id];
        stays.sort();
        assert_eq!(left(&[one.reqid]), stays);
        assert_eq!(left(&[]), []);
    }
}
