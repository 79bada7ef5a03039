//! A connection that we dial: from `up` to the last undo.

mod asker;
mod attempt;
mod configuration;
mod context;
mod eap;
mod install;
mod resolve;
mod roaming;
mod shown;
mod words;

pub(crate) use asker::not_wanted;
pub use attempt::{ClientHandle, Dial, start};
