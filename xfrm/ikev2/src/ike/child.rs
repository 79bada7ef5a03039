//! The CHILD_SAs of an IKE_SA. They outlive it when it is rekeyed (RFC 7296 §2.8).

use core::time::Duration;
use std::sync::Arc;

use adit_core::{Instant, TrafficSelector};
use adit_isakmp::EspSuite;
use adit_isakmp::proposal::EspProposal;

use super::Ike;
use crate::api::{Answer, Ask, AskId, ChildId, ChildMode, EspKeys, Event, SaId};
use crate::explain;
use crate::state::Cx;
use crate::task::Task;

/// RFC 7296 §2.8: a responder to a rekey sends on the new SA when it knows that the initiator has it, or after so long.
pub(super) const OUTBOUND_AFTER: Duration = Duration::from_secs(5);

/// A peer that comes in anew while it is up has the new one after so long at the latest.
const CARRIED_FOR: Duration = Duration::from_secs(1);

/// What the peer should have deleted by then (§2.8), we delete.
pub(crate) const TIDY_AFTER: Duration = Duration::from_secs(60);

/// The driver gets this long for an Ask.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// One CHILD_SA.
pub(crate) struct Child {
    pub(crate) id: ChildId,
    pub(crate) inbound_spi: u32,
    pub(crate) outbound_spi: u32,
    pub(crate) mode: ChildMode,
    /// What protects it.
    pub(crate) suite: Option<EspSuite>,
    /// [`ChildConfig::name`](crate::api::ChildConfig::name), where we asked for it.
    pub(crate) name: Option<Box<str>>,
    /// What it may be rekeyed to.
    pub(crate) esp: Arc<[EspProposal]>,
    pub(crate) local_ts: Box<[TrafficSelector]>,
    pub(crate) remote_ts: Box<[TrafficSelector]>,
    pub(crate) kernel: Kernel,
    /// The Ask that is to install it, or did.
    pub(crate) installing: Option<AskId>,
    /// We have asked the peer to delete it (RFC 7296 §1.4.1: the responses to two such requests that cross name
    /// nothing).
    pub(crate) deleting: bool,
    /// The peer does not have it any more (§2.25).
    pub(crate) lost: bool,
    /// In whose place it was made.
    pub(crate) replaces: Option<ChildId>,
    /// The one that was made in its place, or beside it for no use (§2.8.1).
    pub(crate) replaced_by: Option<ChildId>,
    /// When to rekey it; where it is replaced: when to delete it, if the peer has not.
    pub(crate) due: Option<Instant>,
    /// When its life is over (RFC 7296 §2.8).
    pub(crate) expires_at: Option<Instant>,
    pub(crate) outbound: Option<Box<Outbound>>,
}

/// What the driver has of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kernel {
    /// It was asked to install it.
    Asked,
    /// The same, and it is to go as soon as that is answered.
    Doomed,
    /// It has it.
    In,
    /// It has nothing of it.
    Out,
}

/// The outbound SA of a pair that the peer has asked for, not yet in use.
pub(crate) struct Outbound {
    /// `None`: it is being installed.
    pub(crate) keys: Option<EspKeys>,
    /// Until when, then.
    pub(crate) at: Instant,
    pub(crate) asked: Option<AskId>,
    /// What it takes the place of.
    pub(crate) old: ChildId,
}

impl Child {
    /// One that the driver has, with its SPIs (inbound, outbound) and selectors (ours, the peer's).
    pub(crate) fn new(
        id: ChildId,
        spis: (u32, u32),
        mode: ChildMode,
        ts: (&[TrafficSelector], &[TrafficSelector]),
    ) -> Self {
        Self {
            id,
            inbound_spi: spis.0,
            outbound_spi: spis.1,
            mode,
            suite: None,
            name: None,
            esp: Arc::from([]),
            local_ts: ts.0.into(),
            remote_ts: ts.1.into(),
            kernel: Kernel::In,
            installing: None,
            deleting: false,
            lost: false,
            replaces: None,
            replaced_by: None,
            due: None,
            expires_at: None,
            outbound: None,
        }
    }

    /// Tells the driver that it is gone, and what carries in its place.
    pub(crate) fn closed(&self, cx: &mut Cx<'_>, replaced_by: Option<ChildId>) {
        cx.event(Event::ChildClosed {
            child: self.id,
            inbound_spi: self.inbound_spi,
            outbound_spi: self.outbound_spi,
            replaced_by,
        });
    }

    /// Whether it carries, and nothing has taken its place.
    pub(crate) const fn is_current(&self) -> bool {
        self.replaced_by.is_none() && !self.deleting && matches!(self.kernel, Kernel::Asked | Kernel::In)
    }
}

impl Ike {
    /// The CHILD_SA of this name.
    pub(crate) fn child(&mut self, id: ChildId) -> Option<&mut Child> {
        self.children.iter_mut().find(|c| c.id == id)
    }

