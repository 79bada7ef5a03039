//! CREATE_CHILD_SA that the peer begins: AllocateSpi → Encapsulate (with PFS, for each key exchange) → Install →
//! response sent.

use std::sync::Arc;

use adit_core::TrafficSelector;
use adit_isakmp::crypto::CryptoError;
use adit_isakmp::payload::{KeyExchangeData, Notify, NotifyType, Protocol, SecurityAssociation};
use adit_isakmp::proposal::{Chosen, EspProposal, choose_esp, wanted_ke};
use adit_isakmp::{EspSuite, KeMethod, Message, Payload};

use super::{Directions, MOST_CHILDREN, Made, lower};
use crate::api::{Answer, Ask, AskId, ChildId, ChildMode, ChildUp, EspKeys, Event};
use crate::channel::Channel;
use crate::ike::{Ike, Kernel, TIDY_AFTER};
use crate::intermediate;
use crate::selectors;
use crate::state::Cx;
use crate::task::followup::Exchanges;
use crate::task::{Job, Reply, Turn, malformed};
use crate::wire::{at_most_one, only};

/// A CHILD_SA that the peer gets.
pub(crate) struct Grant {
    made: Made,
    esp: Arc<[EspProposal]>,
    name: Option<Box<str>>,
    reply: SecurityAssociation,
    nonce_i: Vec<u8>,
    nonce_r: Vec<u8>,
    /// The peer's public value, then ours.
    public: Option<Vec<u8>>,
    /// The method of the key exchange under way.
    method: Option<KeMethod>,
    exchanges: Exchanges,
    phase: Phase,
}

enum Phase {
    Allocating,
    Encapsulating,
    /// With the keys of the outbound SA, if that waits.
    Installing(Option<EspKeys>),
}

/// What the peer asks for, as far as it can be had.
struct Wish<'a> {
    chosen: Chosen<EspSuite>,
    nonce: &'a [u8],
    public: Option<&'a KeyExchangeData>,
    tsi: Vec<TrafficSelector>,
    tsr: Vec<TrafficSelector>,
    transport: bool,
}

/// By which rules it is judged.
struct Rules {
    old: Option<ChildId>,
    esp: Arc<[EspProposal]>,
    local_ts: Vec<TrafficSelector>,
    remote_ts: Vec<TrafficSelector>,
    /// A rekey has the mode of the old one.
    mode: Option<ChildMode>,
    name: Option<Box<str>>,
}

/// A request for a CHILD_SA.
pub(crate) fn begin(ike: &mut Ike, cx: &mut Cx<'_>, message: &Message) -> Turn {
    if ike.is_closing() || ike.rekeys_itself() {
        return Turn::notify(NotifyType::TEMPORARY_FAILURE);
    }
    let rules = match message.notify(NotifyType::REKEY_SA) {
        Some(notify) => Rules::of_rekey(ike, notify),
        None => Rules::of_new(ike),
    };
    let rules = match rules {
        Ok(rules) => rules,
        Err(notify) => return Turn::Reply(Reply::of(vec![Payload::Notify(notify)])),
    };
    match Wish::read(&rules, &ike.sa.channel, message) {
        Err(why) => Turn::Reply(malformed(&format!("CREATE_CHILD_SA: {why}"))),
        Ok(Err(notify)) => Turn::Reply(Reply::of(vec![Payload::Notify(notify)])),
        Ok(Ok(wish)) => Grant::begin(ike, cx, rules, wish),
    }
}

impl Rules {
    /// RFC 7296 §2.25.1.
    fn of_rekey(ike: &Ike, rekey: &Notify) -> Result<Self, Notify> {
        let spi = <[u8; 4]>::try_from(rekey.spi.as_slice()).ok().map(u32::from_be_bytes);
        // The peer names what it receives on, which is what we send on.
        let esp = rekey.protocol == Protocol::ESP;
        let old = ike.children.iter().find(|c| esp && Some(c.outbound_spi) == spi && c.kernel != Kernel::Out);
        let Some(old) = old else {
            let kind = NotifyType::CHILD_SA_NOT_FOUND;
            return Err(Notify { kind, data: Vec::new(), ..rekey.clone() });
        };
        if old.kernel != Kernel::In
            || !old.is_current()
            || ike.deletes(old.id)
            || ike.follows_up(Some(old.id))
        {
            return Err(Notify::new(NotifyType::TEMPORARY_FAILURE, []));
        }
        Ok(Self {
            old: Some(old.id),
            esp: Arc::clone(&old.esp),
            // [7296:2.9.2-2]
            local_ts: old.local_ts.to_vec(),
            // [7296:2.9.2-2]
            remote_ts: old.remote_ts.to_vec(),
            mode: Some(old.mode),
            name: old.name.clone(),
        })
    }

