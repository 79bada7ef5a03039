//! PPTP (RFC 2637): a control connection and its calls as one value, [`Control`], for the PNS (who dials) and the PAC (who
//! answers). PPP and GRE are others': a call that is up is two call IDs.

mod api;
mod control;
mod explain;
mod snapshot;
#[cfg(test)]
mod tests;
pub mod wire;

pub use api::{Answer, Ask, AskId, CallNumber, Config, Event, Input, Output, Role, Timer, Timing};
pub use control::Control;
pub use snapshot::RestoredCall;

/// The TCP port of control connections (§3).
pub const PORT: u16 = 1723;
