use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use adit_core::{Failure, FailureCode, Step};
use adit_import::check_suite;
use adit_profile::{Access, ProfileErrors, ProfileName, Source, parse_profile, parse_server};
use zeroize::Zeroizing;

use crate::ended::Ended;
use crate::exit::Status;
use crate::json::{self, FileCheckJson};
use crate::output::Output;
use crate::render;

/// The most that is read: more than any profile with its certificates has.
const LONGEST: u64 = 512 * 1024;

/// `ctl check`: every file, whatever the others are.
pub(crate) fn check(files: &[PathBuf], output: Output) -> Result<(), Ended> {
    let mut wrong = 0_usize;
    let mut all = Vec::new();
    for path in files {
        let shown = path.display().to_string();
        let (text, errors) = match one(path, &shown) {
            Ok(found) => found,
            Err(failure) => return Err(Ended::failed("", failure)),
        };
        wrong = wrong.saturating_add(usize::from(errors.is_some()));
        match (&errors, output.json) {
            (_, true) => all.push(FileCheckJson::new(shown, errors.as_ref())),
            (Some(errors), false) => {
                output.complain(&render::mistakes(errors, &text, output.err, output.width));
            }
            (None, false) => output.line(&format!("{}  {shown}", output.out.green("ok")))?,
        }
    }
    if output.json {
        output.line(&json::document("checks", &all))?;
    }
    if wrong == 0 { Ok(()) } else { Err(Ended::Said(Status::CONFIGURATION)) }
}

type Checked = (Zeroizing<String>, Option<ProfileErrors>);

fn one(path: &Path, shown: &str) -> Result<Checked, Failure> {
    let bad = |text: String, hint: &str| {
        Failure::new(FailureCode::ConfigurationInvalid, Step::Profile, text).hint(hint)
    };
    let (text, access) =
        content(path).map_err(|e| bad(format!("{shown} cannot be read: {e}"), "name profiles, as TOML"))?;
    let source = Source { file: shown, text: &text, access };
    if path.file_name().is_some_and(|name| name == "server.toml") {
        let errors = parse_server(&source, &check_suite).err();
        return Ok((text, errors));
    }
    let stem = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    let stem = if stem == "-" { "stdin".to_owned() } else { stem };
    let name: ProfileName =
        stem.parse().map_err(|e: adit_profile::NameError| bad(format!("{shown}: {}", e.why), &e.allowed))?;
    let errors = parse_profile(&name, &source, &check_suite).err();
    Ok((text, errors))
}

/// Who can read a file counts where the daemon reads it.
fn content(path: &Path) -> std::io::Result<(Zeroizing<String>, Option<Access>)> {
    let mut text = Zeroizing::new(String::with_capacity(4096));
    if path == Path::new("-") {
        std::io::stdin().lock().take(LONGEST).read_to_string(&mut text)?;
        return Ok((text, None));
    }
    let file = std::fs::File::open(path)?;
    let metadata = file.metadata()?;
    file.take(LONGEST).read_to_string(&mut text)?;
    let adit = nix::unistd::Group::from_name("adit").ok().flatten().map(|group| group.gid.as_raw());
    let access = Access { mode: metadata.mode(), gid: metadata.gid(), adit_gid: adit };
    let place = path.canonicalize().unwrap_or_default();
    Ok((text, place.starts_with("/etc/adit").then_some(access)))
}
