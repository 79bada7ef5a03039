//! An IKE_SA that is up, handed to whoever goes on after this process, and taken up again.
//!
//! Only one that stands is handed on: a CHILD_SA carries, it is not being closed, and nobody is getting another IKE_SA in its
//! place. A request that is on its way is sent again bit for bit, with the same Message ID. Where it asks for a CHILD_SA in
//! another's place, the key exchange is lost with this process: the old one goes on, what the peer makes is rekeyed in its name at once,
//! and both are deleted then. What the peer has asked for and has no answer to, it asks again. In any other moment there is no
//! snapshot; such moments take a few round trips.

use std::collections::VecDeque;
use std::sync::Arc;

use adit_core::Instant;
use zeroize::Zeroizing;

use super::child::{OUTBOUND_AFTER, Outbound};
use super::sa::{Current, Waits};
use super::{Child, Ike, Kernel, Resumption, Sa, others::Standing};
use crate::api::{ChildId, ChildMode, EspKeys, GoesOnBy, InitiatorConfig, Restored, RestoredChild};
use crate::channel::Channel;
use crate::fragments::Datagrams;
use crate::linger::Answered;
use crate::policy::Policy;
use crate::request::Request;
use crate::snapshot::{MOST, Read, Reader, VERSION, Write, Writer};
use crate::state::{Cx, Next};
use crate::task::create::Leaves;
use crate::task::mobike::Mobike;
use crate::task::{Job, Running, Task};
use adit_isakmp::ExchangeType;

/// What the request on its way is for, in a snapshot: a question without consequences; a CHILD_SA that goes; one that comes,
/// whose keys are lost; the same, that goes again.
const QUESTION: u8 = 0;
const DELETES: u8 = 1;
const MAKES: u8 = 2;
const UNMAKES: u8 = 3;

/// What of a connection nobody will listen at: SPIs of ours that are to be deleted, and what is to be replaced.
struct Behind {
    spis: Vec<u32>,
    left: Vec<LeftSpis>,
}

/// A connection as it was left.
pub(crate) struct Left {
    ike: Box<Ike>,
    request: Option<(Running, ExchangeType, Datagrams)>,
}

/// A CHILD_SA that the peer has, and whose keys nobody has here, by its SPI of ours, and that of the one in whose place it is.
#[derive(Clone, Copy)]
struct LeftSpis {
    spi: u32,
    old: u32,
}

/// What the request on its way is for, where the answer means something.
enum About<'a> {
    /// Whatever is answered, the peer lives.
    Nothing,
    /// A CHILD_SA of ours is to go.
    Delete(&'a Child),
    /// The peer makes a CHILD_SA, perhaps, whose keys nobody has.
    Made(LeftSpis),
    /// It is to go.
    Unmade(u32),
}

