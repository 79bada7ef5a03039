//! Where the server is.

use std::fmt::Display;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use adit_core::{Failure, FailureCode, Step};
use adit_profile::{Host, ServerName};

use super::lookup::lookup;
use crate::daemon::Daemon;

/// How long the system's resolver gets: by itself it asks silent servers for half a minute and more.
const PATIENCE: Duration = Duration::from_secs(10);

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
