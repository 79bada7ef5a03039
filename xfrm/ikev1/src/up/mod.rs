//! A connection that is up: its ISAKMP SAs, its CHILD_SAs, and the Quick Modes under way. In IKEv1 both kinds of SA live
//! and end by themselves; what holds them together is the peer.

mod child;
mod informational;
mod isakmp;
mod ours;
mod outbound;
mod snapshot;
mod theirs;

use std::collections::VecDeque;
use std::sync::Arc;

use core::net::{IpAddr, SocketAddr};
use core::time::Duration;

use adit_core::{Failure, Identity, Instant, Path};
use adit_isakmp::v1::flags;
use adit_isakmp::v1::proposal::Encapsulation;
use adit_isakmp::{ExchangeType, IkeSuite};

use crate::api::{Answer, AskId, AuthMethod, ChildId, Event, InitiatorConfig, Timer};
use crate::dialled::Dialled;
use crate::explain;
use crate::natt::Nat;
use crate::policy::Policy;
use crate::state::{Cx, Datagram, Next, Stands, State};
use crate::vendor::Peer;

use child::Child;
use informational::Dpd;
use isakmp::Isakmp;
use ours::Ours;
use theirs::Theirs;

/// ISAKMP SAs that one connection may have: the one in use, and those that it came from.
const MOST_ISAKMP: usize = 8;
/// Exchanges that are over and whose last message may have to be repeated.
const MOST_DONE: usize = 16;
/// So long they are remembered.
const DONE: Duration = Duration::from_secs(120);
/// An ISAKMP SA that has been replaced goes after so long: until then the peer may still be about to give its CHILD_SAs to the
/// new one, which it does not say.
const REPLACED: Duration = Duration::from_secs(5);
/// A Quick Mode waits for a new ISAKMP SA that is being made, and the other way round; nothing that has less of its life left does.
const PRESSING: Duration = Duration::from_secs(2);
/// What is refused is tried again after so long.
const AGAIN: Duration = Duration::from_secs(20);
/// A Non-ESP marker's opposite (RFC 3948 §2.3).
const KEEPALIVE: u8 = 0xff;

/// A connection.
pub(crate) struct Up {
    initiator: bool,
    auth: AuthMethod,
    nat: Nat,
    path: Path,
    remote_id: Identity,
    policy: Arc<Policy>,
    config: Option<Arc<InitiatorConfig>>,
    /// The newest last. Where the last one's life is over, CHILD_SAs may stand without any.
    isakmp: Vec<Isakmp>,
    children: Vec<Child>,
    ours: Vec<Ours>,
    theirs: Vec<Theirs>,
    done: VecDeque<Done>,
    dpd: Option<Dpd>,
    heard: Instant,
    keepalive: Option<Instant>,
    /// Without a CHILD_SA it stands only so long.
    idle: Option<Instant>,
    established: bool,
    /// The peer has been asked whether it has what the first Quick Mode has agreed on.
    unconfirmed: bool,
    redialling: bool,
}

/// A Quick Mode of ours that is over: if the peer's message comes again, so does the last of ours.
struct Done {
    cookies: (u64, u64),
    message_id: u32,
    child: ChildId,
    digest: [u8; 20],
    third: Vec<Vec<u8>>,
    until: Instant,
    repeated: u8,
}

/// What becomes of the connection.
pub(crate) enum Fate {
    /// It goes on.
    On,
    /// It is over.
    Over(Result<(), Failure>),
}

impl Up {
    pub(crate) fn begin(cx: &mut Cx<'_>, stands: Stands) -> Next {
        let policy = stands.policy.clone();
        let path = stands.channel.path;
        let keepalive = (stands.nat.local && !policy.timing.keepalive.is_zero())
            .then(|| cx.now + policy.timing.keepalive);
        let mut this = Box::new(Self {
            initiator: stands.initiator,
            auth: stands.auth,
            nat: stands.nat,
            path,
            remote_id: stands.remote_id.clone(),
            config: stands.config.clone(),
            isakmp: Vec::new(),
            children: Vec::new(),
            ours: Vec::new(),
            theirs: Vec::new(),
            done: VecDeque::new(),
            dpd: None,
            heard: cx.now,
            keepalive,
            idle: Some(cx.now + policy.timing.half_open),
            established: false,
            unconfirmed: false,
            redialling: false,
            policy,
        });
        let initiator = stands.initiator;
        let isakmp = Isakmp::new(cx, stands);
        this.isakmp.push(isakmp);
        let fate = if initiator { this.begin_quick(cx, None) } else { Fate::On };
        this.after(cx, fate)
    }

