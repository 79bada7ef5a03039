//! The peer's side of the methods that run TLS.
//!
//! EAP-Success counts only after what protects it: the handshake's end and, in TLS 1.3, the server's commitment (RFC 9190
//! §2.1.1); in TTLS the inner method's own success; in PEAP the Result that came through the tunnel.

use adit_core::{Entropy, Failure, Secret};

use super::frames::{Frames, Incoming};
use super::peap::{Compound, Cryptobinding, Extensions, Inside};
use super::{
    Binding, InnerConfig, Keys, TlsAnswer, TlsAsk, TlsVersion, TtlsInner, Tunnel, failure, join, ttls,
};
use crate::eap::packet::{Code, Method, Packet, emit};
use crate::eap::peer::{MethodStep, Peer, PeerAsk, PeerConfig, PeerStep};
use crate::mschap::{Challenge, Exchange, NtHash, Refusal, nt_response, verify_authenticator};

/// The method, from its Start on.
pub(in crate::eap) struct TlsPeer {
    method: Method,
    user: String,
    config: InnerConfig,
    /// The Request that is being answered.
    identifier: u8,
    frames: Frames,
    /// Records that go out with the next message.
    out: Vec<u8>,
    tunnel: Option<Tunnel>,
    keys: Option<Keys>,
    phase: Phase,
}

enum Phase {
    /// Nothing has come.
    Idle,
    Handshake,
    /// Key material is asked for. The plaintext came with the handshake's last records.
    Exporting(Secret),
    /// EAP-TLS with TLS 1.3: the server has yet to say that it takes us.
    Committing,
    /// TTLS: our turn comes when what we sent last is acknowledged.
    OurTurn,
    /// EAP inside.
    Inner(Box<Peer>),
    /// TTLS: a person is asked for the password.
    Asking,
    /// TTLS with MS-CHAP-V2: the server's proof is to come.
    Proven(Box<Proof>),
    /// EAP-Success may come.
    Done(Secret),
    /// EAP-Failure will come.
    Refused(Failure),
}

struct Proof {
    challenge: Challenge,
    peer: Challenge,
    response: [u8; 24],
    hash: NtHash,
}

impl TlsPeer {
    pub(in crate::eap) fn new(method: Method, user: String, config: InnerConfig) -> Self {
        Self {
            method,
            user,
            config,
            identifier: 0,
            frames: Frames::default(),
            out: Vec::new(),
            tunnel: None,
            keys: None,
            phase: Phase::Idle,
        }
    }

    /// A Request of this Type.
    pub(in crate::eap) fn request(&mut self, identifier: u8, data: &[u8]) -> MethodStep {
        self.identifier = identifier;
        if matches!(self.phase, Phase::Refused(_)) {
            return self.refused().map_or(MethodStep::Ignore, MethodStep::Fail);
        }
        match self.frames.receive(data) {
            Ok(Incoming::Start) if matches!(self.phase, Phase::Idle) => {
                self.phase = Phase::Handshake;
                ask(TlsAsk { records: Vec::new(), write: None, export: Vec::new() })
            }
            Ok(_) if matches!(self.phase, Phase::Idle) => self.fail("the server did not begin with Start"),
            Ok(Incoming::Start) => MethodStep::Ignore,
            Ok(Incoming::Part) => MethodStep::Respond(Frames::empty()),
            Ok(Incoming::Empty) => match self.frames.next() {
                Some(next) => MethodStep::Respond(next),
                None if matches!(self.phase, Phase::OurTurn) => self.our_turn(),
                None => MethodStep::Respond(Frames::empty()),
            },
            Ok(Incoming::Whole(records)) => ask(TlsAsk { records, write: None, export: Vec::new() }),
            Err(why) => self.fail(&format!("the server's packet is malformed ({why})")),
        }
    }

