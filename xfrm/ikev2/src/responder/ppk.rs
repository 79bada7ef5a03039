//! The postquantum preshared key of a responder (RFC 8784): the peer names one beside its AUTH.

use adit_core::{Failure, Secret};
use adit_isakmp::payload::{Authentication, NotifyType, PpkId};
use adit_isakmp::{Message, Payload};

use super::auth::{self, Claim};
use super::{Half, Phase, Responder};
use crate::api::{Ask, PpkUse, ResponderConfig};
use crate::channel::Handshake;
use crate::ppk::Ppk;
use crate::state::{Cx, Next};

/// The key is being looked up.
pub(super) struct Mixing {
    claim: Claim,
    config: Box<ResponderConfig>,
    named: Named,
}

/// What a request with AUTH says of a key.
pub(super) struct Named {
    id: Option<PpkId>,
    /// NO_PPK_AUTH: the peer's proof without it.
    without: Option<Vec<u8>>,
}

pub(super) fn begin(half: Half, cx: &mut Cx<'_>, claim: Claim, config: Box<ResponderConfig>) -> Next {
    let named = match Named::read(&claim.handshake, &claim.message, config.ppk) {
        Ok(Some(named)) => named,
        Ok(None) => return auth::check(half, cx, claim, config),
        Err(why) => return claim.refuse(cx, why),
    };
    match named.ask(&config) {
        Some(ask) => Responder::asking(half, cx, ask, Phase::Mixing(Mixing { claim, config, named })),
        None => Mixing { claim, config, named }.answered(half, cx, Ok(None)),
    }
}

impl Mixing {
    pub(super) fn answered(
        self,
        half: Half,
        cx: &mut Cx<'_>,
        result: Result<Option<Secret>, Failure>,
    ) -> Next {
        let Self { mut claim, config, named } = self;
        let settled = match (result, &mut claim.auth) {
            (Ok(found), Some(auth)) => named.settle(cx, &mut claim.handshake, config.ppk, found, auth),
            (Ok(_), None) => Err("it has to prove itself".into()),
            (Err(why), _) => Err(why.to_string()),
        };
        match settled {
            Ok(()) => auth::check(half, cx, claim, config),
            Err(why) => claim.refuse(cx, why),
        }
    }
}

impl Named {
    /// `None`: both do without.
    pub(super) fn read(
        handshake: &Handshake,
        message: &Message,
        rule: PpkUse,
    ) -> Result<Option<Self>, &'static str> {
        let notify = match handshake.ppk {
            Ppk::Announced => message.notify(NotifyType::PPK_IDENTITY),
            Ppk::Off | Ppk::Tried(_) | Ppk::Mixed => None,
        };
        match notify {
            Some(notify) => Ok(Some(Self {
                id: PpkId::parse(&notify.data),
                without: message.notify(NotifyType::NO_PPK_AUTH).map(|n| n.data.clone()),
            })),
            // [8784:3-10]
            None if rule == PpkUse::Required => Err("it has to use a postquantum preshared key"),
            None => Ok(None),
        }
    }

    /// The question, where there is an answer.
    pub(super) fn ask(&self, config: &ResponderConfig) -> Option<Ask> {
        match (&self.id, config.ppk) {
            (_, PpkUse::Off) | (None | Some(PpkId::Other(..)), _) => None,
            (Some(PpkId::Fixed(id)), PpkUse::Optional | PpkUse::Required) => {
                Some(Ask::Ppk { connection: Some(config.name.clone()), id: id.clone() })
            }
        }
    }

    /// Mixes it in, or goes on without where both ends may: `auth` is then the proof without it.
    pub(super) fn settle(
        self,
        cx: &Cx<'_>,
        handshake: &mut Handshake,
        rule: PpkUse,
        found: Option<Secret>,
        auth: &mut Authentication,
    ) -> Result<(), String> {
        match (found, self.without) {
            // [8784:3-11]
            (Some(ppk), _) => handshake.use_ppk(cx, &ppk),
            // [8784:3-12]
            (None, Some(data)) if rule != PpkUse::Required => {
                auth.data = data;
                handshake.ppk = Ppk::Off;
            }
            // [8784:3-12]
            (None, _) => return Err("nobody here has the postquantum preshared key that it names".into()),
        }
        Ok(())
    }
}

/// N(PPK_IDENTITY) of an answer: the key is in our proof.
pub(super) fn acknowledged(handshake: &Handshake) -> Option<Payload> {
    // [8784:3-11]
    let notify = adit_isakmp::payload::Notify::new(NotifyType::PPK_IDENTITY, []);
    matches!(handshake.ppk, Ppk::Mixed).then_some(Payload::Notify(notify))
}
