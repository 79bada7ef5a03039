//! EAP of a responder (RFC 7296 §2.16): our proof goes with the first EAP packet, the peer's AUTH comes after the last.
//!
//! Eap → Sign → answered → [Eap → answered →]* AUTH comes. What the peer is granted was in its first request.

use adit_core::{Failure, SignatureScheme, Step};
use adit_isakmp::payload::{AuthMethod, Authentication, Delete, Identification, Notify, NotifyType};
use adit_isakmp::{ExchangeType, Message, Payload};

use super::auth::{Claim, failed};
use super::child::{self, Key, proof_payloads};
use super::ppk::{self, Named, Then};
use super::{Asked, Half, Phase, Responder, refuse};
use crate::api::{Ask, EapStep, EapSuccess, LocalAuth, RemoteAuth, ResponderConfig, SignatureEncoding};
use crate::auth::{self as proof, EapKey};
use crate::channel::Unreadable;
use crate::explain;
use crate::linger::Answered;
use crate::state::{Cx, Datagram, Next, Role};
use crate::wire::{self, only};

/// What stays the same through the conversation. `claim.asked` is the request that is to be answered, `claim.message` the
/// first one.
pub(super) struct Talk {
    pub(super) claim: Claim,
    pub(super) config: Box<ResponderConfig>,
    /// We show no certificate: the peer wants none (RFC 5998).
    only: bool,
}

/// The next packet is being found.
pub(super) struct Asking {
    talk: Talk,
    /// It goes with our proof.
    first: bool,
}

/// Our proof for the first answer is being made.
pub(super) struct Proving {
    talk: Talk,
    packet: Payload,
    encoding: SignatureEncoding,
}

/// An answer is out; this is to come.
pub(super) struct Answering {
    talk: Talk,
    answered: Answered,
    /// AUTH by this key. `None`: another EAP packet.
    key: Option<EapKey>,
}

/// AUTH has come.
pub(super) struct Admitting {
    pub(super) talk: Talk,
    key: EapKey,
    pub(super) auth: Authentication,
}

pub(super) fn begin(mut half: Half, cx: &mut Cx<'_>, claim: Claim, config: Box<ResponderConfig>) -> Next {
    let RemoteAuth::Eap { only } = config.remote_auth else {
        return claim.refuse(cx, "it wants EAP");
    };
    let only = only && claim.message.notify(NotifyType::EAP_ONLY_AUTHENTICATION).is_some();
    // [7296:2.16-1] [7296:5-3]
    if !only && !matches!(config.local_auth, LocalAuth::Signature { .. }) {
        return claim.refuse(cx, "EAP needs a certificate of this server");
    }
    half.until = half.until.max(cx.now + config.timing.eap);
    let talk = Talk { claim, config, only };
    let phase = Phase::EapAsking(Asking { talk, first: true });
    Responder::asking(half, cx, Ask::Eap { packet: None }, phase)
}

impl Asking {
    pub(super) fn answered(self, half: Half, cx: &mut Cx<'_>, result: Result<EapStep, Failure>) -> Next {
        let Self { talk, first } = self;
        match result {
            Ok(EapStep::Send(packet)) => match proof::eap_payload(&packet) {
                Ok(packet) if first => talk.prove(half, cx, packet),
                Ok(packet) => talk.respond(half, cx, &[packet], None),
                Err(why) => talk.claim.refuse(cx, why),
            },
            Ok(EapStep::Succeeded(_)) if first => talk.claim.refuse(cx, "EAP succeeded before it began"),
            Ok(EapStep::Succeeded(success)) => talk.succeeded(half, cx, *success),
            Ok(EapStep::Failed(packet, why)) => talk.failed(cx, &packet, why),
            Err(why) => talk.claim.refuse(cx, why),
        }
    }
}

impl Talk {
    fn prove(mut self, half: Half, cx: &mut Cx<'_>, packet: Payload) -> Next {
        let LocalAuth::Signature { own } = &self.config.local_auth else {
            return self.first(half, cx, packet, None);
        };
        if self.only {
            return self.first(half, cx, packet, None);
        }
        let id = Identification::from(&self.config.local_id);
        let message = proof::octets(cx, &self.claim.handshake, Role::Responder, &id);
        match proof::ask_to_sign(own, &mut self.claim.handshake, message) {
            Ok((ask, encoding)) => {
                let phase = Phase::EapProving(Proving { talk: self, packet, encoding });
                Responder::asking(half, cx, ask, phase)
            }
            Err(why) => self.claim.refuse(cx, why),
        }
    }

