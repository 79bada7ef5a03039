//! CRLs and OCSP answers that OpenSSL has made, about a good certificate and about one that is revoked.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test")]

use adit_core::{Failure, FailureCode, Identity, WallTime};
use adit_pki::{PkiError, Question, Source, Status, Strictness, TrustAnchors, verify_server};
use proptest::prelude::*;

/// 2027-01-15.
const NOW: WallTime = WallTime(1_800_000_000);
const CA: &[u8] = include_bytes!("data/revocation/ca.der");
const CRL: &[u8] = include_bytes!("data/revocation/crl.der");
const GOOD: &[u8] = include_bytes!("data/revocation/good.der");
const REVOKED: &[u8] = include_bytes!("data/revocation/revoked.der");
const GOOD_OCSP: &[u8] = include_bytes!("data/revocation/good.ocsp");
const REVOKED_OCSP: &[u8] = include_bytes!("data/revocation/revoked.ocsp");

fn question(certificate: &[u8]) -> Question {
    let anchors = TrustAnchors::from_content(CA).unwrap();
    let name: Identity = "vpn.example.com".parse().unwrap();
    let key = verify_server(&[certificate.to_vec()], &anchors, &name, NOW).unwrap();
    let mut questions = key.questions().unwrap();
    assert_eq!(questions.len(), 1, "the authority itself is trusted");
    questions.remove(0)
}

fn ocsp(question: &Question, answer: &[u8]) -> Result<Status, PkiError> {
    question.judge(&question.sources()[0], answer, NOW)
}

fn crl(question: &Question, answer: &[u8], now: WallTime) -> Result<Status, PkiError> {
    question.judge(&question.sources()[1], answer, now)
}

fn revoked(status: Result<Status, PkiError>) {
    let Ok(Status::Revoked { at, reason: "keyCompromise" }) = status else { panic!("{status:?}") };
    assert!((1_790_000_000..1_800_000_000).contains(&at.0));
}

#[test]
fn whom_to_ask_stands_in_the_certificate() {
    let question = question(GOOD);
    let [Source::Ocsp { url, request }, Source::Crl { url: crl }] = question.sources() else {
        panic!("{:?}", question.sources());
    };
    assert_eq!((url.as_str(), crl.as_str()), ("http://ocsp.example.com/", "http://crl.example.com/ca.crl"));
    assert_eq!(request, include_bytes!("data/revocation/good.req"), "as OpenSSL asks");
}

#[test]
fn a_crl_says_what_is_revoked() {
    assert_eq!(crl(&question(GOOD), CRL, NOW), Ok(Status::Good));
    revoked(crl(&question(REVOKED), CRL, NOW));
}

#[test]
fn a_responder_says_what_is_revoked() {
    assert_eq!(ocsp(&question(GOOD), GOOD_OCSP), Ok(Status::Good));
    revoked(ocsp(&question(REVOKED), REVOKED_OCSP));
    // The authority answers itself.
    assert_eq!(ocsp(&question(GOOD), include_bytes!("data/revocation/good.direct.ocsp")), Ok(Status::Good));
    revoked(ocsp(&question(REVOKED), include_bytes!("data/revocation/revoked.direct.ocsp")));
}

#[test]
fn an_answer_of_anybody_else_says_nothing() {
    let why = |result: Result<Status, PkiError>| result.unwrap_err().to_string();
    let impostor = include_bytes!("data/revocation/good.impostor.ocsp");
    assert!(why(ocsp(&question(GOOD), impostor)).contains("not signed by its issuer or for it"));
    assert!(why(ocsp(&question(GOOD), REVOKED_OCSP)).contains("about another certificate"));
    assert!(why(ocsp(&question(GOOD), CRL)).contains("not one in DER"));
    assert!(why(crl(&question(GOOD), GOOD_OCSP, NOW)).contains("not one in DER"));
    let early = WallTime(1_700_000_000);
    assert!(why(crl(&question(GOOD), CRL, early)).contains("from the future"));
    let late = WallTime(5_000_000_000);
    assert!(why(crl(&question(GOOD), CRL, late)).contains("out of date"));
}

#[test]
fn a_bit_that_was_changed_makes_nothing_good() {
    for (answer, source) in [(REVOKED_OCSP, 0), (CRL, 1)] {
        let question = question(REVOKED);
        for bit in 0..answer.len() * 8 {
            let mut changed = answer.to_vec();
            changed[bit / 8] ^= 1 << (bit % 8);
            let status = question.judge(&question.sources()[source], &changed, NOW);
            assert_ne!(status, Ok(Status::Good), "bit {bit}");
        }
    }
}

#[test]
fn strictness_decides_what_silence_means() {
    let question = question(GOOD);
    let silent = || Err("no answer within 3 s".to_owned());
    let gone = || Ok(Status::Revoked { at: NOW, reason: "keyCompromise" });
    assert_eq!(question.decide(Strictness::Soft, silent()), Ok(()));
    assert_eq!(question.decide(Strictness::Strict, Ok(Status::Good)), Ok(()));
    let code = |strictness, learnt| Failure::from(question.decide(strictness, learnt).unwrap_err()).code;
    assert_eq!(code(Strictness::Strict, silent()), FailureCode::CertificateUnusable);
    assert_eq!(code(Strictness::Soft, gone()), FailureCode::CertificateRevoked);
    assert_eq!(question.decide(Strictness::Off, gone()), Ok(()));
}

proptest! {
    #[test]
    fn no_answer_panics(answer: Vec<u8>) {
        let question = question(GOOD);
        let judged = question.sources().iter().map(|source| question.judge(source, &answer, NOW));
        prop_assert!(judged.into_iter().all(|status| status.is_err()));
    }
}
