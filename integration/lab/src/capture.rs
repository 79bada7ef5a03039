//! Captures of wires, taken outside of the hosts.

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::topology::Topology;

/// tcpdump on each port, running.
pub(crate) struct Captures(Vec<(String, PathBuf, Child)>);

impl Captures {
    /// Starts those of the wires that are `taken` and waits until each listens.
    pub(crate) fn start(
        topology: &Topology,
        folder: &Path,
        taken: impl Fn(&String) -> bool,
    ) -> Result<Self, String> {
        fs::create_dir_all(folder).map_err(|e| format!("{}: {e}", folder.display()))?;
        let mut captures = Self(Vec::new());
        let mut listening = Vec::new();
        for (interface, port) in topology.ports().filter(|(interface, _)| taken(interface)) {
            let file = folder.join(format!("{}.pcap", interface.replace(':', "-")));
            let mut command = topology.tcpdump(port, &file);
            let mut child = command
                .stdout(Stdio::null())
                .stderr(Stdio::piped())
                .spawn()
                .map_err(|e| format!("tcpdump: {e}"))?;
            let (sender, receiver) = mpsc::channel();
            if let Some(stderr) = child.stderr.take() {
                thread::spawn(move || {
                    for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                        let _ = sender.send(line);
                    }
                });
            }
            captures.0.push((interface.clone(), file, child));
            listening.push(receiver);
        }
        for lines in listening {
            loop {
                match lines.recv_timeout(Duration::from_secs(20)) {
                    Ok(line) if line.contains("listening on") => break,
                    Ok(_) => {}
                    Err(_) => return Err("tcpdump does not listen".to_owned()),
                }
            }
        }
        Ok(captures)
    }

    /// Ends them; the file of each interface.
    pub(crate) fn stop(mut self) -> BTreeMap<String, PathBuf> {
        self.end();
        self.0.drain(..).map(|(interface, file, _)| (interface, file)).collect()
    }

    fn end(&mut self) {
        for (_, _, child) in &self.0 {
            let _ = kill(Pid::from_raw(i32::try_from(child.id()).unwrap_or(i32::MAX)), Signal::SIGINT);
        }
        for (_, _, child) in &mut self.0 {
            let _ = child.wait();
        }
    }
}

impl Drop for Captures {
    fn drop(&mut self) {
        self.end();
    }
}
