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
pub(super) struct Aead {
    key: Key,
    salt: [u8; SALT],
}

enum Key {
    Ring(LessSafeKey),
    /// ring has no AES-192.
    Gcm192(AesGcm<Aes192, U12>),
}

impl Aead {
    pub(super) fn new(encryption: Encryption, material: &Secret) -> Result<Self, CryptoError> {
        let (key, salt) = material.expose().split_last_chunk::<SALT>().ok_or(CryptoError::Unsupported)?;
        let key = match encryption {
            Encryption::AesGcm16(KeyBits::B128) => Key::ring(&aead::AES_128_GCM, key)?,
            Encryption::AesGcm16(KeyBits::B256) => Key::ring(&aead::AES_256_GCM, key)?,
            Encryption::ChaCha20Poly1305 => Key::ring(&aead::CHACHA20_POLY1305, key)?,
            Encryption::AesGcm16(KeyBits::B192) => {
                Key::Gcm192(AesGcm::new_from_slice(key).map_err(|_| CryptoError::Unsupported)?)
            }
            Encryption::AesCbc(_) | Encryption::TripleDesCbc => return Err(CryptoError::Unsupported),
        };
        Ok(Self { key, salt: *salt })
    }

    fn nonce(&self, iv: [u8; IV]) -> [u8; NONCE] {
        let mut nonce = [0; NONCE];
        for (to, from) in nonce.iter_mut().zip(self.salt.iter().chain(&iv)) {
            *to = *from;
        }
        nonce
    }
}

impl Key {
    fn ring(algorithm: &'static aead::Algorithm, key: &[u8]) -> Result<Self, CryptoError> {
        let key = UnboundKey::new(algorithm, key).map_err(|_| CryptoError::Unsupported)?;
        Ok(Self::Ring(LessSafeKey::new(key)))
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
        let nonce = self.nonce(*iv);
        match &self.key {
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
        let nonce = self.nonce(*iv);
        match &self.key {
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
