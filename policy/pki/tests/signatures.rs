//! Keys and signatures, with files that openssl made. The keys guard nothing.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test")]

use adit_core::{Failure, FailureCode, Identity, KeyKind, Secret, SignatureScheme as S, WallTime};
use adit_pki::{
    EcdsaEncoding as E, FileSigner, PkiError, Signer, TrustAnchors, VerifiedKey, key_hash, read_certificates,
    verify_bare, verify_client, verify_server, verify_signature,
};
use ring::rand::SystemRandom;

const NOW: WallTime = WallTime(1_800_000_000);
const MESSAGE: &[u8] = include_bytes!("data/message");
const RSA: &[u8] = include_bytes!("data/rsa.crt");
const P256: &[u8] = include_bytes!("data/p256.crt");
const P384: &[u8] = include_bytes!("data/p384.crt");
const ED25519: &[u8] = include_bytes!("data/ed25519.crt");

fn der(pem: &[u8]) -> Vec<u8> {
    read_certificates(pem).unwrap().remove(0)
}

fn signer(key: &[u8], certificate: &[u8]) -> Result<FileSigner, PkiError> {
    FileSigner::new(Secret::from(key), &der(certificate), &SystemRandom::new())
}

/// The certificate's key, by pinning it.
fn key_of(certificate: &[u8], name: &str) -> VerifiedKey {
    let anchors = TrustAnchors::from_content(certificate).unwrap();
    verify_client(&[der(certificate)], &anchors, &name.parse().unwrap(), NOW)
        .or_else(|_| verify_server(&[der(certificate)], &anchors, &name.parse().unwrap(), NOW))
        .unwrap()
}

#[test]
fn every_scheme_signs_and_verifies_and_no_changed_signature_does() {
    let random = SystemRandom::new();
    for (key, certificate, name) in [
        (&include_bytes!("data/rsa-pkcs8.pem")[..], RSA, "vpn.example.com"),
        (include_bytes!("data/p256-pkcs8.pem"), P256, "p256.example.com"),
        (include_bytes!("data/p384-pkcs8.pem"), P384, "p384.example.com"),
        (include_bytes!("data/ed25519.pem"), ED25519, "ed.example.com"),
    ] {
        let signer = signer(key, certificate).unwrap();
        let public = key_of(certificate, name);
        for scheme in signer.schemes() {
            assert_eq!(scheme.key_kind(), public.kind());
            for encoding in [E::Der, E::Fixed] {
                let signature = signer.sign(scheme, MESSAGE, encoding, &random).unwrap();
                assert_eq!(
                    public.verify(scheme, MESSAGE, &signature, encoding),
                    Ok(()),
                    "{scheme:?} {encoding:?}"
                );
                assert_eq!(public.verify(scheme, b"another", &signature, encoding), Err(PkiError::Signature));
                for bit in 0..signature.len() * 8 {
                    let mut bad = signature.clone();
                    bad[bit / 8] ^= 1 << (bit % 8);
                    assert!(public.verify(scheme, MESSAGE, &bad, encoding).is_err(), "{scheme:?} bit {bit}");
                }
                for cut in [0, 1, signature.len() - 1] {
                    assert!(public.verify(scheme, MESSAGE, &signature[..cut], encoding).is_err());
                }
            }
        }
    }
}

