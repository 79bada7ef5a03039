//! A request on its way: the same bytes again until the response comes (RFC 7296 §2.1, §2.4).

use core::time::Duration;

use adit_core::{Instant, Path};

use crate::api::Timing;
use crate::state::Cx;

/// One outstanding request.
pub(crate) struct Request {
    bytes: Vec<u8>,
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
    /// Sends `bytes` for the first time.
    pub(crate) fn send(cx: &mut Cx<'_>, path: Path, bytes: Vec<u8>, timing: &Timing) -> Self {
        cx.transmit(path, bytes.clone());
        let interval = timing.retransmit.max(Duration::from_millis(1));
        Self {
            bytes,
            first_sent: cx.now,
            next: cx.now + jittered(cx, interval),
            interval,
            sent: 1,
            tries: timing.tries.saturating_add(1),
        }
    }

    /// Sends it again if that is due.
    pub(crate) fn wake(&mut self, cx: &mut Cx<'_>, path: Path) -> Retry {
        if cx.now < self.next {
            return Retry::Waiting;
        }
        // [7296:2.1-6] [7296:2.4-4]
        if self.sent >= self.tries {
            return Retry::GivenUp;
        }
        // [7296:2.1-3] [7296:2.1-7] [7296:2.2-1] [7296:2.3-6]
        cx.transmit(path, self.bytes.clone());
        cx.shared.counters.retransmitted = cx.shared.counters.retransmitted.saturating_add(1);
        self.sent = self.sent.saturating_add(1);
        // [7296:2.4-6]
        self.interval = self.interval.saturating_mul(2);
        self.next = cx.now + jittered(cx, self.interval);
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

    /// The bytes that were sent.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// Up to an eighth longer, so that many peers that lost the same network don't come back in step.
fn jittered(cx: &mut Cx<'_>, interval: Duration) -> Duration {
    let eighth = u64::try_from(interval.as_nanos() / 8).unwrap_or(u64::MAX / 8);
    interval.saturating_add(Duration::from_nanos(cx.shared.entropy.public_u64() % eighth.max(1)))
}
