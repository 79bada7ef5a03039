use adit_core::DecodeError;

use crate::wire::{EncodeError, Reader, count8, patch_length, registry};

registry! {
    /// Security Protocol Identifier.
    Protocol(u8) {
        /// None: where a payload names no SA.
        NONE = 0,
        /// IKE.
        IKE = 1,
        /// AH.
        AH = 2,
        /// ESP.
        ESP = 3,
    }
}

registry! {
    /// Transform Type (RFC 7296 §3.3.2).
    TransformType(u8) {
        /// Encryption Algorithm.
        ENCR = 1,
        /// Pseudorandom Function.
        PRF = 2,
        /// Integrity Algorithm.
        INTEG = 3,
        /// Key Exchange Method.
        KE = 4,
        /// Extended Sequence Numbers (Sequence Numbers since RFC 9827).
        ESN = 5,
        /// Additional Key Exchange 1 (RFC 9370). Those up to 7 follow.
        ADDKE1 = 6,
        /// Additional Key Exchange 7.
        ADDKE7 = 12,
    }
}

/// SA (RFC 7296 §3.3): proposals, best first.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct SecurityAssociation {
    /// The proposals.
    pub proposals: Vec<Proposal>,
}

/// One proposal (RFC 7296 §3.3.1).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Proposal {
    /// Proposal Num: 1, 2, 3 … in a request, the chosen one in an answer.
    pub number: u8,
    /// IKE, AH or ESP.
    pub protocol: Protocol,
    /// The sender's SPI: empty (IKE_SA_INIT), 8 bytes (rekeying an IKE_SA) or 4 (AH, ESP).
    pub spi: Vec<u8>,
    /// Transforms, of each type best first.
    pub transforms: Vec<Transform>,
}

/// One transform (RFC 7296 §3.3.2), known or not.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Transform {
    /// Transform Type.
    pub kind: TransformType,
    /// Transform ID.
    pub id: u16,
    /// The Key Length attribute, in bits.
    pub key_length: Option<u16>,
    /// Any other attribute: who has one is not understood.
    pub others: Vec<Attribute>,
}

/// An attribute of a transform (RFC 7296 §3.3.5, RFC 2408 §3.3); in IKEv2 one that Adit does not know.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Attribute {
    /// Attribute Type, 15 bits.
    pub kind: u16,
    /// Its value.
    pub value: AttributeValue,
}

/// An attribute's value.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum AttributeValue {
    /// TV: two bytes.
    Short(u16),
    /// TLV.
    Long(Vec<u8>),
}

const KEY_LENGTH: u16 = 14;
pub(crate) const PROPOSAL_FOLLOWS: u8 = 2;
pub(crate) const TRANSFORM_FOLLOWS: u8 = 3;

impl SecurityAssociation {
    pub(super) fn read(mut r: Reader<'_>) -> Result<Self, DecodeError> {
        let mut proposals: Vec<Proposal> = Vec::new();
        loop {
            let at = r.at();
            let (more, proposal) = Proposal::read(&mut r)?;
            let previous = proposals.last().map(|p| p.number);
            // RFC 7296 §3.3.1: the first is 1, each following is one more. An answer has one with any number.
            // [7296:3.3-3] [7296:3.3.1-3]
            if previous.is_some_and(|n| n.checked_add(1) != Some(proposal.number)) {
                return Err(DecodeError::new(at, "the proposals are not numbered one by one"));
            }
            // [7296:3.3-4]
            if more && previous.is_none() && proposal.number != 1 {
                return Err(DecodeError::new(at, "the first proposal's number is not 1"));
            }
            proposals.push(proposal);
            if !more {
                break;
            }
        }
        r.end("there are bytes after the last proposal")?;
        Ok(Self { proposals })
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        let last = self.proposals.len().saturating_sub(1);
        self.proposals.iter().enumerate().try_for_each(|(i, p)| p.write(i < last, out))
    }
}

impl Proposal {
    /// Its transforms of one type, in order.
    pub fn of(&self, kind: TransformType) -> impl Iterator<Item = &Transform> {
        self.transforms.iter().filter(move |t| t.kind == kind)
    }

    fn read(outer: &mut Reader<'_>) -> Result<(bool, Self), DecodeError> {
        let cut = "the proposal is cut off";
        let more = follows(outer.u8(cut)?, PROPOSAL_FOLLOWS, outer)?;
        // [7296:3.3.1-2]
        outer.u8(cut)?;
        let length_at = outer.at();
        let length = usize::from(outer.u16(cut)?);
        let rest = length
            .checked_sub(4)
            .ok_or(DecodeError::new(length_at, "the proposal's length is less than its header"))?;
        let mut r = outer.part(rest, cut)?;
        let number_at = r.at();
        let number = r.u8(cut)?;
        if number == 0 {
            return Err(DecodeError::new(number_at, "a proposal's number is 0"));
        }
        let protocol = Protocol(r.u8(cut)?);
        let size_at = r.at();
        let spi_size = r.u8(cut)?;
        let fits = match protocol {
            Protocol::IKE => spi_size == 0 || spi_size == 8,
            Protocol::AH | Protocol::ESP => spi_size == 4,
            _ => true,
        };
        if !fits {
            return Err(DecodeError::new(size_at, "the SPI size is not the protocol's"));
        }
        let count = r.u8(cut)?;
        let spi = r.take(usize::from(spi_size), cut)?.to_vec();
        let mut transforms = Vec::with_capacity(usize::from(count).min(r.len() / 8));
        for i in 1..=count {
            let at = r.at();
            let (more, transform) = Transform::read(&mut r)?;
            // [7296:3.3-2]
            if more != (i < count) {
                return Err(DecodeError::new(at, "Last Substruc and the number of transforms disagree"));
            }
            transforms.push(transform);
        }
        // [7296:3.3-2]
        r.end("there are bytes after the last transform")?;
        let proposal = Self { number, protocol, spi, transforms };
        Ok((more, proposal))
    }

