//! Authentication: as the one that proves itself ([`Peer`]) and as the one that asks ([`Authenticator`]).

mod authenticator;
mod claim;
mod peer;

use adit_auth::eap;
use adit_auth::mschap::MasterKeys;
use adit_core::{Failure, Secret};

use crate::config::AuthMethod;

pub(crate) use authenticator::Authenticator;
pub use claim::{Claim, KnownUser, Proof, Verdict};
pub(crate) use peer::Peer;

/// What is to be done next, in order.
pub(crate) enum Step {
    /// Send this packet of our protocol.
    Send(Vec<u8>),
    Ask(Question),
    /// It is over, well.
    Proven {
        who: String,
        keys: Option<MasterKeys>,
    },
    /// It is over, badly.
    Failed(Failure),
}

/// A question that only authentication has.
pub(crate) enum Question {
    Password { again: Option<String> },
    NewPassword { message: String },
    Verify(Claim),
    Eap(eap::AuthenticatorAsk),
    EapPacket(Vec<u8>),
    Tls { method: Option<eap::Method>, ask: eap::TlsAsk },
    Store { name: String, password: Secret },
}

/// A failure of authentication.
pub(crate) fn failure(method: AuthMethod, text: &str) -> Failure {
    Failure::new(
        adit_core::FailureCode::AuthenticationFailed,
        adit_core::Step::Authenticate,
        format!("{method}: {text}"),
    )
}
