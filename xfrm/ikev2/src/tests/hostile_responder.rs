//! An initiator against a server that has the keys of the IKE_SA and means it badly.

use adit_isakmp::payload::{Authentication, Eap, Identification, Notify, NotifyType, TrafficSelectors};
use adit_isakmp::proposal::{choose_ike, offer_esp, offer_ike};
use adit_isakmp::{ExchangeType, Message, Payload, PayloadType};

use super::script::{Peer, init_error};
use super::*;
use crate::state::Role;

/// A client that has sent IKE_AUTH to a scripted server.
fn authenticating() -> (Node, Peer, Transmit) {
    let mut client = Node::client();
    client.dial(Instant::ZERO, config());
    let (peer, answer) = Peer::answer_init(&client.one(), |_| {});
    client.give(Instant::ZERO, answer);
    let request = client.one();
    (client, peer, request)
}

/// What becomes of a client whose server answers IKE_AUTH like this.
fn answered(edit: impl FnOnce(&mut Vec<Payload>)) -> (Node, Peer) {
    let (mut client, mut peer, request) = authenticating();
    let answer = peer.answer_auth(&request, edit);
    client.give(Instant::ZERO, answer);
    (client, peer)
}

/// The client is not up, and has told the server so by `kind`, or by DELETE.
fn turned_down(mut client: Node, mut peer: Peer, notify: Option<NotifyType>) -> Failure {
    assert!(client.established().is_none());
    let told = peer.open(&client.one());
    match notify {
        Some(kind) => assert!(told.notify(kind).is_some(), "{told:?}"),
        None => assert!(matches!(told.payloads[..], [Payload::Delete(_)]), "{told:?}"),
    }
    let done = peer.seal(ExchangeType::INFORMATIONAL, 2, true, &[]);
    client.give(Instant::ZERO, done);
    assert!(client.endpoint.is_empty());
    client.failure().clone()
}

#[test]
fn the_script_itself_gets_in() {
    let (client, _) = answered(|_| {});
    let established = client.established().unwrap();
    assert_eq!(established.local_ts, [ts("10.9.0.7/32")]);
    assert_eq!(established.lease.v4, lease().v4);
    assert_eq!(client.children[0].outbound_spi, 0x0909_0909);
}

// [7296:1.2-3]
#[test]
fn another_identity_is_refused_however_well_it_is_proven() {
    let (mut client, mut peer, request) = authenticating();
    peer.id = name("evil.example.com");
    let answer = peer.answer_auth(&request, |_| {});
    client.give(Instant::ZERO, answer);
    let failure = turned_down(client, peer, Some(NotifyType::AUTHENTICATION_FAILED));
    assert_eq!(failure.text, "the server calls itself evil.example.com, not vpn.example.com");
}

#[test]
fn an_id_is_proven_as_it_was_sent_with_its_reserved_bytes() {
    let (mut client, mut peer, request) = authenticating();
    let body = [&[2, 0, 0xff, 0][..], b"vpn.example.com"].concat();
    let auth = peer.auth_over(Role::Responder, &body);
    let answer = peer.answer_auth(&request, |p| {
        p[0] = Payload::Unknown { kind: PayloadType::ID_R, critical: false, body };
        p[1] = auth;
    });
    client.give(Instant::ZERO, answer);
    assert!(client.established().is_some());
}

// [7296:3.10.1-1]
#[test]
fn an_unknown_error_fails_the_child_whatever_stands_beside_it() {
    let (client, peer) = answered(|p| {
        p.push(Payload::Notify(Notify::new(NotifyType(8192), [])));
    });
    turned_down(client, peer, None);
}

// [7296:1.2-2]
#[test]
fn a_server_without_the_key_is_refused() {
    let (mut client, mut peer, request) = authenticating();
    peer.psk = b"another key";
    let answer = peer.answer_auth(&request, |_| {});
    client.give(Instant::ZERO, answer);
    let failure = turned_down(client, peer, Some(NotifyType::AUTHENTICATION_FAILED));
    assert_eq!(failure.code, FailureCode::AuthenticationFailed);
}

