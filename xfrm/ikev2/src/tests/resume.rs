//! Sessions that are resumed (RFC 5723).

use adit_isakmp::payload::{Identification, Notify, NotifyType};
use adit_isakmp::{ExchangeType, Flags, Header, Message, Payload, VERSION_2};

use super::*;

const HOUR: Duration = Duration::from_secs(3600);

fn granting() -> ResponderConfig {
    ResponderConfig { ticket_lifetime: HOUR, ..connection() }
}

fn resumable() -> InitiatorConfig {
    InitiatorConfig { resumable: true, ..config() }
}

/// A client and a server that are up, and the client's ticket.
fn with(client_config: InitiatorConfig, connection: fn() -> ResponderConfig) -> (Node, Node, Box<Ticket>) {
    let (mut client, mut server) = (Node::client(), Node::server());
    server.connection = connection;
    client.dial(Instant::ZERO, client_config);
    carry(Instant::ZERO, &mut client, &mut server);
    let ticket = ticket(&mut client).expect("a ticket");
    (client, server, ticket)
}

fn up_with_ticket() -> (Node, Node, Box<Ticket>) {
    with(resumable(), granting)
}

/// The last ticket that came.
fn ticket(client: &mut Node) -> Option<Box<Ticket>> {
    let at = client.events.iter().rposition(|(_, e)| matches!(e, Event::Ticket(_)))?;
    match client.events.remove(at) {
        (_, Event::Ticket(ticket)) => Some(ticket),
        _ => None,
    }
}

fn again(ticket: Box<Ticket>) -> InitiatorConfig {
    InitiatorConfig { ticket: Some(ticket), ..resumable() }
}

/// The client loses its IKE_SA, and dials with a ticket; what was asked and said before is forgotten.
fn resume(client: &mut Node, server: &mut Node, config: InitiatorConfig) -> SaId {
    let old = client.sa();
    client.give(Instant::ZERO, Input::Abandon { sa: old });
    assert!(client.sent().is_empty(), "nothing is said to the server");
    for node in [&mut *client, &mut *server] {
        node.asked.clear();
        node.events.clear();
    }
    client.dial(Instant::ZERO, config)
}

fn exchanges(sent: &[Transmit]) -> Vec<ExchangeType> {
    sent.iter().map(|t| Message::parse(&t.payload).unwrap().header.exchange).collect()
}

// [5723:4.3.2-1] [5723:4.3.2-3] [5723:5.1-1] [5723:5.1-3] [5723:5-2] [5723:7.2-2]
#[test]
fn a_session_goes_on_without_a_key_exchange_and_without_a_proof() {
    let (mut client, mut server, ticket) = up_with_ticket();
    let first = client.established().unwrap().lease.clone();
    let (old, opaque) = (server.sa(), ticket.opaque.clone());
    resume(&mut client, &mut server, again(ticket));
    let request = Message::parse(&client.sent[0].payload).unwrap();
    assert_eq!(request.header.exchange, ExchangeType::IKE_SESSION_RESUME);
    assert_eq!((request.header.responder_spi, request.header.message_id), (0, 0));
    assert!(matches!(request.payloads[0], Payload::Nonce(_)));
    assert_eq!(request.notify(NotifyType::TICKET_OPAQUE).map(|n| &n.data), Some(&opaque));
    carry(Instant::ZERO, &mut client, &mut server);
    let (ours, theirs) = (client.established().expect("up"), server.established().expect("up"));
    assert!(ours.resumed && theirs.resumed);
    assert_eq!((ours.lease.clone(), ours.remote_id.clone()), (first, name("vpn.example.com")));
    assert_eq!(client.asked, ["AllocateSpi", "Install"]);
    assert_eq!(server.asked, ["Resume", "Lease", "AllocateSpi", "Install"]);
    let pair =
        |n: &Node| n.children.last().map(|c| (c.inbound.encryption.duplicate(), c.outbound_spi)).unwrap();
    let (mine, their_out) = (pair(&client), server.children.last().unwrap());
    let outbound = their_out.outbound.as_ref().expect("keys").encryption.duplicate();
    assert!(mine.0.equals(outbound.expose()), "both ends have the same keys");
    let closed = server.events.iter().any(|(sa, e)| *sa == old && matches!(e, Event::Closed(Err(_))));
    assert!(closed, "the old one is gone: {:?}", server.events);
    assert_eq!((server.endpoint.established(), client.endpoint.established()), (1, 1));
    let spoken = server.endpoint.counters();
    assert_eq!(spoken.stray, 0, "no DELETE went to an IKE_SA that the client has no more");
}

