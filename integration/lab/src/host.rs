//! One host: a network namespace, and a mount namespace with `/etc`, `/var`, `/run` and `/tmp` of its own.

use std::{
    io::Read,
    os::{fd::OwnedFd, unix::fs::MetadataExt},
    path::PathBuf,
    process::{Command, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use adit_lab::scenario::Scenario;
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal},
};

/// Search path of everything that runs on a host; `/mnt` is the lab's working folder.
const PATH: &str = "/mnt/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A host that stands.
#[derive(Clone, Debug)]
pub(crate) struct Host {
    /// Its name in the scenario.
    pub(crate) name: String,
    /// Its network namespace's name below `/run/netns`.
    pub(crate) netns: String,
    /// File that holds its mount namespace.
    pub(crate) mounts: PathBuf,
    /// Its own folder, outside.
    pub(crate) folder: PathBuf,
    /// The same folder, seen from inside.
    pub(crate) inside: String,
}

/// What a command did.
#[derive(Debug, Default)]
pub(crate) struct Done {
    /// Exit code; none after a signal.
    pub(crate) exit: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Host {
    /// A program inside the host. It replaces `nsenter`, so the child's process number is the program's.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/run/netns/{}", self.netns));
        command.arg(format!("--mount={}", self.mounts.display()));
        command.args(["--", program]);
        command.env_clear().env("PATH", PATH).env("HOME", "/root").env("LC_ALL", "C.UTF-8");
        command.env("LAB_MARKER", Scenario::marker()).env("LAB", &self.inside);
        command.current_dir("/").stdin(Stdio::null());
        command
    }

    /// A shell script inside the host, ended after `within`.
    pub(crate) fn shell(&self, script: &str, within: Duration) -> Result<Done, String> {
        self.shell_heard(script, within, |_| ())
    }

    /// The same, each line of its output going to `heard` as it comes.
    pub(crate) fn shell_heard(
        &self,
        script: &str,
        within: Duration,
        heard: fn(&str),
    ) -> Result<Done, String> {
        let mut command = self.command("timeout");
        command.args(["-k", "2"]).arg(format!("{:.1}", within.as_secs_f64())).args(["sh", "-c", script]);
        run(&mut command, heard)
    }

    /// A script that must end in 0; its standard output.
    pub(crate) fn must(&self, script: &str) -> Result<String, String> {
        let done = self.shell(script, Duration::from_secs(30))?;
        if done.exit == Some(0) {
            Ok(done.stdout)
        } else {
            Err(format!("{}: {script}: exit {:?}: {}", self.name, done.exit, done.stderr.trim_end()))
        }
    }

    /// Ends every process of the host.
    pub(crate) fn kill_all(&self) {
        let deadline = Instant::now() + Duration::from_secs(5);
        loop {
            let processes = self.processes();
            let left = deadline.saturating_duration_since(Instant::now());
            if processes.is_empty() || left.is_zero() {
                return;
            }
            for process in &processes {
                // It may have ended by itself.
                let _ = pidfd_send_signal(process, Signal::KILL);
            }
            // What they have started meanwhile is found in the next round.
            for process in &processes {
                let left = deadline.saturating_duration_since(Instant::now());
                let _ =
                    poll(&mut [PollFd::new(process, PollFlags::IN)], Timespec::try_from(left).ok().as_ref());
            }
        }
    }

    /// Those that see the host's mounts. A descriptor is of one process and no other, however numbers are used again.
    fn processes(&self) -> Vec<OwnedFd> {
        let Ok(ours) = std::fs::metadata(&self.mounts) else { return Vec::new() };
        let its = |pid: i32| {
            let process = pidfd_open(Pid::from_raw(pid)?, PidfdFlags::empty()).ok()?;
            let mounts = std::fs::metadata(format!("/proc/{pid}/ns/mnt")).ok()?;
            ((mounts.dev(), mounts.ino()) == (ours.dev(), ours.ino())).then_some(process)
        };
        let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
        entries.filter_map(|entry| its(entry.file_name().to_str()?.parse().ok()?)).collect()
    }
}

impl Done {
    /// Standard output and standard error.
    pub(crate) fn both(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }
}

/// Runs it to its end. What it leaves in the background may hold its output open: that is not waited for.
pub(crate) fn run(command: &mut Command, heard: fn(&str)) -> Result<Done, String> {
    let shown = format!("{command:?}");
    let mut child =
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().map_err(|e| format!("{shown}: {e}"))?;
    let stdout = child.stdout.take().map(|pipe| reader(pipe, heard));
    let stderr = child.stderr.take().map(|pipe| reader(pipe, heard));
    let status = child.wait().map_err(|e| format!("{shown}: {e}"))?;
    Ok(Done { exit: status.code(), stdout: collect(stdout), stderr: collect(stderr) })
}

fn collect(chunks: Option<mpsc::Receiver<Vec<u8>>>) -> String {
    let mut all = Vec::new();
    if let Some(chunks) = chunks {
        while let Ok(chunk) = chunks.recv_timeout(Duration::from_millis(500)) {
            all.extend(chunk);
        }
    }
    String::from_utf8_lossy(&all).into_owned()
}

fn reader(mut pipe: impl Read + Send + 'static, heard: fn(&str)) -> mpsc::Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut buffer = [0_u8; 8192];
        let mut line: Vec<u8> = Vec::new();
        while let Ok(count @ 1..) = pipe.read(&mut buffer) {
            let chunk = buffer.get(..count).unwrap_or_default();
            for byte in chunk {
                if *byte == b'\n' {
                    heard(&String::from_utf8_lossy(&line));
                    line.clear();
                } else {
                    line.push(*byte);
                }
            }
            if sender.send(chunk.to_vec()).is_err() {
                break;
            }
        }
    });
    receiver
}
