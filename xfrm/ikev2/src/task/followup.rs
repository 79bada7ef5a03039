//! IKE_FOLLOWUP_KE: the additional key exchanges of a CREATE_CHILD_SA, one exchange for each (RFC 9370 §2.2.4).
//!
//! # What the RFC demands
//!
//! - They follow CREATE_CHILD_SA in the order of their transform types, each after the one before is over. Only then is
//!   there an SA, whose keys come from SK_d, the first shared secret, the nonces, and all the other shared secrets.
//! - Each response but the last has ADDITIONAL_KEY_EXCHANGE; the next request repeats its data, which only the responder
//!   understands: so it finds what the exchange belongs to. One that finds nothing is answered STATE_NOT_FOUND.
//! - A responder forgets what is not followed up in time.
//!
//! # Collisions
//!
//! Where both ends rekey the same SA at once (RFC 7296 §2.8.1, §2.8.2) the nonces of the two CREATE_CHILD_SA decide, and
//! whoever loses does not follow up. What has only one key exchange is made before anybody knows that, and is deleted as
//! ever. While we follow up ourselves, the peer is asked to come back later.

use core::time::Duration;

use adit_core::Secret;
use adit_isakmp::algorithm::AdditionalKe;
use adit_isakmp::crypto::KeyExchange;
use adit_isakmp::payload::{Notify, NotifyType};
use adit_isakmp::{KeMethod, Message, Payload};

use crate::ike::Ike;
use crate::intermediate::payload;
use crate::state::Cx;
use crate::task::Turn;

/// So long a responder waits for the next exchange (RFC 9370 §2.2.4: 5 to 20 s).
pub(crate) const FOLLOWED_WITHIN: Duration = Duration::from_secs(20);

/// The key exchanges of one CREATE_CHILD_SA.
pub(crate) struct Exchanges {
    additional: AdditionalKe,
    secrets: Vec<Secret>,
}

impl Exchanges {
    /// None is over yet.
    pub(crate) const fn new(additional: AdditionalKe) -> Self {
        Self { additional, secrets: Vec::new() }
    }

    /// Whether there are more than the one in CREATE_CHILD_SA.
    pub(crate) fn several(&self) -> bool {
        self.additional.count() > 0
    }

    /// Whether the one that is under way is the last.
    pub(crate) fn is_last(&self) -> bool {
        self.secrets.len() >= self.additional.count()
    }

    /// The one under way is over, with this shared secret. The method of the one that follows, if one does.
    pub(crate) fn over(&mut self, shared: Secret) -> Option<KeMethod> {
        let next = self.additional.methods().nth(self.secrets.len());
        self.secrets.push(shared);
        next
    }

    /// The shared secrets, in order.
    pub(crate) fn secrets(&self) -> &[Secret] {
        &self.secrets
    }
}

/// `KEi(n), N(ADDITIONAL_KEY_EXCHANGE)`
pub(crate) fn request(key: &dyn KeyExchange, link: Vec<u8>) -> Vec<Payload> {
    // [9370:2.2.4-2]
    vec![payload(key.method(), key.public().to_vec()), linked(link)]
}

/// What the next request has to repeat.
pub(crate) fn link(response: &Message) -> Option<Vec<u8>> {
    response.notify(NotifyType::ADDITIONAL_KEY_EXCHANGE).map(|n| n.data.clone())
}

/// N(ADDITIONAL_KEY_EXCHANGE)
pub(crate) fn linked(link: Vec<u8>) -> Payload {
    Payload::Notify(Notify::new(NotifyType::ADDITIONAL_KEY_EXCHANGE, link))
}

/// A request of the peer.
pub(crate) fn answer(ike: &mut Ike, cx: &mut Cx<'_>, message: &Message) -> Turn {
    let link = link(message);
    // [9370:2.2.4-3]
    let Some(job) = link.and_then(|link| ike.take_pending(&link)) else {
        return Turn::notify(NotifyType::STATE_NOT_FOUND);
    };
    job.followed(ike, cx, message)
}
