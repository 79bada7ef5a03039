//! The ticket of a peer that is let in (RFC 5723 §4.2).

use adit_isakmp::Payload;
use adit_isakmp::payload::Identification;

use super::Admitted;
use crate::ike::Resumption;
use crate::state::Cx;
use crate::task::ticket;
use crate::tickets::{Name, Session};

impl Admitted {
    /// A ticket for who has asked for one, or the word that there is none.
    pub(super) fn hand_ticket(&self, cx: &mut Cx<'_>, name: &mut Option<Name>) -> Option<Payload> {
        let lifetime = self.config.ticket_lifetime;
        match (self.ticket, lifetime.as_secs()) {
            (false, _) => None,
            (true, 0) => Some(ticket::refusal()),
            (true, _) => {
                let session = Session {
                    sa: cx.sa,
                    // [5723:6.2-1]
                    until: cx.now + lifetime,
                    sk_d: self.handshake.keys.d.duplicate(),
                    suite: self.handshake.suite,
                    initiator: self.id.clone(),
                    responder: Identification::from(&self.config.local_id),
                    remote: self.remote.clone(),
                    ppk: self.handshake.has_ppk(),
                };
                Some(cx.shared.hand(cx.now, name, session))
            }
        }
    }

    /// What is to be remembered of that.
    pub(super) fn resumption(&self, ticket: Option<Name>) -> Option<Box<Resumption>> {
        let (from, ppk) = (self.key.resumes(), self.handshake.has_ppk());
        if ticket.is_none() && from.is_none() {
            return None;
        }
        let new = Resumption::new(self.id.clone(), Identification::from(&self.config.local_id), ppk);
        Some(Box::new(Resumption { from, ticket, ..new }))
    }
}
