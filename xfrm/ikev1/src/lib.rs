//! IKEv1 (RFC 2408, RFC 2409, NAT traversal by RFC 3947) for L2TP/IPsec, both roles, as a value.
//!
//! An [`Endpoint`] is all connections of one pair of UDP sockets (500 and 4500), beside IKEv2's: the major version in
//! the header tells whose a datagram is. It is driven as every core of Adit is: [`Endpoint::handle`] takes an
//! [`Input`](api::Input), [`Endpoint::poll`] is drained to `None`, and then nothing happens until
//! [`Endpoint::deadline`]. See [`api`] for what goes in and what comes out.
//!
//! | where | what | RFC |
//! |---|---|---|
//! | `endpoint` | demultiplexing by cookies, limits of what peers have begun, one list of deadlines | 2408 §5.2 |
//! | `initiator`, `responder` | Main Mode, Aggressive Mode as initiator: what is consumed by what ends it | 2409 §5.1, §5.4 |
//! | `dialled` | Main Mode of a peer that we have dialled | |
//! | `up` | a connection: its ISAKMP SAs and CHILD_SAs, Quick Modes of both ends | 2409 §5.5 |
//! | `up/informational` | Delete, dead peer detection, what peers say | 2409 §5.7, 3706 |
//! | `up/snapshot`, `endpoint/restore` | a connection that is up, handed to the next process | |
//! | `channel` | keys and protection | 2409 §5, appendix B |
//! | `natt`, `vendor`, `fragments` | NAT traversal, what peers can do, messages in pieces | 3947 |
//! | `explain` | failures for people | |
//!
//! # What is believed, and when
//!
//! Nothing in clear is, but for what an exchange of phase 1 consists of; an error that somebody says in clear ends an
//! attempt only if it is said again to the next retransmission. Phase 2 and Informationals count when their HASH does,
//! and once: their Message IDs are remembered as long as the ISAKMP SA lives.
//!
//! Aggressive Mode is never answered: with a pre-shared key its second message gives whoever asks all that a search for
//! the key needs. The commit bit is ignored: who sets it gets the third message of Quick Mode as ever, and its CONNECTED
//! changes nothing. ModeCfg and XAUTH are not spoken.
//!
//! # What the driver has to know
//!
//! - A [`Transmit`](adit_core::Transmit) whose payload is the single byte 0xFF is a NAT keepalive (RFC 3948 §2.3): it
//!   is sent as it is, without a Non-ESP marker.
//! - IKEv1 has no answer to a Delete: `Event::Closed` follows `Input::Close` at once.
//! - With `Event::Closed` everything of the connection is to go. SAs that had been installed are named by `ChildClosed`
//!   before, except where the answer to `Ask::Install` has not been given yet.
//! - A peer that comes in again without saying INITIAL-CONTACT goes on with the CHILD_SAs that it has: the new one's name
//!   is closed, and the old one's says `Event::Rekeyed`.
//! - So does one that we have dialled and that dials us in turn, with or without `ResponderDefaults`: the Asks of that are
//!   those of the connection, as if we had dialled once more, but for `Ask::Psk`, which is a responder's. Where peers may dial
//!   anyway, they are heard first: who offers what `ResponderDefaults` allow is a new client.

pub mod api;
mod channel;
mod dialled;
mod endpoint;
mod explain;
mod fragments;
mod half_open;
mod initiator;
mod natt;
mod policy;
mod request;
mod responder;
mod state;
#[cfg(test)]
mod tests;
mod up;
mod vendor;

pub use endpoint::Endpoint;
pub use state::Counters;
