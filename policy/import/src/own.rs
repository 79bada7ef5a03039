//! Connections of NetworkManager that are of our own type: `vpn.data` has the keys of a profile, and their values as a
//! profile has them, without quotation marks and brackets. A profile becomes one, and one becomes a profile.

use adit_profile::{Directory, ProfileName, Source, parse_profile};
use zeroize::Zeroizing;

use crate::companion::base_name;
use crate::draft::clean;
use crate::export::{Exported, Section};
use crate::finish::{ORDER, list, quoted};
use crate::ini::{self, Style};
use crate::names;
use crate::report::{Beside, ImportError, LeftOut};
use crate::suites::check_suite;
use crate::tree::Table;

/// The type of our connections: `vpn.service-type`.
pub const SERVICE: &str = "org.freedesktop.NetworkManager.adit";

/// Keys whose values are lists: words between spaces or commas.
pub const LISTS: &[&str] = &[
    "server",
    "eap-methods",
    "ike",
    "esp",
    "local-subnets",
    "remote-subnets",
    "addresses",
    "prefer",
    "ppp-auth",
    "mppe",
];
/// Keys whose values stand without quotation marks: numbers, `true` and `false`.
pub const BARE: &[&str] = &[
    "version",
    "port",
    "mtu",
    "fragment-size",
    "rekey-bytes",
    "rekey-packets",
    "legacy",
    "eap-only",
    "routes-by-dhcp",
    "local-network",
    "shared-identity",
    "session-resumption",
    "force-encapsulation",
    "mobility",
    "mppe-stateful",
    "require-mppe",
    "ppp-scripts",
    "hide-avps",
    "weak",
    "race",
    "sstp-after-bad-certificate",
];
/// Secrets, which stand in `vpn.secrets`.
const SECRETS: &[&str] = &["psk", "password", "pin"];
/// Keys of files that may lie anywhere.
const FILES: &[&str] = &["ca", "certificate", "key"];
/// What NetworkManager itself has in the section of a VPN.
const ITS_OWN: &[&str] = &["service-type", "user-name", "persistent", "timeout"];
/// What a command says that does the same without NetworkManager.
const WITHOUT: &str = "sudo ctl import FILE, and then: ctl up NAME";

/// The words of a value that is a list.
pub fn words(value: &str) -> impl Iterator<Item = &str> {
    value.split([' ', ',', '\t', '\n']).filter(|word| !word.is_empty())
}

/// Whether that is a number or a truth value, which a profile has without quotation marks.
#[must_use]
pub fn is_bare(value: &str) -> bool {
    let value = value.trim();
    matches!(value, "true" | "false") || (!value.is_empty() && value.chars().all(|c| c.is_ascii_digit()))
}

/// A connection as it is to be called and found.
#[derive(Clone, Copy, Debug)]
pub struct Connection<'c> {
    /// Its name.
    pub id: &'c str,
    /// A UUID of its own, in its usual notation.
    pub uuid: &'c str,
    /// Files that the profile names, and whose content goes along.
    pub beside: &'c [Beside],
    /// The folder, as a whole path, in which those of them lie by then that are certificates and keys.
    pub folder: Option<&'c str>,
}

/// A profile as a keyfile of NetworkManager's, for a connection of our own type. Passwords and pre-shared keys that are in `beside`, or in
/// the profile itself, are in it.
///
/// # Errors
/// It has mistakes, or says what such a connection has no place for.
pub fn connection(profile: &str, about: &Connection<'_>) -> Result<Exported, ImportError> {
    let name = called(about.id)?;
    check(&name, profile)?;
    let table: toml::Table =
        toml::from_str(profile).map_err(|e| ImportError::new(e.message().to_owned(), "ctl check FILE"))?;
    let mut writing = Writing::new(about);
    for (key, value) in &table {
        writing.entry(key, value)?;
    }
    Ok(writing.done(&table))
}

struct Writing<'c> {
    about: &'c Connection<'c>,
    data: Vec<(String, String)>,
    secrets: Vec<(&'static str, Zeroizing<String>)>,
    left_out: Vec<LeftOut>,
}

impl<'c> Writing<'c> {
    fn new(about: &'c Connection<'c>) -> Self {
        Self { about, data: Vec::new(), secrets: Vec::new(), left_out: Vec::new() }
    }

