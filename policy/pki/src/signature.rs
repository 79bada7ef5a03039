use adit_core::{KeyKind, SignatureScheme};
use der::asn1::{ObjectIdentifier, UintRef};
use der::{Decode as _, Reader as _, SliceReader};
use ring::signature::{self as rs, UnparsedPublicKey, VerificationAlgorithm};
use x509_cert::spki::SubjectPublicKeyInfoRef;

use crate::signer::BARE;
use crate::{PkiError, bare};

pub(crate) const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
pub(crate) const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
pub(crate) const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
pub(crate) const P384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");
pub(crate) const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");

/// How an ECDSA signature's two numbers are written. Other signatures have one form only, whatever this says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EcdsaEncoding {
    /// `SEQUENCE { r, s }` in DER: IKE authentication method 14 (RFC 7427 §A.3).
    Der,
    /// r ‖ s, each as long as the curve's order: authentication methods 9 and 10 (RFC 4754 §3).
    Fixed,
}

/// Checks `signature` over `message` with the key of a SubjectPublicKeyInfo (DER).
///
/// RSA keys have 2048 to 8192 bits. A key that is not of the scheme's kind is [`PkiError::Scheme`]; a
/// signature that is not right is [`PkiError::Signature`], whatever is wrong with it.
pub fn verify_signature(
    spki: &[u8],
    scheme: SignatureScheme,
    message: &[u8],
    signature: &[u8],
    encoding: EcdsaEncoding,
) -> Result<(), PkiError> {
    PublicKey::from_spki(spki)?.verify(scheme, message, signature, encoding)
}

/// Checks a signature of IKEv1's over `hash` (RFC 2409 §5.1) with the key of a SubjectPublicKeyInfo (DER): see
/// [`Signer::sign_bare`](crate::Signer::sign_bare). Errors are those of [`verify_signature`].
pub fn verify_bare(spki: &[u8], hash: &[u8], signature: &[u8]) -> Result<(), PkiError> {
    PublicKey::from_spki(spki)?.verify_bare(hash, signature)
}

/// A key of a kind that Adit uses, and of a size that it accepts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct PublicKey {
    pub(crate) kind: KeyKind,
    /// The subjectPublicKey: RSAPublicKey in DER, an uncompressed point, or Ed25519's 32 bytes.
    pub(crate) bytes: Vec<u8>,
}

impl PublicKey {
    pub(crate) fn from_spki(spki: &[u8]) -> Result<Self, PkiError> {
        let info =
            SubjectPublicKeyInfoRef::from_der(spki).map_err(|_| PkiError::Malformed("its key is not DER"))?;
        let bytes =
            info.subject_public_key.as_bytes().ok_or(PkiError::Malformed("its key is not whole bytes"))?;
        let kind = match info.algorithm.oid {
            RSA => {
                check_rsa_size(bytes)?;
                KeyKind::Rsa
            }
            EC => match info.algorithm.parameters.and_then(|p| p.decode_as().ok()) {
                Some(P256) => KeyKind::EcdsaP256,
                Some(P384) => KeyKind::EcdsaP384,
                _ => return Err(PkiError::Scheme("ECDSA on a curve other than P-256 and P-384")),
            },
            ED25519 => KeyKind::Ed25519,
            _ => return Err(PkiError::Scheme("of an unknown kind")),
        };
        Ok(Self { kind, bytes: bytes.to_vec() })
    }

    pub(crate) fn verify(
        &self,
        scheme: SignatureScheme,
        message: &[u8],
        signature: &[u8],
        encoding: EcdsaEncoding,
    ) -> Result<(), PkiError> {
        if scheme.key_kind() != self.kind {
            return Err(PkiError::Scheme(scheme_name(scheme)));
        }
        let converted;
        let signature = match (coordinate_len(self.kind), encoding) {
            (Some(len), EcdsaEncoding::Fixed) => {
                converted = fixed_to_der(signature, len).ok_or(PkiError::Signature)?;
                &converted
            }
            _ => signature,
        };
        UnparsedPublicKey::new(algorithm(scheme), &self.bytes)
            .verify(message, signature)
            .map_err(|_| PkiError::Signature)
    }

    pub(crate) fn verify_bare(&self, hash: &[u8], signature: &[u8]) -> Result<(), PkiError> {
        match self.kind {
            KeyKind::Rsa => bare::verify(&self.bytes, hash, signature),
            _ => Err(PkiError::Scheme(BARE)),
        }
    }
}

/// Bytes of a coordinate of the curve, for the kinds that are on one and sign with ECDSA.
pub(crate) const fn coordinate_len(kind: KeyKind) -> Option<usize> {
    match kind {
        KeyKind::EcdsaP256 => Some(32),
        KeyKind::EcdsaP384 => Some(48),
        KeyKind::Rsa | KeyKind::Ed25519 => None,
    }
}

/// r ‖ s of `len` bytes each, from DER.
pub(crate) fn der_to_fixed(signature: &[u8], len: usize) -> Option<Vec<u8>> {
    let mut reader = SliceReader::new(signature).ok()?;
    let (r, s) = reader
        .sequence(|inner| Ok::<_, der::Error>((UintRef::decode(inner)?, UintRef::decode(inner)?)))
        .ok()?;
    let mut out = Vec::with_capacity(2 * len);
    for number in [r.as_bytes(), s.as_bytes()] {
        out.resize(out.len() + len.checked_sub(number.len())?, 0);
        out.extend_from_slice(number);
    }
    Some(out)
}

