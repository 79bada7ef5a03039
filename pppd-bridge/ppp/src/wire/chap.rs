use adit_auth::mschap::Challenge;
use adit_core::DecodeError;

use super::packet::{Code, Packet, emit_packet};

/// Code of MS-CHAPv2's Change-Password (RFC 2759 §7).
const CHANGE_PASSWORD: u8 = 7;

/// A message of CHAP, whatever its algorithm (RFC 1994 §4, RFC 2433, RFC 2759).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ChapMessage<'a> {
    /// Challenge.
    Challenge {
        /// Value.
        value: &'a [u8],
        /// The authenticator's name. Nothing proves it.
        name: &'a [u8],
    },
    /// Response.
    Response {
        /// Value.
        value: &'a [u8],
        /// The peer's name.
        name: &'a [u8],
    },
    /// Success.
    Success {
        /// For people; in MS-CHAPv2 the authenticator's proof.
        message: &'a [u8],
    },
    /// Failure.
    Failure {
        /// For people; in MS-CHAP what may be done.
        message: &'a [u8],
    },
    /// Change-Password of MS-CHAPv2.
    ChangePassword {
        /// The new password, encrypted with the old one.
        encrypted_password: &'a [u8; 516],
        /// The old one's hash, encrypted with the new one.
        encrypted_hash: &'a [u8; 16],
        /// The proof of the new one.
        proof: ChapProof,
    },
}

/// What a Response of MS-CHAPv2 proves (RFC 2759 §4), or the last of MS-CHAPv1's (RFC 2433 §4), whose `peer` is zero.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ChapProof {
    /// The peer's own challenge.
    pub peer: Challenge,
    /// The proof.
    pub nt_response: [u8; 24],
}

impl ChapProof {
    /// Reads the 49 octets of a Response of MS-CHAPv2.
    #[must_use]
    pub fn of_v2(value: &[u8]) -> Option<Self> {
        let (peer, rest) = value.split_first_chunk::<16>()?;
        let (_reserved, rest) = rest.split_first_chunk::<8>()?;
        let (nt_response, rest) = rest.split_first_chunk::<24>()?;
        // Flags: zero, and ignored (RFC 2759 §4).
        (rest.len() == 1).then_some(Self { peer: *peer, nt_response: *nt_response })
    }

    /// The 49 octets of a Response of MS-CHAPv2.
    #[must_use]
    pub fn to_v2(&self) -> Vec<u8> {
        [&self.peer[..], &[0; 8], &self.nt_response, &[0]].concat()
    }

    /// Reads the 49 octets of a Response of MS-CHAPv1. One with a LAN Manager response only is not taken.
    #[must_use]
    pub fn of_v1(value: &[u8]) -> Option<Self> {
        let (_lan_manager, rest) = value.split_first_chunk::<24>()?;
        let (nt_response, rest) = rest.split_first_chunk::<24>()?;
        (rest == [1]).then_some(Self { peer: [0; 16], nt_response: *nt_response })
    }

    /// The 49 octets of a Response of MS-CHAPv1, without a LAN Manager response.
    #[must_use]
    pub fn to_v1(&self) -> Vec<u8> {
        [&[0; 24][..], &self.nt_response, &[1]].concat()
    }
}

impl<'a> ChapMessage<'a> {
    /// Reads a packet of CHAP.
    ///
    /// # Errors
    /// A Value that is empty or longer than the packet, or no such code.
    // [1994:4.1-1]
    pub fn parse(packet: Packet<'a>) -> Result<Self, DecodeError> {
        let valued = || {
            let (size, rest) = packet.data.split_first()?;
            rest.split_at_checked(usize::from(*size)).filter(|(value, _)| !value.is_empty())
        };
        let short = || DecodeError::new(4, "the Value is empty or longer than the packet");
        match packet.code.0 {
            1 => valued().map(|(value, name)| Self::Challenge { value, name }).ok_or_else(short),
            2 => valued().map(|(value, name)| Self::Response { value, name }).ok_or_else(short),
            3 => Ok(Self::Success { message: packet.data }),
            4 => Ok(Self::Failure { message: packet.data }),
            CHANGE_PASSWORD => Self::change(packet.data),
            _ => Err(DecodeError::new(0, "no such code of CHAP")),
        }
    }

    fn change(data: &'a [u8]) -> Result<Self, DecodeError> {
        let wrong = || DecodeError::new(4, "a Change-Password has 582 octets");
        let (encrypted_password, rest) = data.split_first_chunk::<516>().ok_or_else(wrong)?;
        let (encrypted_hash, rest) = rest.split_first_chunk::<16>().ok_or_else(wrong)?;
        let proof = rest.get(..48).filter(|_| rest.len() == 50).ok_or_else(wrong)?;
        let proof = ChapProof::of_v2(&[proof, &[0]].concat()).ok_or_else(wrong)?;
        Ok(Self::ChangePassword { encrypted_password, encrypted_hash, proof })
    }

    /// The packet's octets.
    #[must_use]
    pub fn emit(&self, identifier: u8) -> Vec<u8> {
        let valued = |code, value: &[u8], name: &[u8]| {
            let value = value.get(..255).unwrap_or(value);
            emit_packet(
                Code(code),
                identifier,
                &[&[u8::try_from(value.len()).unwrap_or(u8::MAX)], value, name],
            )
        };
        match self {
            Self::Challenge { value, name } => valued(1, value, name),
            Self::Response { value, name } => valued(2, value, name),
            Self::Success { message } => emit_packet(Code(3), identifier, &[message]),
            Self::Failure { message } => emit_packet(Code(4), identifier, &[message]),
            Self::ChangePassword { encrypted_password, encrypted_hash, proof } => emit_packet(
                Code(CHANGE_PASSWORD),
                identifier,
                &[
                    &encrypted_password[..],
                    &encrypted_hash[..],
                    &proof.peer,
                    &[0; 8],
                    &proof.nt_response,
                    &[0; 2],
                ],
            ),
        }
    }
}
