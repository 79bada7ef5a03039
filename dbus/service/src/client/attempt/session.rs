//! The session of a connection (RFC 5723): what it can be resumed with when its IKE_SA is lost. It is kept in memory, for as
//! long as the connection is wanted, and gone when it was used.

use adit_core::{Failure, FailureCode, Step};
use adit_ikev2::api::{Input, Ticket};
use adit_profile::ServerName;

use super::Attempt;
use crate::clock;

impl Attempt {
    /// The server gives a ticket, or one was not used.
    pub(super) fn got_ticket(&mut self, ticket: Box<Ticket>) {
        let gateway = self.live.as_ref().map(|live| live.gateway.clone());
        self.ticket = gateway.filter(|_| self.profile.session_resumption).map(|gateway| (gateway, ticket));
    }

    /// The ticket for this gateway, if there is a good one. It is used once.
    pub(super) fn take_ticket(&mut self, gateway: &ServerName) -> Option<Box<Ticket>> {
        // Of several ways each has to log in.
        if self.login.is_some() {
            return None;
        }
        let (_, ticket) = self.ticket.take_if(|(of, _)| of == gateway)?;
        let good = ticket.until() > clock::now();
        if good {
            self.progress(Step::IkeInit, "IKEv2: resuming the session");
        }
        good.then_some(ticket)
    }

    /// Whom the server has sent away has no session any more.
    pub(super) fn keep_ticket_if_lost(&mut self, failure: &Failure) {
        if failure.code == FailureCode::PeerClosed {
            self.ticket = None;
        }
    }

    /// Lets the IKE_SA go without a word: with a DELETE the server would forget the session, too.
    pub(super) fn abandon(&mut self) {
        if let Some(live) = self.live.take() {
            live.ike.input(Input::Abandon { sa: live.sa });
        }
    }
}
