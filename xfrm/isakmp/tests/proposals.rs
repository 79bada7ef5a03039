//! Proposals: notation, offers, choices.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests fail as tests do"
)]

use adit_isakmp::algorithm::KeyBits;
use adit_isakmp::payload::{
    KeyExchangeData, Payload, PayloadType, RawPayload, SecurityAssociation, Transform, TransformType,
};
use adit_isakmp::proposal::{
    EspProposal, IkeProposal, ProposalError, accept_esp, accept_ike, choose_esp, choose_ike, describe,
    offer_esp, offer_ike, offers_ke, wanted_ke,
};
use adit_isakmp::{Encryption, Integrity, KeMethod, Prf};
use proptest::prelude::*;
use proptest::sample::subsequence;

fn ike(text: &str) -> IkeProposal {
    IkeProposal::read(text, true).unwrap_or_else(|e| panic!("{text}: {e}"))
}

fn esp(text: &str) -> EspProposal {
    EspProposal::read(text, true).unwrap_or_else(|e| panic!("{text}: {e}"))
}

fn ike_error(text: &str) -> String {
    text.parse::<IkeProposal>().unwrap_err().to_string()
}

fn esp_error(text: &str) -> String {
    text.parse::<EspProposal>().unwrap_err().to_string()
}

// [7296:3.3.4-2]
#[test]
fn strongswans_words_are_read() {
    let one = ike("aes256gcm16-prfsha256-x25519");
    assert_eq!(one.encryption, [Encryption::AesGcm16(KeyBits::B256)]);
    assert_eq!(
        (one.integrity.len(), &one.prf[..], &one.ke[..]),
        (0, &[Prf::HmacSha256][..], &[KeMethod::Curve25519][..])
    );

    let implied = ike("aes256-sha256-modp2048");
    assert_eq!(
        (&implied.integrity[..], &implied.prf[..]),
        (&[Integrity::HmacSha256_128][..], &[Prf::HmacSha256][..])
    );

    let many = ike("aes128-aes256-sha256-sha384-ecp256-modp2048");
    assert_eq!(many.encryption, [Encryption::AesCbc(KeyBits::B128), Encryption::AesCbc(KeyBits::B256)]);
    assert_eq!(many.prf, [Prf::HmacSha256, Prf::HmacSha384]);
    assert_eq!(many.ke, [KeMethod::Ecp256, KeMethod::Modp2048]);

    assert_eq!(ike("chacha20poly1305-prfsha256-curve25519"), ike("CHACHA20POLY1305-prfsha256-x25519"));
    // With an AEAD an integrity algorithm is only where the PRF comes from.
    assert_eq!(ike("aes256gcm16-sha256-x25519"), one);
    assert_eq!(ike("aes256gcm128-sha2_256-curve25519-x25519"), one);

    let child = esp("aes256gcm16-x25519-esn-noesn");
    assert_eq!((child.ke, child.esn), (vec![KeMethod::Curve25519], vec![true, false]));
    assert_eq!(esp("aes128-sha256").esn, [false]);
}

#[test]
fn what_was_read_is_written_the_same() {
    for text in [
        "aes256gcm16-prfsha256-x25519",
        "aes256-sha256-modp2048",
        "aes128-aes256-sha256-sha384-ecp256-modp2048",
        "aes256-sha256-prfsha512-ecp384",
    ] {
        assert_eq!(ike(text).to_string(), text);
    }
    for text in ["aes256gcm16-x25519-esn-noesn", "aes128-sha256", "aes192-sha1-esn", "chacha20poly1305"] {
        assert_eq!(esp(text).to_string(), text);
    }
    for proposal in IkeProposal::defaults() {
        assert_eq!(ike(&proposal.to_string()), proposal);
    }
    for proposal in EspProposal::defaults() {
        assert_eq!(esp(&proposal.to_string()), proposal);
    }
}

