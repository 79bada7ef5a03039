use std::collections::HashMap;

use adit_core::{Failure, FailureCode, Step};
use serde::{Deserialize, Serialize};
use zbus::{DeserializeDict, OwnedObjectPath, OwnedVariant, SerializeDict, Type, Variant};

/// Properties of one interface of one object, by name.
pub type Properties = HashMap<String, OwnedVariant>;

/// `LastError` on the wire: code, text, hint, details. An empty code: no error.
pub type LastErrorParts = (String, String, String, HashMap<String, OwnedVariant>);

/// `WantedSecret` on the wire: the field that `ProvideSecret` takes (`password`, `new-password`, `code`, `pin`), what to show in
/// front of the place to type it, and why it is asked for. An empty field: nothing is.
pub type WantedParts = (String, String, String);

/// A CHILD_SA on the wire: name (empty: the first one), mode, algorithms, our side and the peer's side of the traffic
/// selectors.
pub type ChildParts = (String, String, String, Vec<String>, Vec<String>);

/// A move on the wire: when (seconds since 1970-01-01 UTC), over which link, from where, to where.
pub type MoveParts = (u64, String, String, String);

/// What came to nothing, where there are several types of tunnel, on the wire: the type, the server's address, the kind of
/// failure, and what happened.
pub type TriedParts = (String, String, String, String);

