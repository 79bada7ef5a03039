use adit_core::{Failure, FailureCode, Step};
use zbus::fdo;
use zbus::message::{Header, Message};
use zbus::names;

use crate::names::ERROR_PREFIX;

/// A failure as an error reply: its name is [`ErrorName`], its body four strings: text, hint, step, what the peer said
/// (empty where there is nothing). D-Bus' custom of a text first is kept, so that any client shows something.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0}")]
pub struct ApiError(pub Failure);

impl From<Failure> for ApiError {
    fn from(failure: Failure) -> Self {
        Self(failure)
    }
}

impl From<ApiError> for zbus::BoxDBusError {
    fn from(error: ApiError) -> Self {
        Box::new(error)
    }
}

impl zbus::DBusError for ApiError {
    fn create_reply(&self, call: &Header<'_>) -> zbus::Result<Message> {
        let Failure { text, hint, step, peer, .. } = &self.0;
        let body = (text, hint.as_deref().unwrap_or(""), step.as_str(), peer.as_deref().unwrap_or(""));
        Message::error(call, self.name()).build(&body)
    }

    fn name(&self) -> names::ErrorName<'_> {
        names::ErrorName::from_static_str_unchecked(ErrorName::of(self.0.code).0)
    }

    fn description(&self) -> Option<&str> {
        Some(&self.0.text)
    }
}

/// The D-Bus error name of a failure code: `org.adit1.Error.` and the code's words in capitals.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ErrorName(pub &'static str);

macro_rules! error_names {
    ($($code:ident,)*) => {
        impl ErrorName {
            /// The name for `code`.
            #[must_use]
            pub const fn of(code: FailureCode) -> Self {
                match code { $(FailureCode::$code => Self(concat!("org.adit1.Error.", stringify!($code))),)* }
            }
        }
    };
}

error_names! {
    AuthenticationFailed,
    CertificateUntrusted,
    CertificateName,
    CertificateExpired,
    CertificateRevoked,
    CertificateUnusable,
    NameUnresolved,
    ServerUnreachable,
    ProposalMismatch,
    TrafficSelectors,
    NoAddress,
    PeerMisbehaved,
    PeerClosed,
    PeerLost,
    PeerBusy,
    KernelUnsupported,
    KernelRefused,
    ConfigurationInvalid,
    SecretExposed,
    NoSecret,
    NotFound,
    NotAuthorized,
    TimedOut,
    Idle,
    Cancelled,
    Internal,
}

impl ErrorName {
    /// The code that `name` stands for.
    #[must_use]
    pub fn code(name: &str) -> Option<FailureCode> {
        if !name.starts_with(ERROR_PREFIX) {
            return None;
        }
        FailureCode::ALL.iter().copied().find(|code| Self::of(*code).0 == name)
    }
}

/// The failure that an error reply or a broken connection means to a person.
#[must_use]
pub fn failure_of(error: &zbus::Error) -> Failure {
    match error {
        zbus::Error::MethodError(name, text, reply) => of_reply(name.as_str(), text.as_deref(), reply),
        zbus::Error::FDO(error) => of_standard(error),
        zbus::Error::InputOutput(_) | zbus::Error::Handshake(_) | zbus::Error::Connection(..) => {
            Failure::new(FailureCode::PeerLost, Step::Profile, "the connection to aditd broke")
                .hint("see whether it runs: systemctl status aditd")
        }
        other => Failure::new(
            FailureCode::Internal,
            Step::Profile,
            format!("unexpected answer from aditd: {other}"),
        ),
    }
}

fn of_reply(name: &str, text: Option<&str>, reply: &Message) -> Failure {
    let text = text.unwrap_or(name);
    let Some(code) = ErrorName::code(name) else {
        return Failure::new(FailureCode::Internal, Step::Profile, format!("{text} ({name})"));
    };
    let body = reply.body();
    let Ok((text, hint, step, peer)) = body.deserialize::<(&str, &str, &str, &str)>() else {
        return Failure::new(code, Step::Profile, text);
    };
    let some = |s: &str| (!s.is_empty()).then(|| s.to_owned());
    let step = Step::from_word(step).unwrap_or(Step::Profile);
    Failure { code, step, text: text.to_owned(), hint: some(hint), peer: some(peer) }
}

fn of_standard(error: &fdo::Error) -> Failure {
    let failure = |code, text: String| Failure::new(code, Step::Profile, text);
    match error {
        fdo::Error::ServiceUnknown(_) | fdo::Error::NameHasNoOwner(_) | fdo::Error::NoReply(_) => {
            failure(FailureCode::PeerLost, "aditd went away".to_owned())
                .hint("see why: journalctl -u aditd -e; start it: systemctl start aditd")
        }
        fdo::Error::AccessDenied(text) => failure(FailureCode::NotAuthorized, format!("not allowed: {text}"))
            .hint("become root, or join the group adit: sudo usermod -aG adit $USER, then log in again"),
        fdo::Error::UnknownObject(text) => failure(FailureCode::NotFound, text.clone()),
        fdo::Error::UnknownMethod(_) | fdo::Error::UnknownInterface(_) | fdo::Error::UnknownProperty(_) => {
            failure(
                FailureCode::Internal,
                "this aditd does not know that call: ctl and aditd differ in version".to_owned(),
            )
        }
        other => failure(FailureCode::Internal, other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_its_own_valid_name() {
        for code in FailureCode::ALL {
            let ErrorName(name) = ErrorName::of(*code);
            assert!(names::ErrorName::try_from(name).is_ok());
            assert_eq!(ErrorName::code(name), Some(*code));
            let words: String = name
                .trim_start_matches(ERROR_PREFIX)
                .chars()
                .flat_map(|c| if c.is_uppercase() { vec!['-', c.to_ascii_lowercase()] } else { vec![c] })
                .collect();
            assert_eq!(words.trim_start_matches('-'), code.as_str());
        }
        assert_eq!(ErrorName::code("org.freedesktop.DBus.Error.Failed"), None);
    }
}
