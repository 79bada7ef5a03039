//! The first CHILD_SA of a responder (RFC 7296 §1.2, §2.9, §2.17, §2.19), and the answer to IKE_AUTH.
//!
//! The peer has proven itself. Where no CHILD_SA can be had, the IKE_SA is up all the same (§1.2): the answer then has
//! our proof and an error in place of SA, TSi and TSr. Nothing is announced to anybody before it is installed.

mod resumable;

use adit_core::{Failure, FailureCode, Identity, Secret, SignatureScheme, Step, TrafficSelector};
use adit_isakmp::keys::ChildKeys;
use adit_isakmp::payload::{Authentication, Identification, Notify, NotifyType, SecurityAssociation};
use adit_isakmp::proposal::choose_esp;
use adit_isakmp::{EspSuite, ExchangeType, Message, Payload};

use super::auth::{Claim, failed};
use super::ppk;
use super::wanted::{asks_for_domains, reply, requested};
use super::{Asked, Half, Phase, Responder, refuse, release};
use crate::api::{
    Ask, ChildId, ChildMode, ChildSa, EspKeys, Established, Event, Lease, LocalAuth, ResponderConfig, SaId,
    SignatureEncoding, Uniqueness,
};
use crate::auth::{self as proof, EapKey};
use crate::channel::Handshake;
use crate::explain;
use crate::ike::{Child, Ike, Start};
use crate::linger::Answered;
use crate::policy::Policy;
use crate::selectors;
use crate::state::{Cx, Next, Pair, Role};
use crate::task::mobike::{self, Mobike};
use crate::task::ticket;
use crate::tickets::Name;
use crate::wire::{at_most_one, only};

/// A peer that has proven itself.
struct Admitted {
    handshake: Box<Handshake>,
    asked: Asked,
    remote: Identity,
    /// The two identities.
    pair: Pair,
    /// IDi, which after EAP may be another.
    id: Identification,
    config: Box<ResponderConfig>,
    key: Key,
    /// It has asked for a ticket.
    ticket: bool,
    mobike: Option<Box<Mobike>>,
    /// What it has here already goes when it is up (RFC 7296 §2.4).
    replaces: bool,
    /// It has asked which domains the name servers are for.
    domains: bool,
    /// That is the same host's, and carries until that has the new one.
    carried: bool,
}

/// What the peer has proven itself with, where our own proof takes it too.
pub(super) enum Key {
    None,
    Psk(Secret),
    /// EAP's: our certificate was shown before.
    Eap(EapKey),
    /// None: it goes on from this IKE_SA (RFC 5723).
    Resumed(SaId),
}

impl Key {
    const fn resumes(&self) -> Option<SaId> {
        match self {
            Self::Resumed(session) => Some(*session),
            Self::None | Self::Psk(_) | Self::Eap(_) => None,
        }
    }
}

/// The CHILD_SA that it asked for, as far as it can be had.
struct Wish {
    suite: EspSuite,
    reply: SecurityAssociation,
    outbound_spi: u32,
    mode: ChildMode,
    tsi: Vec<TrafficSelector>,
    tsr: Vec<TrafficSelector>,
}

/// Why it gets none.
struct Refusal {
    told: NotifyType,
    why: Failure,
}

/// Addresses are being got.
pub(super) struct Leasing {
    admitted: Admitted,
    wish: Wish,
}

/// An SPI is being got.
pub(super) struct Allocating {
    admitted: Admitted,
    wish: Wish,
    local_ts: Vec<TrafficSelector>,
    remote_ts: Vec<TrafficSelector>,
    pub(super) lease: Lease,
}

/// Our own key or signature is being got.
pub(super) struct Proving {
    admitted: Admitted,
    child: Result<Box<Ready>, Refusal>,
    octets: Secret,
    encoding: SignatureEncoding,
}

/// A CHILD_SA that lacks nothing but to be installed.
struct Ready {
    wish: Wish,
    local_ts: Vec<TrafficSelector>,
    remote_ts: Vec<TrafficSelector>,
    lease: Lease,
    inbound_spi: u32,
}

/// The pair of SAs is being installed.
pub(super) struct Installing {
    admitted: Admitted,
    auth: Authentication,
    child: ChildId,
    wish: Wish,
    local_ts: Vec<TrafficSelector>,
    remote_ts: Vec<TrafficSelector>,
    inbound_spi: u32,
    pub(super) lease: Lease,
    /// The keys of an outbound SA that waits.
    later: Option<EspKeys>,
}

