//! Payloads of IKEv2 (RFC 7296 §3.2): the chain as it lies in a message, and what each payload means.

mod auth;
mod cert;
mod cp;
mod delete;
mod eap;
mod id;
mod ke;
mod notify;
mod ppk;
mod sa;
mod ticket;
mod ts;

pub use auth::{AuthMethod, Authentication};
pub use cert::{Certificate, CertificateEncoding, CertificateRequest};
pub use cp::{ConfigAttribute, ConfigType, Configuration};
pub use delete::Delete;
pub use eap::Eap;
pub use id::Identification;
pub use ke::KeyExchangeData;
pub use notify::{Notify, NotifyType};
pub use ppk::PpkId;
pub use sa::{Attribute, AttributeValue, Proposal, Protocol, SecurityAssociation, Transform, TransformType};
pub(crate) use sa::{PROPOSAL_FOLLOWS, TRANSFORM_FOLLOWS, follows};
pub use ticket::TicketLtOpaque;
pub use ts::{Selector, TrafficSelectors};

use adit_core::DecodeError;

use crate::wire::{EncodeError, Reader, patch_length, registry};

/// Payloads that one message may have. Beyond it the message is refused.
pub const MAX_PAYLOADS: usize = 64;

/// Bytes of the generic payload header.
pub(crate) const GENERIC_LEN: usize = 4;

registry! {
    /// Payload type, as Next Payload names it.
    PayloadType(u8) {
        /// No next payload.
        NONE = 0,
        /// Security Association.
        SA = 33,
        /// Key Exchange.
        KE = 34,
        /// Identification, initiator.
        ID_I = 35,
        /// Identification, responder.
        ID_R = 36,
        /// Certificate.
        CERT = 37,
        /// Certificate Request.
        CERTREQ = 38,
        /// Authentication.
        AUTH = 39,
        /// Nonce.
        NONCE = 40,
        /// Notify.
        NOTIFY = 41,
        /// Delete.
        DELETE = 42,
        /// Vendor ID.
        VENDOR = 43,
        /// Traffic Selectors, initiator.
        TS_I = 44,
        /// Traffic Selectors, responder.
        TS_R = 45,
        /// Encrypted and Authenticated.
        SK = 46,
        /// Configuration.
        CP = 47,
        /// Extensible Authentication.
        EAP = 48,
        /// Encrypted and Authenticated Fragment (RFC 7383).
        SKF = 53,
    }
}

/// One payload as it lies in a message: checked against the chain, its body not looked at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RawPayload<'a> {
    /// Its type.
    pub kind: PayloadType,
    /// The type that its own Next Payload field names: of SK and SKF the first one inside.
    pub next: PayloadType,
    /// The critical bit.
    pub critical: bool,
    /// Offset of `body` in the message.
    pub at: usize,
    /// Everything after the generic header.
    pub body: &'a [u8],
}

/// Walks a chain of payloads. Ends after the last, after SK or SKF, or at the first error.
#[derive(Clone, Debug)]
pub struct Payloads<'a> {
    next: PayloadType,
    rest: Reader<'a>,
    seen: usize,
    finished: bool,
}

impl<'a> Payloads<'a> {
    /// The chain in `bytes`, whose first payload is a `first`. `at` is the offset of `bytes` in the message.
    #[must_use]
    pub const fn new(first: PayloadType, bytes: &'a [u8], at: usize) -> Self {
        Self { next: first, rest: Reader::new(bytes, at), seen: 0, finished: false }
    }

    fn step(&mut self) -> Result<Option<RawPayload<'a>>, DecodeError> {
        if self.next == PayloadType::NONE {
            self.rest.end("there are bytes after the last payload")?;
            return Ok(None);
        }
        if self.seen == MAX_PAYLOADS {
            return Err(self.rest.error("the message has more than 64 payloads"));
        }
        self.seen = self.seen.saturating_add(1);
        let cut = "the generic payload header is cut off";
        let kind = self.next;
        let next = PayloadType(self.rest.u8(cut)?);
        // [7296:3.2-7]
        let critical = self.rest.u8(cut)? & 0x80 != 0;
        let length_at = self.rest.at();
        let length = usize::from(self.rest.u16(cut)?);
        let body_len = length
            .checked_sub(GENERIC_LEN)
            .ok_or(DecodeError::new(length_at, "the payload's length is less than its header"))?;
        let at = self.rest.at();
        let body = self.rest.take(body_len, "the payload is longer than the message")?;
        self.next = next;
        // [7296:3.1-1] [7296:3.14-1] [7383:2.5-1]
        if kind == PayloadType::SK || kind == PayloadType::SKF {
            self.rest.end("there are bytes after the encrypted payload")?;
            self.finished = true;
        }
        Ok(Some(RawPayload { kind, next, critical, at, body }))
    }
}

