//! Peers that can't be installed beside the others get a root of their own inside the image: libreswan conflicts with
//! strongSwan's packages, there is a second release of strongSwan, SoftEther is in Debian 12 only, and resolvconf and openresolv conflict with
//! systemd-resolved and with each other.

use std::path::Path;

use super::setup::chroot;

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
