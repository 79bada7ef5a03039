//! Single fields, written as the RFC says and, where it says so, not looked at when they come.

use adit_core::{Identity, Prefix, TrafficSelector};
use adit_isakmp::payload::{
    Attribute, AttributeValue, AuthMethod, Authentication, Certificate, ConfigAttribute, ConfigType,
    Configuration, Delete, Eap, Identification, KeyExchangeData, Notify, NotifyType, Payload, PayloadType,
    Proposal, Protocol, RawPayload, SecurityAssociation, Transform, TransformType,
};
use adit_isakmp::proposal::offer_ike;
use adit_isakmp::{ExchangeType, Flags, Header, HeaderView, Message, VERSION_2};

const HEADER: Header = Header {
    initiator_spi: 1,
    responder_spi: 2,
    version: VERSION_2,
    exchange: ExchangeType::INFORMATIONAL,
    flags: Flags::INITIATOR,
    message_id: 7,
};

fn body(payload: &Payload) -> Vec<u8> {
    let mut out = Vec::new();
    payload.emit(&mut out).unwrap();
    out
}

fn read(kind: PayloadType, body: &[u8]) -> Payload {
    Payload::parse(&RawPayload { kind, next: PayloadType::NONE, critical: false, at: 0, body }).unwrap()
}

fn ts() -> TrafficSelector {
    "10.0.0.0/8".parse::<Prefix>().unwrap().into()
}

fn identification() -> Identification {
    Identification::from(&"vpn.example.com".parse::<Identity>().unwrap())
}

/// One payload of each kind that has reserved bytes, and where they are in its body.
fn reserved() -> Vec<(Payload, Vec<usize>)> {
    let sa = offer_ike(&["aes256gcm16-prfsha256-x25519".parse().unwrap()], &[]);
    let auth = Authentication { method: AuthMethod::SHARED_KEY, data: vec![9; 8] };
    let cp = Configuration {
        kind: ConfigType::CFG_REQUEST,
        attributes: vec![ConfigAttribute::Ip4Address(None), ConfigAttribute::Ip4Dns(None)],
    };
    vec![
        // RESERVED of the proposal, and both of each of the three transforms.
        (Payload::Sa(sa), vec![1, 9, 13, 21, 25, 29, 33]),
        (Payload::Ke(KeyExchangeData { method: 31, data: vec![9; 32] }), vec![2, 3]),
        (Payload::IdI(identification()), vec![1, 2, 3]),
        (Payload::Auth(auth), vec![1, 2, 3]),
        (Payload::TsI([ts()].into_iter().collect()), vec![1, 2, 3]),
        (Payload::Configuration(cp), vec![1, 2, 3]),
    ]
}

/// What a payload means, apart from the bytes of an ID that AUTH covers as they came.
fn meaning(payload: Payload) -> Payload {
    match payload {
        Payload::IdI(id) => Payload::IdI(Identification { reserved: [0; 3], ..id }),
        other => other,
    }
}

// [7296:2.5-6] [7296:3.3.1-1] [7296:3.3.1-2] [7296:3.3.2-1] [7296:3.3.2-2] [7296:3.5-1] [7296:3.5-2] [7296:3.8-1]
// [7296:3.8-2] [7296:3.13-1] [7296:3.15-1] [7296:3.15-2]
#[test]
fn reserved_fields_are_sent_as_zero_and_not_looked_at() {
    for (payload, places) in reserved() {
        let good = body(&payload);
        for at in places {
            assert_eq!(good[at], 0, "{payload:?} sends byte {at}");
            let mut other = good.clone();
            other[at] = 0xff;
            assert_eq!(meaning(read(payload.kind(), &other)), payload, "byte {at} means something");
        }
    }
}

