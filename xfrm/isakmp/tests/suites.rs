//! Which suites are offered, chosen and refused: the rules of RFC 7296 §3.3 one by one.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests fail as tests do"
)]

use adit_isakmp::payload::{
    Attribute, AttributeValue, Proposal, Protocol, SecurityAssociation, Transform, TransformType,
};
use adit_isakmp::proposal::{
    EspProposal, IkeProposal, accept_ike, choose_esp, choose_ike, offer_esp, offer_ike,
};
use adit_isakmp::{Encryption, KeMethod, Prf};

fn ike(text: &str) -> IkeProposal {
    text.parse().unwrap()
}

fn esp(text: &str) -> EspProposal {
    text.parse().unwrap()
}

fn encr(id: u16, key_length: Option<u16>) -> Transform {
    Transform { key_length, ..Transform::new(TransformType::ENCR, id) }
}

/// One IKE proposal of these encryption transforms, with a PRF and a key exchange method.
fn offered(encryption: Vec<Transform>) -> SecurityAssociation {
    let rest = [Transform::new(TransformType::PRF, 5), Transform::new(TransformType::KE, 31)];
    let transforms = encryption.into_iter().chain(rest).collect();
    let proposal = Proposal { number: 1, protocol: Protocol::IKE, spi: Vec::new(), transforms };
    SecurityAssociation { proposals: vec![proposal] }
}

const GCM: &str = "aes256gcm16-prfsha256-x25519";

// [7296:3.3-1] [7296:3.3-4] [7296:3.3-3] [7296:3.3.1-3] [7296:3.3.1-5]
#[test]
fn an_offer_is_in_our_order_and_numbered_from_one() {
    let ours = [ike(GCM), ike("aes128gcm16-prfsha256-x25519"), ike("aes256-sha256-x25519")];
    let sa = offer_ike(&ours, &[]);
    let seen: Vec<_> = sa.proposals.iter().map(|p| (p.number, p.transforms[0].clone())).collect();
    assert_eq!(seen, [(1, encr(20, Some(256))), (2, encr(20, Some(128))), (3, encr(12, Some(256)))]);
    assert!(sa.proposals.iter().all(|p| p.spi.is_empty()));
}

// [7296:3.3-7] [7296:2.13-1] [7296:3.3.5-4]
#[test]
fn each_key_length_is_a_transform_and_a_fixed_one_is_not_said() {
    let sa = offer_ike(&[ike("aes128gcm16-aes256gcm16-chacha20poly1305-prfsha256-x25519")], &[]);
    let ciphers: Vec<_> = sa.proposals[0].of(TransformType::ENCR).cloned().collect();
    assert_eq!(ciphers, [encr(20, Some(128)), encr(20, Some(256)), encr(28, None)]);
    assert!(sa.proposals[0].transforms.iter().all(|t| t.others.is_empty()));
}

// [7296:3.3-5]
#[test]
fn with_an_aead_no_integrity_is_offered() {
    let all = [IkeProposal::defaults(), vec![ike("aes256-sha256-x25519")]].concat();
    for proposal in offer_ike(&all, &[]).proposals {
        let ciphers = proposal.of(TransformType::ENCR).map(|t| t.id).collect::<Vec<_>>();
        let aead = ciphers.iter().all(|id| [20, 28].contains(id));
        assert!(aead || ciphers.iter().all(|id| *id == 12), "one kind in a proposal: {ciphers:?}");
        assert_eq!(proposal.of(TransformType::INTEG).next().is_none(), aead);
    }
}

// [7296:3.3-6]
#[test]
fn an_attribute_that_comes_twice_makes_its_transform_unknown() {
    let twice = Transform {
        others: vec![Attribute { kind: 14, value: AttributeValue::Short(128) }],
        ..encr(20, Some(256))
    };
    let mut bytes = Vec::new();
    adit_isakmp::Payload::Sa(offered(vec![twice])).emit(&mut bytes).unwrap();
    let raw = adit_isakmp::payload::RawPayload {
        kind: adit_isakmp::PayloadType::SA,
        next: adit_isakmp::PayloadType::NONE,
        critical: false,
        at: 0,
        body: &bytes,
    };
    let Ok(adit_isakmp::Payload::Sa(read)) = adit_isakmp::Payload::parse(&raw) else { panic!("it is read") };
    assert!(choose_ike(&[ike(GCM)], &read, &[]).is_err());
}

