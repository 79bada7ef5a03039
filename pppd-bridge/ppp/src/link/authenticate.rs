//! The authentication phase (RFC 1661 §3.5): both sides at once, each by what it has agreed to.

use adit_auth::eap;
use adit_auth::mschap::{MasterKeys, Role};
use adit_core::{Entropy, Failure, FailureCode, Instant, Secret, Step};

use super::{About, Link, Phase};
use crate::api::{Ask, EapStep, Event, Keys};
use crate::auth::{Authenticator, Peer, Question, Step as AuthStep, Verdict};
use crate::config::{AuthMethod, MppeWish};
use crate::wire::Protocol;

/// The two roles.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Proving,
    Demanding,
}

const fn protocol(method: AuthMethod) -> Protocol {
    match method {
        AuthMethod::Eap => Protocol::EAP,
        AuthMethod::Pap => Protocol::PAP,
        AuthMethod::MsChapV2 | AuthMethod::MsChapV1 | AuthMethod::ChapMd5 => Protocol::CHAP,
    }
}

impl Link {
    pub(super) fn authenticate(&mut self, now: Instant, entropy: &mut dyn Entropy) {
        let (ours, theirs) = (self.lcp.options.proving(), self.lcp.options.demanded());
        self.phase = Phase::Authenticate;
        self.authenticate_until = Some(now + self.config.timing.authenticate);
        self.event(Event::Progress(Step::Authenticate));
        if let Some(method) = theirs {
            let mut demanding = Authenticator::new(method, &self.config);
            let steps = demanding.start(now, entropy);
            self.demanding = Some(demanding);
            self.auth_steps(now, entropy, Side::Demanding, steps);
        }
        if let Some(method) = ours {
            let mut proving = Peer::new(method, &self.config);
            let steps = proving.start();
            self.proving = Some(proving);
            self.auth_steps(now, entropy, Side::Proving, steps);
        }
        self.if_authenticated(now, entropy);
    }

    pub(super) fn auth_packet(
        &mut self,
        now: Instant,
        entropy: &mut dyn Entropy,
        of: Protocol,
        packet: &[u8],
    ) {
        let is = |method: Option<AuthMethod>| method.map(protocol) == Some(of);
        let (ours, theirs) = (self.lcp.options.proving(), self.lcp.options.demanded());
        // Both sides may use one protocol at once: each takes the packets that are for it.
        if is(theirs)
            && let Some(demanding) = &mut self.demanding
        {
            let steps = demanding.packet(now, entropy, packet);
            self.auth_steps(now, entropy, Side::Demanding, steps);
        }
        if is(ours)
            && let Some(proving) = &mut self.proving
        {
            let steps = proving.packet(packet);
            self.auth_steps(now, entropy, Side::Proving, steps);
        }
    }

    /// The peer goes on to the network phase: we are let in, where all that is missing is a word that says so.
    pub(super) fn let_in(&mut self, now: Instant, entropy: &mut dyn Entropy) {
        if let Some(proving) = &mut self.proving {
            let steps = proving.let_in();
            self.auth_steps(now, entropy, Side::Proving, steps);
        }
    }

    pub(super) fn wake_authentication(&mut self, now: Instant, entropy: &mut dyn Entropy) {
        if let Some(proving) = &mut self.proving {
            let steps = proving.wake(now);
            self.auth_steps(now, entropy, Side::Proving, steps);
        }
        if let Some(demanding) = &mut self.demanding {
            let steps = demanding.wake(now);
            self.auth_steps(now, entropy, Side::Demanding, steps);
        }
        if self.authenticate_until.is_some_and(|at| at <= now) {
            let text = match self.authenticated.ours.is_none() && self.proving.is_some() {
                true => "the server asked who we are, and then did not go on",
                false => "the peer has not proven who it is in time",
            };
            let why = Failure::new(FailureCode::AuthenticationFailed, Step::Authenticate, text);
            self.close(now, entropy, Err(why));
        }
    }

    pub(super) fn secret(
        &mut self,
        now: Instant,
        entropy: &mut dyn Entropy,
        secret: Result<Secret, Failure>,
    ) {
        let Some(proving) = &mut self.proving else { return };
        let steps = proving.answer(now, entropy, secret);
        self.auth_steps(now, entropy, Side::Proving, steps);
    }

    pub(super) fn verdict(
        &mut self,
        now: Instant,
        entropy: &mut dyn Entropy,
        verdict: Result<Verdict, Failure>,
    ) {
        let Some(demanding) = &mut self.demanding else { return };
        let steps = demanding.verdict(now, entropy, verdict);
        self.auth_steps(now, entropy, Side::Demanding, steps);
    }

    pub(super) fn eap_user(
        &mut self,
        now: Instant,
        entropy: &mut dyn Entropy,
        known: Result<Option<eap::UserSecret>, Failure>,
    ) {
        let Some(demanding) = &mut self.demanding else { return };
        let steps = demanding.eap_user(now, entropy, known);
        self.auth_steps(now, entropy, Side::Demanding, steps);
    }

