//! From the command line to a daemon with its rights dropped.

use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use clap::Parser;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::BusChoice;
use crate::daemon::{Daemon, Doors, Settings};
use crate::handover::Handover;
use crate::rights::{drop_privileges, prepare_directories};

/// The Adit daemon: negotiates VPN tunnels and programs the kernel to carry them.
#[derive(Parser)]
#[command(name = "aditd", version, about)]
struct Arguments {
    /// Where profiles, server.toml, certificates and secrets are.
    #[arg(long, value_name = "DIR", default_value = "/etc/adit")]
    config: PathBuf,
    /// Where the daemon keeps its record of what it changed on this host.
    #[arg(long, value_name = "DIR", default_value = "/var/lib/adit")]
    state: PathBuf,
    /// The private socket, for hosts without a system bus.
    #[arg(long, value_name = "PATH", default_value = "/run/adit/aditd.sock")]
    socket: PathBuf,
    /// Whether to be on the system bus.
    #[arg(long, value_enum, default_value_t = BusChoice::Auto)]
    bus: BusChoice,
    /// Only has nothing leave in clear, if a profile says  block = "always" : before this host has a network.
    #[arg(long)]
    block_only: bool,
    /// Be there for who has started it, with a socket as standard input, and end with them: `ctl up --foreground`. Nothing comes
    /// up by itself, and no server is started.
    #[arg(long, hide = true, conflicts_with = "block_only")]
    foreground: bool,
    /// What to log: error, warn, info, debug or trace, or a filter such as adit_ikev2=debug.
    #[arg(long, value_name = "FILTER", default_value = "info")]
    log: String,
}

/// The whole program, with these doors.
pub fn main(doors: impl FnOnce() -> anyhow::Result<Doors>) -> ExitCode {
    match start(&Arguments::parse(), doors) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("aditd: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn start(arguments: &Arguments, doors: impl FnOnce() -> anyhow::Result<Doors>) -> anyhow::Result<()> {
    let filter: Targets = arguments.log.parse().with_context(|| {
        format!("--log \"{}\": allowed are error, warn, info, debug, trace", arguments.log)
    })?;
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(false);
    tracing_subscriber::registry().with(lines).with(filter).init();
    // Before anything else opens a descriptor.
    let handover = Handover::from_manager();
    // Capabilities belong to threads: they are dropped while there is only one.
    let run = arguments.socket.parent().unwrap_or(&arguments.state);
    prepare_directories(&[&arguments.state, run])?;
    drop_privileges()?;
    // Public-key work and calls that block have tokio's blocking pool, and D-Bus a thread of its own. What is left waits for others
    // most of the time: one thread does it without waking another.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let settings = Settings {
            config: arguments.config.clone(),
            state: arguments.state.clone(),
            socket: arguments.socket.clone(),
            bus: arguments.bus,
            credentials: environment("CREDENTIALS_DIRECTORY").map(PathBuf::from),
            foreground: arguments.foreground,
        };
        let whose = arguments.foreground.then(standard_input).transpose()?;
        let daemon = Arc::new(Daemon::new(settings, doors()?).with_handover(handover));
        match arguments.block_only {
            true => crate::block(&daemon).await,
            false => crate::run(daemon, whose).await,
        }
    })
}

fn standard_input() -> anyhow::Result<UnixStream> {
    let socket = std::io::stdin().as_fd().try_clone_to_owned().context("standard input")?;
    Ok(socket.into())
}

/// A variable of the daemon's environment.
#[expect(
    clippy::disallowed_methods,
    reason = "a host's proxy, and systemd's credentials, are told there, and nowhere else"
)]
pub(crate) fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}
