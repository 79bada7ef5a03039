//! IKE_AUTH of a responder: who is it, and can it prove that (RFC 7296 §1.2, §2.15, §2.21.2)?

use adit_core::{Failure, Identity, Secret, Step};
use adit_isakmp::payload::{AuthMethod, Authentication, Identification, Notify, NotifyType};
use adit_isakmp::{Message, Payload};

use super::child::Key;
use super::{Asked, Half, Phase, Responder, child, eap, ppk, refuse};
use crate::api::{Ask, RemoteAuth, ResponderConfig};
use crate::auth as proof;
use crate::channel::Handshake;
use crate::explain;
use crate::state::{Cx, Next, Role};
use crate::task::mobike;
use crate::wire::{at_most_one, only};

/// A request whose sender has the IKE_SA's keys, and has proven nothing else.
pub(super) struct Claim {
    pub(super) handshake: Box<Handshake>,
    pub(super) asked: Asked,
    pub(super) message: Message,
    pub(super) id: Identification,
    pub(super) remote: Identity,
    /// `None`: it asks for EAP (RFC 7296 §2.16).
    pub(super) auth: Option<Authentication>,
}

/// The configuration for this peer is being looked up.
pub(super) struct Choosing {
    claim: Claim,
}

/// Its proof is being checked.
pub(super) struct Checking {
    claim: Claim,
    config: Box<ResponderConfig>,
}

pub(super) fn begin(
    half: Half,
    cx: &mut Cx<'_>,
    mut handshake: Box<Handshake>,
    asked: Asked,
    message: Message,
) -> Next {
    // [7296:2.5-8] [7296:2.21.2-1] [7296:4-3]
    if let Some(kind) = message.unsupported_critical() {
        let notify = Notify::new(NotifyType::UNSUPPORTED_CRITICAL_PAYLOAD, [kind.0]);
        let text = format!("IKE_AUTH has a critical payload of unknown type {}", kind.0);
        let why = explain::misbehaved(Step::Authenticate, text);
        return refuse(cx, handshake, &asked, &[Payload::Notify(notify)], why);
    }
    if !mobike::came_as_sent(&message, asked.path) {
        let notify = Payload::Notify(Notify::new(NotifyType::UNEXPECTED_NAT_DETECTED, []));
        let why = explain::not_let_in("a peer that forbids NATs", "there is one on the way");
        return refuse(cx, handshake, &asked, &[notify], why);
    }
    let parts = only!(message, Payload::IdI).and_then(|id| {
        let asked = at_most_one!(message, Payload::IdR)?;
        let auth = at_most_one!(message, Payload::Auth)?;
        Ok((id.clone(), asked.and_then(Identification::identity), auth.cloned()))
    });
    let (id, wanted, auth) = match parts {
        Ok(parts) => parts,
        Err(why) => {
            // [7296:2.21.2-1] [7296:3.10.1-4]
            let notify = Payload::Notify(Notify::new(NotifyType::INVALID_SYNTAX, []));
            let why = explain::misbehaved(Step::Authenticate, format!("IKE_AUTH: {why}"));
            return refuse(cx, handshake, &asked, &[notify], why);
        }
    };
    let claimed = proof::describe(&id);
    let Some(remote) = id.identity() else {
        let why = explain::not_let_in(&claimed, "it has an identity of an unknown type");
        return refuse(cx, handshake, &asked, &[failed()], why);
    };
    handshake.asked = proof::asked_authorities(&message.payloads);
    let (path, eap) = (handshake.channel.path, auth.is_none());
    let ask = Ask::Connection { remote: remote.clone(), asked: wanted, path, eap };
    let claim = Claim { handshake, asked, message, id, remote, auth };
    Responder::asking(half, cx, ask, Phase::Choosing(Choosing { claim }))
}

/// The only word that a peer hears that was not let in.
pub(super) fn failed() -> Payload {
    Payload::Notify(Notify::new(NotifyType::AUTHENTICATION_FAILED, []))
}

