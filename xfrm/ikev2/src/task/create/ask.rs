//! CREATE_CHILD_SA that we begin: AllocateSpi → Generate (with PFS) → request sent → Agree (with PFS), for each key
//! exchange → Install → the old one is deleted.

use std::sync::Arc;

use adit_core::{Failure, FailureCode, Step, TrafficSelector};
use adit_isakmp::crypto::KeyExchange;
use adit_isakmp::payload::{KeyExchangeData, Notify, NotifyType};
use adit_isakmp::proposal::{EspProposal, accept_esp, offer_esp};
use adit_isakmp::{EspSuite, ExchangeType, KeMethod, Message, Payload};

mod follow;
mod left;

pub(crate) use left::{Leaves, answered as left_answered};

use super::{Directions, Made, REFUSED_FOR, lower};
use crate::api::{Answer, Ask, AskId, ChildConfig, ChildId, ChildMode, ChildUp, Event};
use crate::channel::Channel;
use crate::explain;
use crate::ike::{Child, Ike, Kernel, TIDY_AFTER};
use crate::selectors;
use crate::state::Cx;
use crate::task::followup::{self, Exchanges};
use crate::task::{Move, Running, Task};
use crate::wire::only;

/// One CHILD_SA in the making.
pub(crate) struct Create {
    purpose: Purpose,
    esp: Arc<[EspProposal]>,
    mode: ChildMode,
    local_ts: Vec<TrafficSelector>,
    remote_ts: Vec<TrafficSelector>,
    inbound_spi: u32,
    nonce: Vec<u8>,
    /// The method of our KE payload.
    method: Option<KeMethod>,
    /// INVALID_KE_PAYLOAD was followed, or the offer cut to what has no key exchange.
    retried: bool,
    /// What the peer has made in place of the same CHILD_SA for a process before: in its name it is asked for this one.
    left: Option<ChildId>,
    /// What the peer has made meanwhile in place of the same CHILD_SA, with the lower of its two nonces.
    rival: Option<(ChildId, Vec<u8>)>,
    phase: Phase,
}

/// What it is for.
enum Purpose {
    New(Box<ChildConfig>),
    Rekey(ChildId),
}

enum Phase {
    Allocating,
    Generating,
    Sent(Option<Box<dyn KeyExchange>>),
    Agreeing(Granted),
    /// The key of an additional key exchange is being made.
    Following(Granted),
    /// IKE_FOLLOWUP_KE was sent.
    Followed(Granted, Box<dyn KeyExchange>),
    Installing(Made, Vec<u8>),
}

/// What the peer grants.
struct Granted {
    made: Made,
    nonce: Vec<u8>,
    exchanges: Exchanges,
    /// What the next IKE_FOLLOWUP_KE has to repeat.
    link: Option<Vec<u8>>,
}

/// What a response says.
struct Answered {
    suite: EspSuite,
    outbound_spi: u32,
    mode: ChildMode,
    nonce: Vec<u8>,
    public: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    local_ts: Vec<TrafficSelector>,
    remote_ts: Vec<TrafficSelector>,
}

/// A new one, as `config` says.
pub(crate) fn begin_new(ike: &Ike, cx: &mut Cx<'_>, config: Box<ChildConfig>) -> Move {
    let mut local_ts = ike.own_side(&selectors::or_everything(&config.local_ts));
    let mut remote_ts = selectors::or_everything(&config.remote_ts);
    if config.mode == ChildMode::Transport {
        (local_ts, remote_ts) = ike.sa.channel.outer(&local_ts, &remote_ts);
    }
    Create::begin(
        ike,
        cx,
        Create {
            esp: config.esp.as_slice().into(),
            mode: config.mode,
            local_ts,
            remote_ts,
            purpose: Purpose::New(config),
            inbound_spi: 0,
            nonce: Vec::new(),
            method: None,
            retried: false,
            left: None,
            rival: None,
            phase: Phase::Allocating,
        },
    )
}

