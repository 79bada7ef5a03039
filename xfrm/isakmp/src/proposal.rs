//! Proposals in strongSwan's notation, and the choice between them.

use crate::algorithm::{Encryption, Integrity, KeMethod, Prf};

/// An IKE_SA proposal: any one algorithm of each list (RFC 7296 §3.3). Each list is best first. An AEAD and a
/// cipher that needs integrity never share a proposal.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct IkeProposal {
    /// Encryption.
    pub encryption: Vec<Encryption>,
    /// Integrity; empty with AEADs.
    pub integrity: Vec<Integrity>,
    /// Pseudorandom functions.
    pub prf: Vec<Prf>,
    /// Key exchange methods.
    pub ke: Vec<KeMethod>,
}

/// A CHILD_SA proposal.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EspProposal {
    /// Encryption.
    pub encryption: Vec<Encryption>,
    /// Integrity; empty with AEADs.
    pub integrity: Vec<Integrity>,
    /// Key exchange methods for PFS; empty: none. Left out in IKE_AUTH.
    pub ke: Vec<KeMethod>,
    /// Extended sequence numbers, preferred first: `[true, false]` offers both.
    pub esn: Vec<bool>,
}
