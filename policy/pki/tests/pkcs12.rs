//! Files that OpenSSL 3 has written, in its ways of now and of old.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test")]

use adit_core::{Secret, SignatureScheme};
use adit_pki::{EcdsaEncoding, FileSigner, Pkcs12, PkiError, Signer, read_certificates, verify_signature};
use proptest::prelude::*;
use ring::rand::SystemRandom;

const ANN: &[u8] = include_bytes!("data/ann.pem");

const FILES: [(&str, &[u8], &str); 5] = [
    ("AES-256 with PBKDF2, SHA-256", include_bytes!("data/modern.p12"), "café"),
    ("RC2-40 and 3DES, SHA-1", include_bytes!("data/legacy.p12"), "café"),
    ("3DES, SHA-512", include_bytes!("data/3des.p12"), "café"),
    ("an empty password", include_bytes!("data/empty.p12"), ""),
    ("no encryption and no MAC", include_bytes!("data/open.p12"), ""),
];

const KEYS: [(&str, &[u8]); 4] = [
    ("PBKDF2", include_bytes!("data/pbkdf2.key")),
    ("scrypt", include_bytes!("data/scrypt.key")),
    ("PKCS#12's 3DES", include_bytes!("data/3des.key")),
    ("3DES with PBKDF2 and SHA-1, DER", include_bytes!("data/des3.der")),
];

fn secret(text: &str) -> Secret {
    Secret::from(text.as_bytes())
}

fn signs(signer: &FileSigner, certificate: &[u8]) {
    let scheme = SignatureScheme::EcdsaP256Sha256;
    let signature = signer.sign(scheme, b"message", EcdsaEncoding::Der, &SystemRandom::new()).unwrap();
    let spki = adit_pki::public_key(certificate).unwrap();
    verify_signature(&spki, scheme, b"message", &signature, EcdsaEncoding::Der).unwrap();
}

#[test]
fn every_kind_of_file_is_opened() {
    let ann = read_certificates(ANN).unwrap().remove(0);
    for (what, content, password) in FILES {
        assert!(Pkcs12::is(content), "{what}");
        let opened = Pkcs12::open(&Secret::from(content), &secret(password));
        let opened = opened.unwrap_or_else(|e| panic!("{what}: {e}"));
        let (chain, signer) = opened.into_signer(&SystemRandom::new()).unwrap();
        assert_eq!(chain[0], ann, "{what}: the certificate of the key is the first");
        signs(&signer, &chain[0]);
    }
}

#[test]
fn a_wrong_password_is_told_as_one() {
    for (what, content, _) in &FILES[..4] {
        let wrong = Pkcs12::open(&Secret::from(*content), &secret("cafe")).map(|_| ());
        assert_eq!(wrong, Err(PkiError::Passphrase), "{what}");
    }
}

#[test]
fn a_file_that_was_changed_is_not_believed() {
    let (_, content, password) = FILES[0];
    for at in 0..content.len() {
        let mut changed = content.to_vec();
        changed[at] ^= 0x20;
        // It opens only where the change is in what the MAC does not cover, and the key is still the certificate's.
        if let Ok(opened) = Pkcs12::open(&Secret::new(changed), &secret(password))
            && let Ok((chain, signer)) = opened.into_signer(&SystemRandom::new())
        {
            signs(&signer, &chain[0]);
        }
        // Each try derives three keys.
        if at > 200 {
            break;
        }
    }
}

#[test]
fn keys_under_a_password() {
    let ann = read_certificates(ANN).unwrap().remove(0);
    let random = SystemRandom::new();
    for (what, content) in KEYS {
        let open = |password: Option<&Secret>| {
            FileSigner::with_password(Secret::from(content), password, &ann, &random)
        };
        signs(&open(Some(&secret("café"))).unwrap_or_else(|e| panic!("{what}: {e}")), &ann);
        assert_eq!(open(Some(&secret("cafe"))).map(|_| ()).unwrap_err(), PkiError::Passphrase, "{what}");
        assert_eq!(open(None).map(|_| ()).unwrap_err(), PkiError::KeyEncrypted, "{what}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_content_panics(content: Vec<u8>) {
        let _ = Pkcs12::open(&Secret::new(content), &secret("x"));
    }
}
