//! An IKE_SA that a connection stands on, and what is heard of it.

use std::net::SocketAddr;

use adit_core::{Failure, FailureCode, Step};
use adit_ikev2::api::{Event, SaId};
use adit_profile::ServerName;
use tokio::sync::mpsc;

use super::internal;
use crate::ike::IkeDriver;

/// An IKE_SA of ours that has not been closed.
pub(super) struct Live {
    pub(super) ike: IkeDriver,
    pub(super) sa: SaId,
    pub(super) gateway: ServerName,
    pub(super) remote: SocketAddr,
    pub(super) events: mpsc::UnboundedReceiver<(SaId, Event)>,
}

impl Live {
    /// Why the last CHILD_SA is gone. It goes with its IKE_SA, whose end is the reason then.
    pub(super) fn why_without_child(&mut self) -> Failure {
        let mut said = core::iter::from_fn(|| self.events.try_recv().ok());
        let ended = said.find_map(|(_, event)| match event {
            Event::Closed(result) => result.err(),
            _ => None,
        });
        ended.unwrap_or_else(no_child)
    }
}

pub(super) async fn next_event(live: Option<&mut Live>) -> Event {
    match live {
        Some(live) => match live.events.recv().await {
            Some((_, event)) => event,
            None => Event::Closed(Err(internal("the IKE driver is gone"))),
        },
        None => Event::Closed(Err(internal("there is no IKE_SA"))),
    }
}

pub(super) fn no_child() -> Failure {
    Failure::new(FailureCode::PeerClosed, Step::Established, "the server closed the CHILD_SA.")
}