    pub(super) fn eap_step(
        &mut self,
        now: Instant,
        entropy: &mut dyn Entropy,
        step: Result<EapStep, Failure>,
    ) {
        let Some(demanding) = &mut self.demanding else { return };
        let steps = demanding.eap_step(now, step);
        self.auth_steps(now, entropy, Side::Demanding, steps);
    }

    pub(super) fn our_tls(&mut self, now: Instant, entropy: &mut dyn Entropy, answer: eap::TlsAnswer) {
        let Some(proving) = &mut self.proving else { return };
        let steps = proving.tls(entropy, answer);
        self.auth_steps(now, entropy, Side::Proving, steps);
    }

    pub(super) fn peer_tls(&mut self, now: Instant, entropy: &mut dyn Entropy, answer: eap::TlsAnswer) {
        let Some(demanding) = &mut self.demanding else { return };
        let steps = demanding.tls(now, entropy, answer);
        self.auth_steps(now, entropy, Side::Demanding, steps);
    }

    pub(super) fn stored(&mut self, now: Instant, entropy: &mut dyn Entropy, result: Result<(), Failure>) {
        let Some(demanding) = &mut self.demanding else { return };
        let steps = demanding.stored(now, entropy, result);
        self.auth_steps(now, entropy, Side::Demanding, steps);
    }

    fn auth_steps(&mut self, now: Instant, entropy: &mut dyn Entropy, side: Side, steps: Vec<AuthStep>) {
        let method = match side {
            Side::Proving => self.lcp.options.proving(),
            Side::Demanding => self.lcp.options.demanded(),
        };
        let Some(method) = method else { return };
        for step in steps {
            match step {
                AuthStep::Send(packet) => self.transmit(protocol(method), &packet),
                AuthStep::Ask(question) => self.auth_ask(now, method, question),
                AuthStep::Proven { who, keys } => {
                    self.proven(side, method, who, keys);
                    self.if_authenticated(now, entropy);
                }
                AuthStep::Failed(why) => return self.close(now, entropy, Err(why)),
            }
        }
    }

    fn auth_ask(&mut self, now: Instant, method: AuthMethod, question: Question) {
        match question {
            Question::Password { again } => {
                self.ask(now, About::PeerSecret, Ask::Password { method, again });
            }
            Question::NewPassword { message } => {
                self.ask(now, About::PeerSecret, Ask::NewPassword { message });
            }
            Question::Verify(claim) => self.ask(now, About::Verdict, Ask::Verify(claim)),
            Question::Eap(ask) => {
                let about = match ask {
                    eap::AuthenticatorAsk::User { .. } => About::EapUser,
                    eap::AuthenticatorAsk::StorePassword { .. } => About::Stored,
                };
                self.ask(now, about, Ask::Eap(ask));
            }
            Question::EapPacket(packet) => self.ask(now, About::EapStep, Ask::EapPacket(packet)),
            Question::Tls { method, ask } => {
                self.tls_asked = true;
                let about = if method.is_none() { About::OurTls } else { About::PeerTls };
                self.ask(now, about, Ask::Tls { method, ask });
            }
            Question::Store { name, password } => {
                self.ask(now, About::Stored, Ask::StorePassword { name, password });
            }
        }
    }

    fn proven(&mut self, side: Side, method: AuthMethod, who: String, keys: Option<MasterKeys>) {
        let role = match side {
            Side::Proving => {
                self.authenticated.ours = Some(method);
                Role::Peer
            }
            Side::Demanding => {
                self.authenticated.peer = Some((method, who));
                Role::Authenticator
            }
        };
        if let Some(master) = keys
            && self.keys.is_none()
        {
            self.keys = Some(Keys { master, role });
        }
    }

    /// Where both sides are content, the network phase comes. [1661:3.5-2]
    fn if_authenticated(&mut self, now: Instant, entropy: &mut dyn Entropy) {
        let (ours, theirs) = (self.lcp.options.proving(), self.lcp.options.demanded());
        let done = (ours.is_none() || self.authenticated.ours.is_some())
            && (theirs.is_none() || self.authenticated.peer.is_some());
        if !done || self.phase != Phase::Authenticate {
            return;
        }
        self.authenticate_until = None;
        if self.config.mppe.wish == MppeWish::Require && self.keys.is_none() {
            let how = ours.or(theirs).map_or_else(|| "no authentication".to_owned(), |m| m.to_string());
            let text = format!("encryption (MPPE) is required, and {how} makes no keys for it");
            let why = Failure::new(FailureCode::ProposalMismatch, Step::Encryption, text)
                .hint("use MS-CHAPv2 or EAP at both ends");
            return self.close(now, entropy, Err(why));
        }
        self.event(Event::Authenticated(self.authenticated.clone()));
        self.prepare(now);
    }
}
