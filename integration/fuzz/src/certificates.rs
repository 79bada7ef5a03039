//! What comes in files, and from those who say whether a certificate has been revoked.

use std::sync::OnceLock;

use adit_core::{Identity, Secret, WallTime};
use adit_pki::{
    Pkcs12, Question, TrustAnchors, identities, identity_texts, key_hash, read_certificates, summarize,
};
use adit_pki::{verify_client, verify_server, verify_tls_client};

const CA: &[u8] = include_bytes!("../../../policy/pki/tests/data/revocation/ca.der");
const LEAF: &[u8] = include_bytes!("../../../policy/pki/tests/data/revocation/revoked.der");
/// 2027-01-15.
const NOW: WallTime = WallTime(1_800_000_000);

fn anchors() -> &'static TrustAnchors {
    static ANCHORS: OnceLock<TrustAnchors> = OnceLock::new();
    ANCHORS.get_or_init(|| TrustAnchors::from_content(CA).expect("a good authority"))
}

fn name() -> Identity {
    "vpn.example.com".parse().expect("a name")
}

/// Certificates of a peer, one behind the other as a file has them, and everything that is read out of them.
pub fn x509(data: &[u8]) {
    let Ok(chain) = read_certificates(data) else { return };
    for der in chain.iter().take(12) {
        let _ = (summarize(der), identities(der), identity_texts(der), key_hash(der));
    }
    let accepted = [
        verify_server(&chain, anchors(), &name(), NOW),
        verify_client(&chain, anchors(), &name(), NOW),
        verify_tls_client(&chain, anchors(), NOW),
    ];
    for key in accepted.into_iter().flatten() {
        let _ = key.questions().map(|all| all.iter().map(|q| q.sources().len()).sum::<usize>());
    }
    let _ = TrustAnchors::from_content(data);
}

/// A PKCS#12 file.
pub fn pkcs12(data: &[u8]) {
    let opened = Pkcs12::open(&Secret::from(data), &Secret::from("café".as_bytes()));
    assert!(Pkcs12::is(data) || opened.is_err());
}

/// An OCSP answer, or a CRL, about a certificate that has been revoked: nothing makes it good.
pub fn revocation(data: &[u8]) {
    static QUESTION: OnceLock<Question> = OnceLock::new();
    let question = QUESTION.get_or_init(|| {
        let key = verify_server(&[LEAF.to_vec()], anchors(), &name(), NOW).expect("a good chain");
        key.questions().expect("good certificates").remove(0)
    });
    for source in question.sources() {
        assert_ne!(question.judge(source, data, NOW), Ok(adit_pki::Status::Good));
    }
}
