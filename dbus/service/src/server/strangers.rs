//! How much peers who have proven nothing may write into the log.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use adit_core::Instant;

/// Lines at once.
const BURST: u64 = 20;
/// One more line each.
const EVERY: Duration = Duration::from_secs(3);

/// Lets a line pass now and then, and counts those that it keeps back.
#[derive(Debug)]
pub(crate) struct Strangers(Mutex<State>);

#[derive(Debug)]
struct State {
    lines: u64,
    counted: Instant,
    kept_back: u64,
}

impl Strangers {
    pub(crate) const fn new(now: Instant) -> Self {
        Self(Mutex::new(State { lines: BURST, counted: now, kept_back: 0 }))
    }

    /// Whether a line may be written; if so, how many were not since the last one.
    pub(crate) fn may_tell(&self, now: Instant) -> Option<u64> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = now.since(state.counted).as_nanos().checked_div(EVERY.as_nanos()).unwrap_or(0);
        if fresh > 0 {
            state.lines = state.lines.saturating_add(u64::try_from(fresh).unwrap_or(BURST)).min(BURST);
            state.counted = now;
        }
        match state.lines.checked_sub(1) {
            Some(left) => {
                state.lines = left;
                Some(std::mem::take(&mut state.kept_back))
            }
            None => {
                state.kept_back = state.kept_back.saturating_add(1);
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_writes_a_few_lines_and_a_count() {
        let strangers = Strangers::new(Instant::ZERO);
        let lines = (0..1000).filter_map(|_| strangers.may_tell(Instant::ZERO)).count();
        assert_eq!(lines, 20);
        let later = Instant::ZERO + EVERY;
        assert_eq!(strangers.may_tell(later), Some(980));
        assert_eq!(strangers.may_tell(later), None);
        let much_later = later + Duration::from_secs(1_000_000);
        let lines = (0..1000).filter_map(|_| strangers.may_tell(much_later)).count();
        assert_eq!(lines, 20);
    }
}
