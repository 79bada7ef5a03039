//! MOBIKE (RFC 4555): both ends on a net whose paths come and go.

use core::net::IpAddr;

use adit_isakmp::payload::{Notify, NotifyType};
use adit_isakmp::{ExchangeType, Message, Payload};

use super::script::Peer;
use super::*;

const WIFI: &str = "192.0.2.7";
const WWAN: &str = "203.0.113.50";
const GATE: &str = "198.51.100.1";
const INSIDE: &str = "10.1.0.1";

fn path(from: &str, to: &str) -> Path {
    let at = |a: &str| SocketAddr::new(a.parse().unwrap(), 4500);
    Path { local: at(from), remote: at(to) }
}

/// What lies between a client and a server: which paths work, and as what the server sees them.
struct Net {
    client: Node,
    server: Node,
    sa: SaId,
    now: Instant,
    /// The client's paths that work, and the client's address and port behind them.
    works: Vec<(Path, SocketAddr)>,
}

impl Net {
    /// Up over the Wi-Fi, without a NAT.
    fn new() -> Self {
        let (mut client, mut server) = (Node::client(), Node::server());
        server.connection =
            || ResponderConfig { mobike: Some(vec![INSIDE.parse().unwrap()]), ..connection() };
        let ours: Vec<IpAddr> = vec![WIFI.parse().unwrap(), "2001:db8:7::7".parse().unwrap()];
        let sa = client.dial(Instant::ZERO, InitiatorConfig { mobike: Some(ours), ..config() });
        // Port 500 works until the move to 4500.
        let first = client.one();
        server.give(Instant::ZERO, arrives(&first));
        let answer = server.one();
        client.give(Instant::ZERO, arrives(&answer));
        let mut net = Self { client, server, sa, now: Instant::ZERO, works: Vec::new() };
        net.opens(WIFI, GATE, WIFI);
        net.carry();
        assert!(net.server.established().is_some(), "{:?}", net.server.events);
        net.client.events.retain(|(_, e)| !matches!(e, Event::PathChanged { .. }));
        net
    }

    fn opens(&mut self, from: &str, to: &str, seen: &str) {
        let seen = seen.parse().unwrap_or_else(|_| SocketAddr::new(seen.parse().unwrap(), 4500));
        self.works.push((path(from, to), seen));
    }

    fn dies(&mut self, from: &str, to: &str) {
        let gone = path(from, to);
        self.works.retain(|(p, _)| *p != gone);
    }

    /// Carries everything that is sent until nobody sends any more.
    fn carry(&mut self) {
        loop {
            let (up, down) = (self.client.sent(), self.server.sent());
            if up.is_empty() && down.is_empty() {
                return;
            }
            for t in up {
                if let Some((p, seen)) = self.works.iter().find(|(p, _)| *p == t.path) {
                    let path = Path { local: p.remote, remote: *seen };
                    self.server.give(self.now, Input::Datagram { path, payload: t.payload });
                }
            }
            for t in down {
                let back =
                    |(p, seen): &&(Path, SocketAddr)| p.remote == t.path.local && *seen == t.path.remote;
                if let Some((p, _)) = self.works.iter().find(back) {
                    self.client.give(self.now, Input::Datagram { path: *p, payload: t.payload });
                }
            }
        }
    }

    fn moves(&mut self, from: &str, to: &str) {
        let sa = self.sa;
        self.client.give(self.now, Input::Move { sa, path: path(from, to) });
        self.carry();
    }

    fn probes(&mut self, paths: &[(&str, &str)]) {
        let (sa, paths) = (self.sa, paths.iter().map(|(a, b)| path(a, b)).collect());
        self.client.give(self.now, Input::Probe { sa, paths });
        self.carry();
    }

    fn live(&mut self, until: Instant) {
        loop {
            let next = |n: &Node| n.endpoint.deadline().map(|(at, _)| at);
            let Some(at) = next(&self.client).into_iter().chain(next(&self.server)).min() else { return };
            if at > until {
                self.now = until;
                return;
            }
            self.now = at;
            self.client.give(at, Input::Wake);
            self.server.give(at, Input::Wake);
            self.carry();
        }
    }
}

