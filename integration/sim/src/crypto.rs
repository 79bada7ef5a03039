//! Cryptography whose every bit comes from a seed. The PRFs are real; the cipher and the key exchange are toys that
//! bind: a changed bit is noticed, two sides that agree on a key exchange have one secret, and nobody else has it.
//! Never for anything but tests.

use core::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

use adit_core::Secret;
use adit_isakmp::crypto::{CryptoError, CryptoProvider, KeyExchange, SkCipher};
use adit_isakmp::v1;
use adit_isakmp::{Encryption, Integrity, KeMethod, Prf};
use hmac::{Hmac, KeyInit, Mac};
use sha1::{Digest, Sha1};
use sha2::{Sha256, Sha384, Sha512};

/// The provider that `seed` makes.
pub struct ToyCrypto {
    seed: u64,
    made: AtomicU64,
}

impl ToyCrypto {
    /// The provider that `seed` makes.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self { seed, made: AtomicU64::new(0) }
    }

    fn exponent(&self) -> u64 {
        let n = self.made.fetch_add(1, Ordering::Relaxed);
        let mut out = [0; 32];
        hmac::<Hmac<Sha256>>(&self.seed.to_be_bytes(), &[&n.to_be_bytes()], &mut out);
        first_u64(&out) % (MODULUS - 3) + 2
    }
}

impl CryptoProvider for ToyCrypto {
    fn prf(&self, prf: Prf, key: &[u8], parts: &[&[u8]], out: &mut [u8]) {
        match prf {
            Prf::HmacSha1 => hmac::<Hmac<Sha1>>(key, parts, out),
            Prf::HmacSha256 => hmac::<Hmac<Sha256>>(key, parts, out),
            Prf::HmacSha384 => hmac::<Hmac<Sha384>>(key, parts, out),
            Prf::HmacSha512 => hmac::<Hmac<Sha512>>(key, parts, out),
        }
    }

    fn sha1(&self, parts: &[&[u8]]) -> [u8; 20] {
        let mut hash = Sha1::new();
        for part in parts {
            hash.update(part);
        }
        hash.finalize().into()
    }

    fn sk_cipher(
        &self,
        encryption: Encryption,
        integrity: Option<Integrity>,
        key: Secret,
        integrity_key: Secret,
    ) -> Result<Box<dyn SkCipher>, CryptoError> {
        let integrity_len = integrity.map_or(0, Integrity::key_len);
        let shape = key.len() == encryption.key_material_len() && integrity_key.len() == integrity_len;
        if !shape || encryption.is_aead() != integrity.is_none() {
            return Err(CryptoError::Unsupported);
        }
        let mut one = key.expose().to_vec();
        one.extend_from_slice(integrity_key.expose());
        Ok(Box::new(ToyCipher {
            key: Secret::new(one),
            iv_len: encryption.iv_len(),
            icv_len: integrity.map_or(16, Integrity::icv_len),
            block_len: encryption.block_len(),
        }))
    }

    fn generate(&self, method: KeMethod) -> Result<Box<dyn KeyExchange>, CryptoError> {
        let exponent = self.exponent();
        Ok(Box::new(ToyExchange {
            method,
            exponent,
            public: encode(method, method.public_len(), power(GENERATOR, exponent)),
        }))
    }

    fn encapsulate(&self, method: KeMethod, peer: &[u8]) -> Result<(Vec<u8>, Secret), CryptoError> {
        let exponent = self.exponent();
        let secret = shared(method, method.public_len(), exponent, peer)?;
        Ok((encode(method, method.answer_len(), power(GENERATOR, exponent)), secret))
    }
}

impl v1::Provider for ToyCrypto {
    fn hash(&self, prf: Prf, parts: &[&[u8]]) -> Vec<u8> {
        match prf {
            Prf::HmacSha1 => digest::<Sha1>(parts),
            Prf::HmacSha256 => digest::<Sha256>(parts),
            Prf::HmacSha384 => digest::<Sha384>(parts),
            Prf::HmacSha512 => digest::<Sha512>(parts),
        }
    }

    fn cbc(&self, encryption: Encryption, key: &Secret) -> Result<Box<dyn v1::Cbc>, CryptoError> {
        if key.len() != encryption.key_material_len() || encryption.is_aead() {
            return Err(CryptoError::Unsupported);
        }
        Ok(Box::new(ToyCbc { key: key.duplicate(), block: encryption.block_len() }))
    }
}