/// One in place of `old`.
pub(crate) fn begin_rekey(ike: &mut Ike, cx: &mut Cx<'_>, old: ChildId) -> Move {
    let (answering, left) = (ike.granting() == Some(old), ike.left_by(old));
    let Some(child) = ike.child(old).filter(|c| c.is_current() && c.kernel == Kernel::In && !answering)
    else {
        return Move::Done;
    };
    let create = Create {
        purpose: Purpose::Rekey(old),
        esp: Arc::clone(&child.esp),
        mode: child.mode,
        // [7296:2.9.2-1]
        local_ts: child.local_ts.to_vec(),
        remote_ts: child.remote_ts.to_vec(),
        inbound_spi: 0,
        nonce: Vec::new(),
        method: None,
        retried: false,
        left,
        rival: None,
        phase: Phase::Allocating,
    };
    Create::begin(ike, cx, create)
}

impl Create {
    fn begin(ike: &Ike, cx: &mut Cx<'_>, mut create: Self) -> Move {
        if ike.without_pfs && create.esp.iter().any(|p| p.ke.is_empty()) {
            create.without_ke();
        }
        let ask = cx.ask(Ask::AllocateSpi { path: ike.sa.channel.path });
        Move::Wait(Running::Create(Box::new(create)), ask)
    }

    /// Offers only what has no key exchange.
    fn without_ke(&mut self) {
        self.esp = self.esp.iter().filter(|p| p.ke.is_empty()).cloned().collect();
        self.method = None;
    }

    /// The CHILD_SA that it is to replace.
    pub(crate) const fn old(&self) -> Option<ChildId> {
        match self.purpose {
            Purpose::Rekey(old) => Some(old),
            Purpose::New(_) => None,
        }
    }

    /// Whether the peer may have seen the request.
    pub(crate) const fn was_sent(&self) -> bool {
        !matches!(self.phase, Phase::Allocating | Phase::Generating)
    }

    /// The peer has made a CHILD_SA in place of the same one (RFC 7296 §2.8.1).
    pub(crate) fn collides(&mut self, rival: ChildId, lowest: Vec<u8>) {
        self.rival = Some((rival, lowest));
    }

    /// What the peer was about to make did not come about.
    pub(crate) fn rival_failed(&mut self, rival: ChildId) {
        self.rival.take_if(|(id, _)| *id == rival);
    }

    fn wait(mut self: Box<Self>, phase: Phase, ask: AskId) -> Move {
        self.phase = phase;
        Move::Wait(Running::Create(self), ask)
    }

    /// An answer to an Ask of ours.
    pub(crate) fn answer(
        mut self: Box<Self>,
        ike: &mut Ike,
        cx: &mut Cx<'_>,
        id: AskId,
        answer: Answer,
    ) -> Move {
        let phase = core::mem::replace(&mut self.phase, Phase::Allocating);
        match (phase, answer) {
            (Phase::Allocating, Answer::Spi(Ok(spi))) => {
                self.inbound_spi = spi;
                self.nonce = cx.shared.nonce();
                // What the IKE_SA uses, both ends have.
                let usable = |m: KeMethod| self.esp.iter().any(|p| p.ke.contains(&m)).then_some(m);
                let first = self.esp.iter().find_map(|p| p.ke.first()).copied();
                // [7296:1.3-2] [7296:1.3-1]
                self.method = usable(ike.sa.suite.ke).or(first);
                self.generate(ike, cx)
            }
            (Phase::Generating, Answer::Generated(Ok(key))) => self.send(ike, Some(key)),
            (Phase::Agreeing(granted), Answer::Agreed(result)) => self.agreed(ike, cx, granted, result),
            (Phase::Installing(made, nonce), Answer::Installed(result)) => {
                self.installed(ike, cx, &made, &nonce, result)
            }
            (Phase::Allocating, Answer::Spi(Err(why))) => self.failed(ike, cx, why),
            (Phase::Following(granted), Answer::Generated(Ok(key))) => self.follow(granted, key),
            (Phase::Generating | Phase::Following(_), Answer::Generated(Err(error))) => {
                let why = explain::crypto_failed(Step::Child, self.method, error);
                self.failed(ike, cx, why)
            }
            // An answer of another name than the question: as good as none.
            (phase, _) => self.wait(phase, id),
        }
    }

