use std::collections::BTreeMap;

/// A set of numbers, kept as its runs: first to last, both included, never touching one another.
#[derive(Clone, Default, Debug)]
pub(crate) struct Intervals(BTreeMap<u128, u128>);

impl Intervals {
    /// Adds a run that has nothing in common with the set; otherwise says a number that both have.
    pub(crate) fn add(&mut self, first: u128, last: u128) -> Result<(), u128> {
        if let Some((start, end)) = self.0.range(..=last).next_back()
            && *end >= first
        {
            return Err(first.max(*start));
        }
        self.join(first, last);
        Ok(())
    }

    /// Removes one number; whether it was there.
    pub(crate) fn remove(&mut self, number: u128) -> bool {
        let Some((first, last)) = self.run_of(number) else { return false };
        self.0.remove(&first);
        if first < number {
            self.0.insert(first, number - 1);
        }
        if number < last {
            self.0.insert(number + 1, last);
        }
        true
    }

    /// Puts one number back that is not in the set.
    pub(crate) fn insert(&mut self, number: u128) {
        if self.run_of(number).is_none() {
            self.join(number, number);
        }
    }

    pub(crate) fn contains(&self, number: u128) -> bool {
        self.run_of(number).is_some()
    }

    /// The lowest number from `from` on; if there is none, the lowest of all.
    pub(crate) fn next(&self, from: u128) -> Option<u128> {
        if self.contains(from) {
            return Some(from);
        }
        self.0.range(from..).next().or_else(|| self.0.first_key_value()).map(|(first, _)| *first)
    }

    /// How many numbers; at most `u128::MAX`.
    pub(crate) fn len(&self) -> u128 {
        self.0.iter().fold(0_u128, |n, (first, last)| n.saturating_add(last - first).saturating_add(1))
    }

    fn run_of(&self, number: u128) -> Option<(u128, u128)> {
        let (first, last) = self.0.range(..=number).next_back()?;
        (number <= *last).then_some((*first, *last))
    }

    /// Adds a run that has nothing in common with the set, joining the ones that it touches.
    fn join(&mut self, mut first: u128, mut last: u128) {
        if let Some((start, end)) = self.0.range(..first).next_back().map(|(s, e)| (*s, *e))
            && end.checked_add(1) == Some(first)
        {
            self.0.remove(&start);
            first = start;
        }
        if let Some(after) = last.checked_add(1)
            && let Some(end) = self.0.remove(&after)
        {
            last = end;
        }
        self.0.insert(first, last);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[test]
    fn the_ends_of_the_number_line() {
        let mut all = Intervals::default();
        all.add(0, u128::MAX).unwrap();
        assert_eq!(all.len(), u128::MAX);
        assert!(all.remove(0) && all.remove(u128::MAX) && !all.remove(0));
        assert_eq!(all.next(0), Some(1));
        assert_eq!(all.next(u128::MAX), Some(1));
        all.insert(u128::MAX);
        all.insert(0);
        assert_eq!(all.0.len(), 1);
        assert_eq!(all.add(5, 5), Err(5));
    }

    proptest! {
        #[test]
        fn as_a_set(start in 0_u128..20, len in 1_u128..20, ops in proptest::collection::vec((any::<bool>(), 0_u128..45), 0..100)) {
            let mut runs = Intervals::default();
            runs.add(start, start + len).unwrap();
            let mut set: BTreeSet<u128> = (start..=start + len).collect();
            for (insert, n) in ops {
                if insert {
                    runs.insert(n);
                    set.insert(n);
                } else {
                    prop_assert_eq!(runs.remove(n), set.remove(&n));
                }
                prop_assert_eq!(runs.len(), set.len() as u128);
                prop_assert_eq!(runs.next(n), set.range(n..).next().or(set.first()).copied());
                let starts: Vec<_> = runs.0.iter().collect();
                prop_assert!(starts.windows(2).all(|w| w[0].1 + 1 < *w[1].0), "runs that touch are one");
            }
        }
    }
}
