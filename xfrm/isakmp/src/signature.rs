//! Signature algorithms of AUTH (RFC 7427): DER AlgorithmIdentifiers, and SIGNATURE_HASH_ALGORITHMS.

use adit_core::SignatureScheme;

/// SHA2-256 in SIGNATURE_HASH_ALGORITHMS.
pub const HASH_SHA2_256: u16 = 2;
/// SHA2-384.
pub const HASH_SHA2_384: u16 = 3;
/// SHA2-512.
pub const HASH_SHA2_512: u16 = 4;
/// Identity (RFC 8420): what Ed25519 needs.
pub const HASH_IDENTITY: u16 = 5;

/// What Adit announces in SIGNATURE_HASH_ALGORITHMS.
pub const OUR_HASHES: &[u16] = &[HASH_SHA2_256, HASH_SHA2_384, HASH_SHA2_512, HASH_IDENTITY];

/// The hash that a peer must have announced before this scheme may be used with it (RFC 7427 §4).
#[must_use]
pub const fn hash_algorithm(scheme: SignatureScheme) -> u16 {
    use SignatureScheme as S;
    match scheme {
        S::RsaPkcs1Sha256 | S::RsaPssSha256 | S::EcdsaP256Sha256 | S::EcdsaP384Sha256 => HASH_SHA2_256,
        S::RsaPkcs1Sha384 | S::RsaPssSha384 | S::EcdsaP256Sha384 | S::EcdsaP384Sha384 => HASH_SHA2_384,
        S::RsaPkcs1Sha512 | S::RsaPssSha512 => HASH_SHA2_512,
        S::Ed25519 => HASH_IDENTITY,
    }
}

/// The data of a SIGNATURE_HASH_ALGORITHMS notify.
#[must_use]
pub fn emit_hashes(hashes: &[u16]) -> Vec<u8> {
    hashes.iter().flat_map(|h| h.to_be_bytes()).collect()
}

/// The numbers in a SIGNATURE_HASH_ALGORITHMS notify, known or not. A trailing odd byte is ignored.
pub fn parse_hashes(data: &[u8]) -> impl Iterator<Item = u16> {
    data.as_chunks::<2>().0.iter().copied().map(u16::from_be_bytes)
}

const RSA_ENCRYPTION_SHA256: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 11];
const RSA_ENCRYPTION_SHA384: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 12];
const RSA_ENCRYPTION_SHA512: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 13];
const RSASSA_PSS: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 10];
const MGF1: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 8];
const ECDSA_SHA256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2];
const ECDSA_SHA384: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 3];
const ED25519: &[u8] = &[0x2b, 0x65, 0x70];
const SHA256: &[u8] = &[0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 1];
const SHA384: &[u8] = &[0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 2];
const SHA512: &[u8] = &[0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 3];

/// The AlgorithmIdentifier that is sent for `scheme`, DER (RFC 7427 appendix A, RFC 8420).
///
/// RSASSA-PSS parameters are written in DER: the trailer field, being the default, is left out.
#[must_use]
#[rustfmt::skip]
pub const fn algorithm_identifier(scheme: SignatureScheme) -> &'static [u8] {
    use SignatureScheme as S;
    macro_rules! pkcs1 { ($last:literal) => { &[
        0x30, 13, 6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, $last, 5, 0,
    ] } }
    macro_rules! pss { ($hash:literal, $salt:literal) => { &[
        0x30, 65, 6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 10, 0x30, 52,
        0xa0, 15, 0x30, 13, 6, 9, 0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, $hash, 5, 0,
        0xa1, 28, 0x30, 26, 6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 8,
        0x30, 13, 6, 9, 0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, $hash, 5, 0,
        0xa2, 3, 2, 1, $salt,
    ] } }
    macro_rules! ecdsa { ($last:literal) => { &[
        0x30, 10, 6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, $last,
    ] } }
    match scheme {
        S::RsaPkcs1Sha256 => pkcs1!(11),
        S::RsaPkcs1Sha384 => pkcs1!(12),
        S::RsaPkcs1Sha512 => pkcs1!(13),
        S::RsaPssSha256 => pss!(1, 32),
        S::RsaPssSha384 => pss!(2, 48),
        S::RsaPssSha512 => pss!(3, 64),
        S::EcdsaP256Sha256 | S::EcdsaP384Sha256 => ecdsa!(2),
        S::EcdsaP256Sha384 | S::EcdsaP384Sha384 => ecdsa!(3),
        S::Ed25519 => &[0x30, 5, 6, 3, 0x2b, 0x65, 0x70],
    }
}

