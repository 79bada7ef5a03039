use std::path::PathBuf;

use adit_import::{Format, Imported, LeftOut};

use super::{Palette, clean, wrap};

/// What became of a connection of another program's file. `typed` is what to type again.
pub(crate) fn imported(
    profile: &Imported,
    paths: &[PathBuf],
    typed: &str,
    format: Format,
    palette: Palette,
    width: usize,
) -> String {
    let name = profile.name.as_str();
    let whole = profile.toml.is_some();
    let head = if whole { palette.bold(name) } else { palette.red(name) };
    let became = match (whole, paths.is_empty()) {
        (true, false) => "imported from",
        (true, true) => "can be made of",
        (false, _) => "not imported: see below; it is",
    };
    let mut out =
        format!("{head}  {became} \"{}\" of {}\n", clean(&profile.called).replace('\n', " "), format.name());
    let mut rows = Rows { out: &mut out, palette, width };
    for path in paths {
        rows.row("wrote", &path.display().to_string());
    }
    let carried: Vec<String> = profile.carried.iter().map(|(from, to)| format!("{from} → {to}")).collect();
    rows.items("carried", &carried);
    grouped(&profile.left_out, &mut rows);
    weak(profile, &mut rows, typed);
    for missing in &profile.missing {
        rows.row("missing", &missing.what);
        rows.row("", &format!("do: {}", missing.next));
    }
    for note in &profile.notes {
        rows.row("note", note);
    }
    if whole && !paths.is_empty() {
        rows.row("next", &format!("ctl up {name}"));
    }
    out
}

/// What belongs to no connection.
pub(crate) fn left_over(left_out: &[LeftOut], palette: Palette, width: usize) -> String {
    let mut out = String::new();
    grouped(left_out, &mut Rows { out: &mut out, palette, width });
    out
}

struct Rows<'r> {
    out: &'r mut String,
    palette: Palette,
    width: usize,
}

impl Rows<'_> {
    fn row(&mut self, label: &str, text: &str) {
        if !text.is_empty() {
            let text = wrap(&clean(text), 12, 12, self.width);
            self.out.push_str(&format!("  {}{text}\n", self.palette.dim(format!("{label:<10}"))));
        }
    }
}

impl Rows<'_> {
    /// Several, none of which is broken.
    fn items(&mut self, label: &str, items: &[String]) {
        const SPACE: &str = "\u{1}";
        let whole: Vec<String> = items.iter().map(|item| clean(item).replace(' ', SPACE)).collect();
        if !whole.is_empty() {
            let text = wrap(&whole.join(", "), 12, 12, self.width).replace(SPACE, " ");
            self.out.push_str(&format!("  {}{text}\n", self.palette.dim(format!("{label:<10}"))));
        }
    }
}

/// Keys that were left out for the same reason stand together.
fn grouped(left_out: &[LeftOut], rows: &mut Rows<'_>) {
    let mut told: Vec<&str> = Vec::new();
    for left in left_out {
        if told.contains(&left.why.as_str()) {
            continue;
        }
        told.push(&left.why);
        let keys: Vec<&str> = left_out.iter().filter(|l| l.why == left.why).map(|l| l.key.as_str()).collect();
        rows.row("left out", &format!("{}: {}", keys.join(", "), left.why));
    }
}

fn weak(profile: &Imported, rows: &mut Rows<'_>, typed: &str) {
    for weak in &profile.weak {
        let word = weak.weakening.as_str();
        if weak.taken {
            rows.row("taken", &format!("{} ({word}): {}", weak.key, weak.weakening.why()));
            continue;
        }
        rows.row("refused", &format!("{} ({word}): {}", weak.key, weak.weakening.why()));
        rows.row("", &format!("safely: {}", weak.weakening.instead()));
        if weak.weakening.can_be_accepted() {
            let more = if profile.toml.is_some() { " --replace" } else { "" };
            rows.row("", &format!("all the same: {typed} --accept {word}{more}"));
        }
    }
}
