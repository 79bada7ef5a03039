//! The ISAKMP header (RFC 7296 §3.1, RFC 2408 §3.1): the same 28 bytes in IKEv1 and IKEv2.

use adit_core::DecodeError;

use crate::payload::PayloadType;
use crate::wire::{Reader, registry};

/// Bytes of the header.
pub const HEADER_LEN: usize = 28;

/// The longest message that is looked at: no UDP datagram is longer.
pub const MAX_MESSAGE_LEN: usize = 65_535;

/// IKEv2's version byte: major 2, minor 0.
// [7296:3.1-7] [7296:3.1-4]
pub const VERSION_2: u8 = 0x20;

/// IKEv1's version byte: major 1, minor 0.
pub const VERSION_1: u8 = 0x10;

registry! {
    /// Exchange Type.
    ExchangeType(u8) {
        /// IKEv1 Main Mode.
        IDENTITY_PROTECTION = 2,
        /// IKEv1 Aggressive Mode.
        AGGRESSIVE = 4,
        /// IKEv1 Informational.
        INFORMATIONAL_V1 = 5,
        /// IKEv1 Quick Mode.
        QUICK_MODE = 32,
        /// The first exchange.
        IKE_SA_INIT = 34,
        /// Authentication and the first CHILD_SA.
        IKE_AUTH = 35,
        /// Another CHILD_SA, or rekeying.
        CREATE_CHILD_SA = 36,
        /// Notices, deletions, liveness.
        INFORMATIONAL = 37,
        /// RFC 5723.
        IKE_SESSION_RESUME = 38,
        /// RFC 9242.
        IKE_INTERMEDIATE = 43,
        /// RFC 9370.
        IKE_FOLLOWUP_KE = 44,
    }
}

/// The flags byte. Unknown bits survive and mean nothing.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Flags(pub u8);

impl Flags {
    /// Sent by the original initiator of the IKE_SA.
    pub const INITIATOR: Self = Self(0x08);
    /// The sender could speak a higher major version.
    pub const VERSION: Self = Self(0x10);
    /// A response.
    pub const RESPONSE: Self = Self(0x20);

    /// Whether every bit of `other` is set.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        // [7296:3.1-12]
        self.0 & other.0 == other.0
    }

    /// Both together.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The flags of a message of this role.
    #[must_use]
    pub const fn of(original_initiator: bool, response: bool) -> Self {
        // [7296:3.1-9] [7296:3.1-10] [7296:3.1-12] [7296:3.1-13]
        Self(if original_initiator { 0x08 } else { 0 } | if response { 0x20 } else { 0 })
    }

    /// [`Flags::INITIATOR`].
    #[must_use]
    pub const fn initiator(self) -> bool {
        self.contains(Self::INITIATOR)
    }

    /// [`Flags::RESPONSE`].
    #[must_use]
    pub const fn response(self) -> bool {
        self.contains(Self::RESPONSE)
    }
}

/// What a header says, without the fields that follow from the rest of the message (Next Payload and Length).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    /// The original initiator's SPI; never 0.
    pub initiator_spi: u64,
    /// The responder's SPI; 0 in the first message.
    pub responder_spi: u64,
    /// Major version in the high four bits, minor in the low four.
    pub version: u8,
    /// Exchange Type.
    pub exchange: ExchangeType,
    /// Flags.
    pub flags: Flags,
    /// Message ID.
    pub message_id: u32,
}

/// A datagram with a checked header.
#[derive(Clone, Copy, Debug)]
pub struct HeaderView<'a> {
    header: Header,
    next_payload: PayloadType,
    body: &'a [u8],
}