    /// The same peer has a new ISAKMP SA: the CHILD_SAs stay.
    pub(crate) fn adopt(mut self: Box<Self>, cx: &mut Cx<'_>, stands: Stands) -> Next {
        let suite: IkeSuite = stands.channel.suite;
        let initiator = stands.initiator;
        self.heard = cx.now;
        self.dpd = None;
        self.nat = stands.nat;
        self.follow(cx, stands.channel.path);
        for isakmp in &mut self.isakmp {
            (isakmp.rekey_at, isakmp.waits) = (None, false);
        }
        let life = stands.life;
        let mut isakmp = Isakmp::new(cx, stands);
        if initiator {
            self.redialled(cx);
        } else if self.config.is_some() {
            // Whom we have dialled makes the next one, too, if it still wants to; its life must not end before there is one.
            isakmp.rekey_at = life.map(|life| cx.now + life / 20 * 19);
        }
        self.isakmp.push(isakmp);
        if initiator {
            // Who has made the new one ends those it came from: later, as Quick Modes may be under way, and as the peer may still be
            // about to give its CHILD_SAs to the new one.
            let until = cx.now + REPLACED;
            let old = self.isakmp.len().saturating_sub(1);
            for isakmp in self.isakmp.iter_mut().take(old).filter(|i| i.ours) {
                isakmp.dies_at = Some(isakmp.dies_at.map_or(until, |at| at.min(until)));
            }
        }
        if self.isakmp.len() > MOST_ISAKMP {
            let mut oldest = self.isakmp.remove(0);
            if initiator {
                self.delete_isakmp(cx, &mut oldest);
            }
            self.orphaned(cx, &oldest);
        }
        cx.event(Event::Rekeyed { ike: suite });
        self.after(cx, Fate::On)
    }

    /// A new ISAKMP SA could not be made.
    pub(crate) fn not_redialled(mut self: Box<Self>, cx: &mut Cx<'_>, why: Failure) -> Next {
        self.redialled(cx);
        let again = cx.after(AGAIN);
        if let Some(newest) = self.isakmp.last_mut() {
            newest.rekey_at = Some(again);
        }
        cx.event(Event::RekeyRefused { child: None, why });
        self.after(cx, Fate::On)
    }

    pub(crate) fn datagram(mut self: Box<Self>, cx: &mut Cx<'_>, datagram: Datagram) -> Next {
        let header = datagram.header;
        let cookies = (header.initiator_spi, header.responder_spi);
        let Some(at) = self.isakmp.iter().position(|i| i.cookies() == cookies) else {
            // [2408:5.2-1]
            cx.ignore();
            return self.stay();
        };
        let encrypted = header.flags.contains(flags::ENCRYPTION);
        let fate = match header.exchange {
            ExchangeType::IDENTITY_PROTECTION | ExchangeType::AGGRESSIVE => {
                let path = datagram.path;
                let repeated =
                    self.isakmp.get_mut(at).is_some_and(|i| i.last.repeat(cx, &datagram.bytes, path));
                if !repeated {
                    cx.ignore();
                }
                Fate::On
            }
            ExchangeType::QUICK_MODE if encrypted && header.message_id != 0 => self.quick(cx, at, datagram),
            ExchangeType::INFORMATIONAL_V1 if encrypted && header.message_id != 0 => {
                self.informational(cx, at, datagram)
            }
            // [2408:5.14-1] [2408:5.2-3]
            _ => {
                cx.ignore();
                Fate::On
            }
        };
        self.after(cx, fate)
    }

    pub(crate) fn answer(mut self: Box<Self>, cx: &mut Cx<'_>, id: AskId, answer: Answer) -> Next {
        let fate = if let Some(at) = self.ours.iter().position(|q| q.asked() == Some(id)) {
            let quick = self.ours.remove(at);
            self.ours_answered(cx, quick, answer)
        } else if let Some(at) = self.theirs.iter().position(|q| q.asked() == Some(id)) {
            let quick = self.theirs.remove(at);
            self.theirs_answered(cx, quick, answer)
        } else {
            self.outbound_answered(cx, id, answer)
        };
        self.after(cx, fate)
    }