impl Ike {
    /// It as octets. `None`: nobody could go on from here.
    pub(crate) fn snapshot(&self) -> Option<Zeroizing<Vec<u8>>> {
        if !self.can_be_left() {
            return None;
        }
        let about = self.about()?;
        let (kept, Behind { spis, left }) = (self.kept(), self.behind()?);
        let mut w = Writer::new(MOST);
        w.u8(VERSION);
        w.flag(self.dialled);
        w.identity(&self.policy.local_id);
        w.identity(&self.remote_id);
        w.ike_suite(self.sa.suite);
        self.sa.channel.save(&mut w);
        w.bytes(self.sa.sk_d.expose());
        w.u32(self.sa.next_id);
        // What has no answer yet is asked again.
        w.u32(self.sa.answering.as_ref().map_or(self.sa.expected, |answering| answering.asked.message_id));
        w.option(self.sa.answered.as_ref(), |w, (answered, at)| {
            answered.save(w);
            w.instant(*at);
        });
        w.list(&kept, |w, child| child.save(w, &kept));
        w.list(&spis, |w, spi| w.u32(*spi));
        w.list(&left, |w, left| left.save(w));
        w.option(self.sa.request_as_sent(), |w, sent| {
            sent.save(w);
            match about {
                About::Nothing => w.u8(QUESTION),
                About::Delete(child) => {
                    w.u8(DELETES);
                    w.u32(child.inbound_spi);
                }
                About::Made(left) => {
                    w.u8(MAKES);
                    left.save(w);
                }
                About::Unmade(spi) => {
                    w.u8(UNMAKES);
                    w.u32(spi);
                }
            }
        });
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

    /// Whether somebody else could go on from here, as far as that is not [what is under way](Ike::about)'s.
    fn can_be_left(&self) -> bool {
        let idle = |task: &Task| {
            let again = matches!(task, Task::Liveness | Task::Ticket | Task::Rekey(_) | Task::RekeyIke);
            again || matches!(task, Task::Announce | Task::Test(_) | Task::DeleteChild(_))
        };
        let asked = |job: &Job| match job {
            Job::Grant(grant) => grant.may_be_asked_again(),
            Job::GrantIke(grant) => grant.may_be_asked_again(),
        };
        let gone = |standing: Standing| !matches!(standing, Standing::Candidate);
        // What the same peer had here before goes when this one carries: until then it is made.
        let stands_alone = !self.takes_over && !self.goes_on();
        stands_alone
            && self.closing.is_none()
            && self.childless.is_none()
            && !self.has_pending()
            && self.jobs().all(asked)
            && self.postponed.is_empty()
            && self.queue.iter().all(idle)
            && self.others.iter().all(|other| gone(other.standing))
            && self.kept().iter().any(|child| child.is_current())
    }

    /// What the request on its way is for. `None`: nobody else could go on from what is under way.
    fn about(&self) -> Option<About<'_>> {
        let Some(Current { running, waits }) = self.sa.current.as_deref() else {
            return Some(About::Nothing);
        };
        let sent = matches!(waits, Waits::Response(..));
        match running {
            Running::Informational(Task::DeleteChild(id)) => {
                let child = self.children.iter().find(|child| child.id == *id)?;
                let unusable = child.kernel == Kernel::Out;
                Some(if unusable { About::Unmade(child.inbound_spi) } else { About::Delete(child) })
            }
            Running::Left(id) => {
                let child = self.children.iter().find(|child| child.id == *id)?;
                Some(About::Made(self.left_spis(child)?))
            }
            Running::Create(create) => match create.leaves() {
                Leaves::Made { spi, old } if sent => {
                    Some(About::Made(LeftSpis { spi, old: self.spi_of(old)? }))
                }
                Leaves::Made { .. } | Leaves::Nothing => Some(About::Nothing),
                Leaves::Nobody => None,
            },
            // Nothing has been said yet.
            Running::Rekey(rekey) => (!sent && !rekey.was_sent()).then_some(About::Nothing),
            running => (sent && running.is_harmless()).then_some(About::Nothing),
        }
    }

    /// The CHILD_SAs that are in the kernel.
    fn kept(&self) -> Vec<&Child> {
        self.children.iter().filter(|child| child.kernel == Kernel::In).collect()
    }

    fn spi_of(&self, id: ChildId) -> Option<u32> {
        self.children.iter().find(|child| child.id == id).map(|child| child.inbound_spi)
    }

    fn left_spis(&self, left: &Child) -> Option<LeftSpis> {
        Some(LeftSpis { spi: left.inbound_spi, old: self.spi_of(left.replaces?)? })
    }

    /// What the peer sends to, or is to, and nobody will listen at. `None`: nobody else could go on.
    fn behind(&self) -> Option<Behind> {
        let mut behind = Behind { spis: Vec::new(), left: Vec::new() };
        let mut asks = None;
        match self.sa.current.as_deref() {
            Some(Current { running: Running::Create(create), waits: Waits::Answer(..) }) => {
                if let Leaves::Made { spi, old } = create.leaves() {
                    behind.left.push(LeftSpis { spi, old: self.spi_of(old)? });
                }
            }
            // Whether the peer has it, the answer will say.
            Some(Current { running: Running::Left(id), .. }) => asks = Some(*id),
            _ => {}
        }
        for child in &self.children {
            let granting = |job: &Job| matches!(job, Job::Grant(grant) if grant.child() == child.id);
            match child.kernel {
                // One that is being installed, for its peer or for us.
                Kernel::In | Kernel::Asked if !child.lost => {}
                Kernel::Out if !child.deleting && self.deletes(child.id) => {
                    behind.spis.push(child.inbound_spi)
                }
                Kernel::Out if child.left_by().is_some() && asks != Some(child.id) => {
                    behind.left.push(self.left_spis(child)?);
                }
                // The answer to a request that is on its way.
                Kernel::Out => {}
                _ => return None,
            }
            let ours = behind.left.iter().any(|left| left.spi == child.inbound_spi);
            let made = ours || self.jobs().any(granting);
            if child.kernel == Kernel::Asked && !made
                || child.outbound.as_ref().is_some_and(|outbound| outbound.keys.is_none())
            {
                return None;
            }
        }
        Some(behind)
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
        let UnderWay { children, queue, request } = UnderWay::read(cx, &mut r, &policy, config)?;
        let lease = r.lease()?;
        let without_pfs = r.flag()?;
        let [rekey_at, expires_at, reauthenticate_at] = [r.due()?, r.due()?, r.due()?];
        let mobike = r.option(|r| Some(Mobike::of(r.list(Reader::address)?, r.list(Reader::address)?)))?;
        let ask_at = cx.soon();
        let resumption = r.option(|r| Resumption::read(r, ask_at).map(Box::new))?;
        r.finish()?;
        let stands = children.iter().any(Child::is_current) && Child::are_apart(&children);
        if !stands || sa.our_spi() == 0 || sa.channel.peer_spi() == 0 {
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
            queue,
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
            Some((running, exchange, datagrams)) => {
                let path = ike.sa.channel.path;
                let waits = Waits::Response(exchange, Request::send(cx, path, datagrams, &timing));
                ike.sa.current = Some(Box::new(Current { running, waits }));
            }
            None if ike.dialled => ike.enqueue(Task::Liveness),
            None => {}
        }
        ike.settle(cx)
    }
}

