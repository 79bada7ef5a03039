//! How much of something each of many may have: D-Bus connections of a user, octets of a caller's calls that are under way.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// D-Bus connections of one user, on the private socket or by `Open`. Root's are not taken by others.
pub(crate) const MOST_OF_A_USER: usize = 64;
/// For all users but root.
const MOST_OF_USERS: usize = 256;

/// Those that are taken, by whom.
#[derive(Clone, Debug)]
pub(crate) struct Places<K: Eq + Hash> {
    taken: Arc<Mutex<HashMap<K, usize>>>,
    each: usize,
}

/// What is taken, until it is dropped.
pub(crate) struct Place<K: Eq + Hash + Clone> {
    of: Places<K>,
    who: K,
    size: usize,
}

impl Places<u32> {
    /// For users' D-Bus connections.
    pub(crate) fn of_users() -> Self {
        Self::new(MOST_OF_A_USER)
    }

    /// One for that user, if there is one.
    pub(crate) fn take_for_user(&self, uid: u32) -> Option<Place<u32>> {
        self.take_if(uid, 1, |taken| {
            let others: usize = taken.iter().filter(|(of, _)| **of != 0).map(|(_, count)| count).sum();
            uid == 0 || others < MOST_OF_USERS
        })
    }
}

impl<K: Eq + Hash + Clone> Places<K> {
    /// So much for each.
    pub(crate) fn new(each: usize) -> Self {
        Self { taken: Arc::default(), each }
    }

    /// So much of it, if there is as much.
    pub(crate) fn take(&self, who: K, size: usize) -> Option<Place<K>> {
        self.take_if(who, size, |_| true)
    }

    fn take_if(&self, who: K, size: usize, may: impl FnOnce(&HashMap<K, usize>) -> bool) -> Option<Place<K>> {
        let mut taken = self.lock();
        let own = taken.get(&who).copied().unwrap_or_default().saturating_add(size);
        if own > self.each || !may(&taken) {
            return None;
        }
        taken.insert(who.clone(), own);
        drop(taken);
        Some(Place { of: self.clone(), who, size })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<K, usize>> {
        // Consistent between any two statements, so a panicked holder harms nothing.
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Eq + Hash + Clone> Drop for Place<K> {
    fn drop(&mut self) {
        let mut taken = self.of.lock();
        if let Some(own) = taken.get_mut(&self.who) {
            *own -= self.size;
            if *own == 0 {
                taken.remove(&self.who);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_takes_all_leaves_some_for_others_and_gives_them_back() {
        let places = Places::of_users();
        let taken: Vec<Place<u32>> = (0..100).filter_map(|_| places.take_for_user(1000)).collect();
        assert_eq!(taken.len(), MOST_OF_A_USER);
        assert!(places.take_for_user(1000).is_none() && places.take_for_user(1001).is_some());
        let crowd: Vec<Place<u32>> = (0..2000).filter_map(|n| places.take_for_user(2000 + n)).collect();
        assert_eq!(taken.len() + crowd.len(), MOST_OF_USERS);
        assert!(places.take_for_user(1002).is_none() && places.take_for_user(0).is_some());
        drop((taken, crowd));
        assert!(places.take_for_user(1000).is_some());
        assert!(places.lock().is_empty());
    }

    #[test]
    fn what_is_large_takes_the_place_of_many() {
        let places = Places::new(100);
        let large = places.take("a", 90);
        assert!(large.is_some() && places.take("a", 11).is_none() && places.take("b", 101).is_none());
        let small: Vec<_> = (0..20).filter_map(|_| places.take("a", 1)).collect();
        assert_eq!(small.len(), 10);
        drop(large);
        assert!(places.take("a", 90).is_some());
        drop(small);
        assert!(places.lock().is_empty());
    }
}
