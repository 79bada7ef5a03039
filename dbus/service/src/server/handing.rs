//! What a server's clients hand on to the next process: a record each.

use std::net::SocketAddr;
use std::sync::Arc;

use adit_core::Path;
use adit_ikev2::api::SaId;
use serde::{Deserialize, Serialize};

use super::Inner;
use super::guest::Guest;
use crate::esp::Numbers;
use crate::handover::{CLIENTS, Keeper};
use crate::radius::ToldSession;
use crate::registry::Facts;

/// What is known of a client beside its IKE_SA. Nothing of it is secret.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub(crate) struct ToldClient {
    /// The server's.
    pub(crate) if_id: u32,
    /// The `[[connection]]` that it came in by, and what that is known by.
    pub(super) connection: String,
    pub(super) print: String,
    local: SocketAddr,
    remote: SocketAddr,
    /// The pool that its addresses are from.
    pub(super) pool: Option<String>,
    since: u64,
    rekeys: u64,
    next_rekey: u64,
    ppk: bool,
    resumed: bool,
    /// What RADIUS servers are told of.
    pub(super) session: Option<ToldSession>,
}

impl ToldClient {
    /// Where it was.
    pub(super) const fn path(&self) -> Path {
        Path { local: self.local, remote: self.remote }
    }

    /// It is as it was.
    pub(super) fn tell(&self, facts: &mut Facts) {
        (facts.since, facts.rekeys, facts.next_rekey) = (self.since, self.rekeys, self.next_rekey);
        facts.resumed = self.resumed;
        if self.ppk && !facts.ppk {
            facts.ppk = true;
            facts.ike_suite.push_str("-ppk");
        }
    }
}

/// The name of the record of the client with these numbers.
fn name_of(numbers: Numbers) -> String {
    format!("{CLIENTS}{:08x}", numbers.reqid)
}

impl Inner {
    /// What the next process goes on from, or is told of a client that it cannot go on with.
    pub(super) fn hand_on_client(&self, sa: SaId, snapshot: Option<&[u8]>) {
        let Some(guest) = self.guests().get(&sa).cloned() else { return };
        let Some(told) = self.told_of(sa, &guest) else { return };
        let mut handing = guest.handing();
        if handing.keeper.is_none() {
            handing.keeper = Keeper::new(name_of(guest.numbers));
        }
        let Some(keeper) = &mut handing.keeper else { return };
        keeper.write(&told, snapshot.unwrap_or_default());
        handing.goes_on = snapshot.is_some() && keeper.holds();
    }

    /// What is known of it has changed, and perhaps not its IKE_SA.
    pub(super) fn tell_again(&self, sa: SaId) {
        let Some(guest) = self.guests().get(&sa).cloned() else { return };
        if let (Some(told), Some(keeper)) = (self.told_of(sa, &guest), &mut guest.handing().keeper) {
            keeper.tell(&told);
        }
    }

    /// `None`: it is no client yet, or one that is dialled anew in any case.
    fn told_of(&self, sa: SaId, guest: &Arc<Guest>) -> Option<ToldClient> {
        let shown = self.daemon.registry().get(guest.connection()?)?;
        let facts = guest.facts();
        let (index, _) = facts.rule?;
        let rule = self.config.connections.get(index).filter(|rule| !rule.transport)?;
        let session = facts.session.as_ref().map(|s| s.told(self.daemon.sad().spent(sa).unwrap_or_default()));
        Some(ToldClient {
            if_id: self.numbers.if_id,
            connection: rule.name.to_string(),
            print: self.connection_prints.get(index)?.text(),
            local: shown.local?,
            remote: shown.remote?,
            pool: facts.pool.as_ref().map(|(pool, _)| pool.clone()),
            since: shown.since,
            rekeys: shown.rekeys,
            next_rekey: shown.next_rekey,
            ppk: shown.ppk,
            resumed: shown.resumed,
            session,
        })
    }

    /// Keeps what is told of clients true where their IKE_SAs do not work.
    pub(super) fn follow_spent(self: &Arc<Self>) {
        let Some(mut news) = self.daemon.sad().follow_spent() else { return };
        let daemon = Arc::downgrade(&self.daemon);
        tokio::spawn(async move {
            while let Some(sa) = news.recv().await {
                let Some(daemon) = daemon.upgrade() else { return };
                daemon.tell_again(sa).await;
            }
        });
    }
}
