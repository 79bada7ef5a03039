//! Adit's cryptography: ring, and RustCrypto for what ring lacks (AES-CBC, the MODP groups).
//!
//! This is the door to the operating system's randomness. Cores are written against
//! [`adit_isakmp::crypto::CryptoProvider`] and [`adit_core::Entropy`] and never depend on this crate: the
//! service gives them a [`Provider`] and an [`OsEntropy`].
//!
//! Our own copies of keys are zeroized. ring's keys are not: ring has no way to do it.

mod curve;
mod entropy;
mod hash;
mod modp;
mod primes;
mod sk;

use adit_core::Secret;
use adit_isakmp::algorithm::{Encryption, Integrity, KeMethod, Prf};
use adit_isakmp::crypto::{CryptoError, CryptoProvider, KeyExchange, SkCipher};
use ring::rand::SystemRandom;

pub use entropy::OsEntropy;

/// The product's [`CryptoProvider`].
///
/// It has every algorithm of [`adit_isakmp::algorithm`] but AES-GCM with a key of 192 bits, which ring lacks
/// and nobody asks for.
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
        match modp::group(method) {
            Some(group) => modp::generate(method, group, &self.random),
            None => curve::generate(method, &self.random),
        }
    }

    fn encapsulate(&self, method: KeMethod, peer: &[u8]) -> Result<(Vec<u8>, Secret), CryptoError> {
        // A value of the wrong length costs no key pair.
        if peer.len() != method.public_len() {
            return Err(CryptoError::BadPublicValue);
        }
        let pair = self.generate(method)?;
        let public = pair.public().to_vec();
        Ok((public, pair.agree(peer)?))
    }
}
