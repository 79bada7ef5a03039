//! A service of `org.adit1`'s shape on a private socket, and the binary that calls it.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::sync::Arc;

use adit_core::{Failure, FailureCode, Step};
use adit_dbus_api::{
    ApiError, ConnectionRow, DoctorCheck, LastErrorParts, LogEntry, failure_to_parts, names,
};
use tokio::process::Command;
use tokio::sync::{Mutex, Notify};
use zbus::object_server::SignalEmitter;
use zbus::{Guid, ObjectServer, OwnedObjectPath, OwnedVariant, connection, fdo, interface};

struct Manager {
    downs: Arc<Notify>,
    looked: Arc<Notify>,
}

#[interface(name = "org.adit1.Manager")]
impl Manager {
    async fn up(
        &self,
        profile: &str,
        options: HashMap<String, OwnedVariant>,
        #[zbus(object_server)] server: &ObjectServer,
    ) -> Result<OwnedObjectPath, ApiError> {
        assert!(options.is_empty());
        match profile {
            "nobody" => {
                Err(Failure::new(FailureCode::NotFound, Step::Profile, "there is no profile nobody").into())
            }
            "closed" => {
                let failure =
                    Failure::new(FailureCode::NotAuthorized, Step::Profile, "you may not raise connections");
                Err(failure.hint("join the group adit").into())
            }
            _ => Ok(self.begin(profile, server).await),
        }
    }

    async fn up_content(
        &self,
        name: &str,
        toml: &str,
        options: HashMap<String, OwnedVariant>,
        #[zbus(object_server)] server: &ObjectServer,
    ) -> Result<OwnedObjectPath, ApiError> {
        assert!(toml.contains("psk-file = \"corp.psk\"") && options.is_empty());
        Ok(self.begin(name, server).await)
    }

    fn reload(&self) {}

    async fn list_connections(&self, #[zbus(object_server)] server: &ObjectServer) -> Vec<ConnectionRow> {
        let mut rows = Vec::new();
        for number in [1, 9] {
            let path = format!("{}/{number}", names::CONNECTIONS);
            let Ok(tunnel) = server.interface::<_, Tunnel>(path.as_str()).await else { continue };
            let tunnel = tunnel.get().await;
            rows.push(ConnectionRow {
                number,
                profile: tunnel.profile.clone(),
                role: "client".into(),
                state: tunnel.state.into(),
                since: 0,
                interface: "adit0".into(),
                addresses: vec!["172.23.91.1/32".into()],
                remote_endpoint: "198.51.100.1:4500".into(),
                remote_identity: String::new(),
            });
        }
        self.looked.notify_one();
        rows
    }

    fn get_connection(&self, number: u64) -> OwnedObjectPath {
        OwnedObjectPath::try_from(format!("{}/{number}", names::CONNECTIONS)).unwrap()
    }

    fn log(&self, name: &str, after: u64) -> Vec<LogEntry> {
        let entry = |sequence: u64, event: &str, text: &str| LogEntry {
            sequence,
            at: 1_795_174_807,
            connection: 9,
            event: event.into(),
            step: "resolve".into(),
            reason: String::new(),
            text: text.into(),
            peer: String::new(),
            hint: String::new(),
        };
        let all = [entry(1, "connecting", ""), entry(2, "progress", "IKEv2: resolving vpn.example.com")];
        all.into_iter().filter(|entry| name == "home" && entry.sequence > after).collect()
    }

    fn doctor(&self) -> Vec<DoctorCheck> {
        let check = |id: &str, status: &str, text: &str, hint: &str| DoctorCheck {
            id: id.into(),
            status: status.into(),
            text: text.into(),
            hint: hint.into(),
        };
        vec![
            check("module-xfrm-interface", "ok", "the kernel has xfrm interfaces", ""),
            check("module-esp6", "fail", "the kernel has no ESP for IPv6", "modprobe esp6"),
        ]
    }

    /// By every type of tunnel, if the server is not the silent one.
    fn diagnose_content(&self, _name: &str, toml: &str) -> Vec<DoctorCheck> {
        let status = if toml.contains("silent") { "fail" } else { "ok" };
        let check = |kind: &str| DoctorCheck {
            id: format!("tunnel-{kind}"),
            status: status.into(),
            text: format!("{kind}: {status}"),
            hint: String::new(),
        };
        ["ikev2", "sstp", "pptp"].map(check).into()
    }

    fn diagnose(&self, profile: &str) -> Result<Vec<DoctorCheck>, ApiError> {
        match profile {
            "corp" => Ok(vec![DoctorCheck {
                id: "tunnel-ikev2".into(),
                status: "ok".into(),
                text: "IKEv2 to 203.0.113.1 answers".into(),
                hint: String::new(),
            }]),
            _ => Err(Failure::new(FailureCode::NotFound, Step::Profile, "there is no such profile").into()),
        }
    }

    #[zbus(property(emits_changed_signal = "const"))]
    fn version(&self) -> String {
        "0.1.0".into()
    }

