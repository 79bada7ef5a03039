//! Additional key exchanges after CREATE_CHILD_SA, in IKE_FOLLOWUP_KE (RFC 9370 §2.2.4).

use adit_isakmp::payload::{KeyExchangeData, Notify, NotifyType};
use adit_isakmp::proposal::{IkeProposal, offer_esp, offer_ike};
use adit_isakmp::{ExchangeType, HeaderView, KeMethod, Message, Payload};

use super::rekey_child::agree;
use super::rekey_ike::well;
use super::script::Peer;
use super::*;

const THREE: &str = "aes256gcm16-prfsha256-x25519-ke1_mlkem768-ke2_ecp384";
const ESP: &str = "aes256gcm16-x25519-ke1_mlkem512-ke4_mlkem1024";

fn list(text: &str) -> Vec<IkeProposal> {
    text.split(',').map(|p| p.parse().unwrap()).collect()
}

/// A server for these, with scripted clients.
fn server(ike: &str) -> Node {
    let mut server = Node::new(SERVER, 2, Some(ResponderDefaults { ike: list(ike), ..defaults() }));
    server.connection = || ResponderConfig {
        esp: vec![ESP.parse().unwrap(), "aes256gcm16".parse().unwrap()],
        ..connection()
    };
    server
}

/// Both are up.
fn pair(seed: u64, client_ike: &str, server_ike: &str, esp: &str) -> (Node, Node) {
    let (mut client, mut server) = (Node::new(CLIENT, seed, None), server(server_ike));
    let esp = esp.split(',').map(|p| p.parse().unwrap()).collect();
    client.dial(Instant::ZERO, InitiatorConfig { ike: list(client_ike), esp, ..config() });
    carry(Instant::ZERO, &mut client, &mut server);
    assert!(client.established().is_some() && server.established().is_some());
    (client, server)
}

/// Carries everything, and tells of each exchange that `a` begins.
fn watch(a: &mut Node, b: &mut Node) -> Vec<ExchangeType> {
    let mut seen = Vec::new();
    loop {
        let (from_a, from_b) = (a.sent(), b.sent());
        if from_a.is_empty() && from_b.is_empty() {
            seen.dedup_by_key(|(exchange, id)| (*exchange, *id));
            return seen.into_iter().map(|(exchange, _)| exchange).collect();
        }
        for transmit in from_a {
            let header = HeaderView::parse(&transmit.payload).unwrap().header();
            if !header.flags.response() {
                seen.push((header.exchange, header.message_id));
            }
            b.give(Instant::ZERO, arrives(&transmit));
        }
        from_b.iter().for_each(|t| a.give(Instant::ZERO, arrives(t)));
    }
}

fn suites(node: &Node) -> Vec<String> {
    let suite = |(_, e): &(SaId, Event)| match e {
        Event::Rekeyed { ike } => Some(ike.to_string()),
        _ => None,
    };
    node.events.iter().filter_map(suite).collect()
}

// [9370:2.2.4-1] [9370:2.2.4-2]
#[test]
fn an_ike_sa_is_rekeyed_with_all_its_key_exchanges() {
    use ExchangeType as X;
    for by_client in [true, false] {
        let (mut client, mut server) = pair(1, THREE, THREE, "aes256gcm16");
        let (asker, answerer) =
            if by_client { (&mut client, &mut server) } else { (&mut server, &mut client) };
        asker.asked.clear();
        answerer.asked.clear();
        asker.rekey_ike(Instant::ZERO);
        let seen = watch(asker, answerer);
        assert_eq!(seen, [X::CREATE_CHILD_SA, X::IKE_FOLLOWUP_KE, X::IKE_FOLLOWUP_KE, X::INFORMATIONAL]);
        assert_eq!(asker.asked, ["Generate", "Agree", "Generate", "Agree", "Generate", "Agree"]);
        assert_eq!(answerer.asked, ["Encapsulate"; 3]);
        for node in [&client, &server] {
            assert_eq!(suites(node), [THREE]);
        }
        well(Instant::ZERO, &mut client, &mut server);
    }
}

