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
use adit_isakmp::{Encryption, Integrity, KeMethod, Prf};
use adit_service::BusChoice;
use adit_service::daemon::{Daemon, Doors, Settings};
use adit_service::host::{RecordedHost, RecordingHost};
use adit_service::registry::{ConnectionId, Notice, Role, State};
use adit_xfrm_kernel::RecordingXfrm;

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
        while !matches!(server_notices.recv().await.unwrap(), Notice::Removed(_)) {}
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
        let server = format!(
            "[ikev2]\nidentity = \"vpn.example.com\"\npsk = \"{PSK}\"\n\
             [[connection]]\nname = \"staff\"\nmatch = [\"*@example.com\"]\nauth = \"psk\"\npool = \"office\"\n\
             [pool.office]\nranges = [\"10.9.0.10-10.9.0.20\"]\n"
        );
        let profile = format!(
            "server = \"127.0.0.1\"\nauth = \"psk\"\nlocal-id = \"client@example.com\"\n\
             remote-id = \"vpn.example.com\"\n{credential}\n"
        );
        // The server first: it must have ports 500 and 4500, and the client then takes others.
        let server = Node::start("server", "server.toml", &server).await;
        let client = Node::start("client", "profiles/corp.toml", &profile).await;
        Self { server, client }
    }
}

impl Node {
    async fn start(name: &str, file: &str, content: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("adit-{}-{name}", std::process::id()));
        let path = folder.join("etc").join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, content).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
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
        };
        let daemon = Arc::new(Daemon::new(settings, doors));
        daemon.reload().await.unwrap();
        Self { daemon, xfrm, host, crypto, folder }
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
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
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
