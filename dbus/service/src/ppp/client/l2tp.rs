//! An L2TP tunnel that is dialled, and what protects it.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use adit_core::{Failure, FailureCode, Secret, Step};
use adit_ppp::LinkConfig;
use adit_profile::{Ipsec, L2tpRule, ServerName};
use adit_xfrm_kernel::ike_socket::IkeSocket;

use super::Attempt;
use super::proof::Proof;
use crate::client::{LogIn, hint_at_legacy};
use crate::l2tp::{self, Protection};
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
        if rule.ipsec == Ipsec::None {
            let mtu = l2tp::link_mtu(path, server.is_ipv6(), wanted);
            return Ok(Tunnel { rule, secret, socket: None, shown: Outside::L2tp, mtu });
        }
        let (id, registry, login) = (self.id, Arc::clone(self.daemon.registry()), self.login.clone());
        let progress = |step: Step, text: &str| {
            // The first message has been answered.
            if step != Step::IkeInit {
                login.iter().for_each(LogIn::answered);
            }
            registry.progress(id, step.as_str(), text);
        };
        let numbers = self.daemon.numbers();
        let certificates = proof.of_ipsec(&self.profile)?;
        let named = (&self.profile, gateway);
        let made = Protection::new((&self.daemon, self.id), named, certificates, (source, server)).await?;
        // Whoever stops it here ends it too.
        let protection = self.protection.insert(made);
        let raised = protection.raise(numbers, progress).await;
        let (socket, up) = raised.map_err(|failure| hint_at_legacy(failure, &self.profile))?;
        self.login.iter().for_each(|login| login.agreed(&up.ike));
        self.progress(Step::Child, &format!("{}: {} with {}, {}", up.by, up.ike, up.remote_id, up.auth));
        let mtu = l2tp::protected_mtu(path, &up, wanted);
        let shown = up.shown();
        self.daemon.registry().update(self.id, |f| f.encapsulated = up.encapsulated);
        Ok(Tunnel { rule, secret, socket: Some(socket), shown, mtu })
    }

    /// Dials it: the session that comes, and its own end.
    pub(super) fn call(
        &mut self,
        tunnel: Tunnel,
        ends: (SocketAddr, SocketAddr),
        link: LinkConfig,
        world: Arc<dyn World>,
    ) -> Result<(Box<dyn Session>, SocketAddr), Failure> {
        let Tunnel { rule, secret, socket, mtu, .. } = tunnel;
        let outside = (socket, self.protection.take());
        let (session, local) = l2tp::dial(ends, (&rule, secret), outside, mtu, link, world)?;
        Ok((Box::new(session), local))
    }
}
