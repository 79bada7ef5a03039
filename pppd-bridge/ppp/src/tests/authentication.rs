use adit_auth::eap::Method;
use adit_core::{Failure, FailureCode, Instant, Step};

use super::pair::{End, Pair, client, server};
use crate::wire::{Code, Packet, Protocol, emit_frame, emit_packet, split_frame};
use crate::{AuthMethod, EapConfig, Input, Link, LinkConfig, Mppe, MppeWish};

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

/// pppd, as a server by EAP-MSCHAPv2, goes on without EAP-Success; and that may be lost anyway (RFC 3748 §3.4).
#[test]
fn a_server_that_goes_on_has_let_us_in() {
    let mut pair = by(AuthMethod::Eap);
    let mut to_b = pair.a.handle(pair.now, Input::Up);
    let mut to_a = pair.b.handle(pair.now, Input::Up);
    let mut lost = 0;
    for _ in 0..200 {
        if let Some(frame) = to_b.pop() {
            to_a.splice(..0, pair.b.handle(pair.now, Input::Frame(frame)));
        } else if let Some(frame) = to_a.pop() {
            let success = matches!(split_frame(&frame), Ok((Protocol::EAP, [3, ..])));
            lost += u32::from(success);
            if !success {
                to_b.splice(..0, pair.a.handle(pair.now, Input::Frame(frame)));
            }
        }
    }
    assert_eq!(lost, 1);
    assert!(pair.a.established.is_some() && pair.b.established.is_some(), "{:?}", pair.a.closed);
}

/// EAP that has ended answers nobody: a Request is no Challenge of CHAP's, for whose answer the password would be hashed by what
/// the peer has chosen. Nor in the process that goes on with the link.
#[test]
fn a_request_after_eap_has_ended_gets_no_answer() {
    let config = LinkConfig { prove: vec![AuthMethod::Eap], ..client() };
    let mut pair = by(AuthMethod::Eap);
    pair.up();
    let octets = pair.a.link.snapshot().expect("it stands");
    let mut next = End::new(config.clone(), 3);
    next.link = Link::restore(pair.now, config, &octets).expect("it can be gone on with").0;
    for mut end in [pair.a, next] {
        (end.slow, end.sent) = (true, Vec::new());
        for data in [&[1][..], &[1, 0, 0], &[4, 4, 1, 2, 3, 4, b'v'], &[26, 1, 9, 0, 22]] {
            let request = emit_packet(Code(1), 9, &[data]);
            end.handle(pair.now, Input::Frame(emit_frame(Protocol::EAP, &request)));
            end.passwords = ["secret"].into();
            end.answer_late(pair.now);
            assert!(end.sent.is_empty(), "{data:?}: {:?}", end.sent);
            assert_eq!(end.passwords.len(), 1, "{data:?}: it has asked for the password");
        }
        assert!(end.closed.is_none());
    }
}

/// Nobody else comes in by going on.
#[test]
fn who_goes_on_without_a_proof_has_let_nobody_in() {
    for method in ALL {
        let mut end = End::new(LinkConfig { prove: vec![method], mppe: Mppe::OFF, ..client() }, 1);
        let sent = end.handle(Instant::ZERO, Input::Up);
        let request = Packet::parse(split_frame(&sent[0]).unwrap().1).unwrap();
        let ack = emit_packet(Code::CONFIGURE_ACK, request.identifier, &[request.data]);
        let option = method.option();
        let auth = [&[3, u8::try_from(option.len()).unwrap() + 2], option].concat();
        let theirs = emit_packet(Code::CONFIGURE_REQUEST, 7, &[&auth]);
        let ipcp = emit_packet(Code::CONFIGURE_REQUEST, 8, &[&[3, 6, 10, 9, 0, 1]]);
        for (protocol, packet) in [
            (Protocol::LCP, &ack),
            (Protocol::LCP, &theirs),
            (Protocol::IPCP, &ipcp),
            (Protocol::IPCP, &ipcp),
        ] {
            end.handle(Instant::ZERO, Input::Frame(emit_frame(protocol, packet)));
        }
        assert!(end.kernel.is_empty() && end.codes(Protocol::IPCP).is_empty(), "{method}: {:?}", end.kernel);
    }
}

/// Most peers hang up when they are refused, and do not try again.
#[test]
fn who_is_refused_and_goes_went_because_of_it() {
    let mut pair = by(AuthMethod::MsChapV2);
    pair.b.known = vec![("ann", "other")];
    pair.a.slow = true;
    pair.up();
    let to_b = pair.a.answer_late(pair.now);
    pair.exchange(Vec::new(), to_b);
    assert!(pair.b.closed.is_none());
    let to_b = pair.a.handle(pair.now, Input::Close);
    pair.exchange(Vec::new(), to_b);
    pair.run(10);
    assert_eq!(pair.b.failure().code, FailureCode::AuthenticationFailed);
}

/// [`crate::Ask::EapPacket`]: our end understands nothing of the method, and lets in whom the server lets in.
#[test]
fn another_server_may_decide_by_eap() {
    use adit_auth::eap::{Code as EapCode, Packet as EapPacket, emit};
    for (answer, right) in [(&b"right"[..], true), (b"wrong", false)] {
        let eap = EapConfig { pass_through: true, ..EapConfig::default() };
        let mut pair = Pair::new(
            client(),
            LinkConfig { demand: vec![AuthMethod::Eap], eap, mppe: Mppe::OFF, ..server() },
        );
        let to_b = pair.a.handle(pair.now, Input::Up);
        let to_a = pair.b.handle(pair.now, Input::Up);
        // The client's own words of EAP are lost; a test speaks for it.
        let (mut to_a, mut to_b) = (to_a, to_b);
        let mut said = Vec::new();
        while !to_a.is_empty() || !to_b.is_empty() {
            let not_eap = |f: &Vec<u8>| !matches!(split_frame(f), Ok((Protocol::EAP, _)));
            let (lcp, eap): (Vec<_>, Vec<_>) = std::mem::take(&mut to_a).into_iter().partition(not_eap);
            for frame in lcp {
                to_b.extend(pair.a.handle(pair.now, Input::Frame(frame)).into_iter().filter(not_eap));
            }
            for frame in eap {
                let request = EapPacket::parse(split_frame(&frame).unwrap().1).unwrap();
                said.push(request.code);
                let (method, data) = match request.method {
                    Some(Method::IDENTITY) => (Method::IDENTITY, &b"ann"[..]),
                    Some(method) => (method, answer),
                    None => continue,
                };
                let response = emit(EapCode::Response, request.identifier, Some(method), data);
                // Another identifier answers nothing; what comes twice is asked about once.
                let odd = emit(EapCode::Response, request.identifier ^ 1, Some(method), b"right");
                to_b.extend([odd, response.clone(), response].map(|p| emit_frame(Protocol::EAP, &p)));
            }
            for frame in std::mem::take(&mut to_b) {
                to_a.extend(pair.b.handle(pair.now, Input::Frame(frame)));
            }
        }
        assert_eq!(said.len(), 3, "{said:?}");
        match right {
            true => assert_eq!(pair.b.kernel, ["unit for ann"]),
            false => {
                assert!(pair.b.kernel.is_empty());
                pair.run(10);
                assert_eq!(pair.b.failure().text, "RADIUS: no");
            }
        }
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
