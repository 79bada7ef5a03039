//! Names of people and hosts in a text.

/// Endings of what looks like a host's name and is a file's, a unit's, or a setting's.
const NO_DOMAINS: &[&str] = &[
    "toml", "conf", "service", "socket", "target", "slice", "mount", "scope", "timer", "device", "path",
    "pem", "key", "crt", "cer", "psk", "ppk", "password", "secret", "users", "txt", "log", "so", "rs", "md",
    "json", "xml", "sock", "pid", "nft", "sh", "before", "p12", "ko",
];

/// Names by which programs go on D-Bus and in sysctl, and systemd's units.
const OURS: &[&str] = &["org.adit1", "org.freedesktop", "net.ipv4", "net.ipv6", "net.core", "adit@", "adit-"];

/// Labels of who somebody is, in the daemon's log and in certificates.
const LABELS: &[&str] = &["user=", "identity=", "id=", "CN=", "OU=", "O=", "L=", "ST=", "E=", "UID=", "SN="];

/// Whether the text begins with that name, in lower case, as a word of its own.
pub(super) fn begins_with(text: &str, name: &str) -> bool {
    let same = text.get(..name.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(name));
    same && !text.get(name.len()..).unwrap_or_default().starts_with(char::is_alphanumeric)
}

/// A label and its value; that of a certificate's name may have spaces.
pub(super) fn labelled(text: &str) -> Option<(&str, &str)> {
    let label = LABELS.iter().find(|label| text.starts_with(**label))?;
    let value = text.get(label.len()..)?;
    let in_a_certificate = label.starts_with(char::is_uppercase);
    let ends = |c: char| match in_a_certificate {
        true => c.is_control() || ",\"'/+".contains(c),
        false => c.is_whitespace() || ",)'".contains(c),
    };
    let end = value.find(ends).unwrap_or(value.len());
    Some((text.get(..label.len())?, value.get(..end)?.trim_end()))
}

/// `alice@example.com`, `CORP\alice`.
pub(super) fn identity(text: &str) -> Option<&str> {
    let part =
        |text: &str| text.find(|c: char| !c.is_alphanumeric() && !"._+-".contains(c)).unwrap_or(text.len());
    let user = part(text);
    let after = text.get(user..)?;
    let separator = after.chars().next().filter(|c| *c == '@' || *c == '\\')?;
    let rest = after.get(separator.len_utf8()..)?;
    let domain = rest.get(..part(rest))?.trim_end_matches(['.', '-', '_', '+']);
    // How ip(8) writes a link's other end.
    let is_link = domain == "NONE" || domain.strip_prefix("if").is_some_and(|n| n.parse::<u32>().is_ok());
    if user == 0 || domain.is_empty() || is_link || OURS.iter().any(|ours| text.starts_with(ours)) {
        return None;
    }
    text.get(..user.saturating_add(1).saturating_add(domain.len()))
}

/// `vpn.example.com`.
pub(super) fn host(text: &str) -> Option<&str> {
    let end = text.find(|c: char| !c.is_ascii_alphanumeric() && !"._-".contains(c)).unwrap_or(text.len());
    let host = text.get(..end)?.trim_end_matches(['.', '-', '_']);
    let last = host.rsplit('.').next()?;
    let is_domain =
        last.len() > 1 && last.bytes().all(|b| b.is_ascii_alphabetic()) && !NO_DOMAINS.contains(&last);
    let labels = host.contains('.') && host.split('.').all(|label| !label.is_empty());
    (is_domain && labels && !OURS.iter().any(|ours| host.starts_with(ours))).then_some(host)
}
