//! What MS-CHAPv2's Failure says (RFC 2759 §6): `E=… R=… C=… V=… M=…`.

use adit_core::{Failure, FailureCode, Step};

use super::Challenge;

/// Errors that are the account's, whatever password: ERROR_RESTRICTED_LOGON_HOURS, ERROR_ACCT_DISABLED, ERROR_NO_DIALIN_PERMISSION.
const OF_ACCOUNT: [u32; 3] = [646, 647, 649];

/// A refusal.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refusal {
    /// E: why, in decimal.
    pub error: u32,
    /// R: whether it may be tried again.
    pub retry: bool,
    /// C: the challenge for that.
    pub challenge: Option<Challenge>,
    /// M: for people.
    pub message: String,
}

impl Refusal {
    /// ERROR_PASSWD_EXPIRED.
    pub const EXPIRED: u32 = 648;
    /// ERROR_AUTHENTICATION_FAILURE.
    pub const WRONG: u32 = 691;

    /// Reads the text. What is missing or makes no sense is as if it said no.
    #[must_use]
    pub fn read(text: &[u8]) -> Self {
        let text = String::from_utf8_lossy(text);
        let (fields, message) = text.split_once("M=").unwrap_or((&text, ""));
        let field = |name: &str| fields.split_ascii_whitespace().find_map(|f| f.strip_prefix(name));
        Self {
            error: field("E=").and_then(|e| e.parse().ok()).unwrap_or(0),
            retry: field("R=") == Some("1"),
            challenge: field("C=").and_then(challenge_of),
            message: message.chars().filter(|c| !c.is_control()).take(256).collect(),
        }
    }

    /// Writes it.
    #[must_use]
    pub fn text(&self) -> String {
        let challenge: String =
            self.challenge.unwrap_or_default().iter().map(|byte| format!("{byte:02X}")).collect();
        format!("E={} R={} C={challenge} V=3 M={}", self.error, u8::from(self.retry), self.message)
    }

    /// Whether a failure is a refusal that another password would not mend: the account is locked, or may not log in.
    #[must_use]
    pub fn is_of_account(failure: &Failure) -> bool {
        let said = failure.peer.as_deref().and_then(|said| said.strip_prefix("E="));
        let error = said.and_then(|said| said.split(' ').next()).and_then(|error| error.parse().ok());
        error.is_some_and(|error: u32| OF_ACCOUNT.contains(&error))
    }

    /// What the error means, in words.
    const fn meaning(&self) -> &'static str {
        match self.error {
            646 => "the account may not log in at this hour",
            647 => "the account is disabled or locked out",
            Self::EXPIRED => "the password has expired",
            649 => "the account may not dial in",
            Self::WRONG => "the name or the password is wrong",
            709 => "the new password was not accepted",
            _ => "no reason that is known here",
        }
    }

    /// The same as a person meets it. `method` is what was refused: `EAP-MSCHAPv2`.
    #[must_use]
    pub fn failure(&self, method: &str) -> Failure {
        let said = match self.message.is_empty() {
            true => format!("E={}", self.error),
            false => format!("E={} {}", self.error, self.message),
        };
        let text = format!("{method}: the server refused: {}", self.meaning());
        let failure = Failure::new(FailureCode::AuthenticationFailed, Step::Authenticate, text).said(said);
        match self.error {
            Self::WRONG => failure.hint("check the name (perhaps DOMAIN\\name) and the password"),
            error if OF_ACCOUNT.contains(&error) => failure.hint(
                "the password is not what is wrong: ask whoever runs the server to let the account in again",
            ),
            _ => failure.hint("ask who administers the server"),
        }
    }
}

fn challenge_of(text: &str) -> Option<Challenge> {
    let mut out = [0; 16];
    let digits = text.as_bytes().as_chunks::<2>();
    if digits.0.len() != out.len() || !digits.1.is_empty() {
        return None;
    }
    for (to, pair) in out.iter_mut().zip(digits.0) {
        let pair = core::str::from_utf8(pair).ok().filter(|p| p.bytes().all(|b| b.is_ascii_hexdigit()))?;
        *to = u8::from_str_radix(pair, 16).ok()?;
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_locked_account_is_told_from_a_wrong_password() {
        let refused = |error| {
            Refusal { error, retry: true, challenge: None, message: "E=691".into() }.failure("MS-CHAPv2")
        };
        assert!([646, 647, 649].into_iter().all(|error| Refusal::is_of_account(&refused(error))));
        assert!(![691, 648, 64].into_iter().any(|error| Refusal::is_of_account(&refused(error))));
        let other = Failure::new(FailureCode::AuthenticationFailed, Step::Authenticate, "no");
        assert!(!Refusal::is_of_account(&other) && !Refusal::is_of_account(&other.said("E=")));
    }

    #[test]
    fn a_refusal_is_read_as_far_as_it_makes_sense() {
        let text = b"E=691 R=1 C=000102030405060708090A0B0C0D0E0F V=3 M=Try again, E=648";
        let refusal = Refusal::read(text);
        assert_eq!((refusal.error, refusal.retry), (Refusal::WRONG, true));
        assert_eq!(refusal.challenge.map(|c| c[15]), Some(15));
        assert_eq!(refusal.message, "Try again, E=648");
        assert_eq!(Refusal::read(refusal.text().as_bytes()), refusal);
        let nothing = Refusal::read(b"\xff\xfe C=+1 R=2");
        assert_eq!((nothing.error, nothing.retry, nothing.challenge), (0, false, None));
    }
}
