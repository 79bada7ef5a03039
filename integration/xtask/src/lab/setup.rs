//! What a VM needs, made once and kept: qemu on this machine; a Debian 13 root with the peers, its kernel, an initrd.
//!
//! Everything is built aside and renamed at the end, so an interrupted setup is begun again and never half used.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
};

use super::{
    debian::{self, Mirror},
    peers,
};
use crate::shell::{output, run_logged};

/// Packages of the root, beside what `debootstrap --variant=minbase` takes: the peers, and what scenarios call.
const PACKAGES: &str = "charon-systemd strongswan-swanctl libcharon-extra-plugins libcharon-extauth-plugins libstrongswan-extra-plugins \
    libstrongswan-standard-plugins iproute2 nftables tcpdump iputils-ping dbus util-linux procps openssl strace iperf3 \
    netcat-openbsd conntrack kmod libcap2-bin jq ethtool curl xz-utils freeradius freeradius-utils ppp pptpd pptp-linux \
    sstp-client socat squid \
    xl2tpd go-l2tp softhsm2 opensc dnsmasq-base network-manager swtpm libtpm2-pkcs11-1 libtss2-tcti-swtpm0t64 \
    systemd-resolved polkitd xdg-desktop-portal glib-networking gsettings-desktop-schemas libglib2.0-bin gnome-keyring \
    python3-gi";

/// Modules that the initrd loads to mount the root. ext4 asks for its checksum by name, which no list of modules shows.
const BOOT_MODULES: [&str; 5] = ["virtio_pci", "virtio_blk", "crc32c_generic", "libcrc32c", "ext4"];

/// What qemu boots.
pub(crate) struct Image {
    /// Kernel.
    pub(crate) kernel: PathBuf,
    /// Initial RAM disk.
    pub(crate) initrd: PathBuf,
    /// Root file system (raw, ext4); only ever used as a snapshot.
    pub(crate) root: PathBuf,
    /// The kernel's modules (raw, ext4), where the root has those of another one.
    pub(crate) modules: Option<PathBuf>,
}

