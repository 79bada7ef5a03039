//! A person whose password or code a server refused is asked anew, as a slip of the finger is no reason to fail: what they are told
//! with the question, and how often.

use adit_auth::mschap::Refusal;
use adit_core::{Failure, FailureCode};

/// How often a server may refuse what a person types before the connection counts as failed.
const MOST: u32 = 3;

/// What became of what a person typed.
#[derive(Default)]
pub(super) struct Again {
    /// The server has it, and has not said what it thinks of it.
    sent: bool,
    /// Why it refused the last one, until a person has typed another.
    refused: Option<Failure>,
    /// How often it has since it let us in.
    times: u32,
}

impl Again {
    /// What a person typed goes to the server.
    pub(super) fn sends(&mut self) {
        (self.sent, self.refused) = (true, None);
    }

    /// The server refused it, and asks for another one itself.
    pub(super) fn asked_by_server(&mut self) {
        self.times = self.times.saturating_add(1);
    }

    /// An attempt came to this end: whether it was for what a person typed.
    pub(super) fn was_wrong(&mut self, failure: &Failure) -> bool {
        let sent = std::mem::take(&mut self.sent);
        if !sent || failure.code != FailureCode::AuthenticationFailed || Refusal::is_of_account(failure) {
            return false;
        }
        self.refused = Some(failure.clone());
        self.times = self.times.saturating_add(1);
        true
    }

    /// Whether they are asked anew.
    pub(super) const fn may_ask(&self) -> bool {
        self.times < MOST
    }

    /// The server let us in.
    pub(super) fn accepted(&mut self) {
        *self = Self::default();
    }

    /// What a question's reason is, with why it is asked again.
    pub(super) fn reason(&self, reason: String) -> String {
        match &self.refused {
            None => reason,
            Some(refused) if reason.is_empty() => refused.text.clone(),
            Some(refused) => format!("{}; {reason}", refused.text),
        }
    }

    /// Why there is no secret: where nobody gave another one, the last one's refusal is what happened.
    pub(super) fn missing(&self, failure: Failure) -> Failure {
        let refused = self.refused.as_ref().filter(|_| failure.code == FailureCode::NoSecret);
        refused.cloned().unwrap_or(failure)
    }
}

#[cfg(test)]
mod tests {
    use adit_core::Step;

    use super::*;

    fn of(code: FailureCode) -> Failure {
        Failure::new(code, Step::Authenticate, "the server refused us")
    }

    #[test]
    fn a_person_is_asked_anew_twice_and_told_why() {
        let (mut again, wrong) = (Again::default(), of(FailureCode::AuthenticationFailed));
        assert!(!again.was_wrong(&wrong), "nobody has typed anything");
        assert_eq!(again.reason("Code".into()), "Code");
        for (time, expected) in [(1, true), (2, true), (3, false)] {
            again.sends();
            assert_eq!((again.was_wrong(&wrong), again.may_ask()), (true, expected), "{time}");
            assert_eq!(again.reason("the code".into()), "the server refused us; the code");
            assert_eq!(again.reason(String::new()), "the server refused us");
        }
        assert_eq!(again.missing(of(FailureCode::NoSecret)), wrong);
        assert_eq!(again.missing(of(FailureCode::Cancelled)).code, FailureCode::Cancelled);
        again.accepted();
        again.sends();
        assert!(again.was_wrong(&wrong) && again.may_ask());
    }

    #[test]
    fn what_a_server_asks_for_again_by_itself_counts() {
        let (mut again, wrong) = (Again::default(), of(FailureCode::AuthenticationFailed));
        for _ in 0..2 {
            again.sends();
            again.asked_by_server();
        }
        again.sends();
        assert!(again.was_wrong(&wrong) && !again.may_ask());
    }

    #[test]
    fn what_another_secret_does_not_mend_is_no_reason_to_ask() {
        let mut again = Again::default();
        for failure in [
            of(FailureCode::ServerUnreachable),
            Refusal { error: 647, retry: false, challenge: None, message: "locked".into() }
                .failure("MS-CHAPv2"),
        ] {
            again.sends();
            assert!(!again.was_wrong(&failure));
            assert_eq!(again.reason(String::new()), "");
        }
    }
}
