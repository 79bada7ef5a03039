use adit_core::{KeyKind, Secret, SignatureScheme};
use ring::rand::SecureRandom;
use ring::signature::{
    self as rs, ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair,
    RsaEncoding, RsaKeyPair,
};
use zeroize::Zeroizing;

use crate::bare;
use crate::cert::Parsed;
use crate::key::PrivateKey;
use crate::signature::{PublicKey, coordinate_len, der_to_fixed, scheme_name};
use crate::{EcdsaEncoding, PkiError};

/// Whatever can sign with a private key: a file's key here, a token elsewhere.
pub trait Signer: Send + Sync {
    /// The schemes that it can sign with, best first.
    fn schemes(&self) -> Vec<SignatureScheme>;

    /// Signs `message`. `random` makes RSA's blinding and PSS's salt, and ECDSA's nonce.
    ///
    /// [`PkiError::Scheme`] if `scheme` is not one of [`Signer::schemes`].
    fn sign(
        &self,
        scheme: SignatureScheme,
        message: &[u8],
        encoding: EcdsaEncoding,
        random: &dyn SecureRandom,
    ) -> Result<Vec<u8>, PkiError>;

    /// Signs a hash as IKEv1 has it (RFC 2409 §5.1): with RSA, by PKCS #1 v1.5 without an AlgorithmIdentifier of the hash.
    /// [`VerifiedKey::verify_bare`](crate::VerifiedKey::verify_bare) is its counterpart.
    ///
    /// [`PkiError::Scheme`] if the key is of another kind.
    fn sign_bare(&self, hash: &[u8]) -> Result<Vec<u8>, PkiError>;
}

/// What a key of another kind than RSA is not for.
pub(crate) const BARE: &str = "RSA of IKEv1";

/// Signs with a private key from a file.
pub struct FileSigner(KeyPair);

