//! From nothing to an IKE_SA that is up, and why not.

use adit_isakmp::payload::{ConfigAttribute, NotifyType};
use adit_isakmp::{Message, Payload};

use super::script::Peer;
use super::*;

// [7296:4-4] [7296:4-9]
#[test]
fn a_tunnel_comes_up_in_four_messages() {
    let (client, server, _) = up();
    let (ours, theirs) = (client.established().unwrap(), server.established().unwrap());
    assert_eq!(ours.lease, lease());
    assert_eq!(ours.local_ts, [ts("10.9.0.7"), ts("2001:db8:9::7")]);
    assert_eq!((&ours.local_ts, &ours.remote_ts), (&theirs.remote_ts, &theirs.local_ts));
    assert_eq!((&ours.local_id, &ours.remote_id), (&theirs.remote_id, &theirs.local_id));
    assert_eq!(theirs.connection.as_deref(), Some("clients"));
    assert!(!ours.encapsulated && !ours.nat_local && !ours.nat_remote);
    assert_eq!(ours.path.remote.port(), 500);
    let (c, s) = (&client.children[0], &server.children[0]);
    assert_eq!((c.inbound_spi, c.outbound_spi), (s.outbound_spi, s.inbound_spi));
    let (c_out, s_out) = (c.outbound.as_ref().unwrap(), s.outbound.as_ref().unwrap());
    assert!(c.inbound.encryption.equals(s_out.encryption.expose()));
    assert!(c_out.encryption.equals(s.inbound.encryption.expose()));
    assert!(!c.inbound.encryption.equals(c_out.encryption.expose()));
    assert_eq!((client.endpoint.established(), server.endpoint.established()), (1, 1));
    assert_eq!(server.endpoint.half_open(), 0);
}

#[test]
fn asks_come_in_the_promised_order() {
    let (client, server, _) = up();
    assert_eq!(client.asked, ["Generate", "Agree", "AllocateSpi", "Psk", "Install"]);
    assert_eq!(server.asked, ["Encapsulate", "Connection", "Psk", "Lease", "AllocateSpi", "Install"]);
}

#[test]
fn progress_tells_a_person_where_it_is() {
    let (client, _, _) = up();
    let steps: Vec<Step> = client
        .events
        .iter()
        .filter_map(|(_, e)| if let Event::Progress(step) = e { Some(*step) } else { None })
        .collect();
    assert_eq!(steps, [Step::IkeInit, Step::Authenticate, Step::Kernel]);
}

fn certificates() -> (Node, Node) {
    let (mut client, mut server) = (Node::client(), Node::server());
    server.connection = || {
        let (local_auth, remote_auth) = by_certificate(b"server cert", &[SignatureScheme::RsaPssSha256]);
        ResponderConfig { local_auth, remote_auth, ..connection() }
    };
    let (local_auth, remote_auth) = by_certificate(b"client cert", &[SignatureScheme::Ed25519]);
    let config = InitiatorConfig { local_auth, remote_auth, ..config() };
    client.dial(Instant::ZERO, config);
    (client, server)
}

// [7296:1.2-1] [7296:3.6-2] [7296:4-10]
#[test]
fn certificates_prove_both_ends() {
    let (mut client, mut server) = certificates();
    carry(Instant::ZERO, &mut client, &mut server);
    assert!(client.established().is_some() && server.established().is_some());
    assert_eq!(client.verified, [vec![b"server cert".to_vec(), b"intermediate".to_vec()]]);
    assert_eq!(server.verified, [vec![b"client cert".to_vec(), b"intermediate".to_vec()]]);
    assert_eq!(
        server.asked,
        ["Encapsulate", "Connection", "Verify", "Lease", "AllocateSpi", "Sign", "Install"]
    );
}

