//! Which names a tunnel's DNS servers are asked for.

use core::net::IpAddr;
use std::collections::BTreeSet;

use adit_core::Prefix;

/// Reverse zones for one network at most: one that begins within an octet (IPv6: a digit) has several.
const MOST_ZONES: u32 = 16;
/// Domains of a link with those of others, which resolved takes (it has room for 256).
const MOST_DOMAINS: usize = 200;

/// What is known of a tunnel's names.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct NameFacts {
    /// The DNS servers that the peer gave, best first.
    pub servers: Vec<IpAddr>,
    /// The domains that it said they know.
    pub domains: Vec<String>,
    /// What goes into the tunnel.
    pub routes: Vec<Prefix>,
    /// Everything goes into the tunnel: its servers are asked for every name, and nobody else is.
    pub full: bool,
}

/// What the host's resolver is to do with a link.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NamePlan {
    /// Whom to ask, best first.
    pub servers: Vec<IpAddr>,
    /// For names in these domains nobody else is asked; `.` is every name. Without a dot at the end, in order, each once.
    pub domains: Vec<String>,
    /// Whether they are asked for names that nobody else is for.
    pub default: bool,
}

impl NamePlan {
    /// `None`: the peer gave no servers, or nothing to ask them for.
    #[must_use]
    pub fn of(facts: &NameFacts) -> Option<Self> {
        if facts.servers.is_empty() {
            return None;
        }
        let mut domains: BTreeSet<String> = facts.domains.iter().filter_map(|d| domain(d)).collect();
        if facts.full {
            domains.insert(".".to_owned());
        } else {
            let networks = facts.routes.iter().filter(|network| network.length > 0);
            domains.extend(networks.flat_map(reverse_zones));
        }
        let domains: Vec<String> = domains.into_iter().collect();
        (!domains.is_empty()).then(|| Self { servers: facts.servers.clone(), domains, default: facts.full })
    }

    /// The domains as systemd-resolved takes them for the tunnel's link, each with whether names without a dot are not looked for in it.
    ///
    /// Of a full tunnel everything goes there, also what is in `others`, the domains of other links: resolved asks the link whose
    /// domain fits a name best, and a network says by DHCP what its domain is, `com` if it likes.
    #[must_use]
    pub fn link_domains(&self, others: &[String]) -> Vec<(String, bool)> {
        let searched = |domain: &str| domain != "." && !domain.ends_with(".arpa");
        let mut out: Vec<(String, bool)> =
            self.domains.iter().map(|domain| (domain.clone(), !searched(domain))).collect();
        for other in others.iter().filter(|_| self.default).filter_map(|other| domain(other)) {
            if !self.domains.contains(&other) && out.len() < MOST_DOMAINS {
                out.push((other, true));
            }
        }
        out
    }
}

/// A domain as the peer wrote it; `None`: it is none. `.` is no domain of its own to give.
fn domain(said: &str) -> Option<String> {
    let name = said.trim_end_matches('.').to_ascii_lowercase();
    let letter = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    let label = |label: &str| !label.is_empty() && label.len() <= 63 && label.chars().all(letter);
    (name.len() <= 253 && name.split('.').all(label)).then_some(name)
}

