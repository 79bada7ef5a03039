//! Which of a connection's gateways is dialled first.

use core::time::Duration;
use std::collections::BTreeMap;

use adit_core::Instant;

/// A gateway that was not there is dialled after the others for so long: its connection does not wait for it each time, and
/// comes back to it, as its profile says, when it is there again.
pub const PASSED_OVER: Duration = Duration::from_mins(10);
/// Gateways that are remembered.
const MOST: usize = 64;

/// Gateways that did not answer, or had no room, and when that was found last.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Absent<K>(BTreeMap<K, Instant>);

impl<K> Default for Absent<K> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<K: Ord + Clone> Absent<K> {
    /// This one is not there.
    pub fn missed(&mut self, now: Instant, gateway: K) {
        self.0.retain(|_, since| now < *since + PASSED_OVER);
        self.0.insert(gateway, now);
        while self.0.len() > MOST {
            let oldest = self.0.iter().min_by_key(|(_, since)| **since).map(|(gateway, _)| gateway.clone());
            oldest.and_then(|oldest| self.0.remove(&oldest));
        }
    }

    /// This one is.
    pub fn answered(&mut self, gateway: &K) {
        self.0.remove(gateway);
    }

    /// The order in which these are dialled, by their places: those that were not there last, else as they are listed.
    #[must_use]
    pub fn order(&self, now: Instant, gateways: &[K]) -> Vec<usize> {
        let absent = |gateway: &K| self.0.get(gateway).is_some_and(|since| now < *since + PASSED_OVER);
        let mut order: Vec<usize> = (0..gateways.len()).collect();
        order.sort_by_key(|at| gateways.get(*at).is_some_and(absent));
        order
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Instant {
        Instant::from_nanos(seconds * 1_000_000_000)
    }

    #[test]
    fn one_that_is_not_there_comes_last_until_it_may_be_there_again() {
        let mut absent = Absent::default();
        let all = ["a", "b", "c"];
        assert_eq!(absent.order(at(0), &all), [0, 1, 2]);
        absent.missed(at(10), "a");
        assert_eq!(absent.order(at(11), &all), [1, 2, 0]);
        absent.missed(at(20), "b");
        assert_eq!(absent.order(at(21), &all), [2, 0, 1]);
        assert_eq!(absent.order(at(609), &all), [2, 0, 1]);
        assert_eq!(absent.order(at(610), &all), [0, 2, 1], "ten minutes");
        absent.answered(&"b");
        assert_eq!(absent.order(at(610), &all), [0, 1, 2]);
    }

    #[test]
    fn where_none_is_there_the_profile_says() {
        let mut absent = Absent::default();
        for (when, gateway) in [(1, "c"), (2, "a"), (3, "b")] {
            absent.missed(at(when), gateway);
        }
        assert_eq!(absent.order(at(4), &["a", "b", "c"]), [0, 1, 2]);
    }

    #[test]
    fn the_oldest_are_forgotten() {
        let mut absent = Absent::default();
        for n in 0..100_u64 {
            absent.missed(at(n), n);
        }
        assert_eq!(absent.0.len(), MOST);
        assert_eq!(absent.order(at(100), &[0, 99]), [0, 1]);
    }
}