    /// The driver wants it gone.
    pub(crate) fn close(mut self: Box<Self>, cx: &mut Cx<'_>) -> Next {
        self.end(cx);
        self.over(cx, Ok(()))
    }

    /// The driver wants one CHILD_SA gone.
    pub(crate) fn close_child(mut self: Box<Self>, cx: &mut Cx<'_>, child: ChildId) -> Next {
        self.delete_child(cx, child);
        if self.children.is_empty() && self.ours.is_empty() && self.theirs.is_empty() {
            return self.close(cx);
        }
        self.after(cx, Fate::On)
    }

    /// The driver wants something rekeyed.
    pub(crate) fn rekey(mut self: Box<Self>, cx: &mut Cx<'_>, child: Option<ChildId>) -> Next {
        let fate = match child {
            Some(child) => self.rekey_child(cx, child),
            None => {
                self.redial(cx);
                Fate::On
            }
        };
        self.after(cx, fate)
    }

    /// The peer's ESP comes from here.
    pub(crate) fn mapping(mut self: Box<Self>, cx: &mut Cx<'_>, remote: SocketAddr) -> Next {
        self.follow(cx, Path { remote, ..self.path });
        self.after(cx, Fate::On)
    }

    /// The peer has come in anew, and says that it has nothing else.
    pub(crate) fn replaced(self: Box<Self>, cx: &mut Cx<'_>) -> Next {
        self.over(cx, Err(explain::replaced()))
    }

    /// Nothing that was installed is left.
    fn over(mut self: Box<Self>, cx: &mut Cx<'_>, result: Result<(), Failure>) -> Next {
        for child in core::mem::take(&mut self.children) {
            child.closed(cx, None);
        }
        core::mem::take(&mut self.ours).iter().for_each(|q| q.taken_back(cx));
        core::mem::take(&mut self.theirs).iter().for_each(|q| q.taken_back(cx));
        Next::Closed(result)
    }

    pub(crate) fn wake(mut self: Box<Self>, cx: &mut Cx<'_>) -> Next {
        let now = cx.now;
        self.done.retain(|d| d.until > now);
        if self.keepalive.is_some_and(|at| at <= now) {
            cx.transmit_all(self.path, &[vec![KEEPALIVE]]);
            self.keepalive = Some(now + self.policy.timing.keepalive);
        }
        let fate = self.wake_parts(cx);
        self.after(cx, fate)
    }

    fn wake_parts(&mut self, cx: &mut Cx<'_>) -> Fate {
        let now = cx.now;
        for step in
            [Self::wake_ours, Self::wake_theirs, Self::wake_outbound, Self::wake_children, Self::wake_dpd]
        {
            if let over @ Fate::Over(_) = step(self, cx) {
                return over;
            }
        }
        if self.isakmp.last().is_some_and(|i| i.rekey_at.is_some_and(|at| at <= now)) {
            self.redial(cx);
        }
        self.wake_isakmp(cx);
        if self.idle.is_some_and(|at| at <= now) {
            let established = self.established;
            self.end(cx);
            let why = if established { explain::peer_closed() } else { explain::no_quick_mode() };
            return Fate::Over(Err(why));
        }
        Fate::On
    }

    /// Those whose time has come go; not before their life is over while a Quick Mode is under way, or the peer may ask for a
    /// third message again. It would take back what is up for us.
    fn wake_isakmp(&mut self, cx: &mut Cx<'_>) {
        for at in (0..self.isakmp.len()).rev() {
            let Some(isakmp) = self.isakmp.get_mut(at).filter(|i| i.dies_at.is_some_and(|at| at <= cx.now))
            else {
                continue;
            };
            let cookies = isakmp.cookies();
            let busy = self.ours.iter().any(|q| q.cookies == cookies)
                || self.theirs.iter().any(|q| q.cookies == cookies)
                || self.done.iter().any(|d| d.cookies == cookies);
            if busy && isakmp.life_ends.is_none_or(|end| end > cx.now) {
                let later = cx.now + REPLACED;
                isakmp.dies_at = Some(isakmp.life_ends.map_or(later, |end| end.min(later)));
                continue;
            }
            let mut isakmp = self.isakmp.remove(at);
            self.delete_isakmp(cx, &mut isakmp);
            self.orphaned(cx, &isakmp);
        }
    }

