//! Additional key exchanges (RFC 9370 §2.2.1): written, offered, chosen and refused.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests fail as tests do"
)]

use adit_isakmp::payload::{SecurityAssociation, Transform, TransformType};
use adit_isakmp::proposal::{
    EspProposal, IkeProposal, NoProposal, ProposalError, accept_esp, accept_ike, choose_esp, choose_ike,
    describe, offer_esp, offer_ike,
};
use adit_isakmp::{KeMethod, Payload, PayloadType};
use proptest::prelude::*;

const BASE: &str = "aes256gcm16-prfsha384-x25519";

fn ike(text: &str) -> IkeProposal {
    text.parse().unwrap()
}

fn with(words: &str) -> IkeProposal {
    ike(&format!("{BASE}-{words}"))
}

fn meet(ours: &IkeProposal, theirs: &IkeProposal) -> Result<String, NoProposal> {
    let offered = offer_ike(core::slice::from_ref(theirs), &[]);
    let chosen = choose_ike(core::slice::from_ref(ours), &offered, &[])?;
    let accepted = accept_ike(core::slice::from_ref(theirs), &chosen.reply).unwrap();
    assert_eq!(accepted.suite, chosen.suite);
    Ok(chosen.suite.to_string().strip_prefix(BASE).unwrap().to_owned())
}

#[test]
fn they_are_written_as_strongswan_writes_them() {
    for text in [
        "aes256gcm16-prfsha384-x25519-ke1_mlkem768",
        "aes256-sha256-x25519-ke1_mlkem768-ke1_mlkem512-ke1_none-ke3_ecp384",
    ] {
        assert_eq!(ike(text).to_string(), text);
    }
    let mixed = ike("aes256gcm16-KE2_MLKEM1024-prfsha384-x25519");
    assert_eq!(mixed.additional[1], [Some(KeMethod::MlKem1024)]);
    assert!(mixed.has_additional() && !ike(BASE).has_additional());
}

#[test]
fn mistakes_are_explained() {
    let why = |words: &str| format!("{BASE}-{words}").parse::<IkeProposal>().unwrap_err();
    assert!(matches!(why("ke1_mlkem786"), ProposalError::UnknownWord { nearest: Some("mlkem768"), .. }));
    assert!(matches!(why("ke8_mlkem768"), ProposalError::UnknownWord { .. }));
    assert!(matches!(why("ke0_mlkem768"), ProposalError::UnknownWord { .. }));
    assert!(matches!(why("ke1_modp1024"), ProposalError::Legacy { .. }));
    assert!(matches!(why("ke1_aes256"), ProposalError::Misplaced { .. }));
    let esp = "aes256gcm16-ke1_mlkem768".parse::<EspProposal>().unwrap_err();
    assert!(matches!(esp, ProposalError::Missing { .. }), "{esp}");
    assert!("aes256gcm16-ke1_none".parse::<EspProposal>().is_err());
}

fn esp(text: &str) -> EspProposal {
    text.parse().unwrap()
}

#[test]
fn a_child_sa_has_them_beside_a_first_one() {
    let text = "aes256gcm16-x25519-ke1_mlkem768-ke1_none-ke2_ecp384-esn";
    assert_eq!(esp(text).to_string(), text);
    let meet = |ours: &str, theirs: &str, with_ke| {
        let offered = offer_esp(&[esp(theirs)], 0x1234_5678, with_ke);
        let chosen = choose_esp(&[esp(ours)], &offered, 0x8765_4321, with_ke).ok()?;
        let accepted = accept_esp(&[esp(theirs)], &chosen.reply, with_ke).unwrap();
        assert_eq!(accepted.suite, chosen.suite);
        Some(chosen.suite.to_string())
    };
    let (must, may, plain) =
        ("aes256gcm16-x25519-ke1_mlkem768", "aes256gcm16-x25519-ke1_mlkem768-ke1_none", "aes256gcm16-x25519");
    assert_eq!(meet(must, must, true).as_deref(), Some(must));
    assert_eq!(meet(must, may, true).as_deref(), Some(must));
    assert_eq!(meet(may, plain, true).as_deref(), Some(plain));
    assert_eq!(meet(plain, may, true).as_deref(), Some(plain));
    assert_eq!((meet(must, plain, true), meet(plain, must, true)), (None, None));
    // Where there is no first one there are no others.
    assert_eq!((meet("aes256gcm16", must, true), meet(must, "aes256gcm16", true)), (None, None));
    let offered = offer_esp(&[esp(must)], 0x1234_5678, false);
    assert!(offered.proposals[0].transforms.iter().all(|t| t.kind < TransformType::ADDKE1));
    assert_eq!(meet(must, must, false).as_deref(), Some("aes256gcm16"));
}

#[test]
fn they_are_transforms_of_types_of_their_own() {
    let sa = offer_ike(&[with("ke1_mlkem768-ke1_none-ke7_ecp384")], &[]);
    let additional: Vec<_> = sa.proposals[0].transforms.iter().filter(|t| t.kind.0 >= 6).cloned().collect();
    let of = |kind, id| Transform::new(TransformType(kind), id);
    assert_eq!(additional, [of(6, 36), of(6, 0), of(12, 20)]);
    let text = describe(&sa);
    assert!(text.ends_with("ke1_mlkem768-ke1_none-ke7_ecp384"), "{text}");
}