// [7296:1.2-2]
#[test]
fn a_certificate_that_is_not_believed_is_refused_and_said_so() {
    let (mut client, mut server) = certificates();
    client.refuse = "Verify";
    carry(Instant::ZERO, &mut client, &mut server);
    assert!(client.established().is_none());
    assert_eq!(client.failure().text, "no");
    // The server was up, and has heard.
    assert_eq!(server.failure().peer.as_deref(), Some("AUTHENTICATION_FAILED"));
    assert_eq!(server.released(), 1);
    assert!(client.endpoint.is_empty() && server.endpoint.is_empty());
}

// [7296:1.2-2] [7296:1.2-3]
#[test]
fn a_wrong_key_and_an_unknown_name_are_the_same_to_the_peer() {
    let mut seen = Vec::new();
    for (id, psk) in [("ann@example.com", &b"a wrong key"[..]), ("nobody@e.example", b"a good key")] {
        let (mut client, mut server) = (Node::client(), Node::server());
        client.psk = psk;
        client.unknown_psk = psk;
        client.dial(Instant::ZERO, InitiatorConfig { local_id: name(id), ..config() });
        let init = client.one();
        server.give(Instant::ZERO, arrives(&init));
        client.give(Instant::ZERO, arrives(&server.one()));
        server.give(Instant::ZERO, arrives(&client.one()));
        let answer = server.one();
        client.give(Instant::ZERO, arrives(&answer));
        assert_eq!(client.failure().peer.as_deref(), Some("AUTHENTICATION_FAILED"));
        assert!(server.children.is_empty() && server.endpoint.is_empty());
        seen.push((answer.payload.len(), server.asked.clone()));
    }
    assert_eq!(seen[0], seen[1]);
}

// [7296:2.8-4]
#[test]
fn every_refusal_on_the_way_gives_everything_back() {
    // What the server says no to, what the client hears of it, and whether a lease came back.
    let cases = [
        ("Connection", "AUTHENTICATION_FAILED", 0),
        ("Psk", "AUTHENTICATION_FAILED", 0),
        ("Lease", "INTERNAL_ADDRESS_FAILURE", 0),
        ("AllocateSpi", "TEMPORARY_FAILURE", 1),
        ("Install", "TEMPORARY_FAILURE", 1),
    ];
    for (ask, heard, released) in cases {
        let (mut client, mut server) = (Node::client(), Node::server());
        server.refuse = ask;
        client.dial(Instant::ZERO, config());
        carry(Instant::ZERO, &mut client, &mut server);
        assert!(client.established().is_none() && server.established().is_none(), "{ask}");
        assert_eq!(client.failure().peer.as_deref(), Some(heard), "{ask}");
        assert_eq!(server.released(), released, "{ask}");
        assert!(client.endpoint.is_empty() && server.endpoint.is_empty(), "{ask}");
        assert!(server.closed().is_some_and(Result::is_err), "{ask}");
    }
}

#[test]
fn a_client_that_is_refused_by_its_own_host_tells_the_server() {
    for (ask, server_knows) in
        [("Generate", false), ("AllocateSpi", false), ("Psk", false), ("Install", true)]
    {
        let (mut client, mut server) = (Node::client(), Node::server());
        client.refuse = ask;
        client.dial(Instant::ZERO, config());
        carry(Instant::ZERO, &mut client, &mut server);
        if ask == "Generate" {
            continue;
        }
        assert_eq!(client.failure().text, "no", "{ask}");
        assert!(client.endpoint.is_empty(), "{ask}");
        assert_eq!(server.closed().is_some(), server_knows, "{ask}");
    }
}

#[test]
fn a_driver_that_never_answers_is_not_waited_for_forever() {
    for ask in ["Generate", "Agree", "AllocateSpi", "Psk", "Install"] {
        let (mut client, mut server) = (Node::client(), Node::server());
        client.silent = ask;
        client.dial(Instant::ZERO, config());
        carry(Instant::ZERO, &mut client, &mut server);
        while client.closed().is_none() {
            let at = client.wake();
            carry(at, &mut client, &mut server);
        }
        assert_eq!(client.failure().code, FailureCode::TimedOut, "{ask}");
        assert!(client.endpoint.is_empty());
    }
    for ask in ["Encapsulate", "Connection", "Psk", "Lease", "AllocateSpi", "Install"] {
        let (mut client, mut server) = (Node::client(), Node::server());
        server.silent = ask;
        client.dial(Instant::ZERO, config());
        carry(Instant::ZERO, &mut client, &mut server);
        let at = server.wake();
        assert_eq!(at, Instant::ZERO + Timing::default().half_open, "{ask}");
        assert_eq!(server.failure().code, FailureCode::TimedOut, "{ask}");
        let leased = ["AllocateSpi", "Install"].contains(&ask);
        assert_eq!(server.released(), usize::from(leased), "{ask}");
        assert!(server.endpoint.is_empty(), "{ask}");
    }
}

