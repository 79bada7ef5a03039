//! Where something was built does not stand in what is shipped: it is the same wherever it is built, and names nobody's folders and no registry.

use std::{path::PathBuf, process::Command};

use super::tree::entries;
use crate::shell::{root, target};

/// This machine's folders, and what stands for them. Of several that fit, the last one does.
///
/// # Errors
/// A folder that can't be read.
pub(super) fn of_this_machine() -> Result<Vec<(String, String)>, String> {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cargo")));
    let home = home.ok_or_else(|| "neither CARGO_HOME nor HOME is set".to_owned())?;
    let mut folders = vec![(home.clone(), "/usr/src/cargo"), (root(), "/usr/src/adit")];
    // The folder of a registry is called by its host.
    let sources = home.join("registry/src");
    if sources.is_dir() {
        folders.extend(entries(&sources)?.into_iter().map(|registry| (registry, "/usr/src/crates")));
    }
    folders.push((target(), "/usr/src/adit/target"));
    Ok(folders.into_iter().map(|(from, to)| (from.display().to_string(), to.to_owned())).collect())
}

/// Has the compilers of Rust and C put these in each other's place.
pub(super) fn replace(command: &mut Command, folders: &[(String, String)]) {
    if folders.is_empty() {
        return;
    }
    let said = |name: &str| std::env::var(name).unwrap_or_default();
    // Paths may have spaces: cargo takes flags that are parted by another character, too.
    let mut rust: Vec<String> = match said("CARGO_ENCODED_RUSTFLAGS") {
        encoded if encoded.is_empty() => said("RUSTFLAGS").split_whitespace().map(str::to_owned).collect(),
        encoded => encoded.split('\x1f').map(str::to_owned).collect(),
    };
    rust.extend(folders.iter().map(|(from, to)| format!("--remap-path-prefix={from}={to}")));
    command.env("CARGO_ENCODED_RUSTFLAGS", rust.join("\x1f"));
    let c = folders.iter().map(|(from, to)| format!(" -ffile-prefix-map={from}={to}"));
    command.env("CFLAGS", said("CFLAGS") + &c.collect::<String>());
}
