//! How TLS is cut into EAP packets and put together again (RFC 5216 §2.1.5, §3; RFC 5281 §9.2; [MS-PEAP] §2.2.2).

use adit_core::DecodeError;

/// Flags: the TLS Message Length is there.
const LENGTH: u8 = 0x80;
/// Flags: more fragments follow.
const MORE: u8 = 0x40;
/// Flags: the conversation begins.
const START: u8 = 0x20;

/// Bytes of TLS in one packet, so that the EAP packet has 1,024 octets at most: it fits RADIUS, PPP and IKE.
const FRAGMENT: usize = 1024 - 4 - 1 - 1 - 4;
/// The longest message that is put together: ten certificates of a chain fit, and nobody fills our memory.
pub(super) const LONGEST: usize = 64 * 1024;

/// What came.
#[derive(PartialEq, Eq, Debug)]
pub(super) enum Incoming {
    /// The conversation begins.
    Start,
    /// Nothing: what we sent has arrived.
    Empty,
    /// A fragment; more will come once it is acknowledged.
    Part,
    /// A whole message.
    Whole(Vec<u8>),
}

/// Both directions of one conversation.
#[derive(Default)]
pub(super) struct Frames {
    incoming: Vec<u8>,
    /// The length that was announced for what is incoming.
    announced: Option<usize>,
    parts: bool,
    outgoing: Vec<u8>,
    sent: usize,
}

impl Frames {
    /// The data of the packet that begins a conversation.
    pub(super) fn start() -> Vec<u8> {
        vec![START]
    }

    /// The data of a packet that acknowledges, or that waits for what the other side has.
    pub(super) fn empty() -> Vec<u8> {
        vec![0]
    }

    /// Takes what follows the Type.
    pub(super) fn receive(&mut self, data: &[u8]) -> Result<Incoming, DecodeError> {
        let Some((flags, rest)) = data.split_first() else {
            return Err(DecodeError::new(0, "a TLS packet of EAP has flags"));
        };
        let (announced, rest) = match flags & LENGTH {
            0 => (None, rest),
            _ => {
                let Some((length, rest)) = rest.split_first_chunk::<4>() else {
                    return Err(DecodeError::new(1, "the TLS Message Length has four octets"));
                };
                (Some(usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX)), rest)
            }
        };
        if flags & START != 0 {
            self.forget();
            return Ok(Incoming::Start);
        }
        if announced.is_some_and(|length| length > LONGEST) {
            return Err(DecodeError::new(1, "the TLS message is longer than 64 KiB"));
        }
        // The first one says the length of the whole; a later one may repeat it.
        self.announced = self.announced.or(announced);
        let longest = self.announced.unwrap_or(LONGEST);
        if self.incoming.len().saturating_add(rest.len()) > longest {
            self.forget();
            return Err(DecodeError::new(1, "the fragments are more than their TLS Message Length"));
        }
        self.incoming.extend_from_slice(rest);
        if flags & MORE != 0 {
            self.parts = true;
            // A fragment without content would let it go on for ever.
            return match rest.is_empty() {
                true => Err(DecodeError::new(1, "a fragment holds something")),
                false => Ok(Incoming::Part),
            };
        }
        let complete = self.announced.is_none_or(|length| length == self.incoming.len());
        let message = core::mem::take(&mut self.incoming);
        let parts = core::mem::take(&mut self.parts);
        self.announced = None;
        match (complete, message.is_empty() && !parts) {
            (false, _) => Err(DecodeError::new(1, "the TLS Message Length is not that of what came")),
            (true, true) => Ok(Incoming::Empty),
            (true, false) => Ok(Incoming::Whole(message)),
        }
    }

    fn forget(&mut self) {
        *self = Self::default();
    }

    /// Whether some of what goes out is still here.
    pub(super) fn sending(&self) -> bool {
        self.sent < self.outgoing.len()
    }

    /// Sends a message: the data of the first packet. `handshake`: says the length even where it is one packet only,
    /// since Windows takes a ClientHello without it for something else ([MS-PEAP] §2.2.6.1).
    pub(super) fn send(&mut self, message: Vec<u8>, handshake: bool) -> Vec<u8> {
        if message.is_empty() {
            return Self::empty();
        }
        self.outgoing = message;
        self.sent = 0;
        let length = u32::try_from(self.outgoing.len()).unwrap_or(u32::MAX);
        let length = (handshake || self.outgoing.len() > FRAGMENT).then_some(length);
        self.cut(length)
    }

    /// The next packet's data, when the last one has been acknowledged.
    pub(super) fn next(&mut self) -> Option<Vec<u8>> {
        self.sending().then(|| self.cut(None))
    }

    fn cut(&mut self, length: Option<u32>) -> Vec<u8> {
        let end = self.sent.saturating_add(FRAGMENT).min(self.outgoing.len());
        let part = self.outgoing.get(self.sent..end).unwrap_or_default();
        let more = if end < self.outgoing.len() { MORE } else { 0 };
        let flags = more | if length.is_some() { LENGTH } else { 0 };
        let mut out = Vec::with_capacity(part.len().saturating_add(5));
        out.push(flags);
        out.extend(length.into_iter().flat_map(u32::to_be_bytes));
        out.extend_from_slice(part);
        self.sent = end;
        if !self.sending() {
            self.outgoing = Vec::new();
            self.sent = 0;
        }
        out
    }
}
