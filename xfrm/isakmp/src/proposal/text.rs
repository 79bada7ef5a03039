//! strongSwan's notation: words separated by hyphens, of each type best first.

use core::fmt;
use core::str::FromStr;

use super::{EspProposal, IkeProposal};
use crate::algorithm::{AdditionalKe, Encryption, Integrity, KeMethod, KeyBits, Prf};

/// Why text is not a proposal: what a person wrote, and what to write instead.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ProposalError {
    /// Nothing was written.
    Empty,
    /// A word that is no algorithm, or none that Adit has.
    UnknownWord {
        /// The word.
        word: String,
        /// The allowed word that is most like it, if one is.
        nearest: Option<&'static str>,
        /// Every word that is allowed here.
        allowed: Vec<&'static str>,
    },
    /// A word for an algorithm that only old peers may have, where `legacy = true` is not set.
    Legacy {
        /// The word.
        word: String,
    },
    /// A word that strongSwan knows, for an algorithm that Adit does not do.
    Unsupported {
        /// The word.
        word: String,
        /// Why, and what to take.
        why: &'static str,
    },
    /// A word that belongs to the other kind of proposal.
    Misplaced {
        /// The word.
        word: String,
        /// Why it can't stand here.
        why: &'static str,
    },
    /// A type of algorithm is missing.
    Missing {
        /// What, and an example.
        what: &'static str,
    },
    /// An AEAD and a cipher that needs integrity share a proposal.
    Mixed {
        /// The two proposals to write instead.
        split: [String; 2],
    },
}

impl core::error::Error for ProposalError {}

impl fmt::Display for ProposalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("a proposal may not be empty"),
            Self::UnknownWord { word, nearest, allowed } => {
                write!(f, "\"{}\" is not an algorithm", word.escape_debug())?;
                if let Some(nearest) = nearest {
                    write!(f, "; did you mean {nearest}?")?;
                }
                write!(f, " Allowed: {}", allowed.join(", "))
            }
            Self::Unsupported { word, why } | Self::Misplaced { word, why } => {
                write!(f, "\"{}\": {why}", word.escape_debug())
            }
            Self::Legacy { word } => write!(
                f,
                "\"{}\": too weak; for an old peer that has nothing better, set legacy = true",
                word.escape_debug()
            ),
            Self::Missing { what } => write!(f, "the proposal has no {what}"),
            Self::Mixed { split: [aead, other] } => write!(
                f,
                "an AEAD cipher and one that needs integrity can't share a proposal; write two: {aead} and {other}"
            ),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Word {
    Encryption(Encryption),
    Integrity(Integrity),
    Prf(Prf),
    Ke(KeMethod),
    Esn(bool),
}

impl Word {
    const fn is_legacy(self) -> bool {
        match self {
            Self::Encryption(e) => e.is_legacy(),
            Self::Ke(ke) => ke.is_legacy(),
            Self::Integrity(_) | Self::Prf(_) | Self::Esn(_) => false,
        }
    }
}

use KeyBits::{B128, B192, B256};
use Word::{Encryption as E, Esn, Integrity as I, Ke, Prf as P};

/// Every word and alias; of each algorithm the first one is how Adit writes it.
const WORDS: &[(&str, Word)] = &[
    ("aes128gcm16", E(Encryption::AesGcm16(B128))),
    ("aes192gcm16", E(Encryption::AesGcm16(B192))),
    ("aes256gcm16", E(Encryption::AesGcm16(B256))),
    ("aes128gcm128", E(Encryption::AesGcm16(B128))),
    ("aes192gcm128", E(Encryption::AesGcm16(B192))),
    ("aes256gcm128", E(Encryption::AesGcm16(B256))),
    ("aes128gcm", E(Encryption::AesGcm16(B128))),
    ("aes192gcm", E(Encryption::AesGcm16(B192))),
    ("aes256gcm", E(Encryption::AesGcm16(B256))),
    ("chacha20poly1305", E(Encryption::ChaCha20Poly1305)),
    ("aes128", E(Encryption::AesCbc(B128))),
    ("aes192", E(Encryption::AesCbc(B192))),
    ("aes256", E(Encryption::AesCbc(B256))),
    ("aes", E(Encryption::AesCbc(B128))),
    ("3des", E(Encryption::TripleDesCbc)),
    ("sha256", I(Integrity::HmacSha256_128)),
    ("sha384", I(Integrity::HmacSha384_192)),
    ("sha512", I(Integrity::HmacSha512_256)),
    ("sha1", I(Integrity::HmacSha1_96)),
    ("sha2_256", I(Integrity::HmacSha256_128)),
    ("sha2_384", I(Integrity::HmacSha384_192)),
    ("sha2_512", I(Integrity::HmacSha512_256)),
    ("sha", I(Integrity::HmacSha1_96)),
    ("prfsha256", P(Prf::HmacSha256)),
    ("prfsha384", P(Prf::HmacSha384)),
    ("prfsha512", P(Prf::HmacSha512)),
    ("prfsha1", P(Prf::HmacSha1)),
    ("x25519", Ke(KeMethod::Curve25519)),
    ("curve25519", Ke(KeMethod::Curve25519)),
    ("ecp256", Ke(KeMethod::Ecp256)),
    ("ecp384", Ke(KeMethod::Ecp384)),
    ("ecp521", Ke(KeMethod::Ecp521)),
    ("modp2048", Ke(KeMethod::Modp2048)),
    ("modp3072", Ke(KeMethod::Modp3072)),
    ("modp4096", Ke(KeMethod::Modp4096)),
    ("modp6144", Ke(KeMethod::Modp6144)),
    ("modp8192", Ke(KeMethod::Modp8192)),
    ("mlkem512", Ke(KeMethod::MlKem512)),
    ("mlkem768", Ke(KeMethod::MlKem768)),
    ("mlkem1024", Ke(KeMethod::MlKem1024)),
    ("modp1024", Ke(KeMethod::Modp1024)),
    ("modp1536", Ke(KeMethod::Modp1536)),
    ("esn", Esn(true)),
    ("noesn", Esn(false)),
];

