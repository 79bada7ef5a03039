//! The connections that stand or stood, as D-Bus shows them. Drivers write here; `bus` reads and announces.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use adit_core::{Failure, FailureCode, Prefix, TrafficSelector};
use adit_dbus_api::LogEntry;
use adit_ikev2::api::{ChildId, ChildMode};
use adit_isakmp::{EspSuite, IkeSuite};
use adit_profile::TunnelKind;
use tokio::sync::{broadcast, mpsc, watch};

use crate::clock;
use crate::logbook::{Line, Logbook};

/// Changes that a slow reader may be behind before it has to look at everything anew.
const BACKLOG: usize = 1024;

/// So many announcements that may wait are not left to wait.
pub(crate) const MANY: usize = 64;

/// So long it is waited for whoever listens.
const HEARD: Duration = Duration::from_millis(50);

/// A connection's number: its D-Bus path ends in it. Never used twice while the daemon lives.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ConnectionId(pub u64);

/// Who dialled.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// We did.
    Client,
    /// The peer did.
    Server,
}

/// Whose a connection that we dialled is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Owner {
    /// This host's: of a profile in the daemon's folder.
    #[default]
    Host,
    /// Of content that root, or a member of the group `adit`, handed over.
    Administrator,
    /// Of content that this user, who is neither, handed over.
    Person(u32),
}

/// Where a connection is in its life.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    /// Raised by the first packet that wants it.
    Standby,
    /// On the way up.
    Connecting,
    /// Up.
    Connected,
    /// Up, and on the way to another path, which has not answered yet.
    Waiting,
    /// Up, and without a path.
    Dormant,
    /// On the way down.
    Disconnecting,
    /// Down, because somebody wanted it so.
    Disconnected,
    /// Down, because something went wrong: see `last_error`.
    Failed,
}

impl State {
    /// The word on D-Bus.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Standby => "standby",
            Self::Connecting => "connecting",
            Self::Connected => "connected",
            Self::Waiting => "waiting",
            Self::Dormant => "dormant",
            Self::Disconnecting => "disconnecting",
            Self::Disconnected => "disconnected",
            Self::Failed => "failed",
        }
    }

    /// Whether nothing more will happen.
    #[must_use]
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Disconnected | Self::Failed)
    }
}

/// A connection went over to another path.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Moved {
    /// When the peer answered there, seconds since 1970.
    pub at: u64,
    /// Over which link.
    pub link: String,
    /// From where.
    pub local: SocketAddr,
    /// To where.
    pub remote: SocketAddr,
}

/// What is known of a CHILD_SA.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ChildFacts {
    /// The core's number for it.
    pub id: ChildId,
    /// The `[[child]]`'s; empty: the first one.
    pub name: String,
    /// What it carries.
    pub mode: ChildMode,
    /// What protects it.
    pub esp_suite: String,
    /// Our side of the traffic selectors.
    pub local: Vec<TrafficSelector>,
    /// The peer's side.
    pub remote: Vec<TrafficSelector>,
}

/// A secret that a person is asked for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Wanted {
    /// What it is: `password`, `new-password`, `code`, `pin`, `proxy-user`, `proxy-password`.
    pub field: String,
    /// What to show in front of the place to type it.
    pub prompt: String,
    /// Why it is asked for, where that is not plain: the last one was wrong, or has expired.
    pub reason: String,
}

/// A way to a server that came to nothing, where there are several.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Tried {
    /// The type of tunnel.
    pub tunnel: TunnelKind,
    /// Where to.
    pub to: IpAddr,
    /// What kind of failure it was.
    pub code: FailureCode,
    /// What happened.
    pub text: String,
}