// [7296:3.3.5-5]
#[test]
fn aes_without_a_key_length_is_refused() {
    let aes256 = ike("aes256gcm16-aes192gcm16-aes128gcm16-prfsha256-x25519");
    assert!(choose_ike(core::slice::from_ref(&aes256), &offered(vec![encr(20, None)]), &[]).is_err());
    let both = offered(vec![encr(20, None), encr(20, Some(192))]);
    assert_eq!(
        choose_ike(&[aes256], &both, &[]).unwrap().reply.proposals[0].transforms[0].key_length,
        Some(192)
    );
}

// [7296:3.3.6-6] [7296:3.3.3-1]
#[test]
fn a_proposal_that_is_not_understood_or_lacks_something_leaves_the_others() {
    let ours = [ike(GCM)];
    let good = offer_ike(&ours, &[]).proposals.remove(0);
    let mut unknown = good.clone();
    unknown.transforms.push(Transform::new(TransformType(241), 1));
    let without = |kind: TransformType| {
        let mut proposal = good.clone();
        proposal.transforms.retain(|t| t.kind != kind);
        proposal
    };
    for bad in [
        unknown,
        without(TransformType::ENCR),
        without(TransformType::PRF),
        without(TransformType::KE),
        Proposal { transforms: Vec::new(), ..good.clone() },
    ] {
        let alone = SecurityAssociation { proposals: vec![bad.clone()] };
        assert!(choose_ike(&ours, &alone, &[]).is_err(), "{bad:?}");
        let both = SecurityAssociation { proposals: vec![bad, Proposal { number: 2, ..good.clone() }] };
        assert_eq!(choose_ike(&ours, &both, &[]).unwrap().number, 2);
    }
    // CBC needs integrity.
    let cbc = [ike("aes256-sha256-x25519")];
    let mut bare = offer_ike(&cbc, &[]);
    bare.proposals[0].transforms.retain(|t| t.kind != TransformType::INTEG);
    assert!(choose_ike(&cbc, &bare, &[]).is_err());
}

// [7296:3.3.6-7] [7296:3.14-2]
#[test]
fn a_transform_that_is_not_understood_leaves_the_others() {
    let odd = Transform {
        others: vec![Attribute { kind: 99, value: AttributeValue::Long(vec![1]) }],
        ..encr(20, Some(256))
    };
    // AES-CTR and Camellia: nothing here says how they go in SK.
    for unknown in [odd, encr(13, Some(256)), encr(23, Some(256)), encr(4711, None)] {
        assert!(choose_ike(&[ike(GCM)], &offered(vec![unknown.clone()]), &[]).is_err());
        let chosen = choose_ike(&[ike(GCM)], &offered(vec![unknown, encr(20, Some(256))]), &[]).unwrap();
        assert_eq!(chosen.reply.proposals[0].transforms[0], encr(20, Some(256)));
    }
}

// [7296:3.3.6-4] [7296:3.3.1-4] [7296:2.7-2]
#[test]
fn what_is_chosen_comes_back_as_it_was() {
    // RFC 7634 has no Key Length for it, and some peers send one all the same.
    let theirs = encr(28, Some(256));
    let ours = [ike("chacha20poly1305-prfsha256-x25519")];
    let chosen = choose_ike(&ours, &offered(vec![theirs.clone()]), &[]).unwrap();
    assert_eq!(chosen.reply.proposals[0].of(TransformType::ENCR).collect::<Vec<_>>(), [&theirs]);
    assert_eq!(chosen.reply.proposals[0].protocol, Protocol::IKE);

    let ours = [esp("aes256gcm16")];
    let mut offer = offer_esp(&[esp("aes128gcm16"), esp("aes256gcm16")], 7, false);
    let reply = choose_esp(&ours, &offer, 8, false).unwrap().reply;
    assert_eq!((reply.proposals[0].number, reply.proposals[0].protocol), (2, Protocol::ESP));
    offer.proposals[1].protocol = Protocol::AH;
    assert!(choose_esp(&ours, &offer, 8, false).is_err());
}

// [7296:2.7-1] [7296:2.7-3] [7296:2.7-4] [7296:2.7-5] [7296:3.3.6-1] [7296:3.3.6-2] [7296:3.3.6-3]
#[test]
fn a_choice_is_one_proposal_with_one_transform_of_each_type() {
    let many = [
        ike("aes128-aes256-sha384-sha256-prfsha384-prfsha256-ecp256-x25519"),
        ike("aes256gcm16-aes128gcm16-prfsha256-prfsha512-x25519-ecp384"),
    ];
    for ours in [&many[..1], &many[1..], &many[..]] {
        let chosen = choose_ike(ours, &offer_ike(&many, &[]), &[]).unwrap();
        let [proposal] = &chosen.reply.proposals[..] else { panic!("one proposal: {chosen:?}") };
        for kind in [TransformType::ENCR, TransformType::PRF, TransformType::KE] {
            assert_eq!(proposal.of(kind).count(), 1, "{chosen:?}");
        }
        assert_eq!(proposal.of(TransformType::INTEG).count(), usize::from(proposal.number == 1));
        assert_eq!(accept_ike(&many, &chosen.reply).unwrap().suite, chosen.suite);
    }
    assert!(choose_ike(&[ike("aes192-sha512-ecp521")], &offer_ike(&many, &[]), &[]).is_err());
}

