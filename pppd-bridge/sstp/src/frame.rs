//! PPP's framing inside of a data packet ([MS-SSTP] §2.2.3, RFC 1662 §3.1): address and control, then the protocol, each of
//! which a peer may leave out or shorten (RFC 1661 §6.5, §6.6).

use crate::wire::{HEADER_LEN, LONGEST, header};

const ADDRESS_CONTROL: [u8; 2] = [0xff, 0x03];
/// From here on protocols are of control (RFC 1661 §2).
const CONTROL: u16 = 0x8000;

/// A frame as PPP has it here: its protocol in two octets, then the packet. `None`: it has no protocol.
pub(crate) fn unpack(frame: &[u8]) -> Option<(u16, Vec<u8>)> {
    let frame = frame.strip_prefix(&ADDRESS_CONTROL).unwrap_or(frame);
    let (first, rest) = frame.split_first()?;
    // The last octet of a protocol is odd, and the others are even.
    if first & 1 == 1 {
        return Some((u16::from(*first), [&[0, *first][..], rest].concat()));
    }
    let second = rest.first()?;
    Some((u16::from_be_bytes([*first, *second]), frame.to_vec()))
}

/// A data packet of a frame. `None`: it is longer than one holds, or has no protocol.
pub(crate) fn pack(frame: &[u8]) -> Option<Vec<u8>> {
    let payload = frame.len().saturating_add(ADDRESS_CONTROL.len());
    if frame.len() < 2 || payload > LONGEST - HEADER_LEN {
        return None;
    }
    let mut out = Vec::with_capacity(payload.saturating_add(HEADER_LEN));
    out.extend(header(false, payload));
    out.extend(ADDRESS_CONTROL);
    out.extend_from_slice(frame);
    Some(out)
}

/// Whether it is PPP's own and not a packet of the network.
pub(crate) const fn is_control(protocol: u16) -> bool {
    protocol >= CONTROL
}

/// The protocol of a frame as PPP has it here.
pub(crate) fn protocol(frame: &[u8]) -> Option<u16> {
    frame.first_chunk::<2>().map(|octets| u16::from_be_bytes(*octets))
}
