//! Sessions of clients that RADIUS servers have let in: what they grant, how they end, and what the servers are told.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Weak};
use std::time::Duration;

use adit_auth::radius::dynamic::{Outcome, Request as Wanted, Wish};
use adit_core::{Failure, FailureCode, Step};
use adit_ikev2::api::{Established, Input, SaId};
use adit_pool::Request;
use adit_profile::ConnectionRule;

use super::guest::Guest;
use super::{Inner, Server};
use crate::radius::{Cause, Session, listen};

/// How long the servers have, at the end, to take note of the last sessions.
const LAST_WORDS: Duration = Duration::from_secs(3);

/// What of a lease a RADIUS server has a say in.
pub(super) struct Share {
    pub(super) pool: Option<String>,
    address: Option<Ipv4Addr>,
    pub(super) dns: Option<Vec<IpAddr>>,
}

impl Share {
    /// Framed-IP-Address counts instead of what the client would like.
    pub(super) fn request(&self, request: Request) -> Request {
        Request { wanted_v4: self.address.or(request.wanted_v4), ..request }
    }

    /// Whether the client got the address that it is to have.
    pub(super) fn check(&self, pool: &str, got: Option<Ipv4Addr>) -> Result<(), Failure> {
        match (self.address, got) {
            (Some(wanted), Some(got)) if wanted != got => {
                let text = format!(
                    "the RADIUS server gives it {wanted}, which is not in the pool {pool}, or somebody else has it"
                );
                Err(Failure::new(FailureCode::NoAddress, Step::Address, text)
                    .hint("add the address to the pool's ranges"))
            }
            _ => Ok(()),
        }
    }
}

impl Server {
    /// Listens to what RADIUS servers ask unasked, where the configuration wants that.
    pub(super) async fn listen_to_radius(&mut self) -> Result<(), Failure> {
        let wanted = self.inner.config.aaa.dynamic_port;
        if let Some((_, task)) = self.dynamic.take() {
            task.abort();
            // Its socket goes with it.
            let _ = task.await;
        }
        let (Some(port), Some(radius)) = (wanted, &self.inner.radius) else { return Ok(()) };
        let inner = Arc::downgrade(&self.inner);
        let act = move |request: Wanted| {
            let inner = inner.clone();
            async move {
                match inner.upgrade() {
                    Some(inner) => inner.asked_by_radius(&request),
                    None => Outcome::NoSession,
                }
            }
        };
        self.dynamic = Some((port, listen(port, radius, act).await?));
        Ok(())
    }

    /// Waits a little for the servers to note the last sessions.
    pub(super) async fn told(&self) {
        if let Some((_, task)) = &self.dynamic {
            task.abort();
        }
        for inner in self.all() {
            if let Some(radius) = &inner.radius
                && tokio::time::timeout(LAST_WORDS, radius.all_noted()).await.is_err()
            {
                tracing::warn!("accounting records are lost: no RADIUS server takes note of them");
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
            return Share { pool: rule.pool.clone(), address: None, dns: None };
        };
        let known = |name: &String| {
            let known = self.config.pool(name).is_some();
            if !known {
                tracing::warn!(pool = name, "the RADIUS server names a pool that server.toml does not have");
            }
            known
        };
        Share {
            pool: granted.pool.clone().filter(known).or_else(|| rule.pool.clone()),
            address: granted.address,
            dns: (!granted.dns.is_empty()).then(|| granted.dns.clone()),
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
        let session = Arc::new(Session::begin(grant, facts.path, facts.lease.clone()));
        tokio::spawn(keep(Arc::downgrade(self), sa, Arc::downgrade(&session)));
        guest.facts().session = Some(session);
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

    /// A RADIUS server wants a session to end, or to be otherwise.
    fn asked_by_radius(&self, request: &Wanted) -> Outcome {
        if !request.whose.names_somebody() {
            return Outcome::NoSession;
        }
        let meant = |session: &Session| {
            let whose = &request.whose;
            let same = |asked: &Option<String>, is: &str| asked.as_deref().is_none_or(|asked| asked == is);
            same(&whose.user, session.user())
                && same(&whose.session, session.id())
                && same(&whose.calling, &session.calling().to_string())
                && whose.address.is_none_or(|address| session.address() == Some(address))
        };
        let guests = self.guests();
        let found: Vec<SaId> = guests
            .iter()
            .filter(|(_, guest)| guest.facts().session.as_ref().is_some_and(|s| meant(s)))
            .map(|(sa, _)| *sa)
            .collect();
        drop(guests);
        if found.is_empty() {
            return Outcome::NoSession;
        }
        match &request.wish {
            Wish::Disconnect => {
                found.into_iter().for_each(|sa| self.send_away(sa, Cause::AdminReset));
                Outcome::Done
            }
            Wish::Change { .. } => Outcome::Unsupported,
        }
    }
}

/// Tells of a session from time to time, and ends it when it has lasted long enough.
async fn keep(server: Weak<Inner>, sa: SaId, session: Weak<Session>) {
    let (interim, limit) = match session.upgrade() {
        Some(session) => (session.interim(), session.limit()),
        None => return,
    };
    let end = limit.map(|limit| tokio::time::Instant::now() + limit);
    loop {
        let next = interim.map(|interim| tokio::time::Instant::now() + interim);
        let Some(at) = next.into_iter().chain(end).min() else { return };
        tokio::time::sleep_until(at).await;
        let (Some(server), Some(session)) = (server.upgrade(), session.upgrade()) else { return };
        if end == Some(at) {
            tracing::info!(user = session.user(), "the session has lasted as long as RADIUS allows");
            return server.send_away(sa, Cause::SessionTimeout);
        }
        session.goes_on(server.daemon.sad().counted(sa).await);
    }
}
