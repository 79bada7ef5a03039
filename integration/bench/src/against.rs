//! `against`: what a responder that already runs takes for an IKE_SA; any daemon's, which is how two are compared.

use std::time::Duration;

use anyhow::ensure;

use crate::clock;
use crate::figures::say;
use crate::load::{Outcome, Rekey, Whom};
use crate::process::{Memory, memory_of};
use crate::proof::Proof;

/// Whom to dial, and how often.
#[derive(clap::Args, Debug)]
pub struct Arguments {
    #[command(flatten)]
    whom: Whom,
    /// The number of its process
    #[arg(long)]
    process: u32,
    /// Everybody's PSK
    #[arg(long)]
    psk: String,
    /// IKE_SAs
    #[arg(long)]
    count: usize,
    /// IKE_SAs that are on their way at a time
    #[arg(long, default_value_t = 16)]
    window: usize,
    /// How many of them are rekeyed
    #[arg(long)]
    rekeys: usize,
}

/// Dials before anything is measured: what is made once is made then.
const FIRST: usize = 20;

/// Measures, and says what it found.
///
/// # Errors
/// Somebody was not let in, or was not rekeyed.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let idle = memory_of(arguments.process)?;
    let mut load = arguments.whom.load(Proof::Psk(arguments.psk.clone()))?;
    complete(&load.bring_up(FIRST, 1)?)?;
    let count = arguments.count.saturating_sub(FIRST);
    let (outcome, cpu) = timed(arguments, || load.bring_up(count, arguments.window))?;
    let memory = memory_of(arguments.process)?;
    say("idle, MB resident", &format!("{:.1}", idle.resident as f64 / 1e6));
    say("IKE_SAs", &load.up().to_string());
    say_work("SAs", &outcome, cpu);
    say("memory an SA, kB", &format!("{:.1}", grown(idle, memory, load.up()) / 1e3));
    for (what, name) in [(Rekey::Ike, "rekeys of the IKE_SA"), (Rekey::Child, "rekeys of the CHILD_SA")] {
        let (outcome, cpu) = timed(arguments, || load.rekey(what, arguments.rekeys, arguments.window))?;
        say_work(name, &outcome, cpu);
    }
    Ok(())
}

fn timed(
    arguments: &Arguments,
    work: impl FnOnce() -> anyhow::Result<Outcome>,
) -> anyhow::Result<(Outcome, Duration)> {
    let before = clock::cpu_of(arguments.process)?;
    let outcome = work()?;
    complete(&outcome)?;
    Ok((outcome, clock::cpu_of(arguments.process)?.saturating_sub(before)))
}

fn say_work(what: &str, outcome: &Outcome, cpu: Duration) {
    let each = cpu.as_secs_f64() * 1e3 / outcome.done.max(1) as f64;
    say(&format!("{what}: CPU each, ms"), &format!("{each:.2}"));
    say(&format!("{what} a second"), &format!("{:.0}", outcome.rate()));
}

fn grown(idle: Memory, now: Memory, count: usize) -> f64 {
    now.resident.saturating_sub(idle.resident) as f64 / count.max(1) as f64
}

/// Everybody was let in.
pub(crate) fn complete(outcome: &Outcome) -> anyhow::Result<()> {
    let why = outcome.why.as_deref().unwrap_or_default();
    ensure!(outcome.failed == 0, "{} of {} failed: {why}", outcome.failed, outcome.failed + outcome.done);
    Ok(())
}
