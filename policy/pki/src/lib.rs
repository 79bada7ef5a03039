//! Certificates for IKE: is this chain trusted, is it for this name, may it do this, is this its signature;
//! and signing with our own.
//!
//! Everything here is a function of its arguments. The time, the trust anchors and the randomness that a
//! signature needs come from the caller, and nothing is fetched: a certificate that is not in the chain or
//! among the anchors does not exist. There is no way to skip a check.
//!
//! Start at [`verify_server`] and [`verify_client`]; the rules they follow stand there.

mod anchors;
mod bare;
mod cert;
mod decrypt;
mod error;
mod key;
mod names;
mod own;
mod pem;
mod pkcs12;
mod request;
mod revocation;
mod signature;
mod signer;
mod verify;

pub use anchors::TrustAnchors;
pub use cert::{Summary, date, summarize};
pub use error::PkiError;
pub use own::{Suits, identities, identity_texts, is_authority, is_for_host, key_kind, suits};
pub use pem::read_certificates;
pub use pkcs12::Pkcs12;
pub use request::{HASH_LEN, KeyHash, issuers, key_hash, leads_to, public_key};
pub use revocation::{Question, Source, Status, Strictness};
pub use signature::{EcdsaEncoding, ecdsa_to_der, verify_bare, verify_signature};
pub use signer::{FileSigner, Signer};
pub use verify::{
    MAX_CERTIFICATE_LEN, MAX_CHAIN_LEN, VerifiedKey, verify_client, verify_server, verify_tls_client,
};