// [7296:3.2-6] [7296:3.2-7] [7296:3.2-1] [7296:3.2-4] [7296:2.5-10] [7296:3.12-1]
#[test]
fn the_generic_header_has_no_flag_and_seven_bits_that_mean_nothing() {
    let mut payloads: Vec<Payload> = reserved().into_iter().map(|(p, _)| p).collect();
    payloads.push(Payload::Vendor(vec![1, 2, 3]));
    payloads.push(Payload::Notify(Notify::new(NotifyType::INITIAL_CONTACT, [])));
    payloads.push(Payload::Delete(Delete::Ike));
    payloads.push(Payload::Cert(Certificate::x509(vec![1])));
    payloads.push(Payload::Unknown { kind: PayloadType(200), critical: false, body: vec![1] });
    let message = Message { header: HEADER, payloads };
    let good = message.emit().unwrap();
    let mut at = 28;
    while at < good.len() {
        assert_eq!(good[at + 1], 0, "at {at}");
        let mut other = good.clone();
        other[at + 1] = 0x7f;
        assert_eq!(Message::parse(&other).unwrap(), message);
        at += usize::from(u16::from_be_bytes([good[at + 2], good[at + 3]]));
    }
}

// [7296:2.5-1] [7296:3.1-7] [7296:3.1-8] [7296:3.1-9] [7296:3.1-12]
// [7296:3.1-10]
#[test]
fn a_minor_version_and_other_flags_mean_nothing() {
    assert_eq!(VERSION_2, 0x20);
    let message = Message { header: HEADER, payloads: Vec::new() };
    let good = message.emit().unwrap();
    assert_eq!((good[17], good[19]), (0x20, 0x08));
    for minor in 1..16 {
        let mut other = good.clone();
        other[17] |= minor;
        let header = HeaderView::parse(&other).unwrap().header();
        assert_eq!((header.major(), header.check_ikev2()), (2, Ok(())));
        assert!(Message::parse(&other).is_ok());
    }
    for initiator in [false, true] {
        for response in [false, true] {
            let ours = Flags::of(initiator, response);
            assert_eq!(ours.0 & !0x28, 0);
            let theirs = Flags(ours.0 | 0xd7);
            assert_eq!((theirs.initiator(), theirs.response()), (initiator, response));
        }
    }
}

// [7296:3.15.1-1] [7296:3.15.1-5] [7296:1.7-3]
#[test]
fn a_configuration_attribute_has_a_bit_that_means_nothing_and_may_be_unknown() {
    let attribute = ConfigAttribute::Ip4Dns(Some([10, 9, 0, 1].into()));
    let cp = |attributes| Payload::Configuration(Configuration { kind: ConfigType::CFG_REPLY, attributes });
    let good = body(&cp(vec![attribute.clone()]));
    assert_eq!(good[4..6], [0, 3]);
    let mut other = good.clone();
    other[4] |= 0x80;
    assert_eq!(read(PayloadType::CP, &other), cp(vec![attribute.clone()]));
    // INTERNAL_ADDRESS_EXPIRY as it was, and one that nobody has defined.
    for kind in [5, 0x7abc] {
        let unknown = ConfigAttribute::Unknown { kind, value: vec![0, 0, 14, 16] };
        let both = cp(vec![unknown, attribute.clone()]);
        assert_eq!(read(PayloadType::CP, &body(&both)), both);
    }
    let odd = ConfigAttribute::Unknown { kind: 0xffff, value: Vec::new() };
    assert_eq!(body(&cp(vec![odd]))[4..6], [0x7f, 0xff]);
}

// [7296:3.10-1] [7296:3.10-2] [7296:3.10-3]
#[test]
fn a_notify_names_a_protocol_only_with_an_spi() {
    let ike = body(&Payload::Notify(Notify::new(NotifyType::COOKIE, [7])));
    assert_eq!(ike, [0, 0, 0x40, 6, 7]);
    let esp = body(&Payload::Notify(Notify::esp(NotifyType::REKEY_SA, 0x0102_0304, [])));
    assert_eq!(esp, [3, 4, 0x40, 9, 1, 2, 3, 4]);
    // Some peers write 1 about the IKE_SA.
    let Payload::Notify(odd) = read(PayloadType::NOTIFY, &[1, 0, 0x40, 6, 7]) else { panic!("a notify") };
    assert_eq!((odd.kind, odd.data, odd.spi), (NotifyType::COOKIE, vec![7], vec![]));
}

