//! IKEv2's driver: one task for the endpoint, its sockets, and what it asks for.

mod driver;
mod sockets;

pub use driver::{IkeDriver, Listen, Pending, SaContext, WeakIkeDriver, start};
pub use sockets::{IkeSockets, Ports};
