//! `org.adit1.Manager`.

use std::collections::HashMap;
use std::sync::Arc;

use adit_core::{Failure, FailureCode, Step};
use adit_dbus_api::{ApiError, ConnectionRow, DoctorCheck, LogEntry};
use zbus::message::Header;
use zbus::{Connection, OwnedFd, OwnedObjectPath, OwnedVariant, interface};
use zeroize::Zeroizing;

use super::connection::{role_word, text, texts};
use super::gate::{Caller, Gate};
use super::objects::{connection_path, show_connection};
use super::options::raise;
use super::places::{MOST_OF_A_USER, Places};
use super::polkit::Action;
use super::private;
use crate::daemon::Daemon;
use crate::raise::Raise;
use crate::registry::{ConnectionId, Facts, Role};

pub(crate) struct ManagerObject {
    pub(super) daemon: Arc<Daemon>,
    pub(super) gate: Gate,
    /// For those who call `Open`.
    pub(super) places: Places<u32>,
}

impl ManagerObject {
    /// The path of a connection whose object stands: the caller may use it as soon as it has the reply, which can be
    /// sooner than this D-Bus connection has come to the notice that tells of it.
    async fn shown(&self, bus: &Connection, id: ConnectionId) -> Result<OwnedObjectPath, ApiError> {
        show_connection(bus, &self.daemon, &self.gate, id).await.map_err(|e| {
            Failure::new(FailureCode::Internal, Step::Profile, format!("the connection has no object: {e}"))
        })?;
        Ok(connection_path(id))
    }

    /// Whether that caller may know of the server's clients, where there are any.
    async fn shows_clients_to(&self, caller: &Caller, bus: &Connection, header: &Header<'_>) -> bool {
        let is_client = |_, facts: &Facts| (facts.role == Role::Server).then_some(());
        caller.may_everything()
            || (!self.daemon.registry().read(is_client).is_empty()
                && self.gate.admit(bus, header, Action::Server, None).await.is_ok())
    }
}

fn too_many(caller: &Caller) -> Failure {
    let text = format!(
        "user {} has {MOST_OF_A_USER} D-Bus connections to aditd already, or all users together too many",
        caller.name()
    );
    Failure::new(FailureCode::PeerBusy, Step::Profile, text).hint("close those that nobody uses")
}

fn row(id: ConnectionId, facts: &Facts) -> ConnectionRow {
    ConnectionRow {
        number: id.0,
        profile: facts.profile.clone(),
        role: role_word(facts.role),
        state: facts.state.as_str().to_owned(),
        since: facts.since,
        interface: facts.interface.clone(),
        addresses: texts(&facts.addresses),
        remote_endpoint: text(facts.remote),
        remote_identity: facts.remote_id.clone(),
    }
}