/// The CHILD_SAs, and what is under way with them.
struct UnderWay {
    children: Vec<Child>,
    queue: VecDeque<Task>,
    request: Option<(Running, ExchangeType, Datagrams)>,
}

impl UnderWay {
    fn read(
        cx: &mut Cx<'_>,
        r: &mut Reader<'_>,
        policy: &Policy,
        config: Option<&InitiatorConfig>,
    ) -> Option<Self> {
        let mut children = r.list(|r| Child::read(cx, r, policy, config))?;
        Child::name_each_other(&mut children)?;
        let mut queue = VecDeque::new();
        for spi in r.list(Reader::u32)? {
            let child = Child::unheard(cx, spi)?;
            queue.push_back(Task::DeleteChild(child.id));
            children.push(child);
        }
        for left in r.list(LeftSpis::read)? {
            let (child, old) = left.child(cx, &children)?;
            queue.push_back(Task::Rekey(old));
            children.push(child);
        }
        let request = r.option(|r| {
            let datagrams = Datagrams::read(r)?;
            let (running, exchange) = read_about(cx, r, &mut children)?;
            Some((running, exchange, datagrams))
        })?;
        Some(Self { children, queue, request })
    }
}

/// What the request on its way is for, and by which exchange.
fn read_about(
    cx: &mut Cx<'_>,
    r: &mut Reader<'_>,
    children: &mut Vec<Child>,
) -> Option<(Running, ExchangeType)> {
    let kind = r.u8()?;
    if kind == QUESTION {
        return Some((Running::Informational(Task::Liveness), ExchangeType::INFORMATIONAL));
    }
    if kind == MAKES {
        let (child, _) = LeftSpis::read(r)?.child(cx, children)?;
        let id = child.id;
        children.push(child);
        return Some((Running::Left(id), ExchangeType::CREATE_CHILD_SA));
    }
    let spi = r.u32()?;
    let known = children.iter().find(|child| child.inbound_spi == spi);
    let id = match (kind, known.map(|child| (child.id, child.deleting))) {
        (DELETES, Some((id, true))) => id,
        (UNMAKES, None) => {
            let child = Child { deleting: true, ..Child::unheard(cx, spi)? };
            let id = child.id;
            children.push(child);
            id
        }
        _ => return None,
    };
    Some((Running::Informational(Task::DeleteChild(id)), ExchangeType::INFORMATIONAL))
}

impl LeftSpis {
    fn save(self, w: &mut Writer) {
        w.u32(self.spi);
        w.u32(self.old);
    }

    fn read(r: &mut Reader<'_>) -> Option<Self> {
        Some(Self { spi: r.u32()?, old: r.u32()? })
    }

    /// It among `children`, and in whose place it is.
    fn child(self, cx: &mut Cx<'_>, children: &[Child]) -> Option<(Child, ChildId)> {
        let old =
            children.iter().find(|child| child.inbound_spi == self.old && child.kernel == Kernel::In)?.id;
        Some((Child { replaces: Some(old), ..Child::unheard(cx, self.spi)? }, old))
    }
}

