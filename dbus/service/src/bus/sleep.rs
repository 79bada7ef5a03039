//! What logind says when the machine has been suspended (`org.freedesktop.login1`, `PrepareForSleep`). The kernel tells of the
//! sleep itself, also where there is no logind ([`crate::clock`]); logind tells of every kind of it, however short. Nothing
//! is sent before a sleep, so no lock holds it up.

use futures_util::StreamExt;
use tracing::{debug, info};
use zbus::{Connection, proxy};

use crate::clock;

/// The part of logind's interface that is used.
#[proxy(
    interface = "org.freedesktop.login1.Manager",
    default_service = "org.freedesktop.login1",
    default_path = "/org/freedesktop/login1"
)]
trait Logind {
    /// The machine is about to be suspended, or (`false`) has just been.
    #[zbus(signal)]
    fn prepare_for_sleep(&self, start: bool) -> zbus::Result<()>;
}

/// Follows logind, whenever there is one on this bus.
pub(super) async fn follow(bus: Connection) {
    if let Err(error) = watch(&bus).await {
        debug!(%error, "logind cannot be followed: the kernel alone tells when the machine was suspended");
    }
}

async fn watch(bus: &Connection) -> zbus::Result<()> {
    let mut words = LogindProxy::new(bus).await?.receive_prepare_for_sleep().await?;
    while let Some(word) = words.next().await {
        if word.args()?.start {
            info!("the machine is about to be suspended, says logind");
        } else {
            info!("the machine is awake again, says logind");
            clock::resume();
        }
    }
    Ok(())
}
