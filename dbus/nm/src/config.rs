//! What the daemon says of a connection, in NetworkManager's words.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use adit_core::Prefix;
use adit_dbus_api::ConnectionStatus;
use zbus::Variant;

/// `Config`, `Ip4Config` or `Ip6Config`.
pub(crate) type Words = HashMap<&'static str, Variant<'static>>;

/// An IPv6 route: network, length of its prefix, next hop, metric.
type Route6 = (Vec<u8>, u32, Vec<u8>, u32);

/// What NetworkManager is told of a tunnel that is up.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Told {
    interface: String,
    mtu: Option<u32>,
    /// The server's address.
    gateway: IpAddr,
    v4: Option<Ipv4Addr>,
    v6: Option<Ipv6Addr>,
    dns: Vec<IpAddr>,
    domains: Vec<String>,
    routes: Vec<Prefix>,
}

impl Told {
    /// What is to be told. `None`: not everything is known that NetworkManager can't do without.
    pub(crate) fn of(status: &ConnectionStatus, mtu: Option<u32>) -> Option<Self> {
        let gateway: SocketAddr = status.remote_endpoint.parse().ok()?;
        let address = |text: &String| text.parse::<Prefix>().ok().map(|prefix| prefix.address);
        let addresses: Vec<IpAddr> = status.addresses.iter().filter_map(address).collect();
        let v4 = addresses.iter().find_map(|a| match a {
            IpAddr::V4(a) => Some(*a),
            IpAddr::V6(_) => None,
        });
        // The kernel has link-local ones by itself, and NetworkManager takes one address of a family.
        let v6 = addresses.iter().find_map(|a| match a {
            IpAddr::V6(a) if !a.is_unicast_link_local() => Some(*a),
            _ => None,
        });
        Some(Self {
            interface: status.interface.clone(),
            mtu,
            gateway: gateway.ip(),
            v4,
            v6,
            dns: status.dns.iter().filter_map(|server| server.parse().ok()).collect(),
            domains: status.dns_domains.clone(),
            routes: status.routes.iter().filter_map(|route| route.parse().ok()).collect(),
        })
    }

    /// `Config`: of both families.
    pub(crate) fn config(&self) -> Words {
        let gateway = match self.gateway {
            IpAddr::V4(a) => Variant::from(in_network_order(a)),
            IpAddr::V6(a) => Variant::from(a.octets().to_vec()),
        };
        let mut words = Words::from([
            ("gateway", gateway),
            ("has-ip4", self.v4.is_some().into()),
            ("has-ip6", self.v6.is_some().into()),
            // The daemon follows this host to other networks: a link that is lost is no disconnect.
            ("can-persist", true.into()),
        ]);
        if !self.interface.is_empty() {
            words.insert("tundev", self.interface.clone().into());
        }
        if let Some(mtu) = self.mtu {
            words.insert("mtu", mtu.into());
        }
        words
    }

    /// `Ip4Config`, of a tunnel that has IPv4.
    pub(crate) fn v4(&self) -> Option<Words> {
        let address = self.v4?;
        let dns = self.dns.iter().filter_map(|server| match server {
            IpAddr::V4(a) => Some(in_network_order(*a)),
            IpAddr::V6(_) => None,
        });
        let routes = self.networks(true).filter_map(|(network, length)| match network {
            IpAddr::V4(a) => Some(vec![in_network_order(a), length, 0, 0]),
            IpAddr::V6(_) => None,
        });
        Some(Words::from([
            ("address", in_network_order(address).into()),
            ("prefix", 32_u32.into()),
            ("dns", dns.collect::<Vec<u32>>().into()),
            ("domains", self.domains.clone().into()),
            ("routes", routes.collect::<Vec<_>>().into()),
            ("never-default", (!self.is_default(true)).into()),
        ]))
    }