// [7296:3.3.4-2]
#[test]
fn a_mistake_is_explained() {
    let typo = ike_error("aes265-sha256-modp2048");
    assert!(typo.starts_with("\"aes265\" is not an algorithm; did you mean aes256? Allowed: "), "{typo}");
    assert!(typo.contains("prfsha256") && !typo.contains("noesn") && !typo.contains("curve25519"), "{typo}");
    assert!(esp_error("aes256gcm16-sehr").contains("noesn"));
    assert_eq!(ike_error("des-sha1-modp1024"), "\"des\": too weak, Adit does not do it");
    assert_eq!(
        esp_error("aes256gcm16-prfsha256"),
        "\"prfsha256\": a CHILD_SA has no PRF; it belongs to the IKE proposal"
    );
    assert_eq!(
        ike_error("aes256gcm16-prfsha256-x25519-esn"),
        "\"esn\": an IKE_SA has no ESN; it belongs to the ESP proposal"
    );
    assert_eq!(
        ike_error("aes256gcm16-x25519"),
        "the proposal has no PRF, which an AEAD does not imply; add for example prfsha256"
    );
    assert_eq!(
        ike_error("aes256-x25519"),
        "the proposal has no integrity algorithm, which a CBC cipher needs; add for example sha256"
    );
    assert_eq!(ike_error("aes256-sha256"), "the proposal has no key exchange method; add for example x25519");
    assert_eq!(
        esp_error("sha256-x25519"),
        "the proposal has no encryption algorithm; add for example aes256gcm16"
    );
    assert_eq!(ike_error("  "), "a proposal may not be empty");
    assert!(matches!("aes256--sha256".parse::<EspProposal>(), Err(ProposalError::UnknownWord { .. })));
}

#[test]
fn ciphers_of_two_kinds_are_told_apart() {
    assert_eq!(
        ike_error("aes256gcm16-aes256-sha256-x25519"),
        "an AEAD cipher and one that needs integrity can't share a proposal; write two: \
         aes256gcm16-prfsha256-x25519 and aes256-sha256-x25519"
    );
    let Err(ProposalError::Mixed { split: [aead, other] }) =
        "aes128-chacha20poly1305-sha512-esn".parse::<EspProposal>()
    else {
        panic!("it is mixed")
    };
    assert_eq!((&aead[..], &other[..]), ("chacha20poly1305-esn", "aes128-sha512-esn"));
    esp(&aead);
    esp(&other);
}

#[test]
fn defaults_are_strong_and_in_order() {
    let [aead, cbc] = &IkeProposal::defaults()[..] else { panic!("two") };
    assert_eq!(
        aead.to_string(),
        "aes256gcm16-aes128gcm16-chacha20poly1305-prfsha256-prfsha384-prfsha512-x25519-ecp256-ecp384-ecp521-modp3072-modp4096-modp2048"
    );
    assert_eq!(
        cbc.to_string(),
        "aes256-aes128-sha256-sha384-sha512-x25519-ecp256-ecp384-ecp521-modp3072-modp4096-modp2048"
    );
    assert!(EspProposal::defaults().iter().all(|p| p.esn == [true, false]));
    // In IKE_AUTH there is no key exchange, and proposals that differ only in it are one.
    assert_eq!(offer_esp(&EspProposal::defaults(), 1, false).proposals.len(), 2);
    assert_eq!(offer_esp(&EspProposal::defaults(), 1, true).proposals.len(), 4);
}

