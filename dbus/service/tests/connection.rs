//! Two whole daemons, a server and a client, on one loopback: real sockets, real cryptography, real files and D-Bus
//! objects; only the doors to the kernel keep books. What the kernel makes of it is the lab's business.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test enters a namespace by running itself, and fails by panicking"
)]

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use adit_core::{FailureCode, Secret};
use adit_crypto::Provider;
use adit_isakmp::crypto::{CryptoError, CryptoProvider, KeyExchange, SkCipher};
use adit_isakmp::v1;
use adit_isakmp::{Encryption, Integrity, KeMethod, Prf};
use adit_service::BusChoice;
use adit_service::daemon::{Daemon, Doors, Settings};
use adit_service::host::{RecordedHost, RecordingHost};
use adit_service::registry::{ConnectionId, Facts, Notice, Role, State};
use adit_xfrm_kernel::{AllocateSpi, Recorded, RecordingXfrm, StateId, StateRecord, XfrmDoor, XfrmEvent};

const PSK: &str = "correct horse battery staple";
/// Long enough for a busy machine; the tests wait for events, and none of them for this.
const PATIENCE: Duration = Duration::from_secs(30);

#[test]
fn comes_up_and_leaves_nothing() {
    in_namespace("comes_up_and_leaves_nothing", async {
        let pair = Pair::start("psk = \"correct horse battery staple\"").await;
        let id = pair.client.daemon.up("corp").await.unwrap();
        assert_eq!(pair.client.until_settled(id).await, State::Connected);
        let facts = pair.client.daemon.registry().get(id).unwrap();
        assert_eq!(facts.remote_id, "vpn.example.com");
        assert_eq!(facts.addresses[0].to_string(), "10.9.0.10/32");
        let guests = pair.server.daemon.registry().all();
        assert!(guests.iter().any(|(_, f)| f.role == Role::Server && f.remote_id == "client@example.com"));

        // Twice up is up.
        assert_eq!(pair.client.daemon.up("corp").await.unwrap(), id);

        // Reading the same configuration again disturbs nobody.
        pair.server.daemon.reload().await.unwrap();
        assert!(pair.server.daemon.registry().all().iter().any(|(_, f)| f.role == Role::Server));
        assert_ne!(pair.server.xfrm.standing(), (0, 0));

        let mut server_notices = pair.server.daemon.registry().subscribe();
        pair.client.daemon.down(id).await.unwrap();
        assert!(pair.client.daemon.registry().get(id).is_none());
        while !matches!(server_notices.recv().await.unwrap(), Notice::Removed(..)) {}
        pair.server.daemon.stop().await;
        for node in [&pair.client, &pair.server] {
            assert_eq!(node.xfrm.standing(), (0, 0));
            let log = node.host.log();
            let made = log.iter().filter(|r| matches!(r, RecordedHost::Made(_))).count();
            assert!(made > 0 && made * 2 == log.len(), "{log:?}");
            assert!(!node.folder.join("state/journal/server.journal").exists());
        }
    });
}

#[test]
fn a_limit_of_the_kernel_makes_new_states_beside_the_old_ones() {
    in_namespace("a_limit_of_the_kernel_makes_new_states_beside_the_old_ones", async {
        let pair = Pair::start("psk = \"correct horse battery staple\"").await;
        let id = pair.client.daemon.up("corp").await.unwrap();
        assert_eq!(pair.client.until_settled(id).await, State::Connected);
        let (inbound, outbound) = pair.client.pairs()[0];
        let policies = pair.client.xfrm.standing().1;
        let record = pair.client.xfrm.states().unwrap().into_iter().find(|s| s.id == outbound).unwrap();

        // A larval state of nobody's, then one that carries.
        for spi in [0x1234, outbound.spi] {
            let state = StateId { spi, ..outbound };
            let (bytes, packets) = (0, 0);
            let StateRecord { reqid, if_id, .. } = record;
            let expired = XfrmEvent::Expired { state, reqid, if_id, hard: false, bytes, packets };
            pair.client.xfrm.tell(&expired);
        }
        for node in [&pair.client, &pair.server] {
            let rekeyed = |door: &RecordingXfrm| {
                let removed = |r: &Recorded| match r {
                    Recorded::RemovedStates(gone) => {
                        gone.iter().any(|s| [inbound.spi, outbound.spi].contains(&s.spi))
                    }
                    _ => false,
                };
                node.pairs().len() == 2 && door.log().iter().any(removed)
            };
            tokio::time::timeout(PATIENCE, node.xfrm.until(rekeyed)).await.expect("a rekey");
            // The outbound one of the old pair is gone, its inbound one takes in what is on the way.
            assert_eq!(node.xfrm.standing(), (3, policies));
            let touched = |r: &Recorded| match r {
                Recorded::UpdatedPolicies(p) | Recorded::RemovedPolicies(p) => !p.is_empty(),
                _ => false,
            };
            assert!(!node.xfrm.log().iter().any(touched), "{:?}", node.xfrm.log());
        }
        assert_eq!(pair.client.daemon.registry().get(id).unwrap().state, State::Connected);
        pair.client.daemon.down(id).await.unwrap();
        assert_eq!(pair.client.xfrm.standing(), (0, 0));
        pair.server.daemon.stop().await;
        assert_eq!(pair.server.xfrm.standing(), (0, 0));
    });
}