#[test]
fn our_own_auth_sent_back_proves_nothing() {
    let (mut client, mut peer, request) = authenticating();
    let ours = peer.open(&request);
    let auth = ours.payloads.iter().find(|p| matches!(p, Payload::Auth(_))).unwrap().clone();
    let answer = peer.answer_auth(&request, |payloads| payloads[1] = auth);
    client.give(Instant::ZERO, answer);
    turned_down(client, peer, Some(NotifyType::AUTHENTICATION_FAILED));
}

#[test]
fn wider_traffic_selectors_than_proposed_are_refused() {
    let mut client = Node::client();
    let narrow = InitiatorConfig { remote_ts: vec![ts("10.0.0.0/8")], ..config() };
    client.dial(Instant::ZERO, narrow);
    let (mut peer, answer) = Peer::answer_init(&client.one(), |_| {});
    client.give(Instant::ZERO, answer);
    let answer = peer.answer_auth(&client.one(), |_| {});
    client.give(Instant::ZERO, answer);
    assert!(client.children.is_empty());
    let failure = turned_down(client, peer, None);
    assert_eq!(failure.code, FailureCode::TrafficSelectors);
}

#[test]
fn selectors_that_leave_the_address_out_are_refused() {
    let (client, peer) = answered(|p| p[4] = Payload::TsI([ts("10.8.0.0/16")].into_iter().collect()));
    assert_eq!(turned_down(client, peer, None).code, FailureCode::TrafficSelectors);
    let (client, peer) = answered(|p| p[4] = Payload::TsI(TrafficSelectors::default()));
    assert_eq!(turned_down(client, peer, None).code, FailureCode::TrafficSelectors);
}

// [7296:3.3.6-5]
#[test]
fn esp_algorithms_that_were_not_offered_are_refused() {
    for other in ["aes128gcm16", "aes256-sha256", "chacha20poly1305"] {
        let reply = offer_esp(&[other.parse().unwrap()], 0x0909_0909, false);
        let (client, peer) = answered(|p| p[3] = Payload::Sa(reply));
        assert!(client.children.is_empty());
        assert_eq!(turned_down(client, peer, None).code, FailureCode::PeerMisbehaved);
    }
}

#[test]
fn reserved_spis_are_refused() {
    for spi in [0, 255] {
        let reply = offer_esp(&["aes256gcm16".parse().unwrap()], spi, false);
        let (client, peer) = answered(|p| p[3] = Payload::Sa(reply));
        turned_down(client, peer, None);
    }
}

#[test]
fn every_payload_must_be_there_and_only_once() {
    for index in [0, 1, 3, 4, 5] {
        let (client, _) = answered(|p| drop(p.remove(index)));
        assert!(client.established().is_none() && client.children.is_empty(), "without {index}");
        let (client, _) = answered(|p| p.insert(index, p[index].clone()));
        assert!(client.established().is_none() && client.children.is_empty(), "twice {index}");
    }
}

#[test]
fn no_address_is_no_tunnel() {
    let (client, peer) = answered(|p| drop(p.remove(2)));
    assert_eq!(turned_down(client, peer, None).code, FailureCode::NoAddress);
}

// [7296:2.5-7] [7296:2.5-8] [7296:2.5-9] [7296:4-2] [7296:4-3]
#[test]
fn an_unknown_critical_payload_is_refused_and_another_ignored() {
    let unknown = |critical| Payload::Unknown { kind: PayloadType(200), critical, body: vec![1, 2, 3] };
    let (client, _) = answered(|p| p.push(unknown(false)));
    assert!(client.established().is_some());
    let (client, peer) = answered(|p| p.push(unknown(true)));
    turned_down(client, peer, None);
}

#[test]
fn a_server_that_wants_eap_is_explained() {
    let eap = Payload::Eap(Eap { code: 1, identifier: 1, data: vec![1] });
    let (client, peer) = answered(|p| *p = vec![p[0].clone(), eap]);
    let failure = turned_down(client, peer, None);
    assert!(failure.text.contains("EAP"), "{failure}");
}

