//! Realistic messages, from which the seed corpus is made.

use core::net::{Ipv4Addr, Ipv6Addr};

use adit_core::{Identity, Prefix, SignatureScheme, TrafficSelector};
use adit_isakmp::payload::{
    Authentication, Certificate, CertificateRequest, ConfigAttribute, ConfigType, Configuration, Delete, Eap,
    KeyExchangeData, Notify, NotifyType, Payload, PayloadType, Protocol, Selector, TrafficSelectors,
};
use adit_isakmp::proposal::{EspProposal, IkeProposal, offer_esp, offer_ike};
use adit_isakmp::signature::{OUR_HASHES, emit_hashes};
use adit_isakmp::{ExchangeType, Flags, Header, KeMethod, Message, VERSION_2};

/// Every seed: target, name, bytes.
#[must_use]
pub fn all() -> Vec<(&'static str, String, Vec<u8>)> {
    let of_ppp = crate::ppp::samples().into_iter().chain(crate::sstp::samples());
    let of_ppp = of_ppp.chain(crate::l2tp::samples()).chain(crate::ikev1::samples());
    let mut out: Vec<_> = of_ppp.map(|(target, name, bytes)| (target, name.to_owned(), bytes)).collect();
    for (name, message) in messages() {
        let bytes = message.emit().expect("a sample fits");
        out.push(("ike_message", name.to_owned(), bytes));
        for (i, payload) in message.payloads.iter().enumerate() {
            if let Some(target) = target(payload) {
                let mut body = Vec::new();
                payload.emit(&mut body).expect("a sample fits");
                out.push((target, format!("{name}-{i}"), body));
            }
        }
        let sealed = sealed(&message);
        out.push(("ike_sk", name.to_owned(), sealed.clone()));
        out.push(("ike_message", format!("{name}-sealed"), sealed));
    }
    for (i, text) in TEXTS.iter().enumerate() {
        out.push(("ike_proposal_text", format!("text-{i}"), text.as_bytes().to_vec()));
    }
    let [client, server] = crate::session::left();
    out.push(("ike_snapshot", "up".to_owned(), client));
    out.push(("ike_snapshot", "served".to_owned(), server));
    out.extend(crate::dhcp::samples());
    out.extend(crate::dns::samples());
    out.extend(crate::import::samples());
    for (target, name, bytes) in FILES {
        out.push((target, (*name).to_owned(), bytes.to_vec()));
    }
    out
}

/// What others have written.
const FILES: &[(&str, &str, &[u8])] = &[
    ("pkcs12", "modern", include_bytes!("../../../policy/pki/tests/data/modern.p12")),
    ("pkcs12", "legacy", include_bytes!("../../../policy/pki/tests/data/legacy.p12")),
    ("pkcs12", "3des", include_bytes!("../../../policy/pki/tests/data/3des.p12")),
    ("pkcs12", "open", include_bytes!("../../../policy/pki/tests/data/open.p12")),
    ("revocation", "ocsp", include_bytes!("../../../policy/pki/tests/data/revocation/revoked.ocsp")),
    ("revocation", "ocsp-good", include_bytes!("../../../policy/pki/tests/data/revocation/good.ocsp")),
    ("revocation", "crl", include_bytes!("../../../policy/pki/tests/data/revocation/crl.der")),
    ("x509", "ca", include_bytes!("../../../policy/pki/tests/data/revocation/ca.der")),
    ("x509", "server", include_bytes!("../../../policy/pki/tests/data/revocation/good.der")),
    ("x509", "client-pem", include_bytes!("../../../policy/pki/tests/data/ann.pem")),
    ("eap_packet", "identity", &[1, 7, 0, 5, 1]),
    (
        "eap_packet",
        "mschapv2",
        &[1, 8, 0, 27, 26, 1, 8, 0, 22, 16, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 118],
    ),
    ("eap_packet", "tls-start", &[1, 9, 0, 6, 13, 0x20]),
    ("eap_packet", "peap-start", &[1, 9, 0, 6, 25, 0x20]),
    ("eap_packet", "success", &[3, 9, 0, 4]),
    ("eap_tls", "fragments", &[2, 7, 0xc0, 0, 0, 0, 4, 1, 2, 0, 3, 0, 3, 4, 2, 1, 0]),
    ("eap_tls", "result", &[2, 2, 0, 1, 11, 1, 5, 0, 11, 33, 0x80, 3, 0, 2, 0, 1]),
    ("eap_tls", "avps", &[1, 2, 0, 1, 12, 0, 0, 0, 1, 0x40, 0, 0, 11, 97, 110, 110, 0]),
    (
        "radius",
        "challenge",
        &[11, 0, 0, 26, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 79, 6, 1, 1, 0, 4],
    ),
];