    fn write(&self, more: bool, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        let start = out.len();
        // [7296:3.3.1-1]
        out.extend_from_slice(&[if more { PROPOSAL_FOLLOWS } else { 0 }, 0, 0, 0]);
        out.extend_from_slice(&[
            self.number,
            self.protocol.0,
            count8(self.spi.len(), "an SPI")?,
            count8(self.transforms.len(), "the list of transforms")?,
        ]);
        out.extend_from_slice(&self.spi);
        let last = self.transforms.len().saturating_sub(1);
        for (i, transform) in self.transforms.iter().enumerate() {
            transform.write(i < last, out)?;
        }
        patch_length(out, start, "a proposal")
    }
}

impl Transform {
    /// A transform without attributes.
    #[must_use]
    pub const fn new(kind: TransformType, id: u16) -> Self {
        Self { kind, id, key_length: None, others: Vec::new() }
    }

    fn read(outer: &mut Reader<'_>) -> Result<(bool, Self), DecodeError> {
        let cut = "the transform is cut off";
        let more = follows(outer.u8(cut)?, TRANSFORM_FOLLOWS, outer)?;
        // [7296:3.3.2-2]
        outer.u8(cut)?;
        let length_at = outer.at();
        let length = usize::from(outer.u16(cut)?);
        let rest = length
            .checked_sub(4)
            .ok_or(DecodeError::new(length_at, "the transform's length is less than its header"))?;
        let mut r = outer.part(rest, cut)?;
        let mut transform = Self::new(TransformType(r.u8(cut)?), 0);
        r.u8(cut)?;
        transform.id = r.u16(cut)?;
        while !r.is_empty() {
            let attribute = Attribute::read(&mut r)?;
            match attribute.value {
                AttributeValue::Short(bits)
                    // [7296:3.3-6]
                    if attribute.kind == KEY_LENGTH && transform.key_length.is_none() =>
                {
                    transform.key_length = Some(bits);
                }
                _ => transform.others.push(attribute),
            }
        }
        Ok((more, transform))
    }

    fn write(&self, more: bool, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        let start = out.len();
        // [7296:3.3.2-1]
        out.extend_from_slice(&[if more { TRANSFORM_FOLLOWS } else { 0 }, 0, 0, 0]);
        out.extend_from_slice(&[self.kind.0, 0]);
        out.extend_from_slice(&self.id.to_be_bytes());
        if let Some(bits) = self.key_length {
            // [7296:3.3.5-3]
            out.extend_from_slice(&(0x8000 | KEY_LENGTH).to_be_bytes());
            out.extend_from_slice(&bits.to_be_bytes());
        }
        self.others.iter().try_for_each(|a| a.write(out))?;
        patch_length(out, start, "a transform")
    }
}

impl Attribute {
    pub(crate) fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let cut = "the transform attribute is cut off";
        let head = r.u16(cut)?;
        let kind = head & 0x7fff;
        let value = if head & 0x8000 == 0 {
            let length = r.u16(cut)?;
            AttributeValue::Long(r.take(usize::from(length), cut)?.to_vec())
        } else {
            AttributeValue::Short(r.u16(cut)?)
        };
        Ok(Self { kind, value })
    }

    pub(crate) fn write(&self, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        let kind = self.kind & 0x7fff;
        match &self.value {
            AttributeValue::Short(value) => {
                // [7296:3.3.5-1]
                out.extend_from_slice(&(0x8000 | kind).to_be_bytes());
                out.extend_from_slice(&value.to_be_bytes());
            }
            AttributeValue::Long(value) => {
                let length =
                    u16::try_from(value.len()).map_err(|_| EncodeError { what: "a transform attribute" })?;
                // [7296:3.3.5-2]
                out.extend_from_slice(&kind.to_be_bytes());
                out.extend_from_slice(&length.to_be_bytes());
                out.extend_from_slice(value);
            }
        }
        Ok(())
    }
}

/// Last Substruc: 0, or the one value that says that another follows. `after` stands behind the byte.
pub(crate) fn follows(byte: u8, another: u8, after: &Reader<'_>) -> Result<bool, DecodeError> {
    match byte {
        0 => Ok(false),
        b if b == another => Ok(true),
        _ => Err(DecodeError::new(
            after.at().saturating_sub(1),
            "Last Substruc is neither 0 nor the value for another",
        )),
    }
}
