//! The authenticator's side of EAP (RFC 3748 §4, RFC 4137 §5), with methods of our own. Where RADIUS decides, packets
//! pass through, and none of this is used.

use adit_core::{Entropy, Failure, FailureCode, Secret, Step};

use super::mschapv2::authenticator::Mschapv2Authenticator;
use super::packet::{Code, Method, Packet, emit};
use super::simple::SimpleAuthenticator;
use super::tls::authenticator::TlsAuthenticator;
use super::{Established, InnerConfig, TlsAnswer, TlsAsk, Verdict};
use crate::mschap::NtHash;

/// Names longer than this are nobody's.
const LONGEST_IDENTITY: usize = 256;

/// What an authenticator needs.
#[derive(Clone, Debug)]
pub struct AuthenticatorConfig {
    /// Our name, for people.
    pub name: String,
    /// How often a wrong password may be tried again.
    pub retries: u32,
    /// Methods that we do, best first. MD5 and GTC stand here only where somebody wants them outside of TLS: neither
    /// makes keys, and GTC says the password in clear.
    pub methods: Vec<Method>,
    /// What may run inside of TTLS and PEAP.
    pub inner: InnerConfig,
}

impl AuthenticatorConfig {
    /// EAP-MSCHAPv2 only, with two more tries.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), retries: 2, methods: vec![Method::MSCHAPV2], inner: InnerConfig::default() }
    }
}

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
    /// The password itself, where it is kept so. Only EAP-MD5 needs it.
    pub clear: Option<Secret>,
}

impl UserSecret {
    /// The hash, whether it has expired, and whether there is such a user: who is not known has a hash of chance, so
    /// that it takes as long to say no.
    pub(super) fn or_nobody(known: Option<Self>, entropy: &mut dyn Entropy) -> (NtHash, bool, bool) {
        match known {
            Some(Self { hash, expired, .. }) => (hash, expired, true),
            None => {
                let mut nobody = [0; 16];
                entropy.secret(&mut nobody);
                (NtHash::from_bytes(nobody), false, false)
            }
        }
    }
}

/// What to do next.
#[derive(Debug)]
pub enum AuthenticatorStep {
    /// Send this packet.
    Send(Vec<u8>),
    /// Find this out.
    Ask(AuthenticatorAsk),
    /// The TLS engine shall do this. → [`Authenticator::tls`]
    Tls(TlsAsk),
    /// Send this last packet; it is over.
    Ended(Vec<u8>, Verdict),
    /// Nothing.
    Ignore,
}

/// What a method does with a Response.
pub(super) enum MethodStep {
    Request(Vec<u8>),
    Ask(AuthenticatorAsk),
    Tls(TlsAsk),
    Succeed { msk: Option<Secret>, identity: String },
    Fail(Failure),
    Ignore,
}

/// A conversation.
pub struct Authenticator {
    config: AuthenticatorConfig,
    /// What the peer has called itself.
    identity: Vec<u8>,
    identifier: u8,
    state: State,
    last: Vec<u8>,
    /// Whose answer is waited for. What the peer sends again meanwhile is not heard.
    asking: Option<Asking>,
}

/// Who has been asked.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Asking {
    /// Who keeps the users, about one of them.
    User,
    /// The same, to keep a password.
    Store,
    /// The TLS engine.
    Engine,
}

enum State {
    Identity,
    Method(Method, Running),
    Ended,
}

enum Running {
    Mschapv2(Box<Mschapv2Authenticator>),
    Simple(SimpleAuthenticator),
    Tls(Box<TlsAuthenticator>),
}

impl Authenticator {
    /// Begins: who are you?
    #[must_use]
    pub fn begin(entropy: &mut dyn Entropy, config: AuthenticatorConfig) -> (Self, Vec<u8>) {
        let mut identifier = [0];
        entropy.public(&mut identifier);
        let [identifier] = identifier;
        let last = emit(Code::Request, identifier, Some(Method::IDENTITY), &[]);
        let (identity, first, asking) = (Vec::new(), last.clone(), None);
        (Self { config, identity, identifier, state: State::Identity, last, asking }, first)
    }

