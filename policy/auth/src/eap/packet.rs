//! EAP packets (RFC 3748 §4).

use core::fmt;

use adit_core::DecodeError;

/// The longest packet that is taken or sent: what fits one RADIUS packet with room for its other attributes, and more
/// than any carrier's MTU; longer contents are the methods' own fragments.
pub const MAX_LEN: usize = 4000;

const HEADER_LEN: usize = 4;

/// Code (RFC 3748 §4).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Code {
    /// The authenticator asks.
    Request,
    /// The peer answers.
    Response,
    /// The authenticator lets the peer in. Not protected.
    Success,
    /// The authenticator does not. Not protected.
    Failure,
}

/// A Type of Request or Response (RFC 3748 §5).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Method(pub u8);

impl Method {
    /// Identity (§5.1).
    pub const IDENTITY: Self = Self(1);
    /// Notification (§5.2).
    pub const NOTIFICATION: Self = Self(2);
    /// Legacy Nak (§5.3.1): Responses only.
    pub const NAK: Self = Self(3);
    /// MD5-Challenge (§5.4).
    pub const MD5: Self = Self(4);
    /// Generic Token Card (§5.6).
    pub const GTC: Self = Self(6);
    /// EAP-TLS (RFC 5216, RFC 9190).
    pub const TLS: Self = Self(13);
    /// EAP-TTLS (RFC 5281).
    pub const TTLS: Self = Self(21);
    /// PEAP ([MS-PEAP]).
    pub const PEAP: Self = Self(25);
    /// EAP-MSCHAPv2 ([MS-CHAP]).
    pub const MSCHAPV2: Self = Self(26);
    /// Expanded types (§5.7).
    pub const EXPANDED: Self = Self(254);

    /// Whether it is an authentication method, not one of the types that every peer speaks.
    #[must_use]
    pub const fn authenticates(self) -> bool {
        self.0 > 3
    }

    /// Whether it runs TLS, and so needs an engine for it.
    #[must_use]
    pub const fn runs_tls(self) -> bool {
        matches!(self, Self::TLS | Self::TTLS | Self::PEAP)
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match *self {
            Self::IDENTITY => "EAP-Identity",
            Self::NOTIFICATION => "EAP-Notification",
            Self::NAK => "EAP-Nak",
            Self::MD5 => "EAP-MD5",
            Self::GTC => "EAP-GTC",
            Self::TLS => "EAP-TLS",
            Self::TTLS => "EAP-TTLS",
            Self::PEAP => "PEAP",
            Self::MSCHAPV2 => "EAP-MSCHAPv2",
            Self(other) => return write!(f, "EAP type {other}"),
        })
    }
}

impl fmt::Debug for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A packet, checked: its length is right, and a Request or Response has a Type.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Packet<'a> {
    /// What it is.
    pub code: Code,
    /// Identifier: which Request a Response answers.
    pub identifier: u8,
    /// The Type of a Request or Response.
    // [7296:3.16-3]
    pub method: Option<Method>,
    /// What follows the Type. Empty in Success and Failure.
    pub data: &'a [u8],
}

impl<'a> Packet<'a> {
    /// Reads a packet. Octets beyond its Length are padding of the carrier, and ignored (RFC 3748 §4.1).
    ///
    /// # Errors
    /// Where it is malformed.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let Some(([code, identifier, high, low], rest)) = bytes.split_first_chunk::<HEADER_LEN>() else {
            return Err(DecodeError::new(bytes.len(), "an EAP packet has a header of four octets"));
        };
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        let body = length.checked_sub(HEADER_LEN).and_then(|n| rest.get(..n));
        let Some(body) = body.filter(|_| length <= MAX_LEN) else {
            return Err(DecodeError::new(2, "the Length of the EAP packet is not that of what came"));
        };
        let code = match code {
            1 => Code::Request,
            2 => Code::Response,
            3 => Code::Success,
            4 => Code::Failure,
            _ => return Err(DecodeError::new(0, "no such EAP Code")),
        };
        let (method, data) = match (code, body.split_first()) {
            (Code::Success | Code::Failure, None) => (None, body),
            (Code::Success | Code::Failure, Some(_)) => {
                return Err(DecodeError::new(HEADER_LEN, "Success and Failure carry no data"));
            }
            (Code::Request | Code::Response, Some((kind, data))) => (Some(Method(*kind)), data),
            (Code::Request | Code::Response, None) => {
                return Err(DecodeError::new(HEADER_LEN, "a Request or Response has a Type"));
            }
        };
        Ok(Self { code, identifier: *identifier, method, data })
    }
}

/// Writes a packet. What is longer than [`MAX_LEN`] is cut: methods fragment before.
#[must_use]
pub fn emit(code: Code, identifier: u8, method: Option<Method>, data: &[u8]) -> Vec<u8> {
    let data = data.get(..MAX_LEN.saturating_sub(HEADER_LEN + 1)).unwrap_or(data);
    let code = match code {
        Code::Request => 1,
        Code::Response => 2,
        Code::Success => 3,
        Code::Failure => 4,
    };
    let length = HEADER_LEN + usize::from(method.is_some()) + data.len();
    let [high, low] = u16::try_from(length).unwrap_or(u16::MAX).to_be_bytes();
    let mut out = Vec::with_capacity(length);
    out.extend([code, identifier, high, low]);
    out.extend(method.map(|m| m.0));
    out.extend_from_slice(data);
    out
}
