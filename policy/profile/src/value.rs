use core::fmt;
use core::net::IpAddr;
use core::ops::Range;
use core::str::FromStr;
use core::time::Duration;

use adit_core::{AddressRange, Identity, Prefix};

/// Why text is not a value: what is wrong, and what is allowed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NameError {
    /// What is wrong with it.
    pub why: String,
    /// What is allowed.
    pub allowed: String,
}

impl NameError {
    pub(crate) fn new(why: impl Into<String>, allowed: impl Into<String>) -> Self {
        Self { why: why.into(), allowed: allowed.into() }
    }
}

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; allowed: {}", self.why, self.allowed)
    }
}

impl std::error::Error for NameError {}

macro_rules! checked_text {
    ($(#[$meta:meta])* $name:ident, $check:path) => {
        $(#[$meta])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(String);

        impl $name {
            /// The text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = NameError;

            fn from_str(text: &str) -> Result<Self, NameError> {
                $check(text).map(|()| Self(text.to_owned()))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }
    };
}

checked_text! {
    /// The name of a profile: `[A-Za-z0-9][A-Za-z0-9_.@-]{0,63}`. Never a path.
    ProfileName, check_profile_name
}
checked_text! {
    /// The name of a file in one of the fixed directories: letters, digits, `_ . @ + -`, not starting with a dot,
    /// at most 255 bytes. Never a path.
    FileName, check_file_name
}
checked_text! {
    /// The name of a network interface, as the kernel allows it: 1 to 15 bytes, no `/`, `:`, `%` or space.
    InterfaceName, check_interface_name
}

fn check_profile_name(text: &str) -> Result<(), NameError> {
    let starts = text.starts_with(|c: char| c.is_ascii_alphanumeric());
    let plain = text.chars().all(|c| c.is_ascii_alphanumeric() || "_.@-".contains(c));
    if starts && plain && text.len() <= 64 {
        return Ok(());
    }
    Err(NameError::new(
        format!("{} is not a name", quoted(text)),
        "letters, digits and _ . @ -, starting with a letter or digit, at most 64",
    ))
}

fn check_file_name(text: &str) -> Result<(), NameError> {
    let plain = text.chars().all(|c| c.is_ascii_alphanumeric() || "_.@+-".contains(c));
    if plain && !text.is_empty() && !text.starts_with(['.', '-']) && text.len() <= 255 {
        return Ok(());
    }
    Err(NameError::new(
        format!("{} is not a plain file name", quoted(text)),
        "letters, digits and _ . @ + -; no directories: the file lies in Adit's own",
    ))
}

fn check_interface_name(text: &str) -> Result<(), NameError> {
    let plain = text.chars().all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c));
    if plain
        && (1..=15).contains(&text.len())
        && text != "."
        && text != ".."
        && text != "all"
        && text != "default"
    {
        return Ok(());
    }
    Err(NameError::new(
        format!("{} is not an interface's name", quoted(text)),
        "1 to 15 letters, digits and _ . -",
    ))
}

/// Where a server is: a name to look up, or an address.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Host {
    /// A host name, lower case, without a trailing dot.
    Name(String),
    /// An address.
    Address(IpAddr),
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Address(address) => write!(f, "{address}"),
        }
    }
}

/// A profile's `server`: a host and perhaps a port.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ServerName {
    /// The host.
    pub host: Host,
    /// The port, if one was written after it.
    pub port: Option<u16>,
}

impl ServerName {
    /// The UDP port for the first packet: 500 unless the file says otherwise. A port other than 500 is one that speaks
    /// UDP encapsulation, as 4500 does (RFC 7296 §2.23).
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port.unwrap_or(500)
    }
}

impl fmt::Display for ServerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.host, self.port) {
            (host, None) => write!(f, "{host}"),
            (Host::Address(IpAddr::V6(a)), Some(port)) => write!(f, "[{a}]:{port}"),
            (host, Some(port)) => write!(f, "{host}:{port}"),
        }
    }
}

impl FromStr for ServerName {
    type Err = NameError;

