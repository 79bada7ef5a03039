use std::path::{Path, PathBuf};

use adit_core::{Failure, FailureCode, Secret, Step};
use adit_import::{Format, ImportError, Parts, check_suite};
use adit_profile::{
    Access, CertSource, Directory, FileRef, KeySource, PasswordSource, Profile, ProfileName, PskSource,
    Source, parse_password_file, parse_profile, parse_psk_file,
};
use zeroize::Zeroizing;

use crate::args::Export;
use crate::connection;
use crate::ended::Ended;
use crate::exit::Status;
use crate::json::{self, ExportJson};
use crate::output::Output;
use crate::profile_file;
use crate::render;

/// No file of the configuration is longer, in bytes.
const LONGEST: usize = 1 << 20;
/// Whoever may read a secret here has it already: who else may is not asked.
const MINE: Access = Access { mode: 0o600, gid: 0, adit_gid: None };

/// `ctl export`.
pub(crate) fn export(args: &Export, output: Output) -> Result<(), Ended> {
    if let Some(file) = &args.from_networkmanager {
        return connection::export(file, output);
    }
    let format = args.format.as_deref().and_then(Format::from_word);
    let (Some(name), Some(format)) = (args.name.as_deref(), format) else {
        return Err(Ended::Said(Status::USAGE));
    };
    let failed = |failure: Failure| Ended::failed(name, failure);
    let profile = profile(name, args).map_err(|failure| match failure {
        Some(failure) => failed(failure),
        None => {
            let text = "the profile has mistakes";
            let hint = format!("ctl check {}", args.folder.profile(name).display());
            failed(Failure::new(FailureCode::ConfigurationInvalid, Step::Profile, text).hint(hint))
        }
    })?;
    let secrets = Secrets::read(&profile, args).map_err(failed)?;
    let ca = authorities(&profile, &args.folder.config).map_err(failed)?;
    let uuid = std::fs::read_to_string("/proc/sys/kernel/random/uuid").unwrap_or_default();
    let parts = Parts {
        psk: secrets.psk.as_ref(),
        password: secrets.password.as_ref(),
        ca: &ca,
        pkcs12: secrets.pkcs12.as_ref(),
        key_password: secrets.key_password.as_ref(),
        uuid: uuid.trim(),
    };
    let exported = adit_import::export(&profile, format, &parts).map_err(|ImportError { text, next }| {
        failed(Failure::new(FailureCode::ConfigurationInvalid, Step::Profile, text).hint(next))
    })?;
    if output.json {
        return output.line(&json::document("export", &ExportJson::new(format, &exported)));
    }
    output.say(&exported.text)?;
    output.complain(&render::left_over(&exported.left_out, output.err, output.width));
    Ok(())
}

/// `None`: it has mistakes.
fn profile(name: &str, args: &Export) -> Result<Profile, Option<Failure>> {
    let name: ProfileName = name.parse().map_err(|e: adit_profile::NameError| {
        Some(Failure::new(FailureCode::NotFound, Step::Profile, e.why).hint("ctl list"))
    })?;
    let path = args.folder.profile(&name);
    let bytes = content(&path).map_err(Some)?;
    let text = std::str::from_utf8(&bytes).map_err(|_| None)?;
    let file = path.display().to_string();
    parse_profile(&name, &Source { file: &file, text, access: None }, &check_suite).map_err(|_| None)
}

fn content(path: &Path) -> Result<Zeroizing<Vec<u8>>, Failure> {
    match std::fs::File::open(path).and_then(|file| profile_file::whole(file, LONGEST)) {
        Ok(bytes) => Ok(bytes),
        Err(error) => {
            let (code, hint) = match error.kind() {
                std::io::ErrorKind::NotFound => (FailureCode::NotFound, "ctl list  shows the profiles"),
                std::io::ErrorKind::PermissionDenied => (FailureCode::NotAuthorized, "sudo ctl export …"),
                _ => (FailureCode::ConfigurationInvalid, "ctl doctor"),
            };
            let text = format!("{} cannot be read: {error}", path.display());
            Err(Failure::new(code, Step::Profile, text).hint(hint))
        }
    }
}

fn place(config: &Path, file: &FileRef) -> PathBuf {
    match file.directory {
        Directory::Secrets => config.join("secrets").join(file.name.as_str()),
        Directory::Certs => config.join("certs").join(file.name.as_str()),
        Directory::Private => config.join("private").join(file.name.as_str()),
        Directory::Ppp => Path::new("/etc/ppp").join(file.name.as_str()),
    }
}

fn authorities(profile: &Profile, config: &Path) -> Result<Vec<Vec<u8>>, Failure> {
    let mut out = Vec::new();
    for source in &profile.ca {
        let bytes = match source {
            CertSource::Inline(pem) => Zeroizing::new(pem.clone().into_bytes()),
            CertSource::File(file) => content(&place(config, file))?,
        };
        let bad =
            |e: String| Failure::new(FailureCode::CertificateUnusable, Step::Profile, format!("ca: {e}"));
        out.extend(adit_import::certificates(&bytes).map_err(bad)?);
    }
    Ok(out)
}

/// What goes out with `--secrets`.
#[derive(Default)]
struct Secrets {
    psk: Option<Secret>,
    password: Option<Secret>,
    pkcs12: Option<Secret>,
    key_password: Option<Secret>,
}

impl Secrets {
    fn read(profile: &Profile, args: &Export) -> Result<Self, Failure> {
        if !args.secrets {
            return Ok(Self::default());
        }
        let of =
            |file: &FileRef| content(&place(&args.folder.config, file)).map(|bytes| (file.path(), bytes));
        let psk = match &profile.psk {
            Some(PskSource::Inline(secret)) => Some(secret.duplicate()),
            Some(PskSource::File(file)) => {
                let (path, bytes) = of(file)?;
                Some(parse_psk_file(&path, &bytes, MINE)?)
            }
            None => None,
        };
        let line = |file: &FileRef| -> Result<Secret, Failure> {
            let (path, bytes) = of(file)?;
            Ok(parse_password_file(&path, &bytes, MINE)?)
        };
        let password = match &profile.password {
            Some(PasswordSource::Inline(secret)) => Some(secret.duplicate()),
            // pppd's files hold many.
            Some(PasswordSource::File(file)) if file.directory == Directory::Ppp => None,
            Some(PasswordSource::File(file)) => Some(line(file)?),
            None => None,
        };
        let key = profile.keys.iter().filter(|key| key.may_hold_certificate()).find_map(KeySource::file);
        let pkcs12 = key.map(|file| of(file).map(|(_, bytes)| Secret::from(bytes.as_slice()))).transpose()?;
        let key_password = profile.key_password.as_ref().map(line).transpose()?;
        Ok(Self { psk, password, pkcs12, key_password })
    }
}
