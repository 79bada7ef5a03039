//! An initiator that can't accept the responder's AUTH says so in an INFORMATIONAL of its own (RFC 7296 §2.21.2), so
//! that the responder, for which the IKE_SA is up, drops it.

use adit_isakmp::Payload;
use adit_isakmp::payload::{Notify, NotifyType};

/// The request.
pub(crate) fn build() -> Vec<Payload> {
    let notify = Notify::new(NotifyType::AUTHENTICATION_FAILED, []);
    vec![Payload::Notify(notify)]
}
