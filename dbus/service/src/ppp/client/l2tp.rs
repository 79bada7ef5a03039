//! An L2TP tunnel that is dialled, and what protects it.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use adit_core::{Failure, FailureCode, Path, Secret, Step};
use adit_ppp::{LinkConfig, Restored};
use adit_ppp_kernel::{Standing, Unit};
use adit_profile::{Ipsec, L2tpRule, ServerName, TunnelKind};
use adit_xfrm_kernel::ike_socket::IkeSocket;
use tokio::time::Instant;

use super::Attempt;
use super::proof::{self, Proof};
use crate::client::{LogIn, hint_at_legacy};
use crate::handover::{FoundLink, LinkTold, unit_part};
use crate::l2tp::{self, Parts, Protection};
use crate::ppp::{Session, World};
use crate::suites::Outside;

/// A tunnel that may be dialled now.
pub(super) struct Tunnel {
    rule: L2tpRule,
    secret: Option<Arc<Secret>>,
    /// The socket that is protected; without one it makes its own.
    socket: Option<IkeSocket>,
    /// What it is inside of.
    pub(super) shown: Outside,
    /// The longest packet of its link, in octets.
    pub(super) mtu: u16,
    /// When its peer has what protects it, at the latest.
    ready: Instant,
}

impl Attempt {
    pub(super) fn warn_if_in_clear(&self) {
        let rule = self.profile.ppp.as_ref().and_then(|ppp| ppp.l2tp.as_ref());
        if rule.is_none_or(|rule| rule.ipsec == Ipsec::None) {
            self.progress(Step::Call, l2tp::IN_CLEAR);
        }
    }

    /// Puts IPsec around the tunnel that comes, unless the profile says that there is none.
    pub(super) async fn protect(
        &mut self,
        (proof, gateway): (&Proof, &ServerName),
        (source, server): (IpAddr, IpAddr),
        path: u32,
    ) -> Result<Tunnel, Failure> {
        let rule = self.profile.ppp.as_ref().and_then(|ppp| ppp.l2tp.clone());
        let none = || Failure::new(FailureCode::Internal, Step::Call, "the profile has no tunnel of L2TP's");
        let rule = rule.ok_or_else(none)?;
        let secret = l2tp::secret(self.daemon.files(), &rule)?;
        let wanted = self.profile.mtu;
        let kept = self.keep_to_link();
        if rule.ipsec == Ipsec::None {
            kept.await?;
            let mtu = l2tp::link_mtu(path, server.is_ipv6(), wanted);
            let ready = Instant::now();
            return Ok(Tunnel { rule, secret, socket: None, shown: Outside::L2tp, mtu, ready });
        }
        let (id, registry, login) = (self.id, Arc::clone(self.daemon.registry()), self.login.clone());
        let progress = |step: Step, text: &str| {
            // The first message has been answered.
            if step != Step::IkeInit {
                login.iter().for_each(LogIn::answered);
            }
            registry.progress(id, step.as_str(), text);
        };
        let certificates = proof.of_ipsec(&self.profile)?;
        let named = (&self.profile, gateway);
        let made = Protection::new((&self.daemon, self.id), named, certificates, (source, server)).await?;
        // Whoever stops it here ends it too.
        let protection = self.protection.insert(made);
        // The kernel takes as long for the interface as the peer for its answers. One of several ways may not need it, and whoever
        // asks for it says why there is none.
        let ahead = async {
            if self.login.is_none() {
                let _ = self.installation.make_ahead().await;
            }
        };
        let (raised, kept, ()) = tokio::join!(protection.raise(progress), kept, ahead);
        kept?;
        let (socket, up) = raised.map_err(|failure| hint_at_legacy(failure, &self.profile))?;
        let ready = Instant::now() + up.moment();
        self.login.iter().for_each(|login| login.agreed(&up.ike));
        self.progress(Step::Child, &format!("{}: {} with {}, {}", up.by, up.ike, up.remote_id, up.auth));
        let mtu = l2tp::protected_mtu(path, &up, wanted);
        let shown = up.shown();
        self.daemon.registry().update(self.id, |f| f.encapsulated = up.encapsulated);
        Ok(Tunnel { rule, secret, socket: Some(socket), shown, mtu, ready })
    }