/// What is known of a connection.
#[derive(Clone, Debug)]
pub struct Facts {
    /// Name of the profile, or of the server's `[[connection]]`.
    pub profile: String,
    /// Who dialled.
    pub role: Role,
    /// Whose it is.
    pub owner: Owner,
    /// What carries it, or is to.
    pub tunnel: TunnelKind,
    /// What was tried before, and came to nothing.
    pub tried: Vec<Tried>,
    /// Where it is in its life.
    pub state: State,
    /// What it is doing.
    pub step: String,
    /// When `state` began, seconds since 1970.
    pub since: u64,
    /// The server as the profile names it.
    pub server: String,
    /// Our outer address and port.
    pub local: Option<SocketAddr>,
    /// The peer's outer address and port.
    pub remote: Option<SocketAddr>,
    /// ESP in UDP.
    pub encapsulated: bool,
    /// The tunnel's interface.
    pub interface: String,
    /// Addresses inside.
    pub addresses: Vec<Prefix>,
    /// DNS servers that came with them.
    pub dns: Vec<IpAddr>,
    /// The domains that those servers are for; empty: nothing was said of that.
    pub domains: Vec<String>,
    /// Those of them that do not answer.
    pub dns_silent: Vec<IpAddr>,
    /// Who raised it hands those servers to whoever looks names up, and we tell nobody.
    pub dns_by_caller: bool,
    /// What goes into the tunnel.
    pub routes: Vec<Prefix>,
    /// Who we are.
    pub local_id: String,
    /// Who the peer proved to be.
    pub remote_id: String,
    /// A postquantum preshared key is in the keys of the IKE_SA and of those in its place (RFC 8784 §3).
    pub ppk: bool,
    /// Its session goes on from one that was lost (RFC 5723).
    pub resumed: bool,
    /// What protects the IKE_SA; of a PPP link, how who dialled has proven themselves.
    pub ike_suite: String,
    /// What protects the CHILD_SA, or the link's packets.
    pub esp_suite: String,
    /// The gateway in use.
    pub gateway: String,
    /// CHILD_SAs that are shown one by one: a dialled connection's.
    pub children: Vec<ChildFacts>,
    /// Algorithms in use that are taken with `legacy = true` only.
    pub legacy: Vec<String>,
    /// How often keys were replaced.
    pub rekeys: u64,
    /// When keys are to be replaced next, at the latest, seconds since 1970; 0: never, or not known.
    pub next_rekey: u64,
    /// The link that it goes over.
    pub uplink: String,
    /// The paths that it went over to, the newest last.
    pub moves: Vec<Moved>,
    /// The secret that a person is asked for.
    pub wanted: Option<Box<Wanted>>,
    /// Why it failed.
    pub last_error: Option<Box<Failure>>,
}

impl Facts {
    /// A connection that is about to start.
    #[must_use]
    pub fn new(role: Role, profile: &str, server: &str) -> Self {
        Self {
            profile: profile.to_owned(),
            role,
            owner: Owner::Host,
            tunnel: TunnelKind::Ikev2,
            tried: Vec::new(),
            state: State::Connecting,
            step: String::new(),
            since: clock::wall().0,
            server: server.to_owned(),
            local: None,
            remote: None,
            encapsulated: false,
            interface: String::new(),
            addresses: Vec::new(),
            dns: Vec::new(),
            domains: Vec::new(),
            dns_silent: Vec::new(),
            dns_by_caller: false,
            routes: Vec::new(),
            local_id: String::new(),
            remote_id: String::new(),
            ppk: false,
            resumed: false,
            ike_suite: String::new(),
            esp_suite: String::new(),
            gateway: String::new(),
            children: Vec::new(),
            legacy: Vec::new(),
            rekeys: 0,
            next_rekey: 0,
            uplink: String::new(),
            moves: Vec::new(),
            wanted: None,
            last_error: None,
        }
    }

    /// What was said of a tunnel that is gone is not said of the next one, which may be of another type.
    pub fn begin_anew(&mut self) {
        let Self { profile, role, tunnel, state, step, since, server, tried, rekeys, moves, .. } = self;
        let (owner, dns_by_caller) = (self.owner, self.dns_by_caller);
        let (last_error, wanted) = (self.last_error.take(), self.wanted.take());
        *self = Self {
            owner,
            dns_by_caller,
            tunnel: *tunnel,
            state: *state,
            step: std::mem::take(step),
            since: *since,
            tried: std::mem::take(tried),
            rekeys: *rekeys,
            moves: std::mem::take(moves),
            last_error,
            wanted,
            ..Self::new(*role, profile, server)
        };
    }

    /// The IKE_SA has these algorithms.
    pub fn set_ike(&mut self, ike: IkeSuite) {
        self.ike_suite = format!("{ike}{}", if self.ppk { "-ppk" } else { "" });
    }

    /// The IKE_SA has other keys.
    pub fn ike_rekeyed(&mut self, ike: IkeSuite) {
        self.set_ike(ike);
        self.rekeys += 1;
        self.add_legacy(ike.legacy());
    }

    /// A CHILD_SA has other keys; `first`: it is the connection's first one, or in its place.
    pub fn child_rekeyed(&mut self, esp: EspSuite, first: bool) {
        if first {
            self.esp_suite = esp.to_string();
        }
        self.rekeys += 1;
        self.add_legacy(esp.legacy());
    }

    /// These are in use besides.
    pub fn add_legacy(&mut self, more: Vec<String>) {
        for name in more {
            if !self.legacy.contains(&name) {
                self.legacy.push(name);
            }
        }
    }
}

