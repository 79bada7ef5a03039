//! Whether this machine has what a scenario needs.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::OnceLock,
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
    needs.roots.extend(scenario.host.values().filter_map(|host| host.root.clone()));
    let machines = scenario.step.iter().filter_map(|step| step.start.as_deref()?.strip_prefix("machine "));
    needs.roots.extend(machines.map(str::to_owned));
    needs
}

/// What of it this machine lacks: modules, programs, roots. Modules are loaded where they can be.
#[must_use]
pub fn lacking(needs: &Needs) -> [Vec<String>; 3] {
    let modules = needs.modules.iter().filter(|module| !has_module(module)).cloned();
    let programs =
        needs.programs.iter().chain(&needs.binaries).filter(|program| !has_program(program)).cloned();
    let roots = needs.roots.iter().filter(|name| !root(name).is_dir()).cloned();
    [modules.collect(), programs.collect(), roots.collect()]
}

/// What is lacking, in words; empty where nothing is.
#[must_use]
pub fn told([modules, programs, roots]: &[Vec<String>; 3]) -> String {
    let part =
        |what: &str, names: &[String]| (!names.is_empty()).then(|| format!("{what} {}", names.join(", ")));
    [part("kernel modules", modules), part("programs", programs), part("the peers' roots", roots)]
        .into_iter()
        .flatten()
        .collect::<Vec<_>>()
        .join("; ")
}

/// Where the root of a peer is that can't be installed beside the others.
#[must_use]
pub fn root(name: &str) -> PathBuf {
    Path::new("/roots").join(name)
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
    match fs::read_to_string(list) {
        Ok(text) => text.lines().any(of_module),
        // A kernel without modules has no such list, but perhaps its configuration.
        Err(_) => configuration().lines().any(|line| line.strip_suffix("=y") == Some(option(name).as_str())),
    }
}

fn configuration() -> &'static str {
    static TEXT: OnceLock<String> = OnceLock::new();
    TEXT.get_or_init(|| {
        let output = Command::new("zcat").arg("/proc/config.gz").stderr(Stdio::null()).output();
        output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default()
    })
}

/// The configuration option that builds a module.
fn option(module: &str) -> String {
    let known = match module {
        "esp4" => "INET_ESP",
        "esp6" => "INET6_ESP",
        "overlay" => "OVERLAY_FS",
        "sch_netem" => "NET_SCH_NETEM",
        "nf_conntrack_netlink" => "NF_CT_NETLINK",
        "nft_chain_nat" => "NFT_NAT",
        "ppp_generic" => "PPP",
        other => return format!("CONFIG_{}", other.to_uppercase()),
    };
    format!("CONFIG_{known}")
}

fn has_program(name: &str) -> bool {
    let path = std::env::var("PATH").unwrap_or_default();
    path.split(':').chain(["/usr/sbin", "/sbin"]).any(|folder| Path::new(folder).join(name).is_file())
}
