mod comb;

use std::sync::LazyLock;

use adit_core::Secret;
use adit_isakmp::algorithm::KeMethod;
use adit_isakmp::crypto::{CryptoError, KeyExchange};
use crypto_bigint::modular::{FixedMontyForm, FixedMontyParams};
use crypto_bigint::{Odd, U384, U1024, U1536, U2048, U3072, U4096, U6144, U8192, Uint, Word};
use ring::rand::SystemRandom;
use zeroize::{Zeroize, Zeroizing};

use self::comb::Comb;
use crate::{entropy, primes};

/// A MODP group of RFC 2409 or RFC 3526: a safe prime p = 2q + 1 and the generator 2 of its subgroup of order q.
///
/// Exponents are short, as RFC 3526 §8 allows: at least twice the first strength that it estimates for the group
/// (180 bits for MODP-1536, then 220, 260, 300, 340 and 380), in whole words.
pub(crate) struct Group<const L: usize> {
    params: FixedMontyParams<L>,
    exponent_bits: u32,
    generator: Comb<L>,
}

/// A group without its size in the type.
pub(crate) trait Modp: Send + Sync {
    /// Bits of a private exponent.
    fn exponent_bits(&self) -> u32;

    /// 2^x mod p, as long as p (RFC 7296 §3.4).
    fn public(&self, exponent: &Exponent) -> Vec<u8>;

    /// peer^x mod p, as long as p (RFC 7296 §2.14).
    fn agree(&self, exponent: &Exponent, peer: &[u8]) -> Result<Secret, CryptoError>;
}

/// A private exponent.
#[derive(Zeroize)]
#[zeroize(drop)]
pub(crate) struct Exponent(U384);

macro_rules! groups {
    ($($name:ident: $uint:ident, $exponent_bits:literal;)*) => { $(
        pub(crate) static $name: LazyLock<Group<{ $uint::LIMBS }>> =
            LazyLock::new(|| Group::new(&Odd::<$uint>::from_be_hex(primes::$name), $exponent_bits));
    )* };
}
groups! {
    MODP_1024: U1024, 192;
    MODP_1536: U1536, 192;
    MODP_2048: U2048, 256;
    MODP_3072: U3072, 320;
    MODP_4096: U4096, 384;
    MODP_6144: U6144, 384;
    MODP_8192: U8192, 384;
}

/// A key pair of `group`.
pub(crate) fn generate(
    method: KeMethod,
    group: &'static dyn Modp,
    random: &SystemRandom,
) -> Result<Box<dyn KeyExchange>, CryptoError> {
    let exponent = Exponent::generate(group.exponent_bits(), random);
    let public = group.public(&exponent);
    Ok(Box::new(ModpKey { method, group, exponent, public }))
}

/// A responder's public value and the shared secret. A bad value of the peer costs no exponentiation.
pub(crate) fn encapsulate(
    group: &dyn Modp,
    peer: &[u8],
    random: &SystemRandom,
) -> Result<(Vec<u8>, Secret), CryptoError> {
    let exponent = Exponent::generate(group.exponent_bits(), random);
    let shared = group.agree(&exponent, peer)?;
    Ok((group.public(&exponent), shared))
}

struct ModpKey {
    method: KeMethod,
    group: &'static dyn Modp,
    exponent: Exponent,
    public: Vec<u8>,
}

impl KeyExchange for ModpKey {
    fn method(&self) -> KeMethod {
        self.method
    }

    fn public(&self) -> &[u8] {
        &self.public
    }

    fn agree(self: Box<Self>, peer: &[u8]) -> Result<Secret, CryptoError> {
        self.group.agree(&self.exponent, peer)
    }
}

impl Exponent {
    fn generate(bits: u32, random: &SystemRandom) -> Self {
        let mut bytes = Zeroizing::new([0; U384::BYTES]);
        let unused = U384::BYTES.saturating_sub(bits as usize / 8);
        if let Some(used) = bytes.get_mut(unused..) {
            entropy::fill(random, used);
        }
        Self(U384::from_be_slice(&*bytes))
    }

    /// Its bit of this number, 0 beyond its end. Which one is asked for is no secret.
    fn bit(&self, number: u32) -> Word {
        let word = self.0.as_words().get((number / Word::BITS) as usize);
        word.map_or(0, |word| (word >> (number % Word::BITS)) & 1)
    }
}

impl<const L: usize> Group<L> {
    fn new(prime: &Odd<Uint<L>>, exponent_bits: u32) -> Self {
        let params = FixedMontyParams::new_vartime(*prime);
        Self { params, exponent_bits, generator: Comb::new(&params, exponent_bits) }
    }

    /// In constant time with respect to the exponent's value; its length is the group's.
    fn power(&self, base: &Uint<L>, exponent: &Exponent) -> Uint<L> {
        let mut power =
            FixedMontyForm::new(base, &self.params).pow_bounded_exp(&exponent.0, self.exponent_bits);
        let out = power.retrieve();
        power.zeroize();
        out
    }
}

impl<const L: usize> Modp for Group<L> {
    fn exponent_bits(&self) -> u32 {
        self.exponent_bits
    }

    fn public(&self, exponent: &Exponent) -> Vec<u8> {
        to_bytes(&self.generator.power(exponent, &self.params))
    }

    /// Refuses values outside 2..=p-2 (RFC 6989 §2.1), and a result of 1, which such values can't give.
    fn agree(&self, exponent: &Exponent, peer: &[u8]) -> Result<Secret, CryptoError> {
        // [7296:3.4-1]
        if peer.len() != Uint::<L>::BYTES {
            return Err(CryptoError::BadPublicValue);
        }
        let peer = Uint::<L>::from_be_slice(peer);
        let last = self.params.modulus().as_ref().wrapping_sub(&Uint::from(2_u8));
        if peer < Uint::from(2_u8) || peer > last {
            return Err(CryptoError::BadPublicValue);
        }
        let mut shared = self.power(&peer, exponent);
        let trivial = shared == Uint::ONE;
        let secret = Secret::new(to_bytes(&shared));
        shared.zeroize();
        if trivial { Err(CryptoError::BadPublicValue) } else { Ok(secret) }
    }
}

fn to_bytes<const L: usize>(number: &Uint<L>) -> Vec<u8> {
    let mut out = Vec::with_capacity(L * size_of::<Word>());
    // [7296:3.4-1]
    for word in number.as_words().iter().rev() {
        out.extend_from_slice(&word.to_be_bytes());
    }
    out
}

#[cfg(test)]
mod tests;