#[test]
fn legacy_algorithms_are_for_who_asks() {
    let why = "too weak; for an old peer that has nothing better, set legacy = true";
    assert_eq!(ike_error("3des-sha1-modp2048"), format!("\"3des\": {why}"));
    assert_eq!(ike_error("aes256-sha256-modp1024"), format!("\"modp1024\": {why}"));
    assert_eq!(esp_error("aes256-sha256-modp1536"), format!("\"modp1536\": {why}"));
    // SHA-1 is not: HMAC does not need what it lost.
    assert_eq!("aes256-sha1-modp2048".parse::<IkeProposal>().unwrap().legacy(), [""; 0]);
    let allowed = |legacy| match IkeProposal::read("aes256-oops", legacy) {
        Err(ProposalError::UnknownWord { allowed, .. }) => allowed.contains(&"3des"),
        other => panic!("{other:?}"),
    };
    assert!(!allowed(false) && allowed(true));

    let old = ike("3des-aes256-sha1-modp1024-modp2048");
    assert_eq!(old.to_string(), "3des-aes256-sha1-modp1024-modp2048");
    assert_eq!(old.legacy(), ["3des", "modp1024"]);
    assert_eq!(esp("3des-sha1-modp1536").legacy(), ["3des", "modp1536"]);
    for proposal in IkeProposal::defaults() {
        assert_eq!(proposal.legacy(), [""; 0]);
    }
    for proposal in EspProposal::defaults() {
        assert_eq!(proposal.legacy(), [""; 0]);
    }
}

/// reference: what Windows, RRAS and Azure have unless an administrator says otherwise, and what they have with
/// `DHGroup Group14`.
#[test]
fn windows_gateways_are_met() {
    let ours = IkeProposal::defaults();
    let with_legacy = [ours.clone(), IkeProposal::legacy_defaults()].concat();
    let meet = |theirs: &str, ours: &[IkeProposal]| {
        choose_ike(&[ike(theirs)], &offer_ike(ours, &[]), &[]).map(|c| c.suite.to_string()).ok()
    };
    for (theirs, suite) in [
        ("aes256-sha256-modp2048", "aes256-sha256-prfsha256-modp2048"),
        ("aes256gcm16-prfsha256-modp2048", "aes256gcm16-prfsha256-modp2048"),
        ("aes256gcm16-prfsha384-ecp384", "aes256gcm16-prfsha384-ecp384"),
    ] {
        assert_eq!(meet(theirs, &ours).as_deref(), Some(suite));
        assert_eq!(meet(theirs, &with_legacy).as_deref(), Some(suite));
    }
    for (theirs, suite) in [
        ("aes256-sha256-modp1024", "aes256-sha256-prfsha256-modp1024"),
        ("aes256-sha1-modp1024", "aes256-sha1-prfsha1-modp1024"),
        ("3des-sha1-modp1024", "3des-sha1-prfsha1-modp1024"),
        ("aes256gcm16-prfsha384-modp1024", "aes256gcm16-prfsha384-modp1024"),
    ] {
        assert_eq!(meet(theirs, &ours), None);
        assert_eq!(meet(theirs, &with_legacy).as_deref(), Some(suite));
    }
    let esp_meet = |theirs: &str, ours: &[EspProposal]| {
        choose_esp(&[esp(theirs)], &offer_esp(ours, 1, false), 2, false).map(|c| c.suite.to_string()).ok()
    };
    let ours = EspProposal::defaults();
    let with_legacy = [ours.clone(), EspProposal::legacy_defaults()].concat();
    assert_eq!(esp_meet("aes256-sha256", &ours).as_deref(), Some("aes256-sha256"));
    assert_eq!(esp_meet("aes256gcm16", &ours).as_deref(), Some("aes256gcm16"));
    for theirs in ["aes256-sha1", "3des-sha1"] {
        assert_eq!(esp_meet(theirs, &ours), None);
        assert_eq!(esp_meet(theirs, &with_legacy).as_deref(), Some(theirs));
    }
}

