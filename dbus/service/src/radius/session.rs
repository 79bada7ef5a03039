//! What RADIUS servers are told of a session: that it began, how much it has moved, that it is over.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use adit_auth::radius::{Attribute, Granted, attribute};
use adit_core::{Instant, Path};
use adit_dbus_api::Traffic;
use adit_ikev2::api::Lease;
use tokio::sync::watch;

use super::Radius;
use crate::clock;

/// Why a session is over (RFC 2866 §5.10).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Cause {
    UserRequest = 1,
    LostCarrier = 2,
    IdleTimeout = 4,
    SessionTimeout = 5,
    AdminReset = 6,
    AdminReboot = 7,
    NasError = 9,
}

/// What a server has granted.
pub(crate) struct Grant {
    pub(crate) radius: Arc<Radius>,
    pub(crate) granted: Granted,
    /// User-Name of the records.
    pub(crate) user: String,
    /// Acct-Session-Id.
    pub(crate) session: String,
}

/// A session that stands.
pub(crate) struct Session {
    pub(super) grant: Grant,
    pub(super) path: Path,
    pub(super) lease: Lease,
    pub(super) begun: Instant,
    pub(super) limits: watch::Sender<Limits>,
}

/// How long a session may go on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Limits {
    /// Then it is over (Session-Timeout).
    pub(crate) end: Option<Instant>,
    /// It is over when nothing has been carried for so long (Idle-Timeout).
    pub(crate) idle: Option<Duration>,
    /// It is over at once.
    pub(crate) over: Option<Cause>,
}

const START: u32 = 1;
const STOP: u32 = 2;
const INTERIM: u32 = 3;

impl Session {
    /// It has begun.
    pub(crate) fn begin(grant: Grant, path: Path, lease: Lease) -> Arc<Self> {
        let begun = clock::now();
        let end = grant.granted.session.map(|limit| begun + limit);
        let limits = Limits { end, idle: grant.granted.idle, over: None };
        let session = Arc::new(Self { grant, path, lease, begun, limits: watch::Sender::new(limits) });
        session.grant.radius.account(session.record(START), false);
        session.grant.radius.standing.enter(&session);
        session
    }

    /// How often it is told of in between.
    pub(crate) fn interim(&self) -> Option<Duration> {
        self.grant.granted.interim.or(self.grant.radius.aaa.interim)
    }

    /// How long it may go on, as that is now and changes.
    pub(crate) fn limits(&self) -> watch::Receiver<Limits> {
        self.limits.subscribe()
    }

    /// From now on it may go on for `session`, and be idle for `idle`; what is not there stays as it is.
    pub(crate) fn change(&self, session: Option<Duration>, idle: Option<Duration>) {
        self.limits.send_modify(|limits| {
            limits.end = session.map(|limit| clock::now() + limit).or(limits.end);
            limits.idle = idle.or(limits.idle);
        });
    }

    /// It is to end: whoever keeps it ends it.
    pub(crate) fn send_away(&self, cause: Cause) {
        self.limits.send_modify(|limits| limits.over = Some(cause));
    }

    /// It still stands, and has moved so much.
    pub(crate) fn goes_on(&self, traffic: Traffic) {
        let mut record = self.record(INTERIM);
        record.extend(self.counted(traffic));
        self.grant.radius.account(record, true);
    }

    /// It is over.
    pub(crate) fn end(&self, traffic: Traffic, cause: Cause) {
        let mut record = self.record(STOP);
        record.extend(self.counted(traffic));
        record.push((attribute::ACCT_TERMINATE_CAUSE, number(cause as u32)));
        self.grant.radius.account(record, false);
    }

    /// What was granted, by whom, and to whom.
    pub(crate) fn granted(&self) -> (Arc<Radius>, String, Granted) {
        let Grant { radius, granted, user, .. } = &self.grant;
        (Arc::clone(radius), user.clone(), granted.without_keys())
    }

    /// What it is called.
    pub(crate) fn user(&self) -> &str {
        &self.grant.user
    }

    /// Its number.
    pub(crate) fn id(&self) -> &str {
        &self.grant.session
    }

    /// Where the peer is.
    pub(crate) const fn calling(&self) -> IpAddr {
        self.path.remote.ip()
    }

    /// The address that it has.
    pub(crate) const fn address(&self) -> Option<std::net::Ipv4Addr> {
        self.lease.v4
    }

    fn record(&self, status: u32) -> Vec<Attribute> {
        let Grant { radius, granted, user, session } = &self.grant;
        let mut out = radius.about(user.as_bytes(), session, self.path);
        out.push((attribute::ACCT_STATUS_TYPE, number(status)));
        // RADIUS (RFC 2866 §5.6).
        out.push((attribute::ACCT_AUTHENTIC, number(1)));
        let now = u32::try_from(clock::wall().0).unwrap_or(u32::MAX);
        out.push((attribute::EVENT_TIMESTAMP, number(now)));
        out.extend(self.lease.v4.map(|a| (attribute::FRAMED_IP_ADDRESS, a.octets().to_vec())));
        out.extend(self.lease.v6.map(|(address, length)| match length {
            128 => (attribute::FRAMED_IPV6_ADDRESS, address.octets().to_vec()),
            _ => (attribute::FRAMED_IPV6_PREFIX, [&[0, length], &address.octets()[..]].concat()),
        }));
        out.extend(granted.class.iter().map(|class| (attribute::CLASS, class.clone())));
        out
    }

    /// In and out are the server's own view (RFC 2866 §5.3): what came from the user is in.
    fn counted(&self, traffic: Traffic) -> [Attribute; 7] {
        let low = |n: u64| number(u32::try_from(n & 0xffff_ffff).unwrap_or(0));
        let high = |n: u64| number(u32::try_from(n >> 32).unwrap_or(0));
        let lasted = clock::now().since(self.begun).as_secs();
        [
            (attribute::ACCT_SESSION_TIME, low(lasted)),
            (attribute::ACCT_INPUT_OCTETS, low(traffic.bytes_in)),
            (attribute::ACCT_INPUT_GIGAWORDS, high(traffic.bytes_in)),
            (attribute::ACCT_INPUT_PACKETS, low(traffic.packets_in)),
            (attribute::ACCT_OUTPUT_OCTETS, low(traffic.bytes_out)),
            (attribute::ACCT_OUTPUT_GIGAWORDS, high(traffic.bytes_out)),
            (attribute::ACCT_OUTPUT_PACKETS, low(traffic.packets_out)),
        ]
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.grant.radius.standing.leave(&self.grant.session);
    }
}

fn number(n: u32) -> Vec<u8> {
    n.to_be_bytes().to_vec()
}