// [5723:4.1-1] [5723:4.2-1] [5723:4.2-2]
#[test]
fn a_ticket_is_given_to_who_asks_and_where_there_are_any() {
    for (asks, connection, given) in [
        (true, granting as fn() -> ResponderConfig, true),
        (false, granting, false),
        (true, connection, false),
    ] {
        let (mut client, mut server) = (Node::client(), Node::server());
        server.connection = connection;
        client.dial(Instant::ZERO, InitiatorConfig { resumable: asks, ..config() });
        carry(Instant::ZERO, &mut client, &mut server);
        assert!(client.established().is_some() && server.established().is_some());
        assert_eq!(ticket(&mut client).is_some(), given, "{asks}");
        assert_eq!(server.endpoint.tickets(), usize::from(given));
    }
}

// [5723:4.3-2] [5723:4.3-3] [5723:4.3.2-2]
#[test]
fn a_ticket_is_used_once_and_a_new_one_comes_with_it() {
    let (mut client, mut server, first) = up_with_ticket();
    let copy = Ticket {
        opaque: first.opaque.clone(),
        until: first.until,
        sk_d: first.sk_d.duplicate(),
        suite: first.suite,
        initiator: first.initiator.clone(),
        responder: first.responder.clone(),
        ppk: false,
        reauthenticate_at: None,
    };
    resume(&mut client, &mut server, again(first));
    carry(Instant::ZERO, &mut client, &mut server);
    let second = ticket(&mut client).expect("the next one");
    assert!(second.opaque != copy.opaque);
    assert_eq!(server.endpoint.tickets(), 1);
    resume(&mut client, &mut server, again(Box::new(copy)));
    carry(Instant::ZERO, &mut client, &mut server);
    let told = client.events.iter().any(|(_, e)| matches!(e, Event::NotResumed(_)));
    assert!(told, "{:?}", client.events);
    assert!(!client.established().expect("up all the same, from scratch").resumed);
    assert!(server.asked.contains(&"Psk".to_owned()) && !server.asked.contains(&"Resume".to_owned()));
}

// [5723:4.3-1]
#[test]
fn an_old_ticket_is_not_presented() {
    let (mut client, mut server, ticket) = up_with_ticket();
    client.give(Instant::ZERO, Input::Abandon { sa: client.sa() });
    let late = Instant::ZERO + HOUR;
    client.dial(late, again(ticket));
    assert_eq!(exchanges(&client.sent()), [ExchangeType::IKE_SA_INIT]);
    server.give(late, Input::Wake);
    assert_eq!(server.endpoint.tickets(), 0, "nor kept");
}

// [5723:4.3-3]
#[test]
fn the_ticket_of_an_ike_sa_that_was_deleted_is_worth_nothing() {
    for who in ["client", "server"] {
        let (mut client, mut server, ticket) = up_with_ticket();
        let (ours, theirs) = (client.sa(), server.sa());
        if who == "client" {
            client.give(Instant::ZERO, Input::Close { sa: ours });
        } else {
            server.give(Instant::ZERO, Input::Close { sa: theirs });
        }
        carry(Instant::ZERO, &mut client, &mut server);
        assert_eq!(server.endpoint.tickets(), 0, "{who}");
        client.events.clear();
        client.dial(Instant::ZERO, again(ticket));
        carry(Instant::ZERO, &mut client, &mut server);
        assert!(!client.established().expect("up").resumed, "{who}");
    }
}

#[test]
fn a_peer_that_was_lost_comes_back_with_its_ticket() {
    let (mut client, mut server, ticket) = up_with_ticket();
    client.give(Instant::ZERO, Input::Abandon { sa: client.sa() });
    let mut now = Instant::ZERO;
    while server.closed().is_none() {
        now = server.wake();
        server.sent();
    }
    assert_eq!(server.failure().code, FailureCode::PeerLost);
    assert_eq!((server.endpoint.established(), server.endpoint.tickets()), (0, 1));
    client.events.clear();
    server.events.clear();
    client.dial(now, again(ticket));
    carry(now, &mut client, &mut server);
    assert!(client.established().expect("up").resumed && server.established().expect("up").resumed);
}

