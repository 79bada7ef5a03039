use adit_core::DecodeError;

use super::packet::{Code, Packet, emit_packet};

/// A message of PAP (RFC 1334 §2.2).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PapMessage<'a> {
    /// Authenticate-Request.
    Request {
        /// Peer-ID.
        name: &'a [u8],
        /// Password, in clear.
        password: &'a [u8],
    },
    /// Authenticate-Ack.
    Ack {
        /// For people.
        message: &'a [u8],
    },
    /// Authenticate-Nak.
    Nak {
        /// For people.
        message: &'a [u8],
    },
}

impl<'a> PapMessage<'a> {
    /// Reads a packet of PAP.
    ///
    /// # Errors
    /// A length that does not fit, or no such code.
    pub fn parse(packet: Packet<'a>) -> Result<Self, DecodeError> {
        let counted = |bytes: &'a [u8]| {
            let (length, rest) = bytes.split_first()?;
            rest.split_at_checked(usize::from(*length))
        };
        let short = || DecodeError::new(4, "a counted text is longer than the packet");
        match packet.code.0 {
            1 => {
                let (name, rest) = counted(packet.data).ok_or_else(short)?;
                let (password, _) = counted(rest).ok_or_else(short)?;
                Ok(Self::Request { name, password })
            }
            // Some peers leave the text of an answer away altogether.
            2 => Ok(Self::Ack { message: counted(packet.data).unwrap_or_default().0 }),
            3 => Ok(Self::Nak { message: counted(packet.data).unwrap_or_default().0 }),
            _ => Err(DecodeError::new(0, "no such code of PAP")),
        }
    }

    /// The packet's octets. Texts are cut at 255.
    #[must_use]
    pub fn emit(&self, identifier: u8) -> Vec<u8> {
        let cut = |text: &'a [u8]| text.get(..255).unwrap_or(text);
        let length = |text: &[u8]| [u8::try_from(text.len()).unwrap_or(u8::MAX)];
        match self {
            Self::Request { name, password } => {
                let (name, password) = (cut(name), cut(password));
                emit_packet(Code(1), identifier, &[&length(name), name, &length(password), password])
            }
            Self::Ack { message } => emit_packet(Code(2), identifier, &[&length(cut(message)), cut(message)]),
            Self::Nak { message } => emit_packet(Code(3), identifier, &[&length(cut(message)), cut(message)]),
        }
    }
}
