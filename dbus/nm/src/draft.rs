//! A connection of NetworkManager's as a profile of ours, on its way to the daemon.

mod foreign;
mod own;

use std::collections::BTreeMap;

use adit_core::{Failure, FailureCode, Step};
use adit_import::own::SERVICE;
use zeroize::Zeroizing;

use crate::settings::Settings;
use crate::toml::Toml;

/// The longest name of a profile.
const LONGEST_NAME: usize = 64;

/// What a file is that a connection names.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum What {
    /// Certificates.
    Certificates,
    /// A private key.
    Key,
}

/// Gives the PEM of a file. Who reads which is not decided here.
pub(crate) type Read<'a> = &'a dyn Fn(&str, What) -> Result<Zeroizing<String>, Failure>;

/// A profile, and what it is raised with.
pub(crate) struct Draft {
    /// Its name: the connection's, as far as it fits, and the UUID, so that it is nobody else's.
    pub(crate) name: String,
    /// Its text.
    pub(crate) toml: Zeroizing<String>,
    /// Secrets that it takes: their names in `vpn.secrets`, in the order in which they are asked for.
    pub(crate) takes: Vec<&'static str>,
    /// Those of them that are not there and have to be.
    pub(crate) missing: Vec<&'static str>,
    /// What the daemon may ask for, by the fields of `ProvideSecret`.
    pub(crate) answers: BTreeMap<&'static str, Zeroizing<String>>,
    /// The secret that is wrong if the server says that we are not who we are: its name in `vpn.secrets`.
    pub(crate) proof: Option<&'static str>,
}

impl Draft {
    /// A draft of a connection.
    ///
    /// # Errors
    /// Its type is none of ours, or it says what can't be carried over.
    pub(crate) fn of(settings: &Settings, read: Read<'_>) -> Result<Self, Failure> {
        let mut page = Page::default();
        match kind(settings)? {
            None => own::translate(settings, read, &mut page)?,
            Some(plugin) => {
                foreign::secrets(plugin, settings, &mut page);
                foreign::translate(settings, read, &mut page)?;
            }
        }
        Ok(page.done(settings))
    }

    /// One that says which secrets it takes, and can't be raised: files are not read.
    ///
    /// # Errors
    /// As of [`Self::of`], as far as that is seen without them.
    pub(crate) fn asking(settings: &Settings) -> Result<Self, Failure> {
        let mut page = Page::default();
        match kind(settings)? {
            None => own::translate(settings, &|_, _| Ok(Zeroizing::default()), &mut page)?,
            Some(plugin) => foreign::secrets(plugin, settings, &mut page),
        }
        Ok(page.done(settings))
    }
}

/// The plugin whose connection it is. `None`: it is of our own type.
fn kind(settings: &Settings) -> Result<Option<foreign::Plugin>, Failure> {
    if settings.service == SERVICE {
        return Ok(None);
    }
    foreign::Plugin::of(&settings.service).map(Some).ok_or_else(|| {
        let kind = settings.service.escape_debug();
        mistake(format!("connections of the type \"{kind}\" are none of ours"))
    })
}

/// A draft that is being written.
#[derive(Default)]
struct Page {
    toml: Toml,
    takes: Vec<&'static str>,
    missing: Vec<&'static str>,
    answers: BTreeMap<&'static str, Zeroizing<String>>,
    proof: Option<&'static str>,
}

impl Page {
    fn done(self, settings: &Settings) -> Draft {
        let Self { toml, takes, missing, answers, proof } = self;
        Draft { name: name(settings), toml: toml.done(), takes, missing, answers, proof }
    }

    /// It takes a secret, which is here given if it is there.
    fn takes<'s>(&mut self, settings: &'s Settings, secret: &'static str) -> Option<&'s Zeroizing<String>> {
        let given = settings.secrets.get(secret);
        self.takes.push(secret);
        if given.is_none() && needed(settings, secret) {
            self.missing.push(secret);
        }
        given
    }

    /// The password, which the daemon asks for.
    fn password(&mut self, settings: &Settings, secret: &'static str) {
        self.proof = Some(secret);
        if let Some(password) = self.takes(settings, secret) {
            self.answers.insert("password", password.clone());
        }
    }

    /// The pre-shared key. It stands in the profile: the daemon asks nobody for one.
    fn psk(&mut self, settings: &Settings, secret: &'static str) {
        self.proof = Some(secret);
        if let Some(psk) = self.takes(settings, secret) {
            self.toml.text("psk", psk);
        }
    }

    /// What every type has, where the connection's data do not say it.
    fn common(&mut self, settings: &Settings, says: &dyn Fn(&str) -> bool) {
        if settings.split && !says("traffic") {
            self.toml.text("traffic", "split");
            if !settings.networks.is_empty() && !says("remote-subnets") {
                self.toml.list("remote-subnets", &settings.networks);
            }
        }
        if settings.ignores_dns && !says("dns") {
            self.toml.text("dns", "ignore");
        }
        if let Some(name) = settings.interface.as_ref().filter(|_| !says("interface")) {
            self.toml.text("interface", name);
        }
    }
}

/// Whether a secret that is not there is to be asked for: NM_SETTING_SECRET_FLAG_NOT_REQUIRED says no.
fn needed(settings: &Settings, secret: &str) -> bool {
    let flags = settings.data.get(&format!("{secret}-flags")).and_then(|flags| flags.parse::<u32>().ok());
    flags.unwrap_or(0) & 4 == 0
}

/// Letters and digits of the connection's name, and its UUID.
fn name(settings: &Settings) -> String {
    let room = LONGEST_NAME.saturating_sub(settings.uuid.len() + 1);
    let fits = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_');
    let mut name: String = settings.id.chars().filter(fits).collect();
    name.truncate(room);
    let name = name.trim_start_matches(['.', '_']);
    match name.is_empty() {
        true => format!("nm-{}", settings.uuid),
        false => format!("{name}-{}", settings.uuid),
    }
}

fn mistake(text: impl Into<String>) -> Failure {
    Failure::new(FailureCode::ConfigurationInvalid, Step::Profile, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file, as PEM that has its name in it.
    pub(super) fn pem(file: &str, what: What) -> Result<Zeroizing<String>, Failure> {
        let label = if what == What::Key { "PRIVATE KEY" } else { "CERTIFICATE" };
        Ok(Zeroizing::new(format!("-----BEGIN {label}-----\n{file}\n-----END {label}-----\n")))
    }

    #[test]
    fn a_name_is_the_connection_s_and_nobody_else_s() {
        let settings = |id: &str| Settings { id: id.into(), uuid: "0f".repeat(16), ..Settings::default() };
        assert_eq!(name(&settings("Corp, at work")), format!("Corpatwork-{}", "0f".repeat(16)));
        assert_eq!(name(&settings("..\u{e9}")), format!("nm-{}", "0f".repeat(16)));
        assert_eq!(name(&settings(&"x".repeat(99))).len(), LONGEST_NAME);
    }
}
