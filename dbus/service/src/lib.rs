//! `aditd` as a library: the daemon's own `main` and `aditd-record` (the daemon with recording doors) share it.

mod blocking;
pub mod bus;
pub mod client;
pub mod clock;
pub mod credentials;
pub mod daemon;
mod dhcp;
pub mod doctor;
mod eap_tls;
pub mod esp;
pub mod files;
pub mod handover;
pub mod host;
pub mod ike;
mod l2tp;
mod lanes;
mod local;
mod logbook;
mod names;
mod ppp;
mod pptp;
mod radius;
pub mod raise;
pub mod registry;
mod revocation;
pub mod rights;
pub mod server;
mod sstp;
mod start;
pub mod suites;
mod tls;
mod token;
pub mod uplinks;
mod wire;

use std::os::unix::net::UnixStream;
use std::sync::Arc;

use anyhow::Context;
use clap::ValueEnum;
use sd_notify::NotifyState;
use tokio::signal::unix::{SignalKind, signal};
use tracing::{error, info, warn};

use daemon::Daemon;
pub use start::main;

/// Whether to be on the system bus.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, ValueEnum)]
pub enum BusChoice {
    /// If there is one.
    #[default]
    Auto,
    /// Yes, and fail where there is none.
    System,
    /// No: the private socket only.
    None,
}

/// Tells the service manager that this thread, which serves all connections, and that of D-Bus still take their turns. Without a
/// watchdog: never.
async fn beat(pulse: &mut Option<tokio::time::Interval>, buses: &bus::Buses) {
    let Some(pulse) = pulse else { return std::future::pending().await };
    pulse.tick().await;
    buses.turn().await;
    let _ = sd_notify::notify(&[NotifyState::Watchdog]);
}

/// Has nothing leave in clear, if a profile wants that whether a daemon runs or not. It stays so.
///
/// # Errors
/// It is not so.
pub async fn block(daemon: &Daemon) -> anyhow::Result<()> {
    daemon.block_as_profiles_say().await.map_err(|failure| anyhow::anyhow!("block = \"always\": {failure}"))
}

/// Runs the daemon until it is told to stop (SIGTERM, SIGINT), or whom it is there for has gone, then takes everything down and
/// undoes it. `whose`: the socket to the one that it is there for, if it is.
///
/// # Errors
/// What keeps it from starting. What goes wrong later is logged and shown where it belongs.
pub async fn run(daemon: Arc<Daemon>, whose: Option<UnixStream>) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    if let Err(error) = clock::watch_suspends() {
        warn!(%error, "what is due while the machine is suspended will be done late");
    }
    // Before anything is undone, which another daemon may have done and still need.
    let socket = bus::socket(&daemon).context("offering org.adit1")?;
    daemon.reconcile().await;
    daemon.read_profiles();
    // Names are told to others on the bus as soon as something goes on; who asks for it finds all that goes on.
    let mut buses = bus::join(&daemon, socket).await.context("offering org.adit1")?;
    daemon.go_on();
    buses.offer(&daemon).await.context("offering org.adit1")?;
    if let Err(failure) = daemon.carry_out().await {
        // A server that cannot start must not keep this host's own connections from working.
        error!(code = %failure.code, hint = failure.hint.as_deref().unwrap_or(""), "server: {failure}");
    }
    daemon.end_left_clients().await;
    let _ = sd_notify::notify(&[NotifyState::Ready]);
    info!(version = env!("CARGO_PKG_VERSION"), "ready");
    let gone = buses.until_gone(whose, &daemon);
    tokio::pin!(gone);
    let mut pulse = sd_notify::watchdog_enabled().map(|limit| tokio::time::interval(limit / 3));
    let mut told = false;
    loop {
        tokio::select! {
            () = beat(&mut pulse, &buses) => {}
            _ = terminate.recv() => {
                told = true;
                break;
            }
            _ = interrupt.recv() => break,
            () = &mut gone => break,
            _ = hangup.recv() => {
                if let Err(failure) = daemon.reload().await {
                    error!(code = %failure.code, "reload: {failure}");
                }
            }
        }
    }
    let _ = sd_notify::notify(&[NotifyState::Stopping]);
    if told && handover::is_pending().await {
        info!("restarting: what can go on stays as it is");
        daemon.leave().await;
    } else {
        info!("stopping: taking every connection down");
        daemon.stop().await;
    }
    drop(buses);
    Ok(())
}
