//! The networks that this host is in itself, while somebody wants them reachable beside a full tunnel: routes to them that come
//! before the tunnel's, and the blocks that let them have what stays in them. Both follow the host's addresses.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use adit_plan::local::LocalNetwork;
use tokio::sync::{Mutex, MutexGuard, mpsc};
use tokio::task::AbortHandle;

use crate::host::{Block, Change, Changes, Host, HostError, Journal, News, local_routes};
use crate::uplinks::carry_out;

/// What is to be undone when nobody wants them any more.
const JOURNAL: &str = "local";

/// The local networks, watched as long as a connection or a block wants them.
#[derive(Clone)]
pub(crate) struct LocalNetworks {
    host: Arc<dyn Host>,
    journals: Arc<PathBuf>,
    work: Arc<Mutex<Work>>,
}

#[derive(Default)]
struct Work {
    /// Those who want them, by the names of their tables, each with its block where one stands.
    wanted: Vec<(String, Option<Block>)>,
    watching: Option<AbortHandle>,
    changes: Option<Changes>,
    made: Vec<(Change, Option<u64>)>,
    networks: Vec<LocalNetwork>,
}

impl LocalNetworks {
    /// Nobody wants them yet. `journals`: the folder where undos are written down.
    pub(crate) fn new(host: &Arc<dyn Host>, journals: &Path) -> Self {
        Self { host: Arc::clone(host), journals: Arc::new(journals.to_owned()), work: Arc::default() }
    }

    /// Puts a block there by `put`, with ways to the local networks if it wants them; it then follows them until
    /// [`LocalNetworks::leave`].
    ///
    /// # Errors
    /// The kernel does not tell of its networks, or `put` fails.
    pub(crate) async fn stand<T>(
        &self,
        block: Block,
        put: impl AsyncFnOnce(&Change) -> Result<T, HostError>,
    ) -> Result<T, HostError> {
        if !block.local {
            return put(&block.change(&[])).await;
        }
        let mut work = self.watched().await?;
        let put = put(&block.change(&work.networks)).await?;
        work.want(block.table(), Some(block));
        Ok(put)
    }

    /// Has the local networks reachable beside a tunnel that blocks nothing, until [`LocalNetworks::leave`].
    ///
    /// # Errors
    /// The kernel does not tell of its networks.
    pub(crate) async fn want(&self, table: String) -> Result<(), HostError> {
        let mut work = self.watched().await?;
        if !work.wanted.iter().any(|(other, _)| *other == table) {
            work.want(table, None);
        }
        Ok(())
    }

    /// The block of that table goes, or does without: from here on it is left alone. With the last one everything else is undone.
    pub(crate) async fn leave(&self, table: &str) {
        let mut work = self.work.lock().await;
        work.wanted.retain(|(other, _)| other != table);
        if !work.wanted.is_empty() {
            return;
        }
        if let Some(watching) = work.watching.take() {
            watching.abort();
        }
        if let Some(changes) = work.changes.take() {
            let errors = changes.undo_all().await;
            errors.iter().for_each(|error| tracing::warn!(%error, "local networks: not undone"));
        }
        (work.made, work.networks) = (Vec::new(), Vec::new());
    }

    /// From when this returns they are known, and followed.
    async fn watched(&self) -> Result<MutexGuard<'_, Work>, HostError> {
        let mut work = self.work.lock().await;
        if work.watching.is_none() {
            let news = self.host.news()?;
            work.changes =
                Some(Changes::new(Arc::clone(&self.host), Journal::open(&self.journals, JOURNAL)?));
            self.refresh(&mut work).await;
            work.watching = Some(tokio::spawn(self.clone().watch(news)).abort_handle());
        }
        Ok(work)
    }

    async fn watch(self, mut news: mpsc::Receiver<News>) {
        while news.recv().await.is_some() {
            // One look is as good as many.
            while news.try_recv().is_ok() {}
            self.refresh(&mut *self.work.lock().await).await;
        }
        tracing::warn!("no more news of addresses: blocks do not follow the local networks any more");
    }

    async fn refresh(&self, work: &mut Work) {
        let networks = match self.host.local_networks().await {
            Ok(networks) => networks,
            Err(error) => return tracing::warn!(%error, "the local networks cannot be read"),
        };
        if networks == work.networks {
            return;
        }
        let shown: Vec<String> = networks.iter().map(|n| format!("{} on {}", n.network, n.link)).collect();
        tracing::info!(networks = shown.join(", "), "local networks, which a profile lets be reached");
        if let Some(changes) = &work.changes
            && let Err(error) = carry_out(changes, &mut work.made, local_routes(&networks)).await
        {
            tracing::warn!(%error, "a local network has no route beside the tunnel");
        }
        for block in work.wanted.iter().filter_map(|(_, block)| block.as_ref()) {
            if let Err(error) = self.host.apply(&block.change(&networks)).await {
                tracing::warn!(%error, "a block does not follow the local networks");
            }
        }
        work.networks = networks;
    }
}

impl Work {
    fn want(&mut self, table: String, block: Option<Block>) {
        self.wanted.retain(|(other, _)| *other != table);
        self.wanted.push((table, block));
    }
}
