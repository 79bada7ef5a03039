//! PPP (RFC 1661) as one value: [`Link`]. It knows nothing of what carries its frames (PPTP, L2TP, SSTP, a serial line)
//! or of the kernel that carries the packets.
//!
//! | where | what | source |
//! |---|---|---|
//! | [`automaton`] | the option negotiation automaton, as one table | RFC 1661 §4 |
//! | `control` | a control protocol that runs by it: timers, identifiers, Nak and Reject | RFC 1661 §4, §5 |
//! | `lcp` | LCP's options | RFC 1661 §6 |
//! | `ncp` | IPCP, IPV6CP, CCP with MPPE | RFC 1332, 1877, 5072, 1962, 3078 |
//! | `auth` | PAP, CHAP, MS-CHAP, EAP, both sides | RFC 1334, 1994, 2433, 2759, 3748 |
//! | `link` | the phases that join them | RFC 1661 §3 |
//! | `link::snapshot` | a link as octets, for whoever goes on with it | |
//! | `router` | what the host at the other end is told of IPv6 | RFC 4861, 8106, 8415 |
//! | `host` | what a host makes of what a router says | RFC 4861, 4862, 7559 |
//! | [`wire`] | bytes | |

mod api;
mod auth;
pub mod automaton;
mod config;
mod control;
mod host;
mod lcp;
mod link;
mod ncp;
mod router;
#[cfg(test)]
mod tests;
pub mod wire;

pub use api::{
    Answer, Ask, AskId, Authenticated, Compress, EapStep, Established, Event, Input, Ipv4Network,
    Ipv6Network, Network, NetworkPlan, Output, Restored, Timer,
};
pub use auth::{Claim, KnownUser, Proof, Verdict};
pub use config::{Addresses, AuthMethod, EapConfig, LinkConfig, Mppe, MppeWish, NameServers, Timing};
pub use host::{Host, HostInput, HostOutput};
pub use lcp::LinkParameters;
pub use link::Link;
pub use ncp::MppeBits;
pub use router::{Router, RouterConfig, RouterInput, RouterOutput};
