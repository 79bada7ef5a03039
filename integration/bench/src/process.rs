//! A responder as a process: what it takes of this machine.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::clock;

/// A process that is being measured. It is told to stop when this is dropped.
pub struct Measured {
    child: Child,
}

/// Memory of a process, in bytes.
#[derive(Clone, Copy, Default, Debug)]
pub struct Memory {
    /// Resident, shared libraries and files included: what `ps` shows.
    pub resident: u64,
    /// What no other process shares.
    pub private: u64,
}

impl Measured {
    /// Starts it, its standard error going to `log`.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start(command: &mut Command, log: &Path) -> anyhow::Result<Self> {
        let file = fs::File::create(log).with_context(|| log.display().to_string())?;
        let twin = file.try_clone()?;
        command.stdin(Stdio::null()).stdout(file).stderr(twin);
        let child = command.spawn().with_context(|| format!("{command:?}"))?;
        Ok(Self { child })
    }

    /// Its number.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Its processor time so far.
    ///
    /// # Errors
    /// It has ended.
    pub fn cpu(&self) -> anyhow::Result<Duration> {
        clock::cpu_of(self.id())
    }

    /// Its memory now.
    ///
    /// # Errors
    /// It has ended.
    pub fn memory(&self) -> anyhow::Result<Memory> {
        memory_of(self.id())
    }

    /// Whether it still runs.
    pub fn lives(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }
}

impl Drop for Measured {
    fn drop(&mut self) {
        if let Ok(id) = i32::try_from(self.child.id()) {
            // It has twenty thousand peers to say goodbye to, and they are gone: no grace.
            let _ = kill(Pid::from_raw(id), Signal::SIGKILL);
        }
        let _ = self.child.wait();
    }
}

/// The memory of any process.
///
/// # Errors
/// It has ended.
pub fn memory_of(process: u32) -> anyhow::Result<Memory> {
    let path = format!("/proc/{process}/smaps_rollup");
    let text = fs::read_to_string(&path).with_context(|| path.clone())?;
    let fields: BTreeMap<&str, u64> = text.lines().filter_map(kilobytes).collect();
    let field = |name: &str| fields.get(name).copied().unwrap_or_default();
    if field("Rss") == 0 {
        bail!("{path} says nothing: the process has ended");
    }
    Ok(Memory { resident: field("Rss"), private: field("Private_Clean") + field("Private_Dirty") })
}

/// `Name:   123 kB`, in bytes.
fn kilobytes(line: &str) -> Option<(&str, u64)> {
    let (name, rest) = line.split_once(':')?;
    let number: u64 = rest.trim().strip_suffix(" kB")?.trim().parse().ok()?;
    Some((name, number.saturating_mul(1024)))
}

#[cfg(test)]
mod tests {
    use super::kilobytes;

    #[test]
    fn a_line_of_smaps() {
        assert_eq!(kilobytes("Rss:                1234 kB"), Some(("Rss", 1234 * 1024)));
        assert_eq!(kilobytes("55d0-7ffc ---p 00000000 00:00 0    [rollup]"), None);
    }
}
