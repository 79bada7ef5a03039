//! Debian 12's kernel under the same root: what is done with the kernel's states has to hold there too.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
};

use super::{
    debian,
    setup::{self, Image},
};
use crate::shell::run_logged;

/// Unpacks the package below `$1`, with a list of modules for modprobe, and without what no scenario has.
const UNPACK: &str = "cd $1; dpkg-deb -x linux-image-*.deb tree; rm -f linux-image-*.deb; depmod -b tree $(ls tree/lib/modules); \
    rm -rf tree/lib/modules/*/kernel/drivers/gpu tree/lib/modules/*/kernel/drivers/media tree/lib/modules/*/kernel/sound; \
    cp tree/boot/vmlinuz-* vmlinuz";

/// The same image with that kernel, which is fetched where it is missing.
///
/// # Errors
/// The step that failed, with the end of its log.
pub(super) fn debian_12(image: Image, cache: &Path) -> Result<Image, String> {
    // What is made from the root's own recipe is made again with it.
    let root =
        image.root.parent().and_then(Path::file_name).unwrap_or_default().to_string_lossy().into_owned();
    let folder = cache.join(format!("kernel12-{root}"));
    let lock = File::create(cache.join("lock")).map_err(|e| format!("{}: {e}", cache.display()))?;
    lock.lock().map_err(|e| format!("{}: {e}", cache.display()))?;
    if !folder.is_dir() {
        println!("lab: fetching Debian 12's kernel (once)");
        setup::remove_remains(cache, "building-")?;
        let building = cache.join(format!("building-{}", std::process::id()));
        build(&building, cache)?;
        setup::remove_remains(cache, "kernel12-")?;
        fs::rename(&building, &folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    }
    Ok(Image {
        kernel: folder.join("vmlinuz"),
        initrd: folder.join("initrd.img"),
        modules: Some(folder.join("modules.img")),
        ..image
    })
}

fn build(folder: &Path, cache: &Path) -> Result<(), String> {
    fs::create_dir_all(folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    let log = cache.join("kernel12.log");
    let _ = fs::remove_file(&log);
    debian::download(debian::KERNEL, "bookworm", cache, folder, &log)?;
    run_logged(Command::new("sh").args(["-ec", UNPACK, "sh"]).arg(folder), &log)?;
    let tree = folder.join("tree");
    let modules = tree.join("lib/modules");
    setup::initrd(&one_in(&modules)?, folder, &log)?;
    setup::file_system(&modules, &folder.join("modules.img"), 16, &log)?;
    fs::remove_dir_all(&tree).map_err(|e| format!("{}: {e}", tree.display()))
}

fn one_in(folder: &Path) -> Result<PathBuf, String> {
    let mut entries = fs::read_dir(folder).map_err(|e| format!("{}: {e}", folder.display()))?.flatten();
    entries.next().map(|entry| entry.path()).ok_or_else(|| format!("{}: empty", folder.display()))
}