const TEXTS: &[&str] = &[
    "aes256gcm16-prfsha256-x25519",
    "aes256-sha256-modp2048",
    "chacha20poly1305-prfsha256-curve25519",
    "aes128-aes256-sha256-sha384-ecp256-modp2048",
    "aes256gcm16-x25519-esn-noesn",
    "aes256gcm16-aes256-sha256-x25519",
    "3des-md5-modp1024",
];

/// The messages, with the names of their seeds.
fn messages() -> Vec<(&'static str, Message)> {
    vec![
        ("init-request", init_request()),
        ("init-response", init_response()),
        ("cookie", cookie()),
        ("auth-request-certificate", auth_request()),
        ("auth-response-psk", auth_response()),
        ("auth-eap", auth_eap()),
        ("rekey", rekey()),
        ("delete", delete()),
        ("fragment", fragment()),
        ("unknown", unknown()),
    ]
}

const fn target(payload: &Payload) -> Option<&'static str> {
    Some(match payload {
        Payload::Sa(_) => "ike_sa",
        Payload::Ke(_) => "ike_ke",
        Payload::IdI(_) | Payload::IdR(_) => "ike_id",
        Payload::Cert(_) => "ike_cert",
        Payload::CertReq(_) => "ike_certreq",
        Payload::Auth(_) => "ike_auth",
        Payload::Nonce(_) => "ike_nonce",
        Payload::Notify(_) => "ike_notify",
        Payload::Delete(_) => "ike_delete",
        Payload::Vendor(_) => "ike_vendor",
        Payload::TsI(_) | Payload::TsR(_) => "ike_ts",
        Payload::Configuration(_) => "ike_cp",
        Payload::Eap(_) => "ike_eap",
        Payload::Skf { .. } => "ike_skf",
        Payload::Sk { .. } | Payload::Unknown { .. } => return None,
    })
}

fn message(exchange: ExchangeType, response: bool, message_id: u32, payloads: Vec<Payload>) -> Message {
    let header = Header {
        initiator_spi: 0x1122_3344_5566_7788,
        responder_spi: 0x99aa_bbcc_ddee_ff00,
        version: VERSION_2,
        exchange,
        flags: Flags::of(!response, response),
        message_id,
    };
    Message { header, payloads }
}

fn sealed(message: &Message) -> Vec<u8> {
    let payloads: Vec<Payload> = message
        .payloads
        .iter()
        .filter(|p| !matches!(p, Payload::Sk { .. } | Payload::Skf { .. }))
        .cloned()
        .collect();
    let cipher = crate::Open { block: 1 };
    adit_isakmp::sk::seal(&message.header, &payloads, &cipher, &[0; 8]).expect("a sample fits")
}

fn init_request() -> Message {
    let mut message = message(
        ExchangeType::IKE_SA_INIT,
        false,
        0,
        vec![
            Payload::Sa(offer_ike(&IkeProposal::defaults(), &[])),
            Payload::Ke(KeyExchangeData::new(KeMethod::Curve25519, vec![9; 32])),
            Payload::Nonce((0..32).collect()),
            notify(NotifyType::NAT_DETECTION_SOURCE_IP, &[1; 20]),
            notify(NotifyType::NAT_DETECTION_DESTINATION_IP, &[2; 20]),
            notify(NotifyType::IKEV2_FRAGMENTATION_SUPPORTED, &[]),
            notify(NotifyType::SIGNATURE_HASH_ALGORITHMS, &emit_hashes(OUR_HASHES)),
            Payload::Vendor(b"a vendor".to_vec()),
        ],
    );
    message.header.responder_spi = 0;
    message
}

fn init_response() -> Message {
    let one: IkeProposal = "aes256gcm16-prfsha256-x25519".parse().expect("a proposal");
    message(
        ExchangeType::IKE_SA_INIT,
        true,
        0,
        vec![
            Payload::Sa(offer_ike(&[one], &[])),
            Payload::Ke(KeyExchangeData::new(KeMethod::Curve25519, vec![7; 32])),
            Payload::Nonce((0..48).collect()),
            Payload::CertReq(CertificateRequest::x509(&[[3; 20], [4; 20]])),
        ],
    )
}

fn cookie() -> Message {
    message(
        ExchangeType::IKE_SA_INIT,
        true,
        0,
        vec![notify(NotifyType::COOKIE, &[5; 24]), notify(NotifyType::INVALID_KE_PAYLOAD, &[0, 19])],
    )
}

fn auth_request() -> Message {
    let signature = Authentication::digital_signature(SignatureScheme::RsaPssSha256, &[6; 64]);
    message(
        ExchangeType::IKE_AUTH,
        false,
        1,
        vec![
            Payload::IdI((&identity("client@example.com")).into()),
            Payload::Cert(Certificate::x509(vec![0x30, 0x82, 1, 0])),
            notify(NotifyType::INITIAL_CONTACT, &[]),
            Payload::IdR((&identity("vpn.example.com")).into()),
            Payload::Auth(signature.expect("an AlgorithmIdentifier is short")),
            Payload::Configuration(request()),
            Payload::Sa(offer_esp(&EspProposal::defaults(), 0xc0de_0001, false)),
            Payload::TsI(everything()),
            Payload::TsR(everything()),
            notify(NotifyType::MOBIKE_SUPPORTED, &[]),
        ],
    )
}

