//! Postquantum preshared keys (RFC 8784): a key that both ends have been given is mixed into SK_d, SK_pi and SK_pr, so that
//! who records the key exchange and breaks it one day still has nothing.

use adit_core::{Failure, Secret};
use adit_isakmp::Message;
use adit_isakmp::keys::mix_ppk;
use adit_isakmp::payload::{Notify, NotifyType};

use crate::api::PpkRule;
use crate::channel::{AuthKeys, Handshake};
use crate::explain;
use crate::state::Cx;

/// How far an IKE_SA is with its PPK.
pub(crate) enum Ppk {
    /// One of the ends has none.
    Off,
    /// Both ends have said USE_PPK.
    Announced,
    /// Ours is in the keys; these are those without it, until the responder has said that it has it too.
    Tried(Box<AuthKeys>),
    /// Both ends have it in their keys.
    Mixed,
}

/// USE_PPK.
pub(crate) fn use_ppk() -> Notify {
    // [8784:3-2]
    Notify::new(NotifyType::USE_PPK, [])
}

/// Whether a message of IKE_SA_INIT says it.
pub(crate) fn announced(message: &Message) -> bool {
    message.notify(NotifyType::USE_PPK).is_some()
}

impl Handshake {
    /// Mixes the key in.
    fn mix(&mut self, cx: &Cx<'_>, ppk: &Secret) -> AuthKeys {
        let mix = |key: &Secret| mix_ppk(&*cx.shared.crypto, self.suite.prf, ppk, key);
        let mixed = AuthKeys { d: mix(&self.keys.d), pi: mix(&self.keys.pi), pr: mix(&self.keys.pr) };
        core::mem::replace(&mut self.keys, mixed)
    }

    /// An initiator goes on with it, and may have to do without.
    pub(crate) fn try_ppk(&mut self, cx: &Cx<'_>, ppk: &Secret) {
        let plain = self.mix(cx, ppk);
        self.ppk = Ppk::Tried(Box::new(plain));
    }

    /// A responder goes on with the one that the peer has named.
    pub(crate) fn use_ppk(&mut self, cx: &Cx<'_>, ppk: &Secret) {
        self.mix(cx, ppk);
        self.ppk = Ppk::Mixed;
    }

    /// What `make` gives without the key, where it has been tried.
    pub(crate) fn without_ppk<T>(&mut self, make: impl FnOnce(&Self) -> T) -> Option<T> {
        let Ppk::Tried(plain) = &mut self.ppk else { return None };
        core::mem::swap(&mut self.keys, plain);
        let made = make(self);
        if let Ppk::Tried(plain) = &mut self.ppk {
            core::mem::swap(&mut self.keys, plain);
        }
        Some(made)
    }

    /// What the responder's answer says of a key that was tried: it has it, or both do without.
    pub(crate) fn settle_ppk(&mut self, answer: &Message, rule: Option<&PpkRule>) -> Result<(), Failure> {
        match core::mem::replace(&mut self.ppk, Ppk::Off) {
            Ppk::Tried(plain) => {
                // [8784:3-8]
                if answer.notify(NotifyType::PPK_IDENTITY).is_some() {
                    self.ppk = Ppk::Mixed;
                    return Ok(());
                }
                // [8784:3-9]
                if rule.is_none_or(|rule| rule.required) {
                    return Err(explain::no_ppk(rule));
                }
                self.keys = *plain;
                Ok(())
            }
            other => {
                self.ppk = other;
                Ok(())
            }
        }
    }
}