    /// An Ask was not answered in time.
    pub(crate) fn unanswered(mut self: Box<Self>, ike: &mut Ike, cx: &mut Cx<'_>) -> Move {
        let why = explain::unanswered(Step::Child);
        match core::mem::replace(&mut self.phase, Phase::Allocating) {
            Phase::Agreeing(granted) if granted.exchanges.is_last() => {
                self.spoilt(ike, cx, &granted.made, Kernel::Out, why)
            }
            // Nobody knows what became of it: it is taken back.
            Phase::Installing(made, _) => self.spoilt(ike, cx, &made, Kernel::In, why),
            _ => self.failed(ike, cx, why),
        }
    }

    fn generate(self: Box<Self>, ike: &mut Ike, cx: &mut Cx<'_>) -> Move {
        match self.method {
            Some(method) => {
                let ask = cx.ask(Ask::Generate(method));
                self.wait(Phase::Generating, ask)
            }
            None => self.send(ike, None),
        }
    }

    /// Whether what it is for is still wanted, now that the request is to go out.
    fn wanted(&self, ike: &mut Ike) -> bool {
        let granting = ike.granting();
        match self.old() {
            Some(old) => granting != Some(old) && ike.child(old).is_some_and(|c| c.is_current()),
            None => true,
        }
    }

    /// `[N(REKEY_SA),] [N(USE_TRANSPORT_MODE),] SA, Ni, [KEi,] TSi, TSr`
    fn send(mut self: Box<Self>, ike: &mut Ike, key: Option<Box<dyn KeyExchange>>) -> Move {
        if !self.wanted(ike) {
            return Move::Done;
        }
        let mut payloads = Vec::with_capacity(7);
        let named = self.left.or_else(|| self.old());
        let old = named.and_then(|named| ike.child(named)).filter(|c| !c.lost);
        // [7296:1.3.3-1] [7296:3.10-1]
        payloads.extend(old.map(|c| Payload::Notify(Notify::esp(NotifyType::REKEY_SA, c.inbound_spi, []))));
        if self.mode == ChildMode::Transport {
            payloads.push(Payload::Notify(Notify::new(NotifyType::USE_TRANSPORT_MODE, [])));
        }
        payloads.push(Payload::Sa(offer_esp(&self.esp, self.inbound_spi, true)));
        payloads.push(Payload::Nonce(self.nonce.clone()));
        // [7296:3.4-3] [7296:1.3-1]
        if let (Some(key), Some(method)) = (&key, self.method) {
            payloads.push(Payload::Ke(KeyExchangeData::new(method, key.public().to_vec())));
        }
        payloads.push(Payload::TsI(self.local_ts.iter().copied().collect()));
        payloads.push(Payload::TsR(self.remote_ts.iter().copied().collect()));
        self.phase = Phase::Sent(key);
        Move::Send(Running::Create(self), ExchangeType::CREATE_CHILD_SA, payloads)
    }

