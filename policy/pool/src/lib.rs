//! Pools of addresses for clients: static ranges of IPv4 and IPv6.
//!
//! A [`Pool`] is a value that decides alone: no clock, no randomness, no hash order. The same calls give the
//! same addresses. Every call costs O(log n) in the number of leases and ranges, and memory grows with the
//! leases, not with the ranges: a /64 costs as much as a /30.
//!
//! An address of a pool is in one of three places: *fresh*, *reserved* (free, but remembered for the identity
//! that had it last), or *leased*. Nothing else exists, so nothing can be lost.

mod config;
mod error;
mod family;
mod interval;
mod pool;

pub use config::{PoolConfig, PoolRange};
pub use error::PoolError;
pub use pool::{Lease, Pool, Request};
