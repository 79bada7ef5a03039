use std::path::{Path, PathBuf};

use adit_core::{Failure, FailureCode, Step};
use adit_import::check_suite;
use adit_profile::{ProfileErrors, ProfileName, Source, parse_profile, parse_server};
use zeroize::Zeroizing;

use crate::ended::Ended;
use crate::exit::Status;
use crate::json::{self, FileCheckJson};
use crate::output::Output;
use crate::profile_file;
use crate::render;

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
            (None, false) => output.line(&render::says::good(&shown, output.out))?,
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
    let (text, access) = profile_file::content(path)
        .map_err(|e| bad(format!("{shown} cannot be read: {e}"), "name profiles, as TOML"))?;
    // Who can read a file counts where the daemon reads it.
    let place = path.canonicalize().unwrap_or_default();
    let access = access.filter(|_| place.starts_with("/etc/adit"));
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
