//! We ask who the peer is.

use adit_auth::eap;
use adit_auth::mschap::{Challenge, MasterKeys, PasswordChange, Refusal};
use adit_core::{Entropy, Failure, Instant, Secret};

use super::claim::{Claim, Proof, Verdict};
use super::{Question, Step, failure};
use crate::api::EapStep;
use crate::config::{AuthMethod, EapConfig, LinkConfig, Timing};
use crate::wire::{ChapMessage, ChapProof, Code, Packet, PapMessage};
use adit_core::snapshot::{Reader, Writer};

/// How often a Challenge is sent.
const MOST_CHALLENGES: u8 = 10;
/// How often a wrong password may be tried again.
const RETRIES: u8 = 2;
/// Names longer than this are nobody's.
const LONGEST_NAME: usize = 256;

/// The side that asks.
pub(crate) struct Authenticator {
    method: AuthMethod,
    name: String,
    eap: EapConfig,
    timing: Timing,
    deadline: Option<Instant>,
    sent: u8,
    retries: u8,
    identifier: u8,
    challenge: Challenge,
    /// The last packet, sent again where its answer does not come.
    last: Vec<u8>,
    /// Why the peer was refused that may try again.
    refusal: Option<Failure>,
    state: State,
}

enum State {
    /// Waiting for the peer.
    Waiting,
    /// Waiting for the new password of this peer, whose old one has expired.
    Expired {
        name: String,
    },
    /// Somebody is judging what came with this identifier.
    Judging {
        identifier: u8,
        name: String,
    },
    /// A new password is being stored.
    Storing {
        identifier: u8,
        identity: String,
        keys: Option<MasterKeys>,
        message: Vec<u8>,
    },
    Eap(Box<eap::Authenticator>),
    /// Another server decides; whether it is asked just now.
    PassThrough {
        asked: bool,
    },
    /// It is over; what was said last to the packet with this identifier is said again.
    Over {
        identifier: u8,
    },
}

impl Authenticator {
    pub(crate) fn new(method: AuthMethod, config: &LinkConfig) -> Self {
        Self {
            method,
            name: config.name.clone(),
            eap: config.eap.clone(),
            timing: config.timing,
            deadline: None,
            sent: 0,
            retries: RETRIES,
            identifier: 0,
            challenge: [0; 16],
            last: Vec::new(),
            refusal: None,
            state: State::Waiting,
        }
    }

    /// Whether the peer has got its verdict.
    pub(crate) const fn is_over(&self) -> bool {
        matches!(self.state, State::Over { .. })
    }

    /// Of one that is over: what it says again.
    pub(crate) fn save(&self, w: &mut Writer) {
        let State::Over { identifier } = self.state else { return };
        w.u8(identifier);
        w.bytes(&self.last);
    }

    /// One that has let the peer in.
    pub(crate) fn restore(method: AuthMethod, config: &LinkConfig, r: &mut Reader<'_>) -> Option<Self> {
        let state = State::Over { identifier: r.u8()? };
        Some(Self { state, last: r.bytes()?.to_vec(), ..Self::new(method, config) })
    }

    pub(crate) const fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    pub(crate) fn start(&mut self, now: Instant, entropy: &mut dyn Entropy) -> Vec<Step> {
        match self.method {
            // The peer begins.
            AuthMethod::Pap => return Vec::new(),
            AuthMethod::Eap if self.eap.pass_through => {
                let mut identifier = [0];
                entropy.public(&mut identifier);
                let [identifier] = identifier;
                self.state = State::PassThrough { asked: false };
                // What is asked first is the same for every server.
                self.last = eap::emit(eap::Code::Request, identifier, Some(eap::Method::IDENTITY), &[]);
            }
            AuthMethod::Eap => {
                let config = eap::AuthenticatorConfig {
                    name: self.name.clone(),
                    retries: u32::from(RETRIES),
                    methods: self.eap.methods.clone(),
                    inner: self.eap.inner.clone(),
                };
                let (eap, first) = eap::Authenticator::begin(entropy, config);
                self.state = State::Eap(Box::new(eap));
                self.last = first;
            }
            _ => {
                // [1994:2.3-1] [1994:4.1-5]
                let mut identifier = [0];
                entropy.public(&mut identifier);
                let [identifier] = identifier;
                self.identifier = identifier;
                entropy.public(&mut self.challenge);
                let (value, name) = (self.value(), self.name.as_bytes());
                self.last = ChapMessage::Challenge { value, name }.emit(identifier);
            }
        }
        self.send(now)
    }

