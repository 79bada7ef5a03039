//! Just enough of pcap, Ethernet, IPv4, IPv6 and UDP to say what a wire carried.

use std::{fs, net::IpAddr, path::Path};

/// What a packet is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// IKE, on UDP 500 or behind the non-ESP marker on 4500 (RFC 3948 §2.2).
    Ike,
    /// A NAT keepalive (RFC 3948 §2.3).
    Keepalive,
    /// ESP in IP.
    Esp,
    /// ESP in UDP (RFC 3948 §2.1).
    EspInUdp,
    /// What a link needs by itself: ARP, neighbour and router discovery, multicast listener reports, DHCP; and what a router
    /// has to say of a packet of the tunnel, with no more than that packet in it.
    Link,
    /// A later fragment; it is what its first fragment is.
    Fragment,
    /// Anything else, as a person would call it: `TCP 10.0.0.1 -> 10.0.0.2 port 80`.
    Other(String),
}

/// A packet of a capture.
pub(crate) struct Packet {
    /// Microseconds since 1970.
    pub(crate) at: u64,
    /// The frame.
    pub(crate) frame: Vec<u8>,
}

/// Reads a capture of an Ethernet wire as tcpdump writes it.
pub(crate) fn read(file: &Path) -> Result<Vec<Packet>, String> {
    let bytes = fs::read(file).map_err(|e| format!("{}: {e}", file.display()))?;
    packets(&bytes).ok_or_else(|| format!("{}: no capture of an Ethernet wire", file.display()))
}

fn packets(bytes: &[u8]) -> Option<Vec<Packet>> {
    let number = |at: usize| Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    let per_microsecond = match number(0)? {
        0xa1b2_c3d4 => 1,
        0xa1b2_3c4d => 1000,
        _ => return None,
    };
    if number(20)? != 1 {
        return None;
    }
    let (mut packets, mut at) = (Vec::new(), 24);
    // A record that the end cuts off was still being written.
    while let (Some(seconds), Some(fraction), Some(length)) = (number(at), number(at + 4), number(at + 8)) {
        let Some(frame) = bytes.get(at + 16..at + 16 + length as usize) else { break };
        let microseconds = u64::from(seconds) * 1_000_000 + u64::from(fraction / per_microsecond);
        packets.push(Packet { at: microseconds, frame: frame.to_vec() });
        at += 16 + length as usize;
    }
    Some(packets)
}

/// What a frame is. `also` is what a scenario allows besides: `udp:53`, `ip:47`.
pub(crate) fn kind(frame: &[u8], also: &[String]) -> Kind {
    let protocol = frame.get(12..14).unwrap_or_default();
    let payload = frame.get(14..).unwrap_or_default();
    let known = match protocol {
        [0x08, 0x06] => Some(Kind::Link),
        [0x08, 0x00] => ipv4(payload, also),
        [0x86, 0xdd] => ipv6(payload, also),
        other => Some(Kind::Other(format!("EtherType {other:02x?}"))),
    };
    known.unwrap_or_else(|| Kind::Other(format!("cut off: {} bytes", frame.len())))
}

/// Destination, protocol and what is inside of an IPv4 packet, or of an IPv6 packet without extension headers.
fn inside(frame: &[u8]) -> Option<(IpAddr, u8, &[u8])> {
    let packet = frame.get(14..)?;
    match frame.get(12..14)? {
        [0x08, 0x00] => {
            let to = IpAddr::from(<[u8; 4]>::try_from(packet.get(16..20)?).ok()?);
            Some((to, *packet.get(9)?, packet.get(usize::from(packet.first()? & 0x0f) * 4..)?))
        }
        [0x86, 0xdd] => {
            let to = IpAddr::from(<[u8; 16]>::try_from(packet.get(24..40)?).ok()?);
            Some((to, *packet.get(6)?, packet.get(40..)?))
        }
        _ => None,
    }
}

