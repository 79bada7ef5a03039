use core::net::IpAddr;

/// The smallest MTU that an IPv4 link may have (RFC 791).
pub const MIN_MTU_V4: u16 = 576;
/// The smallest MTU that an IPv6 link may have (RFC 8200 §5).
pub const MIN_MTU_V6: u16 = 1280;

const ESP_HEADER: u16 = 8;
const ESP_TRAILER: u16 = 2;
const UDP_HEADER: u16 = 8;

/// What an ESP algorithm adds to a packet, in bytes (RFC 4303 §2).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EspOverhead {
    /// Explicit IV.
    pub iv: u16,
    /// Integrity check value.
    pub icv: u16,
    /// Ciphertext is a multiple of this; at least 4.
    pub block: u16,
}

/// How ESP travels.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Encapsulation {
    /// The outer address of either end, for its family.
    pub outer: IpAddr,
    /// ESP in UDP (RFC 3948).
    pub udp: bool,
    /// What the algorithm adds.
    pub esp: EspOverhead,
}

/// The largest inner packet, in bytes, that leaves in one outer packet of `path_mtu` bytes. Never below what IPv6
/// needs where `inner_v6`: outer fragments are then the lesser evil.
#[must_use]
pub fn inner_mtu(path_mtu: u16, how: Encapsulation, inner_v6: bool) -> u16 {
    let ip = if how.outer.is_ipv4() { 20 } else { 40 };
    let udp = if how.udp { UDP_HEADER } else { 0 };
    let fixed = ip + udp + ESP_HEADER + how.esp.iv + how.esp.icv;
    let room = path_mtu.saturating_sub(fixed);
    let block = how.esp.block.max(4);
    // Payload, padding, Pad Length and Next Header fill whole blocks.
    let inner = (room - room % block).saturating_sub(ESP_TRAILER);
    inner.max(if inner_v6 { MIN_MTU_V6 } else { MIN_MTU_V4 })
}

#[cfg(test)]
mod tests {
    use super::*;

    const GCM: EspOverhead = EspOverhead { iv: 8, icv: 16, block: 4 };
    const CBC_SHA256: EspOverhead = EspOverhead { iv: 16, icv: 16, block: 16 };

    fn over(outer: &str, udp: bool, esp: EspOverhead) -> Encapsulation {
        Encapsulation { outer: outer.parse().unwrap(), udp, esp }
    }

    #[test]
    fn what_fits_an_ethernet() {
        assert_eq!(inner_mtu(1500, over("192.0.2.1", false, GCM), true), 1446);
        assert_eq!(inner_mtu(1500, over("192.0.2.1", true, GCM), true), 1438);
        assert_eq!(inner_mtu(1500, over("2001:db8::1", false, GCM), true), 1426);
        assert_eq!(inner_mtu(1500, over("192.0.2.1", true, CBC_SHA256), true), 1422);
    }

    #[test]
    fn ipv6_never_gets_less_than_it_needs() {
        assert_eq!(inner_mtu(1280, over("2001:db8::1", true, GCM), true), MIN_MTU_V6);
        assert_eq!(inner_mtu(1280, over("2001:db8::1", true, GCM), false), 1198);
        assert_eq!(inner_mtu(100, over("192.0.2.1", true, GCM), false), MIN_MTU_V4);
    }

    #[test]
    fn an_outer_packet_never_exceeds_the_path() {
        for esp in [GCM, CBC_SHA256] {
            for path in 1400..=1500 {
                let inner = inner_mtu(path, over("192.0.2.1", true, esp), false);
                let padded = (inner + ESP_TRAILER).next_multiple_of(esp.block.max(4));
                let outer = |padded: u16| 20 + 8 + 8 + esp.iv + padded + esp.icv;
                assert!(outer(padded) <= path);
                assert!(outer((inner + 1 + ESP_TRAILER).next_multiple_of(esp.block.max(4))) > path);
            }
        }
    }
}
