//! The last full run, kept in docs/lab.md with its commit.

use std::{fs, path::Path, process::Command};

use crate::shell::{output, root};

const HEADING: &str = "## The last full run\n";

/// Replaces the document's last section with what this run said.
///
/// # Errors
/// The file that can't be read or written, or git's words.
pub(crate) fn write(stage: &Path) -> Result<(), String> {
    let summary = stage.join("summary");
    let said = fs::read_to_string(&summary).map_err(|e| format!("{}: {e}", summary.display()))?;
    let git = |arguments: &[&str]| output(Command::new("git").current_dir(root()).args(arguments));
    let commit = git(&["log", "-1", "--format=%h of %cs"])?;
    let changed = if git(&["status", "--porcelain", "--untracked-files=no"])?.is_empty() {
        ""
    } else {
        ", with changes"
    };
    let file = root().join("docs/lab.md");
    let text = fs::read_to_string(&file).map_err(|e| format!("{}: {e}", file.display()))?;
    let before = text.split(HEADING).next().unwrap_or(&text);
    let section = format!("{HEADING}\nCommit {}{changed}:\n\n```text\n{said}```\n", commit.trim());
    fs::write(&file, format!("{before}{section}")).map_err(|e| format!("{}: {e}", file.display()))
}
