//! What the files say: read, and carried out.

use std::sync::Arc;

use adit_core::Failure;
use adit_profile::TunnelKind;

use super::always::Follow;
use super::{Daemon, lock};

impl Daemon {
    /// Reads the profiles and `server.toml` again. Standing connections of ours stay.
    ///
    /// # Errors
    /// See [`Daemon::carry_out`].
    pub async fn reload(self: &Arc<Self>) -> Result<(), Failure> {
        self.read_profiles();
        self.carry_out().await
    }

    /// Reads the profiles, for those who ask which there are.
    pub fn read_profiles(&self) {
        *lock(&self.profiles) = self.files.profiles().into_iter().map(Arc::new).collect();
        self.registry.profiles_changed();
    }

    /// Does what the profiles that were read, and `server.toml`, say of when nobody asks.
    ///
    /// # Errors
    /// `server.toml` has mistakes or cannot be carried out; the server that ran goes on.
    pub async fn carry_out(self: &Arc<Self>) -> Result<(), Failure> {
        let blocked = self.block_always(&self.profiles(), Follow::Local).await;
        if self.settings.foreground {
            return blocked;
        }
        let result = self.reload_server().await;
        lock(&self.server_facts).problem = result.as_ref().err().cloned();
        let result = blocked.and(result);
        // The server has its ports first: a client takes others where it must.
        self.dial_at_boot().await;
        result
    }

    /// A server whose configuration is the same goes on undisturbed.
    async fn reload_server(self: &Arc<Self>) -> Result<(), Failure> {
        let config = self.files.server()?;
        let dynamic = config.as_ref().and_then(|(config, _)| config.aaa.dynamic_port);
        for kind in [TunnelKind::Pptp, TunnelKind::Sstp, TunnelKind::L2tp] {
            self.reload_ppp(kind, config.as_ref()).await?;
        }
        // A configuration may be of these alone.
        let config = config.filter(|(config, _)| !config.connections.is_empty());
        self.reload_ikev2(config).await?;
        self.radius.listen(dynamic).await
    }
}