/// Refused by who decides: the client begins from scratch at once, and the place among the half-open ones stays taken.
// [5723:4.3.2-2] [5723:9.2-1]
#[test]
fn a_session_that_may_not_go_on_is_begun_from_scratch_in_the_same_attempt() {
    let (mut client, mut server, ticket) = up_with_ticket();
    server.refuse = "Resume";
    let sa = resume(&mut client, &mut server, again(ticket));
    carry(Instant::ZERO, &mut client, &mut server);
    let established = client.events.iter().find_map(|(of, e)| match e {
        Event::Established(e) => Some((*of, e.resumed)),
        _ => None,
    });
    assert_eq!(established, Some((sa, false)));
    let why = client.events.iter().find_map(|(_, e)| match e {
        Event::NotResumed(why) => Some(why.clone()),
        _ => None,
    });
    assert_eq!(why.unwrap().peer.as_deref(), Some("TICKET_NACK"));
    assert_eq!(server.endpoint.half_open(), 1, "what it has cost counts");
}

// [5723:4.3.2-4] [5723:9.2-1]
#[test]
fn a_cookie_is_asked_for_and_followed() {
    let (mut client, mut server, ticket) = up_with_ticket();
    server.endpoint.set_responder(Some(ResponderDefaults { cookie_threshold: 0, ..defaults() }));
    resume(&mut client, &mut server, again(ticket));
    let first = client.one();
    server.give(Instant::ZERO, arrives(&first));
    assert_eq!((server.endpoint.half_open(), server.asked.len()), (0, 0), "nothing is remembered of it");
    let cookie = server.one();
    client.give(Instant::ZERO, arrives(&cookie));
    let second = Message::parse(&client.sent[0].payload).unwrap();
    assert!(matches!(&second.payloads[0], Payload::Notify(n) if n.kind == NotifyType::COOKIE));
    carry(Instant::ZERO, &mut client, &mut server);
    assert!(client.established().expect("up").resumed);
}

/// Whoever has seen a ticket, and not the keys.
// [5723:4.3-3] [5723:4.3.3-1] [5723:9.1-1]
#[test]
fn a_stolen_ticket_is_worth_nothing_and_costs_its_owner_nothing() {
    let (mut client, mut server, mut ticket) = up_with_ticket();
    let right = ticket.sk_d.duplicate();
    let opaque = ticket.opaque.clone();
    let mut thief = Node::new("203.0.113.9:500", 5, None);
    ticket.sk_d = Secret::from(&[7; 32][..]);
    let path = Path { local: "203.0.113.9:500".parse().unwrap(), remote: SERVER.parse().unwrap() };
    let (suite, initiator, responder) = (ticket.suite, ticket.initiator.clone(), ticket.responder.clone());
    thief.dial(Instant::ZERO, InitiatorConfig { path, ..again(ticket) });
    carry(Instant::ZERO, &mut thief, &mut server);
    assert!(thief.established().is_none());
    assert_eq!((server.endpoint.tickets(), server.endpoint.established()), (1, 1), "the session stands");
    let own = Ticket {
        opaque,
        until: Instant::ZERO + HOUR,
        sk_d: right,
        suite,
        initiator,
        responder,
        ppk: false,
        reauthenticate_at: None,
    };
    resume(&mut client, &mut server, again(Box::new(own)));
    carry(Instant::ZERO, &mut client, &mut server);
    assert!(client.established().expect("up").resumed);
}

