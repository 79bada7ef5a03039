use adit_isakmp::algorithm::KeMethod;

use super::*;

const GROUPS: [(KeMethod, &str, u32); 7] = [
    (KeMethod::Modp1024, primes::MODP_1024, 129_093),
    (KeMethod::Modp1536, primes::MODP_1536, 741_804),
    (KeMethod::Modp2048, primes::MODP_2048, 124_476),
    (KeMethod::Modp3072, primes::MODP_3072, 1_690_314),
    (KeMethod::Modp4096, primes::MODP_4096, 240_904),
    (KeMethod::Modp6144, primes::MODP_6144, 929_484),
    (KeMethod::Modp8192, primes::MODP_8192, 4_743_158),
];

fn group(method: KeMethod) -> &'static dyn Modp {
    match crate::family(method) {
        crate::Family::Modp(group) => group,
        _ => panic!("{method} is a MODP group"),
    }
}

/// Every prime is its RFC's formula of π.
#[test]
fn primes_are_their_formula() {
    for (method, prime, c) in GROUPS {
        let words = method.public_len() / 4 - 4;
        // floor(2^(n-130) π): of 2^(n-128) π the last two bits go.
        let pi = pi(words);
        let mut middle: Vec<u32> = pi.windows(2).take(words).map(|w| (w[0] << 30) | (w[1] >> 2)).collect();
        // The formula's -1 borrows one of what stands above its last 64 bits.
        let mut carry = u64::from(c) - 1;
        for word in middle.iter_mut().rev() {
            carry += u64::from(*word);
            *word = (carry & 0xffff_ffff) as u32;
            carry >>= 32;
        }
        let middle: String = middle.iter().map(|w| format!("{w:08X}")).collect();
        assert_eq!(prime, format!("FFFFFFFFFFFFFFFF{middle}FFFFFFFFFFFFFFFF"), "{method}");
    }
}

/// π by Machin's formula: a word before the binary point, `words` words and some to spare after it.
fn pi(words: usize) -> Vec<u32> {
    let mut out = arctangent_of_inverse(5, words + 4);
    multiply(&mut out, 4);
    subtract(&mut out, &arctangent_of_inverse(239, words + 4));
    multiply(&mut out, 4);
    out
}

fn arctangent_of_inverse(x: u32, words: usize) -> Vec<u32> {
    let mut power = vec![0; words + 1];
    power[0] = 1;
    divide(&mut power, x);
    let mut sum = power.clone();
    for n in 1.. {
        divide(&mut power, x * x);
        if power.iter().all(|w| *w == 0) {
            break;
        }
        let mut term = power.clone();
        divide(&mut term, 2 * n + 1);
        if n % 2 == 1 { subtract(&mut sum, &term) } else { add(&mut sum, &term) }
    }
    sum
}

fn divide(number: &mut [u32], by: u32) {
    let mut rest = 0_u64;
    for word in number {
        let part = (rest << 32) | u64::from(*word);
        *word = (part / u64::from(by)) as u32;
        rest = part % u64::from(by);
    }
}

fn multiply(number: &mut [u32], by: u32) {
    let mut carry = 0_u64;
    for word in number.iter_mut().rev() {
        carry += u64::from(*word) * u64::from(by);
        *word = (carry & 0xffff_ffff) as u32;
        carry >>= 32;
    }
}

fn add(number: &mut [u32], other: &[u32]) {
    let mut carry = 0_u64;
    for (word, other) in number.iter_mut().zip(other).rev() {
        carry += u64::from(*word) + u64::from(*other);
        *word = (carry & 0xffff_ffff) as u32;
        carry >>= 32;
    }
}

fn subtract(number: &mut [u32], other: &[u32]) {
    let mut borrow = false;
    for (word, other) in number.iter_mut().zip(other).rev() {
        let (less, first) = word.overflowing_sub(*other);
        let (less, second) = less.overflowing_sub(u32::from(borrow));
        *word = less;
        borrow = first || second;
    }
}

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