pub(super) fn begin(
    half: Half,
    cx: &mut Cx<'_>,
    claim: Claim,
    config: Box<ResponderConfig>,
    key: Key,
) -> Next {
    let message = claim.message;
    let from = claim.handshake.channel.path.remote.ip();
    let (mut up, mut carried) = (false, false);
    let pair = cx.shared.pair(&config.local_id, &claim.remote);
    for (sa, there) in cx.shared.up_with(pair) {
        up |= key.resumes() != Some(sa);
        carried |= there == from;
    }
    if up && config.uniqueness == Uniqueness::Refuse {
        let why = explain::not_let_in(&claim.remote.to_string(), "it is here already");
        return refuse(cx, claim.handshake, &claim.asked, &[failed()], why);
    }
    let initial = message.notify(NotifyType::INITIAL_CONTACT).is_some();
    let admitted = Admitted {
        handshake: claim.handshake,
        asked: claim.asked,
        remote: claim.remote,
        pair,
        id: claim.id,
        ticket: ticket::is_asked_for(&message),
        replaces: initial || config.uniqueness == Uniqueness::Replace,
        carried: carried && !initial,
        mobike: Mobike::agreed(config.mobike.as_deref(), &message),
        domains: asks_for_domains(&message),
        config,
        key,
    };
    let wish = match Wish::read(&admitted, &message) {
        Ok(Ok(wish)) => wish,
        Ok(Err(refusal)) => return prove(half, cx, admitted, Err(refusal)),
        Err(why) => {
            let notify = Payload::Notify(Notify::new(NotifyType::INVALID_SYNTAX, []));
            let why = explain::misbehaved(Step::Child, format!("IKE_AUTH: {why}"));
            return refuse(cx, admitted.handshake, &admitted.asked, &[notify], why);
        }
    };
    // [7296:2.19-5]
    if !admitted.config.addresses {
        return narrow(half, cx, admitted, wish, Lease::default());
    }
    let (v4, v6) = match requested(&message) {
        // [7296:2.19-6]
        (None, None) => {
            let refusal = admitted.refusal(NotifyType::FAILED_CP_REQUIRED, "it asked for no address");
            return prove(half, cx, admitted, Err(refusal));
        }
        wanted => wanted,
    };
    let resumes = admitted.key.resumes();
    let ask = Ask::Lease { remote: admitted.remote.clone(), v4, v6, resumes };
    Responder::asking(half, cx, ask, Phase::Leasing(Leasing { admitted, wish }))
}

impl Wish {
    /// The outer error: the message is malformed. The inner one: it is well formed, and can't be had.
    fn read(admitted: &Admitted, message: &Message) -> Result<Result<Self, Refusal>, String> {
        let sa = only!(message, Payload::Sa)?;
        let tsi = only!(message, Payload::TsI)?;
        let tsr = only!(message, Payload::TsR)?;
        at_most_one!(message, Payload::Configuration)?;
        let chosen = match choose_esp(&admitted.config.esp, sa, 0, false) {
            Ok(chosen) => chosen,
            Err(error) => {
                let refusal = admitted.refusal(NotifyType::NO_PROPOSAL_CHOSEN, error.to_string());
                return Ok(Err(refusal));
            }
        };
        let outbound_spi = chosen.peer_spi();
        // RFC 7296 §1.3.1: who asks for transport mode may get tunnel mode.
        let asked = message.notify(NotifyType::USE_TRANSPORT_MODE).is_some();
        let (tsi, tsr): (Vec<_>, Vec<_>) = (tsi.ranges().collect(), tsr.ranges().collect());
        let here = match asked && admitted.config.transport {
            true => admitted.handshake.channel.translate(tsr.clone(), tsi.clone()),
            false => None,
        };
        let (mode, (tsr, tsi)) = match here {
            Some(here) => (ChildMode::Transport, here),
            None => (ChildMode::Tunnel, (tsr, tsi)),
        };
        // RFC 4303 §2.1: 0 is never sent, 1 to 255 are reserved.
        if outbound_spi < 256 {
            return Err(format!("its SPI is {outbound_spi}"));
        }
        Ok(Ok(Self { suite: chosen.suite, reply: chosen.reply, outbound_spi, mode, tsi, tsr }))
    }
}

impl Admitted {
    fn refusal(&self, told: NotifyType, why: impl core::fmt::Display) -> Refusal {
        Refusal { told, why: explain::no_child(&self.remote, told, why) }
    }
}

impl Leasing {
    pub(super) fn leased(self, half: Half, cx: &mut Cx<'_>, result: Result<Lease, Failure>) -> Next {
        match result {
            Ok(mut lease) => {
                // [8598:3.2-1] [8598:3.2-2]
                if !self.admitted.domains || lease.dns.is_empty() {
                    lease.domains.clear();
                }
                narrow(half, cx, self.admitted, self.wish, lease)
            }
            Err(why) => {
                let refusal = self.admitted.refusal(NotifyType::INTERNAL_ADDRESS_FAILURE, why);
                prove(half, cx, self.admitted, Err(refusal))
            }
        }
    }
}

