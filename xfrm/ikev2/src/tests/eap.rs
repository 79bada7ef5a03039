//! EAP within IKE_AUTH (RFC 7296 §2.16, RFC 5998), with a method that asks a number of questions and then succeeds or
//! fails as it is told.

use adit_isakmp::payload::{Notify, NotifyType};

use super::*;

/// That method.
#[derive(Clone, Copy)]
pub(super) struct Toy {
    questions: u8,
    msk: Option<&'static [u8]>,
    mutual: bool,
    /// The server ends it with EAP-Failure.
    fails: bool,
}

impl Default for Toy {
    fn default() -> Self {
        Self { questions: 3, msk: Some(&[7; 64]), mutual: false, fails: false }
    }
}

const REQUEST: u8 = 1;
const RESPONSE: u8 = 2;
const SUCCESS: u8 = 3;

fn packet(code: u8, identifier: u8) -> Vec<u8> {
    match code {
        REQUEST | RESPONSE => vec![code, identifier, 0, 5, 200],
        _ => vec![code, identifier, 0, 4],
    }
}

impl Toy {
    pub(super) fn step(self, got: Option<&[u8]>, connection: fn() -> ResponderConfig) -> EapStep {
        let Some(&[code, id, ..]) = got else { return EapStep::Send(packet(REQUEST, 1)) };
        let succeeded = |packet, peer| {
            let (msk, mutual) = (self.msk.map(Secret::from), self.mutual);
            EapStep::Succeeded(Box::new(EapSuccess { packet, msk, mutual, peer }))
        };
        match code {
            REQUEST => EapStep::Send(packet(RESPONSE, id)),
            RESPONSE if id < self.questions => EapStep::Send(packet(REQUEST, id + 1)),
            RESPONSE if self.fails => EapStep::Failed(packet(4, id), refused("a wrong password")),
            RESPONSE => {
                succeeded(packet(SUCCESS, id), Some((name("bob@corp.example"), Box::new(connection()))))
            }
            SUCCESS => succeeded(Vec::new(), None),
            _ => EapStep::Failed(Vec::new(), refused("the server said no")),
        }
    }
}

const ED25519: &[SignatureScheme] = &[SignatureScheme::Ed25519];

pub(super) fn server_config() -> ResponderConfig {
    let (local_auth, _) = by_certificate(b"server cert", ED25519);
    ResponderConfig { local_auth, remote_auth: RemoteAuth::Eap { only: false }, ..connection() }
}

fn eap_only() -> ResponderConfig {
    ResponderConfig { remote_auth: RemoteAuth::Eap { only: true }, ..server_config() }
}

pub(super) fn optional_ppk() -> ResponderConfig {
    ResponderConfig { ppk: PpkUse::Optional, ..server_config() }
}

pub(super) fn required_ppk() -> ResponderConfig {
    ResponderConfig { ppk: PpkUse::Required, ..server_config() }
}

pub(super) fn client_config() -> InitiatorConfig {
    let (_, remote_auth) = by_certificate(b"", ED25519);
    InitiatorConfig { local_auth: LocalAuth::Eap { only: false }, remote_auth, ..config() }
}

fn pair(toy: Toy) -> (Node, Node) {
    let (mut client, mut server) = (Node::client(), Node::server());
    (client.eap, server.eap, server.connection) = (toy, toy, server_config);
    (client, server)
}

fn run(client: &mut Node, server: &mut Node, config: InitiatorConfig) {
    client.dial(Instant::ZERO, config);
    carry(Instant::ZERO, client, server);
}

fn asks(node: &Node, name: &str) -> usize {
    node.asked.iter().filter(|a| *a == name).count()
}

// [7296:2.16-1] [7296:2.16-2] [7296:2.16-3] [7296:2.16-4] [7296:2.16-6] [7296:2.16-8] [7296:5-3]
#[test]
fn a_method_with_a_key_lets_its_user_in() {
    let (mut client, mut server) = pair(Toy::default());
    run(&mut client, &mut server, client_config());
    let (ours, theirs) = (client.established().unwrap(), server.established().unwrap());
    // The server is who its certificate says, the client who EAP has said, not who IDi claimed.
    assert_eq!(
        (ours.remote_id.to_string(), theirs.remote_id.to_string()),
        ("vpn.example.com".into(), "bob@corp.example".into())
    );
    assert_eq!(client.verified.len(), 1, "the server is verified once, before anything else");
    let order: Vec<_> = client.asked.iter().filter(|a| ["Verify", "Eap"].contains(&a.as_str())).collect();
    assert_eq!(
        order,
        ["Verify", "Eap", "Eap", "Eap", "Eap"],
        "nothing is said to a server that is not verified"
    );
    assert_eq!((asks(&server, "Eap"), asks(&server, "Sign"), asks(&server, "Psk")), (4, 1, 0));
    assert_eq!(client.children[0].inbound_spi, server.children[0].outbound_spi);
}

