//! An IKE_SA that is up, handed to whoever goes on after this process, and taken up again.
//!
//! Only one that stands is handed on: its CHILD_SAs carry, nobody is getting another SA of it, and it is not being closed. What
//! may be on its way is a request without consequences: it is sent again bit for bit, with the same Message ID, and whatever
//! is answered proves that the peer lives. In any other moment there is no snapshot; such moments take a few round trips.

use std::sync::Arc;

use adit_core::Instant;
use zeroize::Zeroizing;

use super::sa::{Current, Waits};
use super::{Child, Ike, Kernel, Resumption, Sa, others::Standing};
use crate::api::{ChildMode, GoesOnBy, InitiatorConfig, Restored, RestoredChild};
use crate::channel::Channel;
use crate::fragments::Datagrams;
use crate::linger::Answered;
use crate::policy::Policy;
use crate::request::Request;
use crate::snapshot::{MOST, Read, Reader, VERSION, Write, Writer};
use crate::state::{Cx, Next};
use crate::task::mobike::Mobike;
use crate::task::{Running, Task};
use adit_isakmp::ExchangeType;

/// A connection as it was left.
pub(crate) struct Left {
    ike: Box<Ike>,
    request: Option<Datagrams>,
}

impl Ike {
    /// It as octets. `None`: nobody could go on from here.
    pub(crate) fn snapshot(&self) -> Option<Zeroizing<Vec<u8>>> {
        if !self.can_be_left() {
            return None;
        }
        let mut w = Writer::new(MOST);
        w.u8(VERSION);
        w.flag(self.dialled);
        w.identity(&self.policy.local_id);
        w.identity(&self.remote_id);
        w.ike_suite(self.sa.suite);
        self.sa.channel.save(&mut w);
        w.bytes(self.sa.sk_d.expose());
        w.u32(self.sa.next_id);
        w.u32(self.sa.expected);
        w.option(self.sa.answered.as_ref(), |w, (answered, at)| {
            answered.save(w);
            w.instant(*at);
        });
        w.option(self.sa.request_as_sent(), |w, sent| sent.save(w));
        w.list(&self.children, |w, child| child.save(w));
        w.lease(&self.lease);
        w.flag(self.without_pfs);
        [self.rekey_at, self.expires_at, self.reauthenticate_at].into_iter().for_each(|at| w.due(at));
        w.option(self.mobike.as_deref(), |w, mobike| {
            w.list(&mobike.peers, |w, a| w.address(*a));
            w.list(&mobike.ours, |w, a| w.address(*a));
        });
        w.option(self.resumption.as_deref(), |w, r| {
            w.identification(&r.initiator);
            w.identification(&r.responder);
            w.flag(r.ppk);
            w.flag(r.given);
        });
        w.finish()
    }

    /// Whether somebody else could go on from here.
    fn can_be_left(&self) -> bool {
        let idle = |task: &Task| {
            let again = matches!(task, Task::Liveness | Task::Ticket | Task::Rekey(_) | Task::RekeyIke);
            again || matches!(task, Task::Announce | Task::Test(_))
        };
        let harmless = match self.sa.current.as_deref() {
            None => true,
            Some(Current { running, waits: Waits::Response(exchange, _) }) => {
                *exchange == ExchangeType::INFORMATIONAL && running.is_harmless()
            }
            Some(Current { waits: Waits::Answer(..), .. }) => false,
        };
        let stands = |child: &Child| {
            child.is_current() && child.kernel == Kernel::In && child.outbound.is_none() && !child.lost
        };
        let gone = |standing: Standing| !matches!(standing, Standing::Candidate);
        // What the same peer had here before goes when this one carries: until then it is made.
        let stands_alone = !self.takes_over && !self.goes_on();
        stands_alone
            && harmless
            && self.closing.is_none()
            && self.childless.is_none()
            && !self.answers()
            && self.postponed.is_empty()
            && self.queue.iter().all(idle)
            && self.others.iter().all(|other| gone(other.standing))
            && !self.children.is_empty()
            && self.children.iter().all(stands)
    }

