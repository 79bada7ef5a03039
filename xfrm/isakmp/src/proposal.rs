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

use crate::algorithm::{AdditionalKe, Encryption, Integrity, KeMethod, KeyBits, Prf};

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
    /// Methods of the additional key exchanges 1 to 7 (RFC 9370); `None` among them: it need not take place. An empty
    /// list: it does not.
    pub additional: [Vec<Option<KeMethod>>; AdditionalKe::TYPES],
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
    /// Methods of the additional key exchanges 1 to 7, as in [`IkeProposal::additional`]; only beside `ke`.
    pub additional: [Vec<Option<KeMethod>>; AdditionalKe::TYPES],
    /// Extended sequence numbers, preferred first: `[true, false]` offers both.
    pub esn: Vec<bool>,
}

const AEAD: [Encryption; 3] =
    [Encryption::AesGcm16(KeyBits::B256), Encryption::AesGcm16(KeyBits::B128), Encryption::ChaCha20Poly1305];
const CBC: [Encryption; 2] = [Encryption::AesCbc(KeyBits::B256), Encryption::AesCbc(KeyBits::B128)];
const INTEGRITY: [Integrity; 3] =
    [Integrity::HmacSha256_128, Integrity::HmacSha384_192, Integrity::HmacSha512_256];
const PRF: [Prf; 3] = [Prf::HmacSha256, Prf::HmacSha384, Prf::HmacSha512];
const KE: [KeMethod; 7] = [
    KeMethod::Curve25519,
    KeMethod::Ecp256,
    KeMethod::Ecp384,
    KeMethod::Ecp521,
    KeMethod::Modp3072,
    KeMethod::Modp4096,
    KeMethod::Modp2048,
];

const LEGACY_KE: [KeMethod; 2] = [KeMethod::Modp1536, KeMethod::Modp1024];

impl IkeProposal {
    /// What Adit offers and accepts where nothing is configured: AEADs, then AES-CBC with SHA-2. Nothing that is
    /// weaker than 112 bits, no SHA-1. With an RRAS or an Azure gateway that is set to `Group14` the two meet in
    /// AES-256 (CBC or GCM), SHA-256, and MODP-2048.
    #[must_use]
    pub fn defaults() -> Vec<Self> {
        let of = |encryption: &[Encryption], integrity: &[Integrity]| Self {
            encryption: encryption.to_vec(),
            integrity: integrity.to_vec(),
            prf: PRF.to_vec(),
            ke: KE.to_vec(),
            additional: Default::default(),
        };
        vec![of(&AEAD, &[]), of(&CBC, &INTEGRITY)]
    }

    /// What `legacy = true` adds after the defaults where nothing is configured: SHA-1, 3DES and the MODP groups of
    /// 1536 and 1024 bits, which is all that Windows, RRAS and Azure offer and accept by default.
    #[must_use]
    pub fn legacy_defaults() -> Vec<Self> {
        let of = |encryption: &[Encryption], integrity: &[Integrity]| Self {
            encryption: encryption.to_vec(),
            integrity: integrity.to_vec(),
            prf: [&PRF[..], &[Prf::HmacSha1]].concat(),
            ke: [&KE[..], &LEGACY_KE].concat(),
            additional: Default::default(),
        };
        let mut all = vec![of(&AEAD, &[])];
        all.extend(legacy_ciphers().iter().map(|(ciphers, integrity)| of(ciphers, integrity)));
        all
    }

    /// Its legacy algorithms, for people.
    #[must_use]
    pub fn legacy(&self) -> Vec<String> {
        let methods = self.ke.iter().chain(self.additional.iter().flatten().flatten());
        legacy(&self.encryption, methods)
    }

    /// Whether it has additional key exchanges.
    #[must_use]
    pub fn has_additional(&self) -> bool {
        self.additional.iter().flatten().any(Option::is_some)
    }

    /// Those of `proposals` that need no additional key exchange, and what they are without any: for a peer that has
    /// not announced IKE_INTERMEDIATE.
    #[must_use]
    pub fn without_intermediate(proposals: &[Self]) -> Vec<Self> {
        // [9370:2.2.1-2]
        let optional = |p: &&Self| p.additional.iter().all(|list| list.is_empty() || list.contains(&None));
        proposals.iter().filter(optional).map(Self::alone).collect()
    }

    /// The same without additional key exchanges.
    #[must_use]
    pub fn alone(&self) -> Self {
        Self { additional: Default::default(), ..self.clone() }
    }
}

/// A proposal each, best first: Windows offers 3DES before AES-256, and the order of proposals is what a choice keeps to.
fn legacy_ciphers() -> [(Vec<Encryption>, Vec<Integrity>); 3] {
    let sha1 = vec![Integrity::HmacSha1_96];
    [
        (CBC.to_vec(), INTEGRITY.to_vec()),
        (CBC.to_vec(), sha1.clone()),
        (vec![Encryption::TripleDesCbc], [&INTEGRITY[..], &sha1].concat()),
    ]
}

fn legacy<'a>(encryption: &[Encryption], ke: impl IntoIterator<Item = &'a KeMethod>) -> Vec<String> {
    let encryption = encryption.iter().filter(|e| e.is_legacy()).map(ToString::to_string);
    encryption.chain(ke.into_iter().filter(|ke| ke.is_legacy()).map(ToString::to_string)).collect()
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
            additional: Default::default(),
            esn: vec![true, false],
        };
        vec![of(&AEAD, &[], &KE), of(&CBC, &INTEGRITY, &KE), of(&AEAD, &[], &[]), of(&CBC, &INTEGRITY, &[])]
    }

    /// What `legacy = true` adds after the defaults where nothing is configured: SHA-1, 3DES, and PFS with the MODP
    /// groups of 1536 and 1024 bits.
    #[must_use]
    pub fn legacy_defaults() -> Vec<Self> {
        let of = |encryption: &[Encryption], integrity: &[Integrity], ke: &[KeMethod]| Self {
            encryption: encryption.to_vec(),
            integrity: integrity.to_vec(),
            ke: ke.to_vec(),
            additional: Default::default(),
            esn: vec![true, false],
        };
        let ke = [&KE[..], &LEGACY_KE].concat();
        let mut all = vec![of(&AEAD, &[], &LEGACY_KE)];
        for (ciphers, integrity) in legacy_ciphers() {
            all.extend([of(&ciphers, &integrity, &ke), of(&ciphers, &integrity, &[])]);
        }
        all
    }

    /// Its legacy algorithms, for people.
    #[must_use]
    pub fn legacy(&self) -> Vec<String> {
        let methods = self.ke.iter().chain(self.additional.iter().flatten().flatten());
        legacy(&self.encryption, methods)
    }
}