impl<'a> Iterator for Payloads<'a> {
    type Item = Result<RawPayload<'a>, DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.finished {
            return None;
        }
        let item = self.step().transpose();
        self.finished |= !matches!(item, Some(Ok(_)));
        item
    }
}

/// What a payload means.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Payload {
    /// SA.
    Sa(SecurityAssociation),
    /// KE.
    Ke(KeyExchangeData),
    /// IDi.
    IdI(Identification),
    /// IDr.
    IdR(Identification),
    /// CERT.
    Cert(Certificate),
    /// CERTREQ.
    CertReq(CertificateRequest),
    /// AUTH.
    Auth(Authentication),
    /// Ni or Nr: 16 to 256 bytes.
    Nonce(Vec<u8>),
    /// N.
    Notify(Notify),
    /// D.
    Delete(Delete),
    /// V: any bytes.
    Vendor(Vec<u8>),
    /// TSi.
    TsI(TrafficSelectors),
    /// TSr.
    TsR(TrafficSelectors),
    /// CP.
    Configuration(Configuration),
    /// EAP.
    Eap(Eap),
    /// SK, still closed: IV, ciphertext and ICV. Always the last.
    Sk {
        /// The type of the first payload inside.
        first: PayloadType,
        /// IV, ciphertext, ICV.
        body: Vec<u8>,
    },
    /// SKF, still closed (RFC 7383 §2.5). Always the last.
    Skf {
        /// The type of the first payload inside; NONE in every fragment but the first.
        first: PayloadType,
        /// Fragment Number: 1 to `total`.
        number: u16,
        /// Total Fragments.
        total: u16,
        /// IV, ciphertext, ICV.
        body: Vec<u8>,
    },
    /// A payload that Adit does not know.
    Unknown {
        /// Its type.
        kind: PayloadType,
        /// If set, the message must be refused with UNSUPPORTED_CRITICAL_PAYLOAD.
        critical: bool,
        /// Its body.
        body: Vec<u8>,
    },
}

impl Payload {
    /// Its type.
    #[must_use]
    pub const fn kind(&self) -> PayloadType {
        match self {
            Self::Sa(_) => PayloadType::SA,
            Self::Ke(_) => PayloadType::KE,
            Self::IdI(_) => PayloadType::ID_I,
            Self::IdR(_) => PayloadType::ID_R,
            Self::Cert(_) => PayloadType::CERT,
            Self::CertReq(_) => PayloadType::CERTREQ,
            Self::Auth(_) => PayloadType::AUTH,
            Self::Nonce(_) => PayloadType::NONCE,
            Self::Notify(_) => PayloadType::NOTIFY,
            Self::Delete(_) => PayloadType::DELETE,
            Self::Vendor(_) => PayloadType::VENDOR,
            Self::TsI(_) => PayloadType::TS_I,
            Self::TsR(_) => PayloadType::TS_R,
            Self::Configuration(_) => PayloadType::CP,
            Self::Eap(_) => PayloadType::EAP,
            Self::Sk { .. } => PayloadType::SK,
            Self::Skf { .. } => PayloadType::SKF,
            Self::Unknown { kind, .. } => *kind,
        }
    }

    /// Reads one payload. The critical bit of known payloads is ignored (RFC 7296 §2.5).
    ///
    /// # Errors
    /// What is wrong, at which byte of the message.
    pub fn parse(raw: &RawPayload<'_>) -> Result<Self, DecodeError> {
        let r = Reader::new(raw.body, raw.at);
        Ok(match raw.kind {
            // [7296:3.2-5] [7296:3.2-3]
            PayloadType::SA => Self::Sa(SecurityAssociation::read(r)?),
            PayloadType::KE => Self::Ke(KeyExchangeData::read(r)?),
            PayloadType::ID_I => Self::IdI(Identification::read(r)?),
            PayloadType::ID_R => Self::IdR(Identification::read(r)?),
            PayloadType::CERT => Self::Cert(Certificate::read(r)?),
            PayloadType::CERTREQ => Self::CertReq(CertificateRequest::read(r)?),
            PayloadType::AUTH => Self::Auth(Authentication::read(r)?),
            PayloadType::NONCE => Self::Nonce(read_nonce(r)?),
            PayloadType::NOTIFY => Self::Notify(Notify::read(r)?),
            PayloadType::DELETE => Self::Delete(Delete::read(r)?),
            // [7296:3.12-2]
            PayloadType::VENDOR => Self::Vendor(raw.body.to_vec()),
            PayloadType::TS_I => Self::TsI(TrafficSelectors::read(r)?),
            PayloadType::TS_R => Self::TsR(TrafficSelectors::read(r)?),
            PayloadType::CP => Self::Configuration(Configuration::read(r)?),
            PayloadType::EAP => Self::Eap(Eap::read(r)?),
            PayloadType::SK => Self::Sk { first: raw.next, body: raw.body.to_vec() },
            PayloadType::SKF => read_fragment(raw.next, r)?,
            // [7296:2.5-7] [7296:4-2]
            kind => Self::Unknown { kind, critical: raw.critical, body: raw.body.to_vec() },
        })
    }

