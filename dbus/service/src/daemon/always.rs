//! The block of profiles with `block = "always"`: it stands as long as there is one, whether its tunnel is up or not, and
//! without a daemon.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use adit_core::Failure;
use tracing::{error, info};

use super::Daemon;
use crate::files::ProfileFile;
use crate::host::{Block, HostError};

/// Its journal: it outlives the daemon, and goes when no profile wants it any more.
const JOURNAL: &str = "always";

impl Daemon {
    /// Whether names have to be looked up by questions with our mark: nobody else's leave.
    pub(crate) fn is_blocked_always(&self) -> bool {
        self.blocks_always.load(Ordering::Relaxed)
    }

    /// Has nothing leave in clear from now on, if a profile wants that.
    ///
    /// # Errors
    /// It can't be put there, or taken away.
    pub async fn block_as_profiles_say(&self) -> Result<(), Failure> {
        let profiles: Vec<_> = self.files.profiles().into_iter().map(Arc::new).collect();
        self.block_always(&profiles).await
    }

    /// The same at the daemon's start. Returns the journal to keep then.
    pub(super) async fn stand_blocked(&self) -> Option<String> {
        if let Err(failure) = self.block_as_profiles_say().await {
            error!(code = %failure.code, "block = \"always\": {failure}");
        }
        self.is_blocked_always().then(|| JOURNAL.to_owned())
    }

    /// Puts the block there, or takes it away, as these profiles want it.
    ///
    /// # Errors
    /// It can't be put there, or taken away.
    pub(super) async fn block_always(&self, profiles: &[Arc<ProfileFile>]) -> Result<(), Failure> {
        let wanted = profiles.iter().any(|profile| profile.blocks_always);
        let before = self.blocks_always.swap(wanted, Ordering::Relaxed);
        let changes = self.changes(JOURNAL)?;
        if !wanted {
            let errors = changes.undo_all().await;
            return errors.first().map_or(Ok(()), |error| Err(error.failure()));
        }
        let block = Block::always();
        // Put there once more it takes the place of itself, in one step; a restart of this host has left none.
        match changes.is_empty() {
            true => changes.make(&block).await.map(drop),
            false => self.host().apply(&block).await,
        }
        .map_err(|error: HostError| error.failure())?;
        if !before {
            info!("nothing leaves this host in clear: a profile says  block = \"always\"");
        }
        Ok(())
    }
}
