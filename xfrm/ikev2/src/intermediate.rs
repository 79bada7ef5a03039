//! IKE_INTERMEDIATE (RFC 9242) with additional key exchanges (RFC 9370): one exchange for each, between IKE_SA_INIT and
//! IKE_AUTH, in the order of their transform types.
//!
//! Each is protected by the keys that the one before has made, makes all keys anew, and is proven in IKE_AUTH: what each
//! side sent is part of what both sign (IntAuth). Here is what both roles share; `initiator/intermediate.rs` and
//! `responder/intermediate.rs` have the exchanges.

use adit_core::{Failure, Secret, Step};
use adit_isakmp::keys::{Exchange, IkeKeys, int_auth, skeyseed_additional};
use adit_isakmp::payload::KeyExchangeData;
use adit_isakmp::{KeMethod, Message, Payload};

use crate::channel::{Ciphers, Handshake, internal};
use crate::explain;
use crate::state::{Cx, Role};
use crate::wire::only;

/// What is known of the IKE_INTERMEDIATE exchanges of an IKE_SA in the making.
#[derive(Default)]
pub(crate) struct Intermediate {
    /// So many are over.
    done: u32,
    /// IntAuth_iN and IntAuth_rN.
    initiator: Option<Secret>,
    responder: Option<Secret>,
}

impl Handshake {
    /// The additional key exchange that is next, and the Message ID of its exchange.
    pub(crate) fn next_additional(&self) -> Option<(u32, KeMethod)> {
        // A session that is resumed goes on from keys that have had them.
        if self.resumed.is_some() {
            return None;
        }
        let done = usize::try_from(self.intermediate.done).ok()?;
        // [9370:2.2.2-1] [9242:3.2-1] [9242:5-1]
        let method = self.suite.additional.methods().nth(done)?;
        // [9242:3.2-3]
        Some((self.intermediate.done.saturating_add(1), method))
    }

    /// Message ID of IKE_AUTH; with EAP, of the round that it is at.
    pub(crate) fn auth_id(&self) -> u32 {
        self.first_auth_id().saturating_add(self.rounds)
    }

    fn first_auth_id(&self) -> u32 {
        let additional = if self.resumed.is_some() { 0 } else { self.suite.additional.count() };
        u32::try_from(additional).unwrap_or(u32::MAX).saturating_add(1)
    }

    /// Counts a message of `who` in: IntAuth is made with the keys that protect it.
    pub(crate) fn count_in(&mut self, cx: &Cx<'_>, who: Role, whole: &[u8]) {
        let (sk_p, chain) = match who {
            Role::Initiator => (&self.keys.pi, &mut self.intermediate.initiator),
            Role::Responder => (&self.keys.pr, &mut self.intermediate.responder),
        };
        *chain = Some(int_auth(&*cx.shared.crypto, self.suite.prf, sk_p, chain.as_ref(), whole));
    }

    /// What AUTH is over beside the rest: `IntAuth_iN | IntAuth_rN | IKE_AUTH_MID`; nothing where there was no
    /// IKE_INTERMEDIATE.
    pub(crate) fn int_auth(&self) -> Option<Secret> {
        let (i, r) = (self.intermediate.initiator.as_ref()?, self.intermediate.responder.as_ref()?);
        // [9370:2.2.3-1]
        Some(Secret::new([i.expose(), r.expose(), &self.first_auth_id().to_be_bytes()].concat()))
    }

    /// An additional key exchange is over: all keys anew (RFC 9370 §2.2.2).
    pub(crate) fn advance(&mut self, cx: &Cx<'_>, shared: &Secret) -> Result<(), Failure> {
        let crypto = &*cx.shared.crypto;
        let exchange = Exchange {
            initiator_nonce: &self.nonce_i,
            responder_nonce: &self.nonce_r,
            initiator_spi: self.channel.spi_i,
            responder_spi: self.channel.spi_r,
        };
        let suite = self.suite;
        let seed = skeyseed_additional(crypto, suite.prf, &self.keys.d, &exchange, shared);
        let keys = IkeKeys::derive(crypto, &suite, &seed, &exchange).map_err(internal)?;
        // [9370:2.2.2-2] [9370:2.2.2-3]
        let (ciphers, auth) = Ciphers::of(crypto, &suite, self.channel.role, keys).map_err(internal)?;
        self.channel.change_keys(ciphers);
        self.keys = auth;
        self.intermediate.done = self.intermediate.done.saturating_add(1);
        Ok(())
    }
}

/// The peer's Key Exchange Data in an IKE_INTERMEDIATE message, which has to be of this method.
pub(crate) fn public(message: &Message, method: KeMethod) -> Result<Vec<u8>, String> {
    let ke = only!(message, Payload::Ke)?;
    // [9370:2.2.2-4]
    if ke.known() != Some(method) {
        return Err(format!("its key exchange is not {method}, which is next"));
    }
    Ok(ke.data.clone())
}

/// Our KE payload.
pub(crate) fn payload(method: KeMethod, public: Vec<u8>) -> Payload {
    Payload::Ke(KeyExchangeData::new(method, public))
}

/// A message that can't be used.
pub(crate) fn unusable(why: impl core::fmt::Display) -> Failure {
    explain::misbehaved(Step::IkeInit, format!("IKE_INTERMEDIATE: {why}"))
}