    /// One whose peer has said who it is already, unasked: an Identity Response, which is handed to
    /// [`Authenticator::packet`] next. `None`: it is none.
    #[must_use]
    pub fn answered(config: AuthenticatorConfig, response: &[u8]) -> Option<Self> {
        match Packet::parse(response) {
            Ok(Packet { code: Code::Response, identifier, method: Some(Method::IDENTITY), .. }) => {
                let (identity, last, asking) = (Vec::new(), Vec::new(), None);
                Some(Self { config, identity, identifier, state: State::Identity, last, asking })
            }
            _ => None,
        }
    }

    /// The last packet, for a carrier that loses some.
    #[must_use]
    pub fn last(&self) -> &[u8] {
        &self.last
    }

    /// Inside of PEAP a packet has no header, and so the identifier of the one that carries it.
    pub(super) const fn carried_by(&mut self, identifier: u8) {
        self.identifier = identifier;
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
        if packet.identifier != self.identifier || self.asking.is_some() {
            return AuthenticatorStep::Ignore;
        }
        match &mut self.state {
            State::Identity if method == Method::IDENTITY && packet.data.len() <= LONGEST_IDENTITY => {
                self.identity = packet.data.to_vec();
                match self.config.methods.first().copied() {
                    Some(first) => self.start(entropy, first),
                    None => self.take(MethodStep::Fail(failure("no method is allowed"))),
                }
            }
            State::Method(ours, running) if method == *ours => {
                let step = match running {
                    Running::Mschapv2(state) => state.response(packet.data),
                    Running::Simple(state) => state.response(packet.data),
                    Running::Tls(state) => state.response(entropy, packet.identifier, packet.data),
                };
                self.take(step)
            }
            State::Method(ours, _) if method == Method::NAK => {
                let ours = *ours;
                self.declined(entropy, ours, packet.data)
            }
            State::Identity | State::Method(..) | State::Ended => AuthenticatorStep::Ignore,
        }
    }

    fn start(&mut self, entropy: &mut dyn Entropy, method: Method) -> AuthenticatorStep {
        let next = self.identifier.wrapping_add(1);
        let (running, data) = match method {
            Method::MSCHAPV2 => {
                let (state, data) =
                    Mschapv2Authenticator::begin(entropy, next, &self.config.name, self.config.retries);
                (Running::Mschapv2(Box::new(state)), data)
            }
            Method::MD5 | Method::GTC => {
                let (identity, name) = (&self.identity, &self.config.name);
                let (state, data) = SimpleAuthenticator::begin(entropy, method, next, identity, name);
                (Running::Simple(state), data)
            }
            _ if method.runs_tls() => {
                let (state, data) = TlsAuthenticator::begin(method, self.config.clone());
                (Running::Tls(Box::new(state)), data)
            }
            _ => return self.take(MethodStep::Fail(failure(&format!("{method} is not ours to do")))),
        };
        // Who declines a method does not get it again.
        self.config.methods.retain(|m| *m != method);
        self.state = State::Method(method, running);
        self.send(&data)
    }

    /// RFC 3748 §5.3.1: the peer says what it would rather do.
    fn declined(&mut self, entropy: &mut dyn Entropy, ours: Method, wanted: &[u8]) -> AuthenticatorStep {
        let next = self.config.methods.iter().copied().find(|m| wanted.contains(&m.0));
        if let Some(next) = next {
            return self.start(entropy, next);
        }
        let wanted: Vec<String> = wanted.iter().take(8).map(|m| Method(*m).to_string()).collect();
        let text = format!("the peer does not do {ours}; it wants {}", wanted.join(", "));
        self.take(MethodStep::Fail(failure(&text)))
    }

