//! Project Wycheproof's vectors for every primitive that the provider calls, as it calls it. (Signatures: adit-pki.)

mod exchange;
mod symmetric;
