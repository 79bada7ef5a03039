//! IKE_SA_INIT of an initiator (RFC 7296 §1.2, §2.6, §2.7, §2.23).
//!
//! Nothing in this exchange is authenticated, so that no single answer may end the attempt (§2.21.1): an error is
//! believed when the retransmission that follows brings one again, or when the tries are used up; what can't be used
//! is as if it had never come. Cookies and other key exchange methods are followed a few times. A lie in any of it is
//! found out in IKE_AUTH, where both ends prove what they sent and offered here.

use adit_core::{Failure, FailureCode, Path, Secret, Step};
use adit_isakmp::crypto::{CryptoError, KeyExchange};
use adit_isakmp::payload::{KeyExchangeData, Notify, NotifyType};
use adit_isakmp::proposal::{IkeProposal, accept_ike, offer_ike, offers_ke};
use adit_isakmp::signature::{OUR_HASHES, emit_hashes, parse_hashes};
use adit_isakmp::{ExchangeType, Flags, Header, IkeSuite, KeMethod, Message, Payload, VERSION_2};

use super::{Dial, Initiator, Phase, intermediate};
use crate::api::{Ask, InitiatorConfig, Timing};
use crate::auth::asked_authorities;
use crate::channel::{Agreed, Handshake};
use crate::explain;
use crate::natd::{self, Nat};
use crate::ppk::{self, Ppk};
use crate::request::{Request, Retry};
use crate::state::{Cx, Datagram, Next, Role};
use crate::wire::only;

/// Cookies and changes of the key exchange method that are followed, in all.
const RESTARTS: u32 = 5;

/// What is the same in all first messages of one attempt, and what its answers have changed.
struct Attempt {
    nonce: Vec<u8>,
    method: KeMethod,
    cookie: Option<Vec<u8>>,
    /// Answers that copies of earlier requests may still bring: one each.
    owed: u32,
    /// NAT_DETECTION_SOURCE_IP where encapsulation is forced: of an address that nobody has.
    fake_source: Option<[u8; 20]>,
    restarts: u32,
}

/// A key pair is being made.
pub(super) struct Generating(Attempt);

/// The request is on its way.
pub(super) struct InitSent {
    attempt: Attempt,
    key: Box<dyn KeyExchange>,
    pub(super) request: Request,
    /// An error that was answered, and how often the request had been sent then.
    refused: Option<(NotifyType, u32)>,
    /// Why an answer could not be used.
    unusable: Option<String>,
}

/// The shared secret is being computed.
pub(super) struct Agreeing {
    agreed: Agreed,
    message_i: Vec<u8>,
    message_r: Vec<u8>,
    /// Both ends have said USE_PPK.
    ppk: bool,
    /// The authorities that the server asks for a certificate of.
    asked: Vec<[u8; 20]>,
}

/// What a usable response says.
struct Answered {
    suite: IkeSuite,
    public: Vec<u8>,
    nonce: Vec<u8>,
}

pub(super) fn begin(dial: Dial, cx: &mut Cx<'_>) -> Next {
    let Some(method) = first_method(&dial.config) else {
        return Next::failed(Failure::new(
            FailureCode::ConfigurationInvalid,
            Step::Profile,
            "the connection has no proposals to offer",
        ));
    };
    let fake_source = dial.config.force_encapsulation.then(|| {
        let mut hash = [0; 20];
        cx.shared.entropy.public(&mut hash);
        hash
    });
    let attempt =
        Attempt { nonce: cx.shared.nonce(), method, cookie: None, owed: 0, fake_source, restarts: 0 };
    generate(dial, cx, attempt)
}

/// The first guess; `None`: there is nothing to propose.
pub(super) fn first_method(config: &InitiatorConfig) -> Option<KeMethod> {
    config.ike.first().and_then(|p| p.ke.first()).copied().filter(|_| !config.esp.is_empty())
}

/// How large our fragments are, if the peer puts any together (RFC 7383 §2.3).
pub(super) fn fragment_size(config: &InitiatorConfig, message: &Message) -> Option<u16> {
    message.notify(NotifyType::IKEV2_FRAGMENTATION_SUPPORTED).map(|_| config.fragment_size)
}

