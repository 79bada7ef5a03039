//! What an established IKE_SA does: one file for each job of the RFC, with what it asks and what it answers.

pub(crate) mod create;
pub(crate) mod delete;
pub(crate) mod followup;
pub(crate) mod informational;
pub(crate) mod liveness;
pub(crate) mod mobike;
pub(crate) mod reject;
pub(crate) mod rekey_ike;
pub(crate) mod ticket;

use adit_core::{Failure, FailureCode, Path, Step};
use adit_isakmp::payload::{Notify, NotifyType};
use adit_isakmp::{ExchangeType, Message, Payload};

use crate::api::{Answer, AskId, ChildConfig, ChildId};
use crate::ike::{Ike, Sa};
use crate::state::Cx;

use create::{Create, Grant};
use mobike::Exchange;
use rekey_ike::{GrantIke, Rekey};

/// A request that we make, now or when the window is free.
#[derive(Debug)]
pub(crate) enum Task {
    /// Ask whether the peer lives.
    Liveness,
    /// Delete one CHILD_SA.
    DeleteChild(ChildId),
    /// Delete the IKE_SA.
    DeleteIke,
    /// Tell the responder that its AUTH was refused.
    Reject,
    /// Negotiate one more CHILD_SA.
    New(Box<ChildConfig>),
    /// Negotiate a CHILD_SA in place of this one.
    Rekey(ChildId),
    /// Negotiate an IKE_SA in place of this one.
    RekeyIke,
    /// Tell the responder where we are.
    Update,
    /// Tell the peer where else we are.
    Announce,
    /// Ask, over these paths too, whether the peer receives.
    Test(Vec<Path>),
    /// Ask for a ticket.
    Ticket,
}

impl Task {
    /// The first step of it.
    pub(crate) fn begin(self, ike: &mut Ike, cx: &mut Cx<'_>) -> Move {
        let payloads = match self {
            Self::New(config) => return create::begin_new(ike, cx, config),
            Self::Rekey(child) => return create::begin_rekey(ike, cx, child),
            Self::RekeyIke => return rekey_ike::begin(ike, cx),
            Self::Update => return mobike::begin_update(ike, cx),
            Self::Announce => return mobike::begin_announce(ike, cx),
            Self::Test(over) => return mobike::begin_test(ike, cx, over),
            Self::Liveness => liveness::build(ike, cx),
            Self::DeleteChild(child) => match delete::build_child(ike, child) {
                Some(payloads) => payloads,
                None => return Move::Done,
            },
            Self::DeleteIke => delete::build_ike(),
            Self::Reject => reject::build(),
            Self::Ticket => ticket::build(),
        };
        Move::Send(Running::Informational(self), ExchangeType::INFORMATIONAL, payloads)
    }
}

/// A task under way.
pub(crate) enum Running {
    /// One whose only step is its request.
    Informational(Task),
    /// A CHILD_SA.
    Create(Box<Create>),
    /// A CHILD_SA that a process before has asked for, in vain: what may come of it is known by this.
    Left(ChildId),
    /// An IKE_SA.
    Rekey(Box<Rekey>),
    /// Addresses.
    Mobike(Box<Exchange>),
}

/// The next step of a task under way.
pub(crate) enum Move {
    /// Send this request and wait for its response.
    Send(Running, ExchangeType, Vec<Payload>),
    /// Wait for the answer to this Ask.
    Wait(Running, AskId),
    /// Nothing is left to do.
    Done,
    /// The IKE_SA ends with it.
    Ends(Result<(), Failure>),
}

impl Running {
    /// The response came.
    pub(crate) fn answered(self, ike: &mut Ike, cx: &mut Cx<'_>, response: &Message) -> Move {
        match self {
            Self::Informational(Task::DeleteChild(child)) => {
                delete::child_deleted(ike, cx, child);
                Move::Done
            }
            Self::Informational(Task::DeleteIke | Task::Reject) => Move::Ends(Ok(())),
            Self::Informational(Task::Liveness) => {
                mobike::lives(ike, cx, response);
                Move::Done
            }
            Self::Informational(Task::Ticket) => {
                ike.ticket_came(cx, response);
                Move::Done
            }
            Self::Informational(_) => Move::Done,
            Self::Mobike(exchange) => exchange.answered(ike, cx, response),
            Self::Create(create) => create.answered(ike, cx, response),
            Self::Left(child) => {
                create::left_answered(ike, cx, child, response);
                Move::Done
            }
            Self::Rekey(rekey) => rekey.answered(ike, cx, response),
        }
    }

    /// The answer to an Ask of ours came.
    pub(crate) fn answer(self, ike: &mut Ike, cx: &mut Cx<'_>, id: AskId, answer: Answer) -> Move {
        match self {
            Self::Create(create) => create.answer(ike, cx, id, answer),
            Self::Rekey(rekey) => rekey.answer(ike, cx, id, answer),
            Self::Informational(_) | Self::Mobike(_) | Self::Left(_) => Move::Done,
        }
    }

