//! What a host's network is made of, so that it can be compared with what it was.

use std::{
    fmt::Write as _,
    thread,
    time::{Duration, Instant},
};

use crate::host::Host;

/// Longest time after which what a peer's farewell changes must have settled.
const SETTLE: Duration = Duration::from_secs(4);

/// States, policies (not those of sockets, which let IKE pass and go with the daemon), links, addresses, routes, rules,
/// proxies, nftables, sysctls, resolv.conf; a line each.
const SCRIPT: &str = "\
section() { echo \"== $1\"; }
section 'xfrm states'; ip xfrm state
section 'xfrm policies'; ip xfrm policy list nosock
section links; ip -d -o link show
section addresses; ip -o addr show
section 'multicast addresses'; ip -o maddr show
section 'routes, IPv4'; ip -4 route show table all
section 'routes, IPv6'; ip -6 route show table all | sed 's/ expires [0-9]*sec//'
section 'rules, IPv4'; ip -4 rule show
section 'rules, IPv6'; ip -6 rule show
section 'neighbour proxies'; ip -4 neigh show proxy; ip -6 neigh show proxy
section nftables; nft -s list ruleset
section sysctls; cat /proc/sys/net/ipv4/ip_forward; grep -rs . /proc/sys/net/ipv4/conf /proc/sys/net/ipv6/conf | sort
section resolv.conf; cat /etc/resolv.conf
";

/// What a host's network is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Snapshot(String);

impl Snapshot {
    /// Takes it.
    pub(crate) fn take(host: &Host) -> Result<Self, String> {
        let done = host.shell(SCRIPT, Duration::from_secs(30))?;
        Ok(Self(done.stdout))
    }

    /// Whether the host is as it was, at the latest a little after now.
    pub(crate) fn is_still(&self, host: &Host) -> Result<(), String> {
        let deadline = Instant::now() + SETTLE;
        loop {
            let now = Self::take(host)?;
            let difference = self.difference(&now);
            if difference.is_empty() {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(format!("nothing-left: {} is not as it was:\n{difference}", host.name));
            }
            thread::sleep(Duration::from_millis(200));
        }
    }

    /// Lines that are only here (`-`) or only there (`+`), under their section's name.
    fn difference(&self, other: &Self) -> String {
        let (was, is) = (sections(&self.0), sections(&other.0));
        let mut text = String::new();
        for (name, before) in &was {
            let after = is
                .iter()
                .find(|(other, _)| other == name)
                .map(|(_, lines)| lines.as_slice())
                .unwrap_or_default();
            let gone = without(before, after).map(|line| format!("  - {line}"));
            let come = without(after, before).map(|line| format!("  + {line}"));
            let lines: Vec<String> = gone.chain(come).collect();
            if !lines.is_empty() {
                let _ = writeln!(text, " {name}\n{}", lines.join("\n"));
            }
        }
        text
    }
}

fn sections(text: &str) -> Vec<(&str, Vec<&str>)> {
    let mut found: Vec<(&str, Vec<&str>)> = Vec::new();
    for line in text.lines() {
        match (line.strip_prefix("== "), found.last_mut()) {
            (Some(name), _) => found.push((name, Vec::new())),
            (None, Some((_, lines))) => lines.push(line),
            (None, None) => {}
        }
    }
    found
}

/// The lines of one that the other has not, each as often as it is missing.
fn without<'a>(one: &'a [&str], other: &[&str]) -> impl Iterator<Item = &'a str> {
    let mut other = other.to_vec();
    one.iter().copied().filter(move |line| match other.iter().position(|its| its == line) {
        Some(index) => {
            other.swap_remove(index);
            false
        }
        None => true,
    })
}

#[cfg(test)]
mod tests {
    use super::Snapshot;

    #[test]
    fn shows_what_came_and_went() {
        let was = Snapshot("== links\na\nb\n== routes\nr\nr\n".to_owned());
        assert_eq!(was.difference(&was.clone()), "");
        let is = Snapshot("== links\na\nc\n== routes\nr\n".to_owned());
        assert_eq!(was.difference(&is), " links\n  - b\n  + c\n routes\n  - r\n");
    }
}