/// Something to announce.
#[derive(Clone, Debug)]
pub enum Notice {
    /// A connection came into being.
    Added(ConnectionId),
    /// Facts changed: what they were, and what they are.
    Changed(ConnectionId, Arc<(Facts, Facts)>),
    /// It passed to another state.
    State(ConnectionId, State, State, String),
    /// It goes on: the step and a sentence for a person.
    Progress(ConnectionId, String, String),
    /// The peer does not have keys replaced.
    RekeyRefused(ConnectionId, Box<Failure>),
    /// It is gone.
    Removed(ConnectionId, Role),
    /// The profiles were read anew.
    Profiles,
    /// Somebody waits until this is gone: what was announced before has been told by then.
    Heard(mpsc::Sender<()>),
}

impl Notice {
    /// Whether it may be told with what comes behind it.
    #[must_use]
    pub const fn may_wait(&self) -> bool {
        matches!(self, Self::Changed(..) | Self::Progress(..))
    }
}

/// All connections.
pub struct Registry {
    table: Mutex<Table>,
    notices: broadcast::Sender<Notice>,
    urgent: watch::Sender<()>,
}

#[derive(Default)]
struct Table {
    last: u64,
    /// Boxed: a tree's nodes are half empty where keys only grow.
    facts: BTreeMap<ConnectionId, Box<Facts>>,
    log: Logbook,
}

impl Registry {
    /// An empty one.
    #[must_use]
    pub fn new() -> Arc<Self> {
        let notices = broadcast::Sender::new(BACKLOG);
        Arc::new(Self { table: Mutex::default(), notices, urgent: watch::Sender::new(()) })
    }

    /// Everything that is announced from now on.
    #[must_use]
    pub fn subscribe(&self) -> broadcast::Receiver<Notice> {
        self.notices.subscribe()
    }

    /// Changes with each announcement that may not wait, and when many are waiting: who gathers them need not wake for the others.
    #[must_use]
    pub fn urgent(&self) -> watch::Receiver<()> {
        self.urgent.subscribe()
    }

    /// Adds a connection. Ended ones of the same profile and role make room.
    pub fn add(&self, facts: Facts) -> ConnectionId {
        let mut table = self.lock();
        // A server's clients go when they end, and there may be 20,000 to look through.
        if facts.role == Role::Client {
            let stale =
                |f: &Facts| f.role == Role::Client && f.profile == facts.profile && f.state.is_final();
            let stale: Vec<ConnectionId> =
                table.facts.iter().filter(|(_, f)| stale(f)).map(|(id, _)| *id).collect();
            for id in stale {
                table.facts.remove(&id);
                self.announce(Notice::Removed(id, Role::Client));
            }
        }
        table.last += 1;
        let id = ConnectionId(table.last);
        table.log.write(id, &facts.profile, Line::State { new: facts.state, reason: "", failure: None });
        table.facts.insert(id, Box::new(facts));
        drop(table);
        self.announce(Notice::Added(id));
        id
    }

    /// A number for what is dialled and is no connection: nothing that is said of it is shown.
    pub(crate) fn number(&self) -> ConnectionId {
        let mut table = self.lock();
        table.last += 1;
        ConnectionId(table.last)
    }

    /// Forgets a connection.
    pub fn remove(&self, id: ConnectionId) {
        let removed = self.lock().facts.remove(&id);
        if let Some(facts) = removed {
            self.announce(Notice::Removed(id, facts.role));
        }
    }

    /// What is known of a connection.
    #[must_use]
    pub fn get(&self, id: ConnectionId) -> Option<Facts> {
        self.lock().facts.get(&id).map(|facts| Facts::clone(facts))
    }

    /// Every connection, oldest first.
    #[must_use]
    pub fn all(&self) -> Vec<(ConnectionId, Facts)> {
        self.read(|id, facts| Some((id, facts.clone())))
    }

    /// What `read` makes of every connection, oldest first.
    pub fn read<T>(&self, mut read: impl FnMut(ConnectionId, &Facts) -> Option<T>) -> Vec<T> {
        self.lock().facts.iter().filter_map(|(id, f)| read(*id, f)).collect()
    }

    /// The connection of a profile of ours that has not ended.
    #[must_use]
    pub fn live_client(&self, profile: &str) -> Option<ConnectionId> {
        let live = |f: &Facts| f.role == Role::Client && f.profile == profile && !f.state.is_final();
        self.lock().facts.iter().find(|(_, f)| live(f)).map(|(id, _)| *id)
    }

