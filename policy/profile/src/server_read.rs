use core::net::IpAddr;
use std::sync::Arc;

use adit_core::{AddressRange, Prefix, TrafficSelector};

use crate::aaa_read::{aaa, needs_of_aaa};
use crate::error::{ProfileErrors, Source};
use crate::ppk::{self, Ppk};
use crate::ppp::TunnelKind;
use crate::ppp_read::ppp_server;
use crate::profile::AuthMethod;
use crate::profile_read::{AUTH, DPD_DEFAULT, DPD_RANGE, parse_address, parse_network, required_choice};
use crate::read::{CheckSuite, Reader, Table, document, entry, nearest};
use crate::sa::{Rekeying, Uniqueness};
use crate::sa_read::{FRAGMENT_DEFAULT, fragment_size, rekeying, selectors};
use crate::secret::{Directory, KeySource, Revocation};
use crate::server::{
    ConnectionRule, EapMethod, IdentityPattern, Ike, Limits, Listen, Nat, Network, Pool, ServerConfig,
};
use crate::value::{NameError, ProfileName, SuiteKind, dns_domain, parse_identity, parse_range, quoted};

const TOP: &[&str] = &[
    "version",
    "listen",
    "ikev2",
    "connection",
    "group",
    "pool",
    "ppk",
    "network",
    "limits",
    "pptp",
    "sstp",
    "l2tp",
    "radius",
    "aaa",
];
const LISTEN: &[&str] = &["addresses", "ports"];
const IKEV2: &[&str] = &[
    "identity",
    "certificate",
    "key",
    "key-password-file",
    "psk",
    "psk-file",
    "ike",
    "esp",
    "legacy",
    "rekey-ike",
    "rekey-child",
    "rekey-bytes",
    "rekey-packets",
    "fragment-size",
    "session-resumption",
    "uniqueness",
    "dpd",
];
const CONNECTION: &[&str] = &[
    "name",
    "match",
    "group",
    "address",
    "auth",
    "users-file",
    "eap-only",
    "server-auth",
    "psk",
    "psk-file",
    "ppk",
    "ca",
    "revocation",
    "pool",
    "subnets",
    "remote-subnets",
    "routes-by-dhcp",
    "transport",
    "uniqueness",
    "dns",
    "dns-domains",
];
const GROUP: &[&str] = &["members"];
const POOL: &[&str] = &["ranges", "ranges6", "dns", "dns-domains", "on-subnet"];
const NETWORK: &[&str] = &["forward", "nat", "nat-interface"];
const LIMITS: &[&str] = &["half-open", "clients"];
const CLIENT_AUTH: &[(&str, (AuthMethod, Option<EapMethod>))] = &[
    ("psk", (AuthMethod::Psk, None)),
    ("certificate", (AuthMethod::Certificate, None)),
    ("eap-mschapv2", (AuthMethod::Eap, Some(EapMethod::Mschapv2))),
    ("eap-tls", (AuthMethod::Eap, Some(EapMethod::Tls))),
    ("eap-ttls", (AuthMethod::Eap, Some(EapMethod::Ttls))),
    ("eap-peap", (AuthMethod::Eap, Some(EapMethod::Peap))),
    ("eap-radius", (AuthMethod::Eap, Some(EapMethod::Radius))),
];
const NAT: &[(&str, Nat)] = &[("off", Nat::Off), ("masquerade", Nat::Masquerade)];

/// Reads `server.toml`. `check` says whether a proposal's text is one that Adit can make.
///
/// # Errors
/// Every mistake of the file.
pub fn parse_server(source: &Source<'_>, check: CheckSuite<'_>) -> Result<ServerConfig, ProfileErrors> {
    let mut reader = Reader::new(*source);
    let config = document(&mut reader).map(|root| {
        let end = source.text.trim_end().len();
        let table = Table { title: String::new(), span: end..end, entries: root.get_ref() };
        server(&mut reader, &table, check)
    });
    match (ProfileErrors::of(reader.errors), config) {
        (None, Some(config)) => Ok(config),
        (Some(errors), _) => Err(errors),
        (None, None) => Err(ProfileErrors::unexplained(source)),
    }
}

