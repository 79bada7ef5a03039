//! `cargo xtask package --check`: what is packed twice is the same, octet for octet, and lintian finds no error. It is the development build that is
//! packed: how it is packed is the same.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use super::{Pressed, build, names, packages};
use crate::lab;
use crate::shell::{output, run, target};

/// Packs twice, in folders of different names and at different times.
///
/// # Errors
/// The packages that differ, or what lintian says.
pub(super) fn check() -> Result<(), String> {
    build(&[], &[])?;
    let names: Vec<&str> = names().collect();
    let folder = target().join("package-check");
    let _ = fs::remove_dir_all(&folder);
    let programs = target().join("debug");
    let first = packages(&programs, &folder.join("first"), &names, Pressed::Soon)?;
    let second = packages(&programs, &folder.join("and-the-second"), &names, Pressed::Soon)?;
    let differ: Vec<String> =
        first.iter().zip(&second).filter_map(|(one, other)| difference(one, other)).collect();
    if !differ.is_empty() {
        return Err(format!("packed twice, and not the same:\n{}", differ.join("\n")));
    }
    println!("package: {} packages, packed twice, are the same", first.len());
    lab::package_check_packages()?;
    run(Command::new("lintian").args(["--fail-on", "error", "--allow-root"]).args(&first))?;
    println!("package: lintian finds no error");
    fs::remove_dir_all(&folder).map_err(|e| format!("{}: {e}", folder.display()))
}

/// What two packages differ in, if they do.
fn difference(one: &PathBuf, other: &PathBuf) -> Option<String> {
    let same = match (fs::read(one), fs::read(other)) {
        (Ok(a), Ok(b)) => a == b,
        _ => false,
    };
    (!same).then(|| {
        let listed = |package: &Path| {
            let contents = output(Command::new("dpkg-deb").arg("-c").arg(package)).unwrap_or_default();
            contents.lines().map(str::to_owned).collect::<Vec<_>>()
        };
        let (a, b) = (listed(one), listed(other));
        let lines: Vec<String> =
            a.into_iter().zip(b).filter(|(a, b)| a != b).map(|(a, b)| format!("- {a}\n+ {b}")).collect();
        let lines = if lines.is_empty() { "only in what files hold".to_owned() } else { lines.join("\n") };
        format!("{}:\n{lines}", one.display())
    })
}
