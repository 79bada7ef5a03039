//! A man page from Markdown: the same text that is read in docs/ and at `man`.

use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};

/// The page `name(section)`. A text that does not begin with NAME gets one of its first heading.
pub(super) fn page(name: &str, section: &str, text: &str) -> String {
    let mut page = Page::default();
    page.line(&format!(".TH {} {section} \"\" Adit \"Adit\"", name.to_uppercase()));
    let mut skipped = 0;
    if !text.starts_with("# NAME") {
        let title = text.lines().next().unwrap_or_default();
        skipped = title.len();
        page.line(&format!(".SH NAME\n{name} \\- {}", escaped(title.trim_start_matches("# "))));
        page.line(".SH DESCRIPTION");
    }
    let rest = text.get(skipped..).unwrap_or_default();
    for event in Parser::new_ext(rest, Options::ENABLE_TABLES) {
        page.event(event);
    }
    page.out
}

#[derive(Default)]
struct Page {
    out: String,
    /// Cells of the row of a table so far.
    row: Option<Vec<String>>,
    /// Items of the lists that are open; ordered ones count.
    lists: Vec<Option<u64>>,
    /// Whether the paragraph is the first of an item, which has its own macro before it.
    is_item: bool,
}

impl Page {
    fn line(&mut self, text: &str) {
        if !self.out.is_empty() && !self.out.ends_with('\n') {
            self.out.push('\n');
        }
        self.out.push_str(text);
        self.out.push('\n');
    }

    /// Text goes into the cell of a table, or onto the page.
    fn say(&mut self, text: &str) {
        match self.row.as_mut().and_then(|row| row.last_mut()) {
            Some(cell) => cell.push_str(text),
            None => self.out.push_str(text),
        }
    }

    fn event(&mut self, event: Event<'_>) {
        match event {
            Event::Start(tag) => self.start(&tag),
            Event::End(tag) => self.end(tag),
            Event::Text(text) => {
                for line in text.split_inclusive('\n') {
                    let line = self.guarded(&escaped(line));
                    self.say(&line);
                }
            }
            Event::Code(text) => {
                let text = format!("\\fB{}\\fR", escaped(&text));
                self.say(&text);
            }
            Event::SoftBreak | Event::HardBreak if self.row.is_some() => self.say(" "),
            Event::SoftBreak => self.say("\n"),
            Event::HardBreak => self.line(".br"),
            _ => {}
        }
    }

    /// A line that begins with a dot or an apostrophe would be a request.
    fn guarded(&self, text: &str) -> String {
        let is_at_start = self.row.is_none() && self.out.ends_with('\n');
        if is_at_start && text.starts_with(['.', '\'']) { format!("\\&{text}") } else { text.to_owned() }
    }

    fn start(&mut self, tag: &Tag<'_>) {
        match tag {
            Tag::Heading { .. } => self.line(".SH"),
            Tag::Paragraph if self.is_item => self.is_item = false,
            Tag::Paragraph => self.line(".PP"),
            Tag::CodeBlock(_) => self.line(".PP\n.RS 4\n.nf"),
            Tag::List(first) => self.lists.push(*first),
            Tag::Item => self.item(),
            Tag::TableHead | Tag::TableRow => self.row = Some(Vec::new()),
            Tag::TableCell => {
                if let Some(row) = &mut self.row {
                    row.push(String::new());
                }
            }
            Tag::Strong => self.say("\\fB"),
            Tag::Emphasis => self.say("\\fI"),
            _ => {}
        }
    }

    fn item(&mut self) {
        let mark = match self.lists.last_mut() {
            Some(Some(number)) => {
                let mark = format!("{number}.");
                *number = number.saturating_add(1);
                mark
            }
            _ => "\\(bu".to_owned(),
        };
        self.line(&format!(".IP {mark} 3"));
        self.is_item = true;
    }

    fn end(&mut self, tag: TagEnd) {
        match tag {
            TagEnd::Heading(_) => self.out.push('\n'),
            TagEnd::CodeBlock => self.line(".fi\n.RE"),
            TagEnd::List(_) => {
                self.lists.pop();
            }
            TagEnd::Item => self.is_item = false,
            TagEnd::TableHead => self.row = None,
            TagEnd::TableRow => self.end_row(),
            TagEnd::Strong | TagEnd::Emphasis => self.say("\\fR"),
            _ => {}
        }
    }

    /// A table's row is an entry: its first cell, then what is said of it. The last cell, where there are three, is what holds
    /// without it.
    fn end_row(&mut self) {
        let row = self.row.take().unwrap_or_default();
        let mut cells = row.iter().filter(|cell| !cell.is_empty());
        let Some(first) = cells.next() else { return };
        self.line(&format!(".TP\n{first}"));
        let rest: Vec<&str> = cells.map(String::as_str).collect();
        match (rest.as_slice(), row.len()) {
            ([about, without], 3) => self.line(&format!("{about}. Without it: {without}.")),
            (rest, _) => self.line(&rest.join(". ")),
        }
    }
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\e").replace('-', "\\-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headings_code_lists_and_tables() {
        let text = "# Title of it\n\nWords `key` and **more**.\n\n## Part\n\n```toml\na = \"-\"\n.b\n```\n\n- one\n- two\n\n\
                    | key | value | without it |\n|---|---|---|\n| `mtu` | bytes | what fits |\n";
        let page = page("adit-x", "5", text);
        let expected = ".TH ADIT-X 5 \"\" Adit \"Adit\"\n.SH NAME\nadit-x \\- Title of it\n.SH DESCRIPTION\n.PP\n\
                        Words \\fBkey\\fR and \\fBmore\\fR.\n.SH\nPart\n.PP\n.RS 4\n.nf\na = \"\\-\"\n\\&.b\n.fi\n.RE\n\
                        .IP \\(bu 3\none\n.IP \\(bu 3\ntwo\n.TP\n\\fBmtu\\fR\nbytes. Without it: what fits.\n";
        assert_eq!(page, expected);
    }

    #[test]
    fn a_line_is_no_request() {
        assert!(
            page("a", "7", "# NAME\n\na - b\n\n# FILES\n\n.profile is\n'quoted\n")
                .contains("\n\\&.profile is\n\\&'quoted")
        );
    }
}
