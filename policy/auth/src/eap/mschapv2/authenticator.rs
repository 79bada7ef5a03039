//! EAP-MSCHAPv2 as the authenticator. A name that nobody knows costs the same messages and the same work as a wrong
//! password.

use adit_core::{Entropy, Failure, FailureCode, Step};

use super::{Message, Refusal};
use crate::eap::authenticator::{AuthenticatorAsk, MethodStep, UserSecret};
use crate::mschap::{
    Challenge, ChangeError, Exchange, MasterKeys, NtHash, PasswordChange, authenticator_response, verify,
};

/// The method, from its Challenge on.
pub(in crate::eap) struct Mschapv2Authenticator {
    /// How often a wrong password may be tried again.
    retries: u32,
    id: u8,
    challenge: Challenge,
    state: State,
}

enum State {
    /// The Challenge is out.
    Challenged,
    /// The user's secret is being looked up, for this response.
    Looking(Box<Claim>),
    /// The password had expired; a new one is to come. `hash` is the old one.
    Expired { hash: NtHash, user: String },
    /// The new one is being stored.
    Storing { user: String, hash: NtHash, proof: String, response: [u8; 24] },
    /// We have said that all is well.
    Proven { keys: MasterKeys, user: String },
    /// We have said no.
    Refused(String),
}

struct Claim {
    peer: Challenge,
    response: [u8; 24],
    user: String,
}

impl Mschapv2Authenticator {
    /// Begins: the first Request's data.
    pub(in crate::eap) fn begin(
        entropy: &mut dyn Entropy,
        id: u8,
        name: &str,
        retries: u32,
    ) -> (Self, Vec<u8>) {
        let mut challenge = [0; 16];
        entropy.public(&mut challenge);
        let data = Message::Challenge { id, challenge, name: name.as_bytes() }.emit();
        (Self { retries, id, challenge, state: State::Challenged }, data)
    }

    /// A Response of this Type.
    pub(in crate::eap) fn response(&mut self, data: &[u8]) -> MethodStep {
        let Ok(message) = Message::parse(data) else {
            return MethodStep::Ignore;
        };
        match (core::mem::replace(&mut self.state, State::Challenged), message) {
            (State::Challenged, Message::Response { peer, nt_response, name, .. }) => {
                let user = String::from_utf8_lossy(name).into_owned();
                let ask = AuthenticatorAsk::User { identity: user.clone() };
                self.state = State::Looking(Box::new(Claim { peer, response: nt_response, user }));
                MethodStep::Ask(ask)
            }
            (State::Expired { hash, user }, Message::ChangePassword { .. }) => self.change(data, hash, user),
            (State::Proven { keys, user }, Message::SuccessRead) => {
                MethodStep::Succeed { msk: Some(keys.msk()), identity: user }
            }
            (State::Refused(why), Message::FailureRead) => MethodStep::Fail(failure(&why)),
            (State::Expired { user, .. }, Message::FailureRead) => MethodStep::Fail(expired(&user)),
            // The peer takes the chance to try again.
            (State::Refused(why), other) if self.retries > 0 => {
                self.retries = self.retries.saturating_sub(1);
                self.state = State::Challenged;
                match other {
                    Message::Response { .. } => self.response(data),
                    _ => MethodStep::Fail(failure(&why)),
                }
            }
            (state, _) => {
                self.state = state;
                MethodStep::Ignore
            }
        }
    }

    /// What is known of the user.
    pub(in crate::eap) fn user(
        &mut self,
        entropy: &mut dyn Entropy,
        known: Result<Option<UserSecret>, Failure>,
    ) -> MethodStep {
        let State::Looking(claim) = core::mem::replace(&mut self.state, State::Challenged) else {
            return MethodStep::Ignore;
        };
        let Claim { peer, response, user } = *claim;
        let known = match known {
            Ok(known) => known,
            Err(why) => return MethodStep::Fail(why),
        };
        let (hash, expired, exists) = UserSecret::or_nobody(known, entropy);
        let exchange = Exchange { authenticator: &self.challenge, peer: &peer, user: &user };
        if !verify(&hash, exchange, &response) {
            let why = if exists { "a wrong password" } else { "a name that is not known" };
            return self.refuse(entropy, Refusal::WRONG, format!("{user}: {why}"));
        }
        if expired {
            let step = self.refuse(entropy, Refusal::EXPIRED, String::new());
            self.state = State::Expired { hash, user };
            return step;
        }
        let proof = authenticator_response(&hash, exchange, &response);
        self.prove(user, &hash, &proof, &response)
    }

