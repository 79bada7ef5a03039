use std::os::fd::OwnedFd;

use thiserror::Error;
use zbus::connection::{AuthMechanism, Builder};
use zbus::{Connection, fdo};

use crate::names;
use crate::proxies::ManagerProxy;

/// Which way to the daemon.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Bus {
    /// The private socket for whom it is, and who does not wait there behind everybody who calls on the bus; else the system
    /// bus.
    #[default]
    Auto,
    /// The system bus only.
    System,
    /// The private socket only.
    Private,
}

/// Why there is no way to the daemon.
#[derive(Debug, Error)]
pub enum ConnectError {
    /// Nothing answers: no owner of the name, no socket.
    #[error("aditd does not run")]
    NotRunning,
    /// The private socket is there and may not be opened.
    #[error("you may not talk to aditd")]
    Denied,
    /// There is no system bus, and only that was asked for.
    #[error("there is no system bus: {0}")]
    NoBus(zbus::Error),
    /// Something else.
    #[error(transparent)]
    Bus(#[from] zbus::Error),
}

/// A connection to the daemon: over the system bus, or peer to peer over `socket`. Proxies work the same on both.
///
/// # Errors
/// [`ConnectError`].
pub async fn connect(bus: Bus, socket: &str) -> Result<Connection, ConnectError> {
    match bus {
        Bus::System => connect_system().await,
        Bus::Private => connect_private(socket).await,
        Bus::Auto => match connect_private(socket).await {
            Ok(connection) => Ok(connection),
            // The bus starts a daemon that does not run yet.
            Err(why) => connect_system().await.map_err(|_| why),
        },
    }
}

/// A connection to the system bus, on which `org.adit1` is owned or can be started.
///
/// # Errors
/// [`ConnectError::NoBus`], [`ConnectError::NotRunning`].
pub async fn connect_system() -> Result<Connection, ConnectError> {
    let connection = Builder::system().build().await.map_err(ConnectError::NoBus)?;
    let bus = fdo::DBusProxy::new(&connection).await?;
    let name = zbus::names::BusName::try_from(names::BUS)?;
    if !bus.name_has_owner(name).await.map_err(zbus::Error::from)? {
        let activatable = bus.list_activatable_names().await.map_err(zbus::Error::from)?;
        if !activatable.iter().any(|n| n.as_str() == names::BUS) {
            return Err(ConnectError::NotRunning);
        }
    }
    let Some(own) = handed_over(&connection).await? else { return Ok(connection) };
    // The daemon asks polkit about the name that this connection has on the bus: it stays as long as the process does.
    Box::leak(Box::new(connection));
    Ok(own)
}

/// Whom the bus keeps properties and signals from gets a D-Bus connection of their own, if polkit lets them connect at all.
/// `None`: nothing is kept from them, or everything is; each call then tells why.
async fn handed_over(bus: &Connection) -> zbus::Result<Option<Connection>> {
    let manager =
        ManagerProxy::builder(bus).cache_properties(zbus::proxy::CacheProperties::No).build().await?;
    match manager.version().await {
        Err(zbus::Error::FDO(error)) if matches!(*error, fdo::Error::AccessDenied(_)) => {}
        _ => return Ok(None),
    }
    let Ok(end) = manager.open().await else { return Ok(None) };
    let end = OwnedFd::from(end).into();
    let own = Builder::unix_stream(end).auth_mechanism(AuthMechanism::Anonymous).p2p().build().await?;
    Ok(Some(own))
}

/// A connection to the daemon's private socket, without a bus between.
///
/// # Errors
/// [`ConnectError::NotRunning`], [`ConnectError::Denied`].
pub async fn connect_private(socket: &str) -> Result<Connection, ConnectError> {
    let address = format!("unix:path={}", escape(socket));
    Builder::address(address.as_str()).p2p().build().await.map_err(|error| match io_kind(&error) {
        Some(std::io::ErrorKind::NotFound | std::io::ErrorKind::ConnectionRefused) => {
            ConnectError::NotRunning
        }
        Some(std::io::ErrorKind::PermissionDenied) => ConnectError::Denied,
        _ => ConnectError::Bus(error),
    })
}

/// The same by a socket whose other end the daemon has.
///
/// # Errors
/// [`ConnectError::Bus`]: nobody speaks D-Bus there.
pub async fn connect_stream(socket: OwnedFd) -> Result<Connection, ConnectError> {
    Ok(Builder::unix_stream(socket.into()).p2p().build().await?)
}

fn io_kind(error: &zbus::Error) -> Option<std::io::ErrorKind> {
    match error {
        zbus::Error::InputOutput(error) | zbus::Error::Connection(error, _) => Some(error.kind()),
        _ => None,
    }
}

/// A path as D-Bus addresses write it: everything but a few characters as `%` and two digits.
fn escape(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_/.\\*".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02x}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn no_socket_means_that_nothing_runs() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a b,c;d=e.sock");
        let result = connect_private(path.to_str().unwrap()).await;
        assert!(matches!(result, Err(ConnectError::NotRunning)), "{result:?}");
    }
}
