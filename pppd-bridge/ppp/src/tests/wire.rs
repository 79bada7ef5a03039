use proptest::collection::vec;
use proptest::prelude::{Strategy, any, prop_assert_eq, proptest};

use crate::wire::{
    ChapMessage, ChapProof, Code, ConfigOption, Options, Packet, PapMessage, Protocol, emit_frame,
    emit_options, emit_packet, split_frame,
};

fn bytes(most: usize) -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 0..most)
}

proptest! {
    /// [1661:5-3]
    #[test]
    fn packets_round_trip(code in any::<u8>(), identifier in any::<u8>(), data in bytes(300), padding in bytes(9)) {
        let mut octets = emit_packet(Code(code), identifier, &[&data]);
        octets.extend(padding);
        let packet = Packet::parse(&octets).unwrap();
        prop_assert_eq!(packet, Packet { code: Code(code), identifier, data: &data });
    }

    #[test]
    fn options_round_trip(options in vec((any::<u8>(), bytes(253)), 0..9)) {
        let written = emit_options(options.iter().map(|(kind, data)| ConfigOption { kind: *kind, data }));
        let read = Options::parse(&written).unwrap();
        let read: Vec<(u8, Vec<u8>)> = read.iter().map(|o| (o.kind, o.data.to_vec())).collect();
        prop_assert_eq!(read, options);
    }

    #[test]
    fn pap_round_trips(identifier in any::<u8>(), name in bytes(255), password in bytes(255)) {
        for message in [PapMessage::Request { name: &name, password: &password },
            PapMessage::Ack { message: &name }, PapMessage::Nak { message: &name }]
        {
            let octets = message.emit(identifier);
            prop_assert_eq!(PapMessage::parse(Packet::parse(&octets).unwrap()).unwrap(), message);
        }
    }

    #[test]
    fn chap_round_trips(identifier in any::<u8>(), value in vec(any::<u8>(), 1..255), name in bytes(300),
        proof in any::<([u8; 16], [u8; 24])>())
    {
        let proof = ChapProof { peer: proof.0, nt_response: proof.1 };
        let (encrypted_password, encrypted_hash) = (&[7; 516], &[8; 16]);
        for message in [ChapMessage::Challenge { value: &value, name: &name },
            ChapMessage::Response { value: &value, name: &name },
            ChapMessage::Success { message: &name }, ChapMessage::Failure { message: &name },
            ChapMessage::ChangePassword { encrypted_password, encrypted_hash, proof }]
        {
            let octets = message.emit(identifier);
            prop_assert_eq!(ChapMessage::parse(Packet::parse(&octets).unwrap()).unwrap(), message);
        }
        prop_assert_eq!(ChapProof::of_v2(&proof.to_v2()), Some(proof));
        let v1 = ChapProof { peer: [0; 16], ..proof };
        prop_assert_eq!(ChapProof::of_v1(&v1.to_v1()), Some(v1));
    }

    #[test]
    fn nothing_panics(octets in bytes(80)) {
        let _ = split_frame(&octets);
        let _ = Options::parse(&octets);
        if let Ok(packet) = Packet::parse(&octets) {
            let _ = (PapMessage::parse(packet), ChapMessage::parse(packet));
        }
    }
}

/// [1661:5-4] [1994:4.1-1]
#[test]
fn what_is_malformed_is_no_packet() {
    assert!(split_frame(&[0xc0]).is_err());
    assert!(split_frame(&emit_frame(Protocol::LCP, &[])).is_ok());
    assert!(Packet::parse(&[1, 1, 0, 3]).is_err(), "a Length below the header");
    assert!(Packet::parse(&[1, 1, 0, 5]).is_err(), "a Length beyond what came");
    let empty = emit_packet(Code(1), 1, &[&[0], b"name"]);
    assert!(ChapMessage::parse(Packet::parse(&empty).unwrap()).is_err(), "a Value without octets");
    assert!(Options::parse(&[1, 1]).is_err(), "an option's Length below two");
    assert!(Options::parse(&[1, 5, 0, 0]).is_err(), "an option's Length beyond what came");
}
