//! Who somebody is: the methods by which people and hosts prove themselves, as peer and as authenticator.
//!
//! | where | what | source |
//! |---|---|---|
//! | [`eap`] | EAP with its methods: MSCHAPv2, TLS, TTLS, PEAP, MD5, GTC | RFC 3748, 5216, 5281, 9190, [MS-PEAP] |
//! | [`mschap`] | MS-CHAPv2 responses, password changes, and the keys that come of them | RFC 2759, RFC 3079 |
//! | [`radius`] | a client of RADIUS servers: packets, what makes them believable, fail-over, accounting | RFC 2865, 2866, 3579 |
//!
//! Everything here is pure: challenges come as arguments, verdicts of others (a RADIUS server, a person) as inputs.

pub mod eap;
pub mod mschap;
pub mod radius;
