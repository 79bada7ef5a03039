use adit_core::{Failure, FailureCode, Step};
use adit_dbus_api::{
    Bus, ConnectionProxy, ConnectionState, ConnectionStatus, ManagerProxy, ObjectManagerProxy,
    ProfileSummary, Properties, Traffic, connect, names,
};
use zbus::Connection;
use zbus::fdo::PropertiesProxy;

use crate::args::BusChoice;
use crate::ended::Ended;

/// Everything that the daemon has, at one moment, in the order of names; of connections what a line of `ctl status`
/// shows.
pub(crate) struct Snapshot {
    pub(crate) profiles: Vec<ProfileSummary>,
    pub(crate) connections: Vec<ConnectionStatus>,
}

/// The way to the daemon. `ADIT_SOCKET` names another private socket, which `auto` then prefers.
pub(crate) async fn open(choice: BusChoice) -> Result<Connection, Ended> {
    let socket = std::env::var("ADIT_SOCKET").ok().filter(|s| !s.is_empty());
    let bus = match (choice, &socket) {
        (BusChoice::System, _) => Bus::System,
        (BusChoice::Private, _) | (BusChoice::Auto, Some(_)) => Bus::Private,
        (BusChoice::Auto, None) => Bus::Auto,
    };
    connect(bus, socket.as_deref().unwrap_or(names::SOCKET)).await.map_err(|e| Ended::connect(&e))
}

/// Asks for everything.
pub(crate) async fn snapshot(connection: &Connection) -> Result<Snapshot, Ended> {
    let call = |e: zbus::Error| Ended::call("", &e);
    let proxy = ObjectManagerProxy::new(connection).await.map_err(call)?;
    let objects = proxy.get_managed_objects().await.map_err(call)?;
    let of = |wanted: &str| -> Vec<(String, Properties)> {
        objects
            .iter()
            .filter_map(|(path, interfaces)| {
                let properties = interfaces.iter().find(|(name, _)| name.as_str() == wanted)?.1;
                let copy =
                    properties.iter().filter_map(|(k, v)| Some((k.clone(), v.try_clone().ok()?))).collect();
                Some((path.as_str().to_owned(), copy))
            })
            .collect()
    };
    let mut profiles: Vec<_> =
        of(names::PROFILE).iter().map(|(path, p)| ProfileSummary::from_properties(path, p)).collect();
    let manager = ManagerProxy::new(connection).await.map_err(call)?;
    let rows = manager.list_connections().await.map_err(call)?;
    let mut connections: Vec<ConnectionStatus> = rows.into_iter().map(ConnectionStatus::from).collect();
    profiles.sort_by(|a, b| (&a.name, &a.path).cmp(&(&b.name, &b.path)));
    connections.sort_by(|a, b| (&a.profile, path_number(&a.path)).cmp(&(&b.profile, path_number(&b.path))));
    Ok(Snapshot { profiles, connections })
}

/// `/org/adit1/connection/10` comes after `/9`.
fn path_number(path: &str) -> u64 {
    path.rsplit('/').next().and_then(|n| n.parse().ok()).unwrap_or(u64::MAX)
}

/// Everything about one connection of a snapshot, whose object stands from then on. `None`: it has gone meanwhile.
pub(crate) async fn details(connection: &Connection, status: &ConnectionStatus) -> Option<ConnectionStatus> {
    let manager = ManagerProxy::new(connection).await.ok()?;
    let path = manager.get_connection(path_number(&status.path)).await.ok()?;
    status_of(connection, path.as_str()).await.ok()
}

/// The properties of one connection.
pub(crate) async fn status_of(connection: &Connection, path: &str) -> zbus::Result<ConnectionStatus> {
    let proxy = PropertiesProxy::builder(connection).destination(names::BUS).path(path).build().await?;
    let interface = zbus::names::InterfaceName::try_from(names::CONNECTION)?;
    let properties = proxy.get_all(interface).await?;
    Ok(ConnectionStatus::from_properties(path, &properties))
}

/// The kernel's counters, if the connection has any.
pub(crate) async fn traffic_of(connection: &Connection, status: &ConnectionStatus) -> Option<Traffic> {
    if status.state != ConnectionState::Connected {
        return None;
    }
    let proxy = ConnectionProxy::new(connection, status.path.as_str()).await.ok()?;
    proxy.statistics().await.ok().map(|map| Traffic::from_map(&map))
}

impl Snapshot {
    /// The connection of that profile that matters most: one that lives before one that failed.
    pub(crate) fn connection_named(&self, name: &str) -> Option<&ConnectionStatus> {
        let lives = |c: &&ConnectionStatus| {
            !matches!(c.state, ConnectionState::Failed | ConnectionState::Disconnected)
        };
        let named = || self.connections.iter().filter(|c| c.profile == name);
        named().find(lives).or_else(|| named().next_back())
    }

    /// The profile of that name.
    pub(crate) fn profile_named(&self, name: &str) -> Option<&ProfileSummary> {
        self.profiles.iter().find(|p| p.name == name)
    }

    /// There is none of that name, and what there is.
    pub(crate) fn no_profile(&self, name: &str) -> Ended {
        let text = format!("there is no profile \"{}\"", name.escape_debug());
        let known: Vec<&str> = self.profiles.iter().map(|p| p.name.as_str()).take(12).collect();
        let hint = if known.is_empty() {
            "there are none yet: write one to /etc/adit/profiles/NAME.toml".to_owned()
        } else {
            format!("there are: {}", known.join(", "))
        };
        Ended::failed(name, Failure::new(FailureCode::NotFound, Step::Profile, text).hint(hint))
    }
}