/// RFC 7296 §2.9: what was proposed, cut to what is allowed.
fn narrow(half: Half, cx: &mut Cx<'_>, admitted: Admitted, wish: Wish, lease: Lease) -> Next {
    let config = &admitted.config;
    let local_ts = selectors::narrow(&wish.tsr, &config.local_ts);
    let remote_ts = if config.addresses {
        selectors::narrow(&wish.tsi, &selectors::of_lease(&lease))
    } else {
        selectors::narrow(&wish.tsi, &config.remote_ts)
    };
    if local_ts.is_empty() || remote_ts.is_empty() {
        release(cx, lease);
        let why = format!(
            "nothing of {} to {} is allowed",
            selectors::describe(&wish.tsi),
            selectors::describe(&wish.tsr)
        );
        let refusal = admitted.refusal(NotifyType::TS_UNACCEPTABLE, why);
        return prove(half, cx, admitted, Err(refusal));
    }
    let ask = Ask::AllocateSpi { path: admitted.handshake.channel.path };
    let allocating = Allocating { admitted, wish, local_ts, remote_ts, lease };
    Responder::asking(half, cx, ask, Phase::Allocating(allocating))
}

impl Allocating {
    pub(super) fn allocated(self, half: Half, cx: &mut Cx<'_>, result: Result<u32, Failure>) -> Next {
        let Self { admitted, mut wish, local_ts, remote_ts, lease } = self;
        let inbound_spi = match result {
            Ok(spi) => spi,
            Err(why) => {
                release(cx, lease);
                let refusal = admitted.refusal(NotifyType::TEMPORARY_FAILURE, why);
                return prove(half, cx, admitted, Err(refusal));
            }
        };
        for proposal in &mut wish.reply.proposals {
            proposal.spi = inbound_spi.to_be_bytes().to_vec();
        }
        let ready = Box::new(Ready { wish, local_ts, remote_ts, lease, inbound_spi });
        prove(half, cx, admitted, Ok(ready))
    }
}

/// Our own AUTH. It is made even where there is no CHILD_SA.
fn prove(half: Half, cx: &mut Cx<'_>, mut admitted: Admitted, child: Result<Box<Ready>, Refusal>) -> Next {
    let id = Identification::from(&admitted.config.local_id);
    let made = match &admitted.key {
        Key::Eap(key) => Some(key.prove(cx, &admitted.handshake, Role::Responder, &id)),
        Key::Resumed(_) => Some(proof::resumed(cx, &admitted.handshake, Role::Responder, &id)),
        Key::None | Key::Psk(_) => None,
    };
    if let Some(auth) = made {
        let (octets, encoding) = (Secret::new(Vec::new()), SignatureEncoding::Asn1);
        let proving = Proving { admitted, child, octets, encoding };
        return proving.proven(half, cx, Authentication::shared_key(auth.expose()));
    }
    let octets = proof::octets(cx, &admitted.handshake, Role::Responder, &id);
    let mut encoding = SignatureEncoding::Asn1;
    let mut kept = None;
    let ask = match &admitted.config.local_auth {
        LocalAuth::Psk | LocalAuth::Eap { .. } => {
            if let Key::Psk(key) = core::mem::replace(&mut admitted.key, Key::None) {
                kept = Some(key);
            }
            Ask::Psk { local: admitted.config.local_id.clone(), remote: admitted.remote.clone() }
        }
        LocalAuth::Signature { own } => {
            match proof::ask_to_sign(own, &mut admitted.handshake, octets.duplicate()) {
                Ok((ask, how)) => {
                    encoding = how;
                    ask
                }
                Err(why) => return unproven(cx, admitted, child, why),
            }
        }
    };
    let proving = Proving { admitted, child, octets, encoding };
    match kept {
        Some(key) => proving.key(half, cx, Ok(key)),
        None => Responder::asking(half, cx, ask, Phase::Proving(proving)),
    }
}

/// We can't say who we are: then nothing comes of it.
fn unproven(cx: &mut Cx<'_>, admitted: Admitted, child: Result<Box<Ready>, Refusal>, why: Failure) -> Next {
    if let Ok(ready) = child {
        release(cx, ready.lease);
    }
    refuse(cx, admitted.handshake, &admitted.asked, &[failed()], why)
}

