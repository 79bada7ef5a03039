//! Keys that are replaced because somebody asks.

use adit_core::{Failure, FailureCode, Step};
use adit_ikev2::api::SaId;
use adit_profile::TunnelKind;

use super::{Daemon, lock};
use crate::esp::{Rekey, not_on_demand};
use crate::registry::{ConnectionId, Role};

impl Daemon {
    /// Has keys of a connection replaced now; returns how many SAs are to be.
    ///
    /// # Errors
    /// There is no such connection, or it has no such keys.
    pub async fn rekey(&self, id: ConnectionId, which: Rekey) -> Result<u32, Failure> {
        let facts = self.registry.get(id);
        let (kind, role) =
            facts.map_or((TunnelKind::Ikev2, Role::Client), |facts| (facts.tunnel, facts.role));
        let dialled = lock(&self.clients).get(&id).cloned();
        let sa = match (kind, dialled) {
            (TunnelKind::Ikev2, Some(dialled)) => dialled.ike_sa(),
            (TunnelKind::Ikev2, None) => {
                self.server.lock().await.as_ref().and_then(|server| server.ike_sa(id))
            }
            (kind, _) => {
                let protection = lock(&self.protections).get(&id).copied();
                Some(protection.ok_or_else(|| not_on_demand(kind, role))?)
            }
        };
        match sa.map_or(0, |sa| self.sad.rekey(sa, which)) {
            0 => Err(Failure::new(FailureCode::NotFound, Step::Established, "it has no keys to replace now")
                .hint("ctl status  shows whether it is connected")),
            asked => Ok(asked),
        }
    }

    /// This protects a connection's L2TP tunnel from now on; `None`: nothing does.
    pub(crate) fn protected(&self, id: ConnectionId, by: Option<SaId>) {
        let mut protections = lock(&self.protections);
        match by {
            Some(sa) => protections.insert(id, sa),
            None => protections.remove(&id),
        };
    }
}
