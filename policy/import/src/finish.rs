//! From a draft to a profile, checked by the same parser that the daemon has.

use adit_core::Secret;
use adit_profile::{Directory, ProfileName, Source, parse_profile};

use crate::draft::{Draft, Value};
use crate::report::{Beside, Imported, Missing};
use crate::strategy::Kind;
use crate::suites::check_suite;

/// The order of lines.
pub(crate) const ORDER: &[&str] = &[
    "server",
    "port",
    "tunnel",
    "auth",
    "remote-auth",
    "local-id",
    "remote-id",
    "ipsec",
    "psk-file",
    "tunnel-secret-file",
    "user",
    "eap-identity",
    "eap-methods",
    "eap-inner",
    "eap-server",
    "password-file",
    "ppp-auth",
    "mppe",
    "mppe-stateful",
    "require-mppe",
    "ca",
    "certificate",
    "key",
    "key-password-file",
    "revocation",
    "proxy",
    "proxy-user",
    "proxy-password-file",
    "ike",
    "esp",
    "legacy",
    "rekey-ike",
    "rekey-child",
    "reauthenticate",
    "fragment-size",
    "mode",
    "traffic",
    "local-network",
    "local-subnets",
    "remote-subnets",
    "routes-by-dhcp",
    "addresses",
    "dpd",
    "idle",
    "interface",
    "mtu",
    "dns",
    "force-encapsulation",
    "local-address",
    "mobility",
    "outage-time",
];

/// The profile, or why there is none.
pub(crate) fn finish(mut draft: Draft<'_>, name: ProfileName) -> Imported {
    draft.unnamed_companions();
    traffic(&mut draft);
    who(&mut draft);
    if !draft.has("server") {
        draft.missing("the file names no server", "add one to it, and import it again");
    }
    if draft.kind == Kind::L2tp && !draft.has("psk-file") && !draft.has("ipsec") && !refused(&draft) {
        draft.missing("the file holds no pre-shared key", "add it to the file, and import it again");
    }
    if draft.value("auth") == Some("psk") && !draft.has("psk-file") {
        draft.missing("the file holds no pre-shared key", "add it to the file, and import it again");
    }
    let (files, names) = files(&mut draft, &name);
    let toml = written(&draft, &names);
    if draft.missing.is_empty() && !refused(&draft) {
        let file = format!("{name}.toml");
        let source = Source { file: &file, text: &toml, access: None };
        if let Err(errors) = parse_profile(&name, &source, &check_suite) {
            let told = errors.all().iter().map(|e| Missing { what: e.message.clone(), next: e.help.clone() });
            draft.missing.extend(told);
        }
    }
    let whole = draft.missing.is_empty() && !refused(&draft);
    Imported {
        name,
        called: draft.called,
        toml: whole.then_some(toml),
        files: if whole { files } else { Vec::new() },
        carried: draft.carried,
        left_out: draft.left_out,
        weak: draft.weak,
        missing: draft.missing,
        notes: draft.notes,
    }
}

/// Who names networks means a split tunnel, unless one of them is everything.
fn traffic(draft: &mut Draft<'_>) {
    if draft.value("traffic") == Some("full") && draft.has("remote-subnets") {
        draft.lines.retain(|(key, _)| *key != "remote-subnets");
    } else if draft.has("remote-subnets") {
        draft.text("traffic", "split", "");
        draft.lines.retain(|(key, _)| *key != "routes-by-dhcp");
    }
}

fn refused(draft: &Draft<'_>) -> bool {
    draft.weak.iter().any(|weak| weak.needed && !weak.taken)
}

/// EAP and PPP need a name, unless a certificate has it.
fn who(draft: &mut Draft<'_>) {
    let by_password = draft.kind.is_ppp() || draft.value("auth") == Some("eap");
    if !by_password || draft.has("user") || draft.has("key") {
        return;
    }
    match draft.context.user {
        Some(user) => draft.text("user", user, "(--user)"),
        None => draft.missing("the file does not say who you are", "say it: --user NAME"),
    }
}

/// Files beside the profile; and the name that each key's line gets.
fn files(draft: &mut Draft<'_>, name: &ProfileName) -> (Vec<Beside>, Vec<(&'static str, String)>) {
    let (mut files, mut names): (Vec<Beside>, Vec<(&'static str, String)>) = (Vec::new(), Vec::new());
    for material in core::mem::take(&mut draft.materials) {
        let directory = match material.key {
            "ca" | "certificate" => Directory::Certs,
            "key" => Directory::Private,
            _ => Directory::Secrets,
        };
        let called = format!("{name}{}", material.suffix);
        if !names.iter().any(|(key, _)| *key == material.key) {
            names.push((material.key, called.clone()));
        }
        match files.iter_mut().find(|file| file.directory == directory && file.name == called) {
            Some(file) => {
                let both = [file.content.expose(), material.content.expose()].concat();
                file.content = Secret::new(both);
            }
            None => files.push(Beside { directory, name: called, content: material.content }),
        }
    }
    let wanted = |file: &Beside| names.iter().any(|(_, n)| *n == file.name);
    files.retain(wanted);
    (files, names)
}

fn written(draft: &Draft<'_>, names: &[(&'static str, String)]) -> String {
    let mut lines: Vec<&(&'static str, Value)> = draft.lines.iter().collect();
    let place = |key: &str| ORDER.iter().position(|k| *k == key).unwrap_or(usize::MAX);
    lines.sort_by_key(|(key, _)| place(key));
    let mut out = String::new();
    for (key, value) in lines {
        let text = match value {
            Value::Text(text) => quoted(text),
            Value::List(all) => list(all.iter().map(String::as_str)),
            Value::Flag(flag) => flag.to_string(),
            Value::Number(number) => number.to_string(),
            Value::File => {
                names.iter().find(|(k, _)| k == key).map_or_else(String::new, |(_, name)| quoted(name))
            }
        };
        out.push_str(&format!("{key} = {text}\n"));
    }
    out
}

/// A list of TOML strings.
pub(crate) fn list<'t>(texts: impl Iterator<Item = &'t str>) -> String {
    let all: Vec<String> = texts.map(quoted).collect();
    format!("[{}]", all.join(", "))
}

/// A TOML string: as it is between single quotes where there is a backslash, escaped otherwise.
pub(crate) fn quoted(text: &str) -> String {
    if text.contains('\\') && !text.contains('\'') && !text.chars().any(char::is_control) {
        return format!("'{text}'");
    }
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            c if c.is_control() => out.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_stays_a_value() {
        assert_eq!(quoted("a\"\nstart = \"boot\""), "\"a\\\"\\u000Astart = \\\"boot\\\"\"");
        assert_eq!(quoted("CORP\\ann"), "'CORP\\ann'");
        assert_eq!(quoted("it's\\x"), "\"it's\\\\x\"");
    }
}
