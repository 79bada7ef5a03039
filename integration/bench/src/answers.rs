//! What a load initiator answers to its core: real cryptography, and a kernel that agrees to everything.

use adit_core::{Failure, FailureCode, Secret, Step};
use adit_crypto::Provider;
use adit_ikev2::api::{Answer, Ask};
use adit_isakmp::crypto::CryptoProvider;

/// The kernel gives out no SPI below this (RFC 4303 §2.1 reserves 1 to 255).
const FIRST_SPI: u32 = 0x100;

/// Answers every Ask at once.
pub(crate) struct Answers {
    provider: Provider,
    psk: Secret,
    next_spi: u32,
}

impl Answers {
    /// With this pre-shared key for everybody.
    pub(crate) fn new(psk: &str) -> Self {
        Self { provider: Provider::new(), psk: Secret::from(psk.as_bytes()), next_spi: FIRST_SPI }
    }

    /// The answer.
    pub(crate) fn answer(&mut self, ask: Ask) -> Answer {
        match ask {
            Ask::Generate(method) => Answer::Generated(self.provider.generate(method)),
            Ask::Agree { key, peer } => Answer::Agreed(key.agree(&peer)),
            Ask::Encapsulate { method, peer } => {
                Answer::Encapsulated(self.provider.encapsulate(method, &peer))
            }
            Ask::Psk { .. } => Answer::Psk(Ok(self.psk.duplicate())),
            Ask::AllocateSpi { .. } => {
                self.next_spi = self.next_spi.checked_add(1).unwrap_or(FIRST_SPI);
                Answer::Spi(Ok(self.next_spi))
            }
            Ask::Install(_) | Ask::InstallOutbound { .. } => Answer::Installed(Ok(())),
            Ask::Connection { .. } | Ask::Resume { .. } => {
                Answer::Connection(Err(no("nobody dials a load initiator")))
            }
            Ask::Lease { .. } => Answer::Leased(Err(no("nobody dials a load initiator"))),
            Ask::Eap { .. } => Answer::Eap(Err(no("a load initiator speaks no EAP"))),
            Ask::Ppk { .. } => Answer::Ppk(Err(no("a load initiator has no such key"))),
            Ask::Sign { .. } => Answer::Signed(Err(no("a load initiator has no certificate"))),
            Ask::Verify { .. } => Answer::Verified(Err(no("a load initiator has no trust anchor"))),
        }
    }
}

fn no(text: &str) -> Failure {
    Failure::new(FailureCode::Internal, Step::Authenticate, text)
}