/// Where everything that follows the first exchange goes (RFC 7296 §2.23), and what NATs there are.
pub(super) fn after_first(
    config: &InitiatorConfig,
    cx: &Cx<'_>,
    spis: (u64, u64),
    message: &Message,
) -> (Path, Nat) {
    let mut path = config.path;
    let mut nat = Nat::default();
    if let Some(found) = Nat::detect(&*cx.shared.crypto, spis, path, message) {
        nat = found;
        nat.forced = config.force_encapsulation;
    }
    // RFC 7296 §2.23: everything that follows goes over the other port.
    // [7296:2.23-2] [7296:2.23-3] [7296:2.23-8]
    // [4555:3.3-1]
    if nat.encapsulates() || (nat.supported && config.mobike.is_some()) {
        path.local.set_port(config.local_nat_port);
        path.remote.set_port(config.nat_port);
    }
    (path, nat)
}

fn generate(dial: Dial, cx: &mut Cx<'_>, attempt: Attempt) -> Next {
    let ask = Ask::Generate(attempt.method);
    Initiator::asking(dial, cx, ask, Phase::Generating(Generating(attempt)))
}

impl Generating {
    pub(super) fn generated(
        self,
        dial: Dial,
        cx: &mut Cx<'_>,
        result: Result<Box<dyn KeyExchange>, CryptoError>,
    ) -> Next {
        match result {
            Ok(key) => send(dial, cx, self.0, key),
            Err(error) => Next::failed(crypto_failed(self.0.method, error)),
        }
    }
}

pub(super) fn crypto_failed(method: KeMethod, error: CryptoError) -> Failure {
    let code = match error {
        CryptoError::BadPublicValue => FailureCode::PeerMisbehaved,
        CryptoError::Unsupported | CryptoError::Integrity | CryptoError::Length => FailureCode::Internal,
    };
    Failure::new(code, Step::IkeInit, format!("key exchange {method}: {error}"))
}

/// Sends the first message, for the first time or again with a cookie or another key.
fn send(dial: Dial, cx: &mut Cx<'_>, attempt: Attempt, key: Box<dyn KeyExchange>) -> Next {
    let natd = natd::payloads(&*cx.shared.crypto, (dial.spi, 0), dial.config.path, attempt.fake_source);
    let mut payloads = Vec::with_capacity(8);
    if let Some(cookie) = &attempt.cookie {
        // [7296:2.6-3]
        payloads.push(Payload::Notify(Notify::new(NotifyType::COOKIE, cookie.clone())));
    }
    // [7296:1.2-5]
    payloads.push(Payload::Sa(offer_ike(&dial.config.ike, &[])));
    // [7296:3.4-2]
    payloads.push(Payload::Ke(KeyExchangeData::new(attempt.method, key.public().to_vec())));
    payloads.push(Payload::Nonce(attempt.nonce.clone()));
    // [7296:2.23-7]
    payloads.extend(natd);
    payloads
        .push(Payload::Notify(Notify::new(NotifyType::SIGNATURE_HASH_ALGORITHMS, emit_hashes(OUR_HASHES))));
    payloads.push(Payload::Notify(Notify::new(NotifyType::IKEV2_FRAGMENTATION_SUPPORTED, [])));
    if dial.config.ike.iter().any(IkeProposal::has_additional) {
        // [9370:2.2.1-1]
        payloads.push(Payload::Notify(Notify::new(NotifyType::INTERMEDIATE_EXCHANGE_SUPPORTED, [])));
    }
    if dial.config.ppk.is_some() {
        // [8784:3-1]
        payloads.push(Payload::Notify(ppk::use_ppk()));
    }
    let header = Header {
        initiator_spi: dial.spi,
        // [7296:3.1-3]
        responder_spi: 0,
        version: VERSION_2,
        exchange: ExchangeType::IKE_SA_INIT,
        flags: Flags::of(true, false),
        message_id: 0,
    };
    let bytes = match (Message { header, payloads }).emit() {
        Ok(bytes) => bytes,
        Err(error) => {
            let text = format!("the proposals do not fit one message: {error}");
            return Next::failed(Failure::new(FailureCode::ConfigurationInvalid, Step::Profile, text));
        }
    };
    let timing = Timing { tries: dial.config.timing.init_tries, ..dial.config.timing };
    let request = Request::send(cx, dial.config.path, bytes.into(), &timing);
    Initiator::sent(dial, Phase::InitSent(InitSent { attempt, key, request, refused: None, unusable: None }))
}

