use std::fmt;

use adit_profile::{ProfileError, ProfileErrors, redact};
use miette::{Diagnostic, GraphicalReportHandler, GraphicalTheme, LabeledSpan, NamedSource, SourceCode};

use super::Palette;

/// Every mistake of a profile with its source line; secrets in the source are starred out.
pub(crate) fn mistakes(errors: &ProfileErrors, text: &str, palette: Palette, width: usize) -> String {
    let theme = if palette.colour { GraphicalTheme::unicode() } else { GraphicalTheme::unicode_nocolor() };
    let handler =
        GraphicalReportHandler::new_themed(theme).with_width(width).with_links(false).with_context_lines(1);
    let source = redact(text);
    let mut out = String::new();
    for error in errors.all() {
        let source = NamedSource::new(&error.file, source.clone());
        if handler.render_report(&mut out, &Mistake { error, source }).is_err() {
            out.push_str(&format!("{error}\n"));
        }
        out.push('\n');
    }
    out
}

#[derive(Debug)]
struct Mistake<'e> {
    error: &'e ProfileError,
    source: NamedSource<String>,
}

impl fmt::Display for Mistake<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.error.message)
    }
}

impl std::error::Error for Mistake<'_> {}

impl Diagnostic for Mistake<'_> {
    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        (!self.error.help.is_empty()).then(|| Box::new(&self.error.help) as Box<dyn fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        Some(&self.source)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let span = LabeledSpan::new_with_span(None, self.error.span.clone());
        Some(Box::new(std::iter::once(span)))
    }
}

#[cfg(test)]
mod tests {
    use adit_profile::{Source, parse_profile};

    use super::*;

    #[test]
    fn a_mistake_is_shown_in_its_line_and_a_secret_is_not() {
        let text =
            "server = \"vpn.example.com\"\nauth = \"spk\"\nlocal-id = \"alice\"\npsk = \"0xswordfish\"\n";
        let source = Source { file: "corp.toml", text, access: None };
        let errors = parse_profile(&"corp".parse().unwrap(), &source, &|_, _| Ok(Vec::new())).unwrap_err();
        let shown = mistakes(&errors, text, Palette { colour: false }, 80);
        assert_eq!(
            shown,
            r#"  × `auth`: "spk" is not a value it can have
   ╭─[corp.toml:2:8]
 1 │ server = "vpn.example.com"
 2 │ auth = "spk"
   ·        ─────
 3 │ local-id = "alice"
   ╰────
  help: allowed: "psk", "certificate", "eap"; did you mean "psk"?

  × `psk`: the PSK starts with 0x but is not hexadecimal
   ╭─[corp.toml:4:7]
 3 │ local-id = "alice"
 4 │ psk = "***********"
   ·       ─────────────
   ╰────
  help: allowed: an even number of digits 0-9 a-f after 0x

"#
        );
    }
}