/// Windows 7 offers 3DES first, and better things after it: 3DES is only for who has nothing better.
#[test]
fn a_legacy_peer_gets_the_best_that_it_has() {
    let offers = ["3des-sha1", "aes256-sha1", "3des-sha256", "aes256-sha256", "3des-sha384", "aes256-sha384"];
    let windows: Vec<_> = offers.iter().map(|words| ike(&format!("{words}-modp1024"))).collect();
    let meet = |theirs: &[IkeProposal]| {
        choose_ike(&IkeProposal::legacy_defaults(), &offer_ike(theirs, &[]), &[]).unwrap().suite.to_string()
    };
    assert_eq!(meet(&windows), "aes256-sha256-prfsha256-modp1024");
    assert_eq!(meet(&windows[..2]), "aes256-sha1-prfsha1-modp1024");
    assert_eq!(meet(&windows[..1]), "3des-sha1-prfsha1-modp1024");
    let windows: Vec<_> = ["3des-sha1", "aes128-sha1", "3des-sha256"].into_iter().map(esp).collect();
    let chosen = choose_esp(&EspProposal::legacy_defaults(), &offer_esp(&windows, 1, false), 2, false);
    assert_eq!(chosen.unwrap().suite.to_string(), "aes128-sha1");
}

#[test]
fn no_choice_names_legacy_where_it_would_help() {
    let refused = |theirs: &str, ours: &[IkeProposal]| {
        choose_ike(ours, &offer_ike(&[ike(theirs)], &[]), &[]).unwrap_err().to_string()
    };
    let ours = IkeProposal::defaults();
    assert!(
        refused("aes256-sha1-modp1024", &ours)
            .ends_with("; what it offers needs legacy = true, since it can be broken")
    );
    assert!(!refused("aes256gcm16-prfsha256-mlkem1024", &ours).contains("legacy"));
    // Nor where what is configured is only narrow, or where SHA-1 is all that is missing.
    assert!(!refused("aes256-sha256-modp2048", &[ike("aes256gcm16-prfsha256-x25519")]).contains("legacy"));
    assert!(!refused("aes256-sha1-modp2048", &ours).contains("legacy"));
    let refused = choose_esp(&EspProposal::defaults(), &offer_esp(&[esp("3des-sha1")], 1, false), 2, false);
    assert!(refused.unwrap_err().legacy);
}

#[test]
fn legacy_suites_are_named() {
    let chosen =
        choose_ike(&[ike("3des-sha1-modp1024")], &offer_ike(&IkeProposal::legacy_defaults(), &[]), &[]);
    assert_eq!(chosen.unwrap().suite.legacy(), ["3des", "modp1024"]);
    let chosen =
        choose_ike(&[ike("aes256-sha1-modp2048")], &offer_ike(&IkeProposal::legacy_defaults(), &[]), &[]);
    assert_eq!(chosen.unwrap().suite.legacy(), [""; 0]);
}

// [7296:2.13-1] [7296:3.3.1-5] [7296:3.3.5-3] [7296:3.3.5-1]
#[test]
fn an_offer_has_its_bytes() {
    let sa = offer_ike(&[ike("aes256gcm16-prfsha256-x25519")], &[]);
    let mut bytes = Vec::new();
    Payload::Sa(sa).emit(&mut bytes).unwrap();
    #[rustfmt::skip]
    assert_eq!(bytes, [
        0, 0, 0, 36, 1, 1, 0, 3,
        3, 0, 0, 12, 1, 0, 0, 20, 0x80, 14, 1, 0,
        3, 0, 0, 8, 2, 0, 0, 5,
        0, 0, 0, 8, 4, 0, 0, 31,
    ]);
    let esp = offer_esp(&[esp("aes128-sha256-x25519-esn-noesn")], 0x0102_0304, false);
    let mut bytes = Vec::new();
    Payload::Sa(esp).emit(&mut bytes).unwrap();
    #[rustfmt::skip]
    assert_eq!(bytes, [
        0, 0, 0, 48, 1, 3, 4, 4, 1, 2, 3, 4,
        3, 0, 0, 12, 1, 0, 0, 12, 0x80, 14, 0, 128,
        3, 0, 0, 8, 3, 0, 0, 12,
        3, 0, 0, 8, 5, 0, 0, 1,
        0, 0, 0, 8, 5, 0, 0, 0,
    ]);
}

