//! The same root under user-mode-linux: user code runs at the processor's own speed there, which an emulated VM's does not. For
//! benches of what user code does; it has one processor. Debian's package of it lacks what most scenarios need (XFRM interfaces,
//! L2TP by netlink), so its kernel is built here, from Debian's source.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use super::{debian, setup, setup::Image, stage::Stage, vm};
use crate::shell::{is_root, run_logged};

/// What it is built from.
const SOURCE: &str = "linux-source-6.12";
/// What it has.
const CONFIG: &str = include_str!("uml.config");

/// Builds it below `$1`, where the package of its source is, with the configuration `$2`. What is asked for and not got is told.
const BUILD: &str = "cd $1; dpkg-deb --fsys-tarfile linux-source-*.deb | tar -xO --wildcards '*/linux-source-*.tar.xz' | tar -xJ; \
    rm -f linux-source-*.deb; cd linux-source-*; make -s ARCH=um defconfig; printf %s \"$2\" >> .config; make -s ARCH=um olddefconfig; \
    printf %s \"$2\" | grep ^CONFIG | grep -vxF -f .config && exit 1; \
    make -s ARCH=um -j$(nproc) linux modules; make -s ARCH=um INSTALL_MOD_PATH=../tree modules_install; cp linux ../tree; \
    cd ..; rm -rf linux-source-*";

/// Boots in the root itself, since the program is of its release: `$1` the image, `$2` the folder of the program, `$3` the stage.
/// What is mounted goes with the mount namespace, and the program's own files with it.
const BOOT: &str = "mount -o loop,ro $1 /mnt; mount -t tmpfs lab /mnt/tmp; mkdir /mnt/tmp/image /mnt/tmp/uml /mnt/tmp/host; \
    mount --bind $(dirname $1) /mnt/tmp/image; mount --bind $2 /mnt/tmp/uml; mount --bind $3 /mnt/tmp/host; \
    mount -t proc proc /mnt/proc; mount --rbind /dev /mnt/dev; \
    exec chroot /mnt /tmp/uml/linux mem=3072M ubd0=/tmp/changes,/tmp/image/$(basename $1) root=/dev/ubda rw \
    init=/sbin/lab-init lab_host=/tmp/host lab_modules=/tmp/uml/lib/modules uml_dir=/tmp/run/ con=null \
    ssl=null ssl1=null,fd:1 quiet panic=-1";

/// Runs the stage's scenarios.
///
/// # Errors
/// What is missing, that scenarios failed, or that the machine did.
pub(super) fn run(image: &Image, cache: &Path, stage: &Stage, options: &[&str]) -> Result<(), String> {
    if !is_root() {
        return Err("lab: user-mode-linux runs in the lab's root, which only root mounts".to_owned());
    }
    let program = program(cache)?;
    vm::prepare(stage, options, &[])?;
    let console = stage.folder.join("console.log");
    let console = File::create(&console).map_err(|e| format!("{}: {e}", console.display()))?;
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "unshare", "--mount", "--propagation", "private"]);
    command.args(["--pid", "--fork", "--kill-child", "sh", "-ec", BOOT, "sh"]);
    command.arg(&image.root).arg(program).arg(&stage.folder).stdin(Stdio::null()).stderr(console);
    vm::follow(command, stage)
}

/// Where it is; it is built where it is missing.
fn program(cache: &Path) -> Result<PathBuf, String> {
    let folder = cache.join(format!("uml-{:016x}", setup::number([SOURCE, CONFIG, BUILD])));
    let lock = File::create(cache.join("lock")).map_err(|e| format!("{}: {e}", cache.display()))?;
    lock.lock().map_err(|e| format!("{}: {e}", cache.display()))?;
    if !folder.is_dir() {
        println!("lab: building a kernel for user-mode-linux (once, three to ten minutes)");
        debian::kernel_packages(cache)?;
        setup::remove_remains(cache, "building-")?;
        let building = cache.join(format!("building-{}", std::process::id()));
        fs::create_dir_all(&building).map_err(|e| format!("{}: {e}", building.display()))?;
        let log = cache.join("uml.log");
        let _ = fs::remove_file(&log);
        debian::download(SOURCE, "trixie", cache, &building, &log)?;
        run_logged(Command::new("sh").args(["-ec", BUILD, "sh"]).arg(&building).arg(CONFIG), &log)?;
        setup::remove_remains(cache, "uml-")?;
        fs::rename(&building, &folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    }
    Ok(folder.join("tree"))
}
