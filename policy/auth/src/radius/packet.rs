//! RADIUS packets (RFC 2865 §3): a header of 20 octets and attributes of at most 253 octets each.

use adit_core::DecodeError;
use zeroize::Zeroizing;

/// The longest packet (RFC 2865 §3).
pub const MAX_LEN: usize = 4096;

pub(super) const HEADER_LEN: usize = 20;
/// Octets of an attribute's value.
pub(super) const LONGEST_VALUE: usize = 253;

/// Code (RFC 2865 §3, RFC 2866 §3, RFC 5176 §2.3, RFC 5997).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Code(pub u8);

impl Code {
    /// May this user come in?
    pub const ACCESS_REQUEST: Self = Self(1);
    /// Yes.
    pub const ACCESS_ACCEPT: Self = Self(2);
    /// No.
    pub const ACCESS_REJECT: Self = Self(3);
    /// A session has begun, goes on, or has ended.
    pub const ACCOUNTING_REQUEST: Self = Self(4);
    /// Noted.
    pub const ACCOUNTING_RESPONSE: Self = Self(5);
    /// More is to be said.
    pub const ACCESS_CHALLENGE: Self = Self(11);
    /// Is the server there? (RFC 5997)
    pub const STATUS_SERVER: Self = Self(12);
    /// End this session (RFC 5176).
    pub const DISCONNECT_REQUEST: Self = Self(40);
    /// Ended.
    pub const DISCONNECT_ACK: Self = Self(41);
    /// Not ended.
    pub const DISCONNECT_NAK: Self = Self(42);
    /// Change this session.
    pub const COA_REQUEST: Self = Self(43);
    /// Changed.
    pub const COA_ACK: Self = Self(44);
    /// Not changed.
    pub const COA_NAK: Self = Self(45);
}

/// A packet whose lengths are right. Nothing in it is proven.
#[derive(Clone, Copy, Debug)]
pub struct Packet<'a> {
    bytes: &'a [u8],
}

impl<'a> Packet<'a> {
    /// Reads a packet. Octets beyond its Length are padding, and ignored (RFC 2865 §3).
    ///
    /// # Errors
    /// Where it is malformed.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let length = match bytes {
            [_, _, high, low, ..] => usize::from(u16::from_be_bytes([*high, *low])),
            _ => return Err(DecodeError::new(bytes.len(), "a RADIUS packet has a header of 20 octets")),
        };
        let whole = bytes.get(..length).filter(|_| (HEADER_LEN..=MAX_LEN).contains(&length));
        let Some(bytes) = whole else {
            return Err(DecodeError::new(2, "the Length of the RADIUS packet is not that of what came"));
        };
        let mut rest = bytes.get(HEADER_LEN..).unwrap_or_default();
        while !rest.is_empty() {
            let at = length.saturating_sub(rest.len());
            let taken = match rest {
                [_, n, ..] if *n >= 2 => rest.get(usize::from(*n)..),
                _ => None,
            };
            rest = taken.ok_or_else(|| DecodeError::new(at, "an attribute is longer than the packet"))?;
        }
        Ok(Self { bytes })
    }

    /// All of it, without padding.
    #[must_use]
    pub const fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// What it is.
    #[must_use]
    pub fn code(&self) -> Code {
        Code(self.bytes.first().copied().unwrap_or(0))
    }

    /// Which request it answers.
    #[must_use]
    pub fn identifier(&self) -> u8 {
        self.bytes.get(1).copied().unwrap_or(0)
    }

    /// Request or Response Authenticator.
    #[must_use]
    pub fn authenticator(&self) -> [u8; 16] {
        self.bytes.get(4..).and_then(|b| b.first_chunk()).copied().unwrap_or_default()
    }

    /// All attributes: where the value stands in the packet, the type, and the value.
    pub fn attributes(&self) -> impl Iterator<Item = (usize, u8, &'a [u8])> {
        let (bytes, mut at) = (self.bytes, HEADER_LEN);
        core::iter::from_fn(move || {
            let [kind, n, ..] = bytes.get(at..)? else {
                return None;
            };
            let start = at.saturating_add(2);
            at = at.saturating_add(usize::from(*n).max(2));
            Some((start, *kind, bytes.get(start..at)?))
        })
    }

    /// The first value of this type.
    #[must_use]
    pub fn value(&self, kind: u8) -> Option<&'a [u8]> {
        self.attributes().find(|(_, k, _)| *k == kind).map(|(_, _, value)| value)
    }

    /// All values of this type in one, as EAP-Message is split (RFC 3579 §3.1).
    #[must_use]
    pub fn joined(&self, kind: u8) -> Option<Vec<u8>> {
        let mut values =
            self.attributes().filter(|(_, k, _)| *k == kind).map(|(_, _, value)| value).peekable();
        values.peek()?;
        Some(values.flatten().copied().collect())
    }
}

/// Writes a packet. Passwords may stand in it: it is wiped when it goes.
pub struct Writer {
    bytes: Zeroizing<Vec<u8>>,
    /// Whether something did not fit.
    overflow: bool,
}

impl Writer {
    /// A packet without attributes.
    #[must_use]
    pub fn new(code: Code, identifier: u8, authenticator: [u8; 16]) -> Self {
        // All that it can get: one that grows leaves its bytes behind.
        let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_LEN));
        bytes.extend([code.0, identifier, 0, 0]);
        bytes.extend(authenticator);
        Self { bytes, overflow: false }
    }

    /// Adds an attribute; a value of more than 253 octets becomes several.
    pub fn attribute(&mut self, kind: u8, value: &[u8]) -> &mut Self {
        for part in value.chunks(LONGEST_VALUE) {
            let length = part.len().saturating_add(2);
            if self.bytes.len().saturating_add(length) > MAX_LEN {
                self.overflow = true;
                return self;
            }
            self.bytes.extend([kind, u8::try_from(length).unwrap_or(u8::MAX)]);
            self.bytes.extend_from_slice(part);
        }
        self
    }

    /// Adds a number.
    pub fn number(&mut self, kind: u8, value: u32) -> &mut Self {
        self.attribute(kind, &value.to_be_bytes())
    }

    /// How long it is so far: where the next attribute begins.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Never: it has a header.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The packet, its Length set. `None`: it did not fit.
    #[must_use]
    pub fn finish(mut self) -> Option<Zeroizing<Vec<u8>>> {
        let length = u16::try_from(self.bytes.len()).ok().filter(|_| !self.overflow)?;
        if let Some(field) = self.bytes.get_mut(2..4) {
            field.copy_from_slice(&length.to_be_bytes());
        }
        Some(self.bytes)
    }
}
