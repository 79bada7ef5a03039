//! A message on its way: the same bytes again until the next one of the exchange comes (RFC 2408 §5.1).

use core::time::Duration;

use adit_core::{Instant, Path};

use crate::api::Timing;
use crate::state::Cx;

/// One outstanding message.
pub(crate) struct Request {
    pub(crate) datagrams: Vec<Vec<u8>>,
    path: Path,
    first_sent: Instant,
    next: Instant,
    interval: Duration,
    sent: u32,
    tries: u32,
}

/// What the time has brought.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Retry {
    /// Sent again, or not yet due.
    Waiting,
    /// The last wait is over.
    GivenUp,
}

impl Request {
    /// Sends it for the first time; `tries` more times follow.
    pub(crate) fn send(
        cx: &mut Cx<'_>,
        path: Path,
        datagrams: Vec<Vec<u8>>,
        (timing, tries): (&Timing, u32),
    ) -> Self {
        cx.transmit_all(path, &datagrams);
        let interval = timing.retransmit.max(Duration::from_millis(1));
        let next = cx.after(interval);
        Self { datagrams, path, first_sent: cx.now, next, interval, sent: 1, tries: tries.saturating_add(1) }
    }

    /// Where it goes.
    pub(crate) const fn path(&self) -> Path {
        self.path
    }

    /// Sends it again if that is due.
    pub(crate) fn wake(&mut self, cx: &mut Cx<'_>) -> Retry {
        if cx.now < self.next {
            return Retry::Waiting;
        }
        // [2408:5.1-1]
        if self.sent >= self.tries {
            return Retry::GivenUp;
        }
        cx.transmit_all(self.path, &self.datagrams);
        cx.shared.counters.retransmitted = cx.shared.counters.retransmitted.saturating_add(1);
        self.sent = self.sent.saturating_add(1);
        self.interval = self.interval.saturating_mul(2);
        self.next = cx.after(self.interval);
        Retry::Waiting
    }

    /// When it is to be sent again, or given up.
    pub(crate) const fn deadline(&self) -> Instant {
        self.next
    }

    /// How often it was sent.
    pub(crate) const fn sent(&self) -> u32 {
        self.sent
    }

    /// How long ago it was sent first.
    pub(crate) const fn age(&self, now: Instant) -> Duration {
        now.since(self.first_sent)
    }
}