/// May give a half-filled value, but then has left an error.
fn server(reader: &mut Reader<'_>, top: &Table<'_>, check: CheckSuite<'_>) -> ServerConfig {
    reader.only(top, TOP);
    let _: Option<u8> = reader.integer(top, "version", 1..=1);
    let listen = listen(reader, top);
    let ikev2 = ikev2(reader, top, check);
    let (pools, groups, ppks) = (pools(reader, top), groups(reader, top), ppk::of_server(reader, top));
    let named = Named { pools: &pools, groups: &groups, ppks: &ppks };
    let network = network(reader, top);
    let limits = limits(reader, top);
    let aaa = aaa(reader, top);
    let tables = reader.tables(top, "connection");
    let ppp = ["pptp", "sstp", "l2tp"].iter().any(|key| entry(top, key).is_some());
    if tables.is_empty() && !ppp {
        reader.missing(
            top,
            "[[connection]]",
            "add [[connection]] with name, match, auth and pool: without one nobody may connect",
        );
    }
    let connections: Vec<ConnectionRule> =
        tables.iter().filter_map(|table| connection(reader, table, &ikev2, named)).collect();
    needs_of_connections(reader, top, &ikev2, &connections);
    needs_of_aaa(reader, top, &aaa, &connections);
    let mut taken: Vec<&str> = connections.iter().filter_map(|c| c.pool.as_deref()).collect();
    let pptp = ppp_server(reader, top, TunnelKind::Pptp, (named, &taken), check);
    taken.extend(pptp.iter().map(|p| p.pool.as_str()));
    let sstp = ppp_server(reader, top, TunnelKind::Sstp, (named, &taken), check);
    taken.extend(sstp.iter().map(|p| p.pool.as_str()));
    let l2tp = ppp_server(reader, top, TunnelKind::L2tp, (named, &taken), check).map(Arc::new);
    let (pptp, sstp) = (pptp.map(Arc::new), sstp.map(Arc::new));
    ServerConfig { listen, ikev2, connections, ppks, pools, network, limits, pptp, sstp, l2tp, aaa }
}

fn listen(reader: &mut Reader<'_>, top: &Table<'_>) -> Listen {
    let mut listen = Listen { addresses: Vec::new(), port: 500, nat_port: 4500 };
    let Some(table) = reader.table(top, "listen") else {
        return listen;
    };
    reader.only(&table, LISTEN);
    listen.addresses = reader.parse_list(&table, "addresses", parse_address);
    match reader.integers::<u16>(&table, "ports", &(1..=65535)).as_deref() {
        Some(&[port, nat_port]) if port != nat_port => (listen.port, listen.nat_port) = (port, nat_port),
        Some(_) => {
            if let Some((_, span)) = entry(&table, "ports") {
                let help = "allowed: two different ports, without and with UDP encapsulation: [500, 4500]";
                reader.error(span, "[listen] `ports` is not a pair of ports", help);
            }
        }
        None => {}
    }
    listen
}

fn ikev2(reader: &mut Reader<'_>, top: &Table<'_>, check: CheckSuite<'_>) -> Ike {
    let Some(table) = reader.table(top, "ikev2") else {
        return Ike {
            identity: None,
            certificate: Vec::new(),
            keys: Vec::new(),
            key_password: None,
            psk: None,
            ike: Vec::new(),
            esp: Vec::new(),
            legacy: false,
            rekeying: Rekeying::default(),
            fragment_size: FRAGMENT_DEFAULT,
            session_resumption: true,
            uniqueness: Uniqueness::default(),
            dpd: DPD_DEFAULT,
        };
    };
    reader.only(&table, IKEV2);
    reader.legacy = reader.boolean(&table, "legacy").unwrap_or(false);
    let ike = Ike {
        identity: reader.parse(&table, "identity", parse_identity),
        certificate: reader.certificates(&table, "certificate"),
        keys: reader.keys(&table),
        key_password: reader.file(&table, "key-password-file", Directory::Secrets),
        psk: reader.psk(&table),
        ike: reader.suites(&table, "ike", SuiteKind::Ike, check),
        esp: reader.suites(&table, "esp", SuiteKind::Esp, check),
        legacy: reader.legacy,
        rekeying: rekeying(reader, &table),
        fragment_size: fragment_size(reader, &table),
        session_resumption: reader.boolean(&table, "session-resumption").unwrap_or(true),
        uniqueness: reader.choice(&table, "uniqueness", Uniqueness::WORDS).unwrap_or_default(),
        dpd: reader.duration(&table, "dpd", DPD_RANGE).unwrap_or(DPD_DEFAULT),
    };
    match (entry(&table, "certificate").is_some(), entry(&table, "key").is_some()) {
        (true, false) => {
            reader.missing(&table, "key", r#"add key = "NAME.pem", a file in /etc/adit/private"#)
        }
        (false, true) if ike.keys.iter().any(KeySource::may_hold_certificate) => {}
        (false, true) => reader.missing(
            &table,
            "certificate",
            r#"add certificate = "NAME.pem", a file in /etc/adit/certs"#,
        ),
        _ => {}
    }
    ike
}

/// What tables refer to by name.
#[derive(Clone, Copy)]
pub(crate) struct Named<'a> {
    pub(crate) pools: &'a [Pool],
    pub(crate) groups: &'a [Group],
    ppks: &'a [Ppk],
}

