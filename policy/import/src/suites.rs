//! Proposals in strongSwan's notation, word by word: what Adit has, what is weak, what it does not do.

use adit_profile::{SuiteCheck, SuiteKind};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Word {
    Aead,
    Cipher,
    Integrity,
    Prf,
    Ke,
    Esn,
}

/// A word or alias, what Adit writes for it, what it is, and whether it needs `legacy = true`. It agrees with what the
/// daemon reads (a test there holds it to it).
type Row = (&'static str, &'static str, Word, bool);

const ROWS: &[Row] = &[
    ("aes128gcm16", "aes128gcm16", Word::Aead, false),
    ("aes192gcm16", "aes192gcm16", Word::Aead, false),
    ("aes256gcm16", "aes256gcm16", Word::Aead, false),
    ("aes128gcm128", "aes128gcm16", Word::Aead, false),
    ("aes192gcm128", "aes192gcm16", Word::Aead, false),
    ("aes256gcm128", "aes256gcm16", Word::Aead, false),
    ("aes128gcm", "aes128gcm16", Word::Aead, false),
    ("aes192gcm", "aes192gcm16", Word::Aead, false),
    ("aes256gcm", "aes256gcm16", Word::Aead, false),
    ("chacha20poly1305", "chacha20poly1305", Word::Aead, false),
    ("aes128", "aes128", Word::Cipher, false),
    ("aes192", "aes192", Word::Cipher, false),
    ("aes256", "aes256", Word::Cipher, false),
    ("aes", "aes128", Word::Cipher, false),
    ("3des", "3des", Word::Cipher, true),
    ("sha256", "sha256", Word::Integrity, false),
    ("sha384", "sha384", Word::Integrity, false),
    ("sha512", "sha512", Word::Integrity, false),
    ("sha1", "sha1", Word::Integrity, false),
    ("sha2_256", "sha256", Word::Integrity, false),
    ("sha2_384", "sha384", Word::Integrity, false),
    ("sha2_512", "sha512", Word::Integrity, false),
    ("sha", "sha1", Word::Integrity, false),
    ("prfsha256", "prfsha256", Word::Prf, false),
    ("prfsha384", "prfsha384", Word::Prf, false),
    ("prfsha512", "prfsha512", Word::Prf, false),
    ("prfsha1", "prfsha1", Word::Prf, false),
    ("x25519", "x25519", Word::Ke, false),
    ("curve25519", "x25519", Word::Ke, false),
    ("ecp256", "ecp256", Word::Ke, false),
    ("ecp384", "ecp384", Word::Ke, false),
    ("ecp521", "ecp521", Word::Ke, false),
    ("modp2048", "modp2048", Word::Ke, false),
    ("modp3072", "modp3072", Word::Ke, false),
    ("modp4096", "modp4096", Word::Ke, false),
    ("modp6144", "modp6144", Word::Ke, false),
    ("modp8192", "modp8192", Word::Ke, false),
    ("mlkem512", "mlkem512", Word::Ke, false),
    ("mlkem768", "mlkem768", Word::Ke, false),
    ("mlkem1024", "mlkem1024", Word::Ke, false),
    ("modp1024", "modp1024", Word::Ke, true),
    ("modp1536", "modp1536", Word::Ke, true),
    ("esn", "esn", Word::Esn, false),
    ("noesn", "noesn", Word::Esn, false),
];

/// What a foreign proposal becomes.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Proposal {
    /// Proposals of ours; two where an AEAD and a cipher with integrity shared one, none if too little is left.
    pub(crate) texts: Vec<String>,
    /// Words for what can be broken, in it or left out of it.
    pub(crate) weak: Vec<String>,
    /// Words for what Adit does not do, left out of it.
    pub(crate) unknown: Vec<String>,
    /// Whether nothing was added to it, and no cipher left out for want of what belongs to it.
    pub(crate) whole: bool,
}

struct Found {
    word: Word,
    text: String,
}

/// What `text` becomes; what is weak stays in it only with `legacy`.
pub(crate) fn read(kind: SuiteKind, text: &str, legacy: bool) -> Proposal {
    let mut out = Proposal::default();
    let mut found: Vec<Found> = Vec::new();
    let text = text.trim().trim_end_matches('!');
    for word in text.split('-').map(str::trim).filter(|word| !word.is_empty()) {
        let lower = word.to_ascii_lowercase();
        match of_word(kind, &lower) {
            Some((_, _, true)) if !legacy => out.weak.push(lower),
            Some((word, text, weak)) => {
                if weak {
                    out.weak.push(lower);
                }
                if !found.iter().any(|f| f.text == text) {
                    found.push(Found { word, text });
                }
            }
            None => out.unknown.push(lower),
        }
    }
    out.texts = [true, false].into_iter().filter_map(|aead| one(kind, &found, aead)).collect();
    let has = |word: Word| found.iter().any(|f| f.word == word);
    let kinds = usize::from(has(Word::Aead)).saturating_add(usize::from(has(Word::Cipher)));
    let random = kind == SuiteKind::Esp || has(Word::Prf) || has(Word::Integrity);
    out.whole = out.texts.len() == kinds && random;
    out
}

