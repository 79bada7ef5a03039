//! Proposals of IKEv1: what Windows, Apple's systems, Android and RouterOS offer, what is chosen, and what is refused.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests fail as tests do")]

use core::time::Duration;

use adit_isakmp::api::ChildMode;
use adit_isakmp::payload::{Attribute, AttributeValue, Protocol};
use adit_isakmp::proposal::{EspProposal, IkeProposal};
use adit_isakmp::v1::proposal::{
    AuthMethod, Encapsulation, accept_esp, accept_ike, choose_esp, choose_ike, offer_esp, offer_ike, pfs,
};
use adit_isakmp::v1::{Proposal, SecurityAssociation, Transform};

const HOUR: Duration = Duration::from_hours(1);
const TRANSPORT: (ChildMode, Encapsulation) = (ChildMode::Transport, Encapsulation::Plain);

fn short(kind: u16, value: u16) -> Attribute {
    Attribute { kind, value: AttributeValue::Short(value) }
}

/// A transform of phase 1: cipher, key length (0: none), hash, group; a PSK, eight hours.
fn ike_transform(number: u8, [cipher, bits, hash, group]: [u16; 4]) -> Transform {
    let mut attributes = vec![short(1, cipher)];
    if bits > 0 {
        attributes.push(short(14, bits));
    }
    let seconds = AttributeValue::Long(28_800_u32.to_be_bytes().to_vec());
    attributes.extend([short(2, hash), short(4, group), short(3, 1), short(11, 1)]);
    attributes.push(Attribute { kind: 12, value: seconds });
    Transform { number, id: 1, attributes }
}

fn ike_offer(transforms: &[[u16; 4]]) -> SecurityAssociation {
    let transforms = (1..).zip(transforms).map(|(n, t)| ike_transform(n, *t)).collect();
    let proposal = Proposal { number: 1, protocol: Protocol::IKE, spi: Vec::new(), transforms };
    SecurityAssociation { proposals: vec![proposal] }
}

fn ike(text: &str) -> Vec<IkeProposal> {
    text.split(", ").map(|p| IkeProposal::read(p, true).unwrap()).collect()
}

fn esp(text: &str) -> Vec<EspProposal> {
    text.split(", ").map(|p| EspProposal::read(p, true).unwrap()).collect()
}

/// Published offers, and what comes of them: by our defaults, and with `legacy = true`.
#[test]
fn published_offers_are_met() {
    let windows: &[[u16; 4]] =
        &[[7, 256, 2, 20], [7, 128, 2, 19], [7, 256, 2, 14], [5, 0, 2, 14], [5, 0, 2, 2]];
    let apple: &[[u16; 4]] =
        &[[7, 256, 4, 14], [7, 256, 2, 14], [7, 256, 1, 14], [7, 256, 4, 5], [7, 256, 2, 2], [5, 0, 2, 2]];
    let android: &[[u16; 4]] =
        &[[7, 256, 5, 2], [7, 256, 2, 2], [7, 256, 1, 2], [5, 0, 2, 2], [5, 0, 1, 2], [1, 0, 2, 2]];
    let routeros: &[[u16; 4]] = &[[7, 256, 2, 2], [7, 128, 2, 2], [5, 0, 2, 2]];
    let strict = IkeProposal::defaults();
    let legacy: Vec<_> = [strict.clone(), IkeProposal::legacy_defaults()].concat();
    for (name, offer, safe, old) in [
        ("Windows", windows, None, "aes256-sha1-prfsha1-ecp384"),
        ("Apple", apple, Some("aes256-sha256-prfsha256-modp2048"), "aes256-sha256-prfsha256-modp2048"),
        ("Android", android, None, "aes256-sha384-prfsha384-modp1024"),
        ("RouterOS", routeros, None, "aes256-sha1-prfsha1-modp1024"),
    ] {
        let sa = ike_offer(offer);
        let chosen = choose_ike(&strict, &[AuthMethod::Psk], &sa);
        assert_eq!(chosen.as_ref().ok().map(|c| c.suite.to_string()).as_deref(), safe, "{name}");
        // Windows' first has nothing but SHA-1 in it that our defaults lack.
        if let Err(no) = chosen {
            assert!(no.legacy, "{name}");
        }
        let chosen = choose_ike(&legacy, &[AuthMethod::Psk], &sa).unwrap();
        assert_eq!(chosen.suite.to_string(), old, "{name}");
        assert_eq!(chosen.life, Some(Duration::from_hours(8)));
        // [2408:4.2-1] [2408:3.6-1]
        let [answer] = &chosen.answer.proposals[..] else { panic!("not one proposal") };
        assert_eq!(answer.transforms.len(), 1);
        assert!(sa.proposals[0].transforms.contains(&answer.transforms[0]));
    }
}

/// SHA-1 is what `legacy = true` allows; what our defaults have, or nobody has, it is no cure for.
#[test]
fn legacy_is_named_where_it_helps() {
    let offers = |text: &str| offer_esp(&esp(text), 0x1234, TRANSPORT, HOUR).unwrap();
    let no = |ours: &str, offered: &str| choose_esp(&esp(ours), TRANSPORT, &offers(offered)).unwrap_err();
    assert!(no("aes256-sha256", "aes256-sha1").legacy && no("aes256-sha256", "3des-sha1").legacy);
    assert!(!no("aes256-sha256", "aes128-sha256").legacy);
    let strict = ike("aes256-sha256-modp2048");
    let of = |offer: &[[u16; 4]]| choose_ike(&strict, &[AuthMethod::Psk], &ike_offer(offer)).unwrap_err();
    assert!(of(&[[7, 256, 2, 14]]).legacy && of(&[[7, 256, 4, 2]]).legacy);
    assert!(!of(&[[7, 128, 4, 14]]).legacy && !of(&[[1, 0, 1, 1]]).legacy);
}

