//! The outbound SA of a pair that we have made in another's place. Quick Mode's third message has no answer, and until the peer
//! has handled it, it may not read what comes by the new pair: so long the old one carries (as RFC 7296 §2.8 has it for
//! IKEv2). A pair that replaces nothing has both at once, as nothing else carries.

use core::time::Duration;

use adit_core::snapshot::{Reader, Writer};
use adit_core::{Failure, Instant, TrafficSelector};

use adit_isakmp::{EspSuite, Integrity};

use super::child::Child;
use super::{Fate, Up};
use crate::api::{Answer, Ask, AskId, ChildId, EspKeys};
use crate::explain;
use crate::state::Cx;

/// So long after the third message, or half of what is left of the old pair's life if that is less: longer than peers wait before
/// they ask for it again (strongSwan 4 s).
const OUTBOUND_AFTER: Duration = Duration::from_secs(5);

/// Whether we send by a pair.
pub(crate) enum Sending {
    /// Its outbound SA stands.
    Yes,
    /// Not yet.
    Later { keys: EspKeys, at: Instant },
    /// The outbound SA is being installed.
    Asked { ask: AskId, patience: Instant },
    /// It was replaced before; these are its keys, should what replaced it go first.
    Held(EspKeys),
}

impl Sending {
    /// Later, but before the old pair's life ends.
    fn later(cx: &Cx<'_>, keys: EspKeys, end: Option<Instant>) -> Self {
        let left = end.map_or(OUTBOUND_AFTER, |end| end.since(cx.now) / 2);
        Self::Later { keys, at: cx.now + left.min(OUTBOUND_AFTER) }
    }

    pub(super) const fn deadline(&self) -> Option<Instant> {
        match self {
            Self::Later { at, .. } | Self::Asked { patience: at, .. } => Some(*at),
            Self::Yes | Self::Held(_) => None,
        }
    }

    /// Whether its outbound SA stands, or is about to.
    const fn stands(&self) -> bool {
        matches!(self, Self::Yes | Self::Asked { .. })
    }

    /// It has been replaced: it is not sent by unless what is in its place goes before it; what stands stands.
    pub(super) fn hold(&mut self) {
        *self = match core::mem::replace(self, Self::Yes) {
            Self::Later { keys, .. } => Self::Held(keys),
            other => other,
        };
    }

    fn begin(&mut self, cx: &mut Cx<'_>, child: ChildId, patience: Instant) {
        *self = match core::mem::replace(self, Self::Yes) {
            Self::Later { keys, .. } | Self::Held(keys) => {
                Self::Asked { ask: cx.ask(Ask::InstallOutbound { child, keys }), patience }
            }
            other => other,
        };
    }
}

impl Sending {
    pub(super) fn save(&self, w: &mut Writer) {
        let keys = |w: &mut Writer, keys: &EspKeys| {
            w.bytes(keys.encryption.expose());
            w.bytes(keys.integrity.expose());
        };
        match self {
            Self::Yes | Self::Asked { .. } => w.u8(0),
            Self::Later { keys: of, at } => {
                w.u8(1);
                keys(w, of);
                w.instant(*at);
            }
            Self::Held(of) => {
                w.u8(2);
                keys(w, of);
            }
        }
    }

    pub(super) fn read(r: &mut Reader<'_>, suite: &EspSuite) -> Option<Self> {
        let keys = |r: &mut Reader<'_>| {
            let keys = EspKeys { encryption: r.secret()?, integrity: r.secret()? };
            let integrity = suite.integrity.map_or(0, Integrity::key_len);
            let whole = (keys.encryption.len(), keys.integrity.len());
            (whole == (suite.encryption.key_material_len(), integrity)).then_some(keys)
        };
        Some(match r.u8()? {
            0 => Self::Yes,
            1 => Self::Later { keys: keys(r)?, at: r.instant()? },
            2 => Self::Held(keys(r)?),
            _ => return None,
        })
    }
}

