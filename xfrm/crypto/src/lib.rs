//! Adit's cryptography: ring, and RustCrypto for what ring lacks (AES-CBC, 3DES, AES-GCM with 192 bits, P-521, the MODP
//! groups, ML-KEM).
//!
//! This is the door to the operating system's randomness. Cores are written against
//! [`adit_isakmp::crypto::CryptoProvider`] and [`adit_core::Entropy`] and never depend on this crate: the
//! service gives them a [`Provider`] and an [`OsEntropy`].
//!
//! Our own copies of keys are zeroized. ring's keys are not: ring has no way to do it.

mod curve;
mod ecp521;
mod entropy;
mod hash;
mod mlkem;
mod modp;
mod primes;
mod sk;
#[cfg(test)]
mod wycheproof;

use adit_core::Secret;
use adit_isakmp::algorithm::{Encryption, Integrity, KeMethod, Prf};
use adit_isakmp::crypto::{CryptoError, CryptoProvider, KeyExchange, SkCipher};
use adit_isakmp::v1;
use ring::rand::SystemRandom;

pub use entropy::OsEntropy;

/// The product's [`CryptoProvider`].
///
/// It has every algorithm of [`adit_isakmp::algorithm`].
#[derive(Debug)]
pub struct Provider {
    random: SystemRandom,
}

impl Provider {
    /// A provider with the operating system's randomness.
    #[must_use]
    pub fn new() -> Self {
        Self { random: SystemRandom::new() }
    }

    /// The randomness that a signer needs.
    #[must_use]
    pub fn random(&self) -> &dyn ring::rand::SecureRandom {
        &self.random
    }
}

impl Default for Provider {
    fn default() -> Self {
        Self::new()
    }
}

impl CryptoProvider for Provider {
    fn prf(&self, prf: Prf, key: &[u8], parts: &[&[u8]], out: &mut [u8]) {
        hash::prf(prf, key, parts, out);
    }

    fn prf_plus(&self, prf: Prf, key: &[u8], seed: &[&[u8]], out: &mut [u8]) {
        hash::prf_plus(prf, key, seed, out);
    }

    fn sha1(&self, parts: &[&[u8]]) -> [u8; 20] {
        hash::sha1(parts)
    }

    fn sk_cipher(
        &self,
        encryption: Encryption,
        integrity: Option<Integrity>,
        key: Secret,
        integrity_key: Secret,
    ) -> Result<Box<dyn SkCipher>, CryptoError> {
        sk::cipher(encryption, integrity, &key, &integrity_key)
    }

    fn generate(&self, method: KeMethod) -> Result<Box<dyn KeyExchange>, CryptoError> {
        match family(method) {
            Family::Curve(curve) => curve.generate(&self.random),
            Family::Modp(group) => modp::generate(method, group, &self.random),
            Family::Ecp521 => ecp521::generate(&self.random),
            Family::MlKem => mlkem::generate(method, &self.random),
        }
    }

    fn encapsulate(&self, method: KeMethod, peer: &[u8]) -> Result<(Vec<u8>, Secret), CryptoError> {
        // A value of the wrong length costs no key pair.
        if peer.len() != method.public_len() {
            return Err(CryptoError::BadPublicValue);
        }
        match family(method) {
            Family::Curve(curve) => curve.encapsulate(peer, &self.random),
            Family::Modp(group) => modp::encapsulate(group, peer, &self.random),
            Family::Ecp521 => ecp521::encapsulate(peer, &self.random),
            Family::MlKem => mlkem::encapsulate(method, peer, &self.random),
        }
    }
}

impl v1::Provider for Provider {
    fn hash(&self, prf: Prf, parts: &[&[u8]]) -> Vec<u8> {
        hash::hash(prf, parts)
    }

    fn cbc(&self, encryption: Encryption, key: &Secret) -> Result<Box<dyn v1::Cbc>, CryptoError> {
        sk::cbc(encryption, key)
    }
}

/// Which code makes a method.
enum Family {
    Curve(curve::Curve),
    Modp(&'static dyn modp::Modp),
    Ecp521,
    MlKem,
}

fn family(method: KeMethod) -> Family {
    match method {
        KeMethod::Curve25519 => Family::Curve(curve::X25519),
        KeMethod::Ecp256 => Family::Curve(curve::P256),
        KeMethod::Ecp384 => Family::Curve(curve::P384),
        KeMethod::Ecp521 => Family::Ecp521,
        KeMethod::Modp1024 => Family::Modp(&*modp::MODP_1024),
        KeMethod::Modp1536 => Family::Modp(&*modp::MODP_1536),
        KeMethod::Modp2048 => Family::Modp(&*modp::MODP_2048),
        KeMethod::Modp3072 => Family::Modp(&*modp::MODP_3072),
        KeMethod::Modp4096 => Family::Modp(&*modp::MODP_4096),
        KeMethod::Modp6144 => Family::Modp(&*modp::MODP_6144),
        KeMethod::Modp8192 => Family::Modp(&*modp::MODP_8192),
        KeMethod::MlKem512 | KeMethod::MlKem768 | KeMethod::MlKem1024 => Family::MlKem,
    }
}