impl Proving {
    pub(super) fn lease(self) -> Lease {
        self.child.map(|ready| ready.lease).unwrap_or_default()
    }

    pub(super) fn key(self, half: Half, cx: &mut Cx<'_>, result: Result<Secret, Failure>) -> Next {
        match result {
            Ok(key) => {
                let mic = proof::by_key(cx, &self.admitted.handshake, &key, &self.octets);
                self.proven(half, cx, Authentication::shared_key(mic.expose()))
            }
            Err(why) => unproven(cx, self.admitted, self.child, why),
        }
    }

    pub(super) fn signed(
        self,
        half: Half,
        cx: &mut Cx<'_>,
        result: Result<(SignatureScheme, Vec<u8>), Failure>,
    ) -> Next {
        let signed = match result {
            Ok((scheme, signature)) => proof::signed(scheme, self.encoding, &signature),
            Err(why) => return unproven(cx, self.admitted, self.child, why),
        };
        match signed {
            Some(auth) => self.proven(half, cx, auth),
            None => unproven(cx, self.admitted, self.child, explain::no_common_signature()),
        }
    }

    fn proven(self, half: Half, cx: &mut Cx<'_>, auth: Authentication) -> Next {
        let ready = match self.child {
            Ok(ready) => *ready,
            Err(refusal) => return childless(half.until, cx, self.admitted, auth, refusal),
        };
        let handshake = &self.admitted.handshake;
        let keys = ChildKeys::derive(
            &*cx.shared.crypto,
            handshake.suite.prf,
            &handshake.keys.d,
            &ready.wish.suite,
            (&handshake.nonce_i, &handshake.nonce_r),
            &[],
        );
        let keys = match keys {
            Ok(keys) => keys,
            Err(error) => {
                let why = Failure::new(FailureCode::Internal, Step::Child, error.to_string());
                return unproven(cx, self.admitted, Ok(Box::new(ready)), why);
            }
        };
        let child = cx.fresh_child();
        let mut sa = ready.sa(&self.admitted, child, keys);
        let later = if self.admitted.carried { sa.outbound.take() } else { None };
        let installing = Installing {
            admitted: self.admitted,
            auth,
            child,
            wish: ready.wish,
            local_ts: ready.local_ts,
            remote_ts: ready.remote_ts,
            inbound_spi: ready.inbound_spi,
            lease: ready.lease,
            later,
        };
        // [7296:2.8-4]
        Responder::asking(half, cx, Ask::Install(Box::new(sa)), Phase::Installing(installing))
    }
}

impl Ready {
    fn sa(&self, admitted: &Admitted, child: ChildId, keys: ChildKeys) -> ChildSa {
        let channel = &admitted.handshake.channel;
        ChildSa {
            child,
            replaces: None,
            mode: self.wish.mode,
            path: channel.path,
            encapsulated: channel.nat.encapsulates(),
            suite: self.wish.suite,
            inbound_spi: self.inbound_spi,
            inbound: EspKeys { encryption: keys.initiator.encryption, integrity: keys.initiator.integrity },
            outbound_spi: self.wish.outbound_spi,
            outbound: Some(EspKeys {
                encryption: keys.responder.encryption,
                integrity: keys.responder.integrity,
            }),
            local_ts: self.local_ts.clone(),
            remote_ts: self.remote_ts.clone(),
            lease: self.lease.clone(),
            remote_id: admitted.remote.clone(),
            connection: Some(admitted.config.name.clone()),
        }
    }
}

/// `IDr, [CERT,] AUTH`; after EAP only the last of them (RFC 7296 appendix C.3).
fn last_proof(admitted: &Admitted, auth: Authentication) -> Vec<Payload> {
    let mut out = match admitted.key {
        Key::Eap(_) => vec![Payload::Auth(auth)],
        // [5723:4.3.3-2] [5723:4.3.3-3]
        Key::Resumed(_) => {
            let id = Identification::from(&admitted.config.local_id);
            vec![Payload::IdR(id), Payload::Auth(auth)]
        }
        Key::None | Key::Psk(_) => proof_payloads(&admitted.config, admitted.handshake.own, Some(auth)),
    };
    out.extend(ppk::acknowledged(&admitted.handshake));
    out
}

/// `IDr, [CERT,] AUTH`
pub(super) fn proof_payloads(
    config: &ResponderConfig,
    own: usize,
    auth: Option<Authentication>,
) -> Vec<Payload> {
    let mut out = vec![Payload::IdR(Identification::from(&config.local_id))];
    if let Some(auth) = auth {
        out.extend(proof::certificate_payloads(&config.local_auth, own));
        out.push(Payload::Auth(auth));
    }
    out
}