/// The two SPIs of an IKE message, the initiator's first, once it has both (RFC 7296 §3.1).
pub(crate) fn ike_spis(frame: &[u8]) -> Option<(u64, u64)> {
    let (_, _, udp) = inside(frame)?;
    let nat = udp.get(..2)? == 4500_u16.to_be_bytes() || udp.get(2..4)? == 4500_u16.to_be_bytes();
    let message = udp.get(if nat { 12 } else { 8 }..)?;
    let spi = |at: usize| Some(u64::from_be_bytes(message.get(at..at + 8)?.try_into().ok()?));
    Some((spi(0)?, spi(8).filter(|spi| *spi != 0)?))
}

/// Both SPIs of a protected IKE message, its flags, and its Message ID: what never comes twice with other content.
pub(crate) type MessageId = (u64, u64, u8, u32);

/// That of an IKE message in one Encrypted payload (RFC 7296 §3.14), and all of it.
pub(crate) fn ike_message(frame: &[u8]) -> Option<(MessageId, &[u8])> {
    const ENCRYPTED: u8 = 46;
    let (initiator, responder) = ike_spis(frame)?;
    let (_, _, udp) = inside(frame)?;
    let nat = udp.get(..2)? == 4500_u16.to_be_bytes() || udp.get(2..4)? == 4500_u16.to_be_bytes();
    let message = udp.get(if nat { 12 } else { 8 }..)?;
    let id = u32::from_be_bytes(message.get(20..24)?.try_into().ok()?);
    // A frame may be longer than what is in it.
    let length = usize::try_from(u32::from_be_bytes(message.get(24..28)?.try_into().ok()?)).ok()?;
    let whole = (*message.get(16)? == ENCRYPTED).then(|| message.get(..length))??;
    Some(((initiator, responder, *message.get(19)?, id), whole))
}

/// Destination, SPI and sequence number of an ESP packet, bare or in UDP: what never comes twice (RFC 4303 §2.2).
pub(crate) fn sequence(frame: &[u8]) -> Option<(IpAddr, u32, u32)> {
    let (to, protocol, payload) = inside(frame)?;
    let esp = if protocol == 17 { payload.get(8..)? } else { payload };
    let number = |at: usize| Some(u32::from_be_bytes(esp.get(at..at + 4)?.try_into().ok()?));
    Some((to, number(0)?, number(4)?))
}

fn ipv4(packet: &[u8], also: &[String]) -> Option<Kind> {
    let header = usize::from(packet.first()? & 0x0f) * 4;
    let offset = u16::from_be_bytes([*packet.get(6)?, *packet.get(7)?]) & 0x1fff;
    let address = |at: usize| Some(IpAddr::from(<[u8; 4]>::try_from(packet.get(at..at + 4)?).ok()?));
    let ends = (address(12)?, address(16)?);
    if offset != 0 {
        return Some(Kind::Fragment);
    }
    transport(*packet.get(9)?, packet.get(header..)?, ends, also)
}

fn ipv6(packet: &[u8], also: &[String]) -> Option<Kind> {
    let address = |at: usize| Some(IpAddr::from(<[u8; 16]>::try_from(packet.get(at..at + 16)?).ok()?));
    let ends = (address(8)?, address(24)?);
    let (mut next, mut rest) = (*packet.get(6)?, packet.get(40..)?);
    loop {
        match next {
            // Hop-by-hop options, routing, destination options (RFC 8200 §4).
            0 | 43 | 60 => {
                next = *rest.first()?;
                rest = rest.get(usize::from(*rest.get(1)?) * 8 + 8..)?;
            }
            44 => {
                if u16::from_be_bytes([*rest.get(2)?, *rest.get(3)?]) & 0xfff8 != 0 {
                    return Some(Kind::Fragment);
                }
                next = *rest.first()?;
                rest = rest.get(8..)?;
            }
            protocol => return transport(protocol, rest, ends, also),
        }
    }
}

