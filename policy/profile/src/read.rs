use core::ops::{Range, RangeInclusive};
use core::time::Duration;

use toml::de::{DeArray, DeTable, DeValue};

use crate::error::{Mistake, ProfileError, Source, is_secret};
use crate::secret::{
    CertSource, Directory, FileRef, KeySource, PasswordSource, PskSource, exposed, parse_psk,
};
use crate::token::{SCHEME, TokenKey};
use crate::value::{NameError, Suite, SuiteCheck, SuiteKind, parse_duration, quoted, show_duration};

/// What pppd keeps secrets in.
const PPPD_FILES: &[&str] = &["chap-secrets", "pap-secrets"];

/// How a proposal's text is checked; the parser of proposals lives with the protocol.
pub type CheckSuite<'c> = &'c dyn Fn(SuiteKind, &str) -> SuiteCheck;

/// Reads values out of a parsed file and collects every mistake on the way.
pub(crate) struct Reader<'s> {
    pub(crate) source: Source<'s>,
    pub(crate) errors: Vec<ProfileError>,
    /// Whether the file has said `legacy = true`.
    pub(crate) legacy: bool,
    /// Whether the file is read for one of several types of tunnel.
    pub(crate) several: bool,
}

/// A table of the file, and how messages call it: `` or `[listen] `.
#[derive(Clone)]
pub(crate) struct Table<'t> {
    pub(crate) title: String,
    pub(crate) span: Range<usize>,
    pub(crate) entries: &'t DeTable<'t>,
}

/// A string of the file.
#[derive(Clone)]
pub(crate) struct Text<'t> {
    pub(crate) text: &'t str,
    pub(crate) span: Range<usize>,
}

impl<'s> Reader<'s> {
    pub(crate) fn new(source: Source<'s>) -> Self {
        Self { source, errors: Vec::new(), legacy: false, several: false }
    }

    pub(crate) fn error(&mut self, span: Range<usize>, message: impl Into<String>, help: impl Into<String>) {
        self.errors.push(ProfileError::at(&self.source, span, message.into(), help.into()));
    }

    /// Says which keys `table` may not have, and which known key was probably meant.
    pub(crate) fn only(&mut self, table: &Table<'_>, known: &[&str]) {
        let unknown: Vec<_> = table
            .entries
            .keys()
            .filter(|k| !known.contains(&k.get_ref().as_ref()))
            .map(|k| (k.span(), k.get_ref()))
            .collect();
        for (span, key) in unknown {
            let help = match nearest(key, known.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("known here: {}", known.join(", ")),
            };
            self.error(span, format!("{}unknown key {}", table.title, quoted(key)), help);
        }
    }

    pub(crate) fn missing(&mut self, table: &Table<'_>, key: &str, help: &str) {
        self.error(table.span.clone(), format!("{}`{key}` is missing", table.title), help);
        self.last_is(Mistake::Missing);
    }

    /// A key that does nothing is a misunderstanding, and with credentials one that matters.
    pub(crate) fn useless(&mut self, table: &Table<'_>, key: &str, why: &str, help: &str) {
        if let Some((_, span)) = entry(table, key) {
            self.error(span, format!("{}`{key}` has no use: {why}", table.title), help);
            self.last_is(Mistake::Useless);
        }
    }

    fn last_is(&mut self, mistake: Mistake) {
        if let Some(error) = self.errors.last_mut() {
            error.mistake = mistake;
        }
    }

