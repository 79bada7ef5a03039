use std::sync::LazyLock;

use adit_core::Secret;
use adit_isakmp::algorithm::KeMethod;
use adit_isakmp::crypto::{CryptoError, KeyExchange};
use crypto_bigint::modular::{FixedMontyForm, FixedMontyParams};
use crypto_bigint::{Odd, U384, U2048, U3072, U4096, Uint, Word};
use ring::rand::SystemRandom;
use zeroize::{Zeroize, Zeroizing};

use crate::{entropy, primes};

/// The groups of RFC 3526: a safe prime p = 2q + 1 and the generator 2 of its subgroup of order q.
///
/// Exponents are short, as RFC 3526 §8 allows: at least twice the strength that it estimates for the group
/// (220, 260 and 300 bits), rounded up to whole words.
struct Group<const L: usize> {
    params: FixedMontyParams<L>,
    exponent_bits: u32,
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

static MODP_2048: LazyLock<Group<{ U2048::LIMBS }>> =
    LazyLock::new(|| Group::new(&Odd::<U2048>::from_be_hex(primes::MODP_2048), 256));
static MODP_3072: LazyLock<Group<{ U3072::LIMBS }>> =
    LazyLock::new(|| Group::new(&Odd::<U3072>::from_be_hex(primes::MODP_3072), 320));
static MODP_4096: LazyLock<Group<{ U4096::LIMBS }>> =
    LazyLock::new(|| Group::new(&Odd::<U4096>::from_be_hex(primes::MODP_4096), 384));

/// The MODP group of a method, if it is one.
pub(crate) fn group(method: KeMethod) -> Option<&'static dyn Modp> {
    match method {
        KeMethod::Modp2048 => Some(&*MODP_2048),
        KeMethod::Modp3072 => Some(&*MODP_3072),
        KeMethod::Modp4096 => Some(&*MODP_4096),
        _ => None,
    }
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
}

impl<const L: usize> Group<L> {
    fn new(prime: &Odd<Uint<L>>, exponent_bits: u32) -> Self {
        Self { params: FixedMontyParams::new_vartime(*prime), exponent_bits }
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
        to_bytes(&self.power(&Uint::from(2_u8), exponent))
    }

