use adit_core::{Failure, FailureCode, Step};
use adit_dbus_api::{
    Bus, ConnectionProxy, ConnectionRow, ConnectionState, ConnectionStatus, ManagerProxy, ObjectManagerProxy,
    ProfileSummary, Properties, Traffic, connect, names, status_of,
};
use zbus::Connection;

use crate::args::BusChoice;
use crate::ended::Ended;
use crate::render::bare;

/// Everything that the daemon has, at one moment, in the order of names; of connections what a line of `ctl status`
/// shows.
pub(crate) struct Snapshot {
    pub(crate) profiles: Vec<ProfileSummary>,
    pub(crate) connections: Vec<ConnectionRow>,
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
    let mut connections = manager.list_connections().await.map_err(call)?;
    profiles.sort_by(|a, b| (&a.name, &a.path).cmp(&(&b.name, &b.path)));
    // They come by number, and stay so within a name.
    connections.sort_by(|a, b| a.profile.cmp(&b.profile));
    Ok(Snapshot { profiles, connections })
}

/// Whether that is a name of a server's client.
fn goes_by(client: &ConnectionRow, name: &str) -> bool {
    let address = || client.addresses.iter().any(|a| bare(a) == name);
    client.profile == name || client.remote_identity == name || address()
}

/// Everything about one connection of a snapshot, whose object stands from then on. `None`: it has gone meanwhile.
pub(crate) async fn details(connection: &Connection, row: &ConnectionRow) -> Option<ConnectionStatus> {
    let manager = ManagerProxy::new(connection).await.ok()?;
    let path = manager.get_connection(row.number).await.ok()?;
    status_of(connection, path.as_str()).await.ok()
}

/// The connection that `name` is for, whose object stands from then on: a server's client has none until it is asked for.
///
/// # Errors
/// There is none of that name, several are, or it is not up: `step` is then what could not be done.
pub(crate) async fn live(connection: &Connection, name: &str, step: Step) -> Result<ConnectionStatus, Ended> {
    let snapshot = snapshot(connection).await?;
    let found = match snapshot.one_named(name)? {
        Some(row) => details(connection, row).await,
        None if snapshot.profile_named(name).is_none() => return Err(snapshot.no_profile(name)),
        None => None,
    };
    let not_up = || Failure::new(FailureCode::NotFound, step, "it is not up").hint("ctl status");
    found.ok_or_else(|| Ended::failed(name, not_up()))
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
    /// The connection that `name` is for: a profile's, or a server's client by its `[[connection]]`, by who it is, or by
    /// its address in the tunnel.
    ///
    /// # Errors
    /// Several clients go by it.
    pub(crate) fn one_named(&self, name: &str) -> Result<Option<&ConnectionRow>, Ended> {
        if self.profile_named(name).is_some() {
            return Ok(self.dialled(name));
        }
        let mut clients = self.connections.iter().filter(|c| c.is_client_of_ours() && goes_by(c, name));
        match (clients.next(), clients.next()) {
            (None, _) => Ok(self.dialled(name)),
            (one, None) => Ok(one),
            (Some(first), Some(second)) => {
                let all = [first, second].into_iter().chain(clients);
                let addresses: Vec<&str> = all.filter_map(|c| c.addresses.first()).map(|a| bare(a)).collect();
                let text = format!("{} clients go by that name", addresses.len());
                let some = addresses.iter().take(6).copied().collect::<Vec<_>>().join(", ");
                let hint = format!("say which by its address in the tunnel (ctl status): {some}");
                Err(Ended::failed(
                    name,
                    Failure::new(FailureCode::NotFound, Step::Established, text).hint(hint),
                ))
            }
        }
    }

    /// The connection of that profile that matters most: one that lives before one that failed.
    fn dialled(&self, name: &str) -> Option<&ConnectionRow> {
        let named = || self.connections.iter().filter(|c| !c.is_client_of_ours() && c.profile == name);
        named().find(|c| c.lives()).or_else(|| named().next_back())
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

#[cfg(test)]
mod tests {
    use super::*;

    fn client(number: u64, who: &str) -> ConnectionRow {
        ConnectionRow {
            number,
            profile: "staff".into(),
            role: "server".into(),
            state: "connected".into(),
            since: 0,
            interface: String::new(),
            addresses: vec![format!("10.9.0.{number}/32")],
            remote_endpoint: format!("203.0.113.{number}:4500"),
            remote_identity: who.into(),
        }
    }

    #[test]
    fn a_servers_client_is_meant_by_whatever_only_it_goes_by() {
        let connections = vec![client(1, "alice@example.com"), client(2, "bob@example.com")];
        let snapshot = Snapshot { profiles: Vec::new(), connections };
        let path = |name: &str| snapshot.one_named(name).unwrap().map(ConnectionRow::path);
        assert_eq!(path("alice@example.com").as_deref(), Some("/org/adit1/connection/1"));
        assert_eq!(path("10.9.0.2").as_deref(), Some("/org/adit1/connection/2"));
        assert_eq!(path("203.0.113.2"), None);
        let Err(Ended::Failure { failure, .. }) = snapshot.one_named("staff") else {
            panic!("which of them?")
        };
        assert_eq!(failure.text, "2 clients go by that name");
        assert!(failure.hint.is_some_and(|hint| hint.ends_with("10.9.0.1, 10.9.0.2")));
    }
}
