//! RFC 7427: AlgorithmIdentifiers as its appendix A and RFC 8420 write them.

use adit_core::SignatureScheme as S;
use adit_isakmp::payload::{AuthMethod, Authentication};
use adit_isakmp::signature::{
    OUR_HASHES, algorithm_identifier, emit_hashes, hash_algorithm, parse_hashes, schemes,
};

use crate::hex;

const ALL: [S; 11] = [
    S::RsaPkcs1Sha256,
    S::RsaPkcs1Sha384,
    S::RsaPkcs1Sha512,
    S::RsaPssSha256,
    S::RsaPssSha384,
    S::RsaPssSha512,
    S::EcdsaP256Sha256,
    S::EcdsaP256Sha384,
    S::EcdsaP384Sha256,
    S::EcdsaP384Sha384,
    S::Ed25519,
];

#[test]
fn what_is_written_is_what_the_rfc_has() {
    let is = |scheme, text: &str| assert_eq!(algorithm_identifier(scheme), hex(text));
    is(S::RsaPkcs1Sha256, "300d06092a864886f70d01010b0500");
    is(S::RsaPkcs1Sha384, "300d06092a864886f70d01010c0500");
    is(S::RsaPkcs1Sha512, "300d06092a864886f70d01010d0500");
    is(S::EcdsaP256Sha256, "300a06082a8648ce3d040302");
    is(S::EcdsaP384Sha384, "300a06082a8648ce3d040303");
    is(S::Ed25519, "300506032b6570");
    is(
        S::RsaPssSha256,
        "304106092a864886f70d01010a3034a00f300d06096086480165030402010500a11c301a06092a864886f70d010108\
         300d06096086480165030402010500a203020120",
    );
}

#[test]
fn every_scheme_reads_back() {
    for scheme in ALL {
        let read = schemes(algorithm_identifier(scheme));
        assert!(read.contains(&scheme), "{scheme:?} reads as {read:?}");
        let curves = if algorithm_identifier(scheme).len() == 12 { 2 } else { 1 };
        assert_eq!(read.len(), curves, "{scheme:?}");
        assert!(OUR_HASHES.contains(&hash_algorithm(scheme)));
    }
}

#[test]
fn peers_write_the_same_in_other_ways() {
    // RFC 7427 A.4.3 writes the trailer field out.
    let with_trailer = "304606092a864886f70d01010a3039a00f300d06096086480165030402010500a11c301a06092a864886f70d010108\
         300d06096086480165030402010500a203020120a303020101";
    assert_eq!(schemes(&hex(with_trailer)), [S::RsaPssSha256]);
    // RFC 4055 §2.1: parameters of a hash may be absent.
    let without_null = "303d06092a864886f70d01010a3030a00d300b0609608648016503040202a11a301806092a864886f70d010108\
         300b0609608648016503040202a203020130";
    assert_eq!(schemes(&hex(without_null)), [S::RsaPssSha384]);
    assert_eq!(schemes(&hex("300b06092a864886f70d01010b")), [S::RsaPkcs1Sha256]);
}

#[test]
fn what_is_not_understood_is_nothing() {
    let pss = |hash: u8, mask: u8, salt: u8| {
        let mut der = algorithm_identifier(S::RsaPssSha256).to_vec();
        (der[29], der[59], der[66]) = (hash, mask, salt);
        schemes(&der)
    };
    assert_eq!(pss(1, 1, 32), [S::RsaPssSha256]);
    assert_eq!(pss(3, 3, 64), [S::RsaPssSha512]);
    assert!(pss(1, 2, 32).is_empty(), "hash and mask hash differ");
    assert!(pss(1, 1, 20).is_empty(), "the salt is short");
    for other in [
        "",
        "30",
        "300d06092a864886f70d0101050500",   // SHA-1 with RSA
        "300d06092a864886f70d01010b050000", // a byte too many
        "300d06092a864886f70d01010b0501",   // NULL with content
        "300c06082a8648ce3d0403020500",     // ECDSA takes no parameters
        "30819006092a864886f70d01010b0500", // a long length
        "300b06092a864886f70d01010a",       // PSS with its default, SHA-1
    ] {
        assert!(schemes(&hex(other)).is_empty(), "{other}");
    }
}

#[test]
fn auth_carries_identifier_and_signature() {
    let auth = Authentication::digital_signature(S::Ed25519, &[7; 64]).unwrap();
    assert_eq!((auth.method, auth.data[0]), (AuthMethod::DIGITAL_SIGNATURE, 7));
    let (identifier, signature) = auth.as_digital_signature().unwrap();
    assert_eq!((schemes(identifier), signature), (&[S::Ed25519][..], &[7; 64][..]));
    let cut = Authentication { method: AuthMethod::DIGITAL_SIGNATURE, data: vec![8, 1, 2] };
    assert_eq!(cut.as_digital_signature().unwrap_err().at, 1);
}

#[test]
fn hashes_are_numbers() {
    assert_eq!(emit_hashes(OUR_HASHES), [0, 2, 0, 3, 0, 4, 0, 5]);
    assert_eq!(parse_hashes(&[0, 2, 0, 9, 1]).collect::<Vec<_>>(), [2, 9]);
}
