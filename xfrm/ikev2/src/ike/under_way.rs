//! What is under way on a connection, as its tasks ask about each other.

use core::time::Duration;

use adit_core::{Instant, TrafficSelector};

use super::sa::Current;
use super::{Ike, Sa};
use crate::api::{ChildId, Event};
use crate::explain;
use crate::selectors;
use crate::state::Cx;
use crate::task::create::Create;
use crate::task::{Job, Move, Running, Task};

/// So long may a peer put everything off (RFC 7296 §2.25: several minutes).
const PUT_OFF: Duration = Duration::from_secs(300);

impl Ike {
    fn create(&self) -> Option<&Create> {
        match self.sa.current.as_deref() {
            Some(Current { running: Running::Create(create), .. }) => Some(create),
            _ => None,
        }
    }

    fn create_mut(&mut self) -> Option<&mut Create> {
        match self.sa.current.as_deref_mut() {
            Some(Current { running: Running::Create(create), .. }) => Some(create),
            _ => None,
        }
    }

    /// The CHILD_SA that we rekey, if the peer may know it.
    pub(crate) fn rekeying(&self) -> Option<ChildId> {
        self.create().filter(|c| c.was_sent()).and_then(Create::old)
    }

    /// The CHILD_SA in whose place the peer is getting one.
    pub(crate) fn granting(&self) -> Option<ChildId> {
        self.jobs().find_map(|job| match job {
            Job::Grant(grant) => grant.old(),
            Job::GrantIke(_) => None,
        })
    }

    /// Whether a CHILD_SA is about to come up.
    pub(super) fn creates(&self) -> bool {
        let queued = self.queue.iter().chain(self.postponed.iter().map(|(_, task)| task));
        let new = |t: &Task| matches!(t, Task::New(_));
        let granting = self.jobs().any(|job| matches!(job, Job::Grant(_)));
        granting || self.create().is_some() || queued.into_iter().any(new)
    }

    /// Whether we are about to delete this CHILD_SA.
    pub(crate) fn deletes(&self, child: ChildId) -> bool {
        self.queue.iter().any(|t| matches!(t, Task::DeleteChild(id) if *id == child))
    }

    /// Whether we are closing the IKE_SA.
    pub(crate) const fn is_closing(&self) -> bool {
        self.closing.is_some()
    }

    /// Whether we are rekeying the IKE_SA, as far as the peer may know.
    pub(crate) fn rekeys_itself(&self) -> bool {
        let rekey = self.sa.current.as_deref().map(|c| &c.running);
        matches!(rekey, Some(Running::Rekey(rekey)) if rekey.was_sent()) || self.has_candidate()
    }

    /// Whether the peer has an IKE_SA in place of this one already, because we asked for it.
    pub(super) fn is_granted_rekey(&self) -> bool {
        let rekey = self.sa.current.as_deref().map(|c| &c.running);
        matches!(rekey, Some(Running::Rekey(rekey)) if rekey.is_granted())
    }

    /// The peer makes an IKE_SA in place of this one. If we are doing the same, one of both goes (RFC 7296 §2.8.2).
    pub(super) fn succeeded_by_peer(&mut self, cx: &mut Cx<'_>, new: Sa, lowest: Vec<u8>) {
        match self.sa.current.as_deref_mut().map(|c| &mut c.running) {
            Some(Running::Rekey(rekey)) if rekey.was_sent() => {
                rekey.collides(lowest);
                self.keep_candidate(new);
            }
            _ => self.succeed(cx, new, false),
        }
    }

    /// Rekeys the IKE_SA, unless that is under way.
    pub(super) fn want_rekey(&mut self) {
        let under_way = self.sa.current.as_deref().is_some_and(|c| matches!(c.running, Running::Rekey(_)));
        if !under_way && !self.queue.iter().any(|t| matches!(t, Task::RekeyIke)) {
            self.enqueue(Task::RekeyIke);
        }
    }

    /// Whether the peer waits for an answer that waits for the driver, or is to follow up.
    pub(crate) const fn answers(&self) -> bool {
        self.sa.answering.is_some() || self.has_pending()
    }