    fn entry(&mut self, key: &str, value: &toml::Value) -> Result<(), ImportError> {
        if let Some(secret) = SECRETS.iter().find(|secret| **secret == key) {
            let text = value.as_str().unwrap_or_default().to_owned();
            self.secrets.push((secret, Zeroizing::new(text)));
            return Ok(());
        }
        match key {
            "start" => self.left(key, value, "NetworkManager says when it is raised"),
            "child" => return Err(no_place("[[child]]")),
            _ if FILES.contains(&key) => self.files(key, value)?,
            _ if key.ends_with("-file") => self.secret_file(key, value)?,
            _ => match shown(key, value) {
                Some(text) => self.data.push((key.to_owned(), text)),
                None => self.left(key, value, "a connection of NetworkManager's does not hold it"),
            },
        }
        Ok(())
    }

    fn left(&mut self, key: &str, value: &toml::Value, why: &str) {
        self.left_out.push(LeftOut { key: clean(&format!("{key} = {value}")), why: why.to_owned() });
    }

    fn beside(&self, directories: &[Directory], name: &str) -> Option<&'c Beside> {
        let fits = |file: &&Beside| directories.contains(&file.directory) && file.name == name;
        self.about.beside.iter().find(fits)
    }

    /// Certificates and keys: by their whole paths where they come along, else as the profile has them.
    fn files(&mut self, key: &str, value: &toml::Value) -> Result<(), ImportError> {
        let names = match value {
            toml::Value::Array(names) => names.iter().filter_map(toml::Value::as_str).collect(),
            other => other.as_str().map_or_else(Vec::new, |name| vec![name]),
        };
        if key == "key" && names.len() > 1 {
            return Err(no_place("several keys"));
        }
        let mut places = Vec::new();
        for name in names {
            if name.contains("-----BEGIN ") {
                return Err(no_place(&format!("{key} = \"-----BEGIN …\"")));
            }
            places.push(match self.beside(&[Directory::Certs, Directory::Private], name) {
                Some(_) if key == "key" && is_pkcs12(name) => return Err(no_place("PKCS#12")),
                Some(_) => {
                    let next = "say where certificates and keys are to lie: --files-to DIR";
                    let folder = self
                        .about
                        .folder
                        .ok_or_else(|| ImportError::new("certificates belong to it", next))?;
                    format!("{}/{name}", folder.trim_end_matches('/'))
                }
                None => name.to_owned(),
            });
        }
        // A key of a token may have spaces, and is one.
        if key != "key" && places.iter().any(|place| words(place).nth(1).is_some()) {
            let text = format!("{key}: the path has a space or a comma in it");
            return Err(ImportError::new(text, "name another folder: --files-to DIR"));
        }
        self.data.push((key.to_owned(), places.join(" ")));
        Ok(())
    }

    fn secret_file(&mut self, key: &str, value: &toml::Value) -> Result<(), ImportError> {
        let name = value.as_str().unwrap_or_default();
        let Some(file) = self.beside(&[Directory::Secrets], name) else {
            self.data.push((key.to_owned(), name.to_owned()));
            return Ok(());
        };
        let secret = match key {
            "psk-file" => "psk",
            "password-file" => "password",
            other => return Err(no_place(other)),
        };
        let text = core::str::from_utf8(file.content.expose())
            .map_err(|_| ImportError::new(format!("{key}: what it holds is no text"), WITHOUT))?;
        self.secrets.push((secret, Zeroizing::new(text.trim_end_matches(['\r', '\n']).to_owned())));
        Ok(())
    }

    fn done(self, table: &toml::Table) -> Exported {
        let text = |key: &str| table.get(key).and_then(toml::Value::as_str);
        let given = |secret: &str| self.secrets.iter().any(|(name, _)| *name == secret);
        let mut s = Section::begin("connection");
        s.line("id", self.about.id);
        s.line("uuid", self.about.uuid);
        s.line("type", "vpn");
        s.line("autoconnect", "false");
        s.section("vpn");
        s.line("service-type", SERVICE);
        for (key, value) in &self.data {
            s.line(key, value);
        }
        let by_password = text("auth") == Some("eap") || text("tunnel").is_none_or(|kind| kind != "ikev2");
        let from_file = table.contains_key("password-file") || table.contains_key("key");
        if given("password") {
            s.line("password-flags", "0");
        } else if by_password && text("auth").is_none_or(|auth| auth == "eap") && !from_file {
            // An agent is asked, and keeps it.
            s.line("password-flags", "1");
        }
        if given("psk") {
            s.line("psk-flags", "0");
        }
        if !self.secrets.is_empty() {
            s.section("vpn-secrets");
            for (key, value) in &self.secrets {
                s.line(key, value);
            }
        }
        for family in ["ipv4", "ipv6"] {
            s.section(family);
            s.line("method", "auto");
            if text("traffic") == Some("split") {
                s.line("never-default", "true");
            }
        }
        Exported { text: Zeroizing::new(s.out), left_out: self.left_out }
    }
}

