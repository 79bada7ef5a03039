use core::net::IpAddr;
use core::time::Duration;

use adit_core::{Identity, Prefix};

use crate::error::{ProfileErrors, Source};
use crate::profile::{AuthMethod, Dns, Families, Profile, Tunnel};
use crate::read::{CheckSuite, Reader, Table, document, entry};
use crate::secret::{CertSource, KeySource, PskSource};
use crate::value::{Host, NameError, ProfileName, ServerName, SuiteKind, parse_identity, quoted};

pub(crate) const AUTH: &[(&str, AuthMethod)] =
    &[("psk", AuthMethod::Psk), ("certificate", AuthMethod::Certificate)];
const TUNNEL: &[(&str, Tunnel)] = &[("full", Tunnel::Full), ("split", Tunnel::Split)];
const DNS: &[(&str, Dns)] = &[("auto", Dns::Auto), ("ignore", Dns::Ignore)];
pub(crate) const DPD_RANGE: core::ops::RangeInclusive<Duration> =
    Duration::from_secs(5)..=Duration::from_secs(3600);
pub(crate) const DPD_DEFAULT: Duration = Duration::from_secs(30);

/// Every key of a profile, in the order in which they are shown.
pub(crate) const KEYS: &[&str] = &[
    "version",
    "server",
    "port",
    "auth",
    "remote-auth",
    "local-id",
    "remote-id",
    "psk",
    "psk-file",
    "ca",
    "certificate",
    "key",
    "ike",
    "esp",
    "tunnel",
    "remote-subnets",
    "addresses",
    "dpd",
    "interface",
    "mtu",
    "dns",
    "force-encapsulation",
    "local-address",
];

/// Reads a profile. `check` says whether a proposal's text is one that Adit can make, and what is allowed if not.
///
/// # Errors
/// Every mistake of the file.
pub fn parse_profile(
    name: &ProfileName,
    source: &Source<'_>,
    check: &dyn Fn(SuiteKind, &str) -> Result<(), String>,
) -> Result<Profile, ProfileErrors> {
    let mut reader = Reader::new(*source);
    let profile = document(&mut reader).and_then(|root| {
        let end = source.text.trim_end().len();
        let table = Table { title: String::new(), span: end..end, entries: root.get_ref() };
        profile(&mut reader, name, &table, check)
    });
    match (ProfileErrors::of(reader.errors), profile) {
        (None, Some(profile)) => Ok(profile),
        (Some(errors), _) => Err(errors),
        // Unreachable in practice: whoever gives no value has left an error.
        (None, None) => Err(ProfileErrors::unexplained(source)),
    }
}