    /// Refuses values outside 2..=p-2 (RFC 6989 §2.1), and a result of 1, which such values can't give.
    fn agree(&self, exponent: &Exponent, peer: &[u8]) -> Result<Secret, CryptoError> {
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
    for word in number.as_words().iter().rev() {
        out.extend_from_slice(&word.to_be_bytes());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(text: &str) -> Vec<u8> {
        text.as_bytes()
            .chunks(2)
            .map(|p| u8::from_str_radix(core::str::from_utf8(p).unwrap(), 16).unwrap())
            .collect()
    }

    fn exponent(text: &str) -> Exponent {
        Exponent(U384::from_be_hex(&format!("{text:0>96}")))
    }

    fn sha1(bytes: &[u8]) -> String {
        crate::hash::sha1(&[bytes]).iter().map(|b| format!("{b:02x}")).collect()
    }

    /// Python: p from RFC 3526's formula; sha1 of pow(2, a, p), pow(2, b, p) and pow(2, a * b, p), as long as
    /// p.
    #[test]
    fn what_python_calculates() {
        for (method, a, b, public_a, public_b, shared) in [
            (
                KeMethod::Modp2048,
                "1f472e3d99f3be54ee9d4ec6035bd2f26809b541891451bdfe9673057ca431e0",
                "6b27e5511fcece11dbf34995dc66a2649833fd26d0ec732a788512068f730f08",
                "5878f84f94ccb83553424568b4ac1f7a2a72b5d5",
                "9d843e72cd663696a798221fa120c1649978a16d",
                "956830a7e29acbaf2d0841bdfcb1c645255546b5",
            ),
            (
                KeMethod::Modp3072,
                "ee6660db8a26c265405de8fcc8df647ac0463627640d1921444166437376515bdcc5f79e8128f9a6",
                "deff0b843a61f992a33c1fb5d7a7eefa924cbe6a160c99a55ee44b61fb68a58d4b4a6097dbb067d8",
                "f9dcfa96a4e93e1c61e302e9d7df186f9926b1a4",
                "0a0b391a8874e387979887e3fea6de239817df09",
                "81699503a452a8b414a3a15650dd26b053185208",
            ),
            (
                KeMethod::Modp4096,
                "d449be23ec32ddc1a66223e6d12b5c403a6ad5702b413eca0f4efc4fae9bb7842aa0b01921fe177e7e2211a5a4f6b8f9",
                "e8c661501246748c07627e5415fee7e495db16756f17840f911aa04b38a89656cf35620df4ce15736e5eae19338e197a",
                "6a41d212f2550a73a77cf6d385b75fcab72e3532",
                "88544d2962ab35cd2ceec0431128c9a8eba93c96",
                "8e8f8b4c99befafe8cae407e4ff6b5bd7339ae62",
            ),
        ] {
            let group = group(method).unwrap();
            let (a, b) = (exponent(a), exponent(b));
            let (of_a, of_b) = (group.public(&a), group.public(&b));
            assert_eq!((sha1(&of_a), sha1(&of_b)), (public_a.into(), public_b.into()), "{method}");
            assert_eq!(sha1(group.agree(&a, &of_b).unwrap().expose()), shared);
            assert_eq!(sha1(group.agree(&b, &of_a).unwrap().expose()), shared);
            assert_eq!((of_a.len(), of_b.len()), (method.public_len(), method.public_len()));
        }
    }

    #[test]
    fn values_out_of_range_are_refused() {
        for (method, prime) in [
            (KeMethod::Modp2048, primes::MODP_2048),
            (KeMethod::Modp3072, primes::MODP_3072),
            (KeMethod::Modp4096, primes::MODP_4096),
        ] {
            let group = group(method).unwrap();
            let prime = hex(prime);
            let small = |n: u8| {
                let mut v = vec![0; prime.len()];
                *v.last_mut().unwrap() = n;
                v
            };
            // The prime ends in FF.
            let near = |n: u8| {
                let mut v = prime.clone();
                *v.last_mut().unwrap() -= n;
                v
            };
            let x = exponent("123456789abcdef1");
            for bad in [small(0), small(1), near(1), near(0), vec![0xff; prime.len()]] {
                assert!(matches!(group.agree(&x, &bad), Err(CryptoError::BadPublicValue)));
            }
            for good in [small(2), near(2)] {
                assert!(group.agree(&x, &good).is_ok());
            }
            for len in [0, 1, prime.len() - 1, prime.len() + 1] {
                assert!(matches!(group.agree(&x, &vec![2; len]), Err(CryptoError::BadPublicValue)));
            }
        }
    }

    #[test]
    fn exponents_have_their_groups_length_and_differ() {
        let random = SystemRandom::new();
        for method in [KeMethod::Modp2048, KeMethod::Modp3072, KeMethod::Modp4096] {
            let bits = group(method).unwrap().exponent_bits();
            let drawn: Vec<Exponent> = (0..64).map(|_| Exponent::generate(bits, &random)).collect();
            assert!(drawn.iter().all(|e| e.0.bits() <= bits));
            // The chance that none of 64 has one of the eight highest bits is 2^-512.
            assert!(drawn.iter().any(|e| e.0.bits() > bits - 8));
            assert!(drawn.windows(2).all(|w| w[0].0 != w[1].0));
        }
    }

    /// What comes out shorter than p keeps its leading zeros (RFC 7296 §2.14).
    #[test]
    fn leading_zeros_stay() {
        let group = group(KeMethod::Modp2048).unwrap();
        let public = group.public(&exponent("a"));
        assert_eq!((public.len(), &public[254..]), (256, &[4, 0][..]));
    }
}