#[test]
fn a_wrong_key_is_told_and_leaves_nothing() {
    in_namespace("a_wrong_key_is_told_and_leaves_nothing", async {
        let pair = Pair::start("psk = \"wrong horse\"").await;
        let id = pair.client.daemon.up("corp").await.unwrap();
        assert_eq!(pair.client.until_settled(id).await, State::Failed);
        let failure = pair.client.daemon.registry().get(id).unwrap().last_error.unwrap();
        assert_eq!(failure.code, FailureCode::AuthenticationFailed, "{failure:?}");
        assert!(failure.hint.is_some());
        assert_eq!(pair.client.xfrm.standing(), (0, 0));
        let log = pair.client.host.log();
        assert_eq!(log.len() % 2, 0, "{log:?}");
    });
}

#[test]
fn a_kernel_without_esp_ends_it_before_the_first_packet() {
    in_namespace("a_kernel_without_esp_ends_it_before_the_first_packet", async {
        let pair = Pair::start("psk = \"correct horse battery staple\"").await;
        pair.client.xfrm.lack(adit_xfrm_kernel::Feature::EspV4);
        let id = pair.client.daemon.up("corp").await.unwrap();
        assert_eq!(pair.client.until_settled(id).await, State::Failed);
        let failure = pair.client.daemon.registry().get(id).unwrap().last_error.unwrap();
        assert_eq!(failure.code, FailureCode::KernelUnsupported);
        assert!(failure.hint.unwrap().contains("modprobe -a esp4"));
        assert!(pair.client.host.log().is_empty());
        assert!(pair.server.daemon.registry().all().is_empty());
    });
}

#[test]
fn who_comes_in_first_finds_every_profile() {
    in_namespace("who_comes_in_first_finds_every_profile", async {
        let profile = "server = \"127.0.0.1\"\nauth = \"psk\"\nlocal-id = \"client@example.com\"\npsk-file = \"a.psk\"\n";
        // As many as take longer to read than somebody takes to ask.
        let names: Vec<String> = (0..1000).map(|n| format!("profiles/corp{n}.toml")).collect();
        let files = names.iter().map(|name| (name.as_str(), profile.to_owned()));
        let node = Node::new("started", &files.collect::<Vec<_>>());
        let (socket, (says, told)) = (node.folder.join("sock"), tokio::sync::oneshot::channel());
        // Of another thread, as whoever asks is of another process.
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            says.send(runtime.unwrap().block_on(profiles_at(&socket)))
        });
        let found = tokio::select! {
            ended = adit_service::run(Arc::clone(&node.daemon), None) => panic!("it has ended: {ended:?}"),
            found = tokio::time::timeout(PATIENCE, told) => found.expect("somebody is let in").unwrap(),
        };
        assert_eq!(found, 1000);
    });
}

/// How many profiles there are for whoever comes in by that socket as soon as it is there.
async fn profiles_at(socket: &Path) -> usize {
    let stream = loop {
        if let Ok(stream) = tokio::net::UnixStream::connect(socket).await {
            break stream.into_std().unwrap();
        }
    };
    let bus = zbus::connection::Builder::unix_stream(stream).p2p().build().await.unwrap();
    let objects = adit_dbus_api::ObjectManagerProxy::new(&bus).await.unwrap().get_managed_objects().await;
    objects.unwrap().keys().filter(|path| path.starts_with("/org/adit1/profile/")).count()
}