// [7296:2.21.2-2]
#[test]
fn an_error_instead_of_a_child_closes_what_is_up() {
    let cases = [
        (NotifyType::TS_UNACCEPTABLE, FailureCode::TrafficSelectors),
        (NotifyType::SINGLE_PAIR_REQUIRED, FailureCode::TrafficSelectors),
        (NotifyType::NO_PROPOSAL_CHOSEN, FailureCode::ProposalMismatch),
        (NotifyType::INTERNAL_ADDRESS_FAILURE, FailureCode::NoAddress),
        (NotifyType::FAILED_CP_REQUIRED, FailureCode::NoAddress),
        (NotifyType::TEMPORARY_FAILURE, FailureCode::PeerBusy),
    ];
    for (kind, code) in cases {
        let (client, peer) = answered(|p| {
            p.truncate(2);
            // A status says nothing about what failed.
            p.push(Payload::Notify(Notify::new(NotifyType::MOBIKE_SUPPORTED, [])));
            p.push(Payload::Notify(Notify::new(kind, [])));
        });
        let failure = turned_down(client, peer, None);
        assert_eq!((failure.code, failure.peer.as_deref()), (code, kind.name()));
    }
}

#[test]
fn a_refusal_is_told_with_the_identities() {
    let (client, _) = answered(|p| {
        *p = vec![Payload::Notify(Notify::new(NotifyType::AUTHENTICATION_FAILED, []))];
    });
    let failure = client.failure();
    assert_eq!(failure.peer.as_deref(), Some("AUTHENTICATION_FAILED"));
    let all = format!("{} {}", failure.text, failure.hint.as_deref().unwrap());
    assert!(all.contains("ann@example.com") && all.contains("vpn.example.com"), "{all}");
    assert!(client.endpoint.is_empty());
}

#[test]
fn a_windows_error_number_is_named() {
    let (client, _) = answered(|p| {
        *p = vec![Payload::Notify(Notify::new(NotifyType::MS_STATUS, 13801_u32.to_be_bytes()))];
    });
    assert_eq!(client.failure().peer.as_deref(), Some("MS_STATUS 13801"));
    for number in [13801_u32, 13806, 13816, 13863, 13868] {
        let (client, _) = answered(|p| {
            *p = vec![Payload::Notify(Notify::new(NotifyType::MS_STATUS, number.to_be_bytes()))];
        });
        let failure = client.failure();
        assert!(failure.text.contains(&number.to_string()) && failure.hint.is_some(), "{failure}");
    }
}

// [7296:4-10]
#[test]
fn a_psk_server_may_not_come_with_a_signature() {
    let (mut client, mut peer, request) = authenticating();
    let signature = Authentication::digital_signature(SignatureScheme::Ed25519, &[1; 64]).unwrap();
    let answer = peer.answer_auth(&request, |p| p[1] = Payload::Auth(signature));
    client.give(Instant::ZERO, answer);
    assert!(!client.asked.iter().any(|a| a == "Verify"));
    turned_down(client, peer, Some(NotifyType::AUTHENTICATION_FAILED));
}

// [7427:4-1]
#[test]
fn a_certificate_server_may_not_come_with_a_key_or_with_sha1() {
    for auth in [
        Authentication::shared_key(&[1; 32]),
        Authentication { method: adit_isakmp::payload::AuthMethod::RSA_SIGNATURE, data: vec![1; 256] },
    ] {
        let mut client = Node::client();
        let (_, remote_auth) = by_certificate(b"client cert", &[]);
        client.dial(Instant::ZERO, InitiatorConfig { remote_auth, ..config() });
        let (mut peer, answer) = Peer::answer_init(&client.one(), |_| {});
        client.give(Instant::ZERO, answer);
        let answer = peer.answer_auth(&client.one(), |p| p[1] = Payload::Auth(auth));
        client.give(Instant::ZERO, answer);
        assert!(!client.asked.iter().any(|a| a == "Verify"));
        turned_down(client, peer, Some(NotifyType::AUTHENTICATION_FAILED));
    }
}

#[test]
fn more_certificates_than_ten_are_refused_unread() {
    let mut client = Node::client();
    let (_, remote_auth) = by_certificate(b"client cert", &[]);
    client.dial(Instant::ZERO, InitiatorConfig { remote_auth, ..config() });
    let (mut peer, answer) = Peer::answer_init(&client.one(), |_| {});
    client.give(Instant::ZERO, answer);
    let auth = Authentication::digital_signature(SignatureScheme::Ed25519, &[1; 64]).unwrap();
    let answer = peer.answer_auth(&client.one(), |p| {
        p[1] = Payload::Auth(auth);
        let certificate = adit_isakmp::payload::Certificate::x509(vec![1; 100]);
        p.extend(core::iter::repeat_n(Payload::Cert(certificate), 11));
    });
    client.give(Instant::ZERO, answer);
    assert!(client.verified.is_empty());
    turned_down(client, peer, Some(NotifyType::AUTHENTICATION_FAILED));
}

