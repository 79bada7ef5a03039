//! Message-level cases of IKEv2: a scripted peer on one side, an `Endpoint` with a driver that answers at once on the
//! other, and a transcript of everything that comes out. See README.md.

mod case;
mod end;
mod peer;
mod told;
mod words;

use std::fs;
use std::path::{Path, PathBuf};

use case::Case;
use end::End;

/// The folders of all cases, by name.
///
/// # Errors
/// What can't be read.
pub fn cases() -> Result<Vec<PathBuf>, String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("cases");
    let entries = fs::read_dir(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    let mut out: Vec<PathBuf> = entries.flatten().map(|e| e.path()).filter(|p| p.is_dir()).collect();
    out.sort();
    Ok(out)
}

/// Plays one case; what comes out.
///
/// # Errors
/// What is wrong with the case.
pub fn play(folder: &Path) -> Result<String, String> {
    let path = folder.join("case.toml");
    let text = fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
    let case: Case = toml::from_str(&text).map_err(|e| format!("{}: {e}", path.display()))?;
    let mut end = End::new(&case)?;
    for (number, step) in (1..).zip(&case.step) {
        if let Err(why) = end.step(step) {
            return Err(format!("{}, step {number}: {why}\n{}", path.display(), end.finish()));
        }
    }
    Ok(end.finish())
}

/// What should come out of it; nothing if that has not been recorded.
#[must_use]
pub fn expected(folder: &Path) -> Option<String> {
    fs::read_to_string(folder.join("expected.txt")).ok()
}

/// Records what comes out of it.
///
/// # Errors
/// What can't be written.
pub fn bless(folder: &Path, transcript: &str) -> Result<(), String> {
    let path = folder.join("expected.txt");
    fs::write(&path, transcript).map_err(|e| format!("{}: {e}", path.display()))
}
