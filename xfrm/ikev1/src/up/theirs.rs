//! Quick Modes that a peer begins (RFC 2409 §5.5). The inbound SA is there before the second message goes out, the
//! outbound one when the third has come: nothing is sent that the peer can't read.

use adit_core::{Failure, Instant, Secret, Step as At, TrafficSelector};
use adit_isakmp::ExchangeType;
use adit_isakmp::payload::Protocol;
use adit_isakmp::v1::proposal::{self, ChosenEsp, choose_esp};
use adit_isakmp::v1::{Identification, Message, Notify, NotifyKind, Payload};

use super::child::{Agreement, taken_back};
use super::outbound::Sending;
use super::{Fate, Up};
use crate::api::{Answer, Ask, AskId, ChildId, EspKeys, Event, Timer};
use crate::explain;
use crate::initiator::{lifetime, value_and_nonce};
use crate::policy::at;
use crate::request::{Request, Retry};
use crate::responder::error;
use crate::state::{Cx, Datagram};

/// Quick Modes of a peer under way at once.
const MOST: usize = 8;

/// One of a peer's.
pub(crate) struct Theirs {
    pub(super) cookies: (u64, u64),
    message_id: u32,
    /// The CHILD_SA that carries the same.
    pub(super) root: Option<ChildId>,
    patience: Instant,
    digest: [u8; 20],
    ni: Vec<u8>,
    nr: Vec<u8>,
    iv: Vec<u8>,
    chosen: ChosenEsp,
    selectors: (TrafficSelector, TrafficSelector),
    /// IDci and IDcr as they came.
    ids: Option<(Identification, Identification)>,
    /// Our public value and g(qm)^xy.
    shared: Option<(Vec<u8>, Secret)>,
    step: Step,
}

enum Step {
    /// A key pair and the shared secret are being made.
    Key(AskId),
    /// An SPI is being had.
    Spi(AskId),
    /// The inbound SA is being installed.
    Install { ask: AskId, agreement: Box<Agreement>, outbound: EspKeys },
    /// The second message is out.
    Second { request: Request, agreement: Box<Agreement>, outbound: EspKeys },
    /// The outbound SA is being installed.
    Outbound { ask: AskId, agreement: Box<Agreement> },
}

/// Why a first message is not answered.
struct Refused {
    kind: NotifyKind,
    why: Failure,
}

impl Theirs {
    pub(super) fn is(&self, cookies: (u64, u64), id: u32) -> bool {
        self.cookies == cookies && self.message_id == id
    }

    pub(super) const fn asked(&self) -> Option<AskId> {
        match &self.step {
            Step::Key(ask) | Step::Spi(ask) => Some(*ask),
            Step::Install { ask, .. } | Step::Outbound { ask, .. } => Some(*ask),
            Step::Second { .. } => None,
        }
    }

    pub(super) const fn deadline(&self) -> (Instant, Timer) {
        match &self.step {
            Step::Second { request, .. } => (request.deadline(), Timer::Retransmit),
            _ => (self.patience, Timer::HalfOpen),
        }
    }

    /// What was installed is to be taken back.
    pub(super) fn taken_back(&self, cx: &mut Cx<'_>) {
        if let Some(agreement) = self.agreement() {
            taken_back(cx, agreement);
        }
    }

    const fn agreement(&self) -> Option<&Agreement> {
        match &self.step {
            Step::Install { agreement, .. }
            | Step::Second { agreement, .. }
            | Step::Outbound { agreement, .. } => Some(agreement),
            Step::Key(_) | Step::Spi(_) => None,
        }
    }
}

impl Up {
    /// A first message, of a Message ID that has not been heard of.
    pub(super) fn theirs_first(&mut self, cx: &mut Cx<'_>, at: usize, datagram: Datagram) -> Fate {
        let id = datagram.header.message_id;
        let Some(isakmp) = self.isakmp.get_mut(at) else {
            return Fate::On;
        };
        // [2409:5.5-6]
        if isakmp.quick.has(id) || isakmp.quick.is_full() {
            cx.replayed();
            return Fate::On;
        }
        if self.theirs.len() >= MOST {
            cx.ignore();
            return Fate::On;
        }
        let mut iv = isakmp.channel.first_iv(cx, id);
        let Some(message) = isakmp.channel.open(cx, &mut iv, &[], &datagram.bytes) else {
            cx.forged();
            return Fate::On;
        };
        isakmp.quick.add(id);
        let cookies = isakmp.cookies();
        self.heard_from(cx, datagram.path);
        let digest = cx.digest(&datagram.bytes);
        match self.read_first(cx, (cookies, id), (iv, digest), &message) {
            Ok(quick) => {
                self.theirs.push(quick);
                Fate::On
            }
            Err(refused) => self.refuse(cx, cookies, refused),
        }
    }

