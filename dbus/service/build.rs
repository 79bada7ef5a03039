//! Relocations take a byte or two instead of 24: a megabyte that an idle daemon does not hold.

use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if packed_relocations_load() {
        println!("cargo::rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
}

/// Whether the dynamic linker here knows DT_RELR: glibc's does from 2.36 on. What is built elsewhere, or for elsewhere, does
/// without.
#[expect(clippy::disallowed_methods, reason = "cargo tells a build script by its environment")]
fn packed_relocations_load() -> bool {
    let told = |name| std::env::var(name).ok();
    let native = told("TARGET") == told("HOST");
    let Ok(libc) = Command::new("getconf").arg("GNU_LIBC_VERSION").output() else { return false };
    let version = String::from_utf8_lossy(&libc.stdout);
    let mut numbers = version.trim().trim_start_matches("glibc ").split('.').map(str::parse::<u32>);
    let (Some(Ok(major)), Some(Ok(minor))) = (numbers.next(), numbers.next()) else { return false };
    native && (major, minor) >= (2, 36)
}
