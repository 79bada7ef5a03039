//! Postquantum preshared keys (RFC 8784): which one a connection uses, and which ones a server knows.

use crate::read::{Reader, Table, entry};
use crate::secret::{Directory, FileRef};
use crate::value::{NameError, quoted};

/// A key that both ends have been given, by name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ppk {
    /// Its name, the same at both ends: up to 64 printable characters.
    pub id: String,
    /// The file that holds it, as that of a PSK does.
    pub file: FileRef,
}

/// How far a connection goes without one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub enum PpkUse {
    /// None is used.
    #[default]
    Off,
    /// One is used where the other end has it too.
    Optional,
    /// There is no connection without one.
    Required,
}

impl PpkUse {
    const CLIENT: &'static [(&'static str, Self)] =
        &[("required", Self::Required), ("optional", Self::Optional)];
    const SERVER: &'static [(&'static str, Self)] =
        &[("off", Self::Off), ("optional", Self::Optional), ("required", Self::Required)];

    /// The word for it in a file.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Optional => "optional",
            Self::Required => "required",
        }
    }
}

const LONGEST: usize = 64;
const KEY: &[&str] = &["file"];

/// A name that every implementation can be given.
fn id(text: &str) -> Result<String, NameError> {
    let printable = |b: u8| b.is_ascii_graphic() || b == b' ';
    if text.is_empty() || text.len() > LONGEST || !text.bytes().all(printable) {
        let why = format!("{} is not the name of a key", quoted(text));
        return Err(NameError::new(why, "1 to 64 printable ASCII characters"));
    }
    Ok(text.to_owned())
}

/// `ppk-id`, `ppk-file` and `ppk` of a profile.
pub(crate) fn of_profile(reader: &mut Reader<'_>, table: &Table<'_>) -> Option<(Ppk, PpkUse)> {
    let name = reader.parse(table, "ppk-id", id);
    let file = reader.file(table, "ppk-file", Directory::Secrets);
    let said = reader.choice(table, "ppk", PpkUse::CLIENT);
    let has = |key| entry(table, key).is_some();
    if (has("ppk-file") || has("ppk")) && !has("ppk-id") {
        reader.missing(table, "ppk-id", r#"add ppk-id = "NAME", under which the server knows the key"#);
    }
    if (has("ppk-id") || has("ppk")) && !has("ppk-file") {
        let help = r#"add ppk-file = "NAME.ppk", a file in /etc/adit/secrets that holds the key"#;
        reader.missing(table, "ppk-file", help);
    }
    Some((Ppk { id: name?, file: file? }, said.unwrap_or(PpkUse::Required)))
}

/// `[ppk.NAME]` of a server.
pub(crate) fn of_server(reader: &mut Reader<'_>, top: &Table<'_>) -> Vec<Ppk> {
    let Some(all) = reader.table(top, "ppk") else { return Vec::new() };
    let names: Vec<_> = all.entries.keys().map(|k| (k.get_ref().to_string(), k.span())).collect();
    let mut out = Vec::new();
    for (name, span) in names {
        let Some(mut table) = reader.table(&all, &name) else { continue };
        table.title = format!("[ppk.{}] ", name.escape_debug());
        reader.only(&table, KEY);
        let file = reader.file(&table, "file", Directory::Secrets);
        if entry(&table, "file").is_none() {
            let help = r#"add file = "NAME.ppk", a file in /etc/adit/secrets that holds the key"#;
            reader.missing(&table, "file", help);
        }
        match (id(&name), file) {
            (Ok(id), Some(file)) => out.push(Ppk { id, file }),
            (Err(error), _) => reader.error(span, format!("[ppk]: {}", error.why), error.allowed),
            (Ok(_), None) => {}
        }
    }
    out
}

/// `ppk` of a `[[connection]]`: where the server has keys, they are used by who names one.
pub(crate) fn of_connection(reader: &mut Reader<'_>, table: &Table<'_>, known: &[Ppk]) -> PpkUse {
    let said = reader.choice(table, "ppk", PpkUse::SERVER);
    if let (Some(PpkUse::Optional | PpkUse::Required), true, Some((_, span))) =
        (said, known.is_empty(), entry(table, "ppk"))
    {
        let message = format!("{}`ppk`: this server has no keys", table.title);
        reader.error(span, message, "add [ppk.NAME] with file = \"NAME.ppk\"");
    }
    let default = if known.is_empty() { PpkUse::Off } else { PpkUse::Optional };
    said.unwrap_or(default)
}
