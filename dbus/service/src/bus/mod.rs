//! `org.adit1`: the same objects on the system bus and, peer to peer, on the private socket.

mod connection;
mod gate;
mod gather;
mod manager;
mod networks;
mod objects;
mod options;
mod paced;
mod places;
mod polkit;
mod private;
mod profile;
mod sleep;
mod thread;

use std::num::NonZeroUsize;
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use adit_dbus_api::names;
use tokio::net::UnixListener;
use tracing::{info, warn};

use crate::BusChoice;
use crate::daemon::Daemon;
use gate::Callers;
use objects::Objects;
use places::Places;
pub use private::Socket;
use thread::Thread;

/// Messages that were read and not looked at yet. The bus lets each be of 32 MiB.
const MOST_QUEUED: NonZeroUsize = NonZeroUsize::new(8).unwrap();

/// What keeps `org.adit1` offered; dropping it ends that.
pub struct Buses {
    thread: Thread,
    socket: Socket,
    /// On the system bus, without the name yet.
    joined: Option<Objects>,
}

impl Buses {
    /// Serves whoever is at the other end of that socket, until they have gone. Without one: for ever.
    pub fn until_gone(
        &self,
        whose: Option<UnixStream>,
        daemon: &Arc<Daemon>,
    ) -> impl Future<Output = ()> + use<> {
        let (daemon, thread) = (Arc::clone(daemon), self.thread.handle().clone());
        async move {
            let Some(stream) = whose else { return std::future::pending().await };
            let _ = thread.spawn(async move { private::until_gone(stream, &daemon).await }).await;
        }
    }

    /// Until its thread takes its next turn.
    pub async fn turn(&self) {
        let _ = self.thread.handle().spawn(std::future::ready(())).await;
    }
}

/// Makes the private socket, which nobody is let in by yet.
///
/// # Errors
/// Another daemon has it, or it cannot be made.
pub fn socket(daemon: &Daemon) -> std::io::Result<Socket> {
    Socket::bind(&daemon.settings().socket)
}

/// Joins the system bus, as the settings say, so that the daemon can call others there. Nobody finds it yet.
///
/// # Errors
/// The system bus was demanded and is not there.
pub async fn join(daemon: &Arc<Daemon>, socket: Socket) -> anyhow::Result<Buses> {
    let thread = Thread::start()?;
    let joined = match daemon.settings().bus {
        BusChoice::None => None,
        _ => without_bus(daemon, thread.handle().spawn(system_bus(Arc::clone(daemon))).await?)?,
    };
    Ok(Buses { thread, socket, joined })
}

impl Buses {
    /// Offers `org.adit1`, with all that the daemon knows by now, on the private socket and on the bus that was joined.
    ///
    /// # Errors
    /// The system bus was demanded and refuses the name.
    pub async fn offer(&mut self, daemon: &Arc<Daemon>) -> anyhow::Result<()> {
        let listener = self.socket.listener()?;
        let (accepted_by, places) = (Arc::clone(daemon), Places::of_users());
        self.thread.handle().spawn(async move {
            // Of this thread's own, so that nobody else is woken.
            match UnixListener::from_std(listener) {
                Ok(listener) => private::accept(listener, accepted_by, places).await,
                Err(error) => warn!(%error, "nobody is let in by the private socket"),
            }
        });
        let Some(objects) = self.joined.take() else { return Ok(()) };
        without_bus(daemon, self.thread.handle().spawn(named(objects)).await?)?;
        Ok(())
    }
}

/// What came of the bus; nothing, where it may be missing.
fn without_bus<T>(daemon: &Daemon, result: zbus::Result<T>) -> anyhow::Result<Option<T>> {
    let choice = daemon.settings().bus;
    match result {
        Ok(there) => Ok(Some(there)),
        Err(error) if choice == BusChoice::System => Err(error.into()),
        // Whoever has started it by hand for one connection has not asked for a bus.
        Err(_) if daemon.settings().foreground => Ok(None),
        Err(error) => {
            warn!(%error, "no system bus: ctl reaches the daemon by the private socket only");
            Ok(None)
        }
    }
}

async fn system_bus(daemon: Arc<Daemon>) -> zbus::Result<Objects> {
    let builder = zbus::connection::Builder::system().max_queued(MOST_QUEUED);
    let objects = Objects::serve(builder, Arc::clone(&daemon), Callers::Bus.into()).await?;
    daemon.names().on(objects.connection());
    tokio::spawn(sleep::follow(objects.connection().clone()));
    tokio::spawn(networks::follow(objects.connection().clone(), daemon.uplinks().clone()));
    Ok(objects)
}

/// The name comes last: whoever sees it finds every object there.
async fn named(mut objects: Objects) -> zbus::Result<()> {
    objects.catch_up().await?;
    objects.connection().request_name(names::BUS).await?;
    info!(name = names::BUS, "on the system bus");
    tokio::spawn(objects.follow());
    Ok(())
}