/// A value as `vpn.data` has it. `None`: it has no place there.
fn shown(key: &str, value: &toml::Value) -> Option<String> {
    match value {
        toml::Value::String(text) => Some(text.clone()),
        toml::Value::Integer(_) | toml::Value::Boolean(_) => Some(value.to_string()),
        toml::Value::Array(items) if LISTS.contains(&key) || key == "tunnel" => {
            let items: Option<Vec<&str>> = items.iter().map(toml::Value::as_str).collect();
            let items = items?;
            items.iter().all(|item| words(item).count() == 1).then(|| items.join(" "))
        }
        _ => None,
    }
}

fn is_pkcs12(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    name.ends_with(".p12") || name.ends_with(".pfx")
}

fn no_place(what: &str) -> ImportError {
    ImportError::new(format!("{what}: a connection of NetworkManager's has no place for it"), WITHOUT)
}

/// A profile's name of a connection's.
fn called(id: &str) -> Result<ProfileName, ImportError> {
    let name = names::plain(id).unwrap_or_else(|| "imported".to_owned());
    name.parse()
        .map_err(|_| ImportError::new(format!("\"{}\" is no name", clean(id)), "say one: --name NAME"))
}

fn check(name: &ProfileName, profile: &str) -> Result<(), ImportError> {
    let file = format!("{name}.toml");
    let source = Source { file: &file, text: profile, access: None };
    let Err(errors) = parse_profile(name, &source, &check_suite) else { return Ok(()) };
    let first = errors.all().first();
    Err(first.map_or_else(
        || ImportError::new("the profile has mistakes", "ctl check FILE"),
        |error| ImportError::new(error.message.clone(), error.help.clone()),
    ))
}

/// Whether that is a profile of Adit's own.
#[must_use]
pub fn is_profile(text: &str) -> bool {
    toml::from_str::<toml::Table>(text).is_ok_and(|table| table.contains_key("server"))
}

/// A keyfile of a connection of our own type, as one with another UUID. `None`: it is no such keyfile.
#[must_use]
pub fn again(keyfile: &str, uuid: &str) -> Option<Zeroizing<String>> {
    let root = ini::read(keyfile, Style::Keyfile).ok()?;
    root.table("vpn").filter(|vpn| vpn.text("service-type") == Some(SERVICE))?;
    let mut section = String::new();
    let mut out = Zeroizing::new(String::with_capacity(keyfile.len().saturating_add(64)));
    for line in keyfile.lines() {
        if line.trim_start().starts_with('[') {
            line.trim().clone_into(&mut section);
        }
        let key = line.split('=').next().unwrap_or("").trim();
        if section == "[connection]" && key == "uuid" {
            out.push_str(&format!("uuid={uuid}"));
        } else {
            out.push_str(line);
        }
        out.push('\n');
    }
    Some(out)
}

/// A keyfile of a connection of our own type as a profile, without secrets. What has to be done beside stands in it as comments.
///
/// # Errors
/// It is none, or no profile.
pub fn profile(keyfile: &str) -> Result<Exported, ImportError> {
    let root = ini::read(keyfile, Style::Keyfile)?;
    let none = Table::default();
    let vpn = root.table("vpn").unwrap_or(&none);
    let service = vpn.text("service-type").unwrap_or("");
    if service != SERVICE {
        let text = format!("it is a connection of the type \"{}\"", clean(service));
        return Err(ImportError::new(text, format!("name one of the type {SERVICE}")));
    }
    let id = root.table("connection").and_then(|table| table.text("id")).unwrap_or("");
    let name = called(id)?;
    let mut page = Page::default();
    for (key, node) in vpn.entries() {
        let value = node.take().unwrap_or("");
        if !ITS_OWN.contains(&key) && !key.ends_with("-flags") {
            page.entry(key, value)?;
        }
    }
    page.common(&root);
    page.psk(&name);
    let text = page.done();
    check(&name, &text)?;
    Ok(Exported { text: Zeroizing::new(text), left_out: Vec::new() })
}

#[derive(Default)]
struct Page {
    lines: Vec<(String, String)>,
    /// Of which the values are, as the connection has them.
    values: Vec<(String, String)>,
    comments: Vec<String>,
}

impl Page {
    fn has(&self, key: &str) -> bool {
        self.lines.iter().any(|(k, _)| k == key)
    }

