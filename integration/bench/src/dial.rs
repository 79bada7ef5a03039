//! `dial`: many clients of one server from one process, up until SIGTERM; for scenarios of the lab.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::ensure;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use crate::load::{Load, Target};
use crate::proof::Proof;

/// Whom to dial, and how often.
#[derive(clap::Args, Debug)]
pub struct Arguments {
    /// The server
    #[arg(long)]
    server: SocketAddr,
    /// Who it proves to be
    #[arg(long)]
    remote_id: String,
    /// Clients are c0@, c1@ … this domain
    #[arg(long)]
    domain: String,
    /// Everybody's PSK
    #[arg(long)]
    psk: String,
    /// Addresses of this host to dial from, in turn
    #[arg(long, value_delimiter = ',')]
    from: Vec<IpAddr>,
    /// How many
    #[arg(long)]
    count: usize,
    /// How many are on their way at a time
    #[arg(long, default_value_t = 16)]
    window: usize,
}

/// Brings them up, says so, and answers for them until SIGTERM.
///
/// # Errors
/// That not all came up.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let mut end = SigSet::empty();
    end.add(Signal::SIGTERM);
    end.thread_block()?;
    let end = SignalFd::with_flags(&end, SfdFlags::SFD_NONBLOCK)?;
    let target = Target {
        server: arguments.server,
        remote_id: arguments.remote_id.parse()?,
        domain: arguments.domain.clone(),
        proof: Proof::Psk(arguments.psk.clone()),
        ike: "aes128gcm16-prfsha256-x25519".to_owned(),
        esp: "aes128gcm16".to_owned(),
        addresses: true,
    };
    let mut load = Load::new(target, &arguments.from)?;
    let outcome = load.bring_up(arguments.count, arguments.window)?;
    let why = outcome.why.as_deref().unwrap_or_default();
    ensure!(outcome.failed == 0, "{} of {} did not come up: {why}", outcome.failed, arguments.count);
    println!(
        "{} clients are up: {:.1} s, {:.0} a second",
        load.up(),
        outcome.wall.as_secs_f64(),
        outcome.rate()
    );
    while !matches!(end.read_signal(), Ok(Some(_))) {
        load.serve(Duration::from_millis(200))?;
    }
    println!("{} clients are left", load.up());
    Ok(())
}