    /// The challenge of our method: 8 octets in MS-CHAPv1, else 16.
    fn value(&self) -> &[u8] {
        match self.method {
            AuthMethod::MsChapV1 => self.challenge.get(..8).unwrap_or_default(),
            _ => &self.challenge,
        }
    }

    fn send(&mut self, now: Instant) -> Vec<Step> {
        (self.sent, self.deadline) = (1, Some(now + self.timing.restart_last));
        vec![Step::Send(self.last.clone())]
    }

    pub(crate) fn wake(&mut self, now: Instant) -> Vec<Step> {
        if self.deadline.is_none_or(|at| at > now) {
            return Vec::new();
        }
        if self.sent >= MOST_CHALLENGES {
            self.deadline = None;
            return vec![Step::Failed(failure(self.method, "the peer does not answer our challenge"))];
        }
        self.sent = self.sent.saturating_add(1);
        self.deadline = Some(now + self.timing.restart_last);
        vec![Step::Send(self.last.clone())]
    }

    pub(crate) fn packet(&mut self, now: Instant, entropy: &mut dyn Entropy, bytes: &[u8]) -> Vec<Step> {
        if let State::Eap(eap) = &mut self.state {
            let step = eap.packet(entropy, bytes);
            return self.eap(now, step);
        }
        if let State::PassThrough { asked } = &mut self.state {
            let answers = matches!(eap::Packet::parse(bytes), Ok(packet) if packet.code == eap::Code::Response
                && self.last.get(1) == Some(&packet.identifier));
            // Of an answer that comes twice the server hears once.
            if !answers || std::mem::replace(asked, true) {
                return Vec::new();
            }
            self.deadline = None;
            return vec![Step::Ask(Question::EapPacket(bytes.to_vec()))];
        }
        let Ok(packet) = Packet::parse(bytes) else { return Vec::new() };
        if let State::Over { identifier } = self.state {
            // Our verdict was lost. [1994:4.2-1] [1334:2.2.1-1]
            let claims = match self.method {
                AuthMethod::Pap => packet.code == Code(1),
                _ => [Code(2), Code(7)].contains(&packet.code),
            };
            return match identifier == packet.identifier && claims && !self.last.is_empty() {
                true => vec![Step::Send(self.last.clone())],
                false => Vec::new(),
            };
        }
        let Some(claim) = self.claim(packet) else { return Vec::new() };
        self.deadline = None;
        self.state = State::Judging { identifier: packet.identifier, name: claim.name.clone() };
        vec![Step::Ask(Question::Verify(claim))]
    }

    fn claim(&self, packet: Packet<'_>) -> Option<Claim> {
        let retry = self.retries > 0 && self.method == AuthMethod::MsChapV2;
        let named = |name: &[u8], proof| {
            let name = core::str::from_utf8(name).ok().filter(|n| n.len() <= LONGEST_NAME)?;
            Some(Claim { name: name.to_owned(), proof, retry })
        };
        if self.method == AuthMethod::Pap {
            return match (PapMessage::parse(packet).ok()?, &self.state) {
                (PapMessage::Request { name, password }, State::Waiting) => {
                    named(name, Proof::Pap(Secret::from(password)))
                }
                _ => None,
            };
        }
        // [1994:4.1-4]
        if packet.identifier != self.identifier {
            return None;
        }
        match (ChapMessage::parse(packet).ok()?, &self.state) {
            (ChapMessage::Response { value, name }, State::Waiting) => named(name, self.proof(value)?),
            (
                ChapMessage::ChangePassword { encrypted_password, encrypted_hash, proof },
                State::Expired { name },
            ) => {
                let ChapProof { peer, nt_response } = proof;
                let encrypted_password = Box::new(*encrypted_password);
                let change = PasswordChange { encrypted_password, encrypted_hash: *encrypted_hash };
                let proof = Proof::Change { challenge: self.challenge, peer, nt_response, change };
                Some(Claim { name: name.clone(), proof, retry })
            }
            _ => None,
        }
    }