impl InitSent {
    pub(super) fn datagram(mut self, dial: Dial, cx: &mut Cx<'_>, datagram: Datagram) -> Next {
        let from_server = datagram.path.remote.ip() == dial.config.path.remote.ip();
        let in_place = datagram.is_response && datagram.exchange == ExchangeType::IKE_SA_INIT.0;
        if !from_server || !in_place {
            cx.ignore();
            return Initiator::sent(dial, Phase::InitSent(self));
        }
        let message = match Message::parse(&datagram.bytes) {
            Ok(message) => message,
            Err(error) => return self.ignore(dial, cx, error.to_string()),
        };
        if let Some(notify) = message.notify(NotifyType::COOKIE) {
            return self.cookie(dial, cx, &notify.data);
        }
        if let Some(notify) = message.notify(NotifyType::INVALID_KE_PAYLOAD) {
            let method = notify.data_u16().and_then(|m| offers_ke(&dial.config.ike, m));
            return self.other_method(dial, cx, method);
        }
        if let Some(notify) = message.notifies().find(|n| n.kind.is_error()) {
            return self.refused(dial, cx, notify.kind);
        }
        match self.read(&dial, &datagram, &message) {
            Ok(answered) => self.agree(dial, cx, datagram, &message, answered),
            Err(why) => {
                self.unusable = Some(why);
                cx.ignore();
                Initiator::sent(dial, Phase::InitSent(self))
            }
        }
    }

    fn ignore(mut self, dial: Dial, cx: &mut Cx<'_>, why: String) -> Next {
        cx.ignore();
        self.unusable = Some(why);
        Initiator::sent(dial, Phase::InitSent(self))
    }

    /// RFC 7296 §2.6: the same message again, with the cookie in front.
    fn cookie(mut self, dial: Dial, cx: &mut Cx<'_>, cookie: &[u8]) -> Next {
        // An answer to a copy of a request that was answered already is no news, also where the cookie in it has
        // changed with the time: the request with the first one may be accepted by now, and AUTH will cover that one.
        let late = self.attempt.owed > 0;
        self.attempt.owed = self.attempt.owed.saturating_sub(1);
        if late || self.attempt.cookie.as_deref() == Some(cookie) {
            cx.ignore();
            return Initiator::sent(dial, Phase::InitSent(self));
        }
        // [7296:2.6-2] [7296:2.4-5]
        if !(1..=64).contains(&cookie.len()) || self.attempt.restarts >= RESTARTS {
            return self.ignore(dial, cx, "it asks for cookies without end".into());
        }
        self.restarted();
        // [7296:2.6.1-1] [7296:2.6-3]
        self.attempt.cookie = Some(cookie.to_vec());
        send(dial, cx, self.attempt, self.key)
    }

    /// RFC 7296 §1.2, §2.7: the same proposals again, with a key of the method that the server wants, if we offered
    /// it.
    fn other_method(mut self, dial: Dial, cx: &mut Cx<'_>, method: Option<KeMethod>) -> Next {
        let Some(method) = method else {
            return self.ignore(dial, cx, "it wants a key exchange method that was not offered".into());
        };
        if method == self.attempt.method {
            cx.ignore();
            return Initiator::sent(dial, Phase::InitSent(self));
        }
        if self.attempt.restarts >= RESTARTS {
            return self.ignore(dial, cx, "it wants one key exchange method after another".into());
        }
        self.restarted();
        // [7296:1.2-4]
        self.attempt.method = method;
        generate(dial, cx, self.attempt)
    }

    /// An answer was followed. The other copies of the request may have been answered, too.
    fn restarted(&mut self) {
        self.attempt.restarts = self.attempt.restarts.saturating_add(1);
        self.attempt.owed = self.attempt.owed.saturating_add(self.request.sent().saturating_sub(1));
    }

    /// RFC 7296 §2.21.1: anybody could have sent this. It is believed when it comes again after a retransmission.
    fn refused(mut self, dial: Dial, cx: &mut Cx<'_>, kind: NotifyType) -> Next {
        match self.refused {
            Some((first, sent)) if self.request.sent() > sent => {
                Next::failed(explain::init_refused(&dial.config, dial.config.path.remote, first))
            }
            _ => {
                cx.ignore();
                self.refused.get_or_insert((kind, self.request.sent()));
                Initiator::sent(dial, Phase::InitSent(self))
            }
        }
    }

