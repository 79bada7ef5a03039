//! IKE_AUTH of an initiator (RFC 7296 §1.2, §2.15): our proof first, then the server's, before anything else in its
//! answer is looked at.

use adit_core::{Failure, Secret, SignatureScheme, Step};
use adit_isakmp::payload::{
    AuthMethod, Authentication, CertificateRequest, ConfigAttribute, ConfigType, Configuration,
    Identification, Notify, NotifyType,
};
use adit_isakmp::proposal::offer_esp;
use adit_isakmp::{ExchangeType, Message, Payload};

use super::{Dial, Initiator, Phase, child, eap, ppk, resume};
use crate::api::{Ask, ChildMode, Event, InitiatorConfig, LocalAuth, RemoteAuth, SignatureEncoding};
use crate::auth as proof;
use crate::channel::{Handshake, Resumed, Unreadable};
use crate::explain;
use crate::request::{Request, Retry};
use crate::selectors;
use crate::state::{Cx, Datagram, Next, Role};
use crate::task::{Task, mobike, ticket};
use crate::wire::{at_most_one, only};

/// An SPI for the CHILD_SA is being got.
pub(super) struct Allocating {
    pub(super) handshake: Box<Handshake>,
}

/// Our key or signature is being got.
pub(super) struct Proving {
    pub(super) handshake: Box<Handshake>,
    inbound_spi: u32,
    octets: Secret,
    encoding: SignatureEncoding,
    /// What is proven besides: that we are who we are without the PPK, for a server that has none of this name.
    plain: Plain,
}

/// A second proof, without the PPK (RFC 8784 §3).
enum Plain {
    /// There is none to give.
    None,
    /// It is to be over this.
    Octets(Secret),
    /// Here it is.
    Made(Authentication),
}

/// Our proof, and the one without the PPK.
pub(super) struct Proof {
    pub(super) auth: Authentication,
    pub(super) plain: Option<Authentication>,
}

/// The request is on its way.
pub(super) struct AuthSent {
    pub(super) handshake: Box<Handshake>,
    inbound_spi: u32,
    /// The pre-shared key, where the server has to prove itself with it too.
    psk: Option<Secret>,
    pub(super) request: Request,
}

/// The server's proof is being checked.
pub(super) struct Verifying {
    pub(super) handshake: Box<Handshake>,
    inbound_spi: u32,
    answer: Message,
}

pub(super) fn begin(dial: Dial, cx: &mut Cx<'_>, handshake: Box<Handshake>) -> Next {
    cx.event(Event::Progress(Step::Authenticate));
    cx.event(Event::Agreed(handshake.suite));
    let ask = Ask::AllocateSpi { path: handshake.channel.path };
    Initiator::asking(dial, cx, ask, Phase::Allocating(Allocating { handshake }))
}

impl Allocating {
    pub(super) fn allocated(self, dial: Dial, cx: &mut Cx<'_>, result: Result<u32, Failure>) -> Next {
        let inbound_spi = match result {
            Ok(spi) => spi,
            Err(failure) => return Next::failed(failure),
        };
        let handshake = self.handshake;
        if let Some(resumed) = &handshake.resumed {
            let proof = resume::proof_of(cx, &handshake, &resumed.initiator);
            return send(dial, cx, (handshake, inbound_spi), Some(proof), None);
        }
        if matches!(dial.config.local_auth, LocalAuth::Eap { .. }) {
            // RFC 7296 §2.16: a request without AUTH asks for EAP.
            return send(dial, cx, (handshake, inbound_spi), None, None);
        }
        ppk::begin(dial, cx, handshake, ppk::Then::Prove(inbound_spi))
    }
}

/// Our key or signature.
pub(super) fn prove(dial: Dial, cx: &mut Cx<'_>, mut handshake: Box<Handshake>, inbound_spi: u32) -> Next {
    let id = Identification::from(&dial.config.local_id);
    let octets = proof::octets(cx, &handshake, Role::Initiator, &id);
    let plain = match &dial.config.ppk {
        // [8784:3-7]
        Some(rule) if !rule.required => {
            handshake.without_ppk(|handshake| proof::octets(cx, handshake, Role::Initiator, &id))
        }
        _ => None,
    };
    let (ask, encoding) = match &dial.config.local_auth {
        LocalAuth::Psk | LocalAuth::Eap { .. } => (psk(&dial.config), SignatureEncoding::Asn1),
        LocalAuth::Signature { own } => {
            let message = plain.as_ref().unwrap_or(&octets).duplicate();
            match proof::ask_to_sign(own, &mut handshake, message) {
                Ok(asked) => asked,
                Err(failure) => return Next::failed(failure),
            }
        }
    };
    let plain = plain.map_or(Plain::None, Plain::Octets);
    let proving = Proving { handshake, inbound_spi, octets, encoding, plain };
    Initiator::asking(dial, cx, ask, Phase::Proving(proving))
}