impl Child {
    /// `all`: those that are saved with it, by whose inbound SPIs it names them.
    fn save(&self, w: &mut Writer, all: &[&Self]) {
        let spi_of = |id: ChildId| all.iter().find(|child| child.id == id).map(|child| child.inbound_spi);
        w.u32(self.inbound_spi);
        w.u32(self.outbound_spi);
        w.flag(self.mode == ChildMode::Transport);
        w.option(self.suite, Writer::esp_suite);
        w.option(self.name.as_deref(), |w, name| w.bytes(name.as_bytes()));
        w.list(&self.local_ts, Writer::selector);
        w.list(&self.remote_ts, Writer::selector);
        w.due(self.due);
        w.due(self.expires_at);
        w.flag(self.deleting);
        w.option(self.replaced_by.and_then(spi_of), Writer::u32);
        let outbound = self.outbound.as_deref();
        let waits = outbound.and_then(|outbound| Some((outbound.keys.as_ref()?, spi_of(outbound.old)?)));
        w.option(waits, |w, (keys, old)| {
            w.bytes(keys.encryption.expose());
            w.bytes(keys.integrity.expose());
            w.u32(old);
        });
    }

    /// Those that it names it has as SPIs, until they [name each other](Self::name_each_other).
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
        let deleting = r.flag()?;
        let replaced_by = r.option(Reader::u32)?.map(by_spi);
        let outbound = r.option(|r| {
            let keys = Some(EspKeys { encryption: r.secret()?, integrity: r.secret()? });
            let old = by_spi(r.u32()?);
            Some(Box::new(Outbound { keys, at: cx.now + OUTBOUND_AFTER, asked: None, old }))
        })?;
        // RFC 4303 §2.1
        if spis.0 < 256 || spis.1 < 256 || ours.is_empty() || theirs.is_empty() {
            return None;
        }
        let rules = config.map_or(&[][..], |config| &config.more_children);
        let rule = rules.iter().find(|rule| Some(&rule.name) == name.as_ref());
        let esp = rule.map_or_else(|| Arc::clone(&policy.esp), |rule| rule.esp.as_slice().into());
        // One that is replaced is deleted then.
        let soon = (!policy.timing.rekey_child.is_zero() || replaced_by.is_some()).then(|| cx.soon());
        let child = Self::new(cx.fresh_child(), spis, mode, (&ours, &theirs));
        let name = name.map(String::into_boxed_str);
        let due = due.or(soon);
        Some(Self { suite, name, esp, due, expires_at, deleting, replaced_by, outbound, ..child })
    }

    /// Each knows the others by their new names. `None`: one is not there.
    fn name_each_other(children: &mut [Self]) -> Option<()> {
        let names: Vec<_> = children.iter().map(|child| (by_spi(child.inbound_spi), child.id)).collect();
        let name = |spi: ChildId| names.iter().find(|(by, _)| *by == spi).map(|(_, id)| *id);
        for child in children {
            if let Some(spi) = child.replaced_by {
                child.replaced_by = Some(name(spi).filter(|id| *id != child.id)?);
            }
            if let Some(outbound) = child.outbound.as_deref_mut() {
                outbound.old = name(outbound.old)?;
            }
        }
        Some(())
    }

    /// One that the peer may have, and we have not.
    fn unheard(cx: &mut Cx<'_>, spi: u32) -> Option<Self> {
        let child = Self::new(cx.fresh_child(), (spi, 0), ChildMode::Tunnel, (&[], &[]));
        (spi >= 256).then_some(Self { kernel: Kernel::Out, ..child })
    }

    /// Whether no two have an SPI in common.
    fn are_apart(children: &[Self]) -> bool {
        let apart = |spis: Vec<u32>| {
            let all = spis.len();
            spis.into_iter().collect::<std::collections::BTreeSet<_>>().len() == all
        };
        apart(children.iter().map(|child| child.inbound_spi).collect())
    }

    fn restored(&self) -> Option<RestoredChild> {
        Some(RestoredChild {
            child: self.id,
            name: self.name.as_deref().map(str::to_owned),
            mode: self.mode,
            suite: self.suite.filter(|_| self.kernel == Kernel::In)?,
            inbound_spi: self.inbound_spi,
            outbound_spi: self.outbound_spi,
            sends: self.outbound.is_none(),
            replaced: !self.is_current(),
            local_ts: self.local_ts.to_vec(),
            remote_ts: self.remote_ts.to_vec(),
        })
    }
}

/// A CHILD_SA, until it has a name.
fn by_spi(spi: u32) -> ChildId {
    ChildId(spi.into())
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
