//! In which order a profile's gateways are dialled.

use std::net::SocketAddr;

use adit_profile::{ServerName, TunnelKind};

use super::{Daemon, lock};
use crate::clock;

/// A gateway, by what it is to carry.
pub(super) type Key = (TunnelKind, String);

/// A gateway, and the addresses that its name has.
pub(crate) type Known = (ServerName, Vec<SocketAddr>);

impl Daemon {
    /// Those of a profile that have addresses, in the order in which they are dialled now.
    pub(crate) fn in_order(&self, kind: TunnelKind, known: &[Known]) -> Vec<Known> {
        let known: Vec<&Known> = known.iter().filter(|(_, addresses)| !addresses.is_empty()).collect();
        let keys: Vec<Key> = known.iter().map(|(gateway, _)| (kind, gateway.to_string())).collect();
        let order = lock(&self.absent).order(clock::now(), &keys);
        order.into_iter().filter_map(|at| known.get(at).copied().cloned()).collect()
    }

    /// Whether a gateway was there when it was dialled.
    pub(crate) fn was_there(&self, kind: TunnelKind, gateway: &ServerName, there: bool) {
        let (mut absent, key) = (lock(&self.absent), (kind, gateway.to_string()));
        match there {
            true => absent.answered(&key),
            false => absent.missed(clock::now(), key),
        }
    }
}
