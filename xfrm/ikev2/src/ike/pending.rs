//! A CREATE_CHILD_SA of the peer whose additional key exchanges are still to come (RFC 9370 §2.2.4). One of them: a
//! further one takes its place.

use adit_core::Instant;
use adit_isakmp::Payload;

use super::Ike;
use crate::api::ChildId;
use crate::state::Cx;
use crate::task::Job;
use crate::task::followup::{FOLLOWED_WITHIN, linked};

/// It.
pub(super) struct Pending {
    link: [u8; 8],
    job: Job,
    until: Instant,
}

impl Ike {
    /// Waits for the peer to follow up. The notify that its request has to repeat.
    pub(crate) fn pend(&mut self, cx: &mut Cx<'_>, job: Job) -> Payload {
        self.drop_pending(cx);
        let link = cx.shared.entropy.public_u64().to_be_bytes();
        // [9370:2.2.4-6]
        self.pending = Some(Box::new(Pending { link, job, until: cx.now + FOLLOWED_WITHIN }));
        // [9370:2.2.4-2]
        linked(link.to_vec())
    }

    /// The one that the peer follows up.
    pub(crate) fn take_pending(&mut self, link: &[u8]) -> Option<Job> {
        self.pending.take_if(|p| p.link == link).map(|p| p.job)
    }

    /// Nothing comes of it.
    pub(crate) fn drop_pending(&mut self, cx: &mut Cx<'_>) {
        if let Some(pending) = self.pending.take() {
            pending.job.dropped(self, cx);
        }
    }

    /// The same, if it takes the place of this CHILD_SA; `None`: of the IKE_SA.
    pub(crate) fn drop_rival(&mut self, cx: &mut Cx<'_>, old: Option<ChildId>) {
        let rivals = self.pending.as_ref().is_some_and(|p| match &p.job {
            Job::Grant(grant) => old.is_some() && grant.old() == old,
            Job::GrantIke(_) => old.is_none(),
        });
        if rivals {
            self.drop_pending(cx);
        }
    }

    /// Whether there is one.
    pub(crate) const fn has_pending(&self) -> bool {
        self.pending.is_some()
    }

    /// What the peer gets, in an answer or after further key exchanges.
    pub(super) fn jobs(&self) -> impl Iterator<Item = &Job> {
        let answering = self.sa.answering.as_deref().map(|a| &a.job);
        answering.into_iter().chain(self.pending.as_deref().map(|p| &p.job))
    }

    /// When it is forgotten.
    pub(super) fn pending_at(&self) -> Option<Instant> {
        self.pending.as_deref().map(|p| p.until)
    }

    /// Forgets it, if it is time.
    pub(super) fn wake_pending(&mut self, cx: &mut Cx<'_>) {
        // [9370:2.2.4-6]
        if self.pending_at().is_some_and(|at| at <= cx.now) {
            self.drop_pending(cx);
        }
    }
}
