//! The peer's CREATE_CHILD_SA requests (RFC 7296 §1.3): this side has one CHILD_SA and lets nobody rekey yet, and
//! says so in the words that let the peer go on.

use adit_isakmp::payload::{NotifyType, Protocol};
use adit_isakmp::{Message, Payload};

use crate::ike::Ike;
use crate::task::Reply;

/// Answers one.
pub(crate) fn answer(ike: &Ike, message: &Message) -> Reply {
    if let Some(rekey) = message.notify(NotifyType::REKEY_SA) {
        // RFC 7296 §2.25: of a CHILD_SA that we don't have the peer has to hear that; otherwise it may try later.
        let spi = <[u8; 4]>::try_from(rekey.spi.as_slice()).map(u32::from_be_bytes).ok();
        let known = ike.children.iter().any(|c| Some(c.outbound_spi) == spi && !c.deleting);
        return Reply::notify(if known {
            NotifyType::TEMPORARY_FAILURE
        } else {
            NotifyType::CHILD_SA_NOT_FOUND
        });
    }
    let rekeys_ike = message.payloads.iter().any(|p| match p {
        Payload::Sa(sa) => sa.proposals.iter().any(|p| p.protocol == Protocol::IKE),
        _ => false,
    });
    Reply::notify(if rekeys_ike { NotifyType::TEMPORARY_FAILURE } else { NotifyType::NO_ADDITIONAL_SAS })
}