// [7296:3.13.1-1] [7296:3.13.1-2] [7296:3.13.1-3]
#[test]
fn all_ports_are_0_to_65535() {
    let bytes = body(&Payload::TsR([ts()].into_iter().collect()));
    assert_eq!(bytes, [1, 0, 0, 0, 7, 0, 0, 16, 0, 0, 0xff, 0xff, 10, 0, 0, 0, 10, 255, 255, 255]);
}

// [7296:3.13.1-4]
#[test]
fn opaque_ports_are_65535_to_0() {
    let opaque = TrafficSelector { protocol: 17, first_port: u16::MAX, last_port: 0, ..ts() };
    let bytes = body(&Payload::TsR([opaque].into_iter().collect()));
    assert_eq!(bytes[8..12], [0xff, 0xff, 0, 0]);
    let Payload::TsR(back) = read(PayloadType::TS_R, &bytes) else { panic!("selectors") };
    assert_eq!(back.ranges().collect::<Vec<_>>(), [opaque]);
}

// [7296:3.11-1] [7296:3.11-2] [7296:3.11-3]
#[test]
fn a_delete_has_one_protocol_and_its_length_of_spi() {
    assert_eq!(body(&Payload::Delete(Delete::Ike)), [1, 0, 0, 0]);
    let two = Delete::Child { protocol: Protocol::ESP, spis: vec![1, 0x0203_0405] };
    assert_eq!(body(&Payload::Delete(two.clone())), [3, 4, 0, 2, 0, 0, 0, 1, 2, 3, 4, 5]);
    assert_eq!(read(PayloadType::DELETE, &body(&Payload::Delete(two.clone()))), Payload::Delete(two));
    let refused = |bytes: &[u8]| {
        let raw = RawPayload {
            kind: PayloadType::DELETE,
            next: PayloadType::NONE,
            critical: false,
            at: 0,
            body: bytes,
        };
        Payload::parse(&raw).is_err()
    };
    assert!(refused(&[1, 4, 0, 1, 0, 0, 0, 1]) && refused(&[3, 8, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1]));
}

// [7296:3.3.5-1] [7296:3.3.5-2] [7296:3.3.5-3]
#[test]
fn attributes_are_written_in_their_own_form() {
    let transform = Transform {
        key_length: Some(256),
        others: vec![
            Attribute { kind: 20, value: AttributeValue::Short(0x0102) },
            Attribute { kind: 21, value: AttributeValue::Long(vec![7]) },
        ],
        ..Transform::new(TransformType::ENCR, 20)
    };
    let proposal =
        Proposal { number: 1, protocol: Protocol::IKE, spi: Vec::new(), transforms: vec![transform] };
    let sa = Payload::Sa(SecurityAssociation { proposals: vec![proposal] });
    let bytes = body(&sa);
    assert_eq!(bytes[16..], [0x80, 14, 1, 0, 0x80, 20, 1, 2, 0, 21, 0, 1, 7]);
    assert_eq!(read(PayloadType::SA, &bytes), sa);
}

