use core::net::IpAddr;
use std::collections::BTreeMap;

use adit_core::Prefix;

use crate::block::{Block, block};
use crate::eap::{EapChoice, EapType, OF_PEER, Use, Uses, eap, methods, useless_by_method};
use crate::front::{Front, front};
use crate::l2tp_read::{by_certificate, l2tp_of_profile, l2tp_of_server};
use crate::ppp::{LinkKind, MppeRule, PppAuth, PppEap, PppRule, PppServer, TunnelKind};
use crate::ppp_keys;
use crate::profile::{AuthMethod, Dns, Families, Profile, Tunnel};
use crate::profile_read::{
    DNS, DPD_DEFAULT, TRAFFIC, asks_for_routes, full_takes_everything, listed_families, local_address, mtu,
    parse_address, parse_network, servers, user_name,
};
use crate::proxy_read::proxy;
use crate::read::{CheckSuite, Reader, Table, entry};
use crate::sa::{Mode, Rekeying, Start};
use crate::sa_read::{FRAGMENT_DEFAULT, selectors};
use crate::secret::{Directory, FileRef, KeySource, Revocation};
use crate::server_read::{Group, Named, matches};
use crate::start_read::{requires, start, whole};
use crate::value::{NameError, ProfileName, ServerName, parse_identity, quoted};

/// As long as RFC 1994 §4.1 has room for, in octets.
const LONGEST_NAME: usize = 255;

/// What SSTP's server listens on, if nothing else is said.
const HTTPS_PORT: u16 = 443;

/// A profile with `tunnel = "pptp"`, `tunnel = "sstp"` or `tunnel = "l2tp"`.
pub(crate) fn ppp_profile(
    reader: &mut Reader<'_>,
    name: &ProfileName,
    table: &Table<'_>,
    kind: TunnelKind,
    check: CheckSuite<'_>,
) -> Option<Profile> {
    let in_tls = kind == TunnelKind::Sstp;
    reader.only(table, &ppp_keys::of_profile(kind));
    let servers = servers(reader, table, kind);
    if let Some(port) = kind.only_port() {
        no_port(reader, table, (kind, port), &servers);
    }
    let eap = eap_of_client(reader, table, kind);
    let mut ppp = rule(reader, table, kind, &eap.methods);
    let outside = l2tp_of_profile(reader, table, kind, check);
    if !in_tls {
        not_in_clear(reader, table, kind, &eap.methods);
    }
    for uses in [OF_CLIENT, if in_tls { &[] } else { OF_TLS_INSIDE }, OF_PEER] {
        useless_of_eap(reader, table, (&ppp.auth, &eap.methods), &beside(uses, table, kind));
    }
    let by_certificate = ppp.auth == [PppAuth::Eap] && eap.methods == [EapType::Tls];
    who_we_are(reader, table, by_certificate);
    let tunnel = reader.choice(table, "traffic", TRAFFIC).unwrap_or(Tunnel::Full);
    let remote_subnets = selectors(reader, table, "remote-subnets");
    full_takes_everything(reader, table, tunnel);
    let (start, idle) = start(reader, table, tunnel == Tunnel::Split && !remote_subnets.is_empty());
    let addresses = families(reader, table);
    let (mtu, local_address) = (mtu(reader, table, addresses), local_address(reader, table, &servers));
    ppp.l2tp.clone_from(&outside.rule);
    let profile = Profile {
        start,
        idle,
        requires: requires(reader, table, name),
        auth: AuthMethod::Eap,
        remote_id: reader.parse(table, "remote-id", parse_identity),
        remote_auth: match in_tls
            || ppp.auth.contains(&PppAuth::Eap) && eap.methods.iter().any(|m| m.runs_tls())
        {
            true => AuthMethod::Certificate,
            false => AuthMethod::Psk,
        },
        ppp: Some(ppp),
        user: reader.parse(table, "user", user_name),
        password: reader.password(table, true),
        eap_identity: reader.parse(table, "eap-identity", user_name),
        ca: reader.certificates(table, "ca"),
        certificate: reader.certificates(table, "certificate"),
        keys: reader.keys(table),
        key_password: reader.file(table, "key-password-file", Directory::Secrets),
        revocation: reader.choice(table, "revocation", Revocation::WORDS).unwrap_or_default(),
        eap,
        legacy: reader.legacy,
        tunnel,
        block: block(reader, table, tunnel, kind),
        remote_subnets,
        routes_by_dhcp: routes_by_dhcp(reader, table, tunnel, addresses),
        addresses,
        interface: reader.parse(table, "interface", str::parse),
        mtu,
        dns: reader.choice(table, "dns", DNS).unwrap_or(Dns::Auto),
        local_address,
        ..outside.of(ppp_of(kind, name, servers))
    };
    let is_whole = !profile.servers.is_empty() && (profile.user.is_some() || by_certificate);
    is_whole.then(|| whole(reader, table, profile))
}

