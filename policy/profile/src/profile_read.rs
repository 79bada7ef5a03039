use core::net::IpAddr;
use core::time::Duration;

use adit_core::{Identity, Prefix, TrafficSelector};

use crate::block::block;
use crate::eap::{EapChoice, OF_PEER, eap, useless_by_method};
use crate::error::{ProfileErrors, Source};
use crate::ppk::{self, Ppk, PpkUse};
use crate::ppp::TunnelKind;
use crate::ppp_read::ppp_profile;
use crate::profile::{AuthMethod, Dns, Families, Profile, Tunnel};
use crate::read::{CheckSuite, Reader, Table, document, entry};
use crate::sa::{ChildRule, Mode};
use crate::sa_read::{Parent, children, fragment_size, reauthenticate, rekeying, selectors};
use crate::secret::{CertSource, Directory, FileRef, KeySource, PasswordSource, PskSource, Revocation};
use crate::srv::srv_fits;
use crate::start_read::{requires, start, whole};
use crate::strategy_read::{self, strategy_profile};
use crate::value::{
    Host, InterfaceName, NameError, ProfileName, ServerName, Suite, SuiteKind, parse_identity, quoted,
};

pub(crate) const AUTH: &[(&str, AuthMethod)] =
    &[("psk", AuthMethod::Psk), ("certificate", AuthMethod::Certificate)];
const OWN_AUTH: &[(&str, AuthMethod)] =
    &[("psk", AuthMethod::Psk), ("certificate", AuthMethod::Certificate), ("eap", AuthMethod::Eap)];
const AUTH_HELP: &str = r#"add auth = "psk", auth = "certificate" or auth = "eap""#;
pub(crate) const TRAFFIC: &[(&str, Tunnel)] = &[("full", Tunnel::Full), ("split", Tunnel::Split)];
/// `tunnel` says what carries the connection. Files from before there was a choice say by it what goes into the tunnel,
/// which is `traffic` now.
const TUNNEL: &[(&str, TunnelWord)] = &[
    ("ikev2", TunnelWord::Kind(TunnelKind::Ikev2)),
    ("pptp", TunnelWord::Kind(TunnelKind::Pptp)),
    ("sstp", TunnelWord::Kind(TunnelKind::Sstp)),
    ("l2tp", TunnelWord::Kind(TunnelKind::L2tp)),
    // Read before, see `strategy_read`: here for those who miswrite them.
    ("auto", TunnelWord::Several),
    ("ikev2-first", TunnelWord::Several),
    ("sstp-first", TunnelWord::Several),
    ("pptp-first", TunnelWord::Several),
    ("l2tp-first", TunnelWord::Several),
    ("full", TunnelWord::Traffic(Tunnel::Full)),
    ("split", TunnelWord::Traffic(Tunnel::Split)),
];
pub(crate) const DNS: &[(&str, Dns)] = &[("auto", Dns::Auto), ("ignore", Dns::Ignore)];
pub(crate) const DPD_RANGE: core::ops::RangeInclusive<Duration> =
    Duration::from_secs(5)..=Duration::from_secs(3600);
pub(crate) const IDLE_RANGE: core::ops::RangeInclusive<Duration> =
    Duration::from_secs(5)..=Duration::from_hours(24);
pub(crate) const DPD_DEFAULT: Duration = Duration::from_secs(30);
const OUTAGE_RANGE: core::ops::RangeInclusive<Duration> = Duration::from_secs(5)..=Duration::from_hours(8);
pub(crate) const OUTAGE_DEFAULT: Duration = Duration::from_mins(30);

/// Every key of a profile, in the order in which they are shown.
pub(crate) const KEYS: &[&str] = &[
    "version",
    "server",
    "port",
    "start",
    "idle",
    "requires",
    "trusted-networks",
    "auth",
    "remote-auth",
    "local-id",
    "remote-id",
    "psk",
    "psk-file",
    "ppk-id",
    "ppk-file",
    "ppk",
    "user",
    "eap-identity",
    "eap-methods",
    "eap-inner",
    "eap-server",
    "eap-only",
    "password",
    "password-file",
    "ca",
    "certificate",
    "key",
    "key-password-file",
    "revocation",
    "ike",
    "esp",
    "legacy",
    "rekey-ike",
    "rekey-child",
    "rekey-bytes",
    "rekey-packets",
    "reauthenticate",
    "fragment-size",
    "mode",
    "tunnel",
    "traffic",
    "block",
    "local-network",
    "local-subnets",
    "remote-subnets",
    "routes-by-dhcp",
    "child",
    "addresses",
    "dpd",
    "interface",
    "mtu",
    "dns",
    "shared-identity",
    "force-encapsulation",
    "session-resumption",
    "local-address",
    "mobility",
    "prefer",
    "outage-time",
];