fn auth_response() -> Message {
    let host: TrafficSelector = Prefix::host(Ipv4Addr::new(172, 23, 91, 1).into()).into();
    message(
        ExchangeType::IKE_AUTH,
        true,
        1,
        vec![
            Payload::IdR((&identity("192.0.2.1")).into()),
            Payload::IdI((&identity("2001:db8::1")).into()),
            Payload::Auth(Authentication::shared_key(&[8; 32])),
            Payload::Configuration(reply()),
            Payload::TsI([host].into_iter().collect()),
            Payload::TsR(TrafficSelectors(vec![
                Selector::Range(host),
                Selector::Unknown { kind: 9, protocol: 0, body: vec![1, 2, 3, 4] },
            ])),
        ],
    )
}

fn auth_eap() -> Message {
    let packet = |code, data: &[u8]| Payload::Eap(Eap { code, identifier: 1, data: data.to_vec() });
    message(
        ExchangeType::IKE_AUTH,
        true,
        2,
        vec![
            packet(1, &[1]),
            packet(2, b"\x01user"),
            packet(3, &[]),
            Payload::IdI((&identity("keyid:abc")).into()),
        ],
    )
}

fn rekey() -> Message {
    let esp: EspProposal = "aes128-sha256-ecp384-esn-noesn".parse().expect("a proposal");
    message(
        ExchangeType::CREATE_CHILD_SA,
        false,
        3,
        vec![
            Payload::Notify(Notify::esp(NotifyType::REKEY_SA, 0xc0de_0001, [])),
            Payload::Sa(offer_esp(&[esp], 0xc0de_0002, true)),
            Payload::Sa(offer_ike(&IkeProposal::defaults(), &[1, 2, 3, 4, 5, 6, 7, 8])),
            Payload::Nonce(vec![10; 16]),
            Payload::Ke(KeyExchangeData::new(KeMethod::Ecp384, vec![11; 96])),
        ],
    )
}

fn delete() -> Message {
    let unknown = Delete::Unknown { protocol: Protocol(9), spi_size: 2, count: 2, spis: vec![1, 2, 3, 4] };
    message(
        ExchangeType::INFORMATIONAL,
        false,
        4,
        vec![
            Payload::Delete(Delete::Ike),
            Payload::Delete(Delete::esp(0xc0de_0001)),
            Payload::Delete(unknown),
        ],
    )
}

fn fragment() -> Message {
    let skf = Payload::Skf { first: PayloadType::ID_I, number: 1, total: 3, body: vec![12; 64] };
    message(ExchangeType::IKE_AUTH, false, 1, vec![skf])
}

fn unknown() -> Message {
    let unknown =
        |kind, critical| Payload::Unknown { kind: PayloadType(kind), critical, body: vec![1, 2, 3] };
    message(ExchangeType::INFORMATIONAL, true, 5, vec![unknown(200, false), unknown(49, true)])
}

fn request() -> Configuration {
    Configuration {
        kind: ConfigType::CFG_REQUEST,
        attributes: vec![
            ConfigAttribute::Ip4Address(None),
            ConfigAttribute::Ip4Dns(None),
            ConfigAttribute::Ip6Address(Some((Ipv6Addr::LOCALHOST, 64))),
            ConfigAttribute::Ip6Dns(None),
            ConfigAttribute::Unknown { kind: 25, value: Vec::new() },
        ],
    }
}

fn reply() -> Configuration {
    Configuration {
        kind: ConfigType::CFG_REPLY,
        attributes: vec![
            ConfigAttribute::Ip4Address(Some(Ipv4Addr::new(172, 23, 91, 1))),
            ConfigAttribute::Ip4Netmask(Some(Ipv4Addr::BROADCAST)),
            ConfigAttribute::Ip4Dns(Some(Ipv4Addr::new(172, 23, 91, 254))),
            ConfigAttribute::Ip6Dns(Some(Ipv6Addr::LOCALHOST)),
            ConfigAttribute::Ip4Subnet(Some((Ipv4Addr::new(10, 0, 0, 0), Ipv4Addr::new(255, 0, 0, 0)))),
            ConfigAttribute::Ip6Subnet(Some((Ipv6Addr::UNSPECIFIED, 0))),
        ],
    }
}

fn everything() -> TrafficSelectors {
    [Prefix::ANY_V4, Prefix::ANY_V6].into_iter().map(TrafficSelector::from).collect()
}

fn notify(kind: NotifyType, data: &[u8]) -> Payload {
    Payload::Notify(Notify::new(kind, data))
}

fn identity(text: &str) -> Identity {
    text.parse().expect("an identity")
}
