//! Routes, DNS servers and the domain by DHCPINFORM through a link ([`adit_plan::dhcp`]): asked for by who dials, as Windows
//! asks, and answered by who serves.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use adit_core::{Failure, Step};
use adit_plan::dhcp::{self as words, CLIENT_PORT, Learned, Offer, SERVER_PORT};
use adit_ppp::Ipv4Network;
use tokio::net::UdpSocket;
use tokio::task::JoinHandle;

use super::Unit;
use super::install::Installation;
use super::server::Inner;
use crate::dhcp::{self, LONGEST, bound};

/// Answers the one at the other end of a link, until it is dropped.
pub(super) struct Answering(JoinHandle<()>);

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Answering {
    /// `None`: the configuration does not say what is behind this server, or another has UDP port 67 of every link.
    pub(super) fn begin(
        server: &Inner,
        unit: &Unit,
        network: &Ipv4Network,
        dns: Vec<Ipv4Addr>,
    ) -> Option<Self> {
        let routes = server.config.subnets.clone();
        let peer = network.peer.filter(|_| !routes.is_empty())?;
        let told =
            |error: &io::Error| tracing::warn!(%error, "a client that asks for routes is not answered");
        let socket = bound(unit.name(), Ipv4Addr::UNSPECIFIED, SERVER_PORT).inspect_err(told).ok()?;
        let offer = Offer { server: network.local, routes, dns, domain: server.domain.clone() };
        Some(Self(tokio::spawn(serve(socket, peer, offer))))
    }
}

async fn serve(socket: UdpSocket, peer: Ipv4Addr, offer: Offer) {
    let mut octets = [0; LONGEST];
    loop {
        let (length, from) = match socket.recv_from(&mut octets).await {
            Ok((length, SocketAddr::V4(from))) => (length, *from.ip()),
            Ok(_) => continue,
            // The link is gone.
            Err(error) => return tracing::debug!(%error, "no more DHCPINFORM"),
        };
        let question = octets.get(..length).unwrap_or_default();
        let answer =
            Some(from).filter(|from| *from == peer).and_then(|_| words::answer(question, peer, &offer));
        let Some(answer) = answer else { continue };
        if let Err(error) = socket.send_to(&answer, (peer, CLIENT_PORT)).await {
            tracing::debug!(client = %peer, %error, "DHCPINFORM not answered");
        }
    }
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
                Ok(None) => Ok(Some(
                    "the server does not answer DHCPINFORM: no routes; name networks by  remote-subnets  instead"
                        .to_owned(),
                )),
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
        self.daemon().registry().update(self.id(), |f| {
            let new: Vec<IpAddr> =
                dhcp::servers(&learned).into_iter().filter(|a| !f.dns.contains(a)).collect();
            f.dns.extend(new);
            f.domains.extend(learned.domain.clone().filter(|d| !f.domains.contains(d)));
        });
        self.daemon().names().settle(self.id(), self.profile()).await;
        Ok(Some(format!("DHCP: {} networks behind the server", learned.routes.len())))
    }

    fn tell_of_routes(&self, text: &str) {
        self.daemon().registry().progress(self.id(), Step::Network.as_str(), text);
    }
}
