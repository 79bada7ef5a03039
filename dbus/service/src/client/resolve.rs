//! Where the server is.

use std::fmt::Display;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use adit_core::{Failure, FailureCode, Step};
use adit_profile::{Host, ServerName};

/// How long the system's resolver gets: by itself it asks silent servers for half a minute and more.
const PATIENCE: Duration = Duration::from_secs(10);

/// A gateway's addresses, in the resolver's order (RFC 6724), each once, with the port for the first packet; only those
/// that can be reached from `local`, where the profile has one.
///
/// # Errors
/// The name has no address, or nobody answers for it.
pub(crate) async fn resolve(gateway: &ServerName, local: Option<IpAddr>) -> Result<Vec<SocketAddr>, Failure> {
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
    let found = tokio::time::timeout(PATIENCE, tokio::net::lookup_host((name.as_str(), port)))
        .await
        .map_err(|_| unresolved(&format_args!("no DNS server answered in {} s", PATIENCE.as_secs())))?
        .map_err(|e| unresolved(&e))?;
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