/// The same ticket twice at once: one of both comes in.
// [5723:4.3-2] [5723:4.3-3] [5723:4.3.3-1] [5723:4.3.3-2]
#[test]
fn of_two_that_have_one_ticket_one_comes_in_and_names_count() {
    for (change, comes_in) in [("nothing", 1), ("IDi", 0), ("IDr", 0)] {
        let (mut client, mut server, ticket) = up_with_ticket();
        client.give(Instant::ZERO, Input::Abandon { sa: client.sa() });
        let mut ends = [Node::new("192.0.2.8:500", 11, None), Node::new("192.0.2.9:500", 12, None)];
        for end in &mut ends {
            let mut copy = Ticket {
                opaque: ticket.opaque.clone(),
                until: ticket.until,
                sk_d: ticket.sk_d.duplicate(),
                suite: ticket.suite,
                initiator: ticket.initiator.clone(),
                responder: ticket.responder.clone(),
                ppk: false,
                reauthenticate_at: None,
            };
            match change {
                "IDi" => copy.initiator = Identification::from(&name("bob@example.com")),
                "IDr" => copy.responder = Identification::from(&name("other.example.com")),
                _ => {}
            }
            let path = Path { local: end.address, remote: SERVER.parse().unwrap() };
            end.dial(Instant::ZERO, InitiatorConfig { path, ..again(Box::new(copy)) });
        }
        let [one, two] = &mut ends;
        // Both are answered before either proves anything.
        for end in [&mut *one, &mut *two] {
            server.give(Instant::ZERO, arrives(&end.one()));
            end.give(Instant::ZERO, arrives(&server.one()));
        }
        carry(Instant::ZERO, one, &mut server);
        carry(Instant::ZERO, two, &mut server);
        let resumed = ends.iter().filter(|e| e.established().is_some_and(|e| e.resumed)).count();
        assert_eq!(resumed, comes_in, "{change}");
        let up = ends.iter().filter(|e| e.established().is_some()).count();
        assert_eq!(up, 2, "{change}: who is refused begins from scratch");
    }
}

#[test]
fn a_server_that_is_not_there_costs_no_ticket() {
    let (mut client, _, ticket) = up_with_ticket();
    client.give(Instant::ZERO, Input::Abandon { sa: client.sa() });
    client.events.clear();
    client.dial(Instant::ZERO, again(ticket));
    let mut sent = Vec::new();
    while client.closed().is_none() {
        client.wake();
        sent.extend(exchanges(&client.sent()));
    }
    assert!(sent.contains(&ExchangeType::IKE_SESSION_RESUME) && sent.contains(&ExchangeType::IKE_SA_INIT));
    assert_eq!(client.failure().code, FailureCode::ServerUnreachable);
    assert!(ticket_came_back(&mut client), "it was not used");
    assert_eq!(client.endpoint.spis(), 0);
}

fn ticket_came_back(client: &mut Node) -> bool {
    ticket(client).is_some()
}

/// An error that anybody could have sent, and one that comes from who has the keys.
#[test]
fn whatever_is_answered_that_is_no_session_leads_to_a_connection_from_scratch() {
    for kind in [NotifyType::TICKET_NACK, NotifyType::INVALID_SYNTAX, NotifyType::INVALID_MAJOR_VERSION] {
        let (mut client, mut server, ticket) = up_with_ticket();
        resume(&mut client, &mut server, again(ticket));
        let request = client.one();
        let asked = Message::parse(&request.payload).unwrap().header;
        let header = Header { version: VERSION_2, flags: Flags::of(false, true), ..asked };
        let forged = Message { header, payloads: vec![Payload::Notify(Notify::new(kind, []))] };
        let path = Path { local: request.path.remote, remote: request.path.local };
        client.give(Instant::ZERO, arrives(&Transmit { path, payload: forged.emit().unwrap() }));
        let init = &client.sent[0];
        let header = Message::parse(&init.payload).unwrap().header;
        assert_eq!(header.exchange, ExchangeType::IKE_SA_INIT, "{kind:?}");
        assert_ne!(header.initiator_spi, asked.initiator_spi);
        carry(Instant::ZERO, &mut client, &mut server);
        assert!(!client.established().expect("up").resumed);
    }
}

// [5723:4.1-1] [5723:4.2-1]
#[test]
fn a_new_ticket_is_got_when_the_old_one_ages_and_when_the_ike_sa_is_rekeyed() {
    let (mut client, mut server, _) = up_with_ticket();
    live(&mut client, &mut server, Instant::ZERO + HOUR / 2);
    assert!(ticket(&mut client).is_none());
    live(&mut client, &mut server, Instant::ZERO + HOUR / 5 * 4);
    let aged = ticket(&mut client).expect("before the old one ends");
    assert_eq!(server.endpoint.tickets(), 1, "in its place");
    let now = Instant::ZERO + HOUR;
    client.rekey_ike(now);
    carry(now, &mut client, &mut server);
    live(&mut client, &mut server, now + Duration::from_secs(30));
    let rekeyed = ticket(&mut client).expect("of the new keys");
    assert!(!rekeyed.sk_d.equals(aged.sk_d.expose()));
    let old = client.sa();
    client.give(now, Input::Abandon { sa: old });
    client.events.clear();
    client.dial(now, again(rekeyed));
    carry(now, &mut client, &mut server);
    assert!(client.established().expect("up").resumed);
}