impl Claim {
    pub(super) fn refuse(self, cx: &mut Cx<'_>, why: impl core::fmt::Display) -> Next {
        let why = explain::not_let_in(&self.remote.to_string(), why);
        refuse(cx, self.handshake, &self.asked, &[failed()], why)
    }
}

impl Choosing {
    pub(super) fn chosen(
        self,
        half: Half,
        cx: &mut Cx<'_>,
        result: Result<Box<ResponderConfig>, Failure>,
    ) -> Next {
        let claim = self.claim;
        let config = match result {
            Ok(config) => config,
            Err(why) => return claim.refuse(cx, why),
        };
        if claim.auth.is_none() {
            return eap::begin(half, cx, claim, config);
        }
        ppk::begin(half, cx, claim, config)
    }
}

/// Gets what the peer's proof is checked with.
pub(super) fn check(half: Half, cx: &mut Cx<'_>, claim: Claim, config: Box<ResponderConfig>) -> Next {
    let Some(auth) = &claim.auth else {
        return claim.refuse(cx, "it has to prove itself");
    };
    // The work is what the peer's proof needs, not what the connection wants: so it does not tell a name that is
    // known from one that is not. The connection's word is the last.
    let ask = match auth.method {
        // [7296:1.2-3]
        AuthMethod::SHARED_KEY => Ask::Psk { local: config.local_id.clone(), remote: claim.remote.clone() },
        _ => {
            let signature = match proof::received(auth) {
                Ok(signature) => signature,
                Err(_) if matches!(config.remote_auth, RemoteAuth::Psk) => {
                    let why = explain::other_method("pre-shared key", &auth.method.to_string());
                    return claim.refuse(cx, why);
                }
                Err(why) => return claim.refuse(cx, why),
            };
            let Some(certificates) = proof::certificates(&claim.message.payloads) else {
                return claim.refuse(cx, "it sent more than 10 certificates");
            };
            Ask::Verify {
                identity: claim.remote.clone(),
                certificates,
                scheme: signature.scheme,
                encoding: signature.encoding,
                message: proof::octets(cx, &claim.handshake, Role::Initiator, &claim.id),
                signature: signature.bytes,
            }
        }
    };
    Responder::asking(half, cx, ask, Phase::Checking(Checking { claim, config }))
}

impl Checking {
    pub(super) fn key(self, half: Half, cx: &mut Cx<'_>, result: Result<Secret, Failure>) -> Next {
        let Self { claim, config } = self;
        let key = match result {
            Ok(key) => key,
            Err(why) => return claim.refuse(cx, why),
        };
        let octets = proof::octets(cx, &claim.handshake, Role::Initiator, &claim.id);
        let expected = proof::by_key(cx, &claim.handshake, &key, &octets);
        let by_key = claim.auth.as_ref().filter(|auth| auth.method == AuthMethod::SHARED_KEY);
        let proven = by_key.is_some_and(|auth| expected.equals(&auth.data));
        match &config.remote_auth {
            // [7296:4-10]
            RemoteAuth::Certificate { .. } => claim.refuse(cx, "it has to show a certificate"),
            RemoteAuth::Eap { .. } => claim.refuse(cx, "it has to prove itself by EAP"),
            RemoteAuth::Psk if by_key.is_none() => claim.refuse(cx, "it has to show a pre-shared key"),
            // [7296:1.2-2]
            RemoteAuth::Psk if !proven => {
                claim.refuse(cx, "it has another pre-shared key, or nobody here has this name")
            }
            RemoteAuth::Psk => child::begin(half, cx, claim, config, Key::Psk(key)),
        }
    }

    pub(super) fn verified(self, half: Half, cx: &mut Cx<'_>, result: Result<(), Failure>) -> Next {
        let Self { claim, config } = self;
        match (result, &config.remote_auth) {
            (Ok(()), RemoteAuth::Certificate { .. }) => child::begin(half, cx, claim, config, Key::None),
            (_, RemoteAuth::Eap { .. }) => claim.refuse(cx, "it has to prove itself by EAP"),
            (_, RemoteAuth::Psk) => claim.refuse(cx, "it has to prove itself with a pre-shared key"),
            (Err(why), _) => claim.refuse(cx, why),
        }
    }
}