    #[zbus(property)]
    fn listening(&self) -> Vec<String> {
        vec![]
    }
}

impl Manager {
    /// `corp` comes up after its path is known; `quick` before; `bad` fails; `slow` never ends.
    async fn begin(&self, profile: &str, server: &ObjectServer) -> OwnedObjectPath {
        let path = format!("{}/1", names::CONNECTIONS);
        let tunnel = Tunnel {
            profile: profile.into(),
            state: "connecting",
            error: None,
            downs: self.downs.clone(),
            rekeys: 0,
        };
        server.at(path.as_str(), tunnel).await.unwrap();
        let tunnel = server.interface::<_, Tunnel>(path.as_str()).await.unwrap();
        if profile.starts_with("asks") {
            // In its properties when its path is known; the signal comes before, or later than the answer.
            if profile == "asks-early" {
                tunnel.get().await.wanted_secret_changed(tunnel.signal_emitter()).await.unwrap();
            }
            return OwnedObjectPath::try_from(path).unwrap();
        }
        if profile == "quick" {
            live(profile, &tunnel).await;
        } else {
            let profile = profile.to_owned();
            tokio::spawn(async move { live(&profile, &tunnel).await });
        }
        OwnedObjectPath::try_from(path).unwrap()
    }
}

async fn live(profile: &str, tunnel: &zbus::object_server::InterfaceRef<Tunnel>) {
    let emitter = tunnel.signal_emitter();
    Tunnel::progress(emitter, "resolve", "IKEv2: resolving vpn.example.com").await.unwrap();
    Tunnel::progress(emitter, "authenticate", "IKEv2: authenticating").await.unwrap();
    let failure =
        Failure::new(FailureCode::AuthenticationFailed, Step::Authenticate, "the server refused us")
            .said("AUTHENTICATION_FAILED")
            .hint("check psk-file");
    let (new, error) = match profile {
        "slow" => return,
        "bad" => ("failed", Some(failure)),
        _ => ("connected", None),
    };
    if error.is_none() {
        let text = "kernel: tunnel up on adit0, 172.23.91.1";
        Tunnel::progress(emitter, "established", text).await.unwrap();
    }
    let reason = error.as_ref().map_or("", |e| e.code.as_str());
    {
        let mut inner = tunnel.get_mut().await;
        (inner.state, inner.error) = (new, error.clone());
    }
    Tunnel::transition(emitter, "connecting", new, reason).await.unwrap();
}

pub(crate) struct Tunnel {
    pub(crate) profile: String,
    pub(crate) state: &'static str,
    pub(crate) error: Option<Failure>,
    pub(crate) downs: Arc<Notify>,
    pub(crate) rekeys: u64,
}