    /// One that was left, under the same rules as those that there are now for whoever began it.
    pub(crate) fn read(cx: &mut Cx<'_>, bytes: &[u8], by: GoesOnBy<'_>) -> Option<Left> {
        let mut r = Reader::new(bytes);
        if r.u8()? != VERSION || r.flag()? != by.dialled() {
            return None;
        }
        let (local_id, remote_id) = (r.identity()?, r.identity()?);
        let dialled = by.dialled();
        let (policy, config) = match by {
            GoesOnBy::Initiator(config) => (Policy::of_initiator(config), Some(config)),
            GoesOnBy::Responder(config) => (Policy::of_responder(*config, Arc::clone(&cx.shared.ike)), None),
        };
        let policy = Policy { local_id, ..policy };
        let suite = r.ike_suite()?;
        let channel = Channel::read(cx, &mut r, &suite)?;
        let sk_d = r.secret()?;
        let (next_id, expected) = (r.u32()?, r.u32()?);
        let answered = r.option(|r| Some((Answered::read(r)?, r.instant()?)))?;
        let sa = Sa { next_id, expected, answered, ..Sa::new(channel, suite, sk_d) };
        let request = r.option(Datagrams::read)?;
        let children = r.list(|r| Child::read(cx, r, &policy, config))?;
        let lease = r.lease()?;
        let without_pfs = r.flag()?;
        let [rekey_at, expires_at, reauthenticate_at] = [r.due()?, r.due()?, r.due()?];
        let mobike = r.option(|r| Some(Mobike::of(r.list(Reader::address)?, r.list(Reader::address)?)))?;
        let ask_at = cx.soon();
        let resumption = r.option(|r| Resumption::read(r, ask_at).map(Box::new))?;
        r.finish()?;
        if children.is_empty() || sa.our_spi() == 0 || sa.channel.peer_spi() == 0 {
            return None;
        }
        let pair = (!dialled).then(|| cx.shared.pair(&policy.local_id, &remote_id));
        // What was due when it was left waits in no queue here.
        let rekeys = !policy.timing.rekey_ike.is_zero();
        let ike = Box::new(Self {
            sa,
            others: Vec::new(),
            children,
            remote_id,
            policy: cx.shared.share(policy),
            dialled,
            pair,
            lease,
            without_pfs,
            queue: Default::default(),
            postponed: Vec::new(),
            rekey_at: rekey_at.or(rekeys.then_some(ask_at)),
            expires_at,
            reauthenticate_at,
            takes_over: false,
            pending: None,
            moved: cx.now,
            mobike: mobike.map(Box::new),
            resumption,
            put_off: None,
            sent: cx.now,
            closing: None,
            childless: None,
        });
        Some(Left { ike, request })
    }
}

impl Resumption {
    /// The ticket itself is not handed on: another one is asked for then, if there was one.
    fn read(r: &mut Reader<'_>, ask_at: Instant) -> Option<Self> {
        let resumption = Self::new(r.identification()?, r.identification()?, r.flag()?);
        let given = r.flag()?;
        Some(Self { given, ask_at: given.then_some(ask_at), ..resumption })
    }
}

impl Left {
    /// Our SPI.
    pub(crate) const fn our_spi(&self) -> u64 {
        self.ike.sa.our_spi()
    }

    /// Who its ends are, where we dialled.
    pub(crate) fn pair(&self) -> Option<(adit_core::Identity, adit_core::Identity)> {
        self.ike.dialled.then(|| (self.ike.policy.local_id.clone(), self.ike.remote_id.clone()))
    }

