//! The objects on one D-Bus connection, kept in step with the registry.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use adit_core::Failure;
use adit_dbus_api::{failure_to_parts, names};
use tokio::sync::broadcast::{self, error::RecvError, error::TryRecvError};
use tokio::sync::watch;
use zbus::connection::Builder;
use zbus::fdo::{ObjectManager, Properties};
use zbus::names::InterfaceName;
use zbus::object_server::SignalEmitter;
use zbus::{Connection, ObjectPath, OwnedObjectPath, Variant};

use super::connection::{ConnectionObject, children, moves, role_word, text, texts, tried, wanted};
use super::gate::Gate;
use super::gather::gather;
use super::manager::ManagerObject;
use super::places::Places;
use super::profile::{self, ProfileObject};
use crate::daemon::Daemon;
use crate::files::ProfileFile;
use crate::registry::{ConnectionId, Facts, Notice, Role, State};

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
    urgent: watch::Receiver<()>,
    /// Of whom it has been told on this D-Bus connection.
    told: BTreeSet<ConnectionId>,
    /// By their names, each with the number in its path, which it keeps.
    profiles: BTreeMap<String, (usize, Arc<ProfileFile>)>,
}

impl Objects {
    /// Builds the connection with every object there is. They stand before its first message is read: one that came
    /// earlier would be lost.
    ///
    /// # Errors
    /// The connection cannot be made.
    pub(crate) async fn serve(builder: Builder<'_>, daemon: Arc<Daemon>, gate: Gate) -> zbus::Result<Self> {
        // Subscribed first: what happens meanwhile is seen twice rather than never.
        let (notices, urgent) = (daemon.registry().subscribe(), daemon.registry().urgent());
        let manager =
            ManagerObject { daemon: Arc::clone(&daemon), gate: gate.clone(), places: Places::of_users() };
        let mut builder = builder.serve_at(names::ROOT, ObjectManager).serve_at(names::MANAGER_PATH, manager);
        let (mut told, mut profiles) = (BTreeSet::new(), BTreeMap::new());
        let shown = |id, facts: &Facts| gate.shows(facts).then_some((id, facts.role));
        for (id, role) in daemon.registry().read(shown) {
            told.insert(id);
            // A server's client gets an object when somebody asks for it: there may be 20,000.
            if role == Role::Client {
                let object = ConnectionObject { daemon: Arc::clone(&daemon), gate: gate.clone(), id };
                builder = builder.serve_at(connection_path(id), object);
            }
        }
        for (n, file) in daemon.profiles().into_iter().enumerate() {
            profiles.insert(file.name.clone(), (n, Arc::clone(&file)));
            builder = builder.serve_at(profile_path(n), ProfileObject { daemon: Arc::clone(&daemon), file });
        }
        let connection = builder.build().await?;
        Ok(Self { connection, daemon, gate, notices, urgent, told, profiles })
    }

    /// The connection that they are on.
    pub(crate) const fn connection(&self) -> &Connection {
        &self.connection
    }

    /// With all that has happened since they were made.
    ///
    /// # Errors
    /// The connection has ended.
    pub(crate) async fn catch_up(&mut self) -> zbus::Result<()> {
        loop {
            match self.notices.try_recv() {
                Ok(notice) => self.apply(notice).await?,
                Err(TryRecvError::Lagged(_)) => self.show_everything().await?,
                Err(TryRecvError::Empty | TryRecvError::Closed) => return Ok(()),
            }
        }
    }

