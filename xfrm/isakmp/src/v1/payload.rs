//! Payloads of IKEv1 (RFC 2408 §3, RFC 2407 §4.6): the chain as it lies in a message, and what each payload means.

use adit_core::DecodeError;

use super::id::Identification;
use super::sa::SecurityAssociation;
use crate::payload::{Protocol, RawPayload};
use crate::wire::{EncodeError, Reader, count8, patch_length, registry};

/// Payloads that one message may have. Beyond it the message is refused.
pub const MAX_PAYLOADS: usize = 64;

/// SPIs that one Delete may name.
const MAX_SPIS: u16 = 256;

const GENERIC_LEN: usize = 4;

/// DOI: IPsec (RFC 2407).
pub(super) const IPSEC_DOI: u32 = 1;

registry! {
    /// Payload type, as Next Payload names it.
    Kind(u8) {
        /// No next payload.
        NONE = 0,
        /// Security Association.
        SA = 1,
        /// Key Exchange.
        KE = 4,
        /// Identification.
        ID = 5,
        /// Certificate.
        CERT = 6,
        /// Certificate Request.
        CERTREQ = 7,
        /// Hash.
        HASH = 8,
        /// Signature.
        SIG = 9,
        /// Nonce.
        NONCE = 10,
        /// Notification.
        NOTIFY = 11,
        /// Delete.
        DELETE = 12,
        /// Vendor ID.
        VENDOR = 13,
        /// NAT Discovery (RFC 3947).
        NAT_D = 20,
        /// NAT Original Address (RFC 3947).
        NAT_OA = 21,
        /// NAT Discovery of the drafts of RFC 3947.
        NAT_D_DRAFT = 130,
        /// NAT Original Address of the drafts of RFC 3947.
        NAT_OA_DRAFT = 131,
        /// A fragment of a message (Cisco's and Microsoft's own).
        FRAGMENT = 132,
    }
}

registry! {
    /// Notify Message Type (RFC 2408 §3.14.1, RFC 2407 §4.6.3, RFC 3706). Below 16384 it is an error.
    NotifyKind(u16) {
        /// A payload type that is not known.
        INVALID_PAYLOAD_TYPE = 1,
        /// The cookies are nobody's.
        INVALID_COOKIE = 4,
        /// The major version is not spoken.
        INVALID_MAJOR_VERSION = 5,
        /// The exchange type is not spoken.
        INVALID_EXCHANGE_TYPE = 7,
        /// The Message ID is not known.
        INVALID_MESSAGE_ID = 9,
        /// An SPI that is nobody's.
        INVALID_SPI = 11,
        /// An attribute has a value that is not known.
        ATTRIBUTES_NOT_SUPPORTED = 13,
        /// No proposal is acceptable.
        NO_PROPOSAL_CHOSEN = 14,
        /// A proposal is malformed.
        BAD_PROPOSAL_SYNTAX = 15,
        /// A payload can't be read: often the keys differ, since the pre-shared keys do.
        PAYLOAD_MALFORMED = 16,
        /// The key exchange value is not valid.
        INVALID_KEY_INFORMATION = 17,
        /// The identity, or the traffic that is asked for, is not acceptable.
        INVALID_ID_INFORMATION = 18,
        /// The certificate is not valid.
        INVALID_CERTIFICATE = 20,
        /// The HASH is wrong.
        INVALID_HASH_INFORMATION = 23,
        /// Who you are could not be proven.
        AUTHENTICATION_FAILED = 24,
        /// The signature is wrong.
        INVALID_SIGNATURE = 25,
        /// An SA is in use (the commit bit).
        CONNECTED = 16384,
        /// The responder's own lifetimes.
        RESPONDER_LIFETIME = 24576,
        /// Replay protection is on or off.
        REPLAY_STATUS = 24577,
        /// This is the only SA with this peer.
        INITIAL_CONTACT = 24578,
        /// RFC 3706: are you there?
        R_U_THERE = 36136,
        /// RFC 3706: yes.
        R_U_THERE_ACK = 36137,
    }
}

/// Certificate encoding: X.509 Certificate - Signature.
pub const X509_SIGNATURE: u8 = 4;

