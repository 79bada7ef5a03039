//! The process that NetworkManager starts for a connection, from its first call to the end.

use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

use tokio::sync::mpsc;
use tracing::{error, info};
use zbus::connection::Builder;
use zbus::fdo::RequestNameFlags;

use crate::bridge::{Bridge, Ended, Owner};
use crate::plugin::{Call, MOST_CALLS, PATH, Plugin, Reason, State, Voice};
use crate::reclaim::{NETWORK_MANAGER, is_there, reclaim};
use crate::settings::Settings;

/// How long NetworkManager may take for its first call: it has given up by then.
const FIRST_CALL: Duration = Duration::from_secs(20);
/// How long a person may look for a secret that NetworkManager asks for.
const PERSON: Duration = Duration::from_mins(10);

/// What keeps the process from its work.
#[derive(Debug)]
pub enum Error {
    /// The bus, or what it says.
    Bus(zbus::Error),
    /// NetworkManager does not run.
    Alone,
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Bus(error) => write!(f, "the system bus: {error}"),
            Self::Alone => f.write_str("NetworkManager does not run: it is what starts this program"),
        }
    }
}

impl From<zbus::Error> for Error {
    fn from(error: zbus::Error) -> Self {
        Self::Bus(error)
    }
}

/// Serves one connection by this bus name, and returns when it is over.
///
/// # Errors
/// There is no bus, no NetworkManager, or the name is another's.
pub async fn run(bus_name: &str) -> Result<(), Error> {
    let state = Arc::new(AtomicU32::new(State::Init as u32));
    let (sender, mut calls) = mpsc::channel(MOST_CALLS);
    let plugin = Plugin { state: Arc::clone(&state), calls: sender };
    let bus = Builder::system().serve_at(PATH, plugin).build().await?;
    let mut manager = Owner::of(&bus, NETWORK_MANAGER).await?;
    let daemon = Owner::of(&bus, adit_dbus_api::names::BUS).await?;
    if !is_there(&bus).await {
        return Err(Error::Alone);
    }
    // The name comes last: NetworkManager calls when it sees it.
    bus.request_name_with_flags(bus_name, RequestNameFlags::DO_NOT_QUEUE).await?;
    let voice = Voice::new(&bus, &state)?;
    let Some((settings, interactive)) = first(&mut calls, &mut manager).await else {
        info!("nothing was asked for");
        return Ok(());
    };
    let mut bridge = Bridge { bus: bus.clone(), voice, calls, manager, daemon, interactive, codes: 0 };
    match bridge.run(&settings).await {
        Ended::Down => bridge.voice.state(State::Stopped).await,
        Ended::Failed(failure) => {
            let hint = failure.hint.as_deref().unwrap_or_default();
            let peer = failure.peer.as_deref().unwrap_or_default();
            error!(code = %failure.code, step = failure.step.as_str(), peer, hint, "{failure}");
            bridge.voice.failed(Reason::of(failure.code)).await;
            bridge.voice.state(State::Stopped).await;
        }
        Ended::Orphaned => {
            info!("NetworkManager is gone: the tunnel stays, and is handed back");
            // A new NetworkManager may count up to the same name: it must not find this process.
            bus.release_name(bus_name).await?;
            reclaim(&bus, &settings.uuid).await;
            return Ok(());
        }
    }
    // What was said has arrived when this is answered.
    bus.release_name(bus_name).await?;
    Ok(())
}

/// The connection that is wanted. `None`: none is.
async fn first(calls: &mut mpsc::Receiver<Call>, manager: &mut Owner) -> Option<(Box<Settings>, bool)> {
    let mut patience = FIRST_CALL;
    loop {
        tokio::select! {
            call = tokio::time::timeout(patience, calls.recv()) => match call.ok()?? {
                Call::Connect(settings, interactive) => return Some((settings, interactive)),
                Call::Asked => patience = PERSON,
                Call::Secrets(_) => {}
                Call::Disconnect => return None,
            },
            () = manager.gone() => return None,
        }
    }
}

/// A file, with the rights that this process was started with: `--read FILE`.
///
/// # Errors
/// It can't be read.
pub fn show(file: &str) -> std::io::Result<()> {
    crate::files::show(file)
}
