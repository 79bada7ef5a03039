//! Routes, DNS servers and the domain of a split tunnel, asked for through it ([`adit_plan::dhcp`]).

use std::net::Ipv4Addr;
use std::sync::Arc;

use adit_core::{Failure, Step};
use adit_ikev2::api::ChildId;
use adit_plan::TunnelFacts;
use adit_plan::dhcp::Learned;

use super::install::Installation;
use crate::dhcp;

impl Installation {
    /// Asks, where the profile wants it; the tunnel is up meanwhile. It ends with the link.
    pub(super) fn learn(self: &Arc<Self>, facts: TunnelFacts, child: ChildId) {
        let Some(address) = facts.v4.filter(|_| self.profile.routes_by_dhcp) else { return };
        let installation = Arc::clone(self);
        tokio::spawn(async move {
            if let Err(failure) = installation.learn_from(address, facts, child).await {
                installation.tell_of_routes(&failure.to_string());
            }
        });
    }

    async fn learn_from(&self, address: Ipv4Addr, facts: TunnelFacts, child: ChildId) -> Result<(), Failure> {
        let link = self.slot.lock().await.ground.name(&self.daemon, &self.profile).await?;
        match dhcp::ask(&link, address).await {
            Ok(Some(learned)) => self.learned(learned, facts, child).await,
            Ok(None) => {
                self.tell_of_routes(dhcp::NOT_ANSWERED);
                Ok(())
            }
            // Mostly since the link is gone.
            Err(error) => {
                tracing::debug!(connection = self.id().0, %error, "DHCPINFORM");
                Ok(())
            }
        }
    }

    async fn learned(&self, learned: Learned, mut facts: TunnelFacts, child: ChildId) -> Result<(), Failure> {
        let mut slot = self.slot.lock().await;
        // A rekey may have replaced it, or all may be gone.
        let known: Vec<ChildId> = self.sas().iter().flat_map(|of| of.children.iter().copied()).collect();
        let Some(child) = known.iter().copied().find(|c| *c == child).or_else(|| known.last().copied())
        else {
            return Ok(());
        };
        facts.subnets = Some(learned.routes.clone());
        self.daemon.registry().update(self.id(), |facts| dhcp::show(&learned, facts));
        let text = format!("DHCP: {} networks behind the server", learned.routes.len());
        slot.learned = Some(learned);
        self.networking(&mut slot, &facts, child).await?;
        self.daemon.names().settle(self.id(), &self.profile).await;
        self.tell_of_routes(&text);
        Ok(())
    }

    fn tell_of_routes(&self, text: &str) {
        self.daemon.registry().progress(self.id(), Step::Network.as_str(), text);
    }
}
