//! EAP of an initiator (RFC 7296 §2.16): the server has proven itself, and asks; then AUTH of both by the key that came
//! of it.
//!
//! Nothing of ours is outstanding while a person thinks: a request goes out when the answer is there.

use adit_core::{Failure, Step};
use adit_isakmp::payload::{AuthMethod, Authentication, Eap, Identification};
use adit_isakmp::{ExchangeType, Message, Payload};

use super::{Dial, Initiator, Phase, child, ppk};
use crate::api::{Ask, EapStep, EapSuccess};
use crate::auth::{self as proof, EapKey};
use crate::channel::{Handshake, Unreadable};
use crate::explain;
use crate::request::{Request, Retry};
use crate::state::{Cx, Datagram, Next, Role};
use crate::task::Task;
use crate::wire::only;

/// What stays the same through the conversation.
pub(super) struct Talk {
    pub(super) inbound_spi: u32,
    /// IDr: what the server's last AUTH is over.
    pub(super) server: Identification,
    /// It has shown a certificate.
    pub(super) proven: bool,
}

/// An answer is being found, perhaps by a person.
pub(super) struct Asking {
    pub(super) handshake: Box<Handshake>,
    talk: Talk,
}

/// It is on its way.
pub(super) struct Sent {
    pub(super) handshake: Box<Handshake>,
    talk: Talk,
    pub(super) request: Request,
}

/// AUTH is on its way.
pub(super) struct KeySent {
    pub(super) handshake: Box<Handshake>,
    talk: Talk,
    key: EapKey,
    pub(super) request: Request,
}

/// The server has proven itself in its first answer, which has its first EAP packet.
pub(super) fn begin(
    dial: Dial,
    cx: &mut Cx<'_>,
    handshake: Box<Handshake>,
    inbound_spi: u32,
    answer: &Message,
) -> Next {
    let parts = only!(answer, Payload::IdR).and_then(|id| only!(answer, Payload::Eap).map(|eap| (id, eap)));
    match parts {
        Ok((id, eap)) => {
            ask(dial, cx, handshake, Talk { inbound_spi, server: id.clone(), proven: true }, eap)
        }
        Err(why) => no_packet(dial, cx, handshake, answer, why),
    }
}

/// An EAP packet has come.
pub(super) fn ask(dial: Dial, cx: &mut Cx<'_>, handshake: Box<Handshake>, talk: Talk, eap: &Eap) -> Next {
    let packet = Some(proof::eap_packet(eap));
    Initiator::asking(dial, cx, Ask::Eap { packet }, Phase::EapAsking(Asking { handshake, talk }))
}

/// It comes to nothing, and the server waits: one word, without waiting for an answer.
pub(super) fn leave(dial: Dial, cx: &mut Cx<'_>, handshake: Box<Handshake>, why: Failure) -> Next {
    dial.ike(cx, handshake).courtesy(cx);
    Next::failed(why)
}

/// The server ends the conversation with an error, or has lost its way.
fn no_packet(dial: Dial, cx: &mut Cx<'_>, handshake: Box<Handshake>, answer: &Message, why: String) -> Next {
    match answer.notifies().find(|n| n.kind.is_error()) {
        Some(notify) => Next::failed(explain::auth_refused(&dial.config, notify)),
        None => leave(dial, cx, handshake, unusable(why)),
    }
}

fn unusable(why: impl core::fmt::Display) -> Failure {
    explain::misbehaved(Step::Authenticate, format!("the server's answer to IKE_AUTH: {why}"))
}

impl Asking {
    pub(super) fn answered(self, dial: Dial, cx: &mut Cx<'_>, result: Result<EapStep, Failure>) -> Next {
        let Self { mut handshake, talk } = self;
        match result {
            Ok(EapStep::Send(packet)) => {
                let payload = proof::eap_payload(&packet);
                match payload.and_then(|payload| request(&dial, cx, &mut handshake, vec![payload])) {
                    Ok(request) => Initiator::sent(dial, Phase::EapSent(Sent { handshake, talk, request })),
                    Err(why) => leave(dial, cx, handshake, why),
                }
            }
            Ok(EapStep::Succeeded(success)) => succeeded(dial, cx, handshake, talk, *success),
            Ok(EapStep::Failed(_, why)) | Err(why) => leave(dial, cx, handshake, why),
        }
    }

    /// Nobody has answered.
    pub(super) fn give_up(self, dial: Dial, cx: &mut Cx<'_>, why: Failure) -> Next {
        leave(dial, cx, self.handshake, why)
    }
}

/// The next request of IKE_AUTH.
fn request(
    dial: &Dial,
    cx: &mut Cx<'_>,
    handshake: &mut Handshake,
    payloads: Vec<Payload>,
) -> Result<Request, Failure> {
    handshake.rounds = handshake.rounds.saturating_add(1);
    let (what, timing) = ((ExchangeType::IKE_AUTH, handshake.auth_id()), &dial.config.timing);
    Request::seal_and_send(cx, &mut handshake.channel, what, payloads, timing)
}

/// The method has succeeded; AUTH is made by its key.
pub(super) struct Proven {
    talk: Talk,
    key: EapKey,
}

/// The method has succeeded: AUTH by its key follows EAP-Success.
fn succeeded(
    dial: Dial,
    cx: &mut Cx<'_>,
    handshake: Box<Handshake>,
    talk: Talk,
    success: EapSuccess,
) -> Next {
    let enough = talk.proven || success.mutual && success.msk.is_some();
    if !enough {
        return leave(dial, cx, handshake, explain::eap_not_mutual());
    }
    let proven = Proven { talk, key: EapKey::of(success.msk) };
    ppk::begin(dial, cx, handshake, ppk::Then::Eap(Box::new(proven)))
}