    /// The engine has done what it was asked.
    pub(in crate::eap) fn tls(&mut self, entropy: &mut dyn Entropy, answer: TlsAnswer) -> MethodStep {
        self.out.extend(answer.records);
        if let Some(why) = answer.failure {
            // Our alert goes out, or theirs is acknowledged (RFC 9190 §2.1.4); EAP-Failure follows.
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
                    ask(TlsAsk { records: Vec::new(), write: None, export })
                }
            },
            Phase::Exporting(plaintext) => match Keys::of(answer.exported) {
                None => self.fail("the TLS engine gave no keys"),
                Some(keys) => self.established(entropy, keys, &plaintext),
            },
            phase => {
                self.phase = phase;
                match join(answer.plaintext) {
                    nothing if nothing.is_empty() && matches!(self.phase, Phase::OurTurn) => self.our_turn(),
                    nothing if nothing.is_empty() => self.flush(),
                    plaintext => self.inside(entropy, &plaintext),
                }
            }
        }
    }

    /// Sends what there is, or acknowledges.
    fn flush(&mut self) -> MethodStep {
        let out = core::mem::take(&mut self.out);
        let handshake = matches!(self.phase, Phase::Handshake);
        MethodStep::Respond(self.frames.send(out, handshake))
    }

    fn established(&mut self, entropy: &mut dyn Entropy, keys: Keys, plaintext: &Secret) -> MethodStep {
        let tls13 = self.tunnel.as_ref().is_some_and(|t| t.version == TlsVersion::Tls13);
        self.phase = match self.method {
            Method::TLS if tls13 => Phase::Committing,
            Method::TLS => Phase::Done(keys.msk()),
            Method::TTLS => Phase::OurTurn,
            _ => Phase::Inner(Box::new(self.inner())),
        };
        self.keys = Some(keys);
        if !plaintext.is_empty() {
            return self.inside(entropy, plaintext);
        }
        match self.phase {
            Phase::OurTurn if self.out.is_empty() => self.our_turn(),
            _ => self.flush(),
        }
    }

    fn inner(&self) -> Peer {
        let (identity, user) = (self.user.clone(), self.user.clone());
        let methods = self.config.methods.iter().copied().filter(|m| !m.runs_tls()).collect();
        Peer::new(PeerConfig { identity, user, methods, inner: self.config.clone() })
    }

    /// The plaintext of the server.
    fn inside(&mut self, entropy: &mut dyn Entropy, plaintext: &Secret) -> MethodStep {
        let plain = plaintext.expose();
        match (self.method, core::mem::replace(&mut self.phase, Phase::Handshake)) {
            (Method::TLS, Phase::Committing) if plain == [0] => {
                let Some(keys) = &self.keys else { return MethodStep::Ignore };
                self.phase = Phase::Done(keys.msk());
                self.flush()
            }
            (Method::TTLS, Phase::Inner(inner)) => self.ttls_eap(inner, plain),
            (Method::TTLS, Phase::Proven(proof)) => self.ttls_proof(&proof, plain),
            (Method::PEAP, Phase::Inner(inner)) => self.peap(entropy, inner, plain),
            _ => self.fail("the server says something inside of the tunnel that the method does not have"),
        }
    }

    fn peap(&mut self, entropy: &mut dyn Entropy, mut inner: Box<Peer>, plain: &[u8]) -> MethodStep {
        match Inside::read(plain) {
            Ok(Inside::Eap(method, data)) => {
                let step = inner.packet(&emit(Code::Request, self.identifier, Some(method), data));
                self.inner_step(inner, step)
            }
            Ok(Inside::Extensions(identifier, extensions)) => {
                self.result(entropy, &mut inner, identifier, extensions)
            }
            Err(why) => self.fail(&format!("what came through the tunnel is malformed ({why})")),
        }
    }

    fn inner_step(&mut self, inner: Box<Peer>, step: PeerStep) -> MethodStep {
        self.phase = Phase::Inner(inner);
        match step {
            PeerStep::Send(packet) => self.write_eap(&packet),
            PeerStep::Ask(what) => MethodStep::Ask(what),
            PeerStep::Ended(Err(why)) => MethodStep::Fail(why),
            PeerStep::Tls(_) | PeerStep::Ended(Ok(_)) | PeerStep::Ignore => self.flush(),
        }
    }

    fn write_eap(&mut self, packet: &[u8]) -> MethodStep {
        let plain = match self.method {
            Method::TTLS => ttls::write(&[(ttls::EAP_MESSAGE, packet)]),
            // PEAP leaves the header out.
            _ => Secret::from(packet.get(4..).unwrap_or_default()),
        };
        write(plain)
    }

    /// PEAP's last word, by way of the tunnel.
    fn result(
        &mut self,
        entropy: &mut dyn Entropy,
        inner: &mut Peer,
        identifier: u8,
        extensions: Extensions,
    ) -> MethodStep {
        let respond = |success, binding| {
            let extensions = Extensions { success: Some(success), binding };
            write(Secret::new(extensions.emit(Code::Response, identifier)))
        };
        let end = if extensions.success == Some(true) { Code::Success } else { Code::Failure };
        let established = match inner.packet(&emit(end, identifier, None, &[])) {
            PeerStep::Ended(Ok(established)) => established,
            PeerStep::Ended(Err(why)) => {
                self.phase = Phase::Refused(why);
                return respond(false, None);
            }
            _ => return self.fail("the server says success before the inner method has proven anything"),
        };
        let Some(keys) = &self.keys else { return MethodStep::Ignore };
        let compound = Compound::derive(&keys.material, established.msk.as_ref());
        match extensions.binding {
            Some(binding) if binding.proves(false, &compound) => {
                let mut nonce = [0; 32];
                entropy.public(&mut nonce);
                self.phase = Phase::Done(compound.msk());
                respond(true, Some(Cryptobinding::make(true, nonce, &compound)))
            }
            Some(_) => {
                let why = failure(self.method, "the server's cryptobinding is wrong").hint(
                    "somebody may be in between: the TLS session and the password do not end at the same server",
                );
                self.phase = Phase::Refused(why);
                respond(false, None)
            }
            None if self.config.binding == Binding::Required => {
                self.phase = Phase::Refused(failure(self.method, "the server does no cryptobinding"));
                respond(false, None)
            }
            None => {
                self.phase = Phase::Done(keys.msk());
                respond(true, None)
            }
        }
    }

    /// TTLS: the peer speaks first.
    fn our_turn(&mut self) -> MethodStep {
        match self.config.ttls {
            TtlsInner::MsChapV2 | TtlsInner::Pap => {
                self.phase = Phase::Asking;
                MethodStep::Ask(PeerAsk::Password { again: None })
            }
            TtlsInner::Eap => {
                let mut inner = Box::new(self.inner());
                let step = inner.packet(&emit(Code::Request, 0, Some(Method::IDENTITY), &[]));
                self.inner_step(inner, step)
            }
        }
    }

    /// A person has answered.
    pub(in crate::eap) fn answer(&mut self, entropy: &mut dyn Entropy, secret: Secret) -> MethodStep {
        match core::mem::replace(&mut self.phase, Phase::Handshake) {
            Phase::Inner(mut inner) => {
                let step = inner.answer(entropy, Ok(secret));
                self.inner_step(inner, step)
            }
            Phase::Asking if self.config.ttls == TtlsInner::Pap => {
                let Some(keys) = &self.keys else { return MethodStep::Ignore };
                self.phase = Phase::Done(keys.msk());
                let padded = ttls::pad_password(&secret);
                write(ttls::write(&[
                    (ttls::USER_NAME, self.user.as_bytes()),
                    (ttls::USER_PASSWORD, padded.as_slice()),
                ]))
            }
            Phase::Asking => self.prove(entropy, &secret),
            phase => {
                self.phase = phase;
                MethodStep::Ignore
            }
        }
    }

    /// Nobody types anything.
    pub(in crate::eap) fn declined(&mut self, entropy: &mut dyn Entropy, why: Failure) -> MethodStep {
        match core::mem::replace(&mut self.phase, Phase::Handshake) {
            Phase::Inner(mut inner) => {
                let step = inner.answer(entropy, Err(why));
                self.inner_step(inner, step)
            }
            _ => MethodStep::Fail(why),
        }
    }

    fn prove(&mut self, entropy: &mut dyn Entropy, password: &Secret) -> MethodStep {
        let Some((challenge, ident)) = self.keys.as_ref().and_then(Keys::challenge) else {
            return self.fail("the TLS engine gave no challenge");
        };
        let Some(hash) = NtHash::of(password) else {
            return self.fail("the password is not UTF-8 text");
        };
        let mut peer = [0; 16];
        entropy.public(&mut peer);
        let exchange = Exchange { authenticator: &challenge, peer: &peer, user: &self.user };
        let response = nt_response(&hash, exchange);
        let plain = ttls::write(&[
            (ttls::USER_NAME, self.user.as_bytes()),
            (ttls::MS_CHAP_CHALLENGE, &challenge),
            (ttls::MS_CHAP2_RESPONSE, &ttls::response(ident, &peer, &response)),
        ]);
        self.phase = Phase::Proven(Box::new(Proof { challenge, peer, response, hash }));
        write(plain)
    }

    fn ttls_proof(&mut self, proof: &Proof, plain: &[u8]) -> MethodStep {
        let avps = match ttls::read(plain) {
            Ok(avps) => avps,
            Err(why) => return self.fail(&format!("what came through the tunnel is malformed ({why})")),
        };
        let find = |kind| avps.iter().find(|avp| avp.kind == kind).map(|avp| avp.value);
        // Both begin with the identifier.
        if let Some([_, text @ ..]) = find(ttls::MS_CHAP_ERROR) {
            self.phase = Phase::Refused(Refusal::read(text).failure("EAP-TTLS"));
            return self.flush();
        }
        let Some([_, text @ ..]) = find(ttls::MS_CHAP2_SUCCESS) else {
            return self.fail("the server answers with something else than MS-CHAP2-Success");
        };
        let exchange = Exchange { authenticator: &proof.challenge, peer: &proof.peer, user: &self.user };
        if !verify_authenticator(&proof.hash, exchange, &proof.response, text) {
            return self.fail("the server could not prove that it knows the password");
        }
        let Some(keys) = &self.keys else { return MethodStep::Ignore };
        self.phase = Phase::Done(keys.msk());
        self.flush()
    }

    fn ttls_eap(&mut self, mut inner: Box<Peer>, plain: &[u8]) -> MethodStep {
        let avps = match ttls::read(plain) {
            Ok(avps) => avps,
            Err(why) => return self.fail(&format!("what came through the tunnel is malformed ({why})")),
        };
        let packet: Vec<u8> = avps
            .iter()
            .filter(|avp| avp.kind == ttls::EAP_MESSAGE)
            .flat_map(|avp| avp.value.iter().copied())
            .collect();
        // Success and Failure are the outer method's to say.
        match Packet::parse(&packet) {
            Ok(Packet { code: Code::Request, .. }) => {
                let step = inner.packet(&packet);
                self.inner_step(inner, step)
            }
            _ => {
                self.phase = Phase::Inner(inner);
                self.flush()
            }
        }
    }

    /// EAP-Success came: the MSK, if it may.
    pub(in crate::eap) fn success(&mut self) -> Option<Secret> {
        match (&mut self.phase, &self.keys) {
            (Phase::Done(msk), _) => Some(msk.duplicate()),
            (Phase::Inner(inner), Some(keys)) if self.method == Method::TTLS => {
                match inner.packet(&emit(Code::Success, self.identifier, None, &[])) {
                    PeerStep::Ended(Ok(_)) => Some(keys.msk()),
                    _ => None,
                }
            }
            _ => None,
        }
    }

    /// Why it failed, where that is known.
    pub(in crate::eap) fn refused(&mut self) -> Option<Failure> {
        match core::mem::replace(&mut self.phase, Phase::Handshake) {
            Phase::Refused(why) => Some(why),
            Phase::Inner(mut inner) => match inner.packet(&emit(Code::Failure, 0, None, &[])) {
                PeerStep::Ended(Err(why)) => Some(why),
                _ => None,
            },
            Phase::Done(_) | Phase::Proven(_) => Some(
                failure(self.method, "the server refused what was said inside of the tunnel")
                    .said("EAP-Failure")
                    .hint("check the name and the password; the server's log says more"),
            ),
            Phase::Committing => {
                Some(failure(self.method, "the server did not take our certificate").said("EAP-Failure"))
            }
            _ => None,
        }
    }

    fn fail(&self, text: &str) -> MethodStep {
        MethodStep::Fail(failure(self.method, text))
    }
}

const fn ask(ask: TlsAsk) -> MethodStep {
    MethodStep::Tls(ask)
}

const fn write(plain: Secret) -> MethodStep {
    MethodStep::Tls(TlsAsk { records: Vec::new(), write: Some(plain), export: Vec::new() })
}
