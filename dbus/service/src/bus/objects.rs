//! The objects on one D-Bus connection, kept in step with the registry.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use adit_core::Failure;
use adit_dbus_api::{failure_to_parts, names};
use tokio::sync::broadcast::{self, error::RecvError};
use zbus::connection::Builder;
use zbus::fdo::{ObjectManager, Properties};
use zbus::names::InterfaceName;
use zbus::object_server::SignalEmitter;
use zbus::{Connection, ObjectPath, OwnedObjectPath, Variant};

use super::connection::{ConnectionObject, text, texts};
use super::gate::Gate;
use super::manager::ManagerObject;
use super::profile::ProfileObject;
use crate::daemon::Daemon;
use crate::registry::{ConnectionId, Facts, Notice, State};

/// A connection's object path.
pub(crate) fn connection_path(id: ConnectionId) -> OwnedObjectPath {
    path(&format!("{}/{}", names::CONNECTIONS, id.0))
}

/// The path that stands for none.
pub(crate) fn none_path() -> OwnedObjectPath {
    path(names::NONE)
}

fn profile_path(n: usize) -> OwnedObjectPath {
    path(&format!("{}/{}", names::PROFILES, n + 1))
}

fn path(text: &str) -> OwnedObjectPath {
    ObjectPath::from_string_unchecked(text.to_owned()).into()
}

/// The objects on one D-Bus connection.
pub(crate) struct Objects {
    connection: Connection,
    daemon: Arc<Daemon>,
    gate: Gate,
    notices: broadcast::Receiver<Notice>,
    shown: BTreeMap<ConnectionId, Facts>,
    profiles: Vec<OwnedObjectPath>,
}

impl Objects {
    /// Builds the connection with every object there is. They stand before its first message is read: one that came
    /// earlier would be lost.
    ///
    /// # Errors
    /// The connection cannot be made.
    pub(crate) async fn serve(builder: Builder<'_>, daemon: Arc<Daemon>, gate: Gate) -> zbus::Result<Self> {
        // Subscribed first: what happens meanwhile is seen twice rather than never.
        let notices = daemon.registry().subscribe();
        let manager = ManagerObject { daemon: Arc::clone(&daemon), gate: gate.clone() };
        let mut builder = builder.serve_at(names::ROOT, ObjectManager).serve_at(names::MANAGER_PATH, manager);
        let (mut shown, mut profiles) = (BTreeMap::new(), Vec::new());
        for (id, facts) in daemon.registry().all() {
            let object = ConnectionObject { daemon: Arc::clone(&daemon), gate: gate.clone(), id };
            builder = builder.serve_at(connection_path(id), object);
            shown.insert(id, facts);
        }
        for (n, file) in daemon.profiles().into_iter().enumerate() {
            let object = ProfileObject { daemon: Arc::clone(&daemon), file };
            builder = builder.serve_at(profile_path(n), object);
            profiles.push(profile_path(n));
        }
        let connection = builder.build().await?;
        Ok(Self { connection, daemon, gate, notices, shown, profiles })
    }

    /// The connection that they are on.
    pub(crate) const fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Keeps in step until the connection ends.
    pub(crate) async fn follow(mut self) {
        loop {
            let result = match self.notices.recv().await {
                Ok(notice) => self.apply(notice).await,
                Err(RecvError::Lagged(_)) => self.show_everything().await,
                Err(RecvError::Closed) => return,
            };
            if let Err(e) = result {
                tracing::debug!(error = %e, "D-Bus");
                if self.connection.is_closed() {
                    return;
                }
            }
        }
    }

    async fn show_everything(&mut self) -> zbus::Result<()> {
        let all = self.daemon.registry().all();
        let gone: Vec<ConnectionId> =
            self.shown.keys().copied().filter(|id| all.iter().all(|(a, _)| a != id)).collect();
        for id in gone {
            self.remove(id).await?;
        }
        for (id, _) in all {
            self.add(id).await?;
            self.changed(id).await?;
        }
        self.show_profiles().await
    }

    async fn apply(&mut self, notice: Notice) -> zbus::Result<()> {
        match notice {
            Notice::Added(id) => self.add(id).await,
            Notice::Changed(id) => self.changed(id).await,
            Notice::Removed(id) => self.remove(id).await,
            Notice::Profiles => self.show_profiles().await,
            Notice::Progress(id, step, text) => {
                ConnectionObject::progress(&self.emitter(id)?, &step, &text).await
            }
            Notice::State(id, old, new, reason) => self.transition(id, old, new, &reason).await,
        }
    }

    async fn transition(&self, id: ConnectionId, old: State, new: State, reason: &str) -> zbus::Result<()> {
        ConnectionObject::transition(&self.emitter(id)?, old.as_str(), new.as_str(), reason).await
    }

    async fn add(&mut self, id: ConnectionId) -> zbus::Result<()> {
        let Some(facts) = self.daemon.registry().get(id) else { return Ok(()) };
        if self.shown.contains_key(&id) {
            return Ok(());
        }
        show_connection(&self.connection, &self.daemon, &self.gate, id).await?;
        self.shown.insert(id, facts);
        Ok(())
    }