    /// The response.
    pub(crate) fn answered(mut self: Box<Self>, ike: &mut Ike, cx: &mut Cx<'_>, response: &Message) -> Move {
        let key = match core::mem::replace(&mut self.phase, Phase::Allocating) {
            Phase::Sent(key) => key,
            Phase::Followed(granted, key) => return self.followed(ike, cx, granted, key, response),
            _ => return Move::Done,
        };
        // One that nobody knows is a failure whatever stands beside it (RFC 7296 §3.10.1).
        let has_sa = response.payloads.iter().any(|p| matches!(p, Payload::Sa(_)));
        let fails = |n: &&Notify| n.kind.is_error() && (!has_sa || n.kind.name().is_none());
        if let Some(notify) = response.notifies().find(fails) {
            return self.refused(ike, cx, notify);
        }
        ike.in_step();
        let answered = match self.read(&ike.sa.channel, response) {
            Ok(answered) => answered,
            Err((spi, why)) => {
                let why =
                    explain::misbehaved(Step::Child, format!("the peer's answer to CREATE_CHILD_SA: {why}"));
                return self.unusable(ike, cx, spi.unwrap_or_default(), why);
            }
        };
        let old = self.old().filter(|old| ike.children.iter().any(|c| c.id == *old));
        let made = Made {
            child: cx.fresh_child(),
            replaces: old,
            mode: answered.mode,
            suite: answered.suite,
            inbound_spi: self.inbound_spi,
            outbound_spi: answered.outbound_spi,
            local_ts: answered.local_ts,
            remote_ts: answered.remote_ts,
        };
        let exchanges = Exchanges::new(made.suite.additional);
        let granted = Granted { made, nonce: answered.nonce, exchanges, link: answered.link };
        if granted.exchanges.several() && self.loses(&granted.nonce).is_some() {
            return self.lost(ike, cx);
        }
        if self.rival.is_some() && self.loses(&granted.nonce).is_none() {
            ike.drop_rival(cx, self.old());
        }
        match (answered.public, key) {
            (Some(peer), Some(key)) => {
                let ask = cx.ask(Ask::Agree { key, peer });
                self.wait(Phase::Agreeing(granted), ask)
            }
            _ => self.install(ike, cx, granted),
        }
    }

    /// On error: also the peer's SPI, if it believes that there is a CHILD_SA.
    fn read(&self, channel: &Channel, response: &Message) -> Result<Answered, (Option<u32>, String)> {
        let sa = only!(response, Payload::Sa).map_err(|why| (None, why))?;
        let accepted = accept_esp(&self.esp, sa, true).map_err(|e| (None, e.to_string()))?;
        let outbound_spi = accepted.peer_spi();
        // RFC 4303 §2.1: 0 is never sent, 1 to 255 are reserved.
        if outbound_spi < 256 {
            return Err((None, format!("its SPI is {outbound_spi}")));
        }
        let spoilt = |why: String| (Some(outbound_spi), why);
        let nonce = only!(response, Payload::Nonce).map_err(spoilt)?;
        let tsi = only!(response, Payload::TsI).map_err(spoilt)?.ranges().collect();
        let tsr = only!(response, Payload::TsR).map_err(spoilt)?.ranges().collect();
        let transport = response.notify(NotifyType::USE_TRANSPORT_MODE).is_some();
        let here = if transport { channel.translate(tsi, tsr) } else { Some((tsi, tsr)) };
        let (local_ts, remote_ts) = here.ok_or_else(|| {
            spoilt("its traffic selectors for transport mode name several addresses".into())
        })?;
        let public = match accepted.suite.ke {
            None => None,
            Some(method) => {
                let ke = only!(response, Payload::Ke).map_err(spoilt)?;
                if self.method != Some(method) || ke.known() != Some(method) {
                    return Err(spoilt("its key exchange is not the one that was asked for".into()));
                }
                Some(ke.data.clone())
            }
        };
        let link = followup::link(response);
        if accepted.suite.additional.count() > 0 && link.is_none() {
            return Err((
                None,
                "it has additional key exchanges, and does not say how they are linked".into(),
            ));
        }
        // RFC 7296 §2.9: narrower is the peer's right, wider is not.
        if !selectors::is_subset(&local_ts, &self.local_ts)
            || !selectors::is_subset(&remote_ts, &self.remote_ts)
        {
            return Err(spoilt("its traffic selectors were not proposed".into()));
        }
        let mode = if transport { ChildMode::Transport } else { ChildMode::Tunnel };
        // RFC 7296 §1.3.1: whoever does not accept tunnel mode deletes the SA.
        // [7296:1.3.1-2]
        if mode != self.mode {
            return Err(spoilt("it has another mode (tunnel, transport) than was asked for".into()));
        }
        Ok(Answered {
            suite: accepted.suite,
            outbound_spi,
            mode,
            nonce: nonce.clone(),
            public,
            link,
            local_ts,
            remote_ts,
        })
    }

