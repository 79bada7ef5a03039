//! IKE messages in a capture of an Ethernet wire or of all interfaces, as tcpdump writes it with nanoseconds.

use std::net::Ipv4Addr;
use std::time::Duration;

/// An IKE message on the wire.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Seen {
    /// When, since 1970.
    pub at: Duration,
    /// Who sent it.
    pub from: Ipv4Addr,
    /// SPIi of its header (RFC 7296 §3.1).
    pub spi: u64,
    /// Exchange type.
    pub exchange: u8,
    /// Message ID.
    pub message_id: u32,
    /// Whether it is a response.
    pub response: bool,
}

const GLOBAL: usize = 24;
const RECORD: usize = 16;
/// Link types, with the length of their header and where it has the EtherType.
const ETHERNET: (u32, usize, usize) = (1, 14, 12);
const LINUX_SLL2: (u32, usize, usize) = (276, 20, 0);
const UDP: usize = 8;
const IKE: u16 = 500;
const IKE_NAT: u16 = 4500;

/// Every IKE message over IPv4, in order. `None`: it is no such capture.
pub fn messages(capture: &[u8]) -> Option<Vec<Seen>> {
    let number = |at: usize| Some(u32::from_le_bytes(*capture.get(at..)?.first_chunk()?));
    let unit = match number(0)? {
        0xa1b2_c3d4 => 1000,
        0xa1b2_3c4d => 1,
        _ => return None,
    };
    let link_type = number(20)?;
    let (_, header, protocol) =
        [ETHERNET, LINUX_SLL2].into_iter().find(|(number, ..)| *number == link_type)?;
    let (mut out, mut at) = (Vec::new(), GLOBAL);
    // A record that the end cuts off was still being written.
    while let (Some(seconds), Some(fraction), Some(length)) = (number(at), number(at + 4), number(at + 8)) {
        at += RECORD;
        let Some(frame) = capture.get(at..).and_then(|rest| rest.get(..length as usize)) else { break };
        at += length as usize;
        let time = Duration::new(u64::from(seconds), fraction.saturating_mul(unit));
        let is_ipv4 = frame.get(protocol..).is_some_and(|rest| rest.starts_with(&[8, 0]));
        out.extend(frame.get(header..).filter(|_| is_ipv4).and_then(|packet| message(time, packet)));
    }
    Some(out)
}

fn message(at: Duration, packet: &[u8]) -> Option<Seen> {
    let header = usize::from(packet.first()? & 0x0f) * 4;
    let is_udp = *packet.get(9)? == 17;
    let udp = packet.get(header..).filter(|_| is_udp)?;
    let port = |at: usize| Some(u16::from_be_bytes(*udp.get(at..)?.first_chunk()?));
    let ports = [port(0)?, port(2)?];
    let payload = udp.get(UDP..)?;
    let ike = if ports.contains(&IKE_NAT) {
        payload.strip_prefix(&[0; 4])?
    } else if ports.contains(&IKE) {
        payload
    } else {
        return None;
    };
    let from: [u8; 4] = *packet.get(12..)?.first_chunk()?;
    Some(Seen {
        at,
        from: from.into(),
        spi: u64::from_be_bytes(*ike.first_chunk()?),
        exchange: *ike.get(18)?,
        response: ike.get(19)? & 0x20 != 0,
        message_id: u32::from_be_bytes(*ike.get(20..)?.first_chunk()?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_behind_the_non_esp_marker_is_found() {
        let mut ike = [0; 28];
        ike[7] = 9;
        ike[18] = 35;
        ike[19] = 0x28;
        ike[23] = 1;
        let udp = [&[0x11, 0x94, 0xc0, 0, 0, 0, 0, 0, 0, 0, 0, 0], &ike[..]].concat();
        let mut packet = vec![0x45, 0, 0, 0, 0, 0, 0, 0, 64, 17, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2];
        packet.extend(udp);
        let file = |link_type: u32, head: &[u8]| {
            let frame = [head, &packet].concat();
            let length = u32::try_from(frame.len()).unwrap();
            let words = [0xa1b2_3c4d_u32, 0, 0, 0, 65_535, link_type, 7, 8, length, length];
            let mut file: Vec<u8> = words.iter().flat_map(|n| n.to_le_bytes()).collect();
            file.extend(&frame);
            file.extend([1, 2, 3]);
            file
        };
        let seen = Seen {
            at: Duration::new(7, 8),
            from: Ipv4Addr::new(192, 0, 2, 1),
            spi: 9,
            exchange: 35,
            message_id: 1,
            response: true,
        };
        let ethernet = [&[0; 12][..], &[8, 0]].concat();
        let any = [&[8, 0][..], &[0; 18]].concat();
        assert_eq!(messages(&file(1, &ethernet)), Some(vec![seen]));
        assert_eq!(messages(&file(276, &any)), Some(vec![seen]));
        assert_eq!(messages(&file(113, &any)), None);
        assert_eq!(messages(b"no capture"), None);
    }
}
