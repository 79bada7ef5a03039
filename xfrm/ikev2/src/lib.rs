//! IKEv2 (RFC 7296), both roles, as a value.
//!
//! An [`Endpoint`] is all IKE_SAs of one pair of UDP sockets (500 and 4500). It is driven as every core of Adit is:
//! [`Endpoint::handle`] takes an [`Input`](api::Input), [`Endpoint::poll`] is drained to `None`, and then nothing
//! happens until [`Endpoint::deadline`]. See [`api`] for what goes in and what comes out.
//!
//! | where | what | RFC 7296 |
//! |---|---|---|
//! | `endpoint` | demultiplexing by SPI, cookies, half-open limits, one heap of deadlines | §2.4, §2.6 |
//! | `initiator`, `responder` | IKE_SA_INIT and IKE_AUTH: a type for each phase, consumed by what ends it | §1.2, §2.6, §2.7, §2.15, §2.19, §2.21 |
//! | `ike` | a connection that is up: the IKE_SA in use and those that it was rekeyed from, its CHILD_SAs, one exchange of ours, one of the peer's, a queue of tasks | §2.1 to §2.3, §2.8, §2.25 |
//! | `ike/paths`, `task/mobike` | where both ends are: NATs that move, and MOBIKE | §2.23, RFC 4555 |
//! | `task` | one file for each job: liveness, deletion, refusals; `create` (CHILD_SAs, new and rekeyed), `rekey_ike` | §1.3, §1.4, §2.4, §2.8, §2.17, §2.18, §2.21 |
//! | `channel`, `auth`, `natd`, `selectors` | keys and protection, AUTH, NAT detection, narrowing | §2.14 to §2.17, §2.23, §2.9 |
//! | `request`, `linger` | retransmission, and the response that is repeated | §2.1, §2.4 |
//! | `ppk` | postquantum preshared keys | RFC 8784 |
//! | `snapshot`, `ike/snapshot` | an IKE_SA that is up, handed to the next process | |
//! | `tickets`, `initiator/resume`, `responder/resume`, `ike/resumption` | sessions that are resumed | RFC 5723 |
//! | `explain` | failures for people | |
//!
//! # What is believed, and when
//!
//! Before IKE_AUTH nothing is. What can't be used is as if it had never come, with one exception: a forged, complete
//! IKE_SA_INIT response by somebody on the path can spoil that one attempt. No such message ends an IKE_SA that is up; an error in IKE_SA_INIT counts when the next retransmission brings one again. A datagram
//! whose integrity check fails is dropped without a word, and counted. Whatever is in a message that passes it is
//! believed to come from the peer that we share keys with, and from nobody in particular until AUTH is verified.
//!
//! # What the driver has to know
//!
//! - A [`Transmit`](adit_core::Transmit) whose payload is the single byte 0xFF is a NAT keepalive (RFC 3948 §2.3): it
//!   is sent as it is, without a Non-ESP marker.
//! - With `Event::Closed` everything of the IKE_SA is to go, also SPIs that were allocated and never installed, and
//!   what a late answer to one of its Asks would bring. SAs that had been installed are named by `ChildClosed` before,
//!   except where the answer to `Ask::Install` has not been given yet.
//! - After `Answer::Installed(Err(…))` nothing of that pair may be left in the kernel.

pub mod api;
mod auth;
mod channel;
mod endpoint;
mod explain;
mod fragments;

mod ike;
mod initiator;
mod intermediate;
mod linger;
mod natd;
mod policy;
mod ppk;
mod request;
mod responder;
mod selectors;
mod snapshot;
mod spis;

mod state;
mod task;
#[cfg(test)]
mod tests;
mod tickets;
mod wire;

pub use endpoint::Endpoint;
pub use state::Counters;
