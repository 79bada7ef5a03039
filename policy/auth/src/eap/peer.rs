//! The peer's side of EAP (RFC 3748 §4, RFC 4137 §4).

use adit_core::{Entropy, Failure, FailureCode, Secret, Step};

use super::mschapv2::peer::Mschapv2Peer;
use super::packet::{Code, Method, Packet, emit};
use super::simple::SimplePeer;
use super::tls::peer::TlsPeer;
use super::{Established, InnerConfig, TlsAnswer, TlsAsk, Verdict};

/// Requests that are answered at most: a server that goes on for ever is given up.
const MOST_REQUESTS: u32 = 200;

/// What a peer needs.
#[derive(Clone, Debug)]
pub struct PeerConfig {
    /// What EAP-Identity says; perhaps `anonymous@example.com` where the method hides the real one.
    pub identity: String,
    /// The name that the method proves; perhaps `CORP\ann`.
    pub user: String,
    /// Methods that we do, best first. MD5 and GTC stand here only where somebody wants them outside of TLS.
    pub methods: Vec<Method>,
    /// What runs inside of TTLS and PEAP.
    pub inner: InnerConfig,
}

/// What the peer wants of a person, or of who holds the secrets. Answered by [`Peer::answer`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PeerAsk {
    /// The password. `again`: the last one was wrong, and this is what the server says.
    Password {
        /// The server's words.
        again: Option<String>,
    },
    /// A new password, since the old one has expired.
    NewPassword {
        /// The server's words.
        message: String,
    },
    /// What a Generic Token Card shows, or whatever else the server asks for by EAP-GTC; often it is the password.
    Token {
        /// The server's words.
        message: String,
    },
}

/// What to do next.
#[derive(Debug)]
pub enum PeerStep {
    /// Send this packet.
    Send(Vec<u8>),
    /// Find this out.
    Ask(PeerAsk),
    /// The TLS engine shall do this. → [`Peer::tls`]
    Tls(TlsAsk),
    /// It is over.
    Ended(Verdict),
    /// Nothing.
    Ignore,
}

/// What a method does with a Request.
pub(super) enum MethodStep {
    Respond(Vec<u8>),
    Ask(PeerAsk),
    Tls(TlsAsk),
    Fail(Failure),
    Ignore,
}

/// A conversation.
pub struct Peer {
    config: PeerConfig,
    method: Option<(Method, Running)>,
    /// The last Request's identifier and our Response.
    last: Option<(u8, Vec<u8>)>,
    /// The Request whose answer somebody is asked for.
    asking: Option<Asking>,
    requests: u32,
    ended: bool,
}

enum Running {
    Mschapv2(Box<Mschapv2Peer>),
    Simple(SimplePeer),
    Tls(Box<TlsPeer>),
}

#[derive(Clone, Copy)]
enum Asking {
    /// A person.
    Person(u8),
    /// The TLS engine.
    Engine(u8),
}

impl Peer {
    /// One that has heard nothing.
    #[must_use]
    pub const fn new(config: PeerConfig) -> Self {
        Self { config, method: None, last: None, asking: None, requests: 0, ended: false }
    }

    /// An EAP packet came.
    pub fn packet(&mut self, bytes: &[u8]) -> PeerStep {
        let Ok(packet) = Packet::parse(bytes) else {
            return PeerStep::Ignore;
        };
        if self.ended {
            return PeerStep::Ignore;
        }
        match (packet.code, packet.method) {
            (Code::Request, Some(method)) => self.request(packet, method),
            (Code::Success, _) => self.success(),
            (Code::Failure, _) => self.failed(),
            _ => PeerStep::Ignore,
        }
    }

    /// The lower layer shows that the server is content (RFC 3748 §3.4): on a PPP link, a packet of the network phase (§7.12).
    /// EAP-Success may be lost, and some servers never send it. This is as good as that, and as little protected: it counts only
    /// where the method has succeeded.
    pub fn link_up(&mut self) -> PeerStep {
        if self.ended { PeerStep::Ignore } else { self.success() }
    }

    fn request(&mut self, packet: Packet<'_>, method: Method) -> PeerStep {
        if let Some((identifier, response)) = &self.last
            && *identifier == packet.identifier
        {
            return PeerStep::Send(response.clone());
        }
        if self.asking.is_some() {
            // Sent again while a person thinks, or the engine works.
            return PeerStep::Ignore;
        }
        self.requests = self.requests.saturating_add(1);
        if self.requests > MOST_REQUESTS {
            return self.end(Err(failure("the server asks without an end")));
        }
        match method {
            Method::IDENTITY => {
                let identity = self.config.identity.clone();
                self.respond(packet.identifier, method, identity.as_bytes())
            }
            // RFC 3748 §5.2: shown to people by who wants to; the answer is empty.
            Method::NOTIFICATION => self.respond(packet.identifier, method, &[]),
            _ if self.method.is_some() || self.does(method) => self.method(packet, method),
            _ => self.nak(packet.identifier),
        }
    }

    fn does(&self, method: Method) -> bool {
        let ours = matches!(method, Method::MSCHAPV2 | Method::MD5 | Method::GTC) || method.runs_tls();
        ours && self.config.methods.contains(&method)
    }

    /// RFC 3748 §5.3.1: what we would rather do. None at all is said by a zero.
    fn nak(&mut self, identifier: u8) -> PeerStep {
        let methods: Vec<u8> = self.config.methods.iter().filter(|m| self.does(**m)).map(|m| m.0).collect();
        let wanted = if methods.is_empty() { vec![0] } else { methods };
        self.respond(identifier, Method::NAK, &wanted)
    }

