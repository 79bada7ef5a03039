//! `cargo xtask fuzz`: every fuzz target for a while, on the stable toolchain and without cargo-fuzz.
//!
//! Coverage comes from LLVM's own pass, which stable rustc takes as `-C` options. AddressSanitizer does not:
//! `RUSTC_BOOTSTRAP` lets this build, and only this one, have it.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use crate::shell;

const USAGE: &str = "cargo xtask fuzz [--list] [--seeds] [--seconds N] [--jobs N] [TARGET…]

  --list       the targets
  --seeds      write the seed corpus anew, from realistic messages
  --seconds N  how long each target runs (60); 0: only what is in the corpus
  --jobs N     how many run at once (1)";

/// The longest input that is tried; whole messages may be longer than payloads.
const MAX_LEN: usize = 4096;
const MAX_MESSAGE_LEN: usize = 16_384;

const COVERAGE: &[&str] = &[
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Zsanitizer=address",
];

/// Runs the fuzz targets.
///
/// # Errors
/// Wrong arguments, a build that failed, or a finding.
pub(crate) fn fuzz(arguments: &[String]) -> Result<(), String> {
    let wanted = Wanted::parse(arguments)?;
    let known = targets()?;
    if let Some(unknown) = wanted.targets.iter().find(|t| !known.contains(t)) {
        return Err(format!("no fuzz target {unknown:?}; there are {}", known.join(", ")));
    }
    if wanted.list {
        known.iter().for_each(|target| println!("{target}"));
        return Ok(());
    }
    if wanted.seeds {
        let mut command = cargo();
        return shell::run(command.args(["run", "--quiet", "--release", "--bin", "seeds", "--", "corpus"]));
    }
    let targets = if wanted.targets.is_empty() { known } else { wanted.targets.clone() };
    let binaries = build(&targets)?;
    let results = run_all(&targets, &binaries, &wanted)?;
    let failed = results.iter().filter(|passed| !**passed).count();
    println!("{} passed, {failed} failed", results.len().saturating_sub(failed));
    if failed == 0 { Ok(()) } else { Err("the fuzzer found something".into()) }
}

struct Wanted {
    list: bool,
    seeds: bool,
    seconds: u64,
    jobs: usize,
    targets: Vec<String>,
}

impl Wanted {
    fn parse(arguments: &[String]) -> Result<Self, String> {
        let mut out = Self { list: false, seeds: false, seconds: 60, jobs: 1, targets: Vec::new() };
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            match argument.as_str() {
                "--list" => out.list = true,
                "--seeds" => out.seeds = true,
                "--seconds" => out.seconds = number(argument, rest.next())?,
                "--jobs" => out.jobs = number::<usize>(argument, rest.next())?.max(1),
                "--help" | "-h" => return Err(USAGE.into()),
                option if option.starts_with('-') => return Err(format!("no option {option}\n\n{USAGE}")),
                target => out.targets.push(target.to_owned()),
            }
        }
        Ok(out)
    }
}

fn number<N: std::str::FromStr>(option: &str, value: Option<&String>) -> Result<N, String> {
    let value = value.ok_or_else(|| format!("{option} takes a number"))?;
    value.parse().map_err(|_| format!("{option} takes a number, not {value:?}"))
}

fn folder() -> PathBuf {
    shell::root().join("integration/fuzz")
}

fn work() -> PathBuf {
    shell::target().join("fuzz")
}

