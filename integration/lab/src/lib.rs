//! Scenarios on the real kernel: real daemons in network namespaces, judged by captures, counters and what is left.
//!
//! [`scenario`] is what a `scenario.toml` may say; the program `adit-lab` runs them.

mod check;
pub mod needs;
pub mod scenario;
