//! Figures beside aims, as a table that a document can hold.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context, bail};

/// A table of Markdown.
pub struct Table {
    heads: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// One with these heads.
    pub fn new(heads: &[&str]) -> Self {
        Self { heads: heads.iter().map(ToString::to_string).collect(), rows: Vec::new() }
    }

    /// One more line.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// As text, columns aligned.
    pub fn text(&self) -> String {
        let width = |column: usize| {
            let cells = self.rows.iter().chain([&self.heads]).filter_map(|r| r.get(column));
            cells.map(|c| c.chars().count()).max().unwrap_or_default()
        };
        let widths: Vec<usize> = (0..self.heads.len()).map(width).collect();
        let mut out = String::new();
        let mut line = |cells: &[String]| {
            let padded = cells.iter().zip(&widths).map(|(cell, width)| format!(" {cell:<width$} |"));
            let _ = writeln!(out, "|{}", padded.collect::<String>());
        };
        line(&self.heads);
        line(&widths.iter().map(|w| "-".repeat(*w)).collect::<Vec<_>>());
        self.rows.iter().for_each(|row| line(row));
        out
    }
}

/// Puts `text` into a document between the two marks of `name`.
///
/// # Errors
/// The document has no such marks, or cannot be written.
pub fn record(document: &Path, name: &str, text: &str) -> anyhow::Result<()> {
    let old = std::fs::read_to_string(document).with_context(|| document.display().to_string())?;
    let new = replaced(&old, name, text).with_context(|| format!("{}: {name}", document.display()))?;
    Ok(std::fs::write(document, new)?)
}

fn replaced(old: &str, name: &str, text: &str) -> anyhow::Result<String> {
    let (begin, end) = (format!("<!-- bench {name} -->\n"), format!("<!-- end of bench {name} -->"));
    let Some((before, rest)) = old.split_once(&begin) else { bail!("there is no line {begin}") };
    let Some((_, after)) = rest.split_once(&end) else { bail!("there is no line {end}") };
    Ok(format!("{before}{begin}\n{}\n\n{end}{after}", text.trim_end()))
}

#[cfg(test)]
mod tests {
    use super::{Table, replaced};

    #[test]
    fn a_table_is_aligned() {
        let mut table = Table::new(&["what", "n"]);
        table.row(["a longer one".into(), "1".into()]);
        assert_eq!(table.text(), "| what         | n |\n| ------------ | - |\n| a longer one | 1 |\n");
    }

    #[test]
    fn only_what_is_between_the_marks_changes() {
        let old = "a\n<!-- bench x -->\nold\n<!-- end of bench x -->\nb\n";
        let new = replaced(old, "x", "new\n").unwrap();
        assert_eq!(new, "a\n<!-- bench x -->\n\nnew\n\n<!-- end of bench x -->\nb\n");
        assert_eq!(replaced(&new, "x", "new").unwrap(), new);
        assert!(replaced(old, "y", "new").is_err());
    }
}
