//! Programs that stay: started, waited for by the event that tells that they are ready, and ended.

use std::{
    fs::{self, File},
    io::{BufRead, BufReader, Read, Write},
    net::Shutdown,
    os::unix::{fs::PermissionsExt, net::UnixDatagram},
    path::Path,
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use nix::{
    sys::{
        signal::{Signal, kill},
        wait::{Id, WaitPidFlag, waitid},
    },
    unistd::Pid,
};

use crate::host::Host;

/// Exactly the capabilities that the daemon's unit gives it.
const CAPABILITIES: &str = "-all,+net_admin,+net_raw,+net_bind_service";

/// What has ended has so long for what it has said at last to be read.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// NetworkManager as it runs without systemd, with our service where the lab has it. It touches what connections of the
/// host's files name, and nothing else; what it finds up when it is first started it would leave as it is. Without udev nobody
/// says of a link that it is ready: that is waited for only where /sys can be written.
const NETWORK_MANAGER: &str = "\
set -eu
mkdir -p /etc/NetworkManager/VPN /etc/NetworkManager/conf.d /etc/NetworkManager/system-connections /var/lib/NetworkManager
for file in \"$LAB\"/packaging/networkmanager/*.name; do
    sed 's|/usr/libexec/|/mnt/bin/|' \"$file\" >/etc/NetworkManager/VPN/\"$(basename \"$file\")\"
done
cp \"$LAB\"/packaging/networkmanager/*.conf /etc/NetworkManager/conf.d/
printf '[main]\\nplugins=keyfile\\nauth-polkit=false\\nrc-manager=file\\nno-auto-default=*\\nhostname-mode=none\\n' >/etc/NetworkManager/conf.d/zz-lab.conf
chown -R root:root /etc/NetworkManager
find /etc/NetworkManager/system-connections -type f -exec chmod 600 {} +
mount -o remount,bind,ro /sys
if [ ! -d /run/NetworkManager ]; then
    for link in $(sed -n 's/^interface-name=//p' /etc/NetworkManager/system-connections/*); do
        ip link set \"$link\" down && ip address flush dev \"$link\"
    done
fi
exec NetworkManager --debug
";

/// A started program.
pub(crate) struct Daemon {
    /// Its name in the scenario.
    pub(crate) name: String,
    /// Its host's name.
    pub(crate) host: String,
    child: Child,
    /// Brings something, or is closed, when it has ended.
    ended: mpsc::Receiver<()>,
}

/// What a starting program does.
enum Sign {
    Line(String),
    /// `READY=1`.
    Notice,
    Ended,
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
        let (sender, signs) = mpsc::channel();
        record(&mut child, log, &sender)?;
        let ended = watch(&child, notices, sender)?;
        let mut daemon = Self { name: start.name.to_owned(), host: host.name.clone(), child, ended };
        daemon.wait_ready(&ready, &signs, start.within)?;
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
        if self.ended.recv_timeout(within) == Err(mpsc::RecvTimeoutError::Timeout) {
            let seconds = within.as_secs();
            return Err(format!("{} on {} did not end within {seconds} s of SIGTERM", self.name, self.host));
        }
        self.child.wait().map(|status| status.code()).map_err(|e| format!("{}: {e}", self.name))
    }

    /// Ends it with SIGKILL.
    pub(crate) fn kill(&mut self) -> Result<(), String> {
        self.child.kill().map_err(|e| format!("{}: {e}", self.name))?;
        self.child.wait().map(drop).map_err(|e| format!("{}: {e}", self.name))
    }

    fn wait_ready(
        &mut self,
        ready: &Ready,
        signs: &mpsc::Receiver<Sign>,
        within: Duration,
    ) -> Result<(), String> {
        if matches!(ready, Ready::Started) {
            return Ok(());
        }
        let deadline = Instant::now() + within;
        let mut said: Vec<String> = Vec::new();
        let why = loop {
            match (ready, signs.recv_timeout(deadline.saturating_duration_since(Instant::now()))) {
                (Ready::Notify, Ok(Sign::Notice)) => return Ok(()),
                (Ready::Line(text), Ok(Sign::Line(line))) if line.contains(text) => return Ok(()),
                (_, Ok(Sign::Line(line))) => said.push(line),
                (_, Ok(Sign::Notice)) => {}
                (_, Err(mpsc::RecvTimeoutError::Timeout)) => {
                    break format!("was not ready after {} s", within.as_secs());
                }
                (_, Ok(Sign::Ended) | Err(mpsc::RecvTimeoutError::Disconnected)) => {
                    let status = self.child.wait().map_err(|e| format!("{}: {e}", self.name))?;
                    // Its last words may be on their way; what it has left behind may hold its output open.
                    while let Ok(Sign::Line(line)) = signs.recv_timeout(LAST_WORDS) {
                        said.push(line);
                    }
                    break format!("ended before it was ready ({status})");
                }
            }
        };
        let end = said.get(said.len().saturating_sub(6)..).unwrap_or_default().join("\n    ");
        Err(format!("{} on {} {why}:\n    {end}", self.name, self.host))
    }
}

/// Tells that it is ready, as soon as it says so, and that it has ended.
fn watch(
    child: &Child,
    notices: UnixDatagram,
    signs: mpsc::Sender<Sign>,
) -> Result<mpsc::Receiver<()>, String> {
    let pid = Pid::from_raw(i32::try_from(child.id()).map_err(|e| e.to_string())?);
    let (sender, ended) = mpsc::channel();
    let (socket, sign) = (notices.try_clone().map_err(|e| e.to_string())?, signs.clone());
    thread::spawn(move || {
        let mut buffer = [0_u8; 4096];
        // Nothing comes out of it when the other thread has shut it down.
        while let Ok(count @ 1..) = socket.recv(&mut buffer) {
            let mut lines = buffer.get(..count).unwrap_or_default().split(|byte| *byte == b'\n');
            if lines.any(|line| line == b"READY=1") {
                // Nobody listens any more once it is ready.
                let _ = sign.send(Sign::Notice);
            }
        }
    });
    thread::spawn(move || {
        // Its exit code stays for whoever asks; an error says that it has been asked for already.
        let _ = waitid(Id::Pid(pid), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT);
        let _ = (signs.send(Sign::Ended), sender.send(()), notices.shutdown(Shutdown::Both));
    });
    Ok(ended)
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
        "NetworkManager" => {
            let mut command = host.command("sh");
            command.args(["-c", NETWORK_MANAGER]);
            (command, Ready::Line("startup complete".to_owned()))
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

/// What packaging's udev rule does, `/dev/ppp` is the daemon's user's: here anybody's, since all hosts and machines have the same one, and
/// the user has another number in a machine; and what udev's own do: `/dev/net/tun` is anybody's.
fn give_ppp(host: &Host) {
    // Where the kernel has no PPP, the daemon says so when it is wanted.
    let _ = host.shell(
        "[ ! -e /dev/ppp ] || chmod 666 /dev/ppp; \
         [ ! -e /dev/net/tun ] || chmod 666 /dev/net/tun",
        Duration::from_secs(10),
    );
}

/// Writes what it says to the log, and hands it on line by line.
fn record(child: &mut Child, log: &Path, signs: &mpsc::Sender<Sign>) -> Result<(), String> {
    let open =
        || File::options().create(true).append(true).open(log).map_err(|e| format!("{}: {e}", log.display()));
    let pipes: [Option<Box<dyn Read + Send>>; 2] =
        [child.stdout.take().map(|p| Box::new(p) as _), child.stderr.take().map(|p| Box::new(p) as _)];
    for pipe in pipes.into_iter().flatten() {
        let (mut file, sender) = (open()?, signs.clone());
        thread::spawn(move || {
            for line in BufReader::new(pipe).split(b'\n').map_while(Result::ok) {
                let _ = file.write_all(&[line.as_slice(), b"\n"].concat());
                // Nobody listens any more once it is ready.
                let _ = sender.send(Sign::Line(String::from_utf8_lossy(&line).into_owned()));
            }
        });
    }
    Ok(())
}
