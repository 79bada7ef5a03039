use adit_core::Secret;
use adit_isakmp::algorithm::KeMethod;
use adit_isakmp::crypto::{CryptoError, KeyExchange};
use ring::agreement::{self, EphemeralPrivateKey, UnparsedPublicKey};
use ring::rand::SystemRandom;

/// SEC 1's mark of an uncompressed point, which RFC 5903 §7 leaves off on the wire.
const UNCOMPRESSED: u8 = 4;

struct CurveKey {
    method: KeMethod,
    algorithm: &'static agreement::Algorithm,
    private: EphemeralPrivateKey,
    public: Vec<u8>,
}

/// A key pair on X25519, P-256 or P-384.
pub(crate) fn generate(method: KeMethod, random: &SystemRandom) -> Result<Box<dyn KeyExchange>, CryptoError> {
    let algorithm = algorithm(method).ok_or(CryptoError::Unsupported)?;
    let private = EphemeralPrivateKey::generate(algorithm, random).map_err(|_| CryptoError::Unsupported)?;
    let public = private.compute_public_key().map_err(|_| CryptoError::Unsupported)?;
    let skip = usize::from(is_nist(method));
    let public = public.as_ref().get(skip..).ok_or(CryptoError::Unsupported)?.to_vec();
    Ok(Box::new(CurveKey { method, algorithm, private, public }))
}

impl KeyExchange for CurveKey {
    fn method(&self) -> KeMethod {
        self.method
    }

    fn public(&self) -> &[u8] {
        &self.public
    }

    /// ring refuses points that are not on the curve, and X25519's all-zero result (RFC 8031 §3). Of the NIST
    /// curves the secret is the x coordinate alone (RFC 5903 §7).
    fn agree(self: Box<Self>, peer: &[u8]) -> Result<Secret, CryptoError> {
        if peer.len() != self.method.public_len() {
            return Err(CryptoError::BadPublicValue);
        }
        let mut point = Vec::with_capacity(peer.len() + 1);
        if is_nist(self.method) {
            point.push(UNCOMPRESSED);
        }
        point.extend_from_slice(peer);
        let peer = UnparsedPublicKey::new(self.algorithm, &point);
        agreement::agree_ephemeral(self.private, &peer, |secret: &[u8]| Secret::from(secret))
            .map_err(|_| CryptoError::BadPublicValue)
    }
}

fn algorithm(method: KeMethod) -> Option<&'static agreement::Algorithm> {
    match method {
        KeMethod::Curve25519 => Some(&agreement::X25519),
        KeMethod::Ecp256 => Some(&agreement::ECDH_P256),
        KeMethod::Ecp384 => Some(&agreement::ECDH_P384),
        _ => None,
    }
}

const fn is_nist(method: KeMethod) -> bool {
    matches!(method, KeMethod::Ecp256 | KeMethod::Ecp384)
}
