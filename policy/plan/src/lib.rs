//! What a tunnel means for the host, which type of tunnel it is, and which path it takes next, decided without touching anything. The service carries plans out.

pub mod dhcp;
pub mod gateways;
pub mod local;
pub mod mobility;
mod mtu;
mod names;
mod network;
pub mod query;
pub mod services;
pub mod strategy;
pub mod trusted;

pub use mtu::{Encapsulation, EspOverhead, MIN_MTU_V4, MIN_MTU_V6, inner_mtu};
pub use names::{NameFacts, NamePlan};
pub use network::{NetworkPlan, TunnelFacts};
