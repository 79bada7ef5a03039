use core::ops::Range;

use adit_core::Secret;
use adit_isakmp::algorithm::{Encryption, Integrity, KeyBits};
use adit_isakmp::crypto::{CryptoError, SkCipher};
use aes::cipher::block_padding::NoPadding;
use aes::cipher::consts::U16;
use aes::cipher::{
    BlockCipherDecrypt, BlockCipherEncrypt, BlockModeDecrypt as _, BlockModeEncrypt as _, InnerIvInit as _,
    KeyInit as _,
};
use aes::{Aes128, Aes192, Aes256};
use ring::{aead, hmac};
use subtle::ConstantTimeEq as _;

use crate::hash;

const BLOCK: usize = 16;
const AEAD_IV: usize = 8;
const AEAD_ICV: usize = 16;
const SALT: usize = 4;

/// The cipher of one direction of SK payloads.
pub(crate) fn cipher(
    encryption: Encryption,
    integrity: Option<Integrity>,
    key: &Secret,
    integrity_key: &Secret,
) -> Result<Box<dyn SkCipher>, CryptoError> {
    let integrity_len = integrity.map_or(0, Integrity::key_len);
    if key.len() != encryption.key_material_len() || integrity_key.len() != integrity_len {
        return Err(CryptoError::Unsupported);
    }
    match (encryption, integrity) {
        (Encryption::AesGcm16(KeyBits::B128), None) => Aead::boxed(&aead::AES_128_GCM, key),
        (Encryption::AesGcm16(KeyBits::B256), None) => Aead::boxed(&aead::AES_256_GCM, key),
        (Encryption::ChaCha20Poly1305, None) => Aead::boxed(&aead::CHACHA20_POLY1305, key),
        (Encryption::AesCbc(bits), Some(integrity)) => {
            let aes = Aes::new(bits, key.expose()).ok_or(CryptoError::Unsupported)?;
            let hmac = hmac::Key::new(hash::integrity_algorithm(integrity), integrity_key.expose());
            Ok(Box::new(Cbc { aes, hmac, icv_len: integrity.icv_len() }))
        }
        _ => Err(CryptoError::Unsupported),
    }
}

/// AES-GCM (RFC 5282) and ChaCha20-Poly1305 (RFC 7634): the nonce is the salt and the IV.
struct Aead {
    key: aead::LessSafeKey,
    salt: [u8; SALT],
}

impl Aead {
    fn boxed(
        algorithm: &'static aead::Algorithm,
        material: &Secret,
    ) -> Result<Box<dyn SkCipher>, CryptoError> {
        let (key, salt) = material
            .expose()
            .split_last_chunk::<SALT>()
            .map(|(k, s)| (k, *s))
            .ok_or(CryptoError::Unsupported)?;
        let key = aead::UnboundKey::new(algorithm, key).map_err(|_| CryptoError::Unsupported)?;
        Ok(Box::new(Self { key: aead::LessSafeKey::new(key), salt }))
    }

    fn nonce(&self, iv: [u8; AEAD_IV]) -> aead::Nonce {
        let mut nonce = [0; SALT + AEAD_IV];
        for (to, from) in nonce.iter_mut().zip(self.salt.iter().chain(&iv)) {
            *to = *from;
        }
        aead::Nonce::assume_unique_for_key(nonce)
    }
}

impl SkCipher for Aead {
    fn iv_len(&self) -> usize {
        AEAD_IV
    }

    fn icv_len(&self) -> usize {
        AEAD_ICV
    }

    fn block_len(&self) -> usize {
        1
    }

    fn iv_is_random(&self) -> bool {
        false
    }

    fn seal(&self, message: &mut [u8], body: usize) -> Result<(), CryptoError> {
        let (associated, rest) = message.split_at_mut_checked(body).ok_or(CryptoError::Length)?;
        let (iv, rest) = rest.split_first_chunk_mut::<AEAD_IV>().ok_or(CryptoError::Length)?;
        let (plain, icv) = rest.split_last_chunk_mut::<AEAD_ICV>().ok_or(CryptoError::Length)?;
        let tag = self
            .key
            .seal_in_place_separate_tag(self.nonce(*iv), aead::Aad::from(associated), plain)
            .map_err(|_| CryptoError::Length)?;
        icv.copy_from_slice(tag.as_ref());
        Ok(())
    }

    fn open(&self, message: &mut [u8], body: usize) -> Result<Range<usize>, CryptoError> {
        let end = message.len().checked_sub(AEAD_ICV).ok_or(CryptoError::Length)?;
        let (associated, rest) = message.split_at_mut_checked(body).ok_or(CryptoError::Length)?;
        let (iv, sealed) = rest.split_first_chunk_mut::<AEAD_IV>().ok_or(CryptoError::Length)?;
        if sealed.len() < AEAD_ICV {
            return Err(CryptoError::Length);
        }
        self.key
            .open_in_place(self.nonce(*iv), aead::Aad::from(associated), sealed)
            .map_err(|_| CryptoError::Integrity)?;
        Ok(body + AEAD_IV..end)
    }
}

