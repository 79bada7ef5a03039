use serde::{Deserialize, Serialize};
use zbus::Type;

use crate::names;
use crate::status::{ConnectionState, ConnectionStatus, Role};

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

impl From<ConnectionRow> for ConnectionStatus {
    /// What the row does not say is empty.
    fn from(row: ConnectionRow) -> Self {
        Self {
            path: format!("{}/{}", names::CONNECTIONS, row.number),
            role: Role::from_word(&row.role).unwrap_or(Role::Client),
            state: ConnectionState::from_word(&row.state).unwrap_or(ConnectionState::Connecting),
            profile: row.profile,
            since: row.since,
            interface: row.interface,
            addresses: row.addresses,
            remote_endpoint: row.remote_endpoint,
            remote_identity: row.remote_identity,
            ..Self::from_properties("", &crate::status::Properties::new())
        }
    }
}