// [7296:2.16-5]
#[test]
fn a_method_without_a_key_proves_itself_by_sk_p() {
    let (mut client, mut server) = pair(Toy { msk: None, ..Toy::default() });
    run(&mut client, &mut server, client_config());
    assert!(client.established().is_some() && server.established().is_some());
}

// [7296:2.16-3]
#[test]
fn who_has_not_spoken_eap_is_not_let_in() {
    for (ours, theirs) in [(Some(&[8; 64][..]), Some(&[7; 64][..])), (None, Some(&[7; 64]))] {
        let (mut client, mut server) = pair(Toy::default());
        (client.eap.msk, server.eap.msk) = (ours, theirs);
        run(&mut client, &mut server, client_config());
        assert!(server.established().is_none() && server.children.is_empty());
        assert_eq!(client.failure().peer.as_deref(), Some("AUTHENTICATION_FAILED"));
        assert!(server.failure().text.contains("the key of the EAP conversation"), "{}", server.failure());
    }
}

// [7296:2.16-7]
#[test]
fn a_failure_ends_both() {
    let (mut client, mut server) = pair(Toy { fails: true, ..Toy::default() });
    run(&mut client, &mut server, client_config());
    assert_eq!(client.failure().text, "the server said no");
    assert!(server.failure().text.contains("a wrong password"));
    assert_eq!((asks(&server, "Lease"), server.endpoint.half_open()), (0, 0));
}

#[test]
fn a_refusal_on_either_side_ends_both() {
    let (mut client, mut server) = pair(Toy::default());
    client.refuse = "Eap";
    run(&mut client, &mut server, client_config());
    assert_eq!(client.failure().text, "no");
    // The server hears of it, and does not wait.
    assert!(server.closed().is_some() && server.endpoint.half_open() == 0);

    let (mut client, mut server) = pair(Toy::default());
    server.refuse = "Eap";
    run(&mut client, &mut server, client_config());
    assert_eq!(client.failure().peer.as_deref(), Some("AUTHENTICATION_FAILED"));
}

#[test]
fn a_server_that_is_not_verified_hears_no_word_of_eap() {
    let (mut client, mut server) = pair(Toy::default());
    client.refuse = "Verify";
    run(&mut client, &mut server, client_config());
    assert_eq!((client.failure().text.as_str(), asks(&client, "Eap")), ("no", 0));
    assert!(server.closed().is_some());
}

#[test]
fn eap_is_spoken_only_by_who_is_asked_to() {
    // The server has a key for everybody, and the client wants EAP.
    let (mut client, mut server) = pair(Toy::default());
    server.connection = connection;
    run(&mut client, &mut server, client_config());
    assert_eq!(client.failure().peer.as_deref(), Some("AUTHENTICATION_FAILED"));
    // The other way round.
    let (mut client, mut server) = pair(Toy::default());
    run(&mut client, &mut server, config());
    assert_eq!(client.failure().peer.as_deref(), Some("AUTHENTICATION_FAILED"));
    assert!(server.failure().text.contains("by EAP"), "{}", server.failure());
    assert_eq!((asks(&client, "Eap"), asks(&server, "Eap")), (0, 0));
}

// [7296:2.16-1] [7296:5-3]
#[test]
fn a_server_without_a_certificate_speaks_no_eap() {
    let (mut client, mut server) = pair(Toy::default());
    server.connection = || ResponderConfig { remote_auth: RemoteAuth::Eap { only: false }, ..connection() };
    run(&mut client, &mut server, client_config());
    assert_eq!((asks(&client, "Eap"), asks(&server, "Eap")), (0, 0));
    assert!(client.failure().peer.is_some());
}

// [7296:2.16-1] [7296:5-3]
#[test]
fn a_client_that_asks_for_no_certificate_speaks_no_eap() {
    let (mut client, mut server) = pair(Toy::default());
    run(&mut client, &mut server, InitiatorConfig { remote_auth: RemoteAuth::Psk, ..client_config() });
    assert_eq!(asks(&client, "Eap"), 0);
    assert!(client.failure().text.contains("before it has shown who it is"), "{}", client.failure());
}

#[test]
fn a_person_may_take_two_minutes() {
    let (mut client, mut server) = pair(Toy::default());
    client.silent = "Eap";
    run(&mut client, &mut server, client_config());
    let (asked_at, id) = (Instant::ZERO, client.held.as_ref().unwrap().0);
    client.silent = "";
    let later = asked_at + seconds(120);
    live(&mut client, &mut server, later);
    assert!(client.closed().is_none() && server.closed().is_none());
    let answer = Answer::Eap(Ok(client.eap.step(Some(&packet(REQUEST, 1)), connection)));
    client.give(later, Input::Answer { id, answer });
    carry(later, &mut client, &mut server);
    assert!(client.established().is_some() && server.established().is_some());
}