/// A server that rekeys has made the IKE_SA's new keys: who has dialled is still who asks.
#[test]
fn after_the_servers_own_rekey_a_ticket_of_the_new_keys_comes_too() {
    let (mut client, mut server, first) = up_with_ticket();
    server.rekey_ike(Instant::ZERO);
    carry(Instant::ZERO, &mut client, &mut server);
    let now = Instant::ZERO + Duration::from_secs(30);
    live(&mut client, &mut server, now);
    let second = ticket(&mut client).expect("of the new keys");
    assert!(!second.sk_d.equals(first.sk_d.expose()));
    client.give(now, Input::Abandon { sa: client.sa() });
    client.events.clear();
    client.dial(now, again(second));
    carry(now, &mut client, &mut server);
    assert!(client.established().expect("up").resumed);
}

// [5723:6.2-1]
#[test]
fn a_session_that_is_resumed_proves_itself_again_when_it_would_have() {
    let timing = Timing { reauthenticate: Duration::from_secs(1000), ..Timing::default() };
    let (mut client, mut server, ticket) = with(InitiatorConfig { timing, ..resumable() }, granting);
    assert!(ticket.until() <= Instant::ZERO + Duration::from_secs(1000));
    let half = Instant::ZERO + Duration::from_secs(500);
    live(&mut client, &mut server, half);
    client.give(half, Input::Abandon { sa: client.sa() });
    client.events.clear();
    client.dial(half, InitiatorConfig { timing, ..again(ticket) });
    carry(half, &mut client, &mut server);
    assert!(client.established().expect("up").resumed);
    live(&mut client, &mut server, Instant::ZERO + Duration::from_secs(1001));
    assert!(client.events.iter().any(|(_, e)| matches!(e, Event::ReauthenticationDue)), "not 500 s later");
}

#[test]
fn eap_is_not_asked_again_and_who_it_was_counts() {
    fn connection() -> ResponderConfig {
        ResponderConfig { ticket_lifetime: HOUR, ..eap::server_config() }
    }
    let (mut client, mut server, ticket) =
        with(InitiatorConfig { resumable: true, ..eap::client_config() }, connection);
    let who = server.established().unwrap().remote_id.clone();
    let config = InitiatorConfig { resumable: true, ticket: Some(ticket), ..eap::client_config() };
    resume(&mut client, &mut server, config);
    carry(Instant::ZERO, &mut client, &mut server);
    assert!(client.established().expect("up").resumed);
    assert_eq!(server.established().expect("up").remote_id, who);
    let eap = |n: &Node| n.asked.iter().any(|a| ["Eap", "Verify", "Sign"].contains(&a.as_str()));
    assert!(!eap(&client) && !eap(&server), "{:?} {:?}", client.asked, server.asked);
}

/// What a session that is resumed would have to have, and has not.
#[test]
fn a_server_that_wants_more_than_the_session_has_begins_from_scratch() {
    let (mut client, mut server, ticket) = up_with_ticket();
    server.connection =
        || ResponderConfig { local_id: name("new.example.com"), ticket_lifetime: HOUR, ..connection() };
    resume(&mut client, &mut server, again(ticket));
    carry(Instant::ZERO, &mut client, &mut server);
    assert!(client.events.iter().any(|(_, e)| matches!(e, Event::NotResumed(_))));
}

