use adit_isakmp::algorithm::{Integrity, Prf};
use ring::{digest, hmac};
use sha1::{Digest as _, Sha1};

/// prf(key, parts) into `out`, which has the prf's length.
pub(crate) fn prf(prf: Prf, key: &[u8], parts: &[&[u8]], out: &mut [u8]) {
    debug_assert_eq!(out.len(), prf.output_len());
    let tag = hmac_of(&hmac::Key::new(prf_algorithm(prf), key), parts);
    fill(out, tag.as_ref());
}

/// prf+ (RFC 7296 §2.13) into `out`: the key is prepared once for all blocks.
pub(crate) fn prf_plus(prf: Prf, key: &[u8], seed: &[&[u8]], out: &mut [u8]) {
    let key = hmac::Key::new(prf_algorithm(prf), key);
    let mut previous: Option<hmac::Tag> = None;
    for (number, block) in (1..=u8::MAX).zip(out.chunks_mut(prf.output_len())) {
        let mut context = hmac::Context::with_key(&key);
        if let Some(previous) = &previous {
            context.update(previous.as_ref());
        }
        for part in seed {
            context.update(part);
        }
        context.update(&[number]);
        let tag = context.sign();
        fill(block, tag.as_ref());
        previous = Some(tag);
    }
}

fn fill(out: &mut [u8], from: &[u8]) {
    for (to, from) in out.iter_mut().zip(from) {
        *to = *from;
    }
}

const fn prf_algorithm(prf: Prf) -> hmac::Algorithm {
    match prf {
        Prf::HmacSha1 => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
        Prf::HmacSha256 => hmac::HMAC_SHA256,
        Prf::HmacSha384 => hmac::HMAC_SHA384,
        Prf::HmacSha512 => hmac::HMAC_SHA512,
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

/// By the processor's own instructions where it has them, which takes a quarter of ring's time: ring has none for SHA-1.
pub(crate) fn sha1(parts: &[&[u8]]) -> [u8; 20] {
    let mut context = Sha1::new();
    for part in parts {
        context.update(part);
    }
    context.finalize().into()
}

/// The hash inside of a prf.
pub(crate) fn hash(prf: Prf, parts: &[&[u8]]) -> Vec<u8> {
    let algorithm = match prf {
        Prf::HmacSha1 => &digest::SHA1_FOR_LEGACY_USE_ONLY,
        Prf::HmacSha256 => &digest::SHA256,
        Prf::HmacSha384 => &digest::SHA384,
        Prf::HmacSha512 => &digest::SHA512,
    };
    digest_of(algorithm, parts).as_ref().to_vec()
}

fn digest_of(algorithm: &'static digest::Algorithm, parts: &[&[u8]]) -> digest::Digest {
    let mut context = digest::Context::new(algorithm);
    for part in parts {
        context.update(part);
    }
    context.finish()
}
