//! Key derivation of IKEv1.

use adit_core::Secret;
use adit_isakmp::algorithm::KeyBits;
use adit_isakmp::crypto::{CryptoError, CryptoProvider};
use adit_isakmp::v1::keys::{Phase1, SkeyId, esp_keys, first_iv, nat_d, phase2_iv};
use adit_isakmp::v1::{Cbc, Provider as Ikev1};
use adit_isakmp::{Encryption, EspSuite, Integrity, Prf};
use sha1::{Digest, Sha1};
use sha2::{Sha256, Sha384, Sha512};

use crate::hex;
use crate::provider::Provider;

impl Ikev1 for Provider {
    fn hash(&self, prf: Prf, parts: &[&[u8]]) -> Vec<u8> {
        let all = parts.concat();
        match prf {
            Prf::HmacSha1 => Sha1::digest(all).to_vec(),
            Prf::HmacSha256 => Sha256::digest(all).to_vec(),
            Prf::HmacSha384 => Sha384::digest(all).to_vec(),
            Prf::HmacSha512 => Sha512::digest(all).to_vec(),
        }
    }

    fn cbc(&self, _: Encryption, _: &Secret) -> Result<Box<dyn Cbc>, CryptoError> {
        Err(CryptoError::Unsupported)
    }
}

fn cookie(text: &str) -> u64 {
    u64::from_str_radix(text, 16).unwrap()
}

struct Case {
    ni: Vec<u8>,
    nr: Vec<u8>,
    cookies: (u64, u64),
    g: Secret,
}

impl Case {
    fn new(ni: &str, nr: &str, cookies: (&str, &str), g: &str) -> Self {
        let cookies = (cookie(cookies.0), cookie(cookies.1));
        Self { ni: hex(ni), nr: hex(nr), cookies, g: Secret::new(hex(g)) }
    }

    fn view(&self) -> Phase1<'_> {
        Phase1 {
            initiator_nonce: &self.ni,
            responder_nonce: &self.nr,
            initiator_cookie: self.cookies.0,
            responder_cookie: self.cookies.1,
            initiator_public: &[1; 4],
            responder_public: &[2; 4],
        }
    }
}

fn check(keys: &SkeyId, expected: [&str; 4]) {
    let got = [&keys.skeyid, &keys.d, &keys.a, &keys.e].map(Secret::expose);
    assert_eq!(got, expected.map(hex).each_ref().map(Vec::as_slice));
}

// The two samples of NIST's validation system for the IKEv1 KDF (SP 800-135, CAVS): facts, and the work of the
// government of the United States.
// [2409:5-2] [2409:5-3]
#[test]
fn nists_sample_with_a_pre_shared_key() {
    let case = Case::new(
        "b9a2d0e922dc66dd",
        "2130166863b5ddef",
        ("83d374c30b3b5082", "5afc0da06c728029"),
        "739003ba2c11c982946c65e26acf661fbf8ebb78011a9fead79efa12fe3e71cc",
    );
    let psk = Secret::new(hex("75"));
    check(
        &SkeyId::of_psk(&Provider, Prf::HmacSha1, &psk, &case.g, &case.view()),
        [
            "62b04d112877e442fc3282fc37c076997718a0b9",
            "369e5aad1bdb5faf6a3d929d500cdc236710a9ab",
            "588e957d8d790d093b3a39f121473473af78e9bb",
            "cd74b0c048219db81384d3fda8f6cda51e398a2b",
        ],
    );
}

// [2409:5-2] [2409:5-3]
#[test]
fn nists_sample_with_signatures() {
    let case = Case::new(
        "69a62284195f1680",
        "80c94ba25c8abda5",
        ("8c3bcd3a69831d7f", "d2d9a7ff4fbe95a7"),
        "8ba4cbc73c0187301dc19a975823854dbd641c597f637f8d053a83b9514673eb",
    );
    check(
        &SkeyId::of_signatures(&Provider, Prf::HmacSha1, &case.g, &case.view()),
        [
            "707197817fb2d90cf54d1842606bdea59b9f4823",
            "384be709a8a5e63c3ed160cfe3921c4b37d5b32d",
            "48b327575abe3adba0f279849e289022a13e2b47",
            "a4a415c8e0c38c0da847c356cc61c24df8025560",
        ],
    );
}

