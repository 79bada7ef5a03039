//! `aditd-record` as a server for clients that nobody has to name one by one.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, bail};

use crate::clock;
use crate::load::Target;
use crate::process::Measured;

/// Who the daemon runs as: nobody. It keeps the three capabilities that it needs.
const NOBODY: u32 = 65_534;
const CAPABILITIES: &str = "+net_admin,+net_raw,+net_bind_service";
/// A daemon that is not ready by then will not be.
const PATIENCE: Duration = Duration::from_secs(20);

/// A running daemon, and the folder that it lives in.
pub struct Daemon {
    /// Its process.
    pub process: Measured,
    folder: PathBuf,
}

impl Daemon {
    /// Starts one in `folder`, and waits until it lets peers in.
    ///
    /// # Errors
    /// It does not start; what it said is in `folder`'s `log`.
    pub fn start(program: &Path, folder: &Path, target: &Target) -> anyhow::Result<Self> {
        let _ = fs::remove_dir_all(folder);
        let (etc, run) = (folder.join("etc"), folder.join("run"));
        for made in [folder, &etc, &folder.join("state"), &run] {
            fs::create_dir_all(made).with_context(|| made.display().to_string())?;
            chown(made, Some(NOBODY), Some(NOBODY)).context("this needs root")?;
        }
        let file = etc.join("server.toml");
        fs::write(&file, configuration(target))?;
        fs::set_permissions(&file, Permissions::from_mode(0o600))?;
        chown(&file, Some(NOBODY), Some(NOBODY))?;
        let notify = run.join("notify");
        let socket = UnixDatagram::bind(&notify)?;
        fs::set_permissions(&notify, Permissions::from_mode(0o666))?;
        let mut command = Command::new("setpriv");
        command
            .args([&format!("--reuid={NOBODY}"), &format!("--regid={NOBODY}"), "--clear-groups"])
            .args([&format!("--inh-caps={CAPABILITIES}"), &format!("--ambient-caps={CAPABILITIES}")])
            .arg(program)
            .args([Path::new("--config"), &etc, Path::new("--state"), &folder.join("state")])
            .args([Path::new("--socket"), &run.join("sock"), Path::new("--bus"), Path::new("none")])
            .env("NOTIFY_SOCKET", &notify);
        let log = folder.join("log");
        let process = Measured::start(&mut command, &log)?;
        let mut daemon = Self { process, folder: folder.to_owned() };
        daemon
            .wait_until_ready(&socket)
            .with_context(|| format!("{}: see {}", program.display(), log.display()))?;
        Ok(daemon)
    }

    /// How long `ctl status` takes, and how many connections it shows.
    ///
    /// # Errors
    /// It fails.
    pub fn status(&self, ctl: &Path) -> anyhow::Result<(Duration, usize)> {
        let begun = clock::now();
        let output = Command::new(ctl)
            .args(["--bus", "private", "status"])
            .env("ADIT_SOCKET", self.folder.join("run/sock"))
            .output()
            .with_context(|| ctl.display().to_string())?;
        let time = clock::now().since(begun);
        if !output.status.success() {
            bail!("ctl status: {}", String::from_utf8_lossy(&output.stderr));
        }
        let shown = String::from_utf8_lossy(&output.stdout).matches("connected").count();
        Ok((time, shown))
    }

    fn wait_until_ready(&mut self, socket: &UnixDatagram) -> anyhow::Result<()> {
        socket.set_read_timeout(Some(Duration::from_millis(200)))?;
        let until = clock::now() + PATIENCE;
        let mut buffer = [0; 512];
        while clock::now() < until && self.process.lives() {
            let Ok(length) = socket.recv(&mut buffer) else { continue };
            if String::from_utf8_lossy(buffer.get(..length).unwrap_or_default()).contains("READY=1") {
                return Ok(());
            }
        }
        bail!("the daemon did not get ready")
    }
}

/// Everybody of the domain comes in with one key; a pool that is never empty; no silence is long enough for a question.
fn configuration(target: &Target) -> String {
    let Target { remote_id, domain, ike, esp, server, .. } = target;
    let psk = target.psk();
    format!(
        "[listen]\nports = [{}, {}]\n\
         [ikev2]\nidentity = \"{remote_id}\"\npsk = \"{psk}\"\nike = [\"{ike}\"]\nesp = [\"{esp}\"]\ndpd = \"1h\"\n\
         [[connection]]\nname = \"load\"\nmatch = [\"*@{domain}\"]\nauth = \"psk\"\npool = \"load\"\n\
         [pool.load]\nranges = [\"10.64.0.0/15\"]\n\
         [limits]\nclients = 100000\n",
        server.port(),
        server.port().saturating_add(4000),
    )
}
