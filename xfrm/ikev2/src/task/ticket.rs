//! Tickets (RFC 5723 §4.1, §4.2): with one, a session can be resumed when its IKE_SA is lost. The initiator asks.

use adit_isakmp::payload::{Notify, NotifyType, TicketLtOpaque};
use adit_isakmp::{Message, Payload};

/// TICKET_REQUEST.
pub(crate) fn request() -> Payload {
    // [5723:7.2-2]
    Payload::Notify(Notify::new(NotifyType::TICKET_REQUEST, []))
}

/// The request of an INFORMATIONAL exchange.
pub(crate) fn build() -> Vec<Payload> {
    vec![request()]
}

/// Whether a request asks for one.
pub(crate) fn is_asked_for(message: &Message) -> bool {
    message.notify(NotifyType::TICKET_REQUEST).is_some()
}

/// There is none.
pub(crate) fn refusal() -> Payload {
    // [5723:4.2-2] [5723:7.2-2]
    Payload::Notify(Notify::new(NotifyType::TICKET_NACK, []))
}

/// What a responder says of one.
pub(crate) enum Word {
    /// Here it is.
    Given(TicketLtOpaque),
    /// It can be asked for later.
    Later,
    /// There is none.
    Refused,
}

/// What a response says of one.
pub(crate) fn said(response: &Message) -> Word {
    let given = response.notify(NotifyType::TICKET_LT_OPAQUE).and_then(|n| TicketLtOpaque::parse(&n.data));
    match (given, response.notify(NotifyType::TICKET_ACK)) {
        (Some(given), _) => Word::Given(given),
        // [5723:4.2-2]
        (None, Some(_)) => Word::Later,
        (None, None) => Word::Refused,
    }
}
