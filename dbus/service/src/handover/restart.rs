//! Whether the service manager ends us to start us again at once.
//!
//! SIGTERM does not tell, and neither does what ExecStopPost= is given (SERVICE_RESULT is the same for both). The manager's job
//! does: it is a `restart` one until we are gone, also for `systemctl try-restart`, which packages use. Where it does not
//! answer, we are stopped: tunnels go down then, which is what a person expects who has stopped us.

use std::time::Duration;

use zbus::{Connection, OwnedObjectPath, proxy};

/// How long the manager may take.
const PATIENCE: Duration = Duration::from_secs(3);

/// The part of systemd's interfaces that is used.
#[proxy(
    interface = "org.freedesktop.systemd1.Manager",
    default_service = "org.freedesktop.systemd1",
    default_path = "/org/freedesktop/systemd1"
)]
trait Manager {
    /// The unit that a process belongs to; 0: who asks.
    #[zbus(name = "GetUnitByPID")]
    fn get_unit_by_pid(&self, pid: u32) -> zbus::Result<OwnedObjectPath>;
}

#[proxy(interface = "org.freedesktop.systemd1.Unit", default_service = "org.freedesktop.systemd1")]
trait Unit {
    /// What is being done to it: a number (0: nothing), and a path.
    #[zbus(property(emits_changed_signal = "false"))]
    fn job(&self) -> zbus::Result<(u32, OwnedObjectPath)>;
}

#[proxy(interface = "org.freedesktop.systemd1.Job", default_service = "org.freedesktop.systemd1")]
trait Job {
    /// `start`, `stop`, `restart` and the like.
    #[zbus(property(emits_changed_signal = "false"))]
    fn job_type(&self) -> zbus::Result<String>;
}

/// Whether it is so.
pub async fn is_pending() -> bool {
    match tokio::time::timeout(PATIENCE, job()).await {
        Ok(Ok(job)) => job.as_deref() == Some("restart"),
        Ok(Err(error)) => {
            tracing::debug!(%error, "the service manager does not say whether this is a restart");
            false
        }
        Err(_) => false,
    }
}

async fn job() -> zbus::Result<Option<String>> {
    let bus = Connection::system().await?;
    let unit = ManagerProxy::new(&bus).await?.get_unit_by_pid(0).await?;
    let (number, path) = UnitProxy::builder(&bus).path(unit).build().await?.job().await?;
    if number == 0 {
        return Ok(None);
    }
    JobProxy::builder(&bus).path(path).build().await?.job_type().await.map(Some)
}
