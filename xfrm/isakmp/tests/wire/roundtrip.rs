//! Whatever can be said can be written, and reads the same.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use adit_core::{AddressRange, TrafficSelector};
use adit_isakmp::payload::{
    Attribute, AttributeValue, AuthMethod, Authentication, Certificate, CertificateEncoding,
    CertificateRequest, ConfigAttribute, ConfigType, Configuration, Delete, Eap, Identification,
    KeyExchangeData, Notify, NotifyType, Payload, PayloadType, Proposal, Protocol, RawPayload,
    SecurityAssociation, Selector, TrafficSelectors, Transform, TransformType,
};
use adit_isakmp::{ExchangeType, Flags, Header, Message};
use proptest::collection::vec;
use proptest::prelude::*;

fn bytes(max: usize) -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 0..=max)
}

fn attribute() -> impl Strategy<Value = Attribute> {
    // Key Length has a field of its own.
    let kind = (0_u16..0x8000).prop_filter("Key Length", |k| *k != 14);
    let value =
        prop_oneof![any::<u16>().prop_map(AttributeValue::Short), bytes(6).prop_map(AttributeValue::Long)];
    (kind, value).prop_map(|(kind, value)| Attribute { kind, value })
}

fn transform() -> impl Strategy<Value = Transform> {
    (0..8_u8, any::<u16>(), any::<Option<u16>>(), vec(attribute(), 0..3)).prop_map(
        |(kind, id, key_length, others)| Transform { kind: TransformType(kind), id, key_length, others },
    )
}

fn sa() -> impl Strategy<Value = Payload> {
    let spi = prop_oneof![Just((1, 0)), Just((1, 8)), Just((2, 4)), Just((3, 4)), (4..=255_u8, 0..9_usize)];
    let proposal = (spi, vec(transform(), 0..6));
    vec(proposal, 1..4).prop_map(|proposals| {
        let proposals = (1..)
            .zip(proposals)
            .map(|(number, ((protocol, size), transforms))| Proposal {
                number,
                protocol: Protocol(protocol),
                spi: vec![7; size],
                transforms,
            })
            .collect();
        Payload::Sa(SecurityAssociation { proposals })
    })
}

fn selector() -> impl Strategy<Value = Selector> {
    let ports = prop_oneof![
        (any::<u16>(), any::<u16>()).prop_map(|(a, b)| (a.min(b), a.max(b))),
        Just((u16::MAX, 0))
    ];
    let addresses = prop_oneof![
        (any::<Ipv4Addr>(), any::<Ipv4Addr>())
            .prop_map(|(a, b)| (IpAddr::V4(a.min(b)), IpAddr::V4(a.max(b)))),
        (any::<Ipv6Addr>(), any::<Ipv6Addr>())
            .prop_map(|(a, b)| (IpAddr::V6(a.min(b)), IpAddr::V6(a.max(b)))),
    ];
    let range =
        (addresses, any::<u8>(), ports).prop_map(|((first, last), protocol, (first_port, last_port))| {
            Selector::Range(TrafficSelector {
                addresses: AddressRange { first, last },
                protocol,
                first_port,
                last_port,
            })
        });
    let unknown = (9_u8.., any::<u8>(), bytes(20)).prop_map(|(kind, protocol, body)| Selector::Unknown {
        kind,
        protocol,
        body,
    });
    prop_oneof![3 => range, 1 => unknown]
}

fn config_attribute() -> impl Strategy<Value = ConfigAttribute> {
    use ConfigAttribute as A;
    let v4 = any::<Option<Ipv4Addr>>;
    let prefix = || proptest::option::of((any::<Ipv6Addr>(), 0..=128_u8));
    prop_oneof![
        v4().prop_map(A::Ip4Address),
        v4().prop_map(A::Ip4Netmask),
        v4().prop_map(A::Ip4Dns),
        prefix().prop_map(A::Ip6Address),
        any::<Option<Ipv6Addr>>().prop_map(A::Ip6Dns),
        any::<Option<(Ipv4Addr, Ipv4Addr)>>().prop_map(A::Ip4Subnet),
        prefix().prop_map(A::Ip6Subnet),
        proptest::option::of("[a-z0-9_]{1,20}(\\.[a-z0-9]{1,20}){0,3}").prop_map(A::DnsDomain),
        (26..0x8000_u16, bytes(9)).prop_map(|(kind, value)| A::Unknown { kind, value }),
    ]
}

fn delete() -> impl Strategy<Value = Payload> {
    prop_oneof![
        Just(Delete::Ike),
        (2..=3_u8, vec(any::<u32>(), 0..9))
            .prop_map(|(protocol, spis)| Delete::Child { protocol: Protocol(protocol), spis }),
        (4..=255_u8, 0..5_u8, 0..5_u16).prop_map(|(protocol, spi_size, count)| Delete::Unknown {
            protocol: Protocol(protocol),
            spi_size,
            count,
            spis: vec![9; usize::from(spi_size) * usize::from(count)],
        }),
    ]
    .prop_map(Payload::Delete)
}

