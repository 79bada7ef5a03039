use crate::profile::{Proxy, ProxyRule};
use crate::profile_read::user_name;
use crate::read::{Reader, Table, entry};
use crate::secret::Directory;
use crate::value::{NameError, ServerName, quoted};

/// The way to the server, for SSTP.
pub(crate) fn proxy(reader: &mut Reader<'_>, table: &Table<'_>) -> Option<ProxyRule> {
    if reader.string(table, "proxy").is_some_and(|text| text.text == "system") {
        for key in ["proxy-user", "proxy-password-file"] {
            reader.useless(
                table,
                key,
                "the host says it, or whoever is asked",
                "take the line out, or name the proxy",
            );
        }
        return Some(ProxyRule::System);
    }
    let server = reader.parse(table, "proxy", proxy_address);
    let user = reader.parse(table, "proxy-user", user_name);
    let password = reader.file(table, "proxy-password-file", Directory::Secrets);
    let has = |key| entry(table, key).is_some();
    for key in ["proxy-user", "proxy-password-file"].into_iter().filter(|_| !has("proxy")) {
        reader.useless(table, key, "there is no `proxy`", "take the line out");
    }
    if has("proxy-password-file") && !has("proxy-user") {
        reader.missing(table, "proxy-user", "add proxy-user = \"NAME\", or take proxy-password-file out");
    }
    let colon = user.as_ref().is_some_and(|user| user.contains(':'));
    if let (true, Some((_, span))) = (colon, entry(table, "proxy-user")) {
        reader.error(span, "`proxy-user` has a colon, which no proxy can take", "take another name");
    }
    Some(ProxyRule::Named(Proxy { server: server?, user, password }))
}

/// Where a proxy is: `proxy.example.com:3128`, perhaps with `http://` before it.
///
/// # Errors
/// It is no name or address, or has no port.
pub fn proxy_address(text: &str) -> Result<ServerName, NameError> {
    let plain = text.strip_prefix("http://").unwrap_or(text);
    let server: ServerName = plain.strip_suffix('/').unwrap_or(plain).parse()?;
    match server.port {
        Some(_) => Ok(server),
        None => {
            let why = format!("{} has no port", quoted(text));
            Err(NameError::new(why, "a host and its port: proxy.example.com:3128"))
        }
    }
}