// [2409:4-1]
#[test]
fn des_and_md5_and_modp768_are_named_and_refused() {
    let sa = ike_offer(&[[1, 0, 1, 1], [1, 0, 2, 2], [5, 0, 1, 2], [6, 0, 2, 2]]);
    let all = [IkeProposal::defaults(), IkeProposal::legacy_defaults()].concat();
    let no = choose_ike(&all, &[AuthMethod::Psk], &sa).unwrap_err();
    let offered = "des-md5-modp768-psk, des-sha1-modp1024-psk, 3des-md5-modp1024-psk, cast-sha1-modp1024-psk";
    assert_eq!(no.offered, offered);
    assert!(!no.legacy);
}

#[test]
fn an_authentication_that_is_not_allowed_is_none() {
    let sa = ike_offer(&[[7, 256, 4, 14]]);
    let no = choose_ike(&ike("aes256-sha256-modp2048"), &[AuthMethod::RsaSignatures], &sa).unwrap_err();
    assert_eq!(no.allowed, "aes256-sha256-modp2048 (authentication: rsasig)");
}

#[test]
fn our_order_counts() {
    let ours = ike("aes128-sha1-modp2048, aes256-sha256-modp2048");
    let sa = ike_offer(&[[7, 256, 4, 14], [7, 128, 2, 14]]);
    let chosen = choose_ike(&ours, &[AuthMethod::Psk], &sa).unwrap();
    assert_eq!(chosen.suite.to_string(), "aes128-sha1-prfsha1-modp2048");
}

#[test]
fn what_we_offer_we_accept_and_nothing_else() {
    let ours = ike("aes256-sha256-modp2048-ecp256, 3des-sha1-modp1024");
    let offer = offer_ike(&ours, AuthMethod::Psk, HOUR, None).unwrap();
    let words: Vec<_> = offer.proposals[0].transforms.iter().map(|t| t.number).collect();
    assert_eq!(words, [1, 2, 3]);
    for transform in &offer.proposals[0].transforms {
        let answer = Proposal { transforms: vec![transform.clone()], ..offer.proposals[0].clone() };
        let sa = SecurityAssociation { proposals: vec![answer] };
        assert_eq!(accept_ike(&offer, &sa).unwrap().life, Some(HOUR));
    }
    let foreign = ike_offer(&[[7, 128, 4, 14]]);
    assert_eq!(accept_ike(&offer, &foreign), Err("its transform is none of those that were offered"));
    assert_eq!(accept_ike(&offer, &offer), Err("it has not one transform"));
    assert_eq!(accept_ike(&offer, &SecurityAssociation::default()), Err("it has not one proposal"));
    // Nothing of IKEv2's own.
    assert_eq!(offer_ike(&ike("aes256gcm16-prfsha256-x25519"), AuthMethod::Psk, HOUR, None), None);
}

// [3947:5.1-1] [2409:5.5-2]
#[test]
fn phase_two_has_one_group_and_the_mode_of_its_nat() {
    let ours = esp("aes256-sha256-modp2048, aes128-sha1-modp2048, aes128-sha1");
    assert_eq!(pfs(&ours).map(|ke| ke.to_string()).as_deref(), Some("modp2048"));
    for (how, number) in
        [(Encapsulation::Plain, 2), (Encapsulation::Udp, 4), (Encapsulation::UdpDraft, 61444)]
    {
        let offer = offer_esp(&ours, 0x1234, (ChildMode::Transport, how), HOUR).unwrap();
        assert_eq!(offer.proposals[0].transforms.len(), 2);
        assert!(offer.proposals[0].transforms.iter().all(|t| t.number_of(4) == Some(number)));
        let chosen = choose_esp(&ours, (ChildMode::Transport, how), &offer).unwrap();
        assert_eq!((chosen.suite.to_string().as_str(), chosen.spi), ("aes256-sha256-modp2048", 0x1234));
        assert_eq!(
            accept_esp(&offer, (ChildMode::Transport, how), &chosen.answer).unwrap().suite,
            chosen.suite
        );
        // The other mode, and the mode of another kind of NAT, are not what was asked for.
        assert!(choose_esp(&ours, (ChildMode::Tunnel, how), &offer).is_err());
    }
}

#[test]
fn an_spi_that_none_can_have_and_a_bundle_are_not_chosen() {
    let ours = esp("aes128-sha1");
    for spi in [0_u32, 255] {
        let offer = offer_esp(&ours, spi, TRANSPORT, HOUR).unwrap();
        assert!(choose_esp(&ours, TRANSPORT, &offer).is_err());
    }
    let mut offer = offer_esp(&ours, 256, TRANSPORT, HOUR).unwrap();
    assert!(choose_esp(&ours, TRANSPORT, &offer).is_ok());
    // ESP and AH together, under one number.
    let ah = Proposal { protocol: Protocol::AH, ..offer.proposals[0].clone() };
    offer.proposals.push(ah);
    assert!(choose_esp(&ours, TRANSPORT, &offer).is_err());
}