    fn install(self: Box<Self>, ike: &mut Ike, cx: &mut Cx<'_>, granted: Granted) -> Move {
        let Granted { made, nonce, exchanges, .. } = granted;
        let keys = match made.keys(ike, cx, true, (&self.nonce, &nonce), exchanges.secrets()) {
            Ok(keys) => keys,
            Err(why) => return self.spoilt(ike, cx, &made, Kernel::Out, why),
        };
        let Directions { inbound, outbound } = keys;
        // What is to be deleted at once is received on, and not sent on.
        let outbound = self.loses(&nonce).is_none().then_some(outbound);
        let sa = made.sa(ike, inbound, outbound);
        let name = match &self.purpose {
            Purpose::New(config) => Some(config.name.as_str().into()),
            Purpose::Rekey(old) => ike.child(*old).and_then(|c| c.name.clone()),
        };
        let esp = match self.old().and_then(|old| ike.child(old)) {
            Some(old) => Arc::clone(&old.esp),
            None => Arc::clone(&self.esp),
        };
        let ask = cx.ask(Ask::Install(sa));
        ike.children.push(made.child(ask, esp, name));
        self.wait(Phase::Installing(made, nonce), ask)
    }

    /// The peer's, if ours was made with the lowest nonce and has to go.
    fn loses(&self, nonce: &[u8]) -> Option<ChildId> {
        let ours = lower((&self.nonce, nonce));
        self.rival.as_ref().filter(|(_, theirs)| ours < *theirs).map(|(id, _)| *id)
    }

    fn installed(
        self: Box<Self>,
        ike: &mut Ike,
        cx: &mut Cx<'_>,
        made: &Made,
        nonce: &[u8],
        result: Result<(), Failure>,
    ) -> Move {
        if let Err(why) = result {
            return self.spoilt(ike, cx, made, Kernel::Out, why);
        }
        if !ike.child_installed(cx, made.child, Kernel::In) {
            return self.failed(ike, cx, explain::last_child_closed(&ike.remote_id));
        }
        if let Some(survivor) = self.loses(nonce) {
            if let Some(child) = ike.child(made.child) {
                child.replaced_by = Some(survivor);
            }
            ike.enqueue(Task::DeleteChild(made.child));
            return Move::Done;
        }
        self.takes_over(ike, cx, made)
    }

    /// The new CHILD_SA is the one that stays.
    fn takes_over(self: Box<Self>, ike: &mut Ike, cx: &mut Cx<'_>, made: &Made) -> Move {
        let (due, life) = (ike.rekey_child_at(cx), cx.life(ike.policy.timing.rekey_child));
        let mut name = None;
        if let Some(child) = ike.child(made.child) {
            child.due = due;
            child.expires_at = life;
            name = child.name.as_deref().map(str::to_owned);
        }
        cx.event(Event::ChildUp(Box::new(ChildUp {
            child: made.child,
            replaces: made.replaces,
            name,
            esp: made.suite,
            mode: made.mode,
            local_ts: made.local_ts.clone(),
            remote_ts: made.remote_ts.clone(),
        })));
        let tidy = Some(cx.now + TIDY_AFTER);
        let rival = self.rival.as_ref().map(|(id, _)| *id);
        if let Some(child) = rival.and_then(|id| ike.child(id)) {
            child.replaced_by = Some(made.child);
            child.outbound = None;
            child.due = tidy;
        }
        if let Some(old) = self.old() {
            ike.delete_left_by(old);
        }
        let Some(old) = self.old().and_then(|old| ike.child(old)) else {
            return Move::Done;
        };
        old.replaced_by = Some(made.child);
        old.due = None;
        let (id, lost) = (old.id, old.lost);
        if lost {
            ike.drop_child(cx, id);
        } else {
            ike.enqueue(Task::DeleteChild(id));
        }
        Move::Done
    }

    /// The peer has it, and it is not to be: it is deleted there.
    fn spoilt(
        self: Box<Self>,
        ike: &mut Ike,
        cx: &mut Cx<'_>,
        made: &Made,
        kernel: Kernel,
        why: Failure,
    ) -> Move {
        if ike.child(made.child).is_some() {
            if ike.child_installed(cx, made.child, kernel) {
                ike.enqueue(Task::DeleteChild(made.child));
            }
            return self.failed(ike, cx, why);
        }
        self.unusable(ike, cx, made.outbound_spi, why)
    }

