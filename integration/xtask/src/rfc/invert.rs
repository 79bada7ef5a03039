//! `--invert N`: the code at N citations does the opposite, one after the other, in a copy of the workspace; the tests
//! that cite the same demand have to fail.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use super::cite::{Citation, Side};
use super::demand::List;
use super::mutate::{Mutation, mutations};
use crate::shell::{cargo, output, root, run, target};

/// Edits that are tried at one citation before another one is drawn.
const TRIES: usize = 8;

/// Seconds that a build or the tests of an inversion may take: it may well go round for ever.
const PATIENCE: &str = "900";

/// What goes without optimisation: it is built anew for each inversion, and its tests take no time.
const OFTEN: [&str; 3] = ["adit-core", "adit-isakmp", "adit-ikev2"];

/// What became of one citation.
enum Outcome {
    Caught,
    Survived,
    /// No edit there is Rust.
    NotRust,
}

/// Inverts.
///
/// # Errors
/// If the copy can't be made, its tests don't pass as they are, or fewer than nine in ten inversions were seen.
pub(super) fn invert(lists: &[List], citations: &[Citation], count: usize, seed: u64) -> Result<(), String> {
    let mut copy = Copy::make()?;
    let samples = samples(lists, citations, seed);
    println!("{} citations in code have a test; sampling {count} with seed {seed}", samples.len());
    let (mut caught, mut done) = (0_usize, 0_usize);
    let mut survivors = Vec::new();
    for sample in samples {
        if done == count {
            break;
        }
        let begun = Instant::now();
        let (outcome, edit) = copy.try_one(&sample)?;
        let seconds = begun.elapsed().as_secs();
        let word = match outcome {
            Outcome::NotRust => {
                println!("  --        {} (no edit there compiles)", sample.citation);
                continue;
            }
            Outcome::Caught => "caught",
            Outcome::Survived => "SURVIVED",
        };
        done = done.saturating_add(1);
        println!("{done:>4} {word:<9} {} [{}] {seconds} s{edit}", sample.citation, sample.citation.id);
        match outcome {
            Outcome::Caught => caught = caught.saturating_add(1),
            _ => survivors.push(format!("{} [{}]{edit}", sample.citation, sample.citation.id)),
        }
    }
    println!("{caught} of {done} inversions were caught");
    survivors.iter().for_each(|s| println!("survived: {s}"));
    let enough = caught.saturating_mul(10) >= done.saturating_mul(9);
    if enough { Ok(()) } else { Err("fewer than nine in ten".into()) }
}

/// A citation in code, and the tests of the same demand.
struct Sample {
    citation: Citation,
    /// Names by package and test target, so that nothing is built but what cites.
    tests: BTreeMap<Target, Vec<String>>,
}

/// A test binary.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Target {
    package: String,
    /// The name below `tests/`; `None`: the unit tests.
    test: Option<String>,
}

impl Target {
    /// Where the tests of a file are.
    fn of(file: &Path) -> Option<Self> {
        let package = package(file)?;
        let mut parts = file.iter().skip_while(|part| *part != "tests" && *part != "cases" && *part != "src");
        let test = match parts.next()?.to_str()? {
            "src" => None,
            "cases" => Some("cases".to_owned()),
            _ => Some(Path::new(parts.next()?).file_stem()?.to_str()?.to_owned()),
        };
        Some(Self { package, test })
    }

    fn arguments(&self) -> Vec<&str> {
        let target = self.test.as_deref().map_or(vec!["--lib"], |name| vec!["--test", name]);
        [&["--package", self.package.as_str()][..], &target].concat()
    }
}

fn samples(lists: &[List], citations: &[Citation], seed: u64) -> Vec<Sample> {
    let known = |id: &str| lists.iter().any(|l| l.demands.iter().any(|d| d.id == id));
    let mut out = Vec::new();
    for citation in citations.iter().filter(|c| c.side == Side::Code && known(&c.id)) {
        let mut tests: BTreeMap<Target, Vec<String>> = BTreeMap::new();
        for test in citations.iter().filter(|c| c.side == Side::Test && c.id == citation.id) {
            if let (Some(target), Some(name)) = (Target::of(&test.file), &test.function) {
                tests.entry(target).or_default().push(name.clone());
            }
        }
        if !tests.is_empty() {
            out.push(Sample { citation: citation.clone(), tests });
        }
    }
    shuffle(&mut out, seed);
    out
}

/// Fisher and Yates, with splitmix64: the same seed is the same sample.
fn shuffle<T>(list: &mut [T], seed: u64) {
    let mut state = seed;
    for i in (1..list.len()).rev() {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        let j = usize::try_from(z % (i as u64 + 1)).unwrap_or(0);
        list.swap(i, j);
    }
}

/// The name in the nearest Cargo.toml above a file.
fn package(file: &Path) -> Option<String> {
    let manifest =
        file.ancestors().skip(1).map(|a| root().join(a).join("Cargo.toml")).find(|m| m.is_file())?;
    let table: toml::Table = fs::read_to_string(manifest).ok()?.parse().ok()?;
    Some(table.get("package")?.get("name")?.as_str()?.to_owned())
}