fn profile(
    reader: &mut Reader<'_>,
    name: &ProfileName,
    table: &Table<'_>,
    check: CheckSuite<'_>,
) -> Option<Profile> {
    reader.only(table, KEYS);
    let _: Option<u8> = reader.integer(table, "version", 1..=1);
    let server = server(reader, table);
    let auth = required_choice(reader, table, "auth", AUTH, r#"add auth = "psk" or auth = "certificate""#);
    let remote_auth = reader.choice(table, "remote-auth", AUTH).or(auth);
    let tunnel = reader.choice(table, "tunnel", TUNNEL).unwrap_or(Tunnel::Full);
    let credentials = credentials(reader, table, auth, remote_auth);
    let remote_id = reader.parse(table, "remote-id", parse_identity);
    let remote_subnets = remote_subnets(reader, table, tunnel);
    let (ike, esp) = (
        reader.suites(table, "ike", SuiteKind::Ike, check),
        reader.suites(table, "esp", SuiteKind::Esp, check),
    );
    let addresses = families(reader, table);
    let dpd = reader.duration(table, "dpd", DPD_RANGE).unwrap_or(DPD_DEFAULT);
    let interface = reader.parse(table, "interface", str::parse);
    let mtu = mtu(reader, table, addresses);
    let dns = reader.choice(table, "dns", DNS).unwrap_or(Dns::Auto);
    let force_encapsulation = reader.boolean(table, "force-encapsulation").unwrap_or(false);
    let local_address = local_address(reader, table, server.as_ref());
    let (server, auth, remote_auth) = (server?, auth?, remote_auth?);
    Some(Profile {
        name: name.clone(),
        remote_id_written: remote_id.is_some(),
        remote_id: remote_id.unwrap_or_else(|| identity_of(&server.host)),
        server,
        auth,
        remote_auth,
        local_id: credentials.local_id,
        psk: credentials.psk,
        ca: credentials.ca,
        certificate: credentials.certificate,
        key: credentials.key,
        ike,
        esp,
        tunnel,
        remote_subnets,
        addresses,
        dpd,
        interface,
        mtu,
        dns,
        force_encapsulation,
        local_address,
    })
}

fn server(reader: &mut Reader<'_>, table: &Table<'_>) -> Option<ServerName> {
    if entry(table, "server").is_none() {
        reader.missing(table, "server", r#"add server = "vpn.example.com""#);
    }
    let port = reader.integer::<u16>(table, "port", 1..=65535);
    let mut server: ServerName = reader.parse(table, "server", str::parse)?;
    if let (Some(port), Some(after)) = (port, server.port)
        && let Some((_, span)) = entry(table, "port")
    {
        let message = format!("`port` is {port}, but `server` already ends in :{after}");
        reader.error(span, message, "write the port once");
    }
    server.port = server.port.or(port);
    Some(server)
}

struct Credentials {
    local_id: Option<Identity>,
    psk: Option<PskSource>,
    ca: Vec<CertSource>,
    certificate: Vec<CertSource>,
    key: Option<KeySource>,
}

/// The keys of both methods are read whatever the method is, so that a mistake in one is found; then what is missing
/// and what has no use is said.
fn credentials(
    reader: &mut Reader<'_>,
    table: &Table<'_>,
    auth: Option<AuthMethod>,
    remote: Option<AuthMethod>,
) -> Credentials {
    let found = Credentials {
        local_id: reader.parse(table, "local-id", parse_identity),
        psk: reader.psk(table),
        ca: reader.certificates(table, "ca"),
        certificate: reader.certificates(table, "certificate"),
        key: reader.key(table),
    };
    credentials_missing(reader, table, auth, remote);
    if let (Some(auth), Some(remote)) = (auth, remote) {
        credentials_useless(reader, table, auth, remote);
    }
    found
}

fn credentials_missing(
    reader: &mut Reader<'_>,
    table: &Table<'_>,
    auth: Option<AuthMethod>,
    remote: Option<AuthMethod>,
) {
    let has = |key: &str| entry(table, key).is_some();
    let by_psk = auth == Some(AuthMethod::Psk) || remote == Some(AuthMethod::Psk);
    if by_psk && !has("psk") && !has("psk-file") {
        let help = r#"add psk-file = "NAME.psk", a file in /etc/adit/secrets that holds the PSK"#;
        reader.missing(table, "psk-file", help);
    }
    if auth == Some(AuthMethod::Psk) && !has("local-id") {
        let help = r#"add local-id = "alice@example.com": the server chooses the PSK by it"#;
        reader.missing(table, "local-id", help);
    }
    if auth == Some(AuthMethod::Certificate) && !has("certificate") {
        reader.missing(table, "certificate", r#"add certificate = "NAME.pem", a file in /etc/adit/certs"#);
    }
    if auth == Some(AuthMethod::Certificate) && !has("key") {
        reader.missing(table, "key", r#"add key = "NAME.pem", a file in /etc/adit/private"#);
    }
}

/// A key that does nothing is a misunderstanding, and with credentials one that matters.
fn credentials_useless(reader: &mut Reader<'_>, table: &Table<'_>, auth: AuthMethod, remote: AuthMethod) {
    let psk =
        (auth == AuthMethod::Psk || remote == AuthMethod::Psk, r#"neither side authenticates with "psk""#);
    let certificate = (auth == AuthMethod::Certificate, r#"auth is not "certificate""#);
    let ca = (remote == AuthMethod::Certificate, r#"remote-auth is not "certificate""#);
    let uses =
        [("psk", psk), ("psk-file", psk), ("ca", ca), ("certificate", certificate), ("key", certificate)];
    for (key, (used, why)) in uses {
        if let (false, Some((_, span))) = (used, entry(table, key)) {
            let help = "take the line out, or change the method";
            reader.error(span, format!("`{key}` has no use: {why}"), help);
        }
    }
}

fn remote_subnets(reader: &mut Reader<'_>, table: &Table<'_>, tunnel: Tunnel) -> Vec<Prefix> {
    let subnets = reader.parse_list(table, "remote-subnets", parse_network);
    if let (Tunnel::Full, Some((_, span))) = (tunnel, entry(table, "remote-subnets")) {
        let help = r#"add tunnel = "split", or take the line out"#;
        reader.error(span, "`remote-subnets` has no use: a full tunnel takes everything", help);
    }
    subnets
}

fn families(reader: &mut Reader<'_>, table: &Table<'_>) -> Families {
    let parse = |text: &str| match text {
        "ipv4" => Ok(true),
        "ipv6" => Ok(false),
        _ => Err(NameError::new(format!("{} is not a kind of address", quoted(text)), r#""ipv4", "ipv6""#)),
    };
    let Some((_, span)) = entry(table, "addresses") else {
        return Families { ipv4: true, ipv6: true };
    };
    let errors = reader.errors.len();
    let kinds = reader.parse_list(table, "addresses", parse);
    if kinds.is_empty() && reader.errors.len() == errors {
        reader.error(span, "`addresses` is empty", r#"allowed: ["ipv4"], ["ipv6"], ["ipv4", "ipv6"]"#);
    }
    Families { ipv4: kinds.contains(&true), ipv6: kinds.contains(&false) }
}

fn mtu(reader: &mut Reader<'_>, table: &Table<'_>, addresses: Families) -> Option<u16> {
    let mtu: u16 = reader.integer(table, "mtu", 576..=65535)?;
    if addresses.ipv6 && mtu < 1280 && entry(table, "addresses").is_some() {
        let (_, span) = entry(table, "mtu")?;
        let help = r#"allowed: 1280 and up (RFC 8200 §5), or addresses = ["ipv4"]"#;
        reader.error(span, format!("`mtu`: {mtu} is too small for IPv6"), help);
    }
    Some(mtu)
}

fn local_address(reader: &mut Reader<'_>, table: &Table<'_>, server: Option<&ServerName>) -> Option<IpAddr> {
    let address = reader.parse(table, "local-address", parse_address)?;
    if let Some(Host::Address(remote)) = server.map(|s| &s.host)
        && remote.is_ipv4() != address.is_ipv4()
        && let Some((_, span)) = entry(table, "local-address")
    {
        let message = format!("`local-address`: {address} cannot reach {remote}");
        reader.error(span, message, "allowed: an address of the server's family");
    }
    Some(address)
}

fn identity_of(host: &Host) -> Identity {
    match host {
        Host::Name(name) => Identity::Fqdn(name.clone()),
        Host::Address(address) => Identity::Address(*address),
    }
}

pub(crate) fn required_choice<T: Copy>(
    reader: &mut Reader<'_>,
    table: &Table<'_>,
    key: &str,
    choices: &[(&str, T)],
    help: &str,
) -> Option<T> {
    if entry(table, key).is_none() {
        reader.missing(table, key, help);
    }
    reader.choice(table, key, choices)
}

pub(crate) fn parse_network(text: &str) -> Result<Prefix, NameError> {
    let prefix: Prefix = text
        .parse()
        .map_err(|e: adit_core::PrefixError| NameError::new(e.to_string(), "10.0.0.0/8, 2001:db8::/32"))?;
    if prefix.network() == prefix {
        return Ok(prefix);
    }
    let why = format!("{} has bits beyond its prefix", quoted(text));
    Err(NameError::new(why, format!("{}, or {}", prefix.network(), Prefix::host(prefix.address))))
}

pub(crate) fn parse_address(text: &str) -> Result<IpAddr, NameError> {
    text.parse().map_err(|_| {
        NameError::new(format!("{} is not an IP address", quoted(text)), "192.0.2.1, 2001:db8::1")
    })
}