/// r ‖ s of a key of that kind in DER. `None`: they have another length, or it is no kind of ECDSA.
#[must_use]
pub fn ecdsa_to_der(signature: &[u8], kind: KeyKind) -> Option<Vec<u8>> {
    fixed_to_der(signature, coordinate_len(kind)?)
}

fn fixed_to_der(signature: &[u8], len: usize) -> Option<Vec<u8>> {
    if signature.len() != 2 * len {
        return None;
    }
    let (r, s) = signature.split_at_checked(len)?;
    let mut body = Vec::with_capacity(2 * len + 6);
    for number in [r, s] {
        let skip = number.iter().take_while(|b| **b == 0).count().min(len - 1);
        let digits = number.get(skip..)?;
        let sign = digits.first().is_some_and(|b| *b >= 0x80);
        // At most 49 bytes, and both together at most 102: one byte of length each.
        body.extend_from_slice(&[2, u8::try_from(digits.len() + usize::from(sign)).ok()?]);
        body.resize(body.len() + usize::from(sign), 0);
        body.extend_from_slice(digits);
    }
    let mut out = vec![0x30, u8::try_from(body.len()).ok()?];
    out.append(&mut body);
    Some(out)
}

fn check_rsa_size(key: &[u8]) -> Result<(), PkiError> {
    let malformed = |_: der::Error| PkiError::Malformed("its RSA key is not DER");
    let mut reader = SliceReader::new(key).map_err(malformed)?;
    let (n, _e) = reader
        .sequence(|inner| Ok::<_, der::Error>((UintRef::decode(inner)?, UintRef::decode(inner)?)))
        .map_err(malformed)?;
    let leading = n.as_bytes().first().map_or(8, |b| b.leading_zeros() as usize);
    let bits = (n.as_bytes().len() * 8).saturating_sub(leading);
    match bits {
        2048..=8192 => Ok(()),
        0..2048 => Err(PkiError::Scheme("RSA with less than 2048 bits")),
        _ => Err(PkiError::Scheme("RSA with more than 8192 bits")),
    }
}

fn algorithm(scheme: SignatureScheme) -> &'static dyn VerificationAlgorithm {
    match scheme {
        SignatureScheme::RsaPkcs1Sha256 => &rs::RSA_PKCS1_2048_8192_SHA256,
        SignatureScheme::RsaPkcs1Sha384 => &rs::RSA_PKCS1_2048_8192_SHA384,
        SignatureScheme::RsaPkcs1Sha512 => &rs::RSA_PKCS1_2048_8192_SHA512,
        SignatureScheme::RsaPssSha256 => &rs::RSA_PSS_2048_8192_SHA256,
        SignatureScheme::RsaPssSha384 => &rs::RSA_PSS_2048_8192_SHA384,
        SignatureScheme::RsaPssSha512 => &rs::RSA_PSS_2048_8192_SHA512,
        SignatureScheme::EcdsaP256Sha256 => &rs::ECDSA_P256_SHA256_ASN1,
        SignatureScheme::EcdsaP256Sha384 => &rs::ECDSA_P256_SHA384_ASN1,
        SignatureScheme::EcdsaP384Sha256 => &rs::ECDSA_P384_SHA256_ASN1,
        SignatureScheme::EcdsaP384Sha384 => &rs::ECDSA_P384_SHA384_ASN1,
        SignatureScheme::Ed25519 => &rs::ED25519,
    }
}

pub(crate) const fn scheme_name(scheme: SignatureScheme) -> &'static str {
    match scheme {
        SignatureScheme::RsaPkcs1Sha256 => "RSA PKCS#1 with SHA-256",
        SignatureScheme::RsaPkcs1Sha384 => "RSA PKCS#1 with SHA-384",
        SignatureScheme::RsaPkcs1Sha512 => "RSA PKCS#1 with SHA-512",
        SignatureScheme::RsaPssSha256 => "RSA-PSS with SHA-256",
        SignatureScheme::RsaPssSha384 => "RSA-PSS with SHA-384",
        SignatureScheme::RsaPssSha512 => "RSA-PSS with SHA-512",
        SignatureScheme::EcdsaP256Sha256 => "ECDSA P-256 with SHA-256",
        SignatureScheme::EcdsaP256Sha384 => "ECDSA P-256 with SHA-384",
        SignatureScheme::EcdsaP384Sha256 => "ECDSA P-384 with SHA-256",
        SignatureScheme::EcdsaP384Sha384 => "ECDSA P-384 with SHA-384",
        SignatureScheme::Ed25519 => "Ed25519",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn fixed_and_der_round_trip(raw in proptest::collection::vec(any::<u8>(), 64)) {
            let der = fixed_to_der(&raw, 32).unwrap();
            prop_assert_eq!(der_to_fixed(&der, 32).unwrap(), raw);
        }

        #[test]
        fn small_numbers_keep_their_place(r in 0_u8.., s in 0_u8..) {
            let mut raw = vec![0; 96];
            (raw[47], raw[95]) = (r, s);
            let der = fixed_to_der(&raw, 48).unwrap();
            prop_assert_eq!(der_to_fixed(&der, 48).unwrap(), raw);
        }

        #[test]
        fn keys_of_any_bytes_never_panic(spki in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = PublicKey::from_spki(&spki);
        }
    }

    #[test]
    fn wrong_lengths_are_refused() {
        assert!(fixed_to_der(&[0; 63], 32).is_none());
        assert!(fixed_to_der(&[], 32).is_none());
        assert!(der_to_fixed(&[0x30, 0], 32).is_none());
    }
}