    /// `IDr, [CERT, AUTH,] EAP` (RFC 7296 appendix C.3, RFC 5998 §3).
    fn first(self, half: Half, cx: &mut Cx<'_>, packet: Payload, auth: Option<Authentication>) -> Next {
        let mut payloads = proof_payloads(&self.config, self.claim.handshake.own, auth);
        payloads.push(packet);
        self.respond(half, cx, &payloads, None)
    }

    /// The method has succeeded: EAP-Success, and the peer's AUTH is to come.
    fn succeeded(mut self, half: Half, cx: &mut Cx<'_>, success: EapSuccess) -> Next {
        let enough = !self.only || success.mutual && success.msk.is_some();
        if !enough {
            return self.claim.refuse(cx, explain::eap_not_mutual());
        }
        let packet = match proof::eap_payload(&success.packet) {
            Ok(packet) => packet,
            Err(why) => return self.claim.refuse(cx, why),
        };
        if let Some((remote, mut config)) = success.peer {
            // Our own part has been said.
            config.local_id = self.config.local_id;
            (self.claim.remote, self.config) = (remote, config);
        }
        // [7296:2.16-6]
        self.respond(half, cx, &[packet], Some(EapKey::of(success.msk)))
    }

    /// The method has failed: EAP-Failure says so, and nothing else.
    fn failed(self, cx: &mut Cx<'_>, packet: &[u8], why: Failure) -> Next {
        let Claim { handshake, asked, remote, .. } = self.claim;
        let why = explain::not_let_in(&remote.to_string(), why);
        // [7296:2.16-7]
        let payload = proof::eap_payload(packet).unwrap_or_else(|_| failed());
        refuse(cx, handshake, &asked, &[payload], why)
    }

    fn respond(mut self, half: Half, cx: &mut Cx<'_>, payloads: &[Payload], key: Option<EapKey>) -> Next {
        let handshake = &mut self.claim.handshake;
        let message_id = handshake.auth_id();
        let response = match handshake.channel.seal(cx, ExchangeType::IKE_AUTH, message_id, true, payloads) {
            Ok(response) => response,
            Err(failure) => return Next::failed(failure),
        };
        response.transmit(cx, self.claim.asked.path);
        let answered = Answered::new(message_id, self.claim.asked.digest, response);
        handshake.rounds = handshake.rounds.saturating_add(1);
        Responder::sent(half, Phase::EapAnswered(Answering { talk: self, answered, key }))
    }
}

impl Admitting {
    /// The peer proves that it is who EAP has said.
    // [7296:2.16-2]
    pub(super) fn admit(self, half: Half, cx: &mut Cx<'_>) -> Next {
        let Self { talk: Talk { claim, config, .. }, key, auth } = self;
        // [7296:2.16-3]
        let expected = key.prove(cx, &claim.handshake, Role::Initiator, &claim.id);
        if auth.method != AuthMethod::SHARED_KEY || !expected.equals(&auth.data) {
            return claim.refuse(cx, explain::eap_broken());
        }
        child::begin(half, cx, claim, config, Key::Eap(key))
    }
}

impl Proving {
    pub(super) fn signed(
        self,
        half: Half,
        cx: &mut Cx<'_>,
        result: Result<(SignatureScheme, Vec<u8>), Failure>,
    ) -> Next {
        let Self { talk, packet, encoding } = self;
        match result.map(|(scheme, signature)| proof::signed(scheme, encoding, &signature)) {
            Ok(Some(auth)) => talk.first(half, cx, packet, Some(auth)),
            Ok(None) => talk.claim.refuse(cx, explain::no_common_signature()),
            Err(why) => talk.claim.refuse(cx, why),
        }
    }
}

impl Answering {
    fn stay(self, half: Half) -> Next {
        Responder::sent(half, Phase::EapAnswered(self))
    }

