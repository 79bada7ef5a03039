//! The peer's answers in words, and as a [`Failure`].

use adit_core::{Failure, FailureCode, Step};

use crate::wire::{Status, StatusInfo};

/// A failure of the call.
pub(crate) fn failure(code: FailureCode, text: impl Into<String>) -> Failure {
    Failure::new(code, Step::Call, text)
}

/// An HTTP answer that is not 200.
pub(crate) fn http(status: u16, words: &str) -> Failure {
    let said = format!("{status} {words}");
    let (code, text, hint) = match status {
        404 | 405 | 501 => (
            FailureCode::ServerUnreachable,
            "a web server answers there, and no SSTP server",
            "does the server have SSTP on this port, and does something in front of it (a reverse proxy) let it through?",
        ),
        401 | 403 | 407 => (
            FailureCode::NotAuthorized,
            "the server, or something in front of it, does not let this host in",
            "a proxy or a portal may want somebody to log in first",
        ),
        500..=599 => (
            FailureCode::PeerBusy,
            "the server, or something in front of it, can't serve this now",
            "its log says more",
        ),
        300..=399 => (
            FailureCode::ServerUnreachable,
            "the server sends SSTP elsewhere, which a client does not follow: a portal may want somebody to log in first",
            "open a web page, or name the server that it points to",
        ),
        _ => (FailureCode::PeerMisbehaved, "the server's answer is none of SSTP's", "its log says more"),
    };
    failure(code, format!("SSTP: {text}")).said(said.trim_end()).hint(hint)
}

/// What is no HTTP where the answer should be.
pub(crate) fn not_http() -> Failure {
    failure(FailureCode::PeerMisbehaved, "SSTP: what answers there speaks TLS, and no HTTP inside of it")
        .hint("is that the server's SSTP port? Some other service may have it")
}

/// A Call Connect Nak.
pub(crate) fn refused(all: &[StatusInfo]) -> Failure {
    let why = all.first().map_or("it did not say why", |info| status(info.status));
    failure(FailureCode::ProposalMismatch, format!("the server refused the call: {why}"))
}

/// A Call Abort of the peer's.
pub(crate) fn aborted(info: Option<&StatusInfo>) -> Failure {
    let Some(info) = info else {
        return failure(FailureCode::PeerClosed, "the peer broke the call off, and did not say why");
    };
    let text = format!("the peer broke the call off: {}", status(info.status));
    let failure = failure(FailureCode::PeerClosed, text)
        .said(format!("status {}, attribute {}", info.status.0, info.attribute));
    match info.attribute {
        crate::wire::attribute::CRYPTO_BINDING => failure.hint(
            "it did not accept the crypto binding: something may stand between both ends and end TLS itself",
        ),
        _ => failure,
    }
}

/// A Call Disconnect of the peer's.
pub(crate) fn disconnected(info: Option<&StatusInfo>) -> Failure {
    let why = info.filter(|info| info.status != Status::NO_ERROR);
    match why {
        Some(info) => {
            failure(FailureCode::PeerClosed, format!("the peer ended the call: {}", status(info.status)))
        }
        None => failure(FailureCode::PeerClosed, "the peer ended the call"),
    }
}

/// A status of [MS-SSTP] §2.2.8.
const fn status(status: Status) -> &'static str {
    match status {
        Status::NO_ERROR => "no error",
        Status::DUPLICATE => "an attribute came twice",
        Status::UNRECOGNIZED => "an attribute that it does not know",
        Status::INVALID_LENGTH => "an attribute of a wrong length",
        Status::NOT_SUPPORTED => "a value that it does not accept",
        Status::UNACCEPTED_FRAME => "a message at the wrong time",
        Status::RETRY_COUNT => "too many tries",
        Status::INVALID_FRAME => "a message that is malformed",
        Status::TIMEOUT => "the negotiation took too long",
        Status::NOT_IN_MESSAGE => "an attribute of another message",
        Status::MISSING => "an attribute is missing",
        Status::STATUS_NOT_IN_MESSAGE => "a status in a message that has none",
        _ => "a reason that is not known here",
    }
}
