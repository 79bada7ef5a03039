//! Profiles with several types of tunnel. Each type reads what concerns it, as if the file were its own; then it is seen
//! whether what one of them finds wrong is a mistake, or only means that it can't take part.

use core::ops::Range;

use toml::de::DeTable;

use crate::error::{Mistake, ProfileError};
use crate::ppp::TunnelKind;
use crate::ppp_keys;
use crate::ppp_read::ppp_profile;
use crate::profile::Profile;
use crate::profile_read::{KEYS, ike_profile};
use crate::read::{CheckSuite, Reader, Table, entry};
use crate::strategy::{TunnelOrder, TunnelStrategy};
use crate::value::{NameError, ProfileName, ServerName, quoted};

/// What only such a profile has.
const OWN: &[&str] = &["weak", "race", "sstp-after-bad-certificate"];
/// What no such profile has, and why.
const NEVER: &[(&str, &str)] = &[
    ("port", "each type of tunnel has a port of its own"),
    ("remote-auth", "the server shows a certificate"),
    ("eap-only", "the server shows a certificate before anybody logs in"),
    ("ppk", "only IKEv2 has it"),
    ("ppk-id", "only IKEv2 has it"),
    ("ppk-file", "only IKEv2 has it"),
    ("mode", "only IKEv2 has it"),
    ("child", "only IKEv2 has it"),
    ("local-subnets", "only IKEv2 has it"),
    ("routes-by-dhcp", "only IKEv2 has it"),
    ("ipsec", "nothing but a single type of tunnel goes in clear"),
];
/// IKEv2's, and so not what the IPsec around L2TP goes by; and what says there who the server is.
const NOT_L2TP: &[&str] =
    &["auth", "ike", "esp", "rekey-ike", "rekey-child", "dpd", "force-encapsulation", "remote-id", "ipsec"];
/// L2TP's: with several types IKEv2 goes by a certificate and a password.
const NOT_IKEV2: &[&str] = &["psk", "psk-file", "auth"];

