//! The authenticator's side of the methods that run TLS.

use adit_core::{Entropy, Failure, Secret};

use super::frames::{Frames, Incoming};
use super::peap::{Compound, Cryptobinding, Extensions, Inside};
use super::{Binding, Keys, TlsAnswer, TlsAsk, TlsVersion, Tunnel, failure, join, ttls};
use crate::eap::authenticator::{
    Authenticator, AuthenticatorAsk, AuthenticatorConfig, AuthenticatorStep, MethodStep, UserSecret,
};
use crate::eap::packet::{Code, Method, emit};
use crate::mschap::{Challenge, Exchange, NtHash, authenticator_response, verify};

/// Responses that are taken at most: a peer that goes on for ever is given up.
const MOST_RESPONSES: u32 = 200;

/// The method, from its Start on.
pub(in crate::eap) struct TlsAuthenticator {
    method: Method,
    config: AuthenticatorConfig,
    responses: u32,
    /// The Request that was answered last.
    identifier: u8,
    frames: Frames,
    /// Records that go out with the next message.
    out: Vec<u8>,
    tunnel: Option<Tunnel>,
    keys: Option<Keys>,
    phase: Phase,
}

enum Phase {
    Handshake,
    /// Key material is asked for. The plaintext came with the handshake's last records.
    Exporting(Secret),
    /// PEAP: the inner method begins when what we sent last is acknowledged.
    OurTurn,
    /// TTLS: the peer's AVPs are to come.
    TheirTurn,
    /// EAP inside.
    Inner(Box<Authenticator>),
    /// TTLS: the user's secret is being looked up.
    Looking(Box<Claim>),
    /// PEAP: our Result is out.
    Concluding {
        compound: Compound,
        identity: String,
    },
    /// What we sent last is to be acknowledged; then EAP-Success.
    Succeeding {
        msk: Secret,
        identity: String,
    },
    /// We have said no; EAP-Failure comes with the next packet.
    Refused(Failure),
}

struct Claim {
    user: String,
    proof: Proof,
}

enum Proof {
    MsChapV2 { challenge: Challenge, ident: u8, peer: Challenge, response: [u8; 24] },
    Pap(Secret),
}

impl TlsAuthenticator {
    /// Begins: the first Request's data.
    pub(in crate::eap) fn begin(method: Method, config: AuthenticatorConfig) -> (Self, Vec<u8>) {
        let method = Self {
            method,
            config,
            responses: 0,
            identifier: 0,
            frames: Frames::default(),
            out: Vec::new(),
            tunnel: None,
            keys: None,
            phase: Phase::Handshake,
        };
        (method, Frames::start())
    }

    /// A Response of this Type.
    pub(in crate::eap) fn response(
        &mut self,
        entropy: &mut dyn Entropy,
        identifier: u8,
        data: &[u8],
    ) -> MethodStep {
        self.identifier = identifier;
        self.responses = self.responses.saturating_add(1);
        if self.responses > MOST_RESPONSES {
            return self.fail("the peer goes on without an end");
        }
        match self.frames.receive(data) {
            Ok(Incoming::Start) => MethodStep::Ignore,
            Ok(Incoming::Part) => MethodStep::Request(Frames::empty()),
            Ok(Incoming::Empty) => match self.frames.next() {
                Some(next) => MethodStep::Request(next),
                None => self.acknowledged(entropy),
            },
            Ok(Incoming::Whole(records)) => match core::mem::replace(&mut self.phase, Phase::Handshake) {
                Phase::Refused(why) => MethodStep::Fail(why),
                phase => {
                    self.phase = phase;
                    MethodStep::Tls(TlsAsk { records, write: None, export: Vec::new() })
                }
            },
            Err(why) => self.fail(&format!("the peer's packet is malformed ({why})")),
        }
    }

    /// The peer has all that we sent, and says nothing itself.
    fn acknowledged(&mut self, entropy: &mut dyn Entropy) -> MethodStep {
        match core::mem::replace(&mut self.phase, Phase::Handshake) {
            Phase::Succeeding { msk, identity } => MethodStep::Succeed { msk: Some(msk), identity },
            Phase::Refused(why) => MethodStep::Fail(why),
            Phase::OurTurn => self.begin_inner(entropy),
            Phase::TheirTurn => {
                self.phase = Phase::TheirTurn;
                MethodStep::Request(Frames::empty())
            }
            _ => self.fail("the peer says nothing where it should"),
        }
    }

