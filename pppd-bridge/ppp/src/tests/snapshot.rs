//! A link that another process goes on with.

use core::time::Duration;

use adit_core::FailureCode;

use super::pair::{End, Pair, client, server};
use crate::wire::{ChapMessage, Code, Packet, Protocol, emit_frame, emit_packet, split_frame};
use crate::{Ask, AuthMethod, Input, Link, LinkConfig, Mppe, Timer};

fn up() -> Pair {
    let mut pair = Pair::new(client(), server());
    pair.up();
    assert!(pair.a.established.is_some() && pair.b.established.is_some());
    pair
}

/// The end of that configuration, as another process goes on with it. The world is what it was.
fn again(pair: &Pair, end: &End, config: LinkConfig) -> End {
    let octets = end.link.snapshot().expect("it stands");
    let (link, restored) = Link::restore(pair.now, config.clone(), &octets).expect("it can be gone on with");
    assert_eq!(Some(&restored.established), end.established.as_ref());
    assert_eq!((restored.mru, restored.link.peer_mru), (1400, 1400));
    assert_eq!(link.snapshot().as_deref(), Some(&octets[..]));
    let mut next = End::new(config, 77);
    (next.link, next.established) = (link, end.established.clone());
    next
}

fn goes_on(pair: &mut Pair) {
    let until = pair.now + Duration::from_secs(300);
    pair.run(300);
    assert_eq!(pair.now, until);
    assert!(pair.a.closed.is_none() && pair.b.closed.is_none());
    // Both still answer, and end it as before.
    let to_b = pair.a.handle(pair.now, Input::Close);
    pair.exchange(Vec::new(), to_b);
    pair.run(10);
    assert!(matches!(pair.a.closed, Some(Ok(()))));
    assert_eq!(pair.b.failure().code, FailureCode::PeerClosed);
}

#[test]
fn a_client_goes_on_in_another_process() {
    let mut pair = up();
    pair.run(100);
    let next = again(&pair, &pair.a, client());
    pair.a = next;
    goes_on(&mut pair);
    assert!(pair.a.kernel.is_empty(), "the kernel has it all: {:?}", pair.a.kernel);
}

#[test]
fn a_server_goes_on_in_another_process() {
    for demand in [AuthMethod::MsChapV2, AuthMethod::Eap, AuthMethod::Pap] {
        let config = LinkConfig { demand: vec![demand], mppe: Mppe::OFF, ..server() };
        let ours = LinkConfig { prove: vec![demand], mppe: Mppe::OFF, ..client() };
        let mut pair = Pair::new(ours, config.clone());
        pair.up();
        let next = again(&pair, &pair.b, config);
        pair.b = next;
        goes_on(&mut pair);
        assert!(pair.b.kernel.is_empty());
    }
}

#[test]
fn it_asks_at_once_whether_the_peer_is_there() {
    let pair = up();
    let mut next = again(&pair, &pair.a, client());
    assert_eq!(next.link.deadline(), Some((pair.now, Timer::Echo)));
    let sent = next.handle(pair.now, Input::Wake);
    let [echo] = sent.as_slice() else { panic!("{sent:?}") };
    let (protocol, packet) = split_frame(echo).unwrap();
    assert_eq!((protocol, Packet::parse(packet).unwrap().code), (Protocol::LCP, Code::ECHO_REQUEST));
}

#[test]
fn a_verdict_that_was_lost_is_said_again() {
    let mut pair = up();
    let response = pair.a.sent.iter().find(|f| f.starts_with(&[0xc2, 0x23])).unwrap().clone();
    let verdict = pair.b.sent.iter().rfind(|f| f.starts_with(&[0xc2, 0x23])).unwrap().clone();
    let next = again(&pair, &pair.b, server());
    pair.b = next;
    assert!(pair.b.handle(pair.now, Input::Frame(response)).contains(&verdict));
}

#[test]
fn a_client_is_challenged_again() {
    let mut pair = up();
    let next = again(&pair, &pair.a, client());
    pair.a = next;
    let challenge = ChapMessage::Challenge { value: &[9; 16], name: b"vpn" }.emit(200);
    let sent = pair.a.handle(pair.now, Input::Frame(emit_frame(Protocol::CHAP, &challenge)));
    let answer = sent.iter().find_map(|f| split_frame(f).ok().filter(|(p, _)| *p == Protocol::CHAP)).unwrap();
    let packet = Packet::parse(answer.1).unwrap();
    assert_eq!((packet.code, packet.identifier), (Code(2), 200));
    assert!(pair.a.link.snapshot().is_none(), "its verdict is on the way");
}