#[interface(name = "org.adit1.Connection")]
impl Tunnel {
    fn down(&mut self) {
        self.state = "disconnected";
        self.downs.notify_one();
    }
    async fn provide_secret(
        &mut self,
        field: &str,
        secret: &[u8],
        #[zbus(signal_emitter)] emitter: SignalEmitter<'_>,
    ) {
        assert_eq!((field, secret), ("password", &b"open sesame"[..]));
        if self.profile == "asks-late" {
            self.wanted_secret_changed(&emitter).await.unwrap();
        }
        self.profile = "answered".into();
        self.wanted_secret_changed(&emitter).await.unwrap();
        self.state = "connected";
        Self::transition(&emitter, "connecting", "connected", "").await.unwrap();
    }
    /// `home` has two SAs, whose keys are replaced one after the other; the peer refuses to have the IKE_SA's replaced.
    async fn rekey(&mut self, which: &str, #[zbus(signal_emitter)] emitter: SignalEmitter<'_>) -> u32 {
        if which == "ike" {
            let why = Failure::new(FailureCode::ProposalMismatch, Step::Established, "the peer refused it")
                .said("NO_PROPOSAL_CHOSEN");
            Self::rekey_refused(&emitter, failure_to_parts(Some(&why))).await.unwrap();
            return 1;
        }
        for _ in 0..2 {
            self.rekeys += 1;
            self.rekeys_changed(&emitter).await.unwrap();
        }
        2
    }
    fn statistics(&self) -> HashMap<String, u64> {
        HashMap::from([("bytes-in".into(), 2048), ("packets-in".into(), 3)])
    }
    #[zbus(signal)]
    pub(crate) async fn progress(emitter: &SignalEmitter<'_>, step: &str, text: &str) -> zbus::Result<()>;
    #[zbus(signal)]
    async fn rekey_refused(emitter: &SignalEmitter<'_>, why: LastErrorParts) -> zbus::Result<()>;
    #[zbus(signal, name = "StateChanged")]
    pub(crate) async fn transition(
        emitter: &SignalEmitter<'_>,
        old: &str,
        new: &str,
        reason: &str,
    ) -> zbus::Result<()>;
    #[zbus(property)]
    fn profile(&self) -> String {
        self.profile.clone()
    }
    #[zbus(property)]
    fn rekeys(&self) -> u64 {
        self.rekeys
    }
    #[zbus(property)]
    fn role(&self) -> String {
        "client".into()
    }
    #[zbus(property)]
    fn state(&self) -> String {
        self.state.into()
    }
    #[zbus(property)]
    fn remote_endpoint(&self) -> String {
        "198.51.100.1:4500".into()
    }
    #[zbus(property)]
    fn encapsulated(&self) -> bool {
        true
    }
    #[zbus(property)]
    fn interface(&self) -> String {
        "adit0".into()
    }
    #[zbus(property)]
    fn addresses(&self) -> Vec<String> {
        vec!["172.23.91.1/32".into()]
    }
    #[zbus(property)]
    fn wanted_secret(&self) -> (String, String, String) {
        match self.profile.as_str() {
            "asks-early" | "asks-late" => ("password".into(), "Password for alice".into(), String::new()),
            _ => Default::default(),
        }
    }
    #[zbus(property)]
    fn last_error(&self) -> LastErrorParts {
        failure_to_parts(self.error.as_ref())
    }
}

struct Entry {
    connected: bool,
}

#[interface(name = "org.adit1.Profile")]
impl Entry {
    #[zbus(property)]
    fn name(&self) -> String {
        if self.connected { "home" } else { "corp" }.into()
    }
    #[zbus(property)]
    fn server(&self) -> String {
        "vpn.example.com".into()
    }
    #[zbus(property)]
    fn auth(&self) -> String {
        "psk".into()
    }
    #[zbus(property)]
    fn tunnel(&self) -> String {
        "full".into()
    }
    #[zbus(property)]
    fn settings(&self) -> Vec<(String, String, bool)> {
        vec![("server".into(), "\"vpn.example.com\"".into(), false), ("dpd".into(), "\"30s\"".into(), true)]
    }
    #[zbus(property)]
    fn connection(&self) -> OwnedObjectPath {
        OwnedObjectPath::try_from(if self.connected { "/org/adit1/connection/9" } else { "/" }).unwrap()
    }
}

/// A service for every connection to the socket; `home` is up from the start.
pub(crate) struct Service {
    pub(crate) directory: tempfile::TempDir,
    pub(crate) downs: Arc<Notify>,
    pub(crate) latest: Arc<Mutex<Option<zbus::Connection>>>,
    pub(crate) accepted: Arc<Notify>,
    /// What `home` is at first on connections to come.
    pub(crate) first: Arc<Mutex<&'static str>>,
    /// Somebody has listed the connections.
    pub(crate) looked: Arc<Notify>,
}

impl Service {
    pub(crate) fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let listener = tokio::net::UnixListener::bind(directory.path().join("aditd.sock")).unwrap();
        let downs = Arc::new(Notify::new());
        let shared = downs.clone();
        let latest = Arc::new(Mutex::new(None));
        let newest = latest.clone();
        let (accepted, looked) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let first = Arc::new(Mutex::new("connected"));
        let (is_accepted, has_looked, is_first) = (accepted.clone(), looked.clone(), first.clone());
        tokio::spawn(async move {
            let mut kept = Vec::new();
            while let Ok((stream, _)) = listener.accept().await {
                let home = Tunnel {
                    profile: "home".into(),
                    state: *is_first.lock().await,
                    error: None,
                    downs: shared.clone(),
                    rekeys: 3,
                };
                let built = connection::Builder::unix_stream(stream.into_std().unwrap())
                    .server(Guid::generate())
                    .p2p()
                    .serve_at(names::ROOT, fdo::ObjectManager)
                    .serve_at(
                        names::MANAGER_PATH,
                        Manager { downs: shared.clone(), looked: has_looked.clone() },
                    )
                    .serve_at("/org/adit1/profile/1", Entry { connected: false })
                    .serve_at("/org/adit1/profile/2", Entry { connected: true })
                    .serve_at("/org/adit1/connection/9", home)
                    .build()
                    .await;
                *newest.lock().await = built.as_ref().ok().cloned();
                is_accepted.notify_one();
                kept.extend(built);
            }
        });
        Self { directory, downs, latest, accepted, first, looked }
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.directory.path().join("aditd.sock")
    }

    /// The next connection to the socket.
    pub(crate) async fn next(&self) -> zbus::Connection {
        self.accepted.notified().await;
        self.latest.lock().await.clone().unwrap()
    }

    pub(crate) async fn ctl(&self, args: &[&str]) -> (u8, String, String) {
        let said = said(command(&self.socket(), args).output().await.unwrap());
        if args.contains(&"--json") {
            crate::published::conform(&said.1);
        }
        said
    }
}

pub(crate) fn command(socket: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ctl"));
    command
        .args(args)
        .env("ADIT_SOCKET", socket)
        .env_remove("NO_COLOR")
        .stdin(Stdio::null())
        .kill_on_drop(true);
    command
}

pub(crate) fn said(output: Output) -> (u8, String, String) {
    let text = |bytes| String::from_utf8(bytes).unwrap();
    let status = u8::try_from(output.status.code().unwrap()).unwrap();
    (status, text(output.stdout), text(output.stderr))
}
