//! What a tunnel means for the host, decided without touching it. The service carries plans out.

mod mtu;
mod network;

pub use mtu::{Encapsulation, EspOverhead, MIN_MTU_V4, MIN_MTU_V6, inner_mtu};
pub use network::{NetworkPlan, TunnelFacts};
