//! The Extensible Authentication Protocol (RFC 3748), as [`Peer`] and as [`Authenticator`].
//!
//! Both are values that take an EAP packet or the answer to a question, and say what to do: send a packet, ask, or end
//! with a verdict. What runs TLS hands its records to an engine by way of a [`TlsAsk`]. They hold no clock: in IKEv2 the lower layer is reliable, in PPP the carrier sends a packet again
//! ([`Authenticator::last`]). A peer answers a request that it has answered already with the same response
//! (RFC 3748 §4.1).

mod authenticator;
mod mschapv2;
mod packet;
mod peer;
mod simple;
#[cfg(test)]
mod tests;
mod tls;

use core::fmt;

use adit_core::{Failure, Secret};

pub use authenticator::{
    Authenticator, AuthenticatorAsk, AuthenticatorConfig, AuthenticatorStep, UserSecret,
};
pub use packet::{Code, MAX_LEN, Method, Packet, emit};
pub use peer::{Peer, PeerAsk, PeerConfig, PeerStep};
pub use tls::{Binding, Export, InnerConfig, TlsAnswer, TlsAsk, TlsVersion, TtlsInner, Tunnel};

/// What a method has made when it succeeded.
pub struct Established {
    /// The Master Session Key, 64 bytes (RFC 3748 §7.10). `None`: the method makes none, and IKEv2 then uses SK_p.
    pub msk: Option<Secret>,
    /// By which method.
    pub method: Method,
    /// Who the peer is, as the method has proven it.
    pub identity: String,
}

impl fmt::Debug for Established {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { method, identity, .. } = self;
        f.debug_struct("Established")
            .field("method", method)
            .field("identity", identity)
            .finish_non_exhaustive()
    }
}

/// How an EAP conversation ended.
pub type Verdict = Result<Established, Failure>;