    /// The answer to [`AuthenticatorAsk::User`]; `None`: there is no such user.
    pub fn user(
        &mut self,
        entropy: &mut dyn Entropy,
        known: Result<Option<UserSecret>, Failure>,
    ) -> AuthenticatorStep {
        if !self.answered_by(Asking::User) {
            return AuthenticatorStep::Ignore;
        }
        let step = match &mut self.state {
            State::Method(_, Running::Mschapv2(method)) => method.user(entropy, known),
            State::Method(_, Running::Simple(method)) => method.user(entropy, known),
            State::Method(_, Running::Tls(method)) => method.user(entropy, known),
            State::Identity | State::Ended => MethodStep::Ignore,
        };
        self.take(step)
    }

    /// The answer to [`AuthenticatorAsk::StorePassword`].
    pub fn stored(&mut self, entropy: &mut dyn Entropy, result: Result<(), Failure>) -> AuthenticatorStep {
        if !self.answered_by(Asking::Store) {
            return AuthenticatorStep::Ignore;
        }
        let step = match &mut self.state {
            State::Method(_, Running::Mschapv2(method)) => method.stored(result),
            State::Method(_, Running::Tls(method)) => method.stored(entropy, result),
            State::Method(_, Running::Simple(_)) | State::Identity | State::Ended => MethodStep::Ignore,
        };
        self.take(step)
    }

    /// The answer to [`AuthenticatorStep::Tls`].
    pub fn tls(&mut self, entropy: &mut dyn Entropy, answer: TlsAnswer) -> AuthenticatorStep {
        if !self.answered_by(Asking::Engine) {
            return AuthenticatorStep::Ignore;
        }
        let step = match &mut self.state {
            State::Method(_, Running::Tls(method)) => method.tls(entropy, answer),
            State::Method(..) | State::Identity | State::Ended => MethodStep::Ignore,
        };
        self.take(step)
    }

    /// Why the peer has been refused, where that is not the end yet: it may try again, or has still to hear it. Who goes away
    /// at that point went because of it.
    #[must_use]
    pub fn refusal(&self) -> Option<Failure> {
        match &self.state {
            State::Method(_, Running::Mschapv2(method)) => method.refusal(),
            State::Method(_, Running::Tls(method)) => method.refusal(),
            State::Method(_, Running::Simple(_)) | State::Identity | State::Ended => None,
        }
    }

    /// Whether this one was asked; from now on it is not any more.
    fn answered_by(&mut self, who: Asking) -> bool {
        self.asking.take_if(|asked| *asked == who).is_some()
    }

    fn take(&mut self, step: MethodStep) -> AuthenticatorStep {
        self.asking = match &step {
            MethodStep::Ask(AuthenticatorAsk::User { .. }) => Some(Asking::User),
            MethodStep::Ask(AuthenticatorAsk::StorePassword { .. }) => Some(Asking::Store),
            MethodStep::Tls(_) => Some(Asking::Engine),
            _ => None,
        };
        match step {
            MethodStep::Request(data) => self.send(&data),
            MethodStep::Ask(ask) => AuthenticatorStep::Ask(ask),
            MethodStep::Tls(ask) => AuthenticatorStep::Tls(ask),
            MethodStep::Succeed { msk, identity } => {
                let method = self.method();
                self.end(Code::Success, Ok(Established { msk, method, identity }))
            }
            MethodStep::Fail(why) => self.end(Code::Failure, Err(why)),
            MethodStep::Ignore => AuthenticatorStep::Ignore,
        }
    }

    /// The method that runs; Identity before and after.
    #[must_use]
    pub const fn method(&self) -> Method {
        match &self.state {
            State::Method(method, _) => *method,
            State::Identity | State::Ended => Method::IDENTITY,
        }
    }

    fn send(&mut self, data: &[u8]) -> AuthenticatorStep {
        self.identifier = self.identifier.wrapping_add(1);
        self.last = emit(Code::Request, self.identifier, Some(self.method()), data);
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
