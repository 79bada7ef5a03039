//! IKE_SAs that outlive their process.

use adit_core::Instant;
use zeroize::Zeroizing;

use super::{Endpoint, Slot};
use crate::api::{GoesOnBy, Restored, SaId};
use crate::ike::Ike;
use crate::state::{Cx, Stage, slot_of};

/// IKE_SAs that are gone, and that nobody has asked for, are forgotten when they are so many.
const MOST_GONE: usize = 64;

impl Endpoint {
    /// An IKE_SA that has worked since it was told here last: its snapshot is another one now. `None`: that was all of them.
    pub fn take_touched(&mut self) -> Option<SaId> {
        while let Some(sa) = self.touched.pop() {
            let slot = self.slots.get_mut(slot_of(sa.0)).filter(|slot| slot.sa == sa);
            if slot.is_some_and(|slot| core::mem::take(&mut slot.touched)) {
                return Some(sa);
            }
        }
        None
    }

    /// An IKE_SA has worked.
    pub(super) fn touch(&mut self, key: usize) {
        let Some(slot) = self.slots.get_mut(key).filter(|slot| !slot.touched) else { return };
        slot.touched = true;
        self.touched.push(slot.sa);
        // Nobody may ever ask.
        if self.touched.len() > MOST_GONE + 2 * self.slots.len() {
            let slots = &self.slots;
            self.touched.retain(|sa| slots.get(slot_of(sa.0)).is_some_and(|slot| slot.sa == *sa));
        }
    }

    /// All that somebody needs to go on with an IKE_SA that is up, after this process: its keys too, so it belongs into memory only. `None`:
    /// nobody could go on from this moment; the next one will do.
    ///
    /// Whoever hands it on does so before any datagram leaves that [`Endpoint::poll`] has given since the one before: else
    /// an IV or a Message ID could be used twice.
    #[must_use]
    pub fn snapshot(&self, sa: SaId) -> Option<Zeroizing<Vec<u8>>> {
        let slot = self.slots.get(slot_of(sa.0)).filter(|slot| slot.sa == sa)?;
        slot.state.as_ref()?.snapshot()
    }

    /// Goes on with an IKE_SA that another process has left, whose clock went on to `now`. What it may do from now on is what
    /// `by` says. `None`: the snapshot is damaged, of another version, of one that somebody else began than `by` says, or of one
    /// that is here already, and nothing has changed.
    pub fn restore(&mut self, now: Instant, snapshot: &[u8], by: GoesOnBy<'_>) -> Option<Restored> {
        let key = self.slots.vacant_key();
        let sa = SaId(self.shared.fresh_id(key));
        let stage = if by.dialled() { Stage::Dialling } else { Stage::HalfOpen };
        let mut cx = Cx { now, sa, first_contact: false, shared: &mut self.shared };
        let left = Ike::read(&mut cx, snapshot, by)?;
        let our_spi = left.our_spi();
        if !self.shared.spis.restore(our_spi, key) {
            return None;
        }
        let (restored, dialled) = (left.restored(sa), left.pair());
        if let Some(pair) = &dialled {
            *self.dialled.entry(pair.clone()).or_default() += 1;
        }
        self.slots.insert(Slot {
            sa,
            our_spi,
            first: None,
            dialled,
            stage,
            deadline: None,
            touched: false,
            state: None,
        });
        self.touch(key);
        self.run(now, key, |cx| left.resume(cx));
        self.timers_settle();
        Some(restored)
    }
}
