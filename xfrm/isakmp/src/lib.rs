//! What IKEv1 and IKEv2 share. Pure: bytes in, bytes out; cryptography stands behind [`crypto::CryptoProvider`].
//!
//! A received datagram is read by [`HeaderView::parse`] (whose SA is it?), then by [`Message::parse`] or, where it is
//! protected, by [`sk::open`]. Nothing here panics on any input, and nothing allocates more than a small multiple of
//! the input's length.

pub mod algorithm;
pub mod api;
pub mod crypto;
mod header;
pub mod keys;
mod message;
pub mod payload;
pub mod proposal;
pub mod signature;
pub mod sk;
pub mod snapshot;
pub mod v1;
mod wire;

pub use algorithm::{AdditionalKe, Encryption, EspSuite, IkeSuite, Integrity, KeMethod, Prf};
pub use header::{
    ExchangeType, Flags, HEADER_LEN, Header, HeaderView, MAX_MESSAGE_LEN, VERSION_1, VERSION_2,
};
pub use message::Message;
pub use payload::{Payload, PayloadType};
pub use wire::EncodeError;
