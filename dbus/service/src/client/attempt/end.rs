//! The end: the peer is told that an IKE_SA is over, and what was changed on this host is undone.

use std::time::Duration;

use adit_core::{Failure, Path};
use adit_ikev2::api::{Event, Input};

use super::{Attempt, Live};

/// How long the peer has to answer our DELETE before we stop waiting for it.
const CLOSE: Duration = Duration::from_secs(5);
/// The same where it is dialled anew right after: without an answer the addresses inside may be others.
const PART: Duration = Duration::from_secs(2);

impl Attempt {
    /// Tells the peer, then undoes everything on this host. The block goes last.
    pub(crate) async fn take_down(&mut self) -> Result<(), Failure> {
        self.roaming = None;
        // Nobody dials it anew.
        self.installation.hand_on_no_more();
        // No installation may begin any more; one that has begun is waited for.
        self.installation.close().await;
        self.ask_no_more();
        self.end_renewal();
        self.farewell().await;
        let undone = self.installation.undo().await;
        if self.uplinks.take().is_some() {
            self.daemon.uplinks().leave().await;
        }
        undone
    }

    /// Tells the peer that the IKE_SA is over, and waits a little for its answer.
    pub(super) async fn farewell(&mut self) {
        if let Some(live) = self.live.take() {
            self.close(live, CLOSE).await;
        }
    }

    /// Tells the peer over this path that the IKE_SA is over.
    pub(super) async fn part(&mut self, path: Path) {
        if let Some(live) = self.live.take() {
            live.ike.input(Input::Move { sa: live.sa, path });
            self.close(live, PART).await;
        }
    }

    /// Tells the peer that the IKE_SA is over, and waits so long for its answer.
    async fn close(&self, live: Live, patience: Duration) {
        let Live { ike, sa, mut events, .. } = live;
        ike.close(sa);
        let closed = async {
            while let Some((_, event)) = events.recv().await {
                if matches!(event, Event::Closed(_)) {
                    return;
                }
            }
        };
        if tokio::time::timeout(patience, closed).await.is_err() {
            tracing::info!(connection = self.id.0, "the peer did not answer our DELETE");
        }
    }
}
