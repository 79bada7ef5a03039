//! A connection that we dial: from `up` to the last undo.

mod attempt;
mod configuration;
mod context;
mod install;
mod resolve;
mod roaming;
mod shown;

pub use attempt::{ClientHandle, Dial, start};
