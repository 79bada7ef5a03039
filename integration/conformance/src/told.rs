//! Messages as a person reads them.

use adit_isakmp::payload::{ConfigAttribute, Delete, NotifyType, Payload, Selector, TrafficSelectors};
use adit_isakmp::proposal::describe;
use adit_isakmp::{Header, Message};

/// `IKE_AUTH request 1: IDi ann@example.com; AUTH 2 (32 bytes)`
pub(crate) fn message(message: &Message) -> String {
    let payloads: Vec<String> = message.payloads.iter().map(payload).collect();
    format!("{}: {}", header(&message.header), payloads.join("; "))
}

pub(crate) fn header(header: &Header) -> String {
    let kind = if header.flags.response() { "response" } else { "request" };
    let who = if header.flags.initiator() { "initiator" } else { "responder" };
    format!("{} {kind} {} of the {who}", header.exchange, header.message_id)
}

fn payload(payload: &Payload) -> String {
    match payload {
        Payload::Sa(sa) => {
            let numbers: Vec<String> = sa.proposals.iter().map(|p| p.number.to_string()).collect();
            let spis: Vec<String> = sa.proposals.iter().map(|p| hex(&p.spi)).collect();
            let protocols: Vec<String> = sa.proposals.iter().map(|p| p.protocol.0.to_string()).collect();
            format!(
                "SA {} (number {}, protocol {}, SPI {})",
                describe(sa),
                numbers.join(","),
                protocols.join(","),
                spis.join(",")
            )
        }
        Payload::Ke(ke) => format!("KE {} ({} bytes)", ke.method, ke.data.len()),
        Payload::IdI(id) => format!("IDi {}", identity(id)),
        Payload::IdR(id) => format!("IDr {}", identity(id)),
        Payload::Cert(c) => format!("CERT {} ({} bytes)", c.encoding, c.data.len()),
        Payload::CertReq(c) => format!("CERTREQ {} ({} authorities)", c.encoding, c.authorities().count()),
        Payload::Auth(a) => format!("AUTH {} ({} bytes)", a.method, a.data.len()),
        Payload::Nonce(n) => format!("NONCE ({} bytes)", n.len()),
        Payload::Notify(n) => {
            let spi = if n.spi.is_empty() { String::new() } else { format!(" SPI {}", hex(&n.spi)) };
            let secret = [
                NotifyType::NAT_DETECTION_SOURCE_IP,
                NotifyType::NAT_DETECTION_DESTINATION_IP,
                NotifyType::COOKIE,
            ];
            let data = match n.data.len() {
                0 => String::new(),
                length if secret.contains(&n.kind) => format!(" ({length} bytes)"),
                _ => format!(" {}", hex(&n.data)),
            };
            format!("N {}{spi}{data}", n.kind)
        }
        Payload::Delete(Delete::Ike) => "D IKE".into(),
        Payload::Delete(Delete::Child { protocol, spis }) => {
            let spis: Vec<String> = spis.iter().map(|s| format!("{s:08x}")).collect();
            format!("D {protocol} {}", spis.join(","))
        }
        Payload::Delete(Delete::Unknown { protocol, count, .. }) => format!("D {protocol} {count} SPIs"),
        Payload::Vendor(v) => format!("V {}", hex(v)),
        Payload::TsI(ts) => format!("TSi {}", selectors(ts)),
        Payload::TsR(ts) => format!("TSr {}", selectors(ts)),
        Payload::Configuration(cp) => {
            let attributes: Vec<String> = cp.attributes.iter().map(attribute).collect();
            format!("CP {} {}", cp.kind, attributes.join(" "))
        }
        Payload::Eap(e) => format!("EAP {} {} ({} bytes)", e.code, e.identifier, e.data.len()),
        Payload::Sk { body, .. } => format!("SK ({} bytes)", body.len()),
        Payload::Skf { number, total, body, .. } => format!("SKF {number} of {total} ({} bytes)", body.len()),
        Payload::Unknown { kind, critical, body } => {
            format!("{}{} {}", if *critical { "critical " } else { "" }, kind.0, hex(body))
        }
    }
}

fn identity(id: &adit_isakmp::payload::Identification) -> String {
    id.identity().map_or_else(|| format!("of type {}", id.id_type), |i| i.to_string())
}

fn selectors(list: &TrafficSelectors) -> String {
    let texts: Vec<String> = list
        .0
        .iter()
        .map(|s| match s {
            Selector::Range(ts) => ts.to_string(),
            Selector::Unknown { kind, .. } => format!("of type {kind}"),
        })
        .collect();
    texts.join(" ")
}

fn attribute(attribute: &ConfigAttribute) -> String {
    let value = match attribute {
        ConfigAttribute::Ip4Address(a) | ConfigAttribute::Ip4Netmask(a) | ConfigAttribute::Ip4Dns(a) => {
            a.map(|a| a.to_string())
        }
        ConfigAttribute::Ip6Dns(a) => a.map(|a| a.to_string()),
        ConfigAttribute::Ip6Address(p) | ConfigAttribute::Ip6Subnet(p) => p.map(|(a, n)| format!("{a}/{n}")),
        ConfigAttribute::Ip4Subnet(s) => s.map(|(a, m)| format!("{a}/{m}")),
        ConfigAttribute::DnsDomain(name) => name.clone(),
        ConfigAttribute::Unknown { value, .. } => (!value.is_empty()).then(|| hex(value)),
    };
    format!("{}={}", attribute.kind(), value.unwrap_or_default())
}

/// Bytes as hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}
