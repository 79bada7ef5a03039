use core::fmt;

use adit_core::DecodeError;

use super::Protocol;

const HEADER_LEN: usize = 4;

/// Code of a control protocol's packet (RFC 1661 §5). Others are kept as they are: they get a Code-Reject.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Code(pub u8);

impl Code {
    /// Configure-Request (§5.1).
    pub const CONFIGURE_REQUEST: Self = Self(1);
    /// Configure-Ack (§5.2).
    pub const CONFIGURE_ACK: Self = Self(2);
    /// Configure-Nak (§5.3).
    pub const CONFIGURE_NAK: Self = Self(3);
    /// Configure-Reject (§5.4).
    pub const CONFIGURE_REJECT: Self = Self(4);
    /// Terminate-Request (§5.5).
    pub const TERMINATE_REQUEST: Self = Self(5);
    /// Terminate-Ack (§5.5).
    pub const TERMINATE_ACK: Self = Self(6);
    /// Code-Reject (§5.6).
    pub const CODE_REJECT: Self = Self(7);
    /// Protocol-Reject (§5.7), LCP only.
    pub const PROTOCOL_REJECT: Self = Self(8);
    /// Echo-Request (§5.8), LCP only.
    pub const ECHO_REQUEST: Self = Self(9);
    /// Echo-Reply (§5.8), LCP only.
    pub const ECHO_REPLY: Self = Self(10);
    /// Discard-Request (§5.9), LCP only.
    pub const DISCARD_REQUEST: Self = Self(11);
    /// Identification (RFC 1570 §2.1), LCP only.
    pub const IDENTIFICATION: Self = Self(12);
    /// Time-Remaining (RFC 1570 §2.2), LCP only.
    pub const TIME_REMAINING: Self = Self(13);
    /// Reset-Request (RFC 1962 §3), CCP only.
    pub const RESET_REQUEST: Self = Self(14);
    /// Reset-Ack (RFC 1962 §3), CCP only.
    pub const RESET_ACK: Self = Self(15);
}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const NAMES: [&str; 15] = [
            "Configure-Request",
            "Configure-Ack",
            "Configure-Nak",
            "Configure-Reject",
            "Terminate-Request",
            "Terminate-Ack",
            "Code-Reject",
            "Protocol-Reject",
            "Echo-Request",
            "Echo-Reply",
            "Discard-Request",
            "Identification",
            "Time-Remaining",
            "Reset-Request",
            "Reset-Ack",
        ];
        match usize::from(self.0).checked_sub(1).and_then(|n| NAMES.get(n)) {
            Some(name) => f.write_str(name),
            None => write!(f, "code {}", self.0),
        }
    }
}

/// A packet of LCP, an NCP, PAP or CHAP, checked: its Length fits what came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Packet<'a> {
    /// What it is.
    pub code: Code,
    /// Which request an answer belongs to.
    pub identifier: u8,
    /// What follows the header.
    pub data: &'a [u8],
}

impl<'a> Packet<'a> {
    /// Reads one. Octets beyond its Length are padding, and ignored.
    ///
    /// # Errors
    /// A header that is not there, or a Length that is shorter than it or longer than what came.
    // [1661:5-3] [1661:5-4]
    pub fn parse(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let Some(([code, identifier, high, low], rest)) = bytes.split_first_chunk::<HEADER_LEN>() else {
            return Err(DecodeError::new(bytes.len(), "a control packet has a header of four octets"));
        };
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        match length.checked_sub(HEADER_LEN).and_then(|n| rest.get(..n)) {
            Some(data) => Ok(Self { code: Code(*code), identifier: *identifier, data }),
            None => Err(DecodeError::new(2, "the Length of the packet is not that of what came")),
        }
    }

    /// The packet's octets.
    #[must_use]
    pub fn emit(&self) -> Vec<u8> {
        emit_packet(self.code, self.identifier, &[self.data])
    }
}

/// A packet of these parts. Longer contents than a Length can say are cut.
#[must_use]
pub fn emit_packet(code: Code, identifier: u8, parts: &[&[u8]]) -> Vec<u8> {
    let mut out = vec![code.0, identifier, 0, 0];
    out.extend(parts.iter().flat_map(|p| p.iter()));
    out.truncate(usize::from(u16::MAX));
    let length = u16::try_from(out.len()).unwrap_or(u16::MAX).to_be_bytes();
    for (to, from) in out.iter_mut().skip(2).zip(length) {
        *to = from;
    }
    out
}

/// A frame: its protocol in two octets, then the packet.
#[must_use]
pub fn emit_frame(protocol: Protocol, packet: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(packet.len().saturating_add(2));
    out.extend(protocol.0.to_be_bytes());
    out.extend_from_slice(packet);
    out
}

/// A frame's protocol and what it carries.
///
/// # Errors
/// It is too short.
// [1661:2-1]: a number that is none is one that nobody knows.
pub fn split_frame(frame: &[u8]) -> Result<(Protocol, &[u8]), DecodeError> {
    match frame.split_first_chunk::<2>() {
        Some(([high, low], rest)) => Ok((Protocol(u16::from_be_bytes([*high, *low])), rest)),
        None => Err(DecodeError::new(frame.len(), "a frame has a protocol of two octets")),
    }
}
