//! The same root under user-mode-linux: user code runs at the processor's own speed there, which an emulated VM's does not. For
//! benches of what user code does; its kernel lacks what most scenarios need (XFRM interfaces, L2TP by netlink), and has one
//! processor.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use super::{debian, setup, setup::Image, stage::Stage, vm};
use crate::shell::{is_root, run_logged};

/// Unpacks the package below `$1`.
const UNPACK: &str = "cd $1; dpkg-deb -x user-mode-linux_*.deb tree; rm -f user-mode-linux_*.deb";

/// Boots in the root itself, since the program is of its release: `$1` the image, `$2` the folder of the program, `$3` the stage.
/// What is mounted goes with the mount namespace, and the program's own files with it.
const BOOT: &str = "mount -o loop,ro $1 /mnt; mount -t tmpfs lab /mnt/tmp; mkdir /mnt/tmp/image /mnt/tmp/uml /mnt/tmp/host; \
    mount --bind $(dirname $1) /mnt/tmp/image; mount --bind $2 /mnt/tmp/uml; mount --bind $3 /mnt/tmp/host; \
    mount -t proc proc /mnt/proc; mount --rbind /dev /mnt/dev; \
    exec chroot /mnt /tmp/uml/usr/bin/linux.uml mem=3072M ubd0=/tmp/changes,/tmp/image/$(basename $1) root=/dev/ubda rw \
    init=/sbin/lab-init lab_host=/tmp/host lab_modules=/tmp/uml/usr/lib/uml/modules uml_dir=/tmp/run/ con=null \
    ssl=null ssl1=null,fd:1 quiet panic=-1";

/// Runs the stage's scenarios.
///
/// # Errors
/// What is missing, that scenarios failed, or that the machine did.
pub(super) fn run(image: &Image, cache: &Path, stage: &Stage, options: &[&str]) -> Result<(), String> {
    if !is_root() {
        return Err("lab: user-mode-linux runs in the lab's root, which only root mounts".to_owned());
    }
    let program = program(image, cache)?;
    vm::prepare(stage, options)?;
    let console = stage.folder.join("console.log");
    let console = File::create(&console).map_err(|e| format!("{}: {e}", console.display()))?;
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "unshare", "--mount", "--propagation", "private"]);
    command.args(["--pid", "--fork", "--kill-child", "sh", "-ec", BOOT, "sh"]);
    command.arg(&image.root).arg(program).arg(&stage.folder).stdin(Stdio::null()).stderr(console);
    vm::follow(command, stage)
}

/// Where its package is unpacked; it is fetched where it is missing.
fn program(image: &Image, cache: &Path) -> Result<PathBuf, String> {
    let root =
        image.root.parent().and_then(Path::file_name).unwrap_or_default().to_string_lossy().into_owned();
    let folder = cache.join(format!("uml-{root}"));
    let lock = File::create(cache.join("lock")).map_err(|e| format!("{}: {e}", cache.display()))?;
    lock.lock().map_err(|e| format!("{}: {e}", cache.display()))?;
    if !folder.is_dir() {
        println!("lab: fetching user-mode-linux (once)");
        setup::remove_remains(cache, "building-")?;
        let building = cache.join(format!("building-{}", std::process::id()));
        fs::create_dir_all(&building).map_err(|e| format!("{}: {e}", building.display()))?;
        let log = cache.join("uml.log");
        let _ = fs::remove_file(&log);
        debian::download("user-mode-linux", "trixie", cache, &building, &log)?;
        run_logged(Command::new("sh").args(["-ec", UNPACK, "sh"]).arg(&building), &log)?;
        setup::remove_remains(cache, "uml-")?;
        fs::rename(&building, &folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    }
    Ok(folder.join("tree"))
}
