//! Proposals of IKEv1, for people: in strongSwan's words, whatever they hold, at bounded length.

use super::proposal::{
    AuthMethod, Encapsulation, esp, esp_suites, hash_number, ike, ike_suites, integrity_number,
};
use super::sa::SecurityAssociation;
use crate::algorithm::{Integrity, KeMethod, Prf};
use crate::api::ChildMode;
use crate::payload::Protocol;
use crate::proposal::{EspProposal, IkeProposal};

/// Transforms that a description shows.
const SHOWN: usize = 40;

/// What an SA payload of phase 1 offers, for people: also what Adit can't or won't do (`des`, `md5`, `modp768`).
#[must_use]
pub fn describe_ike(sa: &SecurityAssociation) -> String {
    list(sa.proposals.iter().flat_map(|p| &p.transforms).map(|t| {
        let number = |kind| t.number_of(kind);
        let bits = number(ike::KEY_LENGTH).map(|b| b.to_string()).unwrap_or_default();
        let cipher = match number(ike::ENCRYPTION) {
            Some(1) => "des".into(),
            Some(3) => "blowfish".into(),
            Some(5) => "3des".into(),
            Some(6) => "cast".into(),
            Some(7) => format!("aes{bits}"),
            other => foreign("encr", other),
        };
        let hash = match number(ike::HASH) {
            Some(1) => "md5".into(),
            other => Prf::ALL
                .iter()
                .find(|p| other == Some(hash_number(**p).into()))
                .map_or_else(|| foreign("hash", other), |p| hash_word(*p).into()),
        };
        let auth = match number(ike::AUTHENTICATION) {
            Some(2) => "dss".into(),
            Some(9..=11) => "ecdsa".into(),
            Some(65001..=65010) => "xauth".into(),
            other => other
                .and_then(AuthMethod::from_number)
                .map_or_else(|| foreign("auth", other), |a| a.to_string()),
        };
        format!("{cipher}-{hash}-{}-{auth}", group(number(ike::GROUP)))
    }))
}

/// What an SA payload of phase 2 offers, for people.
#[must_use]
pub fn describe_esp(sa: &SecurityAssociation, how: Encapsulation) -> String {
    let all = sa.proposals.iter().flat_map(|p| p.transforms.iter().map(move |t| (p.protocol, t)));
    list(all.map(|(protocol, t)| {
        let bits = t.number_of(esp::KEY_LENGTH).map(|b| b.to_string()).unwrap_or_default();
        let cipher = match (protocol, t.id) {
            (Protocol::ESP, 2) => "des".into(),
            (Protocol::ESP, 3) => "3des".into(),
            (Protocol::ESP, 11) => "null".into(),
            (Protocol::ESP, 12) => format!("aes{bits}"),
            (Protocol::ESP, 20) => format!("aes{bits}gcm16"),
            (Protocol::ESP, id) => format!("esp{id}"),
            (Protocol::AH, id) => format!("AH{id}"),
            (other, id) => format!("protocol{}:{id}", other.0),
        };
        let integrity = match t.number_of(esp::INTEGRITY) {
            None => String::new(),
            Some(1) => "-md5".into(),
            Some(n) => Integrity::ALL
                .iter()
                .find(|i| u64::from(integrity_number(**i)) == n)
                .map_or_else(|| format!("-auth{n}"), |i| format!("-{i}")),
        };
        let pfs = t.number_of(esp::GROUP).map(|g| format!("-{}", group(Some(g)))).unwrap_or_default();
        let mode = match t.number_of(esp::MODE) {
            None => " (no mode)".into(),
            Some(n) => match how.mode(n) {
                Some(ChildMode::Tunnel) => " (tunnel)".into(),
                Some(ChildMode::Transport) => " (transport)".into(),
                None => format!(" (mode {n})"),
            },
        };
        format!("{cipher}{integrity}{pfs}{mode}")
    }))
}

pub(super) fn ike_text(ours: &[IkeProposal], auths: &[AuthMethod]) -> String {
    let methods: Vec<String> = auths.iter().map(ToString::to_string).collect();
    let suites = ike_suites(ours).map(|s| format!("{}-{}-{}", s.encryption, hash_word(s.prf), s.ke));
    format!("{} (authentication: {})", list(suites), methods.join(" or "))
}

pub(super) fn esp_text(ours: &[EspProposal], mode: ChildMode) -> String {
    let mode = match mode {
        ChildMode::Tunnel => "tunnel",
        ChildMode::Transport => "transport",
    };
    format!("{} (mode: {mode})", list(esp_suites(ours).map(|s| s.to_string())))
}

const fn hash_word(prf: Prf) -> &'static str {
    match prf {
        Prf::HmacSha1 => "sha1",
        Prf::HmacSha256 => "sha256",
        Prf::HmacSha384 => "sha384",
        Prf::HmacSha512 => "sha512",
    }
}

fn group(number: Option<u64>) -> String {
    match number {
        Some(1) => "modp768".into(),
        other => other
            .and_then(|n| u16::try_from(n).ok())
            .and_then(KeMethod::from_transform_id)
            .map_or_else(|| foreign("group", other), |ke| ke.to_string()),
    }
}

fn foreign(word: &str, number: Option<u64>) -> String {
    number.map_or_else(|| format!("no{word}"), |n| format!("{word}{n}"))
}

/// Different texts, a bounded number of them.
fn list(texts: impl Iterator<Item = String>) -> String {
    let mut all: Vec<String> = Vec::new();
    for text in texts {
        if all.contains(&text) {
            continue;
        }
        if all.len() == SHOWN {
            all.push("…".into());
            break;
        }
        all.push(text);
    }
    if all.is_empty() { "nothing".into() } else { all.join(", ") }
}
