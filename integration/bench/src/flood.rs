//! `flood`: spoofed first messages by the thousand, and honest clients who all get in.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::ensure;

use crate::clock;
use crate::daemon::Daemon;
use crate::load::{Load, Outcome, Target};
use crate::process::Memory;
use crate::report::Table;
use crate::spoof::Spoof;

/// What is wanted.
#[derive(clap::Args, Debug)]
pub struct Arguments {
    /// The daemon with recording doors
    #[arg(long, value_name = "PROGRAM")]
    daemon: PathBuf,
    /// The command line (not used)
    #[arg(long, value_name = "PROGRAM", hide = true)]
    ctl: Option<PathBuf>,
    /// Where the daemon's files go
    #[arg(long, value_name = "FOLDER")]
    work: PathBuf,
    /// How long it rains
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Spoofed first messages a second
    #[arg(long, default_value_t = 20_000)]
    rate: u64,
    /// Honest clients, spread over that time
    #[arg(long, default_value_t = 200)]
    clients: usize,
    /// A document that the figures go into
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
}

/// How often the daemon's memory is looked at.
const LOOK: Duration = Duration::from_millis(500);
/// What the daemon may grow by.
const MOST_GROWTH: u64 = 20_000_000;

struct Seen {
    idle: Memory,
    most: u64,
    cpu: Duration,
    time: Duration,
    sent: u64,
    honest: Outcome,
}

/// Floods, prints, and records where that is wanted.
///
/// # Errors
/// An honest client was not let in, or the daemon's memory grew by more than 20 MB.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let target = Target::here()?;
    let daemon = Daemon::start(&arguments.daemon, &arguments.work.join("flood"), &target)?;
    let seen = flood(arguments, &target, &daemon)?;
    let text = shown(arguments, &seen);
    print!("{text}");
    if let Some(document) = &arguments.record {
        crate::report::record(document, "flood", &text)?;
    }
    let why = seen.honest.why.as_deref().unwrap_or_default();
    ensure!(
        seen.honest.done == arguments.clients,
        "{} of {} honest clients got in: {why}",
        seen.honest.done,
        arguments.clients
    );
    ensure!(seen.most.saturating_sub(seen.idle.resident) <= MOST_GROWTH, "memory grew by more than 20 MB");
    Ok(())
}

fn flood(arguments: &Arguments, target: &Target, daemon: &Daemon) -> anyhow::Result<Seen> {
    let (idle, cpu, begun) = (daemon.process.memory()?, daemon.process.cpu()?, clock::now());
    let (over, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let flooding = {
        let (over, sent, rate, server) =
            (Arc::clone(&over), Arc::clone(&sent), arguments.rate, target.server);
        let spoof = Spoof::new(server, target)?;
        std::thread::spawn(move || spoof.run(rate, &over, &sent))
    };
    let honest = dial_meanwhile(arguments, target, daemon);
    over.store(true, Ordering::Release);
    let flooded = flooding.join().map_err(|_| anyhow::anyhow!("the flood broke off"))?;
    let (honest, most) = honest?;
    flooded?;
    Ok(Seen {
        idle,
        most,
        cpu: daemon.process.cpu()?.saturating_sub(cpu),
        time: clock::now().since(begun),
        sent: sent.load(Ordering::Acquire),
        honest,
    })
}

/// The honest clients, each from an address of its own, evenly over the time. Also the most memory that was seen.
fn dial_meanwhile(arguments: &Arguments, target: &Target, daemon: &Daemon) -> anyhow::Result<(Outcome, u64)> {
    let sources: Vec<IpAddr> = (0..arguments.clients).map(honest_address).collect();
    let mut load = Load::new(target.clone(), &sources)?;
    let begun = clock::now();
    let time = Duration::from_secs(arguments.seconds);
    let (mut most, mut looked) = (0, begun);
    let outcome = load.pace(arguments.clients, time, &mut |now| {
        if now.since(looked) >= LOOK {
            looked = now;
            most = most.max(daemon.process.memory().map_or(0, |m| m.resident));
        }
    })?;
    let most = most.max(daemon.process.memory()?.resident);
    Ok((outcome, most))
}

/// 127.1.x.y: the flood comes from elsewhere.
fn honest_address(number: usize) -> IpAddr {
    let [.., high, low] = u32::try_from(number).unwrap_or_default().saturating_add(1).to_be_bytes();
    Ipv4Addr::new(127, 1, high, low).into()
}

fn shown(arguments: &Arguments, seen: &Seen) -> String {
    let mut table = Table::new(&["", "aim", "seen"]);
    let mut row = |what: &str, aim: &str, cell: String| {
        table.row([what.to_owned(), aim.to_owned(), cell]);
    };
    let seconds = seen.time.as_secs_f64().max(f64::EPSILON);
    let grown = seen.most.saturating_sub(seen.idle.resident) as f64 / 1e6;
    let millis = |time: Duration| format!("{:.0}", time.as_secs_f64() * 1e3);
    row("spoofed first messages a second", "20000", format!("{:.0}", seen.sent as f64 / seconds));
    row("for seconds", "60", format!("{seconds:.0}"));
    let clients = arguments.clients;
    row(
        "honest clients that got in",
        &format!("{clients} of {clients}"),
        format!("{} of {clients}", seen.honest.done),
    );
    row("… after, median, ms", "", millis(seen.honest.latency(0.5)));
    row("… after, the last, ms", "", millis(seen.honest.latency(1.0)));
    row("memory above idle, most, MB", "20", format!("{grown:.1}"));
    row(
        "the daemon's CPU, of one processor",
        "",
        format!("{:.0} %", seen.cpu.as_secs_f64() / seconds * 100.0),
    );
    table.text()
}