    /// Whether our own rekey of this CHILD_SA (`None`: of the IKE_SA) is granted, and has further key exchanges ahead.
    pub(crate) fn follows_up(&self, old: Option<ChildId>) -> bool {
        match self.sa.current.as_deref().map(|c| &c.running) {
            Some(Running::Create(create)) => old.is_some() && create.old() == old && create.follows_up(),
            Some(Running::Rekey(rekey)) => old.is_none() && rekey.follows_up(),
            _ => false,
        }
    }

    /// The peer is getting an IKE_SA in place of this one, after further key exchanges. If we are doing the same, one of
    /// both goes (RFC 7296 §2.8.2).
    pub(crate) fn contested(&mut self, lowest: Vec<u8>) {
        match self.sa.current.as_deref_mut().map(|c| &mut c.running) {
            Some(Running::Rekey(rekey)) if rekey.was_sent() => rekey.collides(lowest),
            _ => {}
        }
    }

    /// Whether nothing is to be begun on the IKE_SA: the peer is getting another one.
    pub(crate) fn is_being_replaced(&self) -> bool {
        self.jobs().any(|job| matches!(job, Job::GrantIke(_)))
    }

    /// Whether we are making or deleting a CHILD_SA.
    pub(crate) fn changes_children(&self) -> bool {
        let running = self.sa.current.as_deref().map(|c| &c.running);
        matches!(running, Some(Running::Create(_) | Running::Informational(Task::DeleteChild(_))))
    }

    /// The peer makes `rival` in place of `old`. If we are doing the same, one of both goes (RFC 7296 §2.8.1).
    pub(crate) fn collides(&mut self, old: ChildId, rival: ChildId, lowest: Vec<u8>) {
        if let Some(create) = self.create_mut().filter(|c| c.old() == Some(old)) {
            create.collides(rival, lowest);
        }
    }

    /// It did not come about.
    pub(crate) fn rival_failed(&mut self, rival: ChildId) {
        if let Some(create) = self.create_mut() {
            create.rival_failed(rival);
        }
    }

    /// The peer has done as it was asked: both have the same.
    pub(crate) const fn in_step(&mut self) {
        self.put_off = None;
    }

    /// The peer asks to come back later.
    pub(crate) fn later(&mut self, cx: &mut Cx<'_>, task: Task) -> Move {
        let since = *self.put_off.get_or_insert(cx.now);
        if cx.now.since(since) >= PUT_OFF {
            let why = explain::out_of_step(&self.remote_id);
            self.begin_close(cx, Task::DeleteIke, Err(why));
            return Move::Done;
        }
        // [7296:2.25-1]
        let at = cx.later(cx.now.since(since));
        match task {
            Task::Rekey(id) => {
                if let Some(child) = self.child(id).filter(|c| c.replaced_by.is_none()) {
                    child.due = Some(at);
                }
            }
            Task::RekeyIke => self.rekey_at = Some(at),
            task => self.postponed.push((at, task)),
        }
        Move::Done
    }

    /// The peer rekeys nothing (NO_ADDITIONAL_SAS): a new IKE_SA is made beside this one, and takes its place when it is up
    /// (RFC 7296 §4). Only who has dialled can.
    pub(crate) fn begin_anew(&self, cx: &mut Cx<'_>) {
        // [7296:4-6]
        if self.dialled && self.closing.is_none() {
            cx.event(Event::ReauthenticationDue);
        }
    }

    /// When something that was put off is to be tried again.
    pub(super) fn postponed_at(&self) -> Option<Instant> {
        self.postponed.iter().map(|(at, _)| *at).min()
    }

    pub(super) fn take_up_postponed(&mut self, cx: &Cx<'_>) {
        let now = cx.now;
        let due: Vec<_> = self.postponed.extract_if(.., |(at, _)| *at <= now).collect();
        due.into_iter().for_each(|(_, task)| self.enqueue(task));
    }

    /// Our side of traffic selectors, as far as it is ours: where we got an address, that.
    pub(crate) fn own_side(&self, list: &[TrafficSelector]) -> Vec<TrafficSelector> {
        if self.dialled { selectors::narrow_to_lease(list.to_vec(), &self.lease) } else { list.to_vec() }
    }

    /// What the peer may have on its side.
    pub(crate) fn peers_side(&self) -> Vec<TrafficSelector> {
        if self.policy.addresses { selectors::of_lease(&self.lease) } else { self.policy.remote_ts.clone() }
    }
}