    pub(crate) fn string<'t>(&mut self, table: &Table<'t>, key: &str) -> Option<Text<'t>> {
        let (value, span) = entry(table, key)?;
        let text = value.as_str();
        if text.is_none() {
            self.wrong_type(table, key, value, &span, "a string in quotes");
        }
        text.map(|text| Text { text, span })
    }

    /// A string, or a list of them.
    pub(crate) fn strings<'t>(&mut self, table: &Table<'t>, key: &str) -> Vec<Text<'t>> {
        const EXPECTED: &str = "a list of strings: [\"…\", \"…\"]";
        match entry(table, key) {
            None => Vec::new(),
            Some((DeValue::String(text), span)) => vec![Text { text, span }],
            Some((DeValue::Array(items), _)) => items
                .iter()
                .filter_map(|item| {
                    let text = item.get_ref().as_str();
                    if text.is_none() {
                        self.wrong_type(table, key, item.get_ref(), &item.span(), EXPECTED);
                    }
                    text.map(|text| Text { text, span: item.span() })
                })
                .collect(),
            Some((other, span)) => {
                self.wrong_type(table, key, other, &span, EXPECTED);
                Vec::new()
            }
        }
    }

    pub(crate) fn parse<T>(
        &mut self,
        table: &Table<'_>,
        key: &str,
        parse: impl FnOnce(&str) -> Result<T, NameError>,
    ) -> Option<T> {
        let text = self.string(table, key)?;
        self.parsed(table, key, &text, parse)
    }

    pub(crate) fn parse_list<T>(
        &mut self,
        table: &Table<'_>,
        key: &str,
        parse: impl Fn(&str) -> Result<T, NameError>,
    ) -> Vec<T> {
        let texts = self.strings(table, key);
        texts.iter().filter_map(|text| self.parsed(table, key, text, &parse)).collect()
    }

    /// The same, where a list without anything in it says nothing. `None`: the key is not there.
    pub(crate) fn parse_some<T>(
        &mut self,
        table: &Table<'_>,
        key: &str,
        parse: impl Fn(&str) -> Result<T, NameError>,
    ) -> Option<Vec<T>> {
        let (_, span) = entry(table, key)?;
        let errors = self.errors.len();
        let list = self.parse_list(table, key, parse);
        if list.is_empty() && self.errors.len() == errors {
            self.error(span, format!("{}`{key}` is empty", table.title), "name one, or take the line out");
        }
        Some(list)
    }

    pub(crate) fn parsed<T>(
        &mut self,
        table: &Table<'_>,
        key: &str,
        text: &Text<'_>,
        parse: impl FnOnce(&str) -> Result<T, NameError>,
    ) -> Option<T> {
        parse(text.text)
            .map_err(|e| {
                self.error(
                    text.span.clone(),
                    format!("{}`{key}`: {}", table.title, e.why),
                    format!("allowed: {}", e.allowed),
                )
            })
            .ok()
    }

    pub(crate) fn choice<T: Copy>(
        &mut self,
        table: &Table<'_>,
        key: &str,
        choices: &[(&str, T)],
    ) -> Option<T> {
        let text = self.string(table, key)?;
        let found = choices.iter().find(|(word, _)| *word == text.text).map(|(_, value)| *value);
        if found.is_none() {
            let allowed: Vec<String> = choices.iter().map(|(word, _)| format!("\"{word}\"")).collect();
            let near = nearest(text.text, choices.iter().map(|(word, _)| *word));
            let near = near.map_or(String::new(), |word| format!("; did you mean \"{word}\"?"));
            let message = format!("{}`{key}`: {} is not a value it can have", table.title, quoted(text.text));
            self.error(text.span, message, format!("allowed: {}{near}", allowed.join(", ")));
        }
        found
    }

    pub(crate) fn boolean(&mut self, table: &Table<'_>, key: &str) -> Option<bool> {
        let (value, span) = entry(table, key)?;
        let found = value.as_bool();
        if found.is_none() {
            self.wrong_type(table, key, value, &span, "true or false, without quotes");
        }
        found
    }

    pub(crate) fn integer<T: TryFrom<i64>>(
        &mut self,
        table: &Table<'_>,
        key: &str,
        range: RangeInclusive<i64>,
    ) -> Option<T> {
        let (value, span) = entry(table, key)?;
        self.number(table, key, value, span, range)
    }

    pub(crate) fn integers<T: TryFrom<i64>>(
        &mut self,
        table: &Table<'_>,
        key: &str,
        range: &RangeInclusive<i64>,
    ) -> Option<Vec<T>> {
        let (value, span) = entry(table, key)?;
        let Some(items) = value.as_array() else {
            self.wrong_type(table, key, value, &span, "a list of numbers: [500, 4500]");
            return None;
        };
        items.iter().map(|item| self.number(table, key, item.get_ref(), item.span(), range.clone())).collect()
    }

    fn number<T: TryFrom<i64>>(
        &mut self,
        table: &Table<'_>,
        key: &str,
        value: &DeValue<'_>,
        span: Range<usize>,
        range: RangeInclusive<i64>,
    ) -> Option<T> {
        let allowed = format!("a number from {} to {}", range.start(), range.end());
        let Some(written) = value.as_integer() else {
            self.wrong_type(table, key, value, &span, &allowed);
            return None;
        };
        let number =
            i64::from_str_radix(written.as_str(), written.radix()).ok().filter(|n| range.contains(n));
        let number = number.and_then(|n| T::try_from(n).ok());
        if number.is_none() {
            self.error(
                span,
                format!("{}`{key}`: {written} is out of range", table.title),
                format!("allowed: {allowed}"),
            );
        }
        number
    }

    pub(crate) fn duration(
        &mut self,
        table: &Table<'_>,
        key: &str,
        range: RangeInclusive<Duration>,
    ) -> Option<Duration> {
        let allowed = format!(
            "{} to {}, written as 30s, 5m or 8h",
            show_duration(*range.start()),
            show_duration(*range.end())
        );
        self.parse(table, key, |text| {
            parse_duration(text).filter(|d| range.contains(d)).ok_or_else(|| {
                NameError::new(format!("{} is not a duration it can have", quoted(text)), allowed)
            })
        })
    }

    /// A duration, or `"never"`: then `Some(None)`.
    pub(crate) fn duration_or_never(
        &mut self,
        table: &Table<'_>,
        key: &str,
        range: RangeInclusive<Duration>,
    ) -> Option<Option<Duration>> {
        let allowed = format!(
            "{} to {}, written as 30s, 5m or 8h, or \"never\"",
            show_duration(*range.start()),
            show_duration(*range.end())
        );
        self.parse(table, key, |text| match text {
            "never" => Ok(None),
            _ => parse_duration(text).filter(|d| range.contains(d)).map(Some).ok_or_else(|| {
                NameError::new(format!("{} is not a duration it can have", quoted(text)), allowed)
            }),
        })
    }

    pub(crate) fn suites(
        &mut self,
        table: &Table<'_>,
        key: &str,
        kind: SuiteKind,
        check: CheckSuite<'_>,
    ) -> Vec<Suite> {
        let texts = self.strings(table, key);
        if texts.is_empty()
            && let Some((_, span)) = entry(table, key)
        {
            self.error(
                span,
                format!("{}`{key}` is empty", table.title),
                "leave it out for the default proposals",
            );
        }
        let mut out = Vec::new();
        for Text { text, span } in texts {
            match check(kind, text) {
                Ok(legacy) => {
                    self.refuse_legacy(table, key, text, &span, &legacy);
                    out.push(Suite { text: text.to_owned(), span });
                }
                Err(allowed) => {
                    let message =
                        format!("{}`{key}`: {} is not a proposal Adit can make", table.title, quoted(text));
                    self.error(span, message, allowed);
                }
            }
        }
        out
    }

    fn refuse_legacy(
        &mut self,
        table: &Table<'_>,
        key: &str,
        text: &str,
        span: &Range<usize>,
        legacy: &[String],
    ) {
        if self.legacy || legacy.is_empty() {
            return;
        }
        let names = legacy.join(" and ");
        let message = format!("{}`{key}`: {} has {names}, which can be broken", table.title, quoted(text));
        self.error(span.clone(), message, "if the peer can do nothing better, add legacy = true");
    }

    /// `psk` or `psk-file`, never both.
    pub(crate) fn psk(&mut self, table: &Table<'_>) -> Option<PskSource> {
        let file = self.file(table, "psk-file", Directory::Secrets);
        let Some(inline) = self.string(table, "psk") else {
            return file.map(PskSource::File);
        };
        if file.is_some() {
            self.error(
                inline.span.clone(),
                format!("{}both `psk` and `psk-file`", table.title),
                "keep one; a file is safer",
            );
        }
        self.errors.extend(exposed(&self.source, inline.span.clone()));
        match parse_psk(inline.text) {
            Ok(secret) => Some(PskSource::Inline(secret)),
            Err((why, allowed)) => {
                self.error(
                    inline.span,
                    format!("{}`psk`: {why}", table.title),
                    format!("allowed: {allowed}"),
                );
                None
            }
        }
    }

    /// `password` or `password-file`, never both. `pppd`: the file may be pppd's.
    pub(crate) fn password(&mut self, table: &Table<'_>, pppd: bool) -> Option<PasswordSource> {
        let file = match pppd {
            true => self.file_or_pppd(table, "password-file"),
            false => self.file(table, "password-file", Directory::Secrets),
        };
        let Some(inline) = self.string(table, "password") else {
            return file.map(PasswordSource::File);
        };
        if file.is_some() {
            let message = format!("{}both `password` and `password-file`", table.title);
            self.error(inline.span.clone(), message, "keep one; a file is safer");
        }
        self.errors.extend(exposed(&self.source, inline.span.clone()));
        if inline.text.is_empty() {
            self.error(inline.span, "`password` is empty", "take the line out, and a person is asked");
            return None;
        }
        Some(PasswordSource::Inline(inline.text.as_bytes().into()))
    }

    /// Private keys: PEM, files of `/etc/adit/private`, or a token's.
    pub(crate) fn keys(&mut self, table: &Table<'_>) -> Vec<KeySource> {
        let texts = self.strings(table, "key");
        let keys: Vec<_> = texts.into_iter().filter_map(|text| self.key(table, text)).collect();
        let token = keys.iter().any(|key| matches!(key, KeySource::Token(_)));
        if let (true, true, Some((_, span))) = (token, keys.len() > 1, entry(table, "key")) {
            let message = format!("{}`key`: a token's key and others", table.title);
            self.error(span, message, "name the token's key alone");
        }
        keys
    }

    fn key(&mut self, table: &Table<'_>, text: Text<'_>) -> Option<KeySource> {
        if text.text.starts_with(SCHEME) {
            return self.parsed(table, "key", &text, TokenKey::parse).map(KeySource::Token);
        }
        if !text.text.contains("-----BEGIN") {
            return self.file_named(table, "key", Directory::Private, text).map(KeySource::File);
        }
        self.errors.extend(exposed(&self.source, text.span.clone()));
        if !text.text.contains("PRIVATE KEY-----") || !text.text.contains("-----END") {
            self.error(
                text.span,
                format!("{}`key` is not a private key in PEM", table.title),
                "-----BEGIN PRIVATE KEY-----",
            );
            return None;
        }
        Some(KeySource::Inline(text.text.as_bytes().into()))
    }

    /// Certificates: PEM, or files of `/etc/adit/certs`.
    pub(crate) fn certificates(&mut self, table: &Table<'_>, key: &str) -> Vec<CertSource> {
        let texts = self.strings(table, key);
        texts.into_iter().filter_map(|text| self.certificate(table, key, text)).collect()
    }

    fn certificate(&mut self, table: &Table<'_>, key: &str, text: Text<'_>) -> Option<CertSource> {
        if !text.text.contains("-----BEGIN") {
            return self.file_named(table, key, Directory::Certs, text).map(CertSource::File);
        }
        if text.text.contains("PRIVATE KEY-----") {
            self.error(
                text.span,
                format!("{}`{key}` holds a private key", table.title),
                "private keys go to `key`",
            );
            return None;
        }
        if !text.text.contains("-----BEGIN CERTIFICATE-----")
            || !text.text.contains("-----END CERTIFICATE-----")
        {
            let help = "-----BEGIN CERTIFICATE----- … -----END CERTIFICATE-----";
            self.error(text.span, format!("{}`{key}` is not a certificate in PEM", table.title), help);
            return None;
        }
        Some(CertSource::Inline(text.text.to_owned()))
    }

    pub(crate) fn file(&mut self, table: &Table<'_>, key: &str, directory: Directory) -> Option<FileRef> {
        let text = self.string(table, key)?;
        self.file_named(table, key, directory, text)
    }

    /// The same, or `/etc/ppp/chap-secrets` or `/etc/ppp/pap-secrets`.
    pub(crate) fn file_or_pppd(&mut self, table: &Table<'_>, key: &str) -> Option<FileRef> {
        let text = self.string(table, key)?;
        let pppd = text.text.strip_prefix("/etc/ppp/").filter(|name| PPPD_FILES.contains(name));
        match pppd.and_then(|name| name.parse().ok()) {
            Some(name) => Some(FileRef { directory: Directory::Ppp, name, span: text.span }),
            None => self.file_named(table, key, Directory::Secrets, text),
        }
    }

    fn file_named(
        &mut self,
        table: &Table<'_>,
        key: &str,
        directory: Directory,
        text: Text<'_>,
    ) -> Option<FileRef> {
        let parse = |t: &str| {
            let place = format!("a file in {}", directory.path());
            t.parse().map_err(|e: NameError| {
                if is_secret(key) {
                    // Whoever pasted a key's text without its frame must not find it in a log.
                    NameError::new("this is not a plain file name", place)
                } else {
                    NameError::new(e.why, format!("{place}: {}", e.allowed))
                }
            })
        };
        let name = self.parsed(table, key, &text, parse)?;
        Some(FileRef { directory, name, span: text.span })
    }

    /// A table under a key of `table`.
    pub(crate) fn table<'t>(&mut self, table: &Table<'t>, key: &str) -> Option<Table<'t>> {
        let (value, span) = entry(table, key)?;
        let Some(entries) = value.as_table() else {
            self.wrong_type(table, key, value, &span, &format!("a table: [{key}]"));
            return None;
        };
        Some(Table { title: format!("[{key}] "), span, entries })
    }

    /// The tables of `[[key]]`.
    pub(crate) fn tables<'t>(&mut self, table: &Table<'t>, key: &str) -> Vec<Table<'t>> {
        let Some((value, span)) = entry(table, key) else {
            return Vec::new();
        };
        let items: Option<&'t DeArray<'t>> = value.as_array();
        let tables: Option<Vec<_>> = items.and_then(|items| {
            let table_of = |(n, item): (usize, &'t toml::Spanned<DeValue<'t>>)| {
                let title = format!("[[{key}]] {}: ", n.saturating_add(1));
                Some(Table { title, span: item.span(), entries: item.get_ref().as_table()? })
            };
            items.iter().enumerate().map(table_of).collect()
        });
        if tables.is_none() {
            self.wrong_type(table, key, value, &span, &format!("tables: [[{key}]]"));
        }
        tables.unwrap_or_default()
    }

    pub(crate) fn wrong_type(
        &mut self,
        table: &Table<'_>,
        key: &str,
        value: &DeValue<'_>,
        span: &Range<usize>,
        expected: &str,
    ) {
        let found = match value {
            _ if is_secret(key) => value.type_str().to_owned(),
            DeValue::String(text) => format!("the string {}", quoted(text)),
            DeValue::Integer(n) => format!("the number {n}"),
            DeValue::Float(x) => format!("the number {x}"),
            DeValue::Boolean(b) => format!("{b}"),
            DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => {
                format!("a TOML {}", value.type_str())
            }
        };
        self.error(
            span.clone(),
            format!("{}`{key}` is {found}", table.title),
            format!("allowed: {expected}"),
        );
    }
}

