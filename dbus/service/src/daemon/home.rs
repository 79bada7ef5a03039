//! The daemon's own thread, where all its connections are. D-Bus is served by another: what people are told keeps no packet
//! waiting.

use std::sync::Arc;

use adit_core::{Failure, FailureCode, Step};
use tokio::runtime::Handle;

use super::Daemon;

/// The thread that has made the daemon, where there is a runtime.
#[derive(Default)]
pub(super) struct Home(Option<Handle>);

impl Home {
    pub(super) fn here() -> Self {
        Self(Handle::try_current().ok())
    }
}

impl Daemon {
    /// Has its own thread do that. It is done to its end, also when nobody waits for it any more.
    ///
    /// # Errors
    /// Those of what is done, or it broke off.
    pub(crate) async fn at_home<T, W>(
        self: &Arc<Self>,
        work: impl FnOnce(Arc<Self>) -> W + Send,
    ) -> Result<T, Failure>
    where
        T: Send + 'static,
        W: Future<Output = Result<T, Failure>> + Send + 'static,
    {
        let work = work(Arc::clone(self));
        match &self.home.0 {
            Some(home) => home.spawn(work).await.unwrap_or_else(|_| {
                Err(Failure::new(FailureCode::Internal, Step::Profile, "what was asked for broke off"))
            }),
            None => work.await,
        }
    }
}