// [7296:2.1-3] [7296:2.1-6] [7296:2.1-7] [7296:2.2-1] [7296:2.3-6] [7296:2.4-4] [7296:2.4-6]
#[test]
fn a_server_that_does_not_answer_is_given_up_with_figures() {
    let mut client = Node::client();
    client.dial(Instant::ZERO, config());
    let first = client.one();
    let mut times = Vec::new();
    while client.closed().is_none() {
        let at = client.wake();
        times.push(at.since(Instant::ZERO).as_millis());
        assert!(client.sent().iter().all(|t| *t == first));
    }
    assert_eq!(times.len(), 4);
    for (time, least) in times.iter().zip([1000, 3000, 7000, 15_000]) {
        assert!((least..=least * 9 / 8).contains(time), "{times:?}");
    }
    let failure = client.failure();
    assert_eq!(failure.code, FailureCode::ServerUnreachable);
    assert!(
        failure.text.starts_with("vpn server 198.51.100.1 did not answer on UDP 500 (4 tries in 1"),
        "{failure}"
    );
    assert!(failure.hint.as_ref().unwrap().contains("4500"));
}

// [7296:1.2-4] [7296:3.4-4]
#[test]
fn a_guess_that_the_server_does_not_want_costs_one_round_trip() {
    let (mut client, mut server) = (Node::client(), Node::server());
    let config =
        InitiatorConfig { ike: vec!["aes256gcm16-prfsha256-ecp256-x25519".parse().unwrap()], ..config() };
    client.dial(Instant::ZERO, config);
    carry(Instant::ZERO, &mut client, &mut server);
    assert!(client.established().is_some());
    assert_eq!(client.asked[..3], ["Generate", "Generate", "Agree"]);
    assert_eq!(server.asked.iter().filter(|a| *a == "Encapsulate").count(), 1);
}

#[test]
fn a_cookie_is_asked_for_and_brought_without_any_memory() {
    let (mut client, mut server) = (Node::client(), Node::server());
    server.endpoint.set_responder(Some(ResponderDefaults { cookie_threshold: 0, ..defaults() }));
    client.dial(Instant::ZERO, config());
    let first = client.one();
    server.give(Instant::ZERO, arrives(&first));
    assert!(server.endpoint.is_empty() && server.asked.is_empty());
    let cookie = server.one();
    assert!(cookie.payload.len() <= first.payload.len(), "amplification");
    client.give(Instant::ZERO, arrives(&cookie));
    carry(Instant::ZERO, &mut client, &mut server);
    assert!(client.established().is_some());
    assert_eq!(server.endpoint.counters().cookies, 1);
}