#[test]
fn a_person_who_does_not_come_back_holds_nothing() {
    let (mut client, mut server) = pair(Toy::default());
    client.silent = "Eap";
    run(&mut client, &mut server, client_config());
    live(&mut client, &mut server, Instant::ZERO + seconds(200));
    assert_eq!(client.failure().code, FailureCode::TimedOut);
    assert!(server.closed().is_some() && server.endpoint.half_open() == 0);
}

// [7296:2.1-1]
#[test]
fn every_message_may_be_lost_once() {
    let (mut client, mut server) = pair(Toy::default());
    client.dial(Instant::ZERO, client_config());
    let mut now = Instant::ZERO;
    for _ in 0..40 {
        // Of each request the first copy is lost, and of each response the first one, too.
        let _lost = client.sent();
        now = client.wake();
        let request = client.one();
        server.give(now, arrives(&request));
        let _lost = server.sent();
        now = client.wake();
        let again = client.one();
        assert_eq!(again.payload, request.payload);
        let before = server.asked.len();
        server.give(now, arrives(&again));
        assert_eq!(server.asked.len(), before, "the same request is not worked on twice");
        let response = server.one();
        client.give(now, arrives(&response));
        if client.established().is_some() {
            break;
        }
    }
    assert!(client.established().is_some() && server.established().is_some(), "{now:?}");
}

#[test]
fn messages_out_of_turn_change_nothing() {
    let (mut client, mut server) = pair(Toy::default());
    client.dial(Instant::ZERO, client_config());
    let mut all: Vec<Transmit> = Vec::new();
    for _ in 0..40 {
        let (mut from_client, mut from_server) = (client.sent(), server.sent());
        if from_client.is_empty() && from_server.is_empty() {
            break;
        }
        from_client.iter().for_each(|t| server.give(Instant::ZERO, arrives(t)));
        from_server.iter().for_each(|t| client.give(Instant::ZERO, arrives(t)));
        // Everything that was ever sent comes again.
        for old in &all {
            let node =
                if old.path.remote.ip().to_string() == "192.0.2.7" { &mut client } else { &mut server };
            node.give(Instant::ZERO, arrives(old));
        }
        all.append(&mut from_client);
        all.append(&mut from_server);
    }
    assert!(client.established().is_some() && server.established().is_some());
    assert_eq!((asks(&client, "Eap"), asks(&server, "Eap")), (4, 4));
}

#[test]
fn without_a_certificate_only_a_method_that_proves_both_is_enough() {
    let only = || InitiatorConfig { local_auth: LocalAuth::Eap { only: true }, ..client_config() };
    for (mutual, msk, good) in
        [(true, Some(&[7; 64][..]), true), (false, Some(&[7; 64][..]), false), (true, None, false)]
    {
        let (mut client, mut server) = pair(Toy { mutual, msk, ..Toy::default() });
        server.connection = eap_only;
        run(&mut client, &mut server, only());
        assert_eq!(client.established().is_some(), good, "{:?}", client.events);
        assert_eq!(server.established().is_some(), good);
        assert_eq!((asks(&server, "Sign"), client.verified.len()), (0, 0), "no certificate was shown");
    }
    // A server that does not do without shows its own, and a client that does not ask for it gets it.
    for (server_config, config) in [(server_config as fn() -> _, only()), (eap_only, client_config())] {
        let (mut client, mut server) = pair(Toy { mutual: true, ..Toy::default() });
        server.connection = server_config;
        run(&mut client, &mut server, config);
        assert!(client.established().is_some() && client.verified.len() == 1);
    }
}

#[test]
fn a_server_that_leaves_its_certificate_out_unasked_hears_nothing() {
    // It would take EAP-only from everybody.
    let (mut client, mut server) = pair(Toy { mutual: true, ..Toy::default() });
    server.connection = || {
        let local_auth = LocalAuth::Psk;
        ResponderConfig { local_auth, ..eap_only() }
    };
    run(&mut client, &mut server, client_config());
    assert_eq!((asks(&client, "Eap"), asks(&server, "Eap")), (0, 0));
    assert_eq!(client.failure().peer.as_deref(), Some("AUTHENTICATION_FAILED"));
    let notify = Notify::new(NotifyType::EAP_ONLY_AUTHENTICATION, []);
    assert_eq!(notify.kind.0, 16417);
}

#[test]
fn with_additional_key_exchanges_eap_is_bound_to_them() {
    const HYBRID: &str = "aes256gcm16-prfsha256-x25519-ke1_mlkem768";
    let (mut client, mut server) = pair(Toy::default());
    let ike = || vec![HYBRID.parse().unwrap()];
    server.endpoint.set_responder(Some(ResponderDefaults { ike: ike(), ..defaults() }));
    run(&mut client, &mut server, InitiatorConfig { ike: ike(), ..client_config() });
    assert!(client.established().is_some() && server.established().is_some(), "{:?}", client.events);
}