    /// The newest connection of a profile of ours, ended or not.
    #[must_use]
    pub fn latest_client(&self, profile: &str) -> Option<ConnectionId> {
        let of_profile = |f: &Facts| f.role == Role::Client && f.profile == profile;
        self.lock().facts.iter().rev().find(|(_, f)| of_profile(f)).map(|(id, _)| *id)
    }

    /// Changes facts, and announces it.
    pub fn update(&self, id: ConnectionId, change: impl FnOnce(&mut Facts)) {
        let changed = {
            let mut table = self.lock();
            let Some(facts) = table.facts.get_mut(&id) else { return };
            let old = self.listened().then(|| Facts::clone(facts));
            change(facts);
            old.map(|old| Arc::new((old, Facts::clone(facts))))
        };
        if let Some(changed) = changed {
            self.announce(Notice::Changed(id, changed));
        }
    }

    /// Whether anybody would hear an announcement.
    fn listened(&self) -> bool {
        self.notices.receiver_count() > 0
    }

    /// Passes to another state, and announces it. A connection that has ended stays so.
    pub fn set_state(&self, id: ConnectionId, new: State, reason: &str, failure: Option<Failure>) {
        let changed = {
            let mut table = self.lock();
            let Table { facts, log, .. } = &mut *table;
            let Some(facts) = facts.get_mut(&id) else { return };
            if facts.state == new || facts.state.is_final() {
                return;
            }
            log.write(id, &facts.profile, Line::State { new, reason, failure: failure.as_ref() });
            let old = Facts::clone(facts);
            facts.state = new;
            facts.since = clock::wall().0;
            if failure.is_some() {
                facts.last_error = failure.map(Box::new);
            }
            Arc::new((old, Facts::clone(facts)))
        };
        let old = changed.0.state;
        self.announce(Notice::Changed(id, changed));
        self.announce(Notice::State(id, old, new, reason.to_owned()));
    }

    /// Says what a connection is doing.
    pub fn progress(&self, id: ConnectionId, step: &str, text: &str) {
        {
            let mut table = self.lock();
            let Table { facts, log, .. } = &mut *table;
            let Some(facts) = facts.get_mut(&id) else {
                return tracing::debug!(probe = id.0, step, "{text}");
            };
            facts.step = step.to_owned();
            log.write(id, &facts.profile, Line::Progress { step, text });
        }
        tracing::info!(connection = id.0, step, "{text}");
        self.announce(Notice::Progress(id, step.to_owned(), text.to_owned()));
    }

    /// Says that the peer does not have a connection's keys replaced.
    pub fn rekey_refused(&self, id: ConnectionId, why: Failure) {
        {
            let mut table = self.lock();
            let Table { facts, log, .. } = &mut *table;
            if let Some(facts) = facts.get(&id) {
                log.write(id, &facts.profile, Line::RekeyRefused(&why));
            }
        }
        self.announce(Notice::RekeyRefused(id, Box::new(why)));
    }

    /// What happened to the connections of that name, oldest first, later than the line of that number.
    #[must_use]
    pub fn log(&self, name: &str, after: u64) -> Vec<LogEntry> {
        self.lock().log.read(name, after)
    }

    /// Announces that the profiles were read anew.
    pub fn profiles_changed(&self) {
        self.announce(Notice::Profiles);
    }

    /// Waits until everybody who listens has told what was announced so far, but not for long.
    pub(crate) async fn heard(&self) {
        let (until, mut gone) = mpsc::channel(1);
        self.announce(Notice::Heard(until));
        let _ = tokio::time::timeout(HEARD, gone.recv()).await;
    }

    fn announce(&self, notice: Notice) {
        let urgent = !notice.may_wait() || self.notices.len() >= MANY;
        // Nobody listening is no error.
        let _ = self.notices.send(notice);
        if urgent {
            self.urgent.send_replace(());
        }
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        // The table is consistent between any two statements, so a panicked writer harms nothing.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_ended_stays_so_until_the_profile_is_dialled_again() {
        let registry = Registry::new();
        let first = registry.add(Facts::new(Role::Client, "corp", "vpn"));
        registry.set_state(first, State::Failed, "x", None);
        registry.set_state(first, State::Connected, "late", None);
        assert_eq!(registry.get(first).map(|f| f.state), Some(State::Failed));
        assert_eq!(registry.live_client("corp"), None);
        let second = registry.add(Facts::new(Role::Client, "corp", "vpn"));
        assert!(registry.get(first).is_none());
        assert_eq!(registry.live_client("corp"), Some(second));
    }
}
