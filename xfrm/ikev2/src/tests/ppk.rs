//! Postquantum preshared keys (RFC 8784), between two ends that have some or none.

use adit_isakmp::Payload;
use adit_isakmp::payload::{Notify, NotifyType};

use super::script::Peer;
use super::*;

const KEYS: &[(&str, &str)] = &[("staff", "a key that outlives quantum computers"), ("guests", "another")];
const OTHER: &[(&str, &str)] = &[("staff", "a key that is not the same")];

fn rule(id: &str, required: bool) -> Option<PpkRule> {
    Some(PpkRule { id: id.into(), required })
}

fn required() -> ResponderConfig {
    ResponderConfig { ppk: PpkUse::Required, ..connection() }
}

fn optional() -> ResponderConfig {
    ResponderConfig { ppk: PpkUse::Optional, ..connection() }
}

fn by_certificate_optional() -> ResponderConfig {
    let (local_auth, remote_auth) = by_certificate(b"server cert", &[SignatureScheme::Ed25519]);
    ResponderConfig { local_auth, remote_auth, ..optional() }
}

fn pair(connection: fn() -> ResponderConfig) -> (Node, Node) {
    let mut server = Node::new(SERVER, 2, Some(ResponderDefaults { ppk: true, ..defaults() }));
    (server.ppks, server.connection) = (KEYS, connection);
    let mut client = Node::client();
    client.ppks = KEYS;
    (client, server)
}

fn run(client: &mut Node, server: &mut Node, config: InitiatorConfig) -> SaId {
    let sa = client.dial(Instant::ZERO, config);
    carry(Instant::ZERO, client, server);
    sa
}

/// Whether both are up, and with a PPK.
fn outcome(client: &Node, server: &Node) -> (Option<bool>, Option<bool>) {
    (client.established().map(|e| e.ppk), server.established().map(|e| e.ppk))
}

fn same_keys(client: &Node, server: &Node) -> bool {
    let (ours, theirs) = (&client.children[0], &server.children[0]);
    ours.inbound.encryption.equals(theirs.outbound.as_ref().unwrap().encryption.expose())
}

// [8784:3-1] [8784:3-2] [8784:3-5] [8784:3-8] [8784:3-11]
#[test]
fn a_key_that_both_have_is_in_the_keys_of_both() {
    let (mut client, mut server) = pair(required);
    run(&mut client, &mut server, InitiatorConfig { ppk: rule("staff", true), ..config() });
    assert_eq!(outcome(&client, &server), (Some(true), Some(true)));
    assert!(same_keys(&client, &server));
    // Without it the same random numbers make other keys.
    let (mut alone, mut without) = pair(optional);
    run(&mut alone, &mut without, config());
    assert_eq!(outcome(&alone, &without), (Some(false), Some(false)));
    let inbound = |node: &Node| Secret::from(node.children[0].inbound.encryption.expose());
    assert!(!inbound(&client).equals(inbound(&alone).expose()));
}

// [8784:3-7] [8784:3-9] [8784:3-12]
#[test]
fn each_end_says_whether_it_does_without() {
    let outcomes = [
        // The client's key, whether it needs it, the server's rule, what both have then.
        ("staff", true, optional as fn() -> ResponderConfig, Some(true)),
        ("staff", false, required, Some(true)),
        ("staff", false, optional, Some(true)),
        ("unknown", false, optional, Some(false)),
        ("unknown", true, optional, None),
        ("unknown", false, required, None),
    ];
    for (id, must, connection, both) in outcomes {
        let (mut client, mut server) = pair(connection);
        client.ppks = &[("staff", "a key that outlives quantum computers"), ("unknown", "to the server")];
        run(&mut client, &mut server, InitiatorConfig { ppk: rule(id, must), ..config() });
        assert_eq!(outcome(&client, &server), (both, both), "{id} {must}");
        if both.is_none() {
            assert_eq!(client.failure().code, FailureCode::AuthenticationFailed);
        } else {
            assert!(same_keys(&client, &server), "{id} {must}");
        }
    }
}

