//! EAP-MSCHAPv2 ([MS-CHAP] §2.2, and the expired draft-kamath-pppext-eap-mschapv2): the packets of RFC 2759 within EAP.
//!
//! Each packet is `OpCode, MS-CHAPv2-ID, MS-Length, data`; the peer acknowledges Success and Failure by a single OpCode.

pub(super) mod authenticator;
pub(super) mod peer;

use adit_core::DecodeError;

use crate::mschap::Challenge;
pub(super) use crate::mschap::Refusal;

const CHALLENGE: u8 = 1;
const RESPONSE: u8 = 2;
const SUCCESS: u8 = 3;
const FAILURE: u8 = 4;
const CHANGE_PASSWORD: u8 = 7;

/// Names longer than this are nobody's (RFC 2759 §4 allows 256).
const LONGEST_NAME: usize = 256;

/// A message of the method.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Message<'a> {
    Challenge {
        id: u8,
        challenge: Challenge,
        /// The server's name. Nothing proves it.
        name: &'a [u8],
    },
    Response {
        id: u8,
        peer: Challenge,
        nt_response: [u8; 24],
        name: &'a [u8],
    },
    /// `S=…` and a text.
    Success {
        id: u8,
        text: &'a [u8],
    },
    /// `E=… R=… C=… V=… M=…`.
    Failure {
        id: u8,
        text: &'a [u8],
    },
    /// The peer has read Success.
    SuccessRead,
    /// The peer has read Failure.
    FailureRead,
    ChangePassword {
        id: u8,
        encrypted_password: &'a [u8; 516],
        encrypted_hash: [u8; 16],
        peer: Challenge,
        nt_response: [u8; 24],
    },
}

impl<'a> Message<'a> {
    /// Reads what follows the Type.
    pub(super) fn parse(data: &'a [u8]) -> Result<Self, DecodeError> {
        let ([op, id, _, _], body) = match data.split_first_chunk::<4>() {
            Some(found) => found,
            None => {
                return match data {
                    [SUCCESS] => Ok(Self::SuccessRead),
                    [FAILURE] => Ok(Self::FailureRead),
                    _ => Err(DecodeError::new(0, "an MS-CHAPv2 message has a header of four octets")),
                };
            }
        };
        // MS-Length repeats what EAP's own Length says; some peers count it wrongly, so that EAP's counts.
        match *op {
            CHALLENGE => Self::challenge(*id, body),
            RESPONSE => Self::response(*id, body),
            SUCCESS => Ok(Self::Success { id: *id, text: body }),
            FAILURE => Ok(Self::Failure { id: *id, text: body }),
            CHANGE_PASSWORD => Self::change(*id, body),
            _ => Err(DecodeError::new(0, "no such OpCode of MS-CHAPv2")),
        }
    }

    fn challenge(id: u8, body: &'a [u8]) -> Result<Self, DecodeError> {
        match body.split_first_chunk::<17>() {
            Some(([16, challenge @ ..], name)) if name.len() <= LONGEST_NAME => {
                Ok(Self::Challenge { id, challenge: *challenge, name })
            }
            _ => Err(DecodeError::new(4, "a Challenge has 16 octets and a name")),
        }
    }

    fn response(id: u8, body: &'a [u8]) -> Result<Self, DecodeError> {
        let wrong = || DecodeError::new(4, "a Response has 49 octets and a name");
        let ([49], rest) = body.split_first_chunk::<1>().ok_or_else(wrong)? else {
            return Err(wrong());
        };
        let (peer, rest) = rest.split_first_chunk::<16>().ok_or_else(wrong)?;
        let (_reserved, rest) = rest.split_first_chunk::<8>().ok_or_else(wrong)?;
        let (nt_response, rest) = rest.split_first_chunk::<24>().ok_or_else(wrong)?;
        let (_flags, name) = rest.split_first().ok_or_else(wrong)?;
        if name.len() > LONGEST_NAME {
            return Err(wrong());
        }
        Ok(Self::Response { id, peer: *peer, nt_response: *nt_response, name })
    }

    fn change(id: u8, body: &'a [u8]) -> Result<Self, DecodeError> {
        let wrong = || DecodeError::new(4, "a Change-Password has 582 octets");
        let (encrypted_password, rest) = body.split_first_chunk::<516>().ok_or_else(wrong)?;
        let (encrypted_hash, rest) = rest.split_first_chunk::<16>().ok_or_else(wrong)?;
        let (peer, rest) = rest.split_first_chunk::<16>().ok_or_else(wrong)?;
        let (_reserved, rest) = rest.split_first_chunk::<8>().ok_or_else(wrong)?;
        let (nt_response, _flags) = rest.split_first_chunk::<24>().ok_or_else(wrong)?;
        Ok(Self::ChangePassword {
            id,
            encrypted_password,
            encrypted_hash: *encrypted_hash,
            peer: *peer,
            nt_response: *nt_response,
        })
    }

    /// What follows the Type.
    pub(super) fn emit(&self) -> Vec<u8> {
        match self {
            Self::SuccessRead => vec![SUCCESS],
            Self::FailureRead => vec![FAILURE],
            Self::Challenge { id, challenge, name } => framed(CHALLENGE, *id, &[&[16], challenge, name]),
            Self::Response { id, peer, nt_response, name } => {
                framed(RESPONSE, *id, &[&[49], peer, &[0; 8], nt_response, &[0], name])
            }
            Self::Success { id, text } => framed(SUCCESS, *id, &[text]),
            Self::Failure { id, text } => framed(FAILURE, *id, &[text]),
            Self::ChangePassword { id, encrypted_password, encrypted_hash, peer, nt_response } => framed(
                CHANGE_PASSWORD,
                *id,
                &[&encrypted_password[..], encrypted_hash, peer, &[0; 8], nt_response, &[0; 2]],
            ),
        }
    }
}

fn framed(op: u8, id: u8, parts: &[&[u8]]) -> Vec<u8> {
    let length = parts.iter().map(|p| p.len()).sum::<usize>().saturating_add(4);
    let [high, low] = u16::try_from(length).unwrap_or(u16::MAX).to_be_bytes();
    let mut out = vec![op, id, high, low];
    out.extend(parts.iter().flat_map(|p| p.iter()));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_round_trip() {
        let messages = [
            Message::Challenge { id: 7, challenge: [1; 16], name: b"vpn" },
            Message::Response { id: 7, peer: [2; 16], nt_response: [3; 24], name: b"CORP\\ann" },
            Message::Success { id: 7, text: b"S=00 M=hello" },
            Message::Failure { id: 8, text: b"E=691 R=1" },
            Message::SuccessRead,
            Message::FailureRead,
            Message::ChangePassword {
                id: 9,
                encrypted_password: &[4; 516],
                encrypted_hash: [5; 16],
                peer: [6; 16],
                nt_response: [7; 24],
            },
        ];
        for message in messages {
            assert_eq!(Message::parse(&message.emit()).unwrap(), message);
        }
    }

    #[test]
    fn what_is_too_short_is_no_message() {
        let whole = Message::Response { id: 7, peer: [2; 16], nt_response: [3; 24], name: b"" }.emit();
        for length in 0..whole.len() {
            assert!(Message::parse(&whole[..length]).is_err(), "{length}");
        }
        assert!(Message::parse(&whole).is_ok());
    }
}