// [9370:2.2.1-3] [9370:2.2.1-4] [9370:2.2.1-5]
#[test]
fn of_each_type_one_method_is_chosen_and_none_twice() {
    let both = with("ke1_mlkem768-ke1_mlkem512-ke2_mlkem768-ke2_ecp384");
    assert_eq!(meet(&both, &both).unwrap(), "-ke1_mlkem768-ke2_ecp384");
    // The method of the first key exchange counts.
    let again = with("ke1_x25519-ke1_none");
    assert_eq!(meet(&again, &again).unwrap(), "");
    assert!(meet(&with("ke1_x25519"), &with("ke1_x25519")).is_err());
}

#[test]
fn a_type_that_one_side_lacks_needs_a_none() {
    let (plain, must, may) = (ike(BASE), with("ke1_mlkem768"), with("ke1_mlkem768-ke1_none"));
    assert!(meet(&plain, &must).is_err());
    let why = meet(&must, &plain).unwrap_err();
    assert_eq!(why.allowed, must.to_string());
    assert_eq!(meet(&plain, &may).unwrap(), "");
    assert_eq!(meet(&may, &plain).unwrap(), "");
    assert_eq!(meet(&must, &may).unwrap(), "-ke1_mlkem768");
    assert_eq!(meet(&may, &must).unwrap(), "-ke1_mlkem768");
    assert!(meet(&with("ke1_mlkem768"), &with("ke1_mlkem512")).is_err());
}

#[test]
fn the_answer_names_none_where_it_was_offered_and_repeats_what_was_chosen() {
    let offered = offer_ike(&[with("ke1_mlkem768-ke1_none-ke2_ecp384")], &[]);
    let ours = [with("ke2_ecp384")];
    let reply = choose_ike(&ours, &offered, &[]).unwrap().reply;
    let additional: Vec<_> =
        reply.proposals[0].transforms.iter().filter(|t| t.kind.0 >= 6).map(|t| (t.kind.0, t.id)).collect();
    assert_eq!(additional, [(6, 0), (7, 20)]);
}

#[test]
fn an_answer_that_was_not_offered_is_refused() {
    let ours = [with("ke1_mlkem768")];
    let answer = |words: &str| offer_ike(&[with(words)], &[]);
    assert!(accept_ike(&ours, &answer("ke1_mlkem768")).is_ok());
    assert!(accept_ike(&ours, &answer("ke1_mlkem512")).is_err());
    assert!(accept_ike(&ours, &answer("ke2_mlkem768")).is_err());
    assert!(accept_ike(&ours, &answer("ke1_none")).is_err());
    assert!(accept_ike(&ours, &answer("ke1_mlkem768-ke1_mlkem512")).is_err(), "two of one type");
    assert!(accept_ike(&ours, &offer_ike(&[ike(BASE)], &[])).is_err(), "a downgrade");
}

// [9370:2.2.1-2]
#[test]
fn without_ike_intermediate_only_what_needs_none_is_left() {
    let list = [with("ke1_mlkem768"), with("ke1_mlkem768-ke1_none"), ike(BASE)];
    assert_eq!(IkeProposal::without_intermediate(&list), [ike(BASE), ike(BASE)]);
    assert_eq!(list[0].alone(), ike(BASE));
}

fn any_additional() -> impl Strategy<Value = IkeProposal> {
    let method = prop_oneof![Just(None), proptest::sample::select(KeMethod::ALL).prop_map(Some)];
    let list = proptest::collection::vec(method, 0..3);
    proptest::collection::vec(list, 7).prop_map(|lists| {
        let mut proposal = ike(BASE);
        for (to, mut from) in proposal.additional.iter_mut().zip(lists) {
            from.dedup();
            *to = from;
        }
        proposal
    })
}

proptest! {
    #[test]
    fn text_and_wire_round_trip(proposal in any_additional()) {
        prop_assert_eq!(IkeProposal::read(&proposal.to_string(), true).unwrap(), proposal.clone());
        let sa: SecurityAssociation = offer_ike(&[proposal], &[]);
        let mut body = Vec::new();
        Payload::Sa(sa.clone()).emit(&mut body).unwrap();
        let raw = adit_isakmp::payload::RawPayload {
            kind: PayloadType::SA,
            next: PayloadType::NONE,
            critical: false,
            at: 0,
            body: &body,
        };
        prop_assert_eq!(Payload::parse(&raw), Ok(Payload::Sa(sa)));
    }

    #[test]
    fn what_is_chosen_was_allowed_by_both_and_is_nothing_twice(a in any_additional(), b in any_additional()) {
        let offered = offer_ike(core::slice::from_ref(&b), &[]);
        if let Ok(chosen) = choose_ike(core::slice::from_ref(&a), &offered, &[]) {
            let mut methods: Vec<_> = chosen.suite.additional.methods().chain([chosen.suite.ke]).collect();
            for method in chosen.suite.additional.methods() {
                prop_assert!(a.additional.iter().flatten().any(|m| *m == Some(method)));
                prop_assert!(b.additional.iter().flatten().any(|m| *m == Some(method)));
            }
            let before = methods.len();
            methods.sort_unstable();
            methods.dedup();
            prop_assert_eq!(methods.len(), before);
            prop_assert_eq!(accept_ike(core::slice::from_ref(&b), &chosen.reply).unwrap().suite, chosen.suite);
        }
    }
}
