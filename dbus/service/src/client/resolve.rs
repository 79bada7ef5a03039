//! Where the server is.

use std::fmt::Display;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use adit_core::{Entropy, Failure, FailureCode, Step};
use adit_crypto::OsEntropy;
use adit_plan::services::{Service, is_within, order};
use adit_profile::{Host, Profile, ServerName, Srv, TunnelKind};

use super::lookup::{lookup, services};
use crate::daemon::{Daemon, Known};

/// How long the system's resolver gets: by itself it asks silent servers for half a minute and more.
const PATIENCE: Duration = Duration::from_secs(10);

/// Servers that are taken of those that SRV records name.
const MOST_TARGETS: usize = 16;

/// Where the gateways of a profile are, as far as that is known.
pub(crate) struct Found {
    /// Those whose addresses are, in the order in which the profile, or DNS, has them.
    pub(crate) known: Vec<Known>,
    /// What the last one of the others has failed with.
    pub(crate) failed: Option<Failure>,
}

/// A profile's gateways and their addresses.
pub(crate) async fn places(daemon: &Daemon, profile: &Profile) -> Found {
    let (gateways, mut failed) = gateways(daemon, profile).await;
    let lookups = gateways.iter().map(|gateway| resolve(daemon, gateway, profile.local_address));
    let mut known = Vec::new();
    let results = futures_util::future::join_all(lookups).await;
    for (gateway, result) in gateways.into_iter().zip(results) {
        match result {
            Ok(addresses) => known.push((gateway, addresses)),
            Err(failure) => failed = Some(failure),
        }
    }
    Found { known, failed }
}

/// A profile's gateways, in place of each name of SRV records those that they name; and why some can't be told.
pub(crate) async fn gateways(daemon: &Daemon, profile: &Profile) -> (Vec<ServerName>, Option<Failure>) {
    let (mut out, mut failed) = (Vec::new(), None);
    for server in &profile.servers {
        match server.srv() {
            None => out.push(server.clone()),
            Some(srv) => match named(daemon, profile, &srv).await {
                Ok(gateways) => out.extend(gateways),
                Err(failure) => failed = Some(failure),
            },
        }
    }
    (out, failed)
}

async fn named(daemon: &Daemon, profile: &Profile, srv: &Srv<'_>) -> Result<Vec<ServerName>, Failure> {
    let Srv { name, domain, .. } = *srv;
    let failure = |text: String| Failure::new(FailureCode::NameUnresolved, Step::Resolve, text);
    let found = services(name, daemon.is_blocked_always()).await.map_err(|why| {
        failure(format!("the SRV records of {name} could not be looked up: {why}"))
            .hint(format!("check the name and this host's DNS:  dig {name} SRV"))
    })?;
    if let [Service { target, .. }] = found.as_slice()
        && target.is_empty()
    {
        // RFC 2782: a target of "." says so.
        return Err(failure(format!("{domain} says by DNS that it has no such server ({name})")));
    }
    let mut entropy = OsEntropy::new();
    let servers: Vec<ServerName> = order(found, || entropy.public_u64())
        .iter()
        .filter_map(|service| usable(profile.kind, service))
        .take(MOST_TARGETS)
        .collect();
    if servers.is_empty() {
        return Err(failure(format!("DNS has no SRV record of {name} that {} can use", profile.kind.name()))
            .hint(format!("check the name:  dig {name} SRV")));
    }
    // Whoever forges an answer of DNS has a certificate for a domain of his own.
    let ours =
        |server: &ServerName| profile.remote_id.is_some() || is_within(domain, &server.host.to_string());
    let (ours, others): (Vec<_>, Vec<_>) = servers.into_iter().partition(ours);
    match others.first() {
        Some(other) if ours.is_empty() => Err(failure(format!(
            "the SRV records of {name} name servers outside of {domain}, such as {other}: DNS proves nothing, and so \
             would their certificates not"
        ))
        .hint("say in the profile who the server has to prove to be:  remote-id = \"vpn.example.com\"")),
        _ => Ok(ours),
    }
}

/// The server that a record names, if that type of tunnel gets there.
fn usable(kind: TunnelKind, service: &Service) -> Option<ServerName> {
    let server: ServerName = service.target.parse().ok()?;
    let is_name = matches!(server.host, Host::Name(_)) && server.port.is_none() && server.srv().is_none();
    let fits = kind.only_port().is_none_or(|only| service.port == only) && service.port != 0;
    let port = kind.only_port().is_none().then_some(service.port);
    (is_name && fits).then_some(ServerName { port, ..server })
}

/// A gateway's addresses, in the resolver's order (RFC 6724; where a block stands for good, IPv6 first), each once, with the port
/// for the first packet; only those that can be reached from `local`, where the profile has one.
///
/// # Errors
/// The name has no address, or nobody answers for it.
pub(crate) async fn resolve(
    daemon: &Daemon,
    gateway: &ServerName,
    local: Option<IpAddr>,
) -> Result<Vec<SocketAddr>, Failure> {
    let port = gateway.port();
    let name = match &gateway.host {
        Host::Address(address) => return Ok(vec![SocketAddr::new(*address, port)]),
        Host::Name(name) => name,
    };
    let unresolved = |why: &dyn Display| {
        let text = format!("the name {name} could not be looked up: {why}");
        Failure::new(FailureCode::NameUnresolved, Step::Resolve, text)
            .hint(format!("check the name and this host's DNS:  getent ahosts {name}"))
    };
    let found = match daemon.is_blocked_always() {
        true => lookup(name).await,
        false => asked_of_the_host(name).await,
    };
    let found =
        found.map_err(|why| unresolved(&why))?.into_iter().map(|address| SocketAddr::new(address, port));
    let mut addresses: Vec<SocketAddr> = Vec::new();
    for address in found.filter(|a| local.is_none_or(|local| local.is_ipv4() == a.is_ipv4())) {
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    if addresses.is_empty() {
        let text = format!("the name {name} has no address that can be used from here");
        return Err(Failure::new(FailureCode::NameUnresolved, Step::Resolve, text)
            .hint("a local-address in the profile allows only its own family"));
    }
    Ok(addresses)
}

async fn asked_of_the_host(name: &str) -> Result<Vec<IpAddr>, String> {
    match tokio::time::timeout(PATIENCE, tokio::net::lookup_host((name, 0))).await {
        Ok(Ok(found)) => Ok(found.map(|address| address.ip()).collect()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("no DNS server answered in {} s", PATIENCE.as_secs())),
    }
}
