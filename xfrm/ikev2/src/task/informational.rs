//! The peer's INFORMATIONAL requests (RFC 7296 §1.4): liveness checks, deletions, notices.

use adit_isakmp::Message;
use adit_isakmp::payload::NotifyType;

use crate::explain;
use crate::ike::Ike;
use crate::state::Cx;
use crate::task::{Reply, delete};

/// Answers one. What is not known is answered with nothing, which proves that we live.
pub(crate) fn answer(ike: &mut Ike, cx: &mut Cx<'_>, message: &Message) -> Reply {
    for notify in message.notifies().filter(|n| n.kind.is_error()) {
        match notify.kind {
            // RFC 7296 §2.21.2: the initiator has refused our AUTH.
            NotifyType::AUTHENTICATION_FAILED => {
                return Reply::last(Vec::new(), explain::peer_refused_us(ike.sa.channel.path));
            }
            // RFC 7296 §2.21.3: fatal at both ends.
            NotifyType::INVALID_SYNTAX => {
                return Reply::last(Vec::new(), explain::peer_found_us_malformed());
            }
            // [7296:3.10.1-2] [7296:3.10.1-3] [7296:2.21.4-5]
            _ => {}
        }
    }
    delete::answer(ike, cx, message)
}
