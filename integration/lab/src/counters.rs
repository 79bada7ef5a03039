//! Who carried the traffic: the kernel's counters of each SA, and what the daemons' own processes did meanwhile.

use std::{collections::BTreeMap, fs};

use crate::{daemon::Daemon, host::Host};

/// Bytes that are lines of a log and the like. Three pings that a daemon carries, one way alone, are 504: each is read and
/// written, with its header.
const NOISE: u64 = 500;

/// What a host has carried so far.
#[derive(Debug, Default)]
pub(crate) struct Carried {
    /// Bytes by (is it ours that the SA leads to, its line of addresses, its SPI).
    states: BTreeMap<(bool, String, String), u64>,
    /// Bytes that each daemon of the host read and wrote by itself.
    daemons: BTreeMap<String, u64>,
}

impl Carried {
    /// Reads the counters of now.
    pub(crate) fn read(host: &Host, daemons: &[Daemon]) -> Result<Self, String> {
        let addresses = host.must("ip -o addr show")?;
        let states = states(&host.must("ip -s xfrm state")?, &addresses);
        let mut of_daemons = BTreeMap::new();
        for daemon in daemons.iter().filter(|daemon| daemon.host == host.name && daemon.name != "sink") {
            no_devices(daemon)?;
            of_daemons.insert(daemon.name.clone(), io(daemon.pid()));
        }
        Ok(Self { states, daemons: of_daemons })
    }

    /// Whether `bytes` crossed the SAs in each direction since `before`, and no daemon moved them by itself.
    pub(crate) fn since(&self, before: &Self, bytes: u64, host: &str) -> Result<(), String> {
        let mut grown = [0_u64; 2];
        for (key, now) in &self.states {
            let more = now.saturating_sub(before.states.get(key).copied().unwrap_or_default());
            let [out, inwards] = &mut grown;
            *(if key.0 { inwards } else { out }) += more;
        }
        let [out, inwards] = grown;
        if out < bytes || inwards < bytes {
            return Err(format!(
                "kernel-carried: {bytes} bytes were sent each way, but the SAs of {host} carried {out} out and {inwards} in"
            ));
        }
        for (name, now) in &self.daemons {
            let moved = now.saturating_sub(before.daemons.get(name).copied().unwrap_or_default());
            if moved > (bytes / 2).max(NOISE) {
                return Err(format!(
                    "kernel-carried: {name} on {host} read and wrote {moved} bytes while {bytes} crossed"
                ));
            }
        }
        Ok(())
    }
}

/// The bytes of each SA, from `ip -s xfrm state`.
fn states(text: &str, addresses: &str) -> BTreeMap<(bool, String, String), u64> {
    let mut found = BTreeMap::new();
    let (mut ends, mut spi, mut is_inwards, mut next) = (String::new(), String::new(), false, false);
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["src", _, "dst", to, ..] if !line.starts_with(char::is_whitespace) => {
                line.clone_into(&mut ends);
                let needle = format!(" {to}/");
                is_inwards = addresses.contains(&needle);
            }
            ["proto", _, "spi", value, ..] => (*value).clone_into(&mut spi),
            ["lifetime", "current:", ..] => next = true,
            [bytes, ..] if next => {
                next = false;
                let bytes = bytes.split('(').next().and_then(|n| n.parse().ok()).unwrap_or_default();
                found.insert((is_inwards, ends.clone(), spi.clone()), bytes);
            }
            _ => {}
        }
    }
    found
}

/// A daemon that holds a TUN or PPP device would carry packets itself.
fn no_devices(daemon: &Daemon) -> Result<(), String> {
    let folder = format!("/proc/{}/fd", daemon.pid());
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let target = fs::read_link(entry.path()).unwrap_or_default();
        if target.ends_with("net/tun") || target.ends_with("dev/ppp") {
            return Err(format!("kernel-carried: {} holds {}", daemon.name, target.display()));
        }
    }
    Ok(())
}

/// Bytes that a process read and wrote, whatever from.
fn io(pid: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/io")).unwrap_or_default();
    let value =
        |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<u64>().ok());
    value("rchar:").unwrap_or_default() + value("wchar:").unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::{BTreeMap, Carried, NOISE, states};

    const TEXT: &str = "\
src 192.168.1.10 dst 203.0.113.1
\tproto esp spi 0xc1(193) reqid 1(0x1) mode tunnel
\tlifetime config:
\t  limit: soft (INF)(bytes), hard (INF)(bytes)
\tlifetime current:
\t  5000(bytes), 12(packets)
\t  add 2026-11-20 use 2026-11-20
src 203.0.113.1 dst 192.168.1.10
\tproto esp spi 0xc2(194) reqid 1(0x1) mode tunnel
\tlifetime current:
\t  4000(bytes), 11(packets)
";

    #[test]
    fn counts_each_direction() {
        let addresses = "2: wan    inet 192.168.1.10/24 scope global wan";
        let carried = Carried { states: states(TEXT, addresses), ..Carried::default() };
        let nothing = Carried::default();
        assert!(carried.since(&nothing, 4000, "client").is_ok());
        assert!(carried.since(&nothing, 4001, "client").is_err());
        assert!(carried.since(&carried, 1, "client").is_err());
    }

    #[test]
    fn a_daemon_that_carries_is_seen_and_one_that_logs_is_not() {
        let addresses = "2: wan    inet 192.168.1.10/24 scope global wan";
        let with = |moved| Carried {
            states: states(TEXT, addresses),
            daemons: BTreeMap::from([("aditd".to_owned(), moved)]),
        };
        let nothing = Carried::default();
        assert!(with(2000).since(&nothing, 4000, "client").is_ok());
        let why = with(2001).since(&nothing, 4000, "client").unwrap_err();
        assert!(why.contains("aditd on client read and wrote 2001 bytes"), "{why}");
        assert!(with(NOISE).since(&nothing, 168, "client").is_ok());
        assert!(with(504).since(&nothing, 168, "client").is_err());
    }
}
