use std::collections::HashMap;
use std::num::NonZeroUsize;

use zbus::names::OwnedInterfaceName;
use zbus::{
    Connection, MatchRule, MessageStream, OwnedFd, OwnedObjectPath, OwnedVariant, Variant, message, proxy,
};

use crate::names;
use crate::row::{ConnectionRow, LogEntry};
use crate::status::{ChildParts, DoctorCheck, LastErrorParts, MoveParts, TriedParts, WantedParts};

/// What an object says on each of its interfaces.
pub type Introduced = HashMap<OwnedInterfaceName, HashMap<String, OwnedVariant>>;

/// `org.adit1.Manager`.
#[proxy(interface = "org.adit1.Manager", default_service = "org.adit1", default_path = "/org/adit1/manager")]
pub trait Manager {
    /// Raises the profile of that name; gives the connection's path at once.
    fn up(&self, profile: &str, options: HashMap<&str, Variant<'_>>) -> zbus::Result<OwnedObjectPath>;

    /// Raises a profile that is no file of the daemon's: `toml` is its content.
    fn up_content(
        &self,
        name: &str,
        toml: &str,
        options: HashMap<&str, Variant<'_>>,
    ) -> zbus::Result<OwnedObjectPath>;

    /// Reads the profiles and `server.toml` again, and carries out what changed.
    fn reload(&self) -> zbus::Result<()>;

    /// Every connection, a row each, by number.
    fn list_connections(&self) -> zbus::Result<Vec<ConnectionRow>>;

    /// The path of a connection whose object stands from now on, on this D-Bus connection.
    fn get_connection(&self, number: u64) -> zbus::Result<OwnedObjectPath>;

    /// What happened to the connections of that name, oldest first, later than the line of that number.
    fn log(&self, name: &str, after: u64) -> zbus::Result<Vec<LogEntry>>;

    /// Checks what Adit needs of this host.
    fn doctor(&self) -> zbus::Result<Vec<DoctorCheck>>;

    /// Checks the profile of that name against its servers as they are now, without logging in, and this host for it.
    fn diagnose(&self, profile: &str) -> zbus::Result<Vec<DoctorCheck>>;

    /// The same of a profile that is no file of the daemon's: `toml` is its content.
    fn diagnose_content(&self, name: &str, toml: &str) -> zbus::Result<Vec<DoctorCheck>>;

    /// A D-Bus connection of the caller's own, peer to peer, without proving anything (`ANONYMOUS`): it has the objects that
    /// the caller may see.
    fn open(&self) -> zbus::Result<OwnedFd>;

    /// The daemon's version.
    #[zbus(property(emits_changed_signal = "const"))]
    fn version(&self) -> zbus::Result<String>;

    /// The addresses and ports that the server listens on; empty without one.
    #[zbus(property)]
    fn listening(&self) -> zbus::Result<Vec<String>>;

    /// Whether the daemon is on its way down, and takes its connections along.
    #[zbus(property(emits_changed_signal = "false"))]
    fn stopping(&self) -> zbus::Result<bool>;
}

/// `org.adit1.Profile`.
#[proxy(interface = "org.adit1.Profile", default_service = "org.adit1", assume_defaults = false)]
pub trait Profile {
    /// Its name.
    #[zbus(property(emits_changed_signal = "const"))]
    fn name(&self) -> zbus::Result<String>;

    /// The server's name or address; empty if the profile has a mistake.
    #[zbus(property)]
    fn server(&self) -> zbus::Result<String>;

    /// How we prove ourselves: `psk`, `certificate`.
    #[zbus(property)]
    fn auth(&self) -> zbus::Result<String>;

    /// What goes into the tunnel: `full`, `split`.
    #[zbus(property)]
    fn tunnel(&self) -> zbus::Result<String>;

    /// Mistakes: code, `file:line:column`, text, hint. Empty if the profile is valid.
    #[zbus(property)]
    fn problems(&self) -> zbus::Result<Vec<(String, String, String, String)>>;

    /// Key, value, and whether it is a default. Secrets are `(hidden)`.
    #[zbus(property)]
    fn settings(&self) -> zbus::Result<Vec<(String, String, bool)>>;

    /// Its connection, or `/`.
    #[zbus(property)]
    fn connection(&self) -> zbus::Result<OwnedObjectPath>;
}

/// `org.adit1.Connection`.
#[proxy(interface = "org.adit1.Connection", default_service = "org.adit1", assume_defaults = false)]
pub trait Connection {
    /// Takes it down; returns when nothing of it is left.
    fn down(&self) -> zbus::Result<()>;

    /// Has keys replaced now: `ike` (the IKE_SA), `child` (every CHILD_SA), `all`. Returns how many SAs were asked for; the
    /// property `Rekeys` counts those that are done.
    fn rekey(&self, which: &str) -> zbus::Result<u32>;

    /// What the kernel counted: `bytes-in`, `bytes-out`, `packets-in`, `packets-out`.
    fn statistics(&self) -> zbus::Result<HashMap<String, u64>>;

    /// Hands over a secret that the connection waits for. There is no way to read one back.
    fn provide_secret(&self, field: &str, value: &[u8]) -> zbus::Result<()>;

    /// A step, as a person reads it.
    #[zbus(signal)]
    fn progress(&self, step: &str, text: &str) -> zbus::Result<()>;

    /// The peer does not have keys replaced: what it said, and what that means, as `last_error` has it.
    #[zbus(signal)]
    fn rekey_refused(&self, why: LastErrorParts) -> zbus::Result<()>;

    /// The state changed, and why. (In Rust not `state_changed`, which the property `State` has taken.)
    #[zbus(signal, name = "StateChanged")]
    fn transition(&self, old: &str, new: &str, reason: &str) -> zbus::Result<()>;

