//! What every format is read into: tables, lists and texts. A text knows whether somebody has asked for it, so that what
//! nobody understood can be told.

use core::cell::Cell;

use zeroize::Zeroizing;

/// How many values a file may have.
pub(crate) const MOST_NODES: usize = 5_000;
/// How deep they may be nested.
pub(crate) const DEEPEST: usize = 24;

/// So many keys that nobody has asked for are told one by one.
pub(crate) const MOST_TOLD: usize = 500;
/// So long is a part of their paths.
const LONGEST_TOLD: usize = 60;

/// A value.
pub(crate) struct Text {
    value: Zeroizing<String>,
    taken: Cell<bool>,
}

/// A value, several, or values by name.
pub(crate) enum Node {
    Text(Text),
    List(Vec<Node>),
    Table(Table),
}

/// Values by name, in the file's order. A name may occur several times.
#[derive(Default)]
pub(crate) struct Table {
    entries: Vec<(String, Node)>,
}

impl Node {
    pub(crate) fn text(value: impl Into<String>) -> Self {
        Self::Text(Text { value: Zeroizing::new(value.into()), taken: Cell::new(false) })
    }

    /// The value, if it is one; it is then no longer one that nobody has asked for.
    pub(crate) fn take(&self) -> Option<&str> {
        match self {
            Self::Text(text) => {
                text.taken.set(true);
                Some(&text.value)
            }
            Self::List(_) | Self::Table(_) => None,
        }
    }

    fn take_all(&self) {
        match self {
            Self::Text(text) => text.taken.set(true),
            Self::List(items) => items.iter().for_each(Self::take_all),
            Self::Table(table) => table.take_all(),
        }
    }

    fn rest<'n>(&'n self, path: &str, out: &mut Vec<(String, &'n str)>) {
        match self {
            Self::Text(text) if !text.taken.get() && out.len() <= MOST_TOLD => {
                out.push((path.to_owned(), &text.value));
            }
            Self::Text(_) => {}
            Self::List(items) => {
                items.iter().enumerate().for_each(|(n, item)| item.rest(&format!("{path}[{n}]"), out));
            }
            Self::Table(table) => table.rest(path, out),
        }
    }
}

impl Table {
    pub(crate) fn push(&mut self, name: impl Into<String>, node: Node) {
        self.entries.push((name.into(), node));
    }

    pub(crate) fn entries(&self) -> impl Iterator<Item = (&str, &Node)> {
        self.entries.iter().map(|(name, node)| (name.as_str(), node))
    }

    fn named<'t>(&'t self, name: &str) -> impl Iterator<Item = &'t Node> {
        self.entries.iter().filter(move |(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, node)| node)
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.named(name).next().is_some()
    }

    /// The value of that name, if it is there and not empty. The case of letters does not count.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.named(name).find_map(Node::take).map(str::trim).filter(|text| !text.is_empty())
    }

    /// The same, with its spaces.
    pub(crate) fn exact(&self, name: &str) -> Option<&str> {
        self.named(name).find_map(Node::take).filter(|text| !text.is_empty())
    }

    /// Every value of that name, those of lists included.
    pub(crate) fn texts<'t>(&'t self, name: &str) -> Vec<&'t str> {
        let mut out = Vec::new();
        for node in self.named(name) {
            match node {
                Node::List(items) => out.extend(items.iter().filter_map(Node::take)),
                other => out.extend(other.take()),
            }
        }
        out.retain(|text| !text.trim().is_empty());
        out
    }

    /// A word for yes or no.
    pub(crate) fn flag(&self, name: &str) -> Option<bool> {
        match self.text(name)?.to_ascii_lowercase().as_str() {
            "yes" | "true" | "1" | "on" => Some(true),
            "no" | "false" | "0" | "off" => Some(false),
            _ => None,
        }
    }

    /// The table of that name.
    pub(crate) fn table(&self, name: &str) -> Option<&Self> {
        self.named(name).find_map(|node| match node {
            Node::Table(table) => Some(table),
            Node::Text(_) | Node::List(_) => None,
        })
    }

    /// Every table of that name, those of lists included.
    pub(crate) fn tables<'t>(&'t self, name: &str) -> Vec<&'t Self> {
        let mut out = Vec::new();
        for node in self.named(name) {
            match node {
                Node::Table(table) => out.push(table),
                Node::List(items) => out.extend(items.iter().filter_map(|item| match item {
                    Node::Table(table) => Some(table),
                    Node::Text(_) | Node::List(_) => None,
                })),
                Node::Text(_) => {}
            }
        }
        out
    }

    /// Everything in it is understood, or told of otherwise.
    pub(crate) fn take_all(&self) {
        self.entries.iter().for_each(|(_, node)| node.take_all());
    }

    /// The same of one name.
    pub(crate) fn take_named(&self, name: &str) {
        self.named(name).for_each(Node::take_all);
    }

    /// What nobody has asked for: its path and value.
    pub(crate) fn rest<'t>(&'t self, path: &str, out: &mut Vec<(String, &'t str)>) {
        for (name, node) in &self.entries {
            let name: String = name.chars().take(LONGEST_TOLD).collect();
            let path = if path.is_empty() { name } else { format!("{path}.{name}") };
            node.rest(&path, out);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_asked_for_is_known() {
        let mut inner = Table::default();
        inner.push("Deep", Node::List(vec![Node::text("a"), Node::text("b")]));
        let mut table = Table::default();
        table.push("server", Node::text(" vpn "));
        table.push("more", Node::Table(inner));
        assert_eq!((table.text("SERVER"), table.text("none")), (Some("vpn"), None));
        let mut rest = Vec::new();
        table.rest("", &mut rest);
        assert_eq!(rest, [("more.Deep[0]".to_owned(), "a"), ("more.Deep[1]".to_owned(), "b")]);
        assert_eq!(table.table("more").unwrap().texts("deep"), ["a", "b"]);
        let mut rest = Vec::new();
        table.rest("", &mut rest);
        assert!(rest.is_empty());
    }
}
