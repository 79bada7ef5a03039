use core::fmt;
use core::ops::Range;

use adit_core::{Failure, FailureCode, Step};
use toml::de::{DeTable, DeValue};

/// A file as the parsers get it.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    /// How the file is called in messages: its path, or `(from ctl)`.
    pub file: &'a str,
    /// Its content.
    pub text: &'a str,
    /// Who may read it. `None` for content that did not come from a file of this host, or that somebody else checked.
    pub access: Option<Access>,
}

/// Who may read a file, from `fstat` of the opened file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Access {
    /// `st_mode`; only the lowest nine bits count.
    pub mode: u32,
    /// `st_gid`.
    pub gid: u32,
    /// The group `adit`, if this host has one.
    pub adit_gid: Option<u32>,
}

impl Access {
    /// Why a secret in such a file is not one: it is open to others, or to a group that is neither root nor `adit`.
    pub(crate) fn exposed(self) -> Option<&'static str> {
        let trusted_group = self.gid == 0 || Some(self.gid) == self.adit_gid;
        if self.mode & 0o007 != 0 {
            Some("everybody on this host can get at it")
        } else if self.mode & 0o070 != 0 && !trusted_group {
            Some("its group can get at it")
        } else {
            None
        }
    }
}

/// One mistake in a file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ProfileError {
    /// The file, as [`Source::file`] calls it.
    pub file: String,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// Bytes of the text that it is about.
    pub span: Range<usize>,
    /// What is wrong, with the bad value (never a secret).
    pub message: String,
    /// What is allowed, or what to type.
    pub help: String,
    /// `configuration-invalid` or `secret-exposed`.
    pub code: FailureCode,
    /// Of which kind it is.
    pub(crate) mistake: Mistake,
}

/// The kinds of mistakes that matter where a file is read for several types of tunnel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Mistake {
    /// A line is wrong.
    Wrong,
    /// A line is missing.
    Missing,
    /// A line has no use.
    Useless,
}

impl ProfileError {
    pub(crate) fn at(source: &Source<'_>, span: Range<usize>, message: String, help: String) -> Self {
        let (line, column) = position(source.text, span.start);
        let code = FailureCode::ConfigurationInvalid;
        let mistake = Mistake::Wrong;
        Self { file: source.file.to_owned(), line, column, span, message, help, code, mistake }
    }

    /// `file:line:column`, as editors understand it.
    #[must_use]
    pub fn place(&self) -> String {
        format!("{}:{}:{}", self.file, self.line, self.column)
    }
}

impl fmt::Display for ProfileError {
    /// Two lines: the place and what is wrong; what is allowed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place(), self.message)?;
        if self.help.is_empty() { Ok(()) } else { write!(f, "\n  help: {}", self.help) }
    }
}

impl std::error::Error for ProfileError {}

impl From<ProfileError> for Failure {
    fn from(error: ProfileError) -> Self {
        let text = format!("{}: {}", error.place(), error.message);
        let failure = Self::new(error.code, Step::Profile, text);
        if error.help.is_empty() { failure } else { failure.hint(error.help) }
    }
}

/// All mistakes of a file, in its order. Never empty.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ProfileErrors(Vec<ProfileError>);

impl ProfileErrors {
    /// `errors` in the file's order, or `None` if there are none.
    pub(crate) fn of(mut errors: Vec<ProfileError>) -> Option<Self> {
        errors.sort_by_key(|e| (e.span.start, e.span.end));
        (!errors.is_empty()).then_some(Self(errors))
    }

    /// For a parser that gave neither a value nor a reason.
    pub(crate) fn unexplained(source: &Source<'_>) -> Self {
        Self(vec![ProfileError::at(source, 0..0, "the file has a mistake".into(), String::new())])
    }

    /// The mistakes.
    #[must_use]
    pub fn all(&self) -> &[ProfileError] {
        &self.0
    }
}

impl fmt::Display for ProfileErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, error) in self.0.iter().enumerate() {
            if n > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{error}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ProfileErrors {}

impl From<ProfileErrors> for Failure {
    /// The first mistake, and how many more there are. An exposed secret goes before any other.
    fn from(errors: ProfileErrors) -> Self {
        let more = errors.0.len().saturating_sub(1);
        let exposed = errors.0.iter().position(|e| e.code == FailureCode::SecretExposed);
        let Some(first) = errors.0.into_iter().nth(exposed.unwrap_or(0)) else {
            return Self::new(
                FailureCode::ConfigurationInvalid,
                Step::Profile,
                "the configuration has a mistake",
            );
        };
        let mut failure = Self::from(first);
        match more {
            0 => {}
            1 => failure.text.push_str(" (and one more mistake)"),
            n => failure.text.push_str(&format!(" (and {n} more mistakes)")),
        }
        failure
    }
}

/// The same text with every secret value replaced by `*`, byte for byte, so that spans still fit. For showing source
/// lines beside an error.
#[must_use]
pub fn redact(text: &str) -> String {
    let (root, errors) = DeTable::parse_recoverable(text);
    let mut hidden = Vec::new();
    secret_spans(root.get_ref(), &mut hidden);
    if !errors.is_empty() {
        // What the parser lost may be a secret: hide by line, too.
        hidden.extend(suspicious_lines(text));
    }
    let hide = |at: usize| hidden.iter().any(|span| span.contains(&at));
    let mut out = String::with_capacity(text.len());
    for (at, c) in text.char_indices() {
        if hide(at) && c != '\n' && c != '"' && c != '\'' {
            (0..c.len_utf8()).for_each(|_| out.push('*'));
        } else {
            out.push(c);
        }
    }
    out
}

fn secret_spans(table: &DeTable<'_>, out: &mut Vec<Range<usize>>) {
    for (key, value) in table {
        match value.get_ref() {
            DeValue::Table(inner) => secret_spans(inner, out),
            DeValue::Array(items) => items.iter().for_each(|item| match item.get_ref() {
                DeValue::Table(inner) => secret_spans(inner, out),
                _ if is_secret(key.get_ref()) => out.push(item.span()),
                _ => {}
            }),
            _ if is_secret(key.get_ref()) => out.push(value.span()),
            _ => {}
        }
    }
}

/// Keys whose values nobody may see. Near misses count: a misspelt key still holds a secret.
pub(crate) fn is_secret(key: &str) -> bool {
    if key.ends_with("-file") {
        return false;
    }
    let key = key.to_ascii_lowercase();
    ["psk", "key", "secret", "password", "passphrase"]
        .iter()
        .any(|word| strsim::damerau_levenshtein(&key, word) <= 1)
}

fn suspicious_lines(text: &str) -> Vec<Range<usize>> {
    let mut out = Vec::new();
    let (mut start, mut in_pem) = (0_usize, false);
    for line in text.split_inclusive('\n') {
        let end = start.saturating_add(line.len());
        let key = line.split('=').next().unwrap_or("").trim().trim_matches(['"', '\'']);
        let pem_starts = line.contains("-----BEGIN") && line.contains("PRIVATE");
        if in_pem || pem_starts {
            out.push(start..end);
        } else if is_secret(key) {
            out.push(start.saturating_add(line.find('=').map_or(0, |at| at.saturating_add(1)))..end);
        }
        in_pem = (in_pem || pem_starts) && !line.contains("-----END");
        start = end;
    }
    out
}

fn position(text: &str, at: usize) -> (usize, usize) {
    let before = text.get(..at.min(text.len())).unwrap_or(text);
    let line = before.matches('\n').count().saturating_add(1);
    let column = before.rsplit('\n').next().unwrap_or("").chars().count().saturating_add(1);
    (line, column)
}
