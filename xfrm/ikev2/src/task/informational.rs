//! The peer's INFORMATIONAL requests (RFC 7296 §1.4): liveness checks, deletions, notices.

use core::time::Duration;

use adit_core::Path;
use adit_isakmp::Message;
use adit_isakmp::payload::NotifyType;

use crate::explain;
use crate::ike::Ike;
use crate::state::Cx;
use crate::task::{Reply, delete, mobike, ticket};

/// Answers one. What is not known is answered with nothing, which proves that we live.
pub(crate) fn answer(ike: &mut Ike, cx: &mut Cx<'_>, message: &Message, path: Path) -> Reply {
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
    if let Some(lifetime) = auth_lifetime(message) {
        ike.authenticated_for(cx, lifetime);
    }
    let about_addresses = mobike::answer(ike, cx, message, path);
    let mut reply = delete::answer(ike, cx, message);
    reply.payloads.extend(about_addresses);
    if reply.ends.is_none() && ticket::is_asked_for(message) {
        reply.payloads.extend(ike.hand_ticket(cx, &message.header));
    }
    reply
}

/// AUTH_LIFETIME (RFC 4478 §3): seconds.
pub(crate) fn auth_lifetime(message: &Message) -> Option<Duration> {
    let notify = message.notify(NotifyType::AUTH_LIFETIME)?;
    let seconds = <[u8; 4]>::try_from(notify.data.as_slice()).ok().map(u32::from_be_bytes)?;
    (seconds > 0).then(|| Duration::from_secs(seconds.into()))
}
