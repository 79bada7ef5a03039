//! Sessions of clients that RADIUS servers have let in: what they grant, how they end, and what the servers are told.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use adit_auth::radius::Granted;
use adit_core::{Failure, FailureCode, Step};
use adit_ikev2::api::{Established, Input, SaId};
use adit_pool::Request;
use adit_profile::ConnectionRule;

use super::guest::Guest;
use super::{Inner, Server};
use crate::radius::{Cause, Session, keep};

/// What of a lease a RADIUS server has a say in.
pub(crate) struct Share {
    pub(super) pool: Option<String>,
    address: Option<Ipv4Addr>,
    address6: Option<Ipv6Addr>,
    pub(crate) dns: Option<Vec<IpAddr>>,
}

impl Share {
    /// What it has granted, out of this pool.
    pub(crate) fn of(granted: &Granted, pool: Option<String>) -> Self {
        let dns = (!granted.dns.is_empty()).then(|| granted.dns.clone());
        Self { pool, address: granted.address, address6: granted.address6, dns }
    }

    /// Framed-IP-Address and Framed-IPv6-Address count instead of what the client would like.
    pub(crate) fn request(&self, request: Request) -> Request {
        let wanted_v4 = self.address.or(request.wanted_v4);
        Request { wanted_v4, wanted_v6: self.address6.or(request.wanted_v6), ..request }
    }

    /// Whether the client got the addresses that it is to have.
    pub(crate) fn check(&self, pool: &str, got: (Option<Ipv4Addr>, Option<Ipv6Addr>)) -> Result<(), Failure> {
        let other =
            |wanted: Option<IpAddr>, got: Option<IpAddr>| wanted.filter(|_| got.is_some() && wanted != got);
        let v4 = other(self.address.map(IpAddr::V4), got.0.map(IpAddr::V4));
        match v4.or_else(|| other(self.address6.map(IpAddr::V6), got.1.map(IpAddr::V6))) {
            Some(wanted) => {
                let text = format!(
                    "the RADIUS server gives it {wanted}, which is not in the pool {pool}, or somebody else has it"
                );
                Err(Failure::new(FailureCode::NoAddress, Step::Address, text)
                    .hint("add the address to the pool's ranges"))
            }
            None => Ok(()),
        }
    }
}

impl Server {
    /// Waits a little for the servers to note the last sessions.
    pub(super) async fn told(&self) {
        for inner in self.all() {
            if let Some(radius) = &inner.radius {
                radius.last_words().await;
            }
        }
    }
}

impl Inner {
    /// What a client is to get, by its `[[connection]]` and by the server that let it in.
    pub(super) fn granted(&self, sa: SaId, rule: &ConnectionRule) -> Share {
        let guest = self.guest(sa);
        let facts = guest.facts();
        let Some(granted) = facts.grant.as_ref().map(|g| &g.granted) else {
            return Share { pool: rule.pool.clone(), address: None, address6: None, dns: None };
        };
        let known = |name: &String| {
            let known = self.config.pool(name).is_some();
            if !known {
                tracing::warn!(pool = name, "the RADIUS server names a pool that server.toml does not have");
            }
            known
        };
        let pool = granted.pool.clone().filter(known).or_else(|| rule.pool.clone());
        Share::of(granted, pool)
    }

    /// What a RADIUS server grants and we do not do: who looks for it finds it in the log.
    pub(super) fn tell_of_the_rest(user: &str, granted: &Granted) {
        for filter in &granted.filters {
            tracing::warn!(
                user,
                filter,
                "Filter-Id of the RADIUS server has no effect: Adit has no filters by name"
            );
        }
        for route in &granted.routes {
            tracing::warn!(user, %route, "Framed-Route of the RADIUS server has no effect: write remote-subnets in server.toml");
        }
        if let Some(pool) = granted.pool6.as_ref().filter(|pool6| Some(*pool6) != granted.pool.as_ref()) {
            tracing::warn!(
                user,
                pool,
                "Framed-IPv6-Pool of the RADIUS server has no effect: name one pool by Framed-Pool"
            );
        }
    }

    /// A lease is not to be after all.
    pub(super) fn release_lease(&self, pool: &str, sa: SaId) {
        if let Some((_, pool)) = self.pools().get_mut(pool) {
            pool.release(sa.0);
        }
    }

    /// A client that a RADIUS server has let in is up.
    pub(super) fn begin_session(self: &Arc<Self>, sa: SaId, facts: &Established) {
        let guest = self.guest(sa);
        let Some(grant) = guest.facts().grant.take() else { return };
        self.daemon.sad().count(sa);
        let session = Session::begin(*grant, facts.path, facts.lease.clone());
        self.keep_session(sa, &session);
        guest.facts().session = Some(session);
    }

    /// Ends it when it is time, and tells of it until then, the next process too.
    pub(super) fn keep_session(self: &Arc<Self>, sa: SaId, session: &Arc<Session>) {
        let (server, mut limits) = (Arc::downgrade(self), session.limits());
        tokio::spawn(async move {
            while limits.changed().await.is_ok()
                && let Some(server) = server.upgrade()
            {
                server.tell_again(sa);
            }
        });
        let (server, kept) = (Arc::downgrade(self), Arc::downgrade(session));
        tokio::spawn(async move {
            let carried = || {
                let server = server.upgrade();
                async move { Some(server?.daemon.sad().counted(sa).await) }
            };
            if let Some(cause) = keep(kept, carried).await
                && let Some(server) = server.upgrade()
            {
                server.send_away(sa, cause);
            }
        });
    }

    /// Why an IKE_SA is gone, unless that is known better already.
    pub(super) fn closed_because(&self, sa: SaId, failure: Option<&Failure>) {
        let Some(guest) = self.guests().get(&sa).cloned() else { return };
        let cause = match failure.map(|f| f.code) {
            Some(FailureCode::PeerClosed) => Cause::UserRequest,
            Some(FailureCode::PeerLost) => Cause::LostCarrier,
            Some(_) => Cause::NasError,
            None if self.closing.load(std::sync::atomic::Ordering::Acquire) => Cause::AdminReboot,
            None => Cause::AdminReset,
        };
        guest.facts().cause.get_or_insert(cause);
    }

    /// Tells that a session is over; what it has moved is asked of the kernel while it still knows.
    pub(super) async fn end_session(&self, sa: SaId, guest: &Guest) {
        let (session, cause) = {
            let mut facts = guest.facts();
            (facts.session.take(), facts.cause.unwrap_or(Cause::NasError))
        };
        if let Some(session) = session {
            session.end(self.daemon.sad().counted(sa).await, cause);
        }
    }

    /// Sends a client away.
    fn send_away(&self, sa: SaId, cause: Cause) {
        if let Some(guest) = self.guests().get(&sa) {
            guest.facts().cause = Some(cause);
        }
        // Nobody drives IKE_SAs any more: then there is no client either.
        let _ = self.ike.input(Input::Close { sa });
    }
}
