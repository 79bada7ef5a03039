use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, Write as _};
use std::net::IpAddr;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::Pid;

use crate::{Down, Record, Up, next};

/// Search path of a script, as Debian's `/etc/ppp/ip-up` sets it.
const PATH: &str = "/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin";
/// As many families as may be up at once: IPv4 and IPv6.
const FAMILIES: usize = 2;
/// How long a script may take to end that has been told to.
const GRACE: Duration = Duration::from_secs(2);

/// The scripts of a folder.
#[derive(Debug)]
pub struct Scripts {
    /// `/etc/ppp`.
    pub folder: PathBuf,
    /// How long the scripts of one event may take together.
    pub limit: Duration,
}

/// Runs scripts by the records that come, until the link is over or nobody says anything more: then those that end what is up.
pub fn serve(mut records: impl BufRead, scripts: &Scripts) {
    let mut up: Vec<Up> = Vec::new();
    let down = loop {
        match next(&mut records) {
            Ok(Some(Record::Up(new))) => {
                if let Some(at) = up.iter().position(|old| old.local.is_ipv4() == new.local.is_ipv4()) {
                    scripts.run(&up.remove(at), Event::Down(None));
                }
                scripts.run(&new, Event::Up);
                up.push(*new);
                debug_assert!(up.len() <= FAMILIES, "two families");
            }
            Ok(Some(Record::Down(down))) => break Some(down),
            // Whoever had the link is gone, and the link with it.
            Ok(None) => break None,
            Err(why) => {
                say(&why.to_string());
                break None;
            }
        }
    };
    for up in up.iter().rev() {
        scripts.run(up, Event::Down(down));
    }
}

#[derive(Clone, Copy)]
enum Event {
    Up,
    Down(Option<Down>),
}

impl Scripts {
    /// `/etc/ppp/ip-up`, which Debian's ppp has, looks after `ip-up.d` itself. Where there is none, its work is done here.
    fn run(&self, up: &Up, event: Event) {
        let name = match (up.local, event) {
            (IpAddr::V4(_), Event::Up) => "ip-up",
            (IpAddr::V4(_), Event::Down(_)) => "ip-down",
            (IpAddr::V6(_), Event::Up) => "ipv6-up",
            (IpAddr::V6(_), Event::Down(_)) => "ipv6-down",
        };
        let until = Instant::now() + self.limit;
        let (arguments, mut environment) = (arguments(up), environment(up, event));
        let whole = self.folder.join(name);
        if whole.exists() {
            return self.start(&whole, &arguments, &environment, until);
        }
        let names = ["IFACE", "TTY", "SPEED", "LOCAL", "REMOTE", "IPPARAM"];
        environment
            .extend(names.iter().zip(&arguments).map(|(n, value)| (format!("PPP_{n}"), value.clone())));
        environment.insert("PPP_TTYNAME".into(), up.device.clone());
        for script in parts(&self.folder.join(format!("{name}.d"))) {
            self.start(&script, &arguments, &environment, until);
        }
    }

    fn start(
        &self,
        script: &Path,
        arguments: &[String],
        environment: &BTreeMap<String, String>,
        until: Instant,
    ) {
        let shown = script.display();
        if let Err(why) = may_run(script) {
            return say(&format!("{shown} is not run: {why}"));
        }
        let child = Command::new(script)
            .args(arguments)
            .env_clear()
            .envs(environment)
            .current_dir("/")
            .stdin(Stdio::null())
            // The log's.
            .stdout(std::io::stderr())
            .process_group(0)
            .spawn();
        match child.map(|child| wait(child, until)) {
            Ok(Some(status)) if status.success() => {}
            Ok(Some(status)) => match (status.code(), status.signal()) {
                (Some(code), _) => say(&format!("{shown} failed: exit code {code}")),
                (None, signal) => say(&format!("{shown} was ended by signal {}", signal.unwrap_or(0))),
            },
            Ok(None) => {
                say(&format!("{shown} took longer than {} s and was ended", self.limit.as_secs()));
            }
            Err(why) => say(&format!("{shown} can't be run: {why}")),
        }
    }
}

