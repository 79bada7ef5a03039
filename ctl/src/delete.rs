use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use adit_core::{Failure, FailureCode, Step};
use adit_import::check_suite;
use adit_profile::{Directory, FileRef, Profile, ProfileName, Source, parse_profile};
use zeroize::Zeroizing;

use crate::args::BusChoice;
use crate::ended::Ended;
use crate::json;
use crate::output::Output;
use crate::render::says;
use crate::{reload, session};

/// `ctl delete`.
pub(crate) async fn delete(name: &str, config: &Path, bus: BusChoice, output: Output) -> Result<(), Ended> {
    let checked: ProfileName = name.parse().map_err(|e: adit_profile::NameError| {
        Ended::failed(name, Failure::new(FailureCode::NotFound, Step::Profile, e.why).hint("ctl list"))
    })?;
    if let Ok(connection) = session::open(bus).await
        && let Ok(snapshot) = session::snapshot(&connection).await
        && snapshot.connections.iter().any(|c| !c.is_client_of_ours() && c.profile == name && c.lives())
    {
        let failure = Failure::new(FailureCode::ConfigurationInvalid, Step::Profile, "it is in use");
        return Err(Ended::failed(name, failure.hint(format!("ctl down {name}"))));
    }
    let profiles = config.join("profiles");
    let path = profiles.join(format!("{checked}.toml"));
    let mut paths = beside(&checked, &path, config);
    paths.insert(0, path);
    for path in &paths {
        if let Err(error) = std::fs::remove_file(path) {
            return Err(Ended::failed(name, failed(path, &error, name)));
        }
    }
    reload::quietly(bus).await;
    if output.json {
        let paths: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
        return output.line(&json::document("deleted", &paths));
    }
    paths.iter().try_for_each(|path| output.line(&says::deleted(path)))
}

fn failed(path: &Path, error: &std::io::Error, name: &str) -> Failure {
    match error.kind() {
        ErrorKind::NotFound => {
            let text = format!("there is no profile {name}: {} does not exist", path.display());
            Failure::new(FailureCode::NotFound, Step::Profile, text).hint("ctl list  shows the profiles")
        }
        kind => {
            let code = match kind {
                ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => FailureCode::NotAuthorized,
                _ => FailureCode::ConfigurationInvalid,
            };
            let text = format!("{} cannot be deleted: {error}", path.display());
            Failure::new(code, Step::Profile, text).hint(format!("sudo ctl delete {name}"))
        }
    }
}

/// Files that go by the profile's own name and that no other profile names.
fn beside(name: &ProfileName, path: &Path, config: &Path) -> Vec<PathBuf> {
    let Some(profile) = read(name, path) else { return Vec::new() };
    let others: Vec<Profile> = std::fs::read_dir(config.join("profiles"))
        .into_iter()
        .flatten()
        .filter_map(|entry| {
            let other = entry.ok()?.path();
            let name: ProfileName = other.file_stem()?.to_str()?.parse().ok()?;
            if other == path { None } else { read(&name, &other) }
        })
        .collect();
    let taken: Vec<&FileRef> = others.iter().flat_map(Profile::files).collect();
    let own = |file: &&FileRef| {
        file.name.as_str().strip_prefix(name.as_str()).is_some_and(|rest| rest.starts_with(['.', '-']))
    };
    let free = |file: &&FileRef| !taken.iter().any(|t| t.directory == file.directory && t.name == file.name);
    let mut out: Vec<PathBuf> = profile
        .files()
        .into_iter()
        .filter(own)
        .filter(free)
        .filter_map(|file| {
            let folder = match file.directory {
                Directory::Secrets => "secrets",
                Directory::Certs => "certs",
                Directory::Private => "private",
                Directory::Ppp => return None,
            };
            Some(config.join(folder).join(file.name.as_str()))
        })
        .filter(|path| path.is_file())
        .collect();
    out.sort();
    out.dedup();
    out
}

fn read(name: &ProfileName, path: &Path) -> Option<Profile> {
    let text = Zeroizing::new(std::fs::read_to_string(path).ok()?);
    let file = path.display().to_string();
    parse_profile(name, &Source { file: &file, text: &text, access: None }, &check_suite).ok()
}
