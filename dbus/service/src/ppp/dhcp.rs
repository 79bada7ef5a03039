//! Routes, DNS servers and the domain by DHCPINFORM through a link ([`adit_plan::dhcp`]): asked for by who dials, as Windows
//! asks, and answered by who serves.

use std::io;
use std::net::Ipv4Addr;
use std::sync::Arc;

use adit_core::{Failure, Step};
use adit_plan::dhcp::{Learned, Offer};
use adit_ppp::Ipv4Network;

use super::Unit;
use super::install::Installation;
use super::server::Inner;
use crate::dhcp::{self, Answering};

/// Answers the one at the other end of a link. `None`: the configuration does not say what is behind this server, or another has
/// UDP port 67 of every link.
pub(super) fn answering(
    server: &Inner,
    unit: &Unit,
    network: &Ipv4Network,
    dns: Vec<Ipv4Addr>,
) -> Option<Answering> {
    let routes = server.config.subnets.clone();
    let peer = network.peer.filter(|_| !routes.is_empty())?;
    let offer = Offer { server: network.local, routes, dns, domain: server.domain.clone() };
    let told = |error: &io::Error| tracing::warn!(%error, "a client that asks for routes is not answered");
    Answering::begin(unit.name(), move |from| (from == peer).then(|| offer.clone())).inspect_err(told).ok()
}

impl Installation {
    /// Asks, where the profile wants it; the tunnel is up meanwhile. It ends with the link.
    pub(super) fn learn(self: &Arc<Self>, unit: &Unit, address: Ipv4Addr) {
        if !self.profile().routes_by_dhcp {
            return;
        }
        let (installation, link) = (Arc::clone(self), unit.name().to_owned());
        tokio::spawn(async move {
            let told = match dhcp::ask(&link, address).await {
                Ok(Some(learned)) => installation.learned(&link, address, learned).await,
                Ok(None) => Ok(Some(dhcp::NOT_ANSWERED.to_owned())),
                // Mostly since the link is gone.
                Err(error) => return tracing::debug!(%error, "DHCPINFORM"),
            };
            if let Some(text) = told.unwrap_or_else(|failure| Some(failure.to_string())) {
                installation.tell_of_routes(&text);
            }
        });
    }

    /// `None`: the link is another one by now.
    async fn learned(
        &self,
        link: &str,
        address: Ipv4Addr,
        learned: Learned,
    ) -> Result<Option<String>, Failure> {
        if !self.route(link, address, &learned.routes).await? {
            return Ok(None);
        }
        self.daemon().registry().update(self.id(), |facts| dhcp::show(&learned, facts));
        self.daemon().names().settle(self.id(), self.profile()).await;
        Ok(Some(format!("DHCP: {} networks behind the server", learned.routes.len())))
    }

    fn tell_of_routes(&self, text: &str) {
        self.daemon().registry().progress(self.id(), Step::Network.as_str(), text);
    }
}
