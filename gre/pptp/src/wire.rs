//! Messages of the control connection (RFC 2637 §2), as meaning ([`Message`]) and as octets. Lengths are fixed; strings are
//! 64 octets, zeros behind.

mod body;
mod octets;

pub use body::{CallReply, Hello, Message, OutgoingCall, StartReply};

use adit_core::DecodeError;

/// Magic Cookie (§1.4): what does not have it is not PPTP, or out of step.
pub const MAGIC: u32 = 0x1a2b_3c4d;
/// Length, PPTP Message Type, Magic Cookie, Control Message Type, Reserved0.
const HEADER_LEN: usize = 12;
/// The longest message that is waited for. The RFC's longest is 220 octets.
const LONGEST: usize = 1024;
/// PPTP Message Type of control messages.
const CONTROL: u16 = 1;

/// The first whole message of a stream's octets, and how many octets it is. `None`: more must come.
///
/// # Errors
/// The stream is not PPTP: nothing after it can be believed. A type that is not known is [`Message::Unknown`].
// [2637:1.4-1] [2637:1.4-2]
pub fn next(stream: &[u8]) -> Result<Option<(Message, usize)>, DecodeError> {
    let Some((header, _)) = stream.split_first_chunk::<HEADER_LEN>() else { return Ok(None) };
    let [l0, l1, t0, t1, m0, m1, m2, m3, c0, c1, _, _] = *header;
    let length = usize::from(u16::from_be_bytes([l0, l1]));
    if u32::from_be_bytes([m0, m1, m2, m3]) != MAGIC {
        return Err(DecodeError::new(4, "that is not PPTP's Magic Cookie"));
    }
    if !(HEADER_LEN..=LONGEST).contains(&length) {
        return Err(DecodeError::new(0, "no message of PPTP has that Length"));
    }
    let Some(message) = stream.get(..length) else { return Ok(None) };
    let kind = u16::from_be_bytes([c0, c1]);
    let body = message.get(HEADER_LEN..).unwrap_or_default();
    let meaning = match u16::from_be_bytes([t0, t1]) {
        CONTROL => Message::parse(kind, body).map_err(|e| e.within(HEADER_LEN))?,
        // Management messages (2) are defined nowhere.
        _ => Message::Unknown(kind),
    };
    Ok(Some((meaning, length)))
}

/// How many of a stream's octets are whole messages: who takes no more leaves what has come in part where it is. All of them
/// where what comes next is not PPTP.
#[must_use]
pub fn whole(stream: &[u8]) -> usize {
    let mut at = 0;
    while let Some(rest) = stream.get(at..) {
        match next(rest) {
            Ok(Some((_, length))) => at = at.saturating_add(length),
            Ok(None) => return at,
            Err(_) => return stream.len(),
        }
    }
    at
}

impl Message {
    /// The message's octets.
    #[must_use]
    pub fn emit(&self) -> Vec<u8> {
        let body = self.body();
        let length = u16::try_from(HEADER_LEN.saturating_add(body.len())).unwrap_or(u16::MAX);
        let mut out = Vec::with_capacity(usize::from(length));
        out.extend(length.to_be_bytes());
        out.extend(CONTROL.to_be_bytes());
        out.extend(MAGIC.to_be_bytes());
        out.extend(self.kind().to_be_bytes());
        out.extend([0; 2]);
        out.extend(body);
        out
    }
}
