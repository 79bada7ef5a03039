//! What a client hands on to the next process, and one that a process before has left.

use std::net::Ipv6Addr;
use std::os::fd::OwnedFd;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use adit_core::{Failure, FailureCode, Step};
use adit_dbus_api::Traffic;
use adit_pool::Request;
use adit_ppp::{Network, Restored};
use tokio::sync::watch;

use super::Guest;
use crate::handover::{Bundle, ToldGuest, guests_of, is_there};
use crate::ppp::handing::{Kept, Leaving, remove};
use crate::ppp::radius::Remote;
use crate::ppp::server::Inner;
use crate::ppp::{Scripts, Unit};
use crate::radius::Session as Accounted;
use crate::registry::State as Standing;
use crate::server::identity;

/// What keeps a client's record.
#[derive(Default)]
pub(super) struct Handing(Mutex<State>);

#[derive(Default)]
struct State {
    /// It ends: nothing is kept any more.
    over: bool,
    kept: Kept,
}

impl Handing {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Guest {
    /// Whether the next process may go on with it.
    pub(super) fn may_hand_on(&self) -> bool {
        guests_of(self.server.config.kind).is_some() && is_there() && !self.handing.state().over
    }

    /// Whether it could from here.
    pub(in crate::ppp) fn is_handed_on(&self) -> bool {
        self.handing.state().kept.holds()
    }

    /// What the next process goes on from; `None`: it can't.
    pub(super) fn leaves(&self, leaving: Option<&Leaving<'_>>) {
        let ready = leaving.and_then(|leaving| {
            let unit = leaving.of_kernel()?;
            Some((leaving, unit, self.told(unit)?))
        });
        let mut state = self.handing.state();
        let State { over: false, kept } = &mut *state else { return };
        match (ready, guests_of(self.server.config.kind)) {
            (Some((leaving, unit, told)), Some(prefix)) => {
                kept.write((prefix, told.index), (leaving, unit), &told);
            }
            _ => kept.clear(),
        }
    }

    /// What is known of it has changed, and perhaps not its link.
    pub(in crate::ppp) fn tell_again(&self, unit: &Unit) {
        let Unit::Kernel(unit) = unit else { return };
        if let Some(told) = self.told(unit) {
            self.handing.state().kept.tell(told);
        }
    }

    /// `None`: it is not up yet.
    fn told(&self, unit: &adit_ppp_kernel::Unit) -> Option<ToldGuest> {
        let server = &self.server;
        let facts = self.facts();
        let since = server.daemon.registry().get(facts.connection?)?.since;
        let standing = unit.standing();
        Some(ToldGuest {
            print: server.print.clone(),
            if_id: server.numbers.if_id,
            local: self.local,
            remote: self.from,
            since,
            link: standing.name.to_owned(),
            index: standing.index,
            number: standing.number,
            identity: facts.identity.clone(),
            how: facts.how.clone(),
            address: facts.address,
            network: facts.network,
            dns: facts.dns.clone(),
            behind: facts.behind.iter().map(|prefix| (prefix.address, prefix.length)).collect(),
            // What it has carried, its unit counts.
            session: facts.accounted.as_ref().map(|session| session.told(Traffic::default())),
        })
    }

    /// Who runs its scripts.
    pub(super) fn helped_by(&self, helper: Option<OwnedFd>) {
        self.handing.state().kept.helped_by(helper);
    }

    /// One that a process before has left, with the helper that runs its scripts.
    pub(in crate::ppp) fn again(
        server: &Arc<Inner>,
        told: &ToldGuest,
        (bundle, helper): (Bundle, Option<OwnedFd>),
    ) -> Arc<Self> {
        let session = told.session.clone().zip(server.radius.clone());
        let session = session.map(|(session, radius)| Accounted::again(session, radius));
        let remote = server.radius.as_ref().map(|radius| match &session {
            Some(session) => Remote::again(radius, told.path(), session.id()),
            None => Remote::new(radius, told.path()),
        });
        let guest = Self::of(server, told.path(), remote);
        guest.handing.state().kept = Kept::again(bundle, told.index);
        {
            let mut facts = guest.facts();
            facts.proven = true;
            facts.identity.clone_from(&told.identity);
            facts.how.clone_from(&told.how);
            (facts.address, facts.network) = (told.address, told.network);
            facts.dns.clone_from(&told.dns);
            (facts.behind, facts.accounted) = (told.behind(), session);
            let scripts = || Scripts::again(guest.about(&told.identity), helper, told.since);
            facts.scripts = server.config.scripts.then(scripts);
        }
        server.sessions().count += 1;
        guest
    }

    /// It has the addresses still that it had.
    ///
    /// # Errors
    /// They are another's, or of no pool any more.
    pub(in crate::ppp) fn lease_back(&self) -> Result<(), Failure> {
        let server = &self.server;
        let mut facts = self.facts();
        let owner = u64::from(server.next_owner.fetch_add(1, Ordering::Relaxed));
        let network = facts.network.map(|network| Ipv6Addr::from_bits(network.to_bits() >> 64));
        let wanted = Request {
            v4: facts.address.is_some(),
            v6: network.is_some(),
            wanted_v4: facts.address,
            wanted_v6: network,
        };
        let got = server.pool().lease(owner, &identity(&facts.identity), wanted);
        facts.owner = Some(owner);
        match got {
            Ok(lease) if (lease.v4, lease.v6.map(|(a, _)| a)) == (facts.address, network) => Ok(()),
            _ => Err(not_any_more("its addresses are another's, or of no pool any more")),
        }
    }

    /// Its link stands again: what it needs of this host, and who sees it.
    ///
    /// # Errors
    /// It is not what it was.
    pub(in crate::ppp) async fn returns(
        self: &Arc<Self>,
        (unit, since): (&Arc<Unit>, u64),
        restored: Restored,
        stop: &watch::Sender<bool>,
    ) -> Result<(), Failure> {
        let up = restored.established;
        let address = self.facts().address;
        let same = up.v4.as_ref().is_none_or(|v4| v4.peer == address && Some(v4.local) == self.server.local);
        if !same || up.v6.is_some() && self.facts().network.is_none() {
            return Err(not_any_more("its link has other addresses"));
        }
        self.facts().established = Some(up.clone());
        for network in up.v4.map(Network::V4).into_iter().chain(up.v6.map(Network::V6)) {
            self.networking(unit, &network, true).await?;
            self.answers(unit, &network);
        }
        let id = self.show(Some(unit), stop);
        let registry = self.server.daemon.registry();
        registry.set_state(id, Standing::Connected, "handed-over", None);
        registry.update(id, |facts| facts.since = since);
        Ok(())
    }

    /// Nobody goes on with it: nothing of it is kept any more, but for its interface, until [`Guest::is_not_kept`].
    pub(in crate::ppp) fn no_more(&self) {
        let mut state = self.handing.state();
        state.over = true;
        state.kept.no_more();
    }

    /// Its interface is gone, if anybody kept it.
    pub(in crate::ppp) async fn is_not_kept(&self) {
        let index = self.handing.state().kept.take_index();
        if let Some(index) = index {
            remove(index).await;
        }
    }
}

/// Why somebody has to dial anew.
pub(in crate::ppp) fn not_any_more(why: &str) -> Failure {
    Failure::new(FailureCode::PeerLost, Step::Established, format!("it dials anew: {why}"))
}
