//! What an import says of itself.

use adit_core::Secret;
use adit_profile::{Directory, ProfileName};

use crate::format::Format;
use crate::weakening::Weakening;

/// What came out of a file.
#[derive(Debug)]
pub struct Import {
    /// What it was.
    pub format: Format,
    /// Each connection in it.
    pub profiles: Vec<Imported>,
    /// What stands in it and belongs to no connection that Adit can have, and why; and files beside it that nobody needs.
    pub left_out: Vec<LeftOut>,
}

/// A connection of a foreign file.
#[derive(Debug)]
pub struct Imported {
    /// The profile's name.
    pub name: ProfileName,
    /// How the file calls it.
    pub called: String,
    /// The profile, which [`adit_profile::parse_profile`] accepts; it holds no secret. `None`: there is none, for what
    /// [`Imported::missing`] and [`Imported::weak`] say.
    pub toml: Option<String>,
    /// Files that go beside it.
    pub files: Vec<Beside>,
    /// What was carried over: the file's key, and ours.
    pub carried: Vec<(String, &'static str)>,
    /// What was not, and why.
    pub left_out: Vec<LeftOut>,
    /// What would protect less than Adit does.
    pub weak: Vec<Weak>,
    /// Why there is no profile: what is missing or wrong, and what to do.
    pub missing: Vec<Missing>,
    /// What is good to know.
    pub notes: Vec<String>,
}

/// A file of one of Adit's directories. `Debug` shows no content.
#[derive(Debug)]
pub struct Beside {
    /// Where it goes.
    pub directory: Directory,
    /// Its name there: a plain one.
    pub name: String,
    /// What it holds.
    pub content: Secret,
}

/// Something that was not carried over.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LeftOut {
    /// The file's key, with its value where that is no secret.
    pub key: String,
    /// Why.
    pub why: String,
}

/// A setting that would weaken.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Weak {
    /// The file's key.
    pub key: String,
    /// What it is.
    pub weakening: Weakening,
    /// Whether it was taken, by somebody's word.
    pub taken: bool,
    /// Whether there is no profile without it.
    pub needed: bool,
}

/// Something without which there is no profile.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Missing {
    /// What.
    pub what: String,
    /// What to do.
    pub next: String,
}

/// Why nothing came out of a file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ImportError {
    /// What is wrong.
    pub text: String,
    /// What to do.
    pub next: String,
}

impl ImportError {
    pub(crate) fn new(text: impl Into<String>, next: impl Into<String>) -> Self {
        Self { text: text.into(), next: next.into() }
    }
}

impl core::fmt::Display for ImportError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for ImportError {}