/// Python: p from RFC 3526's formula; exponents a and b; sha1 of pow(2, a, p), pow(2, b, p) and pow(2, a * b, p), as long
/// as p.
const CALCULATED: [(KeMethod, &str, &str, &str, &str, &str); 7] = [
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
    (
        KeMethod::Modp1024,
        "14046fe3e1d3d2340ac80f5bd44abae0fee20f9758ad9483",
        "0fb89542733bd28d63b52125c4be511432fd19bf90ea1fa1",
        "efb8ccdff680e95dcd40c5e65053ebb153244ac6",
        "a84cdcfd0d12ab783b82ffc5586ce74b7d2b4a12",
        "7c22f7adb5f0cf24a53558d52de11051301e3a69",
    ),
    (
        KeMethod::Modp1536,
        "486a989dd0b634801ecfcbf08a0c92492d5d8e1ffee880cf",
        "ca5d888ee962fae09753953c6762b3be48f2f27cbff64324",
        "fffea480f17fe62d4354d485eabf855d97a32d19",
        "aedd38f05cc7e9b2eadeb295511a139d05455938",
        "366d3099253358aa5731141f774f24d3ef3274a7",
    ),
    (
        KeMethod::Modp6144,
        "fb1374351fc9884784260ec7bbf1a9bd3985b33aa711c56da7d0a837a48c4d0864824255d62eb6c429da1e6d819fa99f",
        "c2e931df3114a0a1d365665488806dd8695d98fa3147028ad1b9eb23de3432639529f544b58ec4559aa16f4e6f68fe9f",
        "5f5409df54ec2f58a492adf015761cd10940eec0",
        "b33c4df1535d1c44c189e5cf99c3010099903600",
        "4dbe9b8b88f402c10761d8e4188db2fd50bbc4eb",
    ),
    (
        KeMethod::Modp8192,
        "5327e508877cef3f2c40ab7d2078b070bf43460f41fd6077b8a255772af2c35d2e44081e6bd6b974f9a0867ab147b730",
        "9ad15a3babedd418d507e17c1c0b5132989e5e33c086306f51bb78cfa5660ec1d532f98215340cfed92b959db252ea42",
        "1b00cfcb9e97134e4993e2e771b53d7b08f5d81a",
        "d729b4ff61dd58ff7a86567475750f9e5232ca8d",
        "1095497224e960d32e1ea7b56a2d92eb8f96d6dc",
    ),
];

#[test]
fn what_python_calculates() {
    for (method, a, b, public_a, public_b, shared) in CALCULATED {
        let group = group(method);
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
    for (method, prime, _) in GROUPS {
        let group = group(method);
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
    for (method, ..) in GROUPS {
        let bits = group(method).exponent_bits();
        let drawn: Vec<Exponent> = (0..64).map(|_| Exponent::generate(bits, &random)).collect();
        assert!(drawn.iter().all(|e| e.0.bits() <= bits));
        // The chance that none of 64 has one of the eight highest bits is 2^-512.
        assert!(drawn.iter().any(|e| e.0.bits() > bits - 8));
        assert!(drawn.windows(2).all(|w| w[0].0 != w[1].0));
    }
}

/// The generator's table gives what a power without a table does.
#[test]
fn the_generator_has_its_powers() {
    let group = &*MODP_1536;
    let random = SystemRandom::new();
    let some = (0..16).map(|_| Exponent::generate(group.exponent_bits, &random));
    let edges = ["0", "1", "2", "3f", "ffffffffffffffffffffffffffffffffffffffffffffffff"].map(exponent);
    for exponent in some.chain(edges) {
        assert_eq!(group.public(&exponent), to_bytes(&group.power(&Uint::from(2_u8), &exponent)));
    }
}

/// What comes out shorter than p keeps its leading zeros (RFC 7296 §2.14).
#[test]
fn leading_zeros_stay() {
    let group = group(KeMethod::Modp2048);
    let public = group.public(&exponent("a"));
    assert_eq!((public.len(), &public[254..]), (256, &[4, 0][..]));
}
