//! A client that comes back to one server: with the ticket that it was given, no key signs anything.

use std::sync::Arc;

use adit_core::Failure;
use adit_pki::TrustAnchors;
use rustls::ClientConnection;
use rustls::client::Resumption;

use crate::client::{self, Verifier};
use crate::config::ClientConfig;
use crate::engine::Engine;
use crate::explain::internal;

/// Tickets that are kept of a server.
const TICKETS: usize = 4;

/// What the sessions with one server have in common. They come one after the other.
///
/// What a full handshake checks of the server's certificate is checked again of the certificate that a session began with, by
/// what is trusted and the time now; [`Engine::questions`] are there too. Tickets are here and nowhere else.
pub struct Returning {
    config: Arc<rustls::ClientConfig>,
    verifier: Arc<Verifier>,
}

impl Returning {
    /// For this server.
    ///
    /// # Errors
    /// Our own certificate is unusable.
    pub fn new(ours: &ClientConfig) -> Result<Self, Failure> {
        let (mut config, verifier) = client::config(ours)?;
        config.resumption = Resumption::in_memory_sessions(TICKETS);
        Ok(Self { config: Arc::new(config), verifier })
    }

    /// The engine of its next session. Who authorities are may have changed since.
    ///
    /// # Errors
    /// None that is known.
    pub fn engine(&self, anchors: &Arc<TrustAnchors>) -> Result<Engine, Failure> {
        self.verifier.begin(anchors);
        let name = client::server_name(self.verifier.name());
        let connection = ClientConnection::new(Arc::clone(&self.config), name).map_err(|e| internal(&e))?;
        Ok(Engine::returning(connection.into(), Arc::clone(&self.verifier)))
    }
}
