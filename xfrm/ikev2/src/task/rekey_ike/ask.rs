//! A rekey of the IKE_SA that we begin: Generate → request sent → Agree, for each key exchange → the old one is deleted.

use core::time::Duration;

use adit_core::{Failure, Secret, Step};
use adit_isakmp::crypto::{CryptoError, KeyExchange};
use adit_isakmp::payload::{KeyExchangeData, Notify, NotifyType};
use adit_isakmp::proposal::{IkeProposal, accept_ike, offer_ike, offers_ke};
use adit_isakmp::{ExchangeType, IkeSuite, KeMethod, Message, Payload};

use super::{Ends, offered, successor};
use crate::api::{Answer, Ask, AskId, Event};
use crate::explain;
use crate::ike::Ike;
use crate::intermediate;
use crate::state::{Cx, Role};
use crate::task::create::lower;
use crate::task::followup::{self, Exchanges, FOLLOWED_WITHIN};
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
    /// The key of an additional key exchange is being made.
    Following(Granted),
    /// IKE_FOLLOWUP_KE was sent.
    Followed(Granted, Box<dyn KeyExchange>),
}

/// What the peer grants.
struct Granted {
    suite: IkeSuite,
    spi: u64,
    nonce: Vec<u8>,
    exchanges: Exchanges,
    /// What the next IKE_FOLLOWUP_KE has to repeat.
    link: Option<Vec<u8>>,
}