// [7296:2.7-1] [7296:3.4-4] [7296:3.3.1-4]
#[test]
fn the_responders_order_decides() {
    let ours =
        [ike("chacha20poly1305-aes256gcm16-prfsha512-prfsha256-ecp256-x25519"), ike("aes256-sha256-x25519")];
    let theirs =
        [ike("aes256-sha256-x25519"), ike("aes256gcm16-chacha20poly1305-prfsha256-prfsha512-x25519-ecp256")];
    let chosen = choose_ike(&ours, &offer_ike(&theirs, &[]), &[]).unwrap();
    assert_eq!(chosen.suite.to_string(), "chacha20poly1305-prfsha512-ecp256");
    assert_eq!((chosen.number, chosen.reply.proposals.len()), (2, 1));
    let accepted = accept_ike(&theirs, &chosen.reply).unwrap();
    assert_eq!(accepted.suite, chosen.suite);
    let guess = |method| KeyExchangeData::new(method, Vec::new());
    assert_eq!(wanted_ke(chosen.suite.ke, &guess(KeMethod::Curve25519)), Some(KeMethod::Ecp256));
    assert_eq!(wanted_ke(chosen.suite.ke, &guess(KeMethod::Ecp256)), None);
    assert_eq!(offers_ke(&theirs, 19), Some(KeMethod::Ecp256));
    assert_eq!(offers_ke(&theirs, 14), None);
}

#[test]
fn spis_go_both_ways() {
    let ours = EspProposal::defaults();
    let chosen = choose_esp(&ours, &offer_esp(&ours, 0xaaaa_0001, false), 0xbbbb_0002, false).unwrap();
    assert_eq!((chosen.peer_spi(), chosen.suite.esn, chosen.suite.ke), (0xaaaa_0001, true, None));
    assert_eq!(accept_esp(&ours, &chosen.reply, false).unwrap().peer_spi(), 0xbbbb_0002);
    // A rekeyed IKE_SA has an SPI in its proposal, a first one has none.
    let (ours, spi) = (IkeProposal::defaults(), [1, 2, 3, 4, 5, 6, 7, 8]);
    let chosen = choose_ike(&ours, &offer_ike(&ours, &spi), &[9; 8]).unwrap();
    assert_eq!((&chosen.spi[..], &chosen.reply.proposals[0].spi[..]), (&spi[..], &[9; 8][..]));
    assert!(choose_ike(&ours, &offer_ike(&ours, &spi), &[]).is_err());
}

#[test]
fn no_choice_says_what_to_compare() {
    let ours = [ike("aes256gcm16-prfsha256-x25519")];
    let none =
        choose_ike(&ours, &offer_ike(&[ike("aes256gcm16-prfsha256-ecp256-modp2048")], &[]), &[]).unwrap_err();
    assert_eq!(
        none.to_string(),
        "no common key exchange method: offered aes256gcm16-prfsha256-ecp256-modp2048; \
         allowed aes256gcm16-prfsha256-x25519"
    );
    let mut foreign = offer_ike(&ours, &[]);
    foreign.proposals[0].transforms = vec![
        Transform::new(TransformType::ENCR, 3),
        Transform::new(TransformType::INTEG, 1),
        Transform::new(TransformType::PRF, 4711),
        Transform::new(TransformType::KE, 2),
    ];
    assert_eq!(describe(&foreign), "3des-md5-prf4711-modp1024");
    assert_eq!(choose_ike(&ours, &foreign, &[]).unwrap_err().nothing_common, Some("encryption algorithm"));
    foreign.proposals[0].transforms = vec![Transform::new(TransformType::KE, 2); 200];
    assert!(describe(&foreign).len() < 1000);
}

