//! What we offer.

use super::transform::{Algorithm, Esn, addke_transform};
use super::{EspProposal, IkeProposal};
use crate::algorithm::{AdditionalKe, KeMethod};
use crate::payload::{KeyExchangeData, Proposal, Protocol, SecurityAssociation, Transform};

/// Proposals have a number of one byte.
const MAX_PROPOSALS: usize = 255;

/// SAi of IKE_SA_INIT (`spi` empty), or of rekeying an IKE_SA (`spi` is the new IKE_SA's, 8 bytes).
#[must_use]
pub fn offer_ike(proposals: &[IkeProposal], spi: &[u8]) -> SecurityAssociation {
    numbered(proposals.iter().map(ike_transforms), Protocol::IKE, spi)
}

/// SAi2 of IKE_AUTH (`with_ke` false), or SA of CREATE_CHILD_SA. `spi` is our inbound one.
#[must_use]
pub fn offer_esp(proposals: &[EspProposal], spi: u32, with_ke: bool) -> SecurityAssociation {
    let offered = as_offered(proposals, with_ke);
    numbered(offered.iter().map(esp_transforms), Protocol::ESP, &spi.to_be_bytes())
}

/// A responder's: the method to name in INVALID_KE_PAYLOAD, if the initiator's KE payload is not of the chosen one
/// (RFC 7296 §1.2, §1.3).
#[must_use]
pub fn wanted_ke(chosen: KeMethod, payload: &KeyExchangeData) -> Option<KeMethod> {
    // [7296:3.4-4] [7296:3.4-2]
    (payload.method != chosen.transform_id()).then_some(chosen)
}

/// An initiator's: the method that INVALID_KE_PAYLOAD names, if we offered it. Any other is an attack or a mistake.
#[must_use]
pub fn offers_ke(proposals: &[IkeProposal], method: u16) -> Option<KeMethod> {
    KeMethod::from_transform_id(method).filter(|m| proposals.iter().any(|p| p.ke.contains(m)))
}

/// The proposals as they are offered: without key exchange where there is none, and none twice. An answer's number
/// counts these.
pub(super) fn as_offered(proposals: &[EspProposal], with_ke: bool) -> Vec<EspProposal> {
    let mut out: Vec<EspProposal> = Vec::with_capacity(proposals.len());
    for proposal in proposals {
        let mut proposal = proposal.clone();
        if !with_ke {
            proposal.ke.clear();
            proposal.additional = Default::default();
        }
        if !out.contains(&proposal) {
            out.push(proposal);
        }
    }
    out
}

fn numbered(
    proposals: impl Iterator<Item = Vec<Transform>>,
    protocol: Protocol,
    spi: &[u8],
) -> SecurityAssociation {
    // [7296:3.3-1] [7296:3.3-4] [7296:3.3.1-3]
    let proposals = (1..=u8::MAX)
        .zip(proposals.take(MAX_PROPOSALS))
        // [7296:3.3.1-5] [7296:3.3-3]
        .map(|(number, transforms)| Proposal { number, protocol, spi: spi.to_vec(), transforms })
        .collect();
    SecurityAssociation { proposals }
}

pub(super) fn ike_transforms(proposal: &IkeProposal) -> Vec<Transform> {
    transforms(&proposal.encryption)
        .chain(transforms(&proposal.integrity))
        .chain(transforms(&proposal.prf))
        .chain(transforms(&proposal.ke))
        .chain(additional(&proposal.additional))
        .collect()
}

fn additional(lists: &[Vec<Option<KeMethod>>; AdditionalKe::TYPES]) -> impl Iterator<Item = Transform> {
    let numbered = (1..).zip(lists);
    numbered.flat_map(|(number, methods)| methods.iter().map(move |m| addke_transform(number, *m)))
}

pub(super) fn esp_transforms(proposal: &EspProposal) -> Vec<Transform> {
    let esn: Vec<Esn> = proposal.esn.iter().copied().map(Esn).collect();
    transforms(&proposal.encryption)
        .chain(transforms(&proposal.integrity))
        .chain(transforms(&proposal.ke))
        .chain(additional(&proposal.additional))
        .chain(transforms(&esn))
        .collect()
}

fn transforms<A: Algorithm>(algorithms: &[A]) -> impl Iterator<Item = Transform> {
    // [7296:3.3-7]
    algorithms.iter().map(|a| a.transform()).collect::<Vec<_>>().into_iter()
}