    fn of_new(ike: &Ike) -> Result<Self, Notify> {
        if ike.children.len() >= MOST_CHILDREN {
            return Err(Notify::new(NotifyType::NO_ADDITIONAL_SAS, []));
        }
        Ok(Self {
            old: None,
            esp: Arc::clone(&ike.policy.esp),
            local_ts: ike.own_side(&ike.policy.local_ts),
            remote_ts: ike.peers_side(),
            mode: None,
            name: None,
        })
    }
}

impl<'a> Wish<'a> {
    /// The outer error: the message is malformed. The inner one: it is well formed, and can't be had.
    fn read(rules: &Rules, channel: &Channel, message: &'a Message) -> Result<Result<Self, Notify>, String> {
        let sa = only!(message, Payload::Sa)?;
        let nonce = only!(message, Payload::Nonce)?;
        let public = at_most_one!(message, Payload::Ke)?;
        let tsi = only!(message, Payload::TsI)?;
        let tsr = only!(message, Payload::TsR)?;
        let no = |kind| Ok(Err(Notify::new(kind, [])));
        // What the peer's value is for goes first, so that it need not ask again.
        let methods = public.and_then(KeyExchangeData::known).map_or_else(Vec::new, |m| vec![m]);
        let fitting: Vec<_> = rules.esp.iter().filter_map(|p| with_methods(p, &methods)).collect();
        let chosen = match choose_esp(&fitting, sa, 0, true) {
            Ok(chosen) => Ok(chosen),
            Err(_) => choose_esp(&rules.esp, sa, 0, true),
        };
        let Ok(chosen) = chosen else {
            return no(NotifyType::NO_PROPOSAL_CHOSEN);
        };
        // RFC 4303 §2.1: 0 is never sent, 1 to 255 are reserved.
        if chosen.peer_spi() < 256 {
            return Err(format!("its SPI is {}", chosen.peer_spi()));
        }
        if let Some(method) = chosen.suite.ke {
            let Some(public) = public else {
                return Err("it has no KE".into());
            };
            // [7296:1.3-3] [7296:3.4-4]
            if let Some(wanted) = wanted_ke(method, public) {
                let data = wanted.transform_id().to_be_bytes();
                return Ok(Err(Notify::new(NotifyType::INVALID_KE_PAYLOAD, data)));
            }
        }
        let transport = message.notify(NotifyType::USE_TRANSPORT_MODE).is_some();
        if rules.mode.is_some_and(|mode| (mode == ChildMode::Transport) != transport) {
            return no(NotifyType::NO_PROPOSAL_CHOSEN);
        }
        let (tsi, tsr): (Vec<_>, Vec<_>) = (tsi.ranges().collect(), tsr.ranges().collect());
        // Where they can't be translated, tunnel mode is what it may get.
        let here = if transport { channel.translate(tsr.clone(), tsi.clone()) } else { None };
        if rules.mode.is_some() && transport && here.is_none() {
            return no(NotifyType::TS_UNACCEPTABLE);
        }
        let transport = here.is_some();
        let (tsr, tsi) = here.unwrap_or((tsr, tsi));
        let tsi = selectors::narrow(&tsi, &rules.remote_ts);
        let tsr = selectors::narrow(&tsr, &rules.local_ts);
        if tsi.is_empty() || tsr.is_empty() {
            return no(NotifyType::TS_UNACCEPTABLE);
        }
        Ok(Ok(Self { chosen, nonce, public, tsi, tsr, transport }))
    }
}

/// `proposal` with no other key exchange than these; `None` if it has one and none of these.
fn with_methods(proposal: &EspProposal, methods: &[KeMethod]) -> Option<EspProposal> {
    let mut out = proposal.clone();
    out.ke.retain(|m| methods.contains(m));
    (proposal.ke.is_empty() || !out.ke.is_empty()).then_some(out)
}

impl Grant {
    fn begin(ike: &mut Ike, cx: &mut Cx<'_>, rules: Rules, wish: Wish<'_>) -> Turn {
        let nonce_r = cx.shared.nonce();
        let child = cx.fresh_child();
        let has_ke = wish.chosen.suite.ke.is_some();
        if let Some(old) = rules.old {
            ike.collides(old, child, lower((wish.nonce, &nonce_r)));
            ike.without_pfs |= !has_ke && wish.public.is_none();
        }
        let granted = rules.mode.is_some() || ike.policy.transport;
        let mode = if wish.transport && granted { ChildMode::Transport } else { ChildMode::Tunnel };
        let made = Made {
            child,
            replaces: rules.old,
            mode,
            suite: wish.chosen.suite,
            inbound_spi: 0,
            outbound_spi: wish.chosen.peer_spi(),
            local_ts: wish.tsr,
            remote_ts: wish.tsi,
        };
        let grant = Box::new(Self {
            made,
            esp: rules.esp,
            name: rules.name,
            reply: wish.chosen.reply,
            nonce_i: wish.nonce.to_vec(),
            nonce_r,
            // [7296:3.3.6-8]
            public: wish.public.filter(|_| has_ke).map(|ke| ke.data.clone()),
            method: wish.chosen.suite.ke,
            exchanges: Exchanges::new(wish.chosen.suite.additional),
            phase: Phase::Allocating,
        });
        let ask = cx.ask(Ask::AllocateSpi { path: ike.sa.channel.path });
        Turn::Wait(Job::Grant(grant), ask)
    }

