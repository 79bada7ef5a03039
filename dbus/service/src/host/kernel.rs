use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Mutex, PoisonError};

use adit_plan::local::LocalNetwork;
use adit_plan::trusted::Exit;
use nix::errno::Errno;
use tokio::sync::mpsc;

use super::sysctl::{self, Settings};
use super::{
    Answer, Change, Host, HostError, LinkNames, LinkState, News, PathInfo, Route, Target, Undo, UplinkState,
    exits, local, names, netlink, news, nft, uplinks,
};

/// This host, in this network namespace.
pub struct KernelHost {
    socket: netlink::Socket,
    settings: Mutex<Settings>,
    /// To whom GRE goes by a rule of its own, and how many connections want that.
    gre_rules: tokio::sync::Mutex<BTreeMap<(Ipv4Addr, u32), usize>>,
}

impl KernelHost {
    /// Opens a netlink socket and spawns the task that reads it. Needs a tokio runtime.
    ///
    /// # Errors
    /// No socket.
    pub fn open() -> io::Result<Self> {
        let (connection, handle, _) = rtnetlink::new_connection()?;
        tokio::spawn(connection);
        let socket = netlink::Socket::new(handle);
        Ok(Self { socket, settings: Mutex::default(), gre_rules: tokio::sync::Mutex::default() })
    }

    fn settings<T>(&self, f: impl FnOnce(&mut Settings) -> T) -> T {
        f(&mut self.settings.lock().unwrap_or_else(PoisonError::into_inner))
    }

    async fn route(&self, route: &Route) -> Result<(), HostError> {
        let index = match &route.target {
            Target::Link(name) | Target::Gateway { link: name, .. } => Some(index(name)?),
            Target::Unreachable => None,
        };
        netlink::route(&self.socket, route, index, true).await
    }

    async fn xfrm_link(&self, name: &str, if_id: u32, mtu: u32) -> Result<(), HostError> {
        let named_well = (1..=15).contains(&name.len())
            && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'))
            && !matches!(name, "." | ".." | "all" | "default");
        if !named_well {
            return Err(HostError::Invalid(format!("\"{name}\" is not a link's name")));
        }
        netlink::add_xfrm_link(&self.socket, name, if_id, mtu).await?;
        let finished = self.finish_link(name).await;
        if finished.is_err() {
            let undone = self.remove_xfrm_link(if_id).await;
            undone.err().iter().for_each(|e| tracing::warn!("while undoing a failed link: {e}"));
        }
        finished
    }

    /// IPv6 on, whatever the host's default for new links is, but no addresses and routes of the kernel's own making.
    async fn finish_link(&self, name: &str) -> Result<(), HostError> {
        for (setting, value) in [("disable_ipv6", "0"), ("addr_gen_mode", "1"), ("accept_ra", "0")] {
            let key = format!("net/ipv6/conf/{name}/{setting}");
            if sysctl::read(&key)?.is_some() {
                sysctl::write(&key, value)?;
            }
        }
        netlink::set_up(&self.socket, index(name)?).await
    }

    async fn remove_xfrm_link(&self, if_id: u32) -> Result<(), HostError> {
        for link in netlink::links(&self.socket).await?.iter().filter(|l| l.if_id == Some(if_id)) {
            gone_is_fine(netlink::delete_link(&self.socket, link.index).await)?;
        }
        Ok(())
    }

    /// Connections to one server by one way share its rule; it goes with the last.
    async fn gre_rule(&self, to: (Ipv4Addr, u32)) -> Result<(), HostError> {
        let mut holders = self.gre_rules.lock().await;
        let held = holders.get(&to).copied().unwrap_or(0);
        if held == 0 {
            netlink::gre_rule(&self.socket, to, true).await?;
        }
        holders.insert(to, held + 1);
        Ok(())
    }

    /// An undo of a daemon that died has no holder, and removes at once.
    async fn remove_gre_rule(&self, to: (Ipv4Addr, u32)) -> Result<(), HostError> {
        let mut holders = self.gre_rules.lock().await;
        match holders.get_mut(&to) {
            Some(held) if *held > 1 => {
                *held -= 1;
                Ok(())
            }
            _ => {
                holders.remove(&to);
                netlink::gre_rule(&self.socket, to, false).await
            }
        }
    }

    async fn make(&self, change: &Change) -> Result<(), HostError> {
        match change {
            Change::XfrmLink { name, if_id, mtu } => self.xfrm_link(name, *if_id, *mtu).await,
            Change::Address { link, address } => {
                netlink::address(&self.socket, index(link)?, *address, true).await
            }
            Change::Route(route) => self.route(route).await,
            Change::Rule(rule) => netlink::rule(&self.socket, rule, true).await,
            Change::SourceRule(rule) => netlink::source_rule(&self.socket, rule, true).await,
            Change::GreRule { to, table } => self.gre_rule((*to, *table)).await,
            Change::Nftables { table, body } => nft::replace(table, body).await,
            Change::Setting { key, value } => self.settings(|s| s.apply(key, value)),
            Change::ProxyNeighbour { link, address } => {
                netlink::proxy(&self.socket, index(link)?, *address, true).await
            }
            Change::Names(names) => names::set(names).await,
        }
    }