// [8784:3-3] [8784:3-4]
#[test]
fn a_server_without_keys_is_no_server_for_who_requires_one() {
    let mut client = Node::client();
    client.ppks = KEYS;
    let mut server = Node::server();
    run(&mut client, &mut server, InitiatorConfig { ppk: rule("staff", false), ..config() });
    assert_eq!(outcome(&client, &server), (Some(false), Some(false)));
    assert!(!client.asked.contains(&"Ppk".into()), "nobody needs it");

    let (mut client, mut server) = (Node::client(), Node::server());
    run(&mut client, &mut server, InitiatorConfig { ppk: rule("staff", true), ..config() });
    while client.closed().is_none() {
        let now = client.wake();
        carry(now, &mut client, &mut server);
    }
    assert!(client.failure().text.contains("RFC 8784"), "{}", client.failure());
    assert!(server.established().is_none());
}

// [8784:3-10]
#[test]
fn who_has_none_is_not_let_in_where_one_is_required() {
    let (mut client, mut server) = pair(required);
    run(&mut client, &mut server, config());
    assert_eq!(outcome(&client, &server), (None, None));
    assert!(server.failure().text.contains("postquantum"), "{}", server.failure());
}

/// Else who measures learns which names, and which keys' names, are known here.
#[test]
fn who_is_refused_for_its_key_costs_what_everybody_costs() {
    for (ppk, asked) in
        [(None, &["Connection", "Psk"][..]), (rule("unknown", false), &["Connection", "Ppk", "Psk"])]
    {
        let (mut client, mut server) = pair(required);
        client.ppks = &[("unknown", "to the server")];
        run(&mut client, &mut server, InitiatorConfig { ppk, ..config() });
        assert!(server.failure().text.contains("postquantum"), "{}", server.failure());
        assert!(
            server.asked.ends_with(&asked.iter().map(ToString::to_string).collect::<Vec<_>>()),
            "{:?}",
            server.asked
        );
    }
}

// [8784:3-8] [8784:3-11]
#[test]
fn another_key_under_the_name_is_no_proof() {
    for must in [true, false] {
        let (mut client, mut server) = pair(optional);
        client.ppks = OTHER;
        run(&mut client, &mut server, InitiatorConfig { ppk: rule("staff", must), ..config() });
        assert_eq!(outcome(&client, &server), (None, None), "{must}");
        assert_eq!(client.failure().code, FailureCode::AuthenticationFailed);
    }
}

// [8784:3-7]
#[test]
fn a_certificate_proves_both_ways_with_and_without() {
    for (id, both) in [("staff", true), ("unknown", false)] {
        let (mut client, mut server) = pair(by_certificate_optional);
        client.ppks = &[("staff", "a key that outlives quantum computers"), ("unknown", "to the server")];
        let (local_auth, remote_auth) = by_certificate(b"client cert", &[SignatureScheme::Ed25519]);
        let config = InitiatorConfig { local_auth, remote_auth, ppk: rule(id, false), ..config() };
        run(&mut client, &mut server, config);
        assert_eq!(outcome(&client, &server), (Some(both), Some(both)), "{id}");
        assert_eq!(client.asked.iter().filter(|a| *a == "Sign").count(), 2, "with it and without");
        assert!(same_keys(&client, &server));
    }
}

