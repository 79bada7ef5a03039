//! The choice: a responder's among what was offered, and an initiator's check of the answer.
//!
//! **Ours goes first.** A responder takes the first of its own proposals that any of the initiator's meets, and in it
//! the first algorithm of each type that both have. The initiator's order decides only among its proposals that meet
//! the same one of ours.

use core::fmt;

use super::describe::{common_lack, describe, esp_text, ike_text};
use super::offer::{as_offered, esp_transforms, ike_transforms};
use super::transform::{Algorithm, Esn, NONE, addke, addke_number, read_addke};
use super::{EspProposal, IkeProposal};
use crate::algorithm::{AdditionalKe, Encryption, EspSuite, IkeSuite, Integrity, KeMethod, Prf};
use crate::payload::{Proposal, Protocol, SecurityAssociation, Transform, TransformType};

/// What a responder chose.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Chosen<S> {
    /// The algorithms.
    pub suite: S,
    /// The number of the initiator's proposal.
    pub number: u8,
    /// The initiator's SPI in it: empty in IKE_SA_INIT.
    pub spi: Vec<u8>,
    /// The SA payload to answer with.
    pub reply: SecurityAssociation,
}

/// What an initiator got.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Accepted<S> {
    /// The algorithms.
    pub suite: S,
    /// The responder's SPI: empty in IKE_SA_INIT.
    pub spi: Vec<u8>,
}

impl Chosen<EspSuite> {
    /// The initiator's SPI as a number: our outbound one.
    #[must_use]
    pub fn peer_spi(&self) -> u32 {
        esp_spi(&self.spi)
    }
}

impl Accepted<EspSuite> {
    /// The responder's SPI as a number: our outbound one.
    #[must_use]
    pub fn peer_spi(&self) -> u32 {
        esp_spi(&self.spi)
    }
}

/// Nothing fits: NO_PROPOSAL_CHOSEN, and what a person has to compare.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NoProposal {
    /// What the initiator offered, in strongSwan's notation; at most a few hundred characters.
    pub offered: String,
    /// What we allow.
    pub allowed: String,
    /// The first type of algorithm in which both have nothing in common ("key exchange method"), if there is one.
    pub nothing_common: Option<&'static str>,
    /// Whether it offers nothing but what needs `legacy = true`, since it can be broken.
    pub legacy: bool,
}

impl core::error::Error for NoProposal {}

impl fmt::Display for NoProposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.nothing_common {
            Some(kind) => write!(f, "no common {kind}")?,
            None => f.write_str("no common proposal")?,
        }
        write!(f, ": offered {}; allowed {}", self.offered, self.allowed)?;
        if self.legacy {
            f.write_str("; what it offers needs legacy = true, since it can be broken")
        } else {
            Ok(())
        }
    }
}

/// The responder answered something that was not offered: the peer broke the protocol.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AnswerError {
    /// What is wrong with it.
    pub why: &'static str,
    /// What it answered, in strongSwan's notation.
    pub answered: String,
}

impl core::error::Error for AnswerError {}

impl fmt::Display for AnswerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (the peer answered {})", self.why, self.answered)
    }
}

/// A responder's choice for an IKE_SA. `reply_spi` is empty in IKE_SA_INIT, the new IKE_SA's SPI when rekeying.
///
/// # Errors
/// [`NoProposal`].
pub fn choose_ike(
    ours: &[IkeProposal],
    offered: &SecurityAssociation,
    reply_spi: &[u8],
) -> Result<Chosen<IkeSuite>, NoProposal> {
    let theirs = || offered.proposals.iter().filter(|p| p.spi.len() == reply_spi.len());
    // [7296:2.7-1] [7296:2.7-3] [7296:3.3.6-1] [7296:3.3.6-2]
    ours.iter()
        .find_map(|our| theirs().find_map(|p| Some((p, meet_ike(our, p)?))))
        .map(|(p, (suite, transforms))| chosen(p, suite, transforms, reply_spi))
        .ok_or_else(|| {
            let allowed: Vec<_> = ours.iter().flat_map(ike_transforms).collect();
            NoProposal {
                offered: describe(offered),
                allowed: ike_text(ours),
                nothing_common: common_lack(&allowed, offered),
                legacy: IkeProposal::legacy_defaults().iter().any(|our| {
                    theirs().any(|p| meet_ike(our, p).is_some_and(|(suite, _)| !suite.legacy().is_empty()))
                }),
            }
        })
}

/// A responder's choice for a CHILD_SA. `reply_spi` is our inbound SPI; `with_ke` is false in IKE_AUTH, where key
/// exchange methods in a proposal mean nothing.
///
/// # Errors
/// [`NoProposal`].
pub fn choose_esp(
    ours: &[EspProposal],
    offered: &SecurityAssociation,
    reply_spi: u32,
    with_ke: bool,
) -> Result<Chosen<EspSuite>, NoProposal> {
    let ours = as_offered(ours, with_ke);
    ours.iter()
        .find_map(|our| offered.proposals.iter().find_map(|p| Some((p, meet_esp(our, p, with_ke)?))))
        .map(|(p, (suite, transforms))| chosen(p, suite, transforms, &reply_spi.to_be_bytes()))
        .ok_or_else(|| {
            let allowed: Vec<_> = ours.iter().flat_map(esp_transforms).collect();
            NoProposal {
                offered: describe(offered),
                allowed: esp_text(&ours),
                nothing_common: common_lack(&allowed, offered),
                legacy: as_offered(&EspProposal::legacy_defaults(), with_ke).iter().any(|our| {
                    offered.proposals.iter().any(|p| {
                        meet_esp(our, p, with_ke).is_some_and(|(suite, _)| !suite.legacy().is_empty())
                    })
                }),
            }
        })
}

