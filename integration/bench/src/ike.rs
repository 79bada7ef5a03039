//! `ike`: what the daemon takes for an IKE_SA, while one thousand, five thousand, twenty thousand stand.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::ensure;

use crate::against::complete;
use crate::charon;
use crate::daemon::Daemon;
use crate::load::{Load, Rekey, Target};
use crate::primitives::{self, Line};
use crate::process::{Measured, Memory, memory_of};
use crate::report::{self, Table};

/// What is wanted.
#[derive(clap::Args, Debug)]
pub struct Arguments {
    /// The daemon with recording doors
    #[arg(long, value_name = "PROGRAM")]
    daemon: PathBuf,
    /// The command line
    #[arg(long, value_name = "PROGRAM")]
    ctl: PathBuf,
    /// strongSwan's charon, for comparison: one that has the load-tester plugin
    #[arg(long, value_name = "PROGRAM")]
    charon: Option<PathBuf>,
    /// Where the daemon's files go
    #[arg(long, value_name = "FOLDER")]
    work: PathBuf,
    /// How many IKE_SAs stand when it is measured
    #[arg(long, value_delimiter = ',', default_values_t = [1000, 5000, 20_000])]
    sizes: Vec<usize>,
    /// IKE_SAs that are on their way at a time
    #[arg(long, default_value_t = 32)]
    window: usize,
    /// How often the whole is done; each figure is the median
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// A document that the figures go into
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
}

/// Where we dial from.
const SOURCE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
/// IKE_SAs over which a cost is taken.
const STRETCH: usize = 1000;

/// What was measured when `size` IKE_SAs stood.
struct Point {
    size: usize,
    /// The daemon's processor time for one of the last [`STRETCH`].
    cpu: Duration,
    /// Ours.
    own_cpu: Duration,
    rate: f64,
    median: Duration,
    p99: Duration,
    /// The daemon's.
    memory: Memory,
    /// Ours, grown since there was none.
    own_memory: u64,
    status: Duration,
}

/// What it took to rekey, when the largest number stood.
#[derive(Clone, Copy)]
struct Rekeys {
    cpu: Duration,
    own_cpu: Duration,
    rate: f64,
}

struct Round {
    idle: Memory,
    points: Vec<Point>,
    /// Of IKE_SAs, and of CHILD_SAs.
    rekeys: [Rekeys; 2],
}

/// Measures, prints, and records where that is wanted. No figure makes it fail.
///
/// # Errors
/// The daemon does not start, or lets somebody not in.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let target = Target::here()?;
    let account = primitives::account(&target)?;
    let (mut rounds, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..arguments.rounds {
        rounds.push(ours(arguments, &target)?);
        if let Some(program) = &arguments.charon {
            theirs.push(charon(arguments, program, &target)?);
        }
    }
    let text = shown(arguments, &target, &account, (&rounds, &theirs));
    print!("{text}");
    match &arguments.record {
        Some(document) => report::record(document, "ike", &text),
        None => Ok(()),
    }
}

/// With the daemon.
fn ours(arguments: &Arguments, target: &Target) -> anyhow::Result<Round> {
    let daemon = Daemon::start(&arguments.daemon, &arguments.work.join("daemon"), target)?;
    let idle = daemon.process.memory()?;
    let load = Load::new(target.clone(), &[SOURCE])?;
    round(arguments, &daemon.process, idle, load, &|size| {
        let (time, shown) = daemon.status(&arguments.ctl)?;
        ensure!(shown >= size, "ctl status shows {shown} connections, and {size} stand");
        Ok(time)
    })
}

/// With charon. Its first IKE_SA shows that it listens.
fn charon(arguments: &Arguments, program: &Path, target: &Target) -> anyhow::Result<Round> {
    let process = charon::start(program, &arguments.work.join("charon"), target)?;
    let mut load = Load::new(Target { addresses: false, ..target.clone() }, &[SOURCE])?;
    complete(&load.bring_up(1, 1)?)?;
    let idle = process.memory()?;
    round(arguments, &process, idle, load, &|_| Ok(Duration::ZERO))
}

fn round(
    arguments: &Arguments,
    responder: &Measured,
    idle: Memory,
    mut load: Load,
    status: &dyn Fn(usize) -> anyhow::Result<Duration>,
) -> anyhow::Result<Round> {
    let (mut points, own_idle) = (Vec::new(), memory_of(std::process::id())?);
    for size in &arguments.sizes {
        let before = size.saturating_sub(STRETCH).saturating_sub(load.up());
        complete(&load.bring_up(before, arguments.window)?)?;
        let cpu = responder.cpu()?;
        let stretch = size.saturating_sub(load.up());
        let outcome = load.bring_up(stretch, arguments.window)?;
        complete(&outcome)?;
        let cpu = each(responder.cpu()?.saturating_sub(cpu), stretch);
        let own_memory = memory_of(std::process::id())?.resident.saturating_sub(own_idle.resident);
        // Before anybody asks for a list, which takes memory too.
        let memory = responder.memory()?;
        points.push(Point {
            size: *size,
            cpu,
            own_cpu: each(outcome.cpu, stretch),
            rate: outcome.rate(),
            median: outcome.latency(0.5),
            p99: outcome.latency(0.99),
            memory,
            own_memory,
            status: status(*size)?,
        });
    }
    let mut rekeys = |what| -> anyhow::Result<Rekeys> {
        let before = responder.cpu()?;
        let outcome = load.rekey(what, STRETCH, arguments.window)?;
        complete(&outcome)?;
        let cpu = each(responder.cpu()?.saturating_sub(before), outcome.done);
        Ok(Rekeys { cpu, own_cpu: each(outcome.cpu, outcome.done), rate: outcome.rate() })
    };
    let rekeys = [rekeys(Rekey::Ike)?, rekeys(Rekey::Child)?];
    Ok(Round { idle, points, rekeys })
}

