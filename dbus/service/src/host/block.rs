use std::fmt::Write;
use std::net::Ipv4Addr;

use super::{Change, LINK_GROUP, MARK, MARK_MASK};

/// What keeps a full tunnel from leaking: nothing leaves this host, made here or forwarded, except through the
/// tunnel, as the tunnel's own packets, or for the sake of the link itself (DHCP, neighbour discovery).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Block {
    /// The tunnel's interface.
    pub interface: String,
    /// Links that lead to no other host (a container's bridge), to which packets may be handed.
    pub inside: Vec<String>,
    /// Servers to which GRE leaves without the mark: the kernel's PPTP sockets set none.
    pub gre: Vec<Ipv4Addr>,
}

impl Block {
    /// The nftables table `adit-INTERFACE`.
    #[must_use]
    pub fn change(&self) -> Change {
        let mut ways = String::new();
        for link in core::iter::once(&self.interface).chain(&self.inside) {
            // Writing to a String does not fail.
            let _ = writeln!(ways, "  oifname \"{link}\" accept");
        }
        for server in &self.gre {
            let _ = writeln!(ways, "  ip daddr {server} ip protocol gre accept");
        }
        table(format!("adit-{}", self.interface), &ways)
    }

    /// The nftables table `adit-always`: the same for whichever tunnels of ours there will be.
    #[must_use]
    pub fn always() -> Change {
        table("adit-always".into(), &format!("  meta oifgroup {LINK_GROUP} accept\n"))
    }
}

/// One chain behind routing sees made and forwarded packets alike, on the link that they really leave by: after
/// every hook that could still change mark or route (priority 400; source NAT is at 100), and for sockets bound
/// to a device too. A packet into the tunnel passes it three times: out of the tunnel's interface, then still
/// bare on its way to the uplink but bound to be encrypted (`rt ipsec`), and as ESP with our mark. Another IPsec's
/// packets pass the second time and, without the mark, not the third. Hop limits: RFC 4861 §4.1 (255), RFC 3810 §5 (1).
fn table(table: String, ways: &str) -> Change {
    let body = format!(
        "chain leave {{\n  type filter hook postrouting priority 400; policy drop;\n  oifname \"lo\" accept\n\
         {ways}\
         \x20 meta mark & {MARK_MASK:#x} == {MARK:#x} accept\n\
         \x20 rt ipsec exists accept\n\
         \x20 meta nfproto ipv4 udp sport 68 udp dport 67 accept\n\
         \x20 meta nfproto ipv6 udp sport 546 udp dport 547 accept\n\
         \x20 icmpv6 type {{ 133, 134, 135, 136, 137 }} ip6 hoplimit 255 accept\n\
         \x20 icmpv6 type {{ 130, 131, 132, 143 }} ip6 hoplimit 1 accept\n\
         \x20 counter\n}}\n"
    );
    Change::Nftables { table, body }
}
