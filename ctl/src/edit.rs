use std::io::{IsTerminal, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use adit_core::{Failure, FailureCode, Step};
use adit_import::check_suite;
use adit_profile::{ProfileErrors, ProfileName, Source, parse_profile};
use zeroize::Zeroizing;

use crate::args::{BusChoice, Folder};
use crate::ended::Ended;
use crate::exit::Status;
use crate::output::Output;
use crate::place::{Placed, place};
use crate::render::says;
use crate::{json, profile_file, reload, render};

/// `ctl edit`.
pub(crate) async fn edit(name: &str, folder: &Folder, bus: BusChoice, output: Output) -> Result<(), Ended> {
    let failed = |failure: Failure| Ended::failed(name, failure);
    let checked: ProfileName = name.parse().map_err(|e: adit_profile::NameError| {
        failed(Failure::new(FailureCode::NotFound, Step::Profile, e.why).hint("ctl list"))
    })?;
    let path = folder.profile(&checked);
    let before = read(&path).map_err(|e| failed(unread(&path, &e, name)))?;
    let draft = Draft::new(&checked, &before).map_err(|e| failed(unread(&path, &e, name)))?;
    let after = loop {
        draft.open().map_err(failed)?;
        let after = read(&draft.path).map_err(|e| failed(unread(&draft.path, &e, name)))?;
        if *after == *before {
            return output.became(name, says::Became::Unchanged);
        }
        let Err(errors) = check(&checked, &path, &after) else { break after };
        output.complain(&render::mistakes(&errors, &after, output.err, output.width));
        if !again(output) {
            output.remark(&says::as_it_was(&path));
            return Err(Ended::Said(Status::CONFIGURATION));
        }
    };
    let kept = path.with_extension("toml.before");
    let files = [
        Placed { path: kept.clone(), content: before.as_bytes(), public: false },
        Placed { path, content: after.as_bytes(), public: false },
    ];
    place(&files, true).map_err(failed)?;
    reload::quietly(bus).await;
    if output.json {
        let saved = serde_json::json!({ "name": name, "before": kept.display().to_string() });
        return output.line(&json::document("edited", &saved));
    }
    output.line(&says::edited(name, &kept, output.out))
}

fn check(name: &ProfileName, path: &Path, text: &str) -> Result<(), ProfileErrors> {
    let file = path.display().to_string();
    parse_profile(name, &Source { file: &file, text, access: None }, &check_suite).map(drop)
}

/// Whether the person wants to look at it once more.
fn again(output: Output) -> bool {
    if !std::io::stdin().is_terminal() {
        return false;
    }
    output.complain(says::EDIT_AGAIN);
    let mut answer = String::new();
    let read = std::io::stdin().read_line(&mut answer);
    read.is_ok_and(|n| n > 0) && !answer.trim().eq_ignore_ascii_case("n")
}

pub(crate) fn read(path: &Path) -> std::io::Result<Zeroizing<String>> {
    profile_file::content(path).map(|(text, _)| text)
}

pub(crate) fn unread(path: &Path, error: &std::io::Error, name: &str) -> Failure {
    let text = format!("{}: {error}", path.display());
    match error.kind() {
        std::io::ErrorKind::NotFound => {
            Failure::new(FailureCode::NotFound, Step::Profile, text).hint("ctl list  shows the profiles")
        }
        std::io::ErrorKind::PermissionDenied => Failure::new(FailureCode::NotAuthorized, Step::Profile, text)
            .hint(format!("sudo ctl edit {name}")),
        _ => Failure::new(FailureCode::ConfigurationInvalid, Step::Profile, text),
    }
}

/// What the editor has, in a folder that nobody else can enter; it goes with this value.
struct Draft {
    folder: PathBuf,
    path: PathBuf,
}

impl Draft {
    fn new(name: &ProfileName, text: &str) -> std::io::Result<Self> {
        use std::os::unix::fs::DirBuilderExt;
        let folder = std::env::temp_dir().join(format!("ctl-edit-{}", std::process::id()));
        std::fs::DirBuilder::new().mode(0o700).create(&folder)?;
        let path = folder.join(format!("{name}.toml"));
        let draft = Self { folder, path };
        let mut options = std::fs::OpenOptions::new();
        let mut file = options.write(true).create_new(true).mode(0o600).open(&draft.path)?;
        file.write_all(text.as_bytes())?;
        Ok(draft)
    }

    /// The person's editor, as `VISUAL` or `EDITOR` says it, perhaps with arguments.
    fn open(&self) -> Result<(), Failure> {
        let set = |name: &str| std::env::var(name).ok().filter(|value| !value.trim().is_empty());
        let editor = set("VISUAL").or_else(|| set("EDITOR")).unwrap_or_else(|| "vi".to_owned());
        let mut words = editor.split_whitespace();
        let program = words.next().unwrap_or("vi");
        let done = Command::new(program).args(words).arg(&self.path).status();
        let why = match done {
            Ok(status) if status.success() => return Ok(()),
            Ok(status) => format!("the editor {program} ended with {status}: nothing was saved"),
            Err(error) => format!("the editor {program} does not run: {error}"),
        };
        let failure = Failure::new(FailureCode::ConfigurationInvalid, Step::Profile, why);
        Err(failure.hint("say which one: EDITOR=nano ctl edit NAME"))
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
