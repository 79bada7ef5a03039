//! Several CHILD_SAs, and transport mode (RFC 7296 §1.3.1).

use super::rekey_child::{agree, pair};
use super::*;

fn child(name: &str, mode: ChildMode, remote: &str) -> ChildConfig {
    ChildConfig {
        name: name.into(),
        esp: vec!["aes256gcm16".parse().unwrap()],
        mode,
        local_ts: Vec::new(),
        remote_ts: vec![ts(remote)],
    }
}

fn refusals(node: &Node) -> Vec<(String, FailureCode)> {
    let refused = |(_, e): &(SaId, Event)| match e {
        Event::ChildRefused { name, why } => Some((name.clone(), why.code)),
        _ => None,
    };
    node.events.iter().filter_map(refused).collect()
}

#[test]
fn more_children_come_after_the_first_one_and_are_rekeyed_and_deleted_alone() {
    let (mut client, mut server) = (Node::client(), Node::server());
    let more = ["10.1.0.0/16", "10.2.0.0/16"].map(|r| child(r, ChildMode::Tunnel, r)).to_vec();
    let sa = client.dial(Instant::ZERO, InitiatorConfig { more_children: more, ..config() });
    carry(Instant::ZERO, &mut client, &mut server);
    assert_eq!(agree(&client, &server).len(), 3);
    let names: Vec<_> = client
        .events
        .iter()
        .filter_map(|(_, e)| if let Event::ChildUp(up) = e { up.name.clone() } else { None })
        .collect();
    assert_eq!(names, ["10.1.0.0/16", "10.2.0.0/16"]);
    assert_eq!(client.children[1].local_ts, [ts("10.9.0.7"), ts("2001:db8:9::7")], "what was got");
    server.rekey(Instant::ZERO);
    carry(Instant::ZERO, &mut client, &mut server);
    assert_eq!(agree(&client, &server).len(), 3);
    assert_eq!(client.children[3].replaces, Some(client.children[2].child));
    let id = client.children[1].child;
    client.give(Instant::ZERO, Input::CloseChild { sa, child: id });
    carry(Instant::ZERO, &mut client, &mut server);
    assert_eq!(agree(&client, &server).len(), 2);
    assert!(client.closed().is_none() && server.closed().is_none());
}

#[test]
fn what_is_refused_is_said_and_ends_nothing() {
    let (mut client, mut server) =
        pair("aes256gcm16", || ResponderConfig { local_ts: vec![ts("10.0.0.0/8")], ..connection() });
    let sa = client.sa();
    let outside = child("outside", ChildMode::Tunnel, "192.0.2.0/24");
    let weak = ChildConfig {
        esp: vec!["aes128-sha256".parse().unwrap()],
        ..child("other algorithms", ChildMode::Tunnel, "10.1.0.0/16")
    };
    for config in [outside, weak] {
        client.give(Instant::ZERO, Input::AddChild { sa, child: Box::new(config) });
        carry(Instant::ZERO, &mut client, &mut server);
    }
    let codes: Vec<_> = refusals(&client).into_iter().map(|(_, code)| code).collect();
    use FailureCode as F;
    assert_eq!(codes, [F::TrafficSelectors, F::ProposalMismatch]);
    assert_eq!(agree(&client, &server).len(), 1);
    assert!(client.closed().is_none() && server.closed().is_none());
}

#[test]
fn there_is_a_limit_of_sixty_four() {
    let (mut client, mut server, sa) = up();
    for n in 0..70 {
        let config = child(&n.to_string(), ChildMode::Tunnel, "10.1.0.0/16");
        client.give(Instant::ZERO, Input::AddChild { sa, child: Box::new(config) });
        carry(Instant::ZERO, &mut client, &mut server);
    }
    assert_eq!(agree(&client, &server).len(), 64);
    assert_eq!(refusals(&client).len(), 7);
    assert!(refusals(&client).iter().all(|(_, code)| *code == FailureCode::PeerBusy));
}

fn transport(ours: ChildMode, theirs: fn() -> ResponderConfig) -> (Node, Node) {
    let (mut client, mut server) = (Node::client(), Node::server());
    server.connection = theirs;
    let config = InitiatorConfig {
        mode: ours,
        request_v4: false,
        request_v6: false,
        local_ts: vec![ts("192.0.2.7/32")],
        remote_ts: vec![ts("198.51.100.1/32")],
        ..config()
    };
    client.dial(Instant::ZERO, config);
    carry(Instant::ZERO, &mut client, &mut server);
    (client, server)
}

fn for_hosts() -> ResponderConfig {
    let remote_ts = vec![ts("0.0.0.0/0")];
    ResponderConfig { addresses: false, transport: true, remote_ts, ..connection() }
}

#[test]
fn transport_mode_is_given_where_both_want_it_and_stays_through_rekeys() {
    let (mut client, mut server) = transport(ChildMode::Transport, for_hosts);
    assert!(client.established().is_some() && server.established().is_some());
    server.rekey(Instant::ZERO);
    carry(Instant::ZERO, &mut client, &mut server);
    client.rekey(Instant::ZERO);
    carry(Instant::ZERO, &mut client, &mut server);
    assert_eq!(agree(&client, &server).len(), 1);
    for child in client.children.iter().chain(&server.children) {
        assert_eq!(child.mode, ChildMode::Transport);
    }
    assert_eq!((client.children.len(), server.children.len()), (3, 3));
}