/// An initiator's check of SAr1: one proposal, with the number of one that was offered, and of each type exactly one
/// transform that was offered there.
///
/// # Errors
/// [`AnswerError`].
pub fn accept_ike(
    ours: &[IkeProposal],
    answer: &SecurityAssociation,
) -> Result<Accepted<IkeSuite>, AnswerError> {
    let fault = |why| AnswerError { why, answered: describe(answer) };
    let answered = only_one(answer).map_err(fault)?;
    let our = numbered(ours, answered.number).ok_or_else(|| fault(UNKNOWN_NUMBER))?;
    // [7296:3.3.6-5]
    let (suite, _) = meet_ike(our, answered).ok_or_else(|| fault(NOT_OFFERED))?;
    Ok(Accepted { suite, spi: answered.spi.clone() })
}

/// An initiator's check of SAr2, or of the SA in an answer to CREATE_CHILD_SA (`with_ke`).
///
/// # Errors
/// [`AnswerError`].
pub fn accept_esp(
    ours: &[EspProposal],
    answer: &SecurityAssociation,
    with_ke: bool,
) -> Result<Accepted<EspSuite>, AnswerError> {
    let fault = |why| AnswerError { why, answered: describe(answer) };
    let answered = only_one(answer).map_err(fault)?;
    let ours = as_offered(ours, with_ke);
    let our = numbered(&ours, answered.number).ok_or_else(|| fault(UNKNOWN_NUMBER))?;
    let (suite, _) = meet_esp(our, answered, with_ke).ok_or_else(|| fault(NOT_OFFERED))?;
    Ok(Accepted { suite, spi: answered.spi.clone() })
}

const UNKNOWN_NUMBER: &str = "no proposal with this number was offered";
const NOT_OFFERED: &str = "the proposal of this number did not offer these algorithms";

fn chosen<S>(proposal: &Proposal, suite: S, transforms: Vec<Transform>, reply_spi: &[u8]) -> Chosen<S> {
    Chosen {
        suite,
        number: proposal.number,
        spi: proposal.spi.clone(),
        reply: SecurityAssociation {
            proposals: vec![Proposal {
                // [7296:3.3.1-4]
                number: proposal.number,
                // [7296:2.7-2]
                protocol: proposal.protocol,
                spi: reply_spi.to_vec(),
                transforms,
            }],
        },
    }
}

fn only_one(answer: &SecurityAssociation) -> Result<&Proposal, &'static str> {
    // [7296:3.3.6-5]
    let [proposal] = answer.proposals.as_slice() else {
        return Err("an answer has exactly one proposal");
    };
    let mut kinds: Vec<_> = proposal.transforms.iter().map(|t| t.kind).collect();
    kinds.sort_unstable();
    let before = kinds.len();
    kinds.dedup();
    // [7296:2.7-4]
    if kinds.len() != before {
        return Err("an answer has at most one transform of each type");
    }
    Ok(proposal)
}

fn numbered<P>(ours: &[P], number: u8) -> Option<&P> {
    ours.get(usize::from(number).checked_sub(1)?)
}

/// The algorithms that both have, and the peer's transforms for them.
fn meet_ike(ours: &IkeProposal, theirs: &Proposal) -> Option<(IkeSuite, Vec<Transform>)> {
    const KINDS: [TransformType; 4] =
        [TransformType::ENCR, TransformType::INTEG, TransformType::PRF, TransformType::KE];
    if theirs.protocol != Protocol::IKE || !only_of(theirs, &KINDS) {
        return None;
    }
    let (encryption, integrity, mut transforms) = meet_encryption(&ours.encryption, &ours.integrity, theirs)?;
    let (prf, prf_transform) = Prf::best(&ours.prf, theirs)?;
    let (ke, ke_transform) = KeMethod::best(&ours.ke, theirs)?;
    // [7296:2.7-4] [7296:3.3.6-3]
    transforms.extend([prf_transform.clone(), ke_transform.clone()]);
    let additional = meet_additional(&ours.additional, ke, theirs, &mut transforms)?;
    let suite = IkeSuite { encryption, integrity, prf, ke, additional };
    Some((suite, transforms))
}

