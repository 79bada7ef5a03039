use std::io::Read;
use std::path::{Path, PathBuf};

use adit_core::{Failure, FailureCode, Secret, Step};
use adit_import::{File, Format, Import as Found, ImportError, Imported, LONGEST, Options, Weakening};
use adit_profile::{Directory, ProfileName};
use zeroize::Zeroizing;

use crate::args::{BusChoice, Import};
use crate::connection;
use crate::ended::Ended;
use crate::exit::Status;
use crate::json::{self, ImportJson};
use crate::output::Output;
use crate::place::{Placed, place};
use crate::render::says;
use crate::{reload, render};

/// `ctl import`.
pub(crate) async fn import(args: &Import, bus: BusChoice, output: Output) -> Result<(), Ended> {
    if args.to_networkmanager {
        return connection::import(args, output);
    }
    let found = read(args)?;
    if args.print {
        return print(args, &found, output);
    }
    let mut placed: Vec<Vec<PathBuf>> = Vec::new();
    for profile in &found.profiles {
        placed.push(write(args, profile)?);
    }
    if placed.iter().any(|paths| !paths.is_empty()) {
        reload::quietly(bus).await;
    }
    told(args, &found, &placed, output)
}

/// What the files hold.
pub(crate) fn read(args: &Import) -> Result<Found, Ended> {
    let mut contents = Vec::new();
    for path in &args.files {
        contents.push((path.display().to_string(), content(path)?));
    }
    let files: Vec<File<'_>> = contents.iter().map(|(name, content)| File { name, content }).collect();
    let name =
        args.name.as_deref().map(str::parse::<ProfileName>).transpose().map_err(|e| bad(e.why, e.allowed))?;
    let psk = args.psk_file.as_deref().map(psk).transpose()?;
    let accept: Vec<Weakening> = args.accept.iter().filter_map(|word| Weakening::from_word(word)).collect();
    let options = Options {
        format: args.format.as_deref().and_then(Format::from_word),
        name: name.as_ref(),
        entry: args.entry.as_deref(),
        user: args.user.as_deref(),
        psk: psk.as_ref(),
        accept: &accept,
    };
    adit_import::import(&files, &options).map_err(|ImportError { text, next }| {
        let first = args.files.first().map(|path| path.display().to_string()).unwrap_or_default();
        let text = if args.files.len() == 1 { format!("{first}: {text}") } else { text };
        bad(text, next)
    })
}

pub(crate) fn bad(text: impl Into<String>, next: impl Into<String>) -> Ended {
    Ended::failed("", Failure::new(FailureCode::ConfigurationInvalid, Step::Profile, text).hint(next))
}

pub(crate) fn content(path: &Path) -> Result<Zeroizing<Vec<u8>>, Ended> {
    let shown = path.display();
    // One octet more than is allowed, so that a longer file is known for one.
    let limit = u64::try_from(LONGEST).unwrap_or(u64::MAX).saturating_add(1);
    let mut bytes = Zeroizing::new(Vec::with_capacity(64 * 1024));
    let read = match path.to_str() {
        Some("-") => std::io::stdin().lock().take(limit).read_to_end(&mut bytes),
        _ => std::fs::File::open(path).and_then(|file| file.take(limit).read_to_end(&mut bytes)),
    };
    read.map_err(|e| bad(format!("{shown} cannot be read: {e}"), "name files that you can read"))?;
    Ok(bytes)
}

fn psk(path: &Path) -> Result<Secret, Ended> {
    let bytes = content(path)?;
    let line = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if line.is_empty() || line.contains(&b'\n') {
        return Err(bad(
            format!("{} does not hold one line", path.display()),
            "write the key there, on one line",
        ));
    }
    Ok(Secret::from(line))
}

/// Where it went; nothing, if there is no profile.
fn write(args: &Import, profile: &Imported) -> Result<Vec<PathBuf>, Ended> {
    let Some(toml) = &profile.toml else { return Ok(Vec::new()) };
    let mut files: Vec<Placed<'_>> = profile
        .files
        .iter()
        .map(|file| Placed {
            path: path_of(args, file.directory, &file.name),
            content: file.content.expose(),
            public: file.directory == Directory::Certs,
        })
        .collect();
    // Last: it is there when all that it names is.
    let path = args.folder.profile(&profile.name);
    files.push(Placed { path, content: toml.as_bytes(), public: false });
    place(&files, args.replace).map_err(|failure| {
        let again = format!(
            "sudo ctl import {}",
            args.files.iter().map(|f| f.display().to_string()).collect::<Vec<_>>().join(" ")
        );
        let denied = failure.code == FailureCode::NotAuthorized;
        Ended::failed(profile.name.as_str(), if denied { failure.hint(again) } else { failure })
    })?;
    Ok(files.into_iter().map(|file| file.path).collect())
}

fn path_of(args: &Import, directory: Directory, name: &str) -> PathBuf {
    let folder = match directory {
        Directory::Certs => "certs",
        Directory::Private => "private",
        Directory::Secrets | Directory::Ppp => "secrets",
    };
    args.folder.config.join(folder).join(name)
}

/// The profiles to standard output, what is to be said of them to standard error.
fn print(args: &Import, found: &Found, output: Output) -> Result<(), Ended> {
    for profile in &found.profiles {
        let Some(toml) = profile.toml.as_ref().filter(|_| !output.json) else { continue };
        output.say(&format!("{}\n{toml}", says::would_be(&args.folder.profile(&profile.name))))?;
        for file in &profile.files {
            output.line(&says::beside(&path_of(args, file.directory, &file.name)))?;
        }
    }
    let nothing = vec![Vec::new(); found.profiles.len()];
    told(args, found, &nothing, output)
}

fn told(args: &Import, found: &Found, placed: &[Vec<PathBuf>], output: Output) -> Result<(), Ended> {
    let whole = found.profiles.iter().all(|profile| profile.toml.is_some());
    if output.json {
        output.line(&json::document("import", &ImportJson::new(found, placed)))?;
    } else {
        let typed: Vec<String> = args.files.iter().map(|file| file.display().to_string()).collect();
        let typed = format!("ctl import {}", typed.join(" "));
        for (profile, paths) in found.profiles.iter().zip(placed) {
            let text = render::imported(profile, paths, &typed, found.format, output.out, output.width);
            if args.print { output.complain(&text) } else { output.say(&text)? }
        }
        let text = render::left_over(&found.left_out, output.out, output.width);
        if args.print { output.complain(&text) } else { output.say(&text)? }
    }
    if whole && !found.profiles.is_empty() { Ok(()) } else { Err(Ended::Said(Status::CONFIGURATION)) }
}
