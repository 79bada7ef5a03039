//! Which rights the daemon keeps: its own user and three capabilities, no core dumps, no ptrace.

use std::fs::Permissions;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::{Context, bail};
use caps::{CapSet, Capability, CapsHashSet};
use nix::sys::prctl;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::unistd::{Uid, User, chown, geteuid, initgroups, setgid, setuid};

/// What the daemon cannot do without: links, addresses, routes and XFRM; raw sockets; ports 500 and 4500.
const NEEDED: [Capability; 3] =
    [Capability::CAP_NET_ADMIN, Capability::CAP_NET_RAW, Capability::CAP_NET_BIND_SERVICE];

/// The user that the daemon runs as.
pub const USER: &str = "adit";
/// The group whose members may use the daemon.
pub const GROUP: &str = "adit";

/// Becomes user `adit` if started as root, keeps [`NEEDED`] and drops every other capability, and turns core dumps
/// off. Must run before the first thread is started.
///
/// # Errors
/// If a needed capability is missing, or there is no user `adit` to become.
pub fn drop_privileges() -> anyhow::Result<()> {
    no_core_dumps().context("turning core dumps off")?;
    many_files().context("raising the limit of open files")?;
    if geteuid().is_root() {
        become_user().with_context(|| format!("becoming user \"{USER}\""))?;
    }
    let permitted = caps::read(None, CapSet::Permitted).context("reading capabilities")?;
    let missing: Vec<String> =
        NEEDED.iter().filter(|c| !permitted.contains(c)).map(ToString::to_string).collect();
    if !missing.is_empty() {
        bail!(
            "the daemon lacks {}: start it as root (it becomes user \"{USER}\" by itself), or through aditd.service",
            missing.join(", ")
        );
    }
    keep_only_needed().context("dropping capabilities")
}

fn become_user() -> anyhow::Result<()> {
    let user = User::from_name(USER)?
        .with_context(|| format!("there is no user \"{USER}\": create it with  useradd --system {USER}"))?;
    drop_bounding_set()?;
    prctl::set_keepcaps(true)?;
    let name = std::ffi::CString::new(user.name.as_str())?;
    initgroups(&name, user.gid)?;
    setgid(user.gid)?;
    setuid(user.uid)?;
    if geteuid() == Uid::from_raw(0) {
        bail!("still root");
    }
    Ok(())
}

fn drop_bounding_set() -> anyhow::Result<()> {
    let held = caps::read(None, CapSet::Bounding)?;
    let mut others: Vec<Capability> = held.difference(&NEEDED.into_iter().collect()).copied().collect();
    others.sort_unstable_by_key(Capability::index);
    others.into_iter().try_for_each(|capability| caps::drop(None, CapSet::Bounding, capability))?;
    Ok(())
}

fn keep_only_needed() -> anyhow::Result<()> {
    let needed: CapsHashSet = NEEDED.into_iter().collect();
    // `nft`, which the daemon starts, needs CAP_NET_ADMIN, hence inheritable and ambient.
    let for_children: CapsHashSet = [Capability::CAP_NET_ADMIN].into_iter().collect();
    caps::set(None, CapSet::Effective, &needed)?;
    caps::set(None, CapSet::Permitted, &needed)?;
    caps::set(None, CapSet::Inheritable, &for_children)?;
    caps::set(None, CapSet::Ambient, &for_children)?;
    prctl::set_no_new_privs()?;
    Ok(())
}

/// A PPTP session takes four descriptors, and the usual soft limit of 1,024 is for programs that use select(2).
fn many_files() -> io::Result<()> {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    Ok(setrlimit(Resource::RLIMIT_NOFILE, most, most)?)
}

fn no_core_dumps() -> io::Result<()> {
    setrlimit(Resource::RLIMIT_CORE, 0, 0)?;
    prctl::set_dumpable(false)?;
    Ok(())
}

/// Makes the daemon's own directories where root starts it by hand, and gives them to its user; an init system does
/// it beforehand otherwise.
///
/// # Errors
/// A directory cannot be made.
pub fn prepare_directories(directories: &[&Path]) -> anyhow::Result<()> {
    if !geteuid().is_root() {
        return Ok(());
    }
    let Some(user) = User::from_name(USER)? else { return Ok(()) };
    for directory in directories {
        std::fs::create_dir_all(directory).with_context(|| format!("making {}", directory.display()))?;
        std::fs::set_permissions(directory, Permissions::from_mode(0o750))?;
        chown(*directory, Some(user.uid), Some(user.gid))
            .with_context(|| format!("giving {} to {USER}", directory.display()))?;
    }
    Ok(())
}
