//! `ctl password`: puts the password of a profile of this host where only root and the daemon can read it.

use adit_core::{Failure, FailureCode, Step};
use adit_import::check_suite;
use adit_profile::{Directory, PasswordSource, Profile, ProfileName, Source, parse_profile};
use zeroize::Zeroizing;

use crate::args::{BusChoice, Password};
use crate::edit::{read, unread};
use crate::ended::Ended;
use crate::output::Output;
use crate::place::{Placed, place};
use crate::reload;
use crate::render::says::Became;
use crate::secret::Secrets;

pub(crate) async fn password(args: &Password, bus: BusChoice, output: Output) -> Result<(), Ended> {
    let name = args.name.as_str();
    let failed = |failure: Failure| Ended::failed(name, failure);
    let checked: ProfileName = name.parse().map_err(|e: adit_profile::NameError| {
        failed(Failure::new(FailureCode::NotFound, Step::Profile, e.why).hint("ctl list"))
    })?;
    let path = args.folder.profile(&checked);
    let text = read(&path).map_err(|e| failed(unread(&path, &e, name)))?;
    let shown = path.display().to_string();
    let parse = |text: &str| {
        let source = Source { file: &shown, text, access: None };
        parse_profile(&checked, &source, &check_suite).map_err(|errors| failed(Failure::from(errors)))
    };
    let file = file_of(&parse(&text)?).map_err(failed)?;
    // Keys of the profile itself stand before its tables, and so at the very beginning for certain.
    let with_line = match &file {
        Some(_) => None,
        None => Some(Zeroizing::new(format!("password-file = \"{checked}.password\"\n{}", *text))),
    };
    // Whether it has any use for one: a certificate's owner has none.
    with_line.iter().try_for_each(|text| parse(text).map(drop))?;
    let file = file.unwrap_or_else(|| format!("{checked}.password"));
    let asked = ("new-password".to_owned(), format!("Password of {checked}"), String::new());
    let secrets = Secrets::new(args.password_fd).map_err(failed)?;
    let mut content = secrets.get(&asked).await.map_err(failed)?;
    content.push(b'\n');
    let secret = args.folder.config.join("secrets").join(&file);
    let mut files = vec![Placed { path: secret.clone(), content: &content, public: false }];
    if let Some(text) = &with_line {
        files.push(Placed { path, content: text.as_bytes(), public: false });
    }
    place(&files, true).map_err(failed)?;
    reload::quietly(bus).await;
    output.became(name, Became::Known(&secret))
}

/// The file of `/etc/adit/secrets` that has it; `None`: the profile says nothing of it.
fn file_of(profile: &Profile) -> Result<Option<String>, Failure> {
    let elsewhere = |text: &str, hint: &str| {
        Err(Failure::new(FailureCode::ConfigurationInvalid, Step::Profile, text).hint(hint))
    };
    match &profile.password {
        None => Ok(None),
        Some(PasswordSource::File(file)) if file.directory == Directory::Secrets => {
            Ok(Some(file.name.as_str().to_owned()))
        }
        Some(PasswordSource::File(file)) => {
            elsewhere(&format!("its password is pppd's: {}", file.path()), "change it there")
        }
        Some(PasswordSource::Inline(_)) => elsewhere(
            "its password stands in the profile itself",
            "take the line  password  out of it (ctl edit NAME), then type this again",
        ),
    }
}
