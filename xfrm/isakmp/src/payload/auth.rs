use adit_core::{DecodeError, SignatureScheme};

use crate::signature::algorithm_identifier;
use crate::wire::{EncodeError, Reader, count8, registry};

registry! {
    /// Auth Method (RFC 7296 §3.8).
    AuthMethod(u8) {
        /// RSASSA-PKCS1-v1_5, SHA-1 unless the peers agreed otherwise.
        RSA_SIGNATURE = 1,
        /// Shared Key Message Integrity Code.
        SHARED_KEY = 2,
        /// DSS.
        DSS_SIGNATURE = 3,
        /// ECDSA with SHA-256 on P-256 (RFC 4754): r and s, 32 bytes each.
        ECDSA_P256_SHA256 = 9,
        /// ECDSA with SHA-384 on P-384 (RFC 4754): r and s, 48 bytes each.
        ECDSA_P384_SHA384 = 10,
        /// ECDSA with SHA-512 on P-521 (RFC 4754).
        ECDSA_P521_SHA512 = 11,
        /// NULL (RFC 7619).
        NULL = 13,
        /// Digital Signature with an AlgorithmIdentifier in front (RFC 7427).
        DIGITAL_SIGNATURE = 14,
    }
}

/// AUTH (RFC 7296 §3.8).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Authentication {
    /// Auth Method.
    pub method: AuthMethod,
    /// Authentication Data.
    pub data: Vec<u8>,
}

impl Authentication {
    /// A shared key MIC ([`crate::keys::psk_auth`]).
    #[must_use]
    pub fn shared_key(mic: &[u8]) -> Self {
        Self { method: AuthMethod::SHARED_KEY, data: mic.to_vec() }
    }

    /// A signature as RFC 7427 §3 writes it: length of the AlgorithmIdentifier, AlgorithmIdentifier, signature.
    ///
    /// # Errors
    /// None in practice: every AlgorithmIdentifier that Adit has is shorter than 256 bytes.
    pub fn digital_signature(scheme: SignatureScheme, signature: &[u8]) -> Result<Self, EncodeError> {
        let identifier = algorithm_identifier(scheme);
        let mut data = vec![count8(identifier.len(), "the AlgorithmIdentifier")?];
        data.extend_from_slice(identifier);
        data.extend_from_slice(signature);
        Ok(Self { method: AuthMethod::DIGITAL_SIGNATURE, data })
    }

    /// The AlgorithmIdentifier (DER; see [`crate::signature::schemes`]) and the signature of an AUTH of method 14.
    ///
    /// # Errors
    /// If it is cut off; offsets count from the start of the Authentication Data.
    pub fn as_digital_signature(&self) -> Result<(&[u8], &[u8]), DecodeError> {
        let mut r = Reader::new(&self.data, 0);
        let length = r.u8("the AlgorithmIdentifier's length is cut off")?;
        let identifier = r.take(usize::from(length), "the AlgorithmIdentifier is cut off")?;
        Ok((identifier, r.rest()))
    }

    pub(super) fn read(mut r: Reader<'_>) -> Result<Self, DecodeError> {
        let method = AuthMethod(r.u8("the authentication method is cut off")?);
        // [7296:3.8-2]
        r.take(3, "the AUTH payload's reserved bytes are cut off")?;
        Ok(Self { method, data: r.rest().to_vec() })
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        // [7296:3.8-1]
        out.extend_from_slice(&[self.method.0, 0, 0, 0]);
        out.extend_from_slice(&self.data);
    }
}