fn opaque() -> impl Strategy<Value = Payload> {
    let encoding = any::<u8>().prop_map(CertificateEncoding);
    let certificate =
        (encoding.clone(), bytes(300)).prop_map(|(encoding, data)| Certificate { encoding, data });
    let request =
        (encoding, bytes(60)).prop_map(|(encoding, authority)| CertificateRequest { encoding, authority });
    let id = || {
        let parts = (any::<u8>(), any::<[u8; 3]>(), bytes(40));
        parts.prop_map(|(id_type, reserved, data)| Identification { id_type, reserved, data })
    };
    prop_oneof![
        (any::<u16>(), bytes(64)).prop_map(|(method, data)| Payload::Ke(KeyExchangeData { method, data })),
        id().prop_map(Payload::IdI),
        id().prop_map(Payload::IdR),
        certificate.prop_map(Payload::Cert),
        request.prop_map(Payload::CertReq),
        (any::<u8>(), bytes(64))
            .prop_map(|(method, data)| Payload::Auth(Authentication { method: AuthMethod(method), data })),
        vec(any::<u8>(), 16..=256).prop_map(Payload::Nonce),
        bytes(64).prop_map(Payload::Vendor),
        (any::<u8>(), any::<u8>(), bytes(64)).prop_map(|(code, identifier, data)| Payload::Eap(Eap {
            code,
            identifier,
            data
        })),
        (54..=255_u8, any::<bool>(), bytes(30)).prop_map(|(kind, critical, body)| Payload::Unknown {
            kind: PayloadType(kind),
            critical,
            body
        }),
    ]
}

fn payload() -> impl Strategy<Value = Payload> {
    let notify = (any::<u8>(), bytes(8), any::<u16>(), bytes(40)).prop_map(|(protocol, spi, kind, data)| {
        Payload::Notify(Notify { protocol: Protocol(protocol), spi, kind: NotifyType(kind), data })
    });
    let configuration = (any::<u8>(), vec(config_attribute(), 0..8)).prop_map(|(kind, attributes)| {
        Payload::Configuration(Configuration { kind: ConfigType(kind), attributes })
    });
    let ts = || vec(selector(), 0..5).prop_map(TrafficSelectors);
    prop_oneof![
        2 => sa(),
        1 => ts().prop_map(Payload::TsI),
        1 => ts().prop_map(Payload::TsR),
        1 => notify,
        1 => configuration,
        1 => delete(),
        4 => opaque(),
    ]
}

/// A payload that hides others is the last one.
fn closed() -> impl Strategy<Value = Option<Payload>> {
    let first = || any::<u8>().prop_map(PayloadType);
    prop_oneof![
        Just(None),
        (first(), bytes(80)).prop_map(|(first, body)| Some(Payload::Sk { first, body })),
        (first(), 1..=9_u16, 9..20_u16, bytes(80))
            .prop_map(|(first, number, total, body)| Some(Payload::Skf { first, number, total, body })),
    ]
}

fn header() -> impl Strategy<Value = Header> {
    (1_u64.., any::<u64>(), 0x20..0x30_u8, 35_u8.., any::<u8>(), any::<u32>()).prop_map(
        |(initiator_spi, responder_spi, version, exchange, flags, message_id)| Header {
            initiator_spi,
            responder_spi,
            version,
            exchange: ExchangeType(exchange),
            flags: Flags(flags),
            // The two first exchanges have none but 0; IKE_SA_INIT is not among these.
            message_id: if exchange == 38 { 0 } else { message_id },
        },
    )
}

proptest! {
    // [7296:3.2-5]
    // [7296:3.2-4] [7296:2.5-10]
    #[test]
    fn a_message_reads_as_it_was_written(
        header in header(),
        open in vec(payload(), 0..8),
        closed in closed(),
    ) {
        let message = Message { header, payloads: open.into_iter().chain(closed).collect() };
        let written = message.emit().unwrap();
        prop_assert_eq!(Message::parse(&written), Ok(message));
    }

    #[test]
    fn every_prefix_of_a_message_is_refused(header in header(), payloads in vec(payload(), 1..4)) {
        let written = Message { header, payloads }.emit().unwrap();
        for end in 0..written.len() {
            // The length is right, so that it is the chain and the payloads that have to see it.
            let mut cut = written[..end].to_vec();
            if let Some(length) = cut.get_mut(24..28) {
                length.copy_from_slice(&u32::try_from(end).unwrap().to_be_bytes());
            }
            prop_assert!(Message::parse(&cut).is_err());
        }
    }

    #[test]
    fn any_bytes_are_read_or_refused_at_a_byte_that_exists(kind in 30..60_u8, body in bytes(200)) {
        let raw = RawPayload {
            kind: PayloadType(kind),
            next: PayloadType::NONE,
            critical: false,
            at: 32,
            body: &body,
        };
        if let Err(error) = Payload::parse(&raw) {
            prop_assert!((32..=32 + body.len()).contains(&error.at), "{error}");
        }
    }

    #[test]
    fn one_wrong_byte_never_panics(
        header in header(),
        payloads in vec(payload(), 1..4),
        at in any::<prop::sample::Index>(),
        value in any::<u8>(),
    ) {
        let mut written = Message { header, payloads }.emit().unwrap();
        let at = at.index(written.len());
        written[at] = value;
        if let Ok(message) = Message::parse(&written) {
            let again = message.emit().unwrap();
            prop_assert_eq!(Message::parse(&again), Ok(message));
        }
    }
}
