use adit_auth::eap::Method;
use adit_core::{Failure, FailureCode, Step};

use super::pair::{End, Pair, client, server};
use crate::wire::Protocol;
use crate::{AuthMethod, EapConfig, Input, LinkConfig, Mppe, MppeWish};

fn by(method: AuthMethod) -> Pair {
    let mppe = if method.makes_keys() { Mppe::REQUIRED } else { Mppe::OFF };
    Pair::new(
        LinkConfig { prove: vec![method], mppe, ..client() },
        LinkConfig { demand: vec![method], mppe, ..server() },
    )
}

const ALL: [AuthMethod; 5] =
    [AuthMethod::Eap, AuthMethod::MsChapV2, AuthMethod::MsChapV1, AuthMethod::ChapMd5, AuthMethod::Pap];

/// [1994:4.1-2] [1661:3.5-2]
#[test]
fn every_method_lets_the_right_password_in() {
    for method in ALL {
        let mut pair = by(method);
        pair.up();
        assert!(
            pair.a.established.is_some() && pair.b.established.is_some(),
            "{method}: {:?}",
            pair.a.closed
        );
    }
}

#[test]
fn every_method_keeps_a_wrong_password_out_and_says_so() {
    for method in ALL {
        for known in [vec![("ann", "other")], vec![("bob", "secret")]] {
            let mut pair = by(method);
            pair.b.known = known;
            pair.a.passwords = ["secret"; 9].into();
            pair.up();
            pair.run(90);
            assert_eq!(pair.a.failure().code, FailureCode::AuthenticationFailed, "{method}");
            assert_eq!(pair.b.failure().code, FailureCode::AuthenticationFailed, "{method}");
            assert!(pair.b.kernel.is_empty(), "{method}: {:?}", pair.b.kernel);
        }
    }
}

#[test]
fn what_tls_finds_wrong_ends_the_link_with_its_reason() {
    for (peer, server_does) in
        [(Method::PEAP, vec![Method::PEAP]), (Method::TLS, vec![Method::PEAP, Method::TLS])]
    {
        let mut pair = by(AuthMethod::Eap);
        let config = |config: LinkConfig, methods| LinkConfig { eap: EapConfig::of(methods), ..config };
        let (a, b) = (client(), LinkConfig { demand: vec![AuthMethod::Eap], ..server() });
        pair.a = End::new(config(a, vec![peer]), 1);
        pair.b = End::new(config(b, server_does), 2);
        pair.up();
        let why = pair.a.failure();
        assert_eq!((why.code, &*why.text), (FailureCode::CertificateUntrusted, "the server"), "{peer}");
        assert!(pair.b.kernel.is_empty() && pair.b.closed.is_some(), "{peer}");
    }
}

/// Servers say that the password was wrong, offer another try, and hang up: before a file, let alone a person, has answered.
#[test]
fn a_server_that_refuses_and_hangs_up_has_said_why() {
    for (method, hangs_up) in
        [AuthMethod::Eap, AuthMethod::MsChapV2].into_iter().flat_map(|m| [(m, true), (m, false)])
    {
        let mut pair = by(method);
        pair.a.slow = true;
        pair.a.passwords = ["typo"].into();
        pair.up();
        let to_b = pair.a.answer_late(pair.now);
        pair.exchange(Vec::new(), to_b);
        assert!(pair.a.closed.is_none(), "{method}: {:?}", pair.a.closed);
        let to_a = pair.b.handle(pair.now, Input::Close);
        if hangs_up {
            pair.exchange(to_a, Vec::new());
            pair.run(10);
        } else {
            let why = Failure::new(FailureCode::PeerLost, Step::Call, "the call is over");
            pair.a.handle(pair.now, Input::Down(why));
        }
        assert_eq!(pair.a.failure().code, FailureCode::AuthenticationFailed, "{method}");
    }
}

#[test]
fn a_second_try_gets_a_new_challenge() {
    let mut pair = by(AuthMethod::MsChapV2);
    pair.a.passwords = ["typo", "secret"].into();
    pair.up();
    assert!(pair.a.established.is_some());
    let responses = pair.a.codes(Protocol::CHAP);
    assert_eq!(responses, [2, 2]);
}

#[test]
fn an_expired_password_is_changed() {
    let mut pair = by(AuthMethod::MsChapV2);
    pair.b.expired = true;
    pair.a.passwords = ["secret", "new one"].into();
    pair.up();
    assert!(pair.a.established.is_some() && pair.b.established.is_some(), "{:?}", pair.a.closed);
    assert_eq!(pair.b.stored.len(), 1);
    assert!(pair.b.stored[0].1.equals(b"new one"));
    assert_eq!(pair.a.codes(Protocol::CHAP), [2, 7]);
}

#[test]
fn both_sides_may_prove_themselves() {
    let mut pair = Pair::new(
        LinkConfig { demand: vec![AuthMethod::MsChapV2], ..client() },
        LinkConfig { prove: vec![AuthMethod::MsChapV2], name: "ann".into(), ..server() },
    );
    pair.up();
    assert!(pair.a.established.is_some(), "{:?}", pair.a.closed);
}

/// [1661:6.2-2]
#[test]
fn a_fallback_goes_to_what_both_take_and_never_below() {
    let mut pair = Pair::new(
        LinkConfig { prove: vec![AuthMethod::ChapMd5, AuthMethod::Pap], mppe: Mppe::OFF, ..client() },
        LinkConfig {
            demand: vec![AuthMethod::Eap, AuthMethod::MsChapV2, AuthMethod::ChapMd5],
            mppe: Mppe::OFF,
            ..server()
        },
    );
    pair.up();
    assert!(pair.a.established.is_some(), "{:?}", pair.a.closed);
    assert!(!pair.a.codes(Protocol::CHAP).is_empty());

    // The only thing that both could is not what the server takes: no password leaves.
    let mut pair = Pair::new(
        LinkConfig { prove: vec![AuthMethod::Pap], mppe: Mppe::OFF, ..client() },
        LinkConfig { demand: vec![AuthMethod::MsChapV2, AuthMethod::ChapMd5], mppe: Mppe::OFF, ..server() },
    );
    pair.up();
    pair.run(60);
    assert!(pair.a.codes(Protocol::PAP).is_empty());
    assert_eq!(pair.b.failure().code, FailureCode::AuthenticationFailed);
}

#[test]
fn without_keys_there_is_no_required_encryption() {
    let mut pair = Pair::new(
        LinkConfig { prove: vec![AuthMethod::ChapMd5], mppe: Mppe::OFF, ..client() },
        LinkConfig { demand: vec![AuthMethod::ChapMd5], ..server() },
    );
    assert_eq!(Mppe::REQUIRED.wish, MppeWish::Require);
    pair.up();
    assert_eq!(pair.b.failure().code, FailureCode::ProposalMismatch);
}
