//! IKE_SA_INIT of a responder (RFC 7296 §1.2, §2.6, §2.7, §2.23). A first message is read and judged without any
//! memory; only one that can be answered well makes an IKE_SA.

use core::time::Duration;

use adit_core::{Failure, Path, Secret, Step};
use adit_isakmp::crypto::CryptoError;
use adit_isakmp::payload::{CertificateRequest, KeyExchangeData, Notify, NotifyType, SecurityAssociation};
use adit_isakmp::proposal::{IkeProposal, choose_ike, wanted_ke};
use adit_isakmp::signature::{OUR_HASHES, emit_hashes, parse_hashes};
use adit_isakmp::{ExchangeType, Flags, Header, IkeSuite, Message, Payload, VERSION_2};

use super::{Asked, Half, Phase, Responder, auth, intermediate, refuse_exchange};
use crate::api::{Ask, Event, ResponderDefaults};
use crate::channel::{Agreed, Handshake, Unreadable};
use crate::explain;
use crate::linger::Answered;
use crate::natd::{self, Nat};
use crate::ppk::{self, Ppk};
use crate::state::{Cx, Datagram, Next, Role};
use crate::wire::{self, only};

/// A first message that can be answered.
pub(crate) struct First {
    pub(crate) spi_i: u64,
    pub(crate) path: Path,
    bytes: Vec<u8>,
    suite: IkeSuite,
    reply: SecurityAssociation,
    public: Vec<u8>,
    nonce: Vec<u8>,
    nat: Option<NatHashes>,
    peer_hashes: Option<Vec<u16>>,
    /// Whether the peer puts fragments together.
    fragments: bool,
    /// Both ends use postquantum preshared keys.
    ppk: bool,
}

/// What the peer says of its addresses; judged when our SPI is known to be part of no hash (it is 0 in a request).
struct NatHashes(Nat);

/// Why a first message makes no IKE_SA.
pub(crate) enum NoResponse {
    /// It is not worth an answer.
    Nothing,
    /// This is the answer, in clear.
    Notify(Notify),
}

impl First {
    /// Judges a message. RFC 7296 §2.6: the nonce is part of what a cookie stands for, so that the cookie is checked
    /// by the caller before anything expensive.
    pub(crate) fn read(
        cx_crypto: &dyn adit_isakmp::crypto::CryptoProvider,
        defaults: &ResponderDefaults,
        datagram: Datagram,
        message: &Message,
    ) -> Result<Self, NoResponse> {
        let spi_i = message.header.initiator_spi;
        // [7296:2.5-8] [7296:2.21.2-1] [7296:4-3]
        if let Some(kind) = message.unsupported_critical() {
            return Err(NoResponse::Notify(wire::unsupported(kind)));
        }
        let nothing = |_: String| NoResponse::Nothing;
        let sa = only!(message, Payload::Sa).map_err(nothing)?;
        let ke = only!(message, Payload::Ke).map_err(nothing)?;
        let nonce = only!(message, Payload::Nonce).map_err(nothing)?;
        // [9242:3.1-1]
        let intermediate = message.notify(NotifyType::INTERMEDIATE_EXCHANGE_SUPPORTED).is_some();
        let chosen = if intermediate || !defaults.ike.iter().any(IkeProposal::has_additional) {
            choose_ike(&defaults.ike, sa, &[])
        } else {
            // [9370:2.2.1-2]
            choose_ike(&IkeProposal::without_intermediate(&defaults.ike), sa, &[])
        };
        let chosen =
            chosen.map_err(|_| NoResponse::Notify(Notify::new(NotifyType::NO_PROPOSAL_CHOSEN, [])))?;
        // [7296:2.10-1]
        if nonce.len().saturating_mul(2) < chosen.suite.prf.output_len() {
            return Err(NoResponse::Nothing);
        }
        // [7296:3.4-4]
        if let Some(method) = wanted_ke(chosen.suite.ke, ke) {
            let wanted = method.transform_id().to_be_bytes();
            return Err(NoResponse::Notify(Notify::new(NotifyType::INVALID_KE_PAYLOAD, wanted)));
        }
        let peer_hashes = message
            .notify(NotifyType::SIGNATURE_HASH_ALGORITHMS)
            .map(|n| parse_hashes(&n.data).take(16).collect());
        Ok(Self {
            spi_i,
            path: datagram.path,
            suite: chosen.suite,
            reply: chosen.reply,
            public: ke.data.clone(),
            nonce: nonce.clone(),
            nat: Nat::detect(cx_crypto, (spi_i, 0), datagram.path, message).map(NatHashes),
            peer_hashes,
            fragments: message.notify(NotifyType::IKEV2_FRAGMENTATION_SUPPORTED).is_some(),
            ppk: defaults.ppk && ppk::announced(message),
            bytes: datagram.bytes,
        })
    }

