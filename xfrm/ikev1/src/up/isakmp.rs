//! One ISAKMP SA of a connection, and which Message IDs have been used on it.

use core::time::Duration;
use std::collections::{BTreeSet, VecDeque};

use adit_core::Instant;
use adit_core::snapshot::{Reader, Writer};
use adit_isakmp::v1::Payload;

use crate::channel::Channel;
use crate::initiator::lifetime;
use crate::state::{Cx, Last, Stands};

/// Quick Modes that a peer may begin under one ISAKMP SA. Beyond it a new one is needed.
const MOST_QUICK: usize = 1024;
/// Informationals that are remembered; what is older can do nothing a second time.
const MOST_INFORMATIONAL: usize = 512;

/// An ISAKMP SA.
pub(crate) struct Isakmp {
    pub(crate) channel: Channel,
    /// The last message of phase 1 and what was sent for it.
    pub(crate) last: Last,
    /// The last R-U-THERE and what was sent for it.
    pub(crate) asked: Last,
    pub(crate) quick: Seen,
    pub(crate) informational: Seen,
    /// Whether we have made it.
    pub(crate) ours: bool,
    /// When it came up.
    pub(crate) since: Instant,
    /// When we make a new one in its place.
    pub(crate) rekey_at: Option<Instant>,
    /// That waits until no Quick Mode is under way; not longer than to `rekey_at`.
    pub(crate) waits: bool,
    /// When it goes: at the end of its life, or some time after it has been replaced.
    pub(crate) dies_at: Option<Instant>,
    /// When its life is over.
    pub(crate) life_ends: Option<Instant>,
    /// When its life is so nearly over that its end ends nothing else.
    pub(crate) old_at: Option<Instant>,
    /// The last sequence number of DPD that we sent.
    pub(crate) dpd_sent: u32,
    /// The last one that came.
    pub(crate) dpd_seen: Option<u32>,
}

impl Isakmp {
    pub(crate) fn new(cx: &mut Cx<'_>, stands: Stands) -> Self {
        let timing = stands.policy.timing;
        let rekey = rekey_age(timing.rekey_ike, stands.life);
        Self {
            channel: stands.channel,
            last: stands.last,
            asked: Last::default(),
            quick: Seen::new(MOST_QUICK),
            informational: Seen::new(MOST_INFORMATIONAL),
            ours: stands.initiator,
            since: cx.now,
            rekey_at: if stands.initiator { cx.after_most_of(rekey) } else { None },
            waits: false,
            dies_at: stands.life.map(|life| cx.now + life),
            life_ends: stands.life.map(|life| cx.now + life),
            // Where the peer's life is longer, and it has been told of ours, ours counts.
            old_at: stands.life.map(|life| cx.now + life.min(lifetime(timing.rekey_ike)) * 9 / 10),
            // [3706:6.2-1]
            dpd_sent: cx.message_id() >> 1,
            dpd_seen: None,
        }
    }

    /// An Informational of ours. Its Message ID is used then: in IKEv1 both directions have the same keys, and what we said
    /// must not be believed when somebody sends it back.
    pub(crate) fn inform(&mut self, cx: &mut Cx<'_>, payload: Payload) -> Option<Vec<Vec<u8>>> {
        let id = self.message_id(cx);
        // [2409:5.5-6]
        self.informational.add(id);
        self.channel.seal_informational(cx, id, payload).ok()
    }

    /// A Message ID that nobody has used under it: with a used one, an IV would be.
    pub(crate) fn message_id(&self, cx: &mut Cx<'_>) -> u32 {
        loop {
            let id = cx.message_id();
            if !self.informational.has(id) && !self.quick.has(id) {
                return id;
            }
        }
    }

    /// Whether it goes before its life is over.
    pub(crate) fn is_going(&self) -> bool {
        self.dies_at != self.life_ends
    }

    /// Our cookie alone.
    pub(crate) const fn our_cookie(&self) -> u64 {
        if self.ours { self.cookies().0 } else { self.cookies().1 }
    }

    /// Our cookie and the peer's, in the order of the header.
    pub(crate) const fn cookies(&self) -> (u64, u64) {
        self.channel.cookies
    }
}

impl Isakmp {
    pub(super) fn save(&self, w: &mut Writer) {
        self.channel.save(w);
        [&self.last, &self.asked].into_iter().for_each(|last| last.save(w));
        [&self.quick, &self.informational]
            .into_iter()
            .for_each(|seen| w.list(&seen.order, |w, id| w.u32(*id)));
        w.flag(self.ours);
        w.instant(self.since);
        [self.rekey_at, self.dies_at, self.life_ends, self.old_at].into_iter().for_each(|at| w.due(at));
        w.u32(self.dpd_sent);
        w.option(self.dpd_seen, Writer::u32);
    }

    pub(super) fn read(cx: &Cx<'_>, r: &mut Reader<'_>) -> Option<Self> {
        Some(Self {
            channel: Channel::read(cx, r)?,
            last: Last::read(r)?,
            asked: Last::read(r)?,
            quick: Seen::of(MOST_QUICK, r.list(Reader::u32)?)?,
            informational: Seen::of(MOST_INFORMATIONAL, r.list(Reader::u32)?)?,
            ours: r.flag()?,
            since: r.instant()?,
            rekey_at: r.due()?,
            waits: false,
            dies_at: r.due()?,
            life_ends: r.due()?,
            old_at: r.due()?,
            dpd_sent: r.u32()?,
            dpd_seen: r.option(Reader::u32)?,
        })
    }
}

/// When something is rekeyed: as configured, and in any case before its life is over.
pub(crate) fn rekey_age(configured: Duration, life: Option<Duration>) -> Duration {
    match life.map(|life| life * 4 / 5) {
        Some(latest) if configured.is_zero() => latest,
        Some(latest) => configured.min(latest),
        None => configured,
    }
}

/// Message IDs that have been used.
pub(crate) struct Seen {
    most: usize,
    order: VecDeque<u32>,
    all: BTreeSet<u32>,
}

impl Seen {
    pub(crate) const fn new(most: usize) -> Self {
        Self { most, order: VecDeque::new(), all: BTreeSet::new() }
    }

    /// Those that had been used when they were left, oldest first.
    fn of(most: usize, ids: Vec<u32>) -> Option<Self> {
        let all: BTreeSet<u32> = ids.iter().copied().collect();
        (all.len() == ids.len() && all.len() <= most).then(|| Self { most, order: ids.into(), all })
    }

    /// Whether it has been used.
    pub(crate) fn has(&self, id: u32) -> bool {
        self.all.contains(&id)
    }

    /// Whether no more can be remembered without forgetting one.
    pub(crate) fn is_full(&self) -> bool {
        self.all.len() >= self.most
    }

    /// It is used now.
    pub(crate) fn add(&mut self, id: u32) {
        if self.is_full()
            && let Some(oldest) = self.order.pop_front()
        {
            self.all.remove(&oldest);
        }
        if self.all.insert(id) {
            self.order.push_back(id);
        }
    }
}
