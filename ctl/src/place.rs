//! Files of the configuration: written whole or not at all, with the owner and mode that the daemon wants.

use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::{Error, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use adit_core::{Failure, FailureCode, Step};
use nix::unistd::{Gid, Uid};

/// A file that is to be there.
pub(crate) struct Placed<'p> {
    pub(crate) path: PathBuf,
    pub(crate) content: &'p [u8],
    /// Whether everybody may read it.
    pub(crate) public: bool,
}

/// Writes all of them, or leaves everything as it was.
pub(crate) fn place(files: &[Placed<'_>], replace: bool) -> Result<(), Failure> {
    if let Some(there) = files.iter().find(|file| !replace && file.path.symlink_metadata().is_ok()) {
        let text = format!("{} is there already", there.path.display());
        let hint = "to replace it: --replace; to have both: --name NAME";
        return Err(Failure::new(FailureCode::ConfigurationInvalid, Step::Profile, text).hint(hint));
    }
    let group = crate::profile_file::adit_group().map(|group| group.gid);
    let mut staged: Vec<PathBuf> = Vec::new();
    let written = files
        .iter()
        .try_for_each(|file| stage(file, group, &mut staged).map_err(|error| failed(&file.path, &error)));
    let done = written.and_then(|()| commit(files, &staged, replace));
    for path in &staged {
        // What was moved is not there any more.
        let _ = std::fs::remove_file(path);
    }
    done
}

fn failed(path: &Path, error: &Error) -> Failure {
    let text = format!("{} cannot be written: {error}", path.display());
    let code = match error.kind() {
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => FailureCode::NotAuthorized,
        _ => FailureCode::ConfigurationInvalid,
    };
    Failure::new(code, Step::Profile, text)
}

/// Beside its place, under a name of its own.
fn stage(file: &Placed<'_>, group: Option<Gid>, staged: &mut Vec<PathBuf>) -> Result<(), Error> {
    let name = file.path.file_name().unwrap_or_default().to_string_lossy();
    let directory = file.path.parent().unwrap_or(Path::new("/"));
    ensure(directory, group)?;
    let path = directory.join(format!(".{name}.{}", std::process::id()));
    let mut written = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
    staged.push(path);
    written.write_all(file.content)?;
    own(&written, group, if file.public { 0o644 } else { 0o640 })?;
    written.sync_all()
}

/// For root and the daemon's group; without that group for its owner alone.
fn own(file: &File, group: Option<Gid>, mode: u32) -> Result<(), Error> {
    match group {
        Some(group) => {
            let root = Uid::effective().is_root().then(|| Uid::from_raw(0));
            nix::unistd::fchown(file, root, Some(group))?;
            file.set_permissions(Permissions::from_mode(mode))
        }
        None => file.set_permissions(Permissions::from_mode(mode & 0o704)),
    }
}

/// The directory, as the package makes it.
fn ensure(directory: &Path, group: Option<Gid>) -> Result<(), Error> {
    if directory.is_dir() {
        return Ok(());
    }
    let open = directory.ends_with("certs");
    DirBuilder::new().recursive(true).mode(0o750).create(directory)?;
    own(&File::open(directory)?, group, if open { 0o755 } else { 0o750 })
}

/// From their names of their own to their places; if one fails, those before it go back.
fn commit(files: &[Placed<'_>], staged: &[PathBuf], replace: bool) -> Result<(), Failure> {
    let mut done: Vec<(&Path, Option<PathBuf>)> = Vec::new();
    for (file, from) in files.iter().zip(staged) {
        let before = from.with_extension("before");
        let kept = replace && std::fs::hard_link(&file.path, &before).is_ok();
        // A link fails where something is there already, and a rename does not.
        let moved =
            if replace { std::fs::rename(from, &file.path) } else { std::fs::hard_link(from, &file.path) };
        done.push((&file.path, kept.then_some(before)));
        if let Err(error) = moved {
            let (last, earlier) =
                done.split_last().map_or((None, &[][..]), |(last, rest)| (Some(last), rest));
            if let Some((_, Some(before))) = last {
                let _ = std::fs::remove_file(before);
            }
            earlier.iter().rev().for_each(|(path, before)| undo(path, before.as_deref()));
            return Err(failed(&file.path, &error));
        }
    }
    for before in done.iter().filter_map(|(_, before)| before.as_ref()) {
        let _ = std::fs::remove_file(before);
    }
    Ok(())
}

fn undo(path: &Path, before: Option<&Path>) {
    let _ = match before {
        Some(before) => std::fs::rename(before, path),
        None => std::fs::remove_file(path),
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    fn placed<'p>(root: &Path, name: &str, content: &'p str) -> Placed<'p> {
        Placed { path: root.join(name), content: content.as_bytes(), public: false }
    }

    #[test]
    fn nothing_is_written_over_and_nothing_is_left_of_half_a_write() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        place(&[placed(root, "secrets/a.psk", "one"), placed(root, "profiles/a.toml", "x")], false).unwrap();
        let mode = std::fs::metadata(root.join("secrets/a.psk")).unwrap().permissions().mode();
        assert_eq!(mode & 0o007, 0);
        let again = [placed(root, "secrets/b.psk", "two"), placed(root, "profiles/a.toml", "y")];
        let failure = place(&again, false).unwrap_err();
        assert!(failure.text.ends_with("is there already"), "{failure}");
        assert!(!root.join("secrets/b.psk").exists());
        place(&again, true).unwrap();
        assert_eq!(std::fs::read_to_string(root.join("profiles/a.toml")).unwrap(), "y");
        // A directory is where the last file is to be: what was replaced before comes back.
        std::fs::create_dir(root.join("profiles/c.toml")).unwrap();
        let third = [
            placed(root, "secrets/b.psk", "three"),
            placed(root, "secrets/n.psk", "x"),
            placed(root, "profiles/c.toml", "y"),
        ];
        assert!(place(&third, true).is_err());
        assert_eq!(std::fs::read_to_string(root.join("secrets/b.psk")).unwrap(), "two");
        let left: Vec<_> =
            std::fs::read_dir(root.join("secrets")).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(left.len(), 2, "{left:?}");
    }
}
