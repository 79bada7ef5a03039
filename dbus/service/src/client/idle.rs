//! Whether anything goes through a connection.

use std::collections::BTreeMap;
use std::time::Duration;

use adit_core::{Failure, FailureCode, Step};
use tokio::time::Instant;

/// How often is looked, at least and at most.
const EVERY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(15));

/// Counts packets of whatever carries them, and how long ago the last one was seen.
pub(crate) struct Idle<K> {
    limit: Duration,
    since: Instant,
    next: Instant,
    packets: BTreeMap<K, u64>,
}

impl<K: Ord> Idle<K> {
    /// From now on. `packets`: what has gone through before, which is nothing to this connection.
    pub(crate) fn new(limit: Duration, now: Instant, packets: BTreeMap<K, u64>) -> Self {
        let mut idle = Self { limit, since: now, next: now, packets };
        idle.next = now + idle.every();
        idle
    }

    /// When to look next.
    pub(crate) const fn next(&self) -> Instant {
        self.next
    }

    /// What has gone through each of them so far. Whether it has been too long ago; then why the connection goes down.
    pub(crate) fn look(&mut self, now: Instant, packets: BTreeMap<K, u64>) -> Option<Failure> {
        let before = |id| self.packets.get(id).copied().unwrap_or(0);
        if packets.iter().any(|(id, count)| *count != before(id)) {
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

    fn packets(of: &[(u32, u64)]) -> BTreeMap<u32, u64> {
        of.iter().copied().collect()
    }

    #[test]
    fn only_packets_keep_it_up_and_a_rekey_is_none() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut idle = Idle::new(Duration::from_secs(20), start, packets(&[]));
        assert_eq!(idle.next(), at(5));
        assert!(idle.look(at(5), packets(&[(1, 3), (2, 0)])).is_none());
        // New states begin at nothing.
        assert!(idle.look(at(24), packets(&[(3, 0), (4, 0)])).is_none());
        let failure = idle.look(at(25), packets(&[(3, 0), (4, 0)])).unwrap();
        assert_eq!(failure.code, FailureCode::Idle);
        let mut busy = Idle::new(Duration::from_secs(20), start, packets(&[]));
        assert!((1..100).all(|n| busy.look(at(n * 15), packets(&[(1, n)])).is_none()));
    }

    /// A unit that waited for packets is older than its link.
    #[test]
    fn what_went_before_is_neither_silence_nor_a_packet() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut idle = Idle::new(Duration::from_secs(20), start, packets(&[(1, 900)]));
        assert!(idle.look(at(19), packets(&[(1, 900)])).is_none());
        assert!(idle.look(at(20), packets(&[(1, 900)])).is_some());
    }
}