    fn refuse(&mut self, cx: &mut Cx<'_>, cookies: (u64, u64), refused: Refused) -> Fate {
        let path = self.path;
        if let Some(isakmp) = self.isakmp.iter_mut().find(|i| i.cookies() == cookies)
            && let Some(datagrams) = isakmp.inform(cx, error(refused.kind))
        {
            cx.transmit_all(path, &datagrams);
        }
        if self.established {
            cx.event(Event::ChildRefused { why: refused.why });
            return Fate::On;
        }
        // It may try again with something else, but a person should know why it is not up.
        self.end(cx);
        Fate::Over(Err(refused.why))
    }

    fn read_first(
        &mut self,
        cx: &mut Cx<'_>,
        (cookies, message_id): ((u64, u64), u32),
        (iv, digest): (Vec<u8>, [u8; 20]),
        message: &Message,
    ) -> Result<Theirs, Refused> {
        let malformed =
            |why| Refused { kind: NotifyKind::PAYLOAD_MALFORMED, why: explain::quick_unusable(why) };
        let sa = message.iter().find_map(|p| if let Payload::Sa(sa) = p { Some(sa) } else { None });
        let sa = sa.ok_or_else(|| malformed("the peer's message has no SA payload"))?;
        let nonce = message.iter().find_map(|p| if let Payload::Nonce(n) = p { Some(n) } else { None });
        let ni = nonce.ok_or_else(|| malformed("the peer's message has no nonce"))?.clone();
        let how = (self.policy.mode, self.how());
        let chosen = choose_esp(&self.policy.esp, how, sa).map_err(|no| Refused {
            kind: NotifyKind::NO_PROPOSAL_CHOSEN,
            why: explain::no_esp_proposal(&no),
        })?;
        let ids: Vec<_> = message
            .iter()
            .filter_map(|p| if let Payload::Id(id) = p { Some(id.clone()) } else { None })
            .collect();
        let ids = match ids.as_slice() {
            [] => None,
            [i, r] => Some((i.clone(), r.clone())),
            _ => return Err(malformed("the peer's message has not two IDs")),
        };
        let selectors = self.selectors(ids.as_ref())?;
        let root = self.children.iter().find(|c| c.carries(selectors)).map(|c| c.id);
        let value = value_and_nonce(message).map(|(value, _)| value);
        let step = match (chosen.suite.ke, value) {
            (None, _) => Step::Spi(cx.ask(Ask::AllocateSpi { path: self.path })),
            (Some(method), Some(peer)) if peer.len() == method.public_len() => {
                Step::Key(cx.ask(Ask::Encapsulate { method, peer }))
            }
            _ => return Err(malformed("the peer's message has no public value of the group")),
        };
        let patience = cx.now + self.policy.timing.half_open;
        let nr = cx.nonce();
        let shared = None;
        Ok(Theirs {
            cookies,
            message_id,
            root,
            patience,
            digest,
            ni,
            nr,
            iv,
            chosen,
            selectors,
            ids,
            shared,
            step,
        })
    }

    /// What traffic is meant: ours, the peer's.
    fn selectors(
        &self,
        ids: Option<&(Identification, Identification)>,
    ) -> Result<(TrafficSelector, TrafficSelector), Refused> {
        let host = |address| {
            let all = adit_core::Prefix::host(address).range();
            at(TrafficSelector::any_of(all), address)
        };
        // [2409:5.5-4]
        let asked = match ids {
            None => Some((host(self.path.local.ip()), host(self.path.remote.ip()))),
            Some((i, r)) => self.meaning(r).zip(self.meaning(i)),
        };
        // [2409:5.5-5]
        let allowed = asked.and_then(|(local, remote)| self.policy.allowed(self.path, local, remote));
        allowed.ok_or_else(|| {
            let text = |id: Option<&Identification>| match id.and_then(Identification::selector) {
                Some(selector) => selector.to_string(),
                None => "something that is no traffic".into(),
            };
            let why = explain::traffic(&text(ids.map(|(_, r)| r)), &text(ids.map(|(i, _)| i)));
            Refused { kind: NotifyKind::INVALID_ID_INFORMATION, why }
        })
    }