    /// Whether the peer, which has no answer yet, may ask the same of whoever goes on: there was none before, to a key exchange
    /// ahead of others.
    pub(crate) fn may_be_asked_again(&self) -> bool {
        !self.exchanges.several()
    }

    /// It.
    pub(crate) const fn child(&self) -> ChildId {
        self.made.child
    }

    /// The CHILD_SA in whose place it is.
    pub(crate) const fn old(&self) -> Option<ChildId> {
        self.made.replaces
    }

    fn wait(mut self: Box<Self>, phase: Phase, ask: AskId) -> Turn {
        self.phase = phase;
        Turn::Wait(Job::Grant(self), ask)
    }

    /// An answer to an Ask of ours.
    pub(crate) fn answer(
        mut self: Box<Self>,
        ike: &mut Ike,
        cx: &mut Cx<'_>,
        id: AskId,
        answer: Answer,
    ) -> Turn {
        let phase = core::mem::replace(&mut self.phase, Phase::Allocating);
        match (phase, answer) {
            (Phase::Allocating, Answer::Spi(Ok(spi))) => self.allocated(ike, cx, spi),
            (Phase::Encapsulating, Answer::Encapsulated(Ok((public, shared)))) => {
                self.public = Some(public);
                match self.exchanges.over(shared) {
                    Some(next) => self.goes_on(ike, cx, next),
                    None => self.install(ike, cx),
                }
            }
            // The peer's public value is none.
            (Phase::Encapsulating, Answer::Encapsulated(Err(CryptoError::BadPublicValue))) => {
                self.refuse(ike, cx, NotifyType::NO_PROPOSAL_CHOSEN)
            }
            (Phase::Installing(outbound), Answer::Installed(Ok(()))) => self.installed(ike, cx, outbound),
            (Phase::Installing(_), Answer::Installed(Err(_))) => {
                ike.child_installed(cx, self.made.child, Kernel::Out);
                self.refuse(ike, cx, NotifyType::TEMPORARY_FAILURE)
            }
            (Phase::Allocating, Answer::Spi(Err(_)))
            | (Phase::Encapsulating, Answer::Encapsulated(Err(_))) => {
                self.refuse(ike, cx, NotifyType::TEMPORARY_FAILURE)
            }
            // An answer of another name than the question: as good as none.
            (phase, _) => self.wait(phase, id),
        }
    }

    /// An Ask was not answered in time.
    pub(crate) fn unanswered(self: Box<Self>, ike: &mut Ike, cx: &mut Cx<'_>) -> Turn {
        // Nobody knows what became of it: it is taken back.
        ike.child_installed(cx, self.made.child, Kernel::In);
        self.refuse(ike, cx, NotifyType::TEMPORARY_FAILURE)
    }

    fn refuse(self: Box<Self>, ike: &mut Ike, cx: &mut Cx<'_>, kind: NotifyType) -> Turn {
        self.dropped(ike, cx);
        Turn::notify(kind)
    }

    /// Nothing comes of it.
    pub(crate) fn dropped(&self, ike: &mut Ike, cx: &mut Cx<'_>) {
        let id = self.made.child;
        ike.drop_child(cx, id);
        ike.rival_failed(id);
        ike.unreplace(cx, id, None);
    }

    /// `…, N(ADDITIONAL_KEY_EXCHANGE)`: the peer is to follow up.
    fn goes_on(mut self: Box<Self>, ike: &mut Ike, cx: &mut Cx<'_>, next: KeMethod) -> Turn {
        let mut payloads = self.payloads();
        self.method = Some(next);
        // [9370:2.2.4-1]
        payloads.push(ike.pend(cx, Job::Grant(self)));
        Turn::Reply(Reply::of(payloads))
    }