#[test]
fn no_secret_reaches_the_log() {
    in_namespace("no_secret_reaches_the_log", async {
        let log = Log::default();
        let writer = log.clone();
        tracing_subscriber::fmt()
            .with_max_level(tracing::Level::TRACE)
            .with_writer(move || writer.clone())
            .init();
        let pair = Pair::start("psk = \"correct horse battery staple\"").await;
        let id = pair.client.daemon.up("corp").await.unwrap();
        assert_eq!(pair.client.until_settled(id).await, State::Connected);
        pair.client.daemon.down(id).await.unwrap();

        let text = String::from_utf8_lossy(&log.0.lock().unwrap()).into_owned();
        assert!(text.contains("tunnel up"), "the log was not written");
        let mut secrets: Vec<Vec<u8>> = pair.client.crypto.secrets.lock().unwrap().clone();
        secrets.extend(pair.server.crypto.secrets.lock().unwrap().clone());
        assert!(secrets.len() > 20, "the provider saw {} secrets", secrets.len());
        secrets.push(PSK.as_bytes().to_vec());
        assert!(!text.contains(PSK));
        let lower = text.to_lowercase();
        for secret in secrets {
            // Parts of a secret count as well as the whole: 8 bytes of it in a row, as text of either kind or as a list.
            let part = &secret[..secret.len().min(8)];
            let hex: String = part.iter().map(|b| format!("{b:02x}")).collect();
            let list = part.iter().map(u8::to_string).collect::<Vec<_>>().join(", ");
            assert!(!lower.contains(&hex), "a secret's hexadecimal is in the log");
            assert!(!text.contains(&list), "a secret's bytes are in the log");
            assert!(
                !text.contains(&base64(&secret[..secret.len().min(9) / 3 * 3])),
                "a secret's Base64 is in the log"
            );
        }
    });
}

#[test]
fn a_new_configuration_changes_what_changed() {
    in_namespace("a_new_configuration_changes_what_changed", async {
        let pair = Pair::start("psk = \"correct horse battery staple\"").await;
        let id = pair.client.daemon.up("corp").await.unwrap();
        assert_eq!(pair.client.until_settled(id).await, State::Connected);
        let before = pair.server.connected(Role::Server);
        assert_eq!(before.len(), 1);
        let reload = async |text: &str| {
            pair.server.write("server.toml", text);
            pair.server.daemon.reload().await
        };

        // More for others, and other limits: whoever is in stays in.
        let more = "[[connection]]\nname = \"guests\"\nmatch = \"*\"\nauth = \"psk\"\npool = \"hall\"\n\
                    [pool.hall]\nranges = [\"10.10.0.0/24\"]\n[limits]\nclients = 5\n";
        let made = |host: &RecordingHost| format!("{:?}", host.log()).matches("10.10.0").count();
        reload(&format!("{}{more}", server_toml())).await.unwrap();
        assert_eq!(pair.server.connected(Role::Server), before);
        assert_ne!(made(&pair.server.host), 0);

        // A mistake changes nothing.
        assert_eq!(reload("[listen").await.unwrap_err().code, FailureCode::ConfigurationInvalid);
        assert_eq!(pair.server.connected(Role::Server), before);
        assert!(pair.server.daemon.server_problem().is_some());

        // Another pool: its client is told, and comes back by itself into the new one.
        let mut notices = pair.client.daemon.registry().subscribe();
        reload(&server_toml().replace("10.9.0.10-10.9.0.20", "10.9.0.30-10.9.0.40")).await.unwrap();
        assert!(pair.server.daemon.server_problem().is_none());
        for wanted in [State::Connecting, State::Connected] {
            let reached = async {
                while !matches!(notices.recv().await.unwrap(), Notice::State(_, _, new, _) if new == wanted) {
                }
            };
            tokio::time::timeout(PATIENCE, reached).await.expect("the client comes back");
        }
        let facts = pair.client.daemon.registry().get(id).unwrap();
        assert_eq!(facts.addresses[0].to_string(), "10.9.0.30/32");
        pair.client.daemon.down(id).await.unwrap();
        pair.server.daemon.stop().await;
        assert_eq!(pair.server.xfrm.standing(), (0, 0));
        assert!(!pair.server.folder.join("state/journal/server.journal").exists());
    });
}

