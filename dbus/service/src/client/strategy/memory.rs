//! What worked last in a network: a file a profile, in the daemon's state.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use adit_core::Step;
use adit_plan::strategy::{Memory, NetworkKey};
use adit_profile::TunnelKind;

use super::way::Place;
use crate::blocking::blocking;
use crate::daemon::Daemon;

/// The network in which this host is now.
pub(super) async fn network(daemon: &Daemon, to: Option<&Place>) -> Option<NetworkKey> {
    let way = daemon.host().path_to(to?.remote.ip()).await.ok()?;
    Some(NetworkKey::new(&way.link, way.gateway))
}

/// What worked there.
pub(super) async fn of(daemon: &Daemon, profile: &str, network: &NetworkKey) -> Option<TunnelKind> {
    let path = path(daemon, profile);
    let read = move || read(&path);
    let memory = blocking(Step::Profile, "reading what worked last", read).await.ok()?;
    memory.of(network).and_then(TunnelKind::from_word)
}

/// This has worked there. Where it can't be written down, it is not known next time, and nothing else is lost.
pub(super) async fn learn(daemon: &Daemon, profile: &str, network: NetworkKey, kind: TunnelKind) {
    let path = path(daemon, profile);
    let write = move || -> io::Result<()> {
        let mut memory = read(&path);
        if memory.of(&network) == Some(kind.as_str()) {
            return Ok(());
        }
        memory.learn(&network, kind.as_str());
        write(&path, &memory.to_string())
    };
    match blocking(Step::Profile, "writing down what worked", write).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(profile, %error, "what worked is not written down"),
        Err(why) => tracing::warn!(profile, %why, "what worked is not written down"),
    }
}

fn path(daemon: &Daemon, profile: &str) -> PathBuf {
    daemon.settings().state.join("strategy").join(profile)
}

fn read(path: &Path) -> Memory {
    std::fs::read_to_string(path).map(|text| Memory::read(&text)).unwrap_or_default()
}

fn write(path: &Path, text: &str) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    // No profile's name has this.
    let mut new = path.as_os_str().to_owned();
    new.push("~");
    let new = PathBuf::from(new);
    std::fs::File::create(&new)?.write_all(text.as_bytes())?;
    std::fs::rename(&new, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("strategy/corp");
        assert_eq!(read(&path), Memory::default());
        let network = NetworkKey::new("wlan0", None);
        let mut memory = Memory::default();
        memory.learn(&network, "sstp");
        write(&path, &memory.to_string()).unwrap();
        write(&path, &memory.to_string()).unwrap();
        assert_eq!(read(&path).of(&network), Some("sstp"));
        assert_eq!(std::fs::read_dir(folder.path().join("strategy")).unwrap().count(), 1);
    }
}
