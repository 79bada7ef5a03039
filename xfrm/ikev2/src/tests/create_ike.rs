//! CREATE_CHILD_SA for the IKE_SA itself, message by message.

use adit_isakmp::payload::{KeyExchangeData, NotifyType, Protocol, Transform, TransformType};
use adit_isakmp::proposal::offer_ike;
use adit_isakmp::{ExchangeType, HeaderView, KeMethod, Message, Payload};

use super::script::Peer;
use super::*;

/// A server that is up with a scripted client, whose next Message ID is 2.
fn server_with_peer() -> (Node, Peer) {
    let mut server = Node::server();
    let mut peer = Peer::dial(&mut server);
    let request = peer.ask_auth(|_| {});
    server.give(Instant::ZERO, request);
    assert_eq!(server.sent().len(), 1);
    (server, peer)
}

fn key() -> Payload {
    let key = ToyCrypto::new(99).generate(KeMethod::Curve25519).unwrap();
    Payload::Ke(KeyExchangeData::new(KeMethod::Curve25519, key.public().to_vec()))
}

/// What the server answers to a rekey of the IKE_SA whose one proposal was edited so.
fn answer(edit: impl FnOnce(&mut Vec<Transform>), ke: Option<Payload>) -> (Node, Message) {
    let (mut server, mut peer) = server_with_peer();
    let mut sa = offer_ike(&[IKE.parse().unwrap()], &[9; 8]);
    edit(&mut sa.proposals[0].transforms);
    let mut payloads = vec![Payload::Sa(sa), Payload::Nonce(vec![0x77; 32])];
    payloads.extend(ke);
    let request = peer.seal(ExchangeType::CREATE_CHILD_SA, 2, false, &payloads);
    server.give(Instant::ZERO, request);
    let answer = peer.open(&server.sent()[0]);
    (server, answer)
}

// [7296:1.3.2-1] [7296:2.18-1] [7296:2.18-2]
#[test]
fn a_rekey_has_a_new_key_and_offers_no_other_way() {
    let mut client = Node::client();
    let sa = client.dial(Instant::ZERO, config());
    let (mut peer, answer) = Peer::answer_init(&client.one(), |_| {});
    client.give(Instant::ZERO, answer);
    let answer = peer.answer_auth(&client.one(), |_| {});
    client.give(Instant::ZERO, answer);
    let generated = client.asked.iter().filter(|a| *a == "Generate").count();
    client.give(Instant::ZERO, Input::Rekey { sa, child: None });
    assert_eq!(client.asked.iter().filter(|a| *a == "Generate").count(), generated + 1);
    let request = peer.open(&client.one());
    let keys = request.payloads.iter().filter(|p| matches!(p, Payload::Ke(ke) if ke.data.len() == 32));
    assert_eq!(keys.count(), 1);
    let Some(Payload::Sa(offer)) = request.payloads.iter().find(|p| matches!(p, Payload::Sa(_))) else {
        panic!("{request:?}")
    };
    for proposal in &offer.proposals {
        assert_eq!((proposal.protocol, proposal.spi.len()), (Protocol::IKE, 8));
        let methods: Vec<u16> = proposal.of(TransformType::KE).map(|t| t.id).collect();
        assert!(!methods.is_empty() && !methods.contains(&0), "{methods:?}");
    }
}

// [7296:2.18-2] [7296:1.3.2-1]
#[test]
fn a_rekey_without_a_new_key_is_refused() {
    let none = |transforms: &mut Vec<Transform>| {
        for transform in transforms.iter_mut().filter(|t| t.kind == TransformType::KE) {
            transform.id = 0;
        }
    };
    let (server, refused) = answer(none, None);
    assert!(refused.notify(NotifyType::NO_PROPOSAL_CHOSEN).is_some() || server.closed().is_some());
    assert!(!refused.payloads.iter().any(|p| matches!(p, Payload::Sa(_))));
    let absent = |transforms: &mut Vec<Transform>| transforms.retain(|t| t.kind != TransformType::KE);
    let (_, refused) = answer(absent, None);
    assert!(!refused.payloads.iter().any(|p| matches!(p, Payload::Sa(_))));
    let (_, refused) = answer(|_| {}, None);
    assert!(!refused.payloads.iter().any(|p| matches!(p, Payload::Sa(_))), "no KE");
    let (_, granted) = answer(|_| {}, Some(key()));
    assert!(granted.payloads.iter().any(|p| matches!(p, Payload::Sa(_))), "{granted:?}");
}

/// Which exchange, and whether it is a response, on which IKE_SA, with which Message ID.
fn seen(t: &Transmit) -> (u64, ExchangeType, bool, u32) {
    let header = HeaderView::parse(&t.payload).unwrap().header();
    (header.initiator_spi, header.exchange, header.flags.response(), header.message_id)
}

// [7296:2.18-3] [7296:2.8-3]
#[test]
fn the_new_one_counts_from_0_and_the_old_ones_last_request_is_its_end() {
    for by_client in [true, false] {
        let (mut client, mut server, sa) = up();
        let theirs = server.sa();
        let first = client.established().unwrap();
        assert_eq!(first.path.remote.port(), 500);
        let rekeyed = if by_client { (&mut client, sa) } else { (&mut server, theirs) };
        rekeyed.0.give(Instant::ZERO, Input::Rekey { sa: rekeyed.1, child: None });
        let mut log = Vec::new();
        let mut now = Instant::ZERO;
        for _ in 0..6 {
            loop {
                let (ours, others) = (client.sent(), server.sent());
                if ours.is_empty() && others.is_empty() {
                    break;
                }
                log.extend(ours.iter().chain(&others).map(seen));
                ours.iter().for_each(|t| server.give(now, arrives(t)));
                others.iter().for_each(|t| client.give(now, arrives(t)));
            }
            now = client.wake();
        }
        let old = log[0].0;
        let requests = |spi: &dyn Fn(u64) -> bool| -> Vec<_> {
            log.iter().filter(|(s, _, response, _)| spi(*s) && !response).map(|e| (e.1, e.3)).collect()
        };
        let on_old = requests(&|s| s == old);
        assert_eq!(on_old.len(), 2, "{on_old:?}");
        assert_eq!((on_old[0].0, on_old[1].0), (ExchangeType::CREATE_CHILD_SA, ExchangeType::INFORMATIONAL));
        let on_new = requests(&|s| s != old);
        assert_eq!(on_new.first().map(|e| e.1), Some(0), "{on_new:?}");
    }
}

// [7296:2.2-2]
#[test]
fn message_ids_come_to_an_end() {
    let mut server = Node::server();
    let hs = Peer::dial(&mut server).hs;
    let mut sa = crate::ike::Sa::new(hs.channel, hs.suite, hs.keys.d);
    assert!(!sa.is_worn() && !sa.is_spent());
    // Whoever's they are.
    (sa.next_id, sa.expected) = (u32::MAX, 0);
    assert!(sa.is_worn() && sa.is_spent());
    (sa.next_id, sa.expected) = (0, u32::MAX);
    assert!(sa.is_worn() && sa.is_spent());
    sa.expected = u32::MAX - 1;
    assert!(sa.is_worn() && !sa.is_spent());
}
