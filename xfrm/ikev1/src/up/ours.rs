//! Quick Modes that we begin (RFC 2409 §5.5).

use adit_core::{Failure, FailureCode, Instant, Step as At, TrafficSelector};
use adit_isakmp::ExchangeType;
use adit_isakmp::crypto::KeyExchange;
use adit_isakmp::proposal::EspProposal;
use adit_isakmp::v1::proposal::{self, ChosenEsp, accept_esp};
use adit_isakmp::v1::{Identification, Message, Notify, NotifyKind, Payload, SecurityAssociation};

use super::child::{Agreement, taken_back};
use super::{DONE, Done, Fate, MOST_DONE, Up};
use crate::api::{Answer, Ask, AskId, ChildId, ChildMode, EspKeys, Event, Timer};
use crate::explain;
use crate::initiator::{lifetime, value_and_nonce};
use crate::policy::at;
use crate::request::{Request, Retry};
use crate::state::{Cx, Datagram};

type Ids = (Identification, Identification);

/// One of ours.
pub(crate) struct Ours {
    pub(super) cookies: (u64, u64),
    message_id: u32,
    pub(super) replaces: Option<ChildId>,
    selectors: (TrafficSelector, TrafficSelector),
    ids: Ids,
    patience: Instant,
    spi: u32,
    ni: Vec<u8>,
    iv: Vec<u8>,
    offered: SecurityAssociation,
    step: Step,
}

enum Step {
    /// An SPI is being had.
    Spi(AskId),
    /// A key pair is being made.
    Key(AskId),
    /// The first message is out.
    First { request: Request, key: Option<Box<dyn KeyExchange>> },
    /// The shared secret is being computed.
    Agree { ask: AskId, second: Box<Second> },
    /// The SAs are being installed.
    Install { ask: AskId, install: Box<Install> },
}

/// What is being installed.
struct Install {
    agreement: Agreement,
    nr: Vec<u8>,
    digest: [u8; 20],
    /// The keys of the outbound SA, where that comes later.
    outbound: Option<EspKeys>,
}

/// What the second message says.
struct Second {
    chosen: ChosenEsp,
    nr: Vec<u8>,
    peer: Option<Vec<u8>>,
    life: Option<core::time::Duration>,
    digest: [u8; 20],
}

impl Ours {
    pub(super) fn is(&self, cookies: (u64, u64), id: u32) -> bool {
        self.cookies == cookies && self.message_id == id
    }

    pub(super) const fn asked(&self) -> Option<AskId> {
        match &self.step {
            Step::Spi(ask) | Step::Key(ask) => Some(*ask),
            Step::Agree { ask, .. } | Step::Install { ask, .. } => Some(*ask),
            Step::First { .. } => None,
        }
    }

    pub(super) const fn deadline(&self) -> (Instant, Timer) {
        match &self.step {
            Step::First { request, .. } => (request.deadline(), Timer::Retransmit),
            _ => (self.patience, Timer::HalfOpen),
        }
    }

    pub(super) const fn offered(&self) -> &SecurityAssociation {
        &self.offered
    }

    /// Whether an error is about this one: it names our SPI, or no SPI at all.
    pub(super) fn is_about(&self, cookies: (u64, u64), notify: &Notify) -> bool {
        let named = notify.spi.is_empty() || notify.spi.len() == 16 || notify.spi == self.spi.to_be_bytes();
        let zero = notify.spi.iter().all(|b| *b == 0);
        matches!(self.step, Step::First { .. }) && self.cookies == cookies && (named || zero)
    }
}

impl Ours {
    /// What is being installed is to be taken back.
    pub(super) fn taken_back(&self, cx: &mut Cx<'_>) {
        if let Step::Install { install, .. } = &self.step {
            taken_back(cx, &install.agreement);
        }
    }
}

impl Up {
    /// Those under an ISAKMP SA that is gone come to nothing.
    pub(super) fn drop_ours(&mut self, cx: &mut Cx<'_>, cookies: (u64, u64)) {
        let all = core::mem::take(&mut self.ours);
        let (gone, stay): (Vec<_>, Vec<_>) = all.into_iter().partition(|q| q.cookies == cookies);
        self.ours = stay;
        for quick in gone {
            quick.taken_back(cx);
            let again = cx.after(super::AGAIN);
            let old = self.children.iter_mut().find(|c| Some(c.id) == quick.replaces);
            if let Some(child) = old.filter(|c| c.superseded_by.is_none()) {
                child.rekey_at = Some(again);
            }
        }
    }