/// CERT or CERTREQ.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CertData {
    /// Certificate encoding.
    pub encoding: u8,
    /// The certificate, or the distinguished name of the authority that is wanted; empty: any.
    pub data: Vec<u8>,
}

/// Notification (RFC 2408 §3.14).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Notify {
    /// Domain of interpretation: IPsec, or 0 (ISAKMP).
    pub doi: u32,
    /// What `spi` names.
    pub protocol: Protocol,
    /// The SPI: both cookies, or an SA's SPI, or nothing.
    pub spi: Vec<u8>,
    /// What it says.
    pub kind: NotifyKind,
    /// More of it.
    pub data: Vec<u8>,
}

/// Delete (RFC 2408 §3.15).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Delete {
    /// Domain of interpretation.
    pub doi: u32,
    /// What the SPIs name.
    pub protocol: Protocol,
    /// SPIs, each as long as the first.
    pub spis: Vec<Vec<u8>>,
}

/// A fragment of a whole message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fragment {
    /// Which message it is of.
    pub id: u16,
    /// Its place, from 1.
    pub number: u8,
    /// Whether it is the last one.
    pub last: bool,
    /// The bytes.
    pub data: Vec<u8>,
}

/// What a payload means.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Payload {
    /// SA.
    Sa(SecurityAssociation),
    /// KE.
    Ke(Vec<u8>),
    /// ID.
    Id(Identification),
    /// CERT.
    Cert(CertData),
    /// CERTREQ.
    CertReq(CertData),
    /// HASH.
    Hash(Vec<u8>),
    /// SIG.
    Signature(Vec<u8>),
    /// NONCE: 8 to 256 bytes.
    Nonce(Vec<u8>),
    /// N.
    Notify(Notify),
    /// D.
    Delete(Delete),
    /// VID.
    Vendor(Vec<u8>),
    /// NAT-D: a hash. `draft`: with the payload type of RFC 3947's drafts.
    NatD {
        /// Of the drafts.
        draft: bool,
        /// The hash.
        hash: Vec<u8>,
    },
    /// NAT-OA: an address as an ID payload has it.
    NatOa {
        /// Of the drafts.
        draft: bool,
        /// The address.
        address: Identification,
    },
    /// A fragment.
    Fragment(Fragment),
    /// A payload that Adit does not know.
    Unknown {
        /// Its type.
        kind: Kind,
        /// Its body.
        body: Vec<u8>,
    },
}