    fn prove(&mut self, user: String, hash: &NtHash, proof: &str, response: &[u8; 24]) -> MethodStep {
        let text = format!("{proof} M=Welcome");
        self.state = State::Proven { keys: MasterKeys::derive(hash, response), user };
        MethodStep::Request(Message::Success { id: self.id, text: text.as_bytes() }.emit())
    }

    /// Says no, with a new challenge for what may come next.
    fn refuse(&mut self, entropy: &mut dyn Entropy, error: u32, why: String) -> MethodStep {
        entropy.public(&mut self.challenge);
        let retry = error == Refusal::WRONG && self.retries > 0;
        let message =
            if error == Refusal::EXPIRED { "The password has expired" } else { "Authentication failed" };
        let refusal = Refusal { error, retry, challenge: Some(self.challenge), message: message.into() };
        let data = Message::Failure { id: self.id, text: refusal.text().as_bytes() }.emit();
        self.id = self.id.wrapping_add(1);
        self.state = State::Refused(why);
        MethodStep::Request(data)
    }

    fn change(&mut self, data: &[u8], old: NtHash, user: String) -> MethodStep {
        let Ok(Message::ChangePassword { encrypted_password, encrypted_hash, peer, nt_response, .. }) =
            Message::parse(data)
        else {
            return MethodStep::Ignore;
        };
        let change = PasswordChange { encrypted_password: Box::new(*encrypted_password), encrypted_hash };
        let read = change.decrypt(&old).and_then(|new| {
            let hash = NtHash::of(&new).ok_or(ChangeError::NotText)?;
            Ok((new, hash))
        });
        let (new, hash) = match read {
            Ok(read) => read,
            Err(error) => return MethodStep::Fail(failure(&format!("{user}: {error}"))),
        };
        let exchange = Exchange { authenticator: &self.challenge, peer: &peer, user: &user };
        if !verify(&hash, exchange, &nt_response) {
            return MethodStep::Fail(failure(&format!("{user}: the new password is not proven")));
        }
        let proof = authenticator_response(&hash, exchange, &nt_response);
        let ask = AuthenticatorAsk::StorePassword { identity: user.clone(), password: new };
        self.state = State::Storing { user, hash, proof, response: nt_response };
        MethodStep::Ask(ask)
    }

    /// Why the peer has been refused.
    pub(in crate::eap) fn refusal(&self) -> Option<Failure> {
        match &self.state {
            State::Refused(why) => Some(failure(why)),
            State::Expired { user, .. } => Some(expired(user)),
            State::Challenged | State::Looking(_) | State::Storing { .. } | State::Proven { .. } => None,
        }
    }

    /// The new password is stored, or not accepted.
    pub(in crate::eap) fn stored(&mut self, result: Result<(), Failure>) -> MethodStep {
        match (core::mem::replace(&mut self.state, State::Challenged), result) {
            (State::Storing { user, hash, proof, response }, Ok(())) => {
                self.prove(user, &hash, &proof, &response)
            }
            (State::Storing { .. }, Err(why)) => MethodStep::Fail(why),
            (state, _) => {
                self.state = state;
                MethodStep::Ignore
            }
        }
    }
}

fn expired(user: &str) -> Failure {
    failure(&format!("the password of {user} has expired"))
}

fn failure(text: &str) -> Failure {
    Failure::new(FailureCode::AuthenticationFailed, Step::Authenticate, format!("EAP-MSCHAPv2: {text}"))
}