    pub(crate) fn deadline(&self) -> Option<(Instant, Timer)> {
        let ours = self.ours.iter().map(Ours::deadline);
        let theirs = self.theirs.iter().map(Theirs::deadline);
        let rekey = |at: Option<Instant>| at.map(|at| (at, Timer::Rekey));
        let children = self.children.iter().filter_map(|c| rekey(c.deadline()));
        let isakmp = self.isakmp.iter().flat_map(|i| [rekey(i.rekey_at), rekey(i.dies_at)]).flatten();
        let idle = self.idle.map(|at| (at, Timer::HalfOpen));
        let keepalive = self.keepalive.map(|at| (at, Timer::Keepalive));
        let all = ours.chain(theirs).chain(children).chain(isakmp);
        all.chain(idle).chain(keepalive).chain(self.dpd_deadline()).min()
    }

    /// Where the peer is and who both are: what tells that a peer has come in again. Behind a NAT its port is part of
    /// that, since others have the same address, and perhaps the same identity (RFC 3947 §6).
    pub(crate) fn key(&self) -> (SocketAddr, Identity, Identity) {
        peer_key(self.path, self.nat, &self.policy.local_id, &self.remote_id)
    }

    /// Where the peer is that we have dialled.
    pub(crate) fn dialled_at(&self) -> Option<IpAddr> {
        self.config.as_ref().map(|_| self.path.remote.ip())
    }

    /// What the peer meets when it dials us at this address of ours, and since when the ISAKMP SA stands that it would renew.
    /// `None`: we have not dialled it from there.
    pub(crate) fn dialled(&self, local: IpAddr) -> Option<(Instant, Dialled)> {
        let config = self.config.clone().filter(|_| self.path.local.ip() == local)?;
        let since = self.isakmp.last()?.since;
        Some((since, Dialled { config, remote_id: self.remote_id.clone() }))
    }

    /// What to dial with for a new ISAKMP SA: from where we are to where the peer is now.
    pub(crate) fn redial_config(&self) -> Option<Arc<InitiatorConfig>> {
        let config = self.config.as_ref()?;
        Some(Arc::new(InitiatorConfig { path: self.path, ..(**config).clone() }))
    }

    /// Our cookies.
    pub(crate) fn our_cookies(&self) -> impl Iterator<Item = (u64, u64)> {
        self.isakmp.iter().map(Isakmp::cookies)
    }

    /// Makes a new ISAKMP SA, after the Quick Mode that is under way: strongSwan hands its CHILD_SAs to the new one when that comes
    /// up, and what comes up later under the old one it drops with that.
    fn redial(&mut self, cx: &mut Cx<'_>) {
        let quiet = self.ours.is_empty() && self.theirs.is_empty();
        if let Some(newest) = self.isakmp.last_mut() {
            newest.waits = !quiet && in_turn(cx.now, newest.dies_at);
            if newest.waits {
                newest.rekey_at = presses_at(cx.now, newest.dies_at);
                return;
            }
            newest.rekey_at = None;
        }
        if self.config.is_some() && !self.redialling {
            self.redialling = true;
            cx.shared.redial.push(cx.sa);
        }
    }

    /// A new ISAKMP SA is there, or will not be: the Quick Modes that wait for it are due.
    fn redialled(&mut self, cx: &Cx<'_>) {
        self.redialling = false;
        for child in self.children.iter_mut().filter(|c| c.waits) {
            (child.rekey_at, child.waits) = (Some(cx.now), false);
        }
    }

    fn stay(self: Box<Self>) -> Next {
        Next::State(State::Up(self))
    }

