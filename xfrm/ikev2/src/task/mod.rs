//! What an established IKE_SA does: one file for each job of the RFC, with what it asks and what it answers.

pub(crate) mod create_child;
pub(crate) mod delete;
pub(crate) mod informational;
pub(crate) mod liveness;
pub(crate) mod reject;

use adit_core::{Failure, FailureCode, Step};
use adit_isakmp::payload::{Notify, NotifyType};
use adit_isakmp::{ExchangeType, Message, Payload};

use crate::api::ChildId;
use crate::ike::Ike;
use crate::state::Cx;

/// A request that we make, now or when the window is free.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Task {
    /// Ask whether the peer lives.
    Liveness,
    /// Delete one CHILD_SA.
    DeleteChild(ChildId),
    /// Delete the IKE_SA.
    DeleteIke,
    /// Tell the responder that its AUTH was refused.
    Reject,
}

impl Task {
    /// The request; `None` if there is nothing left to do.
    pub(crate) fn build(self, ike: &mut Ike) -> Option<(ExchangeType, Vec<Payload>)> {
        let payloads = match self {
            Self::Liveness => liveness::build(),
            Self::DeleteChild(child) => delete::build_child(ike, child)?,
            Self::DeleteIke => delete::build_ike(),
            Self::Reject => reject::build(),
        };
        Some((ExchangeType::INFORMATIONAL, payloads))
    }

    /// The response came. `Some` if the IKE_SA ends with it.
    pub(crate) fn finished(
        self,
        ike: &mut Ike,
        cx: &mut Cx<'_>,
        response: &Message,
    ) -> Option<Result<(), Failure>> {
        match self {
            Self::Liveness => None,
            Self::DeleteChild(child) => {
                delete::child_deleted(ike, cx, child, response);
                None
            }
            Self::DeleteIke | Self::Reject => Some(Ok(())),
        }
    }

    /// Whether nothing can come after it.
    pub(crate) const fn is_last(self) -> bool {
        matches!(self, Self::DeleteIke | Self::Reject)
    }
}

/// What we answer to a request of the peer.
pub(crate) struct Reply {
    pub(crate) payloads: Vec<Payload>,
    /// The IKE_SA ends with this answer.
    pub(crate) ends: Option<Result<(), Failure>>,
}

impl Reply {
    /// The IKE_SA goes on.
    pub(crate) const fn of(payloads: Vec<Payload>) -> Self {
        Self { payloads, ends: None }
    }

    /// One notify; the IKE_SA goes on.
    pub(crate) fn notify(kind: NotifyType) -> Self {
        Self::of(vec![Payload::Notify(Notify::new(kind, []))])
    }

    /// The IKE_SA ends.
    pub(crate) const fn last(payloads: Vec<Payload>, why: Failure) -> Self {
        Self { payloads, ends: Some(Err(why)) }
    }
}

/// An authentic request that makes no sense: INVALID_SYNTAX is fatal at both ends (RFC 7296 §2.21.3).
pub(crate) fn malformed(why: &str) -> Reply {
    let failure = Failure::new(
        FailureCode::PeerMisbehaved,
        Step::Established,
        format!("the peer sent a request that makes no sense: {why}"),
    );
    let notify = Notify::new(NotifyType::INVALID_SYNTAX, []);
    Reply::last(vec![Payload::Notify(notify)], failure)
}