impl Payload {
    /// Its type.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Sa(_) => Kind::SA,
            Self::Ke(_) => Kind::KE,
            Self::Id(_) => Kind::ID,
            Self::Cert(_) => Kind::CERT,
            Self::CertReq(_) => Kind::CERTREQ,
            Self::Hash(_) => Kind::HASH,
            Self::Signature(_) => Kind::SIG,
            Self::Nonce(_) => Kind::NONCE,
            Self::Notify(_) => Kind::NOTIFY,
            Self::Delete(_) => Kind::DELETE,
            Self::Vendor(_) => Kind::VENDOR,
            Self::NatD { draft: false, .. } => Kind::NAT_D,
            Self::NatD { draft: true, .. } => Kind::NAT_D_DRAFT,
            Self::NatOa { draft: false, .. } => Kind::NAT_OA,
            Self::NatOa { draft: true, .. } => Kind::NAT_OA_DRAFT,
            Self::Fragment(_) => Kind::FRAGMENT,
            Self::Unknown { kind, .. } => *kind,
        }
    }

    /// Reads one payload.
    ///
    /// # Errors
    /// What is wrong, at which byte of the message.
    pub fn parse(raw: &RawPayload<'_>) -> Result<Self, DecodeError> {
        let r = Reader::new(raw.body, raw.at);
        let bytes = || raw.body.to_vec();
        let kind = Kind(raw.kind.0);
        Ok(match kind {
            Kind::SA => Self::Sa(SecurityAssociation::read(r)?),
            Kind::KE => Self::Ke(bytes()),
            Kind::ID => Self::Id(Identification::read(r)?),
            Kind::CERT => Self::Cert(CertData::read(r)?),
            Kind::CERTREQ => Self::CertReq(CertData::read(r)?),
            Kind::HASH => Self::Hash(bytes()),
            Kind::SIG => Self::Signature(bytes()),
            // [2409:5-5]
            Kind::NONCE if (8..=256).contains(&raw.body.len()) => Self::Nonce(bytes()),
            Kind::NONCE => return Err(r.error("a nonce has 8 to 256 bytes")),
            Kind::NOTIFY => Self::Notify(Notify::read(r)?),
            Kind::DELETE => Self::Delete(Delete::read(r)?),
            Kind::VENDOR => Self::Vendor(bytes()),
            Kind::NAT_D | Kind::NAT_D_DRAFT => Self::NatD { draft: kind == Kind::NAT_D_DRAFT, hash: bytes() },
            Kind::NAT_OA | Kind::NAT_OA_DRAFT => {
                Self::NatOa { draft: kind == Kind::NAT_OA_DRAFT, address: Identification::read(r)? }
            }
            Kind::FRAGMENT => Self::Fragment(Fragment::read(r)?),
            kind => Self::Unknown { kind, body: bytes() },
        })
    }

    /// Appends the body, without the generic header.
    ///
    /// # Errors
    /// [`EncodeError`] if something in it does not fit its length field.
    pub fn emit(&self, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        match self {
            Self::Sa(p) => p.write(out)?,
            Self::Id(p) | Self::NatOa { address: p, .. } => p.write(out),
            Self::Cert(p) | Self::CertReq(p) => {
                out.push(p.encoding);
                out.extend_from_slice(&p.data);
            }
            Self::Notify(p) => p.write(out)?,
            Self::Delete(p) => p.write(out)?,
            Self::Fragment(p) => p.write(out),
            Self::Ke(b)
            | Self::Hash(b)
            | Self::Signature(b)
            | Self::Nonce(b)
            | Self::Vendor(b)
            | Self::NatD { hash: b, .. }
            | Self::Unknown { body: b, .. } => out.extend_from_slice(b),
        }
        Ok(())
    }

    /// The body alone, as the hashes of RFC 2409 §5 cover it.
    ///
    /// # Errors
    /// [`EncodeError`] if something in it does not fit its length field.
    pub fn body(&self) -> Result<Vec<u8>, EncodeError> {
        let mut out = Vec::new();
        self.emit(&mut out)?;
        Ok(out)
    }
}

/// Walks a chain of payloads. With `padded` there may be bytes after the last one (RFC 2409 §B: padding of what was
/// encrypted).
///
/// # Errors
/// The first thing that is wrong.
pub fn parse_chain(
    first: Kind,
    bytes: &[u8],
    at: usize,
    padded: bool,
) -> Result<Vec<(Payload, core::ops::Range<usize>)>, DecodeError> {
    let mut r = Reader::new(bytes, at);
    let mut kind = first;
    let mut out = Vec::new();
    while kind != Kind::NONE {
        if out.len() == MAX_PAYLOADS {
            return Err(r.error("the message has more than 64 payloads"));
        }
        let cut = "the generic payload header is cut off";
        let next = Kind(r.u8(cut)?);
        if r.u8(cut)? != 0 {
            return Err(r.error("a payload's reserved byte is not 0"));
        }
        let length_at = r.at();
        let length = usize::from(r.u16(cut)?);
        // [2408:3.4-1]
        let body_len = length
            .checked_sub(GENERIC_LEN)
            .ok_or(DecodeError::new(length_at, "the payload's length is less than its header"))?;
        let body_at = r.at();
        let body = r.take(body_len, "the payload is longer than the message")?;
        let raw = RawPayload {
            kind: crate::PayloadType(kind.0),
            next: crate::PayloadType(next.0),
            critical: false,
            at: body_at,
            body,
        };
        out.push((Payload::parse(&raw)?, body_at..r.at()));
        kind = next;
    }
    if !padded {
        r.end("there are bytes after the last payload")?;
    }
    Ok(out)
}

/// The Next Payload value in front of these payloads.
#[must_use]
pub fn first_kind(payloads: &[Payload]) -> Kind {
    payloads.first().map_or(Kind::NONE, Payload::kind)
}

