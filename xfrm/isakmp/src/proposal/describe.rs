//! Proposals of a peer, for people: in strongSwan's notation, whatever they hold, at bounded length.

use core::fmt::Write;

use super::transform::{Algorithm, Esn, addke_number, read_addke};
use super::{EspProposal, IkeProposal};
use crate::algorithm::{Encryption, Integrity, KeMethod, Prf};
use crate::payload::{Protocol, SecurityAssociation, Transform, TransformType};

/// Transforms that a description shows; a peer may send thousands.
const SHOWN: usize = 60;

/// What an SA payload offers: proposals separated by commas, words by hyphens. Algorithms that Adit can't do are named
/// too, as far as they are well known, else by type and number (`encr4711`).
#[must_use]
pub fn describe(sa: &SecurityAssociation) -> String {
    let mut out = String::new();
    let mut room = SHOWN;
    for (i, proposal) in sa.proposals.iter().enumerate() {
        if i > 0 {
            out.push_str(", ");
        }
        match proposal.protocol {
            Protocol::IKE | Protocol::ESP => {}
            Protocol::AH => out.push_str("AH: "),
            other => _ = write!(out, "protocol {}: ", other.0),
        }
        for (j, transform) in proposal.transforms.iter().enumerate() {
            if room == 0 {
                out.push('…');
                return out;
            }
            room = room.saturating_sub(1);
            if j > 0 {
                out.push('-');
            }
            out.push_str(&word(transform));
        }
        if proposal.transforms.is_empty() {
            out.push_str("nothing");
        }
    }
    out
}

pub(super) fn ike_text(proposals: &[IkeProposal]) -> String {
    list(proposals.iter().map(ToString::to_string))
}

pub(super) fn esp_text(proposals: &[EspProposal]) -> String {
    list(proposals.iter().map(ToString::to_string))
}

fn list(texts: impl Iterator<Item = String>) -> String {
    texts.collect::<Vec<_>>().join(", ")
}

/// The first type of which `allowed` has algorithms and no proposal offers one of them.
pub(super) fn common_lack(allowed: &[Transform], offered: &SecurityAssociation) -> Option<&'static str> {
    [
        (TransformType::ENCR, "encryption algorithm"),
        (TransformType::INTEG, "integrity algorithm"),
        (TransformType::PRF, "PRF"),
        (TransformType::KE, "key exchange method"),
        (TransformType::ESN, "choice of extended sequence numbers"),
        (TransformType::ADDKE1, "additional key exchange method"),
    ]
    .into_iter()
    .find(|(kind, _)| {
        let mut ours = allowed.iter().filter(|t| t.kind == *kind).peekable();
        let offers: Vec<_> = offered.proposals.iter().flat_map(|p| p.of(*kind)).collect();
        ours.peek().is_some() && !offers.is_empty() && !ours.any(|t| offers.contains(&t))
    })
    .map(|(_, name)| name)
}

fn word(t: &Transform) -> String {
    let known = match t.kind {
        TransformType::ENCR => Encryption::read(t).map(|a| a.to_string()),
        TransformType::PRF => Prf::read(t).map(|a| a.to_string()),
        TransformType::INTEG => Integrity::read(t).map(|a| a.to_string()),
        TransformType::KE => KeMethod::read(t).map(|a| a.to_string()),
        TransformType::ESN => Esn::read(t).map(|a| if a.0 { "esn" } else { "noesn" }.into()),
        kind => addke_number(kind).map(|number| match read_addke(t) {
            Some(Some(method)) => format!("ke{number}_{method}"),
            Some(None) => format!("ke{number}_none"),
            None => format!("ke{number}_{}", t.id),
        }),
    };
    known.unwrap_or_else(|| foreign(t))
}

/// An algorithm that Adit can't do.
fn foreign(t: &Transform) -> String {
    let name = match (t.kind, t.id) {
        (TransformType::ENCR, 2) => "des",
        (TransformType::ENCR, 5) => "cast",
        (TransformType::ENCR, 7) => "blowfish",
        (TransformType::ENCR, 11) => "null",
        (TransformType::ENCR, 12) => "aes",
        (TransformType::ENCR, 13) => "aesctr",
        (TransformType::ENCR, 14) => "aesccm8",
        (TransformType::ENCR, 15) => "aesccm12",
        (TransformType::ENCR, 16) => "aesccm16",
        (TransformType::ENCR, 18) => "aesgcm8",
        (TransformType::ENCR, 19) => "aesgcm12",
        (TransformType::ENCR, 20) => "aesgcm16",
        (TransformType::ENCR, 23) => "camellia",
        (TransformType::PRF, 1) => "prfmd5",
        (TransformType::PRF, 4) => "prfaesxcbc",
        (TransformType::PRF, 8) => "prfaescmac",
        (TransformType::INTEG, 0) => "nointegrity",
        (TransformType::INTEG, 1) => "md5",
        (TransformType::INTEG, 5) => "aesxcbc",
        (TransformType::INTEG, 8) => "aescmac",
        (TransformType::KE, 0) => "none",
        (TransformType::KE, 1) => "modp768",
        (TransformType::KE, 22) => "modp1024s160",
        (TransformType::KE, 23) => "modp2048s224",
        (TransformType::KE, 24) => "modp2048s256",
        (TransformType::KE, 28) => "ecp256bp",
        (TransformType::KE, 29) => "ecp384bp",
        (TransformType::KE, 30) => "ecp512bp",
        (TransformType::KE, 32) => "x448",
        _ => "",
    };
    let mut out = match (name, t.kind) {
        ("", TransformType::ENCR) => format!("encr{}", t.id),
        ("", TransformType::PRF) => format!("prf{}", t.id),
        ("", TransformType::INTEG) => format!("integ{}", t.id),
        ("", TransformType::KE) => format!("ke{}", t.id),
        ("", kind) => format!("type{}id{}", kind.0, t.id),
        (name, _) => name.into(),
    };
    if let Some(bits) = t.key_length {
        _ = write!(out, "_{bits}");
    }
    if !t.others.is_empty() {
        out.push_str("_attributes");
    }
    out
}
