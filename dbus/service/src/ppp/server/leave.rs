//! A server whose daemon is started again at once: its clients go on in the next process.

use std::sync::Arc;

use tracing::info;

use super::{FAREWELL, Going, Inner, PppServer};
use crate::handover::{guests_of, settled};
use crate::ppp::Unit;
use crate::ppp::guest::Guest;
use crate::server::until;

impl PppServer {
    /// Leaves the clients that the next process can go on with as they are, and ends the others. `None`: there is none, and
    /// nothing is left. Dropped, it would end them.
    pub(crate) async fn leave(self) -> Option<Self> {
        let inner = &self.inner;
        if guests_of(inner.config.kind).is_none() {
            self.stop().await;
            return None;
        }
        self.going.send_replace(Going::Closed);
        if let Some(guard) = inner.guard.get() {
            guard.let_nobody_in();
        }
        settled(|| inner.standing().iter().all(|(guest, _)| guest.is_handed_on())).await;
        if inner.handed_on() == 0 {
            self.stop().await;
            return None;
        }
        self.going.send_replace(Going::Left);
        let others = until(&inner.gone, || {
            // One lock at a time.
            let handed_on = inner.handed_on();
            inner.sessions().count <= handed_on
        });
        if tokio::time::timeout(FAREWELL, others).await.is_err() {
            info!("{} server: some peers did not end in time", inner.carriage.name());
        }
        if let Some(guard) = inner.guard.get() {
            guard.leave().await;
        }
        for (guest, unit) in inner.standing() {
            guest.tell_again(&unit);
        }
        info!(
            clients = inner.handed_on(),
            "{} server: these go on in the next process",
            inner.carriage.name()
        );
        if let Some(radius) = &inner.radius {
            radius.last_words().await;
        }
        Some(self)
    }
}

impl Inner {
    /// Those that are up.
    fn standing(&self) -> Vec<(Arc<Guest>, Arc<Unit>)> {
        let sessions = self.sessions();
        let all = sessions.standing.values();
        all.filter_map(|standing| Some((standing.guest.upgrade()?, standing.unit.upgrade()?))).collect()
    }

    fn handed_on(&self) -> usize {
        self.standing().iter().filter(|(guest, _)| guest.is_handed_on()).count()
    }
}