fn psk(config: &InitiatorConfig) -> Ask {
    Ask::Psk { local: config.local_id.clone(), remote: config.remote_id.clone() }
}

impl Proving {
    pub(super) fn key(self, dial: Dial, cx: &mut Cx<'_>, result: Result<Secret, Failure>) -> Next {
        let key = match result {
            Ok(key) => key,
            Err(failure) => return Next::failed(failure),
        };
        let by_key = |octets| {
            let mic = proof::by_key(cx, &self.handshake, &key, octets);
            Authentication::shared_key(mic.expose())
        };
        let auth = by_key(&self.octets);
        let plain = match &self.plain {
            Plain::Octets(octets) => Some(by_key(octets)),
            Plain::None | Plain::Made(_) => None,
        };
        let kept = matches!(dial.config.remote_auth, RemoteAuth::Psk).then_some(key);
        send(dial, cx, (self.handshake, self.inbound_spi), Some(Proof { auth, plain }), kept)
    }

    pub(super) fn signed(
        mut self,
        dial: Dial,
        cx: &mut Cx<'_>,
        result: Result<(SignatureScheme, Vec<u8>), Failure>,
    ) -> Next {
        let (scheme, signature) = match result {
            Ok(signed) => signed,
            Err(failure) => return Next::failed(failure),
        };
        let Some(auth) = proof::signed(scheme, self.encoding, &signature) else {
            return Next::failed(explain::no_common_signature());
        };
        let plain = match core::mem::replace(&mut self.plain, Plain::None) {
            // That was the one without the PPK; now the other, of the same kind.
            Plain::Octets(_) => {
                let message = self.octets.duplicate();
                let (certificate, schemes) = (self.handshake.own, vec![scheme]);
                let ask = Ask::Sign { certificate, schemes, encoding: self.encoding, message };
                self.plain = Plain::Made(auth);
                return Initiator::asking(dial, cx, ask, Phase::Proving(self));
            }
            Plain::Made(plain) => Some(plain),
            Plain::None => None,
        };
        send(dial, cx, (self.handshake, self.inbound_spi), Some(Proof { auth, plain }), None)
    }
}

fn send(
    mut dial: Dial,
    cx: &mut Cx<'_>,
    (mut handshake, inbound_spi): (Box<Handshake>, u32),
    proof: Option<Proof>,
    psk: Option<Secret>,
) -> Next {
    if dial.config.mode == ChildMode::Transport {
        let (ours, theirs) = (
            selectors::or_everything(&dial.config.local_ts),
            selectors::or_everything(&dial.config.remote_ts),
        );
        (dial.config.local_ts, dial.config.remote_ts) = handshake.channel.outer(&ours, &theirs);
    }
    let (auth, plain) = proof.map_or((None, None), |proof| (Some(proof.auth), proof.plain));
    let mut payloads = request(&dial.config, &handshake, cx.first_contact, inbound_spi, auth);
    if let Some(ours) = &dial.config.mobike {
        payloads.extend(mobike::supported(ours, &handshake.channel, true));
    }
    payloads.extend(ppk::named(&dial, &handshake, plain));
    let (what, timing) = ((ExchangeType::IKE_AUTH, handshake.auth_id()), &dial.config.timing);
    let sent = Request::seal_and_send(cx, &mut handshake.channel, what, payloads, timing);
    let request = match sent {
        Ok(request) => request,
        Err(failure) => return Next::failed(failure),
    };
    Initiator::sent(dial, Phase::AuthSent(AuthSent { handshake, inbound_spi, psk, request }))
}