const WEAK: &str = "too weak, Adit does not do it";
const NOT_DONE: &str = "Adit does not do it";

/// Words that people may have in a strongSwan configuration and that Adit refuses by name.
const REFUSED: &[(&str, &str)] = &[
    ("des", WEAK),
    ("null", WEAK),
    ("md5", WEAK),
    ("prfmd5", WEAK),
    ("cast128", WEAK),
    ("blowfish", WEAK),
    ("blowfish128", WEAK),
    ("blowfish256", WEAK),
    ("modp768", WEAK),
    ("modp1024s160", WEAK),
    ("modp2048s224", WEAK),
    ("modp2048s256", WEAK),
    ("ecp192", WEAK),
    ("ecp224", NOT_DONE),
    ("x448", NOT_DONE),
    ("curve448", NOT_DONE),
    ("aesxcbc", NOT_DONE),
    ("aescmac", NOT_DONE),
    ("prfaesxcbc", NOT_DONE),
    ("prfaescmac", NOT_DONE),
    ("aes128ctr", NOT_DONE),
    ("aes192ctr", NOT_DONE),
    ("aes256ctr", NOT_DONE),
    ("sha256_96", NOT_DONE),
    ("sha2_256_96", NOT_DONE),
    ("modpnone", "write two proposals instead, one with and one without a key exchange method"),
    ("none", "write two proposals instead, one with and one without a key exchange method"),
];

/// The words of one proposal, by type, each once and in order.
#[derive(Default)]
struct Words {
    encryption: Vec<Encryption>,
    integrity: Vec<Integrity>,
    prf: Vec<Prf>,
    ke: Vec<KeMethod>,
    additional: [Vec<Option<KeMethod>>; AdditionalKe::TYPES],
    esn: Vec<bool>,
}

impl Words {
    /// `ike` tells which kind of proposal it is, and `legacy` whether old peers' algorithms are allowed: so which words
    /// may stand in it.
    fn parse(text: &str, ike: bool, legacy: bool) -> Result<Self, ProposalError> {
        let text = text.trim();
        if text.is_empty() {
            return Err(ProposalError::Empty);
        }
        let mut out = Self::default();
        for word in text.split('-').map(str::trim) {
            if let Some((number, method)) = additional(word) {
                let method = additional_method(word, method, ike, legacy)?;
                if let Some(list) = out.additional.get_mut(number) {
                    add(list, method);
                }
                continue;
            }
            match known(word, ike, legacy)? {
                E(a) => add(&mut out.encryption, a),
                I(a) => add(&mut out.integrity, a),
                P(_) if !ike => {
                    return Err(misplaced(word, "a CHILD_SA has no PRF; it belongs to the IKE proposal"));
                }
                P(a) => add(&mut out.prf, a),
                Ke(a) => add(&mut out.ke, a),
                Esn(_) if ike => {
                    return Err(misplaced(word, "an IKE_SA has no ESN; it belongs to the ESP proposal"));
                }
                Esn(a) => add(&mut out.esn, a),
            }
        }
        if out.encryption.is_empty() {
            return Err(ProposalError::Missing { what: "encryption algorithm; add for example aes256gcm16" });
        }
        Ok(out)
    }

