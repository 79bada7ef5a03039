//! Tunnels that outlive their process.

use adit_core::{Entropy, Instant};
use zeroize::Zeroizing;

use super::Endpoint;
use crate::api::{Restored, Rules, TunnelNumber};
use crate::tunnel::Tunnel;

impl Endpoint {
    /// Whether a tunnel has worked since this was asked last: then its snapshot is another one.
    pub fn take_touched(&mut self, tunnel: TunnelNumber) -> bool {
        self.tunnels.get_mut(&tunnel).is_some_and(|tunnel| core::mem::take(&mut tunnel.touched))
    }

    /// All that somebody needs to go on with a tunnel that stands, after this process. `None`: nobody could go on from this moment;
    /// the next one will do.
    ///
    /// Whoever hands it on does so before any datagram leaves that [`Endpoint::poll`] has given since the one before: else
    /// a message could be acknowledged that nobody knows of, or a number be used twice.
    #[must_use]
    pub fn snapshot(&self, tunnel: TunnelNumber) -> Option<Zeroizing<Vec<u8>>> {
        self.tunnels.get(&tunnel)?.snapshot()
    }

    /// Goes on with a tunnel that another process has left; then [`Endpoint::poll`] until `None`. What may happen in it from now on is
    /// what `rules` say. `None`: the snapshot is damaged, of another version, or of one that is here already, and nothing
    /// has changed.
    pub fn restore(
        &mut self,
        now: Instant,
        entropy: &mut dyn Entropy,
        snapshot: &[u8],
        rules: &Rules,
    ) -> Option<Restored> {
        let left = Tunnel::read(&mut self.world(now, entropy), snapshot, rules)?;
        let restored = left.restored()?;
        let (path, association, (local, peer)) = (restored.path, restored.association, restored.ids);
        let tunnel = left.into_tunnel();
        let known = tunnel.answered && self.callers.contains_key(&(path.remote, association, peer));
        if known || self.ids.contains_key(&local) {
            return None;
        }
        let number = tunnel.number;
        self.adopt(now, entropy, tunnel);
        self.on(now, entropy, number, Tunnel::resume);
        Some(restored)
    }
}
