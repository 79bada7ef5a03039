//! `org.adit1.Manager`.

use std::collections::HashMap;
use std::sync::Arc;

use adit_dbus_api::{ApiError, DoctorCheck};
use zbus::message::Header;
use zbus::{Connection, OwnedObjectPath, OwnedVariant, interface};

use super::gate::Gate;
use super::objects::connection_path;
use crate::daemon::Daemon;

pub(crate) struct ManagerObject {
    pub(super) daemon: Arc<Daemon>,
    pub(super) gate: Gate,
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
        Ok(connection_path(self.daemon.up(profile).await?))
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
        Ok(connection_path(self.daemon.up_content(name, toml).await?))
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
