//! The postquantum preshared key of a responder (RFC 8784): the peer names one beside its AUTH.

use adit_core::{Failure, Secret};
use adit_isakmp::payload::{Authentication, Notify, NotifyType, PpkId};
use adit_isakmp::{Message, Payload};

use super::auth::Checking;
use super::eap::Admitting;
use super::{Half, Phase, Responder};
use crate::api::{Ask, PpkUse};
use crate::channel::Handshake;
use crate::ppk::Ppk;
use crate::state::{Cx, Next};

/// The key is being looked up.
pub(super) struct Mixing {
    named: Named,
    then: Then,
}

/// Whose proof it is in.
pub(super) enum Then {
    /// A pre-shared key's, or a certificate's.
    Check(Checking),
    /// EAP's.
    Admit(Admitting),
}

/// What a request with AUTH says of a key.
pub(super) struct Named {
    id: Option<PpkId>,
    /// NO_PPK_AUTH: the peer's proof without it.
    without: Option<Vec<u8>>,
}

/// Gets the key that a request with AUTH names, if both ends are to have one.
pub(super) fn begin(
    half: Half,
    cx: &mut Cx<'_>,
    named: Result<Option<Named>, &'static str>,
    mut then: Then,
) -> Next {
    let named = match named {
        Ok(Some(named)) => named,
        Ok(None) => return then.go_on(half, cx, Ok(())),
        Err(why) => return then.go_on(half, cx, Err(why.into())),
    };
    let (_, rule, _) = then.parts();
    match named.ask(rule) {
        Some(ask) => Responder::asking(half, cx, ask, Phase::Mixing(Mixing { named, then })),
        None => Mixing { named, then }.answered(half, cx, Ok(None)),
    }
}

impl Then {
    fn parts(&mut self) -> (&mut Handshake, PpkUse, &mut Authentication) {
        match self {
            Self::Check(p) => (&mut p.claim.handshake, p.config.ppk, &mut p.auth),
            Self::Admit(p) => (&mut p.talk.claim.handshake, p.talk.config.ppk, &mut p.auth),
        }
    }

    fn go_on(self, half: Half, cx: &mut Cx<'_>, settled: Result<(), String>) -> Next {
        match (self, settled) {
            (Self::Check(p), settled) => Checking { unfit: settled.err(), ..p }.begin(half, cx),
            (Self::Admit(p), Ok(())) => p.admit(half, cx),
            (Self::Admit(p), Err(why)) => p.talk.claim.refuse(cx, why),
        }
    }
}

impl Mixing {
    pub(super) fn answered(
        self,
        half: Half,
        cx: &mut Cx<'_>,
        result: Result<Option<Secret>, Failure>,
    ) -> Next {
        let Self { named, mut then } = self;
        let (handshake, rule, auth) = then.parts();
        let settled = match result {
            Ok(found) => named.settle(cx, handshake, rule, found, auth),
            Err(why) => Err(why.to_string()),
        };
        then.go_on(half, cx, settled)
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
    fn ask(&self, rule: PpkUse) -> Option<Ask> {
        match (&self.id, rule) {
            (_, PpkUse::Off) | (None | Some(PpkId::Other(..)), _) => None,
            (Some(PpkId::Fixed(id)), PpkUse::Optional | PpkUse::Required) => {
                Some(Ask::Ppk { id: id.clone() })
            }
        }
    }

    /// Mixes it in, or goes on without where both ends may: `auth` is then the proof without it.
    fn settle(
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
    let notify = Notify::new(NotifyType::PPK_IDENTITY, []);
    matches!(handshake.ppk, Ppk::Mixed).then_some(Payload::Notify(notify))
}
