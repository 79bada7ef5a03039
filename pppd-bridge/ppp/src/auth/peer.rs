//! We prove who we are.

use adit_auth::eap;
use adit_auth::mschap::{
    self, Challenge, Exchange, MasterKeys, NtHash, PasswordChange, Refusal, nt_response, verify_authenticator,
};
use adit_core::{Entropy, Failure, Instant, Secret};

use super::claim::chap_md5;
use super::{Question, Step, failure};
use crate::config::{AuthMethod, LinkConfig, Timing};
use crate::wire::{ChapMessage, ChapProof, Packet, PapMessage};

/// How often a person is asked again.
const MOST_RETRIES: u32 = 5;
/// How often PAP's request is sent.
const MOST_REQUESTS: u8 = 10;

/// The side that proves itself.
pub(crate) struct Peer {
    method: AuthMethod,
    name: String,
    timing: Timing,
    deadline: Option<Instant>,
    sent: u8,
    identifier: u8,
    retries: u32,
    state: State,
    /// The peer has refused us and lets us try again: what ends the link, if it ends before we do.
    refusal: Option<Failure>,
}

enum State {
    /// Nothing is asked for yet.
    Idle,
    /// PAP's request waits for its answer.
    Requested(Vec<u8>),
    /// The password is looked for.
    Asking(Asked),
    /// Our response is out.
    Responded(Box<Response>),
    /// The peer believes us.
    Proven,
    Eap(Box<eap::Peer>),
    Over,
}

enum Asked {
    Pap,
    Challenge { identifier: u8, value: Vec<u8> },
    New { identifier: u8, challenge: Challenge, old: NtHash },
}

/// A response, to be sent again where its Challenge comes again.
struct Response {
    identifier: u8,
    packet: Vec<u8>,
    /// What MS-CHAPv2's Success is checked by, and keys come of.
    made: Made,
}

enum Made {
    Md5,
    V1(MasterKeys),
    V2 { authenticator: Challenge, proof: ChapProof, hash: NtHash },
}

impl Peer {
    pub(crate) fn new(method: AuthMethod, config: &LinkConfig) -> Self {
        let state = match method {
            AuthMethod::Eap => State::Eap(Box::new(eap::Peer::new(eap::PeerConfig {
                identity: config.eap.identity.clone().unwrap_or_else(|| config.name.clone()),
                user: config.name.clone(),
                methods: config.eap.methods.clone(),
                inner: config.eap.inner.clone(),
            }))),
            _ => State::Idle,
        };
        Self {
            method,
            name: config.name.clone(),
            timing: config.timing,
            deadline: None,
            sent: 0,
            identifier: 0,
            retries: 0,
            state,
            refusal: None,
        }
    }

    /// One that a process before has proven who we are by. The peer may challenge it again (RFC 1994 §4.1).
    pub(crate) fn has_been_proven(method: AuthMethod, config: &LinkConfig, identifier: u8) -> Self {
        Self { state: State::Proven, identifier, ..Self::new(method, config) }
    }

    /// Whether the peer believes us, and asks for nothing more.
    pub(crate) const fn has_proven(&self) -> bool {
        matches!(self.state, State::Proven)
    }

    pub(crate) const fn identifier(&self) -> u8 {
        self.identifier
    }

    pub(crate) const fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// PAP's peer begins; the others wait for the authenticator.
    pub(crate) fn start(&mut self) -> Vec<Step> {
        if self.method != AuthMethod::Pap {
            return Vec::new();
        }
        self.state = State::Asking(Asked::Pap);
        vec![Step::Ask(Question::Password { again: None })]
    }

    pub(crate) fn wake(&mut self, now: Instant) -> Vec<Step> {
        if self.deadline.is_none_or(|at| at > now) {
            return Vec::new();
        }
        self.deadline = None;
        let State::Requested(packet) = &self.state else { return Vec::new() };
        if self.sent >= MOST_REQUESTS {
            return vec![Step::Failed(failure(self.method, "the server does not answer our request"))];
        }
        // [1334:2.2.1-2]
        self.sent = self.sent.saturating_add(1);
        self.deadline = Some(now + self.timing.restart_last);
        vec![Step::Send(packet.clone())]
    }

