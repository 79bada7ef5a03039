//! NAT detection (RFC 7296 §2.23): each side hashes the addresses that it thinks a message has; where the hashes that
//! arrive are not those of what arrived, something on the way rewrites.

use adit_core::Path;
use adit_isakmp::Message;
use adit_isakmp::Payload;
use adit_isakmp::crypto::CryptoProvider;
use adit_isakmp::keys::nat_detection_hash;
use adit_isakmp::payload::{Notify, NotifyType};

/// What NAT detection found.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Nat {
    /// In front of us.
    pub(crate) local: bool,
    /// In front of the peer, or the peer says so to force encapsulation.
    pub(crate) remote: bool,
    /// We say that there is one, to force encapsulation.
    pub(crate) forced: bool,
    /// The peer speaks NAT traversal.
    pub(crate) supported: bool,
    /// What the peer hashed our address to.
    pub(crate) seen: Option<[u8; 20]>,
}

impl Nat {
    /// Whether ESP goes in UDP.
    pub(crate) const fn encapsulates(self) -> bool {
        // [7296:2.23-5]
        self.local || self.remote || self.forced
    }

    /// Compares what the peer sent with what arrived. A peer may send several source hashes, one of which has to fit
    /// (it did not know which address it would send from). `None`: a peer that sends none of one kind does not speak
    /// NAT traversal.
    pub(crate) fn detect(
        crypto: &dyn CryptoProvider,
        spis: (u64, u64),
        path: Path,
        message: &Message,
    ) -> Option<Self> {
        let hash = |end| nat_detection_hash(crypto, spis.0, spis.1, end);
        let (local, remote) = (hash(path.local), hash(path.remote));
        let destination = message.notify(NotifyType::NAT_DETECTION_DESTINATION_IP)?;
        message.notify(NotifyType::NAT_DETECTION_SOURCE_IP)?;
        let mut sources = message.notifies().filter(|n| n.kind == NotifyType::NAT_DETECTION_SOURCE_IP);
        Some(Self {
            // [7296:2.23-8]
            local: destination.data != local,
            remote: !sources.any(|n| n.data == remote),
            forced: false,
            supported: true,
            seen: <[u8; 20]>::try_from(destination.data.as_slice()).ok(),
        })
    }
}

/// Our own two notifies. With `fake_source` the source is said to be one that nothing has.
pub(crate) fn payloads(
    crypto: &dyn CryptoProvider,
    spis: (u64, u64),
    path: Path,
    fake_source: Option<[u8; 20]>,
) -> [Payload; 2] {
    let hash = |end| nat_detection_hash(crypto, spis.0, spis.1, end);
    let source = fake_source.unwrap_or_else(|| hash(path.local));
    [
        // [7296:2.23-7]
        Payload::Notify(Notify::new(NotifyType::NAT_DETECTION_SOURCE_IP, source)),
        Payload::Notify(Notify::new(NotifyType::NAT_DETECTION_DESTINATION_IP, hash(path.remote))),
    ]
}
