//! Citations: `[7296:2.1-1]` in a comment.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use crate::shell::root;

/// What a citation stands in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Side {
    Code,
    Test,
}

/// One citation.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Citation {
    /// What is cited: `7296:2.1-1`.
    pub(super) id: String,
    /// The file, from the workspace's root.
    pub(super) file: PathBuf,
    /// From 0.
    pub(super) line: usize,
    pub(super) side: Side,
    /// The function below it, or around it.
    pub(super) function: Option<String>,
}

impl fmt::Display for Citation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file.display(), self.line.saturating_add(1))?;
        self.function.as_ref().map_or(Ok(()), |function| write!(f, " {function}"))
    }
}

/// All citations of the workspace, by file and line.
///
/// # Errors
/// What can't be read.
pub(super) fn scan() -> Result<Vec<Citation>, String> {
    let mut files = Vec::new();
    walk(&root(), Path::new(""), &mut files)?;
    files.sort();
    let mut out = Vec::new();
    for file in files {
        let path = root().join(&file);
        let text = fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
        out.extend(citations(&file, &text));
    }
    Ok(out)
}

/// Rust everywhere, and the cases of the conformance suite.
fn walk(root: &Path, folder: &Path, out: &mut Vec<PathBuf>) -> Result<(), String> {
    let path = root.join(folder);
    let entries = fs::read_dir(&path).map_err(|e| format!("{}: {e}", path.display()))?;
    for entry in entries.flatten() {
        let name = entry.file_name();
        let text = name.to_string_lossy();
        let file = folder.join(&name);
        let kind = entry.file_type().map_err(|e| format!("{}: {e}", file.display()))?;
        if kind.is_dir() {
            // This command's own texts are about citations and are none.
            let apart = text.starts_with('.') || text == "target" || file == Path::new("integration/xtask");
            if !apart {
                walk(root, &file, out)?;
            }
        } else if text.ends_with(".rs") || text == "case.toml" {
            out.push(file);
        }
    }
    Ok(())
}

fn citations(file: &Path, text: &str) -> Vec<Citation> {
    let lines: Vec<&str> = text.lines().collect();
    let begins = |pair: &[&str]| matches!(pair, ["#[cfg(test)]", next] if next.starts_with("mod ") && next.ends_with('{'));
    let own_tests = lines.windows(2).position(begins).unwrap_or(usize::MAX);
    let is_case = file.extension().is_some_and(|e| e == "toml");
    let mark = if is_case { "#" } else { "//" };
    let mut out = Vec::new();
    for (line, text) in lines.iter().enumerate() {
        let Some((_, comment)) = text.split_once(mark) else {
            continue;
        };
        let of_tests = is_case || file.components().any(|c| c.as_os_str() == "tests") || line > own_tests;
        for id in ids(comment) {
            let function = if is_case {
                file.parent().and_then(Path::file_name).map(|n| n.to_string_lossy().into_owned())
            } else {
                function(&lines, line)
            };
            out.push(Citation {
                id: id.to_owned(),
                file: file.to_owned(),
                line,
                side: if of_tests { Side::Test } else { Side::Code },
                function,
            });
        }
    }
    out
}

/// `7296:2.1-1` of each `[7296:2.1-1]`.
fn ids(comment: &str) -> impl Iterator<Item = &str> {
    comment.split('[').skip(1).filter_map(|rest| {
        let (id, _) = rest.split_once(']')?;
        let (rfc, place) = id.split_once(':')?;
        let digits = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
        let (section, ordinal) = place.rsplit_once('-')?;
        (rfc.len() == 4 && digits(rfc) && digits(ordinal) && section.split('.').all(digits)).then_some(id)
    })
}

/// The function that a comment stands in front of; else the one that it stands in.
fn function(lines: &[&str], line: usize) -> Option<String> {
    let below = lines.iter().skip(line).map(|l| l.trim());
    let below = below.skip_while(|l| l.starts_with("//") || l.starts_with("#[")).find(|l| !l.is_empty());
    below.and_then(fn_name).or_else(|| {
        let above = lines.get(..line).unwrap_or_default();
        above.iter().rev().find_map(|l| fn_name(l.trim()))
    })
}

fn fn_name(line: &str) -> Option<String> {
    let rest = match line.strip_prefix("fn ") {
        Some(rest) => rest,
        None => {
            let (before, rest) = line.split_once(" fn ")?;
            let words = ["pub", "const", "async", "unsafe", "pub(crate)", "pub(super)"];
            before.split(' ').all(|w| words.contains(&w)).then_some(rest)?
        }
    };
    let name = rest.split(|c: char| c != '_' && !c.is_ascii_alphanumeric()).next()?;
    (!name.is_empty()).then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
//! Not [7296] nor [text].
fn a() {
    // Why. [7296:2.1-1] [7296:2.1-2]
    if b {}
}

#[cfg(test)]
mod tests {
    /// [7296:3.13.1-4]
    #[test]
    fn proves() {}
}
";

    fn found(file: &str) -> Vec<(String, Side, Option<String>)> {
        citations(Path::new(file), TEXT).into_iter().map(|c| (c.id, c.side, c.function)).collect()
    }

    #[test]
    fn citations_have_a_side_and_a_function() {
        let of = |id: &str, side, name: &str| (id.to_owned(), side, Some(name.to_owned()));
        assert_eq!(
            found("src/a.rs"),
            [
                of("7296:2.1-1", Side::Code, "a"),
                of("7296:2.1-2", Side::Code, "a"),
                of("7296:3.13.1-4", Side::Test, "proves"),
            ]
        );
        assert!(found("src/tests/a.rs").iter().all(|(_, side, _)| *side == Side::Test));
    }

    #[test]
    fn functions_are_found_by_their_names() {
        assert_eq!(fn_name("pub(crate) const fn x<T>(a: T) {"), Some("x".into()));
        assert_eq!(fn_name("let f = a fn b"), None);
    }
}