// [8598:3.1-1]
#[test]
fn a_dns_domain_is_a_name_in_ascii() {
    let read_as = |value: &[u8]| {
        let length = u8::try_from(value.len()).unwrap();
        let bytes = [&[2, 0, 0, 0, 0, 25, 0, length], value].concat();
        let Payload::Configuration(cp) = read(PayloadType::CP, &bytes) else { panic!("no CP") };
        cp.attributes[0].clone()
    };
    let domain = |name: Option<&str>| ConfigAttribute::DnsDomain(name.map(str::to_owned));
    assert_eq!(read_as(b""), domain(None));
    for good in ["corp.example.com", "local", "_tcp.example.com", "xn--bcher-kva.example"] {
        assert_eq!(read_as(good.as_bytes()), domain(Some(good)));
    }
    let long = [b'a'; 64];
    for bad in
        [&b"."[..], b"corp.", b".corp", b"a..b", b"-a.b", b"a b", b"a\0b", "bücher.de".as_bytes(), &long]
    {
        assert_eq!(read_as(bad), ConfigAttribute::Unknown { kind: 25, value: bad.to_vec() });
    }
}

// [7296:3.3-2]
#[test]
fn an_sa_payload_has_nothing_beside_its_substructures() {
    let sa = offer_ike(&["aes256gcm16-prfsha256-x25519".parse().unwrap()], &[]);
    let good = body(&Payload::Sa(sa));
    let refused = |edit: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = good.clone();
        edit(&mut bytes);
        let raw = RawPayload {
            kind: PayloadType::SA,
            next: PayloadType::NONE,
            critical: false,
            at: 0,
            body: &bytes,
        };
        Payload::parse(&raw).is_err()
    };
    assert!(!refused(&|_| {}));
    // A byte after the last transform, inside the proposal and behind it; a transform too many and too few.
    assert!(refused(&|b| {
        b.push(0);
        b[3] += 1;
    }));
    assert!(refused(&|b| b.push(0)));
    assert!(refused(&|b| b[7] += 1));
    assert!(refused(&|b| b[7] -= 1));
    assert!(refused(&|b| b[3] -= 1));
}

// [7296:3.16-2]
#[test]
fn an_eap_packet_is_as_long_as_its_payload_says() {
    let eap = Payload::Eap(Eap { code: 2, identifier: 5, data: vec![1, 2, 3] });
    assert_eq!(body(&eap), [2, 5, 0, 7, 1, 2, 3]);
    let raw = |body: &'static [u8]| RawPayload {
        kind: PayloadType::EAP,
        next: PayloadType::NONE,
        critical: false,
        at: 0,
        body,
    };
    assert!(Payload::parse(&raw(&[2, 5, 0, 7, 1, 2])).is_err());
    assert!(Payload::parse(&raw(&[2, 5, 0, 7, 1, 2, 3, 4])).is_err());
}

// [7296:3.2-5] [7296:3.2-3]
#[test]
fn every_payload_of_the_rfc_is_understood_critical_or_not() {
    let mut all: Vec<Payload> = reserved().into_iter().map(|(p, _)| p).collect();
    all.extend([
        Payload::IdR(identification()),
        Payload::Cert(Certificate::x509(vec![1])),
        Payload::CertReq(adit_isakmp::payload::CertificateRequest::x509(&[[1; 20]])),
        Payload::Nonce(vec![1; 16]),
        Payload::Notify(Notify::new(NotifyType::INITIAL_CONTACT, [])),
        Payload::Delete(Delete::Ike),
        Payload::Vendor(vec![1]),
        Payload::TsR([ts()].into_iter().collect()),
        Payload::Eap(Eap { code: 3, identifier: 1, data: Vec::new() }),
    ]);
    let kinds: std::collections::BTreeSet<u8> = all.iter().map(|p| p.kind().0).collect();
    assert_eq!(kinds.into_iter().collect::<Vec<_>>(), [(33..46).collect::<Vec<u8>>(), vec![47, 48]].concat());
    for payload in all {
        let mut bytes = Message { header: HEADER, payloads: vec![payload.clone()] }.emit().unwrap();
        bytes[29] |= 0x80;
        let message = Message::parse(&bytes).unwrap();
        assert_eq!((message.unsupported_critical(), &message.payloads[..]), (None, &[payload][..]));
    }
}
