//! CHILD_SAs: their lives, and which takes whose place.

use core::time::Duration;

use adit_core::{Instant, Secret, TrafficSelector};
use adit_isakmp::EspSuite;
use adit_isakmp::keys::SaKeys;
use adit_isakmp::payload::Protocol;
use adit_isakmp::v1::keys::esp_keys;
use adit_isakmp::v1::proposal::ChosenEsp;
use adit_isakmp::v1::{Delete, Identification, Payload};

use super::isakmp::rekey_age;
use super::outbound::Sending;
use super::{DONE, Fate, Up, in_turn, presses_at};
use crate::api::{ChildId, ChildMode, ChildSa, ChildUp, EspKeys, Established, Event, Lease};
use crate::initiator::{lifetime, shorter};
use crate::state::Cx;

/// A pair of SAs.
pub(crate) struct Child {
    pub(crate) id: ChildId,
    pub(crate) inbound: u32,
    pub(crate) outbound: u32,
    pub(crate) selectors: (TrafficSelector, TrafficSelector),
    /// The same as it was said to the peer: our side, the peer's.
    pub(crate) ids: Option<(Identification, Identification)>,
    pub(crate) suite: EspSuite,
    pub(crate) mode: ChildMode,
    /// Whom it was made to replace.
    pub(super) root: Option<ChildId>,
    /// Whether we began its Quick Mode.
    pub(super) ours: bool,
    pub(crate) rekey_at: Option<Instant>,
    /// It is rekeyed when the new ISAKMP SA is there that is being made; by `rekey_at` in any case.
    pub(super) waits: bool,
    pub(super) dies_at: Option<Instant>,
    /// When its life is over, if nothing ends it before.
    pub(super) life_ends: Option<Instant>,
    pub(super) sending: Sending,
    /// Who carries in its place.
    pub(crate) superseded_by: Option<ChildId>,
    pub(crate) cookies: (u64, u64),
}

impl Child {
    pub(super) fn deadline(&self) -> Option<Instant> {
        [self.rekey_at, self.dies_at, self.sending.deadline()].into_iter().flatten().min()
    }

    /// Whether it carries this traffic, and nobody else does in its place.
    pub(super) fn carries(&self, selectors: (TrafficSelector, TrafficSelector)) -> bool {
        self.superseded_by.is_none() && self.selectors == selectors
    }

    /// It is gone.
    pub(super) fn closed(&self, cx: &mut Cx<'_>, replaced_by: Option<ChildId>) {
        cx.event(Event::ChildClosed {
            child: self.id,
            inbound_spi: self.inbound,
            outbound_spi: self.outbound,
            replaced_by: self.superseded_by.or(replaced_by),
        });
    }
}

/// What a Quick Mode has agreed on.
pub(super) struct Agreement {
    pub(super) child: ChildId,
    pub(super) chosen: ChosenEsp,
    /// Our SPI.
    pub(super) inbound: u32,
    pub(super) selectors: (TrafficSelector, TrafficSelector),
    pub(super) ids: Option<(Identification, Identification)>,
    pub(super) root: Option<ChildId>,
    pub(super) ours: bool,
    pub(super) cookies: (u64, u64),
    /// The responder's own life, if it has said one.
    pub(super) life: Option<Duration>,
}

impl Up {
    /// The keys of a pair: inbound, outbound.
    pub(super) fn pair_keys(
        &self,
        cx: &Cx<'_>,
        agreement: &Agreement,
        shared: Option<&Secret>,
        (ni, nr): (&[u8], &[u8]),
    ) -> Option<(EspKeys, EspKeys)> {
        let channel = &self.isakmp.iter().find(|i| i.cookies() == agreement.cookies)?.channel;
        let (crypto, prf, suite) = (&*cx.shared.crypto, channel.suite.prf, &agreement.chosen.suite);
        let of = |spi| esp_keys(crypto, prf, channel.d(), suite, shared, (spi, ni, nr));
        let keys = |k: SaKeys| EspKeys { encryption: k.encryption, integrity: k.integrity };
        Some((keys(of(agreement.inbound)), keys(of(agreement.chosen.spi))))
    }

