//! The introspection documents, and a way to compare what a service says of itself with them.

use std::collections::BTreeSet;

/// `org.adit1.Manager`.
pub const MANAGER: &str = include_str!("../xml/org.adit1.Manager.xml");
/// `org.adit1.Profile`.
pub const PROFILE: &str = include_str!("../xml/org.adit1.Profile.xml");
/// `org.adit1.Connection`.
pub const CONNECTION: &str = include_str!("../xml/org.adit1.Connection.xml");

/// The members of `interface` in an introspection document, one line each: `method Up in:s in:a{sv} out:o`,
/// `signal Progress s s`, `property State s read`. Names of arguments and annotations do not count.
#[must_use]
pub fn members(xml: &str, interface: &str) -> BTreeSet<String> {
    let mut out = BTreeSet::new();
    let (mut inside, mut member) = (false, None::<String>);
    for tag in xml.split('<').skip(1) {
        let tag = tag.split('>').next().unwrap_or("");
        let name = tag.split([' ', '\n', '/']).next().unwrap_or("");
        let value = |key: &str| attribute(tag, key).unwrap_or("");
        let empty = tag.ends_with('/');
        match name {
            "interface" => inside = value("name") == interface,
            "method" | "signal" if inside => {
                out.extend(member.take());
                member = Some(format!("{name} {}", value("name")));
            }
            "property" if inside => {
                out.insert(format!("property {} {} {}", value("name"), value("type"), value("access")));
            }
            "arg" => {
                if let Some(member) = &mut member {
                    let direction = match (member.starts_with("signal"), value("direction")) {
                        (true, _) => "",
                        (false, "out") => "out:",
                        (false, _) => "in:",
                    };
                    *member = format!("{member} {direction}{}", value("type"));
                }
            }
            _ => {}
        }
        let ends = tag.starts_with("/method") || tag.starts_with("/signal");
        if ends || (empty && matches!(name, "method" | "signal")) {
            out.extend(member.take());
        }
    }
    out
}

fn attribute<'t>(tag: &'t str, key: &str) -> Option<&'t str> {
    let after = tag.split(&format!(" {key}=\"")).nth(1)?;
    after.split('"').next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_read_whatever_the_layout() {
        let xml = r#"<node><interface name="a.B"><method name="Up"><arg name="x" type="s" direction="in"/>
            <arg type="o" direction="out"/></method><method name="No"/><signal name="S"><arg type="t" name="y"/></signal>
            <property name="P" type="as" access="read"><annotation name="q" value="r"/></property></interface>
            <interface name="c.D"><method name="Other"/></interface></node>"#;
        let found: Vec<String> = members(xml, "a.B").into_iter().collect();
        assert_eq!(found, ["method No", "method Up in:s out:o", "property P as read", "signal S t"]);
    }
}
