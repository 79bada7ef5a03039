use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{HostError, Undo};

/// The undo steps of one connection (or of the server), on disk before the change that they take back.
///
/// A file of JSON lines, `{"n":3,"undo":…}` for a step and `{"n":3,"done":true}` once it was taken back, each written
/// and synced before the call returns. A crash can leave a last line unfinished, and lines of one call missing: their
/// changes were not made yet. Calls block on the disk.
pub struct Journal {
    path: PathBuf,
    file: Option<File>,
    steps: BTreeMap<u64, Undo>,
    next: u64,
    lines: usize,
}

#[derive(Serialize, Deserialize)]
struct Line {
    n: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    undo: Option<Undo>,
    #[serde(default, skip_serializing_if = "core::ops::Not::not")]
    done: bool,
}

impl Journal {
    /// The journal `folder/name.journal`, with what is in it already.
    ///
    /// # Errors
    /// It can't be read, or `name` is not made of letters, digits, `.`, `_` and `-`.
    pub fn open(folder: &Path, name: &str) -> Result<Self, HostError> {
        let plain = !name.is_empty()
            && name.len() <= 128
            && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'));
        if !plain {
            return Err(HostError::Invalid(format!("\"{name}\" is not a journal's name")));
        }
        Self::read(folder.join(format!("{name}.journal")))
    }

    fn read(path: PathBuf) -> Result<Self, HostError> {
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(e) if e.kind() == io::ErrorKind::NotFound => String::new(),
            Err(why) => return Err(failed("reading", &path)(why)),
        };
        let mut journal = Self { path, file: None, steps: BTreeMap::new(), next: 0, lines: 0 };
        for line in text.lines().filter_map(|l| serde_json::from_str::<Line>(l).ok()) {
            journal.next = journal.next.max(line.n + 1);
            journal.lines += 1;
            match line {
                Line { n, undo: Some(undo), done: false } => drop(journal.steps.insert(n, undo)),
                Line { n, .. } => drop(journal.steps.remove(&n)),
            }
        }
        // An unfinished last line would swallow the next one: start from a clean file.
        if !text.is_empty() && !text.ends_with('\n') {
            journal.rewrite()?;
        }
        Ok(journal)
    }

    /// Writes steps down, all or none. Returns their numbers.
    ///
    /// # Errors
    /// They are not on disk.
    pub fn push(&mut self, undos: Vec<Undo>) -> Result<Vec<u64>, HostError> {
        let steps: Vec<(u64, Undo)> = (self.next..).zip(undos).collect();
        let lines = steps.iter().map(|(n, undo)| Line { n: *n, undo: Some(undo.clone()), done: false });
        self.append(&lines.collect::<Vec<_>>())?;
        let numbers: Vec<u64> = steps.iter().map(|(n, _)| *n).collect();
        self.next = numbers.last().map_or(self.next, |last| last + 1);
        self.steps.extend(steps);
        Ok(numbers)
    }

    /// Strikes steps out. With the last one the file goes.
    ///
    /// # Errors
    /// They may still be on disk: they would be taken back once more, which changes nothing.
    pub fn strike(&mut self, numbers: &[u64]) -> Result<(), HostError> {
        let mut struck = numbers.to_vec();
        struck.retain(|n| self.steps.remove(n).is_some());
        if struck.is_empty() {
            return Ok(());
        }
        if self.steps.is_empty() {
            self.file = None;
            self.lines = 0;
            return match fs::remove_file(&self.path) {
                Err(why) if why.kind() != io::ErrorKind::NotFound => Err(failed("removing", &self.path)(why)),
                _ => self.sync_folder(),
            };
        }
        let lines = struck.into_iter().map(|n| Line { n, undo: None, done: true });
        self.append(&lines.collect::<Vec<_>>())?;
        if self.lines > 2 * self.steps.len() + 256 { self.rewrite() } else { Ok(()) }
    }

    /// The steps that stand, first to last, with their numbers.
    pub fn steps(&self) -> impl DoubleEndedIterator<Item = (u64, &Undo)> {
        self.steps.iter().map(|(n, undo)| (*n, undo))
    }

    /// Whether nothing is left to undo.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// Its name: the connection's.
    #[must_use]
    pub fn name(&self) -> &str {
        self.path.file_stem().and_then(|s| s.to_str()).unwrap_or_default()
    }

    fn append(&mut self, lines: &[Line]) -> Result<(), HostError> {
        if lines.is_empty() {
            return Ok(());
        }
        let mut text = Vec::new();
        for line in lines {
            text.extend(encode(line)?);
            text.push(b'\n');
        }
        let fresh = self.file.is_none();
        let file = match self.file.take() {
            Some(file) => file,
            None => open_for_append(&self.path).map_err(failed("opening", &self.path))?,
        };
        let file = self.file.insert(file);
        file.write_all(&text).and_then(|()| file.sync_data()).map_err(failed("writing", &self.path))?;
        self.lines += lines.len();
        if fresh { self.sync_folder() } else { Ok(()) }
    }

    /// The steps that stand, in a new file in place of the old one.
    fn rewrite(&mut self) -> Result<(), HostError> {
        let beside = self.path.with_extension("new");
        let mut text = Vec::new();
        for (n, undo) in &self.steps {
            text.extend(encode(&Line { n: *n, undo: Some(undo.clone()), done: false })?);
            text.push(b'\n');
        }
        let replace = || {
            let mut file = File::create(&beside)?;
            file.write_all(&text)?;
            file.sync_all()?;
            fs::rename(&beside, &self.path)
        };
        replace().map_err(failed("rewriting", &self.path))?;
        self.file = None;
        self.lines = self.steps.len();
        self.sync_folder()
    }

    fn sync_folder(&self) -> Result<(), HostError> {
        let folder = self.path.parent().unwrap_or(Path::new("."));
        File::open(folder).and_then(|f| f.sync_all()).map_err(failed("syncing", folder))
    }
}

/// The journals in `folder`, by name: what a daemon that died left, and what stands.
///
/// # Errors
/// The folder or one of the journals can't be read.
pub fn leftovers(folder: &Path) -> Result<Vec<Journal>, HostError> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(why) => return Err(failed("reading", folder)(why)),
    };
    let mut paths: Vec<PathBuf> = entries.flatten().map(|e| e.path()).collect();
    paths.retain(|p| p.extension().is_some_and(|e| e == "journal"));
    paths.sort_unstable();
    paths.into_iter().map(Journal::read).collect()
}

fn open_for_append(path: &Path) -> io::Result<File> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    OpenOptions::new().append(true).create(true).open(path)
}

fn encode(line: &Line) -> Result<Vec<u8>, HostError> {
    serde_json::to_vec(line).map_err(|e| HostError::Invalid(format!("a journal's step: {e}")))
}

fn failed(verb: &'static str, path: &Path) -> impl FnOnce(io::Error) -> HostError + use<> {
    let what = format!("{verb} {}", path.display());
    move |why| HostError::File { what, why }
}
