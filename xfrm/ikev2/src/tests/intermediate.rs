//! Additional key exchanges in IKE_INTERMEDIATE (RFC 9242, RFC 9370).

use adit_isakmp::payload::{Notify, NotifyType};
use adit_isakmp::proposal::IkeProposal;
use adit_isakmp::{ExchangeType, Flags, Header, HeaderView, KeMethod, Message, Payload, VERSION_2};

use super::script::Peer;
use super::*;
use crate::intermediate;

const ONE: &str = "aes256gcm16-prfsha256-x25519-ke1_mlkem768";
const THREE: &str = "aes256-sha256-x25519-ke1_mlkem1024-ke2_ecp384-ke5_mlkem512";

fn both(client_ike: &[&str], server_ike: &[&str]) -> (Node, Node, SaId) {
    let read = |list: &[&str]| list.iter().map(|p| p.parse().unwrap()).collect::<Vec<IkeProposal>>();
    let responder = ResponderDefaults { ike: read(server_ike), ..defaults() };
    let (mut client, server) = (Node::client(), Node::new(SERVER, 2, Some(responder)));
    let sa = client.dial(Instant::ZERO, InitiatorConfig { ike: read(client_ike), ..config() });
    (client, server, sa)
}

fn kind(transmit: &Transmit) -> (ExchangeType, u32) {
    let header = HeaderView::parse(&transmit.payload).unwrap().header();
    (header.exchange, header.message_id)
}

/// Carries everything, and tells what the client sent, in order, without repetitions.
fn watch(client: &mut Node, server: &mut Node) -> Vec<(ExchangeType, u32)> {
    let mut seen = Vec::new();
    loop {
        let (up, down) = (client.sent(), server.sent());
        if up.is_empty() && down.is_empty() {
            return seen;
        }
        for transmit in up {
            seen.push(kind(&transmit));
            server.give(Instant::ZERO, arrives(&transmit));
        }
        down.iter().for_each(|t| client.give(Instant::ZERO, arrives(t)));
        seen.dedup();
    }
}

// [9242:3.2-1] [9242:3.2-2] [9242:3.2-3] [9370:2.2.2-1] [9370:2.2.1-1]
#[test]
fn each_additional_key_exchange_is_an_exchange_before_ike_auth() {
    use ExchangeType as X;
    let (mut client, mut server, sa) = both(&[THREE], &[THREE]);
    let seen = watch(&mut client, &mut server);
    let expected = [
        (X::IKE_SA_INIT, 0),
        (X::IKE_INTERMEDIATE, 1),
        (X::IKE_INTERMEDIATE, 2),
        (X::IKE_INTERMEDIATE, 3),
        (X::IKE_AUTH, 4),
    ];
    assert_eq!(seen, expected);
    let suite = client.established().expect("up").ike;
    assert_eq!(suite, server.established().expect("up").ike);
    assert!(suite.to_string().ends_with("x25519-ke1_mlkem1024-ke2_ecp384-ke5_mlkem512"), "{suite}");
    let (ours, theirs) = (&client.children[0], &server.children[0]);
    assert!(ours.inbound.encryption.equals(theirs.outbound.as_ref().unwrap().encryption.expose()));
    // The window goes on behind IKE_AUTH, both ways.
    client.rekey(Instant::ZERO);
    carry(Instant::ZERO, &mut client, &mut server);
    server.rekey(Instant::ZERO);
    carry(Instant::ZERO, &mut client, &mut server);
    assert_eq!((client.ups().len(), server.ups().len()), (2, 2));
    client.give(Instant::ZERO, Input::Close { sa });
    carry(Instant::ZERO, &mut client, &mut server);
    assert!(client.closed().is_some() && server.closed().is_some());
}

#[test]
fn certificates_prove_the_intermediate_exchanges_too() {
    let (_, mut server, _) = both(&[ONE], &[ONE]);
    let mut client = Node::client();
    server.connection = || {
        let (local_auth, remote_auth) = by_certificate(b"server cert", &[SignatureScheme::Ed25519]);
        ResponderConfig { local_auth, remote_auth, ..connection() }
    };
    let (local_auth, remote_auth) = by_certificate(b"client cert", &[SignatureScheme::Ed25519]);
    let ike = vec![ONE.parse().unwrap()];
    client.dial(Instant::ZERO, InitiatorConfig { ike, local_auth, remote_auth, ..config() });
    carry(Instant::ZERO, &mut client, &mut server);
    assert!(client.established().is_some() && server.established().is_some());
}