/// Appends a chain of payloads with their generic headers.
///
/// # Errors
/// [`EncodeError`] if a payload does not fit its length field.
pub fn emit_chain(payloads: &[Payload], out: &mut Vec<u8>) -> Result<(), EncodeError> {
    let mut following = payloads.iter().skip(1);
    for payload in payloads {
        let start = out.len();
        let next = following.next().map_or(Kind::NONE, Payload::kind);
        out.extend_from_slice(&[next.0, 0, 0, 0]);
        payload.emit(out)?;
        patch_length(out, start, "a payload")?;
    }
    Ok(())
}

impl CertData {
    /// An X.509 certificate, or the name of an authority of such.
    #[must_use]
    pub const fn x509(data: Vec<u8>) -> Self {
        Self { encoding: X509_SIGNATURE, data }
    }

    fn read(mut r: Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self { encoding: r.u8("the certificate encoding is cut off")?, data: r.rest().to_vec() })
    }
}

impl Notify {
    /// One of the IPsec DOI.
    #[must_use]
    pub const fn new(protocol: Protocol, spi: Vec<u8>, kind: NotifyKind, data: Vec<u8>) -> Self {
        Self { doi: IPSEC_DOI, protocol, spi, kind, data }
    }

    /// Whether it says that something went wrong.
    #[must_use]
    pub const fn is_error(&self) -> bool {
        self.kind.0 < NotifyKind::CONNECTED.0
    }

    fn read(mut r: Reader<'_>) -> Result<Self, DecodeError> {
        let cut = "the notification is cut off";
        let doi = r.u32(cut)?;
        let protocol = Protocol(r.u8(cut)?);
        let size = usize::from(r.u8(cut)?);
        let kind = NotifyKind(r.u16(cut)?);
        let spi = r.take(size, cut)?.to_vec();
        Ok(Self { doi, protocol, spi, kind, data: r.rest().to_vec() })
    }

    fn write(&self, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        out.extend_from_slice(&self.doi.to_be_bytes());
        out.extend_from_slice(&[self.protocol.0, count8(self.spi.len(), "an SPI")?]);
        out.extend_from_slice(&self.kind.0.to_be_bytes());
        out.extend_from_slice(&self.spi);
        out.extend_from_slice(&self.data);
        Ok(())
    }
}

impl Delete {
    /// Of SAs of the IPsec DOI.
    #[must_use]
    pub const fn new(protocol: Protocol, spis: Vec<Vec<u8>>) -> Self {
        Self { doi: IPSEC_DOI, protocol, spis }
    }

    fn read(mut r: Reader<'_>) -> Result<Self, DecodeError> {
        let cut = "the Delete payload is cut off";
        let doi = r.u32(cut)?;
        let protocol = Protocol(r.u8(cut)?);
        let size_at = r.at();
        let size = usize::from(r.u8(cut)?);
        let count = r.u16(cut)?;
        if size == 0 || count > MAX_SPIS {
            return Err(DecodeError::new(size_at, "a Delete has SPIs, and at most 256"));
        }
        let spis = (0..count).map(|_| r.take(size, cut).map(<[u8]>::to_vec)).collect::<Result<_, _>>()?;
        r.end("there are bytes after the last SPI")?;
        Ok(Self { doi, protocol, spis })
    }

    fn write(&self, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        let size = self.spis.first().map_or(4, Vec::len);
        let count = u16::try_from(self.spis.len()).map_err(|_| EncodeError { what: "the list of SPIs" })?;
        out.extend_from_slice(&self.doi.to_be_bytes());
        out.extend_from_slice(&[self.protocol.0, count8(size, "an SPI")?]);
        out.extend_from_slice(&count.to_be_bytes());
        self.spis.iter().for_each(|spi| out.extend_from_slice(spi));
        Ok(())
    }
}

impl Fragment {
    fn read(mut r: Reader<'_>) -> Result<Self, DecodeError> {
        let cut = "the fragment is cut off";
        let id = r.u16(cut)?;
        let at = r.at();
        let number = r.u8(cut)?;
        if number == 0 {
            return Err(DecodeError::new(at, "fragments are numbered from 1"));
        }
        let last = r.u8(cut)? & 1 != 0;
        Ok(Self { id, number, last, data: r.rest().to_vec() })
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.id.to_be_bytes());
        out.extend_from_slice(&[self.number, u8::from(self.last)]);
        out.extend_from_slice(&self.data);
    }
}