    pub(crate) fn packet(&mut self, bytes: &[u8]) -> Vec<Step> {
        if let State::Eap(peer) = &mut self.state {
            let step = peer.packet(bytes);
            return self.eap(step);
        }
        let Ok(packet) = Packet::parse(bytes) else { return Vec::new() };
        match self.method {
            // It has ended, and its packets are no one else's: a Request has the code of CHAP's Challenge.
            AuthMethod::Eap => Vec::new(),
            AuthMethod::Pap => self.pap(packet),
            AuthMethod::MsChapV2 | AuthMethod::MsChapV1 | AuthMethod::ChapMd5 => self.chap(packet),
        }
    }

    fn pap(&mut self, packet: Packet<'_>) -> Vec<Step> {
        let State::Requested(_) = self.state else { return Vec::new() };
        // [1334:2.2.2-1]
        if packet.identifier != self.identifier {
            return Vec::new();
        }
        match PapMessage::parse(packet) {
            Ok(PapMessage::Ack { .. }) => self.proven(None),
            Ok(PapMessage::Nak { message }) => self.refused(message),
            Ok(PapMessage::Request { .. }) | Err(_) => Vec::new(),
        }
    }

    fn chap(&mut self, packet: Packet<'_>) -> Vec<Step> {
        let Ok(message) = ChapMessage::parse(packet) else { return Vec::new() };
        match message {
            ChapMessage::Challenge { value, .. } => self.challenged(packet.identifier, value),
            ChapMessage::Success { message } => self.success(packet.identifier, message),
            ChapMessage::Failure { message } => self.failed(packet.identifier, message),
            ChapMessage::Response { .. } | ChapMessage::ChangePassword { .. } => Vec::new(),
        }
    }

    /// A Challenge may come at any time (RFC 1994 §4.1). [1994:4.1-3]
    fn challenged(&mut self, identifier: u8, value: &[u8]) -> Vec<Step> {
        match &self.state {
            State::Responded(response) if response.identifier == identifier => {
                return vec![Step::Send(response.packet.clone())];
            }
            State::Asking(_) | State::Over => return Vec::new(),
            _ => {}
        }
        let right = match self.method {
            AuthMethod::MsChapV2 => value.len() == 16,
            AuthMethod::MsChapV1 => value.len() == 8,
            _ => true,
        };
        if !right {
            return Vec::new();
        }
        self.state = State::Asking(Asked::Challenge { identifier, value: value.to_vec() });
        vec![Step::Ask(Question::Password { again: None })]
    }

    /// The answer to a [`Question::Password`] or [`Question::NewPassword`].
    pub(crate) fn answer(
        &mut self,
        now: Instant,
        entropy: &mut dyn Entropy,
        secret: Result<Secret, Failure>,
    ) -> Vec<Step> {
        if let State::Eap(peer) = &mut self.state {
            let step = peer.answer(entropy, secret);
            return self.eap(step);
        }
        let State::Asking(asked) = core::mem::replace(&mut self.state, State::Idle) else {
            return Vec::new();
        };
        let secret = match secret {
            Ok(secret) => secret,
            Err(why) => return self.end(why),
        };
        match asked {
            Asked::Pap => {
                self.identifier = self.identifier.wrapping_add(1);
                let name = self.name.as_bytes();
                let packet = PapMessage::Request { name, password: secret.expose() }.emit(self.identifier);
                self.state = State::Requested(packet.clone());
                (self.sent, self.deadline) = (1, Some(now + self.timing.restart_last));
                vec![Step::Send(packet)]
            }
            Asked::Challenge { identifier, value } => self.respond(entropy, identifier, &value, &secret),
            Asked::New { identifier, challenge, old } => {
                self.change(entropy, identifier, challenge, &old, &secret)
            }
        }
    }

    /// The answer to a [`Question::Tls`].
    pub(crate) fn tls(&mut self, entropy: &mut dyn Entropy, answer: eap::TlsAnswer) -> Vec<Step> {
        let State::Eap(peer) = &mut self.state else { return Vec::new() };
        let step = peer.tls(entropy, answer);
        self.eap(step)
    }

