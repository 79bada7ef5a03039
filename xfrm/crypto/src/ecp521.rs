use adit_core::Secret;
use adit_isakmp::algorithm::KeMethod;
use adit_isakmp::crypto::{CryptoError, KeyExchange};
use p521::{PublicKey, SecretKey};
use ring::rand::SystemRandom;
use zeroize::Zeroizing;

use crate::entropy;

/// SEC 1's mark of an uncompressed point, which RFC 5903 §7 leaves off on the wire.
const UNCOMPRESSED: u8 = 4;

/// Bytes of a coordinate.
const COORDINATE: usize = 66;

struct Ecp521Key {
    private: SecretKey,
    public: Vec<u8>,
}

/// A key pair on P-521.
pub(crate) fn generate(random: &SystemRandom) -> Result<Box<dyn KeyExchange>, CryptoError> {
    let private = private(random)?;
    let public = public(&private)?;
    Ok(Box::new(Ecp521Key { private, public }))
}

/// A responder's public value and the shared secret.
pub(crate) fn encapsulate(peer: &[u8], random: &SystemRandom) -> Result<(Vec<u8>, Secret), CryptoError> {
    let private = private(random)?;
    let shared = agree(&private, peer)?;
    Ok((public(&private)?, shared))
}

impl KeyExchange for Ecp521Key {
    fn method(&self) -> KeMethod {
        KeMethod::Ecp521
    }

    fn public(&self) -> &[u8] {
        &self.public
    }

    fn agree(self: Box<Self>, peer: &[u8]) -> Result<Secret, CryptoError> {
        agree(&self.private, peer)
    }
}

/// A random number of 521 bits is a private key but with a chance of 2^-261; then the next one is taken.
fn private(random: &SystemRandom) -> Result<SecretKey, CryptoError> {
    let mut bytes = Zeroizing::new([0; COORDINATE]);
    for _ in 0..4 {
        entropy::fill(random, &mut *bytes);
        if let Some(top) = bytes.first_mut() {
            *top &= 1;
        }
        if let Ok(key) = SecretKey::from_slice(&*bytes) {
            return Ok(key);
        }
    }
    Err(CryptoError::Unsupported)
}

fn public(private: &SecretKey) -> Result<Vec<u8>, CryptoError> {
    let point = private.public_key().to_sec1_bytes();
    point.get(1..).map(<[u8]>::to_vec).ok_or(CryptoError::Unsupported)
}

/// The x coordinate alone (RFC 5903 §7). Points that are not on the curve are refused.
pub(crate) fn agree(private: &SecretKey, peer: &[u8]) -> Result<Secret, CryptoError> {
    if peer.len() != KeMethod::Ecp521.public_len() {
        return Err(CryptoError::BadPublicValue);
    }
    let mut point = Vec::with_capacity(peer.len() + 1);
    point.push(UNCOMPRESSED);
    point.extend_from_slice(peer);
    let peer = PublicKey::from_sec1_bytes(&point).map_err(|_| CryptoError::BadPublicValue)?;
    let shared = p521::ecdh::diffie_hellman(private.to_nonzero_scalar(), peer.as_affine());
    Ok(Secret::from(shared.raw_secret_bytes().as_slice()))
}
