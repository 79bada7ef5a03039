//! The door to cryptography, as a trait: ring and RustCrypto in the product (`adit-crypto`), a deterministic provider
//! in the simulation. Symmetric work is done at once; key exchange is slow or random, so cores reach it by an Ask.

use core::ops::Range;

use adit_core::Secret;
use thiserror::Error;
use zeroize::Zeroizing;

use crate::algorithm::{Encryption, Integrity, KeMethod, Prf};

/// Cryptographic primitives.
pub trait CryptoProvider: Send + Sync {
    /// `prf(key, parts[0] | parts[1] | …)`; fills all of `out`, which has `prf.output_len()` bytes.
    fn prf(&self, prf: Prf, key: &[u8], parts: &[&[u8]], out: &mut [u8]);

    /// prf+ (RFC 7296 §2.13) fills `out`: `T1 = prf(key, seed | 1)`, `Tn = prf(key, Tn-1 | seed | n)`. At most 255
    /// blocks of the prf's output; what is beyond them is left as it was.
    fn prf_plus(&self, prf: Prf, key: &[u8], seed: &[&[u8]], out: &mut [u8]) {
        let mut previous = Zeroizing::new(Vec::new());
        for (number, to) in (1..=u8::MAX).zip(out.chunks_mut(prf.output_len())) {
            let mut block = Zeroizing::new(vec![0; prf.output_len()]);
            let counter = [number];
            let parts = [&[&previous[..]], seed, &[&counter]].concat();
            self.prf(prf, key, &parts, &mut block);
            to.iter_mut().zip(block.iter()).for_each(|(to, from)| *to = *from);
            previous = block;
        }
    }

    /// SHA-1 of the concatenated parts: for NAT detection (RFC 7296 §2.23) and certificate requests, never for
    /// security.
    fn sha1(&self, parts: &[&[u8]]) -> [u8; 20];

    /// A cipher for one direction of SK payloads. `key` has `encryption.key_material_len()` bytes, `integrity_key`
    /// the integrity algorithm's (empty with an AEAD).
    ///
    /// # Errors
    /// [`CryptoError::Unsupported`] if the provider lacks the algorithm or the lengths are wrong.
    fn sk_cipher(
        &self,
        encryption: Encryption,
        integrity: Option<Integrity>,
        key: Secret,
        integrity_key: Secret,
    ) -> Result<Box<dyn SkCipher>, CryptoError>;

    /// A fresh key pair: what an initiator does first.
    ///
    /// # Errors
    /// [`CryptoError::Unsupported`].
    fn generate(&self, method: KeMethod) -> Result<Box<dyn KeyExchange>, CryptoError>;

    /// What a responder does: a fresh public value and the shared secret, from the peer's public value (for a KEM,
    /// encapsulation).
    ///
    /// # Errors
    /// [`CryptoError::BadPublicValue`] if the peer's value is invalid; [`CryptoError::Unsupported`].
    fn encapsulate(&self, method: KeMethod, peer: &[u8]) -> Result<(Vec<u8>, Secret), CryptoError>;
}

/// One key pair of an initiator, used once.
pub trait KeyExchange: Send {
    /// The method it belongs to.
    fn method(&self) -> KeMethod;

    /// Our Key Exchange Data.
    fn public(&self) -> &[u8];

    /// The shared secret, from the peer's Key Exchange Data (for a KEM, decapsulation).
    ///
    /// # Errors
    /// [`CryptoError::BadPublicValue`] if the peer's value is invalid (length, not on the curve, out of range, or an
    /// all-zero result, RFC 8031 §3).
    fn agree(self: Box<Self>, peer: &[u8]) -> Result<Secret, CryptoError>;
}

/// Protects whole messages: everything before `body` is authenticated, everything from `body` on is IV, ciphertext,
/// ICV. An AEAD authenticates `message[..body]` as associated data; a CBC cipher's HMAC covers the message up to the
/// ICV (RFC 7296 §3.14, RFC 5282 §5.1).
pub trait SkCipher: Send + Sync {
    /// Bytes of IV at `body`.
    fn iv_len(&self) -> usize;

    /// Bytes of ICV at the end.
    fn icv_len(&self) -> usize;

    /// The plaintext's length, Pad Length byte included, must be a multiple of this (1 with an AEAD).
    fn block_len(&self) -> usize;

    /// Whether the IV must be unpredictable (CBC) or only unique (AEAD: a counter will do).
    fn iv_is_random(&self) -> bool;

    /// Encrypts in place. `message` ends with the IV at `body`, then the padded plaintext, then `icv_len` bytes of
    /// room for the ICV.
    ///
    /// # Errors
    /// [`CryptoError::Length`] if the message has not that shape.
    fn seal(&self, message: &mut [u8], body: usize) -> Result<(), CryptoError>;

    /// Checks the ICV, in constant time, then decrypts in place. Returns where the padded plaintext lies.
    ///
    /// # Errors
    /// [`CryptoError::Integrity`] if the message is not authentic; its bytes are then worthless.
    /// [`CryptoError::Length`] if it is too short or not a whole number of blocks.
    fn open(&self, message: &mut [u8], body: usize) -> Result<Range<usize>, CryptoError>;
}

/// Why a primitive gave no result.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum CryptoError {
    /// The provider has no such algorithm.
    #[error("the algorithm is not supported")]
    Unsupported,
    /// The peer's public value is invalid.
    #[error("the peer's key exchange value is invalid")]
    BadPublicValue,
    /// The message is not authentic.
    #[error("the message is not authentic")]
    Integrity,
    /// The message has not the length that the algorithm needs.
    #[error("the message has a wrong length")]
    Length,
}