// [7296:3.3-5] [7296:3.3.6-4]
#[test]
fn integrity_none_beside_an_aead_is_repeated() {
    let ours = EspProposal::defaults();
    let mut offered = offer_esp(&ours, 1, false);
    offered.proposals[0].transforms.push(Transform::new(TransformType::INTEG, 0));
    let chosen = choose_esp(&ours, &offered, 2, false).unwrap();
    assert_eq!(chosen.reply.proposals[0].of(TransformType::INTEG).count(), 1);
    assert_eq!(accept_esp(&ours, &chosen.reply, false).unwrap().suite, chosen.suite);
    // An AEAD that insists on integrity is not one.
    offered.proposals[0].transforms.pop();
    offered.proposals[0].transforms.push(Transform::new(TransformType::INTEG, 12));
    assert_eq!(choose_esp(&ours, &offered, 2, false).unwrap().number, 2);
}

#[test]
fn pfs_is_as_both_want_it() {
    let with = [esp("aes256gcm16-x25519")];
    let without = [esp("aes256gcm16")];
    let meet = |ours: &[EspProposal], theirs: &[EspProposal]| {
        choose_esp(ours, &offer_esp(theirs, 1, true), 2, true).map(|c| c.suite.ke).ok()
    };
    assert_eq!(meet(&with, &with), Some(Some(KeMethod::Curve25519)));
    assert_eq!(meet(&without, &without), Some(None));
    assert_eq!(meet(&with, &without), None);
    assert_eq!(meet(&without, &with), None);
    assert_eq!(meet(&EspProposal::defaults(), &with), Some(Some(KeMethod::Curve25519)));
    // KE NONE makes it optional.
    let mut offered = offer_esp(&with, 1, true);
    offered.proposals[0].transforms.push(Transform::new(TransformType::KE, 0));
    assert_eq!(choose_esp(&without, &offered, 2, true).unwrap().suite.ke, None);
    // In IKE_AUTH methods mean nothing, even if a peer writes them.
    let chosen = choose_esp(&without, &offer_esp(&with, 1, true), 2, false).unwrap();
    assert_eq!(chosen.reply.proposals[0].of(TransformType::KE).count(), 0);
}

#[test]
fn a_missing_esn_transform_means_none() {
    let mut offered = offer_esp(&[esp("aes256gcm16")], 1, false);
    offered.proposals[0].transforms.retain(|t| t.kind != TransformType::ESN);
    assert!(!choose_esp(&EspProposal::defaults(), &offered, 2, false).unwrap().suite.esn);
    assert!(choose_esp(&[esp("aes256gcm16-esn")], &offered, 2, false).is_err());
}

// [7296:3.3.6-6] [7296:3.3.6-7]
#[test]
fn what_is_not_understood_is_not_chosen() {
    let ours = IkeProposal::defaults();
    let mut offered = offer_ike(&[ours[0].clone()], &[]);
    // RFC 7296 §3.3.6: a transform type that we don't know makes the proposal unacceptable.
    offered.proposals[0].transforms.push(Transform::new(TransformType(6), 36));
    assert!(choose_ike(&ours, &offered, &[]).is_err());
    // An attribute that we don't know makes only the transform unacceptable.
    offered.proposals[0].transforms.pop();
    offered.proposals[0].transforms[0].key_length = Some(257);
    assert_eq!(
        choose_ike(&ours, &offered, &[]).unwrap().suite.encryption,
        Encryption::AesGcm16(KeyBits::B128)
    );
}

