//! The postquantum preshared key of an initiator (RFC 8784): it is got before our AUTH is made.

use adit_core::{Failure, Secret};
use adit_isakmp::Payload;
use adit_isakmp::payload::{Authentication, Notify, NotifyType, PpkId};

use super::eap::{self, Proven};
use super::{Dial, Initiator, Phase, auth};
use crate::api::Ask;
use crate::channel::Handshake;
use crate::explain;
use crate::ppk::Ppk;
use crate::state::{Cx, Next};

/// The key is being got.
pub(super) struct Mixing {
    pub(super) handshake: Box<Handshake>,
    then: Then,
}

/// What follows.
pub(super) enum Then {
    /// Our key or signature; the CHILD_SA's inbound SPI.
    Prove(u32),
    /// AUTH after EAP.
    Eap(Box<Proven>),
}

/// Gets the key, where both ends have said that they use one.
pub(super) fn begin(dial: Dial, cx: &mut Cx<'_>, handshake: Box<Handshake>, then: Then) -> Next {
    match (&handshake.ppk, &dial.config.ppk) {
        (Ppk::Announced, Some(rule)) => {
            let ask = Ask::Ppk { id: rule.id.clone() };
            Initiator::asking(dial, cx, ask, Phase::Mixing(Mixing { handshake, then }))
        }
        _ => go_on(dial, cx, handshake, then),
    }
}

fn go_on(dial: Dial, cx: &mut Cx<'_>, handshake: Box<Handshake>, then: Then) -> Next {
    match then {
        Then::Prove(inbound_spi) => auth::prove(dial, cx, handshake, inbound_spi),
        Then::Eap(proven) => eap::prove(dial, cx, handshake, *proven),
    }
}

impl Mixing {
    pub(super) fn answered(
        mut self,
        dial: Dial,
        cx: &mut Cx<'_>,
        result: Result<Option<Secret>, Failure>,
    ) -> Next {
        match result {
            Ok(Some(ppk)) => {
                self.handshake.try_ppk(cx, &ppk);
                go_on(dial, cx, self.handshake, self.then)
            }
            Ok(None) => {
                let why = explain::ppk_missing(dial.config.ppk.as_ref());
                self.fail(dial, cx, why)
            }
            Err(why) => self.fail(dial, cx, why),
        }
    }

    /// There is no key.
    pub(super) fn fail(self, dial: Dial, cx: &mut Cx<'_>, why: Failure) -> Next {
        match self.then {
            Then::Prove(_) => Next::failed(why),
            Then::Eap(_) => eap::leave(dial, cx, self.handshake, why),
        }
    }
}

/// `N(PPK_IDENTITY)[, N(NO_PPK_AUTH)]` beside AUTH, where the key is in it.
pub(super) fn named(dial: &Dial, handshake: &Handshake, plain: Option<Authentication>) -> Vec<Payload> {
    let (Ppk::Tried(_), Some(rule)) = (&handshake.ppk, &dial.config.ppk) else { return Vec::new() };
    // [8784:3-6]
    let id = PpkId::Fixed(rule.id.clone()).notify();
    // [8784:3-7]
    let plain = plain.map(|auth| Notify::new(NotifyType::NO_PPK_AUTH, auth.data));
    [id].into_iter().chain(plain).map(Payload::Notify).collect()
}