    /// When a CHILD_SA that comes up now is to be rekeyed.
    pub(crate) fn rekey_child_at(&self, cx: &mut Cx<'_>) -> Option<Instant> {
        cx.after_most_of(self.policy.timing.rekey_child)
    }

    /// Takes a CHILD_SA off, and tells the driver.
    pub(crate) fn drop_child(&mut self, cx: &mut Cx<'_>, id: ChildId) {
        let Some(index) = self.children.iter().position(|c| c.id == id) else {
            return;
        };
        // What it was replaced by is all that carries from now on, whichever of two stays in the end.
        let waiting: Vec<_> = self.outbounds(|o| o.old == id).collect();
        waiting.into_iter().for_each(|new| self.install_outbound(cx, new, None));
        let mut survivor = None;
        if let Some(child) = self.children.get_mut(index).filter(|c| c.kernel == Kernel::Asked) {
            child.kernel = Kernel::Doomed;
        } else {
            let child = self.children.remove(index);
            self.children.shrink_to_fit();
            if child.kernel == Kernel::In {
                // What was to take its place may not be there yet: then it is what it was to replace.
                let carries =
                    |id: &ChildId| self.children.iter().any(|c| c.id == *id && c.kernel == Kernel::In);
                child.closed(cx, child.replaced_by.filter(carries).or(child.replaces.filter(carries)));
            }
            survivor = child.replaced_by;
        }
        self.delete_left_by(id);
        self.unreplace(cx, id, survivor);
    }

    /// `gone` takes nobody's place any more: its own survivor does, or what it was to replace carries on, and is
    /// rekeyed again some time.
    pub(crate) fn unreplace(&mut self, cx: &mut Cx<'_>, gone: ChildId, survivor: Option<ChildId>) {
        let again = self.rekey_child_at(cx).map(|_| cx.soon());
        for child in self.children.iter_mut().filter(|c| c.replaced_by == Some(gone)) {
            child.replaced_by = survivor.filter(|id| *id != child.id);
            if child.replaced_by.is_none() {
                child.due = again;
            }
        }
    }

    /// `id` is in the kernel, or not: what became of [`Ask::Install`]. `false`: it was to go, and is gone.
    pub(crate) fn child_installed(&mut self, cx: &mut Cx<'_>, id: ChildId, kernel: Kernel) -> bool {
        let Some(child) = self.child(id) else {
            return false;
        };
        let doomed = child.kernel == Kernel::Doomed;
        child.kernel = kernel;
        if doomed {
            self.drop_child(cx, id);
        }
        !doomed
    }

    fn outbounds(&self, which: impl Fn(&Outbound) -> bool) -> impl Iterator<Item = ChildId> {
        let waits = move |c: &&Child| c.outbound.as_deref().is_some_and(|o| o.keys.is_some() && which(o));
        self.children.iter().filter(waits).map(|c| c.id)
    }

    /// The keys of an outbound SA are kept until the peer can read it.
    pub(crate) fn keep_outbound(&mut self, cx: &Cx<'_>, id: ChildId, keys: EspKeys, old: ChildId) {
        let outbound = Outbound { keys: Some(keys), at: cx.now + OUTBOUND_AFTER, asked: None, old };
        if let Some(child) = self.child(id) {
            child.outbound = Some(Box::new(outbound));
        }
    }

    /// What the same peer has here already goes (RFC 7296 §2.4).
    /// `all`: else only what it goes on from (RFC 5723).
    pub(crate) fn take_over(&mut self, cx: &mut Cx<'_>, all: bool) {
        self.takes_over = false;
        let from = self.goes_on_from();
        let Some(pair) = self.pair else { return };
        let goes = |sa: &SaId| *sa != cx.sa && (all || Some(*sa) == from);
        let up: Vec<_> = cx.shared.up_with(pair).map(|(sa, _)| sa).filter(goes).collect();
        cx.shared.replaced.extend(up.into_iter().map(|sa| (sa, Some(sa) == from)));
    }

    /// The same, when the peer has this one: until then the other one carries.
    pub(crate) fn take_over_later(&mut self, cx: &Cx<'_>, (id, keys): (ChildId, EspKeys), replaces: bool) {
        self.takes_over = replaces;
        self.keep_outbound(cx, id, keys, id);
        if let Some(outbound) = self.child(id).and_then(|c| c.outbound.as_deref_mut()) {
            outbound.at = cx.now + CARRIED_FOR;
        }
    }

    /// The peer has asked again for what we answered: it has not heard yet.
    pub(crate) fn repeated(&mut self, cx: &Cx<'_>) {
        for outbound in self.children.iter_mut().filter_map(|c| c.outbound.as_deref_mut()) {
            if outbound.keys.is_some() {
                outbound.at = cx.now + OUTBOUND_AFTER;
            }
        }
    }

    /// The peer has asked something new: it has all that we answered before.
    pub(crate) fn peer_has_all(&mut self, cx: &mut Cx<'_>) {
        if self.children.iter().any(|c| c.outbound.is_some()) {
            let (ready, undecided) = (self.outbounds(|_| true).collect::<Vec<_>>(), self.rekeying());
            ready.into_iter().for_each(|new| self.install_outbound(cx, new, undecided));
        }
    }

