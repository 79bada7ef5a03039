use proptest::array::uniform32;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::{Just, Strategy, any, prop_assert, prop_assert_eq, prop_oneof, proptest};

use crate::frame;
use crate::wire::{CryptoBinding, LONGEST, Message, Packet, Status, StatusInfo, attribute, next};

fn status() -> impl Strategy<Value = StatusInfo> {
    (any::<u8>(), any::<u32>(), vec(any::<u8>(), 0..=64)).prop_map(|(attribute, status, value)| StatusInfo {
        attribute,
        status: Status(status),
        value,
    })
}

pub(super) fn message() -> impl Strategy<Value = Message> {
    let octets = || uniform32(any::<u8>());
    prop_oneof![
        any::<u16>().prop_map(|protocol| Message::ConnectRequest { protocol }),
        (any::<u8>(), octets()).prop_map(|(hashes, nonce)| Message::ConnectAck { hashes, nonce }),
        vec(status(), 0..=16).prop_map(Message::ConnectNak),
        (any::<u8>(), octets(), octets(), octets()).prop_map(|(hash, nonce, certificate, mac)| {
            Message::Connected(CryptoBinding { hash, nonce, certificate, mac })
        }),
        option::of(status()).prop_map(Message::Abort),
        option::of(status()).prop_map(Message::Disconnect),
        Just(Message::DisconnectAck),
        Just(Message::EchoRequest),
        Just(Message::EchoResponse),
    ]
}

proptest! {
    #[test]
    fn messages_round_trip(messages in vec(message(), 1..5)) {
        let stream: Vec<u8> = messages.iter().flat_map(Message::emit).collect();
        let (mut at, mut read) = (0, Vec::new());
        while let Some((packet, length)) = next(&stream[at..]).unwrap() {
            let Packet::Control(packet) = packet else { panic!("no control packet") };
            read.push(Message::parse(packet).unwrap());
            at += length;
        }
        prop_assert_eq!(read, messages);
        prop_assert_eq!(at, stream.len());
    }

    #[test]
    fn frames_round_trip(protocol in any::<u16>(), packet in vec(any::<u8>(), 0..4000)) {
        let protocol = protocol & 0xfeff | 1;
        let frame = [&protocol.to_be_bytes()[..], &packet].concat();
        let packed = frame::pack(&frame).unwrap();
        let (Packet::Data(sent), length) = next(&packed).unwrap().unwrap() else { panic!() };
        prop_assert_eq!(length, packed.len());
        prop_assert_eq!(frame::unpack(sent), Some((protocol, frame.clone())));
        // As who leaves out address and control, and an octet of the protocol.
        prop_assert_eq!(frame::unpack(&frame), Some((protocol, frame.clone())));
        if protocol < 0x100 {
            prop_assert_eq!(frame::unpack(&frame[1..]), Some((protocol, frame)));
        }
    }

    #[test]
    fn nothing_panics(octets in vec(any::<u8>(), 0..300), flag in any::<bool>()) {
        let _ = next(&octets);
        let mut framed = vec![0x10, u8::from(flag), 1, 44];
        framed.extend(&octets);
        if let Ok(Some((packet, length))) = next(&framed) {
            prop_assert!(length <= framed.len());
            match packet {
                Packet::Control(packet) => drop(Message::parse(packet)),
                Packet::Data(frame) => drop(frame::unpack(frame)),
            }
        }
    }
}

/// [MS-SSTP] §2.2.1, §3.1.5.1
#[test]
fn what_is_no_packet_is_not_waited_for() {
    assert_eq!(next(&[]), Ok(None));
    assert_eq!(next(&[0x10, 1, 0]), Ok(None));
    assert!(next(&[0x11]).is_err(), "another version");
    assert!(next(&[0x10, 1, 0, 7, 0, 0, 0]).is_err(), "a control packet without a type");
    assert!(next(&[0x10, 0, 0, 3]).is_err(), "shorter than its header");
    let longest = [&[0x10, 0, 0xff, 0xff][..], &[0; LONGEST - 4]].concat();
    let (Packet::Data(data), length) = next(&longest).unwrap().unwrap() else { panic!() };
    assert_eq!((data.len(), length), (LONGEST - 4, LONGEST), "the upper four bits are reserved");
    assert!(frame::pack(&[0; LONGEST - 6]).is_some() && frame::pack(&[0; LONGEST - 5]).is_none());
}

/// [MS-SSTP] §2.2.8: each mistake has its status.
#[test]
fn a_malformed_message_is_told_by_its_attribute() {
    let refused = |body: &[u8]| {
        let length = u8::try_from(body.len() + 4).unwrap();
        Message::parse(&[&[0x10, 1, 0, length], body].concat()).map_err(|e| (e.attribute, e.status))
    };
    let protocol: &[u8] = &[0, 1, 0, 6, 0, 1];
    let of = |count, attributes: &[&[u8]]| [&[0, 1, 0, count], attributes.concat().as_slice()].concat();
    assert_eq!(refused(&of(1, &[protocol])), Ok(Message::ConnectRequest { protocol: 1 }));
    assert_eq!(refused(&of(2, &[protocol, protocol])), Err((1, Status::DUPLICATE)));
    assert_eq!(refused(&of(1, &[&[0, 9, 0, 4]])), Err((9, Status::UNRECOGNIZED)));
    assert_eq!(refused(&of(1, &[&[0, 1, 0, 5, 1]])), Err((1, Status::INVALID_LENGTH)));
    assert_eq!(refused(&of(1, &[&[0, 1, 0, 3, 1]])), Err((1, Status::INVALID_LENGTH)));
    assert_eq!(refused(&of(1, &[&[0, 1, 0, 7, 0, 1]])), Err((1, Status::INVALID_LENGTH)));
    assert_eq!(refused(&of(1, &[protocol, &[0]])), Err((0, Status::INVALID_LENGTH)));
    assert_eq!(refused(&of(255, &[])), Err((0, Status::INVALID_LENGTH)));
    assert_eq!(refused(&of(0, &[])), Err((1, Status::MISSING)));
    assert_eq!(refused(&of(1, &[&[0, 4, 0, 4]])), Err((4, Status::NOT_IN_MESSAGE)));
    let info = Message::Abort(Some(StatusInfo::of(3, Status::TIMEOUT))).emit();
    assert_eq!(refused(&of(1, &[&info[8..]])), Err((attribute::STATUS_INFO, Status::STATUS_NOT_IN_MESSAGE)));
    assert_eq!(refused(&[0, 99, 0, 0]), Err((0, Status::INVALID_FRAME)));
    assert_eq!(refused(&[0, 8, 0, 1, 0, 1, 0, 4]), Err((0, Status::NOT_IN_MESSAGE)));
}
