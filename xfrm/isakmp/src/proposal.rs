//! Proposals in strongSwan's notation, on the wire, and the choice between them.

mod choose;
mod describe;
mod offer;
mod text;
mod transform;

pub use choose::{Accepted, AnswerError, Chosen, NoProposal, accept_esp, accept_ike, choose_esp, choose_ike};
pub use describe::describe;
pub use offer::{offer_esp, offer_ike, offers_ke, wanted_ke};
pub use text::ProposalError;

use crate::algorithm::{Encryption, Integrity, KeMethod, KeyBits, Prf};

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

const AEAD: [Encryption; 3] =
    [Encryption::AesGcm16(KeyBits::B256), Encryption::AesGcm16(KeyBits::B128), Encryption::ChaCha20Poly1305];
const CBC: [Encryption; 2] = [Encryption::AesCbc(KeyBits::B256), Encryption::AesCbc(KeyBits::B128)];
const INTEGRITY: [Integrity; 3] =
    [Integrity::HmacSha256_128, Integrity::HmacSha384_192, Integrity::HmacSha512_256];
const PRF: [Prf; 3] = [Prf::HmacSha256, Prf::HmacSha384, Prf::HmacSha512];
const KE: [KeMethod; 6] = [
    KeMethod::Curve25519,
    KeMethod::Ecp256,
    KeMethod::Ecp384,
    KeMethod::Modp3072,
    KeMethod::Modp4096,
    KeMethod::Modp2048,
];

impl IkeProposal {
    /// What Adit offers and accepts where nothing is configured: AEADs, then AES-CBC with SHA-2. Nothing that is
    /// weaker than 112 bits, no SHA-1.
    #[must_use]
    pub fn defaults() -> Vec<Self> {
        let of = |encryption: &[Encryption], integrity: &[Integrity]| Self {
            encryption: encryption.to_vec(),
            integrity: integrity.to_vec(),
            prf: PRF.to_vec(),
            ke: KE.to_vec(),
        };
        vec![of(&AEAD, &[]), of(&CBC, &INTEGRITY)]
    }
}

impl EspProposal {
    /// What Adit offers and accepts where nothing is configured: AEADs, then AES-CBC with SHA-2; with PFS, and without
    /// it for peers that rekey without (RFC 7296 §1.3.1 leaves that free); with and without ESN.
    #[must_use]
    pub fn defaults() -> Vec<Self> {
        let of = |encryption: &[Encryption], integrity: &[Integrity], ke: &[KeMethod]| Self {
            encryption: encryption.to_vec(),
            integrity: integrity.to_vec(),
            ke: ke.to_vec(),
            esn: vec![true, false],
        };
        vec![of(&AEAD, &[], &KE), of(&CBC, &INTEGRITY, &KE), of(&AEAD, &[], &[]), of(&CBC, &INTEGRITY, &[])]
    }
}
