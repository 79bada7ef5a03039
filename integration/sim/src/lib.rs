//! Hosts, NATs and networks on a virtual clock, for every protocol core.
//!
//! One number, the seed, makes a whole run: who dials whom, what the network and the drivers do, and every random bit
//! of the cores. A run that fails prints its seed; that seed is then kept in `tests/`.

pub mod auth;
pub mod crypto;
pub mod host;
pub mod kernel;
pub mod l2tp;
pub mod nat;
pub mod net;
pub mod ppp;
pub mod random;
pub mod seeds;
pub mod world;