// [7296:2.11-1] [7296:2.11-2] [7296:2.23-1] [7296:2.23-2] [7296:2.23-5] [7296:2.23-8]
#[test]
fn a_nat_is_found_and_everything_moves_to_4500() {
    let (mut client, mut server) = (Node::client(), Node::server());
    client.dial(Instant::ZERO, config());
    // A NAT in front of the client.
    let through = |t: &Transmit, port| {
        let path =
            Path { local: t.path.remote, remote: SocketAddr::new("203.0.113.9".parse().unwrap(), port) };
        Input::Datagram { path, payload: t.payload.clone() }
    };
    server.give(Instant::ZERO, through(&client.one(), 20_001));
    let mut back = server.one();
    assert_eq!(back.path.remote.port(), 20_001);
    back.path.remote = CLIENT.parse().unwrap();
    client.give(Instant::ZERO, arrives(&back));
    let auth = client.one();
    assert_eq!((auth.path.local.port(), auth.path.remote.port()), (4500, 4500));
    server.give(Instant::ZERO, through(&auth, 20_002));
    let mut back = server.one();
    assert_eq!((back.path.local.port(), back.path.remote.port()), (4500, 20_002));
    back.path.remote = auth.path.local;
    client.give(Instant::ZERO, arrives(&back));
    let (ours, theirs) = (client.established().unwrap(), server.established().unwrap());
    assert!(ours.encapsulated && ours.nat_local && !ours.nat_remote);
    assert!(theirs.encapsulated && !theirs.nat_local && theirs.nat_remote);
    assert_eq!(server.children[0].path.remote.port(), 20_002);
}

// [7296:2.23-5]
#[test]
fn forced_encapsulation_needs_no_nat() {
    let (mut client, mut server) = (Node::client(), Node::server());
    client.dial(Instant::ZERO, InitiatorConfig { force_encapsulation: true, ..config() });
    carry(Instant::ZERO, &mut client, &mut server);
    let (ours, theirs) = (client.established().unwrap(), server.established().unwrap());
    assert!(ours.encapsulated && theirs.encapsulated && theirs.nat_remote);
    assert_eq!(ours.path.remote.port(), 4500);
}

// [7296:3.3.4-4] [7296:2.21.2-2]
#[test]
fn nothing_in_common_is_explained_at_both_ends() {
    let (mut client, mut server) = (Node::client(), Node::server());
    client.dial(Instant::ZERO, InitiatorConfig { esp: vec!["aes128-sha256".parse().unwrap()], ..config() });
    carry(Instant::ZERO, &mut client, &mut server);
    assert_eq!(client.failure().code, FailureCode::ProposalMismatch);
    assert!(client.failure().text.contains("aes128-sha256"), "{}", client.failure());
    assert_eq!(server.failure().code, FailureCode::ProposalMismatch);
    assert!(server.endpoint.is_empty());
}

// [7296:2.19-6]
#[test]
fn who_asks_for_no_address_where_one_is_needed_hears_so() {
    let (mut client, mut server) = (Node::client(), Node::server());
    client.dial(Instant::ZERO, InitiatorConfig { request_v4: false, request_v6: false, ..config() });
    carry(Instant::ZERO, &mut client, &mut server);
    assert_eq!(client.failure().peer.as_deref(), Some("FAILED_CP_REQUIRED"));
    assert!(!server.asked.iter().any(|a| a == "Lease"));
}

// [8598:3.1-2] [8598:3.2-1] [8598:3.2-2]
#[test]
fn domains_are_told_to_who_asks_for_them_and_come_with_servers() {
    for asks in [true, false] {
        let (mut client, mut server) = (Node::client(), Node::server());
        client.dial(Instant::ZERO, InitiatorConfig { request_domains: asks, ..config() });
        carry(Instant::ZERO, &mut client, &mut server);
        let expected: &[&str] = if asks { &["corp.example.com", "lab.example.org"] } else { &[] };
        for node in [&client, &server] {
            assert_eq!(node.established().unwrap().lease.domains, expected);
        }
    }
    // Domains without a server mean nothing; the first 64 of them are taken.
    for (dns, taken) in [(None, 0), (Some([10, 9, 0, 1].into()), 64)] {
        let mut client = Node::client();
        client.dial(Instant::ZERO, InitiatorConfig { request_domains: true, ..config() });
        let (mut peer, answer) = Peer::answer_init(&client.one(), |_| {});
        client.give(Instant::ZERO, answer);
        let answer = peer.answer_auth(&client.one(), |payloads| {
            for payload in payloads {
                if let Payload::Configuration(cp) = payload {
                    cp.attributes.retain(|a| matches!(a, ConfigAttribute::Ip4Address(_)));
                    cp.attributes.extend(dns.map(|a| ConfigAttribute::Ip4Dns(Some(a))));
                    let domain = |n| ConfigAttribute::DnsDomain(Some(format!("d{n}.example.com")));
                    cp.attributes.extend((0..100).map(domain));
                }
            }
        });
        client.give(Instant::ZERO, answer);
        assert_eq!(client.established().unwrap().lease.domains.len(), taken);
    }
}