// [9370:2.2.4-1] [9370:2.2.4-5]
#[test]
fn a_child_sa_is_there_after_the_last_key_exchange() {
    for by_client in [true, false] {
        let (mut client, mut server) = pair(1, IKE, IKE, ESP);
        // The first one comes with IKE_AUTH, which has no key exchange.
        assert_eq!(client.children[0].suite.ke, None);
        assert_eq!(client.children[0].suite.additional.count(), 0);
        let before = agree(&client, &server);
        let (asker, answerer) =
            if by_client { (&mut client, &mut server) } else { (&mut server, &mut client) };
        asker.rekey(Instant::ZERO);
        for exchange in 0..3 {
            assert_eq!((asker.children.len(), answerer.children.len()), (1, 1), "{exchange}");
            let request = asker.sent();
            assert!(!request.is_empty());
            request.iter().for_each(|t| answerer.give(Instant::ZERO, arrives(t)));
            let response = answerer.sent();
            response.iter().for_each(|t| asker.give(Instant::ZERO, arrives(t)));
        }
        carry(Instant::ZERO, &mut client, &mut server);
        let after = agree(&client, &server);
        assert_eq!(after.len(), 1);
        assert_ne!(after, before);
        for node in [&client, &server] {
            let methods: Vec<_> = node.children[1].suite.additional.methods().collect();
            assert_eq!(methods, [KeMethod::MlKem512, KeMethod::MlKem1024]);
            assert_eq!(node.children[1].suite.ke, Some(KeMethod::Curve25519));
        }
        well(Instant::ZERO, &mut client, &mut server);
    }
}

#[test]
fn what_one_end_has_without_them_is_rekeyed_without_them() {
    let optional = "aes256gcm16-prfsha256-x25519-ke1_mlkem768,aes256gcm16-prfsha256-x25519";
    let (mut client, mut server) = pair(1, optional, IKE, "aes256gcm16-x25519-ke1_mlkem768,aes256gcm16");
    client.rekey_ike(Instant::ZERO);
    carry(Instant::ZERO, &mut client, &mut server);
    assert_eq!(suites(&client), [IKE]);
    client.rekey(Instant::ZERO);
    carry(Instant::ZERO, &mut client, &mut server);
    assert_eq!(client.children[1].suite.additional.count(), 0);
    well(Instant::ZERO, &mut client, &mut server);
}

/// A server that is up with a scripted client, whose next Message ID is 2.
fn server_with_peer() -> (Node, Peer) {
    let mut server = server(&format!("{IKE},{THREE}"));
    let mut peer = Peer::dial(&mut server);
    let request = peer.ask_auth(|_| {});
    server.give(Instant::ZERO, request);
    assert!(server.established().is_some());
    server.sent();
    (server, peer)
}

fn ask(
    server: &mut Node,
    peer: &mut Peer,
    at: u64,
    what: (ExchangeType, u32),
    payloads: &[Payload],
) -> Message {
    let request = peer.seal(what.0, what.1, false, payloads);
    server.give(Instant::ZERO + seconds(at), request);
    peer.open(&server.one())
}

fn ke(method: KeMethod) -> Payload {
    Payload::Ke(KeyExchangeData::new(method, ToyCrypto::new(99).generate(method).unwrap().public().to_vec()))
}

fn link_of(message: &Message) -> Notify {
    message.notify(NotifyType::ADDITIONAL_KEY_EXCHANGE).expect("a link").clone()
}

/// Asks for an IKE_SA with these proposals.
fn rekey(server: &mut Node, peer: &mut Peer, id: u32, proposals: &str) -> Message {
    let payloads = [
        Payload::Sa(offer_ike(&list(proposals), &[9; 8])),
        Payload::Nonce(vec![0x77; 32]),
        ke(KeMethod::Curve25519),
    ];
    ask(server, peer, 0, (ExchangeType::CREATE_CHILD_SA, id), &payloads)
}