fn changes(node: &Node) -> Vec<(Path, bool)> {
    let changed = |(_, e): &(SaId, Event)| match e {
        Event::PathChanged { path, encapsulated } => Some((*path, *encapsulated)),
        _ => None,
    };
    node.events.iter().filter_map(changed).collect()
}

fn probed(node: &Node) -> Vec<Path> {
    let probed =
        |(_, e): &(SaId, Event)| if let Event::PathProbed { path, .. } = e { Some(*path) } else { None };
    let mut all: Vec<Path> = Vec::new();
    for path in node.events.iter().filter_map(probed) {
        if !all.contains(&path) {
            all.push(path);
        }
    }
    all
}

fn seen(from: &str, to: &str) -> Path {
    let there = path(from, to);
    Path { local: there.remote, remote: there.local }
}

// [4555:3.2-1] [4555:3.3-1]
#[test]
fn both_say_that_they_can_and_go_over_port_4500_without_a_nat() {
    let net = Net::new();
    let (ours, theirs) = (net.client.established().unwrap(), net.server.established().unwrap());
    assert_eq!(ours.mobike, Some(vec![INSIDE.parse().unwrap()]));
    assert_eq!(theirs.mobike, Some(vec!["2001:db8:7::7".parse().unwrap()]), "not the one in use");
    assert_eq!((ours.path, ours.encapsulated), (path(WIFI, GATE), false));
    // With a peer that can't, nothing of it is left.
    let (mut client, mut server) = (Node::client(), Node::server());
    client.dial(Instant::ZERO, InitiatorConfig { mobike: Some(vec![]), ..config() });
    carry(Instant::ZERO, &mut client, &mut server);
    assert_eq!(client.established().unwrap().mobike, None);
}

#[test]
fn a_move_is_at_once_here_and_half_a_round_trip_later_there() {
    let mut net = Net::new();
    net.opens(WWAN, GATE, WWAN);
    let sa = net.sa;
    net.client.give(net.now, Input::Move { sa, path: path(WWAN, GATE) });
    assert_eq!(changes(&net.client), [(path(WWAN, GATE), false)], "before any answer");
    net.carry();
    assert_eq!(changes(&net.server), [(seen(WWAN, GATE), false)]);
    assert_eq!(probed(&net.client), [path(WWAN, GATE)]);
    // Nothing else is different afterwards, and both go on.
    net.live(net.now + seconds(200));
    assert!(net.client.closed().is_none() && net.server.closed().is_none());
    assert_eq!(changes(&net.client).len(), 1);
}

// [4555:3.8-1]
#[test]
fn a_nat_comes_and_goes_with_the_path() {
    let mut net = Net::new();
    net.opens("192.168.1.7", GATE, "203.0.113.9:20000");
    net.moves("192.168.1.7", GATE);
    assert_eq!(changes(&net.client), [(path("192.168.1.7", GATE), true)], "it is suspected at once");
    let there = Path { local: path(WIFI, GATE).remote, remote: "203.0.113.9:20000".parse().unwrap() };
    assert_eq!(changes(&net.server), [(there, true)]);
    net.moves(WIFI, GATE);
    assert_eq!(changes(&net.client)[1..], [(path(WIFI, GATE), true), (path(WIFI, GATE), false)]);
    assert_eq!(changes(&net.server)[1..], [(seen(WIFI, GATE), false)]);
}

#[test]
fn from_one_family_to_the_other_and_back() {
    let mut net = Net::new();
    net.opens("2001:db8:7::7", "2001:db8::1", "2001:db8:7::7");
    net.moves("2001:db8:7::7", "2001:db8::1");
    net.moves(WIFI, GATE);
    let ends: Vec<Path> = changes(&net.server).iter().map(|(p, _)| *p).collect();
    assert_eq!(ends, [seen("2001:db8:7::7", "2001:db8::1"), seen(WIFI, GATE)]);
}