// [8784:3-13]
#[test]
fn with_eap_it_is_in_the_last_proofs() {
    for (id, must, connection, both) in [
        ("staff", true, eap::optional_ppk as fn() -> ResponderConfig, Some(true)),
        ("unknown", false, eap::optional_ppk, Some(false)),
        ("unknown", true, eap::optional_ppk, None),
        ("unknown", false, eap::required_ppk, None),
    ] {
        let (mut client, mut server) = pair(connection);
        client.ppks = &[("staff", "a key that outlives quantum computers"), ("unknown", "to the server")];
        run(&mut client, &mut server, InitiatorConfig { ppk: rule(id, must), ..eap::client_config() });
        assert_eq!(outcome(&client, &server), (both, both), "{id} {must}");
        if both.is_some() {
            assert!(same_keys(&client, &server), "{id} {must}");
        }
        let order: Vec<_> = client.asked.iter().filter(|a| ["Ppk", "Verify"].contains(&a.as_str())).collect();
        assert_eq!(order, ["Verify", "Ppk"], "the server's certificate comes first, without it");
    }
    let (mut client, mut server) = pair(eap::required_ppk);
    run(&mut client, &mut server, eap::client_config());
    assert_eq!(outcome(&client, &server), (None, None), "one is required");
}

// [8784:3-14]
#[test]
fn a_rekeyed_ike_sa_goes_on_from_it() {
    let (mut client, mut server) = pair(required);
    run(&mut client, &mut server, InitiatorConfig { ppk: rule("staff", true), ..config() });
    client.rekey_ike(Instant::ZERO);
    carry(Instant::ZERO, &mut client, &mut server);
    assert_eq!((client.rekeyed(), server.rekeyed()), (1, 1));
    client.rekey(Instant::ZERO);
    carry(Instant::ZERO, &mut client, &mut server);
    assert_eq!((client.children.len(), server.children.len()), (2, 2));
    assert_eq!(client.asked.iter().filter(|a| *a == "Ppk").count(), 1);
}

// [8784:3-1]
#[test]
fn a_cookie_does_not_make_it_forgotten() {
    let mut server =
        Node::new(SERVER, 2, Some(ResponderDefaults { ppk: true, cookie_threshold: 0, ..defaults() }));
    (server.ppks, server.connection) = (KEYS, required);
    let mut client = Node::client();
    client.ppks = KEYS;
    run(&mut client, &mut server, InitiatorConfig { ppk: rule("staff", true), ..config() });
    assert_eq!(outcome(&client, &server), (Some(true), Some(true)));
}

/// A key that can't be got, or never comes, ends it.
#[test]
fn without_the_key_there_is_no_connection() {
    for who in ["client", "server"] {
        let (mut client, mut server) = pair(required);
        let node = if who == "client" { &mut client } else { &mut server };
        node.refuse = "Ppk";
        run(&mut client, &mut server, InitiatorConfig { ppk: rule("staff", true), ..config() });
        assert_eq!(outcome(&client, &server), (None, None), "{who}");
        assert!(client.closed().is_some());
    }
    let (mut client, mut server) = pair(required);
    client.silent = "Ppk";
    run(&mut client, &mut server, InitiatorConfig { ppk: rule("staff", true), ..config() });
    client.wake();
    assert!(client.closed().is_some(), "nobody waits for ever");
}

// [8784:3-6] [8784:3-7]
#[test]
fn who_requires_it_gives_no_proof_without_it() {
    for (must, expected) in [(true, 0), (false, 1)] {
        let mut client = Node::client();
        client.ppks = KEYS;
        client.dial(Instant::ZERO, InitiatorConfig { ppk: rule("staff", must), ..config() });
        let (mut peer, answer) = Peer::answer_init(&client.one(), |payloads| {
            payloads.push(Payload::Notify(Notify::new(NotifyType::USE_PPK, [])));
        });
        client.give(Instant::ZERO, answer);
        let message = peer.open(&client.one());
        let data = |kind| {
            let found: Vec<_> = message.notifies().filter(|n| n.kind == kind).collect();
            (found.len(), found.first().map(|n| n.data.clone()))
        };
        assert_eq!(data(NotifyType::PPK_IDENTITY), (1, Some(b"\x02staff".to_vec())));
        assert_eq!(data(NotifyType::NO_PPK_AUTH).0, expected, "{must}");
    }
}
