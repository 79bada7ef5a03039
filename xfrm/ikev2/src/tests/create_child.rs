//! CREATE_CHILD_SA message by message, against a scripted peer.

use adit_isakmp::payload::{Delete, KeyExchangeData, Notify, NotifyType, TransformType};
use adit_isakmp::proposal::{choose_esp, offer_esp};
use adit_isakmp::{ExchangeType, KeMethod, Message, Payload};

use super::script::Peer;
use super::*;

const PFS: &str = "aes256gcm16-x25519-ecp256";

/// A server with these proposals for CHILD_SAs, up with a scripted client, whose next Message ID is 2.
fn server_with_peer(connection: fn() -> ResponderConfig) -> (Node, Peer) {
    let mut server = Node::server();
    server.connection = connection;
    let mut peer = Peer::dial(&mut server);
    let request = peer.ask_auth(|_| {});
    server.give(Instant::ZERO, request);
    assert_eq!(server.sent().len(), 1);
    (server, peer)
}

/// A client with these proposals, up with a scripted server.
fn client_with_peer(edit: impl FnOnce(&mut InitiatorConfig)) -> (Node, Peer, SaId) {
    let mut config = config();
    edit(&mut config);
    let mut client = Node::client();
    let sa = client.dial(Instant::ZERO, config);
    let (mut peer, answer) = Peer::answer_init(&client.one(), |_| {});
    client.give(Instant::ZERO, answer);
    let answer = peer.answer_auth(&client.one(), |_| {});
    client.give(Instant::ZERO, answer);
    assert!(client.established().is_some());
    (client, peer, sa)
}

fn pfs() -> ResponderConfig {
    ResponderConfig { esp: vec![PFS.parse().unwrap()], ..connection() }
}

/// `[N(REKEY_SA),] SA, Ni, [KEi,] TSi, TSr` of a scripted peer.
fn request(rekeys: Option<u32>, esp: &str, ke: Option<KeyExchangeData>) -> Vec<Payload> {
    let mut out = Vec::new();
    out.extend(rekeys.map(|spi| Payload::Notify(Notify::esp(NotifyType::REKEY_SA, spi, []))));
    let proposals: Vec<_> = esp.split(", ").map(|p| p.parse().unwrap()).collect();
    out.push(Payload::Sa(offer_esp(&proposals, 0x0707_0707, true)));
    out.push(Payload::Nonce(vec![0x77; 32]));
    out.extend(ke.map(Payload::Ke));
    out.push(Payload::TsI([ts("0.0.0.0/0"), ts("::/0")].into_iter().collect()));
    out.push(Payload::TsR([ts("0.0.0.0/0"), ts("::/0")].into_iter().collect()));
    out
}

fn ask(server: &mut Node, peer: &mut Peer, id: u32, payloads: &[Payload]) -> Message {
    let request = peer.seal(ExchangeType::CREATE_CHILD_SA, id, false, payloads);
    server.give(Instant::ZERO, request);
    peer.open(&server.one())
}

fn key(method: KeMethod) -> KeyExchangeData {
    let key = ToyCrypto::new(99).generate(method).unwrap();
    KeyExchangeData::new(method, key.public().to_vec())
}

/// A scripted server's `SA, Nr, TSi, TSr`.
fn grant(request: &Message, edit: impl FnOnce(&mut Vec<Payload>)) -> Vec<Payload> {
    let sa = request.payloads.iter().find_map(|p| if let Payload::Sa(s) = p { Some(s) } else { None });
    let reply = choose_esp(&["aes256gcm16".parse().unwrap()], sa.unwrap(), 0x0606_0606, true).unwrap().reply;
    let mut out = vec![Payload::Sa(reply), Payload::Nonce(vec![0x66; 32])];
    let selectors = |p: &&Payload| matches!(p, Payload::TsI(_) | Payload::TsR(_));
    out.extend(request.payloads.iter().filter(selectors).cloned());
    edit(&mut out);
    out
}

fn ke_of(message: &Message) -> Option<&KeyExchangeData> {
    message.payloads.iter().find_map(|p| if let Payload::Ke(ke) = p { Some(ke) } else { None })
}

fn selectors(message: &Message) -> (Vec<TrafficSelector>, Vec<TrafficSelector>) {
    let (mut tsi, mut tsr) = (Vec::new(), Vec::new());
    for payload in &message.payloads {
        match payload {
            Payload::TsI(list) => tsi.extend(list.ranges()),
            Payload::TsR(list) => tsr.extend(list.ranges()),
            _ => {}
        }
    }
    (tsi, tsr)
}

