//! Our own certificate, and what signs for it.

use std::sync::Arc;

use adit_core::{Failure, FailureCode, KeyKind, SignatureScheme as Ours, Step};
use adit_pki::{EcdsaEncoding, Signer};
use ring::rand::SystemRandom;
use rustls::sign::{CertifiedKey, SigningKey, SingleCertAndKey};
use rustls::{SignatureAlgorithm, SignatureScheme};
use rustls_pki_types::CertificateDer;

use crate::config::OwnCertificate;
use crate::explain::Verdict;

/// As rustls asks for it, as a client and as a server.
pub(crate) fn resolver(
    own: &OwnCertificate,
    verdict: &Arc<Verdict>,
) -> Result<Arc<SingleCertAndKey>, Failure> {
    Ok(Arc::new(SingleCertAndKey::from(certified(own, verdict)?)))
}

/// The certificate with its key, whose complaints go to `verdict`.
pub(crate) fn certified(own: &OwnCertificate, verdict: &Arc<Verdict>) -> Result<CertifiedKey, Failure> {
    if own.chain.is_empty() || own.signer.schemes().is_empty() {
        let text = "TLS: our own certificate or its key is missing";
        return Err(Failure::new(FailureCode::ConfigurationInvalid, Step::Profile, text));
    }
    let chain = own.chain.iter().map(|der| CertificateDer::from(der.clone())).collect();
    let key = Arc::new(Key { signer: Arc::clone(&own.signer), verdict: Arc::clone(verdict) });
    Ok(CertifiedKey::new(chain, key))
}

struct Key {
    signer: Arc<dyn Signer>,
    verdict: Arc<Verdict>,
}

impl core::fmt::Debug for Key {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Key")
    }
}

impl SigningKey for Key {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn rustls::sign::Signer>> {
        let mut ours = self.signer.schemes().into_iter();
        let (ours, theirs) =
            ours.find_map(|s| scheme(s).filter(|theirs| offered.contains(theirs)).map(|theirs| (s, theirs)))?;
        let (signer, verdict) = (Arc::clone(&self.signer), Arc::clone(&self.verdict));
        Some(Box::new(Signing { signer, verdict, ours, theirs }))
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        match self.signer.schemes().first().map(|s| s.key_kind()) {
            Some(KeyKind::Rsa) => SignatureAlgorithm::RSA,
            Some(KeyKind::Ed25519) => SignatureAlgorithm::ED25519,
            Some(KeyKind::EcdsaP256 | KeyKind::EcdsaP384) | None => SignatureAlgorithm::ECDSA,
        }
    }
}

struct Signing {
    signer: Arc<dyn Signer>,
    verdict: Arc<Verdict>,
    ours: Ours,
    theirs: SignatureScheme,
}

impl core::fmt::Debug for Signing {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Signing")
    }
}

impl rustls::sign::Signer for Signing {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rustls::Error> {
        self.signer
            .sign(self.ours, message, EcdsaEncoding::Der, &SystemRandom::new())
            .map_err(|e| self.verdict.cannot_sign(e))
    }

    fn scheme(&self) -> SignatureScheme {
        self.theirs
    }
}

/// TLS's name for a scheme; `None`: TLS 1.3 has none, and TLS 1.2 does without.
const fn scheme(ours: Ours) -> Option<SignatureScheme> {
    Some(match ours {
        Ours::RsaPkcs1Sha256 => SignatureScheme::RSA_PKCS1_SHA256,
        Ours::RsaPkcs1Sha384 => SignatureScheme::RSA_PKCS1_SHA384,
        Ours::RsaPkcs1Sha512 => SignatureScheme::RSA_PKCS1_SHA512,
        Ours::RsaPssSha256 => SignatureScheme::RSA_PSS_SHA256,
        Ours::RsaPssSha384 => SignatureScheme::RSA_PSS_SHA384,
        Ours::RsaPssSha512 => SignatureScheme::RSA_PSS_SHA512,
        Ours::EcdsaP256Sha256 => SignatureScheme::ECDSA_NISTP256_SHA256,
        Ours::EcdsaP384Sha384 => SignatureScheme::ECDSA_NISTP384_SHA384,
        Ours::Ed25519 => SignatureScheme::ED25519,
        Ours::EcdsaP256Sha384 | Ours::EcdsaP384Sha256 => return None,
    })
}