/// Additional key exchanges (RFC 9370 §2.2.1): of each type one method, and none twice, also not that of the first
/// key exchange. A type that only one side has does not matter if that side has NONE among it.
fn meet_additional(
    ours: &[Vec<Option<KeMethod>>; AdditionalKe::TYPES],
    ke: KeMethod,
    theirs: &Proposal,
    transforms: &mut Vec<Transform>,
) -> Option<AdditionalKe> {
    let mut methods = [None; AdditionalKe::TYPES];
    let mut taken = vec![ke];
    for ((number, wanted), method) in (1..).zip(ours).zip(&mut methods) {
        let mut offered = theirs.of(addke(number)).peekable();
        if offered.peek().is_none() {
            if wanted.is_empty() || wanted.contains(&None) {
                continue;
            }
            return None;
        }
        let offered: Vec<_> = offered.filter_map(|t| Some((read_addke(t)?, t))).collect();
        let wanted = if wanted.is_empty() { &[None][..] } else { wanted };
        // [9370:2.2.1-3] [9370:2.2.1-5]
        let free = |m: &Option<KeMethod>| m.is_none_or(|m| !taken.contains(&m));
        let both = |m: &Option<KeMethod>| offered.iter().find(|(o, _)| o == m);
        let (chosen, transform) = wanted.iter().filter(|m| free(m)).find_map(both)?;
        *method = *chosen;
        taken.extend(*chosen);
        transforms.push((*transform).clone());
    }
    Some(AdditionalKe::new(methods))
}

fn meet_esp(ours: &EspProposal, theirs: &Proposal, with_ke: bool) -> Option<(EspSuite, Vec<Transform>)> {
    const KINDS: [TransformType; 4] =
        [TransformType::ENCR, TransformType::INTEG, TransformType::KE, TransformType::ESN];
    // [7296:2.7-2]
    if theirs.protocol != Protocol::ESP || !only_of(theirs, &KINDS) {
        return None;
    }
    let (encryption, integrity, mut transforms) = meet_encryption(&ours.encryption, &ours.integrity, theirs)?;
    let (ke, additional) = if with_ke { meet_ke(ours, theirs, &mut transforms)? } else { Default::default() };
    let wanted: Vec<Esn> = ours.esn.iter().copied().map(Esn).collect();
    let esn = if theirs.of(TransformType::ESN).next().is_some() {
        let (esn, transform) = Esn::best(&wanted, theirs)?;
        transforms.push(transform.clone());
        esn.0
    } else if wanted.contains(&Esn(false)) {
        // The type is mandatory in ESP, but peers that know no ESN leave it out.
        false
    } else {
        return None;
    };
    let suite = EspSuite { encryption, integrity, ke, additional, esn };
    Some((suite, transforms))
}

/// The key exchanges of a CHILD_SA: additional ones only beside a first one (RFC 9370 §2.2.4).
fn meet_ke(
    ours: &EspProposal,
    theirs: &Proposal,
    transforms: &mut Vec<Transform>,
) -> Option<(Option<KeMethod>, AdditionalKe)> {
    if ours.ke.is_empty() {
        transforms.extend(none_or_absent(theirs, TransformType::KE)?.cloned());
        // Without a first one, whoever insists on additional ones gets nothing.
        for number in 1..=7 {
            transforms.extend(none_or_absent(theirs, addke(number))?.cloned());
        }
        return Some(Default::default());
    }
    let (ke, transform) = KeMethod::best(&ours.ke, theirs)?;
    transforms.push(transform.clone());
    Some((Some(ke), meet_additional(&ours.additional, ke, theirs, transforms)?))
}

/// Encryption and what integrity goes with it. With an AEAD the peer may write integrity NONE or leave it out
/// (RFC 5282 §8).
fn meet_encryption(
    encryption: &[Encryption],
    integrity: &[Integrity],
    theirs: &Proposal,
) -> Option<(Encryption, Option<Integrity>, Vec<Transform>)> {
    encryption.iter().find_map(|e| {
        let (e, transform) = Encryption::best(&[*e], theirs)?;
        let mut transforms = vec![transform.clone()];
        // [7296:3.3-5]
        if e.is_aead() {
            transforms.extend(none_or_absent(theirs, TransformType::INTEG)?.cloned());
            return Some((e, None, transforms));
        }
        // [7296:2.7-5] [7296:5-2]
        let (i, transform) = Integrity::best(integrity, theirs)?;
        transforms.push(transform.clone());
        Some((e, Some(i), transforms))
    })
}

/// `Some(NONE)` if the peer wrote it, `Some(None)` if it wrote nothing of this type, `None` if it insists on something.
fn none_or_absent(theirs: &Proposal, kind: TransformType) -> Option<Option<&Transform>> {
    match theirs.of(kind).find(|t| t.id == NONE) {
        Some(none) => Some(Some(none)),
        None => theirs.of(kind).next().is_none().then_some(None),
    }
}

/// A proposal with a transform type that we don't understand is unacceptable (RFC 7296 §3.3.6).
fn only_of(theirs: &Proposal, kinds: &[TransformType]) -> bool {
    // [7296:3.3.6-6] [7296:3.3.3-1]
    theirs.transforms.iter().all(|t| kinds.contains(&t.kind) || addke_number(t.kind).is_some())
}

/// The codec lets ESP proposals have SPIs of 4 bytes only.
fn esp_spi(spi: &[u8]) -> u32 {
    spi.try_into().map_or(0, u32::from_be_bytes)
}