    async fn take_back(&self, undo: &Undo) -> Result<(), HostError> {
        let done = match undo {
            Undo::XfrmLink { if_id } => self.remove_xfrm_link(*if_id).await,
            Undo::Address { link, address } => match netlink::index_of(&self.socket, link).await {
                Ok(index) => netlink::address(&self.socket, index, *address, false).await,
                Err(e) => Err(e),
            },
            Undo::Route(route) => netlink::route(&self.socket, route, None, false).await,
            Undo::Rule(rule) => netlink::rule(&self.socket, rule, false).await,
            Undo::SourceRule(rule) => netlink::source_rule(&self.socket, rule, false).await,
            Undo::GreRule { to, table } => self.remove_gre_rule((*to, *table)).await,
            Undo::Nftables { table } => nft::remove(table).await,
            Undo::Setting { ours, former } => self.settings(|s| s.undo(ours, former)),
            Undo::ProxyNeighbour { link, address } => match netlink::index_of(&self.socket, link).await {
                Ok(index) => netlink::proxy(&self.socket, index, *address, false).await,
                Err(e) => Err(e),
            },
            Undo::Names { way, link, servers } => names::clear(*way, link, servers).await,
        };
        gone_is_fine(done)
    }

    fn inverse(&self, change: &Change) -> Result<Option<Undo>, HostError> {
        Ok(Some(match change.clone() {
            Change::XfrmLink { if_id, .. } => Undo::XfrmLink { if_id },
            Change::Address { link, address } => Undo::Address { link, address },
            Change::Route(route) => Undo::Route(route),
            Change::Rule(rule) => Undo::Rule(rule),
            Change::SourceRule(rule) => Undo::SourceRule(rule),
            Change::GreRule { to, table } => Undo::GreRule { to, table },
            Change::Nftables { table, .. } => Undo::Nftables { table },
            Change::Setting { key, value } => return self.settings(|s| s.undo_of(&key, &value)),
            Change::ProxyNeighbour { link, address } => Undo::ProxyNeighbour { link, address },
            Change::Names(LinkNames { way, link, servers, .. }) => Undo::Names { way, link, servers },
        }))
    }
}

/// The kernel finds it by its name: a list of all links would cost each of a thousand sessions a thousand entries.
fn index(name: &str) -> Result<u32, HostError> {
    nix::net::if_::if_nametoindex(name).map_err(|_| HostError::NoLink(name.into()))
}

/// What an undo removes may be gone: with its link, or by another's hand.
fn gone_is_fine(done: Result<(), HostError>) -> Result<(), HostError> {
    const GONE: [Errno; 5] =
        [Errno::ENOENT, Errno::ESRCH, Errno::ENODEV, Errno::EADDRNOTAVAIL, Errno::ENETUNREACH];
    match done {
        Err(HostError::NoLink(_)) => Ok(()),
        Err(HostError::Refused { errno, .. }) if GONE.contains(&errno) => Ok(()),
        other => other,
    }
}

impl Host for KernelHost {
    fn undo_of<'a>(&'a self, change: &'a Change) -> Answer<'a, Option<Undo>> {
        Box::pin(async { self.inverse(change) })
    }

    fn apply<'a>(&'a self, change: &'a Change) -> Answer<'a, ()> {
        Box::pin(self.make(change))
    }

    fn undo<'a>(&'a self, undo: &'a Undo) -> Answer<'a, ()> {
        Box::pin(self.take_back(undo))
    }

    fn path_to(&self, destination: IpAddr) -> Answer<'_, PathInfo> {
        Box::pin(netlink::path_to(&self.socket, destination))
    }

    fn keep(&self, undo: &Undo) {
        self.settings(|settings| settings.keep(undo));
    }

    fn links(&self) -> Answer<'_, Vec<LinkState>> {
        Box::pin(netlink::links(&self.socket))
    }

    fn setting<'a>(&'a self, key: &'a str) -> Answer<'a, Option<String>> {
        Box::pin(async { sysctl::read(key) })
    }

    fn uplinks(&self) -> Answer<'_, Vec<UplinkState>> {
        Box::pin(uplinks::uplinks(&self.socket))
    }

    fn exits(&self) -> Answer<'_, Vec<Exit>> {
        Box::pin(exits::exits(&self.socket))
    }

    fn local_networks(&self) -> Answer<'_, Vec<LocalNetwork>> {
        Box::pin(local::networks(&self.socket))
    }

    fn news(&self) -> Result<mpsc::Receiver<News>, HostError> {
        news::news().map_err(|_| HostError::NoAnswer { what: "news of links".into() })
    }
}
