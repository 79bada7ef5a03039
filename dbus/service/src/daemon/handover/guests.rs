//! The same for the clients of servers of PPP.

use std::collections::BTreeSet;
use std::sync::Arc;

use adit_profile::{PppServer, ServerConfig, TunnelKind};
use futures_util::future::join_all;
use tracing::warn;

use super::super::{Daemon, lock};
use crate::esp::Numbers;
use crate::ppp::server::{LeftGuests, journal_of};

/// The server whose clients dial by this.
pub(in super::super) fn of_kind(config: &ServerConfig, kind: TunnelKind) -> Option<Arc<PppServer>> {
    match kind {
        TunnelKind::Ikev2 => None,
        TunnelKind::Pptp => config.pptp.clone(),
        TunnelKind::Sstp => config.sstp.clone(),
        TunnelKind::L2tp => config.l2tp.clone(),
    }
}

/// What their clients dial by.
const KINDS: [TunnelKind; 3] = [TunnelKind::Pptp, TunnelKind::Sstp, TunnelKind::L2tp];

impl Daemon {
    /// What they have stands until their servers go on with them, and so does what those have changed here. Whoever has no server
    /// any more that is what it was, is gone.
    pub(super) fn keep_guests(&self, journals: &mut BTreeSet<String>) {
        let config = self.files.server().ok().flatten().filter(|_| !self.settings.foreground);
        let radius =
            config.as_ref().and_then(|(config, _)| self.radius.of(config, &self.files).ok().flatten());
        let around = (&self.sad, radius.as_ref());
        for kind in KINDS {
            let server = config.as_ref().and_then(|(config, _)| {
                let ppp = of_kind(config, kind)?;
                Some(self.files.ppp_fingerprint(config, &ppp).text())
            });
            let found = self.handover.take_guests(kind);
            let Some(left) = LeftGuests::of(found, server.as_deref(), around) else { continue };
            journals.insert(journal_of(kind));
            lock(&self.left_guests).insert(kind, left);
        }
    }

    /// Nothing else gets their servers' numbers.
    pub(super) fn keep_clear_of_guests(&self) {
        let left = lock(&self.left_guests);
        for left in left.values() {
            let numbers = left.numbers().into_iter().chain(left.numbers_around());
            numbers.for_each(|numbers| self.sad.keep_clear_of(numbers));
        }
    }

    /// The reqids of what is around their tunnels.
    pub(super) fn reqids_of_guests(&self) -> Vec<u32> {
        let left = lock(&self.left_guests);
        left.values().flat_map(LeftGuests::numbers_around).map(|numbers| numbers.reqid).collect()
    }

    /// The numbers of a server before, while nobody has gone on with its clients.
    pub(crate) fn left_guests_numbers(&self, kind: TunnelKind) -> Option<Numbers> {
        lock(&self.left_guests).get(&kind).and_then(LeftGuests::numbers)
    }

    /// Those clients, for the server that goes on with them.
    pub(crate) fn take_left_guests(&self, kind: TunnelKind) -> Option<LeftGuests> {
        lock(&self.left_guests).remove(&kind)
    }

    /// There is no server that goes on with them: nothing of them is left.
    pub(super) async fn end_left_guests(self: &Arc<Self>) {
        let left = std::mem::take(&mut *lock(&self.left_guests));
        if left.is_empty() {
            return;
        }
        let config = self.files.server().ok().flatten();
        let radius = config.and_then(|(config, _)| self.radius.of(&config, &self.files).ok().flatten());
        for (kind, left) in left {
            let journal = journal_of(kind);
            warn!(journal, "no server goes on with the clients of the one before");
            left.end(&self.sad, radius.as_ref());
            match self.changes(&journal) {
                Ok(changes) => {
                    for error in changes.undo_all().await {
                        warn!(%error, journal, "left by the server before, and not undone");
                    }
                }
                Err(failure) => warn!(%failure, "left by the server before, and not undone"),
            }
        }
        if let Some(radius) = radius {
            radius.last_words().await;
        }
    }

    /// Servers of PPP leave the clients that the next process can go on with, and end.
    pub(super) async fn leave_ppp(&self) {
        let all = std::mem::take(&mut *self.ppp.lock().await);
        let leaving =
            all.into_iter().map(|(kind, server)| async move { Some((kind, server.leave().await?)) });
        let left = join_all(leaving).await;
        // One that is dropped ends its sessions.
        self.ppp.lock().await.extend(left.into_iter().flatten());
    }
}