macro_rules! words {
    ($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $word:literal,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
        #[serde(rename_all = "lowercase")]
        pub enum $name { $($(#[$doc])* $variant,)* }

        impl $name {
            /// The word on the wire.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }

            /// The value that `word` stands for.
            #[must_use]
            pub fn from_word(word: &str) -> Option<Self> {
                [$(Self::$variant,)*].into_iter().find(|v| v.as_str() == word)
            }
        }
    };
}

words! {
    /// Where a connection is in its life.
    ConnectionState {
        /// Raised by the first packet that wants it.
        Standby = "standby",
        /// On its way up.
        Connecting = "connecting",
        /// Up.
        Connected = "connected",
        /// Up, and on its way to another path, which has not answered yet.
        Waiting = "waiting",
        /// Up, and without a path.
        Dormant = "dormant",
        /// On its way down.
        Disconnecting = "disconnecting",
        /// Down, because somebody wanted it.
        Disconnected = "disconnected",
        /// Down, because something failed: `LastError` says what.
        Failed = "failed",
    }
}

words! {
    /// Which side we are.
    Role {
        /// We dialled.
        Client = "client",
        /// The peer dialled.
        Server = "server",
    }
}

words! {
    /// How a check went.
    DoctorStatus {
        /// As it should be.
        Ok = "ok",
        /// Works, but not as well as it could.
        Warn = "warn",
        /// Something will not work.
        Fail = "fail",
    }
}

/// A connection's properties at one moment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConnectionStatus {
    /// Its object.
    pub path: String,
    /// The profile's name.
    pub profile: String,
    /// Which side we are.
    pub role: Role,
    /// Its state.
    pub state: ConnectionState,
    /// The step it is at.
    pub step: String,
    /// Seconds since 1970-01-01 UTC at which it came into its state.
    pub since: u64,
    /// The server as dialled.
    pub server: String,
    /// Our `address:port`.
    pub local_endpoint: String,
    /// The peer's `address:port`.
    pub remote_endpoint: String,
    /// ESP in UDP.
    pub encapsulated: bool,
    /// The interface.
    pub interface: String,
    /// Addresses in the tunnel.
    pub addresses: Vec<String>,
    /// DNS servers from the peer.
    pub dns: Vec<String>,
    /// The domains that those servers are for; empty: nothing was said of that.
    pub dns_domains: Vec<String>,
    /// Those of the servers that did not answer when they were asked last.
    pub dns_silent: Vec<String>,
    /// Networks in the tunnel.
    pub routes: Vec<String>,
    /// Who the peer is.
    pub remote_identity: String,
    /// Who we are.
    pub local_identity: String,
    /// What carries it, or is to: `ikev2`, `pptp`, `sstp`, `l2tp`.
    pub tunnel: String,
    /// What was tried before, and came to nothing.
    pub tried: Vec<TriedParts>,
    /// The IKE_SA's algorithms; of a PPP link, how who dialled has proven themselves.
    pub ike_suite: String,
    /// The CHILD_SA's algorithms; of a PPP link, what encrypts its packets.
    pub esp_suite: String,
    /// It goes on from a session that was lost: nobody was asked to prove anything again (RFC 5723).
    pub resumed: bool,
    /// The gateway in use, of those that the profile names.
    pub gateway: String,
    /// CHILD_SAs, the first one first.
    pub children: Vec<ChildParts>,
    /// Algorithms in use that can be broken: an old peer's, by `legacy = true`.
    pub legacy: Vec<String>,
    /// How often keys were replaced.
    pub rekeys: u64,
    /// When keys are to be replaced next, at the latest: seconds since 1970-01-01 UTC; 0: not known, or never.
    pub next_rekey: u64,
    /// The link that it goes over.
    pub uplink: String,
    /// The paths that it went over to, the newest last.
    pub moves: Vec<MoveParts>,
    /// The secret that a person is asked for.
    pub wanted_secret: Option<WantedParts>,
    /// The last failure.
    pub last_error: Option<Failure>,
}

impl ConnectionStatus {
    /// From `GetManagedObjects` or `GetAll`. What is missing is empty; an unknown state counts as connecting.
    #[must_use]
    pub fn from_properties(path: &str, properties: &Properties) -> Self {
        let p = Reader(properties);
        Self {
            path: path.to_owned(),
            profile: p.text("Profile"),
            role: Role::from_word(&p.text("Role")).unwrap_or(Role::Client),
            state: ConnectionState::from_word(&p.text("State")).unwrap_or(ConnectionState::Connecting),
            step: p.text("Step"),
            since: p.read("Since").unwrap_or(0),
            server: p.text("Server"),
            local_endpoint: p.text("LocalEndpoint"),
            remote_endpoint: p.text("RemoteEndpoint"),
            encapsulated: p.read("Encapsulated").unwrap_or(false),
            interface: p.text("Interface"),
            addresses: p.read("Addresses").unwrap_or_default(),
            dns: p.read("Dns").unwrap_or_default(),
            dns_domains: p.read("DnsDomains").unwrap_or_default(),
            dns_silent: p.read("DnsSilent").unwrap_or_default(),
            routes: p.read("Routes").unwrap_or_default(),
            remote_identity: p.text("RemoteIdentity"),
            local_identity: p.text("LocalIdentity"),
            tunnel: p.text("Tunnel"),
            tried: p.read("Tried").unwrap_or_default(),
            ike_suite: p.text("IkeSuite"),
            esp_suite: p.text("EspSuite"),
            resumed: p.read("Resumed").unwrap_or(false),
            gateway: p.text("Gateway"),
            children: p.read("Children").unwrap_or_default(),
            legacy: p.read("Legacy").unwrap_or_default(),
            rekeys: p.read("Rekeys").unwrap_or(0),
            next_rekey: p.read("NextRekey").unwrap_or(0),
            uplink: p.text("Uplink"),
            moves: p.read("Moves").unwrap_or_default(),
            wanted_secret: p.read::<WantedParts>("WantedSecret").filter(|w| !w.0.is_empty()),
            last_error: p.read::<LastErrorParts>("LastError").and_then(|parts| failure_from_parts(&parts)),
        }
    }
}

/// One mistake of a profile.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Problem {
    /// A [`FailureCode`]'s word.
    pub code: String,
    /// `file:line:column`.
    pub place: String,
    /// What is wrong.
    pub text: String,
    /// What is allowed.
    pub hint: String,
}

/// One key of a profile.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SettingLine {
    /// The key.
    pub key: String,
    /// Its value in TOML's notation, or `(hidden)`.
    pub value: String,
    /// Whether the file does not say it.
    pub default: bool,
}

/// A profile's properties at one moment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ProfileSummary {
    /// Its object.
    pub path: String,
    /// Its name.
    pub name: String,
    /// The server; empty if the profile has a mistake.
    pub server: String,
    /// How we prove ourselves.
    pub auth: String,
    /// What goes into the tunnel.
    pub tunnel: String,
    /// Its mistakes.
    pub problems: Vec<Problem>,
    /// What it says, without secrets.
    pub settings: Vec<SettingLine>,
    /// The path of its connection.
    pub connection: Option<String>,
}

