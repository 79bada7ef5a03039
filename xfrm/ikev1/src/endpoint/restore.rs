//! Connections that outlive their process.

use adit_core::Instant;
use zeroize::Zeroizing;

use super::{Endpoint, Slot};
use crate::api::{Restored, Rules, SaId};
use crate::state::{Cx, State, slot_of};
use crate::up::Up;

/// Connections that are gone, and that nobody has asked for, are forgotten when they are so many.
const MOST_GONE: usize = 64;

impl Endpoint {
    /// A connection that has worked since it was told here last: its snapshot is another one now. `None`: that was all of them.
    pub fn take_touched(&mut self) -> Option<SaId> {
        while let Some(sa) = self.touched.pop() {
            let slot = self.slots.get_mut(slot_of(sa.0)).filter(|slot| slot.sa == sa);
            if slot.is_some_and(|slot| core::mem::take(&mut slot.touched)) {
                return Some(sa);
            }
        }
        None
    }

    /// A connection has worked. What makes a new ISAKMP SA for one is none.
    pub(super) fn touch(&mut self, key: usize) {
        let fresh = |slot: &&mut Slot| !slot.touched && slot.heir_of.is_none();
        let Some(slot) = self.slots.get_mut(key).filter(fresh) else { return };
        slot.touched = true;
        self.touched.push(slot.sa);
        // Nobody may ever ask.
        if self.touched.len() > MOST_GONE + 2 * self.slots.len() {
            let slots = &self.slots;
            self.touched.retain(|sa| slots.get(slot_of(sa.0)).is_some_and(|slot| slot.sa == *sa));
        }
    }

    /// All that somebody needs to go on with a connection that is up, after this process: its keys too, so it belongs into memory
    /// only. `None`: nobody could go on from this moment; the next one will do.
    ///
    /// Whoever hands it on does so before any datagram leaves that [`Endpoint::poll`] has given since the one before: else
    /// a Message ID, and with it an IV, could be used twice.
    #[must_use]
    pub fn snapshot(&self, sa: SaId) -> Option<Zeroizing<Vec<u8>>> {
        let slot = self.slots.get(slot_of(sa.0)).filter(|slot| slot.sa == sa && slot.heir_of.is_none())?;
        match slot.state.as_ref()? {
            State::Up(up) => up.snapshot(),
            State::Initiator(_) | State::Responder(_) => None,
        }
    }

    /// Goes on with a connection that another process has left, whose clock went on to `now`. What it may do from now on is what
    /// `rules` say; who its ends are, where, and with which keys, is what it was left with. `None`: the snapshot is
    /// damaged, of another version, or of one that is here already, and nothing has changed.
    pub fn restore(&mut self, now: Instant, snapshot: &[u8], rules: Rules<'_>) -> Option<Restored> {
        let key = self.slots.vacant_key();
        let sa = SaId(self.shared.fresh_id(key));
        let mut cx = Cx { now, key, sa, shared: &mut self.shared, first_contact: false, quiet: false };
        let left = Up::read(&mut cx, snapshot, rules)?;
        let restored = left.restored(sa)?;
        let cookies = left.cookies();
        if cookies.iter().any(|cookie| self.cookies.contains_key(cookie)) {
            return None;
        }
        self.slots.insert(Slot::new(sa));
        for cookie in cookies {
            self.names(cookie, key);
        }
        self.run(now, key, |cx| left.resume(cx));
        Some(restored)
    }
}
