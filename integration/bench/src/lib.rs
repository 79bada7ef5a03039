//! A load initiator of our own, and what it measures of a responder.

pub mod against;
mod answers;
pub mod auth;
pub mod bus;
mod capture;
pub mod charon;
pub mod clock;
pub mod connect;
pub mod crowd;
pub mod daemon;
pub mod dial;
pub mod figures;
pub mod flood;
pub mod ike;
pub mod l2tp;
pub mod load;
pub mod pcap;
mod ping;
pub mod pptp;
pub mod primitives;
pub mod process;
pub mod proof;
pub mod report;
pub mod roam;
pub mod spoof;
pub mod sstp;
