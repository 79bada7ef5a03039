//! A rekey of the IKE_SA that the peer begins: Encapsulate → response sent, for each key exchange.

use adit_isakmp::crypto::CryptoError;
use adit_isakmp::payload::{KeyExchangeData, Notify, NotifyType};
use adit_isakmp::proposal::{Chosen, IkeProposal, choose_ike, wanted_ke};
use adit_isakmp::{IkeSuite, KeMethod, Message, Payload};

use super::{Ends, accepted, successor};
use crate::api::{Answer, Ask, AskId};
use crate::ike::Ike;
use crate::intermediate;
use crate::state::{Cx, Role};
use crate::task::create::lower;
use crate::task::followup::Exchanges;
use crate::task::{Job, Reply, Turn, malformed, ticket};
use crate::wire::only;

/// An IKE_SA that the peer gets.
pub(crate) struct GrantIke {
    chosen: Chosen<IkeSuite>,
    spi_i: u64,
    spi_r: u64,
    nonce_i: Vec<u8>,
    nonce_r: Vec<u8>,
    /// Our SPI of the IKE_SA that is to be replaced.
    old: u64,
    exchanges: Exchanges,
    /// The method of the key exchange under way.
    method: KeMethod,
    /// A ticket is asked for.
    ticket: bool,
}

impl GrantIke {
    /// Whether the peer, which has no answer yet, may ask the same of whoever goes on.
    pub(crate) fn may_be_asked_again(&self) -> bool {
        !self.exchanges.several()
    }
}

/// A request to rekey the IKE_SA in use.
pub(crate) fn begin(ike: &mut Ike, cx: &mut Cx<'_>, message: &Message) -> Turn {
    // RFC 7296 §2.25.2, and §2.25.1: what makes or deletes CHILD_SAs has to be over.
    if ike.is_closing() || ike.changes_children() || ike.has_candidate() || ike.follows_up(None) {
        return Turn::notify(NotifyType::TEMPORARY_FAILURE);
    }
    match read(&accepted(ike), message) {
        Err(why) => Turn::Reply(malformed(&format!("CREATE_CHILD_SA: {why}"))),
        Ok(Err(notify)) => Turn::Reply(Reply::of(vec![Payload::Notify(notify)])),
        Ok(Ok((mut chosen, nonce, public))) => {
            let Some(spi_i) = super::spi(&chosen.spi) else {
                return Turn::Reply(malformed("CREATE_CHILD_SA: the new SPI is none"));
            };
            let spi_r = cx.reserve_spi();
            for proposal in &mut chosen.reply.proposals {
                proposal.spi = spi_r.to_be_bytes().to_vec();
            }
            let method = chosen.suite.ke;
            let ask = cx.ask(Ask::Encapsulate { method, peer: public.data.clone() });
            let grant = GrantIke {
                exchanges: Exchanges::new(chosen.suite.additional),
                chosen,
                spi_i,
                spi_r,
                nonce_i: nonce.clone(),
                nonce_r: cx.shared.nonce(),
                old: ike.sa.our_spi(),
                method,
                ticket: ticket::is_asked_for(message),
            };
            Turn::Wait(Job::GrantIke(Box::new(grant)), ask)
        }
    }
}

type Wish<'a> = (Chosen<IkeSuite>, &'a Vec<u8>, &'a KeyExchangeData);

/// The outer error: the message is malformed. The inner one: it is well formed, and can't be had.
fn read<'a>(ours: &[IkeProposal], message: &'a Message) -> Result<Result<Wish<'a>, Notify>, String> {
    let sa = only!(message, Payload::Sa)?;
    let nonce = only!(message, Payload::Nonce)?;
    // [7296:1.3.2-1] [7296:2.18-2]
    let public = only!(message, Payload::Ke)?;
    // What the peer's value is for goes first, so that it need not ask again: some can't.
    let mut fitting = ours.to_vec();
    fitting.iter_mut().for_each(|p| p.ke.retain(|m| public.known() == Some(*m)));
    fitting.retain(|p| !p.ke.is_empty());
    let spi = [0; 8];
    let Ok(chosen) = choose_ike(&fitting, sa, &spi).or_else(|_| choose_ike(ours, sa, &spi)) else {
        return Ok(Err(Notify::new(NotifyType::NO_PROPOSAL_CHOSEN, [])));
    };
    if let Some(wanted) = wanted_ke(chosen.suite.ke, public) {
        let data = wanted.transform_id().to_be_bytes();
        return Ok(Err(Notify::new(NotifyType::INVALID_KE_PAYLOAD, data)));
    }
    Ok(Ok((chosen, nonce, public)))
}

