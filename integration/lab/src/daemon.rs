//! Programs that stay: started, waited for by the event that tells that they are ready, and ended.

use std::{
    fs::{self, File},
    io::{BufRead, BufReader, Read, Write},
    os::unix::{fs::PermissionsExt, net::UnixDatagram},
    path::Path,
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::host::Host;

/// Exactly the capabilities that the daemon's unit gives it.
const CAPABILITIES: &str = "-all,+net_admin,+net_raw,+net_bind_service";

/// A started program.
pub(crate) struct Daemon {
    /// Its name in the scenario.
    pub(crate) name: String,
    /// Its host's name.
    pub(crate) host: String,
    child: Child,
    lines: mpsc::Receiver<String>,
    notices: Option<UnixDatagram>,
}

/// How it tells that it is ready.
enum Ready {
    /// `READY=1` to `NOTIFY_SOCKET` (sd_notify(3)).
    Notify,
    /// A line that holds this text.
    Line(String),
    /// Not at all.
    Started,
}

/// What a step asks for.
pub(crate) struct Start<'a> {
    /// A known daemon, or a shell command.
    pub(crate) program: &'a str,
    /// Its name.
    pub(crate) name: &'a str,
    /// Its readiness, where the step says so.
    pub(crate) ready: Option<&'a str>,
    /// Longest time until it is ready.
    pub(crate) within: Duration,
}

impl Daemon {
    /// Starts it and waits until it is ready. Its output goes to `log`.
    pub(crate) fn start(host: &Host, start: &Start<'_>, log: &Path) -> Result<Self, String> {
        let (mut command, ready) = known(host, start.program);
        let ready = match start.ready {
            Some("notify") => Ready::Notify,
            Some("none") => Ready::Started,
            Some(text) => Ready::Line(text.trim_start_matches("line:").to_owned()),
            None => ready,
        };
        let file = format!("notify-{}", start.name);
        let notices =
            UnixDatagram::bind(own_socket(&host.folder.join(&file))).map_err(|e| format!("{file}: {e}"))?;
        let _ = fs::set_permissions(host.folder.join(&file), fs::Permissions::from_mode(0o666));
        command.env("NOTIFY_SOCKET", format!("{}/{file}", host.inside));
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|e| format!("{}: {e}", start.program))?;
        let pid = host.folder.join(format!("{}.pid", start.name));
        fs::write(&pid, child.id().to_string()).map_err(|e| format!("{}: {e}", pid.display()))?;
        let lines = record(&mut child, log)?;
        let (name, of) = (start.name.to_owned(), host.name.clone());
        let mut daemon = Self { name, host: of, child, lines, notices: Some(notices) };
        daemon.wait_ready(&ready, start.within)?;
        Ok(daemon)
    }

    /// Its process number.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Ends it with SIGTERM and waits; its exit code, none where a signal ended it.
    pub(crate) fn stop(&mut self, within: Duration) -> Result<Option<i32>, String> {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap_or(i32::MAX));
        // It may have ended by itself, which is no error yet: its exit code is looked at.
        let _ = kill(pid, Signal::SIGTERM);
        let deadline = Instant::now() + within;
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait().map_err(|e| e.to_string())? {
                return Ok(status.code());
            }
            thread::sleep(Duration::from_millis(20));
        }
        Err(format!("{} on {} did not end within {} s of SIGTERM", self.name, self.host, within.as_secs()))
    }

    /// Ends it with SIGKILL.
    pub(crate) fn kill(&mut self) -> Result<(), String> {
        self.child.kill().map_err(|e| format!("{}: {e}", self.name))?;
        self.child.wait().map(drop).map_err(|e| format!("{}: {e}", self.name))
    }

    fn wait_ready(&mut self, ready: &Ready, within: Duration) -> Result<(), String> {
        let deadline = Instant::now() + within;
        let mut said: Vec<String> = Vec::new();
        loop {
            let is_ready = match ready {
                Ready::Started => true,
                Ready::Notify => self.is_notified(),
                Ready::Line(text) => said.iter().any(|line| line.contains(text)),
            };
            if is_ready {
                return Ok(());
            }
            let wait = if matches!(ready, Ready::Notify) { 1 } else { 50 };
            match self.lines.recv_timeout(Duration::from_millis(wait)) {
                Ok(line) => said.push(line),
                Err(mpsc::RecvTimeoutError::Timeout) => {}
                Err(mpsc::RecvTimeoutError::Disconnected) => thread::sleep(Duration::from_millis(20)),
            }
            let end = said.get(said.len().saturating_sub(6)..).unwrap_or_default().join("\n    ");
            if let Some(status) = self.child.try_wait().map_err(|e| e.to_string())? {
                return Err(format!(
                    "{} on {} ended before it was ready ({status}):\n    {end}",
                    self.name, self.host
                ));
            }
            if Instant::now() > deadline {
                let seconds = within.as_secs();
                return Err(format!(
                    "{} on {} was not ready after {seconds} s:\n    {end}",
                    self.name, self.host
                ));
            }
        }
    }

    fn is_notified(&self) -> bool {
        let Some(socket) = &self.notices else { return false };
        let _ = socket.set_read_timeout(Some(Duration::from_millis(50)));
        let mut buffer = [0_u8; 4096];
        let count = socket.recv(&mut buffer).unwrap_or_default();
        buffer.get(..count).unwrap_or_default().split(|byte| *byte == b'\n').any(|line| line == b"READY=1")
    }
}

