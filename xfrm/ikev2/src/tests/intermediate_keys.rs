//! IKE_INTERMEDIATE seen by somebody who computes everything anew from the shared secrets (RFC 9242 §3.3.2, RFC 9370
//! §2.2.2): which keys protect what, and what AUTH is over.

use adit_isakmp::keys::{
    ChildKeys, Exchange, IkeKeys, int_auth, psk_auth, signed_octets, skeyseed, skeyseed_additional,
};
use adit_isakmp::payload::{Identification, NotifyType};
use adit_isakmp::proposal::choose_ike;
use adit_isakmp::sk::{Opened, as_whole, open_any};
use adit_isakmp::{ExchangeType, Flags, HeaderView, IkeSuite, Message, Payload, PayloadType, Prf};

use super::*;

const TWO: &str = "aes256gcm16-prfsha256-x25519-ke1_mlkem512-ke2_ecp256";
const PRF: Prf = Prf::HmacSha256;

fn nodes() -> (Node, Node) {
    let ike = || vec![TWO.parse().unwrap()];
    let server = Node::new(SERVER, 2, Some(ResponderDefaults { ike: ike(), ..defaults() }));
    let mut client = Node::client();
    client.dial(Instant::ZERO, InitiatorConfig { ike: ike(), ..config() });
    (client, server)
}

/// All that was sent, in order, each in one datagram.
fn listen(client: &mut Node, server: &mut Node) -> Vec<Vec<u8>> {
    let mut heard = Vec::new();
    loop {
        let (up, down) = (client.sent(), server.sent());
        if up.is_empty() && down.is_empty() {
            return heard;
        }
        for (list, to) in [(up, &mut *server), (down, &mut *client)] {
            for transmit in list {
                heard.push(transmit.payload.clone());
                to.give(Instant::ZERO, arrives(&transmit));
            }
        }
    }
}

fn nonce(message: &[u8]) -> Vec<u8> {
    let payloads = Message::parse(message).unwrap().payloads;
    let nonce = payloads.into_iter().find_map(|p| if let Payload::Nonce(n) = p { Some(n) } else { None });
    nonce.expect("a nonce")
}

fn suite(message: &[u8]) -> IkeSuite {
    let message = Message::parse(message).unwrap();
    let sa = message.payloads.iter().find_map(|p| if let Payload::Sa(sa) = p { Some(sa) } else { None });
    choose_ike(&[TWO.parse().unwrap()], sa.unwrap(), &[]).unwrap().suite
}

/// The message, and what IntAuth is made of.
fn open(crypto: &ToyCrypto, suite: &IkeSuite, key: &Secret, bytes: &[u8]) -> Option<(Message, Vec<u8>)> {
    let secret = |s: &Secret| Secret::from(s.expose());
    let cipher = crypto.sk_cipher(suite.encryption, None, secret(key), Secret::from(&[][..])).unwrap();
    let mut bytes = bytes.to_vec();
    match open_any(&mut bytes, &*cipher) {
        Ok(Opened::Message(message, inner)) => {
            let whole =
                as_whole(&message.header, inner.first, inner.reserved, &bytes[inner.content]).unwrap();
            Some((message, whole.to_vec()))
        }
        _ => None,
    }
}

