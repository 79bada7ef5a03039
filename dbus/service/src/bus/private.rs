//! The private socket: `org.adit1` peer to peer, for hosts without a bus and for scripts at boot.

use std::fs::Permissions;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::net::{UnixListener, UnixStream};
use tracing::debug;
use zbus::Guid;

use super::gate::{Caller, Gate, groups_of};
use super::objects::Objects;
use crate::daemon::Daemon;

/// Peers on the socket at once; more wait to be let in.
const MOST_PEERS: usize = 256;

/// The socket's file, which goes with it.
pub(crate) struct Socket {
    path: PathBuf,
    listener: Arc<UnixListener>,
}

impl Socket {
    /// Makes the socket, mode 0660. One that a dead daemon left is replaced; a live daemon's is not.
    ///
    /// # Errors
    /// Another daemon listens there, or the directory cannot be written.
    pub(crate) fn bind(path: &Path) -> io::Result<Self> {
        if std::os::unix::net::UnixStream::connect(path).is_ok() {
            let text = format!("another aditd is listening on {}", path.display());
            return Err(io::Error::new(io::ErrorKind::AddrInUse, text));
        }
        match std::fs::remove_file(path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
        // Made under another name and put in place with its mode: nobody meets it with a wider one.
        let fresh = path.with_extension("new");
        let _ = std::fs::remove_file(&fresh);
        let listener = UnixListener::bind(&fresh)?;
        std::fs::set_permissions(&fresh, Permissions::from_mode(0o660))?;
        std::fs::rename(&fresh, path)?;
        Ok(Self { path: path.to_owned(), listener: Arc::new(listener) })
    }

    /// What peers are accepted from.
    pub(crate) fn listener(&self) -> Arc<UnixListener> {
        Arc::clone(&self.listener)
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Lets peers in, each with the rights of its own credentials.
pub(crate) async fn accept(listener: Arc<UnixListener>, daemon: Arc<Daemon>) {
    let places = Arc::new(tokio::sync::Semaphore::new(MOST_PEERS));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let Ok((stream, _)) = listener.accept().await else { continue };
        let daemon = Arc::clone(&daemon);
        tokio::spawn(async move {
            if let Err(e) = serve(stream, daemon).await {
                debug!(error = %e, "a peer on the private socket");
            }
            drop(place);
        });
    }
}

async fn serve(stream: UnixStream, daemon: Arc<Daemon>) -> zbus::Result<()> {
    let credentials = stream.peer_cred()?;
    let mut gids = groups_of(credentials.uid());
    gids.push(credentials.gid());
    let gate = Gate::Peer(Caller { uid: credentials.uid(), gids });
    let builder = zbus::connection::Builder::unix_stream(stream.into_std()?).server(Guid::generate()).p2p();
    let objects = Objects::serve(builder, daemon, gate).await?;
    let connection = objects.connection().clone();
    tokio::select! {
        () = objects.follow() => {}
        () = connection.closed() => {}
    }
    Ok(())
}