    /// Begins an IKE_SA for it.
    pub(crate) fn begin(self, cx: &mut Cx<'_>, spi_r: u64, defaults: &ResponderDefaults) -> Next {
        cx.event(Event::Incoming { path: self.path });
        let half =
            Half { spi_i: self.spi_i, until: cx.now + defaults.timing.half_open.max(Duration::from_secs(1)) };
        let ask = Ask::Encapsulate { method: self.suite.ke, peer: self.public.clone() };
        let encapsulating = Encapsulating {
            first: self,
            spi_r,
            authorities: defaults.authorities.clone(),
            fragment_size: defaults.fragment_size,
        };
        Responder::asking(half, cx, ask, Phase::Encapsulating(encapsulating))
    }
}

/// The shared secret is being computed.
pub(super) struct Encapsulating {
    first: First,
    spi_r: u64,
    authorities: Vec<[u8; 20]>,
    fragment_size: u16,
}

/// The response is out; IKE_AUTH is to come.
pub(super) struct InitAnswered {
    handshake: Box<Handshake>,
    /// How often it was sent.
    sent: u32,
    /// The last IKE_INTERMEDIATE.
    answered: Option<Answered>,
}

/// An IKE_SA_INIT response is sent so often at most. More than any client asks, and too little for whoever asks in
/// another's name: it may be longer than the request.
const MOST_RESPONSES: u32 = 10;

impl Encapsulating {
    pub(super) fn encapsulated(
        self,
        half: Half,
        cx: &mut Cx<'_>,
        result: Result<(Vec<u8>, Secret), CryptoError>,
    ) -> Next {
        let (public, shared) = match result {
            Ok(made) => made,
            Err(error) => {
                let text = format!("key exchange {}: {error}", self.first.suite.ke);
                let why = explain::misbehaved(Step::IkeInit, text);
                return Next::ClosedAfter(Err(why), half.spent());
            }
        };
        let nonce_r = cx.shared.nonce();
        let response = match self.response(cx, public, nonce_r.clone()) {
            Ok(response) => response,
            Err(failure) => return Next::failed(failure),
        };
        let first = self.first;
        let agreed = Agreed {
            role: Role::Responder,
            spi_i: first.spi_i,
            spi_r: self.spi_r,
            path: first.path,
            nat: first.nat.map_or_else(Nat::default, |n| n.0),
            suite: first.suite,
            nonce_i: first.nonce,
            nonce_r,
            peer_hashes: first.peer_hashes,
            fragment_size: first.fragments.then_some(self.fragment_size),
        };
        match Handshake::derive(cx, agreed, &shared) {
            Ok(mut handshake) => {
                // [7296:2.11-1] [7296:2.11-2] [7296:2.23-1]
                cx.transmit(first.path, response.clone());
                handshake.message_i = first.bytes;
                handshake.message_r = response;
                handshake.ppk = if first.ppk { Ppk::Announced } else { Ppk::Off };
                Responder::sent(half, Phase::InitAnswered(InitAnswered::new(handshake)))
            }
            Err(failure) => Next::failed(failure),
        }
    }

    /// `SAr, KEr, Nr, N(NAT_DETECTION_*), N(SIGNATURE_HASH_ALGORITHMS), [CERTREQ]`
    fn response(&self, cx: &Cx<'_>, public: Vec<u8>, nonce: Vec<u8>) -> Result<Vec<u8>, Failure> {
        let first = &self.first;
        let mut payloads = vec![
            Payload::Sa(first.reply.clone()),
            Payload::Ke(KeyExchangeData::new(first.suite.ke, public)),
            Payload::Nonce(nonce),
        ];
        if first.nat.is_some() {
            let spis = (first.spi_i, self.spi_r);
            // [7296:2.23-7]
            payloads.extend(natd::payloads(&*cx.shared.crypto, spis, first.path, None));
        }
        if first.peer_hashes.is_some() {
            payloads.push(Payload::Notify(Notify::new(
                NotifyType::SIGNATURE_HASH_ALGORITHMS,
                emit_hashes(OUR_HASHES),
            )));
        }
        if first.fragments {
            payloads.push(Payload::Notify(Notify::new(NotifyType::IKEV2_FRAGMENTATION_SUPPORTED, [])));
        }
        if first.ppk {
            // [8784:3-2]
            payloads.push(Payload::Notify(ppk::use_ppk()));
        }
        if first.suite.additional.count() > 0 {
            payloads.push(Payload::Notify(Notify::new(NotifyType::INTERMEDIATE_EXCHANGE_SUPPORTED, [])));
        }
        if !self.authorities.is_empty() {
            payloads.push(Payload::CertReq(CertificateRequest::x509(&self.authorities)));
        }
        let header = Header {
            initiator_spi: first.spi_i,
            responder_spi: self.spi_r,
            version: VERSION_2,
            exchange: ExchangeType::IKE_SA_INIT,
            flags: Flags::of(false, true),
            message_id: 0,
        };
        (Message { header, payloads }).emit().map_err(|error| {
            explain::misbehaved(Step::IkeInit, format!("the response does not fit one message: {error}"))
        })
    }
}

