//! `auth`: connections with EAP that a responder lets in, whoever's, with whatever decides behind it.

use crate::against::complete;
use crate::clock;
use crate::figures::say;
use crate::load::Whom;
use crate::proof::EapArguments;

/// Whom to dial, and how often.
#[derive(clap::Args, Debug)]
pub struct Arguments {
    #[command(flatten)]
    whom: Whom,
    /// The number of its process
    #[arg(long)]
    process: u32,
    /// What the figures are called
    #[arg(long)]
    name: String,
    /// Connections
    #[arg(long)]
    count: usize,
    /// Connections that are on their way at a time
    #[arg(long, default_value_t = 8)]
    window: usize,
    #[command(flatten)]
    eap: EapArguments,
}

/// Dials before anything is measured: what is made once is made then.
const FIRST: usize = 5;

/// Measures, and says what it found.
///
/// # Errors
/// Somebody was not let in.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let mut load = arguments.whom.load(arguments.eap.proof()?)?;
    complete(&load.bring_up(FIRST, 1)?)?;
    let before = clock::cpu_of(arguments.process)?;
    let outcome = load.bring_up(arguments.count, arguments.window)?;
    complete(&outcome)?;
    let cpu = clock::cpu_of(arguments.process)?.saturating_sub(before);
    let each = cpu.as_secs_f64() * 1e3 / outcome.done.max(1) as f64;
    let name = &arguments.name;
    say(&format!("{name}: connections"), &outcome.done.to_string());
    say(&format!("{name}: connections a second"), &format!("{:.1}", outcome.rate()));
    say(&format!("{name}: the gateway's CPU each, ms"), &format!("{each:.1}"));
    say(
        &format!("{name}: from the first message, median, ms"),
        &format!("{:.0}", outcome.latency(0.5).as_secs_f64() * 1e3),
    );
    Ok(())
}
