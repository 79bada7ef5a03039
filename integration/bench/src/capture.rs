//! The IKE messages on a wire while something is measured, as tcpdump sees them.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::pcap::{Seen, messages};

/// IKE alone: ESP in UDP has no non-ESP marker (RFC 3948 §2.2), and a stream of it would be measured too.
const IKE: &str = "udp port 500 or (udp port 4500 and udp[8:4] = 0)";

/// tcpdump, running.
pub(crate) struct Capture {
    child: Child,
    file: PathBuf,
}

impl Capture {
    /// Begins one; it sees everything from now on.
    ///
    /// # Errors
    /// tcpdump does not run.
    pub(crate) fn start(interface: &str, file: &Path) -> anyhow::Result<Self> {
        let mut command = Command::new("tcpdump");
        command.args(["-i", interface, "-n", "-U", "-Z", "root"]);
        command.args(["--immediate-mode", "--time-stamp-precision=nano", "-w"]).arg(file).arg(IKE);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().context("tcpdump")?;
        let stderr = child.stderr.take().context("tcpdump")?;
        let mut said = String::new();
        let mut lines = BufReader::new(stderr);
        while !said.contains("listening on") {
            ensure!(lines.read_line(&mut said)? > 0, "tcpdump: {said}");
        }
        Ok(Self { child, file: file.to_owned() })
    }

    /// Ends it.
    ///
    /// # Errors
    /// Its file cannot be read.
    pub(crate) fn stop(mut self) -> anyhow::Result<Vec<Seen>> {
        kill(Pid::from_raw(i32::try_from(self.child.id())?), Signal::SIGINT)?;
        self.child.wait()?;
        let bytes = std::fs::read(&self.file).with_context(|| self.file.display().to_string())?;
        messages(&bytes).with_context(|| format!("{}: no capture", self.file.display()))
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
