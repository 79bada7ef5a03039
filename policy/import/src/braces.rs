//! strongSwan's own syntax (strongswan.conf(5)): `name = value`, `name { … }`, `#`; the format of swanctl.conf.

use crate::report::ImportError;
use crate::tree::{DEEPEST, MOST_NODES, Node, Table};

/// Reads it. `include` is refused: it names files.
pub(crate) fn read(text: &str) -> Result<Table, ImportError> {
    let mut reader = Reader { rest: text, line: 1, count: 0 };
    let root = reader.section(0)?;
    Ok(root)
}

struct Reader<'t> {
    rest: &'t str,
    line: usize,
    count: usize,
}

impl<'t> Reader<'t> {
    fn wrong(&self, what: &str) -> ImportError {
        let next = "a section is  name { … }, a line is  name = value";
        ImportError::new(format!("line {}: {what}", self.line), next)
    }

    /// Until its closing brace, or the end of the file.
    fn section(&mut self, depth: usize) -> Result<Table, ImportError> {
        if depth > DEEPEST {
            return Err(self.wrong("sections are nested too deeply"));
        }
        let mut table = Table::default();
        loop {
            self.blank();
            if let Some(rest) = self.rest.strip_prefix('}') {
                if depth == 0 {
                    return Err(self.wrong("a brace closes nothing"));
                }
                self.rest = rest;
                return Ok(table);
            }
            if self.rest.is_empty() {
                return if depth == 0 { Ok(table) } else { Err(self.wrong("a brace is not closed")) };
            }
            self.count = self.count.saturating_add(1);
            if self.count > MOST_NODES {
                return Err(self.wrong("there are too many lines"));
            }
            self.entry(&mut table, depth)?;
        }
    }

    fn entry(&mut self, table: &mut Table, depth: usize) -> Result<(), ImportError> {
        let end =
            self.rest.find(|c: char| c.is_whitespace() || "={}#:,".contains(c)).unwrap_or(self.rest.len());
        let name = self.take(end).to_owned();
        if name == "include" {
            let file = self.line_value();
            return Err(self.wrong(&format!("it includes {}: put its lines here", file.escape_debug())));
        }
        if name.is_empty() {
            return Err(self.wrong("there is no name"));
        }
        self.spaces();
        if self.rest.starts_with(':') {
            return Err(self.wrong(
                "a section takes over another one, which is not understood here: write its lines out",
            ));
        }
        if let Some(rest) = self.rest.strip_prefix('=') {
            self.rest = rest;
            let value = self.value()?;
            table.push(name, Node::text(value));
            return Ok(());
        }
        self.blank();
        let Some(rest) = self.rest.strip_prefix('{') else {
            return Err(self.wrong("neither = nor { comes after a name"));
        };
        self.rest = rest;
        let below = self.section(depth.saturating_add(1))?;
        table.push(name, Node::Table(below));
        Ok(())
    }

    fn take(&mut self, length: usize) -> &'t str {
        let (taken, rest) = self.rest.split_at_checked(length).unwrap_or((self.rest, ""));
        self.line = self.line.saturating_add(taken.matches('\n').count());
        self.rest = rest;
        taken
    }

    fn spaces(&mut self) {
        let end = self.rest.find(|c: char| !matches!(c, ' ' | '\t' | '\r')).unwrap_or(self.rest.len());
        self.take(end);
    }

    /// White space and comments.
    fn blank(&mut self) {
        loop {
            let end = self.rest.find(|c: char| !c.is_whitespace()).unwrap_or(self.rest.len());
            self.take(end);
            if !self.rest.starts_with('#') {
                return;
            }
            let end = self.rest.find('\n').unwrap_or(self.rest.len());
            self.take(end);
        }
    }

    fn line_value(&mut self) -> String {
        let end = self.rest.find(['\n', '#', '}']).unwrap_or(self.rest.len());
        self.take(end).trim().to_owned()
    }

    /// A line, or a string in quotation marks, in which `\"`, `\\`, `\n`, `\r`, `\t` are escaped.
    fn value(&mut self) -> Result<String, ImportError> {
        self.spaces();
        let Some(rest) = self.rest.strip_prefix('"') else { return Ok(self.line_value()) };
        self.rest = rest;
        let mut out = String::new();
        let mut chars = self.rest.char_indices();
        while let Some((at, c)) = chars.next() {
            match c {
                '"' => {
                    self.take(at.saturating_add(1));
                    return Ok(out);
                }
                '\\' => match chars.next() {
                    Some((_, 'n')) => out.push('\n'),
                    Some((_, 'r')) => out.push('\r'),
                    Some((_, 't')) => out.push('\t'),
                    Some((_, '\n')) => {}
                    Some((_, other)) => out.push(other),
                    None => break,
                },
                c => out.push(c),
            }
        }
        Err(self.wrong("a quotation mark is not closed"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_and_values_are_read() {
        let text = "# c\nconnections {\n  corp { # x\n    remote_addrs = 192.0.2.1, vpn  # y\n    local { id = \"a \\\"b\\\" # c\" }\n  }\n}\n";
        let root = read(text).unwrap();
        let corp = root.table("connections").unwrap().table("corp").unwrap();
        assert_eq!(corp.text("remote_addrs"), Some("192.0.2.1, vpn"));
        assert_eq!(corp.table("local").unwrap().text("id"), Some("a \"b\" # c"));
    }

    #[test]
    fn what_is_not_whole_is_told_with_its_line() {
        for (text, what) in [
            ("a {\n", "line 2: a brace is not closed"),
            ("}", "line 1: a brace closes nothing"),
            ("a\nb", "neither = nor {"),
            ("a = \"x", "a quotation mark"),
            ("include /etc/shadow", "it includes /etc/shadow"),
        ] {
            let error = read(text).err().unwrap().text;
            assert!(error.contains(what), "{error}");
        }
        assert!(read(&"a {".repeat(100_000)).is_err());
    }
}
