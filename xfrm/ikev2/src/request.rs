//! A request on its way: the same bytes again until the response comes (RFC 7296 §2.1, §2.4).

use core::time::Duration;

use adit_core::{Failure, Instant, Path};
use adit_isakmp::{ExchangeType, Payload};

use crate::api::Timing;
use crate::channel::Channel;
use crate::fragments::Datagrams;
use crate::state::Cx;

/// A request in fragments that nobody has answered after so many times is cut anew, smaller: routers may drop what they
/// would have to fragment (RFC 7383 §2.5.2).
const SMALLER_AFTER: u32 = 3;

/// Ways that one request has gone, as far as they are remembered.
const MOST_REMEMBERED: usize = 32;

/// When a request that rests is sent again by itself.
const NEVER: Instant = Instant::from_nanos(u64::MAX);

/// One outstanding request.
pub(crate) struct Request {
    datagrams: Datagrams,
    /// Of one in fragments: what it was made of.
    content: Option<Box<Content>>,
    first_sent: Instant,
    next: Instant,
    interval: Duration,
    sent: u32,
    tries: u32,
    /// Over which paths it went, and when.
    over: Vec<(Path, Instant)>,
}

struct Content {
    exchange: ExchangeType,
    message_id: u32,
    payloads: Vec<Payload>,
    interval: Duration,
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
    /// Sends `datagrams` for the first time.
    pub(crate) fn send(cx: &mut Cx<'_>, path: Path, datagrams: Datagrams, timing: &Timing) -> Self {
        datagrams.transmit(cx, path);
        let interval = timing.retransmit.max(Duration::from_millis(1));
        Self {
            datagrams,
            content: None,
            first_sent: cx.now,
            next: cx.now + jittered(cx, interval),
            interval,
            sent: 1,
            tries: timing.tries.saturating_add(1),
            over: vec![(path, cx.now)],
        }
    }

    /// Protects and sends a request for the first time.
    pub(crate) fn seal_and_send(
        cx: &mut Cx<'_>,
        channel: &mut Channel,
        (exchange, message_id): (ExchangeType, u32),
        payloads: Vec<Payload>,
        timing: &Timing,
    ) -> Result<Self, Failure> {
        let datagrams = channel.seal(cx, exchange, message_id, false, &payloads)?;
        let cut = datagrams.fragmented();
        let mut request = Self::send(cx, channel.path, datagrams, timing);
        let interval = request.interval;
        request.content = cut.then(|| Box::new(Content { exchange, message_id, payloads, interval }));
        Ok(request)
    }

    /// Sends it again if that is due; one in fragments after a while in smaller ones.
    pub(crate) fn wake_on(&mut self, cx: &mut Cx<'_>, channel: &mut Channel) -> Retry {
        // [7383:2.5.2-1]
        let due = cx.now >= self.next && self.sent >= SMALLER_AFTER && self.sent < self.tries;
        if let Some(content) = self.content.take_if(|_| due && channel.cut_smaller()) {
            let Content { exchange, message_id, payloads, interval } = *content;
            if let Ok(datagrams) = channel.seal(cx, exchange, message_id, false, &payloads) {
                self.datagrams = datagrams;
                // [7383:2.5.2-3] It gets the time of a new one.
                self.interval = interval / 2;
            }
        }
        self.wake(cx, channel.path)
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
        self.also(cx, path);
        self.sent = self.sent.saturating_add(1);
        // [7296:2.4-6]
        self.interval = self.interval.saturating_mul(2);
        self.next = cx.now + jittered(cx, self.interval);
        Retry::Waiting
    }

    /// Sends it once more, over this path.
    pub(crate) fn also(&mut self, cx: &mut Cx<'_>, path: Path) {
        self.datagrams.transmit(cx, path);
        cx.shared.counters.retransmitted = cx.shared.counters.retransmitted.saturating_add(1);
        if self.over.len() == MOST_REMEMBERED {
            self.over.remove(0);
        }
        self.over.push((path, cx.now));
    }

    /// As it was sent.
    pub(crate) const fn datagrams(&self) -> &Datagrams {
        &self.datagrams
    }

    /// Goes over another path now, as if it were new (RFC 4555 §3.5).
    pub(crate) fn resend(&mut self, cx: &mut Cx<'_>, path: Path, timing: &Timing) {
        self.also(cx, path);
        self.sent = 1;
        self.interval = timing.retransmit.max(Duration::from_millis(1));
        self.next = cx.now + jittered(cx, self.interval);
    }

    /// Is not sent again by itself any more, and stays unanswered.
    pub(crate) fn rest(&mut self) {
        self.next = NEVER;
    }

    /// Whether that is so.
    pub(crate) fn rests(&self) -> bool {
        self.next == NEVER
    }

    /// Whether it went unanswered before, and its next time is farther off than that of a new one.
    pub(crate) fn hesitates(&self, now: Instant, timing: &Timing) -> bool {
        self.rests() || (self.sent > 1 && self.next.since(now) > timing.retransmit)
    }

    /// Over which paths it went, and when, oldest first.
    pub(crate) fn over(&self) -> &[(Path, Instant)] {
        &self.over
    }

    /// When it is to be sent again, or given up.
    pub(crate) const fn deadline(&self) -> Instant {
        self.next
    }

    /// How often it was sent.
    pub(crate) const fn sent(&self) -> u32 {
        self.sent
    }

    /// When it was sent first.
    pub(crate) const fn first_sent(&self) -> Instant {
        self.first_sent
    }

    /// How long ago it was sent first.
    pub(crate) const fn age(&self, now: Instant) -> Duration {
        now.since(self.first_sent)
    }

    /// The first message as it was sent; none of it is ever cut.
    pub(crate) fn bytes(&self) -> &[u8] {
        self.datagrams.first()
    }
}

/// Up to an eighth longer, so that many peers that lost the same network don't come back in step.
fn jittered(cx: &mut Cx<'_>, interval: Duration) -> Duration {
    let eighth = u64::try_from(interval.as_nanos() / 8).unwrap_or(u64::MAX / 8);
    interval.saturating_add(Duration::from_nanos(cx.shared.entropy.public_u64() % eighth.max(1)))
}
