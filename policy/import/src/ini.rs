//! Sections in brackets, and `key=value` lines: keyfiles of GLib, and Windows' phone books.

use crate::report::ImportError;
use crate::tree::{MOST_NODES, Node, Table};

/// How a line's value is written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    /// With `\s`, `\n`, `\t`, `\r`, `\\`; `#` begins a comment.
    Keyfile,
    /// As it is; `;` begins a comment.
    Windows,
}

/// Each section is a table. A section that comes twice is two tables for a phone book, one for a keyfile.
pub(crate) fn read(text: &str, style: Style) -> Result<Table, ImportError> {
    let mut root = Table::default();
    let mut section: Option<(String, Table)> = None;
    let mut count = 0_usize;
    for (n, line) in text.lines().enumerate() {
        let line = line.trim_start().trim_end_matches('\r');
        let comment = match style {
            Style::Keyfile => line.starts_with('#'),
            Style::Windows => line.starts_with(';'),
        };
        if line.trim().is_empty() || comment {
            continue;
        }
        let bad = |what: &str| {
            let text = format!("line {}: {what}", n.saturating_add(1));
            ImportError::new(text, "a section is [name], a line is key=value")
        };
        count = count.saturating_add(1);
        if count > MOST_NODES {
            return Err(bad("there are too many lines"));
        }
        if let Some(name) = line.trim_end().strip_prefix('[').and_then(|l| l.strip_suffix(']')) {
            close(&mut root, section.replace((name.to_owned(), Table::default())));
            continue;
        }
        let Some((key, value)) = line.split_once('=') else { return Err(bad("it has no =")) };
        let Some((_, table)) = &mut section else { return Err(bad("it stands before the first section")) };
        let value = match style {
            Style::Keyfile => unescaped(value.trim_start()),
            Style::Windows => value.to_owned(),
        };
        table.push(key.trim(), Node::text(value));
    }
    close(&mut root, section);
    Ok(root)
}

fn close(root: &mut Table, section: Option<(String, Table)>) {
    if let Some((name, table)) = section {
        root.push(name, Node::Table(table));
    }
}

fn unescaped(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match chars.next() {
            Some('s') => out.push(' '),
            Some('n') => out.push('\n'),
            Some('t') => out.push('\t'),
            Some('r') => out.push('\r'),
            Some('\\') | None => out.push('\\'),
            // A list's separator that is none, and whatever else is escaped.
            Some(other) => {
                out.push('\\');
                out.push(other);
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_keyfile_is_read() {
        let root = read("# mine\n[vpn]\nuser = CORP\\\\ann\npassword=a\\sb=c \n", Style::Keyfile).unwrap();
        let vpn = root.table("vpn").unwrap();
        assert_eq!((vpn.text("user"), vpn.exact("password")), (Some("CORP\\ann"), Some("a b=c ")));
        for bad in ["x=1\n", "[a]\nhello\n"] {
            assert!(read(bad, Style::Keyfile).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_phone_book_has_the_same_key_several_times() {
        let root = read("[Corp]\r\nDevice=a\\b\r\nDevice=c\r\n", Style::Windows).unwrap();
        assert_eq!(root.table("Corp").unwrap().texts("device"), ["a\\b", "c"]);
    }
}
