//! One process at a time has a connection: a bus name of its UUID is held while it is at work, and the next one waits for it.
//! So a process that is slow to end never takes down what its successor has raised.

use futures_util::StreamExt;
use zbus::Connection;
use zbus::fdo::{DBusProxy, RequestNameFlags, RequestNameReply};

/// What holds the name.
pub(crate) struct Turn {
    bus: Connection,
    name: String,
}

impl Turn {
    /// Waits until it is this process's turn.
    ///
    /// # Errors
    /// The bus refuses the name, or is gone.
    pub(crate) async fn wait(bus: &Connection, uuid: &str) -> zbus::Result<Self> {
        let name = format!("org.freedesktop.NetworkManager.adit.Uuid_{uuid}");
        let proxy = DBusProxy::new(bus).await?;
        // Before the request: nothing is missed.
        let mut acquired = proxy.receive_name_acquired_with_args(&[(0, &name)]).await?;
        let reply = bus.request_name_with_flags(name.as_str(), RequestNameFlags::empty()).await?;
        if reply == RequestNameReply::InQueue {
            acquired.next().await.ok_or(zbus::Error::InputOutput(std::sync::Arc::new(
                std::io::ErrorKind::ConnectionAborted.into(),
            )))?;
        }
        Ok(Self { bus: bus.clone(), name })
    }

    /// The next one's.
    pub(crate) async fn pass(self) {
        if let Err(error) = self.bus.release_name(self.name.as_str()).await {
            tracing::debug!(%error, "not released");
        }
    }
}