#[test]
fn a_request_that_is_stuck_goes_over_the_new_path_too() {
    let mut net = Net::new();
    net.dies(WIFI, GATE);
    net.client.rekey(net.now);
    net.carry();
    assert_eq!(net.client.children.len(), 1);
    net.opens(WWAN, GATE, WWAN);
    net.moves(WWAN, GATE);
    assert_eq!(net.client.children.len(), 2, "the rekey is done");
    assert_eq!(changes(&net.server).len(), 1);
    // So does a request of the server.
    net.dies(WWAN, GATE);
    net.server.rekey(net.now);
    net.carry();
    net.moves(WIFI, GATE);
    assert_eq!(net.client.children.len(), 2);
    net.opens(WIFI, GATE, WIFI);
    net.live(net.now + seconds(3));
    assert_eq!((net.client.children.len(), net.client.up()), (3, net.client.up()));
}

#[test]
fn every_path_that_works_is_heard_of_and_nothing_moves() {
    let mut net = Net::new();
    net.opens(WWAN, GATE, WWAN);
    net.opens(WIFI, INSIDE, WIFI);
    net.probes(&[(WWAN, GATE), (WIFI, INSIDE), (WWAN, INSIDE)]);
    let works = probed(&net.client);
    assert_eq!(works, [path(WIFI, GATE), path(WWAN, GATE), path(WIFI, INSIDE)]);
    assert_eq!((changes(&net.client), changes(&net.server)), (vec![], vec![]));
    // The same with what is on its way anyhow.
    net.dies(WIFI, GATE);
    net.client.events.clear();
    net.live(net.now + seconds(40));
    let unanswered = |(_, e): &(SaId, Event)| matches!(e, Event::Unanswered { updates: false, .. });
    assert!(net.client.events.iter().any(unanswered), "a liveness check");
    net.probes(&[(WWAN, GATE)]);
    assert_eq!(probed(&net.client), [path(WWAN, GATE)]);
}

#[test]
fn silence_does_not_end_it_and_the_next_path_finds_it_alive() {
    let mut net = Net::new();
    net.dies(WIFI, GATE);
    net.live(net.now + seconds(280));
    assert!(net.client.events.iter().any(|(_, e)| matches!(e, Event::PathDead)));
    assert!(net.client.closed().is_none() && net.server.closed().is_none());
    assert_eq!(net.client.endpoint.deadline().map(|(at, _)| at > net.now + seconds(600)), Some(true));
    net.opens(WWAN, GATE, WWAN);
    net.moves(WWAN, GATE);
    assert_eq!(changes(&net.server).len(), 1);
    net.live(net.now + seconds(300));
    assert!(net.client.closed().is_none() && net.server.closed().is_none());
}

#[test]
fn a_peer_without_mobike_hears_from_elsewhere_that_it_is_over() {
    let (mut client, mut server, sa) = up();
    let now = Instant::ZERO;
    // What it asked last went into a link that is gone.
    client.rekey(now);
    client.sent();
    let at = |a: &str| SocketAddr::new(a.parse().unwrap(), 500);
    let path = Path { local: at(WWAN), remote: at(GATE) };
    client.give(now, Input::Move { sa, path });
    client.give(now, Input::Close { sa });
    assert!(client.sent.iter().all(|t| t.path == path), "{:?}", client.sent);
    carry(now, &mut client, &mut server);
    assert!(server.closed().is_some() && client.closed().is_some_and(|c| c.is_ok()));
}

#[test]
fn what_was_given_up_is_asked_again_when_there_is_reason_to() {
    for probed in [true, false] {
        let mut net = Net::new();
        net.dies(WIFI, GATE);
        net.client.rekey(net.now);
        net.carry();
        let dead = |net: &Net| net.client.events.iter().any(|(_, e)| matches!(e, Event::PathDead));
        while !dead(&net) {
            net.live(net.now + seconds(1));
        }
        if probed {
            // Also where the probe itself is lost.
            net.probes(&[(WIFI, GATE)]);
            net.opens(WIFI, GATE, WIFI);
        } else {
            net.opens(WIFI, GATE, WIFI);
            net.server.rekey_ike(net.now);
        }
        net.live(net.now + seconds(30));
        assert_eq!(net.client.ups().len(), 1, "probed: {probed}");
    }
}