/// The workspace that is broken and mended again.
struct Copy {
    root: PathBuf,
    target: PathBuf,
    /// Test binaries that pass as they are.
    sound: BTreeSet<Target>,
}

impl Copy {
    fn make() -> Result<Self, String> {
        let base = target().join("rfc-invert");
        let copy = Self { root: base.join("workspace"), target: base.join("target"), sound: BTreeSet::new() };
        let listed = output(Command::new("git").current_dir(root()).args([
            "ls-files",
            "--cached",
            "--others",
            "--exclude-standard",
        ]))?;
        for file in listed.lines().map(Path::new) {
            mirror(&root().join(file), &copy.root.join(file))?;
        }
        Ok(copy)
    }

    /// Cargo on the copy, without a word.
    fn cargo(&self, patience: &str, target: &Target, arguments: &[&str]) -> Command {
        let program = cargo().get_program().to_owned();
        let mut command = Command::new("timeout");
        command.args(["--kill-after", "5", patience]).arg(program).args(["test", "--quiet"]);
        for package in OFTEN {
            command.arg("--config").arg(format!("profile.dev.package.{package}.opt-level=0"));
        }
        command.args(target.arguments()).args(arguments);
        command.current_dir(&self.root).env("CARGO_TARGET_DIR", &self.target);
        command.env_remove("CARGO_MANIFEST_DIR").env_remove("CARGO_MANIFEST_PATH");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command
    }

    fn passes(&self, target: &Target, arguments: &[&str]) -> Result<bool, String> {
        self.cargo(PATIENCE, target, arguments)
            .status()
            .map(|s| s.success())
            .map_err(|e| format!("cargo: {e}"))
    }

    /// Tests that fail anyhow prove nothing: they are run once as they are.
    fn sound(&mut self, target: &Target) -> Result<(), String> {
        let begun = Instant::now();
        // What it depends on is built here: that may take any time.
        let mut command = self.cargo("0", target, &["--no-run"]);
        command.stderr(Stdio::inherit());
        run(&mut command).map_err(|why| format!("before any inversion: {why}"))?;
        let name = target.arguments().join(" ");
        if !self.passes(target, &[])? {
            return Err(format!("before any inversion: cargo test {name} fails"));
        }
        println!("{name} passes as it is ({} s)", begun.elapsed().as_secs());
        self.sound.insert(target.clone());
        Ok(())
    }

    fn try_one(&mut self, sample: &Sample) -> Result<(Outcome, String), String> {
        let path = self.root.join(&sample.citation.file);
        let shown = |e| format!("{}: {e}", path.display());
        let text = fs::read_to_string(&path).map_err(shown)?;
        let mut outcome = Outcome::NotRust;
        let mut edit = String::new();
        for mutation in mutations(&text, sample.citation.line).iter().take(TRIES) {
            match self.judge(sample, &path, &text, &edited(&text, mutation))? {
                Outcome::NotRust => {}
                seen => {
                    let line = mutation.line.saturating_add(1);
                    edit = format!("\n       line {line}: {}", told(&mutation.after));
                    outcome = seen;
                    break;
                }
            }
        }
        fs::write(&path, text).map_err(shown)?;
        Ok((outcome, edit))
    }

    fn judge(&mut self, sample: &Sample, path: &Path, text: &str, broken: &str) -> Result<Outcome, String> {
        let write = |text: &str| fs::write(path, text).map_err(|e| format!("{}: {e}", path.display()));
        // The tests of the code's own package are built fastest, and see most.
        let own = package(&sample.citation.file);
        let mut targets: Vec<_> = sample.tests.iter().collect();
        targets.sort_by_key(|(target, _)| {
            (Some(&target.package) != own.as_ref(), target.package.contains("conformance"))
        });
        for (target, names) in targets {
            if !self.sound.contains(target) {
                write(text)?;
                self.sound(target)?;
            }
            write(broken)?;
            if !self.passes(target, &["--no-run"])? {
                return Ok(Outcome::NotRust);
            }
            let mut arguments = vec!["--no-fail-fast", "--"];
            arguments.extend(names.iter().map(String::as_str));
            if !self.passes(target, &arguments)? {
                return Ok(Outcome::Caught);
            }
        }
        Ok(Outcome::Survived)
    }
}

/// Copies a file that differs: what is the same keeps its time, and is not built again.
fn mirror(from: &Path, to: &Path) -> Result<(), String> {
    let Ok(bytes) = fs::read(from) else {
        return fs::remove_file(to).or(Ok(()));
    };
    if fs::read(to).is_ok_and(|there| there == bytes) {
        return Ok(());
    }
    let shown = |e| format!("{}: {e}", to.display());
    to.parent().map_or(Ok(()), fs::create_dir_all).map_err(shown)?;
    fs::write(to, bytes).map_err(shown)
}

fn edited(text: &str, mutation: &Mutation) -> String {
    let lines = text.lines().enumerate();
    let lines = lines.map(|(i, l)| if i == mutation.line { mutation.after.as_str() } else { l });
    lines.collect::<Vec<_>>().join("\n") + "\n"
}

fn told(after: &str) -> &str {
    if after.is_empty() { "(the statement is gone)" } else { after.trim() }
}
