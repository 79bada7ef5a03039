//! Packets ([MS-SSTP] §2.2.1): where one ends ([`next`]), and what is in it: a message ([`Message`]) or a PPP frame.

mod message;

pub(crate) use message::PPP;
pub use message::{CryptoBinding, Invalid, Message, Status, StatusInfo, attribute};

use adit_core::DecodeError;

/// Version, flags, length.
pub const HEADER_LEN: usize = 4;
/// The length has 12 bits.
pub const LONGEST: usize = 0xfff;
/// Version 1.0.
const VERSION: u8 = 0x10;
/// C: a control packet.
const CONTROL: u8 = 1;
/// Message type and number of attributes follow the header.
const CONTROL_LEN: usize = HEADER_LEN + 4;

/// A packet, a checked view.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Packet<'a> {
    /// A control packet, whole, header included: [`Message::parse`].
    Control(&'a [u8]),
    /// A PPP frame as the peer sent it.
    Data(&'a [u8]),
}

/// The first whole packet of a stream's octets, and how many octets it is. `None`: more must come, and no more than
/// [`LONGEST`] ever do.
///
/// # Errors
/// The stream is not SSTP, or out of step: nothing after it can be believed ([MS-SSTP] §3.1.5.1).
pub fn next(stream: &[u8]) -> Result<Option<(Packet<'_>, usize)>, DecodeError> {
    let Some(([version, flags, high, low], _)) = stream.split_first_chunk::<HEADER_LEN>() else {
        return match stream.first() {
            Some(first) if *first != VERSION => Err(NOT_SSTP),
            _ => Ok(None),
        };
    };
    if *version != VERSION {
        return Err(NOT_SSTP);
    }
    let length = usize::from(u16::from_be_bytes([*high, *low])) & LONGEST;
    let control = flags & CONTROL != 0;
    if length < if control { CONTROL_LEN } else { HEADER_LEN } {
        return Err(DecodeError::new(2, "no packet of SSTP has that length"));
    }
    let Some(packet) = stream.get(..length) else { return Ok(None) };
    let found = match control {
        true => Packet::Control(packet),
        false => Packet::Data(packet.get(HEADER_LEN..).unwrap_or_default()),
    };
    Ok(Some((found, length)))
}

const NOT_SSTP: DecodeError = DecodeError::new(0, "that is not version 1.0 of SSTP");

/// The header of a packet whose payload has that many octets, at most [`LONGEST`] with the header itself.
pub(crate) fn header(control: bool, payload: usize) -> [u8; HEADER_LEN] {
    let length = payload.saturating_add(HEADER_LEN).min(LONGEST);
    let [high, low] = u16::try_from(length).unwrap_or_default().to_be_bytes();
    [VERSION, if control { CONTROL } else { 0 }, high, low]
}