    /// In transport mode only protocol and port count: some peers (Windows XP) put a name where the address would be.
    fn meaning(&self, id: &Identification) -> Option<TrafficSelector> {
        if self.policy.mode == crate::api::ChildMode::Tunnel {
            return id.selector();
        }
        let here = Identification {
            protocol: id.protocol,
            port: id.port,
            ..Identification::address(self.path.local.ip())
        };
        here.selector()
    }

    pub(super) fn theirs_answered(&mut self, cx: &mut Cx<'_>, mut quick: Theirs, answer: Answer) -> Fate {
        let failed =
            |e| Refused { kind: NotifyKind::INVALID_KEY_INFORMATION, why: explain::crypto(At::Child, e) };
        let step = core::mem::replace(&mut quick.step, Step::Spi(AskId(0)));
        match (step, answer) {
            (Step::Key(_), Answer::Encapsulated(Ok(shared))) => {
                quick.shared = Some(shared);
                quick.step = Step::Spi(cx.ask(Ask::AllocateSpi { path: self.path }));
                self.theirs.push(quick);
                Fate::On
            }
            (Step::Key(_), Answer::Encapsulated(Err(e))) => {
                let cookies = quick.cookies;
                self.refuse(cx, cookies, failed(e))
            }
            (Step::Spi(_), Answer::Spi(Ok(spi))) => self.install(cx, quick, spi),
            (Step::Spi(_), Answer::Spi(Err(why))) | (Step::Install { .. }, Answer::Installed(Err(why))) => {
                let cookies = quick.cookies;
                self.refuse(cx, cookies, Refused { kind: NotifyKind::NO_PROPOSAL_CHOSEN, why })
            }
            (Step::Install { agreement, outbound, .. }, Answer::Installed(Ok(()))) => {
                self.send_second(cx, quick, agreement, outbound)
            }
            (Step::Outbound { agreement, .. }, Answer::Installed(Ok(()))) => {
                self.child_up(cx, *agreement, Sending::Yes);
                Fate::On
            }
            (Step::Outbound { agreement, .. }, Answer::Installed(Err(why))) => {
                taken_back(cx, &agreement);
                self.send_delete(cx, &[agreement.inbound]);
                let cookies = quick.cookies;
                self.refuse(cx, cookies, Refused { kind: NotifyKind::NO_PROPOSAL_CHOSEN, why })
            }
            // An answer of another kind is none.
            _ => Fate::On,
        }
    }

    fn install(&mut self, cx: &mut Cx<'_>, mut quick: Theirs, spi: u32) -> Fate {
        let agreement = Agreement {
            child: cx.fresh_child(),
            chosen: quick.chosen.clone(),
            inbound: spi,
            selectors: quick.selectors,
            ids: quick.ids.clone().map(|(i, r)| (r, i)),
            root: quick.root,
            ours: false,
            cookies: quick.cookies,
            life: None,
        };
        let shared = quick.shared.as_ref().map(|(_, shared)| shared);
        let Some((inbound, outbound)) = self.pair_keys(cx, &agreement, shared, (&quick.ni, &quick.nr)) else {
            return Fate::On;
        };
        let ask = cx.ask(Ask::Install(self.child_sa(&agreement, inbound, None)));
        quick.step = Step::Install { ask, agreement: Box::new(agreement), outbound };
        self.theirs.push(quick);
        Fate::On
    }

