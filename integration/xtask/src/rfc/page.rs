//! The tables of docs/rfc/README.md.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;

use super::cite::Side;
use super::demand::{List, Standing};
use super::{Cited, Summary};
use crate::shell::root;

/// All below it is written by this command.
const MARK: &str = "<!-- cargo xtask rfc --md writes what follows -->\n";

/// Writes the tables, and leaves what stands above them.
///
/// # Errors
/// What can't be read or written.
pub(super) fn write(lists: &[List], cited: &Cited<'_>) -> Result<(), String> {
    let path = root().join("docs/rfc/README.md");
    let shown = |e| format!("{}: {e}", path.display());
    let text = fs::read_to_string(&path).map_err(shown)?;
    let (above, _) = text.split_once(MARK).ok_or(format!("{}: no line {MARK}", path.display()))?;
    let tables = tables(lists, cited).map_err(|e| e.to_string())?;
    fs::write(&path, format!("{above}{MARK}{tables}")).map_err(shown)
}

fn tables(lists: &[List], cited: &Cited<'_>) -> Result<String, std::fmt::Error> {
    let mut out =
        String::from("\n| RFC | demands | apply | code | test | both |\n|---|---|---|---|---|---|\n");
    for list in lists {
        let s = Summary::of(list, cited);
        let percent = s.permille() / 10;
        writeln!(
            out,
            "| {} | {} | {} | {} | {} | {} ({percent} %) |",
            s.rfc, s.demands, s.applies, s.code, s.test, s.both
        )?;
    }
    for list in lists {
        writeln!(out, "\n## RFC {}: {}\n\n| | | code | test |\n|---|---|---|---|", list.rfc, list.title)?;
        for demand in &list.demands {
            let id = demand.id.split_once(':').map_or("", |(_, id)| id);
            write!(out, "| {id} | {}", demand.says)?;
            match &demand.standing {
                Standing::Not(why) => write!(out, " (does not apply: {why})")?,
                Standing::Open(why) => write!(out, " (**open**: {why})")?,
                Standing::Kept => {}
            }
            writeln!(out, " | {} | {} |", files(cited, &demand.id, Side::Code), tests(cited, &demand.id))?;
        }
    }
    Ok(out)
}

/// Files without their lines, which change with every edit.
fn files(cited: &Cited<'_>, id: &str, side: Side) -> String {
    let names: BTreeSet<String> = cited.of(id, side).map(|c| c.file.display().to_string()).collect();
    names.into_iter().collect::<Vec<_>>().join(", ")
}

fn tests(cited: &Cited<'_>, id: &str) -> String {
    let names: BTreeSet<String> = cited.of(id, Side::Test).filter_map(|c| c.function.clone()).collect();
    names.into_iter().collect::<Vec<_>>().join(", ")
}
