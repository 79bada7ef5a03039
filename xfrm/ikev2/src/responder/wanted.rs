//! What a peer asks for by CP, and what it is told (RFC 7296 §3.15).

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use adit_isakmp::payload::{ConfigAttribute, ConfigType, Configuration};
use adit_isakmp::{Message, Payload};

use crate::api::Lease;

/// CFG_REQUEST (RFC 7296 §3.15.1): which addresses are asked for; UNSPECIFIED is any.
pub(super) fn requested(message: &Message) -> (Option<Ipv4Addr>, Option<Ipv6Addr>) {
    let (mut v4, mut v6) = (None, None);
    let attributes = message.payloads.iter().filter_map(|p| match p {
        Payload::Configuration(cp) if cp.kind == ConfigType::CFG_REQUEST => Some(&cp.attributes),
        _ => None,
    });
    for attribute in attributes.flatten() {
        match attribute {
            ConfigAttribute::Ip4Address(a) => {
                // [7296:4-8]
                v4.get_or_insert(a.unwrap_or(Ipv4Addr::UNSPECIFIED));
            }
            ConfigAttribute::Ip6Address(a) => {
                v6.get_or_insert(a.map_or(Ipv6Addr::UNSPECIFIED, |(a, _)| a));
            }
            _ => {}
        }
    }
    (v4, v6)
}

/// RFC 8598 §3.1: whether it asks which domains the name servers are for.
pub(super) fn asks_for_domains(message: &Message) -> bool {
    message.payloads.iter().any(|p| match p {
        Payload::Configuration(cp) if cp.kind == ConfigType::CFG_REQUEST => {
            cp.attributes.iter().any(|a| matches!(a, ConfigAttribute::DnsDomain(_)))
        }
        _ => false,
    })
}

/// CFG_REPLY.
pub(super) fn reply(lease: &Lease) -> Payload {
    let v4 = lease.v4.map(|a| ConfigAttribute::Ip4Address(Some(a)));
    let v6 = lease.v6.map(|p| ConfigAttribute::Ip6Address(Some(p)));
    let dns = lease.dns.iter().map(|server| match server {
        IpAddr::V4(a) => ConfigAttribute::Ip4Dns(Some(*a)),
        IpAddr::V6(a) => ConfigAttribute::Ip6Dns(Some(*a)),
    });
    let domains = lease.domains.iter().map(|name| ConfigAttribute::DnsDomain(Some(name.clone())));
    Payload::Configuration(Configuration {
        kind: ConfigType::CFG_REPLY,
        // [7296:4-9] [7296:2.20-1]
        attributes: v4.into_iter().chain(v6).chain(dns).chain(domains).collect(),
    })
}
