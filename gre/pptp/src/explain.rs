//! The peer's numbers in words, and as a [`Failure`].

use adit_core::{Failure, FailureCode, Step};

/// A failure of the control connection or of a call.
pub(crate) fn failure(code: FailureCode, text: impl Into<String>) -> Failure {
    Failure::new(code, Step::Call, text)
}

/// General Error Code (RFC 2637 §2.16).
const fn general(error: u8) -> &'static str {
    match error {
        0 => "no error",
        1 => "no control connection",
        2 => "a message of the wrong length or cookie",
        3 => "a field with a wrong value",
        4 => "no room for it",
        5 => "a call ID that is not right",
        6 => "an error of the PAC's own",
        _ => "an error that is not known here",
    }
}

/// A Start-Control-Connection-Reply that refuses (§2.2).
pub(crate) fn start_refused(result: u8, error: u8) -> Failure {
    let (code, what) = match result {
        3 => (FailureCode::PeerBusy, "it has a control connection with this host already"),
        4 => (FailureCode::NotAuthorized, "this host may not connect"),
        5 => (FailureCode::ProposalMismatch, "it has another version of PPTP"),
        _ => (FailureCode::PeerClosed, general(error)),
    };
    failure(code, format!("the server refused the control connection: {what}"))
        .said(format!("result {result}, error {error}"))
}

/// An Outgoing-Call-Reply or Incoming-Call-Reply that refuses (§2.8).
pub(crate) fn call_refused(result: u8, error: u8) -> Failure {
    let (code, what) = match result {
        3 => (FailureCode::PeerClosed, "no carrier"),
        4 => (FailureCode::PeerBusy, "all its lines are busy"),
        5 => (FailureCode::PeerClosed, "no dial tone"),
        6 => (FailureCode::TimedOut, "the call took too long"),
        7 => (FailureCode::PeerClosed, "it takes no calls from here"),
        _ if error == 4 => (FailureCode::PeerBusy, general(error)),
        _ => (FailureCode::PeerClosed, general(error)),
    };
    failure(code, format!("the server refused the call: {what}"))
        .said(format!("result {result}, error {error}"))
}

/// A Call-Disconnect-Notify that nobody asked for (§2.13).
pub(crate) fn disconnected(result: u8, error: u8) -> Failure {
    let what = match result {
        1 => "the carrier was lost",
        2 => general(error),
        3 => "the server shuts down",
        4 => "it was asked to",
        _ => "no reason that is known here",
    };
    failure(FailureCode::PeerClosed, format!("the server ended the call: {what}"))
        .said(format!("result {result}, error {error}"))
}

/// A Stop-Control-Connection-Request (§2.3).
pub(crate) fn stopped(reason: u8) -> Failure {
    let what = match reason {
        2 => "it has another version of PPTP",
        3 => "it shuts down",
        _ => "it did not say why",
    };
    failure(FailureCode::PeerClosed, format!("the peer ended the control connection: {what}"))
        .said(format!("reason {reason}"))
}