    /// Goes on with the IPsec that a process before has put around what it left; what that is, for people.
    ///
    /// # Errors
    /// Nobody can.
    pub(super) async fn protect_again(
        &mut self,
        told: &LinkTold,
        snapshot: &[u8],
    ) -> Result<Outside, Failure> {
        let parts = Parts::of(snapshot).ok_or_else(refused)?;
        let Some(around) = parts.protection else { return Ok(Outside::L2tp) };
        let gateway: ServerName = told.gateway.parse().map_err(|_| refused())?;
        let path = Path { local: told.local, remote: told.remote };
        let named = (&self.profile, &gateway);
        let certificates = match proof::of_ipsec_again(self.daemon.files(), &self.profile).await {
            Ok(certificates) => certificates,
            Err(failure) => {
                l2tp::forget(&self.daemon, path, around.0).await;
                return Err(failure);
            }
        };
        let by = (&self.daemon, self.id);
        let (protection, up) = l2tp::protect_again(by, named, certificates, path, around).await?;
        // Whoever stops it here ends it too.
        self.protection = Some(protection);
        self.daemon.registry().update(self.id, |f| f.encapsulated = up.encapsulated);
        Ok(up.shown())
    }

    /// Nobody goes on with what a process before has left: nothing is around it any more.
    pub(super) async fn forget_protection(&self, found: &FoundLink) {
        let around = Parts::of(&found.snapshot).and_then(|parts| parts.protection);
        if let Some((reqids, _)) = around.filter(|_| self.profile.kind == TunnelKind::L2tp) {
            let path = Path { local: found.told.local, remote: found.told.remote };
            l2tp::forget(&self.daemon, path, reqids).await;
        }
    }

    /// Goes on with a tunnel that a process before has left: its session, and what is known of its link.
    ///
    /// # Errors
    /// Nobody can.
    pub(super) async fn call_again(
        &mut self,
        (told, snapshot): (&LinkTold, &[u8]),
        mut files: BTreeMap<String, OwnedFd>,
        (link, world): (LinkConfig, Arc<dyn World>),
    ) -> Result<(Box<dyn Session>, Restored), Failure> {
        let rule = self.profile.ppp.as_ref().and_then(|ppp| ppp.l2tp.clone()).ok_or_else(refused)?;
        let secret = l2tp::secret(self.daemon.files(), &rule)?;
        let parts = Parts::of(snapshot).ok_or_else(refused)?;
        let mut file = |part: &str| files.remove(part).ok_or_else(refused);
        let standing = Standing { name: &told.link, index: told.index, number: told.number };
        let unit = Unit::adopt(file(&unit_part(told.index))?, &standing)?;
        let [udp, session] = Parts::sockets();
        let sockets = [file(udp)?, file(session)?];
        let path = Path { local: told.local, remote: told.remote };
        let around = self.protection.take();
        let made = l2tp::again(path, (&rule, secret), (&parts, sockets), around, (link, unit, world)).await;
        made.map(|(session, restored)| (Box::new(session) as Box<dyn Session>, restored))
    }

    /// Dials it: the session that comes, and its own end.
    pub(super) async fn call(
        &mut self,
        tunnel: Tunnel,
        ends: (SocketAddr, SocketAddr),
        link: LinkConfig,
        world: Arc<dyn World>,
    ) -> Result<(Box<dyn Session>, SocketAddr), Failure> {
        let Tunnel { rule, secret, socket, mtu, ready, .. } = tunnel;
        if let Some(protection) = &mut self.protection {
            protection.confirmed(ready).await?;
        }
        let outside = (socket, self.protection.take());
        let (session, local) = l2tp::dial(ends, (&rule, secret), outside, (mtu, link, world))?;
        Ok((Box::new(session), local))
    }
}

fn refused() -> Failure {
    let text = "what was handed over is none of a tunnel's of L2TP";
    Failure::new(FailureCode::PeerLost, Step::Established, text)
}