/// Begins.
pub(crate) fn begin(ike: &mut Ike, cx: &mut Cx<'_>) -> Move {
    // RFC 7296 §2.25: what the peer is doing goes first.
    if ike.answers() {
        ike.rekey_at = Some(cx.soon());
        return Move::Done;
    }
    let rekey = Rekey {
        offer: offered(ike),
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
        self.phase = Phase::Generating;
        // [7296:2.18-1]
        let ask = cx.ask(Ask::Generate(self.method));
        Move::Wait(Running::Rekey(self), ask)
    }

    /// Whether the peer may have seen the request.
    pub(crate) const fn was_sent(&self) -> bool {
        !matches!(self.phase, Phase::Generating)
    }

    /// Whether it is granted, and has further key exchanges ahead.
    pub(crate) fn follows_up(&self) -> bool {
        match &self.phase {
            Phase::Agreeing(granted) | Phase::Following(granted) | Phase::Followed(granted, _) => {
                granted.exchanges.several()
            }
            Phase::Generating | Phase::Sent(_) => false,
        }
    }

    /// Whether the peer has the new IKE_SA already.
    pub(crate) fn is_granted(&self) -> bool {
        matches!(&self.phase, Phase::Agreeing(granted) if granted.exchanges.is_last())
    }

    /// The peer has made an IKE_SA meanwhile, or is about to (RFC 7296 §2.8.2).
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
            (Phase::Agreeing(granted), Answer::Agreed(result)) => self.agreed(ike, cx, granted, result),
            (Phase::Following(granted), Answer::Generated(Ok(key))) => self.follow(granted, key),
            (Phase::Following(_), Answer::Generated(Err(_))) => self.gives_up(ike, cx),
            // An answer of another name than the question: as good as none.
            (phase, _) => {
                self.phase = phase;
                Move::Wait(Running::Rekey(self), id)
            }
        }
    }

    /// An Ask was not answered in time.
    pub(crate) fn unanswered(&self, ike: &mut Ike, cx: &mut Cx<'_>) -> Move {
        match &self.phase {
            Phase::Agreeing(granted) if granted.exchanges.is_last() => {
                self.broken(ike, cx, explain::unanswered(Step::Established))
            }
            Phase::Agreeing(_) | Phase::Following(_) | Phase::Followed(..) => self.gives_up(ike, cx),
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
        let key = match core::mem::replace(&mut self.phase, Phase::Generating) {
            Phase::Sent(key) => key,
            Phase::Followed(granted, key) => return self.followed(ike, cx, granted, key, response),
            _ => return Move::Done,
        };
        let has_sa = response.payloads.iter().any(|p| matches!(p, Payload::Sa(_)));
        let fails = |n: &&Notify| n.kind.is_error() && (!has_sa || n.kind.name().is_none());
        if let Some(notify) = response.notifies().find(fails) {
            return self.refused(ike, cx, notify);
        }
        match self.read(response) {
            Ok((granted, _)) if granted.exchanges.several() && self.loses(&granted.nonce) => {
                self.lost(ike, cx)
            }
            Ok((granted, public)) => {
                if self.rival.is_some() && !self.loses(&granted.nonce) {
                    ike.drop_rival(cx, None);
                }
                self.agree(cx, granted, key, public)
            }
            Err(why) => {
                let text = format!("the peer's answer to the rekey of the IKE_SA: {why}");
                self.broken(ike, cx, explain::misbehaved(Step::Established, text))
            }
        }
    }

    /// What is granted, and the peer's public value.
    fn read(&self, response: &Message) -> Result<(Granted, Vec<u8>), String> {
        let sa = only!(response, Payload::Sa)?;
        let nonce = only!(response, Payload::Nonce)?;
        let ke = only!(response, Payload::Ke)?;
        let accepted = accept_ike(&self.offer, sa).map_err(|e| e.to_string())?;
        if accepted.suite.ke != self.method || ke.known() != Some(self.method) {
            return Err("its key exchange is not the one that was asked for".into());
        }
        let spi = super::spi(&accepted.spi).ok_or("its SPI is none")?;
        let exchanges = Exchanges::new(accepted.suite.additional);
        let link = followup::link(response);
        if exchanges.several() && link.is_none() {
            return Err("it has additional key exchanges, and does not say how they are linked".into());
        }
        Ok((Granted { suite: accepted.suite, spi, nonce: nonce.clone(), exchanges, link }, ke.data.clone()))
    }

    fn agree(
        mut self: Box<Self>,
        cx: &mut Cx<'_>,
        granted: Granted,
        key: Box<dyn KeyExchange>,
        peer: Vec<u8>,
    ) -> Move {
        let ask = cx.ask(Ask::Agree { key, peer });
        self.phase = Phase::Agreeing(granted);
        Move::Wait(Running::Rekey(self), ask)
    }

    fn agreed(
        mut self: Box<Self>,
        ike: &mut Ike,
        cx: &mut Cx<'_>,
        mut granted: Granted,
        result: Result<Secret, CryptoError>,
    ) -> Move {
        let last = granted.exchanges.is_last();
        match result.map(|shared| granted.exchanges.over(shared)) {
            // [9370:2.2.4-1]
            Ok(Some(next)) => {
                let ask = cx.ask(Ask::Generate(next));
                self.phase = Phase::Following(granted);
                Move::Wait(Running::Rekey(self), ask)
            }
            // [9370:2.2.4-5]
            Ok(None) => self.make(ike, cx, &granted),
            Err(error) if last => {
                let why = explain::crypto_failed(Step::Established, Some(self.method), error);
                self.broken(ike, cx, why)
            }
            Err(_) => self.gives_up(ike, cx),
        }
    }

    /// `KEi(n), N(ADDITIONAL_KEY_EXCHANGE)`
    fn follow(mut self: Box<Self>, mut granted: Granted, key: Box<dyn KeyExchange>) -> Move {
        let payloads = followup::request(&*key, granted.link.take().unwrap_or_default());
        self.phase = Phase::Followed(granted, key);
        Move::Send(Running::Rekey(self), ExchangeType::IKE_FOLLOWUP_KE, payloads)
    }

    /// The response to it.
    fn followed(
        self: Box<Self>,
        ike: &mut Ike,
        cx: &mut Cx<'_>,
        mut granted: Granted,
        key: Box<dyn KeyExchange>,
        response: &Message,
    ) -> Move {
        if response.notifies().any(|n| n.kind.is_error()) {
            return self.gives_up(ike, cx);
        }
        granted.link = followup::link(response);
        let last = granted.exchanges.is_last();
        match intermediate::public(response, key.method()) {
            Ok(peer) if last || granted.link.is_some() => self.agree(cx, granted, key, peer),
            Err(why) if last => {
                let text = format!("the peer's answer to IKE_FOLLOWUP_KE: {why}");
                self.broken(ike, cx, explain::misbehaved(Step::Established, text))
            }
            Ok(_) | Err(_) => self.gives_up(ike, cx),
        }
    }

    /// Whether ours has to go: the one with the lowest nonce (RFC 7296 §2.8.2).
    fn loses(&self, nonce: &[u8]) -> bool {
        // [7296:2.8.2-1]
        self.rival.as_ref().is_some_and(|theirs| lower((&self.nonce, nonce)) < *theirs)
    }

    /// The peer's own goes on, and ours is not followed up.
    fn lost(&self, ike: &mut Ike, cx: &mut Cx<'_>) -> Move {
        self.abandoned(cx);
        if !ike.take_candidate(cx) {
            ike.rekey_at = Some(cx.after(FOLLOWED_WITHIN));
        }
        Move::Done
    }

    /// Ours came to nothing on the way. What the peer has made meanwhile had lost to it: it waits for what the peer
    /// deletes.
    fn gives_up(&self, ike: &mut Ike, cx: &mut Cx<'_>) -> Move {
        self.abandoned(cx);
        ike.later(cx, Task::RekeyIke)
    }

    fn make(&self, ike: &mut Ike, cx: &mut Cx<'_>, granted: &Granted) -> Move {
        let ends = Ends {
            role: Role::Initiator,
            spi_i: self.spi,
            spi_r: granted.spi,
            suite: granted.suite,
            nonces: (&self.nonce, &granted.nonce),
        };
        let new = match successor(ike, cx, &ends, granted.exchanges.secrets()) {
            Ok(new) => new,
            Err(why) => return self.broken(ike, cx, why),
        };
        // What the peer still follows up takes its place when it is there.
        if self.loses(&granted.nonce) && (ike.is_being_replaced() || ike.take_candidate(cx)) {
            ike.delete_redundant(new);
            ike.ask_for_children(cx);
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
                self.said_no(ike, cx, notify)
            }
            NotifyType::TEMPORARY_FAILURE => {
                self.abandoned(cx);
                ike.later(cx, Task::RekeyIke)
            }
            NotifyType::NO_ADDITIONAL_SAS => {
                ike.begin_anew(cx);
                self.refused_for(ike, cx, REFUSED_FOR)
            }
            _ => self.said_no(ike, cx, notify),
        }
    }

    fn said_no(&self, ike: &mut Ike, cx: &mut Cx<'_>, notify: &Notify) -> Move {
        cx.event(Event::RekeyRefused { child: None, why: explain::rekey_refused(&self.offer, notify) });
        self.refused_for(ike, cx, REFUSED_FOR)
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