#[test]
fn an_update_that_came_over_another_path_takes_both_there() {
    let mut net = Net::new();
    net.dies(WIFI, GATE);
    net.opens(WWAN, INSIDE, WWAN);
    // The first one is dead, too; the same request over another one is not.
    net.moves(WWAN, GATE);
    net.probes(&[(WWAN, INSIDE)]);
    assert_eq!(changes(&net.client).last(), Some(&(path(WWAN, INSIDE), false)));
    assert_eq!(changes(&net.server).last(), Some(&(seen(WWAN, INSIDE), false)));
}

#[test]
fn where_the_peer_has_gone_by_one_of_several_copies_is_not_left_open() {
    let mut net = Net::new();
    net.opens(WWAN, INSIDE, WWAN);
    net.dies(WIFI, GATE);
    net.moves(WWAN, GATE);
    net.opens(WIFI, GATE, WIFI);
    let (sa, now) = (net.sa, net.now);
    net.client.give(now, Input::Probe { sa, paths: vec![path(WWAN, INSIDE), path(WIFI, GATE)] });
    // The server takes the first copy, but only its answer to the second one arrives.
    for t in net.client.sent() {
        if t.path != path(WWAN, GATE) {
            let seen = Path { local: t.path.remote, remote: t.path.local };
            net.server.give(now, Input::Datagram { path: seen, payload: t.payload });
        }
    }
    assert_eq!(changes(&net.server).last().map(|c| c.0), Some(seen(WWAN, INSIDE)));
    for t in net.server.sent() {
        if t.path.remote.ip() == WIFI.parse::<IpAddr>().unwrap() {
            let path = Path { local: t.path.remote, remote: t.path.local };
            net.client.give(now, Input::Datagram { path, payload: t.payload });
        }
    }
    net.carry();
    net.live(now + seconds(100));
    assert_eq!(changes(&net.client).last(), Some(&(path(WIFI, GATE), false)));
    assert_eq!(changes(&net.server).last(), Some(&(seen(WIFI, GATE), false)));
}

#[test]
fn an_update_of_which_copies_went_elsewhere_is_said_again() {
    let mut net = Net::new();
    net.opens(WWAN, GATE, WWAN);
    net.opens(WWAN, INSIDE, WWAN);
    let (sa, now) = (net.sa, net.now);
    net.client.give(now, Input::Move { sa, path: path(WWAN, GATE) });
    net.client.give(now, Input::Probe { sa, paths: vec![path(WWAN, INSIDE)] });
    let mut sent = net.client.sent();
    // The copy overtakes it, and its answer is overtaken.
    sent.reverse();
    for t in sent {
        let seen = Path { local: t.path.remote, remote: t.path.local };
        net.server.give(now, Input::Datagram { path: seen, payload: t.payload });
    }
    let mut answers = net.server.sent();
    answers.reverse();
    for t in answers {
        let path = Path { local: t.path.remote, remote: t.path.local };
        net.client.give(now, Input::Datagram { path, payload: t.payload });
    }
    net.carry();
    net.live(now + seconds(100));
    assert_eq!(changes(&net.client).last(), Some(&(path(WWAN, GATE), false)));
    assert_eq!(changes(&net.server).last(), Some(&(seen(WWAN, GATE), false)));
}

// [4555:3.8-2]
#[test]
fn packets_from_elsewhere_move_nothing_but_updates_do() {
    let mut net = Net::new();
    net.opens("192.168.1.7", GATE, "203.0.113.9:20000");
    net.moves("192.168.1.7", GATE);
    // The NAT forgets, and the next request comes from another port.
    net.works.clear();
    net.opens("192.168.1.7", GATE, "203.0.113.9:30000");
    let before = changes(&net.server).len();
    net.probes(&[]);
    assert_eq!(changes(&net.server).len(), before, "a test is no move");
    assert_eq!(probed(&net.client), [path("192.168.1.7", GATE)]);
    net.live(net.now + seconds(45));
    let last = changes(&net.server).last().map(|(p, _)| p.remote.port());
    assert_eq!(last, Some(30000), "but it is found out, and told");
}

