//! What a dialled PPTP connection changes on this host, each change with its undo: the block, the way of its own GRE, then
//! addresses, routes and rules on the unit.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use adit_core::{Failure, Prefix};
use adit_ppp::{Ipv4Network, Ipv6Network, Network};
use adit_ppp_kernel::Unit;
use adit_profile::{Profile, Tunnel as Traffic};

use crate::client::{Ground, refused};
use crate::daemon::Daemon;
use crate::esp::Numbers;
use crate::host::{Block, Change, PathInfo, loosen_reverse_path, tunnel_routes};
use crate::registry::ConnectionId;

/// The host's side of a connection.
pub(super) struct Installation {
    id: ConnectionId,
    profile: Arc<Profile>,
    daemon: Arc<Daemon>,
    numbers: Numbers,
    slot: tokio::sync::Mutex<Slot>,
}

#[derive(Default)]
struct Slot {
    ground: Ground,
    blocked: bool,
    /// Undos of what stands while the tunnel does.
    up: Vec<u64>,
    /// Changes that stand while the tunnel does: both families want some of them.
    made: Vec<Change>,
    /// Networks that have been routed so far.
    routes: Vec<Prefix>,
}

impl Installation {
    pub(super) fn new(id: ConnectionId, profile: &Arc<Profile>, daemon: &Arc<Daemon>) -> Self {
        let (profile, daemon) = (Arc::clone(profile), Arc::clone(daemon));
        Self { id, profile, numbers: daemon.numbers(), daemon, slot: tokio::sync::Mutex::default() }
    }

    /// From now on only the tunnel's own packets leave this host. Does nothing where the block stands already.
    pub(super) async fn block(&self, servers: &[Ipv4Addr]) -> Result<(), Failure> {
        let mut slot = self.slot.lock().await;
        if slot.blocked {
            return Ok(());
        }
        let interface = slot.ground.name(&self.daemon, &self.profile).await?;
        let change = Block { interface, inside: Vec::new(), gre: servers.to_vec() }.change();
        slot.ground
            .changes(&self.daemon, self.numbers)?
            .make(&change)
            .await
            .map_err(|e| refused("blocking", &e))?;
        slot.blocked = true;
        Ok(())
    }

    /// The tunnel's own GRE, which the kernel sends without our mark, goes past the tunnel.
    pub(super) async fn open(&self, server: Ipv4Addr, uplink: &PathInfo) -> Result<(), Failure> {
        let mut wanted = vec![Change::GreRule { to: server }];
        let host = self.daemon.host();
        let loosened = loosen_reverse_path(host.as_ref(), &uplink.link).await;
        wanted.extend(loosened.map_err(|e| refused("reading rp_filter", &e))?);
        let mut slot = self.slot.lock().await;
        self.make(&mut slot, &wanted).await
    }

    /// The unit's name, chosen once for the connection's life.
    pub(super) async fn unit_name(&self) -> Result<String, Failure> {
        let mut slot = self.slot.lock().await;
        slot.ground.name(&self.daemon, &self.profile).await
    }

    /// Addresses, routes and rules of a family.
    pub(super) async fn install(&self, unit: &Unit, network: &Network) -> Result<(), Failure> {
        let mut slot = self.slot.lock().await;
        let (address, routes) = match network {
            Network::V4(v4) => (Prefix::host(IpAddr::V4(v4.local)), self.routes_v4(v4)),
            Network::V6(v6) => (Prefix { address: link_local(v6), length: 64 }, self.routes_v6()),
        };
        let routes: Vec<Prefix> = routes.into_iter().filter(|r| !slot.routes.contains(r)).collect();
        let mut wanted = Vec::new();
        if address.address.is_ipv6() {
            // The server's router advertisements bring addresses, also to a host that forwards. Where packets go is the
            // profile's to say.
            for (setting, value) in [("accept_ra_defrtr", "0"), ("accept_ra", "2")] {
                let key = format!("net/ipv6/conf/{}/{setting}", unit.name());
                wanted.push(Change::Setting { key, value: value.into() });
            }
        }
        wanted.push(Change::Address { link: unit.name().to_owned(), address });
        // A link-local address is no source for what goes further.
        let source = match address.address {
            IpAddr::V4(a) => IpAddr::V4(a),
            IpAddr::V6(_) => IpAddr::from([0_u16; 8]),
        };
        wanted.extend(tunnel_routes(unit.name(), self.numbers.table(), &[source], &routes));
        wanted.retain(|change| !slot.made.contains(change));
        self.make(&mut slot, &wanted).await?;
        slot.made.extend(wanted);
        slot.routes.extend(&routes);
        self.daemon.registry().update(self.id, |f| {
            unit.name().clone_into(&mut f.interface);
            f.addresses.push(address);
            f.routes.extend(routes);
        });
        Ok(())
    }

    fn routes_v4(&self, network: &Ipv4Network) -> Vec<Prefix> {
        if self.profile.tunnel == Traffic::Full {
            return vec![Prefix::ANY_V4];
        }
        let mut routes = self.profile.remote_networks();
        routes.retain(|r| r.address.is_ipv4());
        routes.extend(network.peer.map(|peer| Prefix::host(IpAddr::V4(peer))));
        routes
    }

    fn routes_v6(&self) -> Vec<Prefix> {
        if self.profile.tunnel == Traffic::Full {
            return vec![Prefix::ANY_V6];
        }
        let mut routes = self.profile.remote_networks();
        routes.retain(|r| r.address.is_ipv6());
        routes
    }

    async fn make(&self, slot: &mut Slot, wanted: &[Change]) -> Result<(), Failure> {
        for change in wanted {
            let made = slot.ground.changes(&self.daemon, self.numbers)?.make(change).await;
            slot.up.extend(made.map_err(|e| refused(&change.to_string(), &e))?);
        }
        Ok(())
    }

    /// Takes the tunnel away; the block stays.
    pub(super) async fn lower(&self) -> Vec<String> {
        let mut slot = self.slot.lock().await;
        let mut errors = Vec::new();
        let Slot { ground, up, made, routes, .. } = &mut *slot;
        routes.clear();
        made.clear();
        if let Some(changes) = &ground.changes {
            for number in std::mem::take(up).into_iter().rev() {
                errors.extend(changes.undo_one(number).await.err().map(|e| e.to_string()));
            }
        }
        self.daemon.registry().update(self.id, |f| {
            f.addresses.clear();
            f.routes.clear();
        });
        errors
    }

    /// Takes everything away, the block last.
    ///
    /// # Errors
    /// What could not be undone; it stands in the journal and is tried again at the next start.
    pub(super) async fn undo(&self) -> Result<(), Failure> {
        let errors = self.lower().await;
        let mut slot = self.slot.lock().await;
        slot.blocked = false;
        slot.ground.leave(&self.daemon, errors).await
    }
}

fn link_local(network: &Ipv6Network) -> IpAddr {
    IpAddr::V6(Ipv6Network::link_local(network.local))
}
