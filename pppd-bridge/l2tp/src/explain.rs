//! The peer's results in words, and as a [`Failure`].

use adit_core::{Failure, FailureCode, Step};

use crate::wire::{NotRevealed, ResultCode};

/// A failure of a control connection or a call.
pub(crate) fn failure(code: FailureCode, text: impl Into<String>) -> Failure {
    Failure::new(code, Step::Call, text)
}

/// A StopCCN of the peer's; `up`: of a tunnel that was up.
pub(crate) fn stopped(result: &ResultCode, up: bool) -> Failure {
    let (code, what, hint) = match result.result {
        3 => (FailureCode::PeerBusy, "it has a control connection to us already", None),
        4 => (
            FailureCode::AuthenticationFailed,
            "it does not let us in",
            Some("do both ends have the same tunnel secret, and does the peer let this host dial it?"),
        ),
        5 => (FailureCode::ProposalMismatch, "it has another version of L2TP", None),
        6 => (FailureCode::PeerClosed, "it is being shut down", None),
        7 => (FailureCode::PeerMisbehaved, "its state machine found something at the wrong time", None),
        2 => (of_error(result.error), "general error", None),
        _ if up => (FailureCode::PeerClosed, "it ended it", None),
        _ => (FailureCode::PeerClosed, "it did not say why", None),
    };
    let text = format!("L2TP: the peer ended the control connection: {what}{}", error(result.error));
    finished(failure(code, text), result, hint)
}

/// A CDN of the peer's; `up`: of a session that was up.
pub(crate) fn disconnected(result: &ResultCode, up: bool) -> Failure {
    let (code, what) = match result.result {
        1 => (FailureCode::PeerClosed, "loss of carrier"),
        2 => (of_error(result.error), "general error"),
        3 => (FailureCode::PeerClosed, "administrative reasons"),
        4 | 5 => (FailureCode::PeerBusy, "it has no room for it"),
        6 => (FailureCode::PeerClosed, "the destination is not valid"),
        7 => (FailureCode::PeerClosed, "no carrier detected"),
        8 => (FailureCode::PeerBusy, "busy"),
        9 => (FailureCode::PeerClosed, "no dial tone"),
        10 => (FailureCode::PeerClosed, "it was not up in time"),
        11 => (FailureCode::ProposalMismatch, "no framing that it knows"),
        _ if up => (FailureCode::PeerClosed, "it ended it"),
        _ => (FailureCode::PeerClosed, "it did not say why"),
    };
    let text = format!("L2TP: the peer ended the call: {what}{}", error(result.error));
    finished(failure(code, text), result, None)
}

fn finished(failure: Failure, result: &ResultCode, hint: Option<&str>) -> Failure {
    let mut said = format!("result {}", result.result);
    if let Some(error) = result.error {
        said.push_str(&format!(", error {error}"));
    }
    if !result.message.is_empty() {
        said.push_str(&format!(": {}", result.message));
    }
    let failure = failure.said(said);
    match hint {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}

const fn of_error(error: Option<u16>) -> FailureCode {
    match error {
        Some(4 | 7) => FailureCode::PeerBusy,
        Some(2 | 3 | 5 | 8) => FailureCode::PeerMisbehaved,
        _ => FailureCode::PeerClosed,
    }
}

/// An Error Code of §4.4.2.
fn error(error: Option<u16>) -> &'static str {
    match error {
        Some(1) => " (there is no control connection yet)",
        Some(2) => " (a length was wrong)",
        Some(3) => " (a value was out of range)",
        Some(4) => " (it lacks resources now)",
        Some(5) => " (the Session ID is not valid there)",
        Some(6) => " (an error of its maker's)",
        Some(7) => " (try another server)",
        Some(8) => " (it had to know an AVP, and does not)",
        _ => "",
    }
}

/// Nobody answers.
pub(crate) fn silent(up: bool) -> Failure {
    match up {
        true => failure(FailureCode::PeerLost, "L2TP: the peer answers no more"),
        false => failure(FailureCode::ServerUnreachable, "L2TP: the server does not answer").hint(
            "is it an L2TP server, and does a firewall let UDP port 1701 pass? Most want IPsec around it",
        ),
    }
}

/// The peer could not prove that it knows the secret.
pub(crate) fn unproven() -> Failure {
    failure(FailureCode::AuthenticationFailed, "L2TP: the peer does not know the tunnel secret")
        .hint("both ends need the same tunnel secret")
}

/// The peer wants a proof, and we have no secret.
pub(crate) fn no_secret() -> Failure {
    failure(FailureCode::NoSecret, "L2TP: the peer wants us to prove that we know the tunnel secret")
        .hint("give this end the tunnel secret of the peer")
}

/// What is hidden can't be read.
pub(crate) fn hidden(why: NotRevealed) -> Failure {
    match why {
        NotRevealed::NoSecret => {
            failure(FailureCode::NoSecret, "L2TP: the peer hides what it says by a tunnel secret")
                .hint("give this end the tunnel secret of the peer")
        }
        NotRevealed::NoVector => {
            failure(FailureCode::PeerMisbehaved, "L2TP: the peer hides a value and sends no Random Vector")
        }
        NotRevealed::WrongSecret => unproven(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_told_in_words() {
        let result = ResultCode { result: 2, error: Some(4), message: "pool is empty".into() };
        let why = disconnected(&result, false);
        assert_eq!(why.code, FailureCode::PeerBusy);
        assert!(why.text.contains("lacks resources"), "{}", why.text);
        assert_eq!(why.peer.as_deref(), Some("result 2, error 4: pool is empty"));
        assert_eq!(stopped(&ResultCode::new(4, None), false).code, FailureCode::AuthenticationFailed);
        let why = stopped(&ResultCode::new(1, None), true);
        assert_eq!((why.code, why.peer.as_deref()), (FailureCode::PeerClosed, Some("result 1")));
    }
}
