//! A server whose daemon is started again at once: its clients go on in the next process.

use adit_ikev2::api::SaId;
use tracing::info;

use super::{FAREWELL, Server};
use crate::handover::settled;

impl Server {
    /// Leaves the clients that the next process can go on with as they are, and tells the others. Without any, nothing is left.
    pub async fn leave(mut self) {
        self.ike.set_responder(None);
        self.moves.iter().for_each(tokio::task::AbortHandle::abort);
        self.dhcp.take();
        settled(|| self.clients(|goes_on| !goes_on).next().is_none()).await;
        let left = self.clients(|goes_on| goes_on).count();
        if left == 0 {
            return self.stop().await;
        }
        let others: Vec<SaId> = self.clients(|goes_on| !goes_on).collect();
        info!(clients = left, told = others.len(), "these go on in the next process");
        self.send_away(&others).await;
        for sa in self.clients(|goes_on| goes_on).collect::<Vec<_>>() {
            self.tell_again(sa);
        }
        self.told().await;
    }

    /// Clients that the next process could go on with, or could not. Whoever is not up yet is none.
    fn clients(&self, which: impl Fn(bool) -> bool) -> impl Iterator<Item = SaId> {
        let mut all = Vec::new();
        for inner in self.all() {
            let guests = inner.guests();
            let clients = guests.iter().filter(|(_, guest)| guest.connection().is_some());
            all.extend(clients.filter(|(_, guest)| which(guest.handing().goes_on)).map(|(sa, _)| *sa));
        }
        all.into_iter()
    }

    async fn send_away(&self, sas: &[SaId]) {
        sas.iter().for_each(|sa| self.ike.close(*sa));
        let gone = async {
            for inner in self.all() {
                for sa in sas {
                    inner.until_left(*sa).await;
                }
            }
        };
        if tokio::time::timeout(FAREWELL, gone).await.is_err() {
            for inner in self.all() {
                for sa in sas {
                    inner.take_away(*sa).await;
                }
            }
        }
    }

    /// What is known of a client has changed.
    pub(crate) fn tell_again(&self, sa: SaId) {
        self.all().for_each(|inner| inner.tell_again(sa));
    }
}
