//! What a step of an EAP conversation comes to (RFC 7296 §2.16).

use core::fmt;

use adit_core::{Failure, Identity, Secret};

use super::ResponderConfig;

/// The answer to [`Ask::Eap`](super::Ask::Eap).
pub enum EapStep {
    /// Send this packet to the peer.
    Send(Vec<u8>),
    /// The method has succeeded.
    Succeeded(Box<EapSuccess>),
    /// A responder's: send this EAP-Failure; the IKE_SA ends because of this.
    Failed(Vec<u8>, Failure),
}

/// How a method succeeded.
pub struct EapSuccess {
    /// EAP-Success, which a responder sends. Empty on the side of an initiator, which has got it.
    pub packet: Vec<u8>,
    /// The Master Session Key. `None`: the method makes none, and SK_pi and SK_pr prove who spoke (RFC 7296 §2.16).
    pub msk: Option<Secret>,
    /// The method has proven both sides to each other and made a key that nobody else has: without this a server has to
    /// prove itself by a certificate too (RFC 5998 §4).
    pub mutual: bool,
    /// A responder's: who the peer has turned out to be, and what holds for it.
    pub peer: Option<(Identity, Box<ResponderConfig>)>,
}

impl fmt::Debug for EapStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Send(_) => "Send",
            Self::Succeeded(_) => "Succeeded",
            Self::Failed(..) => "Failed",
        })
    }
}
