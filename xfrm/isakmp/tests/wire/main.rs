//! The codec: messages and payloads.

mod refusals;
mod roundtrip;
