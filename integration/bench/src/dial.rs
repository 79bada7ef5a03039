//! `dial`: many clients of one server from one process, up until SIGTERM; for scenarios of the lab.

use std::time::Duration;

use anyhow::ensure;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use crate::load::Whom;
use crate::proof::Proof;

/// Whom to dial, and how often.
#[derive(clap::Args, Debug)]
pub struct Arguments {
    #[command(flatten)]
    whom: Whom,
    /// Everybody's PSK
    #[arg(long)]
    psk: String,
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
    let mut load = arguments.whom.load(Proof::Psk(arguments.psk.clone()))?;
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
