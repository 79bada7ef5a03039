//! IKE_AUTH of a responder: who is it, and can it prove that (RFC 7296 §1.2, §2.15, §2.21.2)?

use adit_core::{Failure, Identity, Secret, Step, TrafficSelector};
use adit_isakmp::payload::{AuthMethod, Authentication, Identification, Notify, NotifyType};
use adit_isakmp::{Message, Payload};

use super::child::Key;
use super::ppk::{Named, Then};
use super::{Asked, Half, Phase, Responder, child, eap, ppk, refuse, resume};
use crate::api::{Ask, RemoteAuth, ResponderConfig};
use crate::auth as proof;
use crate::channel::Handshake;
use crate::explain;
use crate::state::{Cx, Next, Role};
use crate::task::mobike;
use crate::wire::{self, at_most_one, only};

/// A request whose sender has the IKE_SA's keys, and has proven nothing else.
pub(super) struct Claim {
    pub(super) handshake: Box<Handshake>,
    pub(super) asked: Asked,
    pub(super) message: Message,
    pub(super) id: Identification,
    pub(super) remote: Identity,
}

/// The configuration for this peer is being looked up.
pub(super) struct Choosing {
    claim: Claim,
    /// `None`: it asks for EAP (RFC 7296 §2.16).
    auth: Option<Authentication>,
}

/// Its proof is being checked.
pub(super) struct Checking {
    pub(super) claim: Claim,
    pub(super) config: Box<ResponderConfig>,
    pub(super) auth: Authentication,
    /// Why it is not let in, whatever it proves.
    pub(super) unfit: Option<String>,
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
        let notify = wire::unsupported(kind);
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
    if let Some(grant) = handshake.resumed.as_mut().and_then(|resumed| resumed.grant.take()) {
        let claim = Claim { handshake, asked, message, id, remote };
        return resume::check(half, cx, claim, wanted.as_ref(), auth.as_ref(), grant);
    }
    handshake.asked = proof::asked_authorities(&message.payloads);
    let (path, eap) = (handshake.channel.path, auth.is_none());
    let transport = asked_transport(&message);
    let ask = Ask::Connection { remote: remote.clone(), asked: wanted, path, eap, transport };
    let claim = Claim { handshake, asked, message, id, remote };
    Responder::asking(half, cx, ask, Phase::Choosing(Choosing { claim, auth }))
}

/// What of this side a peer asks for in transport mode (RFC 7296 §1.3.1).
fn asked_transport(message: &Message) -> Vec<TrafficSelector> {
    if message.notify(NotifyType::USE_TRANSPORT_MODE).is_none() {
        return Vec::new();
    }
    let ours = message.payloads.iter().find_map(|p| if let Payload::TsR(ts) = p { Some(ts) } else { None });
    ours.map(|ts| ts.ranges().collect()).unwrap_or_default()
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
        let Self { claim, auth } = self;
        let config = match result {
            Ok(config) => config,
            Err(why) => return claim.refuse(cx, why),
        };
        let Some(auth) = auth else {
            return eap::begin(half, cx, claim, config);
        };
        let named = Named::read(&claim.handshake, &claim.message, config.ppk);
        let checking = Checking { claim, config, auth, unfit: None };
        ppk::begin(half, cx, named, Then::Check(checking))
    }
}

impl Checking {
    /// Gets what the peer's proof is checked with. The work is what that needs, not what the connection wants: so it does
    /// not tell a name that is known from one that is not. The connection's word is the last.
    pub(super) fn begin(self, half: Half, cx: &mut Cx<'_>) -> Next {
        let Self { claim, config, auth, .. } = &self;
        // [7296:1.2-3]
        if auth.method == AuthMethod::SHARED_KEY {
            let ask = Ask::Psk { local: config.local_id.clone(), remote: claim.remote.clone() };
            return Responder::asking(half, cx, ask, Phase::Checking(self));
        }
        let signature = match proof::received(auth) {
            Ok(signature) => signature,
            Err(_) if matches!(config.remote_auth, RemoteAuth::Psk) => {
                let why = explain::other_method("pre-shared key", &auth.method.to_string());
                return self.claim.refuse(cx, why);
            }
            Err(why) => return self.claim.refuse(cx, why),
        };
        let Some(certificates) = proof::certificates(&claim.message.payloads) else {
            return self.claim.refuse(cx, "it sent more than 10 certificates");
        };
        let ask = Ask::Verify {
            identity: claim.remote.clone(),
            certificates,
            scheme: signature.scheme,
            encoding: signature.encoding,
            message: proof::octets(cx, &claim.handshake, Role::Initiator, &claim.id),
            signature: signature.bytes,
        };
        Responder::asking(half, cx, ask, Phase::Checking(self))
    }

    pub(super) fn key(self, half: Half, cx: &mut Cx<'_>, result: Result<Secret, Failure>) -> Next {
        let Self { claim, config, auth, unfit } = self;
        let key = match result {
            Ok(key) => key,
            Err(why) => return claim.refuse(cx, why),
        };
        let octets = proof::octets(cx, &claim.handshake, Role::Initiator, &claim.id);
        let expected = proof::by_key(cx, &claim.handshake, &key, &octets);
        let proven = auth.method == AuthMethod::SHARED_KEY && expected.equals(&auth.data);
        if let Some(why) = unfit {
            return claim.refuse(cx, why);
        }
        match &config.remote_auth {
            // [7296:4-10]
            RemoteAuth::Certificate { .. } => claim.refuse(cx, "it has to show a certificate"),
            RemoteAuth::Eap { .. } => claim.refuse(cx, "it has to prove itself by EAP"),
            // [7296:1.2-2]
            RemoteAuth::Psk if !proven => {
                claim.refuse(cx, "it has another pre-shared key, or nobody here has this name")
            }
            RemoteAuth::Psk => child::begin(half, cx, claim, config, Key::Psk(key)),
        }
    }

    pub(super) fn verified(self, half: Half, cx: &mut Cx<'_>, result: Result<(), Failure>) -> Next {
        let Self { claim, config, unfit, .. } = self;
        if let Some(why) = unfit {
            return claim.refuse(cx, why);
        }
        match (result, &config.remote_auth) {
            (Ok(()), RemoteAuth::Certificate { .. }) => child::begin(half, cx, claim, config, Key::None),
            (_, RemoteAuth::Eap { .. }) => claim.refuse(cx, "it has to prove itself by EAP"),
            (_, RemoteAuth::Psk) => claim.refuse(cx, "it has to prove itself with a pre-shared key"),
            (Err(why), _) => claim.refuse(cx, why),
        }
    }
}
