//! What our messages look like, and what those of a peer may look like.

use adit_isakmp::payload::{
    Certificate, ConfigAttribute, ConfigType, Configuration, Notify, NotifyType, TransformType,
};
use adit_isakmp::{ExchangeType, Message, Payload, PayloadType};

use super::script::{Peer, init_error};
use super::*;

/// Version, exchange type and flags of a datagram.
fn outer(t: &Transmit) -> (u8, u8, u8) {
    (t.payload[17], t.payload[18], t.payload[19])
}

fn kinds(message: &Message) -> Vec<PayloadType> {
    message.payloads.iter().map(Payload::kind).collect()
}

fn nonce(t: &Transmit) -> Vec<u8> {
    let message = Message::parse(&t.payload).unwrap();
    let nonces = message.payloads.into_iter().filter_map(|p| match p {
        Payload::Nonce(nonce) => Some(nonce),
        _ => None,
    });
    let nonces: Vec<_> = nonces.collect();
    assert_eq!(nonces.len(), 1);
    nonces.concat()
}

fn configuration(message: &Message) -> Option<&Configuration> {
    message.payloads.iter().find_map(|p| match p {
        Payload::Configuration(cp) => Some(cp),
        _ => None,
    })
}

/// What a server answers to the IKE_AUTH of a scripted client.
fn answer_of(server: &mut Node, edit: impl FnOnce(&mut Vec<Payload>)) -> Message {
    let mut peer = Peer::dial(server);
    let request = peer.ask_auth(edit);
    server.give(Instant::ZERO, request);
    peer.open(&server.one())
}

// [7296:3.1-4] [7296:3.1-7] [7296:3.1-10] [7296:3.1-12] [7296:3.1-13] [7296:2.5-4]
#[test]
fn headers_tell_version_and_role() {
    let (mut client, mut server) = (Node::client(), Node::server());
    let sa = client.dial(Instant::ZERO, config());
    let mut seen = Vec::new();
    for step in 0..4 {
        let (from, to) = if step % 2 == 0 { (&mut client, &mut server) } else { (&mut server, &mut client) };
        let t = from.one();
        seen.push(outer(&t));
        to.give(Instant::ZERO, arrives(&t));
    }
    assert_eq!(seen, [(0x20, 34, 0x08), (0x20, 34, 0x20), (0x20, 35, 0x08), (0x20, 35, 0x20)]);
    // A request of the original responder, and the original initiator's response.
    let theirs = server.events[0].0;
    server.give(Instant::ZERO, Input::Close { sa: theirs });
    let request = server.one();
    client.give(Instant::ZERO, arrives(&request));
    assert_eq!((outer(&request), outer(&client.one())), ((0x20, 37, 0), (0x20, 37, 0x28)));
    client.give(Instant::ZERO, Input::Close { sa });
}

// [7296:3.1-3] [7296:3.1-2]
#[test]
fn the_first_message_names_no_responder_with_a_cookie_either() {
    let mut client = Node::client();
    client.dial(Instant::ZERO, config());
    let first = client.one();
    client.give(Instant::ZERO, init_error(&first, Notify::new(NotifyType::COOKIE, [7; 16])));
    for t in [first, client.one()] {
        let header = Message::parse(&t.payload).unwrap().header;
        assert_eq!(header.responder_spi, 0);
        assert_ne!(header.initiator_spi, 0);
    }
}

// [7296:2.23-7]
#[test]
fn both_first_messages_have_both_nat_detection_notifies() {
    let (mut client, mut server) = (Node::client(), Node::server());
    client.dial(Instant::ZERO, config());
    let request = client.one();
    server.give(Instant::ZERO, arrives(&request));
    for t in [request, server.one()] {
        let message = Message::parse(&t.payload).unwrap();
        for kind in [NotifyType::NAT_DETECTION_SOURCE_IP, NotifyType::NAT_DETECTION_DESTINATION_IP] {
            assert_eq!(message.notify(kind).unwrap().data.len(), 20);
        }
    }
}

// [7296:2.19-1] [7296:2.19-2] [7296:2.19-3] [7296:2.19-4] [7296:4-7]
#[test]
fn an_address_is_asked_for_with_the_proof_and_in_front_of_sa() {
    let mut client = Node::client();
    client.dial(Instant::ZERO, config());
    let (mut peer, answer) = Peer::answer_init(&client.one(), |_| {});
    client.give(Instant::ZERO, answer);
    let request = peer.open(&client.one());
    let place = |kind| kinds(&request).iter().position(|k| *k == kind).unwrap();
    assert!(place(PayloadType::AUTH) < place(PayloadType::CP));
    assert!(place(PayloadType::CP) < place(PayloadType::SA));
    let cp = configuration(&request).unwrap();
    assert_eq!(cp.kind, ConfigType::CFG_REQUEST);
    assert!(cp.attributes.contains(&ConfigAttribute::Ip4Address(None)));
    assert!(cp.attributes.contains(&ConfigAttribute::Ip6Address(None)));
}

