//! TLS 1.2 and 1.3 from buffer to buffer: records in, records out, plaintext in, plaintext out.
//!
//! A door, because rustls reads the clock and makes randomness. It opens no socket: EAP's methods carry the records in
//! their packets ([`eap`]), RadSec in a TCP stream. The other side's certificate is verified by `adit-pki`, with its rules
//! and its words; there is no way to skip that.

mod client;
mod config;
#[cfg(test)]
mod derivations;
pub mod eap;
mod engine;
mod explain;
mod listener;
mod own;
mod returning;
mod server;

pub use config::{ClientConfig, OwnCertificate, ServerConfig, Versions};
pub use engine::{Engine, Tunnel};
pub use listener::Listener;
pub use returning::Returning;

// Tests name the crate as others do.
#[cfg(test)]
extern crate self as adit_tls;
