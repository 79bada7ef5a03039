//! The codec of IKEv1: whatever can be said can be written, and reads the same.

use core::net::{IpAddr, Ipv4Addr};

use adit_core::{AddressRange, TrafficSelector};
use adit_isakmp::payload::{Attribute, AttributeValue, Protocol};
use adit_isakmp::v1::{
    CertData, Delete, Fragment, Identification, Kind, Message, Notify, NotifyKind, Payload, Proposal,
    SecurityAssociation, Transform, emit, parse_chain,
};
use adit_isakmp::{ExchangeType, Flags, Header, VERSION_1};
use proptest::collection::vec;
use proptest::prelude::*;

const HEADER: Header = Header {
    initiator_spi: 1,
    responder_spi: 2,
    version: VERSION_1,
    exchange: ExchangeType::IDENTITY_PROTECTION,
    flags: Flags(0),
    message_id: 0,
};

fn bytes(max: usize) -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 0..=max)
}

fn attribute() -> impl Strategy<Value = Attribute> {
    let value =
        prop_oneof![any::<u16>().prop_map(AttributeValue::Short), bytes(9).prop_map(AttributeValue::Long)];
    (0_u16..0x8000, value).prop_map(|(kind, value)| Attribute { kind, value })
}

fn transform() -> impl Strategy<Value = Transform> {
    (any::<u8>(), any::<u8>(), vec(attribute(), 0..8)).prop_map(|(number, id, attributes)| Transform {
        number,
        id,
        attributes,
    })
}

fn sa() -> impl Strategy<Value = Payload> {
    let proposal = (any::<u8>(), any::<u8>(), bytes(16), vec(transform(), 0..6)).prop_map(
        |(number, protocol, spi, transforms)| Proposal {
            number,
            protocol: Protocol(protocol),
            spi,
            transforms,
        },
    );
    vec(proposal, 1..4).prop_map(|proposals| Payload::Sa(SecurityAssociation { proposals }))
}

fn id() -> impl Strategy<Value = Identification> {
    (any::<u8>(), any::<u8>(), any::<u16>(), bytes(32))
        .prop_map(|(id_type, protocol, port, data)| Identification { id_type, protocol, port, data })
}

fn payload() -> impl Strategy<Value = Payload> {
    let notify = (any::<u32>(), any::<u8>(), bytes(20), any::<u16>(), bytes(20)).prop_map(
        |(doi, protocol, spi, kind, data)| {
            let (protocol, kind) = (Protocol(protocol), NotifyKind(kind));
            Payload::Notify(Notify { doi, protocol, spi, kind, data })
        },
    );
    let delete =
        (any::<u32>(), any::<u8>(), 1..20_usize, 1..5_usize).prop_map(|(doi, protocol, size, count)| {
            Payload::Delete(Delete { doi, protocol: Protocol(protocol), spis: vec![vec![9; size]; count] })
        });
    let fragment = (any::<u16>(), 1..=255_u8, any::<bool>(), bytes(40))
        .prop_map(|(id, number, last, data)| Payload::Fragment(Fragment { id, number, last, data }));
    let cert = || (any::<u8>(), bytes(40)).prop_map(|(encoding, data)| CertData { encoding, data });
    prop_oneof![
        sa(),
        bytes(40).prop_map(Payload::Ke),
        id().prop_map(Payload::Id),
        cert().prop_map(Payload::Cert),
        cert().prop_map(Payload::CertReq),
        bytes(40).prop_map(Payload::Hash),
        bytes(40).prop_map(Payload::Signature),
        vec(any::<u8>(), 8..=256).prop_map(Payload::Nonce),
        notify,
        delete,
        bytes(40).prop_map(Payload::Vendor),
        (any::<bool>(), bytes(40)).prop_map(|(draft, hash)| Payload::NatD { draft, hash }),
        (any::<bool>(), id()).prop_map(|(draft, address)| Payload::NatOa { draft, address }),
        fragment,
        (140..=255_u8, bytes(40)).prop_map(|(kind, body)| Payload::Unknown { kind: Kind(kind), body }),
    ]
}

