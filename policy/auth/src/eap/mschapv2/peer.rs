//! EAP-MSCHAPv2 as the peer: proves the password, and believes no success before the server has proven it too.

use adit_core::{Entropy, Failure, FailureCode, Secret, Step};

use super::{Message, Refusal};
use crate::eap::peer::{MethodStep, PeerAsk};
use crate::mschap::{
    Challenge, Exchange, MasterKeys, NtHash, PasswordChange, nt_response, verify_authenticator,
};

/// How often a person is asked again.
const MOST_RETRIES: u32 = 5;

/// The method, from its first Challenge on.
pub(in crate::eap) struct Mschapv2Peer {
    user: String,
    state: State,
    retries: u32,
}

enum State {
    /// Nothing has come.
    Idle,
    /// A person is asked for the password of this challenge; `again`: the last one was refused.
    Asking { id: u8, challenge: Challenge, again: bool },
    /// A person is asked for a new password.
    AskingNew { id: u8, challenge: Challenge, old: NtHash },
    /// Ours is out: the server's proof is to come.
    Proven(Box<Proof>),
    /// The server has proven itself.
    Done(MasterKeys),
    /// The server has said no.
    Refused(Failure),
}

struct Proof {
    authenticator: Challenge,
    peer: Challenge,
    response: [u8; 24],
    hash: NtHash,
}

impl Mschapv2Peer {
    pub(in crate::eap) const fn new(user: String) -> Self {
        Self { user, state: State::Idle, retries: 0 }
    }

    /// A Request of this Type.
    pub(in crate::eap) fn request(&mut self, data: &[u8]) -> MethodStep {
        let Ok(message) = Message::parse(data) else {
            return MethodStep::Ignore;
        };
        match (core::mem::replace(&mut self.state, State::Idle), message) {
            // A new Challenge begins anew, whatever was before.
            (_, Message::Challenge { id, challenge, .. }) => {
                self.state = State::Asking { id, challenge, again: false };
                MethodStep::Ask(PeerAsk::Password { again: None })
            }
            (State::Proven(proof), Message::Success { text, .. }) => self.success(&proof, text),
            (State::Proven(proof), Message::Failure { id, text }) => self.failure(*proof, id, text),
            (state, _) => {
                self.state = state;
                MethodStep::Ignore
            }
        }
    }

    fn success(&mut self, proof: &Proof, text: &[u8]) -> MethodStep {
        if !verify_authenticator(&proof.hash, self.exchange(proof), &proof.response, text) {
            return MethodStep::Fail(failure("the server could not prove that it knows the password").hint(
                "somebody may be in between: do not type the password again before the server was checked",
            ));
        }
        self.state = State::Done(MasterKeys::derive(&proof.hash, &proof.response));
        MethodStep::Respond(Message::SuccessRead.emit())
    }

    const fn exchange<'a>(&'a self, proof: &'a Proof) -> Exchange<'a> {
        Exchange { authenticator: &proof.authenticator, peer: &proof.peer, user: self.user.as_str() }
    }

    fn failure(&mut self, proof: Proof, id: u8, text: &[u8]) -> MethodStep {
        let refusal = Refusal::read(text);
        match refusal.challenge {
            Some(challenge) if refusal.error == Refusal::EXPIRED => {
                self.state = State::AskingNew { id, challenge, old: proof.hash };
                return MethodStep::Ask(PeerAsk::NewPassword { message: refusal.message });
            }
            Some(challenge)
                if refusal.error == Refusal::WRONG && refusal.retry && self.retries < MOST_RETRIES =>
            {
                self.retries = self.retries.saturating_add(1);
                self.state = State::Asking { id: id.wrapping_add(1), challenge, again: true };
                return MethodStep::Ask(PeerAsk::Password { again: Some(refusal.message) });
            }
            _ => {}
        }
        self.state = State::Refused(refusal.failure("EAP-MSCHAPv2"));
        MethodStep::Respond(Message::FailureRead.emit())
    }

    /// The person has answered.
    pub(in crate::eap) fn answer(&mut self, entropy: &mut dyn Entropy, secret: &Secret) -> MethodStep {
        let Some(hash) = NtHash::of(secret) else {
            return MethodStep::Fail(failure("the password is not UTF-8 text"));
        };
        let mut peer = [0; 16];
        entropy.public(&mut peer);
        match core::mem::replace(&mut self.state, State::Idle) {
            State::Asking { id, challenge, .. } => {
                let (data, proof) = self.prove(hash, challenge, peer, |nt_response, name| {
                    Message::Response { id, peer, nt_response, name }.emit()
                });
                self.state = State::Proven(Box::new(proof));
                MethodStep::Respond(data)
            }
            State::AskingNew { id, challenge, old } => {
                let change = match PasswordChange::encrypt(&old, secret, entropy) {
                    Ok(change) => change,
                    Err(error) => return MethodStep::Fail(failure(&error.to_string())),
                };
                let (data, proof) = self.prove(hash, challenge, peer, |nt_response, _| {
                    let (encrypted_password, encrypted_hash) =
                        (&*change.encrypted_password, change.encrypted_hash);
                    // RFC 2759 §7: the Failure's identifier and one.
                    let id = id.wrapping_add(1);
                    Message::ChangePassword { id, encrypted_password, encrypted_hash, peer, nt_response }
                        .emit()
                });
                self.state = State::Proven(Box::new(proof));
                MethodStep::Respond(data)
            }
            state => {
                self.state = state;
                MethodStep::Ignore
            }
        }
    }

    /// Nobody types anything. A server that has refused us, and waits for another try, hears that none comes: it has the
    /// last word then, and knows why it ended.
    pub(in crate::eap) fn declined(&mut self, why: Failure) -> MethodStep {
        match self.state {
            State::Asking { again: true, .. } | State::AskingNew { .. } => {
                self.state = State::Refused(why);
                MethodStep::Respond(Message::FailureRead.emit())
            }
            _ => MethodStep::Fail(why),
        }
    }

    fn prove(
        &self,
        hash: NtHash,
        authenticator: Challenge,
        peer: Challenge,
        write: impl FnOnce([u8; 24], &[u8]) -> Vec<u8>,
    ) -> (Vec<u8>, Proof) {
        let exchange = Exchange { authenticator: &authenticator, peer: &peer, user: &self.user };
        let response = nt_response(&hash, exchange);
        let data = write(response, self.user.as_bytes());
        (data, Proof { authenticator, peer, response, hash })
    }

    /// EAP-Success came: the MSK, if the server has proven itself.
    pub(in crate::eap) fn msk(&self) -> Option<Secret> {
        match &self.state {
            State::Done(keys) => Some(keys.msk()),
            _ => None,
        }
    }

    /// Why it failed, where the server has said so.
    pub(in crate::eap) fn refused(&mut self) -> Option<Failure> {
        match core::mem::replace(&mut self.state, State::Idle) {
            State::Refused(failure) => Some(failure),
            _ => None,
        }
    }
}

fn failure(text: &str) -> Failure {
    Failure::new(FailureCode::AuthenticationFailed, Step::Authenticate, format!("EAP-MSCHAPv2: {text}"))
}
