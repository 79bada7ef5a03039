//! `org.adit1.Manager`.

use std::collections::HashMap;
use std::sync::Arc;

use adit_core::{Failure, FailureCode, Step};
use adit_dbus_api::{ApiError, ConnectionRow, DoctorCheck, LogEntry};
use zbus::message::Header;
use zbus::{Connection, OwnedObjectPath, OwnedVariant, interface};

use super::connection::{role_word, text, texts};
use super::gate::Gate;
use super::objects::{connection_path, show_connection};
use super::options::raise;
use crate::daemon::Daemon;
use crate::registry::{ConnectionId, Facts};

pub(crate) struct ManagerObject {
    pub(super) daemon: Arc<Daemon>,
    pub(super) gate: Gate,
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
        self.gate.admit(bus, &header).await?;
        let id = self.daemon.up_as(profile, raise(&options)?).await?;
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
        self.gate.admit(bus, &header).await?;
        let id = self.daemon.up_content(name, toml, raise(&options)?).await?;
        self.shown(bus, id).await
    }

    async fn reload(
        &self,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] bus: &Connection,
    ) -> Result<(), ApiError> {
        self.gate.admit(bus, &header).await?;
        Ok(self.daemon.reload().await?)
    }

    async fn list_connections(
        &self,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] bus: &Connection,
    ) -> Result<Vec<ConnectionRow>, ApiError> {
        self.gate.admit(bus, &header).await?;
        Ok(self.daemon.registry().read(|id, facts| Some(row(id, facts))))
    }

    async fn get_connection(
        &self,
        number: u64,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] bus: &Connection,
    ) -> Result<OwnedObjectPath, ApiError> {
        self.gate.admit(bus, &header).await?;
        let id = ConnectionId(number);
        if self.daemon.registry().get(id).is_none() {
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
        self.gate.admit(bus, &header).await?;
        Ok(self.daemon.registry().log(name, after))
    }

    async fn doctor(
        &self,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] bus: &Connection,
    ) -> Result<Vec<DoctorCheck>, ApiError> {
        self.gate.admit(bus, &header).await?;
        Ok(crate::doctor::checks(&self.daemon).await)
    }

    async fn diagnose(
        &self,
        profile: &str,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] bus: &Connection,
    ) -> Result<Vec<DoctorCheck>, ApiError> {
        self.gate.admit(bus, &header).await?;
        Ok(self.daemon.diagnose(profile, None).await?)
    }

    async fn diagnose_content(
        &self,
        name: &str,
        toml: &str,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] bus: &Connection,
    ) -> Result<Vec<DoctorCheck>, ApiError> {
        self.gate.admit(bus, &header).await?;
        Ok(self.daemon.diagnose(name, Some(toml)).await?)
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
