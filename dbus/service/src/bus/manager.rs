//! `org.adit1.Manager`.

use std::collections::HashMap;
use std::sync::Arc;

use adit_core::{Failure, FailureCode, Step};
use adit_dbus_api::{ApiError, DoctorCheck};
use zbus::message::Header;
use zbus::{Connection, OwnedObjectPath, OwnedVariant, interface};

use super::gate::Gate;
use super::objects::{connection_path, show_connection};
use crate::daemon::Daemon;
use crate::registry::ConnectionId;

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

#[interface(name = "org.adit1.Manager")]
impl ManagerObject {
    async fn up(
        &self,
        profile: &str,
        _options: HashMap<String, OwnedVariant>,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] bus: &Connection,
    ) -> Result<OwnedObjectPath, ApiError> {
        self.gate.admit(bus, &header).await?;
        let id = self.daemon.up(profile).await?;
        self.shown(bus, id).await
    }

    async fn up_content(
        &self,
        name: &str,
        toml: &str,
        _options: HashMap<String, OwnedVariant>,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] bus: &Connection,
    ) -> Result<OwnedObjectPath, ApiError> {
        self.gate.admit(bus, &header).await?;
        let id = self.daemon.up_content(name, toml).await?;
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

    async fn doctor(
        &self,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] bus: &Connection,
    ) -> Result<Vec<DoctorCheck>, ApiError> {
        self.gate.admit(bus, &header).await?;
        Ok(crate::doctor::checks(&self.daemon).await)
    }

    #[zbus(property(emits_changed_signal = "const"))]
    fn version(&self) -> String {
        env!("CARGO_PKG_VERSION").to_owned()
    }

    #[zbus(property)]
    fn listening(&self) -> Vec<String> {
        self.daemon.listening()
    }
}
