//! Where peers come in: by TCP and a socket, or by the one task of all of L2TP's tunnels.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use adit_core::{Failure, FailureCode, Path, Step};
use adit_l2tp::Association;
use adit_profile::{Ipsec, ServerConfig};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::serve::{serve, until};
use super::{Going, Inner};
use crate::credentials::PeerIs;
use crate::host::CLIENTS_GROUP;
use crate::l2tp;
use crate::ppp::certificates::Certificates;
use crate::ppp::door::{self, Door};
use crate::ppp::guest::Guest;
use crate::ppp::{Ahead, Later, Session};
use crate::suites::Outside;

/// Where peers come in.
pub(super) enum Doors {
    Streams(Vec<Door>),
    L2tp(Vec<SocketAddr>, Box<l2tp::Engine>, mpsc::Receiver<l2tp::Link>),
}

/// Takes the sessions of L2TP's peers, a task each, with those who have been here before.
pub(super) async fn take(
    inner: Arc<Inner>,
    engine: l2tp::Running,
    (mut links, returned): (mpsc::Receiver<l2tp::Link>, Vec<Later<()>>),
    mut going: watch::Receiver<Going>,
) {
    let mut sessions = JoinSet::new();
    for returned in returned {
        sessions.spawn(returned);
    }
    loop {
        let mut link = tokio::select! {
            biased;
            () = until(&mut going, Going::Closed) => break,
            Some(_) = sessions.join_next(), if !sessions.is_empty() => continue,
            link = links.recv() => match link {
                Some(link) => link,
                None => break,
            },
        };
        let (Path { local, remote: from }, ahead) = (link.path, link.ahead.take());
        let outside = inner.outside_of(from, link.association);
        let Some((outside, mtu)) = outside.filter(|_| inner.admit(from.ip())) else {
            link.refuse();
            continue;
        };
        let (inner, going) = (Arc::clone(&inner), going.clone());
        sessions.spawn(async move {
            let config = inner.link_config(mtu);
            let answer = |guest: Arc<Guest>| async move {
                guest.is_inside_of(outside);
                guest.has_ahead(ahead);
                Ok(Box::new(l2tp::Session::answer(link, config, guest)) as Box<dyn Session>)
            };
            serve(&inner, Path { local, remote: from }, going, answer).await;
        });
    }
    while sessions.join_next().await.is_some() {}
    engine.stop().await;
}

impl Inner {
    /// The next client's interface.
    pub(in crate::ppp) fn unit_name(&self) -> String {
        format!("{}{}", self.carriage.prefix(), self.next_unit.fetch_add(1, Ordering::Relaxed))
    }

    /// Has it made while a session of L2TP's comes. Only inside of IPsec: who has got as far as that is somebody.
    pub(super) fn making(self: &Arc<Self>) -> Option<l2tp::Making> {
        self.guard.get()?;
        let inner = Arc::clone(self);
        Some(Arc::new(move || Ahead::begin(inner.carriage.carrier(), inner.unit_name(), CLIENTS_GROUP)))
    }

    /// The addresses on which peers may come.
    fn ips(&self) -> Vec<IpAddr> {
        match self.config.addresses.is_empty() {
            true => self.carriage.any(),
            false => self.config.addresses.clone(),
        }
    }

    /// Puts IPsec around L2TP's port, unless the configuration says that there is none.
    pub(super) async fn raise_guard(&self, server: &ServerConfig) -> Result<(), Failure> {
        let Some(rule) = self.config.l2tp.as_ref().filter(|rule| rule.ipsec != Ipsec::None) else {
            return Ok(());
        };
        let none = || Failure::new(FailureCode::Internal, Step::Profile, "[l2tp] says nothing of its IPsec");
        let rule = rule.server.as_ref().ok_or_else(none)?;
        let certificates = self.of_ipsec()?;
        let guard = l2tp::Guard::raise(&self.daemon, server, (rule, &self.ips()), certificates).await?;
        let rules = guard.rules();
        let _ = self.guard.set(guard);
        let refused = |e: crate::host::HostError| {
            let text = format!("what keeps L2TP's clients out of each other's tunnels: {e}");
            Failure::new(FailureCode::KernelRefused, Step::Network, text)
                .hint("ctl doctor  shows what this host lacks")
        };
        // Whose tunnels are whose is in it: of those who go on nobody else may say so in between.
        let go_on = self.daemon.left_guests_numbers(self.config.kind).is_some();
        self.make(rules.as_slice(), go_on).await.map_err(refused)
    }

    /// What proves both ends of the IPsec around L2TP, where certificates may.
    fn of_ipsec(&self) -> Result<Option<l2tp::Certificates>, Failure> {
        let rule = self.config.l2tp.as_ref().and_then(|rule| rule.server.as_ref());
        if rule.is_none_or(|rule| !rule.certificates) {
            return Ok(None);
        }
        let Certificates { own, anchors, .. } = self.certificates.get();
        let none = || Failure::new(FailureCode::Internal, Step::Profile, "[l2tp] has no certificate");
        let (own, anchors) = own.zip(anchors).ok_or_else(none)?;
        let trusted = (anchors, self.config.eap.revocation);
        l2tp::Certificates::new(&own, trusted, PeerIs::Client).map(Some)
    }

    /// Whoever dials by IKEv1 from now on meets the certificates that were read last.
    pub(super) fn renew_guard(&self) -> Result<(), Failure> {
        if let Some(guard) = self.guard.get() {
            guard.renew(self.of_ipsec()?);
        }
        Ok(())
    }

    /// After everything of the server's.
    pub(super) async fn end_guard(&self, over: bool) {
        if let Some(guard) = self.guard.get() {
            guard.end(over).await;
        }
    }

    /// Opens the doors and changes the host.
    pub(super) async fn set_up(&self, server: &ServerConfig) -> Result<Doors, Failure> {
        let doors = self.open_doors()?;
        self.set_up_network(server).await?;
        Ok(doors)
    }

    /// What a tunnel from there is inside of, and the longest packet of its link. `None`: it may not be.
    fn outside_of(&self, from: SocketAddr, by: Association) -> Option<(Outside, u16)> {
        match self.guard.get() {
            Some(guard) => guard.protects(from, by),
            None => Some((Outside::L2tp, self.carriage.most_mtu())),
        }
    }

    fn open_doors(&self) -> Result<Doors, Failure> {
        let Some(rule) = &self.config.l2tp else {
            return door::open(&self.config, self.carriage).map(Doors::Streams);
        };
        let ips = self.ips();
        let addresses: Vec<SocketAddr> =
            ips.into_iter().map(|ip| SocketAddr::new(ip, self.config.port)).collect();
        let secret = l2tp::secret(self.daemon.files(), rule)?;
        let (engine, links) = {
            let most = (self.most, self.half_open);
            l2tp::listen(&addresses, (rule, secret), most, self.guard.get())?
        };
        Ok(Doors::L2tp(addresses, Box::new(engine), links))
    }
}