fn of_word(kind: SuiteKind, word: &str) -> Option<(Word, String, bool)> {
    if let Some((number, method)) = word.split_once('_')
        && let Some(digit) = number.strip_prefix("ke")
    {
        let known = ROWS.iter().find(|row| row.0 == method && row.2 == Word::Ke);
        let fits = matches!(digit, "1" | "2" | "3" | "4" | "5" | "6" | "7");
        let text = if method == "none" { Some(("none", false)) } else { known.map(|row| (row.1, row.3)) };
        return text.filter(|_| fits).map(|(text, weak)| (Word::Ke, format!("{number}_{text}"), weak));
    }
    let row = ROWS.iter().find(|row| row.0 == word)?;
    let fits = !matches!((kind, row.2), (SuiteKind::Esp, Word::Prf) | (SuiteKind::Ike, Word::Esn));
    fits.then(|| (row.2, row.1.to_owned(), row.3))
}

/// The proposal with AEADs only, or with the other ciphers only, if it is whole.
fn one(kind: SuiteKind, found: &[Found], aead: bool) -> Option<String> {
    let has = |word: Word| found.iter().any(|f| f.word == word);
    let cipher = if aead { Word::Aead } else { Word::Cipher };
    let exchanges = found.iter().any(|f| f.word == Word::Ke && !f.text.starts_with("ke"));
    let more = found.iter().any(|f| f.text.starts_with("ke"));
    let ike = kind == SuiteKind::Ike;
    if !has(cipher) || !aead && !has(Word::Integrity) || (ike || more) && !exchanges {
        return None;
    }
    let left_out = |f: &&Found| match f.word {
        Word::Aead => !aead,
        Word::Cipher => aead,
        // Beside an AEAD it means a PRF, or nothing.
        Word::Integrity => aead && (!ike || has(Word::Prf)),
        Word::Prf | Word::Ke | Word::Esn => false,
    };
    let mut words: Vec<&str> = found.iter().filter(|f| !left_out(f)).map(|f| f.text.as_str()).collect();
    if ike && !has(Word::Prf) && !has(Word::Integrity) {
        words.push("prfsha256");
    }
    Some(words.join("-"))
}

/// Whether `text` is a proposal, and which of its words need `legacy = true`.
///
/// # Errors
/// What is wrong with it, and what is allowed.
pub fn check_suite(kind: SuiteKind, text: &str) -> SuiteCheck {
    let read = read(kind, text, true);
    if let Some(word) = read.unknown.first() {
        let fits = |row: &&Row| {
            !row.3 && !matches!((kind, row.2), (SuiteKind::Esp, Word::Prf) | (SuiteKind::Ike, Word::Esn))
        };
        let mut allowed: Vec<&str> = ROWS.iter().filter(fits).map(|row| row.1).collect();
        allowed.dedup();
        return Err(format!(
            "\"{}\" is not an algorithm; allowed: {}",
            word.escape_debug(),
            allowed.join(", ")
        ));
    }
    match read.texts.len() {
        1 if read.whole => Ok(read.weak),
        0 | 1 => Err(match kind {
            SuiteKind::Ike => "a cipher, with aes256 also integrity, a PRF with aes256gcm16, and a key exchange: aes256-sha256-x25519".to_owned(),
            SuiteKind::Esp => "a cipher, and with aes256 also integrity: aes256-sha256".to_owned(),
        }),
        _ => Err(format!("an AEAD cipher and one that needs integrity can't share a proposal; write two: {}", read.texts.join(" and "))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ike(text: &str) -> Vec<String> {
        read(SuiteKind::Ike, text, false).texts
    }

    #[test]
    fn foreign_words_become_ours() {
        assert_eq!(ike("aes256-sha2_256-modp2048!"), ["aes256-sha256-modp2048"]);
        assert_eq!(ike("AES256GCM128-curve25519"), ["aes256gcm16-x25519-prfsha256"]);
        assert_eq!(
            ike("aes256gcm16-aes256-sha384-ecp384"),
            ["aes256gcm16-sha384-ecp384", "aes256-sha384-ecp384"]
        );
        assert_eq!(read(SuiteKind::Esp, "aes128gcm16-sha256-esn", false).texts, ["aes128gcm16-esn"]);
        assert_eq!(ike("aes256-sha256-x25519-ke1_mlkem768"), ["aes256-sha256-x25519-ke1_mlkem768"]);
    }

    #[test]
    fn what_is_weak_or_unknown_is_told() {
        let strict = read(SuiteKind::Ike, "3des-aes128-md5-sha1-modp1024-modp2048", false);
        assert_eq!(strict.texts, ["aes128-sha1-modp2048"]);
        assert_eq!(
            (strict.weak, strict.unknown),
            (vec!["3des".into(), "modp1024".into()], vec!["md5".into()])
        );
        let taken = read(SuiteKind::Ike, "3des-sha1-modp1024", true);
        assert_eq!(taken.texts, ["3des-sha1-modp1024"]);
        assert_eq!(read(SuiteKind::Ike, "3des-sha1-modp1024", false).texts, [""; 0]);
        assert_eq!(read(SuiteKind::Esp, "null-sha1", true).texts, [""; 0]);
    }

    #[test]
    fn a_proposal_is_checked_without_the_daemon() {
        assert_eq!(check_suite(SuiteKind::Ike, "aes256-sha256-x25519"), Ok(vec![]));
        assert_eq!(check_suite(SuiteKind::Esp, "3des-sha1"), Ok(vec!["3des".to_owned()]));
        assert!(check_suite(SuiteKind::Esp, "aes256-prfsha256").unwrap_err().contains("prfsha256"));
        assert!(check_suite(SuiteKind::Ike, "aes256gcm16-x25519").is_err());
        assert!(check_suite(SuiteKind::Esp, "aes256gcm16-ke1_mlkem768").is_err());
    }
}
