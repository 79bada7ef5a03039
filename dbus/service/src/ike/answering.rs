//! Who answers for the connections of one version of IKE, and on which addresses peers are let in.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use adit_core::Path;
use adit_ikev2::api::SaId;

/// Whoever has dialled, each for their own, and the server for the rest.
pub(super) struct Answering<C: ?Sized> {
    /// Asked several times for each datagram.
    contexts: HashMap<SaId, Arc<C>>,
    server: Option<Arc<C>>,
    /// Addresses of this host; empty: all.
    listen: Vec<IpAddr>,
}

impl<C: ?Sized> Answering<C> {
    pub(super) fn new() -> Self {
        Self { contexts: HashMap::new(), server: None, listen: Vec::new() }
    }

    /// Takes note of who has dialled, or whom a peer has come to beside the server.
    pub(super) fn dialled(&mut self, sa: SaId, context: Arc<C>) {
        self.contexts.insert(sa, context);
    }

    /// From here on the server answers for those who come; `None`: nobody comes to it any more. Peers that are already in keep
    /// the context they came in with.
    pub(super) fn serve(&mut self, server: Option<Arc<C>>) {
        self.server = server.or(self.server.take());
    }

    /// They come on these addresses; empty: on all.
    pub(super) fn listen(&mut self, addresses: Vec<IpAddr>) {
        self.listen = addresses;
    }

    /// A first message (whose responder SPI, or cookie, is zero) is heard only on the server's own addresses; everything else
    /// belongs to a connection that there is, or is dropped by the core.
    pub(super) fn hears(&self, path: &Path, payload: &[u8]) -> bool {
        let first = payload.get(8..16).is_some_and(|spi| spi == [0; 8]);
        !first || self.listen.is_empty() || self.listen.contains(&path.local.ip())
    }

    /// Who answers for it. `None`: nobody does.
    pub(super) fn of(&mut self, sa: SaId) -> Option<Arc<C>> {
        if let Some(context) = self.contexts.get(&sa) {
            return Some(Arc::clone(context));
        }
        // One that nobody here dialled is a peer's: the server answers for it.
        let server = Arc::clone(self.server.as_ref()?);
        self.contexts.insert(sa, Arc::clone(&server));
        Some(server)
    }

    /// Who has answered for it before.
    pub(super) fn known(&self, sa: SaId) -> Option<&Arc<C>> {
        self.contexts.get(&sa)
    }

    /// It is closed.
    pub(super) fn forget(&mut self, sa: SaId) {
        self.contexts.remove(&sa);
    }
}