    fn respond(
        &mut self,
        entropy: &mut dyn Entropy,
        identifier: u8,
        value: &[u8],
        secret: &Secret,
    ) -> Vec<Step> {
        let made = match self.method {
            AuthMethod::MsChapV2 => self.respond_v2(entropy, value, secret),
            AuthMethod::MsChapV1 => respond_v1(value, secret),
            _ => Some((chap_md5(identifier, secret, value).to_vec(), Made::Md5)),
        };
        let Some((value, made)) = made else {
            return self.end(failure(self.method, "the password is not UTF-8 text"));
        };
        let packet = ChapMessage::Response { value: &value, name: self.name.as_bytes() }.emit(identifier);
        self.state = State::Responded(Box::new(Response { identifier, packet: packet.clone(), made }));
        vec![Step::Send(packet)]
    }

    fn respond_v2(
        &self,
        entropy: &mut dyn Entropy,
        value: &[u8],
        secret: &Secret,
    ) -> Option<(Vec<u8>, Made)> {
        let (authenticator, hash) = (Challenge::try_from(value).ok()?, NtHash::of(secret)?);
        let mut peer = [0; 16];
        entropy.public(&mut peer);
        let exchange = Exchange { authenticator: &authenticator, peer: &peer, user: &self.name };
        let proof = ChapProof { peer, nt_response: nt_response(&hash, exchange) };
        Some((proof.to_v2(), Made::V2 { authenticator, proof, hash }))
    }

    fn success(&mut self, identifier: u8, message: &[u8]) -> Vec<Step> {
        let State::Responded(response) = &self.state else { return Vec::new() };
        if response.identifier != identifier {
            return Vec::new();
        }
        let State::Responded(response) = core::mem::replace(&mut self.state, State::Proven) else {
            return Vec::new();
        };
        match response.made {
            Made::Md5 => self.proven(None),
            Made::V1(keys) => self.proven(Some(keys)),
            Made::V2 { authenticator, proof, hash } => {
                let ChapProof { peer, nt_response } = proof;
                let exchange = Exchange { authenticator: &authenticator, peer: &peer, user: &self.name };
                // [2759:5-1]
                if !verify_authenticator(&hash, exchange, &nt_response, message) {
                    let text = "the server could not prove that it knows the password";
                    return self.end(failure(self.method, text).hint(
                        "somebody may be in between: do not type the password again before the server was checked",
                    ));
                }
                self.proven(Some(MasterKeys::derive(&hash, &nt_response)))
            }
        }
    }

    fn failed(&mut self, identifier: u8, message: &[u8]) -> Vec<Step> {
        let State::Responded(response) = &self.state else { return Vec::new() };
        if response.identifier != identifier {
            return Vec::new();
        }
        let refusal = Refusal::read(message);
        let (old, next) = match core::mem::replace(&mut self.state, State::Idle) {
            State::Responded(response) => match response.made {
                Made::V2 { hash, .. } => (hash, refusal.challenge),
                Made::V1(_) | Made::Md5 => return self.refused(message),
            },
            _ => return Vec::new(),
        };
        let next_identifier = identifier.wrapping_add(1);
        match next {
            Some(challenge) if refusal.error == Refusal::EXPIRED => {
                self.refusal = Some(refusal.failure(&self.method.to_string()));
                self.state = State::Asking(Asked::New { identifier: next_identifier, challenge, old });
                vec![Step::Ask(Question::NewPassword { message: refusal.message })]
            }
            Some(challenge)
                if refusal.error == Refusal::WRONG && refusal.retry && self.retries < MOST_RETRIES =>
            {
                self.retries = self.retries.saturating_add(1);
                self.refusal = Some(refusal.failure(&self.method.to_string()));
                let value = challenge.to_vec();
                self.state = State::Asking(Asked::Challenge { identifier: next_identifier, value });
                vec![Step::Ask(Question::Password { again: Some(refusal.message) })]
            }
            _ => self.end(refusal.failure(&self.method.to_string())),
        }
    }

