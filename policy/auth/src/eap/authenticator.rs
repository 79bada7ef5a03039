//! The authenticator's side of EAP (RFC 3748 §4, RFC 4137 §5), with methods of our own. Where RADIUS decides, packets
//! pass through, and none of this is used.

use adit_core::{Entropy, Failure, FailureCode, Secret, Step};

use super::mschapv2::authenticator::Mschapv2Authenticator;
use super::packet::{Code, Method, Packet, emit};
use super::{Established, Verdict};
use crate::mschap::NtHash;

/// Names longer than this are nobody's.
const LONGEST_IDENTITY: usize = 256;

/// What the authenticator wants of who keeps the users.
#[derive(Debug)]
pub enum AuthenticatorAsk {
    /// What is known of this user. → [`Authenticator::user`]
    User {
        /// As the peer wrote it.
        identity: String,
    },
    /// This is the user's password from now on. → [`Authenticator::stored`]
    StorePassword {
        /// Whose.
        identity: String,
        /// The new one.
        password: Secret,
    },
}

/// What is known of a user.
pub struct UserSecret {
    /// The hash of the password.
    pub hash: NtHash,
    /// Whether it must be changed now.
    pub expired: bool,
}

/// What to do next.
#[derive(Debug)]
pub enum AuthenticatorStep {
    /// Send this packet.
    Send(Vec<u8>),
    /// Find this out.
    Ask(AuthenticatorAsk),
    /// Send this last packet; it is over.
    Ended(Vec<u8>, Verdict),
    /// Nothing.
    Ignore,
}

/// What a method does with a Response.
pub(super) enum MethodStep {
    Request(Vec<u8>),
    Ask(AuthenticatorAsk),
    Succeed { msk: Option<Secret>, identity: String },
    Fail(Failure),
    Ignore,
}

/// A conversation.
pub struct Authenticator {
    name: String,
    retries: u32,
    identifier: u8,
    state: State,
    last: Vec<u8>,
}

enum State {
    Identity,
    Method(Box<Mschapv2Authenticator>),
    Ended,
}

impl Authenticator {
    /// Begins: who are you? `name` is ours, for people; a wrong password may be tried again `retries` times.
    #[must_use]
    pub fn begin(entropy: &mut dyn Entropy, name: impl Into<String>, retries: u32) -> (Self, Vec<u8>) {
        let mut identifier = [0];
        entropy.public(&mut identifier);
        let [identifier] = identifier;
        let last = emit(Code::Request, identifier, Some(Method::IDENTITY), &[]);
        (Self { name: name.into(), retries, identifier, state: State::Identity, last: last.clone() }, last)
    }

    /// The last packet, for a carrier that loses some.
    #[must_use]
    pub fn last(&self) -> &[u8] {
        &self.last
    }

    /// An EAP packet came.
    pub fn packet(&mut self, entropy: &mut dyn Entropy, bytes: &[u8]) -> AuthenticatorStep {
        let Ok(packet) = Packet::parse(bytes) else {
            return AuthenticatorStep::Ignore;
        };
        let (Code::Response, Some(method)) = (packet.code, packet.method) else {
            return AuthenticatorStep::Ignore;
        };
        // RFC 3748 §4.1: what answers another Request is dropped.
        if packet.identifier != self.identifier {
            return AuthenticatorStep::Ignore;
        }
        match &mut self.state {
            State::Identity if method == Method::IDENTITY && packet.data.len() <= LONGEST_IDENTITY => {
                let (method, data) = Mschapv2Authenticator::begin(
                    entropy,
                    self.identifier.wrapping_add(1),
                    &self.name,
                    self.retries,
                );
                self.state = State::Method(Box::new(method));
                self.send(&data)
            }
            State::Method(state) if method == Method::MSCHAPV2 => {
                let step = state.response(packet.data);
                self.take(step)
            }
            State::Method(_) if method == Method::NAK => {
                let wanted: Vec<String> = packet.data.iter().map(|m| Method(*m).to_string()).collect();
                let text = format!("the peer does not do EAP-MSCHAPv2; it wants {}", wanted.join(", "));
                self.take(MethodStep::Fail(failure(&text)))
            }
            State::Identity | State::Method(_) | State::Ended => AuthenticatorStep::Ignore,
        }
    }

    /// The answer to [`AuthenticatorAsk::User`]; `None`: there is no such user.
    pub fn user(
        &mut self,
        entropy: &mut dyn Entropy,
        known: Result<Option<UserSecret>, Failure>,
    ) -> AuthenticatorStep {
        let State::Method(method) = &mut self.state else {
            return AuthenticatorStep::Ignore;
        };
        let step = method.user(entropy, known);
        self.take(step)
    }

    /// The answer to [`AuthenticatorAsk::StorePassword`].
    pub fn stored(&mut self, result: Result<(), Failure>) -> AuthenticatorStep {
        let State::Method(method) = &mut self.state else {
            return AuthenticatorStep::Ignore;
        };
        let step = method.stored(result);
        self.take(step)
    }

    fn take(&mut self, step: MethodStep) -> AuthenticatorStep {
        match step {
            MethodStep::Request(data) => self.send(&data),
            MethodStep::Ask(ask) => AuthenticatorStep::Ask(ask),
            MethodStep::Succeed { msk, identity } => {
                let method = Method::MSCHAPV2;
                self.end(Code::Success, Ok(Established { msk, method, identity }))
            }
            MethodStep::Fail(why) => self.end(Code::Failure, Err(why)),
            MethodStep::Ignore => AuthenticatorStep::Ignore,
        }
    }

    fn send(&mut self, data: &[u8]) -> AuthenticatorStep {
        self.identifier = self.identifier.wrapping_add(1);
        self.last = emit(Code::Request, self.identifier, Some(Method::MSCHAPV2), data);
        AuthenticatorStep::Send(self.last.clone())
    }

    /// RFC 3748 §4.2: the last packet has the identifier of the Response that it answers.
    fn end(&mut self, code: Code, verdict: Verdict) -> AuthenticatorStep {
        self.state = State::Ended;
        self.last = emit(code, self.identifier, None, &[]);
        AuthenticatorStep::Ended(self.last.clone(), verdict)
    }
}

fn failure(text: &str) -> Failure {
    Failure::new(FailureCode::AuthenticationFailed, Step::Authenticate, format!("EAP: {text}"))
}