/// The schemes that an AlgorithmIdentifier names: one, or for ECDSA one for each curve, since the curve is the
/// certificate's; none if Adit does not know it.
///
/// Taken as peers send it: NULL parameters of RSA and of hashes present or not, the PSS trailer field written out or
/// left out. The PSS hashes must agree and the salt must be as long as the hash.
#[must_use]
pub fn schemes(algorithm_identifier: &[u8]) -> &'static [SignatureScheme] {
    use SignatureScheme as S;
    let Some((oid, parameters)) = sequence_with_oid(algorithm_identifier) else {
        return &[];
    };
    let plain = parameters.is_empty() || parameters == NULL;
    match oid {
        RSA_ENCRYPTION_SHA256 if plain => &[S::RsaPkcs1Sha256],
        RSA_ENCRYPTION_SHA384 if plain => &[S::RsaPkcs1Sha384],
        RSA_ENCRYPTION_SHA512 if plain => &[S::RsaPkcs1Sha512],
        ECDSA_SHA256 if parameters.is_empty() => &[S::EcdsaP256Sha256, S::EcdsaP384Sha256],
        ECDSA_SHA384 if parameters.is_empty() => &[S::EcdsaP384Sha384, S::EcdsaP256Sha384],
        ED25519 if parameters.is_empty() => &[S::Ed25519],
        RSASSA_PSS => match pss_hash(parameters) {
            Some(SHA256) => &[S::RsaPssSha256],
            Some(SHA384) => &[S::RsaPssSha384],
            Some(SHA512) => &[S::RsaPssSha512],
            _ => &[],
        },
        _ => &[],
    }
}

const NULL: &[u8] = &[5, 0];
const SEQUENCE: u8 = 0x30;
const OBJECT_IDENTIFIER: u8 = 6;

/// The hash of RSASSA-PSS-params (RFC 4055 §3.1), if MGF1 has the same and the salt is as long.
fn pss_hash(parameters: &[u8]) -> Option<&[u8]> {
    let fields = whole(parameters, SEQUENCE)?;
    let (hash, rest) = element(fields, 0xa0)?;
    let (mask, rest) = element(rest, 0xa1)?;
    let (salt, rest) = element(rest, 0xa2)?;
    let trailer_is_default = rest.is_empty() || rest == [0xa3, 3, 2, 1, 1];
    let hash = hash_oid(hash)?;
    let (mgf, mgf_hash) = sequence_with_oid(mask)?;
    let salt_len: &[u8] = match hash {
        SHA256 => &[2, 1, 32],
        SHA384 => &[2, 1, 48],
        SHA512 => &[2, 1, 64],
        _ => return None,
    };
    (trailer_is_default && mgf == MGF1 && hash_oid(mgf_hash)? == hash && salt == salt_len).then_some(hash)
}

fn hash_oid(der: &[u8]) -> Option<&[u8]> {
    let (oid, parameters) = sequence_with_oid(der)?;
    (parameters.is_empty() || parameters == NULL).then_some(oid)
}

/// The object identifier of an AlgorithmIdentifier, and what follows it.
fn sequence_with_oid(der: &[u8]) -> Option<(&[u8], &[u8])> {
    element(whole(der, SEQUENCE)?, OBJECT_IDENTIFIER)
}

/// The content of the one element that `der` consists of.
fn whole(der: &[u8], tag: u8) -> Option<&[u8]> {
    let (content, rest) = element(der, tag)?;
    rest.is_empty().then_some(content)
}

/// The content of the first element, if it has this tag, and what follows. Lengths are in DER's short form: nothing
/// that is known here is longer than 127 bytes.
fn element(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    match der {
        [t, length @ 0..=127, rest @ ..] if *t == tag => rest.split_at_checked(usize::from(*length)),
        _ => None,
    }
}
