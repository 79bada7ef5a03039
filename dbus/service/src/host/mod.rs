//! The host's network: links, addresses, routes, rules, kernel settings and nftables, each change with its undo.
//!
//! A [`Change`] is data, and so is its [`Undo`]. [`Changes`] writes the undo to a [`Journal`] on disk before it asks a
//! [`Host`] for the change, and takes everything back in reverse order: on down, after a failed attempt, and at the
//! next start for what a dead daemon left ([`leftovers`]). Until then what stands stays, so that traffic is carried or
//! dropped and never sent in clear: whoever blocks pushes the block first, and so removes it last.
//!
//! What is ours can be told from what is not: routes and rules carry protocol [`ROUTE_PROTOCOL`], links the group
//! [`LINK_GROUP`] and an if_id of `adit_xfrm_kernel::OUR_IF_IDS` (which is also the number of the tunnel's routing
//! table), nftables tables begin with `adit-`.

mod block;
mod change;
mod error;
mod exits;
mod journal;
mod kernel;
mod ledger;
mod local;
mod lookup;
mod names;
mod netlink;
mod news;
mod nft;
mod plan;
mod reconcile;
#[cfg(feature = "recording")]
mod recording;
mod shared;
mod sysctl;
#[cfg(test)]
mod tests;
mod text;
#[cfg(test)]
mod tunnel_test;
mod uplinks;

use core::pin::Pin;
use std::net::IpAddr;

use adit_plan::local::LocalNetwork;
use adit_plan::trusted::Exit;

pub use block::Block;
pub use change::{Change, FormerSetting, LinkNames, NamesWay, Route, Rule, SourceRule, Target, Undo};
pub use error::HostError;
pub use journal::{Journal, leftovers};
pub use kernel::KernelHost;
pub use ledger::{Changes, NotMade};
pub use lookup::{LinkState, PathInfo, UplinkState};
pub(crate) use names::way as names_way;
pub use plan::{
    Nat, client_route, forwarding, gre_rules, local_routes, loosen_reverse_path, segments, site_route,
    site_rules, tunnel_routes, waiting_routes,
};
pub use reconcile::{Kept, reconcile};
#[cfg(feature = "recording")]
pub use recording::{RecordedHost, RecordingHost};
pub use shared::Shared;

/// Where the program `nft` is, if it is there: blocks and NAT need it.
#[must_use]
pub fn nft_program() -> Option<&'static str> {
    nft::program()
}

/// The mark of the tunnel's own packets: `SO_MARK` of the IKE sockets, output mark of the outbound states. Rules and
/// blocks leave packets with it alone.
pub const MARK: u32 = 0xAD00_0000;

/// The bits of a packet's mark that [`MARK`] is about; the others are free for the host's own use.
pub const MARK_MASK: u32 = 0xFF00_0000;

/// `proto` of our routes and rules (`ip route show proto 98`; unassigned in `rt_protos`).
pub const ROUTE_PROTOCOL: u8 = 98;

/// Priority of our rules: after `local` (0), before `main` (32766).
pub const RULE_PRIORITY: u32 = 17_000;

/// Priority of the rules of uplinks: before those of tunnels.
pub const UPLINK_PRIORITY: u32 = 16_990;

/// Priority of the rules that lead to local networks: before those of tunnels.
pub const LOCAL_PRIORITY: u32 = 16_980;

/// The table of local networks.
pub const LOCAL_TABLE: u32 = 0x4300_0000;

/// The tables of uplinks: this, and the link's index.
pub const UPLINK_TABLES: u32 = 0x4200_0000;

/// Group of our links (`ip link show group 98`): what is deleted together when many are.
pub const LINK_GROUP: u32 = 98;

/// Link group of a server's units: many go at once by it.
pub(crate) const CLIENTS_GROUP: u32 = 99;

/// Routing table `main`, where everybody looks.
pub(crate) const MAIN_TABLE: u32 = 254;

/// What [`Host`]'s operations give: they may wait for the kernel or for `nft`.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, HostError>> + Send + 'a>>;

/// What the daemon may ask of the host.
pub trait Host: Send + Sync {
    /// What would take this change back, read from how things stand now. `None`: it is so already, and not by us, so
    /// there is nothing to change and nothing to undo.
    fn undo_of<'a>(&'a self, change: &'a Change) -> Answer<'a, Option<Undo>>;

    /// Makes the change. An error means that it was not made.
    fn apply<'a>(&'a self, change: &'a Change) -> Answer<'a, ()>;

    /// Takes a change back. What is gone already is no error; what somebody else changed meanwhile is left alone.
    fn undo<'a>(&'a self, undo: &'a Undo) -> Answer<'a, ()>;

    /// How packets with our mark get to an address.
    fn path_to(&self, destination: IpAddr) -> Answer<'_, PathInfo>;

    /// What this takes back was changed by a process before, and is needed again: somebody else who needs the same shares it.
    fn keep(&self, _undo: &Undo) {}

    /// Every link.
    fn links(&self) -> Answer<'_, Vec<LinkState>>;

    /// A kernel setting below `/proc/sys`, such as `net/ipv4/ip_forward`; `None` if this kernel has none such.
    fn setting<'a>(&'a self, key: &'a str) -> Answer<'a, Option<String>>;

    /// The links over which others can be reached.
    fn uplinks(&self) -> Answer<'_, Vec<UplinkState>>;

    /// The ways to everywhere, and who the routers there are; those that are not known are asked, and get a second to answer.
    fn exits(&self) -> Answer<'_, Vec<Exit>>;

    /// The networks that this host is in itself.
    fn local_networks(&self) -> Answer<'_, Vec<LocalNetwork>>;

    /// A word whenever links, addresses or routes may have changed; ends with its receiver.
    ///
    /// # Errors
    /// The kernel does not tell.
    fn news(&self) -> Result<tokio::sync::mpsc::Receiver<News>, HostError>;
}

/// What the kernel has told of links, addresses and routes, but for ours.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum News {
    /// There is something to look at.
    Changed,
    /// Nothing goes over this link any more: it is gone, or down, or has no carrier.
    Lost(String),
}
