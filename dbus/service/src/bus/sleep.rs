//! What logind says before the machine is suspended and after (`org.freedesktop.login1`, `PrepareForSleep`). The kernel tells
//! of the sleep itself, also where there is no logind ([`crate::clock`]); logind tells before it, and of every kind of it.

use futures_util::StreamExt;
use tracing::{debug, info};
use zbus::{Connection, OwnedFd, proxy};

use crate::clock;

/// The part of logind's interface that is used.
#[proxy(
    interface = "org.freedesktop.login1.Manager",
    default_service = "org.freedesktop.login1",
    default_path = "/org/freedesktop/login1"
)]
trait Logind {
    /// A lock: the machine is not suspended before it is closed, or logind's patience is over (`InhibitDelayMaxSec`).
    #[zbus(no_autostart)]
    fn inhibit(&self, what: &str, who: &str, why: &str, mode: &str) -> zbus::Result<OwnedFd>;

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
    let logind = LogindProxy::new(bus).await?;
    let mut words = logind.receive_prepare_for_sleep().await?;
    let mut owners = logind.inner().receive_owner_changed().await?;
    let mut lock = hold(&logind).await;
    loop {
        tokio::select! {
            word = words.next() => match word {
                None => return Ok(()),
                Some(word) if word.args()?.start => {
                    info!("the machine is about to be suspended");
                    // It is noted: nothing is sent for it, and no peer has to know.
                    drop(lock.take());
                }
                Some(_) => {
                    info!("the machine is awake again, says logind");
                    clock::resume();
                    lock = hold(&logind).await;
                }
            },
            owner = owners.next() => match owner {
                None => return Ok(()),
                Some(None) => lock = None,
                Some(Some(_)) => lock = hold(&logind).await,
            },
        }
    }
}

/// The lock, if logind gives one. Without it the machine may be suspended before we have heard of it, which the kernel
/// tells afterwards.
async fn hold(logind: &LogindProxy<'_>) -> Option<OwnedFd> {
    let lock =
        logind.inhibit("sleep", "Adit", "VPN connections are told that the machine sleeps", "delay").await;
    lock.inspect_err(|error| debug!(%error, "logind gives no lock")).ok()
}
