//! Where the server is.

use std::fmt::Display;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use adit_core::{Failure, FailureCode, Step};
use adit_profile::{Host, Profile};

/// How long the system's resolver gets: by itself it asks silent servers for half a minute and more.
const PATIENCE: Duration = Duration::from_secs(10);

/// The server's addresses, in the resolver's order (RFC 6724), each once, with the port for the first packet.
///
/// # Errors
/// The name has no address, or nobody answers for it.
pub(crate) async fn resolve(profile: &Profile) -> Result<Vec<SocketAddr>, Failure> {
    let port = profile.port();
    let name = match profile.host() {
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
    for address in found.filter(|a| fits(a.ip(), profile)) {
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

fn fits(address: IpAddr, profile: &Profile) -> bool {
    profile.local_address.is_none_or(|local| local.is_ipv4() == address.is_ipv4())
}
