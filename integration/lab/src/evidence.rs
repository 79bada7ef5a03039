//! What a failed scenario leaves for people: beside the logs and captures, the state of each host.

use std::{fs, path::Path, process::Command, time::Duration};

use crate::topology::Topology;

/// What is asked of each host.
const SCRIPT: &str = "for command in 'ip xfrm state' 'ip xfrm policy' 'ip -s -d link' 'ip addr' 'ip -4 route show table all' \
    'ip -6 route show table all' 'ip -4 rule' 'ip -6 rule' 'ip neigh' 'nft list ruleset' 'ss -tulpn' 'cat /proc/net/xfrm_stat' \
    'cat /etc/resolv.conf' 'ps -ef' 'ls -lR /etc/adit /run/adit /var/lib/adit'; do echo \"# $command\"; $command 2>&1; echo; done";

/// Writes the hosts' states into `results`.
pub(crate) fn hosts(topology: &Topology, results: &Path) {
    for host in topology.hosts.values() {
        let done = host.shell(SCRIPT, Duration::from_secs(30));
        let text = done.map_or_else(|why| why, |done| done.both());
        let _ = fs::write(results.join(format!("{}.state", host.name)), text);
    }
}

/// Copies a folder in memory (logs, captures) to `results`.
pub(crate) fn copy(folder: &Path, results: &Path) {
    let _ = fs::create_dir_all(results);
    let _ = Command::new("cp").arg("-R").arg(folder.join(".")).arg(results).status();
}
