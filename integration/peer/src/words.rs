//! Offers as words: every algorithm that published offers name, whether Adit has it or not.

use adit_isakmp::payload::{
    Notify, NotifyType, Proposal, Protocol, SecurityAssociation, Transform, TransformType,
};

const ENCR: TransformType = TransformType::ENCR;
const PRF: TransformType = TransformType::PRF;
const INTEG: TransformType = TransformType::INTEG;
const KE: TransformType = TransformType::KE;
const ESN: TransformType = TransformType::ESN;

/// Word, transform type, transform ID, key length in bits (0: no such attribute).
const WORDS: &[(&str, TransformType, u16, u16)] = &[
    ("des", ENCR, 2, 0),
    ("3des", ENCR, 3, 0),
    ("null", ENCR, 11, 0),
    ("aes128", ENCR, 12, 128),
    ("aes192", ENCR, 12, 192),
    ("aes256", ENCR, 12, 256),
    ("aes128ctr", ENCR, 13, 128),
    ("aes192ctr", ENCR, 13, 192),
    ("aes256ctr", ENCR, 13, 256),
    ("aes128gcm8", ENCR, 18, 128),
    ("aes192gcm8", ENCR, 18, 192),
    ("aes256gcm8", ENCR, 18, 256),
    ("aes128gcm12", ENCR, 19, 128),
    ("aes192gcm12", ENCR, 19, 192),
    ("aes256gcm12", ENCR, 19, 256),
    ("aes128gcm16", ENCR, 20, 128),
    ("aes192gcm16", ENCR, 20, 192),
    ("aes256gcm16", ENCR, 20, 256),
    ("chacha20poly1305", ENCR, 28, 0),
    ("prfsha1", PRF, 2, 0),
    ("prfaesxcbc", PRF, 4, 0),
    ("prfsha256", PRF, 5, 0),
    ("prfsha384", PRF, 6, 0),
    ("prfsha512", PRF, 7, 0),
    ("prfaescmac", PRF, 8, 0),
    ("sha1", INTEG, 2, 0),
    ("aesxcbc", INTEG, 5, 0),
    ("aescmac", INTEG, 8, 0),
    ("sha256", INTEG, 12, 0),
    ("sha384", INTEG, 13, 0),
    ("sha512", INTEG, 14, 0),
    ("modp1024", KE, 2, 0),
    ("modp1536", KE, 5, 0),
    ("modp2048", KE, 14, 0),
    ("modp3072", KE, 15, 0),
    ("modp4096", KE, 16, 0),
    ("ecp256", KE, 19, 0),
    ("ecp384", KE, 20, 0),
    ("ecp521", KE, 21, 0),
    ("x25519", KE, 31, 0),
    ("noesn", ESN, 0, 0),
    ("esn", ESN, 1, 0),
];

/// The transforms of a proposal, in the order of its words.
fn transforms(text: &str) -> Result<Vec<Transform>, String> {
    text.split('-')
        .map(|word| {
            let (_, kind, id, bits) = WORDS
                .iter()
                .find(|(known, ..)| *known == word)
                .ok_or_else(|| format!("no algorithm {word:?}"))?;
            Ok(Transform { key_length: (*bits > 0).then_some(*bits), ..Transform::new(*kind, *id) })
        })
        .collect()
}

/// An SA payload that offers these.
pub(crate) fn offer(
    proposals: &[String],
    protocol: Protocol,
    spi: &[u8],
) -> Result<SecurityAssociation, String> {
    let proposals = (1..=u8::MAX).zip(proposals).map(|(number, text)| {
        Ok(Proposal { number, protocol, spi: spi.to_vec(), transforms: transforms(text)? })
    });
    Ok(SecurityAssociation { proposals: proposals.collect::<Result<_, String>>()? })
}

/// The number of the method that a word names, or of the first one of a proposal.
pub(crate) fn method(text: &str) -> Result<u16, String> {
    let method = transforms(text)?.into_iter().find(|transform| transform.kind == KE);
    method.map(|transform| transform.id).ok_or_else(|| format!("no key exchange method in {text:?}"))
}

/// The word of a method.
pub(crate) fn method_word(id: u16) -> String {
    let known = WORDS.iter().find(|(_, kind, number, _)| *kind == KE && *number == id);
    known.map_or_else(|| id.to_string(), |(word, ..)| (*word).to_owned())
}

/// The notify that `NUMBER` or `NUMBER:HEX` means.
pub(crate) fn notify(text: &str) -> Result<Notify, String> {
    let (number, data) = text.split_once(':').unwrap_or((text, ""));
    let number = number.parse().map_err(|_| format!("{text:?}: NUMBER or NUMBER:HEX"))?;
    Ok(Notify::new(NotifyType(number), hex(data)?))
}

/// Bytes of hexadecimal digits.
pub(crate) fn hex(text: &str) -> Result<Vec<u8>, String> {
    let digits: Vec<u32> = text
        .chars()
        .map(|c| c.to_digit(16).ok_or_else(|| format!("{text:?}: no hexadecimal")))
        .collect::<Result<_, _>>()?;
    let bytes = digits.chunks(2).map(|pair| match pair {
        [high, low] => u8::try_from(high * 16 + low).map_err(|e| e.to_string()),
        _ => Err(format!("{text:?}: an odd number of digits")),
    });
    bytes.collect()
}
