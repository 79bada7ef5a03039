//! XML as tables. No document type has a say: entities of its own, and files that it names, do not exist.

use roxmltree::{Document, Node as Xml, ParsingOptions};

use crate::report::ImportError;
use crate::tree::{DEEPEST, MOST_NODES, Node, Table};

/// The document without its DOCTYPE, which may only name the usual one.
pub(crate) fn without_doctype(text: &str) -> Result<String, ImportError> {
    let Some(start) = text.find("<!DOCTYPE") else { return Ok(text.to_owned()) };
    let (before, rest) = text.split_at_checked(start).unwrap_or((text, ""));
    let Some((doctype, after)) = rest.split_once('>').filter(|(doctype, _)| !doctype.contains('[')) else {
        return Err(ImportError::new(
            "it has a document type of its own",
            "take the part <!DOCTYPE … > out of it",
        ));
    };
    // As many lines, so that places stay right.
    Ok(format!("{before}{}{after}", "\n".repeat(doctype.matches('\n').count())))
}

/// Parses what [`without_doctype`] gave.
pub(crate) fn parse(text: &str) -> Result<Document<'_>, ImportError> {
    let limit = u32::try_from(MOST_NODES).unwrap_or(u32::MAX).saturating_mul(4);
    let options = ParsingOptions { allow_dtd: false, nodes_limit: limit, ..ParsingOptions::default() };
    Document::parse_with_options(text, options)
        .map_err(|error| ImportError::new(format!("it is not XML: {error}"), "name another file"))
}

/// An element's attributes and elements by name; one that has neither is a text.
pub(crate) fn table(element: Xml<'_, '_>) -> Result<Node, ImportError> {
    below(element, 0)
}

fn below(element: Xml<'_, '_>, depth: usize) -> Result<Node, ImportError> {
    if depth > DEEPEST {
        return Err(ImportError::new("it is nested too deeply", "name another file"));
    }
    let mut table = Table::default();
    for attribute in element.attributes().filter(|a| a.namespace().is_none()) {
        table.push(format!("@{}", attribute.name()), Node::text(attribute.value()));
    }
    let mut any = table.entries().next().is_some();
    for child in element.children().filter(Xml::is_element) {
        any = true;
        table.push(child.tag_name().name(), below(child, depth.saturating_add(1))?);
    }
    let text = || element.children().filter_map(|c| c.text()).collect::<String>();
    Ok(if any { Node::Table(table) } else { Node::text(text()) })
}
