//! What pppd's scripts of `/etc/ppp` (`ip-up`, `ip-down`, `ipv6-up`, `ipv6-down`) are told of a link, as records that a daemon
//! without rights sends to a helper that has them, and the helper's work: [`serve`].
//!
//! A connection is for one link: a record when a family of addresses is up, one when the link is over. What a record can say is
//! all that a script may know; there is no room for a secret in it.

mod record;
mod run;

pub use record::{Down, Record, RecordError, Up, next};
pub use run::{Scripts, serve};

/// Where the helper listens.
pub const SOCKET: &str = "/run/adit-ppp-scripts";