    fn has_aead(&self) -> bool {
        self.encryption.iter().any(|e| e.is_aead())
    }

    fn has_other(&self) -> bool {
        self.encryption.iter().any(|e| !e.is_aead())
    }

    /// Those ciphers of a mixed proposal that are (or are not) AEADs.
    fn ciphers(&self, aead: bool) -> Vec<Encryption> {
        self.encryption.iter().copied().filter(|e| e.is_aead() == aead).collect()
    }

    fn check_integrity(&self) -> Result<(), ProposalError> {
        if self.has_other() && self.integrity.is_empty() {
            return Err(ProposalError::Missing {
                what: "integrity algorithm, which a CBC cipher needs; add for example sha256",
            });
        }
        Ok(())
    }
}

impl FromStr for IkeProposal {
    type Err = ProposalError;

    /// [`IkeProposal::read`] without legacy algorithms.
    fn from_str(text: &str) -> Result<Self, ProposalError> {
        Self::read(text, false)
    }
}

impl IkeProposal {
    /// As strongSwan reads it: a PRF that is not written follows from the integrity algorithms, and with AEADs these
    /// have no other meaning (`aes256gcm16-sha256-x25519` is `aes256gcm16-prfsha256-x25519`). `legacy` allows the
    /// algorithms that are too weak for any but old peers.
    ///
    /// # Errors
    /// [`ProposalError`].
    pub fn read(text: &str, legacy: bool) -> Result<Self, ProposalError> {
        let words = Words::parse(text, true, legacy)?;
        // [7296:3.3.4-2]
        words.check_integrity()?;
        let prf = if words.prf.is_empty() {
            words.integrity.iter().copied().map(implied_prf).collect()
        } else {
            words.prf.clone()
        };
        if prf.is_empty() {
            return Err(ProposalError::Missing {
                what: "PRF, which an AEAD does not imply; add for example prfsha256",
            });
        }
        if words.ke.is_empty() {
            return Err(ProposalError::Missing { what: "key exchange method; add for example x25519" });
        }
        let of = |encryption, integrity| Self {
            encryption,
            integrity,
            prf: prf.clone(),
            ke: words.ke.clone(),
            additional: words.additional.clone(),
        };
        match (words.has_aead(), words.has_other()) {
            (true, true) => Err(ProposalError::Mixed {
                split: [
                    of(words.ciphers(true), Vec::new()).to_string(),
                    of(words.ciphers(false), words.integrity.clone()).to_string(),
                ],
            }),
            (true, false) => Ok(of(words.encryption.clone(), Vec::new())),
            _ => Ok(of(words.encryption.clone(), words.integrity.clone())),
        }
    }
}

impl FromStr for EspProposal {
    type Err = ProposalError;

    /// [`EspProposal::read`] without legacy algorithms.
    fn from_str(text: &str) -> Result<Self, ProposalError> {
        Self::read(text, false)
    }
}

impl EspProposal {
    /// As strongSwan reads it: without `esn` there is none, and integrity algorithms beside AEADs mean nothing. `legacy`
    /// allows the algorithms that are too weak for any but old peers.
    ///
    /// # Errors
    /// [`ProposalError`].
    pub fn read(text: &str, legacy: bool) -> Result<Self, ProposalError> {
        let words = Words::parse(text, false, legacy)?;
        words.check_integrity()?;
        if words.ke.is_empty() && words.additional.iter().any(|list| !list.is_empty()) {
            return Err(ProposalError::Missing {
                what: "key exchange method, which additional ones follow; add for example x25519",
            });
        }
        let esn = if words.esn.is_empty() { vec![false] } else { words.esn.clone() };
        let of = |encryption, integrity| Self {
            encryption,
            integrity,
            ke: words.ke.clone(),
            additional: words.additional.clone(),
            esn: esn.clone(),
        };
        match (words.has_aead(), words.has_other()) {
            (true, true) => Err(ProposalError::Mixed {
                split: [
                    of(words.ciphers(true), Vec::new()).to_string(),
                    of(words.ciphers(false), words.integrity.clone()).to_string(),
                ],
            }),
            (true, false) => Ok(of(words.encryption.clone(), Vec::new())),
            _ => Ok(of(words.encryption.clone(), words.integrity.clone())),
        }
    }
}

impl fmt::Display for IkeProposal {
    /// As it is written; PRFs that the integrity algorithms imply are not.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let implied = self.integrity.iter().copied().map(implied_prf).eq(self.prf.iter().copied());
        let mut words = words(&self.encryption);
        words.extend(self.integrity.iter().map(ToString::to_string));
        if !implied {
            words.extend(self.prf.iter().map(ToString::to_string));
        }
        words.extend(self.ke.iter().map(ToString::to_string));
        words.extend(additional_words(&self.additional));
        f.write_str(&words.join("-"))
    }
}