// [7296:2.19-2] [7296:4-8] [7296:4-9] [7296:2.19-5]
#[test]
fn an_address_is_given_to_who_asked() {
    let answer = answer_of(&mut Node::server(), |_| {});
    let place = |kind| kinds(&answer).iter().position(|k| *k == kind).unwrap();
    assert!(place(PayloadType::CP) < place(PayloadType::SA));
    let cp = configuration(&answer).unwrap();
    assert_eq!(cp.kind, ConfigType::CFG_REPLY);
    assert!(cp.attributes.contains(&ConfigAttribute::Ip4Address(lease().v4)));
    // Sites have their own addresses, and nobody is told one.
    let mut sites = Node::server();
    sites.connection =
        || ResponderConfig { addresses: false, remote_ts: vec![ts("0.0.0.0/0")], ..connection() };
    assert_eq!(configuration(&answer_of(&mut sites, |_| {})), None);
    assert!(sites.established().is_some());
}

// [7296:2.20-1] [7296:3.15.1-5] [7296:1.7-3]
#[test]
fn nobody_is_told_a_version_and_unknown_attributes_are_passed_over() {
    let answer = answer_of(&mut Node::server(), |payloads| {
        for payload in payloads {
            if let Payload::Configuration(cp) = payload {
                // APPLICATION_VERSION, INTERNAL_ADDRESS_EXPIRY, and one of nobody.
                let unknown = [7, 5, 0x1234].map(|kind| ConfigAttribute::Unknown { kind, value: vec![] });
                cp.attributes.splice(0..0, unknown);
            }
        }
    });
    let cp = configuration(&answer).unwrap();
    assert!(!cp.attributes.iter().any(|a| matches!(a, ConfigAttribute::Unknown { .. })), "{cp:?}");
    assert!(cp.attributes.contains(&ConfigAttribute::Ip4Address(lease().v4)));
}

/// The same message with its payloads from last to first.
fn reversed(t: &Transmit) -> Transmit {
    let mut message = Message::parse(&t.payload).unwrap();
    message.payloads.reverse();
    Transmit { path: t.path, payload: message.emit().unwrap() }
}

// [7296:2.5-11]
#[test]
fn payloads_may_come_in_any_order() {
    let mut client = Node::client();
    client.dial(Instant::ZERO, config());
    let (mut peer, answer) = Peer::answer_init(&client.one(), |p| p.reverse());
    client.give(Instant::ZERO, answer);
    let answer = peer.answer_auth(&client.one(), |p| p.reverse());
    client.give(Instant::ZERO, answer);
    assert!(client.established().is_some());

    let mut server = Node::server();
    let mut other = Node::client();
    other.dial(Instant::ZERO, config());
    server.give(Instant::ZERO, arrives(&reversed(&other.one())));
    assert_eq!(outer(&server.one()), (0x20, 34, 0x20));
    answer_of(&mut server, |p| p.reverse());
    assert!(server.established().is_some());
}

// [7296:3.12-2] [7296:3.10.1-3] [7296:3.10.1-2] [7296:2.5-9] [7296:2.5-7]
#[test]
fn what_nobody_knows_is_passed_over_in_every_message() {
    let odd = |payloads: &mut Vec<Payload>| {
        // The critical bit of a kind that is known says nothing (§3.2), so it may stand there.
        let kind = PayloadType::VENDOR;
        let vendor = Payload::Unknown { kind, critical: true, body: b"somebody's".to_vec() };
        let status = Payload::Notify(Notify::new(NotifyType(40_404), [1, 2, 3]));
        let unknown = Payload::Unknown { kind: PayloadType(222), critical: false, body: vec![9; 9] };
        payloads.splice(0..0, [vendor, status, unknown]);
    };
    let mut client = Node::client();
    client.dial(Instant::ZERO, config());
    let (mut peer, answer) = Peer::answer_init(&client.one(), odd);
    client.give(Instant::ZERO, answer);
    let answer = peer.answer_auth(&client.one(), odd);
    client.give(Instant::ZERO, answer);
    assert!(client.established().is_some());

    let mut server = Node::server();
    let mut other = Node::client();
    other.dial(Instant::ZERO, config());
    let first = other.one();
    let mut message = Message::parse(&first.payload).unwrap();
    odd(&mut message.payloads);
    let payload = message.emit().unwrap();
    server.give(Instant::ZERO, arrives(&Transmit { path: first.path, payload }));
    assert_eq!(outer(&server.one()), (0x20, 34, 0x20));
    answer_of(&mut server, odd);
    assert!(server.established().is_some());
}

