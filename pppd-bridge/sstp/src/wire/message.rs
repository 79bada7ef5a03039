//! Control messages ([MS-SSTP] §2.2.2, §2.2.4 to §2.2.17).

use crate::binding::HashProtocol;
use crate::wire::{HEADER_LEN, header};

/// Attribute IDs ([MS-SSTP] §2.2.4).
pub mod attribute {
    /// No attribute.
    pub const NONE: u8 = 0;
    /// SSTP_ATTRIB_ENCAPSULATED_PROTOCOL_ID.
    pub const ENCAPSULATED_PROTOCOL: u8 = 1;
    /// SSTP_ATTRIB_STATUS_INFO.
    pub const STATUS_INFO: u8 = 2;
    /// SSTP_ATTRIB_CRYPTO_BINDING.
    pub const CRYPTO_BINDING: u8 = 3;
    /// SSTP_ATTRIB_CRYPTO_BINDING_REQ.
    pub const CRYPTO_BINDING_REQUEST: u8 = 4;
}

/// SSTP_ENCAPSULATED_PROTOCOL_PPP.
pub(crate) const PPP: u16 = 1;
const ATTRIBUTE_LEN: usize = 4;
/// Attributes that a message may have: more than any has.
const MOST_ATTRIBUTES: u16 = 16;
/// AttribValue that is kept of a Status Info ([MS-SSTP] §2.2.8).
const MOST_VALUE: usize = 64;

/// Why something is refused or ended ([MS-SSTP] §2.2.8).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Status(pub u32);

impl Status {
    /// ATTRIB_STATUS_NO_ERROR.
    pub const NO_ERROR: Self = Self(0);
    /// ATTRIB_STATUS_DUPLICATE_ATTRIBUTE.
    pub const DUPLICATE: Self = Self(1);
    /// ATTRIB_STATUS_UNRECOGNIZED_ATTRIBUTE.
    pub const UNRECOGNIZED: Self = Self(2);
    /// ATTRIB_STATUS_INVALID_ATTRIB_VALUE_LENGTH.
    pub const INVALID_LENGTH: Self = Self(3);
    /// ATTRIB_STATUS_VALUE_NOT_SUPPORTED.
    pub const NOT_SUPPORTED: Self = Self(4);
    /// ATTRIB_STATUS_UNACCEPTED_FRAME_RECEIVED.
    pub const UNACCEPTED_FRAME: Self = Self(5);
    /// ATTRIB_STATUS_RETRY_COUNT_EXCEEDED.
    pub const RETRY_COUNT: Self = Self(6);
    /// ATTRIB_STATUS_INVALID_FRAME_RECEIVED.
    pub const INVALID_FRAME: Self = Self(7);
    /// ATTRIB_STATUS_NEGOTIATION_TIMEOUT.
    pub const TIMEOUT: Self = Self(8);
    /// ATTRIB_STATUS_ATTRIB_NOT_SUPPORTED_IN_MSG.
    pub const NOT_IN_MESSAGE: Self = Self(9);
    /// ATTRIB_STATUS_REQUIRED_ATTRIBUTE_MISSING.
    pub const MISSING: Self = Self(10);
    /// ATTRIB_STATUS_STATUS_INFO_NOT_SUPPORTED_IN_MSG.
    pub const STATUS_NOT_IN_MESSAGE: Self = Self(11);
}

/// What a Status Info says of an attribute.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StatusInfo {
    /// Of which attribute; 0: of none.
    pub attribute: u8,
    /// What.
    pub status: Status,
    /// The first octets of a value that was refused, 64 at most.
    pub value: Vec<u8>,
}

impl StatusInfo {
    /// That status of that attribute.
    #[must_use]
    pub const fn of(attribute: u8, status: Status) -> Self {
        Self { attribute, status, value: Vec::new() }
    }
}

/// A message that breaks the protocol: which attribute, what is told to the peer, and what a log says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Invalid {
    /// Of which attribute; 0: of none.
    pub attribute: u8,
    /// What the peer is told.
    pub status: Status,
    /// What it is.
    pub why: &'static str,
}

/// What a client proves by Call Connected ([MS-SSTP] §2.2.7). `Debug` shows what went over the wire inside of TLS.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CryptoBinding {
    /// The one hash that it uses, as its bit.
    pub hash: u8,
    /// The server's nonce.
    pub nonce: [u8; 32],
    /// Of the server's certificate as the client saw it; zeros behind a shorter one.
    pub certificate: [u8; 32],
    /// Compound MAC; zeros behind a shorter one.
    pub mac: [u8; 32],
}