/// Makes what is missing, in `cache`.
///
/// # Errors
/// The step that failed, with the end of its log.
pub(crate) fn image(cache: &Path) -> Result<Image, String> {
    fs::create_dir_all(cache).map_err(|e| format!("{}: {e}", cache.display()))?;
    let folder = cache.join(format!("debian13-{:016x}", recipe()));
    let image = Image {
        kernel: folder.join("vmlinuz"),
        initrd: folder.join("initrd.img"),
        root: folder.join("root.img"),
        modules: None,
    };
    // One setup at a time; the lock goes with the process.
    let lock = File::create(cache.join("lock")).map_err(|e| format!("{}: {e}", cache.display()))?;
    lock.lock().map_err(|e| format!("{}: {e}", cache.display()))?;
    debian::host_packages(cache)?;
    if folder.is_dir() {
        return Ok(image);
    }
    println!("lab: making a Debian 13 root with the peers (once, two to four minutes)");
    remove_remains(cache, "building-")?;
    let building = cache.join(format!("building-{}", std::process::id()));
    build(&building, &cache.join("setup.log"))?;
    remove_remains(cache, "debian13-")?;
    fs::rename(&building, &folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    Ok(image)
}

/// A number that changes with the recipe.
fn recipe() -> u64 {
    let text = [
        PACKAGES,
        include_str!("setup.rs"),
        include_str!("init.sh"),
        include_str!("initrd.sh"),
        peers::SCRIPT,
    ];
    let roots = peers::ROOTS.as_flattened();
    number(text.iter().chain(roots).copied())
}

/// A number that changes with what is made of these texts.
pub(super) fn number<'t>(texts: impl IntoIterator<Item = &'t str>) -> u64 {
    // FNV-1a: stable between runs and releases of Rust, which std's hasher does not promise.
    texts.into_iter().flat_map(str::bytes).fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// What an interrupted setup left (its mounts went with the mount namespace that they were made in), and older images.
pub(super) fn remove_remains(cache: &Path, prefix: &str) -> Result<(), String> {
    for entry in fs::read_dir(cache).map_err(|e| format!("{}: {e}", cache.display()))?.flatten() {
        if entry.file_name().to_string_lossy().starts_with(prefix) {
            fs::remove_dir_all(entry.path()).map_err(|e| format!("{}: {e}", entry.path().display()))?;
        }
    }
    Ok(())
}

fn build(folder: &Path, log: &Path) -> Result<(), String> {
    let root = folder.join("root");
    fs::create_dir_all(&root).map_err(|e| format!("{}: {e}", folder.display()))?;
    let _ = fs::remove_file(log);
    let mirror = debian::mirror()?;
    step("debootstrap of trixie");
    debootstrap(&mirror, &root, log)?;
    step("the peers' packages");
    chroot(&root, &format!("apt-get install -y --no-install-recommends {PACKAGES}"), log)?;
    step("peers with a root of their own");
    peers::make(&root, &mirror.address, log)?;
    step("the kernel");
    let version = kernel(&root, folder, log)?;
    step("initrd and image");
    initrd(&root.join("usr/lib/modules").join(version), folder, log)?;
    pack(&root, folder, log)?;
    fs::remove_dir_all(&root).map_err(|e| format!("{}: {e}", root.display()))
}

fn step(what: &str) {
    println!("lab: setup: {what}");
}

fn debootstrap(mirror: &Mirror, root: &Path, log: &Path) -> Result<(), String> {
    let mut command = Command::new("unshare");
    command.args(["--mount", "debootstrap", "--variant=minbase"]);
    command.arg(format!("--keyring={}", mirror.keyring));
    command.arg("trixie").arg(root).arg(&mirror.address);
    run_logged(command.envs(mirror.proxy.clone()), log)?;
    let policy = root.join("usr/sbin/policy-rc.d");
    write_program(&policy, "#!/bin/sh\nexit 101\n")?;
    write_program(&root.join("sbin/lab-init"), include_str!("init.sh"))?;
    let options =
        "APT::Sandbox::User \"root\";\nDpkg::Options:: \"--force-unsafe-io\";\nAcquire::Retries \"3\";\n";
    write(&root.join("etc/apt/apt.conf.d/90lab"), options)
}

/// A shell script inside the root.
pub(super) fn chroot(root: &Path, command: &str, log: &Path) -> Result<(), String> {
    let mut chroot = Command::new("unshare");
    chroot.args(["--mount", "chroot"]).arg(root).args(["/bin/sh", "-ec", command]);
    chroot
        .env("DEBIAN_FRONTEND", "noninteractive")
        .env("LC_ALL", "C")
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    run_logged(chroot.envs(debian::proxy()), log)
}

/// Unpacks the stock kernel into the root without installing it (its scripts would make an initrd that nobody needs).
fn kernel(root: &Path, folder: &Path, log: &Path) -> Result<String, String> {
    let name = "apt-cache depends linux-image-amd64 | sed -n 's/.*Depends: \\(linux-image-[0-9][^ ]*\\)$/\\1/p' | head -n 1";
    let get = format!(
        "cd /tmp; apt-get download $({name}); dpkg-deb -x linux-image-*.deb /tmp/kernel; rm -f *.deb"
    );
    chroot(root, &get, log)?;
    let place = "cp -a /tmp/kernel/boot/. /boot/; mkdir -p /usr/lib/modules; m=/tmp/kernel/usr/lib/modules; \
        [ -d $m ] || m=/tmp/kernel/lib/modules; cp -a $m/. /usr/lib/modules/; rm -rf /tmp/kernel; depmod $(ls /usr/lib/modules)";
    chroot(root, place, log)?;
    let modules = root.join("usr/lib/modules");
    let mut versions = fs::read_dir(&modules).map_err(|e| format!("{}: {e}", modules.display()))?.flatten();
    let version = versions.next().map(|entry| entry.file_name().to_string_lossy().into_owned());
    let version = version.ok_or_else(|| format!("{}: no kernel", modules.display()))?;
    let kernel = root.join(format!("boot/vmlinuz-{version}"));
    fs::copy(&kernel, folder.join("vmlinuz")).map_err(|e| format!("{}: {e}", kernel.display()))?;
    Ok(version)
}

/// The initrd in `folder`, with what boots from `modules`.
pub(super) fn initrd(modules: &Path, folder: &Path, log: &Path) -> Result<(), String> {
    let tree = folder.join("initrd");
    for part in ["bin", "modules", "proc", "sys", "dev", "root"] {
        fs::create_dir_all(tree.join(part)).map_err(|e| format!("{}: {e}", tree.display()))?;
    }
    fs::copy("/bin/busybox", tree.join("bin/busybox")).map_err(|e| format!("/bin/busybox: {e}"))?;
    write_program(&tree.join("init"), include_str!("initrd.sh"))?;
    let mut order = String::new();
    for path in boot_order(modules)? {
        let name = Path::new(&path).file_name().unwrap_or_default().to_string_lossy().into_owned();
        let plain = name.trim_end_matches(".xz").to_owned();
        let mut unpack = Command::new("sh");
        unpack.args(["-ec", "case $1 in *.xz) xz -dc $1 > $2;; *) cp $1 $2;; esac", "sh"]);
        run_logged(unpack.arg(modules.join(&path)).arg(tree.join("modules").join(&plain)), log)?;
        order.push_str(&plain);
        order.push('\n');
    }
    write(&tree.join("order"), &order)?;
    let mut cpio = Command::new("sh");
    cpio.args(["-ec", "cd $1; find . | cpio -o -H newc --quiet | gzip -1 > $2", "sh"]);
    run_logged(cpio.arg(&tree).arg(folder.join("initrd.img")), log)?;
    fs::remove_dir_all(&tree).map_err(|e| format!("{}: {e}", tree.display()))
}

/// The boot modules and what they depend on, in the order of loading, from `modules.dep`.
fn boot_order(modules: &Path) -> Result<Vec<String>, String> {
    let file = modules.join("modules.dep");
    let text = fs::read_to_string(&file).map_err(|e| format!("{}: {e}", file.display()))?;
    let mut order: Vec<String> = Vec::new();
    for wanted in BOOT_MODULES {
        let is_it = |path: &str| {
            let name = path.rsplit('/').next().unwrap_or(path);
            name.split('.').next().unwrap_or(name).replace('-', "_") == wanted
        };
        // What is built in has no line.
        let Some((path, needs)) = text.lines().filter_map(|l| l.split_once(':')).find(|(p, _)| is_it(p))
        else {
            continue;
        };
        // The line lists the nearest first; the farthest has to be loaded first.
        for path in needs.split_whitespace().rev().chain([path]) {
            if !order.iter().any(|known| known == path) {
                order.push(path.to_owned());
            }
        }
    }
    Ok(order)
}

fn pack(root: &Path, folder: &Path, log: &Path) -> Result<(), String> {
    let tidy = "apt-get clean; rm -rf /var/lib/apt/lists/* /usr/share/doc/* /usr/share/man/* /usr/share/locale/* /boot/* \
        /usr/lib/modules/*/kernel/drivers/gpu /usr/lib/modules/*/kernel/drivers/media /usr/lib/modules/*/kernel/sound \
        /usr/sbin/policy-rc.d; mkdir -p /host /lab";
    chroot(root, tidy, log)?;
    file_system(root, &folder.join("root.img"), 512, log)
}

/// An ext4 image of a folder, with so many MB to spare.
pub(super) fn file_system(folder: &Path, image: &Path, spare: u64, log: &Path) -> Result<(), String> {
    let size = output(Command::new("du").args(["-s", "--block-size=1M"]).arg(folder))?;
    let used: u64 = size.split_whitespace().next().and_then(|n| n.parse().ok()).unwrap_or(2048);
    let mut make = Command::new("mke2fs");
    make.args(["-q", "-t", "ext4", "-O", "^has_journal", "-m", "0", "-d"]);
    make.arg(folder).arg(image).arg(format!("{}M", used + used / 4 + spare));
    run_logged(&mut make, log)
}

fn write(path: &Path, text: &str) -> Result<(), String> {
    fs::write(path, text).map_err(|e| format!("{}: {e}", path.display()))
}

fn write_program(path: &Path, text: &str) -> Result<(), String> {
    use std::os::unix::fs::PermissionsExt;
    write(path, text)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))
        .map_err(|e| format!("{}: {e}", path.display()))
}
