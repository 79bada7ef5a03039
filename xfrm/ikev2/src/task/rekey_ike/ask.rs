//! A rekey of the IKE_SA that we begin: Generate → request sent → Agree → the old one is deleted.

use core::time::Duration;

use adit_core::{Failure, Secret, Step};
use adit_isakmp::crypto::{CryptoError, KeyExchange};
use adit_isakmp::payload::{KeyExchangeData, Notify, NotifyType};
use adit_isakmp::proposal::{IkeProposal, accept_ike, offer_ike, offers_ke};
use adit_isakmp::{ExchangeType, IkeSuite, KeMethod, Message, Payload};

use super::{Ends, proposals, successor};
use crate::api::{Answer, Ask, AskId};
use crate::explain;
use crate::ike::Ike;
use crate::state::{Cx, Role};
use crate::task::create::lower;
use crate::task::{Move, Running, Task};
use crate::wire::only;

/// After a refusal that is no "later", it is tried again after this, or a tenth of the IKE_SA's life if that is longer.
const REFUSED_FOR: Duration = Duration::from_secs(60);

/// A new IKE_SA in the making.
pub(crate) struct Rekey {
    offer: Vec<IkeProposal>,
    method: KeMethod,
    spi: u64,
    nonce: Vec<u8>,
    /// INVALID_KE_PAYLOAD was followed.
    retried: bool,
    /// The lower nonce of what the peer has made meanwhile.
    rival: Option<Vec<u8>>,
    phase: Phase,
}

enum Phase {
    Generating,
    Sent(Box<dyn KeyExchange>),
    Agreeing(Granted),
}

/// What the peer grants.
struct Granted {
    suite: IkeSuite,
    spi: u64,
    nonce: Vec<u8>,
    public: Vec<u8>,
}

/// Begins.
pub(crate) fn begin(ike: &mut Ike, cx: &mut Cx<'_>) -> Move {
    // RFC 7296 §2.25: what the peer is doing goes first.
    if ike.answers() {
        ike.rekey_at = Some(cx.soon());
        return Move::Done;
    }
    let rekey = Rekey {
        offer: proposals(ike),
        method: ike.sa.suite.ke,
        spi: cx.reserve_spi(),
        nonce: cx.shared.nonce(),
        retried: false,
        rival: None,
        phase: Phase::Generating,
    };
    Box::new(rekey).generate(cx)
}

impl Rekey {
    fn generate(mut self: Box<Self>, cx: &mut Cx<'_>) -> Move {
        // [7296:2.18-1]
        let ask = cx.ask(Ask::Generate(self.method));
        self.phase = Phase::Generating;
        Move::Wait(Running::Rekey(self), ask)
    }

    /// Whether the peer may have seen the request.
    pub(crate) const fn was_sent(&self) -> bool {
        !matches!(self.phase, Phase::Generating)
    }

    /// The peer has made an IKE_SA meanwhile (RFC 7296 §2.8.2).
    pub(crate) fn collides(&mut self, lowest: Vec<u8>) {
        self.rival = Some(lowest);
    }

    /// Nothing comes of it.
    pub(crate) fn abandoned(&self, cx: &mut Cx<'_>) {
        cx.release_spi(self.spi);
    }

    /// An answer to an Ask of ours.
    pub(crate) fn answer(
        mut self: Box<Self>,
        ike: &mut Ike,
        cx: &mut Cx<'_>,
        id: AskId,
        answer: Answer,
    ) -> Move {
        let phase = core::mem::replace(&mut self.phase, Phase::Generating);
        match (phase, answer) {
            (Phase::Generating, Answer::Generated(Ok(key))) => self.send(ike, cx, key),
            (Phase::Generating, Answer::Generated(Err(_))) => self.refused_for(ike, cx, REFUSED_FOR),
            (Phase::Agreeing(granted), Answer::Agreed(result)) => self.agreed(ike, cx, &granted, result),
            // An answer of another name than the question: as good as none.
            (phase, _) => {
                self.phase = phase;
                Move::Wait(Running::Rekey(self), id)
            }
        }
    }

    /// An Ask was not answered in time.
    pub(crate) fn unanswered(&self, ike: &mut Ike, cx: &mut Cx<'_>) -> Move {
        match self.phase {
            Phase::Agreeing(_) => self.broken(ike, cx, explain::unanswered(Step::Established)),
            Phase::Generating | Phase::Sent(_) => self.refused_for(ike, cx, REFUSED_FOR),
        }
    }

    /// `SA, Ni, KEi`
    fn send(mut self: Box<Self>, ike: &mut Ike, cx: &mut Cx<'_>, key: Box<dyn KeyExchange>) -> Move {
        if ike.answers() {
            self.abandoned(cx);
            ike.rekey_at = Some(cx.soon());
            return Move::Done;
        }
        let payloads = vec![
            Payload::Sa(offer_ike(&self.offer, &self.spi.to_be_bytes())),
            Payload::Nonce(self.nonce.clone()),
            // [7296:1.3.2-1]
            Payload::Ke(KeyExchangeData::new(self.method, key.public().to_vec())),
        ];
        self.phase = Phase::Sent(key);
        Move::Send(Running::Rekey(self), ExchangeType::CREATE_CHILD_SA, payloads)
    }