proptest! {
    #[test]
    fn messages_survive(payloads in vec(payload(), 1..6), padding in 0..16_usize) {
        let bytes = emit(&HEADER, &payloads).unwrap();
        let message = Message::parse(&bytes, false).unwrap();
        prop_assert_eq!(message.iter().cloned().collect::<Vec<_>>(), payloads.clone());
        for (payload, at) in &message.payloads {
            prop_assert_eq!(payload.body().unwrap(), &bytes[at.clone()]);
        }
        // What was encrypted may have bytes behind it.
        let mut body = bytes[28..].to_vec();
        body.resize(body.len() + padding, 0);
        let padded = parse_chain(payloads[0].kind(), &body, 28, true).unwrap();
        prop_assert_eq!(padded.len(), payloads.len());
        prop_assert_eq!(parse_chain(payloads[0].kind(), &body, 28, false).is_err(), padding > 0);
    }

    #[test]
    fn no_bytes_panic(bytes in bytes(200)) {
        for kind in Kind::NAMED {
            let _ = parse_chain(*kind, &bytes, 0, true);
        }
        let _ = Message::parse(&bytes, false);
    }

    #[test]
    fn traffic_survives(a in any::<Ipv4Addr>(), b in any::<Ipv4Addr>(), protocol: u8, port: u16, length in 0..=32_u8) {
        let range = AddressRange { first: IpAddr::V4(a.min(b)), last: IpAddr::V4(a.max(b)) };
        let prefix = adit_core::Prefix { address: a.into(), length }.range();
        for addresses in [range, prefix] {
            let ports = if port == 0 { (0, u16::MAX) } else { (port, port) };
            let ts = TrafficSelector { addresses, protocol, first_port: ports.0, last_port: ports.1 };
            let id = Identification::traffic(ts).unwrap();
            prop_assert_eq!(id.selector(), Some(ts));
        }
    }
}

#[test]
fn traffic_of_ipv6_and_what_is_none() {
    for text in ["::/0", "2001:db8::/32", "2001:db8::1/128"] {
        let ts: TrafficSelector = text.parse::<adit_core::Prefix>().unwrap().into();
        assert_eq!(Identification::traffic(ts).unwrap().selector(), Some(ts), "{text}");
    }
    let of = |id_type, data: &[u8]| Identification { id_type, protocol: 0, port: 0, data: data.to_vec() };
    // A mask with a hole, a range the wrong way round, a name, and lengths that do not fit.
    assert_eq!(of(4, &[10, 0, 0, 0, 255, 0, 255, 0]).selector(), None);
    assert_eq!(of(7, &[10, 0, 0, 2, 10, 0, 0, 1]).selector(), None);
    assert_eq!(of(2, b"vpn.example.com").selector(), None);
    assert_eq!(of(1, &[10, 0, 0]).selector(), None);
    assert_eq!(of(6, &[0; 31]).selector(), None);
    // Ports that IKEv1 has no words for.
    let all: TrafficSelector = "10.0.0.0/8".parse::<adit_core::Prefix>().unwrap().into();
    assert_eq!(Identification::traffic(TrafficSelector { first_port: 5, last_port: 9, ..all }), None);
}

// [2409:5-5]
#[test]
fn a_nonce_has_8_to_256_bytes() {
    for (length, good) in [(7, false), (8, true), (256, true), (257, false)] {
        let bytes = emit(&HEADER, &[Payload::Nonce(vec![1; length])]).unwrap();
        assert_eq!(Message::parse(&bytes, false).is_ok(), good, "{length}");
    }
}

// [2408:3.4-1] [2408:3.5-1] [2408:5.2-2]
#[test]
fn what_is_malformed_is_refused_where_it_is() {
    let sa = SecurityAssociation { proposals: Vec::new() };
    let refused = |bytes: &[u8]| Message::parse(bytes, false).unwrap_err().at;
    let good = emit(&HEADER, &[Payload::Sa(sa), Payload::Vendor(vec![1, 2, 3])]).unwrap();
    let change = |at: usize, byte| {
        let mut bytes = good.clone();
        bytes[at] = byte;
        bytes
    };
    assert_eq!(refused(&change(17, 0x20)), 17);
    // The SA's length: less than its header, more than there is.
    assert_eq!(refused(&change(31, 3)), 30);
    assert_eq!(refused(&change(30, 9)), 32);
    // Its DOI and its situation.
    assert_eq!(refused(&change(35, 2)), 32);
    assert_eq!(refused(&change(39, 2)), 36);
    // No payload at all.
    assert_eq!(refused(&emit(&HEADER, &[]).unwrap()), 16);
    let many = vec![Payload::Vendor(Vec::new()); 65];
    assert!(Message::parse(&emit(&HEADER, &many).unwrap(), false).is_err());
    let fragment = Fragment { id: 1, number: 0, last: false, data: Vec::new() };
    assert!(Message::parse(&emit(&HEADER, &[Payload::Fragment(fragment)]).unwrap(), false).is_err());
}
