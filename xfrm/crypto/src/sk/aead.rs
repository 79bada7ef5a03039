use core::ops::Range;

use adit_core::Secret;
use adit_isakmp::algorithm::{Encryption, KeyBits};
use adit_isakmp::crypto::{CryptoError, SkCipher};
use aes::Aes192;
use aes_gcm::AesGcm;
use aes_gcm::aead::consts::U12;
use aes_gcm::{AeadInOut as _, KeyInit as _};
use ring::aead::{self, LessSafeKey, Nonce, UnboundKey};

const IV: usize = 8;
const ICV: usize = 16;
const SALT: usize = 4;
const NONCE: usize = SALT + IV;

/// AES-GCM (RFC 5282) and ChaCha20-Poly1305 (RFC 7634): the nonce is the salt and the IV.
///
/// The key is kept, and not what it expands to: that is ten times as long, there are two in each IKE_SA, and most are used
/// once. It takes less than a system call to expand.
pub(super) struct Aead {
    algorithm: Algorithm,
    /// Key and salt.
    material: Secret,
}

#[derive(Clone, Copy)]
enum Algorithm {
    Ring(&'static aead::Algorithm),
    /// ring has no AES-192.
    Gcm192,
}

enum Key {
    Ring(LessSafeKey),
    Gcm192(AesGcm<Aes192, U12>),
}

impl Aead {
    pub(super) fn new(encryption: Encryption, material: &Secret) -> Result<Self, CryptoError> {
        let algorithm = match encryption {
            Encryption::AesGcm16(KeyBits::B128) => Algorithm::Ring(&aead::AES_128_GCM),
            Encryption::AesGcm16(KeyBits::B256) => Algorithm::Ring(&aead::AES_256_GCM),
            Encryption::ChaCha20Poly1305 => Algorithm::Ring(&aead::CHACHA20_POLY1305),
            Encryption::AesGcm16(KeyBits::B192) => Algorithm::Gcm192,
            Encryption::AesCbc(_) | Encryption::TripleDesCbc => return Err(CryptoError::Unsupported),
        };
        Ok(Self { algorithm, material: material.duplicate() })
    }

    /// The key, ready for use, and the nonce of this IV.
    fn ready(&self, iv: [u8; IV]) -> Result<(Key, [u8; NONCE]), CryptoError> {
        let material = self.material.expose();
        let (key, salt) = material.split_last_chunk::<SALT>().ok_or(CryptoError::Unsupported)?;
        let key = match self.algorithm {
            Algorithm::Ring(algorithm) => {
                let key = UnboundKey::new(algorithm, key).map_err(|_| CryptoError::Unsupported)?;
                Key::Ring(LessSafeKey::new(key))
            }
            Algorithm::Gcm192 => {
                Key::Gcm192(AesGcm::new_from_slice(key).map_err(|_| CryptoError::Unsupported)?)
            }
        };
        let mut nonce = [0; NONCE];
        for (to, from) in nonce.iter_mut().zip(salt.iter().chain(&iv)) {
            *to = *from;
        }
        Ok((key, nonce))
    }
}

impl SkCipher for Aead {
    fn iv_len(&self) -> usize {
        IV
    }

    fn icv_len(&self) -> usize {
        ICV
    }

    fn block_len(&self) -> usize {
        1
    }

    fn iv_is_random(&self) -> bool {
        false
    }

    fn seal(&self, message: &mut [u8], body: usize) -> Result<(), CryptoError> {
        let (associated, rest) = message.split_at_mut_checked(body).ok_or(CryptoError::Length)?;
        let (iv, rest) = rest.split_first_chunk_mut::<IV>().ok_or(CryptoError::Length)?;
        let (plain, icv) = rest.split_last_chunk_mut::<ICV>().ok_or(CryptoError::Length)?;
        let (key, nonce) = self.ready(*iv)?;
        match &key {
            Key::Ring(key) => {
                let nonce = Nonce::assume_unique_for_key(nonce);
                let tag = key
                    .seal_in_place_separate_tag(nonce, aead::Aad::from(associated), plain)
                    .map_err(|_| CryptoError::Length)?;
                icv.copy_from_slice(tag.as_ref());
            }
            Key::Gcm192(key) => {
                let tag = key
                    .encrypt_inout_detached(&nonce.into(), associated, plain.into())
                    .map_err(|_| CryptoError::Length)?;
                *icv = tag.into();
            }
        }
        Ok(())
    }

    fn open(&self, message: &mut [u8], body: usize) -> Result<Range<usize>, CryptoError> {
        let end = message.len().checked_sub(ICV).ok_or(CryptoError::Length)?;
        let (associated, rest) = message.split_at_mut_checked(body).ok_or(CryptoError::Length)?;
        let (iv, sealed) = rest.split_first_chunk_mut::<IV>().ok_or(CryptoError::Length)?;
        if sealed.len() < ICV {
            return Err(CryptoError::Length);
        }
        let (key, nonce) = self.ready(*iv)?;
        match &key {
            Key::Ring(key) => {
                let nonce = Nonce::assume_unique_for_key(nonce);
                key.open_in_place(nonce, aead::Aad::from(associated), sealed)
                    .map_err(|_| CryptoError::Integrity)?;
            }
            Key::Gcm192(key) => {
                let (data, icv) = sealed.split_last_chunk_mut::<ICV>().ok_or(CryptoError::Length)?;
                let icv = (*icv).into();
                key.decrypt_inout_detached(&nonce.into(), associated, data.into(), &icv)
                    .map_err(|_| CryptoError::Integrity)?;
            }
        }
        Ok(body + IV..end)
    }
}
