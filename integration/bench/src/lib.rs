//! A load initiator of our own, and what it measures of a responder.

mod answers;
pub mod charon;
pub mod clock;
pub mod daemon;
pub mod dial;
pub mod flood;
pub mod ike;
pub mod load;
pub mod primitives;
pub mod process;
pub mod report;
pub mod spoof;
