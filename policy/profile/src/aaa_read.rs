use core::net::IpAddr;
use core::ops::RangeInclusive;
use core::time::Duration;

use crate::aaa::{Aaa, RadiusSecurity, RadiusServer, RadiusTls};
use crate::profile_read::parse_address;
use crate::read::{Reader, Table, entry};
use crate::secret::Directory;
use crate::server::{ConnectionRule, EapMethod};
use crate::value::{NameError, parse_identity, quoted};

const RADIUS: &[&str] =
    &["address", "ports", "secret-file", "tls-name", "port", "ca", "certificate", "key", "key-password-file"];
/// What only TLS has.
const TLS: &[&str] = &["port", "ca", "certificate", "key", "key-password-file"];
/// RFC 6614 §2.1.
const RADSEC: u16 = 2083;
const AAA: &[&str] =
    &["nas-identifier", "accounting", "interim", "timeout", "tries", "dynamic-authorization-port"];
const INTERIM: RangeInclusive<Duration> = Duration::from_secs(60)..=Duration::from_hours(24);
const TIMEOUT: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(30);

pub(crate) fn aaa(reader: &mut Reader<'_>, top: &Table<'_>) -> Aaa {
    let tables = reader.tables(top, "radius");
    let servers = tables.iter().filter_map(|table| server(reader, table)).collect();
    let mut aaa = Aaa { servers, ..Aaa::default() };
    let Some(table) = reader.table(top, "aaa") else {
        return aaa;
    };
    reader.only(&table, AAA);
    aaa.nas_identifier = reader.parse(&table, "nas-identifier", |text| match text.len() {
        1..=253 => Ok(text.to_owned()),
        _ => Err(NameError::new(format!("{} is too long or empty", quoted(text)), "1 to 253 bytes")),
    });
    aaa.accounting = reader.boolean(&table, "accounting").unwrap_or(true);
    aaa.interim = reader.duration_or_never(&table, "interim", INTERIM).flatten();
    aaa.timeout = reader.duration(&table, "timeout", TIMEOUT).unwrap_or(aaa.timeout);
    aaa.tries = reader.integer(&table, "tries", 1..=10).unwrap_or(aaa.tries);
    aaa.dynamic_port = reader.integer(&table, "dynamic-authorization-port", 1..=65535);
    aaa
}

fn server(reader: &mut Reader<'_>, table: &Table<'_>) -> Option<RadiusServer> {
    reader.only(table, RADIUS);
    if entry(table, "address").is_none() {
        reader.missing(table, "address", r#"add address = "10.1.0.5""#);
    }
    let address = reader.parse(table, "address", parse_address);
    match entry(table, "tls-name").is_some() {
        true => over_tls(reader, table, address),
        false => over_udp(reader, table, address),
    }
}

fn over_udp(reader: &mut Reader<'_>, table: &Table<'_>, address: Option<IpAddr>) -> Option<RadiusServer> {
    for key in TLS {
        reader.useless(table, key, "without `tls-name` it is asked over UDP", "take the line out");
    }
    if entry(table, "secret-file").is_none() {
        let help = r#"add secret-file = "NAME.secret", a file in /etc/adit/secrets; or tls-name, for TLS"#;
        reader.missing(table, "secret-file", help);
    }
    let secret = reader.file(table, "secret-file", Directory::Secrets);
    let ports = reader.integers::<u16>(table, "ports", &(1..=65535));
    let (port, accounting_port) = match ports.as_deref() {
        None => (1812, 1813),
        Some(&[port, accounting]) => (port, accounting),
        Some(_) => {
            if let Some((_, span)) = entry(table, "ports") {
                let message = format!("{}`ports` is not a pair of ports", table.title);
                reader.error(span, message, "allowed: those of authentication and accounting: [1812, 1813]");
            }
            return None;
        }
    };
    let security = RadiusSecurity::Secret(secret?);
    Some(RadiusServer { address: address?, port, accounting_port, security })
}

fn over_tls(reader: &mut Reader<'_>, table: &Table<'_>, address: Option<IpAddr>) -> Option<RadiusServer> {
    for key in ["secret-file", "ports"] {
        reader.useless(table, key, "with `tls-name` it is asked over TLS", "take the line out");
    }
    let port = reader.integer::<u16>(table, "port", 1..=65535).unwrap_or(RADSEC);
    let name = reader.parse(table, "tls-name", parse_identity);
    let tls = RadiusTls {
        name: name?,
        ca: reader.certificates(table, "ca"),
        certificate: reader.certificates(table, "certificate"),
        key: reader.file(table, "key", Directory::Private),
        key_password: reader.file(table, "key-password-file", Directory::Secrets),
    };
    match (tls.certificate.is_empty(), tls.key.is_none()) {
        (false, true) => {
            reader.missing(table, "key", r#"add key = "NAME.pem", a file in /etc/adit/private"#);
        }
        (true, false) => {
            reader.missing(
                table,
                "certificate",
                r#"add certificate = "NAME.pem", a file in /etc/adit/certs"#,
            );
        }
        _ => {}
    }
    let security = RadiusSecurity::Tls(Box::new(tls));
    Some(RadiusServer { address: address?, port, accounting_port: port, security })
}

pub(crate) fn needs_of_aaa(
    reader: &mut Reader<'_>,
    top: &Table<'_>,
    aaa: &Aaa,
    connections: &[ConnectionRule],
) {
    let wanted = connections.iter().find(|c| c.eap == Some(EapMethod::Radius));
    if let (Some(rule), None) = (wanted, entry(top, "radius")) {
        let message = format!("`[[radius]]` is missing: {} asks RADIUS servers", quoted(rule.name.as_str()));
        let help = r#"add [[radius]] with address = "10.1.0.5" and secret-file = "NAME.secret""#;
        reader.error(top.span.clone(), message, help);
    }
    if let (true, Some((_, span))) = (aaa.servers.is_empty(), entry(top, "aaa"))
        && entry(top, "radius").is_none()
    {
        reader.error(span, "[aaa] has no use: there is no [[radius]]", "add one, or take the table out");
    }
}