/// The list behind `tunnel`, or a word that means one; `None`: it says something else.
pub(crate) fn order(reader: &mut Reader<'_>, table: &Table<'_>) -> Option<TunnelOrder> {
    let (value, span) = entry(table, "tunnel")?;
    if let Some(text) = value.as_str() {
        return TunnelOrder::WORDS.iter().find(|(word, _)| *word == text).map(|(_, order)| order.clone());
    }
    value.as_array()?;
    let parse = |text: &str| {
        TunnelKind::from_word(text).ok_or_else(|| {
            let why = format!("{} is not a type of tunnel", quoted(text));
            NameError::new(why, r#""ikev2", "sstp", "pptp", "l2tp""#)
        })
    };
    let errors = reader.errors.len();
    let kinds = reader.parse_list(table, "tunnel", parse);
    let twice =
        kinds.iter().enumerate().find(|(at, kind)| kinds.iter().take(*at).any(|other| other == *kind));
    if let Some((_, kind)) = twice {
        let message = format!("`tunnel` names {} twice", quoted(kind.as_str()));
        reader.error(span, message, "name each type once");
    } else if kinds.is_empty() && reader.errors.len() == errors {
        reader.error(span, "`tunnel` is empty", r#"tunnel = "auto", or ["ikev2", "sstp"]"#);
    }
    Some(TunnelOrder::These(kinds))
}

/// A profile with several types of tunnel.
pub(crate) fn strategy_profile(
    reader: &mut Reader<'_>,
    name: &ProfileName,
    table: &Table<'_>,
    order: TunnelOrder,
    check: CheckSuite<'_>,
) -> Option<Profile> {
    let weak = reader.boolean(table, "weak").unwrap_or(false);
    let race = reader.boolean(table, "race").unwrap_or(true);
    let after = reader.boolean(table, "sstp-after-bad-certificate").unwrap_or(false);
    let kinds = order.kinds();
    if kinds.is_empty() {
        return None;
    }
    not_for_several(reader, table, &kinds);
    let mut out = Parted { listed: order.word().is_none(), ..Parted::default() };
    for kind in kinds {
        let entries = table.entries.iter().filter(|(key, _)| is_of(kind, key.get_ref().as_ref()));
        let entries: DeTable<'_> = entries.map(|(key, value)| (key.clone(), value.clone())).collect();
        let own = Table { title: String::new(), span: table.span.clone(), entries: &entries };
        let mut of_kind = Reader { several: true, legacy: reader.legacy, ..Reader::new(reader.source) };
        let profile = match kind {
            TunnelKind::Ikev2 => ike_profile(&mut of_kind, name, &own, None, check),
            _ => ppp_profile(&mut of_kind, name, &own, kind, check),
        };
        out.read.push((kind, profile, of_kind.errors));
    }
    let (profiles, left_out) = out.part(reader, table, weak);
    let mut profiles = profiles.into_iter();
    let first = profiles.next();
    if let (None, true, Some((_, span))) = (&first, reader.errors.is_empty(), entry(table, "tunnel")) {
        let why: Vec<String> = left_out.iter().map(|(kind, why)| format!("{}: {why}", kind.name())).collect();
        let message = format!("`tunnel`: no type can be tried. {}", why.join("; "));
        reader.error(span, message, "add what one of them needs");
    }
    let others = profiles.collect();
    let strategy = TunnelStrategy { order, others, left_out, race, weak, sstp_after_bad_certificate: after };
    first.map(|first| Profile { strategy: Some(Box::new(strategy)), ..first })
}

/// Whether a type of tunnel reads that key.
fn is_of(kind: TunnelKind, key: &str) -> bool {
    if NEVER.iter().any(|(never, _)| *never == key) || OWN.contains(&key) {
        return false;
    }
    match kind {
        TunnelKind::Ikev2 => KEYS.contains(&key) && !NOT_IKEV2.contains(&key),
        TunnelKind::L2tp => ppp_keys::of_profile(kind).contains(&key) && !NOT_L2TP.contains(&key),
        TunnelKind::Pptp | TunnelKind::Sstp => ppp_keys::of_profile(kind).contains(&key),
    }
}

/// What the file says that concerns no type alone.
fn not_for_several(reader: &mut Reader<'_>, table: &Table<'_>, kinds: &[TunnelKind]) {
    for (key, why) in NEVER {
        let help = r#"take the line out, or name one type: tunnel = "ikev2""#;
        reader.useless(table, key, why, help);
    }
    let ppp = kinds.iter().flat_map(|kind| ppp_keys::of_profile(*kind));
    let mut known: Vec<&str> = KEYS.iter().copied().chain(ppp).collect();
    known.retain(|key| kinds.iter().any(|kind| is_of(*kind, key)));
    known.extend(OWN.iter().copied().chain(["auth"]).chain(NEVER.iter().map(|(key, _)| *key)));
    known.sort_unstable();
    known.dedup();
    reader.only(table, &known);
    if let Some((value, span)) = entry(table, "auth")
        && value.as_str() != Some("eap")
    {
        let help =
            r#"take the line out: a name and a password, or a certificate by EAP-TLS, log in to every type"#;
        reader.error(span, "`auth`: with several types of tunnel it is \"eap\"", help);
    }
    if let Some((value, span)) = entry(table, "start")
        && value.as_str() == Some("on-demand")
    {
        let help = r#"take the line out, or name one type: tunnel = "ikev2""#;
        reader.error(span, "`start`: a packet raises a single type of tunnel only", help);
    }
    let mut quiet = Reader::new(reader.source);
    let servers: Vec<ServerName> = quiet.parse_list(table, "server", str::parse);
    if let (Some(_), Some((_, span))) = (servers.iter().find(|s| s.port.is_some()), entry(table, "server")) {
        reader.error(span, "`server`: each type of tunnel has a port of its own", "take the port out");
    }
}

/// What each type has made of the file.
#[derive(Default)]
struct Parted {
    /// The file names the types one by one: what one of them lacks is a mistake.
    listed: bool,
    read: Vec<(TunnelKind, Option<Profile>, Vec<ProfileError>)>,
}

impl Parted {
    /// Those that take part, and those that do not; mistakes go to the reader.
    fn part(
        mut self,
        reader: &mut Reader<'_>,
        table: &Table<'_>,
        weak: bool,
    ) -> (Vec<Profile>, Vec<(TunnelKind, String)>) {
        let (mut profiles, mut left_out) = (Vec::new(), Vec::new());
        let read = core::mem::take(&mut self.read);
        let errors: Vec<(TunnelKind, &[ProfileError])> =
            read.iter().map(|(kind, _, errors)| (*kind, errors.as_slice())).collect();
        let mistakes: Vec<ProfileError> = errors
            .iter()
            .flat_map(|(_, of)| of.iter())
            .filter(|e| self.is_mistake(e, table, &errors))
            .cloned()
            .collect();
        let why_not = |of: &[ProfileError]| {
            let counts =
                |e: &&ProfileError| e.mistake != Mistake::Useless && !self.is_mistake(e, table, &errors);
            of.iter().find(counts).map(|e| format!("{}; {}", e.message, e.help))
        };
        let reasons: Vec<Option<String>> = read.iter().map(|(_, _, of)| why_not(of)).collect();
        for mistake in mistakes {
            if !reader.errors.iter().any(|e| e.span == mistake.span && e.message == mistake.message) {
                reader.errors.push(mistake);
            }
        }
        for ((kind, profile, _), reason) in read.into_iter().zip(reasons) {
            let is_weak = kind == TunnelKind::Pptp || profile.as_ref().is_some_and(Profile::is_weak);
            match (reason, profile) {
                (Some(why), _) => left_out.push((kind, why)),
                (None, Some(_)) if is_weak && !weak => {
                    if let (true, Some((_, span))) = (self.listed, entry(table, "tunnel")) {
                        let message = format!("`tunnel`: {} is weak", kind.name());
                        reader.error(span, message, "add  weak = true, or take it out");
                    }
                    left_out.push((kind, WEAK.to_owned()));
                }
                (None, Some(profile)) => profiles.push(profile),
                // Its mistakes have been told.
                (None, None) => {}
            }
        }
        (profiles, left_out)
    }

    /// Whether it is one of the file's: who reads that line finds it wrong, whatever type of tunnel it is.
    fn is_mistake(
        &self,
        error: &ProfileError,
        table: &Table<'_>,
        all: &[(TunnelKind, &[ProfileError])],
    ) -> bool {
        if error.mistake == Mistake::Missing {
            return self.listed || all.iter().all(|(_, of)| of.iter().any(|e| e.message == error.message));
        }
        let Some(key) = key_at(table, &error.span) else { return true };
        let mut readers = all.iter().filter(|(kind, _)| is_of(*kind, key));
        let wrong = |of: &[ProfileError]| of.iter().any(|e| e.span == error.span);
        let everywhere = readers.all(|(_, of)| wrong(of));
        everywhere || self.listed && error.mistake == Mistake::Wrong
    }
}

const WEAK: &str = "it is weak, and the profile does not say  weak = true";

/// The key whose value is there.
fn key_at<'t>(table: &Table<'t>, span: &Range<usize>) -> Option<&'t str> {
    let holds =
        |value: Range<usize>| value.start <= span.start && span.start < value.end.max(value.start + 1);
    let found = table.entries.iter().find(|(key, value)| holds(key.span()) || holds(value.span()));
    found.map(|(key, _)| key.get_ref().as_ref())
}