/// Reads a profile. `check` says whether a proposal's text is one that Adit can make.
///
/// # Errors
/// Every mistake of the file.
pub fn parse_profile(
    name: &ProfileName,
    source: &Source<'_>,
    check: CheckSuite<'_>,
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

/// By what carries it.
fn profile(
    reader: &mut Reader<'_>,
    name: &ProfileName,
    table: &Table<'_>,
    check: CheckSuite<'_>,
) -> Option<Profile> {
    let _: Option<u8> = reader.integer(table, "version", 1..=1);
    reader.legacy = reader.boolean(table, "legacy").unwrap_or(false);
    if let Some(order) = strategy_read::order(reader, table) {
        return strategy_profile(reader, name, table, order, check);
    }
    match reader.choice(table, "tunnel", TUNNEL) {
        Some(TunnelWord::Kind(kind @ (TunnelKind::Pptp | TunnelKind::Sstp | TunnelKind::L2tp))) => {
            ppp_profile(reader, name, table, kind, check)
        }
        word => ike_profile(reader, name, table, word, check),
    }
}

pub(crate) fn ike_profile(
    reader: &mut Reader<'_>,
    name: &ProfileName,
    table: &Table<'_>,
    word: Option<TunnelWord>,
    check: CheckSuite<'_>,
) -> Option<Profile> {
    reader.only(table, KEYS);
    let (servers, auth) = (servers(reader, table, TunnelKind::Ikev2), own_auth(reader, table));
    let remote_auth = reader.choice(table, "remote-auth", AUTH).or(auth.map(like_us));
    let credentials = credentials(reader, table, auth, remote_auth);
    let esp = reader.suites(table, "esp", SuiteKind::Esp, check);
    let traffic = traffic(reader, table, word, &esp, check);
    let (start, idle) = start(reader, table, is_known(&traffic));
    let profile = Profile {
        name: name.clone(),
        kind: TunnelKind::Ikev2,
        strategy: None,
        ppp: None,
        start,
        idle,
        requires: requires(reader, table, name),
        trusted_networks: Vec::new(),
        remote_id: reader.parse(table, "remote-id", parse_identity),
        local_address: local_address(reader, table, &servers),
        servers,
        local_id: credentials.local_id,
        psk: credentials.psk,
        ppk: credentials.ppk,
        user: credentials.user,
        eap_identity: credentials.eap_identity,
        eap: credentials.eap,
        password: credentials.password,
        ca: credentials.ca,
        certificate: credentials.certificate,
        keys: credentials.keys,
        key_password: credentials.key_password,
        revocation: credentials.revocation,
        ike: reader.suites(table, "ike", SuiteKind::Ike, check),
        esp,
        legacy: reader.legacy,
        rekeying: rekeying(reader, table),
        reauthenticate: reauthenticate(reader, table),
        fragment_size: fragment_size(reader, table),
        mode: traffic.mode,
        tunnel: traffic.tunnel,
        block: block(reader, table, traffic.tunnel, TunnelKind::Ikev2),
        local_network: false,
        local_subnets: traffic.local_subnets,
        remote_subnets: traffic.remote_subnets,
        routes_by_dhcp: traffic.routes_by_dhcp,
        children: traffic.children,
        addresses: traffic.addresses,
        dpd: reader.duration(table, "dpd", DPD_RANGE).unwrap_or(DPD_DEFAULT),
        interface: reader.parse(table, "interface", str::parse),
        mtu: mtu(reader, table, traffic.addresses),
        dns: reader.choice(table, "dns", DNS).unwrap_or(Dns::Auto),
        shared_identity: reader.boolean(table, "shared-identity").unwrap_or(false),
        session_resumption: reader.boolean(table, "session-resumption").unwrap_or(true),
        force_encapsulation: reader.boolean(table, "force-encapsulation").unwrap_or(false),
        mobility: reader.boolean(table, "mobility").unwrap_or(true),
        prefer: reader.parse_list(table, "prefer", link_word),
        outage: reader.duration_or_never(table, "outage-time", OUTAGE_RANGE).unwrap_or(Some(OUTAGE_DEFAULT)),
        // Last, so that whatever else is wrong has been found.
        auth: auth?,
        remote_auth: remote_auth?,
    };
    (!profile.servers.is_empty()).then(|| whole(reader, table, profile))
}

/// How the server proves itself where nothing is said of that.
fn like_us(auth: AuthMethod) -> AuthMethod {
    // [7296:2.16-1] [7296:5-3]
    if auth == AuthMethod::Eap { AuthMethod::Certificate } else { auth }
}

/// How we prove ourselves; as one of several types of tunnel, by EAP.
fn own_auth(reader: &mut Reader<'_>, table: &Table<'_>) -> Option<AuthMethod> {
    if reader.several {
        return Some(AuthMethod::Eap);
    }
    required_choice(reader, table, "auth", OWN_AUTH, AUTH_HELP)
}

/// `wired`, `wifi`, `wwan`, or the name of a link.
fn link_word(text: &str) -> Result<String, NameError> {
    text.parse::<InterfaceName>().map(|name| name.as_str().to_owned())
}

/// The gateways; `port` is that of each which names none.
pub(crate) fn servers(reader: &mut Reader<'_>, table: &Table<'_>, kind: TunnelKind) -> Vec<ServerName> {
    let help = r#"add server = "vpn.example.com""#;
    let written = entry(table, "server");
    if written.is_none() {
        reader.missing(table, "server", help);
    }
    let port = reader.integer::<u16>(table, "port", 1..=65535);
    let errors = reader.errors.len();
    let mut servers: Vec<ServerName> = reader.parse_list(table, "server", str::parse);
    if let (Some((_, span)), true, true) = (written, servers.is_empty(), reader.errors.len() == errors) {
        reader.error(span, "`server` is empty", help);
    }
    if let (Some(port), Some((_, span))) = (port, entry(table, "port"))
        && let Some(after) = servers.iter().find_map(|s| s.port)
    {
        let message = format!("`port` is {port}, but `server` already ends in :{after}");
        reader.error(span, message, "write the port once");
    }
    servers.iter_mut().for_each(|s| s.port = s.port.or(port));
    srv_fits(reader, table, kind, &servers);
    servers
}

struct Credentials {
    local_id: Option<Identity>,
    psk: Option<PskSource>,
    ppk: Option<(Ppk, PpkUse)>,
    user: Option<String>,
    eap_identity: Option<String>,
    eap: EapChoice,
    password: Option<PasswordSource>,
    ca: Vec<CertSource>,
    certificate: Vec<CertSource>,
    keys: Vec<KeySource>,
    key_password: Option<FileRef>,
    revocation: Revocation,
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
        ppk: ppk::of_profile(reader, table),
        user: reader.parse(table, "user", user_name),
        eap_identity: reader.parse(table, "eap-identity", user_name),
        eap: eap(reader, table),
        password: reader.password(table, false),
        ca: reader.certificates(table, "ca"),
        certificate: reader.certificates(table, "certificate"),
        keys: reader.keys(table),
        key_password: reader.file(table, "key-password-file", Directory::Secrets),
        revocation: reader.choice(table, "revocation", Revocation::WORDS).unwrap_or_default(),
    };
    let holds_all = found.keys.iter().any(KeySource::may_hold_certificate);
    credentials_missing(reader, table, auth, remote, holds_all);
    if let (Some(auth), Some(remote)) = (auth, remote) {
        credentials_useless(reader, table, auth, remote);
        if auth == AuthMethod::Eap {
            useless_by_method(reader, table, &found.eap.methods, OF_PEER);
        }
    }
    found
}