impl fmt::Display for EspProposal {
    /// As it is written; `noesn` alone is not.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut words = words(&self.encryption);
        words.extend(self.integrity.iter().map(ToString::to_string));
        words.extend(self.ke.iter().map(ToString::to_string));
        words.extend(additional_words(&self.additional));
        if self.esn != [false] {
            words.extend(self.esn.iter().map(|esn| if *esn { "esn" } else { "noesn" }.to_owned()));
        }
        f.write_str(&words.join("-"))
    }
}

fn additional_words(lists: &[Vec<Option<KeMethod>>; AdditionalKe::TYPES]) -> impl Iterator<Item = String> {
    let word = |m: Option<KeMethod>| m.map_or_else(|| "none".into(), |m| m.to_string());
    let numbered = (1..).zip(lists);
    numbered
        .flat_map(move |(number, list): (u8, _)| list.iter().map(move |m| format!("ke{number}_{}", word(*m))))
}

fn words<A: ToString>(algorithms: &[A]) -> Vec<String> {
    algorithms.iter().map(ToString::to_string).collect()
}

const fn implied_prf(integrity: Integrity) -> Prf {
    match integrity {
        Integrity::HmacSha1_96 => Prf::HmacSha1,
        Integrity::HmacSha256_128 => Prf::HmacSha256,
        Integrity::HmacSha384_192 => Prf::HmacSha384,
        Integrity::HmacSha512_256 => Prf::HmacSha512,
    }
}

/// The parts of `ke1_mlkem768`: which of the additional key exchanges, counted from 0, and its method.
fn additional(word: &str) -> Option<(usize, &str)> {
    let (number, method) = word.get(2..)?.split_once('_')?;
    let number: usize = number.parse().ok()?;
    let numbered = word.get(..2)?.eq_ignore_ascii_case("ke") && (1..=AdditionalKe::TYPES).contains(&number);
    numbered.then(|| (number.saturating_sub(1), method))
}

/// `None`: it need not take place.
fn additional_method(
    word: &str,
    method: &str,
    ike: bool,
    legacy: bool,
) -> Result<Option<KeMethod>, ProposalError> {
    if method.eq_ignore_ascii_case("none") {
        return Ok(None);
    }
    match known(method, ike, legacy)? {
        Ke(ke) => Ok(Some(ke)),
        E(_) | I(_) | P(_) | Esn(_) => {
            Err(misplaced(word, "an additional key exchange needs a key exchange method"))
        }
    }
}

fn known(word: &str, ike: bool, legacy: bool) -> Result<Word, ProposalError> {
    let lower = word.to_ascii_lowercase();
    if let Some((_, known)) = WORDS.iter().find(|(w, _)| *w == lower) {
        return if known.is_legacy() && !legacy {
            Err(ProposalError::Legacy { word: word.into() })
        } else {
            Ok(*known)
        };
    }
    if let Some((_, why)) = REFUSED.iter().find(|(w, _)| *w == lower) {
        return Err(ProposalError::Unsupported { word: word.into(), why });
    }
    let allowed = allowed(ike, legacy);
    Err(ProposalError::UnknownWord { nearest: nearest(&lower, &allowed), word: word.into(), allowed })
}

/// The words that may stand in a proposal of this kind, without aliases.
fn allowed(ike: bool, legacy: bool) -> Vec<&'static str> {
    let mut seen = Vec::new();
    WORDS
        .iter()
        .filter(|(_, word)| legacy || !word.is_legacy())
        .filter(|(_, word)| match word {
            P(_) => ike,
            Esn(_) => !ike,
            E(_) | I(_) | Ke(_) => true,
        })
        .filter(|(_, word)| {
            let new = !seen.contains(word);
            seen.push(*word);
            new
        })
        .map(|(text, _)| *text)
        .collect()
}

/// The word that is most like it; none if none is much like it. Long words are not compared: nothing here is long.
fn nearest(word: &str, allowed: &[&'static str]) -> Option<&'static str> {
    if word.len() > 32 {
        return None;
    }
    allowed
        .iter()
        .map(|a| (strsim::damerau_levenshtein(word, a), *a))
        .min_by_key(|(distance, _)| *distance)
        .filter(|(distance, a)| *distance <= a.len() / 3)
        .map(|(_, a)| a)
}

fn misplaced(word: &str, why: &'static str) -> ProposalError {
    ProposalError::Misplaced { word: word.into(), why }
}

fn add<A: PartialEq>(list: &mut Vec<A>, algorithm: A) {
    if !list.contains(&algorithm) {
        list.push(algorithm);
    }
}
