//! `org.freedesktop.NetworkManager.VPN.Plugin`: what NetworkManager calls. Each call is answered at once, and what it
//! asks for is done by [`crate::bridge`].

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use adit_core::{Failure, FailureCode, Step};
use adit_dbus_api::{ConnectionRow, ManagerProxy};
use tokio::sync::mpsc;
use tracing::{debug, warn};
use zbus::object_server::SignalEmitter;
use zbus::{Connection, DBusError, OwnedVariant, interface};

use crate::config::Words;
use crate::draft::Draft;
use crate::settings::{Dictionary, Settings};

/// Where the object is.
pub(crate) const PATH: &str = "/org/freedesktop/NetworkManager/VPN/Plugin";
/// Calls that wait to be carried out; NetworkManager has one or two at a time.
pub(crate) const MOST_CALLS: usize = 16;

/// NMVpnServiceState.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum State {
    Init = 1,
    Starting = 3,
    Started = 4,
    Stopping = 5,
    Stopped = 6,
}

/// NMVpnPluginFailure: all that NetworkManager can show of a reason.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Reason {
    Login = 0,
    Connect = 1,
    BadConfig = 2,
}

impl Reason {
    /// The nearest that there is. ("Invalid secrets" is what a person reads of the first one.)
    pub(crate) const fn of(code: FailureCode) -> Self {
        match code {
            FailureCode::AuthenticationFailed | FailureCode::NoSecret => Self::Login,
            FailureCode::NoAddress | FailureCode::ConfigurationInvalid => Self::BadConfig,
            _ => Self::Connect,
        }
    }
}

/// Something that NetworkManager wants.
pub(crate) enum Call {
    /// A connection; whether somebody is there who can be asked.
    Connect(Box<Settings>, bool),
    /// It asks what is missing: a person may be at work.
    Asked,
    /// Secrets that were asked for, among the whole connection.
    Secrets(Box<Settings>),
    /// No connection any more.
    Disconnect,
}

/// An error of the interface, as a bus knows it. NetworkManager writes its text to its log and nowhere else.
#[derive(Debug, DBusError)]
#[zbus(prefix = "org.freedesktop.NetworkManager.VPN.Error")]
pub(crate) enum PluginError {
    #[zbus(error)]
    Bus(zbus::Error),
    /// It has a connection, or is through with one.
    WrongState(String),
    /// What it is given makes no sense.
    BadArguments(String),
    /// The connection has a mistake.
    InvalidConnection(String),
}

/// The object.
pub(crate) struct Plugin {
    pub(crate) state: Arc<AtomicU32>,
    pub(crate) calls: mpsc::Sender<Call>,
}

impl Plugin {
    fn call(&self, call: Call) -> Result<(), PluginError> {
        self.calls.try_send(call).map_err(|_| PluginError::WrongState("nothing is done any more".into()))
    }

    fn begin(&self, connection: &Dictionary, interactive: bool) -> Result<(), PluginError> {
        if self.state.load(Ordering::Relaxed) != State::Init as u32 {
            return Err(PluginError::WrongState("this process has its connection".into()));
        }
        self.call(Call::Connect(Box::new(read(connection)?), interactive))
    }
}

fn read(connection: &Dictionary) -> Result<Settings, PluginError> {
    Settings::read(connection).map_err(|failure| PluginError::BadArguments(failure.text))
}

/// Whether a connection of that name is up or on its way there: nobody is asked for secrets then.
async fn stands(bus: &Connection, name: &str) -> bool {
    let rows = async { ManagerProxy::new(bus).await?.list_connections().await };
    let is_it = |row: &ConnectionRow| row.profile == name && !row.is_client_of_ours() && row.lives();
    rows.await.is_ok_and(|rows| rows.iter().any(is_it))
}

#[interface(name = "org.freedesktop.NetworkManager.VPN.Plugin")]
impl Plugin {
    fn connect(&self, connection: Dictionary) -> Result<(), PluginError> {
        self.begin(&connection, false)
    }

    fn connect_interactive(
        &self,
        connection: Dictionary,
        _details: HashMap<String, OwnedVariant>,
    ) -> Result<(), PluginError> {
        self.begin(&connection, true)
    }

    /// The setting that lacks secrets (`vpn`), or none.
    async fn need_secrets(
        &self,
        settings: Dictionary,
        #[zbus(connection)] bus: &Connection,
    ) -> Result<String, PluginError> {
        self.call(Call::Asked)?;
        let draft = Draft::asking(&read(&settings)?).map_err(|failure| {
            warn!(hint = failure.hint.as_deref().unwrap_or(""), "{failure}");
            PluginError::InvalidConnection(failure.text)
        })?;
        debug!(missing = ?draft.missing, "secrets");
        let nothing = draft.missing.is_empty() || stands(bus, &draft.name).await;
        Ok(if nothing { String::new() } else { "vpn".to_owned() })
    }

