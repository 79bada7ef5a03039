//! What the kernel tells by itself, for the IKE_SAs that it is about.

use std::net::SocketAddr;

use adit_ikev2::api::{ChildId, Input, SaId};
use adit_xfrm_kernel::{EventStream, StateId, XfrmEvent};

use super::sad::Sad;
use crate::ike::WeakIkeDriver;

/// Passes events on until nobody drives IKE_SAs any more.
pub(crate) async fn listen(sad: Sad, mut events: EventStream, ike: WeakIkeDriver) {
    loop {
        let inputs = match events.next().await {
            Ok(XfrmEvent::Lost) => {
                tracing::warn!("the kernel told more than could be heard: looking at its states");
                sad.missed().await
            }
            Ok(event) => sad.heard(&event).into_iter().collect(),
            Err(error) => {
                tracing::warn!(%error, "no more events of the kernel: rekeys are by time only");
                return;
            }
        };
        for input in inputs {
            if !ike.input(input) {
                return;
            }
        }
    }
}

impl Sad {
    /// What an event means for an IKE_SA.
    pub(super) fn heard(&self, event: &XfrmEvent) -> Option<Input> {
        match *event {
            XfrmEvent::Expired { state, reqid, hard, .. } => {
                let (sa, child) = self.current(reqid, state.spi)?;
                Some(if hard {
                    Input::CloseChild { sa, child }
                } else {
                    Input::Rekey { sa, child: Some(child) }
                })
            }
            XfrmEvent::Mapping { state, reqid, new, .. } => self.mapped(reqid, state, new),
            XfrmEvent::Acquire { reqid, .. } => {
                self.books().traps.get(&reqid).into_iter().for_each(|trap| trap.wake.notify_one());
                None
            }
            XfrmEvent::Lost => None,
        }
    }

    /// A CHILD_SA that is not on its way out.
    fn current(&self, reqid: u32, spi: u32) -> Option<(SaId, ChildId)> {
        let books = self.books();
        let (sa, _, child) = books.owner(reqid, spi)?;
        (!child.replaced).then_some((sa, child.id))
    }

    /// The state keeps the source that it was installed with, so the kernel repeats what was followed long ago.
    fn mapped(&self, reqid: u32, state: StateId, remote: SocketAddr) -> Option<Input> {
        let books = self.books();
        let (sa, lineage, _) = books.owner(reqid, state.spi)?;
        (lineage.path.remote != remote).then_some(Input::Mapping { sa, remote })
    }

    /// Events were lost: what has expired is found by its absence. (Soft limits that passed unheard are left to the
    /// rekey by time, and to the hard ones.)
    pub(super) async fn missed(&self) -> Vec<Input> {
        let sad = self.clone();
        // In its turn: what is just being installed is neither missing nor forgotten.
        let looked = self.queue().run(move || match sad.door().states() {
            Ok(states) => sad.books().without_states(&states.into_iter().map(|s| s.id).collect()),
            Err(error) => {
                tracing::warn!(%error, "the kernel's states could not be read");
                Vec::new()
            }
        });
        looked.await.unwrap_or_default()
    }
}