// [7296:3.3.6-5] [7296:2.7-4]
#[test]
fn an_answer_must_have_been_offered() {
    let ours = [ike("aes256gcm16-aes128gcm16-prfsha256-x25519"), ike("aes256-sha256-x25519")];
    let answer = |text: &str, number: u8| {
        let mut sa = offer_ike(&[ike(text)], &[]);
        sa.proposals[0].number = number;
        sa
    };
    let check =
        |sa: &SecurityAssociation| accept_ike(&ours, sa).map(|a| a.suite.to_string()).map_err(|e| e.why);
    assert_eq!(check(&answer("aes128gcm16-prfsha256-x25519", 1)), Ok("aes128gcm16-prfsha256-x25519".into()));
    let not_offered = Err("the proposal of this number did not offer these algorithms");
    assert_eq!(check(&answer("aes128gcm16-prfsha256-x25519", 2)), not_offered);
    assert_eq!(check(&answer("aes128gcm16-prfsha512-x25519", 1)), not_offered);
    assert_eq!(check(&answer("aes256-sha256-modp2048", 2)), not_offered);
    assert_eq!(check(&answer("aes256-sha256-x25519", 3)), Err("no proposal with this number was offered"));
    assert_eq!(
        check(&answer("aes256gcm16-aes128gcm16-prfsha256-x25519", 1)),
        Err("an answer has at most one transform of each type")
    );
    assert_eq!(check(&SecurityAssociation::default()), Err("an answer has exactly one proposal"));
    let esp_answer = offer_esp(&[esp("aes256gcm16")], 1, false);
    assert_eq!(check(&esp_answer), not_offered);
}

fn any_ike() -> impl Strategy<Value = IkeProposal> {
    let aead = vec![
        Encryption::AesGcm16(KeyBits::B256),
        Encryption::AesGcm16(KeyBits::B128),
        Encryption::ChaCha20Poly1305,
    ];
    let mut cbc = [KeyBits::B128, KeyBits::B192, KeyBits::B256].map(Encryption::AesCbc).to_vec();
    cbc.push(Encryption::TripleDesCbc);
    let encryption = prop_oneof![
        (subsequence(aead, 1..=3), Just(Vec::new())),
        (subsequence(cbc, 1..=4), subsequence(Integrity::ALL, 1..=4)),
    ];
    (encryption, subsequence(Prf::ALL, 1..=4), subsequence(KeMethod::ALL, 1..=6)).prop_map(
        |((encryption, integrity), prf, ke)| IkeProposal {
            encryption,
            integrity,
            prf,
            ke,
            additional: Default::default(),
        },
    )
}

proptest! {
    #[test]
    fn text_round_trips(proposal in any_ike()) {
        prop_assert_eq!(ike(&proposal.to_string()), proposal);
    }

    // [7296:2.7-3] [7296:3.3.4-4]
    #[test]
    fn both_sides_agree_or_have_nothing_in_common(
        ours in proptest::collection::vec(any_ike(), 1..4),
        theirs in proptest::collection::vec(any_ike(), 1..4),
    ) {
        let offered = offer_ike(&theirs, &[]);
        let mut body = Vec::new();
        Payload::Sa(offered.clone()).emit(&mut body).unwrap();
        let raw = RawPayload { kind: PayloadType::SA, next: PayloadType::NONE, critical: false, at: 0, body: &body };
        prop_assert_eq!(Payload::parse(&raw), Ok(Payload::Sa(offered.clone())));
        let common = |a: &IkeProposal, b: &IkeProposal| {
            let integrity = a.encryption[0].is_aead() || a.integrity.iter().any(|x| b.integrity.contains(x));
            integrity
                && a.encryption.iter().any(|x| b.encryption.contains(x))
                && a.prf.iter().any(|x| b.prf.contains(x))
                && a.ke.iter().any(|x| b.ke.contains(x))
        };
        let expected = ours.iter().any(|a| theirs.iter().any(|b| common(a, b)));
        match choose_ike(&ours, &offered, &[]) {
            Ok(chosen) => {
                prop_assert!(expected);
                prop_assert_eq!(accept_ike(&theirs, &chosen.reply).unwrap().suite, chosen.suite);
            }
            Err(why) => prop_assert!(!expected, "{}", why),
        }
    }

    #[test]
    fn any_text_is_read_or_explained(text in "[a-z0-9-]{0,40}|\\PC{0,40}") {
        if let Err(why) = text.parse::<IkeProposal>() {
            prop_assert!(!why.to_string().is_empty());
        }
    }
}