fn transport(protocol: u8, payload: &[u8], (from, to): (IpAddr, IpAddr), also: &[String]) -> Option<Kind> {
    let port = |at: usize| Some(u16::from_be_bytes([*payload.get(at)?, *payload.get(at + 1)?]));
    let is_also =
        |name: &str, ports: [u16; 2]| ports.iter().any(|port| also.contains(&format!("{name}:{port}")));
    Some(match protocol {
        50 => Kind::Esp,
        17 => {
            let ports = [port(0)?, port(2)?];
            match udp(ports, payload.get(8..)?) {
                Some(kind) => kind,
                None if is_also("udp", ports) => Kind::Link,
                None => Kind::Other(format!("UDP {from} port {} -> {to} port {}", ports[0], ports[1])),
            }
        }
        6 => {
            let ports = [port(0)?, port(2)?];
            match is_also("tcp", ports) {
                true => Kind::Link,
                false => Kind::Other(format!("TCP {from} port {} -> {to} port {}", ports[0], ports[1])),
            }
        }
        // Group membership, which does not leave the link (RFC 3376).
        2 => Kind::Link,
        // Multicast listener reports (RFC 3810), router and neighbour discovery (RFC 4861).
        58 if matches!(payload.first()?, 130..=137 | 143) => Kind::Link,
        // Errors (RFC 792, RFC 4443 §2.1): what they are about is in them.
        1 if matches!(payload.first()?, 3 | 11 | 12) && is_tunnels(ipv4(payload.get(8..)?, &[])) => {
            Kind::Link
        }
        58 if matches!(payload.first()?, 1..=4) && is_tunnels(ipv6(payload.get(8..)?, &[])) => Kind::Link,
        1 | 58 => Kind::Other(format!("ICMP type {} {from} -> {to}", payload.first()?)),
        other if also.contains(&format!("ip:{other}")) => Kind::Link,
        other => Kind::Other(format!("protocol {other} {from} -> {to}")),
    })
}

fn is_tunnels(kind: Option<Kind>) -> bool {
    matches!(kind, Some(Kind::Ike | Kind::Keepalive | Kind::Esp | Kind::EspInUdp))
}

fn udp(ports: [u16; 2], payload: &[u8]) -> Option<Kind> {
    if ports.contains(&4500) {
        return Some(match payload {
            [0xff] => Kind::Keepalive,
            [0, 0, 0, 0, ..] => Kind::Ike,
            _ => Kind::EspInUdp,
        });
    }
    if ports.contains(&500) {
        return Some(Kind::Ike);
    }
    let is_dhcp = matches!(ports, [67 | 68, 67 | 68] | [546 | 547, 546 | 547]);
    is_dhcp.then_some(Kind::Link)
}

#[cfg(test)]
mod tests {
    use super::{Kind, ike_spis, kind, packets, sequence};

    /// An Ethernet frame with an IPv4 packet.
    fn frame(protocol: u8, payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![0_u8; 12];
        frame.extend([0x08, 0x00, 0x45, 0, 0, 0, 0, 0, 0, 0, 64, protocol, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2]);
        frame.extend(payload);
        frame
    }

    #[test]
    fn tells_ike_from_esp_on_port_4500() {
        let udp = |data: &[u8]| frame(17, &[&[0x11, 0x94, 0x11, 0x94, 0, 0, 0, 0], data].concat());
        assert_eq!(kind(&udp(&[0xff]), &[]), Kind::Keepalive);
        assert_eq!(kind(&udp(&[0, 0, 0, 0, 1, 2]), &[]), Kind::Ike);
        assert_eq!(kind(&udp(&[1, 2, 3, 4, 0, 0, 0, 1]), &[]), Kind::EspInUdp);
        assert_eq!(kind(&frame(50, &[1]), &[]), Kind::Esp);
    }