// [9370:2.2.1-2]
#[test]
fn ends_that_differ_meet_where_none_is_allowed() {
    let suite = |client: &[&str], server: &[&str]| {
        let (mut client, mut server, _) = both(client, server);
        carry(Instant::ZERO, &mut client, &mut server);
        assert_eq!(client.established().is_some(), server.established().is_some());
        client.established().map(|e| e.ike.additional.count())
    };
    let may = "aes256gcm16-prfsha256-x25519-ke1_mlkem768-ke1_none";
    assert_eq!(suite(&[ONE, IKE], &[ONE]), Some(1));
    assert_eq!(suite(&[ONE, IKE], &[IKE]), Some(0));
    assert_eq!(suite(&[IKE], &[ONE, IKE]), Some(0));
    assert_eq!(suite(&[may], &[IKE]), Some(0));
    assert_eq!(suite(&[IKE], &[may]), Some(0));
    assert_eq!(suite(&[ONE], &[may]), Some(1));
    assert_eq!(suite(&[IKE], &[ONE]), None);
}

#[test]
fn a_lost_answer_is_sent_again_although_the_keys_have_changed() {
    for ike in [ONE, THREE] {
        let (mut client, mut server, _) = both(&[ike], &[ike]);
        server.give(Instant::ZERO, arrives(&client.one()));
        client.give(Instant::ZERO, arrives(&server.one()));
        let asked = client.sent();
        asked.iter().for_each(|t| server.give(Instant::ZERO, arrives(t)));
        let lost = server.sent();
        assert_eq!(kind(&lost[0]), (ExchangeType::IKE_INTERMEDIATE, 1));
        client.wake();
        let again = client.sent();
        assert_eq!(again, asked, "bit for bit");
        again.iter().for_each(|t| server.give(Instant::ZERO, arrives(t)));
        assert_eq!(server.sent(), lost);
        // Cut anew it is still known, by the keys that it was made with.
        if asked.len() > 1 {
            client.wake();
            client.wake();
            let smaller = client.sent().split_off(asked.len());
            assert!(smaller.len() > asked.len());
            smaller.iter().for_each(|t| server.give(Instant::ZERO, arrives(t)));
            assert_eq!(server.sent(), lost);
        }
        lost.iter().for_each(|t| client.give(Instant::ZERO, arrives(t)));
        carry(Instant::ZERO, &mut client, &mut server);
        assert!(client.established().is_some() && server.established().is_some());
    }
}

// [9242:3.2-4] [9242:5-1]
#[test]
fn the_order_is_kept() {
    let (mut client, mut server, _) = both(&[ONE], &[ONE]);
    server.give(Instant::ZERO, arrives(&client.one()));
    client.give(Instant::ZERO, arrives(&server.one()));
    let request = client.sent();
    assert_eq!(request[0].payload[20..24], [0, 0, 0, 1], "its Message ID");
    // The same bytes under another name are not authentic, and out of order they are not even opened.
    let edit = |exchange: ExchangeType, id: u32| {
        let mut other = request[0].clone();
        other.payload[18] = exchange.0;
        other.payload[20..24].copy_from_slice(&id.to_be_bytes());
        other
    };
    for (exchange, id) in [
        (ExchangeType::IKE_AUTH, 1),
        (ExchangeType::IKE_AUTH, 2),
        (ExchangeType::IKE_INTERMEDIATE, 0),
        (ExchangeType::IKE_INTERMEDIATE, 2),
        (ExchangeType::CREATE_CHILD_SA, 1),
    ] {
        server.give(Instant::ZERO, arrives(&edit(exchange, id)));
        assert!(server.sent().is_empty());
    }
    request.iter().for_each(|t| server.give(Instant::ZERO, arrives(t)));
    carry(Instant::ZERO, &mut client, &mut server);
    assert!(client.established().is_some() && server.established().is_some());
}