    fn read(&self, dial: &Dial, datagram: &Datagram, message: &Message) -> Result<Answered, String> {
        if let Some(kind) = message.unsupported_critical() {
            return Err(format!("it has a critical payload of unknown type {}", kind.0));
        }
        if datagram.responder_spi == 0 {
            return Err("its SPI is 0".into());
        }
        let sa = only!(message, Payload::Sa)?;
        let ke = only!(message, Payload::Ke)?;
        let nonce = only!(message, Payload::Nonce)?;
        let suite = accept_ike(&dial.config.ike, sa).map_err(|e| e.to_string())?.suite;
        if suite.ke != self.attempt.method || ke.known() != Some(suite.ke) {
            return Err("its key exchange is not the one that was asked for".into());
        }
        // [7296:2.10-1]
        if nonce.len().saturating_mul(2) < suite.prf.output_len() {
            return Err("its nonce is shorter than half the PRF's key".into());
        }
        let announced = message.notify(NotifyType::INTERMEDIATE_EXCHANGE_SUPPORTED).is_some();
        if suite.additional.count() > 0 && !announced {
            return Err("it chose additional key exchanges, and has no exchange for them".into());
        }
        // [8784:3-3]
        if dial.config.ppk.as_ref().is_some_and(|rule| rule.required) && !ppk::announced(message) {
            return Err(
                "it uses no postquantum preshared keys (RFC 8784), and the profile requires one".into()
            );
        }
        Ok(Answered { suite, public: ke.data.clone(), nonce: nonce.clone() })
    }

    fn agree(
        self,
        mut dial: Dial,
        cx: &mut Cx<'_>,
        datagram: Datagram,
        message: &Message,
        answered: Answered,
    ) -> Next {
        // It is there, and has not taken it.
        dial.config.ticket = None;
        let spis = (dial.spi, datagram.responder_spi);
        let (path, nat) = after_first(&dial.config, cx, spis, message);
        let peer_hashes = message
            .notify(NotifyType::SIGNATURE_HASH_ALGORITHMS)
            .map(|n| parse_hashes(&n.data).take(16).collect());
        let agreed = Agreed {
            role: Role::Initiator,
            spi_i: spis.0,
            spi_r: spis.1,
            path,
            nat,
            suite: answered.suite,
            nonce_i: self.attempt.nonce,
            nonce_r: answered.nonce,
            peer_hashes,
            fragment_size: fragment_size(&dial.config, message),
        };
        let ask = Ask::Agree { key: self.key, peer: answered.public };
        let asked = asked_authorities(&message.payloads);
        // [8784:3-4]
        let ppk = dial.config.ppk.is_some() && ppk::announced(message);
        let agreeing = Agreeing {
            agreed,
            message_i: self.request.bytes().to_vec(),
            message_r: datagram.bytes,
            ppk,
            asked,
        };
        Initiator::asking(dial, cx, ask, Phase::Agreeing(agreeing))
    }

    pub(super) fn wake(mut self, mut dial: Dial, cx: &mut Cx<'_>) -> Next {
        if self.request.wake(cx, dial.config.path) == Retry::Waiting {
            return Initiator::sent(dial, Phase::InitSent(self));
        }
        let server = dial.config.path.remote;
        Next::failed(match (self.refused, self.unusable) {
            (Some((kind, _)), _) => explain::init_refused(&dial.config, server, kind),
            (None, Some(why)) => explain::init_unusable(server, &why),
            (None, None) => {
                dial.give_back(cx);
                let age = self.request.age(cx.now);
                explain::unreachable(server, Step::IkeInit, self.request.sent(), age)
            }
        })
    }
}

impl Agreeing {
    pub(super) fn agreed(self, dial: Dial, cx: &mut Cx<'_>, result: Result<Secret, CryptoError>) -> Next {
        let shared = match result {
            Ok(shared) => shared,
            Err(error) => return Next::failed(crypto_failed(self.agreed.suite.ke, error)),
        };
        match Handshake::derive(cx, self.agreed, &shared) {
            Ok(mut handshake) => {
                handshake.message_i = self.message_i;
                handshake.message_r = self.message_r;
                handshake.asked = self.asked;
                handshake.ppk = if self.ppk { Ppk::Announced } else { Ppk::Off };
                intermediate::begin(dial, cx, handshake)
            }
            Err(failure) => Next::failed(failure),
        }
    }
}