    pub(super) fn datagram(mut self, half: Half, cx: &mut Cx<'_>, mut datagram: Datagram) -> Next {
        let next = self.talk.claim.handshake.auth_id();
        let exchange = ExchangeType(datagram.exchange);
        let expected = [ExchangeType::IKE_AUTH, ExchangeType::INFORMATIONAL].contains(&exchange);
        if datagram.is_response || datagram.message_id != next || !expected {
            self.repeat(cx, &mut datagram);
            return self.stay(half);
        }
        let mut asked = Asked { digest: Answered::digest(cx, &datagram.bytes), path: datagram.path };
        let channel = &mut self.talk.claim.handshake.channel;
        let opened = channel.open(cx, &mut datagram);
        asked.digest = channel.fragmented.unwrap_or(asked.digest);
        let message = match opened {
            Ok(message) => message,
            Err(Unreadable::Forged | Unreadable::Incomplete) => return self.stay(half),
            Err(Unreadable::Malformed(error)) => {
                self.talk.claim.asked = asked;
                return self.malformed(cx, &error.to_string());
            }
        };
        if exchange == ExchangeType::INFORMATIONAL {
            return self.informed(half, cx, &message);
        }
        // [7296:2.23-1]
        channel.path = datagram.path;
        self.talk.claim.asked = asked;
        self.request(half, cx, &message)
    }

    /// Half an IKE_SA has no INFORMATIONAL exchange; but who says so that it leaves does not come back.
    fn informed(self, half: Half, cx: &mut Cx<'_>, message: &Message) -> Next {
        let deletes = message.payloads.iter().any(|p| matches!(p, Payload::Delete(Delete::Ike)));
        if deletes || message.notify(NotifyType::AUTHENTICATION_FAILED).is_some() {
            return Next::failed(explain::peer_refused_us(self.talk.claim.handshake.channel.path));
        }
        cx.ignore();
        self.stay(half)
    }

    fn request(mut self, half: Half, cx: &mut Cx<'_>, message: &Message) -> Next {
        // [7296:2.5-8]
        if let Some(kind) = message.unsupported_critical() {
            let notify = Payload::Notify(wire::unsupported(kind));
            let text = format!("IKE_AUTH has a critical payload of unknown type {}", kind.0);
            let Claim { handshake, asked, .. } = self.talk.claim;
            return refuse(cx, handshake, &asked, &[notify], explain::misbehaved(Step::Authenticate, text));
        }
        if let Some(key) = self.key.take() {
            let auth = match only!(message, Payload::Auth) {
                Ok(auth) => auth.clone(),
                Err(why) => return self.malformed(cx, &why),
            };
            // [8784:3-13]
            let named = Named::read(&self.talk.claim.handshake, message, self.talk.config.ppk);
            let admitting = Admitting { talk: self.talk, key, auth };
            return ppk::begin(half, cx, named, Then::Admit(admitting));
        }
        match only!(message, Payload::Eap) {
            Ok(eap) => {
                let packet = Some(proof::eap_packet(eap));
                let phase = Phase::EapAsking(Asking { talk: self.talk, first: false });
                Responder::asking(half, cx, Ask::Eap { packet }, phase)
            }
            Err(why) => self.malformed(cx, &why),
        }
    }

    fn malformed(self, cx: &mut Cx<'_>, why: &str) -> Next {
        let notify = Payload::Notify(Notify::new(NotifyType::INVALID_SYNTAX, []));
        let Claim { handshake, asked, .. } = self.talk.claim;
        let why = explain::misbehaved(Step::Authenticate, format!("IKE_AUTH: {why}"));
        refuse(cx, handshake, &asked, &[notify], why)
    }

    /// The request before, again, gets the same answer.
    fn repeat(&mut self, cx: &mut Cx<'_>, datagram: &mut Datagram) {
        let again = datagram.exchange == ExchangeType::IKE_AUTH.0
            && !datagram.is_response
            && self.answered.is_of(datagram.message_id);
        if !again {
            return cx.ignore();
        }
        let channel = &mut self.talk.claim.handshake.channel;
        if !self.answered.repeat(cx, datagram) && channel.is_first_fragment(cx, datagram) {
            self.answered.repeat_to(cx, datagram.path);
        }
    }
}