    /// Appends the body, without the generic header.
    ///
    /// # Errors
    /// [`EncodeError`] if something in it does not fit its length field.
    pub fn emit(&self, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        match self {
            Self::Sa(p) => p.write(out)?,
            Self::Ke(p) => p.write(out),
            Self::IdI(p) | Self::IdR(p) => p.write(out),
            Self::Cert(p) => p.write(out),
            Self::CertReq(p) => p.write(out),
            Self::Auth(p) => p.write(out),
            Self::Notify(p) => p.write(out)?,
            Self::Delete(p) => p.write(out)?,
            Self::TsI(p) | Self::TsR(p) => p.write(out)?,
            Self::Configuration(p) => p.write(out)?,
            Self::Eap(p) => p.write(out)?,
            Self::Nonce(b) | Self::Vendor(b) | Self::Sk { body: b, .. } | Self::Unknown { body: b, .. } => {
                out.extend_from_slice(b);
            }
            Self::Skf { number, total, body, .. } => {
                out.extend_from_slice(&number.to_be_bytes());
                out.extend_from_slice(&total.to_be_bytes());
                out.extend_from_slice(body);
            }
        }
        Ok(())
    }

    const fn critical(&self) -> bool {
        // [7296:3.2-1] [7296:3.2-4] [7296:2.5-10] [7296:3.12-1]
        matches!(self, Self::Unknown { critical: true, .. })
    }
}

/// Reads a whole chain.
///
/// # Errors
/// The first thing that is wrong.
pub fn parse_chain(first: PayloadType, bytes: &[u8], at: usize) -> Result<Vec<Payload>, DecodeError> {
    Payloads::new(first, bytes, at).map(|raw| Payload::parse(&raw?)).collect()
}

/// The Next Payload value in front of these payloads.
#[must_use]
pub fn first_kind(payloads: &[Payload]) -> PayloadType {
    payloads.first().map_or(PayloadType::NONE, Payload::kind)
}

/// Appends a chain of payloads with their generic headers.
///
/// # Errors
/// [`EncodeError`] if a payload does not fit its length field.
pub fn emit_chain(payloads: &[Payload], out: &mut Vec<u8>) -> Result<(), EncodeError> {
    let mut following = payloads.iter().skip(1);
    for payload in payloads {
        let start = out.len();
        let next = following.next().map_or(PayloadType::NONE, Payload::kind);
        let next = match payload {
            Payload::Sk { first, .. } | Payload::Skf { first, .. } => *first,
            _ => next,
        };
        // [7296:3.2-6]
        out.extend_from_slice(&[next.0, if payload.critical() { 0x80 } else { 0 }, 0, 0]);
        payload.emit(out)?;
        patch_length(out, start, "a payload")?;
    }
    Ok(())
}

fn read_nonce(mut r: Reader<'_>) -> Result<Vec<u8>, DecodeError> {
    // [7296:3.9-1]
    if !(16..=256).contains(&r.len()) {
        return Err(r.error("a nonce has 16 to 256 bytes"));
    }
    Ok(r.rest().to_vec())
}

fn read_fragment(first: PayloadType, mut r: Reader<'_>) -> Result<Payload, DecodeError> {
    let at = r.at();
    let number = r.u16("the fragment number is cut off")?;
    let total = r.u16("the number of fragments is cut off")?;
    // [7383:2.5-4] [7383:2.5-5] [7383:2.5-6] [7383:2.6-1]
    if number == 0 || number > total {
        return Err(DecodeError::new(at, "the fragment number is not in 1 to the number of fragments"));
    }
    Ok(Payload::Skf { first, number, total, body: r.rest().to_vec() })
}