// [9370:2.2.4-2] [9370:2.2.4-3]
#[test]
fn each_exchange_is_linked_to_the_one_before() {
    let (mut server, mut peer) = server_with_peer();
    let unlinked = [ke(KeMethod::MlKem768)];
    let refused = ask(&mut server, &mut peer, 0, (ExchangeType::IKE_FOLLOWUP_KE, 2), &unlinked);
    assert!(refused.notify(NotifyType::STATE_NOT_FOUND).is_some(), "{refused:?}");
    let granted = rekey(&mut server, &mut peer, 3, THREE);
    let first = link_of(&granted);
    assert_eq!((first.protocol.0, first.spi.len()), (0, 0));
    let mut other = first.clone();
    other.data[0] ^= 1;
    let wrong = [ke(KeMethod::MlKem768), Payload::Notify(other)];
    let refused = ask(&mut server, &mut peer, 1, (ExchangeType::IKE_FOLLOWUP_KE, 4), &wrong);
    assert!(refused.notify(NotifyType::STATE_NOT_FOUND).is_some(), "{refused:?}");
    let right = [ke(KeMethod::MlKem768), Payload::Notify(first.clone())];
    let one = ask(&mut server, &mut peer, 2, (ExchangeType::IKE_FOLLOWUP_KE, 5), &right);
    let second = link_of(&one);
    assert_ne!(first.data, second.data);
    assert_eq!(server.rekeyed(), 0);
    // The first link is used up.
    let stale = [ke(KeMethod::Ecp384), Payload::Notify(first)];
    let refused = ask(&mut server, &mut peer, 3, (ExchangeType::IKE_FOLLOWUP_KE, 6), &stale);
    assert!(refused.notify(NotifyType::STATE_NOT_FOUND).is_some(), "{refused:?}");
    let last = [ke(KeMethod::Ecp384), Payload::Notify(second)];
    let two = ask(&mut server, &mut peer, 4, (ExchangeType::IKE_FOLLOWUP_KE, 7), &last);
    assert!(two.notify(NotifyType::ADDITIONAL_KEY_EXCHANGE).is_none() && two.notifies().next().is_none());
    assert_eq!(server.rekeyed(), 1);
    // On the old one nothing follows any more.
    let refused = ask(&mut server, &mut peer, 5, (ExchangeType::IKE_FOLLOWUP_KE, 8), &last);
    assert!(refused.notify(NotifyType::STATE_NOT_FOUND).is_some(), "{refused:?}");
}

// [9370:2.2.4-6] [9370:2.2.4-3]
#[test]
fn what_is_not_followed_up_in_time_is_forgotten() {
    let (mut server, mut peer) = server_with_peer();
    let spis = server.endpoint.spis();
    let link = link_of(&rekey(&mut server, &mut peer, 2, THREE));
    assert_eq!(server.endpoint.spis(), spis + 1);
    let (at, _) = server.endpoint.deadline().unwrap();
    assert_eq!(at, Instant::ZERO + seconds(20));
    server.give(at, Input::Wake);
    assert_eq!(server.endpoint.spis(), spis);
    let late = [ke(KeMethod::MlKem768), Payload::Notify(link)];
    let refused = ask(&mut server, &mut peer, 20, (ExchangeType::IKE_FOLLOWUP_KE, 3), &late);
    assert!(refused.notify(NotifyType::STATE_NOT_FOUND).is_some(), "{refused:?}");
    assert!(server.closed().is_none() && server.rekeyed() == 0);
    // And a plain one is granted.
    rekey(&mut server, &mut peer, 4, IKE);
    assert_eq!(server.rekeyed(), 1);
}