#[test]
fn an_answer_to_init_that_was_not_offered_is_as_if_it_had_never_come() {
    let offered = offer_ike(&["aes256gcm16-prfsha256-x25519,".trim_end_matches(',').parse().unwrap()], &[]);
    for other in
        ["aes128gcm16-prfsha256-x25519", "aes256gcm16-prfsha384-x25519", "aes256gcm16-prfsha256-ecp256"]
    {
        let mut client = Node::client();
        client.dial(Instant::ZERO, config());
        let request = client.one();
        let theirs: Vec<_> = vec![other.parse().unwrap()];
        let chosen = choose_ike(&theirs, &offer_ike(&theirs, &[]), &[]).unwrap();
        let (_, answer) = Peer::answer_init(&request, |p| p[0] = Payload::Sa(chosen.reply));
        client.give(Instant::ZERO, answer);
        assert!(client.sent().is_empty() && client.closed().is_none());
        // The real answer still gets in.
        let (_, answer) = Peer::answer_init(&request, |p| p[0] = p[0].clone());
        client.give(Instant::ZERO, answer);
        assert_eq!(client.sent().len(), 1);
    }
    assert_eq!(offered.proposals.len(), 1);
}

#[test]
fn init_answers_with_missing_or_double_payloads_are_ignored() {
    for index in 0..3 {
        for twice in [false, true] {
            let mut client = Node::client();
            client.dial(Instant::ZERO, config());
            let (_, answer) = Peer::answer_init(&client.one(), |p| {
                if twice {
                    p.insert(index, p[index].clone());
                } else {
                    p.remove(index);
                }
            });
            client.give(Instant::ZERO, answer);
            assert!(client.sent().is_empty() && client.closed().is_none());
        }
    }
}

#[test]
fn one_forged_error_does_not_end_the_attempt_and_a_repeated_one_does() {
    let mut client = Node::client();
    client.dial(Instant::ZERO, config());
    let request = client.one();
    let no = || Notify::new(NotifyType::NO_PROPOSAL_CHOSEN, []);
    for _ in 0..3 {
        client.give(Instant::ZERO, init_error(&request, no()));
    }
    assert!(client.closed().is_none());
    let at = client.wake();
    assert_eq!(client.one().payload, request.payload, "retransmitted bit for bit");
    client.give(at, init_error(&request, no()));
    let failure = client.failure();
    assert_eq!(failure.code, FailureCode::ProposalMismatch);
    assert!(failure.text.contains(IKE), "{failure}");
}

#[test]
fn the_real_answer_gets_in_after_a_forged_error() {
    let mut client = Node::client();
    client.dial(Instant::ZERO, config());
    let request = client.one();
    for kind in
        [NotifyType::NO_PROPOSAL_CHOSEN, NotifyType::INVALID_SYNTAX, NotifyType::AUTHENTICATION_FAILED]
    {
        client.give(Instant::ZERO, init_error(&request, Notify::new(kind, [])));
    }
    let (mut peer, answer) = Peer::answer_init(&request, |_| {});
    client.give(Instant::ZERO, answer);
    let answer = peer.answer_auth(&client.one(), |_| {});
    client.give(Instant::ZERO, answer);
    assert!(client.established().is_some());
}

#[test]
fn a_key_exchange_method_that_was_not_offered_is_not_followed() {
    let mut client = Node::client();
    client.dial(Instant::ZERO, config());
    let request = client.one();
    for method in [2_u16, 14, 19, 31] {
        let notify = Notify::new(NotifyType::INVALID_KE_PAYLOAD, method.to_be_bytes());
        client.give(Instant::ZERO, init_error(&request, notify));
    }
    assert!(client.sent().is_empty() && client.closed().is_none());
}