/// As pppd gives them: interface, tty, speed, both addresses, `ipparam`.
fn arguments(up: &Up) -> [String; 6] {
    let (interface, device) = (up.interface.clone(), up.device.clone());
    [interface, device, "0".into(), up.local.to_string(), up.remote.to_string(), up.parameter.clone()]
}

/// As pppd 2.5 gives it (pppd(8), "SCRIPTS").
fn environment(up: &Up, event: Event) -> BTreeMap<String, String> {
    let (local, remote) = match up.local {
        IpAddr::V4(_) => ("IPLOCAL", "IPREMOTE"),
        IpAddr::V6(_) => ("LLLOCAL", "LLREMOTE"),
    };
    let mut all = vec![
        ("PATH", PATH.to_owned()),
        ("DEVICE", up.device.clone()),
        ("IFNAME", up.interface.clone()),
        (local, up.local.to_string()),
        (remote, up.remote.to_string()),
        ("SPEED", "0".into()),
        ("ORIG_UID", "0".into()),
        ("PPPLOGNAME", "root".into()),
    ];
    for (name, value) in [("LINKNAME", &up.link), ("PEERNAME", &up.peer)] {
        all.extend((!value.is_empty()).then(|| (name, value.clone())));
    }
    if up.use_peer_dns {
        all.push(("USEPEERDNS", "1".into()));
        all.extend(["DNS1", "DNS2"].into_iter().zip(up.dns.iter().map(IpAddr::to_string)));
        all.extend(["WINS1", "WINS2"].into_iter().zip(up.wins.iter().map(ToString::to_string)));
    }
    if let Event::Down(Some(down)) = event {
        all.push(("CONNECT_TIME", down.seconds.to_string()));
        all.push(("BYTES_SENT", down.sent.to_string()));
        all.push(("BYTES_RCVD", down.received.to_string()));
    }
    all.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// What `run-parts` takes of a folder, in its order: names of letters, digits, `_` and `-`.
fn parts(folder: &Path) -> Vec<PathBuf> {
    let named_well = |name: &OsStr| {
        let fits = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-');
        !name.is_empty() && name.as_encoded_bytes().iter().all(fits)
    };
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut all: Vec<PathBuf> = entries.filter(|e| named_well(&e.file_name())).map(|e| e.path()).collect();
    // What is not executable is switched off.
    all.retain(|path| fs::metadata(path).is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0));
    all.sort_unstable();
    all
}

/// What others than its runner may write would run as its runner.
fn may_run(script: &Path) -> Result<(), String> {
    let us = nix::unistd::geteuid().as_raw();
    for path in [Some(script), script.parent()].into_iter().flatten() {
        let facts = fs::metadata(path).map_err(|e| e.to_string())?;
        if facts.uid() != us && facts.uid() != 0 {
            return Err(format!("{} is not root's", path.display()));
        }
        if facts.permissions().mode() & 0o022 != 0 {
            return Err(format!("others may write {}", path.display()));
        }
    }
    Ok(())
}

/// How it ended, by then; one that does not is ended, with all that it has started. None: that was so.
fn wait(mut child: Child, until: Instant) -> Option<ExitStatus> {
    let id = i32::try_from(child.id()).ok().map(Pid::from_raw)?;
    let (ended, when) = mpsc::channel();
    std::thread::spawn(move || {
        // It is not reaped yet: until then nobody else has its number, or its group's.
        let _ = ended.send(waitid(Id::Pid(id), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT));
    });
    if when.recv_timeout(until.saturating_duration_since(Instant::now())).is_ok() {
        return child.wait().ok();
    }
    // It may just have ended by itself, and what it has started may not.
    let _ = killpg(id, Signal::SIGTERM);
    let _ = when.recv_timeout(GRACE);
    let _ = killpg(id, Signal::SIGKILL);
    let _ = child.wait();
    None
}

/// Into the log.
fn say(text: &str) {
    // There is nobody else to tell.
    let _ = writeln!(std::io::stderr(), "{text}");
}