#[test]
fn where_nothing_was_agreed_there_is_no_intermediate_exchange() {
    let mut server = Node::server();
    let mut peer = Peer::dial(&mut server);
    let input = peer.seal(ExchangeType::IKE_INTERMEDIATE, 1, false, &[]);
    server.give(Instant::ZERO, input);
    assert!(server.sent().is_empty());
    let input = peer.ask_auth(|_| {});
    server.give(Instant::ZERO, input);
    assert!(server.established().is_some());
}

#[test]
fn a_server_that_chooses_them_without_announcing_the_exchange_is_not_believed() {
    let (mut client, mut server, _) = both(&[ONE], &[ONE]);
    server.give(Instant::ZERO, arrives(&client.one()));
    let answered = server.one();
    let mut answer = Message::parse(&answered.payload).unwrap();
    let announced = NotifyType::INTERMEDIATE_EXCHANGE_SUPPORTED;
    assert!(answer.notify(announced).is_some());
    answer.payloads.retain(|p| !matches!(p, Payload::Notify(Notify { kind, .. }) if *kind == announced));
    client.give(Instant::ZERO, arrives(&Transmit { payload: answer.emit().unwrap(), ..answered.clone() }));
    assert!(client.sent().is_empty());
    // The true one still can come.
    client.give(Instant::ZERO, arrives(&answered));
    carry(Instant::ZERO, &mut client, &mut server);
    assert!(client.established().is_some());
}

#[test]
fn a_server_that_cannot_do_what_it_has_chosen_is_told_of() {
    let (mut client, ..) = both(&[ONE], &[ONE]);
    let (mut peer, answer) = Peer::answer_init_by(ONE, &client.one(), |payloads| {
        payloads.push(Payload::Notify(Notify::new(NotifyType::INTERMEDIATE_EXCHANGE_SUPPORTED, [])));
    });
    client.give(Instant::ZERO, answer);
    assert!(!client.sent().is_empty());
    let refusal = Payload::Notify(Notify::new(NotifyType::INVALID_SYNTAX, []));
    let input = peer.seal(ExchangeType::IKE_INTERMEDIATE, 1, true, &[refusal]);
    client.give(Instant::ZERO, input);
    let failure = client.closed().unwrap().as_ref().unwrap_err();
    let text = "the server has chosen mlkem768 as an additional key exchange, and refuses it then";
    assert_eq!((failure.text.as_str(), failure.peer.as_deref()), (text, Some("INVALID_SYNTAX (7)")));
    assert!(failure.hint.as_deref().unwrap().contains("-ke1_none"), "{failure}");
}

#[test]
fn a_driver_that_never_answers_ends_it_in_the_end() {
    for (at_client, ask) in [(true, "Agree"), (false, "Encapsulate")] {
        let (mut client, mut server, _) = both(&[ONE], &[ONE]);
        server.give(Instant::ZERO, arrives(&client.one()));
        client.give(Instant::ZERO, arrives(&server.one()));
        let node = if at_client { &mut client } else { &mut server };
        node.silent = ask;
        carry(Instant::ZERO, &mut client, &mut server);
        while client.closed().is_none() {
            client.wake();
        }
        while server.closed().is_none() {
            server.wake();
        }
        assert!(client.established().is_none() && server.established().is_none());
    }
}

// [9370:2.2.2-4]
#[test]
fn a_key_exchange_of_another_method_is_no_use() {
    let header = Header {
        initiator_spi: 1,
        responder_spi: 2,
        version: VERSION_2,
        exchange: ExchangeType::IKE_INTERMEDIATE,
        flags: Flags::of(true, false),
        message_id: 1,
    };
    let of = |payloads| intermediate::public(&Message { header, payloads }, KeMethod::MlKem768);
    let ke = |method| intermediate::payload(method, vec![0; 800]);
    assert!(of(vec![ke(KeMethod::MlKem512)]).unwrap_err().contains("mlkem768"));
    assert!(of(vec![]).is_err());
    assert!(of(vec![ke(KeMethod::MlKem768), ke(KeMethod::MlKem768)]).is_err());
    assert_eq!(of(vec![ke(KeMethod::MlKem768)]), Ok(vec![0; 800]));
}
