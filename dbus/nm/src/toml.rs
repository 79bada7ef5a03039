//! A profile's text as it is written, without a copy of its secrets left behind.

use std::fmt::Write;

use zeroize::Zeroizing;

/// Room for a profile with its certificates: a text that grew would leave copies of itself in memory.
const ROOM: usize = 256 * 1024;

/// A profile on its way to the daemon.
pub(crate) struct Toml(Zeroizing<String>);

impl Default for Toml {
    fn default() -> Self {
        Self(Zeroizing::new(String::with_capacity(ROOM)))
    }
}

impl Toml {
    /// `key = "value"`.
    pub(crate) fn text(&mut self, key: &str, value: &str) {
        self.key(key);
        self.quoted(value);
        self.0.push('\n');
    }

    /// `key = ["value", …]`.
    pub(crate) fn list<T: AsRef<str>>(&mut self, key: &str, values: &[T]) {
        self.key(key);
        self.0.push('[');
        for (n, value) in values.iter().enumerate() {
            self.0.push_str(if n == 0 { "" } else { ", " });
            self.quoted(value.as_ref());
        }
        self.0.push_str("]\n");
    }

    /// `key = value`: a number or a truth value.
    pub(crate) fn bare(&mut self, key: &str, value: impl std::fmt::Display) {
        self.key(key);
        // Writing to a String does not fail.
        let _ = writeln!(self.0, "{value}");
    }

    /// A line that is written already.
    pub(crate) fn line(&mut self, line: &str) {
        self.0.push_str(line);
        self.0.push('\n');
    }

    /// The whole text.
    pub(crate) fn done(self) -> Zeroizing<String> {
        self.0
    }

    /// Keys come from a connection: whatever is no bare key is quoted too.
    fn key(&mut self, key: &str) {
        let bare = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        match !key.is_empty() && key.chars().all(bare) {
            true => self.0.push_str(key),
            false => self.quoted(key),
        }
        self.0.push_str(" = ");
    }

    fn quoted(&mut self, text: &str) {
        self.0.push('"');
        for c in text.chars() {
            match c {
                '"' | '\\' => {
                    self.0.push('\\');
                    self.0.push(c);
                }
                c if c.is_control() => {
                    let _ = write!(self.0, "\\u{:04X}", u32::from(c));
                }
                c => self.0.push(c),
            }
        }
        self.0.push('"');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_stands_in_a_value_stays_in_it() {
        let mut toml = Toml::default();
        toml.text("psk", "a\"b\\c\nauth = \"none\"\u{7f}é");
        toml.list("ca", &["one", "two\u{1}"]);
        toml.bare("mtu", 1400);
        toml.text("x = 1\ny", "z");
        let expected = concat!(
            "psk = \"a\\\"b\\\\c\\u000Aauth = \\\"none\\\"\\u007Fé\"\n",
            "ca = [\"one\", \"two\\u0001\"]\nmtu = 1400\n\"x = 1\\u000Ay\" = \"z\"\n",
        );
        assert_eq!(*toml.done(), expected);
    }
}
