//! SSTP ([MS-SSTP]) as one value: [`Call`], for the client and for the server. TLS below it and PPP above it are others': what it
//! takes and gives are the octets inside of TLS, and PPP frames.
//!
//! | where | what | source |
//! |---|---|---|
//! | `http` | the request that opens the stream, and what else may arrive at that port | [MS-SSTP] §3.2.4.1, §3.3.5.1 |
//! | [`proxy`] | the way through an HTTP proxy | RFC 9110, RFC 7616 |
//! | [`forwarded`] | whose connection a load balancer passes on | the PROXY protocol |
//! | [`wire`] | packets, messages, attributes | [MS-SSTP] §2.2 |
//! | `call` | the states and timers of both ends | [MS-SSTP] §3 |
//! | [`binding`] | what binds the authentication inside to the certificate outside | [MS-SSTP] §3.2.5.2 |

mod api;
pub mod binding;
mod call;
mod explain;
pub mod forwarded;
mod frame;
mod http;
pub mod proxy;
#[cfg(test)]
mod tests;
pub mod wire;

pub use api::{Config, Event, Input, Output, Role, Timer, Timing};
pub use call::Call;

/// The TCP port of HTTPS.
pub const PORT: u16 = 443;

/// The longest PPP frame that a packet holds, in octets: the MRU that Windows asks for.
pub const LONGEST_FRAME: u16 = 4091;