#[interface(name = "org.adit1.Manager")]
impl ManagerObject {
    async fn up(
        &self,
        profile: &str,
        options: HashMap<String, OwnedVariant>,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] bus: &Connection,
    ) -> Result<OwnedObjectPath, ApiError> {
        let caller = self.gate.admit(bus, &header, Action::Connect, Some(profile)).await?;
        let how = Raise { limited: !caller.may_everything(), ..raise(&options)? };
        let name = profile.to_owned();
        let id = self.daemon.at_home(|daemon| async move { daemon.up_as(&name, how).await }).await?;
        self.shown(bus, id).await
    }

    async fn up_content(
        &self,
        name: &str,
        toml: &str,
        options: HashMap<String, OwnedVariant>,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] bus: &Connection,
    ) -> Result<OwnedObjectPath, ApiError> {
        let caller = self.gate.admit(bus, &header, Action::OwnProfiles, None).await?;
        let how = Raise { owner: caller.as_owner(), limited: !caller.may_everything(), ..raise(&options)? };
        let (name, toml) = (name.to_owned(), Zeroizing::new(toml.to_owned()));
        let up = |daemon: Arc<Daemon>| async move { daemon.up_content(&name, &toml, how).await };
        let id = self.daemon.at_home(up).await?;
        self.shown(bus, id).await
    }

    async fn reload(
        &self,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] bus: &Connection,
    ) -> Result<(), ApiError> {
        let _caller = self.gate.admit(bus, &header, Action::SystemProfiles, None).await?;
        Ok(self.daemon.at_home(|daemon| async move { daemon.reload().await }).await?)
    }

    async fn list_connections(
        &self,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] bus: &Connection,
    ) -> Result<Vec<ConnectionRow>, ApiError> {
        let caller = self.gate.admit(bus, &header, Action::Connect, None).await?;
        let server = self.shows_clients_to(&caller, bus, &header).await;
        let shown = |facts: &Facts| Gate::shows_to(&caller, facts, server);
        Ok(self.daemon.registry().read(|id, facts| shown(facts).then(|| row(id, facts))))
    }

    async fn get_connection(
        &self,
        number: u64,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] bus: &Connection,
    ) -> Result<OwnedObjectPath, ApiError> {
        let id = ConnectionId(number);
        let facts = self.daemon.registry().get(id);
        let none = facts.is_none();
        let _caller = self.gate.admit_to(bus, &header, facts).await?;
        if none {
            let failure = Failure::new(FailureCode::NotFound, Step::Profile, "there is no such connection");
            return Err(failure.hint("ctl status  shows the connections").into());
        }
        self.shown(bus, id).await
    }

    async fn log(
        &self,
        name: &str,
        after: u64,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] bus: &Connection,
    ) -> Result<Vec<LogEntry>, ApiError> {
        // A name says of a line neither whose connection that was nor whose client.
        let _caller = self.gate.admit(bus, &header, Action::SystemProfiles, None).await?;
        Ok(self.daemon.registry().log(name, after))
    }

    async fn doctor(
        &self,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] bus: &Connection,
    ) -> Result<Vec<DoctorCheck>, ApiError> {
        let _caller = self.gate.admit(bus, &header, Action::Connect, None).await?;
        let checks = |daemon: Arc<Daemon>| async move { Ok(crate::doctor::checks(&daemon).await) };
        Ok(self.daemon.at_home(checks).await?)
    }

    async fn diagnose(
        &self,
        profile: &str,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] bus: &Connection,
    ) -> Result<Vec<DoctorCheck>, ApiError> {
        let _caller = self.gate.admit(bus, &header, Action::Connect, Some(profile)).await?;
        let name = profile.to_owned();
        Ok(self.daemon.at_home(|daemon| async move { daemon.diagnose(&name).await }).await?)
    }

    async fn diagnose_content(
        &self,
        name: &str,
        toml: &str,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] bus: &Connection,
    ) -> Result<Vec<DoctorCheck>, ApiError> {
        let caller = self.gate.admit(bus, &header, Action::OwnProfiles, None).await?;
        let (name, toml) = (name.to_owned(), Zeroizing::new(toml.to_owned()));
        let limited = !caller.may_everything();
        let asked = |daemon: Arc<Daemon>| async move { daemon.diagnose_content(&name, &toml, limited).await };
        Ok(self.daemon.at_home(asked).await?)
    }

    async fn open(
        &self,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] bus: &Connection,
    ) -> Result<OwnedFd, ApiError> {
        let caller = self.gate.admit(bus, &header, Action::Connect, None).await?;
        let Some(name) = header.sender().filter(|_| self.gate.is_bus()) else {
            let text = "this D-Bus connection is the caller's own already";
            return Err(Failure::new(FailureCode::ConfigurationInvalid, Step::Profile, text).into());
        };
        let Some(place) = self.places.take_for_user(caller.uid) else { return Err(too_many(&caller).into()) };
        let end =
            private::open(&self.daemon, Caller::clone(&caller), (bus.clone(), name.clone().into()), place)
                .map_err(|e| {
                    Failure::new(
                        FailureCode::Internal,
                        Step::Profile,
                        format!("no D-Bus connection can be made: {e}"),
                    )
                })?;
        Ok(end.into())
    }

    #[zbus(property(emits_changed_signal = "const"))]
    fn version(&self) -> String {
        env!("CARGO_PKG_VERSION").to_owned()
    }

    #[zbus(property)]
    fn listening(&self) -> Vec<String> {
        self.daemon.listening()
    }

    #[zbus(property(emits_changed_signal = "false"))]
    fn stopping(&self) -> bool {
        self.daemon.stopping()
    }
}