// [9370:2.2.2-2] [9370:2.2.2-3] [9370:2.2.3-1] [9242:3.2-5] [9242:3.3.2-1] [9242:3.2-2]
#[test]
fn each_exchange_makes_all_keys_anew_and_auth_is_over_all_of_them() {
    let (mut client, mut server) = nodes();
    let heard = listen(&mut client, &mut server);
    let [init_i, init_r, rest @ ..] = heard.as_slice() else { panic!("{}", heard.len()) };
    let [one_i, one_r, two_i, two_r, auth_i, auth_r, ..] = rest else { panic!("{}", rest.len()) };
    let crypto = ToyCrypto::new(7);
    let header = HeaderView::parse(init_r).unwrap().header();
    let (ni, nr) = (nonce(init_i), nonce(init_r));
    let exchange = Exchange {
        initiator_nonce: &ni,
        responder_nonce: &nr,
        initiator_spi: header.initiator_spi,
        responder_spi: header.responder_spi,
    };
    let suite = suite(init_i);
    let derive = |seed: &Secret| IkeKeys::derive(&crypto, &suite, seed, &exchange).unwrap();
    let first = derive(&skeyseed(&crypto, PRF, &exchange, &client.agreed[0]));
    let again =
        |d: &Secret, n: usize| derive(&skeyseed_additional(&crypto, PRF, d, &exchange, &client.agreed[n]));
    let second = again(&first.d, 1);
    let last = again(&second.d, 2);
    // Each pair is protected by the keys that were made before it, and by no others.
    let mut chains = (None, None);
    for (keys, later, i, r) in [(&first, &second, one_i, one_r), (&second, &last, two_i, two_r)] {
        for message in [i, r] {
            let kind = HeaderView::parse(message).unwrap();
            assert_eq!(kind.header().exchange, ExchangeType::IKE_INTERMEDIATE);
            assert_eq!(PayloadType(message[16]), PayloadType::SK, "nothing beside SK");
        }
        assert!(
            open(&crypto, &suite, &later.ei, i).is_none() && open(&crypto, &suite, &later.er, r).is_none()
        );
        let (request, whole_i) = open(&crypto, &suite, &keys.ei, i).expect("by these keys");
        let (response, whole_r) = open(&crypto, &suite, &keys.er, r).expect("by these keys");
        assert!(matches!(
            (&request.payloads[..], &response.payloads[..]),
            ([Payload::Ke(_)], [Payload::Ke(_)])
        ));
        chains.0 = Some(int_auth(&crypto, PRF, &keys.pi, chains.0.as_ref(), &whole_i));
        chains.1 = Some(int_auth(&crypto, PRF, &keys.pr, chains.1.as_ref(), &whole_r));
    }
    let (chain_i, chain_r) = (chains.0.unwrap(), chains.1.unwrap());
    let tail = [chain_i.expose(), chain_r.expose(), &3_u32.to_be_bytes()].concat();
    let expected = |message: &[u8], nonce: &[u8], sk_p: &Secret, id: &Identification| {
        let octets = signed_octets(&crypto, PRF, message, nonce, sk_p, &id.body());
        let octets = Secret::new([octets.expose(), &tail].concat());
        psk_auth(&crypto, PRF, &Secret::from(&b"a good key"[..]), &octets)
    };
    let auth_of = |message: &Message| {
        let auth =
            message.payloads.iter().find_map(|p| if let Payload::Auth(a) = p { Some(a) } else { None });
        auth.expect("AUTH").data.clone()
    };
    let (request, _) = open(&crypto, &suite, &last.ei, auth_i).expect("by the last keys");
    let id = request.payloads.iter().find_map(|p| if let Payload::IdI(id) = p { Some(id) } else { None });
    assert_eq!(auth_of(&request), expected(init_i, &nr, &last.pi, id.unwrap()).expose());
    let (response, _) = open(&crypto, &suite, &last.er, auth_r).expect("by the last keys");
    let id = response.payloads.iter().find_map(|p| if let Payload::IdR(id) = p { Some(id) } else { None });
    assert_eq!(auth_of(&response), expected(init_r, &ni, &last.pr, id.unwrap()).expose());
    // And the CHILD_SA's keys come from the last SK_d.
    let child = &client.children[0];
    let keys = ChildKeys::derive(&crypto, PRF, &last.d, &child.suite, (&ni, &nr), &[]).unwrap();
    assert!(child.inbound.encryption.equals(keys.responder.encryption.expose()));
}

// [9242:3.1-1]
#[test]
fn what_stands_in_the_announcement_is_not_looked_at() {
    let (mut client, mut server) = nodes();
    let first = client.one();
    let mut message = Message::parse(&first.payload).unwrap();
    for payload in &mut message.payloads {
        if let Payload::Notify(notify) = payload
            && notify.kind == NotifyType::INTERMEDIATE_EXCHANGE_SUPPORTED
        {
            notify.data = vec![7; 300];
        }
    }
    server.give(Instant::ZERO, arrives(&Transmit { payload: message.emit().unwrap(), ..first }));
    let answer = Message::parse(&server.one().payload).unwrap();
    assert_eq!(answer.header.flags, Flags::of(false, true));
    assert!(answer.notify(NotifyType::INTERMEDIATE_EXCHANGE_SUPPORTED).is_some());
    assert!(answer.payloads.iter().any(|p| matches!(p, Payload::Sa(_))));
}