impl ProfileSummary {
    /// From `GetManagedObjects` or `GetAll`. What is missing is empty.
    #[must_use]
    pub fn from_properties(path: &str, properties: &Properties) -> Self {
        let p = Reader(properties);
        let problems: Vec<(String, String, String, String)> = p.read("Problems").unwrap_or_default();
        let settings: Vec<(String, String, bool)> = p.read("Settings").unwrap_or_default();
        let connection = p.read::<OwnedObjectPath>("Connection").map(|c| c.as_str().to_owned());
        Self {
            path: path.to_owned(),
            name: p.text("Name"),
            server: p.text("Server"),
            auth: p.text("Auth"),
            tunnel: p.text("Tunnel"),
            problems: problems
                .into_iter()
                .map(|(code, place, text, hint)| Problem { code, place, text, hint })
                .collect(),
            settings: settings
                .into_iter()
                .map(|(key, value, default)| SettingLine { key, value, default })
                .collect(),
            connection: connection.filter(|c| c != crate::names::NONE),
        }
    }
}

/// One check of `Doctor`.
#[derive(Clone, PartialEq, Eq, Debug, SerializeDict, DeserializeDict, Type)]
#[zbus(signature = "a{sv}")]
pub struct DoctorCheck {
    /// What is checked: a stable word (`module-xfrm-interface`).
    pub id: String,
    /// A [`DoctorStatus`]'s word.
    pub status: String,
    /// What was found.
    pub text: String,
    /// What to type; empty if nothing.
    pub hint: String,
}

/// What the kernel counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Traffic {
    /// Bytes that came out of the tunnel.
    pub bytes_in: u64,
    /// Bytes that went into it.
    pub bytes_out: u64,
    /// Packets that came out of it.
    pub packets_in: u64,
    /// Packets that went into it.
    pub packets_out: u64,
}

impl Traffic {
    /// As `Statistics` gives it.
    #[must_use]
    pub fn to_map(self) -> HashMap<String, u64> {
        let entries = [
            ("bytes-in", self.bytes_in),
            ("bytes-out", self.bytes_out),
            ("packets-in", self.packets_in),
            ("packets-out", self.packets_out),
        ];
        entries.into_iter().map(|(k, v)| (k.to_owned(), v)).collect()
    }

    /// From what `Statistics` gave; what is missing is 0.
    #[must_use]
    pub fn from_map(map: &HashMap<String, u64>) -> Self {
        let read = |key: &str| map.get(key).copied().unwrap_or(0);
        Self {
            bytes_in: read("bytes-in"),
            bytes_out: read("bytes-out"),
            packets_in: read("packets-in"),
            packets_out: read("packets-out"),
        }
    }
}

/// `LastError` of a failure, or of none.
#[must_use]
pub fn failure_to_parts(failure: Option<&Failure>) -> LastErrorParts {
    let Some(failure) = failure else {
        return LastErrorParts::default();
    };
    let mut details = HashMap::new();
    let mut detail = |key: &str, value: &str| {
        if let Ok(value) = OwnedVariant::try_from(Variant::from(value)) {
            details.insert(key.to_owned(), value);
        }
    };
    detail("step", failure.step.as_str());
    if let Some(peer) = &failure.peer {
        detail("peer", peer);
    }
    (
        failure.code.as_str().to_owned(),
        failure.text.clone(),
        failure.hint.clone().unwrap_or_default(),
        details,
    )
}

/// The failure that `LastError` tells of. A code that this version does not know counts as internal.
#[must_use]
pub fn failure_from_parts((code, text, hint, details): &LastErrorParts) -> Option<Failure> {
    if code.is_empty() {
        return None;
    }
    let p = Reader(details);
    let some = |s: String| (!s.is_empty()).then_some(s);
    Some(Failure {
        code: FailureCode::from_word(code).unwrap_or(FailureCode::Internal),
        step: Step::from_word(&p.text("step")).unwrap_or(Step::Established),
        text: text.clone(),
        peer: some(p.text("peer")),
        hint: some(hint.clone()),
    })
}

struct Reader<'p>(&'p Properties);

impl Reader<'_> {
    fn read<T: TryFrom<OwnedVariant>>(&self, name: &str) -> Option<T> {
        T::try_from(self.0.get(name)?.try_clone().ok()?).ok()
    }

    fn text(&self, name: &str) -> String {
        self.read(name).unwrap_or_default()
    }
}
