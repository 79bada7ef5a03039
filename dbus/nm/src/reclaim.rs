//! NetworkManager is gone, and a tunnel stands. It is not taken down: what goes through it would go in clear. When
//! NetworkManager is back, it is asked to raise the connection again, by a process of its own, which finds the tunnel as it
//! is.

use std::time::Duration;

use futures_util::StreamExt;
use tokio::time::Instant;
use tracing::{info, warn};
use zbus::fdo::DBusProxy;
use zbus::names::BusName;
use zbus::{Connection, OwnedObjectPath, proxy};

/// NetworkManager's name.
pub(crate) const NETWORK_MANAGER: &str = "org.freedesktop.NetworkManager";
/// How long it may stay away, and be without a network then.
const PATIENCE: Duration = Duration::from_mins(2);

/// The part of NetworkManager that is used.
#[proxy(
    interface = "org.freedesktop.NetworkManager",
    default_service = "org.freedesktop.NetworkManager",
    default_path = "/org/freedesktop/NetworkManager"
)]
trait NetworkManager {
    fn activate_connection(
        &self,
        connection: &zbus::ObjectPath<'_>,
        device: &zbus::ObjectPath<'_>,
        specific_object: &zbus::ObjectPath<'_>,
    ) -> zbus::Result<OwnedObjectPath>;

    #[zbus(signal, name = "StateChanged")]
    fn changed(&self, state: u32) -> zbus::Result<()>;
}

#[proxy(
    interface = "org.freedesktop.NetworkManager.Settings",
    default_service = "org.freedesktop.NetworkManager",
    default_path = "/org/freedesktop/NetworkManager/Settings"
)]
trait Settings {
    fn get_connection_by_uuid(&self, uuid: &str) -> zbus::Result<OwnedObjectPath>;
}

/// Whether NetworkManager is on the bus.
pub(crate) async fn is_there(bus: &Connection) -> bool {
    let there = async {
        let name = BusName::try_from(NETWORK_MANAGER)?;
        DBusProxy::new(bus).await?.name_has_owner(name).await.map_err(zbus::Error::from)
    };
    there.await.unwrap_or(false)
}

/// Waits for NetworkManager, and has it raise the connection again. Returns when it has, or when it is too late for that:
/// the tunnel stands in either case.
pub(crate) async fn reclaim(bus: &Connection, uuid: &str) {
    let deadline = Instant::now() + PATIENCE;
    match tokio::time::timeout_at(deadline, again(bus, uuid)).await {
        Ok(Ok(())) => info!("NetworkManager is back, and has the connection again"),
        Ok(Err(error)) => {
            warn!(%error, "NetworkManager does not take the connection again; the tunnel stays")
        }
        Err(_) => warn!("NetworkManager does not take the connection again; the tunnel stays"),
    }
}

async fn again(bus: &Connection, uuid: &str) -> zbus::Result<()> {
    let proxy = DBusProxy::new(bus).await?;
    let mut owners = proxy.receive_name_owner_changed_with_args(&[(0, NETWORK_MANAGER)]).await?;
    let manager = NetworkManagerProxy::new(bus).await?;
    // The way out may come back later than NetworkManager: each time that something is different, it is asked again.
    let mut changes = manager.receive_changed().await?;
    loop {
        if is_there(bus).await {
            match activate(bus, &manager, uuid).await {
                Ok(()) => return Ok(()),
                Err(error) => info!(%error, "NetworkManager does not take the connection yet"),
            }
        }
        tokio::select! {
            owner = owners.next() => if owner.is_none() { return Ok(()) },
            change = changes.next() => if change.is_none() { return Ok(()) },
        }
    }
}

async fn activate(bus: &Connection, manager: &NetworkManagerProxy<'_>, uuid: &str) -> zbus::Result<()> {
    let connection = SettingsProxy::new(bus).await?.get_connection_by_uuid(&hyphenated(uuid)).await?;
    let none = zbus::ObjectPath::try_from("/")?;
    manager.activate_connection(&connection, &none, &none).await.map(drop)
}

/// As NetworkManager writes it.
fn hyphenated(uuid: &str) -> String {
    let mut out = String::with_capacity(36);
    for (at, digit) in uuid.chars().enumerate() {
        if matches!(at, 8 | 12 | 16 | 20) {
            out.push('-');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_uuid_has_its_hyphens_again() {
        let uuid = super::hyphenated("0f1e2d3c4b5a69788796a5b4c3d2e1f0");
        assert_eq!(uuid, "0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0");
    }
}
