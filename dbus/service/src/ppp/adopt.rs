//! What a process before has left of a dialled link on this host: its interface, its block, and the journal of its changes stay as
//! they are.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use adit_core::{Failure, FailureCode, Step};
use adit_ppp::{Established, Network};
use adit_profile::{Profile, ServerName};

use super::Unit;
use super::install::{Installation, undo_all};
use crate::client::{Ground, refused};
use crate::daemon::Daemon;
use crate::esp::Numbers;
use crate::host::{Block, Change};
use crate::registry::ConnectionId;

fn not_there(what: &str) -> Failure {
    let text = format!("what was handed over does not stand any more: {what}");
    Failure::new(FailureCode::Internal, Step::Kernel, text)
}

impl Installation {
    /// Nothing yet, under numbers that it had in the process before.
    pub(super) fn again(
        id: ConnectionId,
        profile: &Arc<Profile>,
        daemon: &Arc<Daemon>,
        numbers: Numbers,
    ) -> Self {
        Self { numbers, ..Self::new(id, profile, daemon, Ground::default()) }
    }

    /// Takes over the block, and the journal of what was changed here.
    ///
    /// # Errors
    /// They are not there.
    pub(super) async fn take_over(
        &self,
        link: &str,
        known: &[(ServerName, Vec<SocketAddr>)],
    ) -> Result<(), Failure> {
        let mut slot = self.slot.lock().await;
        self.daemon.link_name_is_ours(link).await;
        slot.ground = Ground::kept(link.to_owned());
        let servers: Vec<IpAddr> = known.iter().flat_map(|(_, all)| all.iter().map(SocketAddr::ip)).collect();
        let block = Block::of(link, self.gre(&servers), self.profile.local_network);
        let changes = slot.ground.changes(&self.daemon, self.numbers)?;
        let blocks = changes.made_before(&block.change(&[]));
        let others = changes.find(|_| true).into_iter().filter(|number| Some(*number) != blocks).collect();
        (slot.up, slot.blocked) = (others, blocks.is_some());
        if slot.blocked != self.profile.blocks() || slot.up.is_empty() {
            return Err(not_there("its journal tells of something else"));
        }
        let (host, local) = (self.daemon.host(), self.daemon.local_networks());
        if slot.blocked {
            // It takes the place of itself, in one step, and follows the local networks from now on.
            let stands = local.stand(block, async |change| host.apply(change).await);
            stands.await.map_err(|e| refused("blocking", &e))?;
        } else if self.profile.local_network {
            let table = Block::table_of(link);
            local.want(table).await.map_err(|e| refused("the local network", &e))?;
        }
        Ok(())
    }

    /// Addresses, routes and rules of what is up are known again, and how they are taken back.
    ///
    /// # Errors
    /// The journal tells of other addresses.
    pub(super) async fn knows_again(
        self: &Arc<Self>,
        unit: &Arc<Unit>,
        up: &Established,
    ) -> Result<(), Failure> {
        let mut slot = self.slot.lock().await;
        let v4 = up.v4.clone().map(Network::V4);
        for network in v4.into_iter().chain(up.v6.map(Network::V6)) {
            let wanted = self.wanted(&slot, unit, &network).await?;
            let changes = slot.ground.changes(&self.daemon, self.numbers)?;
            let addresses = wanted.changes.iter().filter(|change| matches!(change, Change::Address { .. }));
            if addresses.filter(|change| changes.made_before(change).is_none()).count() > 0 {
                return Err(not_there("its journal tells of other addresses"));
            }
            self.stands(&mut slot, unit, &network, wanted).await?;
        }
        Ok(())
    }

    /// Nobody goes on with what was left here: it is taken away, but for the block while it is dialled anew.
    pub(super) async fn clear_away(&self) {
        let mut slot = self.slot.lock().await;
        slot.forget_families().await;
        slot.made.clear();
        let up = std::mem::take(&mut slot.up);
        for error in undo_all(&slot, up).await {
            tracing::warn!(connection = self.id.0, %error, "not undone");
        }
    }
}
