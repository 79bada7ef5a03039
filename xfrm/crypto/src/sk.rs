mod aead;
mod cbc;

use adit_core::Secret;
use adit_isakmp::algorithm::{Encryption, Integrity};
use adit_isakmp::crypto::{CryptoError, SkCipher};
use adit_isakmp::v1::Cbc;

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
        (Encryption::AesGcm16(_) | Encryption::ChaCha20Poly1305, None) => {
            Ok(Box::new(aead::Aead::new(encryption, key)?))
        }
        (Encryption::AesCbc(_) | Encryption::TripleDesCbc, Some(integrity)) => {
            Ok(Box::new(cbc::Cbc::new(encryption, integrity, key, integrity_key)?))
        }
        _ => Err(CryptoError::Unsupported),
    }
}

/// A cipher in CBC mode alone.
pub(crate) fn cbc(encryption: Encryption, key: &Secret) -> Result<Box<dyn Cbc>, CryptoError> {
    if key.len() != encryption.key_material_len() {
        return Err(CryptoError::Unsupported);
    }
    Ok(Box::new(cbc::Cipher::new(encryption, key.expose())?))
}
