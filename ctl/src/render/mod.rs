//! Every text that people see, as functions of values, a palette and a width.

mod doctor;
mod event;
mod failure;
#[cfg(test)]
mod golden;
mod human;
mod import;
mod list;
mod log;
mod mistakes;
mod palette;
pub(crate) mod report;
pub(crate) mod says;
mod status;

use std::borrow::Cow;

pub(crate) use doctor::checks;
pub(crate) use event::{Event, event};
pub(crate) use failure::failure;
pub(crate) use human::{clock, date};
pub(crate) use import::{imported, left_over};
pub(crate) use list::{profile, profiles};
pub(crate) use log::log_entry;
pub(crate) use mistakes::mistakes;
pub(crate) use palette::Palette;
pub(crate) use status::{bare, block, table, up_line};

#[cfg(test)]
pub(crate) use status::tests as fixtures;

/// Rows of cells as columns: two spaces between, nothing after the last, `-` for an empty cell. Column `coloured` has the
/// state's colour.
fn columns<const N: usize>(
    header: [&str; N],
    rows: &[[Cow<'_, str>; N]],
    coloured: usize,
    palette: Palette,
) -> String {
    // Once for the table, not once for each cell: there may be 20,000 rows.
    let width = |n: usize| {
        let cells = rows.iter().filter_map(|row| row.get(n)).map(|c| shown(c).max(1));
        cells.chain(header.get(n).map(|h| h.len())).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..header.len()).map(width).collect();
    let last = header.len().saturating_sub(1);
    let pad = |n: usize, text: &str, padded: &mut String| {
        padded.clear();
        padded.push_str(text);
        if n != last {
            let used = shown(text);
            let width = widths.get(n).copied().unwrap_or(0).saturating_add(2);
            padded.extend(std::iter::repeat_n(' ', width.saturating_sub(used)));
        }
    };
    let (mut out, mut padded) = (String::new(), String::new());
    for (n, head) in header.iter().enumerate() {
        pad(n, head, &mut padded);
        out.push_str(&padded);
    }
    out.push('\n');
    for row in rows {
        for (n, text) in row.iter().enumerate() {
            pad(n, if text.is_empty() { "-" } else { text }, &mut padded);
            match n == coloured && palette.colour {
                true => out.push_str(&palette.state(text, &padded)),
                false => out.push_str(&padded),
            }
        }
        out.push('\n');
    }
    out
}

/// How many columns a cell takes.
fn shown(text: &str) -> usize {
    if text.is_ascii() { text.len() } else { text.chars().count() }
}

/// Text in lines of at most `width` characters, all but the first indented by `indent`. Words that are longer stay
/// whole: a command must be copied as it is.
fn wrap(text: &str, first: usize, indent: usize, width: usize) -> String {
    let mut out = String::new();
    let mut column = first;
    let mut begun = false;
    for word in text.split_whitespace() {
        let length = word.chars().count();
        if begun && column.saturating_add(1).saturating_add(length) > width {
            out.push('\n');
            out.push_str(&" ".repeat(indent));
            column = indent;
        } else if begun {
            out.push(' ');
            column = column.saturating_add(1);
        }
        out.push_str(word);
        column = column.saturating_add(length);
        begun = true;
    }
    out
}

/// Text from elsewhere, without what would drive a terminal.
fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\n' { '\u{fffd}' } else { c }).collect()
}
