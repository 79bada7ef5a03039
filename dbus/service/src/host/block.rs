use std::collections::BTreeSet;
use std::fmt::Write;
use std::net::Ipv4Addr;

use adit_core::Prefix;
use adit_plan::local::LocalNetwork;

use super::{Change, LINK_GROUP, MARK, MARK_MASK};

/// What keeps a full tunnel from leaking: nothing leaves this host, made here or forwarded, except through the
/// tunnel, as the tunnel's own packets, or for the sake of the link itself (DHCP, neighbour discovery).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Block {
    /// The tunnel's interface. `None`: whichever tunnels of ours there will be.
    pub interface: Option<String>,
    /// Links that lead to no other host (a container's bridge), to which packets may be handed.
    pub inside: Vec<String>,
    /// Servers to which GRE leaves without the mark: the kernel's PPTP sockets set none.
    pub gre: Vec<Ipv4Addr>,
    /// Whether the networks that this host is in itself may be reached.
    pub local: bool,
}

/// What reaches every host of a link and no further (RFC 5771 §4, RFC 919 §7; mDNS, LLMNR and IGMP are among it), and SSDP's
/// group, whose packets home routers keep.
pub(super) const TO_ALL_V4: [(Ipv4Addr, u8); 3] =
    [(Ipv4Addr::new(224, 0, 0, 0), 24), (Ipv4Addr::new(239, 255, 255, 250), 32), (Ipv4Addr::BROADCAST, 32)];
/// The same of IPv6 (RFC 4291 §2.7).
const TO_ALL_V6: &str = "ff02::/16";

impl Block {
    /// The same for whichever tunnels of ours there will be.
    #[must_use]
    pub const fn always(local: bool) -> Self {
        Self { interface: None, inside: Vec::new(), gre: Vec::new(), local }
    }

    /// That of a tunnel's interface.
    #[must_use]
    pub fn of(interface: &str, gre: Vec<Ipv4Addr>, local: bool) -> Self {
        Self { interface: Some(interface.to_owned()), inside: Vec::new(), gre, local }
    }

    /// The name of its nftables table.
    #[must_use]
    pub fn table(&self) -> String {
        Self::table_of(self.interface.as_deref().unwrap_or("always"))
    }

    /// The name of the table of that interface's block.
    #[must_use]
    pub fn table_of(interface: &str) -> String {
        format!("adit-{interface}")
    }

    /// The nftables table `adit-INTERFACE`, or `adit-always`. Of the networks that this host is in now, those of `local` may be
    /// reached, if any may.
    #[must_use]
    pub fn change(&self, local: &[LocalNetwork]) -> Change {
        let mut ways = String::new();
        // Writing to a String does not fail.
        for link in self.interface.iter().chain(&self.inside) {
            let _ = writeln!(ways, "  oifname \"{link}\" accept");
        }
        if self.interface.is_none() {
            let _ = writeln!(ways, "  meta oifgroup {LINK_GROUP} accept");
        }
        for server in &self.gre {
            // GRE: nftables 1.0.6 knows its name from /etc/protocols alone, which not every host has.
            let _ = writeln!(ways, "  ip daddr {server} ip protocol 47 accept");
        }
        let local = if self.local { local_ways(local) } else { String::new() };
        table(self.table(), &ways, &local)
    }
}

/// What the local networks are let have: packets that stay in them. Their prefixes alone would be none where the host has gone
/// elsewhere and nobody has said so here (a daemon that is dead): so the next hop has to be in there, too, and is only if it is
/// the destination, or a router of the same network. A name server of a local network asks others in clear: no names go there.
fn local_ways(networks: &[LocalNetwork]) -> String {
    if networks.is_empty() {
        return String::new();
    }
    let mut ways = "  meta l4proto { tcp, udp } th dport { 53, 853 } counter drop\n".to_owned();
    for LocalNetwork { link, network, .. } in networks {
        let ip = family(network);
        let _ = writeln!(ways, "  oifname \"{link}\" {ip} daddr {network} rt {ip} nexthop {network} accept");
    }
    for link in links(networks, true) {
        let groups: Vec<String> =
            TO_ALL_V4.iter().map(|(address, length)| format!("{address}/{length}")).collect();
        let _ = writeln!(ways, "  oifname \"{link}\" ip daddr {{ {} }} accept", groups.join(", "));
    }
    for link in links(networks, false) {
        let _ = writeln!(ways, "  oifname \"{link}\" ip6 daddr {TO_ALL_V6} accept");
    }
    ways
}

const fn family(network: &Prefix) -> &'static str {
    if network.address.is_ipv4() { "ip" } else { "ip6" }
}

/// The links with networks of that family, each once.
pub(super) fn links(networks: &[LocalNetwork], ipv4: bool) -> BTreeSet<&str> {
    let of_family = networks.iter().filter(|n| n.network.address.is_ipv4() == ipv4);
    of_family.map(|n| n.link.as_str()).collect()
}

/// One chain behind routing sees made and forwarded packets alike, on the link that they really leave by: after
/// every hook that could still change mark or route (priority 400; source NAT is at 100), and for sockets bound
/// to a device too. A packet into the tunnel passes it three times: out of the tunnel's interface, then still
/// bare on its way to the uplink but bound to be encrypted (`rt ipsec`), and as ESP with our mark. Another IPsec's
/// packets pass the second time and, without the mark, not the third. Hop limits: RFC 4861 §4.1 (255), RFC 3810 §5 (1).
fn table(table: String, ways: &str, local: &str) -> Change {
    let body = format!(
        "chain leave {{\n  type filter hook postrouting priority 400; policy drop;\n  oifname \"lo\" accept\n\
         {ways}\
         \x20 meta mark & {MARK_MASK:#x} == {MARK:#x} accept\n\
         \x20 rt ipsec exists accept\n\
         \x20 meta nfproto ipv4 udp sport 68 udp dport 67 accept\n\
         \x20 meta nfproto ipv6 udp sport 546 udp dport 547 accept\n\
         \x20 icmpv6 type {{ 133, 134, 135, 136, 137 }} ip6 hoplimit 255 accept\n\
         \x20 icmpv6 type {{ 130, 131, 132, 143 }} ip6 hoplimit 1 accept\n\
         {local}\
         \x20 counter\n}}\n"
    );
    Change::Nftables { table, body }
}