/// `IDi, [CERT,] [N(INITIAL_CONTACT),] [CERTREQ,] IDr, AUTH, [CP,] SA, TSi, TSr` (RFC 7296 §1.2, appendix C.2); with EAP
/// without AUTH (appendix C.3).
fn request(
    config: &InitiatorConfig,
    handshake: &Handshake,
    first: bool,
    spi: u32,
    auth: Option<Authentication>,
) -> Vec<Payload> {
    let resumed = handshake.resumed.as_deref();
    // [5723:4.3.3-1] [5723:4.3.3-2]
    let own = |r: &Resumed| (r.initiator.clone(), r.responder.clone());
    let ids = || (Identification::from(&config.local_id), Identification::from(&config.remote_id));
    let (id_i, id_r) = resumed.map_or_else(ids, own);
    let mut out = vec![Payload::IdI(id_i)];
    // [5723:4.3.3-3]
    if resumed.is_none() {
        // Sent even if nobody asked: some servers ask for no certificate and want one.
        out.extend(proof::certificate_payloads(&config.local_auth, handshake.own));
    }
    // [7296:2.4-2] [7296:2.4-1]
    if first && !config.shared_identity {
        out.push(Payload::Notify(Notify::new(NotifyType::INITIAL_CONTACT, [])));
    }
    match &config.remote_auth {
        RemoteAuth::Certificate { authorities } if resumed.is_none() => {
            out.push(Payload::CertReq(CertificateRequest::x509(authorities)));
        }
        _ => {}
    }
    out.push(Payload::IdR(id_r));
    out.extend(auth.map(Payload::Auth));
    match config.local_auth {
        LocalAuth::Eap { only: true } if resumed.is_none() => {
            out.push(Payload::Notify(Notify::new(NotifyType::EAP_ONLY_AUTHENTICATION, [])));
        }
        _ => {}
    }
    // [5723:4.1-1]
    out.extend(config.resumable.then(ticket::request));
    let wanted = wanted_addresses(config);
    if !wanted.is_empty() {
        // [7296:2.19-1] [7296:2.19-2] [7296:2.19-3] [7296:4-7]
        out.push(Payload::Configuration(Configuration { kind: ConfigType::CFG_REQUEST, attributes: wanted }));
    }
    if config.mode == ChildMode::Transport {
        out.push(Payload::Notify(Notify::new(NotifyType::USE_TRANSPORT_MODE, [])));
    }
    out.push(Payload::Sa(offer_esp(&config.esp, spi, false)));
    out.push(Payload::TsI(selectors::or_everything(&config.local_ts).into_iter().collect()));
    out.push(Payload::TsR(selectors::or_everything(&config.remote_ts).into_iter().collect()));
    out
}

fn wanted_addresses(config: &InitiatorConfig) -> Vec<ConfigAttribute> {
    let mut out = Vec::new();
    if config.request_v4 {
        // [7296:2.19-4]
        out.extend([ConfigAttribute::Ip4Address(config.former.v4), ConfigAttribute::Ip4Dns(None)]);
    }
    if config.request_v6 {
        out.extend([ConfigAttribute::Ip6Address(config.former.v6), ConfigAttribute::Ip6Dns(None)]);
    }
    if config.request_domains && !out.is_empty() {
        // [8598:3.1-2]
        out.push(ConfigAttribute::DnsDomain(None));
    }
    if config.request_subnets {
        // [7296:3.15.1-3]
        out.extend(config.request_v4.then_some(ConfigAttribute::Ip4Subnet(None)));
        out.extend(config.request_v6.then_some(ConfigAttribute::Ip6Subnet(None)));
    }
    out
}

impl AuthSent {
    pub(super) fn datagram(mut self, dial: Dial, cx: &mut Cx<'_>, mut datagram: Datagram) -> Next {
        let in_place =
            // [7296:1-1] [7296:1.4-1]
            datagram.is_response
                && datagram.message_id == self.handshake.auth_id()
                && datagram.exchange == ExchangeType::IKE_AUTH.0;
        if !in_place {
            cx.ignore();
            return Initiator::sent(dial, Phase::AuthSent(self));
        }
        match self.handshake.channel.open(cx, &mut datagram) {
            Ok(message) => self.answered(dial, cx, message),
            Err(Unreadable::Forged | Unreadable::Incomplete) => Initiator::sent(dial, Phase::AuthSent(self)),
            Err(Unreadable::Malformed(error)) => {
                let why = explain::misbehaved(
                    Step::Authenticate,
                    format!("the server's answer to IKE_AUTH can't be read: {error}"),
                );
                dial.refuse(cx, self.handshake, Task::DeleteIke, why)
            }
        }
    }