#[test]
fn a_further_request_takes_the_place_of_what_was_not_followed_up() {
    let (mut server, mut peer) = server_with_peer();
    let spis = server.endpoint.spis();
    let first = link_of(&rekey(&mut server, &mut peer, 2, THREE));
    let child = [
        Payload::Sa(offer_esp(&[ESP.parse().unwrap()], 0x0707_0707, true)),
        Payload::Nonce(vec![0x78; 32]),
        ke(KeMethod::Curve25519),
        Payload::TsI([ts("10.9.0.7/32")].into_iter().collect()),
        Payload::TsR([ts("0.0.0.0/0")].into_iter().collect()),
    ];
    let granted = ask(&mut server, &mut peer, 0, (ExchangeType::CREATE_CHILD_SA, 3), &child);
    let second = link_of(&granted);
    assert_eq!((server.endpoint.spis(), server.children.len()), (spis, 1));
    let gone = [ke(KeMethod::MlKem768), Payload::Notify(first)];
    let refused = ask(&mut server, &mut peer, 0, (ExchangeType::IKE_FOLLOWUP_KE, 4), &gone);
    assert!(refused.notify(NotifyType::STATE_NOT_FOUND).is_some());
    let next = [ke(KeMethod::MlKem512), Payload::Notify(second)];
    let third = link_of(&ask(&mut server, &mut peer, 0, (ExchangeType::IKE_FOLLOWUP_KE, 5), &next));
    let last = [ke(KeMethod::MlKem1024), Payload::Notify(third)];
    ask(&mut server, &mut peer, 0, (ExchangeType::IKE_FOLLOWUP_KE, 6), &last);
    assert_eq!((server.children.len(), server.ups().len()), (2, 1));
}

#[test]
fn another_method_than_was_agreed_makes_no_sense() {
    let (mut server, mut peer) = server_with_peer();
    let spis = server.endpoint.spis();
    let link = link_of(&rekey(&mut server, &mut peer, 2, THREE));
    let other = [ke(KeMethod::Ecp384), Payload::Notify(link)];
    let refused = ask(&mut server, &mut peer, 0, (ExchangeType::IKE_FOLLOWUP_KE, 3), &other);
    assert!(refused.notify(NotifyType::INVALID_SYNTAX).is_some());
    assert!(server.closed().is_some());
    live_alone(&mut server);
    assert!(server.endpoint.spis() < spis);
}

fn live_alone(node: &mut Node) {
    while !node.endpoint.is_empty() || node.endpoint.lingering() > 0 {
        node.wake();
    }
}

#[test]
fn a_responder_that_has_forgotten_is_asked_again() {
    for ike in [true, false] {
        let (mut client, mut server) = pair(1, THREE, THREE, ESP);
        if ike {
            client.rekey_ike(Instant::ZERO)
        } else {
            client.rekey(Instant::ZERO)
        }
        let request = client.sent();
        request.iter().for_each(|t| server.give(Instant::ZERO, arrives(t)));
        let response = server.sent();
        response.iter().for_each(|t| client.give(Instant::ZERO, arrives(t)));
        // Its IKE_FOLLOWUP_KE takes longer than the server waits.
        let late = client.sent();
        let at = Instant::ZERO + seconds(20);
        server.give(at, Input::Wake);
        late.iter().for_each(|t| server.give(at, arrives(t)));
        carry(at, &mut client, &mut server);
        assert_eq!((client.rekeyed(), client.ups().len()), (0, 0));
        let later = at + seconds(40);
        live(&mut client, &mut server, later);
        let expected = if ike { (1, 0) } else { (0, 1) };
        assert_eq!((client.rekeyed(), client.ups().len()), expected);
        assert_eq!((server.rekeyed(), server.ups().len()), expected);
        well(later, &mut client, &mut server);
    }
}

