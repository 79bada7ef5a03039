//! NAT traversal (RFC 3947): whether there is a NAT, and on whose side.

use adit_core::Path;
use adit_isakmp::Prf;
use adit_isakmp::v1::proposal::Encapsulation;
use adit_isakmp::v1::{Message, Payload, Provider, keys};

use crate::vendor::Peer;

/// What NAT detection found.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Nat {
    /// In front of us.
    pub(crate) local: bool,
    /// In front of the peer.
    pub(crate) remote: bool,
    /// We say that there is one, to have ESP in UDP.
    pub(crate) forced: bool,
}

impl Nat {
    /// Compares what the peer sent with what arrived. A peer that sends no NAT-D does not speak NAT traversal.
    pub(crate) fn detect(
        crypto: &dyn Provider,
        prf: Prf,
        cookies: (u64, u64),
        path: Path,
        message: &Message,
    ) -> Option<Self> {
        let mut hashes = message.iter().filter_map(|p| match p {
            Payload::NatD { hash, .. } => Some(hash),
            _ => None,
        });
        let hash = |end| keys::nat_d(crypto, prf, cookies, end);
        let (local, remote) = (hash(path.local), hash(path.remote));
        let ours = hashes.next()?;
        let mut theirs = hashes.peekable();
        theirs.peek()?;
        // [3947:3.2-2]
        Some(Self { local: *ours != local, remote: !theirs.any(|h| *h == remote), forced: false })
    }

    /// Whether ESP goes in UDP.
    pub(crate) const fn encapsulates(self) -> bool {
        self.local || self.remote || self.forced
    }

    /// How ESP is carried.
    pub(crate) fn how(self, peer: Peer) -> Encapsulation {
        if self.encapsulates() { peer.encapsulation() } else { Encapsulation::Plain }
    }
}

/// Our own two NAT-D payloads: the remote end first. With `forced` our own end is said to be one that nothing has.
pub(crate) fn payloads(
    crypto: &dyn Provider,
    prf: Prf,
    cookies: (u64, u64),
    path: Path,
    (peer, forced): (Peer, bool),
) -> Vec<Payload> {
    if peer.natt.is_none() {
        return Vec::new();
    }
    let draft = peer.draft();
    let hash = |end| keys::nat_d(crypto, prf, cookies, end);
    let mut own = hash(path.local);
    if forced {
        own.iter_mut().for_each(|byte| *byte = !*byte);
    }
    // [3947:3.2-1]
    vec![Payload::NatD { draft, hash: hash(path.remote) }, Payload::NatD { draft, hash: own }]
}