fn routes_by_dhcp(reader: &mut Reader<'_>, table: &Table<'_>, tunnel: Tunnel, addresses: Families) -> bool {
    let wanted = reader.boolean(table, "routes-by-dhcp").unwrap_or(false);
    if wanted {
        asks_for_routes(reader, table, (tunnel, Mode::Tunnel, addresses));
    }
    wanted
}

fn no_port(
    reader: &mut Reader<'_>,
    table: &Table<'_>,
    (kind, port): (TunnelKind, u16),
    servers: &[ServerName],
) {
    let with_port = servers.iter().find(|s| s.port.is_some() && s.srv().is_none());
    if let (Some(_), Some((_, span))) = (with_port, entry(table, "server")) {
        let port = format!("{} port {port}", if kind == TunnelKind::L2tp { "UDP" } else { "TCP" });
        let message = format!("`server`: {} has the {port} and no other", kind.name());
        reader.error(span, message, "take the port out");
    }
}

fn who_we_are(reader: &mut Reader<'_>, table: &Table<'_>, by_certificate: bool) {
    if entry(table, "user").is_none() && !by_certificate {
        reader.missing(table, "user", r#"add user = "alice", or user = "DOMAIN\\alice""#);
    }
    for key in ["password", "password-file"].into_iter().filter(|_| by_certificate) {
        reader.useless(table, key, "a certificate alone proves us", "take the line out");
    }
}

/// A client's, beside those of [`OF_PEER`].
const OF_CLIENT: &Uses = &[("eap-methods", |_| true), ("eap-identity", |_| true)];
/// The same, where nothing but a method of EAP asks the server for a certificate.
const OF_TLS_INSIDE: &Uses = &[("ca", EapType::runs_tls), ("revocation", EapType::runs_tls)];
/// A server's own, where nothing but a method of EAP shows it.
const OF_OWN_CERTIFICATE: &Uses = &[
    ("certificate", EapType::runs_tls),
    ("key", EapType::runs_tls),
    ("key-password-file", EapType::runs_tls),
];
const OF_SERVER: &Uses = &[
    ("eap-methods", |_| true),
    ("ca", |method| method == EapType::Tls),
    ("revocation", |method| method == EapType::Tls),
    ("match", |method| method == EapType::Tls),
    ("group", |method| method == EapType::Tls),
];

/// Whoever names an authority, or a certificate, believes that the other side is asked for one.
fn useless_of_eap(
    reader: &mut Reader<'_>,
    table: &Table<'_>,
    (auth, methods): (&[PppAuth], &[EapType]),
    uses: &Uses,
) {
    if auth.is_empty() || auth.contains(&PppAuth::Eap) {
        return useless_by_method(reader, table, methods, uses);
    }
    for (key, _) in uses {
        let help = r#"take the line out, or add "eap" to ppp-auth"#;
        reader.useless(table, key, "`ppp-auth` has no \"eap\"", help);
    }
}

/// What of it has a use for EAP alone: certificates may be for the IPsec outside, too.
fn beside(uses: &Uses, table: &Table<'_>, kind: TunnelKind) -> Vec<Use> {
    let of_ipsec = by_certificate(table, kind);
    let shared = ["certificate", "key", "key-password-file", "ca", "revocation"];
    uses.iter().filter(|(key, _)| !of_ipsec || !shared.contains(key)).copied().collect()
}

/// Nothing has proven the server before: beside a certificate no password is the default. Where certificates prove the hosts
/// outside, it is a person who logs in inside.
fn eap_of_client(reader: &mut Reader<'_>, table: &Table<'_>, kind: TunnelKind) -> EapChoice {
    let mut choice = eap(reader, table);
    if entry(table, "eap-methods").is_none() && choice.methods.contains(&EapType::Tls) {
        choice.methods = vec![if by_certificate(table, kind) { EapType::Mschapv2 } else { EapType::Tls }];
    }
    choice
}

/// EAP itself encrypts nothing, and neither does PPTP before MPPE has keys.
fn not_in_clear(reader: &mut Reader<'_>, table: &Table<'_>, kind: TunnelKind, methods: &[EapType]) {
    let Some((_, span)) = entry(table, "eap-methods") else { return };
    if methods.contains(&EapType::Gtc) {
        let message = format!(
            "`eap-methods`: GTC sends the password in clear, and {} does not encrypt it",
            kind.name()
        );
        reader.error(span.clone(), message, r#"take it out: inside of TLS it is  eap-inner = "gtc""#);
    }
    if methods.contains(&EapType::Md5) && requires_mppe(reader, table, kind) {
        let help = "take it out, or add  require-mppe = false: everything then goes in clear";
        reader.error(span, "`eap-methods`: EAP-MD5 makes no keys for MPPE", help);
    }
}

/// Whether there is no connection without MPPE. Who writes that an L2TP tunnel is not protected trusts the link.
fn requires_mppe(reader: &mut Reader<'_>, table: &Table<'_>, kind: TunnelKind) -> bool {
    reader.boolean(table, "require-mppe").unwrap_or(kind == TunnelKind::Pptp)
}

/// A profile without anything that a file may say. It proves itself by name and password; of PPTP's servers none proves more
/// than that it knows the password too.
fn ppp_of(kind: TunnelKind, name: &ProfileName, servers: Vec<ServerName>) -> Profile {
    Profile {
        name: name.clone(),
        kind,
        strategy: None,
        ppp: None,
        servers,
        start: Start::Manual,
        idle: None,
        requires: None,
        trusted_networks: Vec::new(),
        auth: AuthMethod::Eap,
        remote_auth: AuthMethod::Psk,
        local_id: None,
        remote_id: None,
        psk: None,
        ppk: None,
        user: None,
        eap_identity: None,
        eap: EapChoice::default(),
        password: None,
        ca: Vec::new(),
        certificate: Vec::new(),
        keys: Vec::new(),
        key_password: None,
        revocation: Revocation::default(),
        ike: Vec::new(),
        esp: Vec::new(),
        legacy: false,
        rekeying: Rekeying::default(),
        reauthenticate: None,
        fragment_size: FRAGMENT_DEFAULT,
        mode: Mode::Tunnel,
        tunnel: Tunnel::Full,
        block: Block::WhileUp,
        local_network: false,
        local_subnets: Vec::new(),
        remote_subnets: Vec::new(),
        routes_by_dhcp: false,
        children: Vec::new(),
        addresses: Families { ipv4: true, ipv6: true },
        dpd: DPD_DEFAULT,
        interface: None,
        mtu: None,
        dns: Dns::Auto,
        shared_identity: false,
        force_encapsulation: false,
        session_resumption: true,
        local_address: None,
        mobility: false,
        prefer: Vec::new(),
        outage: None,
    }
}

fn families(reader: &mut Reader<'_>, table: &Table<'_>) -> Families {
    let Some((_, span)) = entry(table, "addresses") else {
        return Families { ipv4: true, ipv6: true };
    };
    let errors = reader.errors.len();
    let listed = listed_families(reader, table);
    if !listed.ipv4 && !listed.ipv6 && reader.errors.len() == errors {
        let help = r#"ask for "ipv4", "ipv6" or both"#;
        reader.error(span, "`addresses` is empty: nothing could go into the tunnel", help);
    }
    listed
}

fn auth(reader: &mut Reader<'_>, table: &Table<'_>, kind: TunnelKind, default: &[PppAuth]) -> Vec<PppAuth> {
    let in_tls = kind == TunnelKind::Sstp;
    let parse = |text: &str| {
        // MS-CHAPv1 is for peers that are older than SSTP.
        let known = PppAuth::WORDS.iter().filter(|(_, auth)| !in_tls || *auth != PppAuth::MsChapV1);
        let found = known.clone().find(|(word, _)| *word == text).map(|(_, auth)| *auth);
        let allowed = match in_tls {
            true => r#""eap", "mschapv2", "chap""#,
            false => r#""eap", "mschapv2", "mschapv1", "chap""#,
        };
        let why = match text {
            "pap" if !in_tls => {
                format!("\"pap\" sends the password in clear, and {} does not encrypt it", kind.name())
            }
            _ => format!("{} is not a way to log in", quoted(text)),
        };
        found.ok_or_else(|| NameError::new(why, allowed))
    };
    let wanted = reader.parse_some(table, "ppp-auth", parse);
    let Some((wanted, (_, span))) = wanted.zip(entry(table, "ppp-auth")) else { return default.to_vec() };
    if wanted.contains(&PppAuth::MsChapV1) && !reader.legacy {
        let help = "take it out, or add  legacy = true  for a peer that can do nothing better";
        reader.error(span.clone(), "`ppp-auth`: MS-CHAPv1 can be broken in minutes", help);
    }
    let required = !in_tls && requires_mppe(reader, table, kind);
    if wanted.contains(&PppAuth::Chap) && required {
        let help = "take it out, or add  require-mppe = false: everything then goes in clear";
        reader.error(span, "`ppp-auth`: CHAP makes no keys for MPPE", help);
    }
    wanted
}

fn mppe(reader: &mut Reader<'_>, table: &Table<'_>, kind: TunnelKind) -> MppeRule {
    let parse = |text: &str| match text {
        "128" => Ok(true),
        "40" => Ok(false),
        "56" => Err(NameError::new("no Linux kernel has MPPE with \"56\" bits", r#""128", "40""#)),
        _ => {
            Err(NameError::new(format!("{} is not a length of MPPE's keys", quoted(text)), r#""128", "40""#))
        }
    };
    let bits = reader.parse_some(table, "mppe", parse);
    let default = MppeRule::default();
    MppeRule {
        required: kind == TunnelKind::Sstp || requires_mppe(reader, table, kind),
        bits128: bits.as_ref().map_or(default.bits128, |bits| bits.contains(&true)),
        bits40: bits.as_ref().map_or(default.bits40, |bits| bits.contains(&false)),
        stateful: reader.boolean(table, "mppe-stateful").unwrap_or(default.stateful),
    }
}

fn rule(reader: &mut Reader<'_>, table: &Table<'_>, kind: TunnelKind, methods: &[EapType]) -> PppRule {
    PppRule {
        mppe: mppe(reader, table, kind),
        auth: auth(reader, table, kind, PppAuth::default_of(methods)),
        scripts: scripts(reader, table),
        proxy: if kind == TunnelKind::Sstp { proxy(reader, table) } else { None },
        l2tp: None,
    }
}

/// Whether scripts run: never, where nobody has said so.
fn scripts(reader: &mut Reader<'_>, table: &Table<'_>) -> bool {
    reader.boolean(table, "ppp-scripts").unwrap_or(false)
}

/// `[pptp]`, `[sstp]` or `[l2tp]`. `taken` are pools that others have.
pub(crate) fn ppp_server(
    reader: &mut Reader<'_>,
    top: &Table<'_>,
    kind: TunnelKind,
    (named, taken): (Named<'_>, &[&str]),
    check: CheckSuite<'_>,
) -> Option<PppServer> {
    let of = kind.as_str();
    let in_tls = kind == TunnelKind::Sstp;
    let table = reader.table(top, of)?;
    reader.only(&table, &ppp_keys::of_server(kind));
    reader.legacy = !in_tls && reader.boolean(&table, "legacy").unwrap_or(false);
    let addresses: Vec<IpAddr> = reader.parse_list(&table, "addresses", parse_address);
    if kind == TunnelKind::Pptp {
        only_v4(reader, &table, &addresses);
    }
    let port = match kind {
        TunnelKind::Sstp => reader.integer(&table, "port", 1..=65_535).unwrap_or(HTTPS_PORT),
        TunnelKind::Ikev2 | TunnelKind::Pptp | TunnelKind::L2tp => kind.only_port().unwrap_or_default(),
    };
    let interface = if in_tls { reader.choice(&table, "interface", LinkKind::WORDS) } else { None };
    let l2tp = l2tp_of_server(reader, &table, kind, check);
    let front = if in_tls { front(reader, &table) } else { Front::default() };
    let radius = reader.boolean(&table, "radius").unwrap_or(false);
    let users = users(reader, top, &table, of, radius);
    let pool = pool(reader, &table, of, named, taken);
    let mppe = mppe(reader, &table, kind);
    let auth = auth(reader, &table, kind, &[PppAuth::MsChapV2, PppAuth::Eap]);
    let asked = |auth: &&PppAuth| matches!(auth, PppAuth::MsChapV2 | PppAuth::Eap | PppAuth::Chap);
    if let (true, Some(other), Some((_, span))) =
        (radius, auth.iter().find(|a| !asked(a)), entry(&table, "ppp-auth"))
    {
        let message =
            format!("[{of}] `ppp-auth`: RADIUS servers are not asked by {}", quoted(other.as_str()));
        reader.error(span, message, r#"allowed with radius = true: "mschapv2", "eap", "chap""#);
    }
    let subnets = subnets(reader, &table, of);
    let sites = if in_tls { no_sites(reader, &table) } else { sites(reader, &table, of) };
    let eap = ppp_eap(reader, &table, (kind, radius), &auth, named.groups);
    let passwords = auth.iter().any(|a| *a != PppAuth::Eap) || eap.methods.iter().any(|m| m.has_password());
    if !radius && passwords && entry(&table, "users-file").is_none() {
        let help = r#"add users-file = "NAME.users", a file in /etc/adit/secrets with lines  name:password:secret; or users-file = "/etc/ppp/chap-secrets", or radius = true"#;
        reader.missing(&table, "users-file", help);
    }
    let name = own_name(reader, &table, of);
    let scripts = scripts(reader, &table);
    Some(PppServer {
        kind,
        addresses,
        port,
        interface: interface.unwrap_or_default(),
        front,
        pool: pool?,
        subnets,
        name,
        users,
        radius,
        sites,
        auth,
        eap,
        mppe,
        scripts,
        l2tp,
    })
}

fn only_v4(reader: &mut Reader<'_>, table: &Table<'_>, addresses: &[IpAddr]) {
    if let (Some(_), Some((_, span))) = (addresses.iter().find(|a| a.is_ipv6()), entry(table, "addresses")) {
        let message = "[pptp] `addresses`: the kernel carries PPTP over IPv4 only";
        reader.error(span, message, "name IPv4 addresses");
    }
}

/// Where clients' addresses come from.
fn pool(
    reader: &mut Reader<'_>,
    table: &Table<'_>,
    of: &str,
    named: Named<'_>,
    taken: &[&str],
) -> Option<String> {
    let Some(name) = reader.string(table, "pool") else {
        reader.missing(table, "pool", "add pool = \"NAME\", and a [pool.NAME] of its own");
        return None;
    };
    let found = named.pools.iter().find(|p| p.name == name.text);
    let narrow = found.is_some_and(|p| p.ranges6.iter().any(|r| r.networks_of_64().is_none()));
    if found.is_none() {
        let message = format!("[{of}] `pool`: there is no [pool.{}]", name.text.escape_debug());
        reader.error(name.span.clone(), message, r#"add it: ranges = ["10.9.0.1-10.9.0.200"]"#);
    } else if narrow {
        let message = format!("[{of}] `pool`: a client gets a /64 of `ranges6`, and there is none in it");
        reader.error(name.span.clone(), message, r#"give it more: ranges6 = ["fd00:9::/48"]"#);
    } else if taken.contains(&name.text) {
        let message = format!("[{of}] `pool`: something else has it too, a [[connection]] or another server");
        reader.error(name.span.clone(), message, format!("give {} a pool of its own", of.to_uppercase()));
    }
    Some(name.text.to_owned())
}

/// `subnets`: what clients hear of that ask by DHCPINFORM.
fn subnets(reader: &mut Reader<'_>, table: &Table<'_>, of: &str) -> Vec<Prefix> {
    let subnets = reader.parse_list(table, "subnets", parse_network);
    if let (Some(v6), Some((_, span))) =
        (subnets.iter().find(|s| s.address.is_ipv6()), entry(table, "subnets"))
    {
        let message = format!("[{of}] `subnets`: {v6} is IPv6's, and DHCPINFORM tells of IPv4 only");
        reader.error(span, message, "take it out: IPv6 clients have a default route by router advertisement");
    }
    subnets
}

/// `name`: what the server calls itself.
fn own_name(reader: &mut Reader<'_>, table: &Table<'_>, of: &str) -> String {
    let Some(name) = reader.string(table, "name") else { return "adit".into() };
    if name.text.is_empty() || name.text.len() > LONGEST_NAME || name.text.chars().any(char::is_control) {
        let message = format!("[{of}] `name` is empty, too long, or has control characters");
        reader.error(name.span, message, "a name of 1 to 255 octets, as pppd's option `name`");
    }
    name.text.to_owned()
}

fn no_sites(reader: &mut Reader<'_>, table: &Table<'_>) -> BTreeMap<String, Vec<Prefix>> {
    if let Some((_, span)) = entry(table, "sites") {
        let message = "[sstp] `sites`: SSTP is for single hosts, [MS-SSTP] has nothing from site to site";
        reader.error(
            span,
            message,
            "take it out; IKEv2 connects sites, by  remote-subnets  of a [[connection]]",
        );
    }
    BTreeMap::new()
}

/// `[pptp.sites]` or `[l2tp.sites]`: what is behind whom.
fn sites(reader: &mut Reader<'_>, table: &Table<'_>, of: &str) -> BTreeMap<String, Vec<Prefix>> {
    let Some(all) = reader.table(table, "sites") else { return BTreeMap::new() };
    let names: Vec<&str> = all.entries.keys().map(|k| k.get_ref().as_ref()).collect();
    let mut sites: BTreeMap<String, Vec<Prefix>> = BTreeMap::new();
    for name in names {
        let networks = reader.parse_list(&all, name, parse_network);
        let whose = |n: &Prefix| {
            sites
                .iter()
                .find(|(_, others)| others.iter().any(|o| o.range().intersection(n.range()).is_some()))
        };
        let shared = networks.iter().find_map(|n| whose(n).map(|(other, _)| (*n, other.clone())));
        if let (Some((network, other)), Some((_, span))) = (shared, entry(&all, name)) {
            let message = format!("[{of}.sites] {network} is behind {} already", quoted(&other));
            reader.error(span, message, "name each network once");
        }
        sites.insert(name.to_owned(), networks);
    }
    sites
}

/// EAP of clients, and what the server shows them.
fn ppp_eap(
    reader: &mut Reader<'_>,
    table: &Table<'_>,
    (kind, radius): (TunnelKind, bool),
    auth: &[PppAuth],
    groups: &[Group],
) -> PppEap {
    let in_tls = kind == TunnelKind::Sstp;
    let methods = match radius {
        true => Vec::new(),
        false => methods(reader, table).unwrap_or_else(|| vec![EapType::Mschapv2]),
    };
    for uses in [OF_SERVER, if in_tls { &[] } else { OF_OWN_CERTIFICATE }] {
        let uses = beside(uses, table, kind);
        match radius {
            true => uses.iter().for_each(|(key, _)| {
                let why = "RADIUS servers say by which methods of EAP, and show a certificate";
                reader.useless(table, key, why, "take the line out");
            }),
            false => useless_of_eap(reader, table, (auth, &methods), &uses),
        }
    }
    if !in_tls && !radius {
        not_in_clear(reader, table, kind, &methods);
    }
    let eap = PppEap {
        certificate: reader.certificates(table, "certificate"),
        keys: reader.keys(table),
        key_password: reader.file(table, "key-password-file", Directory::Secrets),
        ca: reader.certificates(table, "ca"),
        matches: matches(reader, table, groups),
        revocation: reader.choice(table, "revocation", Revocation::WORDS).unwrap_or_default(),
        methods,
    };
    let by_certificate = eap.methods.contains(&EapType::Tls);
    let has = |key| entry(table, key).is_some();
    // Whoever ends TLS in our place has the certificate.
    let own = !has("socket") || has("certificate") || has("key");
    let tls = in_tls && own || eap.methods.iter().any(|m| m.runs_tls());
    let holds_all = eap.keys.iter().any(KeySource::may_hold_certificate);
    for (key, wanted) in [("certificate", tls && !holds_all), ("key", tls), ("ca", by_certificate)] {
        if wanted && !has(key) {
            let needs = if in_tls && key != "ca" { "TLS" } else { "a method of `eap-methods`" };
            let help = format!("add {key} = \"NAME.pem\": {needs} needs it");
            reader.missing(table, key, &help);
        }
    }
    if by_certificate && !has("match") && !has("group") {
        let help =
            r#"add match = ["*@example.com"]: whose certificates of `ca` let in; all of them: match = ["*"]"#;
        reader.missing(table, "match", help);
    }
    eap
}

/// Who knows the users: a file, or RADIUS servers.
fn users(
    reader: &mut Reader<'_>,
    top: &Table<'_>,
    table: &Table<'_>,
    of: &str,
    radius: bool,
) -> Option<FileRef> {
    let users = reader.file_or_pppd(table, "users-file");
    if radius {
        let help = "take one of  users-file  and  radius  out";
        reader.useless(table, "users-file", "RADIUS servers decide", help);
    }
    if radius && entry(top, "radius").is_none() {
        let help = r#"add [[radius]] with address = "10.1.0.5" and secret-file = "NAME.secret""#;
        let message = format!("`[[radius]]` is missing: [{of}] asks RADIUS servers");
        reader.error(table.span.clone(), message, help);
    }
    users
}
