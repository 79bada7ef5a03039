//! NIST's key derivation values, with the product's provider.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test")]

#[path = "../../isakmp/tests/keys/nist.rs"]
mod nist;

#[test]
fn nist_values_are_met() {
    nist::check(&adit_crypto::Provider::new());
}