    /// The profile's name, or on a server the `[[connection]]`'s.
    #[zbus(property(emits_changed_signal = "const"))]
    fn profile(&self) -> zbus::Result<String>;

    /// `client` or `server`.
    #[zbus(property(emits_changed_signal = "const"))]
    fn role(&self) -> zbus::Result<String>;

    /// `standby`, `connecting`, `connected`, `disconnecting`, `disconnected`, `failed`.
    #[zbus(property)]
    fn state(&self) -> zbus::Result<String>;

    /// The step it is at; adit_core's word.
    #[zbus(property)]
    fn step(&self) -> zbus::Result<String>;

    /// When it came into its state: seconds since 1970-01-01 UTC.
    #[zbus(property)]
    fn since(&self) -> zbus::Result<u64>;

    /// The server's name as dialled; on a server empty.
    #[zbus(property)]
    fn server(&self) -> zbus::Result<String>;

    /// Our `address:port` of the tunnel's own packets.
    #[zbus(property)]
    fn local_endpoint(&self) -> zbus::Result<String>;

    /// The peer's.
    #[zbus(property)]
    fn remote_endpoint(&self) -> zbus::Result<String>;

    /// Whether ESP goes in UDP.
    #[zbus(property)]
    fn encapsulated(&self) -> zbus::Result<bool>;

    /// The tunnel's interface.
    #[zbus(property)]
    fn interface(&self) -> zbus::Result<String>;

    /// Addresses in the tunnel: a client's own, or on a server those that the client got.
    #[zbus(property)]
    fn addresses(&self) -> zbus::Result<Vec<String>>;

    /// DNS servers that the peer gave.
    #[zbus(property)]
    fn dns(&self) -> zbus::Result<Vec<String>>;

    /// The domains that those servers are for (RFC 8598); empty: nothing was said of that.
    #[zbus(property)]
    fn dns_domains(&self) -> zbus::Result<Vec<String>>;

    /// Those of them that did not answer when they were asked last.
    #[zbus(property)]
    fn dns_silent(&self) -> zbus::Result<Vec<String>>;

    /// What goes into the tunnel: networks.
    #[zbus(property)]
    fn routes(&self) -> zbus::Result<Vec<String>>;

    /// Who the peer has proven to be.
    #[zbus(property)]
    fn remote_identity(&self) -> zbus::Result<String>;

    /// Who we said we are.
    #[zbus(property)]
    fn local_identity(&self) -> zbus::Result<String>;

    /// What carries it, or is to: `ikev2`, `pptp`, `sstp`, `l2tp`.
    #[zbus(property)]
    fn tunnel(&self) -> zbus::Result<String>;

    /// What was tried before, and came to nothing: type of tunnel, address, kind of failure, and what happened.
    #[zbus(property)]
    fn tried(&self) -> zbus::Result<Vec<TriedParts>>;

    /// The IKE_SA's algorithms, in strongSwan's notation; of a PPP link, how who dialled has proven themselves.
    #[zbus(property)]
    fn ike_suite(&self) -> zbus::Result<String>;

    /// The CHILD_SA's; of a PPP link, what encrypts its packets.
    #[zbus(property)]
    fn esp_suite(&self) -> zbus::Result<String>;

    /// Whether it goes on from a session that was lost (RFC 5723).
    #[zbus(property)]
    fn resumed(&self) -> zbus::Result<bool>;

    /// The gateway in use.
    #[zbus(property)]
    fn gateway(&self) -> zbus::Result<String>;

    /// The CHILD_SAs.
    #[zbus(property)]
    fn children(&self) -> zbus::Result<Vec<ChildParts>>;

    /// Algorithms in use that can be broken.
    #[zbus(property)]
    fn legacy(&self) -> zbus::Result<Vec<String>>;

    /// How often keys were replaced.
    #[zbus(property)]
    fn rekeys(&self) -> zbus::Result<u64>;

    /// When keys are to be replaced next, at the latest.
    #[zbus(property)]
    fn next_rekey(&self) -> zbus::Result<u64>;
    /// The link that it goes over.
    #[zbus(property)]
    fn uplink(&self) -> zbus::Result<String>;
    /// The paths that it went over to, the newest last.
    #[zbus(property)]
    fn moves(&self) -> zbus::Result<Vec<MoveParts>>;

    /// The secret that a person is asked for: field, what to show, why. An empty field: none.
    #[zbus(property)]
    fn wanted_secret(&self) -> zbus::Result<WantedParts>;

    /// The last failure: code, text, hint, details (`step`, `peer`). An empty code: none.
    #[zbus(property)]
    fn last_error(&self) -> zbus::Result<LastErrorParts>;
}

/// `org.freedesktop.DBus.ObjectManager` at [`names::ROOT`].
#[proxy(
    interface = "org.freedesktop.DBus.ObjectManager",
    default_service = "org.adit1",
    default_path = "/org/adit1"
)]
pub trait ObjectManager {
    /// Every object below, with its interfaces and their properties.
    fn get_managed_objects(&self) -> zbus::Result<HashMap<OwnedObjectPath, Introduced>>;
}

/// Every signal of every object below [`names::ROOT`], from now on: subscribe before calling `Up`, and nothing is lost.
///
/// # Errors
/// The bus refuses the match rule, or is gone.
pub async fn signals(connection: &Connection) -> zbus::Result<MessageStream> {
    let mut rule = MatchRule::builder().msg_type(message::Type::Signal).path_namespace(names::ROOT);
    if connection.is_bus() {
        rule = rule.sender(names::BUS);
    }
    MessageStream::for_match_rule(rule.build()?, connection, NonZeroUsize::new(1024)).await
}
