//! IKE_INTERMEDIATE of an initiator: Generate → sent → Agree, for each additional key exchange; then IKE_AUTH.

use adit_core::{Failure, FailureCode, Secret, Step};
use adit_isakmp::crypto::{CryptoError, KeyExchange};
use adit_isakmp::payload::NotifyType;
use adit_isakmp::{ExchangeType, KeMethod};

use super::init::crypto_failed;
use super::{Dial, Initiator, Phase, auth};
use crate::api::Ask;
use crate::channel::{Handshake, Unreadable};
use crate::explain;
use crate::intermediate::{payload, public, unusable};
use crate::request::{Request, Retry};
use crate::state::{Cx, Datagram, Next, Role};

/// A key pair is being made.
pub(super) struct Generating {
    pub(super) handshake: Box<Handshake>,
    message_id: u32,
    method: KeMethod,
}

/// The request is on its way.
pub(super) struct Sent {
    pub(super) handshake: Box<Handshake>,
    message_id: u32,
    key: Box<dyn KeyExchange>,
    pub(super) request: Request,
}

/// The shared secret is being computed.
pub(super) struct Agreeing {
    pub(super) handshake: Box<Handshake>,
    method: KeMethod,
}

/// The next additional key exchange, or IKE_AUTH after the last.
pub(super) fn begin(dial: Dial, cx: &mut Cx<'_>, handshake: Box<Handshake>) -> Next {
    match handshake.next_additional() {
        Some((message_id, method)) => {
            let phase = Phase::KeGenerating(Generating { handshake, message_id, method });
            Initiator::asking(dial, cx, Ask::Generate(method), phase)
        }
        // [9242:3.2-2]
        None => auth::begin(dial, cx, handshake),
    }
}

impl Generating {
    pub(super) fn generated(
        self,
        dial: Dial,
        cx: &mut Cx<'_>,
        result: Result<Box<dyn KeyExchange>, CryptoError>,
    ) -> Next {
        let Self { mut handshake, message_id, method } = self;
        let key = match result {
            Ok(key) => key,
            Err(error) => return Next::failed(crypto_failed(method, error)),
        };
        let payloads = vec![payload(method, key.public().to_vec())];
        let what = (ExchangeType::IKE_INTERMEDIATE, message_id);
        let whole = handshake.channel.whole(what.0, message_id, false, &payloads);
        handshake.count_in(cx, Role::Initiator, &whole);
        // [9242:3.2-5]
        let sent = Request::seal_and_send(cx, &mut handshake.channel, what, payloads, &dial.config.timing);
        match sent {
            Ok(request) => Initiator::sent(dial, Phase::KeSent(Sent { handshake, message_id, key, request })),
            Err(failure) => Next::failed(failure),
        }
    }
}

impl Sent {
    pub(super) fn datagram(mut self, dial: Dial, cx: &mut Cx<'_>, mut datagram: Datagram) -> Next {
        let in_place = datagram.is_response
            // [9242:3.2-4]
            && datagram.message_id == self.message_id
            && datagram.exchange == ExchangeType::IKE_INTERMEDIATE.0;
        if !in_place {
            cx.ignore();
            return Initiator::sent(dial, Phase::KeSent(self));
        }
        let recorded = match self.handshake.channel.open_recorded(cx, &mut datagram) {
            Ok(recorded) => recorded,
            Err(Unreadable::Forged | Unreadable::Incomplete) => {
                return Initiator::sent(dial, Phase::KeSent(self));
            }
            Err(Unreadable::Malformed(error)) => return Next::failed(unusable(error)),
        };
        let Self { mut handshake, key, .. } = self;
        let message = recorded.message;
        if let Some(kind) = message.unsupported_critical() {
            let why = format!("it has a critical payload of unknown type {}", kind.0);
            return Next::failed(unusable(why));
        }
        if let Some(notify) = message.notifies().find(|n| n.kind.is_error()) {
            return Next::failed(refused(key.method(), notify.kind));
        }
        let method = key.method();
        match public(&message, method) {
            Ok(peer) => {
                handshake.count_in(cx, Role::Responder, &recorded.whole);
                let phase = Phase::KeAgreeing(Agreeing { handshake, method });
                Initiator::asking(dial, cx, Ask::Agree { key, peer }, phase)
            }
            Err(why) => Next::failed(unusable(why)),
        }
    }

    pub(super) fn wake(mut self, dial: Dial, cx: &mut Cx<'_>) -> Next {
        let path = self.handshake.channel.path;
        if self.request.wake_on(cx, &mut self.handshake.channel) == Retry::Waiting {
            return Initiator::sent(dial, Phase::KeSent(self));
        }
        let (sent, age) = (self.request.sent(), self.request.age(cx.now));
        Next::failed(explain::unreachable(path.remote, Step::IkeInit, sent, age))
    }
}

impl Agreeing {
    pub(super) fn agreed(mut self, dial: Dial, cx: &mut Cx<'_>, result: Result<Secret, CryptoError>) -> Next {
        let advanced = result
            .map_err(|error| crypto_failed(self.method, error))
            .and_then(|shared| self.handshake.advance(cx, &shared));
        match advanced {
            Ok(()) => begin(dial, cx, self.handshake),
            Err(failure) => Next::failed(failure),
        }
    }
}

/// It offers what it cannot do, as strongSwan 6.0 does without its `ml` plugin.
fn refused(method: KeMethod, kind: NotifyType) -> Failure {
    let text = format!("the server has chosen {method} as an additional key exchange, and refuses it then");
    Failure::new(FailureCode::ProposalMismatch, Step::IkeInit, text).said(kind.to_string()).hint(format!(
        "in the profile's `ike` take  -ke1_{method}  out, or add  -ke1_none  so that it may go without; or give the server \
         what {method} needs (strongSwan: its ml plugin)"
    ))
}
