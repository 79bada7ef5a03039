//! What "the opposite" of a line of code is: small edits of text, of which the compiler later says which are Rust.

/// One edit.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Mutation {
    /// From 0.
    pub(super) line: usize,
    /// What the line then is.
    pub(super) after: String,
}

/// How many lines of code below a citation are what it is about.
const REACH: usize = 10;

/// The edits at a citation: those of the nearest line first.
pub(super) fn mutations(text: &str, citation: usize) -> Vec<Mutation> {
    let mut out = Vec::new();
    let (mut code, mut begun) = (0_usize, None);
    for (line, text) in text.lines().enumerate().skip(citation) {
        let trimmed = text.trim();
        let deep = text.len().saturating_sub(text.trim_start().len());
        // A citation may stand behind the code that it is about.
        let (before, _) = text.split_once("//").unwrap_or((text, ""));
        if before.trim().is_empty() || trimmed.starts_with("#[") {
            continue;
        }
        let after_it = code > 1 && is_item(trimmed) && !text.starts_with("        ");
        // What a citation is about ends with its block.
        if after_it || begun.is_some_and(|depth| deep < depth) {
            break;
        }
        begun = begun.or(Some(deep));
        out.extend(of_line(before.trim_end()).into_iter().map(|after| Mutation { line, after }));
        code = code.saturating_add(1);
        if code == REACH {
            break;
        }
    }
    out
}

fn is_item(trimmed: &str) -> bool {
    let words = ["fn ", "pub ", "pub(", "impl ", "const ", "struct ", "enum ", "mod "];
    words.iter().any(|w| trimmed.starts_with(w))
}

const SWAPS: [(&str, &str); 22] = [
    (" == ", " != "),
    (" != ", " == "),
    (" <= ", " > "),
    (" >= ", " < "),
    (" < ", " >= "),
    (" > ", " <= "),
    (" && ", " || "),
    (" || ", " && "),
    ("true", "false"),
    ("false", "true"),
    (".is_some()", ".is_none()"),
    (".is_none()", ".is_some()"),
    (".is_ok()", ".is_err()"),
    (".is_err()", ".is_ok()"),
    (".any(", ".all("),
    (".all(", ".any("),
    (".is_some_and(", ".is_none_or("),
    (".is_none_or(", ".is_some_and("),
    (".is_empty()", ".len() != 0"),
    ("_add(1)", "_add(2)"),
    ("_sub(1)", "_sub(2)"),
    (".to_be_bytes()", ".to_le_bytes()"),
];

fn of_line(text: &str) -> Vec<String> {
    let trimmed = text.trim();
    if trimmed.contains("fn ") && trimmed.ends_with('{') {
        return Vec::new();
    }
    let mut out: Vec<String> = negated(text).into_iter().collect();
    out.extend(dropped(text));
    let swaps = SWAPS.iter().filter(|(from, _)| text.contains(from));
    out.extend(swaps.map(|(from, to)| text.replacen(from, to, 1)));
    out.extend(next_number(text));
    out
}

/// The condition of an `if` or of a match arm, the other way round; an arm without one is never taken.
fn negated(text: &str) -> Option<String> {
    if let Some((before, rest)) = text.split_once("if ")
        && let Some(condition) = rest.strip_suffix(" {").filter(|c| !c.ends_with(" =>"))
    {
        return Some(if condition.contains("let ") {
            format!("{before}if {condition} && std::hint::black_box(false) {{")
        } else {
            format!("{before}if !({condition}) {{")
        });
    }
    let (pattern, value) = text.split_once(" => ")?;
    Some(match pattern.split_once(" if ") {
        Some((pattern, guard)) => format!("{pattern} if !({guard}) => {value}"),
        None if pattern.trim() == "_" => return None,
        None => format!("{pattern} if std::hint::black_box(false) => {value}"),
    })
}

/// A statement that is no more.
fn dropped(text: &str) -> Option<String> {
    let trimmed = text.trim();
    let kept = ["let ", "return", "use ", "const ", "break", "continue", "}", ")", "."];
    let closed = |open: char, close: char| {
        trimmed.matches(open).count() == trimmed.matches(close).count() && trimmed.contains(open)
    };
    let whole = closed('(', ')') || trimmed.contains(" = ") || trimmed.contains("= ");
    let is_statement = trimmed.ends_with(';') && whole && !kept.iter().any(|k| trimmed.starts_with(k));
    is_statement.then(String::new)
}

/// The first number of the line, one more.
fn next_number(text: &str) -> Option<String> {
    let bytes = text.as_bytes();
    let is_word = |b: u8| b == b'_' || b == b'.' || b.is_ascii_alphanumeric();
    let start = (0..bytes.len()).find(|i| {
        let here = bytes.get(*i).is_some_and(u8::is_ascii_digit);
        here && i.checked_sub(1).and_then(|p| bytes.get(p)).is_none_or(|b| !is_word(*b))
    })?;
    let rest = text.get(start..)?;
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    let after = rest.get(digits..)?;
    if after.starts_with('x') || after.starts_with('b') {
        // The lowest digit of `0x20`.
        let hex = after.get(1..)?.bytes().take_while(|b| b.is_ascii_hexdigit() || *b == b'_').count();
        let end = start.checked_add(digits)?.checked_add(1)?.checked_add(hex)?;
        let last = text.get(end.checked_sub(1)?..end)?;
        let other = if last == "1" { "0" } else { "1" };
        return Some(format!("{}{other}{}", text.get(..end.checked_sub(1)?)?, text.get(end..)?));
    }
    let number: u64 = rest.get(..digits)?.parse().ok()?;
    Some(format!("{}{}{after}", text.get(..start)?, number.checked_add(1)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_have_opposites() {
        assert_eq!(negated("    if a.b(c) {").as_deref(), Some("    if !(a.b(c)) {"));
        assert_eq!(
            negated("if let Some(a) = b {").as_deref(),
            Some("if let Some(a) = b && std::hint::black_box(false) {")
        );
        assert_eq!(negated("A if c => {").as_deref(), Some("A if !(c) => {"));
        assert_eq!(negated("A | B if c => d,").as_deref(), Some("A | B if !(c) => d,"));
        assert_eq!(negated("_ => d,"), None);
        assert_eq!(dropped("    self.a = b;").as_deref(), Some(""));
        assert_eq!(dropped("    check(a)?;").as_deref(), Some(""));
        assert_eq!(dropped("    let a = b;"), None);
        assert_eq!(next_number("const A: u8 = 0x20;").as_deref(), Some("const A: u8 = 0x21;"));
        assert_eq!(next_number("vec![0; 32]").as_deref(), Some("vec![1; 32]"));
        assert_eq!(next_number("HmacSha256"), None);
        assert!(of_line("a == b").contains(&"a != b".to_owned()));
    }

    #[test]
    fn the_nearest_line_comes_first_and_the_next_function_never() {
        let text =
            "fn a() {\n    // [7296:2.1-1]\n    if x {\n        y();\n    }\n}\n\nfn b() {\n    z();\n}\n";
        let found = mutations(text, 1);
        assert_eq!(found.first(), Some(&Mutation { line: 2, after: "    if !(x) {".into() }));
        assert!(found.iter().all(|m| m.line < 6));
        let arms =
            "match a {\n    b => {\n        // [7296:2.1-1]\n        c = d;\n    }\n    e if f => g,\n}\n";
        assert!(mutations(arms, 2).iter().all(|m| m.line == 3), "its block has ended");
    }
}