    /// Keeps in step until the connection ends.
    pub(crate) async fn follow(mut self) {
        loop {
            let result = match gather(&mut self.notices, &mut self.urgent).await {
                Ok(notices) => self.apply_all(notices).await,
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

    /// Each, also where one before could not be told; the last error.
    async fn apply_all(&mut self, notices: Vec<Notice>) -> zbus::Result<()> {
        let mut result = Ok(());
        for notice in notices {
            result = self.apply(notice).await.and(result);
        }
        result
    }

    /// After notices were lost: what has gone and come since, and all that is known of our own connections.
    async fn show_everything(&mut self) -> zbus::Result<()> {
        let shown = |id, facts: &Facts| self.gate.shows(facts).then_some((id, facts.role));
        let now = self.daemon.registry().read(shown);
        let ids: BTreeSet<ConnectionId> = now.iter().map(|(id, _)| *id).collect();
        let gone: Vec<ConnectionId> = self.told.difference(&ids).copied().collect();
        for id in gone {
            self.remove(id, Role::Server).await?;
        }
        for (id, role) in now {
            self.add(id).await?;
            let facts = self.daemon.registry().get(id).filter(|_| role == Role::Client);
            if let Some(new) = facts {
                self.changed(id, &Facts::new(new.role, "", ""), &new).await?;
            }
        }
        self.show_profiles().await
    }

    async fn apply(&mut self, notice: Notice) -> zbus::Result<()> {
        // Of what is not shown here, nothing is told. An object that `Up` has answered goes, announced or not.
        let about = match &notice {
            Notice::Added(_) | Notice::Removed(..) | Notice::Profiles | Notice::Heard(_) => None,
            Notice::Changed(id, _) | Notice::Progress(id, _, _) => Some(id),
            Notice::RekeyRefused(id, _) | Notice::State(id, _, _, _) => Some(id),
        };
        if !self.gate.is_bus() && about.is_some_and(|id| !self.told.contains(id)) {
            return Ok(());
        }
        match notice {
            Notice::Added(id) => self.add(id).await,
            Notice::Changed(id, facts) => self.changed(id, &facts.0, &facts.1).await,
            Notice::Removed(id, role) => self.remove(id, role).await,
            Notice::Profiles => self.show_profiles().await,
            Notice::Heard(_) => Ok(()),
            Notice::Progress(id, step, text) => {
                ConnectionObject::progress(&self.emitter(id)?, &step, &text).await
            }
            Notice::RekeyRefused(id, why) => {
                ConnectionObject::rekey_refused(&self.emitter(id)?, failure_to_parts(Some(&why))).await
            }
            Notice::State(id, old, new, reason) => self.transition(id, old, new, &reason).await,
        }
    }

    async fn transition(&self, id: ConnectionId, old: State, new: State, reason: &str) -> zbus::Result<()> {
        ConnectionObject::transition(&self.emitter(id)?, old.as_str(), new.as_str(), reason).await
    }

    async fn add(&mut self, id: ConnectionId) -> zbus::Result<()> {
        if self.told.contains(&id) {
            return Ok(());
        }
        let Some(facts) = self.daemon.registry().get(id).filter(|facts| self.gate.shows(facts)) else {
            return Ok(());
        };
        self.told.insert(id);
        match facts.role {
            Role::Client => show_connection(&self.connection, &self.daemon, &self.gate, id).await,
            Role::Server => self.tell_of(id, &facts).await,
        }
    }

    /// Tells of a server's client that has no object yet.
    async fn tell_of(&self, id: ConnectionId, facts: &Facts) -> zbus::Result<()> {
        let properties = HashMap::from([
            ("Profile", Variant::from(facts.profile.as_str())),
            ("Role", role_word(facts.role).into()),
            ("State", facts.state.as_str().into()),
            ("RemoteEndpoint", text(facts.remote).into()),
            ("RemoteIdentity", facts.remote_id.as_str().into()),
        ]);
        let interfaces = HashMap::from([(InterfaceName::try_from(names::CONNECTION)?, properties)]);
        ObjectManager::interfaces_added(&self.root()?, connection_path(id).into(), interfaces).await
    }

    async fn remove(&mut self, id: ConnectionId, role: Role) -> zbus::Result<()> {
        let told = self.told.remove(&id);
        match self.connection.object_server().remove::<ConnectionObject, _>(connection_path(id)).await {
            Err(zbus::Error::InterfaceNotFound) if told && role == Role::Server => {
                let interfaces = vec![InterfaceName::try_from(names::CONNECTION)?];
                ObjectManager::interfaces_removed(
                    &self.root()?,
                    connection_path(id).into(),
                    interfaces.into(),
                )
                .await
            }
            // It came and went before anybody was told.
            Ok(_) | Err(zbus::Error::InterfaceNotFound) => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn root(&self) -> zbus::Result<SignalEmitter<'static>> {
        SignalEmitter::new(&self.connection, names::ROOT)
    }

    /// One PropertiesChanged with all that differs.
    async fn changed(&self, id: ConnectionId, old: &Facts, new: &Facts) -> zbus::Result<()> {
        let changes = differences(old, new);
        if changes.is_empty() {
            return Ok(());
        }
        let interface = InterfaceName::try_from(names::CONNECTION)?;
        Properties::properties_changed(&self.emitter(id)?, interface, changes, (&[][..]).into()).await
    }

    /// What is there before and after never goes meanwhile: somebody may be asking which there are.
    async fn show_profiles(&mut self) -> zbus::Result<()> {
        let files: BTreeMap<String, Arc<ProfileFile>> =
            self.daemon.profiles().into_iter().map(|file| (file.name.clone(), file)).collect();
        let server = self.connection.object_server();
        for (_, (n, _)) in self.profiles.extract_if(.., |name, _| !files.contains_key(name)) {
            server.remove::<ProfileObject, _>(profile_path(n)).await?;
        }
        let taken: BTreeSet<usize> = self.profiles.values().map(|(n, _)| *n).collect();
        let mut free = (0..).filter(|n| !taken.contains(n));
        for (name, file) in files {
            if let Some((n, old)) = self.profiles.get_mut(&name) {
                let path = profile_path(*n);
                let object = server.interface::<_, ProfileObject>(path).await?;
                object.get_mut().await.file = Arc::clone(&file);
                let changes = profile::differences(old, &file);
                *old = file;
                if !changes.is_empty() {
                    let interface = InterfaceName::try_from(names::PROFILE)?;
                    let emitter = object.signal_emitter();
                    Properties::properties_changed(emitter, interface, changes, (&[][..]).into()).await?;
                }
                continue;
            }
            let Some(n) = free.next() else { continue };
            self.profiles.insert(name, (n, Arc::clone(&file)));
            server.at(profile_path(n), ProfileObject { daemon: Arc::clone(&self.daemon), file }).await?;
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

/// The properties that differ, each with what it is now: nothing is put together of the others.
#[derive(Default)]
struct Differences<'a>(HashMap<&'static str, Variant<'a>>);

impl<'a> Differences<'a> {
    fn compare(&mut self, name: &'static str, same: bool, value: impl FnOnce() -> Variant<'a>) {
        if !same {
            self.0.insert(name, value());
        }
    }
}

fn differences<'a>(old: &Facts, new: &'a Facts) -> HashMap<&'static str, Variant<'a>> {
    let mut out = Differences::default();
    out.compare("State", old.state == new.state, || new.state.as_str().into());
    out.compare("Step", old.step == new.step, || new.step.as_str().into());
    out.compare("Since", old.since == new.since, || new.since.into());
    out.compare("LocalEndpoint", old.local == new.local, || text(new.local).into());
    out.compare("RemoteEndpoint", old.remote == new.remote, || text(new.remote).into());
    out.compare("Encapsulated", old.encapsulated == new.encapsulated, || new.encapsulated.into());
    out.compare("Interface", old.interface == new.interface, || new.interface.as_str().into());
    out.compare("Addresses", old.addresses == new.addresses, || texts(&new.addresses).into());
    out.compare("Dns", old.dns == new.dns, || texts(&new.dns).into());
    out.compare("DnsDomains", old.domains == new.domains, || new.domains.clone().into());
    out.compare("DnsSilent", old.dns_silent == new.dns_silent, || texts(&new.dns_silent).into());
    out.compare("Routes", old.routes == new.routes, || texts(&new.routes).into());
    out.compare("Tunnel", old.tunnel == new.tunnel, || new.tunnel.as_str().into());
    out.compare("Tried", old.tried == new.tried, || tried(new).into());
    out.compare("LocalIdentity", old.local_id == new.local_id, || new.local_id.as_str().into());
    out.compare("RemoteIdentity", old.remote_id == new.remote_id, || new.remote_id.as_str().into());
    out.compare("IkeSuite", old.ike_suite == new.ike_suite, || new.ike_suite.as_str().into());
    out.compare("EspSuite", old.esp_suite == new.esp_suite, || new.esp_suite.as_str().into());
    out.compare("Resumed", old.resumed == new.resumed, || new.resumed.into());
    out.compare("Gateway", old.gateway == new.gateway, || new.gateway.as_str().into());
    out.compare("Children", old.children == new.children, || children(new).into());
    out.compare("Legacy", old.legacy == new.legacy, || new.legacy.clone().into());
    out.compare("Rekeys", old.rekeys == new.rekeys, || new.rekeys.into());
    out.compare("NextRekey", old.next_rekey == new.next_rekey, || new.next_rekey.into());
    out.compare("Uplink", old.uplink == new.uplink, || new.uplink.as_str().into());
    out.compare("Moves", old.moves == new.moves, || moves(new).into());
    out.compare("WantedSecret", old.wanted == new.wanted, || wanted(new.wanted.as_deref()).into());
    out.compare("LastError", old.last_error == new.last_error, || last_error(new.last_error.as_deref()));
    out.0
}

fn last_error(failure: Option<&Failure>) -> Variant<'static> {
    Variant::from(failure_to_parts(failure))
}

#[cfg(feature = "recording")]
#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use adit_dbus_api::{ManagerProxy, Seen, Told, introspection, seen, signals, status_of};
    use futures_util::StreamExt;

    use super::*;
    use crate::bus::gate::{Caller, Callers};
    use crate::daemon::{Doors, Settings};
    use crate::host::RecordingHost;

    /// A daemon, its objects on a D-Bus connection, and who calls.
    async fn pair(
        folder: &std::path::Path,
        fill: impl FnOnce(&Daemon),
    ) -> (Arc<Daemon>, Objects, Connection) {
        let settings = Settings::within(folder);
        std::fs::create_dir_all(settings.config.join("profiles")).unwrap();
        let profile =
            "server = \"192.0.2.1\"\nauth = \"psk\"\nlocal-id = \"a@example.com\"\npsk-file = \"a.psk\"\n";
        std::fs::write(settings.config.join("profiles/corp.toml"), profile).unwrap();
        let doors = Doors {
            xfrm: Arc::new(adit_xfrm_kernel::RecordingXfrm::default()),
            host: Arc::new(RecordingHost::default()),
            crypto: Arc::new(adit_crypto::Provider::new()),
        };
        let daemon = Arc::new(Daemon::new(settings, doors));
        fill(&daemon);
        let (ours, theirs) = tokio::net::UnixStream::pair().unwrap();
        let builder = |stream: tokio::net::UnixStream| {
            zbus::connection::Builder::unix_stream(stream.into_std().unwrap()).p2p()
        };
        let gate = Gate::from(Callers::Peer(Caller { uid: 0, gids: Vec::new() }));
        let served = Objects::serve(builder(ours).server(zbus::Guid::generate()), Arc::clone(&daemon), gate);
        let (objects, caller) = tokio::join!(served, builder(theirs).build());
        (daemon, objects.unwrap(), caller.unwrap())
    }

    async fn state_of(caller: &Connection, path: &ObjectPath<'_>) -> zbus::Result<zbus::Message> {
        let properties = Some("org.freedesktop.DBus.Properties");
        caller.call_method(None::<&str>, path, properties, "Get", &(names::CONNECTION, "State")).await
    }

    #[tokio::test]
    async fn what_up_answers_can_be_used_before_anything_was_announced() {
        let folder = tempfile::tempdir().unwrap();
        let (daemon, objects, caller) = pair(folder.path(), |_| {}).await;

        // It is up already, so that Up dials nobody; and nobody follows the notices of it.
        let id = daemon.registry().add(Facts::new(Role::Client, "corp", "192.0.2.1"));
        let path = ManagerProxy::new(&caller).await.unwrap().up("corp", HashMap::new()).await.unwrap();
        assert!(state_of(&caller, &path).await.is_ok());

        // It is announced, and gone before that was read.
        daemon.registry().remove(id);
        let following = tokio::spawn(objects.follow());
        while state_of(&caller, &path).await.is_ok() {
            tokio::task::yield_now().await;
        }
        following.abort();
    }

    #[tokio::test]
    async fn reading_profiles_again_takes_none_away_that_is_still_there() {
        let folder = tempfile::tempdir().unwrap();
        let (daemon, mut objects, caller) = pair(folder.path(), Daemon::read_profiles).await;
        let profiles = folder.path().join("etc/profiles");
        let mut signals = signals(&caller).await.unwrap();
        let managed = adit_dbus_api::ObjectManagerProxy::new(&caller).await.unwrap();
        // What is told of profiles, so many times: the member, and the path's end.
        let below = format!("{}/", names::PROFILES);
        let mut told = async |times: usize| {
            let mut out = Vec::new();
            while out.len() < times {
                let message = signals.next().await.unwrap().unwrap();
                let (header, body) = (message.header(), message.body());
                let member = header.member().unwrap().to_string();
                let path = match member.as_str() {
                    "InterfacesAdded" => {
                        body.deserialize::<(OwnedObjectPath, adit_dbus_api::Introduced)>().unwrap().0
                    }
                    "InterfacesRemoved" => body.deserialize::<(OwnedObjectPath, Vec<String>)>().unwrap().0,
                    _ => header.path().unwrap().clone().into(),
                };
                // What was there before is announced, too.
                let told = path.strip_prefix(&below).map(|n| (member, n.to_owned()));
                out.extend(told.filter(|told| *told != ("InterfacesAdded".to_owned(), "1".to_owned())));
            }
            out
        };
        let of = |text: &str| {
            std::fs::read_to_string(profiles.join("corp.toml")).unwrap().replace("192.0.2.1", text)
        };
        let reload = async |objects: &mut Objects| {
            daemon.reload().await.unwrap();
            objects.catch_up().await.unwrap();
        };
        // The same, one that comes before it, one that is another now, and one that has gone.
        reload(&mut objects).await;
        std::fs::write(profiles.join("attic.toml"), of("192.0.2.3")).unwrap();
        reload(&mut objects).await;
        std::fs::write(profiles.join("corp.toml"), of("192.0.2.2")).unwrap();
        reload(&mut objects).await;
        std::fs::remove_file(profiles.join("corp.toml")).unwrap();
        reload(&mut objects).await;
        let expected = [("InterfacesAdded", "2"), ("PropertiesChanged", "1"), ("InterfacesRemoved", "1")];
        let expected = expected.map(|(member, path)| (member.to_owned(), path.to_owned()));
        assert_eq!(told(3).await, expected);
        let left = managed.get_managed_objects().await.unwrap();
        let left: Vec<_> = left.keys().filter(|path| path.starts_with(&below)).collect();
        assert_eq!(left, [&profile_path(1)]);
    }

    #[tokio::test]
    async fn signals_tell_all_that_an_answer_would() {
        let folder = tempfile::tempdir().unwrap();
        let (daemon, objects, caller) = pair(folder.path(), |_| {}).await;
        let mut signals = signals(&caller).await.unwrap();
        let following = tokio::spawn(objects.follow());
        let registry = daemon.registry();
        let id = registry.add(Facts::new(Role::Client, "corp", "192.0.2.1"));
        let path = connection_path(id);
        let mut told = Told::of(&path);
        registry.update(id, |facts| {
            facts.interface = "adit0".into();
            facts.addresses = vec!["10.9.0.2/32".parse().unwrap()];
            facts.remote = Some("192.0.2.1:4500".parse().unwrap());
        });
        registry.set_state(id, State::Connected, "established", None);
        loop {
            let message = signals.next().await.unwrap().unwrap();
            told.hear(&message);
            if matches!(seen(&message, &path), Some(Seen::State { .. })) {
                break;
            }
        }
        assert_eq!(told.status().unwrap(), status_of(&caller, &path).await.unwrap());
        let other = Told::of(&connection_path(ConnectionId(id.0 + 1)));
        assert!(other.status().is_none());
        following.abort();
    }

    #[tokio::test]
    async fn a_connection_ends_when_its_owner_has_left_the_bus() {
        let folder = tempfile::tempdir().unwrap();
        let (daemon, ..) = pair(folder.path(), |_| {}).await;
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        let (leave, left) = tokio::sync::oneshot::channel::<()>();
        let gate = Gate::from(Callers::Peer(Caller { uid: 0, gids: Vec::new() }));
        let builder = zbus::connection::Builder::unix_stream(ours);
        let over = async { drop(left.await) };
        let served = tokio::spawn(crate::bus::private::serve(builder, daemon, gate, over));
        let caller = zbus::connection::Builder::unix_stream(theirs).p2p().build().await.unwrap();
        ManagerProxy::new(&caller).await.unwrap().version().await.unwrap();
        leave.send(()).unwrap();
        caller.closed().await;
        served.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn the_documents_say_what_the_service_says() {
        let folder = tempfile::tempdir().unwrap();
        let (daemon, mut objects, caller) = pair(folder.path(), |_| {}).await;
        daemon.reload().await.unwrap();
        objects.show_profiles().await.unwrap();
        let profile = profile_path(0);
        daemon.registry().add(Facts::new(Role::Client, "corp", "192.0.2.1"));
        let manager = ManagerProxy::new(&caller).await.unwrap();
        let connection = manager.up("corp", HashMap::new()).await.unwrap();
        for (path, interface, document) in [
            (names::MANAGER_PATH, names::MANAGER, introspection::MANAGER),
            (profile.as_str(), names::PROFILE, introspection::PROFILE),
            (connection.as_str(), names::CONNECTION, introspection::CONNECTION),
        ] {
            let introspectable = Some("org.freedesktop.DBus.Introspectable");
            let told =
                caller.call_method(None::<&str>, path, introspectable, "Introspect", &()).await.unwrap();
            let told: String = told.body().deserialize().unwrap();
            assert_eq!(
                introspection::members(&told, interface),
                introspection::members(document, interface),
                "{interface}"
            );
        }
    }

    #[tokio::test]
    async fn twenty_thousand_clients_are_one_reply_and_no_object() {
        let folder = tempfile::tempdir().unwrap();
        let (daemon, objects, caller) = pair(folder.path(), |daemon| {
            daemon.registry().add(Facts::new(Role::Client, "corp", "192.0.2.1"));
            for n in 0..20_000_u32 {
                let mut facts = Facts::new(Role::Server, "staff", "");
                facts.remote_id = format!("user{n}@example.com");
                facts.interface = "adits0".into();
                facts.addresses =
                    vec![adit_core::Prefix::host(std::net::Ipv4Addr::from_bits(0x0A09_0000 + n).into())];
                facts.remote = Some(std::net::SocketAddr::new(std::net::Ipv4Addr::from_bits(n).into(), 4500));
                daemon.registry().add(facts);
            }
        })
        .await;
        let manager = ManagerProxy::new(&caller).await.unwrap();
        let begun = std::time::Instant::now();
        let rows = manager.list_connections().await.unwrap();
        println!("20,000 clients listed in {:?}", begun.elapsed());
        assert_eq!(rows.len(), 20_001);
        assert_eq!(
            (rows[1].remote_identity.as_str(), rows[0].role.as_str()),
            ("user0@example.com", "client")
        );
        let managed = adit_dbus_api::ObjectManagerProxy::new(&caller).await.unwrap();
        let objects_of = managed.get_managed_objects().await.unwrap();
        let shown = objects_of.keys().filter(|p| p.as_str().starts_with(&format!("{}/", names::CONNECTIONS)));
        assert_eq!(shown.count(), 1);

        // A client's object stands when it is asked for, and goes with the client.
        let last = rows.last().unwrap().number;
        assert!(state_of(&caller, &connection_path(ConnectionId(last))).await.is_err());
        let path = manager.get_connection(last).await.unwrap();
        assert!(state_of(&caller, &path).await.is_ok());
        assert!(manager.get_connection(last + 1).await.is_err());
        let following = tokio::spawn(objects.follow());
        daemon.registry().remove(ConnectionId(last));
        while state_of(&caller, &path).await.is_ok() {
            tokio::task::yield_now().await;
        }
        following.abort();
    }

    #[tokio::test]
    async fn clients_that_come_and_go_are_told_of_without_an_object() {
        use futures_util::StreamExt;
        let folder = tempfile::tempdir().unwrap();
        let (daemon, objects, caller) = pair(folder.path(), |_| {}).await;
        let mut stream = adit_dbus_api::signals(&caller).await.unwrap();
        let following = tokio::spawn(objects.follow());
        let id = daemon.registry().add(Facts::new(Role::Server, "staff", ""));
        // What is said of it; the objects that were there before are announced, too.
        let mut said_of_it = async || loop {
            let message = stream.next().await.unwrap().unwrap();
            let member = message.header().member().map(|m| m.as_str().to_owned()).unwrap();
            if member != "InterfacesAdded" {
                return member;
            }
            let body = message.body();
            let (path, _) = body.deserialize::<(OwnedObjectPath, adit_dbus_api::Introduced)>().unwrap();
            if path == connection_path(id) {
                return member;
            }
        };
        // Told while it is known; a client that has left before that is none to tell of.
        assert_eq!(said_of_it().await, "InterfacesAdded");
        daemon.registry().update(id, |f| f.rekeys = 1);
        assert_eq!(said_of_it().await, "PropertiesChanged");
        daemon.registry().remove(id);
        assert_eq!(said_of_it().await, "InterfacesRemoved");
        following.abort();
    }
}