/// The value of `key`, and its span.
pub(crate) fn entry<'t>(table: &Table<'t>, key: &str) -> Option<(&'t DeValue<'t>, Range<usize>)> {
    let entries: &'t DeTable<'t> = table.entries;
    entries.iter().find(|(k, _)| k.get_ref() == key).map(|(_, v)| (v.get_ref(), v.span()))
}

/// The word that was probably meant.
pub(crate) fn nearest<'w>(text: &str, words: impl Iterator<Item = &'w str>) -> Option<&'w str> {
    let plain = |s: &str| s.to_ascii_lowercase().replace('_', "-");
    // Distances cost the product of both lengths: not for what cannot be near.
    let text = plain(text.get(..64.min(text.len())).unwrap_or(""));
    words
        .map(|word| (strsim::damerau_levenshtein(&text, &plain(word)), word))
        .filter(|(distance, word)| *distance <= (word.len() / 3).max(1))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, word)| word)
}

/// The longest file that is read, in bytes: far beyond any bundle of certificates, and short enough for D-Bus.
const LONGEST: usize = 512 * 1024;

/// Parses the text, or leaves the syntax errors in the reader: at most one a line, since one mistake makes several.
pub(crate) fn document<'t>(reader: &mut Reader<'t>) -> Option<toml::Spanned<DeTable<'t>>> {
    let text = reader.source.text;
    if text.len() > LONGEST {
        reader.error(0..0, format!("the file has {} bytes", text.len()), format!("allowed: {LONGEST} bytes"));
        return None;
    }
    let (root, errors) = DeTable::parse_recoverable(text);
    let mut last_line = 0;
    for error in &errors {
        let span = error.span().unwrap_or(0..0);
        let found = ProfileError::at(
            &reader.source,
            span,
            format!("not TOML: {}", error.message().replace('\n', ", ")),
            String::new(),
        );
        if found.line != last_line {
            last_line = found.line;
            reader.errors.push(found);
        }
    }
    errors.is_empty().then_some(root)
}