#[test]
fn what_was_agreed_is_not_negotiated_again() {
    let mut pair = up();
    let asked = |of: &End, protocol: Protocol| {
        let requests = of.sent.iter().filter_map(|f| split_frame(f).ok()).filter(|(p, _)| *p == protocol);
        let mut packets = requests.filter_map(|(_, packet)| Packet::parse(packet).ok());
        packets.rfind(|p| p.code == Code::CONFIGURE_REQUEST).unwrap().emit()
    };
    let next = again(&pair, &pair.a, client());
    let before = std::mem::replace(&mut pair.a, next);
    for protocol in [Protocol::LCP, Protocol::IPCP, Protocol::IPV6CP] {
        // The peer's last request once more: our Ack was lost.
        let request = emit_frame(protocol, &asked(&pair.b, protocol));
        let sent = pair.a.handle(pair.now, Input::Frame(request));
        let codes: Vec<Code> = sent.iter().map(|f| Packet::parse(&f[2..]).unwrap().code).collect();
        assert!(
            codes.contains(&Code::CONFIGURE_ACK) && !codes.contains(&Code::CONFIGURE_REQUEST),
            "{codes:?}"
        );
    }
    assert!(pair.a.closed.is_none());
    // Encryption is never begun again with keys that carry.
    let request =
        emit_frame(Protocol::CCP, &emit_packet(Code::CONFIGURE_REQUEST, 201, &[&[18, 6, 1, 0, 0, 0x40]]));
    let to_b = pair.a.handle(pair.now, Input::Frame(request));
    pair.exchange(Vec::new(), to_b);
    assert_eq!(pair.a.failure().code, FailureCode::ProposalMismatch);
    assert_eq!(pair.a.kernel, ["encrypted false"]);
    assert!(before.closed.is_none());
}

#[test]
fn nothing_is_handed_on_while_something_is_under_way() {
    let mut pair = Pair::new(client(), server());
    assert!(pair.a.link.snapshot().is_none());
    pair.a.slow = true;
    pair.up();
    while !pair.a.waiting.is_empty() {
        assert!(pair.a.link.snapshot().is_none());
        let install = pair.a.waiting.iter().any(|(_, ask)| matches!(ask, Ask::Install(_)));
        assert!(!install || pair.a.established.is_none());
        let to_b = pair.a.answer_late(pair.now);
        pair.exchange(Vec::new(), to_b);
    }
    assert!(pair.a.link.snapshot().is_some());
    pair.a.handle(pair.now, Input::Close);
    assert!(pair.a.link.snapshot().is_none());
}

#[test]
fn another_configuration_does_not_go_on_with_it() {
    let pair = up();
    let left = pair.a.link.snapshot().unwrap();
    let restore = |config| Link::restore(pair.now, config, &left).is_some();
    assert!(restore(client()));
    assert!(!restore(LinkConfig { prove: vec![AuthMethod::Pap], ..client() }));
    assert!(!restore(LinkConfig { demand: vec![AuthMethod::Pap], ..client() }));
    assert!(!restore(LinkConfig {
        mppe: Mppe { bits128: false, bits40: true, ..Mppe::REQUIRED },
        ..client()
    }));
    let left = pair.b.link.snapshot().unwrap();
    assert!(Link::restore(pair.now, LinkConfig { demand: Vec::new(), ..server() }, &left).is_none());
}

#[test]
fn what_is_damaged_is_refused_or_means_something() {
    let pair = up();
    for (end, config) in [(&pair.a, client()), (&pair.b, server())] {
        let left = end.link.snapshot().unwrap();
        for length in 0..left.len() {
            assert!(
                Link::restore(pair.now, config.clone(), &left[..length]).is_none(),
                "cut off after {length}"
            );
        }
        assert!(
            Link::restore(pair.now, config.clone(), &[&left[..], &[0]].concat()).is_none(),
            "more than there is"
        );
        for at in 0..left.len() {
            for flip in [1, 0x80, 0xff] {
                let mut bytes = left.clone();
                bytes[at] ^= flip;
                if let Some((link, _)) = Link::restore(pair.now, config.clone(), &bytes) {
                    assert!(link.snapshot().is_some(), "octet {at}");
                }
            }
        }
        let mut other = left.clone();
        other[0] ^= 3;
        assert!(Link::restore(pair.now, config, &other).is_none(), "another version");
    }
}