    /// Whether anything is left.
    fn after(mut self: Box<Self>, cx: &mut Cx<'_>, fate: Fate) -> Next {
        if let Fate::Over(result) = fate {
            return self.over(cx, result);
        }
        let quiet = self.ours.is_empty() && self.theirs.is_empty();
        if quiet && self.isakmp.last().is_some_and(|i| i.waits) {
            self.redial(cx);
        }
        if !self.children.is_empty() {
            self.idle = None;
        } else if self.isakmp.is_empty() && quiet && !self.redialling {
            let why = if self.established { explain::life_over() } else { explain::no_quick_mode() };
            return self.over(cx, Err(why));
        } else if self.idle.is_none() && quiet {
            self.idle = Some(cx.now + Duration::from_secs(10));
        }
        self.stay()
    }

    /// The peer is here now. Only what is authentic, and no replay, leads here.
    fn follow(&mut self, cx: &mut Cx<'_>, path: Path) {
        self.heard = cx.now;
        if path == self.path {
            return;
        }
        self.path = path;
        for isakmp in &mut self.isakmp {
            isakmp.channel.path = path;
        }
        if !self.children.is_empty() {
            cx.event(Event::PathChanged { path, encapsulated: self.nat.encapsulates() });
        }
    }

    /// An authentic message came from here. Only who is behind a NAT may move.
    fn heard_from(&mut self, cx: &mut Cx<'_>, path: Path) {
        self.heard = cx.now;
        self.dpd = None;
        if self.nat.remote && path.local == self.path.local {
            self.follow(cx, path);
        }
    }

    /// Ends everything, and tells the peer.
    fn end(&mut self, cx: &mut Cx<'_>) {
        let children = core::mem::take(&mut self.children);
        for child in children {
            self.send_delete(cx, &[child.inbound]);
            child.closed(cx, None);
        }
        for mut isakmp in core::mem::take(&mut self.isakmp) {
            self.delete_isakmp(cx, &mut isakmp);
        }
    }

    /// Exchanges under an ISAKMP SA that is gone come to nothing.
    fn orphaned(&mut self, cx: &mut Cx<'_>, isakmp: &Isakmp) {
        let cookies = isakmp.cookies();
        self.drop_ours(cx, cookies);
        self.drop_theirs(cx, cookies);
        self.done.retain(|d| d.cookies != cookies);
    }

    fn quick(&mut self, cx: &mut Cx<'_>, at: usize, datagram: Datagram) -> Fate {
        let (cookies, id) = match self.isakmp.get(at) {
            Some(isakmp) => (isakmp.cookies(), datagram.header.message_id),
            None => return Fate::On,
        };
        if let Some(at) = self.ours.iter().position(|q| q.is(cookies, id)) {
            let quick = self.ours.remove(at);
            return self.ours_second(cx, quick, datagram);
        }
        if let Some(at) = self.theirs.iter().position(|q| q.is(cookies, id)) {
            let quick = self.theirs.remove(at);
            return self.theirs_third(cx, quick, datagram);
        }
        let digest = cx.digest(&datagram.bytes);
        let path = self.path;
        if let Some(done) = self.done.iter_mut().find(|d| d.cookies == cookies && d.message_id == id) {
            if done.digest == digest && done.repeated < 16 {
                done.repeated = done.repeated.saturating_add(1);
                cx.shared.counters.repeated = cx.shared.counters.repeated.saturating_add(1);
                cx.transmit_all(path, &done.third);
                let child = done.child;
                self.postpone(cx, child);
            }
            return Fate::On;
        }
        self.theirs_first(cx, at, datagram)
    }

    fn how(&self) -> Encapsulation {
        self.nat.how(self.peer())
    }

    fn peer(&self) -> Peer {
        self.isakmp.last().map(|i| i.channel.peer).unwrap_or_default()
    }
}

/// Whether what is to be rekeyed may wait for something else.
fn in_turn(now: Instant, dies_at: Option<Instant>) -> bool {
    presses_at(now, dies_at).is_none_or(|at| at > now)
}

/// When it may wait no more.
fn presses_at(now: Instant, dies_at: Option<Instant>) -> Option<Instant> {
    dies_at.map(|at| now + at.since(now).saturating_sub(PRESSING))
}

/// See [`Up::key`].
pub(crate) fn peer_key(
    path: Path,
    nat: Nat,
    local: &Identity,
    remote: &Identity,
) -> (SocketAddr, Identity, Identity) {
    let mut end = path.remote;
    if !nat.remote {
        end.set_port(0);
    }
    // [3947:6-1]
    (end, local.clone(), remote.clone())
}