// [7296:3.3.6-5]
#[test]
fn an_answer_with_more_than_was_asked_is_refused() {
    let ours = [ike("aes256gcm16-aes128gcm16-prfsha256-x25519")];
    let good = choose_ike(&ours, &offer_ike(&ours, &[]), &[]).unwrap().reply;
    assert!(accept_ike(&ours, &good).is_ok());
    let with = |edit: &dyn Fn(&mut SecurityAssociation)| {
        let mut answer = good.clone();
        edit(&mut answer);
        accept_ike(&ours, &answer).is_err()
    };
    assert!(with(&|a| a.proposals.push(a.proposals[0].clone())));
    assert!(with(&|a| a.proposals[0].transforms.push(encr(20, Some(128)))));
    assert!(with(&|a| a.proposals[0].transforms[0].key_length = Some(192)));
    assert!(with(&|a| a.proposals[0].protocol = Protocol::ESP));
    assert!(with(&|a| a.proposals[0].number = 2));
}

// [7296:3.3.4-2] [7296:3.3.4-3] [7296:3.3.4-4]
// [7296:5-2]
#[test]
fn only_what_is_configured_is_chosen() {
    let offer = offer_ike(&[ike("aes256gcm16-aes128gcm16-prfsha512-prfsha256-x25519-ecp256")], &[]);
    for (configured, chosen) in [
        ("aes128gcm16-prfsha256-ecp256", Some("aes128gcm16-prfsha256-ecp256")),
        ("aes256gcm16-prfsha512-x25519", Some("aes256gcm16-prfsha512-x25519")),
        ("aes256gcm16-prfsha384-x25519", None),
        ("aes256-sha256-x25519", None),
    ] {
        let suite = choose_ike(&[ike(configured)], &offer, &[]).ok().map(|c| c.suite.to_string());
        assert_eq!(suite.as_deref(), chosen);
    }
}

// [7296:5-2]
#[test]
fn no_encryption_and_no_integrity_are_never_chosen() {
    let all = [IkeProposal::defaults(), vec![ike("aes256-sha256-x25519")]].concat();
    let integrity = |id| Transform::new(TransformType::INTEG, id);
    // ENCR_NULL with integrity; AES-CBC with NONE, and with nothing.
    for encryption in [
        vec![encr(11, None), integrity(12)],
        vec![encr(12, Some(256)), integrity(0)],
        vec![encr(12, Some(256))],
    ] {
        assert!(choose_ike(&all, &offered(encryption), &[]).is_err());
    }
    for text in ["null-sha256-x25519", "aes256-x25519", "aes256-none-x25519"] {
        assert!(text.parse::<IkeProposal>().is_err(), "{text}");
    }
    assert_eq!(Encryption::from_transform(11, None), None);
}

// [7296:5-1] [7296:2.13-3] [7296:2.14-1]
#[test]
fn every_prf_gives_128_bits_and_more() {
    assert!(Prf::ALL.iter().all(|prf| prf.output_len() * 8 >= 128));
    // PRF_AES128_XCBC and PRF_AES128_CMAC have a preferred length of their own, and are not here.
    assert!([4, 8].iter().all(|id| Prf::from_transform_id(*id).is_none()));
}

// [7296:3.4-2] [7296:3.4-4]
#[test]
fn a_key_of_another_method_is_told_the_right_one() {
    use adit_isakmp::payload::KeyExchangeData;
    use adit_isakmp::proposal::{offers_ke, wanted_ke};
    let both = [ike("aes256gcm16-prfsha256-x25519-ecp256")];
    let chosen = choose_ike(&[ike("aes256gcm16-prfsha256-ecp256")], &offer_ike(&both, &[]), &[]).unwrap();
    let guess = KeyExchangeData::new(KeMethod::Curve25519, vec![1; 32]);
    let wanted = wanted_ke(chosen.suite.ke, &guess);
    assert_eq!(wanted, Some(KeMethod::Ecp256));
    assert_eq!(offers_ke(&both, 19), wanted);
    assert_eq!(offers_ke(&both, 20), None);
    assert_eq!(wanted_ke(KeMethod::Ecp256, &KeyExchangeData::new(KeMethod::Ecp256, vec![1; 64])), None);
}
