//! Changing a password that has expired (RFC 2759 §7): the new one, encrypted with the old one's hash.

use adit_core::{Entropy, Secret};
use rc4::{KeyInit, Rc4, StreamCipher};
use thiserror::Error;
use zeroize::Zeroizing;

use super::{NtHash, des_encrypt};

/// Characters of a new password: 512 octets of UTF-16.
const LONGEST: usize = 256;
const BLOCK: usize = 516;

/// What the Change-Password packet carries besides challenge and response.
pub struct PasswordChange {
    /// Encrypted-Password.
    pub encrypted_password: Box<[u8; BLOCK]>,
    /// Encrypted-Hash.
    pub encrypted_hash: [u8; 16],
}

/// Why a password can't be changed to this one.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum ChangeError {
    /// It is no text.
    #[error("the password is not UTF-8 text")]
    NotText,
    /// It is too long.
    #[error("the password has more than {LONGEST} characters")]
    TooLong,
    /// The other side encrypted something else.
    #[error("the new password can't be read: it was encrypted with another old password")]
    Unreadable,
}

impl PasswordChange {
    /// Encrypts `new` for the holder of `old` (RFC 2759 §8.9 to §8.12).
    ///
    /// # Errors
    /// A password that does not fit.
    pub fn encrypt(old: &NtHash, new: &Secret, entropy: &mut dyn Entropy) -> Result<Self, ChangeError> {
        let text = core::str::from_utf8(new.expose()).map_err(|_| ChangeError::NotText)?;
        let wide: Zeroizing<Vec<u8>> =
            Zeroizing::new(text.encode_utf16().flat_map(u16::to_le_bytes).collect());
        let pad = (LONGEST * 2).checked_sub(wide.len()).ok_or(ChangeError::TooLong)?;
        let mut block = Zeroizing::new([0; BLOCK]);
        let (random, rest) = block.split_at_mut(pad);
        entropy.secret(random);
        let (password, length) = rest.split_at_mut(wide.len());
        password.copy_from_slice(&wide);
        let octets = u32::try_from(wide.len()).map_err(|_| ChangeError::TooLong)?;
        length.copy_from_slice(&octets.to_le_bytes());
        rc4(old.expose(), &mut *block);
        let hash = NtHash::of(new).ok_or(ChangeError::NotText)?;
        Ok(Self { encrypted_password: Box::new(*block), encrypted_hash: hash_with_hash(old, &hash) })
    }

    /// The new password, as the holder of `old` reads it.
    ///
    /// # Errors
    /// It was not made with `old`, or is no password.
    pub fn decrypt(&self, old: &NtHash) -> Result<Secret, ChangeError> {
        let mut block = Zeroizing::new(*self.encrypted_password);
        rc4(old.expose(), &mut *block);
        let (text, length) = block.split_last_chunk::<4>().ok_or(ChangeError::Unreadable)?;
        let length = usize::try_from(u32::from_le_bytes(*length)).map_err(|_| ChangeError::Unreadable)?;
        let start = text.len().checked_sub(length).filter(|_| length % 2 == 0);
        let wide = start.and_then(|s| text.get(s..)).ok_or(ChangeError::Unreadable)?;
        let units: Zeroizing<Vec<u16>> =
            Zeroizing::new(wide.as_chunks::<2>().0.iter().map(|pair| u16::from_le_bytes(*pair)).collect());
        let password = String::from_utf16(&units).map_err(|_| ChangeError::Unreadable)?;
        let password = Secret::new(password.into_bytes());
        let hash = NtHash::of(&password).ok_or(ChangeError::Unreadable)?;
        if !Secret::from(&hash_with_hash(old, &hash)[..]).equals(&self.encrypted_hash) {
            return Err(ChangeError::Unreadable);
        }
        Ok(password)
    }
}

/// RFC 2759 §8.13: the old hash, encrypted with the new one.
fn hash_with_hash(old: &NtHash, new: &NtHash) -> [u8; 16] {
    let mut out = *old.expose();
    for (block, key) in out.as_chunks_mut::<8>().0.iter_mut().zip(new.expose().chunks_exact(7)) {
        des_encrypt(key, block);
    }
    out
}

fn rc4(key: &[u8; 16], data: &mut [u8]) {
    // A key of 16 bytes is never refused.
    if let Ok(mut cipher) = Rc4::new_from_slice(key) {
        cipher.apply_keystream(data);
    }
}
