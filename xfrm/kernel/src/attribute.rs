//! Attributes that netlink-packet-xfrm does not have, or must not have because they hold keys.

use netlink_packet_core::{DefaultNla, NlasIterator};
use netlink_packet_xfrm::{XFRMA_ALG_AEAD, XFRMA_ALG_AUTH_TRUNC, XFRMA_ALG_CRYPT, XfrmAttrs};
use zeroize::Zeroize;

use crate::{Algorithm, EspKeys};

/// `XFRMA_SA_DIR` (6.10): u8, the direction of a state. Older kernels skip it.
pub(crate) const XFRMA_SA_DIR: u16 = 33;

/// Values of [`XFRMA_SA_DIR`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum SaDir {
    In = 1,
    Out = 2,
}

impl SaDir {
    pub(crate) fn attribute(self) -> XfrmAttrs {
        XfrmAttrs::Other(DefaultNla::new(XFRMA_SA_DIR, vec![self as u8]))
    }
}

/// Bytes that are zeroized when they are dropped and when they grow.
#[derive(Default)]
pub(crate) struct SecretBuffer(Vec<u8>);

impl SecretBuffer {
    pub(crate) fn as_slice(&self) -> &[u8] {
        &self.0
    }

    pub(crate) fn as_mut_vec(&mut self) -> &mut Vec<u8> {
        &mut self.0
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn extend(&mut self, bytes: &[u8]) {
        self.reserve(bytes.len());
        self.0.extend_from_slice(bytes);
    }

    /// `n` more bytes, zero, to be filled by the caller.
    pub(crate) fn grow(&mut self, n: usize) -> &mut [u8] {
        self.reserve(n);
        let start = self.0.len();
        self.0.resize(start + n, 0);
        self.0.get_mut(start..).unwrap_or_default()
    }

    /// Zeroizes what it holds (not its whole capacity) and empties it.
    pub(crate) fn wipe(&mut self) {
        self.0.as_mut_slice().zeroize();
        self.0.clear();
    }

    pub(crate) fn reserve(&mut self, n: usize) {
        if self.0.capacity() - self.0.len() >= n {
            return;
        }
        let mut larger = Vec::with_capacity((self.0.len() + n).next_power_of_two());
        larger.extend_from_slice(&self.0);
        self.wipe();
        self.0 = larger;
    }
}

impl Drop for SecretBuffer {
    fn drop(&mut self) {
        self.wipe();
    }
}

/// Appends `struct xfrm_algo_aead`, or `xfrm_algo` and `xfrm_algo_auth`, with their keys.
pub(crate) fn push_keys(out: &mut SecretBuffer, keys: &EspKeys) {
    let name = keys.algorithm.kernel_name();
    match keys.algorithm {
        Algorithm::AesGcm16 { .. } | Algorithm::ChaCha20Poly1305 => {
            push_algorithm(out, XFRMA_ALG_AEAD, name, Some(128), keys.encryption.expose());
        }
        Algorithm::AesCbc { integrity, .. } | Algorithm::TripleDesCbc { integrity } => {
            push_algorithm(out, XFRMA_ALG_CRYPT, name, None, keys.encryption.expose());
            let bits = Some(integrity.icv_bits());
            push_algorithm(out, XFRMA_ALG_AUTH_TRUNC, integrity.kernel_name(), bits, keys.integrity.expose());
        }
    }
}

/// One `struct xfrm_algo`: 64 bytes of name, key length in bits, for some the ICV's length in bits, the key.
fn push_algorithm(out: &mut SecretBuffer, kind: u16, name: &str, icv_bits: Option<u32>, key: &[u8]) {
    const NAME_LENGTH: usize = 64;
    let length = 4 + NAME_LENGTH + 4 + icv_bits.map_or(0, |_| 4) + key.len();
    out.extend(&(length as u16).to_ne_bytes());
    out.extend(&kind.to_ne_bytes());
    let field = out.grow(NAME_LENGTH);
    field.iter_mut().zip(name.bytes()).for_each(|(to, from)| *to = from);
    out.extend(&(8 * key.len() as u32).to_ne_bytes());
    if let Some(bits) = icv_bits {
        out.extend(&bits.to_ne_bytes());
    }
    out.extend(key);
    out.grow(length.next_multiple_of(4) - length);
}

/// One attribute, padded.
pub(crate) fn push_attribute(out: &mut SecretBuffer, kind: u16, value: &[u8]) {
    let length = 4 + value.len();
    out.extend(&(length as u16).to_ne_bytes());
    out.extend(&kind.to_ne_bytes());
    out.extend(value);
    out.grow(length.next_multiple_of(4) - length);
}

/// The value of the first attribute of this kind, unparsed: nothing else is copied out of an answer with keys in it.
pub(crate) fn find(attributes: &[u8], kind: u16) -> Option<&[u8]> {
    let found = NlasIterator::new(attributes).map_while(Result::ok).find(|a| a.kind() == kind)?;
    let length = usize::from(found.length());
    found.into_inner().get(4..length)
}

/// The first attribute of this kind as a number.
pub(crate) fn find_u32(attributes: &[u8], kind: u16) -> Option<u32> {
    find(attributes, kind)?.first_chunk().map(|b| u32::from_ne_bytes(*b))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Integrity;
    use adit_core::Secret;

    #[test]
    fn an_aead_has_its_salt_in_the_key_and_its_icv_length() {
        let keys = EspKeys {
            algorithm: Algorithm::AesGcm16 { bits: 128 },
            encryption: Secret::new(vec![7; 20]),
            integrity: Secret::new(vec![]),
        };
        let mut out = SecretBuffer::default();
        push_keys(&mut out, &keys);
        let value = find(out.as_slice(), XFRMA_ALG_AEAD).unwrap();
        assert!(value.starts_with(b"rfc4106(gcm(aes))\0"));
        assert_eq!(value[64..72], [160_u32.to_ne_bytes(), 128_u32.to_ne_bytes()].concat());
        assert_eq!(value[72..], [7; 20]);
        assert_eq!(out.len() % 4, 0);
    }

    #[test]
    fn cbc_comes_with_a_truncated_hmac() {
        let keys = EspKeys {
            algorithm: Algorithm::AesCbc { bits: 256, integrity: Integrity::HmacSha512_256 },
            encryption: Secret::new(vec![1; 32]),
            integrity: Secret::new(vec![2; 64]),
        };
        let mut out = SecretBuffer::default();
        push_keys(&mut out, &keys);
        let cipher = find(out.as_slice(), XFRMA_ALG_CRYPT).unwrap();
        assert_eq!((cipher.len(), cipher[68]), (68 + 32, 1));
        let auth = find(out.as_slice(), XFRMA_ALG_AUTH_TRUNC).unwrap();
        assert_eq!(auth[68..72], 256_u32.to_ne_bytes());
        assert_eq!(auth.len(), 72 + 64);
    }

    #[test]
    fn growing_keeps_the_bytes() {
        let mut buffer = SecretBuffer::default();
        (0..1000_u16).for_each(|n| buffer.extend(&n.to_ne_bytes()));
        assert_eq!(buffer.as_slice()[1998..], 999_u16.to_ne_bytes());
        buffer.wipe();
        assert_eq!(buffer.len(), 0);
    }
}