    /// `vpn.example.com`, `vpn.example.com:4500`, `192.0.2.1`, `2001:db8::1`, `[2001:db8::1]:4500`.
    fn from_str(text: &str) -> Result<Self, NameError> {
        if let Ok(address) = text.parse() {
            return Ok(Self { host: Host::Address(address), port: None });
        }
        if let Some(rest) = text.strip_prefix('[') {
            let (address, after) = rest.split_once(']').ok_or_else(|| server_error(text))?;
            let address = address.parse().map_err(|_| server_error(text))?;
            let port = match after.strip_prefix(':') {
                Some(port) => Some(parse_port(port)?),
                None if after.is_empty() => None,
                None => return Err(server_error(text)),
            };
            return Ok(Self { host: Host::Address(IpAddr::V6(address)), port });
        }
        let (host, port) = match text.split_once(':') {
            Some((host, port)) if !port.contains(':') => (host, Some(parse_port(port)?)),
            Some(_) => return Err(server_error(text)),
            None => (text, None),
        };
        let host = match host.parse() {
            Ok(address) => Host::Address(address),
            Err(_) => Host::Name(parse_host_name(host)?),
        };
        Ok(Self { host, port })
    }
}

fn server_error(text: &str) -> NameError {
    NameError::new(
        format!("{} is neither a host name nor an address", quoted(text)),
        "vpn.example.com, 192.0.2.1, 2001:db8::1; with a port: vpn.example.com:4500, [2001:db8::1]:4500",
    )
}

fn parse_host_name(text: &str) -> Result<String, NameError> {
    let name = text.strip_suffix('.').unwrap_or(text);
    if !name.is_ascii() {
        let why = format!("{} has letters beyond ASCII", quoted(text));
        return Err(NameError::new(why, "the name as DNS has it, with xn--"));
    }
    let label = |l: &str| {
        (1..=63).contains(&l.len())
            && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
            && !l.starts_with('-')
            && !l.ends_with('-')
    };
    // All digits and dots is a mistyped address, not a name (RFC 1123 §2.1).
    let numeric = name.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    if numeric || name.len() > 253 || !name.split('.').all(label) {
        return Err(server_error(text));
    }
    Ok(name.to_ascii_lowercase())
}

fn parse_port(text: &str) -> Result<u16, NameError> {
    match text.parse() {
        Ok(port) if port != 0 && text.bytes().all(|b| b.is_ascii_digit()) => Ok(port),
        _ => Err(NameError::new(format!("{} is not a port", quoted(text)), "1 to 65535")),
    }
}

/// What a proposal is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SuiteKind {
    /// The IKE_SA.
    Ike,
    /// The CHILD_SA.
    Esp,
}

/// What a proposal's text is: the names of those of its algorithms that are taken with `legacy = true` only; or why it is
/// not a proposal, and what is allowed.
pub type SuiteCheck = Result<Vec<String>, String>;

/// A proposal in strongSwan's notation (`aes256gcm16-prfsha256-x25519`), with the bytes of the text that hold it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Suite {
    /// The notation, as written.
    pub text: String,
    /// Where it stands.
    pub span: Range<usize>,
}

/// An identity, where a mistyped one would be taken for a host name.
pub(crate) fn parse_identity(text: &str) -> Result<Identity, NameError> {
    const ALLOWED: &str = "a host name, user@domain, an IP address, or keyid: and text";
    if text.contains('=') && !text.starts_with("keyid:") {
        let why = format!("{} looks like a distinguished name, which is not supported here", quoted(text));
        return Err(NameError::new(why, ALLOWED));
    }
    let identity =
        text.parse().map_err(|_| NameError::new(format!("{} is not an identity", quoted(text)), ALLOWED))?;
    match &identity {
        Identity::Fqdn(name) if !name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b)) => {
            Err(NameError::new(format!("{} is not an identity", quoted(text)), ALLOWED))
        }
        _ => Ok(identity),
    }
}

/// `30s`, `5m`, `8h`.
pub(crate) fn parse_duration(text: &str) -> Option<Duration> {
    let unit = text.chars().next_back()?;
    let number = text.strip_suffix(unit)?;
    if !number.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 86_400,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(seconds).map(Duration::from_secs)
}

/// The shortest text that [`parse_duration`] reads back.
pub(crate) fn show_duration(duration: Duration) -> String {
    match duration.as_secs() {
        s if s > 0 && s.is_multiple_of(3600) => format!("{}h", s / 3600),
        s if s > 0 && s.is_multiple_of(60) => format!("{}m", s / 60),
        s => format!("{s}s"),
    }
}