/// Certificates that were believed once are neither shown nor looked at again.
// [5723:4.3.3-3]
#[test]
fn no_certificate_is_sent() {
    const LONG: [u8; 1000] = [0x5a; 1000];
    fn certain(owner: &[u8]) -> (LocalAuth, RemoteAuth) {
        let (mut local, remote) = by_certificate(owner, &[SignatureScheme::Ed25519]);
        if let LocalAuth::Signature { own } = &mut local {
            own[0].certificates.push(LONG.to_vec());
        }
        (local, remote)
    }
    let (local_auth, remote_auth) = certain(b"client cert");
    let first = InitiatorConfig { local_auth, remote_auth, ..resumable() };
    let (mut client, mut server, ticket) = with(first, || {
        let (local_auth, remote_auth) = certain(b"server cert");
        ResponderConfig { local_auth, remote_auth, ..granting() }
    });
    let verified = (client.verified.len(), server.verified.len());
    assert_eq!(verified, (1, 1));
    let (local_auth, remote_auth) = certain(b"client cert");
    resume(&mut client, &mut server, InitiatorConfig { local_auth, remote_auth, ..again(ticket) });
    for _ in 0..2 {
        for (from, to) in [(true, false), (false, true)] {
            let sent = if from { client.sent() } else { server.sent() };
            assert!(sent.iter().all(|t| t.payload.len() < LONG.len()), "{} {to}", sent[0].payload.len());
            let node = if from { &mut server } else { &mut client };
            sent.iter().for_each(|t| node.give(Instant::ZERO, arrives(t)));
        }
    }
    assert!(client.established().expect("up").resumed);
    assert_eq!((client.verified.len(), server.verified.len()), verified);
}

/// Additional key exchanges (RFC 9370) are in the keys that it goes on from.
#[test]
fn additional_key_exchanges_are_not_made_again() {
    let ike = || vec!["aes256gcm16-prfsha256-x25519-ke1_mlkem768".parse().unwrap()];
    let (mut client, mut server) = (Node::client(), Node::server());
    server.endpoint.set_responder(Some(ResponderDefaults { ike: ike(), ..defaults() }));
    server.connection = granting;
    client.dial(Instant::ZERO, InitiatorConfig { ike: ike(), ..resumable() });
    carry(Instant::ZERO, &mut client, &mut server);
    let ticket = ticket(&mut client).expect("a ticket");
    resume(&mut client, &mut server, InitiatorConfig { ike: ike(), ..again(ticket) });
    carry(Instant::ZERO, &mut client, &mut server);
    assert!(client.established().expect("up").resumed);
    assert_eq!(client.asked, ["AllocateSpi", "Install"]);
    client.rekey_ike(Instant::ZERO);
    carry(Instant::ZERO, &mut client, &mut server);
    assert_eq!(client.rekeyed(), 1);
}

/// `Uniqueness::Refuse` is about others: whoever resumes is who is here already.
#[test]
fn who_resumes_is_not_refused_because_of_itself() {
    let (mut client, mut server, ticket) =
        with(resumable(), || ResponderConfig { uniqueness: Uniqueness::Refuse, ..granting() });
    resume(&mut client, &mut server, again(ticket));
    carry(Instant::ZERO, &mut client, &mut server);
    assert!(client.established().expect("up").resumed);
    assert_eq!(server.endpoint.established(), 1);
}

/// With `Uniqueness::Keep` nothing goes but what it goes on from.
#[test]
fn other_ike_sas_of_the_same_peer_stay() {
    let keep = || ResponderConfig { uniqueness: Uniqueness::Keep, ..granting() };
    let (mut client, mut server, ticket) =
        with(InitiatorConfig { shared_identity: true, ..resumable() }, keep);
    client.dial(Instant::ZERO, InitiatorConfig { shared_identity: true, ..resumable() });
    carry(Instant::ZERO, &mut client, &mut server);
    assert_eq!(server.endpoint.established(), 2);
    resume(&mut client, &mut server, InitiatorConfig { shared_identity: true, ..again(ticket) });
    carry(Instant::ZERO, &mut client, &mut server);
    live(&mut client, &mut server, Instant::ZERO + Duration::from_secs(20));
    assert_eq!(server.endpoint.established(), 2, "the other one, and the new one");
}

/// The bound holds however many come and are lost.
#[test]
fn tickets_have_a_bound() {
    let mut server = Node::server();
    server.endpoint.set_responder(Some(ResponderDefaults { limit: 2, ..defaults() }));
    server.connection = granting;
    for n in 0..10 {
        let now = Instant::ZERO + Duration::from_secs(n * 600);
        let mut client = Node::new("192.0.2.7:500", 100 + n, None);
        client.dial(now, resumable());
        for _ in 0..3 {
            client.sent().iter().for_each(|t| server.give(now, arrives(t)));
            server.sent().iter().for_each(|t| client.give(now, arrives(t)));
        }
        assert!(server.endpoint.tickets() <= 4);
        while server.endpoint.established() > 0 {
            server.wake();
            server.sent();
        }
    }
    assert!(server.endpoint.tickets() >= 1);
}