#[test]
fn a_packet_raises_what_waits_for_it() {
    in_namespace("a_packet_raises_what_waits_for_it", async {
        let pair = Pair::start(&format!(
            "psk = \"{PSK}\"\nstart = \"on-demand\"\ntunnel = \"split\"\nremote-subnets = \"10.1.0.0/16\""
        ))
        .await;
        let (daemon, door) = (&pair.client.daemon, &pair.client.xfrm);
        let id = daemon.registry().live_client("corp").unwrap();
        let until = async |state| {
            pair.client.until(|node| node.daemon.registry().get(id).is_some_and(|f| f.state == state)).await;
        };
        let until_standing = async |wanted| {
            let so = door.until(|door: &RecordingXfrm| door.standing() == wanted);
            tokio::time::timeout(PATIENCE, so).await.expect("states and policies");
        };
        until(State::Standby).await;
        assert_eq!(door.standing(), (0, 3));
        let log = format!("{:?}", pair.client.host.log());
        assert!(log.contains("10.1.0.0") && !log.contains("XfrmLink"), "routes, and no link: {log}");
        let trap = door.policy(&door.policies().unwrap()[0]).unwrap().template.unwrap();
        door.tell(&XfrmEvent::Acquire {
            local: trap.source,
            remote: trap.destination,
            reqid: trap.reqid,
            if_id: None,
            packet_source: "192.0.2.7".parse().unwrap(),
            packet_destination: "10.1.0.10".parse().unwrap(),
            protocol: 6,
        });
        until(State::Connected).await;
        until_standing((2, 3)).await;

        // The server ends it: the next packet is waited for, and whoever raises it by name need not wait.
        let guest = pair.server.connected(Role::Server)[0];
        pair.server.daemon.down(guest).await.unwrap();
        until(State::Standby).await;
        assert_eq!(door.standing(), (0, 3));
        assert_eq!(daemon.up("corp").await.unwrap(), id);
        until(State::Connected).await;
        until_standing((2, 3)).await;

        daemon.down(id).await.unwrap();
        assert_eq!(door.standing(), (0, 0));
        let log = pair.client.host.log();
        assert!(!log.is_empty() && log.len() % 2 == 0, "{log:?}");
        pair.server.daemon.stop().await;
    });
}

/// Each site dials the other when its daemon starts. What each has dialled stays: it sends by that one.
#[test]
fn two_sites_that_dial_each_other_settle() {
    in_namespace("two_sites_that_dial_each_other_settle", async {
        let site = |us: &str, other: &str, net: u8, far: u8, ports: &str, server: &str| {
            let toml = format!(
                "[listen]\nports = {ports}\n[ikev2]\nidentity = \"{us}\"\npsk = \"{PSK}\"\n\
                 [[connection]]\nname = \"from\"\nmatch = \"{other}\"\nauth = \"psk\"\n\
                 subnets = \"10.{net}.0.0/16\"\nremote-subnets = \"10.{far}.0.0/16\"\n"
            );
            let profile = format!(
                "server = \"{server}\"\nauth = \"psk\"\nlocal-id = \"{us}\"\nremote-id = \"{other}\"\n\
                 psk = \"{PSK}\"\nstart = \"boot\"\ntunnel = \"split\"\n\
                 local-subnets = \"10.{net}.0.0/16\"\nremote-subnets = \"10.{far}.0.0/16\"\n"
            );
            [("server.toml", toml), ("profiles/to.toml", profile)]
        };
        let (a, b) = ("a.example.com", "b.example.com");
        let a_is = Node::start("a", &site(a, b, 1, 2, "[500, 4500]", "127.0.0.1:4501")).await;
        // Both have one address, and doors that count SPIs from the same number: those of this one have begun already.
        use_other_spis(a_is.xfrm.as_ref());
        let b_is = Node::start("b", &site(b, a, 2, 1, "[501, 4501]", "127.0.0.1")).await;
        for node in [&a_is, &b_is] {
            node.until(|n| n.connected(Role::Client).len() == 1 && n.connected(Role::Server).len() == 1)
                .await;
        }
        let (dialled, heard) = (b_is.connected(Role::Client), a_is.connected(Role::Server));
        // One of them goes; the other stands as it did.
        let id = a_is.connected(Role::Client)[0];
        a_is.daemon.down(id).await.unwrap();
        b_is.until(|n| n.connected(Role::Server).is_empty()).await;
        assert_eq!((b_is.connected(Role::Client), a_is.connected(Role::Server)), (dialled, heard));
        a_is.daemon.stop().await;
        b_is.daemon.stop().await;
        for node in [&a_is, &b_is] {
            assert_eq!(node.xfrm.standing(), (0, 0));
        }
    });
}