/// `10.9.0.10-10.9.0.200`, `10.9.1.0/24`, `10.9.0.7`. Of a network the addresses that hosts can have: without the
/// network's own and, for IPv4, the broadcast address.
pub(crate) fn parse_range(text: &str) -> Option<AddressRange> {
    if let Some((first, last)) = text.split_once('-') {
        let (first, last): (IpAddr, IpAddr) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        return (first.is_ipv4() == last.is_ipv4() && first <= last).then_some(AddressRange { first, last });
    }
    let prefix: Prefix = text.parse().ok()?;
    if prefix.network() != prefix {
        return None;
    }
    let whole = prefix.range();
    Some(match (whole.first, whole.last) {
        (IpAddr::V4(first), IpAddr::V4(last)) if prefix.length <= 30 => AddressRange {
            first: IpAddr::V4(first.to_bits().saturating_add(1).into()),
            last: IpAddr::V4(last.to_bits().saturating_sub(1).into()),
        },
        (IpAddr::V6(first), last) if prefix.length <= 126 => {
            AddressRange { first: IpAddr::V6(first.to_bits().saturating_add(1).into()), last }
        }
        _ => whole,
    })
}

/// A value as messages show it: in quotes, escaped, and not without end.
pub(crate) fn quoted(text: &str) -> String {
    let shown: String = text.chars().take(60).collect();
    let more = if shown.len() < text.len() { "…" } else { "" };
    format!("\"{}{more}\"", shown.escape_debug())
}

/// A domain's name in ASCII, as INTERNAL_DNS_DOMAIN carries it (RFC 8598 §3.1).
pub(crate) fn dns_domain(text: &str) -> Result<String, NameError> {
    let label = |l: &str| {
        (1..=63).contains(&l.len())
            && l.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
            && !l.starts_with('-')
            && !l.ends_with('-')
    };
    if text.len() <= 253 && text.split('.').all(label) {
        return Ok(text.to_owned());
    }
    let why = format!("{} is not a domain", quoted(text));
    Err(NameError::new(why, r#""corp.example.com": ASCII, without a dot in front or at the end"#))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_names_addresses_and_ports() {
        for text in [
            "vpn.example.com",
            "vpn.example.com:4500",
            "192.0.2.1",
            "192.0.2.1:500",
            "2001:db8::1",
            "[2001:db8::1]:500",
        ] {
            assert_eq!(text.parse::<ServerName>().unwrap().to_string(), text);
        }
        assert_eq!("VPN.Example.com.".parse::<ServerName>().unwrap().to_string(), "vpn.example.com");
        for bad in [
            "",
            "a b",
            "vpn.example.com:0",
            "vpn:99999",
            "[::1",
            "192.0.2.999",
            "-a.com",
            "a..b",
            "bücher.example",
            "x:+5",
            "a:1:2",
        ] {
            assert!(bad.parse::<ServerName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn names_are_never_paths() {
        for bad in ["", ".", "..", "../x", "a/b", ".hidden", "-x", "a b", "ä", "a\0"] {
            assert!(bad.parse::<ProfileName>().is_err(), "{bad}");
            assert!(bad.parse::<FileName>().is_err(), "{bad}");
        }
        assert!("corp.psk".parse::<FileName>().is_ok());
        assert!("alice@work-2".parse::<ProfileName>().is_ok());
        assert!(
            "x".repeat(64).parse::<ProfileName>().is_ok() && "x".repeat(65).parse::<ProfileName>().is_err()
        );
        assert!(
            "adit0".parse::<InterfaceName>().is_ok() && "0123456789abcdef".parse::<InterfaceName>().is_err()
        );
    }

    #[test]
    fn durations_have_a_unit() {
        for (text, seconds) in [("30s", 30), ("5m", 300), ("8h", 28_800)] {
            let duration = parse_duration(text).unwrap();
            assert_eq!((duration.as_secs(), show_duration(duration).as_str()), (seconds, text));
        }
        for bad in
            ["", "s", "30", "-1s", "1.5h", "1y", "99999999999999999999s", "18446744073709551615h", "1µ"]
        {
            assert_eq!(parse_duration(bad), None, "{bad}");
        }
    }

    #[test]
    fn ranges_leave_out_what_no_host_can_have() {
        let show = |text: &str| parse_range(text).map(|r| format!("{r:?}"));
        assert_eq!(show("10.9.0.10-10.9.0.200").unwrap(), "10.9.0.10-10.9.0.200");
        assert_eq!(show("10.9.1.0/24").unwrap(), "10.9.1.1-10.9.1.254");
        assert_eq!(show("10.9.1.0/31").unwrap(), "10.9.1.0-10.9.1.1");
        assert_eq!(show("fd00::/112").unwrap(), "fd00::1-fd00::ffff");
        assert_eq!(show("10.9.0.7").unwrap(), "10.9.0.7-10.9.0.7");
        for bad in ["10.9.0.200-10.9.0.10", "10.9.1.1/24", "10.0.0.1-fd00::1", "x", ""] {
            assert_eq!(show(bad), None, "{bad}");
        }
    }
}
