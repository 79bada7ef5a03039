use der::Encode as _;
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

/// The authorities that a chain of ours (leaf first, DER) leads to: those in it, and those of `known` that issued one of
/// it. What a peer asks for by one of their hashes, it fits.
#[must_use]
pub fn leads_to(chain: &[Vec<u8>], known: &TrustAnchors) -> Vec<KeyHash> {
    let parsed: Vec<Parsed> = chain.iter().filter_map(|der| Parsed::from_der(der).ok()).collect();
    let inside = parsed.iter().skip(1).map(|c| spki_hash(&c.spki));
    let above = known.iter().filter(|a| parsed.iter().any(|c| c.issuer() == a.parsed.subject()));
    let mut out: Vec<KeyHash> = inside.chain(above.map(|a| spki_hash(&a.parsed.spki))).collect();
    out.sort_unstable();
    out.dedup();
    out
}

/// The names of the authorities that a chain of ours (leaf first, DER) leads to, as IKEv1's certificate requests have them
/// (RFC 2408 §3.10): DER.
#[must_use]
pub fn issuers(chain: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let parsed = chain.iter().filter_map(|der| Parsed::from_der(der).ok());
    parsed.filter_map(|c| c.issuer().to_der().ok()).collect()
}

pub(crate) fn spki_hash(spki: &[u8]) -> KeyHash {
    let mut out = [0; HASH_LEN];
    for (to, from) in out.iter_mut().zip(digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, spki).as_ref()) {
        *to = *from;
    }
    out
}
