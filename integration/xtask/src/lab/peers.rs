//! Peers that can't be installed beside the others get a root of their own inside the image: libreswan conflicts with
//! strongSwan's packages, there is a second release of strongSwan, SoftEther is in Debian 12 only, and resolvconf and openresolv conflict with
//! systemd-resolved and with each other. What few scenarios need has an image of its own, which is made when one of them is asked for.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
};

use super::{
    debian, machine, network_manager,
    setup::{self, Image, chroot},
};
use crate::shell::run_logged;

/// What makes one.
pub(crate) const SCRIPT: &str = include_str!("peers.sh");

/// Name, Debian's suite, packages. A scenario names them: `root = "libreswan"`.
pub(crate) const ROOTS: [[&str; 3]; 5] = [
    ["libreswan", "trixie", "libreswan xl2tpd ppp"],
    [
        "strongswan-5.9.8",
        "bookworm",
        "charon-systemd strongswan-swanctl libcharon-extra-plugins libstrongswan-extra-plugins \
         libstrongswan-standard-plugins",
    ],
    ["softether", "bookworm", "softether-vpnserver softether-vpncmd"],
    ["resolvconf", "trixie", "resolvconf debianutils bash socat"],
    ["openresolv", "trixie", "openresolv socat"],
];

/// Makes them below `/roots` of `root`.
///
/// # Errors
/// What failed, with the end of its log.
pub(crate) fn make(root: &Path, archive: &str, log: &Path) -> Result<(), String> {
    ROOTS.iter().try_for_each(|[name, suite, packages]| {
        let arguments = format!("set -- {name} {suite} {archive} {packages}\n");
        chroot(root, &(arguments + SCRIPT), log)
    })
}

/// As [`ROOTS`], each in an image of its own. The name is its file system's label, too: 16 letters at most.
const ON_DEMAND: [[&str; 3]; 2] = [
    [network_manager::ROOT, "bookworm", "network-manager dbus systemd"],
    [
        "applet",
        "trixie",
        "network-manager-applet network-manager dbus systemd xvfb xdotool stalonetray fonts-dejavu-core librsvg2-common",
    ],
];

/// Has the script make one: `$1` the image, `$2` the folder that is to hold it, `$3` the script. What is mounted goes with the mount
/// namespace.
const MAKE: &str = "mount -o loop,ro $1 /mnt; mount -t tmpfs tmp /mnt/tmp; mount --bind $2 /mnt/roots; mount -t proc proc /mnt/proc; \
    mount --rbind /dev /mnt/dev; [ ! -f /mnt/etc/resolv.conf ] || mount --bind /etc/resolv.conf /mnt/etc/resolv.conf; \
    exec chroot /mnt /bin/sh -ec \"$3\"";

/// The images of those of `names` that have one, as their names and files; made where they are missing.
///
/// # Errors
/// What failed, with the end of its log.
pub(super) fn on_demand<'n>(
    names: impl Iterator<Item = &'n str>,
    image: &Image,
    cache: &Path,
) -> Result<Vec<(&'static str, PathBuf)>, String> {
    let mut found: Vec<(&'static str, PathBuf)> = Vec::new();
    for name in names {
        let known = ON_DEMAND.iter().chain(&machine::ROOTS).find(|[known, ..]| *known == name);
        if let Some(peer) = known.filter(|_| found.iter().all(|(there, _)| *there != name)) {
            found.push((peer[0], of_its_own(*peer, image, cache)?));
        }
    }
    Ok(found)
}

fn of_its_own(peer: [&str; 3], image: &Image, cache: &Path) -> Result<PathBuf, String> {
    let [name, suite, packages] = peer;
    let is_whole = machine::ROOTS.contains(&peer);
    let recipe = if is_whole { [machine::SCRIPT, ""] } else { [SCRIPT, MAKE] };
    let number = setup::number(peer.into_iter().chain(recipe));
    let folder = cache.join(format!("root-{name}-{number:016x}"));
    let made = folder.join("root.img");
    let at = |path: &Path, e: std::io::Error| format!("{}: {e}", path.display());
    let lock = File::create(cache.join("lock")).map_err(|e| at(cache, e))?;
    lock.lock().map_err(|e| at(cache, e))?;
    if folder.is_dir() {
        return Ok(made);
    }
    println!(
        "lab: making the root {name} (once, {})",
        if is_whole { "some minutes" } else { "about a minute" }
    );
    setup::remove_remains(cache, "building-")?;
    let building = cache.join(format!("building-{}", std::process::id()));
    let roots = building.join("roots");
    fs::create_dir_all(&roots).map_err(|e| at(&building, e))?;
    let log = cache.join(format!("root-{name}.log"));
    let _ = fs::remove_file(&log);
    let mirror = debian::mirror()?;
    if is_whole {
        machine::install([suite, packages], &roots.join(name), &mirror, &log)?;
    } else {
        let script = format!("set -- {name} {suite} {} {packages}\n{SCRIPT}", mirror.address);
        let mut make = Command::new("unshare");
        make.args(["--mount", "--propagation", "private", "sh", "-ec", MAKE, "sh"]);
        make.arg(&image.root).arg(&roots).arg(script).envs(debian::proxy());
        run_logged(make.env("LC_ALL", "C").env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"), &log)?;
    }
    setup::file_system(&roots.join(name), &building.join("root.img"), 16, &log)?;
    run_logged(Command::new("e2label").arg(building.join("root.img")).arg(name), &log)?;
    fs::remove_dir_all(&roots).map_err(|e| at(&roots, e))?;
    setup::remove_remains(cache, &format!("root-{name}-"))?;
    fs::rename(&building, &folder).map_err(|e| at(&folder, e))?;
    Ok(made)
}