/// A control message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Message {
    /// SSTP_MSG_CALL_CONNECT_REQUEST.
    ConnectRequest {
        /// What is to be carried: 1 is PPP.
        protocol: u16,
    },
    /// SSTP_MSG_CALL_CONNECT_ACK.
    ConnectAck {
        /// A bit for each hash that the client may use.
        hashes: u8,
        /// What binds this connection.
        nonce: [u8; 32],
    },
    /// SSTP_MSG_CALL_CONNECT_NAK.
    ConnectNak(Vec<StatusInfo>),
    /// SSTP_MSG_CALL_CONNECTED.
    Connected(CryptoBinding),
    /// SSTP_MSG_CALL_ABORT.
    Abort(Option<StatusInfo>),
    /// SSTP_MSG_CALL_DISCONNECT.
    Disconnect(Option<StatusInfo>),
    /// SSTP_MSG_CALL_DISCONNECT_ACK.
    DisconnectAck,
    /// SSTP_MSG_ECHO_REQUEST.
    EchoRequest,
    /// SSTP_MSG_ECHO_RESPONSE.
    EchoResponse,
}

impl Message {
    /// The meaning of a control packet, whole, as [`next`](crate::wire::next) gives it.
    ///
    /// # Errors
    /// It breaks the protocol.
    pub fn parse(packet: &[u8]) -> Result<Self, Invalid> {
        let Some(([k0, k1, n0, n1], rest)) =
            packet.get(HEADER_LEN..).and_then(|body| body.split_first_chunk::<4>())
        else {
            return Err(invalid(attribute::NONE, Status::INVALID_FRAME, "a control packet without a type"));
        };
        let attributes = attributes(u16::from_be_bytes([*n0, *n1]), rest)?;
        match u16::from_be_bytes([*k0, *k1]) {
            1 => request(&attributes),
            2 => acknowledgement(&attributes),
            3 => Ok(Self::ConnectNak(attributes.iter().map(status_info).collect::<Result<_, _>>()?)),
            4 => connected(&attributes),
            5 => Ok(Self::Abort(farewell(&attributes)?)),
            6 => Ok(Self::Disconnect(farewell(&attributes)?)),
            kind @ 7..=9 if attributes.is_empty() => Ok(match kind {
                7 => Self::DisconnectAck,
                8 => Self::EchoRequest,
                _ => Self::EchoResponse,
            }),
            7..=9 => {
                Err(invalid(attribute::NONE, Status::NOT_IN_MESSAGE, "attributes in a message that has none"))
            }
            _ => Err(invalid(attribute::NONE, Status::INVALID_FRAME, "a message of an unknown type")),
        }
    }

    const fn kind(&self) -> u16 {
        match self {
            Self::ConnectRequest { .. } => 1,
            Self::ConnectAck { .. } => 2,
            Self::ConnectNak(_) => 3,
            Self::Connected(_) => 4,
            Self::Abort(_) => 5,
            Self::Disconnect(_) => 6,
            Self::DisconnectAck => 7,
            Self::EchoRequest => 8,
            Self::EchoResponse => 9,
        }
    }

    /// The packet's octets.
    #[must_use]
    pub fn emit(&self) -> Vec<u8> {
        let attributes: Vec<Vec<u8>> = match self {
            Self::ConnectRequest { protocol } => {
                vec![emit(attribute::ENCAPSULATED_PROTOCOL, &[&protocol.to_be_bytes()])]
            }
            Self::ConnectAck { hashes, nonce } => {
                vec![emit(attribute::CRYPTO_BINDING_REQUEST, &[&[0, 0, 0, *hashes], nonce])]
            }
            Self::ConnectNak(all) => all.iter().take(usize::from(MOST_ATTRIBUTES)).map(emit_status).collect(),
            Self::Connected(b) => {
                let parts: [&[u8]; 4] = [&[0, 0, 0, b.hash], &b.nonce, &b.certificate, &b.mac];
                vec![emit(attribute::CRYPTO_BINDING, &parts)]
            }
            Self::Abort(why) | Self::Disconnect(why) => why.iter().map(emit_status).collect(),
            Self::DisconnectAck | Self::EchoRequest | Self::EchoResponse => Vec::new(),
        };
        let count = u16::try_from(attributes.len()).unwrap_or_default();
        let attributes = attributes.concat();
        let mut out = Vec::with_capacity(HEADER_LEN + 4 + attributes.len());
        out.extend(header(true, attributes.len().saturating_add(4)));
        out.extend(self.kind().to_be_bytes());
        out.extend(count.to_be_bytes());
        out.extend(attributes);
        out
    }
}

const fn invalid(attribute: u8, status: Status, why: &'static str) -> Invalid {
    Invalid { attribute, status, why }
}

struct Attribute<'a> {
    id: u8,
    value: &'a [u8],
}

fn attributes(count: u16, mut rest: &[u8]) -> Result<Vec<Attribute<'_>>, Invalid> {
    let wrong = |id, why| invalid(id, Status::INVALID_LENGTH, why);
    if count > MOST_ATTRIBUTES {
        return Err(wrong(attribute::NONE, "more attributes than a message has"));
    }
    let mut all = Vec::with_capacity(usize::from(count));
    for _ in 0..count {
        let Some([_, id, high, low]) = rest.first_chunk::<ATTRIBUTE_LEN>() else {
            return Err(wrong(attribute::NONE, "fewer attributes than the message says"));
        };
        let length = usize::from(u16::from_be_bytes([*high, *low])) & 0xfff;
        let Some(value) = rest.get(ATTRIBUTE_LEN..length) else {
            return Err(wrong(*id, "an attribute that is shorter than its length says, or has none"));
        };
        all.push(Attribute { id: *id, value });
        rest = rest.get(length..).unwrap_or_default();
    }
    match rest.is_empty() {
        true => Ok(all),
        false => Err(wrong(attribute::NONE, "octets behind the last attribute")),
    }
}

