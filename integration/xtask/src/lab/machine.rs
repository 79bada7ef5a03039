//! `--debian12-machine`: scenarios as they are, with Debian 12 in the machines that boot in them (systemd 252, dpkg 1.21, NetworkManager 1.42)
//! instead of 13. Its root is a whole one, installed as an installer would.

use std::{fs, path::Path, process::Command};

use adit_lab::scenario::Scenario;

use super::{debian::Mirror, setup::chroot};
use crate::shell::run_logged;

/// Whole roots: name, suite, and packages beside what `debootstrap --variant=minbase` takes. A scenario's machine boots one with
/// `start = "machine NAME"`.
pub(super) const ROOTS: [[&str; 3]; 2] = [
    [
        OLDER,
        "bookworm",
        "systemd systemd-sysv dbus polkitd network-manager iproute2 nftables iputils-ping procps kmod openssl strace",
    ],
    [
        "gnome",
        "trixie",
        "systemd systemd-sysv dbus polkitd network-manager iproute2 nftables iputils-ping procps kmod gnome-control-center \
         at-spi2-core gir1.2-atspi-2.0 python3-gi xvfb xdotool openbox fonts-dejavu-core adwaita-icon-theme librsvg2-common",
    ],
];

/// The one of Debian 12.
const OLDER: &str = "bookworm";

/// Installs its arguments. The machine that boots the root takes away what keeps packages from starting what they install.
pub(super) const SCRIPT: &str = "\
printf '#!/bin/sh\\nexit 101\\n' >/usr/sbin/policy-rc.d
chmod 755 /usr/sbin/policy-rc.d
printf 'APT::Sandbox::User \"root\";\\nDpkg::Options:: \"--force-unsafe-io\";\\nAcquire::Retries \"3\";\\n' >/etc/apt/apt.conf.d/90lab
apt-get install -y --no-install-recommends \"$@\"
apt-get clean
rm -rf /var/lib/apt/lists/* /usr/share/locale/*
";

/// As a scenario's text has it.
const AS_IT_IS: &str = "start = \"machine\"\n";

/// Has those machines boot it.
///
/// # Errors
/// No machine boots in a scenario.
pub(super) fn older(scenarios: &mut [Scenario]) -> Result<(), String> {
    for scenario in scenarios {
        let mut machines: Vec<_> = scenario
            .step
            .iter_mut()
            .filter_map(|step| step.start.as_mut())
            .filter(|start| *start == "machine")
            .collect();
        if machines.is_empty() {
            return Err(format!("{}: no machine boots in it", scenario.name));
        }
        machines.iter_mut().for_each(|start| **start = format!("machine {OLDER}"));
    }
    Ok(())
}

/// The scenario's text with what [`older`] has changed.
pub(super) fn written(text: &str, scenario: &Scenario) -> String {
    let older = format!("machine {OLDER}");
    match scenario.step.iter().any(|step| step.start.as_deref() == Some(&older)) {
        true => text.replace(AS_IT_IS, &format!("start = \"{older}\"\nas = \"machine\"\n")),
        false => text.to_owned(),
    }
}

/// Makes one in `root`.
///
/// # Errors
/// What failed, with the end of its log.
pub(super) fn install(
    [suite, packages]: [&str; 2],
    root: &Path,
    mirror: &Mirror,
    log: &Path,
) -> Result<(), String> {
    let at = |path: &Path, e: std::io::Error| format!("{}: {e}", path.display());
    fs::create_dir_all(root).map_err(|e| at(root, e))?;
    let mut make = Command::new("unshare");
    make.args(["--mount", "debootstrap", "--variant=minbase"]).arg(format!("--keyring={}", mirror.keyring));
    make.arg(suite).arg(root).arg(&mirror.address);
    run_logged(make.envs(mirror.proxy.clone()), log)?;
    chroot(root, &format!("set -- {packages}\n{SCRIPT}"), log)
}
