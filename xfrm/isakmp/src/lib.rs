//! What IKEv1 and IKEv2 share. Pure: bytes in, bytes out; cryptography stands behind [`crypto::CryptoProvider`].

pub mod algorithm;
pub mod crypto;
pub mod proposal;

pub use algorithm::{Encryption, EspSuite, IkeSuite, Integrity, KeMethod, Prf};