/// Blocks that are chained as in CBC, each by a permutation of bytes under a key: a changed bit spoils its block and the
/// one after it, as it does there.
struct ToyCbc {
    key: Secret,
    block: usize,
}

impl ToyCbc {
    /// Each byte of a block goes by all that went before it, in four rounds to and fro.
    fn permute(&self, block: &mut [u8], back: bool) {
        let mut pads = [0; 32];
        hmac::<Hmac<Sha256>>(self.key.expose(), &[b"block"], &mut pads);
        let rounds = 0..pads.len() / 2;
        let steps = rounds.flat_map(|round| (0..block.len()).map(move |i| (round, i)));
        let one = |block: &mut [u8], (round, i): (usize, usize)| {
            let others = block.iter().enumerate().filter(|(j, _)| *j != i);
            let mix = others.fold(u32::from(pads.get(round).copied().unwrap_or(0)), |sum, (j, b)| {
                let place = u32::try_from(j).unwrap_or(0);
                sum.wrapping_mul(0x0101_6b2f).wrapping_add(u32::from(*b) ^ place).rotate_left(7)
            });
            if let Some(byte) = block.get_mut(i) {
                *byte ^= mix.wrapping_mul(0x9e37_79b9).to_be_bytes()[0];
            }
        };
        let mut steps: Vec<_> = steps.collect();
        if back {
            steps.reverse();
        }
        steps.into_iter().for_each(|step| one(block, step));
    }
}

impl v1::Cbc for ToyCbc {
    fn encrypt(&self, iv: &[u8], data: &mut [u8]) -> Result<(), CryptoError> {
        if iv.len() != self.block || !data.len().is_multiple_of(self.block) {
            return Err(CryptoError::Length);
        }
        let mut previous = iv.to_vec();
        for block in data.chunks_mut(self.block) {
            block.iter_mut().zip(&previous).for_each(|(b, p)| *b ^= p);
            self.permute(block, false);
            previous = block.to_vec();
        }
        Ok(())
    }

    fn decrypt(&self, iv: &[u8], data: &mut [u8]) -> Result<(), CryptoError> {
        if iv.len() != self.block || !data.len().is_multiple_of(self.block) {
            return Err(CryptoError::Length);
        }
        let mut previous = iv.to_vec();
        for block in data.chunks_mut(self.block) {
            let sealed = block.to_vec();
            self.permute(block, true);
            block.iter_mut().zip(&previous).for_each(|(b, p)| *b ^= p);
            previous = sealed;
        }
        Ok(())
    }
}

fn digest<D: Digest>(parts: &[&[u8]]) -> Vec<u8> {
    let mut hash = D::new();
    parts.iter().for_each(|part| hash.update(part));
    hash.finalize().to_vec()
}

/// 2⁶¹ - 1: Diffie-Hellman in a field that anybody can search, with all its algebra.
const MODULUS: u64 = (1 << 61) - 1;
const GENERATOR: u64 = 37;

fn power(base: u64, mut exponent: u64) -> u64 {
    let modulus = u128::from(MODULUS);
    let (mut result, mut square) = (1_u128, u128::from(base) % modulus);
    while exponent > 0 {
        if exponent & 1 == 1 {
            result = result * square % modulus;
        }
        square = square * square % modulus;
        exponent >>= 1;
    }
    u64::try_from(result).unwrap_or(0)
}

/// The number, its method, and a filling that is checked on the way back, so that a changed bit is a bad value.
fn encode(method: KeMethod, len: usize, value: u64) -> Vec<u8> {
    let mut out = value.to_be_bytes().to_vec();
    out.resize(len, method.transform_id().to_be_bytes()[1]);
    out
}

fn shared(method: KeMethod, len: usize, exponent: u64, peer: &[u8]) -> Result<Secret, CryptoError> {
    let value = first_u64(peer);
    let valid = peer == encode(method, len, value) && (2..MODULUS - 1).contains(&value);
    if !valid {
        return Err(CryptoError::BadPublicValue);
    }
    Ok(Secret::from(&power(value, exponent).to_be_bytes()[..]))
}

fn first_u64(bytes: &[u8]) -> u64 {
    bytes.first_chunk::<8>().map_or(0, |chunk| u64::from_be_bytes(*chunk))
}

struct ToyExchange {
    method: KeMethod,
    exponent: u64,
    public: Vec<u8>,
}

impl KeyExchange for ToyExchange {
    fn method(&self) -> KeMethod {
        self.method
    }