fn credentials_missing(
    reader: &mut Reader<'_>,
    table: &Table<'_>,
    auth: Option<AuthMethod>,
    remote: Option<AuthMethod>,
    holds_all: bool,
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
    if auth == Some(AuthMethod::Eap) && !has("user") && !has("key") {
        reader.missing(table, "user", r#"add user = "alice", or user = "DOMAIN\\alice""#);
    }
    if let (Some(AuthMethod::Eap), Some(AuthMethod::Psk), Some((_, span))) =
        (auth, remote, entry(table, "remote-auth"))
    {
        let help = "a pre-shared key proves nobody who has it: take the line out";
        reader.error(span, "`remote-auth`: with EAP the server has to show a certificate", help);
    }
    if auth == Some(AuthMethod::Certificate) && !has("certificate") && !holds_all {
        reader.missing(table, "certificate", r#"add certificate = "NAME.pem", a file in /etc/adit/certs"#);
    }
    if auth == Some(AuthMethod::Certificate) && !has("key") {
        reader.missing(table, "key", r#"add key = "NAME.pem", a file in /etc/adit/private"#);
    }
}

fn credentials_useless(reader: &mut Reader<'_>, table: &Table<'_>, auth: AuthMethod, remote: AuthMethod) {
    let psk =
        (auth == AuthMethod::Psk || remote == AuthMethod::Psk, r#"neither side authenticates with "psk""#);
    let certificate = (
        matches!(auth, AuthMethod::Certificate | AuthMethod::Eap),
        r#"auth is neither "certificate" nor "eap""#,
    );
    let ca = (remote == AuthMethod::Certificate, r#"remote-auth is not "certificate""#);
    let eap = (auth == AuthMethod::Eap, r#"auth is not "eap""#);
    let uses = [
        ("psk", psk),
        ("psk-file", psk),
        ("user", eap),
        ("eap-identity", eap),
        ("eap-methods", eap),
        ("eap-inner", eap),
        ("eap-server", eap),
        ("eap-only", eap),
        ("password", eap),
        ("password-file", eap),
        ("ca", ca),
        ("revocation", ca),
        ("certificate", certificate),
        ("key", certificate),
        ("key-password-file", certificate),
    ];
    for (key, (used, why)) in uses {
        if !used {
            reader.useless(table, key, why, "take the line out, or change the method");
        }
    }
}

/// A name that EAP can carry.
pub(crate) fn user_name(text: &str) -> Result<String, NameError> {
    const LONGEST: usize = 256;
    if text.is_empty() || text.len() > LONGEST || text.chars().any(char::is_control) {
        let why = format!("{} is not a user's name", quoted(text));
        return Err(NameError::new(why, r#""alice", "alice@example.com", "DOMAIN\\alice""#));
    }
    Ok(text.to_owned())
}

/// What stands behind `tunnel`.
#[derive(Clone, Copy)]
pub(crate) enum TunnelWord {
    Kind(TunnelKind),
    Several,
    Traffic(Tunnel),
}

struct Traffic {
    mode: Mode,
    tunnel: Tunnel,
    local_subnets: Vec<TrafficSelector>,
    remote_subnets: Vec<TrafficSelector>,
    routes_by_dhcp: bool,
    children: Vec<ChildRule>,
    addresses: Families,
}

fn traffic(
    reader: &mut Reader<'_>,
    table: &Table<'_>,
    word: Option<TunnelWord>,
    esp: &[Suite],
    check: CheckSuite<'_>,
) -> Traffic {
    let mode = reader.choice(table, "mode", Mode::WORDS).unwrap_or(Mode::Tunnel);
    let default = if mode == Mode::Transport { Tunnel::Split } else { Tunnel::Full };
    let said = reader.choice(table, "traffic", TRAFFIC);
    let key = if said.is_some() { "traffic" } else { "tunnel" };
    let former = match word {
        Some(TunnelWord::Traffic(former)) => Some(former),
        _ => None,
    };
    if let (Some(_), Some(_), Some((_, span))) = (said, former, entry(table, "tunnel")) {
        let message = "`tunnel` and `traffic` both say what goes into the tunnel";
        reader.error(span, message, r#"keep  traffic, and write tunnel = "ikev2" or nothing"#);
    }
    let tunnel = said.or(former).unwrap_or(default);
    let local_subnets = selectors(reader, table, "local-subnets");
    let remote_subnets = selectors(reader, table, "remote-subnets");
    let parent = Parent { tunnel, mode, local_subnets: &local_subnets, esp };
    let children = children(reader, table, &parent, check);
    let addresses = families(reader, table, mode, &local_subnets);
    let routes_by_dhcp = reader.boolean(table, "routes-by-dhcp").unwrap_or(false);
    if routes_by_dhcp {
        asks_for_routes(reader, table, (tunnel, mode, addresses));
    }
    full_takes_everything(reader, table, tunnel);
    if let (Mode::Transport, Tunnel::Full, Some((_, span))) = (mode, tunnel, entry(table, key)) {
        let help = "take the line out, or the one with mode";
        reader.error(
            span,
            format!("`{key}`: transport mode carries only what the two hosts say to each other"),
            help,
        );
    }
    Traffic { mode, tunnel, local_subnets, remote_subnets, routes_by_dhcp, children, addresses }
}

/// Who asks for routes has none of its own making, and an IPv4 address to ask from.
pub(crate) fn asks_for_routes(
    reader: &mut Reader<'_>,
    table: &Table<'_>,
    (tunnel, mode, addresses): (Tunnel, Mode, Families),
) {
    let split = r#"add traffic = "split", or take the line out"#;
    if mode == Mode::Transport {
        reader.useless(table, "routes-by-dhcp", "transport mode has no routes", "take the line out");
    } else if tunnel == Tunnel::Full {
        reader.useless(table, "routes-by-dhcp", "a full tunnel takes everything", split);
    } else if !addresses.ipv4 {
        let help = r#"add "ipv4" to addresses, or take the line out"#;
        reader.useless(table, "routes-by-dhcp", "DHCP is asked from an IPv4 address", help);
    }
    for key in ["remote-subnets", "child"] {
        reader.useless(table, key, "the routes come by DHCP", "take this line out, or  routes-by-dhcp");
    }
}

pub(crate) fn full_takes_everything(reader: &mut Reader<'_>, table: &Table<'_>, tunnel: Tunnel) {
    if tunnel == Tunnel::Full {
        let help = r#"add traffic = "split", or take the line out"#;
        reader.useless(table, "remote-subnets", "a full tunnel takes everything", help);
    }
}

/// The kinds of address that `addresses` lists.
pub(crate) fn listed_families(reader: &mut Reader<'_>, table: &Table<'_>) -> Families {
    let parse = |text: &str| match text {
        "ipv4" => Ok(true),
        "ipv6" => Ok(false),
        _ => Err(NameError::new(format!("{} is not a kind of address", quoted(text)), r#""ipv4", "ipv6""#)),
    };
    let kinds = reader.parse_list(table, "addresses", parse);
    Families { ipv4: kinds.contains(&true), ipv6: kinds.contains(&false) }
}

fn families(reader: &mut Reader<'_>, table: &Table<'_>, mode: Mode, local: &[TrafficSelector]) -> Families {
    let Some((_, span)) = entry(table, "addresses") else {
        let ask = mode == Mode::Tunnel && local.is_empty();
        return Families { ipv4: ask, ipv6: ask };
    };
    let errors = reader.errors.len();
    let listed = listed_families(reader, table);
    let none = !listed.ipv4 && !listed.ipv6;
    let has = entry(table, "local-subnets").is_some();
    if none && reader.errors.len() == errors && mode == Mode::Tunnel && !has {
        let help = r#"add local-subnets = ["10.1.0.0/16"], or ask for "ipv4", "ipv6" or both"#;
        reader.error(span, "`addresses` is empty: nothing on our side could go into the tunnel", help);
    } else if !none && mode == Mode::Transport {
        let help = "take the line out, or the one with mode";
        reader.useless(table, "addresses", "in transport mode there are none inside", help);
    }
    listed
}

pub(crate) fn mtu(reader: &mut Reader<'_>, table: &Table<'_>, addresses: Families) -> Option<u16> {
    let mtu: u16 = reader.integer(table, "mtu", 576..=65535)?;
    if addresses.ipv6 && mtu < 1280 && entry(table, "addresses").is_some() {
        let (_, span) = entry(table, "mtu")?;
        let help = r#"allowed: 1280 and up (RFC 8200 §5), or addresses = ["ipv4"]"#;
        reader.error(span, format!("`mtu`: {mtu} is too small for IPv6"), help);
    }
    Some(mtu)
}

pub(crate) fn local_address(
    reader: &mut Reader<'_>,
    table: &Table<'_>,
    servers: &[ServerName],
) -> Option<IpAddr> {
    let address: IpAddr = reader.parse(table, "local-address", parse_address)?;
    let beyond = servers.iter().find_map(|s| match s.host {
        Host::Address(remote) if remote.is_ipv4() != address.is_ipv4() => Some(remote),
        _ => None,
    });
    if let (Some(remote), Some((_, span))) = (beyond, entry(table, "local-address")) {
        let message = format!("`local-address`: {address} cannot reach {remote}");
        reader.error(span, message, "allowed: an address of the server's family");
    }
    Some(address)
}

/// A packet that raises it must be known for one.
fn is_known(traffic: &Traffic) -> bool {
    let Traffic { mode, tunnel, remote_subnets, .. } = traffic;
    *mode == Mode::Transport || *tunnel == Tunnel::Split && !remote_subnets.is_empty()
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