    /// It did not come in time.
    pub(crate) fn unanswered(self, ike: &mut Ike, cx: &mut Cx<'_>) -> Move {
        match self {
            Self::Create(create) => create.unanswered(ike, cx),
            Self::Rekey(rekey) => rekey.unanswered(ike, cx),
            Self::Informational(_) | Self::Mobike(_) | Self::Left(_) => Move::Done,
        }
    }

    /// Whether its request asks for nothing that would have to be kept in mind: it may be answered to whoever goes on.
    pub(crate) fn is_harmless(&self) -> bool {
        match self {
            Self::Informational(task) => matches!(task, Task::Liveness | Task::Ticket),
            Self::Mobike(exchange) => !exchange.updates(),
            Self::Create(_) | Self::Left(_) | Self::Rekey(_) => false,
        }
    }

    /// Nothing comes of it.
    pub(crate) fn abandoned(self, cx: &mut Cx<'_>) {
        if let Self::Rekey(rekey) = self {
            rekey.abandoned(cx);
        }
    }

    /// Paths that its request goes over besides.
    pub(crate) fn also_over(&self) -> Vec<Path> {
        match self {
            Self::Mobike(exchange) => exchange.over.clone(),
            Self::Informational(_) | Self::Create(_) | Self::Left(_) | Self::Rekey(_) => Vec::new(),
        }
    }

    /// Whether nothing can come after it.
    pub(crate) const fn is_last(&self) -> bool {
        matches!(self, Self::Informational(Task::DeleteIke | Task::Reject))
    }
}

/// What comes of a request of the peer.
pub(crate) enum Turn {
    /// This is the response.
    Reply(Reply),
    /// The response waits for the answer to this Ask.
    Wait(Job, AskId),
}

/// A request of the peer that is being worked on.
pub(crate) enum Job {
    /// A CHILD_SA.
    Grant(Box<Grant>),
    /// An IKE_SA.
    GrantIke(Box<GrantIke>),
}

impl Turn {
    /// The response is one notify.
    pub(crate) fn notify(kind: NotifyType) -> Self {
        Self::Reply(Reply::of(vec![Payload::Notify(Notify::new(kind, []))]))
    }
}

impl Job {
    /// The answer to an Ask of ours came.
    pub(crate) fn answer(self, ike: &mut Ike, cx: &mut Cx<'_>, id: AskId, answer: Answer) -> Turn {
        match self {
            Self::Grant(grant) => grant.answer(ike, cx, id, answer),
            Self::GrantIke(grant) => grant.answer(ike, cx, id, answer),
        }
    }

    /// It did not come in time.
    pub(crate) fn unanswered(self, ike: &mut Ike, cx: &mut Cx<'_>) -> Turn {
        match self {
            Self::Grant(grant) => grant.unanswered(ike, cx),
            Self::GrantIke(grant) => grant.unanswered(cx),
        }
    }

    /// The peer goes on with an additional key exchange.
    pub(crate) fn followed(self, ike: &mut Ike, cx: &mut Cx<'_>, message: &Message) -> Turn {
        match self {
            Self::Grant(grant) => grant.followed(ike, cx, message),
            Self::GrantIke(grant) => grant.followed(cx, message),
        }
    }

    /// It does not.
    pub(crate) fn dropped(self, ike: &mut Ike, cx: &mut Cx<'_>) {
        match self {
            Self::Grant(grant) => grant.dropped(ike, cx),
            Self::GrantIke(grant) => grant.dropped(cx),
        }
    }
}

/// What we answer to a request of the peer.
pub(crate) struct Reply {
    pub(crate) payloads: Vec<Payload>,
    /// The IKE_SA ends with this answer.
    pub(crate) ends: Option<Result<(), Failure>>,
    /// This IKE_SA takes its place, made with this lowest nonce.
    pub(crate) successor: Option<Box<(Sa, Vec<u8>)>>,
}

impl Reply {
    /// The IKE_SA goes on.
    pub(crate) const fn of(payloads: Vec<Payload>) -> Self {
        Self { payloads, ends: None, successor: None }
    }

    /// The IKE_SA ends.
    pub(crate) const fn last(payloads: Vec<Payload>, why: Failure) -> Self {
        Self { payloads, ends: Some(Err(why)), successor: None }
    }
}

/// An authentic request that makes no sense: INVALID_SYNTAX is fatal at both ends (RFC 7296 §2.21.3).
pub(crate) fn malformed(why: &str) -> Reply {
    let failure = Failure::new(
        FailureCode::PeerMisbehaved,
        Step::Established,
        format!("the peer sent a request that makes no sense: {why}"),
    );
    // [7296:2.21.3-1] [7296:3.10.1-4]
    let notify = Notify::new(NotifyType::INVALID_SYNTAX, []);
    Reply::last(vec![Payload::Notify(notify)], failure)
}
