use serde::{Deserialize, Serialize};
use zbus::Type;

use crate::names;
use crate::status::{ConnectionState, Role};

/// A connection in one line of `ListConnections`: what `ctl status` shows of each.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, Type)]
pub struct ConnectionRow {
    /// Its number: the object's path ends in it.
    pub number: u64,
    /// The profile's name, or on a server the `[[connection]]`'s.
    pub profile: String,
    /// A [`Role`]'s word.
    pub role: String,
    /// A [`ConnectionState`]'s word.
    pub state: String,
    /// Seconds since 1970-01-01 UTC at which it came into its state.
    pub since: u64,
    /// The interface.
    pub interface: String,
    /// Addresses in the tunnel.
    pub addresses: Vec<String>,
    /// The peer's `address:port`.
    pub remote_endpoint: String,
    /// Who the peer is.
    pub remote_identity: String,
}

/// A line of `Log`: what happened to a connection, kept while the daemon runs.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, Type)]
pub struct LogEntry {
    /// Greater than that of every line before.
    pub sequence: u64,
    /// Seconds since 1970-01-01 UTC.
    pub at: u64,
    /// The connection's number.
    pub connection: u64,
    /// `progress`, `rekey-refused`, or the state that it passed to: a [`ConnectionState`]'s word.
    pub event: String,
    /// The step; of a failure, where it happened.
    pub step: String,
    /// Why: a failure's code, or another word; empty where there is none.
    pub reason: String,
    /// As a person reads it.
    pub text: String,
    /// What the peer said, in the protocol's own word.
    pub peer: String,
    /// What to type or change next.
    pub hint: String,
}

impl ConnectionRow {
    /// The object's path; it stands once somebody has asked for it.
    #[must_use]
    pub fn path(&self) -> String {
        format!("{}/{}", names::CONNECTIONS, self.number)
    }

    /// The number of the connection at a path.
    #[must_use]
    pub fn number_of(path: &str) -> Option<u64> {
        path.strip_prefix(names::CONNECTIONS)?.strip_prefix('/')?.parse().ok()
    }

    /// Whether it is a server's client.
    #[must_use]
    pub fn is_client_of_ours(&self) -> bool {
        Role::from_word(&self.role) == Some(Role::Server)
    }

    /// Whether it is neither down nor on its way there for good.
    #[must_use]
    pub fn lives(&self) -> bool {
        let ended = [ConnectionState::Failed, ConnectionState::Disconnected];
        ConnectionState::from_word(&self.state).is_none_or(|state| !ended.contains(&state))
    }
}
