//! `ike`: what the daemon takes for an IKE_SA, while one thousand, five thousand, twenty thousand stand.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::ensure;

use crate::daemon::Daemon;
use crate::load::{Load, Outcome, Target};
use crate::primitives::{self, Line};
use crate::process::Memory;
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
    status: Duration,
}

struct Round {
    idle: Memory,
    points: Vec<Point>,
}

/// Measures, prints, and records where that is wanted. No figure makes it fail.
///
/// # Errors
/// The daemon does not start, or lets somebody not in.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let target = Target {
        server: ([127, 0, 0, 1], 500).into(),
        remote_id: "vpn.bench.example".parse()?,
        domain: "bench.example".into(),
        psk: "correct horse battery staple".into(),
        ike: "aes128gcm16-prfsha256-x25519".into(),
        esp: "aes128gcm16".into(),
    };
    let account = primitives::account(&target)?;
    let rounds =
        (0..arguments.rounds).map(|_| round(arguments, &target)).collect::<anyhow::Result<Vec<_>>>()?;
    let text = shown(arguments, &target, &account, &rounds);
    print!("{text}");
    match &arguments.record {
        Some(document) => report::record(document, "ike", &text),
        None => Ok(()),
    }
}

fn round(arguments: &Arguments, target: &Target) -> anyhow::Result<Round> {
    let daemon = Daemon::start(&arguments.daemon, &arguments.work.join("daemon"), target)?;
    let idle = daemon.process.memory()?;
    let mut load = Load::new(target.clone(), &[IpAddr::from([127, 0, 0, 1])])?;
    let mut points = Vec::new();
    for size in &arguments.sizes {
        let before = size.saturating_sub(STRETCH).saturating_sub(load.up());
        complete(&load.bring_up(before, arguments.window)?)?;
        let cpu = daemon.process.cpu()?;
        let stretch = size.saturating_sub(load.up());
        let outcome = load.bring_up(stretch, arguments.window)?;
        complete(&outcome)?;
        let per = |time: Duration| time / u32::try_from(stretch.max(1)).unwrap_or(u32::MAX);
        let cpu = per(daemon.process.cpu()?.saturating_sub(cpu));
        let (status, shown) = daemon.status(&arguments.ctl)?;
        ensure!(shown >= *size, "ctl status shows {shown} connections, and {size} stand");
        points.push(Point {
            size: *size,
            cpu,
            own_cpu: per(outcome.cpu),
            rate: outcome.rate(),
            median: outcome.latency(0.5),
            p99: outcome.latency(0.99),
            memory: daemon.process.memory()?,
            status,
        });
    }
    Ok(Round { idle, points })
}

fn complete(outcome: &Outcome) -> anyhow::Result<()> {
    ensure!(
        outcome.failed == 0,
        "{} IKE_SAs did not come up: {}",
        outcome.failed,
        outcome.why.as_deref().unwrap_or("")
    );
    Ok(())
}

/// The middle one.
fn median<T: PartialOrd + Copy + Default>(values: impl Iterator<Item = T>) -> T {
    let mut values: Vec<T> = values.collect();
    values.sort_by(|a, b| a.partial_cmp(b).unwrap_or(std::cmp::Ordering::Equal));
    values.get(values.len() / 2).copied().unwrap_or_default()
}

fn shown(arguments: &Arguments, target: &Target, account: &[Line], rounds: &[Round]) -> String {
    let sum = primitives::sum(account).as_secs_f64();
    let sizes = &arguments.sizes;
    let at = |figure: &dyn Fn(&Round, &Point) -> f64| -> Vec<f64> {
        let of_size = |n| median(rounds.iter().filter_map(|r| r.points.get(n).map(|p| figure(r, p))));
        (0..sizes.len()).map(of_size).collect()
    };
    let mut heads = vec!["", "aim"];
    let named: Vec<String> = sizes.iter().map(|n| format!("{n} SAs")).collect();
    heads.extend(named.iter().map(String::as_str));
    let mut table = Table::new(&heads);
    let mut row = |what: &str, aim: &str, cells: Vec<String>| {
        table.row([what.to_owned(), aim.to_owned()].into_iter().chain(cells));
    };
    let cpu = at(&|_, p| p.cpu.as_secs_f64());
    let fixed = |values: &[f64], unit: f64, digits: usize| -> Vec<String> {
        values.iter().map(|v| format!("{:.digits$}", v * unit)).collect()
    };
    row("CPU a SA, ms", "0.15", fixed(&cpu, 1e3, 3));
    row("… times the primitives", "1.5", fixed(&cpu, 1.0 / sum, 2));
    let first = cpu.first().copied().unwrap_or_default().max(f64::MIN_POSITIVE);
    row("… times that of the first size", "1.15", fixed(&cpu, 1.0 / first, 2));
    let grown = |p: &Point, idle: u64, now: u64| now.saturating_sub(idle) as f64 / p.size.max(1) as f64;
    let resident = at(&|r, p| grown(p, r.idle.resident, p.memory.resident));
    row("memory a SA, kB", "6", fixed(&resident, 1e-3, 1));
    row("ctl status, ms", "100", fixed(&at(&|_, p| p.status.as_secs_f64()), 1e3, 0));
    row("SAs a second (both ends on this machine)", "", fixed(&at(&|_, p| p.rate), 1.0, 0));
    row("latency, median, ms", "", fixed(&at(&|_, p| p.median.as_secs_f64()), 1e3, 1));
    row("latency, 99 of 100, ms", "", fixed(&at(&|_, p| p.p99.as_secs_f64()), 1e3, 1));
    row("our initiator's CPU a SA, ms", "", fixed(&at(&|_, p| p.own_cpu.as_secs_f64()), 1e3, 3));
    let idle = median(rounds.iter().map(|r| r.idle.resident)) as f64 / 1e6;
    let private = median(rounds.iter().map(|r| r.idle.private)) as f64 / 1e6;
    format!(
        "IKE_SA {}, CHILD_SA {}, pre-shared key; {} at a time; medians of {}.\n\n{}\n\
         Idle: {idle:.1} MB resident (aim: 8), {private:.1} MB of it private.\n\n{}",
        target.ike,
        target.esp,
        arguments.window,
        rounds.len(),
        table.text(),
        primitives::shown(account)
    )
}
