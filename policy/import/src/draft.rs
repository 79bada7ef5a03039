//! A profile under construction: lines, files beside it, and what is to be told.

use adit_core::Secret;
use adit_profile::SuiteKind;

use crate::companion::{Companions, base_name};
use crate::format::pem_of_certificates;
use crate::report::{LeftOut, Missing, Weak};
use crate::strategy::{Kind, Strategy};
use crate::suites;
use crate::tree::{MOST_TOLD, Table};
use crate::weakening::Weakening;

/// What the person has said beside the files.
pub(crate) struct Context<'c> {
    pub(crate) accept: &'c [Weakening],
    pub(crate) user: Option<&'c str>,
    pub(crate) psk: Option<&'c Secret>,
    pub(crate) companions: &'c Companions,
    /// The profile's file, without directories and ending.
    pub(crate) stem: &'c str,
}

/// The value of a line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Value {
    Text(String),
    List(Vec<String>),
    Flag(bool),
    Number(u64),
    /// The name of a file beside it, which is known when the profile's own name is.
    File,
}

/// What goes into a file beside it.
pub(crate) struct Material {
    pub(crate) key: &'static str,
    pub(crate) suffix: &'static str,
    pub(crate) content: Secret,
}

pub(crate) struct Draft<'c> {
    pub(crate) context: &'c Context<'c>,
    /// How the file calls it.
    pub(crate) called: String,
    pub(crate) kind: Kind,
    pub(crate) lines: Vec<(&'static str, Value)>,
    pub(crate) materials: Vec<Material>,
    pub(crate) carried: Vec<(String, &'static str)>,
    pub(crate) left_out: Vec<LeftOut>,
    pub(crate) weak: Vec<Weak>,
    pub(crate) missing: Vec<Missing>,
    pub(crate) notes: Vec<String>,
    /// Whether a certificate of ours is needed, and by which key of the file.
    pub(crate) needs_own: Option<String>,
}

impl<'c> Draft<'c> {
    pub(crate) fn new(context: &'c Context<'c>, called: &str, strategy: &Strategy, from: &str) -> Self {
        let kind = strategy.first();
        let mut draft = Self {
            context,
            called: called.to_owned(),
            kind,
            lines: Vec::new(),
            materials: Vec::new(),
            carried: Vec::new(),
            left_out: Vec::new(),
            weak: Vec::new(),
            missing: Vec::new(),
            notes: Vec::new(),
            needs_own: None,
        };
        draft.lines.push(("tunnel", Value::Text(kind.word().to_owned())));
        draft.carries(from, "tunnel");
        draft.notes.extend(strategy.note());
        if kind == Kind::Pptp {
            draft.notes.push("PPTP is weak: ask for a server with IKEv2 or SSTP".to_owned());
        }
        draft
    }

    pub(crate) fn has(&self, key: &str) -> bool {
        self.lines.iter().any(|(k, _)| *k == key)
    }

    /// The text of a line.
    pub(crate) fn value(&self, key: &str) -> Option<&str> {
        self.lines.iter().find_map(|(k, value)| match value {
            Value::Text(text) if *k == key => Some(text.as_str()),
            _ => None,
        })
    }

    pub(crate) fn carries(&mut self, from: &str, to: &'static str) {
        if !from.is_empty() && !self.carried.iter().any(|(f, t)| f == from && *t == to) {
            self.carried.push((from.to_owned(), to));
        }
    }

    /// A line; an earlier one of that key goes.
    pub(crate) fn set(&mut self, key: &'static str, value: Value, from: &str) {
        self.lines.retain(|(k, _)| *k != key);
        self.lines.push((key, value));
        self.carries(from, key);
    }

    pub(crate) fn text(&mut self, key: &'static str, value: &str, from: &str) {
        self.set(key, Value::Text(value.to_owned()), from);
    }

    pub(crate) fn flag(&mut self, key: &'static str, value: bool, from: &str) {
        self.set(key, Value::Flag(value), from);
    }

    /// One more of a list.
    pub(crate) fn add(&mut self, key: &'static str, value: &str, from: &str) {
        self.carries(from, key);
        let listed = self.lines.iter_mut().find_map(|(k, list)| match list {
            Value::List(list) if *k == key => Some(list),
            _ => None,
        });
        match listed {
            Some(list) if list.iter().any(|v| v == value) => {}
            Some(list) => list.push(value.to_owned()),
            None => self.set(key, Value::List(vec![value.to_owned()]), from),
        }
    }

    pub(crate) fn left(&mut self, from: &str, value: Option<&str>, why: &str) {
        self.left_out.push(LeftOut { key: shown(from, value), why: why.to_owned() });
    }

    /// Takes a key out of the file that means something, but nothing here, and tells why.
    pub(crate) fn leave(&mut self, table: &Table, path: &str, rows: &[(&str, &str)]) {
        for (key, why) in rows {
            for value in table.texts(key) {
                self.left(&joined(path, key), Some(value), why);
            }
            if table.has(key) {
                table.take_named(key);
                let from = joined(path, key);
                if !self.left_out.iter().any(|left| left.key.starts_with(&from)) {
                    self.left(&from, None, why);
                }
            }
        }
    }

    /// What nobody has asked for.
    pub(crate) fn leftovers(&mut self, table: &Table, path: &str) {
        let mut rest = Vec::new();
        table.rest(path, &mut rest);
        let more = rest.len() > MOST_TOLD;
        for (key, value) in rest.into_iter().take(MOST_TOLD) {
            self.left(&key, Some(value), "not understood");
        }
        if more {
            self.left("(more keys than are listed here)", None, "not understood");
        }
        table.take_all();
    }

    /// Whether what weakens is taken. It is told either way.
    pub(crate) fn weak(&mut self, from: &str, weakening: Weakening) -> bool {
        let taken = weakening.can_be_accepted() && self.context.accept.contains(&weakening);
        let told = Weak { key: from.to_owned(), weakening, taken, needed: false };
        if !self.weak.iter().any(|w| w.weakening == weakening && w.key == from) {
            self.weak.push(told);
        }
        taken
    }

    /// The same, where without it there is no profile.
    pub(crate) fn weak_needed(&mut self, from: &str, weakening: Weakening) -> bool {
        let taken = self.weak(from, weakening);
        if let Some(weak) = self.weak.iter_mut().find(|w| w.weakening == weakening && w.key == from) {
            weak.needed = true;
        }
        taken
    }

    /// The same, where it makes no difference.
    pub(crate) fn weakens(&mut self, from: &str, weakening: Weakening) {
        let _ = self.weak(from, weakening);
    }

    /// The same, where it makes no difference.
    pub(crate) fn weakens_needed(&mut self, from: &str, weakening: Weakening) {
        let _ = self.weak_needed(from, weakening);
    }

    pub(crate) fn missing(&mut self, what: impl Into<String>, next: impl Into<String>) {
        self.missing.push(Missing { what: what.into(), next: next.into() });
    }

    /// A secret, in a file of its own.
    pub(crate) fn secret(&mut self, key: &'static str, content: &str, from: &str) {
        if content.contains(['\n', '\r']) && key != "psk-file" {
            self.missing(format!("{from} has more than one line"), "write it on one line");
            return;
        }
        let content =
            if key == "psk-file" { psk_text(content.as_bytes()) } else { content.as_bytes().into() };
        self.file(key, suffix_of(key), content, from);
    }

    /// A pre-shared key of any octets.
    pub(crate) fn psk(&mut self, content: &[u8], from: &str) {
        match content.is_empty() {
            true => self.missing(format!("{from} is empty"), "write the pre-shared key there"),
            false => self.file("psk-file", suffix_of("psk-file"), psk_text(content), from),
        }
    }

    /// A pre-shared key that is written in the notation of a PSK file already.
    pub(crate) fn psk_as_written(&mut self, content: &str, from: &str) {
        let access = adit_profile::Access { mode: 0o600, gid: 0, adit_gid: None };
        match adit_profile::parse_psk_file(from, content.as_bytes(), access) {
            Ok(_) => self.file("psk-file", suffix_of("psk-file"), content.as_bytes().into(), from),
            Err(error) => self.missing(format!("{from}: {}", error.message), error.help),
        }
    }

    /// One more gateway.
    pub(crate) fn server(&mut self, server: &str, from: &str) {
        self.add("server", server, from);
    }

    /// An identity. What Adit has no form for (a distinguished name) is told.
    pub(crate) fn identity(&mut self, key: &'static str, id: &str, from: &str) {
        let id = id.trim();
        if id.contains('=') && !id.starts_with("keyid:") {
            self.left(
                from,
                Some(id),
                "a distinguished name: name one of the certificate's subjectAltNames instead",
            );
        } else if id.contains([' ', '*', '?']) || id.chars().any(char::is_control) {
            self.left(from, Some(id), "it is no host name, user@domain or address");
        } else {
            let plain = id.strip_prefix("fqdn:").or_else(|| id.strip_prefix("email:")).unwrap_or(id);
            self.text(key, plain, from);
        }
    }

    /// A network; a host is one, and what lies beyond the prefix is cut off. `0.0.0.0/0` is a full tunnel.
    pub(crate) fn subnet(&mut self, key: &'static str, network: &str, from: &str) {
        let (addresses, ports) = match network.trim().split_once('[') {
            Some((addresses, ports)) => (addresses, format!("[{ports}")),
            None => (network.trim(), String::new()),
        };
        if addresses.is_empty() || addresses == "dynamic" || addresses == "%dynamic" {
            return self.carries(from, key);
        }
        let parsed = match addresses.parse::<adit_core::Prefix>() {
            Ok(prefix) => Some(prefix.network()),
            Err(_) => addresses.parse().ok().map(adit_core::Prefix::host),
        };
        match parsed {
            Some(prefix) if prefix.length == 0 && ports.is_empty() => {
                if key == "remote-subnets" {
                    self.text("traffic", "full", from);
                }
            }
            Some(prefix) => self.add(key, &format!("{prefix}{ports}"), from),
            None if addresses.contains('-') => self.add(key, network.trim(), from),
            None => self.left(from, Some(network), "it is not a network"),
        }
    }

    /// A number, if it is one.
    pub(crate) fn number(&mut self, key: &'static str, number: &str, from: &str) {
        match number.parse() {
            Ok(0) => self.left(from, Some(number), "Adit's own value holds"),
            Ok(number) => self.set(key, Value::Number(number), from),
            Err(_) => self.left(from, Some(number), "it is not a number"),
        }
    }

    /// A time: seconds, or with a unit (`s`, `m`, `h`, `d`).
    pub(crate) fn duration(&mut self, key: &'static str, time: &str, from: &str) {
        let (digits, unit) = match time.trim_end_matches(|c: char| c.is_ascii_alphabetic()) {
            digits if digits.len() == time.len() => (digits, "s"),
            digits => (digits, time.get(digits.len()..).unwrap_or("")),
        };
        match (digits.parse::<u32>(), unit) {
            (Ok(0), _) => self.left(from, Some(time), "Adit's own time holds"),
            (Ok(n), "s" | "m" | "h" | "d") => self.text(key, &format!("{n}{unit}"), from),
            _ => self.left(from, Some(time), "it is not a time"),
        }
    }

    fn file(&mut self, key: &'static str, suffix: &'static str, content: Secret, from: &str) {
        self.materials.push(Material { key, suffix, content });
        self.set(key, Value::File, from);
    }

    /// Certificates for `ca` or `certificate`, PEM or DER.
    pub(crate) fn certificates(&mut self, key: &'static str, content: &[u8], from: &str) {
        match pem_of_certificates(content) {
            Ok((pem, _)) => self.file(key, suffix_of(key), pem, from),
            Err(why) => self.missing(format!("{from}: {why}"), "name a certificate as PEM or DER"),
        }
    }

    /// A private key in PEM.
    pub(crate) fn private_key(&mut self, content: &[u8], from: &str) {
        let pem = content.windows(17).any(|w| w == b"PRIVATE KEY-----\n" || w == b"PRIVATE KEY-----\r");
        match pem {
            true => self.file("key", ".key", content.into(), from),
            false => self
                .missing(format!("{from}: it is not a private key"), "name a private key as PEM, or PKCS#12"),
        }
    }

    /// A PKCS#12 file, and perhaps its password.
    pub(crate) fn pkcs12(&mut self, content: &[u8], password: Option<&str>, from: &str) {
        let empty = Secret::from(&b""[..]);
        let given = password.map(|p| Secret::from(p.as_bytes()));
        let opened = adit_pki::Pkcs12::open(&content.into(), given.as_ref().unwrap_or(&empty));
        self.file("key", ".p12", content.into(), from);
        match (opened, password) {
            (Ok(_), Some(password)) if !password.is_empty() => {
                self.secret("key-password-file", password, from);
            }
            (Err(adit_pki::PkiError::Passphrase), None) => {
                self.file("key-password-file", suffix_of("key-password-file"), empty, "");
                self.notes.push(
                    "the key has a password: write it, on one line, into the file of key-password-file"
                        .to_owned(),
                );
            }
            (Ok(_), _) => {}
            (Err(error), _) => {
                self.missing(format!("{from}: {error}"), "export it again, and name that file")
            }
        }
    }

    /// A file that the profile names by its path; it is taken only from the command line.
    pub(crate) fn wants(&mut self, key: &'static str, path: &str, from: &str) {
        let plain = path.strip_prefix("file://").unwrap_or(path);
        let Some(found) = self.context.companions.named(plain) else {
            let name = base_name(plain);
            let what = format!("{} is a file of its own", shown(from, Some(path)));
            self.missing(what, format!("name it, too:  ctl import PROFILE {}", clean(name)));
            return;
        };
        self.take(key, found, from);
    }

    fn take(&mut self, key: &'static str, found: &crate::companion::Companion, from: &str) {
        use crate::format::Content;
        found.used.set(true);
        match (key, found.content) {
            ("ca" | "certificate", Content::Certificates | Content::Key) => {
                self.certificates(key, found.bytes.expose(), from);
            }
            ("key", Content::Key) => self.private_key(found.bytes.expose(), from),
            (_, Content::Pkcs12) => self.pkcs12(found.bytes.expose(), None, from),
            _ => {
                let what = format!("{}: {} holds nothing of that kind", from, clean(&found.name));
                self.missing(what, "name the right file");
            }
        }
    }

    /// Authorities and a certificate of ours that the person has named, where the file says nothing of them.
    pub(crate) fn unnamed_companions(&mut self) {
        let companions = self.context.companions;
        if self.checks_certificate() && !self.has("ca") {
            let all: Vec<_> = companions.authorities();
            all.iter().for_each(|found| self.take("ca", found, "(command line)"));
        }
        let Some(from) = self.needs_own.clone() else { return };
        for found in companions.own() {
            use crate::format::Content;
            match found.content {
                Content::Key if !self.has("key") => {
                    self.take("key", found, "(command line)");
                    if !self.has("certificate") && pem_of_certificates(found.bytes.expose()).is_ok() {
                        self.take("certificate", found, "(command line)");
                    }
                }
                Content::Pkcs12 if !self.has("key") => self.take("key", found, "(command line)"),
                Content::Certificates if !self.has("certificate") => {
                    self.take("certificate", found, "(command line)");
                }
                _ => {}
            }
        }
        if !self.has("key") {
            let what = format!("{from}: the certificate and its key are not in the file");
            self.missing(
                what,
                "export them as PKCS#12, and name that file, too:  ctl import PROFILE NAME.p12",
            );
        }
    }

    fn checks_certificate(&self) -> bool {
        let eap_with_tls = self.lines.iter().any(|(key, value)| match value {
            Value::List(list) if *key == "eap-methods" => {
                list.iter().any(|m| ["tls", "ttls", "peap"].contains(&m.as_str()))
            }
            _ => false,
        });
        match self.kind {
            Kind::Ikev2 => self.value("auth") != Some("psk"),
            Kind::Sstp => true,
            Kind::L2tp | Kind::Pptp => eap_with_tls,
        }
    }

    /// Proposals for `ike` or `esp`, each in strongSwan's notation.
    pub(crate) fn proposals<'p>(
        &mut self,
        key: &'static str,
        texts: impl IntoIterator<Item = &'p str>,
        from: &str,
    ) {
        let kind = if key == "ike" { SuiteKind::Ike } else { SuiteKind::Esp };
        let texts: Vec<&str> =
            texts.into_iter().map(str::trim).filter(|t| !t.is_empty() && *t != "!").collect();
        if texts.iter().any(|t| t.trim_end_matches('!') == "default") {
            self.left(from, Some("default"), "Adit's own default holds");
            return;
        }
        let (mut out, mut any_weak) = (Vec::new(), false);
        for text in &texts {
            let strict = suites::read(kind, text, false);
            let weak = !strict.weak.is_empty();
            any_weak |= weak;
            let taken = weak && self.weak(from, Weakening::LegacyAlgorithms);
            let read = if taken { suites::read(kind, text, true) } else { strict };
            for word in &read.unknown {
                self.left(&format!("{from}: {}", clean(word)), None, "Adit does not do this algorithm");
            }
            if taken {
                self.flag("legacy", true, from);
            }
            out.extend(read.texts);
        }
        if out.is_empty() && !texts.is_empty() {
            let what = format!("{from}: nothing is left of it that Adit may use");
            let next =
                "write the proposals that the server takes, or take the line out: Adit's default then holds";
            match any_weak && !self.context.accept.contains(&Weakening::LegacyAlgorithms) {
                true => self.weakens_needed(from, Weakening::LegacyAlgorithms),
                false => self.missing(what, next),
            }
        }
        out.iter().for_each(|text| self.add(key, text, from));
    }
}