/// AES-CBC (RFC 3602) with an HMAC over everything before the ICV (RFC 7296 §3.14).
struct Cbc {
    aes: Aes,
    hmac: hmac::Key,
    icv_len: usize,
}

enum Aes {
    B128(Aes128),
    B192(Aes192),
    B256(Aes256),
}

impl SkCipher for Cbc {
    fn iv_len(&self) -> usize {
        BLOCK
    }

    fn icv_len(&self) -> usize {
        self.icv_len
    }

    fn block_len(&self) -> usize {
        BLOCK
    }

    fn iv_is_random(&self) -> bool {
        true
    }

    fn seal(&self, message: &mut [u8], body: usize) -> Result<(), CryptoError> {
        let (covered, icv) = self.split(message)?;
        let (iv, plain) = blocks(covered, body)?;
        self.aes.encrypt(iv, plain)?;
        let tag = hash::hmac_of(&self.hmac, &[covered]);
        for (to, from) in icv.iter_mut().zip(tag.as_ref()) {
            *to = *from;
        }
        Ok(())
    }

    fn open(&self, message: &mut [u8], body: usize) -> Result<Range<usize>, CryptoError> {
        let (covered, icv) = self.split(message)?;
        let end = covered.len();
        blocks(covered, body)?;
        let tag = hash::hmac_of(&self.hmac, &[covered]);
        let expected = tag.as_ref().get(..self.icv_len).ok_or(CryptoError::Length)?;
        if !bool::from(expected.ct_eq(icv)) {
            return Err(CryptoError::Integrity);
        }
        let (iv, sealed) = blocks(covered, body)?;
        self.aes.decrypt(iv, sealed)?;
        Ok(body + BLOCK..end)
    }
}

impl Cbc {
    fn split<'a>(&self, message: &'a mut [u8]) -> Result<(&'a mut [u8], &'a mut [u8]), CryptoError> {
        let end = message.len().checked_sub(self.icv_len).ok_or(CryptoError::Length)?;
        message.split_at_mut_checked(end).ok_or(CryptoError::Length)
    }
}

/// The IV at `body` and the whole blocks, at least one, after it.
fn blocks(covered: &mut [u8], body: usize) -> Result<([u8; BLOCK], &mut [u8]), CryptoError> {
    let rest = covered.get_mut(body..).ok_or(CryptoError::Length)?;
    let (iv, data) = rest.split_first_chunk_mut::<BLOCK>().ok_or(CryptoError::Length)?;
    if data.is_empty() || data.len() % BLOCK != 0 { Err(CryptoError::Length) } else { Ok((*iv, data)) }
}

impl Aes {
    fn new(bits: KeyBits, key: &[u8]) -> Option<Self> {
        match bits {
            KeyBits::B128 => Aes128::new_from_slice(key).ok().map(Self::B128),
            KeyBits::B192 => Aes192::new_from_slice(key).ok().map(Self::B192),
            KeyBits::B256 => Aes256::new_from_slice(key).ok().map(Self::B256),
        }
    }

    fn encrypt(&self, iv: [u8; BLOCK], data: &mut [u8]) -> Result<(), CryptoError> {
        match self {
            Self::B128(aes) => encrypt(aes, iv, data),
            Self::B192(aes) => encrypt(aes, iv, data),
            Self::B256(aes) => encrypt(aes, iv, data),
        }
    }

    fn decrypt(&self, iv: [u8; BLOCK], data: &mut [u8]) -> Result<(), CryptoError> {
        match self {
            Self::B128(aes) => decrypt(aes, iv, data),
            Self::B192(aes) => decrypt(aes, iv, data),
            Self::B256(aes) => decrypt(aes, iv, data),
        }
    }
}

fn encrypt<C: BlockCipherEncrypt<BlockSize = U16>>(
    aes: &C,
    iv: [u8; BLOCK],
    data: &mut [u8],
) -> Result<(), CryptoError> {
    let len = data.len();
    let cbc = cbc::Encryptor::inner_iv_init(aes, &iv.into());
    cbc.encrypt_padded::<NoPadding>(data, len).map(|_| ()).map_err(|_| CryptoError::Length)
}

fn decrypt<C: BlockCipherDecrypt<BlockSize = U16>>(
    aes: &C,
    iv: [u8; BLOCK],
    data: &mut [u8],
) -> Result<(), CryptoError> {
    let cbc = cbc::Decryptor::inner_iv_init(aes, &iv.into());
    cbc.decrypt_padded::<NoPadding>(data).map(|_| ()).map_err(|_| CryptoError::Length)
}