fn connection(
    reader: &mut Reader<'_>,
    table: &Table<'_>,
    ikev2: &Ike,
    named: Named<'_>,
) -> Option<ConnectionRule> {
    reader.only(table, CONNECTION);
    if entry(table, "name").is_none() {
        reader.missing(table, "name", r#"add name = "staff""#);
    }
    if entry(table, "match").is_none() && entry(table, "group").is_none() {
        reader.missing(table, "match", r#"add match = ["*@example.com"], or match = ["*"]"#);
    }
    let name: Option<ProfileName> = reader.parse(table, "name", str::parse);
    let matches = matches(reader, table, named.groups);
    let auth_help = r#"add auth = "psk", "certificate", "eap-mschapv2", "eap-tls", "eap-ttls", "eap-peap" or "eap-radius""#;
    let (auth, eap) = required_choice(reader, table, "auth", CLIENT_AUTH, auth_help).unzip();
    let eap = eap.flatten();
    let eap_only = reader.boolean(table, "eap-only").unwrap_or(false);
    let users = reader.file(table, "users-file", Directory::Secrets);
    let server_auth = reader.choice(table, "server-auth", AUTH);
    let psk = reader.psk(table);
    let ppk = ppk::of_connection(reader, table, named.ppks);
    let ca = reader.certificates(table, "ca");
    let revocation = reader.choice(table, "revocation", Revocation::WORDS).unwrap_or_default();
    let addresses = reader.parse_list(table, "address", parse_network);
    let pool = pool_of(reader, table, named.pools);
    let traffic = traffic(reader, table);
    let uniqueness = reader.choice(table, "uniqueness", Uniqueness::WORDS).unwrap_or(ikev2.uniqueness);
    let domains = entry(table, "dns-domains").is_some();
    let domains = domains.then(|| reader.parse_list(table, "dns-domains", dns_domain));
    let dns = entry(table, "dns").is_some().then(|| reader.parse_list(table, "dns", parse_address));
    let auth = auth?;
    let own = ikev2.has_certificate() || auth == AuthMethod::Eap;
    let default = if own { AuthMethod::Certificate } else { auth };
    let server_auth = server_auth.unwrap_or(default);
    let Traffic { subnets, routes_by_dhcp, remote_subnets, transport } = traffic;
    let rule = ConnectionRule {
        name: name?,
        matches,
        addresses,
        auth,
        eap,
        eap_only,
        users,
        server_auth,
        psk,
        ppk,
        ca,
        revocation,
        pool,
        subnets,
        routes_by_dhcp,
        remote_subnets,
        transport,
        uniqueness,
        dns,
        domains,
    };
    needs_of_connection(reader, table, &rule, ikev2);
    Some(rule)
}

struct Traffic {
    subnets: Vec<TrafficSelector>,
    routes_by_dhcp: bool,
    remote_subnets: Vec<TrafficSelector>,
    transport: bool,
}

/// Both sides of the traffic selectors. Whoever gets no address must have networks behind it, or be a host that speaks
/// for itself.
fn traffic(reader: &mut Reader<'_>, table: &Table<'_>) -> Traffic {
    let mut subnets = selectors(reader, table, "subnets");
    if subnets.is_empty() {
        subnets = [Prefix::ANY_V4, Prefix::ANY_V6].map(Into::into).into();
    }
    let remote_subnets = selectors(reader, table, "remote-subnets");
    let transport = reader.boolean(table, "transport").unwrap_or(false);
    let routes_by_dhcp = reader.boolean(table, "routes-by-dhcp").unwrap_or(false);
    let has = |key| entry(table, key).is_some();
    if routes_by_dhcp && !has("subnets") {
        let help = r#"add subnets = ["10.1.0.0/16"], or take the line out"#;
        reader.useless(table, "routes-by-dhcp", "these clients may reach everything", help);
    }
    if routes_by_dhcp && !has("pool") {
        reader.useless(
            table,
            "routes-by-dhcp",
            "who gets no address asks for no routes",
            "take the line out",
        );
    }
    if !has("pool") && !has("remote-subnets") && !transport {
        let help = r#"add pool = "NAME", a [pool.NAME] of this file; or, for a site, remote-subnets = ["10.2.0.0/16"]"#;
        reader.missing(table, "pool", help);
    }
    if let (true, Some((_, span))) = (has("remote-subnets"), entry(table, "pool")) {
        let message = format!("{}both `pool` and `remote-subnets`", table.title);
        reader.error(
            span,
            message,
            "clients get an address, or have networks behind them: make two [[connection]]s",
        );
    }
    Traffic { subnets, routes_by_dhcp, remote_subnets, transport }
}

/// `[group.NAME]`: identities that others refer to by one name.
pub(crate) struct Group {
    name: String,
    members: Vec<IdentityPattern>,
}

fn groups(reader: &mut Reader<'_>, top: &Table<'_>) -> Vec<Group> {
    let Some(all) = reader.table(top, "group") else {
        return Vec::new();
    };
    let names: Vec<&str> = all.entries.keys().map(|k| k.get_ref().as_ref()).collect();
    let mut out = Vec::new();
    for name in names {
        let Some(mut table) = reader.table(&all, name) else { continue };
        table.title = format!("[group.{}] ", name.escape_debug());
        reader.only(&table, GROUP);
        if entry(&table, "members").is_none() {
            reader.missing(&table, "members", r#"add members = ["alice@example.com", "*@lab.example.com"]"#);
        }
        out.push(Group { name: name.to_owned(), members: reader.parse_list(&table, "members", str::parse) });
    }
    out
}

/// `match` and `group`.
pub(crate) fn matches(reader: &mut Reader<'_>, table: &Table<'_>, groups: &[Group]) -> Vec<IdentityPattern> {
    let mut matches = reader.parse_list(table, "match", str::parse::<IdentityPattern>);
    matches.extend(members(reader, table, groups));
    matches
}

fn members(reader: &mut Reader<'_>, table: &Table<'_>, groups: &[Group]) -> Vec<IdentityPattern> {
    let mut out = Vec::new();
    for wanted in reader.strings(table, "group") {
        if let Some(group) = groups.iter().find(|g| g.name == wanted.text) {
            out.extend_from_slice(&group.members);
            continue;
        }
        let help = match nearest(wanted.text, groups.iter().map(|g| g.name.as_str())) {
            Some(near) => format!("did you mean \"{near}\"?"),
            None => "add [group.NAME] with members".to_owned(),
        };
        reader.error(wanted.span, format!("{}there is no group {}", table.title, quoted(wanted.text)), help);
    }
    out
}

fn pool_of(reader: &mut Reader<'_>, table: &Table<'_>, pools: &[Pool]) -> Option<String> {
    let pool = reader.string(table, "pool")?;
    if !pools.iter().any(|p| p.name == pool.text) {
        let help = match nearest(pool.text, pools.iter().map(|p| p.name.as_str())) {
            Some(near) => format!("did you mean \"{near}\"?"),
            None => "add [pool.NAME] with ranges".to_owned(),
        };
        reader.error(pool.span, format!("{}there is no pool {}", table.title, quoted(pool.text)), help);
    }
    Some(pool.text.to_owned())
}

fn needs_of_connection(reader: &mut Reader<'_>, table: &Table<'_>, rule: &ConnectionRule, ikev2: &Ike) {
    let by_certificate = rule.auth == AuthMethod::Certificate || rule.eap == Some(EapMethod::Tls);
    if by_certificate && entry(table, "ca").is_none() {
        let help = r#"add ca = "NAME.pem": the authority of the clients' certificates, in /etc/adit/certs"#;
        reader.missing(table, "ca", help);
    }
    let local_users = rule.eap.is_some_and(EapMethod::has_users);
    if local_users && entry(table, "users-file").is_none() {
        let help =
            r#"add users-file = "NAME.users", a file in /etc/adit/secrets with lines  name:password:secret"#;
        reader.missing(table, "users-file", help);
    }
    if rule.eap != Some(EapMethod::Tls) {
        let help = "take the line out, or change the method: no other one proves the server";
        reader.useless(table, "eap-only", "auth is not \"eap-tls\"", help);
    }
    if !local_users {
        let why = "auth is not EAP with passwords that this host keeps";
        reader.useless(table, "users-file", why, "take the line out, or change the method");
    }
    for key in ["ca", "revocation"].into_iter().filter(|_| !by_certificate) {
        let help = "take the line out, or change the method";
        reader.useless(table, key, "auth is neither \"certificate\" nor \"eap-tls\"", help);
    }
    if let (AuthMethod::Eap, AuthMethod::Psk, Some((_, span))) =
        (rule.auth, rule.server_auth, entry(table, "server-auth"))
    {
        let message = format!("{}`server-auth`: with EAP the server has to show a certificate", table.title);
        reader.error(span, message, "take the line out");
    }
    let by_psk = rule.auth == AuthMethod::Psk || rule.server_auth == AuthMethod::Psk;
    for key in ["psk", "psk-file"].into_iter().filter(|_| !by_psk) {
        let help = "take the line out, or change the method";
        reader.useless(table, key, "neither side authenticates with \"psk\"", help);
    }
    if by_psk && rule.psk.is_none() && ikev2.psk.is_none() {
        reader.missing(table, "psk-file", r#"add psk-file = "NAME.psk" here or under [ikev2]"#);
    }
}

fn needs_of_connections(
    reader: &mut Reader<'_>,
    top: &Table<'_>,
    ikev2: &Ike,
    connections: &[ConnectionRule],
) {
    let mut names: Vec<&str> = connections.iter().map(|c| c.name.as_str()).collect();
    names.sort_unstable();
    for (a, _) in names.iter().zip(names.iter().skip(1)).filter(|(a, b)| a == b) {
        reader.error(
            top.span.clone(),
            format!("two [[connection]]s are called {}", quoted(a)),
            "give each its own name",
        );
    }
    let by = |method| connections.iter().any(|c| c.server_auth == method);
    let span = entry(top, "ikev2").map_or_else(|| top.span.clone(), |(_, span)| span);
    if by(AuthMethod::Certificate)
        && !ikev2.has_certificate()
        && !reader.errors.iter().any(|e| e.message.contains("`certificate`"))
    {
        let help = r#"add under [ikev2]: certificate = "NAME.pem" and key = "NAME.pem""#;
        reader.error(
            span.clone(),
            "[ikev2] `certificate` is missing: a connection authenticates the server with it",
            help,
        );
    }
    if by(AuthMethod::Psk)
        && ikev2.identity.is_none()
        && !reader.errors.iter().any(|e| e.message.contains("`identity`"))
    {
        let help = r#"add under [ikev2]: identity = "vpn.example.com""#;
        reader.error(
            span,
            "[ikev2] `identity` is missing: a connection authenticates the server with a PSK",
            help,
        );
    }
}

fn pools(reader: &mut Reader<'_>, top: &Table<'_>) -> Vec<Pool> {
    let Some(all) = reader.table(top, "pool") else {
        return Vec::new();
    };
    let names: Vec<&str> = all.entries.keys().map(|k| k.get_ref().as_ref()).collect();
    let mut taken: Vec<(AddressRange, String)> = Vec::new();
    names
        .into_iter()
        .filter_map(|name| {
            let mut table = reader.table(&all, name)?;
            table.title = format!("[pool.{}] ", name.escape_debug());
            Some(pool(reader, &table, name, &mut taken))
        })
        .collect()
}

fn pool(
    reader: &mut Reader<'_>,
    table: &Table<'_>,
    name: &str,
    taken: &mut Vec<(AddressRange, String)>,
) -> Pool {
    reader.only(table, POOL);
    let errors = reader.errors.len();
    let ranges = ranges(reader, table, name, taken, false);
    let ranges6 = self::ranges(reader, table, name, taken, true);
    if ranges.is_empty() && ranges6.is_empty() && reader.errors.len() == errors {
        reader.missing(
            table,
            "ranges",
            r#"add ranges = ["10.9.0.10-10.9.0.200"], or ranges6 = ["fd00:9::/112"]"#,
        );
    }
    let dns: Vec<IpAddr> = reader.parse_list(table, "dns", parse_address);
    let domains = reader.parse_list(table, "dns-domains", dns_domain);
    let on_subnet = reader.parse(table, "on-subnet", str::parse);
    Pool { name: name.to_owned(), ranges, ranges6, dns, domains, on_subnet }
}

fn ranges(
    reader: &mut Reader<'_>,
    table: &Table<'_>,
    pool: &str,
    taken: &mut Vec<(AddressRange, String)>,
    v6: bool,
) -> Vec<AddressRange> {
    let key = if v6 { "ranges6" } else { "ranges" };
    let allowed =
        if v6 { "fd00:9::10-fd00:9::ff, fd00:9::/112" } else { "10.9.0.10-10.9.0.200, 10.9.1.0/24" };
    let parse = |text: &str| {
        parse_range(text).filter(|r| r.first.is_ipv6() == v6).ok_or_else(|| {
            NameError::new(
                format!("{} is not a range of IPv{} addresses", quoted(text), if v6 { 6 } else { 4 }),
                allowed,
            )
        })
    };
    let texts = reader.strings(table, key);
    let mut out = Vec::new();
    for text in texts {
        let Some(range) = reader.parsed(table, key, &text, parse) else {
            continue;
        };
        if let Some((other, whose)) = taken.iter().find(|(r, _)| r.intersection(range).is_some()) {
            let message = format!(
                "{}`{key}`: {} overlaps {other:?} of [pool.{}]",
                table.title,
                quoted(text.text),
                whose.escape_debug()
            );
            reader.error(text.span, message, "give every address to one pool only");
            continue;
        }
        taken.push((range, pool.to_owned()));
        out.push(range);
    }
    out
}

fn network(reader: &mut Reader<'_>, top: &Table<'_>) -> Network {
    let mut network = Network { forward: false, nat: Nat::Off, nat_interface: None };
    let Some(table) = reader.table(top, "network") else {
        return network;
    };
    reader.only(&table, NETWORK);
    network.forward = reader.boolean(&table, "forward").unwrap_or(false);
    network.nat = reader.choice(&table, "nat", NAT).unwrap_or(Nat::Off);
    network.nat_interface = reader.parse(&table, "nat-interface", str::parse);
    if network.nat == Nat::Off {
        let help = r#"add nat = "masquerade", or take the line out"#;
        reader.useless(&table, "nat-interface", "nat is off", help);
    }
    if let (Nat::Masquerade, false, Some((_, span))) = (network.nat, network.forward, entry(&table, "nat"))
        && entry(&table, "forward").is_some()
    {
        reader.error(
            span,
            "[network] `nat` translates what is forwarded, but forward = false",
            "set forward = true",
        );
    }
    network
}

fn limits(reader: &mut Reader<'_>, top: &Table<'_>) -> Limits {
    let mut limits = Limits { half_open: 1_000, clients: 20_000 };
    let Some(table) = reader.table(top, "limits") else {
        return limits;
    };
    reader.only(&table, LIMITS);
    limits.half_open = reader.integer(&table, "half-open", 1..=1_000_000).unwrap_or(limits.half_open);
    limits.clients = reader.integer(&table, "clients", 1..=1_000_000).unwrap_or(limits.clients);
    limits
}
