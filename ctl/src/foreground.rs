//! `ctl up --foreground`: a daemon for one command. It speaks with nobody but who started it and whoever may open the private
//! socket, raises nothing by itself, and ends with the command, however that ends.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};

use adit_core::{Failure, FailureCode, Step};
use adit_dbus_api::{connect_private, connect_stream, names};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, ChildStderr, Command};
use tokio::task::JoinHandle;
use zbus::Connection;

use crate::doctor::DAEMON_PLACES;
use crate::ended::Ended;
use crate::exit::Status;
use crate::interrupt::Interrupts;
use crate::output::Output;

/// A daemon that this command has started for itself.
pub(crate) struct Daemon {
    child: Child,
    /// The way to it.
    pub(crate) connection: Connection,
    log: JoinHandle<()>,
}

impl Daemon {
    /// Starts it, and waits until it serves.
    ///
    /// # Errors
    /// A daemon runs already, `aditd` is not installed, or it has said why it does not start.
    pub(crate) async fn start(name: &str, output: Output) -> Result<Self, Ended> {
        if connect_private(names::SOCKET).await.is_ok() {
            let text = "aditd runs already, and there can be one only";
            let hint = format!("have it do that: ctl up {name}");
            let failure = Failure::new(FailureCode::ConfigurationInvalid, Step::Profile, text).hint(hint);
            return Err(Ended::failed(name, failure));
        }
        let (ours, theirs) = UnixStream::pair().map_err(|error| not_started(name, &error.to_string()))?;
        let mut child = Command::new(program())
            .args(["--foreground", "--log", "warn"])
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            // What manages this command does not manage that one.
            .env_remove("NOTIFY_SOCKET")
            .env_remove("WATCHDOG_USEC")
            .env_remove("WATCHDOG_PID")
            // Ctrl-C is for this command, which has the daemon undo what it did.
            .process_group(0)
            .spawn()
            .map_err(|error| not_started(name, &format!("{}: {error}", program().display())))?;
        let last = Arc::new(Mutex::new(String::new()));
        let log = tokio::spawn(follow(child.stderr.take(), Arc::clone(&last), output));
        match connect_stream(ours.into()).await {
            Ok(connection) => Ok(Self { child, connection, log }),
            Err(error) => {
                // It has gone, or goes now: its end of the socket is the last.
                let _ = child.wait().await;
                let _ = log.await;
                let last = last.lock().unwrap_or_else(PoisonError::into_inner).clone();
                Err(not_started(name, if last.is_empty() { error.to_string() } else { last }.as_str()))
            }
        }
    }

    /// Has it end, and waits until what it changed on this host is undone. Another Ctrl-C ends the wait, not the work.
    pub(crate) async fn end(mut self, name: &str, interrupts: &mut Interrupts) -> Result<(), Ended> {
        let _ = self.connection.close().await;
        let ended = tokio::select! {
            ended = self.child.wait() => ended,
            () = interrupts.next() => return Err(Ended::Said(Status::INTERRUPTED)),
        };
        let _ = self.log.await;
        match ended {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(died(name, &status.to_string())),
            Err(error) => Err(died(name, &error.to_string())),
        }
    }
}

/// Beside this program, else where packages put it. `PATH` is the caller's, and has no say in what runs as root.
fn program() -> PathBuf {
    let beside = std::env::current_exe().ok().map(|own| own.with_file_name("aditd"));
    let all = beside.into_iter().chain(DAEMON_PLACES.iter().map(PathBuf::from));
    all.into_iter().find(|path| path.exists()).unwrap_or_else(|| PathBuf::from("/usr/sbin/aditd"))
}

/// What it complains of, as it comes; the last of it may be why it does not start.
async fn follow(lines: Option<ChildStderr>, last: Arc<Mutex<String>>, output: Output) {
    let Some(lines) = lines else { return };
    let mut lines = BufReader::new(lines).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        match line.strip_prefix("aditd: ") {
            Some(why) => *last.lock().unwrap_or_else(PoisonError::into_inner) = why.to_owned(),
            None => output.complain(&format!("{line}\n")),
        }
    }
}

fn not_started(name: &str, why: &str) -> Ended {
    let text = format!("aditd cannot be started: {why}");
    let root = nix::unistd::geteuid().is_root();
    let failure = match root {
        true => {
            Failure::new(FailureCode::NotFound, Step::Profile, text).hint("see what is missing: ctl doctor")
        }
        false => Failure::new(FailureCode::NotAuthorized, Step::Profile, text)
            .hint(format!("sudo ctl up --foreground {name}")),
    };
    let status = if root { Status::NOT_RUNNING } else { Status::NOT_AUTHORIZED };
    Ended::Failure { about: name.to_owned(), failure, status }
}

fn died(name: &str, how: &str) -> Ended {
    let text = format!("aditd did not end in good order: {how}");
    let hint = "the next start undoes what it has left";
    let failure = Failure::new(FailureCode::Internal, Step::Close, text).hint(hint);
    Ended::Failure { about: name.to_owned(), failure, status: Status::DEACTIVATION }
}
