//! Kernel settings below `/proc/sys/net`, shared by connections that want the same one.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::{Component, Path, PathBuf};

use super::{FormerSetting, HostError, Undo};

/// Settings that connections hold: what they were before the first, and how many there are.
#[derive(Default)]
pub(super) struct Settings(BTreeMap<String, Held>);

struct Held {
    undo: Undo,
    holders: usize,
}

impl Settings {
    pub(super) fn undo_of(&self, key: &str, value: &str) -> Result<Option<Undo>, HostError> {
        if let Some(held) = self.0.get(key) {
            return Ok(Some(held.undo.clone()));
        }
        match read(key)? {
            None => Err(HostError::Invalid(format!("this kernel has no setting {key}"))),
            Some(now) if now == value => Ok(None),
            Some(now) => Ok(Some(Undo::Setting { ours: value.into(), former: snapshot(key, now)? })),
        }
    }

    pub(super) fn apply(&mut self, key: &str, value: &str) -> Result<(), HostError> {
        if let Some(held) = self.0.get_mut(key) {
            held.holders += 1;
            return Ok(());
        }
        let Some(undo) = self.undo_of(key, value)? else { return Ok(()) };
        write(key, value)?;
        self.0.insert(key.into(), Held { undo, holders: 1 });
        Ok(())
    }

    /// A process before has changed it, and one holder goes on.
    pub(super) fn keep(&mut self, undo: &Undo) {
        let Undo::Setting { former, .. } = undo else { return };
        if let Some(first) = former.first() {
            let new = || Held { undo: undo.clone(), holders: 0 };
            self.0.entry(first.key.clone()).or_insert_with(new).holders += 1;
        }
    }

    /// The last holder's undo restores. An undo of a daemon that died has no holder, and restores at once.
    pub(super) fn undo(&mut self, ours: &str, former: &[FormerSetting]) -> Result<(), HostError> {
        let Some(first) = former.first() else { return Ok(()) };
        if let Some(held) = self.0.get_mut(&first.key) {
            held.holders -= 1;
            if held.holders > 0 {
                return Ok(());
            }
            self.0.remove(&first.key);
        }
        if read(&first.key)?.as_deref() != Some(ours) {
            return Ok(());
        }
        for FormerSetting { key, value } in former {
            if read(key)?.is_some() {
                write(key, value)?;
            }
        }
        Ok(())
    }
}

/// The value, without its newline; `None` if there is no such setting (any more).
pub(super) fn read(key: &str) -> Result<Option<String>, HostError> {
    let path = path(key)?;
    match fs::read_to_string(&path) {
        Ok(text) => Ok(Some(text.trim_end().to_owned())),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
        Err(why) => Err(HostError::File { what: format!("reading {}", path.display()), why }),
    }
}

pub(super) fn write(key: &str, value: &str) -> Result<(), HostError> {
    let path = path(key)?;
    fs::write(&path, value)
        .map_err(|why| HostError::File { what: format!("writing {}", path.display()), why })
}

/// The setting, and what the kernel overwrites along with it: turning forwarding on (or off again) for all links
/// gives every link the same value.
fn snapshot(key: &str, value: String) -> Result<Vec<FormerSetting>, HostError> {
    let mut former = vec![FormerSetting { key: key.into(), value }];
    let links = match key {
        "net/ipv4/ip_forward" | "net/ipv4/conf/all/forwarding" => "net/ipv4/conf",
        "net/ipv6/conf/all/forwarding" => "net/ipv6/conf",
        _ => return Ok(former),
    };
    let folder = path(links)?;
    let entries = fs::read_dir(&folder)
        .map_err(|why| HostError::File { what: format!("reading {}", folder.display()), why })?;
    let mut names: Vec<String> = entries.flatten().filter_map(|e| e.file_name().into_string().ok()).collect();
    names.sort_unstable();
    for name in names.iter().filter(|n| *n != "all") {
        let key = format!("{links}/{name}/forwarding");
        if let Some(value) = read(&key)? {
            former.push(FormerSetting { key, value });
        }
    }
    Ok(former)
}

fn path(key: &str) -> Result<PathBuf, HostError> {
    let plain = Path::new(key).components().all(|c| matches!(c, Component::Normal(_)));
    if plain && key.starts_with("net/") {
        return Ok(Path::new("/proc/sys").join(key));
    }
    Err(HostError::Invalid(format!("\"{key}\" is not a setting of the network")))
}
