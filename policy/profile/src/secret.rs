use adit_core::{FailureCode, Secret};
use base64ct::{Base64, Base64Unpadded, Encoding};
use core::ops::Range;
use zeroize::Zeroizing;

use crate::error::{Access, ProfileError, Source};
use crate::token::TokenKey;
use crate::value::FileName;

/// How much it takes to refuse a certificate because it may have been revoked.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub enum Revocation {
    /// Nobody is asked.
    Off,
    /// One that is known to be revoked is refused.
    #[default]
    Soft,
    /// Only one that is known not to be revoked is accepted.
    Strict,
}

impl Revocation {
    pub(crate) const WORDS: &'static [(&'static str, Self)] =
        &[("off", Self::Off), ("soft", Self::Soft), ("strict", Self::Strict)];

    /// The word of a profile.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Soft => "soft",
            Self::Strict => "strict",
        }
    }
}

/// The fixed directories that a configuration can name files of.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Directory {
    /// `/etc/adit/secrets`: PSKs, passwords, users, RADIUS secrets.
    Secrets,
    /// `/etc/adit/certs`: certificates, PEM.
    Certs,
    /// `/etc/adit/private`: private keys, PEM.
    Private,
    /// `/etc/ppp`: pppd's own secrets.
    Ppp,
}

impl Directory {
    /// The directory's path.
    #[must_use]
    pub const fn path(self) -> &'static str {
        match self {
            Self::Secrets => "/etc/adit/secrets",
            Self::Certs => "/etc/adit/certs",
            Self::Private => "/etc/adit/private",
            Self::Ppp => "/etc/ppp",
        }
    }

    /// Whether its files must be closed to others.
    #[must_use]
    pub const fn is_secret(self) -> bool {
        matches!(self, Self::Secrets | Self::Private | Self::Ppp)
    }
}

/// A file that a configuration refers to, and the line that does.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FileRef {
    /// Where it lies.
    pub directory: Directory,
    /// Its name there.
    pub name: FileName,
    /// The bytes of the configuration's text that name it.
    pub span: Range<usize>,
}

impl FileRef {
    /// The whole path.
    #[must_use]
    pub fn path(&self) -> String {
        format!("{}/{}", self.directory.path(), self.name)
    }

    /// As a configuration writes it.
    pub(crate) fn shown(&self) -> String {
        if self.directory == Directory::Ppp { self.path() } else { self.name.to_string() }
    }
}

/// Where a PSK is.
#[derive(Debug)]
pub enum PskSource {
    /// Written in the configuration itself.
    Inline(Secret),
    /// A file in `/etc/adit/secrets`.
    File(FileRef),
}

/// Where a password is.
#[derive(Debug)]
pub enum PasswordSource {
    /// Written in the configuration itself.
    Inline(Secret),
    /// A file in `/etc/adit/secrets`, or pppd's.
    File(FileRef),
}

/// Where a certificate, or a bundle of them, is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum CertSource {
    /// PEM, written in the configuration itself.
    Inline(String),
    /// A file in `/etc/adit/certs`.
    File(FileRef),
}

impl CertSource {
    /// The file that it is in.
    #[must_use]
    pub const fn file(&self) -> Option<&FileRef> {
        match self {
            Self::File(file) => Some(file),
            Self::Inline(_) => None,
        }
    }
}

/// Where a private key is.
#[derive(Debug)]
pub enum KeySource {
    /// PEM, written in the configuration itself.
    Inline(Secret),
    /// A file in `/etc/adit/private`.
    File(FileRef),
    /// In a PKCS#11 token.
    Token(TokenKey),
}

impl KeySource {
    /// The file that it is in.
    #[must_use]
    pub const fn file(&self) -> Option<&FileRef> {
        match self {
            Self::File(file) => Some(file),
            Self::Inline(_) | Self::Token(_) => None,
        }
    }

    /// Whether it may hold the certificate too: a PKCS#12 file, by its name, or a token.
    #[must_use]
    pub fn may_hold_certificate(&self) -> bool {
        match self {
            Self::Inline(_) => false,
            Self::Token(_) => true,
            Self::File(file) => {
                let name = file.name.as_str().to_ascii_lowercase();
                [".p12", ".pfx"].iter().any(|end| name.ends_with(end))
            }
        }
    }
}

/// Refuses a file of secrets that others can read: the reason, and the command that cures it.
///
/// # Errors
/// [`FailureCode::SecretExposed`].
pub fn check_secret_file(file: &str, access: Access) -> Result<(), ProfileError> {
    let source = Source { file, text: "", access: Some(access) };
    exposed(&source, 0..0).map_or(Ok(()), Err)
}

/// The PSK that a file of `/etc/adit/secrets` holds: its text without the line's end, in the notation of
/// [`Profile`](crate::Profile)'s `psk`.
///
/// # Errors
/// [`FailureCode::SecretExposed`] if others can read the file, [`FailureCode::ConfigurationInvalid`] if it holds no PSK.
pub fn parse_psk_file(file: &str, content: &[u8], access: Access) -> Result<Secret, ProfileError> {
    let text =
        one_line(file, content, access, "write a PSK of arbitrary bytes as 0x and hexadecimal digits")?;
    parse_psk(text).map_err(|(message, help)| bad_file(file, message, help))
}

/// The password, or the RADIUS secret, that a file of `/etc/adit/secrets` holds: its text as it is, without the line's
/// end.
///
/// # Errors
/// [`FailureCode::SecretExposed`] if others can read the file, [`FailureCode::ConfigurationInvalid`] if it holds none.
pub fn parse_password_file(file: &str, content: &[u8], access: Access) -> Result<Secret, ProfileError> {
    match one_line(file, content, access, "a password is text")? {
        "" => Err(bad_file(file, "the file is empty", "it holds the password on one line")),
        text => Ok(text.as_bytes().into()),
    }
}

