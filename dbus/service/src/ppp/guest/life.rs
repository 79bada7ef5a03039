//! A link that stands: it is shown, counted and told of, and what is undone when it is over.

use std::sync::{Arc, Weak};

use adit_dbus_api::Traffic;
use adit_ikev2::api::Lease;
use adit_ppp::Established;
use tokio::sync::watch;
use tracing::info;

use super::Guest;
use crate::ppp::server::Standing;
use crate::ppp::{self, About, Later, Unit};
use crate::radius::{Cause, Session as Accounted, keep};
use crate::registry::{ConnectionId, Facts, Role, State};
use crate::suites;

impl Guest {
    /// The link carries packets.
    pub(in crate::ppp) fn established(&self, unit: Option<&Arc<Unit>>, stop: &watch::Sender<bool>) {
        let id = self.show(unit, stop);
        let mut facts = self.facts();
        if let (Some(remote), Some(granted)) = (&self.remote, facts.granted.take()) {
            let v6 = facts.network.map(|network| (network, 64));
            let lease = Lease { v4: facts.address, v6, ..Lease::default() };
            let grant = remote.grant(granted, facts.identity.clone());
            facts.accounted = Some(Accounted::begin(grant, remote.path(), lease));
        }
        let (user, addresses) = (facts.identity.clone(), facts.addresses_in_use());
        drop(facts);
        self.server.daemon.registry().set_state(id, State::Connected, "established", None);
        info!(from = %self.from, user, ?addresses, "{}: connected", self.server.carriage.name());
    }

    /// It is shown, and can be ended by who sees it.
    pub(super) fn show(&self, unit: Option<&Arc<Unit>>, stop: &watch::Sender<bool>) -> ConnectionId {
        let mut facts = self.facts();
        let mut shown = Facts::new(Role::Server, self.server.carriage.word(), "");
        let mppe = facts.established.as_ref().and_then(|e| e.mppe);
        let (esp, weak) = suites::ppp_shown(&facts.outside, mppe);
        shown.local = Some(self.local);
        shown.remote = Some(self.from);
        shown.remote_id.clone_from(&facts.identity);
        shown.addresses = facts.addresses_in_use();
        shown.dns.clone_from(&facts.dns);
        shown.tunnel = self.server.config.kind;
        shown.ike_suite.clone_from(&facts.how);
        shown.esp_suite = esp;
        shown.legacy = weak;
        shown.interface = unit.map(|u| u.name().to_owned()).unwrap_or_default();
        let id = self.server.daemon.registry().add(shown);
        facts.connection = Some(id);
        let unit = unit.map_or_else(Weak::new, Arc::downgrade);
        let mut sessions = self.server.sessions();
        if !facts.behind.is_empty() {
            sessions.sites.insert(facts.identity.clone(), id);
        }
        sessions.standing.insert(id, Standing { stop: stop.clone(), unit, guest: self.me.clone() });
        id
    }

    /// A family has come late, or has gone.
    pub(super) fn changed(&self, up: &Established) {
        let mut facts = self.facts();
        facts.established = Some(up.clone());
        let (addresses, connection) = (facts.addresses_in_use(), facts.connection);
        drop(facts);
        if let Some(id) = connection {
            self.server.daemon.registry().update(id, |f| f.addresses = addresses);
        }
    }

    /// Tells RADIUS servers of the session as long as it lasts. Returns when they do not let it go on.
    pub(in crate::ppp) fn kept(&self, unit: Option<&Arc<Unit>>) -> Later<Cause> {
        let accounted = self.facts().accounted.as_ref().map_or_else(Weak::new, Arc::downgrade);
        let unit = unit.map_or_else(Weak::new, Arc::downgrade);
        Box::pin(async move {
            let carried = || {
                let unit = unit.upgrade();
                async move { ppp::carried(unit?).await.ok() }
            };
            match keep(accounted, carried).await {
                Some(cause) => cause,
                None => std::future::pending().await,
            }
        })
    }

    /// Tells RADIUS servers and pppd's scripts that it is over, while the kernel still knows what it has carried.
    pub(in crate::ppp) async fn account(&self, unit: Option<&Arc<Unit>>, cause: Cause) {
        let is_told = {
            let facts = self.facts();
            facts.accounted.is_some() || facts.scripts.is_some()
        };
        if !is_told {
            return;
        }
        let carried = match unit {
            Some(unit) => ppp::carried(Arc::clone(unit)).await.unwrap_or_default(),
            None => Traffic::default(),
        };
        self.is_over(&carried, cause);
    }

    /// The same, where it is known what it has carried.
    pub(in crate::ppp) fn is_over(&self, carried: &Traffic, cause: Cause) {
        let (accounted, scripts) = {
            let mut facts = self.facts();
            (facts.accounted.take(), facts.scripts.take())
        };
        if let Some(scripts) = scripts {
            scripts.down(carried);
        }
        if let Some(accounted) = accounted {
            accounted.end(*carried, cause);
        }
    }

    pub(super) fn about(&self, peer: &str) -> About {
        About {
            device: self.carriage().word(),
            // As pptpd has it.
            parameter: self.from.ip().to_string(),
            link: String::new(),
            peer: peer.to_owned(),
            use_peer_dns: false,
        }
    }

    /// Gives back what they had.
    pub(in crate::ppp) async fn leave(&self) {
        let (proven, owner, connection, undo) = {
            let mut facts = self.facts();
            (facts.advertising, facts.answering) = (None, None);
            (facts.proven, facts.owner.take(), facts.connection.take(), facts.undo.take())
        };
        if let Some(undo) = undo {
            // Its unit is gone by now, and the setting with it: it is struck off.
            let _ = self.server.daemon.host().undo(&undo).await;
        }
        if !proven {
            self.server.no_longer_half_open(self.from.ip());
        }
        if let Some(owner) = owner {
            self.server.pool().release(owner);
        }
        {
            let mut sessions = self.server.sessions();
            sessions.count = sessions.count.saturating_sub(1);
            if let Some(id) = connection {
                sessions.standing.remove(&id);
                sessions.sites.retain(|_, standing| *standing != id);
            }
        }
        if let Some(id) = connection {
            self.server.daemon.registry().remove(id);
        }
        self.server.gone.notify_waiters();
    }
}