    fn public(&self) -> &[u8] {
        &self.public
    }

    fn agree(self: Box<Self>, peer: &[u8]) -> Result<Secret, CryptoError> {
        shared(self.method, self.method.answer_len(), self.exponent, peer)
    }
}

struct ToyCipher {
    key: Secret,
    iv_len: usize,
    icv_len: usize,
    block_len: usize,
}

impl ToyCipher {
    /// XORs the key stream for `iv` onto `data`.
    fn crypt(&self, iv: &[u8], data: &mut [u8]) {
        let mut seed = [0; 32];
        hmac::<Hmac<Sha256>>(self.key.expose(), &[b"stream", iv], &mut seed);
        let mut state = first_u64(&seed) | 1;
        for byte in data {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            *byte ^= state.to_be_bytes()[0];
        }
    }

    fn icv(&self, message: &[u8]) -> [u8; 32] {
        let mut icv = [0; 32];
        hmac::<Hmac<Sha256>>(self.key.expose(), &[b"icv", message], &mut icv);
        icv
    }
}

impl SkCipher for ToyCipher {
    fn iv_len(&self) -> usize {
        self.iv_len
    }

    fn icv_len(&self) -> usize {
        self.icv_len
    }

    fn block_len(&self) -> usize {
        self.block_len
    }

    fn iv_is_random(&self) -> bool {
        self.block_len > 1
    }

    fn seal(&self, message: &mut [u8], body: usize) -> Result<(), CryptoError> {
        let end = message
            .len()
            .checked_sub(self.icv_len)
            .filter(|end| *end >= body.saturating_add(self.iv_len))
            .ok_or(CryptoError::Length)?;
        let (sealed, icv) = message.split_at_mut(end);
        let (_, tail) = sealed.split_at_mut(body);
        let (iv, data) = tail.split_at_mut(self.iv_len);
        if !data.len().is_multiple_of(self.block_len) {
            return Err(CryptoError::Length);
        }
        self.crypt(iv, data);
        for (to, from) in icv.iter_mut().zip(self.icv(sealed)) {
            *to = from;
        }
        Ok(())
    }

    fn open(&self, message: &mut [u8], body: usize) -> Result<Range<usize>, CryptoError> {
        let start = body.saturating_add(self.iv_len);
        let end = message
            .len()
            .checked_sub(self.icv_len)
            .filter(|end| *end >= start && (end - start).is_multiple_of(self.block_len))
            .ok_or(CryptoError::Length)?;
        let (sealed, icv) = message.split_at_mut(end);
        if self.icv(sealed).get(..icv.len()) != Some(&*icv) {
            return Err(CryptoError::Integrity);
        }
        let (_, tail) = sealed.split_at_mut(body);
        let (iv, data) = tail.split_at_mut(self.iv_len);
        self.crypt(iv, data);
        Ok(start..end)
    }
}

fn hmac<M: Mac + KeyInit>(key: &[u8], parts: &[&[u8]], out: &mut [u8]) {
    let Ok(mut mac) = <M as KeyInit>::new_from_slice(key) else {
        return;
    };
    for part in parts {
        mac.update(part);
    }
    for (to, from) in out.iter_mut().zip(mac.finalize().into_bytes()) {
        *to = from;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_sides_agree_and_others_do_not() {
        let (a, b) = (ToyCrypto::new(1), ToyCrypto::new(2));
        for method in KeMethod::ALL {
            let key = a.generate(*method).unwrap();
            let (public, secret) = b.encapsulate(*method, key.public()).unwrap();
            let (_, other) = b.encapsulate(*method, key.public()).unwrap();
            let agreed = key.agree(&public).unwrap();
            assert!(agreed.equals(secret.expose()));
            assert!(!agreed.equals(other.expose()));
        }
    }

    #[test]
    fn a_changed_bit_is_noticed() {
        let suite = Encryption::ChaCha20Poly1305;
        let cipher = ToyCrypto::new(1)
            .sk_cipher(suite, None, Secret::from(&[7; 36][..]), Secret::from(&[][..]))
            .unwrap();
        let mut message = vec![5; 4 + 8 + 10 + 16];
        cipher.seal(&mut message, 4).unwrap();
        for bit in 0..message.len() * 8 {
            let mut changed = message.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(cipher.open(&mut changed, 4), Err(CryptoError::Integrity));
        }
        let range = cipher.open(&mut message, 4).unwrap();
        assert_eq!(message[range], [5; 10]);
    }
}
