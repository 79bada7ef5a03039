use core::ops::Range;

use adit_core::Secret;
use adit_isakmp::algorithm::{Encryption, Integrity, KeyBits};
use adit_isakmp::crypto::{CryptoError, SkCipher};
use adit_isakmp::v1;
use aes::cipher::block_padding::NoPadding;
use aes::cipher::{
    BlockCipherDecrypt, BlockCipherEncrypt, BlockModeDecrypt as _, BlockModeEncrypt as _, InnerIvInit as _,
    KeyInit,
};
use aes::{Aes128, Aes192, Aes256};
use des::TdesEde3;
use ring::hmac;
use subtle::ConstantTimeEq as _;

use crate::hash;

/// AES-CBC (RFC 3602) and 3DES-CBC (RFC 2451) with an HMAC over everything before the ICV (RFC 7296 §3.14).
pub(super) struct Cbc {
    cipher: Cipher,
    block_len: usize,
    hmac: hmac::Key,
    icv_len: usize,
}

/// The cipher alone, as IKEv1 uses it.
pub(super) enum Cipher {
    Aes128(Aes128),
    Aes192(Aes192),
    Aes256(Aes256),
    TripleDes(TdesEde3),
}

impl Cbc {
    pub(super) fn new(
        encryption: Encryption,
        integrity: Integrity,
        key: &Secret,
        integrity_key: &Secret,
    ) -> Result<Self, CryptoError> {
        Ok(Self {
            cipher: Cipher::new(encryption, key.expose())?,
            block_len: encryption.block_len(),
            hmac: hmac::Key::new(hash::integrity_algorithm(integrity), integrity_key.expose()),
            icv_len: integrity.icv_len(),
        })
    }

    fn split<'a>(&self, message: &'a mut [u8]) -> Result<(&'a mut [u8], &'a mut [u8]), CryptoError> {
        let end = message.len().checked_sub(self.icv_len).ok_or(CryptoError::Length)?;
        message.split_at_mut_checked(end).ok_or(CryptoError::Length)
    }

    /// The IV at `body` and the whole blocks, at least one, after it.
    fn blocks<'a>(
        &self,
        covered: &'a mut [u8],
        body: usize,
    ) -> Result<(&'a mut [u8], &'a mut [u8]), CryptoError> {
        let rest = covered.get_mut(body..).ok_or(CryptoError::Length)?;
        let (iv, data) = rest.split_at_mut_checked(self.block_len).ok_or(CryptoError::Length)?;
        let whole = !data.is_empty() && data.len().is_multiple_of(self.block_len);
        if whole { Ok((iv, data)) } else { Err(CryptoError::Length) }
    }
}

impl SkCipher for Cbc {
    fn iv_len(&self) -> usize {
        self.block_len
    }

    fn icv_len(&self) -> usize {
        self.icv_len
    }

    fn block_len(&self) -> usize {
        self.block_len
    }

    fn iv_is_random(&self) -> bool {
        true
    }

    fn seal(&self, message: &mut [u8], body: usize) -> Result<(), CryptoError> {
        let (covered, icv) = self.split(message)?;
        let (iv, plain) = self.blocks(covered, body)?;
        self.cipher.encrypt(iv, plain)?;
        let tag = hash::hmac_of(&self.hmac, &[covered]);
        for (to, from) in icv.iter_mut().zip(tag.as_ref()) {
            *to = *from;
        }
        Ok(())
    }

    fn open(&self, message: &mut [u8], body: usize) -> Result<Range<usize>, CryptoError> {
        let (covered, icv) = self.split(message)?;
        let end = covered.len();
        self.blocks(covered, body)?;
        let tag = hash::hmac_of(&self.hmac, &[covered]);
        let expected = tag.as_ref().get(..self.icv_len).ok_or(CryptoError::Length)?;
        if !bool::from(expected.ct_eq(icv)) {
            return Err(CryptoError::Integrity);
        }
        let (iv, sealed) = self.blocks(covered, body)?;
        self.cipher.decrypt(iv, sealed)?;
        Ok(body + self.block_len..end)
    }
}

impl Cipher {
    pub(super) fn new(encryption: Encryption, key: &[u8]) -> Result<Self, CryptoError> {
        Ok(match encryption {
            Encryption::AesCbc(KeyBits::B128) => Self::Aes128(keyed(key)?),
            Encryption::AesCbc(KeyBits::B192) => Self::Aes192(keyed(key)?),
            Encryption::AesCbc(KeyBits::B256) => Self::Aes256(keyed(key)?),
            // Its parity bits are ignored, and no key is refused as weak: what prf+ gives is none (RFC 2451 §2.2).
            Encryption::TripleDesCbc => Self::TripleDes(keyed(key)?),
            Encryption::AesGcm16(_) | Encryption::ChaCha20Poly1305 => return Err(CryptoError::Unsupported),
        })
    }

    fn encrypt(&self, iv: &[u8], data: &mut [u8]) -> Result<(), CryptoError> {
        match self {
            Self::Aes128(cipher) => encrypt(cipher, iv, data),
            Self::Aes192(cipher) => encrypt(cipher, iv, data),
            Self::Aes256(cipher) => encrypt(cipher, iv, data),
            Self::TripleDes(cipher) => encrypt(cipher, iv, data),
        }
    }

    fn decrypt(&self, iv: &[u8], data: &mut [u8]) -> Result<(), CryptoError> {
        match self {
            Self::Aes128(cipher) => decrypt(cipher, iv, data),
            Self::Aes192(cipher) => decrypt(cipher, iv, data),
            Self::Aes256(cipher) => decrypt(cipher, iv, data),
            Self::TripleDes(cipher) => decrypt(cipher, iv, data),
        }
    }
}

impl v1::Cbc for Cipher {
    fn encrypt(&self, iv: &[u8], data: &mut [u8]) -> Result<(), CryptoError> {
        Self::encrypt(self, iv, data)
    }

    fn decrypt(&self, iv: &[u8], data: &mut [u8]) -> Result<(), CryptoError> {
        Self::decrypt(self, iv, data)
    }
}

fn keyed<C: KeyInit>(key: &[u8]) -> Result<C, CryptoError> {
    C::new_from_slice(key).map_err(|_| CryptoError::Unsupported)
}

fn encrypt<C: BlockCipherEncrypt>(cipher: &C, iv: &[u8], data: &mut [u8]) -> Result<(), CryptoError> {
    let len = data.len();
    let cbc = cbc::Encryptor::inner_iv_slice_init(cipher, iv).map_err(|_| CryptoError::Length)?;
    cbc.encrypt_padded::<NoPadding>(data, len).map(|_| ()).map_err(|_| CryptoError::Length)
}

fn decrypt<C: BlockCipherDecrypt>(cipher: &C, iv: &[u8], data: &mut [u8]) -> Result<(), CryptoError> {
    let cbc = cbc::Decryptor::inner_iv_slice_init(cipher, iv).map_err(|_| CryptoError::Length)?;
    cbc.decrypt_padded::<NoPadding>(data).map(|_| ()).map_err(|_| CryptoError::Length)
}