    /// Begins one: the first, or one to replace a CHILD_SA.
    pub(super) fn begin_quick(&mut self, cx: &mut Cx<'_>, replaces: Option<ChildId>) -> Fate {
        let Some(cookies) = self.isakmp.last().map(super::Isakmp::cookies) else {
            return Fate::On;
        };
        let old = replaces.and_then(|id| self.children.iter().find(|c| c.id == id));
        let wanted = match old {
            Some(child) => Some((child.selectors, child.ids.clone())),
            None => self.configured().map(|selectors| (selectors, None)),
        };
        let ids = wanted.and_then(|(selectors, ids)| {
            let words = || {
                let local = Identification::traffic(selectors.0)?;
                Some((local, Identification::traffic(selectors.1)?))
            };
            Some((selectors, ids.or_else(words)?))
        });
        let Some((selectors, ids)) = ids else {
            return self.quick_failed(cx, replaces, explain::no_words());
        };
        let ask = cx.ask(Ask::AllocateSpi { path: self.path });
        self.ours.push(Ours {
            cookies,
            message_id: 0,
            replaces,
            selectors,
            ids,
            patience: cx.now + self.policy.timing.half_open,
            spi: 0,
            ni: cx.nonce(),
            iv: Vec::new(),
            offered: SecurityAssociation::default(),
            step: Step::Spi(ask),
        });
        Fate::On
    }

    fn configured(&self) -> Option<(TrafficSelector, TrafficSelector)> {
        let (local, remote) = (*self.policy.local_ts.first()?, *self.policy.remote_ts.first()?);
        Some(match self.policy.mode {
            ChildMode::Tunnel => (local, remote),
            ChildMode::Transport => (at(local, self.path.local.ip()), at(remote, self.path.remote.ip())),
        })
    }

    /// One came to nothing. Where it was to be the first, so does the connection.
    pub(super) fn quick_failed(&mut self, cx: &mut Cx<'_>, replaces: Option<ChildId>, why: Failure) -> Fate {
        if replaces.is_none() && !self.established {
            self.end(cx);
            return Fate::Over(Err(why));
        }
        let again = cx.after(super::AGAIN);
        let old = replaces.and_then(|id| self.children.iter_mut().find(|c| c.id == id));
        if let Some(child) = old.filter(|c| c.superseded_by.is_none()) {
            child.rekey_at = Some(again);
            cx.event(Event::RekeyRefused { child: replaces, why });
        }
        Fate::On
    }

    pub(super) fn ours_answered(&mut self, cx: &mut Cx<'_>, mut quick: Ours, answer: Answer) -> Fate {
        let replaces = quick.replaces;
        let step = core::mem::replace(&mut quick.step, Step::Spi(AskId(0)));
        match (step, answer) {
            (Step::Spi(_), Answer::Spi(Ok(spi))) => {
                quick.spi = spi;
                match proposal::pfs(&self.wanted(replaces)) {
                    Some(method) => {
                        quick.step = Step::Key(cx.ask(Ask::Generate(method)));
                        self.ours.push(quick);
                        Fate::On
                    }
                    None => self.send_first(cx, quick, None),
                }
            }
            (Step::Key(_), Answer::Generated(Ok(key))) => self.send_first(cx, quick, Some(key)),
            (Step::Agree { second, .. }, Answer::Agreed(Ok(shared))) => {
                self.agreed(cx, quick, *second, Some(&shared))
            }
            (Step::Install { install, .. }, Answer::Installed(Ok(()))) => self.installed(cx, quick, *install),
            (Step::Install { .. }, Answer::Installed(Err(why))) => {
                self.send_delete(cx, &[quick.spi]);
                self.quick_failed(cx, replaces, why)
            }
            (_, Answer::Spi(Err(why))) => self.quick_failed(cx, replaces, why),
            (_, Answer::Generated(Err(e)) | Answer::Agreed(Err(e))) => {
                self.quick_failed(cx, replaces, explain::crypto(At::Child, e))
            }
            // An answer of another kind is none.
            _ => Fate::On,
        }
    }

    /// What is offered. In a CHILD_SA's place there is to be one like it: a peer that had no group for the first, or another
    /// one, has none for the next (RFC 2409 §5.5).
    fn wanted(&self, replaces: Option<ChildId>) -> Vec<EspProposal> {
        let former = replaces.and_then(|id| self.children.iter().find(|c| c.id == id));
        let Some(former) = former else { return self.policy.esp.clone() };
        let mut all: Vec<EspProposal> = Vec::new();
        for proposal in &self.policy.esp {
            let like = EspProposal { ke: former.suite.ke.into_iter().collect(), ..proposal.clone() };
            if !all.contains(&like) {
                all.push(like);
            }
        }
        all
    }