impl InitAnswered {
    /// The first response is out.
    pub(super) const fn new(handshake: Box<Handshake>) -> Self {
        Self { handshake, sent: 1, answered: None }
    }

    /// The response to IKE_INTERMEDIATE is out; another one or IKE_AUTH is to come.
    pub(super) const fn after_intermediate(handshake: Box<Handshake>, answered: Answered) -> Self {
        Self { handshake, sent: MOST_RESPONSES, answered: Some(answered) }
    }

    fn stay(self, half: Half) -> Next {
        Responder::sent(half, Phase::InitAnswered(self))
    }

    pub(super) fn datagram(mut self, half: Half, cx: &mut Cx<'_>, mut datagram: Datagram) -> Next {
        if datagram.is_response {
            cx.ignore();
            return self.stay(half);
        }
        // RFC 7296 §2.1: the same first message again gets the same answer again.
        let first = [ExchangeType::IKE_SA_INIT, ExchangeType::IKE_SESSION_RESUME];
        if first.contains(&ExchangeType(datagram.exchange)) {
            // [7296:2.1-1] [7296:2.4-5]
            if datagram.bytes == self.handshake.message_i && self.sent < MOST_RESPONSES {
                self.sent = self.sent.saturating_add(1);
                cx.shared.counters.repeated = cx.shared.counters.repeated.saturating_add(1);
                cx.transmit(datagram.path, self.handshake.message_r.clone());
            } else {
                cx.ignore();
            }
            return self.stay(half);
        }
        let next = self.handshake.next_additional();
        let expected = match next {
            Some((message_id, _)) => (ExchangeType::IKE_INTERMEDIATE.0, message_id),
            None => (ExchangeType::IKE_AUTH.0, self.handshake.auth_id()),
        };
        // [7296:1-1] [7296:1.4-1] [9242:3.2-4] [9242:5-1]
        if (datagram.exchange, datagram.message_id) != expected {
            self.repeat(cx, &mut datagram);
            return self.stay(half);
        }
        let mut asked = Asked { digest: Answered::digest(cx, &datagram.bytes), path: datagram.path };
        let opened = self.handshake.channel.open_recorded(cx, &mut datagram);
        asked.digest = self.handshake.channel.fragmented.unwrap_or(asked.digest);
        match opened {
            Err(Unreadable::Forged | Unreadable::Incomplete) => self.stay(half),
            Err(Unreadable::Malformed(error)) => {
                let notify = Payload::Notify(Notify::new(NotifyType::INVALID_SYNTAX, []));
                let exchange = ExchangeType(expected.0);
                let why =
                    explain::misbehaved(Step::Authenticate, format!("{exchange} can't be read: {error}"));
                refuse_exchange(cx, self.handshake, &asked, (exchange, expected.1), &[notify], why)
            }
            Ok(recorded) => {
                // It has the keys: from now on it is where this came from, after the move to port 4500.
                // [7296:2.23-1]
                self.handshake.channel.path = datagram.path;
                match next {
                    Some(next) => intermediate::begin(half, cx, self.handshake, asked, &recorded, next),
                    None => auth::begin(half, cx, self.handshake, asked, recorded.message),
                }
            }
        }
    }

    /// A request of IKE_INTERMEDIATE that was answered already gets the same answer.
    fn repeat(&mut self, cx: &mut Cx<'_>, datagram: &mut Datagram) {
        let Some(answered) = &self.answered else {
            return cx.ignore();
        };
        let again =
            datagram.exchange == ExchangeType::IKE_INTERMEDIATE.0 && answered.is_of(datagram.message_id);
        if !again {
            cx.ignore();
        } else if !answered.repeat(cx, datagram) && self.handshake.channel.is_first_fragment(cx, datagram) {
            answered.repeat_to(cx, datagram.path);
        }
    }
}
