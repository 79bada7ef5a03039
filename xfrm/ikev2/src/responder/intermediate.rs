//! IKE_INTERMEDIATE of a responder: Encapsulate → answered, for each additional key exchange.

use adit_core::{Failure, Secret};
use adit_isakmp::crypto::CryptoError;
use adit_isakmp::payload::{Notify, NotifyType};
use adit_isakmp::{ExchangeType, KeMethod, Payload};

use super::init::InitAnswered;
use super::{Asked, Half, Phase, Responder, refuse_exchange};
use crate::api::Ask;
use crate::channel::{Handshake, Recorded};
use crate::intermediate::{payload, public, unusable};
use crate::linger::Answered;
use crate::state::{Cx, Next, Role};
use crate::wire;

/// The shared secret is being computed.
pub(super) struct Encapsulating {
    handshake: Box<Handshake>,
    asked: Asked,
    message_id: u32,
    method: KeMethod,
}

pub(super) fn begin(
    half: Half,
    cx: &mut Cx<'_>,
    mut handshake: Box<Handshake>,
    asked: Asked,
    recorded: &Recorded,
    (message_id, method): (u32, KeMethod),
) -> Next {
    let message = &recorded.message;
    if let Some(kind) = message.unsupported_critical() {
        let notify = wire::unsupported(kind);
        let why = unusable(format!("it has a critical payload of unknown type {}", kind.0));
        return refuse(cx, handshake, &asked, message_id, notify, why);
    }
    let peer = match public(message, method) {
        Ok(peer) => peer,
        Err(why) => {
            let notify = Notify::new(NotifyType::INVALID_SYNTAX, []);
            return refuse(cx, handshake, &asked, message_id, notify, unusable(why));
        }
    };
    handshake.count_in(cx, Role::Initiator, &recorded.whole);
    let ask = Ask::Encapsulate { method, peer };
    let phase = Phase::KeEncapsulating(Encapsulating { handshake, asked, message_id, method });
    Responder::asking(half, cx, ask, phase)
}

fn refuse(
    cx: &mut Cx<'_>,
    handshake: Box<Handshake>,
    asked: &Asked,
    message_id: u32,
    notify: Notify,
    why: Failure,
) -> Next {
    let exchange = (ExchangeType::IKE_INTERMEDIATE, message_id);
    refuse_exchange(cx, handshake, asked, exchange, &[Payload::Notify(notify)], why)
}

impl Encapsulating {
    pub(super) fn encapsulated(
        self,
        half: Half,
        cx: &mut Cx<'_>,
        result: Result<(Vec<u8>, Secret), CryptoError>,
    ) -> Next {
        let Self { mut handshake, asked, message_id, method } = self;
        let (ours, shared) = match result {
            Ok(made) => made,
            Err(error) => {
                let notify = Notify::new(NotifyType::INVALID_SYNTAX, []);
                let why = unusable(format!("key exchange {method}: {error}"));
                return refuse(cx, handshake, &asked, message_id, notify, why);
            }
        };
        let payloads = [payload(method, ours)];
        let exchange = ExchangeType::IKE_INTERMEDIATE;
        let whole = handshake.channel.whole(exchange, message_id, true, &payloads);
        handshake.count_in(cx, Role::Responder, &whole);
        let sealed = handshake.channel.seal(cx, exchange, message_id, true, &payloads);
        let response = match sealed {
            Ok(response) => response,
            Err(failure) => return Next::failed(failure),
        };
        if let Err(failure) = handshake.advance(cx, &shared) {
            return Next::failed(failure);
        }
        response.transmit(cx, asked.path);
        let answered = Answered::new(message_id, asked.digest, response);
        Responder::sent(half, Phase::InitAnswered(InitAnswered::after_intermediate(handshake, answered)))
    }
}
