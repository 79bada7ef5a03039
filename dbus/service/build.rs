//! What an idle daemon need not hold: relocations take a byte or two instead of 24, which is a megabyte, and code that only
//! others run stands apart from its own, which is another.

use std::path::PathBuf;
use std::process::Command;

/// Which code that is.
const LATER: &str = include_str!("later.ld");

fn main() -> std::io::Result<()> {
    println!("cargo::rerun-if-changed=build.rs");
    if !native() {
        return Ok(());
    }
    if packed_relocations_load() {
        println!("cargo::rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
    if told("CARGO_CFG_TARGET_OS") == Some("linux".into())
        && let Some(out) = told("OUT_DIR")
    {
        let script = PathBuf::from(out).join("later.ld");
        std::fs::write(&script, LATER)?;
        // Between the linker's own rules, of LLD and of GNU ld.
        println!("cargo::rustc-link-arg-bins=-Wl,-T,{}", script.display());
    }
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "cargo tells a build script by its environment")]
fn told(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Whether it is built for where it is built. What is built for elsewhere, by whatever linker, does without.
fn native() -> bool {
    told("TARGET") == told("HOST")
}

/// Whether the dynamic linker here knows DT_RELR: glibc's does from 2.36 on.
fn packed_relocations_load() -> bool {
    let Ok(libc) = Command::new("getconf").arg("GNU_LIBC_VERSION").output() else { return false };
    let version = String::from_utf8_lossy(&libc.stdout);
    let mut numbers = version.trim().trim_start_matches("glibc ").split('.').map(str::parse::<u32>);
    let (Some(Ok(major)), Some(Ok(minor))) = (numbers.next(), numbers.next()) else { return false };
    (major, minor) >= (2, 36)
}