impl GrantIke {
    /// An answer to an Ask of ours.
    pub(crate) fn answer(self: Box<Self>, ike: &mut Ike, cx: &mut Cx<'_>, id: AskId, answer: Answer) -> Turn {
        match answer {
            // Ours has been made meanwhile, or it is being closed.
            _ if ike.is_closing() || ike.sa.our_spi() != self.old || ike.follows_up(None) => {
                self.refuse(cx, NotifyType::TEMPORARY_FAILURE)
            }
            Answer::Encapsulated(Ok((public, shared))) => {
                let ke = intermediate::payload(self.method, public);
                let mut grant = self;
                match grant.exchanges.over(shared) {
                    Some(next) => grant.goes_on(ike, cx, ke, next),
                    None => grant.made(ike, cx, ke),
                }
            }
            Answer::Encapsulated(Err(CryptoError::BadPublicValue)) => {
                self.refuse(cx, NotifyType::NO_PROPOSAL_CHOSEN)
            }
            Answer::Encapsulated(Err(_)) => self.refuse(cx, NotifyType::TEMPORARY_FAILURE),
            // An answer of another name than the question: as good as none.
            _ => Turn::Wait(Job::GrantIke(self), id),
        }
    }

    /// It was not answered in time.
    pub(crate) fn unanswered(&self, cx: &mut Cx<'_>) -> Turn {
        self.refuse(cx, NotifyType::TEMPORARY_FAILURE)
    }

    fn refuse(&self, cx: &mut Cx<'_>, kind: NotifyType) -> Turn {
        cx.release_spi(self.spi_r);
        Turn::notify(kind)
    }

    /// Nothing comes of it.
    pub(crate) fn dropped(&self, cx: &mut Cx<'_>) {
        cx.release_spi(self.spi_r);
    }

    /// The peer's next key exchange.
    pub(crate) fn followed(self: Box<Self>, cx: &mut Cx<'_>, message: &Message) -> Turn {
        match intermediate::public(message, self.method) {
            Ok(peer) => {
                let ask = cx.ask(Ask::Encapsulate { method: self.method, peer });
                Turn::Wait(Job::GrantIke(self), ask)
            }
            Err(why) => {
                self.dropped(cx);
                Turn::Reply(malformed(&format!("IKE_FOLLOWUP_KE: {why}")))
            }
        }
    }

    /// `SA, Nr, KEr, N(ADDITIONAL_KEY_EXCHANGE)`, or `KEr(n), N(ADDITIONAL_KEY_EXCHANGE)`
    fn goes_on(mut self: Box<Self>, ike: &mut Ike, cx: &mut Cx<'_>, ke: Payload, next: KeMethod) -> Turn {
        if self.exchanges.secrets().len() == 1 {
            ike.contested(lower((&self.nonce_i, &self.nonce_r)));
        }
        let mut payloads = self.payloads(ke);
        self.method = next;
        // [9370:2.2.4-1]
        payloads.push(ike.pend(cx, Job::GrantIke(self)));
        Turn::Reply(Reply::of(payloads))
    }

    /// `SA, Nr, KEr`, or `KEr(n)`
    fn payloads(&mut self, ke: Payload) -> Vec<Payload> {
        if self.exchanges.secrets().len() > 1 {
            return vec![ke];
        }
        let reply = core::mem::take(&mut self.chosen.reply);
        vec![Payload::Sa(reply), Payload::Nonce(self.nonce_r.clone()), ke]
    }

    fn made(mut self, ike: &mut Ike, cx: &mut Cx<'_>, ke: Payload) -> Turn {
        let mut payloads = self.payloads(ke);
        let suite = self.chosen.suite;
        let nonces = (self.nonce_i.as_slice(), self.nonce_r.as_slice());
        let ends = Ends { role: Role::Responder, spi_i: self.spi_i, spi_r: self.spi_r, suite, nonces };
        // [9370:2.2.4-5]
        let Ok(new) = successor(ike, cx, &ends, self.exchanges.secrets()) else {
            return self.refuse(cx, NotifyType::TEMPORARY_FAILURE);
        };
        let lowest = lower(nonces);
        if self.ticket {
            payloads.extend(ike.hand_ticket_of(cx, &new));
        }
        Turn::Reply(Reply { payloads, ends: None, successor: Some(Box::new((new, lowest))) })
    }
}