fn bad_file(file: &str, message: &str, help: &str) -> ProfileError {
    let source = Source { file, text: "", access: None };
    ProfileError::at(&source, 0..0, message.into(), help.into())
}

/// The line that a secret's file is.
fn one_line<'c>(
    file: &str,
    content: &'c [u8],
    access: Access,
    not_text: &str,
) -> Result<&'c str, ProfileError> {
    check_secret_file(file, access)?;
    let text =
        core::str::from_utf8(content).map_err(|_| bad_file(file, "the file is not UTF-8 text", not_text))?;
    let text = text.strip_suffix('\n').unwrap_or(text);
    let text = text.strip_suffix('\r').unwrap_or(text);
    if text.contains('\n') {
        let help = "it holds the secret on one line, and nothing else";
        return Err(bad_file(file, "the file has more than one line", help));
    }
    Ok(text)
}

/// A PSK as strongSwan writes it: text as it is, `0x` and hexadecimal digits, `0s` and Base64.
pub(crate) fn parse_psk(text: &str) -> Result<Secret, (&'static str, &'static str)> {
    let bytes = match text.get(..2) {
        // [7296:2.15-2] [8784:5.1-3]
        Some("0x" | "0X") => from_hex(text.get(2..).unwrap_or("")).ok_or((
            "the PSK starts with 0x but is not hexadecimal",
            "an even number of digits 0-9 a-f after 0x",
        ))?,
        Some("0s" | "0S") => {
            let digits = text.get(2..).unwrap_or("");
            Base64::decode_vec(digits).or_else(|_| Base64Unpadded::decode_vec(digits)).map_err(|_| {
                ("the PSK starts with 0s but is not Base64", "Base64 (A-Z a-z 0-9 + /) after 0s")
            })?
        }
        // [7296:2.15-1]
        _ => text.as_bytes().to_vec(),
    };
    if bytes.is_empty() {
        return Err(("the PSK is empty", "text, 0x and hexadecimal, or 0s and Base64"));
    }
    Ok(Secret::new(bytes))
}

pub(crate) fn from_hex(digits: &str) -> Option<Vec<u8>> {
    if !digits.len().is_multiple_of(2) {
        return None;
    }
    let mut out = Zeroizing::new(Vec::with_capacity(digits.len() / 2));
    for pair in digits.as_bytes().chunks_exact(2) {
        let [high, low] = *pair else { return None };
        let digit = |c: u8| char::from(c).to_digit(16).and_then(|d| u8::try_from(d).ok());
        out.push(digit(high)? << 4 | digit(low)?);
    }
    Some(core::mem::take(&mut *out))
}

/// The error for a secret at `span`, if the file that holds it is open to others.
pub(crate) fn exposed(source: &Source<'_>, span: Range<usize>) -> Option<ProfileError> {
    let access = source.access?;
    let reason = access.exposed()?;
    let message = format!("the file holds a secret, but {reason} (mode {:04o})", access.mode & 0o777);
    let help = format!("chown root:adit {file} && chmod 0640 {file}", file = shell_word(source.file));
    let mut error = ProfileError::at(source, span, message, help);
    error.code = FailureCode::SecretExposed;
    Some(error)
}

fn shell_word(file: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-@+:".contains(c);
    if !file.is_empty() && file.chars().all(plain) {
        file.into()
    } else {
        format!("'{}'", file.replace('\'', "'\\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLOSED: Access = Access { mode: 0o100_640, gid: 0, adit_gid: Some(990) };

    // [8784:5.1-3] [7296:2.15-1] [7296:2.15-2]
    #[test]
    fn a_psk_is_text_hexadecimal_or_base64() {
        assert!(parse_psk("swordfish").unwrap().equals(b"swordfish"));
        let long = "x".repeat(200);
        assert!(parse_psk(&long).unwrap().equals(long.as_bytes()));
        assert!(parse_psk("0x00ffA5").unwrap().equals(&[0, 0xff, 0xa5]));
        assert!(parse_psk("0sAAECAw==").unwrap().equals(&[0, 1, 2, 3]));
        assert!(parse_psk("0sAAECAw").unwrap().equals(&[0, 1, 2, 3]));
        for bad in ["", "0x", "0xabc", "0xzz", "0s", "0s***"] {
            assert!(parse_psk(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_psk_file_loses_only_its_line_end() {
        assert!(parse_psk_file("f", b" a b \r\n", CLOSED).unwrap().equals(b" a b "));
        let error = parse_psk_file("/etc/adit/secrets/corp.psk", b"a\nb\n", CLOSED).unwrap_err();
        assert_eq!(error.message, "the file has more than one line");
        assert!(parse_psk_file("f", &[0xff, 0xfe], CLOSED).is_err());
    }

    #[test]
    fn an_exposed_file_is_refused_with_its_cure() {
        let open = Access { mode: 0o100_644, ..CLOSED };
        let error = check_secret_file("/etc/adit/secrets/corp.psk", open).unwrap_err();
        assert_eq!(error.code, FailureCode::SecretExposed);
        assert_eq!(
            error.to_string(),
            "/etc/adit/secrets/corp.psk:1:1: the file holds a secret, but everybody on this host can get at it \
             (mode 0644)\n  help: chown root:adit /etc/adit/secrets/corp.psk && chmod 0640 /etc/adit/secrets/corp.psk"
        );
        let foreign_group = Access { gid: 1000, ..CLOSED };
        assert!(check_secret_file("f", foreign_group).is_err());
        assert!(check_secret_file("f", Access { gid: 990, ..CLOSED }).is_ok());
        assert!(check_secret_file("f", Access { mode: 0o100_600, ..foreign_group }).is_ok());
    }
}