/// Both rekey at once, `n` datagrams of which cross before all else. What each end did in vain.
fn collision(seed: u64, ike: bool, client_first: bool, proposals: (&str, &str)) -> bool {
    let (client_ike, server_ike) = proposals;
    let (mut client, mut server) = pair(seed, client_ike, server_ike, ESP);
    let begin = |node: &mut Node| {
        if ike {
            node.rekey_ike(Instant::ZERO)
        } else {
            node.rekey(Instant::ZERO)
        }
        node.sent()
    };
    let (from_client, from_server) = (begin(&mut client), begin(&mut server));
    let deliver =
        |to: &mut Node, list: &[Transmit]| list.iter().for_each(|t| to.give(Instant::ZERO, arrives(t)));
    if client_first {
        // The server has answered the client, and heard of it, before its own request arrives.
        deliver(&mut server, &from_client);
        let answer = server.sent();
        deliver(&mut client, &answer);
        deliver(&mut client, &from_server);
    } else {
        deliver(&mut server, &from_client);
        deliver(&mut client, &from_server);
    }
    carry(Instant::ZERO, &mut client, &mut server);
    let settled = Instant::ZERO + seconds(120);
    live(&mut client, &mut server, settled);
    let count =
        if ike { (client.rekeyed(), server.rekeyed()) } else { (client.ups().len(), server.ups().len()) };
    assert_eq!(count.0, count.1, "seed {seed}");
    assert!(count.0 >= 1, "seed {seed}");
    client.rekey(settled);
    let by_client = client.sent()[0].payload[19] & 0x08 != 0;
    live(&mut client, &mut server, settled + seconds(60));
    well(settled + seconds(60), &mut client, &mut server);
    by_client
}

// [7296:2.8.2-1] [9370:2.2.4-5]
#[test]
fn both_rekey_the_ike_sa_at_once_and_only_the_winner_follows_up() {
    for client_first in [true, false] {
        let won: Vec<bool> =
            (3..23).map(|seed| collision(seed, true, client_first, (THREE, THREE))).collect();
        assert!(client_first || (won.contains(&true) && won.contains(&false)), "{won:?}");
    }
}

// [7296:2.8.1-1]
#[test]
fn both_rekey_a_child_sa_at_once_and_only_the_winner_follows_up() {
    for client_first in [true, false] {
        (3..23).for_each(|seed| _ = collision(seed, false, client_first, (THREE, THREE)));
    }
}

#[test]
fn an_answer_that_is_not_linked_is_none() {
    let mut client = Node::client();
    let ike = vec![IKE.parse().unwrap()];
    let esp = vec![ESP.parse().unwrap()];
    let sa = client.dial(Instant::ZERO, InitiatorConfig { ike, esp, ..config() });
    let (mut peer, answer) = Peer::answer_init(&client.one(), |_| {});
    client.give(Instant::ZERO, answer);
    let answer = peer.answer_auth(&client.one(), |_| {});
    client.give(Instant::ZERO, answer);
    let child = client.children[0].child;
    client.give(Instant::ZERO, Input::Rekey { sa, child: Some(child) });
    let request = peer.open(&client.one());
    let Some(Payload::Sa(offer)) = request.payloads.iter().find(|p| matches!(p, Payload::Sa(_))) else {
        panic!("{request:?}")
    };
    let ours = [ESP.parse().unwrap()];
    let reply = adit_isakmp::proposal::choose_esp(&ours, offer, 0x0606_0606, true).unwrap().reply;
    let payloads = [
        Payload::Sa(reply),
        Payload::Nonce(vec![0x79; 32]),
        ke(KeMethod::Curve25519),
        Payload::TsI([ts("10.9.0.7/32")].into_iter().collect()),
        Payload::TsR([ts("0.0.0.0/0")].into_iter().collect()),
    ];
    let answer = peer.seal(ExchangeType::CREATE_CHILD_SA, request.header.message_id, true, &payloads);
    client.give(Instant::ZERO, answer);
    assert_eq!((client.children.len(), client.up().len()), (1, 1));
    assert!(client.closed().is_none());
}
