//! One heap of deadlines for all IKE_SAs, with lazy deletion.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use adit_core::Instant;

/// Deadlines of slots. An entry that its slot no longer stands for is stale, and is thrown away when it comes up.
#[derive(Default)]
pub(crate) struct Timers {
    heap: BinaryHeap<Reverse<(Instant, usize)>>,
}

impl Timers {
    /// Slot `slot` now wants to be woken at `at`.
    pub(crate) fn push(&mut self, at: Instant, slot: usize) {
        self.heap.push(Reverse((at, slot)));
    }

    /// Throws stale entries away until the earliest one is real; `live` tells what a slot stands for now.
    pub(crate) fn settle(&mut self, slots: usize, live: impl Fn(usize) -> Option<Instant>) {
        if self.heap.len() > slots.saturating_mul(4).saturating_add(64) {
            self.heap.retain(|Reverse((at, slot))| live(*slot) == Some(*at));
        }
        while let Some(Reverse((at, slot))) = self.heap.peek() {
            if live(*slot) == Some(*at) {
                break;
            }
            self.heap.pop();
        }
    }

    /// The slot whose time has come by `now`, taken off.
    pub(crate) fn due(&mut self, now: Instant) -> Option<(Instant, usize)> {
        let Reverse((at, _)) = self.heap.peek()?;
        if *at > now {
            return None;
        }
        self.heap.pop().map(|Reverse(entry)| entry)
    }

    /// The earliest entry. Real only after [`settle`](Self::settle).
    pub(crate) fn earliest(&self) -> Option<(Instant, usize)> {
        self.heap.peek().map(|Reverse(entry)| *entry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moved_deadline_leaves_nothing_behind() {
        let at = Instant::from_nanos;
        let mut timers = Timers::default();
        timers.push(at(10), 0);
        timers.push(at(20), 0);
        timers.push(at(15), 1);
        let live = |slot| Some(if slot == 0 { at(20) } else { at(15) });
        timers.settle(2, live);
        assert_eq!(timers.earliest(), Some((at(15), 1)));
        assert_eq!(timers.due(at(14)), None);
        assert_eq!(timers.due(at(15)), Some((at(15), 1)));
        assert_eq!(timers.due(at(30)), Some((at(20), 0)));
        assert_eq!(timers.due(at(30)), None);
    }

    #[test]
    fn stale_entries_do_not_pile_up() {
        let mut timers = Timers::default();
        for n in 0..10_000 {
            timers.push(Instant::from_nanos(n), 0);
            timers.settle(1, |_| Some(Instant::from_nanos(n)));
        }
        assert!(timers.heap.len() < 100);
    }
}
