//! IKE_SAs that outlive their process.

use adit_core::Instant;
use zeroize::Zeroizing;

use super::{Endpoint, Slot};
use crate::api::{InitiatorConfig, Restored, SaId};
use crate::ike::Ike;
use crate::state::{Cx, Stage, slot_of};

impl Endpoint {
    /// Whether an IKE_SA has worked since this was asked last: then its snapshot is another one.
    pub fn take_touched(&mut self, sa: SaId) -> bool {
        let slot = self.slots.get_mut(slot_of(sa.0)).filter(|slot| slot.sa == sa);
        slot.is_some_and(|slot| core::mem::take(&mut slot.touched))
    }

    /// All that somebody needs to go on with an IKE_SA that we have dialled and that is up, after this process: its keys too, so
    /// it belongs into memory only. `None`: nobody could go on from this moment; the next one will do.
    ///
    /// Whoever hands it on does so before any datagram leaves that [`Endpoint::poll`] has given since the one before: else
    /// an IV or a Message ID could be used twice.
    #[must_use]
    pub fn snapshot(&self, sa: SaId) -> Option<Zeroizing<Vec<u8>>> {
        let slot = self.slots.get(slot_of(sa.0)).filter(|slot| slot.sa == sa)?;
        slot.state.as_ref()?.snapshot()
    }

    /// Goes on with an IKE_SA that another process has left, whose clock went on to `now`. What it may do from now on is what
    /// `config` says; who its ends are, where, and with which keys, is what it was left with. `None`: the snapshot is
    /// damaged, of another version, or of one that is here already, and nothing has changed.
    pub fn restore(&mut self, now: Instant, snapshot: &[u8], config: &InitiatorConfig) -> Option<Restored> {
        let key = self.slots.vacant_key();
        let sa = SaId(self.shared.fresh_id(key));
        let mut cx = Cx { now, sa, first_contact: false, shared: &mut self.shared };
        let left = Ike::read(&mut cx, snapshot, config)?;
        let our_spi = left.our_spi();
        if !self.shared.spis.restore(our_spi, key) {
            return None;
        }
        let (restored, pair) = (left.restored(sa), left.pair());
        *self.dialled.entry(pair.clone()).or_default() += 1;
        self.slots.insert(Slot {
            sa,
            our_spi,
            first: None,
            dialled: Some(pair),
            stage: Stage::Dialling,
            deadline: None,
            touched: true,
            state: None,
        });
        self.run(now, key, |cx| left.resume(cx));
        self.timers_settle();
        Some(restored)
    }
}
