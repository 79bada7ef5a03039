//! The editor plugin for libnm (dbus/nm/editor), which is C. Its headers are those of Debian 12's libnm, so that it is for 12 and 13; they
//! are fetched and unpacked into the lab's cache, and nothing is installed. The compiler is the one that Rust links with.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::lab;
use crate::shell::{has, output, root, run_logged};

/// What it is called.
pub(super) const NAME: &str = "libnm-vpn-plugin-adit.so";
/// Debian's release, and its packages with headers and the libraries that it is linked with.
const RELEASE: &str = "bookworm";
const PACKAGES: &str = "libnm-dev libnm0 libglib2.0-dev libglib2.0-0";
/// As Debian hardens what it builds; nothing of this machine's paths stays.
const FLAGS: [&str; 15] = [
    "-std=c11",
    "-O2",
    "-Wall",
    "-Wextra",
    "-Werror=implicit-function-declaration",
    "-fPIC",
    "-shared",
    "-fvisibility=hidden",
    "-fstack-protector-strong",
    "-D_FORTIFY_SOURCE=2",
    "-DNM_VERSION_MIN_REQUIRED=NM_VERSION_1_42",
    "-Wl,-z,relro,-z,now",
    "-Wl,-z,defs,--as-needed",
    "-Wl,--unresolved-symbols=ignore-in-shared-libs",
    "-Wl,-soname,libnm-vpn-plugin-adit.so",
];

/// Builds it into `made`.
///
/// # Errors
/// There is no compiler, the headers can't be had, or it does not compile.
pub(super) fn build(made: &Path) -> Result<(), String> {
    if !has("cc") {
        let next = "apt install gcc libc6-dev";
        return Err(format!(
            "the editor plugin of NetworkManager is C, and there is no compiler (cc): {next}"
        ));
    }
    let cache = lab::lab_folder().join("cache");
    let headers = headers(&cache)
        .map_err(|why| format!("{PACKAGES} of Debian's {RELEASE}, for the editor plugin: {why}"))?;
    let triplet = triplet()?;
    let (usr, libraries) = (headers.join("usr"), format!("lib/{triplet}"));
    let mut command = Command::new("cc");
    command.args(FLAGS).current_dir(root().join("dbus/nm/editor"));
    for folder in ["include/libnm", "include/glib-2.0", &format!("{libraries}/glib-2.0/include")] {
        command.arg("-isystem").arg(usr.join(folder));
    }
    command.arg("adit-editor-plugin.c").arg("-o").arg(made.join(NAME));
    for folder in [usr.join(&libraries), headers.join(&libraries)] {
        command.arg("-L").arg(folder);
    }
    command.args(["-l:libnm.so.0", "-l:libgobject-2.0.so.0", "-l:libglib-2.0.so.0"]);
    run_logged(&mut command, &cache.join("editor.log"))
}

/// Debian's name for this architecture in paths.
///
/// # Errors
/// The compiler does not say it.
pub(super) fn triplet() -> Result<String, String> {
    let told = output(Command::new("cc").arg("-print-multiarch"))?;
    match told.trim() {
        "" => Err("cc -print-multiarch says nothing: build it with Debian's gcc".to_owned()),
        triplet => Ok(triplet.to_owned()),
    }
}

/// The folder in which the packages are unpacked; made once.
fn headers(cache: &Path) -> Result<PathBuf, String> {
    let folder = cache.join(format!("libnm-{RELEASE}"));
    if folder.is_dir() {
        return Ok(folder);
    }
    let building = cache.join(format!("building-libnm-{}", std::process::id()));
    let in_place = |e: std::io::Error| format!("{}: {e}", building.display());
    fs::create_dir_all(&building).map_err(in_place)?;
    let log = cache.join("editor.log");
    lab::download(PACKAGES, RELEASE, cache, &building, &log)?;
    let unpack = "cd $1; for package in *.deb; do dpkg-deb -x $package .; rm $package; done";
    run_logged(Command::new("sh").args(["-ec", unpack, "sh"]).arg(&building), &log)?;
    fs::rename(&building, &folder).map_err(in_place)?;
    Ok(folder)
}
