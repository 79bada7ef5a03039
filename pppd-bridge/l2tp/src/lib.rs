//! L2TP (RFC 2661) as one value, [`Endpoint`]: control connections and calls, as LAC and as LNS, dialled and answered. UDP
//! below it, the kernel's data messages beside it and PPP above it are others': a call that is up is four IDs.
//!
//! | where | what | source |
//! |---|---|---|
//! | [`wire`] | headers, AVPs, messages, what is hidden | §3.1, §4, §6 |
//! | `channel` | messages arrive once and in order | §5.8, Appendix A |
//! | `tunnel` | a control connection | §5.1, §7.2 |
//! | `call` | its sessions | §5.2, §7.3 to §7.5 |
//! | `endpoint` | which datagram is whose, and how much strangers may cost | §5.8, §9 |
//! | `tunnel/snapshot`, `endpoint/restore` | a tunnel that stands, handed to the next process | |
//! | `explain` | results and errors in words | §4.4.2 |

mod api;
mod call;
mod channel;
mod endpoint;
mod explain;
#[cfg(test)]
mod tests;
mod tunnel;
pub mod wire;

pub use api::{
    Answer, Ask, AskId, Association, Call, Config, Dial, Event, Ids, Input, Limits, Listen, Output, Restored,
    Rules, SessionNumber, Takes, Timer, Timing, TunnelNumber,
};
pub use endpoint::Endpoint;

/// The UDP port that is dialled (§8.1).
pub const PORT: u16 = 1701;