fn each(time: Duration, count: usize) -> Duration {
    time / u32::try_from(count.max(1)).unwrap_or(u32::MAX)
}

/// The middle one.
fn median<T: PartialOrd + Copy + Default>(values: impl Iterator<Item = T>) -> T {
    let mut values: Vec<T> = values.collect();
    values.sort_by(|a, b| a.partial_cmp(b).unwrap_or(std::cmp::Ordering::Equal));
    values.get(values.len() / 2).copied().unwrap_or_default()
}

fn shown(
    arguments: &Arguments,
    target: &Target,
    account: &[Line],
    (rounds, theirs): (&[Round], &[Round]),
) -> String {
    let sum = primitives::sum(account).as_secs_f64();
    let mut heads = vec![String::new(), "aim".to_owned()];
    heads.extend(arguments.sizes.iter().map(|n| format!("{n} SAs")));
    let mut table = Table::new(&heads.iter().map(String::as_str).collect::<Vec<_>>());
    let mut row = |what: &str, aim: &str, values: Vec<f64>, unit: f64, digits: usize| {
        let cells = values.iter().map(|v| format!("{:.digits$}", v * unit));
        table.row([what.to_owned(), aim.to_owned()].into_iter().chain(cells));
    };
    let cpu = at(rounds, &|_, p| p.cpu.as_secs_f64());
    let first = cpu.first().copied().unwrap_or_default().max(f64::MIN_POSITIVE);
    row("CPU a SA, ms", "0.15", cpu.clone(), 1e3, 3);
    row("… times the primitives", "1.5", cpu.clone(), 1.0 / sum, 2);
    row("… times that of the first size", "1.15", cpu, 1.0 / first, 2);
    row("memory a SA, kB", "6", at(rounds, &grown), 1e-3, 1);
    row("ctl status, ms", "100", at(rounds, &|_, p| p.status.as_secs_f64()), 1e3, 0);
    row("SAs a second (both ends on this machine)", "", at(rounds, &|_, p| p.rate), 1.0, 0);
    row("latency, median, ms", "", at(rounds, &|_, p| p.median.as_secs_f64()), 1e3, 1);
    row("latency, 99 of 100, ms", "", at(rounds, &|_, p| p.p99.as_secs_f64()), 1e3, 1);
    row("our initiator's CPU a SA, ms", "", at(rounds, &|_, p| p.own_cpu.as_secs_f64()), 1e3, 3);
    row("our initiator's memory a SA, kB", "", at(rounds, &own_grown), 1e-3, 1);
    if !theirs.is_empty() {
        row("charon: CPU a SA, ms", "", at(theirs, &|_, p| p.cpu.as_secs_f64()), 1e3, 3);
        row("charon: memory a SA, kB", "", at(theirs, &grown), 1e-3, 1);
        row("charon: SAs a second", "", at(theirs, &|_, p| p.rate), 1.0, 0);
    }
    format!(
        "IKE_SA {}, CHILD_SA {}, pre-shared key; {} at a time; medians of {}.\n\n{}\n{}\n\n{}\n{}",
        target.ike,
        target.esp,
        arguments.window,
        rounds.len(),
        table.text(),
        idle(rounds, theirs),
        rekeys(rounds, theirs),
        primitives::shown(account)
    )
}

fn idle(rounds: &[Round], theirs: &[Round]) -> String {
    let megabytes = |values: &mut dyn Iterator<Item = u64>| median(values) as f64 / 1e6;
    let mut text = format!(
        "Idle: {:.1} MB resident (aim: 8), {:.1} MB of it private.",
        megabytes(&mut rounds.iter().map(|r| r.idle.resident)),
        megabytes(&mut rounds.iter().map(|r| r.idle.private))
    );
    if !theirs.is_empty() {
        let resident = megabytes(&mut theirs.iter().map(|r| r.idle.resident));
        text.push_str(&format!(" charon, after its first SA: {resident:.1} MB resident."));
    }
    text
}

/// Rekeys that the initiator begins, while the largest number of IKE_SAs stands.
fn rekeys(rounds: &[Round], theirs: &[Round]) -> String {
    let mut table = Table::new(&["rekeys", "CPU each, ms", "our initiator's, ms", "a second"]);
    for (who, rounds) in [("", rounds), ("charon: ", theirs)] {
        for (name, n) in [("IKE_SA", 0), ("CHILD_SA", 1)] {
            let of = |figure: fn(&Rekeys) -> f64| {
                median(rounds.iter().filter_map(|r| r.rekeys.get(n)).map(figure))
            };
            if !rounds.is_empty() {
                table.row([
                    format!("{who}{name}"),
                    format!("{:.3}", of(|r| r.cpu.as_secs_f64()) * 1e3),
                    format!("{:.3}", of(|r| r.own_cpu.as_secs_f64()) * 1e3),
                    format!("{:.0}", of(|r| r.rate)),
                ]);
            }
        }
    }
    table.text()
}

/// The median of a figure, at each size.
fn at(rounds: &[Round], figure: &dyn Fn(&Round, &Point) -> f64) -> Vec<f64> {
    let sizes = rounds.first().map_or(0, |r| r.points.len());
    let of_size = |n| median(rounds.iter().filter_map(|r| r.points.get(n).map(|p| figure(r, p))));
    (0..sizes).map(of_size).collect()
}

fn own_grown(_: &Round, point: &Point) -> f64 {
    point.own_memory as f64 / point.size.max(1) as f64
}

/// Bytes of memory for each SA that stands.
fn grown(round: &Round, point: &Point) -> f64 {
    point.memory.resident.saturating_sub(round.idle.resident) as f64 / point.size.max(1) as f64
}
