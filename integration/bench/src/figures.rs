//! Figures that were measured somewhere else (in the lab's VM): a line each, collected into one table.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::report::{self, Table};

/// What a line with a figure begins with.
const MARK: &str = "figure: ";

/// Prints a figure for [`collect`].
pub fn say(what: &str, value: &str) {
    println!("{MARK}{what}: {value}");
}

/// Which figures to collect.
#[derive(clap::Args, Debug)]
pub struct Arguments {
    /// What the table is of
    #[arg(long)]
    title: String,
    /// A column: its head, and a file with figures of it; the same head again, and there are more
    #[arg(long, value_parser = column, value_name = "HEAD=FILE")]
    column: Vec<(String, PathBuf)>,
    /// A document that the table goes into
    #[arg(long, value_name = "FILE", requires = "name")]
    record: Option<PathBuf>,
    /// Its place there
    #[arg(long)]
    name: Option<String>,
}

fn column(text: &str) -> Result<(String, PathBuf), String> {
    let (head, file) = text.split_once('=').ok_or("HEAD=FILE")?;
    Ok((head.to_owned(), file.into()))
}

/// Prints the table, and records it where that is wanted.
///
/// # Errors
/// A file that cannot be read, or that has no figure.
pub fn collect(arguments: &Arguments) -> anyhow::Result<()> {
    let (mut heads, mut columns) = (vec![""], Vec::<Figures>::new());
    for (head, file) in &arguments.column {
        let figures = figures_of(file)?;
        match columns.last_mut().filter(|_| heads.last() == Some(&head.as_str())) {
            Some(column) => column.extend(figures),
            None => {
                heads.push(head);
                columns.push(figures);
            }
        }
    }
    let text = format!("{}\n\n{}", arguments.title, table(&heads, &columns).text());
    print!("{text}");
    match (&arguments.record, &arguments.name) {
        (Some(document), Some(name)) => report::record(document, name, &text),
        _ => Ok(()),
    }
}

type Figures = Vec<(String, String)>;

fn figures_of(file: &Path) -> anyhow::Result<Figures> {
    let text = fs::read_to_string(file).with_context(|| file.display().to_string())?;
    let figures = figures(&text);
    anyhow::ensure!(!figures.is_empty(), "{}: no figure", file.display());
    Ok(figures)
}

fn figures(text: &str) -> Figures {
    let figure = |line: &str| {
        let (what, value) = line.strip_prefix(MARK)?.rsplit_once(": ")?;
        Some((what.to_owned(), value.to_owned()))
    };
    text.lines().filter_map(figure).collect()
}

/// A row for each figure, in the order of the first column that has it.
fn table(heads: &[&str], columns: &[Figures]) -> Table {
    let mut rows: Vec<&str> = Vec::new();
    for (what, _) in columns.iter().flatten() {
        if !rows.contains(&what.as_str()) {
            rows.push(what);
        }
    }
    let mut table = Table::new(heads);
    for what in rows {
        let cell = |column: &Figures| {
            column.iter().find(|(w, _)| w == what).map(|(_, value)| value.clone()).unwrap_or_default()
        };
        table.row(std::iter::once(what.to_owned()).chain(columns.iter().map(cell)));
    }
    table
}

#[cfg(test)]
mod tests {
    use super::{figures, table};

    #[test]
    fn columns_meet_in_rows() {
        let ours = figures("client$ adit-bench\nfigure: CPU: user, ms: 1\nfigure: only ours: 2\nexit 0\n");
        let theirs = figures("figure: CPU: user, ms: 3\n");
        let shown = table(&["", "a", "b"], &[ours, theirs]).text();
        let lines: Vec<&str> = shown.lines().skip(2).collect();
        assert_eq!(lines, ["| CPU: user, ms | 1 | 3 |", "| only ours     | 2 |   |"]);
    }
}