/// One target a file.
fn targets() -> Result<Vec<String>, String> {
    let folder = folder().join("targets");
    let entries = fs::read_dir(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    let mut names: Vec<String> = entries
        .filter_map(|entry| Some(entry.ok()?.path().file_stem()?.to_string_lossy().into_owned()))
        .collect();
    names.sort();
    Ok(names)
}

/// Cargo in the fuzz crate's own workspace, building where nothing else does.
fn cargo() -> Command {
    let mut command = shell::cargo();
    command.current_dir(folder()).env("CARGO_TARGET_DIR", work());
    command
}

/// That the targets still fit what they call, and their lock file what they need.
///
/// # Errors
/// What cargo found.
pub(crate) fn check() -> Result<(), String> {
    let mut command = cargo();
    command.args(["check", "--quiet", "--locked", "--all-targets"]);
    if !shell::has("c++") {
        println!("libFuzzer needs c++, which is not here: the lock file alone is checked");
        command = cargo();
        command.args(["metadata", "--locked", "--format-version", "1"]).stdout(Stdio::null());
    }
    shell::run(&mut command)
}

/// Builds the targets; returns the folder of their binaries.
fn build(targets: &[String]) -> Result<PathBuf, String> {
    let version = shell::output(Command::new("rustc").arg("-vV"))?;
    let host =
        version.lines().find_map(|line| line.strip_prefix("host: ")).ok_or("rustc -vV names no host")?;
    // With --target the flags are not for build scripts and procedural macros.
    let mut command = cargo();
    command.env("RUSTC_BOOTSTRAP", "1").env("CARGO_ENCODED_RUSTFLAGS", COVERAGE.join("\u{1f}"));
    command.args(["build", "--release", "--locked", "--target", host]);
    for target in targets {
        command.args(["--bin", target]);
    }
    shell::run(&mut command)?;
    Ok(work().join(host).join("release"))
}

/// Runs them, `jobs` at once, and tells of each whether nothing was found.
fn run_all(targets: &[String], binaries: &Path, wanted: &Wanted) -> Result<Vec<bool>, String> {
    let mut results = Vec::new();
    for group in targets.chunks(wanted.jobs) {
        let running: Vec<Running> = group
            .iter()
            .map(|target| Running::start(target, binaries, wanted.seconds))
            .collect::<Result<_, _>>()?;
        for one in running {
            results.push(one.finish()?);
        }
    }
    Ok(results)
}

struct Running {
    target: String,
    child: Child,
    log: PathBuf,
}

impl Running {
    fn start(target: &str, binaries: &Path, seconds: u64) -> Result<Self, String> {
        let found = made(work().join("found").join(target))?;
        let artifacts = made(work().join("artifacts").join(target))?;
        let log = made(work().join("log"))?.join(format!("{target}.log"));
        let file = File::create(&log).map_err(|e| format!("{}: {e}", log.display()))?;
        let twin = file.try_clone().map_err(|e| format!("{}: {e}", log.display()))?;
        let whole = target.ends_with("_message") || target.ends_with("_sk");
        let mut command = Command::new(binaries.join(target));
        command
            .arg(format!("-max_len={}", if whole { MAX_MESSAGE_LEN } else { MAX_LEN }))
            .arg(format!("-artifact_prefix={}/", artifacts.display()))
            .args(["-rss_limit_mb=1024", "-malloc_limit_mb=64", "-timeout=5", "-print_final_stats=1"])
            .arg(if seconds == 0 { "-runs=0".into() } else { format!("-max_total_time={seconds}") })
            // New inputs go to the first folder; the second is the committed corpus, where there is one.
            .arg(found)
            .args(Some(folder().join("corpus").join(target)).filter(|corpus| corpus.is_dir()))
            .stdin(Stdio::null())
            .stdout(file)
            .stderr(twin);
        let child = command.spawn().map_err(|e| format!("{target}: {e}"))?;
        Ok(Self { target: target.to_owned(), child, log })
    }

    fn finish(mut self) -> Result<bool, String> {
        let status = self.child.wait().map_err(|e| format!("{}: {e}", self.target))?;
        let text =
            fs::read(&self.log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
        let runs = text
            .lines()
            .find_map(|line| line.strip_prefix("stat::number_of_executed_units:"))
            .map_or("?", str::trim);
        if status.success() {
            println!("ok    {}: {runs} runs", self.target);
        } else {
            let end: Vec<&str> = text.lines().rev().take(25).collect();
            end.iter().rev().for_each(|line| println!("      {line}"));
            println!("FAIL  {}: {status}; all of it: {}", self.target, self.log.display());
        }
        Ok(status.success())
    }
}

fn made(folder: PathBuf) -> Result<PathBuf, String> {
    fs::create_dir_all(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    Ok(folder)
}
