//! The contract that every protocol core of Adit is written against.
//!
//! A core is a value. It is driven by `handle(now, Input)`, drained by `poll() -> Option<Output>` until `None`, and
//! then left alone until `deadline() -> Option<(Instant, Timer)>`. It never reads a clock, a socket, a file or the
//! operating system's randomness: [`Instant`], [`WallTime`] and [`Entropy`] are arguments.
//!
//! This crate holds words, not logic: what two crates must agree on, and nothing else.

mod address;
mod entropy;
mod failure;
mod identity;
mod secret;
mod selector;
mod signature;
pub mod snapshot;
mod time;
mod windows;
mod wire;

pub use address::{AddressRange, Path, PathNews, Prefix, PrefixError, Transmit};
pub use entropy::Entropy;
pub use failure::{Failure, FailureCode, Step};
pub use identity::{Identity, IdentityError};
pub use secret::Secret;
pub use selector::TrafficSelector;
pub use signature::{KeyKind, SignatureScheme};
pub use time::{Instant, WallTime};
pub use windows::{WindowsError, windows_errors};
pub use wire::DecodeError;
