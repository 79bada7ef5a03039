//! Addresses in a text.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The IP address that the text begins with, and how long it is there; a port or prefix length behind it is not part of it.
pub(super) fn at(text: &str) -> Option<(usize, IpAddr)> {
    let end = text.find(|c: char| !c.is_ascii_hexdigit() && c != ':' && c != '.').unwrap_or(text.len());
    // What follows belongs to a word that is no address.
    if text.get(end..)?.starts_with(|c: char| c.is_alphanumeric() || c == '_') {
        return None;
    }
    let run = text.get(..end)?;
    if let Ok(address) = run.trim_end_matches('.').parse::<Ipv6Addr>() {
        return Some((run.trim_end_matches('.').len(), address.into()));
    }
    let candidate = run.split(':').next()?.trim_end_matches('.');
    if let Ok(address) = candidate.parse::<Ipv4Addr>() {
        return Some((candidate.len(), address.into()));
    }
    let candidate = run.trim_end_matches([':', '.']);
    candidate.parse::<Ipv6Addr>().ok().map(|address| (candidate.len(), address.into()))
}

/// Whether it is somebody's: those that every host has are nobody's.
pub(super) fn tells_who(address: IpAddr) -> bool {
    let broadcast = matches!(address, IpAddr::V4(v4) if v4.is_broadcast());
    !(address.is_loopback() || address.is_unspecified() || address.is_multicast() || broadcast)
}

/// What is worth knowing of an address that is not shown.
pub(super) fn sort(address: IpAddr) -> &'static str {
    match address {
        IpAddr::V4(v4) if v4.is_private() => "-private",
        IpAddr::V4(v4) if v4.is_link_local() => "-link",
        IpAddr::V6(v6) if v6.is_unique_local() => "-private",
        IpAddr::V6(v6) if v6.is_unicast_link_local() => "-link",
        _ => "",
    }
}

/// The Ethernet address that the text begins with; none where it is all zeros or all ones.
pub(super) fn mac(text: &str) -> Option<&str> {
    let mac = text.get(..17)?;
    let digits = mac.split(':').all(|part| part.len() == 2 && part.bytes().all(|b| b.is_ascii_hexdigit()));
    let ends = !text.get(17..)?.starts_with(|c: char| c.is_ascii_hexdigit() || c == ':');
    let nobodys = mac.bytes().all(|b| b"0:".contains(&b)) || mac.bytes().all(|b| b"fF:".contains(&b));
    (mac.split(':').count() == 6 && digits && ends && !nobodys).then_some(mac)
}
