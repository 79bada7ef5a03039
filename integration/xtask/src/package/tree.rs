//! A package's tree: what `install` lists, laid out as it will lie on a machine.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use crate::shell::output;

/// Where the sources of an `install` file are.
pub(super) struct Folders<'a> {
    /// `@bin`: our programs.
    pub(super) programs: &'a Path,
    /// `@made`: what is generated.
    pub(super) made: &'a Path,
    /// All else.
    pub(super) packaging: &'a Path,
}

/// Lays out what `install` lists: lines of mode, source, target.
///
/// # Errors
/// A line that is none, or a source that is missing.
pub(super) fn lay_out(install: &Path, folders: &Folders<'_>, tree: &Path) -> Result<(), String> {
    let text = fs::read_to_string(install).map_err(|e| format!("{}: {e}", install.display()))?;
    for line in text.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty()) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [mode, source, target] = words[..] else {
            return Err(format!("{}: not a mode, a source and a target: {line}", install.display()));
        };
        let from = match source.split_once('/') {
            Some(("@bin", name)) => folders.programs.join(name),
            Some(("@made", name)) => folders.made.join(name),
            _ => folders.packaging.join(source),
        };
        // Where a library lies depends on the architecture.
        let to = match target.contains("@TRIPLET@") {
            true => tree.join(target.replace("@TRIPLET@", &super::editor::triplet()?)),
            false => tree.join(target),
        };
        if from.is_dir() {
            for file in entries(&from)? {
                place(&file, &to.join(file.file_name().unwrap_or_default()), mode)?;
            }
        } else {
            place(&from, &to, mode)?;
        }
    }
    for folder in folders_of(tree)? {
        permit(&folder, 0o755)?;
    }
    Ok(())
}

/// Copies a file, with its mode in octal; programs lose their tables of symbols.
pub(super) fn place(from: &Path, to: &Path, mode: &str) -> Result<(), String> {
    if let Some(folder) = to.parent() {
        fs::create_dir_all(folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    }
    fs::copy(from, to).map_err(|e| format!("{}: {e}", from.display()))?;
    if is_program(to) {
        output(Command::new("strip").args(["--strip-unneeded", "--remove-section=.comment"]).arg(to))?;
    }
    permit(to, u32::from_str_radix(mode, 8).map_err(|e| format!("mode {mode}: {e}"))?)
}

fn permit(path: &Path, mode: u32) -> Result<(), String> {
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
        .map_err(|e| format!("{}: {e}", path.display()))
}

/// What lies in a folder, by name.
pub(super) fn entries(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let read = fs::read_dir(folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    let mut entries: Vec<PathBuf> = read.flatten().map(|entry| entry.path()).collect();
    entries.sort();
    Ok(entries)
}

fn walk(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let mut all = Vec::new();
    for entry in entries(folder)? {
        let is_folder = entry.is_dir();
        all.push(entry.clone());
        if is_folder {
            all.extend(walk(&entry)?);
        }
    }
    Ok(all)
}

fn folders_of(tree: &Path) -> Result<Vec<PathBuf>, String> {
    let mut folders: Vec<PathBuf> = walk(tree)?.into_iter().filter(|path| path.is_dir()).collect();
    folders.push(tree.to_owned());
    Ok(folders)
}

fn files_of(tree: &Path) -> Result<Vec<PathBuf>, String> {
    Ok(walk(tree)?
        .into_iter()
        .filter(|path| path.is_file() && !path.starts_with(tree.join("DEBIAN")))
        .collect())
}

/// What it takes on a disk, as Debian counts.
pub(super) fn kibibytes(tree: &Path) -> Result<u64, String> {
    let size = |path: PathBuf| fs::metadata(&path).map_or(0, |about| about.len().div_ceil(1024));
    let folders = u64::try_from(folders_of(tree)?.len()).unwrap_or(u64::MAX);
    Ok(files_of(tree)?.into_iter().map(size).sum::<u64>().saturating_add(folders))
}

/// `DEBIAN/md5sums`.
pub(super) fn sums(tree: &Path) -> Result<String, String> {
    let mut command = Command::new("md5sum");
    command.current_dir(tree).arg("--");
    for file in files_of(tree)? {
        command.arg(file.strip_prefix(tree).unwrap_or(&file));
    }
    output(&mut command)
}

fn is_program(file: &Path) -> bool {
    fs::read(file).is_ok_and(|bytes| bytes.starts_with(b"\x7fELF"))
}

/// The libraries that the programs of a tree need, as packages: the newest version of glibc that one of them asks for.
pub(super) fn libraries(tree: &Path) -> Result<String, String> {
    let mut newest = (2, 36);
    let mut packages = Vec::new();
    for program in files_of(tree)?.iter().filter(|file| is_program(file)) {
        let told = output(Command::new("objdump").arg("-p").arg(program))?;
        for word in told.split_whitespace() {
            if let Some(version) = word.strip_prefix("GLIBC_2.") {
                let minor: u32 = version.split('.').next().unwrap_or_default().parse().unwrap_or(0);
                newest = newest.max((2, minor));
            }
        }
        let needed = told.lines().filter_map(|line| line.trim().strip_prefix("NEEDED"));
        for library in needed.map(str::trim) {
            match library {
                "libgcc_s.so.1" => packages.push("libgcc-s1"),
                "libnm.so.0" => packages.push("libnm0 (>= 1.42)"),
                // Of Debian 13 and later, and of 12.
                "libgobject-2.0.so.0" | "libglib-2.0.so.0" => {
                    packages.push("libglib2.0-0t64 (>= 2.74) | libglib2.0-0 (>= 2.74)");
                }
                "libc.so.6" | "libm.so.6" | "ld-linux-x86-64.so.2" => {}
                other => return Err(format!("{}: which package has {other}?", program.display())),
            }
        }
    }
    packages.sort_unstable();
    packages.dedup();
    let libc = format!("libc6 (>= {}.{})", newest.0, newest.1);
    Ok([vec![libc.as_str()], packages].concat().join(", "))
}
