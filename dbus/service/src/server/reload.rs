//! A new configuration for a running server: what changed is carried out, and nothing else.
//!
//! Each configuration has an [`Inner`] of its own. Clients that are in stay with the one that they came in with, and
//! share the link, the pools and the changes to this host with the next.

use std::sync::Arc;

use adit_core::Failure;
use adit_ikev2::api::SaId;
use adit_profile::ServerConfig;
use tracing::{info, warn};

use super::{FAREWELL, Inner, Server, pools};
use crate::files::Fingerprint;

impl Server {
    /// Carries out another configuration. Clients of a `[[connection]]` that is gone or is another, of a pool with other
    /// addresses, or whose key or authorities changed, are sent away; all others stay. Newcomers meet the new one.
    ///
    /// # Errors
    /// A file that cannot be used: then nothing has changed. A change that the kernel refuses: what could be carried out
    /// has been.
    pub async fn reload(&mut self, config: ServerConfig, fingerprint: Fingerprint) -> Result<(), Failure> {
        let next = Inner::new(config, &self.inner.daemon, self.ike.downgrade(), Some(&self.inner)).await?;
        let fresh = pools(&next.config)?;
        let ours = self.inner.daemon.ike(next.ports(), true).await?;
        // From here on whoever has not said who it is yet is asked by the next one.
        let _ = self.inner.successor.set(Arc::clone(&next));
        self.older.push(std::mem::replace(&mut self.inner, next));
        self.older.retain(|old| !old.guests().is_empty());
        self.fingerprint = fingerprint;
        self.send_away_strays().await;
        self.inner.exchange_pools(fresh);
        let network = self.inner.set_up_network().await;
        self.ike = ours;
        self.moves.iter().for_each(tokio::task::AbortHandle::abort);
        self.moves = super::moves::follow(&self.inner, self.ike.clone());
        self.dhcp.take();
        self.dhcp = self.inner.answer_dhcp(&self.older).await;
        self.let_in();
        info!(connections = self.inner.config.connections.len(), "server: reloaded");
        network
    }

    /// Tells the clients that have no place in the new configuration, and waits a little for their answers.
    async fn send_away_strays(&self) {
        let mut leaving: Vec<(Arc<Inner>, SaId)> = Vec::new();
        for old in &self.older {
            leaving.extend(old.strays(&self.inner).into_iter().map(|sa| (Arc::clone(old), sa)));
        }
        if leaving.is_empty() {
            return;
        }
        info!(clients = leaving.len(), "server: sent away by the new configuration");
        leaving.iter().for_each(|(_, sa)| self.ike.close(*sa));
        let gone = async {
            for (old, sa) in &leaving {
                old.until_left(*sa).await;
            }
        };
        if tokio::time::timeout(FAREWELL, gone).await.is_err() {
            for (old, sa) in leaving {
                old.take_away(sa).await;
            }
        }
    }
}

impl Inner {
    /// Clients that came in by what the `next` configuration has no more, or has otherwise.
    fn strays(&self, next: &Self) -> Vec<SaId> {
        let kept = |index: usize| {
            let name = &self.config.connections.get(index)?.name;
            let now = next.config.connections.iter().position(|c| c.name == *name)?;
            Some(self.connection_prints.get(index)? == next.connection_prints.get(now)?)
        };
        let stray =
            |index: Option<(usize, bool)>| index.is_some_and(|(index, _)| !kept(index).unwrap_or(false));
        let guests: Vec<_> = self.guests().iter().map(|(sa, guest)| (*sa, Arc::clone(guest))).collect();
        guests.into_iter().filter(|(_, guest)| stray(guest.facts().rule)).map(|(sa, _)| sa).collect()
    }

    /// Pools with the same addresses keep their leases; of the others nobody has one any more.
    fn exchange_pools(&self, fresh: super::Pools) {
        let mut pools = self.pools();
        let mut former = std::mem::take(&mut *pools);
        for (name, (ranges, pool)) in fresh {
            let same = former.remove(&name).filter(|(before, _)| *before == ranges);
            pools.insert(name, same.unwrap_or((ranges, pool)));
        }
    }

    /// Makes the changes of this host's network what the configuration says: those that are not wanted any more are
    /// undone, those that are new are made, and the others are not touched.
    pub(super) async fn set_up_network(&self) -> Result<(), Failure> {
        let wanted = self.network_changes().await?;
        let mut made = self.made.lock().await;
        let mut kept = super::Made::new();
        for (change, undo) in std::mem::take(&mut *made).into_iter().rev() {
            match (wanted.contains(&change), undo) {
                (true, _) => kept.insert(0, (change, undo)),
                (false, Some(number)) => {
                    if let Err(error) = self.changes.undo_one(number).await {
                        warn!(%error, %change, "server: not undone");
                    }
                }
                (false, None) => {}
            }
        }
        *made = kept;
        for change in wanted {
            if made.iter().all(|(c, _)| *c != change) {
                let undo = self.changes.make(&change).await.map_err(|e| super::network::refused(&e))?;
                made.push((change, undo));
            }
        }
        Ok(())
    }
}