// [4555:3.7-2] [4555:3.7-3]
#[test]
fn another_cookie_ends_it() {
    let mut net = Net::new();
    net.opens(WWAN, GATE, WWAN);
    let (mut server, mut peer) = server_with_peer();
    let cookie = Payload::Notify(Notify::new(NotifyType::COOKIE2, [7; 8]));
    let answer = ask(&mut server, &mut peer, 2, core::slice::from_ref(&cookie));
    assert_eq!(answer.payloads, [cookie]);
    // A client whose server answers with none.
    let (mut client, mut peer) = client_with_peer();
    let sa = client.sa();
    client.give(Instant::ZERO, Input::Move { sa, path: path(WWAN, GATE) });
    let request = client.one();
    let sent = peer.open(&request);
    assert!(sent.notify(NotifyType::UPDATE_SA_ADDRESSES).is_some());
    let wrong = Payload::Notify(Notify::new(NotifyType::COOKIE2, [1; 16]));
    peer.path = Path { local: request.path.remote, remote: request.path.local };
    let answer = peer.seal(ExchangeType::INFORMATIONAL, 2, true, &[wrong]);
    client.give(Instant::ZERO, answer);
    let bye = peer.open(&client.one());
    assert!(bye.payloads.iter().any(|p| matches!(p, Payload::Delete(_))), "{bye:?}");
}

// [4555:3.7-1] [4555:4.2.5-2] [4555:4.2.5-3] [4555:4.2.1-1] [4555:4.2.1-2]
#[test]
fn what_is_said_has_its_form() {
    let (mut server, mut peer) = server_with_peer();
    let cookie = Payload::Notify(Notify::new(NotifyType::COOKIE2, [9; 64]));
    let update = Payload::Notify(Notify::new(NotifyType::UPDATE_SA_ADDRESSES, []));
    let answer = ask(&mut server, &mut peer, 2, &[update, cookie.clone()]);
    assert_eq!(answer.payloads, [cookie], "copied; no NAT detection that was not asked for");
    let mut net = Net::new();
    let mut cookies = Vec::new();
    for _ in 0..2 {
        let sa = net.sa;
        net.client.give(net.now, Input::Probe { sa, paths: vec![path(WIFI, GATE)] });
        let sent = net.client.sent();
        assert_eq!(sent.len(), 2, "over the path in use and over this one");
        let sealed = sent[0].payload.clone();
        net.client.sent.extend(sent);
        net.carry();
        cookies.push(sealed);
    }
    assert_ne!(cookies[0].get(28..), cookies[1].get(28..));
    let (mut client, mut peer) = client_with_peer();
    let sa = client.sa();
    client.give(Instant::ZERO, Input::Move { sa, path: path(WWAN, GATE) });
    let sent = peer.open(&client.one());
    let cookie = &sent.notify(NotifyType::COOKIE2).unwrap().data;
    assert!((8..=64).contains(&cookie.len()) && cookie.iter().any(|b| *b != 0), "{cookie:?}");
}

