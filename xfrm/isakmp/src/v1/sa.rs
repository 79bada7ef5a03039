//! SA (RFC 2408 §3.4 to §3.6): proposals, their transforms, and the attributes that make up a transform.

use adit_core::DecodeError;

use super::payload::IPSEC_DOI;
use crate::payload::{Attribute, AttributeValue, PROPOSAL_FOLLOWS, Protocol, TRANSFORM_FOLLOWS, follows};
use crate::wire::{EncodeError, Reader, count8, patch_length};

/// SIT_IDENTITY_ONLY (RFC 2407 §4.2.1).
const IDENTITY_ONLY: u32 = 1;

/// Transforms that one SA payload may have, in all its proposals.
const MAX_TRANSFORMS: usize = 512;

/// SA of the IPsec DOI: proposals, best first. Those of one number belong together (ESP and IPCOMP).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct SecurityAssociation {
    /// The proposals.
    pub proposals: Vec<Proposal>,
}

/// One proposal.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Proposal {
    /// Proposal number.
    pub number: u8,
    /// ISAKMP (1), AH, ESP, IPCOMP (4).
    pub protocol: Protocol,
    /// The sender's SPI: nothing or anything in phase 1, 4 bytes of AH and ESP.
    pub spi: Vec<u8>,
    /// Transforms, best first: any one of them.
    pub transforms: Vec<Transform>,
}

/// One transform: everything that an SA needs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Transform {
    /// Transform number.
    pub number: u8,
    /// Transform ID: KEY_IKE (1) in phase 1, the cipher of ESP in phase 2.
    pub id: u8,
    /// Its attributes, in order and as they were encoded.
    pub attributes: Vec<Attribute>,
}

impl SecurityAssociation {
    pub(super) fn read(mut r: Reader<'_>) -> Result<Self, DecodeError> {
        let at = r.at();
        let cut = "the SA payload is cut off";
        // [2408:3.5-1]
        if r.u32(cut)? != IPSEC_DOI {
            return Err(DecodeError::new(at, "the DOI is not IPsec"));
        }
        if r.u32(cut)? != IDENTITY_ONLY {
            return Err(DecodeError::new(at.saturating_add(4), "the situation is not SIT_IDENTITY_ONLY"));
        }
        let mut proposals = Vec::new();
        let mut room = MAX_TRANSFORMS;
        loop {
            let (more, proposal) = Proposal::read(&mut r, &mut room)?;
            proposals.push(proposal);
            if !more {
                break;
            }
        }
        r.end("there are bytes after the last proposal")?;
        Ok(Self { proposals })
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        out.extend_from_slice(&IPSEC_DOI.to_be_bytes());
        out.extend_from_slice(&IDENTITY_ONLY.to_be_bytes());
        let last = self.proposals.len().saturating_sub(1);
        self.proposals.iter().enumerate().try_for_each(|(i, p)| p.write(i < last, out))
    }

    /// The proposal that stands alone under its number: what is not bundled with another protocol.
    pub fn alone(&self) -> impl Iterator<Item = &Proposal> {
        let count = |number| self.proposals.iter().filter(|p| p.number == number).count();
        self.proposals.iter().filter(move |p| count(p.number) == 1)
    }
}

impl Proposal {
    fn read(outer: &mut Reader<'_>, room: &mut usize) -> Result<(bool, Self), DecodeError> {
        let cut = "the proposal is cut off";
        let more = follows(outer.u8(cut)?, PROPOSAL_FOLLOWS, outer)?;
        let mut r = substructure(outer, cut)?;
        let number = r.u8(cut)?;
        let protocol = Protocol(r.u8(cut)?);
        let size = usize::from(r.u8(cut)?);
        let count = r.u8(cut)?;
        let spi = r.take(size, cut)?.to_vec();
        *room = room
            .checked_sub(usize::from(count))
            .ok_or(r.error("the SA payload has more than 512 transforms"))?;
        let mut transforms = Vec::with_capacity(usize::from(count).min(r.len() / 8));
        for i in 1..=count {
            let at = r.at();
            let (more, transform) = Transform::read(&mut r)?;
            if more != (i < count) {
                return Err(DecodeError::new(at, "Next Payload and the number of transforms disagree"));
            }
            transforms.push(transform);
        }
        r.end("there are bytes after the last transform")?;
        Ok((more, Self { number, protocol, spi, transforms }))
    }

