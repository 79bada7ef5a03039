//! The codec: messages and payloads.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests fail as tests do"
)]

mod fields;
mod refusals;
mod roundtrip;
mod v1;
