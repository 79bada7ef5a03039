//! PPP links joined with the kernel: a link of `adit-ppp`, its line and its unit. What carries a link stands beside this
//! (`pptp`, `sstp`); who answers its questions is a [`World`]: the client's profile ([`client`]), or the server's users and
//! pools ([`server`]).

mod adopt;
mod ahead;
mod carriage;
mod certificates;
pub(crate) mod client;
mod dhcp;
mod door;
mod driver;
mod fed;
mod guest;
mod handing;
mod host;
mod install;
mod proof;
mod radius;
mod router;
mod scripts;
pub(crate) mod server;
mod tun;
mod unit;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use adit_core::Failure;
use adit_dbus_api::Traffic;
use adit_ppp::{Answer, Ask, Event, Network, NetworkPlan};

pub(crate) use ahead::Ahead;
pub(crate) use carriage::Carriage;
pub(crate) use driver::{Driver, Happened, Line};
pub(crate) use handing::{Handing, Leaving};
pub(crate) use host::{Autoconfiguring, Told};
pub(crate) use router::Advertising;
pub(crate) use scripts::{About, Scripts};
pub(crate) use unit::{Carrier, Packets, Unit};

/// An answer that comes later.
pub(crate) type Later<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// What MPPE puts in front of a packet, in octets.
pub(crate) const MPPE_HEADER: u16 = 4;

/// The longest packet of a link, in octets, MPPE's header included: what fits its path, or what an interface's wanted MTU makes
/// of it.
pub(crate) fn longest(fits: u16, wanted: Option<u16>) -> u16 {
    wanted.map_or(fits, |wanted| wanted.saturating_add(MPPE_HEADER))
}

/// The interface that a link is to have.
pub(crate) struct UnitPlan {
    /// Its name.
    pub(crate) name: String,
    /// Its link group.
    pub(crate) group: u32,
    /// What it is made of.
    pub(crate) carrier: Carrier,
    /// The addresses of both ends.
    pub(crate) network: NetworkPlan,
    /// It is there already.
    pub(crate) unit: Option<Arc<Unit>>,
}

/// A link and what carries it, driven by one task.
pub(crate) trait Session: Send + Sync {
    /// Goes on until the link is up or everything is over. Cancel-safe.
    fn next(&mut self) -> Pin<Box<dyn Future<Output = Happened> + Send + '_>>;

    /// The link's interface, once it has one.
    fn unit(&self) -> Option<&Arc<Unit>>;

    /// Ends it, telling the peer, and closes everything here.
    fn end(self: Box<Self>) -> Later<()>;
}

/// Who answers a link's questions.
pub(crate) trait World: Send + Sync {
    /// A question about a password, or about who the peer is.
    fn ask(self: Arc<Self>, ask: Ask) -> Later<Answer>;

    /// Leave to log in, where that has to be waited for.
    fn leave(&self) -> Option<Later<()>> {
        None
    }

    /// The interface's MTU in octets, where somebody has said what it is to be: smaller where less fits.
    fn mtu(&self) -> Option<u16> {
        None
    }

    /// Which interface, and which addresses, for this peer.
    fn unit(self: Arc<Self>, peer: String) -> Later<Result<UnitPlan, Failure>>;

    /// Addresses and routes, on an interface that is up and lets nothing pass yet.
    fn install(self: Arc<Self>, unit: Arc<Unit>, network: Network) -> Later<Result<(), Failure>>;

    /// The interface lets packets of this network's family pass from now on.
    fn passes(self: Arc<Self>, _unit: Arc<Unit>, _network: Network) -> Later<()> {
        Box::pin(std::future::ready(()))
    }

    /// Takes note of an event. Never blocks.
    fn event(&self, event: &Event);

    /// Whether the next process can go on with the link: then it is to be told from where.
    fn hands_on(&self) -> bool {
        false
    }

    /// From here the next process goes on; `None`: it can't.
    fn hand_on(&self, _leaving: Option<&Leaving<'_>>) {}
}

/// What a unit has carried.
pub(crate) async fn carried(unit: Arc<Unit>) -> Result<Traffic, Failure> {
    let read = tokio::task::spawn_blocking(move || unit.statistics()).await;
    let counted = read.unwrap_or_else(|_| Ok(adit_ppp_kernel::Statistics::default()))?;
    Ok(Traffic {
        bytes_in: counted.bytes_in,
        bytes_out: counted.bytes_out,
        packets_in: counted.packets_in,
        packets_out: counted.packets_out,
    })
}
