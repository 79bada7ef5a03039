//! What the life of every dialled connection has, whatever carries it.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use adit_core::{Failure, FailureCode, Step};
use adit_profile::Profile;
use tokio::sync::watch;

use crate::daemon::Daemon;
use crate::esp::Numbers;
use crate::host::{Block, Change, Changes, NotMade};
use crate::registry::{ConnectionId, State};

/// Addresses of one name that are tried.
pub(crate) const MOST_ADDRESSES: usize = 6;
/// Pauses between attempts to come back: they double from the first to the last.
pub(crate) const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// Works until it is done, or until somebody takes the connection down (`None`).
pub(crate) async fn unless<T>(
    mut stopped: watch::Receiver<bool>,
    work: impl Future<Output = T>,
) -> Option<T> {
    tokio::select! {
        biased;
        _ = stopped.wait_for(|stop| *stop) => None,
        value = work => Some(value),
    }
}

/// How a dialled connection comes to its end.
pub(crate) enum Ended {
    /// Somebody takes it down.
    Stopped,
    /// Nothing has gone through it for as long as its profile lets that be so.
    Idle,
    /// It could not come up, or back.
    Lost(Failure),
}

impl Ended {
    const fn reason(&self) -> &'static str {
        if matches!(self, Self::Idle) { "idle" } else { "asked to" }
    }

    /// Shown before anything is undone.
    pub(crate) fn begins(&self, daemon: &Daemon, id: ConnectionId) {
        if !matches!(self, Self::Lost(_)) {
            daemon.registry().set_state(id, State::Disconnecting, self.reason(), None);
        }
    }

    /// Shown when nothing is left of it. Whoever takes it down waits for its handle, which else is forgotten.
    pub(crate) fn over(self, daemon: &Daemon, id: ConnectionId) {
        let (registry, reason) = (daemon.registry(), self.reason());
        let is_forgotten = !matches!(self, Self::Stopped);
        match self {
            Self::Stopped | Self::Idle => {
                registry.set_state(id, State::Disconnected, reason, None);
                registry.remove(id);
            }
            Self::Lost(failure) => {
                registry.set_state(id, State::Failed, failure.code.as_str(), Some(failure));
            }
        }
        if is_forgotten {
            daemon.forget_client(id);
        }
    }
}

/// Packets can't be waited for yet: that is told, and tried again after a pause.
pub(crate) async fn not_armed(daemon: &Daemon, id: ConnectionId, failure: &Failure, pause: &mut Duration) {
    let text = format!("cannot wait for packets yet: {failure} Trying again in {} s.", pause.as_secs());
    daemon.registry().progress(id, Step::Network.as_str(), &text);
    tokio::time::sleep(*pause).await;
    *pause = (*pause * 2).min(PAUSES.1);
}

/// One that packets raise is down, for some reason. It waits again, if what wants it could be held back (`armed`), or is
/// dialled anew at once.
pub(crate) fn down(
    daemon: &Daemon,
    id: ConnectionId,
    failure: Failure,
    armed: Result<(), Failure>,
    at_once: bool,
) {
    let registry = daemon.registry();
    if let Err(failure) = armed {
        registry.progress(id, Step::Network.as_str(), &format!("packets are not waited for: {failure}"));
    }
    let (code, idle) = (failure.code.as_str(), failure.code == FailureCode::Idle);
    let (text, state) = match at_once {
        true => (format!("lost: {failure} Trying again at once."), State::Connecting),
        false => (format!("down: {failure} Waiting for a packet."), State::Standby),
    };
    registry.progress(id, Step::Established.as_str(), &text);
    registry.set_state(id, state, code, Some(failure).filter(|_| !idle));
}

/// The journal of the connection with this if_id.
pub(crate) fn journal_of(if_id: u32) -> String {
    format!("client-{if_id:08x}")
}

/// What it keeps of this host from its first change to its last undo: its link's name, and the journal of its changes.
#[derive(Default)]
pub(crate) struct Ground {
    name: Option<String>,
    /// The name is somebody else's, who also blocks what would leave in clear.
    lent: bool,
    pub(crate) changes: Option<Changes>,
}