/// Where the names of a network's addresses are (RFC 1035 §3.5, RFC 3596 §2.5). None, where these would be many.
fn reverse_zones(network: &Prefix) -> Vec<String> {
    let (digits, bits, suffix) = match network.network().address {
        IpAddr::V4(address) => {
            (address.octets().map(|octet| octet.to_string()).to_vec(), 8_u32, "in-addr.arpa")
        }
        IpAddr::V6(address) => {
            let digits = address.octets().into_iter().flat_map(|octet| [octet >> 4, octet & 0xf]);
            (digits.map(|digit| format!("{digit:x}")).collect(), 4, "ip6.arpa")
        }
    };
    let length = u32::from(network.length);
    let (whole, rest) = (length.div_ceil(bits), (bits - length % bits) % bits);
    if whole == 0 || 1 << rest > MOST_ZONES {
        return Vec::new();
    }
    let Some((last, front)) = usize::try_from(whole).ok().and_then(|w| digits.get(..w)?.split_last()) else {
        return Vec::new();
    };
    let radix = if bits == 8 { 10 } else { 16 };
    let first = u32::from_str_radix(last, radix).unwrap_or_default();
    let name = |last: u32| {
        let last = if bits == 8 { last.to_string() } else { format!("{last:x}") };
        let labels = core::iter::once(last).chain(front.iter().rev().cloned());
        labels.chain([suffix.to_owned()]).collect::<Vec<_>>().join(".")
    };
    (first..first + (1 << rest)).map(name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(full: bool, domains: &[&str], routes: &[&str]) -> NameFacts {
        NameFacts {
            servers: vec!["10.1.0.53".parse().unwrap()],
            domains: domains.iter().map(|d| (*d).to_owned()).collect(),
            routes: routes.iter().map(|r| r.parse().unwrap()).collect(),
            full,
        }
    }

    #[test]
    fn a_full_tunnel_s_servers_are_asked_for_everything() {
        let plan = NamePlan::of(&facts(true, &["Corp.Example."], &["0.0.0.0/0"])).unwrap();
        assert_eq!(plan.domains, [".", "corp.example"]);
        assert!(plan.default);
    }

    #[test]
    fn a_split_tunnel_s_servers_are_asked_for_what_is_behind_it() {
        let plan =
            NamePlan::of(&facts(false, &["corp.example"], &["10.1.0.0/16", "fd00:1234::/32"])).unwrap();
        assert_eq!(plan.domains, ["1.10.in-addr.arpa", "4.3.2.1.0.0.d.f.ip6.arpa", "corp.example"]);
        assert!(!plan.default);
        // What a server says of "everything" makes no split tunnel a full one.
        assert_eq!(NamePlan::of(&facts(false, &[".", ""], &["0.0.0.0/0"])), None);
    }

    #[test]
    fn a_full_tunnel_is_asked_for_other_links_domains_too() {
        let plan = NamePlan::of(&facts(true, &["corp.example"], &["0.0.0.0/0"])).unwrap();
        let others = ["Home.Lan", "corp.example", ".", "com"].map(str::to_owned);
        let all = plan.link_domains(&others);
        let shown: Vec<(&str, bool)> = all.iter().map(|(domain, only)| (domain.as_str(), *only)).collect();
        assert_eq!(shown, [(".", true), ("corp.example", false), ("home.lan", true), ("com", true)]);
        let split = NamePlan::of(&facts(false, &["corp.example"], &["10.1.0.0/16"])).unwrap();
        let shown = split.link_domains(&others);
        assert_eq!(shown, [("1.10.in-addr.arpa".to_owned(), true), ("corp.example".to_owned(), false)]);
    }

    #[test]
    fn no_servers_no_plan() {
        assert_eq!(NamePlan::of(&NameFacts { servers: Vec::new(), ..facts(true, &["a"], &[]) }), None);
    }

    #[test]
    fn what_is_no_domain_is_left_out() {
        for not in ["a b", "a..b", ".", "", "ä.example", &"a".repeat(64), "x\n.example", "*.example"] {
            assert_eq!(domain(not), None, "{not}");
        }
        assert_eq!(domain("_x.Example.COM."), Some("_x.example.com".into()));
    }

    #[test]
    fn reverse_zones_are_those_of_the_network_and_of_no_other() {
        let zones = |network: &str| reverse_zones(&network.parse().unwrap());
        assert_eq!(zones("10.0.0.0/8"), ["10.in-addr.arpa"]);
        assert_eq!(zones("172.16.0.0/12").len(), 16);
        assert_eq!(zones("172.16.0.0/12")[15], "31.172.in-addr.arpa");
        assert_eq!(zones("10.1.4.0/23"), ["4.1.10.in-addr.arpa", "5.1.10.in-addr.arpa"]);
        assert_eq!(zones("10.1.0.7/32"), ["7.0.1.10.in-addr.arpa"]);
        assert_eq!(zones("10.0.0.0/9"), Vec::<String>::new(), "128 of them");
        assert_eq!(zones("0.0.0.0/0"), Vec::<String>::new());
        assert_eq!(zones("2001:db8::/31").len(), 2);
        assert_eq!(zones("2001:db8::/31")[1], "9.b.d.0.1.0.0.2.ip6.arpa");
        assert_eq!(zones("::1/128")[0].len(), 32 * 2 + "ip6.arpa".len());
    }
}