    fn send_first(&mut self, cx: &mut Cx<'_>, mut quick: Ours, key: Option<Box<dyn KeyExchange>>) -> Fate {
        let (replaces, timing, how) = (quick.replaces, self.policy.timing, self.how());
        let life = lifetime(timing.rekey_child);
        let mode = self.policy.mode;
        let wanted = self.wanted(replaces);
        let Some(offered) = proposal::offer_esp(&wanted, quick.spi, (mode, how), life) else {
            return self.quick_failed(cx, replaces, explain::nothing_to_offer("esp"));
        };
        let mut payloads = vec![Payload::Sa(offered.clone()), Payload::Nonce(quick.ni.clone())];
        payloads.extend(key.as_ref().map(|key| Payload::Ke(key.public().to_vec())));
        payloads.extend([Payload::Id(quick.ids.0.clone()), Payload::Id(quick.ids.1.clone())]);
        payloads.extend(self.original_addresses(true));
        let path = self.path;
        let Some(isakmp) = self.isakmp.iter_mut().find(|i| i.cookies() == quick.cookies) else {
            return self.quick_failed(cx, replaces, explain::life_over());
        };
        quick.offered = offered;
        quick.message_id = isakmp.message_id(cx);
        // It is ours: what comes back as a first message of this ID is no peer's.
        isakmp.quick.add(quick.message_id);
        quick.iv = isakmp.channel.first_iv(cx, quick.message_id);
        let what = (ExchangeType::QUICK_MODE, quick.message_id);
        match isakmp.channel.seal(cx, what, &mut quick.iv, &[], payloads) {
            Ok(datagrams) => {
                let request = Request::send(cx, path, datagrams, (&timing, timing.tries));
                quick.step = Step::First { request, key };
                self.ours.push(quick);
                Fate::On
            }
            Err(why) => self.quick_failed(cx, replaces, why),
        }
    }

    /// NAT-OA: both ends as they are for us, in transport mode behind a NAT (RFC 3947 §5.2).
    pub(super) fn original_addresses(&self, initiator: bool) -> Vec<Payload> {
        if self.policy.mode != ChildMode::Transport || !self.nat.encapsulates() {
            return Vec::new();
        }
        let draft = self.peer().draft();
        let of = |end: core::net::SocketAddr| Payload::NatOa {
            draft,
            address: Identification::address(end.ip().to_canonical()),
        };
        let (ours, theirs) = (of(self.path.local), of(self.path.remote));
        // [3947:5.2-1]
        if initiator { vec![ours, theirs] } else { vec![theirs, ours] }
    }

    /// The second message has come.
    pub(super) fn ours_second(&mut self, cx: &mut Cx<'_>, mut quick: Ours, datagram: Datagram) -> Fate {
        if !matches!(quick.step, Step::First { .. }) {
            self.ours.push(quick);
            return Fate::On;
        }
        let channel = self.isakmp.iter().find(|i| i.cookies() == quick.cookies).map(|i| &i.channel);
        let mut iv = quick.iv.clone();
        let message = channel.and_then(|c| c.open(cx, &mut iv, &quick.ni, &datagram.bytes));
        // [2409:5.5-1] [2409:5-10]
        let Some(message) = message else {
            cx.forged();
            self.ours.push(quick);
            return Fate::On;
        };
        quick.iv = iv;
        quick.patience = cx.now + self.policy.timing.half_open;
        self.heard_from(cx, datagram.path);
        let replaces = quick.replaces;
        let second = match self.read_second(cx, &quick, &message, &datagram.bytes) {
            Ok(second) => second,
            Err(why) => {
                self.send_delete(cx, &[quick.spi]);
                return self.quick_failed(cx, replaces, why);
            }
        };
        let step = core::mem::replace(&mut quick.step, Step::Spi(AskId(0)));
        match (step, second.peer.clone()) {
            (Step::First { key: Some(key), .. }, Some(peer)) => {
                let ask = cx.ask(Ask::Agree { key, peer });
                quick.step = Step::Agree { ask, second: Box::new(second) };
                self.ours.push(quick);
                Fate::On
            }
            _ => self.agreed(cx, quick, second, None),
        }
    }

