//! IKEv2 (RFC 7296), both roles, as a value: see [`api`] for what goes in and what comes out.

pub mod api;