    /// The engine has done what it was asked.
    pub(in crate::eap) fn tls(&mut self, entropy: &mut dyn Entropy, answer: TlsAnswer) -> MethodStep {
        self.out.extend(answer.records);
        if let Some(why) = answer.failure {
            if self.out.is_empty() {
                return MethodStep::Fail(why);
            }
            // Our alert goes out; EAP-Failure follows its acknowledgement (RFC 5216 §2.1.3).
            self.phase = Phase::Refused(why);
            return self.flush();
        }
        match core::mem::replace(&mut self.phase, Phase::Handshake) {
            Phase::Handshake => match answer.tunnel {
                None => self.flush(),
                Some(tunnel) => {
                    let export = Keys::wanted(self.method, tunnel.version);
                    self.tunnel = Some(tunnel);
                    self.phase = Phase::Exporting(join(answer.plaintext));
                    MethodStep::Tls(TlsAsk { records: Vec::new(), write: None, export })
                }
            },
            Phase::Exporting(plaintext) => match Keys::of(answer.exported) {
                None => self.fail("the TLS engine gave no keys"),
                Some(keys) => self.established(entropy, keys, &plaintext),
            },
            phase => {
                self.phase = phase;
                match join(answer.plaintext) {
                    nothing if nothing.is_empty() => self.flush(),
                    plaintext => self.inside(entropy, &plaintext),
                }
            }
        }
    }

    fn flush(&mut self) -> MethodStep {
        let out = core::mem::take(&mut self.out);
        let handshake = matches!(self.phase, Phase::Handshake);
        MethodStep::Request(self.frames.send(out, handshake))
    }

    fn established(&mut self, entropy: &mut dyn Entropy, keys: Keys, plaintext: &Secret) -> MethodStep {
        let msk = keys.msk();
        self.keys = Some(keys);
        match self.method {
            Method::TLS => self.certificate(msk),
            Method::TTLS => {
                self.phase = Phase::TheirTurn;
                if plaintext.is_empty() { self.flush() } else { self.inside(entropy, plaintext) }
            }
            _ if self.out.is_empty() => self.begin_inner(entropy),
            _ => {
                self.phase = Phase::OurTurn;
                self.flush()
            }
        }
    }

    /// EAP-TLS: the certificate is all. In TLS 1.3 the peer must hear that we are content (RFC 9190 §2.1.1).
    fn certificate(&mut self, msk: Secret) -> MethodStep {
        let Some(tunnel) = &self.tunnel else { return MethodStep::Ignore };
        let Some(identity) = tunnel.names.first().cloned() else {
            return self.fail("the peer has shown no certificate");
        };
        self.phase = Phase::Succeeding { msk, identity };
        match tunnel.version {
            TlsVersion::Tls12 => self.flush(),
            TlsVersion::Tls13 => write(Secret::from(&[0][..])),
        }
    }

    fn inner_config(&self) -> AuthenticatorConfig {
        let methods = self.config.inner.methods.iter().copied().filter(|m| !m.runs_tls()).collect();
        AuthenticatorConfig { methods, ..self.config.clone() }
    }

    fn begin_inner(&mut self, entropy: &mut dyn Entropy) -> MethodStep {
        let (inner, first) = Authenticator::begin(entropy, self.inner_config());
        self.phase = Phase::Inner(Box::new(inner));
        self.write_eap(&first)
    }

    fn write_eap(&mut self, packet: &[u8]) -> MethodStep {
        match self.method {
            Method::TTLS => write(ttls::write(&[(ttls::EAP_MESSAGE, packet)])),
            // PEAP leaves the header out.
            _ => write(Secret::from(packet.get(4..).unwrap_or_default())),
        }
    }

    /// The plaintext of the peer.
    fn inside(&mut self, entropy: &mut dyn Entropy, plaintext: &Secret) -> MethodStep {
        let plain = plaintext.expose();
        match (self.method, core::mem::replace(&mut self.phase, Phase::Handshake)) {
            (Method::TTLS, Phase::TheirTurn) => self.avps(entropy, None, plain),
            (Method::TTLS, Phase::Inner(inner)) => self.avps(entropy, Some(inner), plain),
            (Method::PEAP, Phase::Inner(mut inner)) => match Inside::read(plain) {
                Ok(Inside::Eap(method, data)) => {
                    inner.carried_by(self.identifier);
                    let packet = emit(Code::Response, self.identifier, Some(method), data);
                    let step = inner.packet(entropy, &packet);
                    self.inner_step(entropy, inner, step)
                }
                Ok(Inside::Extensions(..)) => self.fail("the peer concludes before the inner method has"),
                Err(why) => self.fail(&format!("what came through the tunnel is malformed ({why})")),
            },
            (Method::PEAP, Phase::Concluding { compound, identity }) => match Inside::read(plain) {
                Ok(Inside::Extensions(_, extensions)) => self.conclude(&compound, identity, extensions),
                _ => self.fail("the peer did not answer the Result"),
            },
            (_, Phase::Refused(why)) => MethodStep::Fail(why),
            _ => self.fail("the peer says something inside of the tunnel that the method does not have"),
        }
    }

