//! Connections of NetworkManager's that are of our own type: `ctl import --to-networkmanager`, `ctl export --from-networkmanager`. The editor
//! plugin (dbus/nm/editor) runs both.

use std::fs::{DirBuilder, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use adit_core::{Failure, FailureCode, Step};
use adit_import::own::{self, Connection};
use adit_import::{Beside, Exported, ImportError, Imported};
use adit_profile::Directory;

use crate::args::Import;
use crate::ended::Ended;
use crate::exit::Status;
use crate::import::{bad, content, read};
use crate::output::Output;
use crate::render;

/// `ctl import --to-networkmanager`: the keyfile to standard output, what is to be said to standard error.
pub(crate) fn import(args: &Import, output: Output) -> Result<(), Ended> {
    let uuid = uuid()?;
    if let [file] = args.files.as_slice()
        && let Some(keyfile) = of_our_own(args, file, &uuid, output)?
    {
        return output.say(&keyfile);
    }
    let found = read(args)?;
    let [profile] = found.profiles.as_slice() else {
        let known: Vec<String> = found.profiles.iter().map(|p| format!("--entry \"{}\"", p.called)).collect();
        let text = format!("it has {} connections", found.profiles.len());
        return Err(bad(text, format!("choose one: ctl import --to-networkmanager {}", known.join(" | "))));
    };
    let typed: Vec<String> = args.files.iter().map(|file| file.display().to_string()).collect();
    let typed = format!("ctl import --to-networkmanager {}", typed.join(" "));
    output.complain(&render::imported(profile, &[], &typed, found.format, output.err, output.width));
    output.complain(&render::left_over(&found.left_out, output.err, output.width));
    let Some(toml) = &profile.toml else { return Err(Ended::Said(Status::CONFIGURATION)) };
    let folder = args.files_to.as_deref().map(std::path::absolute).transpose();
    let folder = folder.map_err(|error| bad(format!("--files-to: {error}"), "name another folder"))?;
    let folder = folder.as_deref().map(|folder| folder.display().to_string());
    let id = args.name.as_deref().unwrap_or(&profile.called);
    let about = Connection { id, uuid: &uuid, beside: &profile.files, folder: folder.as_deref() };
    let made = own::connection(toml, &about).map_err(refused)?;
    if let Some(folder) = &folder {
        keep(Path::new(folder), profile)?;
    }
    said(&made, output)
}

/// A profile of Adit's own, or a connection that was one before. `None`: it is something else.
fn of_our_own(
    args: &Import,
    file: &Path,
    uuid: &str,
    output: Output,
) -> Result<Option<zeroize::Zeroizing<String>>, Ended> {
    // Standard input is read once.
    if args.format.is_some() || file.to_str() == Some("-") {
        return Ok(None);
    }
    let bytes = content(file)?;
    let Ok(text) = std::str::from_utf8(&bytes) else { return Ok(None) };
    if let Some(keyfile) = own::again(text, uuid) {
        return Ok(Some(keyfile));
    }
    if !own::is_profile(text) {
        return Ok(None);
    }
    let stem = file.file_stem().unwrap_or_default().to_string_lossy();
    let id = args.name.as_deref().unwrap_or(&stem);
    let about = Connection { id, uuid, beside: &[], folder: None };
    let made = own::connection(text, &about).map_err(refused)?;
    output.complain(&render::left_over(&made.left_out, output.err, output.width));
    Ok(Some(made.text))
}

/// `ctl export --from-networkmanager`: the profile to standard output.
pub(crate) fn export(file: &Path, output: Output) -> Result<(), Ended> {
    let bytes = content(file)?;
    let text = std::str::from_utf8(&bytes).map_err(|_| bad("it is no text", "name a keyfile"))?;
    said(&own::profile(text).map_err(refused)?, output)
}

fn said(made: &Exported, output: Output) -> Result<(), Ended> {
    output.complain(&render::left_over(&made.left_out, output.err, output.width));
    output.say(&made.text)
}

fn refused(ImportError { text, next }: ImportError) -> Ended {
    bad(text, next)
}

fn uuid() -> Result<String, Ended> {
    let file = "/proc/sys/kernel/random/uuid";
    let read = std::fs::read_to_string(file).map(|text| text.trim().to_owned());
    read.map_err(|error| bad(format!("{file}: {error}"), "mount /proc"))
}

/// Certificates and keys, for whoever runs this alone. What is there already stays if it is the same, and nothing is written over.
fn keep(folder: &Path, profile: &Imported) -> Result<(), Ended> {
    let failed = |path: &Path, error: &std::io::Error| {
        let text = format!("{} cannot be written: {error}", path.display());
        let code = match error.kind() {
            ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => FailureCode::NotAuthorized,
            _ => FailureCode::ConfigurationInvalid,
        };
        Ended::failed("", Failure::new(code, Step::Profile, text).hint("name another folder: --files-to DIR"))
    };
    let kept = |file: &&Beside| matches!(file.directory, Directory::Certs | Directory::Private);
    for file in profile.files.iter().filter(kept) {
        DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(|e| failed(folder, &e))?;
        let path = folder.join(&file.name);
        match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path) {
            Ok(mut written) => written.write_all(file.content.expose()).map_err(|e| failed(&path, &e))?,
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                if !std::fs::read(&path).is_ok_and(|there| file.content.equals(&there)) {
                    let text = format!("{} is there already, and is another", path.display());
                    return Err(bad(
                        text,
                        "move it away, or call the connection something else: --name NAME",
                    ));
                }
            }
            Err(error) => return Err(failed(&path, &error)),
        }
    }
    Ok(())
}
