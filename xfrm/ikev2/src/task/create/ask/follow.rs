//! What follows where there are additional key exchanges (RFC 9370 §2.2.4): Generate → IKE_FOLLOWUP_KE sent → Agree, for
//! each.

use adit_core::{Secret, Step};
use adit_isakmp::crypto::{CryptoError, KeyExchange};
use adit_isakmp::payload::NotifyType;
use adit_isakmp::{ExchangeType, Message};

use super::{Create, Granted, Phase};
use crate::api::Ask;
use crate::explain;
use crate::ike::{Ike, Kernel};
use crate::intermediate;
use crate::state::Cx;
use crate::task::followup::{self, FOLLOWED_WITHIN};
use crate::task::{Move, Running};

impl Create {
    /// Whether it is granted, and has further key exchanges ahead.
    pub(crate) fn follows_up(&self) -> bool {
        match &self.phase {
            Phase::Agreeing(granted) | Phase::Following(granted) | Phase::Followed(granted, _) => {
                granted.exchanges.several()
            }
            Phase::Allocating | Phase::Generating | Phase::Sent(_) | Phase::Installing(..) => false,
        }
    }

    /// A shared secret is there: the next key exchange, or the CHILD_SA.
    pub(super) fn agreed(
        self: Box<Self>,
        ike: &mut Ike,
        cx: &mut Cx<'_>,
        mut granted: Granted,
        result: Result<Secret, CryptoError>,
    ) -> Move {
        let last = granted.exchanges.is_last();
        match result.map(|shared| granted.exchanges.over(shared)) {
            // [9370:2.2.4-1]
            Ok(Some(next)) => {
                let ask = cx.ask(Ask::Generate(next));
                self.wait(Phase::Following(granted), ask)
            }
            // [9370:2.2.4-5]
            Ok(None) => self.install(ike, cx, granted),
            Err(error) => {
                let why = explain::crypto_failed(Step::Child, self.method, error);
                if last {
                    self.spoilt(ike, cx, &granted.made, Kernel::Out, why)
                } else {
                    self.failed(ike, cx, why)
                }
            }
        }
    }

    /// `KEi(n), N(ADDITIONAL_KEY_EXCHANGE)`
    pub(super) fn follow(mut self: Box<Self>, mut granted: Granted, key: Box<dyn KeyExchange>) -> Move {
        let payloads = followup::request(&*key, granted.link.take().unwrap_or_default());
        self.phase = Phase::Followed(granted, key);
        Move::Send(Running::Create(self), ExchangeType::IKE_FOLLOWUP_KE, payloads)
    }

    /// The response to it.
    pub(super) fn followed(
        self: Box<Self>,
        ike: &mut Ike,
        cx: &mut Cx<'_>,
        mut granted: Granted,
        key: Box<dyn KeyExchange>,
        response: &Message,
    ) -> Move {
        if let Some(notify) = response.notifies().find(|n| n.kind.is_error()) {
            // [9370:2.2.4-3]
            if matches!(notify.kind, NotifyType::STATE_NOT_FOUND | NotifyType::TEMPORARY_FAILURE) {
                return self.later(ike, cx);
            }
            let why = explain::create_refused(&self.esp, (&self.local_ts, &self.remote_ts), notify);
            return self.failed(ike, cx, why);
        }
        granted.link = followup::link(response);
        let last = granted.exchanges.is_last();
        let why = match intermediate::public(response, key.method()) {
            Ok(peer) if last || granted.link.is_some() => {
                let ask = cx.ask(Ask::Agree { key, peer });
                return self.wait(Phase::Agreeing(granted), ask);
            }
            Ok(_) => "it does not say how the next key exchange is linked".to_owned(),
            Err(why) => why,
        };
        let why = explain::misbehaved(Step::Child, format!("the peer's answer to IKE_FOLLOWUP_KE: {why}"));
        if last { self.spoilt(ike, cx, &granted.made, Kernel::Out, why) } else { self.failed(ike, cx, why) }
    }

    /// The peer's own goes on, and ours is not followed up.
    pub(super) fn lost(&self, ike: &mut Ike, cx: &mut Cx<'_>) -> Move {
        let again = cx.after(FOLLOWED_WITHIN);
        let old = self.old().and_then(|old| ike.child(old));
        if let Some(child) = old.filter(|c| c.replaced_by.is_none()) {
            child.due = Some(again);
        }
        Move::Done
    }
}