// [7296:1.3.3-1] [7296:3.10-1] [7296:3.4-3] [7296:2.9.2-1]
#[test]
fn a_rekey_names_the_old_one_and_asks_for_the_same() {
    let (mut client, mut peer, _) = client_with_peer(|_| {});
    client.rekey(Instant::ZERO);
    let request = peer.open(&client.one());
    let rekey = request.notify(NotifyType::REKEY_SA).unwrap();
    assert_eq!(rekey.protocol, adit_isakmp::payload::Protocol::ESP);
    assert_eq!(rekey.spi, client.children[0].inbound_spi.to_be_bytes());
    assert_eq!(ke_of(&request), None, "no method is offered");
    let child = &client.children[0];
    assert_eq!(selectors(&request), (child.local_ts.clone(), child.remote_ts.clone()));
}

// [7296:1.3-1] [7296:1.3-2] [7296:3.4-2]
#[test]
fn the_key_of_a_rekey_is_of_a_method_that_it_offers() {
    let (mut client, mut peer, _) = client_with_peer(|c| c.esp = vec![PFS.parse().unwrap()]);
    client.rekey(Instant::ZERO);
    let request = peer.open(&client.one());
    let ke = ke_of(&request).unwrap();
    let sa = request.payloads.iter().find_map(|p| if let Payload::Sa(s) = p { Some(s) } else { None });
    let offered: Vec<u16> = sa.unwrap().proposals[0].of(TransformType::KE).map(|t| t.id).collect();
    assert_eq!(offered, [31, 19]);
    assert!(offered.contains(&ke.method));
    assert_eq!(ke.known(), Some(KeMethod::Curve25519), "what the IKE_SA uses is expected to be accepted");
}

// [7296:1.3-3] [7296:3.4-4]
#[test]
fn a_key_of_another_method_is_answered_with_the_one_that_is_wanted() {
    let (mut server, mut peer) = server_with_peer(pfs);
    let asked = request(Some(0x0808_0808), "aes256gcm16-x25519-ecp384", Some(key(KeMethod::Ecp384)));
    let answer = ask(&mut server, &mut peer, 2, &asked);
    let wanted = answer.notify(NotifyType::INVALID_KE_PAYLOAD).unwrap();
    assert_eq!((wanted.data_u16(), answer.payloads.len()), (Some(31), 1));
    let again = request(Some(0x0808_0808), "aes256gcm16-x25519-ecp384", Some(key(KeMethod::Curve25519)));
    let answer = ask(&mut server, &mut peer, 3, &again);
    assert_eq!(ke_of(&answer).unwrap().method, 31);
}

// [7296:3.3.6-8]
#[test]
fn who_chooses_no_key_exchange_ignores_the_key_and_sends_none() {
    let (mut server, mut peer) = server_with_peer(connection);
    let mut asked = request(Some(0x0808_0808), "aes256gcm16-x25519", Some(key(KeMethod::Curve25519)));
    for payload in &mut asked {
        if let Payload::Sa(sa) = payload {
            let none = adit_isakmp::payload::Transform::new(TransformType::KE, 0);
            sa.proposals[0].transforms.push(none);
        }
    }
    let answer = ask(&mut server, &mut peer, 2, &asked);
    assert!(answer.payloads.iter().any(|p| matches!(p, Payload::Sa(_))), "{answer:?}");
    assert_eq!(ke_of(&answer), None);
    assert_eq!(server.children[1].suite.ke, None);
    assert!(!server.asked[6..].iter().any(|a| a == "Encapsulate"), "{:?}", server.asked);
}

// [7296:2.9.2-2] [7296:2.8-4]
#[test]
fn a_rekey_of_the_peer_gets_what_is_in_use() {
    let (mut server, mut peer) = server_with_peer(connection);
    let answer = ask(&mut server, &mut peer, 2, &request(Some(0x0808_0808), "aes256gcm16", None));
    let child = &server.children[0];
    assert_eq!(selectors(&answer), (child.remote_ts.clone(), child.local_ts.clone()));
    assert_eq!(server.children[1].replaces, Some(child.child));
}

// [7296:2.8.1-1]
#[test]
fn both_are_received_on_until_the_old_one_is_deleted() {
    let (mut server, mut peer) = server_with_peer(connection);
    ask(&mut server, &mut peer, 2, &request(Some(0x0808_0808), "aes256gcm16", None));
    assert_eq!((server.children.len(), server.closed_children().len()), (2, 0));
    let delete = [Payload::Delete(Delete::esp(0x0808_0808))];
    let request = peer.seal(ExchangeType::INFORMATIONAL, 3, false, &delete);
    server.give(Instant::ZERO, request);
    let ours = server.children[0].inbound_spi;
    assert_eq!(peer.open(&server.one()).payloads, [Payload::Delete(Delete::esp(ours))]);
    let (old, new) = (server.children[0].child, server.children[1].child);
    assert_eq!(server.closed_children(), [(old, Some(new))]);
}

