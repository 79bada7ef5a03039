//! The block of profiles with `block = "always"`: it stands as long as there is one, whether its tunnel is up or not, and
//! without a daemon.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use adit_core::Failure;
use tracing::{error, info, warn};

use super::Daemon;
use crate::files::ProfileFile;
use crate::host::{Block, Change, HostError};

/// Its journal: it outlives the daemon, and goes when no profile wants it any more.
const JOURNAL: &str = "always";

/// Whether the block follows the networks that this host is in.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Follow {
    /// If all who want the block say so.
    Local,
    /// Not yet: what was left behind is still to be taken away, or no daemon stays.
    Nothing,
}

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
        self.block_always(&profiles, Follow::Nothing).await
    }

    /// The same at the daemon's start. Returns the journal to keep then.
    pub(super) async fn stand_blocked(&self) -> Option<String> {
        if let Err(failure) = self.block_as_profiles_say().await {
            error!(code = %failure.code, "block = \"always\": {failure}");
        }
        self.is_blocked_always().then(|| JOURNAL.to_owned())
    }

    /// Nobody is left to follow them. The block stays as it is.
    pub(super) async fn leave_local_networks(&self) {
        self.local_networks().leave(&Block::always(false).table()).await;
    }

    /// Whether one of these profiles wants it. `None`: none does of those that can be read, and there are others.
    fn wants_block(&self, profiles: &[Arc<ProfileFile>]) -> Option<bool> {
        if profiles.iter().any(|profile| profile.blocks_always == Some(true)) {
            return Some(true);
        }
        let known = profiles.iter().all(|profile| profile.blocks_always.is_some());
        (known && self.files.lists_profiles()).then_some(false)
    }

    /// Puts the block there, or takes it away, as these profiles want it. What can't be read takes nothing away.
    ///
    /// # Errors
    /// It can't be put there, or taken away.
    pub(super) async fn block_always(
        &self,
        profiles: &[Arc<ProfileFile>],
        follow: Follow,
    ) -> Result<(), Failure> {
        let changes = self.changes(JOURNAL)?;
        let wanted = self.wants_block(profiles).unwrap_or_else(|| {
            warn!("not all profiles can be read: block = \"always\" stays as it is");
            !changes.is_empty()
        });
        let before = self.blocks_always.swap(wanted, Ordering::Relaxed);
        let block = Block::always(follow == Follow::Local && lets_local(profiles));
        if !block.local || !wanted {
            self.local_networks().leave(&block.table()).await;
        }
        if !wanted {
            let errors = changes.undo_all().await;
            return errors.first().map_or(Ok(()), |error| Err(error.failure()));
        }
        // Put there once more it takes the place of itself, in one step; a restart of this host has left none.
        let put = async |block: &Change| match changes.is_empty() {
            true => changes.make(block).await.map(drop),
            false => self.host().apply(block).await,
        };
        self.local_networks().stand(block, put).await.map_err(|error: HostError| error.failure())?;
        if !before {
            info!("nothing leaves this host in clear: a profile says  block = \"always\"");
        }
        Ok(())
    }
}

/// Whether all of those who want it let the local networks be reached. One with mistakes does not.
fn lets_local(profiles: &[Arc<ProfileFile>]) -> bool {
    let mut who_want = profiles.iter().filter(|file| file.blocks_always != Some(false));
    who_want.all(|file| file.content.as_ref().is_ok_and(|profile| profile.local_network))
}

#[cfg(all(test, feature = "recording"))]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;
    use crate::daemon::{Doors, Settings};
    use crate::host::RecordingHost;

    fn daemon(folder: &Path) -> Daemon {
        let doors = Doors {
            xfrm: Arc::new(adit_xfrm_kernel::RecordingXfrm::default()),
            host: Arc::new(RecordingHost::default()),
            crypto: Arc::new(adit_crypto::Provider::new()),
        };
        Daemon::new(Settings::within(folder), doors)
    }

    #[tokio::test]
    async fn what_cannot_be_read_opens_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let profiles = folder.path().join("etc/profiles");
        fs::create_dir_all(&profiles).unwrap();
        fs::create_dir_all(folder.path().join("state/journal")).unwrap();
        let daemon = daemon(folder.path());
        let stands = async || {
            daemon.block_as_profiles_say().await.unwrap();
            assert_eq!(daemon.is_blocked_always(), !daemon.changes(JOURNAL).unwrap().is_empty());
            daemon.is_blocked_always()
        };
        assert!(!stands().await);
        // A folder where a file should be can't be read by anybody, by root either.
        let file = profiles.join("corp.toml");
        fs::create_dir(&file).unwrap();
        assert!(!stands().await, "nobody has asked for it yet");
        fs::remove_dir(&file).unwrap();
        fs::write(&file, "a mistake\nblock = \"always\"\n").unwrap();
        assert!(stands().await);
        fs::remove_file(&file).unwrap();
        fs::create_dir(&file).unwrap();
        assert!(stands().await, "a profile that can't be read");
        fs::remove_dir_all(&profiles).unwrap();
        fs::write(&profiles, "").unwrap();
        assert!(stands().await, "a folder that can't be read");
        fs::remove_file(&profiles).unwrap();
        assert!(!stands().await, "there are no profiles");
    }
}