/// ring keeps the numbers of a key for as long as it lives, and has no way to zeroize them.
enum KeyPair {
    Rsa(RsaKeyPair, Zeroizing<Vec<u8>>),
    P256(EcdsaKeyPair),
    P384(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

impl FileSigner {
    /// A signer with the key in `content` (PEM or DER; PKCS#8, PKCS#1 or SEC1) for the certificate `leaf`
    /// (DER).
    ///
    /// RSA keys have 2048 to 4096 bits: ring signs with no longer ones. Errors: [`PkiError::KeyEncrypted`],
    /// [`PkiError::Key`] if it is not a key of a kind that Adit uses, [`PkiError::KeyMismatch`] if it is not
    /// the certificate's. The content and every copy of it is zeroized, except what ring keeps in its key.
    pub fn new(content: Secret, leaf: &[u8], random: &dyn SecureRandom) -> Result<Self, PkiError> {
        Self::with_password(content, None, leaf, random)
    }

    /// As [`FileSigner::new`], for a key that may be encrypted (PKCS#8, RFC 5958 §3) under `password`.
    ///
    /// # Errors
    /// Those of [`FileSigner::new`]; [`PkiError::Passphrase`] if the password is wrong.
    pub fn with_password(
        content: Secret,
        password: Option<&Secret>,
        leaf: &[u8],
        random: &dyn SecureRandom,
    ) -> Result<Self, PkiError> {
        let private = PrivateKey::from_content(&content, password)?;
        drop(content);
        let parsed = Parsed::from_der(leaf)?;
        let public = PublicKey::from_spki(&parsed.spki)?;
        let mismatch = || PkiError::KeyMismatch(parsed.subject_text());
        let pair = match (private, public.kind) {
            (PrivateKey::Rsa(der), KeyKind::Rsa) => {
                KeyPair::Rsa(rsa(&der, &public).map_err(|e| e.unwrap_or_else(mismatch))?, der)
            }
            (PrivateKey::Ec(scalar, curve), kind @ (KeyKind::EcdsaP256 | KeyKind::EcdsaP384)) => {
                if curve.is_some_and(|c| c != kind) {
                    return Err(mismatch());
                }
                ecdsa(&scalar, kind, &public, random).ok_or_else(mismatch)?
            }
            (PrivateKey::Ed25519(seed), KeyKind::Ed25519) => {
                Ed25519KeyPair::from_seed_and_public_key(&seed, &public.bytes)
                    .map(KeyPair::Ed25519)
                    .map_err(|_| mismatch())?
            }
            _ => return Err(mismatch()),
        };
        Ok(Self(pair))
    }
}

impl Signer for FileSigner {
    fn schemes(&self) -> Vec<SignatureScheme> {
        match &self.0 {
            KeyPair::Rsa(..) => vec![
                SignatureScheme::RsaPssSha256,
                SignatureScheme::RsaPssSha384,
                SignatureScheme::RsaPssSha512,
                SignatureScheme::RsaPkcs1Sha256,
                SignatureScheme::RsaPkcs1Sha384,
                SignatureScheme::RsaPkcs1Sha512,
            ],
            KeyPair::P256(_) => vec![SignatureScheme::EcdsaP256Sha256],
            KeyPair::P384(_) => vec![SignatureScheme::EcdsaP384Sha384],
            KeyPair::Ed25519(_) => vec![SignatureScheme::Ed25519],
        }
    }

    fn sign(
        &self,
        scheme: SignatureScheme,
        message: &[u8],
        encoding: EcdsaEncoding,
        random: &dyn SecureRandom,
    ) -> Result<Vec<u8>, PkiError> {
        match (&self.0, scheme) {
            (KeyPair::P256(pair), SignatureScheme::EcdsaP256Sha256)
            | (KeyPair::P384(pair), SignatureScheme::EcdsaP384Sha384) => {
                let der = pair.sign(random, message).map_err(|_| PkiError::Signature)?;
                match (encoding, coordinate_len(scheme.key_kind())) {
                    (EcdsaEncoding::Fixed, Some(len)) => {
                        der_to_fixed(der.as_ref(), len).ok_or(PkiError::Signature)
                    }
                    _ => Ok(der.as_ref().to_vec()),
                }
            }
            (KeyPair::Ed25519(pair), SignatureScheme::Ed25519) => Ok(pair.sign(message).as_ref().to_vec()),
            (KeyPair::Rsa(pair, _), scheme) => {
                let padding = rsa_padding(scheme).ok_or(PkiError::Scheme(scheme_name(scheme)))?;
                let mut out = vec![0; pair.public().modulus_len()];
                pair.sign(padding, random, message, &mut out).map_err(|_| PkiError::Signature)?;
                Ok(out)
            }
            _ => Err(PkiError::Scheme(scheme_name(scheme))),
        }
    }

    fn sign_bare(&self, hash: &[u8]) -> Result<Vec<u8>, PkiError> {
        match &self.0 {
            KeyPair::Rsa(_, der) => bare::sign(der, hash),
            _ => Err(PkiError::Scheme(BARE)),
        }
    }
}

/// `Err(None)`: a good key, of another certificate.
fn rsa(der: &[u8], public: &PublicKey) -> Result<RsaKeyPair, Option<PkiError>> {
    let pair = RsaKeyPair::from_der(der).map_err(|e| {
        Some(PkiError::Key(match e.to_string().as_str() {
            "TooSmall" => "RSA with less than 2048 bits",
            "TooLarge" => "RSA with more than 4096 bits",
            _ => "the RSA key is damaged, or of an unusual form (2048 to 4096 bits, two primes, exponent 65537)",
        }))
    })?;
    if pair.public().as_ref() == public.bytes { Ok(pair) } else { Err(None) }
}

/// ring wants both halves of the key, and checks that they belong together; a file need not have the public
/// one.
fn ecdsa(scalar: &[u8], kind: KeyKind, public: &PublicKey, random: &dyn SecureRandom) -> Option<KeyPair> {
    let len = coordinate_len(kind)?;
    let mut padded = Zeroizing::new(vec![0; len.checked_sub(scalar.len())?]);
    padded.reserve_exact(scalar.len());
    padded.extend_from_slice(scalar);
    let algorithm = if kind == KeyKind::EcdsaP256 {
        &ECDSA_P256_SHA256_ASN1_SIGNING
    } else {
        &ECDSA_P384_SHA384_ASN1_SIGNING
    };
    let pair =
        EcdsaKeyPair::from_private_key_and_public_key(algorithm, &padded, &public.bytes, random).ok()?;
    Some(if kind == KeyKind::EcdsaP256 { KeyPair::P256(pair) } else { KeyPair::P384(pair) })
}

fn rsa_padding(scheme: SignatureScheme) -> Option<&'static dyn RsaEncoding> {
    match scheme {
        SignatureScheme::RsaPkcs1Sha256 => Some(&rs::RSA_PKCS1_SHA256),
        SignatureScheme::RsaPkcs1Sha384 => Some(&rs::RSA_PKCS1_SHA384),
        SignatureScheme::RsaPkcs1Sha512 => Some(&rs::RSA_PKCS1_SHA512),
        SignatureScheme::RsaPssSha256 => Some(&rs::RSA_PSS_SHA256),
        SignatureScheme::RsaPssSha384 => Some(&rs::RSA_PSS_SHA384),
        SignatureScheme::RsaPssSha512 => Some(&rs::RSA_PSS_SHA512),
        SignatureScheme::EcdsaP256Sha256
        | SignatureScheme::EcdsaP256Sha384
        | SignatureScheme::EcdsaP384Sha256
        | SignatureScheme::EcdsaP384Sha384
        | SignatureScheme::Ed25519 => None,
    }
}