    /// The same, where nothing of it has been installed.
    fn unusable(self: Box<Self>, ike: &mut Ike, cx: &mut Cx<'_>, outbound_spi: u32, why: Failure) -> Move {
        let id = cx.fresh_child();
        ike.children.push(Child {
            kernel: Kernel::Out,
            ..Child::new(id, (self.inbound_spi, outbound_spi), self.mode, (&[], &[]))
        });
        ike.enqueue(Task::DeleteChild(id));
        self.failed(ike, cx, why)
    }

    /// The peer says no.
    fn refused(mut self: Box<Self>, ike: &mut Ike, cx: &mut Cx<'_>, notify: &Notify) -> Move {
        match notify.kind {
            NotifyType::INVALID_KE_PAYLOAD if !self.retried => {
                let method = notify.data_u16().and_then(KeMethod::from_transform_id);
                let offered = method.filter(|m| self.esp.iter().any(|p| p.ke.contains(m)));
                if offered.is_some() && offered != self.method {
                    self.retried = true;
                    self.method = offered;
                    return self.generate(ike, cx);
                }
            }
            // [7296:2.25-1]
            NotifyType::TEMPORARY_FAILURE => return self.later(ike, cx),
            NotifyType::CHILD_SA_NOT_FOUND => return self.not_found(ike, cx),
            NotifyType::NO_ADDITIONAL_SAS if self.old().is_some() => ike.begin_anew(cx),
            // A peer without perfect forward secrecy may refuse what has it instead of choosing what has not.
            _ if self.method.is_some() && !self.retried && self.esp.iter().any(|p| p.ke.is_empty()) => {
                self.retried = true;
                ike.without_pfs = true;
                self.without_ke();
                return self.send(ike, None);
            }
            _ => {}
        }
        let why = explain::create_refused(&self.esp, (&self.local_ts, &self.remote_ts), notify);
        self.failed(ike, cx, why)
    }

    /// The same again, after a while.
    fn later(self: Box<Self>, ike: &mut Ike, cx: &mut Cx<'_>) -> Move {
        match self.purpose {
            Purpose::Rekey(old) => ike.later(cx, Task::Rekey(old)),
            Purpose::New(config) => ike.later(cx, Task::New(config)),
        }
    }

    /// RFC 7296 §2.25: the peer has lost it. A new one is asked for from scratch; until that is up the old one's
    /// policies keep what it carried from going out in clear.
    fn not_found(&self, ike: &mut Ike, cx: &mut Cx<'_>) -> Move {
        if let (Some(left), Some(old)) = (self.left, self.old()) {
            ike.drop_child(cx, left);
            ike.enqueue(Task::Rekey(old));
            return Move::Done;
        }
        let Some(old) = self.old().and_then(|old| ike.child(old)) else {
            return Move::Done;
        };
        // The peer has rekeyed it meanwhile, and we have answered: that is why.
        if old.replaced_by.is_some() || old.lost {
            return Move::Done;
        }
        old.lost = true;
        let id = old.id;
        ike.enqueue(Task::Rekey(id));
        Move::Done
    }

    /// There will be none. The old one, if the peer has it, carries on.
    fn failed(self: Box<Self>, ike: &mut Ike, cx: &mut Cx<'_>, why: Failure) -> Move {
        let life = ike.policy.timing.rekey_child;
        match self.purpose {
            Purpose::New(config) => cx.event(Event::ChildRefused { name: config.name, why }),
            Purpose::Rekey(old) => {
                ike.delete_left_by(old);
                let again = cx.after(REFUSED_FOR.max(life / 10));
                match ike.child(old) {
                    Some(child) if child.lost => ike.drop_child(cx, old),
                    Some(child) if child.replaced_by.is_none() => {
                        child.due = Some(again);
                        // One that takes no more at all is being left.
                        if why.code != FailureCode::PeerBusy {
                            cx.event(Event::RekeyRefused { child: Some(old), why });
                        }
                    }
                    _ => {}
                }
            }
        }
        Move::Done
    }
}
