//! PPTP: a control connection, its call's PPP link, and the kernel that carries both (RFC 2637). Dialled ([`client`]) and
//! answered ([`server`]).

pub(crate) mod client;
mod guest;
mod install;
mod proof;
mod radius;
pub(crate) mod server;
mod session;

/// The path's headers in front of a packet inside: IPv4, GRE with sequence and acknowledgement, PPP's address, control and
/// protocol.
const OVERHEAD: u16 = 20 + 16 + 4;

/// The longest packet inside, in octets: what Windows uses, and what passes most paths; a longer one gains little.
const MOST_MTU: u16 = 1400;

/// Said once whenever PPTP is dialled.
pub(crate) const WEAK: &str = "PPTP is weak: whoever records the log-in finds the password's hash in hours, MPPE proves \
                               nothing of a packet, and its control messages are not protected; use IKEv2 or SSTP where you can";
