//! How many D-Bus connections of their own each user may have: on the private socket, and by `Open`.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// For one user. Root's are not taken by others.
pub(crate) const MOST_OF_A_USER: usize = 64;
/// For all users but root.
const MOST: usize = 256;

/// Those that are taken.
#[derive(Clone, Default, Debug)]
pub(crate) struct Places(Arc<Mutex<HashMap<u32, usize>>>);

/// One that is taken, until it is dropped.
pub(crate) struct Place {
    of: Places,
    uid: u32,
}

impl Places {
    /// One for that user, if there is one.
    pub(crate) fn take(&self, uid: u32) -> Option<Place> {
        let mut taken = self.lock();
        let others: usize = taken.iter().filter(|(of, _)| **of != 0).map(|(_, count)| count).sum();
        let own = taken.get(&uid).copied().unwrap_or_default();
        if own >= MOST_OF_A_USER || (uid != 0 && others >= MOST) {
            return None;
        }
        taken.insert(uid, own + 1);
        drop(taken);
        Some(Place { of: self.clone(), uid })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u32, usize>> {
        // Consistent between any two statements, so a panicked holder harms nothing.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.of.lock();
        if let Some(count) = taken.get_mut(&self.uid) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&self.uid);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_takes_all_leaves_some_for_others_and_gives_them_back() {
        let places = Places::default();
        let taken: Vec<Place> = (0..100).filter_map(|_| places.take(1000)).collect();
        assert_eq!(taken.len(), MOST_OF_A_USER);
        assert!(places.take(1000).is_none() && places.take(1001).is_some());
        let crowd: Vec<Place> = (0..2000).filter_map(|n| places.take(2000 + n)).collect();
        assert_eq!(taken.len() + crowd.len(), MOST);
        assert!(places.take(1002).is_none() && places.take(0).is_some());
        drop((taken, crowd));
        assert!(places.take(1000).is_some());
        assert!(places.lock().is_empty());
    }
}