    /// Sends on `new` from now on, unless it replaces `undecided`: then it is not yet certain that it stays (§2.8.1).
    fn install_outbound(&mut self, cx: &mut Cx<'_>, new: ChildId, undecided: Option<ChildId>) {
        // What takes this IKE_SA's place carries already.
        if self.is_closing() {
            return;
        }
        let Some(child) = self.child(new).filter(|c| c.replaced_by.is_none() && !c.deleting) else {
            return;
        };
        let Some(outbound) = child.outbound.as_deref_mut().filter(|o| undecided != Some(o.old)) else {
            return;
        };
        if let Some(keys) = outbound.keys.take() {
            outbound.asked = Some(cx.ask(Ask::InstallOutbound { child: new, keys }));
            outbound.at = cx.now + PATIENCE;
        }
    }

    /// The answer to [`Ask::Install`] of one that nobody waits for any more, since the IKE_SA is being closed.
    pub(super) fn installed_late(&mut self, cx: &mut Cx<'_>, id: AskId, answer: &Answer) {
        let waits = |c: &&mut Child| c.installing == Some(id) && c.kernel != Kernel::In;
        if let (Some(child), Answer::Installed(result)) = (self.children.iter_mut().find(waits), answer) {
            let (id, kernel) = (child.id, if result.is_ok() { Kernel::In } else { Kernel::Out });
            self.child_installed(cx, id, kernel);
        }
    }

    /// The answer to [`Ask::InstallOutbound`], if it is one.
    pub(super) fn outbound_answered(&mut self, cx: &mut Cx<'_>, id: AskId, answer: &Answer) {
        let waits = |c: &&mut Child| c.outbound.as_ref().is_some_and(|o| o.asked == Some(id));
        let (Some(child), Answer::Installed(result)) = (self.children.iter_mut().find(waits), answer) else {
            return;
        };
        child.outbound = None;
        let id = child.id;
        if result.is_err() {
            self.enqueue(Task::DeleteChild(id));
        } else if self.takes_over || self.goes_on() {
            self.take_over(cx, self.takes_over);
        }
    }

    /// When something is to be done for a CHILD_SA.
    pub(super) fn children_at(&self) -> Option<Instant> {
        if self.closing.is_some() {
            return None;
        }
        let undecided = self.rekeying();
        let one = |c: &Child| {
            let stays = c.replaced_by.is_none() && !c.deleting;
            let ready = |o: &&Outbound| o.keys.is_none() || (stays && undecided != Some(o.old));
            let outbound = c.outbound.as_deref().filter(ready).map(|o| o.at);
            let due = [c.due, c.expires_at].map(|at| at.filter(|_| !c.deleting));
            due.into_iter().chain([outbound]).flatten().min()
        };
        self.children.iter().filter_map(one).min()
    }

    /// Rekeys all before long. A peer that knows nothing of RFC 7296 §2.8.2 takes its CHILD_SAs to the IKE_SA that came
    /// last, and lets them go with it, silently: only so does it say that it has them no more (§2.25).
    pub(crate) fn ask_for_children(&mut self, cx: &mut Cx<'_>) {
        let at = cx.soon();
        for child in self.children.iter_mut().filter(|c| c.is_current()) {
            child.due = Some(child.due.map_or(at, |due| due.min(at)));
        }
    }

    /// Does what is due for CHILD_SAs.
    pub(super) fn wake_children(&mut self, cx: &mut Cx<'_>) {
        if self.children_at().is_none_or(|at| at > cx.now) {
            return;
        }
        let (due, undecided) = (self.outbounds(|o| o.at <= cx.now).collect::<Vec<_>>(), self.rekeying());
        due.into_iter().for_each(|new| self.install_outbound(cx, new, undecided));
        let mut tasks = Vec::new();
        let mut expired = false;
        for child in &mut self.children {
            // An Ask that nobody answers: what can't be sent on is of no use.
            if child.outbound.take_if(|o| o.keys.is_none() && o.at <= cx.now).is_some() {
                tasks.push(Task::DeleteChild(child.id));
            }
            // [7296:2.8-1]
            if child.expires_at.take_if(|at| *at <= cx.now).is_some() && !child.deleting {
                expired = true;
                tasks.push(Task::DeleteChild(child.id));
            }
            if child.due.is_some_and(|at| at <= cx.now) && !child.deleting {
                child.due = None;
                let replaced = child.replaced_by.is_some();
                tasks.push(if replaced { Task::DeleteChild(child.id) } else { Task::Rekey(child.id) });
            }
        }
        if expired && self.children.len() == 1 {
            let why = explain::never_rekeyed("CHILD_SA", &self.remote_id);
            return self.begin_close(cx, Task::DeleteIke, Err(why));
        }
        tasks.into_iter().for_each(|task| self.enqueue(task));
    }
}
