//! A connection that a process before has dialled, and that this one goes on with.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use adit_core::{Failure, FailureCode, Step};
use adit_ppp::{Established, Event, LinkConfig};
use adit_ppp_kernel::Standing;
use adit_profile::{ServerName, TunnelKind};

use super::{Attempt, Weak, link_config, lock};
use crate::esp::Numbers;
use crate::handover::FoundLink;
use crate::ppp::handing::{Dialled, HELPER};
use crate::ppp::install::Installation;
use crate::ppp::{Session, World};
use crate::pptp;
use crate::registry::State;
use crate::uplinks::UPLINKS;

impl Attempt {
    /// One that goes on from what a process before has left.
    pub(super) fn again(mut self, found: FoundLink, numbers: Numbers) -> Self {
        self.installation = Arc::new(Installation::again(self.id, &self.profile, &self.daemon, numbers));
        self.left = Some(found);
        self
    }

    /// Goes on with what a process before has left.
    ///
    /// # Errors
    /// Nobody can: what it had here is gone then, and it is dialled anew; the block stands meanwhile.
    pub(super) async fn go_on(&mut self, found: FoundLink) -> Result<(), Failure> {
        let known = found.told.known.iter().filter_map(|(name, all)| Some((name.parse().ok()?, all.clone())));
        self.known = known.collect::<Vec<(ServerName, _)>>();
        let done = match self.installation.take_over(&found.told.link, &self.known).await {
            Ok(()) => self.restore(found).await,
            Err(failure) => {
                self.forget_protection(&found).await;
                found.refuse();
                Err(failure)
            }
        };
        if let Err(failure) = done {
            self.end_session().await;
            self.installation.clear_away().await;
            self.daemon.uplinks().unless_followed(|| self.daemon.changes(UPLINKS)).await;
            return Err(failure);
        }
        Ok(())
    }

    async fn restore(&mut self, found: FoundLink) -> Result<(), Failure> {
        let FoundLink { told, snapshot, mut files, bundle, .. } = found;
        let ends = (told.local, told.remote);
        let dialled = Dialled {
            print: told.print.clone(),
            gateway: told.gateway.clone(),
            known: self.known.clone(),
            ends,
            name: told.name.clone(),
        };
        // From here on it goes with the session.
        self.installation.handing().goes_on(dialled, bundle, told.index);
        self.installation.scripts_again(files.remove(HELPER), told.since).await;
        self.daemon.uplinks().follow(|| self.daemon.changes(UPLINKS)).await?;
        self.keeps_to_link.store(true, Ordering::Relaxed);
        let mut world = self.world(None);
        if self.profile.kind == TunnelKind::L2tp {
            world.outside = self.protect_again(&told, &snapshot).await?;
        }
        let world: Arc<dyn World> = Arc::new(world);
        // How long its packets are and which families it has is in the snapshot.
        let link: LinkConfig = link_config(&self.profile, &told.name, u16::MAX, true);
        let unit = Standing { name: &told.link, index: told.index, number: told.number };
        let (session, restored): (Box<dyn Session>, _) = match self.profile.kind {
            TunnelKind::Pptp => {
                let left = pptp::Left { ends, unit, snapshot: &snapshot, files };
                let (session, restored) = pptp::again(left, link, Arc::clone(&world))?;
                (Box::new(session), restored)
            }
            TunnelKind::L2tp => {
                self.call_again((&told, &snapshot), files, (link, Arc::clone(&world))).await?
            }
            TunnelKind::Ikev2 | TunnelKind::Sstp => {
                let text = "nothing is handed over of such a tunnel.";
                return Err(Failure::new(FailureCode::Internal, Step::Established, text));
            }
        };
        let session = self.session.insert(session);
        let unit = session.unit().cloned();
        self.ends = Some((told.local, told.remote, told.name, told.gateway));
        if let Some(unit) = &unit {
            self.installation.knows_again(unit, &restored.established).await?;
        }
        *lock(&self.unit) = unit.as_ref().map_or_else(Weak::new, Arc::downgrade);
        world.event(&Event::Authenticated(restored.authenticated));
        self.goes_on(&*world, restored.established, told.since);
        Ok(())
    }

    /// It stands, as people see it.
    fn goes_on(&self, world: &dyn World, up: Established, since: u64) {
        world.event(&Event::Established(Box::new(up)));
        self.show_ends();
        // The link is not driven meanwhile: a resolver that is slow to answer is not waited for.
        let (id, daemon, profile) = (self.id, Arc::clone(&self.daemon), Arc::clone(&self.profile));
        tokio::spawn(async move { daemon.names().settle(id, &profile).await });
        self.progress(Step::Established, "goes on from before this daemon started");
        self.state(State::Connected, "handed-over");
        self.daemon.registry().update(self.id, |facts| facts.since = since);
    }
}