pub(super) fn prove(dial: Dial, cx: &mut Cx<'_>, mut handshake: Box<Handshake>, proven: Proven) -> Next {
    let Proven { talk, key } = proven;
    let id = Identification::from(&dial.config.local_id);
    let by_key = |handshake: &Handshake| {
        let auth = key.prove(cx, handshake, Role::Initiator, &id);
        Authentication::shared_key(auth.expose())
    };
    let auth = by_key(&handshake);
    // [8784:3-13] [8784:3-7]
    let optional = dial.config.ppk.as_ref().is_some_and(|rule| !rule.required);
    let plain = if optional { handshake.without_ppk(by_key) } else { None };
    let mut payloads = vec![Payload::Auth(auth)];
    payloads.extend(ppk::named(&dial, &handshake, plain));
    // [7296:2.16-8]
    match request(&dial, cx, &mut handshake, payloads) {
        Ok(request) => Initiator::sent(dial, Phase::KeySent(KeySent { handshake, talk, key, request })),
        Err(failure) => Next::failed(failure),
    }
}

/// Whether this is the response that is waited for.
fn in_place(handshake: &Handshake, datagram: &Datagram) -> bool {
    datagram.is_response
        && datagram.message_id == handshake.auth_id()
        && datagram.exchange == ExchangeType::IKE_AUTH.0
}

/// What is no use in any answer.
fn critical(answer: &Message) -> Option<Failure> {
    let kind = answer.unsupported_critical()?;
    Some(unusable(format!("it has a critical payload of unknown type {}", kind.0)))
}

impl Sent {
    pub(super) fn datagram(mut self, dial: Dial, cx: &mut Cx<'_>, mut datagram: Datagram) -> Next {
        if !in_place(&self.handshake, &datagram) {
            cx.ignore();
            return Initiator::sent(dial, Phase::EapSent(self));
        }
        let answer = match self.handshake.channel.open(cx, &mut datagram) {
            Ok(answer) => answer,
            Err(Unreadable::Forged | Unreadable::Incomplete) => {
                return Initiator::sent(dial, Phase::EapSent(self));
            }
            Err(Unreadable::Malformed(error)) => return leave(dial, cx, self.handshake, unusable(error)),
        };
        if let Some(why) = critical(&answer) {
            return leave(dial, cx, self.handshake, why);
        }
        match only!(answer, Payload::Eap) {
            Ok(eap) => ask(dial, cx, self.handshake, self.talk, eap),
            Err(why) => no_packet(dial, cx, self.handshake, &answer, why),
        }
    }

    pub(super) fn wake(mut self, dial: Dial, cx: &mut Cx<'_>) -> Next {
        match retry(cx, &mut self.request, &mut self.handshake) {
            None => Initiator::sent(dial, Phase::EapSent(self)),
            Some(failure) => Next::failed(failure),
        }
    }
}

impl KeySent {
    pub(super) fn datagram(mut self, dial: Dial, cx: &mut Cx<'_>, mut datagram: Datagram) -> Next {
        if !in_place(&self.handshake, &datagram) {
            cx.ignore();
            return Initiator::sent(dial, Phase::KeySent(self));
        }
        match self.handshake.channel.open(cx, &mut datagram) {
            Ok(answer) => self.answered(dial, cx, &answer),
            Err(Unreadable::Forged | Unreadable::Incomplete) => Initiator::sent(dial, Phase::KeySent(self)),
            Err(Unreadable::Malformed(error)) => {
                dial.refuse(cx, self.handshake, Task::DeleteIke, unusable(error))
            }
        }
    }

    fn answered(self, dial: Dial, cx: &mut Cx<'_>, answer: &Message) -> Next {
        let Self { mut handshake, talk, key, .. } = self;
        if let Some(why) = critical(answer) {
            return dial.refuse(cx, handshake, Task::DeleteIke, why);
        }
        let auth = match only!(answer, Payload::Auth) {
            Ok(auth) => auth,
            Err(why) => return no_packet(dial, cx, handshake, answer, why),
        };
        if let Err(why) = handshake.settle_ppk(answer, dial.config.ppk.as_ref()) {
            return dial.refuse(cx, handshake, Task::Reject, why);
        }
        let expected = key.prove(cx, &handshake, Role::Responder, &talk.server);
        if auth.method != AuthMethod::SHARED_KEY || !expected.equals(&auth.data) {
            return dial.refuse(cx, handshake, Task::Reject, explain::eap_broken());
        }
        child::begin(dial, cx, handshake, talk.inbound_spi, answer)
    }

    pub(super) fn wake(mut self, dial: Dial, cx: &mut Cx<'_>) -> Next {
        match retry(cx, &mut self.request, &mut self.handshake) {
            None => Initiator::sent(dial, Phase::KeySent(self)),
            Some(failure) => Next::failed(failure),
        }
    }
}

/// Sends it again if that is due; a failure when it was sent for the last time.
fn retry(cx: &mut Cx<'_>, request: &mut Request, handshake: &mut Handshake) -> Option<Failure> {
    let path = handshake.channel.path;
    if request.wake_on(cx, &mut handshake.channel) == Retry::Waiting {
        return None;
    }
    Some(explain::unreachable(path.remote, Step::Authenticate, request.sent(), request.age(cx.now)))
}