    fn new_secrets(&self, connection: Dictionary) -> Result<(), PluginError> {
        self.call(Call::Secrets(Box::new(read(&connection)?)))
    }

    fn disconnect(&self) -> Result<(), PluginError> {
        self.call(Call::Disconnect)
    }

    // Helpers of other plugins report by these. Ours has none, and NetworkManager does not call them.

    fn set_config(&self, _config: HashMap<String, OwnedVariant>) -> Result<(), PluginError> {
        Err(only_the_daemon())
    }

    #[zbus(name = "SetIp4Config")]
    fn set_ip4_config(&self, _config: HashMap<String, OwnedVariant>) -> Result<(), PluginError> {
        Err(only_the_daemon())
    }

    #[zbus(name = "SetIp6Config")]
    fn set_ip6_config(&self, _config: HashMap<String, OwnedVariant>) -> Result<(), PluginError> {
        Err(only_the_daemon())
    }

    fn set_failure(&self, _reason: &str) -> Result<(), PluginError> {
        Err(only_the_daemon())
    }

    #[zbus(property(emits_changed_signal = "false"))]
    fn state(&self) -> u32 {
        self.state.load(Ordering::Relaxed)
    }

    #[zbus(signal)]
    pub(crate) async fn state_changed(emitter: &SignalEmitter<'_>, state: u32) -> zbus::Result<()>;

    #[zbus(signal)]
    pub(crate) async fn secrets_required(
        emitter: &SignalEmitter<'_>,
        message: &str,
        secrets: &[&str],
    ) -> zbus::Result<()>;

    #[zbus(signal)]
    pub(crate) async fn config(emitter: &SignalEmitter<'_>, config: Words) -> zbus::Result<()>;

    #[zbus(signal, name = "Ip4Config")]
    pub(crate) async fn ip4_config(emitter: &SignalEmitter<'_>, config: Words) -> zbus::Result<()>;

    #[zbus(signal, name = "Ip6Config")]
    pub(crate) async fn ip6_config(emitter: &SignalEmitter<'_>, config: Words) -> zbus::Result<()>;

    #[zbus(signal)]
    pub(crate) async fn login_banner(emitter: &SignalEmitter<'_>, banner: &str) -> zbus::Result<()>;

    #[zbus(signal)]
    pub(crate) async fn failure(emitter: &SignalEmitter<'_>, reason: u32) -> zbus::Result<()>;
}

fn only_the_daemon() -> PluginError {
    PluginError::WrongState("what a connection is like is what aditd says".into())
}

/// What NetworkManager hears, and what is kept of it.
pub(crate) struct Voice {
    emitter: SignalEmitter<'static>,
    state: Arc<AtomicU32>,
}

impl Voice {
    pub(crate) fn new(bus: &Connection, state: &Arc<AtomicU32>) -> zbus::Result<Self> {
        Ok(Self { emitter: SignalEmitter::new(bus, PATH)?, state: Arc::clone(state) })
    }

    /// Passes to a state, and says so, unless it is in it.
    pub(crate) async fn state(&self, state: State) {
        if self.state.swap(state as u32, Ordering::Relaxed) != state as u32 {
            heard(Plugin::state_changed(&self.emitter, state as u32).await);
        }
    }

    pub(crate) fn is(&self, state: State) -> bool {
        self.state.load(Ordering::Relaxed) == state as u32
    }

    pub(crate) async fn config(&self, told: &crate::config::Told) {
        heard(Plugin::config(&self.emitter, told.config()).await);
        if let Some(v4) = told.v4() {
            heard(Plugin::ip4_config(&self.emitter, v4).await);
        }
        if let Some(v6) = told.v6() {
            heard(Plugin::ip6_config(&self.emitter, v6).await);
        }
    }

    pub(crate) async fn asks(&self, message: &str, secret: &str) {
        heard(Plugin::secrets_required(&self.emitter, message, &[secret]).await);
    }

    pub(crate) async fn failed(&self, reason: Reason) {
        heard(Plugin::failure(&self.emitter, reason as u32).await);
    }
}

/// Where the bus is gone, the process ends for that reason.
fn heard(said: zbus::Result<()>) {
    if let Err(error) = said {
        debug!(%error, "not said");
    }
}

/// A failure of the bridge's own.
pub(crate) fn broken(text: impl Into<String>) -> Failure {
    Failure::new(FailureCode::Internal, Step::Profile, text)
}