    fn proof(&self, value: &[u8]) -> Option<Proof> {
        match self.method {
            AuthMethod::MsChapV2 => {
                let ChapProof { peer, nt_response } = ChapProof::of_v2(value)?;
                Some(Proof::MsChapV2 { challenge: self.challenge, peer, nt_response })
            }
            AuthMethod::MsChapV1 => {
                let ChapProof { nt_response, .. } = ChapProof::of_v1(value)?;
                let challenge = <[u8; 8]>::try_from(self.value()).ok()?;
                Some(Proof::MsChapV1 { challenge, nt_response })
            }
            _ => {
                let (identifier, challenge) = (self.identifier, self.value().to_vec());
                Some(Proof::ChapMd5 { identifier, challenge, response: value.to_vec() })
            }
        }
    }

    /// The answer to [`Question::Verify`].
    pub(crate) fn verdict(
        &mut self,
        now: Instant,
        entropy: &mut dyn Entropy,
        verdict: Result<Verdict, Failure>,
    ) -> Vec<Step> {
        let State::Judging { identifier, name } = core::mem::replace(&mut self.state, State::Waiting) else {
            return Vec::new();
        };
        match verdict {
            Ok(Verdict::Accepted { identity, keys, message, new_password: None }) => {
                self.accept(identifier, identity, keys, &message)
            }
            Ok(Verdict::Accepted { identity, keys, message, new_password: Some(password) }) => {
                self.state = State::Storing { identifier, identity, keys, message };
                vec![Step::Ask(Question::Store { name, password })]
            }
            Ok(Verdict::Refused { why, error }) => self.refuse(now, entropy, identifier, name, &why, error),
            // Nobody can say: the peer is told no more than that it may not.
            Err(why) => self.turn_away(identifier, Refusal::WRONG, why),
        }
    }

    fn accept(
        &mut self,
        identifier: u8,
        identity: String,
        keys: Option<MasterKeys>,
        message: &[u8],
    ) -> Vec<Step> {
        self.last = match self.method {
            AuthMethod::Pap => PapMessage::Ack { message }.emit(identifier),
            _ => ChapMessage::Success { message }.emit(identifier),
        };
        (self.state, self.deadline, self.refusal) = (State::Over { identifier }, None, None);
        vec![Step::Send(self.last.clone()), Step::Proven { who: identity, keys }]
    }

    /// MS-CHAPv2's peer may try again, with a new challenge, or give a new password for one that has expired.
    fn refuse(
        &mut self,
        now: Instant,
        entropy: &mut dyn Entropy,
        identifier: u8,
        name: String,
        why: &str,
        error: u32,
    ) -> Vec<Step> {
        let again = match error {
            Refusal::WRONG => self.retries > 0,
            Refusal::EXPIRED => true,
            _ => false,
        };
        if self.method != AuthMethod::MsChapV2 || !again {
            return self.turn_away(identifier, error, failure(self.method, why));
        }
        self.refusal = Some(failure(self.method, why));
        self.retries = self.retries.saturating_sub(1);
        entropy.public(&mut self.challenge);
        let expired = error == Refusal::EXPIRED;
        self.last = self.refusal(identifier, error, true);
        self.identifier = identifier.wrapping_add(1);
        self.state = if expired { State::Expired { name } } else { State::Waiting };
        self.send(now)
    }

    /// Why the peer has been refused, where it has not been let in since: who goes away then went because of it.
    pub(crate) fn take_refusal(&mut self) -> Option<Failure> {
        match &self.state {
            State::Eap(eap) => eap.refusal(),
            _ => self.refusal.take(),
        }
    }

    fn turn_away(&mut self, identifier: u8, error: u32, why: Failure) -> Vec<Step> {
        self.last = match self.method {
            AuthMethod::Pap => PapMessage::Nak { message: b"Authentication failed" }.emit(identifier),
            AuthMethod::MsChapV2 | AuthMethod::MsChapV1 => self.refusal(identifier, error, false),
            _ => ChapMessage::Failure { message: b"Authentication failed" }.emit(identifier),
        };
        (self.state, self.deadline) = (State::Over { identifier }, None);
        vec![Step::Send(self.last.clone()), Step::Failed(why)]
    }

