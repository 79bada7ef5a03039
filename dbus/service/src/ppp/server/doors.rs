//! Where peers come in: by TCP and a socket, or by the one task of all of L2TP's tunnels.

use std::net::SocketAddr;
use std::sync::Arc;

use adit_core::{Failure, Path};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::{Inner, serve, until};
use crate::l2tp;
use crate::ppp::Session;
use crate::ppp::door::{self, Door};
use crate::ppp::guest::Guest;
use crate::suites::Outside;

/// Where peers come in.
pub(super) enum Doors {
    Streams(Vec<Door>),
    L2tp(Vec<SocketAddr>, Box<l2tp::Engine>, mpsc::Receiver<l2tp::Link>),
}

/// Takes the sessions of L2TP's peers, a task each.
pub(super) async fn take(
    inner: Arc<Inner>,
    engine: l2tp::Running,
    mut links: mpsc::Receiver<l2tp::Link>,
    mut stopped: watch::Receiver<bool>,
) {
    let mut sessions = JoinSet::new();
    loop {
        let link = tokio::select! {
            biased;
            () = until(&mut stopped) => break,
            Some(_) = sessions.join_next(), if !sessions.is_empty() => continue,
            link = links.recv() => match link {
                Some(link) => link,
                None => break,
            },
        };
        let Path { local, remote: from } = link.path;
        if !inner.admit(from.ip()) {
            link.refuse();
            continue;
        }
        let (inner, stopped) = (Arc::clone(&inner), stopped.clone());
        sessions.spawn(async move {
            let config = inner.link_config(inner.carriage.most_mtu());
            let outside = inner.config.l2tp.as_ref().map(|rule| l2tp::outside(rule.ipsec));
            let answer = |guest: Arc<Guest>| async move {
                guest.is_inside_of(Outside::L2tp(outside.unwrap_or_default()));
                Ok(Box::new(l2tp::Session::answer(link, config, guest)) as Box<dyn Session>)
            };
            serve(&inner, Path { local, remote: from }, stopped, answer).await;
        });
    }
    while sessions.join_next().await.is_some() {}
    engine.stop().await;
}

impl Inner {
    pub(super) fn open_doors(&self) -> Result<Doors, Failure> {
        let Some(rule) = &self.config.l2tp else {
            return door::open(&self.config, self.carriage).map(Doors::Streams);
        };
        let ips = match self.config.addresses.is_empty() {
            true => self.carriage.any(),
            false => self.config.addresses.clone(),
        };
        let addresses: Vec<SocketAddr> =
            ips.into_iter().map(|ip| SocketAddr::new(ip, self.config.port)).collect();
        let secret = l2tp::secret(self.daemon.files(), rule)?;
        let (engine, links) = l2tp::listen(&addresses, (rule, secret), self.most, self.half_open)?;
        Ok(Doors::L2tp(addresses, Box::new(engine), links))
    }
}