/// The one attribute that a message has.
fn only<'a>(attributes: &[Attribute<'a>], wanted: u8) -> Result<&'a [u8], Invalid> {
    let mut found = None;
    for a in attributes {
        match a.id {
            id if id == wanted && found.is_some() => {
                return Err(invalid(id, Status::DUPLICATE, "an attribute that comes twice"));
            }
            id if id == wanted => found = Some(a.value),
            attribute::STATUS_INFO => {
                let why = "a Status Info in a message that has none";
                return Err(invalid(a.id, Status::STATUS_NOT_IN_MESSAGE, why));
            }
            id @ attribute::ENCAPSULATED_PROTOCOL..=attribute::CRYPTO_BINDING_REQUEST => {
                return Err(invalid(id, Status::NOT_IN_MESSAGE, "an attribute of another message"));
            }
            id => return Err(invalid(id, Status::UNRECOGNIZED, "an unknown attribute")),
        }
    }
    found.ok_or(invalid(wanted, Status::MISSING, "the message lacks its attribute"))
}

fn request(attributes: &[Attribute<'_>]) -> Result<Message, Invalid> {
    let id = attribute::ENCAPSULATED_PROTOCOL;
    let Ok(protocol) = <[u8; 2]>::try_from(only(attributes, id)?) else {
        return Err(invalid(id, Status::INVALID_LENGTH, "a protocol that is not two octets"));
    };
    Ok(Message::ConnectRequest { protocol: u16::from_be_bytes(protocol) })
}

fn acknowledgement(attributes: &[Attribute<'_>]) -> Result<Message, Invalid> {
    let id = attribute::CRYPTO_BINDING_REQUEST;
    match only(attributes, id)?.split_first_chunk::<4>() {
        Some(([_, _, _, hashes], nonce)) if nonce.len() == 32 => {
            Ok(Message::ConnectAck { hashes: *hashes, nonce: array(nonce) })
        }
        _ => Err(invalid(id, Status::INVALID_LENGTH, "a Crypto Binding Request of a wrong length")),
    }
}

fn connected(attributes: &[Attribute<'_>]) -> Result<Message, Invalid> {
    let id = attribute::CRYPTO_BINDING;
    let value = only(attributes, id)?;
    let Some(([_, _, _, hash], rest)) = value.split_first_chunk::<4>().filter(|(_, rest)| rest.len() == 96)
    else {
        return Err(invalid(id, Status::INVALID_LENGTH, "a Crypto Binding of a wrong length"));
    };
    let part = |at: usize| array(rest.get(at..at.saturating_add(32)).unwrap_or_default());
    let binding = CryptoBinding { hash: *hash, nonce: part(0), certificate: part(32), mac: part(64) };
    Ok(Message::Connected(binding))
}

/// Thirty-two octets; zeros where there are fewer.
fn array(bytes: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
    out
}

fn farewell(attributes: &[Attribute<'_>]) -> Result<Option<StatusInfo>, Invalid> {
    attributes.first().map(status_info).transpose()
}

fn status_info(a: &Attribute<'_>) -> Result<StatusInfo, Invalid> {
    if a.id != attribute::STATUS_INFO {
        return Err(invalid(a.id, Status::NOT_IN_MESSAGE, "an attribute of another message"));
    }
    let Some(([_, _, _, id, s0, s1, s2, s3], value)) = a.value.split_first_chunk::<8>() else {
        return Err(invalid(a.id, Status::INVALID_LENGTH, "a Status Info of a wrong length"));
    };
    let status = Status(u32::from_be_bytes([*s0, *s1, *s2, *s3]));
    Ok(StatusInfo { attribute: *id, status, value: value.iter().take(MOST_VALUE).copied().collect() })
}

fn emit_status(info: &StatusInfo) -> Vec<u8> {
    let value = info.value.get(..MOST_VALUE).unwrap_or(&info.value);
    emit(attribute::STATUS_INFO, &[&[0, 0, 0, info.attribute], &info.status.0.to_be_bytes(), value])
}

fn emit(id: u8, parts: &[&[u8]]) -> Vec<u8> {
    let value = parts.concat();
    let length = u16::try_from(value.len().saturating_add(ATTRIBUTE_LEN)).unwrap_or_default();
    let mut out = vec![0, id];
    out.extend(length.to_be_bytes());
    out.extend(value);
    out
}

impl HashProtocol {
    /// Its bit in the Hash Protocol Bitmask ([MS-SSTP] §2.2.6).
    #[must_use]
    pub const fn bit(self) -> u8 {
        match self {
            Self::Sha1 => 1,
            Self::Sha256 => 2,
        }
    }
}
