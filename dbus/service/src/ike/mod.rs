//! IKE's driver: one task for the endpoints of both versions, their sockets, and what they ask for.

mod answering;
mod driver;
mod kept;
mod responders;
mod sockets;
mod v1;

pub use driver::{IkeDriver, Listen, Pending, SaContext, WeakIkeDriver, start};
pub use kept::Kept;
pub use responders::Beside;
pub use sockets::{IkeSockets, Ports};
pub use v1::V1Context;
