//! Whether anything goes through a connection.

use std::collections::BTreeMap;
use std::time::Duration;

use adit_core::{Failure, FailureCode, Step};
use adit_xfrm_kernel::StateId;
use tokio::time::Instant;

/// How often is looked, at least and at most.
const EVERY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(15));

/// Counts packets, and how long ago the last one was seen.
pub(super) struct Idle {
    limit: Duration,
    since: Instant,
    next: Instant,
    packets: BTreeMap<StateId, u64>,
}

impl Idle {
    pub(super) fn new(limit: Duration, now: Instant) -> Self {
        let mut idle = Self { limit, since: now, next: now, packets: BTreeMap::new() };
        idle.next = now + idle.every();
        idle
    }

    /// When to look next.
    pub(super) const fn next(&self) -> Instant {
        self.next
    }

    /// What has gone through each state so far. Whether it has been too long ago; then why the connection goes down.
    pub(super) fn look(&mut self, now: Instant, packets: BTreeMap<StateId, u64>) -> Option<Failure> {
        let before = |id| self.packets.get(id).copied().unwrap_or(0);
        if packets.iter().any(|(id, count)| *count > before(id)) {
            self.since = now;
        }
        self.packets = packets;
        self.next = now + self.every();
        let quiet = now.duration_since(self.since) >= self.limit;
        quiet.then(|| {
            let text = format!("nothing went through it for {} s.", self.limit.as_secs());
            Failure::new(FailureCode::Idle, Step::Established, text)
        })
    }

    fn every(&self) -> Duration {
        (self.limit / 4).clamp(EVERY.0, EVERY.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packets(of: &[(u32, u64)]) -> BTreeMap<StateId, u64> {
        let id = |spi| StateId { destination: "192.0.2.1".parse().unwrap(), spi, mark: None };
        of.iter().map(|(spi, count)| (id(*spi), *count)).collect()
    }

    #[test]
    fn only_packets_keep_it_up_and_a_rekey_is_none() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut idle = Idle::new(Duration::from_secs(20), start);
        assert_eq!(idle.next(), at(5));
        assert!(idle.look(at(5), packets(&[(1, 3), (2, 0)])).is_none());
        // New states begin at nothing.
        assert!(idle.look(at(24), packets(&[(3, 0), (4, 0)])).is_none());
        let failure = idle.look(at(25), packets(&[(3, 0), (4, 0)])).unwrap();
        assert_eq!(failure.code, FailureCode::Idle);
        let mut busy = Idle::new(Duration::from_secs(20), start);
        assert!((1..100).all(|n| busy.look(at(n * 15), packets(&[(1, n)])).is_none()));
    }
}