/// Where a secret or certificate goes: the end of its file's name.
fn suffix_of(key: &str) -> &'static str {
    match key {
        "psk-file" => ".psk",
        "password-file" => ".password",
        "key-password-file" => ".key-password",
        "ca" => "-ca.pem",
        "certificate" => ".pem",
        "proxy-password-file" => ".proxy-password",
        _ => ".secret",
    }
}

/// A pre-shared key in the notation of a PSK file, which reads 0x and 0s.
fn psk_text(bytes: &[u8]) -> Secret {
    let plain = bytes.iter().all(|b| (0x20..0x7f).contains(b));
    let marked = bytes.get(..2).is_some_and(|two| matches!(two, b"0x" | b"0X" | b"0s" | b"0S"));
    if plain && !marked {
        return bytes.into();
    }
    let mut hex = Vec::with_capacity(bytes.len().saturating_mul(2).saturating_add(2));
    hex.extend_from_slice(b"0x");
    for byte in bytes {
        let digit =
            |n: u8| char::from_digit(u32::from(n), 16).and_then(|c| u8::try_from(c).ok()).unwrap_or(b'0');
        hex.extend([digit(byte >> 4), digit(byte & 15)]);
    }
    Secret::new(hex)
}

pub(crate) fn joined(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

/// A key with its value, where that is no secret and short.
fn shown(key: &str, value: Option<&str>) -> String {
    const SECRETS: &[&str] =
        &["pass", "secret", "psk", "pin", "token", "p12", "pkcs12", "key", "ppk", "data", "blob"];
    let lower = key.to_ascii_lowercase();
    let secret = SECRETS.iter().any(|word| lower.contains(word));
    match value {
        Some(value) if !secret && !value.is_empty() => format!("{} = {}", clean(key), clean(value)),
        _ => clean(key),
    }
}

/// Text of a file as it can be shown: on one line, and not without end.
pub(crate) fn clean(text: &str) -> String {
    const LONGEST: usize = 72;
    let short: String = text.chars().take(LONGEST).collect();
    let more = if short.len() < text.len() { "…" } else { "" };
    let plain: String = short.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    format!("{plain}{more}")
}