    fn change(
        &mut self,
        entropy: &mut dyn Entropy,
        identifier: u8,
        authenticator: Challenge,
        old: &NtHash,
        secret: &Secret,
    ) -> Vec<Step> {
        let change = match PasswordChange::encrypt(old, secret, entropy) {
            Ok(change) => change,
            Err(error) => return self.end(failure(self.method, &error.to_string())),
        };
        let Some((_, Made::V2 { proof, hash, .. })) = self.respond_v2(entropy, &authenticator, secret) else {
            return self.end(failure(self.method, "the password is not UTF-8 text"));
        };
        let PasswordChange { encrypted_password, encrypted_hash } = &change;
        let packet =
            ChapMessage::ChangePassword { encrypted_password, encrypted_hash, proof }.emit(identifier);
        let made = Made::V2 { authenticator, proof, hash };
        self.state = State::Responded(Box::new(Response { identifier, packet: packet.clone(), made }));
        vec![Step::Send(packet)]
    }

    /// The server goes on to the network phase. EAP knows what that means.
    pub(crate) fn let_in(&mut self) -> Vec<Step> {
        let State::Eap(eap) = &mut self.state else { return Vec::new() };
        let step = eap.link_up();
        self.eap(step)
    }

    fn eap(&mut self, step: eap::PeerStep) -> Vec<Step> {
        match step {
            eap::PeerStep::Send(packet) => vec![Step::Send(packet)],
            eap::PeerStep::Ask(eap::PeerAsk::Password { again }) => {
                self.refusal = again.as_ref().map(|said| self.wrong(said.as_bytes()));
                vec![Step::Ask(Question::Password { again })]
            }
            eap::PeerStep::Ask(eap::PeerAsk::NewPassword { message }) => {
                self.refusal = Some(failure(self.method, "the password has expired"));
                vec![Step::Ask(Question::NewPassword { message })]
            }
            eap::PeerStep::Ask(eap::PeerAsk::Token { .. }) => {
                vec![Step::Ask(Question::Password { again: None })]
            }
            eap::PeerStep::Ended(Ok(established)) => {
                self.state = State::Over;
                let keys = established.msk.and_then(|msk| MasterKeys::of_msk(&msk));
                self.proven(keys)
            }
            eap::PeerStep::Ended(Err(why)) => self.end(why),
            eap::PeerStep::Tls(ask) => vec![Step::Ask(Question::Tls { method: None, ask })],
            eap::PeerStep::Ignore => Vec::new(),
        }
    }

    fn proven(&mut self, keys: Option<MasterKeys>) -> Vec<Step> {
        (self.state, self.deadline, self.refusal) = (State::Proven, None, None);
        vec![Step::Proven { who: self.name.clone(), keys }]
    }

    fn refused(&mut self, message: &[u8]) -> Vec<Step> {
        let why = self.wrong(message);
        self.end(why)
    }

    fn wrong(&self, message: &[u8]) -> Failure {
        let said: String =
            String::from_utf8_lossy(message).chars().filter(|c| !c.is_control()).take(200).collect();
        let why = failure(self.method, "the server refused: the name or the password is wrong")
            .hint("check the name (perhaps DOMAIN\\name) and the password");
        if said.is_empty() { why } else { why.said(said) }
    }

    /// Why the server has refused us, where it has not let us in since.
    pub(crate) const fn take_refusal(&mut self) -> Option<Failure> {
        self.refusal.take()
    }

    fn end(&mut self, why: Failure) -> Vec<Step> {
        (self.state, self.deadline, self.refusal) = (State::Over, None, None);
        vec![Step::Failed(why)]
    }
}

fn respond_v1(value: &[u8], secret: &Secret) -> Option<(Vec<u8>, Made)> {
    let (challenge, hash) = (<[u8; 8]>::try_from(value).ok()?, NtHash::of(secret)?);
    let nt_response = mschap::v1_response(&hash, challenge);
    let keys = MasterKeys::derive_v1(&hash, challenge);
    Some((ChapProof { peer: [0; 16], nt_response }.to_v1(), Made::V1(keys)))
}
