//! The HTTP proxy that this host's environment names, as curl and others read it: `https_proxy`, else `all_proxy`, and
//! `no_proxy` for what is reached without.

use adit_core::{Prefix, Secret};

use crate::value::{Host, NameError, ServerName};

/// A proxy of the environment.
#[derive(Debug)]
pub struct SystemProxy {
    /// Where it is; its port is always there.
    pub server: ServerName,
    /// What it is told if it asks who that is.
    pub login: Option<(String, Secret)>,
}

/// What reads a proxy's address allows.
const ALLOWED: &str = "http://proxy.example.com:3128, or http://NAME:PASSWORD@proxy.example.com:3128";
/// HTTP's, where nothing else is said.
const PORT: u16 = 80;

/// The proxy by which `gateway` is reached, if it is by one. `environment` gives a variable's value; small letters count before
/// capitals. `port` is the gateway's, where it names none.
///
/// # Errors
/// A variable names what is no HTTP proxy. Its value is not told: it may hold a password.
pub fn system_proxy(
    environment: impl Fn(&str) -> Option<String>,
    gateway: &ServerName,
    port: u16,
) -> Result<Option<SystemProxy>, NameError> {
    let said = |name: &str| {
        let value = environment(name).or_else(|| environment(&name.to_ascii_uppercase()));
        value.map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())
    };
    let port = gateway.port.unwrap_or(port);
    if said("no_proxy")
        .is_some_and(|list| list.split([',', ' ']).any(|one| is_for(one.trim(), gateway, port)))
    {
        return Ok(None);
    }
    let found = ["https_proxy", "all_proxy"].into_iter().find_map(|name| Some((name, said(name)?)));
    let Some((name, value)) = found else { return Ok(None) };
    let wrong = || NameError::new(format!("this host's {name} names no HTTP proxy"), ALLOWED);
    read(&value).ok_or_else(wrong).map(Some)
}

fn read(value: &str) -> Option<SystemProxy> {
    let plain = match value.split_once("://") {
        Some(("http", rest)) => rest,
        Some(_) => return None,
        None => value,
    };
    let plain = plain.strip_suffix('/').unwrap_or(plain);
    let (login, server) = match plain.rsplit_once('@') {
        Some((login, server)) => {
            let (user, password) = login.split_once(':').unwrap_or((login, ""));
            let user = String::from_utf8(decoded(user)?).ok()?;
            (Some((user, Secret::new(decoded(password)?))), server)
        }
        None => (None, plain),
    };
    let server: ServerName = server.parse().ok()?;
    Some(SystemProxy { server: ServerName { port: server.port.or(Some(PORT)), ..server }, login })
}

/// RFC 3986 §2.1.
fn decoded(text: &str) -> Option<Vec<u8>> {
    let mut parts = text.split('%');
    let mut out = parts.next()?.as_bytes().to_vec();
    for part in parts {
        let (digits, rest) = part.split_at_checked(2)?;
        out.push(u8::from_str_radix(digits, 16).ok().filter(|_| !digits.starts_with('+'))?);
        out.extend_from_slice(rest.as_bytes());
    }
    Some(out)
}

/// Whether an entry of `no_proxy` is for that host: the name itself or a domain that it is in, an address or a network, each
/// perhaps with a port; `*` is for all.
fn is_for(entry: &str, gateway: &ServerName, port: u16) -> bool {
    if entry == "*" {
        return true;
    }
    if let (Ok(network), Host::Address(address)) = (entry.parse::<Prefix>(), &gateway.host) {
        return network.contains(*address);
    }
    let domain = entry.strip_prefix("*.").or(entry.strip_prefix('.')).unwrap_or(entry);
    let Ok(named) = domain.parse::<ServerName>() else { return false };
    let of_host = match (&named.host, &gateway.host) {
        (Host::Name(domain), Host::Name(host)) => host
            .strip_suffix(domain.as_str())
            .is_some_and(|before| before.is_empty() || before.ends_with('.')),
        (one, other) => one == other,
    };
    of_host && named.port.is_none_or(|named| named == port)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(variables: &[(&str, &str)], gateway: &str) -> Result<Option<SystemProxy>, NameError> {
        let found =
            |name: &str| variables.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_owned());
        system_proxy(found, &gateway.parse().unwrap(), 443)
    }

    #[test]
    fn the_environment_names_a_proxy_as_it_does_for_others() {
        let server = |variables: &[(&str, &str)]| {
            let found = asked(variables, "vpn.example.com").unwrap();
            found.map(|proxy| proxy.server.to_string()).unwrap_or_default()
        };
        assert_eq!(server(&[("https_proxy", "http://proxy.example.com:3128/")]), "proxy.example.com:3128");
        assert_eq!(server(&[("HTTPS_PROXY", "proxy.example.com")]), "proxy.example.com:80");
        assert_eq!(server(&[("ALL_PROXY", "http://[2001:db8::1]:8080")]), "[2001:db8::1]:8080");
        assert_eq!(server(&[("all_proxy", "a:1"), ("https_proxy", "b:2")]), "b:2");
        assert_eq!(server(&[("https_proxy", ""), ("http_proxy", "http://a:1")]), "");
    }

    #[test]
    fn its_password_is_read_and_never_told() {
        let proxy = asked(&[("https_proxy", "http://ann:p%40ss%3aword@a:1")], "b").unwrap().unwrap();
        let (user, password) = proxy.login.as_ref().unwrap();
        assert_eq!((user.as_str(), password.expose()), ("ann", &b"p@ss:word"[..]));
        assert!(!format!("{proxy:?}").contains("p@ss"));
        for wrong in
            ["socks5://ann:hidden@a:1", "https://hidden@a:1", "http://ann:%zzhidden@a:1", "http://hidden /"]
        {
            let why = asked(&[("https_proxy", wrong)], "b").unwrap_err().to_string();
            assert!(why.contains("https_proxy") && !why.contains("hidden"), "{why}");
        }
    }

    #[test]
    fn what_needs_none_has_none() {
        let by_proxy = |list: &str, gateway: &str| {
            asked(&[("https_proxy", "a:1"), ("no_proxy", list)], gateway).unwrap().is_some()
        };
        for (list, gateway) in [
            ("*", "vpn.example.com"),
            ("localhost, example.com", "vpn.example.com"),
            (".example.com", "vpn.example.com"),
            ("*.example.com", "vpn.example.com"),
            ("vpn.example.com:443", "vpn.example.com"),
            ("192.0.2.7", "192.0.2.7"),
            ("192.0.2.0/24", "192.0.2.7"),
        ] {
            assert!(!by_proxy(list, gateway), "{list}");
        }
        for (list, gateway) in [
            ("", "vpn.example.com"),
            ("ample.com", "vpn.example.com"),
            ("vpn.example.com:8443", "vpn.example.com"),
            ("192.0.2.0/24", "198.51.100.1"),
            ("192.0.2.7", "vpn.example.com"),
        ] {
            assert!(by_proxy(list, gateway), "{list}");
        }
    }
}