impl<'a> HeaderView<'a> {
    /// Checks what IKEv1 and IKEv2 have in common: at least [`HEADER_LEN`] bytes, Length is the datagram's, the
    /// initiator's SPI is not 0. The version is not judged, so that the caller can answer INVALID_MAJOR_VERSION.
    ///
    /// # Errors
    /// What is wrong and where.
    pub fn parse(datagram: &'a [u8]) -> Result<Self, DecodeError> {
        // [7296:2-1]
        if datagram.len() > MAX_MESSAGE_LEN {
            return Err(DecodeError::new(MAX_MESSAGE_LEN, "the message is longer than 65535 bytes"));
        }
        let why = "the ISAKMP header is cut off";
        let mut r = Reader::new(datagram, 0);
        let initiator_spi = r.u64(why)?;
        let responder_spi = r.u64(why)?;
        let next_payload = PayloadType(r.u8(why)?);
        let header = Header {
            initiator_spi,
            responder_spi,
            version: r.u8(why)?,
            exchange: ExchangeType(r.u8(why)?),
            flags: Flags(r.u8(why)?),
            message_id: r.u32(why)?,
        };
        let length = r.u32(why)?;
        // [2408:3.1-1]
        if usize::try_from(length).ok() != Some(datagram.len()) {
            return Err(DecodeError::new(24, "the header's length is not the datagram's"));
        }
        // [7296:3.1-2]
        if initiator_spi == 0 {
            return Err(DecodeError::new(0, "the initiator's SPI is 0"));
        }
        Ok(Self { header, next_payload, body: r.rest() })
    }

    /// What it says.
    #[must_use]
    pub const fn header(&self) -> Header {
        self.header
    }

    /// The type of the first payload.
    #[must_use]
    pub const fn next_payload(&self) -> PayloadType {
        self.next_payload
    }

    /// Everything after the header.
    #[must_use]
    pub const fn body(&self) -> &'a [u8] {
        self.body
    }
}

impl Header {
    /// The major version.
    #[must_use]
    pub const fn major(&self) -> u8 {
        // [7296:2.5-1] [7296:3.1-8]
        self.version >> 4
    }

    /// Checks that it is a header of IKEv2 with an exchange type that IKEv2 has, Message ID 0 in IKE_SA_INIT and
    /// IKE_SESSION_RESUME.
    ///
    /// # Errors
    /// What is wrong and where.
    pub const fn check_ikev2(&self) -> Result<(), DecodeError> {
        if self.major() != 2 {
            return Err(DecodeError::new(17, "the major version is not 2"));
        }
        if self.exchange.0 < ExchangeType::IKE_SA_INIT.0 {
            return Err(DecodeError::new(18, "the exchange type is not one of IKEv2"));
        }
        if self.exchange.0 == ExchangeType::IKE_SA_INIT.0 && self.message_id != 0 {
            return Err(DecodeError::new(20, "the Message ID of IKE_SA_INIT is not 0"));
        }
        // [5723:5-1]
        if self.exchange.0 == ExchangeType::IKE_SESSION_RESUME.0 && self.message_id != 0 {
            return Err(DecodeError::new(20, "the Message ID of IKE_SESSION_RESUME is not 0"));
        }
        Ok(())
    }

    /// Appends the 28 bytes; Length is set by [`finish_length`] when the message is complete.
    pub(crate) fn emit(&self, next_payload: PayloadType, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.initiator_spi.to_be_bytes());
        out.extend_from_slice(&self.responder_spi.to_be_bytes());
        out.extend_from_slice(&[next_payload.0, self.version, self.exchange.0, self.flags.0]);
        out.extend_from_slice(&self.message_id.to_be_bytes());
        out.extend_from_slice(&[0; 4]);
    }
}

/// Writes Length into the header of a complete message, or says that it is too long for a datagram.
pub(crate) fn finish_length(message: &mut [u8]) -> Result<(), crate::EncodeError> {
    let too_long = crate::EncodeError { what: "the message" };
    if message.len() > MAX_MESSAGE_LEN {
        return Err(too_long);
    }
    let length = u32::try_from(message.len()).map_err(|_| too_long)?;
    message.get_mut(24..28).ok_or(too_long)?.copy_from_slice(&length.to_be_bytes());
    Ok(())
}
