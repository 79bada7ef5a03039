use ring::digest;

use crate::cert::Parsed;
use crate::{PkiError, TrustAnchors};

/// Bytes of a [`KeyHash`].
pub const HASH_LEN: usize = 20;

/// SHA-1 of a SubjectPublicKeyInfo, as CERTREQ payloads name authorities (RFC 7296 §3.7). It names, and
/// proves nothing.
pub type KeyHash = [u8; HASH_LEN];

/// The hash that names the key of the certificate `der`.
pub fn key_hash(der: &[u8]) -> Result<KeyHash, PkiError> {
    Ok(spki_hash(&Parsed::from_der(der)?.spki))
}

/// The SubjectPublicKeyInfo of the certificate `der`, DER.
pub fn public_key(der: &[u8]) -> Result<Vec<u8>, PkiError> {
    Ok(Parsed::from_der(der)?.spki)
}

/// Which of our own chains (leaf first, DER) a peer asks for that trusts the authorities `hashes`: the first
/// that has one of them in it, or that one of `known` issued which has such a hash. `None` if no chain fits.
///
/// A peer may accept more than it names (RFC 7296 §3.7), so a caller with one certificate sends it in any
/// case.
#[must_use]
pub fn select(chains: &[Vec<Vec<u8>>], known: &TrustAnchors, hashes: &[KeyHash]) -> Option<usize> {
    chains.iter().position(|chain| {
        let parsed: Vec<Parsed> = chain.iter().filter_map(|der| Parsed::from_der(der).ok()).collect();
        let in_chain = parsed.iter().any(|c| hashes.contains(&spki_hash(&c.spki)));
        in_chain
            || known
                .iter()
                .filter(|a| hashes.contains(&spki_hash(&a.parsed.spki)))
                .any(|anchor| parsed.iter().any(|c| c.issuer() == anchor.parsed.subject()))
    })
}

pub(crate) fn spki_hash(spki: &[u8]) -> KeyHash {
    let mut out = [0; HASH_LEN];
    for (to, from) in out.iter_mut().zip(digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, spki).as_ref()) {
        *to = *from;
    }
    out
}
