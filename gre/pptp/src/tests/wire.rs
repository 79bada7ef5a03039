use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, any, prop_assert_eq, prop_oneof, proptest};

use crate::wire::{CallReply, Hello, MAGIC, Message, OutgoingCall, StartReply, next};

fn hello() -> impl Strategy<Value = Hello> {
    (any::<u16>(), any::<[u32; 2]>(), any::<u16>(), "[ -~]{0,63}", "[ -~]{0,63}").prop_map(
        |(version, [framing, bearer], channels, host_name, vendor)| Hello {
            version,
            framing,
            bearer,
            channels,
            host_name,
            vendor,
        },
    )
}

fn reply() -> impl Strategy<Value = CallReply> {
    any::<(u16, u16, u8, u8, u16)>().prop_map(|(call_id, peer_call_id, result, error, window)| CallReply {
        call_id,
        peer_call_id,
        result,
        error,
        window,
    })
}

pub(super) fn message() -> impl Strategy<Value = Message> {
    prop_oneof![
        hello().prop_map(Message::StartRequest),
        (any::<u8>(), any::<u8>(), hello())
            .prop_map(|(result, error, hello)| Message::StartReply(StartReply { result, error, hello })),
        any::<u8>().prop_map(|reason| Message::StopRequest { reason }),
        any::<u8>().prop_map(|result| Message::StopReply { result }),
        any::<u32>().prop_map(|identifier| Message::EchoRequest { identifier }),
        any::<(u32, u8)>().prop_map(|(identifier, result)| Message::EchoReply { identifier, result }),
        any::<(u16, u16, u16)>().prop_map(|(call_id, serial, window)| {
            Message::OutgoingCallRequest(OutgoingCall { call_id, serial, window })
        }),
        reply().prop_map(Message::OutgoingCallReply),
        any::<(u16, u16)>().prop_map(|(call_id, serial)| Message::IncomingCallRequest { call_id, serial }),
        reply().prop_map(Message::IncomingCallReply),
        any::<u16>().prop_map(|peer_call_id| Message::IncomingCallConnected { peer_call_id }),
        any::<u16>().prop_map(|call_id| Message::CallClearRequest { call_id }),
        any::<(u16, u8, u8)>().prop_map(|(call_id, result, error)| Message::CallDisconnectNotify {
            call_id,
            result,
            error
        }),
        any::<u16>().prop_map(|peer_call_id| Message::WanErrorNotify { peer_call_id }),
        any::<(u16, u32, u32)>().prop_map(|(peer_call_id, send_accm, receive_accm)| {
            Message::SetLinkInfo { peer_call_id, send_accm, receive_accm }
        }),
        Just(Message::Unknown(99)),
    ]
}

proptest! {
    #[test]
    fn messages_round_trip(messages in vec(message(), 1..5)) {
        let stream: Vec<u8> = messages.iter().flat_map(Message::emit).collect();
        let (mut at, mut read) = (0, Vec::new());
        while let Some((message, length)) = next(&stream[at..]).unwrap() {
            read.push(message);
            at += length;
        }
        prop_assert_eq!(read, messages);
        prop_assert_eq!(at, stream.len());
    }

    #[test]
    fn nothing_panics(octets in vec(any::<u8>(), 0..250)) {
        let _ = next(&octets);
        let framed = [&[0, 250, 0, 1][..], &MAGIC.to_be_bytes(), &octets].concat();
        let _ = next(&framed);
    }
}

/// RFC 2637 §2: the length of each message.
#[test]
fn lengths_are_those_of_the_rfc() {
    let hello = || Hello {
        version: 0x0100,
        framing: 3,
        bearer: 3,
        channels: 0,
        host_name: "a".into(),
        vendor: "b".into(),
    };
    let reply = CallReply { call_id: 1, peer_call_id: 2, result: 1, error: 0, window: 64 };
    let call = OutgoingCall { call_id: 1, serial: 1, window: 64 };
    let all = [
        (Message::StartRequest(hello()), 156),
        (Message::StartReply(StartReply { result: 1, error: 0, hello: hello() }), 156),
        (Message::StopRequest { reason: 1 }, 16),
        (Message::StopReply { result: 1 }, 16),
        (Message::EchoRequest { identifier: 1 }, 16),
        (Message::EchoReply { identifier: 1, result: 1 }, 20),
        (Message::OutgoingCallRequest(call), 168),
        (Message::OutgoingCallReply(reply), 32),
        (Message::IncomingCallRequest { call_id: 1, serial: 1 }, 220),
        (Message::IncomingCallReply(reply), 24),
        (Message::IncomingCallConnected { peer_call_id: 1 }, 28),
        (Message::CallClearRequest { call_id: 1 }, 16),
        (Message::CallDisconnectNotify { call_id: 1, result: 1, error: 0 }, 148),
        (Message::WanErrorNotify { peer_call_id: 1 }, 40),
        (Message::SetLinkInfo { peer_call_id: 1, send_accm: 0, receive_accm: 0 }, 24),
    ];
    for (message, length) in all {
        assert_eq!(message.emit().len(), length, "{message:?}");
    }
}

/// [2637:1.4-1] [2637:1.4-2]
#[test]
fn what_has_no_cookie_or_no_length_is_not_pptp() {
    let good = Message::EchoRequest { identifier: 7 }.emit();
    assert!(next(&good[..good.len() - 1]).unwrap().is_none(), "the rest is awaited");
    let mut bad = good.clone();
    bad[4] = 0;
    assert!(next(&bad).is_err());
    let mut bad = good.clone();
    bad[1] = 11;
    assert!(next(&bad).is_err());
    let mut bad = good;
    bad[0] = 0xff;
    assert!(next(&bad).is_err());
}

/// Each octet that is no UTF-8 becomes a mark of three, of which no more are kept than a message holds.
#[test]
fn a_name_that_is_no_utf_8_is_not_longer_than_it_can_be_said() {
    let hello = Hello {
        version: 0x100,
        framing: 3,
        bearer: 3,
        channels: 1,
        host_name: "x".repeat(63),
        vendor: "y".into(),
    };
    let mut bytes = Message::StartRequest(hello).emit();
    bytes.iter_mut().filter(|b| **b == b'x').for_each(|b| *b = 0xec);
    let (read, _) = next(&bytes).unwrap().unwrap();
    let Message::StartRequest(hello) = &read else { panic!("{read:?}") };
    assert_eq!(hello.host_name, "\u{fffd}".repeat(21));
    assert_eq!(next(&read.emit()).unwrap().unwrap().0, read);
}
