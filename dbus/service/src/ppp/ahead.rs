//! A unit that is made before its link asks for it.

use std::sync::Arc;

use adit_core::Failure;
use adit_ppp_kernel::LinkSpec;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use super::{Carrier, Unit};

type Made = Result<Unit, Failure>;

/// A unit that is being made. Dropped, it goes as soon as it is there.
#[derive(Debug)]
pub(crate) struct Ahead(Option<oneshot::Receiver<Made>>);

impl Ahead {
    /// Begins to make it, on a thread for work that blocks.
    pub(crate) fn begin(carrier: Carrier, name: String, group: u32) -> Self {
        let (to, from) = oneshot::channel();
        tokio::task::spawn_blocking(move || {
            let made = Unit::make(carrier, &LinkSpec { name: &name, group }).map_err(Failure::from);
            // Where nobody wants it any more it goes here.
            drop(to.send(made));
        });
        Self(Some(from))
    }

    /// The unit of one that may have been begun.
    pub(crate) async fn taken(ahead: Option<Self>) -> Option<Arc<Unit>> {
        match ahead {
            Some(mut ahead) => ahead.made().await,
            None => None,
        }
    }

    /// Waits until it is there. `None`: it could not be made, which whoever asks for it may try again. Cancel-safe.
    pub(crate) async fn made(&mut self) -> Option<Arc<Unit>> {
        let made = self.0.as_mut()?.await;
        self.0 = None;
        made.ok().and_then(Result::ok).map(Arc::new)
    }
}

impl Drop for Ahead {
    fn drop(&mut self) {
        // The kernel takes its time for this, too.
        let made = self.0.take().map(|mut from| from.try_recv());
        if let (Some(Ok(made)), Ok(runtime)) = (made, Handle::try_current()) {
            runtime.spawn_blocking(move || drop(made));
        }
    }
}
