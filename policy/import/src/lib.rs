//! Profiles of other programs become Adit's: their content in; profiles, files that go beside them, and a list of what
//! was not carried over out.
//!
//! Pure: this crate opens no file. A path that stands in a foreign profile is never opened either: what it names has to be
//! handed over as well, by whoever runs the import. Nothing is dropped in silence: each key of a file is carried over,
//! left out for a reason, or told as not understood. What would protect less than Adit does is not taken over
//! ([`Weakening`]), or by explicit word only. A profile that comes out connects when somebody says so, and not by itself.
//!
//! Start at [`import`]. Each format has a file: a reader of its syntax into a [`tree`], and what its keys mean.

mod braces;
mod companion;
mod draft;
mod eap_xml;
mod export;
mod finish;
mod format;
mod ini;
mod ipsec_conf;
mod ipsec_secrets;
mod mobileconfig;
mod names;
mod network_manager;
mod network_manager_ppp;
pub mod own;
mod phone_book;
mod plist;
mod profile_xml;
mod report;
mod sswan;
mod strategy;
mod suites;
mod swanctl;
mod tree;
mod weakening;
mod xml;

use adit_core::Secret;
use adit_profile::ProfileName;

pub use export::{EXPORTED, Exported, Parts, export};
pub use format::Format;
pub use report::{Beside, Import, ImportError, Imported, LeftOut, Missing, Weak};
pub use suites::check_suite;
pub use weakening::Weakening;

use crate::companion::Companions;
use crate::draft::{Context, Draft};
use crate::format::{Content, detect, text};

/// No file may be longer, in bytes.
pub const LONGEST: usize = 1 << 20;
/// So many files may be named at once.
pub const MOST_FILES: usize = 64;

/// A file as the caller read it.
#[derive(Clone, Copy)]
pub struct File<'f> {
    /// Its name, perhaps with directories.
    pub name: &'f str,
    /// Its content.
    pub content: &'f [u8],
}

/// What the person says beside the files.
#[derive(Clone, Copy, Default, Debug)]
pub struct Options<'o> {
    /// The profile's format. `None`: it is known by its content.
    pub format: Option<Format>,
    /// How to call the profile. For a file with one connection only, or with `entry`.
    pub name: Option<&'o ProfileName>,
    /// The one connection of the file that is wanted, as the file calls it. `None`: all.
    pub entry: Option<&'o str>,
    /// Who we are, where the file does not say it.
    pub user: Option<&'o str>,
    /// The pre-shared key, where the file does not hold it.
    pub psk: Option<&'o Secret>,
    /// What may be taken although it weakens.
    pub accept: &'o [Weakening],
}

/// The certificates of a file, each in DER.
///
/// # Errors
/// What is wrong with it.
pub fn certificates(content: &[u8]) -> Result<Vec<Vec<u8>>, String> {
    format::pem_of_certificates(content).map(|(_, all)| all)
}

/// What a reader finds.
#[derive(Default)]
pub(crate) struct Found<'c> {
    pub(crate) drafts: Vec<Draft<'c>>,
    pub(crate) left_out: Vec<LeftOut>,
}

/// Reads the one profile among `files`; the others are certificates and keys that belong to it.
///
/// # Errors
/// There is none, it cannot be read, or the options do not fit it.
pub fn import(files: &[File<'_>], options: &Options<'_>) -> Result<Import, ImportError> {
    let (format, profile, companions) = sort(files, options.format)?;
    let content = text(profile.content)?;
    let stem = companion::base_name(profile.name);
    let stem = stem.rsplit_once('.').map_or(stem, |(stem, _)| stem);
    let context = Context {
        accept: options.accept,
        user: options.user,
        psk: options.psk,
        companions: &companions,
        stem,
    };
    let read = match format {
        Format::NetworkManager => network_manager::read(&content, &context),
        Format::Mobileconfig => mobileconfig::read(&content, &context),
        Format::Sswan => sswan::read(&content, &context),
        Format::PhoneBook => phone_book::read(&content, &context),
        Format::ProfileXml => profile_xml::read(&content, &context),
        Format::Swanctl => swanctl::read(&content, &context),
        Format::IpsecConf => ipsec_conf::read(&content, &context),
    };
    let mut found = read?;
    if let Some(entry) = options.entry {
        let known: Vec<String> = found.drafts.iter().map(|d| draft::clean(&d.called)).collect();
        found.drafts.retain(|d| d.called == entry);
        if found.drafts.is_empty() {
            let text = format!("it has no connection \"{}\"", entry.escape_debug());
            return Err(ImportError::new(text, format!("it has: {}", known.join(", "))));
        }
    }
    if found.drafts.is_empty() && found.left_out.is_empty() {
        return Err(ImportError::new("there is no connection in it", "name another file"));
    }
    let names = names::of(&found.drafts, options.name)?;
    let profiles =
        found.drafts.into_iter().zip(names).map(|(draft, name)| finish::finish(draft, name)).collect();
    let mut left_out = found.left_out;
    left_out.extend(companions.unused().map(|name| LeftOut {
        key: draft::clean(name),
        why: "nothing in the profile has a use for this file".to_owned(),
    }));
    Ok(Import { format, profiles, left_out })
}

/// Which of the files is the profile, and which go beside it.
fn sort<'f>(files: &[File<'f>], said: Option<Format>) -> Result<(Format, File<'f>, Companions), ImportError> {
    if files.len() > MOST_FILES {
        let text = format!("{} files at once", files.len());
        return Err(ImportError::new(text, format!("name at most {MOST_FILES}")));
    }
    let (mut profile, mut companions) = (None, Companions::default());
    for file in files {
        let name = companion::base_name(file.name);
        let of = |e: ImportError| match files.len() {
            1 => e,
            _ => ImportError { text: format!("{}: {}", draft::clean(name), e.text), ..e },
        };
        if file.content.len() > LONGEST {
            let text = format!("{}: it is longer than {LONGEST} bytes", draft::clean(name));
            return Err(ImportError::new(text, "no profile is; name another file"));
        }
        let format = match (detect(file.content), said) {
            (Ok(Content::Profile(_)) | Err(_), Some(said)) => said,
            (Ok(Content::Profile(found)), None) => found,
            (Ok(content), _) => {
                companions.push(name, content, Secret::from(file.content))?;
                continue;
            }
            (Err(error), None) => return Err(of(error)),
        };
        if profile.replace((format, *file)).is_some() {
            let next = "name them one at a time, each with the certificates and keys that belong to it";
            return Err(ImportError::new("there are several profiles", next));
        }
    }
    let next = "name the profile, too: its certificates and keys alone are no connection";
    let (format, file) =
        profile.ok_or_else(|| ImportError::new("there is no profile among the files", next))?;
    Ok((format, file, companions))
}