// [7296:3.15.1-3]
#[test]
fn networks_behind_the_server_are_taken_from_who_was_asked_for_them() {
    for asks in [true, false] {
        let mut client = Node::client();
        client.dial(Instant::ZERO, InitiatorConfig { request_subnets: asks, ..config() });
        let (mut peer, answer) = Peer::answer_init(&client.one(), |_| {});
        client.give(Instant::ZERO, answer);
        let answer = peer.answer_auth(&client.one(), |payloads| {
            for payload in payloads {
                if let Payload::Configuration(cp) = payload {
                    let network =
                        |n, mask: u32| ConfigAttribute::Ip4Subnet(Some(([10, n, 0, 9].into(), mask.into())));
                    cp.attributes.extend([network(1, 0xFFFF_0000), network(2, 0xFF00_FF00)]);
                    cp.attributes.extend((0..100).map(|n| network(n, 0xFFFF_FFFF)));
                }
            }
        });
        client.give(Instant::ZERO, answer);
        let taken = &client.established().unwrap().lease.subnets;
        assert_eq!(taken.len(), if asks { 64 } else { 0 });
        // Without a host's part; a netmask with a hole is none.
        assert_eq!(taken.first().map(ToString::to_string), asks.then(|| "10.1.0.0/16".to_owned()));
        assert_eq!(taken.get(1).map(ToString::to_string), asks.then(|| "10.0.0.9/32".to_owned()));
    }
}

// [7296:2.19-4]
#[test]
fn the_addresses_of_before_are_asked_for_again() {
    let (mut client, mut server) = (Node::client(), Node::server());
    let former = Lease {
        v4: Some("10.1.9.9".parse().unwrap()),
        v6: Some(("fd00::99".parse().unwrap(), 128)),
        ..Lease::default()
    };
    client.dial(Instant::ZERO, InitiatorConfig { former: former.clone(), ..config() });
    carry(Instant::ZERO, &mut client, &mut server);
    let lease = &client.established().unwrap().lease;
    assert_eq!((lease.v4, lease.v6), (former.v4, former.v6));
}

// [7296:2.9-1]
#[test]
fn sites_are_narrowed_to_what_both_allow() {
    let (mut client, mut server) = (Node::client(), Node::server());
    server.connection = || ResponderConfig {
        addresses: false,
        local_ts: vec![ts("10.1.0.0/16")],
        remote_ts: vec![ts("10.2.0.0/16"), ts("10.3.0.0/16")],
        ..connection()
    };
    let config = InitiatorConfig {
        request_v4: false,
        request_v6: false,
        local_ts: vec![ts("10.2.3.0/24")],
        remote_ts: vec![ts("10.0.0.0/8")],
        ..config()
    };
    client.dial(Instant::ZERO, config);
    carry(Instant::ZERO, &mut client, &mut server);
    let ours = client.established().unwrap();
    assert_eq!(
        (&ours.local_ts[..], &ours.remote_ts[..]),
        (&[ts("10.2.3.0/24")][..], &[ts("10.1.0.0/16")][..])
    );
    assert!(!server.asked.iter().any(|a| a == "Lease"));
}

// [7296:2.4-2]
#[test]
fn initial_contact_is_said_by_the_first_of_two_only() {
    use super::script::Peer;
    let mut client = Node::client();
    let mut said = Vec::new();
    for _ in 0..2 {
        client.dial(Instant::ZERO, config());
        let (mut peer, answer) = Peer::answer_init(&client.one(), |_| {});
        client.give(Instant::ZERO, answer);
        let request = peer.open(&client.one());
        said.push(request.notify(NotifyType::INITIAL_CONTACT).is_some());
    }
    assert_eq!(said, [true, false]);
}