    fn inner_step(
        &mut self,
        entropy: &mut dyn Entropy,
        inner: Box<Authenticator>,
        step: AuthenticatorStep,
    ) -> MethodStep {
        match step {
            AuthenticatorStep::Send(packet) => {
                self.phase = Phase::Inner(inner);
                self.write_eap(&packet)
            }
            AuthenticatorStep::Ask(what) => {
                self.phase = Phase::Inner(inner);
                MethodStep::Ask(what)
            }
            AuthenticatorStep::Ended(_, verdict) if self.method == Method::TTLS => {
                // The outer EAP-Success is all that is said (RFC 5281 §11.2.1).
                let msk = self.keys.as_ref().map(Keys::msk);
                match verdict {
                    Ok(established) => MethodStep::Succeed { msk, identity: established.identity },
                    Err(why) => MethodStep::Fail(why),
                }
            }
            AuthenticatorStep::Ended(_, Ok(established)) => {
                let Some(keys) = &self.keys else { return MethodStep::Ignore };
                let compound = Compound::derive(&keys.material, established.msk.as_ref());
                let mut nonce = [0; 32];
                entropy.public(&mut nonce);
                let binding = Some(Cryptobinding::make(false, nonce, &compound));
                let extensions = Extensions { success: Some(true), binding };
                self.phase = Phase::Concluding { compound, identity: established.identity };
                write(Secret::new(extensions.emit(Code::Request, nonce[0])))
            }
            AuthenticatorStep::Ended(_, Err(why)) => {
                self.phase = Phase::Refused(why);
                let extensions = Extensions { success: Some(false), binding: None };
                write(Secret::new(extensions.emit(Code::Request, 0)))
            }
            AuthenticatorStep::Tls(_) | AuthenticatorStep::Ignore => {
                self.phase = Phase::Inner(inner);
                MethodStep::Ignore
            }
        }
    }

    /// PEAP: what the peer says to our Result.
    fn conclude(&self, compound: &Compound, identity: String, extensions: Extensions) -> MethodStep {
        let Some(keys) = &self.keys else { return MethodStep::Ignore };
        match (extensions.success, extensions.binding) {
            (Some(true), Some(binding)) if binding.proves(true, compound) => {
                MethodStep::Succeed { msk: Some(compound.msk()), identity }
            }
            (Some(true), Some(_)) => self.fail(&format!("{identity}: the peer's cryptobinding is wrong")),
            (Some(true), None) if self.config.inner.binding == Binding::Required => {
                self.fail(&format!("{identity}: the peer does no cryptobinding"))
            }
            (Some(true), None) => MethodStep::Succeed { msk: Some(keys.msk()), identity },
            _ => self.fail(&format!("{identity}: the peer did not agree to success")),
        }
    }

    /// TTLS: what the peer proves itself with.
    fn avps(
        &mut self,
        entropy: &mut dyn Entropy,
        inner: Option<Box<Authenticator>>,
        plain: &[u8],
    ) -> MethodStep {
        let avps = match ttls::read(plain) {
            Ok(avps) => avps,
            Err(why) => return self.fail(&format!("what came through the tunnel is malformed ({why})")),
        };
        let find = |kind| avps.iter().find(|avp| avp.kind == kind).map(|avp| avp.value);
        if let Some(strange) = avps.iter().find(|avp| avp.is_strange()) {
            let (vendor, code) = strange.kind;
            return self.fail(&format!("the peer wants AVP {code} of vendor {vendor} understood"));
        }
        if find(ttls::EAP_MESSAGE).is_some() {
            let messages = avps.iter().filter(|avp| avp.kind == ttls::EAP_MESSAGE);
            let packet: Vec<u8> = messages.flat_map(|avp| avp.value.iter().copied()).collect();
            let inner = inner.or_else(|| Authenticator::answered(self.inner_config(), &packet).map(Box::new));
            let Some(mut inner) = inner else {
                return self.fail("EAP inside of TTLS begins with an Identity");
            };
            let step = inner.packet(entropy, &packet);
            return self.inner_step(entropy, inner, step);
        }
        let Some(user) = find(ttls::USER_NAME).filter(|name| name.len() <= 256) else {
            return self.fail("the peer did not say who it is inside of the tunnel");
        };
        let user = String::from_utf8_lossy(user).into_owned();
        let proof = match (find(ttls::MS_CHAP_CHALLENGE), find(ttls::MS_CHAP2_RESPONSE)) {
            (Some(challenge), Some(response)) => self.ms_chap(challenge, response),
            _ => find(ttls::USER_PASSWORD).map(|padded| Proof::Pap(ttls::unpad_password(padded))),
        };
        let Some(proof) = proof else {
            return self
                .fail(&format!("{user}: neither MS-CHAP-V2 for this session, nor a password, nor EAP"));
        };
        self.phase = Phase::Looking(Box::new(Claim { user: user.clone(), proof }));
        MethodStep::Ask(AuthenticatorAsk::User { identity: user })
    }