    fn method(&mut self, packet: Packet<'_>, method: Method) -> PeerStep {
        let config = &self.config;
        let (running, state) = self.method.get_or_insert_with(|| (method, Running::new(method, config)));
        // RFC 3748 §2.1: one method a conversation.
        if method != *running {
            return PeerStep::Ignore;
        }
        let step = match state {
            Running::Mschapv2(state) => state.request(packet.data),
            Running::Simple(state) => state.request(packet.identifier, packet.data),
            Running::Tls(state) => state.request(packet.identifier, packet.data),
        };
        self.take(packet.identifier, step)
    }

    /// The answer to a [`PeerAsk`].
    pub fn answer(&mut self, entropy: &mut dyn Entropy, answer: Result<Secret, Failure>) -> PeerStep {
        let Some(Asking::Person(identifier)) = self.asking else {
            return PeerStep::Ignore;
        };
        self.asking = None;
        let step = match (&mut self.method, answer) {
            (Some((_, running)), Ok(secret)) => running.answer(entropy, secret),
            (Some((_, running)), Err(why)) => running.declined(entropy, why),
            (None, _) => MethodStep::Ignore,
        };
        self.take(identifier, step)
    }

    /// The answer to [`PeerStep::Tls`].
    pub fn tls(&mut self, entropy: &mut dyn Entropy, answer: TlsAnswer) -> PeerStep {
        let Some(Asking::Engine(identifier)) = self.asking else {
            return PeerStep::Ignore;
        };
        self.asking = None;
        let step = match &mut self.method {
            Some((_, Running::Tls(state))) => state.tls(entropy, answer),
            _ => MethodStep::Ignore,
        };
        self.take(identifier, step)
    }

    fn take(&mut self, identifier: u8, step: MethodStep) -> PeerStep {
        match step {
            MethodStep::Respond(data) => {
                let method = self.method.as_ref().map_or(Method::NAK, |(method, _)| *method);
                self.respond(identifier, method, &data)
            }
            MethodStep::Ask(ask) => {
                self.asking = Some(Asking::Person(identifier));
                PeerStep::Ask(ask)
            }
            MethodStep::Tls(ask) => {
                self.asking = Some(Asking::Engine(identifier));
                PeerStep::Tls(ask)
            }
            MethodStep::Fail(why) => self.end(Err(why)),
            MethodStep::Ignore => PeerStep::Ignore,
        }
    }

    fn respond(&mut self, identifier: u8, method: Method, data: &[u8]) -> PeerStep {
        // [7296:3.16-1] [7296:3.16-4]
        let response = emit(Code::Response, identifier, Some(method), data);
        self.last = Some((identifier, response.clone()));
        PeerStep::Send(response)
    }

    /// Nothing protects EAP-Success: it counts only where the method has succeeded, and what we say to that is out.
    fn success(&mut self) -> PeerStep {
        if self.asking.is_some() {
            return PeerStep::Ignore;
        }
        let Some((method, state)) = &mut self.method else {
            return PeerStep::Ignore;
        };
        let method = *method;
        let msk = match state {
            Running::Mschapv2(state) => state.msk().map(Some),
            Running::Simple(state) => state.answered().then_some(None),
            Running::Tls(state) => state.success().map(Some),
        };
        match msk {
            Some(msk) => {
                let identity = self.config.user.clone();
                self.end(Ok(Established { msk, method, identity }))
            }
            None => PeerStep::Ignore,
        }
    }

    /// EAP-Failure could be anybody's, but in IKEv2 it comes protected, and then nothing better will come.
    fn failed(&mut self) -> PeerStep {
        let why = match &mut self.method {
            Some((_, Running::Mschapv2(state))) => state.refused(),
            Some((_, Running::Simple(state))) => Some(state.refused()),
            Some((_, Running::Tls(state))) => state.refused(),
            None => None,
        };
        self.end(Err(why.unwrap_or_else(|| {
            failure("the server ended the conversation without a reason")
                .said("EAP-Failure")
                .hint("its log says why; often it wants another EAP method, does not know the name, or has locked the account")
        })))
    }

    fn end(&mut self, verdict: Verdict) -> PeerStep {
        self.ended = true;
        self.method = None;
        PeerStep::Ended(verdict)
    }
}

impl Running {
    fn new(method: Method, config: &PeerConfig) -> Self {
        match method {
            Method::MD5 | Method::GTC => Self::Simple(SimplePeer::new(method, config.user.clone())),
            _ if method.runs_tls() => {
                Self::Tls(Box::new(TlsPeer::new(method, config.user.clone(), config.inner.clone())))
            }
            _ => Self::Mschapv2(Box::new(Mschapv2Peer::new(config.user.clone()))),
        }
    }

    fn answer(&mut self, entropy: &mut dyn Entropy, secret: Secret) -> MethodStep {
        match self {
            Self::Mschapv2(state) => state.answer(entropy, &secret),
            Self::Simple(state) => state.answer(&secret),
            Self::Tls(state) => state.answer(entropy, secret),
        }
    }

    fn declined(&mut self, entropy: &mut dyn Entropy, why: Failure) -> MethodStep {
        match self {
            Self::Mschapv2(state) => state.declined(why),
            Self::Simple(_) => MethodStep::Fail(why),
            Self::Tls(state) => state.declined(entropy, why),
        }
    }
}

fn failure(text: &str) -> Failure {
    Failure::new(FailureCode::AuthenticationFailed, Step::Authenticate, format!("EAP: {text}"))
}
