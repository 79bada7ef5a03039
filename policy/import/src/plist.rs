//! Property lists of Apple's systems, in their XML form.

use roxmltree::Node as Xml;

use crate::report::ImportError;
use crate::tree::{DEEPEST, Node, Table};
use crate::xml;

/// The dictionary that the list is.
pub(crate) fn read(text: &str) -> Result<Table, ImportError> {
    let text = zeroize::Zeroizing::new(xml::without_doctype(text)?);
    let document = xml::parse(&text)?;
    let root = document.root_element();
    let first = root.children().find(Xml::is_element).filter(|_| root.tag_name().name() == "plist");
    match first.map(|first| value(first, 0)) {
        Some(Ok(Node::Table(table))) => Ok(table),
        Some(Err(error)) => Err(error),
        _ => Err(ImportError::new("it is no property list with a dictionary", "name another file")),
    }
}

fn value(element: Xml<'_, '_>, depth: usize) -> Result<Node, ImportError> {
    if depth > DEEPEST {
        return Err(ImportError::new("it is nested too deeply", "name another file"));
    }
    let text = || element.children().filter_map(|c| c.text()).collect::<String>();
    let below = |child| value(child, depth.saturating_add(1));
    Ok(match element.tag_name().name() {
        "dict" => Node::Table(dictionary(element, depth)?),
        "array" => {
            Node::List(element.children().filter(Xml::is_element).map(below).collect::<Result<_, _>>()?)
        }
        "true" => Node::text("true"),
        "false" => Node::text("false"),
        "data" => Node::text(text().split_whitespace().collect::<String>()),
        _ => Node::text(text()),
    })
}

fn dictionary(element: Xml<'_, '_>, depth: usize) -> Result<Table, ImportError> {
    let mut table = Table::default();
    let mut key = None;
    for child in element.children().filter(Xml::is_element) {
        if child.tag_name().name() == "key" {
            key = Some(child.text().unwrap_or("").trim().to_owned());
        } else if let Some(key) = key.take() {
            table.push(key, value(child, depth.saturating_add(1))?);
        } else {
            return Err(ImportError::new("a value of a dictionary has no key", "name another file"));
        }
    }
    Ok(table)
}

/// What `<data>` holds.
pub(crate) fn data(text: &str) -> Option<zeroize::Zeroizing<Vec<u8>>> {
    <base64ct::Base64 as base64ct::Encoding>::decode_vec(text).ok().map(zeroize::Zeroizing::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_property_list_is_read() {
        let text = r#"<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">
<plist version="1.0"><dict><key>A</key><integer>1</integer><key>B</key><array><dict><key>C</key><true/></dict></array>
<key>D</key><data> aGVs
bG8= </data></dict></plist>"#;
        let root = read(text).unwrap();
        assert_eq!(root.text("A"), Some("1"));
        assert_eq!(root.tables("B").first().unwrap().flag("C"), Some(true));
        assert_eq!(data(root.text("D").unwrap()).unwrap().as_slice(), b"hello");
    }

    #[test]
    fn entities_and_depth_have_an_end() {
        let bomb = "<!DOCTYPE plist [<!ENTITY a \"aaaa\">]><plist><dict><key>a</key><string>&a;</string></dict></plist>";
        assert!(read(bomb).is_err());
        let deep = format!("<plist>{}{}</plist>", "<array>".repeat(5000), "</array>".repeat(5000));
        assert!(read(&deep).is_err());
        assert!(read("<plist><dict><string>x</string></dict></plist>").is_err());
    }
}