impl Up {
    /// Whether something carries this traffic out.
    pub(super) fn sends(&self, selectors: (TrafficSelector, TrafficSelector)) -> bool {
        self.children.iter().any(|c| c.selectors == selectors && c.sending.stands())
    }

    /// When a new pair for this traffic is sent by: `outbound` are the keys of its outbound SA, if that is not installed with it.
    pub(super) fn sending(
        &self,
        cx: &Cx<'_>,
        selectors: (TrafficSelector, TrafficSelector),
        outbound: Option<EspKeys>,
    ) -> Sending {
        let old = self.children.iter().filter(|c| c.selectors == selectors && c.sending.stands());
        let end = old.filter_map(|c| c.life_ends).max();
        outbound.map_or(Sending::Yes, |keys| Sending::later(cx, keys, end))
    }

    /// The peer has asked for the third message again: it has not had it.
    pub(super) fn postpone(&mut self, cx: &Cx<'_>, id: ChildId) {
        let child = self.children.iter_mut().find(|c| c.id == id);
        if let Some(Sending::Later { at, .. }) = child.map(|c| &mut c.sending) {
            *at = cx.now + OUTBOUND_AFTER;
        }
    }

    /// What carried this traffic is gone, or is about to go: what takes its place is sent by from now on.
    pub(super) fn send_by_new(&mut self, cx: &mut Cx<'_>, selectors: (TrafficSelector, TrafficSelector)) {
        let later = |c: &&mut Child| c.carries(selectors) && matches!(c.sending, Sending::Later { .. });
        let patience = cx.now + self.policy.timing.half_open;
        for child in self.children.iter_mut().filter(later) {
            child.sending.begin(cx, child.id, patience);
        }
        if !self.sends(selectors)
            && let Some(newest) = self.children.iter_mut().rfind(|c| c.selectors == selectors)
        {
            newest.sending.begin(cx, newest.id, patience);
        }
    }

    pub(super) fn wake_outbound(&mut self, cx: &mut Cx<'_>) -> Fate {
        let (now, patience) = (cx.now, cx.now + self.policy.timing.half_open);
        let due = |c: &Child| c.sending.deadline().is_some_and(|at| at <= now);
        let (late, ready): (Vec<_>, Vec<_>) = self
            .children
            .iter_mut()
            .filter(|c| due(c))
            .partition(|c| matches!(c.sending, Sending::Asked { .. }));
        let late: Vec<_> = late.iter().map(|c| c.id).collect();
        for child in ready {
            child.sending.begin(cx, child.id, patience);
        }
        for id in late {
            let why = explain::quick_unusable("it took too long");
            if let over @ Fate::Over(_) = self.outbound_failed(cx, id, why) {
                return over;
            }
        }
        Fate::On
    }

    pub(super) fn outbound_answered(&mut self, cx: &mut Cx<'_>, id: AskId, answer: Answer) -> Fate {
        let asked = |c: &&mut Child| matches!(c.sending, Sending::Asked { ask, .. } if ask == id);
        let Some(child) = self.children.iter_mut().find(asked) else {
            return Fate::On;
        };
        match answer {
            Answer::Installed(Ok(())) => {
                child.sending = Sending::Yes;
                Fate::On
            }
            Answer::Installed(Err(why)) => {
                let id = child.id;
                self.outbound_failed(cx, id, why)
            }
            // An answer of another kind is none.
            _ => Fate::On,
        }
    }

    /// The pair is no good: what it was to replace goes on, and is rekeyed again.
    fn outbound_failed(&mut self, cx: &mut Cx<'_>, id: ChildId, why: Failure) -> Fate {
        self.delete_child(cx, id);
        let mut old = None;
        for child in self.children.iter_mut().filter(|c| c.superseded_by == Some(id)) {
            child.superseded_by = None;
            child.dies_at = child.life_ends;
            old = Some(child.id);
        }
        self.quick_failed(cx, old, why)
    }
}
