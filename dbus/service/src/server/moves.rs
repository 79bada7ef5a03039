//! A server whose own addresses change: its clients are told, and those that came by an address that is gone hear from
//! another (RFC 4555 §3.6).

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, PoisonError};

use adit_core::Path;
use adit_ikev2::api::{Input, SaId};
use tokio::task::AbortHandle;

use super::Inner;
use crate::ike::IkeDriver;

/// Follows this host's addresses until it is ended.
pub(super) fn follow(inner: &Arc<Inner>, ike: IkeDriver) -> Option<AbortHandle> {
    let mut news = match inner.daemon.host().news() {
        Ok(news) => news,
        Err(error) => {
            tracing::warn!(%error, "clients are not told of other addresses of this host");
            return None;
        }
    };
    let inner = Arc::clone(inner);
    let task = tokio::spawn(async move {
        while news.recv().await.is_some() {
            let addresses = inner.own_addresses().await;
            let before = inner.set_addresses(addresses.clone());
            if before != addresses {
                inner.tell_addresses(&ike, &addresses);
            }
        }
    });
    Some(task.abort_handle())
}

impl Inner {
    /// Where clients can reach this host.
    pub(super) fn addresses(&self) -> Vec<IpAddr> {
        self.addresses.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set_addresses(&self, addresses: Vec<IpAddr>) -> Vec<IpAddr> {
        std::mem::replace(&mut *self.addresses.lock().unwrap_or_else(PoisonError::into_inner), addresses)
    }

    /// The addresses that this host has, of those that it listens on.
    pub(super) async fn own_addresses(&self) -> Vec<IpAddr> {
        let listen = &self.config.listen.addresses;
        let mut addresses = self.daemon.uplinks().addresses().await;
        addresses.retain(|a| listen.is_empty() || listen.contains(a));
        addresses
    }

    pub(super) fn tell_addresses(&self, ike: &IkeDriver, addresses: &[IpAddr]) {
        let guests: Vec<_> = self.guests().iter().map(|(sa, guest)| (*sa, guest.connection())).collect();
        for (sa, connection) in guests {
            ike.input(Input::Addresses { sa, addresses: addresses.to_vec() });
            let facts = connection.and_then(|id| self.daemon.registry().get(id));
            if let Some((local, remote)) = facts.and_then(|f| f.local.zip(f.remote)) {
                move_on(ike, sa, Path { local, remote }, addresses);
            }
        }
    }
}

fn move_on(ike: &IkeDriver, sa: SaId, path: Path, addresses: &[IpAddr]) {
    if addresses.contains(&path.local.ip()) {
        return;
    }
    let next = addresses.iter().find(|a| a.is_ipv4() == path.local.is_ipv4());
    if let Some(next) = next {
        let local = SocketAddr::new(*next, path.local.port());
        ike.input(Input::Move { sa, path: Path { local, ..path } });
    }
}