    /// What to install.
    pub(super) fn child_sa(
        &self,
        agreement: &Agreement,
        inbound: EspKeys,
        outbound: Option<EspKeys>,
    ) -> Box<ChildSa> {
        let replaces = self.children.iter().find(|c| c.carries(agreement.selectors));
        Box::new(ChildSa {
            child: agreement.child,
            replaces: replaces.map(|c| c.id),
            mode: agreement.chosen.mode,
            path: self.path,
            encapsulated: self.nat.encapsulates(),
            suite: agreement.chosen.suite,
            inbound_spi: agreement.inbound,
            inbound,
            outbound_spi: agreement.chosen.spi,
            outbound,
            local_ts: vec![agreement.selectors.0],
            remote_ts: vec![agreement.selectors.1],
            lease: Lease::default(),
            remote_id: self.remote_id.clone(),
            connection: self.policy.name.clone(),
        })
    }

    /// A pair is up.
    pub(super) fn child_up(&mut self, cx: &mut Cx<'_>, agreement: Agreement, sending: Sending) {
        let life = shorter(agreement.chosen.life, Some(lifetime(self.policy.timing.rekey_child)));
        let life = shorter(life, agreement.life);
        let rekey = rekey_age(self.policy.timing.rekey_child, life);
        // Whoever dialled rekeys first.
        let rekey = if self.initiator { rekey } else { life.map_or(rekey, |life| (rekey + life) / 2) };
        let replaces = self.children.iter().find(|c| c.carries(agreement.selectors)).map(|c| c.id);
        let child = Child {
            id: agreement.child,
            inbound: agreement.inbound,
            outbound: agreement.chosen.spi,
            selectors: agreement.selectors,
            ids: agreement.ids,
            suite: agreement.chosen.suite,
            mode: agreement.chosen.mode,
            root: agreement.root,
            ours: agreement.ours,
            rekey_at: cx.after_most_of(rekey),
            waits: false,
            dies_at: life.map(|life| cx.now + life),
            life_ends: life.map(|life| cx.now + life),
            sending,
            superseded_by: None,
            cookies: agreement.cookies,
        };
        let up = ChildUp {
            child: child.id,
            replaces,
            esp: child.suite,
            mode: child.mode,
            local_ts: child.selectors.0,
            remote_ts: child.selectors.1,
        };
        self.supersede(child);
        self.idle = None;
        if self.established {
            cx.event(Event::ChildUp(Box::new(up)));
        } else if let Some(isakmp) = self.isakmp.last() {
            self.established = true;
            cx.event(Event::Established(Box::new(Established {
                path: self.path,
                encapsulated: self.nat.encapsulates(),
                nat_local: self.nat.local,
                nat_remote: self.nat.remote,
                local_id: self.policy.local_id.clone(),
                remote_id: self.remote_id.clone(),
                auth: self.auth,
                ike: isakmp.channel.suite,
                vendor: isakmp.channel.peer.name,
                child: up,
                connection: self.policy.name.clone(),
            })));
        }
    }

    /// A new pair takes the place of whatever carries the same. Where both ends have made one in one's place, both know
    /// which of the two stays: that with the highest SPI.
    fn supersede(&mut self, mut child: Child) {
        let highest = |c: &Child| c.inbound.max(c.outbound);
        let carrier = self.children.iter().find(|c| c.carries(child.selectors)).map(|c| (c.id, c.root));
        let sibling = child.root.and_then(|root| self.children.iter_mut().find(|c| c.root == Some(root)));
        match (sibling.filter(|s| s.ours != child.ours), carrier) {
            (Some(sibling), _) if sibling.superseded_by.is_none() => {
                if highest(sibling) > highest(&child) {
                    child.lose(sibling.id);
                } else {
                    sibling.lose(child.id);
                }
            }
            // The third message of this one has come late: what was made at the same time has been replaced since.
            (Some(_), Some((carrier, root))) if root != child.root => child.lose(carrier),
            _ => {}
        }
        if child.superseded_by.is_none() {
            for old in self.children.iter_mut().filter(|c| c.carries(child.selectors)) {
                old.superseded_by = Some(child.id);
                (old.rekey_at, old.waits) = (None, false);
                old.sending.hold();
            }
        }
        self.children.push(child);
    }