    fn send_second(
        &mut self,
        cx: &mut Cx<'_>,
        mut quick: Theirs,
        agreement: Box<Agreement>,
        outbound: EspKeys,
    ) -> Fate {
        let (timing, path) = (self.policy.timing, self.path);
        let mut sa = quick.chosen.answer.clone();
        for proposal in &mut sa.proposals {
            proposal.spi = agreement.inbound.to_be_bytes().to_vec();
        }
        let mut payloads = vec![Payload::Sa(sa), Payload::Nonce(quick.nr.clone())];
        payloads.extend(quick.shared.as_ref().map(|(public, _)| Payload::Ke(public.clone())));
        if let Some((i, r)) = &quick.ids {
            payloads.extend([Payload::Id(i.clone()), Payload::Id(r.clone())]);
        }
        payloads.extend(self.original_addresses(false));
        let ours = lifetime(timing.rekey_child);
        if quick.chosen.life.is_none_or(|theirs| ours < theirs) {
            let spi = agreement.inbound.to_be_bytes().to_vec();
            let data = proposal::lifetime_data(ours);
            // [2409:4-3]
            let notify = Notify::new(Protocol::ESP, spi, NotifyKind::RESPONDER_LIFETIME, data);
            payloads.push(Payload::Notify(notify));
        }
        let sealed = self.isakmp.iter().find(|i| i.cookies() == quick.cookies).map(|isakmp| {
            let what = (ExchangeType::QUICK_MODE, quick.message_id);
            isakmp.channel.seal(cx, what, &mut quick.iv, &quick.ni, payloads)
        });
        let Some(Ok(datagrams)) = sealed else {
            taken_back(cx, &agreement);
            return Fate::On;
        };
        let request = Request::send(cx, path, datagrams, (&timing, timing.tries));
        quick.step = Step::Second { request, agreement, outbound };
        self.theirs.push(quick);
        Fate::On
    }

    /// The third message, or the first one again.
    pub(super) fn theirs_third(&mut self, cx: &mut Cx<'_>, mut quick: Theirs, datagram: Datagram) -> Fate {
        let again = cx.digest(&datagram.bytes) == quick.digest;
        let step = core::mem::replace(&mut quick.step, Step::Spi(AskId(0)));
        match step {
            Step::Second { request, agreement, outbound } if !again => {
                let channel = self.isakmp.iter().find(|i| i.cookies() == quick.cookies).map(|i| &i.channel);
                let nonces = (quick.ni.as_slice(), quick.nr.as_slice());
                // [2409:5.5-1]
                let right = channel.and_then(|c| c.open_third(cx, &quick.iv, &datagram.bytes, nonces));
                if right.is_none() {
                    cx.forged();
                    quick.step = Step::Second { request, agreement, outbound };
                    self.theirs.push(quick);
                    return Fate::On;
                }
                self.heard_from(cx, datagram.path);
                let ask = cx.ask(Ask::InstallOutbound { child: agreement.child, keys: outbound });
                quick.patience = cx.now + self.policy.timing.half_open;
                quick.step = Step::Outbound { ask, agreement };
            }
            // Our own timer sends the second message again; one more does no harm, and the peer waits.
            Step::Second { request, agreement, outbound } => {
                cx.shared.counters.repeated = cx.shared.counters.repeated.saturating_add(1);
                cx.transmit_all(self.path, &request.datagrams);
                quick.step = Step::Second { request, agreement, outbound };
            }
            step => quick.step = step,
        }
        self.theirs.push(quick);
        Fate::On
    }

    pub(super) fn wake_theirs(&mut self, cx: &mut Cx<'_>) -> Fate {
        for mut quick in core::mem::take(&mut self.theirs) {
            let over = match &mut quick.step {
                Step::Second { request, .. } => request.wake(cx) == Retry::GivenUp,
                _ => quick.patience <= cx.now,
            };
            if !over {
                self.theirs.push(quick);
            } else if let Some(agreement) = quick.agreement() {
                taken_back(cx, agreement);
                // Its third message may have gone out, and been lost each time: then the peer sends what we can't read.
                self.send_delete(cx, &[agreement.inbound]);
            }
        }
        Fate::On
    }

    /// A CHILD_SA that never came up goes with its exchange.
    pub(super) fn drop_theirs(&mut self, cx: &mut Cx<'_>, cookies: (u64, u64)) {
        let all = core::mem::take(&mut self.theirs);
        let (gone, stay): (Vec<_>, Vec<_>) = all.into_iter().partition(|q| q.cookies == cookies);
        self.theirs = stay;
        for agreement in gone.iter().filter_map(Theirs::agreement) {
            taken_back(cx, agreement);
            // For the peer it may be up: it has said so, or is about to.
            self.send_delete(cx, &[agreement.inbound]);
        }
    }
}