    fn write(&self, more: bool, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        let start = out.len();
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
    /// The number that an attribute of this type has, if it has one that fits 64 bits.
    #[must_use]
    pub fn number_of(&self, kind: u16) -> Option<u64> {
        self.attributes.iter().find(|a| a.kind == kind).and_then(number)
    }

    /// The lifetime in seconds: the duration that follows the type for seconds. `kinds`: the attributes' types. If there
    /// are several, the shortest.
    #[must_use]
    pub fn seconds(&self, kinds: (u16, u16)) -> Option<u64> {
        self.durations(kinds, SECONDS)
    }

    /// The same of kilobytes.
    #[must_use]
    pub fn kilobytes(&self, kinds: (u16, u16)) -> Option<u64> {
        self.durations(kinds, KILOBYTES)
    }

    fn durations(&self, (life_type, duration): (u16, u16), wanted: u64) -> Option<u64> {
        let mut unit = None;
        let mut shortest = None;
        for attribute in &self.attributes {
            if attribute.kind == life_type {
                unit = number(attribute);
            } else if attribute.kind == duration && unit == Some(wanted) {
                let found = number(attribute).unwrap_or(u64::MAX);
                shortest = Some(shortest.map_or(found, |s: u64| s.min(found)));
            }
        }
        shortest
    }

    fn read(outer: &mut Reader<'_>) -> Result<(bool, Self), DecodeError> {
        let cut = "the transform is cut off";
        let more = follows(outer.u8(cut)?, TRANSFORM_FOLLOWS, outer)?;
        let mut r = substructure(outer, cut)?;
        let number = r.u8(cut)?;
        let id = r.u8(cut)?;
        r.u16(cut)?;
        let mut attributes = Vec::new();
        while !r.is_empty() {
            attributes.push(Attribute::read(&mut r)?);
        }
        Ok((more, Self { number, id, attributes }))
    }

    fn write(&self, more: bool, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        let start = out.len();
        out.extend_from_slice(&[if more { TRANSFORM_FOLLOWS } else { 0 }, 0, 0, 0]);
        out.extend_from_slice(&[self.number, self.id, 0, 0]);
        self.attributes.iter().try_for_each(|a| a.write(out))?;
        patch_length(out, start, "a transform")
    }
}

/// Life Type: seconds.
pub(super) const SECONDS: u64 = 1;
/// Life Type: kilobytes.
pub(super) const KILOBYTES: u64 = 2;

/// A number, short or long.
fn number(attribute: &Attribute) -> Option<u64> {
    match &attribute.value {
        AttributeValue::Short(value) => Some(u64::from(*value)),
        AttributeValue::Long(bytes) => {
            let zeros = bytes.len().saturating_sub(8);
            let (high, low) = bytes.split_at_checked(zeros)?;
            let fits = !bytes.is_empty() && high.iter().all(|b| *b == 0);
            fits.then(|| low.iter().fold(0, |sum, b| (sum << 8) | u64::from(*b)))
        }
    }
}

/// What follows the first byte of a proposal or a transform: a reserved byte, and a length that counts all of it.
fn substructure<'a>(outer: &mut Reader<'a>, cut: &'static str) -> Result<Reader<'a>, DecodeError> {
    outer.u8(cut)?;
    let length_at = outer.at();
    let length = usize::from(outer.u16(cut)?);
    let rest =
        length.checked_sub(4).ok_or(DecodeError::new(length_at, "the length is less than its header"))?;
    outer.part(rest, cut)
}