// [7296:2.10-1] [7296:3.9-2]
#[test]
fn nonces_are_long_enough_for_every_prf_and_never_the_same() {
    let (mut client, mut server) = (Node::client(), Node::server());
    let mut seen = Vec::new();
    for _ in 0..3 {
        client.dial(Instant::ZERO, config());
        let request = client.one();
        server.give(Instant::ZERO, arrives(&request));
        seen.extend([nonce(&request), nonce(&server.one())]);
    }
    let longest = adit_isakmp::Prf::ALL.iter().map(|prf| prf.output_len()).max().unwrap();
    assert!(seen.iter().all(|n| n.len() >= 16 && n.len() >= longest / 2));
    // No part of one is a part of another.
    for (i, one) in seen.iter().enumerate() {
        assert!(seen[i + 1..].iter().all(|other| one[..8] != other[..8] && one[24..] != other[24..]));
    }
}

// [7296:1.2-4] [7296:1.2-5] [7296:3.4-2]
#[test]
fn after_another_method_everything_is_offered_again() {
    let mut client = Node::client();
    let ike = vec!["aes256gcm16-aes128gcm16-prfsha256-x25519-ecp256".parse().unwrap(), IKE.parse().unwrap()];
    client.dial(Instant::ZERO, InitiatorConfig { ike, ..config() });
    let first = client.one();
    let wanted = Notify::new(NotifyType::INVALID_KE_PAYLOAD, 19_u16.to_be_bytes());
    client.give(Instant::ZERO, init_error(&first, wanted));
    let read = |t: &Transmit| {
        let message = Message::parse(&t.payload).unwrap();
        let (mut sa, mut ke) = (None, None);
        for payload in message.payloads {
            match payload {
                Payload::Sa(p) => sa = Some(p),
                Payload::Ke(p) => ke = Some(p),
                _ => {}
            }
        }
        (sa.unwrap(), ke.unwrap())
    };
    let ((sa, ke), (again, other)) = (read(&first), read(&client.one()));
    assert_eq!((ke.method, other.method), (31, 19));
    assert_eq!(sa, again);
    assert!(sa.proposals[0].of(TransformType::KE).any(|t| t.id == other.method));
}

// [7296:2.6-2]
#[test]
fn a_cookie_has_1_to_64_bytes() {
    for (length, followed) in [(0, false), (1, true), (64, true), (65, false)] {
        let mut client = Node::client();
        client.dial(Instant::ZERO, config());
        let first = client.one();
        client.give(Instant::ZERO, init_error(&first, Notify::new(NotifyType::COOKIE, vec![7; length])));
        assert_eq!(client.sent().len(), usize::from(followed), "{length}");
    }
    let mut server = Node::server();
    server.endpoint.set_responder(Some(ResponderDefaults { cookie_threshold: 0, ..defaults() }));
    let mut client = Node::client();
    client.dial(Instant::ZERO, config());
    server.give(Instant::ZERO, arrives(&client.one()));
    let answer = Message::parse(&server.one().payload).unwrap();
    assert!((1..=64).contains(&answer.notify(NotifyType::COOKIE).unwrap().data.len()));
}

// [7296:2.6.1-1] [7296:2.6-3]
#[test]
fn a_server_may_want_a_new_cookie_after_another_method() {
    let mut client = Node::client();
    let ike = vec!["aes256gcm16-prfsha256-ecp256-x25519".parse().unwrap()];
    client.dial(Instant::ZERO, InitiatorConfig { ike, ..config() });
    let method = || Notify::new(NotifyType::INVALID_KE_PAYLOAD, 31_u16.to_be_bytes());
    let mut last = client.one();
    for notify in [Notify::new(NotifyType::COOKIE, [1; 8]), method(), Notify::new(NotifyType::COOKIE, [2; 8])]
    {
        client.give(Instant::ZERO, init_error(&last, notify));
        last = client.one();
    }
    let message = Message::parse(&last.payload).unwrap();
    assert!(matches!(&message.payloads[0], Payload::Notify(n) if n.data == [2; 8]));
    let (mut peer, answer) = Peer::answer_init(&last, |_| {});
    client.give(Instant::ZERO, answer);
    let answer = peer.answer_auth(&client.one(), |_| {});
    client.give(Instant::ZERO, answer);
    assert!(client.established().is_some());
}