    fn value(&self, key: &str) -> Option<&str> {
        self.values.iter().find(|(k, _)| k == key).map(|(_, value)| value.as_str())
    }

    fn line(&mut self, key: &str, value: String) {
        self.lines.push((key.to_owned(), value));
    }

    fn entry(&mut self, key: &str, value: &str) -> Result<(), ImportError> {
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if key.is_empty() || !key.chars().all(plain) {
            return Err(ImportError::new(format!("vpn.data: {} is no key", clean(key)), "take it out"));
        }
        if SECRETS.contains(&key) {
            let text = format!("vpn.data: {key} is a secret, and stands where everybody can read it");
            return Err(ImportError::new(text, format!("nmcli connection modify NAME vpn.secrets {key}=…")));
        }
        self.values.push((key.to_owned(), value.to_owned()));
        let written = match key {
            _ if FILES.contains(&key) => return self.files(key, value),
            "tunnel" if words(value).nth(1).is_some() => list(words(value)),
            _ if LISTS.contains(&key) => list(words(value)),
            _ if BARE.contains(&key) && is_bare(value) => value.trim().to_owned(),
            _ => quoted(value),
        };
        self.line(key, written);
        Ok(())
    }

    /// Only their names stand in a profile.
    fn files(&mut self, key: &str, value: &str) -> Result<(), ImportError> {
        if key == "key" && !value.starts_with('/') {
            self.line(key, quoted(value));
            return Ok(());
        }
        let all: Vec<&str> = if key == "key" { vec![value] } else { words(value).collect() };
        let folder = if key == "key" { Directory::Private } else { Directory::Certs };
        for path in all.iter().filter(|path| path.starts_with('/')) {
            self.comments.push(format!("{} goes into {}.", clean(path), folder.path()));
        }
        let names: Vec<&str> = all.into_iter().map(base_name).collect();
        match names.as_slice() {
            [name] => self.line(key, quoted(name)),
            names => self.line(key, list(names.iter().copied())),
        }
        Ok(())
    }

    /// What the connection's other sections say, as the service reads them.
    fn common(&mut self, root: &Table) {
        let flag = |key: &str| root.table("ipv4").is_some_and(|ipv4| ipv4.flag(key) == Some(true));
        if flag("never-default") && !self.has("traffic") {
            self.line("traffic", quoted("split"));
            let networks = networks(root);
            if !networks.is_empty() && !self.has("remote-subnets") {
                self.line("remote-subnets", list(networks.iter().map(String::as_str)));
            }
        }
        if flag("ignore-auto-dns") && !self.has("dns") {
            self.line("dns", quoted("ignore"));
        }
        let interface = root.table("connection").and_then(|table| table.text("interface-name"));
        if let Some(interface) = interface.filter(|_| !self.has("interface")) {
            self.line("interface", quoted(interface));
        }
    }

    /// A profile has to say where its pre-shared key is.
    fn psk(&mut self, name: &ProfileName) {
        let l2tp = self.value("tunnel").is_some_and(|kind| kind.trim() == "l2tp");
        let ikev2 = self.value("tunnel").is_none_or(|kind| kind.trim() == "ikev2");
        let by_psk = [self.value("auth"), self.value("remote-auth")].contains(&Some("psk"));
        let needed = (ikev2 && by_psk) || (l2tp && self.value("ipsec") != Some("none"));
        if needed && !self.has("psk-file") {
            self.line("psk-file", quoted(&format!("{name}.psk")));
            let path = Directory::Secrets.path();
            self.comments.push(format!("The pre-shared key goes into {path}/{name}.psk."));
        }
    }

    fn done(mut self) -> String {
        let place = |key: &str| ORDER.iter().position(|k| *k == key).unwrap_or(usize::MAX);
        self.lines.sort_by_key(|(key, _)| place(key));
        let comments = self.comments.iter().map(|comment| format!("# {comment}\n"));
        let lines = self.lines.iter().map(|(key, value)| format!("{key} = {value}\n"));
        comments.chain(lines).collect()
    }
}

/// Networks of `route1=10.0.0.0/8,gateway,metric`.
fn networks(root: &Table) -> Vec<String> {
    let mut out = Vec::new();
    for table in ["ipv4", "ipv6"].into_iter().filter_map(|family| root.table(family)) {
        for (key, node) in table.entries() {
            let number = key.strip_prefix("route").unwrap_or("x");
            if !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()) {
                let network = node.take().and_then(|value| value.split([',', ' ']).next()).unwrap_or("");
                out.push(network.to_owned());
            }
        }
    }
    out
}
