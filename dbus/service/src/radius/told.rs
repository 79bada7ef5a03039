//! A session that goes on in another process: its servers hear of it what they would have heard.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use adit_auth::radius::Granted;
use adit_core::{Instant, Path};
use adit_dbus_api::Traffic;
use adit_ikev2::api::Lease;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::Radius;
use super::session::{Grant, Limits, Session};

/// What is known of one. Nothing of it is secret.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub(crate) struct ToldSession {
    /// Acct-Session-Id.
    id: String,
    user: String,
    local: SocketAddr,
    remote: SocketAddr,
    v4: Option<Ipv4Addr>,
    v6: Option<(Ipv6Addr, u8)>,
    class: Vec<Vec<u8>>,
    interim: Option<Duration>,
    /// On the clock that goes on from one process to the next.
    begun: u64,
    end: Option<u64>,
    idle: Option<Duration>,
    /// What is counted nowhere else any more.
    pub(crate) spent: Traffic,
}

impl Session {
    /// What the next process has to know of it.
    pub(crate) fn told(&self, spent: Traffic) -> ToldSession {
        let Limits { end, idle, .. } = *self.limits.borrow();
        ToldSession {
            id: self.grant.session.clone(),
            user: self.grant.user.clone(),
            local: self.path.local,
            remote: self.path.remote,
            v4: self.lease.v4,
            v6: self.lease.v6,
            class: self.grant.granted.class.clone(),
            interim: self.grant.granted.interim,
            begun: self.begun.as_nanos(),
            end: end.map(Instant::as_nanos),
            idle,
            spent,
        }
    }

    /// It goes on. Nobody is told: it has never ended.
    pub(crate) fn again(told: ToldSession, radius: Arc<Radius>) -> Arc<Self> {
        let ToldSession { id, user, local, remote, v4, v6, class, interim, begun, end, idle, spent: _ } =
            told;
        let granted = Granted { class, interim, ..Granted::default() };
        let limits = Limits { end: end.map(Instant::from_nanos), idle, over: None };
        let session = Arc::new(Self {
            grant: Grant { radius, granted, user, session: id },
            path: Path { local, remote },
            lease: Lease { v4, v6, ..Lease::default() },
            begun: Instant::from_nanos(begun),
            limits: watch::Sender::new(limits),
        });
        session.grant.radius.standing.enter(&session);
        session
    }
}
