//! `org.adit1` peer to peer: on the private socket, for hosts without a bus and for scripts at boot; and on connections that
//! `Open` hands over.

use std::fs::Permissions;
use std::future::pending;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use nix::sys::socket::getsockopt;
use nix::sys::socket::sockopt::PeerCredentials;
use tracing::{debug, warn};
use zbus::connection::{AuthMechanism, Builder};
use zbus::names::OwnedUniqueName;
use zbus::{Connection, Guid, fdo};

use super::gate::{Caller, Callers, Gate, groups_of};
use super::objects::Objects;
use super::paced::Paced;
use super::places::{Place, Places};
use crate::daemon::Daemon;

/// How long a peer may take to say that it speaks D-Bus.
const PATIENCE: Duration = Duration::from_secs(10);

/// The socket's file, which goes with it.
pub struct Socket {
    path: PathBuf,
    listener: UnixListener,
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
        listener.set_nonblocking(true)?;
        Ok(Self { path: path.to_owned(), listener })
    }

    /// What peers are accepted from.
    ///
    /// # Errors
    /// No more descriptors.
    pub(crate) fn listener(&self) -> io::Result<UnixListener> {
        self.listener.try_clone()
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Lets peers in, each with the rights of its own credentials. A user who has too many already is turned away.
pub(crate) async fn accept(listener: tokio::net::UnixListener, daemon: Arc<Daemon>, places: Places<u32>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let Ok(credentials) = stream.peer_cred() else { continue };
        let Some(place) = places.take_for_user(credentials.uid()) else {
            warn!(user = credentials.uid(), "too many peers of one user on the private socket: turned away");
            continue;
        };
        let daemon = Arc::clone(&daemon);
        tokio::spawn(async move {
            let served = match stream.into_std() {
                Ok(stream) => for_one(stream, &daemon).await,
                Err(error) => Err(error.into()),
            };
            if let Err(e) = served {
                debug!(error = %e, "a peer on the private socket");
            }
            drop(place);
        });
    }
}

/// Serves whoever is at the other end of that socket, until they have gone.
pub(super) async fn until_gone(stream: std::os::unix::net::UnixStream, daemon: &Arc<Daemon>) {
    if let Err(error) = for_one(stream, daemon).await {
        warn!(%error, "who has started this daemon does not speak D-Bus with it");
    }
}

/// With the rights of its own credentials.
async fn for_one(stream: std::os::unix::net::UnixStream, daemon: &Arc<Daemon>) -> zbus::Result<()> {
    let credentials = getsockopt(&stream, PeerCredentials).map_err(io::Error::from)?;
    // Root may everything, whatever groups it is in.
    let mut gids = if credentials.uid() == 0 { Vec::new() } else { groups_of(credentials.uid()) };
    gids.push(credentials.gid());
    let gate = Callers::Peer(Caller { uid: credentials.uid(), gids }).into();
    serve(Builder::socket(Paced::new(stream)?), Arc::clone(daemon), gate, pending()).await
}

/// A D-Bus connection of its own for whoever calls `Open`; what is returned is the end for them. Whoever has it is who
/// called, so nobody proves anything on it (`ANONYMOUS`). It ends with either end, and with its owner's name on the bus.
///
/// # Errors
/// No more sockets.
pub(crate) fn open(
    daemon: &Arc<Daemon>,
    caller: Caller,
    (bus, name): (Connection, OwnedUniqueName),
    place: Place<u32>,
) -> io::Result<OwnedFd> {
    let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
    let (daemon, ours) = (Arc::clone(daemon), Paced::new(ours)?);
    tokio::spawn(async move {
        let builder = Builder::socket(ours).auth_mechanism(AuthMechanism::Anonymous);
        let left = left(bus.clone(), name.clone());
        if let Err(e) = serve(builder, daemon, Callers::Opened { caller, bus, name }.into(), left).await {
            debug!(error = %e, "a D-Bus connection that was handed over");
        }
        drop(place);
    });
    Ok(theirs.into())
}

/// Until nobody has that name on the bus any more. Where the bus does not tell, nobody has.
async fn left(bus: Connection, name: OwnedUniqueName) {
    let has = async {
        let names = fdo::DBusProxy::new(&bus).await?;
        // Before the first look: a name that goes after it is not missed.
        let mut owners = names.receive_name_owner_changed_with_args(&[(0, name.as_str())]).await?;
        if names.name_has_owner(name.inner().clone().into()).await.map_err(zbus::Error::from)? {
            owners.next().await;
        }
        zbus::Result::Ok(())
    };
    if let Err(error) = has.await {
        warn!(%error, "the bus does not say whether the owner of a D-Bus connection is there: it ends");
    }
}

/// Until the peer has gone, or `over` is.
pub(super) async fn serve(
    builder: Builder<'static>,
    daemon: Arc<Daemon>,
    gate: Gate,
    over: impl Future<Output = ()> + Send,
) -> zbus::Result<()> {
    let builder = builder.server(Guid::generate()).p2p();
    let served = tokio::time::timeout(PATIENCE, Objects::serve(builder, daemon, gate)).await;
    let objects = served.map_err(|_| zbus::Error::Handshake("nothing was said".to_owned()))??;
    let connection = objects.connection().clone();
    tokio::select! {
        () = objects.follow() => {}
        () = connection.closed() => {}
        () = over => connection.close().await?,
    }
    Ok(())
}