fn use_other_spis(door: &dyn adit_xfrm_kernel::XfrmDoor) {
    let loopback = std::net::IpAddr::from([127, 0, 0, 1]);
    let request = adit_xfrm_kernel::AllocateSpi::tunnel(loopback, loopback, 1, None);
    let used = (0..64).map(|_| {
        let spi = door.allocate_spi(&request).unwrap();
        adit_xfrm_kernel::StateId { destination: loopback, spi, mark: None }
    });
    door.remove_states(&used.collect::<Vec<_>>());
}

fn server_toml() -> String {
    format!(
        "[ikev2]\nidentity = \"vpn.example.com\"\npsk = \"{PSK}\"\n\
         [[connection]]\nname = \"staff\"\nmatch = [\"*@example.com\"]\nauth = \"psk\"\npool = \"office\"\n\
         [pool.office]\nranges = [\"10.9.0.10-10.9.0.20\"]\n"
    )
}

struct Pair {
    server: Node,
    client: Node,
}

struct Node {
    daemon: Arc<Daemon>,
    xfrm: Arc<RecordingXfrm>,
    host: Arc<RecordingHost>,
    crypto: Arc<Watched>,
    folder: PathBuf,
}

impl Pair {
    async fn start(credential: &str) -> Self {
        let profile = format!(
            "server = \"127.0.0.1\"\nauth = \"psk\"\nlocal-id = \"client@example.com\"\n\
             remote-id = \"vpn.example.com\"\n{credential}\n"
        );
        // The server first: it must have ports 500 and 4500, and the client then takes others.
        let server = Node::start("server", &[("server.toml", server_toml())]).await;
        let client = Node::start("client", &[("profiles/corp.toml", profile)]).await;
        // Both have one address, and doors that count SPIs from the same number: so the server's has begun already.
        let loopback = std::net::IpAddr::from([127, 0, 0, 1]);
        let used = (0..64).map(|_| {
            let spi = server.xfrm.allocate_spi(&AllocateSpi::tunnel(loopback, loopback, 1, None)).unwrap();
            StateId { destination: loopback, spi, mark: None }
        });
        server.xfrm.remove_states(&used.collect::<Vec<_>>());
        Self { server, client }
    }
}

impl Node {
    async fn start(name: &str, files: &[(&str, String)]) -> Self {
        let node = Self::new(name, files);
        node.daemon.reload().await.unwrap();
        node
    }

    fn new(name: &str, files: &[(&str, String)]) -> Self {
        let folder = std::env::temp_dir().join(format!("adit-{}-{name}", std::process::id()));
        files.iter().for_each(|(file, content)| write(&folder, file, content));
        let (xfrm, host) = (Arc::new(RecordingXfrm::default()), Arc::new(RecordingHost::default()));
        let crypto = Arc::new(Watched { inner: Provider::new(), secrets: Mutex::default() });
        let doors = Doors {
            xfrm: Arc::clone(&xfrm) as _,
            host: Arc::clone(&host) as _,
            crypto: Arc::clone(&crypto) as _,
        };
        let settings = Settings {
            config: folder.join("etc"),
            state: folder.join("state"),
            socket: folder.join("sock"),
            bus: BusChoice::None,
            ..Settings::default()
        };
        let daemon = Arc::new(Daemon::new(settings, doors));
        Self { daemon, xfrm, host, crypto, folder }
    }

    fn write(&self, file: &str, content: &str) {
        write(&self.folder, file, content);
    }

    /// Its connections of that role that are up.
    fn connected(&self, role: Role) -> Vec<ConnectionId> {
        let up = |id, f: &Facts| (f.role == role && f.state == State::Connected).then_some(id);
        self.daemon.registry().read(up)
    }

    /// Waits until that is so.
    async fn until(&self, so: impl Fn(&Self) -> bool) {
        let mut notices = self.daemon.registry().subscribe();
        let reached = async {
            while !so(self) {
                notices.recv().await.unwrap();
            }
        };
        tokio::time::timeout(PATIENCE, reached).await.expect("it comes to be so");
    }