    #[test]
    fn reads_the_spis_of_ike_once_there_are_two() {
        let spis = |responder: u8| [[0, 0, 0, 0, 0, 0, 0, 7], [0, 0, 0, 0, 0, 0, 0, responder]].concat();
        let plain = |responder| frame(17, &[&[1, 0xf4, 1, 0xf4, 0, 0, 0, 0], &spis(responder)[..]].concat());
        assert_eq!(ike_spis(&plain(0)), None);
        assert_eq!(ike_spis(&plain(9)), Some((7, 9)));
        let nat = [&[0x9c, 0x40, 0x11, 0x94, 0, 0, 0, 0, 0, 0, 0, 0], &spis(9)[..]].concat();
        assert_eq!(ike_spis(&frame(17, &nat)), Some((7, 9)));
        assert_eq!(ike_spis(&frame(17, &nat[..27])), None);
    }

    #[test]
    fn reads_the_sequence_number_of_both_forms_of_esp() {
        let to = "192.0.2.2".parse().unwrap();
        let esp = [0xc0, 0, 0, 1, 0, 0, 0, 7];
        assert_eq!(sequence(&frame(50, &esp)), Some((to, 0xc000_0001, 7)));
        let udp = [&[0x11, 0x94, 0x11, 0x94, 0, 0, 0, 0], &esp[..]].concat();
        assert_eq!(sequence(&frame(17, &udp)), Some((to, 0xc000_0001, 7)));
        assert_eq!(sequence(&frame(50, &esp[..7])), None);
    }

    #[test]
    fn names_what_is_in_clear() {
        let clear = frame(6, &[0x30, 0x39, 0, 80, 0, 0, 0, 0]);
        assert_eq!(
            kind(&clear, &[]),
            Kind::Other("TCP 192.0.2.1 port 12345 -> 192.0.2.2 port 80".to_owned())
        );
        assert_eq!(kind(&clear, &["tcp:80".to_owned()]), Kind::Link);
        assert!(matches!(kind(&frame(1, &[8, 0]), &[]), Kind::Other(_)));
        assert!(matches!(kind(&frame(47, &[0x30, 1]), &[]), Kind::Other(_)));
        assert_eq!(kind(&frame(47, &[0x30, 1]), &["ip:47".to_owned()]), Kind::Link);
        assert!(matches!(kind(&clear[..20], &[]), Kind::Other(_)));
    }

    #[test]
    fn an_error_is_what_it_is_about() {
        let error = |about: &[u8]| frame(1, &[&[3, 0, 0, 0, 0, 0, 0, 0], &about[14..]].concat());
        assert_eq!(kind(&error(&frame(50, &[0xc0, 0, 0, 1, 0, 0, 0, 7])), &[]), Kind::Link);
        let ike = frame(17, &[0x11, 0x94, 0x11, 0x94, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(kind(&error(&ike), &[]), Kind::Link);
        let dns = frame(17, &[0x30, 0x39, 0, 53, 0, 0, 0, 0, 1]);
        assert!(matches!(kind(&error(&dns), &[]), Kind::Other(_)));
        assert!(matches!(kind(&error(&error(&dns)), &[]), Kind::Other(_)));
        let ping = frame(1, &[&[8, 0, 0, 0, 0, 0, 0, 0], &ike[14..]].concat());
        assert!(matches!(kind(&ping, &[]), Kind::Other(_)));
    }

    #[test]
    fn reads_what_is_whole_of_a_capture() {
        let mut file =
            [0xa1b2_c3d4_u32, 0, 0, 0, 65535, 1].iter().flat_map(|n| n.to_le_bytes()).collect::<Vec<u8>>();
        assert_eq!(packets(&file).map(|found| found.len()), Some(0));
        file.extend([7_u32, 8, 2, 2].iter().flat_map(|n| n.to_le_bytes()));
        file.extend([1, 2]);
        file.extend([7_u32, 9, 2, 2].iter().flat_map(|n| n.to_le_bytes()));
        let found = packets(&file).unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].at, found[0].frame.as_slice()), (7_000_008, &[1, 2][..]));
        assert!(packets(b"no capture").is_none());
    }
}
