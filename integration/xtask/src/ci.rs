//! `cargo xtask ci` and `cargo xtask test`: the same for a person and for CI.

use std::{process::Command, time::Instant};

use crate::{
    edges, fuzz, lab, rfc,
    shell::{cargo, run},
};

type Part = (&'static str, fn() -> Result<(), String>);

const CHECKS: [Part; 6] = [
    ("format", format),
    ("clippy", clippy),
    ("fuzz targets", fuzz::check),
    ("edges", edges::check),
    ("RFC citations", rfc::check),
    ("deny", deny),
];
const TESTS: [Part; 2] = [("unit and simulation tests", tests), ("lab, set ci", lab_ci)];

/// Everything that CI checks.
///
/// # Errors
/// The parts that failed.
pub(crate) fn ci() -> Result<(), String> {
    parts(CHECKS.iter().chain(&TESTS))
}

/// The tests alone.
///
/// # Errors
/// The parts that failed.
pub(crate) fn test() -> Result<(), String> {
    parts(TESTS.iter())
}

/// All parts are run, whatever fails before them, so that one run shows all that is wrong.
fn parts<'a>(parts: impl Iterator<Item = &'a Part>) -> Result<(), String> {
    let mut failed = Vec::new();
    let mut lines = Vec::new();
    for (name, part) in parts {
        println!("\n=== {name}");
        let begun = Instant::now();
        let done = part();
        let seconds = begun.elapsed().as_secs_f64();
        if let Err(why) = &done {
            eprintln!("{why}");
            failed.push(*name);
        }
        lines.push(format!("{:<8} {name} ({seconds:.1} s)", if done.is_ok() { "ok" } else { "FAILED" }));
    }
    println!("\n=== all\n{}", lines.join("\n"));
    if failed.is_empty() { Ok(()) } else { Err(format!("failed: {}", failed.join(", "))) }
}

fn format() -> Result<(), String> {
    run(cargo().args(["fmt", "--all", "--check"]))
}

fn clippy() -> Result<(), String> {
    run(cargo().args(["clippy", "--quiet", "--workspace", "--all-targets", "--", "-D", "warnings"]))
}

fn tests() -> Result<(), String> {
    lab::test_packages()?;
    run(cargo().args(["test", "--quiet", "--workspace"]))
}

fn lab_ci() -> Result<(), String> {
    lab::lab(&[])
}

/// Licences, bans and sources; advisories where their database can be reached.
///
/// # Errors
/// What cargo-deny found.
pub(crate) fn deny() -> Result<(), String> {
    let there = cargo().args(["deny", "--version"]).output().is_ok_and(|output| output.status.success());
    if !there {
        println!("cargo-deny is not here: installing it");
        run(cargo().args(["install", "--quiet", "--locked", "cargo-deny"]))?;
    }
    run(cargo().args(["deny", "--log-level", "error", "check", "bans", "licenses", "sources"]))?;
    if advisories_reachable() {
        run(cargo().args(["deny", "--log-level", "error", "check", "advisories"]))
    } else {
        println!("advisories: skipped: their database can't be reached from here");
        Ok(())
    }
}

/// Whether the RustSec database answers, within a few seconds.
fn advisories_reachable() -> bool {
    let mut git = Command::new("timeout");
    git.args(["10", "git", "ls-remote", "--exit-code", "https://github.com/RustSec/advisory-db", "HEAD"]);
    git.env("GIT_TERMINAL_PROMPT", "0").output().is_ok_and(|output| output.status.success())
}
