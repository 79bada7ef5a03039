//! Project Wycheproof's vectors for every signature that is verified, as it is verified.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

use adit_core::SignatureScheme as S;
use adit_pki::{EcdsaEncoding, verify_signature};
use wycheproof::{TestResult, ecdsa, eddsa, rsa_pkcs1_verify as pkcs1, rsa_pss_verify as pss};

/// How many signatures were right and how many were not.
#[derive(Default)]
struct Tally {
    right: usize,
    wrong: usize,
}

impl Tally {
    /// What is `acceptable` may be refused.
    fn check(&mut self, result: TestResult, right: bool, what: &str) {
        match result {
            TestResult::Valid => assert!(right, "{what}: refused"),
            TestResult::Invalid => assert!(!right, "{what}: taken"),
            TestResult::Acceptable => {}
        }
        if right { self.right += 1 } else { self.wrong += 1 }
    }
}

fn ecdsa(name: ecdsa::TestName, scheme: S, encoding: EcdsaEncoding) {
    let set = ecdsa::TestSet::load(name).unwrap();
    let mut tally = Tally::default();
    for group in &set.test_groups {
        for test in &group.tests {
            let verified = verify_signature(&group.der, scheme, &test.msg, &test.sig, encoding);
            let what = format!("{scheme:?} {} {}", test.tc_id, test.comment);
            tally.check(test.result, verified.is_ok(), &what);
        }
    }
    assert!(tally.right > 50 && tally.wrong > 20, "{} {}", tally.right, tally.wrong);
}

#[test]
fn ecdsa_in_der() {
    use ecdsa::TestName as N;
    for (name, scheme) in [
        (N::EcdsaSecp256r1Sha256, S::EcdsaP256Sha256),
        (N::EcdsaSecp384r1Sha256, S::EcdsaP384Sha256),
        (N::EcdsaSecp384r1Sha384, S::EcdsaP384Sha384),
    ] {
        ecdsa(name, scheme, EcdsaEncoding::Der);
    }
}

#[test]
fn ecdsa_in_two_numbers() {
    use ecdsa::TestName as N;
    for (name, scheme) in [
        (N::EcdsaSecp256r1Sha256P1363, S::EcdsaP256Sha256),
        (N::EcdsaSecp384r1Sha384P1363, S::EcdsaP384Sha384),
    ] {
        ecdsa(name, scheme, EcdsaEncoding::Fixed);
    }
}

#[test]
fn ed25519() {
    let set = eddsa::TestSet::load(eddsa::TestName::Ed25519).unwrap();
    let mut tally = Tally::default();
    for group in &set.test_groups {
        for test in &group.tests {
            let verified = verify_signature(&group.der, S::Ed25519, &test.msg, &test.sig, EcdsaEncoding::Der);
            tally.check(test.result, verified.is_ok(), &format!("{} {}", test.tc_id, test.comment));
        }
    }
    assert!(tally.right > 50 && tally.wrong > 20, "{} {}", tally.right, tally.wrong);
}

#[test]
fn rsa_pkcs1() {
    use pkcs1::TestName as N;
    for (name, scheme) in [
        (N::Rsa2048Sha256, S::RsaPkcs1Sha256),
        (N::Rsa2048Sha384, S::RsaPkcs1Sha384),
        (N::Rsa2048Sha512, S::RsaPkcs1Sha512),
        (N::Rsa3072Sha256, S::RsaPkcs1Sha256),
        (N::Rsa3072Sha384, S::RsaPkcs1Sha384),
        (N::Rsa3072Sha512, S::RsaPkcs1Sha512),
        (N::Rsa4096Sha256, S::RsaPkcs1Sha256),
        (N::Rsa4096Sha384, S::RsaPkcs1Sha384),
        (N::Rsa4096Sha512, S::RsaPkcs1Sha512),
        (N::Rsa8192Sha256, S::RsaPkcs1Sha256),
    ] {
        let set = pkcs1::TestSet::load(name).unwrap();
        let mut tally = Tally::default();
        for group in &set.test_groups {
            for test in &group.tests {
                let verified = verify_signature(&group.der, scheme, &test.msg, &test.sig, EcdsaEncoding::Der);
                tally.check(
                    test.result,
                    verified.is_ok(),
                    &format!("{name:?} {} {}", test.tc_id, test.comment),
                );
            }
        }
        assert!(tally.right > 5 && tally.wrong > 100, "{name:?} {} {}", tally.right, tally.wrong);
    }
}

/// Those whose salt is as long as their hash: RFC 7427 §A.4 has no others, and neither has Adit.
#[test]
fn rsa_pss() {
    use pss::TestName as N;
    for (name, scheme) in [
        (N::RsaPss2048Sha256Mgf1SaltLen32, S::RsaPssSha256),
        (N::RsaPss2048Sha384Mgf1SaltLen48, S::RsaPssSha384),
        (N::RsaPss3072Sha256Mgf1SaltLen32, S::RsaPssSha256),
        (N::RsaPss4096Sha256Mgf1SaltLen32, S::RsaPssSha256),
        (N::RsaPss4096Sha384Mgf1SaltLen48, S::RsaPssSha384),
        (N::RsaPss4096Sha512Mgf1SaltLen64, S::RsaPssSha512),
    ] {
        let set = pss::TestSet::load(name).unwrap();
        let mut tally = Tally::default();
        for group in &set.test_groups {
            for test in &group.tests {
                let verified = verify_signature(&group.der, scheme, &test.msg, &test.sig, EcdsaEncoding::Der);
                tally.check(
                    test.result,
                    verified.is_ok(),
                    &format!("{name:?} {} {}", test.tc_id, test.comment),
                );
            }
        }
        assert!(tally.right > 20 && tally.wrong > 10, "{name:?} {} {}", tally.right, tally.wrong);
    }
    // A salt of another length is refused.
    let set = pss::TestSet::load(N::RsaPss4096Sha512Mgf1SaltLen32).unwrap();
    for group in &set.test_groups {
        for test in &group.tests {
            let verified =
                verify_signature(&group.der, S::RsaPssSha512, &test.msg, &test.sig, EcdsaEncoding::Der);
            assert!(verified.is_err(), "{}", test.tc_id);
        }
    }
}
