//! `org.adit1`: the same objects on the system bus and, peer to peer, on the private socket.

mod connection;
mod gate;
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

use std::num::NonZeroUsize;
use std::sync::Arc;

use adit_dbus_api::names;
use tokio::task::JoinHandle;
use tracing::{info, warn};

use crate::BusChoice;
use crate::daemon::Daemon;
use gate::Callers;
use places::Places;
pub use private::{Socket, until_gone};

/// Messages that were read and not looked at yet. The bus lets each be of 32 MiB.
const MOST_QUEUED: NonZeroUsize = NonZeroUsize::new(8).unwrap();

/// What keeps `org.adit1` offered; dropping it ends that.
pub struct Buses {
    tasks: Vec<JoinHandle<()>>,
    socket: Option<Socket>,
}

impl Drop for Buses {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
        drop(self.socket.take());
    }
}

/// Makes the private socket, which nobody is let in by yet.
///
/// # Errors
/// Another daemon has it, or it cannot be made.
pub fn socket(daemon: &Daemon) -> std::io::Result<Socket> {
    Socket::bind(&daemon.settings().socket)
}

/// Offers `org.adit1` on the private socket and, as the settings say, on the system bus.
///
/// # Errors
/// The system bus was demanded and is not there or refuses the name.
pub async fn serve(daemon: &Arc<Daemon>, socket: Socket) -> anyhow::Result<Buses> {
    let accept = private::accept(socket.listener(), Arc::clone(daemon), Places::of_users());
    let mut tasks = vec![tokio::spawn(accept)];
    match daemon.settings().bus {
        BusChoice::None => {}
        choice => match system_bus(daemon).await {
            Ok(of_bus) => tasks.extend(of_bus),
            // Whoever has started it by hand for one connection has not asked for a bus.
            Err(_) if choice == BusChoice::Auto && daemon.settings().foreground => {}
            Err(e) if choice == BusChoice::Auto => {
                warn!(error = %e, "no system bus: ctl reaches the daemon by the private socket only");
            }
            Err(e) => return Err(e.into()),
        },
    }
    Ok(Buses { tasks, socket: Some(socket) })
}

async fn system_bus(daemon: &Arc<Daemon>) -> zbus::Result<[JoinHandle<()>; 3]> {
    let builder = zbus::connection::Builder::system().max_queued(MOST_QUEUED);
    let objects = objects::Objects::serve(builder, Arc::clone(daemon), Callers::Bus.into()).await?;
    // The name comes last: whoever sees it finds every object there.
    objects.connection().request_name(names::BUS).await?;
    info!(name = names::BUS, "on the system bus");
    daemon.names().on(objects.connection());
    let sleep = tokio::spawn(sleep::follow(objects.connection().clone()));
    let networks = networks::follow(objects.connection().clone(), daemon.uplinks().clone());
    Ok([tokio::spawn(objects.follow()), sleep, tokio::spawn(networks)])
}