// [7296:2.4-1]
#[test]
fn a_name_of_several_machines_says_nothing_of_the_others() {
    use super::script::Peer;
    for shared_identity in [true, false] {
        let mut client = Node::client();
        client.dial(Instant::ZERO, InitiatorConfig { shared_identity, ..config() });
        let (mut peer, answer) = Peer::answer_init(&client.one(), |_| {});
        client.give(Instant::ZERO, answer);
        let request = peer.open(&client.one());
        assert_eq!(request.notify(NotifyType::INITIAL_CONTACT).is_none(), shared_identity);
    }
}

#[test]
fn closing_while_it_dials_leaves_nothing_at_either_end() {
    let (mut client, mut server) = (Node::client(), Node::server());
    let sa = client.dial(Instant::ZERO, config());
    server.give(Instant::ZERO, arrives(&client.one()));
    client.give(Instant::ZERO, arrives(&server.one()));
    // IKE_AUTH is out, and the server takes it; its answer is not waited for.
    server.give(Instant::ZERO, arrives(&client.one()));
    client.give(Instant::ZERO, Input::Close { sa });
    assert_eq!(client.closed(), Some(&Ok(())));
    assert!(client.endpoint.is_empty() && client.endpoint.deadline().is_none());
    server.give(Instant::ZERO, arrives(&client.one()));
    assert!(server.endpoint.is_empty());
    assert_eq!(server.released(), 1);
}

// [7296:2.1-1] [7296:2.1-2] [7296:2.1-4]
#[test]
fn a_request_repeated_gets_the_same_answer_bit_for_bit() {
    let (mut client, mut server) = (Node::client(), Node::server());
    client.dial(Instant::ZERO, config());
    for _ in 0..2 {
        let request = client.one();
        server.give(Instant::ZERO, arrives(&request));
        let answer = server.one();
        server.give(Instant::ZERO, arrives(&request));
        assert_eq!(server.one(), answer);
        client.give(Instant::ZERO, arrives(&answer));
        // A duplicate of the answer changes nothing.
        let next = client.sent();
        client.give(Instant::ZERO, arrives(&answer));
        assert!(client.sent().is_empty());
        client.sent = next;
    }
    assert_eq!(server.children.len(), 1);
    assert_eq!(client.children.len(), 1);
}

// [7296:2.1-4] [7296:2.1-5]
#[test]
fn a_refusal_is_repeated_too() {
    let (mut client, mut server) = (Node::client(), Node::server());
    client.psk = b"a wrong key";
    client.dial(Instant::ZERO, config());
    server.give(Instant::ZERO, arrives(&client.one()));
    client.give(Instant::ZERO, arrives(&server.one()));
    let request = client.one();
    server.give(Instant::ZERO, arrives(&request));
    let answer = server.one();
    assert!(server.endpoint.is_empty() && server.endpoint.lingering() == 1);
    server.give(Instant::ZERO, arrives(&request));
    assert_eq!(server.one(), answer);
    server.wake();
    assert_eq!(server.endpoint.lingering(), 0);
    assert_eq!(server.endpoint.deadline(), None);
}

#[test]
fn first_messages_are_as_the_rfc_lists_them() {
    let mut client = Node::client();
    client.dial(Instant::ZERO, config());
    let message = Message::parse(&client.one().payload).unwrap();
    let kinds: Vec<u8> = message.payloads.iter().map(|p| p.kind().0).collect();
    assert_eq!(kinds, [33, 34, 40, 41, 41, 41, 41]);
    let notifies: Vec<_> = message.notifies().map(|n| n.kind).collect();
    assert_eq!(
        notifies,
        [
            NotifyType::NAT_DETECTION_SOURCE_IP,
            NotifyType::NAT_DETECTION_DESTINATION_IP,
            NotifyType::SIGNATURE_HASH_ALGORITHMS,
            NotifyType::IKEV2_FRAGMENTATION_SUPPORTED
        ]
    );
}
