//! A RADIUS client (RFC 2865, RFC 3579, RFC 2548, RFC 2866, RFC 5176): questions to a company's server, as a value.
//!
//! [`Client`] holds the servers and what is on its way; datagrams, deadlines and questions go in, datagrams and answers
//! come out. Every Access packet carries a Message-Authenticator, ours and the server's: an answer without one is not
//! believed (RFC 3579 §3.2, and the lesson of CVE-2024-3596). MD5 protects nothing else here: between sites RADIUS goes
//! through TLS.

mod attributes;
pub mod chap;
mod client;
pub mod dynamic;
mod packet;
mod protect;
mod stream;
#[cfg(test)]
mod tests;

pub use attributes::{Attribute, Granted, Vendor, attribute};
pub use client::{Answer, Client, Input, Output, Query, QueryId, Server, ServerId, Verdict};
pub use packet::{Code, MAX_LEN, Packet, Writer};
pub use protect::{Unbelievable, believe};
pub use stream::Stream;
