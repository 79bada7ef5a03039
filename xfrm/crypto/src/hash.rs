use adit_isakmp::algorithm::{Integrity, Prf};
use ring::{digest, hmac};

/// prf(key, parts) into `out`, which has the prf's length.
pub(crate) fn prf(prf: Prf, key: &[u8], parts: &[&[u8]], out: &mut [u8]) {
    let algorithm = match prf {
        Prf::HmacSha1 => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
        Prf::HmacSha256 => hmac::HMAC_SHA256,
        Prf::HmacSha384 => hmac::HMAC_SHA384,
        Prf::HmacSha512 => hmac::HMAC_SHA512,
    };
    debug_assert_eq!(out.len(), prf.output_len());
    let tag = hmac_of(&hmac::Key::new(algorithm, key), parts);
    for (to, from) in out.iter_mut().zip(tag.as_ref()) {
        *to = *from;
    }
}

pub(crate) const fn integrity_algorithm(integrity: Integrity) -> hmac::Algorithm {
    match integrity {
        Integrity::HmacSha1_96 => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
        Integrity::HmacSha256_128 => hmac::HMAC_SHA256,
        Integrity::HmacSha384_192 => hmac::HMAC_SHA384,
        Integrity::HmacSha512_256 => hmac::HMAC_SHA512,
    }
}

pub(crate) fn hmac_of(key: &hmac::Key, parts: &[&[u8]]) -> hmac::Tag {
    let mut context = hmac::Context::with_key(key);
    for part in parts {
        context.update(part);
    }
    context.sign()
}

pub(crate) fn sha1(parts: &[&[u8]]) -> [u8; 20] {
    let mut context = digest::Context::new(&digest::SHA1_FOR_LEGACY_USE_ONLY);
    for part in parts {
        context.update(part);
    }
    let mut out = [0; 20];
    for (to, from) in out.iter_mut().zip(context.finish().as_ref()) {
        *to = *from;
    }
    out
}