    /// The peer's next key exchange.
    pub(crate) fn followed(self: Box<Self>, ike: &mut Ike, cx: &mut Cx<'_>, message: &Message) -> Turn {
        let method = self.method.unwrap_or(KeMethod::Curve25519);
        match intermediate::public(message, method) {
            Ok(peer) => {
                let ask = cx.ask(Ask::Encapsulate { method, peer });
                self.wait(Phase::Encapsulating, ask)
            }
            Err(why) => {
                self.dropped(ike, cx);
                Turn::Reply(malformed(&format!("IKE_FOLLOWUP_KE: {why}")))
            }
        }
    }

    fn allocated(mut self: Box<Self>, ike: &mut Ike, cx: &mut Cx<'_>, spi: u32) -> Turn {
        self.made.inbound_spi = spi;
        for proposal in &mut self.reply.proposals {
            proposal.spi = spi.to_be_bytes().to_vec();
        }
        match (self.made.suite.ke, &self.public) {
            (Some(method), Some(peer)) => {
                let ask = cx.ask(Ask::Encapsulate { method, peer: peer.clone() });
                self.wait(Phase::Encapsulating, ask)
            }
            _ => self.install(ike, cx),
        }
    }

    fn install(self: Box<Self>, ike: &mut Ike, cx: &mut Cx<'_>) -> Turn {
        if ike.is_closing() {
            return self.refuse(ike, cx, NotifyType::TEMPORARY_FAILURE);
        }
        let nonces = (self.nonce_i.as_slice(), self.nonce_r.as_slice());
        // [9370:2.2.4-5]
        let keys = self.made.keys(ike, cx, false, nonces, self.exchanges.secrets());
        let Ok(Directions { inbound, outbound }) = keys else {
            return self.refuse(ike, cx, NotifyType::TEMPORARY_FAILURE);
        };
        // RFC 7296 §2.8: what is to be replaced goes on until the peer has the new one.
        let (now, later) = if self.old().is_some() { (None, Some(outbound)) } else { (Some(outbound), None) };
        let sa = self.made.sa(ike, inbound, now);
        // [7296:2.8-4]
        let ask = cx.ask(Ask::Install(sa));
        ike.children.push(self.made.child(ask, Arc::clone(&self.esp), self.name.clone()));
        self.wait(Phase::Installing(later), ask)
    }

    fn installed(mut self: Box<Self>, ike: &mut Ike, cx: &mut Cx<'_>, outbound: Option<EspKeys>) -> Turn {
        let id = self.made.child;
        if !ike.child_installed(cx, id, Kernel::In) {
            return self.refuse(ike, cx, NotifyType::TEMPORARY_FAILURE);
        }
        ike.in_step();
        let (due, tidy) = (ike.rekey_child_at(cx), Some(cx.now + TIDY_AFTER));
        let life = cx.life(ike.policy.timing.rekey_child);
        let old = self.old().and_then(|old| ike.child(old));
        // Ours has won already (RFC 7296 §2.8.1), and the peer is about to delete this one.
        let survivor = old.as_ref().and_then(|old| old.replaced_by);
        if let (Some(old), None) = (old, survivor) {
            // [7296:2.8.1-1]
            old.replaced_by = Some(id);
            old.due = tidy;
        }
        if let Some(child) = ike.child(id) {
            child.replaced_by = survivor;
            child.due = if survivor.is_some() { tidy } else { due };
            child.expires_at = life;
        }
        if let (Some(keys), Some(old)) = (outbound, self.old()) {
            ike.keep_outbound(cx, id, keys, old);
        }
        let up = ChildUp {
            child: id,
            replaces: self.old(),
            name: self.name.as_deref().map(str::to_owned),
            esp: self.made.suite,
            mode: self.made.mode,
            local_ts: self.made.local_ts.clone(),
            remote_ts: self.made.remote_ts.clone(),
        };
        cx.event(Event::ChildUp(Box::new(up)));
        Turn::Reply(Reply::of(self.payloads()))
    }

    /// `[N(USE_TRANSPORT_MODE),] SA, Nr, [KEr,] TSi, TSr`, or `KEr(n)`
    fn payloads(&mut self) -> Vec<Payload> {
        let public = self.public.take().zip(self.method);
        let ke = public.map(|(public, method)| intermediate::payload(method, public));
        if self.exchanges.secrets().len() > 1 {
            return ke.into_iter().collect();
        }
        let mut out = Vec::with_capacity(7);
        // [7296:1.3.1-1]
        if self.made.mode == ChildMode::Transport {
            out.push(Payload::Notify(Notify::new(NotifyType::USE_TRANSPORT_MODE, [])));
        }
        out.push(Payload::Sa(core::mem::take(&mut self.reply)));
        out.push(Payload::Nonce(self.nonce_r.clone()));
        out.extend(ke);
        out.push(Payload::TsI(self.made.remote_ts.iter().copied().collect()));
        out.push(Payload::TsR(self.made.local_ts.iter().copied().collect()));
        out
    }
}