    /// `Ip6Config`, of a tunnel that has IPv6.
    pub(crate) fn v6(&self) -> Option<Words> {
        let address = self.v6?;
        let dns = self.dns.iter().filter_map(|server| match server {
            IpAddr::V6(a) => Some(a.octets().to_vec()),
            IpAddr::V4(_) => None,
        });
        let routes = self.networks(false).filter_map(|(network, length)| match network {
            IpAddr::V6(a) => Some((a.octets().to_vec(), length, vec![0; 16], 0)),
            IpAddr::V4(_) => None,
        });
        Some(Words::from([
            ("address", address.octets().to_vec().into()),
            ("prefix", 128_u32.into()),
            ("dns", dns.collect::<Vec<Vec<u8>>>().into()),
            ("domains", self.domains.clone().into()),
            ("routes", routes.collect::<Vec<Route6>>().into()),
            ("never-default", (!self.is_default(false)).into()),
        ]))
    }

    /// Networks in the tunnel that are not everything.
    fn networks(&self, v4: bool) -> impl Iterator<Item = (IpAddr, u32)> {
        let of_family = move |r: &&Prefix| r.address.is_ipv4() == v4 && r.length > 0;
        self.routes.iter().filter(of_family).map(|r| (r.network().address, u32::from(r.length)))
    }

    fn is_default(&self, v4: bool) -> bool {
        self.routes.iter().any(|r| r.address.is_ipv4() == v4 && r.length == 0)
    }
}

/// As NetworkManager has IPv4 addresses: their octets as they lie in memory.
const fn in_network_order(address: Ipv4Addr) -> u32 {
    u32::from_ne_bytes(address.octets())
}

#[cfg(test)]
mod tests {
    use adit_dbus_api::Properties;

    use super::*;

    fn told(addresses: &[&str], routes: &[&str]) -> Told {
        let texts = |of: &[&str]| Variant::from(of.to_vec()).try_to_owned().unwrap();
        let text = |of: &str| Variant::from(of).try_to_owned().unwrap();
        let properties = Properties::from([
            ("Interface".into(), text("adit0")),
            ("RemoteEndpoint".into(), text("203.0.113.1:4500")),
            ("Addresses".into(), texts(addresses)),
            ("Routes".into(), texts(routes)),
            ("Dns".into(), texts(&["10.1.0.53", "fd00::53"])),
            ("DnsDomains".into(), texts(&["corp.example"])),
        ]);
        Told::of(&ConnectionStatus::from_properties("/c/1", &properties), Some(1400)).unwrap()
    }

    #[test]
    fn a_full_tunnel_is_the_default_of_the_families_that_it_has() {
        let told = told(&["10.9.0.10/32"], &["0.0.0.0/0"]);
        assert_eq!(told.config()["gateway"], Variant::from(u32::from_ne_bytes([203, 0, 113, 1])));
        assert_eq!((&told.config()["has-ip4"], &told.config()["has-ip6"]), (&true.into(), &false.into()));
        assert_eq!(told.config()["tundev"], Variant::from("adit0"));
        let v4 = told.v4().unwrap();
        assert_eq!((&v4["never-default"], &v4["prefix"]), (&false.into(), &32_u32.into()));
        assert_eq!(v4["routes"], Variant::from(Vec::<Vec<u32>>::new()));
        assert_eq!(v4["dns"], Variant::from(vec![u32::from_ne_bytes([10, 1, 0, 53])]));
        assert!(told.v6().is_none());
    }

    #[test]
    fn a_split_tunnel_has_routes_and_is_nobody_s_default() {
        let told = told(&["fe80::1/64", "10.9.0.10/32", "fd00:9::10/128"], &["10.1.0.0/16", "fd00::/8"]);
        let (v4, v6) = (told.v4().unwrap(), told.v6().unwrap());
        let network = vec![u32::from_ne_bytes([10, 1, 0, 0]), 16, 0, 0];
        assert_eq!((&v4["routes"], &v4["never-default"]), (&vec![network].into(), &true.into()));
        let address: Ipv6Addr = "fd00:9::10".parse().unwrap();
        assert_eq!((&v6["address"], &v6["prefix"]), (&address.octets().to_vec().into(), &128_u32.into()));
        assert_eq!(v6["dns"].value_signature().to_string(), "aay");
        assert_eq!(v6["routes"].value_signature().to_string(), "a(ayuayu)");
    }

    #[test]
    fn without_a_server_nothing_is_told() {
        let status = ConnectionStatus::from_properties("/c/1", &Properties::new());
        assert_eq!(Told::of(&status, None), None);
    }
}
