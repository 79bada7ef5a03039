//! Whether this machine has what a scenario needs.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

use crate::scenario::{Needs, Scenario};

/// What a scenario needs, with what the topology itself needs.
#[must_use]
pub fn of(scenario: &Scenario) -> Needs {
    let mut needs = scenario.needs.clone();
    let mut add = |modules: &[&str], programs: &[&str]| {
        needs.modules.extend(modules.iter().map(|name| (*name).to_owned()));
        needs.programs.extend(programs.iter().map(|name| (*name).to_owned()));
    };
    add(
        &["overlay", "bridge", "veth"],
        &["ip", "nft", "tcpdump", "unshare", "nsenter", "setpriv", "sysctl", "ping"],
    );
    if scenario.network.values().any(|network| network.delay.is_some() || network.loss.is_some()) {
        add(&["sch_netem"], &["tc"]);
    }
    if scenario.host.values().any(|host| host.nat.is_some()) {
        add(&["nf_tables", "nft_masq", "nft_chain_nat"], &[]);
    }
    if scenario.host.values().any(|host| host.dbus) {
        add(&[], &["dbus-daemon"]);
    }
    if !scenario.certificate.is_empty() {
        add(&[], &["openssl"]);
    }
    needs
}

/// What of it this machine lacks. Modules are loaded where they can be.
#[must_use]
pub fn lacking(needs: &Needs) -> Vec<String> {
    let modules = needs
        .modules
        .iter()
        .filter(|module| !has_module(module))
        .map(|module| format!("kernel module {module}"));
    let programs =
        needs.programs.iter().chain(&needs.binaries).filter(|program| !has_program(program)).cloned();
    modules.chain(programs).collect()
}

/// Loaded, built in, or loadable.
fn has_module(name: &str) -> bool {
    let is_there = || Path::new("/sys/module").join(name).exists();
    if is_there() || is_built_in(name) {
        return true;
    }
    let mut load = Command::new("modprobe");
    load.args(["-q", name]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    load.status().is_ok_and(|status| status.success())
}

fn is_built_in(name: &str) -> bool {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let list = format!("/lib/modules/{}/modules.builtin", release.trim());
    let end = format!("/{name}.ko");
    let of_module = |line: &str| line.replace('-', "_").ends_with(&end);
    fs::read_to_string(list).is_ok_and(|text| text.lines().any(of_module))
}

fn has_program(name: &str) -> bool {
    let path = std::env::var("PATH").unwrap_or_default();
    path.split(':').chain(["/usr/sbin", "/sbin"]).any(|folder| Path::new(folder).join(name).is_file())
}