    fn read_second(
        &self,
        cx: &Cx<'_>,
        quick: &Ours,
        message: &Message,
        bytes: &[u8],
    ) -> Result<Second, Failure> {
        let unusable = explain::quick_unusable;
        let sa = message.iter().find_map(|p| if let Payload::Sa(sa) = p { Some(sa) } else { None });
        let sa = sa.ok_or_else(|| unusable("the answer has no SA payload"))?;
        let how = (self.policy.mode, self.how());
        let chosen =
            accept_esp(&quick.offered, how, sa).map_err(|why| unusable(&format!("the answer: {why}")))?;
        let nonce = message.iter().find_map(|p| if let Payload::Nonce(n) = p { Some(n) } else { None });
        let nr = nonce.ok_or_else(|| unusable("the answer has no nonce"))?.clone();
        let peer = value_and_nonce(message).map(|(value, _)| value);
        let fits = |ke: adit_isakmp::KeMethod| peer.as_ref().is_some_and(|p| p.len() == ke.answer_len());
        if chosen.suite.ke.is_some_and(|ke| !fits(ke)) {
            return Err(unusable("the answer has no public value of the group"));
        }
        let ids: Vec<_> =
            message.iter().filter_map(|p| if let Payload::Id(id) = p { Some(id) } else { None }).collect();
        let same = |a: &Identification, b: &Identification| match self.policy.mode {
            ChildMode::Tunnel => a.selector() == b.selector(),
            // A NAT changes which addresses the peer believes in.
            ChildMode::Transport => (a.protocol, a.port) == (b.protocol, b.port),
        };
        match ids.as_slice() {
            [] => {}
            [i, r] if same(i, &quick.ids.0) && same(r, &quick.ids.1) => {}
            _ => {
                let text = "the peer's answer is for other traffic than was asked for";
                return Err(Failure::new(FailureCode::TrafficSelectors, At::Child, text));
            }
        }
        let life = message.iter().find_map(|p| match p {
            Payload::Notify(n) if n.kind == NotifyKind::RESPONDER_LIFETIME => {
                proposal::read_lifetime(&n.data)
            }
            _ => None,
        });
        let peer = peer.filter(|_| chosen.suite.ke.is_some());
        Ok(Second { chosen, nr, peer, life, digest: cx.digest(bytes) })
    }

    fn agreed(
        &mut self,
        cx: &mut Cx<'_>,
        mut quick: Ours,
        second: Second,
        shared: Option<&adit_core::Secret>,
    ) -> Fate {
        let agreement = Agreement {
            child: cx.fresh_child(),
            chosen: second.chosen,
            inbound: quick.spi,
            selectors: quick.selectors,
            ids: Some(quick.ids.clone()),
            root: quick.replaces,
            ours: true,
            cookies: quick.cookies,
            life: second.life,
        };
        let Some((inbound, outbound)) = self.pair_keys(cx, &agreement, shared, (&quick.ni, &second.nr))
        else {
            return self.quick_failed(cx, quick.replaces, explain::life_over());
        };
        let (at_once, later) =
            if self.sends(agreement.selectors) { (None, Some(outbound)) } else { (Some(outbound), None) };
        let ask = cx.ask(Ask::Install(self.child_sa(&agreement, inbound, at_once)));
        let install = Install { agreement, nr: second.nr, digest: second.digest, outbound: later };
        quick.step = Step::Install { ask, install: Box::new(install) };
        self.ours.push(quick);
        Fate::On
    }

    fn installed(&mut self, cx: &mut Cx<'_>, mut quick: Ours, install: Install) -> Fate {
        let Install { agreement, nr, digest, outbound } = install;
        let path = self.path;
        let sealed =
            self.isakmp.iter().find(|i| i.cookies() == quick.cookies).map(|isakmp| {
                isakmp.channel.seal_third(cx, quick.message_id, &mut quick.iv, (&quick.ni, &nr))
            });
        let Some(Ok(third)) = sealed else {
            taken_back(cx, &agreement);
            return self.quick_failed(cx, quick.replaces, explain::life_over());
        };
        cx.transmit_all(path, &third);
        if self.done.len() == MOST_DONE {
            self.done.pop_front();
        }
        let (cookies, message_id) = (quick.cookies, quick.message_id);
        let until = cx.now + DONE;
        let (child, selectors) = (agreement.child, agreement.selectors);
        self.done.push_back(Done { cookies, message_id, child, digest, third, until, repeated: 0 });
        let sending = self.sending(cx, selectors, outbound);
        let first = !self.established;
        self.child_up(cx, agreement, sending);
        if first {
            self.ask_for_confirmation(cx);
        }
        if !self.sends(selectors) {
            self.send_by_new(cx, selectors);
        }
        if let Some(old) = quick.replaces {
            self.retire(cx, old);
        }
        Fate::On
    }

    pub(super) fn wake_ours(&mut self, cx: &mut Cx<'_>) -> Fate {
        for mut quick in core::mem::take(&mut self.ours) {
            let over = match &mut quick.step {
                Step::First { request, .. } => (request.wake(cx) == Retry::GivenUp)
                    .then(|| explain::quick_unanswered(request.sent(), request.age(cx.now))),
                _ => (quick.patience <= cx.now).then(|| explain::quick_unusable("it took too long")),
            };
            let Some(why) = over else {
                self.ours.push(quick);
                continue;
            };
            quick.taken_back(cx);
            if let fate @ Fate::Over(_) = self.quick_failed(cx, quick.replaces, why) {
                return fate;
            }
        }
        Fate::On
    }
}