    /// What the driver needs to know of it.
    pub(crate) fn restored(&self, sa: crate::api::SaId) -> Restored {
        let Ike { sa: inner, children, .. } = &*self.ike;
        let channel = &inner.channel;
        Restored {
            sa,
            path: channel.path,
            encapsulated: channel.nat.encapsulates(),
            mobike: self.ike.mobike.as_ref().map(|m| m.peers.clone()),
            local_id: self.ike.policy.local_id.clone(),
            remote_id: self.ike.remote_id.clone(),
            ike: inner.suite,
            lease: self.ike.lease.clone(),
            children: children.iter().filter_map(Child::restored).collect(),
        }
    }

    /// Goes on. Whom we have dialled is asked at once whether it is there, and so hears from where we speak; who has dialled us
    /// speaks first, or is asked when it has been silent, as ever: there may be thousands.
    pub(crate) fn resume(self, cx: &mut Cx<'_>) -> Next {
        let Self { mut ike, request } = self;
        let timing = ike.policy.timing;
        if let Some(pair) = ike.pair {
            cx.shared.peers.insert((pair, cx.sa), ike.sa.channel.path.remote.ip());
        }
        match request {
            Some(datagrams) => {
                let path = ike.sa.channel.path;
                let request = Request::send(cx, path, datagrams, &timing);
                let waits = Waits::Response(ExchangeType::INFORMATIONAL, request);
                let running = Running::Informational(Task::Liveness);
                ike.sa.current = Some(Box::new(Current { running, waits }));
            }
            None if ike.dialled => ike.enqueue(Task::Liveness),
            None => {}
        }
        ike.settle(cx)
    }
}

impl Child {
    fn save(&self, w: &mut Writer) {
        w.u32(self.inbound_spi);
        w.u32(self.outbound_spi);
        w.flag(self.mode == ChildMode::Transport);
        w.option(self.suite, Writer::esp_suite);
        w.option(self.name.as_deref(), |w, name| w.bytes(name.as_bytes()));
        w.list(&self.local_ts, Writer::selector);
        w.list(&self.remote_ts, Writer::selector);
        w.due(self.due);
        w.due(self.expires_at);
    }

    fn read(
        cx: &mut Cx<'_>,
        r: &mut Reader<'_>,
        policy: &Policy,
        config: Option<&InitiatorConfig>,
    ) -> Option<Self> {
        let spis = (r.u32()?, r.u32()?);
        let mode = if r.flag()? { ChildMode::Transport } else { ChildMode::Tunnel };
        let suite = r.option(Reader::esp_suite)?;
        let name = r.option(Reader::text)?;
        let (ours, theirs) = (r.list(Reader::selector)?, r.list(Reader::selector)?);
        let (due, expires_at) = (r.due()?, r.due()?);
        // RFC 4303 §2.1
        if spis.0 < 256 || spis.1 < 256 || ours.is_empty() || theirs.is_empty() {
            return None;
        }
        let rules = config.map_or(&[][..], |config| &config.more_children);
        let rule = rules.iter().find(|rule| Some(&rule.name) == name.as_ref());
        let esp = rule.map_or_else(|| Arc::clone(&policy.esp), |rule| rule.esp.as_slice().into());
        let soon = (!policy.timing.rekey_child.is_zero()).then(|| cx.soon());
        let child = Self::new(cx.fresh_child(), spis, mode, (&ours, &theirs));
        let name = name.map(String::into_boxed_str);
        Some(Self { suite, name, esp, due: due.or(soon), expires_at, ..child })
    }

    fn restored(&self) -> Option<RestoredChild> {
        Some(RestoredChild {
            child: self.id,
            name: self.name.as_deref().map(str::to_owned),
            mode: self.mode,
            suite: self.suite?,
            inbound_spi: self.inbound_spi,
            outbound_spi: self.outbound_spi,
            local_ts: self.local_ts.to_vec(),
            remote_ts: self.remote_ts.to_vec(),
        })
    }
}

impl Sa {
    /// The request on its way, as it was sent.
    fn request_as_sent(&self) -> Option<&Datagrams> {
        match &self.current.as_deref()?.waits {
            Waits::Response(_, request) => Some(request.datagrams()),
            Waits::Answer(..) => None,
        }
    }
}