// [7296:2.25-1]
#[test]
fn who_is_told_to_come_back_later_does_not_come_at_once() {
    let (mut client, mut peer, _) = client_with_peer(|_| {});
    client.rekey(Instant::ZERO);
    let request = peer.open(&client.one());
    let no = [Payload::Notify(Notify::new(NotifyType::TEMPORARY_FAILURE, []))];
    let id = request.header.message_id;
    let answer = peer.seal(ExchangeType::CREATE_CHILD_SA, id, true, &no);
    client.give(Instant::ZERO, answer);
    assert!(client.sent().is_empty());
    let at = client.wake();
    assert!(at >= Instant::ZERO + seconds(3), "{at:?}");
    let again = peer.open(&client.one());
    assert!(again.notify(NotifyType::REKEY_SA).is_some());
    assert_ne!(again.header.message_id, id);
}

// [7296:2.25-1]
#[test]
fn who_is_put_off_again_and_again_comes_ever_more_rarely() {
    let (mut client, mut peer, _) = client_with_peer(|_| {});
    client.rekey(Instant::ZERO);
    let (mut now, mut asked) = (Instant::ZERO, 0);
    while now < Instant::ZERO + seconds(290) {
        for sent in client.sent() {
            let request = peer.open(&sent);
            let rekey = request.notify(NotifyType::REKEY_SA).is_some();
            asked += usize::from(rekey);
            let no = Payload::Notify(Notify::new(NotifyType::TEMPORARY_FAILURE, []));
            let answer = if rekey { vec![no] } else { Vec::new() };
            let (exchange, id) = (request.header.exchange, request.header.message_id);
            let answer = peer.seal(exchange, id, true, &answer);
            client.give(now, answer);
        }
        now = client.wake();
    }
    assert!((4..=15).contains(&asked), "{asked}");
}

fn transport() -> ResponderConfig {
    ResponderConfig { transport: true, ..connection() }
}

// [7296:1.3.1-1]
#[test]
fn transport_mode_is_granted_in_words() {
    for (connection, granted) in [(transport as fn() -> ResponderConfig, true), (connection, false)] {
        let (mut server, mut peer) = server_with_peer(connection);
        let mut asked = request(None, "aes256gcm16", None);
        asked.push(Payload::Notify(Notify::new(NotifyType::USE_TRANSPORT_MODE, [])));
        let answer = ask(&mut server, &mut peer, 2, &asked);
        assert_eq!(answer.notify(NotifyType::USE_TRANSPORT_MODE).is_some(), granted);
        assert_eq!(server.children[1].mode == ChildMode::Transport, granted);
    }
}

// [7296:1.3.1-2]
#[test]
fn tunnel_mode_instead_of_transport_is_deleted() {
    let (mut client, mut peer, sa) = client_with_peer(|_| {});
    let child = ChildConfig {
        name: "more".into(),
        esp: vec!["aes256gcm16".parse().unwrap()],
        mode: ChildMode::Transport,
        local_ts: Vec::new(),
        remote_ts: vec![ts("10.1.0.0/16")],
    };
    client.give(Instant::ZERO, Input::AddChild { sa, child: Box::new(child) });
    let request = peer.open(&client.one());
    assert!(request.notify(NotifyType::USE_TRANSPORT_MODE).is_some());
    let (id, granted) = (request.header.message_id, grant(&request, |_| {}));
    let answer = peer.seal(ExchangeType::CREATE_CHILD_SA, id, true, &granted);
    client.give(Instant::ZERO, answer);
    let told = peer.open(&client.one());
    assert!(matches!(told.payloads[..], [Payload::Delete(Delete::Child { .. })]), "{told:?}");
    assert_eq!(client.children.len(), 1, "nothing of it was installed");
}

// [7296:2.9.2-1]
#[test]
fn a_rekey_keeps_its_selectors() {
    let (mut client, mut peer, _) = client_with_peer(|_| {});
    client.rekey(Instant::ZERO);
    let request = peer.open(&client.one());
    let (id, granted) = (request.header.message_id, grant(&request, |_| {}));
    let answer = peer.seal(ExchangeType::CREATE_CHILD_SA, id, true, &granted);
    client.give(Instant::ZERO, answer);
    let (old, new) = (&client.children[0], &client.children[1]);
    assert_eq!((&old.local_ts, &old.remote_ts), (&new.local_ts, &new.remote_ts));
    // The old one is deleted by who asked.
    let delete = [Payload::Delete(Delete::esp(old.inbound_spi))];
    assert_eq!(peer.open(&client.one()).payloads, delete);
}
