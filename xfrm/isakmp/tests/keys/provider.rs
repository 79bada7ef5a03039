//! HMAC, SHA-1 and AES-256-CBC with HMAC-SHA2-256, for these tests only.

use core::ops::Range;

use adit_core::Secret;
use adit_isakmp::crypto::{CryptoError, CryptoProvider, KeyExchange, SkCipher};
use adit_isakmp::{Encryption, Integrity, KeMethod, Prf};
use aes::Aes256;
use aes::cipher::block_padding::NoPadding;
use aes::cipher::{BlockModeDecrypt, BlockModeEncrypt, KeyIvInit};
use hmac::{Hmac, KeyInit, Mac};
use sha1::{Digest, Sha1};
use sha2::{Sha256, Sha384, Sha512};

pub(crate) struct Provider;

fn mac<M: Mac + KeyInit>(key: &[u8], parts: &[&[u8]]) -> Vec<u8> {
    let mut mac = <M as KeyInit>::new_from_slice(key).unwrap();
    parts.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes().to_vec()
}

impl CryptoProvider for Provider {
    fn prf(&self, prf: Prf, key: &[u8], parts: &[&[u8]], out: &mut [u8]) {
        out.copy_from_slice(&match prf {
            Prf::HmacSha1 => mac::<Hmac<Sha1>>(key, parts),
            Prf::HmacSha256 => mac::<Hmac<Sha256>>(key, parts),
            Prf::HmacSha384 => mac::<Hmac<Sha384>>(key, parts),
            Prf::HmacSha512 => mac::<Hmac<Sha512>>(key, parts),
        });
    }

    fn sha1(&self, parts: &[&[u8]]) -> [u8; 20] {
        Sha1::digest(parts.concat()).into()
    }

    fn sk_cipher(
        &self,
        encryption: Encryption,
        integrity: Option<Integrity>,
        key: Secret,
        integrity_key: Secret,
    ) -> Result<Box<dyn SkCipher>, CryptoError> {
        match (encryption, integrity) {
            (Encryption::AesCbc(_), Some(Integrity::HmacSha256_128)) if key.len() == 32 => {
                Ok(Box::new(CbcSha256 { key, integrity_key }))
            }
            _ => Err(CryptoError::Unsupported),
        }
    }

    fn generate(&self, _: KeMethod) -> Result<Box<dyn KeyExchange>, CryptoError> {
        Err(CryptoError::Unsupported)
    }

    fn encapsulate(&self, _: KeMethod, _: &[u8]) -> Result<(Vec<u8>, Secret), CryptoError> {
        Err(CryptoError::Unsupported)
    }
}

struct CbcSha256 {
    key: Secret,
    integrity_key: Secret,
}

impl CbcSha256 {
    fn parts<'a>(&self, message: &'a mut [u8], body: usize) -> Result<[&'a mut [u8]; 2], CryptoError> {
        let icv = message.len().checked_sub(16).ok_or(CryptoError::Length)?;
        let length = icv.checked_sub(body + 16).ok_or(CryptoError::Length)?;
        if length == 0 || length % 16 != 0 {
            return Err(CryptoError::Length);
        }
        Ok(message.split_at_mut(icv).into())
    }

    fn icv(&self, authenticated: &[u8]) -> Vec<u8> {
        mac::<Hmac<Sha256>>(self.integrity_key.expose(), &[authenticated])[..16].to_vec()
    }
}

impl SkCipher for CbcSha256 {
    fn iv_len(&self) -> usize {
        16
    }

    fn icv_len(&self) -> usize {
        16
    }

    fn block_len(&self) -> usize {
        16
    }

    fn iv_is_random(&self) -> bool {
        true
    }

    fn seal(&self, message: &mut [u8], body: usize) -> Result<(), CryptoError> {
        let [front, icv] = self.parts(message, body)?;
        let (iv, text) = front[body..].split_at_mut(16);
        let length = text.len();
        cbc::Encryptor::<Aes256>::new_from_slices(self.key.expose(), iv)
            .unwrap()
            .encrypt_padded::<NoPadding>(text, length)
            .unwrap();
        icv.copy_from_slice(&self.icv(front));
        Ok(())
    }

    fn open(&self, message: &mut [u8], body: usize) -> Result<Range<usize>, CryptoError> {
        let [front, icv] = self.parts(message, body)?;
        if *icv != *self.icv(front) {
            return Err(CryptoError::Integrity);
        }
        let end = front.len();
        let (iv, text) = front[body..].split_at_mut(16);
        cbc::Decryptor::<Aes256>::new_from_slices(self.key.expose(), iv)
            .unwrap()
            .decrypt_padded::<NoPadding>(text)
            .unwrap();
        Ok(body + 16..end)
    }
}