/// What IKEv1 signs: the hash alone, by padding of type 1, as `openssl pkeyutl` has it that is told of no digest.
#[test]
fn a_hash_alone_is_signed_as_openssl_does() {
    let hash = ring::digest::digest(&ring::digest::SHA256, MESSAGE);
    let hash = hash.as_ref();
    let known = include_bytes!("data/rsa-bare.sig");
    let key = key_of(RSA, "vpn.example.com");
    for form in [&include_bytes!("data/rsa-pkcs8.pem")[..], include_bytes!("data/rsa-pkcs1.pem")] {
        let signer = signer(form, RSA).unwrap();
        assert_eq!(signer.sign_bare(hash).unwrap(), known);
        // It has eight octets of padding, or is none.
        assert!(signer.sign_bare(&vec![1; known.len() - 11]).is_ok());
        assert_eq!(signer.sign_bare(&vec![1; known.len() - 10]), Err(PkiError::Signature));
        for length in [0, 20, 48, 64] {
            let signature = signer.sign_bare(&vec![7; length]).unwrap();
            assert_eq!(key.verify_bare(&vec![7; length], &signature), Ok(()));
            assert_eq!(key.verify_bare(&vec![7; length + 1], &signature), Err(PkiError::Signature));
        }
    }
    assert_eq!(key.verify_bare(hash, known), Ok(()));
    assert_eq!(verify_bare(&adit_pki::public_key(&der(RSA)).unwrap(), hash, known), Ok(()));
    for bit in (0..known.len() * 8).step_by(7) {
        let mut bad = known.to_vec();
        bad[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(key.verify_bare(hash, &bad), Err(PkiError::Signature), "bit {bit}");
    }
    for bad in [&[][..], &known[1..], &[0xff; 256], &[&[0], &known[..]].concat(), &[0; 256]] {
        assert_eq!(key.verify_bare(hash, bad), Err(PkiError::Signature));
    }
    // A signature with an AlgorithmIdentifier is another, and other keys have none.
    let with = signer(include_bytes!("data/rsa-pkcs8.pem"), RSA).unwrap();
    let with = with.sign(S::RsaPkcs1Sha256, MESSAGE, E::Der, &SystemRandom::new()).unwrap();
    assert_eq!(key.verify_bare(hash, &with), Err(PkiError::Signature));
    let other = signer(include_bytes!("data/p256-pkcs8.pem"), P256).unwrap();
    assert!(matches!(other.sign_bare(hash), Err(PkiError::Scheme(_))));
    let other = key_of(P256, "p256.example.com");
    assert!(matches!(other.verify_bare(hash, known), Err(PkiError::Scheme(_))));
}

#[test]
fn ecdsa_with_either_hash_on_either_curve_as_openssl_signs() {
    for (certificate, name, scheme, signature) in [
        (P256, "p256.example.com", S::EcdsaP256Sha256, &include_bytes!("data/p256-sha256.sig")[..]),
        (P256, "p256.example.com", S::EcdsaP256Sha384, include_bytes!("data/p256-sha384.sig")),
        (P384, "p384.example.com", S::EcdsaP384Sha256, include_bytes!("data/p384-sha256.sig")),
        (P384, "p384.example.com", S::EcdsaP384Sha384, include_bytes!("data/p384-sha384.sig")),
    ] {
        let key = key_of(certificate, name);
        assert_eq!(key.verify(scheme, MESSAGE, signature, E::Der), Ok(()), "{scheme:?}");
        for bit in 0..signature.len() * 8 {
            let mut bad = signature.to_vec();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(key.verify(scheme, MESSAGE, &bad, E::Der).is_err(), "{scheme:?} bit {bit}");
        }
    }
}

#[test]
fn rsa_and_ed25519_as_openssl_signs() {
    let rsa = key_of(RSA, "vpn.example.com");
    let ed25519 = key_of(ED25519, "ed.example.com");
    for (key, scheme, signature) in [
        (&rsa, S::RsaPkcs1Sha256, &include_bytes!("data/rsa-pkcs1-sha256.sig")[..]),
        (&rsa, S::RsaPkcs1Sha384, include_bytes!("data/rsa-pkcs1-sha384.sig")),
        (&rsa, S::RsaPkcs1Sha512, include_bytes!("data/rsa-pkcs1-sha512.sig")),
        (&rsa, S::RsaPssSha256, include_bytes!("data/rsa-pss-sha256.sig")),
        (&rsa, S::RsaPssSha384, include_bytes!("data/rsa-pss-sha384.sig")),
        (&rsa, S::RsaPssSha512, include_bytes!("data/rsa-pss-sha512.sig")),
        (&ed25519, S::Ed25519, include_bytes!("data/ed25519.sig")),
    ] {
        assert_eq!(key.verify(scheme, MESSAGE, signature, E::Der), Ok(()), "{scheme:?}");
        assert_eq!(key.verify(scheme, b"another", signature, E::Der), Err(PkiError::Signature), "{scheme:?}");
    }
    let pss = include_bytes!("data/rsa-pss-sha256.sig");
    assert_eq!(rsa.verify(S::RsaPkcs1Sha256, MESSAGE, pss, E::Der), Err(PkiError::Signature));
}

#[test]
fn fixed_signatures_have_the_length_of_rfc_4754() {
    let random = SystemRandom::new();
    let p256 = signer(include_bytes!("data/p256-pkcs8.pem"), P256).unwrap();
    let p384 = signer(include_bytes!("data/p384-pkcs8.pem"), P384).unwrap();
    for _ in 0..50 {
        assert_eq!(p256.sign(S::EcdsaP256Sha256, MESSAGE, E::Fixed, &random).unwrap().len(), 64);
        assert_eq!(p384.sign(S::EcdsaP384Sha384, MESSAGE, E::Fixed, &random).unwrap().len(), 96);
    }
}

#[test]
fn a_key_refuses_the_schemes_of_others() {
    let random = SystemRandom::new();
    let p256 = signer(include_bytes!("data/p256-pkcs8.pem"), P256).unwrap();
    assert!(matches!(p256.sign(S::RsaPssSha256, MESSAGE, E::Der, &random), Err(PkiError::Scheme(_))));
    let key = key_of(P256, "p256.example.com");
    assert!(matches!(key.verify(S::Ed25519, MESSAGE, &[0; 64], E::Der), Err(PkiError::Scheme(_))));
    assert!(verify_signature(b"no key", S::Ed25519, MESSAGE, &[0; 64], E::Der).is_err());
}

#[test]
fn keys_of_every_format() {
    for (key, certificate, kind) in [
        (&include_bytes!("data/rsa-pkcs8.pem")[..], RSA, KeyKind::Rsa),
        (include_bytes!("data/rsa-pkcs1.pem"), RSA, KeyKind::Rsa),
        // With a block EC PARAMETERS before the key, as `openssl ecparam -genkey` writes.
        (include_bytes!("data/p256-sec1.pem"), P256, KeyKind::EcdsaP256),
        (include_bytes!("data/p384-sec1.pem"), P384, KeyKind::EcdsaP384),
        (include_bytes!("data/ed25519.pem"), ED25519, KeyKind::Ed25519),
    ] {
        let pem = signer(key, certificate).unwrap();
        assert_eq!(pem.schemes()[0].key_kind(), kind);
        let block = key.windows(10).rposition(|w| w == b"-----BEGIN").unwrap();
        let text: String =
            core::str::from_utf8(&key[block..]).unwrap().lines().filter(|l| !l.starts_with('-')).collect();
        let raw = unbase64(&text);
        assert!(signer(&raw, certificate).is_ok(), "{kind:?} in DER");
        for cut in 0..raw.len() {
            assert!(signer(&raw[..cut], certificate).is_err());
        }
    }
}

#[test]
fn encrypted_keys_are_refused_with_the_command_that_decrypts() {
    for key in [&include_bytes!("data/rsa-encrypted.pem")[..], include_bytes!("data/rsa-encrypted-old.pem")] {
        let Err(error) = signer(key, RSA) else { unreachable!("an encrypted key was read") };
        assert_eq!(error, PkiError::KeyEncrypted);
        let failure = Failure::from(error);
        assert_eq!(failure.code, FailureCode::ConfigurationInvalid);
        assert!(failure.hint.unwrap().contains("openssl pkey -in"));
    }
}

#[test]
fn a_key_must_be_the_certificates() {
    let mismatch =
        |key: &[u8], certificate| matches!(signer(key, certificate), Err(PkiError::KeyMismatch(_)));
    assert!(mismatch(include_bytes!("data/p256-pkcs8.pem"), RSA));
    assert!(mismatch(include_bytes!("data/p256-pkcs8.pem"), P384));
    assert!(mismatch(include_bytes!("data/ed25519.pem"), P256));
    let other = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    assert!(mismatch(other.serialize_pem().as_bytes(), P256));
    let other = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    assert!(mismatch(other.serialize_pem().as_bytes(), ED25519));
    assert!(matches!(signer(RSA, RSA), Err(PkiError::Key(_))));
    assert!(matches!(signer(b"", RSA), Err(PkiError::Key(_))));
}

fn by(anchor: &[u8], certificate: &[u8]) -> Result<(), PkiError> {
    let anchors = TrustAnchors::from_content(anchor).unwrap();
    verify_server(&[der(certificate)], &anchors, &Identity::Fqdn("vpn.example.com".into()), NOW).map(|_| ())
}

#[test]
fn weak_keys_and_hashes_are_named() {
    let ca = include_bytes!("data/rsa-ca.crt");
    assert_eq!(by(ca, include_bytes!("data/by-pss.crt")), Ok(()));
    let sha1 = by(ca, include_bytes!("data/by-sha1.crt")).unwrap_err();
    assert!(sha1.to_string().contains("SHA-1"), "{sha1}");
    let small = by(include_bytes!("data/rsa1024-ca.crt"), include_bytes!("data/by-rsa1024.crt")).unwrap_err();
    assert!(small.to_string().contains("Old CA uses RSA with less than 2048 bits"), "{small}");
    assert_eq!(Failure::from(small).code, FailureCode::CertificateUnusable);
    let p521 = include_bytes!("data/p521.crt");
    let anchors = TrustAnchors::from_content(p521).unwrap();
    let curve = verify_server(&[der(p521)], &anchors, &Identity::Fqdn("p521".into()), NOW).unwrap_err();
    assert!(matches!(curve, PkiError::Weak { .. }), "{curve:?}");
}

#[test]
fn an_authority_of_version_1_is_refused() {
    let error = TrustAnchors::from_content(include_bytes!("data/v1.crt")).err().unwrap();
    assert_eq!(error.to_string(), "the CA certificate cannot be used: CN=v1 is not of X.509 version 3");
}

/// `openssl x509 -in rsa-ca.crt -noout -pubkey | openssl pkey -pubin -outform DER | sha1sum`
#[test]
fn key_hashes_are_what_openssl_says() {
    let hash = key_hash(&der(include_bytes!("data/rsa-ca.crt"))).unwrap();
    let hex: String = hash.iter().map(|b| format!("{b:02x}")).collect();
    assert_eq!(hex, "9e56deb4311c56511082cccf4270490cb9c622ba");
}

fn unbase64(text: &str) -> Vec<u8> {
    let value = |c: u8| {
        b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".iter().position(|x| *x == c)
    };
    let bits: Vec<usize> = text.bytes().filter_map(value).collect();
    let whole = bits.len() * 6 / 8;
    let mut out = Vec::new();
    for group in bits.chunks(4) {
        let n = group.iter().fold(0, |n, v| n << 6 | v) << (6 * (4 - group.len()));
        out.extend_from_slice(&(n as u32).to_be_bytes()[1..]);
    }
    out.truncate(whole);
    out
}