#[test]
fn tunnel_mode_in_place_of_transport_mode_is_refused() {
    let (client, server) =
        transport(ChildMode::Transport, || ResponderConfig { transport: false, ..for_hosts() });
    assert!(client.established().is_none());
    assert!(client.failure().text.contains("gave tunnel mode"), "{}", client.failure());
    assert!(server.closed().is_some() && server.up().is_empty(), "it has heard");
    let (client, server) = transport(ChildMode::Tunnel, for_hosts);
    assert!(client.established().is_some());
    assert_eq!(server.children[0].mode, ChildMode::Tunnel);
}

#[test]
fn tunnel_mode_in_place_of_transport_mode_is_refused_for_one_more_too() {
    let (mut client, mut server) =
        transport(ChildMode::Tunnel, || ResponderConfig { transport: false, ..for_hosts() });
    let more = child("more", ChildMode::Transport, "0.0.0.0/0");
    client.give(Instant::ZERO, Input::AddChild { sa: client.sa(), child: Box::new(more) });
    carry(Instant::ZERO, &mut client, &mut server);
    assert_eq!(refusals(&client), [("more".to_owned(), FailureCode::PeerMisbehaved)]);
    assert_eq!(agree(&client, &server).len(), 1);
}

/// Where each is to be had from the other's side of the NATs.
const OUTSIDE: [&str; 2] = ["203.0.113.9", "203.0.113.1"];

/// As [`carry`], with a NAT in front of either.
fn carry_through_nats(a: &mut Node, b: &mut Node) {
    let end = |address: &str, at: SocketAddr| SocketAddr::new(address.parse().unwrap(), at.port());
    let inside = |address: &str, at: SocketAddr| {
        SocketAddr::new(address.parse::<SocketAddr>().unwrap().ip(), at.port())
    };
    loop {
        let (from_a, from_b) = (a.sent(), b.sent());
        if from_a.is_empty() && from_b.is_empty() {
            return;
        }
        for t in from_a {
            let path = Path { local: inside(SERVER, t.path.remote), remote: end(OUTSIDE[0], t.path.local) };
            b.give(Instant::ZERO, Input::Datagram { path, payload: t.payload.clone() });
        }
        for t in from_b {
            let path = Path { local: inside(CLIENT, t.path.remote), remote: end(OUTSIDE[1], t.path.local) };
            a.give(Instant::ZERO, Input::Datagram { path, payload: t.payload.clone() });
        }
    }
}

// [7296:2.23-10] [7296:2.23.1-1] [7296:2.23.1-2] [7296:2.23.1-3]
#[test]
fn in_transport_mode_each_end_knows_the_other_by_the_address_that_it_sees() {
    let (mut client, mut server) = (Node::client(), Node::server());
    // Only what comes from the NAT, and is for this host, is let in.
    server.connection = || ResponderConfig {
        local_ts: vec![ts("198.51.100.1/32")],
        remote_ts: vec![ts("203.0.113.9/32")],
        ..for_hosts()
    };
    let l2tp = TrafficSelector { protocol: 17, first_port: 1701, last_port: 1701, ..ts("10.0.0.0/8") };
    let dialled = Path { remote: "203.0.113.1:500".parse().unwrap(), ..config().path };
    let wanted = InitiatorConfig {
        path: dialled,
        mode: ChildMode::Transport,
        request_v4: false,
        request_v6: false,
        local_ts: vec![l2tp],
        ..config()
    };
    let sa = client.dial(Instant::ZERO, wanted);
    carry_through_nats(&mut client, &mut server);
    let more = ChildConfig { local_ts: vec![l2tp], ..child("more", ChildMode::Transport, "0.0.0.0/0") };
    client.give(Instant::ZERO, Input::AddChild { sa, child: Box::new(more) });
    carry_through_nats(&mut client, &mut server);
    client.rekey(Instant::ZERO);
    carry_through_nats(&mut client, &mut server);
    server.rekey(Instant::ZERO);
    carry_through_nats(&mut client, &mut server);
    assert!(client.children.len() >= 4 && client.children.len() == server.children.len());
    let at = |address: &str| TrafficSelector { addresses: ts(address).addresses, ..l2tp };
    for (ours, theirs) in client.children.iter().zip(&server.children) {
        assert_eq!((ours.mode, theirs.mode), (ChildMode::Transport, ChildMode::Transport));
        assert_eq!(
            (&ours.local_ts, &ours.remote_ts),
            (&vec![at("192.0.2.7/32")], &vec![ts("203.0.113.1/32")])
        );
        assert_eq!(
            (&theirs.local_ts, &theirs.remote_ts),
            (&vec![ts("198.51.100.1/32")], &vec![at("203.0.113.9/32")])
        );
    }
}
