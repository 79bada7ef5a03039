//! The keys of what PPP carries.

use crate::ppp::TunnelKind;

/// Of every profile.
const PROFILE: &[&str] = &[
    "version",
    "server",
    "start",
    "idle",
    "requires",
    "trusted-networks",
    "tunnel",
    "user",
    "password",
    "password-file",
    "ppp-auth",
    "eap-methods",
    "eap-identity",
    "eap-inner",
    "eap-server",
    "ca",
    "certificate",
    "key",
    "key-password-file",
    "revocation",
    "ppp-scripts",
    "traffic",
    "block",
    "local-network",
    "remote-subnets",
    "routes-by-dhcp",
    "addresses",
    "interface",
    "mtu",
    "dns",
    "local-address",
];
/// Of every server.
const SERVER: &[&str] = &[
    "addresses",
    "pool",
    "subnets",
    "name",
    "users-file",
    "radius",
    "sites",
    "ppp-auth",
    "eap-methods",
    "certificate",
    "key",
    "key-password-file",
    "ca",
    "match",
    "group",
    "revocation",
    "ppp-scripts",
];
/// Where nothing encrypts but the link itself.
const MPPE: &[&str] = &["mppe", "mppe-stateful", "require-mppe", "legacy"];
/// Of a profile whose link is inside of TLS.
const IN_TLS: &[&str] = &["remote-id", "proxy", "proxy-user", "proxy-password-file"];

/// Of a tunnel that is L2TP's.
const L2TP: &[&str] = &["ipsec", "tunnel-secret-file", "hide-avps"];
/// Of the IPsec around it.
pub(crate) const IPSEC: &[&str] = &["auth", "psk-file", "local-id", "ike", "esp", "rekey-ike", "rekey-child"];
/// The same of a client's.
pub(crate) const IPSEC_OF_CLIENT: &[&str] = &["psk", "remote-id", "dpd", "force-encapsulation"];
/// Of a server of them.
const IN_TLS_SERVER: &[&str] = &["port", "interface", "proxy-protocol", "socket", "certificate-hash"];

/// Every key of a profile with that `tunnel`.
pub(crate) fn of_profile(kind: TunnelKind) -> Vec<&'static str> {
    let of_client = if kind == TunnelKind::L2tp { IPSEC_OF_CLIENT } else { &[] };
    [PROFILE, if kind == TunnelKind::Sstp { IN_TLS } else { MPPE }, &of_tunnel(kind), of_client].concat()
}

/// Every key of `[pptp]`, `[sstp]` or `[l2tp]`.
pub(crate) fn of_server(kind: TunnelKind) -> Vec<&'static str> {
    [SERVER, if kind == TunnelKind::Sstp { IN_TLS_SERVER } else { MPPE }, &of_tunnel(kind)].concat()
}

fn of_tunnel(kind: TunnelKind) -> Vec<&'static str> {
    if kind == TunnelKind::L2tp { [L2TP, IPSEC].concat() } else { Vec::new() }
}
