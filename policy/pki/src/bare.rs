//! RSA signatures of IKEv1 (RFC 2409 §5.1): PKCS #1 padding of type 1 around a hash itself, without the AlgorithmIdentifier
//! of the hash that every other signature has, and that ring puts in. So the numbers are this crate's own work, in constant
//! time where they are secret.

use crypto_bigint::modular::{BoxedMontyForm, BoxedMontyParams};
use crypto_bigint::{BoxedUint, Odd};
use der::asn1::UintRef;
use der::{Decode as _, Reader as _, SliceReader};
use zeroize::{Zeroize as _, Zeroizing};

use crate::PkiError;

/// Octets of padding, at least (RFC 8017 §9.2).
const PADDING: usize = 8;

/// The public half of a key: n and e.
struct Public {
    modulus: Vec<u8>,
    exponent: Vec<u8>,
}

impl Public {
    /// Of an RSAPublicKey (RFC 8017 §A.1.1), DER.
    fn read(der: &[u8]) -> Option<Self> {
        let mut reader = SliceReader::new(der).ok()?;
        let both = reader.sequence(|inner| {
            Ok::<_, der::Error>((UintRef::decode(inner)?.as_bytes(), UintRef::decode(inner)?.as_bytes()))
        });
        let (modulus, exponent) = both.ok()?;
        // As ring has it: what is longer only costs time.
        (exponent.len() <= 5).then(|| Self { modulus: modulus.to_vec(), exponent: exponent.to_vec() })
    }

    fn bits(&self) -> Option<u32> {
        u32::try_from(self.modulus.len()).ok()?.checked_mul(8)
    }

    /// base^exponent mod n, as long as n. `None`: the base is not less than n, or n is no modulus.
    fn power(&self, base: &[u8], exponent: &[u8], exponent_bits: u32) -> Option<Vec<u8>> {
        let bits = self.bits()?;
        let modulus = BoxedUint::from_be_slice(&self.modulus, bits).ok()?;
        let base = BoxedUint::from_be_slice(base, bits).ok()?;
        if base >= modulus {
            return None;
        }
        let params = BoxedMontyParams::new(Odd::new(modulus).into_option()?);
        let mut exponent = BoxedUint::from_be_slice(exponent, exponent_bits).ok()?;
        let power = BoxedMontyForm::new(base, &params).pow_bounded_exp(&exponent, exponent_bits).retrieve();
        exponent.zeroize();
        let bytes = power.to_be_bytes();
        // It has whole words.
        Some(bytes.get(bytes.len().checked_sub(self.modulus.len())?..)?.to_vec())
    }

    /// EM (RFC 8017 §9.2) with the hash in the place of DigestInfo.
    fn padded(&self, hash: &[u8]) -> Option<Vec<u8>> {
        let padding = self.modulus.len().checked_sub(hash.len().checked_add(3)?)?;
        if padding < PADDING {
            return None;
        }
        let mut out = vec![0, 1];
        out.resize(padding.checked_add(2)?, 0xff);
        out.push(0);
        out.extend_from_slice(hash);
        Some(out)
    }

    fn verifies(&self, hash: &[u8], signature: &[u8]) -> bool {
        let whole = signature.len() == self.modulus.len();
        let bits = u32::try_from(self.exponent.len()).unwrap_or(0).saturating_mul(8);
        let opened = if whole { self.power(signature, &self.exponent, bits) } else { None };
        // What is compared is whole and has one form only: nothing of it is parsed.
        opened.is_some_and(|opened| self.padded(hash).as_deref() == Some(&opened))
    }
}

/// Checks `signature` over `hash` with an RSAPublicKey (DER) whose size has been looked at.
pub(crate) fn verify(key: &[u8], hash: &[u8], signature: &[u8]) -> Result<(), PkiError> {
    let right = Public::read(key).is_some_and(|key| key.verifies(hash, signature));
    if right { Ok(()) } else { Err(PkiError::Signature) }
}

/// Signs `hash` with an RSAPrivateKey (RFC 8017 §A.1.2), DER, that has been checked.
pub(crate) fn sign(key: &[u8], hash: &[u8]) -> Result<Vec<u8>, PkiError> {
    signed(key, hash).ok_or(PkiError::Signature)
}

fn signed(key: &[u8], hash: &[u8]) -> Option<Vec<u8>> {
    let mut reader = SliceReader::new(key).ok()?;
    let read = reader.sequence(|inner| {
        UintRef::decode(inner)?;
        let public = Public {
            modulus: UintRef::decode(inner)?.as_bytes().to_vec(),
            exponent: UintRef::decode(inner)?.as_bytes().to_vec(),
        };
        let secret = Zeroizing::new(UintRef::decode(inner)?.as_bytes().to_vec());
        inner.drain(inner.remaining_len())?;
        Ok::<_, der::Error>((public, secret))
    });
    let (public, secret) = read.ok()?;
    let signature = public.power(&public.padded(hash)?, &secret, public.bits()?)?;
    // A wrong one could tell of the key.
    public.verifies(hash, &signature).then_some(signature)
}