    /// Takes a pair away, and tells the peer.
    pub(super) fn delete_child(&mut self, cx: &mut Cx<'_>, id: ChildId) {
        let Some(at) = self.children.iter().position(|c| c.id == id) else {
            return;
        };
        let child = self.children.remove(at);
        self.send_by_new(cx, child.selectors);
        self.send_delete(cx, &[child.inbound]);
        child.closed(cx, None);
    }

    /// Tells the peer that our inbound SAs of these SPIs are gone.
    pub(super) fn send_delete(&mut self, cx: &mut Cx<'_>, spis: &[u32]) {
        let spis = spis.iter().map(|spi| spi.to_be_bytes().to_vec()).collect();
        let delete = Payload::Delete(Delete::new(Protocol::ESP, spis));
        if let Some(datagrams) = self.isakmp.last_mut().and_then(|i| i.inform(cx, delete)) {
            cx.transmit_all(self.path, &datagrams);
        }
    }

    /// Whoever has made a pair in another's place ends the other one: when the peer would have asked for the third message, which
    /// has no answer, for the last time. Until then it may send by the old one.
    pub(super) fn retire(&mut self, cx: &Cx<'_>, id: ChildId) {
        let until = cx.now + DONE;
        for old in self.children.iter_mut().filter(|c| c.id == id && c.superseded_by.is_some()) {
            old.dies_at = Some(old.dies_at.map_or(until, |at| at.min(until)));
        }
    }

    pub(super) fn rekey_child(&mut self, cx: &mut Cx<'_>, id: ChildId) -> Fate {
        let Some(child) = self.children.iter_mut().find(|c| c.id == id && c.superseded_by.is_none()) else {
            return Fate::On;
        };
        (child.rekey_at, child.waits) = (None, false);
        if self.ours.iter().any(|q| q.replaces == Some(id)) || self.theirs.iter().any(|q| q.root == Some(id))
        {
            return Fate::On;
        }
        if self.redialling && in_turn(cx.now, child.dies_at) {
            (child.rekey_at, child.waits) = (presses_at(cx.now, child.dies_at), true);
            return Fate::On;
        }
        if self.isakmp.is_empty() {
            // Quick Mode needs an ISAKMP SA; it is tried again when there is one.
            self.redial(cx);
            let again = cx.after(super::AGAIN);
            if let Some(child) = self.children.iter_mut().find(|c| c.id == id) {
                child.rekey_at = Some(again);
            }
            return Fate::On;
        }
        self.begin_quick(cx, Some(id))
    }

    pub(super) fn wake_children(&mut self, cx: &mut Cx<'_>) -> Fate {
        let now = cx.now;
        let due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        let dead: Vec<_> = self.children.iter().filter(|c| due(c.dies_at)).map(|c| c.id).collect();
        for id in dead {
            self.delete_child(cx, id);
        }
        let old: Vec<_> = self.children.iter().filter(|c| due(c.rekey_at)).map(|c| c.id).collect();
        for id in old {
            if let over @ Fate::Over(_) = self.rekey_child(cx, id) {
                return over;
            }
        }
        Fate::On
    }
}

impl Child {
    /// It stays for its life, and is not rekeyed: where a first message came late, one end takes for one after the other what
    /// the other end sees at once, and sends by this one; a Delete, which has no answer, may never reach it.
    fn lose(&mut self, winner: ChildId) {
        self.superseded_by = Some(winner);
        (self.rekey_at, self.waits) = (None, false);
        self.sending.hold();
    }
}

/// What was installed, or is being, is to be taken back.
pub(super) fn taken_back(cx: &mut Cx<'_>, agreement: &Agreement) {
    cx.event(Event::ChildClosed {
        child: agreement.child,
        inbound_spi: agreement.inbound,
        outbound_spi: agreement.chosen.spi,
        replaced_by: agreement.root,
    });
}
