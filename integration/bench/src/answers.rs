//! What a load initiator answers to its core: real cryptography, and a kernel that agrees to everything.

use adit_core::{Failure, FailureCode, Secret, Step};
use adit_crypto::Provider;
use adit_ikev2::api::{Answer, Ask, SaId};
use adit_isakmp::crypto::CryptoProvider;

use crate::proof::{Proof, Talks};

/// The kernel gives out no SPI below this (RFC 4303 §2.1 reserves 1 to 255).
const FIRST_SPI: u32 = 0x100;

/// Answers every Ask at once.
pub(crate) struct Answers {
    provider: Provider,
    proof: Proof,
    talks: Talks,
    next_spi: u32,
}

impl Answers {
    /// With this proof for everybody.
    pub(crate) fn new(proof: &Proof) -> Self {
        let (proof, talks) = (proof.clone(), Talks::default());
        Self { provider: Provider::new(), proof, talks, next_spi: FIRST_SPI }
    }

    /// An IKE_SA has ended.
    pub(crate) fn over(&mut self, sa: SaId) {
        self.talks.forget(sa);
    }

    /// The answer.
    pub(crate) fn answer(&mut self, sa: SaId, ask: Ask) -> Answer {
        match ask {
            Ask::Generate(method) => Answer::Generated(self.provider.generate(method)),
            Ask::Agree { key, peer } => Answer::Agreed(key.agree(&peer)),
            Ask::Encapsulate { method, peer } => {
                Answer::Encapsulated(self.provider.encapsulate(method, &peer))
            }
            Ask::Psk { .. } => Answer::Psk(match &self.proof {
                Proof::Psk(psk) => Ok(Secret::from(psk.as_bytes())),
                Proof::Eap(_) => Err(no("a load initiator has no key for this")),
            }),
            Ask::AllocateSpi { .. } => {
                self.next_spi = self.next_spi.checked_add(1).unwrap_or(FIRST_SPI);
                Answer::Spi(Ok(self.next_spi))
            }
            Ask::Install(_) | Ask::InstallOutbound { .. } => Answer::Installed(Ok(())),
            Ask::Connection { .. } | Ask::Resume { .. } => {
                Answer::Connection(Err(no("nobody dials a load initiator")))
            }
            Ask::Lease { .. } => Answer::Leased(Err(no("nobody dials a load initiator"))),
            Ask::Eap { packet } => Answer::Eap(self.talks.packet(sa, &self.proof, packet.as_deref())),
            Ask::Ppk { .. } => Answer::Ppk(Err(no("a load initiator has no such key"))),
            Ask::Sign { .. } => Answer::Signed(Err(no("a load initiator has no certificate"))),
            // What the responder costs is measured: nothing is entrusted to it.
            Ask::Verify { .. } => Answer::Verified(Ok(())),
        }
    }
}

fn no(text: &str) -> Failure {
    Failure::new(FailureCode::Internal, Step::Authenticate, text)
}
