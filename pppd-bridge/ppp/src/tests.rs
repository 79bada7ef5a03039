//! Links against each other, and against a peer that a test speaks for.

mod anew;
mod authentication;
mod automaton;
mod encryption;
mod host;
mod negotiation;
mod pair;
mod router;
mod snapshot;
mod wire;