    async fn remove(&mut self, id: ConnectionId) -> zbus::Result<()> {
        self.shown.remove(&id);
        match self.connection.object_server().remove::<ConnectionObject, _>(connection_path(id)).await {
            // It came and went before anybody was told.
            Ok(_) | Err(zbus::Error::InterfaceNotFound) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// One PropertiesChanged with all that differs from what was shown before.
    async fn changed(&mut self, id: ConnectionId) -> zbus::Result<()> {
        let (Some(new), Some(old)) = (self.daemon.registry().get(id), self.shown.get(&id)) else {
            return Ok(());
        };
        let changes = differences(old, &new);
        if !changes.is_empty() {
            let interface = InterfaceName::try_from(names::CONNECTION)?;
            Properties::properties_changed(&self.emitter(id)?, interface, changes, (&[][..]).into()).await?;
        }
        self.shown.insert(id, new);
        Ok(())
    }

    async fn show_profiles(&mut self) -> zbus::Result<()> {
        let server = self.connection.object_server();
        for path in std::mem::take(&mut self.profiles) {
            server.remove::<ProfileObject, _>(path).await?;
        }
        for (n, file) in self.daemon.profiles().into_iter().enumerate() {
            let path = profile_path(n);
            server.at(path.clone(), ProfileObject { daemon: Arc::clone(&self.daemon), file }).await?;
            self.profiles.push(path);
        }
        Ok(())
    }

    fn emitter(&self, id: ConnectionId) -> zbus::Result<SignalEmitter<'static>> {
        SignalEmitter::new(&self.connection, connection_path(id))
    }
}

/// Puts a connection's object on a D-Bus connection, if it is not there already and the connection is still known.
pub(crate) async fn show_connection(
    bus: &Connection,
    daemon: &Arc<Daemon>,
    gate: &Gate,
    id: ConnectionId,
) -> zbus::Result<()> {
    if daemon.registry().get(id).is_some() {
        let object = ConnectionObject { daemon: Arc::clone(daemon), gate: gate.clone(), id };
        bus.object_server().at(connection_path(id), object).await?;
    }
    Ok(())
}

fn differences<'a>(old: &Facts, new: &'a Facts) -> HashMap<&'static str, Variant<'a>> {
    let mut out: HashMap<&'static str, Variant<'a>> = HashMap::new();
    let mut compare = |name: &'static str, same: bool, value: Variant<'a>| {
        if !same {
            out.insert(name, value);
        }
    };
    compare("State", old.state == new.state, new.state.as_str().into());
    compare("Step", old.step == new.step, new.step.as_str().into());
    compare("Since", old.since == new.since, new.since.into());
    compare("LocalEndpoint", old.local == new.local, text(new.local).into());
    compare("RemoteEndpoint", old.remote == new.remote, text(new.remote).into());
    compare("Encapsulated", old.encapsulated == new.encapsulated, new.encapsulated.into());
    compare("Interface", old.interface == new.interface, new.interface.as_str().into());
    compare("Addresses", old.addresses == new.addresses, texts(&new.addresses).into());
    compare("Dns", old.dns == new.dns, texts(&new.dns).into());
    compare("Routes", old.routes == new.routes, texts(&new.routes).into());
    compare("LocalIdentity", old.local_id == new.local_id, new.local_id.as_str().into());
    compare("RemoteIdentity", old.remote_id == new.remote_id, new.remote_id.as_str().into());
    compare("IkeSuite", old.ike_suite == new.ike_suite, new.ike_suite.as_str().into());
    compare("EspSuite", old.esp_suite == new.esp_suite, new.esp_suite.as_str().into());
    compare("LastError", old.last_error == new.last_error, last_error(new.last_error.as_ref()));
    out
}

fn last_error(failure: Option<&Failure>) -> Variant<'static> {
    Variant::from(failure_to_parts(failure))
}

#[cfg(feature = "recording")]
#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use adit_dbus_api::ManagerProxy;

    use super::*;
    use crate::BusChoice;
    use crate::bus::gate::Caller;
    use crate::daemon::{Doors, Settings};
    use crate::host::RecordingHost;
    use crate::registry::Role;

    #[tokio::test]
    async fn what_up_answers_can_be_used_before_anything_was_announced() {
        let folder = tempfile::tempdir().unwrap();
        let (config, state) = (folder.path().join("etc"), folder.path().join("state"));
        std::fs::create_dir_all(config.join("profiles")).unwrap();
        let profile =
            "server = \"192.0.2.1\"\nauth = \"psk\"\nlocal-id = \"a@example.com\"\npsk-file = \"a.psk\"\n";
        std::fs::write(config.join("profiles/corp.toml"), profile).unwrap();
        let settings = Settings { config, state, socket: folder.path().join("sock"), bus: BusChoice::None };
        let doors = Doors {
            xfrm: Arc::new(adit_xfrm_kernel::RecordingXfrm::default()),
            host: Arc::new(RecordingHost::default()),
            crypto: Arc::new(adit_crypto::Provider::new()),
        };
        let daemon = Arc::new(Daemon::new(settings, doors));
        let (ours, theirs) = tokio::net::UnixStream::pair().unwrap();
        let builder = |stream: tokio::net::UnixStream| {
            zbus::connection::Builder::unix_stream(stream.into_std().unwrap()).p2p()
        };
        let gate = Gate::Peer(Caller { uid: 0, gids: Vec::new() });
        let served = Objects::serve(builder(ours).server(zbus::Guid::generate()), Arc::clone(&daemon), gate);
        let (objects, caller) = tokio::join!(served, builder(theirs).build());
        let (objects, caller) = (objects.unwrap(), caller.unwrap());

        // It is up already, so that Up dials nobody; and nobody follows the notices of it.
        let id = daemon.registry().add(Facts::new(Role::Client, "corp", "192.0.2.1"));
        let path = ManagerProxy::new(&caller).await.unwrap().up("corp", HashMap::new()).await.unwrap();
        let state = || {
            let properties = Some("org.freedesktop.DBus.Properties");
            caller.call_method(None::<&str>, &path, properties, "Get", &(names::CONNECTION, "State"))
        };
        assert!(state().await.is_ok());

        // It is announced, and gone before that was read.
        daemon.registry().remove(id);
        let following = tokio::spawn(objects.follow());
        while state().await.is_ok() {
            tokio::task::yield_now().await;
        }
        following.abort();
    }
}