    /// The response.
    pub(crate) fn answered(mut self: Box<Self>, ike: &mut Ike, cx: &mut Cx<'_>, response: &Message) -> Move {
        let Phase::Sent(key) = core::mem::replace(&mut self.phase, Phase::Generating) else {
            return Move::Done;
        };
        let has_sa = response.payloads.iter().any(|p| matches!(p, Payload::Sa(_)));
        let fails = |n: &&Notify| n.kind.is_error() && (!has_sa || n.kind.name().is_none());
        if let Some(notify) = response.notifies().find(fails) {
            return self.refused(ike, cx, notify);
        }
        match self.read(response) {
            Ok(granted) => {
                let ask = cx.ask(Ask::Agree { key, peer: granted.public.clone() });
                self.phase = Phase::Agreeing(granted);
                Move::Wait(Running::Rekey(self), ask)
            }
            Err(why) => {
                let text = format!("the peer's answer to the rekey of the IKE_SA: {why}");
                self.broken(ike, cx, explain::misbehaved(Step::Established, text))
            }
        }
    }

    fn read(&self, response: &Message) -> Result<Granted, String> {
        let sa = only!(response, Payload::Sa)?;
        let nonce = only!(response, Payload::Nonce)?;
        let ke = only!(response, Payload::Ke)?;
        let accepted = accept_ike(&self.offer, sa).map_err(|e| e.to_string())?;
        if accepted.suite.ke != self.method || ke.known() != Some(self.method) {
            return Err("its key exchange is not the one that was asked for".into());
        }
        let spi = super::spi(&accepted.spi).ok_or("its SPI is none")?;
        Ok(Granted { suite: accepted.suite, spi, nonce: nonce.clone(), public: ke.data.clone() })
    }

    fn agreed(
        &self,
        ike: &mut Ike,
        cx: &mut Cx<'_>,
        granted: &Granted,
        result: Result<Secret, CryptoError>,
    ) -> Move {
        let ends = Ends {
            role: Role::Initiator,
            spi_i: self.spi,
            spi_r: granted.spi,
            suite: granted.suite,
            nonces: (&self.nonce, &granted.nonce),
        };
        let made = result
            .map_err(|error| explain::crypto_failed(Step::Established, Some(self.method), error))
            .and_then(|shared| successor(ike, cx, &ends, &shared));
        let new = match made {
            Ok(new) => new,
            Err(why) => return self.broken(ike, cx, why),
        };
        // RFC 7296 §2.8.2: the one with the lowest nonce goes.
        let lowest = lower(ends.nonces);
        // [7296:2.8.2-1]
        if self.rival.as_ref().is_some_and(|theirs| lowest < *theirs) && ike.take_candidate(cx) {
            ike.delete_redundant(new);
            return Move::Done;
        }
        ike.refuse_candidate(cx);
        ike.succeed(cx, new, true);
        Move::Done
    }

    /// The peer says no.
    fn refused(mut self: Box<Self>, ike: &mut Ike, cx: &mut Cx<'_>, notify: &Notify) -> Move {
        // The peer's own goes on (RFC 7296 §2.25.2).
        if ike.take_candidate(cx) {
            self.abandoned(cx);
            return Move::Done;
        }
        match notify.kind {
            NotifyType::INVALID_KE_PAYLOAD if !self.retried => {
                let method = notify.data_u16().and_then(|m| offers_ke(&self.offer, m));
                if let Some(method) = method.filter(|m| *m != self.method) {
                    self.retried = true;
                    self.method = method;
                    return self.generate(cx);
                }
                self.refused_for(ike, cx, REFUSED_FOR)
            }
            NotifyType::TEMPORARY_FAILURE => {
                self.abandoned(cx);
                ike.later(cx, Task::RekeyIke)
            }
            _ => self.refused_for(ike, cx, REFUSED_FOR),
        }
    }

    /// What is in use goes on.
    fn refused_for(&self, ike: &mut Ike, cx: &mut Cx<'_>, time: Duration) -> Move {
        self.abandoned(cx);
        if !ike.take_candidate(cx) {
            ike.rekey_at = Some(cx.after(time.max(ike.policy.timing.rekey_ike / 10)));
        }
        Move::Done
    }

    /// The peer has an IKE_SA that we can't have: only a new beginning helps.
    fn broken(&self, ike: &mut Ike, cx: &mut Cx<'_>, why: Failure) -> Move {
        self.abandoned(cx);
        if !ike.take_candidate(cx) {
            ike.begin_close(cx, Task::DeleteIke, Err(why));
        }
        Move::Done
    }
}