/// Sends the answer; the IKE_SA is up.
fn respond(
    cx: &mut Cx<'_>,
    mut admitted: Admitted,
    payloads: &[Payload],
    lease: Lease,
    ticket: Option<Name>,
) -> Result<Box<Ike>, Failure> {
    let resumption = admitted.resumption(ticket);
    let message_id = admitted.handshake.auth_id();
    let channel = &mut admitted.handshake.channel;
    let response = match channel.seal(cx, ExchangeType::IKE_AUTH, message_id, true, payloads) {
        Ok(response) => response,
        Err(failure) => {
            release(cx, lease);
            return Err(failure);
        }
    };
    response.transmit(cx, admitted.asked.path);
    let start = Start {
        handshake: admitted.handshake,
        remote_id: admitted.remote,
        pair: Some(admitted.pair),
        policy: Policy::of_responder(*admitted.config, std::sync::Arc::clone(&cx.shared.ike)),
        lease,
        answered: Some(Answered::new(message_id, admitted.asked.digest, response)),
        mobike: admitted.mobike,
        resumption,
    };
    Ok(Ike::new(cx, start))
}

fn childless(
    until: adit_core::Instant,
    cx: &mut Cx<'_>,
    admitted: Admitted,
    auth: Authentication,
    refusal: Refusal,
) -> Next {
    let mut payloads = last_proof(&admitted, auth);
    payloads.push(Payload::Notify(Notify::new(refusal.told, [])));
    if admitted.ticket {
        payloads.push(ticket::refusal());
    }
    match respond(cx, admitted, &payloads, Lease::default(), None) {
        Ok(ike) => Next::State(ike.without_child(until, refusal.why)),
        Err(failure) => Next::failed(failure),
    }
}

impl Installing {
    pub(super) fn installed(self, half: Half, cx: &mut Cx<'_>, result: Result<(), Failure>) -> Next {
        let Self { admitted, auth, .. } = self;
        if let Err(why) = result {
            release(cx, self.lease);
            let refusal = admitted.refusal(NotifyType::TEMPORARY_FAILURE, why);
            return childless(half.until, cx, admitted, auth, refusal);
        }
        let mut payloads = last_proof(&admitted, auth);
        if admitted.config.addresses {
            // [7296:4-9] [7296:2.19-2]
            payloads.push(reply(&self.lease));
        }
        if self.wish.mode == ChildMode::Transport {
            payloads.push(Payload::Notify(Notify::new(NotifyType::USE_TRANSPORT_MODE, [])));
        }
        if let Some(mobike) = &admitted.mobike {
            payloads.extend(mobike::supported(&mobike.ours, &admitted.handshake.channel, false));
        }
        payloads.push(Payload::Sa(self.wish.reply));
        payloads.push(Payload::TsI(self.remote_ts.iter().copied().collect()));
        payloads.push(Payload::TsR(self.local_ts.iter().copied().collect()));
        let mut name = None;
        payloads.extend(admitted.hand_ticket(cx, &mut name));
        let spis = (self.inbound_spi, self.wish.outbound_spi);
        let child = Child::new(self.child, spis, self.wish.mode, (&self.local_ts, &self.remote_ts));
        let child = Child { suite: Some(self.wish.suite), ..child };
        let channel = &admitted.handshake.channel;
        let established = Established {
            path: channel.path,
            encapsulated: channel.nat.encapsulates(),
            nat_local: channel.nat.local,
            nat_remote: channel.nat.remote,
            mobike: admitted.mobike.as_ref().map(|m| m.peers.clone()),
            local_id: admitted.config.local_id.clone(),
            remote_id: admitted.remote.clone(),
            ike: admitted.handshake.suite,
            esp: self.wish.suite,
            child: self.child,
            local_ts: self.local_ts,
            remote_ts: self.remote_ts,
            lease: self.lease.clone(),
            ppk: admitted.handshake.has_ppk(),
            resumed: admitted.key.resumes().is_some(),
            resumable: name.is_some(),
            connection: Some(admitted.config.name.clone()),
        };
        let replaces = admitted.replaces;
        let takes_over = replaces || admitted.key.resumes().is_some();
        match respond(cx, admitted, &payloads, self.lease, name) {
            Ok(ike) => {
                // [7296:4-4]
                cx.event(Event::Established(Box::new(established)));
                let mut ike = ike.with_child(cx, child);
                match self.later {
                    Some(keys) => ike.take_over_later(cx, (self.child, keys), replaces),
                    None if takes_over => ike.take_over(cx, replaces),
                    None => {}
                }
                Next::State(ike)
            }
            Err(failure) => Next::failed(failure),
        }
    }
}