fn own_socket(path: &Path) -> &Path {
    // A daemon started for the second time gets a new socket at the same place.
    let _ = fs::remove_file(path);
    path
}

/// The daemons that the lab knows, and how each tells that it is ready; anything else is a shell command.
fn known(host: &Host, program: &str) -> (Command, Ready) {
    match program {
        "aditd" | "aditd-record" => {
            give_ppp(host);
            let mut command = host.command("setpriv");
            command.args(["--reuid", "adit", "--regid", "adit", "--init-groups"]);
            command.args([format!("--inh-caps={CAPABILITIES}"), format!("--bounding-set={CAPABILITIES}")]);
            command.args([format!("--ambient-caps={CAPABILITIES}"), "--no-new-privs".to_owned()]);
            command.arg(program);
            (command, Ready::Notify)
        }
        "charon-systemd" => (host.command("charon-systemd"), Ready::Notify),
        "libreswan" => {
            let mut command = host.command("sh");
            let start = "ipsec initnss >/dev/null; mkdir -p /run/pluto; exec /usr/libexec/ipsec/pluto --nofork --stderrlog";
            command.args(["-c", start]);
            (command, Ready::Notify)
        }
        "sink" => {
            let mut command = host.command("adit-lab");
            command.arg("sink");
            (command, Ready::Line("ready".to_owned()))
        }
        "dbus-daemon" => {
            let mut command = host.command("dbus-daemon");
            command.args(["--system", "--nofork", "--nopidfile", "--print-address"]);
            (command, Ready::Line("unix:".to_owned()))
        }
        script => {
            let mut command = host.command("sh");
            command.args(["-c", &format!("exec {script}")]);
            (command, Ready::Started)
        }
    }
}

/// What packaging's udev rule does: `/dev/ppp` is the daemon's user's.
fn give_ppp(host: &Host) {
    // Where the kernel has no PPP, the daemon says so when it is wanted.
    let _ = host.shell(
        "[ ! -e /dev/ppp ] || { chgrp adit /dev/ppp && chmod 660 /dev/ppp; }",
        Duration::from_secs(10),
    );
}

/// Writes what it says to the log, and hands it on line by line.
fn record(child: &mut Child, log: &Path) -> Result<mpsc::Receiver<String>, String> {
    let (sender, receiver) = mpsc::channel();
    let open =
        || File::options().create(true).append(true).open(log).map_err(|e| format!("{}: {e}", log.display()));
    let pipes: [Option<Box<dyn Read + Send>>; 2] =
        [child.stdout.take().map(|p| Box::new(p) as _), child.stderr.take().map(|p| Box::new(p) as _)];
    for pipe in pipes.into_iter().flatten() {
        let (mut file, sender) = (open()?, sender.clone());
        thread::spawn(move || {
            for line in BufReader::new(pipe).split(b'\n').map_while(Result::ok) {
                let _ = file.write_all(&[line.as_slice(), b"\n"].concat());
                // Nobody listens any more once it is ready.
                let _ = sender.send(String::from_utf8_lossy(&line).into_owned());
            }
        });
    }
    Ok(receiver)
}