// [4555:3.9-1] [4555:3.9-2] [4555:3.9-3]
#[test]
fn a_peer_that_forbids_nats_is_told_of_them() {
    let forbid = |from: [u8; 4]| {
        let data = [&from[..], &[198, 51, 100, 1], &500_u16.to_be_bytes(), &500_u16.to_be_bytes()].concat();
        Payload::Notify(Notify::new(NotifyType::NO_NATS_ALLOWED, data))
    };
    let update = || Payload::Notify(Notify::new(NotifyType::UPDATE_SA_ADDRESSES, []));
    let (mut server, mut peer) = server_with_peer();
    peer.path.local = "192.0.2.99:500".parse().unwrap();
    let refused = ask(&mut server, &mut peer, 2, &[update(), forbid([192, 0, 2, 7])]);
    assert!(refused.notify(NotifyType::UNEXPECTED_NAT_DETECTED).is_some());
    assert_eq!(changes(&server), []);
    let taken = ask(&mut server, &mut peer, 3, &[update(), forbid([192, 0, 2, 99])]);
    assert!(taken.payloads.is_empty());
    assert_eq!(changes(&server).len(), 1);
    // IKE_AUTH as well.
    let mut server = Node::server();
    let mut peer = Peer::dial(&mut server);
    let request = peer.ask_auth(|p| p.push(forbid([10, 0, 0, 1])));
    server.give(Instant::ZERO, request);
    let answer = peer.open(&server.one());
    assert!(answer.notify(NotifyType::UNEXPECTED_NAT_DETECTED).is_some());
    // Who dials a peer without NAT traversal says so itself.
    let (mut client, mut peer) = client_with_peer_that(|p| {
        p.retain(|p| !matches!(p, Payload::Notify(n) if n.kind.name().is_some_and(|n| n.starts_with("NAT"))));
    });
    let sa = client.sa();
    client.give(Instant::ZERO, Input::Move { sa, path: path(WWAN, GATE) });
    let sent = peer.open(&client.one());
    let said = sent.notify(NotifyType::NO_NATS_ALLOWED).expect("NO_NATS_ALLOWED");
    assert_eq!(said.data[..8], [203, 0, 113, 50, 198, 51, 100, 1]);
}

#[test]
fn a_place_where_nobody_can_be_is_refused_and_told() {
    let (mut server, mut peer) = server_with_peer();
    let update = Payload::Notify(Notify::new(NotifyType::UPDATE_SA_ADDRESSES, []));
    peer.path.local = "224.0.0.9:500".parse().unwrap();
    let refused = ask(&mut server, &mut peer, 2, &[update]);
    assert!(refused.notify(NotifyType::UNACCEPTABLE_ADDRESSES).is_some());
    assert_eq!(changes(&server), []);
}

// [4555:3.6-1]
#[test]
fn addresses_are_told_and_an_announcement_that_moved_is_told_again() {
    let mut net = Net::new();
    let sa = net.sa;
    let told = |node: &Node| {
        let told = |(_, e): &(SaId, Event)| match e {
            Event::PeerAddresses { addresses } => Some(addresses.clone()),
            _ => None,
        };
        node.events.iter().filter_map(told).collect::<Vec<_>>()
    };
    let all = |list: &[&str]| list.iter().map(|a| a.parse().unwrap()).collect::<Vec<IpAddr>>();
    net.client.give(net.now, Input::Addresses { sa, addresses: all(&[WIFI, WWAN]) });
    net.carry();
    net.client.give(net.now, Input::Addresses { sa, addresses: all(&[WIFI, WWAN]) });
    net.carry();
    net.client.give(net.now, Input::Addresses { sa, addresses: all(&[WIFI]) });
    net.carry();
    assert_eq!(told(&net.server), [all(&[WIFI, WWAN]), all(&[WIFI])]);
    // Lost on the way, sent again from elsewhere: the address that it came from is not the one that it was made for.
    net.dies(WIFI, GATE);
    net.client.give(net.now, Input::Addresses { sa, addresses: all(&[WIFI, WWAN]) });
    net.carry();
    net.opens(WWAN, GATE, WWAN);
    net.moves(WWAN, GATE);
    assert_eq!(told(&net.server).last(), Some(&all(&[WWAN, WIFI])));
}

#[test]
fn who_has_lost_the_address_in_use_moves_at_once_and_tells_the_rest_with_that() {
    let mut net = Net::new();
    net.dies(WIFI, GATE);
    net.opens(WWAN, GATE, WWAN);
    let (sa, now) = (net.sa, net.now);
    net.client.give(now, Input::Addresses { sa, addresses: vec![WWAN.parse().unwrap()] });
    net.client.give(now, Input::Move { sa, path: path(WWAN, GATE) });
    let update = net.client.one();
    let path = Path { local: update.path.remote, remote: update.path.local };
    net.server.give(now, Input::Datagram { path, payload: update.payload });
    assert_eq!(changes(&net.server).last(), Some(&(seen(WWAN, GATE), false)));
}

