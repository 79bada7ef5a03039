//! A rekey of the IKE_SA that the peer begins: Encapsulate → response sent.

use adit_core::Secret;
use adit_isakmp::crypto::CryptoError;
use adit_isakmp::payload::{KeyExchangeData, Notify, NotifyType};
use adit_isakmp::proposal::{Chosen, IkeProposal, choose_ike, wanted_ke};
use adit_isakmp::{IkeSuite, Message, Payload};

use super::{Ends, proposals, successor};
use crate::api::{Answer, Ask, AskId};
use crate::ike::Ike;
use crate::state::{Cx, Role};
use crate::task::create::lower;
use crate::task::{Job, Reply, Turn, malformed};
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
}

/// A request to rekey the IKE_SA in use.
pub(crate) fn begin(ike: &mut Ike, cx: &mut Cx<'_>, message: &Message) -> Turn {
    // RFC 7296 §2.25.2, and §2.25.1: what makes or deletes CHILD_SAs has to be over.
    if ike.is_closing() || ike.changes_children() || ike.has_candidate() {
        return Turn::notify(NotifyType::TEMPORARY_FAILURE);
    }
    match read(&proposals(ike), message) {
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
            let ask = cx.ask(Ask::Encapsulate { method: chosen.suite.ke, peer: public.data.clone() });
            let nonce_r = cx.shared.nonce();
            let grant =
                GrantIke { chosen, spi_i, spi_r, nonce_i: nonce.clone(), nonce_r, old: ike.sa.our_spi() };
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
            _ if ike.is_closing() || ike.sa.our_spi() != self.old => {
                self.refuse(cx, NotifyType::TEMPORARY_FAILURE)
            }
            Answer::Encapsulated(Ok((public, shared))) => self.made(ike, cx, public, &shared),
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

    /// `SA, Nr, KEr`
    fn made(self, ike: &mut Ike, cx: &mut Cx<'_>, public: Vec<u8>, shared: &Secret) -> Turn {
        let suite = self.chosen.suite;
        let nonces = (self.nonce_i.as_slice(), self.nonce_r.as_slice());
        let ends = Ends { role: Role::Responder, spi_i: self.spi_i, spi_r: self.spi_r, suite, nonces };
        let Ok(new) = successor(ike, cx, &ends, shared) else {
            return self.refuse(cx, NotifyType::TEMPORARY_FAILURE);
        };
        let lowest = lower(nonces);
        let payloads = vec![
            Payload::Sa(self.chosen.reply),
            Payload::Nonce(self.nonce_r),
            Payload::Ke(KeyExchangeData::new(suite.ke, public)),
        ];
        Turn::Reply(Reply { payloads, ends: None, successor: Some(Box::new((new, lowest))) })
    }
}