// [7296:2.4-5] [7296:2.6-3]
#[test]
fn cookies_are_followed_a_few_times_only() {
    let mut client = Node::client();
    client.dial(Instant::ZERO, config());
    let request = client.one();
    let mut followed = 0;
    for n in 0..100_u8 {
        client.give(Instant::ZERO, init_error(&request, Notify::new(NotifyType::COOKIE, [n; 16])));
        for sent in client.sent() {
            let message = Message::parse(&sent.payload).unwrap();
            let Payload::Notify(first) = &message.payloads[0] else { panic!("{message:?}") };
            assert_eq!((first.kind, &first.data[..]), (NotifyType::COOKIE, &[n; 16][..]));
            followed += 1;
        }
    }
    assert_eq!(followed, 5);
    assert!(client.closed().is_none());
}

/// Where an answer takes longer than the first retransmission waits, each copy is answered with a cookie of its own.
/// The server's AUTH covers the request that came first: the one with the first cookie.
#[test]
fn the_first_of_several_late_cookies_is_followed() {
    let mut client = Node::client();
    client.dial(Instant::ZERO, config());
    let request = client.one();
    let (again, third) = (client.wake(), client.wake());
    assert!(again < third);
    assert_eq!(client.sent(), [request.clone(), request.clone()]);
    let cookie = |n: u8| init_error(&request, Notify::new(NotifyType::COOKIE, [n; 16]));
    client.give(third, cookie(1));
    let with_first = client.one();
    client.give(third, cookie(2));
    client.give(third, cookie(3));
    assert!(client.sent().is_empty(), "the others answer copies of the first request");
    let (_, answer) = Peer::answer_init(&with_first, |_| {});
    client.give(third, answer);
    assert!(client.asked.iter().any(|asked| asked == "Agree"), "{:?}", client.asked);
}

/// A server whose secret has changed since: it answers the request with the old cookie.
#[test]
fn a_cookie_that_answers_the_last_request_is_followed() {
    let mut client = Node::client();
    client.dial(Instant::ZERO, config());
    let request = client.one();
    let again = client.wake();
    client.sent();
    for n in [1, 2, 3_u8] {
        client.give(again, init_error(&request, Notify::new(NotifyType::COOKIE, [n; 16])));
        assert_eq!(client.sent().len(), usize::from(n != 2), "cookie {n}");
    }
}

#[test]
fn whoever_is_not_the_server_is_not_heard() {
    let mut client = Node::client();
    client.dial(Instant::ZERO, config());
    let (_, answer) = Peer::answer_init(&client.one(), |_| {});
    let Input::Datagram { mut path, payload } = answer else { panic!() };
    path.remote = "203.0.113.66:500".parse().unwrap();
    client.give(Instant::ZERO, Input::Datagram { path, payload });
    assert!(client.sent().is_empty());
}

// [7296:1-1] [7296:2.4-3]
#[test]
fn an_answer_in_clear_or_with_another_message_id_is_not_heard() {
    let (mut client, mut peer, _) = authenticating();
    let failed = [Payload::Notify(Notify::new(NotifyType::AUTHENTICATION_FAILED, []))];
    for id in [0, 2, u32::MAX] {
        let answer = peer.seal(ExchangeType::IKE_AUTH, id, true, &failed);
        client.give(Instant::ZERO, answer);
    }
    let answer = peer.seal(ExchangeType::INFORMATIONAL, 1, true, &failed);
    client.give(Instant::ZERO, answer);
    let answer = peer.seal(ExchangeType::IKE_AUTH, 1, false, &failed);
    client.give(Instant::ZERO, answer);
    let header = adit_isakmp::Header {
        initiator_spi: peer.hs.channel.spi_i,
        responder_spi: peer.hs.channel.spi_r,
        version: adit_isakmp::VERSION_2,
        exchange: ExchangeType::IKE_AUTH,
        flags: adit_isakmp::Flags::of(false, true),
        message_id: 1,
    };
    let payload = Message { header, payloads: failed.to_vec() }.emit().unwrap();
    client.give(Instant::ZERO, arrives(&Transmit { path: peer.path, payload }));
    assert!(client.closed().is_none() && client.sent().is_empty());
}

#[test]
fn an_id_of_another_type_is_another_identity() {
    let (client, peer) = answered(|p| {
        p[0] =
            Payload::IdR(Identification { id_type: 11, reserved: [0; 3], data: b"vpn.example.com".to_vec() });
    });
    turned_down(client, peer, Some(NotifyType::AUTHENTICATION_FAILED));
}