impl Ground {
    /// On an interface of that name, which is another's to reserve, as is what keeps a full tunnel from leaking.
    pub(crate) fn lent(name: String) -> Self {
        Self { name: Some(name), lent: true, changes: None }
    }

    /// On an interface that stands already, as this one's own.
    pub(crate) const fn kept(name: String) -> Self {
        Self { name: Some(name), lent: false, changes: None }
    }

    /// Whether somebody else blocks.
    pub(crate) const fn is_lent(&self) -> bool {
        self.lent
    }

    /// The interface's name, chosen once for the connection's life.
    pub(crate) async fn name(&mut self, daemon: &Daemon, profile: &Profile) -> Result<String, Failure> {
        if let Some(name) = &self.name {
            return Ok(name.clone());
        }
        let name = daemon.reserve_link_name(profile.link_name()).await?;
        self.name = Some(name.clone());
        Ok(name)
    }

    /// From now on only the tunnel's own packets leave this host, if the profile blocks, and what stays in local networks, if it
    /// lets it. `gre`: servers of PPTP. Returns what undoes the block, where there is one.
    pub(crate) async fn block(
        &mut self,
        daemon: &Daemon,
        numbers: Numbers,
        profile: &Profile,
        gre: Vec<Ipv4Addr>,
    ) -> Result<Option<u64>, Failure> {
        let interface = self.name(daemon, profile).await?;
        if !profile.blocks() {
            let local = daemon.local_networks().want(Block::table_of(&interface));
            return local.await.map(|()| None).map_err(|e| refused("the local network", &e));
        }
        let block = Block::of(&interface, gre, profile.local_network);
        let changes = self.changes(daemon, numbers)?;
        let stands = daemon.local_networks().stand(block, async |change| changes.make(change).await);
        stands.await.map_err(|e| refused("blocking", &e))
    }

    /// Where its changes are made.
    pub(crate) fn changes(&mut self, daemon: &Daemon, numbers: Numbers) -> Result<&Changes, Failure> {
        let changes = match self.changes.take() {
            Some(changes) => changes,
            None => daemon.changes(&journal_of(numbers.if_id))?,
        };
        Ok(self.changes.insert(changes))
    }

    /// Undoes what is left; `errors` are those of what was undone before.
    ///
    /// # Errors
    /// What could not be undone; it stands in the journal and is tried again at the next start.
    pub(crate) async fn leave(&mut self, daemon: &Daemon, mut errors: Vec<String>) -> Result<(), Failure> {
        if let Some(name) = self.name.as_ref().filter(|_| !self.lent) {
            daemon.local_networks().leave(&Block::table_of(name)).await;
        }
        if let Some(changes) = self.changes.take() {
            errors.extend(changes.undo_all().await.iter().map(ToString::to_string));
        }
        if let Some(name) = self.name.take().filter(|_| !self.lent) {
            daemon.release_link_name(&name).await;
        }
        if errors.is_empty() {
            return Ok(());
        }
        let text = format!("not everything could be undone: {}", errors.join("; "));
        Err(Failure::new(FailureCode::KernelRefused, Step::Close, text)
            .hint("systemctl restart aditd  tries again"))
    }
}

/// A change that the kernel did not take.
pub(crate) fn refused(what: &str, error: &impl std::fmt::Display) -> Failure {
    Failure::new(FailureCode::KernelRefused, Step::Network, format!("{what}: {error}"))
        .hint("ctl doctor  shows what this host lacks")
}

/// The one of these changes that the kernel did not take.
pub(crate) fn not_made(wanted: &[Change], not: &NotMade) -> Failure {
    refused(&wanted.get(not.place).map_or_else(String::new, Change::to_string), &not.why)
}

/// This host knows no way to a server.
pub(crate) fn no_route(remote: IpAddr, error: &impl std::fmt::Display) -> Failure {
    let text = format!("there is no route from this host to {remote}: {error}");
    Failure::new(FailureCode::ServerUnreachable, Step::Resolve, text)
        .hint(format!("check that this host is online:  ip route get {remote}"))
}
