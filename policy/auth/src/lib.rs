//! Who somebody is: the methods by which people and hosts prove themselves, as peer and as authenticator.
//!
//! | where | what | source |
//! |---|---|---|
//! | [`mschap`] | MS-CHAPv2 responses, password changes, and the keys that come of them | RFC 2759, RFC 3079 |
//!
//! Everything here is pure: challenges come as arguments, verdicts of others (a RADIUS server, a person) as inputs.

pub mod eap;
pub mod mschap;
