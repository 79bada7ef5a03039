//! Profiles of Adit become those of other programs, as far as these can hold them. What they can't is told.

mod keyfile;
mod mobileconfig;
mod sswan;

use adit_core::Secret;
use adit_profile::Profile;
use zeroize::Zeroizing;

pub(crate) use keyfile::Section;

use crate::Format;
use crate::report::{ImportError, LeftOut};

/// What goes into an export beside the profile: the content of files that it names, as far as it is to go out.
#[derive(Clone, Copy, Debug)]
pub struct Parts<'p> {
    /// The pre-shared key.
    pub psk: Option<&'p Secret>,
    /// The password.
    pub password: Option<&'p Secret>,
    /// Authorities, each a certificate in DER.
    pub ca: &'p [Vec<u8>],
    /// Our key with its certificates, as PKCS#12.
    pub pkcs12: Option<&'p Secret>,
    /// The password of that.
    pub key_password: Option<&'p Secret>,
    /// A UUID of its own, in its usual notation.
    pub uuid: &'p str,
}

/// A profile of another program.
#[derive(Debug)]
pub struct Exported {
    /// Its text, with secrets where [`Parts`] had some.
    pub text: Zeroizing<String>,
    /// What of the profile it does not hold.
    pub left_out: Vec<LeftOut>,
}

/// Formats that can be written.
pub const EXPORTED: &[Format] = &[Format::NetworkManager, Format::Sswan, Format::Mobileconfig];

/// The profile in that format.
///
/// # Errors
/// The format has nothing of that kind.
pub fn export(profile: &Profile, format: Format, parts: &Parts<'_>) -> Result<Exported, ImportError> {
    let mut held = Held { keys: vec!["server", "tunnel", "start"], more: Vec::new() };
    let text = match format {
        Format::NetworkManager => keyfile::write(profile, parts, &mut held),
        Format::Sswan => sswan::write(profile, parts, &mut held)?,
        Format::Mobileconfig => mobileconfig::write(profile, parts, &mut held)?,
        Format::PhoneBook | Format::ProfileXml | Format::Swanctl | Format::IpsecConf => {
            let words: Vec<&str> = EXPORTED.iter().map(|f| f.as_str()).collect();
            return Err(ImportError::new(
                "Adit does not write that format",
                format!("it writes {}", words.join(", ")),
            ));
        }
    };
    let said = profile.settings().into_iter().filter(|s| !s.default && !held.keys.contains(&s.key));
    let mut left_out: Vec<LeftOut> = said
        .map(|s| LeftOut {
            key: format!("{} = {}", s.key, crate::draft::clean(&s.value)),
            why: format!("{} does not hold it", format.name()),
        })
        .collect();
    left_out.append(&mut held.more);
    if profile.servers.len() > 1 {
        let others: Vec<String> = profile.servers.iter().skip(1).map(ToString::to_string).collect();
        left_out.push(LeftOut {
            key: format!("server = {}", others.join(", ")),
            why: format!("{} holds one server", format.name()),
        });
    }
    Ok(Exported { text: Zeroizing::new(text), left_out })
}

/// Keys of ours that the other format holds.
struct Held {
    keys: Vec<&'static str>,
    more: Vec<LeftOut>,
}

impl Held {
    fn key(&mut self, key: &'static str) {
        self.keys.push(key);
    }

    fn left(&mut self, key: &str, why: &str) {
        self.more.push(LeftOut { key: key.to_owned(), why: why.to_owned() });
    }
}

/// A secret that is text.
fn text(secret: Option<&Secret>) -> Option<Zeroizing<String>> {
    core::str::from_utf8(secret?.expose()).ok().map(|text| Zeroizing::new(text.to_owned()))
}

fn base64(bytes: &[u8]) -> String {
    <base64ct::Base64 as base64ct::Encoding>::encode_string(bytes)
}

/// The host of the first gateway.
fn host(profile: &Profile) -> String {
    profile.servers.first().map(|server| server.host.to_string()).unwrap_or_default()
}