    /// The inbound and outbound states of every CHILD_SA that was installed, oldest first.
    fn pairs(&self) -> Vec<(StateId, StateId)> {
        let installed = |r: Recorded| match r {
            Recorded::Installed { inbound, outbound, .. } => Some((inbound, outbound)),
            _ => None,
        };
        let mut out: Vec<(Option<StateId>, Option<StateId>)> = Vec::new();
        for (inbound, outbound) in self.xfrm.log().into_iter().filter_map(installed) {
            match inbound {
                Some(_) => out.push((inbound, outbound)),
                // It came later.
                None => out.last_mut().into_iter().for_each(|pair| pair.1 = outbound),
            }
        }
        out.into_iter().filter_map(|(i, o)| Some((i?, o?))).collect()
    }

    /// Waits until a connection is up, or over.
    async fn until_settled(&self, id: ConnectionId) -> State {
        let settled = async {
            let mut notices = self.daemon.registry().subscribe();
            loop {
                match self.daemon.registry().get(id).map(|f| f.state) {
                    Some(State::Connecting | State::Disconnecting) => {}
                    Some(state) => return state,
                    None => return State::Disconnected,
                }
                notices.recv().await.unwrap();
            }
        };
        tokio::time::timeout(PATIENCE, settled).await.expect("the connection settles")
    }
}

fn write(folder: &Path, file: &str, content: &str) {
    let path = folder.join("etc").join(file);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, content).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// The product's provider, with every secret that passes through it remembered.
struct Watched {
    inner: Provider,
    secrets: Mutex<Vec<Vec<u8>>>,
}

impl Watched {
    fn remember(&self, secret: &[u8]) {
        if secret.len() >= 8 {
            self.secrets.lock().unwrap().push(secret.to_vec());
        }
    }
}

impl CryptoProvider for Watched {
    fn prf(&self, prf: Prf, key: &[u8], parts: &[&[u8]], out: &mut [u8]) {
        self.inner.prf(prf, key, parts, out);
        self.remember(key);
        self.remember(out);
    }

    fn sha1(&self, parts: &[&[u8]]) -> [u8; 20] {
        self.inner.sha1(parts)
    }

    fn sk_cipher(
        &self,
        encryption: Encryption,
        integrity: Option<Integrity>,
        key: Secret,
        integrity_key: Secret,
    ) -> Result<Box<dyn SkCipher>, CryptoError> {
        self.remember(key.expose());
        self.remember(integrity_key.expose());
        self.inner.sk_cipher(encryption, integrity, key, integrity_key)
    }

    fn generate(&self, method: KeMethod) -> Result<Box<dyn KeyExchange>, CryptoError> {
        self.inner.generate(method)
    }

    fn encapsulate(&self, method: KeMethod, peer: &[u8]) -> Result<(Vec<u8>, Secret), CryptoError> {
        let (public, shared) = self.inner.encapsulate(method, peer)?;
        self.remember(shared.expose());
        Ok((public, shared))
    }
}

impl v1::Provider for Watched {
    fn hash(&self, prf: Prf, parts: &[&[u8]]) -> Vec<u8> {
        v1::Provider::hash(&self.inner, prf, parts)
    }

    fn cbc(&self, encryption: Encryption, key: &Secret) -> Result<Box<dyn v1::Cbc>, CryptoError> {
        self.remember(key.expose());
        v1::Provider::cbc(&self.inner, encryption, key)
    }
}

/// A log in memory.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Whole groups of three bytes only: these encode to the same text wherever they stand.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let group = |c: &[u8]| {
        let n = c.iter().fold(0_usize, |n, b| n << 8 | usize::from(*b));
        [18, 12, 6, 0].map(|shift| char::from(DIGITS[n >> shift & 63]))
    };
    bytes.chunks_exact(3).flat_map(group).collect()
}

/// Runs `body` in a fresh network namespace: as root in a plain one, else as root of a user namespace.
fn in_namespace(test: &str, body: impl Future<Output = ()>) {
    if std::env::var_os("ADIT_TEST_NAMESPACE").is_some() {
        let up = Command::new("ip").args(["link", "set", "lo", "up"]).status().unwrap();
        assert!(up.success());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        return runtime.block_on(body);
    }
    let root = Path::new("/proc/self").metadata().unwrap().uid() == 0;
    let out = Command::new("unshare")
        .args([if root { "-n" } else { "-rn" }, "--"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env("ADIT_TEST_NAMESPACE", "1")
        .output()
        .expect("unshare (util-linux) makes the namespace that this test runs in");
    let (stdout, stderr) = (String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    assert!(out.status.success() && stdout.contains("1 passed"), "{stdout}{stderr}");
}