    fn refusal(&self, identifier: u8, error: u32, retry: bool) -> Vec<u8> {
        let message = match error {
            Refusal::EXPIRED => "The password has expired",
            _ => "Authentication failed",
        };
        let text = Refusal { error, retry, challenge: Some(self.challenge), message: message.into() }.text();
        ChapMessage::Failure { message: text.as_bytes() }.emit(identifier)
    }

    /// The answer to [`Question::Eap`] about a user.
    pub(crate) fn eap_user(
        &mut self,
        now: Instant,
        entropy: &mut dyn Entropy,
        known: Result<Option<eap::UserSecret>, Failure>,
    ) -> Vec<Step> {
        let State::Eap(eap) = &mut self.state else { return Vec::new() };
        let step = eap.user(entropy, known);
        self.eap(now, step)
    }

    /// The answer to [`Question::EapPacket`].
    pub(crate) fn eap_step(&mut self, now: Instant, step: Result<EapStep, Failure>) -> Vec<Step> {
        if !matches!(self.state, State::PassThrough { asked: true }) {
            return Vec::new();
        }
        let identifier = self.last.get(1).copied().unwrap_or_default();
        let (packet, end) = match step {
            Ok(EapStep::Send(packet)) => {
                self.state = State::PassThrough { asked: false };
                self.last = packet;
                return self.send(now);
            }
            Ok(EapStep::Accepted { packet, identity, keys }) => {
                (packet, Step::Proven { who: identity, keys })
            }
            Ok(EapStep::Refused { packet, why }) => (packet, Step::Failed(why)),
            Err(why) => (eap::emit(eap::Code::Failure, identifier, None, &[]), Step::Failed(why)),
        };
        (self.state, self.deadline, self.last) = (State::Over { identifier: 0 }, None, Vec::new());
        vec![Step::Send(packet), end]
    }

    /// The answer to [`Question::Tls`].
    pub(crate) fn tls(
        &mut self,
        now: Instant,
        entropy: &mut dyn Entropy,
        answer: eap::TlsAnswer,
    ) -> Vec<Step> {
        let State::Eap(eap) = &mut self.state else { return Vec::new() };
        let step = eap.tls(entropy, answer);
        self.eap(now, step)
    }

    /// The answer to [`Question::Store`], or to [`Question::Eap`] about a new password.
    pub(crate) fn stored(
        &mut self,
        now: Instant,
        entropy: &mut dyn Entropy,
        result: Result<(), Failure>,
    ) -> Vec<Step> {
        match (core::mem::replace(&mut self.state, State::Waiting), result) {
            (State::Eap(mut eap), result) => {
                let step = eap.stored(entropy, result);
                self.state = State::Eap(eap);
                self.eap(now, step)
            }
            (State::Storing { identifier, identity, keys, message }, Ok(())) => {
                self.accept(identifier, identity, keys, &message)
            }
            (State::Storing { identifier, .. }, Err(why)) => self.turn_away(identifier, 709, why),
            (state, _) => {
                self.state = state;
                Vec::new()
            }
        }
    }

    fn eap(&mut self, now: Instant, step: eap::AuthenticatorStep) -> Vec<Step> {
        match step {
            eap::AuthenticatorStep::Send(packet) => {
                self.last = packet;
                self.send(now)
            }
            eap::AuthenticatorStep::Ask(ask) => {
                self.deadline = None;
                vec![Step::Ask(Question::Eap(ask))]
            }
            eap::AuthenticatorStep::Ended(packet, verdict) => {
                // Success and Failure are never sent again (RFC 3748 §4.2): an empty one is nothing.
                (self.state, self.deadline) = (State::Over { identifier: 0 }, None);
                self.last = Vec::new();
                let end = match verdict {
                    Ok(done) => Step::Proven {
                        keys: done.msk.as_ref().and_then(MasterKeys::of_msk),
                        who: done.identity,
                    },
                    Err(why) => Step::Failed(why),
                };
                vec![Step::Send(packet), end]
            }
            eap::AuthenticatorStep::Tls(ask) => {
                self.deadline = None;
                let method = match &self.state {
                    State::Eap(eap) => Some(eap.method()),
                    _ => None,
                };
                vec![Step::Ask(Question::Tls { method, ask })]
            }
            eap::AuthenticatorStep::Ignore => Vec::new(),
        }
    }
}
