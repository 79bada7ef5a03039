//! LCP that begins anew, by who can send a frame: anybody on the way of a PPTP call, before it is encrypted.

use adit_auth::eap::Method;
use adit_core::FailureCode;

use super::pair::{End, Pair, client, server};
use crate::wire::{Code, Packet, Protocol, emit_frame, emit_packet, split_frame};
use crate::{Ask, AuthMethod, EapConfig, Input, LinkConfig};

/// A negotiation that begins anew and comes to an agreement at once, asking for nothing and taking everything.
fn begin_anew(pair: &mut Pair, of: impl Fn(&mut Pair) -> &mut End) {
    let now = pair.now;
    let request = emit_packet(Code::CONFIGURE_REQUEST, 77, &[]);
    let mut answers = of(pair).handle(now, Input::Frame(emit_frame(Protocol::LCP, &request)));
    for _ in 0..9 {
        let mut acks = Vec::new();
        for frame in &answers {
            let Ok((Protocol::LCP, packet)) = split_frame(frame) else { continue };
            let Ok(packet) = Packet::parse(packet) else { continue };
            let code = match packet.code {
                Code::CONFIGURE_REQUEST => Code::CONFIGURE_ACK,
                Code::TERMINATE_REQUEST => Code::TERMINATE_ACK,
                _ => continue,
            };
            acks.push(emit_frame(Protocol::LCP, &emit_packet(code, packet.identifier, &[packet.data])));
        }
        answers = acks.into_iter().flat_map(|ack| of(pair).handle(now, Input::Frame(ack))).collect();
    }
}

fn by_eap_tls() -> Pair {
    let eap = || EapConfig::of(vec![Method::TLS]);
    Pair::new(
        LinkConfig { prove: vec![AuthMethod::Eap], eap: eap(), ..client() },
        LinkConfig { demand: vec![AuthMethod::Eap], eap: eap(), ..server() },
    )
}

fn asked_tls(end: &End) -> bool {
    end.waiting.iter().any(|(_, ask)| matches!(ask, Ask::Tls { .. }))
}

/// One engine serves one conversation: a handshake of the first must prove nobody in the second.
#[test]
fn a_server_that_has_run_tls_does_not_begin_anew() {
    let mut pair = by_eap_tls();
    (pair.a.tls_goes_on, pair.b.slow) = (true, true);
    pair.up();
    assert!(asked_tls(&pair.b));
    let said = pair.b.codes(Protocol::EAP).len();
    begin_anew(&mut pair, |pair| &mut pair.b);
    assert_eq!(pair.b.codes(Protocol::EAP).len(), said, "a second conversation");
    let why = pair.b.failure();
    assert_eq!(
        (why.code, &*why.text),
        (FailureCode::PeerClosed, "the peer began to negotiate the link anew")
    );
    pair.b.answer_late(pair.now);
    assert!(pair.b.kernel.is_empty());
}

#[test]
fn a_client_that_has_run_tls_does_not_begin_anew() {
    let mut pair = by_eap_tls();
    pair.a.slow = true;
    pair.up();
    assert!(asked_tls(&pair.a));
    begin_anew(&mut pair, |pair| &mut pair.a);
    assert_eq!(pair.a.failure().code, FailureCode::PeerClosed);
    assert!(pair.a.kernel.is_empty());
}

#[test]
fn a_link_that_has_an_interface_does_not_begin_anew() {
    let mut pair = Pair::new(client(), server());
    pair.up();
    assert!(pair.a.established.is_some());
    let (done, said) = (pair.b.kernel.len(), pair.b.codes(Protocol::CHAP).len());
    begin_anew(&mut pair, |pair| &mut pair.b);
    assert_eq!(pair.b.failure().code, FailureCode::PeerClosed);
    assert_eq!((pair.b.kernel.len(), pair.b.codes(Protocol::CHAP).len()), (done, said));
}

/// Where nothing but passwords was asked for, what is agreed anew is proven anew.
#[test]
fn a_link_without_tls_may_begin_anew_and_proves_anew() {
    let mut pair = Pair::new(client(), server());
    pair.a.slow = true;
    pair.up();
    begin_anew(&mut pair, |pair| &mut pair.b);
    assert!(pair.b.closed.is_none(), "{:?}", pair.b.closed);
    assert_eq!(pair.b.codes(Protocol::CHAP), [1, 1]);
}