    fn answered(self, dial: Dial, cx: &mut Cx<'_>, answer: Message) -> Next {
        let unusable = |why: String| {
            explain::misbehaved(Step::Authenticate, format!("the server's answer to IKE_AUTH: {why}"))
        };
        // [7296:2.5-8] [7296:4-3]
        if let Some(kind) = answer.unsupported_critical() {
            let why = unusable(format!("it has a critical payload of unknown type {}", kind.0));
            return dial.refuse(cx, self.handshake, Task::DeleteIke, why);
        }
        let resumed = self.handshake.resumed.is_some();
        let eap = matches!(dial.config.local_auth, LocalAuth::Eap { .. }) && !resumed;
        if !eap && !resumed && answer.payloads.iter().any(|p| matches!(p, Payload::Eap(_))) {
            return dial.refuse(cx, self.handshake, Task::DeleteIke, explain::eap_wanted());
        }
        if eap && !answer.payloads.iter().any(|p| matches!(p, Payload::Auth(_))) {
            return self.without_proof(dial, cx, &answer);
        }
        let parts = only!(answer, Payload::IdR)
            .and_then(|id| only!(answer, Payload::Auth).map(|auth| (id.clone(), auth.clone())));
        match parts {
            Ok((id, auth)) => self.check(dial, cx, &id, &auth, answer),
            Err(why) => {
                let error = answer.notifies().find(|n| n.kind.is_error());
                self.refused(dial, cx, error, unusable(why))
            }
        }
    }

    /// EAP is to begin, and the server has not proven itself: that is in order only where we have said that it need not
    /// (RFC 5998), and where the method does it.
    fn without_proof(mut self, dial: Dial, cx: &mut Cx<'_>, answer: &Message) -> Next {
        let parts =
            only!(answer, Payload::IdR).and_then(|id| only!(answer, Payload::Eap).map(|eap| (id, eap)));
        let (id, eap) = match parts {
            Ok(parts) => parts,
            Err(why) => {
                let error = answer.notifies().find(|n| n.kind.is_error());
                let why = explain::misbehaved(Step::Authenticate, format!("the server's answer: {why}"));
                return self.refused(dial, cx, error, why);
            }
        };
        let LocalAuth::Eap { only: true } = dial.config.local_auth else {
            return dial.refuse(cx, self.handshake, Task::Reject, explain::eap_unproven());
        };
        if id.identity().is_none_or(|id| !id.matches(&dial.config.remote_id)) {
            let why = explain::wrong_identity(&dial.config, &proof::describe(id));
            return dial.refuse(cx, self.handshake, Task::Reject, why);
        }
        self.handshake.responder = Some(id.clone());
        let talk = eap::Talk { inbound_spi: self.inbound_spi, server: id.clone(), proven: false };
        eap::ask(dial, cx, self.handshake, talk, eap)
    }

    /// No proof came. An error that ends the IKE_SA at the server ends it here; after any other the server may think
    /// that it is up.
    fn refused(self, dial: Dial, cx: &mut Cx<'_>, error: Option<&Notify>, otherwise: Failure) -> Next {
        let Some(notify) = error else {
            return dial.refuse(cx, self.handshake, Task::DeleteIke, otherwise);
        };
        let why = explain::auth_refused(&dial.config, notify);
        let resumed = self.handshake.resumed.is_some();
        match notify.kind {
            NotifyType::AUTHENTICATION_FAILED
            | NotifyType::AUTHORIZATION_FAILED
            | NotifyType::INVALID_SYNTAX
            | NotifyType::UNSUPPORTED_CRITICAL_PAYLOAD
            | NotifyType::MS_STATUS => match resumed {
                true => resume::from_scratch(dial, cx, why),
                false => Next::failed(why),
            },
            _ => dial.refuse(cx, self.handshake, Task::DeleteIke, why),
        }
    }

    /// RFC 7296 §2.15: the server is who it says, by what was asked of it.
    fn check(
        mut self,
        dial: Dial,
        cx: &mut Cx<'_>,
        id: &Identification,
        auth: &Authentication,
        answer: Message,
    ) -> Next {
        if let Err(why) = self.handshake.settle_ppk(&answer, dial.config.ppk.as_ref()) {
            return dial.refuse(cx, self.handshake, Task::Reject, why);
        }
        self.handshake.responder = Some(id.clone());
        let Self { handshake, inbound_spi, psk: kept, .. } = self;
        if handshake.resumed.is_some() {
            return match resume::check(cx, &handshake, id, auth) {
                Ok(()) => child::begin(dial, cx, handshake, inbound_spi, &answer),
                Err(why) => dial.refuse(cx, handshake, Task::Reject, why),
            };
        }
        // An identity that is not the one that was dialled is refused, however well it is proven.
        // [7296:1.2-3]
        if id.identity().is_none_or(|id| !id.matches(&dial.config.remote_id)) {
            let why = explain::wrong_identity(&dial.config, &proof::describe(id));
            return dial.refuse(cx, handshake, Task::Reject, why);
        }
        let verifying = Verifying { handshake, inbound_spi, answer };
        match &dial.config.remote_auth {
            // [7296:4-10] [7296:2.16-1] [7296:5-3]
            RemoteAuth::Psk if matches!(dial.config.local_auth, LocalAuth::Eap { .. }) => {
                dial.refuse(cx, verifying.handshake, Task::Reject, explain::eap_unproven())
            }
            RemoteAuth::Psk if auth.method != AuthMethod::SHARED_KEY => {
                let why = explain::other_method("pre-shared key", &auth.method.to_string());
                dial.refuse(cx, verifying.handshake, Task::Reject, why)
            }
            RemoteAuth::Psk => match kept {
                Some(key) => verifying.key(dial, cx, Ok(key)),
                None => {
                    let ask = psk(&dial.config);
                    Initiator::asking(dial, cx, ask, Phase::Verifying(verifying))
                }
            },
            RemoteAuth::Certificate { .. } => verifying.ask_to_verify(dial, cx, id, auth),
            // Only a responder's peers prove themselves so.
            RemoteAuth::Eap { .. } => {
                let why = explain::unanswered(Step::Authenticate);
                dial.refuse(cx, verifying.handshake, Task::Reject, why)
            }
        }
    }

