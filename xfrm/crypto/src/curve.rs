use adit_core::Secret;
use adit_isakmp::algorithm::KeMethod;
use adit_isakmp::crypto::{CryptoError, KeyExchange};
use ring::agreement::{self, EphemeralPrivateKey, PublicKey, UnparsedPublicKey};
use ring::rand::{SecureRandom, SystemRandom};

/// SEC 1's mark of an uncompressed point, which RFC 5903 §7 leaves off on the wire.
const UNCOMPRESSED: u8 = 4;

/// The longest point: P-384's, with its mark.
const LONGEST: usize = 1 + 2 * 48;

/// X25519, P-256 or P-384.
#[derive(Clone, Copy)]
pub(crate) struct Curve {
    method: KeMethod,
    algorithm: &'static agreement::Algorithm,
    /// Bytes that a point has in front and the wire has not.
    mark: usize,
}

pub(crate) const X25519: Curve =
    Curve { method: KeMethod::Curve25519, algorithm: &agreement::X25519, mark: 0 };
pub(crate) const P256: Curve = Curve { method: KeMethod::Ecp256, algorithm: &agreement::ECDH_P256, mark: 1 };
pub(crate) const P384: Curve = Curve { method: KeMethod::Ecp384, algorithm: &agreement::ECDH_P384, mark: 1 };

struct CurveKey {
    curve: Curve,
    private: EphemeralPrivateKey,
    public: PublicKey,
}

impl Curve {
    /// A key pair.
    pub(crate) fn generate(self, random: &SystemRandom) -> Result<Box<dyn KeyExchange>, CryptoError> {
        let (private, public) = self.pair(random)?;
        Ok(Box::new(CurveKey { curve: self, private, public }))
    }

    /// A responder's public value and the shared secret.
    pub(crate) fn encapsulate(
        self,
        peer: &[u8],
        random: &SystemRandom,
    ) -> Result<(Vec<u8>, Secret), CryptoError> {
        let (private, public) = self.pair(random)?;
        let secret = self.agree(private, peer)?;
        Ok((self.wire(&public).to_vec(), secret))
    }

    pub(crate) fn pair(
        self,
        random: &dyn SecureRandom,
    ) -> Result<(EphemeralPrivateKey, PublicKey), CryptoError> {
        let private =
            EphemeralPrivateKey::generate(self.algorithm, random).map_err(|_| CryptoError::Unsupported)?;
        let public = private.compute_public_key().map_err(|_| CryptoError::Unsupported)?;
        Ok((private, public))
    }

    pub(crate) fn wire(self, public: &PublicKey) -> &[u8] {
        public.as_ref().get(self.mark..).unwrap_or_default()
    }

    /// ring refuses points that are not on the curve, and X25519's all-zero result (RFC 8031 §3). Of the NIST
    /// curves the secret is the x coordinate alone (RFC 5903 §7).
    pub(crate) fn agree(self, private: EphemeralPrivateKey, peer: &[u8]) -> Result<Secret, CryptoError> {
        if peer.len() != self.method.public_len() {
            return Err(CryptoError::BadPublicValue);
        }
        let mut room = [UNCOMPRESSED; LONGEST];
        let len = self.mark + peer.len();
        let point = room.get_mut(..len).ok_or(CryptoError::BadPublicValue)?;
        point.get_mut(self.mark..).ok_or(CryptoError::BadPublicValue)?.copy_from_slice(peer);
        let peer = UnparsedPublicKey::new(self.algorithm, &*point);
        agreement::agree_ephemeral(private, &peer, |secret: &[u8]| Secret::from(secret))
            .map_err(|_| CryptoError::BadPublicValue)
    }
}

impl KeyExchange for CurveKey {
    fn method(&self) -> KeMethod {
        self.curve.method
    }

    fn public(&self) -> &[u8] {
        self.curve.wire(&self.public)
    }

    fn agree(self: Box<Self>, peer: &[u8]) -> Result<Secret, CryptoError> {
        self.curve.agree(self.private, peer)
    }
}