fn hmac(key: &[u8], parts: &[&[u8]]) -> Vec<u8> {
    let mut out = vec![0; 20];
    Provider.prf(Prf::HmacSha1, key, parts, &mut out);
    out
}

fn keys() -> (Case, SkeyId) {
    let case = Case::new("0102030405060708", "1112131415161718", ("1", "2"), "00ff");
    let keys = SkeyId::of_psk(&Provider, Prf::HmacSha1, &Secret::from(&b"key"[..]), &case.g, &case.view());
    (case, keys)
}

// [2409:5-7]
#[test]
fn a_long_key_is_made_of_blocks_and_a_short_one_is_cut() {
    let (_, keys) = keys();
    let short = keys.cipher_key(&Provider, Prf::HmacSha1, Encryption::AesCbc(KeyBits::B128));
    assert_eq!(short.expose(), &keys.e.expose()[..16]);
    for (encryption, length) in [(Encryption::AesCbc(KeyBits::B256), 32), (Encryption::TripleDesCbc, 24)] {
        let long = keys.cipher_key(&Provider, Prf::HmacSha1, encryption);
        let first = hmac(keys.e.expose(), &[&[0]]);
        let second = hmac(keys.e.expose(), &[&first]);
        assert_eq!(long.expose(), &[first, second].concat()[..length]);
    }
}

// [2409:5.5-3]
#[test]
fn keys_of_an_esp_sa_go_on_block_after_block() {
    let (case, keys) = keys();
    let suite = EspSuite {
        encryption: Encryption::AesCbc(KeyBits::B256),
        integrity: Some(Integrity::HmacSha1_96),
        ke: None,
        additional: Default::default(),
        esn: false,
    };
    for shared in [None, Some(&case.g)] {
        let g = shared.map_or(&[][..], Secret::expose);
        let spi = 0xc0ff_ee11_u32;
        let seed = [g, &[3], &spi.to_be_bytes(), &case.ni, &case.nr].concat();
        let k1 = hmac(keys.d.expose(), &[&seed]);
        let k2 = hmac(keys.d.expose(), &[&k1, &seed]);
        let k3 = hmac(keys.d.expose(), &[&k2, &seed]);
        let all = [k1, k2, k3].concat();
        let made = esp_keys(&Provider, Prf::HmacSha1, &keys.d, &suite, shared, (spi, &case.ni, &case.nr));
        assert_eq!(made.encryption.expose(), &all[..32]);
        assert_eq!(made.integrity.expose(), &all[32..52]);
    }
}

// [2409:5-4]
#[test]
fn the_two_hashes_are_over_the_same_from_either_end() {
    let (case, keys) = keys();
    let (i, r) = (1_u64.to_be_bytes(), 2_u64.to_be_bytes());
    let ours = keys.hash(&Provider, Prf::HmacSha1, &case.view(), true, (b"SA", b"IDi"));
    let seed: [&[u8]; 6] = [&[1; 4], &[2; 4], &i, &r, b"SA", b"IDi"];
    assert_eq!(ours.expose(), hmac(keys.skeyid.expose(), &seed));
    let theirs = keys.hash(&Provider, Prf::HmacSha1, &case.view(), false, (b"SA", b"IDr"));
    let seed: [&[u8]; 6] = [&[2; 4], &[1; 4], &r, &i, b"SA", b"IDr"];
    assert_eq!(theirs.expose(), hmac(keys.skeyid.expose(), &seed));
}

// [2409:5-8] [2409:5-9] [3947:3.2-1]
#[test]
fn ivs_and_nat_d_are_hashes() {
    let (case, _) = keys();
    let aes = Encryption::AesCbc(KeyBits::B128);
    let iv = first_iv(&Provider, Prf::HmacSha256, aes, &case.view());
    assert_eq!(iv, Sha256::digest([1, 1, 1, 1, 2, 2, 2, 2])[..16]);
    let next = phase2_iv(&Provider, Prf::HmacSha256, aes, &iv, 0x0102_0304);
    assert_eq!(next, Sha256::digest([&iv[..], &[1, 2, 3, 4]].concat())[..16]);
    let of = nat_d(&Provider, Prf::HmacSha1, (1, 2), "192.0.2.1:500".parse().unwrap());
    let cookies = [1_u64.to_be_bytes(), 2_u64.to_be_bytes()].concat();
    assert_eq!(of, Sha1::digest([&cookies[..], &[192, 0, 2, 1, 1, 244]].concat())[..]);
}