#[test]
fn a_server_whose_address_is_gone_speaks_from_the_next() {
    let mut net = Net::new();
    net.dies(WIFI, GATE);
    net.opens(WIFI, "198.51.100.2", WIFI);
    let sa = net.server.sa();
    net.server.give(net.now, Input::Move { sa, path: seen(WIFI, "198.51.100.2") });
    net.carry();
    let told = |(_, e): &(SaId, Event)| matches!(e, Event::PeerAddresses { addresses } if addresses[0].to_string() == "198.51.100.2");
    assert!(net.client.events.iter().any(told), "{:?}", net.client.events);
    assert_eq!(changes(&net.client), [], "the client decides");
    net.moves(WIFI, "198.51.100.2");
    assert_eq!(changes(&net.client).len(), 1);
    net.live(net.now + seconds(120));
    assert!(net.client.closed().is_none() && net.server.closed().is_none());
}

#[test]
fn after_a_rekey_of_the_ike_sa_it_moves_as_before() {
    let mut net = Net::new();
    net.client.rekey_ike(net.now);
    net.carry();
    assert_eq!(net.client.rekeyed(), 1);
    net.opens(WWAN, GATE, WWAN);
    // In the middle of another.
    net.dies(WIFI, GATE);
    net.client.rekey_ike(net.now);
    net.carry();
    net.moves(WWAN, GATE);
    assert_eq!((net.client.rekeyed(), net.server.rekeyed()), (2, 2));
    assert_eq!(changes(&net.server), [(seen(WWAN, GATE), false)]);
    net.live(net.now + seconds(200));
    assert!(net.client.closed().is_none() && net.server.closed().is_none());
}

/// A server with MOBIKE that is up with a scripted client, whose next Message ID is 2.
fn server_with_peer() -> (Node, Peer) {
    let mut server = Node::server();
    server.connection = || ResponderConfig { mobike: Some(vec![]), ..connection() };
    let mut peer = Peer::dial(&mut server);
    // Data in it means nothing.
    let supported = Payload::Notify(Notify::new(NotifyType::MOBIKE_SUPPORTED, [1, 2, 3]));
    let request = peer.ask_auth(|payloads| payloads.push(supported));
    server.give(Instant::ZERO, request);
    let answer = peer.open(&server.one());
    assert!(answer.notify(NotifyType::MOBIKE_SUPPORTED).is_some_and(|n| n.data.is_empty()));
    (server, peer)
}

fn ask(server: &mut Node, peer: &mut Peer, id: u32, payloads: &[Payload]) -> Message {
    let request = peer.seal(ExchangeType::INFORMATIONAL, id, false, payloads);
    server.give(Instant::ZERO, request);
    let sent = server.sent();
    peer.open(sent.first().expect("an answer"))
}

/// A client with MOBIKE that is up with a scripted server.
fn client_with_peer() -> (Node, Peer) {
    client_with_peer_that(|_| {})
}

fn client_with_peer_that(init: impl FnOnce(&mut Vec<Payload>)) -> (Node, Peer) {
    let mut client = Node::client();
    client.dial(Instant::ZERO, InitiatorConfig { mobike: Some(vec![]), request_v6: false, ..config() });
    let (mut peer, answer) = Peer::answer_init(&client.one(), init);
    client.give(Instant::ZERO, answer);
    let request = client.one();
    peer.path = Path { local: request.path.remote, remote: request.path.local };
    let supported = Payload::Notify(Notify::new(NotifyType::MOBIKE_SUPPORTED, [4]));
    let answer = peer.answer_auth(&request, |payloads| payloads.push(supported));
    client.give(Instant::ZERO, answer);
    assert_eq!(client.established().map(|e| e.mobike.clone()), Some(Some(vec![])), "{:?}", client.events);
    (client, peer)
}