    pub(super) fn wake(mut self, dial: Dial, cx: &mut Cx<'_>) -> Next {
        let path = self.handshake.channel.path;
        if self.request.wake_on(cx, &mut self.handshake.channel) == Retry::Waiting {
            return Initiator::sent(dial, Phase::AuthSent(self));
        }
        let age = self.request.age(cx.now);
        let sent = self.request.sent();
        Next::failed(explain::unreachable(path.remote, Step::Authenticate, sent, age))
    }
}

impl Verifying {
    fn ask_to_verify(self, dial: Dial, cx: &mut Cx<'_>, id: &Identification, auth: &Authentication) -> Next {
        let signature = match proof::received(auth) {
            Ok(signature) => signature,
            Err(why) => return dial.refuse(cx, self.handshake, Task::Reject, why),
        };
        let Some(certificates) = proof::certificates(&self.answer.payloads) else {
            let why = explain::misbehaved(Step::Authenticate, "the server sent more than 10 certificates");
            return dial.refuse(cx, self.handshake, Task::Reject, why);
        };
        let ask = Ask::Verify {
            identity: dial.config.remote_id.clone(),
            certificates,
            scheme: signature.scheme,
            encoding: signature.encoding,
            message: proof::octets(cx, &self.handshake, Role::Responder, id),
            signature: signature.bytes,
        };
        Initiator::asking(dial, cx, ask, Phase::Verifying(self))
    }

    pub(super) fn key(self, dial: Dial, cx: &mut Cx<'_>, result: Result<Secret, Failure>) -> Next {
        let key = match result {
            Ok(key) => key,
            Err(why) => return dial.refuse(cx, self.handshake, Task::Reject, why),
        };
        let (Ok(id), Ok(auth)) = (only!(self.answer, Payload::IdR), only!(self.answer, Payload::Auth)) else {
            return dial.refuse(cx, self.handshake, Task::Reject, explain::unanswered(Step::Authenticate));
        };
        let octets = proof::octets(cx, &self.handshake, Role::Responder, id);
        let expected = proof::by_key(cx, &self.handshake, &key, &octets);
        // [7296:1.2-2]
        if !expected.equals(&auth.data) {
            let why = explain::wrong_psk(&dial.config);
            return dial.refuse(cx, self.handshake, Task::Reject, why);
        }
        child::begin(dial, cx, self.handshake, self.inbound_spi, &self.answer)
    }

    pub(super) fn verified(self, dial: Dial, cx: &mut Cx<'_>, result: Result<(), Failure>) -> Next {
        // Only where a certificate was asked for may a certificate's verdict let the server in.
        match (result, &dial.config.remote_auth) {
            (Ok(()), RemoteAuth::Certificate { .. }) => match dial.config.local_auth {
                LocalAuth::Eap { .. } => eap::begin(dial, cx, self.handshake, self.inbound_spi, &self.answer),
                _ => child::begin(dial, cx, self.handshake, self.inbound_spi, &self.answer),
            },
            (Ok(()), RemoteAuth::Psk | RemoteAuth::Eap { .. }) => {
                let why = explain::unanswered(Step::Authenticate);
                dial.refuse(cx, self.handshake, Task::Reject, why)
            }
            (Err(why), _) => dial.refuse(cx, self.handshake, Task::Reject, why),
        }
    }
}

/// The CP payload of an answer, if it has one.
pub(super) fn configuration(answer: &Message) -> Result<Option<&Configuration>, String> {
    at_most_one!(answer, Payload::Configuration)
}
