//! The door to the kernel's PPP (`ppp_generic`).
//!
//! Whoever carries frames makes a *channel* (a PPTP socket, an L2TP session, a terminal); a *unit* is the network
//! interface. LCP and authentication pass through the [`Channel`], the rest through the [`Unit`] once both are
//! connected. Packets of the network stay in the kernel. Where no carrier of the kernel's has the frames, a [`Tun`] is the
//! interface, and packets go by this process; or a [`Feed`] takes this process's frames into a unit.
//!
//! A unit is gone when its file is closed, which takes the kernel 20 to 40 ms, one after another: many go at once by
//! their link group, and what closes one belongs on a thread that may block.

mod channel;
mod error;
mod feed;
mod host;
mod ioctl;
mod l2tp;
mod link;
mod netlink;
pub mod offload;
mod owners;
mod router;
pub mod scratch;
mod segments;
mod tun;
mod unit;

pub use channel::{Channel, ChannelFlags};
pub use error::PppError;
pub use feed::Feed;
pub use host::{HostHeard, HostSockets};
pub use l2tp::{L2tpIds, L2tpSession, L2tpTunnel, finds_sessions_by_ids, probe_l2tp};
pub use owners::{L2tpOwned, L2tpOwners};
pub use router::{Heard, RouterSockets};
pub use tun::Tun;
pub use unit::{Compression, Family, LinkSpec, Standing, Statistics, Unit};

use std::path::Path;

/// Whether this kernel has PPP and this process may use it: opens `/dev/ppp`.
///
/// # Errors
/// What is missing, as a person meets it.
pub fn probe() -> Result<(), PppError> {
    ioctl::open(Path::new(ioctl::DEVICE)).map(drop)
}
