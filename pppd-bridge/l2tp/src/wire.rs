//! Control messages (RFC 2661 §3.1, §4): their header ([`Control`]), their AVPs ([`Avp`]) and what those mean ([`Message`]).

mod avp;
mod hidden;
mod message;
mod values;

pub use avp::{Avp, LONGEST_VALUE};
pub use hidden::{NotRevealed, challenge_response, hide, reveal};
pub(crate) use message::HIDABLE;
pub use message::{CallErrors, Connected, IncomingCall, Message, OutgoingCall, Read, Start};
pub use values::{Proxy, ResultCode};

use adit_core::DecodeError;

/// Type bit: a control message.
const TYPE: u16 = 0x8000;
const LENGTH: u16 = 0x4000;
const SEQUENCE: u16 = 0x0800;
const OFFSET: u16 = 0x0200;
const PRIORITY: u16 = 0x0100;
const VERSION_MASK: u16 = 0x000f;
const VERSION: u16 = 2;
/// Flags and version, length, tunnel, session, Ns, Nr.
const HEADER_LEN: usize = 12;

/// A control message's header, and its AVPs as octets: none in a Zero-Length Body message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Control<'a> {
    /// Tunnel ID of who receives it; 0 where that is not known yet.
    pub tunnel: u16,
    /// Session ID of who receives it; 0 where the message is the tunnel's, or that is not known yet.
    pub session: u16,
    /// Its own number.
    pub ns: u16,
    /// The number of the next message that its sender expects.
    pub nr: u16,
    /// The AVPs.
    pub body: &'a [u8],
}

impl<'a> Control<'a> {
    /// Reads a datagram. `None`: it is a data message. Octets behind the header's Length are not looked at.
    ///
    /// # Errors
    /// It is none of this version's, or its header makes no sense: it is dropped.
    // [2661:3.1-1] [2661:3.1-2] [2661:3.1-3] [2661:3.1-4] [2661:3.1-5]
    pub fn parse(datagram: &'a [u8]) -> Result<Option<Self>, DecodeError> {
        let Some((first, _)) = datagram.split_first_chunk::<2>() else {
            return Err(DecodeError::new(0, "that is shorter than any header"));
        };
        let flags = u16::from_be_bytes(*first);
        if flags & VERSION_MASK != VERSION {
            return Err(DecodeError::new(0, "that is not L2TP's version 2"));
        }
        if flags & TYPE == 0 {
            return Ok(None);
        }
        if flags & (LENGTH | SEQUENCE | OFFSET | PRIORITY) != LENGTH | SEQUENCE {
            return Err(DecodeError::new(0, "a control message has no such flags"));
        }
        let Some((header, _)) = datagram.split_first_chunk::<HEADER_LEN>() else {
            return Err(DecodeError::new(2, "that is shorter than a control message's header"));
        };
        let [_, _, l0, l1, t0, t1, s0, s1, n0, n1, r0, r1] = *header;
        let length = usize::from(u16::from_be_bytes([l0, l1]));
        let body = datagram.get(HEADER_LEN..length);
        Ok(Some(Self {
            tunnel: u16::from_be_bytes([t0, t1]),
            session: u16::from_be_bytes([s0, s1]),
            ns: u16::from_be_bytes([n0, n1]),
            nr: u16::from_be_bytes([r0, r1]),
            body: body.ok_or_else(|| DecodeError::new(2, "Length is not that of this message"))?,
        }))
    }

    /// The message's octets. A body that does not fit a datagram is cut off; none here is as long.
    #[must_use]
    pub fn emit(&self) -> Vec<u8> {
        let most = usize::from(u16::MAX).saturating_sub(HEADER_LEN);
        let body = self.body.get(..self.body.len().min(most)).unwrap_or_default();
        let length = u16::try_from(HEADER_LEN.saturating_add(body.len())).unwrap_or(u16::MAX);
        let mut out = Vec::with_capacity(usize::from(length));
        for field in [TYPE | LENGTH | SEQUENCE | VERSION, length, self.tunnel, self.session, self.ns, self.nr]
        {
            out.extend(field.to_be_bytes());
        }
        out.extend_from_slice(body);
        out
    }

    /// Whether it only acknowledges.
    #[must_use]
    pub const fn is_zero_length_body(&self) -> bool {
        self.body.is_empty()
    }
}