// [7296:3.14-3]
#[test]
fn no_iv_comes_twice() {
    for (ike, iv_len) in [(IKE, 8), ("aes256-sha256-x25519", 16)] {
        let (mut client, mut server) = (Node::client(), Node::server());
        let proposals = vec![ike.parse().unwrap()];
        server.endpoint.set_responder(Some(ResponderDefaults { ike: proposals.clone(), ..defaults() }));
        client.dial(Instant::ZERO, InitiatorConfig { ike: proposals, ..config() });
        carry(Instant::ZERO, &mut client, &mut server);
        let mut seen = Vec::new();
        for _ in 0..8 {
            let at = client.wake();
            let asked = client.sent();
            asked.iter().for_each(|t| server.give(at, arrives(t)));
            let answered = server.sent();
            answered.iter().for_each(|t| client.give(at, arrives(t)));
            seen.extend(asked.into_iter().map(|t| t.payload[32..32 + iv_len].to_vec()));
        }
        let count = seen.len();
        seen.sort();
        seen.dedup();
        assert!(count > 3 && seen.len() == count, "{ike}: {count} messages, {} IVs", seen.len());
    }
}

// [7296:2-1]
#[test]
fn messages_of_3000_bytes_are_sent_and_taken() {
    let (mut client, mut server) = (Node::client(), Node::server());
    const OWNERS: [&[u8]; 2] = [b"client cert", b"server cert"];
    fn proof(owner: &[u8]) -> (LocalAuth, RemoteAuth) {
        let certificates = vec![owner.to_vec(), vec![0x30; 3000]];
        let schemes = vec![SignatureScheme::Ed25519];
        let own = OwnChain { certificates, schemes, authorities: Vec::new() };
        let local = LocalAuth::Signature { own: vec![own] };
        (local, RemoteAuth::Certificate { authorities: vec![[7; 20]] })
    }
    server.connection = || {
        let (local_auth, remote_auth) = proof(OWNERS[1]);
        ResponderConfig { local_auth, remote_auth, ..connection() }
    };
    let (local_auth, remote_auth) = proof(OWNERS[0]);
    client.dial(Instant::ZERO, InitiatorConfig { local_auth, remote_auth, ..config() });
    carry(Instant::ZERO, &mut client, &mut server);
    assert!(client.established().is_some() && server.established().is_some());
    assert_eq!(client.verified[0][1].len(), 3000);
    assert_eq!(server.verified[0][1].len(), 3000);
}

// [7296:3.6-2] [7296:1.2-1]
#[test]
fn the_first_certificate_is_the_one_that_signs() {
    let mut client = Node::client();
    let (local_auth, _) = by_certificate(b"client cert", &[SignatureScheme::Ed25519]);
    client.dial(Instant::ZERO, InitiatorConfig { local_auth, ..config() });
    let (mut peer, answer) = Peer::answer_init(&client.one(), |_| {});
    client.give(Instant::ZERO, answer);
    let request = peer.open(&client.one());
    let sent: Vec<_> = request
        .payloads
        .iter()
        .filter_map(|p| if let Payload::Cert(c) = p { Some(c.clone()) } else { None })
        .collect();
    assert_eq!(
        sent,
        [Certificate::x509(b"client cert".to_vec()), Certificate::x509(b"intermediate".to_vec())]
    );
    assert_eq!(request.header.exchange, ExchangeType::IKE_AUTH);
}

// [7296:2.10-1]
#[test]
fn a_nonce_shorter_than_half_the_key_of_the_prf_is_refused_by_both() {
    let with_nonce = |transmit: &Transmit, len: usize| {
        let mut message = Message::parse(&transmit.payload).unwrap();
        for payload in &mut message.payloads {
            if let Payload::Nonce(nonce) = payload {
                nonce.resize(len, 7);
            }
        }
        arrives(&Transmit { path: transmit.path, payload: message.emit().unwrap() })
    };
    let ike: Vec<adit_isakmp::proposal::IkeProposal> = vec!["aes256gcm16-prfsha512-x25519".parse().unwrap()];
    let (mut client, mut server) =
        (Node::client(), Node::new(SERVER, 2, Some(ResponderDefaults { ike: ike.clone(), ..defaults() })));
    client.dial(Instant::ZERO, InitiatorConfig { ike, ..config() });
    let first = client.one();
    server.give(Instant::ZERO, with_nonce(&first, 31));
    assert!(server.sent().is_empty() && server.endpoint.is_empty());
    server.give(Instant::ZERO, arrives(&first));
    let answer = server.one();
    client.give(Instant::ZERO, with_nonce(&answer, 31));
    assert!(client.sent().is_empty());
    client.give(Instant::ZERO, arrives(&answer));
    carry(Instant::ZERO, &mut client, &mut server);
    assert!(client.established().is_some());
}
