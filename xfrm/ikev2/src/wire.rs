//! Small words for reading messages.

use adit_isakmp::PayloadType;
use adit_isakmp::payload::{Notify, NotifyType};

/// The one payload of this kind, by reference. None or two are an error that says so (RFC 7296 lists for each
/// exchange what may come more than once; these may not).
macro_rules! only {
    ($message:expr, $kind:path) => {{
        // [7296:2.5-11]
        let mut found = $message.payloads.iter().filter_map(|p| match p {
            $kind(payload) => Some(payload),
            _ => None,
        });
        match (found.next(), found.next()) {
            (Some(payload), None) => Ok(payload),
            (None, _) => Err(format!("it has no {}", stringify!($kind).replace("Payload::", ""))),
            (Some(_), Some(_)) => Err(format!("it has two {}", stringify!($kind).replace("Payload::", ""))),
        }
    }};
}

/// The one payload of this kind, if there is one. Two are an error.
macro_rules! at_most_one {
    ($message:expr, $kind:path) => {{
        let mut found = $message.payloads.iter().filter_map(|p| match p {
            $kind(payload) => Some(payload),
            _ => None,
        });
        match (found.next(), found.next()) {
            (payload, None) => Ok(payload),
            (_, Some(_)) => Err(format!("it has two {}", stringify!($kind).replace("Payload::", ""))),
        }
    }};
}

pub(crate) use {at_most_one, only};

/// What refuses a message for a critical payload of this kind, which is unknown (RFC 7296 §2.5).
pub(crate) fn unsupported(kind: PayloadType) -> Notify {
    Notify::new(NotifyType::UNSUPPORTED_CRITICAL_PAYLOAD, [kind.0])
}