    /// RFC 5281 §11.2.4: the challenge must be that of this TLS session.
    fn ms_chap(&self, challenge: &[u8], response: &[u8]) -> Option<Proof> {
        let (expected, expected_ident) = self.keys.as_ref()?.challenge()?;
        let (ident, peer, response) = ttls::read_response(response)?;
        let ours = Secret::from(&expected[..]).equals(challenge) && ident == expected_ident;
        ours.then_some(Proof::MsChapV2 { challenge: expected, ident, peer, response })
    }

    /// What is known of the user.
    pub(in crate::eap) fn user(
        &mut self,
        entropy: &mut dyn Entropy,
        known: Result<Option<UserSecret>, Failure>,
    ) -> MethodStep {
        let claim = match core::mem::replace(&mut self.phase, Phase::Handshake) {
            Phase::Looking(claim) => *claim,
            Phase::Inner(mut inner) => {
                let step = inner.user(entropy, known);
                return self.inner_step(entropy, inner, step);
            }
            phase => {
                self.phase = phase;
                return MethodStep::Ignore;
            }
        };
        let known = match known {
            Ok(known) => known,
            Err(why) => return MethodStep::Fail(why),
        };
        let Claim { user, proof } = claim;
        let (hash, expired, exists) = UserSecret::or_nobody(known, entropy);
        let right = match &proof {
            Proof::MsChapV2 { challenge, peer, response, .. } => {
                verify(&hash, Exchange { authenticator: challenge, peer, user: &user }, response)
            }
            Proof::Pap(password) => hash.is_of(password),
        };
        match (right, exists, expired) {
            (true, true, false) => self.proven(user, &proof, &hash),
            (true, true, true) => self.fail(&format!("the password of {user} has expired")),
            (_, false, _) => self.fail(&format!("{user}: a name that is not known")),
            (false, true, _) => self.fail(&format!("{user}: a wrong password")),
        }
    }

    fn proven(&mut self, identity: String, proof: &Proof, hash: &NtHash) -> MethodStep {
        let Some(msk) = self.keys.as_ref().map(Keys::msk) else { return MethodStep::Ignore };
        match proof {
            Proof::Pap(_) => MethodStep::Succeed { msk: Some(msk), identity },
            Proof::MsChapV2 { challenge, ident, peer, response } => {
                let exchange = Exchange { authenticator: challenge, peer, user: &identity };
                let mut value = vec![*ident];
                value.extend(authenticator_response(hash, exchange, response).into_bytes());
                self.phase = Phase::Succeeding { msk, identity };
                write(ttls::write(&[(ttls::MS_CHAP2_SUCCESS, &value)]))
            }
        }
    }

    /// The new password is stored, or not accepted.
    pub(in crate::eap) fn stored(
        &mut self,
        entropy: &mut dyn Entropy,
        result: Result<(), Failure>,
    ) -> MethodStep {
        match core::mem::replace(&mut self.phase, Phase::Handshake) {
            Phase::Inner(mut inner) => {
                let step = inner.stored(entropy, result);
                self.inner_step(entropy, inner, step)
            }
            phase => {
                self.phase = phase;
                MethodStep::Ignore
            }
        }
    }

    /// Why the peer has been refused.
    pub(in crate::eap) fn refusal(&self) -> Option<Failure> {
        match &self.phase {
            Phase::Refused(why) => Some(why.clone()),
            Phase::Inner(inner) => inner.refusal(),
            _ => None,
        }
    }

    fn fail(&self, text: &str) -> MethodStep {
        MethodStep::Fail(failure(self.method, text))
    }
}

const fn write(plain: Secret) -> MethodStep {
    MethodStep::Tls(TlsAsk { records: Vec::new(), write: Some(plain), export: Vec::new() })
}
